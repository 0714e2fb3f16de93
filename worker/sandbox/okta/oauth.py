"""The org's authorization server: it checks signed client assertions and DPoP proofs, and mints access tokens."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

import jwt
import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME = 3600  # seconds of an access token; Okta fixes it
LONGEST_ASSERTION = 3600  # seconds that an assertion may be valid for
PROOF_AGE = 300  # seconds


class OAuthError(Exception):
    """An answer of the token endpoint that is no token; its body has OAuth's shape, not Okta's."""

    def __init__(self, status: int, error: str, description: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(error)
        self.status, self.headers = status, headers or {}
        self.body = orjson.dumps({"error": error, "error_description": description})


class Unauthorized(Exception):
    """The credentials of an API call are not good; the message says what the API answers."""


@dataclass(frozen=True, slots=True)
class Token:
    """A minted access token. `thumbprint` is that of the DPoP key it is bound to ("" for a bearer token)."""

    scopes: frozenset[str]
    expires: float
    thumbprint: str = ""


@dataclass
class AuthorizationServer:
    """One registered service app. `demand_dpop` is its "Require DPoP" box; `nonce` goes into proofs for tokens."""

    client_id: str
    granted: frozenset[str]
    public_key: str = ""
    demand_dpop: bool = False
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    lifetime: float = LIFETIME
    tokens: dict[str, Token] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)

    @cached_property
    def private_key(self) -> str:
        """PEM of a key pair whose public half is registered with the app from now on."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.public_key = public.decode()
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    def expire_tokens(self) -> None:
        """Every token minted so far is over, as an hour later."""
        self.tokens.clear()

    def mint(self, url: str, form: bytes, proof: str) -> dict[str, Any]:
        """The token endpoint's good answer. Raises OAuthError."""
        asked = {name: values[0] for name, values in parse_qs(form.decode("utf-8", "replace")).items()}
        if asked.get("grant_type") != "client_credentials":
            raise OAuthError(400, "unsupported_grant_type", "The authorization grant type is not supported.")
        self._check_assertion(url, asked)
        scopes = frozenset(asked.get("scope", "").split())
        if not scopes or scopes - self.granted:
            raise OAuthError(400, "invalid_scope", "One or more scopes are not configured for the client.")
        thumbprint = self._check_token_proof(url, proof)
        token = secrets.token_urlsafe(32)
        self.tokens[token] = Token(scopes, time.time() + self.lifetime, thumbprint)
        return {
            "token_type": "DPoP" if thumbprint else "Bearer",
            "expires_in": int(self.lifetime),
            "access_token": token,
            "scope": " ".join(sorted(scopes)),
        }

    def _check_assertion(self, url: str, asked: dict[str, str]) -> None:
        refused = OAuthError(401, "invalid_client", "The client_assertion token is not valid.")
        if asked.get("client_assertion_type") != ASSERTION_TYPE or not self.public_key:
            raise refused
        try:
            claims = jwt.decode(
                asked.get("client_assertion", ""), self.public_key, algorithms=["RS256"], audience=url,
                issuer=self.client_id, options={"require": ["exp", "iat", "iss", "sub", "aud", "jti"]},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise refused from error
        too_long = claims["exp"] - time.time() > LONGEST_ASSERTION
        if claims["sub"] != self.client_id or too_long or claims["jti"] in self._used:
            raise refused
        self._used.add(claims["jti"])

    def _check_token_proof(self, url: str, proof: str) -> str:
        if not proof:
            if self.demand_dpop:
                raise OAuthError(400, "invalid_dpop_proof", "The DPoP proof JWT header is missing.")
            return ""
        try:
            claims, thumbprint = self._proved(proof, "POST", url)
        except Unauthorized as error:
            raise OAuthError(400, "invalid_dpop_proof", str(error)) from error
        if claims.get("nonce") != self.nonce:
            raise OAuthError(
                400, "use_dpop_nonce", "Authorization server requires nonce in DPoP proof.", {"dpop-nonce": self.nonce}
            )
        return thumbprint

    def scopes_of(self, authorization: str, proof: str, method: str, url: str) -> frozenset[str]:
        """What the bearer of a `Bearer x` or `DPoP x` header may ask for. Raises Unauthorized."""
        found = re.fullmatch(r"(Bearer|DPoP) (\S+)", authorization)
        token = self.tokens.get(found[2]) if found else None
        if found is None or token is None or token.expires <= time.time():
            raise Unauthorized("The access token is invalid or has expired.")
        if (found[1] == "DPoP") != bool(token.thumbprint):
            raise Unauthorized("The token was presented with the wrong scheme.")
        if token.thumbprint:
            claims, thumbprint = self._proved(proof, method, url)
            hashed = base64.urlsafe_b64encode(hashlib.sha256(found[2].encode()).digest()).rstrip(b"=").decode()
            if claims.get("ath") != hashed or thumbprint != token.thumbprint:
                raise Unauthorized("The DPoP proof does not belong to the token.")
        return token.scopes

    def _proved(self, proof: str, method: str, url: str) -> tuple[dict[str, Any], str]:
        """The claims of a sound proof, and the thumbprint of its key."""
        try:
            header = jwt.get_unverified_header(proof)
            key = jwt.PyJWK.from_dict(header["jwk"], algorithm="RS256")
            claims = jwt.decode(proof, key, algorithms=["RS256"], options={"require": ["jti", "htm", "htu", "iat"]})
        except (jwt.PyJWTError, KeyError) as error:
            raise Unauthorized("The DPoP proof JWT is not valid.") from error
        stale = abs(time.time() - claims["iat"]) > PROOF_AGE
        private = {"d", "p", "q"} & set(header["jwk"])
        if header.get("typ") != "dpop+jwt" or (claims["htm"], claims["htu"]) != (method, url) or stale or private:
            raise Unauthorized("The DPoP proof JWT does not fit the call.")
        if claims["jti"] in self._used:
            raise Unauthorized("The DPoP proof JWT was used before.")
        self._used.add(claims["jti"])
        named = {name: header["jwk"][name] for name in ("e", "kty", "n")}
        return claims, hashlib.sha256(orjson.dumps(named, option=orjson.OPT_SORT_KEYS)).hexdigest()
