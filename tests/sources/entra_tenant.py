"""A small tenant at Entra ID that has a bit of everything, and the connector pointed at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.reading import drained
from worker.core.identity import Identity, SourceGroup
from worker.ports import Check, Line, SourcePage, Wanted
from worker.sandbox.company import AppRole, Company, Tenant, TenantGroup, TenantThing, TenantUser
from worker.sandbox.entra import EntraSandbox
from worker.sources.entra import EntraSource, Settings, connect


def guid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


STAFF, ENGINEERS, BACKEND, SALES, SECRET, MAIL, TEAMS, RULED = (guid(n) for n in range(100, 108))
KIOSK, ROBOT = guid(200), guid(201)
LOOKER, VIEWER = guid(300), guid(301)
DISABLED, GUEST, UNCLEAR, DELETED = (guid(n) for n in (20, 21, 22, 23))


def user(number: int, *, deleted: bool = False, **more: Any) -> TenantUser:
    mail = f"p{number}@acme.example"
    names = {"displayName": f"Person {number}", "givenName": "Person", "surname": f"Number {number}"}
    return TenantUser(guid(number), {"userPrincipalName": mail, "mail": mail, **names, **more}, deleted)


# Staff holds Engineers, which holds Backend, which holds Engineers again.
TENANT = Tenant(
    users=(
        *(user(n) for n in range(1, 13)),
        user(20, accountEnabled=False),
        user(21, userType="Guest", userPrincipalName="eve_x.example#EXT#@acme.example", mail="eve@x.example"),
        user(22, accountEnabled=None),
        user(23, deleted=True),
    ),
    groups=(
        TenantGroup(STAFF, "Staff", members=(ENGINEERS, guid(12), KIOSK, ROBOT)),
        TenantGroup(ENGINEERS, "Engineers", members=(*map(guid, range(1, 7)), BACKEND, DISABLED, DELETED)),
        TenantGroup(BACKEND, "Backend", "mail-enabled security", members=(*map(guid, range(7, 10)), ENGINEERS)),
        TenantGroup(SALES, "Sales", members=(guid(10), GUEST)),
        TenantGroup(SECRET, "Secret", "microsoft 365", members=(guid(11),), hidden=True),
        TenantGroup(MAIL, "News", "distribution", members=(guid(11),)),
        TenantGroup(TEAMS, "Band", "microsoft 365", members=(guid(11),)),
        TenantGroup(RULED, "Enabled", "dynamic", members=(guid(11),)),
    ),
    things=(
        TenantThing(KIOSK, "device", {"displayName": "Kiosk", "accountEnabled": True}),
        TenantThing(ROBOT, "servicePrincipal", {"displayName": "Robot", "accountEnabled": True}),
    ),
    app_roles=(AppRole(LOOKER, "Looker", VIEWER, "Viewer", (guid(12), ENGINEERS, ROBOT)),),
)  # fmt: skip


def tenant(made: Tenant = TENANT) -> EntraSandbox:
    return EntraSandbox(Company((), (), (), (), (), (), (), (), (), policy="", tenant=made))


class Reading:
    """Everything that one pull brought, put together as the store does it."""

    def __init__(self, pages: list[SourcePage]) -> None:
        people = sorted(((p.stamps.get(i.id, ""), i) for p in pages for i in p.identities), key=lambda one: one[0])
        groups = sorted(((p.stamps.get(g.id, ""), g) for p in pages for g in p.groups), key=lambda one: one[0])
        self.people: dict[str, Identity] = {identity.id: identity for _, identity in people}
        self.groups: dict[str, SourceGroup] = {group.id: group for _, group in groups}
        self.named: dict[str, SourceGroup] = {group.name: group for group in self.groups.values()}
        self.memberships = {row for page in pages for row in page.memberships}
        self.nestings = {row for page in pages for row in page.nestings}
        self.checks: dict[str, Check] = {check.name: check for page in pages for check in page.checks}

    def members(self, group: str) -> set[str]:
        return {person for at, person in self.memberships if at == group}

    @property
    def failed(self) -> dict[str, str]:
        return {check.name: check.detail for check in self.checks.values() if not check.passed}

    def same_as(self, other: Reading) -> bool:
        return (self.people, self.groups, self.memberships, self.nestings) == (
            other.people, other.groups, other.memberships, other.nestings,
        )  # fmt: skip


def pull(source: EntraSource, *groups: str, attributes: tuple[str, ...] = ()) -> Reading:
    return Reading(drained(source, Wanted(frozenset(groups), frozenset(attributes))))


def settings_of(entra: EntraSandbox, place: Path, **how: Any) -> Settings:
    """With the client secret, or with what `how` says."""
    credential: Mapping[str, Any] = {"client_secret": f"${{file:{place}}}"}
    if {"certificate", "assertion_file", "client_secret"} & how.keys():
        credential = {}
    else:
        place.write_text(how.pop("secret", entra.client_secret), encoding="utf-8")
    usual = {"authority": f"{entra.url}/{entra.tenant}", "graph": entra.url, "ca_file": str(entra.ca_file)}
    return Settings(
        type="entra", **{"tenant": entra.tenant, "client_id": entra.client_id, **usual, **credential, **how}
    )


@contextmanager
def connected(entra: EntraSandbox, place: Path, **how: Any) -> Iterator[EntraSource]:
    """The connector, repeating quickly."""
    patience = {key: how.pop(key) for key in ("attempts", "first_pause", "longest_wait") if key in how}
    line = how.pop("line", Line())
    source = connect(
        "entra", settings_of(entra, place, **how), line, **{"attempts": 3, "first_pause": 0.001, **patience}
    )
    try:
        yield source
    finally:
        source.close()
