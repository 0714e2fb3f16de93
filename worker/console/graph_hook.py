"""Microsoft Graph's change notifications: the handshake, who has changed, and what becomes of our subscriptions.

Nothing signs a notification: `clientState`, which we gave when we subscribed, is the only proof, in each item anew. So
it is a hint and no more. Facts: Graph wants an answer in ten seconds, better in three, and repeats for four hours what
was not answered with a 2xx.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from worker import logs
from worker.console import asked
from worker.console.desk import Desk
from worker.console.keyring import Keyring
from worker.flows import notifications
from worker.flows.notifications import LIFECYCLE, Notification

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RESOURCE = re.compile(r"/?(users|groups)[/(]'?([0-9a-fA-F-]{36})'?\)?(/members(/\$ref)?)?", re.IGNORECASE)
_LONGEST_TOKEN = 2048
_TOKEN = re.compile(r"[\x20-\x7e]+")
_BODY = 1.0  # seconds
_MOST = 1000  # items in one call
_CHANGES = ("created", "updated", "deleted")


def routes(desk: Desk, secrets: Keyring) -> list[BaseRoute]:
    def authentic(source: str, items: Sequence[Any]) -> list[Mapping[str, Any]]:
        """Those that carry what we gave for this source, each of them compared."""
        states = [item.get("clientState") if isinstance(item, dict) else None for item in items]
        owners = [secrets.owner(str(state or "").encode("utf-8", "replace")) for state in states]
        return [item for item, owner in zip(items, owners, strict=True) if owner == source]

    async def notify(request: Request) -> Response:
        source = str(request.path_params["source"])
        if "validationToken" in request.query_params:
            if source not in secrets.owners:
                raise HTTPException(404, "There is no such hook here.")
            return _handshake(request.query_params["validationToken"])
        items = (await asked.json_object(request, _BODY)).get("value")
        if not isinstance(items, list) or not 0 < len(items) <= _MOST:
            raise HTTPException(400, f"This is no change notification: `value` is a list of 1 to {_MOST} items.")
        known = authentic(source, items)
        if len(known) < len(items):
            logs.event("hook refused", level=logging.WARNING, hook="graph", why="not its clientState", items=len(items))
        if not known:
            raise HTTPException(401, "No item has the clientState of a subscription of ours.")
        told = [found for item in known if (found := read(item)) is not None]
        if not told:
            return Response(status_code=202, headers=asked.HEADERS)
        new, after = await desk.take(
            desk.vendors, f"hook:{source}", lambda site: notifications.take(site, source, told)
        )
        logs.event("hook taken", hook="graph", source=source, events=len(told), new=new)
        return Response(status_code=202, headers=asked.HEADERS, background=after)

    return [Route(f"{asked.HOOKS}graph/{{source}}", notify, methods=["POST"])]


def _handshake(token: str) -> Response:
    """The token as it was meant, decoded and as plain text: no browser may take it for anything else."""
    if len(token) > _LONGEST_TOKEN or _TOKEN.fullmatch(token) is None or "<" in token:
        raise HTTPException(400, "validationToken is no token of Microsoft Graph's.")
    quiet = {"content-security-policy": "default-src 'none'; sandbox"}
    return Response(token, 200, {**asked.HEADERS, **quiet}, "text/plain")


def read(item: Mapping[str, Any]) -> Notification | None:
    """What an authentic item says; None, and a line in the log, when it is none that we know."""
    subscription, tenant = item.get("subscriptionId"), item.get("tenantId") or item.get("organizationId")
    event, digest = item.get("lifecycleEvent"), _digest(item)
    found: Notification | None = None
    if _is_guid(subscription) and _is_guid(tenant) and digest:
        proven = (str(subscription).lower(), str(tenant).lower())
        if event in LIFECYCLE:
            found = Notification(*proven, str(event), digest)
        elif event is None and (change := _change(item)) is not None:
            said, ids, whole = change
            found = Notification(*proven, said, digest, ids, whole)
    if found is None:
        logs.event("event not understood", level=logging.WARNING, hook="graph")
    return found


def _change(item: Mapping[str, Any]) -> tuple[str, list[str], bool] | None:
    """(what has happened, to whom, whether a whole read is wanted), of ids that are ids."""
    change, resource, data = item.get("changeType"), item.get("resource"), item.get("resourceData")
    path = _RESOURCE.fullmatch(resource) if isinstance(resource, str) else None
    id = data.get("id") if isinstance(data, dict) else None
    if change not in _CHANGES or path is None or not isinstance(data, dict) or not _is_guid(id):
        return None
    if path[2].lower() != str(id).lower():
        return None
    if path[1].lower() == "users":
        return f"users {change}", [str(id).lower()], False
    return f"groups {change}", _removed(data), change == "deleted"


def _removed(group: Mapping[str, Any]) -> list[str]:
    """Who is in it no more, where Graph says so."""
    listed = group.get("members@delta")
    members = [m for m in listed if isinstance(m, dict)] if isinstance(listed, list) else []
    return [str(m["id"]).lower() for m in members if "@removed" in m and _is_guid(m.get("id"))]


def _digest(item: Mapping[str, Any]) -> str:
    """Of its words; "" of one that is nested deeper than any of Graph's."""
    try:
        return hashlib.sha256(orjson.dumps(item, option=orjson.OPT_SORT_KEYS)).hexdigest()
    except orjson.JSONEncodeError:
        return ""


def _is_guid(value: Any) -> bool:
    return isinstance(value, str) and _GUID.fullmatch(value) is not None
