"""Somebody leaves: from the first word of it until their access is being taken, and who may say so.

Whoever or whatever asks leaves one row and a nudge. A worker asks the source about this one person, weighs the limits,
and sets the departure mark; from then on nothing is given to them. What is taken in each target is told in `lockout`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sqlmodel import Session

from worker.core.actors import is_machine
from worker.core.audit import Event
from worker.core.identity import Standing
from worker.core.render import quoted
from worker.core.standing import LOST, weigh
from worker.errors import Paused, Refused, TrueupError
from worker.flows import home, lockout
from worker.flows.leaving import OFFBOARD, call_off, end_waivers, go_on, look_soon, pause_after, wait
from worker.flows.recognising import recognise
from worker.flows.site import Nudge, Site
from worker.rest import LANE
from worker.store import leases, marks, offboardings, people
from worker.store.leases import Held
from worker.store.offboardings import ASKED, NOT_CONFIRMED, WAITING
from worker.store.people import LastKnown
from worker.store.tables import OffboardingRow

OPERATOR, API, HOOK, SCHEDULE, WATCH = "operator", "api", "hook", "schedule", "watch"
NAMED = (OPERATOR, API)  # to ask is to decide: somebody is named who answers for it
BY_ITSELF = "schedule"  # the actor of what nobody in particular asked

CLAIM = dt.timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who wants somebody out, by what means (operator, api, hook, schedule, watch) and why. `key` makes the same
    request twice one; `forced`: without the source's word."""

    trigger: str
    reason: str
    actor: str
    source_event_at: dt.datetime | None = None
    forced: bool = False
    key: str = ""


# --- asking -----------------------------------------------------------------------------------------------------------


def ask(site: Site, session: Session, person_id: str, asked: Asked) -> uuid.UUID:
    """The offboarding that this request is about: a new one, the one that is open, or the one of the same key. Writes
    rows and nudges; calls nobody. Raises Refused where the key was another person's, or nobody answers for the force.
    """
    if asked.forced and (asked.trigger not in NAMED or is_machine(asked.actor)):
        raise Refused("Only a named human may have somebody out without the source's word.")
    known = offboardings.by_key(session, asked.key) if asked.key else None
    if known is not None:
        if str(known.person_id) != person_id:
            raise Refused("That idempotency key was used for somebody else; use a new one for each request.")
        return known.id
    row, events = opened(site, session, person_id, asked)
    site.record(session, *events)
    return row.id


def heed(
    site: Site, session: Session, source: str, identity_id: str, trigger: str, event_at: dt.datetime | None
) -> uuid.UUID | None:
    """A hint that somebody may have left, in the vendor's words: several about one person are one offboarding. None
    for somebody we have never read; what a receipt of later than the event has settled stays settled."""
    person_id = people.person_of(session, source, identity_id)
    if person_id is None:
        return None
    settled = offboardings.closed_of(session, person_id)
    if settled is not None and settled.closed_at is not None and event_at is not None:
        still = marks.row_of(session, person_id).departure_marked_at is not None
        if still and event_at <= settled.closed_at and offboardings.open_of(session, person_id) is None:
            return settled.id
    asked = Asked(HOOK, f"{source}: {quoted(trigger, 120)}", f"hook:{source}", event_at)
    row, _ = opened(site, session, person_id, asked)  # most hints come to nothing; the trail has what came of each
    return row.id


def begin_all(site: Site, session: Session, leaving: Mapping[str, str]) -> list[Event]:
    """Of everybody whom one read saw depart, each with the source whose word it is; what the trail says about it."""
    events = []
    for person_id, source in leaving.items():
        asked = Asked(SCHEDULE, f"{source} says that they have departed", BY_ITSELF)
        _, said = opened(site, session, person_id, asked, batch=len(leaving))
        events += said
    return events


