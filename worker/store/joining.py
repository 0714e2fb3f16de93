"""Who may be one person: what joining judges by, and how people become one or two in the books."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import text
from sqlmodel import Session

from worker.core.correlation import loose
from worker.core.identity import Standing
from worker.core.joining import TOO_COMMON, Human, Join, Ref, Sighting
from worker.core.standing import LOST, weigh
from worker.store import leases
from worker.store.bulk import planned_for_all_rows


@dataclass(frozen=True, slots=True)
class Candidates:
    """Whoever shares a value of a key with somebody else: all their identities, the people, what humans ruled out."""

    sightings: Sequence[Sighting]
    humans: Mapping[str, Human]
    apart: frozenset[tuple[Ref, str]]


def turn(session: Session) -> None:
    """Wait until nobody else changes who is who, until this transaction ends."""
    leases.turn(session, "people")


def candidates(session: Session, sources: Sequence[str], authority: str, keys: Sequence[str]) -> Candidates:
    """`sources` are those that are declared; what any other one said is as if it had vanished."""
    asked = {"sources": list(sources), "most": TOO_COMMON, **{f"key_{n}": key for n, key in enumerate(keys)}}
    values = [_value(n, key) for n, key in enumerate(keys)]
    cases = ", ".join(f"(:key_{n}, {value})" for n, value in enumerate(values))
    with planned_for_all_rows(session):
        spelling = text(_SPELT.format(known=_KNOWN, cases=cases))
        spelt = list(session.connection().execute(spelling, asked).scalars())
        asked |= {"raw": spelt, "forms": [loose(value) for value in spelt]}
        rows = (
            session.connection()
            .execute(text(_SHARED.format(known=_KNOWN, cases=cases, values=", ".join(values))), asked)
            .all()
        )
        linked = _linked(session, {row.person_id for row in rows})
    sightings: list[Sighting] = []
    said: dict[str, list[tuple[str, Standing | None]]] = {}
    humans: dict[str, Human] = {}
    for row in rows:
        person = str(row.person_id)
        standing = Standing(row.standing) if row.there else LOST
        said.setdefault(person, []).append((row.source, standing))
        gone = standing in (LOST, Standing.DEPARTED)
        known = dict(zip(keys, row.key_values, strict=True))
        sightings.append(Sighting(row.source, row.id, person, known, row.there, gone, row.guest))
        since = row.created_at.astimezone(dt.UTC).isoformat()
        humans[person] = Human(person, since, linked.get(person, frozenset()), row.marked)
    left = {person for person, all_ in said.items() if _left(all_, authority)}
    humans |= {id: replace(humans[id], gone=True) for id in left}
    return Candidates(sightings, humans, partings(session))


def _left(said: Sequence[tuple[str, Standing | None]], authority: str) -> bool:
    return weigh(said, authority).standing is Standing.DEPARTED or {s for _, s in said} == {LOST}


def _value(number: int, key: str) -> str:
    """SQL: an identity's value of a key as text; lists are no keys."""
    if key in ("login", "email"):
        return f"i.{key}"
    attribute = f"i.attributes -> CAST(:key_{number} AS text)"
    return f"CASE WHEN jsonb_typeof({attribute}) = 'string' THEN {attribute.replace('->', '->>')} ELSE '' END"


