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
from worker.core.drift import ABSENT, FORMER, GONE, REPLACED
from worker.core.identity import Identity, Standing
from worker.core.standing import FINAL
from worker.store.bulk import planned_for_all_rows
from worker.store.marks import FORCED
from worker.store.tables import Link, PersonIdentity, PersonRow

_NO_LONGER = "the source no longer has this user"
_NO_SOURCE = "known only from {}, which is no source any more"


def ensure_people(session: Session, source: str, now: dt.datetime) -> int:
    """Give every current identity of a source its person; returns how many are new."""
    with planned_for_all_rows(session):
        return session.connection().execute(_ENSURE, {"source": source, "now": now}).rowcount


def note_missed(session: Session, source: str, missed: Collection[str]) -> None:
    """Count, for identities that a whole read had neither in a list nor by id; whoever is there again begins anew."""
    asked = {"source": source, "ids": list(missed)}
    session.execute(_THERE_AGAIN, asked)
    if missed:
        session.execute(_MISSED, asked)


def departure_marked(session: Session, person_id: str) -> bool:
    """The mark as it is now, whatever a plan saw; the row stays locked against a change until the transaction ends."""
    return _locked(session, person_id).departure_marked_at is not None


def merged(session: Session, person_id: str) -> bool:
    """Whether they have turned out to be somebody else whom we know, whatever a plan saw; locked likewise."""
    return _locked(session, person_id).merged_into is not None


def _locked(session: Session, person_id: str) -> PersonRow:
    mine = select(PersonRow).where(PersonRow.id == uuid.UUID(person_id))
    return session.exec(mine.with_for_update(read=True).execution_options(populate_existing=True)).one()


def resolved(session: Session, person_ids: Collection[str]) -> dict[str, str]:
    """Who each of them is now; nobody is merged into anybody else until the transaction ends."""
    rows = session.execute(_RESOLVED, {"ids": sorted({uuid.UUID(p) for p in person_ids})})
    return {str(row.id): str(row.merged_into or row.id) for row in rows}


