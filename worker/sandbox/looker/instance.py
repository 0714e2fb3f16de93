"""What a Looker instance knows and the rules it keeps, without any HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

from worker.sandbox.company import Company
from worker.sandbox.server import VendorRefusal

ADMIN = "Admin"
ALL_USERS = "All Users"
ADMIN_PERMISSIONS = ("access_data", "administer", "explore", "manage_groups", "manage_roles", "see_users", "sudo")


class VendorError(VendorRefusal):
    """An answer other than success: HTTP status, message, and (field, code, message) of validation errors."""

    def __init__(self, status: int, message: str, errors: Sequence[tuple[str, str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors


@dataclass
class ApiKey:
    id: str
    client_id: str
    client_secret: str
    purpose: str = ""


@dataclass
class Schedule:
    """`recipients` are (type of destination, address)."""

    id: str
    user_id: str
    name: str
    enabled: bool = True
    recipients: tuple[tuple[str, str], ...] = ()
    dashboard_id: str | None = None


@dataclass
class Alert:
    id: str
    owner_id: str
    title: str
    is_disabled: bool = False
    recipients: tuple[tuple[str, str], ...] = ()


@dataclass
class Content:
    """A dashboard or a Look; a public one lets in everybody who has its link."""

    id: str
    kind: str
    title: str
    user_id: str
    folder: str = "Shared"
    public: bool = False
    deleted: bool = False


@dataclass
class App:
    """An application that people let act for them, by OAuth."""

    guid: str
    name: str
    users: set[str] = field(default_factory=set)


@dataclass
class User:
    """`email` is None without an e-mail credential; `locked` while a changed address waits for its mailed link.

    `links` are log-ins over single sign-on: the provider, and the address that it gave.
    """

    id: str
    kind: str  # standard, service, support, embed
    first_name: str
    last_name: str
    email: str | None = None
    is_disabled: bool = False
    locked: bool = False
    links: dict[str, str] = field(default_factory=dict)
    second_factor: bool = False
    roles: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    keys: list[ApiKey] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    roles_externally_managed: bool = False
    allow_direct_roles: bool = True
    allow_normal_group_membership: bool = True
    values: dict[str, str] = field(default_factory=dict)  # its own, by attribute id

    @property
    def address(self) -> str | None:
        """What Looker shows as the user's e-mail: of the first credential that has one."""
        return self.email or next(iter(self.links.values()), None)


@dataclass
class Attribute:
    """A user attribute. `group_values` by group id, the first wins."""

    id: str
    name: str
    label: str
    type: str = "string"
    default: str | None = None
    system: bool = False
    hidden: bool = False
    user_can_edit: bool = False
    group_values: dict[str, str] = field(default_factory=dict)


@dataclass
class Role:
    id: str
    name: str
    permissions: tuple[str, ...]
    models: tuple[str, ...]
    built_in: bool = False
    internal: bool = False


@dataclass
class Group:
    id: str
    name: str
    parents: set[str] = field(default_factory=set)
    roles: set[str] = field(default_factory=set)
    mirrored: bool = False
    include_by_default: bool = False


@dataclass
class SingleSignOn:
    """One of saml, oidc, ldap: only what decides over accounts, roles and groups at a login.

    `new_user_migration_types` with "email" in it: who arrives for the first time is given the account that has their
    address as an e-mail credential. `default_new_user_role_ids`: what a new account gets.
    """

    enabled: bool = False
    set_roles_from_groups: bool = False
    auth_requires_role: bool = False
    allow_direct_roles: bool = True
    allow_normal_group_membership: bool = True
    allow_roles_from_normal_groups: bool = True
    alternate_email_login_allowed: bool = False
    new_user_migration_types: str = ""
    default_new_user_role_ids: tuple[str, ...] = ()


def number(id: str) -> tuple[int, str]:
    """Ids are numbers in the form of strings, and are sorted as numbers."""
    return (int(id), "") if id.isdigit() else (0, id)


