"""Forks `trueup` processes that have everything imported already, and ends them by kill -9 after the n-th commit, or
around the one that writes something.

Each is the real command, `worker.cli.main`, in a process of its own; only the two seconds of importing are saved.
Run as `python -m tests.e2e.nursery`; `Nursery` gives it its orders, a line of JSON each.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.desk import Ended

NEVER = 1_000_000
APPLYING = "INSERT INTO lease"  # of an account
LEAVERS = ("work", "leavers")  # not a command: what a worker for leavers does until nothing is left
# What a pass imports, some of it when it is needed; forked processes find it here.
_IMPORTED = (
    "worker.cli", "worker.sources.okta", "worker.sources.entra", "worker.targets.looker.session",
    "worker.targets.teamcity", "looker_sdk", "httpcore", "h11",
)  # fmt: skip


@dataclass(frozen=True)
class Nursery:
    """One at a time: `run` waits until the process has ended."""

    process: subprocess.Popen[str]

    def run(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        kill_after_commit: int = NEVER,
        since: str = APPLYING,
        kill_around: tuple[str, str] = ("", ""),
        born: Callable[[int], None] = lambda _: None,
    ) -> tuple[Ended, int]:
        """How it ended, and how many commits it made since it began to apply, or since the first statement that begins
        so. `kill_around` is "before" or "after" the commit of such a statement. `born` is told its process id."""
        order = {
            "words": words, "environment": dict(environment), "folder": str(folder), "kill": kill_after_commit,
            "since": since, "around": kill_around,
        }  # fmt: skip
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        born(self._answer()["pid"])
        code = self._answer()["code"]
        out, err = ((folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return Ended(code, out, err), (folder / "commits").stat().st_size

    def _answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the nursery has died"
        return json.loads(line)


@contextmanager
def nursery() -> Iterator[Nursery]:
    """A nursery for the length of a block."""
    command = [sys.executable, "-m", "tests.e2e.nursery"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:  # fmt: skip
        yield Nursery(process)
        assert process.stdin
        process.stdin.close()


def _count_commits(report: Path, kill_after: int, since: str, around: Sequence[str]) -> None:
    """From the first claim of an account on, or another statement, count what was written and committed, by whichever
    thread, and die right after the n-th; or around the first that has a statement in it."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlmodel import Session

    applying, mine, turn = threading.Event(), threading.local(), threading.Lock()

    def before(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if around[1] and statement.startswith(around[1]):
            mine.around = True
        if statement.startswith(since) and (since != APPLYING or parameters["name"].startswith("account ")):
            applying.set()
            mine.wrote = since != APPLYING
        # A claim that was only taken or given back is no boundary of its own: the next has it, too.
        elif statement.startswith(("INSERT", "UPDATE", "DELETE")) and not statement.startswith("UPDATE lease"):
            mine.wrote = True

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def at_last(_: Any) -> None:
        if around[0] == "before" and getattr(mine, "around", False):
            die()

    def after(_: Any) -> None:
        if around[0] == "after" and getattr(mine, "around", False):
            die()
        if applying.is_set() and getattr(mine, "wrote", False):
            with turn:
                with report.open("ab") as file:  # a byte each: whoever is killed meanwhile leaves no half number
                    file.write(b".")
                if report.stat().st_size == kill_after:
                    die()
        mine.wrote = False

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "commit", at_last)
    event.listen(Session, "after_commit", after)


def _live(order: Any) -> None:
    """The whole life of a forked process."""
    folder = Path(order["folder"])
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(order["environment"])
    sys.argv = ["trueup", *order["words"]]
    _count_commits(folder / "commits", order["kill"], order["since"], order["around"])
    if tuple(order["words"]) == LEAVERS:
        _work_leavers()
        sys.exit(0)
    from worker import cli

    cli.main()


def _work_leavers() -> None:
    """Take whatever ticks would tell a worker of, until every offboarding has ended."""
    from worker import wiring
    from worker.flows import offboarding
    from worker.store import offboardings

    with wiring.open_site(Path(os.environ["TRUEUP_SETTINGS"]), "worker", lambda _: None) as site:
        while True:
            for trouble in offboarding.work_due(site):
                print(trouble, file=sys.stderr)
            with site.begin() as session:
                rows = offboardings.since(session, "", None, 100)
            if all(row.closed_at is not None for row in rows):
                return
            time.sleep(0.05)


def _tend() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # or each fork would look through all of it, and so copy it
    for line in sys.stdin:
        order = json.loads(line)
        (Path(order["folder"]) / "commits").write_bytes(b"")
        child = os.fork()
        if child == 0:
            try:
                _live(order)
            except SystemExit as end:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(end.code if isinstance(end.code, int) else 0)
            finally:
                os._exit(99)
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    _tend()
