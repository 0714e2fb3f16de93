"""Runs with their changes and steps: what was planned, what was begun, and how it ended."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, insert, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import Session, col, select

from worker.core.guardrails import State, Tally
from worker.core.identity import ATTRIBUTE
from worker.errors import Lost
from worker.ports import Made, Outcome, Step
from worker.store.tables import ChangeRow, Effect, Run, StepRow

UNSETTLED = (Outcome.ATTEMPTED.value, Outcome.UNKNOWN.value)
OPEN_STATES = (State.OPEN.value, State.WAITING.value, State.WITHHELD.value, State.REJECTED.value)
PLANNED, APPLYING, SUPERSEDED = "planned", "applying", "superseded"


def begin_run(session: Session, run: Run) -> None:
    """Record a run as planned, and set aside whatever an earlier run of the target left open."""
    older = select(Run.id).where(
        Run.target == run.target, col(Run.closed_at).is_(None), Run.id != run.id, col(Run.offboarding_id).is_(None)
    )
    ids = list(session.exec(older))
    if ids:
        session.connection().execute(
            update(ChangeRow)
            .where(col(ChangeRow.run_id).in_(ids), col(ChangeRow.state) == State.OPEN.value)
            .values(state=SUPERSEDED)
        )
        session.connection().execute(
            update(Run).where(col(Run.id).in_(ids)).values(state=SUPERSEDED, closed_at=run.started_at)
        )
    session.add(run)
    session.flush()


def add_changes(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        session.connection().execute(insert(ChangeRow), list(rows))


def latest_run(session: Session, target: str) -> Run | None:
    """The last one that judged everybody."""
    query = select(Run).where(Run.target == target, col(Run.offboarding_id).is_(None))
    return session.exec(query.order_by(col(Run.started_at).desc()).limit(1)).first()


def changes_of(session: Session, run_id: uuid.UUID, states: Collection[str] = ()) -> list[ChangeRow]:
    """A run's changes in the order in which they are to be made."""
    query = select(ChangeRow).where(ChangeRow.run_id == run_id).order_by(col(ChangeRow.position))
    return list(session.exec(query.where(col(ChangeRow.state).in_(states)) if states else query))


def steps_of(session: Session, run_ids: Collection[uuid.UUID]) -> list[StepRow]:
    """What was attempted in these runs, in its order."""
    query = select(StepRow).where(col(StepRow.run_id).in_(list(run_ids)))
    return list(session.exec(query.order_by(col(StepRow.attempted_at), col(StepRow.position))))


def still_open(session: Session, change_ids: Collection[str]) -> set[str]:
    """Which of these nobody has made, refused or set aside yet."""
    ids = [uuid.UUID(c) for c in change_ids]
    query = select(ChangeRow.id).where(col(ChangeRow.id).in_(ids), ChangeRow.state == State.OPEN.value)
    return {str(id) for id in session.exec(query)}


def changed_since(session: Session, target: str, moment: dt.datetime) -> bool:
    """Whether any step has been begun on a target since a moment. Offboardings do not count: they are about few, whom a
    plan would find to be already so, and a morning of them must not hold up everybody's plan."""
    query = select(StepRow.id).join(Run, col(Run.id) == StepRow.run_id)
    query = query.where(StepRow.target == target, StepRow.attempted_at > moment, col(Run.offboarding_id).is_(None))
    return session.exec(query.limit(1)).first() is not None


def made_since(session: Session, target: str, account_id: str, moment: dt.datetime) -> list[StepRow]:
    """What has been changed about an account since a moment, the oldest first."""
    done = [o.value for o in (Outcome.APPLIED, Outcome.FOUND_APPLIED)]
    query = select(StepRow).where(
        StepRow.target == target, StepRow.account_id == account_id, StepRow.attempted_at > moment,
        col(StepRow.outcome).in_(done),
    )  # fmt: skip
    return list(session.exec(query.order_by(col(StepRow.attempted_at))))


