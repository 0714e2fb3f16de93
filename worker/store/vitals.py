"""How Trueup is, in numbers: read in one go from the tables, so that any process can tell it and none has to count."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from sqlalchemy import text
from sqlmodel import Session

from worker.core.deadman import JobPast

# Each statement's last column is the number; those before it say what it is of. What has a word of ours in it (a state,
# a kind) or a name from the settings stays small; nothing is told apart by person, account or entitlement.
_DAY = "CAST(:now AS timestamptz) - interval '24 hours'"
_SECONDS = "extract(epoch FROM CAST(:now AS timestamptz) - {})"
_STATEMENTS: Mapping[str, str] = {
    "runs": f"SELECT target, state, count(*) FROM run WHERE started_at > {_DAY} GROUP BY 1, 2",
    "run_closed_age": f"""
        SELECT target, {_SECONDS.format("max(closed_at)")} FROM run
        WHERE state = 'closed' AND closed_at IS NOT NULL AND offboarding_id IS NULL GROUP BY 1
    """,
    "drift": "SELECT target, kind, count(*) FROM episode WHERE closed_at IS NULL GROUP BY 1, 2",
    "drift_urgent": "SELECT target, count(*) FROM episode WHERE closed_at IS NULL AND urgent GROUP BY 1",
    "drift_age": (
        f"SELECT target, kind, {_SECONDS.format('min(opened_at)')} FROM episode WHERE closed_at IS NULL GROUP BY 1, 2"
    ),
    "changes": """
        SELECT change.target, change.state, count(*) FROM change JOIN (
            SELECT DISTINCT ON (target) id FROM run WHERE offboarding_id IS NULL ORDER BY target, started_at DESC
        ) newest ON newest.id = change.run_id GROUP BY 1, 2
    """,
    "steps": f"""
        SELECT step.target, step.outcome, count(*) FROM step JOIN run ON run.id = step.run_id
        WHERE run.started_at > {_DAY} AND step.outcome NOT IN ('attempted', 'unknown') GROUP BY 1, 2
    """,
    "steps_unsettled": ("SELECT target, count(*) FROM step WHERE outcome IN ('attempted', 'unknown') GROUP BY 1"),
    "snapshot_age": f"SELECT connector, {_SECONDS.format('started_at')} FROM snapshot WHERE current",
    "reads_refused": (
        f"SELECT connector, count(*) FROM snapshot WHERE failure <> '' AND started_at > {_DAY} GROUP BY 1"
    ),
    "parts": f"""
        SELECT snapshot.connector, count(*), {_SECONDS.format("min(snapshot.started_at)")}
        FROM part JOIN snapshot ON snapshot.id = part.snapshot_id
        WHERE part.state <> 'done' AND NOT snapshot.current AND snapshot.failure = '' GROUP BY 1
    """,
    "jobs_waiting": f"""
        SELECT name, count(*), greatest({_SECONDS.format("min(not_before)")}, 0)
        FROM job WHERE state IN ('waiting', 'running') GROUP BY 1
    """,
    "changes_waiting": f"""
        SELECT change.cause = 'DEPARTED', count(*), {_SECONDS.format("min(run.started_at)")}
        FROM change JOIN run ON run.id = change.run_id
        WHERE run.state = 'applying' AND coalesce(run.not_before, :now) <= :now AND change.state = 'open' GROUP BY 1
    """,
    "vendor_use": "SELECT connector, calls, throttled, waited_seconds FROM vendor_use",
    "jobs_failed": f"SELECT name, count(*) FROM job WHERE state = 'failed' AND finished_at > {_DAY} GROUP BY 1",
    "hints": f"""
        SELECT source, said, count(*) FROM hint WHERE received_at > {_DAY} AND said <> 'delivery' GROUP BY 1, 2
    """,
    "subscriptions": f"""
        SELECT source, resource, CASE WHEN vendor_id = '' OR expires_at IS NULL THEN 0
            ELSE greatest({_SECONDS.format("expires_at")} * -1, 0) END
        FROM subscription
    """,
    "subscriptions_failed": "SELECT source, count(*) FROM subscription WHERE failure <> '' GROUP BY 1",
    "notices_unsent": "SELECT kind, count(*) FROM notice WHERE sent_at IS NULL GROUP BY 1",
    "chain": "SELECT stream, number FROM head",
    "paused": "SELECT connector, 1 FROM pause",
}


def readings(session: Session, now: dt.datetime) -> Mapping[str, list[tuple[object, ...]]]:
    """Every reading by its name, as the statement's columns have it. It gives up after seconds rather than minutes."""
    session.execute(text("SET LOCAL statement_timeout = '10s'"))
    return {
        name: [tuple(row) for row in session.execute(text(statement), {"now": now})]
        for name, statement in _STATEMENTS.items()
    }


def job_pasts(session: Session) -> Mapping[str, JobPast]:
    """What the books say of each job, as far as they go back."""
    rows = session.execute(
        text("SELECT name, min(slot), max(finished_at) FILTER (WHERE state = 'done') FROM job GROUP BY name")
    )
    return {name: JobPast(first, success) for name, first, success in rows}
