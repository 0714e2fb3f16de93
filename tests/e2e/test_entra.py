"""The main job with people at Entra ID: true after a pass, and whoever leaves, is nested or comes from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Database
from tests.e2e.breaking import planned, settled
from tests.e2e.test_company import held
from tests.flows.rig import Rig
from worker.flows import passes
from worker.flows.passes import Outlook
from worker.flows.site import Site
from worker.sandbox.company import Employee
from worker.sandbox.tenancy import tenant_id
from worker.sandbox.world import World

PEOPLE = 40
FREELY: dict[str, Any] = {"gates": {"create": "auto"}, "limits": {"share": "100%"}}
SHUT = ("locked out", frozenset[str]())
NEW = {"displayName": "Sam Archer", "givenName": "Sam", "surname": "Archer", "department": "Sales"}
Next = Callable[[], Employee]


@pytest.fixture(scope="module")
def rig(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    world = World.of(PEOPLE, sources=("entra",), filters=True)
    with settled(world, module_database, tmp_path_factory.mktemp("entra"), {}) as rig:
        yield rig


@pytest.fixture
def site(rig: Rig) -> Iterator[Site]:
    with rig.open("enforce", **FREELY) as site:
        yield site


@pytest.fixture(scope="module")
def developer(rig: Rig) -> Next:
    """Each time another one of those who are in order and have an account in either target."""
    told_of = {story.who for story in rig.world.company.stories}
    looker = {account.email for account in rig.world.company.looker_users}
    teamcity = {account.username for account in rig.world.company.teamcity_users}
    calm = iter(e for e in rig.world.everybody if e.profile["login"] in (looker & teamcity) - told_of)
    return lambda: next(calm)


def accounts(world: World, login: str) -> list[str]:
    """Keys of somebody's accounts in what is `held`."""
    seen, built = world.looker.instance.with_email(login), world.teamcity.world.named(login)
    return [*(f"looker {user.id}" for user in seen), *([f"teamcity {built.id}"] if built else [])]


def made(site: Site) -> Outlook:
    """A pass that applies; every read was whole."""
    outlook = passes.sync(site)
    assert outlook.failures == []
    assert outlook.troubles == []
    return outlook


def changed(world: World, before: dict[str, tuple[str, frozenset[str]]]) -> dict[str, tuple[str, frozenset[str]]]:
    """Every account that is not as it was, as it is now."""
    return {key: now for key, now in held(world).items() if now != before.get(key)}


def test_a_company_at_entra_id_is_made_true_and_nothing_is_left_for_a_machine(rig: Rig, site: Site) -> None:
    outlook = passes.plan(site)
    assert outlook.failures == []
    assert (outlook.exit_code(), outlook.open_changes()) == (0, 0)
    assert rig.world.entra.log == [], "nothing was changed at the source"
    assert rig.world.okta.url == "", "and no other source was there"


WAYS_TO_LEAVE = {
    "blocked": lambda world, id: world.entra.disable(id),
    "deleted": lambda world, id: world.entra.soft_delete(id),
    "blocked, then deleted": lambda world, id: (world.entra.disable(id), world.entra.soft_delete(id)),
}


@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
def test_whoever_leaves_is_locked_out_and_nobody_else(rig: Rig, site: Site, developer: Next, way: str) -> None:
    person, before = developer(), held(rig.world)
    WAYS_TO_LEAVE[way](rig.world, tenant_id(person))
    made(site)
    assert changed(rig.world, before) == dict.fromkeys(accounts(rig.world, person.profile["login"]), SHUT)


def test_whoever_is_gone_for_good_is_locked_out_once_two_reads_agree(rig: Rig, site: Site, developer: Next) -> None:
    person, before = developer(), held(rig.world)
    rig.world.entra.purge(tenant_id(person))
    made(site)
    assert changed(rig.world, before) == {}, "one read may have missed somebody"
    made(site)
    assert changed(rig.world, before) == dict.fromkeys(accounts(rig.world, person.profile["login"]), SHUT)


