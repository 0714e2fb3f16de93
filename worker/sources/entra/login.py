"""How Trueup proves to Microsoft who it is: msal makes the request, and it goes out through Rest like any other."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from worker.core.render import quoted
from worker.errors import Denied, Misconfigured, Misshapen, Rejected, Unavailable
from worker.rest import Reply, Rest
from worker.sources.entra.settings import GUID, Settings

INSTANCE_DISCOVERY = "/discovery/instance"
_REFUSED = (400, 401, 403)  # statuses that carry an error of OAuth's
_PASSING = frozenset({"temporarily_unavailable", "server_error"})
# What to do, by the number after AADSTS.
FIXES: Mapping[int, str] = {
    7000215: "The client secret is wrong: `client_secret` must lead to the secret's value, not to its id.",
    7000222: "The client secret has expired: add another one under Certificates & secrets, or better a certificate.",
    7000216: "The app gives no proof that Microsoft takes: set `client_secret`, `certificate` or `assertion_file`.",
    700016: "The tenant does not know this app: check `client_id` and `tenant`.",
    700027: "The app does not know this certificate: upload it under Certificates & secrets, or renew it there.",
    700024: "The proof is too old or not valid yet: set this machine's clock, or renew what writes `assertion_file`.",
    70021: "No federated credential of the app fits the token in `assertion_file`: compare issuer, subject, audience.",
    90002: "Microsoft knows no such tenant: check `tenant`, and `cloud`.",
    900023: "Microsoft knows no such tenant: check `tenant`, and `cloud`.",
    500011: "That cloud's Graph is not known there: check `cloud`, `authority` and `graph`.",
    7000112: "The app is disabled: enable it under Enterprise applications.",
}


@dataclass(frozen=True, slots=True)
class Proof:
    """What msal is given to prove who we are. `secrets` must not be shown; `until` is a certificate's end."""

    kind: str
    credential: Any
    secrets: Sequence[str] = ()
    until: dt.datetime | None = None


def proof_of(name: str, settings: Settings) -> Proof:
    """Looks the secret up; calls nobody. Raises Misconfigured where there is none, or it is none."""
    if settings.client_secret is not None:
        secret = settings.client_secret.reveal()
        return Proof("client secret", secret, (secret,))
    if settings.certificate is not None:
        return _certified(name, settings.certificate.reveal())
    assert settings.assertion_file is not None
    file = settings.assertion_file
    _assertion(name, file)
    return Proof("federated token", {"client_assertion": lambda: _assertion(name, file)})


def _assertion(name: str, file: str) -> str:
    """The token as it is now: whatever writes the file writes another one long before this one ends."""
    try:
        token = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise Misconfigured(f"`assertion_file` of {name} cannot be read: {file} ({reason}).") from error
    if not token:
        raise Misconfigured(
            f"`assertion_file` of {name} is empty: {file}. Does the workload's token get written there?"
        )
    return token


def _certified(name: str, pem: str) -> Proof:
    fault = (
        f"`certificate` of {name} must lead to PEM text with the app's RSA private key (unencrypted) and its"
        " certificate, one after the other"
    )
    try:
        key = load_pem_private_key(pem.encode(), password=None)
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Misconfigured(f"{fault}.") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise Misconfigured(f"{fault}; this key is none.")
    own = _public(key.public_key())
    certificate = next((one for one in certificates if _public(one.public_key()) == own), None)
    if certificate is None:
        raise Misconfigured(f"{fault}; the certificate in it is of another key.")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = certificate.public_bytes(Encoding.PEM).decode()
    return Proof(
        "certificate",
        {"private_key": private, "public_certificate": public},
        (pem, private),
        certificate.not_valid_after_utc,
    )


def _public(key: Any) -> bytes:
    made: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return made


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer in the shape that msal reads."""

    status_code: int
    text: str
    headers: Mapping[str, str]

    def raise_for_status(self) -> None:
        """Rest has judged it already."""


class _Transport:
    """The client that msal is given: its requests are calls of ours, and only to the authority's own host."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def get(self, url: str, params: Any = None, headers: Any = None, **_: Any) -> _Answer:
        if urlsplit(url).path.endswith(INSTANCE_DISCOVERY):
            raise Misshapen(f"{self._rest.name}: msal asked which clouds there are, though it is told.")
        return _answer(self._rest.get(url, params, headers=headers))

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> _Answer:
        if params:
            raise Misshapen(f"{self._rest.name}: msal put something into the address of the token endpoint.")
        sent = {**(headers or {}), "Content-Type": "application/x-www-form-urlencoded"}
        return _answer(self._rest.ask(url, content=urlencode(data or {}, doseq=True), headers=sent, accept=_REFUSED))

    def close(self) -> None:
        """Rest is ours to close."""


def _answer(reply: Reply) -> _Answer:
    reply.json()  # a gateway's page is said to be one
    return _Answer(reply.status, reply.content.decode(), dict(reply.headers))


