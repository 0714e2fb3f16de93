"""Groups of every kind, with who and what is directly in them; people are told from devices by the type Graph gives."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from worker.core.identity import SourceGroup
from worker.core.render import quoted
from worker.errors import Denied, Misshapen
from worker.sources._pagination import Trail
from worker.sources.entra.graph import GROUPS, GROUPS_PATH, HIDDEN, Graph
from worker.sources.entra.settings import GUID

SELECT = "id,displayName,securityEnabled,mailEnabled,groupTypes,visibility"
UNREAD = "its members were not read: no rule names it, or it vanished meanwhile"
VANISHED = "its members could not be read: it vanished meanwhile"
HIDDEN_MEMBERS = f"its membership is hidden: give our app the permission {HIDDEN}"
GROUP = "#microsoft.graph.group"
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Inside:
    """What one leg of a group's members has: ids of people, and of groups."""

    people: Sequence[str]
    groups: Sequence[str]


class Groups:
    """The groups of one tenant, as Graph's records and as ours."""

    def __init__(self, source: str, graph: Graph) -> None:
        self._source, self._graph = source, graph

    def listed(self, trail: Trail) -> list[Record]:
        """One leg of the list of groups."""
        pages = self._graph.pages(GROUPS_PATH, {"$select": SELECT}, permission=GROUPS, trail=trail)
        return list({record["id"]: record for page in pages for record in page}.values())

    def now(self, id: str) -> Record:
        """The group as it is now. Raises Missing when Graph does not find it."""
        reply = self._graph.get(group_path(self._source, id), {"$select": SELECT}, permission=GROUPS)
        record = reply.json()
        if not isinstance(record, dict) or record.get("id") != id:
            raise Misshapen(f"{reply.call} answered with something that is not that group.")
        return record

    def inside(self, id: str, trail: Trail, *, hidden: bool = False) -> Inside | None:
        """One leg of what is directly in a group; None where its membership is hidden from us. Raises Missing."""
        path = f"{group_path(self._source, id)}/members"
        rows: list[Record] = []
        try:
            for page in self._graph.pages(path, {"$select": "id"}, permission=GROUPS, trail=trail):
                rows += page
        except Denied as error:
            if hidden and error.status == 403:
                return None
            raise
        kinds = {row["id"]: row.get("@odata.type") for row in rows}
        people = [one for one, kind in kinds.items() if _may_be_a_person(kind)]
        return Inside(people, [one for one, kind in kinds.items() if kind == GROUP])

    def group(self, record: Record, members: int, problem: str = "") -> SourceGroup:
        """`members` counts the people and groups that were read."""
        name = name_of(record)
        if not name:
            problem = problem or "Graph gives it no name"
        return SourceGroup(self._source, record["id"], name, type_of(record), members, problem)


def group_path(source: str, id: str) -> str:
    """Raises Misshapen for an id that is none, for it would become a part of the address."""
    return f"{GROUPS_PATH}/{guid(source, id)}"


def guid(source: str, id: str) -> str:
    if not GUID.fullmatch(id):
        raise Misshapen(f"{quoted(id, 60)} is no id of {source}: those are GUIDs.")
    return quote(id, safe="")


def is_wanted(record: Record, names: Collection[str]) -> bool:
    """Whether a name or pattern asks for the group."""
    name = name_of(record)
    return name in names or any(fnmatchcase(name, pattern) for pattern in names)


def is_hidden(record: Record) -> bool:
    return record.get("visibility") == "HiddenMembership"


def _may_be_a_person(kind: object) -> bool:
    """Devices, service principals and contacts are nobody. Whoever comes without a type is taken for a person: if
    nobody knows them, that is noticed in the end."""
    return not isinstance(kind, str) or kind.lower().endswith("user")


def name_of(record: Record) -> str:
    name = record.get("displayName")
    return name if isinstance(name, str) else ""


def type_of(record: Record) -> str:
    """What an administrator calls such a group."""
    types = record.get("groupTypes")
    kinds = types if isinstance(types, list) else []
    security, mail = record.get("securityEnabled") is True, record.get("mailEnabled") is True
    if "Unified" in kinds:
        kind = "Microsoft 365"
    elif security:
        kind = "mail-enabled security" if mail else "security"
    else:
        kind = "distribution" if mail else ""
    return f"{kind}, dynamic".removeprefix(", ") if "DynamicMembership" in kinds else kind
