"""Microsoft Graph v1.0 over the tenant's directory: what can be asked, by whom, and what it comes to."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from worker.sandbox.entra.answers import Answer, Call, GraphError, filtered, missing
from worker.sandbox.entra.directory import Directory, Thing
from worker.sandbox.entra.pages import Pages
from worker.sandbox.entra.properties import ELSEWHERE, GUARDED, USUAL, known, shown
from worker.sandbox.entra.subscriptions import Subscriptions

USERS, MEMBERS, APPS = "User.Read.All", "GroupMember.Read.All", "Application.Read.All"
HIDDEN, DEVICES = "Member.Read.Hidden", "Device.Read.All"
# What else does what a permission does.
_ALSO: Mapping[str, AbstractSet[str]] = {
    USERS: {"Directory.Read.All"},
    MEMBERS: {"Group.Read.All", "Directory.Read.All"},
    APPS: {"Directory.Read.All"},
    DEVICES: {"Directory.Read.All"},
}
_TYPE_NEEDS = {"user": USERS, "group": MEMBERS, "device": DEVICES, "servicePrincipal": APPS}
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Graph:
    """`answer(call)`; who calls has been let in already. Switches:

    `granted`: the app's permissions. `hidden_groups`: "refuse" or "empty" is what comes of a hidden membership without
    Member.Read.Hidden. `unindexed`: ids that the index behind counts and casts does not have yet. `units`: resource
    units per `window` seconds, None for no limit. `pages.hollow`, `pages.expire()`.
    """

    def __init__(self, directory: Directory, granted: set[str], tenant: str, domain: str, client_id: str) -> None:
        self.directory, self.granted = directory, granted
        self.tenant, self.domain, self.client_id = tenant, domain, client_id
        self.pages = Pages()
        self.subscriptions = Subscriptions()
        self.hidden_groups = "refuse"
        self.unindexed: set[str] = set()
        self.units: int | None = None
        self.window = 10.0
        self._spent = (0.0, 0)  # when the window ends, units spent in it

    def answer(self, call: Call, *, known_caller: bool = True) -> Answer:
        """What Graph says to a call, alone or in a batch."""
        request_id = str(uuid.uuid4())
        client_id = call.headers.get("client-request-id", request_id)
        try:
            if not known_caller:
                raise GraphError(401, "InvalidAuthenticationToken", "Access token is empty, expired or not valid.")
            self._spend(_cost(call))
            answer = self._dispatched(call)
        except GraphError as error:
            answer = error.answer(request_id, client_id)
        except KeyError as error:
            answer = missing(str(error.args[0])).answer(request_id, client_id)
        said = {"request-id": request_id, "client-request-id": client_id, "x-ms-resource-unit": str(_cost(call))}
        return replace(answer, headers={**said, **answer.headers})

    def _dispatched(self, call: Call) -> Answer:
        first, _, id = call.path.strip("/").partition("/")
        if first == "subscriptions":
            return self._subscribed(call, id)
        for pattern, permission, answer in _ROUTES:
            found = pattern.fullmatch(call.path) if call.method == "GET" else None
            if found:
                if permission:
                    self._demand(permission)
                return answer(self, replace(call, parts=found.groupdict()))
        raise GraphError(400, "BadRequest", f"Resource not found for the segment '{call.path.rpartition('/')[2]}'.")

    def _subscribed(self, call: Call, id: str) -> Answer:
        """Orders of the app itself; to be told of users wants the right to read them."""
        kept = self.subscriptions
        if call.method == "POST" and not id:
            self._demand(USERS)
            return kept.make(call)
        if call.method == "GET" and not id:
            return kept.all(call)
        if call.method == "PATCH":
            return kept.renew(call, id)
        if call.method == "DELETE":
            return kept.end(call, id)
        raise GraphError(405, "BadRequest", "The method is not allowed here.")

    def _may(self, permission: str) -> bool:
        return permission in self.granted or bool(_ALSO.get(permission, set()) & self.granted)

    def _demand(self, permission: str) -> None:
        if not self._may(permission):
            raise GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")

    def _spend(self, cost: int) -> None:
        """Resource units; calls that are refused count as well."""
        if self.units is None:
            return
        ends, spent = self._spent
        if ends <= time.time():
            ends, spent = time.time() + self.window, 0
        self._spent = (ends, spent + cost)
        if spent + cost > self.units:
            scope = f"Tenant_Application/ReadWrite/{self.client_id}/{self.tenant}"
            headers = {
                "Retry-After": str(int(ends - time.time()) + 1), "x-ms-throttle-scope": scope,
                "x-ms-throttle-information": "ResourceUnitLimitExceeded", "x-ms-throttle-limit-percentage": "1.8",
            }  # fmt: skip
            raise GraphError(429, "TooManyRequests", "Too many requests.", headers)

    # --- lists -------------------------------------------------------------------------------------------------------

    def _list(
        self, call: Call, ids: Sequence[str], type: str, *, cast: bool = False, held: Mapping[str, Thing] | None = None
    ) -> Answer:
        """A page of these objects. A cast, a count and whatever else is advanced is answered from the index."""
        held = self.directory.things if held is None else held
        self._check_query(call, type, cast=cast)
        if call.eventual and (cast or call.counts):
            ids = [id for id in ids if id not in self.unindexed]
        ids = _matching(call, ids, held)
        page, around = self.pages.page(call, ids, most=500 if "signInActivity" in call.select else 999)
        typed = cast or type == "directoryObject"
        rows = [self._shown(held[id], call.select, typed=typed) for id in page]
        return Answer({"@odata.context": f"{call.base}/v1.0/$metadata#{type}s", **around, "value": rows})

    def _check_query(self, call: Call, type: str, *, cast: bool) -> None:
        _check_select(call, type)
        advanced = cast or "$search" in call.asked or "$orderby" in call.asked
        if advanced and not (call.eventual and (call.counts or "$search" in call.asked)):
            text = "Request with this query needs the header ConsistencyLevel: eventual, and $count=true."
            raise GraphError(400, "Request_UnsupportedQuery", text)
        unsupported = {"$skip", "$search", "$orderby", "$expand"} & set(call.asked)
        if unsupported:
            raise GraphError(400, "Request_UnsupportedQuery", f"'{min(unsupported)}' is not supported here.")

    def _shown(self, thing: Thing, select: tuple[str, ...], *, typed: bool) -> dict[str, Any]:
        """Of a type that the app may not read, only type and id; the rest is null."""
        found = shown(thing.type, thing.properties, select)
        if not self._may(_TYPE_NEEDS[thing.type]):
            found = dict.fromkeys(found, None) | {"id": thing.id}
        for name, permission in GUARDED.items():
            if permission not in self.granted:
                found.pop(name, None)
        return {"@odata.type": f"#microsoft.graph.{thing.type}", "id": thing.id, **found} if typed else found

    def _count(self, call: Call, ids: Sequence[str]) -> Answer:
        if not call.eventual:
            raise GraphError(400, "Request_BadRequest", "$count is not currently supported.")
        indexed = [id for id in ids if id not in self.unindexed]
        return Answer(str(len(_matching(call, indexed, self.directory.things))), media="text/plain")

    def _one(self, call: Call, thing: Thing) -> Answer:
        _check_select(call, thing.type)
        context = {"@odata.context": f"{call.base}/v1.0/$metadata#{thing.type}s/$entity"}
        return Answer(context | self._shown(thing, call.select, typed=False))

    # --- what can be asked -------------------------------------------------------------------------------------------

    def _organization(self, call: Call) -> Answer:
        kind = {"type": "Managed", "capabilities": "Email"}
        domains = [
            {"name": self.domain, "isDefault": True, "isInitial": False, **kind},
            {"name": "acme.onmicrosoft.com", "isDefault": False, "isInitial": True, **kind},
        ]
        named = {
            "id": self.tenant, "displayName": "Acme", "tenantType": "AAD", "countryLetterCode": "DE",
            "createdDateTime": "2020-03-02T10:00:00Z", "verifiedDomains": domains,
        }  # fmt: skip
        _check_select(call, "organization")
        found = shown("organization", named, call.select)
        return Answer({"@odata.context": f"{call.base}/v1.0/$metadata#organization", "value": [found]})

    def _users(self, call: Call) -> Answer:
        return self._list(call, self.directory.of_type("user"), "user")

    def _users_count(self, call: Call) -> Answer:
        return self._count(call, self.directory.of_type("user"))

    def _user(self, call: Call) -> Answer:
        found = self.directory.user(call.parts["id"])
        if found.id in self.directory.deleted:
            raise missing(found.id)
        return self._one(call, found)

    def _deleted_users(self, call: Call) -> Answer:
        return self._list(call, sorted(self.directory.deleted), "user", held=self.directory.deleted)

    def _deleted_user(self, call: Call) -> Answer:
        answer = self._one(call, self.directory.deleted[call.parts["id"]])
        return replace(answer, body={"@odata.type": "#microsoft.graph.user", **answer.body})

    def _groups(self, call: Call) -> Answer:
        return self._list(call, self.directory.of_type("group"), "group")

    def _groups_count(self, call: Call) -> Answer:
        return self._count(call, self.directory.of_type("group"))

    def _group(self, call: Call) -> Answer:
        return self._one(call, self._group_of(call))

    def _group_of(self, call: Call) -> Thing:
        id = call.parts["id"]
        if not _GUID.fullmatch(id):
            raise GraphError(400, "Request_BadRequest", f"Invalid object identifier '{id}'.")
        found = self.directory.things[id]
        if found.type != "group":
            raise missing(id)
        return found

    def _inside(self, call: Call) -> list[str]:
        """Ids of direct or of all members."""
        group, whole = self._group_of(call), call.parts["which"] == "transitiveMembers"
        if group.properties["visibility"] == "HiddenMembership" and HIDDEN not in self.granted:
            if self.hidden_groups == "empty":
                return []
            self._demand(HIDDEN)
        return self.directory.transitive(group) if whole else self.directory.members(group)

    def _members(self, call: Call) -> Answer:
        return self._list(call, self._inside(call), "directoryObject")

    def _members_cast(self, call: Call) -> Answer:
        type = call.parts["type"]
        if type not in USUAL:
            raise GraphError(400, "BadRequest", f"Resource not found for the segment 'microsoft.graph.{type}'.")
        ids = [id for id in self._inside(call) if self.directory.things[id].type == type]
        return self._list(call, ids, type, cast=True)

    def _members_count(self, call: Call) -> Answer:
        return self._count(call, self._inside(call))

    def _principal(self, call: Call) -> Answer:
        return self._one(call, self._principal_of(call))

    def _principal_of(self, call: Call) -> Thing:
        app, things = call.parts.get("app"), self.directory.things
        found = next((t for t in things.values() if app and t.properties.get("appId") == app), None)
        found = found if app else things[call.parts["id"]]
        if found is None or found.type != "servicePrincipal":
            raise missing(app or call.parts["id"])
        return found

    def _assigned(self, call: Call) -> Answer:
        app, there = self._principal_of(call), self.directory.things
        if set(call.asked) - {"$top", "$skiptoken", "$select", "$count"}:
            raise GraphError(400, "Request_UnsupportedQuery", "Unsupported Query.")
        rows = {
            r["id"]: r for r in self.directory.assignments if r["resourceId"] == app.id and r["principalId"] in there
        }
        page, around = self.pages.page(call, sorted(rows))
        picked = [{k: v for k, v in rows[id].items() if not call.select or k in call.select} for id in page]
        return Answer({"@odata.context": f"{call.base}/v1.0/$metadata#appRoleAssignments", **around, "value": picked})


Answering = Callable[[Graph, Call], Answer]
_EITHER = "{which:members|transitiveMembers}"
_TABLE: tuple[tuple[str, str, Answering], ...] = (
    ("/organization", "", Graph._organization),
    ("/users", USERS, Graph._users),
    ("/users/$count", USERS, Graph._users_count),
    ("/users/{id}", USERS, Graph._user),
    ("/directory/deletedItems/microsoft.graph.user", USERS, Graph._deleted_users),
    ("/directory/deletedItems/{id}", USERS, Graph._deleted_user),
    ("/groups", MEMBERS, Graph._groups),
    ("/groups/$count", MEMBERS, Graph._groups_count),
    ("/groups/{id}", MEMBERS, Graph._group),
    (f"/groups/{{id}}/{_EITHER}", MEMBERS, Graph._members),
    (f"/groups/{{id}}/{_EITHER}/$count", MEMBERS, Graph._members_count),
    (f"/groups/{{id}}/{_EITHER}/microsoft.graph.{{type}}", MEMBERS, Graph._members_cast),
    ("/servicePrincipals(appId='{app}')", APPS, Graph._principal),
    ("/servicePrincipals/{id}", APPS, Graph._principal),
    ("/servicePrincipals/{id}/appRoleAssignedTo", APPS, Graph._assigned),
    ("/servicePrincipals(appId='{app}')/appRoleAssignedTo", APPS, Graph._assigned),
)


def _pattern(path: str) -> re.Pattern[str]:
    """`{id}` is anything up to the next slash, `{which:a|b}` one of these."""
    made = ""
    for piece in re.split(r"(\{[^}]+\})", path):
        name, _, values = piece.strip("{}").partition(":")
        made += f"(?P<{name}>{values or '[^/$]+'})" if piece.startswith("{") else re.escape(piece)
    return re.compile(made)


_ROUTES = tuple((_pattern(path), permission, answer) for path, permission, answer in _TABLE)


def _matching(call: Call, ids: Sequence[str], held: Mapping[str, Thing]) -> Sequence[str]:
    if "$filter" not in call.asked:
        return ids
    matches = filtered(call.asked["$filter"], call.eventual and call.counts)
    return [id for id in ids if matches(held[id].properties)]


def _check_select(call: Call, type: str) -> None:
    for name in call.select:
        if name in ELSEWHERE and type == "user":
            raise GraphError(501, "NotImplemented", "This operation target is not yet supported.")
        if not known(type, name):
            text = f"Could not find a property named '{name}' on type 'microsoft.graph.{type}'."
            raise GraphError(400, "Request_BadRequest", text)


def _cost(call: Call) -> int:
    """In resource units, as the vendor's table has it."""
    dear = 2 if call.path == "/users" else 5 if "/transitiveMembers" in call.path else 1
    dear = 3 if call.path.endswith("/members") else dear
    small = call.asked.get("$top", "")
    return max(1, dear - ("$select" in call.asked) - (small.isdigit() and int(small) < 20))
