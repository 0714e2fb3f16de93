"""The migrations lead to the tables that the code means, with the rights that the worker needs and no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from tests.conftest import Database, dsn
from tests.store.test_rights import MAY
from worker import embedded
from worker.errors import Misconfigured, Unavailable
from worker.store import migrate, tables
from worker.store.session import Store

METADATA = tables.Snapshot.metadata
TABLES = sorted(METADATA.tables)


@pytest.fixture
def empty_database(database: Database) -> Iterator[Database]:
    with psycopg.connect(dsn(database.owner_url), autocommit=True) as connection:
        name = f"trueup_test_empty_{os.getpid()}"
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield database.named(name)
        connection.execute(f"DROP DATABASE {name}".encode())


def test_the_migrations_make_exactly_the_tables_of_the_code(fresh_database: Database) -> None:
    engine = create_engine(fresh_database.owner_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        differences = compare_metadata(context, METADATA)
    engine.dispose()
    assert not differences, "run `python -m migrations.regenerate`"


def test_only_staging_is_unlogged(rows: Callable[[str], list[tuple[object, ...]]]) -> None:
    found = rows("SELECT relname FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r'")
    assert sorted(str(name) for (name,) in found) == [name for name in TABLES if name.startswith("staged_")]


@pytest.mark.parametrize("table", [*TABLES, "alembic_version"])
def test_the_worker_may_do_what_it_must_and_nothing_else_with(
    rows: Callable[[str], list[tuple[object, ...]]], table: str
) -> None:
    found = rows(
        "SELECT privilege_type FROM information_schema.role_table_grants"
        f" WHERE grantee = 'trueup_worker' AND table_name = '{table}'"
    )
    assert {right for (right,) in found} == {"SELECT", *MAY[table]}


def test_an_empty_database_has_no_revision_and_a_migrated_one_the_head(empty_database: Database) -> None:
    assert migrate.current(empty_database.worker_url) is None
    migrate.upgrade(empty_database.owner_url)
    assert migrate.current(empty_database.worker_url) == migrate.head()


def test_two_who_migrate_at_once_take_turns(empty_database: Database) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(migrate.upgrade, [empty_database.owner_url] * 2))
    with closing(Store(empty_database.worker_url)) as store:
        store.assert_current()


def test_a_migration_that_fails_leaves_nothing_behind(
    empty_database: Database,
) -> None:
    with psycopg.connect(dsn(empty_database.owner_url)) as connection:
        connection.execute("CREATE TABLE waiver ()")  # in the way of one of the last tables
    with pytest.raises(Exception, match="already exists"):
        migrate.upgrade(empty_database.owner_url)
    with psycopg.connect(dsn(empty_database.owner_url)) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert found == [("waiver",)]


def test_a_database_of_a_newer_trueup_is_left_alone(fresh_database: Database, as_owner: Callable[[str], None]) -> None:
    as_owner("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Misconfigured, match=r"revision 9999, which this Trueup does not know"):
        migrate.upgrade(fresh_database.owner_url)


def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        migrate.current(f"postgresql://trueup_worker@/trueup?host={tmp_path}")


# --- on a server where an administrator may log in -------------------------------------------------------------------


@pytest.fixture(scope="module")
def administrator(new_state: Callable[[], Path]) -> Iterator[Database]:
    """A server whose superuser may log in, as on most real ones; `owner_url` is the superuser's."""
    state = new_state()
    with embedded.running(state) as server:
        folder = server.folder
    rules = folder / "data" / "pg_hba.conf"
    rules.write_text(f"local all all trust\n{rules.read_text()}")
    with embedded.running(state) as server:
        yield Database(server.owner_url.replace("trueup_owner", "trueup_bootstrap"), server.worker_url)


@pytest.fixture
def own_server(administrator: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(dsn(administrator.owner_url), autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
        connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
        yield connection


def test_a_superuser_is_refused_as_the_worker_s_login(
    administrator: Database, own_server: psycopg.Connection[tuple[object, ...]]
) -> None:
    migrate.upgrade(administrator.owner_url)
    with closing(Store(administrator.owner_url)) as store, pytest.raises(Misconfigured, match="is a superuser"):
        store.check_roles()


def test_another_login_works_once_it_was_granted_the_worker_s_role(
    administrator: Database, own_server: psycopg.Connection[tuple[object, ...]]
) -> None:
    migrate.upgrade(administrator.owner_url)
    own_server.execute("CREATE ROLE svc_trueup LOGIN")
    url = administrator.worker_url.replace("trueup_worker", "svc_trueup")
    try:
        with closing(Store(url)) as store:
            with pytest.raises(Misconfigured, match="as the owner run: GRANT trueup_worker TO svc_trueup"):
                store.check_roles()
            own_server.execute("GRANT trueup_worker TO svc_trueup")
            store.check_roles()
            own_server.execute("ALTER ROLE svc_trueup CREATEROLE")
            with pytest.raises(Misconfigured, match="may create roles"):
                store.check_roles()
    finally:
        own_server.execute("DROP ROLE svc_trueup")


def test_a_login_that_is_a_member_of_the_owner_is_refused(
    administrator: Database, own_server: psycopg.Connection[tuple[object, ...]]
) -> None:
    migrate.upgrade(administrator.owner_url.replace("trueup_bootstrap", "trueup_owner"))
    own_server.execute("GRANT trueup_owner TO trueup_worker")
    try:
        with closing(Store(administrator.worker_url)) as store, pytest.raises(Misconfigured, match="owns Trueup's"):
            store.check_roles()
    finally:
        own_server.execute("REVOKE trueup_owner FROM trueup_worker")


def test_a_missing_worker_role_is_made_by_who_may_and_asked_for_by_who_may_not(
    administrator: Database, own_server: psycopg.Connection[tuple[object, ...]]
) -> None:
    own_server.execute("DROP OWNED BY trueup_worker")
    own_server.execute("DROP ROLE trueup_worker")
    try:
        with pytest.raises(Misconfigured, match="CREATE ROLE trueup_worker LOGIN"):
            migrate.upgrade(administrator.owner_url.replace("trueup_bootstrap", "trueup_owner"))
        migrate.upgrade(administrator.owner_url)
        made = own_server.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'trueup_worker'").fetchall()
        assert made == [(False,)]
    finally:
        own_server.execute("DROP OWNED BY trueup_worker")
        own_server.execute("DROP ROLE IF EXISTS trueup_worker")
        own_server.execute("CREATE ROLE trueup_worker LOGIN")
