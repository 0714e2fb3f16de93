"""The reads of a connector: which one is current, and how the others ended."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from worker.ports import Check


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One whole read of a connector. `certified_at` is when it became current; None before."""

    id: uuid.UUID
    connector: str
    started_at: dt.datetime
    certified_at: dt.datetime | None
    counts: Mapping[str, int]
    checks: tuple[Check, ...]
    failure: str

    @property
    def title(self) -> str:
        return f"The read of {self.connector} that began at {self.started_at:%Y-%m-%d %H:%M:%S}"


_COLUMNS = "id, connector, started_at, certified_at, counts, checks, failure"


def _snapshot(
    id: uuid.UUID, connector: str, started_at: dt.datetime, certified_at: dt.datetime | None,
    counts: dict[str, int], checks: dict[str, Any], failure: str,
) -> Snapshot:  # fmt: skip
    certificate = tuple(Check(name, c["passed"], c["detail"]) for name, c in checks.items())
    return Snapshot(id, connector, started_at, certified_at, counts, certificate, failure)


def current_snapshot(session: Session, connector: str) -> Snapshot | None:
    """The last read of a connector that became current; None before the first."""
    found = session.execute(
        text(f"SELECT {_COLUMNS} FROM snapshot WHERE connector = :connector AND current"),
        {"connector": connector},
    ).one_or_none()
    return _snapshot(*found) if found else None


def latest_attempt(session: Session, connector: str) -> Snapshot | None:
    """The read of a connector that began last, whatever came of it; `failure` says why it came to nothing."""
    found = session.execute(
        text(f"SELECT {_COLUMNS} FROM snapshot WHERE connector = :connector ORDER BY started_at DESC, id LIMIT 1"),
        {"connector": connector},
    ).one_or_none()
    return _snapshot(*found) if found else None


def snapshot(session: Session, id: uuid.UUID) -> Snapshot | None:
    """Any read, current or not."""
    found = session.execute(text(f"SELECT {_COLUMNS} FROM snapshot WHERE id = :id"), {"id": id}).one_or_none()
    return _snapshot(*found) if found else None
