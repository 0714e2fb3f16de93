"""The outside world for the tests of the intake: programs with tokens, Okta and Graph as they call us."""

from __future__ import annotations

import datetime as dt
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import text
from sqlmodel import Session

from tests.flows.rig import NOON
from worker.store.session import Store
from worker.store.tables import IdentityRow, PersonIdentity, PersonRow, SubscriptionRow

HR, DESK, BOARD = "hr-token-" + "a" * 32, "desk-token-" + "b" * 32, "board-token-" + "c" * 32
OKTA, GRAPH, OLD_GRAPH = "okta-hook-" + "d" * 32, "graph-hook-" + "e" * 32, "graph-old-" + "f" * 32
SECRETS = {"HR": HR, "DESK": DESK, "BOARD": BOARD, "OKTA_HOOK": OKTA, "GRAPH_HOOK": GRAPH, "OLD_GRAPH": OLD_GRAPH}

CONNECTORS = """\
sources:
  okta: {type: okta, url: "https://acme.okta.test", token: "${env:OKTA_TOKEN}"}
  entra: {type: entra, tenant: acme.test}
targets:
  looker: {type: looker, url: "https://looker.test", secret: "${env:LOOKER_SECRET}"}
  teamcity: {type: teamcity, url: "https://teamcity.test", token: "${file:/run/secrets/teamcity}"}
"""
INTAKE = """\
api:
  per_minute: 6000
  tokens: {hr: "${env:HR}", desk: "${env:DESK}", board: "${env:BOARD}"}
  may_force: [desk]
  sees_all: [board]
hooks:
  okta: {secret: "${env:OKTA_HOOK}"}
  entra: {secret: ["${env:GRAPH_HOOK}", "${env:OLD_GRAPH}"], url: "https://trueup.acme.test"}
"""
TENANT, ORDER = "6b1a3f0e-0000-4000-8000-00000000aaaa", "6b1a3f0e-0000-4000-8000-00000000bbbb"


@dataclass(frozen=True)
class Human:
    """Somebody whom Trueup has read at a source."""

    login: str
    identity_id: str
    source: str = "okta"
    person_id: uuid.UUID = field(default_factory=uuid.uuid4)

    def enter(self, session: Session) -> None:
        """Into the books; who is there already stays."""
        rows = (
            PersonRow(id=self.person_id, created_at=NOON),
            PersonIdentity(
                source=self.source, identity_id=self.identity_id, person_id=self.person_id, since=NOON
            ),
            IdentityRow(
                source=self.source, id=self.identity_id, valid_from=NOON, login=self.login, email=self.login,
                standing="active", status="ACTIVE",
            ),
        )  # fmt: skip
        for row in rows:
            session.add(row)
            session.flush()


ANA = Human("ana@acme.example", "00u000000000000000a1")
BEN = Human("ben@acme.example", "00u000000000000000b2")
CEM = Human("cem@acme.example", "6b1a3f0e-0000-4000-8000-00000000cccc", "entra")


def populate(store: Store) -> None:
    """The three, and a subscription at Graph."""
    with store.begin() as session:
        for human in (ANA, BEN, CEM):
            if session.get(PersonRow, human.person_id) is None:
                human.enter(session)
        session.add(
            SubscriptionRow(
                source="entra", resource="users", vendor_id=ORDER, tenant=TENANT, url="https://trueup.acme.test",
                made_at=NOON, expires_at=NOON + dt.timedelta(days=29), renew_at=NOON + dt.timedelta(days=14),
            )
        )  # fmt: skip


def rows(store: Store, statement: str) -> list[tuple[Any, ...]]:
    with store.begin() as session:
        return [tuple(row) for row in session.execute(text(statement))]


def count(store: Store) -> dict[str, int]:
    """How much stands in every table that anything from outside may reach."""
    tables = ("hint", "api_request", "offboarding", "subscription", "job", "entry", "personal", "person")
    return {table: int(rows(store, f"SELECT count(*) FROM {table}")[0][0]) for table in tables}


