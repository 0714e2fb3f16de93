"""What is remembered of each standing order at a source's vendor: with what it was made, and until when it stands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from sqlmodel import Session, col, select

from worker.ports import Subscription
from worker.store.tables import SubscriptionRow


def of(session: Session, source: str) -> Sequence[SubscriptionRow]:
    query = select(SubscriptionRow).where(SubscriptionRow.source == source)
    return session.exec(query.order_by(col(SubscriptionRow.resource))).all()


def known(session: Session, source: str, vendor_ids: Sequence[str]) -> Mapping[str, SubscriptionRow]:
    """Those of these that are ours, by the vendor's id in small letters."""
    query = select(SubscriptionRow).where(
        SubscriptionRow.source == source, col(SubscriptionRow.vendor_id).in_([id for id in vendor_ids if id])
    )
    return {row.vendor_id: row for row in session.exec(query)}


def row(session: Session, source: str, resource: str) -> SubscriptionRow:
    """The one row of a resource, new or as it is."""
    found = session.get(SubscriptionRow, (source, resource))
    if found is None:
        found = SubscriptionRow(source=source, resource=resource)
        session.add(found)
    return found


def made(row: SubscriptionRow, order: Subscription, now: dt.datetime, *, tenant: str, url: str, digest: str) -> None:
    """It stands, with these."""
    row.vendor_id, row.tenant, row.url, row.secret_digest = order.id.lower(), tenant.lower(), url, digest
    renewed(row, order, now)


def renewed(row: SubscriptionRow, order: Subscription, now: dt.datetime) -> None:
    row.expires_at, row.made_at = order.expires_at, now
    row.renew_at = now + (order.expires_at - now) / 2
    row.failure, row.failed_at = "", None


def gone(row: SubscriptionRow) -> None:
    """The vendor has it no more."""
    row.vendor_id, row.expires_at, row.renew_at = "", None, None


def failed(row: SubscriptionRow, why: str, now: dt.datetime) -> None:
    row.failure, row.failed_at = why, now
