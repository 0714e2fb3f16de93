"""What trueup.yaml says about a Looker, and how a policy names what Looker can grant."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from worker.core.identity import Reference
from worker.references import SecretReference

_LOCAL = ("127.0.0.1", "localhost")


class Settings(BaseModel):
    """One Looker instance."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["looker"]
    url: str = Field(description="Looker's API address without a path: https://acme.cloud.looker.com")
    client_id: SecretReference = Field(
        description="Client id of an API key of a service account that has the Admin role"
    )
    client_secret: SecretReference = Field(description="Client secret of that API key")
    create: Literal["off", "email"] = Field(
        default="off",
        description="Whether missing accounts are made: off leaves that to single sign-on or a human, email makes"
        " an account that has the person's e-mail address as its credential",
    )
    sign_on_links: Literal["keep", "delete"] = Field(
        default="keep",
        description="What becomes of a departed person's links to single sign-on: keep leaves them on the disabled"
        " account, where they refuse a further login; delete removes them, and a further login may make a new account",
    )
    ca_file: str | None = Field(default=None, description="PEM file of the authority that signed Looker's certificate")
    timeout: float = Field(default=60.0, gt=0, le=600, description="Seconds that one call may take")

    @field_validator("url")
    @classmethod
    def _bare_address(cls, url: str) -> str:
        parts = urlsplit(url.rstrip("/"))
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
            raise ValueError("Looker is reached over https only: write https://<your Looker>")
        if not parts.hostname or parts.path or parts.query or parts.fragment or parts.username:
            raise ValueError("give Looker's address without a path or user: https://acme.cloud.looker.com")
        return f"{parts.scheme}://{parts.netloc}"


class Grants(BaseModel):
    """Roles and groups by the names that Looker shows. Naming none means: nothing there, on purpose."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roles: tuple[str, ...] = Field(default=(), description="Names of Looker roles, granted directly")
    groups: tuple[str, ...] = Field(default=(), description="Names of Looker groups; what they carry comes with them")

    @model_validator(mode="after")
    def _no_empty_name(self) -> Grants:
        if not all(name.strip() for name in (*self.roles, *self.groups)):
            raise ValueError("holds an empty name; write the role's or group's name as Looker shows it")
        return self

    def references(self) -> tuple[Reference, ...]:
        return (
            *(Reference("role", name) for name in self.roles),
            *(Reference("group", name) for name in self.groups),
        )
