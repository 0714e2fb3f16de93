"""What the tests of flows share: a rig, which is a served company, an empty database, settings and a clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.flows.merger import TOKEN, Merger, acquired_org
from tests.flows.rig import Rig
from worker import wiring
from worker.flows.site import Site
from worker.sandbox.company import Employee
from worker.sandbox.world import World

PEOPLE = 40


@pytest.fixture
def world() -> Iterator[World]:
    """A company of 40 on three servers of its own. It is made in a blink, so each test may do with it what it likes."""
    with World.of(PEOPLE).serve() as served:
        yield served


@pytest.fixture
def rig(world: World, fresh_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Not opened yet; `with rig.open(...) as site`."""
    monkeypatch.setenv(wiring.DATABASE, fresh_database.worker_url)
    monkeypatch.setenv(wiring.OWNER_DATABASE, fresh_database.owner_url)
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    return Rig(world, tmp_path)


@pytest.fixture
def merger(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Merger]:
    """The company after a merger: a second org is served."""
    monkeypatch.setenv("ACQUIRED_TOKEN", TOKEN)
    org = acquired_org(rig)
    with org.serve(0):
        yield Merger(rig, org)


@pytest.fixture
def ana(merger: Merger) -> Employee:
    return merger.employees()[0]


@pytest.fixture
def bo(merger: Merger) -> Employee:
    return merger.employees()[1]


@pytest.fixture
def site(rig: Rig) -> Iterator[Site]:
    """The rig opened in mode enforce, with every baseline accepted."""
    with rig.open("enforce") as opened:
        yield opened
