"""How long it takes to work out what 100,000 people deserve under 200 rules: `python -m benchmarks.policy`.

Two companies of the same size: one as they are (a few thousand different combinations of groups and attributes), and
one in which no two people are alike, so that no answer can be used twice.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Sequence
from datetime import date

from worker.core.identity import Catalogue, CatalogueItem, Identity, Person, Reference, SourceGroup, Standing
from worker.core.policy import (
    AllOf,
    AnyOf,
    AttributeIs,
    AttributeMatches,
    Condition,
    Everyone,
    GroupIs,
    Named,
    NotOf,
    Rule,
    compile_policy,
)
from worker.core.values import ValueRule

PEOPLE, RULES, GROUPS, DEPARTMENTS = 100_000, 200, 400, 60
TODAY = date(2026, 6, 1)


def group(number: int) -> GroupIs:
    return GroupIs(f"group {number}", "okta")


def department(number: int) -> AttributeIs:
    return AttributeIs("department", (f"department {number}",))


def condition(number: int) -> Condition:
    """Mostly single groups, as policies are; one in twenty asks everybody."""
    forms: Sequence[Condition] = (
        *[group(number % GROUPS)] * 12,
        *[department(number % DEPARTMENTS)] * 2,
        *[AllOf((group(number % GROUPS), department(number % DEPARTMENTS)))] * 2,
        AnyOf((group(number % GROUPS), group((number + 7) % GROUPS))),
        AllOf((group(number % GROUPS), NotOf(AttributeIs("userType", ("Contractor",))))),
        GroupIs(f"group {number % 10}?", "okta"),
        AttributeMatches("title", ("*Manager*",)),
    )
    return forms[number % len(forms)]


def rules() -> list[Rule]:
    return [
        Rule(
            f"rule {n}",
            condition(n),
            (
                Named("looker", Reference("group", f"group {n % 80}")),
                Named("teamcity", Reference("role", "PROJECT_DEVELOPER", f"p:Project{n % 50}")),
            ),
        )
        for n in range(RULES)
    ]


def filters() -> list[Rule]:
    """Two more: every department sees its own rows, and everybody those of their office."""
    everybody = Named("looker", Reference("attribute", "office", "$profile.office"))
    regions = [
        Rule(f"region {n}", department(n), (Named("looker", Reference("attribute", "region", f"region {n}")),))
        for n in range(DEPARTMENTS)
    ]
    return [*regions, Rule("offices", Everyone(), (everybody,))]


def catalogues() -> dict[str, Catalogue]:
    looker = [CatalogueItem("group", str(n), f"group {n}") for n in range(80)]
    looker += [CatalogueItem("attribute", "1", "region"), CatalogueItem("attribute", "2", "office")]
    scopes = [CatalogueItem("scope", f"p:Project{n}", f"Project {n}") for n in range(50)]
    role = CatalogueItem("role", "PROJECT_DEVELOPER", "PROJECT_DEVELOPER")
    return {"looker": Catalogue(tuple(looker)), "teamcity": Catalogue((role, *scopes))}


def person(number: int, groups: frozenset[tuple[str, str]], chance: random.Random, job: int) -> Person:
    attributes = {
        "department": f"department {job % DEPARTMENTS}",
        "title": "Engineering Manager" if job % 25 == 0 else "Engineer",
        "userType": "Contractor" if chance.random() < 0.1 else "Employee",
        "office": f"office {number % 90}",
    }
    login = f"person{number}@acme.example"
    identity = Identity("okta", f"u{number}", Standing.ACTIVE, "ACTIVE", login, login, attributes)
    return Person(f"p{number}", Standing.ACTIVE, (identity,), groups)


def ordinary() -> list[Person]:
    """Two thousand jobs, each with its groups; everybody has one, and every tenth person an extra group."""
    chance = random.Random(7)
    jobs = [frozenset(("okta", f"g{g}") for g in chance.sample(range(GROUPS), 6)) for _ in range(2_000)]
    people = []
    for number in range(PEOPLE):
        job = chance.randrange(len(jobs))
        extra = {("okta", f"g{chance.randrange(GROUPS)}")} if chance.random() < 0.1 else set()
        people.append(person(number, jobs[job] | extra, chance, job))
    return people


def all_different() -> list[Person]:
    chance = random.Random(7)
    return [
        person(n, frozenset(("okta", f"g{g}") for g in chance.sample(range(GROUPS), 6)), chance, n)
        for n in range(PEOPLE)
    ]


def measure(name: str, people: Sequence[Person], more: Sequence[Rule] = ()) -> float:
    """Seconds for everything: looking up the names, then asking for each person."""
    started = time.perf_counter()
    groups = [SourceGroup("okta", f"g{n}", f"group {n}", "OKTA_GROUP", 1) for n in range(GROUPS)]
    values = {"region": ValueRule(pattern="region [0-9]+"), "office": ValueRule(pattern="office [0-9]+")}
    policy = compile_policy([*rules(), *more], {"okta": groups}, catalogues(), values={"looker": values})
    given = 0
    for one in people:
        given += sum(map(len, policy.desired(one, TODAY).given.values()))
    seconds = time.perf_counter() - started
    number = RULES + len(more)
    print(
        f"{name}: {len(people):,} people, {number} rules: {seconds:.2f} s, {given:,} entitlements given,"
        f" {policy.evaluations:,} of {len(people) * number:,} conditions worked out"
    )
    return seconds


def main() -> None:
    measure("a company as they are", ordinary())
    measure("with data filters    ", ordinary(), filters())
    strangers = all_different()
    measure("no two people alike ", strangers)
    tracemalloc.start()
    measure("the same, traced    ", strangers[:20_000])
    print(f"peak memory for 20,000 people, none alike: {tracemalloc.get_traced_memory()[1] / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
