"""How soon 50 leavers are out while everybody else is busy: `python -m benchmarks.leavers`.

A company of 20,000 on vendors 100 ms away, everybody furnished with sessions, keys, tokens, schedules and alerts, or
`--plain`. Real processes as in docs/operating.md: workers, leaver workers, a beat, the API. Okta deactivates people and
tells of each by a signed event hook; first with nothing else to do, then, of as many others, in the middle of a sync
that holds every other place. Seconds count from the sending of a hook to what the books say. The vendors answer 429 to
whatever is more in any minute than the share of their limit that is ours.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import psycopg
import redis as client
import yaml

from worker import embedded
from worker.core.receipt import SETTLED, from_data
from worker.embedded import redis
from worker.sandbox.world import Neighbour, serve_next_door
from worker.store import migrate

TRUEUP = (sys.executable, "-m", "worker")
SECRET = "benchmark-hook-" + "s" * 32
VENDORS = ("okta", "looker", "teamcity")
NEVER = "0 0 1 1 *"  # one slot, made up for at the start
PATIENCE = 1800.0
LOOK = 0.1
SENDERS = 8  # deliveries under way at once
_SLOTS = "SELECT count(*) FROM job WHERE split_part(name, ' ', 1) = ANY(%s) AND state = 'done'"
_OPEN = """
SELECT count(*) FILTER (WHERE c.state = 'open'), count(*) FILTER (WHERE c.state = 'applied') FROM change c
JOIN run r ON r.id = c.run_id WHERE r.actor = 'schedule' AND r.offboarding_id IS NULL
"""
_ROWS = """
SELECT i.identity_id, o.state, o.why, o.trigger, o.marked_at, o.locked_at, o.verified_at, o.closed_at, o.receipt
FROM offboarding o JOIN person_identity i ON i.person_id = o.person_id WHERE i.identity_id = ANY(%s)
"""


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    people: int
    leavers: int
    latency: float
    per_minute: int
    share: float
    processes: int
    leaver_processes: int
    spread: float
    calls: bool
    only: str
    plain: bool


# --- what runs --------------------------------------------------------------------------------------------------------


def settings_of(town: Neighbour, asked: Asked, mode: str, every: str) -> str:
    """Nothing held back but by the vendors' limits."""
    found = yaml.safe_load(town.settings_yaml(mode))
    wide = {"per_run": 1_000_000, "per_day": 1_000_000}
    found["limits"] = {name: dict(wide) for name in ("removals", "disables", "departures")} | {"share": "100%"}
    found["schedule"] = dict.fromkeys(("pull", "observe", "reconcile"), every)
    found["rates"] = {v: {"per_minute": asked.per_minute, "share": f"{asked.share:.0%}"} for v in VENDORS}
    found["hooks"] = {"okta": {"secret": "${env:OKTA_HOOK}"}}
    return str(yaml.safe_dump(found, sort_keys=False))


