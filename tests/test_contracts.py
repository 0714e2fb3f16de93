"""The contract validator lets through what the vendors allow; each kind of breach is shown to be seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.contracts.validator import PREFIX, Contract, Violation
from worker.sandbox.server import Exchange, SandboxServer

JSON = {"content-type": "application/json"}
USER = {"id": "7", "first_name": "Ana", "email": "ana@acme.example", "is_disabled": False}
OKTA_USER = {
    "id": "00u1",
    "status": "ACTIVE",
    "created": "2026-01-01T00:00:00.000Z",
    "profile": {"login": "ana@acme.example", "email": "ana@acme.example", "firstName": "Ana", "costume": "cat"},
}


def breaches(
    vendor: str,
    method: str,
    target: str,
    sent: Any = None,
    status: int = 200,
    answered: Any = None,
    *,
    request_type: str = "application/json",
    answer_type: str = "application/json",
    faulted: str = "",
) -> list[str]:
    """What the validator says of one exchange; bodies are given as data, or as text for text/plain."""
    path, _, query = target.partition("?")
    seen: list[Violation] = []
    Contract(vendor, seen.append).observe(
        Exchange(
            1,
            vendor,
            method,
            PREFIX[vendor] + path,
            query,
            {"content-type": request_type},
            _bytes(sent, request_type),
            status,
            {"content-type": f"{answer_type};charset=utf-8"},
            _bytes(answered, answer_type),
            "r-1",
            faulted,
        )
    )
    return [f"{v.side}: {v.text}" for v in seen]


def _bytes(body: Any, kind: str) -> bytes:
    if body is None:
        return b""
    return json.dumps(body).encode() if kind == "application/json" else str(body).encode()


KEPT = {
    "Looker lists users": ("looker", "GET", "/users?limit=500&offset=0&sorts=id&fields=id,email", None, 200, [USER]),
    "Looker disables a user": ("looker", "PATCH", "/users/7", {"is_disabled": True}, 200, USER),
    "Looker clears a name": ("looker", "PATCH", "/users/7", {"first_name": None}, 200, USER),
    "Looker sets direct roles": ("looker", "PUT", "/users/7/roles", ["2"], 200, [{"id": "2", "name": "Admin"}]),
    "Looker adds a member": ("looker", "POST", "/groups/3/users", {"user_id": "7"}, 200, USER),
    "Looker forgets a token": ("looker", "GET", "/user", None, 401, {"message": "Requires authentication."}),
    "Looker removes a member": ("looker", "DELETE", "/groups/3/users/7", None, 204, None),
    "Looker leaves out what fields do not name": (
        "looker", "GET", "/alerts/search?fields=id,cron", None, 200, [{"id": "5", "cron": "0 * * * *"}],
    ),
    "Looker nests its fields": ("looker", "GET", "/user?fields=id,credentials_email(email)", None, 200, USER),
    "Okta lists users": ("okta", "GET", "/api/v1/users?limit=200&after=x", None, 200, [OKTA_USER]),
    "Okta shows a status that its own list lacks": (
        "okta", "GET", "/api/v1/users/00u1", None, 200, OKTA_USER | {"status": "ACTIVATING"},
    ),
    "Okta cuts the answer": (
        "okta", "GET", "/api/v1/users?fields=id,status,profile:(login,costume)", None, 200, [OKTA_USER],
    ),
    "Graph lists users": (
        "entra", "GET", "/v1.0/users?$select=id,accountEnabled,extension_0123456789abcdef0123456789abcdef_x&$top=9",
        None, 200, {"value": [{"id": "1", "accountEnabled": None}], "@odata.nextLink": "https://graph.example/v1.0/x"},
    ),
    "Graph lists members of every kind": (
        "entra", "GET", "/v1.0/groups/1/members?$select=id,mail,groupTypes,appId", None, 200, {"value": []},
    ),
    "Graph refuses": ("entra", "GET", "/v1.0/groups", None, 403, {"error": {"code": "X", "message": "no"}}),
    "TeamCity lists users": (
        "teamcity", "GET", "/app/rest/users?locator=count:100&fields=count,user(id,username,roles(role(roleId,scope)))",
        None, 200, {"count": 1, "user": [{"id": 7, "username": "ana", "roles": {"role": []}}]},
    ),
    "TeamCity clears roles": (
        "teamcity", "PUT", "/app/rest/users/id:7/roles", {"role": []}, 200, {"role": []},
    ),
    "TeamCity joins a group": (
        "teamcity", "POST", "/app/rest/users/id:7/groups", {"key": "QA"}, 200, {"key": "QA", "name": "QA"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("exchange", KEPT.values(), ids=KEPT.keys())
def test_what_the_contract_allows_passes(exchange: tuple[Any, ...]) -> None:
    assert breaches(*exchange) == []


BROKEN = {
    "a path that does not exist": (("looker", "GET", "/people", None, 200, []), "no such path"),
    "a method that does not exist": (("okta", "DELETE", "/api/v1/groups", None, 204, None), "no such path"),
    "a path outside the API": (("teamcity", "GET", "/rest/users", None, 200, {}), "no such path"),
    "a field that no user has": (
        ("teamcity", "DELETE", "/app/rest/users/id:7/token", None, 204, None), "no such path",
    ),
    "a misspelt query parameter": (("looker", "GET", "/users?limmit=5", None, 200, []), "limmit is not in"),
    "a query parameter of another type": (("looker", "GET", "/users?limit=all", None, 200, []), "no integer"),
    "a misspelt field name": (("looker", "GET", "/users?fields=id,e_mail", None, 200, []), "fields names e_mail"),
    "a misspelt field name deep down": (
        ("teamcity", "GET", "/app/rest/users?fields=user(roles(role(roleID)))", None, 200, {}), "fields names roleID",
    ),
    "a misspelt key, which Looker ignores": (
        ("looker", "PATCH", "/users/7", {"is_disable": True}, 200, USER), "is_disable",
    ),
    "a misspelt key, for which TeamCity drops every role": (
        ("teamcity", "PUT", "/app/rest/users/id:7/roles", {"roles": []}, 200, {"role": []}), "roles",
    ),
    "a misspelt key deep down": (
        ("teamcity", "PUT", "/app/rest/users/id:7/roles", {"role": [{"role": "X", "scope": "g"}]}, 200, {"role": []}),
        "role",
    ),
    "a read-only key": (("looker", "PATCH", "/users/7", {"email": "a@acme.example"}, 200, USER), "email"),
    "an id that is a number": (("looker", "PUT", "/users/7/roles", [2], 200, []), "2 is not of type"),
    "no body where one is due": (("looker", "PUT", "/users/7/roles", None, 200, []), "the body is missing"),
    "a body where none is due": (("looker", "DELETE", "/users/7", {}, 204, None), "a body where"),
    "an answer of another shape": (("looker", "GET", "/users", None, 200, {"users": []}), "is not of type"),
    "a required key that fields name": (
        ("looker", "GET", "/alerts/search?fields=id,cron", None, 200, [{"id": "5"}]), '"cron" is a required',
    ),
    "an answer with a number for an id": (("looker", "GET", "/user", None, 200, {"id": 7}), "7 is not of type"),
    "an answer with a date that is none": (
        ("okta", "GET", "/api/v1/users/00u1", None, 200, OKTA_USER | {"created": "yesterday"}), "date-time",
    ),
    "an answer with a status nobody knows": (
        ("okta", "GET", "/api/v1/users/00u1", None, 200, OKTA_USER | {"status": "RETIRED"}), "RETIRED",
    ),
    "a misspelt property, which Graph refuses, or leaves out": (
        ("entra", "GET", "/v1.0/users?$select=id,acountEnabled", None, 200, {"value": []}), "names acountEnabled",
    ),
    "a misspelt property of members": (
        ("entra", "GET", "/v1.0/groups/1/members?$select=id,upn", None, 200, {"value": []}), "$select names upn",
    ),
    "a call in a batch that is none": (
        ("entra", "POST", "/v1.0/$batch", {"requests": [{"id": "1", "url": "/users"}]}, 200, {
            "responses": []}), "is a required property",
    ),
    "an error of another shape": (("entra", "GET", "/v1.0/users", None, 403, {"message": "no"}), "error"),
    "an HTTP status that is not declared": (("looker", "POST", "/users", {}, 201, USER), "status 201"),
    "an answer without its body": (("looker", "GET", "/user", None, 200, None), "without a body"),
    "an answer with a body too many": (("looker", "DELETE", "/users/7", None, 204, "gone"), "with a body"),
}  # fmt: skip


@pytest.mark.parametrize(("exchange", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_breach_is_seen(exchange: tuple[Any, ...], said: str) -> None:
    found = breaches(*exchange)
    assert len(found) == 1
    assert said in found[0]


def test_json_sent_as_something_else_is_seen() -> None:
    assert breaches("looker", "PATCH", "/users/7", "is_disabled=true", answered=USER, request_type="text/plain") == [
        "request: content type text/plain is not application/json"
    ]


def test_a_page_instead_of_json_is_seen() -> None:
    assert breaches("okta", "GET", "/api/v1/groups", answered="<html>", answer_type="text/html") == [
        "answer: content type text/html is not application/json"
    ]


def test_a_broken_answer_is_forgiven_where_a_fault_was_injected_but_the_request_is_not() -> None:
    assert breaches("looker", "GET", "/user", status=500, answered={"x": 1}, faulted="status") == []
    assert len(breaches("looker", "GET", "/usr", status=500, answered={"x": 1}, faulted="status")) == 1


def test_a_request_that_the_server_refuses_harms_nobody() -> None:
    error = {"message": "Validation Failed", "documentation_url": "https://sandbox.invalid/"}
    assert breaches("looker", "POST", "/users", {"frist_name": "x"}, 422, error) == []


class LenientLooker(SandboxServer):
    """A server that answers anything, as a careless sandbox would."""

    name = "looker"

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/api/4.0/{rest:path}", self._anything, methods=["GET", "PATCH"])]

    async def _anything(self, _: Request) -> Response:
        return JSONResponse(USER)


@pytest.mark.off_contract("shows that every sandbox server carries its contract")
def test_every_sandbox_server_of_the_suite_is_observed() -> None:
    sandbox = LenientLooker()
    seen: list[Violation] = []
    sandbox.observers.append(Contract("looker", seen.append).observe)
    with sandbox.serve() as served, httpx.Client(base_url=served.url, trust_env=False) as client:
        client.patch("/api/4.0/users/7", json={"is_disable": True})
    assert len(sandbox.observers) == 2, "the suite's own observer, and the one of this test"
    assert [v.side for v in seen] == ["request"]


SUITE = """
import httpx
import pytest
from tests.test_contracts import LenientLooker

def call(key):
    with LenientLooker().serve() as served:
        httpx.patch(f"{served.url}/api/4.0/users/7", json={key: True}, trust_env=False)

def test_a_spelt_key():
    call("is_disabled")

def test_a_misspelt_key():
    call("is_disable")

@pytest.mark.off_contract("to see what the server makes of it")
def test_a_misspelt_key_on_purpose():
    call("is_disable")

@pytest.fixture(scope="module")
def prepared():
    call("is_disable")

def test_a_misspelt_key_in_a_shared_fixture(prepared):
    pass
"""


def test_a_breach_fails_the_test_that_made_the_call_and_no_other(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-p", "tests.contracts.plugin", "-q")
    result.assert_outcomes(passed=4, errors=2)
    for blamed in ("test_a_misspelt_key", "test_a_misspelt_key_in_a_shared_fixture"):
        result.stdout.fnmatch_lines([f"*ERROR at teardown of {blamed} *", "*request of PATCH /api/4.0/users/7*"])
