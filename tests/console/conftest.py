"""What the tests of the API process share: the real application on a real socket and a real database."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from starlette.applications import Starlette

from tests.conftest import Database, dsn
from tests.console import outside
from tests.flows.rig import NOON, Clock
from tests.settings_fakes import POLICY, loaded
from worker.console import server
from worker.flows.site import Nudge
from worker.settings import Loaded
from worker.store.session import Store

Serve = Callable[[Starlette], AbstractContextManager[httpx.Client]]


@contextmanager
def serving(app: Starlette) -> Iterator[httpx.Client]:
    """The application behind a socket of its own."""
    with server.listening("127.0.0.1", 0) as listener:
        running = server.server(app)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", trust_env=False) as client:
                yield client
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path) -> Loaded:
    """Okta, Looker and TeamCity, with the schedule as it is by default."""
    return loaded(tmp_path, POLICY)


@pytest.fixture
def store(fresh_database: Database) -> Iterator[Store]:
    with closing(Store(fresh_database.worker_url)) as opened:
        yield opened


@pytest.fixture
def down() -> Iterator[Store]:
    """A database that nobody answers for: its port is nobody's."""
    with closing(Store("postgresql://trueup:pw123@127.0.0.1:1/books")) as opened:
        yield opened


@pytest.fixture
def api(store: Store, settings: Loaded, clock: Clock) -> Iterator[httpx.Client]:
    """The API process as `trueup api` has it."""
    with serving(server.watching(settings, store, clock)) as client:
        yield client


@pytest.fixture
def jobs_done(store: Store, settings: Loaded, clock: Clock) -> Callable[[], None]:
    """Makes every job of the schedule succeed, now."""
    from worker.settings.schedule import jobs
    from worker.store.tables import JobRow

    def do() -> None:
        with store.begin() as session:
            for job in jobs(settings.settings):
                now: dt.datetime = clock()
                session.add(JobRow(name=job.name, slot=now, state="done", not_before=now, finished_at=now))

    return do


@dataclass
class Intake:
    """The API process as others reach it, the books behind it, and the nudges that have left."""

    client: httpx.Client
    store: Store
    database: Database
    clock: Clock
    nudges: list[Nudge]

    def begin_anew(self) -> None:
        """As after the start; what the trail has, it keeps."""
        with psycopg.connect(dsn(self.database.owner_url)) as owner:
            owner.execute(
                "UPDATE offboarding SET closed_at = now(), watch_until = NULL, receipt = '{}'"
            )  # what is open counts
            for table in ("offboarding_target", "offboarding", "hint", "api_request", "job", "subscription"):
                owner.execute(f"DELETE FROM {table}".encode())
        self.clock.time = NOON
        self.nudges.clear()
        outside.populate(self.store)


@pytest.fixture(scope="module")
def told_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """Settings by which two sources, and programs with three tokens, may tell us something."""
    with pytest.MonkeyPatch.context() as patch:
        for name, secret in outside.SECRETS.items():
            patch.setenv(name, secret)
        yield loaded(tmp_path_factory.mktemp("intake"), outside.INTAKE, outside.CONNECTORS)


@pytest.fixture(scope="module")
def _served(module_database: Database, told_of: Loaded) -> Iterator[Intake]:
    with closing(Store(module_database.worker_url)) as store:
        clock, nudges = Clock(), list[Nudge]()
        with serving(server.watching(told_of, store, clock, send=nudges.append)) as client:
            yield Intake(client, store, module_database, clock, nudges)


@pytest.fixture
def intake(_served: Intake) -> Intake:
    _served.begin_anew()
    return _served
