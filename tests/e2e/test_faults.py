"""Every way in which a read can break, on every route that a pass reads: whoever it touches loses nothing.

The company is settled, and then things are wrong on purpose: in either target something is to be taken and something to
be given, and somebody has left. A pass knows the whole of it; a pass with a broken read must know a part of it, never
anything else, and what was read before stays as it was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.conftest import Database
from tests.flows.rig import Rig
from worker import wiring
from worker.core.plan import TAKING
from worker.flows import passes
from worker.flows.check import check
from worker.flows.passes import Outlook
from worker.flows.site import Site
from worker.rest import Rest
from worker.sandbox.server import Fault, SandboxServer
from worker.sandbox.world import World
from worker.store import installations, mirror
from worker.targets.looker import reading as looker_reading
from worker.targets.teamcity import reading as teamcity_reading

# Every path that a pass reads, by whose it is. `*` stands for any id.
pytestmark = pytest.mark.faults

ROUTES: Mapping[str, Mapping[str, str]] = {
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

# Whatever answers so, nobody can take it for an answer.
LOUD: Mapping[str, Mapping[str, Any]] = {
    "401": {"kind": "status", "status": 401},
    "403": {"kind": "status", "status": 403},
    "404": {"kind": "status", "status": 404, "text": "no such page"},
    "429 for ever": {"kind": "status", "status": 429},
    "500 without a body": {"kind": "status", "status": 500},
    "503 of a gateway": {"kind": "status", "status": 503, "text": "<html>upstream is down</html>"},
    "a web page": {"kind": "html"},
    "a redirect": {"kind": "redirect", "text": "https://login.example.com/"},
    "half an answer": {"kind": "truncate"},
    "something else": {"kind": "misshapen"},
    "null": {"kind": "misshapen", "text": "null"},
    "a lost connection": {"kind": "drop"},
}
HEALED: Mapping[str, Mapping[str, Any]] = {
    "429, then fine": {"kind": "status", "status": 429},
    "503, then fine": {"kind": "status", "status": 503},
    "a lost connection, then fine": {"kind": "drop"},
}
PLACES = {"first": 0.0, "middle": 0.5, "last": 1.0}


@dataclass(frozen=True)
class Truth:
    """What a pass finds when nothing is broken: sentences by target. `calls` counts what it read, by path."""

    takes: Mapping[str, frozenset[str]]
    gives: Mapping[str, frozenset[str]]
    calls: Mapping[str, Counter[str]]


@dataclass(frozen=True)
class Scene:
    rig: Rig
    site: Site
    truth: Truth

    def server(self, connector: str) -> SandboxServer:
        return next(server for server in self.rig.world.servers if server.name == connector)

    def break_(self, connector: str, what: str, place: float = 0.0, **how: Any) -> Fault:
        """`place`: 0 is the first of the calls that a pass makes there, 1 the last one."""
        path = READERS if (connector, what) == ("okta", "members") else ROUTES[connector][what]
        calls = sum(number for found, number in self.truth.calls[connector].items() if fnmatchcase(found, path))
        return self.server(connector).break_(f"GET {path}", skip=round(place * (calls - 1)), **how)

    def pass_(self) -> Outlook:
        """With new connectors where it matters: TeamCity's asks only once who we are."""
        faults = [fault.route for server in self.rig.world.servers for fault in server.faults]
        if f"GET {ROUTES['teamcity']['who we are']}" not in faults:
            return passes.plan(self.site)
        with ExitStack() as stack:
            return passes.plan(wiring.connect(self.site, stack))

    def current(self) -> dict[str, str]:
        with self.site.begin() as session:
            found = {name: mirror.current_snapshot(session, name) for name in (*self.site.sources, *self.site.targets)}
        return {name: str(snapshot and snapshot.id) for name, snapshot in found.items()}


def planned(outlook: Outlook, *, taking: bool) -> dict[str, frozenset[str]]:
    """Sentences of all changes, whatever their state, by target."""
    return {
        plan.target: frozenset(
            plan.sentences[j.change.drift.key] for j in plan.judged if (j.change.operation in TAKING) is taking
        )
        for plan in outlook.plans
    }


