"""Values of attributes: which one a person deserves, and when nobody can say and it is held."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.policy_world import ENGINEERS, PILOTS, SECRET, TODAY, person, rule
from tests.core.policy_world import GROUPS as SOURCE_GROUPS
from worker.core.identity import Catalogue, CatalogueItem, Definition, Entitlement, Person, Reference
from worker.core.policy import CompiledPolicy, Deserved, Everyone, Named, NotOf, Rule, attributes_asked, compile_policy
from worker.core.values import ValueRule, meant_otherwise, unfit

REGION = Entitlement("attribute", "12")
EMEA, AMER = (Entitlement("attribute", "12", value) for value in ("EMEA", "AMER"))
CLOSED = "its values are hidden"
CATALOGUE = Catalogue(
    (
        CatalogueItem("attribute", "12", "region", definition=Definition("string")),
        CatalogueItem("attribute", "13", "level", definition=Definition("number")),
        CatalogueItem("attribute", "14", "secret", closed=CLOSED, definition=Definition("string", readable=False)),
        CatalogueItem("attribute", "15", "odd", definition=Definition("colour")),
        CatalogueItem("attribute", "16", "filter", definition=Definition("advanced_filter_number")),
        CatalogueItem("role", "1", "Developer"),
    )
)
RULES = {
    "region": ValueRule(("EMEA", "AMER", "a_b%"), "[A-Z]{2}[0-9]+|.*[x].*"),
    "level": ValueRule(pattern=".+", otherwise="0"),
    "secret": ValueRule(("EMEA",)),
    "odd": ValueRule(("red",)),
    "filter": ValueRule((">3,<9",), ".+"),
}


def region(value: str, name: str = "region") -> Named:
    return Named("looker", Reference("attribute", name, value))


def policy(*rules: Rule, catalogue: Catalogue = CATALOGUE, bound: Iterable[str] = ()) -> CompiledPolicy:
    known = {"looker": dict.fromkeys((f"attribute {name}" for name in bound), REGION)}
    return compile_policy(rules, {"okta": SOURCE_GROUPS}, {"looker": catalogue}, {}, known, {"looker": RULES})


def deserved(*rules: Rule, who: Person | None = None, catalogue: Catalogue = CATALOGUE) -> Deserved:
    return policy(*rules, catalogue=catalogue).desired(who or person("g1"), TODAY)


def outcome(*rules: Rule, who: Person | None = None) -> str:
    """The value that is given, or the reason why one is held; "" where the attribute is not spoken of."""
    found = deserved(*rules, who=who)
    given_ = [e.scope for e in found.given.get("looker", {}) if e.kind == "attribute"]
    held = [h.reason for h in found.held.get("looker", ())]
    assert len(given_) + len(held) <= 1
    return "".join(given_ + held)


def engineers(value: str, attribute: str = "region", name: str = "engineers") -> Rule:
    return rule(ENGINEERS, region(value, attribute), name=name)


FROM_PROFILE = engineers("$profile.office")
OUTCOMES = {
    "a value that is written in the rule": ("EMEA", [engineers("EMEA")], {}),
    "the person's own": ("EMEA", [FROM_PROFILE], {"office": "EMEA"}),
    "the person's own, as it fits the pattern": ("DE4", [FROM_PROFILE], {"office": "DE4"}),
    "the person's only one of a list": ("EMEA", [FROM_PROFILE], {"office": ("EMEA",)}),
    "one of the list that a filter would read otherwise, as somebody wrote it there": (
        "a_b%", [FROM_PROFILE], {"office": "a_b%"},
    ),
    "the same value from two rules": ("EMEA", [engineers("EMEA"), rule(Everyone(), region("EMEA"), name="b")], {}),
    "nothing where no rule fits": ("", [rule(PILOTS, region("EMEA"))], {}),
    "nothing where the rule has ended": ("", [rule(ENGINEERS, region("EMEA"), until=TODAY.replace(year=2020))], {}),
    "the value for those without one": ("0", [engineers("$profile.grade", "level")], {}),
    "the value for those whose own is blank": ("0", [engineers("$profile.grade", "level")], {"grade": " "}),
    "a number where it has to be one": ("7.5", [engineers("$profile.grade", "level")], {"grade": "7.5"}),
    "a filter expression that somebody wrote": (">3,<9", [engineers(">3,<9", "filter")], {}),
    "held: the person has none": ("the person has no office", [FROM_PROFILE], {}),
    "held: the person has two": (
        "the person has 2 values of office, and an attribute has one", [FROM_PROFILE], {"office": ("EMEA", "AMER")},
    ),
    "held: not in the list, nor does it fit the pattern": (
        'the person\'s office, "emea" cannot be its value: neither in `allow` nor does it fit the pattern'
        ' "[A-Z]{2}[0-9]+|.*[x].*"',
        [FROM_PROFILE], {"office": "emea"},
    ),
    "held: a part fits the pattern, and the whole does not": (
        'the person\'s office, "DE4 " cannot be its value: it begins or ends with a blank',
        [FROM_PROFILE], {"office": "DE4 "},
    ),
    "held: it begins as the pattern does, and goes on": (
        'the person\'s office, "DE4b" cannot be its value: neither in `allow` nor does it fit the pattern'
        ' "[A-Z]{2}[0-9]+|.*[x].*"',
        [FROM_PROFILE], {"office": "DE4b"},
    ),
    "held: it fits the pattern, and a filter would read more in it": (
        'the person\'s office, "x,y" cannot be its value: it holds a comma, which a filter does not take for text',
        [FROM_PROFILE], {"office": "x,y"},
    ),
    "held: two rules give different values": (
        'its rules give different values: "engineers" gives "EMEA", "b" gives "AMER"',
        [engineers("EMEA"), rule(Everyone(), region("AMER"), name="b")], {},
    ),
    "held: a rule gives one, and the person has another for the other rule": (
        'its rules give different values: "engineers" gives "EMEA", "b" gives "AMER"',
        [engineers("EMEA"), rule(Everyone(), region("$profile.office"), name="b")], {"office": "AMER"},
    ),
    "held: no number where it has to be one": (
        'the person\'s grade, "seven" cannot be its value: it is no number',
        [engineers("$profile.grade", "level")], {"grade": "seven"},
    ),
    "held: a filter expression that came from a profile": (
        'the person\'s grade, ">4" cannot be its value: it is no number',
        [engineers("$profile.grade", "filter")], {"grade": ">4"},
    ),
    "held: the attribute is of a type that nobody knows": (
        '"red" cannot be its value: Trueup does not know the type "colour" of this attribute',
        [engineers("red", "odd")], {},
    ),
    "held: a rule that may give it cannot be evaluated": (
        'rule "s" cannot be evaluated', [rule(SECRET, region("EMEA"), name="s")], {},
    ),
    "held: a rule that may give another value cannot be evaluated": (
        'rule "s" cannot be evaluated', [engineers("EMEA"), rule(SECRET, region("AMER"), name="s")], {},
    ),
    "given, though a rule that may give the same cannot be evaluated": (
        "EMEA", [engineers("EMEA"), rule(SECRET, region("EMEA"), name="s")], {},
    ),
    "held: nobody can read it back": (
        f'attribute "secret" of looker cannot be given: {CLOSED}', [engineers("EMEA", "secret")], {},
    ),
    "held: the target has no such attribute": ('looker has no attribute "regoin"', [engineers("EMEA", "regoin")], {}),
}  # fmt: skip


@pytest.mark.parametrize(("said", "rules", "profile"), OUTCOMES.values(), ids=OUTCOMES.keys())
def test_of_an_attribute_a_person_gets(said: str, rules: list[Rule], profile: dict[str, str]) -> None:
    assert outcome(*rules, who=person("g1", **profile)) == said


def test_rules_that_give_a_value_are_named() -> None:
    found = deserved(engineers("EMEA", name="a"), rule(Everyone(), region("EMEA"), name="b"))
    assert found.given == {"looker": {EMEA: ("a", "b")}}


def test_what_the_target_lacks_or_hides_is_one_finding_and_not_one_of_everybody() -> None:
    compiled = policy(engineers("EMEA", "secret"), engineers("AMER", "regoin"), engineers("EMEA", "regoin", name="c"))
    assert [u.sentence for u in compiled.suspended] == [
        'trueup.yaml:5: rule "engineers" names what it cannot give: attribute "secret" of looker cannot be given:'
        f" {CLOSED}; give another attribute, or change this one there",
        'trueup.yaml:5: rule "engineers" (so do "c") names what it cannot give: looker has no attribute "regoin";'
        ' did you mean "region"?',
    ]
    assert all(held.general for held in compiled.desired(person("g1"), TODAY).held["looker"])


def test_a_hold_that_is_the_persons_own_is_a_finding_about_them() -> None:
    (held,) = deserved(FROM_PROFILE).held["looker"]
    assert (held.general, held.attribute, held.rules) == (False, REGION, ("engineers",))


def test_an_attribute_that_is_not_the_one_it_was_is_not_set() -> None:
    renamed = Catalogue((CatalogueItem("attribute", "12", "Region"), CatalogueItem("attribute", "99", "region")))
    compiled = policy(engineers("EMEA"), catalogue=renamed, bound=["region"])
    found = compiled.desired(person("g1"), TODAY)
    assert not found.given
    assert found.frozen == {"looker": {REGION: "engineers"}}
    assert [(h.attribute, h.general) for h in found.held["looker"]] == [(REGION, True)]


def test_an_attribute_is_governed_whatever_its_values() -> None:
    compiled = policy(engineers("EMEA"), rule(PILOTS, region("AMER")), rule(PILOTS, region("$profile.office")))
    assert compiled.governed == {"looker": {REGION: "attribute region"}}


def test_a_rule_past_its_day_ends_the_attribute() -> None:
    over = rule(ENGINEERS, region("EMEA"), name="over", until=TODAY.replace(year=2020))
    assert deserved(over).expired == {"looker": {REGION: ("over", over.until)}}
    assert deserved(over, rule(Everyone(), region("AMER"))).expired == {}
    assert deserved(over, FROM_PROFILE).expired == {}, "held, and so not over"


def test_a_pull_is_told_which_attributes_values_come_from() -> None:
    assert attributes_asked([FROM_PROFILE, engineers("EMEA")]) == {"office"}


def test_people_who_are_alike_have_one_answer_about_values_too() -> None:
    compiled = policy(rule(NotOf(PILOTS), region("$profile.office")))
    first = compiled.desired(person("g1", office="EMEA", title="Lead"), TODAY)
    assert first == compiled.desired(person("g1", office="EMEA"), TODAY)
    assert first != compiled.desired(person("g1", office="AMER"), TODAY)
    assert compiled.evaluations == 1, "the rules are asked once, whatever the values"


DANGEROUS = (
    "a,b", "100%", "a_b", "^a", 'a"b', "a'b", "a`b", "a\\b", "a;b", "{{ a }}", "a}", "-a", "a-", "a--b", "a/*b",
    "NULL", "null", "not EMEA", "is Empty", "NOT NULL",
)  # fmt: skip
INVISIBLE = ("", " ", " a", "a ", "a\nb", "a\tb", "a\x00b", "a\u202eb", "a\u200bb", "a\u00a0b", "a\ufeffb")
PLAIN = ("EMEA", "DE4", "Nordrhein-Westfalen", "North America", "Zürich", "東京", "a.b/c@d:e", "Nullarbor", "knot")


@pytest.mark.parametrize("value", DANGEROUS)
def test_a_value_that_a_filter_reads_otherwise_is_only_taken_where_it_is_written(value: str) -> None:
    assert meant_otherwise(value)
    assert ValueRule(pattern=".*").admitted(value)[1]
    assert ValueRule((value,)).admitted(value) == (value, "")


@pytest.mark.parametrize("value", INVISIBLE)
def test_a_value_with_something_that_nobody_sees_is_never_taken(value: str) -> None:
    assert unfit(value)
    assert ValueRule((value,), "(?s:.*)").admitted(value)[1]


@pytest.mark.parametrize("value", PLAIN)
def test_a_plain_value_is_taken_as_it_is(value: str) -> None:
    assert ValueRule(pattern=".*").admitted(value) == (value, "")


TYPED = {
    "number": (("7", "7.5"), ("-7", "", "seven", "7,5", "1e3", "7 ", ">7", "٣")),
    "advanced_filter_number": (("7",), (">7", "[1,9]", "NOT 7")),
    "yesno": (("yes", "no"), ("true", "Yes", "y")),
    "zipcode": (("94103",), ("9410", "94103-1234", "SW1A")),
    "datetime": (("2026-06-01", "2026-06-01 08:30", "2026-06-01 08:30:00"), ("yesterday", "6/1/2026", "2026-06")),
    "string": (("EMEA",), ()),
    "advanced_filter_string": (("EMEA",), ("a,b", "%a%")),
}


@pytest.mark.parametrize("type", TYPED)
def test_a_value_fits_the_type_of_its_attribute_or_is_held(type: str) -> None:
    there = Catalogue((CatalogueItem("attribute", "13", "level", definition=Definition(type)),))
    fit, unfit_ = TYPED[type]
    for value in (*fit, *unfit_):
        found = policy(
            rule(ENGINEERS, region("$profile.grade", "level")), catalogue=there
        ).desired(person("g1", grade=value), TODAY)  # fmt: skip
        given_ = [e.scope for e in found.given.get("looker", {})]
        assert given_ == ([value] if value in fit else ["0"] if not value and type.endswith("number") else [])


texts = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from([*DANGEROUS, *INVISIBLE, *PLAIN, "AMER"])


@given(st.lists(texts | st.just("$profile.office"), max_size=4), texts)
def test_nobody_ever_gets_two_values_or_one_that_is_not_allowed(templates: list[str], office: str) -> None:
    rules = [rule(ENGINEERS, region(template), name=f"r{n}") for n, template in enumerate(templates)]
    found = deserved(*rules, who=person("g1", office=office))
    values = [e for e in found.given.get("looker", {}) if e.kind == "attribute"]
    assert len(values) <= 1
    assert not values or not found.held.get("looker")
    assert bool(values) or bool(found.held.get("looker")) is bool(templates)
    for one in values:
        assert RULES["region"].admitted(one.scope) == (one.scope, "")
        assert one.scope in ("EMEA", "AMER", "a_b%") or not meant_otherwise(one.scope)
