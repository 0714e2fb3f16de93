"""What a hostile or broken vendor can do to the one place where HTTP is spoken, and what it cannot."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from worker import rest
from worker.errors import Misshapen, Rationed, TrueupError, Unavailable, Unknown
from worker.ports import Gauge, Line
from worker.rest import CALLS_END, LANE, Rest

SECRET = "0123456789abcdefghijklmnopqrstuvwxyz-secret"
Answer = Callable[[socket.socket], None]


@contextmanager
def serving(answer: Answer) -> Iterator[tuple[str, list[bytes]]]:
    """A server on a port of its own that reads each request's head and lets `answer` do as it likes."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        heads.append(connection.recv(65536))
                        answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", heads
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def said(status: int, body: bytes, kind: str = "application/json", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*head, *headers, "", ""]).encode() + body


@contextmanager
def client(url: str, **how: object) -> Iterator[Rest]:
    made = Rest("acme", url, authorize=lambda: {"Authorization": f"SSWS {SECRET}"}, secrets=[SECRET], attempts=1, **how)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


def trouble(call: Callable[[], object]) -> str:
    with pytest.raises(TrueupError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("padding", [0, 130], ids=["whole", "cut in the middle by our own limit"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "text/plain"), (403, "text/plain"), (500, "text/html"), (200, "text/html")],
    ids=["rejected", "denied", "failed", "a page instead of JSON"],
)
def test_a_secret_that_an_answer_repeats_is_in_no_message(status: int, kind: str, padding: int) -> None:
    body = b"x" * padding + b" you sent " + SECRET.encode()
    with serving(lambda c: c.sendall(said(status, body, kind))) as (url, heads), client(url) as acme:
        text = trouble(lambda: acme.get("/users").json())
    assert SECRET.encode() in heads[0]
    assert SECRET[:10] not in text


def drip(connection: socket.socket) -> None:
    """One byte now and then: each is in time, and the answer never ends."""
    connection.sendall(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n[")
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


def test_an_answer_that_never_ends_ends_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "PATIENCE", 3)
    with serving(drip) as (url, _), client(url, timeout=0.1) as acme, pytest.raises(Unavailable, match="took longer"):
        acme.get("/users")


def test_an_answer_that_outlasts_the_claim_on_an_account_leaves_a_change_unknown() -> None:
    with serving(drip) as (url, _), client(url, timeout=0.1) as acme:
        token = CALLS_END.set(time.monotonic() + 0.3)
        with pytest.raises(Unknown, match="took longer"):
            acme.send("PUT", "/users/7")
        CALLS_END.reset(token)


def test_a_call_under_a_claim_takes_no_longer_than_may_be_though_its_own_time_out_is_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rest, "CLAIMED_CALL", 0.1)
    with serving(drip_slowly) as (url, _), client(url, timeout=120) as acme:
        token = CALLS_END.set(time.monotonic() + 60)
        with pytest.raises(Unknown, match="broke off"):
            acme.send("PUT", "/users/7")
        CALLS_END.reset(token)


def drip_slowly(connection: socket.socket) -> None:
    """A byte that comes too late for a call under a claim, and in time for any other."""
    connection.sendall(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n[")
    time.sleep(0.5)


def test_the_size_of_an_answer_is_counted_after_unpacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "SIZE_LIMIT", 2**20)
    bomb = gzip.compress(b" " * 2**23)
    assert len(bomb) < 2**14
    answer = said(200, bomb, "application/json", "Content-Encoding: gzip")
    too_much = pytest.raises(Misshapen, match="more than 1 MiB")
    with serving(lambda c: c.sendall(answer)) as (url, _), client(url) as acme, too_much:
        acme.get("/users")


@pytest.mark.parametrize("value", ["\u00b2", "9" * 400, "Fri, 99 Foo 2026", "-5", "Mon, 01 Jan 99999 00:00:00 GMT"])
def test_a_strange_retry_after_is_no_reason_to_fall_over(value: str) -> None:
    answer = said(503, b"", "text/plain").replace(
        b"Connection", b"Retry-After: " + value.encode("latin-1") + b"\r\nConnection"
    )
    with serving(lambda c: c.sendall(answer)) as (url, _), client(url) as acme, pytest.raises(Unavailable):
        acme.get("/users")


def test_what_is_sent_in_the_clear_to_this_machine_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        serving(lambda c: c.sendall(said(200, b"[]"))) as (url, _),
        serving(lambda c: c.sendall(said(502, b""))) as (proxy, stolen),
    ):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with client(url) as acme:
            assert acme.get("/users").json() == []
        assert stolen == []


def test_no_credentials_are_taken_from_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:
        file.write("machine 127.0.0.1 login someone password other")
    monkeypatch.setenv("NETRC", netrc)
    with serving(lambda c: c.sendall(said(200, b"[]"))) as (url, heads), client(url) as acme:
        acme.get("/users")
    assert heads[0].count(b"uthorization:") == 1
    assert SECRET.encode() in heads[0]


