"""Makes a read that is whole and certified the current one, in one go.

Rows of the mirror are never overwritten. One that changed is closed at the moment of the merge and its successor is
opened, so an unchanged read writes nothing and "as of" is a question of two columns.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import text
from sqlmodel import Session

from worker.errors import Refused
from worker.store import sweep
from worker.store.bulk import planned_for_all_rows
from worker.store.snapshots import Snapshot
from worker.store.snapshots import snapshot as snapshot_of
from worker.store.staging import KINDS, SOURCE_KINDS, TARGET_KINDS, Kind, clear_staging, inherited, refuse_lost_rows


@dataclass(frozen=True, slots=True)
class Merged:
    """How many rows of the mirror a read ended and began; both are 0 when nothing had changed."""

    closed: int
    opened: int


def merge_source(session: Session, snapshot_id: uuid.UUID, now: dt.datetime) -> Merged:
    """Make a certified pull the current one. Raises Refused, and changes nothing, when it is not whole or not sound."""
    return _merge(session, snapshot_id, now, SOURCE_KINDS)


def merge_target(session: Session, snapshot_id: uuid.UUID, now: dt.datetime) -> Merged:
    """The same for an observation of a target."""
    return _merge(session, snapshot_id, now, TARGET_KINDS)


def _merge(session: Session, snapshot_id: uuid.UUID, now: dt.datetime, kinds: Sequence[Kind]) -> Merged:
    snapshot = _mergeable(session, snapshot_id)
    known = {"snapshot": snapshot_id, "connector": snapshot.connector, "now": now}
    # Two merges at one instant, or a clock set back, must not make a row end before it began.
    known["moment"] = session.scalars(
        text("SELECT greatest(CAST(:now AS timestamptz), max(certified_at) + interval '1 microsecond')"
             " FROM snapshot WHERE connector = :connector"),
        known,
    ).one()  # fmt: skip
    closed = opened = 0
    with planned_for_all_rows(session):
        if kinds is TARGET_KINDS:
            sweep.carry(session, known)
        for kind in kinds:
            _refuse_contradictions(session, kind, known)
            closed += _touched(session, _closing(kind), known)
            opened += _touched(session, _opening(kind), known)
    session.execute(text("UPDATE snapshot SET current = false WHERE connector = :connector AND current"), known)
    session.execute(
        text("UPDATE snapshot SET current = true, certified_at = :moment, counts = CAST(:counts AS jsonb)"
             " WHERE id = :snapshot"),
        {**known, "counts": orjson.dumps(counts(session, snapshot.connector)).decode()},
    )  # fmt: skip
    clear_staging(session, snapshot_id)
    return Merged(closed, opened)


def _mergeable(session: Session, snapshot_id: uuid.UUID) -> Snapshot:
    session.execute(text("SELECT 1 FROM snapshot WHERE id = :id FOR UPDATE"), {"id": snapshot_id})
    snapshot = snapshot_of(session, snapshot_id)
    if snapshot is None:
        raise Refused(f"There is no read {snapshot_id}.")
    what = snapshot.title
    if snapshot.certified_at or snapshot.failure:
        raise Refused(f"{what} is closed already ({snapshot.failure or 'it became current'}).")
    for check in snapshot.checks:
        if not check.passed:
            raise Refused(f"{what} is not whole: {check.name}: {check.detail}")
    newer = session.scalars(
        text("SELECT count(*) FROM snapshot WHERE connector = :connector AND current AND started_at > :started_at"),
        {"connector": snapshot.connector, "started_at": snapshot.started_at},
    ).one()
    if newer:
        raise Refused(f"{what} is older than the current one and cannot replace it.")
    refuse_lost_rows(session, snapshot_id)
    return snapshot


def _refuse_contradictions(session: Session, kind: Kind, known: Mapping[str, object]) -> None:
    """The same thing may be read twice, as pages overlap, but not in two states: then it moved under the read."""
    if not kind.values:
        return
    key = ", ".join(kind.key)
    twice = session.execute(
        text(f"SELECT {key} FROM ({kind.staged}) AS staged GROUP BY {key} HAVING count(*) > 1 LIMIT 1"), known
    ).first()
    if twice:
        raise Refused(
            f"The read of {known['connector']} brought {' '.join(twice)} twice, in different states; it changed"
            " meanwhile. Read again."
        )


def _closing(kind: Kind) -> str:
    """SQL: rows that vanished or changed end now."""
    staged = kind.staged.replace("SELECT DISTINCT", "SELECT")
    return (
        f"UPDATE {kind.table} AS live SET valid_to = :moment WHERE live.{kind.owner} = :connector"
        f" AND live.valid_to IS NULL AND NOT EXISTS (SELECT 1 FROM ({staged}) AS staged"
        f" WHERE {kind.same('staged', 'live', kind.key + kind.values)})"
    )


def _opening(kind: Kind) -> str:
    """SQL: what has no open row begins now."""
    return (
        f"INSERT INTO {kind.table} ({kind.owner}, {kind.columns}, valid_from)"
        f" SELECT CAST(:connector AS text), {kind.columns}, CAST(:moment AS timestamptz) FROM ({kind.staged}) AS staged"
        f" WHERE NOT EXISTS (SELECT 1 FROM {kind.table} AS live WHERE live.{kind.owner} = :connector"
        f" AND live.valid_to IS NULL AND {kind.same('staged', 'live', kind.key)})"
        f" ORDER BY {', '.join(kind.key)}"  # an index that grows in order grows faster
    )


def _touched(session: Session, statement: str, known: Mapping[str, object]) -> int:
    return session.execute(text(statement), known).rowcount  # type: ignore[attr-defined, no-any-return]


# --- what is current -------------------------------------------------------------------------------------------------


def counts(session: Session, connector: str) -> dict[str, int]:
    """How much is current, by the same nouns as `staged_counts`."""
    found = {
        kind.noun: session.scalars(
            text(f"SELECT count(*) FROM {kind.table} WHERE {kind.owner} = :connector AND valid_to IS NULL"),
            {"connector": connector},
        ).one()
        for kind in KINDS
    }
    if found["nestings"]:
        of_source = "{} WHERE source = :connector AND valid_to IS NULL"
        found["inherited"] = inherited(session, of_source, {"connector": connector})
    return {noun: count for noun, count in found.items() if count}
