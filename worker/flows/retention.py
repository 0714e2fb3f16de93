"""Lets go of what is older than the settings keep, and says in the trail what that was."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from worker.flows.site import Site
from worker.store import retention

BATCH = 5_000  # rows in one transaction: it ends within a second or two


@dataclass(frozen=True, slots=True)
class Swept:
    """How many rows went, by table; `more` when as many as may go at once did."""

    deleted: Mapping[str, int]
    more: bool


def sweep(site: Site, limit: int = BATCH) -> Swept:
    """Delete at most so many rows, in one transaction with the entry that says so. The audit trail is kept for ever."""
    now, kept = site.now(), site.loaded.settings.retention
    before = {name: now - getattr(kept, name) for name in ("mirror", "runs", "jobs", "notices", "hints")}
    with site.begin() as session:
        ended = retention.end_forsaken_reads(session, now - kept.parts)
        deleted = retention.delete(session, before, now, limit)
        if deleted or ended:
            site.record(session, site.event("retention", _facts(deleted, ended, before)))
    return Swept(deleted, sum(deleted.values()) >= limit)


def _facts(deleted: Mapping[str, int], ended: int, before: Mapping[str, dt.datetime]) -> dict[str, object]:
    return {
        "deleted": {table: str(number) for table, number in deleted.items()},
        "reads_ended": str(ended),
        "before": {name: moment.astimezone(dt.UTC).isoformat() for name, moment in before.items()},
    }