def opened(
    site: Site, session: Session, person_id: str, asked: Asked, batch: int = 1
) -> tuple[OffboardingRow, list[Event]]:
    """The open offboarding of a person, made where there is none, and what the trail is to say about it."""
    leases.turn(session, f"offboarding of {person_id}")
    row = offboardings.open_of(session, person_id)
    if row is not None:
        return row, _join(site, session, row, asked)
    now_known_as = people.resolved(session, [person_id])[person_id]
    if now_known_as != person_id:  # they have turned out to be somebody whom we know
        return opened(site, session, now_known_as, asked, batch)
    row = offboardings.add(
        session,
        OffboardingRow(
            person_id=uuid.UUID(person_id), trigger=asked.trigger, reason=asked.reason, actor=asked.actor,
            forced=asked.forced, idempotency_key=asked.key or None, batch=batch,
            decided_by=asked.actor if asked.trigger in NAMED else "", source_event_at=asked.source_event_at,
            requested_at=site.now(),
        ),
    )  # fmt: skip
    site.nudge(session, Nudge(OFFBOARD, (str(row.id),)))
    return row, [_said(site, row, "offboarding asked", asked)]


def _join(site: Site, session: Session, row: OffboardingRow, asked: Asked) -> list[Event]:
    """One more who wants the same. A human makes it theirs; that is no second pair of eyes where limits ask for one."""
    moments = [at for at in (row.source_event_at, asked.source_event_at) if at is not None]
    row.source_event_at = min(moments, default=None)
    if asked.trigger not in NAMED:
        return []
    if asked.forced and not row.forced:  # whoever forces it answers for it from now on
        row.forced, row.decided_by = True, asked.actor
    row.decided_by = row.decided_by or asked.actor
    row.not_before = None
    if row.state == WAITING and row.begun_at is not None:
        go_on(site, session, row)
    elif row.state == ASKED:
        site.nudge(session, Nudge(OFFBOARD, (str(row.id),)))
    session.flush()
    return [_said(site, row, "offboarding asked", asked)]


def _said(site: Site, row: OffboardingRow, kind: str, asked: Asked) -> Event:
    facts = {"offboarding": row.id, "trigger": asked.trigger, "forced": "yes" if asked.forced else "no"}
    said = {"note": asked.reason, "asked by": asked.actor}
    return site.event(kind, facts, personal=said, person_id=row.person_id)


def nudges(id: uuid.UUID) -> list[Nudge]:
    """What tells workers that there is something to do."""
    return [Nudge(OFFBOARD, (str(id),))]


# --- confirming -------------------------------------------------------------------------------------------------------


def work(site: Site, id: uuid.UUID, target: str = "", enough: Callable[[], bool] = lambda: True) -> None:
    """Take an offboarding a step further: confirm it, or take away what there is in one target. Any worker may, at any
    time, again; nothing while somebody else is at it. Raises what stands in the way, after it is put off.

    Nobody's lock-out waits for the rest of somebody else's, nor for a target that is in trouble: until it is `enough`,
    whoever still has access comes before what is left to do about those who have none any more, and what may go well
    before what has failed.
    """
    lane = LANE.set("leaver")
    try:
        _Crew(site, enough).work(id, target)
    finally:
        LANE.reset(lane)


class _Crew:
    """One worker's share of those who leave at the same time."""

    def __init__(self, site: Site, enough: Callable[[], bool]) -> None:
        self._site, self._enough = site, enough
        self._tails: list[tuple[lockout.Tail, ExitStack]] = []
        self._met: set[tuple[uuid.UUID, str]] = set()
        self._trouble: TrueupError | None = None

    def work(self, id: uuid.UUID, target: str) -> None:
        try:
            self._others()
            if (id, target) not in self._met:
                self._begin(id, target)
            while self._tails:
                self._finish(*self._tails.pop(0))
                self._others()
        finally:
            for _, claim in self._tails:
                claim.close()
        if self._trouble is not None:
            raise self._trouble

    def _others(self) -> None:
        """Whoever waits for a first step, and is in nobody's hands."""
        while not self._enough():
            following = _first_untouched(self._site, self._met)
            if following is None:
                return
            self._begin(*following)

    def _begin(self, id: uuid.UUID, target: str) -> None:
        self._met.add((id, target))
        with ExitStack() as claim:
            held = claim.enter_context(_claimed(self._site, offboardings.claim_name(id, target)))
            if held is None:
                return
            with self._noting():
                if not target:
                    _confirm(self._site, id)
                elif (tail := lockout.begin(self._site, id, target)) is not None:
                    self._tails.append((tail, claim.pop_all()))

    def _finish(self, tail: lockout.Tail, claim: ExitStack) -> None:
        with claim, self._noting():
            lockout.finish(tail)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """What stands in one's way stands in nobody else's; a pause does."""
        try:
            yield
        except Paused:
            raise
        except TrueupError as error:
            self._trouble = self._trouble or error


