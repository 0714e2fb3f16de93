"""Brings a database to the shape that this Trueup needs, and says what shape it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, text
from sqlalchemy.exc import DBAPIError

import worker
from worker.errors import Misconfigured
from worker.store.address import address, engine, place, translated

_MIGRATIONS = Path(worker.__file__).parent.with_name("migrations")  # beside us, in a checkout and in a wheel
_ONE_AT_A_TIME = 0x7472756575700001  # an advisory lock: two that migrate at once take turns


def upgrade(owner_url: str) -> None:
    """Bring the database to `head()`, whole or not at all. The login must be the one that owns the tables."""
    with _connected(owner_url) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
        _refuse_unknown(owner_url, revision(connection))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def current(url: str) -> str | None:
    """The revision that the database is at; None when it is empty."""
    with _connected(url) as connection:
        return revision(connection)


def revision(connection: Connection) -> str | None:
    """The same, of a connection."""
    return MigrationContext.configure(connection).get_current_revision()


@cache
def head() -> str:
    """The revision that this Trueup needs."""
    found = _scripts().get_current_head()
    assert found is not None, "migrations/versions holds at least one revision"
    return found


def _refuse_unknown(url: str, found: str | None) -> None:
    if found is not None and found not in {script.revision for script in _scripts().walk_revisions()}:
        raise Misconfigured(
            f"The database {place(address(url))} is at revision {found}, which this Trueup does not know: a newer one"
            " made it. Install that version or a later one."
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    where = address(url)
    try:
        with engine(where, poolclass=NullPool).begin() as connection:
            yield connection
    except (DBAPIError, psycopg.Error) as error:
        meaning = translated(error, where)
        if meaning is None:
            raise
        raise meaning from error