def asked(store: Store) -> list[tuple[str, str, str]]:
    """(person's login, trigger, actor) of each offboarding."""
    logins = {str(human.person_id): human.login for human in (ANA, BEN, CEM)}
    found = rows(store, "SELECT person_id::text, trigger, actor FROM offboarding ORDER BY requested_at, person_id")
    return sorted((logins[person], trigger, actor) for person, trigger, actor in found)


def started(client: httpx.Client, path: str, length: int, **headers: str) -> bytes:
    """The first line of the answer to a POST that announces so many bytes of JSON and sends one."""
    sent = {"Host": "x", "Content-Type": "application/json", "Content-Length": str(length), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in sent.items())
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{lines}\r\n{{".encode())
        return connection.makefile("rb").readline()


# --- Okta -------------------------------------------------------------------------------------------------------------


def event(
    kind: str, who: str = ANA.identity_id, *, at: str = "2026-11-21T11:59:00.000Z", **more: Any
) -> dict[str, Any]:
    """One entry of Okta's System Log, as a hook delivers it."""
    return {
        "uuid": str(uuid.uuid4()),
        "published": at,
        "eventType": kind,
        "severity": "INFO",
        "actor": {"id": "00uadmin", "type": "User", "alternateId": "admin@acme.example", "detailEntry": None},
        "outcome": {"result": "SUCCESS", "reason": None},
        "target": [
            {"id": "00gAAA", "type": "UserGroup", "alternateId": "unknown", "displayName": "Engineering"},
            {"id": who, "type": "User", "alternateId": "ana@acme.example", "displayName": "Ana Ruiz"},
        ],
        "debugContext": {"debugData": {}},
        **more,
    }


def delivery(*events: Any, **more: Any) -> dict[str, Any]:
    return {
        "eventType": "com.okta.event_hook",
        "eventTypeVersion": "1.0",
        "cloudEventsVersion": "0.1",
        "source": "https://acme.okta.test/api/v1/eventHooks/who1",
        "eventId": str(uuid.uuid4()),
        "eventTime": "2026-11-21T11:59:30.000Z",
        "contentType": "application/json",
        "data": {"events": list(events)},
        **more,
    }


def deliver(client: httpx.Client, body: Any, secret: str = OKTA, **how: Any) -> httpx.Response:
    return client.post("/v1/hooks/okta/okta", json=body, headers={"authorization": secret}, **how)


# --- Graph ------------------------------------------------------------------------------------------------------------


def item(who: str = CEM.identity_id, change: str = "updated", **more: Any) -> dict[str, Any]:
    """One change notification."""
    return {
        "subscriptionId": ORDER,
        "subscriptionExpirationDateTime": "2026-12-20T12:00:00Z",
        "clientState": GRAPH,
        "changeType": change,
        "resource": f"Users/{who}",
        "tenantId": TENANT,
        "resourceData": {"@odata.type": "#Microsoft.Graph.User", "@odata.id": f"Users/{who}", "id": who},
        **more,
    }


def alarm(event: str, **more: Any) -> dict[str, Any]:
    """One lifecycle notification."""
    return {
        "subscriptionId": ORDER,
        "subscriptionExpirationDateTime": "2026-12-20T12:00:00Z",
        "clientState": GRAPH,
        "lifecycleEvent": event,
        "resource": "Users",
        "tenantId": TENANT,
        **more,
    }


def notify(client: httpx.Client, *items: Mapping[str, Any]) -> httpx.Response:
    return client.post("/v1/hooks/graph/entra", json={"value": list(items)})


# --- programs ---------------------------------------------------------------------------------------------------------


def ask(client: httpx.Client, body: Any, token: str = HR, key: str | None = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "idempotency-key": key or str(uuid.uuid4())}
    return client.post("/v1/offboardings", json=body, headers=headers)


def look(client: httpx.Client, path: str, token: str = HR) -> httpx.Response:
    return client.get(path, headers={"authorization": f"Bearer {token}"})


def said(answer: httpx.Response) -> Iterator[str]:
    """Everything that an answer says."""
    yield answer.text
    yield from (f"{key}: {value}" for key, value in answer.headers.items())
