"""People: who is behind which identity, which accounts are theirs, and who has departed."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from worker.core.correlation import Tie
from worker.core.drift import ABSENT, REPLACED
from worker.core.identity import Identity, Standing
from worker.store.bulk import planned_for_all_rows
from worker.store.tables import Link, PersonRow

_NO_LONGER = "the source no longer has this user"
BY_SOURCE = "source"  # a departure mark that the source's word set, and may lift


@dataclass(frozen=True, slots=True)
class Remark:
    """A departure mark that was just set or lifted, with the status that the source gave."""

    person_id: str
    departed: bool
    status: str


def ensure_people(session: Session, source: str, now: dt.datetime) -> int:
    """Give every current identity of a source its person; returns how many are new."""
    with planned_for_all_rows(session):
        return session.connection().execute(_ENSURE, {"source": source, "now": now}).rowcount


def remark_departures(session: Session, source: str, now: dt.datetime) -> list[Remark]:
    """Set the departure mark of everybody whom the source positively calls departed, and lift those it calls active."""
    with planned_for_all_rows(session):
        marked = session.connection().execute(_MARK, {"source": source, "now": now, "cause": BY_SOURCE}).all()
        lifted = session.connection().execute(_LIFT, {"source": source, "cause": BY_SOURCE}).all()
    return [Remark(str(p), True, s) for p, s in marked] + [Remark(str(p), False, s) for p, s in lifted]


def departure_marked(session: Session, person_id: str) -> bool:
    """The mark as it is now, whatever a plan saw; the row stays locked against a change until the transaction ends."""
    row = session.exec(select(PersonRow).where(PersonRow.id == uuid.UUID(person_id)).with_for_update(read=True)).one()
    return row.departure_marked_at is not None


def owns(session: Session, target: str, account_id: str, person_id: str) -> bool:
    """Whether an account is linked to the person as of now; the link stays locked until the transaction ends."""
    query = select(Link).where(Link.target == target, Link.account_id == account_id).with_for_update(read=True)
    link = session.exec(query).one_or_none()
    return link is not None and link.state == "linked" and str(link.person_id) == person_id


def ties(session: Session, target: str) -> list[Tie]:
    """Every link of a target, tombstones included."""
    rows = session.connection().execute(_TIES, {"target": target})  # no objects of rows: there are many
    return [Tie(*row) for row in rows]


def save_ties(session: Session, target: str, new: Iterable[Tie], actor: str, now: dt.datetime) -> None:
    """Insert links, or overwrite what was said of the same accounts before."""
    rows = [
        {
            "target": target,
            "account_id": tie.account_id,
            "person_id": uuid.UUID(tie.person_id),
            "rank": "primary" if tie.primary else "secondary",
            "state": "linked" if tie.linked else "unlinked",
            "key_used": tie.key,
            "actor": actor,
            "at": now,
        }
        for tie in new
    ]
    if rows:
        statement = insert(Link)
        said = {name: statement.excluded[name] for name in ("person_id", "rank", "state", "key_used", "actor", "at")}
        session.connection().execute(
            statement.on_conflict_do_update(index_elements=["target", "account_id"], set_=said), rows
        )


def own_created(session: Session, target: str, account_id: str, person_id: str, actor: str, now: dt.datetime) -> None:
    """An account that we have just created is its person's; doing it twice changes nothing."""
    if session.get(Link, (target, account_id)) is None:
        save_ties(session, target, [Tie(account_id, person_id, key="created")], actor, now)


def absent_identities(session: Session, sources: Collection[str]) -> list[tuple[str, Identity]]:
    """(person id, last known identity) of everybody with a link whom no source has any more, as identities on hold."""
    rows = session.connection().execute(_ABSENT, {"sources": list(sources)})
    return [
        (
            str(r.person_id),
            Identity(r.source, r.id, Standing.HOLD, status, r.login, r.email, _hashable(r.attributes), _NO_LONGER),
        )
        for r in rows
        for status in (REPLACED if r.replaced else ABSENT,)
    ]