def anybody_untouched(site: Site) -> bool:
    """Whether somebody who leaves waits for a first step, and is in nobody's hands."""
    return _first_untouched(site) is not None


def work_untouched(site: Site, enough: Callable[[], bool]) -> None:
    """Take everybody who waits for a first step further, until it is `enough`. Raises as `work` does."""
    while not enough() and (following := _first_untouched(site)) is not None:
        work(site, *following, enough)


def _first_untouched(site: Site, met: Collection[tuple[uuid.UUID, str]] = ()) -> tuple[uuid.UUID, str] | None:
    with site.begin() as session:
        due = offboardings.hands(session, site.now(), untouched=True)
    return next((one for one in due if one not in met), None)


def work_due(site: Site) -> list[str]:
    """Everything that is due, here and now, for whoever has no workers; what stood in the way."""
    troubles: list[str] = []
    tried: set[tuple[uuid.UUID, str]] = set()
    while True:
        with site.begin() as session:
            due = [one for one in offboardings.hands(session, site.now()) if one not in tried]
        if not due:
            return troubles
        for id, target in due:
            try:
                work(site, id, target)
            except Paused:
                raise
            except TrueupError as error:
                tried.add((id, target))
                troubles.append(str(error))


@contextmanager
def _claimed(site: Site, name: str) -> Iterator[Held | None]:
    with site.begin() as session:
        held = leases.take(session, name, site.owner, CLAIM)
    try:
        yield held
    finally:
        if held is not None:
            with site.begin() as session:
                leases.release(session, held)


def _confirm(site: Site, id: uuid.UUID) -> None:
    with site.begin() as session:
        row = offboardings.by_id(session, id)
        if row is None or row.state != ASKED or (row.not_before is not None and row.not_before > site.now()):
            return
        person_id, known = row.person_id, _known(site, session, row)
        held = marks.row_of(session, str(person_id)).departure_cause == marks.FORCED
    try:
        home.refuse_restored(site)
        standing, said = (None, "") if row.forced else _word(site, known, unless_held=held)
    except TrueupError as error:
        _put_off(site, id, error)
        raise
    with site.begin() as session:
        marks.lock(session, person_id)
        row = offboardings.by_id(session, id, lock=True)
        if row is None or row.state != ASKED:
            return
        if _refs(_known(site, session, row)) != _refs(known):  # who was asked about is not who they turned out to be
            return
        if standing is Standing.DEPARTED:
            events = _let_through(site, session, row, marks.BY_SOURCE, said)
        elif row.forced or held:
            events = _let_through(site, session, row, marks.FORCED, said)
        elif row.begun_at is not None:  # they were somebody else then
            events = call_off(site, session, str(row.person_id), said)
        else:
            events = _not_confirmed(site, row, said)
            if standing is Standing.SUSPENDED:  # which ends by itself: it is a plan's matter, soon
                look_soon(site, session, sorted({one.identity.source for one in known} & set(site.sources)))
        site.record(session, *events)


def _known(site: Site, session: Session, row: OffboardingRow) -> list[LastKnown]:
    return people.last_known(session, str(row.person_id), list(site.sources), site.final_sources)


def _refs(known: Sequence[LastKnown]) -> set[tuple[str, str]]:
    return {(one.identity.source, one.identity.id) for one in known}


