"""What the sandbox Looker answers about roles and groups, and about single sign-on and its version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from starlette.responses import Response

from worker.sandbox.looker import wire
from worker.sandbox.looker.call import Call, on
from worker.sandbox.looker.instance import ADMIN, ALL_USERS, Group, VendorError, number

DONE = 204


@on("GET", "/roles")
def all_roles(call: Call) -> Response:
    """Support roles are left out, and the list is not paged."""
    shown = [wire.role(role) for role in call.world.roles.values() if not role.internal]
    return call.record(sorted(shown, key=lambda r: number(r["id"])))


@on("GET", "/roles/{role_id}")
def role(call: Call) -> Response:
    return call.record(wire.role(call.role))


@on("PATCH", "/roles/{role_id}")
def update_role(call: Call) -> Response:
    call.must_be_admin()
    if call.role.name == ADMIN:
        raise VendorError(405, "The Admin role cannot be changed.")
    call.world.roles[call.role.id] = changed = replace(call.role, name=call.body.get("name", call.role.name))
    return call.record(wire.role(changed))


@on("DELETE", "/roles/{role_id}")
def delete_role(call: Call) -> Response:
    call.must_be_admin()
    gone = call.role
    if gone.name == ADMIN:
        raise VendorError(405, "The Admin role cannot be deleted.")
    for holder in list(call.world.holders.get(gone.id, ())):
        call.world.revoke(call.world.users[holder], gone.id)
    for group in call.world.groups.values():
        group.roles.discard(gone.id)
    del call.world.roles[gone.id]
    return Response(status_code=DONE)


@on("GET", "/roles/{role_id}/users")
def role_users(call: Call) -> Response:
    """Not paged. Without direct_association_only everybody who has the role through a group is there too."""
    direct = call.world.holders.get(call.role.id, set())
    if call.query.get("direct_association_only") != "true":
        holding = {g.id for g in call.world.groups.values() if call.role.id in call.world.groups[g.id].roles}
        below = {id for id in call.world.groups if call.world.ancestors([id]) & holding}
        direct = direct.union(*(call.world.members.get(id, set()) for id in below))
    unpaged = {name: value for name, value in call.query.items() if name not in ("limit", "offset")}
    return replace(call, query=unpaged).user_list([call.world.users[id] for id in list(direct)])


@on("PUT", "/roles/{role_id}/users")
def set_role_users(call: Call) -> Response:
    call.must_be_admin()
    wanted = set(call.body)
    call.validate((wanted <= call.world.users.keys(), "users", "invalid", "unknown user"))
    for id in call.world.holders.get(call.role.id, set()) - wanted:
        call.world.revoke(call.world.users[id], call.role.id)
    for id in wanted:
        call.world.grant(call.world.users[id], call.role.id)
    return call.user_list([call.world.users[id] for id in wanted])


@on("PUT", "/roles/{role_id}/groups")
def set_role_groups(call: Call) -> Response:
    call.must_be_admin()
    wanted = set(call.body)
    call.validate((wanted <= call.world.groups.keys(), "groups", "invalid", "unknown group"))
    for group in call.world.groups.values():
        (group.roles.add if group.id in wanted else group.roles.discard)(call.role.id)
    return call.record_list([wire.group(call.world, call.world.groups[id]) for id in wanted])


@on("GET", "/users/{user_id}/roles")
def user_roles(call: Call) -> Response:
    direct = call.query.get("direct_association_only") == "true"
    ids = call.user.roles if direct else call.world.effective_roles(call.user)
    return call.record_list([wire.role(call.world.roles[id]) for id in ids])


@on("PUT", "/users/{user_id}/roles")
def set_user_roles(call: Call) -> Response:
    """The whole list of direct roles; what it does not name is gone."""
    call.must_be_admin()
    if call.user.roles_externally_managed:
        raise VendorError(403, "Roles of this user are managed externally.")
    call.world.set_roles(call.user, call.role_ids(call.body))
    return call.record_list([wire.role(call.world.roles[id]) for id in call.user.roles])


# --- groups


def _group_search(call: Call, *, hierarchy: bool) -> Response:
    groups: Sequence[Group] = list(call.world.groups.values())
    if "id" in call.query:
        groups = [g for g in groups if g.id in call.query["id"].split(",")]
    if "name" in call.query:
        groups = [g for g in groups if wire.matches(call.query["name"], g.name)]
    if "externally_managed" in call.query:
        groups = [g for g in groups if str(g.mirrored).lower() == call.query["externally_managed"]]
    return call.record_list([wire.group(call.world, g, hierarchy=hierarchy) for g in groups])


@on("GET", "/groups")
def all_groups(call: Call) -> Response:
    return _group_search(call, hierarchy=False)


@on("GET", "/groups/search")
def search_groups(call: Call) -> Response:
    return _group_search(call, hierarchy=False)


@on("GET", "/groups/search/with_hierarchy")
def search_groups_with_hierarchy(call: Call) -> Response:
    return _group_search(call, hierarchy=True)


@on("GET", "/groups/{group_id}")
def group(call: Call) -> Response:
    return call.record(wire.group(call.world, call.group))


@on("POST", "/groups")
def create_group(call: Call) -> Response:
    call.must_be_admin()
    name = (call.body or {}).get("name", "")
    call.validate(
        (bool(name), "name", "missing_field", "a name is needed"),
        (call.world.group_named(name) is None, "name", "already_exists", "there is a group of this name"),
    )
    made = Group(call.world.next_id(), name)
    call.world.groups[made.id] = made
    return call.record(wire.group(call.world, made))


@on("PATCH", "/groups/{group_id}")
def update_group(call: Call) -> Response:
    _editable(call)
    call.group.name = (call.body or {}).get("name", call.group.name)
    return call.record(wire.group(call.world, call.group))


@on("DELETE", "/groups/{group_id}")
def delete_group(call: Call) -> Response:
    _editable(call)
    gone = call.group
    if gone.name == ALL_USERS:
        raise VendorError(403, "All Users cannot be deleted.")
    for member in list(call.world.members.get(gone.id, ())):
        call.world.leave(call.world.users[member], gone.id)
    for other in call.world.groups.values():
        other.parents.discard(gone.id)
    del call.world.groups[gone.id]
    return Response(status_code=DONE)


def _editable(call: Call) -> None:
    call.must_be_admin()
    if call.group.mirrored:
        raise VendorError(call.sandbox.mirrored_status, "This group is externally managed.")


@on("GET", "/groups/{group_id}/users")
def group_users(call: Call) -> Response:
    """Direct members only."""
    members = call.world.members.get(call.group.id, set())
    return call.user_list([call.world.users[id] for id in list(members)])


@on("POST", "/groups/{group_id}/users")
def add_group_user(call: Call) -> Response:
    _editable(call)
    found = call.world.users.get((call.body or {}).get("user_id", ""))
    if found is None:
        raise VendorError(404, "Not found")
    call.world.join(found, call.group.id)
    return call.one_user(found)


@on("DELETE", "/groups/{group_id}/users/{user_id}")
def delete_group_user(call: Call) -> Response:
    _editable(call)
    if call.group.name == ALL_USERS:
        raise VendorError(403, "Nobody leaves All Users.")
    if call.group.id not in call.user.groups:
        raise VendorError(404, "Not found")
    call.world.leave(call.user, call.group.id)
    return Response(status_code=DONE)


@on("GET", "/groups/{group_id}/groups")
def group_groups(call: Call) -> Response:
    return call.record_list(
        [wire.group(call.world, g) for g in call.world.groups.values() if call.group.id in g.parents]
    )


@on("POST", "/groups/{group_id}/groups")
def add_group_group(call: Call) -> Response:
    _editable(call)
    inner = call.world.groups.get((call.body or {}).get("group_id", ""))
    if inner is None or inner.id in call.world.ancestors([call.group.id]):
        raise VendorError(404, "Not found")
    inner.parents.add(call.group.id)
    return call.record(wire.group(call.world, inner))


@on("DELETE", "/groups/{group_id}/groups/{inner_id}")
def delete_group_from_group(call: Call) -> Response:
    _editable(call)
    inner = call.world.groups.get(call.path["inner_id"])
    if inner is None or call.group.id not in inner.parents:
        raise VendorError(404, "Not found")
    inner.parents.discard(call.group.id)
    return Response(status_code=DONE)


# --- settings, version


def _config(provider: str) -> Callable[[Call], Response]:
    def answer(call: Call) -> Response:
        call.must_be_admin()
        return call.record(wire.sso(call.world.sso[provider]))

    return answer


for _provider in ("saml", "oidc", "ldap"):
    on("GET", f"/{_provider}_config")(_config(_provider))


@on("GET", "/versions")
def versions(call: Call) -> Response:
    element = {"version": "4.0", "full_version": "4.0.26.12", "status": "current"}
    return call.record(
        {
            "looker_release_version": "26.12.3" if call.sandbox.keys_closed else "26.6.9",
            "current_version": element,
            "supported_versions": [element],
            "api_server_url": call.sandbox.url,
            "web_server_url": call.sandbox.url,
        }
    )
