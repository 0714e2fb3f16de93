"""What part of a tenant's limit is ours, and what that means in calls; the same for the shared and the local budget."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from worker.ports import MOST_FOR_LEAVERS, Gauge

WINDOW = 60.0  # seconds: limits are counted per minute
LONGEST_SHUT = 3600.0  # whatever a vendor says, it is asked again after that
LARGEST_LIMIT = 1_000_000
SLOT_LIFE = 60.0  # seconds after which a call counts as over: a killed worker cannot say so
FEWEST_AT_ONCE = 2  # one for the ordinary lane, one for leavers
LEAVER = "leaver"
CROWDED = 0.05  # seconds to look again after, where too many calls are under way


@dataclass(frozen=True, slots=True)
class Terms:
    """How one connector uses its tenant. `per_minute` is the vendor's limit until its headers say another one; `share`
    of it is ours, and of that the part `leavers` is for taking departed people's access only."""

    tenant: str
    per_minute: float
    share: float
    leavers: float
    at_once: int

    def flow(self, limit: float) -> tuple[float, float, float]:
        """(tokens that a bucket holds, of which are the leavers', tokens a second), so that what a full bucket and a
        minute's refill bring is together no more than our share: in no minute, wherever it begins, are there more."""
        ours = limit * self.share
        burst = max(1.0, ours / 10)
        reserve = min(max(1.0, ours * self.leavers), ours * MOST_FOR_LEAVERS) if self.leavers else 0.0
        return burst + reserve, reserve, max(ours - burst - reserve, ours / 2) / WINDOW

    def room(self, width: float, lane: str) -> float:
        """How many calls may be under way at once for this lane to start another."""
        return width if lane == LEAVER or not self.leavers else width - max(1.0, width * self.leavers)


def tenant_of(type: str, url: str) -> str:
    """A name for everything behind one host: connectors that share it share its budget. Hashed, for it is a key."""
    parts = urlsplit(url)
    host = f"{(parts.hostname or url).lower()}:{parts.port or {'http': 80}.get(parts.scheme, 443)}"
    return digest(f"{type} {host}")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer means for the budget. `limit` None: nothing was said of one."""

    answered: bool
    crowd: bool  # too many at once
    limit: float | None
    remaining: float
    shut: float  # seconds for which nothing gets through
    ordinary_shut: float  # seconds for which only leavers' calls do


def said(terms: Terms, status: int, gauge: Gauge | None) -> Said:
    """A throttled answer that names no limit may mean either: fewer at once, and none at this very moment."""
    throttled = status == 429
    answered = 0 < status < 500 and not throttled
    if gauge is None or gauge.limit == 0:
        return Said(answered, throttled, None, 0.0 if throttled and gauge is None else LARGEST_LIMIT, 0.0, 0.0)
    wait = min(max(gauge.reset, 0.0), LONGEST_SHUT)
    if gauge.limit < 0:
        return Said(answered, False, None, 0.0, wait, 0.0)
    limit, remaining = float(min(gauge.limit, LARGEST_LIMIT)), float(min(max(gauge.remaining, 0), LARGEST_LIMIT))
    if throttled or remaining <= 0:
        return Said(answered, False, limit, 0.0, wait, 0.0)
    kept = int(limit * terms.share * terms.leavers)  # what the vendor has left is the leavers' first
    return Said(answered, False, limit, remaining, 0.0, wait if remaining <= kept else 0.0)


class Buckets(Protocol):
    """Where tokens are counted."""

    def take(self, terms: Terms, bucket: str, lane: str, slot: str) -> float:
        """Seconds to wait before asking again; 0 when the call may be made now. `slot` names the call among those
        under way ("": it is made on the way to another that is counted already)."""
        ...

    def settle(self, terms: Terms, bucket: str, slot: str, outcome: Said) -> None:
        """A call has ended."""
        ...
