"""Whatever the database or Redis does, whoever tells us something has an answer in three seconds; nothing is lost."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import httpx
import psycopg
import pytest

from tests.conftest import Database, dsn
from tests.console.conftest import Intake, serving
from tests.console.outside import (
    ANA,
    HR,
    OKTA,
    Human,
    ask,
    asked,
    count,
    deliver,
    delivery,
    event,
    item,
    look,
    notify,
    populate,
    rows,
    started,
)
from tests.flows.rig import Clock
from worker import logs
from worker.console import lane, server
from worker.flows.site import Nudge
from worker.settings import Loaded
from worker.store.session import Store

LEAVES = "user.lifecycle.deactivate"
_WAITS = "datname = current_database() AND wait_event_type = 'Lock'"
IN_TIME = 3.0


@contextmanager
def held(database: Database, table: str) -> Iterator[None]:
    """Somebody holds a table, and gives it back at the end."""
    with psycopg.connect(dsn(database.owner_url)) as connection:
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield
        connection.rollback()


def timed(call: httpx.Response) -> tuple[int, float]:
    return call.status_code, call.elapsed.total_seconds()


@pytest.mark.parametrize("table", ["hint", "offboarding"])
def test_a_database_that_is_slow_is_said_in_time_and_the_same_delivery_counts_later(intake: Intake, table: str) -> None:
    body = delivery(event(LEAVES))
    with held(intake.database, table):
        status, seconds = timed(deliver(intake.client, body))
        alive = intake.client.get("/healthz").status_code
        waiting = rows(intake.store, f"SELECT count(*) FROM pg_stat_activity WHERE {_WAITS}")
    assert (status, alive) == (503, 200)
    assert waiting == [(0,)], "nobody who has been given an answer still waits, to write it down after all"
    assert seconds < IN_TIME

    answer = deliver(intake.client, body)

    assert answer.status_code == 204
    assert asked(intake.store) == [(ANA.login, "hook", "hook:okta")]


def test_graph_is_told_in_time_too(intake: Intake) -> None:
    with held(intake.database, "subscription"):
        status, seconds = timed(notify(intake.client, item()))

    assert status == 503
    assert seconds < IN_TIME


@pytest.fixture
def silent() -> Iterator[str]:
    """A database that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"postgresql://trueup:pw123@127.0.0.1:{listener.getsockname()[1]}/books?connect_timeout=4"


@pytest.mark.parametrize("how", ["silent", "gone"])
def test_a_database_that_says_nothing_holds_nobody_up(told_of: Loaded, clock: Clock, silent: str, how: str) -> None:
    url = silent if how == "silent" else "postgresql://trueup:pw123@127.0.0.1:1/books"
    with closing(Store(url)) as store, serving(server.watching(told_of, store, clock)) as client:
        answers = [deliver(client, delivery(event(LEAVES))) for _ in range(2)]
        unhurt = deliver(client, delivery(event("user.lifecycle.create")))
        refused = deliver(client, delivery(event(LEAVES)), "wrong")

    for answer in answers:
        assert answer.status_code == 503
        assert answer.elapsed.total_seconds() < IN_TIME
        assert answer.headers["retry-after"]
        assert "pw123" not in answer.text
        assert "127.0.0.1" not in answer.text
    assert (unhurt.status_code, refused.status_code) == (204, 401)


def test_those_whom_nobody_waits_for_any_more_take_no_further_threads(
    told_of: Loaded, clock: Clock, silent: str
) -> None:
    before = threading.active_count()
    with closing(Store(silent)) as store, serving(server.watching(told_of, store, clock)) as client:
        slow = [deliver(client, delivery(event(LEAVES))) for _ in range(2)]
        crowd = _at_once([lambda: deliver(client, delivery(event(LEAVES)))] * 12)
        assert {answer.status_code for answer in (*slow, *crowd)} == {503}
        assert max(answer.elapsed.total_seconds() for answer in crowd) < IN_TIME
        assert threading.active_count() - before < 10, "the server's own, and no more than four that hang"
        began = time.monotonic()
        assert look(client, "/v1/offboardings/1").status_code == 404, "programs have threads of their own"
        assert time.monotonic() - began < 0.5


