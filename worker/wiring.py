"""Puts a Trueup together from its settings: database, connectors, clock, and the name of whoever asks."""

from __future__ import annotations

import datetime as dt
import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from worker import embedded
from worker.budget import LONGEST_WAIT, Budget, Terms, tenant_of
from worker.embedded import redis
from worker.errors import Misconfigured, Unavailable, Unknown
from worker.flows.site import Nudge, Site
from worker.ports import Rate, Source, Target
from worker.references import SecretReference
from worker.settings import Installed, load
from worker.settings.connectors import Side
from worker.settings.rates import Rates
from worker.store import migrate, vendor_use
from worker.store.owners import this_process
from worker.store.session import Store
from worker.witness import InFile, InRedis, Witness

DATABASE = "TRUEUP_DATABASE_URL"
OWNER_DATABASE = "TRUEUP_OWNER_DATABASE_URL"
REDIS = "TRUEUP_REDIS_URL"

LOOK = 1.0  # seconds between two looks whether somebody has paused Trueup meanwhile
# A server on this very machine is a sandbox, or somebody's who may set `rates`; nobody else's calls are kept waiting.
_HERE = 60_000
_UNSAID = Rate(300)  # of a connector whose module says nothing


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@contextmanager
def open_site(
    path: Path,
    actor: str,
    say: Callable[[str], None],
    now: Callable[[], dt.datetime] = utc_now,
    send: Callable[[Nudge], None] = lambda _nudge: None,
    longest_wait: float = LONGEST_WAIT,
) -> Iterator[Site]:
    """A site for the settings at `path`, until the end of the block. Raises Misconfigured where something is amiss.

    `send` takes nudges to the workers; a call waits for its turn at a vendor for `longest_wait` seconds at most.
    """
    loaded = load(path)
    with ExitStack() as stack:
        store = stack.enter_context(open_store())
        witness = _witness()
        stack.callback(witness.close)
        site = Site(loaded, store, {}, {}, actor, this_process(), now, say, send, witness=witness)
        yield connect(site, stack, longest_wait)


def import_ahead(path: Path) -> None:
    """Import what the connectors of these settings put off until their first call, for whoever forks. Raises
    Misconfigured."""
    loaded = load(path)
    sides: tuple[tuple[Side, Mapping[str, Any]], ...] = (("sources", loaded.sources), ("targets", loaded.targets))
    for side, connectors in sides:
        for settings in connectors.values():
            for name in getattr(Installed().module(side, settings.type), "PUT_OFF", ()):
                importlib.import_module(name)


def connect(site: Site, stack: ExitStack, longest_wait: float = LONGEST_WAIT) -> Site:
    """The same site with its connectors, which are closed with the stack. No vendor is called yet."""
    loaded = site.loaded
    budget = Budget(known_redis(), site.say)
    stack.callback(budget.close)
    site = replace(site, count_calls=lambda: _count_calls(site, budget))
    stack.callback(site.count_calls)

    def connected(side: Side, name: str, settings: Any) -> Any:
        module = Installed().module(side, settings.type)
        terms = _terms(settings, getattr(module, "RATE", _UNSAID), loaded.settings.rates.get(name, Rates()))

        def refuse() -> None:
            site.refuse_if_paused(name)

        line = budget.line(name, terms, refuse, lambda seconds: _sleep(seconds, site, refuse), longest_wait)
        try:
            return module.connect(name, settings, line)
        except Misconfigured as error:
            place = loaded.places.get(f"{side}.{name}", str(loaded.path))
            raise Misconfigured(f"{place}: {side}.{name}: {error}") from error

    sources: dict[str, Source] = {n: connected("sources", n, s) for n, s in loaded.sources.items()}
    targets: dict[str, Target] = {n: connected("targets", n, s) for n, s in loaded.targets.items()}
    for source in sources.values():
        stack.callback(source.close)
    for target in targets.values():
        stack.callback(target.close)
    return replace(site, sources=sources, targets=targets)


def _witness() -> Witness:
    """Beside the embedded database, or in the Redis that stands beside a real one."""
    if named(DATABASE) is None:
        return InFile(embedded.folder() / "witness.json")
    url = named(REDIS)
    return InRedis(url) if url else Witness()


