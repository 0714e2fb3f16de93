"""Two sources at once, and the way from one to the other: whoever should, keeps what they have on every step."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.conftest import Database
from tests.e2e.breaking import settled
from tests.e2e.test_company import held
from tests.e2e.test_entra import FREELY, SHUT, accounts, changed, made
from tests.flows.rig import Rig
from worker.core.drift import DriftKind
from worker.flows import passes
from worker.flows.site import Site
from worker.sandbox.company import Company, Employee
from worker.sandbox.entra import EntraSandbox
from worker.sandbox.seed import company
from worker.sandbox.tenancy import placed, policy_for, tenant_id
from worker.sandbox.world import World, settings_yaml

BOTH = ("okta", "entra")


def in_order(world: World) -> list[Employee]:
    """Those who have a Looker account like many others', and no story."""
    told_of = {story.who for story in world.company.stories} | {world.everybody[0].profile["login"]}
    usual = {"Viewers", "Engineering", "Data"}
    looker = {account.email for account in world.company.looker_users if usual.issuperset(account.groups)}
    return [e for e in world.everybody if e.profile["login"] in looker - told_of]


class At:
    """Who is where in a company at both, each person handed out once."""

    def __init__(self, world: World) -> None:
        at_okta, at_entra = {e.id for e in world.company.employees}, {user.id for user in world.company.tenant.users}
        self._people = [(e, (e.id in at_okta, tenant_id(e) in at_entra)) for e in in_order(world)]

    def both(self) -> Employee:
        return self._one((True, True))

    def entra_only(self) -> Employee:
        return self._one((False, True))

    def okta_only(self) -> Employee:
        return self._one((True, False))

    def _one(self, where: tuple[bool, bool]) -> Employee:
        place = next(n for n, (_, there) in enumerate(self._people) if there == where)
        return self._people.pop(place)[0]


