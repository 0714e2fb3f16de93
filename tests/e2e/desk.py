"""An operator's desk: `trueup` as a process of its own, on a served company and a database that is its alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.conftest import Database
from worker import wiring
from worker.sandbox.world import Neighbour, World

if TYPE_CHECKING:
    from tests.e2e.nursery import Nursery

TRUEUP = Path(sys.executable).with_name("trueup")


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative for a signal) and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Desk:
    """`desk.trueup("sync")` is a real process, forked where there is a nursery. Mode enforce; the default limits and
    guards."""

    world: World | Neighbour
    database: Database
    folder: Path
    nursery: Nursery | None = None

    @property
    def settings(self) -> Path:
        return self.folder / "trueup.yaml"

    def write_settings(self) -> Desk:
        self.folder.mkdir(exist_ok=True)
        self.settings.write_text(self.world.settings_yaml("enforce"), encoding="utf-8")
        return self

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.world.environment(),
            wiring.DATABASE: self.database.worker_url,
            wiring.OWNER_DATABASE: self.database.owner_url,
            "TRUEUP_SETTINGS": str(self.settings),
            "TRUEUP_ACTOR": "operator:ana",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A process that goes on by itself, beside others; see `ended`."""
        return subprocess.Popen(
            [TRUEUP, *words], env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def trueup(self, *words: str) -> Ended:
        if self.nursery is None:
            return ended(self.start(*words))
        return self.nursery.run(words, self.environment, self.folder)[0]


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for it."""
    with process:
        out, err = process.communicate(timeout=400)
    return Ended(process.returncode, out, err)


def sentences(outlook: Any, *states: str) -> dict[str, set[str]]:
    """By target, what a plan's JSON would do, of these states (all of them where none is named)."""
    return {
        target["target"]: {c["sentence"] for c in target["changes"] if not states or c["state"] in states}
        for target in outlook["targets"]
    }
