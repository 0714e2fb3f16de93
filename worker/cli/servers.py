"""Commands that keep running: worker, beat, api, and up, which is all of them on one machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from worker import budget, logs, together, wiring
from worker.cli.options import DEFAULT_SETTINGS, SettingsOption
from worker.errors import Misconfigured
from worker.flows.site import Nudge
from worker.screen import Screen
from worker.settings import Loaded, load
from worker.store.session import Store

app = typer.Typer()

HostOption = Annotated[str, typer.Option("--host", help="The address to listen on; keep it inside your network.")]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65_535, help="0 takes any that is free.")]


@app.command()
def worker(
    leavers: Annotated[
        bool, typer.Option("--leavers", help="Work for people who depart, and for nobody else.")
    ] = False,
    processes: Annotated[int, typer.Option("--processes", min=1, max=64, help="How many work at the same time.")] = 2,
    settings: SettingsOption = DEFAULT_SETTINGS,
) -> None:
    """Do what the schedule asks for, until stopped.

    SIGTERM finishes what is in hand; a second one stops at once.
    """
    from worker import broker  # here and not above, since no other command waits for Celery

    queues = broker.LEAVER if leavers else broker.ORDINARY
    name = "leaver-worker" if leavers else "worker"
    _become_celery(
        settings,
        ["worker", "--queues", ",".join(queues), "--concurrency", str(processes), "--pool", "prefork",
         "--without-gossip", "--without-mingle", "--without-heartbeat", "--hostname", f"{name}@%h"],
    )  # fmt: skip


@app.command()
def beat(settings: SettingsOption = DEFAULT_SETTINGS) -> None:
    """Tick: every few seconds a worker looks what is due. Any number of beats may run."""
    _become_celery(settings, ["beat", "--pidfile", ""])


_KNOWN = "ignore:You're running the worker with superuser"  # so does the embedded database's owner; no task is a shell


def _become_celery(settings: Path, arguments: Sequence[str]) -> NoReturn:
    """Celery takes this process over, once it is clear that it can work."""
    loaded = load(settings)
    wiring.redis_url()
    with wiring.open_store():
        pass
    os.environ["TRUEUP_SETTINGS"] = str(settings.absolute())
    os.environ.setdefault("TRUEUP_TICK_SECONDS", str(loaded.settings.schedule.tick.total_seconds()))
    os.execv(  # noqa: S606 the interpreter that runs us
        sys.executable, [sys.executable, "-W", _KNOWN, "-m", "celery", "--app", "tasks.app", "--quiet", *arguments]
    )


@app.command()
def up(
    processes: Annotated[int, typer.Option("--processes", min=1, max=64, help="Worker processes.")] = 2,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    settings: SettingsOption = DEFAULT_SETTINGS,
) -> None:
    """Run everything on this machine, with servers of its own.

    Workers, a beat and the API, with a PostgreSQL and a Redis where none are named. For evaluation, and for a single
    machine. Ctrl-C stops all of it.
    """
    load(settings)
    if port == 0:
        raise Misconfigured("`trueup up` tells no port that it was not told; give --port a number.")
    screen = Screen()
    logs.configure("worker")

    def ready() -> None:
        screen.line("Trueup is up on this machine: workers, beat and API. Ctrl-C stops all of it.")
        screen.line(f"http://{host}:{port}/readyz says how it is. For evaluation and single machines; see README.md.")

    together.up(together.members(str(settings.absolute()), processes, host, port), ready)


@app.command()
def api(
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    settings: SettingsOption = DEFAULT_SETTINGS,
) -> None:
    """Serve health, metrics, the API and hooks, until stopped.

    That is /healthz, /readyz and /metrics; and where `api` and `hooks` in the settings say so, what others may ask and
    tell. It starts without the database, and says on /readyz what is missing.
    """
    from worker.console import server  # web servers are for those who serve

    loaded = load(settings)
    logs.configure("api")
    with server.listening(host, port) as listener, wiring.database() as (worker_url, _):
        where = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        store = Store(worker_url)
        try:
            app = server.watching(loaded, store, wiring.utc_now, _redis_probe(), _sender(loaded))
            logs.event("api listening", address=where)
            server.run(app, listener)
        finally:
            store.close()


def _sender(loaded: Loaded) -> Callable[[Nudge], None]:
    """To the workers, where something may be told and there is a Redis; else the next tick finds it."""
    url = wiring.known_redis() if loaded.settings.api.tokens or loaded.settings.hooks else None
    if not url:
        return lambda _: None
    from worker import broker  # as above

    return broker.Broker(broker.celery(url)).send


def _redis_probe() -> Callable[[], None] | None:
    """None where no Redis is configured: workers then go by what each of them knows."""
    url = wiring.known_redis()
    return partial(budget.ping, url) if url else None
