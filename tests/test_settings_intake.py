"""Who may tell Trueup what: what the sections `api` and `hooks` make of the schedule, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.settings_fakes import CONNECTORS, Fakes, OktaSettings, loaded
from worker.errors import Misconfigured
from worker.references import SecretReference
from worker.settings import load
from worker.settings.schedule import jobs

WITH_ENTRA = CONNECTORS.replace("sources:\n", "sources:\n  entra: {type: entra, tenant: acme.test}\n")
HOOKED = """\
hooks:
  entra: {secret: "${env:S}", url: "https://us.test/trueup/"}
  okta: {secret: ["${env:N}", "${env:O}"]}
"""
RULES = "rules: [{name: all, when: {everyone: true}, give: [{looker: {groups: [X]}}]}]\n"


def test_hooks_are_of_the_kind_that_the_source_has(tmp_path: Path) -> None:
    found = loaded(tmp_path, HOOKED, WITH_ENTRA)

    assert found.hooks == {"entra": "graph", "okta": "okta"}
    assert found.settings.hooks["entra"].url == "https://us.test/trueup"
    assert found.settings.hooks["okta"].secret == (SecretReference("${env:N}"), SecretReference("${env:O}"))
    assert found.place("hooks", "okta", "secret").endswith("trueup.yaml:9: hooks.okta.secret")


def test_subscriptions_are_looked_after_where_there_is_an_address_to_be_told_at(tmp_path: Path) -> None:
    with_hooks, without = loaded(tmp_path, HOOKED, WITH_ENTRA), loaded(tmp_path, RULES, WITH_ENTRA)

    assert [j.name for j in jobs(with_hooks.settings) if j.kind == "subscribe"] == ["subscribe entra"]
    assert [j.name for j in jobs(without.settings) if j.kind == "subscribe"] == []


def test_they_void_no_decision(tmp_path: Path) -> None:
    more = "api: {tokens: {hr: '${env:T}'}}\n" + HOOKED

    assert loaded(tmp_path, RULES + more, WITH_ENTRA).policy_hash == loaded(tmp_path, RULES, WITH_ENTRA).policy_hash


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        pytest.param("{secret: '${env:S}'}", "hooks.entra.url: is missing; add the https address", id="none"),
        pytest.param("{secret: '${env:S}', url: 'http://us.test'}", "such as https://trueup", id="one without TLS"),
        pytest.param("{secret: '${env:S}', url: 'https://us.test/?a=b'}", "such as https://", id="one with a query"),
        pytest.param("{secret: '${env:S}', url: 'https://me:pw@us.test'}", "such as https://", id="one with a login"),
    ],
)
def test_graph_has_to_be_given_an_address(tmp_path: Path, hook: str, expected: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        loaded(tmp_path, f"hooks: {{entra: {hook}}}", WITH_ENTRA)

    assert expected in str(caught.value)
    assert "pw" not in str(caught.value)


class WithoutHooks(Fakes):
    modules: dict[tuple[str, str], Any] = {  # noqa: RUF012 a test double's constant
        **Fakes.modules,
        ("sources", "okta"): SimpleNamespace(Settings=OktaSettings),
    }


def test_a_source_whose_vendor_has_no_hooks_is_not_given_any(tmp_path: Path) -> None:
    file = tmp_path / "trueup.yaml"
    file.write_text(CONNECTORS + "hooks: {okta: {secret: '${env:S}'}}", encoding="utf-8")

    with pytest.raises(Misconfigured, match=r"hooks\.okta: the vendor of okta has no hooks that Trueup knows"):
        load(file, WithoutHooks())