def test_a_call_is_named_without_what_a_terminal_would_obey() -> None:
    with serving(lambda c: c.sendall(said(404, b""))) as (url, _), client(url) as acme:
        assert "\x1b" not in trouble(lambda: acme.get("/users/\x1b[2J"))


# The line that every call waits in


class Watched:
    """A line that lets everybody through and remembers who came, and how it ended for them."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.ended: list[tuple[str, int, Gauge | None]] = []
        self.slept: list[float] = []
        self.line = Line(self.came.append, lambda *outcome: self.ended.append(outcome), self.slept.append)


def read(url: str, watched: Watched, attempts: int, **how: object) -> None:
    made = Rest("acme", url, line=watched.line, attempts=attempts, **how)  # type: ignore[arg-type]
    with suppress(TrueupError):
        made.get("/users/7?full=1")
    made.close()


def test_every_repeat_waits_in_line_again_and_every_end_is_told() -> None:
    answers = [said(429, b"", "text/plain", "Retry-After: 7"), said(500, b""), said(200, b"[]", "application/json")]
    watched = Watched()
    with serving(lambda c: c.sendall(answers.pop(0))) as (url, _):
        read(url, watched, 3, bucket=lambda path: path.rpartition("/")[0])
    assert watched.came == ["/users"] * 3
    assert watched.ended == [("/users", 429, Gauge(-1, 0, 7)), ("/users", 500, None), ("/users", 200, None)]
    assert watched.slept[0] == 7
    assert len(watched.slept) == 2


@pytest.mark.parametrize(("lane", "calls"), [("", 3), ("leaver", 1)])
def test_for_a_leaver_a_vendor_in_trouble_is_not_asked_again_for_long(lane: str, calls: int) -> None:
    watched, token = Watched(), LANE.set(lane)
    with serving(lambda c: c.sendall(said(503, b"", "text/plain", "Retry-After: 16"))) as (url, _):
        read(url, watched, 3)
    LANE.reset(token)
    assert len(watched.came) == calls


def test_what_the_vendor_says_of_its_limit_comes_first() -> None:
    watched, gauge = Watched(), Gauge(600, 599, 60)
    with serving(lambda c: c.sendall(said(429, b"", "text/plain", "Retry-After: 7"))) as (url, _):
        read(url, watched, 1, gauge=lambda _: gauge)
    assert watched.ended == [("", 429, gauge)]


@pytest.mark.parametrize("sign", [None, lambda *_: 1 / 0], ids=["nobody answers", "the signature fails"])
def test_a_call_that_came_to_nothing_has_ended_too(sign: object) -> None:
    watched = Watched()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with suppress(ZeroDivisionError):
        read(url, watched, 1, sign=sign)
    assert watched.ended == [("", 0, None)]


def test_who_is_refused_by_the_line_sends_nothing_is_not_repeated_and_has_not_begun() -> None:
    def refuse(_: str) -> None:
        watched.came.append("refused")
        raise Rationed("Not now.", 1)

    watched = Watched()
    watched.line = Line(refuse, watched.line.after, watched.line.sleep)
    with serving(lambda c: c.sendall(said(200, b"[]"))) as (url, heads):
        read(url, watched, 3)
    assert (watched.came, watched.ended, watched.slept, heads) == (["refused"], [], [], [])


def test_a_claim_that_ran_out_in_line_is_noticed_before_anything_is_sent() -> None:
    watched = Watched()
    token = CALLS_END.set(time.monotonic() + 60)
    watched.line = Line(lambda _: CALLS_END.set(time.monotonic()) and None, watched.line.after)
    with serving(lambda c: c.sendall(said(200, b"[]"))) as (url, heads):
        read(url, watched, 1, timeout=0.1)
    CALLS_END.reset(token)
    assert (watched.ended, heads) == ([("", 0, None)], [])


@pytest.mark.parametrize("first", [b"", said(503, b"{}"), said(429, b"{}")], ids=["it breaks off", "503", "429"])
def test_what_is_only_asked_by_post_is_asked_again_and_what_changes_something_is_not(first: bytes) -> None:
    answers = [first, said(200, b"{}")]
    with serving(lambda c: c.sendall(answers.pop(0))) as (url, heads):
        made = Rest("acme", url, attempts=2, first_pause=0.001)
        assert made.ask("/search", json={"for": "ana"}).json() == {}
        assert [head.partition(b" ")[0] for head in heads] == [b"POST", b"POST"]
        answers = [first]
        with pytest.raises((Unknown, Unavailable)):
            made.send("POST", "/search", json={})
        assert len(heads) == 3
        made.close()
