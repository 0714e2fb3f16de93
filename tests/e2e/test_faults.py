"""Every way in which a read can break, on every route that a pass reads: whoever it touches loses nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import Database
from tests.e2e.breaking import HEALED, LOUD, PLACES, Routes, Scene, planned, settled, unsettled
from tests.flows.rig import Rig
from worker import wiring
from worker.flows.check import check
from worker.sandbox.world import World
from worker.store import installations

# Every path that a pass reads, by whose it is. `*` stands for any id.
pytestmark = pytest.mark.faults

ROUTES: Routes = {
    "okta": {
        "the org": "/.well-known/okta-organization",
        "who we are": "/api/v1/users/me",
        "groups": "/api/v1/groups",
        "people": "/api/v1/users",
        "members": "/api/v1/groups/*/users",
    },
    "looker": {
        "the version": "/api/4.0/versions",
        "who we are": "/api/4.0/user",
        "accounts": "/api/4.0/users",
        "roles": "/api/4.0/roles",
        "groups": "/api/4.0/groups/search/with_hierarchy",
        "holders": "/api/4.0/roles/*/users",
        "members": "/api/4.0/groups/*/users",
    },
    "teamcity": {
        "the server": "/app/rest/server",
        "who we are": "/app/rest/users/current",
        "roles": "/app/rest/roles",
        "groups": "/app/rest/userGroups",
        "projects": "/app/rest/projects",
        "accounts": "/app/rest/users",
        "tokens": "/app/rest/users/*/tokens",
    },
}
READERS = (
    "/api/v1/groups/00g0000000000004acme/users"  # Okta reads groups side by side: only within one there is an order
)
ROWS = {"groups", "people", "members", "accounts", "roles", "holders", "projects", "tokens"}
PAGED = [("okta", "groups"), ("okta", "people"), ("okta", "members"), ("teamcity", "projects")]
NO_ROWS = '{"count": 0, "user": [], "role": [], "group": [], "project": [], "token": []}'

# Pages so small that the lists of 40 people have a first, a middle and a last one.
SMALL_PAGES = {
    ("worker.sources.okta.org", "PAGE"): 15,
    ("worker.targets.looker.reading", "USERS_PAGE"): 15,
    ("worker.targets.looker.reading", "MEMBERS_PAGE"): 15,
    ("worker.targets.teamcity.reading", "PAGE_OF_PROJECTS"): 3,
}


@pytest.fixture(scope="module")
def stage(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with settled(World.of(40), module_database, tmp_path_factory.mktemp("faults"), SMALL_PAGES) as rig:
        yield rig


@pytest.fixture(scope="module")
def _scene(stage: Rig) -> Iterator[Scene]:
    one_group, anew = {("okta", "members"): READERS}, frozenset({("teamcity", "who we are")})
    with unsettled(stage, ROUTES, narrowed=one_group, once=anew) as scene:
        yield scene


@pytest.fixture
def scene(_scene: Scene) -> Iterator[Scene]:
    """Whole again after each test."""
    yield _scene
    for server in _scene.rig.world.servers:
        server.faults.clear()


def test_no_route_is_forgotten(scene: Scene) -> None:
    scene.assert_no_route_is_forgotten()
    assert scene.truth.calls["okta"][f"GET {READERS}"] >= 3


# Looker and TeamCity break together here, and each alone further down.
ROUNDS = {
    **{f"{what} of okta": {"okta": what} for what in ROUTES["okta"]},
    **{
        f"{ours} of looker and {theirs} of teamcity": {"looker": ours, "teamcity": theirs}
        for ours, theirs in zip(ROUTES["looker"], ROUTES["teamcity"], strict=True)
    },
}


@pytest.mark.parametrize("fault", LOUD)
@pytest.mark.parametrize("round_", ROUNDS)
def test_what_cannot_be_read_takes_nothing_from_anybody(scene: Scene, round_: str, fault: str) -> None:
    place = [*PLACES.values()][(list(LOUD).index(fault) + list(ROUNDS).index(round_)) % len(PLACES)]
    broken = ROUNDS[round_]
    faults = [scene.break_(connector, what, place, **LOUD[fault]) for connector, what in broken.items()]
    scene.broken_pass(*broken)
    assert all(injected.fired for injected in faults)


@pytest.mark.parametrize("what", PAGED, ids=" ".join)
@pytest.mark.parametrize("place", [0.0, 0.4], ids=["first page", "second page"])
def test_a_next_page_at_another_host_is_not_read(scene: Scene, what: tuple[str, str], place: float) -> None:
    injected = scene.break_(*what, place, kind="foreign-next", times=1)
    outlook = scene.broken_pass(what[0])
    assert injected.fired
    assert "another host (elsewhere.invalid" in outlook.failures[0][1]


@pytest.mark.parametrize("fault", HEALED)
@pytest.mark.parametrize("number", range(max(map(len, ROUTES.values()))))
def test_what_passes_is_tried_again_and_nothing_is_missing(scene: Scene, number: int, fault: str) -> None:
    place = [*PLACES.values()][(number + list(HEALED).index(fault)) % len(PLACES)]
    faults = [
        scene.break_(connector, [*routes][number % len(routes)], place, **HEALED[fault], times=1)
        for connector, routes in ROUTES.items()
    ]
    outlook = scene.pass_()
    assert [injected.fired for injected in faults] == [1, 1, 1]
    assert outlook.failures == []
    assert planned(outlook, taking=True) == scene.truth.takes
    assert planned(outlook, taking=False) == scene.truth.gives


# --- lies: answers in their proper shape, in which something is missing ----------------------------------------------

LIES: Mapping[str, Mapping[str, Any]] = {"no rows": {"kind": "misshapen"}, "half of the rows": {"kind": "fewer"}}
# What no certificate can tell: nothing says how many there are. The guards withstand it: where something is not there,
# rules are suspended and freeze what they name; a holder who is not shown is given what they have, and that is nothing.
BELIEVED = {
    ("okta", "groups", "middle", "half of the rows"),
    ("okta", "groups", "last", ""),
    ("looker", "roles", "", "half of the rows"),
    ("looker", "holders", "middle", ""),
    ("looker", "holders", "last", ""),
    ("teamcity", "projects", "", "no rows"),
    ("teamcity", "accounts", "last", ""),  # it asks what lies behind the last row, and nothing does
    ("teamcity", "tokens", "", ""),
}
LISTS = [(connector, what) for connector, routes in ROUTES.items() for what in routes if what in ROWS]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("connector", "what"), LISTS, ids=lambda part: part)
def test_rows_that_are_missing_take_nothing_from_anybody(
    scene: Scene, connector: str, what: str, place: str, lie: str
) -> None:
    how = {**LIES[lie]} | ({"text": NO_ROWS if connector == "teamcity" else "[]"} if lie == "no rows" else {})
    injected = scene.break_(connector, what, PLACES[place], **how)
    if not any((connector, what, place, lie) == (c, w, p or place, li or lie) for c, w, p, li in BELIEVED):
        scene.broken_pass(connector)
    else:
        outlook = scene.pass_()
        assert outlook.failures == []
        for target, sentences in planned(outlook, taking=True).items():
            assert sentences <= scene.truth.takes[target]
    assert injected.fired


# --- answers that do not come ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(max(map(len, ROUTES.values()))))
def test_an_answer_that_does_not_come_in_time_takes_nothing_from_anybody(scene: Scene, number: int) -> None:
    sections = {"sources": ("okta",), "targets": ("looker", "teamcity")}
    hasty: dict[str, Any] = {side: {name: {"timeout": 0.5} for name in names} for side, names in sections.items()}
    faults = [
        scene.break_(connector, [*routes][number % len(routes)], kind="slow", seconds=0.8)
        for connector, routes in ROUTES.items()
    ]
    with scene.rig.open("enforce", gates={"create": "auto"}, **hasty) as site:
        outlook = replace(scene, site=site).broken_pass(*ROUTES)
    assert all(injected.fired for injected in faults)
    assert all("broke off (ReadTimeout" in sentence for _, sentence in outlook.failures)


# --- reads of `trueup check` -----------------------------------------------------------------------------------------

# What only a look at rights and settings reads; "{own}" is the account of our own key.
PROBES = {
    "our own roles in looker": ("looker", "/api/4.0/users/{own}/roles"),
    "our own account in looker": ("looker", "/api/4.0/users/{own}"),
    "single sign-on of looker": ("looker", "/api/4.0/saml_config"),
    "our own rights in teamcity": ("teamcity", "/app/rest/users/current/permissions"),
    "authentication of teamcity": ("teamcity", "/app/rest/server/authSettings"),
}


@pytest.mark.parametrize("fault", ["500 without a body", "a web page", "half an answer", "a redirect"])
@pytest.mark.parametrize("probe", PROBES)
def test_no_baseline_is_accepted_where_the_look_at_rights_fails(scene: Scene, probe: str, fault: str) -> None:
    connector, path = PROBES[probe]
    with scene.site.begin() as session:
        before = installations.baseline(session, connector)
        own = installations.own_account_of(session, connector)
    injected = scene.server(connector).break_(f"GET {path.format(own=own)}", **LOUD[fault])
    with ExitStack() as stack:
        found = check(wiring.connect(scene.site, stack), accept=[connector])
    assert injected.fired
    assert found.accepted == []
    assert [name for name, _ in found.failures] == [connector]
    assert found.exit_code() == 1
    with scene.site.begin() as session:
        assert installations.baseline(session, connector) == before
