"""Attributes in a trueup.yaml: what may be given is declared; each slip is said with its place and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.core.identity import Reference
from worker.core.values import ValueRule
from worker.errors import Misconfigured
from worker.settings import Loaded, load

SETTINGS = """\
sources:
  okta: {type: okta, url: "https://acme.okta.test", token: "${env:OKTA_TOKEN}"}
targets:
  looker: {type: looker, url: "https://looker.test", client_id: "${env:A}", client_secret: "${env:B}",
    attributes: %s}
  teamcity: {type: teamcity, url: "https://teamcity.test", token: "${env:C}"}
"""
REGION = "{region: {allow: [EMEA, AMER], when_missing: hold}}"
DECLARED = "{region: {allow: [EMEA, AMER], when_missing: hold}, level: {pattern: '[0-9]+', when_missing: {value: '0'}}}"


def loaded(folder: Path, policy: str, attributes: str = DECLARED) -> Loaded:
    file = folder / "trueup.yaml"
    file.write_text(SETTINGS % attributes + policy, encoding="utf-8")
    return load(file)


def giving(attributes: str) -> str:
    return f"rules:\n  - name: a\n    when: {{everyone: true}}\n    give: [{{looker: {{attributes: {attributes}}}}}]\n"


def test_a_rule_gives_values_written_out_or_from_the_profile(tmp_path: Path) -> None:
    found = loaded(tmp_path, giving("{region: $profile.office, level: '7'}"))
    assert [named.reference for named in found.rules[0].give] == [
        Reference("attribute", "region", "$profile.office"), Reference("attribute", "level", "7"),
    ]  # fmt: skip
    assert found.values == {"looker": {"region": ValueRule(("EMEA", "AMER")), "level": ValueRule((), "[0-9]+", "0")}}


def test_an_attribute_is_released_or_privileged_whatever_its_value(tmp_path: Path) -> None:
    policy = (
        giving("{region: EMEA}")
        + "released: {looker: {attributes: [old]}}\nprivileged: {looker: {attributes: [region]}}"
    )
    found = loaded(tmp_path, policy)
    assert found.released == {"looker": (Reference("attribute", "old"),)}
    assert found.privileged == {"looker": (Reference("attribute", "region"),)}


def test_how_many_are_read_decides_nothing(tmp_path: Path) -> None:
    before = loaded(tmp_path, giving("{region: EMEA}"))
    more = (tmp_path / "trueup.yaml").read_text().replace("    attributes:", "    attribute_reads: 5, attributes:")
    (tmp_path / "trueup.yaml").write_text(more)
    after = load(tmp_path / "trueup.yaml")
    assert (after.policy_hash, after.settings_hash == before.settings_hash) == (before.policy_hash, False)
    other = loaded(tmp_path, giving("{region: EMEA}"), DECLARED.replace("AMER", "APAC"))
    assert other.policy_hash != before.policy_hash


WHERE = "rules[0].give[0].looker.attributes"
FAULTS = {
    "an attribute that is not declared": (
        giving("{regoin: EMEA}"), REGION,
        f"trueup.yaml:10: {WHERE}.regoin: is not declared; say under targets.looker.attributes which values it may"
        ' have; did you mean "region"?',
    ),
    "a value that is not allowed": (
        giving("{region: EMAE}"), REGION, f'{WHERE}.region: cannot be given as "EMAE": `allow` does not have it',
    ),
    "no value": (giving("{region: ''}"), REGION, f"{WHERE}.region: say which value: attributes: {{region: EMEA}}, or"),
    "a name without a value": (giving("[region]"), REGION, f"{WHERE}.region: say which value"),
    "the profile, and nothing of it": (
        giving("{region: $profile.}"), REGION, f"{WHERE}.region: write $profile. and the name of a profile attribute",
    ),
    "something like the profile": (giving("{region: $profile}"), REGION, f"{WHERE}.region: write $profile."),
    "a text": (giving("region"), REGION, f"{WHERE}: write values by name such as {{region: EMEA}}"),
    "an empty name": (giving("{' ': EMEA}"), REGION, "holds an empty name"),
    "another target's": (
        "rules: [{name: a, when: {everyone: true}, give: [{teamcity: {attributes: {region: EMEA}}}]}]", REGION,
        "rules[0].give[0].teamcity.attributes: there is no such key",
    ),
    "a value under released": (
        "released: {looker: {attributes: {region: EMEA}}}", REGION,
        "released.looker.attributes.region: means every value; write the name alone: attributes: [region]",
    ),
    "a release of what a rule gives": (
        giving("{region: EMEA}") + "released: {looker: {attributes: [region]}}", REGION,
        'attribute region is still given by rule "a"',
    ),
    "nothing that may be given": ("", "{region: {when_missing: hold}}", "region: says no value that may be given"),
    "nothing for people without one": (
        "", "{region: {allow: [EMEA]}}", "region.when_missing: is missing; add `when_missing:`",
    ),
    "unset for people without one": (
        "", "{region: {allow: [EMEA], when_missing: unset}}", "when_missing: write 'hold', not \"unset\"",
    ),
    "an empty value for people without one": (
        "", "{region: {pattern: '.*', when_missing: {value: ''}}}", 'when_missing gives "", which is not allowed',
    ),
    "a value for people without one that is not allowed": (
        "", "{region: {allow: [EMEA], when_missing: {value: NONE}}}", 'when_missing gives "NONE", which is not allowed',
    ),
    "an empty value": ("", "{region: {allow: ['', EMEA], when_missing: hold}}", 'allows "", which cannot be a value'),
    "a value with something hidden": (
        "", '{region: {allow: ["EM\\u202eEA"], when_missing: hold}}', "U+202E, which nobody sees",
    ),
    "a value that means the profile": (
        "", "{region: {allow: [$profile.x], when_missing: hold}}", "cannot be a value: it begins with $profile",
    ),
    "no regular expression": ("", "{region: {pattern: '(', when_missing: hold}}", "pattern: is no regular expression"),
}  # fmt: skip


@pytest.mark.parametrize(("policy", "attributes", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, policy: str, attributes: str, said: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        loaded(tmp_path, policy, attributes)
    assert said in str(caught.value)
