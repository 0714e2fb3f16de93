"""Our standing orders at Microsoft Graph: that it tells us, at an address of ours, of every change to the users.

They need no permission beyond that to read users. Graph forgets one that lapses without a word, so whoever keeps them
asks which ones stand.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from worker.core.render import quoted
from worker.errors import Misshapen, Missing
from worker.ports import Subscription
from worker.rest import Reply
from worker.sources.entra.graph import VERSION, Graph
from worker.sources.entra.settings import GUID

PATH = f"{VERSION}/subscriptions"
LIFE = dt.timedelta(minutes=41_760)  # Graph's ceiling for users and groups
MARGIN = dt.timedelta(minutes=10)  # Graph measures the ceiling by its own clock
CHANGES = "updated,deleted"  # the first one covers whoever is made, disabled or put among the deleted
PAGES = 50  # of a list that Graph bounds at a thousand orders in all


class GraphSubscriptions:
    """The orders of one app in one tenant."""

    resources: Sequence[str] = ("users",)
    life = LIFE - MARGIN

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def standing(self, url: str) -> Sequence[Subscription]:
        """Those of ours that lead to this address, as Graph has them now."""
        return [_order(row, row) for row in self._listed() if row.get("notificationUrl") == url]

    def make(self, resource: str, url: str, secret: str, until: dt.datetime) -> Subscription:
        """Order it, for both kinds of words; Graph asks the address before it agrees."""
        wanted = {
            "changeType": CHANGES, "resource": resource, "notificationUrl": url, "lifecycleNotificationUrl": url,
            "clientState": secret, "expirationDateTime": _written(until), "latestSupportedTlsVersion": "v1_2",
        }  # fmt: skip
        reply = self._graph.order("POST", PATH, wanted, secret=secret)
        return _order(_object(reply), {"resource": resource}, reply.call)

    def renew(self, id: str, until: dt.datetime) -> Subscription:
        """Let it stand longer. Raises Missing when Graph has it no more."""
        reply = self._graph.order("PATCH", _path(id), {"expirationDateTime": _written(until)})
        return _order(_object(reply), {"id": id}, reply.call)

    def end(self, id: str) -> None:
        """Order it off; one that is gone is as good."""
        try:
            self._graph.order("DELETE", _path(id))
        except Missing:
            return

    def _listed(self) -> Sequence[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        following = PATH
        for _ in range(PAGES):
            page = self._graph.listed(following)
            found += page.rows
            following = page.following
            if not following:
                return found
        raise Misshapen(f"GET {PATH}: the list of subscriptions does not end after {PAGES} pages.")


def _path(id: str) -> str:
    if not GUID.fullmatch(id):
        raise Misshapen(f"{quoted(id, 60)!r} is no id of a subscription.")
    return f"{PATH}/{quote(id, safe='-')}"


def _object(reply: Reply) -> Mapping[str, Any]:
    body = reply.json()
    if not isinstance(body, dict):
        raise Misshapen(f"{reply.call} answered no subscription ({quoted(reply.text)}).")
    return body


def _order(row: Mapping[str, Any], known: Mapping[str, Any], call: str = f"GET {PATH}") -> Subscription:
    """What Graph says of an order; `known` has what an answer may leave out."""
    id, resource = row.get("id", known.get("id")), row.get("resource", known.get("resource", ""))
    until = _moment(row.get("expirationDateTime"))
    if not isinstance(id, str) or not GUID.fullmatch(id) or until is None:
        raise Misshapen(f"{call} answered a subscription without an id or an end.")
    return Subscription(id.lower(), str(resource), until)


def _written(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(value: Any) -> dt.datetime | None:
    try:
        found = dt.datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