def begun(session: Session, run_id: uuid.UUID, account_id: str) -> set[str]:
    """Ids of the changes of an account of which a step came about in this run."""
    done = [o.value for o in (Outcome.APPLIED, Outcome.ALREADY_SO, Outcome.FOUND_APPLIED)]
    query = select(StepRow.change_ids).where(
        StepRow.run_id == run_id, StepRow.account_id == account_id, col(StepRow.outcome).in_(done)
    )
    return {id for ids in session.exec(query) for id in ids}


def filters_amiss(session: Session, run_id: uuid.UUID, account_id: str) -> set[str]:
    """Ids of the changes of an account's attributes that have not come about and that nobody has waived."""
    right = [State.WAIVED.value, *(o.value for o in (Outcome.APPLIED, Outcome.ALREADY_SO, Outcome.FOUND_APPLIED))]
    query = select(ChangeRow.id).where(
        ChangeRow.run_id == run_id,
        ChangeRow.account_id == account_id,
        col(ChangeRow.entitlement).startswith(f"{ATTRIBUTE}:"),
        col(ChangeRow.state).not_in(right),
    )
    return {str(id) for id in session.exec(query)} if account_id else set()


def start_applying(session: Session, run_id: uuid.UUID) -> Run:
    """From now on any worker may make the run's open changes; a plan that somebody only wanted to see stays planned."""
    run = session.get(Run, run_id, with_for_update=True)
    assert run is not None, "it has just been stored"
    if run.state == PLANNED:
        run.state = APPLYING
        session.flush()
    return run


def applying(session: Session) -> list[Run]:
    """Runs that workers are to make, oldest first."""
    return list(session.exec(select(Run).where(Run.state == APPLYING).order_by(col(Run.started_at))))


def put_off(session: Session, run_id: uuid.UUID, until: dt.datetime) -> None:
    """The vendor is not to be had just now: no worker goes on before this moment."""
    session.connection().execute(update(Run).where(col(Run.id) == run_id).values(not_before=until))


def reported_before(session: Session, target: str) -> set[tuple[str, str, str]]:
    """(fingerprint, episode id, reason) of what the target's last run withheld, so that the trail says it once."""
    run = latest_run(session, target)
    if run is None:
        return set()
    return {
        (c.fingerprint, str(c.episode_id), c.withheld_by) for c in changes_of(session, run.id, [State.WITHHELD.value])
    }


def set_states(session: Session, change_ids: Collection[str], state: str, note: str = "") -> None:
    values: dict[str, Any] = {"state": state}
    if note:
        values["withheld_by"] = note
    ids = [uuid.UUID(c) for c in change_ids]
    session.connection().execute(update(ChangeRow).where(col(ChangeRow.id).in_(ids)).values(**values))


def close_run(session: Session, run_id: uuid.UUID, state: str, now: dt.datetime, failure: str = "") -> Run | None:
    """The last of a run: how it ended, and its changes counted by what became of them. None when it is closed already;
    one that a newer plan has set aside is closed by whoever was at it."""
    run = session.get(Run, run_id, with_for_update=True, populate_existing=True)
    assert run is not None, "a run is never deleted while it is open"
    if run.state not in (PLANNED, APPLYING, SUPERSEDED):
        return None
    tally = session.exec(
        select(ChangeRow.state, func.count()).where(ChangeRow.run_id == run_id).group_by(ChangeRow.state)
    )
    run.counts = {**run.counts, "by_state": dict(tally.all())}
    run.state, run.closed_at, run.failure = state, now, failure
    session.flush()
    return run


def attempt(
    session: Session,
    *,
    run_id: uuid.UUID,
    target: str,
    person_id: str,
    position: int,
    step: Step,
    owner: str,
    fence: int,
    now: dt.datetime,
) -> uuid.UUID:
    """Record that a step is about to be made; committed before the call."""
    row = StepRow(
        run_id=run_id,
        target=target,
        account_id=step.account_id,
        person_id=uuid.UUID(person_id) if person_id else None,
        position=position,
        verb=step.verb,
        args=dict(step.args),
        change_ids=list(step.tasks),
        sentence=step.sentence,
        outcome=Outcome.ATTEMPTED.value,
        owner=owner,
        fence=fence,
        attempted_at=now,
    )
    session.add(row)
    session.flush()
    return row.id


