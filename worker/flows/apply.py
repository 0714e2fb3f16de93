"""Works through a stored plan account by account: alone in a terminal, or many workers at once, in batches.

All disables come first, then renames (they free logins), then per account what it loses and at once what it gets. What
happens to one account is told in `effects`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import groupby

from sqlmodel import Session

from worker.core.drift import Cause
from worker.core.guardrails import State
from worker.core.plan import Operation
from worker.errors import Denied, Lost, Refused, TrueupError, Unavailable, Unknown
from worker.flows import guards, home
from worker.flows.effects import INTERRUPTED, AccountWork, Applied, is_urgent, settle_account
from worker.flows.site import Site
from worker.store import leases, runs
from worker.store.tables import ChangeRow, Run

LATER = dt.timedelta(seconds=30)  # for a vendor that is not to be had and does not say until when
_LOCK_OUT, _RENAME, _REST = range(3)


def apply(site: Site, run_id: uuid.UUID, only: frozenset[str] | None = None) -> Applied:
    """Make the run's open changes, account by account; `only` keeps those with these fingerprints.

    Raises nothing that concerns a single change. What stops the run as a whole is in `stopped`; the rest stays open.
    """
    home.refuse_restored(site)
    run = _run(site, run_id)
    applied = Applied(run.target, run_id)
    with site.begin() as session:
        _refuse_moved(site, session, run)
        good_until = guards.good_until(site, session, run.snapshots)
        changes = runs.changes_of(session, run_id, [State.OPEN.value])
    wanted = [c for c in changes if only is None or c.fingerprint in only]
    for _, of_account in groupby(wanted, key=_account_phase):
        applied.stopped = _outlived(site, run, good_until)
        if applied.stopped:
            break
        try:
            AccountWork(site, run, list(of_account), applied).work()
        except (Unavailable, Denied) as error:
            applied.stopped = str(error)
            break
    if applied.stopped or not applied.waiting:
        _close(site, run, applied.stopped)
    home.look(site)
    return applied


def work(site: Site, run_id: uuid.UUID, enough: Callable[[], bool], *, departed_only: bool = False) -> bool:
    """Make open changes of a run, together with any number of other workers, until it is `enough`. True when there was
    more to do; else everything is made, or is in others' hands, or the vendor is not to be had for a while.

    An earlier phase is over for everybody before the next one begins. A worker that died leaves its account to whoever
    comes next. Raises what stops the run as a whole; it is closed then.
    """
    run = _run(site, run_id)
    if run.state != runs.APPLYING or (run.not_before is not None and run.not_before > site.now()):
        return False
    try:
        home.refuse_restored(site)
        with site.begin() as session:
            _refuse_moved(site, session, run)
            good_until = guards.good_until(site, session, run.snapshots)
        more = _Batch(site, run, good_until, enough).work(departed_only)
    except (Unavailable, Unknown) as error:
        _put_off(site, run, error)
        return False
    except TrueupError as error:
        _close(site, run, str(error))
        raise
    if not more:
        _close_when_done(site, run)
    home.look(site)
    return more


def settle(site: Site, name: str, only: Collection[str] | None = None) -> list[str]:
    """Find out by re-reading what became of steps whose outcome is not known; returns sentences about them. `only`:
    those on these accounts, or on the one that was being made for a person (`person <id>`)."""
    with site.begin() as session:
        waiting = runs.unsettled(session, name)
    told = []
    subjects = dict.fromkeys(step.account_id or f"person {step.person_id}" for step in waiting)
    for account_id in (subject for subject in subjects if only is None or subject in only):
        with site.begin() as session:
            held = leases.take(session, f"account {name} {account_id}", site.owner, site.claim)
        if held is None:
            continue  # whoever holds it is alive, and settles its own steps
        try:
            told += settle_account(site, name, account_id, held)
        except Lost:
            continue  # whoever has it now settles them
        finally:
            with site.begin() as session:
                leases.release(session, held)
    return told


class _Batch:
    """A worker's share of a run."""

    def __init__(self, site: Site, run: Run, good_until: dt.datetime, enough: Callable[[], bool]) -> None:
        self._site, self._run, self._good_until, self._enough = site, run, good_until, enough
        self._applied = Applied(run.target, run.id)

    def work(self, departed_only: bool) -> bool:
        """True when it was enough and there was more."""
        for phase, of_phase in groupby(self._open(), key=lambda change: _account_phase(change)[0]):
            if departed_only and phase != _LOCK_OUT:
                return False  # everything of a departed person is in the first one
            if phase != _LOCK_OUT and any(_account_phase(c)[0] < phase for c in self._open()):
                return False  # others are still at them
            with self._renames(phase) as mine:
                if not mine:
                    return False
                for _, of_account in groupby(of_phase, key=_account_phase):
                    changes = list(of_account)
                    if departed_only and any(c.cause != Cause.DEPARTED.name for c in changes):
                        continue
                    if self._enough():
                        return True
                    self._one(changes)
        self._wait_for_window()
        return False

    def _one(self, changes: list[ChangeRow]) -> None:
        stopped = _outlived(self._site, self._run, self._good_until)
        if stopped:
            raise Refused(stopped)
        with self._site.begin() as session:
            still = runs.still_open(session, [str(c.id) for c in changes])
        if still:
            AccountWork(self._site, self._run, changes, self._applied).work()

    def _wait_for_window(self) -> None:
        """Nobody needs to look at the run again before it opens, unless a departed person's account was busy."""
        closed = self._applied.closed
        if closed is not None and not any(is_urgent(change) for change in self._open()):
            with self._site.begin() as session:
                runs.put_off(session, self._run.id, closed.opens)

    def _open(self) -> list[ChangeRow]:
        with self._site.begin() as session:
            return runs.changes_of(session, self._run.id, [State.OPEN.value])

    @contextmanager
    def _renames(self, phase: int) -> Iterator[bool]:
        """Renames stand in the order in which each frees the login that the next one takes: one worker makes them."""
        if phase != _RENAME:
            yield True
            return
        with self._site.begin() as session:
            held = leases.take(session, f"renames {self._run.target}", self._site.owner, self._site.claim * 5)
        try:
            yield held is not None
        finally:
            if held is not None:
                with self._site.begin() as session:
                    leases.release(session, held)


