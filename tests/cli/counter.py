"""Somebody at the command line: `trueup` in this process, with the output and the exit code that they see."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from worker.cli import main


@dataclass(frozen=True)
class Told:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Counter:
    """`counter.trueup("plan", "--json")`, in an environment and with the sandbox's settings."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Path:
        return self.folder / "trueup.yaml"

    def trueup(self, *words: str, typed: str = "", **environment: str) -> Told:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in {**self.environment, **environment}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["trueup", *words])
            patch.setattr(sys, "stdin", io.StringIO(typed))
            with pytest.raises(SystemExit) as ended:
                main()
        return Told(ended.value.code or 0, out.getvalue(), err.getvalue())  # type: ignore[arg-type]

    def item(self, state: str, words: str) -> Any:
        """The one thing under review in that state, with these words in its sentence."""
        (found,) = [
            i for i in self.trueup("review", "list", "--json").json() if i["state"] == state and words in i["sentence"]
        ]
        return found
