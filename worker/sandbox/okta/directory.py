"""What the org knows, and every edit that an administrator could make to it."""

from __future__ import annotations

import threading
import unicodedata
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import orjson

from worker.sandbox.company import Company, Employee

FOUNDED = "2024-01-08T09:00:00.000Z"
EVERYONE = "Everyone"


class Shape(NamedTuple):
    """How a user is to be shown: the base of its links, the `fields` asked for, and what okta-response leaves out."""

    base: str
    fields: str = ""
    omit: frozenset[str] = frozenset()


@dataclass(slots=True)
class User:
    """One user. `bodies` are its JSON answers, made once for each shape and dropped with every edit."""

    id: str
    status: str
    profile: dict[str, Any]
    created: str = FOUNDED
    last_updated: str = FOUNDED
    status_changed: str = FOUNDED
    transitioning: str | None = None
    groups: set[str] = field(default_factory=set)
    bodies: dict[Shape, bytes] = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        """The value that a filter compares."""
        if name.startswith("profile."):
            value = self.profile.get(name.removeprefix("profile."))
            return value if isinstance(value, str) else None
        return {"id": self.id, "status": self.status, "lastUpdated": self.last_updated}.get(name)

    def body(self, shape: Shape) -> bytes:
        made = self.bodies.get(shape)
        if made is None:
            made = self.bodies[shape] = orjson.dumps(_selected(self._whole(shape), shape.fields))
        return made

    def _whole(self, shape: Shape) -> dict[str, Any]:
        never_in = self.status in ("STAGED", "PROVISIONED")
        whole: dict[str, Any] = {
            "id": self.id,
            "status": self.status,
            "created": self.created,
            "activated": None if self.status == "STAGED" else self.created,
            "statusChanged": self.status_changed,
            "lastLogin": None if never_in else self.created,
            "lastUpdated": self.last_updated,
            "passwordChanged": None if never_in else self.created,
            "type": {"id": "otysandbox0000000001"},
            "profile": self.profile,
            "credentials": {"provider": {"type": "OKTA", "name": "OKTA"}},
            "_links": {"self": {"href": f"{shape.base}/api/v1/users/{self.id}"}},
        }
        if self.transitioning is not None:
            whole["transitioningToStatus"] = self.transitioning
        for omission, key in _OMISSIONS.items():
            if omission in shape.omit:
                whole.pop(key, None)
        return whole


_OMISSIONS = {"omitCredentials": "credentials", "omitTransitioningToStatus": "transitioningToStatus"}


def _selected(whole: dict[str, Any], fields: str) -> dict[str, Any]:
    """Only what `fields` names; the id always comes."""
    if not fields:
        return whole
    names, profile = _parsed_fields(fields)
    kept = {k: v for k, v in whole.items() if k in names or k == "id"}
    if profile is not None and isinstance(whole.get("profile"), dict):
        kept["profile"] = {k: v for k, v in whole["profile"].items() if k in profile}
    return kept


@lru_cache(maxsize=32)
def _parsed_fields(fields: str) -> tuple[frozenset[str], frozenset[str] | None]:
    """`id,status,profile:(login,email)` as top names and profile names."""
    head, mark, rest = fields.partition("profile:(")
    inside, _, tail = rest.partition(")")
    names = frozenset(n.strip() for n in f"{head},{tail}".split(",") if n.strip())
    return names, frozenset(n.strip() for n in inside.split(",")) if mark else None


@dataclass(slots=True)
class Group:
    """One group. The members of Everyone follow from the users; those of all others are listed."""

    id: str
    name: str
    type: str
    created: str = FOUNDED
    last_updated: str = FOUNDED
    last_membership_updated: str = FOUNDED
    members: set[str] = field(default_factory=set)
    listed: list[str] | None = None

    def get(self, name: str) -> str | None:
        """The value that a filter compares."""
        return {
            "id": self.id,
            "type": self.type,
            "lastUpdated": self.last_updated,
            "lastMembershipUpdated": self.last_membership_updated,
        }.get(name)


