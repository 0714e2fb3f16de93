"""Takes a leaver's offboarding a step further: confirms it, or takes away what there is in one target. And looks by
itself for those that wait, so that no leaver waits for a tick that somebody busy has to make.
"""

from __future__ import annotations

import uuid

from tasks.app import share, task
from worker.flows import jobs, leaving, offboarding
from worker.flows.site import Site


@task(leaving.OFFBOARD)
def offboard(site: Site, offboarding_id: str, target: str = "") -> None:
    offboarding.work(site, uuid.UUID(offboarding_id), target, share())


@task("look for leavers")
def look_for_leavers(site: Site) -> None:
    for nudge in jobs.departing(site):
        site.send(nudge)
