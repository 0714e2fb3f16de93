"""The routes of the API process: whether it lives, whether it may be relied on, and how Trueup is in numbers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.console import asked
from worker.console.metrics import CONTENT_TYPE
from worker.console.probes import Answer, Probe

PATIENCE = 8.0  # seconds that a probe may take; whoever asks waits no longer than ten, as a rule


def application(probes: Sequence[Probe], scrape: Callable[[], bytes], routes: Sequence[BaseRoute] = ()) -> Starlette:
    """What uvicorn runs. `routes` come beside those that watch."""

    async def healthz(_: Request) -> Response:
        """The process lives. It asks nobody, so that a slow database gets no process killed."""
        return asked.answer({"alive": True})

    async def readyz(_: Request) -> Response:
        answers = await answered(probes)
        ready = all(answer.well for answer in answers)
        checks = [{"check": a.check, "ok": a.well, "says": a.says} for a in answers]
        return asked.answer({"ready": ready, "checks": checks}, 200 if ready else 503)

    def metrics(_: Request) -> Response:
        return Response(scrape(), headers={**asked.HEADERS, "content-type": CONTENT_TYPE})

    watching = [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]
    return Starlette(
        routes=[*watching, *routes],
        middleware=[Middleware(Bounded)],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )


async def answered(probes: Sequence[Probe]) -> list[Answer]:
    """What each probe says, all at once; one that says nothing in time is not well."""
    answers: dict[str, Answer] = {}

    async def ask(probe: Probe) -> None:
        late = Answer(probe.check, False, f"no answer within {PATIENCE:.0f} seconds")
        answers[probe.check] = late
        with anyio.move_on_after(PATIENCE):
            answers[probe.check] = await to_thread.run_sync(probe.answer, abandon_on_cancel=True)

    async with anyio.create_task_group() as together:
        for probe in probes:
            together.start_soon(ask, probe)
    return [answers[probe.check] for probe in probes]


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, detail = request.url.path, error.detail
    if path.startswith(asked.V1) and error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = "There is nothing at this address; the addresses are in docs/offboarding.md, and some want settings."
    if path.startswith(asked.V1) and error.status_code == 405:
        detail = f"This address takes {(error.headers or {}).get('Allow', 'other methods')}, and not {request.method}."
    return asked.refusal(path, error.status_code, detail, error.headers)


async def _failed(request: Request, __: Exception) -> Response:
    """The log has the rest; whoever asked is told no more than that."""
    return asked.refusal(request.url.path, 500, "Trueup met a fault of its own; its log says more.")


class Bounded:
    """Refuses a request whose body is larger than anything we are asked, before it is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        path = scope["path"]
        if not announced.isdigit() or int(announced) > asked.largest(path):
            refusal = asked.refusal(path, 413, asked.too_large(path), {"connection": "close"})
            await refusal(scope, receive, send)
            return
        await self._app(scope, _counting(receive, path), send)


def _counting(receive: Receive, path: str) -> Callable[[], Awaitable[Message]]:
    """A body that announced no length is counted while it comes."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > asked.largest(path):
            raise HTTPException(413, asked.too_large(path))
        return message

    return counted
