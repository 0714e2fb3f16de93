"""A bad setting or policy gets one clear sentence; people become TeamCity's fields without a call."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from worker.core.identity import Identity, Person, Reference, Standing
from worker.targets import teamcity
from worker.targets.teamcity import Grants, Settings
from worker.targets.teamcity.wire import error_text

GOOD = {"type": "teamcity", "url": "https://ci.example.com/teamcity/", "token": "${env:TEAMCITY_TOKEN}"}

BAD_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "plain http": ({"url": "http://ci.example.com"}, "insecure_http: true"),
    "the API's address": ({"url": "https://ci.example.com/app/rest"}, "without /app/rest"),
    "no scheme": ({"url": "ci.example.com"}, "whole address"),
    "credentials in the address": ({"url": "https://me:pw@ci.example.com"}, "server's address only"),
    "the token itself": ({"token": "eyJ0eXAi"}, "by reference"),
    "a property with a slash": ({"mark_property": "a/b"}, "pattern"),
    "a misspelt key": ({"creates": "on"}, "Extra inputs"),
    "another word for on": ({"create": "yes please"}, "'off' or 'on'"),
    "no time to wait": ({"timeout": 0}, "greater than 0"),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_a_bad_setting_is_told_in_a_sentence(case: str) -> None:
    change, words = BAD_SETTINGS[case]
    with pytest.raises(ValidationError, match=words):
        Settings.model_validate(GOOD | change)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="https"),
        pytest.param({"url": "http://127.0.0.1:8111"}, id="plain http to this machine"),
        pytest.param({"url": "http://ci.intern", "insecure_http": True}, id="plain http on purpose"),
    ],
)
def test_a_good_setting_is_taken(change: dict[str, Any]) -> None:
    assert not Settings.model_validate(GOOD | change).url.endswith("/")


@pytest.mark.parametrize(("written", "meant"), [(True, "on"), (False, "off"), ("on", "on"), ("off", "off")])
def test_on_and_off_are_what_yaml_makes_of_them(written: object, meant: str) -> None:
    assert Settings.model_validate(GOOD | {"create": written}).create == meant


def test_creating_is_off_unless_asked_for() -> None:
    assert Settings.model_validate(GOOD).create == "off"


def test_every_setting_is_described() -> None:
    described = {name: field.description for name, field in Settings.model_fields.items() if name != "type"}
    assert all(described.values()), described


def test_grants_become_references() -> None:
    grants = Grants.model_validate(
        {
            "roles": [{"role": "PROJECT_DEVELOPER", "project": "Web"}, {"role": "AGENT_MANAGER", "everywhere": True}],
            "groups": ["DEV"],
        }
    )
    assert grants.references() == (
        Reference("role", "PROJECT_DEVELOPER", "p:Web"),
        Reference("role", "AGENT_MANAGER", "g"),
        Reference("group", "DEV"),
    )


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"role": "X"}, id="no place"),
        pytest.param({"role": "X", "project": "Web", "everywhere": True}, id="two places"),
        pytest.param({"role": "X", "project": "Web", "everywhere": False, "scope": "g"}, id="an unknown key"),
        pytest.param({"role": "", "project": "Web"}, id="no role"),
        pytest.param({"role": "X", "project": ""}, id="an empty project"),
    ],
)
def test_a_role_without_exactly_one_place_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Grants.model_validate({"roles": [given]})


def person(*identities: dict[str, str]) -> Person:
    made = tuple(
        Identity("okta", f"00u{n}", Standing.ACTIVE, "ACTIVE", given.pop("login", ""), "", given)
        for n, given in enumerate(identities)
    )
    return Person("p", Standing.ACTIVE, made)


@pytest.fixture
def connector(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TEAMCITY_TOKEN", "t")
    found = teamcity.connect("ci", Settings.model_validate(GOOD), lambda: None)
    yield found
    found.close()


LOGINS = {
    "as it is": ([{"login": "ana@acme.example"}], "ana@acme.example"),
    "lower case, as TeamCity compares": ([{"login": "Ana@Acme.example"}], "ana@acme.example"),
    "the first identity that has one": ([{"login": ""}, {"login": "second"}], "second"),
    "none": ([{}], ""),
}


@pytest.mark.parametrize("case", LOGINS)
def test_the_login_is_the_sources(connector: Any, case: str) -> None:
    identities, login = LOGINS[case]
    assert connector.login(person(*[dict(i) for i in identities])) == login


PROFILES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "the display name": ({"displayName": "Ana Ž", "firstName": "A", "email": "a@x"}, {"name": "Ana Ž", "email": "a@x"}),
    "first and last name": ({"firstName": "Ana", "lastName": "Ž"}, {"name": "Ana Ž"}),
    "one name": ({"lastName": "Ž", "email": "a@x.io"}, {"name": "Ž", "email": "a@x.io"}),
    "nothing is not said": ({}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", PROFILES)
def test_the_profile_is_the_persons(connector: Any, case: str) -> None:
    attributes, profile = PROFILES[case]
    assert connector.profile(person(dict(attributes))) == profile


ERRORS = {
    "old text": (
        "Responding with error, status code: 404 (Not Found).\nDetails: jetbrains.buildServer.server.rest.errors."
        "NotFoundException: User not found\nCould not find the entity requested.",
        "User not found Could not find the entity requested.",
    ),
    "old text of a fault": (
        "Error has occurred during request processing, status code: 500 (Internal Server Error).\n"
        "Details: java.lang.NullPointerException",
        "java.lang.NullPointerException",
    ),
    "JSON": ('{"errors":[{"message":"one","additionalMessage":"x"},{"message":"two"}]}', "one; two"),
    "JSON of somebody else": ('{"detail": "no"}', '{"detail": "no"}'),
    "JSON that is cut": ('{"errors":[{"mess', '{"errors":[{"mess'),
    "XML": ("<errors><error><message>no such thing</message></error></errors>", "no such thing"),
    "a web page": ("<!doctype html><html><body>Sign in</body></html>", "a web page"),
    "plain words": ("403 Forbidden: failed CSRF check", "403 Forbidden: failed CSRF check"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize("case", ERRORS)
def test_every_style_of_error_gives_its_message(case: str) -> None:
    content, said = ERRORS[case]
    assert error_text(content.encode()) == said
