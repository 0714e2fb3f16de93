"""How much faster more workers are, with vendors 50 ms away: `python -m benchmarks.workers`.

For 1, 2 and 4 worker processes in turn: a company of 1,000 in good order, of whom many are then put into a group that
they do not deserve. Real processes (`trueup worker`, `trueup beat`) read everything and heal it. The times are those
that the jobs and the run have in the database, so starting the processes is not in them. Read the ratios.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import yaml

from worker import embedded
from worker.embedded import redis
from worker.sandbox.world import World

TRUEUP = (sys.executable, "-m", "worker")
PATIENCE = 600.0
_TIMES = """
SELECT
  (SELECT extract(epoch FROM max(finished_at) - min(started_at)) FROM job
   WHERE split_part(name, ' ', 1) IN ('pull', 'observe') AND state = 'done'),
  (SELECT extract(epoch FROM max(r.closed_at) - min(r.started_at)) FROM run r
   WHERE r.state = 'closed' AND r.actor = 'schedule' AND r.target = 'looker'),
  (SELECT count(*) FROM change c JOIN run r ON r.id = c.run_id
   WHERE r.actor = 'schedule' AND c.target = 'looker' AND c.state = 'applied')
"""


def settings_of(world: World) -> str:
    """Everything by itself, nothing held back, and one slot of each job."""
    found = yaml.safe_load(world.settings_yaml("enforce"))
    wide = {"per_run": 100_000, "per_day": 100_000}
    found["limits"] = {name: dict(wide) for name in ("removals", "disables", "departures")} | {"share": "100%"}
    found["schedule"] = dict.fromkeys(("pull", "observe", "reconcile"), "1h")
    return str(yaml.safe_dump(found, sort_keys=False))


@contextmanager
def processes(number: int, environment: Mapping[str, str]) -> Iterator[None]:
    commands: Sequence[Sequence[str]] = (["worker", "--processes", str(number)], ["beat"])
    started = [
        subprocess.Popen([*TRUEUP, *c], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for c in commands
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def measure(number: int, size: int, latency: float) -> tuple[float, float, int]:
    """Seconds of reading, seconds of planning and healing Looker, changes that were made."""
    world = World.of(size)
    with tempfile.TemporaryDirectory(prefix="trueup-bench-") as name, world.serve():
        folder = Path(name)
        folder.chmod(0o711)
        (folder / "trueup.yaml").write_text(settings_of(world), encoding="utf-8")
        known = {"TRUEUP_STATE": str(folder / "state"), "TRUEUP_SETTINGS": str(folder / "trueup.yaml")}
        environment = {**os.environ, **world.environment(), **known, "TRUEUP_TICK_SECONDS": "0.5"}
        with embedded.running(folder / "state") as database, redis.running(folder / "state") as broker:
            quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
            subprocess.run([*TRUEUP, "check", "--accept-baseline"], **quiet)  # type: ignore[call-overload]
            subprocess.run([*TRUEUP, "sync"], **quiet)  # type: ignore[call-overload]
            spoil(world)
            for server in world.servers:
                server.break_("* /*", "slow", seconds=latency)
            environment |= {"TRUEUP_DATABASE_URL": database.worker_url, "TRUEUP_REDIS_URL": broker.url}
            with processes(number, environment):
                return healed(database.worker_url)


def spoil(world: World) -> None:
    """Every third account of Looker gets into a group that the policy governs."""
    crowd = [account.id for account in world.company.looker_users if account.kind == "standard"]
    for user_id in crowd[::3]:
        world.looker.add_to_group(user_id, "Finance")


def healed(url: str) -> tuple[float, float, int]:
    """Polls the books; the processes are others'."""
    end = time.monotonic() + PATIENCE
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        while time.monotonic() < end:
            reading, healing, changes = connection.execute(_TIMES).fetchone() or (None, None, 0)
            if reading is not None and healing is not None:
                return float(reading), float(healing), changes
            time.sleep(0.5)
    raise RuntimeError(f"the company was not healed within {PATIENCE:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that every vendor answer is held back")
    asked = parser.parse_args()
    print(f"{asked.size:,} people, vendors {asked.latency * 1000:.0f} ms away")
    first: tuple[float, float] | None = None
    for number in (1, 2, 4):
        reading, healing, changes = measure(number, asked.size, asked.latency)
        first = first or (reading, healing)
        print(
            f"{number} worker{'s' if number > 1 else ' '}: reading all {reading:6.2f} s ({first[0] / reading:.1f} x),"
            f" planning and making {changes} changes {healing:6.2f} s ({first[1] / healing:.1f} x)"
        )


if __name__ == "__main__":
    main()
