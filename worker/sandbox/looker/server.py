"""The HTTP side of the sandbox Looker: logins, who may see what, every route, and edits by hand for tests and demos."""

from __future__ import annotations

import fnmatch
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from worker.sandbox.company import Company
from worker.sandbox.looker import attributes, rights, users, wire, works  # noqa: F401 all but `wire` register their routes
from worker.sandbox.looker.call import Call, answers
from worker.sandbox.looker.instance import (
    ADMIN,
    Alert,
    ApiKey,
    App,
    Attribute,
    Content,
    Instance,
    Schedule,
    SingleSignOn,
    User,
    VendorError,
)
from worker.sandbox.server import SandboxServer

BASE = "/api/4.0"


class LookerSandbox(SandboxServer):
    """A Looker with the company's users, and one API key (`client_id`, `client_secret`) of an Admin service account.

    Switches: `count_known` (X-Total-Count is sent), `page_cap` (larger limits are cut without a word),
    `keys_closed` (admins may not touch API keys of standard users: releases from 26.8; `keys_listed`: they may see
    them), `hide_from_non_admins`, `mirrored_status` (what an edit of a mirrored group is answered with),
    `token_seconds`, `denied` (globs over "METHOD /path" below the base: answered 403, whoever asks), `hidden` (fields
    of an OAuth app that are left out).
    """

    name = "looker"
    unlogged = ("/api/logout", f"{BASE}/logout", f"{BASE}/login")

    def __init__(
        self,
        company: Company,
        *,
        client_id: str = "looker-client",
        client_secret: str = "looker-secret",  # noqa: S107 the sandbox's own, which opens nothing
        own_account: str = "",
    ) -> None:
        super().__init__()
        self.instance = Instance(company)
        self.instance.changed.clear()
        self.bytes = wire.UserBytes(self.instance)
        self.count_known = True
        self.page_cap: int | None = None
        self.keys_closed = True
        self.keys_listed = False
        self.denied: frozenset[str] = frozenset()
        self.hidden: frozenset[str] = frozenset()
        self.hide_from_non_admins = True
        self.mirrored_status = 403
        self.token_seconds = 3600
        self._tokens: dict[str, tuple[str, float]] = {}
        own = self.instance.users[own_account] if own_account else self._own_user()
        self.own_account = own.id
        own.keys.append(ApiKey(self.instance.next_id(), client_id, client_secret))

    def _own_user(self) -> User:
        """The first enabled service account that is an Admin, or a new one."""
        for user in self.instance.users.values():
            if user.kind == "service" and not user.is_disabled and self.instance.is_admin(user):
                return user
        return self._user(self.add_user("Trueup", "", kind="service", roles=[ADMIN]))

    # --- over HTTP

    def routes(self) -> Sequence[BaseRoute]:
        made: list[BaseRoute] = [
            Route(f"{BASE}/login", self._login, methods=["POST"]),
            Route(f"{BASE}/logout", self._logout, methods=["DELETE"]),
            Route("/api/logout", self._logout, methods=["DELETE"]),
        ]
        for (method, path), answer in answers.items():
            made.append(Route(BASE + path, self._answering(answer), methods=[method]))
        return made

    async def _login(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        given = (form.get("client_id", [""])[0], form.get("client_secret", [""])[0])
        if "urlencoded" not in request.headers.get("content-type", ""):
            return _error(400, "Bad Request")
        for user in list(self.instance.users.values()):
            if not user.is_disabled and any((k.client_id, k.client_secret) == given for k in user.keys):
                token = secrets.token_urlsafe(24)
                self._tokens[token] = (user.id, time.monotonic() + self.token_seconds)
                granted = {"access_token": token, "token_type": "Bearer", "expires_in": self.token_seconds}
                return _json(orjson.dumps(granted | {"refresh_token": None}))
        return _error(404, "Not found")

    async def _logout(self, request: Request) -> Response:
        token = _token(request)
        if self._tokens.pop(token, None) is None:
            return _error(401, "Requires authentication.")
        return Response(status_code=204)

    def _caller(self, request: Request) -> User | None:
        id, ends = self._tokens.get(_token(request), ("", 0.0))
        user = self.instance.users.get(id)
        return user if user is not None and time.monotonic() < ends and not user.is_disabled else None

    def _answering(self, answer: Callable[[Call], Response]) -> Callable[[Request], Any]:
        async def respond(request: Request) -> Response:
            caller = self._caller(request)
            if caller is None:
                return _error(401, "Requires authentication.")
            asked = f"{request.method} {request.url.path.removeprefix(BASE)}"
            if any(fnmatch.fnmatchcase(asked, pattern) for pattern in self.denied):
                return _error(403, "You do not have permission to do that.")
            try:
                body = await request.body()
                given = orjson.loads(body) if body else None
                query = dict(request.query_params)
                return answer(Call(self, caller, dict(request.path_params), query, given, request.url.path))
            except orjson.JSONDecodeError:
                return _error(400, "Bad JSON")
            except VendorError as error:
                return _error(error.status, error.message, error.errors)

        return respond

    def expire_tokens(self) -> None:
        """Every token given out so far is worth nothing from now on."""
        self._tokens.clear()

    # --- by hand, as somebody would in Looker's own pages

    def _user(self, user_id: str) -> User:
        return self.instance.users[user_id]

    def _role_id(self, name: str) -> str:
        role = self.instance.role_named(name)
        if role is None:
            raise KeyError(f"there is no role {name}")
        return role.id

    def _group_id(self, name: str) -> str:
        group = self.instance.group_named(name)
        if group is None:
            raise KeyError(f"there is no group {name}")
        return group.id

    def add_user(
        self,
        first_name: str,
        last_name: str,
        email: str | None = None,
        *,
        kind: str = "standard",
        roles: Sequence[str] = (),
        groups: Sequence[str] = (),
        is_disabled: bool = False,
    ) -> str:
        """The id of a new user, who holds these roles and groups (by name) directly."""
        id = self.instance.next_user_id()
        user = self.instance.enter(User(id, kind, first_name, last_name, email, is_disabled))
        self.set_roles(id, roles)
        for group in groups:
            self.instance.join(user, self._group_id(group))
        return id

    def delete_user(self, user_id: str) -> None:
        self.instance.delete(self._user(user_id))

    def set_roles(self, user_id: str, names: Sequence[str]) -> None:
        self.instance.set_roles(self._user(user_id), {self._role_id(name) for name in names})

    def grant_role(self, user_id: str, name: str) -> None:
        self.instance.grant(self._user(user_id), self._role_id(name))

    def revoke_role(self, user_id: str, name: str) -> None:
        self.instance.revoke(self._user(user_id), self._role_id(name))

    def add_to_group(self, user_id: str, name: str) -> None:
        self.instance.join(self._user(user_id), self._group_id(name))

    def in_group(self, user_id: str, name: str) -> bool:
        return self._group_id(name) in self._user(user_id).groups

    def remove_from_group(self, user_id: str, name: str) -> None:
        self.instance.leave(self._user(user_id), self._group_id(name))

    def disable(self, user_id: str) -> None:
        self.instance.set_disabled(self._user(user_id), True)

    def enable(self, user_id: str) -> None:
        self.instance.set_disabled(self._user(user_id), False)

    def rename(self, user_id: str, first_name: str, last_name: str) -> None:
        user = self._user(user_id)
        user.first_name, user.last_name = first_name, last_name
        self.instance.changed.append(user)

    def _attribute(self, name: str) -> Attribute:
        attribute = self.instance.attribute_named(name)
        if attribute is None:
            raise KeyError(f"there is no user attribute {name}")
        return attribute

    def add_attribute(self, name: str, type: str = "string", **more: Any) -> str:
        """The id of a new user attribute; `more` are fields of Attribute, such as `default`, `hidden`."""
        id = self.instance.next_id()
        self.instance.attributes[id] = Attribute(id, name, name.title(), type, **more)
        return id

    def set_value(self, user_id: str, name: str, value: str | None) -> None:
        """The user's own value; None unsets it."""
        self._user(user_id).values.pop(self._attribute(name).id, None)
        if value is not None:
            self._user(user_id).values[self._attribute(name).id] = value

    def set_group_values(self, name: str, **values: str) -> None:
        """Values by group name, in the order of precedence; they replace those that there are."""
        by_group = {self._group_id(group.replace("_", " ")): value for group, value in values.items()}
        self._attribute(name).group_values = by_group

    def own_value(self, user_id: str, name: str) -> str | None:
        return self._user(user_id).values.get(self._attribute(name).id)

    def value(self, user_id: str, name: str) -> str | None:
        """What filters rows for this user: their own value, else a group's, else the default."""
        path = self.instance.search_path(self._user(user_id), self._attribute(name))
        return path[0][1] if path else None

    def add_key(self, user_id: str) -> tuple[str, str]:
        """Client id and secret of a new API key of this user."""
        key = self.instance.new_key(self._user(user_id))
        return key.client_id, key.client_secret

    def add_schedule(self, user_id: str, name: str, *recipients: str, kind: str = "email", enabled: bool = True) -> str:
        """The id of a new schedule that sends to these addresses, all of one kind of destination."""
        sent = tuple((kind, address) for address in recipients)
        schedule = Schedule(self.instance.next_id(), user_id, name, enabled, sent)
        self.instance.schedules[schedule.id] = schedule
        return schedule.id

    def add_alert(self, user_id: str, title: str, *recipients: str, kind: str = "EMAIL") -> str:
        alert = Alert(self.instance.next_id(), user_id, title, recipients=tuple((kind, a) for a in recipients))
        self.instance.alerts[alert.id] = alert
        return alert.id

    def add_content(self, user_id: str, kind: str, title: str, *, folder: str = "Shared", public: bool = False) -> str:
        """`kind` is dashboard or look."""
        content = Content(self.instance.next_id(), kind, title, user_id, folder, public)
        self.instance.content[content.id] = content
        return content.id

    def add_app(self, name: str, *user_ids: str) -> str:
        """The guid of a new OAuth app that these users let act for them."""
        app = App(f"guid-{self.instance.next_id()}", name, set(user_ids))
        self.instance.apps[app.guid] = app
        return app.guid

    def add_link(self, user_id: str, provider: str, address: str = "") -> None:
        """As a login over single sign-on leaves one; saml, oidc, google, ldap, looker_openid or workforce."""
        user = self._user(user_id)
        user.links[provider] = address or user.email or ""
        self.instance.changed.append(user)

    def add_second_factor(self, user_id: str) -> None:
        user = self._user(user_id)
        user.second_factor = True
        self.instance.changed.append(user)

    def add_session(self, user_id: str) -> str:
        user = self._user(user_id)
        user.sessions.append(self.instance.next_id())
        self.instance.changed.append(user)
        return user.sessions[-1]

    def confirm_email(self, user_id: str) -> None:
        """The user follows the link that was mailed after a change of address."""
        self._user(user_id).locked = False

    def sso(self, provider: str = "saml", **settings: Any) -> None:
        """Enable single sign-on with these settings (see SingleSignOn)."""
        self.instance.sso[provider] = SingleSignOn(enabled=True, **settings)

    def sso_login(self, user_id: str, provider: str = "saml", idp_groups: Sequence[str] = ()) -> None:
        """The user logs in; roles and groups change as the settings say. Raises VendorError if nobody is let in."""
        user = self._user(user_id)
        self.instance.sso_login(user, provider, idp_groups)
        self.instance.changed.append(user)

    def sso_arrival(self, email: str, provider: str = "saml", idp_groups: Sequence[str] = ()) -> str:
        """Whom the identity provider lets in logs in with this address: the id of the account they get, which may be a
        new one. Raises VendorError if nobody is let in."""
        user = self.instance.arrival(provider, email)
        self.sso_login(user.id, provider, idp_groups)
        return user.id

    # --- inspection

    def state(self) -> dict[str, Any]:
        """Users with names of their direct roles and groups (All Users too), and everything else but secrets."""
        world = self.instance
        return {
            "own_account": self.own_account,
            "users": {id: self._shown(user) for id, user in list(world.users.items())},
            "roles": {id: {"name": r.name, "permissions": list(r.permissions)} for id, r in world.roles.items()},
            "groups": {
                id: {"name": g.name, "parents": sorted(g.parents), "roles": sorted(g.roles), "mirrored": g.mirrored}
                for id, g in world.groups.items()
            },
            "attributes": {id: {"name": a.name, "groups": a.group_values} for id, a in world.attributes.items()},
            "schedules": {id: asdict(s) for id, s in world.schedules.items()},
            "alerts": {id: asdict(a) for id, a in world.alerts.items()},
            "content": {id: asdict(c) for id, c in world.content.items()},
            "apps": {a.guid: {"name": a.name, "users": sorted(a.users)} for a in world.apps.values()},
            "sso": {name: asdict(config) for name, config in world.sso.items()},
        }

    def _shown(self, user: User) -> Mapping[str, Any]:
        world = self.instance
        return {
            "kind": user.kind,
            "email": user.email,
            "first_name": user.first_name,
            "last_name": user.last_name,
            "is_disabled": user.is_disabled,
            "locked": user.locked,
            "roles": sorted(world.roles[id].name for id in user.roles),
            "groups": sorted(world.groups[id].name for id in user.groups),
            "keys": [key.client_id for key in user.keys],
            "sessions": list(user.sessions),
            "links": sorted(user.links),
            "second_factor": user.second_factor,
            "attributes": {world.attributes[id].name: value for id, value in user.values.items()},
        }


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() in ("token", "bearer") else ""


def _json(content: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(content, 200, media_type="application/json", headers=headers)


def _error(status: int, message: str, errors: Sequence[tuple[str, str, str]] = ()) -> Response:
    """The documentation link is of a host that the vendor's SDK does not look up."""
    where = f"https://sandbox.invalid/looker/{status}"
    body: dict[str, Any] = {"message": message, "documentation_url": where}
    if errors:
        body["errors"] = [{"field": f, "code": c, "message": m, "documentation_url": where} for f, c, m in errors]
    return Response(orjson.dumps(body), status, media_type="application/json")
