"""Okta's `filter` and `search` expressions: comparisons joined by `and` and `or`, and nothing negative."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache

Getter = Callable[[str], str | None]
Predicate = Callable[[Getter], bool]

EQUAL = frozenset({"eq"})
ORDERED = frozenset({"eq", "gt", "ge", "lt", "le"})
USER_FILTER: Mapping[str, Collection[str]] = {
    "status": EQUAL,
    "lastUpdated": ORDERED,
    "id": EQUAL,
    "profile.login": EQUAL,
    "profile.email": EQUAL,
    "profile.firstName": EQUAL,
    "profile.lastName": EQUAL,
}
GROUP_FILTER: Mapping[str, Collection[str]] = {
    "id": EQUAL,
    "type": EQUAL,
    "lastUpdated": ORDERED,
    "lastMembershipUpdated": ORDERED,
}

_COMPARE: Mapping[str, Callable[[str, str], bool]] = {
    "eq": operator.eq,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_TOKEN = re.compile(r'\s*(?:([()])|"((?:[^"\\]|\\.)*)"|([A-Za-z][A-Za-z0-9_.]*))')


class BadFilter(ValueError):
    """The expression is not one that Okta evaluates."""


@lru_cache(maxsize=64)
def _tokens(text: str) -> tuple[tuple[str, str], ...]:
    found, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if not match:
            raise BadFilter(f"unexpected character at {place}")
        bracket, value, word = match.groups()
        found.append(("bracket", bracket) if bracket else ("word", word) if word else ("value", value))
        place = match.end()
    return tuple(found)


def parse(text: str, allowed: Mapping[str, Collection[str]]) -> Predicate:
    """The predicate that an expression stands for. `and` binds tighter than `or`. Raises BadFilter."""
    tokens = list(_tokens(text))

    def take(kind: str) -> str:
        if not tokens or tokens[0][0] != kind:
            raise BadFilter(f"a {kind} is missing")
        return tokens.pop(0)[1]

    def one() -> Predicate:
        if tokens and tokens[0] == ("bracket", "("):
            tokens.pop(0)
            inner = either()
            if take("bracket") != ")":
                raise BadFilter("a bracket is not closed")
            return inner
        name, verb, value = take("word"), take("word"), take("value")
        if verb not in allowed.get(name, ()):
            raise BadFilter(f"{name} {verb} is not supported")
        compare = _COMPARE[verb]
        return lambda get: (found := get(name)) is not None and compare(found, value)

    def joined(word: str, part: Callable[[], Predicate], all_of: bool) -> Predicate:
        parts = [part()]
        while tokens and tokens[0] == ("word", word):
            tokens.pop(0)
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        return (lambda get: all(p(get) for p in parts)) if all_of else (lambda get: any(p(get) for p in parts))

    def both() -> Predicate:
        return joined("and", one, True)

    def either() -> Predicate:
        return joined("or", both, False)

    whole = either()
    if tokens:
        raise BadFilter(f"{tokens[0][1]} is not expected there")
    return whole
