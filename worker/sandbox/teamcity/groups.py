"""What can be asked of groups, roles, projects, the server and its audit log."""

from __future__ import annotations

from typing import Any

from worker.sandbox.teamcity.call import Call
from worker.sandbox.teamcity.locators import parse_locator, showing
from worker.sandbox.teamcity.problems import Problem
from worker.sandbox.teamcity.shapes import Shape, stamp
from worker.sandbox.teamcity.world import ALL_USERS, Event, Group, now


def list_groups(call: Call) -> Shape:
    """No locator, no paging: every group, always."""
    call.need("view_user_profile", "change_user")
    return call.shapes.groups(call.world.groups, call.fields)


def _group(call: Call) -> Group:
    call.need("view_user_profile", "change_user")
    single, parts = parse_locator(call.names["group"])
    if "name" in parts:
        by_name = {g.name: g.key for g in call.world.groups.values()}
        return call.world.group(by_name.get(parts["name"], parts["name"]))
    return call.world.group(single or parts.get("key", ""))


def show_group(call: Call) -> Shape:
    return call.shapes.group(_group(call), call.fields)


def create_group(call: Call) -> Shape:
    """Key and name must both be new; a bad parent or role takes the new group away again."""
    call.need("create_usergroup")
    body = call.json()
    key, name = body.get("key") or "", body.get("name") or ""
    if not key or not name:
        raise Problem(400, f"Attribute '{'name' if key else 'key'}' must not be empty when creating group.")
    if key in call.world.groups:
        raise Problem(400, f"Cannot create group as group with key '{key}': group with the same key already exists")
    if any(g.name == name for g in call.world.groups.values()):
        raise Problem(400, f"Cannot create group as group with name '{name}': group with the same name already exists")
    group = Group(key, name, body.get("description") or "")
    try:
        for row in (body.get("parent-groups") or {}).get("group") or ():
            group.parents[call.world.group(row.get("key", "")).key] = None
        for row in (body.get("roles") or {}).get("role") or ():
            group.roles[call.world.role(row.get("roleId", "")).id, call.world.scope(row.get("scope", ""))] = None
    except Problem as problem:
        raise Problem(400, f"Cannot create group with specified parts: {problem.message}") from problem
    call.world.groups[key] = group
    call.world.note(call.caller.id, "user_group_create", group=key)
    return call.shapes.group(group, call.fields)


def delete_group(call: Call) -> None:
    """The users stay; what the group granted goes."""
    group = _group(call)
    call.need("delete_usergroup")
    if group.key == ALL_USERS:
        raise Problem(400, "The All Users group cannot be deleted.")
    del call.world.groups[group.key]
    for user in call.world.users.values():
        user.groups.pop(group.key, None)
    call.world.note(call.caller.id, "user_group_delete", group=group.key)


def list_group_roles(call: Call) -> Shape:
    group = _group(call)
    return call.shapes.assignments(group.roles, f"/app/rest/userGroups/key:{group.key}")


def add_group_role(call: Call) -> Shape:
    """POST here, where a user's role takes PUT."""
    group = _group(call)
    call.need("change_usergroup")
    group.roles[call.world.role(call.names["role"]).id, call.world.scope(call.names["scope"])] = None
    call.world.note(call.caller.id, "group_add_role", group=group.key)
    found: Shape = list_group_roles(call)["role"][-1]
    return found


def remove_group_role(call: Call) -> None:
    group = _group(call)
    call.need("change_usergroup")
    group.roles.pop((call.world.role(call.names["role"]).id, call.world.scope(call.names["scope"])), None)
    call.world.note(call.caller.id, "group_remove_role", group=group.key)


# --- roles, projects, the server ---


def list_roles(call: Call) -> Shape:
    call.need("view_user_profile", "change_user")
    return call.shapes.roles(call.world.roles.values(), call.fields)


def show_role(call: Call) -> Shape:
    call.need("view_user_profile", "change_user")
    role = call.world.roles.get(call.names["role"].removeprefix("id:"))
    if role is None:
        raise Problem(404, f"Role '{call.names['role']}' is not found")
    return call.shapes.role(role, call.fields)


