"""Groups in groups: who is in a group through another one, and which groups cannot be known whole because of one.

Only direct edges are read, (group id, id of a group that is in it). What follows from them is worked out here, so that
one group that could not be read is noticed wherever its people count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping

Edge = tuple[str, str]  # (group id, id of a group that is in it)


def above(edges: Iterable[Edge]) -> Mapping[str, frozenset[str]]:
    """By group: every other group that whoever is in it is in as well. Groups that are in none are left out."""
    parents = _parents(edges)
    return {child: frozenset(_reached({child}, parents)) for child in parents}


def uncertified(problems: Mapping[str, str], edges: Iterable[Edge]) -> Mapping[str, str]:
    """The id of the group below to blame, by id of each group that cannot be known whole though it was read itself.

    `problems` by id of every known group say why it could not be read ("" when it could); of a group that nobody
    knows, nothing is known either.
    """
    parents = _parents(edges)
    unread = sorted(id for id in {*problems, *parents} if problems.get(id, "unknown"))
    blamed: dict[str, str] = {}
    for culprit in unread:
        for group in _reached({culprit}, parents, blamed):
            if not problems.get(group, "unknown"):
                blamed[group] = culprit
    return blamed


def through(direct: Collection[str], edges: Iterable[Edge]) -> Mapping[str, tuple[str, ...]]:
    """How somebody who is directly in some groups is in the others: the shortest way down to a direct one, by group."""
    parents = _parents(edges)
    ways: dict[str, tuple[str, ...]] = dict.fromkeys(sorted(direct), ())
    waiting = deque(ways)
    while waiting:
        child = waiting.popleft()
        for group in sorted(parents.get(child, ())):
            if group not in ways:
                ways[group] = (child, *ways[child])
                waiting.append(group)
    return {group: way for group, way in ways.items() if way}


def _parents(edges: Iterable[Edge]) -> dict[str, set[str]]:
    parents: dict[str, set[str]] = {}
    for group, child in edges:
        if group != child:
            parents.setdefault(child, set()).add(group)
    return parents


def _reached(
    start: Collection[str], parents: Mapping[str, Collection[str]], settled: Collection[str] = ()
) -> list[str]:
    """Everything above the start, which is not among it; what lies beyond `settled` has been reached before."""
    seen = set(start)
    waiting, found = list(start), []
    while waiting:
        for group in parents.get(waiting.pop(), ()):
            if group not in seen and group not in settled:
                seen.add(group)
                found.append(group)
                waiting.append(group)
    return found
