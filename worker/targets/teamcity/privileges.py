"""What counts as administration in TeamCity: which roles, groups and scopes make their holder powerful."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from worker.core.identity import CatalogueItem
from worker.targets.teamcity.wire import ALL_USERS, EVERYWHERE, ROOT, Group, Role

SYSTEM_ADMIN = "SYSTEM_ADMIN"
ADMINISTRATORS = "SYSTEM_ADMINISTRATORS_GROUP"  # built in on some servers; powerful whatever it shows
POWERFUL_SCOPES = frozenset({EVERYWHERE, f"p:{ROOT}"})

# Roles are edited by administrators, so a role is judged by what it permits and not by its name. "Modify user profile
# and roles" and the rights over groups let their holder take any other right.
ADMINISTRATIVE = frozenset({
    "assign_users_add_subgroups", "backup", "change_https_settings", "change_server_settings", "change_user",
    "change_user_roles_in_project", "change_usergroup", "create_user", "create_usergroup", "delete_user",
    "delete_usergroup", "edit_enforced_settings", "import_projects", "manage_authentication_settings", "manage_roles",
    "manage_server_installation", "manage_server_licenses",
})  # fmt: skip
CLOSED_ALL_USERS = "every account is in it and none can leave it; grant through another group"


@dataclass(frozen=True)
class Powers:
    """The server's roles and groups, and what follows from them. Ids are role ids and group keys."""

    roles: Mapping[str, Role]
    groups: Mapping[str, Group]

    def contained(self, role: str) -> frozenset[str]:
        """The role and all that it includes, directly or not."""
        found: set[str] = set()
        queue = [role]
        while queue:
            id = queue.pop()
            if id not in found:
                found.add(id)
                queue.extend(i.id for i in (self.roles[id].included.role if id in self.roles else ()))
        return frozenset(found)

    def role_is_privileged(self, role: str) -> bool:
        inside = self.contained(role)
        permitted = {p.id.lower() for id in inside if id in self.roles for p in self.roles[id].permissions.permission}
        return SYSTEM_ADMIN in inside or bool(permitted & ADMINISTRATIVE)

    def ancestors(self, keys: Iterable[str]) -> frozenset[str]:
        """The groups and every group above them; a member of a group has what its parents have."""
        found: set[str] = set()
        queue = list(keys)
        while queue:
            key = queue.pop()
            if key not in found:
                found.add(key)
                queue.extend(p.key for p in (self.groups[key].parents.group if key in self.groups else ()))
        return frozenset(found)

    def group_is_privileged(self, key: str) -> bool:
        """What everybody has through the built-in group is no gain for the members of another one."""
        above = self.ancestors([key]) - ({ALL_USERS} if key != ALL_USERS else set())
        held = [r for k in above if k in self.groups for r in self.groups[k].roles.role]
        return ADMINISTRATORS in above or any(
            r.scope in POWERFUL_SCOPES or self.role_is_privileged(r.roleId) for r in held
        )

    def administers(self, roles: Iterable[tuple[str, str]], groups: Iterable[str]) -> bool:
        """System administrator everywhere, directly or through a group."""
        above = (self.groups[k] for k in self.ancestors(groups) if k in self.groups)
        through = ((r.roleId, r.scope) for group in above for r in group.roles.role)
        return any(s == EVERYWHERE and SYSTEM_ADMIN in self.contained(r) for r, s in (*roles, *through))

    def administering(self) -> tuple[list[str], list[str]]:
        """The roles that make an administrator of whoever has them everywhere, and the groups that make one of their
        members."""
        roles = [role for role in sorted({*self.roles, SYSTEM_ADMIN}) if SYSTEM_ADMIN in self.contained(role)]
        return roles, [key for key in sorted(self.groups) if self.administers((), [key])]

    def catalogue(self, projects: Iterable[str]) -> tuple[CatalogueItem, ...]:
        """Names are ids throughout: role ids, group keys and scopes are what a policy says."""
        scopes = [EVERYWHERE, *(f"p:{id}" for id in sorted({*projects, ROOT}))]
        return (
            *(CatalogueItem("role", id, id, self.role_is_privileged(id)) for id in sorted(self.roles)),
            *(
                CatalogueItem(
                    "group", key, key, self.group_is_privileged(key), CLOSED_ALL_USERS if key == ALL_USERS else ""
                )
                for key in sorted(self.groups)
            ),
            *(CatalogueItem("scope", scope, scope, scope in POWERFUL_SCOPES) for scope in scopes),
        )
