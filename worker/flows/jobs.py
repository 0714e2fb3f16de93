"""Does what the schedule says: makes the slots that are due, and takes each job a bounded step further at a time.

Nothing here waits for anything. Whoever is nudged does what there is to do and says whether there is more; what a lost
nudge or a killed worker left behind, the next tick finds.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlmodel import Session

from worker.core.guardrails import State
from worker.errors import Lost, Paused, Rationed, Refused, TrueupError, Unavailable, Unknown
from worker.flows import guards, offboarding, reading
from worker.flows.apply import settle, work
from worker.flows.crowd import gather
from worker.flows.effects import is_urgent
from worker.flows.leaving import OFFBOARD
from worker.flows.reconcile import reconcile
from worker.flows.site import Nudge, Site
from worker.settings.schedule import Job, jobs, zone_of
from worker.store import jobs as slots
from worker.store import leases, mirror, parts, runs
from worker.store.offboardings import hands as leaving
from worker.store.tables import JobRow, Run

READ, RECONCILE, APPLY, DEPARTURES = "read", "reconcile", "apply", "apply departures"
VERIFY, RETENTION, TELL, SUBSCRIBE = "verify", "retention", "tell", "subscribe"
WATCH = "watch"
TASKS: Mapping[str, str] = {
    "pull": READ, "observe": READ, "reconcile": RECONCILE, "end temporary access": RECONCILE,
    "verify": VERIFY, "retention": RETENTION, "tell": TELL, "subscribe": SUBSCRIBE,
    "watch": WATCH,
}  # fmt: skip
_REASONS: Mapping[str, str] = {"reconcile": "schedule", "end temporary access": "temporary access may have ended"}

CLAIM = dt.timedelta(minutes=5)  # on a slot; a step of any job takes well under a minute
ATTEMPTS = 3  # of a slot, where trying again may help
AGAIN = dt.timedelta(seconds=10)
UNDISTURBED = dt.timedelta(minutes=1)  # what workers have for a plan before a source is read again
HANDS = 8  # nudges for one piece of work, at most
ACCOUNTS_A_HAND = 10


# --- what is due, and what was left behind ---------------------------------------------------------------------------


def tick(site: Site) -> list[Nudge]:
    """Make the slots that are due, and say what wants hands. Two beats that tick at once make one slot."""
    settings, now = site.loaded.settings, site.now()
    zone, scheduled = zone_of(settings), jobs(settings)
    with site.begin() as session:
        for one in scheduled:
            slots.ensure(session, one.name, one.when.slot(now, zone), now)
        known: Mapping[str, Job] = {one.name: one for one in scheduled}
        rows = slots.unfinished(session)
        clock = slots.database_clock(session)
        nudges = _departing(session, now)
        changing: dict[str, dt.datetime] = {}  # target -> since when
        for run in runs.applying(session):
            if run.target in site.targets and (run.not_before is None or run.not_before <= now):
                hands = _hands_for(site, session, run)
                nudges += hands
                changing |= {run.target: run.started_at} if hands else {}
        for row in rows:
            if (job := known.get(row.name)) is None:
                slots.retire(row, now)
            elif row.not_before <= now and not (_waits(job, row, rows, changing, now) or _outdated(session, job)):
                nudges += _hands(session, job, row, clock)
    return nudges


def departing(site: Site) -> list[Nudge]:
    """What wants hands about leavers. Their own workers look for it too, since whoever makes the ticks may be busy."""
    with site.begin() as session:
        return _departing(session, site.now())


def _departing(session: Session, now: dt.datetime) -> list[Nudge]:
    """Some: whoever comes takes the others along."""
    some = leaving(session, now)[:HANDS]
    return [Nudge(OFFBOARD, (str(id), *([target] if target else []))) for id, target in some]


def _waits(
    job: Job, row: JobRow, rows: Sequence[JobRow], changing: Mapping[str, dt.datetime], now: dt.datetime
) -> bool:
    """A plan is made when the reads that were due before it are done, well or not.

    A target is not read anew while it is being changed: half of what such a read showed would be over by the time that
    somebody plans by it. A source is, and then the older plan ends, so that whoever has departed is in the next one;
    but not in a plan's first moments, or on a slow machine with a fast schedule no plan would ever be made true.
    """
    if row.subject is None and job.kind == "observe" and job.subject in changing:
        return True
    if row.subject is None and job.kind == "pull" and any(now - since < UNDISTURBED for since in changing.values()):
        return True
    return any(other.name in job.after and other.slot <= max(row.slot, row.not_before) for other in rows)


def _outdated(session: Session, job: Job) -> bool:
    """Whether a target has been changed since it was read: a plan would find again what is done. The next read is due
    soon; if the last one failed, the plan's slot is to say so."""
    if TASKS[job.kind] != RECONCILE or slots.last_failures(session, [f"observe {job.subject}"]):
        return False
    current = mirror.current_snapshot(session, job.subject)
    return current is not None and runs.changed_since(session, job.subject, current.started_at)


