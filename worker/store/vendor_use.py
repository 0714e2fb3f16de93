"""How much each connector's vendor has been asked since ever, added up from what every worker counts by itself."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col

from worker.store.tables import VendorUse


def add(session: Session, connector: str, calls: int, throttled: int, waited: float) -> None:
    """Calls, those answered with 429, and seconds that calls waited for their turn."""
    row = insert(VendorUse).values(connector=connector, calls=calls, throttled=throttled, waited_seconds=waited)
    added = {
        "calls": col(VendorUse.calls) + row.excluded.calls,
        "throttled": col(VendorUse.throttled) + row.excluded.throttled,
        "waited_seconds": col(VendorUse.waited_seconds) + row.excluded.waited_seconds,
    }
    session.execute(row.on_conflict_do_update(index_elements=[col(VendorUse.connector)], set_=added))
