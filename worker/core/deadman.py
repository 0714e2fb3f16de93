"""The dead-man's switch: a job that has stopped, whatever the reason, is known by not having succeeded for too long."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from worker.core.render import age, quoted


@dataclass(frozen=True, slots=True)
class Overdue:
    """A job that has not succeeded for too long. `since` is its last success, or when one was first waited for."""

    job: str
    since: dt.datetime
    succeeded_once: bool
    allowed: dt.timedelta

    def sentence(self, now: dt.datetime) -> str:
        """`pull okta has not succeeded for 3 hours; after 45 minutes it should have`."""
        ever = "" if self.succeeded_once else " ever, and was first due"
        when = f" for {age(now - self.since)}" if self.succeeded_once else f" {age(now - self.since)} ago"
        return f"{quoted(self.job, 80)} has not succeeded{ever}{when}; it should within {age(self.allowed)}"


@dataclass(frozen=True, slots=True)
class JobPast:
    """What the books say of a job: when it was first due, and when it last succeeded."""

    first_due: dt.datetime
    last_success: dt.datetime | None


def overdue(
    periods: Mapping[str, dt.timedelta],
    past: Mapping[str, JobPast],
    intervals: int,
    watched_since: dt.datetime,
    now: dt.datetime,
) -> list[Overdue]:
    """Jobs of the schedule that have not succeeded for so many of their periods, longest first. One that the books do
    not know at all is waited for since `watched_since`: then nothing has ever made it due."""
    found = []
    for job, period in periods.items():
        known = past.get(job)
        success = known.last_success if known else None
        since = success or (known.first_due if known else watched_since)
        if now - since > intervals * period:
            found.append(Overdue(job, since, success is not None, intervals * period))
    return sorted(found, key=lambda one: (one.since, one.job))
