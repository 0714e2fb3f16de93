"""How Trueup proves to Okta who it is: an API token, or a service app that signs for short-lived access tokens."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from worker.core.render import quoted
from worker.errors import Denied, Misconfigured, Misshapen, Unavailable, Unknown
from worker.ports import Line
from worker.rest import Reply, Rest
from worker.sources.okta.rate import bucket, throttle_wait, window
from worker.sources.okta.settings import Settings

TOKEN_PATH = "/oauth2/v1/token"  # noqa: S105 - a path
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
RENEW_BEFORE = 300.0  # seconds before a token ends
REFUSALS: Mapping[str, str] = {
    "invalid_client": "Check `client_id`, and that `private_key` (and `key_id`) is a key registered with that app.",
    "invalid_scope": "Grant the app these scopes under Okta API Scopes: ",
    "invalid_dpop_proof": "The app requires DPoP: set `dpop: true`.",
    "unauthorized_client": "Create the app as API Services, with public key / private key client authentication.",
    "access_denied": "Assign the app an administrator role that may view users and groups.",
}


class Credentials(Protocol):
    """What signs every call. `client_id` is "" for an API token; `secrets` must not be shown.

    `current` is what calls carry now, and `bound` says that it is worthless without a key of ours.
    """

    client_id: str
    secrets: Sequence[str]

    @property
    def current(self) -> str: ...

    @property
    def bound(self) -> bool: ...

    def headers(self, method: str, url: str) -> Mapping[str, str]: ...

    def close(self) -> None: ...

    def renewed(self, since: str) -> bool:
        """After a 401: whether another try makes sense, with something else than the `since` that was refused."""
        ...


class ApiToken:
    """An SSWS token: it carries the rights of the administrator who made it."""

    client_id: str = ""
    bound = False

    def __init__(self, token: str) -> None:
        self.current = token
        self.secrets: Sequence[str] = (token,)

    def headers(self, method: str, url: str) -> Mapping[str, str]:  # noqa: ARG002 - the same for every call
        return {"Authorization": f"SSWS {self.current}"}

    def close(self) -> None:
        """Nothing is open."""

    def renewed(self, since: str) -> bool:  # noqa: ARG002 - there is no other
        return False


@dataclass(frozen=True, slots=True)
class _Access:
    scheme: str
    value: str
    until: float  # on the monotonic clock


class ServiceApp:
    """An OAuth service app: signs an assertion with its private key, and is given an access token for an hour.

    Okta's package makes the assertion; the request itself goes through Rest. With `dpop` every call also carries a
    proof that is signed with a key of this process, so that a stolen token is worth nothing.
    """

    def __init__(self, name: str, settings: Settings, key: str, rest: Rest) -> None:
        self.client_id = settings.client_id or ""
        self._pem, own_id = _pem(name, key)
        self.secrets: Sequence[str] = (key, self._pem)
        self._name, self._rest = name, rest
        self._url = settings.url
        self._key_id = settings.key_id or own_id
        self._scopes = settings.scopes
        self._prover = _Prover() if settings.dpop else None
        self._access: _Access | None = None
        self._minting = threading.Lock()

    def close(self) -> None:
        self._rest.close()

    @property
    def current(self) -> str:
        access = self._access
        return access.value if access else ""

    @property
    def bound(self) -> bool:
        return self._access is not None and self._access.scheme == "DPoP"

    def headers(self, method: str, url: str) -> Mapping[str, str]:
        with self._minting:
            if self._access is None or self._access.until <= time.monotonic():
                self._access = self._mint()
            access = self._access
        sent = {"Authorization": f"{access.scheme} {access.value}"}
        if self._prover and access.scheme == "DPoP":
            sent["DPoP"] = self._prover.proof(method, url, token=access.value)
        return sent

    def renewed(self, since: str) -> bool:
        with self._minting:
            if self._access is not None and self._access.value == since:
                self._access = None
        return True

    def _mint(self) -> _Access:
        """A new access token. Minting twice harms nothing, so what may have happened counts as what has not."""
        try:
            return self._access_from(self._asked())
        except Unknown as error:
            raise Unavailable(str(error)) from error

    def _asked(self) -> Reply:
        """The token endpoint's answer; a nonce that it demands for the proof is given, once."""
        nonce = ""
        for _ in range(2):
            form = {
                "grant_type": "client_credentials",
                "scope": " ".join(self._scopes),
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": self._assertion(),  # good for one request only
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            if self._prover:
                headers["DPoP"] = self._prover.proof("POST", f"{self._url}{TOKEN_PATH}", nonce=nonce)
            reply = self._rest.send(
                "POST", TOKEN_PATH, content=urlencode(form), headers=headers, accept=(400, 401, 403)
            )  # fmt: skip
            nonce = reply.headers.get("dpop-nonce", "")
            if reply.status == 200 or not self._prover or not nonce or _error(reply) != "use_dpop_nonce":
                break
        return reply

    def _assertion(self) -> str:
        from okta.jwt import JWT  # seconds to import, and needed in this mode only

        return str(JWT.create_token(self._url, self.client_id, self._pem, self._key_id))

    def _access_from(self, reply: Reply) -> _Access:
        if reply.status != 200:
            raise self._refusal(reply)
        answer = reply.json()
        value, scheme = _text(answer, "access_token"), _text(answer, "token_type")
        lifetime = answer.get("expires_in") if isinstance(answer, dict) else None
        if not value or scheme not in ("Bearer", "DPoP") or not isinstance(lifetime, int):
            raise Misshapen(f"{reply.call} answered without a usable access token.")
        granted = _text(answer, "scope").split()
        if missing := [scope for scope in self._scopes if scope not in granted]:
            raise Denied(
                f"{self._name} was not given {' and '.join(missing)}. {REFUSALS['invalid_scope']}{' '.join(missing)}."
            )
        return _Access(scheme, value, time.monotonic() + max(lifetime / 2, lifetime - RENEW_BEFORE))

    def _refusal(self, reply: Reply) -> Denied | Misshapen:
        error = _error(reply)
        if not error:
            return Misshapen(
                f"{reply.call} answered {reply.status} without saying why ({quoted(reply.text)});"
                " is a proxy or login page in front of it?"
            )
        fix = REFUSALS.get(error, "Check the service app in Okta.")
        if error == "invalid_scope":
            fix += f"{' '.join(self._scopes)}."
        said = quoted(_text(reply.json(), "error_description"))
        return Denied(f"Okta gives {self._name} no access token ({reply.status} {quoted(error, 40)}: {said}). {fix}")


class _Prover:
    """Makes DPoP proofs (RFC 9449) with a key that never leaves this process."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self._header = {"typ": "dpop+jwt", "jwk": {name: public[name] for name in ("kty", "n", "e")}}

    def proof(self, method: str, url: str, *, token: str = "", nonce: str = "") -> str:
        claims: dict[str, Any] = {
            "jti": str(uuid.uuid4()),
            "htm": method,
            "htu": url.partition("?")[0].partition("#")[0],
            "iat": int(time.time()),
        }
        if nonce:
            claims["nonce"] = nonce
        if token:
            digest = hashlib.sha256(token.encode()).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return jwt.encode(claims, self._key, algorithm="RS256", headers=self._header)


def credentials_of(name: str, settings: Settings, line: Line) -> Credentials:
    """Looks the secrets up; calls nobody. Raises Misconfigured where there is none, or no key."""
    if settings.token is not None:
        return ApiToken(settings.token.reveal())
    assert settings.private_key is not None
    key = settings.private_key.reveal()
    rest = Rest(
        name, settings.url, ca_file=settings.ca_file, timeout=settings.timeout, secrets=(key,),
        line=line, bucket=bucket, gauge=window, wait=throttle_wait,
    )  # fmt: skip
    return ServiceApp(name, settings, key, rest)


def _pem(name: str, key: str) -> tuple[str, str | None]:
    """The key as PEM, and the key id that a JWK brings."""
    fault = Misconfigured(
        f"`private_key` of {name} is no RSA private key: give one in PEM form (unencrypted), or as a JWK."
    )
    own_id = None
    try:
        if key.startswith("{"):
            loaded: object = jwt.algorithms.RSAAlgorithm.from_jwk(key)
            own_id = _text(orjson.loads(key), "kid") or None
        else:
            loaded = load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError, KeyError, UnsupportedAlgorithm, jwt.InvalidKeyError) as error:
        raise fault from error
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise fault
    return loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), own_id


def _error(reply: Reply) -> str:
    """OAuth's error code; "" where the answer is not of that shape."""
    try:
        return _text(orjson.loads(reply.content), "error")
    except orjson.JSONDecodeError:
        return ""


def _text(answer: object, name: str) -> str:
    value = answer.get(name) if isinstance(answer, dict) else None
    return value if isinstance(value, str) else ""
