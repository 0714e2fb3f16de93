"""`trueup api` as a process of its own: it comes up, watches, and goes when it is told to."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.conftest import Database, dsn
from tests.console import outside
from worker import wiring
from worker.budget import ping
from worker.errors import Unavailable
from worker.sandbox.world import World


@pytest.fixture(scope="module")
def trueup_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of a company whose servers are not even up: the API process calls no vendor."""
    with World.of(12).serve() as world:
        file = tmp_path_factory.mktemp("api") / "trueup.yaml"
        file.write_text(world.settings_yaml("observe"), encoding="utf-8")
    return file


@contextmanager
def api(settings: Path, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], list[dict[str, object]]]]:
    """The process, once it has said where it listens, and its log until then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "api", "--port", "0", "-c", str(settings)],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        log: list[dict[str, object]] = []
        assert process.stderr
        for line in process.stderr:
            log.append(json.loads(line))
            if log[-1]["event"] == "api listening":
                break
        yield process, log
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe
            pipe.close()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(trueup_yaml: Path, fresh_database: Database, sent: signal.Signals) -> None:
    with api(trueup_yaml, {wiring.DATABASE: fresh_database.worker_url}) as (process, log):
        with httpx.Client(base_url=str(log[-1]["address"]), trust_env=False) as client:
            assert client.get("/healthz").status_code == 200
            assert client.get("/readyz").json()["ready"] is True
            assert "trueup_job_overdue" in client.get("/metrics").text
        process.send_signal(sent)
        out, rest = process.communicate(timeout=30)

    assert process.returncode == 0, rest
    assert out == ""
    for line in rest.splitlines():
        assert json.loads(line)["role"] == "api"


def test_it_comes_up_before_its_database_and_its_redis(trueup_yaml: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nowhere = f"127.0.0.1:{nobody.getsockname()[1]}"
    environment = {
        wiring.DATABASE: f"postgresql://trueup:pw123@{nowhere}/books",
        wiring.REDIS: f"redis://:pw456@{nowhere}/0",
    }
    with api(trueup_yaml, environment) as (_, log), httpx.Client(trust_env=False) as client:
        answer = client.get(f"{log[-1]['address']}/readyz", timeout=20)

    said = {check["check"]: check["says"] for check in answer.json()["checks"]}
    assert answer.status_code == 503
    assert "cannot be reached" in said["database"]
    assert "Redis does not answer" in said["redis"]
    assert "pw123" not in answer.text
    assert "pw456" not in answer.text


TOLD = """
api: {tokens: {hr: "${env:HR}"}}
hooks: {okta: {secret: "${env:OKTA_HOOK}"}}
"""


@pytest.fixture
def told_yaml(trueup_yaml: Path, tmp_path: Path) -> Path:
    file = tmp_path / "trueup.yaml"
    file.write_text(trueup_yaml.read_text(encoding="utf-8") + TOLD, encoding="utf-8")
    return file


def test_it_takes_down_what_it_is_told_and_logs_no_secret(told_yaml: Path, fresh_database: Database) -> None:
    environment = {wiring.DATABASE: fresh_database.worker_url, **outside.SECRETS}
    with api(told_yaml, environment) as (process, log):
        with httpx.Client(base_url=str(log[-1]["address"]), trust_env=False) as client:
            body = outside.delivery(outside.event("user.lifecycle.deactivate"))
            answers = [outside.deliver(client, body), outside.deliver(client, body, "wrong")]
            asked = outside.ask(client, {"person": "nobody@acme.example", "reason": "left"})
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)

    assert [answer.status_code for answer in answers] == [204, 401]
    assert asked.status_code == 422
    with psycopg.connect(dsn(fresh_database.owner_url)) as connection:
        assert connection.execute("SELECT count(*) FROM hint WHERE said <> 'delivery'").fetchone() == (1,)
    for secret in outside.SECRETS.values():
        assert secret not in rest
    assert "hook taken" in rest


def test_it_does_not_come_up_with_a_secret_that_will_not_do(told_yaml: Path, fresh_database: Database) -> None:
    environment = {wiring.DATABASE: fresh_database.worker_url, **outside.SECRETS, "HR": "short"}
    command = [sys.executable, "-m", "worker", "api", "--port", "0", "-c", str(told_yaml)]

    ended = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60
    )

    assert ended.returncode == 1
    assert "api.tokens.hr: ${env:HR} must hold 32 to 128 characters" in " ".join(ended.stderr.split())
    assert "api listening" not in ended.stderr


def test_a_redis_that_answers_is_well(tmp_path: Path) -> None:
    from worker.embedded import redis

    with redis.running(tmp_path) as server:
        ping(server.url)
    with pytest.raises(Unavailable, match="does not answer"):
        ping(server.url)
