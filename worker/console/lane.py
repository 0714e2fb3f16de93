"""Answers in time whatever the database does: so many threads at once and no more, and nobody waits for long."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import to_thread
from starlette.exceptions import HTTPException

from worker import logs
from worker.errors import Misconfigured, Unavailable, Unknown

Result = TypeVar("Result")
AGAIN = "10"  # seconds, for whoever is told to come again
LOOK = 0.01  # seconds between two looks whether a thread is free


class Lane:
    """`at_once` threads at most, those included that nobody waits for any more; `patience` is in seconds."""

    def __init__(self, at_once: int, patience: float) -> None:
        self._at_once, self._patience = at_once, patience
        self._under_way: set[object] = set()

    async def run(self, work: Callable[[], Result]) -> Result:
        """What the work returns. Raises HTTPException 503 when it cannot be done or is not done in time, be it that no
        thread was free: what it is about may be asked again."""
        job, begun = object(), False

        def whole() -> Result:
            nonlocal begun
            begun = True
            self._under_way.add(job)
            try:
                return work()
            finally:
                self._under_way.discard(job)

        try:
            with anyio.move_on_after(self._patience):
                while len(self._under_way) >= self._at_once:
                    await anyio.sleep(LOOK)
                self._under_way.add(job)
                return await to_thread.run_sync(whole, abandon_on_cancel=True)
        except (Unavailable, Unknown, Misconfigured) as error:
            raise _not_now(str(error)) from error
        finally:
            if not begun:
                self._under_way.discard(job)
        raise _not_now("it took too long" if begun else "every thread is in use")


def _not_now(why: str) -> HTTPException:
    """The log has the reason; whoever asks may be anybody's machine."""
    logs.event("not taken down", level=logging.WARNING, why=why)
    detail = "This cannot be taken down just now, and nothing was begun that would be done twice: send it again."
    return HTTPException(503, detail, {"retry-after": AGAIN})
