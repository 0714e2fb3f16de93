"""The pieces of a read that is under way: any number of workers claim them here, and a killed one loses nothing.

A claim ends by the database's clock, or at once when its owner has certainly died. What a part brought, the parts that
follow from it and its being done belong into one transaction: so a part that is done twice is staged once.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from worker.ports import Part
from worker.store.owners import certainly_dead
from worker.store.staging import as_json

CLAIM = dt.timedelta(minutes=2)
ATTEMPTS = 5
_END = "(end)"  # the part that waits for all others: finishing the read and making it current
_WAITING = "state = 'waiting' OR (state = 'claimed' AND claimed_until <= clock_timestamp())"


@dataclass(frozen=True, slots=True)
class Claim:
    """A part that is ours for a while. `attempt` counts the claims so far, this one included, and tells it from those
    of others; `facts` are what an earlier owner noted."""

    id: uuid.UUID
    snapshot_id: uuid.UUID
    part: Part
    owner: str
    attempt: int
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Remaining:
    """How many parts wait for somebody, and how many somebody is at."""

    waiting: int
    claimed: int


def begin(session: Session, snapshot_id: uuid.UUID, owner: str, first: Sequence[Part]) -> None:
    """The first parts of a read, and its end."""
    add(session, snapshot_id, owner, [*first, Part(_END)])


def add(session: Session, snapshot_id: uuid.UUID, owner: str, parts: Sequence[Part]) -> None:
    """More parts, behind those that there are. One that the read has already, done or not, is not added again; the
    read must be locked, so that two workers do not both add it."""
    if not parts:
        return
    rows = [{"kind": part.kind, "args": dict(part.args)} for part in parts]
    session.execute(
        text(
            "INSERT INTO part (id, snapshot_id, position, kind, args, state, attempts, owner, claimed_until, failure,"
            " facts) SELECT gen_random_uuid(), :snapshot, place + (SELECT count(*) FROM part WHERE snapshot_id ="
            " :snapshot), one ->> 'kind', one -> 'args', 'waiting', 0, :owner, clock_timestamp() + :claim, '', '{}'"
            " FROM (SELECT one, min(place) AS place FROM jsonb_array_elements(CAST(:parts AS jsonb))"
            " WITH ORDINALITY AS asked (one, place) GROUP BY one) AS fresh WHERE NOT EXISTS (SELECT 1 FROM part known"
            " WHERE known.snapshot_id = :snapshot AND known.kind = one ->> 'kind' AND known.args = one -> 'args')"
        ),
        {"snapshot": snapshot_id, "owner": owner, "claim": CLAIM, "parts": as_json(rows)},
    )


def claim(session: Session, snapshot_id: uuid.UUID, owner: str, most: int = 1) -> list[Claim]:
    """Up to so many parts that nobody is at, in their order."""
    return _claim(session, snapshot_id, owner, most, f"kind <> '{_END}'")


def claim_end(session: Session, snapshot_id: uuid.UUID, owner: str) -> Claim | None:
    """The end of a read, for one worker at a time; None while parts remain or somebody is at it."""
    alone = "NOT EXISTS (SELECT 1 FROM part other WHERE other.snapshot_id = :snapshot AND other.id <> part.id"
    found = _claim(session, snapshot_id, owner, 1, f"kind = '{_END}' AND {alone} AND other.state <> 'done')")
    return found[0] if found else None


def _claim(session: Session, snapshot_id: uuid.UUID, owner: str, most: int, which: str) -> list[Claim]:
    # Materialized: a subquery might be run again for every row, and each run picks other rows that are not locked yet.
    claimed = text(
        "WITH picked AS MATERIALIZED (SELECT id AS chosen FROM part WHERE snapshot_id = :snapshot"
        f" AND ({_WAITING}) AND {which} AND attempts < :attempts ORDER BY position LIMIT :most FOR UPDATE SKIP LOCKED)"
        " UPDATE part SET state = 'claimed', owner = :owner, attempts = attempts + 1,"
        " claimed_until = clock_timestamp() + :claim FROM picked WHERE id = chosen"
        " RETURNING id, kind, args, attempts, facts, position"
    )
    known = {"snapshot": snapshot_id, "owner": owner, "claim": CLAIM, "attempts": ATTEMPTS, "most": most}
    rows = session.execute(claimed, known).all()
    if not rows and _free_the_dead(session, snapshot_id):
        rows = session.execute(claimed, known).all()
    rows = sorted(rows, key=lambda row: row.position)
    return [Claim(r.id, snapshot_id, Part(r.kind, r.args), owner, r.attempts, r.facts) for r in rows]


def _free_the_dead(session: Session, snapshot_id: uuid.UUID) -> bool:
    """Whether any part was claimed by a process that is no more."""
    owners = session.scalars(
        text("SELECT DISTINCT owner FROM part WHERE snapshot_id = :snapshot AND state = 'claimed'"),
        {"snapshot": snapshot_id},
    )
    dead = [owner for owner in owners if certainly_dead(owner)]
    if dead:
        session.execute(
            text(
                "UPDATE part SET state = 'waiting', claimed_until = clock_timestamp() WHERE state = 'claimed'"
                " AND snapshot_id = :snapshot AND owner = ANY(:dead)"
            ),
            {"snapshot": snapshot_id, "dead": dead},
        )
    return bool(dead)


def let_go(session: Session, owner: str) -> None:
    """Let anybody take what this owner has claimed. Only for one who is at nothing at all."""
    session.execute(
        text(
            "UPDATE part SET state = 'waiting', claimed_until = clock_timestamp()"
            " WHERE state = 'claimed' AND owner = :owner"
        ),
        {"owner": owner},
    )


_OURS = (
    " WHERE id = :id AND state = 'claimed' AND owner = :owner AND attempts = :attempt"
    " AND claimed_until > clock_timestamp() RETURNING id"
)


def finish(session: Session, claim: Claim, facts: Mapping[str, Any]) -> bool:
    """It is done. False when it is no longer ours: then nothing of it may be written."""
    return _set(session, claim, "state = 'done', facts = CAST(:facts AS jsonb)", facts=as_json(dict(facts)))


def note(session: Session, claim: Claim, facts: Mapping[str, Any]) -> bool:
    """Keep what whoever comes after us needs to know, and the claim with it. False when it is no longer ours."""
    return _set(session, claim, "facts = CAST(:facts AS jsonb)", facts=as_json(dict(facts)))


def hand_back(session: Session, claim: Claim, failure: str | None = None) -> bool:
    """Let anybody take it again. Without a failure it counts as never taken."""
    if failure is None:
        return _set(session, claim, "state = 'waiting', attempts = attempts - 1")
    return _set(session, claim, "state = 'waiting', failure = :failure", failure=failure)


def _set(session: Session, claim: Claim, values: str, **given: object) -> bool:
    ours = {"id": claim.id, "owner": claim.owner, "attempt": claim.attempt}
    return session.execute(text(f"UPDATE part SET {values}{_OURS}"), {**ours, **given}).one_or_none() is not None


def renew(session: Session, snapshot_id: uuid.UUID, owner: str) -> None:
    """Hold for longer what this owner is at; what has expired stays lost."""
    session.execute(
        text(
            "UPDATE part SET claimed_until = clock_timestamp() + :claim WHERE id IN (SELECT id FROM part"
            " WHERE snapshot_id = :snapshot AND owner = :owner AND state = 'claimed'"
            " AND claimed_until > clock_timestamp() FOR UPDATE SKIP LOCKED)"
        ),
        {"snapshot": snapshot_id, "owner": owner, "claim": CLAIM},
    )


def remaining(session: Session, snapshot_id: uuid.UUID) -> Remaining:
    """Without the end, which waits for all of them."""
    found = session.execute(
        text(
            f"SELECT count(*) FILTER (WHERE {_WAITING}) AS waiting, count(*) AS undone FROM part"
            f" WHERE snapshot_id = :snapshot AND kind <> '{_END}' AND state <> 'done'"
        ),
        {"snapshot": snapshot_id},
    ).one()
    return Remaining(found.waiting, found.undone - found.waiting)


def worn_out(session: Session, snapshot_id: uuid.UUID) -> str | None:
    """Why the part failed that has been tried often enough; None while there is hope for every one."""
    found = session.execute(
        text(
            f"SELECT failure FROM part WHERE snapshot_id = :snapshot AND attempts >= :attempts AND ({_WAITING})"
            " ORDER BY position LIMIT 1"
        ),
        {"snapshot": snapshot_id, "attempts": ATTEMPTS},
    ).one_or_none()
    if found is None:
        return None
    return found.failure or f"Whoever read a part of it was cut off, {ATTEMPTS} times; look into the workers' logs."


def done(session: Session, snapshot_id: uuid.UUID) -> list[tuple[Part, Mapping[str, Any]]]:
    """Every part that is done with its facts, in their order."""
    rows = session.execute(
        text("SELECT kind, args, facts FROM part WHERE snapshot_id = :snapshot AND state = 'done' ORDER BY position"),
        {"snapshot": snapshot_id},
    )
    return [(Part(row.kind, row.args), row.facts) for row in rows]


def under_way(session: Session, connector: str) -> bool:
    """Whether somebody who lives is at a read of this connector, or was until a moment ago."""
    owners = session.scalars(
        text(
            "SELECT DISTINCT p.owner FROM part p JOIN snapshot s ON s.id = p.snapshot_id WHERE s.connector = :connector"
            " AND s.certified_at IS NULL AND s.failure = '' AND p.claimed_until > clock_timestamp()"
        ),
        {"connector": connector},
    )
    return any(not certainly_dead(owner) for owner in owners)
