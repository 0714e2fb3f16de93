"""Reads a source or a target whole into the mirror, or leaves everything as it was and says why.

A read is begun, its parts are done by as many workers as there are, and one of them closes it: the certificate, and one
transaction that makes it current. A worker that is killed loses nothing but the part that it was at.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass

from sqlmodel import Session

from worker.core.audit import Event
from worker.core.identity import ATTRIBUTE
from worker.core.policy import attributes_asked, groups_asked
from worker.core.render import counted
from worker.errors import Denied, Lost, Misshapen, Moved, Paused, Rationed, Refused, TrueupError, Unavailable, Unknown
from worker.flows import certificate, departures, guards, home, joining
from worker.flows.recognising import recognise
from worker.flows.site import Site
from worker.flows.threads import threads
from worker.ports import Asked, Part, Piece, Source, SourcePage, Target, Wanted, Whole
from worker.store import governed, leases, mirror, notices, parts, people, sweep
from worker.store import joining as store_joining
from worker.store.parts import Claim

READERS = 4  # parts that a read in a terminal does at the same time
ROUNDS = 3  # how often what moved while it was read is read from the start
HEARTBEAT = parts.CLAIM.total_seconds() / 4
BUSY = 15.0  # seconds that somebody else's read of a connector takes, or so
LOOK_AGAIN = 0.2  # seconds, while others do the last parts of our read
_RESUMABLE = (Unavailable, Unknown)  # the part is as it was, and may be tried again


@dataclass(frozen=True, slots=True)
class Read:
    """A certified read that has become current, and what it counted."""

    connector: str
    snapshot_id: uuid.UUID
    counts: Mapping[str, int]


# --- all of it at once -----------------------------------------------------------------------------------------------


def read(site: Site, name: str, *, accept_counts: bool = False) -> Read:
    """Begin, all parts, close, here and now. `accept_counts`: a human looks at the counts, so that it may have shrunk.

    Raises whatever stopped it; then nothing became current, and whoever it concerns loses nothing.
    """
    for _ in range(ROUNDS - 1):
        try:
            return _read_once(site, name, accept_counts)
        except Moved:
            continue
    return _read_once(site, name, accept_counts)


def _read_once(site: Site, name: str, accept_counts: bool) -> Read:
    snapshot_id = begin(site, name)
    try:
        while not work(site, snapshot_id, lambda: False, at_once=READERS):
            site.refuse_if_paused(name)
            site.stopped.wait(LOOK_AGAIN)
        found = close(site, snapshot_id, accept_counts=accept_counts)
        if found is None:
            raise Lost(f"Another Trueup has taken over the read of {name}; run this again when it has ended.")
        return found
    except Lost:
        raise
    except TrueupError as error:  # what a worker would come back to: nobody comes back here
        refuse(site, name, snapshot_id, error)
        raise


# --- begin -----------------------------------------------------------------------------------------------------------


def begin(site: Site, name: str) -> uuid.UUID:
    """Make sure of the installation, and write down what there is to read first.

    An earlier read that nobody is at any more is set aside. Raises Unavailable while somebody is at one.
    """
    connector = _connector(site, name)
    home.look(site)  # what is read from now on is not what the books said
    try:
        recognise(site, name, connector)
    except (Denied, Misshapen, Refused) as error:
        with site.begin() as session:
            notices.read_refused(session, name, str(error), site.now())
        raise
    first = _first_parts(site, name)
    with site.begin() as session:
        leases.turn(session, f"read {name}")
        if parts.under_way(session, name):
            raise Unavailable(f"Another Trueup is reading {name} just now; wait for it, then run this again.", BUSY)
        snapshot_id = mirror.start_snapshot(session, name, site.now())
        parts.begin(session, snapshot_id, site.owner, first)
    site.say(f"{'Reading' if name in site.sources else 'Observing'} {name}")
    return snapshot_id


def _first_parts(site: Site, name: str) -> Sequence[Part]:
    if name in site.targets:
        with site.begin() as session:
            return site.targets[name].parts(_asked(site, session, name))
    return site.sources[name].parts(_wanted(site, name))


def _wanted(site: Site, name: str) -> Wanted:
    """The groups that rules ask about, and those to be seen; the attributes of rules, and those that join people."""
    rules, settings = site.loaded.rules, site.loaded.settings
    asked = groups_asked(rules).get(name, frozenset())
    attributes = attributes_asked(rules) | frozenset(settings.joining.keys)
    return Wanted(asked | frozenset(settings.must_see_of(name).groups), attributes)


def _asked(site: Site, session: Session, target: str) -> Asked:
    """The attributes that rules give, and those that are governed still."""
    given = {n.reference for rule in site.loaded.rules for n in rule.give if n.target == target}
    held = governed.governance(session, target).governed
    return Asked(
        frozenset(reference.name for reference in given if reference.kind == ATTRIBUTE),
        frozenset(entitlement.id for entitlement in held if entitlement.kind == ATTRIBUTE),
    )


def _connector(site: Site, name: str) -> Source | Target:
    return site.sources[name] if name in site.sources else site.targets[name]


# --- work ------------------------------------------------------------------------------------------------------------


def work(site: Site, snapshot_id: uuid.UUID, until: Callable[[], bool], *, at_once: int = 1) -> bool:
    """Do parts of a read, several at once if so told, until `until()` or there is none that nobody is at. Whether all
    are done, so that the read can be closed.

    Raises Refused once the read has come to nothing. Unavailable and Paused leave it as far as it is, for whoever goes
    on with it; anything else ends it, and so does a part that has failed often enough.
    """
    name, certified = _open(site, snapshot_id)
    if certified:
        return True
    try:
        with _held(site, snapshot_id):
            _work(site, name, snapshot_id, until, at_once)
        with site.begin() as session:
            remaining, worn_out = parts.remaining(session, snapshot_id), parts.worn_out(session, snapshot_id)
        if worn_out:
            raise Unavailable(worn_out)
        return not (remaining.waiting or remaining.claimed)
    except Lost:
        return _open(site, snapshot_id)[1] is not None
    except TrueupError as error:
        _end_unless_resumable(site, name, snapshot_id, error)
        raise


def _work(site: Site, name: str, snapshot_id: uuid.UUID, until: Callable[[], bool], at_once: int) -> None:
    under_way: set[Future[None]] = set()
    with threads(site, at_once) as hands:
        while True:
            for claim in [] if until() else _claimed(site, snapshot_id, at_once - len(under_way)):
                under_way.add(hands.submit(_do, site, name, claim))
            if not under_way:
                return
            ended, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for one in ended:
                one.result()


def _claimed(site: Site, snapshot_id: uuid.UUID, most: int) -> list[Claim]:
    with site.begin() as session:
        return parts.claim(session, snapshot_id, site.owner, most)


def _do(site: Site, name: str, claim: Claim) -> None:
    """Read one part. Its rows, what follows from it and its being done are one transaction."""
    with _handed_back(site, claim):
        piece = _connector(site, name).read(claim.part)
        with site.begin() as session:
            mirror.open_read(session, claim.snapshot_id, name)
            if not parts.finish(session, claim, piece.facts):
                return  # we were too slow, and it is somebody else's
            _stage(session, claim.snapshot_id, name, piece)
            parts.add(session, claim.snapshot_id, site.owner, piece.parts)
            if name in site.targets and site.targets[name].sweeps:
                _sweep(site, session, name, claim.snapshot_id)


def _sweep(site: Site, session: Session, name: str, snapshot_id: uuid.UUID) -> None:
    """Whoever does the last part of the lists says whose own values are read besides, once: now all accounts are known.

    The read is locked, so that of two who are last at the same time one sees the other's part done.
    """
    target, asked = site.targets[name], _asked(site, session, name)
    remaining = parts.remaining(session, snapshot_id)
    if not asked or remaining.waiting or remaining.claimed:
        return
    due = sweep.due(
        session, snapshot_id, name, names=asked.names, ids=asked.ids, nobodys=guards.NO_PERSON, most=target.sweeps
    )
    found = target.sweep(due.accounts, due.attributes)
    known = {part.kind for part, _ in parts.done(session, snapshot_id)}
    parts.add(session, snapshot_id, site.owner, [part for part in found if part.kind not in known])


def _stage(session: Session, snapshot_id: uuid.UUID, name: str, piece: Piece) -> None:
    for page in piece.pages:
        if isinstance(page, SourcePage):
            mirror.stage_source(session, snapshot_id, name, page)
        else:
            mirror.stage_target(session, snapshot_id, name, page)


@contextmanager
def _handed_back(site: Site, claim: Claim) -> Iterator[None]:
    """What could not be done just now is for whoever comes next. A pause or a used-up budget is no failure of it."""
    try:
        yield
    except Moved:
        raise
    except _RESUMABLE as error:
        with site.begin() as session:
            parts.hand_back(session, claim, None if isinstance(error, Paused | Rationed) else str(error))
        raise


@contextmanager
def _held(site: Site, snapshot_id: uuid.UUID) -> Iterator[None]:
    """Our claims on a read last as long as we are at it."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(HEARTBEAT):
            try:
                with site.begin() as session:
                    parts.renew(session, snapshot_id, site.owner)
            except (Unavailable, Unknown):
                continue  # the work itself meets the same trouble, and a claim that was not renewed writes nothing

    heart = threading.Thread(target=renew, name=f"claims on {snapshot_id}", daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()


# --- close -----------------------------------------------------------------------------------------------------------


def close(site: Site, snapshot_id: uuid.UUID, *, accept_counts: bool = False) -> Read | None:
    """What only the whole of a read can tell, the certificate, and the transaction that makes it current.

    One worker does it: None while another is at it, or parts remain. A read that has been closed is returned as it is.
    """
    name, certified = _open(site, snapshot_id)
    if certified:
        return certified
    with site.begin() as session:
        claim = parts.claim_end(session, snapshot_id, site.owner)
        worn_out = parts.worn_out(session, snapshot_id)
    try:
        if worn_out:
            raise Unavailable(worn_out)
        if claim is None:
            return None
        with _held(site, snapshot_id), _handed_back(site, claim):
            return _close(site, name, claim, accept_counts)
    except Lost:
        return _open(site, snapshot_id)[1]
    except TrueupError as error:
        _end_unless_resumable(site, name, snapshot_id, error)
        raise


def _close(site: Site, name: str, claim: Claim, accept_counts: bool) -> Read:
    if not claim.facts:
        _finish(site, name, claim)
    checks, missed = certificate.checks(site, name, claim.snapshot_id, accept_counts)
    certificate.refuse_failed(name, checks)
    new, joined = 0, list[Event]()
    with site.begin() as session:
        mirror.open_read(session, claim.snapshot_id, name)
        _keep(session, claim)
        if name in site.sources:
            mirror.merge_source(session, claim.snapshot_id, site.now())
            store_joining.turn(session)
            new = people.ensure_people(session, name, site.now())
            people.note_missed(session, name, missed)
            joined = joining.join(site, session)
            events = [*joined, *departures.remark(site, session)]
        else:
            mirror.merge_target(session, claim.snapshot_id, site.now())
            events = []
        counts = mirror.counts(session, name)
        side, kind = ("source", "source read") if name in site.sources else ("target", "target observed")
        facts = {side: name, "snapshot": claim.snapshot_id, "counts": counts}
        site.record(session, *events, site.event(kind, facts))
    site.say(_summary(site, name, counts, new, len(joined)))
    return Read(name, claim.snapshot_id, counts)


def _finish(site: Site, name: str, claim: Claim) -> None:
    """The connector's own word on the whole; staged once, whoever closes the read in the end."""
    with site.begin() as session:
        mirror.refuse_lost_rows(session, claim.snapshot_id)
        whole = Whole(
            parts.done(session, claim.snapshot_id),
            mirror.staged_counts(session, claim.snapshot_id),
            mirror.strangers(session, claim.snapshot_id),
            mirror.people_within(session, claim.snapshot_id),
        )
    piece = _connector(site, name).finish(whole)
    with site.begin() as session:
        mirror.open_read(session, claim.snapshot_id, name)
        _keep(session, claim)
        _stage(session, claim.snapshot_id, name, piece)


def _keep(session: Session, claim: Claim) -> None:
    if not parts.note(session, claim, {"finished": True}):
        raise Lost("Another worker has taken over the end of this read.")


def _summary(site: Site, name: str, counts: Mapping[str, int], new: int, joined: int) -> str:
    if name in site.sources:
        found = f"{name}: {counted(counts.get('identities', 0), 'person', 'people')}, {counted(new, 'new one')}"
        return f"{found}, {joined} found to be one with somebody of another source" if joined else found
    accounts = counted(counts.get("accounts", 0), "account")
    return f"{name}: {accounts}, {counted(counts.get('holdings', 0), 'direct entitlement')}"


# --- how it ended ----------------------------------------------------------------------------------------------------


def refuse(site: Site, name: str, snapshot_id: uuid.UUID, error: TrueupError) -> None:
    """Drop a read that failed, and put into the trail why; nothing if it has ended already."""
    with site.begin() as session:
        if mirror.discard_snapshot(session, snapshot_id, str(error)):
            facts = {"connector": name, "error": type(error).__name__}
            if not isinstance(error, Paused | Moved):
                notices.read_refused(session, name, str(error), site.now())
            site.record(session, site.event("read refused", facts, personal={"message": str(error)}))


def _end_unless_resumable(site: Site, name: str, snapshot_id: uuid.UUID, error: TrueupError) -> None:
    if isinstance(error, _RESUMABLE) and not isinstance(error, Moved):
        with site.begin() as session:
            if isinstance(error, Paused) or parts.worn_out(session, snapshot_id) is None:
                return
    refuse(site, name, snapshot_id, error)


def _open(site: Site, snapshot_id: uuid.UUID) -> tuple[str, Read | None]:
    """The connector of a read, and the read when it has been closed. Raises Refused when it came to nothing."""
    with site.begin() as session:
        found = mirror.snapshot(session, snapshot_id)
    if found is None:
        raise Refused(f"There is no read {snapshot_id}.")
    if found.failure:
        raise Refused(f"{found.title} came to nothing: {found.failure}")
    closed = Read(found.connector, snapshot_id, found.counts) if found.certified_at else None
    return found.connector, closed
