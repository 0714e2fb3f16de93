"""Where what comes from outside is taken down: in time, and in the name of whoever it comes from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from worker import logs
from worker.console.lane import Lane
from worker.flows.site import Nudge, Site

Result = TypeVar("Result")
HOOK = 1.8  # seconds: with the one that a body may take, a vendor has its answer within three
REQUEST = 8.0
NUDGE = 10.0


class Desk:
    """Vendors and programs have threads of their own here, so that neither keeps the others out."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.vendors, self.programs, self._nudges = Lane(4, HOOK), Lane(4, REQUEST), Lane(2, NUDGE)
        self._sound = False

    async def take(self, lane: Lane, actor: str, work: Callable[[Site], Result]) -> tuple[Result, BackgroundTask]:
        """What the work returns, and what is to be done once it has been answered: the nudges leave then, since a Redis
        that hangs must hold nobody up. Raises HTTPException 503."""
        nudges: list[Nudge] = []
        site = replace(self._site, actor=actor, send=nudges.append)

        def whole() -> Result:
            self._look()
            return work(site)

        return await lane.run(whole), BackgroundTask(self._send, nudges)

    def _look(self) -> None:
        """Once: nothing is written into a database of another shape, or as somebody who could alter the trail."""
        if not self._sound:
            self._site.store.assert_current()
            self._site.store.check_roles()
            self._sound = True

    async def _send(self, nudges: Sequence[Nudge]) -> None:
        def whole() -> None:
            for nudge in nudges:
                self._site.send(nudge)

        if not nudges:
            return
        try:
            await self._nudges.run(whole)
        except HTTPException:
            logs.event("nudges late", level=logging.WARNING, number=len(nudges))  # the next tick finds what they mean