def _word(site: Site, known: Sequence[LastKnown], *, unless_held: bool) -> tuple[Standing | None, str]:
    """What the sources of a person come to, each asked by id just now, and in which words. One that does not decide and
    cannot be asked keeps nobody waiting: it counts as it was read last."""
    authority = site.loaded.settings.departure_authority()
    declared = [one for one in known if one.identity.source in site.sources]
    decides = {one.identity.source for one in declared} & {authority} or {one.identity.source for one in declared}
    said: list[tuple[str, Standing | None]] = []
    words = []
    for one in declared:
        source = one.identity.source
        try:
            standing, status = _asked(site, one)
        except TrueupError:
            if unless_held:  # a human's word holds meanwhile
                return None, "the source could not be asked"
            if source in decides:
                raise
            standing, status = _as_read(one), f"{one.identity.status}, when it could last be asked"
        said.append((source, standing))
        words.append(f"{source} says {status}")
    if not said:
        return Standing.HOLD, "no source knows them"
    return weigh(said, authority).standing, "; ".join(words)


def _asked(site: Site, one: LastKnown) -> tuple[Standing | None, str]:
    """Whoever was known to have departed, or to be gone for good, and is not there has departed."""
    known = one.identity
    source = site.sources[known.source]
    recognise(site, known.source, source)
    found = source.person(known.id)
    if found is not None:
        return found.standing, found.status
    if known.standing is Standing.DEPARTED:
        return known.standing, known.status
    return (Standing.DEPARTED if one.final else LOST), "that there is no such person"


def _as_read(one: LastKnown) -> Standing | None:
    if one.current:
        return one.identity.standing
    return Standing.DEPARTED if one.final else LOST


def _put_off(site: Site, id: uuid.UUID, error: TrueupError) -> None:
    with site.begin() as session:
        row = offboardings.by_id(session, id, lock=True)
        if row is not None and row.state == ASKED:
            row.why, row.not_before = f"put off: {error}", site.now() + pause_after(error)


def _not_confirmed(site: Site, row: OffboardingRow, said: str) -> list[Event]:
    row.state, row.why, row.closed_at = NOT_CONFIRMED, said, site.now()
    facts = {"offboarding": row.id, "trigger": row.trigger, "said": said}
    return [site.event("offboarding not confirmed", facts, person_id=row.person_id)]


# --- limits and the mark ----------------------------------------------------------------------------------------------


def _let_through(site: Site, session: Session, row: OffboardingRow, cause: str, said: str) -> list[Event]:
    """Mark the person, so that nothing is given from now on; then begin, or wait for a second human. Nobody loses
    anything by a human's word alone while that waits for another one."""
    now, person_id = site.now(), str(row.person_id)
    over = _over_limits(site, session, row)
    waits = over and cause == marks.FORCED and marks.row_of(session, person_id).departure_cause != marks.FORCED
    marks.mark_departed(session, person_id, marks.ASKED if waits else cause, now)
    row.confirmed_at = row.confirmed_at or (now if cause == marks.BY_SOURCE else None)
    row.marked_at, row.not_before = now, None
    facts = {"offboarding": row.id, "trigger": row.trigger, "cause": marks.ASKED if waits else cause, "said": said}
    facts["waivers ended"] = end_waivers(session, person_id, now)
    events = [site.event("departure marked", facts, person_id=row.person_id)]
    if over:
        wait(site, session, row, over)
        held_up = {"offboarding": row.id, "trigger": row.trigger, "guard": over}
        return [*events, site.event("offboarding withheld", held_up, person_id=row.person_id)]
    row.begun_at = row.begun_at or now
    go_on(site, session, row)
    begun = {"offboarding": row.id, "trigger": row.trigger, "decided": "yes" if row.decided_by else "by the gates"}
    return [*events, site.event("offboarding begun", begun, person_id=row.person_id)]


def _over_limits(site: Site, session: Session, row: OffboardingRow) -> str:
    """Why a second human has to look first ("" when none has to): the people of a day count, whatever asked for each,
    and those of one read."""
    if row.approved_by:
        return ""
    limit = site.loaded.settings.limits.departures
    leases.turn(session, "limits departures")
    others = len(offboardings.begun_lately(session, site.now()) - {str(row.person_id)})
    if row.batch > limit.per_run:
        return f"{row.batch} departures at once, at most {limit.per_run} (limits.departures.per_run)"
    if others + 1 > limit.per_day:
        return f"{others} departures in the last 24 hours already, at most {limit.per_day} (limits.departures.per_day)"
    return ""
