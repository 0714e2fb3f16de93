"""How the org's API says things: its JSON, its errors, its pages' sizes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from worker.sandbox.okta.directory import Group, Shape

_MEDIA = re.compile(r"okta-response=\"?([A-Za-z,]+)")
_SUMMARIES = {
    "E0000001": "Api validation failed",
    "E0000006": "You do not have permission to perform the requested action",
    "E0000007": "Not found: Resource not found",
    "E0000011": "Invalid token provided",
    "E0000031": "Invalid search criteria.",
    "E0000047": "API call exceeded rate limit due to too many requests.",
}


class OktaError(Exception):
    """An answer in Okta's error shape."""

    def __init__(self, status: int, code: str, cause: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.status, self.headers = status, dict(headers or {})
        self.body = orjson.dumps(
            {
                "errorCode": code,
                "errorSummary": _SUMMARIES[code],
                "errorLink": code,
                "errorId": f"oae{secrets.token_urlsafe(12)}",
                "errorCauses": [{"errorSummary": cause}] if cause else [],
            }
        )


def base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def bare(request: Request) -> str:
    return f"{base(request)}{request.url.path}"


def shape(request: Request) -> Shape:
    media = _MEDIA.search(request.headers.get("content-type", ""))
    listing = request.url.path.endswith("/api/v1/users")
    fields = request.query_params.get("fields", "") if listing else ""
    members = "/groups/" in request.url.path
    return Shape(base(request), fields, frozenset(media[1].split(",")) if media and not members else frozenset())


def page_size(request: Request, default: int, ceiling: int) -> int:
    given = request.query_params.get("limit")
    if given is None:
        return default
    if not given.isdigit() or int(given) < 1:
        raise OktaError(400, "E0000001", "limit: must be a positive number")
    return min(int(given), ceiling)


def group_json(group: Group, base: str) -> dict[str, Any]:
    return {
        "id": group.id,
        "created": group.created,
        "lastUpdated": group.last_updated,
        "lastMembershipUpdated": group.last_membership_updated,
        "objectClass": ["okta:user_group"],
        "type": group.type,
        "profile": {"name": group.name, "description": ""},
        "_links": {"users": {"href": f"{base}/api/v1/groups/{group.id}/users"}},
    }


def joined(bodies: list[bytes]) -> Response:
    return Response(b"[" + b",".join(bodies) + b"]", media_type="application/json")


def as_json(data: Any) -> Response:
    return Response(orjson.dumps(data), media_type="application/json")