def _hands(session: Session, job: Job, row: JobRow, clock: dt.datetime) -> list[Nudge]:
    nudge = Nudge(TASKS[job.kind], (job.name,))
    if row.subject is not None and nudge.task == READ:
        waiting = parts.remaining(session, row.subject).waiting
        return [nudge] * max(1, min(HANDS, waiting))
    return [nudge] if slots.free(row, clock) else []


def _hands_for(site: Site, session: Session, run: Run) -> list[Nudge]:
    """Who departed comes first, on a queue that nothing else is ever on. What waits for the target's window needs
    nobody, and what needs nobody at all is closed by one."""
    left = runs.changes_of(session, run.id, [State.OPEN.value])
    departed = {c.account_id for c in left if is_urgent(c)}
    others = {c.account_id or str(c.person_id) for c in left if not is_urgent(c)}
    hands = 0 if left and guards.closed(site, run.target) else _number(others)
    args = (str(run.id),)
    return [Nudge(DEPARTURES, args)] * _number(departed) + [Nudge(APPLY, args)] * (hands if left else 1)


def _number(accounts: Collection[str]) -> int:
    return min(HANDS, -(-len(accounts) // ACCOUNTS_A_HAND))


# --- reading ---------------------------------------------------------------------------------------------------------


def read(site: Site, name: str, enough: Callable[[], bool]) -> bool:
    """Begin the read that a slot asks for, or go on with it; whoever does the last part closes it. Whether more of it
    wants to be done just now."""
    job = _job(site, name)
    subject = _begun(site, job)
    if subject is None:
        return False
    try:
        done = reading.work(site, subject, enough)
        closed = reading.close(site, subject) if done else None
    except TrueupError as error:
        _interrupted(site, job, subject, error)
        raise
    with site.begin() as session:
        if closed is not None:
            slots.finish_read(session, name, subject, site.now())
        return not done and parts.remaining(session, subject).waiting > 0


def _begun(site: Site, job: Job) -> uuid.UUID | None:
    """The read of the job's slot: under way, or begun here; None when it is not due, or somebody is just beginning."""
    with site.begin() as session:
        row = slots.current(session, job.name)
        if row is None or row.not_before > site.now():
            return None
        if row.subject is not None:
            return row.subject
        row = slots.claim(session, job.name, site.owner, site.now(), CLAIM)
    if row is None:
        return None
    with _ending(site, row):
        if job.subject in site.targets:
            settle(site, job.subject)
        subject = reading.begin(site, job.subject)
        with site.begin() as session:
            if not slots.note_subject(session, row, subject):
                raise Lost(f"Another worker has begun {job.name} meanwhile.")
    return subject


def _interrupted(site: Site, job: Job, subject: uuid.UUID, error: TrueupError) -> None:
    """A read that came to nothing is begun again where that may help; one that can go on goes on later."""
    with site.begin() as session:
        found = mirror.snapshot(session, subject)
        ended = found is None or bool(found.failure)
        again = isinstance(error, Unavailable | Unknown) or (isinstance(error, Refused) and ended)
        slots.interrupt_read(
            session, job.name, subject,
            ended=ended, again=again, attempts=ATTEMPTS, until=site.now() + _later(error), now=site.now(),
            failure=str(error),
        )  # fmt: skip


# --- planning --------------------------------------------------------------------------------------------------------


def plan(site: Site, name: str) -> None:
    """Make the plan that a slot asks for, and have it applied."""
    job = _job(site, name)
    row = _claimed(site, job)
    if row is None:
        return
    with _ending(site, row):
        unread = _unread(site, job.subject)
        planned = reconcile(site, job.subject, gather(site, unread), _REASONS[job.kind])
        with site.begin() as session:
            run = runs.start_applying(session, planned.run_id)
            slots.finish(session, row, slots.DONE, site.now(), subject=planned.run_id)
            site.nudge(session, *_hands_for(site, session, run))


def _unread(site: Site, target: str) -> set[str]:
    """Sources whose last read came to nothing, or could not even be begun: their people lose nothing. Raises Refused
    for the target itself."""
    asked = {f"pull {name}": name for name in site.sources} | {f"observe {target}": target}
    with site.begin() as session:
        failed = {asked[job]: failure for job, failure in slots.last_failures(session, list(asked)).items()}
    if target in failed:
        raise Refused(f"{target} could not be read whole, so nothing is planned for it: {failed[target]}")
    return set(failed)


# --- whoever departed -------------------------------------------------------------------------------------------------


def take_from_departed(site: Site, run_id: uuid.UUID, enough: Callable[[], bool]) -> bool:
    """Make a plan's changes about people who departed, until it is `enough` or somebody else departs: what a plan found
    is an old account, whose end has waited for the plan. Whether there is more."""
    offboarding.work_untouched(site, enough)
    return work(site, run_id, lambda: enough() or offboarding.anybody_untouched(site), departed_only=True)


# --- jobs that are done in one go ------------------------------------------------------------------------------------


def go_on(site: Site, name: str, step: Callable[[Mapping[str, object]], Mapping[str, object] | None]) -> bool:
    """Take a job one step further: `step` is given how far it was and returns how far it is, or None at the end.
    Whether there is more."""
    row = _claimed(site, _job(site, name))
    if row is None:
        return False
    with _ending(site, row):
        progress = step(row.progress)
        with site.begin() as session:
            if progress is None:
                slots.finish(session, row, slots.DONE, site.now())
            else:
                slots.hand_back(session, row, progress)
    return progress is not None


def let_go(site: Site) -> None:
    """Give back what a task that failed has left claimed in our name. Between tasks only, when we are at nothing."""
    with site.begin() as session:
        leases.let_go(session, site.owner)
        parts.let_go(session, site.owner)
        slots.let_go(session, site.owner)


def _job(site: Site, name: str) -> Job:
    for job in jobs(site.loaded.settings):
        if job.name == name:
            return job
    raise Refused(f"The settings have no job {name} any more.")


def _claimed(site: Site, job: Job) -> JobRow | None:
    with site.begin() as session:
        return slots.claim(session, job.name, site.owner, site.now(), CLAIM)


@contextmanager
def _ending(site: Site, row: JobRow) -> Iterator[None]:
    """However it goes wrong, the slot says so; where trying again may help, it waits for that."""
    try:
        yield
    except TrueupError as error:
        hopeful = row.attempts < ATTEMPTS or isinstance(error, Paused | Rationed)
        again = hopeful and isinstance(error, Unavailable | Unknown)
        with site.begin() as session:
            if again:
                slots.put_off(session, row, site.now() + _later(error), str(error))
            else:
                slots.finish(session, row, slots.FAILED, site.now(), str(error))
        raise


def _later(error: TrueupError) -> dt.timedelta:
    """When trying again may help. The database broke off, and is back already if this can be written: at once."""
    given = 0.0 if isinstance(error, Unknown) else getattr(error, "retry_after", None)
    return AGAIN if given is None else dt.timedelta(seconds=given)
