"""The JSON Schema of trueup.yaml, for editors: ours with what each installed connector adds."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from worker.settings.connectors import Connectors, Installed, Side
from worker.settings.model import Settings

_PREFIX = "#/$defs/"
_FREE = {"additionalProperties": True, "type": "object"}  # what pydantic makes of "in the connector's own words"


def schema(connectors: Connectors | None = None) -> dict[str, Any]:
    """JSON Schema 2020-12 of the whole file. It imports every connector."""
    connectors = connectors or Installed()
    whole = Settings.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = whole["$defs"]
    sides: tuple[Side, ...] = ("sources", "targets")
    for side in sides:
        modules = {kind: connectors.module(side, kind) for kind in connectors.types(side)}
        settings = [_adopted(definitions, f"{side}.{kind}.Settings", one.Settings) for kind, one in modules.items()]
        _say_which(whole["properties"][side], {"anyOf": settings})
    grants = [_adopted(definitions, f"targets.{kind}.Grants", one.Grants) for kind, one in modules.items()]
    _say_which(whole, {"anyOf": grants})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole, "title": "trueup.yaml"}


def _adopted(definitions: dict[str, Any], label: str, model: type[BaseModel]) -> dict[str, Any]:
    """A connector's own schema under names that collide with nobody's; the answer points at it."""
    part = model.model_json_schema(by_alias=True, ref_template=f"{_PREFIX}{label}.{{model}}")
    for inner, definition in part.pop("$defs", {}).items():
        definitions[f"{label}.{inner}"] = definition
    definitions[label] = part
    return {"$ref": f"{_PREFIX}{label}"}


def _say_which(schema: Any, words: dict[str, Any]) -> None:
    """Wherever a name may have anything under it, say what; and that no other name will do."""
    for inner in schema if isinstance(schema, list) else ():
        _say_which(inner, words)
    if not isinstance(schema, dict):
        return
    named = schema.get("patternProperties", {})
    for pattern, anything in named.items():
        if anything == _FREE:
            named[pattern] = words
            schema["additionalProperties"] = False
    for inner in schema.values():
        _say_which(inner, words)
