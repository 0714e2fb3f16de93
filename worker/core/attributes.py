"""What an account has of an attribute: its own value, else a group's, else the default; and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from worker.core.identity import ATTRIBUTE, Account, Catalogue, Definition, Entitlement, GroupValue, Person
from worker.core.values import Held


@dataclass(frozen=True, slots=True)
class Fallback:
    """What an account has without a value of its own. `over` are its other groups' values, which lose by their rank;
    no `winner`: the default, or nothing at all (None)."""

    value: str | None
    winner: GroupValue | None = None
    over: tuple[GroupValue, ...] = ()


def fallback(account: Account, definition: Definition | None, *, inherited: bool = False) -> Fallback:
    """`inherited`: count values of groups around the account's groups as well."""
    if definition is None:
        return Fallback(None)
    its = {e.id for e in account.entitlements if e.kind == "group"}
    found = [g for g in sorted(definition.groups) if (g.everybody or g.group in its) and (inherited or not g.inherited)]
    return Fallback(found[0].value, found[0], tuple(found[1:])) if found else Fallback(definition.default)


def through_group(
    value: str, account: Account, definition: Definition | None, stays: Callable[[Entitlement], bool]
) -> bool:
    """Whether an account without a value of its own has this one through a group that it keeps, whether or not values
    reach into groups in groups."""
    plain, deep = fallback(account, definition), fallback(account, definition, inherited=True)
    winner = plain.winner
    if winner is None or plain.value != value or deep.value != value:
        return False
    return winner.everybody or stays(Entitlement("group", winner.group))


def told(found: Fallback, catalogue: Catalogue) -> str:
    """`EMEA by group Sales (rank 1) over group Ops (rank 2: AMER)`, `NONE by default`, `nothing at all`."""
    if found.winner is None:
        return f"{found.value or 'empty'} by default" if found.value is not None else "nothing at all"
    won = f"{found.value or 'empty'} by {_group(found.winner, catalogue)} (rank {found.winner.rank})"
    lost = ", ".join(f"{_group(g, catalogue)} (rank {g.rank}: {g.value or 'empty'})" for g in found.over[:3])
    return f"{won} over {lost}" if lost else won


def _group(value: GroupValue, catalogue: Catalogue) -> str:
    return catalogue.label(Entitlement("group", value.group))


def values_in(entitlements: Collection[Entitlement]) -> list[Entitlement]:
    """Those that are attributes with a value, in their order."""
    return sorted(e for e in entitlements if e.kind == ATTRIBUTE)


def unfiltered(
    person: Person, account: Account | None, given: Mapping[Entitlement, tuple[str, ...]], held: Collection[Held]
) -> str:
    """Why nothing may be given to this person in the target yet ("" when it may): a filter that is not there, or not
    known to be right, may show everything."""
    for one in held:
        if account is None or one.attribute is None or not account.own(one.attribute.id):
            return f"its value of attribute {one.name} has to be settled first: {one.reason}"
    for wanted in values_in(given) if account is not None else ():
        own = account.own(wanted.id) if account else None
        if account and wanted.id not in account.known:
            return "its own attribute values have not been read yet (attribute_reads); the next observations do"
        if person.unsure and own is not None and own != wanted.scope:
            return f"it has a wrong attribute value, which is not replaced now: {person.unsure}"
    return ""
