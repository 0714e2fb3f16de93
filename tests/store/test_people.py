"""A person is one human over the identities that the sources know, and in doubt nothing is taken from them."""

from __future__ import annotations

import datetime as dt
import tracemalloc
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pytest

from tests.store.test_mirror import NOW, observed, pulled, someone
from worker.core.identity import Account, Entitlement, Person, Standing
from worker.ports import SourcePage, TargetPage
from worker.store import mirror
from worker.store.session import Store
from worker.store.tables import PersonIdentity, PersonRow

ACTIVE, SUSPENDED, PENDING, HOLD, DEPARTED = Standing
GONE = None  # the last read did not bring this identity
ANA, BO = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


def known(store: Store, who: Mapping[str, Iterable[tuple[str, str]]], marked: frozenset[str] = frozenset()) -> None:
    """People by id, with the (source, identity id) of each."""
    with store.begin() as session:
        session.add_all(
            PersonRow(id=uuid.UUID(person), created_at=NOW, departure_marked_at=NOW if person in marked else None)
            for person in who
        )
        session.flush()
        session.add_all(
            PersonIdentity(source=source, identity_id=id, person_id=uuid.UUID(person), since=NOW)
            for person, identities in who.items()
            for source, id in identities
        )


def people(store: Store, sources: Sequence[str] = ("okta", "entra"), authority: str | None = None) -> list[Person]:
    """Everybody; and each of them, asked for alone, must be the same."""
    with store.begin() as session:
        everybody = list(mirror.people(session, sources, authority))
        assert [mirror.person(session, p.id, sources, authority) for p in everybody] == everybody
    return everybody


def test_people_come_by_id_with_their_identities_and_groups(store: Store) -> None:
    ana, bo = someone("u1", firstName="Ana"), someone("u2")
    pulled(store, SourcePage((ana, bo), (), (("g1", "u1"), ("g2", "u1"))))
    known(store, {BO: [("okta", "u2")], ANA: [("okta", "u1")]})
    assert people(store) == [
        Person(ANA, ACTIVE, (ana,), frozenset({("okta", "g1"), ("okta", "g2")})),
        Person(BO, ACTIVE, (bo,)),
    ]


def test_a_person_of_two_sources_has_the_groups_of_both_and_the_first_source_goes_before(store: Store) -> None:
    pulled(store, SourcePage((someone("u1", title="Engineer"),), (), (("g1", "u1"),)))
    pulled(
        store, SourcePage((someone("e1", "entra", title="Boss", city="Porto"),), (), (("g1", "e1"),)), source="entra"
    )
    known(store, {ANA: [("okta", "u1"), ("entra", "e1")]})
    (person,) = people(store, ["okta", "entra"])
    assert person.groups == {("okta", "g1"), ("entra", "g1")}
    assert (person.text("title"), person.text("city")) == ("Engineer", "Porto")
    (other_way_round,) = people(store, ["entra", "okta"])
    assert other_way_round.text("title") == "Boss"


def test_whoever_is_in_a_group_is_in_those_that_it_is_in(store: Store) -> None:
    edges = (("staff", "engineers"), ("engineers", "backend"), ("backend", "engineers"))
    people_ = (someone("u1"), someone("u2"), someone("u3"))
    pulled(store, SourcePage(people_, (), (("backend", "u1"), ("staff", "u2")), edges))
    pulled(store, SourcePage((someone("u3", "entra"),), (), (("backend", "u3"),)), source="entra")
    known(store, {ANA: [("okta", "u1"), ("entra", "u3")], BO: [("okta", "u2")]})
    assert [person.groups for person in people(store)] == [
        {("okta", "staff"), ("okta", "engineers"), ("okta", "backend"), ("entra", "backend")},
        {("okta", "staff")},
    ]


def test_only_current_memberships_and_identities_count(store: Store) -> None:
    pulled(store, SourcePage((someone("u1", title="Old"),), (), (("g1", "u1"),)))
    pulled(store, SourcePage((someone("u1", title="New"),), (), (("g2", "u1"),)), at=NOW + dt.timedelta(hours=1))
    known(store, {ANA: [("okta", "u1")]})
    (person,) = people(store)
    assert (person.text("title"), person.groups) == ("New", frozenset({("okta", "g2")}))


