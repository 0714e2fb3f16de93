"""What the routes that take something have in common: a body that is read in time, or refused in words that help."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import anyio
import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
V1, HOOKS = "/v1/", "/v1/hooks/"
LARGEST_BODY = 64 * 1024  # bytes
# A delivery of Okta or Graph may tell of some hundred events at once, of some kilobytes each; neither says how many.
LARGEST_HOOK = 1024 * 1024


def largest(path: str) -> int:
    """How many bytes a request of this path may have."""
    return LARGEST_HOOK if path.startswith(HOOKS) else LARGEST_BODY


def too_large(path: str) -> str:
    return f"A request may have at most {largest(path) // 1024} KiB."


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, {**HEADERS, **(headers or {})}, "application/json")


def refusal(path: str, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """What went wrong and what to send instead: a problem as RFC 9457 has it, where things are taken."""
    body: dict[str, Any] = {"error": detail}
    if path.startswith(V1):
        body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    kind = "application/problem+json" if path.startswith(V1) else "application/json"
    return Response(orjson.dumps(body), status, {**HEADERS, **(headers or {})}, kind)


async def json_object(request: Request, patience: float) -> dict[str, Any]:
    """The body, which has so many seconds to arrive. Raises HTTPException for what is no JSON object, is packed, or
    does not come."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "Send JSON, with `Content-Type: application/json`.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HTTPException(415, "Send the body as it is, without a Content-Encoding.")
    try:
        with anyio.fail_after(patience):
            text = await request.body()
    except TimeoutError:
        raise HTTPException(408, "The body did not arrive in time.", {"connection": "close"}) from None
    except ClientDisconnect:
        raise HTTPException(400, "The body broke off.") from None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise HTTPException(400, "The body is no JSON in UTF-8.") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "Send a JSON object, such as {}.")
    return found


def sent(request: Request, header: str) -> bytes:
    """A header as it was sent; nothing where there is none, or more than one."""
    found = request.headers.getlist(header)
    return found[0].encode("latin-1") if len(found) == 1 else b""
