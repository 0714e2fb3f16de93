"""An authenticated way into one Looker: its SDK signs and writes, and our own REST edge does and judges every call.

The only file that imports looker_sdk, which is slow to load: import this one where it is needed, not before.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from cattrs.cols import is_sequence, list_structure_factory
from cattrs.errors import BaseValidationError, StructureHandlerNotFoundError
from looker_sdk import error as sdk_error
from looker_sdk.rtl import api_settings, auth_session, auth_token, serialize, transport
from looker_sdk.sdk.api40 import methods, models

from worker.core.render import quoted
from worker.errors import Denied, Misshapen, Missing, Rejected, Unavailable, Unknown
from worker.ports import Line
from worker.rest import Reply, Rest
from worker.targets.looker.settings import Settings

VERSION = "4.0"
USUAL_LIFE = 3600  # seconds of a token whose answer does not say
_MISFITS = (ValueError, TypeError, AttributeError, KeyError, BaseValidationError, StructureHandlerNotFoundError)

# The SDK registers this hook anew at every call, and each call is slower than the one before. Once is enough.
serialize.converter40.register_structure_hook_factory(is_sequence, list_structure_factory)
# The SDK looks the documentation of an error up at a public address. Nothing is sent anywhere but to Looker.
sdk_error.ErrorDocHelper.parse_and_lookup = lambda *_args, **_more: ("", "")


def deserialize(*, data: str, structure: Any) -> Any:
    """The SDK's own, without what makes it slower with every call."""
    try:
        return serialize.converter40.structure(json.loads(data), structure)
    except _MISFITS as error:
        raise serialize.DeserializeError(type(error).__name__) from error


class _Configured(api_settings.ApiSettings):  # type: ignore[misc]
    """Read anew at every login, so that a rotated key needs no restart."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def read_config(self) -> dict[str, str]:
        return {
            "base_url": self._settings.url,
            "client_id": self._settings.client_id.reveal(),
            "client_secret": self._settings.client_secret.reveal(),
        }


class _Edge:
    """What the SDK sends with, in the shape of its Transport.

    No status ever reaches the SDK: each is judged on the way, as an error of worker.errors.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def request(
        self,
        method: Any,
        path: str,
        query_params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        authenticator: Callable[[Any], Mapping[str, str]] | None = None,
        transport_options: Any = None,  # noqa: ARG002 the signature is the SDK's
    ) -> Any:
        """`authenticator` is not asked: the edge signs by itself, so that a retry can sign anew."""
        if authenticator is None:
            reply = self._session.enter(path, body or b"")
        else:
            reply = self._session.send(method.name, path, query_params, body)
        return transport.Response(True, reply.content, transport.ResponseMode.STRING)


