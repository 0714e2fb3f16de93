"""What the tests of the whole thing share: companies, databases of their own, and somebody at a desk who types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Database, dsn
from tests.e2e.desk import Desk
from worker.sandbox.world import World

Copy = Callable[[Database], AbstractContextManager[Database]]


@pytest.fixture
def desk(fresh_database: Database, tmp_path: Path) -> Iterator[Desk]:
    """A company of 40 on three servers of its own, its baseline not yet accepted."""
    with World.of(40).serve() as world:
        yield Desk(world, fresh_database, tmp_path).write_settings()


@pytest.fixture(scope="session")
def copied(database: Database) -> Copy:
    """Copies a database, with everything in it, for the length of a block."""
    numbers = count(1)

    @contextmanager
    def copy(original: Database) -> Iterator[Database]:
        name = f"{_name(original)}_copy{next(numbers)}"
        with psycopg.connect(dsn(database.owner_url), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{_name(original)}"')
            yield database.named(name)
            connection.execute(f'DROP DATABASE "{name}"')

    return copy


def _name(database: Database) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(dsn(database.worker_url))["dbname"])
