"""Tells machines and whoever runs them what Trueup does: an event a line, with the ids that lead to the audit trail.

Names, addresses and sentences about people stay in the trail, where they can be forgotten; a log is copied to places
that nobody can erase. So lines carry ids and counts, and what looks like a secret or an e-mail address is replaced.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal, TextIO, TypeAlias
from urllib.parse import quote, quote_plus
from uuid import UUID

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.stdlib import BoundLogger, ProcessorFormatter

from worker.core.render import quoted
from worker.errors import Misconfigured
from worker.references import revealed

Kind: TypeAlias = Literal["worker", "beat", "api", "up"]
Fact: TypeAlias = str | int | float | UUID | None

HIDDEN = "[secret]"
PERSONAL = "[personal]"
_LONGEST = 8_000  # of one text in a line: a traceback fits, a vendor's whole answer does not
_SHORTEST_SECRET = 4  # a shorter one would be found in every other word

# These write down whole URLs, or a line for every call or late tick; what of it matters, our own events say.
_TOO_CHATTY = dict.fromkeys(
    (
        "httpx",
        "httpcore",
        "urllib3",
        "uvicorn.access",
        "alembic",
        "celery.worker.strategy",
        "celery.worker.request",
        "celery.app.trace",
        "celery.beat",
    ),
    logging.WARNING,
)
# Its messages quote addresses that are secrets; worker.notify says what became of each message.
_SECRETIVE = ("apprise",)

logging.getLogger("trueup").addHandler(logging.NullHandler())  # silent until somebody asks for logs
_log: BoundLogger = structlog.wrap_logger(
    logging.getLogger("trueup"),
    processors=[structlog.stdlib.filter_by_level, ProcessorFormatter.wrap_for_formatter],
    wrapper_class=BoundLogger,
    cache_logger_on_first_use=True,
)


def event(name: str, /, *, level: int = logging.INFO, **facts: Fact) -> None:
    """`logs.event("step ended", outcome="applied", step=row.id)`. Facts are ids, counts and words of ours."""
    _log.log(level, name, **{key: _plain(value) for key, value in facts.items()})


def entry(kind: str, facts: Mapping[str, str | int]) -> None:
    """The same for an entry of the audit trail, with its facts under the names that they have there."""
    _log.info(kind, **{_RESERVED.get(key, key.replace(" ", "_")): value for key, value in facts.items()})


_RESERVED = {"event": "event_", "level": "level_", "time": "time_"}


def fault(name: str, /, **facts: Fact) -> None:
    """The same, with the error that is being handled and where it came from."""
    _log.error(name, exc_info=True, **{key: _plain(value) for key, value in facts.items()})


@contextmanager
def bound(**ids: Fact) -> Iterator[None]:
    """Every line until the end of the block carries these: run, change, step, job, connector. None is left out."""
    with bound_contextvars(**{key: _plain(value) for key, value in ids.items() if value is not None}):
        yield


def _plain(value: Fact) -> Fact:
    return str(value) if isinstance(value, UUID) else value


# --- where lines go ---------------------------------------------------------------------------------------------------


def configure(kind: Kind, *, level: str = "", stream: TextIO | None = None) -> None:
    """Send everything that is logged in this process to standard error, ours and that of every library: JSON lines, or
    plain ones where a human watches a terminal. `level` is TRUEUP_LOG_LEVEL or info by default."""
    lines = _Lines(stream or sys.stderr)
    lines.setFormatter(_formatter(kind, plain=lines.stream.isatty()))
    root = logging.getLogger()
    for other in root.handlers[:]:
        root.removeHandler(other)
    root.addHandler(lines)
    root.setLevel(_level(level or os.environ.get("TRUEUP_LOG_LEVEL", "info")))
    for name, least in _TOO_CHATTY.items():
        logging.getLogger(name).setLevel(least)
    for name in _SECRETIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    logging.captureWarnings(True)


def _level(word: str) -> int:
    found = logging.getLevelNamesMapping().get(word.strip().upper())
    if found is None:
        raise Misconfigured(f"TRUEUP_LOG_LEVEL is {quoted(word, 40)!r}; write debug, info, warning or error.")
    return found


class _Lines(logging.StreamHandler[TextIO]):
    """A line that cannot be written is replaced by one that says so; the library's own way would print its arguments,
    secrets and all."""

    def handleError(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more, so nobody is to be told
            self.stream.write(f'{{"event": "a log line could not be written", "logger": "{record.name}"}}\n')


def _formatter(kind: Kind, *, plain: bool) -> ProcessorFormatter:
    def of_this_process(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {**line, "role": kind, "pid": os.getpid()}

    own: list[structlog.types.Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        ProcessorFormatter.remove_processors_meta,
        of_this_process,
        scrub,
    ]
    return ProcessorFormatter(processors=[*own, _as_text if plain else _as_json])


_FIRST = ("time", "level", "event")


def _as_json(_: Any, __: str, line: MutableMapping[str, Any]) -> str:
    ordered = {key: line[key] for key in _FIRST if key in line} | dict(line)
    return json.dumps(ordered)


def _as_text(_: Any, __: str, line: MutableMapping[str, Any]) -> str:
    """`12:03:04 info step ended outcome=applied`; a traceback stands below, and no byte of it moves the cursor."""
    trace = str(line.pop("exception", "")).splitlines()
    shown = {k: v for k, v in line.items() if k not in (*_FIRST, "logger", "role", "pid")}
    facts = "".join(f" {key}={quoted(str(value), 200)}" for key, value in shown.items())
    clock = time.strftime("%H:%M:%S")
    first = f"{clock} {line['role']} {line['level']} {quoted(str(line['event']), 500)}{facts}"
    return "\n".join([first, *(f"  {line[: len(line) - len(line.lstrip())]}{quoted(line, 300)}" for line in trace)])


# --- what must not stand in them --------------------------------------------------------------------------------------

_SECRET_KEY = re.compile(
    r"(?i)(pass(word|wd|phrase)?|pwd|secret|token|api_?key|private_?key|credentials?|authorization|cookie)$"
)
# Facts that name people, whoever writes them down.
_PERSONAL_KEYS = frozenset(
    {"sentence", "login", "email", "name", "person_name", "detail", "before", "after", "message"}
)

# Each with what takes its place; in this order, since a header's whole value goes before the words in it.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"(?i)(\b(?:proxy-)?authorization\b['\"]?\s*[:=]\s*['\"]?)[^\r\n'\"]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)(\b(?:set-)?cookie\b['\"]?\s*[:=]\s*['\"]?)[^\r\n'\"]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(ssws|bearer|basic)(\s+)[\w.~+/=-]{6,}"), rf"\1\2{HIDDEN}"),
    (re.compile(r"(://)[^\s/@]*@"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            r"(?i)\b((?:[a-z]+_)?(?:password|passwd|passphrase|pwd|secret|token|api_?key|private_?key|assertion))\b"
            r"(['\"]?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s&,;}\]]+)"
        ),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"[\w.+'-]{1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "[e-mail]"),
)


def scrub(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A line without secrets and without what names a person; everything in it becomes plain JSON."""
    clean = cleaner()
    return {key: PERSONAL if key in _PERSONAL_KEYS else _scrubbed(key, value, clean) for key, value in line.items()}


