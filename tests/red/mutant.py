"""One guard that can be switched off by an edit, and the test that says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`old` occurs once in `file`, a path under worker/; `test` is a pytest node id under tests/."""

    guard: str
    file: str
    old: str
    new: str
    test: str
