"""What every part of an offboarding shares: the case in hand, waiting for humans, putting off, calling off."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlmodel import Session

from worker.core.audit import Event
from worker.core.identity import Person
from worker.core.notices import NoticeKind
from worker.core.render import person_label
from worker.errors import TrueupError, Unavailable, Unknown
from worker.flows.site import Nudge, Site
from worker.ports import Target
from worker.rest import CALLS_OVER
from worker.store import decisions, installations, notices, offboardings, people
from worker.store import jobs as slots
from worker.store.offboardings import LIFTED, WAITING, WORKING
from worker.store.tables import OffboardingRow

OFFBOARD = "offboard"
AGAIN, LATER = dt.timedelta(seconds=5), dt.timedelta(minutes=1)  # for what passes, and for what somebody must correct


BEFORE_LOCK_OUT = 20.0  # seconds at most, for what works for others


@contextmanager
def over_by(until: float | None) -> Iterator[None]:
    """Every vendor call in the block is over at this time.monotonic(), where one is given."""
    token = CALLS_OVER.set(until)
    try:
        yield
    finally:
        CALLS_OVER.reset(token)


@dataclass(frozen=True)
class Case:
    """One offboarding in one target, in the hands of this worker; `person` is as last known, and departed."""

    site: Site
    row: OffboardingRow
    target: str
    person: Person

    @property
    def connector(self) -> Target:
        return self.site.targets[self.target]

    @property
    def person_id(self) -> str:
        return self.person.id


def go_on(site: Site, session: Session, row: OffboardingRow) -> None:
    """Each target is somebody's own work from here on."""
    row.state, row.why = WORKING, ""
    offboardings.add_parts(session, row.id, site.loaded.targets)
    site.nudge(session, *(Nudge(OFFBOARD, (str(row.id), target)) for target in site.loaded.targets))


def wait(site: Site, session: Session, row: OffboardingRow, why: str) -> None:
    """It is a human's turn, and humans are told."""
    row.state, row.why = WAITING, why
    sentence = f"{name_of(session, row.person_id)} is leaving, and it waits for a human: {why}"
    notices.notice(
        session, NoticeKind.LEAVER_WAITS, str(row.id), sentence, site.now(), person_id=row.person_id, urgent=True
    )


def look_soon(site: Site, session: Session, sources: Iterable[str]) -> None:
    """Whole reads of these sources and the plans that follow are due now, and not when the schedule says: something
    has happened there that is no one person's departure."""
    now = site.now()
    for source in sources:
        slots.ensure(session, f"pull {source}", now, now)
    for target in site.loaded.targets:
        slots.ensure(session, f"reconcile {target}", now, now)


def pause_after(error: TrueupError) -> dt.timedelta:
    """How long what met this error waits before it is tried again: it never gives up."""
    if isinstance(error, Unavailable) and error.retry_after is not None:
        return dt.timedelta(seconds=error.retry_after)
    return AGAIN if isinstance(error, Unavailable | Unknown) else LATER


def call_off(site: Site, session: Session, person_id: str, why: str) -> list[Event]:
    """They are back: what is open about their departure ends, and nobody watches them any more."""
    row = offboardings.open_of(session, person_id)
    offboardings.end_watch(session, uuid.UUID(person_id))
    if row is None:
        return []
    row.state, row.why, row.closed_at = LIFTED, why, site.now()
    return [site.event("offboarding called off", {"offboarding": row.id, "why": why}, person_id=person_id)]


def end_waivers(session: Session, person_id: str, now: dt.datetime) -> int:
    """Nobody accepts that somebody who has departed still holds anything."""
    links = [(link.target, link.account_id) for link in people.links_of(session, person_id) if link.state == "linked"]
    instances = {target: installations.instance_of(session, target) for target, _ in links}
    return decisions.end_waivers(session, instances, links, now)


def name_of(session: Session, person_id: uuid.UUID) -> str:
    name, login = people.labels(session, [str(person_id)]).get(str(person_id), ("", ""))
    return person_label(name, login)
