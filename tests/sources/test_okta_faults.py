"""Whatever breaks, on whichever call: a read is whole, or it is an error that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sources.okta_org import ENGINEERING, company, connected, pull, user_id
from worker.errors import Denied, Misconfigured, Misshapen, TrueupError, Unavailable
from worker.sandbox.okta import OktaSandbox
from worker.sources.okta import OktaSource

USERS, GROUPS = "GET /api/v1/users", "GET /api/v1/groups"
Act = Callable[[OktaSource], object]


def read(source: OktaSource) -> object:
    return pull(source, "Engineering")


def person(source: OktaSource) -> object:
    return source.person(user_id(1))


def instance(source: OktaSource) -> object:
    return source.instance()


def probe(source: OktaSource) -> object:
    return list(source.probe())


# name: (the call, how many of its kind pass before it breaks, what is asked of the connector)
CALLS: dict[str, tuple[str, int, Act]] = {
    "the list of groups": (GROUPS, 0, read),
    "the first page of people": (USERS, 0, read),
    "the second page of people": (USERS, 1, read),
    "the list of leavers": (USERS, 2, read),
    "the first page of members": (f"GET /api/v1/groups/{ENGINEERING}/users", 0, read),
    "the second page of members": (f"GET /api/v1/groups/{ENGINEERING}/users", 1, read),
    "one person": ("GET /api/v1/users/00u*", 0, person),
    "the org": ("GET /.well-known/okta-organization", 0, instance),
    "the token's owner": ("GET /api/v1/users/me", 0, instance),
    "the probe of people": (USERS, 0, probe),
    "the probe of groups": (GROUPS, 0, probe),
}
FAULTS: dict[str, tuple[dict[str, Any], type[TrueupError]]] = {
    "500 without a body": ({"kind": "status", "status": 500}, Unavailable),
    "a web page": ({"kind": "html"}, Misshapen),
    "a redirect": ({"kind": "redirect", "text": "https://login.example.com/"}, Misconfigured),
    "half an answer": ({"kind": "truncate"}, Misshapen),
    "something else": ({"kind": "misshapen"}, Misshapen),
    "a lost connection": ({"kind": "drop"}, Unavailable),
    "429 for ever": ({"kind": "status", "status": 429}, Unavailable),
    "401": ({"kind": "status", "status": 401, "text": '{"errorCode": "E0000011"}'}, Denied),
    "403": ({"kind": "status", "status": 403, "text": '{"errorCode": "E0000006"}'}, Denied),
    "404 of a gateway": ({"kind": "status", "status": 404, "text": "no such page"}, TrueupError),
    "too slow": ({"kind": "slow", "seconds": 0.6}, Unavailable),
}


@pytest.fixture(scope="module")
def org() -> Iterator[OktaSandbox]:
    sandbox = OktaSandbox(company())
    with sandbox.serve():
        yield sandbox


@pytest.fixture
def okta(org: OktaSandbox) -> Iterator[OktaSandbox]:
    yield org
    org.faults.clear()
    org.links = "self-first"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
def test_a_broken_call_is_an_error(okta: OktaSandbox, tmp_path: Path, call: str, fault: str) -> None:
    route, skip, act = CALLS[call]
    how, expected = FAULTS[fault]
    timeout = 0.3 if fault == "too slow" else 30
    with connected(okta.url, tmp_path / "token", okta, attempts=2, timeout=timeout) as source:
        injected = okta.break_(route, skip=skip, **how)
        with pytest.raises(expected) as caught:
            act(source)
    assert injected.fired
    assert okta.token not in str(caught.value)
    assert "okta" in str(caught.value)


@pytest.mark.parametrize("call", [name for name, (_, _, act) in CALLS.items() if act is read])
@pytest.mark.parametrize("fault", ["500 without a body", "a lost connection", "429 for ever"])
def test_what_passes_is_tried_again_and_the_read_is_whole(
    okta: OktaSandbox, tmp_path: Path, call: str, fault: str
) -> None:
    route, skip, _act = CALLS[call]
    how, _ = FAULTS[fault]
    with connected(okta.url, tmp_path / "token", okta) as source:
        expected = pull(source, "Engineering")
        injected = okta.break_(route, skip=skip, times=1, **how)
        reading = pull(source, "Engineering")
    assert injected.fired == 1
    assert reading.people == expected.people
    assert sorted(reading.memberships) == sorted(expected.memberships)


@pytest.mark.parametrize("route", [USERS, f"GET /api/v1/groups/{ENGINEERING}/users"])
def test_a_next_link_to_another_host_is_not_followed(okta: OktaSandbox, tmp_path: Path, route: str) -> None:
    fault = okta.break_(route, "foreign-next")
    with (
        connected(okta.url, tmp_path / "token", okta) as source,
        pytest.raises(Misshapen, match=r"elsewhere\.invalid"),
    ):
        pull(source, "Engineering")
    assert fault.fired


@pytest.mark.parametrize(
    ("status", "route", "words"),
    [
        (401, USERS, "create another one and put it where `token` points"),
        (403, USERS, r"may view users \(Read-only Administrator\)"),
        (403, GROUPS, "may view groups and their members"),
    ],
)
def test_a_refusal_names_the_right_to_add(
    okta: OktaSandbox, tmp_path: Path, status: int, route: str, words: str
) -> None:
    fault = okta.break_(route, "status", status=status, text='{"errorSummary": "You may not", "errorCode": "E0000006"}')
    with connected(okta.url, tmp_path / "token", okta) as source, pytest.raises(Denied, match=words) as caught:
        pull(source)
    assert "E0000006 You may not" in str(caught.value)
    assert fault.fired == 1  # a refusal is not repeated
