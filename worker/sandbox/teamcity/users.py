"""What can be asked of a user: fields, properties, roles, groups, tokens and sessions, with TeamCity's own manners."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from worker.sandbox.teamcity.call import VIEW_USERS, Call
from worker.sandbox.teamcity.locators import LONG, parse_locator
from worker.sandbox.teamcity.problems import Problem
from worker.sandbox.teamcity.shapes import Shape
from worker.sandbox.teamcity.world import User


def list_users(call: Call) -> Shape:
    return call.shapes.users(call.users(call.query.get("locator")), call.fields)


def create(call: Call) -> Shape:
    """Two steps inside: the account first, then roles and groups; a bad one leaves the account behind."""
    call.need("create_user")
    body = call.json()
    user = call.world.new_user(
        body.get("username") or "",
        body.get("name") or "",
        body.get("email") or "",
        body.get("password") or "",
        _properties(body.get("properties") or {}),
    )
    call.world.note(call.caller.id, "user_create", user.id)
    _collections(call, user, body)
    return call.shapes.user(user, call.fields)


def show(call: Call) -> Shape:
    return call.shapes.user(call.user(), call.fields)


def update(call: Call) -> Shape:
    """Null core fields are left alone; collections are replaced, not atomically."""
    user = call.user()
    call.need("change_user")
    body = call.json()
    for name in ("username", "name", "email", "password"):
        if body.get(name) is not None:
            _SETTERS[name](call, user, body[name])
    if body.get("properties") is not None:
        user.properties = {}
        user.properties = _properties(body["properties"])
    _collections(call, user, body)
    call.world.note(call.caller.id, "user_update", user.id)
    return call.shapes.user(user, call.fields)


def _collections(call: Call, user: User, body: dict[str, Any]) -> None:
    """Roles and groups of a posted user. What fails is told at the end; what was removed stays removed."""
    errors: list[str] = []
    if body.get("roles") is not None:
        user.roles.clear()
        for role, scope in _assignments(body["roles"]):
            try:
                user.roles[call.world.role(role).id, call.world.scope(scope)] = None
            except Problem as problem:
                errors.append(problem.message)
    if body.get("groups") is not None:
        call.world.set_groups(user, _keys(body["groups"]))
    if errors:
        raise Problem(
            400,
            f"Partial error updating user {user.username}: {'; '.join(errors)}. Error occurred while updating: the data"
            " could be updated partially. Please ensure consistent data state.",
            "PartialUpdateError",
        )


def delete(call: Call) -> None:
    user = call.user()
    call.need("delete_user")
    mine, theirs = call.world.permissions(call.caller), call.world.permissions(user)
    if any(not granted <= mine.get("g", set()) | mine.get(scope, set()) for scope, granted in theirs.items()):
        raise Problem(403, "You cannot delete user that has more permissions than you", "AccessDeniedException")
    call.world.delete_user(user)
    call.world.note(call.caller.id, "user_delete", user.id)


# --- single fields, as text ---


def show_field(call: Call) -> str:
    user, name = call.user(), call.names["field"]
    values = {"id": str(user.id), "name": user.name, "username": user.username, "email": user.email}
    if name not in values:
        raise Problem(400, f"Unknown field '{name}'. Supported fields are: id, name, username, email")
    return values[name]


def set_field(call: Call) -> str | None:
    user, name = call.user(), call.names["field"]
    if name not in _SETTERS:
        raise Problem(
            400,
            f"Changing field '{name}' is not supported. Supported fields are: username, name, email, password",
        )
    call.need_over(user, "change_user")
    _SETTERS[name](call, user, call.text)
    call.world.note(call.caller.id, "user_update", user.id)
    return None if name == "password" else str(getattr(user, name))


def delete_field(call: Call) -> None:
    user, name = call.user(), call.names["field"]
    if name not in ("name", "email", "password"):
        raise Problem(
            400, f"Setting field '{name}' to 'null' is not supported. Supported fields are: name, email, password"
        )
    call.need_over(user, "change_user")
    setattr(user, name, "")
    call.world.note(call.caller.id, "user_update", user.id)


_SETTERS: dict[str, Callable[[Call, User, str], None]] = {
    "username": lambda call, user, value: call.world.rename(user, value),
    "name": lambda _, user, value: setattr(user, "name", value),
    "email": lambda _, user, value: setattr(user, "email", value),
    "password": lambda _, user, value: setattr(user, "password", value),
}


# --- properties ---


def _properties(posted: dict[str, Any]) -> dict[str, str]:
    found = {}
    for row in posted.get("property") or ():
        if row.get("name") is None or row.get("value") is None:
            raise Problem(400, "Property name and value should not be null")
        found[str(row["name"])] = str(row["value"])
    return found


def list_properties(call: Call) -> Shape:
    return call.shapes.properties(call.user().properties, call.fields)


def show_property(call: Call) -> str:
    user, name = call.user(), call.names["name"]
    if name not in user.properties:
        raise Problem(404, f"No parameter with name '{name}' is found.")
    return user.properties[name]


def set_property(call: Call) -> str:
    user = call.user()
    call.need_over(user, "change_user")
    user.properties[call.names["name"]] = call.text
    call.world.note(call.caller.id, "user_update", user.id)
    return call.text


def delete_property(call: Call) -> None:
    user = call.user()
    call.need_over(user, "change_user")
    user.properties.pop(call.names["name"], None)
    call.world.note(call.caller.id, "user_update", user.id)


# --- roles ---


def _assignments(posted: dict[str, Any]) -> list[tuple[str, str]]:
    """A body without `role` is only noticed here, when everything has been removed already."""
    if posted.get("role") is None:
        raise Problem(500, "null")
    return [(row.get("roleId") or "", row.get("scope") or "") for row in posted["role"]]


def list_roles(call: Call) -> Shape:
    user = call.user()
    return call.shapes.assignments(user.roles, call.shapes.href(user))


def replace_roles(call: Call) -> Shape:
    """Removes all, then adds one by one: an unknown one leaves the user with fewer."""
    user = call.user()
    call.need("change_user")
    body = call.json()
    user.roles.clear()
    call.world.note(call.caller.id, "user_remove_all_roles", user.id)
    for role, scope in _assignments(body):
        user.roles[call.world.role(role).id, call.world.scope(scope)] = None
    return list_roles(call)


def post_role(call: Call) -> Shape:
    body = call.json()
    return _add_role(call, body.get("roleId") or "", body.get("scope") or "")


def _add_role(call: Call, role_id: str, scope_text: str) -> Shape:
    user = call.user()
    scope = call.world.scope(scope_text)
    role = call.world.role(role_id)
    call.need_for_role(scope)
    user.roles[role.id, scope] = None
    call.world.note(call.caller.id, "user_add_role", user.id)
    found: Shape = call.shapes.assignments([(role.id, scope)], call.shapes.href(user))["role"][0]
    return found


def show_role(call: Call) -> Shape:
    user, wanted = call.user(), (call.names["role"], call.names["scope"])
    if wanted not in user.roles:
        raise Problem(404, f"User does not have role '{wanted[0]}' with scope '{wanted[1]}'.")
    found: Shape = call.shapes.assignments([wanted], call.shapes.href(user))["role"][0]
    return found


def put_role(call: Call) -> Shape:
    return _add_role(call, call.names["role"], call.names["scope"])


def post_role_path(call: Call) -> None:
    _add_role(call, call.names["role"], call.names["scope"])


def delete_role(call: Call) -> None:
    """A role that the user does not have is removed without a word; an unknown one is 404."""
    user = call.user()
    scope = call.world.scope(call.names["scope"])
    role = call.world.role(call.names["role"])
    call.need_for_role(scope)
    if user.roles.pop((role.id, scope), "absent") is None:
        call.world.note(call.caller.id, "user_remove_role", user.id)


# --- groups ---


def _keys(posted: dict[str, Any]) -> list[str]:
    """A body without `group` counts as the empty list."""
    keys = []
    for row in posted.get("group") or ():
        if row.get("key") is None:
            raise Problem(400, "No 'key' attribute is supplied for the posted group.")
        keys.append(str(row["key"]))
    return keys


def list_groups(call: Call) -> Shape:
    return call.shapes.groups(call.user().groups, call.fields)


def replace_groups(call: Call) -> Shape:
    user = call.user()
    call.need("change_user", "assign_users_add_subgroups")
    call.world.set_groups(user, _keys(call.json()))
    call.world.note(call.caller.id, "user_update", user.id)
    return call.shapes.groups(user.groups, call.fields)


def join_group(call: Call) -> Shape:
    user = call.user()
    body = call.json()
    group = call.world.group(_keys({"group": [body]})[0])
    call.need("change_user", "assign_users_add_subgroups")
    user.groups[group.key] = None
    call.world.note(call.caller.id, "user_add_to_group", user.id, group.key)
    return call.shapes.group(group, call.fields)


def _group_key(call: Call) -> str:
    return call.names["group"].removeprefix("key:")


def show_group(call: Call) -> Shape:
    user, group = call.user(), call.world.group(_group_key(call))
    if group.key not in user.groups:
        raise Problem(404, "User does not belong to the group")
    return call.shapes.group(group, call.fields)


def leave_group(call: Call) -> None:
    user, key = call.user(), _group_key(call)
    call.need("change_user", "assign_users_add_subgroups")
    call.world.leave(user, key)
    call.world.note(call.caller.id, "user_remove_from_group", user.id, key)


# --- tokens and sessions ---


def list_tokens(call: Call) -> Shape:
    user = call.user()
    call.need_over(user, "change_user")
    return call.shapes.tokens(user.tokens.values(), call.fields)


def create_token(call: Call) -> Shape:
    """The only answer that ever holds the value."""
    user, body = call.user(), call.json()
    call.need_over(user, "change_user")
    name = body.get("name")
    if not name:
        raise Problem(400, "name cannot be empty")
    token = call.world.new_token(user, name, _expiry(body.get("expirationTime")), _restrictions(call, user, body))
    call.world.note(call.caller.id, "create_token_for_user", user.id)
    return {**call.shapes.token(token, call.fields), "value": token.value}


def _expiry(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        at = dt.datetime.strptime(text, "%Y%m%dT%H%M%S%z")
    except ValueError as error:
        raise Problem(400, f"Cannot parse date '{text}'.") from error
    if at <= dt.datetime.now(dt.UTC):
        raise Problem(400, "Token expiration time must be in the future.")
    return at


def _restrictions(call: Call, user: User, body: dict[str, Any]) -> list[tuple[str, str]] | None:
    posted = body.get("permissionRestrictions")
    if posted is None:
        return None
    found = []
    for row in posted.get("permissionRestriction") or ():
        permission = str((row.get("permission") or {}).get("id") or "").lower()
        if not permission:
            raise Problem(400, "Permission not found for input")
        scope = "g" if row.get("isGlobalScope") else call.world.scope(f"p:{(row.get('project') or {}).get('id')}")
        granted = call.world.permissions(user)
        if permission not in granted.get("g", set()) | granted.get(scope, set()):
            raise Problem(403, f"User don't have {permission} to be restricted globally")
        found.append((scope, permission))
    if not found:
        raise Problem(400, "Malformed permission restrictions")
    return found


def delete_token(call: Call) -> None:
    user, name = call.user(), call.names["name"]
    call.need_over(user, "change_user")
    if name not in user.tokens:
        raise Problem(404, f"Token with name '{name}' not found")
    del user.tokens[name]
    call.world.note(call.caller.id, "delete_token_for_user", user.id)


def logout(call: Call) -> None:
    user = call.user()
    call.need_over(user, "change_user")
    user.sessions = 0
    call.world.note(call.caller.id, "logout_all_sessions_of_user", user.id)


def forget_logins(call: Call) -> None:
    user = call.user()
    call.need_over(user, "change_user")
    user.remembered = False


def list_permissions(call: Call) -> Shape:
    """Effective rights, everywhere before project by project; a limited token shows only what it leaves."""
    user = call.user()
    call.need_over(user, *VIEW_USERS)
    single, only = parse_locator(call.query.get("locator", "start:0"))
    if single is not None or only.keys() - {"global", "permission", "start"}:
        raise Problem(400, "Permission locator supports: global, permission.", "LocatorProcessException")
    rows: list[Shape] = []
    limits = call.token.restrictions if user is call.caller else None
    for scope, granted in sorted(call.world.permissions(user).items()):
        if only.get("global", "any") not in ("any", "true" if scope == "g" else "false"):
            continue
        place = {} if scope == "g" else {"project": {"id": scope[2:]}}
        for id in sorted(granted & {only["permission"].lower()} if "permission" in only else granted):
            if limits is None or (scope, id) in limits:
                permission = call.shapes.permission(id, LONG)
                rows.append({"isGlobalScope": scope == "g", **place, "permission": permission})
    return {"count": len(rows), "permissionAssignment": rows}
