"""The audit chain is appended to by everybody at once, changed by nobody, and shows it when somebody did after all."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlmodel import Session

from tests.conftest import Database, dsn
from worker.core.audit import ERASED, Event, Verdict
from worker.errors import Refused
from worker.store import chain
from worker.store.session import Store
from worker.store.tables import Pause

Rows = Callable[[str], list[tuple[object, ...]]]
AsOwner = Callable[[str], None]

NOW = dt.datetime(2026, 11, 21, 9, 0, 0, 5, tzinfo=dt.UTC)
ANA, BO, RUN = str(uuid.UUID(int=1)), str(uuid.UUID(int=2)), str(uuid.UUID(int=3))


def event(kind: str = "step attempted", person: str | None = ANA, **facts: object) -> Event:
    personal = {"login": f"{person}@acme.example", "sentence": "Grant role Developer to Ana Ruiz"} if person else {}
    return Event(
        kind=kind, actor="operator:eve", at=NOW, facts=facts, personal=personal, person_id=person, run_id=RUN
    )  # fmt: skip


def appended(store: Store, *events: Event, stream: str = "main") -> range:
    with store.begin() as session:
        return chain.append_many(session, events, stream)


def entries(store: Store, **wanted: Any) -> list[int]:
    with store.begin() as session:
        return [entry.number for entry in chain.entries(session, **wanted)]


@pytest.fixture
def written(store: Store) -> Store:
    """A chain of six entries about Ana, Bo, and nobody."""
    appended(store, event("a", n=1), event("b", BO), event("c", None))
    appended(store, event("d"), event("e", BO), event("f", None))
    return store


# --- appending and reading -------------------------------------------------------------------------------------------


def test_an_entry_reads_as_it_was_appended(store: Store) -> None:
    with store.begin() as session:
        number = chain.append(
            session, kind="change applied", actor="operator:eve", at=NOW, personal={"login": "ana@acme.example"},
            facts={"target": "looker", "removed": 3, "when": NOW, "done": True, "steps": [1, {"of": None}]},
            person_id=uuid.UUID(ANA), run_id=RUN,
        )  # fmt: skip
        (entry,) = chain.entries(session)
    assert (number, entry.number, entry.kind, entry.actor, entry.at) == (1, 1, "change applied", "operator:eve", NOW)
    assert entry.facts == {
        "target": "looker", "removed": "3", "when": "2026-11-21T09:00:00.000005Z", "done": True,
        "steps": ["1", {"of": None}],
    }  # fmt: skip
    assert (entry.personal, entry.person_id, entry.run_id) == ({"login": "ana@acme.example"}, ANA, RUN)


def test_entries_are_numbered_from_one_without_a_gap_even_when_some_were_rolled_back(store: Store) -> None:
    assert appended(store, event(), event()) == range(1, 3)

    def fail() -> None:
        with store.begin() as session:
            chain.append_many(session, [event()])
            raise Refused("no")

    with pytest.raises(Refused):
        fail()
    assert appended(store, event()) == range(3, 4)


def test_appending_nothing_changes_nothing(written: Store, rows: Rows) -> None:
    before = rows("SELECT * FROM head")
    assert not appended(written)
    assert rows("SELECT * FROM head") == before


def test_many_who_append_at_once_leave_no_gap_and_a_chain_that_verifies(store: Store) -> None:
    at_once = threading.Barrier(6)

    def append(worker: int) -> None:
        at_once.wait(timeout=30)
        for n in range(10):
            appended(store, event(f"by {worker}", n=n), event())

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(append, range(6)))
    assert entries(store) == list(range(1, 121))
    with store.begin() as session:
        assert chain.verify(session).ok


def test_a_chain_that_grows_meanwhile_still_verifies(store: Store) -> None:
    done = threading.Event()

    def grow() -> None:
        while not done.is_set():
            appended(store, event(), event())

    with ThreadPoolExecutor(1) as pool:
        growing = pool.submit(grow)
        for _ in range(20):
            with store.begin() as session:
                assert chain.verify(session).ok
        done.set()
        growing.result(timeout=30)
    assert len(entries(store)) > 2


def test_what_a_transaction_wrote_before_is_locked_before_the_head(store: Store) -> None:
    with store.begin() as session:
        session.add(Pause(connector="looker", actor="ana", reason="window", at=NOW))
        with session.no_autoflush:
            chain.append_many(session, [event()])
        assert not session.new


def test_streams_are_chains_of_their_own(written: Store) -> None:
    assert appended(written, event(), stream="rehearsal") == range(1, 2)
    with written.begin() as session:
        assert chain.verify(session, "rehearsal").checked == 1
        assert chain.verify(session).checked == 6


def test_a_stream_that_does_not_exist_does_not_verify(store: Store) -> None:
    with store.begin() as session:
        verdict = chain.verify(session, "mian")
    assert (verdict.ok, verdict.what) == (
        False, "the stream mian has no head: it does not exist, or its head was deleted",
    )  # fmt: skip


FILTERS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "everything": ({}, [1, 2, 3, 4, 5, 6]),
    "some kinds": ({"kinds": ["a", "f"]}, [1, 6]),
    "one person": ({"person_id": BO}, [2, 5]),
    "one run": ({"run_id": uuid.UUID(RUN)}, [1, 2, 3, 4, 5, 6]),
    "another run": ({"run_id": uuid.uuid4()}, []),
    "after a number": ({"after": 4}, [5, 6]),
    "the newest two": ({"newest_first": True, "limit": 2}, [6, 5]),
    "since then": ({"since": NOW}, [1, 2, 3, 4, 5, 6]),
    "until then, exclusively": ({"until": NOW}, []),
}


@pytest.mark.parametrize("which", FILTERS)
def test_entries_can_be_asked_for_by(written: Store, which: str) -> None:
    wanted, expected = FILTERS[which]
    assert entries(written, **wanted) == expected


def test_no_personal_value_is_in_the_bytes_of_an_entry(written: Store, rows: Rows) -> None:
    bodies = b"".join(bytes(body) for (body,) in rows("SELECT body FROM entry"))  # type: ignore[call-overload]
    assert b"step" not in bodies
    assert b"acme.example" not in bodies
    assert b"Ruiz" not in bodies
    assert b"eve" not in bodies


def test_the_same_name_twice_is_committed_to_under_two_salts(written: Store, rows: Rows) -> None:
    (count,) = rows("SELECT count(*), count(DISTINCT salt), count(DISTINCT commitment) FROM personal")
    assert count == (14, 14, 14)


@pytest.mark.parametrize("odd", ["nul \0", "half a pair \ud83d", "\u202eevil", ""])
def test_odd_text_of_a_person_is_recorded_and_verifies(store: Store, odd: str) -> None:
    with store.begin() as session:
        chain.append(session, kind="k", actor=odd, at=NOW, facts={"note": odd}, personal={"name": odd})
    with store.begin() as session:
        assert chain.verify(session).ok
        assert len(list(chain.entries(session))) == 1


def test_a_personal_value_cannot_take_the_actor_s_place(store: Store) -> None:
    with pytest.raises(TypeError, match="one actor"), store.begin() as session:
        chain.append(session, kind="k", actor="eve", at=NOW, facts={}, personal={"actor": "ana"})


# --- nobody changes it -----------------------------------------------------------------------------------------------

REFUSED_TO_THE_WORKER = [
    "UPDATE entry SET kind = 'x'",
    "DELETE FROM entry",
    "TRUNCATE entry",
    "UPDATE personal SET value = 'x'",
    "TRUNCATE personal",
    "DELETE FROM head",
    "TRUNCATE head",
    "UPDATE head SET number = number - 1",
    "UPDATE head SET digest = ''",
    "UPDATE head SET stream = 'x', number = number + 1",
    "ALTER TABLE entry DISABLE TRIGGER ALL",
    "DROP TABLE entry",
    "SET session_replication_role = replica",
    "CREATE TABLE mine ()",
]
REFUSED_TO_THE_OWNER = REFUSED_TO_THE_WORKER[:10]


def attempted(url: str, statement: str) -> None:
    with psycopg.connect(dsn(url)) as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize("statement", REFUSED_TO_THE_WORKER)
def test_the_worker_is_refused(written: Store, fresh_database: Database, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        attempted(fresh_database.worker_url, statement)


@pytest.mark.parametrize("statement", REFUSED_TO_THE_OWNER)
def test_even_the_owner_is_refused(written: Store, fresh_database: Database, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"rows of .* are only ever added"):
        attempted(fresh_database.owner_url, statement)


ONE_TOO_MANY = (
    "INSERT INTO entry SELECT stream, 7, digest, body, kind, run_id, person_id, at FROM entry WHERE number = 6"
)


def test_an_entry_beyond_the_head_stops_every_append(written: Store, as_owner: AsOwner) -> None:
    as_owner(
        "INSERT INTO entry SELECT stream, 7, digest, body, kind, run_id, person_id, at FROM entry WHERE number = 6"
    )
    with pytest.raises(Refused, match="run `trueup audit verify`"):
        appended(written, event())


# --- and who does it after all is found out --------------------------------------------------------------------------


def rewritten(connection: psycopg.Connection[Any], number: int, **said: object) -> None:
    """What a careful forger does: another content, with a digest that fits it."""
    (body,) = connection.execute("SELECT body FROM entry WHERE number = %s", [number]).fetchone() or (b"",)
    forged = json.dumps({**json.loads(body), **said}, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(forged).hexdigest()
    connection.execute("UPDATE entry SET body = %s, digest = %s WHERE number = %s", [forged, digest, number])
    if number == 6:
        connection.execute("UPDATE head SET digest = %s", [digest])


def replaced(connection: psycopg.Connection[Any], body: bytes) -> None:
    """The third entry's bytes, with a digest that fits them."""
    digest = hashlib.sha256(body).hexdigest()
    connection.execute("UPDATE entry SET body = %s, digest = %s WHERE number = 3", [body, digest])


