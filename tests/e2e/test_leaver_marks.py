"""Nothing is given after the departure mark, whatever runs at that moment, whatever the source says, and whoever makes
the account again: each told by the vendors' own logs of what reached them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.e2e.conftest import Copy
from tests.e2e.desk import Ended
from tests.e2e.leaving import WHO, Hold, Scene, Stage, about, eventually, shown, stage, takes
from tests.e2e.nursery import Nursery, nursery
from tests.e2e.truth import lies
from worker.sandbox.world import World
from worker.store import offboardings

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("leavers")]

OTHER = {"looker": "teamcity", "teamcity": "looker"}
GROUP, ROLE = "Engineering", ("PROJECT_DEVELOPER", "p:Web")  # what the policy gives them


@pytest.fixture(scope="module")
def other_nursery() -> Iterator[Nursery]:
    """For a second process beside one that waits."""
    with nursery() as made:
        yield made


@pytest.fixture(scope="module")
def played(
    database: Database, _migrated: str, copied: Copy, forks: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with stage(database.named(_migrated), copied, forks, tmp_path_factory.mktemp("marks")) as made:
        yield made


@pytest.fixture
def scene(played: Stage) -> Iterator[Scene]:
    with played.scene() as made:
        yield made


Begin = Callable[[], Future[Ended]]


@pytest.fixture
def sync(scene: Scene, other_nursery: Nursery, tmp_path: Path) -> Iterator[Begin]:
    """Begins a `trueup sync` that goes on beside others."""
    with ThreadPoolExecutor(1) as thread:
        yield lambda: thread.submit(lambda: other_nursery.run(["sync"], scene.desk.environment, tmp_path)[0])


@pytest.fixture
def offboard(scene: Scene) -> Iterator[Begin]:
    """They leave at the source, and `trueup offboard --wait` goes on beside others."""

    def begin() -> Future[Ended]:
        scene.leaves()
        return thread.submit(scene.offboard)

    with ThreadPoolExecutor(1) as thread:
        yield begin


def given_since_the_mark(scene: Scene) -> list[str]:
    """Mutations about the person that gave anything after the moment of the mark."""
    marked = scene.marked_at()
    assert marked is not None
    mine = about(scene.wire.after(marked), scene.truth())
    assert any(map(takes, mine)), "something was taken"
    return [shown(exchange) for exchange in mine if not takes(exchange)]


def how_far(scene: Scene) -> dict[str, tuple[str, str]]:
    """By target, the state of the newest offboarding's part, and what stands in its way."""
    row = scene.offboardings()[-1]
    with scene.store.begin() as session:
        return {part.target: (part.state, part.failure) for part in offboardings.parts(session, row.id)}


def spoil(scene: Scene, target: str) -> str:
    """Take something from them that the policy gives; the call that looks at their account before it is given again."""
    if target == "looker":
        id = scene.looker_id()
        scene.world.looker.remove_from_group(id, GROUP)
        return f"GET /api/4.0/users/{id}"
    number = scene.teamcity_id()
    scene.world.teamcity.remove_role(number, *ROLE)
    return f"GET /app/rest/users/id:{number}"


@pytest.mark.parametrize("target", ["looker", "teamcity"])
def test_a_grant_that_a_sync_is_about_to_make_is_not_made_once_the_mark_is_set(
    scene: Scene, sync: Begin, offboard: Begin, target: str
) -> None:
    look = spoil(scene, target)
    before = scene.truth()
    with Hold(getattr(scene.world, target), look) as hold:
        syncing = sync()
        hold.wait()
        leaving = offboard()
        eventually("the mark is set", scene.marked_at)
    found = leaving.result().json()
    assert given_since_the_mark(scene) == []
    assert "the person has departed meanwhile" in syncing.result().err
    assert lies(found, before, scene.truth()) == []
    assert scene.books() == []


@pytest.mark.parametrize("target", ["looker", "teamcity"])
def test_a_grant_that_was_sent_before_the_mark_is_taken_again_and_the_receipt_knows(
    scene: Scene, sync: Begin, offboard: Begin, target: str
) -> None:
    spoil(scene, target)
    route = {"looker": "POST /api/4.0/groups/*/users", "teamcity": "PUT /app/rest/users/*/roles/*"}[target]
    with Hold(getattr(scene.world, target), route) as hold:
        syncing = sync()
        hold.wait()
        before = scene.truth()
        leaving = offboard()
        eventually("the mark is set", scene.marked_at)
        hold.release()
        found = leaving.result().json()
    assert "1 change applied" in syncing.result().out
    (given,) = given_since_the_mark(scene)
    assert given.startswith(f"{target}: {route.partition(' ')[0]}"), "it was in the vendor's hands already"
    now = scene.truth()
    assert now.keys <= before.keys, "and it is not there any more"
    assert lies(found, before, now) == []
    assert scene.books() == []


