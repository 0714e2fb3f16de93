"""The sandbox's HTTP side: addresses, media types, credentials, cookies, both styles of error, and edits by hand."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from worker.sandbox.company import Company
from worker.sandbox.server import SandboxServer
from worker.sandbox.teamcity import groups, users
from worker.sandbox.teamcity.call import VIEW_USERS, Call
from worker.sandbox.teamcity.problems import Problem, as_json, as_text
from worker.sandbox.teamcity.shapes import Shapes
from worker.sandbox.teamcity.world import ALL_USERS, RECONCILER_PERMISSIONS, Token, User, World, now

METHODS = ["GET", "POST", "PUT", "DELETE"]
_JSON, _TEXT, _VOID, _VOID_TEXT = "json", "text", "void", "void-text"


@dataclass(frozen=True)
class Endpoint:
    """`gives` is what it produces; `takes` what a body must be. A void call answers 204 and heeds no Accept, unless it
    says that it produces text."""

    method: str
    path: tuple[str, ...]
    run: Callable[[Call], Any]
    gives: str = _JSON
    takes: str = ""

    def match(self, parts: Sequence[str]) -> dict[str, str] | None:
        """The variable parts by name, or None when this is another address."""
        if len(parts) != len(self.path):
            return None
        names = {}
        for mine, theirs in zip(self.path, parts, strict=True):
            if mine.startswith("{"):
                names[mine[1:-1]] = theirs
            elif mine != theirs:
                return None
        return names


def _at(method: str, path: str, run: Callable[[Call], Any], gives: str = _JSON, takes: str = "") -> Endpoint:
    return Endpoint(method, tuple(path.split("/")), run, gives, takes)


_U = "users/{user}"
_G = "userGroups/{group}"
ENDPOINTS = (
    _at("GET", "version", groups.show_version, _TEXT),
    _at("GET", "server", groups.show_server),
    _at("GET", "server/authSettings", groups.show_auth_settings),
    _at("GET", "server/{field}", groups.show_server_field, _TEXT),
    _at("GET", "audit", groups.list_audit),
    _at("GET", "projects", groups.list_projects),
    _at("GET", "projects/{project}", groups.show_project),
    _at("GET", "roles", groups.list_roles),
    _at("GET", "roles/{role}", groups.show_role),
    _at("GET", "userGroups", groups.list_groups),
    _at("POST", "userGroups", groups.create_group, takes=_JSON),
    _at("GET", _G, groups.show_group),
    _at("DELETE", _G, groups.delete_group, _VOID),
    _at("GET", f"{_G}/roles", groups.list_group_roles),
    _at("POST", f"{_G}/roles/{{role}}/{{scope}}", groups.add_group_role),
    _at("DELETE", f"{_G}/roles/{{role}}/{{scope}}", groups.remove_group_role, _VOID),
    _at("GET", "users", users.list_users),
    _at("POST", "users", users.create, takes=_JSON),
    _at("GET", _U, users.show),
    _at("PUT", _U, users.update, takes=_JSON),
    _at("DELETE", _U, users.delete, _VOID),
    _at("GET", f"{_U}/properties", users.list_properties),
    _at("GET", f"{_U}/properties/{{name}}", users.show_property, _TEXT),
    _at("PUT", f"{_U}/properties/{{name}}", users.set_property, _TEXT, _TEXT),
    _at("DELETE", f"{_U}/properties/{{name}}", users.delete_property, _VOID),
    _at("GET", f"{_U}/roles", users.list_roles),
    _at("PUT", f"{_U}/roles", users.replace_roles, takes=_JSON),
    _at("POST", f"{_U}/roles", users.post_role, takes=_JSON),
    _at("GET", f"{_U}/roles/{{role}}/{{scope}}", users.show_role),
    _at("PUT", f"{_U}/roles/{{role}}/{{scope}}", users.put_role),
    _at("POST", f"{_U}/roles/{{role}}/{{scope}}", users.post_role_path, _VOID),
    _at("DELETE", f"{_U}/roles/{{role}}/{{scope}}", users.delete_role, _VOID),
    _at("GET", f"{_U}/groups", users.list_groups),
    _at("PUT", f"{_U}/groups", users.replace_groups, takes=_JSON),
    _at("POST", f"{_U}/groups", users.join_group, takes=_JSON),
    _at("GET", f"{_U}/groups/{{group}}", users.show_group),
    _at("DELETE", f"{_U}/groups/{{group}}", users.leave_group, _VOID),
    _at("GET", f"{_U}/tokens", users.list_tokens),
    _at("POST", f"{_U}/tokens", users.create_token, takes=_JSON),
    _at("DELETE", f"{_U}/tokens/{{name}}", users.delete_token, _VOID),
    _at("GET", f"{_U}/permissions", users.list_permissions),
    _at("POST", f"{_U}/logout", users.logout, _VOID),
    _at("DELETE", f"{_U}/debug/rememberMe", users.forget_logins, _VOID_TEXT),
    _at("GET", f"{_U}/{{field}}", users.show_field, _TEXT),
    _at("PUT", f"{_U}/{{field}}", users.set_field, _TEXT, _TEXT),
    _at("DELETE", f"{_U}/{{field}}", users.delete_field, _VOID),
)
_MEDIA = {_JSON: "application/json", _TEXT: "text/plain", _VOID_TEXT: "text/plain"}


class TeamCitySandbox(SandboxServer):
    """A TeamCity server that holds a company's users. `token` is our own account's; its rights are `own_permissions`.

    Switches, all of which may be turned while it runs: `error_style` (json, text), `context` (such as "/teamcity"),
    `hidden` (fields left out in silence), `group_post` and `logout_call` (calls that some servers lack),
    `per_project`, `remove_unassigned` (what single sign-on does to groups), `auto_create` (and to strangers),
    `auth_modules`, `allow_guest`.
    """

    name = "teamcity"

    def __init__(
        self,
        company: Company,
        *,
        context: str = "",
        error_style: str = "json",
        own_username: str = "trueup",
        own_permissions: Iterable[str] = RECONCILER_PERMISSIONS,
        guest: bool = True,
        version: str = "2025.07",
    ) -> None:
        super().__init__()
        self.world = World(company, own_username=own_username, own_permissions=own_permissions, guest=guest)
        self.context = context
        self.error_style = error_style
        self.version = version
        self.internal_id = "3f0e5f4c-sandbox"
        self.hidden: frozenset[str] = frozenset()
        self.hidden_users: frozenset[int] = frozenset()
        self.group_post = True
        self.logout_call = True
        self.remove_unassigned = True
        self.auto_create = True
        self.auth_modules: Sequence[str] = ("Default", "Token-Auth")
        self.allow_guest = False
        self._lock = threading.RLock()
        self.token = self.world.new_token(self.world.own, "trueup", now() + dt.timedelta(days=90)).value

    @property
    def own_id(self) -> int:
        return self.world.own.id

    @property
    def per_project(self) -> bool:
        return self.world.per_project

    @per_project.setter
    def per_project(self, on: bool) -> None:
        self.world.per_project = on

    # --- HTTP ---

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/{path:path}", self._answer, methods=METHODS)]

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        try:
            with self._lock:
                response = self._respond(request, body)
        except Problem as problem:
            response = self._refusal(request, problem)
        response.headers["set-cookie"] = "TCSESSIONID=4F1D; Path=/; HttpOnly"
        return response

    def _refusal(self, request: Request, problem: Problem) -> Response:
        if problem.status == 401:
            text = f'{problem.message}\nTo login manually go to "/login.html" page'
            return Response(text, 401, {"www-authenticate": 'Bearer realm="TeamCity"'}, "text/plain")
        if self.error_style == "json" and "json" in request.headers.get("accept", ""):
            return Response(as_json(problem), problem.status, media_type="application/json")
        return Response(as_text(problem), problem.status, media_type="text/plain")

    def _respond(self, request: Request, body: bytes) -> Response:
        parts = self._parts(request)
        caller, token = self._caller(request)
        if request.method != "GET" and "TCSESSIONID" in request.headers.get("cookie", ""):
            raise Problem(403, "403 Forbidden: Responding with 403 status code due to failed CSRF check")
        endpoint, names = self._endpoint(request.method, parts)
        _check_media(request, endpoint)
        shapes = Shapes(self.world, self.context, lambda user: self._sees(caller, token, user), self.hidden)
        query = dict(request.query_params)
        call = Call(self.world, caller, token, names, query, body, _charset(request), shapes, self)
        answer = endpoint.run(call)
        if answer is None:
            return Response(status_code=204)
        if endpoint.gives == _TEXT:
            return Response(answer, media_type="text/plain")
        return Response(orjson.dumps(answer), media_type="application/json")

    def _parts(self, request: Request) -> list[str]:
        """The segments behind /app/rest, split before they are decoded; an encoded slash is refused, as by Tomcat."""
        raw = request.scope["raw_path"].decode("latin-1").partition("?")[0]
        if "%2f" in raw.lower() or "%5c" in raw.lower():
            raise Problem(400, "Invalid URI: encoded slash.")
        start = f"{self.context}/app/rest/"
        if not raw.startswith(start):
            raise Problem(404, "Not found")
        return [unquote(part) for part in raw.removeprefix(start).rstrip("/").split("/")]

    def _caller(self, request: Request) -> tuple[User, Token]:
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        found = self.world.bearer(value) if kind == "Bearer" else None
        if found is None:
            raise Problem(401, "Authentication required")
        return found

    def _sees(self, caller: User, token: Token, user: User) -> bool:
        if user is caller:
            return True
        granted = self.world.permissions(caller).get("g", set())
        limits = token.restrictions
        allowed = any(p in granted and (limits is None or ("g", p) in limits) for p in VIEW_USERS)
        return allowed and user.id not in self.hidden_users

    def _endpoint(self, method: str, parts: Sequence[str]) -> tuple[Endpoint, Mapping[str, str]]:
        elsewhere = False
        for endpoint in ENDPOINTS:
            names = endpoint.match(parts)
            if names is None:
                continue
            if endpoint.method == method and not self._missing(endpoint):
                return endpoint, names
            elsewhere = True
        if elsewhere:
            raise Problem(405, "HTTP method is not supported for this request.")
        raise Problem(404, "Not found")

    def _missing(self, endpoint: Endpoint) -> bool:
        return (endpoint.run is users.join_group and not self.group_post) or (
            endpoint.run is users.logout and not self.logout_call
        )

    # --- edits by hand, as an administrator would make them in the pages ---

    def add_user(
        self, username: str, *, name: str = "", email: str = "", password: str = "", groups: Iterable[str] = ()
    ) -> int:
        """The new user's id."""
        with self._lock:
            user = self.world.new_user(username, name, email, password, {})
            user.groups.update(dict.fromkeys(groups))
            return user.id

    def delete_user(self, user_id: int) -> None:
        with self._lock:
            self.world.delete_user(self.world.users[user_id])

    def rename(self, user_id: int, username: str) -> None:
        with self._lock:
            self.world.rename(self.world.users[user_id], username)

    def add_role(self, user_id: int, role: str, scope: str) -> None:
        with self._lock:
            self.world.users[user_id].roles[role, scope] = None

    def remove_role(self, user_id: int, role: str, scope: str) -> None:
        with self._lock:
            del self.world.users[user_id].roles[role, scope]

    def add_to_group(self, user_id: int, key: str) -> None:
        with self._lock:
            self.world.users[user_id].groups[self.world.group(key).key] = None

    def remove_from_group(self, user_id: int, key: str) -> None:
        with self._lock:
            self.world.leave(self.world.users[user_id], key)

    def set_field(self, user_id: int, field: str, value: str) -> None:
        """`field` is name, email or password ("" for none)."""
        with self._lock:
            if field not in ("name", "email", "password"):
                raise ValueError(f"{field} is not a field that is set so")
            setattr(self.world.users[user_id], field, value)

    def set_property(self, user_id: int, name: str, value: str) -> None:
        with self._lock:
            self.world.users[user_id].properties[name] = value

    def add_token(self, user_id: int, name: str, **how: Any) -> str:
        """The token's value; `expires` and `restrictions` as in World.new_token."""
        with self._lock:
            return self.world.new_token(self.world.users[user_id], name, **how).value

    def sso_login(self, user_id: int, idp_groups: Iterable[str]) -> None:
        """What the SAML plugin does at a login: joins the groups whose key the identity provider names, whatever the
        case, and with `remove_unassigned` leaves every other one but the built-in."""
        with self._lock:
            user = self.world.users[user_id]
            named = {key.lower() for key in idp_groups}
            user.last_login = now()
            user.sessions += 1
            user.remembered = True
            for key in self.world.groups:
                if key.lower() in named:
                    user.groups[key] = None
                elif self.remove_unassigned and key != ALL_USERS:
                    user.groups.pop(key, None)

    def sso_arrival(self, username: str, idp_groups: Iterable[str] = ()) -> int:
        """Whom the identity provider lets in signs in with this user name: the number of the account they get, which is
        made when there is none (`auto_create`). Raises Problem where nobody is let in."""
        with self._lock:
            known = self.world.named(username)
            if known is None and not self.auto_create:
                raise Problem(401, "The user is unknown, and this server creates none at a login.")
            user = known or self.world.new_user(username, "", username, "", {})
            self.sso_login(user.id, idp_groups)
            return user.id

    def state(self) -> dict[str, Any]:
        with self._lock:
            return {
                "users": {str(user.id): _state_of(user) for user in self.world.users.values()},
                "groups": {
                    g.key: {"name": g.name, "parents": list(g.parents), "roles": [list(r) for r in g.roles]}
                    for g in self.world.groups.values()
                },
                "roles": {
                    r.id: {"name": r.name, "permissions": sorted(r.permissions), "included": list(r.included)}
                    for r in self.world.roles.values()
                },
                "projects": {p.id: {"name": p.name, "parent": p.parent} for p in self.world.projects.values()},
                "own_id": str(self.own_id),
            }


def _charset(request: Request) -> str:
    """Of a text body; a servlet container reads Latin-1 where nothing is said."""
    _, said, charset = request.headers.get("content-type", "").lower().partition("charset=")
    return "utf-8" if said and "utf-8" in charset else "iso-8859-1"


def _state_of(user: User) -> dict[str, Any]:
    return {
        "username": user.username,
        "name": user.name,
        "email": user.email,
        "has_password": bool(user.password),
        "roles": [list(role) for role in user.roles],
        "groups": list(user.groups),
        "properties": dict(user.properties),
        "tokens": list(user.tokens),
        "sessions": user.sessions,
        "remembered": user.remembered,
    }


def _check_media(request: Request, endpoint: Endpoint) -> None:
    """406 for an Accept that cannot be served, 415 for a body of another type."""
    produces = _MEDIA.get(endpoint.gives)
    accepted = request.headers.get("accept", "*/*")
    if produces and not any(kind in accepted for kind in (produces, "*/*", f"{produces.partition('/')[0]}/*")):
        raise Problem(406, "Not acceptable")
    if endpoint.takes and _MEDIA[endpoint.takes] not in request.headers.get("content-type", ""):
        raise Problem(415, "Unsupported media type")
