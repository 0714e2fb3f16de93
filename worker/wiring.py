"""Puts a Trueup together from its settings: database, connectors, clock, and the name of whoever asks."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker import embedded
from worker.errors import Misconfigured
from worker.flows.site import Site
from worker.ports import Line, Source, Target
from worker.settings import Installed, load
from worker.settings.connectors import Side
from worker.store import migrate
from worker.store.owners import this_process
from worker.store.session import Store

DATABASE = "TRUEUP_DATABASE_URL"
OWNER_DATABASE = "TRUEUP_OWNER_DATABASE_URL"


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@contextmanager
def open_site(
    path: Path,
    actor: str,
    say: Callable[[str], None],
    now: Callable[[], dt.datetime] = utc_now,
) -> Iterator[Site]:
    """A site for the settings at `path`, until the end of the block. Raises Misconfigured where something is amiss."""
    loaded = load(path)
    with ExitStack() as stack:
        store = stack.enter_context(open_store())
        site = Site(loaded, store, {}, {}, actor, this_process(), now, say)
        yield connect(site, stack)


def connect(site: Site, stack: ExitStack) -> Site:
    """The same site with its connectors, which are closed with the stack. No vendor is called yet."""
    loaded = site.loaded

    def connected(side: Side, name: str, settings: Any) -> Any:
        module = Installed().module(side, settings.type)
        try:
            return module.connect(name, settings, Line(before=lambda _bucket: site.refuse_if_paused(name)))
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


@contextmanager
def open_store() -> Iterator[Store]:
    """The database that the environment names, or the embedded one; at the right revision."""
    with database() as (worker_url, owner_url):
        if DATABASE not in os.environ and migrate.current(owner_url) is None:
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
    url = os.environ.get(DATABASE)
    if url:
        yield url, os.environ.get(OWNER_DATABASE, "")
        return
    with embedded.running() as server:
        yield server.worker_url, server.owner_url


def upgrade_database() -> str:
    """Bring the database to this Trueup's revision, which is returned."""
    with database() as (_, owner_url):
        if not owner_url:
            raise Misconfigured(
                f"Set {OWNER_DATABASE} to the login that owns Trueup's tables; {DATABASE} is the worker's and must not."
            )
        migrate.upgrade(owner_url)
    return migrate.head()


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """Whether the database has the shape that this Trueup needs, in words."""

    current: bool
    sentence: str


def database_status() -> DatabaseStatus:
    """Where the database stands. Raises Unavailable when it cannot be reached."""
    with database() as (worker_url, _):
        found, place = migrate.current(worker_url), "real" if DATABASE in os.environ else "embedded"
    if found == migrate.head():
        return DatabaseStatus(True, f"The {place} database is at revision {found}, as it should be.")
    if not found and place == "embedded":
        return DatabaseStatus(True, "The embedded database is new; the first command that needs it makes its tables.")
    state = f"at revision {found}" if found else "empty"
    return DatabaseStatus(
        False, f"The {place} database is {state}, this Trueup needs {migrate.head()}: run `trueup db upgrade`."
    )
