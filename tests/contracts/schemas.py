"""Turns a vendor's OpenAPI 3.0 schemas into JSON Schema, once for requests (strict) and once for answers (tolerant)."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

# Read-only in the contract although they are what the request carries: KNOWN_ERRORS.md, Looker 1.
WRITABLE = {
    "UserAttributeGroupValue": frozenset({"value", "rank", "group_id"}),
    "GroupIdForGroupUserInclusion": frozenset({"user_id"}),
    "GroupIdForGroupInclusion": frozenset({"group_id"}),
}
# Closed lists that the vendor's own prose adds to: KNOWN_ERRORS.md, Okta 1 and 6.
MORE_VALUES = {
    "UserStatus": ("ACTIVATING",),
    "OAuth.TokenResponseTokenType": ("DPoP",),
}
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_KEPT = frozenset(
    {"type", "enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "required"}
)
# Formats that a validator can hold text against; "email" is not among them: real logins hold letters beyond ASCII.
_FORMATS = frozenset({"date-time", "uri-reference"})


class Schemas:
    """All schemas of one contract, as one document's `$defs`: `answer/X`, `request/X`, and `open/X` for allOf parts."""

    def __init__(self, components: Schema) -> None:
        self._definitions: Schema = {}
        for name, schema in components.items():
            self._definitions[f"answer/{name}"] = _answer(schema, name)
            self._definitions[f"request/{name}"] = _request(schema, name, closed=True)
            self._definitions[f"open/{name}"] = _request(schema, name, closed=False)

    def answer(self, schema: Schema) -> Schema:
        return self._document(_answer(schema, ""))

    def request(self, schema: Schema) -> Schema:
        return self._document(_request(schema, "", closed=True))

    def _document(self, schema: Schema) -> Schema:
        return {"$schema": _DRAFT, "$defs": {k.replace("/", "."): v for k, v in self._definitions.items()}, **schema}


def _plain(schema: Schema, name: str) -> Schema:
    """What needs no looking into: types, bounds, closed lists, null."""
    made = {k: v for k, v in schema.items() if k in _KEPT}
    if schema.get("format") in _FORMATS:
        made["format"] = schema["format"]
    if "enum" in made:
        made["enum"] = [*made["enum"], *MORE_VALUES.get(name, ())]
    if schema.get("nullable"):
        if "type" in made:
            made["type"] = [made["type"], "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    return made


def _answer(schema: Schema, name: str) -> Schema:
    """Unknown properties are welcome."""
    if "$ref" in schema:
        return {"$ref": f"#/$defs/answer.{_last(schema)}"}
    made = _plain(schema, name)
    if "properties" in schema:
        made["properties"] = {
            key: False if part.get("writeOnly") else _answer(part, "") for key, part in schema["properties"].items()
        }
    if "items" in schema:
        made["items"] = _answer(schema["items"], "")
    if isinstance(extra := schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _answer(extra, "")
    for word in ("allOf", "anyOf", "oneOf"):
        if word in schema:
            made["anyOf" if word == "oneOf" else word] = [_answer(part, "") for part in schema[word]]
    return made


def _request(schema: Schema, name: str, *, closed: bool) -> Schema:
    """No property that the contract does not name, and none that only the server writes."""
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{'request' if closed else 'open'}.{_last(schema)}"}
    made = _plain(schema, name)
    if "properties" in schema:
        writable = WRITABLE.get(name, frozenset())
        made["properties"] = {
            key: False if part.get("readOnly") and key not in writable else _request(part, "", closed=True)
            for key, part in schema["properties"].items()
        }
    if "items" in schema:
        made["items"] = _request(schema["items"], "", closed=True)
    if isinstance(extra := schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _request(extra, "", closed=True)
    combined = [word for word in ("allOf", "anyOf", "oneOf") if word in schema]
    for word in combined:
        made["anyOf" if word == "oneOf" else word] = [_request(part, "", closed=False) for part in schema[word]]
    if closed and (combined or "properties" in schema) and not _open_ended(schema):
        made["unevaluatedProperties"] = False
    return made


def _open_ended(schema: Schema) -> bool:
    return bool(schema.get("additionalProperties")) or "discriminator" in schema


def _last(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]
