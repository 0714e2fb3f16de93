"""How Okta's statuses and profiles, sound and odd, become identities."""

from __future__ import annotations

from typing import Any

import pytest

from worker.core.identity import Standing
from worker.sources.okta.people import People

PROFILE = {"login": "ada@example.com", "email": "ada@example.com", "firstName": "Ada", "lastName": "Lovelace"}


def record(status: Any = "ACTIVE", profile: Any = PROFILE, **more: Any) -> dict[str, Any]:
    return {"id": "00u1", "status": status, "lastUpdated": "2026-01-01T00:00:00.000Z", "profile": profile, **more}


def read(given: dict[str, Any], provisioned: Standing = Standing.ACTIVE, wanted: tuple[str, ...] = ()) -> Any:
    return People("okta", provisioned, wanted).identity(given)


@pytest.mark.parametrize(
    ("status", "standing"),
    [
        ("ACTIVE", Standing.ACTIVE),
        ("PASSWORD_EXPIRED", Standing.ACTIVE),
        ("LOCKED_OUT", Standing.ACTIVE),
        ("RECOVERY", Standing.ACTIVE),
        ("PROVISIONED", Standing.ACTIVE),
        ("STAGED", Standing.PENDING),
        ("SUSPENDED", Standing.SUSPENDED),
        ("DEPROVISIONED", Standing.DEPARTED),
    ],
)
def test_each_status_of_the_contract_has_a_standing(status: str, standing: Standing) -> None:
    identity = read(record(status))
    assert (identity.standing, identity.status, identity.problem) == (standing, status, "")


def test_who_never_signed_in_is_pending_where_the_settings_say_so() -> None:
    assert read(record("PROVISIONED"), Standing.PENDING).standing is Standing.PENDING


@pytest.mark.parametrize("status", ["ACTIVATING", "active", "", None, 7, ["ACTIVE"]])
def test_an_unknown_status_is_held(status: Any) -> None:
    identity = read(record(status))
    assert identity.standing is Standing.HOLD
    assert "does not know" in identity.problem


@pytest.mark.parametrize("towards", ["DEPROVISIONED", "PROVISIONED", "ANYTHING"])
def test_somebody_whose_status_is_being_changed_is_held(towards: str) -> None:
    identity = read(record("ACTIVE", transitioningToStatus=towards))
    assert identity.standing is Standing.HOLD
    assert f"from ACTIVE to {towards}" in identity.problem


def test_a_departure_is_believed_whatever_comes_next() -> None:
    assert read(record("DEPROVISIONED", transitioningToStatus="ACTIVE")).standing is Standing.DEPARTED


@pytest.mark.parametrize(
    ("profile", "problem"),
    [
        pytest.param(None, "no profile", id="no profile"),
        pytest.param(["login"], "no profile", id="a list for a profile"),
        pytest.param({}, "no login", id="an empty profile"),
        pytest.param({"email": "a@example.com"}, "no login", id="no login"),
        pytest.param({**PROFILE, "login": ""}, "no login", id="an empty login"),
        pytest.param({**PROFILE, "login": None}, "no login", id="a null login"),
        pytest.param({**PROFILE, "firstName": ""}, "firstName is empty", id="an empty first name"),
        pytest.param({**PROFILE, "lastName": ""}, "lastName is empty", id="an empty last name"),
        pytest.param({**PROFILE, "department": 12}, "department is not text", id="a number in a text attribute"),
        pytest.param({**PROFILE, "login": ["a", "b"]}, "login is not text", id="a list for a login"),
        pytest.param({**PROFILE, "email": {"work": "x"}}, "email is not text", id="an object for an address"),
        pytest.param({**PROFILE, "level": {"a": 1}}, "level is not text", id="an object in a wanted attribute"),
        pytest.param({**PROFILE, "level": [["a"], "b"]}, "level is not text", id="lists in a list"),
    ],
)
def test_an_odd_profile_is_held_with_its_problem_and_never_lost(profile: Any, problem: str) -> None:
    identity = read(record(profile=profile), wanted=("level",))
    assert identity.id == "00u1"
    assert identity.standing is Standing.HOLD
    assert problem in identity.problem
    assert isinstance(identity.login, str)


def test_a_leaver_with_an_odd_profile_is_a_leaver() -> None:
    identity = read(record("DEPROVISIONED", {"login": 7}))
    assert (identity.standing, identity.problem) == (Standing.DEPARTED, "")


def test_names_may_be_missing_or_null_as_the_contract_allows() -> None:
    identity = read(record(profile={**PROFILE, "firstName": None, "displayName": None}))
    assert identity.standing is Standing.ACTIVE
    assert "firstName" not in identity.attributes


def test_base_attributes_are_kept_and_others_only_when_wanted() -> None:
    profile = {**PROFILE, "department": "Ships", "shoeSize": "44", "badge": "B7"}
    identity = read(record(profile=profile), wanted=("badge",))
    assert identity.attributes == {**PROFILE, "department": "Ships", "badge": "B7"}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (44, "44"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        (["a", "b"], ("a", "b")),
        ([1, True], ("1", "true")),
        ("", None),
        ([], None),
        (None, None),
    ],
)
def test_wanted_attributes_are_text_or_tuples_of_text(value: Any, kept: Any) -> None:
    identity = read(record(profile={**PROFILE, "badge": value}), wanted=("badge",))
    assert identity.attributes.get("badge") == kept
    assert identity.standing is Standing.ACTIVE
