"""Errors are named by what the caller does next; the message is an instruction for whoever reads it."""

from __future__ import annotations


class TrueupError(Exception):
    """Everything Trueup raises on purpose. `str(error)` is fit to be shown: one sentence or two, no secret."""


class Misconfigured(TrueupError):
    """Stop; a human corrects settings or policy. The message names file, line, key, fault and fix."""


class Refused(TrueupError):
    """Stop; the input is implausible, or acting on it would do harm."""


class Lost(Refused):
    """Stop and write nothing more: another worker has taken over what we were at."""


class Unavailable(TrueupError):
    """Come back later. The call certainly changed nothing. `retry_after` is in seconds, where the vendor said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Paused(Unavailable):
    """Somebody paused Trueup; nothing more is sent to any vendor until `trueup resume`."""


class Rationed(Unavailable):
    """Our part of the vendor's rate limit is used, and waiting for more would take too long: nothing was sent."""


class Moved(Unavailable):
    """What was read changed under our feet, so the pieces do not fit together: read again from the start."""


class Rejected(TrueupError):
    """The vendor answered no to this one thing; record it as failed and go on. `status` is the HTTP status."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Missing(Rejected):
    """The vendor says it is not there, or not visible to us: which of the two, the caller must find out."""


class Denied(TrueupError):
    """Stop and alert; our own credentials are wrong, expired or too weak. `status` is the HTTP status, if any."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Misshapen(TrueupError):
    """The vendor answered with something that is not its contract: a gateway's page, cut JSON, a missing field.

    Reading is whole or it is an error: whoever the answer was about loses nothing in this run.
    """


class Unknown(TrueupError):
    """The call may or may not have happened: re-read before anything else is done to that account."""
