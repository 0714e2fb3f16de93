"""Whatever breaks, on whichever call: a read is whole, or it is an error that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.sources.entra_tenant import ENGINEERS, LOOKER, connected, guid, pull, tenant
from worker.errors import Denied, Misconfigured, Misshapen, Moved, TrueupError, Unavailable
from worker.ports import Gauge, Line
from worker.sandbox.entra import EntraSandbox
from worker.sources.entra import EntraSource

USERS, GROUPS, DELETED = "GET /v1.0/users", "GET /v1.0/groups", "GET /v1.0/directory/deletedItems/microsoft.graph.user"
MEMBERS = f"GET /v1.0/groups/{ENGINEERS}/members"
PRINCIPAL, ASSIGNED = "GET /v1.0/servicePrincipals(*", "GET /v1.0/servicePrincipals/*/appRoleAssignedTo"
Act = Callable[[EntraSource], object]


def read(source: EntraSource) -> object:
    return pull(source, "Engineers")


def person(source: EntraSource) -> object:
    return source.person(guid(1))


def absent(source: EntraSource) -> object:
    return source.person(guid(99))


def probe(source: EntraSource) -> object:
    return list(source.probe())


# name: (the call, how many of its kind pass before it breaks, what is asked of the connector)
CALLS: dict[str, tuple[str, int, Act]] = {
    "the count of people": ("GET /v1.0/users/$count", 0, read),
    "the count at the end": ("GET /v1.0/users/$count", 1, read),
    "the first page of groups": (GROUPS, 0, read),
    "the second page of groups": (GROUPS, 1, read),
    "the first page of people": (USERS, 0, read),
    "the second page of people": (USERS, 1, read),
    "the list of the deleted": (DELETED, 0, read),
    "one group": (f"GET /v1.0/groups/{ENGINEERS}", 0, read),
    "the first page of members": (MEMBERS, 0, read),
    "the second page of members": (MEMBERS, 1, read),
    "the application": (PRINCIPAL, 0, read),
    "its assignments": (ASSIGNED, 0, read),
    "many at once": ("POST /v1.0/$batch", 0, read),
    "one person": ("GET /v1.0/users/0*", 0, person),
    "one person among the deleted": ("GET /v1.0/directory/deletedItems/0*", 0, absent),
    "the probe of people": ("GET /v1.0/users/$count", 0, probe),
    "the probe of groups": (GROUPS, 0, probe),
    "the probe of members": ("GET /v1.0/groups/*/members", 0, probe),
}
DENIED = '{"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges."}}'
FAULTS: dict[str, tuple[dict[str, Any], type[TrueupError]]] = {
    "500 without a body": ({"kind": "status", "status": 500}, Unavailable),
    "503": ({"kind": "status", "status": 503, "headers": {"Retry-After": "0"}}, Unavailable),
    "504": ({"kind": "status", "status": 504}, Unavailable),
    "a web page": ({"kind": "html"}, Misshapen),
    "a redirect": ({"kind": "redirect", "text": "https://login.example.com/"}, Misconfigured),
    "half an answer": ({"kind": "truncate"}, Misshapen),
    "a lost connection": ({"kind": "drop"}, TrueupError),
    "429 for ever": ({"kind": "status", "status": 429}, Unavailable),
    "429 for ever, with a time": ({"kind": "status", "status": 429, "headers": {"Retry-After": "0"}}, Unavailable),
    "401": ({"kind": "status", "status": 401, "text": '{"error": {"code": "InvalidAuthenticationToken"}}'}, Denied),
    "403": ({"kind": "status", "status": 403, "text": DENIED}, Denied),
    "404 of a gateway": ({"kind": "status", "status": 404, "text": "no such page"}, Misshapen),
    "410": ({"kind": "status", "status": 410, "text": '{"error": {"code": "resyncRequired"}}'}, Moved),
    "501": ({"kind": "status", "status": 501, "text": '{"error": {"code": "NotImplemented"}}'}, Unavailable),
    "400 of a gateway": ({"kind": "status", "status": 400, "text": "bad"}, Misshapen),
}
_CUT_COUNT = {"the count of people", "the count at the end", "the probe of people"}


@pytest.fixture(scope="module")
def served() -> Iterator[EntraSandbox]:
    sandbox = tenant()
    with sandbox.serve():
        yield sandbox


@pytest.fixture
def entra(served: EntraSandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[EntraSandbox]:
    """Pages are small, so that there are some."""
    monkeypatch.setattr("worker.sources.entra.graph.PAGE", 6)
    yield served
    served.faults.clear()


def broken(call: str, fault: str) -> bool:
    """Half of a number may be a number, which then is too small to speak against anything."""
    return not (call in _CUT_COUNT and fault == "half an answer")


CASES = [(call, fault) for call in CALLS for fault in FAULTS if broken(call, fault)]


@pytest.mark.parametrize(("call", "fault"), CASES, ids=[f"{call}: {fault}" for call, fault in CASES])
def test_a_broken_call_is_an_error(entra: EntraSandbox, tmp_path: Path, call: str, fault: str) -> None:
    route, skip, act = CALLS[call]
    how, expected = FAULTS[fault]
    with connected(entra, tmp_path / "secret", attempts=2, app_roles=(LOOKER,)) as source:
        injected = entra.break_(route, skip=skip, **how)
        with pytest.raises(expected) as caught:
            act(source)
        token = source._graph.login.carried()
    assert injected.fired
    assert entra.client_secret not in str(caught.value)
    assert token
    assert token not in str(caught.value)
    assert "entra" in str(caught.value)


@pytest.mark.parametrize("call", [name for name, (_, _, act) in CALLS.items() if act is read])
@pytest.mark.parametrize("fault", ["500 without a body", "a lost connection", "429 for ever", "401", "410"])
def test_what_passes_is_tried_again_and_the_read_is_whole(
    entra: EntraSandbox, tmp_path: Path, call: str, fault: str
) -> None:
    if fault == "a lost connection" and call in _CUT_COUNT:
        return  # an empty answer is no number, and no connection was lost
    route, skip, _act = CALLS[call]
    how, _ = FAULTS[fault]
    with connected(entra, tmp_path / "secret", app_roles=(LOOKER,)) as source:
        expected = pull(source, "Engineers")
        injected = entra.break_(route, skip=skip, times=1, **how)
        reading = pull(source, "Engineers")
    assert injected.fired == 1
    assert reading.same_as(expected)
    assert not reading.failed


@pytest.mark.parametrize("route", [USERS, GROUPS, MEMBERS, DELETED, ASSIGNED])
@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.invalid/v1.0/users?$skiptoken=x",
        "{url}/beta/users?$skiptoken=x",
        "{url}/v1.0/../beta/users",
        "{url}/v1.0/%2e%2e/beta/users",
        "/v1.0/users?$skiptoken=x",
        "http://127.0.0.1/v1.0/users",
    ],
)
def test_a_next_link_that_leads_elsewhere_is_not_followed(
    entra: EntraSandbox, tmp_path: Path, route: str, link: str
) -> None:
    page = {"value": [], "@odata.nextLink": link.format(url=entra.url)}
    fault = entra.break_(route, "misshapen", text=orjson.dumps(page).decode())
    with connected(entra, tmp_path / "secret", app_roles=(LOOKER,)) as source, pytest.raises(Misshapen) as caught:
        pull(source, "Engineers")
    assert fault.fired == 1
    assert "another host" in str(caught.value) or "leads elsewhere" in str(caught.value)


PAGES: dict[str, object] = {
    "a list": [],
    "no value": {"@odata.context": "x"},
    "a value that is no list": {"value": {}},
    "a link that is no text": {"value": [], "@odata.nextLink": 7},
    "a row without an id": {"value": [{"displayName": "x"}]},
    "a row with an empty id": {"value": [{"id": ""}]},
    "a row that is none": {"value": [None]},
    "nothing": None,
}


@pytest.mark.parametrize("route", [USERS, GROUPS, MEMBERS, DELETED, ASSIGNED])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_no_page_when_it_is(entra: EntraSandbox, tmp_path: Path, route: str, page: str) -> None:
    fault = entra.break_(route, "misshapen", text=orjson.dumps(PAGES[page]).decode())
    with connected(entra, tmp_path / "secret", app_roles=(LOOKER,)) as source, pytest.raises(Misshapen):
        pull(source, "Engineers")
    assert fault.fired == 1


@pytest.mark.parametrize("route", [USERS, GROUPS, MEMBERS])
def test_pages_that_go_round_in_a_circle_are_an_error(entra: EntraSandbox, tmp_path: Path, route: str) -> None:
    link = f"{entra.url}{route.removeprefix('GET ')}?$top=6"
    page = {"value": [{"id": guid(1), "@odata.type": "#microsoft.graph.user"}], "@odata.nextLink": link}
    entra.break_(route, "misshapen", text=orjson.dumps(page).decode())
    with connected(entra, tmp_path / "secret") as source, pytest.raises(Misshapen, match="go round in a circle"):
        pull(source, "Engineers")


def test_a_list_without_anybody_is_never_believed(entra: EntraSandbox, tmp_path: Path) -> None:
    for route in (USERS, DELETED):
        entra.break_(route, "misshapen", text='{"value": []}')
    with connected(entra, tmp_path / "secret") as source, pytest.raises(Denied, match="lists nobody at all"):
        pull(source)


def test_headers_of_an_advanced_query_go_with_every_count(entra: EntraSandbox, tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []
    entra.observers.append(lambda x: asked.append((x.path, x.request_headers.get("consistencylevel", ""))))
    with connected(entra, tmp_path / "secret") as source:
        pull(source, "Engineers")
    entra.observers.clear()
    assert {
        level for path, level in asked if "$count" in path or ("microsoft.graph.user" in path and "Items" not in path)
    } == {"eventual"}


def test_graphs_warning_before_the_limit_slows_everybody_down(entra: EntraSandbox, tmp_path: Path) -> None:
    """Nothing is said below four fifths; above, a rest for what is beyond, unless Graph itself says how long."""
    gauges: list[Gauge | None] = []
    line = Line(after=lambda _bucket, _status, gauge: gauges.append(gauge))
    said = {"x-ms-throttle-limit-percentage": "1.3"}
    error = '{"error": {"code": "TooManyRequests", "message": "Too many requests."}}'
    entra.break_(USERS, "status", status=429, text=error, headers=said, times=1)
    entra.break_(GROUPS, "status", status=429, text=error, headers={**said, "Retry-After": "0"}, times=1)
    with connected(entra, tmp_path / "secret", line=line) as source:
        pull(source)
    told = [gauge for gauge in gauges if gauge is not None]
    assert Gauge(-1, 0, 0.0) in told
    assert [round(gauge.reset) for gauge in told if gauge.reset] == [5]
