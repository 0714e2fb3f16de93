"""What a rule asks of a person, answered yes, no or unknown.

Unknown is an answer of its own (Kleene's three-valued logic): a group that cannot be read makes `any` unknown unless
another part is yes, and `all` unknown unless another part is no.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from worker.core.identity import Person, SourceGroup

Verdict = bool | None  # None: unknown
GroupKey = tuple[str, str]  # source, group id
VALUES_KEPT = 2_000  # by each pattern, with its answer: titles and departments recur


@dataclass(frozen=True, slots=True)
class GroupIs:
    """Member of a group of one source. Without `id`, a name with "*" or "?" is a pattern over all groups there."""

    name: str
    source: str
    id: str = ""

    @property
    def is_pattern(self) -> bool:
        return not self.id and is_pattern(self.name)

    def describe(self) -> str:
        return f"in a group like {shown(self.name)}" if self.is_pattern else f"in the group {shown(self.name)}"


@dataclass(frozen=True, slots=True)
class AttributeIs:
    """The attribute has one of the values, letter for letter; a person without the attribute is a no."""

    name: str
    values: tuple[str, ...]

    def describe(self) -> str:
        return f"with {self.name} {' or '.join(map(shown, self.values))}"


@dataclass(frozen=True, slots=True)
class AttributeMatches:
    """The attribute fits one of the patterns ("*" any text, "?" one character)."""

    name: str
    patterns: tuple[str, ...]

    def describe(self) -> str:
        return f"with {self.name} like {' or '.join(map(shown, self.patterns))}"


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Condition, ...]

    def describe(self) -> str:
        return " and ".join(_bracketed(part, AnyOf) for part in self.parts)


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Condition, ...]

    def describe(self) -> str:
        return " or ".join(dict.fromkeys(_bracketed(part, AllOf) for part in self.parts))


@dataclass(frozen=True, slots=True)
class NotOf:
    part: Condition

    def describe(self) -> str:
        return f"not {_bracketed(self.part, (AllOf, AnyOf))}"


@dataclass(frozen=True, slots=True)
class Everyone:
    def describe(self) -> str:
        return "everyone"


Condition = GroupIs | AttributeIs | AttributeMatches | AllOf | AnyOf | NotOf | Everyone


def _bracketed(part: Condition, kinds: type | tuple[type, ...]) -> str:
    return f"({part.describe()})" if isinstance(part, kinds) else part.describe()


def shown(text: str) -> str:
    """A name from elsewhere, quoted, with everything escaped that could lead a reader astray."""
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text) + '"'


def normal(text: str) -> str:
    """How names and values are compared: letter for letter after Unicode's NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


@lru_cache(VALUES_KEPT)
def pattern(text: str) -> re.Pattern[str]:
    """Only "*" and "?" are special: a group may well be called "[EU] Sales"."""
    special = {"*": ".*", "?": "."}
    return re.compile("".join(special.get(c) or re.escape(c) for c in normal(text)), re.DOTALL)


def similar(name: str, names: Iterable[str]) -> str:
    """A hint that ends a sentence: what exists under a name like this one ("" when nothing does)."""
    folded = {known.casefold(): known for known in sorted(names)}
    close = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(shown(folded[c]) for c in close)}?" if close else ""


def leaves(condition: Condition) -> Iterable[GroupIs | AttributeIs | AttributeMatches]:
    """Every group and attribute that a condition asks about."""
    match condition:
        case GroupIs() | AttributeIs() | AttributeMatches():
            yield condition
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from leaves(part)
        case NotOf(part):
            yield from leaves(part)


@dataclass(frozen=True, slots=True)
class Membership:
    """What a group condition means today: the groups that make it true, and why it is unknown to everybody else."""

    keys: frozenset[GroupKey] = frozenset()
    problem: str = ""
    fix: str = ""


