"""The Celery app, and what every task has around it: an open site, a share of time, and errors that end in the log.

Run by `trueup worker` and `trueup beat`, as `celery --app tasks.app`.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery, signals

from tasks.schedule import BEAT
from tasks.site import current
from worker import broker, logs, wiring
from worker.errors import Paused, Refused, TrueupError
from worker.flows.site import Site

BATCH = 20.0  # seconds of work before a task hands the rest to another one
SETTINGS = Path(os.environ.get("TRUEUP_SETTINGS", "trueup.yaml"))
_FLOWS = ("tick", "read", "reconcile", "apply", "verify", "tell")

app: Celery = broker.celery(wiring.redis_url())
app.conf.update(include=[f"tasks.{flow}" for flow in _FLOWS], **BEAT)

# Made before the workers' processes are forked, so that all of them see it: finish the step in hand, and no other.
_stopping = multiprocessing.Event()


def share() -> Callable[[], bool]:
    """Says when a task has had its share: its time is over, or this worker is to end."""
    end = time.monotonic() + BATCH
    return lambda: _stopping.is_set() or time.monotonic() > end


def task(name: str) -> Callable[[Callable[..., None]], Any]:
    """A Celery task called `trueup.<name>`, whose function is handed the site and the message's ids."""

    def made(work: Callable[..., None]) -> Any:
        @app.task(name=f"trueup.{name}")  # type: ignore[untyped-decorator]
        @functools.wraps(work)
        def run(*ids: str) -> None:
            if _stopping.is_set():
                return  # the next tick finds somebody else for it
            with logs.bound(task=name, about=" ".join(ids)):
                _run(lambda site: work(site, *ids))

        return run

    return made


def _run(work: Callable[[Site], None]) -> None:
    """Every error of ours is told and kept where it belongs (a slot, a run, a read); a fault is told with its place."""
    try:
        with current(SETTINGS, app) as site:
            work(site)
    except Paused as error:
        logs.event("paused", level=logging.INFO, why=type(error).__name__)
    except Refused as error:
        logs.event("refused", level=logging.WARNING, why=str(error))
    except TrueupError as error:
        logs.event("task failed", level=logging.ERROR, error=type(error).__name__, why=str(error))


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _log_as_we_do(**_: Any) -> None:
    logs.configure("beat" if "beat" in sys.argv else "worker")


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_: Any) -> None:
    _stopping.set()
