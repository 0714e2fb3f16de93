"""What every sandbox server shares: it is served over real HTTP, logs each mutation, and breaks where it is told to."""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from worker.errors import Misconfigured
from worker.sandbox.traffic import Traffic


@dataclass
class Fault:
    """One way to break. `route` is a glob over "METHOD /path"; the first `skip` matching calls pass, `times` are hit.

    Kinds: `status` (answered instead of handling), `status-after` (handled, then answered so), `html`, `redirect`
    (to `text`), `truncate` (half the body), `misshapen` (body replaced by `text`), `fewer` (half the rows of a list
    are missing), `drop` and `drop-after` (connection closed without an answer), `slow` (`seconds`), `held` and
    `held-after` (not handled, or handled and not answered, until the fault is taken back), `foreign-next` (next links
    point to another host).
    """

    route: str
    kind: str
    status: int = 500
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    skip: int = 0
    times: int = 1_000_000
    seen: int = 0
    fired: int = 0

    def hits(self, call: str) -> bool:
        """Counts the call, and says whether it is to be broken."""
        if not fnmatch.fnmatchcase(call, self.route):
            return False
        self.seen += 1
        if self.seen <= self.skip or self.fired >= self.times:
            return False
        self.fired += 1
        return True


@dataclass(frozen=True)
class Exchange:
    """One request with its answer, as they were on the wire. `faulted` names the fault kind that touched it."""

    number: int
    vendor: str
    method: str
    path: str
    query: str
    request_headers: dict[str, str]
    request_body: bytes
    status: int
    response_headers: dict[str, str]
    response_body: bytes
    request_id: str
    faulted: str = ""


class VendorRefusal(Exception):
    """A vendor's no, by its own rules; the servers' own kinds of it say with which status."""


class SandboxServer:
    """Base of the vendor sandboxes: a subclass gives `name`, `routes()` and `state()`.

    `log` holds every mutating exchange that reached a handler; `reads` counts GETs by path. `observers` are shown
    each exchange (the tests check them against the contracts). Requests to `unlogged` paths (logins) are no mutations.
    """

    name = ""
    unlogged: Sequence[str] = ()

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.log: list[Exchange] = []
        self.reads: Counter[str] = Counter()
        self.traffic = Traffic()
        self.observers: list[Callable[[Exchange], None]] = []
        self.url = ""
        self._numbers = itertools.count(1)

    def routes(self) -> Sequence[BaseRoute]:
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Everything the server knows, as JSON-ready data, for inspection."""
        raise NotImplementedError

    def break_(self, route: str, kind: str, **how: Any) -> Fault:
        """Inject a fault; the returned object tells how often it fired."""
        fault = Fault(route, kind, **how)
        self.faults.append(fault)
        return fault

    def app(self) -> Callable[[Scope, Receive, Send], Any]:
        """The ASGI application: vendor routes, the `/_sandbox` control routes, faults and the log around them."""
        control = [
            Route("/_sandbox/state", self._show_state),
            Route("/_sandbox/log", self._show_log),
            Route("/_sandbox/reads", self._show_reads),
            Route("/_sandbox/traffic", self._count, methods=["GET", "POST"]),
            Route("/_sandbox/faults", self._set_fault, methods=["GET", "POST", "DELETE"]),
            Route("/_sandbox/hand", self._by_hand, methods=["POST"]),
            Route("/_sandbox/switches", self._switch, methods=["POST"]),
        ]
        return _Recorder(self, Starlette(routes=[*control, *self.routes()]))

    async def _show_state(self, _: Request) -> Response:
        return _json(self.state())

    async def _show_reads(self, _: Request) -> Response:
        return _json(dict(self.reads))

    async def _count(self, request: Request) -> Response:
        """What was asked since this was last POSTed to, which also sets the limit (null: none)."""
        told = self.traffic.told()
        if request.method == "POST":
            self.traffic.limit = (await request.json())["limit"]
            self.traffic.forget()
        return _json(told)

    async def _show_log(self, _: Request) -> Response:
        return _json(
            [
                {
                    "number": e.number, "method": e.method, "path": e.path, "query": e.query, "status": e.status,
                    "body": e.request_body.decode("utf-8", "replace"), "request_id": e.request_id, "faulted": e.faulted,
                }
                for e in self.log
            ]
        )  # fmt: skip

    async def _set_fault(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
        if request.method == "POST":
            self.faults.append(Fault(**await request.json()))
        return _json([asdict(fault) for fault in self.faults])

    async def _by_hand(self, request: Request) -> Response:
        """An edit by hand from another process: {"do": a method of the server's own, "with": its arguments, "named":
        those that have names}."""
        asked = await request.json()
        edit = vars(type(self)).get(asked["do"])
        if asked["do"].startswith("_") or not callable(edit):
            return _json({"message": f"{self.name} has nothing to do by hand that is called so"}, 404)
        try:
            return _json(edit(self, *asked.get("with", ()), **asked.get("named", {})))
        except (KeyError, TypeError, ValueError, VendorRefusal) as error:
            return _json({"message": str(error)}, 409)

    async def _switch(self, request: Request) -> Response:
        """Turns switches: their names with their new values."""
        asked = await request.json()
        if unknown := [name for name in asked if name.startswith("_") or not hasattr(self, name)]:
            return _json({"message": f"{self.name} has no switch {', '.join(unknown)}"}, 404)
        for name, value in asked.items():
            setattr(self, name, frozenset(value) if isinstance(getattr(self, name), frozenset) else value)
        return _json(asked)

    def serve(self, port: int = 0, certificate: tuple[str, str] | None = None) -> Served:
        """Serve on 127.0.0.1 in a thread; use as a context manager. `certificate` is (certificate file, key file)."""
        return Served(self, port, certificate)


class _Prompt(uvicorn.Server):
    """Ends when it is told to; uvicorn itself looks ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def leave(self) -> None:
        self.should_exit = True
        if self._told:
            loop, told = self._told
            with suppress(RuntimeError):  # it is over, and its loop closed
                loop.call_soon_threadsafe(told.set)

    async def main_loop(self) -> None:
        told = asyncio.Event()
        self._told = asyncio.get_running_loop(), told
        while not await self.on_tick(0):  # which also sets the date that answers tell
            with suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), 1)