def everyone_once(session: Session, person_id: str) -> list[str]:
    """A person, and all whom they were taken for before."""
    query = text("SELECT id::text FROM person WHERE id = :id OR merged_into = :id ORDER BY merged_into NULLS FIRST, id")
    return list(session.scalars(query, {"id": uuid.UUID(person_id)})) or [person_id]


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
    new = list(new)
    now_known_as = resolved(session, {tie.person_id for tie in new}) if new else {}
    rows = [
        {
            "target": target,
            "account_id": tie.account_id,
            "person_id": uuid.UUID(now_known_as[tie.person_id]),
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
    """An account that we have just created is its person's; doing it twice changes nothing. Who turned out to be
    somebody else meanwhile may have had one already: then it is their second."""
    if session.get(Link, (target, account_id)) is None:
        owner = resolved(session, [person_id])[person_id]
        first = not has_account(session, target, owner)
        save_ties(session, target, [Tie(account_id, owner, primary=first, key="created")], actor, now)


@dataclass(frozen=True, slots=True)
class LastKnown:
    """An identity as it was read last. `current`: the source's last whole read had it; `final`: it was missed so often
    that it is gone for good, at a source where that is final."""

    identity: Identity
    current: bool
    final: bool


def last_known(
    session: Session, person_id: str, sources: Sequence[str] = (), final: Collection[str] = ()
) -> list[LastKnown]:
    """Each identity of a person, also where its source no longer has it: in the order of `sources`, others last, and of
    one source the oldest first."""
    asked = {"person": uuid.UUID(person_id), "sources": list(sources), "final": list(final), "misses": FINAL}
    rows = session.execute(_KNOWN, asked)
    return [
        LastKnown(
            Identity(
                r.source, r.id, Standing(r.standing), r.status, r.login, r.email, _hashable(r.attributes), r.problem
            ),
            r.current,
            r.final,
        )
        for r in rows
    ]


def known_identities(session: Session, person_id: str, sources: Sequence[str] = ()) -> list[Identity]:
    """`last_known`, the identities alone."""
    return [one.identity for one in last_known(session, person_id, sources)]


def person_of(session: Session, source: str, identity_id: str) -> str | None:
    """The person that an identity is, where it was ever read."""
    row = session.get(PersonIdentity, (source, identity_id), populate_existing=True)
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


def has_account(session: Session, target: str, person_id: str) -> bool:
    """Whether a primary account that was there when the target was last read is theirs as of now."""
    return bool(session.scalars(_HAS_ONE, {"target": target, "person": uuid.UUID(person_id)}).one())


@dataclass(frozen=True, slots=True)
class Absent:
    """Somebody with a link whom no declared source has any more: their last known identity, on hold or departed.
    `forced`: departed by a human's word, whatever that says."""

    person_id: str
    identity: Identity
    departure_marked: bool
    forced: bool


def absent_people(session: Session, sources: Collection[str], final: Collection[str] = ()) -> list[Absent]:
    """Of sources in `final`, who has been missing often enough has departed. What a source that is no longer declared
    said of somebody is what is left of them."""
    asked = {"sources": list(sources), "final": list(final), "misses": FINAL}
    return [
        Absent(
            str(row.person_id),
            Identity(
                row.source, row.id, Standing.DEPARTED if row.final else Standing.HOLD, row.status, row.login, row.email,
                _hashable(row.attributes), _NO_SOURCE.format(row.source) if row.status == FORMER else _NO_LONGER,
            ),
            row.marked,
            row.forced,
        )
        for row in session.connection().execute(_ABSENT, asked)
    ]  # fmt: skip


def _hashable(attributes: Mapping[str, Any]) -> dict[str, str | tuple[str, ...]]:
    """JSON has lists where an identity has tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()}


def vanished_ids(session: Session, snapshot_id: uuid.UUID, source: str, *, final: bool = False) -> list[str]:
    """Linked identities that are missing from a staged snapshot, to be read by id: those that are current in the
    mirror, and where absence is `final`, those that have not been missed often enough yet."""
    asked = {"snapshot": snapshot_id, "source": source, "misses": FINAL if final else 0}
    with planned_for_all_rows(session):
        rows = session.connection().execute(_VANISHED, asked).all()
    return [r.id for r in rows]


@dataclass(frozen=True, slots=True)
class Found:
    """A person as looked up by an operator: our id, and the login and name that the mirror has."""

    person_id: str
    login: str
    name: str


def find(session: Session, query: str) -> list[Found]:
    """People by our id (also one that they had before), or by login, e-mail or source id, which `okta:` before it says
    of which source; letter case does not matter. Newest knowledge first."""
    source, _, rest = query.strip().partition(":")
    rows = session.connection().execute(_FIND, {"query": query.strip(), "source": source, "rest": rest})
    return [Found(str(r.person_id), r.login, r.name) for r in rows]


def labels(session: Session, person_ids: Collection[str] | None = None) -> dict[str, tuple[str, str]]:
    """Person id, whoever it was given to -> (name, login), for sentences; of everybody when no ids are given."""
    only = "" if person_ids is None else " AND person.id = ANY(:ids)"
    statement = text(_LABELS.format(only=only))
    ids = [] if person_ids is None else [uuid.UUID(p) for p in person_ids]
    rows = session.connection().execute(statement, {"ids": ids} if person_ids is not None else {})
    return {str(r.person_id): (r.name, r.login) for r in rows}


def by_age(session: Session, person_ids: Collection[str]) -> list[str]:
    """The oldest first; nobody is merged into anybody else meanwhile."""
    query = text("SELECT id::text, created_at FROM person WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")
    found = session.execute(query, {"ids": [uuid.UUID(p) for p in person_ids]})
    return [id for id, _ in sorted(found, key=lambda row: (row.created_at, row.id))]


def known_at(session: Session, sources: Collection[str]) -> set[str]:
    """Everybody who has or had an identity at one of these sources."""
    query = text("SELECT DISTINCT person_id::text FROM person_identity WHERE source = ANY(:sources)")
    return set(session.connection().execute(query, {"sources": list(sources)}).scalars())


def make_secondary(session: Session, links: Iterable[Link]) -> None:
    """Their person has another account there, which comes first."""
    for link in links:
        link.rank = "secondary"
        session.add(link)
    session.flush()


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
INSERT INTO person_identity (source, identity_id, person_id, since, key_used, missed)
SELECT :source, identity_id, person_id, :now, '', 0 FROM fresh
""")

_THERE_AGAIN = text("""
UPDATE person_identity p SET missed = 0 WHERE source = :source AND missed > 0 AND EXISTS (
    SELECT 1 FROM identity i WHERE i.source = p.source AND i.id = p.identity_id AND i.valid_to IS NULL)
""")

_KNOWN = text("""
SELECT last.* FROM (
    SELECT DISTINCT ON (p.source, p.identity_id) i.source, i.id, i.standing, i.status, i.login, i.email, i.attributes,
        i.problem, p.since, i.valid_to IS NULL AS current,
        i.valid_to IS NOT NULL AND p.missed >= :misses AND p.source = ANY(:final) AS final
    FROM person_identity p JOIN identity i ON i.source = p.source AND i.id = p.identity_id
    WHERE p.person_id = :person
    ORDER BY p.source, p.identity_id, i.valid_from DESC
) AS last ORDER BY array_position(:sources, last.source) NULLS LAST, last.source, last.since, last.id
""")

_MISSED = text("""
UPDATE person_identity p SET missed = missed + 1 WHERE source = :source AND identity_id = ANY(:ids) AND NOT EXISTS (
    SELECT 1 FROM identity i WHERE i.source = p.source AND i.id = p.identity_id AND i.valid_to IS NULL)
""")

_HAS_ONE = text("""
SELECT EXISTS (
    SELECT 1 FROM link l JOIN account a ON a.target = l.target AND a.id = l.account_id AND a.valid_to IS NULL
    WHERE l.target = :target AND l.person_id = :person AND l.state = 'linked' AND l.rank = 'primary')
""")

_RESOLVED = text("SELECT id, merged_into FROM person WHERE id = ANY(:ids) ORDER BY id FOR KEY SHARE")

_ABSENT = text(f"""
SELECT DISTINCT ON (p.person_id) p.person_id, i.source, i.id, i.login, i.email, i.attributes, verdict.final,
    CASE WHEN NOT verdict.declared THEN '{FORMER}' WHEN verdict.final THEN '{GONE}'
        WHEN i.login <> '' AND (i.source, lower(i.login)) IN (
            SELECT source, lower(login) FROM identity WHERE valid_to IS NULL) THEN '{REPLACED}'
        ELSE '{ABSENT}' END AS status,
    person.departure_marked_at IS NOT NULL AS marked,
    person.departure_marked_at IS NOT NULL AND person.departure_cause = '{FORCED}' AS forced
FROM person_identity p
JOIN person ON person.id = p.person_id
JOIN identity i ON i.source = p.source AND i.id = p.identity_id
CROSS JOIN LATERAL (
    SELECT p.source = ANY(:sources) AS declared,
        p.source = ANY(:sources) AND p.source = ANY(:final) AND p.missed >= :misses AS final
) AS verdict
WHERE EXISTS (SELECT 1 FROM link l WHERE l.person_id = p.person_id AND l.state = 'linked')
  AND NOT EXISTS (
    SELECT 1 FROM person_identity p2 JOIN identity i2
      ON i2.source = p2.source AND i2.id = p2.identity_id AND i2.valid_to IS NULL
    WHERE p2.person_id = p.person_id AND p2.source = ANY(:sources))
ORDER BY p.person_id, verdict.declared DESC, i.valid_from DESC
""")

_VANISHED = text("""
SELECT p.identity_id AS id
FROM person_identity p
LEFT JOIN identity i ON i.source = p.source AND i.id = p.identity_id AND i.valid_to IS NULL
WHERE p.source = :source AND (i.id IS NOT NULL OR p.missed < :misses)
  AND EXISTS (SELECT 1 FROM link l WHERE l.person_id = p.person_id AND l.state = 'linked')
  AND NOT EXISTS (SELECT 1 FROM staged_identity s WHERE s.snapshot_id = :snapshot AND s.id = p.identity_id)
ORDER BY p.identity_id
""")

_FIND = text(f"""
SELECT DISTINCT ON (p.person_id) p.person_id, i.login, {_NAME} AS name
FROM person_identity p
JOIN identity i ON i.source = p.source AND i.id = p.identity_id
WHERE lower(i.login) = lower(:query) OR lower(i.email) = lower(:query) OR i.id = :query OR p.person_id::text = :query
   OR i.source = :source AND :rest <> '' AND (
        i.id = :rest OR lower(i.login) = lower(:rest) OR lower(i.email) = lower(:rest))
   OR p.person_id IN (SELECT merged_into FROM person WHERE id::text = :query)
ORDER BY p.person_id, i.valid_from DESC
""")

_LABELS = f"""
SELECT DISTINCT ON (person.id) person.id AS person_id, i.login, {_NAME} AS name
FROM person
JOIN person_identity p ON p.person_id = coalesce(person.merged_into, person.id)
JOIN identity i ON i.source = p.source AND i.id = p.identity_id
WHERE TRUE{{only}}
ORDER BY person.id, i.valid_to DESC NULLS FIRST
"""
