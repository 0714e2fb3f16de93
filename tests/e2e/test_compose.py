"""compose.yaml: what each container may do, and the whole of it at work, by its own commands and health checks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.conftest import dsn
from tests.e2e.compose import COMPOSE, CONTAINERFILE, ROOT, SERVERS, SERVICES, TRUEUP, VENDORS, Deployment, entrypoint
from worker import together
from worker.budget import ping
from worker.embedded import postgres
from worker.embedded.place import place_of
from worker.errors import Unavailable
from worker.sandbox.world import World

RUNNING = [name for name in TRUEUP if name != "migrate"]
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
SECONDS = re.compile(r"^(\d+)s$")


def limits(name: str) -> dict[str, Any]:
    found: dict[str, Any] = SERVICES[name]["deploy"]["resources"]["limits"]
    return found


def seconds(text: str) -> int:
    found = SECONDS.match(text)
    assert found, text
    return int(found[1])


# --- what each container may do ---------------------------------------------------------------------------------------


def test_the_services_are_those_of_a_deployment() -> None:
    assert set(SERVICES) == {"postgres", "redis", "migrate", "worker", "leaver-worker", "beat", "api"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_right_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert str(service["user"]).partition(":")[0] not in ("", "0", "root")
    assert not {"cap_add", "privileged", "pid", "ipc", "network_mode", "devices", "userns_mode"} & set(service)
    assert not [mount for mount in service.get("volumes", []) if "docker.sock" in str(mount)]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_cannot_use_up_the_machine(name: str) -> None:
    assert set(limits(name)) == {"cpus", "memory", "pids"}
    assert set(SERVICES[name]["logging"]["options"]) == {"max-size", "max-file"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_that_ends_comes_back_but_for_the_one_that_is_to_end(name: str) -> None:
    assert SERVICES[name]["restart"] == ("no" if name == "migrate" else "unless-stopped")
    assert ("healthcheck" in SERVICES[name]) is (name != "migrate")


@pytest.mark.parametrize("name", ["worker", "leaver-worker"])
def test_a_worker_is_given_the_time_to_hand_back_what_it_has_in_hand(name: str) -> None:
    assert seconds(SERVICES[name]["stop_grace_period"]) > together.PATIENCE


def test_only_the_api_is_to_be_reached_and_only_from_the_machine_itself() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert ports == {"api": ["127.0.0.1:8000:8000"]}


def test_the_two_servers_are_on_a_network_that_leads_nowhere() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in SERVERS:
        assert SERVICES[name]["networks"] == ["inside"]
    assert [name for name in TRUEUP if "vendors" in SERVICES[name]["networks"]] == ["worker", "leaver-worker"]


def test_nobody_is_told_a_secret_that_is_not_for_them() -> None:
    told = {name: set(service["secrets"]) for name, service in SERVICES.items()}

    working = {"database_url", "redis_url", *VENDORS}
    assert told == {
        "postgres": {"postgres_password", "owner_database_url", "database_url"},
        "redis": {"redis_users"},
        "migrate": {"owner_database_url"},
        "worker": working,
        "leaver-worker": working,
        "beat": {"database_url", "redis_url"},
        "api": {"database_url", "redis_url", "api_token", "okta_hook_secret"},
    }


def test_every_secret_is_a_file_and_without_them_compose_says_what_to_do() -> None:
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"].startswith("${TRUEUP_SECRETS:?run `make secrets` first"), name
        assert secret["file"].endswith(f"}}/{name}")
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            assert "PASSWORD" not in key or value.startswith("/run/secrets/"), f"{name} has {key}"


def test_the_image_is_built_from_hashed_wheels_and_runs_as_nobody_else() -> None:
    stages = CONTAINERFILE.split("FROM ${BASE}")
    assert len(stages) == 3, "one stage that builds, one that runs"

    assert "--require-hashes" in stages[1]
    assert "--only-binary :all:" in stages[1]
    assert not re.search(r"\b(apt|apk|gcc|pip)\b", stages[2]), "nothing is installed where it runs"
    assert {SERVICES[name]["user"] for name in TRUEUP} == set(re.findall(r"^USER (.*)$", stages[2], re.MULTILINE))
    assert entrypoint() == ["trueup"]
    assert not re.search(r"(?i)password|token|secret=", CONTAINERFILE)


def test_what_is_copied_into_the_image_is_let_through_by_name() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE)

    assert IGNORED[1] == "*"
    assert {f"!{file}" for line in copied for file in line.split()} == {one for one in IGNORED if one.startswith("!")}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """What `make secrets` makes in a checkout."""
    make_secrets(tmp_path)
    return tmp_path


def make_secrets(checkout: Path) -> str:
    script = ROOT / ".ci" / "make-secrets"
    return subprocess.run([script], cwd=checkout, capture_output=True, text=True, check=True).stdout


def test_every_secret_of_compose_is_made_or_asked_for(made: Path) -> None:
    files = {file.name for file in (made / "secrets").iterdir()}

    assert files | set(VENDORS) == set(COMPOSE["secrets"])
    assert all(f"secrets/{name} " in make_secrets(made) for name in VENDORS)
    assert (made / ".env").read_text() == "TRUEUP_SECRETS=./secrets\n"


def test_only_their_owner_gets_at_the_secrets_and_a_container_at_those_that_it_is_given(made: Path) -> None:
    assert (made / "secrets").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (made / "secrets").iterdir()} == {0o444}


def test_passwords_are_long_and_never_the_same_twice(made: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    make_secrets(elsewhere)
    words = [
        re.findall(r"[0-9a-f]{48}", file.read_text())
        for checkout in (made, elsewhere)
        for file in sorted((checkout / "secrets").iterdir())
        if file.name != "redis_users"
    ]

    assert all(words)
    assert len({word for found in words for word in found}) == len(words)


def test_secrets_that_are_there_are_kept(made: Path) -> None:
    before = {file.name: file.read_text() for file in (made / "secrets").iterdir()}
    make_secrets(made)

    assert {file.name: file.read_text() for file in (made / "secrets").iterdir()} == before


def test_redis_gets_its_new_password_with_a_new_address(made: Path) -> None:
    users = (made / "secrets" / "redis_users").read_text()
    (made / "secrets" / "redis_url").unlink()
    make_secrets(made)

    changed = (made / "secrets" / "redis_users").read_text()
    assert changed != users
    assert re.findall(r"[0-9a-f]{48}", changed) == re.findall(
        r"[0-9a-f]{48}", (made / "secrets" / "redis_url").read_text()
    )


@pytest.mark.parametrize(
    ("owner", "worker"),
    [("it's", "plain"), ("plain", ""), ("per%20cent", "plain")],
    ids=["a quote", "none", "an escape"],
)
def test_a_password_that_the_database_would_understand_otherwise_is_refused(
    tmp_path: Path, owner: str, worker: str
) -> None:
    (tmp_path / "owner_database_url").write_text(f"postgresql://trueup_owner:{owner}@postgres:5432/trueup")
    (tmp_path / "database_url").write_text(f"postgresql://trueup:{worker}@postgres:5432/trueup")

    found = subprocess.run(
        [ROOT / "migrations" / "postgres-init.sh"],
        env={"PATH": os.defpath, "TRUEUP_INIT_SECRETS": str(tmp_path), "POSTGRES_USER": "postgres"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert found.returncode == 1
    assert "passwords of letters, digits" in found.stderr


# --- all of it at work ------------------------------------------------------------------------------------------------


@pytest.fixture
def world() -> Iterator[World]:
    with World.of(30).serve() as served:
        yield served


@pytest.fixture
def deployment(world: World, new_state: Callable[[], Path]) -> Iterator[Deployment]:
    text, held = world.settings_yaml("enforce"), world.environment()
    named = dict(zip(held, VENDORS, strict=True))
    for variable, secret in named.items():
        text = text.replace(f"${{env:{variable}}}", f"${{file:/run/secrets/{secret}}}")
    text += "\nschedule: {pull: 2s, observe: 2s, reconcile: 2s, tick: 1s}\n"
    text += 'api: {tokens: {hr: "${file:/run/secrets/api_token}"}}\n'
    text += 'hooks: {okta: {secret: "${file:/run/secrets/okta_hook_secret}"}}\n'
    folder = new_state()
    programs = postgres._programs(place_of(postgres._KIND, folder))
    made = Deployment(folder, programs, text, {named[key]: value for key, value in held.items()})
    try:
        yield made
    finally:
        made.kill_all()


def eventually(deployment: Deployment, what: str, so: Callable[[], bool], within: float = 150.0) -> None:
    """Where no event tells us: the thing that we wait for is in another process."""
    end = time.monotonic() + within
    while not so():
        for name, process in deployment.processes.items():
            assert process.poll() is None, f"{name} has ended: {deployment.log(name)[-3000:]}"
        assert time.monotonic() < end, f"{what}: not within {within:.0f} s; {deployment.log('worker')[-3000:]}"
        time.sleep(0.05)


def _others_may_tell_the_api(deployment: Deployment) -> None:
    """Whoever has one of the two secrets that `make secrets` has made, and nobody else."""
    hook, listed = (
        f"{deployment.api}/v1/hooks/okta/okta",
        f"{deployment.api}/v1/offboardings?since=2026-01-01T00:00:00Z",
    )
    proofs = {
        hook: {"Authorization": deployment.secret("okta_hook_secret"), "x-okta-verification-challenge": "c"},
        listed: {"Authorization": f"Bearer {deployment.secret('api_token')}"},
    }
    for address, headers in proofs.items():
        assert httpx.get(address, headers={k: v.strip() for k, v in headers.items()}).status_code == 200
        assert httpx.get(address).status_code == 401


def test_the_commands_of_compose_keep_the_company_true(deployment: Deployment, world: World) -> None:
    _servers_come_up(deployment)
    _the_database_is_made(deployment)
    assert deployment.run("worker", "check", "--accept-baseline") in (0, 2), deployment.log("worker")

    for name in RUNNING:
        assert not deployment.healthy(name), f"{name} has not even been started"
        deployment.start(name)
    for name in RUNNING:
        eventually(deployment, f"{name} is healthy", lambda name=name: deployment.healthy(name))  # type: ignore[misc]
    _others_may_tell_the_api(deployment)

    _drift_is_healed(deployment, world)
    _a_leaver_is_locked_out(deployment, world)
    deployment.kill("leaver-worker")
    _it_can_be_watched(deployment)
    _hearts_go_on_beating(deployment)
    _redis_goes_and_comes_back(deployment)
    eventually(deployment, "the killed one's heartbeat is over", lambda: not deployment.healthy("leaver-worker"))
    _it_stops(deployment)


def _servers_come_up(deployment: Deployment) -> None:
    assert "okta_token" in deployment.make_secrets(), "whoever makes the secrets is told which are still missing"
    deployment.create_postgres()
    deployment.start_postgres()
    deployment.start_redis()
    for name in SERVERS:
        eventually(deployment, f"{name} is healthy", lambda name=name: deployment.healthy(name))  # type: ignore[misc]
    with pytest.raises(Unavailable):
        ping(f"redis://127.0.0.1:{deployment.ports['6379']}/0")
    ping(deployment.secret("redis_url"))


def _the_database_is_made(deployment: Deployment) -> None:
    assert deployment.run_postgres_init() == 0, deployment.log("postgres")
    assert deployment.run("migrate") == 0, deployment.log("migrate")

    with psycopg.connect(dsn(deployment.secret("database_url"))) as connection:
        connection.execute("SELECT count(*) FROM entry")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM entry")
    no_password = re.sub(":[^:@/]*@", "@", dsn(deployment.secret("database_url")))
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(no_password)


def _drift_is_healed(deployment: Deployment, world: World) -> None:
    """Somebody puts somebody else into a group of Looker's by hand."""
    eventually(deployment, "Looker is in order", lambda: 'closed_age_seconds{target="looker"}' in _metrics(deployment))
    _, account = _in_order(world)[0]
    world.looker.add_to_group(account, "Finance")
    group = next(group.id for group in world.looker.instance.groups.values() if group.name == "Finance")
    eventually(deployment, "it is healed", lambda: group not in world.looker.instance.users[account].groups)
    eventually(deployment, "the log says so", lambda: ("looker", account) in _steps(deployment, "worker"))


