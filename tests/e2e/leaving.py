"""Somebody leaves, in tests of the whole thing: a small company in perfect order, a desk with real processes, and the
wire, on which every mutation is seen with its moment."""

from __future__ import annotations

import datetime as dt
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlmodel import col, select

from tests.conftest import Database
from tests.e2e import truth
from tests.e2e.conftest import Copy
from tests.e2e.desk import Desk, Ended
from tests.e2e.fleet import call
from tests.e2e.ledger import mismatches
from tests.e2e.nursery import Nursery
from tests.e2e.truth import MARK, Truth
from tests.flows.rig import Rig
from worker import wiring
from worker.flows.trail import data
from worker.sandbox.seed import company
from worker.sandbox.server import Exchange, SandboxServer
from worker.sandbox.world import World
from worker.store import chain, marks, people
from worker.store.session import Store
from worker.store.tables import OffboardingRow

T = TypeVar("T")

PEOPLE = 12
WHO, HEIR = "karim.mendes@acme.example", "agnieszka.marino@acme.example"  # developers, in both targets
LEAVERS = {"company_domains": ["acme.example"], "hand_over": {"to": HEIR}}
TARGETS = ("looker", "teamcity")
LOOK = 0.02  # seconds between two looks at what no event tells
BOUND = 60.0  # seconds for what takes one on a quiet machine; others may be at work on this one


def orderly() -> World:
    """Everybody has what the policy gives them, and nothing else; the same each time."""
    return World(company(PEOPLE, trouble=False))


def eventually(what: str, found: Callable[[], T | None], tell: Callable[[], object] = str) -> T:
    """The first answer that is something; whatever else happens, the test says what it waited for."""
    end = time.monotonic() + BOUND
    while not (answer := found()):
        assert time.monotonic() < end, f"after {BOUND:.0f} s still not so: {what}\n{tell()}"
        time.sleep(LOOK)
    return answer


@dataclass(frozen=True)
class Stage:
    """Where scenes are played: the same addresses each time, and a database that knows the company and trusts it."""

    folder: Path
    prepared: Database
    copied: Copy
    nursery: Nursery
    ports: Sequence[int]

    @contextmanager
    def scene(self, **settings: Any) -> Iterator[Scene]:
        """A fresh company, a copy of the database, and trueup.yaml with changes laid over it."""
        world = orderly()
        with world.serve(self.ports), self.copied(self.prepared) as database:
            made = _scene(world, database, self.folder, self.nursery, settings)
            with closing(made.store):
                yield made


@contextmanager
def stage(migrated: Database, copied: Copy, nursery: Nursery, folder: Path) -> Iterator[Stage]:
    """With the baselines accepted and everybody linked; there is nothing to do."""
    with copied(migrated) as prepared:
        with orderly().serve() as world, closing((made := _scene(world, prepared, folder, nursery, {})).store):
            for words in (("check", "--accept-baseline"), ("sync",)):
                ended = made.desk.trueup(*words)
                assert ended.code == 0, ended
            assert made.log() == [], "it was in order"
            ports = [int(url.rpartition(":")[2]) for url in world.urls.values()]
        yield Stage(folder, prepared, copied, nursery, ports)


def _scene(world: World, database: Database, folder: Path, nursery: Nursery, settings: Mapping[str, Any]) -> Scene:
    Rig(world, folder).write_settings("enforce", **settings)
    return Scene(world, Desk(world, database, folder, nursery), Store(database.worker_url), Wire(world))


class Wire:
    """Every mutation that was carried out at a target, with its moment."""

    def __init__(self, world: World) -> None:
        self._seen: list[tuple[dt.datetime, Exchange]] = []
        for server in (world.looker, world.teamcity):
            server.observers.append(self._observe)

    def _observe(self, exchange: Exchange) -> None:
        if a_mutation(exchange):
            self._seen.append((wiring.utc_now(), exchange))

    def after(self, moment: dt.datetime) -> list[Exchange]:
        return [exchange for at, exchange in self._seen if at > moment]


