"""Reads sources and targets, a share of a read's parts at a time."""

from __future__ import annotations

from tasks.app import share, task
from worker.flows import jobs
from worker.flows.site import Nudge, Site


@task(jobs.READ)
def read(site: Site, job: str) -> None:
    if jobs.read(site, job, share()):
        site.send(Nudge(jobs.READ, (job,)))
