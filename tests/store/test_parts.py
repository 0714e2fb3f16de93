"""The parts of a read are shared out once each, in their order, and whoever is late or dead costs nothing."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import text

from worker.ports import Part
from worker.store import mirror, owners, parts
from worker.store.parts import Claim, Remaining
from worker.store.session import Store

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
FIVE = [Part("page", {"number": n}) for n in range(5)]
DEAD = "okta fell over"


@pytest.fixture
def read(store: Store) -> uuid.UUID:
    """One of five parts, begun by ana."""
    with store.begin() as session:
        snapshot = mirror.start_snapshot(session, "okta", NOW)
        parts.begin(session, snapshot, "ana", FIVE)
    return snapshot


def claimed(store: Store, read: uuid.UUID, owner: str = "ana", most: int = 1) -> list[Claim]:
    with store.begin() as session:
        return parts.claim(session, read, owner, most)


def finished(store: Store, claim: Claim, **facts: object) -> bool:
    with store.begin() as session:
        return parts.finish(session, claim, facts)


def handed_back(store: Store, claim: Claim, failure: str | None = None) -> bool:
    with store.begin() as session:
        return parts.hand_back(session, claim, failure)


def remaining(store: Store, read: uuid.UUID) -> Remaining:
    with store.begin() as session:
        return parts.remaining(session, read)


def worn_out(store: Store, read: uuid.UUID) -> str | None:
    with store.begin() as session:
        return parts.worn_out(session, read)


def under_way(store: Store) -> bool:
    with store.begin() as session:
        return parts.under_way(session, "okta")


def expire(store: Store) -> None:
    """By the clock that counts, every claim has ended."""
    with store.begin() as session:
        session.execute(text("UPDATE part SET claimed_until = clock_timestamp() - interval '1 second'"))


def numbers(claims: list[Claim]) -> list[int]:
    return [claim.part.args["number"] for claim in claims]


def test_parts_are_had_in_their_order_and_those_that_follow_come_last(store: Store, read: uuid.UUID) -> None:
    with store.begin() as session:
        parts.add(session, read, "ana", [Part("page", {"number": 5, "nested": {"list": [1, "two", None]}})])
    first, rest = claimed(store, read), claimed(store, read, most=10)
    assert numbers([*first, *rest]) == [0, 1, 2, 3, 4, 5]
    assert rest[-1].part == Part("page", {"number": 5, "nested": {"list": [1, "two", None]}})


def test_a_part_that_the_read_has_already_is_not_added_again(store: Store, read: uuid.UUID) -> None:
    """Whoever finds a group in a group asks for it; it is read once, also when it has been read."""
    (done,) = claimed(store, read)
    assert finished(store, done)
    another = Part("members", {"group": "g1"})
    for asked in ([FIVE[0], another, another, Part("page", {"group": "g1"})], [another, FIVE[1]]):
        with store.begin() as session:
            parts.add(session, read, "ana", asked)
    assert [claim.part for claim in claimed(store, read, most=10)] == [
        *FIVE[1:],
        another,
        Part("page", {"group": "g1"}),
    ]


def test_a_part_may_hold_text_that_the_database_cannot(store: Store, read: uuid.UUID) -> None:
    with store.begin() as session:
        parts.add(session, read, "ana", [Part("group", {"name": "nul \0 and half a pair \ud83d"})])
    assert claimed(store, read, most=10)[-1].part.args == {"name": "nul \ufffd and half a pair \ufffd"}


def test_of_many_who_ask_at_once_each_part_has_one_owner(store: Store, read: uuid.UUID) -> None:
    together = Barrier(8)

    def ask(number: int) -> list[Claim]:
        together.wait()
        return claimed(store, read, f"owner {number}")

    with ThreadPoolExecutor(8) as threads:
        had = [claim for claims in threads.map(ask, range(8)) for claim in claims]
    assert sorted(numbers(had)) == [0, 1, 2, 3, 4]
    assert remaining(store, read) == Remaining(0, 5)


def test_what_is_done_is_over_and_its_facts_are_there_at_the_end(store: Store, read: uuid.UUID) -> None:
    for claim in claimed(store, read, most=5):
        assert finished(store, claim, rows=claim.part.args["number"] * 10)
    assert claimed(store, read) == []
    assert remaining(store, read) == Remaining(0, 0)
    with store.begin() as session:
        assert parts.done(session, read) == [(part, {"rows": 10 * n}) for n, part in enumerate(FIVE)]


def test_a_claim_that_ran_out_is_had_by_another_and_the_late_one_writes_nothing(store: Store, read: uuid.UUID) -> None:
    (late,) = claimed(store, read, "slow")
    expire(store)
    assert not finished(store, late)
    (taken,) = claimed(store, read, "quick")
    assert taken.part == late.part
    assert not finished(store, late)
    assert not handed_back(store, late)
    assert finished(store, taken)


def test_a_late_thread_of_the_same_process_writes_nothing_either(store: Store, read: uuid.UUID) -> None:
    (late,) = claimed(store, read)
    expire(store)
    (again,) = claimed(store, read)
    assert not finished(store, late)
    assert finished(store, again)


def test_a_renewed_claim_lasts_and_one_that_ran_out_stays_lost(store: Store, read: uuid.UUID) -> None:
    (kept,) = claimed(store, read)
    with store.begin() as session:
        session.execute(text("UPDATE part SET claimed_until = clock_timestamp() + interval '1 second'"))
        parts.renew(session, read, "ana")
        left = session.scalars(text("SELECT max(claimed_until) - clock_timestamp() FROM part")).one()
    assert parts.CLAIM - dt.timedelta(seconds=30) < left <= parts.CLAIM
    assert finished(store, kept)
    (lost,) = claimed(store, read)
    expire(store)
    with store.begin() as session:
        parts.renew(session, read, "ana")
    assert not finished(store, lost)


def test_what_is_handed_back_is_free_at_once_and_counts_only_with_a_failure(store: Store, read: uuid.UUID) -> None:
    for _ in range(2 * parts.ATTEMPTS):
        (claim,) = claimed(store, read)
        assert claim.attempt == 1
        assert handed_back(store, claim)
    for attempt in range(1, parts.ATTEMPTS + 1):
        assert worn_out(store, read) is None
        (claim,) = claimed(store, read)
        assert (claim.part, claim.attempt) == (FIVE[0], attempt)
        assert handed_back(store, claim, DEAD)
    assert worn_out(store, read) == DEAD
    assert numbers(claimed(store, read)) == [1]


def test_a_part_that_cuts_off_whoever_reads_it_is_given_up(store: Store, read: uuid.UUID) -> None:
    for _ in range(parts.ATTEMPTS):
        assert numbers(claimed(store, read)) == [0]
        assert worn_out(store, read) is None
        expire(store)
    assert worn_out(store, read) == "Whoever read a part of it was cut off, 5 times; look into the workers' logs."


@pytest.fixture
def neighbour() -> str:
    """The name of a process that has died in our own process table."""
    program = "from worker.store import owners; print(owners.this_process())"
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    name = ended.stdout.strip()
    if not owners.certainly_dead(name):
        pytest.fail("this system does not tell which processes have died")
    return name


def test_what_a_killed_process_was_at_is_free_at_once(store: Store, read: uuid.UUID, neighbour: str) -> None:
    assert numbers(claimed(store, read, neighbour, 5)) == [0, 1, 2, 3, 4]
    assert numbers(claimed(store, read, most=5)) == [0, 1, 2, 3, 4]


def test_a_read_is_under_way_until_nobody_has_been_at_it_for_a_while(store: Store, read: uuid.UUID) -> None:
    assert under_way(store)  # begun just now
    expire(store)
    assert not under_way(store)
    (claim,) = claimed(store, read)
    assert under_way(store)
    assert finished(store, claim)
    assert under_way(store)  # some progress a moment ago
    expire(store)
    assert not under_way(store)


def test_a_read_of_a_dead_process_or_one_that_was_discarded_is_not_under_way(store: Store, neighbour: str) -> None:
    with store.begin() as session:
        snapshot = mirror.start_snapshot(session, "okta", NOW)
        parts.begin(session, snapshot, neighbour, FIVE)
    assert not under_way(store)
    claimed(store, snapshot)
    assert under_way(store)
    with store.begin() as session:
        mirror.discard_snapshot(session, snapshot, "no")
    assert not under_way(store)
    assert claimed(store, snapshot) == []


def test_the_end_waits_for_every_part_and_is_for_one_at_a_time(store: Store, read: uuid.UUID) -> None:
    def end(owner: str) -> Claim | None:
        with store.begin() as session:
            return parts.claim_end(session, read, owner)

    last, *others = claimed(store, read, most=5)
    assert all(finished(store, claim) for claim in others)
    assert end("ana") is None
    assert finished(store, last)
    first = end("ana")
    assert first is not None
    assert first.facts == {}
    assert end("bo") is None
    with store.begin() as session:
        assert parts.note(session, first, {"finished": True})
    expire(store)
    second = end("bo")
    assert second is not None
    assert second.facts == {"finished": True}
    with store.begin() as session:
        assert not parts.note(session, first, {})
