"""When a target may be changed: inside its windows, by the clock on the wall, and outside every freeze.

Reading goes on at any time, and so does taking from people who have departed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_DAY = dt.timedelta(days=1)
_WEEK = 8  # days: the window that opens next is not farther away than that


@dataclass(frozen=True, slots=True)
class Window:
    """Open from `opens` to `closes` of each of these days (0 is Monday); to that time of the day after, when `closes`
    is not later than `opens`."""

    days: frozenset[int]
    opens: dt.time
    closes: dt.time

    def open_at(self, wall: dt.datetime) -> bool:
        """Whether it is open when the clock on the wall shows this."""
        time, today = wall.time(), wall.weekday()
        if self.opens < self.closes:
            return today in self.days and self.opens <= time < self.closes
        return (today in self.days and self.opens <= time) or ((today - 1) % 7 in self.days and time < self.closes)


@dataclass(frozen=True, slots=True)
class Freeze:
    """From one instant to another, for these targets; for all when none is named."""

    targets: frozenset[str]
    begins: dt.datetime
    ends: dt.datetime
    why: str

    def holds(self, target: str, now: dt.datetime) -> bool:
        return (not self.targets or target in self.targets) and self.begins <= now < self.ends


@dataclass(frozen=True, slots=True)
class Closed:
    """A target that may not be changed now. `why` is "" outside its windows, else what the freeze is for."""

    target: str
    opens: dt.datetime  # in the policy's time zone
    frozen: bool
    why: str

    def __str__(self) -> str:
        """`the window of looker (opens Mon 08:00 UTC)`"""
        what = "the end of the freeze of" if self.frozen else "the window of"
        return f"{what} {self.target} (opens {self.opens:%a %Y-%m-%d %H:%M %Z}{f'; {self.why}' if self.why else ''})"


def closed(
    target: str, now: dt.datetime, zone: dt.tzinfo, windows: Sequence[Window], freezes: Sequence[Freeze]
) -> Closed | None:
    """Why the target may not be changed at this instant and when it may be next; None when it may. Without a window it
    is always open but for freezes."""

    def open_at(instant: dt.datetime) -> bool:
        if any(freeze.holds(target, instant) for freeze in freezes):
            return False
        return not windows or any(window.open_at(instant.astimezone(zone)) for window in windows)

    if open_at(now):
        return None
    ends = [freeze.ends for freeze in freezes if freeze.ends > now]
    candidates = {*ends, *(o for since in (now, *ends) for o in _openings(since, zone, windows))}
    opens = min(instant for instant in candidates if instant > now and open_at(instant))
    freeze = next((f for f in freezes if f.holds(target, now)), None)
    return Closed(target, opens.astimezone(zone), freeze is not None, freeze.why if freeze else "")


def _openings(since: dt.datetime, zone: dt.tzinfo, windows: Sequence[Window]) -> Iterator[dt.datetime]:
    """Every instant of the next days at which some window may open."""
    today = since.astimezone(zone).date()
    for window in windows:
        for ahead in range(-1, _WEEK + 1):
            day = today + ahead * _DAY
            if day.weekday() in window.days:
                yield from instants(dt.datetime.combine(day, window.opens), zone)


def instants(wall: dt.datetime, zone: dt.tzinfo) -> tuple[dt.datetime, ...]:
    """When the clock on the wall shows this: once; twice in the hour that is repeated in autumn; in the hour that is
    left out in spring, when the clock leaps over it."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1))
    if first <= second:
        return tuple(dict.fromkeys((first, second)))
    before, after = second, first
    while after - before > dt.timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            before = middle
        else:
            after = middle
    return (after.replace(microsecond=0),)
