"""A red test for every guard when it is switched off, shown by switching each of them off; see tests/red."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Database, dsn
from tests.red import core, flows

ROOT = Path(__file__).parents[1]
AT_ONCE = 2


def _verdicts(group: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What became of each guard's test when the guard was off, by guard."""
    command = [sys.executable, "-m", "tests.red.run", group]
    running = [
        subprocess.Popen([*command, str(part), str(AT_ONCE)], stdout=subprocess.PIPE, cwd=ROOT, env=dict(environment))
        for part in range(AT_ONCE)
    ]
    told = [json.loads(line) for process in running for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in running] == [0] * AT_ONCE
    assert [one["verdict"] for one in told if one["guard"] == "nothing"] == ["green"] * AT_ONCE, told
    return {one["guard"]: one["verdict"] for one in told}


@pytest.fixture(scope="module")
def core_verdicts() -> dict[str, str]:
    return _verdicts("core", os.environ)


@pytest.fixture(scope="module")
def flows_verdicts(database: Database, _migrated: str) -> Iterator[dict[str, str]]:
    """The tests run in this session's database server, on copies of a template of their own."""
    template = f"trueup_red_{os.getpid()}"
    with psycopg.connect(dsn(database.owner_url), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{template}" TEMPLATE "{_migrated}"')
        server = {
            "TRUEUP_DATABASE_URL": database.worker_url,
            "TRUEUP_OWNER_DATABASE_URL": database.owner_url,
            "TRUEUP_TEST_TEMPLATE": template,
        }
        yield _verdicts("flows", {**os.environ, **server})
        connection.execute(f'DROP DATABASE "{template}"')


def test_every_guard_has_a_name_of_its_own() -> None:
    for mutants in (core.MUTANTS, flows.MUTANTS):
        assert len({mutant.guard for mutant in mutants}) == len(mutants)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("guard", [mutant.guard for mutant in core.MUTANTS])
def test_when_it_is_switched_off_a_test_of_the_core_is_red(core_verdicts: dict[str, str], guard: str) -> None:
    assert core_verdicts[guard] == "red"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("guard", [mutant.guard for mutant in flows.MUTANTS])
def test_when_it_is_switched_off_a_test_of_a_flow_is_red(flows_verdicts: dict[str, str], guard: str) -> None:
    assert flows_verdicts[guard] == "red"
