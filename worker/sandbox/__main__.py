"""`python -m worker.sandbox`: the servers in a process of their own, until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from worker.errors import TrueupError
from worker.sandbox.furnishing import furnish
from worker.sandbox.seed import company
from worker.sandbox.world import World, announcement


def main() -> int:
    """Print one line of JSON (`announcement`) when ready; end on SIGTERM, SIGINT or, if asked, when stdin closes."""
    asked = _arguments().parse_args()
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    try:
        _serve(asked, stop)
    except TrueupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _serve(asked: argparse.Namespace, stop: threading.Event) -> None:
    made = company(asked.size, asked.seed, broken_rule=asked.broken_rule, filters=asked.filters)
    world = World(made, asked.sources.split(","))
    if asked.furnished:
        furnish(world)
    with world.serve(asked.port):
        if asked.policy_out:
            asked.policy_out.write_text(world.settings_yaml(asked.mode), encoding="utf-8")
        sys.stdout.write(f"{announcement(world)}\n")
        sys.stdout.flush()
        if asked.until_stdin_closes:
            threading.Thread(target=_stop_at_end, args=(stop,), daemon=True).start()
        stop.wait()


def _stop_at_end(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.sandbox", description=__doc__)
    parser.add_argument("--size", type=int, default=200, help="how many people work at the company, 12 to 100000")
    parser.add_argument("--seed", type=int, default=1, help="another number makes another company")
    parser.add_argument("--port", type=int, default=0, help="the first source's port; the others take the next ones")
    parser.add_argument("--sources", default="okta", help="where the people are: okta, entra or okta,entra")
    parser.add_argument("--policy-out", type=Path, help="write a whole trueup.yaml for these servers to this file")
    parser.add_argument("--mode", default="observe", help="the mode that goes into that file")
    parser.add_argument("--broken-rule", action="store_true", help="add a rule whose group does not exist")
    parser.add_argument(
        "--furnished", action="store_true", help="give everybody sessions, keys, schedules and the like"
    )
    parser.add_argument("--filters", action="store_true", help="filter the rows that people see in Looker by region")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with whoever started this")
    return parser


if __name__ == "__main__":
    sys.exit(main())
