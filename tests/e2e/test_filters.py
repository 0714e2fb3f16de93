"""Who sees which rows, in an ordinary company: each filter is what the source says, and whoever edits one is undone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Database
from tests.e2e.breaking import planned, settled
from tests.e2e.test_company import held
from tests.e2e.test_entra import changed, made
from tests.flows.rig import Rig
from worker.core.drift import DriftKind
from worker.flows import passes
from worker.flows.site import Site
from worker.flows.why import why
from worker.sandbox import regions
from worker.sandbox.company import Employee
from worker.sandbox.world import World

FREELY: dict[str, Any] = {"gates": {"create": "auto", "enable": "auto"}, "limits": {"share": "100%"}}


@pytest.fixture(scope="module")
def rig(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """120 people: among them are one with a wrong region, one without, one with a group's, and one of no division."""
    world, folder = World.of(120, filters=True), tmp_path_factory.mktemp("filters")
    with settled(world, module_database, folder, {}, **FREELY) as rig:
        yield rig


@pytest.fixture
def site(rig: Rig) -> Iterator[Site]:
    with rig.open("enforce", **FREELY) as site:
        yield site


def told(rig: Rig, kind: str) -> Employee:
    (login,) = rig.logins(kind)
    return next(e for e in rig.world.everybody if e.profile["login"] == login)


def in_order(rig: Rig) -> Iterator[Employee]:
    """Those who have a Looker account, and no story."""
    storied = {story.who for story in rig.world.company.stories}
    looker = {account.email for account in rig.world.company.looker_users if account.groups == ("Viewers",)}
    return (e for e in rig.world.everybody if e.profile["login"] in looker - storied and e.status == "ACTIVE")


def seen(rig: Rig, person: Employee) -> str | None:
    """The region whose rows Looker shows them."""
    return rig.world.looker.value(rig.looker_user(person.profile["login"]).id, regions.ATTRIBUTE)


def test_everybody_sees_the_rows_of_their_own_region_and_nothing_is_left_for_a_machine(rig: Rig, site: Site) -> None:
    outlook = passes.plan(site)
    assert (outlook.exit_code(), outlook.open_changes()) == (0, 0)
    for kind in ("wrong region", "missing region", "region of a group"):
        person = told(rig, kind)
        before = next(u for u in rig.world.company.looker_users if u.email == person.profile["login"])
        assert dict(before.attributes).get(regions.ATTRIBUTE) != person.profile[regions.REGION]
        assert seen(rig, person) == person.profile[regions.REGION], kind
    assert [
        person.profile["login"] for person in in_order(rig) if seen(rig, person) != person.profile["division"]
    ] == []


def test_whose_region_nobody_can_say_keeps_what_they_have_and_is_a_finding(rig: Rig, site: Site) -> None:
    person = told(rig, "unknown region")
    (finding,) = [d for p in passes.plan(site).plans for d in p.standing if d.kind is DriftKind.HELD_VALUE]
    assert finding.detail == "the person has no division"
    assert finding.account_id == rig.looker_user(person.profile["login"]).id
    assert seen(rig, person) in set(regions.OF_OFFICE.values())


def test_what_is_edited_by_hand_is_named_exactly_and_put_right(rig: Rig, site: Site) -> None:
    """The first of a few sees another region's rows, the next everybody's, the third nothing at all."""
    before, people = held(rig.world), [person for person, _ in zip(in_order(rig), range(3), strict=False)]
    ids = [rig.looker_user(person.profile["login"]).id for person in people]
    mine = [person.profile["division"] for person in people]
    other = next(region for region in ("AMER", "EMEA") if region != mine[0])
    rig.world.looker.set_value(ids[0], "region", other)
    rig.world.looker.set_value(ids[1], "region", "ALL")
    rig.world.looker.set_value(ids[2], "region", None)
    outlook = passes.plan(site)
    names = [f"{person.profile['displayName']} <{person.profile['login']}> in looker" for person in people]
    assert planned(outlook, taking=False)["looker"] | planned(outlook, taking=True)["looker"] == {
        f"set attribute region = {mine[0]} for {names[0]} instead of {other}, because rule regions gives it",
        f"set attribute region = {mine[1]} for {names[1]} instead of ALL, because rule regions gives it",
        f"grant attribute region = {mine[2]} to {names[2]}, because rule regions gives it"
        " (without it: NONE by default)",
    }
    made(site)
    assert changed(rig.world, before) == {}


def test_who_moves_to_another_region_sees_its_rows_from_then_on(rig: Rig, site: Site) -> None:
    person = next(person for person in in_order(rig) if person.profile["division"] == "EMEA")
    login = person.profile["login"]
    rig.world.okta.rename(person.id, division="APAC")
    made(site)
    assert seen(rig, person) == "APAC"
    lines = why(site, login, "region").steps
    assert lines["rules"] == ['regions fits: is in the group "Analytics Readers"; owner data@acme.example']
    assert lines["desired"] == ["looker: attribute region = APAC, given by regions from their division"]
    rig.world.okta.rename(person.id, division="EMEA, APAC")
    made(site)
    assert seen(rig, person) == "APAC", "a list is no region, and nothing is cut from it"
    held_now = why(site, login, "region").steps["desired"]
    assert [line.partition(":")[0] for line in held_now] == ["looker"]
    assert "attribute region is held, neither given nor taken" in held_now[0]
