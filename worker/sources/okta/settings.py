"""What trueup.yaml says about an Okta org."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from worker.references import SecretReference

USERS, GROUPS = "okta.users.read", "okta.groups.read"
_LOCAL = ("127.0.0.1", "localhost")


class Settings(BaseModel):
    """One Okta org, and either an API token or an OAuth service app (better) to read it with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["okta"]
    url: str = Field(description="Address of the org, such as https://acme.okta.com (not the -admin address).")
    token: SecretReference | None = Field(None, description="Reference to an API token (SSWS), such as ${env:OKTA}.")
    client_id: str | None = Field(None, min_length=1, description="Client id of the OAuth service app (0oa...).")
    private_key: SecretReference | None = Field(
        None, description="Reference to the service app's RSA private key, PEM or JWK, such as ${file:/run/okta.pem}."
    )
    key_id: str | None = Field(None, description="Key id (kid) under which Okta knows the key; a JWK brings its own.")
    scopes: tuple[str, ...] = Field((USERS, GROUPS), description="Scopes that the service app asks for.")
    dpop: bool = Field(False, description="Prove possession of a key with every call (DPoP); set it if the app does.")
    provisioned: Literal["active", "pending"] = Field(
        "active", description="What a person is who was activated but never signed in (status PROVISIONED)."
    )
    partial: bool = Field(
        False, description="The admin role covers only part of the org on purpose: compare with Everyone no more."
    )
    ca_file: str | None = Field(None, description="PEM file of an authority to trust instead of the usual ones.")
    timeout: float = Field(30.0, gt=0, le=300, description="Seconds that one call may take.")

    @field_validator("url")
    @classmethod
    def _an_org(cls, url: str) -> str:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").lower()
        if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOCAL):
            raise ValueError("write it with https://, such as https://acme.okta.com")
        if not host or parts.path.strip("/") or parts.query or parts.fragment or parts.username:
            raise ValueError("write only scheme and host, such as https://acme.okta.com")
        if host.partition(".")[0].endswith("-admin"):
            raise ValueError(f"the admin address has no API; write https://{host.replace('-admin.', '.', 1)}")
        return f"{parts.scheme}://{parts.netloc.lower()}"

    @field_validator("scopes")
    @classmethod
    def _reading_only(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if unwanted := [scope for scope in scopes if not scope.endswith(".read")]:
            raise ValueError(f"Trueup only reads Okta; leave out {', '.join(unwanted)}")
        if missing := [scope for scope in (USERS, GROUPS) if scope not in scopes]:
            raise ValueError(f"add {' and '.join(missing)}, without which people and groups cannot be read")
        return scopes

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        app = (self.client_id, self.private_key)
        if self.token and (any(app) or self.key_id or self.dpop):
            raise ValueError("give either `token`, or `client_id` and `private_key` (with `key_id`, `dpop`), not both")
        if not self.token and not all(app):
            raise ValueError("give `client_id` and `private_key` of a service app, or `token` of an API token")
        return self
