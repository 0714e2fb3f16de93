"""The books find whoever may be one person among very many, and make one of two without losing anything."""

from __future__ import annotations

import datetime as dt
import tracemalloc
import uuid

import pytest
from sqlalchemy import text

from tests.store.test_mirror import NOW, pulled, someone
from worker.core.correlation import Tie
from worker.core.identity import Standing
from worker.core.joining import Join, judge_identities
from worker.ports import SourcePage
from worker.store import joining, people
from worker.store.session import Store

NUMBER, SOURCES = "employeeNumber", ["okta", "entra"]


def read(store: Store, source: str, *pages: SourcePage) -> None:
    pulled(store, *pages, source=source)
    with store.begin() as session:
        people.ensure_people(session, source, NOW)


def one(source: str, **attributes: str) -> SourcePage:
    return SourcePage((someone("1", source, **attributes),))


def found(store: Store, keys: tuple[str, ...] = (NUMBER,)) -> set[tuple[str, str]]:
    with store.begin() as session:
        return {s.ref for s in joining.candidates(session, SOURCES, "okta", keys).sightings}


@pytest.mark.parametrize(
    ("here", "there", "alike"),
    [
        pytest.param("7", "7", True, id="the same"),
        pytest.param("A7", "a7 ", True, id="capitals and blanks"),
        pytest.param("a7\t", "\x0ba7", True, id="other blanks"),
        pytest.param("vov", "ov", False, id="letters at the ends are no blanks"),
        pytest.param("７", "7", True, id="full-width and plain"),
        pytest.param("zoë", "zoe", True, id="accents"),
        pytest.param("Straße", "STRASSE", True, id="folded case"),
        pytest.param("7", "8", False, id="different"),
        pytest.param("", "", False, id="nothing"),
        pytest.param(" ", " ", False, id="blanks only"),
    ],
)
def test_candidates_are_whoever_the_core_would_call_alike(store: Store, here: str, there: str, alike: bool) -> None:
    read(store, "okta", one("okta", employeeNumber=here))
    read(store, "entra", one("entra", employeeNumber=there))
    assert found(store) == ({("okta", "1"), ("entra", "1")} if alike else set())


def test_who_vanished_and_whom_a_former_source_knew_are_candidates_that_are_gone(store: Store) -> None:
    read(store, "okta", one("okta", employeeNumber="7"))
    pulled(store, SourcePage(), at=NOW + dt.timedelta(hours=1))
    read(store, "ldap", one("ldap", employeeNumber="7"))
    read(store, "entra", one("entra", employeeNumber="7"))
    with store.begin() as session:
        sightings = joining.candidates(session, SOURCES, "okta", (NUMBER,)).sightings
    assert {s.source: (s.there, s.gone) for s in sightings} == {
        "okta": (False, True), "ldap": (False, True), "entra": (True, False),
    }  # fmt: skip


def test_two_who_have_both_left_are_nobody_to_look_at(store: Store) -> None:
    for source in SOURCES:
        leaver = someone("1", source, Standing.DEPARTED, employeeNumber="7")
        read(store, source, SourcePage((leaver,)))
    assert found(store) == set()


def joined(store: Store) -> tuple[str, str]:
    """Two people who have become one: the older and the other."""
    for number, source in enumerate(SOURCES):
        pulled(store, one(source, employeeNumber="7"), source=source)
        with store.begin() as session:
            people.ensure_people(session, source, NOW + dt.timedelta(minutes=number))
    with store.begin() as session:
        found = joining.candidates(session, SOURCES, "okta", (NUMBER,))
        (join,) = judge_identities(found.sightings, found.humans, found.apart, (NUMBER,), ()).joins
        people.save_ties(session, "looker", [Tie("8", join.person_id, linked=False)], "me", NOW)
        joining.rule_out(session, [("entra", "9")], join.person_id, "me", NOW)
        joining.merge(session, [join], NOW)
    return join.into, join.person_id


def test_everything_of_whoever_was_joined_is_the_older_persons(store: Store) -> None:
    older, younger = joined(store)
    with store.begin() as session:
        assert joining.identities_of(session, older) == {("okta", "1"): "", ("entra", "1"): NUMBER}
        assert [(link.account_id, link.state) for link in people.links_of(session, older)] == [("8", "unlinked")]
        assert joining.partings(session) == {(("entra", "9"), older)}
        assert people.everyone_once(session, older) == [older, younger]


def test_an_account_that_is_linked_to_whoever_was_joined_meanwhile_is_the_older_persons(store: Store) -> None:
    older, younger = joined(store)
    with store.begin() as session:
        people.save_ties(session, "looker", [Tie("7", younger, key="login")], "me", NOW)
        assert {link.account_id for link in people.links_of(session, older)} == {"7", "8"}
        assert people.links_of(session, younger) == []


def test_who_is_joined_twice_over_still_resolves(store: Store) -> None:
    older, younger = joined(store)
    with store.begin() as session:
        oldest = str(uuid.UUID(int=1))
        session.execute(
            text("INSERT INTO person (id, created_at, departure_cause, gains_reviewed) VALUES (:id, :at, '', false)"),
            {"id": oldest, "at": NOW - dt.timedelta(days=1)},
        )
        joining.merge(session, [Join(oldest, older, NUMBER)], NOW)
        assert people.resolved(session, [younger, older, oldest]) == dict.fromkeys((younger, older, oldest), oldest)


# --- many ------------------------------------------------------------------------------------------------------------

MANY = 3_000  # of each source


def crowd(source: str) -> list[SourcePage]:
    return [
        SourcePage([someone(f"{n:05d}", source, employeeNumber=str(n)) for n in range(start, start + 1000)])
        for start in range(0, MANY, 1000)
    ]


def test_a_whole_company_is_joined_in_sets_and_afterwards_there_is_nobody_left_to_look_at(store: Store) -> None:
    for source in SOURCES:
        read(store, source, *crowd(source))
    with store.begin() as session:
        session.connection().exec_driver_sql("SET LOCAL statement_timeout = '20s'")
        found = joining.candidates(session, SOURCES, "okta", (NUMBER, "email"))
        joins = judge_identities(found.sightings, found.humans, found.apart, (NUMBER,), ("email",)).joins
        joining.merge(session, joins, NOW)
        assert (len(found.sightings), len(joins)) == (2 * MANY, MANY)
        del found
        tracemalloc.start()
        again = joining.candidates(session, SOURCES, "okta", (NUMBER, "email"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert again.sightings == []
    assert peak < 2_000_000
