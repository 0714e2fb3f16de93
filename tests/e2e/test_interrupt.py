"""Stopped in the middle of a run by Ctrl-C, SIGTERM or `trueup pause`: one message, nothing lost, and it goes on."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.e2e.desk import Desk, ended
from tests.e2e.ledger import mismatches, steps
from tests.e2e.nursery import Nursery
from tests.e2e.test_trail import logs, trail
from worker.sandbox.server import Exchange
from worker.sandbox.world import World

pytestmark = pytest.mark.timeout(300)

INTERRUPTED = (
    "error: Interrupted. What was begun is on record; the next run finds out how far it came and goes on."
)  # fmt: skip


@pytest.fixture
def world() -> Iterator[World]:
    with World.of(12).serve() as served:
        yield served


@pytest.fixture
def desk(world: World, fresh_database: Database, tmp_path: Path, forks: Nursery) -> Desk:
    """With its baseline accepted, so that the next sync has six changes to make."""
    made = Desk(world, fresh_database, tmp_path, forks).write_settings()
    assert made.trueup("check", "--accept-baseline").code == 0
    return made


class At:
    """Something that happens once, after the n-th mutation was carried out and before the vendor answers."""

    def __init__(self, world: World, number: int, happen: Callable[[], object]) -> None:
        self._left, self._happen, self._lock = number, happen, threading.Lock()
        self.exchanges: list[Exchange] = []  # all there were from then on
        self.happened = threading.Event()
        for server in world.servers:
            server.observers.append(self._observe)

    def _observe(self, exchange: Exchange) -> None:
        with self._lock:
            if self.happened.is_set():
                self.exchanges.append(exchange)
                return
            if exchange.vendor == "okta" or exchange.method == "GET" or exchange.path.endswith("/login"):
                return
            self._left -= 1
            if self._left:
                return
        self._happen()
        self.happened.set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_ends_a_run_with_one_message_and_the_next_run_goes_on(
    world: World, desk: Desk, number: signal.Signals
) -> None:
    running: list[subprocess.Popen[str]] = []
    at = At(world, 3, lambda: running[0].send_signal(number))
    running.append(desk.start("sync"))
    stopped = ended(running[0])
    assert at.happened.is_set()
    assert stopped.code == 1
    assert [line for line in stopped.err.splitlines() if "error" in line.lower()] == [INTERRUPTED]
    assert len(world.looker.log) + len(world.teamcity.log) <= 4, "it stopped in the middle"

    again = desk.trueup("sync", "--json")
    assert again.code == 0, again
    assert desk.trueup("plan").code == 0
    entries = trail(desk)
    assert mismatches(logs(world), entries) == []
    assert desk.trueup("audit", "verify").code == 0


def test_a_pause_stops_a_run_before_its_next_vendor_call_and_resume_lets_it_go_on(world: World, desk: Desk) -> None:
    at = At(world, 2, lambda: desk.trueup("pause", "--reason", "something looks wrong"))
    stopped = ended(desk.start("sync"))
    assert at.happened.is_set()
    assert at.exchanges == [], "not one call to any vendor after the pause was committed"
    assert stopped.code == 1
    assert "paused by operator:ana" in stopped.err
    assert "(something looks wrong)" in stopped.err
    assert "trueup resume" in stopped.err

    refused = desk.trueup("sync")
    assert (refused.code, refused.err.count("is paused by")) == (1, 1)
    assert at.exchanges == []

    assert desk.trueup("resume").code == 0
    assert desk.trueup("sync").code == 0
    assert desk.trueup("plan").code == 0
    entries = trail(desk)
    assert mismatches(logs(world), entries) == []
    assert "unknown" in {end["facts"]["outcome"] for step in steps(entries) for end in step.ends}, "the call it cut off"
    assert [e["kind"] for e in reversed(entries) if e["kind"] in ("paused", "resumed")] == ["paused", "resumed"]


def test_a_pause_of_one_target_leaves_the_other_at_work(world: World, desk: Desk) -> None:
    at = At(world, 1, lambda: desk.trueup("pause", "looker"))
    assert ended(desk.start("sync")).code == 1
    assert at.happened.is_set()
    assert {exchange.vendor for exchange in at.exchanges} == {"teamcity"}
    assert desk.trueup("resume", "looker").code == 0
    assert desk.trueup("sync").code == 0
    assert mismatches(logs(world), trail(desk)) == []


def test_a_database_that_is_down_is_one_message_with_the_fix(desk: Desk, tmp_path: Path) -> None:
    nobody = f"postgresql+psycopg://trueup_worker@/trueup?host={tmp_path}&port=5432"
    lost = replace(desk, database=Database(nobody, nobody)).trueup("plan")
    assert lost.code == 1
    [message] = lost.err.splitlines()
    assert message.startswith("error: The database")
    assert "TRUEUP_DATABASE_URL" in message