class Served:
    """A sandbox server listening on a port of its own until it is closed."""

    def __init__(self, sandbox: SandboxServer, port: int, certificate: tuple[str, str] | None) -> None:
        config = uvicorn.Config(
            sandbox.app(),
            host="127.0.0.1",
            port=port,
            log_config=None,  # it would take every handler's lock, which another server may be waiting in
            log_level="critical",
            access_log=False,
            lifespan="off",
            ssl_certfile=certificate[0] if certificate else None,
            ssl_keyfile=certificate[1] if certificate else None,
            timeout_graceful_shutdown=1,
        )
        self.sandbox = sandbox
        try:  # it listens from here on: early connections wait, none is refused
            self._socket = socket.create_server(("127.0.0.1", port), backlog=2048)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise Misconfigured(f"127.0.0.1:{port} cannot be served ({reason}); choose another port.") from error
        # asyncio does this only for sockets made with an explicit protocol; without it every answer waits 40 ms.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        scheme = "https" if certificate else "http"
        sandbox.url = f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = sandbox.url
        self._server = _Prompt(config)
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [self._socket]},
            name=f"sandbox-{sandbox.name}",
            daemon=True,
        )
        self._thread.start()

    def leave(self) -> None:
        """Begin to close; whoever closes several lets all of them begin first."""
        self._server.leave()

    def close(self) -> None:
        self.leave()
        self._thread.join(timeout=10)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Recorder:
    """ASGI wrapper that gives each exchange a request id, applies faults, and keeps the log."""

    def __init__(self, sandbox: SandboxServer, app: Starlette) -> None:
        self._sandbox = sandbox
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_sandbox"):
            await self._app(scope, receive, send)
            return
        body = await _whole_body(receive)
        if body is None:
            return
        call = f"{scope['method']} {scope['path']}"
        if not self._sandbox.traffic.begins(scope["method"], scope["path"]):
            self._sandbox.traffic.ends(429)
            await _reply(
                send, 429, [(b"content-type", b"application/json")], b'{"message": "Too many requests"}', dropped=False
            )
            return
        hit = [fault for fault in self._sandbox.faults if fault.hits(call)]
        for waited in hit:
            if waited.kind == "slow":
                await asyncio.sleep(waited.seconds)
            elif waited.kind == "held":
                await self._taken_back(waited)
        fault: Fault | None = next((f for f in hit if f.kind not in _BEFORE), None)
        number = next(self._sandbox._numbers)
        request_id = f"{self._sandbox.name}-{number:08d}"
        handled = fault is None or fault.kind not in _INSTEAD
        status, answer = 0, b""
        headers: list[tuple[bytes, bytes]] = []
        if handled:
            status, headers, answer = await _answer(self._app, scope, body)
        if fault is not None:
            status, headers, answer = _broken(fault, status, headers, answer)
        headers = [*headers, (b"x-request-id", request_id.encode())]
        self._record(scope, body, number, request_id, status, headers, answer, fault, handled)
        if fault is not None and fault.kind == "held-after":
            await self._taken_back(fault)
        self._sandbox.traffic.ends(status)
        await _reply(send, status, headers, answer, dropped=fault is not None and fault.kind.startswith("drop"))

    async def _taken_back(self, fault: Fault) -> None:
        """Other calls are answered meanwhile."""
        while any(one is fault for one in self._sandbox.faults):
            await asyncio.sleep(0.005)

    def _record(
        self, scope: Scope, body: bytes, number: int, request_id: str, status: int,
        headers: list[tuple[bytes, bytes]], answer: bytes, fault: Fault | None, handled: bool,
    ) -> None:  # fmt: skip
        sandbox, path = self._sandbox, scope["path"]
        exchange = Exchange(
            number, sandbox.name, scope["method"], path, scope["query_string"].decode("latin-1"),
            {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}, body,
            status, {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in headers}, answer,
            request_id, fault.kind if fault else "",
        )  # fmt: skip
        if scope["method"] in ("GET", "HEAD"):
            sandbox.reads[path] += 1
        elif handled and path not in sandbox.unlogged:
            sandbox.log.append(exchange)
        for observer in sandbox.observers:
            observer(exchange)


