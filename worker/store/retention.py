"""Deletes what is over and older than it is kept: never what is current, never the audit chain.

Rows go some thousand at a time, each time in the order that lets nothing point into the void.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from sqlalchemy import text
from sqlmodel import Session

from worker.store import staging

# The last run of a target is what reports and reviews are about, whatever its age.
_OLD_RUNS = """
SELECT r.id FROM run r WHERE r.closed_at < :runs
AND EXISTS (SELECT 1 FROM run later WHERE later.target = r.target AND later.started_at > r.started_at)
AND NOT EXISTS (SELECT 1 FROM step s WHERE s.run_id = r.id AND s.outcome IN ('attempted', 'unknown'))
AND NOT EXISTS (SELECT 1 FROM effect e JOIN step s ON s.id = e.step_id
                WHERE s.run_id = r.id AND e.at > CAST(:now AS timestamptz) - interval '24 hours')
"""

# By table, in order: what of it (`t`) may go. Each name after a colon is the moment before which it has to have ended.
_OVER: Mapping[str, str] = {
    "membership": "t.valid_to < :mirror",
    "nesting": "t.valid_to < :mirror",
    "holding": "t.valid_to < :mirror",
    "source_group": "t.valid_to < :mirror",
    "catalogue_item": "t.valid_to < :mirror",
    "account": "t.valid_to < :mirror",
    # The last that was known of somebody stays: by it they are named in the trail, and found to be forgotten.
    "identity": (
        "t.valid_to < :mirror AND (t.login = '' OR EXISTS (SELECT 1 FROM identity later"
        " WHERE later.source = t.source AND later.id = t.id AND later.valid_from > t.valid_from))"
    ),
    "effect": f"t.step_id IN (SELECT s.id FROM step s WHERE s.run_id IN ({_OLD_RUNS}))",
    "step": f"t.run_id IN ({_OLD_RUNS}) AND NOT EXISTS (SELECT 1 FROM effect e WHERE e.step_id = t.id)",
    "change": f"t.run_id IN ({_OLD_RUNS})",
    "run": (
        f"t.id IN ({_OLD_RUNS}) AND NOT EXISTS (SELECT 1 FROM step s WHERE s.run_id = t.id)"
        " AND NOT EXISTS (SELECT 1 FROM change c WHERE c.run_id = t.id)"
    ),
    "snapshot": (
        "t.started_at < :runs AND NOT t.current AND (t.certified_at IS NOT NULL OR t.failure <> '')"
        " AND EXISTS (SELECT 1 FROM snapshot later WHERE later.connector = t.connector"
        " AND later.started_at > t.started_at)"
        " AND NOT EXISTS (SELECT 1 FROM baseline b WHERE b.snapshot_id = t.id)"
        " AND NOT EXISTS (SELECT 1 FROM part p WHERE p.snapshot_id = t.id)"
    ),
    # The last success of each job tells whether it is overdue.
    "job": (
        "t.state IN ('done', 'failed') AND t.finished_at < :jobs AND EXISTS (SELECT 1 FROM job later"
        " WHERE later.name = t.name AND later.state = 'done' AND later.finished_at > t.finished_at)"
    ),
    "notice": "t.sent_at < :notices",
    "hint": "t.received_at < :hints",
    # Receipts are kept until the person is forgotten.
    "offboarding": "t.state = 'not confirmed' AND t.closed_at < :hints",
    "api_request": "t.at < :hints",
}


def delete(session: Session, before: Mapping[str, dt.datetime], now: dt.datetime, most: int) -> dict[str, int]:
    """Delete at most so many rows; returns how many by table, without zeros. `before` has the keys mirror, runs, jobs,
    notices and hints."""
    deleted: dict[str, int] = {}
    for table, over in _OVER.items():
        left = most - sum(deleted.values())
        if left == 0:
            break
        found = session.execute(
            text(
                f"DELETE FROM {table} WHERE ctid = ANY (ARRAY("
                f"SELECT t.ctid FROM {table} t WHERE {over} LIMIT :most)) RETURNING 1"
            ),
            {**before, "now": now, "most": left},
        )
        number = len(found.all())
        if number:
            deleted[table] = number
    return deleted


def end_forsaken_reads(session: Session, before: dt.datetime) -> int:
    """End reads that nobody goes on with, such as those of a connector that the settings have no more."""
    forsaken = session.scalars(
        text(
            "SELECT id FROM snapshot s WHERE started_at < :before AND certified_at IS NULL AND failure = ''"
            " AND NOT EXISTS (SELECT 1 FROM part p WHERE p.snapshot_id = s.id"
            " AND p.claimed_until > clock_timestamp())"
        ),
        {"before": before},
    ).all()
    return sum(staging.discard_snapshot(session, id, "forsaken: nobody went on with it") for id in forsaken)
