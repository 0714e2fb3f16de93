"""Who deserves what: yes, no or unknown, and what unknown protects."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.policy_world import (
    DATA,
    DEVELOPER,
    ENGINEERS,
    PILOTS,
    SECRET,
    TODAY,
    VIEWER,
    compiled,
    looker,
    person,
    rule,
)
from worker.core.identity import (
    Person,
    SourceGroup,
)
from worker.core.policy import (
    AllOf,
    AnyOf,
    AttributeIs,
    AttributeMatches,
    Condition,
    Everyone,
    GroupIs,
    NotOf,
    attributes_asked,
    count_matches,
    groups_asked,
)


def verdict(when: Condition, who: Person) -> bool | None:
    return compiled(rule(when)).explain(who, TODAY)[0].verdict


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        pytest.param(ENGINEERS, True, id="a member fits"),
        pytest.param(PILOTS, False, id="somebody else does not"),
        pytest.param(SECRET, None, id="nobody can be told to be in a group that could not be read, not even a no"),
        pytest.param(NotOf(SECRET), None, id="nor not to be in it"),
        pytest.param(NotOf(PILOTS), True, id="not turns no into yes"),
        pytest.param(AllOf((ENGINEERS, SECRET)), None, id="all: yes and unknown is unknown"),
        pytest.param(AllOf((PILOTS, SECRET)), False, id="all: one no settles it"),
        pytest.param(AllOf((SECRET, PILOTS)), False, id="all: wherever the no stands"),
        pytest.param(AnyOf((ENGINEERS, SECRET)), True, id="any: one yes settles it"),
        pytest.param(AnyOf((SECRET, PILOTS)), None, id="any: no and unknown is unknown"),
        pytest.param(GroupIs("Eng*", "okta"), True, id="a pattern is met by any group that fits it"),
        pytest.param(GroupIs("?ilots", "okta"), False, id="a pattern none of whose groups one is in"),
        pytest.param(
            GroupIs("*e*", "okta"), True, id="a pattern with an unreadable group is still a yes for members of another"
        ),
        pytest.param(GroupIs("*cre*", "okta"), None, id="and unknown to the rest"),
        pytest.param(GroupIs("[EU] Pilots", "okta"), False, id="brackets in a name are only brackets"),
        pytest.param(Everyone(), True, id="everyone"),
    ],
)
def test_a_condition_is_yes_no_or_unknown(when: Condition, expected: bool | None) -> None:
    assert verdict(when, person("g1")) is expected


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        pytest.param(AttributeIs("department", ("Data",)), True, id="the value"),
        pytest.param(AttributeIs("department", ("Sales", "Data")), True, id="one of the values"),
        pytest.param(AttributeIs("department", ("data",)), False, id="in another case it is another value"),
        pytest.param(AttributeIs("department", ("Dat*",)), False, id="is takes no patterns"),
        pytest.param(AttributeMatches("department", ("D*a",)), True, id="matches does"),
        pytest.param(AttributeMatches("department", ("*ata*", "x")), True, id="any of several patterns"),
        pytest.param(AttributeMatches("department", ("ata",)), False, id="a pattern is about the whole value"),
        pytest.param(AttributeIs("skills", ("sql",)), True, id="one of many values is enough"),
        pytest.param(AttributeIs("city", ("Zürich",)), True, id="composed and decomposed letters are the same"),
        pytest.param(AttributeIs("title", ("Lead",)), False, id="who lacks the attribute does not fit"),
        pytest.param(AttributeMatches("title", ("*",)), False, id="not even a star"),
        pytest.param(NotOf(AttributeIs("title", ("Lead",))), True, id="and so fits the opposite"),
    ],
)
def test_attributes_are_compared_letter_for_letter(when: Condition, expected: bool) -> None:
    who = person(department="Data", skills=("python", "sql"), city="Zürich", title="")
    assert verdict(when, who) is expected


def test_a_suspended_rule_freezes_nothing_for_people_it_cannot_concern() -> None:
    policy = compiled(rule(AllOf((ENGINEERS, SECRET))))

    assert policy.suspended
    assert policy.desired(person("g1"), TODAY).frozen == {"looker": {DEVELOPER: "r"}}
    assert not policy.desired(person("g2"), TODAY).frozen


def test_what_another_rule_gives_for_certain_is_not_frozen() -> None:
    policy = compiled(rule(SECRET, name="doubtful"), rule(ENGINEERS, name="sure"))

    deserved = policy.desired(person("g1"), TODAY)

    assert deserved.given == {"looker": {DEVELOPER: ("sure",)}}
    assert not deserved.frozen


def test_everybody_who_fits_is_given_what_all_their_rules_name() -> None:
    policy = compiled(
        rule(ENGINEERS, looker("role", "Developer"), looker("group", "Data"), name="a"),
        rule(Everyone(), looker("group", "Data"), name="b"),
        rule(PILOTS, looker("role", "Viewer"), name="c"),
    )

    deserved = policy.desired(person("g1"), TODAY)

    assert deserved.given == {"looker": {DEVELOPER: ("a",), DATA: ("a", "b")}}
    assert deserved.matched == ("a", "b")
    assert policy.governed["looker"] == {DEVELOPER: "role Developer", DATA: "group Data", VIEWER: "role Viewer"}


@pytest.mark.parametrize(
    ("today", "gives"),
    [
        pytest.param(date(2026, 6, 29), True, id="before the day"),
        pytest.param(date(2026, 6, 30), True, id="on the day"),
        pytest.param(date(2026, 7, 1), False, id="not on the day after"),
    ],
)
def test_a_rule_gives_until_its_last_day(today: date, gives: bool) -> None:
    policy = compiled(rule(ENGINEERS, until=date(2026, 6, 30)))

    deserved = policy.desired(person("g1"), today)

    assert bool(deserved.given) is gives
    assert deserved.expired == ({} if gives else {"looker": {DEVELOPER: ("r", date(2026, 6, 30))}})
    assert policy.explain(person("g1"), today)[0].ended is not gives


def test_the_same_policy_asked_on_the_next_day_answers_for_that_day() -> None:
    policy = compiled(rule(ENGINEERS, until=TODAY))

    assert policy.desired(person("g1"), TODAY).given
    assert not policy.desired(person("g1"), date(2026, 6, 2)).given


def test_what_has_ended_in_one_rule_and_stands_in_another_has_not_ended() -> None:
    over = rule(ENGINEERS, name="over", until=date(2026, 1, 1))

    assert not compiled(over, rule(Everyone(), name="stands")).desired(person("g1"), TODAY).expired
    assert not compiled(over, rule(SECRET, name="doubtful")).desired(person("g1"), TODAY).expired


def test_of_two_rules_that_have_ended_the_later_is_named() -> None:
    later, earlier = date(2026, 3, 1), date(2026, 1, 1)
    policy = compiled(rule(ENGINEERS, name="later", until=later), rule(ENGINEERS, name="earlier", until=earlier))

    assert policy.desired(person("g1"), TODAY).expired == {"looker": {DEVELOPER: ("later", later)}}


def test_a_rule_that_is_over_freezes_nothing() -> None:
    assert not compiled(rule(SECRET, until=date(2026, 1, 1))).desired(person("g1"), TODAY).frozen


@pytest.mark.parametrize(
    ("when", "who", "words"),
    [
        pytest.param(
            AllOf((ENGINEERS, AttributeIs("city", ("Bonn",)))), person("g1"), "has no city", id="only the no of all"
        ),
        pytest.param(
            AllOf((ENGINEERS, AttributeIs("city", ("Bonn",)))),
            person("g1", city="Bonn"),
            'is in the group "Engineering"; city is "Bonn"',
            id="every yes of all",
        ),
        pytest.param(AnyOf((ENGINEERS, PILOTS)), person("g1"), 'is in the group "Engineering"', id="the yes of any"),
        pytest.param(
            AnyOf((ENGINEERS, PILOTS)),
            person(),
            'is not in the group "Engineering"; is not in the group "Pilots"',
            id="every no of any",
        ),
        pytest.param(NotOf(PILOTS), person("g2"), 'is in the group "Pilots"', id="not"),
        pytest.param(
            AllOf((ENGINEERS, SECRET)), person("g1"), '"Secret" could not be read: 403 on page 2', id="what is unknown"
        ),
        pytest.param(Everyone(), person(), "the rule is for everyone", id="everyone"),
    ],
)
def test_the_reason_names_what_settled_it(when: Condition, who: Person, words: str) -> None:
    assert words in compiled(rule(when)).explain(who, TODAY)[0].reason


def test_a_condition_reads_as_a_sentence() -> None:
    when = AllOf((AnyOf((ENGINEERS, GroupIs("eng-*", "okta"))), NotOf(AttributeIs("userType", ("Guest", "Robot")))))

    assert when.describe() == (
        '(in the group "Engineering" or in a group like "eng-*") and not with userType "Guest" or "Robot"'
    )


def test_only_rules_that_may_fit_are_worked_out() -> None:
    groups = tuple(SourceGroup("okta", f"g{n}", f"G{n}", "OKTA_GROUP", 1) for n in range(100))
    both = [rule(AllOf((GroupIs(f"G{n}", "okta"), AttributeIs("city", ("Bonn",)))), name=f"r{n}") for n in range(100)]
    policy = compiled(*both, rule(NotOf(GroupIs("G1", "okta")), name="asks everybody"), groups=groups)

    policy.desired(person("g7", "g8", "g9"), TODAY)

    assert policy.evaluations == 4


def test_people_who_are_alike_share_one_answer() -> None:
    policy = compiled(rule(AllOf((ENGINEERS, AttributeIs("city", ("Bonn",))))))

    first = policy.desired(person("g1", "elsewhere", city="Bonn", title="Lead"), TODAY)
    second = policy.desired(person("g1", city="Bonn"), TODAY)

    assert first is second
    assert policy.evaluations == 1


def test_a_pull_is_told_what_the_rules_ask() -> None:
    rules = [rule(AllOf((ENGINEERS, GroupIs("eng-*", "okta"), NotOf(AttributeIs("city", ("Bonn",))))))]

    assert groups_asked(rules) == {"okta": {"Engineering", "eng-*"}}
    assert attributes_asked(rules) == {"city"}


def test_a_rule_that_fits_nobody_can_be_told() -> None:
    policy = compiled(rule(ENGINEERS, name="a"), rule(PILOTS, name="b"))

    assert count_matches(policy, [person("g1"), person("g1"), person()], TODAY) == {"a": 2}


conditions = st.recursive(
    st.one_of(
        st.sampled_from([ENGINEERS, PILOTS, SECRET, GroupIs("*", "okta"), GroupIs("P*", "okta"), Everyone()]),
        st.sampled_from([AttributeIs("city", ("Bonn", "Rome")), AttributeMatches("city", ("B*",))]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: AllOf(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
        inner.map(NotOf),
    ),
    max_leaves=6,
)
people = st.builds(
    lambda groups, cities: person(*groups, **({"city": cities} if cities else {})),
    st.sets(st.sampled_from(["g1", "g2", "g3", "g4", "g9"])),
    st.sampled_from(["", "Bonn", "Berlin", ("Oslo", "Rome")]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=5), st.lists(people, min_size=1, max_size=4))
def test_the_short_cuts_never_change_an_answer(whens: list[Condition], crowd: list[Person]) -> None:
    policy = compiled(*(rule(when, name=f"r{n}") for n, when in enumerate(whens)))
    for who in crowd:
        told = policy.explain(who, TODAY)
        deserved = policy.desired(who, TODAY)
        assert deserved.matched == tuple(one.rule.name for one in told if one.verdict)
        assert deserved.unsure == tuple(one.rule.name for one in told if one.verdict is None)
        assert bool(deserved.given) is any(one.verdict for one in told)


@settings(max_examples=100, deadline=None)
@given(conditions, people)
def test_whatever_is_in_doubt_is_never_both_given_and_frozen(when: Condition, who: Person) -> None:
    deserved = compiled(rule(when, name="a"), rule(NotOf(when), name="b")).desired(who, TODAY)

    given_, frozen = deserved.given.get("looker", {}), deserved.frozen.get("looker", {})
    assert not given_.keys() & frozen.keys()
    assert given_ or frozen
