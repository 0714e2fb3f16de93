"""The API process over real HTTP: what it says of itself, to whom, and what it keeps to itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import httpx
import psycopg
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.conftest import Database, dsn
from tests.console.conftest import serving
from tests.flows.rig import Clock
from worker.console import app as console
from worker.console import server
from worker.console.app import application
from worker.console.asked import LARGEST_BODY
from worker.console.probes import Probe
from worker.errors import Misconfigured, Unavailable
from worker.settings import Loaded
from worker.store.session import Store


def checks(answer: httpx.Response) -> dict[str, tuple[bool, str]]:
    return {check["check"]: (check["ok"], check["says"]) for check in answer.json()["checks"]}


def test_it_is_ready_when_the_database_answers_and_every_job_has_run(
    api: httpx.Client, jobs_done: Callable[[], None]
) -> None:
    jobs_done()

    answer = api.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["ready"] is True
    assert checks(answer) == {
        "database": (True, "reachable, and at the revision that this Trueup needs"),
        "jobs": (True, "each of 11 jobs has succeeded within 3 intervals"),
    }


def test_without_its_database_it_lives_and_is_not_ready(down: Store, settings: Loaded, clock: Clock) -> None:
    with serving(server.watching(settings, down, clock)) as client:
        alive, ready, scraped = client.get("/healthz"), client.get("/readyz"), client.get("/metrics")

    assert (alive.status_code, alive.json()) == (200, {"alive": True})
    assert ready.status_code == 503
    assert "cannot be reached" in checks(ready)["database"][1]
    assert scraped.status_code == 200
    assert "trueup_database_up 0.0" in scraped.text
    assert "process_resident_memory_bytes" in scraped.text
    for answer in (ready, scraped):
        assert "pw123" not in answer.text
        assert "Traceback" not in answer.text


def test_a_database_of_another_revision_is_not_ready(
    api: httpx.Client, fresh_database: Database, jobs_done: Callable[[], None]
) -> None:
    jobs_done()
    with psycopg.connect(dsn(fresh_database.owner_url)) as connection:
        connection.execute("DROP TABLE job, vendor_use, alembic_version")

    answer, scraped = api.get("/readyz"), api.get("/metrics")

    assert answer.status_code == 503
    for ok, says in checks(answer).values():
        assert not ok
        assert "is empty" in says
        assert "run `trueup db upgrade`" in says
    assert (scraped.status_code, "trueup_database_up 0.0" in scraped.text) == (200, True)


def test_a_redis_that_is_gone_is_said(store: Store, settings: Loaded, clock: Clock) -> None:
    up = threading.Event()

    def ping() -> None:
        if not up.is_set():
            raise Unavailable("Redis cannot be reached.")

    with serving(server.watching(settings, store, clock, ping)) as client:
        assert checks(client.get("/readyz"))["redis"] == (False, "Redis cannot be reached.")
        up.set()
        assert checks(client.get("/readyz"))["redis"] == (True, "reachable")


def test_a_check_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PATIENCE", 0.2)
    go_on = threading.Event()

    def hang() -> str:
        go_on.wait()
        return "at last"

    with serving(application([Probe("slow", hang), Probe("fine", lambda: "well")], bytes)) as client:
        answer = client.get("/readyz")
        alive = client.get("/healthz")
        go_on.set()

    assert checks(answer) == {"slow": (False, "no answer within 0 seconds"), "fine": (True, "well")}
    assert (answer.status_code, alive.status_code) == (503, 200)


@pytest.fixture
def open_house() -> Iterator[httpx.Client]:
    """With two more routes: one that reads what it is sent, one that breaks."""

    async def read(request: Request) -> Response:
        return Response(str(len(await request.body())))

    def breaks(_: Request) -> Response:
        raise RuntimeError("password=hunter22")

    more = [Route("/read", read, methods=["POST"]), Route("/breaks", breaks)]
    with serving(application([], bytes, more)) as client:
        yield client


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_whoever_watches_can_only_look(open_house: httpx.Client, method: str, path: str) -> None:
    answer = open_house.request(method, path)

    assert (answer.status_code, answer.json()) == (405, {"error": "Method Not Allowed"})


def test_what_is_not_there_is_said_in_json(open_house: httpx.Client) -> None:
    assert open_house.get("/nowhere").json() == {"error": "Not Found"}


def test_no_answer_is_kept_by_anybody(open_house: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/nowhere"):
        answer = open_house.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def test_a_fault_is_told_without_its_details(open_house: httpx.Client) -> None:
    answer = open_house.get("/breaks")

    assert answer.status_code == 500
    assert answer.json() == {"error": "Trueup met a fault of its own; its log says more."}


def _pieces() -> Iterator[bytes]:
    for _ in range(LARGEST_BODY // 1024 + 1):
        yield b"x" * 1024


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"x" * LARGEST_BODY, 200, id="as much as is allowed"),
        pytest.param(b"x" * (LARGEST_BODY + 1), 413, id="more, and it says so beforehand"),
        pytest.param(_pieces, 413, id="more, in pieces that announce no length"),
    ],
)
def test_a_body_has_a_size(open_house: httpx.Client, body: bytes | Callable[[], Iterator[bytes]], status: int) -> None:
    answer = open_house.post("/read", content=body if isinstance(body, bytes) else body())

    assert answer.status_code == status


def test_an_address_that_is_taken_is_said() -> None:
    with server.listening("127.0.0.1", 0) as taken, pytest.raises(Misconfigured, match="--port"):
        server.listening("127.0.0.1", taken.getsockname()[1])
