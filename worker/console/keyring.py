"""Finds out who has sent a secret, in a time that does not tell how much of it was right, or whose it is."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence

from worker.errors import Misconfigured
from worker.references import SecretReference
from worker.settings import Loaded

SHORTEST, LONGEST = 32, 128  # characters of a secret; Microsoft Graph takes no more than that


class Keyring:
    """Secrets by their owners' names. Every one of them is compared, whichever it is."""

    def __init__(self, secrets: Mapping[str, Sequence[str]]) -> None:
        self.owners = frozenset(secrets)
        self._digests = [(name, _digest(secret.encode())) for name, several in secrets.items() for secret in several]

    def owner(self, sent: bytes) -> str | None:
        """Whose secret this is; None when it is nobody's."""
        given, found = _digest(sent), None
        for name, digest in self._digests:
            if hmac.compare_digest(digest, given):
                found = name
        return found


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def of_tokens(loaded: Loaded) -> Keyring:
    """The tokens of `api`. Raises Misconfigured for one that is missing, too short, or another's as well."""
    tokens = loaded.settings.api.tokens
    return _checked(loaded, {name: [(("api", "tokens", name), token)] for name, token in tokens.items()})


def of_hooks(loaded: Loaded, kind: str) -> Keyring:
    """The secrets of `hooks`, by source, of those of one kind."""
    hooks = {name: hook for name, hook in loaded.settings.hooks.items() if loaded.hooks[name] == kind}
    return _checked(
        loaded, {name: [(("hooks", name, "secret"), one) for one in hook.secret] for name, hook in hooks.items()}
    )


Given = Mapping[str, Sequence[tuple[tuple[str, ...], SecretReference]]]


def _checked(loaded: Loaded, given: Given) -> Keyring:
    seen: dict[str, str] = {}
    for path, reference in (one for several in given.values() for one in several):
        try:
            secret = reference.reveal()
        except Misconfigured as error:
            raise Misconfigured(f"{loaded.place(*path)}: {error}") from error
        if not SHORTEST <= len(secret) <= LONGEST or not (secret.isascii() and secret.isprintable()) or " " in secret:
            raise Misconfigured(
                f"{loaded.place(*path)}: {reference!r} must hold {SHORTEST} to {LONGEST} characters, without blanks;"
                " make one with `openssl rand -hex 32`."
            )
        other = seen.setdefault(secret, loaded.place(*path))
        if other != loaded.place(*path):
            raise Misconfigured(f"{loaded.place(*path)}: the same secret stands at {other}; give each its own.")
    return Keyring({name: [reference.reveal() for _, reference in several] for name, several in given.items()})


class Allowance:
    """How often each of several callers may call: so many times in a minute, and not all of the next one's at once."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = per_minute / 60, float(max(1, per_minute)), clock
        self._left: dict[str, tuple[float, float]] = {}

    def wait(self, caller: str) -> float:
        """Seconds until the caller may call; 0 when it may now, and then this counts as a call."""
        now = self._clock()
        left, before = self._left.get(caller, (self._most, now))
        left = min(self._most, left + (now - before) * self._rate)
        if left < 1:
            self._left[caller] = (left, now)
            return (1 - left) / self._rate
        self._left[caller] = (left - 1, now)
        return 0.0
