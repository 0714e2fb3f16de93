"""The routes by which others tell us and ask of us; each is there only where the settings say who may."""

from __future__ import annotations

from starlette.routing import BaseRoute

from worker.console import graph_hook, keyring, offboardings, okta_hook
from worker.console.desk import Desk
from worker.flows.site import Site


def routes(site: Site) -> list[BaseRoute]:
    """Those that the settings ask for. Raises Misconfigured where a secret of theirs will not do.

    The site needs no connectors: nothing here calls a vendor.
    """
    loaded, desk = site.loaded, Desk(site)
    kinds, found = set(loaded.hooks.values()), list[BaseRoute]()
    if loaded.settings.api.tokens:
        found += offboardings.routes(desk, loaded.settings.api, keyring.of_tokens(loaded))
    if "okta" in kinds:
        found += okta_hook.routes(desk, keyring.of_hooks(loaded, "okta"))
    if "graph" in kinds:
        found += graph_hook.routes(desk, keyring.of_hooks(loaded, "graph"))
    return found