class Directory:
    """Users and groups by id, in a stable order, with the edits that a demo or a test makes to them.

    Groups are named by id or by name. Every edit moves `lastUpdated` on, and never back.
    """

    def __init__(self, company: Company) -> None:
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.groups: dict[str, Group] = {}
        self.order: list[str] = []
        self._clock = datetime.now(UTC)
        self._numbers = count(1)
        for spec in company.source_groups:
            self.groups[spec.id] = Group(spec.id, spec.name, spec.type)
        if not any(group.name == EVERYONE for group in self.groups.values()):
            self.groups["00geveryone000000001"] = Group("00geveryone000000001", EVERYONE, "BUILT_IN")
        named: dict[str, list[Group]] = {}
        for group in self.groups.values():
            named.setdefault(group.name, []).append(group)
        for employee in company.employees:
            self._load(employee, named)
        self.order.sort()

    def _load(self, employee: Employee, named: Mapping[str, list[Group]]) -> None:
        user = self.users[employee.id] = User(employee.id, employee.status, dict(employee.profile))
        self.order.append(user.id)
        for name in employee.groups:
            if name != EVERYONE:
                named[name][0].members.add(user.id)
                user.groups.add(named[name][0].id)

    def page(
        self, ids: list[str], after: str, limit: int, keep: Callable[[str], bool] | None = None
    ) -> tuple[list[str], bool]:
        """Up to `limit` ids beyond `after`, and whether there are more. Ids are sorted, so a cursor outlives edits."""
        found: list[str] = []
        for place in range(bisect_right(ids, after), len(ids)):
            if keep is None or keep(ids[place]):
                if len(found) == limit:
                    return found, True
                found.append(ids[place])
        return found, False

    def members(self, group: Group) -> list[str]:
        """Sorted ids of the members."""
        if group.listed is None:
            if group.name == EVERYONE and group.type == "BUILT_IN":
                group.listed = [i for i in self.order if self.users[i].status != "DEPROVISIONED"]
            else:
                group.listed = sorted(group.members)
        return group.listed

    def find(self, key: str) -> User | None:
        """A user by id, login or the unambiguous part of the login before the @; logins ignore case and accents."""
        if key in self.users:
            return self.users[key]
        wanted = _plain(key)
        logins = {user.id: _plain(str(user.profile.get("login", ""))) for user in self.users.values()}
        whole = [i for i, login in logins.items() if login == wanted]
        short = [i for i, login in logins.items() if login.partition("@")[0] == wanted]
        match = whole or (short if len(short) == 1 else [])
        return self.users[match[0]] if match else None

    def group(self, name_or_id: str) -> Group:
        if name_or_id in self.groups:
            return self.groups[name_or_id]
        return next(group for group in self.groups.values() if group.name == name_or_id)

    def groups_of(self, user: User) -> Iterator[Group]:
        for group in self.groups.values():
            if user.id in group.members or (group.name == EVERYONE and user.status != "DEPROVISIONED"):
                yield group

    def hire(
        self, first_name: str, last_name: str, *, login: str = "", groups: Iterable[str] = (),
        status: str = "ACTIVE", id: str = "", **profile: Any,
    ) -> str:  # fmt: skip
        """A new user; gives its id. The login defaults to first.last@example.com, the e-mail to the login."""
        with self.lock:
            id = id or f"00uhired{next(self._numbers):012d}"
            login = login or f"{first_name}.{last_name}@example.com".lower()
            now = self._now()
            names = {"login": login, "email": login, "firstName": first_name, "lastName": last_name}
            self.users[id] = User(id, status, {**names, **profile}, now, now, now)
            insort(self.order, id)
            self._forget_everyone()
            for name in groups:
                self.add_to_group(id, name)
            return id

    def deactivate(self, id: str) -> None:
        """The user leaves: DEPROVISIONED, and out of every group."""
        with self.lock:
            for group in list(self.users[id].groups):
                self.remove_from_group(id, group)
            self.set_status(id, "DEPROVISIONED")

    def suspend(self, id: str) -> None:
        self.set_status(id, "SUSPENDED")

    def set_status(self, id: str, status: str, transitioning: str | None = None) -> None:
        """Any status, known to Okta's contract or not; memberships stay as they are."""
        with self.lock:
            user = self.users[id]
            user.status, user.transitioning = status, transitioning
            user.status_changed = self._touch(user)
            self._forget_everyone()

    def rename(self, id: str, **profile: Any) -> None:
        """New values of profile attributes: `rename(id, lastName="Lovelace", login="ada@example.com")`."""
        with self.lock:
            self.users[id].profile.update(profile)
            self._touch(self.users[id])

    def set_profile(self, id: str, profile: Any) -> None:
        """A whole profile, sound or not."""
        with self.lock:
            self.users[id].profile = profile
            self._touch(self.users[id])

    def delete(self, id: str) -> None:
        """For good: the user vanishes from every list."""
        with self.lock:
            for group in list(self.users[id].groups):
                self.remove_from_group(id, group)
            del self.users[id]
            self.order.remove(id)
            self._forget_everyone()

    def add_to_group(self, id: str, group: str) -> None:
        self._set_member(id, group, True)

    def remove_from_group(self, id: str, group: str) -> None:
        self._set_member(id, group, False)

    def create_group(self, name: str, type: str = "OKTA_GROUP", id: str = "") -> str:
        with self.lock:
            id = id or f"00gmade{next(self._numbers):013d}"
            now = self._now()
            self.groups[id] = Group(id, name, type, now, now, now)
            return id

    def rename_group(self, group: str, name: str) -> None:
        with self.lock:
            found = self.group(group)
            found.name, found.last_updated = name, self._now()

    def delete_group(self, group: str) -> None:
        with self.lock:
            found = self.group(group)
            for id in found.members:
                self.users[id].groups.discard(found.id)
            del self.groups[found.id]

    def _set_member(self, id: str, group: str, member: bool) -> None:
        with self.lock:
            found, user = self.group(group), self.users[id]
            (found.members.add if member else found.members.discard)(id)
            (user.groups.add if member else user.groups.discard)(found.id)
            found.listed = None
            found.last_membership_updated = self._now()

    def _touch(self, user: User) -> str:
        user.bodies.clear()
        user.last_updated = self._now()
        return user.last_updated

    def _forget_everyone(self) -> None:
        for group in self.groups.values():
            if group.name == EVERYONE:
                group.listed = None

    def _now(self) -> str:
        """The time, always later than the last one given."""
        self._clock = max(datetime.now(UTC), self._clock + timedelta(milliseconds=1))
        return self._clock.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text)
    return "".join(c for c in apart if not unicodedata.combining(c)).casefold()