def _linked(session: Session, person_ids: Collection[uuid.UUID]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    query = text("SELECT person_id, target FROM link WHERE state = 'linked' AND person_id = ANY(:ids)")
    for row in session.connection().execute(query, {"ids": list(person_ids)}):
        found.setdefault(str(row.person_id), set()).add(row.target)
    return {person: frozenset(targets) for person, targets in found.items()}


def partings(session: Session) -> frozenset[tuple[Ref, str]]:
    """What humans have ruled out: (identity, the person whom it is not)."""
    rows = session.connection().execute(text("SELECT source, identity_id, person_id::text FROM parting"))
    return frozenset(((source, id), person) for source, id, person in rows)


# --- one of two ------------------------------------------------------------------------------------------------------


def merge(session: Session, joins: Iterable[Join], now: dt.datetime) -> list[tuple[uuid.UUID, str]]:
    """Everything of each joined person becomes the older one's; their row stays and says whose. Where a human holds one
    of them as departed, both are held.

    Changes that were planned for them are history: no apply goes on with those. Of two open offboardings the older
    person's goes on; the others, which are returned with whose they are now, end with it.
    """
    all_ = sorted(joins, key=lambda j: j.person_id)
    if not all_:
        return []
    people = sorted({uuid.UUID(p) for j in all_ for p in (j.into, j.person_id)})
    session.execute(text(_OPEN_OFFBOARDINGS), {"ids": people})  # before the people, as whoever works on one does
    session.execute(text("SELECT 1 FROM person WHERE id = ANY(:ids) ORDER BY id FOR UPDATE"), {"ids": people})
    moved = {
        "gone": [uuid.UUID(j.person_id) for j in all_],
        "into": [uuid.UUID(j.into) for j in all_],
        "key": [j.key for j in all_],
    }
    ended = session.execute(text(_DOUBLED), {**moved, "now": now, "why": _GOES_ON}).all()
    with planned_for_all_rows(session):
        for statement in _MERGING:
            session.connection().execute(text(statement), moved)
    return [(row.id, str(row.person)) for row in ended]


def part(session: Session, ref: Ref, now: dt.datetime) -> str:
    """Give an identity a person of its own; returns who that is. Both are marked as they were: whom a human held as
    departed stays held, and what the sources say of each lifts what they said of the two."""
    person = uuid.uuid4()
    who = {"source": ref[0], "id": ref[1], "person": person, "now": now}
    session.execute(
        text(
            "INSERT INTO person (id, created_at, departure_marked_at, departure_cause, gains_reviewed)"
            " SELECT :person, :now, p.departure_marked_at, p.departure_cause, p.gains_reviewed"
            " FROM person p JOIN person_identity i ON i.person_id = p.id"
            " WHERE i.source = :source AND i.identity_id = :id"
        ),
        who,
    )
    session.execute(
        text(
            "UPDATE person_identity SET person_id = :person, since = :now, key_used = ''"
            " WHERE source = :source AND identity_id = :id"
        ),
        who,
    )
    return str(person)


def rule_out(session: Session, refs: Iterable[Ref], person_id: str, actor: str, now: dt.datetime) -> None:
    """Remember that these identities are not that person's."""
    for source, id in refs:
        session.execute(
            text(
                "INSERT INTO parting (source, identity_id, person_id, actor, at)"
                " VALUES (:source, :id, :person, :actor, :now) ON CONFLICT DO NOTHING"
            ),
            {"source": source, "id": id, "person": uuid.UUID(person_id), "actor": actor, "now": now},
        )


def rule_in(session: Session, person_id: str) -> None:
    """A human says that all identities of a person are one human: nothing of what was said before holds among them."""
    session.execute(
        text(
            "DELETE FROM parting WHERE person_id = :person AND (source, identity_id) IN"
            " (SELECT source, identity_id FROM person_identity WHERE person_id = :person)"
        ),
        {"person": uuid.UUID(person_id)},
    )


def identities_of(session: Session, person_id: str) -> dict[Ref, str]:
    """A person's identities, oldest first, each with the key that joined it."""
    rows = session.execute(
        text(
            "SELECT source, identity_id, key_used FROM person_identity WHERE person_id = :person"
            " ORDER BY since, source, identity_id"
        ),
        {"person": uuid.UUID(person_id)},
    )
    return {(source, id): key for source, id, key in rows}


def identities_named(session: Session, query: str) -> dict[Ref, str]:
    """Identities by source id, login or e-mail as last known, in any letter case; `okta:00u1` says which source. Each
    with its person."""
    source, _, rest = query.strip().partition(":")
    rows = session.execute(text(_NAMED), {"query": query.strip(), "source": source, "rest": rest})
    return {(row.source, row.id): str(row.person_id) for row in rows}


def value_counts(session: Session, sources: Sequence[str], key: str) -> dict[str, tuple[int, int, int]]:
    """By source: how many people who have not departed it has, how many have the key, and how many share a value."""
    statement = _COUNTS.format(value=_value(0, key))
    with planned_for_all_rows(session):
        rows = session.connection().execute(text(statement), {"sources": list(sources), "key_0": key}).all()
    return {source: (people, filled, shared) for source, people, filled, shared in rows}


# Every identity as it is, or as it was last.
_KNOWN = """
known AS MATERIALIZED (
    SELECT p.source, p.identity_id AS id, p.person_id, p.since, i.login, i.email, i.attributes, i.standing,
        p.source = ANY(:sources) AS there
    FROM person_identity p JOIN identity i ON i.source = p.source AND i.id = p.identity_id AND i.valid_to IS NULL
    UNION ALL
    SELECT p.source, p.identity_id, p.person_id, p.since, i.login, i.email, i.attributes, i.standing, false
    FROM person_identity p JOIN (
        SELECT DISTINCT ON (source, id) source, id, login, email, attributes, standing FROM identity AS old
        WHERE valid_to IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM identity n WHERE n.source = old.source AND n.id = old.id AND n.valid_to IS NULL)
        ORDER BY source, id, valid_from DESC
    ) i ON i.source = p.source AND i.id = p.identity_id
)
"""

# Values that `loose` does not merely trim and put in lower case.
_SPELT = """
WITH {known}
SELECT DISTINCT v.value FROM known i CROSS JOIN LATERAL (VALUES {cases}) AS v (key, value)
WHERE octet_length(v.value) <> char_length(v.value)
"""

_SHARED = """
WITH {known}, valued AS (
    SELECT i.source, i.person_id, v.key, i.there AND i.standing <> 'departed' AS here,
        coalesce(spelt.form, lower(btrim(v.value, E' \\t\\n\\r\\x0b\\f\\x1c\\x1d\\x1e\\x1f') COLLATE "C")) AS form
    FROM known i CROSS JOIN LATERAL (VALUES {cases}) AS v (key, value)
    LEFT JOIN unnest(CAST(:raw AS text[]), CAST(:forms AS text[])) AS spelt (raw, form) ON spelt.raw = v.value
    WHERE v.value <> ''
), of_source AS (
    SELECT key, form, source, count(DISTINCT person_id) AS people, bool_or(here) AS here,
        min(person_id::text) AS one, max(person_id::text) AS other
    FROM valued WHERE form <> '' GROUP BY key, form, source
), shared AS (
    SELECT key, form FROM of_source GROUP BY key, form
    HAVING min(one) <> max(other) AND max(people) <= :most AND bool_or(here)
), concerned AS (
    SELECT DISTINCT person_id FROM valued JOIN shared USING (key, form)
)
SELECT i.source, i.id, i.person_id, i.there, i.standing,
    coalesce(i.attributes ->> 'userType' = 'Guest', false) AS guest,
    ARRAY[{values}] AS key_values,
    person.created_at, person.departure_marked_at IS NOT NULL AS marked
FROM known i JOIN concerned USING (person_id) JOIN person ON person.id = i.person_id
ORDER BY i.person_id, i.since, i.source, i.id
"""

_GOES_ON = "they turned out to be somebody whose offboarding goes on"

_OPEN_OFFBOARDINGS = """
SELECT 1 FROM offboarding WHERE person_id = ANY(:ids) AND closed_at IS NULL ORDER BY id FOR UPDATE
"""

_MOVED = "unnest(CAST(:gone AS uuid[]), CAST(:into AS uuid[]), CAST(:key AS text[])) AS moved (gone, person, key)"
_CAUSES = "ARRAY['forced', 'asked', 'source']"

# All but one of the open offboardings of people who turn out to be one end; whoever forced one of those has forced it.
_DOUBLED = f"""
WITH concerned AS (
    SELECT o.id, coalesce(moved.person, o.person_id) AS person, o.forced, o.decided_by,
        row_number() OVER (
            PARTITION BY coalesce(moved.person, o.person_id) ORDER BY moved.person IS NOT NULL, o.requested_at, o.id
        ) AS place
    FROM offboarding o LEFT JOIN {_MOVED} ON o.person_id = moved.gone
    WHERE o.closed_at IS NULL AND (moved.person IS NOT NULL OR o.person_id = ANY(CAST(:into AS uuid[])))
), forced AS (
    UPDATE offboarding SET forced = true, decided_by = other.decided_by
    FROM concerned one JOIN concerned other ON other.person = one.person AND other.place > 1 AND other.forced
    WHERE offboarding.id = one.id AND one.place = 1 AND NOT one.forced
)
UPDATE offboarding SET state = 'lifted', why = :why, closed_at = :now FROM concerned one
WHERE offboarding.id = one.id AND one.place > 1 RETURNING offboarding.id, one.person
"""

_MERGING = (
    "UPDATE person_identity SET person_id = moved.person,"
    " key_used = CASE WHEN key_used = '' THEN moved.key ELSE key_used END"
    f" FROM {_MOVED} WHERE person_id = moved.gone",
    f"UPDATE link SET person_id = moved.person FROM {_MOVED} WHERE person_id = moved.gone",
    "INSERT INTO parting (source, identity_id, person_id, actor, at)"
    f" SELECT source, identity_id, moved.person, actor, at FROM parting JOIN {_MOVED} ON person_id = moved.gone"
    " ON CONFLICT DO NOTHING",
    "DELETE FROM parting WHERE person_id = ANY(CAST(:gone AS uuid[]))",
    # What was decided about a drift of theirs stays decided; what is still to be told is told of whom they are.
    f"UPDATE episode SET person_id = moved.person FROM {_MOVED} WHERE person_id = moved.gone AND closed_at IS NULL",
    # The latest mark, for the strongest reason: a human's word goes before the sources'.
    "UPDATE person SET departure_marked_at = greatest(person.departure_marked_at, theirs.marked_at),"
    f" departure_cause = coalesce("
    f" ({_CAUSES})[least(array_position({_CAUSES}, person.departure_cause), theirs.cause)], ''),"
    " gains_reviewed = person.gains_reviewed OR theirs.gains_reviewed"
    " FROM (SELECT moved.person, max(p.departure_marked_at) AS marked_at, bool_or(p.gains_reviewed) AS gains_reviewed,"
    f" min(array_position({_CAUSES}, p.departure_cause)) AS cause"
    f" FROM {_MOVED} JOIN person p ON p.id = moved.gone GROUP BY moved.person) AS theirs"
    " WHERE person.id = theirs.person",
    f"UPDATE offboarding SET person_id = moved.person FROM {_MOVED} WHERE person_id = moved.gone",
    # The sources are asked about who they are now; what was done with already has more accounts.
    "UPDATE offboarding SET state = CASE WHEN state = 'working' THEN 'asked' ELSE state END,"
    " begun_at = CASE WHEN state = 'waiting' THEN NULL ELSE begun_at END, not_before = NULL"
    f" FROM {_MOVED} WHERE person_id = moved.person AND closed_at IS NULL AND NOT forced",
    "UPDATE offboarding_target part SET state = 'open', rounds = 0, not_before = NULL, verified_at = NULL"
    f" FROM offboarding o JOIN {_MOVED} ON o.person_id = moved.person"
    " WHERE part.offboarding_id = o.id AND o.closed_at IS NULL AND part.state = 'done'",
    f"UPDATE person SET merged_into = moved.person FROM {_MOVED} WHERE id = moved.gone OR merged_into = moved.gone",
)

_NAMED = """
SELECT DISTINCT p.source, p.identity_id AS id, p.person_id
FROM person_identity p
LEFT JOIN LATERAL (
    SELECT login, email FROM identity i WHERE i.source = p.source AND i.id = p.identity_id
    ORDER BY valid_from DESC LIMIT 1
) AS last ON true
WHERE (p.source = :source AND (p.identity_id = :rest OR lower(last.login) = lower(:rest)
        OR lower(last.email) = lower(:rest)) AND :rest <> '')
   OR p.identity_id = :query OR lower(last.login) = lower(:query) OR lower(last.email) = lower(:query)
ORDER BY p.source, p.identity_id
"""

_COUNTS = """
WITH valued AS (
    SELECT i.source, lower({value}) AS value FROM identity i
    WHERE i.valid_to IS NULL AND i.standing <> 'departed' AND i.source = ANY(:sources)
), shared AS (
    SELECT source, value, count(*) AS number FROM valued GROUP BY source, value
)
SELECT source, sum(number)::int, coalesce(sum(number) FILTER (WHERE value <> ''), 0)::int,
    coalesce(sum(number) FILTER (WHERE value <> '' AND number > 1), 0)::int
FROM shared GROUP BY source
"""