class Session:
    """One Looker, one API key. Logs in before the first call, again when the token ends, and once after a 401."""

    def __init__(self, name: str, settings: Settings, line: Line, first_pause: float) -> None:
        self._settings = settings
        self._name = name
        self._lock = threading.RLock()
        self._local = threading.local()

        def open_rest(authorize: Callable[[], Mapping[str, str]]) -> Rest:
            return Rest(
                name,
                settings.url,
                authorize=authorize,
                ca_file=settings.ca_file,
                timeout=settings.timeout,
                first_pause=first_pause,
                line=line,
                secrets=self._known_secrets,
                error_text=_message,
            )

        self._door = open_rest(dict)
        self._rest = open_rest(self._authorization)
        edge = _Edge(self)
        configured = _Configured(settings)
        self._auth = auth_session.AuthSession(configured, edge, deserialize, VERSION)
        self._sdk = methods.Looker40SDK(self._auth, deserialize, serialize.serialize40, edge, VERSION)

    @property
    def calls(self) -> int:
        """Calls sent so far, logins included."""
        return self._rest.calls + self._door.calls

    @property
    def token_life(self) -> dt.timedelta:
        """How long a token of this instance lives: as long as ours."""
        self._authorization()
        return dt.timedelta(seconds=self._auth.token.expires_in or USUAL_LIFE)

    def read(self, path: str, params: Mapping[str, str | int] | None = None) -> Reply:
        """GET below /api/4.0."""
        return self._get(path, params, ())

    def look(self, path: str, params: Mapping[str, str | int] | None = None) -> Reply | None:
        """GET below /api/4.0; None where Looker shows us nothing, be it for want of rights (403, 404)."""
        reply = self._get(path, params, (403, 404))
        return None if reply.status in (403, 404) else reply

    def _get(self, path: str, params: Mapping[str, str | int] | None, accept: tuple[int, ...]) -> Reply:
        place = f"/api/{VERSION}{path}"
        reply = self._rest.get(place, params, accept=(401, *accept))
        if reply.status != 401:
            return reply
        self._forget()
        return self._rest.get(place, params, accept=accept)

    def write(self, make: Callable[[Any], Any]) -> tuple[Any, Reply]:
        """One typed call of the SDK, with the model that it gave and the reply behind it. See Rest.send for errors.

        A 403 is Rejected here: of an account that has the Admin role, it speaks of the one thing that was tried.
        """
        try:
            answer = make(self._sdk)
        except serialize.DeserializeError as error:
            call = self._local.reply.call
            raise Unknown(f"{call} answered with something that is not its contract ({error}).") from error
        return answer, self._local.reply

    def close(self) -> None:
        """Gives the token back, if Looker still takes it."""
        try:
            if self._auth.is_authenticated:
                self._rest.send("DELETE", f"/api/{VERSION}/logout")
        except (Unavailable, Unknown, Denied, Rejected, Misshapen):
            pass  # the token ends by itself
        finally:
            self._forget()
            self._rest.close()
            self._door.close()

    # --- what the SDK's edge calls

    def enter(self, path: str, body: bytes) -> Reply:
        """The login itself, which changes nothing, so nothing about it is ever in doubt."""
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            reply = self._door.send("POST", path, content=body, headers=form, log_in=True)
        except Missing as error:
            raise Denied(
                "Looker knows no such API key (it answers a wrong client id or secret, or a disabled owner, with 404)."
                f" Renew `client_id` and `client_secret` of {self._name}."
            ) from error
        except Rejected as error:
            raise Denied(f"{error} Correct `client_id` and `client_secret` of {self._name}.") from error
        except Unknown as error:
            raise Unavailable(str(error)) from error
        reply.json()
        return reply

    def send(self, method: str, path: str, params: Mapping[str, str] | None, body: bytes | None) -> Reply:
        reply = self._send(method, path, params, body, accept=(401, 403))
        if reply.status == 401:  # refused at the door, so it did not happen
            self._forget()
            reply = self._send(method, path, params, body, accept=(403,))
        if reply.status == 403:
            raise Rejected(f"{reply.call} is not permitted (403: {quoted(_message(reply.text.encode()))}).", 403)
        if reply.content and "json" not in reply.headers.get("content-type", ""):
            raise Unknown(f"{reply.call} answered something other than JSON; it may or may not have happened.")
        self._local.reply = reply
        return reply

    def _send(
        self, method: str, path: str, params: Mapping[str, str] | None, body: bytes | None, accept: tuple[int, ...]
    ) -> Reply:
        headers = {"Content-Type": "application/json"} if body else {}
        return self._rest.send(method, path, params=params or None, content=body, headers=headers, accept=accept)

    def _authorization(self) -> Mapping[str, str]:
        with self._lock:
            try:
                header: Mapping[str, str] = self._auth.authenticate({})
            except serialize.DeserializeError as error:
                raise Misshapen(
                    f"The login at {self._name} answered with something that is not its contract."
                ) from error
            if not self._auth.token.access_token:
                raise Misshapen(f"The login at {self._name} answered without a token.")
            return header

    def _forget(self) -> None:
        with self._lock:
            self._auth.token = auth_token.AuthToken()

    def _known_secrets(self) -> tuple[str, ...]:
        """As they are now: a key may be rotated while we run."""
        own = (self._settings.client_id, self._settings.client_secret)
        return (*(reference.reveal() for reference in own), self._auth.token.access_token)


def _message(content: bytes) -> str:
    try:
        said = orjson.loads(content)
    except orjson.JSONDecodeError:
        return content.decode("utf-8", "replace")
    if not isinstance(said, dict):
        return content.decode("utf-8", "replace")
    details = [d for d in said.get("errors") or () if isinstance(d, dict)]
    return "; ".join([str(said.get("message", "")), *(f"{d.get('field')}: {d.get('message')}" for d in details)])


__all__ = ["Session", "deserialize", "models"]