def finish(session: Session, step_id: uuid.UUID, made: Made, now: dt.datetime) -> StepRow:
    """Record what came of a step. Raises Lost when another worker has settled it meanwhile: that is what it stays."""
    row = session.get(StepRow, step_id, with_for_update=True, populate_existing=True)
    assert row is not None, "an unsettled step is never deleted"
    if row.outcome not in UNSETTLED:
        raise Lost(f"This step was lost to another worker, which found it {row.outcome}.")
    for name, value in asdict(made).items():
        if name in ("detail", "before", "after", "request_id"):
            setattr(row, name, value)
    row.outcome = made.outcome.value
    row.account_id = made.account_id or row.account_id
    row.finished_at = now
    session.flush()
    return row


def unsettled(session: Session, target: str, account_id: str | None = None) -> list[StepRow]:
    """Steps that may or may not have happened: a worker died in them, or their answer was lost. Oldest first."""
    query = (
        select(StepRow)
        .where(StepRow.target == target, col(StepRow.outcome).in_(UNSETTLED))
        .order_by(col(StepRow.attempted_at))
    )
    return list(session.exec(query.where(StepRow.account_id == account_id) if account_id is not None else query))


def as_step(row: StepRow) -> Step:
    return Step(row.verb, row.account_id, row.args, tuple(row.change_ids), row.sentence)


def count_effects(
    session: Session, step_id: uuid.UUID, target: str, person_id: str, kinds: Mapping[str, Tally], now: dt.datetime
) -> None:
    """Count changes, by id, towards the limits of the last 24 hours: each once, however many steps it takes."""
    if kinds:
        whose = uuid.UUID(person_id) if person_id else None
        same = {"step_id": step_id, "target": target, "person_id": whose, "at": now}
        rows = [{"change_id": uuid.UUID(id), "tally": kind.value, **same} for id, kind in kinds.items()]
        session.connection().execute(upsert(Effect).on_conflict_do_nothing(), rows)


def recent_effects(session: Session, target: str, now: dt.datetime) -> Counter[Tally]:
    """What the last 24 hours have done to a target, by what limits count; departures are counted in people.

    What a re-read found not to have happened does not count.
    """
    since = now - dt.timedelta(hours=24)
    rows = session.exec(
        select(Effect.tally, func.count(), func.count(func.distinct(Effect.person_id)))
        .join(StepRow, col(StepRow.id) == Effect.step_id)
        .where(Effect.target == target, Effect.at > since, StepRow.outcome != Outcome.FOUND_NOT_APPLIED.value)
        .group_by(Effect.tally)
    )
    return Counter({
        Tally(tally): people if tally == Tally.DEPARTURES.value else changes for tally, changes, people in rows
    })  # fmt: skip


def counted_already(
    session: Session, target: str, person_id: str, kinds: Mapping[str, Tally], now: dt.datetime
) -> set[str]:
    """Which of these changes count towards their limits already: at an earlier step, or as part of one departure."""
    ids = [uuid.UUID(id) for id in kinds]
    found = {str(id) for id in session.exec(select(Effect.change_id).where(col(Effect.change_id).in_(ids)))}
    departing = {id for id, kind in kinds.items() if kind is Tally.DEPARTURES} - found
    if not departing or not person_id:
        return found
    query = select(Effect.change_id).where(
        Effect.target == target,
        Effect.tally == Tally.DEPARTURES.value,
        Effect.person_id == uuid.UUID(person_id),
        Effect.at > now - dt.timedelta(hours=24),
    )
    return found | departing if session.exec(query.limit(1)).first() is not None else found
