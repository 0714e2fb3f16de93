"""What the sandbox Looker answers about user attributes: definitions, and values of users, of groups and by default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from worker.sandbox.looker import wire
from worker.sandbox.looker.call import Call, on
from worker.sandbox.looker.instance import Attribute, User, VendorError

DONE = 204
TYPES: Mapping[str, str] = {
    "string": ".*", "advanced_filter_string": ".*", "advanced_filter_number": ".*", "datetime": ".*",
    "number": r"-?\d+(\.\d+)?", "yesno": "yes|no", "zipcode": r"\d{5}",
}  # fmt: skip


def _definition(attribute: Attribute) -> wire.Record:
    return {
        "id": attribute.id,
        "name": attribute.name,
        "label": attribute.label,
        "type": attribute.type,
        "default_value": None if attribute.hidden else attribute.default,
        "is_system": attribute.system,
        "is_permanent": attribute.system,
        "value_is_hidden": attribute.hidden,
        "user_can_view": not attribute.hidden,
        "user_can_edit": attribute.user_can_edit,
        "hidden_value_domain_whitelist": None,
    }


def _found(call: Call, key: str = "user_attribute_id") -> Attribute:
    attribute = call.world.attributes.get(call.path[key])
    if attribute is None:
        raise VendorError(404, "Not found")
    return attribute


def _text(call: Call, attribute: Attribute, given: Any) -> str:
    """As real errors do, this one repeats what it was given."""
    fine = isinstance(given, str) and re.fullmatch(TYPES[attribute.type], given, re.DOTALL) is not None
    call.validate((fine, "value", "invalid", f"{given} is not a valid {attribute.type}"))
    return str(given)


@on("GET", "/user_attributes")
def all_user_attributes(call: Call) -> Response:
    """Not paged."""
    shown = [_definition(attribute) for attribute in call.world.attributes.values()]
    return call.record(sorted(shown, key=lambda record: str(record["name"])))


@on("POST", "/user_attributes")
def create_user_attribute(call: Call) -> Response:
    call.must_be_admin()
    body = call.body or {}
    known = call.world.attributes.values()
    name, label, type = (body.get(key, "") for key in ("name", "label", "type"))
    call.validate(
        (bool(name), "name", "missing_field", "a name is needed"),
        (bool(label), "label", "missing_field", "a label is needed"),
        (type in TYPES, "type", "invalid", "unknown type"),
        (all(a.name != name for a in known), "name", "already_exists", "there is an attribute of this name"),
        (all(a.label != label for a in known), "label", "already_exists", "there is an attribute of this label"),
    )
    made = Attribute(call.world.next_id(), name, label, type, body.get("default_value"))
    made.hidden, made.user_can_edit = bool(body.get("value_is_hidden")), bool(body.get("user_can_edit"))
    call.world.attributes[made.id] = made
    return call.record(_definition(made))


@on("GET", "/user_attributes/{user_attribute_id}")
def user_attribute(call: Call) -> Response:
    return call.record(_definition(_found(call)))


@on("PATCH", "/user_attributes/{user_attribute_id}")
def update_user_attribute(call: Call) -> Response:
    call.must_be_admin()
    attribute, body = _found(call), call.body or {}
    others = [a for a in call.world.attributes.values() if a is not attribute]
    name = body.get("name", attribute.name)
    call.validate((all(a.name != name for a in others), "name", "already_exists", "there is one of this name"))
    attribute.name, attribute.default = name, body.get("default_value", attribute.default)
    attribute.user_can_edit = body.get("user_can_edit", attribute.user_can_edit)
    return call.record(_definition(attribute))


@on("DELETE", "/user_attributes/{user_attribute_id}")
def delete_user_attribute(call: Call) -> Response:
    call.must_be_admin()
    attribute = _found(call)
    if attribute.system:
        raise VendorError(400, "System attributes cannot be deleted.")
    for user in call.world.users.values():
        user.values.pop(attribute.id, None)
    del call.world.attributes[attribute.id]
    return Response(status_code=DONE)


# --- of groups


def _group_values(call: Call, attribute: Attribute) -> list[wire.Record]:
    return [
        {
            "id": f"{attribute.id}-{group}",
            "group_id": group,
            "user_attribute_id": attribute.id,
            "value_is_hidden": attribute.hidden,
            "rank": rank,
            "value": None if attribute.hidden else value,
        }
        for rank, (group, value) in enumerate(attribute.group_values.items(), 1)
        if group in call.world.groups
    ]


@on("GET", "/user_attributes/{user_attribute_id}/group_values")
def all_user_attribute_group_values(call: Call) -> Response:
    return call.record(_group_values(call, _found(call)))


@on("POST", "/user_attributes/{user_attribute_id}/group_values")
def set_user_attribute_group_values(call: Call) -> Response:
    """The whole list, in the order of precedence, or by rank where every item has one."""
    call.must_be_admin()
    attribute, given = _found(call), list(call.body or ())
    ranked = [one for one in given if one.get("rank") is not None]
    call.validate(
        (len(ranked) in (0, len(given)), "rank", "invalid", "give every item a rank, or none"),
        (all(one.get("group_id") in call.world.groups for one in given), "group_id", "invalid", "unknown group"),
    )
    in_order = sorted(given, key=lambda one: int(one["rank"])) if ranked else given
    attribute.group_values = {one["group_id"]: _text(call, attribute, one.get("value")) for one in in_order}
    return call.record(_group_values(call, attribute))


@on("PATCH", "/groups/{group_id}/attribute_values/{user_attribute_id}")
def update_user_attribute_group_value(call: Call) -> Response:
    call.must_be_admin()
    attribute = _found(call)
    attribute.group_values[call.group.id] = _text(call, attribute, (call.body or {}).get("value"))
    return call.record(next(r for r in _group_values(call, attribute) if r["group_id"] == call.group.id))


@on("DELETE", "/groups/{group_id}/attribute_values/{user_attribute_id}")
def delete_user_attribute_group_value(call: Call) -> Response:
    call.must_be_admin()
    if _found(call).group_values.pop(call.group.id, None) is None:
        raise VendorError(404, "Not found")
    return Response(status_code=DONE)


# --- of users


def _value(attribute: Attribute, user: User, source: str | None, value: str | None, rank: int | None) -> wire.Record:
    return {
        "name": attribute.name,
        "label": attribute.label,
        "rank": rank,
        "value": "" if attribute.hidden and value is not None else value,
        "user_id": user.id,
        "user_can_edit": attribute.user_can_edit,
        "value_is_hidden": attribute.hidden,
        "user_attribute_id": attribute.id,
        "source": source,
        "hidden_value_domain_whitelist": None,
    }


@on("GET", "/users/{user_id}/attribute_values")
def user_attribute_user_values(call: Call) -> Response:
    """Of each attribute the value that counts; with `all_values` also those that it goes before."""
    if call.user.id != call.caller.id:
        call.must_be_admin()
    asked = call.query.get("user_attribute_ids")
    wanted = asked.split(",") if asked else list(call.world.attributes)
    found: list[wire.Record] = []
    for attribute in (call.world.attributes[id] for id in wanted if id in call.world.attributes):
        path = call.world.search_path(call.user, attribute)
        shown = path if call.query.get("all_values") == "true" else path[:1]
        found += [_value(attribute, call.user, source, value, rank) for source, value, rank in shown]
        if not path and call.query.get("include_unset") == "true":
            found.append(_value(attribute, call.user, None, None, None))
    return call.record(found)


@on("PATCH", "/users/{user_id}/attribute_values/{user_attribute_id}")
def set_user_attribute_user_value(call: Call) -> Response:
    call.must_be_admin()
    attribute, user = _found(call), call.user
    if attribute.system:
        raise VendorError(403, "The value of a system attribute cannot be set.")
    user.values[attribute.id] = _text(call, attribute, (call.body or {}).get("value"))
    return call.record(_value(attribute, user, "user", user.values[attribute.id], None))


@on("DELETE", "/users/{user_id}/attribute_values/{user_attribute_id}")
def delete_user_attribute_user_value(call: Call) -> Response:
    call.must_be_admin()
    if call.user.values.pop(_found(call).id, None) is None:
        raise VendorError(404, "Not found")
    return Response(status_code=DONE)
