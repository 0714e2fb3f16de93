"""Offboardings: who is to leave, how far each one is, and what came of it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import func, text, update
from sqlmodel import Session, col, select

from worker.core.guardrails import State
from worker.store import people
from worker.store.owners import certainly_dead
from worker.store.tables import ChangeRow, OffboardingRow, OffboardingTarget, Run, StepRow

ASKED, WAITING, WORKING, CLOSED = "asked", "waiting", "working", "closed"
NOT_CONFIRMED, REJECTED, LIFTED = "not confirmed", "rejected", "lifted"
OPEN, DONE = "open", "done"  # of a part; one may be WAITING too
RUNNING = "offboarding"  # the state of its runs

DAY = dt.timedelta(hours=24)


def add(session: Session, row: OffboardingRow) -> OffboardingRow:
    session.add(row)
    session.flush()
    return row


def by_id(session: Session, id: uuid.UUID, *, lock: bool = False) -> OffboardingRow | None:
    return session.get(OffboardingRow, id, with_for_update=lock, populate_existing=True)


def called(session: Session, text_: str) -> OffboardingRow | None:
    """By its id, or the beginning of one that is nobody else's: at least eight hex digits."""
    wanted = text_.strip().lower().replace("-", "")
    if len(wanted) < 8 or not all(c in "0123456789abcdef" for c in wanted):
        return None
    rows = session.scalars(
        text("SELECT id FROM offboarding WHERE replace(id::text, '-', '') LIKE :wanted || '%' LIMIT 2"),
        {"wanted": wanted},
    ).all()
    return by_id(session, rows[0]) if len(rows) == 1 else None


def by_key(session: Session, key: str) -> OffboardingRow | None:
    return session.exec(select(OffboardingRow).where(OffboardingRow.idempotency_key == key)).one_or_none()


def open_of(session: Session, person_id: str) -> OffboardingRow | None:
    """The one of this person that has not ended, locked until the transaction does."""
    query = select(OffboardingRow).where(
        OffboardingRow.person_id == uuid.UUID(person_id), col(OffboardingRow.closed_at).is_(None)
    )
    return session.exec(query.with_for_update()).one_or_none()


def latest_of(session: Session, person_id: str) -> OffboardingRow | None:
    """The newest one of a person that is no mere hint that was wrong."""
    query = select(OffboardingRow).where(
        OffboardingRow.person_id == uuid.UUID(person_id), OffboardingRow.state != NOT_CONFIRMED
    )
    return session.exec(query.order_by(col(OffboardingRow.requested_at).desc()).limit(1)).first()


def closed_of(session: Session, person_id: str) -> OffboardingRow | None:
    """The newest one of a person that has its receipt."""
    query = select(OffboardingRow).where(
        OffboardingRow.person_id == uuid.UUID(person_id), OffboardingRow.state == CLOSED
    )
    return session.exec(query.order_by(col(OffboardingRow.closed_at).desc()).limit(1)).first()


def since(session: Session, actor: str, since: dt.datetime | None, limit: int) -> list[OffboardingRow]:
    """The newest first; `actor` "" is everybody's."""
    query = select(OffboardingRow).order_by(col(OffboardingRow.requested_at).desc(), col(OffboardingRow.id))
    if actor:
        query = query.where(OffboardingRow.actor == actor)
    if since is not None:
        query = query.where(OffboardingRow.requested_at >= since)
    return list(session.exec(query.limit(limit)))


def waiting(session: Session) -> list[OffboardingRow]:
    """Those that a human has to decide about, oldest first."""
    query = select(OffboardingRow).where(OffboardingRow.state == WAITING).order_by(col(OffboardingRow.requested_at))
    return list(session.exec(query))


def unconfirmed(session: Session) -> int:
    """How many people the sources have still to be asked about."""
    query = select(func.count()).select_from(OffboardingRow).where(
        OffboardingRow.state == ASKED, col(OffboardingRow.closed_at).is_(None)
    )  # fmt: skip
    return session.exec(query).one()


def begun_lately(session: Session, now: dt.datetime) -> set[str]:
    """Ids of the people whose access was begun to be taken in the last 24 hours: by offboardings of any trigger, and by
    plans."""
    rows = session.scalars(
        text(
            "SELECT person_id::text FROM offboarding WHERE begun_at > :since"
            " UNION SELECT person_id::text FROM effect WHERE tally = 'departures' AND at > :since"
            " AND person_id IS NOT NULL"
        ),
        {"since": now - DAY},
    )
    return set(rows)


