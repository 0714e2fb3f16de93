"""Microsoft Graph's notifications: a hint is what carries our secret and is of our order and our tenant; no more is."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.console.conftest import Intake
from tests.console.outside import (
    ANA,
    CEM,
    GRAPH,
    HR,
    OKTA,
    OLD_GRAPH,
    ORDER,
    TENANT,
    alarm,
    asked,
    count,
    item,
    notify,
    rows,
    started,
)
from worker.console.asked import LARGEST_HOOK
from worker.flows.site import Nudge

PATH = "/v1/hooks/graph/entra"
GROUP = "6b1a3f0e-0000-4000-8000-0000000000f1"


def validate(client: httpx.Client, token: str, path: str = PATH, **more: Any) -> httpx.Response:
    return client.post(path, params={"validationToken": token}, headers={"content-type": "text/plain"}, **more)


# --- the handshake ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token", ["Validation: Testing client application reachability for Request-Id: 1-2", "a+b%c&d"]
)
def test_the_handshake_gives_back_the_token_decoded_as_plain_text(intake: Intake, token: str) -> None:
    answer = validate(intake.client, token)

    assert (answer.status_code, answer.text) == (200, token)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "token", ["", "x" * 2049, "<script>alert(1)</script>", "a\r\nset-cookie: b=c", "caf\xe9", "\x00"]
)
def test_what_is_no_token_is_not_given_back(intake: Intake, token: str) -> None:
    answer = validate(intake.client, token)

    assert answer.status_code == 400
    assert not token or token not in answer.text
    assert "set-cookie" not in answer.headers


def test_the_handshake_needs_no_database_and_a_source_that_is_told_that_way(intake: Intake) -> None:
    before = count(intake.store)

    answers = [validate(intake.client, "t", f"/v1/hooks/graph/{source}") for source in ("okta", "looker", "nobody")]

    assert {answer.status_code for answer in answers} == {404}
    assert intake.client.get(PATH, params={"validationToken": "t"}).status_code == 405
    assert count(intake.store) == before


# --- changes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["updated", "deleted", "created"])
@pytest.mark.parametrize("resource", ["Users/{}", "users/{}", "users('{}')", "/users/{}"])
def test_a_change_is_a_hint_about_that_person(intake: Intake, change: str, resource: str) -> None:
    answer = notify(intake.client, item(change=change, resource=resource.format(CEM.identity_id.upper())))

    assert (answer.status_code, answer.content) == (202, b"")
    assert asked(intake.store) == [(CEM.login, "hook", "hook:entra")]
    assert f"users {change}" in str(rows(intake.store, "SELECT reason FROM offboarding"))


def test_while_the_secret_is_changed_the_old_one_counts(intake: Intake) -> None:
    assert notify(intake.client, item(clientState=OLD_GRAPH)).status_code == 202
    assert len(asked(intake.store)) == 1


def test_whoever_is_taken_out_of_a_group_is_looked_at_and_nobody_else(intake: Intake) -> None:
    told = item(GROUP, resource=f"Groups/{GROUP}")
    told["resourceData"]["members@delta"] = [
        {"id": CEM.identity_id, "@removed": {"reason": "deleted"}}, {"id": str(uuid.uuid4())}, "x", {"@removed": {}},
    ]  # fmt: skip

    assert notify(intake.client, told).status_code == 202
    assert [login for login, _, _ in asked(intake.store)] == [CEM.login]


def test_a_group_that_is_gone_has_the_source_read(intake: Intake) -> None:
    notify(intake.client, item(GROUP, "deleted", resource=f"groups/{GROUP}"))

    assert rows(intake.store, "SELECT name, state FROM job") == [("pull entra", "waiting")]


FORGED: dict[str, dict[str, Any]] = {
    "no clientState": item(clientState=None),
    "an empty one": item(clientState=""),
    "another word": item(clientState="secret"),
    "half of it": item(clientState=GRAPH[:20]),
    "one in a list": item(clientState=[GRAPH]),
    "another source's": item(clientState=OKTA),
    "a program's token": item(clientState=HR),
    "an alarm without it": alarm("missed", clientState="x"),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_whoever_does_not_have_the_secret_is_told_so_and_reaches_nothing(
    intake: Intake, forged: dict[str, Any]
) -> None:
    before = count(intake.store)

    answer = notify(intake.client, forged, forged)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert (count(intake.store), intake.nudges) == (before, [])


def test_each_item_proves_itself(intake: Intake) -> None:
    forged = item(ANA.identity_id, clientState="x")

    answer = notify(intake.client, forged, item(), {**alarm("missed"), "clientState": "x"})

    assert answer.status_code == 202
    assert [login for login, _, _ in asked(intake.store)] == [CEM.login]
    assert count(intake.store)["job"] == 0


STRAY: dict[str, dict[str, Any]] = {
    "of another order": item(subscriptionId=str(uuid.uuid4())),
    "of another tenant": item(tenantId=str(uuid.uuid4())),
    "of no tenant": item(tenantId=None),
    "of an order that is no id": item(subscriptionId=f"{ORDER}' OR '1'='1"),
    "about an id that leads elsewhere": item(resource="Users/../admin"),
    "about an address": item("cem@acme.example"),
    "about two": item(resourceData={"id": str(uuid.uuid4())}),
    "about nobody": item(resourceData=None),
    "about something else": item(resource=f"devices/{CEM.identity_id}"),
    "of a kind that there is not": item(change="renamed"),
    "an alarm that there is not": alarm("exploded"),
    "an alarm that is a list": alarm("x", lifecycleEvent=["missed"]),
    "an alarm of another order": alarm("subscriptionRemoved", subscriptionId=str(uuid.uuid4())),
    "an alarm of another tenant": alarm("missed", tenantId=str(uuid.uuid4())),
}


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY)
def test_what_is_not_ours_or_not_understood_changes_nothing(intake: Intake, stray: dict[str, Any]) -> None:
    before = count(intake.store)

    assert notify(intake.client, stray).status_code == 202
    assert count(intake.store) == before


def test_a_copy_that_comes_soon_after_is_no_second_hint_and_a_later_change_is_one(intake: Intake) -> None:
    for _ in range(3):
        notify(intake.client, item(), item())
    assert rows(intake.store, "SELECT count(*) FROM hint") == [(1,)]

    intake.clock.advance(minutes=1)
    notify(intake.client, item())

    assert rows(intake.store, "SELECT count(*) FROM hint") == [(2,)]
    assert len(asked(intake.store)) == 1


# --- alarms -----------------------------------------------------------------------------------------------------------

ALARMS = {
    "reauthorizationRequired": {"subscribe entra"},
    "subscriptionRemoved": {"subscribe entra", "pull entra"},
    "missed": {"pull entra"},
}


@pytest.mark.parametrize("event", ALARMS)
def test_an_alarm_has_the_order_seen_to_or_the_source_read_at_once(intake: Intake, event: str) -> None:
    assert notify(intake.client, alarm(event)).status_code == 202
    assert notify(intake.client, alarm(event, organizationId=TENANT, tenantId=None)).status_code == 202
    validate(intake.client, "by then what follows the first is done")

    assert {name for (name,) in rows(intake.store, "SELECT name FROM job")} == ALARMS[event]
    tasks = {"subscribe entra": "subscribe", "pull entra": "read"}
    assert set(intake.nudges) == {Nudge(tasks[job], (job,)) for job in ALARMS[event]}
    ((vendor_id, due),) = rows(
        intake.store, f"SELECT vendor_id, renew_at <= '{intake.clock().isoformat()}' FROM subscription"
    )
    assert vendor_id == ("" if event == "subscriptionRemoved" else ORDER)
    assert due is {"reauthorizationRequired": True, "subscriptionRemoved": None, "missed": False}[event]


def test_an_alarm_that_sounds_on_and_on_has_the_source_read_now_and_then(intake: Intake) -> None:
    for _ in range(5):
        notify(intake.client, alarm("missed"))
        with intake.store.begin() as session:
            session.connection().exec_driver_sql("UPDATE job SET state = 'done', finished_at = now()")
        intake.clock.advance(seconds=20)

    assert rows(intake.store, "SELECT count(*) FROM job") == [(1,)]


# --- odd bodies -------------------------------------------------------------------------------------------------------

REFUSED = {
    "nothing": (b"", 400),
    "no JSON": (b"[", 400),
    "a list": (b"[]", 400),
    "no items": (b'{"value": []}', 400),
    "one item": (json.dumps({"value": item()}).encode(), 400),
    "a thousand and one": (json.dumps({"value": [{}] * 1001}).encode(), 400),
    "items that are none": (b'{"value": [1, null, [], "x"]}', 401),
    "far too deep": (b'{"value":' * 3000 + b"1" + b"}" * 3000, 400),
}


@pytest.mark.parametrize(("body", "status"), REFUSED.values(), ids=REFUSED)
def test_an_odd_body_gets_a_plain_refusal(intake: Intake, body: bytes, status: int) -> None:
    before = count(intake.store)

    answer = intake.client.post(PATH, content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert count(intake.store) == before


def test_a_body_that_is_too_large_is_not_waited_for(intake: Intake) -> None:
    assert b" 413 " in started(intake.client, PATH, LARGEST_HOOK + 1)


def test_an_item_that_is_deeper_than_any_is_not_understood(intake: Intake) -> None:
    deep: Any = 1
    for _ in range(600):
        deep = [deep]

    assert notify(intake.client, item(more=deep)).status_code == 202
    assert asked(intake.store) == []


_LEAF = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
_ANY = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner), max_leaves=8
)


@st.composite
def bent(draw: st.DrawFn) -> Any:
    one = draw(st.sampled_from([item(), alarm("missed"), item(GROUP, "deleted", resource=f"Groups/{GROUP}")]))
    one = json.loads(json.dumps(one))
    for _ in range(draw(st.integers(1, 3))):
        one[draw(st.sampled_from(sorted(one)))] = draw(_ANY)
    return {"value": [one]}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(body=bent() | _ANY)
def test_no_body_whatever_makes_it_stumble_or_touch_a_stranger(intake: Intake, body: Any) -> None:
    answer = intake.client.post(
        PATH, content=json.dumps(body).encode("utf-8", "replace"), headers={"content-type": "application/json"}
    )

    assert answer.status_code in (202, 400, 401)
    assert {login for login, _, _ in asked(intake.store)} <= {CEM.login}
