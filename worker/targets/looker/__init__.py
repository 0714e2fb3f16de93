"""Looker as a target: its accounts, the roles and groups they hold directly, and how both are changed."""

from __future__ import annotations

from worker.ports import Line, Rate, Target
from worker.targets.looker.settings import Grants, Settings
from worker.targets.looker.target import Looker

__all__ = ["RATE", "TRUSTED_KEYS", "Grants", "Looker", "Settings", "connect"]

TRUSTED_KEYS = frozenset({"login", "email"})  # one and the same here, and people cannot change it themselves
# Looker declares no number. Ten calls a second is what one instance bears beside the people who use it.
RATE = Rate(600, at_once=8)


def connect(name: str, settings: Settings, line: Line = Line()) -> Target:
    """The connector; nothing is sent, and no secret looked up, before its first call."""
    return Looker(name, settings, line)
