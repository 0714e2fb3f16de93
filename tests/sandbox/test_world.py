"""The three servers over one company, and that the engine finds in it exactly the trouble that was planted."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import httpx
import pytest

from tests.sandbox.engine import Finding, findings
from worker.core.drift import DriftKind
from worker.sandbox.company import Company
from worker.sandbox.seed import company
from worker.sandbox.tenancy import HARMLESS_AT_ENTRA, PLACES
from worker.sandbox.trouble import HARMLESS
from worker.sandbox.world import Neighbour, World, serve_next_door
from worker.settings import Loaded, load

TODAY = date(2026, 11, 21)
D = DriftKind

GONE = (D.LINGERING_ACCOUNT, D.EXCESS_ENTITLEMENT)

# What each kind of trouble comes to, by target; where somebody has no account, to nothing.
FOUND: dict[str, dict[str, tuple[DriftKind, ...]]] = {
    "leaver": {"looker": GONE, "teamcity": GONE},
    "departed administrator": {"looker": (D.DISPUTED,)},
    "departed system administrator": {"looker": GONE, "teamcity": (D.DISPUTED,)},
    "administrator": {"looker": (D.DISPUTED,), "teamcity": (D.DISPUTED,)},
    "extra admin role": {"looker": (D.DISPUTED,)},
    "suspended": {"looker": (D.SUSPENDED_PERSON,)},
    "extra role": {"looker": (D.EXCESS_ENTITLEMENT,)},
    "extra group": {"looker": (D.EXCESS_ENTITLEMENT,)},
    "extra project role": {"teamcity": (D.EXCESS_ENTITLEMENT,)},
    "missing group": {"looker": (D.MISSING_ENTITLEMENT,)},
    "missing project role": {"teamcity": (D.MISSING_ENTITLEMENT,)},
    "missing looker account": {"looker": (D.MISSING_ACCOUNT,)},
    "missing teamcity account": {"teamcity": (D.MISSING_ACCOUNT,)},
    "disabled account": {"looker": (D.DISABLED_ACCOUNT,)},
    "renamed": {"looker": (D.STALE_PROFILE,)},
    "new login": {"teamcity": (D.DISPUTED,)},
    "expired rule": {"looker": (D.EXPIRED_ENTITLEMENT,)},
    "unknown status": {"looker": (D.HELD_PERSON,)},
    "case-only pair": {"looker": (D.DISPUTED,)},
    "shared address": {"looker": (D.DISPUTED,)},
    "sharp s": {"looker": (D.DISPUTED,)},
    "full-width letter": {"looker": (D.DISPUTED,)},
    "stranger without accents": {"looker": (D.DISPUTED,)},
    "orphan": {"looker": (D.ORPHAN,), "teamcity": (D.ORPHAN,)},
    "reused name": {"looker": (D.DISPUTED,)},
    "wrong region": {"looker": (D.WRONG_VALUE,)},
    "missing region": {"looker": (D.MISSING_ENTITLEMENT,)},
    "region of a group": {"looker": (D.MISSING_ENTITLEMENT,)},
    "unknown region": {"looker": (D.HELD_VALUE,)},
}
# Only these come to several findings of one kind: one for each thing held, or for each of two accounts.
SEVERAL = {"leaver", "departed system administrator", "case-only pair"}
# Stories that only some places have.
STATUSES = {"suspended", "pre-hire", "pre-hire with account", "locked out", "password expired"}
NOT_AT = {("okta",): {"reused name"}, ("entra",): STATUSES, ("okta", "entra"): set[str]()}
# The places that a story can be found in depend on the accounts that there are.
BY_ACCOUNT = {"leaver", "departed system administrator", "orphan"}


@pytest.fixture(scope="module", params=PLACES, ids="+".join)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """400 people, of whom every kind of trouble befalls at least one."""
    with World.of(400, sources=request.param, filters=True).serve() as served:
        yield served


def loaded(world: World | Neighbour, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    file = folder / "trueup.yaml"
    file.write_text(world.settings_yaml(), encoding="utf-8")
    return load(file)


def accounts_of(made: Company) -> dict[str, set[str]]:
    """Targets in which somebody has an account, by login."""
    found: dict[str, set[str]] = defaultdict(set)
    for looker in made.looker_users:
        found[looker.email].add("looker")
    for teamcity in made.teamcity_users:
        found[teamcity.username].add("teamcity")
    return found


def expected(made: Company) -> set[Finding]:
    have = accounts_of(made)
    return {
        (target, kind, story.who)
        for story in made.stories
        for target, kinds in FOUND.get(story.kind, {}).items()
        for kind in kinds
        if story.kind not in BY_ACCOUNT or target in have[story.who]
    }


def test_the_engine_finds_exactly_the_trouble_that_was_planted(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Counter(findings(loaded(world, tmp_path, monkeypatch), TODAY))
    assert set(found) == expected(world.company)
    several = {
        story.who
        for story in world.company.stories
        if story.kind in ("case-only pair", "leaver") or "left" in story.text
    }
    assert {finding for finding, times in found.items() if times > 1 and finding[2] not in several} == set()


def test_every_kind_of_story_is_either_found_or_harmless(world: World) -> None:
    kinds = {story.kind for story in world.company.stories}
    everywhere = set(FOUND) | HARMLESS
    assert kinds - everywhere == (HARMLESS_AT_ENTRA if "entra" in world.sources else set())
    assert everywhere - kinds == NOT_AT[world.sources]
    shown = {"unknown status", "unknown region"}
    assert set(FOUND) & HARMLESS == shown, "so that somebody looks, and nothing is changed"


def test_the_settings_say_nothing_that_deserves_a_warning(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaded(world, tmp_path, monkeypatch).warnings == ()


def test_the_settings_hold_references_and_no_secret(world: World) -> None:
    text = world.settings_yaml(mode="enforce")
    assert text.startswith("mode: enforce\n")
    for name, value in world.environment().items():
        assert f"${{env:{name}}}" in text
        assert value not in text


def test_a_server_in_another_process_is_the_same_company_and_tells_what_happened_to_it() -> None:
    made = company(60, seed=3)
    with serve_next_door(60, seed=3) as neighbour:
        assert neighbour.stories == made.stories
        assert neighbour.policy == made.policy
        secret = neighbour.environment()
        assert all(value not in repr(neighbour) for value in secret.values())
        assert len(neighbour.state("looker")["users"]) > 40
        neighbour.break_("teamcity", "GET /app/rest/server", "status", status=503, times=1)
        with httpx.Client(
            base_url=neighbour.urls["teamcity"],
            headers={"Authorization": f"Bearer {secret['SANDBOX_TEAMCITY_TOKEN']}", "Accept": "application/json"},
            trust_env=False,
        ) as client:
            answers = [client.get("/app/rest/server").status_code for _ in range(2)]
            assert answers == [503, 200]
            assert [fault["fired"] for fault in neighbour.faults("teamcity")] == [1]
            assert neighbour.reads("teamcity") == {"/app/rest/server": 2}
            assert neighbour.log("teamcity") == []
            neighbour.mend("teamcity")
            assert neighbour.faults("teamcity") == []
        address = neighbour.urls["okta"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(address, trust_env=False)


def test_the_command_writes_settings_that_load_and_ends_when_told_to(tmp_path: Path) -> None:
    file = tmp_path / "trueup.yaml"
    command = [sys.executable, "-m", "worker.sandbox", "--size", "20", "--policy-out", str(file), "--mode", "review"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        ready = json.loads(process.stdout.readline())
        assert load(file).settings.mode == "review"
        assert ready["urls"]["okta"] in file.read_text(encoding="utf-8")
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_a_port_that_is_taken_is_named_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "worker.sandbox", "--size", "12", "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"127.0.0.1:{port} cannot be served (Address already in use); choose another port.\n"


def test_a_size_that_cannot_be_is_refused_in_one_line() -> None:
    command = [sys.executable, "-m", "worker.sandbox", "--size", "3"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "A sandbox company has 12 to 100,000 people, not 3.\n"


def test_serving_waits_for_nobody_who_is_just_logging() -> None:
    """As a server that has just begun does, while the next one is made."""
    handler, world, up, over = logging.StreamHandler(), World.of(40), threading.Event(), threading.Event()

    def serve() -> None:
        with world.serve():
            up.set()
            over.wait(60)

    handler.acquire()
    server = threading.Thread(target=serve)
    try:
        server.start()
        assert up.wait(20)
    finally:
        handler.release()
        over.set()
        server.join()
