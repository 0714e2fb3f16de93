"""What trueup.yaml says about an Entra ID tenant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from worker.references import SecretReference

GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DOMAIN = re.compile(r"(?=.{4,253}$)([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}")
Cloud = Literal["global", "us-gov", "us-dod", "china"]
# Where each cloud gives tokens, and where its Graph is. A token of one is worth nothing in another.
CLOUDS: Mapping[Cloud, tuple[str, str]] = {
    "global": ("https://login.microsoftonline.com", "https://graph.microsoft.com"),
    "us-gov": ("https://login.microsoftonline.us", "https://graph.microsoft.us"),
    "us-dod": ("https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
    "china": ("https://login.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn"),
}
_CREDENTIALS = ("client_secret", "certificate", "assertion_file")


class Settings(BaseModel):
    """One Entra ID tenant, and an app registration of it to read it with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["entra"]
    tenant: str = Field(description="The tenant: its id (a GUID), or a domain that is verified there.")
    client_id: str = Field(description="Application (client) id of the app registration.")
    client_secret: SecretReference | None = Field(
        None, description="Reference to a client secret of the app, such as ${env:ENTRA_SECRET}."
    )
    certificate: SecretReference | None = Field(
        None, description="Reference to a PEM file with the app's private key and certificate: ${file:/run/entra.pem}."
    )
    assertion_file: str | None = Field(
        None, min_length=1, description="File with a federated token of this workload; read anew each time."
    )
    cloud: Cloud = Field("global", description="Which national cloud the tenant is in.")
    authority: str | None = Field(None, description="Where tokens are given, instead of the cloud's own address.")
    graph: str | None = Field(None, description="Where Microsoft Graph is, instead of the cloud's own address.")
    guests: Literal["hold", "include"] = Field(
        "hold", description="Whether guests are people like others, or are given nothing and lose nothing."
    )
    disabled: Literal["departed", "suspended"] = Field(
        "departed", description="What a person is whose account is disabled."
    )
    app_roles: tuple[str, ...] = Field(
        (), description="Application (client) ids whose app role assignments are read, as groups."
    )
    ca_file: str | None = Field(None, description="PEM file of an authority to trust instead of the usual ones.")
    timeout: float = Field(30.0, gt=0, le=300, description="Seconds that one call may take.")

    @property
    def url(self) -> str:
        """Where Graph is: whoever reads through it shares one rate budget."""
        return self.graph or CLOUDS[self.cloud][1]

    @property
    def login(self) -> str:
        """The authority as msal wants it: host and tenant."""
        authority = self.authority or CLOUDS[self.cloud][0]
        return authority if urlsplit(authority).path else f"{authority}/{self.tenant}"

    @field_validator("tenant")
    @classmethod
    def _one_tenant(cls, tenant: str) -> str:
        tenant = tenant.strip().lower()
        if not GUID.fullmatch(tenant) and not _DOMAIN.fullmatch(tenant):
            raise ValueError(
                "write the Directory (tenant) id, a GUID, or a verified domain such as acme.onmicrosoft.com;"
                " `common` and `organizations` do not work for an app"
            )
        return tenant

    @field_validator("client_id")
    @classmethod
    def _an_app(cls, id: str) -> str:
        if not GUID.fullmatch(id.strip()):
            raise ValueError("write the Application (client) id, a GUID; not the secret's id or the app's name")
        return id.strip().lower()

    @field_validator("app_roles")
    @classmethod
    def _apps(cls, ids: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [id for id in ids if not GUID.fullmatch(id)]:
            raise ValueError(f"{', '.join(wrong)}: write each application's Application (client) id, a GUID")
        return tuple(dict.fromkeys(id.lower() for id in ids))

    @field_validator("authority", "graph")
    @classmethod
    def _over_tls(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url.strip())
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError("write it with https://; tokens are never sent without TLS")
        if parts.query or parts.fragment or parts.username:
            raise ValueError("write only https:// and the host")
        return f"https://{parts.netloc.lower()}{parts.path.rstrip('/')}"

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        if self.graph and urlsplit(self.graph).path:
            raise ValueError("`graph`: write only https:// and the host; Trueup adds /v1.0 itself")
        path = urlsplit(self.authority or "").path.strip("/")
        if path and path.lower() != self.tenant:
            raise ValueError("`authority` ends with another tenant than `tenant`: write only https:// and the host")
        return self

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        given = [name for name in _CREDENTIALS if getattr(self, name)]
        if len(given) != 1:
            said = f"{' and '.join(f'`{name}`' for name in given)} are given" if given else "none is given"
            raise ValueError(
                "give exactly one of `client_secret`, `certificate` (better) and `assertion_file` (best, where the"
                f" workload has a token of its own); {said}"
            )
        return self
