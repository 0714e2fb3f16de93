"""Subscriptions as Graph keeps them: nobody is told anything before the address has answered the handshake."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from worker.sandbox.entra.answers import Answer, Call, GraphError

LONGEST = dt.timedelta(minutes=41_760)
_CHALLENGE = "Validation: Testing client application reachability for subscription Request-Id: {}"
_HANDSHAKE = 10.0  # seconds


@dataclass
class Subscriptions:
    """`orders` by id, as Graph shows them; `states` their clientState, which it never shows."""

    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def make(self, call: Call) -> Answer:
        wanted = _body(call)
        if not {"changeType", "notificationUrl", "resource", "expirationDateTime"} <= set(wanted):
            raise GraphError(400, "InvalidRequest", "A required property is missing.")
        if len(wanted.get("clientState", "")) > 128:
            raise GraphError(400, "InvalidRequest", "clientState is limited to 128 characters.")
        until = _moment(wanted["expirationDateTime"])
        for key in ("notificationUrl", "lifecycleNotificationUrl"):
            if key in wanted:
                _shake_hands(wanted[key])
        id = str(uuid.uuid4())
        shown = {k: v for k, v in wanted.items() if k != "clientState"}
        self.orders[id] = {**shown, "id": id, "expirationDateTime": until, "clientState": None}
        self.states[id] = wanted.get("clientState", "")
        return Answer(self.orders[id], 201)

    def all(self, _: Call) -> Answer:
        return Answer({"value": list(self.orders.values())})

    def renew(self, call: Call, id: str) -> Answer:
        order = self._known(id)
        order["expirationDateTime"] = _moment(_body(call).get("expirationDateTime", ""))
        return Answer(order)

    def end(self, _: Call, id: str) -> Answer:
        self._known(id)
        del self.orders[id], self.states[id]
        return Answer("", 204)

    def _known(self, id: str) -> dict[str, Any]:
        if id not in self.orders:
            raise GraphError(404, "ResourceNotFound", "The object was not found.")
        return self.orders[id]


def _body(call: Call) -> dict[str, Any]:
    try:
        found = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise GraphError(400, "BadRequest", "Invalid request.")
    return found


def _moment(value: str) -> str:
    try:
        until = dt.datetime.fromisoformat(value)
    except ValueError:
        raise GraphError(400, "InvalidRequest", "expirationDateTime is no date.") from None
    now = dt.datetime.now(dt.UTC)
    if not now < until <= now + LONGEST:
        raise GraphError(400, "ValidationError", "Subscription expiration can only be 41760 minutes in the future.")
    return until.strftime("%Y-%m-%dT%H:%M:%S.0000000Z")


def _shake_hands(url: str) -> None:
    token = _CHALLENGE.format(uuid.uuid4())
    try:
        answer = httpx.post(url, params={"validationToken": token}, headers={"content-type": "text/plain"},
                            timeout=_HANDSHAKE, trust_env=False)  # fmt: skip
    except httpx.HTTPError as error:
        raise GraphError(
            400, "ValidationError", f"Subscription validation request failed. {type(error).__name__}"
        ) from None
    plain = re.fullmatch(r"text/plain(;.*)?", answer.headers.get("content-type", ""))
    if answer.status_code != 200 or answer.text != token or plain is None:
        raise GraphError(400, "ValidationError", "Subscription validation request failed. Response must be 200 OK.")
