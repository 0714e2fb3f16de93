"""Runs the API process: one uvicorn on one address, until it is told to stop."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from worker.console import intake, probes
from worker.console.app import application
from worker.console.metrics import Vitals, scraper
from worker.errors import Misconfigured
from worker.flows.site import Nudge, Site
from worker.settings import Loaded
from worker.store.owners import this_process
from worker.store.session import Store


def watching(
    loaded: Loaded,
    store: Store,
    now: Callable[[], dt.datetime],
    ping_redis: Callable[[], None] | None = None,
    send: Callable[[Nudge], None] = lambda _nudge: None,
) -> Starlette:
    """The whole application, for this database and these settings. `ping_redis` where there is a Redis to rely on;
    `send` takes nudges to the workers."""
    began = now()
    asked = [probes.database(store), probes.jobs(store, loaded, began, now)]
    if ping_redis is not None:
        asked.append(probes.redis(ping_redis))
    site = Site(loaded, store, {}, {}, "api", this_process(), now, send=send)  # it calls no vendor
    return application(asked, scraper(Vitals(store, loaded, began, now)), intake.routes(site))


def listening(host: str, port: int) -> socket.socket:
    """The socket to serve on. Raises Misconfigured when it cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Misconfigured(
            f"The API cannot listen on {host}:{port}: {reason}. Name another place with --host and --port."
        ) from error


def server(app: Starlette) -> uvicorn.Server:
    """Its `run(sockets=[...])` serves until a signal, or until `should_exit` is set. Its log is ours."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",  # it bounds the size of a request's head
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=100,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=10,
        )
    )


def run(app: Starlette, listener: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C: those end it in order, so they are no interruption to complain about."""
    with contextlib.suppress(KeyboardInterrupt):
        server(app).run(sockets=[listener])
