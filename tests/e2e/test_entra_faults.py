"""Every way in which a read of Entra ID can break, on every route that a pass asks: nobody loses anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import orjson
import pytest

from tests.conftest import Database
from tests.e2e.breaking import HEALED, LOUD, PLACES, Routes, Scene, asked, planned, settled, unsettled
from tests.e2e.test_faults import ROUTES as TARGETS
from tests.flows.rig import Rig
from worker import wiring
from worker.core.identity import Standing
from worker.flows import passes
from worker.flows.passes import Outlook
from worker.sandbox.entra import EntraSandbox
from worker.sandbox.server import Exchange
from worker.sandbox.world import World
from worker.store import mirror

pytestmark = pytest.mark.faults

GUID = "????????-????-????-????-????????????"
GRAPH = {
    "the endpoints": "/*/v2.0/.well-known/openid-configuration",
    "the token": "POST /*/oauth2/v2.0/token",
    "groups": "/v1.0/groups",
    "a group": f"/v1.0/groups/{GUID}",
    "members": f"/v1.0/groups/{GUID}/members",
    "people": "/v1.0/users",
    "the count of people": "/v1.0/users/$count",
    "deleted people": "/v1.0/directory/deletedItems/microsoft.graph.user",
    "a batch": "POST /v1.0/$batch",
    "the count of members": f"BATCH GET /v1.0/groups/{GUID}/members/microsoft.graph.user",
    "the count of all below": f"BATCH GET /v1.0/groups/{GUID}/transitiveMembers/microsoft.graph.user",
}
ROUTES: Routes = {"entra": GRAPH, "looker": TARGETS["looker"], "teamcity": TARGETS["teamcity"]}
ALONE = [what for what, route in GRAPH.items() if not route.startswith("BATCH")]
IN_A_BATCH = [what for what in GRAPH if what not in ALONE]
PAGED = ["groups", "people", "members"]
ROWS = [*PAGED, "deleted people"]


@pytest.fixture(scope="module")
def stage(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    world, folder = World.of(40, sources=("entra",)), tmp_path_factory.mktemp("entra_faults")
    with settled(world, module_database, folder, {("worker.sources.entra.graph", "PAGE"): 15}) as rig:
        yield rig


@pytest.fixture(scope="module")
def _scene(stage: Rig) -> Iterator[Scene]:
    """The members of one group are read in order; of several, side by side."""
    readers = stage.world.entra.directory.group("Analytics Readers").id
    narrowed = {("entra", "members"): f"/v1.0/groups/{readers}/members"}
    anew = frozenset({("entra", "the endpoints"), ("entra", "the token")})
    with unsettled(stage, ROUTES, narrowed=narrowed, once=anew) as scene:
        yield scene


@pytest.fixture
def scene(_scene: Scene) -> Iterator[Scene]:
    """Whole again after each test."""
    yield _scene
    for server in _scene.rig.world.servers:
        server.faults.clear()


@pytest.fixture
def entra(scene: Scene) -> EntraSandbox:
    return scene.rig.world.entra


def assert_whole(scene: Scene, outlook: Outlook) -> None:
    assert outlook.failures == []
    assert planned(outlook, taking=True) == scene.truth.takes
    assert planned(outlook, taking=False) == scene.truth.gives


def assert_nothing_new_is_taken(scene: Scene, outlook: Outlook) -> None:
    """What is known of the source may be less than there is, and never costs anybody anything."""
    for target, sentences in planned(outlook, taking=True).items():
        assert sentences <= scene.truth.takes[target]


def test_no_route_is_forgotten(scene: Scene) -> None:
    scene.assert_no_route_is_forgotten()
    assert scene.truth.calls["entra"][asked(scene.narrowed["entra", "members"])] >= 3


CALLS = [(what, fault) for what in ALONE for fault in LOUD]
CALLS.remove(("the count of people", "half an answer"))  # half of a number is one, and a smaller count harms nobody


@pytest.mark.parametrize(("what", "fault"), CALLS, ids=lambda part: part)
def test_what_cannot_be_read_takes_nothing_from_anybody(scene: Scene, what: str, fault: str) -> None:
    place = [*PLACES.values()][(list(LOUD).index(fault) + list(GRAPH).index(what)) % len(PLACES)]
    injected = scene.break_("entra", what, place, **LOUD[fault])
    scene.broken_pass("entra")
    assert injected.fired


REFUSED = [name for name, how in LOUD.items() if how["kind"] == "status"]


@pytest.mark.parametrize("fault", [*REFUSED, "something else"])
@pytest.mark.parametrize("what", IN_A_BATCH)
def test_what_is_wrong_with_one_of_many_takes_nothing_from_anybody(scene: Scene, what: str, fault: str) -> None:
    how = LOUD[fault] if fault in REFUSED else {"kind": "status", "status": 200, "text": '{"unexpected": true}'}
    injected = scene.break_("entra", what, 0.5, **how)
    outlook = scene.pass_()
    assert injected.fired
    assert_nothing_new_is_taken(scene, outlook)
    for name, sentence in outlook.failures:
        scene.assert_one_clear_sentence(name, sentence)


@pytest.mark.parametrize("what", PAGED)
@pytest.mark.parametrize("place", [0.0, 0.4], ids=["first page", "second page"])
def test_a_next_page_at_another_host_is_not_read(scene: Scene, what: str, place: float) -> None:
    injected = scene.break_("entra", what, place, kind="foreign-next", times=1)
    outlook = scene.broken_pass("entra")
    assert injected.fired
    assert "another host (elsewhere.invalid" in outlook.failures[0][1]


@pytest.mark.parametrize("fault", HEALED)
@pytest.mark.parametrize("what", ALONE)
def test_what_passes_is_tried_again_and_nothing_is_missing(scene: Scene, what: str, fault: str) -> None:
    injected = scene.break_("entra", what, 0.5, **HEALED[fault], times=1)
    outlook = scene.pass_()
    assert injected.fired == 1
    assert_whole(scene, outlook)


def error(code: str) -> str:
    return f'{{"error": {{"code": "{code}", "message": "as Graph says it"}}}}'


# What Graph alone does, once in a while; the read begins again, or waits, and is whole.
ODD: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "a page of people is too old": ("people", {"status": 400, "text": error("Directory_ExpiredPageToken")}),
    "a page of members is too old": ("members", {"status": 400, "text": error("Directory_ExpiredPageToken")}),
    "a list is gone and has to be read anew": ("people", {"status": 410, "text": error("resyncRequired")}),
    "one of many is throttled": ("the count of members", {"status": 429, "headers": {"Retry-After": "0"}}),
    "a call is throttled for a moment": ("groups", {"status": 429, "headers": {"Retry-After": "0"}}),
    "a token is over": ("people", {"status": 401, "text": error("InvalidAuthenticationToken")}),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_graph_does_once_in_a_while_costs_nothing(scene: Scene, odd: str) -> None:
    what, how = ODD[odd]
    injected = scene.break_("entra", what, 0.5, kind="status", times=1, **how)
    outlook = scene.pass_()
    assert injected.fired == 1
    assert_whole(scene, outlook)


def test_lists_that_begin_with_empty_pages_are_whole(scene: Scene, entra: EntraSandbox) -> None:
    entra.graph.pages.hollow = True
    answers: list[bytes] = []
    entra.observers.append(lambda exchange: answers.append(exchange.response_body))
    outlook = scene.pass_()
    entra.observers.pop()
    entra.graph.pages.hollow = False
    assert any(b'"value":[]' in answer and b"@odata.nextLink" in answer for answer in answers)
    assert_whole(scene, outlook)


def test_an_index_that_lags_behind_the_lists_is_no_loss(scene: Scene, entra: EntraSandbox) -> None:
    behind = entra.directory.of_type("user")[::3]
    entra.graph.unindexed.update(behind)
    short: dict[str, int] = {}  # by what Graph was asked to count: how many people it left out

    def compare(exchange: Exchange) -> None:
        if exchange.path.endswith("/members/microsoft.graph.user"):
            group = entra.directory.group(exchange.path.split("/")[3])
            people = {id for id in entra.directory.members(group) if entra.directory.things[id].type == "user"}
            short[group.name] = len(people) - orjson.loads(exchange.response_body)["@odata.count"]

    entra.observers.append(compare)
    outlook = scene.pass_()
    entra.observers.pop()
    entra.graph.unindexed.clear()
    assert_whole(scene, outlook)
    assert max(short.values()) > 0
    with scene.site.begin() as session:
        current = mirror.current_snapshot(session, "entra")
        assert current is not None
        assert [group.problem for group in mirror.source_groups(session, "entra") if group.name in short] == [""] * len(
            short
        )
    (check,) = (check for check in current.checks if check.name == "as many as Graph counts")
    listed, counted = map(int, re.findall(r"\d+", check.detail))
    assert (check.passed, listed - counted) == (True, len(behind))


def test_a_tenant_that_throttles_is_waited_for(scene: Scene, entra: EntraSandbox) -> None:
    entra.graph.units, entra.graph.window = 30, 0.5
    statuses: list[int] = []
    entra.observers.append(lambda exchange: statuses.append(exchange.status))
    outlook = scene.pass_()
    entra.observers.pop()
    entra.graph.units = None
    assert 429 in statuses
    assert_whole(scene, outlook)


@pytest.mark.parametrize("permission", ["User.Read.All", "GroupMember.Read.All"])
def test_without_a_permission_nothing_is_taken_and_it_is_named(
    scene: Scene, entra: EntraSandbox, permission: str
) -> None:
    entra.granted.remove(permission)
    entra.oauth.expire_tokens()
    outlook = scene.broken_pass("entra")
    entra.granted.add(permission)
    entra.oauth.expire_tokens()
    assert permission in outlook.failures[0][1]


# --- lies: answers in their proper shape, in which something is missing ----------------------------------------------

LIES: Mapping[str, Mapping[str, Any]] = {
    "no rows": {"kind": "misshapen", "text": '{"value": []}'},
    "half of the rows": {"kind": "fewer"},
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", ROWS)
def test_rows_that_are_missing_take_nothing_from_anybody(scene: Scene, what: str, place: str, lie: str) -> None:
    injected = scene.break_("entra", what, PLACES[place], **LIES[lie])
    outlook = scene.pass_()
    assert injected.fired
    assert_nothing_new_is_taken(scene, outlook)


# The property that is empty, and what is then said of the person.
BLURRED = {
    "whether they are blocked": ("accountEnabled", "Graph says nothing of whether the account is enabled"),
    "what they are called": ("userPrincipalName", "there is no user principal name"),
}


@pytest.mark.parametrize("blur", BLURRED)
def test_people_of_whom_graph_does_not_say_lose_nothing(scene: Scene, entra: EntraSandbox, blur: str) -> None:
    people = {id: dict(entra.directory.things[id].properties) for id in entra.directory.of_type("user")}
    chief = entra.directory.user(scene.rig.world.everybody[0].profile["login"]).id
    blurred = [id for id, known in people.items() if known["accountEnabled"] and id != chief]
    empty, problem = BLURRED[blur]
    for id in blurred:
        entra.set(id, **{empty: None})
    outlook = scene.pass_()
    for id, known in people.items():
        entra.directory.things[id].properties.update(known)
    assert outlook.failures == [], "the read is whole"
    with scene.site.begin() as session:
        found = {one.id: one for one in mirror.identities(session, "entra")}
    assert {found[id].standing for id in blurred} == {Standing.HOLD}
    assert [found[id].login for id in blurred if problem not in found[id].problem] == []
    departed = {
        target: frozenset(sentence for sentence in sentences if "because they have departed" in sentence)
        for target, sentences in scene.truth.takes.items()
    }
    assert all(departed[target] < sentences for target, sentences in scene.truth.takes.items())
    assert planned(outlook, taking=True) == departed, "who was blocked before loses all, and nobody else anything"


def test_a_secret_that_is_over_takes_nothing_and_says_so(scene: Scene, entra: EntraSandbox) -> None:
    entra.oauth.secret_expired = True
    with ExitStack() as stack:
        outlook = passes.plan(wiring.connect(scene.site, stack))
    entra.oauth.secret_expired = False
    assert [name for name, _ in outlook.failures] == ["entra"]
    assert planned(outlook, taking=True) == dict.fromkeys(scene.truth.takes, frozenset())
    scene.assert_one_clear_sentence("entra", outlook.failures[0][1])