def _terms(settings: Any, rate: Rate, ours: Rates) -> Terms:
    """By what the connector is called. Everything behind one host is one tenant."""
    url = getattr(settings, "url", settings.type)
    assumed = _HERE if _is_here(url) else rate.per_minute
    return Terms(tenant_of(settings.type, url), ours.per_minute or assumed, ours.share, ours.leavers, rate.at_once)


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _sleep(seconds: float, site: Site, refuse: Callable[[], None]) -> None:
    """Waiting that a stop ends at once, and a pause within moments."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if site.stopped.wait(min(left, LOOK)) or left > LOOK:
            refuse()


def tell_workers(nudges: Sequence[Nudge]) -> bool:
    """Send nudges where a Redis is known; False where there is none, and workers find the work at their next tick."""
    url = known_redis()
    if url is None:
        return False
    from worker import broker  # Celery takes a while to load

    sender = broker.Broker(broker.celery(url))
    for nudge in nudges:
        sender.send(nudge)
    return True


def _count_calls(site: Site, budget: Budget) -> None:
    """Into the database, for everybody to see. Not worth failing for: the calls have been made."""
    used = budget.used()
    if not used:
        return
    try:
        with site.begin() as session:
            for connector, use in sorted(used.items()):
                vendor_use.add(session, connector, use.calls, use.throttled, use.waited)
    except (Unavailable, Unknown) as error:
        site.say(f"How often vendors were called could not be written down: {error}")


def known_redis() -> str | None:
    """The Redis that the environment names; or the embedded one if it runs, beside an embedded database only."""
    if url := named(REDIS):
        return url
    server = None if named(DATABASE) else redis.found()
    return server.url if server else None


def redis_url() -> str:
    """As `known_redis`, for those who cannot do without one."""
    url = known_redis()
    if url is None:
        raise Misconfigured(f"No Redis is running: set {REDIS} to one, or run `trueup up`, which brings its own.")
    return url


def named(variable: str) -> str | None:
    """The address in an environment variable, or in the file that <variable>_FILE names; None where there is none."""
    url, file = os.environ.get(variable), os.environ.get(f"{variable}_FILE")
    if url and file:
        raise Misconfigured(f"{variable} and {variable}_FILE are both set; keep the one that is meant.")
    if file:
        return SecretReference(f"${{file:{file}}}").reveal()
    return url or None


@contextmanager
def open_store() -> Iterator[Store]:
    """The database that the environment names, or the embedded one; at the right revision."""
    with database() as (worker_url, owner_url):
        if named(DATABASE) is None and migrate.current(owner_url) is None:
            migrate.upgrade(owner_url)  # our own, brand-new: there is nobody to ask and nothing to lose
        store = Store(worker_url)
        try:
            store.assert_current()
            store.check_roles()
            yield store
        finally:
            store.close()


@contextmanager
def database() -> Iterator[tuple[str, str]]:
    """(worker URL, owner URL). The owner's is needed for migrations only."""
    if url := named(DATABASE):
        yield url, named(OWNER_DATABASE) or ""
        return
    with embedded.running() as server:
        yield server.worker_url, server.owner_url


def upgrade_database() -> str:
    """Bring the database to this Trueup's revision, which is returned. The owner's address is all that it takes."""
    if owner_url := named(OWNER_DATABASE):
        migrate.upgrade(owner_url)
    elif named(DATABASE):
        raise Misconfigured(
            f"Set {OWNER_DATABASE} to the login that owns Trueup's tables; {DATABASE} is the worker's and must not."
        )
    else:
        with embedded.running() as server:
            migrate.upgrade(server.owner_url)
    return migrate.head()


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """Whether the database has the shape that this Trueup needs, in words."""

    current: bool
    sentence: str


def database_status() -> DatabaseStatus:
    """Where the database stands. Raises Unavailable when it cannot be reached."""
    with database() as (worker_url, _):
        found, place = migrate.current(worker_url), "real" if named(DATABASE) else "embedded"
    if found == migrate.head():
        return DatabaseStatus(True, f"The {place} database is at revision {found}, as it should be.")
    if not found and place == "embedded":
        return DatabaseStatus(True, "The embedded database is new; the first command that needs it makes its tables.")
    state = f"at revision {found}" if found else "empty"
    return DatabaseStatus(
        False, f"The {place} database is {state}, this Trueup needs {migrate.head()}: run `trueup db upgrade`."
    )
