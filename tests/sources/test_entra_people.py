"""One record of Graph's at a time: what it positively says counts, and what is odd about it harms nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sources.entra_tenant import guid
from worker.core.identity import Standing
from worker.sources.entra.people import ALWAYS, People, property_of

ACTIVE, SUSPENDED, PENDING, HOLD, DEPARTED = Standing
SOUND: dict[str, Any] = {
    "id": guid(1), "accountEnabled": True, "userType": "Member", **dict.fromkeys(ALWAYS.values()),
    "userPrincipalName": "ana@acme.example", "mail": "ana@acme.example", "displayName": "Ana",
}  # fmt: skip
SOUND["userType"] = "Member"
LEFT_OUT = object()


def record(**changed: Any) -> dict[str, Any]:
    return {name: value for name, value in {**SOUND, **changed}.items() if value is not LEFT_OUT}


STANDINGS: dict[str, tuple[dict[str, Any], Standing, str]] = {
    # (what is different about the record, so the person is, because)
    "enabled": ({}, ACTIVE, ""),
    "disabled": ({"accountEnabled": False}, DEPARTED, ""),
    "neither enabled nor disabled": ({"accountEnabled": None}, HOLD, "says nothing of whether the account is enabled"),
    "not said to be enabled": ({"accountEnabled": LEFT_OUT}, HOLD, "says nothing of whether the account is enabled"),
    "enabled by a word": ({"accountEnabled": "true"}, HOLD, "says true of whether the account is enabled"),
    "disabled by a number": ({"accountEnabled": 0}, HOLD, "says 0 of whether the account is enabled"),
    "a guest": ({"userType": "Guest"}, HOLD, "a guest of this tenant"),
    "a guest in other capitals": ({"userType": "guest"}, HOLD, "a guest of this tenant"),
    "a guest who is disabled": ({"userType": "Guest", "accountEnabled": False}, DEPARTED, ""),
    "of no type, as very old ones are": ({"userType": None}, ACTIVE, ""),
    "of no type, and from outside": (
        {"userType": None, "userPrincipalName": "e_x.example#EXT#@acme.example"}, HOLD, "come from another directory",
    ),
    "a member from outside": ({"userPrincipalName": "e_x.example#EXT#@acme.example"}, ACTIVE, ""),
    "not said to be a member": ({"userType": LEFT_OUT}, HOLD, "does not say whether this is a member or a guest"),
    "without a login": ({"userPrincipalName": None}, HOLD, "there is no user principal name"),
    "with an empty login": ({"userPrincipalName": ""}, HOLD, "there is no user principal name"),
    "with a login that is none": ({"userPrincipalName": 7}, HOLD, "userPrincipalName is not text"),
    "without an address": ({"mail": None}, ACTIVE, ""),
    "with a number for a department": ({"department": 7}, HOLD, "the property department is not text"),
    "without a department that was asked for": ({"department": LEFT_OUT}, HOLD, "asked for department and left it out"),
    "disabled and odd": ({"accountEnabled": False, "department": 7, "userPrincipalName": None}, DEPARTED, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", STANDINGS)
def test_somebody_who_is(case: str) -> None:
    changed, standing, because = STANDINGS[case]
    found = People("entra", "hold", DEPARTED).identity(record(**changed))
    assert (found.id, found.standing) == (guid(1), standing)
    assert because in found.problem
    assert bool(because) == bool(found.problem)


def test_the_settings_say_what_a_disabled_account_and_a_guest_are() -> None:
    suspended, included = People("entra", "hold", SUSPENDED), People("entra", "include", DEPARTED)
    assert suspended.identity(record(accountEnabled=False)).standing is SUSPENDED
    assert suspended.deleted(record()).standing is DEPARTED
    guest = included.identity(record(userType="Guest"))
    assert (guest.standing, guest.attributes["userType"], guest.problem) == (ACTIVE, "Guest", "")


def test_a_suspended_person_with_an_odd_record_is_held() -> None:
    assert People("entra", "hold", SUSPENDED).identity(record(accountEnabled=False, department=7)).standing is HOLD


@pytest.mark.parametrize(
    ("name", "login"),
    [
        (f"{guid(1).replace('-', '')}ana@acme.example", "ana@acme.example"),
        (f"{guid(1).replace('-', '').upper()}ana@acme.example", "ana@acme.example"),
        ("ana@acme.example", "ana@acme.example"),
        (guid(1).replace("-", ""), guid(1).replace("-", "")),
        (None, ""),
    ],
    ids=["marked", "marked in capitals", "not marked", "nothing but the mark", "no name"],
)
def test_the_deleted_have_the_login_that_they_had(name: str | None, login: str) -> None:
    found = People("entra", "hold", SUSPENDED).deleted({"id": guid(1), "userPrincipalName": name})
    assert (found.login, found.attributes.get("login", ""), found.standing) == (login, login, DEPARTED)
    assert found.problem == ""


PROPERTIES = {
    "login": "userPrincipalName", "organization": "companyName", "jobTitle": "jobTitle", "city": "city",
    "costCenter": "employeeOrgData.costCenter", "employeeOrgData.division": "employeeOrgData.division",
    "onPremisesExtensionAttributes.extensionAttribute15": "onPremisesExtensionAttributes.extensionAttribute15",
    "onPremisesExtensionAttributes.extensionAttribute16": "", "onPremisesExtensionAttributes": "",
    "employeeOrgData.salary": "", "city.name": "", "shoeSize": "", "aboutMe": "", "signInActivity": "", "": "",
    "extension_0123456789abcdef0123456789abcdef_badge": "extension_0123456789abcdef0123456789abcdef_badge",
    "extension_badge": "", "city,passwordProfile": "", "city&$filter=x": "", "City": "",
}  # fmt: skip


@pytest.mark.parametrize("name", PROPERTIES)
def test_graph_is_asked_for_what_it_can_have_and_for_nothing_else(name: str) -> None:
    assert property_of(name) == PROPERTIES[name]
    asked = People("entra", "hold", DEPARTED, [name]).select.split(",")
    assert {"id", "accountEnabled", "userPrincipalName", "userType"} <= set(asked)
    assert not PROPERTIES[name] or PROPERTIES[name].partition(".")[0] in asked
    assert all(one.isidentifier() for one in asked)


def test_values_of_other_forms_become_text() -> None:
    asked = ["onPremisesSyncEnabled", "proxyAddresses", "employeeHireDate", "businessPhones", "streetAddress"]
    found = People("entra", "hold", DEPARTED, asked).identity(
        record(
            onPremisesSyncEnabled=True,
            proxyAddresses=["a", "b"],
            employeeHireDate=None,
            businessPhones=[],
            streetAddress={"line": 1},
        )
    )
    assert {name: found.attributes[name] for name in asked if name in found.attributes} == {
        "onPremisesSyncEnabled": "true", "proxyAddresses": ("a", "b"),
    }  # fmt: skip
    assert found.problem == "the property streetAddress is not text"
