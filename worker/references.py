"""Secrets stand in settings by reference only, and are looked up at the moment of use."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from worker.errors import Misconfigured

_FORM = re.compile(r"^\$\{(env|file):([^}]+)\}$")
_REVEALED: set[str] = set()


def revealed() -> frozenset[str]:
    """Every secret that this process has looked up so far, for whoever must keep them out of what is written down."""
    return frozenset(_REVEALED)


class SecretReference:
    """`${env:NAME}` or `${file:PATH}`. Shows and compares as the reference; only `reveal` gives the secret."""

    def __init__(self, reference: str) -> None:
        found = _FORM.match(reference)
        if not found:
            raise ValueError(
                "a secret is given by reference: write ${env:NAME} or ${file:/path}, never the secret itself"
            )
        self.reference = reference
        self._kind, self._place = found.groups()

    def reveal(self) -> str:
        """The secret, without surrounding white space. Raises Misconfigured where there is none."""
        if self._kind == "env":
            value = os.environ.get(self._place, "")
            missing = f"the environment variable {self._place} is not set; set it, or correct the reference"
        else:
            try:
                value = Path(self._place).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not text"
                raise Misconfigured(f"{self.reference}: the file cannot be read ({reason}).") from error
            missing = f"the file {self._place} is empty"
        if not value.strip():
            raise Misconfigured(f"{self.reference}: {missing}.")
        _REVEALED.add(value.strip())
        return value.strip()

    def __repr__(self) -> str:
        return self.reference

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretReference) and other.reference == self.reference

    def __hash__(self) -> int:
        return hash(self.reference)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(repr),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """An editor then marks a secret that stands in the file itself."""
        return {"type": "string", "pattern": _FORM.pattern}
