"""`/v1/offboardings`: programs ask that somebody be offboarded, and see what has become of it.

Each proves itself with a token of its own; the token's name is who asked, in the trail and in the receipt.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from worker.console import asked
from worker.console.desk import Desk
from worker.console.keyring import Allowance, Keyring
from worker.core.render import quoted
from worker.errors import Refused
from worker.flows import requests
from worker.settings.intake import Api
from worker.store.tables import OffboardingRow

PATH = f"{asked.V1}offboardings"
_KEY = re.compile(rb"[\x21-\x7e]{8,128}")
_BODY = 5.0  # seconds
_LONGEST: Mapping[str, int] = {"person": 320, "reason": 500}
_EXAMPLE = '{"person": "ana@acme.example", "reason": "left today"}'
_MOMENTS = ("requested_at", "confirmed_at", "marked_at", "locked_at", "verified_at", "closed_at")


def routes(desk: Desk, api: Api, tokens: Keyring) -> list[BaseRoute]:
    counter = _Counter(desk, api, tokens)
    return [
        Route(PATH, counter.ask_or_list, methods=["GET", "POST"]),
        Route(f"{PATH}/{{id}}", counter.show, methods=["GET"]),
    ]


class _Counter:
    """Where callers are known by their tokens, and are served so many times in a minute."""

    def __init__(self, desk: Desk, api: Api, tokens: Keyring) -> None:
        self._desk, self._api, self._tokens = desk, api, tokens
        self._allowance = Allowance(api.per_minute)

    def _caller(self, request: Request) -> str:
        scheme, _, token = asked.sent(request, "authorization").partition(b" ")
        name = self._tokens.owner(token.strip())
        if name is None or scheme.lower() != b"bearer":
            raise HTTPException(
                401, "Send `Authorization: Bearer TOKEN` with a token of this Trueup.", {"www-authenticate": "Bearer"}
            )
        wait = self._allowance.wait(name)
        if wait:
            said = f"This token may ask {self._api.per_minute} times in a minute; wait, then ask again."
            raise HTTPException(429, said, {"retry-after": str(math.ceil(wait))})
        return name

    async def ask_or_list(self, request: Request) -> Response:
        return await (self._ask if request.method == "POST" else self._list)(request)

    async def _ask(self, request: Request) -> Response:
        name = self._caller(request)
        key = asked.sent(request, "idempotency-key")
        if _KEY.fullmatch(key) is None:
            raise HTTPException(
                400, "Send an Idempotency-Key of 8 to 128 letters, digits or signs, a new one for each new request."
            )
        wanted = _request(await asked.json_object(request, _BODY))
        if wanted.force and name not in self._api.may_force:
            raise HTTPException(
                403, "This token may not force. Leave `force` out, or have it listed under `api.may_force`."
            )
        try:
            id, after = await self._desk.take(
                self._desk.programs, f"api:{name}", lambda site: requests.ask(site, key.decode(), wanted)
            )
        except (requests.KeyUsed, requests.NobodyKnown) as error:
            raise HTTPException(422, str(error)) from error
        except Refused as error:
            raise HTTPException(409, str(error)) from error
        answer = asked.answer({"id": str(id), "location": f"{PATH}/{id}"}, 202, {"location": f"{PATH}/{id}"})
        answer.background = after
        return answer

    async def show(self, request: Request) -> Response:
        name = self._caller(request)
        try:
            id = uuid.UUID(request.path_params["id"])
        except ValueError:
            raise _nothing() from None
        found, _ = await self._desk.take(
            self._desk.programs, f"api:{name}", lambda site: requests.one(site, id, name in self._api.sees_all)
        )
        if found is None:
            raise _nothing()
        row, receipt = found
        return asked.answer({**self._shown(row, name), "receipt": receipt and self._receipt(row, receipt, name)})

    async def _list(self, request: Request) -> Response:
        name, moment = self._caller(request), _since(request)
        rows, _ = await self._desk.take(
            self._desk.programs, f"api:{name}", lambda site: requests.since(site, moment, name in self._api.sees_all)
        )
        shown, more = rows[: requests.SHOWN], rows[requests.SHOWN :]
        then = f"{PATH}?since={more[0].requested_at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%fZ}" if more else None
        return asked.answer({"offboardings": [self._shown(row, name) for row in shown], "next": then})

    def _shown(self, row: OffboardingRow, caller: str) -> dict[str, Any]:
        """Nobody's name: the person is our id, as in the trail. Why somebody else asked for it is theirs to tell."""
        theirs = self._may_know(row, caller)
        return {
            "id": str(row.id), "person": str(row.person_id), "state": row.state, "why": row.why, "trigger": row.trigger,
            "reason": row.reason if theirs else None, "actor": row.actor if theirs else None, "forced": row.forced,
            **{name: moment.astimezone(dt.UTC) if (moment := getattr(row, name)) else None for name in _MOMENTS},
        }  # fmt: skip

    def _receipt(self, row: OffboardingRow, receipt: Mapping[str, Any], caller: str) -> dict[str, Any]:
        """Without who decided, for those who do not see all."""
        hidden = set() if caller in self._api.sees_all else {"decided_by", "entries"}
        hidden |= set() if self._may_know(row, caller) else {"reason", "asked_by"}
        return {key: value for key, value in receipt.items() if key not in hidden}

    def _may_know(self, row: OffboardingRow, caller: str) -> bool:
        return row.actor == f"api:{caller}" or caller in self._api.sees_all


def _nothing() -> HTTPException:
    return HTTPException(404, "There is no such offboarding, or it is not this token's to see.")


def _request(body: Mapping[str, Any]) -> requests.Request:
    """What is asked for. Raises HTTPException 422 that says what to write."""
    for key in body:
        if key not in ("person", "reason", "force"):
            raise HTTPException(422, f"There is no key {quoted(key, 40)!r}. Send such as {_EXAMPLE}.")
    texts = {key: _text(body.get(key), key) for key in _LONGEST}
    force = body.get("force", False)
    if not isinstance(force, bool):
        raise HTTPException(422, "`force` is true or false; leave it out where the source is to be asked first.")
    return requests.Request(**texts, force=force)


def _text(value: Any, key: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not 0 < len(text) <= _LONGEST[key] or not text.isprintable():
        raise HTTPException(
            422, f"`{key}` is a text of 1 to {_LONGEST[key]} characters on one line. Send such as {_EXAMPLE}."
        )
    return text


def _since(request: Request) -> dt.datetime:
    given = request.query_params.getlist("since")
    if set(request.query_params) - {"since"} or len(given) != 1:
        raise HTTPException(422, "Ask with one `?since=`, such as ?since=2026-11-21T08:00:00Z, and nothing else.")
    try:
        moment = dt.datetime.fromisoformat(given[0])
        if moment.tzinfo is None:
            raise ValueError("no zone")
        return moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        said = "`since` is a moment with its zone, such as 2026-11-21T08:00:00Z (a + is written %2B in an address)."
        raise HTTPException(422, said) from None
