"""Takes down what Microsoft Graph tells us of changes, and of our orders to be told of them.

Nothing of it is believed: it says whom to read again, and when the vendor may have told us less than there was.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from worker.flows import hints, jobs
from worker.flows.hints import Hint
from worker.flows.site import Nudge, Site
from worker.store import jobs as slots
from worker.store import subscriptions as orders
from worker.store.hints import Seen, hurry, remember
from worker.store.tables import SubscriptionRow

RENEW, REMOVED, MISSED = "reauthorizationRequired", "subscriptionRemoved", "missed"
DELETED = "users deleted"
LIFECYCLE = (RENEW, REMOVED, MISSED)
# Nothing numbers what we are told, so that a copy is known by its words and by coming soon after.
_SAME = dt.timedelta(seconds=10)
_SAME_ALARM = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Notification:
    """One item that carried our secret. `said` is the vendor's word: one of LIFECYCLE, or such as "users updated", and
    then `ids` are the people whom it is about. `digest` is of its words. `whole` wants a whole read of the source."""

    subscription_id: str
    tenant: str
    said: str
    digest: str
    ids: Sequence[str] = ()
    whole: bool = False


def take(site: Site, source: str, told: Sequence[Notification]) -> int:
    """Remember what is new and have it looked at; returns how many were. What is of no order or tenant of ours is
    left alone."""
    now = site.now()
    with site.begin() as session:
        hurry(session, hints.HASTE)
        ours = orders.known(session, source, [one.subscription_id for one in told])
        known = [one for one in told if _belongs(one, ours)]
        found = [
            Hint(_key(one, _SAME, now, id), id, one.said, now, hints.STRONG if one.said == DELETED else 0)
            for one in known
            for id in one.ids
        ]
        new = hints.heed(site, session, source, found)
        alarms = {_key(one, _SAME_ALARM, now): one for one in known if one.whole or one.said in LIFECYCLE}
        fresh = remember(session, source, [Seen(key, one.said, now) for key, one in alarms.items()], now)
        for key in sorted(fresh):
            _alarmed(site, session, source, alarms[key], ours[alarms[key].subscription_id])
    return new + len(fresh)


def _belongs(one: Notification, ours: Mapping[str, SubscriptionRow]) -> bool:
    row = ours.get(one.subscription_id)
    return row is not None and row.tenant == one.tenant


def _key(one: Notification, within: dt.timedelta, now: dt.datetime, id: str = "") -> str:
    return f"{one.digest} {id or one.said} {int(now.timestamp() // within.total_seconds())}"


def _alarmed(site: Site, session: Session, source: str, one: Notification, row: SubscriptionRow) -> None:
    """See to the order at once where the vendor asks for it, and read the source where something may not be told."""
    if one.said == RENEW:
        row.renew_at = site.now()
    if one.said == REMOVED:
        orders.gone(row)
    if one.said in (RENEW, REMOVED):
        _at_once(site, session, f"subscribe {source}", jobs.SUBSCRIBE)
    if one.said in (REMOVED, MISSED) or one.whole:
        _at_once(site, session, f"pull {source}", jobs.READ)


def _at_once(site: Site, session: Session, job: str, task: str) -> None:
    if slots.ensure(session, job, site.now(), site.now()):
        site.nudge(session, Nudge(task, (job,)))
