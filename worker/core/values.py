"""Which value of an attribute a person deserves, or why that cannot be said and nothing is changed.

An attribute filters rows: no value, or a wrong one, may show everything. So a value is taken as it is or not at all,
two rules never compete silently, and whatever is in doubt is held: neither given nor taken.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from worker.core.conditions import VALUES_KEPT, normal, shown
from worker.core.identity import ATTRIBUTE, Entitlement, Person

ANSWERS_KEPT = 20_000  # of one set of awards, by the values that they take
PROFILE = "$profile."  # what follows is the name of an attribute of the person

_FORBIDDEN = {
    ",": "a comma", "%": "%", "_": "_", "^": "^", '"': "a quote", "'": "a quote", "`": "a quote", "\\": "a backslash",
    ";": ";", "{": "a brace", "}": "a brace", "--": "--", "/*": "/*",
}  # fmt: skip
_WORDS = frozenset({"NULL", "EMPTY", "NOT"})
_TYPES: Mapping[str, str] = {
    "string": r".+",
    "advanced_filter_string": r".+",
    "number": r"-?[0-9]+(\.[0-9]+)?",
    "advanced_filter_number": r"-?[0-9]+(\.[0-9]+)?",
    "yesno": r"yes|no",
    "zipcode": r"[0-9]{5}",
    "datetime": r"[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}(:[0-9]{2})?)?",
}


def profile_name(template: str) -> str:
    """The person's attribute that a value is to be taken from; "" where it is a value itself."""
    return template.removeprefix(PROFILE) if template.startswith(PROFILE) else ""


def unfit(value: str) -> str:
    """Why no filter can be trusted with this value, even where somebody wrote it on purpose ("" where one can)."""
    if not value.strip():
        return "it is empty"
    if value != value.strip():
        return "it begins or ends with a blank"
    hidden = next((c for c in value if not c.isprintable()), "")
    return f"it holds the character U+{ord(hidden):04X}, which nobody sees" if hidden else ""


def meant_otherwise(value: str) -> str:
    """Why a filter would read more than a plain value in this text ("" where it would not)."""
    found = next((said for text, said in _FORBIDDEN.items() if text in value), "")
    if found:
        return f"it holds {found}, which a filter does not take for text"
    if value.startswith("-") or value.endswith("-"):
        return "it begins or ends with -, which a filter takes for NOT"
    word = next((word for word in re.split(r"\W+", value) if word.upper() in _WORDS), "")
    return f"it holds the word {word}, which a filter does not take for text" if word else ""


@dataclass(frozen=True, slots=True)
class ValueRule:
    """What values an attribute may be given. `pattern` has to fit the whole value; `otherwise` is the value of people
    without one, None to hold them."""

    allow: tuple[str, ...] = ()
    pattern: str = ""
    otherwise: str | None = None

    def admitted(self, value: str) -> tuple[str, str]:
        """The value as it is to be sent, and "": or "", and why it is not."""
        problem = unfit(value)
        if problem:
            return "", problem
        written = next((one for one in self.allow if normal(one) == normal(value)), "")
        if written:
            return written, ""
        if not self.pattern:
            return "", f"`allow` does not have it ({_listed(self.allow)})"
        if not _fits(self.pattern, value):
            also = "neither in `allow` nor does it fit" if self.allow else "it does not fit"
            return "", f"{also} the pattern {shown(self.pattern)}"
        problem = meant_otherwise(value)
        return ("", problem) if problem else (value, "")


@lru_cache(VALUES_KEPT)
def _fits(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value) is not None


def _listed(values: Sequence[str]) -> str:
    some = ", ".join(map(shown, values[:5]))
    return f"{some} and {len(values) - 5} more" if len(values) > 5 else some


def mistyped(type: str, value: str, *, written: bool = False) -> str:
    """Why an attribute of this type ("": unknown to us) cannot have the value ("" where it can). `written`: somebody
    wrote it into `allow`, where a filter expression is meant as one."""
    if not type or (written and type.startswith("advanced_filter")):
        return ""
    if type not in _TYPES:
        return f"Trueup does not know the type {shown(type)} of this attribute"
    return "" if re.fullmatch(_TYPES[type], value) else f"it is no {type.removeprefix('advanced_filter_')}"


