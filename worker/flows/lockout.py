"""Takes from one departed person everything in one target: a deep look, what worked for others handed on, the lock-out,
the rest, and another look, which alone says that something is gone.

It is the ordinary comparison, plan and account work, of one person. Whoever comes next after a crash looks afresh; what
is done already is already so.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlmodel import Session

from worker.core.guardrails import State
from worker.core.identity import Person, Standing
from worker.core.plan import Operation
from worker.core.receipt import ACCOUNT
from worker.errors import Refused, TrueupError
from worker.flows import bequest, deeplook, guards, home, receipts, removals
from worker.flows.apply import settle
from worker.flows.deeplook import Looks
from worker.flows.effects import DONE, AccountWork, Applied
from worker.flows.leaving import AGAIN, BEFORE_LOCK_OUT, Case, call_off, pause_after, wait
from worker.flows.recognising import recognise
from worker.flows.site import Site
from worker.ports import Task
from worker.store import marks, offboardings, people, runs
from worker.store.offboardings import OPEN, WAITING, WORKING
from worker.store.tables import ChangeRow, OffboardingTarget, Run

ROUNDS = 3  # of taking and looking again, before what is left is a human's
PAUSES = (0.0, 0.25, 0.5, 1.0, 2.0)  # seconds before each look while a vendor still shows what it said was gone
BUSY = dt.timedelta(seconds=1)  # while somebody else is at work on an account
_DONE = frozenset(outcome.value for outcome in DONE)
_FOR_HUMANS = (State.WAITING.value, State.WITHHELD.value)


@dataclass(frozen=True)
class Tail:
    """What a round has left to do once it has locked out."""

    case: Case
    run: Run
    changes: Sequence[ChangeRow]
    looks: Looks


def work(site: Site, id: uuid.UUID, target: str) -> None:
    """One round, or nothing where there is nothing to do just now. Raises what stopped it, after it is put off."""
    tail = begin(site, id, target)
    if tail is not None:
        finish(tail)


def begin(site: Site, id: uuid.UUID, target: str) -> Tail | None:
    """A round as far as the lock-out; None where there is nothing to do just now. Raises as `work`."""
    case = _opened(site, id, target)
    if case is None:
        return None
    with _putting_off(case):
        return _lock_out(case)


def finish(tail: Tail) -> None:
    """The rest of a round, unless it was called off meanwhile. Raises as `work`."""
    if _opened(tail.case.site, tail.case.row.id, tail.case.target) is not None:
        with _putting_off(tail.case):
            _take_the_rest(tail)


@contextmanager
def _putting_off(case: Case) -> Iterator[None]:
    try:
        yield
    except TrueupError as error:
        with case.site.begin() as session:
            part = offboardings.part(session, case.row.id, case.target, lock=True)
            if part is not None and part.state == OPEN:
                part.failure, part.not_before = str(error), case.site.now() + pause_after(error)
        raise


def _opened(site: Site, id: uuid.UUID, target: str) -> Case | None:
    with site.begin() as session:
        row, part = offboardings.by_id(session, id), offboardings.part(session, id, target, lock=True)
        if row is None or part is None or row.state != WORKING or part.state != OPEN:
            return None
        if part.not_before is not None and part.not_before > site.now():
            return None
        person_id = str(row.person_id)
        mark = marks.row_of(session, person_id)
        if mark.departure_marked_at is None:
            site.record(session, *call_off(site, session, person_id, "the departure mark was lifted"))
            return None
        if target not in site.targets:
            part.state, part.failure = offboardings.DONE, "the settings have no such target any more"
            receipts.close_if_done(site, session, row.id)
            return None
        known = people.known_identities(session, person_id, list(site.sources))
    forced = mark.departure_cause == marks.FORCED
    return Case(
        site, row, target, Person(person_id, Standing.DEPARTED, tuple(known), departure_marked=True, forced=forced)
    )


def _lock_out(case: Case) -> Tail:
    home.refuse_restored(case.site)
    with case.site.begin() as session:
        missing = guards.without_baseline(case.site, session, case.target)
    if missing:
        raise Refused(missing)
    recognise(case.site, case.target, case.connector)
    _settle_earlier(case)
    until = time.monotonic() + BEFORE_LOCK_OUT
    looks = deeplook.look(case, heirlooms=until)
    deeplook.write_down(case, looks, final=False)
    run, changes = removals.plan(case, looks)
    if any(change.operation == Operation.DISABLE.value for change in changes):
        bequest.hand_over(case, run, until)
    tail = Tail(case, run, changes, looks)
    _make(tail, _first(tail))
    return tail


def _settle_earlier(case: Case) -> None:
    """What somebody died in the middle of, who may have done all there was: then nothing else would ever ask about it.
    An account that was being made for the person is known as theirs from here on."""
    with case.site.begin() as session:
        links = people.links_of(session, case.person_id)
    linked = {link.account_id for link in links if link.target == case.target and link.state == "linked"}
    settle(case.site, case.target, {*linked, f"person {case.person_id}"})


def _take_the_rest(tail: Tail) -> None:
    case, run, looks = tail.case, tail.run, tail.looks
    _make(tail, removals.accounts_of(tail.changes))
    after = deeplook.completed(case, looks, _look_again(case, run))
    deeplook.write_down(case, after, final=True)
    bequest.hand_over(case, run)
    _conclude(case, run, after)


def _first(tail: Tail) -> dict[str, list[ChangeRow]]:
    """Lock-outs first: of several accounts every one before anything else is taken from any. Where locking out one
    account is all there is to take, or as good as all, that is made in one go."""
    of_account = removals.accounts_of(tail.changes)
    first = {id: [c for c in some if c.operation == Operation.DISABLE.value] for id, some in of_account.items()}
    if len(of_account) > 1 or all(_is_one_step(tail, id) for id, some in first.items() if some):
        return first
    return of_account


def _is_one_step(tail: Tail, account_id: str) -> bool:
    account = tail.looks.accounts[account_id]
    return len(tail.case.connector.steps(account, [Task("", Operation.DISABLE)])) == 1


def _make(tail: Tail, of_account: Mapping[str, list[ChangeRow]]) -> None:
    """What is made already is left out."""
    applied = Applied(tail.case.target, tail.run.id)
    for account_id, some in of_account.items():
        if some:
            AccountWork(tail.case.site, tail.run, some, applied, tail.looks.accounts[account_id]).work()


def _look_again(case: Case, run: Run) -> Looks:
    """After the last step, and again for a moment while a vendor still shows what it has said to be gone."""
    with case.site.begin() as session:
        taken = {(c.account_id, _key(c)) for c in runs.changes_of(session, run.id) if c.state in _DONE}
    for pause in PAUSES:
        case.site.stopped.wait(pause)
        looks = deeplook.look(case)
        if not any((id, key) in taken for id in looks.accounts for key in looks.keys(id)):
            break
    return looks


def _key(change: ChangeRow) -> str:
    return ACCOUNT if change.operation == Operation.DISABLE.value else change.entitlement


def _conclude(case: Case, run: Run, looks: Looks) -> None:
    """Done; or a human's turn; or another round, soon, while one may help."""
    site, now = case.site, case.site.now()
    with site.begin() as session:
        changes = runs.changes_of(session, run.id)
        offboardings.close_run(session, run.id, "closed", now)
        part = offboardings.part(session, case.row.id, case.target, lock=True)
        assert part is not None, "it is in our hands"
        part.failure, part.not_before = "", None
        if all(ACCOUNT not in looks.keys(id) for id in looks.accounts):
            part.locked_at = part.locked_at or _locked_at(session, changes) or now
        if any(c.state == State.OPEN.value for c in changes):  # somebody else was at work on the account
            part.not_before = now + BUSY
            return
        held_back = [c for c in changes if c.state in _FOR_HUMANS]
        part.rounds += 1
        if held_back:
            part.state, part.failure = WAITING, held_back[0].withheld_by
        elif part.rounds < ROUNDS and _worth_another_round(changes, looks):
            part.not_before = now + (AGAIN if part.rounds > 1 else BUSY)
            return
        else:
            part.state, part.verified_at = offboardings.DONE, now
        session.flush()
        _pass_on(case, session)


