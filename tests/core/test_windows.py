"""When a target may be changed, by the clock on the wall; also on days that lack an hour or have one twice."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.windows import Closed, Freeze, Window, closed

BERLIN = ZoneInfo("Europe/Berlin")
WEEK = frozenset(range(5))
OFFICE = Window(WEEK, dt.time(8), dt.time(18))
NIGHT = Window(frozenset({4}), dt.time(22), dt.time(2, 30))  # Friday to Saturday
SATURDAY_NIGHT = Window(frozenset({5}), dt.time(22), dt.time(2, 30))  # to the Sunday on which clocks change
SMALL_HOURS = Window(frozenset({6}), dt.time(2, 30), dt.time(4))
ALL_DAY = Window(frozenset({2}), dt.time(0), dt.time(0))


def berlin(text: str, *, fold: int = 0) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).astimezone(dt.UTC)


def opens(window: Window, now: dt.datetime, *freezes: Freeze) -> str:
    """When it does next, on the wall; "" when it is open."""
    found = closed("looker", now, BERLIN, [window], freezes)
    return f"{found.opens:%Y-%m-%d %H:%M %Z}" if found else ""


@pytest.mark.parametrize(
    ("window", "now", "expected"),
    [
        pytest.param(OFFICE, "2026-11-20T17:59:59", "", id="a second before it closes"),
        pytest.param(OFFICE, "2026-11-20T18:00", "2026-11-23 08:00 CET", id="Friday evening: on Monday"),
        pytest.param(OFFICE, "2026-11-23T08:00", "", id="the moment it opens"),
        pytest.param(OFFICE, "2026-11-23T07:59", "2026-11-23 08:00 CET", id="a minute before"),
        pytest.param(NIGHT, "2026-11-21T02:29", "", id="over midnight, on a day that is not among its days"),
        pytest.param(NIGHT, "2026-11-20T02:00", "2026-11-20 22:00 CET", id="before midnight of the day before it"),
        pytest.param(NIGHT, "2026-11-21T02:30", "2026-11-27 22:00 CET", id="over midnight, closed: next week"),
        pytest.param(ALL_DAY, "2026-11-25T23:59", "", id="from midnight to midnight is the whole day"),
        pytest.param(ALL_DAY, "2026-11-26T00:00", "2026-12-02 00:00 CET", id="and no more than that"),
        pytest.param(OFFICE, "2026-03-28T12:00", "2026-03-30 08:00 CEST", id="08:00 stays 08:00 when summer comes"),
        pytest.param(OFFICE, "2026-10-24T12:00", "2026-10-26 08:00 CET", id="and when it goes"),
        pytest.param(SATURDAY_NIGHT, "2026-03-29T01:59", "", id="before the hour that is left out"),
        pytest.param(SATURDAY_NIGHT, "2026-03-29T03:00", "2026-04-04 22:00 CEST", id="past 02:30, which never was"),
        pytest.param(SMALL_HOURS, "2026-03-29T01:59", "2026-03-29 03:00 CEST", id="it opens as the clock leaps over"),
        pytest.param(SMALL_HOURS, "2026-03-29T03:00", "", id="as the clock has leapt over"),
    ],
)
def test_a_window_is(window: Window, now: str, expected: str) -> None:
    assert opens(window, berlin(now)) == expected


@pytest.mark.parametrize("fold", [0, 1], ids=["the first time", "the second time"])
def test_the_hour_that_comes_twice_counts_both_times(fold: int) -> None:
    assert opens(SATURDAY_NIGHT, berlin("2026-10-25T02:15", fold=fold)) == ""
    assert opens(SMALL_HOURS, berlin("2026-10-25T02:45", fold=fold)) == ""


def test_between_its_two_times_it_is_shut_and_opens_again_soon() -> None:
    assert opens(SMALL_HOURS, berlin("2026-10-25T02:15", fold=1)) == "2026-10-25 02:30 CET"


CHRISTMAS = Freeze(frozenset(), berlin("2026-12-20T00:00"), berlin("2027-01-04T00:00"), "year-end close")
ELSEWHERE = Freeze(frozenset({"teamcity"}), CHRISTMAS.begins, CHRISTMAS.ends, "release")


@pytest.mark.parametrize(
    ("freezes", "now", "expected"),
    [
        pytest.param([CHRISTMAS], "2026-12-21T12:00", "2027-01-04 08:00 CET", id="until the window after its end"),
        pytest.param([CHRISTMAS], "2026-12-18T18:00", "2027-01-04 08:00 CET", id="the window before it was the last"),
        pytest.param([CHRISTMAS], "2027-01-04T08:00", "", id="over when it is over"),
        pytest.param([ELSEWHERE], "2026-12-21T12:00", "", id="of no concern to another target"),
        pytest.param(
            [CHRISTMAS, Freeze(frozenset({"looker"}), berlin("2027-01-03T00:00"), berlin("2027-02-01T12:00"), "")],
            "2026-12-21T12:00", "2027-02-01 12:00 CET", id="until the end of the one that overlaps it",
        ),
    ],
)  # fmt: skip
def test_a_freeze_is(freezes: list[Freeze], now: str, expected: str) -> None:
    assert opens(OFFICE, berlin(now), *freezes) == expected


def test_what_is_closed_says_what_for_and_until_when() -> None:
    evening = berlin("2026-11-20T18:00")
    assert str(closed("looker", evening, BERLIN, [OFFICE], [])) == (
        "the window of looker (opens Mon 2026-11-23 08:00 CET)"
    )
    assert str(closed("looker", CHRISTMAS.begins, BERLIN, [], [CHRISTMAS])) == (
        "the end of the freeze of looker (opens Mon 2027-01-04 00:00 CET; year-end close)"
    )


def test_without_windows_and_freezes_it_is_always_open() -> None:
    assert closed("looker", berlin("2026-12-25T03:00"), BERLIN, [], []) is None


TIMES = st.builds(dt.time, st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))
WINDOWS = st.builds(Window, st.frozensets(st.integers(0, 6), min_size=1), TIMES, TIMES)
SPRING = dt.datetime(2026, 3, 27, tzinfo=dt.UTC)
INSTANTS = st.integers(0, 214 * 24 * 60).map(lambda minutes: SPRING + dt.timedelta(minutes=minutes))
FREEZES = st.builds(
    lambda begins, hours: Freeze(frozenset(), begins, begins + dt.timedelta(hours=hours), "x"),
    INSTANTS,
    st.integers(1, 999),
)


@given(st.lists(WINDOWS, min_size=1, max_size=3), st.lists(FREEZES, max_size=3), INSTANTS)
def test_whatever_is_closed_opens_at_the_moment_that_was_said_and_no_sooner(
    windows: list[Window], freezes: list[Freeze], now: dt.datetime
) -> None:
    found = closed("looker", now, BERLIN, windows, freezes)
    if found is None:
        return
    assert closed("looker", found.opens, BERLIN, windows, freezes) is None
    wait = found.opens - now
    for part in range(1, 24):
        before: Closed | None = closed("looker", now + wait * part / 24, BERLIN, windows, freezes)
        assert before is not None
        assert before.opens == found.opens


@given(WINDOWS, st.integers(0, 364))
def test_in_a_week_it_is_open_for_as_long_as_it_says(window: Window, day: int) -> None:
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=day)
    quarter = dt.timedelta(minutes=15)
    found = sum(closed("looker", start + quarter * n, dt.UTC, [window], []) is None for n in range(96 * 7))
    opens, closes = (time.hour * 4 + time.minute // 15 for time in (window.opens, window.closes))
    assert found == ((closes - opens) % 96 or 96) * len(window.days)
