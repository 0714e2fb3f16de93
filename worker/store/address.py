"""Where the database is, how a connection to it is set up, and what its errors mean to a caller."""

from __future__ import annotations

from typing import Any

import orjson
import psycopg
from psycopg import errors as pg
from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from worker.errors import Misconfigured, TrueupError, Unavailable, Unknown

_VARIABLES = "TRUEUP_DATABASE_URL, or TRUEUP_OWNER_DATABASE_URL for migrations"
_DRIVER = "postgresql+psycopg"
_SPELLINGS = frozenset({"postgres", "postgresql", _DRIVER})

# Server-side limits, so that a forgotten transaction cannot hold the chain's head or a lease for ever.
_LIMITS = {
    "timezone": "UTC",
    "jit": "off",  # our statements are short; compiling them takes longer than running them
    "statement_timeout": "120s",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "600s",
}

_UNDONE = (
    pg.QueryCanceled,
    pg.LockNotAvailable,
    pg.DeadlockDetected,
    pg.SerializationFailure,
    pg.InternalError_,  # the server's own trouble, with its disk for one
)
_BROKEN = (psycopg.OperationalError, psycopg.InterfaceError, pg.IdleInTransactionSessionTimeout)

_RESTART = 2.0  # seconds that it may be away for when somebody starts it again

# The start of a session fails without an SQLSTATE, so libpq's words are all there is to tell these apart from "down".
_WRONG_SETTINGS = {
    "password authentication failed": "the password is wrong",
    "no password supplied": "a password is needed and none is given",
    "no pg_hba.conf entry": "the server does not admit this login from here",
    "does not exist": "the database or the login does not exist",
    "certificate verify failed": "its certificate cannot be trusted; name your authority: ?sslrootcert=/path/ca.pem",
    "does not support SSL": (
        "it offers no TLS; switch TLS on there, or write ?sslmode=disable where the network itself is private"
    ),
}

_LOCAL = frozenset({"", "localhost", "127.0.0.1", "::1"})


def address(url: str) -> URL:
    """A database URL as SQLAlchemy needs it. Raises Misconfigured for anything but PostgreSQL; never quotes the URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise Misconfigured(
            f"That is no database URL; write postgresql://user:password@host:5432/database ({_VARIABLES})."
        ) from None  # its text may quote the URL, password and all
    if parsed.drivername not in _SPELLINGS:
        raise Misconfigured(
            f"Trueup keeps its books in PostgreSQL only, and the database URL names {parsed.drivername};"
            f" write postgresql://user:password@host:5432/database ({_VARIABLES})."
        )
    return parsed.set(drivername=_DRIVER)


def place(url: URL) -> str:
    """Where that is, for messages: host, port and database, no login and no password."""
    host = url.host or str(url.query.get("host", "") or "the local socket")
    return f"{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def engine(url: URL, **options: Any) -> Engine:
    """An engine with our limits, and with verified TLS to another host. What the URL itself says goes before ours."""
    given = str(url.query.get("options", ""))
    limits = " ".join(f"-c {name}={value}" for name, value in _LIMITS.items() if f"{name}=" not in given)
    connect: dict[str, Any] = {"application_name": "trueup", "connect_timeout": 10}
    if not _is_local(url) and "sslmode" not in url.query:
        connect |= {"sslmode": "verify-full", "sslrootcert": "system"}
    ours = {name: value for name, value in connect.items() if name not in url.query}
    return create_engine(
        url,
        connect_args={**ours, "options": f"{limits} {given}".strip()},
        hide_parameters=True,  # they name people, and a fault of ours ends in a file that stays
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        **options,
    )


def _is_local(url: URL) -> bool:
    host = url.host or url.query.get("host", "")
    return isinstance(host, str) and (host in _LOCAL or host.startswith(("/", "@")))


def translated(error: DBAPIError | psycopg.Error, url: URL, committing: bool = False) -> TrueupError | None:
    """What this error of the driver means to a caller; None when it is a fault of ours and must show as it is."""
    where = f"The database {place(url)}"
    cause = error.orig if isinstance(error, DBAPIError) else error
    said = (str(cause).strip().splitlines() or [""])[0]
    if isinstance(cause, _UNDONE):
        return Unavailable(f"{where} gave up on a statement ({said}); nothing was changed.", 1)
    if not isinstance(cause, _BROKEN):
        return None
    if committing:
        return Unknown(f"{where} broke off while it committed ({said}); what was written must be read again.")
    for words, meaning in _WRONG_SETTINGS.items():
        if cause.sqlstate is None and words in str(cause):
            return Misconfigured(f"{where} refuses us: {meaning}. Correct the database URL ({_VARIABLES}).")
    words = f"{where} cannot be reached or broke off ({said}). Is it up, and its URL right ({_VARIABLES})?"
    return Unavailable(words, _RESTART)
