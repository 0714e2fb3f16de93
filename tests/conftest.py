"""What many tests share: a real PostgreSQL for the whole session, and an empty migrated database for each test."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import hypothesis
import psycopg
import pytest
from sqlalchemy import make_url

from worker import embedded

pytest_plugins = ["pytester", "tests.contracts.plugin"]

# A law is about what is so, not about how quickly a busy machine finds it.
hypothesis.settings.register_profile("trueup", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("trueup")

_ROOM = 4 << 30  # bytes, many times what the servers of a few workers write

# Whoever starts us in the background may have told us, and so whatever we start, to ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Database:
    """SQLAlchemy URLs of one database: for its owner, who migrates it, and for the worker."""

    owner_url: str
    worker_url: str

    def named(self, name: str) -> Database:
        """The same server and roles, another database."""
        return Database(*(_renamed(url, name) for url in (self.owner_url, self.worker_url)))


def _renamed(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def dsn(url: str) -> str:
    """What psycopg itself understands of an SQLAlchemy URL."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _memory() -> str | None:
    """A folder in memory for servers that end with the session; nothing where there is little of it, or where no
    program may run, for a state folder may have to hold the server's."""
    shared = "/dev/shm"
    if not os.access(shared, os.W_OK) or os.statvfs(shared).f_flag & os.ST_NOEXEC:
        return None
    return shared if shutil.disk_usage(shared).free > _ROOM else None


@pytest.fixture(scope="session")
def new_state() -> Iterator[Callable[[], Path]]:
    """Makes state folders with short paths, for which pytest's own temporary folders are too deep and too private."""
    made: list[Path] = []

    def make() -> Path:
        folder = Path(tempfile.mkdtemp(prefix="trueup-test-", dir=_memory()))
        folder.chmod(0o711)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        embedded.stop(folder)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def database(new_state: Callable[[], Path]) -> Iterator[Database]:
    """The server at TRUEUP_DATABASE_URL (its owner's at TRUEUP_OWNER_DATABASE_URL), or else an embedded one."""
    if url := os.environ.get("TRUEUP_DATABASE_URL"):
        yield Database(os.environ.get("TRUEUP_OWNER_DATABASE_URL", url), url)
        return
    with embedded.running(new_state()) as server:
        yield Database(server.owner_url, server.worker_url)


@pytest.fixture(scope="session")
def _migrated(database: Database) -> Iterator[str]:
    """The name of a database that was migrated once, for copying; TRUEUP_TEST_TEMPLATE names one that exists."""
    if given := os.environ.get("TRUEUP_TEST_TEMPLATE"):
        yield given
        return
    name = f"trueup_template_{os.getpid()}"
    with psycopg.connect(dsn(database.owner_url), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        if importlib.util.find_spec("worker.store.migrate"):
            importlib.import_module("worker.store.migrate").upgrade(database.named(name).owner_url)
        yield name
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


_numbers = count(1)


@contextmanager
def _copied(database: Database, template: str) -> Iterator[Database]:
    name = f"trueup_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(dsn(database.owner_url), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        yield database.named(name)
        # Not WITH (FORCE): the owner may not end a worker's session, and unforced it waits for one that is closing.
        connection.execute(f'DROP DATABASE "{name}"')


@pytest.fixture
def fresh_database(database: Database, _migrated: str) -> Iterator[Database]:
    """A database of this test's own: every table, no row."""
    with _copied(database, _migrated) as made:
        yield made


@pytest.fixture(scope="module")
def module_database(database: Database, _migrated: str) -> Iterator[Database]:
    """The same for all tests of a module together."""
    with _copied(database, _migrated) as made:
        yield made
