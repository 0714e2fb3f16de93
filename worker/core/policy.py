"""Which people deserve which entitlements: rules, and what they come to on a given day.

A rule gives to whoever fits it. Where it cannot be known whether a person fits (a group is gone, unreadable or not the
one it was), the rule neither gives nor takes for that person: what it names is frozen. The same goes for one
entitlement whose name no longer means what it meant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

from worker.core.conditions import (
    AllOf,
    AnyOf,
    AttributeIs,
    AttributeMatches,
    Compiled,
    Condition,
    Everyone,
    Facts,
    GroupDirectory,
    GroupIs,
    NotOf,
    Trigger,
    Verdict,
    compile_condition,
    leaves,
    reason,
    shown,
    values_of,
)
from worker.core.identity import ATTRIBUTE, Catalogue, Entitlement, Person, Reference, SourceGroup
from worker.core.meaning import Meaning, meaning_of
from worker.core.values import Award, Held, Kinds, Settlement, ValueRule, profile_name

__all__ = [
    "AllOf",
    "AnyOf",
    "AttributeIs",
    "AttributeMatches",
    "CompiledPolicy",
    "Condition",
    "Deserved",
    "Everyone",
    "GroupIs",
    "Named",
    "NotOf",
    "Rule",
    "RuleVerdict",
    "Unevaluable",
    "Verdict",
    "attributes_asked",
    "compile_policy",
    "count_matches",
    "groups_asked",
]

SHAPES_KEPT = 20_000  # people alike in everything that the rules ask about share one answer


class Named(NamedTuple):
    """An entitlement as the policy names it, and the place (file:line) where it does."""

    target: str
    reference: Reference
    where: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """`until` is the last day on which the rule gives; `where` is its file:line."""

    name: str
    when: Condition
    give: tuple[Named, ...]
    until: date | None = None
    owner: str = ""
    why: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class Unevaluable:
    """A rule, or one entitlement that it names (then `target` is set), which cannot be evaluated. `also` are other
    rules that name the same entitlement."""

    rule: str
    reason: str
    fix: str
    where: str = ""
    target: str = ""
    reference: Reference | None = None
    also: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        place = f"{self.where}: " if self.where else ""
        also = f" (so do {', '.join(map(shown, self.also))})" if self.also else ""
        if self.target:
            return f"{place}rule {shown(self.rule)}{also} names what it cannot give: {self.reason}; {self.fix}"
        return f"{place}rule {shown(self.rule)} is suspended: {self.reason}; {self.fix}"


Entitlements = Mapping[Entitlement, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Deserved:
    """What one person deserves, by target. `given` names the rules that give; `frozen` the rule that may or may not
    (neither granted nor revoked); `expired` the rule that gave until a day that is over. No entitlement is in two.
    An attribute is `given` with its value, and bare elsewhere; `held` are those whose value is in doubt."""

    given: Mapping[str, Entitlements]
    frozen: Mapping[str, Mapping[Entitlement, str]]
    expired: Mapping[str, Mapping[Entitlement, tuple[str, date]]]
    matched: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    held: Mapping[str, tuple[Held, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What one rule says about one person, in words. A rule past its `until` is a no, with `ended` set."""

    rule: Rule
    verdict: Verdict
    reason: str
    ended: bool = False


_Held = tuple[tuple[str, Entitlement], ...]  # by target


@dataclass(frozen=True, slots=True)
class _Resolved:
    """A rule with its names looked up: what it gives, what its names used to mean, which is not taken, and what it
    says about attributes."""

    rule: Rule
    condition: Compiled
    gives: _Held
    keeps: _Held
    values: tuple[Award, ...] = ()

    def awards(self) -> dict[str, dict[Entitlement, tuple[str, ...]]]:
        found: dict[str, dict[Entitlement, tuple[str, ...]]] = {}
        for target, entitlement in self.gives:
            found.setdefault(target, {})[entitlement] = (self.rule.name,)
        return found


class _Sum:
    """What a set of verdicts comes to; where rules give attributes, by what the person has for them."""

    def __init__(self, plain: Deserved, values: Settlement | None) -> None:
        self._plain, self._values = plain, values

    def of(self, person: Person) -> Deserved:
        """Of values nothing is kept: there are nearly as many combinations as people, and to keep them costs more."""
        if self._values is None:
            return self._plain
        one, verdict = self._plain, self._values.of(person)
        given = {**one.given}
        for target, values in verdict.given.items():
            given[target] = {**given[target], **values} if target in given else values
        return Deserved(given, one.frozen, one.expired, one.matched, one.unsure, verdict.held)


