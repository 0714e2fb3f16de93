"""The JSON Schema that editors use agrees with what `load` accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from tests.settings_fakes import CONNECTORS, FAKES, POLICY
from worker.settings import schema, starter


class Editor(yaml.SafeLoader):
    """As editors read YAML: dates are text."""


Editor.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if not tag.endswith(("timestamp", ":bool"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Editor.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def faults(text: str, whole: dict[str, Any]) -> list[str]:
    value = yaml.load(text, Loader=Editor)
    return [error.message for error in jsonschema_rs.validator_for(whole).iter_errors(value)]


def test_the_written_file_fits_the_schema_of_the_installed_connectors() -> None:
    assert faults(starter(), schema()) == []


@pytest.mark.parametrize("folder", ["sources", "targets"])
def test_a_connector_is_in_the_schema_by_its_modules_name(folder: str) -> None:
    package = Path(__file__).parents[1] / "worker" / folder
    names = {p.stem for p in package.iterdir() if not p.name.startswith("_") and (p.is_dir() or p.suffix == ".py")}

    assert names
    assert {f"{folder}.{name}.Settings" for name in names} <= set(schema()["$defs"])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(CONNECTORS + POLICY, id="a policy"),
        pytest.param(
            CONNECTORS + "limits: {removals: {per_run: 5}, share: 5%, snapshot_age: 30m}", id="limits in part"
        ),
        pytest.param(
            CONNECTORS + "rules: [{name: a, when: {not: {attribute: x, matches: y}}, give: [{looker: {roles: [X]}}]}]",
            id="a nested condition",
        ),
    ],
)
def test_what_is_right_fits(text: str) -> None:
    assert faults(text, schema(FAKES)) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(CONNECTORS + "mod: observe", id="an unknown key"),
        pytest.param(CONNECTORS + "mode: obsrve", id="an unknown mode"),
        pytest.param(CONNECTORS + "gates: {privileged: auto}", id="a gate that is not to be had"),
        pytest.param(CONNECTORS + "roles: {dev: {looker: {role: [X]}}}", id="a word that no connector knows"),
        pytest.param(CONNECTORS + "roles: {dev: {Looker One: {roles: [X]}}}", id="a name that cannot be one"),
        pytest.param(CONNECTORS + "rules: [{name: a, when: {grup: X}, give: [dev]}]", id="an unknown condition"),
        pytest.param(CONNECTORS.replace("${env:OKTA_TOKEN}", "hunter2"), id="a secret in the file"),
        pytest.param("targets: {}", id="no sources"),
    ],
)
def test_what_is_wrong_does_not(text: str) -> None:
    assert faults(text, schema(FAKES))