class GroupDirectory:
    """The groups of every source that has been read, and the ids that policy names were bound to at first use."""

    def __init__(
        self, groups: Mapping[str, Sequence[SourceGroup]], bindings: Mapping[tuple[str, str], str] | None = None
    ) -> None:
        self._groups = groups
        self._bindings = bindings or {}
        self._by_id = {(source, g.id): g for source, all_of_it in groups.items() for g in all_of_it}
        self._by_name: dict[tuple[str, str], list[SourceGroup]] = {}
        for source, all_of_it in groups.items():
            for group in all_of_it:
                self._by_name.setdefault((source, normal(group.name)), []).append(group)

    def resolve(self, condition: GroupIs) -> Membership:
        if condition.source not in self._groups:
            problem = f"{condition.source} has not been read yet"
            return Membership(problem=problem, fix=f"look for what stopped the last read of {condition.source}")
        if condition.is_pattern:
            return self._matching(condition)
        if condition.id:
            return self._with_id(condition)
        return self._named(condition)

    def _matching(self, condition: GroupIs) -> Membership:
        wanted = pattern(condition.name)
        found = [g for g in self._groups[condition.source] if wanted.fullmatch(normal(g.name))]
        if not found:
            problem = f"no group of {condition.source} has a name like {shown(condition.name)}"
            return Membership(problem=problem, fix="correct the pattern, or remove the rule")
        readable = frozenset((condition.source, g.id) for g in found if not g.problem)
        unreadable = [g for g in found if g.problem]
        if not unreadable:
            return Membership(readable)
        return Membership(readable, *_unreadable(unreadable[0]))

    def _with_id(self, condition: GroupIs) -> Membership:
        group = self._by_id.get((condition.source, condition.id))
        if group is None:
            problem = f"{condition.source} has no group with the id {shown(condition.id)} ({shown(condition.name)})"
            return Membership(problem=problem, fix="correct `id`, or leave it out to find the group by its name")
        if normal(group.name) != normal(condition.name):
            return _renamed(condition, group)
        return _readable(group)

    def _named(self, condition: GroupIs) -> Membership:
        found = self._by_name.get((condition.source, normal(condition.name)), [])
        bound = self._bindings.get((condition.source, condition.name), "")
        former = self._by_id.get((condition.source, bound))
        if len(found) > 1:
            listed = ", ".join(f"{g.id} ({g.type}, {g.members} members)" for g in sorted(found, key=lambda g: g.id))
            problem = f"{condition.source} has {len(found)} groups named {shown(condition.name)}: {listed}"
            return Membership(problem=problem, fix="say which one by adding its `id` next to `group`")
        if not found and former is not None:
            return _renamed(condition, former)
        if not found:
            problem = f"{condition.source} has no group named {shown(condition.name)}"
            known = (g.name for g in self._groups[condition.source])
            return Membership(problem=problem, fix=similar(condition.name, known) or "correct the name")
        if bound and bound != found[0].id:
            return _another(condition, found[0], bound, former)
        return _readable(found[0])


def _readable(group: SourceGroup) -> Membership:
    if group.problem:
        return Membership(frozenset(), *_unreadable(group))
    return Membership(frozenset({(group.source, group.id)}))


def _unreadable(group: SourceGroup) -> tuple[str, str]:
    problem = f"the members of {shown(group.name)} could not be read: {group.problem}"
    return problem, f"let our credentials for {group.source} read this group"


def _renamed(condition: GroupIs, group: SourceGroup) -> Membership:
    problem = f"the group {shown(condition.name)} of {condition.source} is now called {shown(group.name)}"
    return Membership(problem=problem, fix=f"write group: {shown(group.name)} if the rule still means it")


def _another(condition: GroupIs, group: SourceGroup, bound: str, former: SourceGroup | None) -> Membership:
    fate = f"is now called {shown(former.name)}" if former else "is gone"
    problem = (
        f"{shown(condition.name)} of {condition.source} is another group than before:"
        f" the one with id {bound} {fate}, and {group.id} bears the name"
    )
    return Membership(problem=problem, fix=f"add `id: {group.id}` next to `group` if the rule means the new one")


Trigger = tuple[str, ...]  # a group key, or (attribute, value, "=")


@dataclass(frozen=True, slots=True)
class Facts:
    """All that conditions ask of a person. `values` are as they are compared; () for a person without the attribute."""

    groups: frozenset[GroupKey]
    values: Mapping[str, tuple[str, ...]]


def values_of(person: Person, attribute: str) -> tuple[str, ...]:
    value = person.attribute(attribute)
    if value is None:
        return ()
    return (normal(value),) if isinstance(value, str) else tuple(map(normal, value))


