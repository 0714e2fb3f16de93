"""Entra ID as a source: every person and group of one tenant, read whole over Microsoft Graph."""

from worker.ports import Rate
from worker.sources.entra.settings import Settings
from worker.sources.entra.source import EntraSource, connect

__all__ = ["HOOKS", "RATE", "EntraSource", "Settings", "connect"]

# Graph counts resource units: 3,500 in 10 seconds from everybody for a tenant of less than 50 people, and more for a
# larger one. Our lists cost 1 or 2 a page, and a batch of counts up to 60.
RATE = Rate(3_000, at_once=8)
HOOKS = "graph"  # its vendor can tell us of changes: `hooks` in trueup.yaml
