"""A small world for the tests of the policy: four groups, two catalogues, and people to order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from worker.core.identity import (
    Catalogue,
    CatalogueItem,
    Entitlement,
    Identity,
    Person,
    Reference,
    SourceGroup,
    Standing,
)
from worker.core.policy import CompiledPolicy, Condition, GroupIs, Named, Rule, compile_policy

TODAY = date(2026, 6, 1)
ENGINEERS, PILOTS, SECRET = GroupIs("Engineering", "okta"), GroupIs("Pilots", "okta"), GroupIs("Secret", "okta")
GROUPS = (
    SourceGroup("okta", "g1", "Engineering", "OKTA_GROUP", 3),
    SourceGroup("okta", "g2", "Pilots", "OKTA_GROUP", 3),
    SourceGroup("okta", "g3", "Secret", "OKTA_GROUP", 3, problem="403 on page 2"),
    SourceGroup("okta", "g4", "[EU] Pilots", "OKTA_GROUP", 3),
)
LOOKER = Catalogue(
    (
        CatalogueItem("role", "1", "Developer"),
        CatalogueItem("role", "2", "Viewer"),
        CatalogueItem("group", "3", "Data"),
        CatalogueItem("group", "4", "Twice"),
        CatalogueItem("group", "5", "Twice"),
    )
)
TEAMCITY = Catalogue(
    (
        CatalogueItem("role", "PROJECT_VIEWER", "PROJECT_VIEWER"),
        CatalogueItem("scope", "p:Web", "Web shop"),
        CatalogueItem("scope", "p:Old", "Twins"),
        CatalogueItem("scope", "p:New", "Twins"),
    )
)
DEVELOPER, VIEWER, DATA = Entitlement("role", "1"), Entitlement("role", "2"), Entitlement("group", "3")


def person(*groups: str, **attributes: str | tuple[str, ...]) -> Person:
    identity = Identity("okta", "u1", Standing.ACTIVE, "ACTIVE", "ana@acme.example", "ana@acme.example", attributes)
    return Person("p1", Standing.ACTIVE, (identity,), frozenset(("okta", group) for group in groups))


def looker(kind: str, name: str) -> Named:
    return Named("looker", Reference(kind, name), "trueup.yaml:9")


def rule(when: Condition, *give: Named, name: str = "r", until: date | None = None) -> Rule:
    return Rule(name, when, give or (looker("role", "Developer"),), until, where="trueup.yaml:5")


def compiled(
    *rules: Rule,
    groups: tuple[SourceGroup, ...] = GROUPS,
    bindings: Mapping[tuple[str, str], str] | None = None,
    governed: Mapping[str, Entitlement] | None = None,
) -> CompiledPolicy:
    catalogues = {"looker": LOOKER, "teamcity": TEAMCITY}
    return compile_policy(rules, {"okta": groups}, catalogues, bindings, {"looker": governed or {}})
