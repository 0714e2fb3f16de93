"""What Trueup's pure core makes of a served company: read by the real connectors, judged without a database."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from tests.reading import drained, observed_pages, swept_pages
from worker.core import nesting
from worker.core.correlation import Correlation, Known, correlate
from worker.core.drift import Deserts, DriftKind, Terrain, find_drift
from worker.core.identity import ATTRIBUTE, Account, Catalogue, Identity, Person, SourceGroup, Standing, Trait
from worker.core.policy import attributes_asked, compile_policy, groups_asked
from worker.ports import Asked, Target, Wanted
from worker.settings import Loaded

NOBODYS = {Trait.OURSELVES, Trait.SERVICE, Trait.SUPPORT, Trait.EMBED, Trait.GUEST}
Finding = tuple[str, DriftKind, str]
"""Target, kind, and whom a human would name: a person's login, or the login of an account that nobody owns."""


def findings(loaded: Loaded, today: date) -> Iterator[Finding]:
    """Everything out of order, once for each change that it calls for; nobody has been linked to anything yet."""
    found = [_read(loaded, name) for name in loaded.sources]
    people, groups = _joined(found), {name: one.groups for name, one in zip(loaded.sources, found, strict=True)}
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
    groups: Mapping[str, Sequence[SourceGroup]]

    def findings(self, today: date) -> Iterator[Finding]:
        name = self.target.name
        accounts, catalogue = observed(self.target, Asked(_attributes_of(self.loaded, name)))
        protected = self.loaded.settings.protected
        bystanders = {
            a.id for a in accounts.values() if a.traits & NOBODYS or protected.covers_account(name, a)
        }  # fmt: skip
        policy = compile_policy(self.loaded.rules, self.groups, {name: catalogue}, values=self.loaded.values)
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
        for dispute in (*found.disputes, *found.taken):
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
                guest=all(i.guest for i in p.identities),
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


@dataclass(frozen=True)
class _Read:
    """One source: its people by id, with the ids of the groups that each is in on whatever way."""

    identities: Mapping[str, Identity]
    groups: Sequence[SourceGroup]
    memberships: Mapping[str, set[tuple[str, str]]]


def _read(loaded: Loaded, name: str) -> _Read:
    identities: dict[str, Identity] = {}
    groups: dict[str, SourceGroup] = {}
    direct: list[tuple[str, str]] = []
    nestings: list[tuple[str, str]] = []
    source = importlib.import_module(f"worker.sources.{name}").connect(name, loaded.sources[name])
    for page in drained(source, Wanted(groups_asked(loaded.rules)[name], attributes_asked(loaded.rules))):
        assert [check for check in page.checks if not check.passed] == []
        groups |= {g.id: g for g in page.groups}
        identities |= {i.id: i for i in page.identities}
        direct += page.memberships
        nestings += page.nestings
    source.close()
    higher = nesting.above(nestings)
    memberships: dict[str, set[tuple[str, str]]] = {}
    for group, member in direct:
        memberships.setdefault(member, set()).update((name, one) for one in (group, *higher.get(group, ())))
    return _Read(identities, [*groups.values()], memberships)


def _joined(found: Sequence[_Read]) -> dict[str, Person]:
    """Who has the same employee number at two sources is one; of what they say, the first one's counts."""
    people: dict[str, Person] = {}
    by_number: dict[str, str] = {}
    for read in found:
        for id, identity in read.identities.items():
            number = str(identity.attributes.get("employeeNumber", id))
            known = people.get(by_number.get(number, ""))
            groups = frozenset(read.memberships.get(id, ()))
            if known is None or known.identities[0].source == identity.source:
                people[id] = Person(id, identity.standing, (identity,), groups)
                by_number[number] = id
            else:
                both = (*known.identities, identity)
                people[known.id] = replace(known, identities=both, groups=known.groups | groups)
    return people


def _attributes_of(loaded: Loaded, target: str) -> frozenset[str]:
    """Names of the attributes that rules give there."""
    named = (one for rule in loaded.rules for one in rule.give if one.target == target)
    return frozenset(one.reference.name for one in named if one.reference.kind == ATTRIBUTE)


def observed(target: Any, asked: Asked = Asked()) -> tuple[dict[str, Account], Catalogue]:
    """A target's accounts by id, whole, and its catalogue."""
    pages = observed_pages(target, asked)
    assert all(check.passed for page in pages for check in page.checks)
    if asked:
        attributes = [item.id for page in pages for item in page.catalogue if item.definition is not None]
        pages += swept_pages(target, [a.id for page in pages for a in page.accounts], attributes)
    known: dict[str, set[str]] = {}
    for account_id, attribute_id in (one for page in pages for one in page.valued):
        known.setdefault(account_id, set()).add(attribute_id)
    held: dict[str, set[Any]] = {}
    for account_id, entitlement in (holding for page in pages for holding in page.holdings):
        held.setdefault(account_id, set()).add(entitlement)
    traits: dict[str, set[Trait]] = {}
    for account_id, trait in (shown for page in pages for shown in page.traits):
        traits.setdefault(account_id, set()).add(trait)
    accounts = {
        a.id: replace(
            a,
            entitlements=frozenset(held.get(a.id, ())),
            traits=a.traits | traits.get(a.id, set()),
            known=frozenset(known.get(a.id, ())),
        )
        for page in pages
        for a in page.accounts
    }
    return accounts, Catalogue(tuple(item for page in pages for item in page.catalogue))
