"""Which events of a source's hooks have been seen: each counts once, however often its vendor tells of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session


@dataclass(frozen=True, slots=True)
class Seen:
    """An event, or a delivery of several, under the vendor's own id. `said` is the vendor's word for it."""

    event_id: str
    said: str
    at: dt.datetime


def hurry(session: Session, seconds: float) -> None:
    """Whoever told us waits for an answer: no statement of this transaction, and no lock, takes longer than that."""
    for setting in ("statement_timeout", "lock_timeout"):
        session.execute(
            text("SELECT set_config(:name, :value, true)"), {"name": setting, "value": f"{int(seconds * 1000)}ms"}
        )


def remember(session: Session, source: str, events: Sequence[Seen], now: dt.datetime) -> set[str]:
    """Ids of those that were not seen before. Of two that tell at once, the second waits for the first."""
    if not events:
        return set()
    made = session.execute(
        text(
            "INSERT INTO hint (source, event_id, said, event_at, received_at)"
            " SELECT :source, e.id, e.said, e.at, :now"
            " FROM unnest(CAST(:ids AS text[]), CAST(:said AS text[]), CAST(:at AS timestamptz[])) AS e (id, said, at)"
            " ORDER BY e.id ON CONFLICT (source, event_id) DO NOTHING RETURNING event_id"
        ),
        {
            "source": source,
            "ids": [event.event_id for event in events],
            "said": [event.said for event in events],
            "at": [event.at for event in events],
            "now": now,
        },
    )
    return set(made.scalars())