@dataclass
class Fleet:
    """Everything that works, and what it can be asked."""

    town: Neighbour
    asked: Asked
    folder: Path
    environment: Mapping[str, str]
    database: str
    broker: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    api: str = ""

    def write(self, mode: str, every: str) -> None:
        """Settings that whoever works reads before the next task."""
        new = self.folder / "new.yaml"
        new.write_text(settings_of(self.town, self.asked, mode, every), encoding="utf-8")
        new.replace(self.folder / "trueup.yaml")

    def run(self, *words: str) -> None:
        with (self.folder / "commands.log").open("ab") as out:
            subprocess.run([*TRUEUP, *words], env=self.environment, stdout=out, stderr=out, check=False)

    def start(self, *words: str) -> None:
        with (self.folder / f"{words[0]}{len(self.started)}.log").open("ab") as out:
            self.started.append(subprocess.Popen([*TRUEUP, *words], env=self.environment, stdout=out, stderr=out))

    def serve(self) -> None:
        """The API, once it answers."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.start("api", "--port", str(port))
        self.api = f"http://127.0.0.1:{port}"
        until("the API answers", self._healthy)

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.api}/healthz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def rows(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.replace("+psycopg", ""), autocommit=True) as connection:
            return connection.execute(query, given).fetchall()

    def done(self, *kinds: str) -> int:
        return int(self.rows(_SLOTS, list(kinds))[0][0])

    def changes(self) -> tuple[int, int]:
        """Of the sync: open, made."""
        (found,) = self.rows(_OPEN)
        return int(found[0]), int(found[1])


@contextmanager
def fleet(asked: Asked) -> Iterator[Fleet]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trueup-leavers-")))
        folder.chmod(0o711)
        town = stack.enter_context(serve_next_door(asked.people, furnished=not asked.plain))
        database = stack.enter_context(embedded.running(folder / "state"))
        broker = stack.enter_context(redis.running(folder / "state"))
        migrate.upgrade(database.owner_url)
        environment = {
            **os.environ, **town.environment(), "OKTA_HOOK": SECRET, "TRUEUP_SETTINGS": str(folder / "trueup.yaml"),
            "TRUEUP_DATABASE_URL": database.worker_url, "TRUEUP_REDIS_URL": broker.url,
        }  # fmt: skip
        made = Fleet(town, asked, folder, environment, database.worker_url, broker.url)
        try:
            yield made
        finally:
            for process in made.started:
                process.terminate()
            for process in made.started:
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    process.kill()


def until(what: str, so: Callable[[], Any], patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not so():
        if time.monotonic() > end:
            raise RuntimeError(f"after {patience:.0f} s still not so: {what}")
        time.sleep(LOOK)


class Load:
    """Of the machine, since this was made: what was at work beside us blurs the seconds."""

    def __init__(self) -> None:
        self._began, self._ours, self._all = time.monotonic(), self._of_ours(), self._of_all()

    def _of_all(self) -> float:
        """Processor seconds that were not idle."""
        user, nice, system, _, _, *others = (int(n) for n in Path("/proc/stat").read_text().split("\n")[0].split()[1:8])
        return float(user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")

    def _of_ours(self) -> float:
        """Processor seconds of whatever this process has started, which lives on."""
        found, parents = 0.0, {os.getpid()}
        stats = []
        for place in Path("/proc").glob("[0-9]*/stat"):
            try:
                stats.append((int(place.parent.name), place.read_text().rpartition(")")[2].split()))
            except OSError:
                continue
        for pid, stat in sorted(stats):
            if pid in parents or int(stat[1]) in parents:
                parents.add(pid)
                found += (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        return found

    def told(self) -> str:
        seconds = time.monotonic() - self._began
        ours, everything = self._of_ours() - self._ours, self._of_all() - self._all
        return (
            f"{seconds:.0f} s on {os.cpu_count()} processors: {ours:.0f} processor seconds of ours (vendors and this"
            f" measure included; servers that detach are not), {everything:.0f} of everybody's on this machine"
        )


# --- the places of the other queues -----------------------------------------------------------------------------------


class Watch:
    """Looks, while it runs, how many places of the ordinary workers are taken, and what waits for one."""

    def __init__(self, url: str, places: int) -> None:
        self._redis, self._places, self._stop = client.Redis.from_url(url), places, threading.Event()
        self.taken: list[int] = []
        self.waiting: dict[str, list[int]] = {"apply": [], "sync": [], "housekeeping": [], "leaver": []}
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._stop.wait(LOOK):
            taken = [orjson.loads(one)[2] for one in self._redis.hvals("trueup:unacked")]
            self.taken.append(sum(queue != "leaver" for queue in taken))
            for queue, seen in self.waiting.items():
                seen.append(self._redis.llen(f"trueup:{queue}"))

    @property
    def full(self) -> float:
        return sum(taken >= self._places for taken in self.taken) / max(1, len(self.taken))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def __str__(self) -> str:
        waiting = ", ".join(f"{q} {statistics.mean(n):.0f}" for q, n in self.waiting.items() if n)
        return (
            f"all {self._places} places of the other queues taken in {self.full:.0%} of {len(self.taken)} looks"
            f" (fewest {min(self.taken, default=0)}); waiting on average: {waiting}"
        )


# --- leaving ----------------------------------------------------------------------------------------------------------


def candidates(town: Neighbour) -> list[str]:
    """Okta ids of people in good order with an account in Looker and in TeamCity, by rank."""
    storied = {story.who for story in town.stories}
    looker = {user["email"] for user in town.state("looker")["users"].values() if not user["is_disabled"]}
    teamcity = {user["username"] for user in town.state("teamcity")["users"].values()}
    return [
        user["id"]
        for user in town.state("okta")["users"]
        if user["status"] == "ACTIVE"
        and (login := user["profile"].get("login")) in looker & teamcity - storied
        and "Looker Administrators" not in user["groups"] and login
    ]  # fmt: skip


def delivery(identity_id: str) -> dict[str, Any]:
    """As Okta sends it."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    event = {
        "uuid": str(uuid.uuid4()), "published": now, "eventType": "user.lifecycle.deactivate", "severity": "INFO",
        "outcome": {"result": "SUCCESS", "reason": None},
        "target": [{"id": identity_id, "type": "User", "alternateId": "unknown", "displayName": "unknown"}],
    }  # fmt: skip
    return {
        "eventType": "com.okta.event_hook", "eventTypeVersion": "1.0", "cloudEventsVersion": "0.1",
        "eventId": str(uuid.uuid4()), "eventTime": now, "contentType": "application/json", "data": {"events": [event]},
    }  # fmt: skip


