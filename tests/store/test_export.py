"""An export can be verified by somebody who has nothing but docs/audit.md and Python."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.store.test_chain import ANA, appended, event, forget
from worker.store import chain
from worker.store.session import Store

DOCS = Path(__file__).parents[2] / "docs" / "audit.md"

Line = dict[str, Any]


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script as the page prints it."""
    (script,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S)
    path = tmp_path_factory.mktemp("auditor") / "verify.py"
    path.write_text(script)
    return path


def exported(store: Store, *, reveal: bool = False) -> list[Line]:
    appended(store, event("a", n=1), event("b", note='umlaut ä, quote ", line \u2028'), event("c", None))
    out = io.StringIO()
    with store.begin() as session:
        assert chain.export(session, out, reveal=reveal) == 3
    return [json.loads(line) for line in out.getvalue().splitlines()]


def verified(verifier: Path, lines: list[Line]) -> subprocess.CompletedProcess[str]:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    # Alone and without site packages: what it needs, the standard library has.
    return subprocess.run(
        [sys.executable, "-I", "-S", verifier], input=text, text=True, capture_output=True, check=False
    )


@pytest.mark.parametrize("reveal", [False, True])
def test_a_whole_export_verifies_and_names_the_witness(store: Store, verifier: Path, reveal: bool) -> None:
    lines = exported(store, reveal=reveal)
    done = verified(verifier, lines)
    assert (done.returncode, done.stderr) == (0, "")
    number, digest = done.stdout.split()[-1].split(":")
    with store.begin() as session:
        assert chain.verify(session, witness=(int(number), digest)).ok


def test_names_leave_only_when_they_are_to_be_revealed(store: Store) -> None:
    assert "Ana Ruiz" not in json.dumps(exported(store))
    with store.begin() as session:
        out = io.StringIO()
        chain.export(session, out, reveal=True)
    assert "Ana Ruiz" in out.getvalue()


def test_an_export_with_forgotten_people_verifies(store: Store, verifier: Path) -> None:
    exported(store)
    forget(store, ANA)
    out = io.StringIO()
    with store.begin() as session:
        chain.export(session, out, reveal=True)
    assert "Ana Ruiz" not in out.getvalue()
    assert verified(verifier, [json.loads(line) for line in out.getvalue().splitlines()]).returncode == 0


TAMPERED: dict[str, tuple[Callable[[list[Line]], object], str]] = {
    "content is changed": (lambda x: x[1].update(body=x[1]["body"].replace('"b"', '"x"')), "entry 2: its content"),
    "a digest is changed": (lambda x: x[1].update(digest="0" * 64), "entry 2: its content"),
    "the first is cut out": (lambda x: x.pop(0), "entry 1: it does not follow"),
    "a middle one is cut out": (lambda x: x.pop(1), "entry 2: it does not follow"),
    "the last is cut off": (lambda x: x.pop(2), "the export is cut: it ends at entry 2"),
    "the head is cut off": (lambda x: x.pop(3), "the export is cut: it ends at entry 3"),
    "two are exchanged": (lambda x: x.insert(0, x.pop(1)), "entry 1: it does not follow"),
    "a name is changed": (lambda x: x[0]["personal"]["login"].__setitem__(1, "bo"), "entry 1: its login is not"),
    "a salt is changed": (lambda x: x[0]["personal"]["actor"].__setitem__(0, "00"), "entry 1: its actor is not"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_an_export_does_not_verify_when(store: Store, verifier: Path, how: str) -> None:
    tamper, words = TAMPERED[how]
    lines = exported(store, reveal=True)
    tamper(lines)
    done = verified(verifier, lines)
    assert done.returncode == 1
    assert words in done.stderr
