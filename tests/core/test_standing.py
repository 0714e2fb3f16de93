"""What several sources say of one person comes to one standing, and nobody loses anything to a silence."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.identity import Standing
from worker.core.standing import LOST, weigh

ACTIVE, SUSPENDED, PENDING, HOLD, DEPARTED = Standing
Said = Standing | None


@dataclass(frozen=True)
class Case:
    """okta is the authority, as far as it says anything."""

    said: tuple[tuple[str, Said], ...]
    standing: Standing
    unsure: str = ""
    disagreement: str = ""


CASES = {
    "one source says active": Case((("okta", ACTIVE),), ACTIVE),
    "one source has lost them": Case((("okta", LOST),), HOLD),
    "the authority says active and another departed": Case(
        (("okta", ACTIVE), ("entra", DEPARTED)), ACTIVE, "", "okta (the authority) says active, entra says departed"
    ),
    "the authority says departed and another active": Case(
        (("okta", DEPARTED), ("entra", ACTIVE)), DEPARTED, "", "okta (the authority) says departed, entra says active"
    ),
    "the authority says active and another has lost them": Case(
        (("okta", ACTIVE), ("entra", LOST)),
        ACTIVE, "entra no longer has them", "okta (the authority) says active, entra no longer has them",
    ),
    "the authority has lost them": Case(
        (("okta", LOST), ("entra", ACTIVE)), HOLD, "", "okta (the authority) no longer has them, entra says active"
    ),
    "the authority says departed and another has lost them": Case((("okta", DEPARTED), ("entra", LOST)), DEPARTED),
    "the authority does not know them, and the others agree": Case((("hr", ACTIVE), ("entra", ACTIVE)), ACTIVE),
    "the authority does not know them, and the others differ": Case(
        (("hr", ACTIVE), ("entra", DEPARTED)), HOLD, "", "hr says active, entra says departed"
    ),
    "the authority does not know them, and one of the others has lost them": Case(
        (("hr", ACTIVE), ("entra", LOST)),
        ACTIVE, "entra no longer has them", "hr says active, entra no longer has them",
    ),
    "the authority does not know them, one says departed and one has lost them": Case(
        (("hr", LOST), ("entra", DEPARTED)), DEPARTED
    ),
    "two others have lost them": Case(
        (("okta", ACTIVE), ("hr", LOST), ("entra", LOST)),
        ACTIVE, "hr and entra no longer have them",
        "okta (the authority) says active, hr no longer has them, entra no longer has them",
    ),
    "another source cannot say": Case((("okta", ACTIVE), ("entra", HOLD)), HOLD),
    "the authority says departed and another cannot say": Case(
        (("okta", DEPARTED), ("entra", HOLD)), DEPARTED, "", "okta (the authority) says departed, entra says hold"
    ),
    "somebody was hired again, and a human has said so": Case((("okta", DEPARTED), ("okta", ACTIVE)), ACTIVE),
    "somebody was hired again and has left again": Case((("okta", LOST), ("okta", DEPARTED)), DEPARTED),
    "somebody was hired again and was lost": Case((("okta", DEPARTED), ("okta", LOST)), HOLD),
    "one source knows two of them that differ": Case((("okta", SUSPENDED), ("okta", ACTIVE)), HOLD),
    "the authority says suspended": Case((("okta", SUSPENDED), ("entra", ACTIVE)), SUSPENDED),
    "the authority says pending": Case((("okta", PENDING), ("entra", ACTIVE)), PENDING),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_when(case: str) -> None:
    expected = CASES[case]
    found = weigh(expected.said, "okta")
    assert (found.standing, found.unsure, found.disagreement) == (
        expected.standing, expected.unsure, expected.disagreement,
    )  # fmt: skip


SAID = st.lists(st.tuples(st.sampled_from(["okta", "entra", "hr"]), st.sampled_from([*Standing, LOST])), min_size=1)


@given(SAID)
def test_nobody_has_departed_whom_no_source_calls_departed(said: list[tuple[str, Said]]) -> None:
    if weigh(said, "okta").standing is DEPARTED:
        assert DEPARTED in [standing for _, standing in said]


@given(SAID)
def test_who_was_lost_by_any_source_that_says_nothing_else_loses_nothing_unless_departed(
    said: list[tuple[str, Said]],
) -> None:
    found = weigh(said, "okta")
    silent = [at for at, _ in said if {s for source, s in said if source == at} == {LOST}]
    if silent:
        assert found.unsure or found.standing in (HOLD, DEPARTED)


@given(SAID)
def test_where_the_authority_calls_somebody_active_nobody_else_makes_a_leaver_of_them(
    said: list[tuple[str, Said]],
) -> None:
    if ACTIVE in [standing for source, standing in said if source == "okta"]:
        assert weigh(said, "okta").standing is not DEPARTED
