"""Tries a policy on sample people: who is given what, against what the samples say they should be given.

It needs no network and no database: every group and entitlement that the policy names is taken to exist.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from worker.core.conditions import shown
from worker.core.identity import (
    ATTRIBUTE,
    Catalogue,
    CatalogueItem,
    Entitlement,
    Identity,
    Person,
    Reference,
    SourceGroup,
    Standing,
)
from worker.core.policy import (
    AllOf,
    AnyOf,
    CompiledPolicy,
    Condition,
    GroupIs,
    NotOf,
    Rule,
    compile_policy,
    groups_asked,
)
from worker.core.values import profile_name
from worker.settings import Loaded, complaints
from worker.settings.document import Document, KeyPath, misconfigured, read_file
from worker.settings.model import Grants
from worker.settings.sections import Name, Section, Text


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class SamplePerson(Section):
    """Somebody made up. `groups` are names, by source where there are several sources."""

    login: Text
    groups: tuple[Text, ...] | dict[Name, tuple[Text, ...]] = Field(default=())
    attributes: dict[Text, str | tuple[str, ...]] = Field(default={})
    status: Annotated[Standing, BeforeValidator(_lower)] = Field(default=Standing.ACTIVE)
    on: dt.date | None = Field(default=None, description="the day to try; today by default")


class Case(Section):
    """One sample. `expect` is everything the person is given; `includes` and `excludes` a part of it."""

    name: str = Field(default="")
    person: SamplePerson
    expect: Grants | None = Field(default=None)
    includes: Grants = Field(default={})
    excludes: Grants = Field(default={})

    @model_validator(mode="after")
    def _says_something(self) -> Case:
        if self.expect is None and not self.includes and not self.excludes:
            raise ValueError("say what is expected: `expect:` (everything), `includes:` or `excludes:` (a part)")
        if self.expect is not None and (self.includes or self.excludes):
            raise ValueError("`expect:` is everything that is given; leave out `includes:` and `excludes:`")
        return self


class Samples(Section):
    """The whole file."""

    cases: tuple[Case, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Tried:
    """One sample and what came of it. `problems` are sentences; none means that it passed."""

    name: str
    where: str
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class Results:
    """All samples, in the order of the file. `untried` are rules that fit none of them."""

    tried: tuple[Tried, ...]
    untried: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return all(one.passed for one in self.tried)

    @property
    def summary(self) -> str:
        failed = sum(not one.passed for one in self.tried)
        kept = len(self.tried) - failed
        return f"{kept} of {len(self.tried)} samples as expected" + (f", {failed} not" if failed else "")


def run_policy_tests(loaded: Loaded, path: Path, today: dt.date) -> Results:
    """Try every sample of a file. Raises Misconfigured where the file itself is wrong."""
    document = read_file(path)
    if document.faults:
        raise misconfigured(document.faults)
    try:
        samples = Samples.model_validate(document.value)
    except ValidationError as error:
        complaints.note(error, document, Samples)
        raise misconfigured(document.faults) from None
    readings = [_Reading(loaded, document, number, case) for number, case in enumerate(samples.cases)]
    if document.faults:
        raise misconfigured(document.faults)
    policy = _compiled(loaded, [one.person for one in readings])
    fitting: set[str] = set()
    tried = []
    for one in readings:
        fitting.update(policy.desired(one.person, one.case.person.on or today).matched)
        tried.append(one.tried(policy, one.case.person.on or today))
    return Results(tuple(tried), tuple(rule.name for rule in loaded.rules if rule.name not in fitting))


class _Reading:
    """One case, with its names looked up."""

    def __init__(self, loaded: Loaded, document: Document, number: int, case: Case) -> None:
        self.case = case
        self._loaded = loaded
        self._document = document
        self._path: KeyPath = ("cases", number)
        self.person = _person(case.person, self._groups())
        self._expected = None if case.expect is None else self._entitlements("expect", case.expect)
        self._included = self._entitlements("includes", case.includes)
        self._excluded = self._entitlements("excludes", case.excludes)

    def _groups(self) -> frozenset[tuple[str, str]]:
        sources = list(self._loaded.sources)
        given = self.case.person.groups
        path = (*self._path, "person", "groups")
        if isinstance(given, tuple):
            if given and len(sources) > 1:
                self._document.fault(path, f"which source's groups? Write them under {' or '.join(sources)}")
            return frozenset((sources[0], name) for name in given)
        for source in given:
            if source not in sources:
                self._document.fault((*path, source), f"there is no such source; write {' or '.join(sources)}")
        return frozenset((source, name) for source, names in given.items() for name in names)

    def _entitlements(self, key: str, grants: Grants) -> frozenset[tuple[str, Entitlement]]:
        found: set[tuple[str, Entitlement]] = set()
        for target, section in grants.items():
            path = (*self._path, key, target)
            model = self._loaded.grants.get(target)
            if model is None:
                known = " or ".join(self._loaded.targets)
                self._document.fault(path, f"there is no target {shown(target)}; write {known}")
                continue
            try:
                references = model.model_validate(section).references()
                found |= {(target, _itself(r)) for r in references}
                for one in (r for r in references if r.kind == ATTRIBUTE and (not r.scope or profile_name(r.scope))):
                    self._document.fault((*path, "attributes"), f"write the value of {one.name} that is expected")
            except ValidationError as error:
                complaints.note(error, self._document, model, path)
        return frozenset(found)

    def tried(self, policy: CompiledPolicy, today: dt.date) -> Tried:
        given = _given(policy, self.person, today)
        wanted = self._included if self._expected is None else self._expected
        unwanted = given.keys() & self._excluded if self._expected is None else given.keys() - self._expected
        problems = [
            f"should be given {_words(*one)}, but {_why_not(policy, self.person, today, one)}"
            for one in sorted(wanted - given.keys())
        ]
        problems += [
            f"is given {_words(*one)}, which is not expected: {_why(policy, self.person, today, given[one])}"
            for one in sorted(unwanted)
        ]
        where = str(self._document.place(self._path))
        return Tried(self.case.name or self.case.person.login, where, tuple(problems))


def _given(policy: CompiledPolicy, person: Person, today: dt.date) -> dict[tuple[str, Entitlement], tuple[str, ...]]:
    """Only somebody who is active is given anything, and nothing where the value of an attribute is in doubt."""
    if person.standing is not Standing.ACTIVE:
        return {}
    deserved = policy.desired(person, today)
    return {
        (target, one): rules
        for target, all_of_it in deserved.given.items()
        for one, rules in all_of_it.items()
        if not deserved.held.get(target)
    }


def _why(policy: CompiledPolicy, person: Person, today: dt.date, rules: tuple[str, ...]) -> str:
    said = {one.rule.name: one.reason for one in policy.explain(person, today)}
    return "; ".join(f"rule {shown(name)} gives it ({said[name]})" for name in rules)


def _why_not(policy: CompiledPolicy, person: Person, today: dt.date, wanted: tuple[str, Entitlement]) -> str:
    if person.standing is not Standing.ACTIVE:
        return f"nobody whose status is {person.standing} is given anything"
    target, entitlement = wanted
    deserved = policy.desired(person, today)
    for held in deserved.held.get(target, ()):
        return f"nothing is given in {target} while attribute {held.name} is held: {held.reason}"
    for other in deserved.given.get(target, {}):
        if other.kind == ATTRIBUTE and other.bare == entitlement.bare:
            return f"{_words(target, other)} is given"
    giving = [
        one
        for one in policy.explain(person, today)
        if any(n.target == target and _itself(n.reference).bare == entitlement.bare for n in one.rule.give)
    ]
    if not giving:
        return "no rule gives it to anybody"
    return "; ".join(f"rule {shown(one.rule.name)} does not fit: {one.reason}" for one in giving)


def _itself(reference: Reference) -> Entitlement:
    return Entitlement(reference.kind, reference.name, reference.scope)


def _words(target: str, entitlement: Entitlement) -> str:
    return f"{Reference(entitlement.kind, entitlement.id, entitlement.scope)} in {target}"


def _person(sample: SamplePerson, groups: frozenset[tuple[str, str]]) -> Person:
    attributes: Mapping[str, str | tuple[str, ...]] = {
        "login": sample.login,
        "email": sample.login,
        **sample.attributes,
    }
    email = attributes["email"] if isinstance(attributes["email"], str) else sample.login
    identity = Identity("sample", sample.login, sample.status, sample.status, sample.login, email, attributes)
    return Person(sample.login, sample.status, (identity,), groups)


def _compiled(loaded: Loaded, people: Iterable[Person]) -> CompiledPolicy:
    """The policy over a world that has exactly what the policy and the samples name; a name is its own id."""
    rules = [replace(rule, when=_by_name(rule.when)) for rule in loaded.rules]
    named: dict[str, set[str]] = {source: set() for source in loaded.sources}
    for source, asked in groups_asked(rules).items():
        named[source] |= {name.replace("*", "").replace("?", "_") or "_" for name in asked} | asked
    for person in people:
        for source, name in person.groups:
            named[source].add(name)
    groups = {s: [SourceGroup(s, name, name, "sample", 0) for name in sorted(names)] for s, names in named.items()}
    catalogues = {target: _catalogue(target, rules) for target in loaded.targets}
    return compile_policy(rules, groups, catalogues, values=loaded.values)


def _by_name(condition: Condition) -> Condition:
    match condition:
        case GroupIs() if not condition.is_pattern:
            return replace(condition, id=condition.name)
        case AllOf(parts):
            return AllOf(tuple(map(_by_name, parts)))
        case AnyOf(parts):
            return AnyOf(tuple(map(_by_name, parts)))
        case NotOf(part):
            return NotOf(_by_name(part))
    return condition


def _catalogue(target: str, rules: Iterable[Rule]) -> Catalogue:
    references = [named.reference for rule in rules for named in rule.give if named.target == target]
    granted = {CatalogueItem(r.kind, r.name, r.name) for r in references}
    scopes = {CatalogueItem("scope", r.scope, r.scope) for r in references if r.scope and r.kind != ATTRIBUTE}
    return Catalogue((*granted, *scopes))
