"""Where an embedded server lives: a state folder that its account can reach, and a private folder for its socket."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypedDict

from worker.errors import Misconfigured, Refused, Unavailable

PATIENCE = 60.0
_SOCKET_PATH_LIMIT = 100  # the kernel's is 108, on macOS 104
_ROOTS_PLACE = Path("/var/lib/trueup")


class _As(TypedDict, total=False):
    user: int
    group: int
    extra_groups: Sequence[int]


@dataclass(frozen=True)
class Account:
    """The account a server runs as: our own, or an unprivileged one when we are root, which postgres refuses."""

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
class Kind:
    """What one server calls its things. `variable` names a server of one's own instead of the embedded one."""

    title: str
    name: str  # of its files in the state folder
    data: str
    sockets: str
    socket: str
    variable: str


@dataclass(frozen=True)
class Place:
    kind: Kind
    folder: Path
    sockets: Path
    account: Account

    @property
    def data(self) -> Path:
        return self.folder / self.kind.data

    @property
    def socket(self) -> Path:
        return self.sockets / self.kind.socket

    @property
    def log(self) -> Path:
        return self.folder / f"{self.kind.name}.log"

    @property
    def life(self) -> Path:
        """Locked by the server as long as it lives."""
        return self.folder / f"{self.kind.name}.life"

    @property
    def turn(self) -> Path:
        """Locked by whoever starts or stops the server."""
        return self.folder / f"{self.kind.name}.turn"

    @property
    def users(self) -> Path:
        """Locked, each with the others, by those who use the server for the length of a block."""
        return self.folder / f"{self.kind.name}.users"

    @property
    def passing(self) -> Path:
        """Is there while the server runs for those who use it, and for nothing else."""
        return self.folder / f"{self.kind.name}.passing"

    def __str__(self) -> str:
        return f"{self.kind.title} in {self.folder}"

    def environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(self.folder)}


def place_of(kind: Kind, state: Path | None) -> Place:
    """Of a server in this state folder, or in the one that the environment or this account's home gives."""
    wanted = (state or _default_state()).resolve()
    folder, account = _folder_within_reach(kind, wanted)
    return Place(kind, folder, _socket_folder(kind, folder), account)


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


def _folder_within_reach(kind: Kind, wanted: Path) -> tuple[Path, Account]:
    """The wanted folder, or root's place for it when the server's account cannot get there. No parent is opened up."""
    try:
        make_ours(wanted)
        account = _account_for(kind, wanted)
        if account.reaches(wanted):
            return wanted, account
        make_ours(_ROOTS_PLACE)
        within_reach = _ROOTS_PLACE / _digest(wanted)
        make_ours(within_reach)
    except OSError as error:
        raise Misconfigured(
            f"The state folder {wanted} cannot be used ({error}); set TRUEUP_STATE to a folder of your own."
        ) from error
    return within_reach, _account_for(kind, within_reach)


def make_ours(folder: Path) -> None:
    """Create the folder, or accept it if it is a real folder of ours; parents that exist are left as they are."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
        # Root's is walked through by the server's account; what is private in it has its own permissions.
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise Refused(f"{folder} is not a folder of this account, so no server is kept there.") from None


def _account_for(kind: Kind, folder: Path) -> Account:
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    with suppress(FileNotFoundError):
        data = (folder / kind.data).stat()
        return Account(data.st_uid, data.st_gid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise Misconfigured(
        f"{kind.title} is not run as root, and there is no account postgres or nobody to run it as; "
        f"run Trueup as an ordinary user or set {kind.variable}."
    )


def _socket_folder(kind: Kind, folder: Path) -> Path:
    nearby = folder / kind.sockets
    if len(os.fsencode(nearby / kind.socket)) < _SOCKET_PATH_LIMIT:
        return nearby
    return Path(f"/tmp/trueup-{os.geteuid()}") / _digest(nearby)  # noqa: S108 (checked to be ours before use)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def open_private(path: Path) -> BinaryIO:
    """For appending. Private, since a log can quote a row, and who can open a lock can keep it."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def locks(file: BinaryIO, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(f"{otherwise} Waited {PATIENCE:.0f} s.")
        time.sleep(0.02)


def make_readable(copy: Path) -> None:
    """Programs and what they need, for the account that the server runs as."""
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if runs else 0o644)


def remove_if_apart(place: Place) -> None:
    """A socket folder that is not in the state folder."""
    if place.sockets.parent != place.folder:
        shutil.rmtree(place.sockets)
