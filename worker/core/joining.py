"""Decides which identities of different sources are one person's; whatever is not beyond doubt goes to a human."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from worker.core.correlation import exact, loose
from worker.core.identity import Identity, Standing

TOO_COMMON = 10
"""A value that more people of one source share says nothing about who is who: `N/A`, an address of a whole team."""

ADDRESSES = frozenset({"login", "email"})
"""What a guest brings from elsewhere, and so says nothing about whom of ours they are."""

REHIRED_BY = "employeeNumber"
"""By what somebody who was hired again is recognised at one and the same source, whatever joins people of several."""

BY_HAND = "by hand"  # in the place of a key, where a human has said it

Ref = tuple[str, str]
"""(source, identity id)"""


@dataclass(frozen=True, slots=True)
class Sighting:
    """An identity as joining looks at it. `gone`: the source says that it has departed, or no longer has it; then
    `there` is false in the second case."""

    source: str
    id: str
    person_id: str
    keys: Mapping[str, str]
    there: bool = True
    gone: bool = False
    guest: bool = False

    @property
    def ref(self) -> Ref:
        return self.source, self.id


@dataclass(frozen=True, slots=True)
class Human:
    """A person as far as known: `since` sorts by age; `linked` are the targets in which they have an account; `gone`:
    departed, absent, or marked as departed."""

    id: str
    since: str
    linked: frozenset[str] = frozenset()
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Join:
    """`person_id` is the same human as the older `into`, by a trusted key."""

    into: str
    person_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Dispute:
    """People who may be one, the oldest first, and why a human has to say; two of their identities that show it."""

    person_ids: tuple[str, ...]
    pair: tuple[Ref, Ref]
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Joining:
    """Who is to be joined, and who is in dispute. Nobody is in both, but for the person whom somebody was joined to."""

    joins: tuple[Join, ...] = ()
    disputes: tuple[Dispute, ...] = ()


def key_of(identity: Identity, key: str) -> str:
    """An identity's value of a key; "" where it has none. A list is none."""
    value = {"login": identity.login, "email": identity.email}.get(key, identity.attributes.get(key))
    return value if isinstance(value, str) else ""


def outgrown(identities: Sequence[Identity], joined_by: Sequence[str]) -> Iterator[str]:
    """What once joined a person's identities and is no longer the same, in words. They stay joined: somebody changed a
    number, or two people were taken for one, and only a human knows. Of a leaver nothing is asked."""
    if len(identities) < 2:
        return
    there = [(i, key) for i, key in zip(identities, joined_by, strict=True) if i.standing is not Standing.DEPARTED]
    for identity, key in there:
        others = [exact(key_of(other, key)) for other, _ in there if other is not identity]
        if key and key != BY_HAND and others and exact(key_of(identity, key)) not in others:
            yield f"{identity.source} {identity.id} was joined by its {key}, which is no longer the same elsewhere"


def judge_identities(
    sightings: Iterable[Sighting],
    humans: Mapping[str, Human],
    apart: Collection[tuple[Ref, str]],
    trust: Sequence[str],
    propose: Sequence[str],
) -> Joining:
    """`sightings` are all identities of whoever shares a value of a key with anybody else; `apart` what a human has
    ruled out: (identity, person whom it is not). The keys stand in the order of their trust."""
    view = _View(sorted(sightings, key=lambda s: s.ref), humans, apart)
    doubts, matches, hints = view.pairs(trust, propose)
    groups = _Groups()
    for pair in matches:
        groups.unite(pair.people)
    doubted = {groups.root(person) for pair in doubts for person in pair.people}
    edges: dict[str, list[_Pair]] = defaultdict(list)
    for pair in matches:
        edges[groups.root(pair.people[0])].append(pair)
    joins: list[Join] = []
    for root, of_group in edges.items():
        objection = view.objection(of_group, trust)
        if objection or root in doubted:
            reason = objection or "somebody else may be the same person as well"
            doubts += [pair.because(reason) for pair in of_group]
        else:
            joins += view.joined(of_group)
    now = {join.person_id: join.into for join in joins}
    open_hints = [pair for pair in hints if len({now.get(p, p) for p in pair.people}) == 2]
    return Joining(tuple(sorted(joins, key=lambda j: j.person_id)), view.disputes([*doubts, *open_hints], now))


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two identities of two people that share a value, and what is to be said about it."""

    one: Sighting
    other: Sighting
    key: str
    reason: str = ""

    @property
    def people(self) -> tuple[str, str]:
        return self.one.person_id, self.other.person_id

    def because(self, reason: str) -> _Pair:
        return _Pair(self.one, self.other, self.key, reason)


class _Groups:
    """People who hang together, by whatever joins them."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def root(self, person: str) -> str:
        while (above := self._above.get(person, person)) != person:
            self._above[person] = person = self._above.get(above, above)
        return person

    def unite(self, people: tuple[str, str]) -> None:
        one, other = sorted(map(self.root, people))
        self._above[other] = one


