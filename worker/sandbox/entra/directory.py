"""What the tenant knows, and every edit that an administrator could make to it."""

from __future__ import annotations

import secrets
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from worker.sandbox.company import AppRole, Company, TenantGroup

FOUNDED = "2024-01-08T09:00:00Z"
_KINDS: dict[str, dict[str, Any]] = {
    "security": {"securityEnabled": True, "mailEnabled": False, "groupTypes": []},
    "mail-enabled security": {"securityEnabled": True, "mailEnabled": True, "groupTypes": []},
    "distribution": {"securityEnabled": False, "mailEnabled": True, "groupTypes": []},
    "microsoft 365": {"securityEnabled": False, "mailEnabled": True, "groupTypes": ["Unified"]},
    "dynamic": {"securityEnabled": True, "mailEnabled": False, "groupTypes": ["DynamicMembership"]},
}


@dataclass(slots=True)
class Thing:
    """One directory object: `type` is user, group, device or servicePrincipal; `properties` hold the id, too."""

    id: str
    type: str
    properties: dict[str, Any]
    members: set[str] = field(default_factory=set)  # of a group, by id

    @property
    def name(self) -> str:
        return str(self.properties.get("displayName") or "")


class Directory:
    """Everything by id: `things` that are there, and users in `deleted`. Groups are named by id or by display name.

    Who is soft-deleted stays a member of what they were in, and is shown in none of it until they are restored.
    """

    def __init__(self, company: Company) -> None:
        self.lock = threading.RLock()
        self.things: dict[str, Thing] = {}
        self.deleted: dict[str, Thing] = {}
        self.assignments: list[dict[str, Any]] = []
        tenant = company.tenant
        for user in tenant.users:
            made = _user(user.id, user.properties)
            (self._bury if user.deleted else self._add)(made)
        for thing in tenant.things:
            self._add(Thing(thing.id, thing.type, {"id": thing.id, **thing.properties}))
        for group in tenant.groups:
            self._found(group)
        for group in tenant.groups:
            self.things[group.id].members.update(group.members)
        for role in tenant.app_roles:
            self.assign(role)

    def _add(self, thing: Thing) -> str:
        self.things[thing.id] = thing
        return thing.id

    def _found(self, group: TenantGroup) -> str:
        named = {
            "id": group.id, "displayName": group.name, "description": None, "createdDateTime": FOUNDED,
            "mailNickname": group.name.replace(" ", "-").lower(),
            "visibility": "HiddenMembership" if group.hidden else None,
            "membershipRule": "(user.accountEnabled -eq true)" if group.kind == "dynamic" else None,
            "membershipRuleProcessingState": "On" if group.kind == "dynamic" else None, **_KINDS[group.kind],
        }  # fmt: skip
        return self._add(Thing(group.id, "group", named))

    def of_type(self, type: str) -> list[str]:
        """Sorted ids."""
        return sorted(thing.id for thing in self.things.values() if thing.type == type)

    def user(self, id_or_name: str) -> Thing:
        """By id or user principal name, whatever its case; one who is deleted only by id. Raises KeyError."""
        found = self.things.get(id_or_name) or self.deleted.get(id_or_name)
        if found is None:
            wanted = id_or_name.lower()
            found = next(
                (user for user in self._users() if user.properties["userPrincipalName"].lower() == wanted), None
            )
        if found is None or found.type != "user":
            raise KeyError(id_or_name)
        return found

    def group(self, id_or_name: str) -> Thing:
        """Raises KeyError."""
        found = self.things.get(id_or_name)
        if found is None:
            found = next((t for t in self.things.values() if t.type == "group" and t.name == id_or_name), None)
        if found is None or found.type != "group":
            raise KeyError(id_or_name)
        return found

    def _users(self) -> Iterator[Thing]:
        return (thing for thing in self.things.values() if thing.type == "user")

    def members(self, group: Thing) -> list[str]:
        """Sorted ids of what is in it directly, and there."""
        return sorted(id for id in group.members if id in self.things)

    def transitive(self, group: Thing) -> list[str]:
        """Sorted ids of all that is in it on whatever way, the groups on the way included, the group itself not."""
        found: set[str] = set()
        todo = [group]
        while todo:
            fresh = [id for id in todo.pop().members if id in self.things and id not in found]
            found.update(fresh)
            todo += [self.things[id] for id in fresh]
        return sorted(found - {group.id})

    # --- edits -------------------------------------------------------------------------------------------------------

    def hire(self, *, id: str = "", groups: Iterable[str] = (), **properties: Any) -> str:
        """A new user with these properties of Graph's; gives its id. The user principal name has to be free."""
        with self.lock:
            id = id or str(uuid.uuid4())
            self._demand_free(properties["userPrincipalName"])
            self._add(_user(id, properties))
            for group in groups:
                self.add_member(group, id)
            return id

    def disable(self, user: str) -> None:
        """Signing in is blocked; memberships stay."""
        self.set(user, accountEnabled=False)

    def enable(self, user: str) -> None:
        self.set(user, accountEnabled=True)

    def set(self, user: str, **properties: Any) -> None:
        """New values of properties: `set(id, displayName="Ada Lovelace", accountEnabled=None)`."""
        with self.lock:
            self.user(user).properties.update(properties)

    def soft_delete(self, user: str) -> None:
        """The user leaves for the deleted items, where the user principal name begins with the id."""
        with self.lock:
            self._bury(self.things.pop(self.user(user).id))

    def _bury(self, gone: Thing) -> None:
        gone.properties["deletedDateTime"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        gone.properties["userPrincipalName"] = _mark(gone) + gone.properties["userPrincipalName"]
        self.deleted[gone.id] = gone

    def restore(self, user: str) -> None:
        """Back with every membership, and the old user principal name, which has to be free."""
        with self.lock:
            back = self.deleted[user]
            name = back.properties["userPrincipalName"].removeprefix(_mark(back))
            self._demand_free(name)
            back.properties |= {"userPrincipalName": name, "deletedDateTime": None}
            self._add(self.deleted.pop(user))

    def purge(self, user: str) -> None:
        """Gone for good, from the tenant or from its deleted items."""
        with self.lock:
            gone = self.deleted.pop(user) if user in self.deleted else self.things.pop(self.user(user).id)
            for thing in self.things.values():
                thing.members.discard(gone.id)

    def _demand_free(self, name: str) -> None:
        if any(user.properties["userPrincipalName"].lower() == name.lower() for user in self._users()):
            raise ValueError(f"another user has the user principal name {name}")

    def create_group(self, name: str, kind: str = "security", *, id: str = "", hidden: bool = False) -> str:
        with self.lock:
            return self._found(TenantGroup(id or str(uuid.uuid4()), name, kind, hidden=hidden))

    def rename_group(self, group: str, name: str) -> None:
        with self.lock:
            self.group(group).properties["displayName"] = name

    def delete_group(self, group: str) -> None:
        with self.lock:
            gone = self.things.pop(self.group(group).id)
            for thing in self.things.values():
                thing.members.discard(gone.id)

    def add_member(self, group: str, member: str) -> None:
        """Of a user, device or service principal, or (by id or name) of another group, which is then nested."""
        with self.lock:
            self.group(group).members.add(self._member(member))

    def remove_member(self, group: str, member: str) -> None:
        with self.lock:
            self.group(group).members.remove(self._member(member))

    def _member(self, name: str) -> str:
        if name in self.things or name in self.deleted:
            return name
        try:
            return self.group(name).id
        except KeyError:
            return self.user(name).id

    def assign(self, role: AppRole) -> None:
        """The role to more users and groups; its application and the role itself are there from now on."""
        with self.lock:
            app = self._application(role)
            for id in role.assigned:
                principal = self.things[id]
                self.assignments.append(
                    {
                        "id": secrets.token_urlsafe(32), "deletedDateTime": None, "appRoleId": role.role_id,
                        "createdDateTime": FOUNDED, "principalDisplayName": principal.name, "principalId": id,
                        "principalType": {"user": "User", "group": "Group"}.get(principal.type, "ServicePrincipal"),
                        "resourceDisplayName": app.name, "resourceId": app.id,
                    }
                )  # fmt: skip

    def _application(self, role: AppRole) -> Thing:
        found = next((t for t in self.things.values() if t.properties.get("appId") == role.app_id), None)
        if found is None:
            id = str(uuid.uuid5(uuid.UUID(role.app_id), "service principal"))
            named = {"displayName": role.app_name, "appDisplayName": role.app_name, "appId": role.app_id}
            kind = {"accountEnabled": True, "servicePrincipalType": "Application", "appRoleAssignmentRequired": True}
            found = self.things[self._add(Thing(id, "servicePrincipal", {"id": id, **named, **kind, "appRoles": []}))]
        if all(known["id"] != role.role_id for known in found.properties["appRoles"]):
            found.properties["appRoles"].append(
                {
                    "id": role.role_id, "value": role.value, "displayName": role.value, "description": role.value,
                    "isEnabled": True, "origin": "Application", "allowedMemberTypes": ["User"],
                }
            )  # fmt: skip
        return found


def _user(id: str, properties: Mapping[str, Any]) -> Thing:
    usual = {"accountEnabled": True, "userType": "Member", "createdDateTime": FOUNDED}
    return Thing(id, "user", {**usual, **properties, "id": id})


def _mark(user: Thing) -> str:
    return user.id.replace("-", "")