@pytest.mark.parametrize("target", ["looker", "teamcity"])
def test_an_account_that_a_sync_is_in_the_middle_of_making_gets_nothing_after_the_mark_and_is_ended(
    played: Stage, other_nursery: Nursery, tmp_path: Path, target: str
) -> None:
    """The vendor has made it and not yet answered, so that nobody knows of it but the step that is on record."""
    with played.scene(gates={"create": "auto"}) as scene, ThreadPoolExecutor(2) as threads:
        server = getattr(scene.world, target)
        server.delete_user(scene.looker_id() if target == "looker" else scene.teamcity_id())
        assert scene.trueup("plan").code == 2
        route = {"looker": "POST /api/4.0/users", "teamcity": "POST /app/rest/users"}[target]
        with Hold(server, route, done=True) as hold:
            syncing = threads.submit(lambda: other_nursery.run(["sync"], scene.desk.environment, tmp_path)[0])
            hold.wait()
            scene.leaves()
            leaving = threads.submit(scene.offboard)
            eventually("the mark is set", scene.marked_at)
            eventually(
                "the other target is done", lambda: how_far(scene)[OTHER[target]][0] == "done", lambda: how_far(scene)
            )
            hold.release()
            assert syncing.result().code == 1
            ended = leaving.result()
        assert ended.out, ended
        assert given_since_the_mark(scene) == []
        assert lies(ended.json(), scene.truth(), scene.truth()) == []


def test_a_forced_one_stays_out_for_ten_ticks_while_the_source_says_active_and_somebody_lets_them_in_again(
    scene: Scene,
) -> None:
    before = scene.truth()
    out = scene.offboard("--force")
    assert lies(out.json(), before, scene.truth()) == []
    meddling = {3: "looker", 6: "teamcity"}
    for tick in range(10):
        if tick in meddling:
            let_in_again(scene, meddling[tick])
        assert scene.trueup("sync").code in (0, 2), tick
        assert not able(scene), f"tick {tick}"
    assert given_since_the_mark(scene) == []
    assert [row.trigger for row in scene.offboardings()] == ["operator", "watch", "watch"]
    assert scene.books() == []


def let_in_again(scene: Scene, target: str) -> None:
    """By hand, as if the source were right."""
    if target == "looker":
        scene.world.looker.enable(scene.looker_id())
        scene.world.looker.add_to_group(scene.looker_id(), GROUP)
    else:
        scene.world.teamcity.add_role(scene.teamcity_id(), *ROLE)


def able(scene: Scene) -> set[str]:
    """What they can get in by, and what they may do then, in all their accounts."""
    rights = ("account", "role:", "group:", "password", "token:")
    return {f"{place} {key}" for place, key in scene.truth().keys if key.startswith(rights)}


ARRIVALS = {
    "Looker, which keeps the account that it was": lambda world: world.looker.sso_arrival(WHO),
    "TeamCity, where somebody had deleted it": lambda world: (
        world.teamcity.delete_user(world.teamcity.world.named(WHO).id),
        world.teamcity.sso_arrival(WHO, ["developers"]),
    ),
    "TeamCity, into the account that it was": lambda world: world.teamcity.sso_arrival(WHO, ["developers"]),
}


@pytest.mark.parametrize("arrives", ARRIVALS.values(), ids=ARRIVALS.keys())
def test_an_account_that_single_sign_on_makes_again_a_second_later_is_ended_and_told_of(
    scene: Scene, arrives: Callable[[World], object]
) -> None:
    scene.world.looker.sso(default_new_user_role_ids=("4",))
    scene.leaves()
    assert scene.offboard().code == 2
    assert not able(scene)
    before = scene.truth()
    arrives(scene.world)
    assert able(scene), "they are in again"
    back = scene.truth()
    scene.trueup("sync")
    assert not able(scene)
    assert given_since_the_mark(scene) == []
    assert [row.trigger for row in scene.offboardings()] == ["operator", "watch"]
    (told,) = scene.trail("leaver reappeared")
    assert told["personal"]["note"]
    found = scene.receipt()
    assert (found["trigger"], found["state"]) == ("watch", "closed")
    assert lies(found, back, scene.truth()) == []
    assert before.held.keys() <= back.held.keys() | {("teamcity", "104")}
    assert scene.books() == []