class _View:
    """Who shares what with whom."""

    def __init__(
        self, sightings: Sequence[Sighting], humans: Mapping[str, Human], apart: Collection[tuple[Ref, str]]
    ) -> None:
        self._sightings, self._humans = sightings, humans
        self._of: dict[str, list[Sighting]] = defaultdict(list)
        for one in sightings:
            self._of[one.person_id].append(one)
        person_of = {one.ref: one.person_id for one in sightings}
        self._apart = {frozenset((person_of[ref], person)) for ref, person in apart if ref in person_of}

    # --- what two identities that share a value come to -----------------------------------------------------------

    def pairs(self, trust: Sequence[str], propose: Sequence[str]) -> tuple[list[_Pair], list[_Pair], list[_Pair]]:
        """Doubts, in which a trusted key cannot decide; matches, in which it does; hints, that are for humans only."""
        doubts: list[_Pair] = []
        matches: list[_Pair] = []
        hints: list[_Pair] = []
        for key in dict.fromkeys([*trust, *propose, REHIRED_BY]):
            for cluster in self._clusters(key):
                counts = _people_by_value(cluster, key)
                for one, other in combinations(cluster, 2):
                    if not self._comparable(one, other):
                        continue
                    pair = _Pair(one, other, key)
                    same = exact(one.keys[key]) == exact(other.keys[key])
                    trusted = same and key in ((*trust, REHIRED_BY) if one.source == other.source else trust)
                    if trusted and (reason := self._doubt(pair, counts)):
                        doubts.append(pair.because(reason))
                    elif one.source == other.source or key not in (*trust, *propose):
                        continue
                    elif trusted:
                        matches.append(pair)
                    else:
                        hints.append(pair.because(_hint(key, same)))
        return doubts, matches, hints

    def _clusters(self, key: str) -> Iterator[list[Sighting]]:
        """Identities of several people whose value of a key looks alike, but for values that half the company has."""
        alike: dict[str, list[Sighting]] = defaultdict(list)
        for one in self._sightings:
            value = loose(one.keys.get(key, ""))
            if value and not (one.guest and key in ADDRESSES):
                alike[value].append(one)
        for cluster in alike.values():
            if len({one.person_id for one in cluster}) > 1:
                of_source: dict[str, set[str]] = defaultdict(set)
                for one in cluster:
                    of_source[one.source].add(one.person_id)
                if max(map(len, of_source.values())) <= TOO_COMMON:
                    yield cluster

    def _comparable(self, one: Sighting, other: Sighting) -> bool:
        """Whether anything follows from what they share; two who have both left are nobody's business."""
        people = frozenset((one.person_id, other.person_id))
        return len(people) > 1 and people not in self._apart and not (self._gone(one) and self._gone(other))

    def _gone(self, one: Sighting) -> bool:
        return one.gone or self._humans[one.person_id].gone

    def _doubt(self, pair: _Pair, counts: Mapping[Ref, int]) -> str:
        """Why a trusted key that both have does not join them. Two who are there are two to their own source."""
        if self._gone(pair.one) or self._gone(pair.other):
            return f"one of those who have that {pair.key} has left or is gone"
        for one in (pair.one, pair.other):
            number = counts[one.source, exact(one.keys[pair.key])]
            if number > 1 and pair.one.source != pair.other.source:
                return f"{number} people of {one.source} have that {pair.key}"
        return ""

    # --- what all that hang together come to ----------------------------------------------------------------------

    def objection(self, matches: Sequence[_Pair], trust: Sequence[str]) -> str:
        """Why people whom trusted keys call one may not be joined ("" where they may)."""
        people = sorted({person for pair in matches for person in pair.people})
        weakest = max(trust.index(pair.key) for pair in matches)
        for one, other in combinations(people, 2):
            if frozenset((one, other)) in self._apart:
                return "a human has said of two of them that they are not one"
            twice = self._sources(one) & self._sources(other)
            if twice:
                return f"{min(twice)} knows them as two"
            both = self._humans[one].linked & self._humans[other].linked
            if both:
                return f"both have an account in {min(both)}"
            contradiction = self._contradiction(one, other, trust[:weakest])
            if contradiction:
                return f"their {contradiction} is not the same"
        return ""

    def _sources(self, person: str) -> set[str]:
        return {one.source for one in self._of[person] if one.there}

    def _contradiction(self, one: str, other: str, stronger: Sequence[str]) -> str:
        """The first key that both have, where it differs: weaker ones that are the same do not outweigh it."""
        for key in stronger:
            here, there = self._values(one, key), self._values(other, key)
            if here and there:
                return "" if here & there else key
        return ""

    def _values(self, person: str, key: str) -> set[str]:
        return {exact(one.keys.get(key, "")) for one in self._of[person]} - {""}

    def joined(self, matches: Sequence[_Pair]) -> Iterator[Join]:
        """All of them into the oldest."""
        keys: dict[str, str] = {}
        for pair in matches:
            for person in pair.people:
                keys.setdefault(person, pair.key)
        into, *others = self._by_age(keys)
        for person in others:
            yield Join(into, person, keys[person])

    def disputes(self, pairs: Sequence[_Pair], now: Mapping[str, str]) -> tuple[Dispute, ...]:
        """One for all who hang together, with the first and so the strongest reason."""
        groups = _Groups()
        for pair in pairs:
            one, other = (now.get(person, person) for person in pair.people)
            groups.unite((one, other))
        first: dict[str, _Pair] = {}
        people: dict[str, set[str]] = defaultdict(set)
        for pair in pairs:
            root = groups.root(now.get(pair.people[0], pair.people[0]))
            first.setdefault(root, pair)
            people[root] |= {now.get(person, person) for person in pair.people}
        return tuple(
            Dispute(tuple(self._by_age(people[root])), self._older_first(pair), pair.key, pair.reason)
            for root, pair in sorted(first.items())
        )

    def _by_age(self, people: Iterable[str]) -> list[str]:
        return sorted(people, key=lambda p: (self._humans[p].since, p))

    def _older_first(self, pair: _Pair) -> tuple[Ref, Ref]:
        if self._by_age(pair.people)[0] == pair.one.person_id:
            return pair.one.ref, pair.other.ref
        return pair.other.ref, pair.one.ref


def _people_by_value(cluster: Iterable[Sighting], key: str) -> Mapping[Ref, int]:
    """By source and exact value, how many people of the source have it now."""
    found: dict[Ref, set[str]] = defaultdict(set)
    for one in cluster:
        if one.there:
            found[one.source, exact(one.keys[key])].add(one.person_id)
    return {place: len(people) for place, people in found.items()}


def _hint(key: str, same: bool) -> str:
    return f"only their {key} is the same, which joins nobody by itself" if same else f"their {key} only looks alike"
