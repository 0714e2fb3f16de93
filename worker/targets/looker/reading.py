"""Reads a whole Looker: every account, who holds which role or group directly, and what can be granted at all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.core.identity import Account, CatalogueItem, Entitlement, Trait
from worker.errors import Denied, Misshapen, Missing, Unavailable
from worker.ports import Check, TargetPage
from worker.targets.looker import rows
from worker.targets.looker.rows import GroupTreeRow, Reader, RoleRow, UserRow

USERS_PAGE = 500
MEMBERS_PAGE = 2000  # one field each
RESTARTS = 3
ROLE_FIELDS = "id,name,internal,permission_set"


@dataclass(frozen=True)
class Tree:
    """Roles, and groups with what they lie in; cycles do no harm."""

    roles: Mapping[str, RoleRow]
    groups: Mapping[str, GroupTreeRow]

    @classmethod
    def read(cls, reader: Reader) -> Tree:
        listed = rows.unpaged(reader.read("/roles", {"fields": ROLE_FIELDS}), rows.ROLES)
        groups = rows.whole(
            reader, "/groups/search/with_hierarchy", rows.GROUPS, USERS_PAGE, {"fields": rows.GROUP_TREE_FIELDS}
        )
        if not any(role.admin for role in listed):
            raise Misshapen("Looker lists no Admin role, which every Looker has; the list of roles is not whole.")
        return cls({role.id: role for role in listed}, {group.id: group for group in groups})

    def carried(self, group_id: str) -> set[str]:
        """Ids of the roles that members of the group get, those of the groups around it included."""
        seen: set[str] = set()
        carried: set[str] = set()
        around = [group_id]
        while around:
            id = around.pop()
            if id not in seen and (group := self.groups.get(id)):
                seen.add(id)
                carried.update(group.role_ids or ())
                around.extend(group.parent_group_ids or ())
        return carried

    def makes_admin(self, group_id: str) -> bool:
        return any(self._role(id, "admin") for id in self.carried(group_id))

    def makes_powerful(self, group_id: str) -> bool:
        return any(self._role(id, "privileged") for id in self.carried(group_id))

    def _role(self, id: str, what: str) -> bool:
        """A role that is hidden from us counts as powerful."""
        return id not in self.roles or bool(getattr(self.roles[id], what))

    def catalogue(self) -> list[CatalogueItem]:
        roles, groups = self.roles.values(), self.groups.values()
        return [
            *(CatalogueItem("role", r.id, r.name or "", r.privileged, r.closed) for r in roles),
            *(CatalogueItem("group", g.id, g.name or "", self.makes_powerful(g.id), g.closed) for g in groups),
        ]


@dataclass(frozen=True)
class World:
    """One whole read. `holders` and `members` are account ids by role and by group, direct ones only."""

    own: str
    tree: Tree
    users: Sequence[UserRow]
    holders: Mapping[str, Sequence[str]]
    members: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, reader: Reader) -> World:
        """Groups that everybody is in are read only where they make everybody an administrator."""
        own = rows.shaped(reader.read("/user", {"fields": rows.USER_FIELDS}), rows.USER).id
        users = rows.whole(reader, "/users", rows.USERS, USERS_PAGE, {"fields": rows.USER_FIELDS})
        tree = Tree.read(reader)
        return cls(
            own,
            tree,
            users,
            {id: _holders(reader, id) for id in tree.roles},
            {
                id: _members(reader, id)
                for id, group in tree.groups.items()
                if not group.include_by_default or tree.makes_admin(id)
            },
        )

    def strangers(self) -> set[str]:
        """Account ids that hold something and are not in the list of users."""
        known = {user.id for user in self.users}
        return {self.own}.union(*self.holders.values(), *self.members.values()) - known

    def administrators(self) -> set[str]:
        """Account ids, direct holders and those who get it through a group."""
        direct = [ids for id, ids in self.holders.items() if self.tree.roles[id].admin]
        through = [ids for id, ids in self.members.items() if self.tree.makes_admin(id)]
        return set[str]().union(*direct, *through)

    def pages(self, size: int = 500) -> Iterator[TargetPage]:
        """Catalogue, accounts, holdings, certificate."""
        yield TargetPage(catalogue=self.tree.catalogue())
        administrators = self.administrators()
        for some in _pieces(self.users, size):
            yield TargetPage(accounts=[account_of(u, self.own, administrators) for u in some])
        holdings = [(id, Entitlement("role", role)) for role, ids in self.holders.items() for id in ids]
        holdings += [
            (id, Entitlement("group", group))
            for group, ids in self.members.items()
            if not self.tree.groups[group].include_by_default
            for id in ids
        ]
        for held in _pieces(holdings, 10 * size):
            yield TargetPage(holdings=held)
        yield TargetPage(checks=self._checks(len(holdings)))

    def _checks(self, holdings: int) -> list[Check]:
        return [
            Check("accounts", True, f"{len(self.users)} read, total the same before and after, our own among them"),
            Check("holdings", True, f"{holdings} direct ones, every holder among the accounts"),
        ]


def observe(reader: Reader) -> World:
    """A read in which everybody who holds anything is a listed account; else Unavailable."""
    trouble = ""
    for _ in range(RESTARTS):
        try:
            world = World.read(reader)
        except Missing as gone:  # a role or group was deleted while we read
            trouble = str(gone)
            continue
        strangers = world.strangers()
        if not strangers:
            return _seen_as_administrator(world)
        some = ", ".join(sorted(strangers)[:5])
        trouble = f"accounts that hold something are not in the list of users ({len(strangers)}: {some})."
    raise Unavailable(
        f"Looker changed whenever it was read, or hides a part from us: {trouble} It is read again later."
    )


def _seen_as_administrator(world: World) -> World:
    """Our own account has the Admin role, so a list of its holders without us is not whole."""
    if world.own not in world.administrators():
        raise Denied(
            f"Looker does not show the account of our API key (Looker user {world.own}) among those who have the Admin"
            " role, so it may hide others too. Give that account the role Admin."
        )
    return world


def _holders(reader: Reader, role_id: str) -> list[str]:
    asked = {"fields": "id", "direct_association_only": "true"}
    return _ids(rows.unpaged(reader.read(f"/roles/{role_id}/users", asked), rows.IDS))


def _members(reader: Reader, group_id: str) -> list[str]:
    return _ids(rows.whole(reader, f"/groups/{group_id}/users", rows.IDS, MEMBERS_PAGE, {"fields": "id"}))


def _ids(found: Sequence[rows.IdRow]) -> list[str]:
    return list(dict.fromkeys(row.id for row in found))


def _pieces(everything: Sequence[rows.Shaped], size: int) -> Iterator[Sequence[rows.Shaped]]:
    for start in range(0, len(everything), size):
        yield everything[start : start + size]


def traits_of(user: UserRow, own: str) -> frozenset[Trait]:
    """All but ADMINISTRATOR, which the record itself does not show."""
    shown = {
        Trait.OURSELVES: user.id == own,
        Trait.SERVICE: user.is_service_account,
        Trait.SUPPORT: user.verified_looker_employee,
        Trait.EMBED: bool(user.credentials_embed),
        Trait.ROLES_MANAGED: user.roles_managed,
        Trait.GROUPS_MANAGED: not user.allow_normal_group_membership,
    }
    return frozenset(trait for trait, has in shown.items() if has)


def account_of(
    user: UserRow, own: str, administrators: Collection[str], entitlements: frozenset[Entitlement] = frozenset()
) -> Account:
    traits = traits_of(user, own) | ({Trait.ADMINISTRATOR} if user.id in administrators else set())
    address = user.email or ""
    return Account(
        user.id,
        address,
        address,
        not user.is_disabled,
        {"first_name": user.first_name or "", "last_name": user.last_name or ""},
        entitlements,
        traits,
    )


def read_user(reader: Reader, id: str) -> UserRow | None:
    """None when there is none: a 404 alone may come from anybody on the way, so the list of users has to agree."""
    try:
        user = rows.shaped(reader.read(f"/users/{id}", {"fields": rows.USER_FIELDS}), rows.USER)
    except Missing:
        if rows.shaped(reader.read("/users", {"ids": id, "fields": "id"}), rows.IDS):
            raise
        return None
    if user.id != id:
        raise Misshapen(f"Looker answered with account {user.id} where {id} was asked for.")
    return user


def read_account(reader: Reader, id: str, own: str) -> Account | None:
    """One account, whole; None where there is none."""
    user = read_user(reader, id)
    if user is None:
        return None
    tree = Tree.read(reader)
    held = {Entitlement("role", role.id) for role in user_roles(reader, id, direct=True)}
    effective = user_roles(reader, id, direct=False)
    for group in group_candidates(reader, id):
        known = tree.groups.get(group)
        if known and not known.include_by_default and is_member(reader, id, group):
            held.add(Entitlement("group", group))
    administrators = {id} if any(role.admin for role in effective) else set[str]()
    return account_of(user, own, administrators, frozenset(held))


def user_roles(reader: Reader, id: str, *, direct: bool) -> list[RoleRow]:
    asked = {"fields": ROLE_FIELDS, "direct_association_only": "true" if direct else "false"}
    return rows.unpaged(reader.read(f"/users/{id}/roles", asked), rows.ROLES)


def group_candidates(reader: Reader, id: str) -> list[str]:
    """Groups that the account is in; the contract does not say whether directly, so each is to be verified."""
    return rows.shaped(reader.read(f"/users/{id}", {"fields": "id,group_ids"}), rows.MEMBERSHIP).group_ids or []


def is_member(reader: Reader, id: str, group_id: str) -> bool:
    """Direct membership."""
    asked: dict[str, str | int] = {"id": id, "group_id": group_id, "fields": "id"}
    return any(row.id == id for row in rows.whole(reader, "/users/search", rows.IDS, 100, asked))


def shells(reader: Reader, names: Mapping[str, str]) -> list[str]:
    """Ids of accounts of exactly this name that have no credential, no address and no direct role."""
    asked = {name: value for name, value in names.items() if value}
    found = rows.whole(reader, "/users/search", rows.SHELLS, 100, asked)
    empty = [row.id for row in found if row.empty and all((getattr(row, n) or "") == v for n, v in names.items())]
    return [id for id in empty if not user_roles(reader, id, direct=True)]
