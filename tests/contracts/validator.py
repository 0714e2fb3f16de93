"""Holds every exchange of a sandbox server against the vendor's contract, so that a sandbox cannot flatter its client.

A connector that misspells a key, a path or a field passes against a lenient server and fails in production: here it
fails the test that made the call. What the contracts get wrong is listed in KNOWN_ERRORS.md, with the code that knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import jsonschema_rs

from tests.contracts.schemas import Schema, Schemas
from worker.sandbox.server import Exchange

HERE = Path(__file__).parent
PREFIX = {"okta": "", "entra": "", "looker": "/api/4.0", "teamcity": ""}
# Factual and undeclared: KNOWN_ERRORS.md, Looker 2 and Okta 2.
UNDECLARED_STATUS = {
    "looker": frozenset({401, 403, 405, 500, 502, 503}),
    "okta": frozenset({400, 401, 403, 404, 405, 500, 502, 503}),
    "teamcity": frozenset[int](),
    "entra": frozenset[int](),
}
# Paths that are served and are in no cut of a contract: KNOWN_ERRORS.md, Looker 3 and Okta 3.
BESIDE_THE_CONTRACT = frozenset(
    {
        ("looker", "DELETE", "/api/logout"),
        ("okta", "GET", "/.well-known/okta-organization"),
    }
)
# A path parameter that is a closed list in the vendor's code and any text in the contract: KNOWN_ERRORS.md, TeamCity 1.
USER_FIELDS = {
    "get": frozenset({"id", "username", "name", "email"}),
    "put": frozenset({"username", "name", "email", "password"}),
    "delete": frozenset({"name", "email", "password"}),
}
# Asked for by careful clients although this collection has none: KNOWN_ERRORS.md, TeamCity 3.
HARMLESS_FIELDS = {"teamcity": frozenset({"nextHref"})}
# What a member of a group can be; the contract calls each a directoryObject: KNOWN_ERRORS.md, Entra 1.
MEMBERS = ("user", "group", "servicePrincipal")
EXTENSION = re.compile(r"extension_[0-9a-f]{32}_\w+")  # KNOWN_ERRORS.md, Entra 2
_REFUSED = frozenset({400, 415, 422})


@dataclass(frozen=True)
class Violation:
    """One breach; `side` is request or answer."""

    vendor: str
    call: str
    side: str
    text: str

    def __str__(self) -> str:
        return f"{self.vendor}: {self.side} of {self.call}: {self.text}"


@dataclass(frozen=True)
class Operation:
    """One method of one path, its validators made when first needed."""

    path: str
    method: str
    spec: Schema
    contract: Contract

    def parameters(self, place: str) -> dict[str, Schema]:
        inherited = self.contract.document["paths"][self.path].get("parameters", [])
        named = [self.contract.resolved(p) for p in [*inherited, *self.spec.get("parameters", [])]]
        return {p["name"]: p for p in named if p["in"] == place}

    def answer(self, status: int) -> Schema | None:
        said = self.spec["responses"]
        declared = said.get(str(status)) or said.get(f"{status // 100}XX") or said.get("default")
        return self.contract.resolved(declared) if declared else None


@dataclass
class Contract:
    """The contract of one vendor; `observe` is an observer for `SandboxServer.observers`."""

    vendor: str
    report: Callable[[Violation], None]
    document: Schema = field(init=False)

    def __post_init__(self) -> None:
        self.document, self._schemas, self._routes = _loaded(self.vendor)

    def observe(self, exchange: Exchange) -> None:
        for side, text in self._breaches(exchange):
            self.report(Violation(self.vendor, f"{exchange.method} {exchange.path}", side, text))

    def resolved(self, part: Schema) -> Schema:
        if "$ref" not in part:
            return part
        found: Any = self.document
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return dict(found)

    def _breaches(self, exchange: Exchange) -> Iterator[tuple[str, str]]:
        if (self.vendor, exchange.method, exchange.path) in BESIDE_THE_CONTRACT:
            return
        operation = self._operation(exchange)
        if operation is None:
            yield "request", "the contract has no such path and method"
            return
        if exchange.status not in _REFUSED or exchange.faulted:
            yield from (("request", text) for text in self._request_breaches(operation, exchange))
        if not exchange.faulted:
            yield from (("answer", text) for text in self._answer_breaches(operation, exchange))

    def _operation(self, exchange: Exchange) -> Operation | None:
        path = exchange.path.removeprefix(PREFIX[self.vendor])
        if not exchange.path.startswith(PREFIX[self.vendor]):
            return None
        method = exchange.method.lower()
        for pattern, template in self._routes:
            spec = self.document["paths"][template].get(method)
            found = pattern.fullmatch(path) if spec else None
            if found and _field_exists(template, method, found):
                return Operation(template, method, spec, self)
        return None

    def _request_breaches(self, operation: Operation, exchange: Exchange) -> Iterator[str]:
        yield from self._query_breaches(operation, exchange)
        content = self.resolved(operation.spec.get("requestBody", {})).get("content", {})
        if not exchange.request_body:
            if self.resolved(operation.spec.get("requestBody", {})).get("required"):
                yield "the body is missing"
            return
        if not content:
            yield "a body where the contract has none"
            return
        kind = _media(exchange.request_headers)
        if kind not in content:
            yield f"content type {kind or 'missing'} is not {' or '.join(content)}"
            return
        value, fault = _parsed(kind, exchange.request_body)
        if fault:
            yield fault
        else:
            yield from self._faults("request", content[kind].get("schema", {}), value)

    def _query_breaches(self, operation: Operation, exchange: Exchange) -> Iterator[str]:
        declared = operation.parameters("query")
        given = parse_qs(exchange.query, keep_blank_values=True)
        for name, parameter in declared.items():
            if parameter.get("required") and name not in given:
                yield f"query parameter {name} is missing"
        for name, values in given.items():
            if name not in declared:
                yield f"query parameter {name} is not in the contract"
                continue
            for value in values:
                fault = _typed(self.resolved(declared[name].get("schema", {})), value)
                if fault:
                    yield f"query parameter {name}: {fault}"
            if name == "fields":
                yield from self._field_breaches(operation, values[0])
            if name == "$select":
                yield from self._select_breaches(operation, values[0])

    def _field_breaches(self, operation: Operation, fields: str) -> Iterator[str]:
        """A misspelt field name is left out of the answer without a word, by all three vendors."""
        answer = operation.answer(200) or {}
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        if schema is not None:
            yield from (
                f"fields names {name}, which the answer does not have" for name in self._unknown(fields, schema)
            )

    def _select_breaches(self, operation: Operation, select: str) -> Iterator[str]:
        """What is selected and is not there comes as an error, or as nothing."""
        known, _ = self._properties((operation.answer(200) or {})["content"]["application/json"]["schema"])
        known, _ = self._properties(known["value"]) if "value" in known else (known, False)
        if set(known) <= {"id", "deletedDateTime", "@odata.type"}:
            for type in MEMBERS:
                known |= self._properties(self.document["components"]["schemas"][f"microsoft.graph.{type}"])[0]
        for name in select.split(","):
            if name not in known and not EXTENSION.fullmatch(name):
                yield f"$select names {name}, which the answer does not have"

    def _unknown(self, fields: str, schema: Schema) -> Iterator[str]:
        known, open_ended = self._properties(schema)
        for name, inner in _field_tree(fields):
            if name.startswith("$") or name in HARMLESS_FIELDS.get(
                self.vendor, ()
            ):  # TeamCity's $long, $short and $locator
                continue
            if name not in known:
                if not open_ended:
                    yield name
            elif inner:
                yield from self._unknown(inner, known[name])

    def _properties(self, schema: Schema) -> tuple[dict[str, Schema], bool]:
        schema = self.resolved(schema)
        while schema.get("type") == "array":
            schema = self.resolved(schema["items"])
        known = dict(schema.get("properties", {}))
        open_ended = bool(schema.get("additionalProperties")) or not schema
        for word in ("allOf", "anyOf", "oneOf"):
            for part in schema.get(word, []):
                more, more_open = self._properties(part)
                known |= more
                open_ended |= more_open
        return known, open_ended

    def _answer_breaches(self, operation: Operation, exchange: Exchange) -> Iterator[str]:
        answer = operation.answer(exchange.status)
        if answer is None:
            if exchange.status not in UNDECLARED_STATUS[self.vendor]:
                yield f"status {exchange.status} is not declared"
            return
        content = answer.get("content", {})
        if not exchange.response_body:
            if content and exchange.status != 204:
                yield f"status {exchange.status} without a body"
            return
        if not content or exchange.status == 204:  # Looker declares bodies for its 204: KNOWN_ERRORS.md, Looker 4
            yield f"status {exchange.status} with a body where the contract has none"
            return
        kind = _media(exchange.response_headers)
        if kind not in content:
            yield f"content type {kind or 'missing'} is not {' or '.join(content)}"
            return
        value, fault = _parsed(kind, exchange.response_body)
        if fault:
            yield fault
        else:
            yield from self._faults("answer", content[kind].get("schema", {}), value, _left_out(exchange.query))

    def _faults(
        self, side: str, schema: Schema, value: Any, left_out: Callable[[str, int], bool] = lambda *_: False
    ) -> Iterator[str]:
        validator = _validator(self.vendor, side, json.dumps(schema, sort_keys=True))
        for error in validator.iter_errors(value):
            if left_out(error.message, len(error.instance_path)):
                continue
            place = "".join(f".{step}" if isinstance(step, str) else f"[{step}]" for step in error.instance_path)
            yield f"body{place}: {error.message[:300]}"


@cache
def _loaded(vendor: str) -> tuple[Schema, Schemas, list[tuple[re.Pattern[str], str]]]:
    document = json.loads((HERE / f"{vendor}.json").read_text(encoding="utf-8"))
    routes = [(_pattern(path), path) for path in sorted(document["paths"], key=_openness)]
    return document, Schemas(document["components"]["schemas"]), routes


@cache
def _validator(vendor: str, side: str, schema: str) -> Any:
    schemas = _loaded(vendor)[1]
    made = (schemas.request if side == "request" else schemas.answer)(json.loads(schema))
    return jsonschema_rs.validator_for(made, validate_formats=True)


def _left_out(query: str) -> Callable[[str, int], bool]:
    """Whether a fault is that something required is not there, which `fields` did not name: KNOWN_ERRORS, Looker 6."""
    fields = parse_qs(query).get("fields")
    named = {name for name, _ in _field_tree(fields[0])} if fields else set()

    def tells(message: str, depth: int) -> bool:
        absent = re.fullmatch(r'"(\w+)" is a required property', message)
        return bool(fields and absent and depth <= 1 and absent[1] not in named)

    return tells


def _openness(path: str) -> tuple[int, int]:
    """Paths with fewer blanks are tried first: /users/search before /users/{user_id}."""
    return path.count("{"), -len(path)


def _pattern(path: str) -> re.Pattern[str]:
    pieces = re.split(r"(\{[^}]+\})", path)
    return re.compile("".join(f"(?P<{_slug(p)}>[^/]+)" if p.startswith("{") else re.escape(p) for p in pieces))


def _slug(blank: str) -> str:
    return re.sub(r"\W", "_", blank.strip("{}"))


def _field_exists(template: str, method: str, found: re.Match[str]) -> bool:
    if template != "/app/rest/users/{userLocator}/{field}":
        return True
    return found["field"] in USER_FIELDS[method]


def _media(headers: dict[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _parsed(kind: str, body: bytes) -> tuple[Any, str]:
    """(value, fault)."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None, "the body is not UTF-8"
    if kind == "application/x-www-form-urlencoded":
        return dict(parse_qsl(text, keep_blank_values=True)), ""
    if kind != "application/json":
        return text, ""
    try:
        return json.loads(text), ""
    except json.JSONDecodeError:
        return None, "the body is not JSON"


def _typed(schema: Schema, value: str) -> str:
    """What is wrong with a query parameter's text, or nothing."""
    kind = schema.get("type")
    if kind == "integer" and not re.fullmatch(r"-?\d+", value):
        return f"{value!r} is no integer"
    if kind == "boolean" and value not in ("true", "false"):
        return f"{value!r} is neither true nor false"
    if "enum" in schema and value not in schema["enum"]:
        return f"{value!r} is none of {', '.join(map(str, schema['enum']))}"
    return ""


def _field_tree(fields: str) -> Iterator[tuple[str, str]]:
    """`id,roles(role(roleId))` as (id, ""), (roles, role(roleId)); Okta writes a colon before its parentheses."""
    depth, start, name = 0, 0, ""
    for place, letter in enumerate([*fields, ","]):
        if letter == "(":
            if depth == 0:
                name, start = fields[start:place], place + 1
            depth += 1
        elif letter == ")":
            depth -= 1
            if depth == 0:
                yield name.strip().rstrip(":"), fields[start:place]
                name, start = "", place + 1
        elif letter == "," and depth == 0:
            plain = fields[start:place].strip()
            if plain:
                yield plain, ""
            start = place + 1
