"""What a TeamCity server knows, and the rules by which its users, groups, roles, projects and tokens change."""

from __future__ import annotations

import datetime as dt
import itertools
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from worker.sandbox.company import Company
from worker.sandbox.teamcity.problems import Problem

ALL_USERS = "ALL_USERS_GROUP"
ROOT = "_Root"
GUEST_ID = -1000
RECONCILER_ROLE = "RECONCILER"
RECONCILER_PERMISSIONS = (
    "view_user_profile", "view_all_users", "view_project", "view_audit_log", "view_server_settings",
    "create_user", "change_user", "change_user_roles_in_project", "assign_users_add_subgroups",
)  # fmt: skip
PROJECT_LEVEL = frozenset(
    {"view_project", "run_build", "edit_project", "comment_build", "change_user_roles_in_project", "cancel_build"}
)


@dataclass
class Token:
    """`restrictions` are (scope, permission); None: all of its user's rights. `expires` None: never."""

    name: str
    value: str
    created: dt.datetime
    expires: dt.datetime | None = None
    restrictions: tuple[tuple[str, str], ...] | None = None


@dataclass
class User:
    """`roles` are the direct (role id, scope), in order; `groups` the direct keys, the built-in one among them."""

    id: int
    username: str
    name: str = ""
    email: str = ""
    password: str = ""
    last_login: dt.datetime | None = None
    properties: dict[str, str] = field(default_factory=dict)
    roles: dict[tuple[str, str], None] = field(default_factory=dict)
    groups: dict[str, None] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    sessions: int = 0
    remembered: bool = False


@dataclass
class Group:
    key: str
    name: str
    description: str = ""
    parents: dict[str, None] = field(default_factory=dict)
    roles: dict[tuple[str, str], None] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)


@dataclass
class Role:
    id: str
    name: str
    permissions: set[str]
    included: tuple[str, ...] = ()


@dataclass
class Project:
    id: str
    name: str
    parent: str


@dataclass(frozen=True)
class Event:
    id: int
    at: dt.datetime
    actor: int | None
    action: str
    user: int | None = None
    group: str = ""


