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
from tests.red import budget, core, flows, intake, leavers, sources, targets

pytestmark = pytest.mark.guards

ROOT = Path(__file__).parents[1]
PARTS = 2  # of a group, for as many cores; each costs the imports anew


def verdicts(group: str, part: int, environment: Mapping[str, str]) -> dict[str, str]:
    """By guard, what became of its test when the guard was off; "nothing" is the product as it is."""
    command = [sys.executable, "-m", "tests.red.run", group, str(part), str(PARTS)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, env=dict(environment), check=True)
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    return {one["guard"]: one["verdict"] for one in told}


@pytest.fixture
def server(database: Database, _migrated: str) -> Iterator[dict[str, str]]:
    """Variables that lead to this session's database server, and to a template that other processes may copy."""
    template = f"trueup_red_{os.getpid()}"
    with psycopg.connect(dsn(database.owner_url), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{template}" TEMPLATE "{_migrated}"')
        yield {
            "TRUEUP_DATABASE_URL": database.worker_url,
            "TRUEUP_OWNER_DATABASE_URL": database.owner_url,
            "TRUEUP_TEST_TEMPLATE": template,
        }
        connection.execute(f'DROP DATABASE "{template}"')


def test_every_guard_has_a_name_of_its_own() -> None:
    for mutants in (
        budget.MUTANTS, core.MUTANTS, flows.MUTANTS, intake.MUTANTS, leavers.MUTANTS, sources.MUTANTS, targets.MUTANTS,
    ):  # fmt: skip
        assert len({mutant.guard for mutant in mutants}) == len(mutants)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_guard_of_the_core_that_is_switched_off_makes_its_test_red(part: int) -> None:
    expected = {mutant.guard: "red" for mutant in core.MUTANTS[part::PARTS]}
    assert verdicts("core", part, os.environ) == {"nothing": "green", **expected}


@pytest.mark.timeout(1200)
def test_a_guard_of_the_budget_that_is_switched_off_makes_its_test_red() -> None:
    expected = {mutant.guard: "red" for mutant in budget.MUTANTS}
    assert {name: said for part in range(PARTS) for name, said in verdicts("budget", part, os.environ).items()} == {
        "nothing": "green",
        **expected,
    }


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_guard_of_a_target_that_is_switched_off_makes_its_test_red(part: int) -> None:
    expected = {mutant.guard: "red" for mutant in targets.MUTANTS[part::PARTS]}
    assert verdicts("targets", part, os.environ) == {"nothing": "green", **expected}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_guard_of_a_flow_that_is_switched_off_makes_its_test_red(server: dict[str, str], part: int) -> None:
    expected = {mutant.guard: "red" for mutant in flows.MUTANTS[part::PARTS]}
    assert verdicts("flows", part, {**os.environ, **server}) == {"nothing": "green", **expected}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_guard_of_offboardings_that_is_switched_off_makes_its_test_red(part: int, server: dict[str, str]) -> None:
    expected = {mutant.guard: "red" for mutant in leavers.MUTANTS[part::PARTS]}
    assert verdicts("leavers", part, {**os.environ, **server}) == {"nothing": "green", **expected}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_guard_of_the_intake_that_is_switched_off_makes_its_test_red(part: int, server: dict[str, str]) -> None:
    expected = {mutant.guard: "red" for mutant in intake.MUTANTS[part::PARTS]}
    assert verdicts("intake", part, {**os.environ, **server}) == {"nothing": "green", **expected}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_guard_of_a_source_that_is_switched_off_makes_its_test_red(part: int) -> None:
    expected = {mutant.guard: "red" for mutant in sources.MUTANTS[part::PARTS]}
    assert verdicts("sources", part, os.environ) == {"nothing": "green", **expected}
