"""Okta's event hooks: the handshake, and deliveries that say who may have left.

A delivery is proved by one static secret and nothing else, so it is a hint and no more. Facts: Okta wants its answer in
three seconds, asks again once at most after a 5xx and never after a 4xx, and keeps no order.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from worker import logs
from worker.console import asked
from worker.console.desk import Desk
from worker.console.keyring import Keyring
from worker.flows import hints
from worker.flows.hints import Hint
from worker.store.hints import Seen

# What may mean that somebody leaves, and how much: of two about one person, the heavier is heeded.
WEIGHTS: Mapping[str, int] = {
    "user.lifecycle.deactivate": 3,
    "user.lifecycle.delete.initiated": 3,
    "user.lifecycle.suspend": 2,
    "group.user_membership.remove": 1,
    "application.user_membership.remove": 1,
}
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST_CHALLENGE = 512
_BODY = 1.0  # seconds


def routes(desk: Desk, secrets: Keyring) -> list[BaseRoute]:
    def admitted(request: Request) -> str:
        """The source, if it is proved to be its vendor who speaks."""
        source = str(request.path_params["source"])
        if secrets.owner(asked.sent(request, "authorization")) != source:
            logs.event("hook refused", level=logging.WARNING, hook="okta", why="not its secret")
            raise HTTPException(401, "Send the secret of this event hook as the Authorization header.")
        return source

    async def verify(request: Request) -> Response:
        admitted(request)
        challenge = asked.sent(request, "x-okta-verification-challenge").decode("latin-1")
        if not (0 < len(challenge) <= _LONGEST_CHALLENGE and challenge.isascii() and challenge.isprintable()):
            raise HTTPException(400, "Send the header x-okta-verification-challenge, as Okta does to verify a hook.")
        return asked.answer({"verification": challenge})

    async def deliver(request: Request) -> Response:
        source = admitted(request)
        delivery, told = read(await asked.json_object(request, _BODY))
        if not told:
            return Response(status_code=204, headers=asked.HEADERS)
        new, after = await desk.take(
            desk.vendors, f"hook:{source}", lambda site: hints.take(site, source, delivery, told)
        )
        logs.event("hook taken", hook="okta", source=source, events=len(told), new=new)
        return Response(status_code=204, headers=asked.HEADERS, background=after)

    async def called(request: Request) -> Response:
        return await (deliver if request.method == "POST" else verify)(request)

    return [Route(f"{asked.HOOKS}okta/{{source}}", called, methods=["GET", "POST"])]


def read(body: Mapping[str, Any]) -> tuple[Seen, list[Hint]]:
    """The delivery, and what in it may mean that somebody leaves. Raises HTTPException 400 for what is none."""
    data = body.get("data")
    events = data.get("events") if isinstance(data, dict) else None
    id, at = body.get("eventId"), _moment(body.get("eventTime"))
    if not isinstance(events, list) or not _is_id(id) or at is None:
        raise HTTPException(400, "This is no delivery of an Okta event hook: eventId, eventTime and data.events.")
    told = [hint for event in events if isinstance(event, dict) for hint in _hints(event)]
    return Seen(f"delivery {id}", "delivery", at), told


def _hints(event: Mapping[str, Any]) -> list[Hint]:
    """One at most: of an event that has come about, is of a kind that matters, and says whom it is about."""
    kind, outcome = event.get("eventType"), event.get("outcome")
    if not isinstance(kind, str) or kind not in WEIGHTS or not isinstance(outcome, dict):
        return []
    if outcome.get("result") != "SUCCESS":
        return []
    who, id, at = _user(event.get("target")), event.get("uuid"), _moment(event.get("published"))
    if who is None or not _is_id(id) or at is None:
        logs.event("event not understood", level=logging.WARNING, hook="okta", kind=kind)
        return []
    return [Hint(str(id), who, kind, at, WEIGHTS[kind])]


def _user(targets: Any) -> str | None:
    """The id of the one target that is a user, wherever it stands."""
    listed: Sequence[Any] = targets if isinstance(targets, list) else ()
    users = {t.get("id") for t in listed if isinstance(t, dict) and t.get("type") == "User" and _is_id(t.get("id"))}
    return str(users.pop()) if len(users) == 1 else None


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _moment(value: Any) -> dt.datetime | None:
    try:
        found = dt.datetime.fromisoformat(value) if isinstance(value, str) else None
        return found.astimezone(dt.UTC) if found is not None and found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
