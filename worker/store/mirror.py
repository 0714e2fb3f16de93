"""What the sources and targets said when they were last read whole, as people and accounts.

The iterators stream from the server: memory stays flat whatever the size of the company. They live as long as the
transaction they were opened in, which may do other things in between.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, groupby
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from worker.core import nesting
from worker.core.identity import (
    Account,
    Catalogue,
    CatalogueItem,
    Definition,
    Entitlement,
    GroupValue,
    Identity,
    Person,
    SourceGroup,
    Standing,
    Trait,
    speaking,
)
from worker.core.joining import Ref, outgrown
from worker.core.render import quoted
from worker.core.standing import FINAL, standing_of, weigh
from worker.store.bulk import streamed
from worker.store.merging import Merged, counts, merge_source, merge_target
from worker.store.snapshots import Snapshot, current_snapshot, snapshot
from worker.store.staging import (
    discard_snapshot,
    open_read,
    people_within,
    refuse_lost_rows,
    stage_source,
    stage_target,
    staged_counts,
    start_snapshot,
    strangers,
    unseen,
)

__all__ = [
    "Merged",
    "Snapshot",
    "account_rows_of",
    "accounts",
    "catalogue",
    "counts",
    "current_snapshot",
    "direct_groups",
    "discard_snapshot",
    "identities",
    "identity",
    "merge_source",
    "merge_target",
    "nestings",
    "open_read",
    "people",
    "people_within",
    "person",
    "refuse_lost_rows",
    "snapshot",
    "source_groups",
    "stage_source",
    "stage_target",
    "staged_counts",
    "start_snapshot",
    "strangers",
    "unseen",
]


# --- sources ---------------------------------------------------------------------------------------------------------


def source_groups(session: Session, source: str) -> list[SourceGroup]:
    """The groups of a source, by name. One that holds a group of whose members nothing is known has a problem too."""
    rows = session.execute(
        text(
            "SELECT source, id, name, type, members, problem FROM source_group"
            " WHERE source = :source AND valid_to IS NULL ORDER BY name, id"
        ),
        {"source": source},
    )
    groups = [SourceGroup(*row) for row in rows]
    blamed = nesting.uncertified({group.id: group.problem for group in groups}, nestings(session, source))
    known = {group.id: group for group in groups}
    return [
        replace(group, problem=_through(known.get(blamed[group.id]), blamed[group.id])) if group.id in blamed else group
        for group in groups
    ]


def _through(culprit: SourceGroup | None, id: str) -> str:
    if culprit is None:
        return f"a group in it ({quoted(id, 60)}) is on no list of groups"
    return f"{quoted(culprit.name, 60)} in it could not be read whole: {culprit.problem}"


def nestings(session: Session, source: str) -> list[tuple[str, str]]:
    """Which groups are directly in which: (group id, id of a group that is in it)."""
    rows = session.execute(
        text(
            "SELECT group_id, child_id FROM nesting WHERE source = :source AND valid_to IS NULL"
            " ORDER BY group_id, child_id"
        ),
        {"source": source},
    )
    return [(group, child) for group, child in rows]


def direct_groups(session: Session, source: str, identity_id: str) -> list[str]:
    """Ids of the groups that somebody is in, not counting those that they are in through another one."""
    rows = session.scalars(
        text(
            "SELECT group_id FROM membership WHERE source = :source AND identity_id = :id AND valid_to IS NULL"
            " ORDER BY group_id"
        ),
        {"source": source, "id": identity_id},
    )
    return list(rows)


_IDENTITY = "i.source, i.id, i.standing, i.status, i.login, i.email, i.attributes, i.problem"


def identities(session: Session, source: str) -> Iterator[Identity]:
    """The identities of a source, by id; streamed."""
    statement = f"SELECT {_IDENTITY} FROM identity i WHERE i.source = :source AND i.valid_to IS NULL ORDER BY i.id"
    return (_identity(*row) for row in _each(session, statement, {"source": source}))


def identity(session: Session, source: str, id: str) -> Identity | None:
    """One identity as last read; None when the last read did not bring it."""
    row = session.execute(
        text(f"SELECT {_IDENTITY} FROM identity i WHERE i.source = :source AND i.id = :id AND i.valid_to IS NULL"),
        {"source": source, "id": id},
    ).one_or_none()
    return _identity(*row) if row else None


def _identity(
    source: str, id: str, standing: str, status: str, login: str, email: str, attributes: dict[str, Any], problem: str
) -> Identity:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()}
    return Identity(source, id, Standing(standing), status, login, email, values, problem)


# --- people ----------------------------------------------------------------------------------------------------------

# An identity that the last read did not bring still yields its person, with a NULL in its place.
_PEOPLE = f"""
SELECT p.id AS person, p.departure_marked_at IS NOT NULL AS marked,
    p.departure_marked_at IS NOT NULL AND p.departure_cause = 'forced' AS forced, known.source AS at, known.key_used,
    known.missed >= :misses AND known.source = ANY(:final) AS final, {_IDENTITY}, m.groups
