"""What the tests of the whole thing share: processes that start in no time, and copies of databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count

import psycopg
import pytest

from tests.conftest import Database, dsn
from tests.e2e.nursery import Nursery, nursery

pytest.register_assert_rewrite("tests.e2e.breaking")

Copy = Callable[[Database], AbstractContextManager[Database]]


@pytest.fixture(scope="session")
def forks() -> Iterator[Nursery]:
    """For tests that start so many processes that importing would be most of what they do."""
    with nursery() as made:
        yield made


@pytest.fixture(scope="session")
def copied(database: Database) -> Copy:
    """Copies a database, with everything in it, for the length of a block."""
    numbers = count(1)

    @contextmanager
    def copy(original: Database) -> Iterator[Database]:
        name = f"{_name(original)}_copy{next(numbers)}"
        with psycopg.connect(dsn(database.owner_url), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{_name(original)}"')
            # Else the books would know that they were moved, and only observe.
            with psycopg.connect(dsn(database.named(name).owner_url)) as copied:
                copied.execute("DELETE FROM home")
            yield database.named(name)
            connection.execute(f'DROP DATABASE "{name}"')

    return copy


def _name(database: Database) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(dsn(database.worker_url))["dbname"])
