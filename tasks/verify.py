"""Verifies the audit chain from its beginning, some thousand entries at a time."""

from __future__ import annotations

from tasks.app import task
from worker.flows import jobs, trail
from worker.flows.site import Nudge, Site


@task(jobs.VERIFY)
def verify(site: Site, job: str) -> None:
    if jobs.go_on(site, job, lambda progress: trail.verify_on(site, progress)):
        site.send(Nudge(jobs.VERIFY, (job,)))
