"""Tells people what they should know without having asked: everything since the last time, in one message."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence

from worker import logs, notify
from worker.core.deadman import Overdue, overdue
from worker.core.notices import NoticeKind, compose
from worker.errors import Misconfigured, TrueupError, Unavailable
from worker.flows.site import Site
from worker.references import SecretReference
from worker.settings.schedule import periods
from worker.store import notices, vitals


def tell(site: Site) -> int:
    """Send what is unsent to everybody named in `notify.urls`, and return how many notices went out.

    Raises Unavailable when a receiver did not take its message: it gets it the next time, and nobody else twice.
    """
    settings = site.loaded.settings.notify
    watch_jobs(site)
    with site.begin() as session:
        notices.let_go(session, settings.on if settings.urls else (), site.now())
    told, failures = 0, list[TrueupError]()
    for receiver in settings.urls:
        try:
            told += _tell_one(site, receiver, settings.every)
        except (Misconfigured, Unavailable) as error:
            logs.event("notification failed", level=logging.ERROR, receiver=str(receiver), error=type(error).__name__)
            failures.append(error)
    if settings.urls:
        with site.begin() as session:
            notices.close(session, [str(receiver) for receiver in settings.urls], site.now())
    _raise_all(failures)
    return told


def _tell_one(site: Site, receiver: SecretReference, every: dt.timedelta) -> int:
    """Locked until it is written down that the receiver has it; a kill in between tells it twice, never not at all."""
    with site.begin() as session:
        untold = notices.untold(session, str(receiver), site.now() - every)
        if not untold.told:
            return 0
        notify.send(receiver, compose(untold.told))
        notices.mark_told(session, str(receiver), untold.keys, site.now())
    logs.event("notification sent", receiver=str(receiver), notices=len(untold.told))
    return len(untold.told)


def _raise_all(failures: Sequence[TrueupError]) -> None:
    if failures:
        said = " ".join(str(error) for error in failures)
        raise Unavailable(f"{said} What they have not been told is kept, and sent the next time.")


def watch_jobs(site: Site) -> list[Overdue]:
    """Notice jobs that have not succeeded for too long. Whoever runs this has a beat: one that never ran, only the API
    process can see."""
    settings, now = site.loaded.settings, site.now()
    with site.begin() as session:
        late = overdue(periods(settings, now), vitals.job_pasts(session), settings.schedule.overdue_after, now, now)
        for one in late:
            key = f"{one.job} since {one.since.astimezone(dt.UTC).isoformat()}"
            notices.notice(session, NoticeKind.JOB_OVERDUE, key, one.sentence(now), now)
    return late