def _a_leaver_is_locked_out(deployment: Deployment, world: World) -> None:
    """By the worker that is there for nobody else."""
    person, account = _in_order(world)[1]
    world.okta.deactivate(person)
    eventually(deployment, "the account is disabled", lambda: world.looker.instance.users[account].is_disabled)
    eventually(deployment, "the log says so", lambda: ("looker", account) in _steps(deployment, "leaver-worker"))


def _steps(deployment: Deployment, name: str) -> set[tuple[str, str]]:
    """(target, account) of what the service's log says it has done."""
    lines = [line for line in deployment.log(name).splitlines() if line.startswith("{") and line.endswith("}")]
    return {(one["target"], one["account"]) for one in map(json.loads, lines) if one["event"] == "step ended"}


def _in_order(world: World) -> list[tuple[str, str]]:
    """(Okta id, Looker id) of people of whom no trouble is told, and who hold no more than analysts do."""
    storied = {story.who for story in world.company.stories}
    accounts = {user.email: user for user in world.company.looker_users if user.kind == "standard"}
    return [
        (one.id, accounts[one.profile["email"]].id)
        for one in world.company.employees
        if one.status == "ACTIVE"
        and one.profile["login"] not in storied
        and one.profile["email"] in accounts
        and set(accounts[one.profile["email"]].groups) == {"Viewers"}
    ]


