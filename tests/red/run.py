"""`python -m tests.red.run <group>`: applies each edit of a group to a copy of the product and runs its one test there.

Libraries are imported once and each test runs in a fork, so that it costs milliseconds. Prints one line of JSON per
edit: its guard, and what became of the test: "red", "green", or a sentence about what is wrong with the edit.
"""

from __future__ import annotations

import compileall
import gc
import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.red import budget, core, flows, intake, leavers, sources, targets
from tests.red.mutant import Mutant

ROOT = Path(__file__).parents[2]
GROUPS: dict[str, tuple[Mutant, ...]] = {
    "budget": budget.MUTANTS,
    "core": core.MUTANTS,
    "flows": flows.MUTANTS,
    "intake": intake.MUTANTS,
    "leavers": leavers.MUTANTS,
    "sources": sources.MUTANTS,
    "targets": targets.MUTANTS,
}
SMALL = ("hypothesis", "pydantic", "yaml")
LARGE = ("sqlmodel", "alembic.command", "httpx", "uvicorn", "starlette", "jsonschema_rs", "rfc8785", "looker_sdk")
LIBRARIES = {
    "budget": (*SMALL, *LARGE, "redis"),
    "core": SMALL,
    "flows": (*SMALL, *LARGE),
    "intake": (*SMALL, *LARGE),
    "leavers": (*SMALL, *LARGE),
    "sources": (*SMALL, *LARGE, "msal"),
    "targets": (*SMALL, *LARGE),
}
OPTIONS = ["-q", "--assert=plain", "-p", "no:cacheprovider", "--import-mode=append", f"--rootdir={ROOT}", "-c/dev/null"]
_TIMED = ("-p", "pytest_timeout", "--timeout=120")
ALSO = {group: ("--noconftest",) if group == "core" else _TIMED for group in GROUPS}


def main(group: str, part: int, parts: int) -> None:
    """Every `parts`-th edit of the group, from `part` on."""
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # for processes of tests: none takes one edit's file for another's
    os.environ["CI"] = "true"  # hypothesis then tries the same examples each time
    for name in LIBRARIES[group]:
        importlib.import_module(name)
    gc.freeze()  # or each fork would look through all of it, and so copy it
    assert "worker" not in sys.modules, "the product is imported from the copy, in the fork"
    mutants = GROUPS[group][part::parts]
    with tempfile.TemporaryDirectory(prefix="trueup-red-") as folder:
        copy = Path(folder)
        for package in ("worker", "migrations"):
            shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
            compileall.compile_dir(copy / package, quiet=1)  # an edit makes its file newer than what is compiled here
        untouched = sorted({m.test for m in mutants}) if group == "core" else [mutants[0].test]
        _tell("nothing", _verdict(copy, untouched, ALSO[group]))
        for mutant in mutants:
            file = copy / "worker" / mutant.file
            sound = file.read_text(encoding="utf-8")
            if sound.count(mutant.old) != 1:
                _tell(mutant.guard, f"{mutant.file} has {mutant.old!r} {sound.count(mutant.old)} times, not once")
                continue
            file.write_text(sound.replace(mutant.old, mutant.new), encoding="utf-8")
            _tell(mutant.guard, _verdict(copy, [mutant.test], ALSO[group]))
            file.write_text(sound, encoding="utf-8")


def _tell(guard: str, verdict: str) -> None:
    print(json.dumps({"guard": guard, "verdict": verdict}), flush=True)


def _verdict(copy: Path, tests: Sequence[str], options: Sequence[str]) -> str:
    child = os.fork()
    if child == 0:
        output = os.open(copy / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        os.environ["PYTHONPATH"] = f"{copy}:{ROOT}"
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(copy / "examples")
        code = 9
        try:
            code = int(pytest.main([*OPTIONS, *options, *(str(ROOT / "tests" / test) for test in tests)]))
        except SystemExit as end:
            print(end)
        finally:
            sys.stdout.flush()
            os._exit(code)  # the parent's own ending is not this one's business
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code in (0, 1):
        return "red" if code else "green"
    said = (copy / "output").read_text(errors="replace").strip().splitlines()
    return f"pytest ended with {code}: {' '.join(said[-5:])}"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
