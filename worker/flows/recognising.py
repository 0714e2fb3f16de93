"""Makes sure that the installation behind a connector is the one that it was."""

from __future__ import annotations

import time

from worker.flows.site import Site
from worker.ports import Source, Target
from worker.rest import LANE
from worker.store import installations, leases

LATELY = 30.0  # seconds for which many who leave at once need not each ask again


def recognise(site: Site, name: str, connector: Source | Target) -> None:
    """Pin the installation behind a connector at first use, and refuse another one afterwards."""
    began = time.monotonic()
    if LANE.get() == "leaver" and began < site.recognised.get(name, float("-inf")) + LATELY:
        return
    instance = connector.instance()
    with site.begin() as session:
        leases.turn(session, f"read {name}")  # two who meet it for the first time
        if installations.pin(session, name, instance.id, instance.own_account, site.actor, site.now()):
            site.record(session, site.event("installation pinned", {"connector": name, "instance": instance.id}))
    site.recognised[name] = began
