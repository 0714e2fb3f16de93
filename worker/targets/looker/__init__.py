"""Looker as a target: its accounts, the roles and groups they hold directly, and how both are changed."""

from __future__ import annotations

from worker.ports import Line, Target
from worker.targets.looker.settings import Grants, Settings
from worker.targets.looker.target import Looker

__all__ = ["TRUSTED_KEYS", "Grants", "Looker", "Settings", "connect"]

TRUSTED_KEYS = frozenset({"login", "email"})  # one and the same here, and people cannot change it themselves


def connect(name: str, settings: Settings, line: Line = Line()) -> Target:
    """The connector; nothing is sent, and no secret looked up, before its first call."""
    return Looker(name, settings, line)
