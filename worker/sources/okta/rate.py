"""What Okta's rate-limit headers say, and how long that means to wait."""

from __future__ import annotations

import email.utils
import time

import httpx


def throttle_wait(response: httpx.Response) -> float | None:
    """Seconds until Okta's window opens again; None (a short, random pause) where Okta does not really say.

    A concurrency limit comes with Limit 0 and a Reset that is a guess, and an error of Okta's own carries the headers
    too, though waiting for the window would not cure it.
    """
    limit, _, wait = window(response.headers)
    return wait if response.status_code == 429 and limit > 0 else None


def window(headers: httpx.Headers) -> tuple[int, int, float]:
    """Limit, what remains of it (-1 and 1 where Okta does not say), and seconds to the reset by Okta's own clock."""
    try:
        limit, remaining, reset = (
            int(headers[f"x-rate-limit-{name}"]) for name in ("limit", "remaining", "reset")
        )  # fmt: skip
    except (KeyError, ValueError):
        return -1, 1, 0.0
    sent = email.utils.parsedate_tz(headers.get("date", ""))
    now = email.utils.mktime_tz(sent) if sent else time.time()
    return limit, remaining, max(0.0, reset - now + 1)
