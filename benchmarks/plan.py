"""What `trueup plan` costs on 20,000 people, beside a bare fetch of the same pages: `python -m benchmarks.plan`.

The sandbox runs in a process of its own, the database is the embedded one. The bare fetch asks for exactly the URLs
that the plan asked for, one after the other over kept-alive connections, and throws the bodies away. The two take
turns, since machines are noisy; read the ratio. Vendors a network away have a latency: `--latency 0.05` holds every
answer back by 50 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from worker.sandbox.world import Neighbour, serve_next_door

TRUEUP = Path(sys.executable).with_name("trueup")


@dataclass(frozen=True)
class Cost:
    """Seconds of wall clock and processor, and MiB at the peak, of one process."""

    wall: float
    cpu: float
    peak: float

    def __str__(self) -> str:
        return f"{self.wall:6.2f} s wall, {self.cpu:6.2f} s processor, {self.peak:4.0f} MiB at the peak"


def cost_of(command: list[str], environment: Mapping[str, str], accepted: tuple[int, ...] = (0,)) -> Cost:
    """Run a command to its end. Raises RuntimeError for another exit code than the accepted ones."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in accepted:
            out.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {code}: {out.read().decode()[-2000:]}")
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def record(settings: Path, urls: Path) -> None:
    """Make one plan in this process and note every read it makes, with its headers, for the bare fetch."""
    from worker import wiring
    from worker.flows import passes

    noted: list[tuple[str, Mapping[str, str]]] = []
    send = httpx.Client.send

    def noting(client: httpx.Client, request: httpx.Request, **how: object) -> httpx.Response:
        if request.method == "GET":
            noted.append((str(request.url), dict(request.headers)))
        return send(client, request, **how)  # type: ignore[arg-type]

    httpx.Client.send = noting  # type: ignore[assignment,method-assign]
    with wiring.open_site(settings, "benchmark", lambda _: None) as site:
        passes.plan(site)
    urls.write_text(json.dumps(noted), encoding="utf-8")


def fetch(urls: Path) -> None:
    """The bare fetch."""
    noted = json.loads(urls.read_text(encoding="utf-8"))
    with httpx.Client(timeout=120) as client:
        looker = next(url for url, _ in noted if "/api/4.0/" in url).partition("/api/4.0/")[0]
        who = {"client_id": os.environ["SANDBOX_LOOKER_ID"], "client_secret": os.environ["SANDBOX_LOOKER_SECRET"]}
        token = client.post(f"{looker}/api/4.0/login", data=who).raise_for_status().json()["access_token"]
        for url, headers in noted:  # Looker's token was given back at the end of the recorded plan
            fresh = {"authorization": f"Bearer {token}"} if url.startswith(f"{looker}/") else {}
            client.get(url, headers={**headers, **fresh}).raise_for_status()


def measure(size: int, rounds: int, latency: float, folder: Path, neighbour: Neighbour) -> None:
    settings, urls = folder / "trueup.yaml", folder / "urls.json"
    settings.write_text(neighbour.settings_yaml("enforce"), encoding="utf-8")
    environment = {**neighbour.environment(), "TRUEUP_STATE": str(folder / "state")}
    plan = [str(TRUEUP), "plan", "--json", "-c", str(settings)]
    itself = [sys.executable, "-m", "benchmarks.plan"]
    for vendor in neighbour.urls if latency else ():
        neighbour.break_(vendor, "* /*", "slow", seconds=latency)
    first = cost_of(plan, environment, (0, 1, 2))
    cost_of([*itself, "--record", str(settings), str(urls)], environment)
    calls = len(json.loads(urls.read_text(encoding="utf-8")))
    bare, planned = [], []
    for _ in range(rounds):
        bare.append(cost_of([*itself, "--fetch", str(urls)], environment))
        planned.append(cost_of(plan, environment, (0, 1, 2)))
    idle = cost_of([str(TRUEUP), "db", "status"], environment)
    wall = statistics.median(p.wall / b.wall for p, b in zip(planned, bare, strict=True))
    net = statistics.median((p.wall - idle.wall) / b.wall for p, b in zip(planned, bare, strict=True))
    print(f"{size:,} people, {calls} vendor reads, {latency * 1000:.0f} ms latency, {rounds} rounds (medians)")
    print(f"first plan, everything is new: {first}")
    print(f"plan, settled company:         {_median(planned)}")
    print(f"bare fetch of the same pages:  {_median(bare)}")
    print(f"starting trueup and database:  {idle}")
    print(f"plan / fetch: {wall:.2f}; without the start: {net:.2f}")


def _median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(c, name) for c in costs) for name in ("wall", "cpu", "peak")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that every vendor answer is held back")
    parser.add_argument("--record", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fetch", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.record:
        record(*asked.record)
    elif asked.fetch:
        fetch(asked.fetch)
    else:
        with tempfile.TemporaryDirectory() as folder, serve_next_door(asked.size) as neighbour:
            measure(asked.size, asked.rounds, asked.latency, Path(folder), neighbour)


if __name__ == "__main__":
    main()