@pytest.fixture(scope="module")
def stage(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Retries without a pause, and pages so small that the lists of 40 people have a first, a middle and a last one."""
    make = Rest.__init__

    def quick(self: Rest, *given: Any, **more: Any) -> None:
        make(self, *given, **{**more, "first_pause": 0.001, "attempts": 2})

    with World.of(40).serve() as world, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rest, "__init__", quick)
        patch.setattr("worker.sources.okta.org.PAGE", 15)
        patch.setattr(looker_reading, "USERS_PAGE", 15)
        patch.setattr(looker_reading, "MEMBERS_PAGE", 15)
        patch.setattr(teamcity_reading, "PAGE_OF_PROJECTS", 3)
        for name, value in {
            **world.environment(),
            wiring.DATABASE: module_database.worker_url,
            wiring.OWNER_DATABASE: module_database.owner_url,
        }.items():
            patch.setenv(name, value)
        rig = Rig(world, tmp_path_factory.mktemp("faults"))
        with rig.open("enforce", gates={"create": "auto"}) as site:
            settled = [passes.sync(site), passes.sync(site)][-1]
            assert settled.exit_code() == 0
        yield rig


@pytest.fixture(scope="module")
def _scene(stage: Rig) -> Iterator[Scene]:
    _disturb(stage)
    with stage.open("enforce", gates={"create": "auto"}) as site:
        for server in stage.world.servers:
            server.reads.clear()
        outlook = passes.plan(site)
        assert not outlook.failures
        calls = {server.name: Counter(server.reads) for server in stage.world.servers}
        yield Scene(stage, site, Truth(planned(outlook, taking=True), planned(outlook, taking=False), calls))


@pytest.fixture
def scene(_scene: Scene) -> Iterator[Scene]:
    """Whole again after each test."""
    yield _scene
    for server in _scene.rig.world.servers:
        server.faults.clear()


def _disturb(rig: Rig) -> None:
    """Somebody leaves; in each target somebody gets too much and somebody too little."""
    world = rig.world
    told_of = {story.who for story in world.company.stories} | {"grace.okafor@acme.example"}
    both = [
        login
        for login in (employee.profile["login"] for employee in world.company.employees)
        if login not in told_of and world.looker.instance.with_email(login) and world.teamcity.world.named(login)
    ]
    leaver, hoarder, dabbler, deprived, forgotten = both[:5]
    world.okta.deactivate(rig.okta_id(leaver))
    world.looker.add_to_group(rig.looker_user(hoarder).id, "Finance")
    world.looker.remove_from_group(rig.looker_user(deprived).id, "Viewers")
    found = {login: world.teamcity.world.named(login) for login in (dabbler, forgotten)}
    assert all(found.values())
    world.teamcity.add_role(found[dabbler].id, "PROJECT_DEVELOPER", "p:Payments")  # type: ignore[union-attr]
    world.teamcity.remove_from_group(found[forgotten].id, "DEVELOPERS")  # type: ignore[union-attr]


def test_no_route_is_forgotten(scene: Scene) -> None:
    """What a pass reads, and nothing else, is in the table; and there is something to lose."""
    for connector, calls in scene.truth.calls.items():
        routes = ROUTES[connector].values()
        assert [path for path in calls if not any(fnmatchcase(path, route) for route in routes)] == []
        assert [route for route in routes if not any(fnmatchcase(path, route) for path in calls)] == []
    assert scene.truth.calls["okta"][READERS] >= 3
    assert {target: len(found) for target, found in scene.truth.takes.items()} == {"looker": 4, "teamcity": 4}
    assert {target: len(found) for target, found in scene.truth.gives.items()} == {"looker": 1, "teamcity": 1}


def broken_pass(scene: Scene, *broken: str) -> Outlook:
    """A pass in which these cannot be read: nobody they touch loses anything, and the rest is as it should be."""
    before = scene.current()
    outlook = scene.pass_()
    after = scene.current()
    assert sorted(name for name, _ in outlook.failures) == sorted(broken), outlook.failures
    assert [name for name in before if before[name] == after[name]] == [name for name in before if name in broken]
    readable = [target for target in scene.truth.takes if target not in broken]
    nobody: frozenset[str] = frozenset()
    sure = "okta" not in broken
    assert planned(outlook, taking=True) == {t: scene.truth.takes[t] if sure else nobody for t in readable}
    assert planned(outlook, taking=False) == {target: scene.truth.gives[target] for target in readable}
    assert outlook.exit_code() == 1
    for name, sentence in outlook.failures:
        assert_one_clear_sentence(scene, name, sentence)
    return outlook


def assert_one_clear_sentence(scene: Scene, connector: str, sentence: str) -> None:
    assert connector in sentence.lower()
    assert re.fullmatch(r"[^\n]{20,600}[.?!]", sentence), sentence
    assert "Traceback" not in sentence
    assert "(401: )" not in sentence
    assert not [secret for secret in scene.rig.world.environment().values() if secret in sentence]


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
    broken_pass(scene, *broken)
    assert all(injected.fired for injected in faults)


@pytest.mark.parametrize("what", PAGED, ids=" ".join)
@pytest.mark.parametrize("place", [0.0, 0.4], ids=["first page", "second page"])
def test_a_next_page_at_another_host_is_not_read(scene: Scene, what: tuple[str, str], place: float) -> None:
    injected = scene.break_(*what, place, kind="foreign-next", times=1)
    outlook = broken_pass(scene, what[0])
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
        broken_pass(scene, connector)
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
        outlook = broken_pass(replace(scene, site=site), *ROUTES)
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
