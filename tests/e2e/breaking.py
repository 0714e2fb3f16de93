"""What every test of broken reads needs: the ways in which an answer can be wrong, and a settled company in which
something is to be taken, something to be given, and somebody has left.

A pass knows the whole of it; a pass with a broken read must know a part of it, never anything else, and what was read
before stays as it was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Database
from tests.flows.rig import Rig
from worker import wiring
from worker.core.plan import TAKING
from worker.flows import passes
from worker.flows.passes import Outlook
from worker.flows.site import Site
from worker.rest import Rest
from worker.sandbox.server import Exchange, Fault, SandboxServer
from worker.sandbox.world import World
from worker.store import mirror

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

Routes = Mapping[str, Mapping[str, str]]
"""By connector: what a pass asks, under a test's name for it. `*` stands for any id, a mere path for a GET."""


@dataclass(frozen=True)
class Truth:
    """What a pass finds when nothing is broken: sentences by target. `calls` counts what it asked, as `GET /path`."""

    takes: Mapping[str, frozenset[str]]
    gives: Mapping[str, frozenset[str]]
    calls: Mapping[str, Counter[str]]


@dataclass(frozen=True)
class Scene:
    """`narrowed` has routes on which a fault hits less than the route, where a pass asks in no order; `once` are routes
    that a connector asks only when it is new."""

    rig: Rig
    site: Site
    truth: Truth
    routes: Routes
    narrowed: Mapping[tuple[str, str], str] = field(default_factory=dict)
    once: frozenset[tuple[str, str]] = frozenset()

    def server(self, connector: str) -> SandboxServer:
        return next(server for server in self.rig.world.servers if server.name == connector)

    def break_(self, connector: str, what: str, place: float = 0.0, **how: Any) -> Fault:
        """`place`: 0 is the first of the calls that a pass makes there, 1 the last one."""
        route = asked(self.narrowed.get((connector, what)) or self.routes[connector][what])
        calls = sum(number for found, number in self.truth.calls[connector].items() if fnmatchcase(found, route))
        return self.server(connector).break_(route, skip=max(0, round(place * (calls - 1))), **how)

    def pass_(self) -> Outlook:
        """With new connectors where it matters."""
        faults = {fault.route for server in self.rig.world.servers for fault in server.faults}
        if not faults & {asked(self.routes[connector][what]) for connector, what in self.once}:
            return passes.plan(self.site)
        with ExitStack() as stack:
            return passes.plan(wiring.connect(self.site, stack))

    def current(self) -> dict[str, str]:
        with self.site.begin() as session:
            found = {name: mirror.current_snapshot(session, name) for name in (*self.site.sources, *self.site.targets)}
        return {name: str(snapshot and snapshot.id) for name, snapshot in found.items()}

    def broken_pass(self, *broken: str) -> Outlook:
        """A pass in which these cannot be read: nobody they touch loses anything, and the rest is as it should be."""
        before = self.current()
        outlook = self.pass_()
        after = self.current()
        assert sorted(name for name, _ in outlook.failures) == sorted(broken), outlook.failures
        assert [name for name in before if before[name] == after[name]] == [name for name in before if name in broken]
        readable = [target for target in self.truth.takes if target not in broken]
        nobody: frozenset[str] = frozenset()
        sure = not set(self.rig.world.sources) & set(broken)
        assert planned(outlook, taking=True) == {t: self.truth.takes[t] if sure else nobody for t in readable}
        assert planned(outlook, taking=False) == {target: self.truth.gives[target] for target in readable}
        assert outlook.exit_code() == 1
        for name, sentence in outlook.failures:
            self.assert_one_clear_sentence(name, sentence)
        return outlook

    def assert_one_clear_sentence(self, connector: str, sentence: str) -> None:
        assert connector in sentence.lower()
        assert re.fullmatch(r"[^\n]{20,600}[.?!]", sentence), sentence
        assert "Traceback" not in sentence
        assert "(401: )" not in sentence
        assert not [secret for secret in self.rig.world.environment().values() if secret in sentence]

    def assert_no_route_is_forgotten(self, looker: tuple[int, int] = (4, 1)) -> None:
        """What a pass asks, and nothing else, is among the routes; and there is something to lose: `looker` is how much
        is to be taken there, and how much given."""
        for connector, calls in self.truth.calls.items():
            routes = [asked(route) for route in self.routes[connector].values()]
            assert [call for call in calls if not any(fnmatchcase(call, route) for route in routes)] == []
            assert [route for route in routes if not any(fnmatchcase(call, route) for call in calls)] == []
        assert {target: len(found) for target, found in self.truth.takes.items()} == {
            "looker": looker[0],
            "teamcity": 4,
        }
        assert {target: len(found) for target, found in self.truth.gives.items()} == {
            "looker": looker[1],
            "teamcity": 1,
        }


