"""Small connectors of four types, and a trueup.yaml that names them, for the tests of the settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from worker.core.identity import Reference
from worker.references import SecretReference
from worker.settings import Connectors, Loaded, load

CONNECTORS = """\
sources:
  okta: {type: okta, url: "https://acme.okta.test", token: "${env:OKTA_TOKEN}"}
targets:
  looker: {type: looker, url: "https://looker.test", secret: "${env:LOOKER_SECRET}"}
  teamcity: {type: teamcity, url: "https://teamcity.test", token: "${file:/run/secrets/teamcity}"}
"""
POLICY = """\
roles:
  dev:
    looker: {groups: [Engineering]}
    teamcity: {roles: [{role: PROJECT_DEVELOPER, project: Web}]}
rules:
  - name: developers
    when: {group: Engineering}
    give: [dev]
    owner: platform@acme.example
"""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OktaSettings(Strict):
    type: Literal["okta"]
    url: str
    token: SecretReference
    timeout: float = 30


class EntraSettings(Strict):
    type: Literal["entra"]
    tenant: str


class LookerSettings(Strict):
    type: Literal["looker"]
    url: str
    secret: SecretReference
    create: Literal["off", "email"] = "off"
    timeout: float = 30
    ca_file: str | None = None


class LookerGrants(Strict):
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def references(self) -> tuple[Reference, ...]:
        return (*(Reference("role", r) for r in self.roles), *(Reference("group", g) for g in self.groups))


class TeamCitySettings(Strict):
    type: Literal["teamcity"]
    url: str
    token: SecretReference


class RoleGrant(Strict):
    role: str
    project: str = ""
    everywhere: Literal[True] | None = None


class TeamCityGrants(Strict):
    roles: tuple[RoleGrant, ...] = ()
    groups: tuple[str, ...] = ()

    def references(self) -> tuple[Reference, ...]:
        roles = (Reference("role", r.role, "g" if r.everywhere else f"p:{r.project}") for r in self.roles)
        return (*roles, *(Reference("group", g) for g in self.groups))


class Fakes:
    """A registry of the four."""

    modules = {  # noqa: RUF012 a test double's constant
        ("sources", "okta"): SimpleNamespace(Settings=OktaSettings, HOOKS="okta"),
        ("sources", "entra"): SimpleNamespace(Settings=EntraSettings, HOOKS="graph"),
        ("targets", "looker"): SimpleNamespace(
            Settings=LookerSettings, Grants=LookerGrants, TRUSTED_KEYS=frozenset({"login", "email"})
        ),
        ("targets", "teamcity"): SimpleNamespace(Settings=TeamCitySettings, Grants=TeamCityGrants),
    }

    def types(self, side: str) -> Sequence[str]:
        return sorted(kind for there, kind in self.modules if there == side)

    def module(self, side: str, type: str) -> Any:
        return self.modules[side, type]


FAKES: Connectors = Fakes()


def loaded(folder: Path, text: str, connectors: str = CONNECTORS) -> Loaded:
    """The settings from a text, below the usual connectors."""
    file = folder / "trueup.yaml"
    file.write_text(connectors + text, encoding="utf-8")
    return load(file, FAKES)
