"""The one place where HTTP is paced, checked and translated: every vendor call of Trueup goes through here."""

from __future__ import annotations

import email.utils
import random
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import orjson

from worker.core.render import quoted
from worker.errors import Denied, Misconfigured, Misshapen, Missing, Rejected, Unavailable, Unknown
from worker.ports import Gauge, Line

CALLS_END: ContextVar[float | None] = ContextVar("CALLS_END", default=None)
"""The time.monotonic() at which a claim on an account runs out: no call starts that could outlast it."""

CALLS_OVER: ContextVar[float | None] = ContextVar("CALLS_OVER", default=None)
"""The time.monotonic() by which calls are to be over: their time-outs shrink to what is left of it."""

LAST_WORD: ContextVar[Callable[[], None] | None] = ContextVar("LAST_WORD", default=None)
"""Asked right before a call that changes anything is sent, when all waiting is over; raises what speaks against it."""

LANE: ContextVar[str] = ContextVar("LANE", default="")
"""Whose turn calls take: "leaver" while the access of departed people is taken away, "" for everything else."""

CLAIMED_CALL = 20.0  # seconds at most that a call may take while an account is claimed: some fit into one claim
LEAVERS_PATIENCE = 15.0  # seconds that a leaver waits for one vendor: somebody at another one may need this worker
SHORTEST_CALL = 0.2  # seconds: with less left, a call is not worth starting
READS = frozenset({"GET", "HEAD"})
SIZE_LIMIT = 256 * 1024 * 1024  # bytes of one answer, unpacked; no vendor page comes near it
PATIENCE = 10  # time-outs that one whole answer may take: each of its pieces may come in time, and it never end
REQUEST_ID_HEADERS = ("x-okta-request-id", "x-request-id", "x-tc-request-id", "x-correlation-id")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose status the caller accepts. `links` are the Link header's targets by rel."""

    status: int
    headers: httpx.Headers
    content: bytes
    links: Mapping[str, str]
    call: str  # "GET /api/v1/users of okta", for messages
    secrets: Callable[[], Collection[str]] = field(default=tuple, repr=False)

    @property
    def request_id(self) -> str:
        return next((self.headers[name] for name in REQUEST_ID_HEADERS if name in self.headers), "")

    @property
    def text(self) -> str:
        """Fit for a message: a gateway's page may repeat the credentials that it was sent."""
        return _scrubbed(self.content.decode("utf-8", "replace"), self.secrets())

    def json(self) -> Any:
        """The decoded body. Raises Misshapen for a gateway's page or a body that was cut."""
        kind = self.headers.get("content-type", "")
        if "json" not in kind:
            raise Misshapen(
                f"{self.call} answered {kind or 'no content type'} instead of JSON"
                f" ({quoted(self.text)}); is a proxy or login page in front of it?"
            )
        try:
            return orjson.loads(self.content)
        except orjson.JSONDecodeError as error:
            raise Misshapen(f"{self.call} answered JSON that is cut or broken ({error}).") from error


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds, from the standard header (a number or a date)."""
    value = response.headers.get("retry-after")
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _told_to_wait(response: httpx.Response) -> Gauge | None:
    seconds = _retry_after(response) if response.status_code in (429, 503) else None
    return None if seconds is None else Gauge(-1, 0, seconds)


def _scrubbed(text: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "[secret]") if secret else text
    return text


class Rest:
    """A vendor's HTTP API under one base URL, whose host no link or redirect can leave.

    `authorize` gives the headers that carry the credentials, afresh for every call. `line` is waited in before anything
    is sent, repeats included; `bucket` tells from a path what the vendor counts apart, `gauge` what an answer's headers
    say of its limit. `sign` gives headers that depend on the call's method and URL (a DPoP proof). `secrets` gives what
    is scrubbed from every message. `wait` reads a vendor's own throttling headers, in seconds.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        authorize: Callable[[], Mapping[str, str]] = dict,
        sign: Callable[[str, str], Mapping[str, str]] | None = None,
        ca_file: str | None = None,
        timeout: float = 30.0,
        attempts: int = 5,
        first_pause: float = 0.5,
        longest_wait: float = 90.0,
        line: Line | None = None,
        bucket: Callable[[str], str] = lambda _path: "",
        gauge: Callable[[httpx.Headers], Gauge | None] = lambda _headers: None,
        secrets: Collection[str] | Callable[[], Collection[str]] = (),
        wait: Callable[[httpx.Response], float | None] = _retry_after,
        error_text: Callable[[bytes], str] = lambda content: content.decode("utf-8", "replace"),
    ) -> None:
        self.name = name
        self.base_url = base_url.rstrip("/")
        self.calls = 0
        self._origin = urlsplit(self.base_url)[:2]
        self._authorize = authorize
        self._sign = sign
        self._timeout = timeout
        self._attempts = attempts
        self._first_pause = first_pause
        self._longest_wait = longest_wait
        self._line = line or Line()
        self._bucket = bucket
        self._gauge = gauge
        self._secrets = secrets if callable(secrets) else lambda: secrets
        self._wait = wait
        self._error_text = error_text
        self._counting = threading.Lock()
        self._client = httpx.Client(
            timeout=timeout,
            follow_redirects=False,
            verify=_trust(name, self._origin[0], ca_file),
            # Without TLS a proxy that the environment names would be shown our credentials.
            trust_env=self._origin[0] == "https",
            headers={"User-Agent": "trueup", "Accept": "application/json"},
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
        )
        # A stale session cookie makes TeamCity refuse a bearer token, and no vendor needs one.
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def close(self) -> None:
        self._client.close()

    def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
    ) -> Reply:
        """Read. Repeats what may pass (429, 5xx, a lost connection), within `attempts` and `longest_wait`; for a leaver
        not for long."""
        return self._repeated("GET", path, params, None, headers, accept)

    def ask(
        self,
        path: str,
        *,
        json: Any = None,
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
    ) -> Reply:
        """Read what a vendor wants to be asked for by POST, and what may be asked twice; repeated as `get` is."""
        return self._repeated("POST", path, None, *_packed(json, content, headers), accept)

    def _repeated(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None,
        body: bytes | str | None,
        headers: Mapping[str, str] | None,
        accept: Collection[int],
    ) -> Reply:
        pause, began = self._first_pause, time.monotonic()
        for attempt in range(1, self._attempts + 1):
            try:
                return self._once(method, path, params, body, headers, accept, reading=True)
            except Unavailable as error:
                wait = pause * (0.5 + random.random()) if error.retry_after is None else error.retry_after  # noqa: S311
                if type(error) is not Unavailable or attempt == self._attempts or wait > self._longest_wait:
                    raise
                if LANE.get() == "leaver" and time.monotonic() + wait > began + LEAVERS_PATIENCE:
                    raise
                self._line.sleep(wait)
                pause *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
        log_in: bool = False,
    ) -> Reply:
        """Mutate, once, never repeated. Raises Unknown wherever it may have happened; `accept` adds good statuses. A
        `log_in` changes nothing for anybody."""
        last_word = None if log_in else LAST_WORD.get()
        reading = method in READS
        return self._once(method, path, params, *_packed(json, content, headers), accept, last_word, reading=reading)

    def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None,
        body: bytes | str | None,
        headers: Mapping[str, str] | None,
        accept: Collection[int],
        last_word: Callable[[], None] | None = None,
        *,
        reading: bool,
    ) -> Reply:
        url = self._absolute(path)
        call = f"{method} {quoted(urlsplit(url).path)} of {self.name}"
        self._time_left(call)
        bucket = self._bucket(urlsplit(url).path)
        self._line.before(bucket)
        status, gauge = 0, None
        try:
            if last_word is not None:
                last_word()
            timeout = self._time_left(call)  # again: the line may have taken some
            sent = {**self._authorize(), **(self._sign(method, url) if self._sign else {}), **(headers or {})}
            with self._counting:
                self.calls += 1
            request = self._client.stream(method, url, params=params, content=body, headers=sent, timeout=timeout)
            with request as response:
                status = response.status_code
                gauge = self._gauge(response.headers) or _told_to_wait(response)
                content = self._body(response, call, CALLS_END.get() or time.monotonic() + PATIENCE * self._timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._unreachable(call, error) from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            text = f"{call} broke off ({type(error).__name__}: {quoted(self._scrub(str(error)))})."
            raise (Unavailable(text) if reading else Unknown(text)) from error
        except httpx.DecodingError as error:
            raise Misshapen(f"{call} answered with a broken encoding.") from error
        finally:
            self._line.after(bucket, status, gauge)
        links = {rel: urljoin(url, link["url"]) for rel, link in response.links.items() if rel and "url" in link}
        reply = Reply(response.status_code, response.headers, content, links, call, self._secrets)
        self._judge(response, reply, reading, accept)
        return reply

    def _time_left(self, call: str) -> float:
        """How long the call may take. Raises Unavailable when the claim on the account could run out meanwhile."""
        end = CALLS_END.get()
        timeout = self._timeout if end is None else min(self._timeout, CLAIMED_CALL)
        if end is not None and time.monotonic() + timeout > end:
            raise Unavailable(f"{call} was not started: the claim on the account would run out before its answer.")
        over = CALLS_OVER.get()
        if over is not None and (timeout := min(timeout, over - time.monotonic())) < SHORTEST_CALL:
            raise Unavailable(f"{call} was not started: the time for it was up.")
        return timeout

    def _absolute(self, path: str) -> str:
        """A path under the base, or a whole link that must stay on the same scheme, host and port."""
        if "://" not in path:
            return f"{self.base_url}/{path.lstrip('/')}"
        if urlsplit(path)[:2] != self._origin:
            host = quoted(urlsplit(path).netloc)
            raise Misshapen(f"{self.name} answered with a link to another host ({host}); Trueup follows no such link.")
        return path

    def _body(self, response: httpx.Response, call: str, end: float) -> bytes:
        pieces, size = [], 0
        for piece in response.iter_bytes():
            size += len(piece)
            if time.monotonic() > end:
                raise httpx.ReadTimeout("the whole answer took longer than it may")
            if size > SIZE_LIMIT:
                raise Misshapen(f"{call} answered more than {SIZE_LIMIT // 2**20} MiB.")
            pieces.append(piece)
        return b"".join(pieces)

    def _judge(self, response: httpx.Response, reply: Reply, reading: bool, accept: Collection[int]) -> None:
        status, call = reply.status, reply.call
        if status in accept or 200 <= status < 300:
            if not reading and "html" in reply.headers.get("content-type", ""):
                raise Unknown(f"{call} answered with a web page; a gateway may or may not have passed it on.")
            return
        said = quoted(self._error_text(reply.text.encode())) or "no explanation"  # scrubbed first, cut afterwards
        if 300 <= status < 400:
            place = quoted(urlsplit(reply.headers.get("location", "")).netloc or "another page")
            raise Misconfigured(
                f"{call} was redirected to {place}, which Trueup never follows. Set `url` of {self.name} to the API's"
                " own address, without a login gateway in front."
            )
        if status == 429:
            raise Unavailable(
                f"{call} is throttled by the vendor (429: {said}). Run it again later, or ask for a higher limit.",
                self._wait(response),
            )
        if status >= 500:
            text = f"{call} failed at the vendor's side ({status}: {said})."
            if not reading:
                raise Unknown(text)
            raise Unavailable(text, self._wait(response))
        if status == 401:
            raise Denied(f"{call} refused our credentials (401: {said}). Renew those of {self.name} in trueup.yaml.")
        if status == 403:
            raise Denied(
                f"{call} is not allowed with our credentials (403: {said}). Give {self.name} the missing right."
            )
        if status == 404:
            raise Missing(f"{call} was not found (404: {said}).", status)
        raise Rejected(f"{call} was rejected ({status}: {said}).", status)

    def _unreachable(self, call: str, error: httpx.TransportError) -> Unavailable | Misconfigured:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return Misconfigured(
                    f"{call}: the TLS certificate cannot be trusted ({quoted(cause.verify_message)})."
                    f" Set `ca_file` of {self.name} to your authority's certificate, or correct `url`."
                )
            cause = cause.__cause__ or cause.__context__
        text = quoted(self._scrub(str(error))) or type(error).__name__
        return Unavailable(f"{call} cannot be reached ({text}). Is `url` of {self.name} right, and is it up?")

    def _scrub(self, text: str) -> str:
        return _scrubbed(text, self._secrets())


def _packed(
    json: Any, content: bytes | str | None, headers: Mapping[str, str] | None
) -> tuple[bytes | str | None, Mapping[str, str]]:
    """A body as it is sent, with its headers."""
    if json is None:
        return content, headers or {}
    return orjson.dumps(json), {"Content-Type": "application/json", **(headers or {})}


def _trust(name: str, scheme: str, ca_file: str | None) -> ssl.SSLContext | bool:
    """Whom the connector trusts over TLS. Where there is none, that is nobody: to load the authorities of this world
    takes longer than many calls."""
    if ca_file is None:
        return True if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(f"`ca_file` of {name} cannot be read: {ca_file} ({error}). Name a PEM file.") from error