Forgery = str | Callable[[psycopg.Connection[Any]], None]
FORGERIES: dict[str, tuple[Forgery, int, str]] = {
    "bytes were changed": ("UPDATE entry SET body = body || ' ' WHERE number = 3", 3, "do not have its digest"),
    "its digest was changed": ("UPDATE entry SET digest = md5('') WHERE number = 3", 3, "do not have its digest"),
    "an entry was rewritten with its digest": (lambda c: rewritten(c, 3, at=""), 3, "its at is"),
    "a fact was rewritten with its digest": (lambda c: rewritten(c, 3, facts=""), 4, "does not follow"),
    "an entry became a list": (lambda c: replaced(c, b"[]"), 3, "its bytes are no entry"),
    "an entry became rubbish": (lambda c: replaced(c, b"{"), 3, "its bytes are no entry"),
    "an entry became bytes that are no text": (lambda c: replaced(c, b"\xff"), 3, "its bytes are no entry"),
    "the last lost what it commits to": (lambda c: rewritten(c, 6, personal=[]), 6, "its bytes are no entry"),
    "the last commits to a number": (lambda c: rewritten(c, 6, personal={"actor": 1}), 6, "its bytes are no entry"),
    "the last commits to nobody's value": (lambda c: rewritten(c, 6, personal={"actor": "x"}), 6, "was erased, and no"),
    "something was put before the first": (
        "INSERT INTO entry SELECT stream, 0, digest, body, kind, run_id, person_id, at FROM entry WHERE number = 6",
        0, "follows entry 0",
    ),
    "its kind was changed": ("UPDATE entry SET kind = 'x' WHERE number = 3", 3, "its kind is 'x' in the table"),
    "its run was changed": ("UPDATE entry SET run_id = NULL WHERE number = 3", 3, "its run is ''"),
    "its person was changed": (f"UPDATE entry SET person_id = '{BO}' WHERE number = 1", 1, "its person is"),
    "its time was changed": ("UPDATE entry SET at = at + '1 us'::interval WHERE number = 3", 3, "its at is"),
    "the first was cut out": ("DELETE FROM entry WHERE number = 1", 2, "follows entry 0"),
    "a middle one was cut out": ("DELETE FROM entry WHERE number = 3", 4, "follows entry 2: what was between them"),
    "a middle one was cut out and the others moved up": (
        "DELETE FROM entry WHERE number = 3; UPDATE entry SET number = number - 1 WHERE number > 3",
        3, "does not follow",
    ),
    "two were exchanged": (
        "UPDATE entry SET number = 9 WHERE number = 3; UPDATE entry SET number = 3 WHERE number = 4;"
        "UPDATE entry SET number = 4 WHERE number = 9", 3, "does not follow",
    ),
    "the end was cut off": ("DELETE FROM entry WHERE number > 4", 5, "the head is at 6 and the entries end at 4"),
    "all of it was cut off": ("DELETE FROM entry", 1, "the head is at 6 and the entries end at 0"),
    "the head was set back": ("UPDATE head SET number = 5", 7, "the head is at 5 and the entries end at 6"),
    "the head's digest was changed": ("UPDATE head SET digest = ''", 7, "the head is at 6"),
    "the head was deleted": ("DELETE FROM head", 7, "has no head"),
    "an entry was added beyond the head": (ONE_TOO_MANY, 7, "does not follow"),
    "a personal value was changed": (
        "UPDATE personal SET value = 'x' WHERE value LIKE 'Gr%'", 1, "its sentence was altered",
    ),
    "a salt became rubbish": ("UPDATE personal SET salt = 'x' WHERE person_id IS NOT NULL", 1, "was altered"),
    "a salt was changed": ("UPDATE personal SET salt = repeat('00', 16) WHERE person_id IS NOT NULL", 1, "was altered"),
    "who did it was changed": ("UPDATE personal SET value = 'bo' WHERE person_id IS NULL", 1, "its actor was altered"),
    "who did it was erased": ("DELETE FROM personal WHERE person_id IS NULL", 1, "its actor was erased, and no later"),
    "a person was erased in silence": (f"DELETE FROM personal WHERE person_id = '{BO}'", 2, "was erased, and no later"),
}  # fmt: skip


