"""`trueup up`: every process of a Trueup on one machine, with servers of its own where none are named.

For evaluation, and for a single machine. Each process is the same command that a real deployment runs; here they are
started, watched, started again when they end by themselves, and stopped together.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from worker import embedded, logs, wiring
from worker.embedded import redis
from worker.errors import Unavailable
from worker.store import migrate

LOOK = 0.5  # seconds between two looks at the processes
SERVERS = 2.0  # seconds between two looks at the embedded servers
PATIENCE = 90.0  # seconds for the processes to finish what they have in hand
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # before one that ended, or keeps ending, is started again


@dataclass
class Member:
    """One process: what it is called, how it is started, and when it may be started again."""

    name: str
    arguments: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    not_before: float = 0.0
    pause: float = FIRST_PAUSE / 2
    since: float = 0.0

    def look(self, environment: Mapping[str, str]) -> None:
        """Start it, or start it again after a pause that grows while it keeps ending at once."""
        if self.process is not None and self.process.poll() is not None:
            logs.event("ended by itself", level=logging.ERROR, member=self.name, status=self.process.returncode)
            at_once = time.monotonic() - self.since < LONGEST_PAUSE
            self.pause = min(LONGEST_PAUSE, self.pause * 2) if at_once else FIRST_PAUSE
            self.process, self.not_before = None, time.monotonic() + self.pause
        if self.process is None and time.monotonic() >= self.not_before:
            # A session of its own: Ctrl-C is meant for us, and we end them in good order.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker", *self.arguments], env=environment, start_new_session=True
            )
            self.since = time.monotonic()
            logs.event("started", member=self.name)

    def send(self, number: signal.Signals) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def gone(self) -> bool:
        return self.process is None or self.process.poll() is not None


def members(settings: str, processes: int, host: str, port: int) -> list[Member]:
    """The processes of a deployment, by the commands that start them."""
    own = ["--settings", settings]
    return [
        Member("worker", ["worker", "--processes", str(processes), *own]),
        Member("leaver worker", ["worker", "--leavers", "--processes", "2", *own]),
        Member("beat", ["beat", *own]),
        Member("api", ["api", "--host", host, "--port", str(port), *own]),
    ]


def up(together: Sequence[Member], ready: Callable[[], None]) -> None:
    """Run them until Ctrl-C or SIGTERM; the second one ends everything at once."""
    stop = _Stop()
    with _servers() as (environment, revive):
        try:
            ready()
            looked = time.monotonic()
            while not stop.wait(LOOK):
                for member in together:
                    member.look(environment)
                if time.monotonic() - looked > SERVERS:
                    revive()
                    looked = time.monotonic()
        finally:
            _end(together, stop)


class _Stop:
    """Counts how often we were asked to end."""

    def __init__(self) -> None:
        self.asked = 0
        self._event = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked += 1
        self._event.set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds)


def _end(together: Sequence[Member], stop: _Stop) -> None:
    """API and beat first, then whoever works; what they have in hand is finished or handed back."""
    logs.event("stopping")
    for member in reversed(together):
        member.send(signal.SIGTERM)
    end = time.monotonic() + PATIENCE
    while not all(member.gone() for member in together):
        if stop.asked > 1 or time.monotonic() > end:
            for member in together:
                _kill_all(member)
        time.sleep(0.05)
    logs.event("stopped")


def _kill_all(member: Member) -> None:
    """The process and those that it has started, which share its session."""
    if member.process is not None and member.process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(member.process.pid, signal.SIGKILL)


@contextmanager
def _servers() -> Iterator[tuple[Mapping[str, str], Callable[[], None]]]:
    """The environment for the processes, and what starts an embedded server again when it has ended."""
    environment = dict(os.environ)
    ours: list[Callable[[], object]] = []
    with ExitStack() as stack:
        if wiring.named(wiring.DATABASE) is None:
            database = stack.enter_context(embedded.running())
            if migrate.current(database.owner_url) is None:
                migrate.upgrade(database.owner_url)
            environment[wiring.DATABASE] = database.worker_url
            ours.append(lambda: _touch(embedded.running))
        if wiring.named(wiring.REDIS) is None:
            environment[wiring.REDIS] = stack.enter_context(redis.running()).url
            ours.append(lambda: _touch(redis.running))

        def revive() -> None:
            for server in ours:
                try:
                    server()
                except Unavailable as error:
                    logs.event("a server does not start", level=logging.ERROR, why=str(error))

        yield environment, revive


def _touch(running: Callable[[], object]) -> None:
    with running():  # type: ignore[attr-defined]
        pass  # found running, or started again
