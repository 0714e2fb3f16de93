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
from worker.store.tables import Link, PersonIdentity, PersonRow

_NO_LONGER = "the source no longer has this user"
# Whose word a departure mark is: the source's, which lifts it too; a human's, which holds whatever the source says; a
# human's that waits for a second one, by which nothing is given and nothing is taken.
BY_SOURCE, FORCED, ASKED = "source", "forced", "asked"
LAG = dt.timedelta(minutes=1)  # clocks differ, and a vendor's lists may be behind what it answers about one person


@dataclass(frozen=True, slots=True)
class Remark:
    """A departure mark that was just set or lifted, with the status that the source gave."""

    person_id: str
    departed: bool
    status: str
    linked: bool = False  # an account of theirs is known
    taken_over: bool = False  # they were held by a human's word until now


def ensure_people(session: Session, source: str, now: dt.datetime) -> int:
    """Give every current identity of a source its person; returns how many are new."""
    with planned_for_all_rows(session):
        return session.connection().execute(_ENSURE, {"source": source, "now": now}).rowcount


def remark_departures(session: Session, source: str, now: dt.datetime, began: dt.datetime) -> list[Remark]:
    """Set the departure mark of everybody whom the source positively calls departed, and lift those it calls active.

    `began` is when the read did of which this is the end: what it says of anybody who was marked since is old. The
    source's own word takes the place of a human's.
    """
    facts = {"source": source, "now": now, "cause": BY_SOURCE, "began": began, "lag": LAG}
    with planned_for_all_rows(session):
        marked = session.connection().execute(_MARK, facts).all()
        taken_over = session.connection().execute(_TAKE_OVER, facts).all()
        lifted = session.connection().execute(_LIFT, facts).all()
    return [
        *(Remark(str(p), True, s, linked) for p, s, linked in marked),
        *(Remark(str(p), True, s, taken_over=True) for p, s in taken_over),
        *(Remark(str(p), False, s) for p, s in lifted),
    ]


def mark_departed(session: Session, person_id: str, cause: str, now: dt.datetime) -> None:
    """From now on nothing is given to them. Where they were marked already, the newer word counts from now on; a word
    that waits takes nobody's place."""
    row = session.get(PersonRow, uuid.UUID(person_id), with_for_update=True, populate_existing=True)
    assert row is not None, "a person is never deleted"
    if cause == ASKED and row.departure_marked_at is not None:
        return
    row.departure_marked_at, row.departure_cause = now, cause
    row.gains_reviewed = row.gains_reviewed or cause == FORCED
    session.flush()


def unmark(session: Session, person_id: str, causes: Collection[str]) -> bool:
    """Lift a mark that is there for one of these reasons; whether there was one."""
    row = session.get(PersonRow, uuid.UUID(person_id), with_for_update=True, populate_existing=True)
    if row is None or row.departure_marked_at is None or row.departure_cause not in causes:
        return False
    row.departure_marked_at, row.departure_cause = None, ""
    session.flush()
    return True


def lock(session: Session, person_id: uuid.UUID) -> None:
    """Until the transaction ends. Whoever locks something of a person's besides, such as their offboarding, locks them
    first: a read of a source does."""
    session.get(PersonRow, person_id, with_for_update=True, populate_existing=True)


def row_of(session: Session, person_id: str) -> PersonRow:
    """A person's mark and what goes with it, as of now."""
    row = session.get(PersonRow, uuid.UUID(person_id), populate_existing=True)
    assert row is not None, "a person is never deleted"
    return row


def reviewed(session: Session) -> set[str]:
    """Ids of the people whom nothing is given without a human's word."""
    return {str(id) for id in session.exec(select(PersonRow.id).where(col(PersonRow.gains_reviewed)))}


def trust_again(session: Session, person_ids: Collection[str]) -> set[str]:
    """A human has said yes to something that these are given; which of them were reviewed until then."""
    rows = session.exec(
        select(PersonRow).where(
            col(PersonRow.id).in_([uuid.UUID(p) for p in person_ids]), col(PersonRow.gains_reviewed)
        )
    ).all()
    for row in rows:
        row.gains_reviewed = False
    session.flush()
    return {str(row.id) for row in rows}


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


def known_identities(session: Session, person_id: str) -> list[Identity]:
    """Each identity of a person as last known, also where its source no longer has it."""
    rows = session.execute(_KNOWN, {"person": uuid.UUID(person_id)})
    return [
        Identity(r.source, r.id, Standing(r.standing), r.status, r.login, r.email, _hashable(r.attributes), r.problem)
        for r in rows
    ]


def person_of(session: Session, source: str, identity_id: str) -> str | None:
    """The person that an identity is, where it was ever read."""
    row = session.get(PersonIdentity, (source, identity_id))
    return str(row.person_id) if row else None


def ties_about(session: Session, target: str, person_ids: Collection[str], account_ids: Collection[str]) -> list[Tie]:
    """Links of these people and of these accounts, tombstones included."""
    rows = session.execute(
        text(f"{_TIES.text} AND (person_id = ANY(:people) OR account_id = ANY(:accounts)) ORDER BY account_id"),
        {"target": target, "people": [uuid.UUID(p) for p in person_ids], "accounts": list(account_ids)},
    )
    return [Tie(*row) for row in rows]


def marked_accounts(session: Session, target: str, but: str) -> set[str]:
    """Accounts of a target that are linked to people who have departed, but for this person's own."""
    rows = session.scalars(
        text(
            "SELECT link.account_id FROM link JOIN person ON person.id = link.person_id WHERE link.target = :target"
            " AND link.state = 'linked' AND person.departure_marked_at IS NOT NULL AND person.id <> :but"
        ),
        {"target": target, "but": uuid.UUID(but)},
    )
    return set(rows)


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
RETURNING person.id, i.status, EXISTS (SELECT 1 FROM link WHERE link.person_id = person.id AND link.state = 'linked')
""")

_TAKE_OVER = text("""
UPDATE person SET departure_cause = :cause
FROM person_identity p JOIN identity i ON i.source = p.source AND i.id = p.identity_id AND i.valid_to IS NULL
WHERE person.id = p.person_id AND p.source = :source AND i.standing = 'departed'
  AND person.departure_marked_at IS NOT NULL AND person.departure_cause <> :cause
RETURNING person.id, i.status
""")

_LIFT = text("""
UPDATE person SET departure_marked_at = NULL, departure_cause = ''
FROM person_identity p JOIN identity i ON i.source = p.source AND i.id = p.identity_id AND i.valid_to IS NULL
WHERE person.id = p.person_id AND p.source = :source AND i.standing = 'active' AND person.departure_cause = :cause
  AND person.departure_marked_at + CAST(:lag AS interval) < CAST(:began AS timestamptz)
RETURNING person.id, i.status
""")

_KNOWN = text("""
SELECT DISTINCT ON (p.source, p.identity_id) i.source, i.id, i.standing, i.status, i.login, i.email, i.attributes,
    i.problem, i.valid_to IS NULL AS current
FROM person_identity p JOIN identity i ON i.source = p.source AND i.id = p.identity_id
WHERE p.person_id = :person
ORDER BY p.source, p.identity_id, i.valid_from DESC
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
