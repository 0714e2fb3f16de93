"""Makes sure that the installation behind a connector is the one that it was."""

from __future__ import annotations

from worker.flows.site import Site
from worker.ports import Source, Target
from worker.store import installations, leases


def recognise(site: Site, name: str, connector: Source | Target) -> None:
    """Pin the installation behind a connector at first use, and refuse another one afterwards."""
    instance = connector.instance()
    with site.begin() as session:
        leases.turn(session, f"read {name}")  # two who meet it for the first time
        if installations.pin(session, name, instance.id, instance.own_account, site.actor, site.now()):
            site.record(session, site.event("installation pinned", {"connector": name, "instance": instance.id}))
