"""Orders at Microsoft Graph, over the wire: made after a handshake, listed, renewed, ended; refused in plain words."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.sources.entra_tenant import connected, tenant
from worker.errors import Denied, Misshapen, Missing, Rejected, Unknown
from worker.ports import Subscriptions
from worker.sandbox.entra import EntraSandbox

SECRET = "s" * 64
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
WEEK = dt.timedelta(days=7)


@contextmanager
def address(kind: str = "text/plain", say: str | None = None) -> Iterator[str]:
    """Where Graph reaches us: it gives the token back, or says something else."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            token = parse_qs(urlsplit(self.path).query)["validationToken"][0]
            said = (token if say is None else say).encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Into no test's output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/hooks/graph/entra"
        server.shutdown()
        thread.join()


@pytest.fixture
def entra() -> Iterator[EntraSandbox]:
    made = tenant()
    with made.serve():
        yield made


@pytest.fixture
def orders(entra: EntraSandbox, tmp_path: Path) -> Iterator[Subscriptions]:
    with connected(entra, tmp_path / "secret") as source:
        yield source.subscriptions


def test_an_order_is_made_listed_renewed_and_ended(orders: Subscriptions, entra: EntraSandbox) -> None:
    with address() as url:
        made = orders.make("users", url, SECRET, NOW + WEEK)
    kept = entra.graph.subscriptions

    assert (made.resource, made.expires_at) == ("users", NOW + WEEK)
    assert kept.states == {made.id: SECRET}
    assert kept.orders[made.id]["changeType"] == "updated,deleted"
    assert kept.orders[made.id]["lifecycleNotificationUrl"] == url
    assert list(orders.standing(url)) == [made]
    assert orders.standing("https://somebody.else.test/") == []
    assert orders.renew(made.id, NOW + 2 * WEEK).expires_at == NOW + 2 * WEEK
    orders.end(made.id)
    orders.end(made.id)
    assert orders.standing(url) == []
    with pytest.raises(Missing):
        orders.renew(made.id, NOW + WEEK)


def test_it_stands_for_as_long_as_graph_allows(orders: Subscriptions) -> None:
    with address() as url:
        made = orders.make("users", url, SECRET, NOW + orders.life)

    assert made.expires_at - NOW > dt.timedelta(days=28, hours=23)


@pytest.mark.parametrize(("kind", "say"), [("text/html", None), ("text/plain", "&lt;escaped&gt;"), ("text/plain", "")])
def test_an_address_that_answers_otherwise_is_said(orders: Subscriptions, kind: str, say: str | None) -> None:
    with address(kind, say) as url, pytest.raises(Rejected, match="Subscription validation request failed"):
        orders.make("users", url, SECRET, NOW + WEEK)


def test_an_address_that_nobody_answers_at_is_said(orders: Subscriptions) -> None:
    with pytest.raises(Rejected, match="Subscription validation request failed"):
        orders.make("users", "http://127.0.0.1:1/v1/hooks/graph/entra", SECRET, NOW + WEEK)


def test_whoever_may_not_read_users_is_told_which_permission_is_missing(
    orders: Subscriptions, entra: EntraSandbox
) -> None:
    entra.granted.discard("User.Read.All")

    with address() as url, pytest.raises(Denied, match=r"User\.Read\.All"):
        orders.make("users", url, SECRET, NOW + WEEK)


def test_an_order_of_which_nobody_knows_whether_it_was_made_is_unknown_and_is_not_repeated(
    orders: Subscriptions, entra: EntraSandbox
) -> None:
    fault = entra.break_("POST /v1.0/subscriptions", "status-after", status=502)
    with address() as url, pytest.raises(Unknown):
        orders.make("users", url, SECRET, NOW + WEEK)

    assert fault.fired == 1
    assert len(entra.graph.subscriptions.orders) == 1


@pytest.mark.parametrize("id", ["../users", "", "x' or '1", "6a0ae992-ef5e-4f9d-b92f-f27d13a1a98d/x"])
def test_what_is_no_id_is_never_part_of_an_address(orders: Subscriptions, id: str) -> None:
    for call in (lambda: orders.renew(id, NOW + WEEK), lambda: orders.end(id)):
        with pytest.raises(Misshapen, match="no id of a subscription"):
            call()


@pytest.mark.parametrize(
    "more",
    [{"expirationDateTime": None}, {"id": "7"}, {"expirationDateTime": "soon"}],
    ids=["no end", "no id of a subscription", "an end that is no time"],
)
def test_a_list_that_is_not_graphs_is_an_error_and_not_empty(
    orders: Subscriptions, entra: EntraSandbox, more: dict[str, str | None]
) -> None:
    with address() as url:
        made = orders.make("users", url, SECRET, NOW + WEEK)
        shown = {**entra.graph.subscriptions.orders[made.id], **more}
        fault = entra.break_("GET /v1.0/subscriptions", "misshapen", text=json.dumps({"value": [shown]}))

        with pytest.raises(Misshapen):
            orders.standing(url)
    assert fault.fired


def test_the_secret_is_in_no_message(orders: Subscriptions, entra: EntraSandbox) -> None:
    said = f'{{"error": {{"code": "InvalidRequest", "message": "{SECRET} is too weak"}}}}'
    fault = entra.break_("POST /v1.0/subscriptions", "status", status=400, text=said)

    with address() as url, pytest.raises(Rejected, match="is too weak") as caught:
        orders.make("users", url, SECRET, NOW + WEEK)

    assert fault.fired == 1
    assert SECRET not in str(caught.value)
