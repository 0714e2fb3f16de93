"""Jobs of the schedule by slot: which are due, who is at them, how they ended. Claims go by the database's clock."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import text
from sqlmodel import Session, col, select

from worker.store.owners import certainly_dead
from worker.store.tables import JobRow

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
UNFINISHED = (WAITING, RUNNING)


def ensure(session: Session, name: str, slot: dt.datetime, now: dt.datetime) -> bool:
    """Make the row of a slot that is due; whether it is new. None is made while an earlier slot of the job is under
    way, nor for a slot that is older than one that there was: a missed tick is caught up once, and with the newest."""
    made = session.execute(
        text(
            "INSERT INTO job (name, slot, state, attempts, not_before, owner, progress, failure)"
            " SELECT due.name, due.slot, 'waiting', 0, :now, '', '{}', ''"
            " FROM (SELECT CAST(:name AS text) AS name, CAST(:slot AS timestamptz) AS slot) AS due WHERE NOT EXISTS"
            " (SELECT 1 FROM job WHERE job.name = due.name"
            " AND (job.slot >= due.slot OR job.state IN ('waiting', 'running')))"
            " ON CONFLICT (name, slot) DO NOTHING RETURNING name"
        ),
        {"name": name, "slot": slot, "now": now},
    )
    return made.one_or_none() is not None


def unfinished(session: Session) -> list[JobRow]:
    """Every slot that waits or is under way, the oldest first."""
    return list(session.exec(select(JobRow).where(col(JobRow.state).in_(UNFINISHED)).order_by(col(JobRow.slot))))


def free(row: JobRow, database_now: dt.datetime) -> bool:
    """Whether nobody is at it: nobody ever was, whoever was has died, or the claim has run out."""
    return (
        row.state == WAITING
        or row.claimed_until is None
        or row.claimed_until <= database_now
        or certainly_dead(row.owner)
    )


def claim(session: Session, name: str, owner: str, now: dt.datetime, ttl: dt.timedelta) -> JobRow | None:
    """Take the job's unfinished slot, when it is due and nobody is at it; None otherwise."""
    query = select(JobRow).where(JobRow.name == name, col(JobRow.state).in_(UNFINISHED))
    row = session.exec(query.order_by(col(JobRow.slot)).limit(1).with_for_update(skip_locked=True)).first()
    clock = database_clock(session)
    if row is None or row.not_before > now or not (free(row, clock) or row.owner == owner):
        return None
    row.state, row.owner, row.claimed_until = RUNNING, owner, clock + ttl
    row.attempts += 1
    row.started_at = row.started_at or now
    session.flush()
    return row


def current(session: Session, name: str) -> JobRow | None:
    """The job's slot that waits or is under way."""
    query = select(JobRow).where(JobRow.name == name, col(JobRow.state).in_(UNFINISHED))
    return session.exec(query.order_by(col(JobRow.slot)).limit(1)).first()


def last_failures(session: Session, names: Sequence[str]) -> dict[str, str]:
    """Of these jobs, those whose last slot came to nothing, with the reason."""
    rows = session.execute(
        text(
            "SELECT DISTINCT ON (name) name, state, failure FROM job WHERE name = ANY(:names) ORDER BY name, slot DESC"
        ),
        {"names": list(names)},
    )
    return {row.name: row.failure for row in rows if row.state == FAILED}


def retire(row: JobRow, now: dt.datetime) -> None:
    """End a slot of a job that there is no more; written with the transaction that `row` was read in."""
    row.state, row.finished_at, row.failure = FAILED, now, "the settings have no such job any more"


def note_subject(session: Session, row: JobRow, subject: uuid.UUID) -> bool:
    """The read that a slot has begun; from now on anybody may work at it."""
    return _set(session, row, {"subject": subject, "claimed_until": None})


def finish_read(session: Session, name: str, subject: uuid.UUID, now: dt.datetime) -> None:
    """The good end of the slot that began this read, by whoever was the last at it."""
    session.execute(
        text(
            "UPDATE job SET state = 'done', finished_at = :now, failure = ''"
            " WHERE name = :name AND subject = :subject AND state = 'running'"
        ),
        {"name": name, "subject": subject, "now": now},
    )


def interrupt_read(
    session: Session, name: str, subject: uuid.UUID, *,
    ended: bool, again: bool, attempts: int, until: dt.datetime, now: dt.datetime, failure: str,
) -> None:  # fmt: skip
    """A read that can go on goes on at `until`; one that has `ended` is begun again then, if that may help and it has
    not been begun `attempts` times; else the slot has failed."""
    row = session.exec(
        select(JobRow).where(JobRow.name == name, JobRow.subject == subject, JobRow.state == RUNNING).with_for_update()
    ).first()
    if row is None:
        return
    row.failure, row.not_before = failure, until
    if ended and again and row.attempts < attempts:
        row.state, row.subject, row.claimed_until = WAITING, None, None
    elif ended:
        row.state, row.finished_at = FAILED, now
    session.flush()


def finish(
    session: Session, row: JobRow, state: str, now: dt.datetime, failure: str = "", subject: uuid.UUID | None = None
) -> bool:
    """How it ended, unless somebody else has taken it over meanwhile (then False, and nothing is written)."""
    return _set(session, row, {"state": state, "failure": failure, "finished_at": now, "subject": subject})


def put_off(session: Session, row: JobRow, until: dt.datetime, failure: str) -> bool:
    """Back to waiting, not before a moment; what went wrong is kept."""
    return _set(session, row, {"state": WAITING, "failure": failure, "not_before": until, "claimed_until": None})


def hand_back(session: Session, row: JobRow, progress: Mapping[str, Any]) -> bool:
    """Let anybody go on with it from there, at once; not counted as an attempt."""
    return _set(session, row, {"claimed_until": None, "attempts": row.attempts - 1, "progress": dict(progress)})


def let_go(session: Session, owner: str) -> None:
    """Let anybody take the slots that this owner has claimed. Only for one who is at nothing at all."""
    session.execute(
        text("UPDATE job SET claimed_until = NULL WHERE state = 'running' AND owner = :owner"), {"owner": owner}
    )


def _set(session: Session, row: JobRow, values: Mapping[str, Any]) -> bool:
    """Only while it is still ours: a worker that was stopped for minutes has lost it."""
    plain = {k: orjson.dumps(v).decode() if k == "progress" else v for k, v in values.items()}
    columns = ", ".join(f"{k} = CAST(:{k} AS jsonb)" if k == "progress" else f"{k} = :{k}" for k in plain)
    done = session.execute(
        text(
            f"UPDATE job SET {columns} WHERE name = :name_ AND slot = :slot_ AND owner = :owner_ AND state = 'running'"
            " RETURNING name"
        ),
        {**plain, "name_": row.name, "slot_": row.slot, "owner_": row.owner},
    )
    return done.one_or_none() is not None


def database_clock(session: Session) -> dt.datetime:
    found: dt.datetime = session.scalars(text("SELECT clock_timestamp()")).one()
    return found
