"""One org's API: authorised reads, and lists that are followed to their very end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import orjson

from worker.core.render import quoted
from worker.errors import Denied, Misconfigured, Misshapen, Missing
from worker.rest import Reply, Rest
from worker.sources._pagination import Trail
from worker.sources.okta.credentials import Credentials
from worker.sources.okta.settings import GROUPS, USERS

PAGE = 200  # rows of a page: Okta's ceiling for users, and what it recommends for groups and members
LEG = 20  # pages that one worker follows a list for, before anybody may go on
NOT_FOUND = "E0000007"
# Spares us credentials metadata that we have no business to see, and Okta slow look-ups.
LEAN = {"Content-Type": "application/json; okta-response=omitCredentials,omitCredentialsLinks"}
ORGANIZATION, USERS_PATH, GROUPS_PATH = "/.well-known/okta-organization", "/api/v1/users", "/api/v1/groups"
ME = f"{USERS_PATH}/me"
_ALWAYS_THERE = frozenset({ORGANIZATION, USERS_PATH, GROUPS_PATH, ME})
_VIEWS = {USERS: "users", GROUPS: "groups and their members"}


def error_text(content: bytes) -> str:
    """`E0000011 Invalid token provided: cause` from Okta's error body; other bodies as they are."""
    error = _error_body(content)
    causes = error.get("errorCauses")
    told = [c["errorSummary"] for c in causes if isinstance(c, dict) and "errorSummary" in c] if causes else []
    parts = [f"{error.get('errorCode', '')} {error.get('errorSummary', '')}".strip(), *map(str, told)]
    return ": ".join(filter(None, parts)) or content.decode("utf-8", "replace") or "no explanation"


class Org:
    """Reads with credentials. Raises Denied with the right to add, and Missing only where Okta itself says so."""

    def __init__(self, name: str, rest: Rest, credentials: Credentials) -> None:
        self.name = name
        self._rest, self._credentials = rest, credentials

    def close(self) -> None:
        self._rest.close()
        self._credentials.close()

    def get(self, path: str, params: Mapping[str, str | int] | None = None, scope: str = USERS) -> Reply:
        """One answer. An access token that Okta refuses is renewed, once."""
        lean = LEAN if urlsplit(path).path.startswith(USERS_PATH) else None
        for fresh in (False, True):
            carried = self._credentials.current
            reply = self._rest.get(path, params, headers=lean, accept=(401, 403, 404))
            if reply.status != 401 or fresh or not self._credentials.renewed(carried):
                break
        if reply.status in (401, 403):
            raise self._denied(reply, scope)
        if reply.status == 404:
            raise self._missing(reply, urlsplit(path).path)
        return reply

    def pages(
        self, path: str, params: Mapping[str, str | int], scope: str = USERS, trail: Trail | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Every page of a list: objects that all have an id. Ends only where Okta ends it, and never in a circle.

        With a trail it goes on where that ends, for a leg of it. The next page is fetched while the caller is busy
        with this one.
        """
        trail, last = (Trail(), 0) if trail is None else (trail, trail.pages + LEG)
        ids: set[str] = set()
        if trail.following:
            reply = self.get(trail.following, None, scope)
        else:
            reply = self.get(path, {**params, "limit": PAGE}, scope)
        with ThreadPoolExecutor(1) as fetcher:
            while True:
                records = records_of(reply)
                trail.follow(reply.call, [record["id"] for record in records], reply.links.get("next", ""))
                going_on = trail.following and trail.pages != last
                upcoming = fetcher.submit(self.get, trail.following, None, scope) if going_on else None
                known = len(ids)
                ids.update(record["id"] for record in records)
                if records and len(ids) == known:
                    raise Misshapen(f"{reply.call}: the pages go round in a circle (a whole page came twice).")
                if not trail.following and len(records) >= PAGE and "self" not in reply.links:
                    raise Misshapen(
                        f"{reply.call} ended after a full page without any Link header, so the rest of the list may be"
                        " lost. Does a proxy in front of Okta drop headers?"
                    )
                yield records
                if upcoming is None:
                    return
                reply = upcoming.result()

    def _denied(self, reply: Reply, scope: str) -> Denied:
        said = quoted(error_text(reply.text.encode()))
        app = self._credentials.client_id
        if reply.status == 401:
            cure = (
                "It refused a new access token too: is the service app still active?"
                if app
                else "A token ends after 30 days without use, when it is revoked, and with its owner's account: create"
                " another one and put it where `token` points."
            )
            return Denied(f"{reply.call} refused our credentials (401: {said}). {cure}")
        views = _VIEWS[scope]
        cure = (
            f"Grant the app {app} the scope {scope}, and an administrator role that may view {views}"
            " (Read-only Administrator, or a custom role whose resource set covers all of them)."
            if app
            else f"Give the token's owner an administrator role that may view {views} (Read-only Administrator)."
        )
        return Denied(f"{reply.call} is not allowed (403: {said}). {cure}")

    def _missing(self, reply: Reply, path: str) -> Missing | Misconfigured | Misshapen:
        said = quoted(error_text(reply.text.encode()))
        if path in _ALWAYS_THERE:
            return Misconfigured(
                f"{reply.call} was not found (404: {said}), though every org has it. Set `url` of {self.name} to the"
                " org's own address, such as https://acme.okta.com."
            )
        if _error_body(reply.content).get("errorCode") != NOT_FOUND:
            return Misshapen(f"{reply.call} answered 404, but not in Okta's words ({said}); is a proxy in front of it?")
        return Missing(f"{reply.call} was not found (404: {said}).", 404)


def records_of(reply: Reply) -> list[dict[str, Any]]:
    """The rows of a page. Raises Misshapen unless each has an id."""
    rows = reply.json()
    if not isinstance(rows, list):
        raise Misshapen(f"{reply.call} answered no list ({quoted(reply.text)}).")
    for row in rows:
        if type(row) is not dict or type(row.get("id")) is not str or not row["id"]:
            raise Misshapen(f"{reply.call} listed something without an id, which cannot be told from anything else.")
    return rows


def _error_body(content: bytes) -> Mapping[str, Any]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
