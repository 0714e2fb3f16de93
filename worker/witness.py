"""Remembers, outside the database, how far the audit trail had come: so that a database which was put back to an
earlier state is known for it.

What is remembered is an entry's number and digest, by the books that it is of. Nothing is lost when nobody remembers
it: then the database itself is asked whether it has moved, and that is all that can be known.
"""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from worker.budget import client
from worker.errors import Unavailable

_KEPT = 400 * 24 * 3600  # seconds since the last that was noted
Noted = tuple[int, str]  # number, digest


class Witness:
    """Nobody: what is told to it is forgotten. Raises Unavailable where the others cannot be asked."""

    def noted(self, books: str) -> Noted | None:  # noqa: ARG002 (those who remember use it)
        """The last entry that was noted of these books, which their first entry's digest names."""
        return None

    def note(self, books: str, number: int, digest: str) -> None:
        """In place of what was noted before."""

    def close(self) -> None:
        """No more is asked."""


@dataclass(frozen=True, slots=True)
class InFile(Witness):
    """Beside the embedded server, and not in its data, which are what is put back."""

    path: Path

    def noted(self, books: str) -> Noted | None:
        found = self._read().get(books)
        return _parsed(found) if found else None

    def note(self, books: str, number: int, digest: str) -> None:
        known = {**self._read(), books: f"{number}:{digest}"}
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            fresh.write_text(json.dumps(known, indent=1) + "\n", encoding="ascii")
            fresh.replace(self.path)
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be written ({error.strerror}).") from error

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self.path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise Unavailable(f"{self.path} cannot be read ({error}); delete it if it is damaged.") from error
        return dict(found)


class InRedis(Witness):
    """For all workers together. The key is of the books and says nothing of what is in them."""

    def __init__(self, url: str) -> None:
        self._redis: Redis = client(url)

    def noted(self, books: str) -> Noted | None:
        try:
            found = self._redis.get(_key(books))
        except RedisError as error:
            raise _away(error) from error
        return _parsed(str(found)) if found else None

    def note(self, books: str, number: int, digest: str) -> None:
        try:
            self._redis.set(_key(books), f"{number}:{digest}", ex=_KEPT)
        except RedisError as error:
            raise _away(error) from error

    def close(self) -> None:
        with closing(self._redis):
            return


def _key(books: str) -> str:
    return f"trueup:witness:{books[:32]}"


def _parsed(text: str) -> Noted:
    number, _, digest = text.partition(":")
    return int(number), digest


def _away(error: RedisError) -> Unavailable:
    return Unavailable(f"Redis does not answer ({type(error).__name__}).")