def leave(fleet: Fleet, ids: Sequence[str]) -> dict[str, tuple[dt.datetime, float, int]]:
    """Everybody is deactivated, and a hook tells of each: when it was sent first, the seconds to its answer, and which
    that was. After a 5xx Okta asks once more."""
    for id in ids:
        fleet.town.hand("okta", "deactivate", id)
    pause = fleet.asked.spread / max(1, len(ids))

    def tell(place: int, id: str) -> tuple[dt.datetime, float, int]:
        time.sleep(max(0.0, began + place * pause - time.monotonic()))
        sent, first, body = dt.datetime.now(dt.UTC), time.monotonic(), delivery(id)
        for _ in range(2):
            answer = http.post(f"{fleet.api}/v1/hooks/okta/okta", json=body, headers={"authorization": SECRET})
            if answer.status_code < 500:
                break
        return sent, time.monotonic() - first, answer.status_code

    with httpx.Client(trust_env=False, timeout=10) as http, ThreadPoolExecutor(SENDERS) as pool:
        began = time.monotonic()
        return dict(zip(ids, pool.map(tell, itertools.count(), ids), strict=False))


@dataclass
class Outcome:
    """Of one wave of leavers."""

    told: Mapping[str, tuple[dt.datetime, float, int]]
    load: str
    rows: Sequence[tuple[Any, ...]]
    traffic: Mapping[str, Any]

    def seconds(self, column: int) -> list[float]:
        return [(row[column] - self.told[row[0]][0]).total_seconds() for row in self.rows if row[column]]


def wave(fleet: Fleet, ids: Sequence[str]) -> Outcome:
    for vendor in VENDORS:
        fleet.town.limit(vendor, int(fleet.asked.per_minute * fleet.asked.share))
    load = Load()
    told = leave(fleet, ids)
    found: list[tuple[Any, ...]] = []

    def closed() -> bool:
        found[:] = [row for row in fleet.rows(_ROWS, list(ids)) if row[1] != "not confirmed"]
        return sum(row[7] is not None for row in found) >= len(ids)

    try:
        until("every receipt is written", closed)
    except RuntimeError as error:
        print(error, Counter((row[1], row[2]) for row in found))
    traffic = {vendor: fleet.town.limit(vendor, None) for vendor in VENDORS}
    return Outcome(told, load.told(), [row for row in found if row[7]], traffic)


# --- telling ----------------------------------------------------------------------------------------------------------


def spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    at95 = ordered[min(len(ordered) - 1, -(-95 * len(ordered) // 100) - 1)]
    return f"median {statistics.median(ordered):6.2f} s, 95th of 100 {at95:6.2f} s, longest {ordered[-1]:6.2f} s"


def tell(outcome: Outcome, asked: Asked) -> None:
    answers = ", ".join(f"{n} x {s}" for s, n in Counter(status for _, _, status in outcome.told.values()).items())
    print(f"  hook sent -> answered      {spread([seconds for _, seconds, _ in outcome.told.values()])} ({answers})")
    for words, column in (("marked", 4), ("locked out", 5), ("verified", 6), ("receipt", 7)):
        print(f"  hook sent -> {words:13} {spread(outcome.seconds(column))}")
    print(f"  {outcome.load}")
    _receipts(outcome)
    for vendor, seen in outcome.traffic.items():
        calls, statuses = sum(seen["calls"].values()), seen["statuses"]
        print(
            f"  {vendor:9} {calls:6,} calls, {calls / max(1, len(outcome.rows)):5.1f} for each leaver;"
            f" worst minute {seen['worst_minute']:,} of {seen['limit']:,}; at once {seen['most_at_once']} at most;"
            f" 429: {statuses.get('429', 0)}"
        )
        for shape, number in sorted(seen["calls"].items(), key=lambda i: -i[1]) if asked.calls else ():
            print(f"      {number:6,} {shape}")


def _receipts(outcome: Outcome) -> None:
    """How many are complete, and why the others are not: what remains, by target, kind and fate."""
    receipts = [from_data(row[8]) for row in outcome.rows]
    complete = sum(receipt.complete for receipt in receipts)
    fates = Counter(line.fate.value for receipt in receipts for line in receipt.lines)
    told = ", ".join(f"{number} {fate}" for fate, number in fates.most_common())
    print(f"  receipts: {complete} complete, {len(receipts) - complete} partial; lines: {told}")
    remains = Counter(
        why
        for receipt in receipts
        for why in {
            f"{line.target}: {_kind(line.what)}: {line.fate.value}"
            for line in receipt.lines
            if line.fate not in SETTLED
        }
    )
    for why, number in remains.most_common():
        print(f"    {number:4} x {why}")


def _kind(what: str) -> str:
    """`schedule`, of `schedule Weekly numbers of Ana`."""
    return next(
        (kind for kind in ("schedule", "alert", "content", "who uses the public link") if what.startswith(kind)), what
    )


# --- the whole of it --------------------------------------------------------------------------------------------------


def spoil(town: Neighbour, ids: set[str]) -> int:
    """Every third account of Looker gets into a group that the policy governs; nobody who leaves."""
    emails = {u["profile"]["login"] for u in town.state("okta")["users"] if u["id"] in ids}
    users = town.state("looker")["users"].items()
    fit = [id for id, user in users if user["email"] and not user["is_disabled"] and user["email"] not in emails]
    with httpx.Client(trust_env=False, timeout=60) as http:
        for id in fit[::3]:
            edit = {"do": "add_to_group", "with": [id, "Finance"]}
            http.post(f"{town.urls['looker']}/_sandbox/hand", json=edit).raise_for_status()
    return len(fit[::3])


def measure(asked: Asked) -> None:
    with fleet(asked) as made:
        began = time.monotonic()
        made.write("observe", NEVER)
        made.start("worker", "--processes", str(asked.processes))
        made.start("worker", "--leavers", "--processes", str(asked.leaver_processes))
        made.start("beat")
        made.serve()
        until("the company is read and planned for", lambda: made.done("pull", "observe", "reconcile") >= 5)
        made.run("check", "--accept-baseline")
        print(f"the company was read for the first time in {time.monotonic() - began:.0f} s", flush=True)
        ids = candidates(made.town)
        first, second = ids[: 2 * asked.leavers : 2], ids[1 : 2 * asked.leavers : 2]
        spoilt = spoil(made.town, {*first, *second})
        for vendor in VENDORS:
            made.town.break_(vendor, "* /*", "slow", seconds=asked.latency)
        made.write("enforce", NEVER)
        print(f"everything runs after {time.monotonic() - began:.0f} s; {spoilt:,} accounts are spoilt", flush=True)
        quiet = busy = None
        if asked.only != "busy":
            print(f"{len(first)} leavers, nothing else to do:", flush=True)
            quiet = wave(made, first)
            tell(quiet, asked)
        if asked.only != "quiet":
            made.write("enforce", "20s")
            until("the sync makes changes", lambda: made.changes()[1] > 0)
            until("every place is taken", lambda: _full(made))
            print(f"{len(second)} leavers in the middle of a sync of {asked.people:,} people:", flush=True)
            before = made.changes()
            with Watch(made.broker, asked.processes) as watch:
                busy = wave(made, second)
            after = made.changes()
            print(f"  {watch}")
            print(f"  the sync: {after[1] - before[1]} changes made meanwhile, {after[0]} still open afterwards")
            tell(busy, asked)
        if quiet and busy and quiet.rows and busy.rows:
            for words, column in (("locked out", 5), ("verified", 6)):
                ratio = statistics.median(busy.seconds(column)) / statistics.median(quiet.seconds(column))
                print(f"busy / quiet, median to {words}: {ratio:.2f}")


def _full(made: Fleet) -> bool:
    with Watch(made.broker, made.asked.processes) as watch:
        time.sleep(1)
    return watch.full > 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--leavers", type=int, default=50)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds that every vendor answer is held back")
    parser.add_argument("--per-minute", type=int, default=6000, help="`rates`: each vendor's limit")
    parser.add_argument("--share", type=float, default=0.5, help="`rates`: the part of it that is ours")
    parser.add_argument("--processes", type=int, default=2, help="places of the ordinary workers")
    parser.add_argument("--leaver-processes", type=int, default=12)
    parser.add_argument("--spread", type=float, default=0.0, help="seconds over which the hooks come; 0 is all at once")
    parser.add_argument("--calls", action="store_true", help="list the vendor calls")
    parser.add_argument("--only", choices=("quiet", "busy", ""), default="")
    parser.add_argument("--plain", action="store_true", help="people have accounts, roles and groups, and no more")
    asked = Asked(**vars(parser.parse_args()))
    print(
        f"{asked.people:,} people, {asked.leavers} leavers, vendors {asked.latency * 1000:.0f} ms away, rates:"
        f" {asked.share:.0%} of {asked.per_minute:,} calls a minute; {asked.processes} places, {asked.leaver_processes}"
        " for leavers", flush=True,
    )  # fmt: skip
    measure(asked)


if __name__ == "__main__":
    main()