def _it_can_be_watched(deployment: Deployment) -> None:
    with httpx.Client(base_url=deployment.api, trust_env=False) as client:
        eventually(deployment, "it is ready", lambda: client.get("/readyz").status_code == 200)
    assert "trueup_database_up 1.0" in _metrics(deployment)
    assert 'trueup_vendor_calls_total{connector="looker"}' in _metrics(deployment)


def _hearts_go_on_beating(deployment: Deployment) -> None:
    for name in ("worker", "beat"):
        file = Path(deployment.here(name, SERVICES[name]["environment"]["TRUEUP_HEARTBEAT"]))
        last = file.stat().st_mtime
        eventually(deployment, f"another heartbeat of {name}", lambda f=file, t=last: f.stat().st_mtime > t)  # type: ignore[misc]


def _redis_goes_and_comes_back(deployment: Deployment) -> None:
    """A worker that cannot hear says so, and hears again by itself."""
    deployment.kill("redis")
    eventually(deployment, "the worker is unhealthy", lambda: not deployment.healthy("worker"))
    deployment.start_redis()
    eventually(deployment, "the worker is healthy again", lambda: deployment.healthy("worker"))


def _it_stops(deployment: Deployment) -> None:
    for name in ("api", "beat", "worker"):
        assert deployment.stop(name) == 0, f"{name}: {deployment.log(name)[-3000:]}"
        assert not deployment.healthy(name), f"{name} is gone, and its health check does not say so"
    secrets = {deployment.secret(name) for name in ("database_url", "redis_url")} | set(deployment.vendors.values())
    for name in TRUEUP:
        assert not [secret for secret in secrets if secret in deployment.log(name)]


def _metrics(deployment: Deployment) -> str:
    return httpx.get(f"{deployment.api}/metrics", trust_env=False).text
