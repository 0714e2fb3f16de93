"""What Graph's headers say of its limit: nothing below four fifths of it, and then how far beyond that we are."""

from __future__ import annotations

import httpx

from worker.ports import Gauge

WARNING, WINDOW = 0.8, 10.0  # the part of the limit from which Graph warns; the seconds in which it counts


def bucket(_path: str) -> str:
    """All calls of an app in a tenant draw from one bucket, whatever their path; a token is no call of Graph's."""
    return ""


def warned(headers: httpx.Headers) -> Gauge | None:
    """A rest for what is beyond four fifths of the window; None where Graph says nothing, or says how long to wait."""
    try:
        used = float(headers["x-ms-throttle-limit-percentage"])
    except (KeyError, ValueError):
        return None
    if "retry-after" in headers or not WARNING < used < 100:
        return None
    return Gauge(-1, 0, min((used - WARNING) * WINDOW, WINDOW))
