"""Sees to it that a source's vendor tells us of changes."""

from __future__ import annotations

from tasks.app import task
from worker.flows import jobs, subscriptions
from worker.flows.site import Site


@task(jobs.SUBSCRIBE)
def subscribe(site: Site, job: str) -> None:
    jobs.go_on(site, job, lambda _: subscriptions.keep(site, job.partition(" ")[2]))
