"""Looks deep at the accounts of people who have left, some at a time."""

from __future__ import annotations

from tasks.app import task
from worker.flows import jobs, watch
from worker.flows.site import Nudge, Site


@task(jobs.WATCH)
def look_after_leavers(site: Site, job: str) -> None:
    if jobs.go_on(site, job, lambda progress: watch.sweep(site, progress)):
        site.send(Nudge(jobs.WATCH, (job,)))
