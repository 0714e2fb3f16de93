"""Names in the policy: what happens when they no longer mean what they meant."""

from __future__ import annotations

import pytest

from tests.core.policy_world import (
    DATA,
    DEVELOPER,
    ENGINEERS,
    GROUPS,
    PILOTS,
    SECRET,
    TEAMCITY,
    TODAY,
    VIEWER,
    compiled,
    looker,
    person,
    rule,
)
from worker.core.identity import (
    Entitlement,
    Reference,
    SourceGroup,
)
from worker.core.policy import (
    AnyOf,
    Condition,
    GroupIs,
    Named,
    NotOf,
    compile_policy,
)

TROUBLE = [
    pytest.param(
        GroupIs("Enginering", "okta"),
        GROUPS,
        {},
        'no group named "Enginering"',
        'did you mean "Engineering"?',
        id="unknown",
    ),
    pytest.param(
        ENGINEERS, (), {("okta", "Engineering"): "g1"}, 'no group named "Engineering"', "correct the name", id="gone"
    ),
    pytest.param(
        SECRET, GROUPS, {}, '"Secret" could not be read: 403 on page 2', "let our credentials", id="unreadable"
    ),
    pytest.param(
        ENGINEERS,
        (SourceGroup("okta", "g1", "Builders", "OKTA_GROUP", 3),),
        {("okta", "Engineering"): "g1"},
        'now called "Builders"',
        'write group: "Builders"',
        id="renamed",
    ),
    pytest.param(
        ENGINEERS,
        (SourceGroup("okta", "g9", "Engineering", "OKTA_GROUP", 3),),
        {("okta", "Engineering"): "g1"},
        "the one with id g1 is gone",
        "add `id: g9`",
        id="re-created under the same name",
    ),
    pytest.param(
        ENGINEERS,
        (
            SourceGroup("okta", "g9", "Engineering", "OKTA_GROUP", 3),
            SourceGroup("okta", "g1", "Builders", "OKTA_GROUP", 3),
        ),
        {("okta", "Engineering"): "g1"},
        'the one with id g1 is now called "Builders"',
        "add `id: g9`",
        id="its name taken over by another",
    ),
    pytest.param(
        ENGINEERS,
        (*GROUPS, SourceGroup("okta", "g8", "Engineering", "APP_GROUP", 7)),
        {},
        "g1 (OKTA_GROUP, 3 members), g8 (APP_GROUP, 7 members)",
        "adding its `id`",
        id="two of one name",
    ),
    pytest.param(
        GroupIs("Engineering", "okta", "g7"),
        GROUPS,
        {},
        'no group with the id "g7"',
        "correct `id`",
        id="an id that is not there",
    ),
    pytest.param(
        GroupIs("Engineers", "okta", "g1"),
        GROUPS,
        {},
        'now called "Engineering"',
        'write group: "Engineering"',
        id="an id whose group has another name",
    ),
    pytest.param(
        GroupIs("ops-*", "okta"),
        GROUPS,
        {},
        'a name like "ops-*"',
        "correct the pattern",
        id="a pattern that no group fits",
    ),
    pytest.param(
        GroupIs("Engineering", "entra"),
        GROUPS,
        {},
        "entra has not been read yet",
        "last read of entra",
        id="a source that was not read",
    ),
]


@pytest.mark.parametrize(("when", "groups", "bindings", "problem", "fix"), TROUBLE)
def test_a_rule_whose_group_is_in_doubt_neither_gives_nor_takes(
    when: Condition, groups: tuple[SourceGroup, ...], bindings: dict[tuple[str, str], str], problem: str, fix: str
) -> None:
    policy = compiled(rule(when), groups=groups, bindings=bindings)

    deserved = policy.desired(person("g1"), TODAY)

    assert not deserved.given
    assert deserved.frozen == {"looker": {DEVELOPER: "r"}}
    (finding,) = policy.suspended
    assert finding.sentence.startswith('trueup.yaml:5: rule "r" is suspended: ')
    assert problem in finding.reason
    assert fix in finding.fix


def test_an_id_says_which_of_two_groups_of_one_name_is_meant() -> None:
    twins = (*GROUPS, SourceGroup("okta", "g8", "Engineering", "APP_GROUP", 7))
    policy = compiled(rule(GroupIs("Engineering", "okta", "g8")), groups=twins)

    assert not policy.suspended
    assert policy.desired(person("g8"), TODAY).given
    assert not policy.desired(person("g1"), TODAY).given


def test_an_id_accepts_a_group_that_was_created_anew() -> None:
    policy = compiled(rule(GroupIs("Engineering", "okta", "g1")), bindings={("okta", "Engineering"): "g0"})

    assert not policy.suspended
    assert policy.bindings == {("okta", "Engineering"): "g1"}


def test_the_bindings_to_remember_are_those_of_names_that_were_found() -> None:
    policy = compiled(rule(AnyOf((ENGINEERS, NotOf(PILOTS), SECRET, GroupIs("Eng*", "okta"), GroupIs("X", "okta")))))

    assert policy.bindings == {("okta", "Engineering"): "g1", ("okta", "Pilots"): "g2"}


