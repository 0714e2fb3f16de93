"""A small org at Okta that fills several pages, and the connector pointed at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.reading import drained
from worker.core.identity import Identity, SourceGroup
from worker.ports import Check, Line, SourcePage, Wanted
from worker.sandbox.company import Company, Employee, SourceGroupSpec
from worker.sandbox.okta import OktaSandbox
from worker.sources.okta import OktaSource, Settings, connect

PEOPLE = 230  # two pages
ENGINEERS = 210  # two pages
ENGINEERING, SALES, EMPTY = "00gengineering000001", "00gsales000000000001", "00gempty000000000001"


def user_id(number: int) -> str:
    return f"00u{number:017d}"


def company(people: int = PEOPLE) -> Company:
    """Person n is an engineer up to ENGINEERS, in sales beyond; the last one has left."""
    employees = [
        Employee(
            user_id(n),
            "ACTIVE" if n < people - 1 else "DEPROVISIONED",
            {"login": f"p{n}@example.com", "email": f"p{n}@example.com", "firstName": f"First{n}", "lastName": "Last"},
            () if n == people - 1 else ("Engineering",) if n < ENGINEERS else ("Sales",),
        )
        for n in range(people)
    ]
    groups = (
        SourceGroupSpec(ENGINEERING, "Engineering", "OKTA_GROUP"),
        SourceGroupSpec(SALES, "Sales", "OKTA_GROUP"),
        SourceGroupSpec(EMPTY, "Empty", "APP_GROUP"),
    )
    return Company(tuple(employees), groups, (), (), (), (), (), (), (), policy="")


class Reading:
    """Everything that one pull brought, put together."""

    def __init__(self, pages: list[SourcePage]) -> None:
        stamped = [(page.stamps.get(i.id, ""), i) for page in pages for i in page.identities]
        identities = [identity for _, identity in sorted(stamped, key=lambda one: one[0])]  # the newest last
        groups = [group for page in pages for group in page.groups]
        self.people: dict[str, Identity] = {identity.id: identity for identity in identities}
        self.groups: dict[str, SourceGroup] = {group.id: group for group in groups}
        self.memberships = [row for page in pages for row in page.memberships]
        self.checks: dict[str, Check] = {check.name: check for page in pages for check in page.checks}
        assert len(self.groups) == len(groups), "a group was handed on twice"

    def members(self, group: str) -> set[str]:
        return {person for at, person in self.memberships if at == group}


def pull(source: OktaSource, *groups: str, attributes: frozenset[str] = frozenset()) -> Reading:
    return Reading(drained(source, Wanted(frozenset(groups), attributes)))


@contextmanager
def connected(url: str, place: Path, sandbox: OktaSandbox, **how: Any) -> Iterator[OktaSource]:
    """The connector with an API token (or what `how` says), repeating quickly."""
    with_token: dict[str, Any] = {"token": f"${{file:{place}}}"}
    place.write_text(how.pop("secret", sandbox.token), encoding="utf-8")
    patience = {key: how.pop(key) for key in ("attempts", "first_pause", "longest_wait") if key in how}
    line = how.pop("line", Line())
    if "client_id" in how:
        with_token = {"private_key": with_token["token"]}
    settings = Settings(type="okta", url=url, **with_token, **how)
    source = connect("okta", settings, line, **{"attempts": 3, "first_pause": 0.001, **patience})
    try:
        yield source
    finally:
        source.close()
