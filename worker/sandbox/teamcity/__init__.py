"""A TeamCity server for the demo, tests and rehearsals, with the traps that its REST API sets for a reconciler."""

from worker.sandbox.teamcity.server import TeamCitySandbox
from worker.sandbox.teamcity.world import ALL_USERS, RECONCILER_PERMISSIONS

__all__ = ["ALL_USERS", "RECONCILER_PERMISSIONS", "TeamCitySandbox"]
