"""The heartbeats of workers and beats: while messages reach a worker, and whenever a tick has left a beat."""

from __future__ import annotations

from typing import Any

from celery import Celery, bootsteps
from celery.beat import Scheduler

from tasks.schedule import TICK
from worker import health

EVERY = 5.0  # seconds between two heartbeats of a worker
BELIEVED = 4 * EVERY
BEAT_BELIEVED = max(BELIEVED, 4 * TICK)


class Listening(bootsteps.StartStopStep):  # type: ignore[misc]
    """A worker's heart: it beats in the loop that takes messages, from the moment that it is connected to Redis and
    listens to its queues until it no longer is."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    _timer: Any = None

    def start(self, consumer: Any) -> None:
        health.beat(BELIEVED)
        self._timer = consumer.timer.call_repeatedly(EVERY, health.beat, (BELIEVED,))

    def stop(self, _: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        health.end()


class Metronome(Scheduler):  # type: ignore[misc]
    """A beat's heart: a tick that Redis has taken."""

    def apply_async(self, *about: Any, **how: Any) -> Any:
        sent = super().apply_async(*about, **how)
        health.beat(BEAT_BELIEVED)
        return sent

    def close(self) -> None:
        super().close()
        health.end()


def watch(app: Celery) -> None:
    """Give this app's workers a heart; its beats have theirs as `beat_scheduler`."""
    app.steps["consumer"].add(Listening)