def _scrubbed(key: str, value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if _SECRET_KEY.search(key):
        return HIDDEN
    if isinstance(value, Mapping):
        return {clean(str(k)): _scrubbed(str(k), v, clean) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrubbed(key, one, clean) for one in value]
    return clean(str(value))


def cleaner() -> Callable[[str], str]:
    """What replaces secrets in a text: those that this process has looked up, and whatever has the look of one."""
    known = _pattern_of(revealed())

    def clean(text: str) -> str:
        found = known.sub(HIDDEN, text) if known else text
        for pattern, instead in _PATTERNS:
            found = pattern.sub(instead, found)
        return found if len(found) <= _LONGEST else f"{found[:_LONGEST]}…"

    return clean


@lru_cache(maxsize=2)
def _pattern_of(secrets: frozenset[str]) -> re.Pattern[str] | None:
    """The longest first, each as it is and as it stands in a URL; of a key each line, of a URL what it is made of."""
    parts = {part for secret in secrets for part in (secret, *_long_lines(secret), *_url_pieces(secret))}
    forms = {form for part in parts for form in (part, quote(part, safe=""), quote_plus(part), repr(part)[1:-1])}
    wanted = sorted((f for f in forms if len(f) >= _SHORTEST_SECRET), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, wanted))) if wanted else None


def _url_pieces(secret: str) -> list[str]:
    """Of a webhook's address: each piece that is long enough to be a token, and no name of a machine."""
    if "://" not in secret:
        return []
    pieces = re.split(r"[/:@?&=#\s]+", secret)
    return [piece for piece in pieces if len(piece) >= 8 and "." not in piece]


def _long_lines(secret: str) -> list[str]:
    lines = secret.splitlines()
    return [line for line in lines if len(line) >= 16 and not line.startswith("-----")] if len(lines) > 1 else []
