"""Entities as TeamCity writes them: short in lists, long alone, and exactly what `fields` names otherwise."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from worker.sandbox.teamcity.locators import LONG, NONE, SHORT, Fields, showing
from worker.sandbox.teamcity.world import PROJECT_LEVEL, Event, Group, Project, Role, Token, User, World

DETAILS = ("email", "lastLogin", "enabled2FA", "hasPassword", "roles", "groups", "properties")
Shape = dict[str, Any]


def stamp(at: dt.datetime | None) -> str | None:
    """TeamCity's own form of a time, e.g. 20261121T071033+0000."""
    return None if at is None else at.strftime("%Y%m%dT%H%M%S%z")


class Shapes:
    """Turns the world into JSON-ready data. `root` is the context path; `visible` says whether the caller may see a
    user's details; fields in `hidden` are left out for everybody, in silence, as for a caller without the right."""

    def __init__(self, world: World, root: str, visible: Callable[[User], bool], hidden: frozenset[str]) -> None:
        self._world = world
        self._api = f"{root}/app/rest"
        self._visible = visible
        self._hidden = hidden

    def href(self, user: User) -> str:
        return f"{self._api}/users/id:{user.id}"

    def users(self, users: Iterable[User], fields: Fields) -> Shape:
        listed = list(users)
        return self._listed("user", listed, fields, self.user)

    def user(self, user: User, fields: Fields) -> Shape:
        href = self.href(user)
        shown = showing(
            fields, {"id": user.id, "username": user.username, "name": user.name or None, "href": href}
        )  # empty strings are absent
        if not self._visible(user):
            return shown
        details: dict[str, tuple[bool | None, bool | None, Callable[[], Any]]] = {
            "email": (False, None, lambda: user.email or None),
            "lastLogin": (False, None, lambda: stamp(user.last_login)),
            "enabled2FA": (False, False, lambda: False),
            "hasPassword": (False, False, lambda: bool(user.password)),
            "roles": (False, None, lambda: self.assignments(user.roles, href)),
            "groups": (False, None, lambda: self.groups(user.groups, fields.inner("groups", NONE, LONG))),
            "properties": (
                False,
                None,
                lambda: self.properties(user.properties, fields.inner("properties", NONE, LONG), f"{href}/properties"),
            ),
        }
        for name, (short, long, make) in details.items():
            if name not in self._hidden and fields.wants(name, short, long) is not False:
                value = make()
                if value is not None:
                    shown[name] = value
        return shown

    def assignments(self, roles: Iterable[tuple[str, str]], href: str) -> Shape:
        """Role assignments always come whole, whatever the nested fields."""
        shown = self._world.shown_roles(roles)
        return {"role": [{"roleId": r, "scope": s, "href": f"{href}/roles/{r}/{s}"} for r, s in shown]}

    def properties(self, properties: Mapping[str, str], fields: Fields, href: str | None = None) -> Shape:
        rows = [{"name": name, "value": value} for name, value in sorted(properties.items())]
        shape = self._listed("property", rows, fields, lambda row, _: row)
        if href and fields.wants("href") is not False:
            shape["href"] = href
        return shape

    def groups(self, keys: Iterable[str], fields: Fields) -> Shape:
        known = [self._world.groups[key] for key in keys if key in self._world.groups]
        return self._listed("group", known, fields, self.group)

    def group(self, group: Group, fields: Fields) -> Shape:
        href = f"{self._api}/userGroups/key:{group.key}"
        plain = {"key": group.key, "name": group.name, "href": href, "description": group.description or None}
        shown = showing(fields, plain)
        world = self._world
        nested: dict[str, Callable[[], Shape]] = {
            "parent-groups": lambda: self.groups(group.parents, fields.inner("parent-groups", NONE, LONG)),
            "child-groups": lambda: self.groups(
                (g.key for g in world.groups.values() if group.key in g.parents),
                fields.inner("child-groups", NONE, LONG),
            ),
            "users": lambda: self.users(
                (u for u in world.users.values() if group.key in u.groups), fields.inner("users", NONE, LONG)
            ),
            "roles": lambda: self.assignments(group.roles, href),
            "properties": lambda: self.properties(group.properties, fields.inner("properties", NONE, LONG)),
        }
        for name, make in nested.items():
            if f"group.{name}" not in self._hidden and fields.wants(name, False) is not False:
                shown[name] = make()
        return shown

    def roles(self, roles: Iterable[Role], fields: Fields) -> Shape:
        return self._listed("role", list(roles), fields, self.role)

    def role(self, role: Role, fields: Fields) -> Shape:
        shown = showing(fields, {"id": role.id, "name": role.name, "href": f"{self._api}/roles/id:{role.id}"})
        if fields.wants("included", False) is not False:
            included = [self._world.roles[id] for id in role.included if id in self._world.roles]
            shown["included"] = self.roles(included, fields.inner("included", NONE, LONG))
        if fields.wants("permissions", False) is not False:
            shown["permissions"] = self._listed(
                "permission", sorted(role.permissions), fields.inner("permissions", NONE, LONG), self.permission
            )
        return shown

    def permission(self, id: str, fields: Fields) -> Shape:
        name = id.replace("_", " ").capitalize()
        return showing(fields, {"id": id, "name": name, "global": id not in PROJECT_LEVEL})

    def projects(self, projects: Iterable[Project], fields: Fields) -> Shape:
        return self._listed("project", list(projects), fields, self.project)

    def project(self, project: Project, fields: Fields) -> Shape:
        href = f"{self._api}/projects/id:{project.id}"
        values = {
            "id": project.id, "name": project.name, "parentProjectId": project.parent or None, "archived": False,
            "href": href,
        }  # fmt: skip
        return showing(fields, values)

    def tokens(self, tokens: Iterable[Token], fields: Fields) -> Shape:
        return self._listed("token", list(tokens), fields, self.token)

    def token(self, token: Token, fields: Fields) -> Shape:
        shown = showing(
            fields,
            {"name": token.name, "creationTime": stamp(token.created), "expirationTime": stamp(token.expires)},
        )
        if token.restrictions is not None and fields.wants("permissionRestrictions") is not False:
            rows = [
                {"permission": {"id": p}, **({"isGlobalScope": True} if s == "g" else {"project": {"id": s[2:]}})}
                for s, p in token.restrictions
            ]
            shown["permissionRestrictions"] = {"count": len(rows), "permissionRestriction": rows}
        return shown

    def event(self, event: Event) -> Shape:
        entities = []
        if event.user is not None:
            entities.append({"type": "user", "internalId": str(event.user), "user": {"id": event.user}})
        if event.group:
            entities.append({"type": "group", "group": {"key": event.group}})
        actor = self._world.users.get(event.actor) if event.actor is not None else None
        shown: Shape = {
            "id": str(event.id), "timestamp": stamp(event.at), "action": {"name": event.action, "id": event.action},
            "relatedEntities": {"count": len(entities), "entity": entities},
        }  # fmt: skip
        if actor is not None:
            shown["user"] = self.user(actor, SHORT)
        return shown

    def _listed(self, name: str, items: list[Any], fields: Fields, show: Callable[[Any, Fields], Any]) -> Shape:
        shape: Shape = {}
        if fields.wants("count") is not False:
            shape["count"] = len(items)
        if fields.wants(name, False, True):
            inner = fields.inner(name, NONE, SHORT)
            shape[name] = [show(item, inner) for item in items]
        return shape