@pytest.mark.parametrize(
    ("name", "bound", "problem", "fix"),
    [
        pytest.param("Develper", None, 'looker has no role "Develper"', 'did you mean "Developer"?', id="unknown"),
        pytest.param(
            "Coder", DEVELOPER, 'role "Coder" of looker is now called "Developer"', 'write "Developer"', id="renamed"
        ),
        pytest.param(
            "Developer", Entitlement("role", "7"), "(id 7) is gone; this one has id 1", "another name", id="re-created"
        ),
        pytest.param(
            "Developer",
            VIEWER,
            '(id 2) is now called "Viewer"; this one has id 1',
            "another name",
            id="its name taken over by another",
        ),
        pytest.param("Gone", Entitlement("role", "7"), 'looker has no role "Gone"', "correct the name", id="deleted"),
    ],
)
def test_a_name_that_no_longer_means_what_it_meant_gives_nothing_and_keeps_what_it_gave(
    name: str, bound: Entitlement | None, problem: str, fix: str
) -> None:
    governed = {f"role {name}": bound} if bound else {}
    policy = compiled(rule(ENGINEERS, looker("role", name), looker("group", "Data")), governed=governed)

    concerned, other = policy.desired(person("g1"), TODAY), policy.desired(person("g2"), TODAY)

    assert concerned.given == {"looker": {DATA: ("r",)}}
    assert concerned.frozen == ({"looker": {bound: "r"}} if bound else {})
    assert not other.frozen
    (finding,) = policy.suspended
    assert finding.sentence.startswith('trueup.yaml:9: rule "r" names what it cannot give: ')
    assert problem in finding.reason
    assert fix in finding.fix


def test_a_name_that_two_things_bear_gives_neither() -> None:
    policy = compiled(rule(ENGINEERS, looker("group", "Twice")), governed={"group Twice": Entitlement("group", "4")})

    assert not policy.desired(person("g1"), TODAY).given
    assert policy.desired(person("g1"), TODAY).frozen == {"looker": {Entitlement("group", "4"): "r"}}
    assert '2 of group "Twice" (ids 4, 5)' in policy.suspended[0].reason


def test_one_name_used_by_many_rules_is_one_finding() -> None:
    policy = compiled(*(rule(ENGINEERS, looker("role", "Nope"), name=name) for name in ("a", "b", "c")))

    (finding,) = policy.suspended
    assert '"a" (so do "b", "c")' in finding.sentence


@pytest.mark.parametrize(
    ("project", "scope"),
    [
        pytest.param("p:Web", "p:Web", id="by its id"),
        pytest.param("p:Web shop", "p:Web", id="by its name"),
        pytest.param("g", "g", id="everywhere"),
    ],
)
def test_a_role_is_given_in_a_project(project: str, scope: str) -> None:
    policy = compiled(rule(ENGINEERS, Named("teamcity", Reference("role", "PROJECT_VIEWER", project))))

    assert policy.desired(person("g1"), TODAY).given == {
        "teamcity": {Entitlement("role", "PROJECT_VIEWER", scope): ("r",)}
    }


@pytest.mark.parametrize(
    ("project", "problem", "fix"),
    [
        pytest.param("p:Wbe", 'no project "Wbe"', 'did you mean "Web"?', id="unknown"),
        pytest.param("p:Twins", '2 projects named "Twins"', '"New", "Old"', id="ambiguous"),
    ],
)
def test_a_project_in_doubt_is_a_finding(project: str, problem: str, fix: str) -> None:
    policy = compiled(rule(ENGINEERS, Named("teamcity", Reference("role", "PROJECT_VIEWER", project))))

    assert not policy.desired(person("g1"), TODAY).given
    assert problem in policy.suspended[0].reason
    assert fix in policy.suspended[0].fix


def test_a_project_name_that_moved_to_another_project_keeps_the_old_access() -> None:
    reference = Reference("role", "PROJECT_VIEWER", "p:Web shop")
    former = Entitlement("role", "PROJECT_VIEWER", "p:OldWeb")
    rules = [rule(ENGINEERS, Named("teamcity", reference))]
    policy = compile_policy(
        rules, {"okta": GROUPS}, {"teamcity": TEAMCITY}, None, {"teamcity": {str(reference): former}}
    )

    assert policy.desired(person("g1"), TODAY).frozen == {"teamcity": {former: "r"}}
    assert "is not the one it was (p:OldWeb)" in policy.suspended[0].reason


def test_only_the_targets_at_hand_are_looked_up() -> None:
    give = (looker("role", "Nope"), Named("teamcity", Reference("role", "PROJECT_VIEWER", "g")))
    policy = compile_policy([rule(ENGINEERS, *give)], {"okta": GROUPS}, {"teamcity": TEAMCITY})

    assert not policy.suspended
    assert set(policy.governed) == {"teamcity"}


def test_names_from_elsewhere_cannot_lead_a_reader_astray() -> None:
    odd = (SourceGroup("okta", "g1", "Eng\u202eineers\n", "OKTA_GROUP", 3),)
    policy = compiled(rule(ENGINEERS), groups=odd, bindings={("okta", "Engineering"): "g1"})

    assert '"Eng\\u202eineers\\u000a"' in policy.suspended[0].sentence
