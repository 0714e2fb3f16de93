"""A whole Trueup at work for a test: real worker and beat processes, a PostgreSQL and a Redis that are theirs alone,
and the company that they keep true, served here so that every call that reaches it is seen."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis as client
from sqlalchemy import text
from sqlmodel import Session, col, select

from tests.e2e.ledger import mismatches
from tests.flows.rig import Rig
from worker import embedded, wiring
from worker.embedded import redis
from worker.errors import Misconfigured, Unavailable, Unknown
from worker.flows import review
from worker.flows.trail import data
from worker.sandbox.server import Exchange
from worker.sandbox.world import World
from worker.store import chain, migrate, runs, snapshots
from worker.store.session import Store
from worker.store.tables import Run, StepRow

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
TARGETS = ("looker", "teamcity")
LOOK = 0.05  # seconds between two looks at what no event tells
BOUND = 150.0  # seconds for what takes a few on a quiet machine; others may be at work on this one
AGAIN = ("/logout", "/debug/rememberMe")  # TeamCity shows nobody's sessions, so these may be made again

SCHEDULE = dict.fromkeys(("pull", "observe", "reconcile"), "2s")
PLENTY = {"per_run": 10_000, "per_day": 10_000}
LIMITS = {"share": "100%", **dict.fromkeys(("removals", "disables", "departures", "privileged_grants"), PLENTY)}
WORKER = ("worker", "--processes", "2")
LEAVERS = ("worker", "--leavers", "--processes", "1")
BEAT = ("beat",)


def eventually(what: str, found: Callable[[], T | None], seconds: float = BOUND) -> T:
    """The first answer that is something; whatever else happens, the test says what it waited for."""
    end = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < end, f"after {seconds:.0f} s still not so: {what}"
        time.sleep(LOOK)
    return answer


@dataclass
class Member:
    """One process of the fleet with those that it forked, which share its group."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    begins: int  # of the log, which has more than one life in it

    @property
    def pid(self) -> int:
        return self.process.pid

    def children(self) -> list[int]:
        """Process ids of its pool, once they are there."""
        return [int(p) for p in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def said(self, words: str) -> bool:
        """Since it was started."""
        return self.times_said(words) > 0

    def times_said(self, words: str) -> int:
        return self.log.read_text(errors="replace")[self.begins :].count(words)

    def tail(self) -> str:
        """The last that it said, for whoever looks at a failure."""
        return "\n".join([f"--- {self.name}", *self.log.read_text(errors="replace").splitlines()[-12:]])

    def kill(self) -> None:
        """kill -9, all of it, and gone."""
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def term(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def alive(self) -> bool:
        return self.process.poll() is None


def a_mutation(exchange: Exchange) -> bool:
    return exchange.method not in ("GET", "HEAD") and not exchange.path.endswith("/login")


def a_look(exchange: Exchange) -> bool:
    """At one Looker account, as before it is changed."""
    return exchange.method == "GET" and re.fullmatch(r"/api/4\.0/users/\d+", exchange.path) is not None


class Hold:
    """Shown each exchange before it is answered, in the server's own thread; keeps the first of a kind there."""

    def __init__(self, which: Callable[[Exchange], bool]) -> None:
        self._which = which
        self.reached, self._released = threading.Event(), threading.Event()

    def __call__(self, exchange: Exchange) -> None:
        if self._which(exchange) and not self.reached.is_set():
            self.reached.set()
            assert self._released.wait(BOUND), "somebody releases it"

    def wait(self) -> None:
        assert self.reached.wait(BOUND), "nobody asked for it"

    def release(self) -> None:
        self._released.set()


@dataclass
class Fleet:
    """`fleet.spoil(...)`, then something terrible, then `fleet.converge()`."""

    rig: Rig
    state: Path
    store: Store
    environment: Mapping[str, str]
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def world(self) -> World:
        return self.rig.world

    # --- its processes -----------------------------------------------------------------------------------------------

    def start(self, name: str, words: Sequence[str], module: str = "worker") -> Member:
        """A process of its own; whatever it says goes to <name>.log."""
        log = self.rig.folder / f"{name}.log"
        settings = () if module != "worker" else ("--settings", str(self.rig.folder / "trueup.yaml"))
        begins = len(log.read_text(errors="replace")) if log.exists() else 0
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *words, *settings], env={**os.environ, **self.environment}, cwd=ROOT,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self.members[name] = Member(name, process, log, begins)
        return self.members[name]

    def end(self) -> None:
        for member in self.members.values():
            if member.alive():
                member.kill()

    def kill_redis(self) -> None:
        """kill -9, and gone."""
        os.kill(redis_of(self.state), signal.SIGKILL)
        eventually("Redis is gone", lambda: redis.found(self.state) is None)

    def start_redis(self, *, empty: bool = False) -> None:
        """Again, with what it had written down or with nothing."""
        if empty:
            shutil.rmtree(self.state / "redis")
        redis.start(self.state)

    def kill_postgres(self) -> None:
        """kill -9 of the server; its sessions end by themselves."""
        os.kill(postgres_of(self.state), signal.SIGKILL)

    def start_postgres(self) -> None:
        embedded.start(self.state)

    # --- what it is to do, and what it did ---------------------------------------------------------------------------

    def log(self, *targets: str) -> list[Exchange]:
        """Every mutation that reached the targets that are named, or any."""
        return [e for server in self.world.servers if server.name in (targets or TARGETS) for e in server.log]

    def spoil(self, number: int, *targets: str) -> None:
        """Edits by hand, so many at each target that is named: something to take at TeamCity, to give at Looker."""
        storied = {story.who for story in self.world.company.stories}
        calm = {e.profile["login"] for e in self.world.company.employees if e.status == "ACTIVE"} - storied
        teamcity, looker = self.world.teamcity, self.world.looker
        users = [user.id for user in teamcity.world.users.values() if user.username in calm]
        for user in users[:number] if "teamcity" in targets else ():
            teamcity.add_role(user, "PROJECT_VIEWER", "p:Web")
        (engineers,) = (id for id, group in looker.instance.groups.items() if group.name == "Engineering")
        members = [u.id for u in looker.instance.users.values() if u.email in calm and engineers in u.groups]
        for member in members[:number] if "looker" in targets else ():
            looker.remove_from_group(member, "Engineering")

    @contextmanager
    def held(self, target: str, which: Callable[[Exchange], bool] = a_mutation) -> Iterator[Hold]:
        """The next such call that reaches the target is made, and not answered until it is released; nothing else is
        answered there either. So whoever asked for it is in the middle of a step."""
        (server,) = (server for server in self.world.servers if server.name == target)
        hold = Hold(which)
        server.observers.append(hold)
        try:
            yield hold
        finally:
            hold.release()
            server.observers.remove(hold)

    def mutated(self) -> None:
        """Wait until another mutation has reached a target."""
        before = len(self.log())
        eventually("a change", lambda: len(self.log()) > before)

    def asked(self, found: Callable[[Session], T]) -> T | None:
        """A look at the database; None while it is away."""
        try:
            with self.store.begin() as session:
                return found(session)
        except (Unavailable, Unknown):
            return None

    def attempted(self) -> list[StepRow]:
        """Steps in somebody's hands."""
        query = select(StepRow).where(col(StepRow.outcome) == "attempted")
        return self.asked(lambda session: list(session.exec(query))) or []

    def in_hand(self, target: str) -> StepRow:
        """A step that somebody is in the middle of."""
        return eventually("a step in hand", lambda: next((s for s in self.attempted() if s.target == target), None))

    def member_with(self, pid: int) -> Member:
        return next(m for m in self.members.values() if m.alive() and pid in (m.pid, *m.children()))

    def settled(self, step: StepRow, seconds: float = BOUND) -> StepRow:
        """The step as it ended, once somebody has found out how."""

        def found() -> StepRow | None:
            row = self.asked(lambda session: session.get(StepRow, step.id))
            return row if row is not None and row.outcome != "attempted" else None

        return eventually(f"{step.sentence}: settled\n{self.tell()}", found, seconds)

    def put_in_order(self) -> None:
        """The company's own troubles are cured, what waits for a human is approved, and nothing is left to do."""
        since, approved = wiring.utc_now(), set[str]()
        with self.rig.open("enforce", baselines=False, schedule=SCHEDULE, limits=LIMITS) as site:

            def done() -> bool:
                waiting = {item.handle for item in review.pending(site) if item.state == "waiting"} - approved
                with suppress(Misconfigured):  # a newer plan no longer has it
                    review.decide(site, sorted(waiting), approve=True, note="as it should be")
                    approved.update(waiting)
                return all(self._empty(target, since) for target in TARGETS)

            eventually(f"everything is in order\n{self.tell()}", done)

    # --- how it ended ------------------------------------------------------------------------------------------------

    def converge(self, seconds: float = BOUND) -> float:
        """Wait until a plan for each target that rests on reads of what is now has nothing to change; the seconds."""
        began, since = time.monotonic(), wiring.utc_now()
        for target in TARGETS:
            eventually(f"an empty plan for {target}\n{self.tell()}", lambda t=target: self._empty(t, since), seconds)
        return time.monotonic() - began

    def _empty(self, target: str, since: dt.datetime) -> bool | None:
        """Whether there is one; of what a person still has to decide, there is nothing here."""

        def found(session: Session) -> bool:
            query = select(Run).where(Run.target == target, col(Run.started_at) > since, Run.state == "closed")
            return any(
                not runs.changes_of(session, run.id, runs.OPEN_STATES)
                and not run.counts["by_state"].get("applied")
                and all(read_since(session, id, since) for id in run.snapshots.values())
                for run in session.exec(query)
            )

        return self.asked(found)

    def books(self) -> list[str]:
        """What the log and the trail do not agree about, and what is wrong with the chain."""
        with self.store.begin() as session:
            trail = [data(entry) for entry in chain.entries(session)]
            verdict = chain.verify(session)
        logs = {server.name: [call(e) for e in server.log] for server in (self.world.looker, self.world.teamcity)}
        return mismatches(logs, trail) + ([] if verdict.ok else [verdict.what])

    def tell(self) -> str:
        """The last that everybody said."""
        return "\n".join(member.tail() for member in self.members.values())

    def claims(self) -> set[int]:
        """Process ids of whoever has claimed an account, a job's slot or a part of a read."""
        query = text(
            "SELECT owner FROM lease WHERE expires_at > clock_timestamp() UNION"
            " SELECT owner FROM job WHERE state = 'running' AND claimed_until > clock_timestamp() UNION"
            " SELECT owner FROM part WHERE state = 'claimed' AND claimed_until > clock_timestamp()"
        )
        with self.store.begin() as session:
            return {process_of(owner) for owner in session.scalars(query) if owner}


@contextmanager
def fleet(state: Path, folder: Path, people: int) -> Iterator[Fleet]:
    """With every baseline accepted and nobody at work yet; everything is ended with the block."""
    with ExitStack() as stack:
        stack.callback(embedded.stop, state)
        stack.callback(redis.stop, state)
        servers = embedded.start(state)
        migrate.upgrade(servers.owner_url)
        world = stack.enter_context(World.of(people).serve())
        environment = {
            **world.environment(), wiring.DATABASE: servers.worker_url, wiring.OWNER_DATABASE: servers.owner_url,
            wiring.REDIS: redis.start(state).url, "TRUEUP_TICK_SECONDS": "0.5",
        }  # fmt: skip
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment.items():
            patch.setenv(name, value)
        made = Fleet(Rig(world, folder, wiring.utc_now), state, Store(servers.worker_url), environment)
        stack.callback(made.store.close)
        stack.callback(made.end)
        with made.rig.open("enforce", schedule=SCHEDULE, limits=LIMITS):
            yield made


def redis_of(state: Path) -> int:
    """The process id of the embedded one."""
    server = redis.found(state)
    assert server is not None
    with client.Redis.from_url(server.url) as connection:
        return int(connection.info()["process_id"])


def postgres_of(state: Path) -> int:
    """The process id of the embedded one's first process."""
    return int((state / "data" / "postmaster.pid").read_text().splitlines()[0])


def twice(log: Sequence[Exchange]) -> list[str]:
    """Mutations that were made more than once, but for what cannot be seen at the vendor."""
    made = Counter((e.vendor, e.method, e.path, e.request_body) for e in log if not e.path.endswith(AGAIN))
    return [f"made {number} times: {what}" for what, number in made.items() if number > 1]


def read_since(session: Session, snapshot_id: str, moment: dt.datetime) -> bool:
    found = snapshots.snapshot(session, uuid.UUID(snapshot_id))
    return found is not None and found.started_at > moment


def pid_of(step: StepRow) -> int:
    return process_of(step.owner)


def process_of(owner: str) -> int:
    return int(owner.split(":")[-2])


def call(exchange: Exchange) -> dict[str, Any]:
    return {
        "method": exchange.method, "path": exchange.path, "status": exchange.status,
        "body": exchange.request_body.decode(), "request_id": exchange.request_id,
    }  # fmt: skip