def test_a_departure_mark_is_shown(store: Store) -> None:
    pulled(store, SourcePage((someone("u1"), someone("u2"))))
    known(store, {ANA: [("okta", "u1")], BO: [("okta", "u2")]}, marked=frozenset({BO}))
    assert [(p.id, p.departure_marked) for p in people(store)] == [(ANA, False), (BO, True)]


def test_who_has_no_identity_at_these_sources_is_not_among_them(store: Store) -> None:
    known(store, {ANA: [("okta", "u1")], BO: []})
    assert people(store, ["entra"]) == []
    with store.begin() as session:
        assert mirror.person(session, BO, ["okta"]) is None
        assert mirror.person(session, str(uuid.uuid4()), ["okta"]) is None


STANDINGS: dict[str, tuple[Standing | None, Standing | None, str | None, Standing]] = {
    # (okta says, entra says, the authority, so the person is)
    "both sources agree": (ACTIVE, ACTIVE, None, ACTIVE),
    "both sources call them departed": (DEPARTED, DEPARTED, None, DEPARTED),
    "the sources disagree and none decides": (ACTIVE, DEPARTED, None, HOLD),
    "the authority calls them departed and the other active": (DEPARTED, ACTIVE, "okta", DEPARTED),
    "the authority calls them departed and the other cannot say": (DEPARTED, HOLD, "okta", DEPARTED),
    "the authority calls them departed and the other has lost them": (DEPARTED, GONE, "okta", DEPARTED),
    "the authority calls them active and the other departed": (ACTIVE, DEPARTED, "okta", ACTIVE),
    "the authority calls them suspended and the other active": (SUSPENDED, ACTIVE, "okta", SUSPENDED),
    "the authority calls them pending and the other active": (PENDING, ACTIVE, "okta", PENDING),
    "the authority cannot say": (HOLD, ACTIVE, "okta", HOLD),
    "the other cannot say": (ACTIVE, HOLD, "okta", HOLD),
    "the authority has lost them": (GONE, ACTIVE, "okta", HOLD),
    "the authority has lost them and the other calls them departed": (GONE, DEPARTED, "okta", HOLD),
    "the other has lost them": (ACTIVE, GONE, "okta", ACTIVE),
    "both have lost them": (GONE, GONE, "okta", HOLD),
}


@pytest.mark.parametrize("case", STANDINGS)
def test_what_several_sources_together_say_when(store: Store, case: str) -> None:
    okta, entra, authority, expected = STANDINGS[case]
    for source, standing in (("okta", okta), ("entra", entra)):
        pulled(store, SourcePage([someone("u1", source, standing)] if standing else []), source=source)
    known(store, {ANA: [("okta", "u1"), ("entra", "u1")]})
    (person,) = people(store, authority=authority)
    assert person.standing is expected
    assert len(person.identities) == (okta is not None) + (entra is not None)


def test_a_source_alone_decides_even_when_another_is_the_authority(store: Store) -> None:
    pulled(store, SourcePage((someone("e1", "entra", DEPARTED),)), source="entra")
    known(store, {ANA: [("entra", "e1")]})
    assert [p.standing for p in people(store, authority="okta")] == [DEPARTED]


def test_two_identities_of_the_authority_that_disagree_hold(store: Store) -> None:
    pulled(store, SourcePage((someone("u1"), someone("u2", standing=SUSPENDED))))
    known(store, {ANA: [("okta", "u1"), ("okta", "u2")]})
    assert [p.standing for p in people(store, authority="okta")] == [HOLD]


def test_who_was_hired_again_and_joined_by_hand_is_who_they_are_now(store: Store) -> None:
    old, new = someone("u1", standing=DEPARTED, title="Old", city="Bonn"), someone("u2", title="New")
    pulled(store, SourcePage((old, new), (), (("g1", "u1"), ("g2", "u2"))))
    known(store, {ANA: [("okta", "u1"), ("okta", "u2")]})
    (person,) = people(store, authority="okta")
    assert (person.standing, person.text("title"), person.text("city")) == (ACTIVE, "New", "")
    assert (person.groups, person.disagreements) == ({("okta", "g2")}, ())


