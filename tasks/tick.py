"""Makes the slots that are due, and sends workers to what waits or was left behind."""

from __future__ import annotations

from tasks.app import task
from worker.flows import jobs
from worker.flows.site import Site


@task("tick")
def tick(site: Site) -> None:
    for nudge in jobs.tick(site):
        site.send(nudge)