def _hashable(attributes: Mapping[str, Any]) -> dict[str, str | tuple[str, ...]]:
    """JSON has lists where an identity has tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()}


def vanished_ids(session: Session, snapshot_id: uuid.UUID, source: str) -> list[str]:
    """Linked identities that are current in the mirror and missing from a staged snapshot: to be read by id."""
    with planned_for_all_rows(session):
        rows = session.connection().execute(_VANISHED, {"snapshot": snapshot_id, "source": source}).all()
    return [r.id for r in rows]


@dataclass(frozen=True, slots=True)
class Found:
    """A person as looked up by an operator: our id, and the login and name that the mirror has."""

    person_id: str
    login: str
    name: str


def find(session: Session, query: str) -> list[Found]:
    """People by our id, or by login, e-mail or source id; letter case does not matter. Newest knowledge first."""
    rows = session.connection().execute(_FIND, {"query": query.strip()})
    return [Found(str(r.person_id), r.login, r.name) for r in rows]


def labels(session: Session, person_ids: Collection[str] | None = None) -> dict[str, tuple[str, str]]:
    """Person id -> (name, login), for sentences; of everybody when no ids are given."""
    only = "" if person_ids is None else " AND p.person_id = ANY(:ids)"
    statement = text(_LABELS.format(only=only))
    ids = [] if person_ids is None else [uuid.UUID(p) for p in person_ids]
    rows = session.connection().execute(statement, {"ids": ids} if person_ids is not None else {})
    return {str(r.person_id): (r.name, r.login) for r in rows}


def links_of(session: Session, person_id: str) -> Sequence[Link]:
    return session.exec(select(Link).where(Link.person_id == uuid.UUID(person_id)).order_by(col(Link.target))).all()


_NAME = "trim(coalesce(i.attributes->>'firstName', '') || ' ' || coalesce(i.attributes->>'lastName', ''))"

_TIES = text("""
SELECT account_id, person_id::text, rank = 'primary', state = 'linked', key_used FROM link WHERE target = :target
""")

_ENSURE = text("""
WITH fresh AS (
    SELECT i.id AS identity_id, gen_random_uuid() AS person_id
    FROM identity i
    LEFT JOIN person_identity p ON p.source = i.source AND p.identity_id = i.id
    WHERE i.source = :source AND i.valid_to IS NULL AND p.person_id IS NULL
), made AS (
    INSERT INTO person (id, created_at, departure_cause, gains_reviewed) SELECT person_id, :now, '', false FROM fresh
)
INSERT INTO person_identity (source, identity_id, person_id, since)
SELECT :source, identity_id, person_id, :now FROM fresh
""")

_MARK = text("""
UPDATE person SET departure_marked_at = :now, departure_cause = :cause
FROM person_identity p JOIN identity i ON i.source = p.source AND i.id = p.identity_id AND i.valid_to IS NULL
WHERE person.id = p.person_id AND p.source = :source AND i.standing = 'departed' AND person.departure_marked_at IS NULL
RETURNING person.id, i.status
""")

_LIFT = text("""
UPDATE person SET departure_marked_at = NULL, departure_cause = ''
FROM person_identity p JOIN identity i ON i.source = p.source AND i.id = p.identity_id AND i.valid_to IS NULL
WHERE person.id = p.person_id AND p.source = :source AND i.standing = 'active' AND person.departure_cause = :cause
RETURNING person.id, i.status
""")

_ABSENT = text("""
SELECT DISTINCT ON (p.person_id) p.person_id, i.source, i.id, i.login, i.email, i.attributes,
    i.login <> '' AND (i.source, lower(i.login)) IN (
        SELECT source, lower(login) FROM identity WHERE valid_to IS NULL) AS replaced
FROM person_identity p
JOIN identity i ON i.source = p.source AND i.id = p.identity_id
WHERE p.source = ANY(:sources)
  AND EXISTS (SELECT 1 FROM link l WHERE l.person_id = p.person_id AND l.state = 'linked')
  AND NOT EXISTS (
    SELECT 1 FROM person_identity p2 JOIN identity i2
      ON i2.source = p2.source AND i2.id = p2.identity_id AND i2.valid_to IS NULL
    WHERE p2.person_id = p.person_id)
ORDER BY p.person_id, i.valid_from DESC
""")

_VANISHED = text("""
SELECT i.id
FROM identity i
JOIN person_identity p ON p.source = i.source AND p.identity_id = i.id
WHERE i.source = :source AND i.valid_to IS NULL
  AND EXISTS (SELECT 1 FROM link l WHERE l.person_id = p.person_id AND l.state = 'linked')
  AND NOT EXISTS (SELECT 1 FROM staged_identity s WHERE s.snapshot_id = :snapshot AND s.id = i.id)
ORDER BY i.id
""")

_FIND = text(f"""
SELECT DISTINCT ON (p.person_id) p.person_id, i.login, {_NAME} AS name
FROM person_identity p
JOIN identity i ON i.source = p.source AND i.id = p.identity_id
WHERE lower(i.login) = lower(:query) OR lower(i.email) = lower(:query) OR i.id = :query OR p.person_id::text = :query
ORDER BY p.person_id, i.valid_from DESC
""")

_LABELS = f"""
SELECT DISTINCT ON (p.person_id) p.person_id, i.login, {_NAME} AS name
FROM person_identity p
JOIN identity i ON i.source = p.source AND i.id = p.identity_id
WHERE TRUE{{only}}
ORDER BY p.person_id, i.valid_to DESC NULLS FIRST
"""
