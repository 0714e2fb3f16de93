"""Says whether a server process lives; `python -m worker.health` is for whatever watches containers.

A worker and a beat have no door to knock at. Where TRUEUP_HEARTBEAT names a file, they keep setting its time to the
moment until which they may be believed to live, and take it away when they end. An API process is asked over HTTP.
Nothing of the product is imported here: this is run every half minute beside each process.
"""

from __future__ import annotations

import http.client
import os
import sys
import time
import urllib.request
from pathlib import Path

VARIABLE = "TRUEUP_HEARTBEAT"
PATIENCE = 5.0  # seconds that an answer over HTTP may take


def beat(seconds: float) -> None:
    """We live, and may be believed to for so many seconds. Nothing where nobody watches."""
    if file := _file():
        file.touch(0o644)
        until = time.time() + seconds
        os.utime(file, (until, until))


def end() -> None:
    """We stop listening, and say so at once."""
    if file := _file():
        file.unlink(missing_ok=True)


def _file() -> Path | None:
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def complaint(url: str = "") -> str:
    """What is wrong with the process that answers at `url`, or that keeps the heartbeat; empty when it lives."""
    return _unanswered(url) if url else _silent()


def _unanswered(url: str) -> str:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=PATIENCE) as answer:
            return "" if answer.status == 200 else f"{url} answers {answer.status}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{url} does not answer: {error}"


def _silent() -> str:
    file = _file()
    if file is None:
        return f"{VARIABLE} names no file; set it for the process and for this check alike"
    try:
        over = time.time() - file.stat().st_mtime
    except OSError as error:
        return f"there is no heartbeat in {file}: {error.strerror}"
    return f"the heartbeat in {file} stopped {over:.0f} seconds ago" if over > 0 else ""


if __name__ == "__main__":
    sys.exit(complaint(*sys.argv[1:2]) or 0)
