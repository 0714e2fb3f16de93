"""Looker as a target: its accounts, the roles and groups they hold directly, and how both are changed."""

from __future__ import annotations

from worker.ports import Line, Rate, Target
from worker.targets.looker.settings import Grants, Settings
from worker.targets.looker.target import Looker

__all__ = ["PUT_OFF", "RATE", "TRUSTED_KEYS", "Grants", "Looker", "Settings", "connect"]

TRUSTED_KEYS = frozenset({"login", "email"})  # one and the same here, and people cannot change it themselves
# Looker declares no number, and its makers say that they limit no call of ours by the minute: what a node has are 200
# threads, so how many calls are under way at once is what it feels. This is for as many leavers at once as a day has.
RATE = Rate(6000, at_once=8)
# With looker_sdk, which takes a second to load.
PUT_OFF = ("worker.targets.looker.session", "worker.targets.looker.belongings", "worker.targets.looker.verbs")


def connect(name: str, settings: Settings, line: Line = Line()) -> Target:
    """The connector; nothing is sent, and no secret looked up, before its first call."""
    return Looker(name, settings, line)
