"""What the tests of the API process share: the real application on a real socket and a real database."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from tests.conftest import Database
from tests.flows.rig import Clock
from tests.settings_fakes import POLICY, loaded
from worker.console import server
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
