"""Sends what people are to be told."""

from __future__ import annotations

from tasks.app import task
from worker.flows import jobs, notices
from worker.flows.site import Site


@task(jobs.TELL)
def tell(site: Site, job: str) -> None:
    def once(_: object) -> None:
        notices.tell(site)

    jobs.go_on(site, job, once)
