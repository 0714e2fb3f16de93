"""What `trueup check` says of our app at Entra ID: what it may see, what it lacks, and what it should not have."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from worker.errors import Missing
from worker.ports import Notice
from worker.sources.entra.app_roles import Roles
from worker.sources.entra.graph import APPS, GROUPS, GROUPS_PATH, HIDDEN, USERS, USERS_PATH, Graph
from worker.sources.entra.groups import Record, group_path, is_hidden
from worker.sources.entra.settings import Settings

SOON = dt.timedelta(days=30)
# What else gives what a permission gives.
_WIDER: Mapping[str, frozenset[str]] = {
    USERS: frozenset({"User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}),
    GROUPS: frozenset({"Group.Read.All", "Group.ReadWrite.All", "GroupMember.ReadWrite.All", "Directory.Read.All",
                       "Directory.ReadWrite.All"}),
    APPS: frozenset({"Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}),
}  # fmt: skip
_WHAT_FOR: Mapping[str, str] = {
    USERS: "people cannot be read",
    GROUPS: "groups and their members cannot be read",
    APPS: "who is assigned to `app_roles` cannot be read",
}
_LEAST = {USERS, GROUPS, APPS, HIDDEN, "User-LifeCycleInfo.Read.All"}


def notices(graph: Graph, settings: Settings) -> Iterator[Notice]:
    """A handful of calls. Raises Denied where Graph refuses what the token does not tell beforehand."""
    yield from _credential(graph, dt.datetime.now(dt.UTC))
    permissions = graph.login.permissions()
    lacking = list(_lacking(permissions, settings))
    yield from lacking
    if lacking:
        return
    if permissions is not None:
        yield from _of_permissions(permissions)
    yield Notice(f"{graph.count(USERS_PATH)} people are in the tenant, by Graph's own count.")
    yield from _nameless(graph)
    for app in settings.app_roles:
        if Roles(graph.name, graph).application(app) is None:
            yield Notice(f"`app_roles` names {app}, and the tenant has no such application.", "Correct or remove it.")


def _lacking(permissions: frozenset[str] | None, settings: Settings) -> Iterator[Notice]:
    if permissions is None:
        return
    needed = [USERS, GROUPS, *([APPS] if settings.app_roles else [])]
    for one in needed:
        if not permissions & {one, *_WIDER[one]}:
            yield Notice(
                f"The app {settings.client_id} lacks the permission {one}: {_WHAT_FOR[one]}.",
                f"Add the application permission {one} under API permissions, and grant admin consent.",
                fatal=True,
            )


def _of_permissions(permissions: frozenset[str]) -> Iterator[Notice]:
    if HIDDEN not in permissions:
        yield Notice(
            "Groups with hidden membership cannot be read; a rule that names one is suspended.",
            f"If a rule needs one, add the application permission {HIDDEN}.",
        )
    if beyond := sorted(permissions - _LEAST):
        yield Notice(
            f"The app may do more than Trueup needs: {', '.join(beyond)}.",
            f"Remove these; {USERS} and {GROUPS} are enough (docs/connectors/entra.md).",
        )


def _credential(graph: Graph, now: dt.datetime) -> Iterator[Notice]:
    proof = graph.login.proof
    if proof.kind == "client secret":
        yield Notice(
            "The app proves itself with a client secret, which works for whoever copies it, from anywhere.",
            "Prefer a certificate, or a federated token of the workload: docs/connectors/entra.md says how.",
        )
    if proof.until is not None and proof.until - now < SOON:
        ended = "has ended" if proof.until <= now else "ends"
        yield Notice(
            f"The app's certificate {ended} on {proof.until:%Y-%m-%d}.",
            "Upload another one to the app, then put it where `certificate` points.",
            fatal=proof.until <= now,
        )


def _nameless(graph: Graph) -> Iterator[Notice]:
    """Members of whom nothing is shown: a right that is missing shows as nulls in groups, and not as an error."""
    few: dict[str, Any] = {"$top": 5}
    groups = _rows(graph.get(GROUPS_PATH, {"$select": "id,visibility", **few}, permission=GROUPS).json())
    for group in [one for one in groups if not is_hidden(one)][:1]:
        path, asked = f"{group_path(graph.name, group['id'])}/members", {"$select": "id,userPrincipalName", **few}
        try:
            members = _rows(graph.get(path, asked, permission=GROUPS).json())
        except Missing:
            return
        kind = "#microsoft.graph.user"
        if any(one.get("@odata.type") == kind and one.get("userPrincipalName") is None for one in members):
            yield Notice(
                "Members of groups are shown without their names.",
                f"Add the application permission {USERS}, and grant admin consent.",
                fatal=True,
            )


def _rows(body: Any) -> list[Record]:
    rows = body.get("value") if isinstance(body, dict) else None
    return [row for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []
