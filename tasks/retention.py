"""Deletes what is older than the settings keep, some thousand rows at a time."""

from __future__ import annotations

from tasks.app import task
from worker.flows import jobs, retention
from worker.flows.site import Nudge, Site


@task(jobs.RETENTION)
def retain(site: Site, job: str) -> None:
    if jobs.go_on(site, job, lambda _: {} if retention.sweep(site).more else None):
        site.send(Nudge(jobs.RETENTION, (job,)))
