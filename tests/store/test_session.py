"""A transaction is whole or not at all, and whatever is wrong with the database is said in one sentence."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest
from sqlalchemy import text
from sqlmodel import Session

from tests.conftest import Database, dsn
from worker.errors import Misconfigured, Refused, TrueupError, Unavailable, Unknown
from worker.store.session import Store
from worker.store.tables import Pause

NOW = dt.datetime(2026, 11, 21, 9, 0, tzinfo=dt.UTC)


def pause(session: Session) -> None:
    session.add(Pause(connector="looker", actor="ana", reason="window", at=NOW))


def paused(store: Store) -> bool:
    with store.begin() as session:
        return session.get(Pause, "looker") is not None


def test_what_a_block_wrote_is_there_after_it(store: Store) -> None:
    with store.begin() as session:
        pause(session)
    assert paused(store)


def test_a_block_that_fails_leaves_nothing(store: Store) -> None:
    def write_and_fail() -> None:
        with store.begin() as session:
            pause(session)
            session.flush()
            raise Refused("no")

    with pytest.raises(Refused):
        write_and_fail()
    assert not paused(store)


def test_what_was_read_can_be_used_after_the_transaction(store: Store) -> None:
    with store.begin() as session:
        pause(session)
    with store.begin() as session:
        found = session.get(Pause, "looker")
    assert found is not None
    assert found.at == NOW


def end(database: Database, backend: int) -> None:
    """As the worker's own login, which may end its own sessions; waits until it is gone."""
    with psycopg.connect(dsn(database.worker_url), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", [backend])


def backend_of(session: Session) -> int:
    return session.scalars(text("SELECT pg_backend_pid()")).one()  # type: ignore[no-any-return]


def test_a_connection_that_dies_in_mid_transaction_is_unavailable_and_changes_nothing(
    store: Store, fresh_database: Database
) -> None:
    def write_and_lose_the_connection() -> None:
        with store.begin() as session:
            pause(session)
            session.flush()
            end(fresh_database, backend_of(session))
            session.execute(text("SELECT 1"))

    with pytest.raises(Unavailable, match="broke off"):
        write_and_lose_the_connection()
    assert not paused(store)


def test_a_connection_that_dies_before_the_commit_is_answered_leaves_the_outcome_unknown(
    store: Store, fresh_database: Database
) -> None:
    with pytest.raises(Unknown, match="while it committed"), store.begin() as session:
        end(fresh_database, backend_of(session))


def test_a_connection_that_died_in_the_pool_is_replaced_unnoticed(store: Store, fresh_database: Database) -> None:
    with store.begin() as session:
        backend = backend_of(session)
    end(fresh_database, backend)
    assert not paused(store)


def test_a_lock_that_is_not_had_in_time_is_unavailable(fresh_database: Database) -> None:
    impatient = f"{fresh_database.worker_url}&options=-c%20lock_timeout%3D50ms"
    with closing(Store(fresh_database.worker_url)) as one, closing(Store(impatient)) as other:
        with one.begin() as session:
            pause(session)
        with one.begin() as session:
            session.execute(text("SELECT 1 FROM pause FOR UPDATE"))
            with pytest.raises(Unavailable, match="gave up"), other.begin() as second:
                second.execute(text("SELECT 1 FROM pause FOR UPDATE"))


def test_a_fault_of_our_own_shows_as_it_is(store: Store) -> None:
    with pytest.raises(Exception, match="no_such_table") as caught, store.begin() as session:
        session.execute(text("SELECT * FROM no_such_table"))
    assert not isinstance(caught.value, TrueupError)


# --- where it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_spelling_of_the_url_is_understood(fresh_database: Database, spelling: str) -> None:
    url = fresh_database.worker_url.replace("postgresql+psycopg", spelling)
    with closing(Store(url)) as store:
        assert not paused(store)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///trueup.db",
        "mysql://ana:secret@db/trueup",
        "postgresql+asyncpg://ana:secret@db/trueup",
        "postgresql://ana:secret@db:port/trueup",
        "secret",
        "",
    ],
)
def test_another_kind_of_url_is_refused_with_what_to_write_and_without_its_password(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"write postgresql://") as caught:
        Store(url)
    assert "secret" not in str(caught.value)


def test_a_database_that_does_not_answer_is_unavailable_and_the_password_stays_secret() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        port = unused.getsockname()[1]
        url = f"postgresql://ana:secret@127.0.0.1:{port}/books"
        with closing(Store(url)) as store, pytest.raises(Unavailable, match="books cannot be reached") as caught:
            paused(store)
    assert f"127.0.0.1:{port}/books" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_database_that_does_not_exist_is_a_mistake_in_the_settings(fresh_database: Database) -> None:
    url = fresh_database.named("no_such_database").worker_url
    with closing(Store(url)) as store, pytest.raises(Misconfigured, match="does not exist"):
        paused(store)


@contextmanager
def without_tls() -> Iterator[int]:
    """A server that answers the request for TLS as PostgreSQL without TLS does: N."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(8)
                connection.sendall(b"N")
                connection.recv(1)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(timeout=10)


def test_a_database_on_another_host_is_not_spoken_to_without_tls() -> None:
    with without_tls() as port:
        url = f"postgresql://ana:secret@db.acme.example:{port}/books?hostaddr=127.0.0.1"
        with closing(Store(url)) as store, pytest.raises(Misconfigured, match=r"offers no TLS.*sslmode=disable"):
            paused(store)


# --- the right shape and the right login -----------------------------------------------------------------------------


def test_a_migrated_database_is_current_and_the_worker_s_login_is_right(store: Store) -> None:
    store.assert_current()
    store.check_roles()


def test_an_empty_database_is_refused_with_the_command_to_run(store: Store, as_owner: Callable[[str], None]) -> None:
    as_owner("DELETE FROM alembic_version")
    with pytest.raises(Misconfigured, match=r"is empty, this Trueup needs 0001: run `trueup db upgrade`"):
        store.assert_current()


def test_a_database_at_another_revision_is_refused(store: Store, as_owner: Callable[[str], None]) -> None:
    as_owner("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(Misconfigured, match="at revision 0000, this Trueup needs 0001"):
        store.assert_current()


def test_the_owner_of_the_tables_is_refused_as_the_worker_s_login(fresh_database: Database) -> None:
    url = fresh_database.owner_url
    with closing(Store(url)) as store, pytest.raises(Misconfigured, match="TRUEUP_OWNER_DATABASE_URL"):
        store.check_roles()


WRONG_RIGHTS = {
    "may update entries": ("GRANT UPDATE ON entry TO trueup_worker", "may change or delete audit entries"),
    "may delete entries": ("GRANT DELETE ON entry TO trueup_worker", "may change or delete audit entries"),
    "may truncate entries": ("GRANT TRUNCATE ON entry TO trueup_worker", "may change or delete audit entries"),
    "may hang triggers on entries": ("GRANT TRIGGER ON entry TO trueup_worker", "may change or delete audit entries"),
    "cannot append entries": ("REVOKE INSERT ON entry FROM trueup_worker", "GRANT trueup_worker TO trueup_worker"),
    "cannot work": ("REVOKE UPDATE ON lease FROM trueup_worker", "GRANT trueup_worker TO trueup_worker"),
}


@pytest.mark.parametrize("wrong", WRONG_RIGHTS)
def test_a_login_with_wrong_rights_is_refused_with_the_fix_because_it(
    store: Store, as_owner: Callable[[str], None], wrong: str
) -> None:
    statement, words = WRONG_RIGHTS[wrong]
    as_owner(statement)
    with pytest.raises(Misconfigured, match=words):
        store.check_roles()
