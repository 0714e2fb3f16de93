"""The audit chain's arithmetic: what an entry says, what it commits to, and how each follows from the one before.

An entry holds no personal value. It holds a salted commitment for each; value and salt are kept apart and can be
erased, and the chain is as whole as before.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

MAIN = "main"
ERASED = "(erased)"
FORGOTTEN = "person forgotten"  # the kind of entry that accounts for erased values
ACTOR = "actor"  # the name under which the actor stands among the personal values


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something to be recorded. `facts` are for ever and hold nothing personal; `personal` values and the actor's
    name can be forgotten."""

    kind: str
    actor: str
    at: dt.datetime
    facts: Mapping[str, Any] = field(default_factory=dict)
    personal: Mapping[str, str] = field(default_factory=dict)
    person_id: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry as people read it; a personal value that was forgotten reads `(erased)`."""

    stream: str
    number: int
    kind: str
    at: dt.datetime
    actor: str
    facts: Mapping[str, Any]
    personal: Mapping[str, str]
    person_id: str | None
    run_id: str | None
    digest: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of verifying a stream: `checked` entries are sound, up to `first_bad`, of which `what` is wrong.

    `head` is the digest of the last sound entry. Kept outside the database, it shows a later cut or rewrite. `beyond`:
    there may be more entries, which were not asked about.
    """

    ok: bool
    checked: int
    head: str
    first_bad: int | None = None
    what: str = ""
    erased: int = 0
    beyond: bool = False


def commitment(salt: str, value: str) -> str:
    """SHA-256, in hex, of the salt's bytes and the value in UTF-8; without the salt it says nothing of the value."""
    return hashlib.sha256(bytes.fromhex(salt) + value.encode()).hexdigest()


def is_kept(committed: str, salt: str, value: str) -> bool:
    """Whether these are the salt and value that were committed to."""
    try:
        return commitment(salt, value) == committed
    except ValueError:  # no hexadecimal salt of ours
        return False


def digest(body: bytes) -> str:
    """SHA-256, in hex, of an entry's canonical bytes, which name its stream, its number and the digest before it."""
    return hashlib.sha256(body).hexdigest()


def content(event: Event, stream: str, number: int, previous: str, commitments: Mapping[str, str]) -> dict[str, Any]:
    """What the canonical bytes of an entry say."""
    return {
        "stream": stream,
        "number": str(number),
        "previous": previous,
        "kind": event.kind,
        "at": moment(event.at),
        "person": event.person_id or "",
        "run": event.run_id or "",
        "facts": plain(event.facts),
        "personal": dict(commitments),
    }


def moment(at: dt.datetime) -> str:
    """A time as entries write it: UTC, with six decimals. Raises TypeError for one without a zone."""
    if at.tzinfo is None:
        raise TypeError(f"an audit entry needs a time with its zone, not {at}")
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_PARTS = frozenset({"stream", "number", "previous", "kind", "at", "person", "run", "facts", "personal"})


def _read(body: bytes) -> dict[str, Any] | None:
    """What `content` said; None for bytes that it cannot have said."""
    try:
        said = json.loads(body)
    except ValueError:
        return None
    if not isinstance(said, dict) or said.keys() != _PARTS or not isinstance(said["personal"], dict):
        return None
    return said if all(isinstance(committed, str) for committed in said["personal"].values()) else None


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def plain(value: Any) -> Any:
    """A fact in the few types whose canonical form nobody disputes: ids, times and whole numbers become strings.

    Raises TypeError for a fraction, bytes or an object: write the string that people are to read instead.
    """
    match value:
        case None | bool():
            return value
        case Enum():
            return plain(value.value)
        case str():
            return _LONE_SURROGATE.sub("\ufffd", value)
        case int() | uuid.UUID():
            return str(value)
        case dt.datetime():
            return moment(value)
        case Mapping():
            return {plain(_key(k)): plain(v) for k, v in value.items()}
        case list() | tuple():
            return [plain(v) for v in value]
        case set() | frozenset():
            return sorted((plain(v) for v in value), key=str)
    raise TypeError(f"an audit entry cannot hold {type(value).__name__}; write it as a string")


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    raise TypeError(f"the facts of an audit entry are named by strings, not by {type(key).__name__}")


class Links:
    """Follows a stream's entries in order; `number`, `digest` and `said` are those of the last sound one."""

    def __init__(self, stream: str, number: int = 0, digest: str = "") -> None:
        self.stream = stream
        self.number = number
        self.digest = digest
        self.said: Mapping[str, Any] = {}

    def fault(self, number: int, stated: str, body: bytes, columns: Mapping[str, str]) -> str:
        """What is wrong with the next entry; "" when it is sound. `columns` are kept beside the body and must agree."""
        if number != self.number + 1:
            return f"it follows entry {self.number}: what was between them is gone"
        if digest(body) != stated:
            return "its bytes do not have its digest"
        said = _read(body)
        if said is None:
            return "its bytes are no entry"
        if said["previous"] != self.digest:
            return "it does not follow from the entry before it"
        expected = {"stream": self.stream, "number": str(number), **columns}
        for name, value in expected.items():
            if said[name] != value:
                return f"its {name} is {value!r} in the table and {said[name]!r} in its bytes"
        self.number, self.digest, self.said = number, stated, said
        return ""
