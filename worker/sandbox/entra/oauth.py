"""The tenant's token endpoint: it knows one application by secret, by certificate or by another issuer's word."""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

import jwt
import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME = 3599  # seconds
FEDERATION_AUDIENCE = "api://AzureADTokenExchange"
FEDERATION_ISSUER = "https://cluster.example/issuer"
FEDERATION_SUBJECT = "system:serviceaccount:trueup:worker"
_CLOUDS = (
    "https://graph.microsoft.com", "https://graph.microsoft.us", "https://dod-graph.microsoft.us",
    "https://microsoftgraph.chinacloudapi.cn",
)  # fmt: skip


class TokenError(Exception):
    """An answer of the token endpoint that is no token: OAuth's error with the vendor's own number."""

    def __init__(self, status: int, error: str, number: int, text: str) -> None:
        super().__init__(error)
        self.status = status
        trace, now = str(uuid.uuid4()), dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        told = f"AADSTS{number}: {text} Trace ID: {trace} Correlation ID: {trace} Timestamp: {now}"
        self.body = orjson.dumps(
            {
                "error": error,
                "error_description": told,
                "error_codes": [number], "timestamp": now, "trace_id": trace, "correlation_id": trace,
                "error_uri": f"https://login.microsoftonline.com/error?code={number}",
            }
        )  # fmt: skip


