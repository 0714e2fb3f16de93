"""`trueup test`: samples of people against a policy, without a network or a database."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from tests.settings_fakes import CONNECTORS, loaded
from worker.errors import Misconfigured
from worker.flows.samples import Results, Tried, run_policy_tests
from worker.sandbox.acme import POLICY as ACME

POLICY = """\
roles:
  dev: {looker: {groups: [Engineering]}, teamcity: {roles: [{role: PROJECT_DEVELOPER, project: Web}]}}
rules:
  - {name: developers, when: {group: Engineering, id: 00g1}, give: [dev]}
  - {name: patterns, when: {group: "data-*"}, give: [{looker: {groups: [Data]}}]}
  - {name: locals, when: {not: {attribute: country, is: US}}, give: [{looker: {roles: [Local]}}]}
  - {name: summer, when: {everyone: true}, give: [{looker: {groups: [Summer]}}], until: 2026-08-31}
"""
AUTUMN = dt.date(2026, 10, 1)


def results(folder: Path, cases: str, policy: str = POLICY, connectors: str = CONNECTORS) -> Results:
    (folder / "samples.yaml").write_text(cases)
    return run_policy_tests(loaded(folder, policy, connectors), folder / "samples.yaml", AUTUMN)


def one(folder: Path, person: str, expectation: str) -> Tried:
    (tried,) = results(folder, f"cases:\n  - person: {person}\n    {expectation}\n").tried
    return tried


@pytest.mark.parametrize(
    ("person", "expectation"),
    [
        pytest.param(
            "{login: a@x, groups: [Engineering], attributes: {country: US}}",
            "expect: {looker: {groups: [Engineering]}, teamcity: {roles: [{role: PROJECT_DEVELOPER, project: Web}]}}",
            id="everything a bundle means",
        ),
        pytest.param("{login: a@x, attributes: {country: US}}", "expect: {}", id="nothing for a stranger"),
        pytest.param(
            "{login: a@x}", "expect: {looker: {roles: [Local]}}", id="who lacks the attribute fits the opposite"
        ),
        pytest.param("{login: a@x, groups: [data-eu]}", "includes: {looker: {groups: [Data]}}", id="a pattern"),
        pytest.param("{login: a@x, groups: [other]}", "excludes: {looker: {groups: [Data]}}", id="not the pattern"),
        pytest.param("{login: a@x, on: 2026-08-31}", "includes: {looker: {groups: [Summer]}}", id="on the last day"),
        pytest.param("{login: a@x, on: 2026-09-01}", "excludes: {looker: {groups: [Summer]}}", id="the day after"),
        pytest.param("{login: a@x}", "excludes: {looker: {groups: [Summer]}}", id="today when no day is given"),
        pytest.param("{login: a@x, groups: [Engineering], status: DEPARTED}", "expect: {}", id="somebody who has left"),
        pytest.param("{login: a@x, groups: [Engineering], status: suspended}", "expect: {}", id="somebody who is away"),
        pytest.param(
            "{login: a@x, groups: {okta: [Engineering]}}",
            "includes: {looker: {groups: [Engineering]}}",
            id="groups by source",
        ),
    ],
)
def test_a_sample_that_is_as_expected_passes(tmp_path: Path, person: str, expectation: str) -> None:
    assert one(tmp_path, person, expectation).problems == ()


@pytest.mark.parametrize(
    ("person", "expectation", "problem"),
    [
        pytest.param(
            "{login: a@x, attributes: {country: US}}",
            "expect: {looker: {groups: [Engineering]}}",
            'given group Engineering in looker, but rule "developers" does not fit: is not in the group "Engineering"',
            id="what is missing, and the rule that would give it",
        ),
        pytest.param(
            "{login: a@x, attributes: {country: US}}",
            "includes: {teamcity: {groups: [Ops]}}",
            "should be given group Ops in teamcity, but no rule gives it to anybody",
            id="what no rule gives",
        ),
        pytest.param(
            "{login: a@x, attributes: {country: DE}}",
            "expect: {}",
            'is given role Local in looker, which is not expected: rule "locals" gives it (country is "DE")',
            id="what is too much, and the rule that gives it",
        ),
        pytest.param(
            "{login: a@x, groups: [data-eu]}",
            "excludes: {looker: {groups: [Data]}}",
            'group Data in looker, which is not expected: rule "patterns" gives it (is in a group like "data-*")',
            id="what was to be excluded",
        ),
        pytest.param(
            "{login: a@x}",
            "includes: {looker: {groups: [Summer]}}",
            'rule "summer" does not fit: ended on 2026-08-31',
            id="what has ended",
        ),
        pytest.param(
            "{login: a@x, status: hold}",
            "includes: {looker: {roles: [Local]}}",
            "nobody whose status is hold is given anything",
            id="somebody on hold",
        ),
    ],
)
def test_a_sample_that_is_not_says_what_and_why(tmp_path: Path, person: str, expectation: str, problem: str) -> None:
    (said,) = one(tmp_path, person, expectation).problems

    assert problem in said


def test_the_results_name_samples_places_and_rules_that_were_never_tried(tmp_path: Path) -> None:
    found = results(
        tmp_path,
        "cases:\n"
        "  - name: a developer\n    person: {login: a@x, groups: [Engineering]}\n"
        "    includes: {looker: {groups: [Nope]}}\n"
        "  - person: {login: b@x}\n    expect: {looker: {roles: [Local]}}\n",
    )

    assert [(tried.name, tried.where, tried.passed) for tried in found.tried] == [
        ("a developer", "samples.yaml:2", False),
        ("b@x", "samples.yaml:5", True),
    ]
    assert not found.passed
    assert found.summary == "1 of 2 samples as expected, 1 not"
    assert found.untried == ("patterns",)


FAULTS = {
    "cases: []": "samples.yaml:1: cases: is empty",
    "case: []": 'samples.yaml:1: case: there is no such key; did you mean "cases"?',
    "cases: [{person: {login: a}}]": "cases[0]: say what is expected: `expect:`",
    "cases: [{person: {login: a}, expect: {}, includes: {looker: {groups: [X]}}}]": "cases[0]: `expect:` is every",
    "cases: [{person: {login: a, group: [X]}, expect: {}}]": "cases[0].person.group: there is no such key; did you",
    "cases: [{person: {login: a, status: gone}, expect: {}}]": "cases[0].person.status: write 'active', 'suspended'",
    "cases: [{person: {login: a}, expect: {lokker: {}}}]": 'cases[0].expect.lokker: there is no target "lokker"',
    "cases: [{person: {login: a}, expect: {looker: {group: [X]}}}]": "cases[0].expect.looker.group: there is no such",
    "cases: [{person: {login: a, groups: {ad: [X]}}, expect: {}}]": "cases[0].person.groups.ad: there is no such",
    "cases: [{person: {login: a, on: never}, expect: {}}]": "cases[0].person.on: write a date such as 2027-03-31",
    "cases: @": "this is not YAML",
}


@pytest.mark.parametrize(("text", "expected"), FAULTS.items(), ids=FAULTS)
def test_a_fault_of_the_samples_is_said_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        results(tmp_path, text)

    assert expected in str(caught.value)
    assert str(caught.value).startswith("samples.yaml:1: ")


def test_with_two_sources_groups_stand_under_theirs(tmp_path: Path) -> None:
    second = CONNECTORS.replace(
        "targets:", '  second: {type: okta, url: "https://b.test", token: "${env:T}"}\ntargets:'
    )
    policy = "rules: [{name: r, when: {group: A, source: second}, give: [{looker: {groups: [X]}}]}]\n"
    cases = "cases: [{person: {login: a, groups: {second: [A]}}, expect: {looker: {groups: [X]}}}]"

    assert results(tmp_path, cases, policy, second).passed
    with pytest.raises(Misconfigured, match=r"which source's groups\? Write them under okta or second"):
        results(tmp_path, cases.replace("{second: [A]}", "[A]"), policy, second)


def test_the_made_up_companys_policy_can_be_tried(tmp_path: Path) -> None:
    found = results(
        tmp_path,
        "cases:\n"
        "  - person: {login: r@acme.example, groups: [Release Engineering], attributes: {userType: Contractor}}\n"
        "    excludes: {teamcity: {groups: [RELEASE]}}\n"
        "  - person: {login: t@acme.example, groups: [TeamCity Administrators]}\n"
        "    expect: {teamcity: {roles: [{role: SYSTEM_ADMIN, everywhere: true}]}}\n",
        ACME,
    )

    assert found.passed
