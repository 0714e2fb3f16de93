"""How an embedded server is started, found running and stopped, by any number of processes at once."""

from __future__ import annotations

import fcntl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from worker.embedded.place import Place, locks, make_ours, open_private, remove_if_apart, wait_until
from worker.errors import Unavailable


@dataclass(frozen=True)
class Server:
    """One kind of server in one place. `command` makes its data if need be and says how to start it; `end` asks a
    running one to stop in good order."""

    place: Place
    answers: Callable[[], bool]
    command: Callable[[], list[str]]
    end: Callable[[], None]

    def start(self) -> None:
        """Start it, or find it running; it goes on until it is stopped."""
        self._ensure_running()
        self.place.passing.unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop it, wait until it is gone, and be content if it was not running."""
        with self._turn():
            self._stop()

    def runs(self) -> bool:
        return self._lives() and self.answers()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Whoever is the last to leave such a block stops it, and not whoever started it: others may be in the middle
        of their work. One that `start` started goes on."""
        place = self.place
        with open_private(place.users) as users:
            wait_until(lambda: locks(users, fcntl.LOCK_SH), f"Another process is stopping {place}.")
            if self._ensure_running():
                place.passing.touch(0o600)
            try:
                yield
            finally:
                with self._turn():
                    if place.passing.exists() and locks(users):
                        self._stop()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One caller at a time starts or stops it."""
        with open_private(self.place.turn) as lock:
            wait_until(lambda: locks(lock), f"Another process is starting or stopping {self.place}.")
            yield

    def _lives(self) -> bool:
        with open_private(self.place.life) as life:
            return not locks(life)

    def _settled(self) -> bool:
        """Whether it runs, once it is done with starting, stopping, or seeing out its last children."""
        wait_until(
            lambda: self.answers() or not self._lives(),
            f"{self.place} runs but does not answer; see {self.place.log}.",
        )
        return self.answers()

    def _ensure_running(self) -> bool:
        """True when this call is the one that started it."""
        with self._turn():
            if self._settled():
                return False
            command = self.command()
            self._clear_leftovers()
            self._launch(command)
            return True

    def _stop(self) -> None:
        """Only in our turn."""
        self.place.passing.unlink(missing_ok=True)
        if not self._settled():
            return
        self.end()
        wait_until(lambda: not self._lives(), f"{self.place} does not stop.")
        remove_if_apart(self.place)

    def _clear_leftovers(self) -> None:
        """Nobody lives here, so a socket that is there is stale."""
        place = self.place
        if place.sockets.parent != place.folder:
            make_ours(place.sockets.parent)
        place.account.own(place.sockets)
        for stale in place.sockets.iterdir():
            stale.unlink()

    def _launch(self, command: list[str]) -> None:
        place = self.place
        with open_private(place.life) as life, open_private(place.log) as log:
            if not locks(life):
                raise Unavailable(f"Something else started {place} just now.", retry_after=1)
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=place.environment(),
                start_new_session=True,  # Ctrl-C is meant for us; whoever started the server stops it in good order
                pass_fds=[life.fileno()],
                **place.account.identity,
            )
        # However it ends, it is waited for, so that it leaves no zombie behind.
        reaper = threading.Thread(target=process.wait, name=f"{place.kind.name} reaper", daemon=True)
        reaper.start()
        wait_until(lambda: self.answers() or not reaper.is_alive(), f"{place} does not answer; see {place.log}.")
        if not reaper.is_alive():
            raise did_not_start(place)


def did_not_start(place: Place) -> Unavailable:
    last = (place.log.read_text(errors="replace").splitlines() or ["nothing"])[-1]
    return Unavailable(f"{place.kind.title} did not start in {place.folder}; the end of {place.log} says: {last}")