@dataclass
class Registration:
    """The one application that the tenant has. `granted` are its application permissions, as the token says them.

    `secret_expired` and `expire_tokens()` are what time does; `certificate` (PEM, key and certificate together) and
    `federated()` make credentials that the tenant knows from then on.
    """

    tenant: str
    domain: str
    client_id: str
    client_secret: str = field(repr=False)
    granted: set[str]
    secret_expired: bool = False
    lifetime: int = LIFETIME
    thumbprint: str = ""  # of the certificate, in hexadecimal
    _tokens: dict[str, float] = field(default_factory=dict)
    _registered: dict[str, Any] = field(default_factory=dict)  # public keys by either thumbprint

    @cached_property
    def certificate(self) -> str:
        """PEM of a private key and its certificate, which is registered from now on."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Trueup")])
        now = dt.datetime.now(dt.UTC)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
        signed = made.not_valid_after(now + dt.timedelta(days=365)).sign(key, hashes.SHA256())
        self.thumbprint = signed.fingerprint(hashes.SHA1()).hex()  # noqa: S303 - as the protocol has it
        for algorithm in (hashes.SHA1(), hashes.SHA256()):  # noqa: S303
            print_ = base64.urlsafe_b64encode(signed.fingerprint(algorithm)).rstrip(b"=").decode()
            self._registered[print_] = key.public_key()
        return _pem(key) + signed.public_bytes(serialization.Encoding.PEM).decode()

    @cached_property
    def _federation(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def federated(self, *, lifetime: float = 600, **changed: Any) -> str:
        """What a cluster puts into a workload's token file; `changed` are claims that are to be wrong."""
        now = int(time.time())
        claims = {
            "iss": FEDERATION_ISSUER, "sub": FEDERATION_SUBJECT, "aud": FEDERATION_AUDIENCE, "iat": now,
            "exp": now + int(lifetime), "jti": str(uuid.uuid4()), **changed,
        }  # fmt: skip
        return jwt.encode(claims, self._federation, algorithm="RS256")

    def expire_tokens(self) -> None:
        """Every token minted so far is over, as an hour later."""
        self._tokens.clear()

    def bears_token(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self._tokens.get(token, 0) > time.time()

    def mint(self, tenant: str, url: str, graph: str, form: bytes) -> dict[str, Any]:
        """The token endpoint's good answer; `url` is its own address. Raises TokenError."""
        asked = {name: values[0] for name, values in parse_qs(form.decode("utf-8", "replace")).items()}
        if tenant not in (self.tenant, self.domain):
            raise TokenError(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
        if asked.get("grant_type") != "client_credentials":
            raise TokenError(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
        if asked.get("client_id") != self.client_id:
            text = f"Application with identifier '{asked.get('client_id')}' was not found in the directory."
            raise TokenError(400, "unauthorized_client", 700016, text)
        self._check_scope(asked.get("scope", ""), graph)
        if "client_assertion" in asked:
            self._check_assertion(asked, url)
        else:
            self._check_secret(asked.get("client_secret"))
        return {
            "token_type": "Bearer", "expires_in": self.lifetime, "ext_expires_in": self.lifetime,
            "access_token": self._token(graph),
        }  # fmt: skip

    def _token(self, graph: str) -> str:
        now = int(time.time())
        claims = {
            "aud": graph, "iss": f"https://sts.windows.net/{self.tenant}/", "iat": now, "nbf": now,
            "exp": now + self.lifetime, "appid": self.client_id, "idtyp": "app", "roles": sorted(self.granted),
            "tid": self.tenant, "uti": secrets.token_urlsafe(16),
        }  # fmt: skip
        token = jwt.encode(claims, secrets.token_bytes(32), algorithm="HS256")
        self._tokens[token] = time.time() + self.lifetime
        return token

    def _check_scope(self, scope: str, graph: str) -> None:
        wanted = [one for one in scope.split() if one not in ("openid", "profile", "offline_access")]
        if len(wanted) != 1 or not wanted[0].endswith("/.default"):
            text = f"The provided value for scope {scope} is not valid. Client credential flows must have a scope value"
            raise TokenError(400, "invalid_scope", 1002012, f"{text} with /.default suffixed to the resource.")
        resource = wanted[0].removesuffix("/.default")
        if resource not in (graph, *_CLOUDS):
            text = f"The resource principal named {resource} was not found in the tenant named Acme."
            raise TokenError(400, "invalid_resource", 500011, text)

    def _check_secret(self, given: str | None) -> None:
        if given is None:
            text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
            raise TokenError(401, "invalid_client", 7000218, text)
        if not hmac.compare_digest(given.encode(), self.client_secret.encode()):
            raise TokenError(401, "invalid_client", 7000215, "Invalid client secret provided.")
        if self.secret_expired:
            raise TokenError(401, "invalid_client", 7000222, "The provided client secret keys are expired.")

    def _check_assertion(self, asked: Mapping[str, str], url: str) -> None:
        given = asked["client_assertion"]
        if asked.get("client_assertion_type") != ASSERTION_TYPE:
            raise TokenError(400, "invalid_request", 50027, "JWT token is invalid or malformed.")
        try:
            header = jwt.get_unverified_header(given)
        except jwt.PyJWTError as error:
            raise TokenError(401, "invalid_client", 50027, "JWT token is invalid or malformed.") from error
        thumbprint = str(header.get("x5t#S256") or header.get("x5t") or "").rstrip("=")  # msal pads it
        if thumbprint:
            self._check_own(given, thumbprint, url)
        else:
            self._check_federated(given)

    def _check_own(self, given: str, thumbprint: str, url: str) -> None:
        """Signed with a registered certificate's key. It may be used again until it is over: msal does."""
        key = self._registered.get(thumbprint)
        if key is None:
            text = "The certificate with identifier used to sign the client assertion is not registered on application."
            raise TokenError(401, "invalid_client", 700027, text)
        try:
            jwt.decode(
                given, key, algorithms=["PS256", "RS256"], audience=[url, url.replace("/oauth2/v2.0/token", "/v2.0")],
                issuer=self.client_id, subject=self.client_id, options={"require": ["exp", "iss", "sub", "aud", "jti"]},
            )  # fmt: skip
        except jwt.ExpiredSignatureError as error:
            text = "Client assertion is not within its valid time range."
            raise TokenError(401, "invalid_client", 700024, text) from error
        except jwt.PyJWTError as error:
            text = "Client assertion failed signature validation."
            raise TokenError(401, "invalid_client", 700027, text) from error

    def _check_federated(self, given: str) -> None:
        try:
            jwt.decode(
                given, self._federation.public_key(), algorithms=["RS256"], audience=FEDERATION_AUDIENCE,
                issuer=FEDERATION_ISSUER, subject=FEDERATION_SUBJECT, options={"require": ["exp", "iss", "sub", "aud"]},
            )  # fmt: skip
        except jwt.ExpiredSignatureError as error:
            text = "Client assertion is not within its valid time range."
            raise TokenError(401, "invalid_client", 700024, text) from error
        except jwt.InvalidSignatureError as error:
            raise TokenError(401, "invalid_client", 700027, "Client assertion failed signature validation.") from error
        except jwt.PyJWTError as error:
            text = "No matching federated identity record found for presented assertion."
            raise TokenError(400, "invalid_request", 70021, text) from error


def _pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