def asked(route: str) -> str:
    return f"GET {route}" if route.startswith("/") else route


def planned(outlook: Outlook, *, taking: bool) -> dict[str, frozenset[str]]:
    """Sentences of all changes, whatever their state, by target."""
    return {
        plan.target: frozenset(
            plan.sentences[j.change.drift.key] for j in plan.judged if (j.change.operation in TAKING) is taking
        )
        for plan in outlook.plans
    }


@contextmanager
def settled(
    world: World, database: Database, folder: Path, small_pages: Mapping[Any, int], **settings: Any
) -> Iterator[Rig]:
    """Everything that a machine may cure is cured. Retries come without a pause, and pages are so small that the lists
    of 40 people have a first, a middle and a last one."""
    make = Rest.__init__

    def quick(self: Rest, *given: Any, **more: Any) -> None:
        make(self, *given, **{**more, "first_pause": 0.001, "attempts": 2})

    with world.serve(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rest, "__init__", quick)
        for (module, name), size in small_pages.items():
            patch.setattr(f"{module}.{name}", size)
        for variable, value in {
            **world.environment(),
            wiring.DATABASE: database.worker_url,
            wiring.OWNER_DATABASE: database.owner_url,
        }.items():
            patch.setenv(variable, value)
        rig = Rig(world, folder)
        with rig.open("enforce", **{"gates": {"create": "auto"}, **settings}) as site:
            last = [passes.sync(site), passes.sync(site)][-1]
            assert last.exit_code() == 0
        yield rig


@contextmanager
def unsettled(rig: Rig, routes: Routes, settings: Mapping[str, Any] = {}, **more: Any) -> Iterator[Scene]:
    """Things are wrong on purpose, and one pass has told what they are."""
    disturb(rig)
    calls: dict[str, Counter[str]] = {server.name: Counter() for server in rig.world.servers}
    methods = {vendor: {asked(route).split()[0] for route in paths.values()} for vendor, paths in routes.items()}

    def count(exchange: Exchange) -> None:
        call = f"{exchange.method} {exchange.path}"
        call = call if "host" in exchange.request_headers else f"BATCH {call}"  # one of many that came in one call
        if call.split()[0] in methods[exchange.vendor]:
            calls[exchange.vendor][call] += 1

    with rig.open("enforce", gates={"create": "auto"}, **settings) as site:
        for server in rig.world.servers:
            server.observers.append(count)
        outlook = passes.plan(site)
        for server in rig.world.servers:
            server.observers.remove(count)
        assert not outlook.failures
        truth = Truth(planned(outlook, taking=True), planned(outlook, taking=False), calls)
        yield Scene(rig, site, truth, routes, **more)


def disturb(rig: Rig) -> None:
    """Somebody leaves; in each target somebody gets too much and somebody too little."""
    world = rig.world
    told_of = {story.who for story in world.company.stories} | {"grace.okafor@acme.example"}
    both = [
        login
        for login in (employee.profile["login"] for employee in world.everybody)
        if login not in told_of and world.looker.instance.with_email(login) and world.teamcity.world.named(login)
    ]
    leaver, hoarder, dabbler, deprived, forgotten = both[:5]
    leave(world, leaver)
    world.looker.add_to_group(rig.looker_user(hoarder).id, "Finance")
    world.looker.remove_from_group(rig.looker_user(deprived).id, "Viewers")
    found = {login: world.teamcity.world.named(login) for login in (dabbler, forgotten)}
    assert all(found.values())
    world.teamcity.add_role(found[dabbler].id, "PROJECT_DEVELOPER", "p:Payments")  # type: ignore[union-attr]
    world.teamcity.remove_from_group(found[forgotten].id, "DEVELOPERS")  # type: ignore[union-attr]


def leave(world: World, login: str) -> None:
    """At every source that knows them."""
    user = world.okta.directory.find(login)
    if user is not None:
        world.okta.deactivate(user.id)
    if any(u.properties["userPrincipalName"] == login for u in world.company.tenant.users):
        world.entra.disable(login)
