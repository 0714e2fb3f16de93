"""The made-up company at Entra ID, alone or beside Okta: the same people in the same groups, and trouble of its own."""

from __future__ import annotations

import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from worker.errors import Misconfigured
from worker.sandbox.company import Company
from worker.sandbox.entra.directory import Directory
from worker.sandbox.seed import company
from worker.sandbox.tenancy import HARMLESS_AT_ENTRA, PLACES, placed, tenant_id
from worker.sandbox.world import World, serve_next_door

WITH_ENTRA = [place for place in PLACES if "entra" in place]
OWN_KINDS = {"reused name", *HARMLESS_AT_ENTRA}


def groups_at_entra(made: Company) -> dict[str, set[str]]:
    """Names of all groups that each object is in, on whatever way, by its id."""
    directory = Directory(made)
    found: dict[str, set[str]] = {id: set() for id in directory.things}
    for id in directory.of_type("group"):
        group = directory.things[id]
        for member in directory.transitive(group):
            found[member].add(group.name)
    return found


def known_names(made: Company) -> set[str]:
    return {group.name for group in made.source_groups}


@pytest.mark.parametrize("place", WITH_ENTRA, ids="+".join)
@pytest.mark.parametrize("size", [12, 200, 1_000])
def test_everybody_is_in_the_same_groups_wherever_they_are(place: tuple[str, ...], size: int) -> None:
    original = company(size)
    made = placed(original, place)
    at_entra, names = groups_at_entra(made), known_names(original)
    at_okta = {e.id: e for e in made.employees}
    seen = 0
    for person in original.employees:
        id = tenant_id(person)
        inside = at_entra.get(id, set()) & names | set(at_okta[person.id].groups if person.id in at_okta else ())
        assert inside == set(person.groups) or person.status == "DEPROVISIONED", person.profile["login"]
        seen += id in at_entra
    assert seen > size / 2


def test_at_both_most_people_are_at_both_and_some_at_one_only() -> None:
    original = company(200)
    made = placed(original, ("okta", "entra"))
    at_okta, at_entra = {e.id for e in made.employees}, {u.id for u in made.tenant.users}
    places = Counter(
        ("okta" if e.id in at_okta else "") + ("entra" if tenant_id(e) in at_entra else "") for e in original.employees
    )
    assert set(places) == {"okta", "entra", "oktaentra"}
    assert places["oktaentra"] > 100
    assert min(places.values()) > 20


def test_at_both_nobody_in_particular_trouble_is_told_apart_by_two_sources() -> None:
    """Somebody who left before, or whose status only Okta has, is at one of the two."""
    original = company(400)
    made = placed(original, ("okta", "entra"))
    at_okta, at_entra = {e.id for e in made.employees}, {u.id for u in made.tenant.users}
    odd = [e for e in original.employees if e.status != "ACTIVE"]
    assert [e.id for e in odd if (e.id in at_okta) == (tenant_id(e) in at_entra)] == []


@pytest.mark.parametrize("place", WITH_ENTRA, ids="+".join)
def test_who_is_at_both_has_one_number_and_the_numbers_are_unique(place: tuple[str, ...]) -> None:
    made = placed(company(400), place)
    for numbers in (
        [u.properties["employeeId"] for u in made.tenant.users if "employeeId" in u.properties],
        [e.profile["employeeNumber"] for e in made.employees],
    ):
        assert len(numbers) == len(set(numbers))


def test_the_tenant_has_what_only_a_tenant_has() -> None:
    made = placed(company(200), ("entra",))
    directory = Directory(made)

    def inside(name: str) -> set[str]:
        return {directory.things[id].name for id in directory.members(directory.group(name))}

    assert {"Product Development", "Customer Experience"} <= inside("Engineering"), "nested"
    assert "Team Web" in inside("Product Development") & inside("Customer Experience"), "a diamond"
    assert "Release Rotation" in inside("Release Engineering"), "a circle"
    assert "Release Engineering" in inside("Release Rotation")
    kinds = {directory.things[id].type for id in directory.members(directory.group("Analytics Readers"))}
    assert kinds == {"user", "device", "servicePrincipal"}
    assert len(directory.deleted) > 1
    users = [thing.properties for thing in directory.things.values() if thing.type == "user"]
    deleted = [thing.properties for thing in directory.deleted.values()]
    assert Counter(user["userType"] for user in users)["Guest"] == 2
    assert Counter(user["accountEnabled"] for user in users).keys() == {True, False, None}
    assert [user["userPrincipalName"] for user in users if user["mail"] is None] != []
    reused = {u["userPrincipalName"] for u in users} & {d["userPrincipalName"][32:] for d in deleted}
    assert reused == {"robin.archer@acme.example"}


