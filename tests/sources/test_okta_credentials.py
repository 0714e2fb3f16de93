"""How the connector gets in: settings that are right or say what to write, API tokens, and signed access tokens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from pydantic import ValidationError

from tests.sources.okta_org import company, connected, pull, user_id
from worker.core.identity import Standing
from worker.errors import Denied, Misconfigured, Misshapen, Paused, Unavailable
from worker.ports import Line
from worker.sandbox.okta import OktaSandbox
from worker.sandbox.okta.oauth import Token
from worker.sandbox.server import Exchange
from worker.sources.okta import Settings, connect

APP = {"client_id": "0oa1", "private_key": "${env:KEY}"}
TOKEN = {"token": "${env:TOKEN}"}
LASTING = Token(frozenset({"okta.users.read", "okta.groups.read"}), expires=1e12)
MINT = "POST /oauth2/v1/token"


@cache
def key_pair() -> tuple[str, str]:
    """(private, public) of the one app of all tests, as making a pair takes a while."""
    oauth = OktaSandbox(company(1)).oauth
    return oauth.private_key, oauth.public_key


@pytest.fixture
def okta() -> Iterator[OktaSandbox]:
    sandbox = OktaSandbox(company(5), public_key=key_pair()[1])
    with sandbox.serve():
        yield sandbox


def app(okta: OktaSandbox, **more: Any) -> dict[str, Any]:
    return {"client_id": okta.client_id, "secret": key_pair()[0], **more}


def authorizations(okta: OktaSandbox) -> list[str]:
    """The Authorization headers of the API calls from now on."""
    seen: list[str] = []

    def watch(exchange: Exchange) -> None:
        if exchange.path.startswith("/api/"):
            seen.append(exchange.request_headers["authorization"])

    okta.observers.append(watch)
    return seen


# Settings


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://acme.okta.com", "https://acme.okta.com"),
        ("https://Acme.Okta.com/", "https://acme.okta.com"),
        (" https://id.acme.example:8443 ", "https://id.acme.example:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080", "http://localhost:8080"),
    ],
)
def test_the_address_of_an_org_is_kept_plain(given: str, kept: str) -> None:
    assert Settings(type="okta", url=given, **TOKEN).url == kept


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"url": "http://acme.okta.com", **TOKEN}, "write it with https://", id="plain http"),
        pytest.param({"url": "acme.okta.com", **TOKEN}, "write it with https://", id="no scheme"),
        pytest.param({"url": "http://127.0.0.1.evil.example", **TOKEN}, "with https://", id="a host that looks local"),
        pytest.param({"url": "https://", **TOKEN}, "only scheme and host", id="no host"),
        pytest.param({"url": "https://acme.okta.com/api/v1", **TOKEN}, "only scheme and host", id="a path"),
        pytest.param({"url": "https://me:pw@acme.okta.com", **TOKEN}, "only scheme and host", id="a password"),
        pytest.param({"url": "https://acme-admin.okta.com", **TOKEN}, "write https://acme.okta.com", id="admin host"),
        pytest.param({}, "give `client_id` and `private_key`", id="no credentials"),
        pytest.param({"client_id": "0oa1"}, "give `client_id` and `private_key`", id="an app without a key"),
        pytest.param({"private_key": "${env:KEY}"}, "give `client_id` and `private_key`", id="a key without an app"),
        pytest.param({**APP, **TOKEN}, "not both", id="both ways in"),
        pytest.param({**TOKEN, "dpop": True}, "not both", id="DPoP with an API token"),
        pytest.param({"token": "00abcdef"}, "by reference", id="a secret in the file"),
        pytest.param({**APP, "scopes": ["okta.users.read"]}, "add okta.groups.read", id="a scope too few"),
        pytest.param(
            {**APP, "scopes": ["okta.users.read", "okta.groups.read", "okta.users.manage"]},
            "leave out okta.users.manage", id="a scope that writes",
        ),
        pytest.param({**TOKEN, "provisioned": "departed"}, "active", id="a standing that is no choice"),
        pytest.param({**TOKEN, "tokn": "x"}, "tokn", id="an unknown key"),
        pytest.param({**TOKEN, "timeout": 0}, "timeout", id="no time at all"),
    ],
)  # fmt: skip
def test_wrong_settings_say_what_to_write(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**{"type": "okta", "url": "https://acme.okta.com", **settings})
    assert words in str(caught.value)


def test_each_setting_explains_itself() -> None:
    undescribed = [n for n, f in Settings.model_fields.items() if n != "type" and not f.description]
    assert undescribed == []


def test_a_missing_secret_is_told_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(Misconfigured, match="TOKEN is not set"):
        connect("okta", Settings(type="okta", url="https://acme.okta.com", **TOKEN))


def _elliptic() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("not a key", id="text"),
        pytest.param("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", id="broken PEM"),
        pytest.param('{"kty": "RSA", "n": "x"}', id="half a JWK"),
        pytest.param("{", id="half JSON"),
        pytest.param(_elliptic(), id="an elliptic key"),
    ],
)
def test_a_key_that_is_none_is_told_before_any_call(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("KEY", key)
    with pytest.raises(Misconfigured, match="is no RSA private key") as caught:
        connect("okta", Settings(type="okta", url="https://acme.okta.com", **APP))
    assert key not in str(caught.value)


def test_the_vendor_package_is_not_loaded_for_an_api_token() -> None:
    code = "import sys, worker.sources.okta; sys.exit('okta' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The service app


def test_a_service_app_signs_in_and_reads(okta: OktaSandbox, tmp_path: Path) -> None:
    seen = authorizations(okta)
    with connected(okta.url, tmp_path / "key", okta, **app(okta)) as source:
        assert len(pull(source).people) == 6
        assert source.instance().own_account == okta.client_id
        assert not [notice for notice in source.probe() if "API token" in notice.text]
    assert len(okta.oauth.tokens) == 1
    assert {header.partition(" ")[0] for header in seen} == {"Bearer"}


def test_the_key_may_be_a_jwk_that_brings_its_key_id(okta: OktaSandbox, tmp_path: Path) -> None:
    key = load_pem_private_key(key_pair()[0].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    jwk = json.dumps({**jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True), "kid": "key-7"})
    bodies: list[bytes] = []
    okta.observers.append(lambda e: bodies.append(e.request_body) if e.path.startswith("/oauth2") else None)
    with connected(okta.url, tmp_path / "key", okta, **app(okta, secret=jwk)) as source:
        assert source.person(user_id(1)) is not None
    assertion = dict(pair.split("=") for pair in bodies[0].decode().split("&"))["client_assertion"]
    assert jwt.get_unverified_header(assertion)["kid"] == "key-7"


def test_a_token_is_renewed_before_it_ends(okta: OktaSandbox, tmp_path: Path) -> None:
    okta.oauth.lifetime = 0
    answers: list[int] = []

    def outlive(exchange: Exchange) -> None:
        answers.append(exchange.status)
        okta.oauth.tokens = dict.fromkeys(okta.oauth.tokens, LASTING)

    okta.observers.append(outlive)
    seen = authorizations(okta)
    with connected(okta.url, tmp_path / "key", okta, **app(okta)) as source:
        source.person(user_id(1))
        source.person(user_id(2))
    assert len(set(seen)) == 2
    assert set(answers) == {200}


def test_a_token_that_ended_early_is_renewed_once_and_nothing_is_lost(okta: OktaSandbox, tmp_path: Path) -> None:
    with connected(okta.url, tmp_path / "key", okta, **app(okta)) as source:
        source.person(user_id(1))
        okta.oauth.expire_tokens()
        assert len(pull(source).people) == 6
        assert len(okta.oauth.tokens) == 1


def test_two_refused_tokens_are_enough(okta: OktaSandbox, tmp_path: Path) -> None:
    fault = okta.break_("GET /api/v1/users", "status", status=401, text="{}")
    with (
        connected(okta.url, tmp_path / "key", okta, **app(okta)) as source,
        pytest.raises(Denied, match="refused a new access token too"),
    ):
        pull(source)
    assert fault.fired == 2


def test_a_key_that_is_not_registered_is_told(okta: OktaSandbox, tmp_path: Path) -> None:
    registered, _ = key_pair()
    other = OktaSandbox(company(1)).private_key
    with (
        connected(okta.url, tmp_path / "key", okta, **app(okta, secret=other)) as source,
        pytest.raises(Denied, match=r"invalid_client.*registered with that app") as caught,
    ):
        pull(source)
    assert other not in str(caught.value)
    assert registered not in str(caught.value)


def test_a_scope_that_was_not_granted_is_named(okta: OktaSandbox, tmp_path: Path) -> None:
    okta.oauth.granted = frozenset({"okta.users.read"})
    with (
        connected(okta.url, tmp_path / "key", okta, **app(okta)) as source,
        pytest.raises(Denied, match=r"Grant the app these scopes under Okta API Scopes: okta\.users\.read okta\.gr"),
    ):
        pull(source)


def test_a_token_with_fewer_scopes_than_asked_is_not_used(okta: OktaSandbox, tmp_path: Path) -> None:
    answer = {"token_type": "Bearer", "expires_in": 3600, "access_token": "x", "scope": "okta.users.read"}
    fault = okta.break_(MINT, "misshapen", text=json.dumps(answer))
    with (
        connected(okta.url, tmp_path / "key", okta, **app(okta)) as source,
        pytest.raises(Denied, match=r"was not given okta\.groups\.read"),
    ):
        pull(source)
    assert fault.fired


def test_an_app_without_a_role_is_told_which_to_add(okta: OktaSandbox, tmp_path: Path) -> None:
    okta.admin_role = "none"
    with (
        connected(okta.url, tmp_path / "key", okta, **app(okta)) as source,
        pytest.raises(Denied, match=r"scope okta\.groups\.read, and an administrator role"),
    ):
        pull(source)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param({"kind": "status", "status": 500}, Unavailable, id="500"),
        pytest.param({"kind": "status", "status": 429}, Unavailable, id="429"),
        pytest.param({"kind": "drop"}, Unavailable, id="a lost connection"),
        pytest.param({"kind": "html"}, Unavailable, id="a web page"),
        pytest.param({"kind": "redirect", "text": "https://x.example/"}, Misconfigured, id="a redirect"),
        pytest.param({"kind": "truncate"}, Misshapen, id="half an answer"),
        pytest.param({"kind": "misshapen"}, Misshapen, id="something else"),
        pytest.param({"kind": "misshapen", "text": "[]"}, Misshapen, id="a list"),
        pytest.param({"kind": "status", "status": 401, "text": "who?"}, Misshapen, id="a 401 of a gateway"),
        pytest.param({"kind": "status", "status": 403, "text": '{"error": "access_denied"}'}, Denied, id="403"),
    ],
)
def test_a_broken_token_endpoint_is_an_error(
    okta: OktaSandbox, tmp_path: Path, fault: dict[str, Any], error: type[Exception]
) -> None:
    injected = okta.break_(MINT, **fault)
    with connected(okta.url, tmp_path / "key", okta, **app(okta), attempts=2) as source, pytest.raises(error) as caught:
        pull(source)
    assert injected.fired == (2 if error is Unavailable else 1)
    assert "BEGIN" not in str(caught.value)


@pytest.mark.parametrize("kind", ["drop", "drop-after", "status"])
def test_a_token_endpoint_that_stumbles_is_asked_again(okta: OktaSandbox, tmp_path: Path, kind: str) -> None:
    fault = okta.break_(MINT, kind, status=503, times=1)
    with connected(okta.url, tmp_path / "key", okta, **app(okta)) as source:
        assert len(pull(source).people) == 6
    assert fault.fired == 1


def test_a_pause_stops_the_signing_in_too(okta: OktaSandbox, tmp_path: Path) -> None:
    def paused(_bucket: str) -> None:
        raise Paused("Trueup is paused.")

    with (
        connected(okta.url, tmp_path / "key", okta, **app(okta), line=Line(before=paused)) as source,
        pytest.raises(Paused),
    ):
        pull(source)
    assert okta.oauth.tokens == {}


# Proof of possession


def test_every_call_proves_the_key_and_the_nonce_is_given(okta: OktaSandbox, tmp_path: Path) -> None:
    okta.oauth.demand_dpop = True
    seen = authorizations(okta)
    with connected(okta.url, tmp_path / "key", okta, **app(okta, dpop=True)) as source:
        assert len(pull(source).people) == 6
        assert not [notice for notice in source.probe() if "DPoP" in notice.text]
    assert {header.partition(" ")[0] for header in seen} == {"DPoP"}


def test_an_app_that_demands_proof_says_so(okta: OktaSandbox, tmp_path: Path) -> None:
    okta.oauth.demand_dpop = True
    with connected(okta.url, tmp_path / "key", okta, **app(okta)) as source, pytest.raises(Denied, match="dpop: true"):
        pull(source)


def test_a_bound_token_is_renewed_after_a_401(okta: OktaSandbox, tmp_path: Path) -> None:
    okta.oauth.demand_dpop = True
    with connected(okta.url, tmp_path / "key", okta, **app(okta, dpop=True)) as source:
        source.person(user_id(1))
        okta.oauth.expire_tokens()
        person = source.person(user_id(1))
    assert person is not None
    assert person.standing is Standing.ACTIVE


def test_a_nonce_that_changes_is_not_chased_for_ever(okta: OktaSandbox, tmp_path: Path) -> None:
    fault = okta.break_(
        MINT, "status", status=400, text='{"error": "use_dpop_nonce"}', headers={"dpop-nonce": "always another"}
    )
    with connected(okta.url, tmp_path / "key", okta, **app(okta, dpop=True)) as source, pytest.raises(Denied):
        pull(source)
    assert fault.fired == 2


def test_tokens_that_are_not_bound_although_asked_are_noticed(okta: OktaSandbox, tmp_path: Path) -> None:
    answer = {
        "token_type": "Bearer", "expires_in": 3600, "access_token": "plain",
        "scope": "okta.users.read okta.groups.read",
    }  # fmt: skip
    okta.oauth.tokens["plain"] = LASTING
    okta.break_(MINT, "status", status=200, text=json.dumps(answer))
    with connected(okta.url, tmp_path / "key", okta, **app(okta, dpop=True)) as source:
        assert any("without DPoP" in notice.text for notice in source.probe())
