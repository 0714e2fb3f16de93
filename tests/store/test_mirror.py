"""What a connector read comes back out of the mirror as it went in, whole, and only when it was whole."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text

from worker.core.identity import (
    Account,
    Catalogue,
    CatalogueItem,
    Entitlement,
    Identity,
    SourceGroup,
    Standing,
    Trait,
)
from worker.errors import Refused
from worker.ports import Check, SourcePage, TargetPage
from worker.store import mirror
from worker.store.mirror import Merged
from worker.store.session import Store

Rows = Callable[[str], list[tuple[object, ...]]]

NOW = dt.datetime(2026, 11, 21, 9, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def someone(id: str = "u1", source: str = "okta", standing: Standing = Standing.ACTIVE, **attributes: str) -> Identity:
    mail = f"{id}@acme.example"
    return Identity(source, id, standing, standing.name, mail, mail, attributes)


ANA = Identity(
    "okta", "u1", Standing.ACTIVE, "ACTIVE", "ana@acme.example", "Ana@acme.example",
    {"firstName": "Ana", "lastName": "Ruiz", "costCenters": ("7", "9")},
)  # fmt: skip
BO = Identity("okta", "u2", Standing.HOLD, "MOOD", "bo@acme.example", "", {}, "status MOOD is not known")
DATA = SourceGroup("okta", "g1", "Data", "OKTA_GROUP", 2)
ODD = SourceGroup("okta", "g2", "Odd", "APP_GROUP", 9, "its members could not be read")
PEOPLE = SourcePage((ANA, BO), (DATA, ODD), (("g1", "u1"), ("g1", "u2"), ("g2", "u1")))

ROLE, GROUP = Entitlement("role", "2"), Entitlement("role", "DEV", "p:Web")
SEVEN = Account("7", "ana@acme.example", "ana@acme.example", True, {"first_name": "Ana"})
EIGHT = Account("8", "svc", "", False, {}, frozenset(), frozenset({Trait.SERVICE, Trait.OURSELVES}))
ACCOUNTS = TargetPage(
    (SEVEN, EIGHT),
    (("7", ROLE), ("7", GROUP)),
    (),
    (CatalogueItem("role", "2", "Developer"), CatalogueItem("role", "1", "Admin", True, "managed elsewhere")),
)


def staged(store: Store, *pages: SourcePage, source: str = "okta", at: dt.datetime = NOW) -> uuid.UUID:
    with store.begin() as session:
        read = mirror.start_snapshot(session, source, at)
        for page in pages:
            mirror.stage_source(session, read, source, page)
    return read


def pulled(store: Store, *pages: SourcePage, source: str = "okta", at: dt.datetime = NOW) -> Merged:
    read = staged(store, *pages, source=source, at=at)
    with store.begin() as session:
        return mirror.merge_source(session, read, at)


def observed(store: Store, *pages: TargetPage, target: str = "looker", at: dt.datetime = NOW) -> Merged:
    with store.begin() as session:
        read = mirror.start_snapshot(session, target, at)
        for page in pages:
            mirror.stage_target(session, read, target, page)
        return mirror.merge_target(session, read, at)


def identities(store: Store, source: str = "okta") -> list[Identity]:
    with store.begin() as session:
        return list(mirror.identities(session, source))


def accounts(store: Store, target: str = "looker") -> list[Account]:
    with store.begin() as session:
        return list(mirror.accounts(session, target))


# --- in and out ------------------------------------------------------------------------------------------------------


def test_people_and_groups_come_back_as_they_were_read(store: Store) -> None:
    assert pulled(store, PEOPLE) == Merged(0, 7)
    with store.begin() as session:
        assert list(mirror.identities(session, "okta")) == [ANA, BO]
        assert mirror.identity(session, "okta", "u1") == ANA
        assert mirror.identity(session, "okta", "u9") is None
        assert mirror.source_groups(session, "okta") == [DATA, ODD]
        assert mirror.counts(session, "okta") == {"identities": 2, "groups": 2, "memberships": 3}


def test_accounts_come_back_with_their_direct_entitlements(store: Store) -> None:
    assert observed(store, ACCOUNTS) == Merged(0, 6)
    ana = Account("7", SEVEN.login, SEVEN.email, True, SEVEN.profile, frozenset({ROLE, GROUP}))
    assert accounts(store) == [ana, EIGHT]
    with store.begin() as session:
        assert mirror.account_rows_of(session, "looker", ["7", "9"]) == {"7": ana}
        assert mirror.catalogue(session, "looker") == Catalogue(tuple(reversed(ACCOUNTS.catalogue)))
        assert mirror.counts(session, "looker") == {"accounts": 2, "holdings": 2, "catalogue": 2}


def test_connectors_do_not_see_each_other(store: Store) -> None:
    observed(store, ACCOUNTS)
    observed(store, TargetPage((EIGHT,)), target="teamcity")
    assert accounts(store, "teamcity") == [EIGHT]
    assert [a.id for a in accounts(store)] == ["7", "8"]


def test_accounts_come_in_the_order_in_which_python_compares_ids(store: Store) -> None:
    ids = ["10", "9", "a", "B", "_", "é", "Z", "aa", "-1"]
    observed(store, TargetPage([Account(id, id, "", True) for id in ids]))
    assert [a.id for a in accounts(store)] == sorted(ids)


def test_traits_and_entitlements_from_several_pages_are_joined(store: Store) -> None:
    observed(
        store,
        TargetPage((SEVEN,), (("7", ROLE),)),
        TargetPage((replace(SEVEN, traits=frozenset({Trait.ADMINISTRATOR, Trait.GUEST})),)),
        TargetPage((replace(SEVEN, traits=frozenset({Trait.ADMINISTRATOR, Trait.EMBED})),)),
    )
    (account,) = accounts(store)
    assert account.traits == {Trait.ADMINISTRATOR, Trait.GUEST, Trait.EMBED}
    assert account.entitlements == {ROLE}


def test_traits_that_other_pages_give_are_united_and_written_once(store: Store, rows: Rows) -> None:
    given = ((SEVEN.id, Trait.ADMINISTRATOR), (EIGHT.id, Trait.SERVICE), (SEVEN.id, Trait.ADMINISTRATOR))
    pages = (TargetPage(traits=given), ACCOUNTS, TargetPage((EIGHT,)))
    observed(store, *pages)
    assert [account.traits for account in accounts(store)] == [
        {Trait.ADMINISTRATOR},
        {Trait.SERVICE, Trait.OURSELVES},
    ]
    assert observed(store, *pages, at=NOW + HOUR) == Merged(0, 0)
    assert rows("SELECT count(*) FROM staged_trait") == [(0,)]


def test_of_two_records_of_a_person_the_newer_counts_whatever_came_first(store: Store) -> None:
    left = replace(ANA, standing=Standing.DEPARTED, status="DEPROVISIONED")
    old, new = SourcePage((ANA,), stamps={"u1": "2026-01-01"}), SourcePage((left,), stamps={"u1": "2026-01-02"})
    for hour, pages in enumerate([(old, new), (new, old), (SourcePage((ANA,)), new)]):
        pulled(store, *pages, SourcePage((BO,)), at=NOW + hour * HOUR)
        assert identities(store) == [left, BO]


def test_of_a_group_that_is_listed_and_then_read_the_reading_counts(store: Store) -> None:
    listed, read = SourcePage(groups=(ODD,), stamps={"g2": "1"}), SourcePage(groups=(DATA,), stamps={"g1": "1"})
    pulled(store, listed, read, SourcePage(groups=(replace(ODD, problem=""),), stamps={"g2": "2"}))
    with store.begin() as session:
        assert mirror.source_groups(session, "okta") == [DATA, replace(ODD, problem="")]


# Staff holds Engineers and Sales; Engineers holds Backend, which holds Engineers again.
NESTED = {id: SourceGroup("okta", id, id.title(), "security", 1) for id in ("staff", "engineers", "backend", "sales")}
EDGES = (("staff", "engineers"), ("staff", "sales"), ("engineers", "backend"), ("backend", "engineers"))


def test_groups_in_groups_are_kept_and_counted_with_the_people_whom_they_bring(store: Store) -> None:
    of_people = (("backend", "u1"), ("sales", "u2"), ("staff", "u2"))
    read = staged(store, SourcePage((ANA, BO), tuple(NESTED.values()), of_people, EDGES), SourcePage(nestings=EDGES))
    counts = {"identities": 2, "groups": 4, "memberships": 3, "nestings": 4, "inherited": 3}
    with store.begin() as session:
        assert mirror.staged_counts(session, read) == counts
        mirror.merge_source(session, read, NOW)
        assert mirror.counts(session, "okta") == counts
        assert mirror.nestings(session, "okta") == sorted(EDGES)
        assert mirror.nestings(session, "entra") == []


def test_who_is_in_two_groups_of_a_group_is_in_it_once(store: Store) -> None:
    of_people = (("engineers", "u1"), ("backend", "u1"), ("backend", "u2"), ("sales", "u2"), ("sales", "u3"))
    pages = [SourcePage(groups=tuple(NESTED.values()), memberships=of_people, nestings=edges) for edges in (EDGES, ())]
    read = staged(store, *pages, SourcePage(nestings=(("empty", "hollow"),)))
    with store.begin() as session:
        assert mirror.people_within(session, read) == {"staff": 3, "engineers": 2, "backend": 2}


def test_a_nesting_that_is_over_is_closed_and_counts_no_more(store: Store, rows: Rows) -> None:
    pulled(store, SourcePage(groups=tuple(NESTED.values()), nestings=EDGES))
    assert pulled(store, SourcePage(groups=tuple(NESTED.values()), nestings=EDGES[1:]), at=NOW + HOUR) == Merged(1, 0)
    with store.begin() as session:
        assert mirror.nestings(session, "okta") == sorted(EDGES[1:])
    assert rows("SELECT group_id, child_id FROM nesting WHERE valid_to IS NOT NULL") == [EDGES[0]]


def test_what_holds_a_group_that_could_not_be_read_has_a_problem_too(store: Store) -> None:
    groups = {**NESTED, "backend": replace(NESTED["backend"], problem="its membership is hidden")}
    pulled(store, SourcePage(groups=tuple(groups.values()), nestings=EDGES))
    with store.begin() as session:
        problems = {group.id: group.problem for group in mirror.source_groups(session, "okta")}
    through = "Backend in it could not be read whole: its membership is hidden"
    assert problems == {
        "backend": "its membership is hidden", "engineers": through, "staff": through, "sales": "",
    }  # fmt: skip


def test_what_holds_a_group_that_is_on_no_list_has_a_problem(store: Store) -> None:
    pulled(store, SourcePage(groups=(NESTED["staff"],), nestings=(("staff", "nowhere"),)))
    with store.begin() as session:
        (staff,) = mirror.source_groups(session, "okta")
    assert staff.problem == "a group in it (nowhere) is on no list of groups"


def test_ids_that_rows_speak_of_and_no_list_has_are_strangers(store: Store) -> None:
    read = staged(store, PEOPLE, SourcePage(memberships=(("g1", "u9"), ("g2", "u9"), ("g1", "u2"), ("g1", "u10"))))
    with store.begin() as session:
        assert mirror.strangers(session, read) == ["u10", "u9"]
        other = mirror.start_snapshot(session, "looker", NOW)
        of_nobody = TargetPage(holdings=(("99", ROLE),), traits=(("98", Trait.ADMINISTRATOR),))
        for page in (ACCOUNTS, of_nobody):
            mirror.stage_target(session, other, "looker", page)
        assert mirror.strangers(session, other) == ["98", "99"]


@pytest.mark.parametrize("odd", ["nul \0", "half a pair \ud83d", "\udfff"])
def test_text_that_cannot_be_stored_is_marked_and_stops_nobody(store: Store, odd: str) -> None:
    pulled(store, SourcePage((someone(displayName=odd), BO)))
    observed(store, TargetPage((Account("7", odd, "", True, {"name": odd}),)))
    assert "\ufffd" in str(identities(store)[0].attributes["displayName"])
    assert "\ufffd" in accounts(store)[0].login
    assert "\ufffd" in accounts(store)[0].profile["name"]


@pytest.mark.parametrize("text", ["tab\t newline\n \\. \\N", "quotes ' \" {}", "\u202ebidi", "emoji \U0001f600", ""])
def test_other_odd_text_comes_back_as_it_is(store: Store, text: str) -> None:
    pulled(store, SourcePage((someone(displayName=text),)))
    observed(store, TargetPage((Account("7", text, text, True, {"name": text}),)))
    assert identities(store)[0].attributes["displayName"] == text
    assert accounts(store) == [Account("7", text, text, True, {"name": text})]


# --- what changes and what does not ----------------------------------------------------------------------------------

_MIRROR = ("identity", "source_group", "membership", "account", "holding", "catalogue_item")


def test_reading_the_same_again_touches_no_row(store: Store, rows: Rows) -> None:
    pulled(store, PEOPLE)
    observed(store, ACCOUNTS)
    versions = [rows(f"SELECT ctid, xmin::text, xmax::text FROM {table} ORDER BY 1") for table in _MIRROR]
    assert pulled(store, PEOPLE, at=NOW + HOUR) == Merged(0, 0)
    assert observed(store, ACCOUNTS, at=NOW + HOUR) == Merged(0, 0)
    assert [rows(f"SELECT ctid, xmin::text, xmax::text FROM {table} ORDER BY 1") for table in _MIRROR] == versions


def test_what_changed_is_closed_and_opened_and_what_vanished_is_closed(store: Store, rows: Rows) -> None:
    pulled(store, PEOPLE)
    renamed = replace(ANA, login="ana.ruiz@acme.example")
    assert pulled(store, SourcePage((renamed,), (DATA,), (("g1", "u1"),)), at=NOW + HOUR) == Merged(5, 1)
    assert identities(store) == [renamed]
    history = rows("SELECT login, valid_from, valid_to FROM identity ORDER BY id, valid_from")
    assert history == [
        ("ana@acme.example", NOW, NOW + HOUR),
        ("ana.ruiz@acme.example", NOW + HOUR, None),
        ("bo@acme.example", NOW, NOW + HOUR),
    ]


def test_what_comes_back_is_a_row_of_its_own(store: Store, rows: Rows) -> None:
    for hour, page in enumerate([PEOPLE, SourcePage(groups=(DATA,)), PEOPLE]):
        pulled(store, page, at=NOW + hour * HOUR)
    assert rows("SELECT valid_from, valid_to FROM identity WHERE id = 'u1' ORDER BY 1") == [
        (NOW, NOW + HOUR),
        (NOW + 2 * HOUR, None),
    ]


@pytest.mark.parametrize("second", [NOW, NOW - HOUR], ids=["at the same instant", "after the clock was set back"])
def test_a_row_never_ends_before_it_began_even_when_read_again(store: Store, rows: Rows, second: dt.datetime) -> None:
    pulled(store, PEOPLE, at=NOW - 2 * HOUR)
    pulled(store, SourcePage((someone("u3"),)), at=NOW)
    read = staged(store, PEOPLE, at=NOW)
    with store.begin() as session:
        mirror.merge_source(session, read, second)
    assert rows("SELECT 1 FROM identity WHERE valid_to <= valid_from") == []
    assert [i.id for i in identities(store)] == ["u1", "u2"]


def test_the_same_thing_on_two_pages_counts_once(store: Store) -> None:
    read = staged(store, PEOPLE, PEOPLE)
    with store.begin() as session:
        assert mirror.staged_counts(session, read) == {"identities": 2, "groups": 2, "memberships": 3}
        assert mirror.merge_source(session, read, NOW) == Merged(0, 7)


# --- whole or not at all ---------------------------------------------------------------------------------------------

CONTRADICTIONS: dict[str, Callable[[Store], object]] = {
    "a person, equally new": lambda store: pulled(
        store,
        SourcePage((ANA,), stamps={"u1": "2026"}),
        SourcePage((someone("u1"),), stamps={"u1": "2026"}),
        at=NOW + HOUR,
    ),
    "a person": lambda store: pulled(store, PEOPLE, SourcePage((someone("u1"),)), at=NOW + HOUR),
    "a group": lambda store: pulled(
        store, PEOPLE, SourcePage(groups=(SourceGroup("okta", "g1", "Other", "", 2),)), at=NOW + HOUR
    ),
    "an account": lambda store: observed(
        store, ACCOUNTS, TargetPage((Account("7", "other", "", True),)), at=NOW + HOUR
    ),
    "a role": lambda store: observed(
        store, ACCOUNTS, TargetPage(catalogue=(CatalogueItem("role", "2", "Other"),)), at=NOW + HOUR
    ),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_read_that_shows_one_thing_in_two_states_is_refused(store: Store, what: str) -> None:
    pulled(store, SourcePage((BO,)))
    observed(store, TargetPage((EIGHT,)))
    with pytest.raises(Refused, match="twice, in different states"):
        CONTRADICTIONS[what](store)
    assert (identities(store), accounts(store)) == ([BO], [EIGHT])


def test_a_read_with_a_failed_check_never_becomes_current(store: Store) -> None:
    bad = SourcePage((ANA,), checks=(Check("members", False, "Data: 2 expected, 1 seen"),))
    good = SourcePage((BO,), checks=(Check("members", True, "all seen"),))
    with pytest.raises(Refused, match="is not whole: members: Data: 2 expected, 1 seen"):
        pulled(store, bad, good)
    assert identities(store) == []


def test_staged_rows_that_the_database_lost_are_missed(store: Store) -> None:
    read = staged(store, PEOPLE)
    with store.begin() as session:  # as the recovery from a crash leaves an unlogged table: empty
        session.execute(text("DELETE FROM staged_identity"))
        mirror.stage_source(session, read, "okta", SourcePage((someone("u3"),)))
    with pytest.raises(Refused, match="staged with 8 rows and 6 are left"), store.begin() as session:
        mirror.merge_source(session, read, NOW)


def test_a_page_of_another_source_is_refused(store: Store) -> None:
    with pytest.raises(Refused, match="brought people or groups of entra"):
        pulled(store, SourcePage((someone(source="entra"),)))


def test_nothing_is_current_before_the_merge(store: Store) -> None:
    staged(store, PEOPLE)
    with store.begin() as session:
        assert mirror.current_snapshot(session, "okta") is None
        assert mirror.counts(session, "okta") == {}


def test_the_merged_read_is_the_current_one_with_its_counts_and_certificate(store: Store) -> None:
    pulled(store, PEOPLE, at=NOW - HOUR)
    pulled(store, SourcePage((ANA,), checks=(Check("people", True, "1 of 1"),)))
    with store.begin() as session:
        current = mirror.current_snapshot(session, "okta")
        assert current is not None
        assert mirror.snapshot(session, current.id) == current
    assert (current.started_at, current.certified_at, current.failure) == (NOW, NOW, "")
    assert current.counts == {"identities": 1}
    assert current.checks == (Check("people", True, "1 of 1"),)


def test_a_discarded_read_says_why_and_leaves_the_current_one(store: Store, rows: Rows) -> None:
    pulled(store, PEOPLE)
    read = staged(store, SourcePage((someone("u3"),)), at=NOW + HOUR)
    with store.begin() as session:
        mirror.discard_snapshot(session, read, "Okta is down")
        failed = mirror.snapshot(session, read)
    assert failed is not None
    assert (failed.failure, failed.certified_at) == ("Okta is down", None)
    assert identities(store) == [ANA, BO]
    assert rows("SELECT 1 FROM staged_identity") == []


def closed(store: Store) -> uuid.UUID:
    read = staged(store, PEOPLE)
    with store.begin() as session:
        mirror.merge_source(session, read, NOW)
    return read


def discarded(store: Store) -> uuid.UUID:
    read = staged(store, PEOPLE)
    with store.begin() as session:
        mirror.discard_snapshot(session, read, "no")
    return read


def abandoned(store: Store) -> uuid.UUID:
    read = staged(store, PEOPLE)
    staged(store, PEOPLE, at=NOW + HOUR)
    return read


def of_nobody(_: Store) -> uuid.UUID:
    return uuid.uuid4()


@pytest.mark.parametrize("how", [closed, discarded, abandoned, of_nobody])
def test_a_read_takes_no_page_and_no_merge_once_it_is(store: Store, how: Callable[[Store], uuid.UUID]) -> None:
    read = how(store)
    with pytest.raises(Refused, match="start another one"), store.begin() as session:
        mirror.stage_source(session, read, "okta", PEOPLE)
    with pytest.raises(Refused, match=r"closed already|There is no read"), store.begin() as session:
        mirror.merge_source(session, read, NOW)


def test_an_older_read_does_not_replace_a_newer_one(store: Store) -> None:
    pulled(store, PEOPLE, at=NOW)
    read = staged(store, SourcePage((ANA,)), at=NOW - HOUR)
    with pytest.raises(Refused, match="older than the current one"), store.begin() as session:
        mirror.merge_source(session, read, NOW + HOUR)


def test_staging_is_empty_after_the_merge(store: Store, rows: Rows) -> None:
    pulled(store, PEOPLE)
    observed(store, ACCOUNTS)
    assert [rows(f"SELECT count(*) FROM staged_{table}") for table in _MIRROR] == [[(0,)]] * 6


CANARIES: dict[str, tuple[dict[str, Sequence[str]], list[str]]] = {
    "people by login, e-mail or id, in any case": ({"people": ["ANA@acme.example", "u2", "eve"]}, ["eve"]),
    "groups by name or id": ({"groups": ["Data", "g2", "data"]}, ["data"]),
    "nothing at all": ({}, []),
}


@pytest.mark.parametrize("what", CANARIES)
def test_canaries_are_missed_when_not_staged(store: Store, what: str) -> None:
    wanted, missing = CANARIES[what]
    read = staged(store, PEOPLE)
    with store.begin() as session:
        assert mirror.unseen(session, read, **wanted) == missing


def test_canaries_of_a_target_are_accounts(store: Store) -> None:
    with store.begin() as session:
        read = mirror.start_snapshot(session, "looker", NOW)
        mirror.stage_target(session, read, "looker", ACCOUNTS)
        assert mirror.unseen(session, read, accounts=["Ana@acme.example", "8", "SVC", "bo"]) == ["bo"]
