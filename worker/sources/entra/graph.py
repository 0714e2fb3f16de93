"""Microsoft Graph as one tenant's app sees it: reads with a token, and lists that are followed to their very end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from worker.core.render import quoted
from worker.errors import Denied, Misshapen, Missing, Moved, Rejected
from worker.rest import Reply, Rest
from worker.sources._pagination import Trail
from worker.sources.entra.login import Login

VERSION = "/v1.0"
USERS_PATH, GROUPS_PATH = f"{VERSION}/users", f"{VERSION}/groups"
DELETED_PATH = f"{VERSION}/directory/deletedItems"
DELETED_USERS_PATH = f"{DELETED_PATH}/microsoft.graph.user"
USERS, GROUPS = "User.Read.All", "GroupMember.Read.All"
HIDDEN, APPS = "Member.Read.Hidden", "Application.Read.All"
EVENTUAL = {"ConsistencyLevel": "eventual"}  # what a count and a cast are answered with; needed on every page
PAGE = 999  # rows of a page: Graph's ceiling
LEG = 20  # pages that one worker follows a list for, before anybody may go on
GONE, EXPIRED = "Request_ResourceNotFound", "Directory_ExpiredPageToken"
_GONE_ELSEWHERE = ("ResourceNotFound", "itemNotFound")  # of what the directory does not hold, such as a subscription
_JUDGED = (400, 401, 403, 404, 410)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: objects that all have an id, and the link to the next one ("" at the end)."""

    rows: Sequence[Mapping[str, Any]]
    following: str


class Graph:
    """Reads with a token. Raises Denied with the permission to add, Missing only where Graph itself says so, and Moved
    where a list has to be read again from its start."""

    def __init__(self, name: str, rest: Rest, login: Login) -> None:
        self.name = name
        self.rest, self.login = rest, login

    def close(self) -> None:
        self.rest.close()
        self.login.close()

    def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        permission: str = USERS,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One answer. A token that Graph refuses is renewed, once."""
        return self._judged(lambda: self.rest.get(path, params, headers=headers, accept=_JUDGED), permission)

    def ask(self, path: str, json: Any) -> Reply:
        """The same of what has to be asked for by POST."""
        return self._judged(lambda: self.rest.ask(path, json=json, accept=_JUDGED), USERS)

    def order(self, method: str, path: str, json: Any = None, *, secret: str = "") -> Reply:
        """Once, and never repeated by itself: what changes something of our own at Graph. Raises Unknown wherever it
        may have happened. A secret in it is in no message."""
        return self._judged(lambda: self.rest.send(method, path, json=json, accept=_JUDGED), USERS, secret)

    def _judged(self, call: Callable[[], Reply], permission: str, secret: str = "") -> Reply:
        carried = self.login.carried()
        reply = call()
        if reply.status == 401:
            self.login.renewed(carried)
            reply = call()
        if reply.status in _JUDGED:
            content = reply.content.replace(secret.encode(), b"[secret]") if secret else reply.content
            raise self.refusal(reply.status, content, reply.call, permission)
        return reply

    def pages(
        self,
        path: str,
        params: Mapping[str, str | int],
        *,
        permission: str = USERS,
        trail: Trail | None = None,
    ) -> Iterator[Sequence[Mapping[str, Any]]]:
        """Every page of a list. Ends only where Graph ends it, and never in a circle. With a trail it goes on where
        that ends, for a leg of it."""
        trail, last = (Trail(), 0) if trail is None else (trail, trail.pages + LEG)
        asked: tuple[str, Mapping[str, str | int] | None] = (path, {**params, "$top": PAGE})
        while True:
            reply = self.get(*((trail.following, None) if trail.following else asked), permission=permission)
            page = self._page(reply)
            trail.follow(reply.call, [row["id"] for row in page.rows], page.following)
            yield page.rows
            if not trail.following or trail.pages == last:
                return

    def listed(self, where: str) -> Page:
        """One page of a list whose size is Graph's own: from its path, or from the link of the page before."""
        return self._page(self.get(where))

    def count(self, path: str, *, permission: str = USERS) -> int:
        """How many Graph's index counts; it may lag behind the lists, in either direction."""
        reply = self.get(f"{path}/$count", permission=permission, headers={**EVENTUAL, "Accept": "text/plain"})
        text = reply.content.decode("utf-8-sig", "replace").strip()
        if not text.isascii() or not text.isdigit():
            raise Misshapen(f"{reply.call} answered no number ({quoted(reply.text)}); is a proxy in front of it?")
        return int(text)

    def refusal(self, status: int, content: bytes, call: str, permission: str) -> Exception:
        """What a status means that is neither good nor passing."""
        code, said = error_code(content), quoted(error_text(content))
        if status == 401:
            return Denied(
                f"{call} refused our token, and a new one too (401: {said}). Is the app of {self.name} still enabled?",
                status,
            )
        if status == 403:
            return Denied(
                f"{call} is not allowed (403: {said}). Give the app {self.login.client_id} the application permission"
                f" {permission}, with an administrator's consent.",
                status,
            )
        if status == 410 or code == EXPIRED:
            return Moved(f"{call}: Graph has lost the place in its list ({status}: {said}); read again from the start.")
        if status == 404 and code in (GONE, *_GONE_ELSEWHERE):
            return Missing(f"{call} was not found (404: {said}).", 404)
        if status == 404:
            return Misshapen(f"{call} answered 404, but not in Graph's words ({said}); is a proxy in front of it?")
        if not code:
            return Misshapen(f"{call} answered {status}, but not in Graph's words ({said}); is a proxy in front of it?")
        return Rejected(f"{call} was rejected ({status}: {said}).", status)

    def _page(self, reply: Reply) -> Page:
        body = reply.json()
        following = body.get("@odata.nextLink", "") if isinstance(body, dict) else None
        if not isinstance(following, str) or not isinstance(body.get("value"), list):
            raise Misshapen(f"{reply.call} answered no list ({quoted(reply.text)}).")
        for row in body["value"]:
            if type(row) is not dict or type(row.get("id")) is not str or not row["id"]:
                raise Misshapen(
                    f"{reply.call} listed something without an id, which cannot be told from anything else."
                )
        self._refuse_elsewhere(reply.call, following)
        return Page(body["value"], following)

    def _refuse_elsewhere(self, call: str, link: str) -> None:
        """A next link stays on our host (Rest sees to that) and below the version that we read."""
        path = urlsplit(link).path
        if link and (not path.startswith(f"{VERSION}/") or ".." in path or "%2e" in path.lower() or "://" not in link):
            raise Misshapen(f"{call} answered with a next link that leads elsewhere ({quoted(path, 80)}).")


def error_text(content: bytes) -> str:
    """`Authorization_RequestDenied Insufficient privileges` from Graph's error body; other bodies as they are."""
    error = _error(content)
    said = f"{error.get('code', '')} {error.get('message', '')}".strip()
    return said or content.decode("utf-8", "replace") or "no explanation"


def error_code(content: bytes) -> str:
    """Graph's own code, by which alone errors are told apart; "" where the body is not Graph's."""
    code = _error(content).get("code")
    return code if isinstance(code, str) else ""


def _error(content: bytes) -> Mapping[str, Any]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}
