"""Takes a leaver's offboarding a step further: confirms it, or takes away what there is in one target."""

from __future__ import annotations

import uuid

from tasks.app import share, task
from worker.flows import leaving, offboarding
from worker.flows.site import Site


@task(leaving.OFFBOARD)
def offboard(site: Site, offboarding_id: str, target: str = "") -> None:
    offboarding.work(site, uuid.UUID(offboarding_id), target, share())
