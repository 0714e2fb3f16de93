"""The schedule in real processes: whatever is killed, stopped or ended in the middle of its work, the company comes to
be as it should, every change is in the trail once, and nothing harmful is done twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.fleet import BEAT, LEAVERS, WORKER, Fleet, Member, eventually, fleet, pid_of, twice

PEOPLE = 40
SPOILT = 8  # of each kind
RECOVERED = 45.0  # seconds at most; the goal is 15, and this machine may be busy


@pytest.fixture(scope="module")
def running(new_state: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two workers, one for leavers and a beat, with nothing to do."""
    with fleet(new_state(), tmp_path_factory.mktemp("fleet"), PEOPLE) as made:
        made.start("beat", BEAT)
        made.start("leaver worker", LEAVERS)
        for name in ("worker", "other worker"):
            made.start(name, WORKER)
        made.put_in_order()
        yield made


@pytest.fixture
def trouble(running: Fleet, capsys: pytest.CaptureFixture[str]) -> Iterator[Trouble]:
    """Whatever happens in a test, everything is cured and in the books in the end."""
    before = {exchange.request_id for exchange in running.log()}
    made = Trouble(running, capsys)
    yield made
    for name in ("worker", "other worker"):
        if not running.members[name].alive():
            running.start(name, WORKER)
    running.converge()
    assert running.books() == []
    assert twice([exchange for exchange in running.log() if exchange.request_id not in before]) == []


class Trouble:
    """What is done to a fleet in the middle of applying, and how long it takes to get over it."""

    def __init__(self, running: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
        self.fleet, self._capsys = running, capsys

    @contextmanager
    def in_the_middle_of_a_step(self) -> Iterator[tuple[Member, int]]:
        """The vendor has made it and not yet answered: the member and the process that are at it. When the block is
        over, the vendor answers, and the step has to be settled soon."""
        with self.fleet.held(self.fleet.world.teamcity) as hold:
            self.fleet.spoil(SPOILT)
            hold.wait()
            step = self.fleet.in_hand("teamcity")
            yield self.fleet.member_with(pid_of(step)), pid_of(step)
        began = time.monotonic()
        self.fleet.settled(step, RECOVERED)
        self.tell("the step was settled", time.monotonic() - began)

    def tell(self, what: str, seconds: float) -> None:
        with self._capsys.disabled():
            name = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].removesuffix(" (call)")
            print(f"\n  {name}: {what} after {seconds:.1f} s", flush=True)
        assert seconds < RECOVERED


def test_a_worker_killed_in_the_middle_of_a_step(trouble: Trouble) -> None:
    with trouble.in_the_middle_of_a_step() as (member, _):
        member.kill()


def test_one_process_of_a_worker_killed_in_the_middle_of_a_step(trouble: Trouble) -> None:
    with trouble.in_the_middle_of_a_step() as (member, process):
        os.kill(process, signal.SIGKILL)
    assert member.alive()


def test_sigterm_finishes_the_step_in_hand_and_ends(trouble: Trouble) -> None:
    with trouble.in_the_middle_of_a_step() as (member, _):
        member.term()
    assert member.process.wait(20) == 0


def test_a_second_sigterm_ends_at_once(trouble: Trouble) -> None:
    with trouble.in_the_middle_of_a_step() as (member, process):
        member.term()
        eventually("it has heard the first", lambda: "Warm shutdown" in member.log.read_text())
        member.term()
        began = time.monotonic()
        assert member.process.wait(20) == 128 + signal.SIGTERM
        trouble.tell("everything had ended", time.monotonic() - began)
        eventually("its children are gone", lambda: not Path(f"/proc/{process}").exists(), 5)
