"""How Graph is asked and how it answers: calls, errors, pages, filters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import orjson

JSON = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"


@dataclass(frozen=True)
class Call:
    """One request, alone or out of a $batch; `path` begins after the version, `base` is the server's address."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    base: str
    body: bytes = b""
    parts: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def asked(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def eventual(self) -> bool:
        """An advanced query: answered from an index, which may lag behind."""
        return self.headers.get("consistencylevel", "").lower() == "eventual"

    @property
    def counts(self) -> bool:
        return self.asked.get("$count", "").lower() == "true"

    @property
    def select(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.asked.get("$select", "").split(",") if name.strip())

    def top(self, usual: int = 100, most: int = 999) -> int:
        given = self.asked.get("$top")
        if given is None:
            return usual
        if not given.isdigit() or not 1 <= int(given) <= most:
            raise GraphError(
                400,
                "Request_BadRequest",
                f"Invalid page size specified: '{given}'. Must be between 1 and {most} inclusive.",
            )
        return int(given)


@dataclass(frozen=True)
class Answer:
    """What a call comes to; `body` is JSON-ready data, or text where `media` says so."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = JSON

    def content(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else orjson.dumps(self.body)


class GraphError(Exception):
    """An answer in Graph's error shape."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})

    def answer(self, request_id: str, client_id: str) -> Answer:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        inner = {"date": now, "request-id": request_id, "client-request-id": client_id}
        said = {"code": self.code, "message": self.message, "innerError": inner}
        return Answer({"error": said}, self.status, self.headers)


def missing(id: str) -> GraphError:
    text = f"Resource '{id}' does not exist or one of its queried reference-property objects are not present."
    return GraphError(404, "Request_ResourceNotFound", text)


Matches = Callable[[Mapping[str, Any]], bool]
_VALUE = r"'(?:[^']|'')*'|true|false|null"
_CLAUSE = re.compile(
    rf"\s*(?:startswith\((?P<start>\w+),\s*(?P<prefix>{_VALUE})\)|(?P<name>\w+)\s+(?:(?P<verb>eq|ne)\s+(?P<value>{_VALUE})"
    rf"|in\s*\((?P<list>(?:{_VALUE})(?:\s*,\s*(?:{_VALUE}))*)\)))\s*",
    re.IGNORECASE,
)
_NEXT = re.compile(r"(and|or)\b", re.IGNORECASE)


def filtered(expression: str, advanced: bool) -> Matches:
    """The predicate of a $filter: eq, in, startswith, joined by `and` or `or`; ne only in an advanced query."""
    clauses: list[Matches] = []
    words: set[str] = set()
    place = 0
    while True:
        found = _CLAUSE.match(expression, place)
        if not found:
            raise GraphError(400, "BadRequest", f"Invalid filter clause: syntax error at position {place}.")
        if (found["verb"] or "").lower() == "ne" and not advanced:
            raise GraphError(400, "Request_UnsupportedQuery", "Unsupported Query.")
        clauses.append(_clause(found))
        place = found.end()
        joint = _NEXT.match(expression, place)
        if not joint:
            break
        words.add(joint[0].lower())
        place = joint.end()
    if place != len(expression) or len(words) > 1:
        raise GraphError(400, "BadRequest", f"Invalid filter clause: syntax error at position {place}.")
    return (lambda has: any(c(has) for c in clauses)) if words == {"or"} else (lambda has: all(c(has) for c in clauses))


def _clause(found: re.Match[str]) -> Matches:
    if found["start"]:
        start = str(_literal(found["prefix"])).lower()
        return lambda has: str(has.get(found["start"]) or "").lower().startswith(start)
    values = [_literal(one) for one in re.findall(_VALUE, found["list"] or found["value"], re.IGNORECASE)]
    unequal = (found["verb"] or "").lower() == "ne"
    return lambda has: (_folded(has.get(found["name"])) in map(_folded, values)) != unequal


def _literal(text: str) -> str | bool | None:
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    return {"true": True, "false": False, "null": None}[text.lower()]


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value