def test_a_name_that_is_used_again_brings_nobody_the_leavers_access(rig: Rig, site: Site, developer: Next) -> None:
    person, before = developer(), held(rig.world)
    login = person.profile["login"]
    rig.world.entra.soft_delete(tenant_id(person))
    new = rig.world.entra.hire(
        **NEW, userPrincipalName=login, mail=login, employeeId="9100", groups=["Analytics Readers", "Engineering"]
    )
    for _ in range(2):
        made(site)
        assert changed(rig.world, before) == dict.fromkeys(accounts(rig.world, login), SHUT)
    outlook = passes.plan(site)
    disputes = [d for plan in outlook.plans for d in plan.standing if d.kind.value == "disputed"]
    assert len([d for d in disputes if d.person_id is not None]) >= 1, "a human has to say whose account it is"
    rig.world.entra.purge(new)


def test_who_is_in_a_nested_group_gets_and_loses_with_the_edge(rig: Rig, site: Site) -> None:
    world = rig.world
    squad = world.entra.create_group("Squad Nine")
    login = "sam.archer@acme.example"
    world.entra.hire(**NEW, userPrincipalName=login, mail=login, employeeId="9101", groups=["Squad Nine"])
    made(site)
    assert accounts(world, login) == [], "the group is in no other yet"

    world.entra.add_member("Team Mobile", squad)
    made(site)
    made(site)
    now = held(world)
    seen, built = accounts(world, login)
    assert now[seen] == ("active", frozenset({"Engineering"})), "Team Mobile is in Engineering, on the way"
    assert now[built] == ("active", frozenset({"DEVELOPERS", "['PROJECT_DEVELOPER', 'p:Mobile']"}))

    world.entra.remove_member("Team Mobile", squad)
    before = held(world)
    made(site)
    assert changed(world, before) == {seen: ("active", frozenset()), built: ("active", frozenset())}


def test_a_nested_group_that_cannot_be_read_freezes_all_above_it(rig: Rig, site: Site, developer: Next) -> None:
    """Its members may be hidden from us: then nobody can say who is in Team Platform, and nobody loses it."""
    world = rig.world
    login = "kit.archer@acme.example"
    world.entra.create_group("Squad Ten", "microsoft 365")
    world.entra.add_member("Team Platform", "Squad Ten")
    member = world.entra.hire(**NEW, userPrincipalName=login, mail=login, employeeId="9102", groups=["Squad Ten"])
    made(site)
    made(site)
    before = held(world)
    assert len(accounts(world, login)) == 2

    hidden = world.entra.directory.group("Squad Ten")
    hidden.properties["visibility"] = "HiddenMembership"
    world.entra.remove_member("Squad Ten", member)
    outlook = made(site)
    assert changed(world, before) == {}
    assert planned(outlook, taking=True) == {"looker": frozenset(), "teamcity": frozenset()}
    suspended = " ".join(reason for plan in outlook.plans for reason in plan.tripped)
    assert all(f"rule {rule!r} is suspended".replace("'", '"') in suspended for rule in ("platform team", "developers"))

    world.entra.granted.add("Member.Read.Hidden")
    world.entra.oauth.expire_tokens()  # the old ones do not say so
    made(site)
    assert changed(world, before) == dict.fromkeys(accounts(world, login), ("active", frozenset()))


def test_guests_are_given_nothing_and_join_nobody(rig: Rig, site: Site) -> None:
    """One has the address of the chief, and is in a group of administrators."""
    world = rig.world
    chief = world.everybody[0].profile["login"]
    assert accounts(world, "anna.brandt@partner.example") == []
    assert rig.looker_groups(chief) <= {"Viewers", "Okta Sales"}
    assert rig.looker_roles(chief) == set()
    before = held(world)
    world.entra.set("grace.okafor_partner.example#EXT#@acme.onmicrosoft.com", accountEnabled=False)
    made(site)
    assert changed(world, before) == {}, "a guest who is blocked takes nothing from whoever has the same address"