class Login:
    """The app's access token, kept until it is about to end. One msal app at a time, since the token is kept in it."""

    def __init__(self, name: str, settings: Settings, proof: Proof, rest: Rest) -> None:
        self.client_id = settings.client_id
        self.proof = proof
        self._name, self._settings, self._rest = name, settings, rest
        self._app: Any = None
        self._token = ""
        self._minting = threading.Lock()

    def close(self) -> None:
        self._rest.close()

    @property
    def secrets(self) -> Collection[str]:
        return (*self.proof.secrets, self._token)

    def token(self) -> str:
        """Raises Denied with what to correct, and Unavailable where Microsoft cannot answer just now."""
        with self._minting:
            if self._app is None:
                self._app = self._spoken_with(self._registration)
            told = self._spoken_with(lambda: self._app.acquire_token_for_client([f"{self._settings.url}/.default"]))
            self._token = self._accepted(told)
            return self._token

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token()}"}

    def carried(self) -> str:
        """What the next call carries, so that afterwards it can be said which token was refused."""
        return self._token or self.token()

    def renewed(self, since: str) -> None:
        """After a 401: what comes next is another token than the one that was refused, whoever renews it first."""
        with self._minting:
            if self._token == since:
                self._app = None

    def claims(self) -> Mapping[str, Any]:
        """What the token says of itself; nothing where it cannot be read, which is Microsoft's to decide."""
        try:
            claims: Mapping[str, Any] = jwt.decode(self.token(), options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return {}
        return claims

    def permissions(self) -> frozenset[str] | None:
        """The application permissions that were consented to; None where the token does not say."""
        claims = self.claims()
        roles = claims.get("roles", []) if claims else None
        if not isinstance(roles, list):
            return None
        return frozenset(role for role in roles if isinstance(role, str))

    def tenant(self) -> str:
        """The id of the tenant whose token we carry: Graph answers for that one, and for no other."""
        said = self.claims().get("tid") or getattr(getattr(self._app, "authority", None), "tenant", "")
        if not isinstance(said, str) or not GUID.fullmatch(said):
            raise Misshapen(f"{self._name} does not say which tenant it is; does `authority` lead to Microsoft itself?")
        return said.lower()

    def _registration(self) -> Any:
        """msal's app; it asks the authority where tokens are given."""
        import msal  # imported only where it is used: it costs a moment

        return msal.ConfidentialClientApplication(
            self.client_id,
            client_credential=self.proof.credential,
            authority=self._settings.login,
            instance_discovery=False,  # or it asks the public cloud, whatever cloud this is
            azure_region=msal.ConfidentialClientApplication.DISABLE_MSAL_FORCE_REGION,  # no environment decides this
            http_client=_Transport(self._rest),
        )

    def _spoken_with(self, what: Callable[[], Any]) -> Any:
        """Errors of msal's own in our words; none of them is shown, for they may repeat what was sent."""
        from msal.exceptions import MsalError

        try:
            return what()
        except Unavailable:
            raise
        except Rejected as error:
            self._app = None
            raise self._no_authority() from error
        except (ValueError, KeyError, TypeError, AttributeError, MsalError) as error:
            self._app = None
            raise Misshapen(
                f"{self._name}: what {self._host} answered is not what Microsoft's login answers."
            ) from error

    def _no_authority(self) -> Misconfigured:
        return Misconfigured(
            f"{self._host} gives no tokens for the tenant {quoted(self._settings.tenant, 60)}: check `tenant` of"
            f" {self._name}, `cloud`, and `authority` where it is set."
        )

    @property
    def _host(self) -> str:
        return quoted(urlsplit(self._settings.login).netloc)

    def _accepted(self, told: Any) -> str:
        token = told.get("access_token") if isinstance(told, dict) else None
        if isinstance(token, str) and token:
            return token
        self._app = None  # msal repeats a refusal from memory for a minute, and whoever corrects it must not wait
        if not isinstance(told, dict) or not isinstance(told.get("error"), str):
            raise Misshapen(f"{self._host} answered {self._name} with neither a token nor an error.")
        raise self._refusal(told)

    def _refusal(self, told: Mapping[str, Any]) -> Denied | Unavailable:
        listed = told.get("error_codes")
        codes = [code for code in listed if isinstance(code, int)] if isinstance(listed, list) else []
        named = ", ".join(f"AADSTS{code}" for code in codes) or "no code"
        said = f"{quoted(told['error'], 60)}, {named}, correlation id {quoted(str(told.get('correlation_id')), 60)}"
        if told["error"] in _PASSING:
            return Unavailable(f"Microsoft gives {self._name} no access token just now ({said}).")
        fix = next(
            (FIXES[code] for code in codes if code in FIXES), "Look the code up, and check the app registration."
        )
        return Denied(f"Microsoft gives {self._name} no access token ({said}). {fix}")
