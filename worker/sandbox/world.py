"""One company on its servers: Okta or Entra ID or both, Looker, TeamCity; with settings and secrets that lead there."""

from __future__ import annotations

import json
import secrets
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from worker.errors import Refused
from worker.sandbox import regions
from worker.sandbox.company import Company, Story
from worker.sandbox.entra import EntraSandbox
from worker.sandbox.looker import LookerSandbox
from worker.sandbox.okta import OktaSandbox
from worker.sandbox.seed import company
from worker.sandbox.server import SandboxServer, Served
from worker.sandbox.teamcity import TeamCitySandbox
from worker.sandbox.tenancy import placed

_SOURCES = {
    "okta": """\
  okta:
    type: okta
    url: {okta}
    token: ${{env:SANDBOX_OKTA_TOKEN}}
""",
    "entra": """\
  entra:
    type: entra
    tenant: {tenant}
    client_id: {client_id}
    client_secret: ${{env:SANDBOX_ENTRA_SECRET}}
    authority: {entra}/{tenant}
    graph: {entra}
    ca_file: {ca_file}
""",
}
_JOINING = """
joining: {trust: [employeeNumber]}
"""
_SETTINGS = """\
mode: {mode}

sources:
{sources}{joining}
targets:
  looker:
    type: looker
    url: {looker}
    client_id: ${{env:SANDBOX_LOOKER_ID}}
    client_secret: ${{env:SANDBOX_LOOKER_SECRET}}
    create: email
{filters}  teamcity:
    type: teamcity
    url: {teamcity}
    token: ${{env:SANDBOX_TEAMCITY_TOKEN}}
    create: "on"

{policy}"""


def settings_yaml(
    urls: Mapping[str, str], policy: str, mode: str = "observe", tenancy: Mapping[str, str] | None = None
) -> str:
    """A whole trueup.yaml: `urls` by vendor, and the part of it that a company brings as its policy. `tenancy` leads to
    Entra ID, where that is served: tenant, client_id, ca_file."""
    used = [name for name in _SOURCES if name in urls]
    sources = "".join(_SOURCES[name].format(**urls, **(tenancy or {})) for name in used)
    joining = _JOINING if len(used) > 1 else ""
    filters = regions.declared(policy)
    return _SETTINGS.format(mode=mode, sources=sources, joining=joining, filters=filters, policy=policy, **urls)


class World:
    """The servers over one company, in threads of this process. Edit them through its fields.

    `sources` say where its people are: ("okta",), ("entra",) or ("okta", "entra"); `company` is as `placed` there, and
    `everybody` are its people wherever they are, leavers included.
    """

    def __init__(self, company: Company, sources: Sequence[str] = ("okta",)) -> None:
        self.everybody, self.sources = company.employees, tuple(sources)
        self.company = company = placed(company, sources)
        self.okta = OktaSandbox(company)
        self.entra = EntraSandbox(company, client_secret=secrets.token_hex(16))
        self._looker_key = (secrets.token_hex(10), secrets.token_hex(12))
        self.looker = LookerSandbox(company, client_id=self._looker_key[0], client_secret=self._looker_key[1])
        self.teamcity = TeamCitySandbox(company)

    @classmethod
    def of(cls, size: int, seed: int = 1, sources: Sequence[str] = ("okta",), *, filters: bool = False) -> Self:
        return cls(company(size, seed, filters=filters), sources)

    @property
    def servers(self) -> Sequence[SandboxServer]:
        """The sources that are used, then the targets."""
        sources: Mapping[str, SandboxServer] = {"okta": self.okta, "entra": self.entra}
        return (*(sources[name] for name in self.sources), self.looker, self.teamcity)

    @contextmanager
    def serve(self, port: int | Sequence[int] = 0) -> Iterator[Self]:
        """All of them answer on 127.0.0.1 until the block ends, from this port on, or each on one of these; 0 takes any
        that is free."""
        ports = [port + n if port else 0 for n in range(len(self.servers))] if isinstance(port, int) else port
        served: list[Served] = []
        with ExitStack() as stack:
            for server, its in zip(self.servers, ports, strict=True):
                served.append(stack.enter_context(server.serve(its)))
            yield self
            for one in served:
                one.leave()

    @property
    def urls(self) -> dict[str, str]:
        """By vendor; while served."""
        return {server.name: server.url for server in self.servers}

    @property
    def tenancy(self) -> dict[str, str]:
        """What leads to Entra ID beside its address; empty where nobody is there."""
        if "entra" not in self.sources:
            return {}
        entra = self.entra
        return {"tenant": entra.tenant, "client_id": entra.client_id, "ca_file": str(entra.ca_file)}

    def settings_yaml(self, mode: str = "observe") -> str:
        return settings_yaml(self.urls, self.company.policy, mode, self.tenancy)

    def environment(self) -> dict[str, str]:
        """The variables that the settings' references name; what they hold opens nothing but this sandbox."""
        keys = {
            "okta": ("SANDBOX_OKTA_TOKEN", self.okta.token),
            "entra": ("SANDBOX_ENTRA_SECRET", self.entra.client_secret),
        }
        return {
            **dict(keys[name] for name in self.sources),
            "SANDBOX_LOOKER_ID": self._looker_key[0],
            "SANDBOX_LOOKER_SECRET": self._looker_key[1],
            "SANDBOX_TEAMCITY_TOKEN": self.teamcity.token,
        }


