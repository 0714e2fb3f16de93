"""The site of a worker's process: opened once, and again when the settings' text has changed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from celery import Celery, signals

from worker import wiring
from worker.broker import Broker
from worker.errors import Unavailable, Unknown
from worker.flows import jobs
from worker.flows.site import Site

ACTOR = "schedule"
PATIENCE = 300.0  # seconds for a database that is away; by then what we held has expired
LOOK_AGAIN = 0.5
LONGEST_WAIT = 15.0  # seconds in line at a vendor; whoever would wait longer comes back with a later nudge


class _Opened:
    """What this process has open: a fork that inherits it opens its own."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.site: Site | None = None
        self.text = b""
        self.process = 0

    def close(self) -> None:
        if self.process == os.getpid():
            self.stack.close()
        self.site = None


_opened = _Opened()


@contextmanager
def current(settings: Path, app: Celery) -> Iterator[Site]:
    """The site, for one task. Raises Misconfigured while the settings are wrong: then nothing is done by them."""
    text = _digest(settings)
    if _opened.site is None or _opened.process != os.getpid() or _opened.text != text:
        _opened.close()
        _opened.stack, _opened.process, _opened.text = ExitStack(), os.getpid(), text
        opened = wiring.open_site(settings, ACTOR, lambda _: None, send=Broker(app).send, longest_wait=LONGEST_WAIT)
        _opened.site = _opened.stack.enter_context(opened)
    try:
        yield _opened.site
    finally:
        _opened.site.count_calls()


def let_go(site: Site, stopping: Callable[[], bool]) -> None:
    """After a task that failed: what it has left claimed, as when the database was away, is not to wait until the claim
    expires. While the database is not back, there is nothing else that this process could do."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return jobs.let_go(site)
        except (Unavailable, Unknown):
            if stopping() or time.monotonic() > end:
                return None
            time.sleep(LOOK_AGAIN)


def _digest(settings: Path) -> bytes:
    """Of the file, or of every file of the folder."""
    files = sorted(settings.rglob("*.y*ml")) if settings.is_dir() else [settings]
    found = hashlib.sha256()
    for file in files:
        if file.is_file():
            found.update(file.read_bytes())
    return found.digest()


@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _close(**_: object) -> None:
    _opened.close()
