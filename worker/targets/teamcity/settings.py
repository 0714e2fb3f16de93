"""What trueup.yaml says about a TeamCity server, and how a policy names what that server can grant."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from worker.core.identity import Reference
from worker.references import SecretReference

_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_PROPERTY = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _switch(value: object) -> object:
    """YAML reads a bare `on` or `off` as a boolean."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class Settings(BaseModel):
    """Access to one TeamCity server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["teamcity"]
    url: str = Field(
        description="The server's address with its context path, as in https://ci.example.com/teamcity,"
        " without /app/rest."
    )
    token: SecretReference = Field(description="An access token of the account that Trueup works with, by reference.")
    create: Annotated[Literal["off", "on"], BeforeValidator(_switch)] = Field(
        "off",
        description="on: create missing accounts. off: they come at the first single sign-on, or by hand.",
    )
    mark_property: str = Field(
        "trueup.suspended",
        pattern=_PROPERTY,
        description="The user property that marks a suspended account; TeamCity itself cannot disable one.",
    )
    created_property: str = Field(
        "trueup.created",
        pattern=_PROPERTY,
        description="The user property that tells an account created by Trueup from one that was there before.",
    )
    insecure_http: bool = Field(False, description="Allow a plain http:// address: the token then travels readable.")
    ca_file: str | None = Field(None, description="A PEM file with the authority that signed the server's certificate.")
    timeout: float = Field(120.0, gt=0, description="Seconds to wait for an answer; large servers take minutes.")

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give the whole address, as in https://ci.example.com/teamcity")
        if parts.query or parts.fragment or parts.username or "/app/rest" in parts.path:
            raise ValueError("give the server's address only, as in https://ci.example.com/teamcity, without /app/rest")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and parts.hostname not in _LOCAL and not self.insecure_http:
            raise ValueError("url is plain http; write https://, or set insecure_http: true if you accept the risk")
        return self


class RoleGrant(BaseModel):
    """A role in one project with its subprojects, or everywhere."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: str = Field(min_length=1, description="The role's id, as in PROJECT_DEVELOPER.")
    project: str | None = Field(None, min_length=1, description="The project's external id; _Root is the root project.")
    everywhere: bool = Field(False, description="The role holds in every project and for the server itself.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.project is None) != self.everywhere:
            raise ValueError(f"role {self.role} needs a place: write either project: <id> or everywhere: true")
        return self

    @property
    def scope(self) -> str:
        return "g" if self.everywhere else f"p:{self.project}"


class Grants(BaseModel):
    """What a policy rule grants in TeamCity: direct roles, and memberships of groups by key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roles: tuple[RoleGrant, ...] = Field((), description="Roles, each in a project or everywhere.")
    groups: tuple[str, ...] = Field((), description="Group keys.")

    def references(self) -> tuple[Reference, ...]:
        return (
            *(Reference("role", grant.role, grant.scope) for grant in self.roles),
            *(Reference("group", key) for key in self.groups),
        )
