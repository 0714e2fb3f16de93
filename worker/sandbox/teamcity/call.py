"""One request as an endpoint sees it: who calls, with which rights, about whom, and what was sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

import orjson

from worker.sandbox.teamcity.locators import Fields, parse_fields, parse_locator
from worker.sandbox.teamcity.problems import Problem
from worker.sandbox.teamcity.shapes import Shapes
from worker.sandbox.teamcity.world import ROOT, Token, User, World

VIEW_USERS = ("view_user_profile", "change_user")


class ServerFacts(Protocol):
    """What the endpoints ask of the server itself."""

    url: str
    version: str
    internal_id: str
    context: str
    auth_modules: Sequence[str]
    allow_guest: bool


@dataclass
class Call:
    """`names` are the variable parts of the path, decoded."""

    world: World
    caller: User
    token: Token
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    charset: str
    shapes: Shapes
    server: ServerFacts

    # --- what was sent ---

    @property
    def fields(self) -> Fields:
        return parse_fields(self.query.get("fields"))

    @property
    def text(self) -> str:
        return self.body.decode(self.charset, "replace")

    def json(self) -> dict[str, Any]:
        """The body as an object; fields that nobody reads pass in silence, as the real mapper lets them."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise Problem(400, f"Cannot parse the request body: {error}") from error
        if not isinstance(found, dict):
            raise Problem(400, "Cannot deserialize the request body: an object is expected.")
        return found

    def next_href(self, place: str, locator: str) -> str:
        """Server-relative, with the context path, and with the same `fields`."""
        parameters = {"locator": locator, **{k: v for k, v in self.query.items() if k == "fields"}}
        return f"{self.server.context}/app/rest/{place}?{urlencode(parameters)}"

    # --- what the caller may do ---

    def allowed(self, permission: str, scope: str = "g") -> bool:
        """Whether the caller has the right everywhere or, when a project scope is given, there or above it."""
        places = {"g"} if scope == "g" else {"g", *self._upwards(scope)}
        granted = self.world.permissions(self.caller)
        if not any(permission in granted.get(place, ()) for place in places):
            return False
        limits = self.token.restrictions
        return limits is None or any(p == permission and s in places for s, p in limits)

    def need(self, *permissions: str, scope: str = "g") -> None:
        """Any of them will do; otherwise 403."""
        if not any(self.allowed(p, scope) for p in permissions):
            names = " or ".join(f'"{p.replace("_", " ").capitalize()}"' for p in permissions)
            place = "" if scope == "g" else f" in project with internal id: '{scope[2:]}'"
            raise Problem(403, f"You do not have {names} permission{place}", "AccessDeniedException")

    def need_for_role(self, scope: str) -> None:
        """Roles everywhere take the right over users; in a project the right over its roles is enough."""
        if not self.allowed("change_user"):
            self.need("change_user_roles_in_project", scope=scope)

    def need_over(self, user: User, *permissions: str) -> None:
        """One may always act on oneself."""
        if user is not self.caller:
            self.need(*permissions)

    def _upwards(self, scope: str) -> list[str]:
        found, id = [], scope[2:]
        while id in self.world.projects:
            found.append(f"p:{id}")
            id = self.world.projects[id].parent or ("" if id == ROOT else ROOT)
        return found

    # --- about whom ---

    def user(self) -> User:
        """The user that the path's locator means: the FIRST match. Who may not be seen is answered like who is not."""
        found = next(iter(self.users(self.names["user"], listing=False)), None)
        visible = found is not None and (
            found is self.caller or any(self.allowed(p) for p in (*VIEW_USERS, "view_all_users"))
        )
        if found is None or not visible:
            raise Problem(404, "User not found")
        return found

    def users(self, locator: str | None, *, listing: bool = True) -> list[User]:
        """All users that the locator means, in the order of their names (never of their ids)."""
        world = self.world
        if locator is None:
            self.need(*VIEW_USERS)
            return sorted(world.users.values(), key=lambda u: u.username.casefold())
        single, dimensions = parse_locator(locator)
        if single is not None:
            one = self.caller if single == "current" else world.named(single)
            return [one] if one else []
        for name in dimensions:
            if name not in (*_FILTERS, "count", "start"):
                known = ", ".join([*_FILTERS, "count", "start"])
                raise Problem(
                    400, f"Locator dimension [{name}] is unknown. Supported: {known}.", "LocatorProcessException"
                )
        tests = [_FILTERS[name](self, value) for name, value in dimensions.items() if name in _FILTERS]
        found = [u for u in self._candidates(dimensions, listing) if all(test(u) for test in tests)]
        if listing and not found and {"id", "username"} & dimensions.keys():
            raise Problem(404, "User not found")
        start = _number(dimensions.get("start", "0"))
        return found[start : start + _number(dimensions["count"])] if "count" in dimensions else found[start:]

    def _candidates(self, dimensions: Mapping[str, str], listing: bool) -> list[User]:
        if "id" in dimensions:
            one = self.world.users.get(_number(dimensions["id"]))
            return [one] if one else []
        if "username" in dimensions:
            one = self.world.named(dimensions["username"])
            return [one] if one else []
        if listing or not {"email", "name"} & dimensions.keys():
            self.need(*VIEW_USERS)
        return sorted(self.world.users.values(), key=lambda u: u.username.casefold())


Test = Callable[[User], bool]


def _number(text: str) -> int:
    if not text.removeprefix("-").isdigit():
        raise Problem(400, f"Invalid number in locator: '{text}'.", "LocatorProcessException")
    return int(text)


def _condition(value: str, of: Callable[[User], str]) -> Test:
    """A plain value is compared exactly; `(value:..,matchType:equals,ignoreCase:true)` as it says."""
    single, parts = parse_locator(value)
    if single is not None:
        return lambda user: of(user) == single
    wanted = parts.get("value", "")
    fold = parts.get("ignoreCase", "false") == "true"
    match parts.get("matchType", "equals"):
        case "equals":
            return lambda user: (of(user).casefold() == wanted.casefold()) if fold else of(user) == wanted
        case "contains":
            return lambda user: wanted in of(user)
        case "exists":
            return lambda user: bool(of(user))
        case other:
            raise Problem(400, f"Unsupported matchType '{other}'.")


def _property(_: Call, value: str) -> Test:
    _single, parts = parse_locator(value)
    name, wanted = parts.get("name", ""), parts.get("value")
    if not name:
        raise Problem(400, "Property locator needs a name.", "LocatorProcessException")
    return lambda user: name in user.properties and wanted in (None, user.properties[name])


def _member(call: Call, value: str, *, through: bool) -> Test:
    single, parts = parse_locator(value)
    keys = {g.name: g.key for g in call.world.groups.values()}
    key = call.world.group(single or parts.get("key") or keys.get(parts.get("name", ""), "")).key
    if not through:
        return lambda user: key in user.groups
    return lambda user: key in call.world.ancestors(user.groups)


_FILTERS: dict[str, Callable[[Call, str], Test]] = {
    "id": lambda _, value: lambda user: user.id == _number(value),
    "username": lambda _, value: lambda user: user.username.casefold() == value.casefold(),
    "email": lambda _, value: _condition(value, lambda user: user.email),
    "name": lambda _, value: _condition(value, lambda user: user.name),
    "group": lambda call, value: _member(call, value, through=False),
    "affectedGroup": lambda call, value: _member(call, value, through=True),
    "property": _property,
    "hasPassword": lambda _, value: lambda user: bool(user.password) == (value == "true"),
}
