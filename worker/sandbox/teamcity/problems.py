"""How TeamCity says no: one kind of refusal, in the text of 2024.03 or the JSON of newer servers."""

from __future__ import annotations

from http import HTTPStatus

import orjson

from worker.sandbox.server import VendorRefusal


class Problem(VendorRefusal):
    """A refusal with its HTTP status. `java` is the exception class that the old text form shows."""

    def __init__(self, status: int, message: str, java: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.java = java or _CLASSES.get(status, "OperationException")


_CLASSES = {
    400: "BadRequestException",
    403: "AuthorizationFailedException",
    404: "NotFoundException",
    409: "InvalidStateException",
    500: "NullPointerException",
}
_ADVICE = {
    404: "Could not find the entity requested. Check the reference is correct and the user has permissions to access"
    " the entity.",
    415: "Make sure you have supplied correct 'Content-Type' header.",
    406: "Make sure you have supplied correct 'Accept' header.",
}


def as_text(problem: Problem) -> bytes:
    """The plain text that servers of 2024.03 answer, whatever was asked for."""
    phrase = HTTPStatus(problem.status).phrase
    opening = "Error has occurred during request processing" if problem.status >= 500 else "Responding with error"
    lines = [f"{opening}, status code: {problem.status} ({phrase})."]
    if problem.status not in (406, 415):
        lines.append(f"Details: jetbrains.buildServer.server.rest.errors.{problem.java}: {problem.message}")
    if problem.status in _ADVICE:
        lines.append(_ADVICE[problem.status])
    return "\n".join(lines).encode()


def as_json(problem: Problem) -> bytes:
    """What newer servers answer to those who accept JSON."""
    error = {
        "message": problem.message,
        "additionalMessage": _ADVICE.get(problem.status, ""),
        "statusText": f"Responding with error, status code: {problem.status} ({HTTPStatus(problem.status).phrase}).",
    }
    return orjson.dumps({"errors": [error]})