def test_what_a_source_knows_of_somebody_who_has_left_it_gives_nothing_to_who_is_elsewhere(store: Store) -> None:
    pulled(store, SourcePage((someone("u1", title="Engineer"),), (), (("g1", "u1"),)))
    pulled(
        store, SourcePage((someone("e1", "entra", DEPARTED, title="Boss", city="Porto"),), (), (("g1", "e1"),)),
        source="entra",
    )  # fmt: skip
    known(store, {ANA: [("entra", "e1"), ("okta", "u1")]})
    (person,) = people(store, ["entra", "okta"], authority="okta")
    assert (person.text("title"), person.text("city"), person.groups) == ("Engineer", "", {("okta", "g1")})
    assert person.disagreements == ("entra says departed, okta (the authority) says active",)


def test_who_is_missing_where_another_source_has_them_is_unsure_and_not_held(store: Store) -> None:
    pulled(store, SourcePage((someone("u1"),)))
    pulled(store, SourcePage(()), source="entra")
    known(store, {ANA: [("okta", "u1"), ("entra", "e1")]})
    (person,) = people(store, authority="okta")
    assert (person.standing, person.unsure) == (ACTIVE, "entra no longer has them")


def test_what_joined_two_identities_and_is_no_longer_the_same_is_said_and_they_stay_joined(store: Store) -> None:
    pulled(store, SourcePage((someone("u1", employeeNumber="7"),)))
    pulled(store, SourcePage((someone("e1", "entra", employeeNumber="8"),)), source="entra")
    known(store, {ANA: [("okta", "u1"), ("entra", "e1")]})
    with store.begin() as session:
        row = session.get_one(PersonIdentity, ("entra", "e1"))
        row.key_used = "employeeNumber"
    (person,) = people(store, authority="okta")
    assert person.disagreements == ("entra e1 was joined by its employeeNumber, which is no longer the same elsewhere",)


# --- many ------------------------------------------------------------------------------------------------------------

MANY = 6000


def crowd() -> Iterator[SourcePage]:
    for start in range(0, MANY, 500):
        ids = [f"u{n:05d}" for n in range(start, start + 500)]
        memberships = [(f"g{(n + k) % 40}", id) for n, id in enumerate(ids) for k in range(10)]
        yield SourcePage([someone(id, firstName="Ana", lastName=id, department="Data") for id in ids], (), memberships)


def test_a_crowd_streams_through_a_little_memory_beside_other_work(store: Store) -> None:
    pulled(store, *crowd())
    known(store, {str(uuid.UUID(int=n + 1)): [("okta", f"u{n:05d}")] for n in range(MANY)})
    holdings = [(str(n), Entitlement("role", str(k))) for n in range(MANY) for k in range(10)]
    observed(store, TargetPage([Account(str(n), "x", "", True) for n in range(MANY)], holdings))
    with store.begin() as session:
        tracemalloc.start()
        count = 0
        for person, account in zip(mirror.people(session, ["okta"]), mirror.accounts(session, "looker"), strict=True):
            count += len(person.groups) + len(account.entitlements)
            if count % 20_000 == 0:
                assert mirror.identity(session, "okta", "u00001") is not None  # on the same connection, in between
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count == MANY * 20
    assert peak < 8_000_000  # all rows at once are more than twenty


def test_reading_a_crowd_again_compares_sets_and_not_each_row_with_each(store: Store) -> None:
    pulled(store, *crowd())
    with store.begin() as session:
        session.connection().exec_driver_sql("SET LOCAL statement_timeout = '3s'")
        read = mirror.start_snapshot(session, "okta", NOW)
        for page in crowd():
            mirror.stage_source(session, read, "okta", page)
        assert mirror.merge_source(session, read, NOW) == mirror.Merged(0, 0)
