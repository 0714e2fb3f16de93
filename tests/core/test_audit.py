"""The arithmetic of the audit chain: the same event gives the same bytes, and any change of them shows."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.audit import Event, Links, commitment, content, digest, moment, plain
from worker.core.identity import Standing

NOW = dt.datetime(2026, 11, 21, 9, 0, tzinfo=dt.UTC)
ODD_HOURS = dt.timezone(dt.timedelta(hours=5, minutes=45))


def test_a_commitment_is_the_digest_of_salt_and_value() -> None:
    assert commitment("00ff", "Ana") == hashlib.sha256(b"\x00\xffAna").hexdigest()


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_commitments_agree_exactly_when_the_values_do(one: str, other: str) -> None:
    assert (commitment("00", one) == commitment("00", other)) == (one == other)


PLAIN: dict[str, tuple[object, object]] = {
    "text stays": ("Ana", "Ana"),
    "a whole number becomes text": (7, "7"),
    "a huge number becomes text": (2**70, str(2**70)),
    "yes and no stay": (True, True),
    "nothing stays": (None, None),
    "an id becomes text": (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    "a time becomes text in UTC": (dt.datetime(2026, 1, 1, tzinfo=ODD_HOURS), "2025-12-31T18:15:00.000000Z"),
    "one of our words becomes its text": (Standing.ACTIVE, "active"),
    "a list keeps its order": ((2, [1]), ["2", ["1"]]),
    "a set is put in order": (frozenset({"b", "a"}), ["a", "b"]),
    "a mapping is walked": ({"n": {"m": 1}}, {"n": {"m": "1"}}),
    "half a surrogate pair is marked": ("a\ud83d", "a\ufffd"),
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_fact_is_made_plain(case: str) -> None:
    value, expected = PLAIN[case]
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)


@pytest.mark.parametrize("value", [1.5, b"bytes", object(), {"x": [0.1]}, dt.date(2026, 1, 1), {7: "x"}, float("nan")])
def test_what_has_no_one_plain_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="audit entry"):
        plain(value)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError, match="with its zone"):
        moment(dt.datetime(2026, 1, 1))  # noqa: DTZ001 (that is the point)


_FACTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(_FACTS)
def test_plain_facts_stay_as_they_are(value: object) -> None:
    assert plain(plain(value)) == plain(value)


# --- following a chain -----------------------------------------------------------------------------------------------


def chained(*facts: Mapping[str, Any], stream: str = "main") -> list[tuple[int, str, bytes]]:
    """(number, digest, body) of a sound chain."""
    links, previous = [], ""
    for number, fact in enumerate(facts, 1):
        said = content(Event(kind="k", actor="eve", at=NOW, facts=fact), stream, number, previous, {})
        body = json.dumps(said, sort_keys=True).encode()
        previous = digest(body)
        links.append((number, previous, body))
    return links


def fault(entries: list[tuple[int, str, bytes]], stream: str = "main", **columns: str) -> str:
    """The first fault."""
    links = Links(stream)
    return next(filter(None, (links.fault(*entry, columns) for entry in entries)), "")


@given(st.lists(st.dictionaries(st.text(), st.text()), max_size=6))
def test_a_sound_chain_has_no_fault(facts: list[dict[str, str]]) -> None:
    assert fault(chained(*facts), kind="k", run="", person="", at=moment(NOW)) == ""


@given(st.integers(0, 3), st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_is_found(entry: int, place: int, by: int) -> None:
    entries = chained({"n": "0"}, {"n": "1"}, {"n": "2"}, {"n": "3"})
    number, stated, body = entries[entry]
    changed = bytearray(body)
    changed[place % len(changed)] ^= by
    entries[entry] = (number, stated, bytes(changed))
    assert "do not have its digest" in fault(entries)


@given(st.permutations(range(4)))
def test_any_other_order_is_found(order: list[int]) -> None:
    entries = chained({"n": "0"}, {"n": "1"}, {"n": "2"}, {"n": "3"})
    shuffled = [(number, *entries[place][1:]) for number, place in enumerate(order, 1)]
    assert bool(fault(shuffled)) == (order != [0, 1, 2, 3])


def test_an_entry_of_another_stream_is_found() -> None:
    assert "stream" in fault(chained({}, stream="rehearsal"))


def test_what_is_kept_beside_the_bytes_must_agree_with_them() -> None:
    assert fault(chained({}), kind="other") == "its kind is 'other' in the table and 'k' in its bytes"


def test_after_a_fault_the_last_sound_entry_is_known() -> None:
    links = Links("main")
    first, second = chained({"n": "1"}, {"n": "2"})
    assert links.fault(*first, {}) == ""
    assert links.fault(3, *second[1:], {}) != ""
    assert (links.number, links.digest, links.said["facts"]) == (1, first[1], {"n": "1"})
