"""The org's API as it answers over HTTP: authorised, throttled, paged, and shaped like Okta's."""

from __future__ import annotations

import base64
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from worker.sandbox.company import Company
from worker.sandbox.okta.answers import OktaError, as_json, bare, base, group_json, joined, page_size, shape
from worker.sandbox.okta.directory import EVERYONE, Directory, Group, User
from worker.sandbox.okta.filters import GROUP_FILTER, USER_FILTER, BadFilter, parse
from worker.sandbox.okta.oauth import AuthorizationServer, OAuthError, Unauthorized
from worker.sandbox.server import SandboxServer

OWNER_ID = "00utrueupreader00001"
READ_USERS, READ_GROUPS = "okta.users.read", "okta.groups.read"
MANAGE_USERS, MANAGE_GROUPS = "okta.users.manage", "okta.groups.manage"


class OktaSandbox(SandboxServer):
    """An Okta org loaded with a company. Edit it through `directory` or the methods of the same names.

    The API token belongs to an administrator of its own (`owner_id`), who is one more user of the org. Switches:
    `links` ("self-first", "next-first", "no-self", "circle"), `admin_role` ("full", "narrow", "none") with `narrow_to`
    (names of the groups that a narrow role covers), `per_minute` (calls per bucket, None for no limit) and `window`
    (its seconds).
    """

    name = "okta"
    unlogged = ("/oauth2/v1/token",)

    def __init__(
        self,
        company: Company,
        *,
        token: str = "00sandbox-okta-token",  # noqa: S107 - opens nothing but this sandbox
        client_id: str = "0oatrueupsandbox0001",
        public_key: str = "",
        scopes: Collection[str] = (READ_USERS, READ_GROUPS, MANAGE_USERS, MANAGE_GROUPS),
        org_id: str = "00osandbox0000000001",
    ) -> None:
        super().__init__()
        self.directory = Directory(company)
        self.oauth = AuthorizationServer(client_id, frozenset(scopes), public_key)
        self.token, self.client_id, self.org_id, self.owner_id = token, client_id, org_id, OWNER_ID
        self.hire("Trueup", "Reader", id=OWNER_ID, login="trueup-reader@example.com")
        self.links = "self-first"
        self.admin_role = "full"
        self.narrow_to: frozenset[str] = frozenset()
        self.per_minute: int | None = None
        self.window = 60.0
        self._buckets: dict[str, tuple[int, int]] = {}
        self._concurrency = 0
        self._cursors = secrets.token_hex(4)

    def hire(
        self, first_name: str, last_name: str, *, login: str = "", groups: Iterable[str] = (),
        status: str = "ACTIVE", id: str = "", **profile: Any,
    ) -> str:  # fmt: skip
        """A new user; gives its id."""
        return self.directory.hire(first_name, last_name, login=login, groups=groups, status=status, id=id, **profile)

    def deactivate(self, id: str) -> None:
        self.directory.deactivate(id)

    def suspend(self, id: str) -> None:
        self.directory.suspend(id)

    def set_status(self, id: str, status: str, transitioning: str | None = None) -> None:
        self.directory.set_status(id, status, transitioning)

    def rename(self, id: str, **profile: Any) -> None:
        self.directory.rename(id, **profile)

    def set_profile(self, id: str, profile: Any) -> None:
        self.directory.set_profile(id, profile)

    def delete(self, id: str) -> None:
        self.directory.delete(id)

    def add_to_group(self, id: str, group: str) -> None:
        self.directory.add_to_group(id, group)

    def remove_from_group(self, id: str, group: str) -> None:
        self.directory.remove_from_group(id, group)

    def create_group(self, name: str, type: str = "OKTA_GROUP", id: str = "") -> str:
        return self.directory.create_group(name, type, id)

    def rename_group(self, group: str, name: str) -> None:
        self.directory.rename_group(group, name)

    def delete_group(self, group: str) -> None:
        self.directory.delete_group(group)

    def crowd(self, times: int) -> None:
        """The next calls meet the org's concurrency limit: 429 with Limit 0 and a Reset that is only a guess."""
        self._concurrency = times

    @property
    def private_key(self) -> str:
        """PEM of the service app's key, made at first use."""
        return self.oauth.private_key

    def state(self) -> dict[str, Any]:
        names = {group.id: group.name for group in self.directory.groups.values()}
        with self.directory.lock:
            return {
                "org": self.org_id,
                "users": [
                    {
                        "id": user.id, "status": user.status, "profile": user.profile,
                        "groups": sorted(names[group] for group in user.groups),
                    }
                    for user in self.directory.users.values()
                ],
                "groups": [
                    {"id": g.id, "name": g.name, "type": g.type, "members": len(self.directory.members(g))}
                    for g in self.directory.groups.values()
                ],
            }  # fmt: skip

    def routes(self) -> list[BaseRoute]:
        user, group = "/api/v1/users/{user}", "/api/v1/groups/{group}"
        return [
            Route("/.well-known/okta-organization", self._organization),
            Route("/oauth2/v1/token", self._mint, methods=["POST"]),
            self._route("GET", "/api/v1/users", READ_USERS, self._list_users),
            self._route("GET", user, READ_USERS, self._one_user),
            self._route("GET", f"{user}/groups", READ_USERS, self._groups_of_user),
            self._route("POST", f"{user}/lifecycle/{{verb}}", MANAGE_USERS, self._lifecycle),
            self._route("DELETE", f"{user}/sessions", MANAGE_USERS, self._end_sessions),
            self._route("GET", "/api/v1/groups", READ_GROUPS, self._list_groups),
            self._route("GET", group, READ_GROUPS, self._one_group),
            self._route("GET", f"{group}/users", READ_GROUPS, self._list_members),
            self._route("PUT", f"{group}/users/{{user}}", MANAGE_GROUPS, self._join),
            self._route("DELETE", f"{group}/users/{{user}}", MANAGE_GROUPS, self._leave),
        ]

    def _route(self, method: str, path: str, scope: str, answer: Callable[[Request], Response]) -> Route:
        async def endpoint(request: Request) -> Response:
            limits = self._limits(request.url.path)
            try:
                self._throttle(limits)
                self._authorise(request, scope)
                with self.directory.lock:
                    response = answer(request)
            except OktaError as error:
                response = Response(error.body, error.status, error.headers, "application/json")
            except BadFilter as error:
                refused = OktaError(400, "E0000031", str(error))
                response = Response(refused.body, 400, media_type="application/json")
            for name, value in limits.items():
                response.headers[f"X-Rate-Limit-{name}"] = str(value)
            return response

        return Route(path, endpoint, methods=[method])

    def _limits(self, path: str) -> dict[str, int]:
        """What the three rate-limit headers say after this call; Remaining is -1 when it was one too many."""
        now = int(time.time())
        if self._concurrency:
            self._concurrency -= 1
            return {"Limit": 0, "Remaining": 0, "Reset": now + 60}
        if self.per_minute is None:
            return {"Limit": 6000, "Remaining": 5999, "Reset": now + 60}
        parts = path.split("/")
        bucket = "/".join(parts[:4]) + ("/{id}" if len(parts) > 4 else "")
        reset, used = self._buckets.get(bucket, (0, 0))
        if reset <= time.time():
            reset, used = int(time.time() + self.window) + 1, 0
        self._buckets[bucket] = (reset, used + 1)
        return {"Limit": self.per_minute, "Remaining": self.per_minute - used - 1, "Reset": reset}

    def _throttle(self, limits: dict[str, int]) -> None:
        if limits["Limit"] == 0 or limits["Remaining"] < 0:
            limits["Remaining"] = 0
            raise OktaError(429, "E0000047")

    def _authorise(self, request: Request, scope: str) -> None:
        given = request.headers.get("authorization", "")
        if re.fullmatch(rf"SSWS ?{re.escape(self.token)}", given):
            return
        try:
            scopes = self.oauth.scopes_of(given, request.headers.get("dpop", ""), request.method, bare(request))
        except Unauthorized as error:
            raise OktaError(401, "E0000011", str(error)) from error
        if scope not in scopes or self.admin_role == "none":
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"' if scope not in scopes else ""
            raise OktaError(403, "E0000006", headers={"WWW-Authenticate": challenge} if challenge else {})

    async def _organization(self, request: Request) -> Response:
        url = base(request)
        return as_json(
            {"id": self.org_id, "_links": {"organization": {"href": url}}, "pipeline": "idx", "settings": {}}
        )

    async def _mint(self, request: Request) -> Response:
        try:
            answer = self.oauth.mint(bare(request), await request.body(), request.headers.get("dpop", ""))
        except OAuthError as error:
            return Response(error.body, error.status, error.headers, "application/json")
        return as_json(answer)

    def _covered(self) -> frozenset[str] | None:
        """Ids of the users that a narrow admin role shows; None for all."""
        if self.admin_role != "narrow":
            return None
        groups = [g for g in self.directory.groups.values() if g.name in self.narrow_to]
        return frozenset(id for group in groups for id in group.members)

    def _list_users(self, request: Request) -> Response:
        asked, users = request.query_params, self.directory.users
        covered = self._covered()
        expression = asked.get("filter") or asked.get("search")
        if asked.get("q"):
            return self._quick_search(request, asked["q"])
        if expression:
            matches = parse(expression, USER_FILTER)

            def keep(id: str) -> bool:
                return (covered is None or id in covered) and matches(users[id].get)
        else:

            def keep(id: str) -> bool:
                return users[id].status != "DEPROVISIONED" and (covered is None or id in covered)

        return self._user_page(request, self.directory.order, 200, keep)

    def _quick_search(self, request: Request, start: str) -> Response:
        """`q` matches the beginning of names and e-mail, gives ten unless told, and never a second page."""
        keys = ("profile.firstName", "profile.lastName", "profile.email")
        found = [
            user for id in self.directory.order if (user := self.directory.users[id]).status != "DEPROVISIONED"
            and any((user.get(key) or "").lower().startswith(start.lower()) for key in keys)
        ]  # fmt: skip
        return joined([user.body(shape(request)) for user in found[: page_size(request, 10, 200)]])

    def _user_page(
        self, request: Request, ids: list[str], default: int, keep: Callable[[str], bool] | None = None
    ) -> Response:
        ceiling = 200 if request.url.path.endswith("/api/v1/users") else 1000
        page, more = self.directory.page(ids, self._after(request), page_size(request, default, ceiling), keep)
        look = shape(request)
        response = joined([self.directory.users[id].body(look) for id in page])
        return self._linked(request, response, page[-1] if more else "")

    def _one_user(self, request: Request) -> Response:
        return Response(self._user(request).body(shape(request)), media_type="application/json")

    def _user(self, request: Request) -> User:
        key = request.path_params["user"]
        if key == "me" and request.headers["authorization"].startswith("SSWS"):
            key = self.owner_id
        found, covered = self.directory.find(key), self._covered()
        if found is None or (covered is not None and found.id not in covered and found.id != self.owner_id):
            raise OktaError(404, "E0000007", f"{key} (User)")
        return found

    def _groups_of_user(self, request: Request) -> Response:
        url = base(request)
        return as_json([group_json(group, url) for group in self.directory.groups_of(self._user(request))])

    def _lifecycle(self, request: Request) -> Response:
        user, verb = self._user(request), request.path_params["verb"]
        allowed = {"suspend": ("ACTIVE",), "unsuspend": ("SUSPENDED",)}.get(verb)
        if verb == "deactivate":
            self.directory.deactivate(user.id)
        elif allowed is None:
            raise OktaError(404, "E0000007", verb)
        elif user.status not in allowed:
            raise OktaError(400, "E0000001", f"Cannot {verb} a user whose status is {user.status}")
        else:
            self.directory.set_status(user.id, "SUSPENDED" if verb == "suspend" else "ACTIVE")
        return Response()

    def _end_sessions(self, request: Request) -> Response:
        self._user(request)
        return Response(status_code=204)

    def _list_groups(self, request: Request) -> Response:
        asked, groups = request.query_params, self.directory.groups
        expression = asked.get("filter") or asked.get("search")
        matches = parse(expression, GROUP_FILTER) if expression else None

        def keep(id: str) -> bool:
            return self._visible(groups[id]) and (matches is None or matches(groups[id].get))

        page, more = self.directory.page(
            sorted(groups), self._after(request), page_size(request, 10_000, 10_000), keep
        )  # fmt: skip
        url, stats = base(request), asked.get("expand") == "stats"
        shown = [group_json(groups[id], url) | (self._stats(groups[id]) if stats else {}) for id in page]
        return self._linked(request, as_json(shown), page[-1] if more else "")

    def _visible(self, group: Group) -> bool:
        return self.admin_role != "narrow" or group.name in self.narrow_to

    def _stats(self, group: Group) -> dict[str, Any]:
        count = len(self.directory.members(group))
        return {"_embedded": {"stats": {"usersCount": count, "appsCount": 0, "groupPushMappingsCount": 0}}}

    def _group_of(self, request: Request) -> Group:
        found = self.directory.groups.get(request.path_params["group"])
        if found is None or not self._visible(found):
            raise OktaError(404, "E0000007", f"{request.path_params['group']} (UserGroup)")
        return found

    def _one_group(self, request: Request) -> Response:
        return as_json(group_json(self._group_of(request), base(request)))

    def _list_members(self, request: Request) -> Response:
        return self._user_page(request, self.directory.members(self._group_of(request)), 1000)

    def _join(self, request: Request) -> Response:
        self._change_member(request, self.directory.add_to_group)
        return Response(status_code=204)

    def _leave(self, request: Request) -> Response:
        self._change_member(request, self.directory.remove_from_group)
        return Response(status_code=204)

    def _change_member(self, request: Request, change: Callable[[str, str], None]) -> None:
        group = self._group_of(request)
        if group.type != "OKTA_GROUP" or group.name == EVERYONE:
            raise OktaError(403, "E0000006", "Only groups that Okta masters can be changed")
        change(self._user(request).id, group.id)

    def _after(self, request: Request) -> str:
        cursor = request.query_params.get("after")
        if cursor is None:
            return ""
        try:
            tag, _, id = base64.urlsafe_b64decode(cursor).decode().partition(":")
        except ValueError as error:
            raise OktaError(400, "E0000001", "Invalid cursor") from error
        if tag != self._cursors:
            raise OktaError(400, "E0000001", "Invalid cursor")
        return id

    def _linked(self, request: Request, response: Response, last: str) -> Response:
        """Two header lines, as Okta sends them: self, then next. URLs are absolute, cursors opaque."""
        lines = {"self": f'<{request.url}>; rel="self"'}
        if last:
            cursor = base64.urlsafe_b64encode(f"{self._cursors}:{last}".encode()).decode()
            lines["next"] = f'<{request.url.include_query_params(after=cursor)}>; rel="next"'
        if self.links == "circle":
            lines["next"] = f'<{request.url}>; rel="next"'
        order = {"next-first": ("next", "self"), "no-self": ("next",)}.get(self.links, ("self", "next"))
        response.raw_headers.extend((b"link", lines[rel].encode()) for rel in order if rel in lines)
        return response