class World:
    """The whole server, in memory. `Problem` is raised where the real one refuses."""

    def __init__(self, company: Company, *, own_username: str, own_permissions: Iterable[str], guest: bool) -> None:
        self.roles = {r.id: Role(r.id, r.name, set(r.permissions), r.included) for r in company.teamcity_roles}
        self.roles[RECONCILER_ROLE] = Role(RECONCILER_ROLE, "Access reconciler", set(own_permissions))
        self.groups = {ALL_USERS: Group(ALL_USERS, "All Users", "Contains all TeamCity users")}
        for g in company.teamcity_groups:
            self.groups[g.key] = Group(g.key, g.name, "", dict.fromkeys(g.parents), dict.fromkeys(g.roles))
        self.projects = {ROOT: Project(ROOT, "<Root project>", "")}
        self.projects |= {p.id: Project(p.id, p.name, p.parent) for p in company.teamcity_projects}
        self.users: dict[int, User] = {}
        self.events: list[Event] = []
        self.per_project = True
        self.user_limit: int | None = None
        self._by_name: dict[str, int] = {}
        self._by_token: dict[str, tuple[int, str]] = {}
        self._numbers = itertools.count(1 + max((u.id for u in company.teamcity_users), default=0))
        for u in company.teamcity_users:
            user = User(u.id, u.username, u.name, u.email, "secret" if u.has_password else "")
            user.roles = dict.fromkeys(u.roles)
            user.groups = dict.fromkeys((ALL_USERS, *u.groups))
            self._enter(user)
            for name in u.tokens:
                self.new_token(user, name)
        self.guest = self._guest() if guest else None
        own = self.named(own_username)
        if own is None:
            own = self._enter(User(next(self._numbers), own_username, "Trueup", groups={ALL_USERS: None}))
        own.roles[RECONCILER_ROLE, "g"] = None
        self.own = own
        self.events.clear()

    def _guest(self) -> User:
        known = self.named("guest")
        if known:
            known.groups.pop(ALL_USERS, None)  # the guest is in no group, the built-in one included
            return known
        return self._enter(User(GUEST_ID, "guest", "Guest user"))

    # --- looking up ---

    def named(self, username: str) -> User | None:
        """User names are matched whatever their case."""
        found = self._by_name.get(username.casefold())
        return None if found is None else self.users[found]

    def bearer(self, value: str) -> tuple[User, Token] | None:
        """Whose access token that is, unless it has expired."""
        place = self._by_token.get(value)
        if place is None or place[0] not in self.users:
            return None
        user = self.users[place[0]]
        token = user.tokens.get(place[1])
        if token is None or (token.expires is not None and token.expires <= now()):
            return None
        return user, token

    def group(self, key: str) -> Group:
        if key not in self.groups:
            raise Problem(404, f"No group is found by key '{key}'")
        return self.groups[key]

    def role(self, id: str) -> Role:
        if id not in self.roles:
            raise Problem(404, f"Cannot find role by id '{id}'.")
        return self.roles[id]

    def scope(self, text: str) -> str:
        """ "g" or "p:<external id>" of a project that exists."""
        if text.lower() == "g":
            return "g"
        if not text.startswith("p:"):
            raise Problem(404, f"Cannot find scope by '{text}' Valid formats are: 'g' or 'p:<projectId>'.")
        if text[2:] not in self.projects:
            raise Problem(404, f"No project found by locator '{text[2:]}'.")
        return text

    def shown_roles(self, roles: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """An assignment in a project that is gone is skipped in silence."""
        return ((role, scope) for role, scope in roles if scope == "g" or scope[2:] in self.projects)

    def ancestors(self, keys: Iterable[str]) -> set[str]:
        """The groups and everything above them."""
        found: set[str] = set()
        queue = list(keys)
        while queue:
            key = queue.pop()
            if key not in found and key in self.groups:
                found.add(key)
                queue.extend(self.groups[key].parents)
        return found

    # --- rights ---

    def permissions(self, user: User) -> dict[str, set[str]]:
        """Effective rights by scope; a role in a project holds in its subprojects (the caller walks up)."""
        granted: dict[str, set[str]] = {}
        held = [*user.roles, *(r for key in self.ancestors(user.groups) for r in self.groups[key].roles)]
        for role, scope in held:
            if scope == "g" or self.per_project:
                granted.setdefault(scope, set()).update(self._of_role(role))
        return granted

    def _of_role(self, id: str) -> set[str]:
        if id == "SYSTEM_ADMIN":
            return set().union(*(r.permissions for r in self.roles.values()), RECONCILER_PERMISSIONS, {"delete_user"})
        role = self.roles.get(id)
        return set() if role is None else role.permissions.union(*(self._of_role(i) for i in role.included))

    # --- changing ---

    def new_user(self, username: str, name: str, email: str, password: str, properties: Mapping[str, str]) -> User:
        if not username:
            raise Problem(400, "Username must not be empty when creating user.")
        if self.named(username):
            raise Problem(400, "Cannot create user as user with the same username already exists")
        if self.user_limit is not None and len(self.users) >= self.user_limit:
            raise Problem(400, "Cannot create user as maximum user limit is reached")
        user = User(next(self._numbers), username, name, email, password, properties=dict(properties))
        user.groups[ALL_USERS] = None
        return self._enter(user)

    def rename(self, user: User, username: str) -> None:
        if not username:
            raise Problem(400, "Username must not be empty.")
        other = self.named(username)
        if other is not None and other is not user:
            raise Problem(400, "Cannot update user as user with the same username already exists")
        del self._by_name[user.username.casefold()]
        user.username = username
        self._by_name[username.casefold()] = user.id

    def delete_user(self, user: User) -> None:
        """For good; the number is not used again."""
        del self.users[user.id]
        del self._by_name[user.username.casefold()]

    def new_token(
        self,
        user: User,
        name: str,
        expires: dt.datetime | None = None,
        restrictions: Iterable[tuple[str, str]] | None = None,
    ) -> Token:
        if name in user.tokens:
            raise Problem(400, f"Token with name '{name}' already exists")
        value = f"tc-{secrets.token_urlsafe(24)}"
        token = Token(name, value, now(), expires, None if restrictions is None else tuple(restrictions))
        user.tokens[name] = token
        self._by_token[value] = (user.id, name)
        return token

    def set_groups(self, user: User, keys: Iterable[str]) -> None:
        """Replaces the list: removes first, and never the built-in group."""
        wanted = [self.group(key).key for key in keys]
        for key in [k for k in user.groups if k not in wanted and k != ALL_USERS]:
            del user.groups[key]
        user.groups.update(dict.fromkeys(wanted))

    def leave(self, user: User, key: str) -> None:
        self.group(key)
        if key not in user.groups:
            raise Problem(404, "User does not belong to the group")
        if key == ALL_USERS:
            raise Problem(400, "Cannot remove user from the All Users group.", "IllegalArgumentException")
        del user.groups[key]

    def note(self, actor: int | None, action: str, user: int | None = None, group: str = "") -> None:
        """One line of the audit log."""
        self.events.append(Event(len(self.events) + 1, now(), actor, action, user, group))

    def _enter(self, user: User) -> User:
        self.users[user.id] = user
        self._by_name[user.username.casefold()] = user.id
        return user


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
