"""The main job on a whole company: true after one pass, and true again after whatever people do by hand.

With 400 people at every change; `make fleet` does the same with 2,000, where nothing but the numbers is another.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Database
from tests.e2e.desk import Desk
from tests.e2e.nursery import Nursery
from worker.sandbox.company import Employee, LookerUser, TeamCityUser
from worker.sandbox.world import World

Named = tuple[str, str, str, str]  # target, operation, account id, entitlement


@pytest.fixture(params=[400, pytest.param(2_000, marks=pytest.mark.fleet)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World.of(request.param).serve() as served:
        yield served


@pytest.fixture
def desk(world: World, fresh_database: Database, tmp_path: Path, forks: Nursery) -> Desk:
    return Desk(world, fresh_database, tmp_path, forks).write_settings()


@pytest.mark.timeout(400)
def test_a_company_is_made_true_and_what_is_edited_by_hand_is_named_exactly_and_healed(
    world: World, desk: Desk
) -> None:
    assert desk.trueup("check", "--accept-baseline").code == 0
    first = desk.trueup("sync", "--json")
    assert [target["guards"] for target in first.json()["targets"]] == [[], []], "the default limits let it all through"
    assert first.code == 2, "what a human has to decide about is open"
    approved = approve_all(desk)
    assert approved > len(world.company.employees) // 200
    assert desk.trueup("sync").code == 0

    settled = desk.trueup("plan", "--json")
    assert (settled.code, named(settled.json())) == (0, set())
    standing = [finding["drift"] for target in settled.json()["targets"] for finding in target["standing"]]
    assert {"orphan", "disputed"} <= set(standing), "what no machine may cure stands, and counts in no exit code"
    assert desk.trueup("plan", "--strict").code == 2

    before = held(world)
    edits = edit_by_hand(world)
    leaver, locked_out = leave(world)
    plan = desk.trueup("plan", "--json")
    assert plan.code == 2
    assert named(plan.json()) == edits | locked_out

    healed = desk.trueup("sync", "--json")
    assert healed.code == 0
    assert sum(len(run["done"]) for run in healed.json()["applied"]) == len(edits | locked_out)
    now = held(world)
    assert {key: now[key] for key in now if key not in leaver} == {
        key: before[key] for key in before if key not in leaver
    }
    assert {now[key] for key in leaver} == {("locked out", frozenset())}
    again = desk.trueup("plan", "--json")
    assert (again.code, named(again.json())) == (0, set())


def approve_all(desk: Desk) -> int:
    """As an operator would who has looked at each."""
    waiting = [i["handle"] for i in desk.trueup("review", "list", "--json").json() if i["state"] == "waiting"]
    assert desk.trueup("review", "approve", *waiting, "--note", "looked at").code == 0
    return len(waiting)


def edit_by_hand(world: World) -> set[Named]:
    """Something taken and something given in each target; what would have to be done about it."""
    sellers = iter(calm(world, "Sales"))
    coders = iter(calm(world, "Team Mobile"))
    robbed, spoilt = looker(world, next(sellers)), looker(world, next(sellers))
    world.looker.remove_from_group(robbed.id, "Viewers")
    world.looker.grant_role(spoilt.id, "Analyst")
    idle, busy, guest = (teamcity(world, next(coders)) for _ in range(3))
    world.teamcity.remove_role(idle.id, "PROJECT_DEVELOPER", "p:Mobile")
    world.teamcity.add_role(busy.id, "PROJECT_VIEWER", "p:Web")
    world.teamcity.add_to_group(guest.id, "QA")
    return {
        ("looker", "grant", robbed.id, "group:10"),
        ("looker", "revoke", spoilt.id, "role:5"),
        ("teamcity", "grant", str(idle.id), "role:PROJECT_DEVELOPER@p:Mobile"),
        ("teamcity", "revoke", str(busy.id), "role:PROJECT_VIEWER@p:Web"),
        ("teamcity", "revoke", str(guest.id), "group:QA"),
    }


def leave(world: World) -> tuple[set[str], set[Named]]:
    """Somebody leaves the company: their accounts, and what has to be done about them."""
    person = calm(world, "Team Mobile")[-1]
    world.okta.deactivate(person.id)
    seen, built = looker(world, person), teamcity(world, person)
    assert (seen.groups, built.groups) == (("Viewers", "Engineering"), ("DEVELOPERS",))
    return {f"looker {seen.id}", f"teamcity {built.id}"}, {
        ("looker", "disable", seen.id, ""),
        ("looker", "revoke", seen.id, "group:10"),
        ("looker", "revoke", seen.id, "group:11"),
        ("teamcity", "disable", str(built.id), ""),
        ("teamcity", "revoke", str(built.id), "group:DEVELOPERS"),
        ("teamcity", "revoke", str(built.id), "role:PROJECT_DEVELOPER@p:Mobile"),
    }


def calm(world: World, group: str) -> list[Employee]:
    """People of whom nothing is told: they are in order everywhere."""
    company = world.company
    storied = {story.who for story in company.stories}
    seen, built = ({a.email for a in company.looker_users}, {a.username for a in company.teamcity_users})
    return [
        e
        for e in company.employees
        if e.status == "ACTIVE" and group in e.groups and (login := e.profile["login"]) not in storied
        and login in seen and (login in built or group == "Sales")
    ]  # fmt: skip


def looker(world: World, person: Employee) -> LookerUser:
    return next(user for user in world.company.looker_users if user.email == person.profile["login"])


def teamcity(world: World, person: Employee) -> TeamCityUser:
    return next(user for user in world.company.teamcity_users if user.username == person.profile["login"])


def named(outlook: Any) -> set[Named]:
    """Every change that a plan shows, whatever its state."""
    return {
        (target["target"], change["operation"], change["account"], change["entitlement"])
        for target in outlook["targets"]
        for change in target["changes"]
    }


def held(world: World) -> dict[str, tuple[str, frozenset[str]]]:
    """Who can come in, and what everybody holds directly; the accounts that Trueup works with included."""
    found = {}
    for id, user in world.looker.state()["users"].items():
        values = {f"{name} = {value}" for name, value in user["attributes"].items()}
        holds = frozenset({*user["roles"], *user["groups"], *values} - {"All Users"})
        found[f"looker {id}"] = ("locked out" if user["is_disabled"] else "active", holds)
    for id, user in world.teamcity.state()["users"].items():
        holds = frozenset({*map(str, user["roles"]), *user["groups"]} - {"ALL_USERS_GROUP"})
        shut = "trueup.suspended" in user["properties"] and not user["has_password"] and not user["tokens"]
        found[f"teamcity {id}"] = ("locked out" if shut else "active", holds)
    return found
