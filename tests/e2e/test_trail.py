"""The trail beside the log of the sandbox: each mutation is in both, once, with who, why, before, after and outcome."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Database
from tests.e2e.desk import Desk
from tests.e2e.ledger import Step, mismatches, steps
from tests.e2e.nursery import Nursery
from worker.sandbox.server import Exchange
from worker.sandbox.world import World

pytestmark = pytest.mark.timeout(300)

DOCS = Path(__file__).parents[2] / "docs" / "audit.md"


@pytest.fixture
def world() -> Iterator[World]:
    with World.of(40, filters=True).serve() as served:
        yield served


@pytest.fixture
def desk(world: World, fresh_database: Database, tmp_path: Path, forks: Nursery) -> Desk:
    """With its baseline accepted, and what the first plan left to a human approved."""
    made = Desk(world, fresh_database, tmp_path, forks).write_settings()
    assert made.trueup("check", "--accept-baseline").code == 0
    assert made.trueup("plan").code == 2
    approve(made)
    return made


def approve(desk: Desk) -> None:
    waiting = [i["handle"] for i in desk.trueup("review", "list", "--json").json() if i["state"] == "waiting"]
    assert desk.trueup("review", "approve", *waiting, "--note", "new colleagues").code == 0


def trail(desk: Desk) -> list[dict[str, Any]]:
    return list(desk.trueup("audit", "list", "--json", "--limit", "100000").json())


def logs(world: World) -> dict[str, list[dict[str, Any]]]:
    """As `/_sandbox/log` tells it."""
    return {
        server.name: [
            {
                "method": e.method, "path": e.path, "status": e.status,
                "body": e.request_body.decode(), "request_id": e.request_id,
            }
            for e in server.log
        ]
        for server in (world.looker, world.teamcity)
    }  # fmt: skip


def test_every_mutation_is_in_the_trail_and_every_step_of_the_trail_in_the_log(world: World, desk: Desk) -> None:
    assert desk.trueup("sync").code == 0
    entries = trail(desk)
    assert mismatches(logs(world), entries) == []
    taken = steps(entries)
    assert {step.target for step in taken} == {"looker", "teamcity"}
    assert {"set value", "clear value"} <= {step.verb for step in taken}
    assert len({request for step in taken for request in step.requests}) == sum(map(len, logs(world).values())) > 15


def test_the_books_agree_whatever_went_wrong(world: World, desk: Desk) -> None:
    faults = [
        world.looker.break_("PATCH /api/4.0/users/*", "status-after", status=502, times=1),  # done, and not said
        world.looker.break_("DELETE /api/4.0/groups/*", "drop-after", times=1),  # done, and the line went dead
        world.teamcity.break_("DELETE /app/rest/users/*/groups/*", "drop", times=1),  # never done, nor denied
        world.teamcity.break_("POST /app/rest/users", "status", status=400, text="no", times=1),  # denied
    ]
    meddled = meddle(world)
    spoilt = desk.trueup("sync")
    assert spoilt.code == 1
    assert all(fault.fired for fault in faults)
    assert meddled, "somebody changed an account between its plan and its change"
    first = trail(desk)
    assert mismatches(logs(world), first) == []
    assert {step.outcome for step in steps(first)} >= {
        "applied", "found applied", "found not applied", "failed", "refused",
    }  # fmt: skip
    assert {end["facts"]["outcome"] for step in steps(first) for end in step.ends} >= {"unknown"}

    assert desk.trueup("sync").code == 2, "what a vendor refused has used its approval up"
    approve(desk)
    assert desk.trueup("sync").code == 0
    assert desk.trueup("plan").code == 0, "the next run has put everything right"
    assert mismatches(logs(world), trail(desk)) == []


def meddle(world: World) -> list[str]:
    """As soon as something was changed in Looker, somebody gives one role more to whoever holds a role too many."""
    story = next(story for story in world.company.stories if story.kind == "extra role")
    account = next(user for user in world.company.looker_users if user.email == story.who)
    done: list[str] = []

    def observe(exchange: Exchange) -> None:
        if exchange.method in ("PATCH", "PUT", "DELETE") and not done:
            world.looker.grant_role(account.id, "Scheduler")
            done.append(account.id)

    world.looker.observers.append(observe)
    return done


def test_every_change_records_who_asked_why_before_after_outcome_and_request(desk: Desk) -> None:
    assert desk.trueup("sync").code == 0
    entries = trail(desk)
    taken = steps(entries)
    assert taken
    for step in taken:
        assert complete(step) == [], step
    approved = {c["approval"] for s in taken for c in s.attempted["facts"]["changes"]} - {""}
    decided = [entry for entry in entries if entry["kind"] == "change approved"]
    assert len(approved) == len(decided) > 0, "each approved change names its approval"
    assert {entry["personal"]["note"] for entry in decided} == {"new colleagues"}
    ended = [entry for entry in entries if entry["kind"] == "run ended"]
    assert {entry["facts"]["target"] for entry in ended} == {"looker", "teamcity"}


def complete(step: Step) -> list[str]:
    """What is missing in a step's record."""
    attempted, ended = step.attempted, step.ends[-1]
    unseen = step.verb in ("end_sessions", "forget_logins")  # TeamCity shows nobody's sessions
    wanted = {
        "who": attempted["actor"].startswith("operator:ana (login ") and attempted["actor"] == ended["actor"],
        "a run": attempted["run"] and attempted["run"] == ended["run"],
        "whom": attempted["person"],
        "a sentence": attempted["personal"]["sentence"],
        "why": all(
            change["cause"] and change["policy"] and change["fingerprint"] and (change["rules"] or change["source"])
            for change in attempted["facts"]["changes"]
        ),
        "the source's event": all(change["source"] for change in attempted["facts"]["changes"]),
        "before": unseen or step.outcome == "already so" or ended["personal"]["before"],
        "after": unseen or step.outcome == "already so" or ended["personal"]["after"],
        "an outcome": step.outcome in ("applied", "already so"),
        "the vendor's request": step.outcome == "already so" or len(step.requests) == 1,
    }
    return [what for what, there in wanted.items() if not there]


def test_the_chain_verifies_and_so_does_its_export_without_trueup(desk: Desk, tmp_path: Path) -> None:
    assert desk.trueup("sync").code == 0
    verified = desk.trueup("audit", "verify", "--json")
    assert (verified.code, verified.json()["ok"]) == (0, True)
    exported = tmp_path / "trail.jsonl"
    assert desk.trueup("audit", "export", "--out", str(exported)).code == 0
    script = tmp_path / "verify.py"
    script.write_text(re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)[1])  # type: ignore[index]
    assert by_hand(script, exported) == 0
    lines = exported.read_text(encoding="utf-8").splitlines(keepends=True)
    exported.write_text("".join(lines[:5] + lines[6:]), encoding="utf-8")
    assert by_hand(script, exported) != 0, "a trail with one entry cut out does not verify"


def by_hand(script: Path, exported: Path) -> int:
    with exported.open(encoding="utf-8") as lines:
        return subprocess.run([sys.executable, script], stdin=lines, capture_output=True, check=False).returncode
