"""Makes the open changes of a run, a share of its accounts at a time; whoever departed has a queue of their own."""

from __future__ import annotations

import uuid

from tasks.app import share, task
from worker.flows import jobs
from worker.flows.apply import work
from worker.flows.site import Nudge, Site


@task(jobs.APPLY)
def apply(site: Site, run_id: str) -> None:
    if work(site, uuid.UUID(run_id), share()):
        site.send(Nudge(jobs.APPLY, (run_id,)))


@task(jobs.DEPARTURES)
def apply_departures(site: Site, run_id: str) -> None:
    if jobs.take_from_departed(site, uuid.UUID(run_id), share()):
        site.send(Nudge(jobs.DEPARTURES, (run_id,)))
