"""Accounts' own values of attributes: they are read account by account, so a part of them at each observation.

Those of the others are carried forward as they were read last. `attribute_read` says when that was; without a row there
nothing is known.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from worker.core.identity import Trait


@dataclass(frozen=True, slots=True)
class Due:
    """Whose values are to be read now, and of which attributes; ids."""

    attributes: Sequence[str] = ()
    accounts: Sequence[str] = ()


_ATTRIBUTES = """
SELECT DISTINCT id FROM staged_catalogue_item WHERE snapshot_id = :snapshot AND kind = 'attribute'
AND (name = ANY(:names) OR id = ANY(:ids)) AND definition ->> 'readable' = 'true' ORDER BY id
"""

# Never read of some attribute first, then the longest unread; those that are somebody's before those that may be.
_ACCOUNTS = """
SELECT a.id FROM (SELECT DISTINCT id, traits FROM staged_account WHERE snapshot_id = :snapshot) a
LEFT JOIN (
    SELECT account_id, count(*) AS attributes, min(read_at) AS read_at FROM attribute_read
    WHERE target = :target AND attribute_id = ANY(:attributes) GROUP BY account_id
) r ON r.account_id = a.id
LEFT JOIN link l ON l.target = :target AND l.account_id = a.id AND l.state = 'linked'
WHERE NOT a.traits && CAST(:nobodys AS text[]) AND NOT EXISTS (
    SELECT 1 FROM staged_trait t WHERE t.snapshot_id = :snapshot AND t.account_id = a.id AND t.trait = ANY(:nobodys)
)
ORDER BY coalesce(r.attributes, 0) >= cardinality(CAST(:attributes AS text[])), r.read_at NULLS FIRST,
    l.account_id IS NULL, a.id COLLATE "C"
LIMIT :most
"""


def due(
    session: Session,
    snapshot_id: uuid.UUID,
    target: str,
    *,
    names: Collection[str],
    ids: Collection[str],
    nobodys: Collection[Trait],
    most: int,
) -> Due:
    """At most so many of the accounts that a read has staged, but for those that are nobody's by their nature;
    attributes by name or by id, without those that nobody can read."""
    asked = {"snapshot": snapshot_id, "target": target, "names": sorted(names), "ids": sorted(ids), "most": most}
    attributes = list(session.scalars(text(_ATTRIBUTES), asked))
    if not attributes:
        return Due()
    of_nobody = sorted(trait.value for trait in nobodys)
    accounts = session.scalars(text(_ACCOUNTS), {**asked, "attributes": attributes, "nobodys": of_nobody})
    return Due(attributes, list(accounts))


_STILL_READ = (
    "EXISTS (SELECT 1 FROM staged_catalogue_item c WHERE c.snapshot_id = :snapshot AND c.kind = 'attribute'"
    " AND c.id = r.attribute_id AND c.definition ->> 'readable' = 'true')"
    " AND EXISTS (SELECT 1 FROM staged_account a WHERE a.snapshot_id = :snapshot AND a.id = r.account_id)"
)
_READ_ANEW = (
    "EXISTS (SELECT 1 FROM staged_valued v WHERE v.snapshot_id = :snapshot AND v.account_id = r.account_id"
    " AND v.attribute_id = r.attribute_id)"
)
_CARRIED = f"""
INSERT INTO staged_holding (snapshot_id, account_id, entitlement)
SELECT CAST(:snapshot AS uuid), h.account_id, h.entitlement FROM holding h JOIN attribute_read r
ON r.target = h.target AND r.account_id = h.account_id
AND r.attribute_id = split_part(substr(h.entitlement, length('attribute:') + 1), '@', 1)
WHERE h.target = :connector AND h.valid_to IS NULL AND h.entitlement LIKE 'attribute:%'
AND {_STILL_READ} AND NOT {_READ_ANEW}
"""
_OVER = f"DELETE FROM attribute_read r WHERE r.target = :connector AND NOT ({_STILL_READ} AND NOT {_READ_ANEW})"
# What was changed while it was read is not known.
_READ = """
INSERT INTO attribute_read (target, account_id, attribute_id, read_at)
SELECT DISTINCT CAST(:connector AS text), v.account_id, v.attribute_id, s.started_at
FROM staged_valued v JOIN snapshot s ON s.id = v.snapshot_id
WHERE v.snapshot_id = :snapshot AND NOT EXISTS (
    SELECT 1 FROM step WHERE step.target = :connector AND step.account_id = v.account_id
    AND step.attempted_at > s.started_at
)
"""


def carry(session: Session, known: Mapping[str, object]) -> None:
    """Before a read becomes current: what it did not read again stays as it was, and what it read is fresh."""
    for statement in (_CARRIED, _OVER, _READ):
        session.execute(text(statement), known)


def forget(session: Session, target: str, account_id: str) -> None:
    """Somebody is about to change a value: until the account is read again nothing is known of its values."""
    session.execute(
        text("DELETE FROM attribute_read WHERE target = :target AND account_id = :account"),
        {"target": target, "account": account_id},
    )


def read_at(session: Session, target: str, account_id: str) -> dict[str, dt.datetime]:
    """When an account's own values were read last, by attribute id."""
    rows = session.execute(
        text("SELECT attribute_id, read_at FROM attribute_read WHERE target = :target AND account_id = :account"),
        {"target": target, "account": account_id},
    )
    return {row.attribute_id: row.read_at for row in rows}


@dataclass(frozen=True, slots=True)
class Freshness:
    """Of how many accounts the values are known, of how many linked ones not, and since when the oldest is."""

    known: int
    unknown: int
    oldest: dt.datetime | None


_FRESHNESS = """
SELECT (SELECT count(DISTINCT account_id) FROM attribute_read WHERE target = :target) AS known,
    (SELECT min(read_at) FROM attribute_read WHERE target = :target) AS oldest,
    (SELECT count(*) FROM link l JOIN account a ON a.target = l.target AND a.id = l.account_id AND a.valid_to IS NULL
     WHERE l.target = :target AND l.state = 'linked' AND NOT EXISTS (
        SELECT 1 FROM attribute_read r WHERE r.target = l.target AND r.account_id = l.account_id)) AS unknown
"""


def freshness(session: Session, target: str) -> Freshness:
    row = session.execute(text(_FRESHNESS), {"target": target}).one()
    return Freshness(row.known, row.unknown, row.oldest)