FROM person p
JOIN person_identity known ON known.person_id = p.id
LEFT JOIN identity i ON i.source = known.source AND i.id = known.identity_id AND i.valid_to IS NULL
LEFT JOIN (
    SELECT source, identity_id, array_agg(group_id) AS groups FROM membership WHERE valid_to IS NULL
    GROUP BY source, identity_id
) m ON m.source = i.source AND m.identity_id = i.id
WHERE known.source = ANY(:sources)
ORDER BY p.id, array_position(:sources, known.source), known.since, known.identity_id
"""


def people(
    session: Session, sources: Sequence[str], authority: str | None = None, final: Collection[str] = ()
) -> Iterator[Person]:
    """Everybody with an identity at one of the sources, by id; streamed.

    `sources` stand in order of precedence. Of several, `authority` decides who has departed; of those in `final`, who
    has been missing often enough has. Whoever is in a group is in those that it is in. `unsure` says what the sources
    themselves leave open: whether one is certified is not known here.
    """
    keys = _group_keys(session, sources)
    return _people(_each(session, _PEOPLE, _asked(sources, final)), keys, authority)


def person(
    session: Session, id: str, sources: Sequence[str], authority: str | None = None, final: Collection[str] = ()
) -> Person | None:
    """One of `people`; None when there is no such person, or none at these sources."""
    one = _PEOPLE.replace("WHERE known", "WHERE p.id = :id AND known").replace(
        "WHERE valid_to IS NULL\n",
        "WHERE valid_to IS NULL AND (source, identity_id) IN"
        " (SELECT source, identity_id FROM person_identity WHERE person_id = :id)\n",
    )
    rows = session.execute(text(one), {**_asked(sources, final), "id": uuid.UUID(id)})
    return next(_people(rows, _group_keys(session, sources), authority), None)


def _asked(sources: Sequence[str], final: Collection[str]) -> dict[str, object]:
    return {"sources": list(sources), "final": list(final), "misses": FINAL}


def _people(
    rows: Iterable[Sequence[Any]], group_keys: Mapping[str, _GroupKeys], authority: str | None
) -> Iterator[Person]:
    for (id, marked, forced), of_person in groupby(rows, key=lambda row: (row[0], row[1], row[2])):
        found: list[Identity] = []
        joined_by: list[str] = []
        said: list[tuple[str, Standing | None]] = []
        members: dict[Ref, Sequence[str]] = {}
        for _, _, _, source, key, final, *columns, memberships in of_person:
            said.append((source, standing_of(columns[2], final)))
            if columns[0] is not None:
                found.append(one := _identity(*columns))
                joined_by.append(key)
                members[source, one.id] = memberships or ()
        told, identities = weigh(said, authority), tuple(found)
        groups: set[tuple[str, str]] = set()
        standing = Standing.DEPARTED if forced else told.standing  # a human's word rests on no read
        for one in speaking(identities, standing):
            groups.update(*map(group_keys[one.source].__getitem__, members[one.source, one.id]))
        disagreements = filter(None, (told.disagreement, *outgrown(identities, joined_by)))
        yield Person(
            str(id), standing, identities, frozenset(groups), "" if forced else told.unsure, marked, forced,
            tuple(disagreements),
        )  # fmt: skip


class _GroupKeys(dict[str, tuple[tuple[str, str], ...]]):
    """(source, group id) of a group and of all above it, by group id, made once: thousands of people share them."""

    def __init__(self, source: str, edges: Iterable[tuple[str, str]]) -> None:
        super().__init__()
        self._source, self._above = source, nesting.above(edges)

    def __missing__(self, group_id: str) -> tuple[tuple[str, str], ...]:
        all_of_them = (group_id, *sorted(self._above.get(group_id, ())))
        self[group_id] = keys = tuple((self._source, one) for one in all_of_them)
        return keys


def _group_keys(session: Session, sources: Sequence[str]) -> dict[str, _GroupKeys]:
    return {source: _GroupKeys(source, nestings(session, source)) for source in sources}


# --- targets ---------------------------------------------------------------------------------------------------------

# Ordered by code point, as Python compares, whatever the database's own collation is.
_ACCOUNTS = """
SELECT a.id, a.login, a.email, a.active, a.profile, a.traits, h.entitlements, r.attributes
FROM account a
LEFT JOIN (
    SELECT account_id, array_agg(entitlement) AS entitlements FROM holding
    WHERE target = :target AND valid_to IS NULL GROUP BY account_id
) h ON h.account_id = a.id
LEFT JOIN (
    SELECT account_id, array_agg(attribute_id) AS attributes FROM attribute_read
    WHERE target = :target GROUP BY account_id
) r ON r.account_id = a.id
WHERE a.target = :target AND a.valid_to IS NULL
ORDER BY a.id COLLATE "C"
"""


def accounts(session: Session, target: str) -> Iterator[Account]:
    """The accounts of a target with their direct entitlements, by id; streamed."""
    return _accounts(_each(session, _ACCOUNTS, {"target": target}))


def account_rows_of(session: Session, target: str, ids: Sequence[str]) -> dict[str, Account]:
    """Some accounts as last read, by id; those that are not there are left out."""
    some = _ACCOUNTS.replace("GROUP BY", "AND account_id = ANY(:ids) GROUP BY").replace(
        "ORDER BY", "AND a.id = ANY(:ids) ORDER BY"
    )
    found = _accounts(session.execute(text(some), {"target": target, "ids": list(ids)}))
    return {account.id: account for account in found}


def _accounts(rows: Iterable[Sequence[Any]]) -> Iterator[Account]:
    parsed = _Entitlements()
    for id, login, email, active, profile, traits, keys, attributes in rows:
        held = frozenset(map(parsed.__getitem__, keys or ()))
        known = frozenset(attributes or ())
        yield Account(id, login, email, active, profile, held, frozenset(map(Trait, traits)), known)


class _Entitlements(dict[str, Entitlement]):
    """Entitlements by key, each parsed once."""

    def __missing__(self, key: str) -> Entitlement:
        self[key] = entitlement = Entitlement.parse(key)
        return entitlement


def administrators(session: Session, target: str) -> dict[str, Account]:
    """The active accounts that could administer the target when it was last observed, by id; without entitlements."""
    rows = session.execute(
        text(
            "SELECT id, login, email, active, profile, traits, NULL, NULL FROM account WHERE target = :target"
            " AND valid_to IS NULL AND active AND :trait = ANY(traits)"
        ),
        {"target": target, "trait": Trait.ADMINISTRATOR.value},
    )
    return {account.id: account for account in _accounts(rows)}


def catalogue(session: Session, target: str) -> Catalogue:
    """Everything that a target could grant when it was last observed."""
    rows = session.execute(
        text(
            "SELECT kind, id, name, privileged, closed, definition FROM catalogue_item"
            " WHERE target = :target AND valid_to IS NULL ORDER BY kind, name, id"
        ),
        {"target": target},
    )
    return Catalogue(
        tuple(CatalogueItem(r.kind, r.id, r.name, r.privileged, r.closed, _definition(r.definition)) for r in rows)
    )


def _definition(found: Mapping[str, Any]) -> Definition | None:
    groups = tuple(GroupValue(**one) for one in found.get("groups", ()))
    return Definition(**{**found, "groups": groups}) if found else None


def _each(session: Session, statement: str, parameters: Mapping[str, object]) -> Iterator[Sequence[Any]]:
    return chain.from_iterable(streamed(session, statement, parameters))
