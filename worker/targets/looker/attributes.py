"""Reads user attributes: what they are, which values groups and defaults give, and accounts' own values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from worker.core.identity import ATTRIBUTE, CatalogueItem, Definition, Entitlement, GroupValue
from worker.errors import Moved
from worker.ports import Part, Piece, TargetPage
from worker.targets.looker import rows
from worker.targets.looker.rows import AttributeRow, GroupTreeRow, Reader

VALUES = "values"  # the kind of a part
TOGETHER = 20  # accounts that one worker asks for their values in one go: there is no other way than one by one
Groups = Mapping[str, GroupTreeRow]


def definitions(reader: Reader) -> list[AttributeRow]:
    return rows.unpaged(reader.read("/user_attributes", {"fields": rows.ATTRIBUTE_FIELDS}), rows.ATTRIBUTES)


def catalogue(reader: Reader, asked: Mapping[str, Any], groups: Groups) -> Iterator[CatalogueItem]:
    """Every attribute by its name; those that are asked for with what they are."""
    for row in definitions(reader):
        wanted = row.name in asked["names"] or row.id in asked["ids"]
        closed = row.closed(row.name in asked["editable"])
        yield CatalogueItem(
            ATTRIBUTE,
            row.id,
            row.name or "",
            closed=closed,
            definition=_definition(reader, row, groups) if wanted else None,
        )


def _definition(reader: Reader, row: AttributeRow, groups: Groups) -> Definition:
    """Of a hidden one nothing that is said of its values is looked at."""
    if row.value_is_hidden:
        return Definition(row.type or "", readable=False)
    found = rows.unpaged(
        reader.read(f"/user_attributes/{row.id}/group_values", {"fields": rows.GROUP_VALUE_FIELDS}), rows.GROUP_VALUES
    )
    ranked = all(one.rank is not None for one in found)
    values = [
        value
        for place, one in enumerate(found)
        for value in _reach(one.group_id, (one.rank or 0) if ranked else place, one.value or "", groups)
    ]
    return Definition(row.type or "", row.default_value, tuple(sorted(values)))


def _reach(group: str, rank: int, value: str, groups: Groups) -> Iterator[GroupValue]:
    """The group itself, and the groups in it: whether values reach so far is not documented."""
    there = groups.get(group)
    everybody = there is not None and there.include_by_default
    yield GroupValue(rank, group, value, everybody=everybody)
    for inner in () if everybody else groups:
        if inner != group and group in _around(inner, groups):
            yield GroupValue(rank, inner, value, inherited=True)


def _around(group: str, groups: Groups) -> set[str]:
    """Every group that it lies in, at any depth; cycles do no harm."""
    seen: set[str] = set()
    waiting = [group]
    while waiting:
        for parent in (there.parent_group_ids or ()) if (there := groups.get(waiting.pop())) else ():
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return seen


def parts(accounts: Sequence[str], attributes: Sequence[str]) -> list[Part]:
    return [
        Part(VALUES, {"accounts": list(accounts[start : start + TOGETHER]), "attributes": list(attributes)})
        for start in range(0, len(accounts), TOGETHER)
    ]


def values_part(reader: Reader, args: Mapping[str, Any]) -> Piece:
    """The own values of some accounts."""
    held: list[tuple[str, Entitlement]] = []
    valued: list[tuple[str, str]] = []
    for account in args["accounts"]:
        for attribute, value in own_values(reader, account, args["attributes"]).items():
            valued.append((account, attribute))
            if value is not None:
                held.append((account, Entitlement(ATTRIBUTE, attribute, value)))
    return Piece([TargetPage(holdings=held, valued=valued)])


def own_values(reader: Reader, account: str, attributes: Collection[str]) -> dict[str, str | None]:
    """An account's own values, None where it has none; attributes that have become hidden are left out. Raises Moved
    when Looker does not speak of one, which has been deleted since."""
    asked = {
        "user_attribute_ids": ",".join(sorted(attributes)), "all_values": "true", "include_unset": "true",
        "fields": rows.VALUE_FIELDS,
    }  # fmt: skip
    found = rows.unpaged(reader.read(f"/users/{account}/attribute_values", asked), rows.VALUES)
    absent = set(attributes) - {row.user_attribute_id for row in found}
    if absent:
        raise Moved(
            f"Looker shows no user attribute {', '.join(sorted(absent))} of account {account}; it is read again."
        )
    hidden = {row.user_attribute_id for row in found if row.value_is_hidden}
    own = {row.user_attribute_id: row.value or "" for row in found if row.own}
    return {id: own.get(id) for id in sorted(attributes) if id not in hidden}
