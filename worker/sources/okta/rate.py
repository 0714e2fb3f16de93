"""What Okta's rate-limit headers say, and how long that means to wait."""

from __future__ import annotations

import email.utils
import time

import httpx

from worker.ports import Gauge


def throttle_wait(response: httpx.Response) -> float | None:
    """Seconds until Okta's window opens again; None (a short, random pause) where Okta does not really say.

    A concurrency limit comes with Limit 0 and a Reset that is a guess, and an error of Okta's own carries the headers
    too, though waiting for the window would not cure it.
    """
    gauge = window(response.headers)
    return gauge.reset if gauge and response.status_code == 429 and gauge.limit > 0 else None


def bucket(path: str) -> str:
    """Okta counts the calls of a path and those beneath it apart."""
    parts = path.split("/")
    return "/".join(parts[:4]) + ("/{id}" if len(parts) > 4 else "")


def window(headers: httpx.Headers) -> Gauge | None:
    """What Okta says of its limit, seconds counted by its own clock; None where it does not say."""
    try:
        limit, remaining, reset = (
            int(headers[f"x-rate-limit-{name}"]) for name in ("limit", "remaining", "reset")
        )  # fmt: skip
    except (KeyError, ValueError):
        return None
    sent = email.utils.parsedate_tz(headers.get("date", ""))
    now = email.utils.mktime_tz(sent) if sent else time.time()
    try:
        return Gauge(limit, remaining, max(0.0, reset - now + 1))
    except OverflowError:  # a reset that no clock will ever show
        return None
