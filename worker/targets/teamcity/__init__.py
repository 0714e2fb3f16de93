"""TeamCity as a target: accounts, roles in projects or everywhere, and groups, over its REST API."""

from worker.targets.teamcity.connector import TeamCity, connect
from worker.targets.teamcity.settings import Grants, Settings

__all__ = ["Grants", "Settings", "TeamCity", "connect"]
