"""What callers of the API have asked for, by the key that each gave its request: asked again, it is done once."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

from sqlalchemy import or_, text
from sqlmodel import Session, col, select

from worker.store.tables import ApiRequestRow, OffboardingRow


def wait_for_turn(session: Session, caller: str, key: str) -> None:
    """Of two that come with the same key at once, the second waits until the first is recorded, or is not."""
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"api request {caller} {key}"}
    )


def found(session: Session, caller: str, key: str) -> ApiRequestRow | None:
    return session.get(ApiRequestRow, (caller, key))


def record(session: Session, caller: str, key: str, digest: str, offboarding_id: uuid.UUID, now: dt.datetime) -> None:
    session.add(ApiRequestRow(caller=caller, key=key, digest=digest, offboarding_id=offboarding_id, at=now))
    session.flush()


def asked_for(session: Session, caller: str, offboarding_id: uuid.UUID) -> bool:
    """Whether the caller has asked for this one, be it that somebody else had asked before."""
    query = select(ApiRequestRow).where(ApiRequestRow.caller == caller, ApiRequestRow.offboarding_id == offboarding_id)
    return session.exec(query.limit(1)).first() is not None


def offboardings(
    session: Session, since: dt.datetime, limit: int, caller: str | None = None
) -> Sequence[OffboardingRow]:
    """Those asked for since a moment, the oldest first; of one caller alone, where one is named."""
    query = select(OffboardingRow).where(col(OffboardingRow.requested_at) >= since)
    if caller is not None:
        theirs = select(ApiRequestRow.offboarding_id).where(ApiRequestRow.caller == caller)
        query = query.where(or_(col(OffboardingRow.id).in_(theirs), col(OffboardingRow.actor) == caller))
    return session.exec(query.order_by(col(OffboardingRow.requested_at), col(OffboardingRow.id)).limit(limit)).all()
