"""Who is assigned to an application, read as if each of its roles were a group.

An assignment of a group reaches only who is directly in it, whatever is nested there: so such a group is read for the
role alone, and is no nesting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.core.identity import SourceGroup
from worker.core.render import quoted
from worker.errors import Misshapen, Missing
from worker.sources.entra.graph import APPS, VERSION, Graph
from worker.sources.entra.groups import guid
from worker.sources.entra.settings import GUID

TYPE = "app role"
DEFAULT_ROLE, DEFAULT_ACCESS = "00000000-0000-0000-0000-000000000000", "default access"
PRINCIPALS_PATH = f"{VERSION}/servicePrincipals"


@dataclass(frozen=True, slots=True)
class Application:
    """An application of the tenant: its service principal, and the names of its roles by id."""

    id: str
    principal: str
    name: str
    roles: Mapping[str, str]

    def role(self, id: str) -> tuple[str, str]:
        """Id and name of a role as a group; a role that is no longer defined goes by its id."""
        value = self.roles.get(id) or (DEFAULT_ACCESS if id == DEFAULT_ROLE else id)
        return f"{self.id}:{id}", f"{self.name}: {value}"


@dataclass(frozen=True, slots=True)
class Assigned:
    """Who has a role: people, groups, and how many principals of a kind that nobody knows."""

    people: Sequence[str]
    groups: Sequence[str]
    odd: int


class Roles:
    """The roles of one application at a time."""

    def __init__(self, source: str, graph: Graph) -> None:
        self._source, self._graph = source, graph

    def application(self, app_id: str) -> Application | None:
        """None when the tenant has no such application."""
        path = f"{PRINCIPALS_PATH}(appId='{guid(self._source, app_id)}')"
        try:
            reply = self._graph.get(path, {"$select": "id,displayName,appRoles"}, permission=APPS)
        except Missing:
            return None
        record = reply.json()
        if not isinstance(record, dict) or not GUID.fullmatch(str(record.get("id"))):
            raise Misshapen(f"{reply.call} answered with something that is no application.")
        defined = record.get("appRoles")
        if not isinstance(defined, list) or not all(isinstance(role, dict) for role in defined):
            raise Misshapen(f"{reply.call} does not say which roles {quoted(app_id)} has.")
        names = {role.get("id"): role.get("value") or role.get("displayName") for role in defined}
        known = {id: name for id, name in names.items() if isinstance(id, str) and isinstance(name, str)}
        return Application(app_id, record["id"], str(record.get("displayName") or app_id), known)

    def assigned(self, application: Application) -> Mapping[str, Assigned]:
        """By role id, every one that is defined or assigned."""
        people: dict[str, list[str]] = {id: [] for id in application.roles}
        groups: dict[str, list[str]] = {}
        odd: dict[str, int] = {}
        for role, kind, principal in self._rows(application):
            people.setdefault(role, [])
            if kind == "User":
                people[role].append(principal)
            elif kind == "Group":
                groups.setdefault(role, []).append(principal)
            elif kind != "ServicePrincipal":
                odd[role] = odd.get(role, 0) + 1
        return {role: Assigned(who, groups.get(role, ()), odd.get(role, 0)) for role, who in people.items()}

    def _rows(self, application: Application) -> Iterator[tuple[str, Any, str]]:
        path = f"{PRINCIPALS_PATH}/{application.principal}/appRoleAssignedTo"
        for page in self._graph.pages(path, {}, permission=APPS):
            for row in page:
                role, principal = row.get("appRoleId"), row.get("principalId")
                if not isinstance(role, str) or not isinstance(principal, str):
                    raise Misshapen(f"{self._source} listed an assignment without a role or without a principal.")
                yield role, row.get("principalType"), principal

    def group(self, id: str, name: str, members: int, problem: str = "") -> SourceGroup:
        """A role as one of our groups."""
        return SourceGroup(self._source, id, name, TYPE, members, problem)
