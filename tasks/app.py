"""The Celery app, and what every task has around it: an open site, a share of time, and errors that end in the log.

Run by `trueup worker` and `trueup beat`, as `celery --app tasks.app`.
"""

from __future__ import annotations

import functools
import gc
import logging
import mmap
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from billiard import active_children  # type: ignore[import-untyped]
from celery import Celery, signals

from tasks import alive
from tasks.opened import current, let_go
from tasks.schedule import BEAT
from worker import broker, logs, wiring
from worker.errors import Misconfigured, Paused, Refused, TrueupError
from worker.flows.site import Site

BATCH = 20.0  # seconds of work before a task hands the rest to another one
SETTINGS = Path(os.environ.get("TRUEUP_SETTINGS", "trueup.yaml"))
_FLOWS = ("tick", "read", "reconcile", "apply", "offboard", "verify", "retention", "tell", "subscribe", "watch")

app: Celery = broker.celery(wiring.redis_url())
app.conf.update(include=[f"tasks.{flow}" for flow in _FLOWS], **BEAT)
alive.watch(app)


class _Stop:
    """Finish the step in hand, and no other. One byte that the workers' processes share with the one that forks them;
    it has no lock, which a process that is killed would leave closed to all the others."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def asked(self) -> bool:
        return self._byte[0] != 0

    def ask(self) -> None:
        self._byte[0] = 1


_stop = _Stop()


def share() -> Callable[[], bool]:
    """Says when a task has had its share: its time is over, or this worker is to end."""
    end = time.monotonic() + BATCH
    return lambda: _stop.asked() or time.monotonic() > end


def task(name: str) -> Callable[[Callable[..., None]], Any]:
    """A Celery task called `trueup.<name>`, whose function is handed the site and the message's ids."""

    def made(work: Callable[..., None]) -> Any:
        @app.task(name=f"trueup.{name}")  # type: ignore[untyped-decorator]
        @functools.wraps(work)
        def run(*ids: str) -> None:
            if _stop.asked():
                return  # the next tick finds somebody else for it
            with logs.bound(task=name, about=" ".join(ids)):
                _run(lambda site: work(site, *ids))

        return run

    return made


def _run(work: Callable[[Site], None]) -> None:
    def whole() -> None:
        with current(SETTINGS, app) as site:
            if not _went_well(lambda: work(site)):
                let_go(site, _stop.asked)

    _went_well(whole)


def _went_well(work: Callable[[], None]) -> bool:
    """Every error of ours is told and kept where it belongs (a slot, a run, a read); a fault is told with its place."""
    try:
        work()
    except Paused as error:
        logs.event("paused", level=logging.INFO, why=type(error).__name__)
    except Refused as error:
        logs.event("refused", level=logging.WARNING, why=str(error))
    except TrueupError as error:
        logs.event("task failed", level=logging.ERROR, error=type(error).__name__, why=str(error))
    else:
        return True
    return False


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _log_as_we_do(**_: Any) -> None:
    logs.configure("beat" if "beat" in sys.argv else "worker")


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def _import_ahead(**_: Any) -> None:
    """Once, in the process that forks: each of the others would take a second or two for it at its first task, which
    may be a leaver's."""
    try:
        wiring.import_ahead(SETTINGS)
    except Misconfigured as error:
        logs.event("nothing is imported ahead", level=logging.WARNING, why=str(error))  # and each task says it again
    gc.freeze()  # or each of them would look through all of it, and so copy it


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _end(**_: Any) -> None:
    """In the process that forks, for each SIGTERM. Celery would wait for its tasks however often it is told. Here the
    second one is the last: what a task was at, whoever comes next settles as after a kill -9."""
    if not _stop.asked():
        _stop.ask()
        return
    for child in active_children():
        os.kill(child.pid, signal.SIGKILL)
    os._exit(128 + signal.SIGTERM)