# --- parts ------------------------------------------------------------------------------------------------------------


def part(session: Session, id: uuid.UUID, target: str, *, lock: bool = False) -> OffboardingTarget | None:
    return session.get(OffboardingTarget, (id, target), with_for_update=lock, populate_existing=True)


def parts(session: Session, id: uuid.UUID) -> list[OffboardingTarget]:
    query = select(OffboardingTarget).where(OffboardingTarget.offboarding_id == id)
    return list(session.exec(query.order_by(OffboardingTarget.target).execution_options(populate_existing=True)))


def add_parts(session: Session, id: uuid.UUID, targets: Collection[str]) -> None:
    """What is there already stays as far as it is; what waited for a human is open again."""
    known = {part.target: part for part in parts(session, id)}
    for target in targets:
        if target not in known:
            session.add(OffboardingTarget(offboarding_id=id, target=target))
    for one in known.values():
        if one.state == WAITING:
            one.state, one.rounds, one.not_before = OPEN, 0, None
    session.flush()


def hands(session: Session, now: dt.datetime, *, untouched: bool = False) -> list[tuple[uuid.UUID, str]]:
    """(id, target, or "" where it is to be confirmed first) of whatever nobody is at: who is not marked yet before who
    is, the oldest first; and after all of them what has failed before, and what is in a target where something has.
    `untouched`: only where nobody has looked yet."""
    rows = session.execute(
        text(
            "WITH part AS (SELECT t.* FROM offboarding_target t JOIN offboarding o ON o.id = t.offboarding_id"
            "  WHERE o.closed_at IS NULL AND o.state = 'working' AND t.state = 'open')"
            " SELECT o.id, '' AS target, o.requested_at, o.why <> '' AS in_trouble FROM offboarding o"
            " WHERE o.closed_at IS NULL AND o.state = 'asked' AND coalesce(o.not_before, :now) <= :now"
            " UNION ALL SELECT o.id, p.target, o.requested_at,"
            " EXISTS (SELECT 1 FROM part other WHERE other.target = p.target AND other.failure <> '')"
            " FROM part p JOIN offboarding o ON o.id = p.offboarding_id"
            " WHERE coalesce(p.not_before, :now) <= :now AND (p.looked_at IS NULL OR NOT :untouched)"
            " ORDER BY 3, 2"
        ),
        {"now": now, "untouched": untouched},
    ).all()
    if not rows:
        return []
    held = session.execute(
        text("SELECT name, owner FROM lease WHERE name LIKE 'offboarding %' AND expires_at > clock_timestamp()")
    )
    busy = {row.name for row in held if not certainly_dead(row.owner)}
    free = [row for row in rows if claim_name(row.id, row.target) not in busy]
    return [(row.id, row.target) for row in sorted(free, key=lambda row: (row.in_trouble, row.target != ""))]


def claim_name(id: uuid.UUID, target: str) -> str:
    return f"offboarding {id} {target}".strip()


# --- what it did ------------------------------------------------------------------------------------------------------


def begin_run(session: Session, run: Run) -> None:
    """A run of its own: what an earlier one of this offboarding and target left open is in the new one, or is done."""
    ids = list(
        session.exec(
            select(Run.id).where(
                Run.offboarding_id == run.offboarding_id, Run.target == run.target, col(Run.closed_at).is_(None)
            )
        )
    )
    for id in ids:
        close_run(session, id, "superseded", run.started_at)
    session.add(run)
    session.flush()


def close_run(session: Session, run_id: uuid.UUID, state: str, now: dt.datetime) -> None:
    """Nothing of it stays open: whoever comes next looks and plans afresh."""
    open_ones = (col(ChangeRow.run_id) == run_id, col(ChangeRow.state) == State.OPEN.value)
    session.connection().execute(update(ChangeRow).where(*open_ones).values(state="superseded"))
    session.flush()
    tally = session.exec(
        select(ChangeRow.state, func.count()).where(ChangeRow.run_id == run_id).group_by(ChangeRow.state)
    )
    session.connection().execute(
        update(Run)
        .where(col(Run.id) == run_id, col(Run.closed_at).is_(None))
        .values(state=state, closed_at=now, counts={"by_state": dict(tally.all())})
    )