class CompiledPolicy:
    """The rules, looked up against the groups and catalogues of one moment. Ask it about one person at a time.

    `suspended` are the findings; `governed` what the policy names, by target, under the name as written; `bindings`
    the (source, group name) -> group id to remember. `evaluations` counts the conditions that had to be worked out.
    """

    def __init__(
        self,
        resolved: Sequence[_Resolved],
        directory: GroupDirectory,
        suspended: tuple[Unevaluable, ...],
        governed: Mapping[str, Mapping[Entitlement, str]],
        bindings: Mapping[tuple[str, str], str],
        kinds: Kinds,
    ) -> None:
        self._kinds = kinds
        self._settlements: dict[object, Settlement] = {}
        self.suspended = suspended
        self.governed = governed
        self.bindings = bindings
        self.evaluations = 0
        self._resolved = resolved
        self._directory = directory
        self._awards = [one.awards() for one in resolved]
        self._always = [n for n, r in enumerate(resolved) if r.condition.triggers is None]
        self._certain: dict[Trigger, list[int]] = {}
        self._possible: dict[Trigger, list[int]] = {}
        for number, one in enumerate(resolved):
            index = self._certain if one.condition.decided else self._possible
            for trigger in one.condition.triggers or ():
                index.setdefault(trigger, []).append(number)
        asked = [leaf for one in resolved for leaf in leaves(one.rule.when)]
        self._attributes = tuple(sorted({leaf.name for leaf in asked if not isinstance(leaf, GroupIs)}))
        self._groups = frozenset(
            key for leaf in asked if isinstance(leaf, GroupIs) for key in directory.resolve(leaf).keys
        )
        self._day: date | None = None
        self._by_shape: dict[object, _Sum] = {}
        self._by_verdicts: dict[object, _Sum] = {}

    def desired(self, person: Person, today: date) -> Deserved:
        """What the rules come to for a person; the person's standing is the caller's to weigh. `today` is the day in
        the policy's time zone."""
        if today != self._day or len(self._by_shape) > SHAPES_KEPT:
            self._by_shape, self._by_verdicts, self._day = {}, {}, today
        groups = person.groups & self._groups
        shape = (groups, person.attributes(self._attributes))
        found = self._by_shape.get(shape)
        if found is None:
            found = self._by_shape[shape] = self._work_out(self._facts(person, groups), today)
        return found.of(person)

    def explain(self, person: Person, today: date) -> tuple[RuleVerdict, ...]:
        """Every rule's verdict on a person, in the order of the policy, with the reason in words."""
        facts = self._facts(person, person.groups & self._groups)
        return tuple(self._verdict(one.rule, facts, today) for one in self._resolved)

    def _facts(self, person: Person, groups: frozenset[tuple[str, str]]) -> Facts:
        return Facts(groups, {name: values_of(person, name) for name in self._attributes})

    def _verdict(self, rule: Rule, facts: Facts, today: date) -> RuleVerdict:
        verdict, words = reason(rule.when, facts, self._directory)
        if not _over(rule, today):
            return RuleVerdict(rule, verdict, words)
        return RuleVerdict(rule, False, f"ended on {rule.until}; {words}", ended=verdict is True)

    def _work_out(self, facts: Facts, today: date) -> _Sum:
        """Asks only the rules that are neither a certain yes nor a certain no."""
        yes: set[int] = set()
        possible = set(self._always)
        for trigger in self._triggers(facts):
            yes.update(self._certain.get(trigger, ()))
            possible.update(self._possible.get(trigger, ()))
        self.evaluations += len(possible)
        unknown = []
        for number in possible:
            verdict = self._resolved[number].condition.test(facts)
            if verdict:
                yes.add(number)
            elif verdict is None:
                unknown.append(number)
        verdicts = (tuple(sorted(yes)), tuple(sorted(unknown)))
        found = self._by_verdicts.get(verdicts)
        if found is None:
            found = self._by_verdicts[verdicts] = self._add_up(*verdicts, today)
        return found

    def _triggers(self, facts: Facts) -> Iterable[Trigger]:
        yield from facts.groups
        for name, values in facts.values.items():
            for value in values:
                yield (name, value, "=")

    def _add_up(self, yes: tuple[int, ...], unknown: tuple[int, ...], today: date) -> _Sum:
        matched, unsure = [self._resolved[n] for n in yes], [self._resolved[n] for n in unknown]
        given = _together(self._awards[n] for n in yes if not _over(self._resolved[n].rule, today))
        frozen: dict[str, dict[Entitlement, str]] = {}
        doubtful = [(one, one.keeps) for one in matched] + [(one, one.gives + one.keeps) for one in unsure]
        for one, held in doubtful:
            for target, entitlement in held if not _over(one.rule, today) else ():
                if entitlement not in given.get(target, {}):
                    frozen.setdefault(target, {}).setdefault(entitlement, one.rule.name)
        over = [one for one in matched if _over(one.rule, today)]
        values = self._settlement(
            tuple([n for n in yes if self._resolved[n].values and not _over(self._resolved[n].rule, today)]),
            tuple([n for n in unknown if self._resolved[n].values and not _over(self._resolved[n].rule, today)]),
        )
        named = {(award.target, award.attribute) for award in values.awards} if values else set()
        expired = _expired(over, given, frozen)
        for one in over:
            for award in one.values:
                if award.attribute and one.rule.until and (award.target, award.attribute) not in named:
                    expired.setdefault(award.target, {})[award.attribute] = (one.rule.name, one.rule.until)
        plain = Deserved(
            MappingProxyType(given),
            MappingProxyType(frozen),
            MappingProxyType(expired),
            tuple([one.rule.name for one in matched]),
            tuple([one.rule.name for one in unsure]),
        )
        return _Sum(plain, values)

    def _settlement(self, sure: tuple[int, ...], unsure: tuple[int, ...]) -> Settlement | None:
        """Shared by all whom the same rules give attributes, whatever else they get."""
        found = self._settlements.get((sure, unsure))
        if found is None and (sure or unsure):
            awards = [award for n in sure for award in self._resolved[n].values]
            awards += [replace(award, sure=False) for n in unsure for award in self._resolved[n].values]
            found = self._settlements[sure, unsure] = Settlement(awards, self._kinds)
        return found


