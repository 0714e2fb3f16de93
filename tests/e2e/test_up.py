"""`trueup up` as somebody at a terminal has it: one command keeps everything running, and one Ctrl-C ends all of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.fleet import BOUND, ROOT, SCHEDULE, Member, eventually, postgres_of, redis_of
from tests.flows.rig import Rig
from worker import wiring
from worker.sandbox.world import World

STARTED = BOUND  # seconds at most for a new database, six processes and a first pass
ENDED = 60.0  # after Ctrl-C, with nothing in hand that takes long


@contextmanager
def up(state: Path, folder: Path, world: World) -> Iterator[Member]:
    """With no server named: it brings its own."""
    Rig(world, folder).write_settings("enforce", schedule=SCHEDULE)
    others = {k: v for k, v in os.environ.items() if k not in (wiring.DATABASE, wiring.OWNER_DATABASE, wiring.REDIS)}
    environment = {**others, **world.environment(), "TRUEUP_STATE": str(state), "TRUEUP_TICK_SECONDS": "0.5"}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    log = folder / "up.log"
    words = ["up", "--processes", "1", "--port", port, "--settings", str(folder / "trueup.yaml")]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", *words], env=environment, cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    member = Member("up", process, log, 0)
    try:
        yield member
    finally:
        for one in (*(member.children() if member.alive() else ()), process.pid):
            if Path(f"/proc/{one}").exists():
                os.killpg(one, signal.SIGKILL)
        process.wait()


def engineers(world: World) -> set[str]:
    """Who is in the group, as Looker really has it."""
    (group,) = (id for id, found in world.looker.instance.groups.items() if found.name == "Engineering")
    return {user.id for user in world.looker.instance.users.values() if group in user.groups}


@pytest.mark.fleet
def test_everything_that_is_killed_is_started_again_and_ctrl_c_ends_all_of_it(
    new_state: Callable[[], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = new_state()
    with World.of(12).serve() as world, up(state, tmp_path, world) as trueup:
        wanted = engineers(world)

        def tell(what: str, began: float) -> None:
            with capsys.disabled():
                print(f"\n  trueup up: {what}, {time.monotonic() - began:.1f} s", end="", flush=True)

        def healed(how: str, seconds: float) -> None:
            world.looker.remove_from_group(min(wanted), "Engineering")
            began = time.monotonic()
            eventually(f"cured {how}\n{trueup.tail()}", lambda: engineers(world) >= wanted, seconds)
            with capsys.disabled():
                print(
                    f"\n  trueup up: drift was cured {how} after {time.monotonic() - began:.1f} s", end="", flush=True
                )

        healed("from an empty folder", STARTED)
        for process in trueup.children():
            os.killpg(process, signal.SIGKILL)
        healed("after everything that it had started was killed", STARTED)
        os.kill(redis_of(state), signal.SIGKILL)
        os.kill(postgres_of(state), signal.SIGKILL)
        healed("after both its servers were killed", STARTED)
        began, mine = time.monotonic(), trueup.children()
        trueup.process.send_signal(signal.SIGINT)
        assert trueup.process.wait(ENDED) == 0, trueup.tail()
        tell("everything had ended", began)
        assert not [process for process in mine if Path(f"/proc/{process}").exists()]
        assert not (state / "data" / "postmaster.pid").exists(), "PostgreSQL has stopped in good order"
