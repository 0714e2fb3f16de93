"""What people are to be told: noticed in the transaction of the fact itself, once, and kept until everybody has it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from worker.core.notices import NoticeKind, Told


def notice(
    session: Session,
    kind: NoticeKind,
    key: str,
    sentence: str,
    now: dt.datetime,
    *,
    person_id: str | uuid.UUID | None = None,
    urgent: bool = False,
) -> None:
    """Remember that people are to be told, unless the same `key` of the kind was noticed before."""
    session.execute(
        text(f"{_INSERT} VALUES (:kind, :key, :sentence, :urgent, CAST(:person AS uuid), '{{}}', :now) {_ONCE}"),
        {
            "kind": kind.value, "key": key, "sentence": sentence, "urgent": urgent,
            "person": str(person_id) if person_id else None, "now": now,
        },
    )  # fmt: skip


def drift_found(session: Session, target: str, now: dt.datetime) -> None:
    """Every drift of a target whose episode was opened at this very moment."""
    _gathered(session, NoticeKind.DRIFT_FOUND, now, _OF_NEW_EPISODES, target=target)


def plan_withheld(session: Session, run_id: uuid.UUID, now: dt.datetime) -> None:
    """Every change of a run that a guard withholds: once per drift and reason, whatever the numbers in it."""
    _gathered(session, NoticeKind.PLAN_WITHHELD, now, _OF_WITHHELD, run=run_id)


def change_failed(session: Session, change_ids: Collection[str], now: dt.datetime) -> None:
    """These changes did not come about: once per drift, however often it is tried."""
    _gathered(session, NoticeKind.CHANGE_FAILED, now, _OF_CHANGES, changes=[uuid.UUID(c) for c in change_ids])


def read_refused(session: Session, connector: str, why: str, now: dt.datetime) -> None:
    """A read did not become current: once, until another one does."""
    key = session.scalars(
        text("SELECT coalesce((SELECT id::text FROM snapshot WHERE connector = :connector AND current), 'never')"),
        {"connector": connector},
    ).one()
    notice(session, NoticeKind.READ_REFUSED, f"{connector} after {key}", f"{connector}: {why}", now)


_INSERT = "INSERT INTO notice (kind, key, sentence, urgent, person_id, told, noticed_at)"
_ONCE = "ON CONFLICT (kind, key) DO NOTHING"

_OF_NEW_EPISODES = """
SELECT id::text, sentence, urgent, person_id FROM episode WHERE target = :target AND opened_at = :now
"""
_OF_WITHHELD = """
SELECT episode_id || ' ' || left(encode(sha256(convert_to(regexp_replace(withheld_by, '\\d+', '#', 'g'), 'UTF8')), 'hex'), 16),
       sentence || ' (' || withheld_by || ')', false, person_id
FROM change WHERE run_id = :run AND state = 'withheld'
"""  # noqa: E501
_OF_CHANGES = """
SELECT episode_id::text, sentence || ': ' || state || CASE WHEN withheld_by = '' THEN '' ELSE ', ' || withheld_by END,
       false, person_id
FROM change WHERE id = ANY(:changes)
"""


def _gathered(session: Session, kind: NoticeKind, now: dt.datetime, found: str, **which: object) -> None:
    session.flush()
    session.execute(
        text(
            f"{_INSERT} SELECT :kind, f.key, f.sentence, f.urgent, f.person_id, '{{}}', :now"
            f" FROM ({found}) AS f (key, sentence, urgent, person_id) {_ONCE}"
        ),
        {"kind": kind.value, "now": now, **which},
    )


# --- telling ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Untold:
    """What one receiver is to be told now; locked until the transaction ends."""

    keys: Sequence[tuple[str, str]]
    told: Sequence[Told]


def let_go(session: Session, wanted: Collection[NoticeKind], now: dt.datetime) -> None:
    """What nobody wants to be told is as good as sent."""
    session.execute(
        text("UPDATE notice SET sent_at = :now, sentence = '' WHERE sent_at IS NULL AND NOT (kind = ANY(:wanted))"),
        {"now": now, "wanted": [kind.value for kind in wanted]},
    )


def untold(session: Session, receiver: str, since: dt.datetime) -> Untold:
    """What a receiver has not been told, oldest first; nothing when it was told something after `since`, or when
    another worker is telling it just now."""
    ours = session.scalars(
        text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"tell {receiver}"}
    ).one()
    last = session.scalars(
        text("SELECT max((told ->> :receiver)::timestamptz) FROM notice WHERE told ? :receiver"),
        {"receiver": receiver},
    ).one()
    if not ours or (last is not None and last > since):
        return Untold((), ())
    rows = session.execute(
        text(
            "SELECT kind, key, sentence, urgent FROM notice WHERE sent_at IS NULL AND NOT told ? :receiver"
            " ORDER BY noticed_at, kind, key FOR UPDATE"
        ),
        {"receiver": receiver},
    ).all()
    return Untold(
        [(row.kind, row.key) for row in rows],
        [Told(NoticeKind(row.kind), row.sentence, row.urgent) for row in rows],
    )


def mark_told(session: Session, receiver: str, keys: Sequence[tuple[str, str]], now: dt.datetime) -> None:
    session.execute(
        text(
            "UPDATE notice SET told = told || jsonb_build_object(CAST(:receiver AS text), CAST(:at AS text))"
            " FROM unnest(CAST(:kinds AS text[]), CAST(:keys AS text[])) AS done (kind, key)"
            " WHERE notice.kind = done.kind AND notice.key = done.key"
        ),
        {
            "receiver": receiver,
            "at": now.isoformat(),
            "kinds": [kind for kind, _ in keys],
            "keys": [key for _, key in keys],
        },
    )


def close(session: Session, receivers: Collection[str], now: dt.datetime) -> None:
    """What every receiver has been told is over; its sentence may name somebody, and goes."""
    session.execute(
        text("UPDATE notice SET sent_at = :now, sentence = '' WHERE sent_at IS NULL AND told ?& CAST(:all AS text[])"),
        {"now": now, "all": list(receivers)},
    )
