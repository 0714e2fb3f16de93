"""Who may tell Trueup that somebody leaves: the sections `api` and `hooks` of trueup.yaml."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from worker.references import SecretReference
from worker.settings.sections import Name, Section

_URL = r"^https://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9._~/-]*)?$"


class Api(Section):
    """Programs that may ask for an offboarding over HTTP. Without `tokens` nobody may, and the routes are not there."""

    tokens: dict[Name, SecretReference] = Field(
        default={}, description="by name, which stands in the trail: a token of at least 32 characters, by reference"
    )
    may_force: tuple[Name, ...] = Field(
        default=(), description="tokens that may have somebody locked out without the source's word"
    )
    sees_all: tuple[Name, ...] = Field(
        default=(), description="tokens that see every offboarding; the others see what they asked for themselves"
    )
    per_minute: int = Field(default=60, ge=1, le=6000, description="requests of each token in a minute")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | SecretReference) else value


_REFERENCE = {"type": "string", "pattern": r"^\$\{(env|file):([^}]+)\}$"}
Secrets = Annotated[
    tuple[SecretReference, ...],
    BeforeValidator(_listed),
    Field(min_length=1, max_length=3),
    WithJsonSchema({"anyOf": [_REFERENCE, {"type": "array", "items": _REFERENCE, "minItems": 1, "maxItems": 3}]}),
]


def _public(url: str) -> str:
    if re.fullmatch(_URL, url) is None:
        raise ValueError("write the address that the vendor calls us at, such as https://trueup.acme.example")
    return url.rstrip("/")


PublicUrl = Annotated[str, AfterValidator(_public), WithJsonSchema({"type": "string", "pattern": _URL})]


class Hook(Section):
    """How a source's vendor tells us that something has happened, and proves to be itself."""

    secret: Secrets = Field(
        description="by reference, 32 to 128 characters; while it is changed, the new one and then the old one"
    )
    url: PublicUrl | None = Field(
        default=None, description="of an Entra source: https address under which Microsoft Graph reaches the API"
    )