class Instance:
    """Users, roles, groups, and who holds what. Each change of a user is announced through `changed`."""

    def __init__(self, company: Company) -> None:
        self.users: dict[str, User] = {}
        self.members: dict[str, set[str]] = {}
        self.holders: dict[str, set[str]] = {}
        self.schedules: dict[str, Schedule] = {}
        self.alerts: dict[str, Alert] = {}
        self.content: dict[str, Content] = {}
        self.apps: dict[str, App] = {}
        self.attributes = {"1": Attribute("1", "locale", "Locale", default="en", system=True)}
        self.sso = {name: SingleSignOn() for name in ("saml", "oidc", "ldap")}
        self.changed: list[User] = []
        self.roles = {
            r.id: Role(r.id, r.name, r.permissions, r.models, built_in=r.name == ADMIN) for r in company.looker_roles
        }
        if not self.role_named(ADMIN):
            id = self._free("2", self.roles)
            self.roles[id] = Role(id, ADMIN, ADMIN_PERMISSIONS, ("all",), built_in=True)
        self.groups = {
            g.id: Group(g.id, g.name, mirrored=g.mirrored, include_by_default=g.name == ALL_USERS)
            for g in company.looker_groups
        }
        if not any(g.name == ALL_USERS for g in self.groups.values()):
            id = self._free("1", self.groups)
            self.groups[id] = Group(id, ALL_USERS, include_by_default=True)
        role_ids = {role.name: role.id for role in self.roles.values()}
        group_ids = {group.name: group.id for group in self.groups.values()}
        for spec in company.looker_groups:
            self.groups[spec.id].parents = {group_ids[name] for name in spec.parents}
            self.groups[spec.id].roles = {role_ids[name] for name in spec.roles}
        for a in company.looker_attributes:
            by_group = {group_ids[name]: value for name, value in a.groups}
            self.attributes[a.id] = Attribute(a.id, a.name, a.label, a.type, a.default, group_values=by_group)
        attribute_ids = {attribute.name: attribute.id for attribute in self.attributes.values()}
        for u in company.looker_users:
            user = User(u.id, u.kind, u.first_name, u.last_name, u.email or None, u.is_disabled)
            user.values = {attribute_ids[name]: value for name, value in u.attributes}
            self._enter(user, {role_ids[r] for r in u.roles}, {group_ids[g] for g in u.groups})
        self._numbers = count(max((number(id)[0] for id in self.users), default=0) + 1)
        self._others = count(1000)

    @staticmethod
    def _free(wish: str, taken: Iterable[str]) -> str:
        taken = set(taken)
        return wish if wish not in taken else str(max(number(id)[0] for id in taken) + 1)

    def next_user_id(self) -> str:
        return str(next(self._numbers))

    def next_id(self) -> str:
        """For everything that is not a user."""
        return str(next(self._others))

    def role_named(self, name: str) -> Role | None:
        return next((role for role in self.roles.values() if role.name == name), None)

    def group_named(self, name: str) -> Group | None:
        return next((group for group in self.groups.values() if group.name == name), None)

    def attribute_named(self, name: str) -> Attribute | None:
        return next((attribute for attribute in self.attributes.values() if attribute.name == name), None)

    # --- what filters rows

    def search_path(self, user: User, attribute: Attribute) -> list[tuple[str, str, int | None]]:
        """Where a value comes from, the value, and a group's rank; the first one counts."""
        found: list[tuple[str, str, int | None]] = []
        if attribute.id in user.values:
            found.append(("user", user.values[attribute.id], None))
        for rank, (group, value) in enumerate(attribute.group_values.items(), 1):
            if group in user.groups:
                found.append(("group", value, rank))
        if attribute.default is not None:
            found.append(("default", attribute.default, None))
        return found

    # --- who holds what

    def _enter(self, user: User, roles: Iterable[str], groups: Iterable[str]) -> None:
        self.users[user.id] = user
        for role in roles:
            self.grant(user, role)
        for group in {*groups, *(g.id for g in self.groups.values() if g.include_by_default)}:
            self.join(user, group)

    def enter(self, user: User) -> User:
        """A new user, who is put into the default groups."""
        self._enter(user, (), ())
        self.changed.append(user)
        return user

    def grant(self, user: User, role_id: str) -> None:
        user.roles.add(role_id)
        self.holders.setdefault(role_id, set()).add(user.id)
        self.changed.append(user)

    def revoke(self, user: User, role_id: str) -> None:
        user.roles.discard(role_id)
        self.holders.get(role_id, set()).discard(user.id)
        self.changed.append(user)

    def set_roles(self, user: User, role_ids: Iterable[str]) -> None:
        wanted = set(role_ids)
        for role_id in user.roles - wanted:
            self.revoke(user, role_id)
        for role_id in wanted:
            self.grant(user, role_id)

    def join(self, user: User, group_id: str) -> None:
        user.groups.add(group_id)
        self.members.setdefault(group_id, set()).add(user.id)
        self.changed.append(user)

    def leave(self, user: User, group_id: str) -> None:
        user.groups.discard(group_id)
        self.members.get(group_id, set()).discard(user.id)
        self.changed.append(user)

    def ancestors(self, group_ids: Iterable[str]) -> set[str]:
        """The groups themselves and everything they lie in."""
        found: set[str] = set()
        open_ = list(group_ids)
        while open_:
            id = open_.pop()
            if id not in found and id in self.groups:
                found.add(id)
                open_.extend(self.groups[id].parents)
        return found

    def effective_roles(self, user: User) -> set[str]:
        """Direct ones, and those of all groups, nested ones included."""
        return user.roles.union(*(self.groups[id].roles for id in self.ancestors(user.groups)))

    def is_admin(self, user: User) -> bool:
        return any(self.roles[id].name == ADMIN for id in self.effective_roles(user))

    # --- lives

    def set_disabled(self, user: User, disabled: bool) -> None:
        """Disabling turns the user's schedules off, silently; enabling does not turn them on again. Sessions stay in
        the list until somebody deletes them."""
        user.is_disabled = disabled
        if disabled:
            for schedule in self.schedules_of(user.id):
                schedule.enabled = False
        self.changed.append(user)

    def delete(self, user: User) -> None:
        for role_id in list(user.roles):
            self.revoke(user, role_id)
        for group_id in list(user.groups):
            self.leave(user, group_id)
        for schedule in self.schedules_of(user.id):
            del self.schedules[schedule.id]
        for content in self.content.values():
            content.deleted |= content.user_id == user.id
        del self.users[user.id]
        self.changed.append(user)

    def schedules_of(self, user_id: str) -> list[Schedule]:
        return [s for s in self.schedules.values() if s.user_id == user_id]

    def with_email(self, email: str) -> list[User]:
        return [u for u in list(self.users.values()) if u.email is not None and u.email.lower() == email.lower()]

    def new_key(self, user: User) -> ApiKey:
        key = ApiKey(self.next_id(), secrets.token_hex(10), secrets.token_hex(12))
        user.keys.append(key)
        self.changed.append(user)
        return key

    def sso_login(self, user: User, provider: str, idp_groups: Sequence[str]) -> None:
        """What a login over single sign-on does to roles and groups. Raises VendorError where it lets nobody in."""
        config = self.sso[provider]
        if not config.enabled or user.is_disabled or user.locked:
            raise VendorError(403, "login refused")
        user.links.setdefault(provider, user.address or "")
        user.roles_externally_managed = config.set_roles_from_groups
        user.allow_direct_roles = config.allow_direct_roles
        user.allow_normal_group_membership = config.allow_normal_group_membership
        for group in self.groups.values():
            if group.mirrored and config.set_roles_from_groups:
                (self.join if group.name in idp_groups else self.leave)(user, group.id)
            elif not group.mirrored and not group.include_by_default and not config.allow_normal_group_membership:
                self.leave(user, group.id)
        if not config.allow_direct_roles:
            self.set_roles(user, ())
        if config.auth_requires_role and not self.effective_roles(user):
            raise VendorError(403, "login refused: no role")
        user.sessions.append(self.next_id())

    def arrival(self, provider: str, email: str) -> User:
        """Whose account somebody gets whom the identity provider sends: the one with the link, disabled or not; else,
        where the settings merge by e-mail, the one with the address; else a new one."""
        config = self.sso[provider]
        known = [u for u in self.users.values() if u.links.get(provider, "").lower() == email.lower()]
        if not known and "email" in config.new_user_migration_types:
            known = self.with_email(email)
        if known:
            return known[0]
        new = self.enter(User(self.next_user_id(), "standard", "", "", None, links={provider: email}))
        for role_id in config.default_new_user_role_ids:
            self.grant(new, role_id)
        return new