def list_projects(call: Call) -> Shape:
    """Those that the caller may see, a page at a time; `nextHref` is server-relative and holds the context path."""
    single, parts = parse_locator(call.query.get("locator", "start:0"))
    if single is not None or parts.keys() - {"count", "start", "id", "archived"}:
        raise Problem(400, "Project locator supports: id, archived, count, start.", "LocatorProcessException")
    visible = [p for p in call.world.projects.values() if call.allowed("view_project", f"p:{p.id}")]
    if "id" in parts:
        visible = [p for p in visible if p.id == parts["id"]]
    start, count = int(parts.get("start", 0)), int(parts.get("count", 100))
    shape = call.shapes.projects(visible[start : start + count], call.fields)
    if start + count < len(visible):
        shape["nextHref"] = call.next_href("projects", f"count:{count},start:{start + count}")
    return shape


def show_project(call: Call) -> Shape:
    id = call.names["project"].removeprefix("id:")
    if id not in call.world.projects or not call.allowed("view_project", f"p:{id}"):
        raise Problem(404, f"No project found by locator 'id:{id}'. Project cannot be found by external id '{id}'.")
    return call.shapes.project(call.world.projects[id], call.fields)


def show_server(call: Call) -> Shape:
    return showing(call.fields, _server(call))


def show_server_field(call: Call) -> str:
    values, name = _server(call), call.names["field"]
    if name not in values:
        raise Problem(404, f"Field '{name}' is not supported.")
    return str(values[name])


def show_version(call: Call) -> str:
    return str(_server(call)["version"])


def _server(call: Call) -> Shape:
    return {
        "version": f"{call.server.version} (build 186370)",
        "versionMajor": int(call.server.version.split(".")[0]),
        "versionMinor": int(call.server.version.split(".")[1]),
        "buildNumber": "186370",
        "internalId": call.server.internal_id,
        "role": "main_node",
        "currentTime": stamp(now()),
        "webUrl": call.server.url,
    }


def show_auth_settings(call: Call) -> Shape:
    call.need("view_server_settings", "change_server_settings")
    modules: list[dict[str, Any]] = [
        {"name": name, "properties": {"count": 0, "property": []}} for name in call.server.auth_modules
    ]
    return {
        "allowGuest": call.server.allow_guest,
        "guestUsername": call.world.guest.username if call.world.guest else "guest",
        "perProjectPermissions": call.world.per_project,
        "emailVerification": False,
        "buildAuthenticationMode": "strict",
        "modules": {"module": modules},
    }


# --- audit ---


def list_audit(call: Call) -> Shape:
    """Newest first. `lookupLimit` counts what was looked at, not what was found; either end leaves a `nextHref`."""
    call.need("view_audit_log")
    single, parts = parse_locator(call.query.get("locator", "start:0"))
    if single is not None or parts.keys() - {"user", "action", "count", "start", "lookupLimit"}:
        raise Problem(
            400, "Audit locator supports: user, action, count, start, lookupLimit.", "LocatorProcessException"
        )
    count, limit = int(parts.get("count", 100)), int(parts.get("lookupLimit", 1000))
    start = int(parts.get("start", 0))
    found: list[Event] = []
    newest = call.world.events[::-1]
    place = start
    while place < len(newest) and len(found) < count and place - start < limit:
        if _concerns(newest[place], parts):
            found.append(newest[place])
        place += 1
    shape: Shape = {"count": len(found), "auditEvent": [call.shapes.event(e) for e in found]}
    if place < len(newest):
        kept = "".join(f",{name}:({parts[name]})" for name in ("user", "action") if name in parts)
        shape["nextHref"] = call.next_href("audit", f"count:{count},start:{place},lookupLimit:{limit}{kept}")
    return shape


def _concerns(event: Event, parts: Any) -> bool:
    """`user` is who acted, not whom it was done to."""
    actor = parts.get("user", "").removeprefix("id:")
    return (not actor or str(event.actor) == actor) and parts.get("action") in (None, event.action)
