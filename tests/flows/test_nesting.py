"""Groups in groups, through a whole pass: who is in through which, and what it means when a nesting is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.flows.rig import Rig
from worker.errors import Refused
from worker.flows.crowd import gather
from worker.flows.reading import read
from worker.flows.site import Site
from worker.flows.why import why
from worker.ports import Part, Piece, SourcePage
from worker.sandbox.company import Employee

ENGINEERS, EVERYONE = "Engineering", "Everyone"


class Nested:
    """A source in which some groups are in others, besides what it says itself."""

    def __init__(self, source: Any, edges: Sequence[tuple[str, str]]) -> None:
        self._source, self._edges = source, edges

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, part: Part) -> Piece:
        piece: Piece = self._source.read(part)
        if part.kind != "groups":
            return piece
        return replace(piece, pages=[*piece.pages, SourcePage(nestings=self._edges)])


def nested(site: Site, *edges: tuple[str, str]) -> Site:
    source: Any = Nested(site.sources["okta"], edges)
    return replace(site, sources={**site.sources, "okta": source})


@pytest.fixture
def engineer(rig: Rig) -> Employee:
    return next(e for e in rig.world.company.employees if ENGINEERS in e.groups and e.status == "ACTIVE")


@pytest.fixture
def edge(rig: Rig, engineer: Employee) -> tuple[str, str]:
    """All engineers are in a group that this one is not in."""
    ids = {group.name: group.id for group in rig.world.company.source_groups}
    others = sorted(ids.keys() - {*engineer.groups, EVERYONE})
    return ids[others[0]], ids[ENGINEERS]


def test_why_says_through_which_group_somebody_is_in_another(
    rig: Rig, edge: tuple[str, str], engineer: Employee
) -> None:
    login = engineer.profile["login"]
    with rig.open("observe") as site:
        read(nested(site, edge), "okta")
        found = why(site, login).steps["found"]
        (person,) = [p for p in gather(site).people.values() if p.text("login") == login]
    assert ("okta", edge[0]) in person.groups
    assert any(f" through {ENGINEERS}" in line for line in found)


def test_a_nesting_that_is_lost_is_noticed_though_it_is_one_row(rig: Rig, edge: tuple[str, str]) -> None:
    with rig.open("observe", limits={"shrink": {"above": 2}}) as site:
        counts = read(nested(site, edge), "okta").counts
        assert (counts["nestings"], counts["inherited"] > 2) == (1, True)
        with pytest.raises(Refused, match="memberships through nested groups did not shrink"):
            read(site, "okta")
        assert read(site, "okta", accept_counts=True).counts.keys().isdisjoint({"nestings", "inherited"})
