"""Episodes: when each drift appeared, how long it has stood, and when it ended."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from worker.core.drift import Drift
from worker.store.tables import Episode

MANY = 1_000  # keys in one statement


@dataclass(frozen=True, slots=True)
class Course:
    """The open episodes of a target after a reconciliation, by drift key, and how the picture moved."""

    open: Mapping[str, uuid.UUID]
    opened: int
    closed: int


def follow(
    session: Session,
    target: str,
    drifts: Iterable[Drift],
    sentence: Callable[[Drift], str],
    unsure_people: Collection[str],
    now: dt.datetime,
) -> Course:
    """Open an episode for each new drift, and close those whose drift is gone. The drift of people who could not be
    judged in this run neither goes on nor ends. The same drift on an account that has become somebody else's is a new
    one: what people decided about it, they decided about another person."""
    open_now = open_episodes(session, target)
    found = {drift.key: drift for drift in drifts}
    passed_on = {e.id for e in open_now if e.drift_key in found and _person(found[e.drift_key]) != e.person_id}
    close(session, passed_on, now)
    known = {e.drift_key: e for e in open_now if e.id not in passed_on}
    fresh = [_episode(drift, sentence(drift), now) for key, drift in found.items() if key not in known]
    opened = _open(session, fresh)
    standing = [known[key].id for key in found if key in known]
    if standing:
        session.connection().execute(update(Episode).where(col(Episode.id).in_(standing)).values(last_seen_at=now))
    _retell(session, known, found, sentence)
    gone = [e.id for key, e in known.items() if key not in found and str(e.person_id or "") not in unsure_people]
    if gone:
        session.connection().execute(update(Episode).where(col(Episode.id).in_(gone)).values(closed_at=now))
    ids = {key: opened[key] if key in opened else known[key].id for key in found}
    return Course(ids, len(fresh), len(gone) + len(passed_on))


def ensure(
    session: Session, drifts: Iterable[Drift], sentence: Callable[[Drift], str], now: dt.datetime
) -> dict[str, uuid.UUID]:
    """The open episode of each of these drifts by its key, made where there is none; no other one is touched."""
    found = {drift.key: drift for drift in drifts}
    query = select(Episode).where(col(Episode.drift_key).in_(list(found)), col(Episode.closed_at).is_(None))
    known = {e.drift_key: e for e in session.exec(query)}
    passed_on = [e.id for key, e in known.items() if _person(found[key]) != e.person_id]
    close(session, passed_on, now)
    ids = {key: e.id for key, e in known.items() if e.id not in passed_on}
    fresh = [_episode(drift, sentence(drift), now) for key, drift in found.items() if key not in ids]
    return ids | _open(session, fresh)


def _open(session: Session, fresh: Sequence[Mapping[str, Any]]) -> dict[str, uuid.UUID]:
    """Ids by drift key. A plan and somebody's offboarding may find the same at the same time: the first word stands."""
    if not fresh:
        return {}
    still_open = col(Episode.closed_at).is_(None)
    new = insert(Episode).on_conflict_do_nothing(index_elements=["drift_key"], index_where=still_open)
    session.connection().execute(new, sorted(fresh, key=lambda row: str(row["drift_key"])))
    keys = {row["drift_key"] for row in fresh}
    query = select(Episode.drift_key, Episode.id).where(still_open)
    some = query.where(col(Episode.drift_key).in_(keys)) if len(keys) < MANY else query
    return {key: id for key, id in session.exec(some) if key in keys}


def _retell(
    session: Session, known: Mapping[str, Episode], found: Mapping[str, Drift], sentence: Callable[[Drift], str]
) -> None:
    """A drift that stands may read differently by now: somebody was renamed, or one of the disputed has departed."""
    told = [(known[key], sentence(drift), drift.urgent) for key, drift in found.items() if key in known]
    changed = [
        {"episode": episode.id, "now_reads": reads, "now_urgent": urgent}
        for episode, reads, urgent in told
        if (episode.sentence, episode.urgent) != (reads, urgent)
    ]
    if changed:
        session.connection().execute(
            update(Episode)
            .where(col(Episode.id) == bindparam("episode"))
            .values(sentence=bindparam("now_reads"), urgent=bindparam("now_urgent")),
            changed,
        )


def close(session: Session, episode_ids: Collection[uuid.UUID], now: dt.datetime) -> None:
    """The cure was applied and read back."""
    if episode_ids:
        session.connection().execute(
            update(Episode)
            .where(col(Episode.id).in_(list(episode_ids)), col(Episode.closed_at).is_(None))
            .values(closed_at=now)
        )


def open_episodes(session: Session, target: str | None = None) -> list[Episode]:
    """What stands now, oldest first."""
    query = (
        select(Episode).where(col(Episode.closed_at).is_(None)).order_by(col(Episode.opened_at), col(Episode.drift_key))
    )
    return list(session.exec(query.where(Episode.target == target) if target else query))


def _person(drift: Drift) -> uuid.UUID | None:
    return uuid.UUID(drift.person_id) if drift.person_id else None


def _episode(drift: Drift, sentence: str, now: dt.datetime) -> dict[str, Any]:
    return {
        "id": uuid.uuid4(),
        "drift_key": drift.key,
        "target": drift.target,
        "kind": drift.kind.value,
        "person_id": _person(drift),
        "account_id": drift.account_id,
        "entitlement": drift.entitlement.key if drift.entitlement else drift.field,
        "sentence": sentence,
        "urgent": drift.urgent,
        "opened_at": now,
        "last_seen_at": now,
        "closed_at": None,
    }
