"""A receipt says of each thing once what became of it, and its headline never says more than its lines."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.receipt import (
    ACCOUNT,
    SETTLED,
    Comeback,
    Fate,
    Hidden,
    Legacy,
    Line,
    Receipt,
    Trace,
    as_data,
    as_of,
    from_data,
    in_order,
    lines_of,
)

NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
LATER = NOON + dt.timedelta(hours=1)
ROLE, KEY = "role:5", "api key:9"
OUT = Trace(
    "looker", "7", "ana@acme.example", {ACCOUNT: "the account itself", ROLE: "role Analyst", KEY: "API key 9"},
    left=frozenset(), looked_at=NOON, by_policy=frozenset({ROLE}),
)  # fmt: skip


def fate(trace: Trace, key: str) -> Fate:
    (found,) = [line.fate for line in lines_of(trace) if line.key == key]
    return found


def receipt(*traces: Trace, closed: bool = True, **more: object) -> Receipt:
    lines = in_order([line for trace in traces for line in lines_of(trace)])
    end = NOON if closed else None
    facts: dict[str, object] = {"closed_at": end, "verified_at": end, "lines": lines, **more}
    made = Receipt(
        "id", "person", "Ana Ruiz <ana@acme.example>", "operator", "left", "operator:ben", "operator:ben", False, "",
        "closed", NOON,
    )  # fmt: skip
    return replace(made, **facts)  # type: ignore[arg-type]


CASES = {
    "taken, and not there any more": (OUT, ROLE, Fate.GONE),
    "never looked for again": (replace(OUT, left=None), ROLE, Fate.PENDING),
    "still there": (replace(OUT, left=frozenset({KEY})), KEY, Fate.MANUAL),
    "there, and ends by itself": (replace(OUT, left=frozenset({KEY}), until={KEY: LATER}), KEY, Fate.UNTIL),
    "there, ends by itself, and a human can end it now": (
        replace(OUT, left=frozenset({KEY}), until={KEY: LATER}, hands={KEY: ("Delete it.",)}), KEY, Fate.MANUAL,
    ),
    "there, and nobody ever saw it before": (replace(OUT, left=frozenset({"token:x"})), "token:x", Fate.MANUAL),
    "kept on purpose while the account is locked": (replace(OUT, kept={"mail": "why"}), "kept mail", Fate.STAYS),
    "kept on purpose, and the account works": (
        replace(OUT, left=frozenset({ACCOUNT}), kept={"mail": "why"}), "kept mail", Fate.MANUAL,
    ),
    "what nobody shows": (replace(OUT, hidden=(Hidden("keys", "why"),)), "unseen keys", Fate.UNSEEN),
    "what nobody shows, ended all the same": (
        replace(OUT, hidden=(Hidden("keys", "why", ended_at=NOON, key=KEY),)), KEY, Fate.UNSEEN,
    ),
    "what nobody shows and ends by itself": (
        replace(OUT, hidden=(Hidden("logins", "why", ends_at=LATER),)), "unseen logins", Fate.UNTIL,
    ),
    "a schedule with an heir": (
        replace(OUT, legacies=(Legacy("schedule", "3", "Sales", heir="Ben", handed_at=NOON),)), "schedule 3",
        Fate.HANDED_OVER,
    ),
    "a schedule that goes outside": (
        replace(OUT, legacies=(Legacy("schedule", "3", "Sales", caution="it goes outside"),)), "schedule 3",
        Fate.MANUAL,
    ),
    "a schedule that could not be handed over": (
        replace(OUT, legacies=(Legacy("schedule", "3", "Sales", trouble="503"),)), "schedule 3", Fate.MANUAL,
    ),
    "a schedule that nobody is to have": (
        replace(OUT, legacies=(Legacy("schedule", "3", "Sales", because="nobody"),)), "schedule 3", Fate.STAYS,
    ),
    "a dashboard": (
        replace(OUT, legacies=(Legacy("content", "3", "Figures", caution="it stays"),)), "content 3", Fate.STAYS,
    ),
    "an account that is never touched": (replace(OUT, untouched="it is protected"), ACCOUNT, Fate.MANUAL),
}  # fmt: skip


@pytest.mark.parametrize(("trace", "key", "became"), CASES.values(), ids=CASES.keys())
def test_the_fate_of(trace: Trace, key: str, became: Fate) -> None:
    assert fate(trace, key) is became


def test_only_what_was_taken_comes_back_and_only_what_a_policy_names_by_policy() -> None:
    found = {line.key: line.comeback for line in lines_of(OUT)}
    assert found == {ACCOUNT: Comeback.POLICY, ROLE: Comeback.POLICY, KEY: Comeback.LOST}
    left = {line.key: line.comeback for line in lines_of(replace(OUT, left=frozenset({ROLE})))}
    assert left[ROLE] is Comeback.NOTHING_TAKEN


def test_nothing_left_is_what_the_headline_says_of_nothing_left() -> None:
    assert receipt(OUT).headline == "No access left that Trueup can see"
    assert receipt().complete, "who had nothing anywhere is out"


HEADLINES = {
    "by hand": (replace(OUT, left=frozenset({KEY})), "Partial: 1 to do by hand"),
    "unseen": (replace(OUT, hidden=(Hidden("keys", "why"),)), "Partial: 1 that nobody can see"),
    "until": (replace(OUT, left=frozenset({KEY}), until={KEY: LATER}), "Partial: 1 valid for a while yet"),
    "not yet": (replace(OUT, left=None), "Partial: 3 not done yet"),
}


@pytest.mark.parametrize(("trace", "said"), HEADLINES.values(), ids=HEADLINES.keys())
def test_the_headline_says_what_is_left(trace: Trace, said: str) -> None:
    assert receipt(trace).headline == said


def test_an_offboarding_that_is_under_way_leaves_something_whatever_its_lines() -> None:
    assert not receipt(OUT, closed=False).complete
    assert not receipt(OUT, unfinished={"teamcity": "503"}).complete
    assert "teamcity not finished" in receipt(OUT, unfinished={"teamcity": "503"}).headline


@pytest.mark.parametrize("state", ["not confirmed", "rejected", "lifted"])
def test_what_ended_before_it_was_done_left_everything_whatever_its_lines(state: str) -> None:
    for one in (receipt(OUT, state=state), receipt(state=state, verified_at=None)):
        assert not one.complete
        assert one.headline == f"Ended before it was done: {state}"


def test_seconds_count_from_the_sources_own_event() -> None:
    one = receipt(OUT, event_at=NOON - dt.timedelta(seconds=4), verified_at=NOON + dt.timedelta(seconds=2))
    assert one.seconds(one.verified_at) == 6
    assert one.in_time
    assert not replace(one, objective=5.0).in_time
    assert replace(one, verified_at=None).in_time is None


# --- laws ------------------------------------------------------------------------------------------------------------

KEYS = st.sampled_from([ACCOUNT, ROLE, KEY, "group:3", "session:1", "session:2", "token:x"])
HIDDEN = st.builds(
    Hidden, st.sampled_from(["keys", "logins"]), st.just("why"), ends_at=st.none() | st.just(LATER),
    key=st.just("") | KEYS,
)  # fmt: skip
LEGACIES = st.builds(
    Legacy, st.sampled_from(["schedule", "content"]), st.sampled_from("12"), st.just("Sales"),
    handed_at=st.none() | st.just(NOON), caution=st.sampled_from(["", "outside"]),
    trouble=st.sampled_from(["", "503"]),
)  # fmt: skip
TRACES = st.builds(
    Trace, st.sampled_from(["looker", "teamcity"]), st.sampled_from("78"), st.just("ana"),
    seen=st.dictionaries(KEYS, st.just("words")), left=st.none() | st.frozensets(KEYS),
    until=st.dictionaries(KEYS, st.just(LATER)), hands=st.dictionaries(KEYS, st.just(("Do it.",))),
    hidden=st.lists(HIDDEN, unique_by=(lambda h: h.what, lambda h: h.key or h.what)).map(tuple),
    legacies=st.lists(LEGACIES, unique_by=lambda one: (one.kind, one.id)).map(tuple),
    kept=st.dictionaries(st.sampled_from(["mail", "All Users"]), st.just("why")),
    untouched=st.sampled_from(["", "", "protected"]),
)  # fmt: skip


@given(TRACES)
def test_every_thing_is_on_exactly_one_line(trace: Trace) -> None:
    keys = [line.key for line in lines_of(trace)]
    assert len(keys) == len(set(keys))
    if not trace.untouched:
        assert set(trace.seen) | (trace.left or frozenset()) | {h.key for h in trace.hidden if h.key} <= set(keys)
        assert sum(key.startswith(("schedule", "content")) for key in keys) == len(trace.legacies)


@given(TRACES)
def test_nothing_is_gone_that_was_not_looked_for_again_or_was_found(trace: Trace) -> None:
    gone = {line.key for line in lines_of(trace) if line.fate is Fate.GONE}
    assert not gone or trace.left is not None
    assert not gone & (trace.left or frozenset())
    assert not gone & {one.key for one in trace.hidden}


@given(st.lists(TRACES, max_size=3), st.booleans())
def test_no_access_left_is_never_said_beside_a_line_that_is_open(traces: list[Trace], closed: bool) -> None:
    one = receipt(*traces, closed=closed)
    everything_settled = closed and all(line.fate in SETTLED for line in one.lines)
    assert (one.headline == "No access left that Trueup can see") is everything_settled


@given(st.lists(TRACES, max_size=2))
def test_a_receipt_that_was_written_down_reads_as_it_was(traces: list[Trace]) -> None:
    one = receipt(*traces, event_at=NOON, unfinished={"looker": "why"}, without=("teamcity",), entries=((7, "kind"),))
    assert from_data(as_data(one)) == one


@pytest.mark.parametrize(("minutes", "fate_", "complete"), [(59, Fate.UNTIL, False), (60, Fate.OVER, True)])
def test_what_ends_by_itself_is_told_as_of_the_time_at_which_it_is_read(
    minutes: int, fate_: Fate, complete: bool
) -> None:
    written = receipt(replace(OUT, hidden=(Hidden("logins", "why", ends_at=LATER),)))
    read = as_of(written, NOON + dt.timedelta(minutes=minutes))
    assert fate_ in [line.fate for line in read.lines]
    assert read.complete is complete
    assert not written.complete


def test_what_is_open_stands_before_what_is_settled() -> None:
    lines = [Line("looker", "7", "ana", key, key, fate_) for key, fate_ in zip("abcdefgh", Fate, strict=True)]
    settled = [line.fate in SETTLED for line in in_order(lines)]
    assert settled == sorted(settled)