_BEFORE = frozenset({"slow", "held"})
_INSTEAD = frozenset({"status", "html", "redirect", "drop"})
_LOGIN_PAGE = b"<!doctype html><html><head><title>Sign in</title></head><body>Please sign in</body></html>"


def _broken(
    fault: Fault, status: int, headers: list[tuple[bytes, bytes]], answer: bytes
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """What the fault makes of an answer (or puts in its place)."""
    extra = [(k.lower().encode(), v.encode()) for k, v in fault.headers.items()]
    kept = [(k, v) for k, v in headers if k != b"content-length"]
    match fault.kind:
        case "status" | "status-after":
            return fault.status, [(b"content-type", b"application/json"), *extra], fault.text.encode()
        case "html":
            return 200, [(b"content-type", b"text/html"), *extra], _LOGIN_PAGE
        case "redirect":
            return 302, [(b"location", fault.text.encode()), *extra], b""
        case "truncate":
            return status, kept, answer[: len(answer) // 2]
        case "misshapen":
            return status, kept, (fault.text or '{"unexpected": true}').encode()
        case "fewer":
            return status, kept, _half_the_rows(answer)
        case "foreign-next":
            return (
                status,
                [(k, _elsewhere(v)) if k == b"link" else (k, v) for k, v in kept],
                _elsewhere(answer),
            )
        case "held-after":
            return status, headers, answer
        case "drop" | "drop-after":
            return 200, [(b"content-type", b"application/json")], b""
    raise ValueError(f"unknown kind of fault: {fault.kind}")


def _elsewhere(text: bytes) -> bytes:
    """Next links, absolute or server-relative (TeamCity's nextHref), moved to a host that is not ours."""
    moved = text.replace(b"://127.0.0.1", b"://elsewhere.invalid").replace(b"://localhost", b"://elsewhere.invalid")
    return moved.replace(b'"nextHref":"/', b'"nextHref":"http://elsewhere.invalid/')


def _half_the_rows(answer: bytes) -> bytes:
    """A list, or the lists directly in an object, cut to their first half; whatever counts them stays as it was."""
    said = orjson.loads(answer)
    if isinstance(said, list):
        return orjson.dumps(said[: len(said) // 2])
    return orjson.dumps({k: v[: len(v) // 2] if isinstance(v, list) else v for k, v in said.items()})


async def _whole_body(receive: Receive) -> bytes | None:
    """None where whoever asks went away in the middle of it."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


async def _answer(app: Starlette, scope: Scope, body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Run the application on a body already read, and collect its whole answer."""
    status, pieces = 500, list[bytes]()
    headers: list[tuple[bytes, bytes]] = []
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def collect(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message["headers"])
        else:
            pieces.append(message.get("body", b""))

    await app(scope, receive, collect)
    return status, headers, b"".join(pieces)


async def _reply(send: Send, status: int, headers: list[tuple[bytes, bytes]], answer: bytes, *, dropped: bool) -> None:
    """Send it; a dropped answer promises a body and never gives it, so that the server closes the connection."""
    length = str(1000 if dropped else len(answer)).encode()
    kept = [(k, v) for k, v in headers if k != b"content-length"]
    if status != 204:
        kept.append((b"content-length", length))
    await send({"type": "http.response.start", "status": status, "headers": kept})
    await send({"type": "http.response.body", "body": b"" if dropped else answer})


def _json(data: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(data), status, media_type="application/json")
