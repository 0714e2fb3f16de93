"""Keeps every vendor below its limit: a call waits here for its turn, and its answer tells how the vendor feels."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from worker.budget.local import Local
from worker.budget.shared import NotAnswering, Shared
from worker.budget.terms import LEAVER, Buckets, Said, Terms, said
from worker.errors import Rationed
from worker.ports import Gauge, Line
from worker.rest import CALLS_END, LANE, LEAVERS_PATIENCE

LONGEST_WAIT = 90.0  # seconds that one call may wait for its turn
# A Redis that is configured means several workers, who cannot see each other while it is away.
ALONE = 0.25  # of the share
AGAIN = 5.0  # seconds after which a Redis that did not answer is asked again


@dataclass(frozen=True, slots=True)
class Use:
    """How much a connector's vendor was asked: calls, those answered with 429, and seconds spent waiting for a turn."""

    calls: int = 0
    throttled: int = 0
    waited: float = 0.0

    def __add__(self, other: Use) -> Use:
        return Use(self.calls + other.calls, self.throttled + other.throttled, self.waited + other.waited)


@dataclass(frozen=True, slots=True)
class _Held:
    tenant: str
    slot: str
    buckets: Buckets


class Budget:
    """Shared by all threads of a process; through Redis, when there is a `url`, by all workers.

    `say` is told when Redis goes away and when it is back. With a `clock` everything, Redis too, goes by that one.
    """

    def __init__(
        self,
        url: str | None = None,
        say: Callable[[str], None] = lambda _text: None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._say = say
        self._shared = Shared(url, clock) if url else None
        self._local = Local(clock or time.monotonic)
        self._away = False
        self._ask_again = 0.0
        self._used: dict[str, Use] = {}
        self._lock = threading.Lock()
        self._here = threading.local()

    def close(self) -> None:
        if self._shared:
            self._shared.close()

    def used(self) -> Mapping[str, Use]:
        """By connector, since this was last asked."""
        with self._lock:
            used, self._used = self._used, {}
        return used

    def line(
        self,
        connector: str,
        terms: Terms,
        refuse: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
        longest_wait: float = LONGEST_WAIT,
    ) -> Line:
        """What the connector waits in. `refuse` raises when nothing may be called now; `sleep` notices that too."""

        def before(bucket: str) -> None:
            refuse()
            self._wait(connector, terms, bucket, sleep, longest_wait)

        def after(bucket: str, status: int, gauge: Gauge | None) -> None:
            self._learn(connector, terms, bucket, status, gauge)

        def wait(seconds: float) -> None:
            if seconds > longest_wait:
                raise _too_far(connector, "", seconds)
            sleep(seconds)

        return Line(before, after, wait)

    def _wait(
        self, connector: str, terms: Terms, bucket: str, sleep: Callable[[float], None], longest_wait: float
    ) -> None:
        waited, lane = 0.0, LANE.get()
        try:
            while wait := self._take(terms, bucket, lane):
                if waited + wait > _patience(longest_wait) or (lane == LEAVER and wait > LEAVERS_PATIENCE):
                    raise _too_far(connector, bucket, wait)
                sleep(wait)
                waited += wait
            self._count(connector, Use(calls=1))
        finally:
            self._count(connector, Use(waited=waited))

    def _take(self, terms: Terms, bucket: str, lane: str) -> float:
        """Seconds to wait; 0 when the call is let through, and then it is held until `_learn`."""
        nested = any(held.tenant == terms.tenant for held in self._stack)
        slot = "" if nested else uuid.uuid4().hex  # a log-in on the way to a call is under way in its stead
        if shared := self._reachable():
            try:
                wait = shared.take(terms, bucket, lane, slot)
            except NotAnswering as error:
                self._lose(error)
            else:
                self._found()
                return self._hold(terms, slot, shared, wait)
        mine = terms if self._shared is None else replace(terms, share=terms.share * ALONE)
        return self._hold(terms, slot, self._local, self._local.take(mine, bucket, lane, slot))

    def _hold(self, terms: Terms, slot: str, buckets: Buckets, wait: float) -> float:
        if not wait:
            self._stack.append(_Held(terms.tenant, slot, buckets))
        return wait

    def _learn(self, connector: str, terms: Terms, bucket: str, status: int, gauge: Gauge | None) -> None:
        """Both learn what the vendor said, so that a Redis that goes away takes no knowledge with it."""
        held = self._stack.pop()
        outcome: Said = said(terms, status, gauge)
        if status == 429:
            self._count(connector, Use(throttled=1))
        self._local.settle(terms, bucket, held.slot if held.buckets is self._local else "", outcome)
        if shared := self._reachable():
            try:
                shared.settle(terms, bucket, held.slot if held.buckets is shared else "", outcome)
            except NotAnswering as error:
                self._lose(error)  # the slot comes back when it expires
            else:
                self._found()

    @property
    def _stack(self) -> list[_Held]:
        """The calls that this thread has under way: one, and what is called on the way to it."""
        if not hasattr(self._here, "stack"):
            self._here.stack = []
        stack: list[_Held] = self._here.stack
        return stack

    def _reachable(self) -> Shared | None:
        """One call in a while finds out whether a Redis that was away is back; the others do not wait for that."""
        with self._lock:
            if self._away:
                if time.monotonic() < self._ask_again:
                    return None
                self._ask_again = time.monotonic() + AGAIN
        return self._shared

    def _lose(self, error: Exception) -> None:
        with self._lock:
            news, self._away = not self._away, True
            self._ask_again = time.monotonic() + AGAIN
        if news:
            self._say(
                f"Redis does not answer ({type(error).__name__}): until it does, this process calls vendors at a"
                " quarter of their share."
            )

    def _found(self) -> None:
        with self._lock:
            news, self._away = self._away, False
        if news:
            self._say("Redis answers again: calls to vendors are paced together with the other workers'.")

    def _count(self, connector: str, use: Use) -> None:
        with self._lock:
            self._used[connector] = self._used.get(connector, Use()) + use


def _patience(longest_wait: float) -> float:
    """Seconds that may still be waited: a claim on an account ends earlier."""
    end = CALLS_END.get()
    return longest_wait if end is None else min(longest_wait, end - time.monotonic())


def _too_far(connector: str, bucket: str, wait: float) -> Rationed:
    of = f" of {bucket}" if bucket else ""
    return Rationed(
        f"{connector} lets no more calls{of} through for {wait:.0f} s: our share of its limit is used, or it said so.",
        retry_after=wait,
    )
