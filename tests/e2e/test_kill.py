"""kill -9 at every boundary of every step: nothing is lost, nothing is done twice, and the next run goes on.

What the world and the database hold changes only when a mutation reaches a vendor and when Trueup commits. So whoever
was killed after each mutation, before its answer, and after each commit, was killed in every state there is.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Database
from tests.e2e.conftest import Copy
from tests.e2e.desk import Desk, Ended
from tests.e2e.ledger import mismatches
from tests.e2e.nursery import Nursery, nursery
from worker.flows.trail import data
from worker.sandbox.server import Exchange
from worker.sandbox.world import World
from worker.store import chain
from worker.store.session import Store

pytestmark = pytest.mark.fleet  # some hundred processes that die

PEOPLE = 12
LANES = 3  # at a time; each waits now and then
AGAIN = ("/logout", "/debug/rememberMe")  # TeamCity shows nobody's sessions, so these may be made again


@dataclass(frozen=True)
class Boundary:
    """Where the process dies: right after its n-th mutation was carried out, or right after its n-th commit."""

    after: str
    number: int

    def __str__(self) -> str:
        return f"killed after {self.after} {self.number}"


@dataclass(frozen=True)
class Lane:
    """Runs one scenario after another, each on a fresh company at the same addresses with a copy of one database."""

    folder: Path
    prepared: Database
    copied: Copy
    nursery: Nursery
    ports: Sequence[int]

    @contextmanager
    def desk(self) -> Iterator[tuple[World, Desk]]:
        world = World.of(PEOPLE)
        trouble(world)
        with world.serve(self.ports), self.copied(self.prepared) as database:
            yield world, Desk(world, database, self.folder)

    def run(self, desk: Desk, *words: str, **how: Any) -> tuple[Ended, int]:
        return self.nursery.run(words, desk.environment, desk.folder, **how)


def trouble(world: World) -> None:
    """Something of everything: a leaver with every door open, somebody new, a new name, and edits by hand."""
    company = world.company
    leaver = next(story.who for story in company.stories if story.kind == "leaver")
    left = next(user for user in company.teamcity_users if user.username == leaver)
    world.teamcity.set_field(left.id, "password", "open sesame")
    world.teamcity.add_token(left.id, "laptop")
    world.teamcity.sso_login(left.id, [key.lower() for key in left.groups])
    groups = ["Everyone", "Analytics Readers", "Engineering"]
    world.okta.hire("Nia", "Berg", login="nia.berg@acme.example", groups=groups)
    storied = {story.who for story in company.stories}
    calm = [e for e in company.employees if e.status == "ACTIVE" and e.profile["login"] not in storied]
    developer = next(e for e in calm if "Team Mobile" in e.groups)
    reader = next(e for e in calm if "Sales" in e.groups)
    for looker in company.looker_users:
        if looker.email == developer.profile["login"]:
            world.looker.remove_from_group(looker.id, "Engineering")
        if looker.email == reader.profile["login"]:
            world.looker.grant_role(looker.id, "Analyst")
    for teamcity in company.teamcity_users:
        if teamcity.username == developer.profile["login"]:
            world.teamcity.remove_role(teamcity.id, "PROJECT_DEVELOPER", "p:Mobile")
            world.teamcity.add_role(teamcity.id, "PROJECT_DEVELOPER", "p:Data")
    world.okta.rename(reader.id, lastName="Sundaram")


@pytest.fixture(scope="module")
def lanes(
    database: Database, _migrated: str, copied: Copy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Lane]]:
    with ExitStack() as stack:
        yield [lane(stack, database.named(_migrated), copied, tmp_path_factory.mktemp("lane")) for _ in range(LANES)]


def lane(stack: ExitStack, migrated: Database, copied: Copy, folder: Path) -> Lane:
    """With its baseline accepted, and whatever waits for a human approved."""
    born = stack.enter_context(nursery())
    prepared = stack.enter_context(copied(migrated))
    world = World.of(PEOPLE)
    trouble(world)
    with world.serve() as served:
        desk = Desk(served, prepared, folder).write_settings()
        ports = [int(url.rpartition(":")[2]) for url in served.urls.values()]

        def run(*words: str) -> Ended:
            return born.run(words, desk.environment, folder)[0]

        assert run("check", "--accept-baseline").code == 0
        plan = run("plan", "--json").json()
        waiting = [c["fingerprint"][:10] for t in plan["targets"] for c in t["changes"] if c["state"] == "waiting"]
        assert len(waiting) == 2, "the two accounts that are missing"
        assert run("review", "approve", *waiting).code == 0
    return Lane(folder, prepared, copied, born, ports)


@dataclass(frozen=True)
class Uninterrupted:
    """What comes of a run that nobody kills, and how many boundaries it has."""

    state: Any
    commits: int
    mutations: int


@pytest.fixture(scope="module")
def uninterrupted(lanes: list[Lane]) -> Uninterrupted:
    with lanes[0].desk() as (world, desk):
        ended, commits = lanes[0].run(desk, "sync", "--json")
        assert ended.code == 0, ended
        assert books(world, desk) == []
        return Uninterrupted(state(world), commits, len(world.looker.log) + len(world.teamcity.log))


@pytest.mark.timeout(900)
def test_after_a_kill_at_any_boundary_the_next_run_comes_to_the_same_end_and_the_books_agree(
    lanes: list[Lane], uninterrupted: Uninterrupted
) -> None:
    boundaries = [Boundary("commit", n + 1) for n in range(uninterrupted.commits)]
    boundaries += [Boundary("mutation", n + 1) for n in range(uninterrupted.mutations)]
    assert uninterrupted.mutations >= 15
    assert uninterrupted.commits > 2 * uninterrupted.mutations, "attempted and outcome of each, at least"

    def in_lane(number: int) -> list[str]:
        mine = boundaries[number::LANES]
        return [f"{boundary}: {what}" for boundary in mine for what in wrong(lanes[number], boundary, uninterrupted)]

    with ThreadPoolExecutor(LANES) as pool:
        found = [line for lines in pool.map(in_lane, range(LANES)) for line in lines]
    assert not found, "\n".join(found)


def wrong(lane: Lane, boundary: Boundary, uninterrupted: Uninterrupted) -> list[str]:
    """One scenario: killed there, run again; everything that is not as it should be, in words."""
    with lane.desk() as (world, desk):
        killed = kill(lane, world, desk, boundary)
        if killed.code != -signal.SIGKILL:
            return [f"it was not killed, but ended with {killed.code}: {killed.err}"]
        again, _ = lane.run(desk, "sync", "--json")
        if again.code == 2:
            again = approve_login(lane, desk, again)
        found = [] if again.code == 0 else [f"the next run ends with {again.code}: {again.out}{again.err}"]
        if state(world) != uninterrupted.state:
            found.append(f"another end: {differences(state(world), uninterrupted.state)}")
        return found + books(world, desk) + twice(world)


def approve_login(lane: Lane, desk: Desk, ended: Ended) -> Ended:
    """Cut short between its two steps, a creation leaves a Looker account without a login, and to give it one is a
    change of a login, which is for a human."""
    waiting = [c for t in ended.json()["targets"] for c in t["changes"] if c["state"] == "waiting"]
    if [change["drift"] for change in waiting] != ["stale login"]:
        return ended
    approved, _ = lane.run(desk, "review", "approve", waiting[0]["fingerprint"][:10])
    return lane.run(desk, "sync", "--json")[0] if approved.code == 0 else approved


def kill(lane: Lane, world: World, desk: Desk, boundary: Boundary) -> Ended:
    """A `trueup sync` that dies there."""
    if boundary.after == "commit":
        return lane.run(desk, "sync", kill_after_commit=boundary.number)[0]
    process: Future[int] = Future()
    made, turn = count(1), threading.Lock()

    def observe(exchange: Exchange) -> None:
        """Called when the vendor has done it, and before it answers."""
        if exchange.method != "GET" and not exchange.path.endswith("/login"):
            with turn:
                if next(made) == boundary.number:
                    os.kill(process.result(timeout=30), signal.SIGKILL)

    for server in (world.looker, world.teamcity):
        server.observers.append(observe)
    return lane.run(desk, "sync", born=process.set_result)[0]


def state(world: World) -> Any:
    """Who can do what at the vendors; the values of properties, which are ids of changes, left out."""
    users: dict[str, Any] = {}
    for server in (world.looker, world.teamcity):
        for id, user in server.state()["users"].items():
            properties = sorted(user.get("properties", ()))
            users[f"{server.name} {id}"] = {**user, "properties": properties, "keys": len(user.get("keys", ()))}
    return users


def differences(found: Any, wanted: Any) -> dict[str, Any]:
    return {id: (found.get(id), wanted.get(id)) for id in {*found, *wanted} if found.get(id) != wanted.get(id)}


def books(world: World, desk: Desk) -> list[str]:
    """What the log and the trail do not agree about, and what is wrong with the chain."""
    with closing(Store(desk.database.worker_url)) as store, store.begin() as session:
        trail = [data(entry) for entry in chain.entries(session)]
        verdict = chain.verify(session)
    logs = {server.name: [call(exchange) for exchange in server.log] for server in (world.looker, world.teamcity)}
    return mismatches(logs, trail) + ([] if verdict.ok else [verdict.what])


def call(exchange: Exchange) -> dict[str, Any]:
    return {
        "method": exchange.method, "path": exchange.path, "status": exchange.status,
        "body": exchange.request_body.decode(), "request_id": exchange.request_id,
    }  # fmt: skip


def twice(world: World) -> list[str]:
    """Mutations that reached a vendor more than once; none does, but for what cannot be seen."""
    made = Counter(
        (server.name, e.method, e.path, _body(e))
        for server in (world.looker, world.teamcity)
        for e in server.log
        if not e.path.endswith(AGAIN)
    )
    return [f"made {number} times: {what}" for what, number in made.items() if number > 1]


def _body(exchange: Exchange) -> str:
    """Without the mark that tells one attempt to create an account from another."""
    try:
        body = json.loads(exchange.request_body)
    except ValueError:
        return ""
    return json.dumps({k: v for k, v in body.items() if k != "properties"}) if isinstance(body, dict) else str(body)
