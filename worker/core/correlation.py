"""Decides which account belongs to which person; whatever is not beyond doubt goes to a human."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Known:
    """A person or an account by the keys that tell who it is; `departed` and `guest` are for people, `privileged` for
    accounts. A guest brings a name and an address from elsewhere, which prove nothing here. `out`: of a leaver who was
    out, the accounts that were known then."""

    id: str
    keys: Mapping[str, str]
    departed: bool = False
    privileged: bool = False
    guest: bool = False
    out: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Tie:
    """A link as recorded: a tombstone (`linked` false) keeps the account from ever being linked again by itself."""

    account_id: str
    person_id: str
    primary: bool = True
    linked: bool = True
    key: str = ""


@dataclass(frozen=True, slots=True)
class Dispute:
    """An account and the people it may belong to, and why a human has to say. Urgent: one of them has departed."""

    account_id: str
    person_ids: tuple[str, ...]
    reason: str
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Correlation:
    """The situation of every account: linked (old and new ties), disputed, or orphan. Of the disputed people none gets
    another account, whatever was linked to them before. `taken` are accounts linked to one person that have the trusted
    key of others, who have no account: of somebody, say, who was given a leaver's name."""

    new_ties: tuple[Tie, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    orphans: tuple[str, ...] = ()
    taken: tuple[Dispute, ...] = ()
    disputed_people: frozenset[str] = field(default_factory=frozenset)


def exact(value: str) -> str:
    """The form in which keys must be equal to link by themselves: NFC and lower case."""
    if value.isascii():
        return value.strip().lower()
    return unicodedata.normalize("NFC", value.strip()).lower()


def loose(value: str) -> str:
    """The form in which look-alikes meet (compatibility forms, folded case, no accents): enough to ask a human."""
    if value.isascii():
        return value.strip().lower()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", value.strip()).casefold())
    return "".join(c for c in plain if not unicodedata.combining(c)).replace("ı", "i")


def correlate(
    people: Iterable[Known],
    accounts: Sequence[Known],
    ties: Iterable[Tie],
    trusted: Sequence[str],
    proposing: Sequence[str],
    leavers: Collection[str] = (),
) -> Correlation:
    """Link what is one-to-one and exactly equal under a trusted key; dispute what is less; the rest are orphans.

    `leavers` are accounts that were last in dispute with somebody who had departed: that a source forgets that person
    makes nobody else the owner.
    """
    by_account = {tie.account_id: tie for tie in ties}
    there = {account.id for account in accounts}
    owners = {tie.person_id for tie in by_account.values() if tie.linked and tie.account_id in there}
    known_people = {person.id: person for person in people}
    unlinked = [a for a in accounts if not (a.id in by_account and by_account[a.id].linked)]
    hints = _Hints(known_people, accounts, unlinked, [*trusted, *proposing])
    new_ties: list[Tie] = []
    disputes: list[Dispute] = []
    orphans: list[str] = []
    for account in unlinked:
        verdict = hints.judge(account, trusted, proposing, owners, by_account)
        if isinstance(verdict, Tie) and account.id in leavers and not known_people[verdict.person_id].departed:
            verdict = (
                f"its {verdict.key} matches, and it may be that of somebody who has departed",
                (verdict.person_id,),
            )
        if isinstance(verdict, Tie):
            new_ties.append(verdict)
        elif verdict is None:
            orphans.append(account.id)
        else:
            reason, candidates = verdict
            urgent = account.id in leavers or any(known_people[c].departed for c in candidates)
            disputes.append(Dispute(account.id, candidates, reason, urgent))
    linked = [a for a in accounts if a.id in by_account and by_account[a.id].linked]
    taken = _taken(known_people, linked, owners, trusted)
    disputed = frozenset(person for dispute in (*disputes, *taken) for person in dispute.person_ids)
    return Correlation(tuple(new_ties), tuple(disputes), tuple(orphans), taken, disputed)


def _taken(
    people: Mapping[str, Known], linked: Sequence[Known], owners: Collection[str], trusted: Sequence[str]
) -> tuple[Dispute, ...]:
    """Accounts of somebody that have a trusted key of somebody else, who is there and has none."""
    claims: dict[str, dict[str, str]] = defaultdict(dict)
    for key in trusted:
        named = {exact(account.keys.get(key, "")): account.id for account in sorted(linked, key=lambda a: a.id)}
        named.pop("", None)
        for person in people.values() if named else ():
            if person.id in owners or person.departed or person.guest:
                continue
            if account_id := named.get(exact(person.keys.get(key, ""))):
                claims[account_id].setdefault(person.id, key)
    return tuple(
        Dispute(account_id, tuple(found), f"it is linked to somebody else, and its {min(found.values())} is theirs now")
        for account_id, found in claims.items()
    )


def _is_new(account: Known, person: Known, rivals: set[str]) -> bool:
    """Whether it was made under the name of a leaver who was out, and what else has that name was there before: nobody
    but them is let in with it."""
    return person.out is not None and account.id not in person.out and rivals <= person.out and not account.privileged


class _Hints:
    """Who and what shares a key value, exactly and loosely. Of people only those are kept whom an unlinked account
    could mean: after the first run those are few."""

    def __init__(
        self, people: Mapping[str, Known], accounts: Iterable[Known], unlinked: Iterable[Known], keys: Sequence[str]
    ) -> None:
        self._known_people = people
        self._people: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._accounts: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._loosely: dict[tuple[str, str], list[str]] = defaultdict(list)
        for key in dict.fromkeys(keys):
            wanted = {loose(account.keys.get(key, "")) for account in unlinked} - {""}
            for person in people.values() if wanted else ():
                value = person.keys.get(key, "")
                alike = loose(value)
                if alike in wanted:  # exact equality implies loose equality
                    self._loosely[key, alike].append(person.id)
                    self._people[key, exact(value)].append(person.id)
            for account in accounts:
                if value := exact(account.keys.get(key, "")):
                    self._accounts[key, value].append(account.id)

    def judge(
        self,
        account: Known,
        trusted: Sequence[str],
        proposing: Sequence[str],
        owners: set[str],
        ties: Mapping[str, Tie],
    ) -> Tie | tuple[str, tuple[str, ...]] | None:
        """A new tie; or (reason, candidate people) for a human; or None for an orphan."""
        tombstone = ties.get(account.id)
        denied = tombstone.person_id if tombstone else ""  # a human has said that it is not this person's
        matches = {key: self._who(self._people, key, exact, account, denied) for key in trusted}
        candidates = self._ours(dict.fromkeys(person for key in trusted for person in matches[key]))
        keys = [key for key in trusted if not set(candidates).isdisjoint(matches[key])]
        if not candidates:
            return self._propose(account, trusted, proposing, denied)
        if tombstone is not None:
            return f"it was unlinked by hand, and its {keys[0]} matches somebody else", candidates
        if all(self._known_people[c].guest for c in candidates):
            return f"only a guest has its {keys[0]}, which they bring from elsewhere", candidates
        if len(candidates) > 1:
            return f"its {' and '.join(keys)} {'match' if keys[1:] else 'matches'} {len(candidates)} people", candidates
        person = self._known_people[candidates[0]]
        rivals = self._rivals(account, person, trusted)
        if _is_new(account, person, rivals):
            return Tie(account.id, person.id, primary=person.id not in owners, key=keys[0])
        if rivals:
            return f"{len(rivals) + 1} accounts have the {' or '.join(trusted)} of one person", candidates
        if candidates[0] in owners:
            return f"the person with its {keys[0]} already has another account", candidates
        if account.privileged:
            return "it holds privileged entitlements, so its first link needs a human", candidates
        return Tie(account.id, candidates[0], key=keys[0])

    def _who(
        self,
        index: Mapping[tuple[str, str], list[str]],
        key: str,
        form: Callable[[str], str],
        account: Known,
        denied: str,
    ) -> tuple[str, ...]:
        """The people with the account's value of a key, in that form, but for the one whom a human has ruled out."""
        return tuple(p for p in index.get((key, form(account.keys.get(key, ""))), ()) if p != denied)

    def _ours(self, people: Iterable[str]) -> tuple[str, ...]:
        """Of several, those who are no guests."""
        found = tuple(people)
        return tuple(p for p in found if not self._known_people[p].guest) or found

    def _rivals(self, account: Known, person: Known, trusted: Sequence[str]) -> set[str]:
        """The other accounts that any trusted key says are this person's."""
        found = {a for key in trusted for a in self._accounts.get((key, exact(person.keys.get(key, ""))), ())}
        return found - {account.id}

    def _propose(
        self, account: Known, trusted: Sequence[str], proposing: Sequence[str], denied: str
    ) -> tuple[str, tuple[str, ...]] | None:
        for key in proposing:
            if people := self._ours(self._who(self._people, key, exact, account, denied)):
                return f"only its {key} matches, which is not trusted to link by itself", people
        for key in dict.fromkeys([*trusted, *proposing]):
            if people := self._ours(self._who(self._loosely, key, loose, account, denied)):
                return f"its {key} only looks alike", people
        return None
