"""What was seen a moment ago, for whoever would only look at the same thing again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MOMENT = 5.0  # seconds: a few calls of one account, one after the other


class Glance(Generic[T]):
    """The last look at each of some things, for `life` seconds. Whoever changes one forgets it first."""

    def __init__(self, life: float = MOMENT, clock: Callable[[], float] = time.monotonic) -> None:
        self._life, self._clock = life, clock
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, T]] = {}

    def saw(self, id: str, thing: T, since: float) -> T:
        """`since` is when the look began, by our clock: it shows nothing that came later."""
        with self._lock:
            self._seen = {key: one for key, one in self._seen.items() if one[0] + self._life > since}
            self._seen[id] = (since, thing)
        return thing

    def of(self, id: str) -> T | None:
        """None where it has to be looked at again."""
        with self._lock:
            since, thing = self._seen.get(id, (0.0, None))
        return thing if thing is not None and since + self._life > self._clock() else None

    def forget(self, id: str) -> None:
        with self._lock:
            self._seen.pop(id, None)

    def now(self) -> float:
        return self._clock()
