"""Departure marks: who has departed, by whose word, and when that is over. Whoever is marked is given nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import text
from sqlmodel import Session, col, select

from worker.core.identity import Standing
from worker.core.standing import FINAL, standing_of, weigh
from worker.store.bulk import planned_for_all_rows
from worker.store.tables import PersonRow

# Whose word a departure mark is: the sources', which lifts it too; a human's, which holds whatever the sources say; a
# human's that waits for a second one, by which nothing is given and nothing is taken.
BY_SOURCE, FORCED, ASKED = "source", "forced", "asked"
LAG = dt.timedelta(minutes=1)  # clocks differ, and a vendor's lists may be behind what it answers about one person


@dataclass(frozen=True, slots=True)
class Remark:
    """A departure mark that was just set or lifted, with the source whose word it is and the status that it gave."""

    person_id: str
    departed: bool
    source: str
    status: str
    linked: bool = False  # an account of theirs is known
    taken_over: bool = False  # they were held by a human's word until now


def remark_departures(
    session: Session, sources: Sequence[str], authority: str, final: Collection[str], now: dt.datetime
) -> list[Remark]:
    """Set the departure mark of everybody who by their sources has departed, and lift it from those who are active.

    `final` are sources whose silence is final in the end. The sources' own word takes the place of a human's. What a
    read says of anybody who was marked since it began is old: it lifts nothing.
    """
    asked = {"sources": list(sources), "final": list(final), "misses": FINAL, "cause": BY_SOURCE, "lag": LAG}
    with planned_for_all_rows(session):
        rows = session.connection().execute(_REMARKABLE, asked).all()
    found = [
        remark
        for (person, marked, cause, linked), of_person in groupby(rows, key=lambda r: (*r[:3], r.linked))
        if (remark := _remark(str(person), marked, cause, linked, list(of_person), authority)) is not None
    ]
    for statement, departed in ((_MARK, True), (_LIFT, False)):
        ids = [uuid.UUID(one.person_id) for one in found if one.departed is departed]
        if ids:
            session.execute(statement, {"ids": ids, "now": now, "cause": BY_SOURCE})
    return found


def _remark(
    person_id: str, marked: bool, cause: str, linked: bool, known: Sequence[Any], authority: str
) -> Remark | None:
    standing = weigh([(row.source, standing_of(row.standing, row.final)) for row in known], authority).standing
    decisive = min(known, key=lambda row: (row.said != standing.value, row.source != authority))
    word = (person_id, standing is Standing.DEPARTED, decisive.source, decisive.status)
    if standing is Standing.DEPARTED and cause != BY_SOURCE:
        return Remark(*word, linked=linked, taken_over=marked)
    deciding = [row for row in known if row.source == authority] or known
    if standing is Standing.ACTIVE and cause == BY_SOURCE and all(row.fresh for row in deciding):
        return Remark(*word)
    return None


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


# Whoever may have to be marked, or whose mark may have to be lifted: of an ordinary day's company, few. A row is
# `fresh` where its source's current read began after the mark.
_REMARKABLE = text("""
WITH known AS (
    SELECT p.person_id, p.source, p.since, p.identity_id, i.standing, i.status,
        i.standing IS NULL AND p.missed >= :misses AND p.source = ANY(:final) AS final
    FROM person_identity p
    LEFT JOIN identity i ON i.source = p.source AND i.id = p.identity_id AND i.valid_to IS NULL
    WHERE p.source = ANY(:sources)
), concerned AS (
    SELECT person.id, person.departure_marked_at IS NOT NULL AS marked, person.departure_cause,
        person.departure_marked_at + CAST(:lag AS interval) AS settled_at
    FROM person
    WHERE CASE WHEN person.departure_marked_at IS NULL
        THEN person.id IN (SELECT person_id FROM known WHERE standing = 'departed' OR final)
        WHEN person.departure_cause = :cause
        THEN person.id IN (SELECT person_id FROM known WHERE standing = 'active')
        ELSE person.id IN (SELECT person_id FROM known WHERE standing IN ('active', 'departed') OR final)
    END
)
SELECT known.person_id, concerned.marked, concerned.departure_cause, known.source, known.standing, known.final,
    CASE WHEN known.final THEN 'departed' ELSE coalesce(known.standing, '') END AS said,
    CASE WHEN known.final THEN 'gone' ELSE coalesce(known.status, 'absent') END AS status,
    coalesce(concerned.settled_at < read.started_at, false) AS fresh,
    EXISTS (SELECT 1 FROM link WHERE link.person_id = known.person_id AND link.state = 'linked') AS linked
FROM known JOIN concerned ON concerned.id = known.person_id
LEFT JOIN snapshot read ON read.connector = known.source AND read.current
ORDER BY known.person_id, array_position(:sources, known.source), known.since, known.identity_id
""")

_MARK = text("""
UPDATE person SET departure_marked_at = coalesce(departure_marked_at, :now), departure_cause = :cause
WHERE id = ANY(:ids)
""")
_LIFT = text("UPDATE person SET departure_marked_at = NULL, departure_cause = '' WHERE id = ANY(:ids)")