def _worth_another_round(changes: Sequence[ChangeRow], looks: Looks) -> bool:
    """Whether anything is there that is not known to be for a human's hands alone."""
    by_hand = {(c.account_id, _key(c)) for c in changes if c.state in (State.MANUAL.value, State.REJECTED.value)}
    return any((id, key) not in by_hand for id in looks.accounts for key in looks.keys(id))


def _locked_at(session: Session, changes: Sequence[ChangeRow]) -> dt.datetime | None:
    """When the last step of the lock-outs ended."""
    lock_outs = {str(c.id) for c in changes if c.operation == Operation.DISABLE.value and c.state in _DONE}
    ended = [
        step.finished_at
        for step in runs.steps_of(session, {c.run_id for c in changes})
        if step.finished_at is not None and lock_outs & set(step.change_ids)
    ]
    return max(ended, default=None)


def _pass_on(case: Case, session: Session) -> None:
    """The last of the parts to end ends the whole, or leaves it to a human."""
    row = offboardings.by_id(session, case.row.id, lock=True)
    parts: list[OffboardingTarget] = offboardings.parts(session, case.row.id)
    if row is None or row.state != WORKING or any(part.state == OPEN for part in parts):
        return
    waiting = [part for part in parts if part.state == WAITING]
    if waiting:
        why = "; ".join(dict.fromkeys(part.failure for part in waiting))
        wait(case.site, session, row, why)
        facts = {"offboarding": row.id, "guard": why}
        case.site.record(session, case.site.event("offboarding waits", facts, person_id=row.person_id))
    else:
        receipts.close_if_done(case.site, session, row.id)
