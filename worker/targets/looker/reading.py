"""Reads a whole Looker: every account, who holds which role or group directly, and what can be granted at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from pydantic import TypeAdapter

from worker.core.identity import Account, CatalogueItem, Entitlement, Trait
from worker.errors import Denied, Misshapen, Missing, Moved
from worker.ports import Check, Part, Piece, TargetPage, Whole
from worker.targets.looker import attributes, rows
from worker.targets.looker.rows import GroupTreeRow, Reader, RoleRow, UserRow

USERS_PAGE = 500
MEMBERS_PAGE = 2000  # one field each
TOGETHER = 5  # roles or groups that one worker reads in one go
ROLE_FIELDS = "id,name,internal,permission_set"
Args = Mapping[str, Any]
User = TypeVar("User", bound=UserRow)


@dataclass(frozen=True)
class Tree:
    """Roles, and groups with what they lie in; cycles do no harm."""

    roles: Mapping[str, RoleRow]
    groups: Mapping[str, GroupTreeRow]

    @classmethod
    def read(cls, reader: Reader) -> Tree:
        listed = rows.unpaged(reader.read("/roles", {"fields": ROLE_FIELDS}), rows.ROLES)
        if not any(role.admin for role in listed):
            raise Misshapen("Looker lists no Admin role, which every Looker has; the list of roles is not whole.")
        return cls({role.id: role for role in listed}, groups(reader))

    def around(self, group_id: str) -> set[str]:
        """The group and every one that it lies in, at whatever depth."""
        seen: set[str] = set()
        queue = [group_id]
        while queue:
            id = queue.pop()
            if id not in seen and (group := self.groups.get(id)):
                seen.add(id)
                queue.extend(group.parent_group_ids or ())
        return seen

    def carried(self, group_id: str) -> set[str]:
        """Ids of the roles that members of the group get, those of the groups around it included."""
        return {role for id in self.around(group_id) for role in self.groups[id].role_ids or ()}

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


def groups(reader: Reader) -> dict[str, GroupTreeRow]:
    """Every group by its id."""
    fields = {"fields": rows.GROUP_TREE_FIELDS}
    found = rows.whole(reader, "/groups/search/with_hierarchy", rows.GROUPS, USERS_PAGE, fields)
    return {group.id: group for group in found}


# --- the whole of it, in parts ---------------------------------------------------------------------------------------

USERS, PAGE, TREE, HOLDERS, MEMBERS = "users", "page", "tree", "holders", "members"  # the kinds of a part


def read(reader: Reader, part: Part) -> Piece:
    """One part of an observation. Raises Moved when a role or a group was deleted since it was listed."""
    try:
        return _READINGS[part.kind](reader, part.args)
    except Missing as gone:
        raise _restless(str(gone)) from gone


def _restless(trouble: str) -> Moved:
    return Moved(
        f"Looker changed whenever it was read, or hides a part from us: {trouble} It is read again later.",
    )


def _users(reader: Reader, asked: Args) -> Piece:
    """The first page of users, which gives the total: all other pages are then read side by side. Without a total, one
    leads to the next."""
    own = rows.shaped(reader.read("/user", {"fields": rows.USER_FIELDS}), rows.USER).id
    users, total = rows.page(reader, "/users", rows.USERS, USERS_PAGE, 0, {"fields": rows.USER_FIELDS})
    if not users or (total is not None and len(users) > total):
        raise _moved(f"its first page has {len(users)} rows, its total is {total}")
    args = {"own": own, "total": total, "size": len(users), "offset": 0, "before": ""}
    return Piece(
        [_accounts(users, own)], [Part(TREE, {"own": own, **asked}), *_further(args, users)], _seam(args, users, 0)
    )


def _page(reader: Reader, args: Args) -> Piece:
    """Another page of users. Its first row is the last one of the page before."""
    size, offset, total = args["size"], args["offset"], args["total"]
    users, counted = rows.page(reader, "/users", rows.USERS, size, offset, {"fields": rows.USER_FIELDS})
    if counted != total:
        raise _moved(f"its total went from {total} to {counted}")
    if not users or (total is not None and len(users) != min(size, total - offset)):
        raise _moved(f"the page at {offset} has {len(users)} rows, its total is {total}")
    if args["before"] and users[0].id != args["before"]:
        raise _moved(f"at {offset} is account {users[0].id} and no longer {args['before']}")
    following = _further(args, users) if total is None else []
    return Piece([_accounts(users[1:], args["own"])], following, _seam(args, users, 1))


def _further(args: Args, users: Sequence[UserRow]) -> list[Part]:
    """The pages after these: all of them where the total is known, else the next one while there is anything new."""
    total, seen = args["total"], args["offset"] + len(users)
    if total is None:
        at_its_end = args["before"] and len(users) == 1
        return (
            [] if at_its_end else [Part(PAGE, {**args, "size": USERS_PAGE, "offset": seen - 1, "before": users[-1].id})]
        )
    if total > seen and len(users) == 1:
        raise _moved(f"a page has 1 row, its total is {total}")
    return [Part(PAGE, {**args, "offset": offset}) for offset in range(seen - 1, total - 1, max(1, len(users) - 1))]


def _moved(how: str) -> Moved:
    return Moved(f"GET /users of Looker kept changing while it was read: {how}. It is read again later.")


def _accounts(users: Sequence[UserRow], own: str) -> TargetPage:
    return TargetPage(accounts=[account_of(user, own, ()) for user in users])


def _seam(args: Args, users: Sequence[UserRow], overlap: int) -> Args:
    return {
        "offset": args["offset"],
        "first": users[0].id,
        "last": users[-1].id,
        "rows": len(users) - overlap,
        "own": args["own"],
        "own listed": any(user.id == args["own"] for user in users),
    }


def _tree(reader: Reader, args: Args) -> Piece:
    """What can be granted; then, few at a time, who has it. Groups that everybody is in are read only where they make
    everybody an administrator; attributes only where they are asked for."""
    tree, own = Tree.read(reader), {"own": args["own"]}
    catalogue = tree.catalogue()
    if "attributes" in args:
        catalogue += attributes.catalogue(reader, args["attributes"], tree.groups)
    roles = [[id, role.admin] for id, role in tree.roles.items()]
    groups = [
        [id, tree.makes_admin(id), group.include_by_default]
        for id, group in tree.groups.items()
        if not group.include_by_default or tree.makes_admin(id)
    ]
    parts = [Part(HOLDERS, {**own, "roles": some}) for some in _pieces(roles, TOGETHER)]
    parts += [Part(MEMBERS, {**own, "groups": some}) for some in _pieces(groups, TOGETHER)]
    return Piece([TargetPage(catalogue=catalogue)], parts)


def _holders_part(reader: Reader, args: Args) -> Piece:
    """Who holds some roles directly."""
    held: list[tuple[str, Entitlement]] = []
    administrators: list[str] = []
    for role, admin in args["roles"]:
        ids = _holders(reader, role)
        held += [(id, Entitlement("role", role)) for id in ids]
        administrators += ids if admin else []
    return _held(args, held, administrators)


def _members_part(reader: Reader, args: Args) -> Piece:
    """Who is in some groups directly."""
    held: list[tuple[str, Entitlement]] = []
    administrators: list[str] = []
    for group, admin, by_default in args["groups"]:
        ids = _members(reader, group)
        held += [] if by_default else [(id, Entitlement("group", group)) for id in ids]
        administrators += ids if admin else []
    return _held(args, held, administrators)


def _held(args: Args, held: Sequence[tuple[str, Entitlement]], administrators: Sequence[str]) -> Piece:
    traits = [(id, Trait.ADMINISTRATOR) for id in dict.fromkeys(administrators)]
    return Piece([TargetPage(holdings=held, traits=traits)], facts={"own administers": args["own"] in administrators})


_READINGS: Mapping[str, Callable[[Reader, Args], Piece]] = {
    USERS: _users, PAGE: _page, TREE: _tree, HOLDERS: _holders_part, MEMBERS: _members_part,
    attributes.VALUES: attributes.values_part,
}  # fmt: skip


def finish(whole: Whole) -> Piece:
    """Raises Moved unless the pages fit together and everybody who holds anything is a listed account."""
    seams = sorted((f for part, f in whole.parts if part.kind in (USERS, PAGE)), key=lambda facts: int(facts["offset"]))
    for before, after in pairwise(seams):
        if before["last"] != after["first"]:
            raise _moved(f"at {after['offset']} is account {after['first']} and no longer {before['last']}")
    listed, accounts = sum(facts["rows"] for facts in seams), whole.staged.get("accounts", 0)
    if listed != accounts:
        raise _moved(f"it has {listed} rows, and {accounts} accounts are in them")
    own = seams[0]["own"]
    strangers = sorted({*whole.strangers, *([] if any(facts["own listed"] for facts in seams) else [own])})
    if strangers:
        some = ", ".join(strangers[:5])
        raise _restless(f"accounts that hold something are not in the list of users ({len(strangers)}: {some}).")
    _refuse_unseen(own, whole)
    holdings = whole.staged.get("holdings", 0)
    checks = [
        Check("accounts", True, f"{accounts} read, total the same before and after, our own among them"),
        Check("holdings", True, f"{holdings} direct ones, every holder among the accounts"),
    ]
    return Piece([TargetPage(checks=checks)])


def _refuse_unseen(own: str, whole: Whole) -> None:
    """Our own account has the Admin role, so a list of its holders without us is not whole."""
    if not any(facts["own administers"] for part, facts in whole.parts if part.kind in (HOLDERS, MEMBERS)):
        raise Denied(
            f"Looker does not show the account of our API key (Looker user {own}) among those who have the Admin"
            " role, so it may hide others too. Give that account the role Admin."
        )


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
    return read_user_as(reader, id, rows.USER, rows.USER_FIELDS)


def read_user_as(reader: Reader, id: str, shape: TypeAdapter[User], fields: str) -> User | None:
    """None when there is none: a 404 alone may come from anybody on the way, so the list of users has to agree."""
    try:
        user = rows.shaped(reader.read(f"/users/{id}", {"fields": fields}), shape)
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
    held |= {Entitlement("group", group) for group in direct_groups(reader, tree, id, group_candidates(reader, id))}
    administrators = {id} if any(role.admin for role in effective) else set[str]()
    return account_of(user, own, administrators, frozenset(held))


def user_roles(reader: Reader, id: str, *, direct: bool) -> list[RoleRow]:
    asked = {"fields": ROLE_FIELDS, "direct_association_only": "true" if direct else "false"}
    return rows.unpaged(reader.read(f"/users/{id}/roles", asked), rows.ROLES)


def group_candidates(reader: Reader, id: str) -> list[str]:
    """Groups that the account is in; the contract does not say whether directly, so each is to be verified."""
    return rows.shaped(reader.read(f"/users/{id}", {"fields": "id,group_ids"}), rows.MEMBERSHIP).group_ids or []


def direct_groups(reader: Reader, tree: Tree, id: str, candidates: Collection[str]) -> list[str]:
    """Those that the account is in directly. Only a group around another one of them can be meant for the other's sake,
    so only such a group is asked about. Groups that take everybody are left out."""
    around = {outer for group in candidates for outer in tree.around(group) - {group}}
    known = [group for group in candidates if group in tree.groups and not tree.groups[group].include_by_default]
    return [group for group in known if group not in around or is_member(reader, id, group)]


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