def forged(database: Database, forgery: Forgery) -> None:
    """As the owner with the triggers switched off."""
    with psycopg.connect(dsn(database.owner_url)) as connection:
        for table in ("entry", "personal", "head"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        if isinstance(forgery, str):
            connection.execute(forgery.encode())
        else:
            forgery(connection)


@pytest.mark.parametrize("how", FORGERIES)
def test_it_shows_when(written: Store, fresh_database: Database, how: str) -> None:
    forgery, first_bad, words = FORGERIES[how]
    forged(fresh_database, forgery)
    with written.begin() as session:
        verdict = chain.verify(session)
    assert not verdict.ok
    assert words in verdict.what
    assert verdict.first_bad == first_bad
    assert verdict.checked < max(first_bad, 1)
    in_pieces = piece_by_piece(written)[-1]
    assert (in_pieces.ok, in_pieces.first_bad) == (False, first_bad)


def piece_by_piece(store: Store) -> list[Verdict]:
    """The chain verified two entries at a time, as a worker does it with thousands."""
    verdicts: list[Verdict] = []
    after = (0, "")
    while not verdicts or (verdicts[-1].ok and verdicts[-1].beyond):
        with store.begin() as session:
            verdicts.append(chain.verify(session, after=after, most=2))
        after = (verdicts[-1].checked, verdicts[-1].head)
    return verdicts


def test_in_pieces_a_chain_is_looked_at_to_its_end(written: Store) -> None:
    assert [(v.ok, v.checked, v.beyond) for v in piece_by_piece(written)] == [
        (True, 2, True), (True, 4, True), (True, 6, True), (True, 6, False),
    ]  # fmt: skip


def test_a_sound_chain_verifies_and_gives_its_last_digest(written: Store, rows: Rows) -> None:
    with written.begin() as session:
        verdict = chain.verify(session)
    assert (verdict.ok, verdict.checked, verdict.first_bad, verdict.what, verdict.erased) == (True, 6, None, "", 0)
    assert rows("SELECT number, digest FROM head") == [(6, verdict.head)]


def cut_with_its_head(connection: psycopg.Connection[Any]) -> None:
    connection.execute("DELETE FROM entry WHERE number > 4")
    connection.execute("UPDATE head SET (number, digest) = (SELECT number, digest FROM entry WHERE number = 4)")


def last_one_rewritten(connection: psycopg.Connection[Any]) -> None:
    rewritten(connection, 6, facts="other")


@pytest.mark.parametrize("forgery", [cut_with_its_head, last_one_rewritten])
def test_what_the_chain_alone_cannot_see_a_witness_shows(
    written: Store, fresh_database: Database, forgery: Callable[[psycopg.Connection[Any]], None]
) -> None:
    with written.begin() as session:
        witness = (6, chain.verify(session).head)
    appended(written)
    forged(fresh_database, forgery)
    with written.begin() as session:
        assert chain.verify(session).ok
        verdict = chain.verify(session, witness=witness)
    assert not verdict.ok
    assert "noted" in verdict.what


def test_a_witness_of_any_earlier_entry_is_accepted(written: Store, rows: Rows) -> None:
    for number, digest in rows("SELECT number, digest FROM entry"):
        with written.begin() as session:
            assert chain.verify(session, witness=(int(str(number)), str(digest))).ok


# --- forgetting ------------------------------------------------------------------------------------------------------


def forget(store: Store, person: str = ANA) -> int:
    with store.begin() as session:
        return chain.forget(session, person, "operator:eve", NOW)


def people_in(session: Session) -> list[str]:
    return [entry.personal.get("login", "-") for entry in chain.entries(session)]


def test_a_forgotten_person_is_gone_and_the_chain_verifies(written: Store, rows: Rows) -> None:
    assert forget(written) == 4
    with written.begin() as session:
        assert people_in(session) == [
            ERASED, f"{BO}@acme.example", "-", ERASED, f"{BO}@acme.example", "-", "-",
        ]  # fmt: skip
        verdict = chain.verify(session)
        *_, last = chain.entries(session)
    assert (verdict.ok, verdict.checked, verdict.erased) == (True, 7, 4)
    assert (last.kind, last.person_id, last.actor, last.facts) == (
        "person forgotten", ANA, "operator:eve", {"values": "4"},
    )  # fmt: skip
    assert rows(f"SELECT 1 FROM personal WHERE value LIKE '{ANA}%'") == []


def test_what_is_recorded_of_a_person_after_they_were_forgotten_is_not_excused(
    written: Store, fresh_database: Database
) -> None:
    forget(written)
    appended(written, event())
    forged(fresh_database, f"DELETE FROM personal WHERE person_id = '{ANA}'")
    with written.begin() as session:
        assert chain.verify(session).first_bad == 8


def test_forgetting_a_person_does_not_excuse_that_whoever_acted_was_erased(
    written: Store, fresh_database: Database
) -> None:
    forget(written)
    forged(fresh_database, "DELETE FROM personal WHERE person_id IS NULL")
    with written.begin() as session:
        assert chain.verify(session).what.startswith("its actor was erased")


def test_a_person_can_be_forgotten_again(written: Store) -> None:
    forget(written)
    appended(written, event())
    assert forget(written) == 2
    with written.begin() as session:
        assert chain.verify(session).ok


def test_a_person_of_several_streams_is_forgotten_in_each(written: Store) -> None:
    appended(written, event(), stream="rehearsal")
    forget(written)
    with written.begin() as session:
        assert chain.verify(session, "rehearsal").erased == 2
        assert chain.verify(session).ok