@pytest.fixture(scope="module")
def rig(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    world = World.of(50, sources=BOTH, filters=True)
    with settled(world, module_database, tmp_path_factory.mktemp("both"), {}) as rig:
        yield rig


@pytest.fixture(scope="module")
def at(rig: Rig) -> At:
    return At(rig.world)


@pytest.fixture
def site(rig: Rig) -> Iterator[Site]:
    with rig.open("enforce", **FREELY) as site:
        yield site


def test_a_company_at_both_is_made_true_and_nothing_is_left_for_a_machine(rig: Rig, site: Site) -> None:
    outlook = passes.plan(site)
    assert outlook.failures == []
    assert (outlook.exit_code(), outlook.open_changes()) == (0, 0)
    assert [*rig.world.okta.log, *rig.world.entra.log] == [], "nothing was changed at a source"


def test_whoever_leaves_the_only_source_that_knows_them_is_locked_out(rig: Rig, site: Site, at: At) -> None:
    before, here, there = held(rig.world), at.okta_only(), at.entra_only()
    rig.world.okta.deactivate(here.id)
    rig.world.entra.soft_delete(tenant_id(there))
    made(site)
    gone = [key for person in (here, there) for key in accounts(rig.world, person.profile["login"])]
    assert changed(rig.world, before) == dict.fromkeys(gone, SHUT)


def test_the_authority_says_who_has_departed_and_of_another_source_only_the_groups_are_lost(
    rig: Rig, site: Site, at: At
) -> None:
    """Whom Entra ID blocks is in no group of Entra ID's any more, and in Okta's as before: that is a finding."""
    before, said_by_okta, said_by_entra = held(rig.world), at.both(), at.both()
    rig.world.okta.deactivate(said_by_okta.id)
    rig.world.entra.disable(tenant_id(said_by_entra))
    outlook = made(site)
    now, kept = held(rig.world), accounts(rig.world, said_by_entra.profile["login"])
    locked_out = [key for key in now if now[key][0] == "locked out" and before[key][0] != "locked out"]
    assert locked_out == accounts(rig.world, said_by_okta.profile["login"])
    assert now[kept[0]][1] >= before[kept[0]][1] & {"Viewers", "Data", "Finance", "Analyst"}
    disagreements = [d for plan in outlook.plans for d in plan.standing if d.kind is DriftKind.SOURCES_DISAGREE]
    assert {d.account_id for d in disagreements} >= {key.split()[1] for key in kept}


def test_a_source_that_cannot_be_read_freezes_its_people_and_nobody_else(rig: Rig, site: Site, at: At) -> None:
    world, before = rig.world, held(rig.world)
    known, unknown = at.both(), at.okta_only()
    for person in (known, unknown):
        world.looker.add_to_group(rig.looker_user(person.profile["login"]).id, "Finance")
    fault = world.entra.break_("GET /v1.0/*", "status", status=503)
    outlook = passes.sync(site)
    world.entra.faults.clear()
    assert fault.fired
    assert [name for name, _ in outlook.failures] == ["entra"]
    kept = f"looker {rig.looker_user(known.profile['login']).id}"
    assert {key: sorted(now[1] - before[key][1]) for key, now in changed(world, before).items()} == {kept: ["Finance"]}
    made(site)
    assert changed(world, before) == {}


# --- from one source to the other ------------------------------------------------------------------------------------


class Moving(World):
    """A company that both sources know whole; the settings have the sources `named`, in that order, and the rules ask
    for the groups of those `asked`."""

    def __init__(self, company: Company) -> None:
        super().__init__(company)
        self.entra = EntraSandbox(placed(company, ("entra",)), client_secret=secrets.token_hex(16))
        self.sources = BOTH
        self.named: tuple[str, ...] = ("okta",)
        self.asked: tuple[str, ...] = ("okta",)

    def settings_yaml(self, mode: str = "observe") -> str:
        urls = {vendor: url for vendor, url in self.urls.items() if vendor not in BOTH or vendor in self.named}
        policy = policy_for(self.company.policy, self.asked)
        if len(self.named) > len(self.asked):  # where there are two, the rules say whose group they mean
            policy = re.sub(r"\{group: ([^}]+)\}", rf"{{group: \1, source: {self.asked[0]}}}", policy)
        text = settings_yaml(urls, policy, mode, self.tenancy)
        settings = yaml.safe_load(text)
        ordered: dict[str, Any] = {name: settings["sources"][name] for name in self.named}
        return yaml.safe_dump(settings | {"sources": ordered}, sort_keys=False)


def moving(people: int) -> Moving:
    """The two agree about who is there before anybody moves: whom Okta has suspended or not started yet is active."""
    world = Moving(company(people, filters=True))
    for employee in world.everybody:
        if employee.status not in ("ACTIVE", "DEPROVISIONED"):
            world.okta.set_status(employee.id, "ACTIVE")
            world.entra.enable(tenant_id(employee))
    for stranger in [t for t in world.entra.directory.things.values() if t.name == "Robin Archer"]:
        world.entra.purge(stranger.id)
    return world


# Groups that no rule asks for are not read any more, which looks like a loss.
MOVING = {**FREELY, "limits": {"share": "100%", "shrink": {"memberships": "100%"}}}
# As docs/sources.md has them: the sources in their order, and whose groups the rules ask for.
STEPS = {
    "add the new source below the old one": (("okta", "entra"), ("okta",)),
    "let rules ask both": (("okta", "entra"), BOTH),
    "put the new source first": (("entra", "okta"), BOTH),
    "take the old groups out of the rules": (("entra", "okta"), ("entra",)),
    "take the old source out of the settings": (("entra",), ("entra",)),
}


def test_a_company_moves_from_okta_to_entra_id_and_nobody_loses_anything(
    fresh_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = moving(40)
    with settled(world, fresh_database, tmp_path_factory.mktemp("move"), {}) as rig:
        before, made_before = held(world), rig.mutations()
        for step, (world.named, world.asked) in STEPS.items():
            with rig.open("enforce", **MOVING) as site:
                made(site)
                outlook = passes.plan(site)
            assert outlook.failures == [], step
            assert (outlook.exit_code(), outlook.open_changes()) == (0, 0), step
            assert changed(world, before) == {}, step
            assert rig.mutations() == made_before, step

        leaver = in_order(world)[0]
        world.entra.soft_delete(tenant_id(leaver))
        with rig.open("enforce", **FREELY) as site:
            made(site)
        locked_out = {key: now[0] for key, now in changed(world, before).items()}
        assert locked_out == dict.fromkeys(accounts(world, leaver.profile["login"]), "locked out")
