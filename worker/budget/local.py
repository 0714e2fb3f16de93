"""Buckets in this process alone: for a single command, and for as long as Redis does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from worker.budget.terms import CROWDED, FEWEST_AT_ONCE, LEAVER, SLOT_LIFE, Said, Terms

HAIR = 1e-6  # of a token: what rounding may take
SHORTEST = 0.001  # seconds of a wait; 0 is none


@dataclass
class _Bucket:
    tokens: float
    at: float
    limit: float
    shut: float = 0.0
    ordinary_shut: float = 0.0


@dataclass
class _Crowd:
    width: float
    cut: float = float("-inf")
    slots: dict[str, float] = field(default_factory=dict)  # call -> when it counts as over


class Local:
    """The same rules as the shared one's script; tests/test_budget.py holds both against each other."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._crowds: dict[str, _Crowd] = {}

    def take(self, terms: Terms, bucket: str, lane: str, slot: str) -> float:
        with self._lock:
            now = self._clock()
            found = self._bucket(terms, bucket, now)
            _, reserve, rate = terms.flow(found.limit)
            shut = found.shut if lane == LEAVER else max(found.shut, found.ordinary_shut)
            if shut > now:
                return max(SHORTEST, shut - now)
            needed = 1.0 if lane == LEAVER else 1.0 + reserve
            if found.tokens + HAIR < needed:
                return max(SHORTEST, (needed - found.tokens) / rate)
            if slot and not self._finds_room(terms, lane, slot, now):
                return CROWDED
            found.tokens -= 1
            return 0.0

    def settle(self, terms: Terms, bucket: str, slot: str, outcome: Said) -> None:
        with self._lock:
            now = self._clock()
            crowd = self._crowds.setdefault(terms.tenant, _Crowd(terms.at_once))
            crowd.slots.pop(slot, None)
            _correct_crowd(crowd, terms, outcome, now)
            found = self._bucket(terms, bucket, now)
            found.limit = outcome.limit or found.limit
            found.tokens = min(found.tokens, outcome.remaining)
            if outcome.shut:
                found.shut = max(found.shut, now + outcome.shut)
            if outcome.ordinary_shut:
                found.ordinary_shut = max(found.ordinary_shut, now + outcome.ordinary_shut)

    def _bucket(self, terms: Terms, bucket: str, now: float) -> _Bucket:
        """As it is now: filled up since it was last looked at."""
        key = (terms.tenant, bucket)
        if key not in self._buckets:
            self._buckets[key] = _Bucket(terms.flow(terms.per_minute)[0], now, terms.per_minute)
        found = self._buckets[key]
        full, _, rate = terms.flow(found.limit)
        found.tokens = min(full, found.tokens + max(0.0, now - found.at) * rate)
        found.at = now
        return found

    def _finds_room(self, terms: Terms, lane: str, slot: str, now: float) -> bool:
        crowd = self._crowds.setdefault(terms.tenant, _Crowd(terms.at_once))
        crowd.slots = {held: end for held, end in crowd.slots.items() if end > now}
        if len(crowd.slots) + 1 > terms.room(min(crowd.width, terms.at_once), lane):
            return False
        crowd.slots[slot] = now + SLOT_LIFE
        return True


def _correct_crowd(crowd: _Crowd, terms: Terms, outcome: Said, now: float) -> None:
    """Halved by a refusal, at most once a second since one crowd is refused many times; widened by one a round."""
    if outcome.crowd and now - crowd.cut >= 1:
        under_way = len(crowd.slots) + 1
        crowd.width, crowd.cut = max(FEWEST_AT_ONCE, min(crowd.width, under_way) / 2), now
    elif outcome.answered:
        crowd.width = min(terms.at_once, crowd.width + 1 / crowd.width)