@pytest.mark.parametrize("place", WITH_ENTRA, ids="+".join)
def test_stories_tell_what_there_is(place: tuple[str, ...]) -> None:
    made = placed(company(400), place)
    kinds = {story.kind for story in made.stories}
    assert kinds >= OWN_KINDS
    assert kinds - OWN_KINDS <= {story.kind for story in company(400).stories}
    told = Counter(story.who for story in made.stories)
    assert [who for who, times in told.items() if times > 1] == []
    logins = {e.profile["login"] for e in made.employees} | {
        user.properties["userPrincipalName"] for user in made.tenant.users
    }
    accounts = {user.email for user in made.looker_users} | {user.username for user in made.teamcity_users}
    strangers = {story.who for story in made.stories} - logins - accounts
    assert strangers == {"Nightly Exports", "Portal Visitor"}, "service and embed accounts have no login"


@pytest.mark.parametrize("place", WITH_ENTRA, ids="+".join)
def test_the_policy_asks_the_sources_that_there_are(place: tuple[str, ...]) -> None:
    made = placed(company(12), place)
    policy = yaml.safe_load(made.policy)
    assert set(policy["must_see"]) == set(place)
    asked = [part for rule in policy["rules"] for part in leaves(rule["when"])]
    groups = [part for part in asked if "group" in part]
    if len(place) == 1:
        assert {part.get("source") for part in groups} == {None}
    else:
        assert [part["source"] for part in groups] == [list(place)] * len(groups)
    attributes = {part["attribute"] for part in asked if "attribute" in part}
    assert "employeeType" in attributes
    assert ("userType" in attributes) == ("okta" in place)


def leaves(when: dict[str, Any]) -> list[dict[str, Any]]:
    for word in ("all", "any", "not"):
        if word in when:
            parts = when[word] if word != "not" else [when[word]]
            return [leaf for part in parts for leaf in leaves(part)]
    return [when]


def test_okta_alone_is_as_it_always_was() -> None:
    made = company(60)
    assert placed(made, ("okta",)) is made


@pytest.mark.parametrize("place", [(), ("entra", "okta"), ("ldap",)], ids="+".join)
def test_a_place_that_there_is_not_is_refused(place: tuple[str, ...]) -> None:
    with pytest.raises(Misconfigured, match="can be at okta, entra, okta,entra"):
        placed(company(12), place)


@pytest.mark.parametrize("place", WITH_ENTRA, ids="+".join)
def test_a_world_serves_its_sources_and_says_where_they_are(place: tuple[str, ...]) -> None:
    with World.of(12, sources=place).serve() as world:
        assert list(world.urls) == [*place, "looker", "teamcity"]
        settings = yaml.safe_load(world.settings_yaml())
        assert list(settings["sources"]) == list(place)
        assert settings.get("joining") == ({"trust": ["employeeNumber"]} if len(place) > 1 else None)
        entra = settings["sources"]["entra"]
        assert entra == {
            "type": "entra", "tenant": world.entra.tenant, "client_id": world.entra.client_id,
            "client_secret": "${env:SANDBOX_ENTRA_SECRET}", "authority": f"{world.entra.url}/{world.entra.tenant}",
            "graph": world.entra.url, "ca_file": str(world.entra.ca_file),
        }  # fmt: skip
        assert world.environment()["SANDBOX_ENTRA_SECRET"] == world.entra.client_secret
        assert world.entra.client_secret not in world.settings_yaml()


def test_another_process_serves_the_same_tenant_and_takes_faults() -> None:
    with serve_next_door(12, sources=("entra",)) as neighbour:
        made = placed(company(12), ("entra",))
        assert neighbour.stories == made.stories
        users = neighbour.state("entra")["users"]
        assert {user["id"] for user in users} == {user.id for user in made.tenant.users if not user.deleted}
        neighbour.break_("entra", "GET /v1.0/users", "status", status=503)
        assert [fault["kind"] for fault in neighbour.faults("entra")] == ["status"]
        assert "okta" not in neighbour.urls
        authority = Path(neighbour.tenancy["ca_file"])
        with httpx.Client(verify=ssl.create_default_context(cafile=authority), trust_env=False) as client:
            assert client.get(f"{neighbour.urls['entra']}/v1.0/users").status_code == 503
    assert not authority.exists(), "it takes its certificates with it"
