"""What Trueup's pure core makes of a served company: read by the real connectors, judged without a database."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from tests.reading import drained, observed_pages
from worker.core.correlation import Correlation, Known, correlate
from worker.core.drift import Deserts, DriftKind, Terrain, find_drift
from worker.core.identity import Account, Catalogue, Person, SourceGroup, Standing, Trait
from worker.core.policy import attributes_asked, compile_policy, groups_asked
from worker.ports import Target, Wanted
from worker.settings import Loaded

NOBODYS = {Trait.OURSELVES, Trait.SERVICE, Trait.SUPPORT, Trait.EMBED, Trait.GUEST}
Finding = tuple[str, DriftKind, str]
"""Target, kind, and whom a human would name: a person's login, or the login of an account that nobody owns."""


def findings(loaded: Loaded, today: date) -> Iterator[Finding]:
    """Everything out of order, once for each change that it calls for; nobody has been linked to anything yet."""
    people, groups = _read(loaded)
    for name, settings in loaded.targets.items():
        target = importlib.import_module(f"worker.targets.{name}").connect(name, settings)
        try:
            yield from _Judgement(loaded, target, people, groups).findings(today)
        finally:
            target.close()


@dataclass(frozen=True)
class _Judgement:
    loaded: Loaded
    target: Target
    people: Mapping[str, Person]
    groups: Sequence[SourceGroup]

    def findings(self, today: date) -> Iterator[Finding]:
        name = self.target.name
        accounts, catalogue = observed(self.target)
        protected = self.loaded.settings.protected
        bystanders = {
            a.id for a in accounts.values() if a.traits & NOBODYS or protected.covers_account(name, a)
        }  # fmt: skip
        policy = compile_policy(self.loaded.rules, {"okta": self.groups}, {name: catalogue})
        assert policy.suspended == ()
        found = self._correlated(accounts, catalogue)
        owned = {tie.person_id: accounts[tie.account_id] for tie in found.new_ties}
        terrain = Terrain(name, catalogue, set(policy.governed[name]), bystanders=bystanders)
        for person in self.people.values():
            deserved = policy.desired(person, today)
            deserts = Deserts.of(deserved, name, self.target.login(person), self.target.profile(person))
            disputed = person.id in found.disputed_people
            for drift in find_drift(person, owned.get(person.id), (), deserts, terrain, disputed=disputed):
                yield name, drift.kind, person.identities[0].login
        for dispute in found.disputes:
            for one in dispute.person_ids:
                yield name, DriftKind.DISPUTED, self.people[one].identities[0].login
        for orphan in set(found.orphans) - bystanders:
            yield name, DriftKind.ORPHAN, accounts[orphan].login

    def _correlated(self, accounts: Mapping[str, Account], catalogue: Catalogue) -> Correlation:
        keys = self.loaded.settings.correlation_of(self.target.name)
        people = [
            Known(
                p.id,
                {"login": self.target.login(p), "email": p.text("email"), "name": p.text("displayName")},
                departed=p.standing is Standing.DEPARTED,
            )
            for p in self.people.values()
        ]
        known = [
            Known(
                a.id,
                {"login": a.login, "email": a.email, "name": a.profile.get("name", "")},
                privileged=any(map(catalogue.privileged, a.entitlements)),
            )
            for a in accounts.values()
            if not a.traits & NOBODYS
        ]
        return correlate(people, known, (), keys.trust, keys.propose)


def _read(loaded: Loaded) -> tuple[dict[str, Person], list[SourceGroup]]:
    people: dict[str, Person] = {}
    groups: list[SourceGroup] = []
    memberships: dict[str, set[tuple[str, str]]] = {}
    source = importlib.import_module("worker.sources.okta").connect("okta", loaded.sources["okta"])
    for page in drained(source, Wanted(groups_asked(loaded.rules)["okta"], attributes_asked(loaded.rules))):
        assert all(check.passed for check in page.checks)
        groups += page.groups
        people |= {i.id: Person(i.id, i.standing, (i,)) for i in page.identities}
        for group, member in page.memberships:
            memberships.setdefault(member, set()).add(("okta", group))
    source.close()
    return {id: replace(p, groups=frozenset(memberships.get(id, ()))) for id, p in people.items()}, groups


def observed(target: Any) -> tuple[dict[str, Account], Catalogue]:
    """A target's accounts by id, whole, and its catalogue."""
    pages = observed_pages(target)
    assert all(check.passed for page in pages for check in page.checks)
    held: dict[str, set[Any]] = {}
    for account_id, entitlement in (holding for page in pages for holding in page.holdings):
        held.setdefault(account_id, set()).add(entitlement)
    traits: dict[str, set[Trait]] = {}
    for account_id, trait in (shown for page in pages for shown in page.traits):
        traits.setdefault(account_id, set()).add(trait)
    accounts = {
        a.id: replace(a, entitlements=frozenset(held.get(a.id, ())), traits=a.traits | traits.get(a.id, set()))
        for page in pages
        for a in page.accounts
    }
    return accounts, Catalogue(tuple(item for page in pages for item in page.catalogue))
