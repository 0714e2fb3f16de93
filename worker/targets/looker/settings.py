"""What trueup.yaml says about a Looker, and how a policy names what Looker can grant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from worker.core.conditions import shown
from worker.core.identity import ATTRIBUTE, Reference
from worker.core.values import PROFILE, ValueRule, unfit
from worker.references import SecretReference

_LOCAL = ("127.0.0.1", "localhost")


class Otherwise(BaseModel):
    """What people get whose profile has nothing to take a value from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: str = Field(description="the value that they get; it has to be one that is allowed")


def _missing_tag(value: Any) -> str | None:
    """Tags are in angle brackets so that a complaint's path can tell them from keys."""
    if isinstance(value, dict | Otherwise):
        return "<value>"
    return "<hold>" if isinstance(value, str) else None


WhenMissing = Annotated[
    Annotated[Literal["hold"], Tag("<hold>")] | Annotated[Otherwise, Tag("<value>")],
    Discriminator(
        _missing_tag,
        custom_error_type="when_missing",
        custom_error_message="write hold, or a value of its own such as {value: NONE}",
    ),
]


class Attribute(BaseModel):
    """One user attribute that rules may give values of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow: tuple[str, ...] = Field(default=(), description="The values that may be given, taken as they are written")
    pattern: str = Field(
        default="",
        description="A regular expression that a whole value may fit instead; what only fits it may hold nothing that"
        " a Looker filter does not take for text",
    )
    when_missing: WhenMissing = Field(
        description="What becomes of people whose profile has nothing to take the value from: hold, or a value"
    )
    editable: Literal["refuse", "accept"] = Field(
        default="refuse",
        description="Whether the attribute may be one whose value people can change themselves in Looker",
    )

    @field_validator("pattern")
    @classmethod
    def _expression(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _admits_something(self) -> Attribute:
        if not self.allow and not self.pattern:
            raise ValueError('says no value that may be given; add `allow: [EMEA, AMER]` or `pattern: "[A-Z]{2}"`')
        for value in self.allow:
            problem = unfit(value) or (f"it begins with {PROFILE}" if value.startswith(PROFILE) else "")
            if problem:
                raise ValueError(f"allows {shown(value)}, which cannot be a value: {problem}")
        if isinstance(self.when_missing, Otherwise):
            _, problem = self.rule().admitted(self.when_missing.value)
            if problem:
                raise ValueError(
                    f"when_missing gives {shown(self.when_missing.value)}, which is not allowed: {problem}"
                )
        return self

    def rule(self) -> ValueRule:
        otherwise = self.when_missing.value if isinstance(self.when_missing, Otherwise) else None
        return ValueRule(self.allow, self.pattern, otherwise)


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
    attributes: dict[str, Attribute] = Field(
        default={}, description="User attributes that rules may give values of, by their names in Looker"
    )
    attribute_reads: int = Field(
        default=2000,
        ge=1,
        description="Of how many accounts at most one observation reads the values of those attributes, a call each;"
        " the longest unread come first",
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

    def value_rules(self) -> Mapping[str, ValueRule]:
        """Which values may be given, by the attribute's name."""
        return {name: attribute.rule() for name, attribute in self.attributes.items()}


def _attributes_tag(value: Any) -> str | None:
    if isinstance(value, dict):
        return "<values>"
    return "<names>" if isinstance(value, list | tuple) else None


Attributes = Annotated[
    Annotated[dict[str, str], Tag("<values>")] | Annotated[tuple[str, ...], Tag("<names>")],
    Discriminator(
        _attributes_tag,
        custom_error_type="attributes",
        custom_error_message="write values by name such as {region: EMEA}; under released or privileged names alone",
    ),
]


class Grants(BaseModel):
    """Roles, groups and user attributes by Looker's names for them. Naming none means: nothing there, on purpose."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roles: tuple[str, ...] = Field(default=(), description="Names of Looker roles, granted directly")
    groups: tuple[str, ...] = Field(default=(), description="Names of Looker groups; what they carry comes with them")
    attributes: Attributes = Field(
        default={},
        description="Values of user attributes by name, each written out or taken from the person's profile:"
        " {region: $profile.office}",
    )

    @model_validator(mode="after")
    def _no_empty_name(self) -> Grants:
        if not all(name.strip() for name in (*self.roles, *self.groups, *self.attributes)):
            raise ValueError("holds an empty name; write the role's, group's or attribute's name as Looker shows it")
        return self

    def references(self) -> tuple[Reference, ...]:
        return (
            *(Reference("role", name) for name in self.roles),
            *(Reference("group", name) for name in self.groups),
            *(Reference(ATTRIBUTE, name, self._value(name)) for name in self.attributes),
        )

    def _value(self, name: str) -> str:
        return self.attributes[name] if isinstance(self.attributes, dict) else ""
