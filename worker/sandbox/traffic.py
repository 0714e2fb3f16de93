"""What a sandbox server was asked: how often, what for, how much in the worst minute; and its limit, if it has one."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from typing import Any

MINUTE = 60.0
_ID = re.compile(r"(?<=/)(?:(?:id:)?\d+|00[ugo][0-9A-Za-z]+|username:[^/]+)(?=/|$)|(?<=/tokens/).+|(?<=/roles/).+")


class Traffic:
    """Calls as they arrive. Beyond `limit` in any 60 seconds, wherever they begin, the answer is 429."""

    def __init__(self) -> None:
        self.limit: int | None = None
        self.forget()

    def forget(self) -> None:
        """Count from now on; what belongs to the minute that runs still does."""
        self._recent: deque[float] = getattr(self, "_recent", deque())
        self._under_way = getattr(self, "_under_way", 0)
        self._calls: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._worst_minute = self._most_at_once = 0

    def begins(self, method: str, path: str) -> bool:
        """Count a call; False where it is one too many."""
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - MINUTE:
            self._recent.popleft()
        self._recent.append(now)
        self._under_way += 1
        self._calls[f"{method} {_ID.sub('*', path)}"] += 1
        self._worst_minute = max(self._worst_minute, len(self._recent))
        self._most_at_once = max(self._most_at_once, self._under_way)
        return self.limit is None or len(self._recent) <= self.limit

    def ends(self, status: int) -> None:
        self._under_way -= 1
        self._statuses[status] += 1

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "calls": dict(self._calls), "statuses": {str(s): n for s, n in self._statuses.items()},
            "worst_minute": self._worst_minute, "most_at_once": self._most_at_once, "limit": self.limit,
        }  # fmt: skip
