"""Commands that keep running: api."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from worker import budget, logs, wiring
from worker.cli.options import DEFAULT_SETTINGS, SettingsOption
from worker.settings import load
from worker.store.session import Store

app = typer.Typer()


@app.command()
def api(
    host: Annotated[str, typer.Option("--host", help="The address to listen on; keep it inside your network.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="0 takes any that is free.")] = 8000,
    settings: SettingsOption = DEFAULT_SETTINGS,
) -> None:
    """Serve /healthz, /readyz and /metrics until stopped.

    It starts without the database, and says on /readyz what is missing.
    """
    from worker.console import server  # web servers are for those who serve

    loaded = load(settings)
    logs.configure("api")
    with server.listening(host, port) as listener, wiring.database() as (worker_url, _):
        where = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        logs.event("api listening", address=where)
        store = Store(worker_url)
        try:
            server.run(server.watching(loaded, store, wiring.utc_now, _redis_probe()), listener)
        finally:
            store.close()


def _redis_probe() -> Callable[[], None] | None:
    """None where no Redis is configured: workers then go by what each of them knows."""
    url = wiring.known_redis()
    return partial(budget.ping, url) if url else None