def _run(site: Site, run_id: uuid.UUID) -> Run:
    with site.begin() as session:
        run = session.get(Run, run_id)
    assert run is not None, "a run that is to be applied was stored"
    return run


def _account_phase(change: ChangeRow) -> tuple[int, str]:
    """Changes stand in the order of the plan; those of one account in one phase are made under one claim."""
    lock_out = change.operation == Operation.DISABLE.value or change.cause == Cause.DEPARTED.name
    phase = _LOCK_OUT if lock_out else _RENAME if change.operation == Operation.UPDATE.value else _REST
    return phase, change.account_id or f"person {change.person_id}"


def _refuse_moved(site: Site, session: Session, run: Run) -> None:
    """A plan is only good for the reads that it was made from, and those only while they are fresh."""
    current = guards.fresh_snapshots(site, session, run.target)
    for connector, snapshot_id in run.snapshots.items():
        if current.get(connector) != snapshot_id:
            raise Refused(f"{connector} has been read again since this plan was made; plan again.")


def _outlived(site: Site, run: Run, good_until: dt.datetime) -> str:
    """Why the run must not go on: its reads are too old, or somebody has planned afresh and people decide by that."""
    if site.now() > good_until:
        return "The reads that this plan rests on have become too old (limits.snapshot_age); plan again."
    if _run(site, run.id).state == runs.SUPERSEDED:
        return f"A newer plan for {run.target} has taken the place of this one; what is left is in that."
    return ""


def _put_off(site: Site, run: Run, error: Unavailable | Unknown) -> None:
    """An unknown end is one of the database's: it is back already if this can be written."""
    seconds = 0.0 if isinstance(error, Unknown) else error.retry_after
    later = LATER if seconds is None else dt.timedelta(seconds=seconds)
    with site.begin() as session:
        runs.put_off(session, run.id, site.now() + later)


def _close_when_done(site: Site, run: Run) -> None:
    """Whoever makes the last change closes the run."""
    with site.begin() as session:
        left = runs.changes_of(session, run.id, [State.OPEN.value])
    if not left:
        _close(site, run, "")


def _close(site: Site, run: Run, stopped: str) -> None:
    """Once; whoever comes second finds it closed."""
    with site.begin() as session:
        state = INTERRUPTED if stopped else "closed"
        closed = runs.close_run(session, run.id, state, site.now(), stopped)
        if closed is not None:
            facts = {"target": run.target, "outcome": state, "changes": closed.counts["by_state"]}
            site.record(session, site.event("run ended", facts, personal={"stopped": stopped}, run_id=run.id))
