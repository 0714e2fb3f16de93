"""Finds the connectors that are installed: a module under worker.sources or worker.targets is one, by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import worker.sources
import worker.targets

Side = Literal["sources", "targets"]


class Connectors(Protocol):
    """`module` gives a connector module: `Settings`, `connect`, and in targets `Grants`; `TRUSTED_KEYS` where more than
    the login is out of the reach of the people themselves; in sources `HOOKS` ("okta", "graph") where their vendor can
    tell us by HTTP that something has happened; `PUT_OFF`, names of modules that it imports with its first call."""

    def types(self, side: Side) -> Sequence[str]: ...

    def module(self, side: Side, type: str) -> Any: ...


class Installed:
    """What the two packages hold. A module is imported when it is first asked for: vendor packages are slow."""

    def types(self, side: Side) -> Sequence[str]:
        package = {"sources": worker.sources, "targets": worker.targets}[side]
        return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))

    def module(self, side: Side, type: str) -> Any:
        return importlib.import_module(f"worker.{side}.{type}")
