"""TeamCity as a target: accounts, roles in projects or everywhere, and groups, over its REST API."""

from worker.ports import Rate
from worker.targets.teamcity.connector import TeamCity, connect
from worker.targets.teamcity.settings import Grants, Settings

__all__ = ["RATE", "Grants", "Settings", "TeamCity", "connect"]

# TeamCity declares none, but asks not to be polled hard: each call takes a thread of the server that people build with.
# So few of ours are under way at once; by the minute, they may be as many as fifty leavers at once take.
RATE = Rate(6000, at_once=6)
