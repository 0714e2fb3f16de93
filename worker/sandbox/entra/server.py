"""The tenant as it answers over TLS: its token endpoint, and Graph, one call at a time or many in a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from worker.sandbox.certificates import certificates
from worker.sandbox.company import AppRole, Company
from worker.sandbox.entra.answers import Answer, Call, GraphError
from worker.sandbox.entra.directory import Directory
from worker.sandbox.entra.graph import APPS, MEMBERS, USERS, Graph
from worker.sandbox.entra.oauth import Registration, TokenError
from worker.sandbox.server import Exchange, SandboxServer, Served

_BATCH = "/$batch"
_MOST_IN_BATCH = 20
_ONE_IS_BUSY = '{"error": {"code": "TooManyRequests", "message": "Too many requests."}}'


class EntraSandbox(SandboxServer):
    """A tenant loaded with a company. Edit it through `directory` or the methods of the same names; `graph` and `oauth`
    have the switches. A fault on "BATCH GET /v1.0/..." breaks one item of a $batch, whose answer still is 200."""

    name = "entra"

    def __init__(
        self,
        company: Company,
        *,
        tenant: str = "11111111-2222-4333-8444-000000000001",
        client_id: str = "22222222-3333-4444-8555-000000000001",
        client_secret: str = "sandbox~entra.client-secret",  # noqa: S107 - opens nothing but this sandbox
        granted: Iterable[str] = (USERS, MEMBERS, APPS),
        domain: str = "acme.example",
    ) -> None:
        super().__init__()
        self.tenant, self.client_id, self.client_secret = tenant, client_id, client_secret
        self.granted = set(granted)
        self.directory = Directory(company)
        self.graph = Graph(self.directory, self.granted, tenant, domain, client_id)
        self.oauth = Registration(tenant, domain, client_id, client_secret, self.granted)
        self.unlogged = (*(f"/{home}/oauth2/v2.0/token" for home in (tenant, domain)), f"/v1.0{_BATCH}")

    @property
    def ca_file(self) -> Path:
        """The authority that clients have to trust."""
        return certificates().ca_file

    def serve(self, port: int = 0, certificate: tuple[str, str] | None = None) -> Served:
        made = certificates()
        return super().serve(port, certificate or (str(made.certificate), str(made.key)))

    # --- edits -------------------------------------------------------------------------------------------------------

    def hire(self, *, id: str = "", groups: Iterable[str] = (), **properties: Any) -> str:
        """A new user with Graph's own property names; gives its id."""
        return self.directory.hire(id=id, groups=groups, **properties)

    def disable(self, user: str) -> None:
        self.directory.disable(user)

    def enable(self, user: str) -> None:
        self.directory.enable(user)

    def set(self, user: str, **properties: Any) -> None:
        self.directory.set(user, **properties)

    def soft_delete(self, user: str) -> None:
        self.directory.soft_delete(user)

    def restore(self, user: str) -> None:
        self.directory.restore(user)

    def purge(self, user: str) -> None:
        self.directory.purge(user)

    def create_group(self, name: str, kind: str = "security", *, id: str = "", hidden: bool = False) -> str:
        return self.directory.create_group(name, kind, id=id, hidden=hidden)

    def rename_group(self, group: str, name: str) -> None:
        self.directory.rename_group(group, name)

    def delete_group(self, group: str) -> None:
        self.directory.delete_group(group)

    def add_member(self, group: str, member: str) -> None:
        self.directory.add_member(group, member)

    def remove_member(self, group: str, member: str) -> None:
        self.directory.remove_member(group, member)

    def assign(self, role: AppRole) -> None:
        self.directory.assign(role)

    def state(self) -> dict[str, Any]:
        with self.directory.lock:
            things = self.directory.things.values()
            return {
                "tenant": self.tenant,
                "users": [t.properties for t in things if t.type == "user"],
                "deleted": [t.properties for t in self.directory.deleted.values()],
                "groups": [
                    {"id": t.id, "name": t.name, "members": self.directory.members(t)}
                    for t in things
                    if t.type == "group"
                ],
            }

    # --- over HTTP ---------------------------------------------------------------------------------------------------

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/common/discovery/instance", self._instances),
            Route("/{tenant}/v2.0/.well-known/openid-configuration", self._configuration),
            Route("/{tenant}/oauth2/v2.0/token", self._mint, methods=["POST"]),
            Route("/v1.0/{path:path}", self._ask, methods=["GET", "POST", "PATCH", "PUT", "DELETE"]),
        ]

    async def _instances(self, request: Request) -> Response:
        tenant = f"{_base(request)}/{self.tenant}/v2.0/.well-known/openid-configuration"
        return _json({"tenant_discovery_endpoint": tenant, "api-version": "1.1", "metadata": []})

    async def _configuration(self, request: Request) -> Response:
        tenant, base = request.path_params["tenant"], _base(request)
        if tenant not in (self.tenant, self.oauth.domain):
            refused = TokenError(400, "invalid_tenant", 90002, f"Tenant '{tenant}' not found.")
            return Response(refused.body, refused.status, media_type="application/json")
        home = f"{base}/{self.tenant}"
        return _json(
            {
                "token_endpoint": f"{home}/oauth2/v2.0/token", "issuer": f"{home}/v2.0",
                "authorization_endpoint": f"{home}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{home}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{home}/discovery/v2.0/keys", "tenant_region_scope": "EU",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "cloud_instance_name": "microsoftonline.com", "msgraph_host": base.partition("://")[2],
            }
        )  # fmt: skip

    async def _mint(self, request: Request) -> Response:
        url = f"{_base(request)}{request.url.path}"
        try:
            return _json(self.oauth.mint(request.path_params["tenant"], url, _base(request), await request.body()))
        except TokenError as error:
            return Response(error.body, error.status, media_type="application/json")

    async def _ask(self, request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = "/" + request.path_params["path"]
        call = Call(request.method, path, request.url.query, headers, _base(request), await request.body())
        with self.directory.lock:
            batched = (call.method, path) == ("POST", _BATCH) and self._lets_in(call)
            answer = self._batch(call) if batched else self._single(call)
        return Response(answer.content(), answer.status, answer.headers, answer.media)

    def _lets_in(self, call: Call) -> bool:
        return self.oauth.bears_token(call.headers.get("authorization", ""))

    def _single(self, call: Call) -> Answer:
        return self.graph.answer(call, known_caller=self._lets_in(call))

    # --- many at once ------------------------------------------------------------------------------------------------

    def _batch(self, call: Call) -> Answer:
        """Each item is answered as if it had come alone, and the answers come in another order."""
        try:
            items = [(str(item["id"]), _item(call, item)) for item in orjson.loads(call.body)["requests"]]
            fault = _batch_fault([id for id, _ in items])
        except (ValueError, KeyError, TypeError, AttributeError):
            fault = "Invalid batch payload format."
        if fault:
            return GraphError(400, "BadRequest", fault).answer("", "")
        said = []
        for id, one in items:
            answer = self._in_batch(one)
            headers = {"Content-Type": answer.media, **answer.headers}
            said.append({"id": id, "status": answer.status, "headers": headers, "body": answer.body})
        return Answer({"responses": said[::-1]})

    def _in_batch(self, call: Call) -> Answer:
        """Shown to the observers as an exchange of its own, and counted as a read."""
        path = f"/v1.0{call.path}"
        fault = next((f for f in self.faults if f.hits(f"BATCH {call.method} {path}")), None)
        if fault is None:
            answer = self._single(call)
        else:
            answer = Answer(_said(fault.text or _ONE_IS_BUSY), fault.status, fault.headers, "application/json")
        self.reads[path] += 1
        exchange = Exchange(
            next(self._numbers), self.name, call.method, path, call.query, dict(call.headers), call.body, answer.status,
            {"content-type": answer.media, **answer.headers}, answer.content(), answer.headers.get("request-id", ""),
            fault.kind if fault else "",
        )  # fmt: skip
        for observer in self.observers:
            observer(exchange)
        return answer


def _item(call: Call, item: Mapping[str, Any]) -> Call:
    path, _, query = item["url"].partition("?")
    given = {name.lower(): value for name, value in item.get("headers", {}).items()}
    body = orjson.dumps(item["body"]) if "body" in item else b""
    headers = {"authorization": call.headers.get("authorization", ""), **given}
    return Call(item["method"].upper(), "/" + path.lstrip("/"), query, headers, call.base, body)


def _said(text: str) -> Any:
    """What is no JSON is a text."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _batch_fault(ids: list[str]) -> str:
    if len(ids) > _MOST_IN_BATCH:
        return f"Number of batch request steps exceeds the maximum value of {_MOST_IN_BATCH}."
    return "Request id has to be unique in a batch." if len(set(ids)) < len(ids) else ""


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _json(data: Any) -> Response:
    return Response(orjson.dumps(data), media_type="application/json")
