"""What the tests of the commands share: one rehearsal, looked at and planned, about which many of them ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.counter import Counter
from tests.conftest import Database
from worker import wiring
from worker.sandbox.world import World

PEOPLE = 40


@pytest.fixture(scope="module")
def counter(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    """Mode observe, baseline accepted, planned once. Its tests take different people, and so need no order."""
    folder = tmp_path_factory.mktemp("counter")
    with World.of(PEOPLE).serve() as world:
        environment = {
            **world.environment(),
            wiring.DATABASE: module_database.worker_url,
            wiring.OWNER_DATABASE: module_database.owner_url,
            "TRUEUP_SETTINGS": str(folder / "trueup.yaml"),
            "TRUEUP_ACTOR": "operator:ana",
        }
        made = Counter(folder, environment)
        made.settings.write_text(world.settings_yaml("observe"), encoding="utf-8")
        assert made.trueup("check", "--accept-baseline").code == 0
        assert made.trueup("plan").code == 2
        yield made


@pytest.fixture
def unlooked(counter: Counter, fresh_database: Database) -> Counter:
    """The same company, on a database where nobody has accepted a baseline."""
    mine = {wiring.DATABASE: fresh_database.worker_url, wiring.OWNER_DATABASE: fresh_database.owner_url}
    return Counter(counter.folder, {**counter.environment, **mine})


@pytest.fixture
def bare(tmp_path: Path) -> Counter:
    """Nothing but an empty folder: for commands that need no settings, and for wrong ones."""
    return Counter(tmp_path, {"TRUEUP_SETTINGS": str(tmp_path / "trueup.yaml")})
