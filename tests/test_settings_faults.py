"""What is wrong with a trueup.yaml is said with file, line, key and what to write; all of it at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.settings_fakes import CONNECTORS, FAKES, POLICY, loaded
from worker.core.policy import AnyOf, GroupIs
from worker.errors import Misconfigured
from worker.settings import load

GIVE = "give: [{looker: {groups: [X]}}]"


def rule(when: str, rest: str = "") -> str:
    return f"rules: [{{name: a, when: {when}, {GIVE}{rest}}}]"


def complaint(folder: Path, text: str, connectors: str = CONNECTORS) -> str:
    with pytest.raises(Misconfigured) as caught:
        loaded(folder, text, connectors)
    return str(caught.value)


FAULTS = {
    "mod: observe": 'trueup.yaml:6: mod: there is no such key; did you mean "mode"?',
    "xyzzy: 1": "trueup.yaml:6: xyzzy: there is no such key; known here: api, approvals, authority,",
    "mode: obsrve": "trueup.yaml:6: mode: write 'observe', 'review' or 'enforce', not \"obsrve\"",
    "gates: {privileged: auto}": "gates.privileged: write 'review' or 'manual', not \"auto\"",
    "gates: {revok: auto}": 'gates.revok: there is no such key; did you mean "revoke"?',
    "timezone: Mars": "timezone: there is no such time zone here; write UTC or",
    "authority: otka": 'authority: there is no source "otka"; did you mean "okta"?',
    "limits: {share: 5}": "limits.share: write a percentage from 0% to 100%, such as 5%",
    "limits: {share: 101%}": "limits.share: write a percentage",
    "limits: {snapshot_age: soon}": "limits.snapshot_age: write a time such as 30m, 2h or 7d",
    "limits: {removals: {per_run: many}}": "limits.removals.per_run: write a whole number",
    "limits: {removals: {per_run: -1}}": "limits.removals.per_run: should be greater than or equal to 0",
    "limits: 5": "limits: write keys with something under each here",
    "approvals: {expire_days: 0}": "approvals.expire_days: should be greater than or equal to 1",
    "roles: {dev: {lokker: {}}}": 'roles.dev.lokker: there is no target "lokker"; did you mean "looker"?',
    "roles: {dev: {looker: {role: [X]}}}": 'roles.dev.looker.role: there is no such key; did you mean "roles"?',
    "roles: {dev: {teamcity: {roles: [{project: X}]}}}": "roles.dev.teamcity.roles[0].role: is missing; add `role:`",
    "privileged: {loker: {}}": 'privileged.loker: there is no target "loker"',
    "released: {looker: {}}": "released.looker: names no entitlement",
    "protected: {accounts: {okta: [x]}}": 'protected.accounts.okta: there is no target "okta"',
    "correlation: {okta: {}}": 'correlation.okta: there is no target "okta"',
    "correlation: {looker: {trust: [name]}}": "correlation.looker.trust[0]: write 'login' or 'email', not \"name\"",
    "correlation: {teamcity: {trust: [email]}}": "correlation.teamcity.trust[0]: anybody can change their email",
    rule("{everyone: true}")
    + "\nreleased: {looker: {groups: [X]}}": 'group X is still given by rule "a" at trueup.yaml:6',
    "joining: {trust: [login], propose: [email, login]}": 'joining.propose[1]: "login" stands under `joining` twice',
    "joining: {trust: [login, login]}": 'joining.trust[1]: "login" stands under `joining` twice',
    "api: {tokens: {hr: hunter2}}": "api.tokens.hr: a secret is given by reference: write ${env:NAME} or ${file:/path}",
    "api: {tokens: {HR: '${env:T}'}}": "api.tokens.HR[key]: write a name of small letters",
    "api: {tokens: {hr: '${env:T}'}, may_force: [hrr]}": 'api.may_force[0]: there is no token under `api.tokens` "hrr"',
    "api: {sees_all: [x]}": 'api.sees_all[0]: there is no token under `api.tokens` "x"; write nothing: none is known',
    "api: {per_minute: 0}": "api.per_minute:",
    "hooks: {otka: {secret: '${env:S}'}}": 'hooks.otka: there is no source "otka"; did you mean "okta"?',
    "hooks: {okta: {}}": "hooks.okta.secret: is missing; add `secret:`",
    "hooks: {okta: {secret: []}}": "hooks.okta.secret: is empty; put at least one thing under it",
    "hooks: {okta: {secret: s3cret}}": "hooks.okta.secret[0]: a secret is given by reference: write",
    "hooks: {okta: {secret: '${env:S}', url: 'https://us.test'}}": "hooks.okta.url: Okta is told in its own console",
    "must_see: {octa: {}}": 'must_see.octa: there is no source or target "octa"; did you mean "okta"?',
    "must_see: {okta: {accounts: [x]}}": "must_see.okta.accounts: okta has none of these; name people and groups of it",
    "must_see: {looker: {people: [x]}}": "must_see.looker.people: looker has none of these; name accounts of it",
    "rules: {a: b}": "rules: write a list here",
    "rules: [5]": "rules[0]: write keys with something under each here",
    f"rules: [{{when: {{everyone: true}}, {GIVE}}}]": "rules[0].name: is missing; add `name:`",
    rule("{group: X, attribute: y}"): "rules[0].when: write exactly one of group, attribute",
    rule("{}"): "rules[0].when: write exactly one of group",
    rule("X"): "rules[0].when: write exactly one of group",
    rule("{all: []}"): "rules[0].when.all: is empty",
    rule("{all: [{group: X, sourc: okta}]}"): (
        'rules[0].when.all[0].sourc: there is no such key; did you mean "source"?'
    ),
    rule("{not: {attribute: x}}"): "rules[0].when.not: say exactly one of `is: value`",
    rule("{attribute: x, is: a, in: [b]}"): "rules[0].when: say exactly one of",
    rule("{attribute: x, is: true}"): (
        "rules[0].when.is: write text here, not yes or no; put it in quotes if you mean the word"
    ),
    rule("{attribute: x, is: null}"): "rules[0].when: say exactly one of",
    rule("{everyone: false}"): "rules[0].when.everyone: write True",
    rule("{group: ''}"): "rules[0].when.group: is empty",
    rule("{group: X, source: ad}"): 'rules[0].when.source: there is no source "ad"; write okta',
    rule("{everyone: true}", ", until: tomorrow"): "rules[0].until: write a date such as 2027-03-31",
    "rules: [{name: a, when: {everyone: true}, give: dev}]": "rules[0].give: write a list here, such as [one, two]",
    "rules: [{name: a, when: {everyone: true}, give: []}]": "rules[0].give: is empty",
    "rules: [{name: a, when: {everyone: true}, give: [[x]]}]": "rules[0].give[0]: write the name of a bundle, or",
    "rules: [{name: a, when: {everyone: true}, give: [{looker: {}}]}]": "rules[0].give[0].looker: names no entitlement",
    "rules: [{name: a, when: {everyone: true}, give: [qa]}]": 'rules[0].give[0]: there is no bundle "qa"; declare it',
    "timetable: {}": "timetable: there is no such key",
    "people: {}": "people: there is no such key",
}


@pytest.mark.parametrize(("text", "expected"), FAULTS.items(), ids=FAULTS)
def test_a_fault_is_said_with_its_place_and_its_cure(tmp_path: Path, text: str, expected: str) -> None:
    said = complaint(tmp_path, text)

    assert expected in said
    assert re.match(r"trueup\.yaml:[67]: ", said)
    assert "\n" not in said


def test_all_faults_are_said_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    said = complaint(tmp_path, "mode: x\nrules:\n  - name: a\n    when: {everyone: true}\n    giv: []\n").splitlines()

    assert [line.split(": ")[0] for line in said] == ["trueup.yaml:6", "trueup.yaml:8", "trueup.yaml:10"]


def test_a_connectors_own_faults_are_said_beside_those_of_the_policy(tmp_path: Path) -> None:
    said = complaint(tmp_path, "mod: x\n", CONNECTORS.replace("url: ", "uri: ", 1))

    assert 'trueup.yaml:2: sources.okta.uri: there is no such key; did you mean "url"?' in said
    assert "trueup.yaml:2: sources.okta.url: is missing; add `url:`" in said
    assert "trueup.yaml:6: mod:" in said


@pytest.mark.parametrize(
    ("connectors", "expected"),
    [
        pytest.param(
            CONNECTORS.replace("type: okta", "type: octa"), 'no type "octa" of sources; write one of', id="unknown type"
        ),
        pytest.param(
            CONNECTORS.replace("type: looker, ", ""),
            "targets.looker.type: is missing; write one of looker, teamcity",
            id="no type",
        ),
        pytest.param(
            CONNECTORS.replace("  looker:", "  okta:"), "targets.okta: a source has the same name", id="one name twice"
        ),
        pytest.param(
            CONNECTORS.replace("  looker:", "  Looker One:"), "write a name of small letters", id="a name with a space"
        ),
        pytest.param("targets: {}\n", "sources: is missing; add `sources:`", id="no sources"),
        pytest.param(CONNECTORS.partition("targets:")[0] + "targets: {}\n", "targets: is empty", id="no targets"),
    ],
)
def test_connectors_must_be_known(tmp_path: Path, connectors: str, expected: str) -> None:
    assert expected in complaint(tmp_path, "", connectors)


def test_a_secret_that_stands_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    said = complaint(tmp_path, "", CONNECTORS.replace("${env:OKTA_TOKEN}", "hunter2"))

    assert "sources.okta.token: a secret is given by reference: write ${env:NAME}" in said
    assert "hunter2" not in said


def test_the_same_rule_twice_names_both_places(tmp_path: Path) -> None:
    said = complaint(tmp_path, POLICY + POLICY.partition("rules:\n")[2])

    assert said == "trueup.yaml:15: rules[1].name: the rule at trueup.yaml:11 has the same name; call one otherwise"


def test_an_unknown_bundle_lists_the_known_ones(tmp_path: Path) -> None:
    text = POLICY.replace("give: [dev]", "give: [dev, qa2]").replace("rules:", "  qa: {looker: {groups: [Q]}}\nrules:")

    assert complaint(tmp_path, text) == (
        'trueup.yaml:14: rules[0].give[1]: there is no bundle "qa2"; write one of dev, qa'
    )


def test_with_two_sources_a_group_must_say_whose_it_is(tmp_path: Path) -> None:
    second = CONNECTORS.replace(
        "targets:", '  second: {type: okta, url: "https://b.test", token: "${env:T}"}\ntargets:'
    )

    assert "rules[0].when: which source's group? Add `source:` with one of okta, second" in complaint(
        tmp_path, POLICY, second
    )
    assert loaded(tmp_path, POLICY.replace("group: Engineering", "group: Engineering, source: second"), second).rules


def test_a_group_may_be_that_of_either_of_two_sources(tmp_path: Path) -> None:
    second = CONNECTORS.replace(
        "targets:", '  second: {type: okta, url: "https://b.test", token: "${env:T}"}\ntargets:'
    )
    either = POLICY.replace("group: Engineering", "group: Engineering, source: [okta, second]")

    (rule,) = loaded(tmp_path, either, second).rules
    assert rule.when == AnyOf((GroupIs("Engineering", "okta"), GroupIs("Engineering", "second")))
    assert rule.when.describe() == 'in the group "Engineering"'
    assert "rules[0].when.id: an id is that of one source's group; name the one source with it" in complaint(
        tmp_path, either.replace("group: Engineering", "group: Engineering, id: 00g1"), second
    )


def test_a_fault_in_one_of_several_files_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CONNECTORS + POLICY)
    (tmp_path / "b.yaml").write_text("\nrules:\n  - {name: b, when: {everyone: true}, give: [qa2]}\n")

    with pytest.raises(Misconfigured) as caught:
        load(tmp_path, FAKES)

    assert str(caught.value).startswith(f"{tmp_path.name}/b.yaml:3: rules[0].give[0]: there is no bundle")