def changes(session: Session, row: OffboardingRow) -> list[ChangeRow]:
    """What was planned to be taken from the person since it was asked: by the offboarding, and by plans meanwhile. What
    was taken since by a plan of before, such as the one that saw them back, too."""
    planned = (col(Run.offboarding_id) == row.id) | (col(Run.started_at) >= row.requested_at)
    taken = {uuid.UUID(id) for step in steps(session, row) for id in step.change_ids}
    query = (
        select(ChangeRow)
        .join(Run, col(Run.id) == ChangeRow.run_id)
        .where(
            col(ChangeRow.person_id).in_(_once(session, row)),
            ChangeRow.cause == "DEPARTED",
            planned | col(ChangeRow.id).in_(taken),
        )
        .order_by(col(Run.started_at), col(ChangeRow.position))
    )
    return list(session.exec(query))


def steps(session: Session, row: OffboardingRow) -> list[StepRow]:
    """What was done to the person's accounts since it was asked, in its order."""
    query = select(StepRow).where(
        col(StepRow.person_id).in_(_once(session, row)), StepRow.attempted_at >= row.requested_at
    )
    return list(session.exec(query.order_by(col(StepRow.attempted_at), col(StepRow.position))))


def entries(session: Session, row: OffboardingRow) -> list[tuple[int, str, dt.datetime]]:
    """(number, kind, when) of the trail's entries about the person since it was asked."""
    found = session.execute(
        text(
            "SELECT number, kind, at FROM entry WHERE stream = 'main' AND person_id = ANY(:people) AND at >= :since"
            " ORDER BY number"
        ),
        {"people": _once(session, row), "since": row.requested_at},
    )
    return [(r.number, r.kind, r.at) for r in found]


def _once(session: Session, row: OffboardingRow) -> list[uuid.UUID]:
    """Whom it is about, under every id that they had."""
    return [uuid.UUID(id) for id in people.everyone_once(session, str(row.person_id))]


def watched(session: Session, now: dt.datetime, before: dt.datetime, limit: int) -> Sequence[OffboardingRow]:
    """Receipts that are to be looked behind again: the newest of each person, not looked at since `before`."""
    query = (
        select(OffboardingRow)
        .where(
            OffboardingRow.state == CLOSED,
            col(OffboardingRow.watch_until) > now,
            func.coalesce(OffboardingRow.watched_at, OffboardingRow.closed_at) < before,
        )
        .order_by(func.coalesce(OffboardingRow.watched_at, OffboardingRow.closed_at))
        .limit(limit)
    )
    return list(session.exec(query))


def out_before(session: Session, now: dt.datetime, moment: dt.datetime) -> set[str]:
    """Ids of the people who are watched, and of whom a receipt said before a moment that they were out."""
    rows = session.scalars(
        text(
            "SELECT person_id::text FROM offboarding WHERE state = 'closed' AND watch_until > :now"
            " AND locked_at IS NOT NULL AND closed_at < :moment"
        ),
        {"now": now, "moment": moment},
    )
    return set(rows)


def known_when_out(session: Session, now: dt.datetime, moment: dt.datetime, target: str) -> dict[str, frozenset[str]]:
    """By the ids of those people, the accounts of theirs in a target that the receipt speaks of."""
    rows = session.execute(
        text(
            "SELECT o.person_id::text AS person_id, ARRAY(SELECT jsonb_object_keys(t.record->'accounts')) AS accounts"
            " FROM offboarding o JOIN offboarding_target t ON t.offboarding_id = o.id AND t.target = :target"
            " WHERE o.state = 'closed' AND o.watch_until > :now AND o.locked_at IS NOT NULL AND o.closed_at < :moment"
        ),
        {"now": now, "moment": moment, "target": target},
    )
    return {row.person_id: frozenset(row.accounts) for row in rows}


def end_watch(session: Session, person_id: uuid.UUID) -> None:
    """They are back, or a newer receipt is what is watched from now on."""
    session.connection().execute(
        update(OffboardingRow).where(col(OffboardingRow.person_id) == person_id).values(watch_until=None)
    )


def store_receipt(session: Session, row: OffboardingRow, receipt: Mapping[str, Any]) -> None:
    row.receipt = dict(receipt)
    session.flush()
