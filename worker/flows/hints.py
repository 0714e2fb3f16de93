"""Takes down what a source's vendor tells us by itself. It is believed by nobody: it says whom to read again, and when.

Told twice, too late or in the wrong order, it does no harm. What is never told, the next whole read finds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from worker.flows import offboarding
from worker.flows.leaving import look_soon
from worker.flows.site import Site
from worker.store import hints, offboardings
from worker.store.hints import Seen

STRONG = 2  # the weight from which a hint says that somebody leaves; one below only says that something has changed
CROWD = 200  # people who are asked about one by one because of weak hints; of more, one whole read tells sooner
HASTE = 1.5  # seconds that a statement may take: the vendor waits for an answer


@dataclass(frozen=True, slots=True)
class Hint:
    """Something has happened to somebody: `said` is the vendor's word for it, `event_id` the vendor's id of it."""

    event_id: str
    identity_id: str
    said: str
    at: dt.datetime
    weight: int = 0  # of two about one person, the heavier is heeded

    @property
    def seen(self) -> Seen:
        return Seen(self.event_id, self.said, self.at)


def take(site: Site, source: str, delivery: Seen | None, told: Sequence[Hint]) -> int:
    """Remember what is new, and have each person whom it is about looked at; returns how many events were new.
    A delivery that was taken before is not looked into."""
    now = site.now()
    with site.begin() as session:
        hints.hurry(session, HASTE)
        if delivery is not None and not hints.remember(session, source, [delivery], now):
            return 0
        return heed(site, session, source, told)


def heed(site: Site, session: Session, source: str, told: Sequence[Hint]) -> int:
    """The same in the caller's transaction."""
    now = site.now()
    new = hints.remember(session, source, [hint.seen for hint in _distinct(told)], now)
    chosen = _one_each(hint for hint in told if hint.event_id in new)
    strong = [hint for hint in chosen if hint.weight >= STRONG]
    if strong != chosen and len(chosen) - len(strong) + offboardings.unconfirmed(session) > CROWD:
        chosen = strong
        look_soon(site, session, [source])
    for hint in chosen:
        offboarding.heed(site, session, source, hint.identity_id, hint.said, min(hint.at, now))
    return len(new)


def _distinct(told: Sequence[Hint]) -> Iterable[Hint]:
    return {hint.event_id: hint for hint in told}.values()


def _one_each(told: Iterable[Hint]) -> list[Hint]:
    """For each person the heaviest, and of those the first to happen; by the person's id, so that two deliveries that
    are about the same people never wait for each other."""
    chosen: dict[str, Hint] = {}
    for hint in sorted(told, key=lambda hint: (-hint.weight, hint.at)):
        chosen.setdefault(hint.identity_id, hint)
    return [chosen[id] for id in sorted(chosen)]
