"""Installations: which one is behind each connector's URL, and whose counts somebody has accepted as its baseline."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from uuid import UUID

from sqlmodel import Session, select

from worker.errors import Refused
from worker.store.tables import Baseline, Pause, Pin


def pin(session: Session, connector: str, instance_id: str, own_account: str, actor: str, now: dt.datetime) -> bool:
    """Pin at first use (True then). Raises Refused when another installation answers than the one pinned."""
    row = session.get(Pin, connector)
    if row is None:
        session.add(
            Pin(connector=connector, instance_id=instance_id, own_account=own_account, actor=actor, pinned_at=now)
        )
        return True
    if row.instance_id != instance_id:
        raise Refused(
            f"{connector} is not the installation it was: {instance_id} answers, {row.instance_id} is pinned. A clone"
            f" or another tenant must not be mistaken for it; correct `url`, or run `trueup check --repin {connector}`."
        )
    row.own_account = own_account
    return False


def unpin(session: Session, connector: str) -> bool:
    """Forget the pinned installation and its baseline; False when there is none."""
    row = session.get(Pin, connector)
    baseline = session.get(Baseline, connector)
    for known in (row, baseline):
        if known is not None:
            session.delete(known)
    session.flush()
    return row is not None


def instance_of(session: Session, connector: str) -> str:
    """The pinned installation's id ("" when nothing is pinned yet)."""
    row = session.get(Pin, connector)
    return row.instance_id if row else ""


def own_account_of(session: Session, connector: str) -> str:
    row = session.get(Pin, connector)
    return row.own_account if row else ""


def baseline(session: Session, connector: str) -> Baseline | None:
    return session.get(Baseline, connector)


def accept_baseline(
    session: Session, connector: str, snapshot_id: UUID, counts: Mapping[str, int], actor: str, now: dt.datetime
) -> None:
    session.merge(
        Baseline(connector=connector, snapshot_id=snapshot_id, counts=dict(counts), actor=actor, accepted_at=now)
    )
    session.flush()


def pause(session: Session, connector: str, actor: str, reason: str, now: dt.datetime) -> None:
    session.merge(Pause(connector=connector, actor=actor, reason=reason, at=now))
    session.flush()


def resume(session: Session, connector: str) -> bool:
    """False when it was not paused."""
    row = session.get(Pause, connector)
    if row is not None:
        session.delete(row)
        session.flush()
    return row is not None


def pauses(session: Session) -> list[Pause]:
    return list(session.exec(select(Pause).order_by(Pause.connector)))


def paused(session: Session, connector: str) -> Pause | None:
    """What stops this connector now: its own pause or everybody's."""
    return session.exec(select(Pause).where(Pause.connector.in_(["", connector]))).first()  # type: ignore[attr-defined]
