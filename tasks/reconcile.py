"""Plans for a target, and has the plan applied."""

from __future__ import annotations

from tasks.app import task
from worker.flows import jobs
from worker.flows.site import Site


@task(jobs.RECONCILE)
def reconcile(site: Site, job: str) -> None:
    jobs.plan(site, job)
