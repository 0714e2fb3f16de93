"""What /readyz asks before it says that Trueup may be relied on, and what each complaint sounds like."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from worker.core.deadman import overdue
from worker.core.render import counted
from worker.errors import TrueupError
from worker.settings import Loaded
from worker.settings.schedule import periods
from worker.store import vitals
from worker.store.session import Store

SHOWN = 10  # overdue jobs that are named


class NotWell(TrueupError):
    """A check that could be made and found something wrong."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one check has come to, in words."""

    check: str
    well: bool
    says: str


@dataclass(frozen=True, slots=True)
class Probe:
    """One check: `ask` says how things are when all is well, and raises a TrueupError when it is not."""

    check: str
    ask: Callable[[], str]

    def answer(self) -> Answer:
        try:
            return Answer(self.check, True, self.ask())
        except TrueupError as error:
            return Answer(self.check, False, str(error))


def database(store: Store) -> Probe:
    """It answers, and has the shape that this Trueup needs."""

    def ask() -> str:
        store.assert_current()
        return "reachable, and at the revision that this Trueup needs"

    return Probe("database", ask)


def redis(ping: Callable[[], None]) -> Probe:
    """The broker answers; `ping` raises Unavailable when it does not."""

    def ask() -> str:
        ping()
        return "reachable"

    return Probe("redis", ask)


def jobs(store: Store, loaded: Loaded, watched_since: dt.datetime, now: Callable[[], dt.datetime]) -> Probe:
    """The dead-man's switch: every job of the schedule has succeeded lately."""

    def ask() -> str:
        moment, settings = now(), loaded.settings
        store.assert_current()
        with store.begin() as session:
            pasts = vitals.job_pasts(session)
        scheduled = periods(settings, moment)
        late = overdue(scheduled, pasts, settings.schedule.overdue_after, watched_since, moment)
        if late:
            more = [f"and {counted(len(late) - SHOWN, 'more job')}"] if late[SHOWN:] else []
            raise NotWell("; ".join([*(one.sentence(moment) for one in late[:SHOWN]), *more]))
        return (
            f"each of {counted(len(scheduled), 'job')} has succeeded within {settings.schedule.overdue_after} intervals"
        )

    return Probe("jobs", ask)
