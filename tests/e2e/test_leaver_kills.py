"""kill -9 at every step boundary of an offboarding: another worker finishes it, nothing is done twice, and the receipt
is true.

What the world and the database hold changes only when a mutation reaches a vendor and when Trueup commits. So whoever
was killed before and after each mutation, and after each commit, was killed in every state there is.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Database
from tests.e2e.conftest import Copy
from tests.e2e.desk import Ended
from tests.e2e.fleet import twice
from tests.e2e.leaving import HEIR, LEAVERS, Scene, Stage, offboarding, stage
from tests.e2e.nursery import LEAVERS as WORKER
from tests.e2e.nursery import Nursery
from tests.e2e.truth import Truth, lies
from worker.sandbox.server import Exchange

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("leavers")]

ASKED, MARKED, RECEIPT = "INSERT INTO offboarding ", "UPDATE person", "UPDATE offboarding SET receipt"
LOOKED, TAIL = "UPDATE offboarding_target SET record", "DELETE /api/4.0/users/*/sessions/*"


@dataclass(frozen=True)
class Boundary:
    """Where the process dies. `commit`: after the n-th; `around`: before or after the commit that has a statement in
    it; `call`: before the vendor carries it out, or after, and before it answers."""

    commit: int = 0
    around: tuple[str, str] = ("", "")
    call: str = ""
    done: bool = False

    def __str__(self) -> str:
        when = "after" if self.done else "before"
        return (
            f"after commit {self.commit}" if self.commit else f"{when} {self.call}" if self.call else str(self.around)
        )


@pytest.fixture(scope="module")
def played(
    database: Database, _migrated: str, copied: Copy, forks: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with stage(database.named(_migrated), copied, forks, tmp_path_factory.mktemp("kills")) as made:
        yield made


def furnish(scene: Scene) -> Truth:
    """Everything that somebody can have, and they leave."""
    looker, teamcity = scene.world.looker, scene.world.teamcity
    id, number = scene.looker_id(), scene.teamcity_id()
    looker.keys_closed = False
    looker.add_session(id)
    looker.add_session(id)
    looker.add_key(id)
    looker.add_app("Sheets connector", id)
    looker.add_link(id, "saml")
    looker.grant_role(id, "Analyst")
    looker.add_schedule(id, "Weekly numbers", HEIR)
    looker.add_alert(id, "Orders below plan", HEIR)
    teamcity.set_field(number, "password", "open sesame")
    teamcity.add_token(number, "laptop")
    teamcity.world.users[number].sessions, teamcity.world.users[number].remembered = 1, True
    before = scene.truth()
    scene.leaves()
    return before


def die_there(scene: Scene, boundary: Boundary) -> Ended:
    """A real process that offboards, and is killed there."""
    nursery, desk = scene.desk.nursery, scene.desk
    assert nursery is not None
    how: dict[str, Any] = {"since": ASKED}
    if boundary.commit:
        how["kill_after_commit"] = boundary.commit
    if boundary.around[0]:
        how["kill_around"] = boundary.around
    if boundary.call:
        how["born"] = at_call(scene, boundary)
    return nursery.run(offboarding(), desk.environment, desk.folder, **how)[0]


def at_call(scene: Scene, boundary: Boundary) -> Callable[[int], None]:
    """Kills whoever it is told of when that call is there: it was carried out, or never will be."""
    server = scene.world.looker if "/api/" in boundary.call else scene.world.teamcity
    process: Future[int] = Future()

    def observe(exchange: Exchange) -> None:
        if exchange.faulted.startswith("drop"):
            os.kill(process.result(timeout=30), signal.SIGKILL)

    server.break_(boundary.call, "drop-after" if boundary.done else "drop", times=1)
    server.observers.append(observe)
    return process.set_result


def finished(scene: Scene, before: Truth) -> list[str]:
    """Another worker takes it to its end; everything that is not as it should be then, in words."""
    nursery, desk = scene.desk.nursery, scene.desk
    assert nursery is not None
    ended = nursery.run(WORKER, desk.environment, desk.folder)[0]
    found = [] if ended.code == 0 else [f"the worker ends with {ended.code}: {ended.err}"]
    rows = scene.offboardings()
    if [(row.trigger, row.state) for row in rows] != [("operator", "closed")]:
        return [*found, f"{[(row.trigger, row.state, row.why) for row in rows]}"]
    receipt = rows[0].receipt
    left = [line for line in receipt["lines"] if line["fate"] == "manual"]
    found += [f"left to a human: {line['target']} {line['key']}: {line['because']}" for line in left]
    return [*found, *lies(receipt, before, scene.truth()), *twice(scene.log()), *scene.books()]


def test_nobody_is_killed_and_everything_is_as_it_should_be(played: Stage) -> None:
    with played.scene(leavers=LEAVERS) as scene:
        before = furnish(scene)
        assert scene.offboard().code == 2
        assert finished(scene, before) == []
        assert scene.receipt()["lines"] == scene.offboardings()[0].receipt["lines"]


ESSENTIAL = {
    "as soon as it is asked": Boundary(around=("after", ASKED)),
    "confirmed, and not marked": Boundary(around=("before", MARKED)),
    "marked": Boundary(around=("after", MARKED)),
    "before anything is taken": Boundary(call="PATCH /api/4.0/users/*"),
    "taken, and not on record": Boundary(call="PATCH /api/4.0/users/*", done=True),
    "handed over, and not on record": Boundary(call="PATCH /api/4.0/scheduled_plans/*", done=True),
    "between the lock-out and the rest": Boundary(call=TAIL),
    "in the middle of what TeamCity has no switch for": Boundary(call="DELETE /app/rest/users/*/roles/*", done=True),
    "all is taken in Looker, and not on record": Boundary(call="DELETE /api/4.0/groups/11/users/*", done=True),
    "all is taken in TeamCity, and not on record": Boundary(call="PUT /app/rest/users/*/properties/*", done=True),
    "before the receipt is on record": Boundary(around=("before", RECEIPT)),
    "after the receipt is on record": Boundary(around=("after", RECEIPT)),
}


@pytest.mark.parametrize("boundary", ESSENTIAL.values(), ids=ESSENTIAL.keys())
def test_whoever_is_killed_there_is_succeeded_and_the_receipt_is_true(played: Stage, boundary: Boundary) -> None:
    with played.scene(leavers=LEAVERS) as scene:
        before = furnish(scene)
        killed = die_there(scene, boundary)
        assert killed.code == -signal.SIGKILL, killed
        assert finished(scene, before) == []


@pytest.mark.fleet
@pytest.mark.timeout(3600)
def test_whoever_is_killed_at_any_boundary_is_succeeded_and_the_receipt_is_true(
    played: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    with played.scene(leavers=LEAVERS) as scene:
        before = furnish(scene)
        assert scene.offboard().code == 2
        assert finished(scene, before) == []
        calls = list(dict.fromkeys(f"{exchange.method} {exchange.path}" for exchange in scene.log()))
    assert len(calls) >= 15, "two dozen doors"
    boundaries = [Boundary(call=call, done=done) for call in calls for done in (False, True)]
    found = [line for boundary in boundaries for line in wrong(played, boundary)]
    commits = 0
    while (more := wrong(played, Boundary(commit=commits + 1))) != [NOT_KILLED]:
        found, commits = found + more, commits + 1
    assert commits > 2 * len(calls), "attempted and outcome of each, at least"
    with capsys.disabled():
        print(f"\n  killed at {len(boundaries)} calls and after {commits} commits", end="", flush=True)
    assert not found, "\n".join(found)


NOT_KILLED = "it was not killed"


def wrong(played: Stage, boundary: Boundary) -> list[str]:
    """One scenario: killed there, and finished by another; everything that is not as it should be, in words."""
    with played.scene(leavers=LEAVERS) as scene:
        before = furnish(scene)
        killed = die_there(scene, boundary)
        if killed.code != -signal.SIGKILL:
            return [NOT_KILLED]
        return [f"killed {boundary}: {what}" for what in finished(scene, before)]
