"""Lists in pages: sorted ids, a skip token that outlives edits, and what Graph does not do to a list."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from worker.sandbox.entra.answers import Call, GraphError

_EXPIRED = "The specified page token value has expired and can no longer be included in your request."


@dataclass
class Pages:
    """`hollow`: every list begins with an empty page that has a next one."""

    hollow: bool = False
    _age: str = field(default_factory=lambda: secrets.token_hex(4))

    def expire(self) -> None:
        """No skip token given out so far is good any more."""
        self._age = secrets.token_hex(4)

    def page(self, call: Call, ids: Sequence[str], most: int = 999) -> tuple[Sequence[str], dict[str, Any]]:
        """The ids of the page that is asked for, and what surrounds it: count and next link."""
        after, size = self._after(call), call.top(most=most)
        rest = [id for id in ids if after is None or id > after]
        hollow = self.hollow and after is None
        page = [] if hollow else rest[:size]
        around: dict[str, Any] = {}
        if call.counts and call.eventual and after is None:
            around["@odata.count"] = len(ids)
        if hollow or len(rest) > size:
            around["@odata.nextLink"] = self._next(call, page[-1] if page else "")
        return page, around

    def _next(self, call: Call, last: str) -> str:
        """Absolute, with the query as it was asked; headers have to be sent again."""
        kept = [piece for piece in call.query.split("&") if piece and not _is_skip_token(piece)]
        token = base64.urlsafe_b64encode(orjson.dumps([self._age, _digest(call), last])).decode().rstrip("=")
        return f"{call.base}/v1.0{call.path}?{'&'.join([*kept, f'$skiptoken={token}'])}"

    def _after(self, call: Call) -> str | None:
        """The last id of the page before; None at the beginning."""
        given = call.asked.get("$skiptoken")
        if given is None:
            return None
        try:
            age, digest, last = orjson.loads(base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)))
        except ValueError as error:
            raise GraphError(400, "Request_BadRequest", "Skip token is not valid.") from error
        if age != self._age:
            raise GraphError(400, "Directory_ExpiredPageToken", _EXPIRED)
        if digest != _digest(call):
            raise GraphError(400, "Request_BadRequest", "Skip token is not valid.")
        return str(last)


def _is_skip_token(piece: str) -> bool:
    return piece.lower().startswith(("$skiptoken=", "%24skiptoken="))


def _digest(call: Call) -> str:
    """A skip token belongs to one list."""
    return hashlib.sha256(call.path.encode()).hexdigest()[:12]
