"""Decisions and waivers: what named people have said about exact changes and standing drift."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping

from sqlalchemy import update
from sqlmodel import Session, col, select

from worker.store.tables import ChangeRow, Decision, Episode, Waiver

APPROVED, REJECTED = "approved", "rejected"


def decide(session: Session, decision: Decision) -> None:
    """Record a decision; it takes the place of an unused one on the same change and episode."""
    session.connection().execute(
        update(Decision)
        .where(
            col(Decision.fingerprint) == decision.fingerprint,
            col(Decision.episode_id) == decision.episode_id,
            col(Decision.used_at).is_(None),
        )
        .values(expires_at=decision.at)
    )
    session.add(decision)
    session.flush()


def verdicts(session: Session, episode_ids: Collection[uuid.UUID], now: dt.datetime) -> dict[str, Decision]:
    """Fingerprint -> the decision in force about it: unused, not expired, and about an episode that is still open.

    An approval of another episode of the same drift is void: the world has moved in between.
    """
    rows = session.exec(
        select(Decision)
        .join(Episode, col(Episode.id) == Decision.episode_id)
        .where(
            col(Decision.used_at).is_(None),
            Decision.expires_at > now,
            col(Episode.closed_at).is_(None),
            col(Decision.episode_id).in_(list(episode_ids)),
        )
        .order_by(col(Decision.at))
    )
    return {row.fingerprint: row for row in rows}


def use(session: Session, fingerprint: str, episode_id: uuid.UUID, now: dt.datetime) -> Decision | None:
    """Spend the approval of a change; None when there is none in force (any more)."""
    row = session.exec(
        select(Decision)
        .where(
            Decision.fingerprint == fingerprint,
            Decision.episode_id == episode_id,
            Decision.verdict == APPROVED,
            col(Decision.used_at).is_(None),
            Decision.expires_at > now,
        )
        .with_for_update()
    ).first()
    if row is not None:
        row.used_at = now
        session.flush()
    return row


def give_back(session: Session, change_ids: Collection[str]) -> None:
    """Nothing came of these changes: what approved them is good again, until it expires."""
    used = select(ChangeRow.decision_id).where(col(ChangeRow.id).in_([uuid.UUID(c) for c in change_ids]))
    session.connection().execute(update(Decision).where(col(Decision.id).in_(used)).values(used_at=None))


def waive(session: Session, waiver: Waiver) -> None:
    session.add(waiver)
    session.flush()


def waivers(session: Session, instance_id: str, now: dt.datetime) -> dict[tuple[str, str, str], Waiver]:
    """(account id, entitlement key or field, drift kind) -> the waiver in force."""
    rows = session.exec(
        select(Waiver).where(Waiver.instance_id == instance_id, col(Waiver.ended_at).is_(None), Waiver.until > now)
    )
    return {(w.account_id, w.entitlement, w.kind): w for w in rows}


def end_waivers(
    session: Session, instances: Mapping[str, str], accounts: Collection[tuple[str, str]], now: dt.datetime
) -> int:
    """End the waivers on (target, account id) of somebody who departs; `instances` are instance ids by target."""
    ended = 0
    for target, account_id in accounts:
        ended += (
            session.connection()
            .execute(
                update(Waiver)
                .where(
                    col(Waiver.instance_id) == instances[target],
                    col(Waiver.account_id) == account_id,
                    col(Waiver.ended_at).is_(None),
                )
                .values(ended_at=now)
            )
            .rowcount
        )
    return ended