@dataclass(frozen=True)
class Neighbour:
    """The servers in a process of their own, so that they and the worker share no interpreter lock."""

    urls: dict[str, str]
    policy: str
    stories: tuple[Story, ...]
    secrets: dict[str, str] = field(repr=False)
    tenancy: dict[str, str] = field(default_factory=dict)

    def settings_yaml(self, mode: str = "observe") -> str:
        return settings_yaml(self.urls, self.policy, mode, self.tenancy)

    def environment(self) -> dict[str, str]:
        return self.secrets

    def state(self, vendor: str) -> Any:
        """Everything the server knows."""
        return self._ask(vendor, "GET", "state")

    def log(self, vendor: str) -> Any:
        """Every mutating call that reached the server."""
        return self._ask(vendor, "GET", "log")

    def reads(self, vendor: str) -> Any:
        """How often each path was read."""
        return self._ask(vendor, "GET", "reads")

    def traffic(self, vendor: str) -> Any:
        """What the server was asked since the limit was last set."""
        return self._ask(vendor, "GET", "traffic")

    def limit(self, vendor: str, per_minute: int | None) -> Any:
        """From now on 429 is the answer to more in any minute. What was asked until now."""
        return self._ask(vendor, "POST", "traffic", {"limit": per_minute})

    def break_(self, vendor: str, route: str, kind: str, **how: Any) -> None:
        """Inject a fault, as `SandboxServer.break_` does."""
        self._ask(vendor, "POST", "faults", {"route": route, "kind": kind, **how})

    def faults(self, vendor: str) -> Any:
        """Every fault, with how often it was seen and fired."""
        return self._ask(vendor, "GET", "faults")

    def hand(self, vendor: str, do: str, *given: Any, **named: Any) -> Any:
        """An edit by hand, by the name of the server's method; returns what that returns."""
        return self._ask(vendor, "POST", "hand", {"do": do, "with": given, "named": named})

    def switch(self, vendor: str, **switches: Any) -> None:
        """Turn switches of a server."""
        self._ask(vendor, "POST", "switches", switches)

    def mend(self, vendor: str) -> None:
        self._ask(vendor, "DELETE", "faults")

    def _ask(self, vendor: str, method: str, what: str, body: Any = None) -> Any:
        trusted = ssl.create_default_context(cafile=self.tenancy["ca_file"]) if vendor == "entra" else True
        with httpx.Client(trust_env=False, timeout=60, verify=trusted) as client:
            answer = client.request(method, f"{self.urls[vendor]}/_sandbox/{what}", json=body)
            return answer.raise_for_status().json()


def announcement(world: World) -> str:
    """The one line of JSON that a sandbox process prints when it is ready; `Neighbour` is made of it."""
    stories = [asdict(story) for story in world.company.stories]
    ready = {
        "urls": world.urls, "environment": world.environment(), "policy": world.company.policy, "stories": stories,
        "tenancy": world.tenancy,
    }  # fmt: skip
    return json.dumps(ready)


@contextmanager
def serve_next_door(
    size: int, seed: int = 1, sources: Sequence[str] = ("okta",), *, furnished: bool = False
) -> Iterator[Neighbour]:
    """Start `python -m worker.sandbox` and end it with the block; it also ends by itself when this process does."""
    asked = ["--size", str(size), "--seed", str(seed), "--sources", ",".join(sources), "--until-stdin-closes"]
    asked += ["--furnished"] if furnished else []
    command = [sys.executable, "-m", "worker.sandbox", *asked]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout
        assert process.stdin
        try:
            line = process.stdout.readline()
            if not line:
                raise Refused(f"The sandbox did not start: {' '.join(command)} ended without an answer.")
            ready = json.loads(line)
            stories = tuple(Story(**story) for story in ready["stories"])
            yield Neighbour(ready["urls"], ready["policy"], stories, ready["environment"], ready["tenancy"])
        finally:
            process.stdin.close()
            process.wait(timeout=30)
