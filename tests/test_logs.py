"""Lines that machines read: what they carry, and what must never stand in them."""

from __future__ import annotations

import io
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from worker import logs
from worker.errors import Misconfigured
from worker.references import SecretReference

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def quiet_again() -> Iterator[None]:
    """Leaves the logging of the test run as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    libraries = ("apprise", "httpx", "httpcore", "urllib3", "uvicorn.access")
    others = {name: logging.getLogger(name).level for name in libraries}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in others.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)


@pytest.fixture
def lines(quiet_again: None) -> Lines:
    """What a worker has logged since, line by line."""
    out = io.StringIO()
    logs.configure("worker", stream=out)
    return lambda: [json.loads(line) for line in out.getvalue().splitlines()]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_every_line_in_a_block_carries_its_ids(lines: Lines) -> None:
    run, step = uuid.uuid4(), uuid.uuid4()

    with logs.bound(run=run, connector=None), logs.bound(step=step):
        logs.event("step ended", outcome="applied")
        logging.getLogger("celery.worker").info("said by a library")
    logs.event("afterwards")

    first, second, third = lines()
    assert first | {"event": "step ended", "outcome": "applied", "run": str(run), "step": str(step)} == first
    assert first["role"] == "worker"
    assert second["run"] == str(run)
    assert second["logger"] == "celery.worker"
    assert "connector" not in first
    assert "run" not in third


def test_nothing_is_said_until_somebody_asks_for_logs(capfd: pytest.CaptureFixture[str]) -> None:
    logs.event("step ended", level=logging.ERROR)

    assert capfd.readouterr() == ("", "")


def test_a_terminal_gets_readable_lines_that_cannot_move_its_cursor(quiet_again: None) -> None:
    out = Terminal()
    logs.configure("beat", stream=out)

    logs.event("odd \x1b[2Jname", job="pull okta")
    try:
        raise ValueError("\x1b[31mred")
    except ValueError:
        logs.fault("it broke")

    text = out.getvalue()
    assert "beat info odd \\u001b[2Jname job=pull okta" in text
    assert "ValueError: \\u001b[31mred" in text
    assert "\x1b" not in text


def test_a_fault_is_one_line_with_its_traceback(lines: Lines) -> None:
    try:
        raise ValueError("password=hunter22 of ana@acme.example")
    except ValueError:
        logs.fault("it broke", job="verify")

    (line,) = lines()
    assert "Traceback" in line["exception"]
    assert "hunter22" not in line["exception"]
    assert "ana@" not in line["exception"]


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        pytest.param("Authorization: SSWS 00abcDEF-x", "00abcDEF-x", id="an Okta token in a header"),
        pytest.param("{'authorization': 'token 12ab'}", "12ab", id="a Looker token in a header that was printed"),
        pytest.param("sent Bearer abcdef.ghi", "abcdef.ghi", id="a bearer token"),
        pytest.param("Basic dXNlcjpwYXNz", "dXNlcjpwYXNz", id="a user name and password in base64"),
        pytest.param("password = 'two words'", "two words", id="a password with a space"),
        pytest.param("https://x/?a=1&access_token=q1w2&b=2", "q1w2", id="a token in a query"),
        pytest.param('{"client_secret": "s3cr3t"}', "s3cr3t", id="a secret in JSON"),
        pytest.param("redis://:pw123@redis:6379/0", "pw123", id="a password alone in a URL"),
        pytest.param("postgresql://trueup:pw123@db/x", "trueup:pw123", id="a login in a URL"),
        pytest.param("got eyJhbGciOi.eyJzdWIi.c2ln", "eyJzdWIi", id="a signed token"),
        pytest.param(
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "MIIE", id="a private key"
        ),
        pytest.param("Set-Cookie: session=abc; Secure", "abc", id="a cookie"),
        pytest.param("for Ana.Ruiz+x@acme.example", "Ana.Ruiz", id="an e-mail address"),
        pytest.param("GET /users?email=ana%40acme.example", "ana", id="an e-mail address in a URL"),
    ],
)
def test_what_looks_like_a_secret_is_replaced(lines: Lines, said: str, secret: str) -> None:
    logging.getLogger("some.library").warning("before %s", said)

    (line,) = lines()
    assert line["event"].startswith("before ")
    assert secret not in json.dumps(line)


@pytest.mark.parametrize("form", ["{0}", "https://x/{1}/y", "in a tuple ('{0}', 1)"])
def test_a_secret_that_was_looked_up_is_replaced_wherever_it_stands(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("LOOKED_UP", "plain words/ünlike a secret")
    secret = SecretReference("${env:LOOKED_UP}").reveal()
    assert secret == os.environ["LOOKED_UP"]

    logging.getLogger("x").info(form.format(secret, "plain%20words%2F%C3%BCnlike%20a%20secret"))
    logs.event("facts too", job=form.format(secret, ""))

    for line in lines():
        assert "words" not in json.dumps(line)


def test_each_line_of_a_key_is_a_secret(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"
    monkeypatch.setenv("KEY", f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----")
    SecretReference("${env:KEY}").reveal()

    logging.getLogger("x").info("cut out: %s", body)

    assert body not in json.dumps(lines())


def test_facts_that_name_people_are_left_out_whoever_gives_them(lines: Lines) -> None:
    logs.event("step ended", sentence="grant role Developer to Ana Ruiz", login="aruiz", token="t0p")

    (line,) = lines()
    assert (line["sentence"], line["login"], line["token"]) == ("[personal]", "[personal]", "[secret]")


def test_a_line_that_cannot_be_written_shows_none_of_its_arguments(quiet_again: None, capfd: Any) -> None:
    out = io.StringIO()
    logs.configure("worker", stream=out)  # here, and not in a fixture: pytest listens by now, and would raise

    logging.getLogger("x").info("%d pieces", "hunter22")

    assert json.loads(out.getvalue())["event"] == "a log line could not be written"
    assert "hunter22" not in "".join(capfd.readouterr())


def test_a_long_text_is_cut_and_soon_done(lines: Lines) -> None:
    logging.getLogger("x").info("a" * 200_000 + ".b" * 50_000)

    assert len(lines()[0]["event"]) < 10_000


def test_a_level_can_be_chosen(quiet_again: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEUP_LOG_LEVEL", "warning")
    out = io.StringIO()
    logs.configure("api", stream=out)

    logs.event("of little interest")
    logs.event("of some", level=logging.WARNING)

    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["of some"]
    monkeypatch.setenv("TRUEUP_LOG_LEVEL", "loud")
    with pytest.raises(Misconfigured, match="write debug, info, warning or error"):
        logs.configure("api", stream=out)
