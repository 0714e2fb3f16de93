"""`/v1/offboardings`: who may ask, how it is asked once, and how much each caller sees."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.console import outside
from tests.console.conftest import Intake, serving
from tests.console.outside import ANA, BEN, BOARD, DESK, HR, OKTA, Human, ask, asked, count, look, rows, said
from tests.settings_fakes import loaded
from worker.console import server
from worker.console.keyring import Allowance
from worker.core.receipt import Fate, Line, Receipt, as_data
from worker.errors import Misconfigured
from worker.flows.site import Nudge
from worker.store.session import Store

PATH = "/v1/offboardings"
NOBODYS = "6a0ae992-ef5e-4f9d-b92f-f27d13a1a98d"
ASKED = {"person": ANA.login, "reason": "left today"}


def test_what_is_asked_is_written_down_in_the_tokens_name_and_a_worker_is_nudged(intake: Intake) -> None:
    answer = ask(intake.client, ASKED)
    id = answer.json()["id"]

    assert answer.status_code == 202
    assert answer.json() == {"id": id, "location": f"{PATH}/{id}"}
    assert answer.headers["location"] == f"{PATH}/{id}"
    assert asked(intake.store) == [(ANA.login, "api", "api:hr")]
    shown = look(intake.client, answer.headers["location"]).json()
    assert shown == {
        "id": id, "person": str(ANA.person_id), "state": "asked", "why": "", "trigger": "api", "reason": "left today",
        "actor": "api:hr", "forced": False, "requested_at": "2026-11-21T12:00:00+00:00", "confirmed_at": None,
        "marked_at": None, "locked_at": None, "verified_at": None, "closed_at": None, "receipt": None,
    }  # fmt: skip
    assert intake.nudges == [Nudge("offboard", (id,))]


NAMES = {
    "login": ANA.login, "LOGIN": ANA.login.upper(), "id at the source": ANA.identity_id, "our id": str(ANA.person_id),
    "login between spaces": f" {ANA.login} ",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_person_is_named_by_login_or_by_id(intake: Intake, name: str) -> None:
    assert ask(intake.client, {**ASKED, "person": name}).status_code == 202
    assert [login for login, _, _ in asked(intake.store)] == [ANA.login]


# --- who may ----------------------------------------------------------------------------------------------------------

STRANGERS = {
    "nothing": {},
    "an empty one": {"authorization": ""},
    "no token": {"authorization": "Bearer"},
    "another one": {"authorization": f"Bearer {'z' * 40}"},
    "a token cut short": {"authorization": f"Bearer {HR[:-1]}"},
    "another scheme": {"authorization": f"Basic {HR}"},
    "the token alone": {"authorization": HR},
    "a vendor's secret": {"authorization": f"Bearer {OKTA}"},
    "two tokens": {"authorization": f"Bearer {HR} {DESK}"},
}


@pytest.mark.parametrize("headers", STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_learns_nothing_but_that(intake: Intake, headers: dict[str, str]) -> None:
    before = count(intake.store)
    known = ask(intake.client, ASKED).json()["id"]
    after = count(intake.store)

    answers = [
        intake.client.post(PATH, json=ASKED, headers={**headers, "idempotency-key": "12345678"}),
        intake.client.post(PATH, content=b"x", headers=headers),
        intake.client.get(f"{PATH}/{known}", headers=headers),
        intake.client.get(f"{PATH}/{uuid.uuid4()}", headers=headers),
        intake.client.get(f"{PATH}?since=2026-11-21T00:00:00Z", headers=headers),
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1, "every stranger is told the same"
    assert answers[0].headers["www-authenticate"] == "Bearer"
    assert not [words for answer in answers for words in said(answer) if HR in words or known in words]
    assert before != after == count(intake.store)


def test_to_force_wants_a_token_that_may(intake: Intake) -> None:
    refused = ask(intake.client, {**ASKED, "force": True})
    forced = ask(intake.client, {**ASKED, "force": True}, DESK)

    assert refused.status_code == 403
    assert "api.may_force" in refused.json()["detail"]
    assert forced.status_code == 202
    assert look(intake.client, forced.headers["location"], DESK).json()["forced"] is True


# --- once -------------------------------------------------------------------------------------------------------------


def test_the_same_request_again_is_the_same_answer(intake: Intake) -> None:
    first = ask(intake.client, ASKED, key="order-4711")
    before = count(intake.store)

    again = ask(intake.client, {"reason": "left today", "force": False, "person": ANA.login}, key="order-4711")

    assert (again.status_code, again.json(), again.headers["location"]) == (
        202, first.json(), first.headers["location"],
    )  # fmt: skip
    assert count(intake.store) == before


def test_the_same_key_with_another_request_is_refused(intake: Intake) -> None:
    ask(intake.client, ASKED, key="order-4711")
    before = count(intake.store)

    for other in ({**ASKED, "person": BEN.login}, {**ASKED, "reason": "left yesterday"}):
        answer = ask(intake.client, other, key="order-4711")
        assert answer.status_code == 422
        assert "Send a new key" in answer.json()["detail"]
    assert count(intake.store) == before


def test_keys_are_each_callers_own(intake: Intake) -> None:
    ask(intake.client, ASKED, HR, key="order-4711")

    assert ask(intake.client, {**ASKED, "person": BEN.login}, DESK, key="order-4711").status_code == 202


def test_of_many_that_come_at_once_with_one_key_one_is_done(intake: Intake) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(intake.client, ASKED, key="order-4711"), range(4)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert count(intake.store)["api_request"] == 1


def test_what_came_to_nothing_may_be_asked_again_with_its_key(intake: Intake) -> None:
    eva = Human("eva@acme.example", "00u000000000000000e5")
    assert ask(intake.client, {**ASKED, "person": eva.login}, key="order-4711").status_code == 422
    with intake.store.begin() as session:
        eva.enter(session)

    assert ask(intake.client, {**ASKED, "person": eva.login}, key="order-4711").status_code == 202


# --- what each sees ---------------------------------------------------------------------------------------------------


def test_a_token_sees_what_it_asked_for_and_one_that_sees_all_the_rest_too(intake: Intake) -> None:
    hrs, desks = ask(intake.client, ASKED, HR).json(), ask(intake.client, {**ASKED, "person": BEN.login}, DESK).json()

    assert look(intake.client, hrs["location"], HR).status_code == 200
    assert look(intake.client, desks["location"], HR).status_code == 404
    assert look(intake.client, desks["location"], BOARD).status_code == 200
    for token, ids in ((HR, [hrs["id"]]), (DESK, [desks["id"]]), (BOARD, [hrs["id"], desks["id"]])):
        listed = look(intake.client, f"{PATH}?since=2026-11-21T00:00:00Z", token).json()
        assert sorted(one["id"] for one in listed["offboardings"]) == sorted(ids)
        assert listed["next"] is None


def test_who_asks_second_for_the_same_person_sees_the_one_that_is_open(intake: Intake) -> None:
    first = ask(intake.client, ASKED, HR).json()

    assert ask(intake.client, ASKED, DESK).json() == first
    assert look(intake.client, first["location"], DESK).status_code == 200


WHEN = dt.datetime(2026, 11, 21, 9, tzinfo=dt.UTC)
LOGIN = "ana.ruiz@acme.example"
RECEIPT = Receipt(
    "7", "9", f"Ana Ruiz <{LOGIN}>", "api", "left today", "api:hr", "api:hr and operator:ida", False, "", "closed",
    WHEN, verified_at=WHEN, closed_at=WHEN, entries=((7, "step ended"),),
    lines=(
        Line("looker", "12", LOGIN, "account", "the account itself", Fate.GONE),
        Line("looker", "12", LOGIN, "schedule 3", "Ana Ruiz weekly", Fate.HANDED_OVER, "to Bo Long <bo@acme>"),
        Line("looker", "12", LOGIN, "unseen api", "API logins", Fate.UNTIL, "they end", WHEN + dt.timedelta(hours=1)),
        Line("looker", "13", "ANA.RUIZ@acme.example", "account", "the account itself", Fate.MANUAL,
             hands=(f"Find out whose account 13 ({LOGIN}) is.",)),
    ),
)  # fmt: skip


def test_a_receipt_says_to_each_caller_what_is_theirs_to_know(intake: Intake) -> None:
    path = ask(intake.client, ASKED, HR).json()["location"]
    ask(intake.client, {**ASKED, "reason": "another"}, DESK)
    with intake.store.begin() as session:
        session.connection().exec_driver_sql(f"UPDATE offboarding SET receipt = '{json.dumps(as_data(RECEIPT))}'")

    hrs, desks, boards = (look(intake.client, path, token).json() for token in (HR, DESK, BOARD))

    decisions = {"decided_by", "entries"}
    assert boards["receipt"]["decided_by"] == "api:hr and operator:ida"
    assert set(boards["receipt"]) - set(hrs["receipt"]) == decisions
    assert set(hrs["receipt"]) - set(desks["receipt"]) == {"reason", "asked_by"}
    assert [(one["actor"], one["reason"]) for one in (hrs, desks, boards)] == [
        ("api:hr", "left today"), (None, None), ("api:hr", "left today"),
    ]  # fmt: skip
    listed = look(intake.client, f"{PATH}?since=2026-11-21T00:00:00Z", DESK).json()["offboardings"]
    assert [(one["actor"], one["reason"]) for one in listed] == [(None, None)]


def test_a_receipt_names_nobody_and_says_what_has_ended_since(intake: Intake) -> None:
    path = ask(intake.client, ASKED, HR).json()["location"]
    with intake.store.begin() as session:
        session.connection().exec_driver_sql(f"UPDATE offboarding SET receipt = '{json.dumps(as_data(RECEIPT))}'")

    answer = look(intake.client, path, BOARD)

    assert not [name for name in ("ana", "ruiz", "bo long", "bo@") if name in answer.text.lower()]
    lines = {(one["account_id"], one["key"]): one for one in answer.json()["receipt"]["lines"]}
    assert lines["13", "account"]["hands"] == ["Find out whose account 13 (account 13) is."]
    assert lines["12", "schedule 3"]["because"] == "to another account"
    assert lines["12", "unseen api"]["fate"] == "ended by itself"


@pytest.mark.parametrize("id", [NOBODYS, "1", "x" * 200, "%00", "..%2f..%2fhealthz"])
def test_what_is_not_there_is_not_there(intake: Intake, id: str) -> None:
    answer = look(intake.client, f"{PATH}/{id}", BOARD)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_list_goes_on_where_it_ended(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.flows.requests.SHOWN", 1)
    for human in (ANA, BEN):
        ask(intake.client, {**ASKED, "person": human.login})
        intake.clock.advance(minutes=1)

    first = look(intake.client, f"{PATH}?since=2026-11-21T00:00:00Z").json()
    second = look(intake.client, first["next"]).json()

    found = [one["person"] for page in (first, second) for one in page["offboardings"]]
    assert found == [str(ANA.person_id), str(BEN.person_id)]
    assert second["next"] is None


def test_what_was_asked_for_before_is_left_out(intake: Intake) -> None:
    ask(intake.client, ASKED)

    assert look(intake.client, f"{PATH}?since=2026-11-21T12:00:01Z").json()["offboardings"] == []
    assert len(look(intake.client, f"{PATH}?since=2026-11-21T13:00:00%2B01:00").json()["offboardings"]) == 1


SINCE = ["", "?since=yesterday", "?since=2026-11-21T12:00:00", "?since=2026-11-21", "?before=2026-11-21T12:00:00Z",
         "?since=2026-11-21T12:00:00Z&since=2026-11-21T12:00:00Z", "?since=0001-01-01T00:00:00%2B14:00"]  # fmt: skip


@pytest.mark.parametrize("query", SINCE)
def test_a_list_is_asked_for_with_a_moment(intake: Intake, query: str) -> None:
    answer = look(intake.client, PATH + query)

    assert answer.status_code == 422
    assert "2026-11-21T08:00:00Z" in answer.json()["detail"]


# --- what to write instead --------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Any, str]] = {
    "no person": ({"reason": "left"}, "`person` is a text of 1 to 320 characters"),
    "no reason": ({"person": ANA.login}, "`reason` is a text of 1 to 500 characters"),
    "an empty reason": ({**ASKED, "reason": " \t "}, "`reason` is a text"),
    "an endless reason": ({**ASKED, "reason": "x" * 501}, "`reason` is a text"),
    "a reason that moves the cursor": ({**ASKED, "reason": "x\x1b[2J"}, "on one line"),
    "a person with a NUL": ({**ASKED, "person": "ana\x00"}, "on one line"),
    "a person that is a number": ({**ASKED, "person": 7}, "`person` is a text"),
    "a word as force": ({**ASKED, "force": "yes"}, "`force` is true or false"),
    "null as force": ({**ASKED, "force": None}, "`force` is true or false"),
    "another key": ({**ASKED, "persons": []}, "There is no key 'persons'"),
    "nobody": ({**ASKED, "person": "nobody@acme.example"}, "nobody whom Trueup has read"),
    "a pattern": ({**ASKED, "person": "%"}, "nobody whom Trueup has read"),
}


@pytest.mark.parametrize(("body", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_what_to_write(intake: Intake, body: Any, expected: str) -> None:
    before = count(intake.store)

    answer = ask(intake.client, body)

    assert answer.status_code == 422
    assert expected in answer.json()["detail"]
    assert answer.json()["title"] == "Unprocessable Content" or answer.json()["title"] == "Unprocessable Entity"
    assert count(intake.store) == before


def test_two_people_of_one_name_are_told_apart_by_id(intake: Intake) -> None:
    two = [Human("two@acme.example", "00u00000000000000two1"), Human("two@acme.example", "00u00000000000000two2")]
    with intake.store.begin() as session:
        for one in two:
            one.enter(session)

    detail = ask(intake.client, {**ASKED, "person": "two@acme.example"}).json()["detail"]

    assert "true of 2 people" in detail
    assert str(two[1].person_id) in detail
    assert ask(intake.client, {**ASKED, "person": str(two[1].person_id)}).status_code == 202


@pytest.mark.parametrize("key", ["", "short", "x" * 129, "with a blank", "umlaut-\xe4\xe4\xe4\xe4"])
def test_a_request_has_a_key(intake: Intake, key: str) -> None:
    headers = {b"authorization": f"Bearer {HR}".encode(), b"idempotency-key": key.encode("latin-1")}

    answer = intake.client.post(PATH, json=ASKED, headers=headers)

    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()["detail"]


def _pieces() -> Iterator[bytes]:
    for _ in range(65):
        yield b" " * 1024


BODIES: dict[str, tuple[bytes | Callable[[], Iterator[bytes]], dict[str, str], int]] = {
    "no JSON": (b"{", {}, 400),
    "a list": (b"[]", {}, 400),
    "too deep": (b"[" * 5000, {}, 400),
    "a form": (b"person=ana", {"content-type": "application/x-www-form-urlencoded"}, 415),
    "packed": (b"x", {"content-encoding": "gzip"}, 415),
    "too large, in pieces": (_pieces, {}, 413),
}


@pytest.mark.parametrize(("body", "headers", "status"), BODIES.values(), ids=BODIES)
def test_an_odd_body_gets_a_plain_refusal(intake: Intake, body: Any, headers: dict[str, str], status: int) -> None:
    answer = intake.client.post(
        PATH, content=body() if callable(body) else body,
        headers={
            "content-type": "application/json", "authorization": f"Bearer {HR}", "idempotency-key": "12345678",
            **headers,
        },
    )  # fmt: skip

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", [PATH, f"{PATH}/{NOBODYS}"])
def test_other_methods_are_told_which_there_are(intake: Intake, method: str, path: str) -> None:
    answer = intake.client.request(method, path, headers={"authorization": f"Bearer {HR}"})

    assert answer.status_code == 405
    assert answer.headers["allow"].replace(" ", "").split(",").count("GET") == 1


_VALUE = st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.lists(st.text(max_size=5), max_size=2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    body=st.fixed_dictionaries({}, optional={"person": _VALUE | st.just(ANA.login), "reason": _VALUE, "force": _VALUE})
)
def test_no_body_whatever_makes_it_stumble(intake: Intake, body: dict[str, Any]) -> None:
    answer = intake.client.post(
        PATH, content=json.dumps(body).encode(),
        headers={
            "content-type": "application/json", "authorization": f"Bearer {DESK}", "idempotency-key": str(uuid.uuid4())
        },
    )  # fmt: skip

    assert answer.status_code in (202, 400, 422, 429)
    assert {login for login, _, _ in asked(intake.store)} <= {ANA.login}


# --- how often --------------------------------------------------------------------------------------------------------


def test_each_token_may_ask_so_many_times_in_a_minute(tmp_path: Path, intake: Intake) -> None:
    few = loaded(tmp_path, outside.INTAKE.replace("per_minute: 6000", "per_minute: 3"), outside.CONNECTORS)
    with serving(server.watching(few, intake.store, intake.clock)) as client:
        answers = [look(client, f"{PATH}/{uuid.uuid4()}") for _ in range(4)]
        other = look(client, f"{PATH}/{uuid.uuid4()}", DESK)

    assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
    assert 0 < int(answers[3].headers["retry-after"]) <= 20
    assert other.status_code == 404


def test_an_allowance_comes_back_evenly_and_is_never_more_than_a_minutes() -> None:
    now = [0.0]
    allowance = Allowance(60, lambda: now[0])

    assert [allowance.wait("hr") for _ in range(61)] == [0.0] * 60 + [1.0]
    now[0] = 1.0
    assert [allowance.wait("hr"), allowance.wait("hr")] == [0.0, 1.0]
    now[0] = 3600.0
    assert [allowance.wait("hr") for _ in range(61)] == [0.0] * 60 + [1.0]


# --- secrets that will not do -----------------------------------------------------------------------------------------

UNFIT = {
    "none": ("HR", None, "api.tokens.hr: ${env:HR}: the environment variable HR is not set"),
    "a short one": ("HR", "x" * 31, "api.tokens.hr: ${env:HR} must hold 32 to 128 characters"),
    "an endless one": ("GRAPH_HOOK", "x" * 129, "hooks.entra.secret: ${env:GRAPH_HOOK} must hold 32 to 128"),
    "one with a blank": ("OKTA_HOOK", "x" * 20 + " " + "y" * 20, "hooks.okta.secret: ${env:OKTA_HOOK} must hold"),
    "the same for two": ("DESK", HR, "api.tokens.desk: the same secret stands at"),
}


@pytest.mark.parametrize(("variable", "value", "expected"), UNFIT.values(), ids=UNFIT)
def test_it_does_not_start_with_a_secret_that_will_not_do(
    told_of: Any, down: Store, clock: Any, monkeypatch: pytest.MonkeyPatch,
    variable: str, value: str | None, expected: str,
) -> None:  # fmt: skip
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)

    with pytest.raises(Misconfigured) as caught:
        server.watching(told_of, down, clock)

    assert expected in str(caught.value)
    assert "trueup.yaml:" in str(caught.value)
    assert value is None or value not in str(caught.value)


def test_no_answer_is_kept_by_anybody(intake: Intake) -> None:
    answers: list[httpx.Response] = [
        ask(intake.client, ASKED), look(intake.client, f"{PATH}?since=2026-11-21T00:00:00Z"), look(intake.client, PATH)
    ]  # fmt: skip

    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_key_of_a_request_is_kept_with_what_it_asked_for_as_a_digest_alone(intake: Intake) -> None:
    ask(intake.client, ASKED, key="order-4711")

    ((whole,),) = rows(intake.store, "SELECT row_to_json(api_request)::text FROM api_request")
    assert ANA.login not in whole
    assert "left today" not in whole
