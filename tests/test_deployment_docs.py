"""docs/operating.md names what there is to deploy: every environment variable, and no command or service
that does not exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from worker import wiring

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
SERVICES = yaml.safe_load(COMPOSE)["services"]
FROM_FILES = {f"{name}_FILE" for name in (wiring.DATABASE, wiring.OWNER_DATABASE, wiring.REDIS)}


def in_code() -> Iterator[str]:
    """Every variable that a text of the product names."""
    for package in ("worker", "tasks"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield from re.findall(r"\bTRUEUP_[A-Z_]*[A-Z]\b", node.value)


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_every_environment_variable_has_a_row_and_no_other() -> None:
    cells = re.findall(r"^\| (`[^|]*`) \|", section("Environment variables"), re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`([A-Z_]+)`", cell)}

    assert named == {*in_code(), *FROM_FILES, *re.findall(r"\$\{([A-Z_]+):", COMPOSE)}


def test_compose_tells_its_services_only_what_exists() -> None:
    told = {name for name, value in SERVICES.items() if "build" in value for name in value["environment"]}

    assert told <= {*in_code(), *FROM_FILES}


def test_each_section_is_in_the_contents_and_each_line_of_the_contents_leads_somewhere() -> None:
    def anchor(title: str) -> str:
        return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")

    contents = PAGE.partition("\n## ")[0]
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)

    assert set(re.findall(r"\]\(#([^)]*)\)", contents)) == {anchor(title) for title in titles}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= {anchor(title) for title in titles}


def test_what_docker_compose_is_told_to_do_is_about_services_that_exist() -> None:
    named = set()
    for words in re.findall(r"docker compose (?:run --rm|stop|up --detach --force-recreate) ([a-z][a-z -]*)", PAGE):
        named |= set(words.split()[:1] if "check" in words or "plan" in words or "review" in words else words.split())

    assert named
    assert named <= set(SERVICES)


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"^ExecStart=/opt/trueup/bin/trueup (.*)$", PAGE, re.MULTILINE)))
)
def test_what_systemd_is_to_start_exists(command: str) -> None:
    asked = [sys.executable, "-m", "worker", *command.split(), "--help"]

    found = subprocess.run(asked, capture_output=True, text=True, check=False)

    assert found.returncode == 0, found.stderr
