"""docs/data-filters.md says what is so: its example loads, and its samples come out as it says."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest

from worker.flows.samples import run_policy_tests
from worker.settings import load
from worker.targets.looker.settings import Attribute

PAGE = (Path(__file__).parents[1] / "docs" / "data-filters.md").read_text(encoding="utf-8")
POLICY, SAMPLES, BY_PROFILE, BY_EITHER_NAME = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_passes_its_samples(tmp_path: Path) -> None:
    (tmp_path / "trueup.yaml").write_text(POLICY, encoding="utf-8")
    (tmp_path / "samples.yaml").write_text(SAMPLES, encoding="utf-8")
    found = run_policy_tests(load(tmp_path / "trueup.yaml"), tmp_path / "samples.yaml", dt.date(2026, 11, 21))
    assert [(one.name, one.problems) for one in found.tried if not one.passed] == []
    assert found.untried == ()


EXTENSION = "onPremisesExtensionAttributes.extensionAttribute1"
PROFILES = {
    "{division: EMEA}": "{groups: [Viewers], attributes: {region: EMEA}}",
    "{division: emea}": "",
    "{}": "",
    '{division: "EMEA, AMER"}': "",
}
EITHER_NAME = {
    "{region: EMEA}": "{groups: [Viewers], attributes: {region: EMEA}}",
    f"{{{EXTENSION}: AMER}}": "{groups: [Viewers], attributes: {region: AMER}}",
    f"{{region: EMEA, {EXTENSION}: EMEA}}": "{groups: [Viewers], attributes: {region: EMEA}}",
    f"{{region: EMEA, {EXTENSION}: AMER}}": "",
}


@pytest.mark.parametrize(("policy", "cases"), [
    (BY_PROFILE, PROFILES),
    (BY_PROFILE.partition("rules:\n")[0] + BY_EITHER_NAME, EITHER_NAME),
], ids=["one name at both sources", "another name at each"])  # fmt: skip
def test_one_policy_serves_both_sources(tmp_path: Path, policy: str, cases: dict[str, str]) -> None:
    """Whoever is given no value that is certain is given nothing."""
    (tmp_path / "trueup.yaml").write_text(policy, encoding="utf-8")
    samples = "".join(
        f"  - person: {{login: a@acme.example, groups: {{okta: [Analytics Readers]}}, attributes: {profile}}}\n"
        f"    expect: {{{f'looker: {expected}' if expected else ''}}}\n"
        for profile, expected in cases.items()
    )
    (tmp_path / "samples.yaml").write_text(f"cases:\n{samples}", encoding="utf-8")
    loaded = load(tmp_path / "trueup.yaml")
    assert loaded.warnings == ()
    found = run_policy_tests(loaded, tmp_path / "samples.yaml", dt.date(2026, 11, 21))
    assert [(one.name, one.problems) for one in found.tried if not one.passed] == []
    assert found.untried == ()


def test_every_key_of_an_attribute_is_told() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(Attribute.model_fields)


PROBLEMS = {
    "another value": (
        "{groups: [Sales, Office Berlin], attributes: {costCenter: DE4100}}", "{region: AMER}",
        "should be given attribute region = AMER in looker, but attribute region = EMEA in looker is given",
    ),
    "a value in doubt": (
        "{groups: [Sales, Office Berlin, Office Toronto]}", "{cost_center: NONE}",
        "should be given attribute cost_center = NONE in looker, but nothing is given in looker while attribute region"
        ' is held: its rules give different values: "region EMEA" gives "EMEA", "region AMER" gives "AMER"',
    ),
    "a rule that does not fit": (
        "{groups: [Sales, Office Berlin]}", "{region: ALL}", "attribute region = EMEA in looker is given",
    ),
}  # fmt: skip


def test_a_sample_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "trueup.yaml").write_text(POLICY, encoding="utf-8")
    cases = "".join(
        f"  - person: {person.replace('{', '{login: a@acme.example, ', 1)}\n"
        f"    includes: {{looker: {{attributes: {wanted}}}}}\n"
        for person, wanted, _ in PROBLEMS.values()
    )
    (tmp_path / "samples.yaml").write_text(f"cases:\n{cases}", encoding="utf-8")
    found = run_policy_tests(load(tmp_path / "trueup.yaml"), tmp_path / "samples.yaml", dt.date(2026, 11, 21))
    for one, (_, _, said) in zip(found.tried, PROBLEMS.values(), strict=True):
        assert said in " ".join(one.problems)
