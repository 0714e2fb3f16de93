"""Everything that is read from TeamCity: whole, or it raises."""

from __future__ import annotations

from urllib.parse import urljoin

from worker.errors import Denied, Misshapen, Missing, Unavailable
from worker.glance import Glance
from worker.rest import LANE, Rest
from worker.targets.teamcity import wire
from worker.targets.teamcity.privileges import Powers
from worker.targets.teamcity.wire import WholeUser, by_id, by_username

WHOLE_LISTS = 3  # how often a list that moved while it was read is read again
PAGE_OF_PROJECTS = 1000


class Reading:
    """Reads one server over `rest`. `name` is the target's, for messages."""

    def __init__(self, name: str, rest: Rest) -> None:
        self.name = name
        self._rest = rest
        self._own_id = ""
        self._own_rights: frozenset[str] | None = None
        self._users = Glance[WholeUser]()
        self._tokens = Glance[tuple[str, ...]]()
        self._powers = Glance[Powers](life=10.0)

    def server(self) -> wire.Server:
        return wire.read(wire.Server, self._rest.get("app/rest/server", {"fields": "internalId,version"}))

    def own_id(self) -> str:
        """The account that our token belongs to; it cannot change while we run."""
        if not self._own_id:
            reply = self._rest.get("app/rest/users/current", {"fields": "id,username"})
            self._own_id = str(wire.read(wire.OwnUser, reply).id)
        return self._own_id

    def own_rights(self) -> frozenset[str]:
        """Our global permissions, in lower case, as left by the limits of our token. Read once."""
        if self._own_rights is None:
            fields = "permissionAssignment(isGlobalScope,permission(id))"
            reply = self._rest.get("app/rest/users/current/permissions", {"fields": fields})
            rows = wire.read(wire.PermissionAssignments, reply).permissionAssignment
            self._own_rights = frozenset(row.permission.id.lower() for row in rows if row.isGlobalScope)
        return self._own_rights

    def authentication(self) -> wire.AuthSettings | None:
        """None when our credentials may not see the server's settings, which they need for nothing else."""
        try:
            return wire.read(wire.AuthSettings, self._rest.get("app/rest/server/authSettings"))
        except (Denied, Missing):
            return None

    def users(self) -> list[WholeUser]:
        """Every user, in one answer.

        Not in pages: an offset locator has no total and no promised order, so a user deleted meanwhile shifts another
        one out of sight, and nothing shows it. Without a count TeamCity lists all users from one snapshot; a narrow
        `fields` keeps 100,000 of them well under the size limit. Should a server page after all, or a user come while
        we read, then something lies beyond the last row: that is asked, and the list read again.
        """
        for _ in range(WHOLE_LISTS):
            reply = self._rest.get("app/rest/users", {"fields": f"count,nextHref,user({wire.USER_FIELDS})"})
            answer = wire.read(wire.Users, reply)
            _complete(answer.count, len(answer.user), answer.nextHref, reply.call)
            users = [WholeUser(row, self.name) for row in answer.user]
            _unique([user.id for user in users], reply.call)
            if not self._more_users(len(users)):
                return users
        raise Unavailable(
            f"{self.name} listed its users {WHOLE_LISTS} times, and each time there was one more behind the last."
            " Either a proxy cuts the list, or accounts are created without a pause; try again later."
        )

    def _more_users(self, seen: int) -> bool:
        parameters = {"locator": f"start:{seen},count:1", "fields": "count,user(id,username)"}
        return bool(wire.read(wire.Users, self._rest.get("app/rest/users", parameters)).user)

    def powers(self) -> Powers:
        """All roles and all groups, and what follows from them."""
        reply = self._rest.get("app/rest/roles", {"fields": wire.ROLE_FIELDS})
        roles = wire.read(wire.Roles, reply)
        _complete(roles.count, len(roles.role), roles.nextHref, reply.call)
        _unique([role.id for role in roles.role], reply.call)
        reply = self._rest.get("app/rest/userGroups", {"fields": wire.GROUP_FIELDS})
        groups = wire.read(wire.Groups, reply)
        _complete(groups.count, len(groups.group), groups.nextHref, reply.call)
        _unique([group.key for group in groups.group], reply.call)
        if not roles.role or wire.ALL_USERS not in {group.key for group in groups.group}:
            raise Misshapen(f"{self.name} lists no role, or not the group {wire.ALL_USERS}, which every server has.")
        return Powers({r.id: r for r in roles.role}, {g.key: g for g in groups.group})

    def powers_lately(self) -> Powers:
        """Those of the last seconds, where several leavers are looked at one after the other; else those of now."""
        began = self._powers.now()
        found = self._powers.of("") if LANE.get() == "leaver" else None
        return found or self._powers.saw("", self.powers(), began)

    def projects(self) -> list[str]:
        """External ids of the projects that we may see, page by page along `nextHref`."""
        fields = "count,nextHref,project(id)"
        reply = self._rest.get("app/rest/projects", {"locator": f"count:{PAGE_OF_PROJECTS}", "fields": fields})
        found: list[str] = []
        visited: set[str] = set()
        while True:
            page = wire.read(wire.Projects, reply)
            if page.count != len(page.project):
                raise Misshapen(f"{reply.call} counts {page.count} projects and lists {len(page.project)}.")
            found.extend(project.id for project in page.project)
            if not page.nextHref:
                return found
            if page.nextHref in visited:
                raise Misshapen(f"{reply.call} leads round in a circle: its next page was read before.")
            visited.add(page.nextHref)
            reply = self._rest.get(self._absolute(page.nextHref))

    def user(self, id: str) -> WholeUser | None:
        """One user by id, with every detail; None when there is none (and not merely none that we may see)."""
        began = self._users.now()
        found = self._one(by_id(id))
        return found and self._users.saw(id, found, began)

    def user_lately(self, id: str) -> WholeUser | None:
        """As it was seen a moment ago, where a departed person's access is taken step by step and nothing that shows on
        the user was sent since; else as it is now."""
        found = self._users.of(id) if LANE.get() == "leaver" else None
        return found or self.user(id)

    def remembers(self, id: str) -> bool:
        """Whether the user might be told of as it was, and not as it is."""
        return LANE.get() == "leaver" and self._users.of(id) is not None

    def remembers_tokens(self, id: str) -> bool:
        return LANE.get() == "leaver" and self._tokens.of(id) is not None

    def noticed(self, user: WholeUser, since: float) -> None:
        """On the way to something else, in a look that began then."""
        self._users.saw(user.id, user, since)

    def now(self) -> float:
        return self._users.now()

    def changes(self, id: str) -> None:
        """Something is sent that shows on the user: whoever wants to know how it is has to look."""
        self._users.forget(id)

    def row(self, id: str) -> wire.UserRow | None:
        """One user by id with what we may see of it; None as for `user`."""
        return self._row(by_id(id))

    def rows_with_email(self, email: str) -> list[wire.UserRow]:
        """Everybody who has this address, whatever its case, with what we may see of them."""
        parameters = {"locator": wire.by_email(email), "fields": f"count,user({wire.USER_FIELDS})"}
        try:
            reply = self._rest.get("app/rest/users", parameters)
        except Missing:
            self._check_sight()
            return []
        return [row for row in wire.read(wire.Users, reply).user if row.email.casefold() == email.casefold()]

    def named(self, username: str) -> WholeUser | None:
        """The user of that name, whatever its case."""
        row = self.row_named(username)
        return None if row is None else WholeUser(row, self.name)

    def row_named(self, username: str) -> wire.UserRow | None:
        """The same with what we may see of it."""
        found = self._row(by_username(username))
        if found is not None and found.username.casefold() != username.casefold():
            raise Misshapen(f"{self.name} was asked for one user name and answered with another one (id {found.id}).")
        return found

    def _one(self, path: str) -> WholeUser | None:
        row = self._row(path)
        return None if row is None else WholeUser(row, self.name)

    def _row(self, path: str) -> wire.UserRow | None:
        try:
            reply = self._rest.get(path, {"fields": wire.USER_FIELDS})
        except Missing:
            self._check_sight()
            return None
        return wire.read(wire.UserRow, reply)

    def _check_sight(self) -> None:
        """TeamCity answers 404 for a user it hides as for one it lacks; whoever may list users is told the truth."""
        parameters = {"locator": "start:0,count:1", "fields": "count,user(id,username)"}
        wire.read(wire.Users, self._rest.get("app/rest/users", parameters))

    def tokens(self, id: str) -> tuple[str, ...]:
        """The names of a user's access tokens."""
        began = self._tokens.now()
        reply = self._rest.get(f"{by_id(id)}/tokens", {"fields": "token(name)"})
        return self._tokens.saw(id, tuple(sorted(token.name for token in wire.read(wire.Tokens, reply).token)), began)

    def tokens_lately(self, id: str) -> tuple[str, ...]:
        """As `user_lately`."""
        found = self._tokens.of(id) if LANE.get() == "leaver" else None
        return self.tokens(id) if found is None else found

    def deletes_token(self, id: str) -> None:
        self._tokens.forget(id)

    def shown_tokens(self, id: str) -> list[wire.Token] | None:
        """A user's access tokens with their ends; None where our rights do not show them."""
        fields, began = {"fields": "token(name,expirationTime)"}, self._tokens.now()
        reply = self._rest.get(f"{by_id(id)}/tokens", fields, accept=(403,))
        if reply.status == 403:
            return None
        found = wire.read(wire.Tokens, reply).token
        self._tokens.saw(id, tuple(sorted(one.name for one in found)), began)
        return found

    def group_exists(self, key: str) -> bool:
        try:
            self._rest.get(f"app/rest/userGroups/{wire.segment(f'key:{key}')}", {"fields": "key"})
        except Missing:
            return False
        return True

    def _absolute(self, href: str) -> str:
        """`nextHref` is server-relative and holds the context path already; another host is refused by Rest."""
        return urljoin(self._rest.base_url, href)


def _complete(count: int, seen: int, next_href: str | None, call: str) -> None:
    if next_href or count != seen:
        raise Misshapen(f"{call} counts {count} and lists {seen}; a list that is not whole is not used.")


def _unique(ids: list[str], call: str) -> None:
    if len(set(ids)) != len(ids):
        raise Misshapen(f"{call} lists the same id twice; a list that moved while it was read is not used.")
