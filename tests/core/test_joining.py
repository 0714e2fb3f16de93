"""Identities of several sources become one person where that is beyond doubt, and a question where it is not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.joining import TOO_COMMON, Human, Join, Joining, Ref, Sighting, judge_identities

NUMBER, EMAIL, LOGIN = "employeeNumber", "email", "login"


def seen(ref: str, person: str = "", **keys: str) -> Sighting:
    """`seen("okta:1", employeeNumber="7")` is of a person of its own."""
    source, id = ref.split(":")
    return Sighting(source, id, person or ref, keys)


def gone(one: Sighting) -> Sighting:
    return replace(one, gone=True)


def vanished(one: Sighting) -> Sighting:
    return replace(one, gone=True, there=False)


def judged(
    *sightings: Sighting,
    trust: Sequence[str] = (NUMBER,),
    propose: Sequence[str] = (EMAIL,),
    linked: Mapping[str, Collection[str]] | None = None,
    apart: Collection[tuple[Ref, str]] = (),
    marked: Collection[str] = (),
) -> Joining:
    """People are as old as they stand here; by person: where they have accounts, and who is marked as departed."""
    order = dict.fromkeys(s.person_id for s in sightings)
    humans = {
        person: Human(person, f"{age:04}", frozenset((linked or {}).get(person, ())), person in marked)
        for age, person in enumerate(order)
    }
    return judge_identities(sightings, humans, apart, trust, propose)


ANA, ANA_TOO = seen("okta:1", employeeNumber="7"), seen("entra:1", employeeNumber="7")


def test_who_has_the_same_trusted_key_at_two_sources_is_one_person_the_older_one() -> None:
    assert judged(ANA, ANA_TOO) == Joining((Join("okta:1", "entra:1", NUMBER),))
    assert judged(ANA_TOO, ANA) == Joining((Join("entra:1", "okta:1", NUMBER),))


def test_who_is_at_three_sources_is_one_person() -> None:
    found = judged(ANA, ANA_TOO, seen("hr:1", employeeNumber="7"))
    assert found == Joining((Join("okta:1", "entra:1", NUMBER), Join("okta:1", "hr:1", NUMBER)))


def test_a_third_source_may_know_them_by_another_key() -> None:
    found = judged(
        seen("okta:1", employeeNumber="7", email="ana@x"), ANA_TOO, seen("hr:1", email="ana@x"), trust=(NUMBER, EMAIL)
    )
    assert found == Joining((Join("okta:1", "entra:1", NUMBER), Join("okta:1", "hr:1", EMAIL)))


def test_who_was_joined_before_is_joined_to_by_what_any_of_their_identities_has() -> None:
    found = judged(ANA, replace(ANA_TOO, person_id="okta:1"), seen("hr:1", employeeNumber="7"))
    assert found == Joining((Join("okta:1", "hr:1", NUMBER),))


def test_a_weaker_key_that_differs_is_no_contradiction() -> None:
    found = judged(
        seen("okta:1", employeeNumber="7", email="ana@old"),
        seen("entra:1", employeeNumber="7", email="ana@new"),
        trust=(NUMBER, EMAIL),
    )
    assert [j.key for j in found.joins] == [NUMBER]


STRANGERS: dict[str, tuple[Sighting, ...]] = {
    "nothing is the same": (ANA, seen("entra:1", employeeNumber="8")),
    "the key is empty": (seen("okta:1", employeeNumber=" "), seen("entra:1", employeeNumber=" ")),
    "the key is not there": (seen("okta:1"), seen("entra:1")),
    "one source knows both": (ANA, seen("okta:2", employeeNumber="7")),
    "one source knows both by an untrusted key": (seen("okta:1", email="a@x"), seen("okta:2", email="a@x")),
    "both have left": (gone(ANA), gone(ANA_TOO)),
    "one has left and the other vanished": (gone(ANA), vanished(ANA_TOO)),
    "one is a guest with the address of the other": (
        seen("okta:1", email="a@x"), replace(seen("entra:1", email="a@x"), guest=True),
    ),
    "they are one person already": (ANA, replace(ANA_TOO, person_id="okta:1")),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGERS)
def test_nothing_follows_when(case: str) -> None:
    assert judged(*STRANGERS[case]) == Joining()


def test_a_guest_joins_by_a_trusted_key_that_is_no_address() -> None:
    assert judged(ANA, replace(ANA_TOO, guest=True)).joins


def test_nor_does_a_trusted_address_join_a_guest() -> None:
    guest = replace(seen("entra:1", email="a@x", login="a@x"), guest=True)
    assert judged(seen("okta:1", email="a@x", login="a@x"), guest, trust=(LOGIN, EMAIL), propose=()) == Joining()


def test_a_guest_makes_nobody_elses_address_ambiguous() -> None:
    guest = replace(seen("entra:2", email="a@x"), guest=True)
    found = judged(seen("okta:1", email="a@x"), seen("entra:1", email="a@x"), guest, trust=(EMAIL,), propose=())
    assert found == Joining((Join("okta:1", "entra:1", EMAIL),))


@dataclass(frozen=True)
class Asked:
    """Who is asked about, and why."""

    sightings: tuple[Sighting, ...]
    reason: str
    people: tuple[str, ...] = ("okta:1", "entra:1")
    trust: tuple[str, ...] = (NUMBER,)
    linked: Mapping[str, Collection[str]] | None = None
    apart: tuple[tuple[Ref, str], ...] = ()
    marked: tuple[str, ...] = ()


CASES = {
    "only an untrusted key is the same": Asked(
        (seen("okta:1", email="a@x"), seen("entra:1", email="A@x")),
        "only their email is the same, which joins nobody by itself",
    ),
    "a trusted key only looks alike": Asked(
        (ANA, seen("entra:1", employeeNumber="７")), "their employeeNumber only looks alike"
    ),
    "two people of one source have it": Asked(
        (ANA, ANA_TOO, seen("entra:2", employeeNumber="7")),
        "2 people of entra have that employeeNumber", ("okta:1", "entra:1", "entra:2"),
    ),
    "two people of a third source have it": Asked(
        (ANA, ANA_TOO, seen("hr:1", employeeNumber="7"), seen("hr:2", employeeNumber="7")),
        "2 people of hr have that employeeNumber", ("okta:1", "entra:1", "hr:1", "hr:2"),
    ),
    "two trusted keys mean two people": Asked(
        (seen("okta:1", employeeNumber="7", email="a@x"), ANA_TOO, seen("entra:2", email="a@x")),
        "entra knows them as two", ("okta:1", "entra:1", "entra:2"), (NUMBER, EMAIL),
    ),
    "a stronger key differs": Asked(
        (seen("okta:1", employeeNumber="7", email="a@x"), seen("entra:1", employeeNumber="8", email="a@x")),
        "their employeeNumber is not the same", trust=(NUMBER, EMAIL),
    ),
    "the person has another identity at that source": Asked(
        (ANA, seen("entra:0", "okta:1"), ANA_TOO), "entra knows them as two"
    ),
    "one of them has left": Asked(
        (gone(ANA), ANA_TOO), "one of those who have that employeeNumber has left or is gone"
    ),
    "one of them vanished": Asked(
        (vanished(ANA), ANA_TOO), "one of those who have that employeeNumber has left or is gone"
    ),
    "one of them is marked as departed": Asked(
        (ANA, ANA_TOO), "one of those who have that employeeNumber has left or is gone", marked=("okta:1",)
    ),
    "a leaver of the same source had the number": Asked(
        (gone(ANA), seen("okta:2", employeeNumber="7")),
        "one of those who have that employeeNumber has left or is gone", ("okta:1", "okta:2"),
    ),
    "a leaver of the same source had the number of two who match": Asked(
        (gone(seen("entra:0", employeeNumber="7")), ANA, ANA_TOO),
        "one of those who have that employeeNumber has left or is gone", ("entra:0", "okta:1", "entra:1"),
    ),
    "a leaver of another source had the address": Asked(
        (gone(seen("okta:1", email="a@x")), seen("entra:1", email="a@x")),
        "only their email is the same, which joins nobody by itself",
    ),
    "both have an account in one target": Asked(
        (ANA, ANA_TOO), "both have an account in looker", linked={"okta:1": ["looker"], "entra:1": ["looker", "x"]}
    ),
    "a human has said of two of them that they are not one": Asked(
        (ANA, ANA_TOO, seen("hr:1", employeeNumber="7")),
        "a human has said of two of them that they are not one", ("okta:1", "entra:1", "hr:1"),
        apart=((("hr", "1"), "entra:1"),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_human_is_asked_when(case: str) -> None:
    asked = CASES[case]
    found = judged(
        *asked.sightings, trust=asked.trust, propose=(EMAIL,) if EMAIL not in asked.trust else (),
        linked=asked.linked, apart=asked.apart, marked=asked.marked,
    )  # fmt: skip
    assert not found.joins
    (dispute,) = found.disputes
    assert (dispute.reason, dispute.person_ids) == (asked.reason, asked.people)
    assert len(set(dispute.pair)) == 2


@pytest.mark.parametrize("ruled_out", [(("entra", "1"), "okta:1"), (("okta", "1"), "entra:1")])
def test_what_a_human_has_ruled_out_is_not_asked_again(ruled_out: tuple[Ref, str]) -> None:
    assert judged(ANA, ANA_TOO, apart=[ruled_out]) == Joining()


def test_accounts_in_different_targets_come_together() -> None:
    assert judged(ANA, ANA_TOO, linked={"okta:1": ["looker"], "entra:1": ["teamcity"]}).joins


def test_a_join_by_a_trusted_key_answers_what_an_untrusted_one_asks() -> None:
    found = judged(seen("okta:1", employeeNumber="7", email="a@x"), seen("entra:1", employeeNumber="7", email="a@x"))
    assert found == Joining((Join("okta:1", "entra:1", NUMBER),))


def test_who_is_joined_may_still_be_asked_about_with_a_third() -> None:
    found = judged(seen("okta:1", employeeNumber="7", email="a@x"), ANA_TOO, seen("hr:1", email="a@x"))
    assert found.joins == (Join("okta:1", "entra:1", NUMBER),)
    assert [d.person_ids for d in found.disputes] == [("okta:1", "hr:1")]


@pytest.mark.parametrize("trust", [(), (EMAIL,)])
@pytest.mark.parametrize("away", [gone, vanished])
def test_who_is_hired_again_is_asked_about_whatever_joins_people(
    trust: tuple[str, ...], away: Callable[[Sighting], Sighting]
) -> None:
    found = judged(away(ANA), seen("okta:2", employeeNumber="7"), trust=trust, propose=())
    assert [(d.person_ids, d.reason) for d in found.disputes] == [
        (("okta:1", "okta:2"), "one of those who have that employeeNumber has left or is gone")
    ]


@pytest.mark.parametrize("other", [seen("okta:2", employeeNumber="７"), seen("entra:2", employeeNumber="7")])
def test_a_number_that_nobody_trusts_says_nothing_of_another_source_nor_one_that_only_looks_alike(
    other: Sighting,
) -> None:
    assert judged(gone(ANA), other, trust=(), propose=()) == Joining()


def test_a_value_that_half_the_company_has_says_nothing() -> None:
    crowd = [seen(f"okta:{n}", employeeNumber="N/A") for n in range(TOO_COMMON + 1)]
    assert judged(*crowd, seen("entra:1", employeeNumber="n/a")) == Joining()
    assert judged(*crowd[1:], seen("entra:1", employeeNumber="n/a")).disputes


# --- laws ------------------------------------------------------------------------------------------------------------

SOURCES = ("okta", "entra", "hr")
VALUE = st.sampled_from(["", "7", "8", "９", "9"])
IDENTITY = st.builds(
    lambda source, number, email, state, guest: (source, number, email, state, guest),
    st.sampled_from(SOURCES), VALUE, VALUE, st.sampled_from(["there"] * 5 + ["left", "vanished"]),
    st.sampled_from([False] * 4 + [True]),
)  # fmt: skip
COMPANY = st.lists(IDENTITY, min_size=2, max_size=9).map(
    lambda rows: [
        Sighting(
            source, str(n), f"p{n}", {NUMBER: number, EMAIL: email},
            there=state != "vanished", gone=state != "there", guest=guest,
        )
        for n, (source, number, email, state, guest) in enumerate(rows)
    ]
)  # fmt: skip
ACCOUNTS = st.dictionaries(st.sampled_from([f"p{n}" for n in range(9)]), st.just(("looker",)), max_size=4)
TRUST = st.sampled_from([(NUMBER,), (NUMBER, EMAIL), (EMAIL, NUMBER)])


def merged(sightings: Iterable[Sighting], joins: Iterable[Join]) -> list[Sighting]:
    into = {join.person_id: join.into for join in joins}
    return [replace(s, person_id=into.get(s.person_id, s.person_id)) for s in sightings]


def together(sightings: Iterable[Sighting]) -> set[frozenset[Ref]]:
    """Who is one person with whom, whatever the people are called."""
    people: dict[str, set[Ref]] = {}
    for s in sightings:
        people.setdefault(s.person_id, set()).add(s.ref)
    return {frozenset(refs) for refs in people.values()}


def asked_about(sightings: Iterable[Sighting], found: Joining) -> set[frozenset[Ref]]:
    """Who is asked about with whom, by their identities."""
    return {
        frozenset(s.ref for s in merged(sightings, found.joins) if s.person_id in dispute.person_ids)
        for dispute in found.disputes
    }


@given(COMPANY.flatmap(lambda company: st.tuples(st.just(company), st.permutations(company))), ACCOUNTS, TRUST)
def test_whatever_order_the_sources_come_in_the_same_people_are_joined_and_asked_about(
    companies: tuple[list[Sighting], list[Sighting]], linked: dict[str, tuple[str, ...]], trust: tuple[str, ...]
) -> None:
    company, shuffled = companies
    one, other = (judged(*some, trust=trust, linked=linked) for some in (company, shuffled))
    assert together(merged(company, one.joins)) == together(merged(company, other.joins))
    assert asked_about(company, one) == asked_about(company, other)


@given(COMPANY, ACCOUNTS, TRUST)
def test_nobody_comes_to_have_two_identities_of_one_source(
    company: list[Sighting], linked: dict[str, tuple[str, ...]], trust: tuple[str, ...]
) -> None:
    after = merged(company, judged(*company, trust=trust, linked=linked).joins)
    current = [(s.person_id, s.source) for s in after if s.there]
    assert len(set(current)) == len(current)


@given(COMPANY, ACCOUNTS, TRUST)
def test_nobody_who_has_departed_or_vanished_is_ever_joined_by_itself(
    company: list[Sighting], linked: dict[str, tuple[str, ...]], trust: tuple[str, ...]
) -> None:
    joined = {p for j in judged(*company, trust=trust, linked=linked).joins for p in (j.into, j.person_id)}
    assert not {s.person_id for s in company if s.gone} & joined


@given(COMPANY, ACCOUNTS, TRUST)
def test_nobody_comes_to_have_two_accounts_in_a_target(
    company: list[Sighting], linked: dict[str, tuple[str, ...]], trust: tuple[str, ...]
) -> None:
    joins = judged(*company, trust=trust, linked=linked).joins
    into = {join.person_id: join.into for join in joins}
    owners = [into.get(person, person) for person in linked if person in {s.person_id for s in company}]
    assert len(set(owners)) == len(owners)


@given(COMPANY, ACCOUNTS, TRUST)
def test_what_is_ambiguous_joins_nobody(
    company: list[Sighting], linked: dict[str, tuple[str, ...]], trust: tuple[str, ...]
) -> None:
    """Whoever is joined shares a trusted value with somebody, and nobody else of either source has it."""
    for join in judged(*company, trust=trust, linked=linked).joins:
        (one,) = [s for s in company if s.person_id == join.person_id]
        value = one.keys[join.key]
        having = [s.source for s in company if s.keys[join.key] == value and not (s.guest and join.key == EMAIL)]
        assert value
        assert len(set(having)) == len(having) > 1


@given(COMPANY, ACCOUNTS, TRUST)
def test_joining_is_done_at_once_and_nothing_is_left_to_join(
    company: list[Sighting], linked: dict[str, tuple[str, ...]], trust: tuple[str, ...]
) -> None:
    first = judged(*company, trust=trust, linked=linked)
    into = {join.person_id: join.into for join in first.joins}
    accounts: dict[str, set[str]] = {}
    for person, targets in linked.items():
        accounts.setdefault(into.get(person, person), set()).update(targets)
    assert not judged(*merged(company, first.joins), trust=trust, linked=accounts).joins


@given(COMPANY, ACCOUNTS, TRUST)
def test_who_is_asked_about_is_not_joined_away(
    company: list[Sighting], linked: dict[str, tuple[str, ...]], trust: tuple[str, ...]
) -> None:
    found = judged(*company, trust=trust, linked=linked)
    assert not {p for d in found.disputes for p in d.person_ids} & {j.person_id for j in found.joins}