def _at_once(calls: Sequence[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [answer.result() for answer in [pool.submit(call) for call in calls]]


def test_fifty_who_are_told_of_at_the_same_time_are_all_taken_down(intake: Intake) -> None:
    many = [Human(f"p{n}@acme.example", f"00u00000000000many{n:03d}") for n in range(50)]
    with intake.store.begin() as session:
        for human in many:
            human.enter(session)

    def told(human: Human) -> Callable[[], httpx.Response]:
        return lambda: deliver(intake.client, delivery(event(LEAVES, human.identity_id)))

    answers = _at_once([told(human) for human in many])

    assert {answer.status_code for answer in answers} == {204}
    assert count(intake.store)["offboarding"] == 50


def test_a_request_of_a_program_that_finds_no_database_is_sent_again_with_its_key(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.flows.requests.HASTE", 0.3)
    body = {"person": ANA.login, "reason": "left"}
    with held(intake.database, "offboarding"):
        assert ask(intake.client, body, key="order-4711").status_code == 503

    assert ask(intake.client, body, key="order-4711").status_code == 202
    assert len(asked(intake.store)) == 1


def test_a_redis_that_hangs_holds_no_answer_up(told_of: Loaded, intake: Intake) -> None:
    go_on, began = threading.Event(), threading.Event()

    def hang(_: Nudge) -> None:
        began.set()
        go_on.wait(30)

    with serving(server.watching(told_of, intake.store, intake.clock, send=hang)) as client:
        answer = deliver(client, delivery(event(LEAVES)))
        assert began.wait(5)
        after = deliver(client, delivery(event("user.lifecycle.suspend")))
        go_on.set()

    assert [one.status_code for one in (answer, after)] == [204, 204]
    assert answer.elapsed.total_seconds() < IN_TIME


def test_a_database_of_another_shape_is_written_nothing(
    fresh_database: Database, told_of: Loaded, store: Store, clock: Clock
) -> None:
    populate(store)
    with psycopg.connect(dsn(fresh_database.owner_url)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with serving(server.watching(told_of, store, clock)) as client:
        assert deliver(client, delivery(event(LEAVES))).status_code == 503
    assert asked(store) == []


def test_whoever_could_alter_the_trail_takes_nothing_down(
    fresh_database: Database, told_of: Loaded, store: Store, clock: Clock
) -> None:
    populate(store)
    with closing(Store(fresh_database.owner_url)) as owners, serving(server.watching(told_of, owners, clock)) as client:
        assert deliver(client, delivery(event(LEAVES))).status_code == 503
    assert asked(store) == []


def test_a_body_that_does_not_come_is_waited_for_a_moment(intake: Intake) -> None:
    began = time.monotonic()

    assert b" 408 " in started(intake.client, "/v1/hooks/okta/okta", 100, Authorization=OKTA)
    assert time.monotonic() - began < IN_TIME


def test_a_body_that_breaks_off_is_nobodys_fault_of_ours(intake: Intake) -> None:
    host, port = str(intake.client.base_url.host), intake.client.base_url.port
    with socket.create_connection((host, port or 80)) as connection:
        connection.sendall(
            f"POST /v1/offboardings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {HR}\r\nIdempotency-Key: 12345678\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{".encode()
        )
    assert intake.client.get("/healthz").status_code == 200


def test_logs_name_nobody_and_hold_no_secret(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    out = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logs.configure("api", stream=out)
        deliver(intake.client, delivery(event(LEAVES)))
        deliver(intake.client, delivery(event(LEAVES)), "wrong-" + OKTA)
        deliver(intake.client, delivery(event(LEAVES, "ana@acme.example")))
        notify(intake.client, item(), {**item(), "clientState": "x"})
        notify(intake.client, item(resource="Users/ana@acme.example"))
        id = ask(intake.client, {"person": ANA.login, "reason": "left because of Ben"}).json()["id"]
        look(intake.client, f"/v1/offboardings/{id}")
        ask(intake.client, {"person": "nobody@acme.example", "reason": "left"})
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)

    text = out.getvalue()
    events = [json.loads(line)["event"] for line in text.splitlines()]
    assert {"hook taken", "hook refused", "event not understood"} <= set(events)
    for word in ("ana@", "Ana", "Ruiz", "Ben", "nobody@", OKTA, HR, ANA.identity_id):
        assert word not in text, word


def test_a_lane_whose_job_never_began_keeps_no_place() -> None:
    import anyio
    from starlette.exceptions import HTTPException

    async def tried() -> list[int]:
        found, narrow = [], lane.Lane(1, 0.0)
        for _ in range(3):
            try:
                await narrow.run(lambda: None)
            except HTTPException as error:
                found.append(error.status_code)
        wide = lane.Lane(1, 5.0)
        assert [await wide.run(lambda: 7) for _ in range(3)] == [7, 7, 7]
        return found

    assert set(anyio.run(tried)) <= {503}