@dataclass(frozen=True, slots=True)
class Award:
    """What one rule says about one attribute. `template` is a value or "$profile.<name>"; `problem` is why the
    attribute itself cannot be given; `sure` is False where it is unknown whether the rule gives to the person."""

    target: str
    name: str
    attribute: Entitlement | None
    template: str
    rule: str
    problem: str = ""
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Held:
    """An attribute that is neither given to a person nor taken. `general`: the reason is not the person's, and is a
    finding of its own."""

    name: str
    attribute: Entitlement | None
    reason: str
    rules: tuple[str, ...]
    general: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules come to about attributes, by target: values with the rules that give them, and what is held."""

    given: Mapping[str, Mapping[Entitlement, tuple[str, ...]]]
    held: Mapping[str, tuple[Held, ...]]


Kinds = Mapping[tuple[str, str], tuple[ValueRule, str]]  # by target and name: what is declared, and the type it has


class Settlement:
    """What some awards come to, worked out once for all people who have the same to take values from. `asked` are the
    attributes of a person that it depends on."""

    def __init__(self, awards: Sequence[Award], kinds: Kinds) -> None:
        self.awards, self._kinds = awards, kinds
        self.asked = tuple(sorted({name for award in awards if (name := profile_name(award.template))}))
        self._known: dict[object, Verdict] = {}

    def of(self, person: Person) -> Verdict:
        values = person.attributes(self.asked)
        found = self._known.get(values)
        if found is None:
            if len(self._known) > ANSWERS_KEPT:
                self._known.clear()
            found = self._known[values] = settle(self.awards, self._kinds, person)
        return found


def settle(awards: Iterable[Award], kinds: Kinds, person: Person) -> Verdict:
    """Never two values, and no guess: what is not certain is held."""
    of_attribute: dict[tuple[str, str], list[Award]] = {}
    for award in awards:
        of_attribute.setdefault((award.target, award.name), []).append(award)
    given: dict[str, dict[Entitlement, tuple[str, ...]]] = {}
    held: dict[str, list[Held]] = {}
    for (target, name), all_of_it in of_attribute.items():
        found = _settled(name, all_of_it, kinds, person)
        if isinstance(found, Held):
            held.setdefault(target, []).append(found)
        else:
            given.setdefault(target, {})[found] = tuple(dict.fromkeys(a.rule for a in all_of_it if a.sure))
    return Verdict(given, {target: tuple(some) for target, some in held.items()})


def _settled(name: str, awards: Sequence[Award], kinds: Kinds, person: Person) -> Entitlement | Held:
    rules = tuple(dict.fromkeys(award.rule for award in awards))
    attribute = next((award.attribute for award in awards if award.attribute), None)
    problem = next((award.problem for award in awards if award.problem), "")
    if problem or attribute is None:
        return Held(name, attribute, problem, rules, general=True)
    unsure = tuple(dict.fromkeys(award.rule for award in awards if not award.sure))
    values: dict[str, str] = {}
    for award in awards:
        value, why_not = _value(award, kinds, person)
        if why_not and award.sure:
            return Held(name, attribute, why_not, (award.rule,))
        values.setdefault(value, award.rule)
    if unsure and (len(values) > 1 or len(unsure) == len(rules)):
        return Held(name, attribute, f"rule {shown(unsure[0])} cannot be evaluated", unsure, general=True)
    if len(values) > 1:
        said = ", ".join(f"{shown(rule)} gives {shown(value)}" for value, rule in values.items())
        return Held(name, attribute, f"its rules give different values: {said}", tuple(values.values()))
    (value,) = values
    return Entitlement(ATTRIBUTE, attribute.id, value)


def _value(award: Award, kinds: Kinds, person: Person) -> tuple[str, str]:
    """The value that a rule means for a person, and "": or "", and why there is none."""
    rule, type = kinds.get((award.target, award.name), (None, ""))
    if rule is None:
        return "", f"it is not declared for {award.target}"
    name = profile_name(award.template)
    wanted = award.template
    if name:
        said = person.attribute(name)
        if isinstance(said, tuple) and len(said) > 1:
            return "", f"the person has {len(said)} values of {name}, and an attribute has one"
        text = said if isinstance(said, str) else "".join(said or ())
        if not text.strip():
            if rule.otherwise is None:
                return "", f"the person has no {name}"
            text = rule.otherwise
        wanted = text
    value, why_not = rule.admitted(unicodedata.normalize("NFC", wanted))
    where = f"the person's {name}, {shown(wanted)}" if name else shown(wanted)
    why_not = why_not or mistyped(type, value, written=value in rule.allow)
    return ("", f"{where} cannot be its value: {why_not}") if why_not else (value, "")