Test = Callable[[Facts], Verdict]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A condition ready to be asked. Whoever has none of the `triggers` is a certain no; None: everybody must be
    asked. Where it is `decided`, whoever has one is a certain yes. `problems` are those of its groups."""

    test: Test
    triggers: frozenset[Trigger] | None
    problems: tuple[Membership, ...] = ()
    decided: bool = False


def compile_condition(condition: Condition, directory: GroupDirectory) -> Compiled:
    match condition:
        case GroupIs():
            return _group_test(directory.resolve(condition))
        case AttributeIs():
            return _equality_test(condition)
        case AttributeMatches():
            return _pattern_test(condition)
        case AllOf(parts):
            return _all(tuple(compile_condition(part, directory) for part in parts))
        case AnyOf(parts):
            return _any(tuple(compile_condition(part, directory) for part in parts))
        case NotOf(part):
            inner = compile_condition(part, directory)
            return Compiled(_opposite(inner.test), None, inner.problems)
        case Everyone():
            return Compiled(lambda _: True, None)


def _group_test(membership: Membership) -> Compiled:
    keys, otherwise = membership.keys, None if membership.problem else False

    def test(facts: Facts) -> Verdict:
        return otherwise if keys.isdisjoint(facts.groups) else True

    if membership.problem:
        return Compiled(test, None, (membership,))
    return Compiled(test, frozenset(keys), decided=True)


def _equality_test(condition: AttributeIs) -> Compiled:
    name, wanted = condition.name, frozenset(map(normal, condition.values))

    def test(facts: Facts) -> Verdict:
        return not wanted.isdisjoint(facts.values[name])

    return Compiled(test, frozenset((name, value, "=") for value in wanted), decided=True)


def _pattern_test(condition: AttributeMatches) -> Compiled:
    name, wanted = condition.name, tuple(pattern(p).fullmatch for p in condition.patterns)

    @lru_cache(VALUES_KEPT)
    def fit(values: tuple[str, ...]) -> bool:
        return any(fits(value) for value in values for fits in wanted)

    return Compiled(lambda facts: fit(facts.values[name]), None)


def _all(parts: tuple[Compiled, ...]) -> Compiled:
    narrow = [part.triggers for part in parts if part.triggers is not None]
    triggers = min(narrow, key=len) if narrow else None
    return Compiled(_kleene(parts, False), triggers, _problems(parts))


def _any(parts: tuple[Compiled, ...]) -> Compiled:
    triggers: frozenset[Trigger] | None = frozenset()
    for part in parts:
        triggers = None if triggers is None or part.triggers is None else triggers | part.triggers
    return Compiled(_kleene(parts, True), triggers, _problems(parts), all(part.decided for part in parts))


def _kleene(parts: tuple[Compiled, ...], decisive: bool) -> Test:
    """`any` (decisive: yes) or `all` (decisive: no): one decisive part settles it, else one unknown part does."""
    tests = tuple(part.test for part in parts)

    def test(facts: Facts) -> Verdict:
        answer: Verdict = not decisive
        for one in tests:
            verdict = one(facts)
            if verdict is decisive:
                return decisive
            if verdict is None:
                answer = None
        return answer

    return test


def _problems(parts: tuple[Compiled, ...]) -> tuple[Membership, ...]:
    return tuple(problem for part in parts for problem in part.problems)


def _opposite(test: Test) -> Test:
    def opposite(facts: Facts) -> Verdict:
        verdict = test(facts)
        return None if verdict is None else not verdict

    return opposite


def reason(condition: Condition, facts: Facts, directory: GroupDirectory) -> tuple[Verdict, str]:
    """The verdict for one person and the words for it: what is so, what is not, what cannot be known."""
    verdict = compile_condition(condition, directory).test(facts)
    match condition:
        case AllOf(parts) | AnyOf(parts):
            told = [reason(part, facts, directory) for part in parts]
            decisive = [text for answer, text in told if answer is verdict]
            between = "; " if verdict is isinstance(condition, AllOf) else ", "
            return verdict, between.join(dict.fromkeys(decisive))  # a group that several sources have is told once
        case NotOf(part):
            return verdict, reason(part, facts, directory)[1]
        case Everyone():
            return verdict, "the rule is for everyone"
        case GroupIs():
            if verdict is None:
                return verdict, directory.resolve(condition).problem
            return verdict, f"is {'' if verdict else 'not '}{condition.describe()}"
        case AttributeIs(name) | AttributeMatches(name):
            held = facts.values[name]
            return verdict, f"{name} is {' and '.join(map(shown, held))}" if held else f"has no {name}"
