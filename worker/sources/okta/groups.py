"""Groups and their members: counted against Okta's own figures, so that a short list never passes for a whole one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from worker.core.identity import SourceGroup
from worker.errors import Missing
from worker.sources._pagination import Trail
from worker.sources.okta.org import GROUPS_PATH, Org
from worker.sources.okta.settings import GROUPS

EVERYONE = "Everyone"
TOGETHER, ROWS_TOGETHER = 10, 1_000  # groups and members that one worker reads in one go
UNREAD = "its members were not read, because no rule names it"
Record = Mapping[str, Any]


class Groups:
    """The groups of one org, as Okta's records and as ours."""

    def __init__(self, source: str, org: Org) -> None:
        self._source, self._org = source, org

    def listed(self, trail: Trail) -> list[Record]:
        """Groups that our credentials may see, with Okta's count of their members: those of one leg of the list."""
        pages = self._org.pages(GROUPS_PATH, {"expand": "stats"}, GROUPS, trail)
        return list({record["id"]: record for page in pages for record in page}.values())

    def now(self, id: str) -> Record | None:
        """The group as the list has it now; None when the list lacks it."""
        asked = {"filter": f'id eq "{id}"', "expand": "stats"}
        rows = [record for page in self._org.pages(GROUPS_PATH, asked, GROUPS) for record in page]
        return next((record for record in rows if record["id"] == id), None)

    def group(self, record: Record, members: int, problem: str = "") -> SourceGroup:
        """`members` counts what was read."""
        name = name_of(record)
        type = record.get("type")
        if not name:
            problem = problem or "Okta gives it no name"
        return SourceGroup(self._source, record["id"], name, type if isinstance(type, str) else "", members, problem)

    def unread(self, record: Record) -> SourceGroup:
        """A group that exists, of whose members nothing is said."""
        return self.group(record, count_of(record) or 0, UNREAD)

    def with_members(self, record: Record) -> tuple[SourceGroup, Sequence[str]] | None:
        """A group with the ids of its members; None when it is gone meanwhile.

        It is read once more when the count says that somebody joined, left, or was not shown.
        """
        try:
            members = self._members(record["id"])
            if not _agree(record, members):
                record = self.now(record["id"]) or record
                members = self._members(record["id"])
        except Missing:
            return self._not_found(record)
        if _agree(record, members):
            return self.group(record, len(members)), list(members)
        counted = count_of(record)
        said = "gives no count of its members" if counted is None else f"counts {counted} members"
        return self.group(record, len(members), f"Okta {said}, and lists {len(members)}"), list(members)

    def _members(self, id: str) -> dict[str, object]:
        """Status by id."""
        pages = self._org.pages(f"{GROUPS_PATH}/{id}/users", {}, GROUPS)
        return {user["id"]: user.get("status") for page in pages for user in page}

    def _not_found(self, record: Record) -> tuple[SourceGroup, Sequence[str]] | None:
        """Gone is only what Okta denies twice: by id, and by leaving it out of the list."""
        try:
            self._org.get(f"{GROUPS_PATH}/{record['id']}", scope=GROUPS)
        except Missing:
            if self.now(record["id"]) is None:
                return None
        return self.group(record, 0, "Okta lists the group, but does not find its members"), ()


def slim(record: Record) -> Record:
    """What the reading of its members needs to know of a group."""
    name, count = name_of(record), count_of(record)
    embedded = {"_embedded": {"stats": {"usersCount": count}}} if count is not None else {}
    return {"id": record["id"], "type": record.get("type"), "profile": {"name": name}, **embedded}


def handfuls(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Groups that one worker reads together: a few small ones, or a large one alone; the largest first."""
    some: list[Record] = []
    rows = 0
    for record in sorted(records, key=lambda record: count_of(record) or 0, reverse=True):
        count = count_of(record) or 0
        if some and (len(some) >= TOGETHER or rows + count > ROWS_TOGETHER):
            yield some
            some, rows = [], 0
        some.append(record)
        rows += count
    if some:
        yield some


def is_wanted(record: Record, names: Collection[str]) -> bool:
    """Whether a name or pattern asks for the group."""
    name = name_of(record)
    return name in names or any(fnmatchcase(name, pattern) for pattern in names)


def everyone(records: Sequence[Record]) -> Record | None:
    """The built-in group that holds all people of the org; a narrow administrator role does not show it."""
    return next((r for r in records if r.get("type") == "BUILT_IN" and name_of(r) == EVERYONE), None)


def name_of(record: Record) -> str:
    profile = record.get("profile")
    name = profile.get("name") if isinstance(profile, dict) else None
    return name if isinstance(name, str) else ""


def count_of(record: Record) -> int | None:
    """Okta's own count of the members; None where it gives none."""
    embedded = record.get("_embedded")
    stats = embedded.get("stats") if isinstance(embedded, dict) else None
    count = stats.get("usersCount") if isinstance(stats, dict) else None
    return count if type(count) is int else None


def _agree(record: Record, members: Mapping[str, object]) -> bool:
    """Okta does not say whether deprovisioned members count, so both ways of counting are right."""
    living = sum(status != "DEPROVISIONED" for status in members.values())
    return count_of(record) in (len(members), living)
