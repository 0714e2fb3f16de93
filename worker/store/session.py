"""The way into the database: short transactions, and a start that refuses what would make the audit chain worthless."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session

from worker.errors import Misconfigured, Unavailable
from worker.store import migrate
from worker.store.address import address, engine, place, translated

# What a login must not be or lack, and the condition that tells. The words follow "The database login <login>".
_ROLE_FAULTS = {
    "is a superuser or may create roles, so it could alter the audit chain; give Trueup a login without that": (
        "(SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user)"
    ),
    "owns Trueup's tables or their schema, so it could alter the audit chain; keep it for TRUEUP_OWNER_DATABASE_URL"
    " and set TRUEUP_DATABASE_URL to another login that has the role trueup_worker": (
        "(SELECT pg_has_role(current_user, c.relowner, 'MEMBER') OR pg_has_role(current_user, n.nspowner, 'MEMBER')"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = 'entry'::regclass)"
    ),
    "may change or delete audit entries; revoke UPDATE, DELETE, TRUNCATE and TRIGGER on entry from it": (
        "has_table_privilege('entry', 'UPDATE, DELETE, TRUNCATE, TRIGGER')"
    ),
    "lacks its rights; as the owner run: GRANT trueup_worker TO {login}": (
        "NOT (has_table_privilege('entry', 'INSERT') AND has_table_privilege('lease', 'UPDATE'))"
    ),
}


class Store:
    """The database of one Trueup. Threads may share it; it holds at most ten connections."""

    def __init__(self, url: str) -> None:
        self.url = address(url)
        self._engine = engine(self.url, pool_size=5, max_overflow=5, pool_timeout=30, pool_pre_ping=True)

    @contextmanager
    def begin(self, *, one_moment: bool = False) -> Iterator[Session]:
        """One transaction, committed at the end of the block and rolled back by any error.

        With `one_moment`, everything in it is read as it was when the first statement began: for reports.

        Raises Unavailable when the database cannot be reached, breaks off or gives up waiting: nothing was changed.
        Raises Unknown when it breaks off during the commit itself: what was written must be read again.
        """
        committing = False
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                if one_moment:
                    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                yield session
                session.flush()
                committing = True
        except PoolTimeout as error:
            raise Unavailable(f"Every connection to the database {place(self.url)} is in use.", 5) from error
        except (DBAPIError, psycopg.Error) as error:
            meaning = translated(error, self.url, committing)
            if meaning is None:
                raise
            raise meaning from error

    def close(self) -> None:
        self._engine.dispose()

    def assert_current(self) -> None:
        """Raises Misconfigured unless the tables are those of this Trueup."""
        with self.begin() as session:
            found = migrate.revision(session.connection())
        if found != migrate.head():
            state = f"at revision {found}" if found else "empty"
            raise Misconfigured(
                f"The database {place(self.url)} is {state}, this Trueup needs {migrate.head()}:"
                " run `trueup db upgrade`."
            )

    def check_roles(self) -> None:
        """Raises Misconfigured when our login could alter the audit chain, or lacks what it needs."""
        with self.begin() as session:
            login = session.scalars(text("SELECT current_user")).one()
            for words, condition in _ROLE_FAULTS.items():
                if session.scalars(text(f"SELECT {condition}")).one():
                    raise Misconfigured(f"The database login {login} {words.format(login=login)}.")
