"""docs/policy.md says what is so: its examples load, its defaults are the defaults, and no key is left out."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.settings_fakes import CONNECTORS, loaded
from worker.core.plan import Operation
from worker.flows.samples import run_policy_tests
from worker.settings.document import parse
from worker.settings.model import PRESETS, Mode, Settings
from worker.settings.sections import shortly

PAGE = (Path(__file__).parents[1] / "docs" / "policy.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
ROWS = dict(re.findall(r"^\| `([^`]+)` \| (.*?) \|", PAGE, re.MULTILINE))


@pytest.mark.parametrize("text", [e for e in EXAMPLES if not e.startswith("cases:")])
def test_each_example_is_right(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path, text)


def test_the_example_of_samples_passes_with_the_example_of_a_rule(tmp_path: Path) -> None:
    (samples,) = [e for e in EXAMPLES if e.startswith("cases:")]
    (policy,) = [e for e in EXAMPLES if "contractors do not ship" in e]
    (tmp_path / "samples.yaml").write_text(samples)

    found = run_policy_tests(loaded(tmp_path, policy), tmp_path / "samples.yaml", dt.date(2027, 1, 1))

    assert [one.problems for one in found.tried] == [(), ()]


def leaves(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key that has a default of its own, with the default."""
    instance = model.model_construct()
    for name, info in model.model_fields.items():
        value = getattr(instance, name, None)
        if isinstance(value, BaseModel):
            filled = {f"{path}{name}.{key}": inner for key, inner in _values(value)}
            yield from filled.items()
        elif not info.is_required():
            yield f"{path}{name}", value


def _values(section: BaseModel) -> Iterator[tuple[str, Any]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from ((f"{name}.{key}", inner) for key, inner in _values(value))
        else:
            yield name, value


def written(value: Any) -> Any:
    """A default as the page writes it."""
    if isinstance(value, float):
        return f"{value:.0%}"
    if isinstance(value, dt.timedelta):
        return shortly(value)
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, dict) else str(value)


@pytest.mark.parametrize(("key", "default"), [pytest.param(k, v, id=k) for k, v in leaves(Settings)])
def test_each_key_stands_on_the_page_with_its_default(key: str, default: Any) -> None:
    said = ROWS[key]
    if default is None:
        assert said in ("the first source", "as `mode` has it")
    else:
        assert parse(f"x: {said.strip('`')}", "page").value["x"] == written(default)


@pytest.mark.parametrize("operation", list(Operation))
def test_the_presets_are_as_the_page_has_them(operation: Operation) -> None:
    (row,) = re.findall(rf"^\| `{operation.value}` \| (\w+) \| (\w+) \| (\w+) \|", PAGE, re.MULTILINE)

    assert row == tuple(PRESETS[mode][operation].value for mode in Mode)


def test_every_key_of_a_rule_and_a_target_section_is_told() -> None:
    expected = {
        "name",
        "when",
        "give",
        "until",
        "owner",
        "why",
        "correlation.<target>.trust",
        "must_see.<source>.people",
    }

    assert expected <= set(ROWS)
    assert set(parse(CONNECTORS, "x").value) <= set(ROWS)
