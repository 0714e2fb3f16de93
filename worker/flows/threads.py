"""Threads of a run that Ctrl-C ends, every one of them, before its next vendor call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from worker.errors import Paused
from worker.flows.site import Site

T = TypeVar("T")


class Threads:
    """Do what they are handed, until they are dismissed: what had not been begun by then never is."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._changed = threading.Condition()
        self._at_work = 0
        self._dismissed = False

    def submit(self, work: Callable[..., T], *args: object) -> Future[T]:
        return self._pool.submit(self._do, work, *args)

    def _do(self, work: Callable[..., T], *args: object) -> T:
        with self._changed:
            if self._dismissed:
                raise Paused("This run was stopped.")
            self._at_work += 1
        try:
            return work(*args)
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def dismiss(self) -> None:
        """Returns when nobody is at work. The pool itself waits for those threads only that it saw starting."""
        with self._changed:
            self._dismissed = True
            self._changed.wait_for(lambda: not self._at_work)


@contextmanager
def threads(site: Site, number: int) -> Iterator[Threads]:
    """Ctrl-C stops all that they do: also the one that it met while it was being started."""
    pool = ThreadPoolExecutor(number)
    made = Threads(pool)
    try:
        with pool:
            try:
                yield made
            except KeyboardInterrupt:
                site.stopped.set()
                raise
    except KeyboardInterrupt:
        site.stopped.set()
        made.dismiss()
        site.stopped.clear()  # they have ended, and this site may be asked for something else
        raise
