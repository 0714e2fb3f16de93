"""Sees to it that a source's vendor tells us of changes: makes the orders, renews them in time, ends what is not ours.

What is not told, because an order has lapsed or never stood, the next whole read finds; but it finds it later.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from worker.errors import Misconfigured, Missing, TrueupError
from worker.flows import jobs
from worker.flows.recognising import recognise
from worker.flows.site import Nudge, Site
from worker.ports import Notice, Subscription, Subscriptions
from worker.settings.intake import Hook
from worker.store import installations
from worker.store import jobs as slots
from worker.store import subscriptions as orders
from worker.store.tables import SubscriptionRow

PATH = "/v1/hooks/graph/"


@dataclass(frozen=True, slots=True)
class _Terms:
    """With what orders of a source are made."""

    url: str
    secret: str
    tenant: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def fit(self, row: SubscriptionRow) -> bool:
        return (row.url, row.secret_digest, row.tenant) == (self.url, self.digest, self.tenant.lower())


def keep(site: Site, source: str) -> None:
    """Make what is missing, renew what is in the second half of its life, end what is not ours any more. Raises the
    first error, once everything has been tried."""
    keeping = _Keeping(site, source)
    errors = [error for error in keeping.all() if error is not None]
    if errors:
        raise errors[0]


class _Keeping:
    """One pass over the orders of a source. A pass that was killed leaves an order that nobody knows of at most; the
    next one ends it."""

    def __init__(self, site: Site, source: str) -> None:
        self._site, self._source = site, source
        self._client = _client(site, source)
        self._terms = _terms(site, source)
        standing = self._client.standing(self._terms.url)
        self._standing = {order.id.lower(): order for order in standing}

    def all(self) -> Iterable[TrueupError | None]:
        for resource in self._client.resources:
            yield self._tried(resource)
        with self._site.begin() as session:
            kept = {row.vendor_id for row in orders.of(session, self._source)}
        for stray in sorted(set(self._standing) - kept):
            self._client.end(stray)

    def _tried(self, resource: str) -> TrueupError | None:
        try:
            self._keep(resource)
        except TrueupError as error:
            with self._site.begin() as session:
                orders.failed(orders.row(session, self._source, resource), str(error), self._site.now())
            return error
        return None

    def _keep(self, resource: str) -> None:
        with self._site.begin() as session:
            row = orders.row(session, self._source, resource)
            session.flush()
        live = self._standing.get(row.vendor_id)
        if live is not None and live.expires_at > self._site.now() and self._terms.fit(row):
            if row.renew_at is not None and row.renew_at > self._site.now():
                self._note(resource, live)
                return
            with suppress(Missing):  # it went between the two calls
                self._note(resource, self._client.renew(live.id, self._until()), renewed=True)
                return
        self._make(resource, row.vendor_id)

    def _until(self) -> dt.datetime:
        return self._site.now() + self._client.life

    def _note(self, resource: str, order: Subscription, *, renewed: bool = False) -> None:
        with self._site.begin() as session:
            row = orders.row(session, self._source, resource)
            if renewed or row.failure:
                orders.renewed(row, order, self._site.now())

    def _make(self, resource: str, before: str) -> None:
        """A new one stands before the old one ends; what happened while there was none, a read finds."""
        terms, now = self._terms, self._site.now()
        order = self._client.make(resource, terms.url, terms.secret, self._until())
        with self._site.begin() as session:
            row = orders.row(session, self._source, resource)
            orders.made(row, order, now, tenant=terms.tenant, url=terms.url, digest=terms.digest)
            facts = {"source": self._source, "resource": resource, "expires": order.expires_at.isoformat()}
            if slots.ensure(session, f"pull {self._source}", now, now):
                self._site.nudge(session, Nudge(jobs.READ, (f"pull {self._source}",)))
            self._site.record(session, self._site.event("subscription made", facts))
        if before and before not in self._standing:
            self._client.end(before)


def _client(site: Site, source: str) -> Subscriptions:
    found: Subscriptions | None = getattr(site.sources[source], "subscriptions", None)
    if found is None:
        raise Misconfigured(f"{site.loaded.place('hooks', source)}: {source} cannot be asked to tell us of changes.")
    return found


def _hook(site: Site, source: str) -> Hook:
    found = site.loaded.settings.hooks.get(source)
    if found is None or found.url is None:
        raise Misconfigured(f"The settings have no address at which {source} could tell us of changes any more.")
    return found


def _terms(site: Site, source: str) -> _Terms:
    """Of the installation that is pinned: another tenant is given no order of ours."""
    hook = _hook(site, source)
    recognise(site, source, site.sources[source])
    with site.begin() as session:
        tenant = installations.instance_of(session, source)
    return _Terms(f"{hook.url}{PATH}{source}", hook.secret[0].reveal(), tenant)


def notices(site: Site, source: str) -> Sequence[Notice]:
    """What `trueup check` says: that we are told nothing, or soon will be."""
    if source not in site.loaded.settings.hooks or site.loaded.settings.hooks[source].url is None:
        return ()
    with site.begin() as session:
        rows = orders.of(session, source)
    if not rows:
        every = site.loaded.settings.schedule.subscribe
        return [Notice("Its changes were not subscribed to yet.", f"a worker does it by the schedule ({every})")]
    now = site.now()
    return [notice for row in rows if (notice := _notice(row, now)) is not None]


def _notice(row: SubscriptionRow, now: dt.datetime) -> Notice | None:
    stands = bool(row.vendor_id) and row.expires_at is not None and row.expires_at > now
    until = f"; what was ordered stands until {row.expires_at:%Y-%m-%d %H:%M} UTC" if stands else ""
    if row.failure:
        return Notice(f"Changes of {row.resource} cannot be subscribed to: {row.failure}{until}", _FIX)
    if not stands:
        return Notice(f"The subscription to changes of {row.resource} has lapsed.", "look whether a worker runs")
    return None


_FIX = (
    "see that the address under `hooks` answers Microsoft Graph from outside, and that the app may read what it is to"
    " be told of; until then, only the schedule finds who has left"
)
