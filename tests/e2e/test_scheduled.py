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

from tests.e2e.fleet import (
    BEAT,
    LEAVERS,
    TARGETS,
    WORKER,
    Fleet,
    Member,
    a_look,
    a_mutation,
    eventually,
    fleet,
    pid_of,
    twice,
)  # fmt: skip
from worker.flows.site import CLAIM
from worker.sandbox.server import Exchange

pytestmark = pytest.mark.xdist_group("schedule")  # one fleet for all of them

PEOPLE = 40
SPOILT = 8  # of each kind
TRIES = 6  # by then, kombu alone would look every dozen seconds only, and soon every thirty
RECOVERED = 60.0  # seconds at most; the goal is 15, and others may be at work on this machine


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
    made = Trouble(running, capsys)
    yield made
    for name, words in (("beat", BEAT), ("worker", WORKER), ("other worker", WORKER)):
        if not running.members[name].alive():
            running.start(name, words)
    made.get_over_it()


class Trouble:
    """What is done to a fleet in the middle of applying, and how long it takes to get over it."""

    def __init__(self, running: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
        self.fleet, self._capsys = running, capsys

    @contextmanager
    def in_the_middle_of_a_step(self) -> Iterator[tuple[Member, int]]:
        """The vendor has made it and not yet answered: the member and the process that are at it. When the block is
        over, or told so before, the vendor answers; then the step has to be settled soon."""
        with self.fleet.held("teamcity") as hold:
            self.spoil()
            hold.wait()
            step, self.answer = self.fleet.in_hand("teamcity"), hold.release
            yield self.fleet.member_with(pid_of(step)), pid_of(step)
        began = time.monotonic()
        self.fleet.settled(step, RECOVERED)
        self.tell("the step was settled", time.monotonic() - began)

    def spoil(self, *targets: str) -> None:
        self._before = {exchange.request_id for exchange in self.fleet.log()}
        self.fleet.spoil(SPOILT, *(targets or TARGETS))

    def get_over_it(self) -> None:
        """Nothing is open, every change is in the trail once, and none was made twice."""
        self.tell("everything was in order", self.fleet.converge())
        assert self.fleet.books() == []
        assert twice([exchange for exchange in self.fleet.log() if exchange.request_id not in self._before]) == []

    def tell(self, what: str, seconds: float) -> None:
        with self._capsys.disabled():
            name = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].partition(" ")[0]
            print(f"\n  {name}: {what} after {seconds:.1f} s", end="", flush=True)
        assert seconds < RECOVERED


def test_a_worker_killed_in_the_middle_of_a_step(trouble: Trouble) -> None:
    with trouble.in_the_middle_of_a_step() as (member, _):
        member.kill()


@pytest.mark.fleet
def test_one_process_of_a_worker_killed_in_the_middle_of_a_step(trouble: Trouble) -> None:
    with trouble.in_the_middle_of_a_step() as (member, process):
        os.kill(process, signal.SIGKILL)
    assert member.alive()


def test_sigterm_finishes_the_step_in_hand_and_ends(trouble: Trouble) -> None:
    with trouble.in_the_middle_of_a_step() as (member, _):
        everybody = {member.pid, *member.children()}
        member.term()
        eventually("it has heard it", lambda: member.said("Warm shutdown"))
        trouble.answer()
        began = time.monotonic()
        assert member.process.wait(60) == 0
        trouble.tell("it had ended", time.monotonic() - began)
        assert not trouble.fleet.claims() & everybody, "everything was finished or handed back"


@pytest.mark.fleet
def test_a_second_sigterm_ends_at_once(trouble: Trouble) -> None:
    with trouble.in_the_middle_of_a_step() as (member, process):
        member.term()
        eventually("it has heard the first", lambda: member.said("Warm shutdown"))
        member.term()
        began = time.monotonic()
        assert member.process.wait(20) == 128 + signal.SIGTERM
        trouble.tell("everything had ended", time.monotonic() - began)
        eventually("its children are gone", lambda: not Path(f"/proc/{process}").exists(), 5)


@pytest.mark.fleet
def test_a_beat_killed_while_another_goes_on_and_one_that_is_started_again(trouble: Trouble) -> None:
    fleet = trouble.fleet
    other = fleet.start("other beat", BEAT)
    fleet.members["beat"].kill()
    trouble.spoil()
    trouble.get_over_it()
    other.kill()
    trouble.spoil()
    fleet.start("beat", BEAT)


@pytest.mark.fleet
@pytest.mark.parametrize("empty", [False, True], ids=["with its data", "empty"])
def test_redis_killed_in_the_middle_of_a_step_and_started_again(trouble: Trouble, empty: bool) -> None:
    with trouble.in_the_middle_of_a_step():
        trouble.fleet.kill_redis()
    trouble.fleet.start_redis(empty=empty)


@pytest.mark.fleet
def test_redis_away_for_a_while_is_found_soon_after_and_nobody_waits_for_it_to_end(trouble: Trouble) -> None:
    fleet = trouble.fleet
    fleet.kill_redis()
    workers = [fleet.members["worker"], fleet.members["other worker"]]
    for worker in workers:
        eventually("it has looked for Redis often", lambda w=worker: w.times_said("Cannot connect") > TRIES)
    workers[0].term()
    assert workers[0].process.wait(60) == 0
    trouble.spoil()
    began = time.monotonic()
    fleet.start_redis()
    fleet.mutated()
    trouble.tell("changes were made again", time.monotonic() - began)


@pytest.mark.fleet
def test_postgres_killed_in_the_middle_of_a_step_and_started_again(trouble: Trouble) -> None:
    fleet = trouble.fleet
    with trouble.in_the_middle_of_a_step() as (member, _):
        fleet.kill_postgres()
        trouble.answer()
        eventually("what came of the step cannot be written down", lambda: member.said("task failed"))
        fleet.start_postgres()


@pytest.mark.fleet
@pytest.mark.parametrize(
    ("target", "moment", "other"),
    [pytest.param("teamcity", a_mutation, "looker", id="after the vendor has made it"),
     pytest.param("looker", a_look, "teamcity", id="before it is sent")],
)  # fmt: skip
def test_a_worker_stopped_for_longer_than_its_claim_writes_nothing_when_it_wakes_up(
    trouble: Trouble, target: str, moment: Callable[[Exchange], bool], other: str
) -> None:
    fleet = trouble.fleet
    for name in ("worker", "other worker"):
        fleet.members[name].kill()
    alone = fleet.start("worker", ("worker", "--processes", "1"))
    with fleet.held(target, moment) as hold:
        trouble.spoil()
        hold.wait()
        step = fleet.in_hand(target)
        os.kill(pid_of(step), signal.SIGSTOP)
    fleet.start("other worker", WORKER)
    began = time.monotonic()
    settled = fleet.settled(step, CLAIM.total_seconds() + RECOVERED)
    trouble.tell("when its claim was over, the step was settled", time.monotonic() - began - CLAIM.total_seconds())
    trouble.get_over_it()
    changed = fleet.log(target)
    os.kill(pid_of(step), signal.SIGCONT)
    fleet.members["other worker"].kill()
    trouble.spoil(other)
    trouble.get_over_it()
    assert alone.children() == [pid_of(step)], "it was the one who slept that has cured the other target"
    assert fleet.settled(step) == settled, "it has written nothing about the step that was taken over"
    assert fleet.log(target) == changed, "it has changed nothing"