def _together(awards: Iterable[Mapping[str, dict[Entitlement, tuple[str, ...]]]]) -> dict[str, Entitlements]:
    """Joins whole mappings, which is many times faster than entry by entry; where two rules give the same, both are
    named."""
    given: dict[str, dict[Entitlement, tuple[str, ...]]] = {}
    for award in awards:
        for target, held in award.items():
            known = given.get(target)
            if known is None:
                given[target] = held.copy()
                continue
            before = len(known)
            joined = known | held
            if len(joined) < before + len(held):
                joined.update({e: known[e] + rules for e, rules in held.items() if e in known})
            given[target] = joined
    return dict(given)


def _over(rule: Rule, today: date) -> bool:
    return rule.until is not None and today > rule.until


def _expired(
    over: Iterable[_Resolved], *still: Mapping[str, Mapping[Entitlement, object]]
) -> dict[str, dict[Entitlement, tuple[str, date]]]:
    """What rules that are over gave and nothing else gives or freezes, with the rule that gave it last."""
    found: dict[str, dict[Entitlement, tuple[str, date]]] = {}
    for one in sorted(over, key=lambda m: m.rule.until or date.min):
        for target, entitlement in one.gives + one.keeps:
            if one.rule.until and not any(entitlement in held.get(target, {}) for held in still):
                found.setdefault(target, {})[entitlement] = (one.rule.name, one.rule.until)
    return found


def compile_policy(
    rules: Iterable[Rule],
    groups: Mapping[str, Sequence[SourceGroup]],
    catalogues: Mapping[str, Catalogue],
    bindings: Mapping[tuple[str, str], str] | None = None,
    governed: Mapping[str, Mapping[str, Entitlement]] | None = None,
    values: Mapping[str, Mapping[str, ValueRule]] | None = None,
) -> CompiledPolicy:
    """Look up every name that the rules use.

    `groups` has a key for each source that has been read whole. Only the targets in `catalogues` are looked at, so a
    run over one target passes one. `bindings` are group ids by (source, name as written), `governed` entitlements by
    target and name as written (the text of the Reference): what those names meant when first used. `values` say by
    target and name which values an attribute may be given.
    """
    directory = GroupDirectory(groups, bindings)
    meanings = _Meanings(catalogues, governed or {})
    resolved: list[_Resolved] = []
    suspended: list[Unevaluable] = []
    for rule in rules:
        condition = compile_condition(rule.when, directory)
        suspended += [Unevaluable(rule.name, p.problem, p.fix, rule.where) for p in condition.problems]
        resolved.append(_Resolved(rule, condition, *meanings.of(rule)))
    return CompiledPolicy(
        resolved,
        directory,
        (*suspended, *meanings.findings()),
        {target: MappingProxyType(names) for target, names in meanings.governed.items()},
        _bound(resolved, directory),
        _kinds(values or {}, catalogues),
    )


