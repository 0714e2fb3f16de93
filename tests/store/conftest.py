"""A store on a database of the test's own, and the owner's hand for what the worker's login may not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest

from tests.conftest import Database, dsn
from worker.store.session import Store


@pytest.fixture
def store(fresh_database: Database) -> Iterator[Store]:
    with closing(Store(fresh_database.worker_url)) as opened:
        yield opened


@pytest.fixture
def as_owner(fresh_database: Database) -> Callable[[str], None]:
    """Runs statements as the owner of the tables, who can do everything but what triggers refuse."""

    def run(statements: str) -> None:
        with psycopg.connect(dsn(fresh_database.owner_url)) as connection:
            connection.execute(statements.encode())

    return run


@pytest.fixture
def rows(fresh_database: Database) -> Callable[[str], list[tuple[object, ...]]]:
    """What a query gives, past the store."""

    def ask(query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(dsn(fresh_database.owner_url)) as connection:
            return connection.execute(query.encode()).fetchall()

    return ask