@dataclass(frozen=True)
class Scene:
    """`scene.world` is edited by hand, `scene.trueup("sync")` is a real process, `scene.log()` what came of it."""

    world: World
    desk: Desk
    store: Store
    wire: Wire

    def trueup(self, *words: str) -> Ended:
        return self.desk.trueup(*words)

    def offboard(self, *words: str) -> Ended:
        return self.trueup(*offboarding(*words))

    def receipt(self, query: str = WHO) -> dict[str, Any]:
        """As `trueup receipt` gives it."""
        ended = self.trueup("receipt", query, "--json")
        assert ended.out, ended
        found: dict[str, Any] = ended.json()
        assert ended.code == (0 if found["complete"] else 2), ended
        return found

    def truth(self, login: str = WHO) -> Truth:
        return truth.of(self.world, login)

    def leaves(self, login: str = WHO) -> None:
        """At Okta."""
        self.world.okta.deactivate(self.okta_id(login))

    def okta_id(self, login: str = WHO) -> str:
        found = self.world.okta.directory.find(login)
        assert found, login
        return found.id

    def looker_id(self, login: str = WHO) -> str:
        (found,) = truth.lookers(self.world, login)
        return found.id

    def teamcity_id(self, login: str = WHO) -> int:
        (found,) = truth.teamcities(self.world, login)
        return found.id

    def marked_at(self, login: str = WHO) -> dt.datetime | None:
        with self.store.begin() as session:
            (person,) = people.find(session, login)
            return marks.row_of(session, person.person_id).departure_marked_at

    def offboardings(self, login: str = WHO) -> list[OffboardingRow]:
        """The oldest first."""
        with self.store.begin() as session:
            (person,) = people.find(session, login)
            query = select(OffboardingRow).where(OffboardingRow.person_id == uuid.UUID(person.person_id))
            return list(session.exec(query.order_by(col(OffboardingRow.requested_at))))

    def trail(self, *kinds: str) -> list[dict[str, Any]]:
        """Entries of these kinds, oldest first."""
        with self.store.begin() as session:
            return [data(entry) for entry in chain.entries(session, kinds=kinds)]

    def log(self) -> list[Exchange]:
        """Every mutation that reached a target."""
        return [exchange for server in (self.world.looker, self.world.teamcity) for exchange in server.log]

    def books(self) -> list[str]:
        """What the log and the trail do not agree about, and what is wrong with the chain."""
        with self.store.begin() as session:
            trail = [data(entry) for entry in chain.entries(session)]
            verdict = chain.verify(session)
        logs = {server.name: [call(e) for e in server.log] for server in (self.world.looker, self.world.teamcity)}
        return mismatches(logs, trail) + ([] if verdict.ok else [verdict.what])


class Hold:
    """The next call of a kind, in the vendor's hands: not carried out until it is released, or carried out and not
    answered. All others are answered meanwhile."""

    def __init__(self, server: SandboxServer, route: str, *, done: bool = False) -> None:
        self._server = server
        self._fault = server.break_(route, "held-after" if done else "held", times=1)

    def wait(self) -> None:
        eventually(f"somebody asks for {self._fault.route}", lambda: self._fault.fired)

    def release(self) -> None:
        """Once, and again without harm."""
        self._server.faults[:] = [one for one in self._server.faults if one is not self._fault]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def offboarding(*words: str, who: str = WHO) -> tuple[str, ...]:
    """The words of the command."""
    return ("offboard", who, "--reason", "they left", "--wait", "--json", *words)


# --- the wire ---------------------------------------------------------------------------------------------------------


def a_mutation(exchange: Exchange) -> bool:
    """Ours, at a target: a log-in or the end of our own session is none."""
    own = exchange.path.endswith("/login") or (exchange.vendor == "looker" and exchange.path.endswith("/logout"))
    return exchange.method not in ("GET", "HEAD") and not own


def takes(exchange: Exchange) -> bool:
    """Whether it can only take something away."""
    path, body = exchange.path, exchange.request_body
    if exchange.vendor == "looker":
        return (
            exchange.method == "DELETE"
            or (exchange.method == "PATCH" and json.loads(body) == {"is_disabled": True})
            or (exchange.method == "PUT" and path.endswith("/roles") and json.loads(body) == [])
        )
    if path.endswith(f"/properties/{MARK}"):
        return exchange.method == "PUT"
    return exchange.method == "DELETE" or path.endswith("/logout")


def about(log: Sequence[Exchange], now: Truth, login: str = WHO) -> list[Exchange]:
    """Those that concern a person: their accounts by id, and whatever has their name in it."""
    ids = {target: [id for one, id in now.held if one == target] for target in TARGETS}
    found = []
    for exchange in log:
        named = login.encode() in exchange.request_body
        path = rf"/users/(id:)?({'|'.join(ids[exchange.vendor]) or '-'})(/|$)"
        added = any(f'"user_id":"{id}"'.encode() in exchange.request_body.replace(b" ", b"") for id in ids["looker"])
        if named or re.search(path, exchange.path) or (exchange.vendor == "looker" and added):
            found.append(exchange)
    return found


def shown(exchange: Exchange) -> str:
    return f"{exchange.vendor}: {exchange.method} {exchange.path} {exchange.request_body.decode()} ({exchange.status})"