def _kinds(values: Mapping[str, Mapping[str, ValueRule]], catalogues: Mapping[str, Catalogue]) -> Kinds:
    found: dict[tuple[str, str], tuple[ValueRule, str]] = {}
    for target, declared in values.items():
        for name, rule in declared.items():
            items = catalogues[target].named(ATTRIBUTE, name) if target in catalogues else ()
            definition = items[0].definition if items else None
            found[target, name] = (rule, definition.type if definition else "")
    return found


def _bound(resolved: Sequence[_Resolved], directory: GroupDirectory) -> Mapping[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for one in resolved:
        for leaf in leaves(one.rule.when):
            if isinstance(leaf, GroupIs) and not leaf.is_pattern:
                for _, id in directory.resolve(leaf).keys:
                    found[leaf.source, leaf.name] = id
    return MappingProxyType(found)


class _Meanings:
    """Looks up entitlement names in the catalogues, once each, and collects what is wrong with them."""

    def __init__(self, catalogues: Mapping[str, Catalogue], bound: Mapping[str, Mapping[str, Entitlement]]) -> None:
        self.governed: dict[str, dict[Entitlement, str]] = {target: {} for target in catalogues}
        self._catalogues = catalogues
        self._bound = bound
        self._known: dict[tuple[str, Reference], Meaning] = {}
        self._faults: dict[tuple[str, Reference], list[tuple[Rule, str]]] = {}

    def of(self, rule: Rule) -> tuple[_Held, _Held, tuple[Award, ...]]:
        """What a rule gives; what it keeps as a name of it no longer means that; and what it says of attributes."""
        gives: dict[tuple[str, Entitlement], None] = {}
        keeps: dict[tuple[str, Entitlement], None] = {}
        values: list[Award] = []
        for target, reference, where in rule.give:
            if target not in self._catalogues:
                continue
            bare = reference.bare
            meaning = self._look_up(target, bare)
            if meaning.problem:
                self._faults.setdefault((target, bare), []).append((rule, where or rule.where))
            if meaning.entitlement:
                self.governed[target].setdefault(meaning.entitlement, str(bare))
            if meaning.former:
                keeps[target, meaning.former] = None
            if reference.kind == ATTRIBUTE:
                meant = meaning.entitlement or meaning.former
                values.append(Award(target, reference.name, meant, reference.scope, rule.name, meaning.problem))
            elif meaning.entitlement:
                gives[target, meaning.entitlement] = None
        return tuple(gives), tuple(keeps), tuple(values)

    def findings(self) -> Iterable[Unevaluable]:
        for (target, reference), places in self._faults.items():
            meaning, (rule, where) = self._known[target, reference], places[0]
            also = tuple(dict.fromkeys(other.name for other, _ in places if other.name != rule.name))
            yield Unevaluable(rule.name, meaning.problem, meaning.fix, where, target, reference, also)

    def _look_up(self, target: str, reference: Reference) -> Meaning:
        known = self._known.get((target, reference))
        if known is None:
            bound = self._bound.get(target, {}).get(str(reference))
            known = self._known[target, reference] = meaning_of(target, reference, self._catalogues[target], bound)
        return known


def groups_asked(rules: Iterable[Rule]) -> Mapping[str, frozenset[str]]:
    """Names and patterns of the groups that the rules ask about, by source: what a pull must bring."""
    found: dict[str, set[str]] = {}
    for rule in rules:
        for leaf in leaves(rule.when):
            if isinstance(leaf, GroupIs):
                found.setdefault(leaf.source, set()).add(leaf.name)
    return {source: frozenset(names) for source, names in found.items()}


def attributes_asked(rules: Iterable[Rule]) -> frozenset[str]:
    """The profile attributes that the rules ask about, or take values from: what a pull must bring."""
    rules = list(rules)
    asked = {leaf.name for rule in rules for leaf in leaves(rule.when) if not isinstance(leaf, GroupIs)}
    taken = {profile_name(named.reference.scope) for rule in rules for named in rule.give}
    return frozenset(asked | taken - {""})


def count_matches(policy: CompiledPolicy, people: Iterable[Person], today: date) -> Counter[str]:
    """How many people fit each rule; a rule that is not in it fits nobody."""
    return Counter(name for person in people for name in policy.desired(person, today).matched)
