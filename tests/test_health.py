"""A heartbeat is believed for as long as it said, and no longer; an API is asked at its door."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.console.conftest import serving
from worker import health
from worker.console.app import application


@pytest.fixture
def heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "heartbeat"
    monkeypatch.setenv(health.VARIABLE, str(file))
    return file


def checked(*words: str) -> subprocess.CompletedProcess[str]:
    """As whatever watches containers runs it."""
    return subprocess.run([sys.executable, "-m", "worker.health", *words], capture_output=True, text=True, check=False)


def test_who_has_a_heartbeat_is_healthy(heartbeat: Path) -> None:
    health.beat(60)

    assert checked().returncode == 0


def test_who_never_had_one_is_not(heartbeat: Path) -> None:
    found = checked()

    assert found.returncode == 1
    assert "there is no heartbeat" in found.stderr


def test_a_heartbeat_that_stopped_is_none(heartbeat: Path) -> None:
    health.beat(60)
    long_ago = time.time() - 30
    os.utime(heartbeat, (long_ago, long_ago))

    assert "stopped 30 seconds ago" in checked().stderr


def test_whoever_ends_in_order_says_so_at_once(heartbeat: Path) -> None:
    health.beat(60)
    health.end()
    health.end()

    assert checked().returncode == 1


def test_where_nobody_watches_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(health.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)

    health.beat(60)
    health.end()

    assert list(tmp_path.iterdir()) == []
    assert "names no file" in checked().stderr


def test_an_api_is_healthy_when_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # is for other hosts, and must not be asked
    with serving(application([], lambda: b"")) as api:
        assert checked(f"{api.base_url}/healthz").returncode == 0
        assert "404" in checked(f"{api.base_url}/nothing").stderr


def test_an_api_that_is_gone_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]

    found = checked(f"http://127.0.0.1:{port}/healthz")

    assert found.returncode == 1
    assert "does not answer" in found.stderr


def test_the_check_costs_next_to_nothing() -> None:
    """It runs beside each process, twice a minute: nothing of the product may come with it."""
    listed = (
        "import sys, worker.health; print([m for m in sys.modules if m.startswith(('worker.', 'tasks', 'celery'))])"
    )

    found = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "['worker.health']"
