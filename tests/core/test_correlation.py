"""Correlation: what links by itself, what a human is asked about, and the laws that hold for any company."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.correlation import Correlation, Dispute, Known, Tie, correlate, exact, loose

LOGIN, EMAIL = ("login",), ("email",)


def known(id: str, login: str = "", email: str = "", **more: Any) -> Known:
    return Known(id, {"login": login, "email": email}, **more)


ANA = known("ana", "ana@acme.example", "ana.ruiz@acme.example")
BEN = known("ben", "ben@acme.example", "ben.ott@acme.example")


def found(
    people: list[Known],
    accounts: list[Known],
    *ties: Tie,
    trusted: tuple[str, ...] = LOGIN,
    proposing: tuple[str, ...] = EMAIL,
) -> Correlation:
    return correlate(people, accounts, ties, trusted, proposing)


# --- one account, one person ----------------------------------------------------------------------------------------

SPELLINGS = {
    "the same": ("ana@acme.example", "ana@acme.example", "linked"),
    "in other capitals": ("ana@acme.example", "Ana@Acme.example", "linked"),
    "with blanks around": ("ana@acme.example", " ana@acme.example\t", "linked"),
    "composed against combining marks": ("zo\u00eb@acme.example", "zoe\u0308@acme.example", "linked"),
    "combining marks and capitals": ("zo\u00eb@acme.example", "ZOE\u0308@acme.example", "linked"),
    "sharp s against ss": ("wei\u00df@acme.example", "weiss@acme.example", "looks alike"),
    "full-width against plain": ("\uff41na@acme.example", "ana@acme.example", "looks alike"),
    "ligature against letters": ("\ufb01ona@acme.example", "fiona@acme.example", "looks alike"),
    "accent against none": ("ren\u00e9@acme.example", "rene@acme.example", "looks alike"),
    "dotless i against i": ("\u0131an@acme.example", "ian@acme.example", "looks alike"),
    "final sigma against sigma": ("\u03bf\u03c3@acme.example", "\u03bf\u03c2@acme.example", "looks alike"),
    "somebody else": ("ana@acme.example", "bea@acme.example", "orphan"),
    "a Cyrillic letter": ("ana@acme.example", "\u0430na@acme.example", "orphan"),
    "nothing against nothing": ("", "", "orphan"),
    "blanks against blanks": ("  ", " ", "orphan"),
    "only a combining mark on both sides": ("\u0301", "\u0308", "orphan"),
}


@pytest.mark.parametrize(("person", "account", "verdict"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_spelling(person: str, account: str, verdict: str) -> None:
    answer = found([known("p", person)], [known("1", account)])
    if verdict == "linked":
        assert answer == Correlation(new_ties=(Tie("1", "p", key="login"),))
    elif verdict == "orphan":
        assert answer == Correlation(orphans=("1",))
    else:
        assert answer.disputes == (Dispute("1", ("p",), "its login only looks alike"),)
        assert not answer.new_ties


@dataclass(frozen=True)
class Case:
    """People, accounts and ties on one side; the words of the dispute about account 1 and its candidates."""

    people: tuple[Known, ...]
    accounts: tuple[Known, ...]
    reason: str
    candidates: tuple[str, ...]
    ties: tuple[Tie, ...] = ()
    trusted: tuple[str, ...] = LOGIN
    urgent: bool = False


LEAVER = replace(ANA, departed=True)
DISPUTED = {
    "two people have its login": Case(
        (ANA, known("twin", "ANA@acme.example")),
        (known("1", "ana@acme.example"),),
        "its login matches 2 people", ("ana", "twin"),
    ),
    "its two trusted keys are of two people": Case(
        (ANA, BEN),
        (known("1", "ana@acme.example", "ben.ott@acme.example"),),
        "its login and email match 2 people", ("ana", "ben"), trusted=("login", "email"),
    ),
    "another account has the same login": Case(
        (ANA,),
        (known("1", "ana@acme.example"), known("2", "Ana@acme.example")),
        "2 accounts have the login of one person", ("ana",),
    ),
    "another account is the same person's by the other trusted key": Case(
        (ANA,),
        (known("1", "ana@acme.example"), known("2", "x@acme.example", "ana.ruiz@acme.example")),
        "2 accounts have the login or email of one person", ("ana",), trusted=("login", "email"),
    ),
    "somebody else's account has the same login": Case(
        (ANA, BEN),
        (known("1", "ana@acme.example"), known("2", "Ana@acme.example")),
        "2 accounts have the login of one person", ("ana",), ties=(Tie("2", "ben"),),
    ),
    "its person has an account already": Case(
        (ANA,),
        (known("1", "ana@acme.example"), known("2", "other@acme.example")),
        "the person with its login already has another account", ("ana",), ties=(Tie("2", "ana"),),
    ),
    "its person's other account is a secondary one": Case(
        (ANA,),
        (known("1", "ana@acme.example"), known("2", "other@acme.example")),
        "the person with its login already has another account", ("ana",), ties=(Tie("2", "ana", primary=False),),
    ),
    "it holds privileged entitlements": Case(
        (ANA,),
        (known("1", "ana@acme.example", privileged=True),),
        "it holds privileged entitlements, so its first link needs a human", ("ana",),
    ),
    "only its untrusted e-mail matches": Case(
        (ANA,),
        (known("1", "elsewhere", "Ana.Ruiz@acme.example"),),
        "only its email matches, which is not trusted to link by itself", ("ana",),
    ),
    "it was taken from one person and has another's login": Case(
        (ANA, BEN),
        (known("1", "ana@acme.example"),),
        "it was unlinked by hand, and its login matches somebody else", ("ana",), ties=(Tie("1", "ben", linked=False),),
    ),
    "it was taken from one person and has another's e-mail": Case(
        (ANA, BEN),
        (known("1", "ben@acme.example", "ana.ruiz@acme.example"),),
        "only its email matches, which is not trusted to link by itself", ("ana",),
        ties=(Tie("1", "ben", linked=False),),
    ),
    "one of the people it may be has departed": Case(
        (LEAVER, known("twin", "ana@acme.example")),
        (known("1", "ana@acme.example"),),
        "its login matches 2 people", ("ana", "twin"), urgent=True,
    ),
    "a departed administrator's first link": Case(
        (LEAVER,),
        (known("1", "ana@acme.example", privileged=True),),
        "it holds privileged entitlements, so its first link needs a human", ("ana",), urgent=True,
    ),
    "a look-alike of somebody who has departed": Case(
        (known("p", "wei\u00df@acme.example", departed=True),),
        (known("1", "weiss@acme.example"),),
        "its login only looks alike", ("p",), urgent=True,
    ),
}  # fmt: skip


DISPUTED["only a guest has its login"] = Case(
    (replace(ANA, guest=True),),
    (known("1", "ana@acme.example"),),
    "only a guest has its login, which they bring from elsewhere", ("ana",),
)  # fmt: skip


@pytest.mark.parametrize("case", DISPUTED.values(), ids=DISPUTED.keys())
def test_a_human_is_asked_when(case: Case) -> None:
    answer = found(list(case.people), list(case.accounts), *case.ties, trusted=case.trusted)
    assert Dispute("1", case.candidates, case.reason, case.urgent) in answer.disputes
    assert answer.new_ties == ()


def test_a_departed_person_is_linked_like_anybody_so_that_the_account_can_be_closed() -> None:
    assert found([LEAVER], [known("1", "ana@acme.example")]).new_ties == (Tie("1", "ana", key="login"),)


def test_a_guest_with_somebodys_address_is_nobodys_rival() -> None:
    guest = replace(known("guest", "ana@acme.example", "ana.ruiz@acme.example"), guest=True)
    answer = found([ANA, guest], [known("1", "ana@acme.example")])
    assert answer == Correlation(new_ties=(Tie("1", "ana", key="login"),))


def test_an_account_that_may_be_a_leavers_is_nobodys_because_the_leaver_is_forgotten() -> None:
    new, account = known("new", "ana@acme.example"), known("1", "ana@acme.example")
    assert correlate([LEAVER, new], [account], (), LOGIN, ()).disputes[0].urgent
    later = correlate([new], [account], (), LOGIN, (), leavers={"1"})
    reason = "its login matches, and it may be that of somebody who has departed"
    assert (later.new_ties, later.disputes) == ((), (Dispute("1", ("new",), reason, urgent=True),))
    assert correlate([LEAVER], [account], (), LOGIN, (), leavers={"1"}).new_ties, "the leaver may still be linked"


TAKEN = {
    "whoever was given a leaver's name": (known("new", "ana@acme.example"), ("new",)),
    "nobody who has left as well": (known("new", "ana@acme.example", departed=True), ()),
    "no guest": (known("new", "ana@acme.example", guest=True), ()),
    "nobody of another name": (BEN, ()),
}


@pytest.mark.parametrize(("person", "disputed"), TAKEN.values(), ids=TAKEN.keys())
def test_the_name_of_an_account_that_is_somebody_elses_holds_back(person: Known, disputed: tuple[str, ...]) -> None:
    answer = found([LEAVER, person], [known("1", "Ana@acme.example")], Tie("1", "ana"))
    assert answer.disputed_people == frozenset(disputed)
    assert [(d.account_id, d.person_ids) for d in answer.taken] == ([("1", disputed)] if disputed else [])
    assert (answer.new_ties, answer.disputes, answer.orphans) == ((), (), ())


def test_whoever_has_an_account_is_not_held_back_by_another_of_the_same_name() -> None:
    accounts = [known("1", "ana@acme.example"), known("2", "ben@acme.example")]
    ben = known("ben", "ana@acme.example")
    assert found([ANA, ben], accounts, Tie("1", "ana"), Tie("2", "ben")) == Correlation()


def test_an_account_unlinked_by_hand_is_an_orphan_and_not_proposed_to_the_same_person_again() -> None:
    account = known("1", "ana@acme.example", "ana.ruiz@acme.example")
    tombstone = Tie("1", "ana", linked=False)
    assert found([ANA], [account], tombstone) == Correlation(orphans=("1",))
    assert found([ANA], [replace(account, keys={"email": "ana.ruiz@acme.example"})], tombstone).orphans == ("1",)
    assert found([ANA], [known("1", "\uff41na@acme.example")], tombstone).orphans == ("1",)


def test_a_linked_account_is_no_orphan_whatever_it_is_called_now() -> None:
    assert found([ANA], [known("1", "quite-different")], Tie("1", "ana")) == Correlation()


def test_a_person_whose_linked_account_is_gone_is_disputed_like_anybody_else() -> None:
    """Or else a second account would be made beside the one that a human is being asked about."""
    answer = found([ANA], [known("2", "ana@acme.example", privileged=True)], Tie("1", "ana"))
    assert [d.account_id for d in answer.disputes] == ["2"]
    assert answer.disputed_people == {"ana"}


OUT = known("ana", "ana@acme.example", departed=True, out=frozenset({"1"}))
OLD, NEW = known("1", "ana@acme.example"), known("2", "ana@acme.example")


def test_an_account_that_is_made_for_a_leaver_who_was_out_is_theirs_too_so_that_it_can_be_closed() -> None:
    assert found([OUT], [OLD, NEW], Tie("1", "ana")).new_ties == (Tie("2", "ana", primary=False, key="login"),)
    assert found([OUT], [NEW], Tie("1", "ana")).new_ties == (Tie("2", "ana", key="login"),)


@pytest.mark.parametrize(
    ("people", "accounts", "ties"),
    [
        ([replace(OUT, out=frozenset({"1", "2"}))], [OLD, NEW], ["ana"]),
        ([replace(OUT, out=None)], [OLD, NEW], ["ana"]),
        ([OUT, known("new ana", "ana@acme.example")], [OLD, NEW], ["ana"]),
        ([OUT], [OLD, replace(NEW, privileged=True)], ["ana"]),
        ([OUT, BEN], [OLD, NEW, known("3", "ana@acme.example")], ["ana", "", "ben"]),
    ],
    ids=["was there", "was not out", "may be their successor's", "has power", "has a rival that is somebody else's"],
)
def test_it_is_a_humans_where_it(people: list[Known], accounts: list[Known], ties: list[str]) -> None:
    linked = [Tie(account.id, who) for account, who in zip(accounts, ties, strict=False) if who]
    answer = found(people, accounts, *linked)
    assert [dispute.account_id for dispute in answer.disputes] == ["2"]
    assert answer.new_ties == ()


def test_an_account_that_was_deleted_and_made_anew_is_linked_like_a_first_one() -> None:
    """What is left of the old one is a link to nothing, which keeps nobody from having an account."""
    answer = found([ANA], [known("2", "ana@acme.example")], Tie("1", "ana"))
    assert answer.new_ties == (Tie("2", "ana", key="login"),)


# --- laws ------------------------------------------------------------------------------------------------------------

VALUES = st.sampled_from(["", "ana", "Ana", "\uff41na", "zo\u00eb", "zoe\u0308", "zoe", "ben", "cem", "dot"])
PEOPLE = ["p0", "p1", "p2"]
ACCOUNTS = ["a0", "a1", "a2"]
KEYS = ["login", "email", "name"]


@dataclass(frozen=True)
class Company:
    people: tuple[Known, ...]
    accounts: tuple[Known, ...]
    ties: tuple[Tie, ...]
    trusted: tuple[str, ...]
    proposing: tuple[str, ...]

    def correlated(self, *more: Tie) -> Correlation:
        return correlate(self.people, self.accounts, (*self.ties, *more), self.trusted, self.proposing)


@st.composite
def companies(draw: st.DrawFn) -> Company:
    keys = st.fixed_dictionaries(dict.fromkeys(KEYS, VALUES))
    people = [Known(id, draw(keys), departed=draw(st.booleans()), guest=draw(st.integers(0, 3)) == 0) for id in PEOPLE]
    accounts = [Known(id, draw(keys), privileged=draw(st.integers(0, 4)) == 0) for id in ACCOUNTS]
    ties = draw(st.dictionaries(st.sampled_from([*ACCOUNTS, "gone"]), st.sampled_from(PEOPLE), max_size=2))
    recorded = [Tie(account, person, linked=draw(st.booleans())) for account, person in ties.items()]
    trusted = draw(st.sampled_from([("login",), ("email",), ("login", "email")]))
    proposing = draw(st.sampled_from([(), ("email",), ("email", "name")]))
    return Company(tuple(people), tuple(accounts), tuple(recorded), trusted, proposing)


@given(companies())
def test_it_never_ties_one_account_to_two_people_nor_one_person_to_two_accounts(company: Company) -> None:
    new, there = company.correlated().new_ties, {account.id for account in company.accounts}
    linked = [tie for tie in company.ties if tie.linked and tie.account_id in there]  # whose account is gone has none
    assert len({tie.account_id for tie in (*new, *company.ties)}) == len(new) + len(company.ties)
    assert all(times == 1 for times in Counter(tie.person_id for tie in new).values())
    assert not {tie.person_id for tie in new} & {tie.person_id for tie in linked}


@given(companies())
def test_every_account_that_is_not_linked_is_exactly_one_of_tied_disputed_or_orphan(company: Company) -> None:
    answer = company.correlated()
    told = [*(t.account_id for t in answer.new_ties), *(d.account_id for d in answer.disputes), *answer.orphans]
    linked = {tie.account_id for tie in company.ties if tie.linked}
    assert sorted(told) == sorted({account.id for account in company.accounts} - linked)


@given(companies(), st.permutations(range(3)))
def test_the_order_in_which_things_are_read_decides_nothing(company: Company, order: list[int]) -> None:
    def told(answer: Correlation) -> object:
        disputes = {(d.account_id, frozenset(d.person_ids), d.reason, d.urgent) for d in answer.disputes}
        return set(answer.new_ties), disputes, set(answer.orphans), answer.disputed_people

    other = replace(
        company,
        people=tuple(company.people[n] for n in order),
        accounts=tuple(company.accounts[n] for n in reversed(order)),
        ties=company.ties[::-1],
    )
    assert told(other.correlated()) == told(company.correlated())


@given(companies())
def test_what_links_by_itself_is_ordinary_and_equal_under_a_trusted_key(company: Company) -> None:
    people = {person.id: person for person in company.people}
    accounts = {account.id: account for account in company.accounts}
    for tie in company.correlated().new_ties:
        assert tie.key in company.trusted
        value = accounts[tie.account_id].keys[tie.key]
        composed = unicodedata.normalize("NFC", value.strip()).lower()
        assert composed == unicodedata.normalize("NFC", people[tie.person_id].keys[tie.key].strip()).lower() != ""
        assert not accounts[tie.account_id].privileged


@given(companies())
def test_a_tombstone_is_never_tied_again_nor_disputed_with_the_same_person(company: Company) -> None:
    answer = company.correlated()
    buried = {tie.account_id: tie.person_id for tie in company.ties if not tie.linked}
    assert not {tie.account_id for tie in answer.new_ties} & set(buried)
    assert all(buried.get(dispute.account_id) not in dispute.person_ids for dispute in answer.disputes)


@given(companies())
def test_a_dispute_is_urgent_exactly_when_one_of_its_people_has_departed(company: Company) -> None:
    departed = {person.id for person in company.people if person.departed}
    for dispute in company.correlated().disputes:
        assert dispute.person_ids
        assert dispute.urgent == bool(departed & set(dispute.person_ids))


@given(companies())
def test_whoever_is_in_a_dispute_is_disputed(company: Company) -> None:
    answer = company.correlated()
    disputes = (*answer.disputes, *answer.taken)
    assert answer.disputed_people == {person for dispute in disputes for person in dispute.person_ids}


@given(companies())
def test_no_guest_is_tied_by_a_key_nor_stands_in_anybodys_way(company: Company) -> None:
    guests = {person.id for person in company.people if person.guest}
    answer = company.correlated()
    assert not {tie.person_id for tie in answer.new_ties} & guests
    assert all({*dispute.person_ids} <= guests or not guests & {*dispute.person_ids} for dispute in answer.disputes)


@given(companies())
def test_nobody_gets_an_account_beside_one_of_their_name(company: Company) -> None:
    answer = company.correlated()
    linked = {tie.account_id: tie.person_id for tie in company.ties if tie.linked}
    owners = {linked[account.id] for account in company.accounts if account.id in linked}
    for person in company.people:
        theirs = {
            account.id for account in company.accounts for key in company.trusted
            if exact(account.keys[key]) == exact(person.keys[key]) != ""
            and linked.get(account.id, person.id) != person.id
        }  # fmt: skip
        if theirs and person.id not in owners and not person.departed and not person.guest:
            assert person.id in answer.disputed_people


@given(companies())
def test_asked_again_with_its_answer_recorded_it_ties_nothing_more(company: Company) -> None:
    first = company.correlated()
    second = company.correlated(*first.new_ties)
    assert second.new_ties == ()
    assert {d.account_id for d in second.disputes} == {d.account_id for d in first.disputes}
    assert second.orphans == first.orphans


@given(st.text(), st.text())
def test_what_is_exactly_equal_looks_alike_too(one: str, other: str) -> None:
    assert exact(one) != exact(other) or loose(one) == loose(other)


@given(st.text())
def test_an_exact_form_does_not_depend_on_how_marks_are_composed_nor_on_being_exact_already(value: str) -> None:
    assert exact(unicodedata.normalize("NFD", value)) == exact(value)
    assert exact(exact(value)) == exact(value)
    assert loose(exact(value)) == loose(value)
