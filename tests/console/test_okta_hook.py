"""Okta's event hooks: a proved call leaves a hint and nothing else, a forged or odd one leaves nothing at all."""

from __future__ import annotations

import datetime as dt
import hmac
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.console.conftest import Intake
from tests.console.outside import ANA, BEN, DESK, GRAPH, HR, OKTA, asked, count, deliver, delivery, event, rows, started
from worker.console import okta_hook
from worker.console.asked import LARGEST_HOOK
from worker.flows import hints
from worker.flows.site import Nudge

PATH = "/v1/hooks/okta/okta"
FORGED = {
    "nothing": {},
    "an empty one": {"authorization": ""},
    "another word": {"authorization": "secret"},
    "half of it": {"authorization": OKTA[: len(OKTA) // 2]},
    "one letter more": {"authorization": OKTA + "x"},
    "a scheme before it": {"authorization": f"Bearer {OKTA}"},
    "a program's token": {"authorization": HR},
    "another source's": {"authorization": GRAPH},
    "it in another header": {"x-authorization": OKTA},
}


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_whoever_does_not_have_the_secret_is_told_so_and_reaches_nothing(
    intake: Intake, method: str, headers: dict[str, str]
) -> None:
    before = count(intake.store)

    answer = intake.client.request(
        method, PATH, json=delivery(event("user.lifecycle.deactivate")),
        headers={**headers, "x-okta-verification-challenge": "c"},
    )  # fmt: skip

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert count(intake.store) == before
    assert intake.nudges == []


def test_a_secret_that_is_sent_twice_is_none(intake: Intake) -> None:
    answer = intake.client.get(PATH, headers=[("authorization", OKTA), ("authorization", OKTA)])

    assert answer.status_code == 401


@pytest.mark.parametrize("source", ["entra", "looker", "nobody", "okta%2f..%2fokta", "OKTA"])
def test_the_secret_opens_its_own_source_only(intake: Intake, source: str) -> None:
    answer = intake.client.post(f"/v1/hooks/okta/{source}", json=delivery(), headers={"authorization": OKTA})

    assert answer.status_code in (401, 404)


def test_every_secret_is_compared_in_a_time_that_tells_nothing(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for token in (HR, DESK, "x", HR[:-1] + "z"):
        compared.clear()
        intake.client.get("/v1/offboardings", headers={"authorization": f"Bearer {token}"})
        assert compared == [(32, 32)] * 3, "each of the three tokens, whichever it was, and by digests of one length"


# --- the handshake ----------------------------------------------------------------------------------------------------


def test_the_handshake_gives_back_the_challenge(intake: Intake) -> None:
    answer = intake.client.get(PATH, headers={"authorization": OKTA, "x-okta-verification-challenge": "a1-B2_c3"})

    assert (answer.status_code, answer.json()) == (200, {"verification": "a1-B2_c3"})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("challenge", ["", "x" * 513, "caf\xe9"])
def test_a_challenge_that_is_none_of_oktas_is_not_given_back(intake: Intake, challenge: str) -> None:
    headers = {b"authorization": OKTA.encode(), b"x-okta-verification-challenge": challenge.encode("latin-1")}

    answer = intake.client.get(PATH, headers=headers)

    assert answer.status_code == 400
    assert not challenge or challenge not in answer.text


# --- deliveries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", okta_hook.WEIGHTS)
def test_what_may_mean_that_somebody_leaves_is_a_hint_about_that_person(intake: Intake, kind: str) -> None:
    answer = deliver(intake.client, delivery(event(kind)))

    assert (answer.status_code, answer.content) == (204, b"")
    assert asked(intake.store) == [(ANA.login, "hook", "hook:okta")]
    ((reason, at),) = rows(intake.store, "SELECT reason, source_event_at FROM offboarding")
    assert kind in reason
    assert at == dt.datetime(2026, 11, 21, 11, 59, tzinfo=dt.UTC)


def test_the_nudge_leaves_when_all_is_written_down(intake: Intake) -> None:
    deliver(intake.client, delivery(event("user.lifecycle.deactivate")))
    deliver(intake.client, delivery())  # by the time that another call is answered, what follows the first is done

    ((id,),) = rows(intake.store, "SELECT id::text FROM offboarding")
    assert intake.nudges == [Nudge("offboard", (id,))]


IGNORED = {
    "another kind": event("user.lifecycle.create"),
    "a failure": event("user.lifecycle.deactivate", outcome={"result": "FAILURE", "reason": "x"}),
    "one that was skipped": event("user.lifecycle.deactivate", outcome={"result": "SKIPPED"}),
    "no outcome": event("user.lifecycle.deactivate", outcome=None),
    "an odd outcome": event("user.lifecycle.deactivate", outcome="SUCCESS"),
    "nobody": event("user.lifecycle.deactivate", target=[]),
    "no target": event("user.lifecycle.deactivate", target=None),
    "two users": event(
        "user.lifecycle.deactivate",
        target=[{"type": "User", "id": ANA.identity_id}, {"type": "User", "id": BEN.identity_id}],
    ),
    "an application's account": event("user.lifecycle.deactivate", target=[{"type": "AppUser", "id": ANA.identity_id}]),
    "an id that leads elsewhere": event("user.lifecycle.deactivate", "../../admin"),
    "an id with a quote": event("user.lifecycle.deactivate", "00u' OR 1=1 --"),
    "an id that is a list": event("user.lifecycle.deactivate", target=[{"type": "User", "id": [ANA.identity_id]}]),
    "no id of its own": event("user.lifecycle.deactivate", uuid=None),
    "an odd id of its own": event("user.lifecycle.deactivate", uuid="a\x00b"),
    "no moment": event("user.lifecycle.deactivate", at=""),
    "a moment without a zone": event("user.lifecycle.deactivate", at="2026-11-21T11:59:00"),
    "a moment before all others": event("user.lifecycle.deactivate", at="0001-01-01T00:00:00+14:00"),
    "no kind": event("x", eventType=None),
    "a kind that is a list": event("x", eventType=["user.lifecycle.deactivate"]),
}


@pytest.mark.parametrize("odd", IGNORED.values(), ids=IGNORED)
def test_what_is_none_is_ignored_and_holds_nothing_else_up(intake: Intake, odd: dict[str, Any]) -> None:
    answer = deliver(intake.client, delivery(odd, event("user.lifecycle.suspend", BEN.identity_id), "text", None))

    assert answer.status_code == 204
    assert [login for login, _, _ in asked(intake.store)] == [BEN.login]


def test_somebody_whom_we_have_never_read_is_nobody_to_offboard(intake: Intake) -> None:
    answer = deliver(intake.client, delivery(event("user.lifecycle.deactivate", "00ustranger0000000001")))

    assert answer.status_code == 204
    assert asked(intake.store) == []


def test_a_duplicate_makes_one_hint_however_it_comes(intake: Intake) -> None:
    one = event("user.lifecycle.deactivate")
    whole = delivery(one)

    for body in (whole, whole, delivery(one), delivery(one, one), delivery({**one, "published": whole["eventTime"]})):
        assert deliver(intake.client, body).status_code == 204

    assert rows(intake.store, f"SELECT count(*) FROM hint WHERE event_id = '{one['uuid']}'") == [(1,)]
    assert len(asked(intake.store)) == 1


def test_of_several_hints_about_one_person_the_heaviest_is_heeded_and_the_first_of_those(intake: Intake) -> None:
    events = [
        event("group.user_membership.remove", at="2026-11-21T10:00:00.000Z"),
        event("user.lifecycle.deactivate", at="2026-11-21T11:00:00.000Z"),
        event("user.lifecycle.deactivate", at="2026-11-21T10:30:00.000Z"),
        event("application.user_membership.remove", at="2026-11-21T10:10:00.000Z"),
        event("user.lifecycle.suspend", BEN.identity_id),
    ]
    random.shuffle(events)

    deliver(intake.client, delivery(*events))

    found = rows(intake.store, "SELECT source_event_at, reason FROM offboarding WHERE reason LIKE '%deactivate%'")
    assert found == [(dt.datetime(2026, 11, 21, 10, 30, tzinfo=dt.UTC), "okta: user.lifecycle.deactivate")]
    assert [login for login, _, _ in asked(intake.store)] == [ANA.login, BEN.login]
    assert rows(intake.store, "SELECT count(*) FROM hint WHERE said <> 'delivery'") == [(5,)]


def test_a_crowd_of_weak_hints_is_one_whole_read_and_who_certainly_leaves_is_asked_about_all_the_same(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "CROWD", 1)
    weak = [event("group.user_membership.remove", human.identity_id) for human in (ANA, BEN)]
    deliver(intake.client, delivery(weak[0]))
    assert [login for login, _, _ in asked(intake.store)] == [ANA.login], "few are asked about one by one"
    assert rows(intake.store, "SELECT name FROM job") == []

    deliver(intake.client, delivery(weak[1]))
    assert [login for login, _, _ in asked(intake.store)] == [ANA.login]
    due = [name for (name,) in rows(intake.store, "SELECT name FROM job ORDER BY name")]
    assert due == ["pull okta", "reconcile looker", "reconcile teamcity"]

    deliver(intake.client, delivery(event("user.lifecycle.deactivate", BEN.identity_id)))
    assert [login for login, _, _ in asked(intake.store)] == [ANA.login, BEN.login]


def test_an_event_of_tomorrow_has_happened_now_at_the_latest(intake: Intake) -> None:
    deliver(intake.client, delivery(event("user.lifecycle.deactivate", at="2031-01-01T00:00:00.000Z")))

    assert rows(intake.store, "SELECT source_event_at FROM offboarding") == [(intake.clock(),)]


def test_an_old_event_that_comes_after_a_newer_one_changes_nothing(intake: Intake) -> None:
    deliver(intake.client, delivery(event("user.lifecycle.deactivate", at="2026-11-21T11:00:00.000Z")))
    before = asked(intake.store)

    deliver(intake.client, delivery(event("user.lifecycle.suspend", at="2026-11-01T11:00:00.000Z")))

    assert asked(intake.store) == before


def test_some_hundred_events_fit_into_one_delivery(intake: Intake) -> None:
    padding = {"debugData": {"url": "x" * 2000}}
    many = [event("group.user_membership.remove", debugContext=padding) for _ in range(300)]
    assert 512 * 1024 < len(json.dumps(delivery(*many))) < LARGEST_HOOK

    assert deliver(intake.client, delivery(*many)).status_code == 204
    assert rows(intake.store, "SELECT count(*) FROM hint WHERE said <> 'delivery'") == [(300,)]
    assert len(asked(intake.store)) == 1


# --- odd bodies -------------------------------------------------------------------------------------------------------


def pieces() -> Iterator[bytes]:
    for _ in range(LARGEST_HOOK // 4096 + 1):
        yield b" " * 4096


DEEP = b'{"data":' * 5000 + b"1" + b"}" * 5000
REFUSED = {
    "nothing": (b"", 400),
    "no JSON": (b"{", 400),
    "a list": (b"[]", 400),
    "null": (b"null", 400),
    "NaN": (b'{"eventId": NaN}', 400),
    "no UTF-8": (b'{"eventId": "\xff"}', 400),
    "half a character": (b'{"eventId": "\\ud800"}', 400),
    "far too deep": (DEEP, 400),
    "no events": (json.dumps({"eventId": "x", "eventTime": "2026-11-21T11:59:30Z", "data": {}}).encode(), 400),
    "events that are one": (json.dumps(delivery() | {"data": {"events": {}}}).encode(), 400),
    "no id": (json.dumps(delivery() | {"eventId": ""}).encode(), 400),
    "an endless id": (json.dumps(delivery() | {"eventId": "x" * 65}).encode(), 400),
    "no time": (json.dumps(delivery() | {"eventTime": "yesterday"}).encode(), 400),
    "too large, in pieces": (pieces, 413),
}


@pytest.mark.parametrize(("body", "status"), REFUSED.values(), ids=REFUSED)
def test_an_odd_body_gets_a_plain_refusal(intake: Intake, body: Any, status: int) -> None:
    before = count(intake.store)

    answer = intake.client.post(
        PATH, content=body() if callable(body) else body,
        headers={"authorization": OKTA, "content-type": "application/json"},
    )  # fmt: skip

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]
    assert count(intake.store) == before


def test_a_body_that_is_too_large_is_not_waited_for(intake: Intake) -> None:
    assert b" 413 " in started(intake.client, PATH, LARGEST_HOOK + 1, Authorization=OKTA)


KINDS = {
    "a form": ({"content-type": "application/x-www-form-urlencoded"}, 415),
    "text": ({"content-type": "text/plain"}, 415),
    "unsaid": ({}, 415),
    "packed": ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
    "JSON of a charset": ({"content-type": "application/json; charset=utf-8"}, 204),
}


@pytest.mark.parametrize(("headers", "status"), KINDS.values(), ids=KINDS)
def test_a_delivery_is_json(intake: Intake, headers: dict[str, str], status: int) -> None:
    body = json.dumps(delivery()).encode()

    answer = intake.client.post(PATH, content=body, headers={"authorization": OKTA, **headers})

    assert answer.status_code == status


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_told_which_there_are(intake: Intake, method: str) -> None:
    answer = intake.client.request(method, PATH, headers={"authorization": OKTA})

    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    assert "POST" in answer.json()["detail"]


_LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
_ANY = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner), max_leaves=12
)
_KEYS = st.sampled_from(
    ["uuid", "published", "eventType", "outcome", "target", "eventId", "eventTime", "data", "events"]
)


@st.composite
def bent(draw: st.DrawFn) -> Any:
    """A right delivery, in which something has been put where something else belongs."""
    one = event("user.lifecycle.deactivate")
    whole = delivery(one)
    for _ in range(draw(st.integers(1, 3))):
        where: Any = draw(st.sampled_from([whole, one, one["target"][1]]))
        where[draw(_KEYS | st.sampled_from(["id", "type"]))] = draw(_ANY)
    return whole


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(body=bent() | _ANY)
def test_no_body_whatever_makes_it_stumble_or_touch_a_stranger(intake: Intake, body: Any) -> None:
    answer = intake.client.post(
        PATH, content=json.dumps(body).encode("utf-8", "replace"),
        headers={"authorization": OKTA, "content-type": "application/json"},
    )  # fmt: skip

    assert answer.status_code in (204, 400)
    assert {login for login, _, _ in asked(intake.store)} <= {ANA.login}


def test_without_hooks_there_is_no_such_route(api: httpx.Client) -> None:
    answers = [
        api.post(PATH, json=delivery(), headers={"authorization": OKTA}),
        api.get("/v1/offboardings?since=2026-11-21T08:00:00Z", headers={"authorization": f"Bearer {HR}"}),
    ]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert "docs/offboarding.md" in answers[0].json()["detail"]
