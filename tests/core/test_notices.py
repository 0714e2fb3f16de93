"""The words of a message, and when a job counts as overdue."""

from __future__ import annotations

import datetime as dt

import pytest

from worker.core.deadman import JobPast, overdue
from worker.core.notices import NoticeKind, Told, compose, without_links

NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def test_a_message_tells_the_worst_first_and_says_where_to_look() -> None:
    message = compose([
        Told(NoticeKind.DRIFT_FOUND, "Ana Ruiz <ana@acme.example> lacks role Viewer in looker"),
        Told(NoticeKind.CHAIN_BROKEN, "entry 7"),
        Told(NoticeKind.DRIFT_FOUND, "account x in looker may not be who it seems", urgent=True),
    ])  # fmt: skip

    assert message.title == "Trueup: 1 broken chain, 2 new drifts"
    assert message.body == (
        "1 broken chain (see: trueup audit verify)\n"
        "- entry 7\n"
        "\n"
        "2 new drifts (see: trueup report drift)\n"
        "- URGENT: account x in looker may not be who it seems\n"
        "- Ana Ruiz <ana@acme.example> lacks role Viewer in looker"
    )


def test_every_kind_can_be_told() -> None:
    for kind in NoticeKind:
        assert compose([Told(kind, "it happened")]).body.endswith("- it happened")


def test_whoever_was_forgotten_meanwhile_is_counted_and_not_shown() -> None:
    message = compose([Told(NoticeKind.DRIFT_FOUND, "")] * 3)

    assert message.body.splitlines()[1:] == ["- and 3 more"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param("see https://evil.example/x", "see https: //evil.example/x", id="a link"),
        pytest.param("www.evil.example", "www . evil.example", id="what chats make a link of"),
        pytest.param("@everyone and @Channel", "(at)everyone and (at)Channel", id="a call to everybody"),
        pytest.param("ana@here.example", "ana(at)here.example", id="an address that looks like one"),
        pytest.param("a\nb\x1b[31m\u202e", "a b\\u001b[31m\\u202e", id="what moves a cursor or turns the text"),
    ],
)
def test_a_name_from_elsewhere_brings_nothing_into_a_message(name: str, shown: str) -> None:
    assert without_links(name) == shown


@pytest.mark.parametrize(
    ("past", "late"),
    [
        pytest.param(JobPast(NOON - 9 * HOUR, NOON - 3 * HOUR), False, id="its last success is three intervals ago"),
        pytest.param(JobPast(NOON - 9 * HOUR, NOON - 4 * HOUR), True, id="its last success is four intervals ago"),
        pytest.param(JobPast(NOON - 2 * HOUR, None), False, id="it was first due two intervals ago"),
        pytest.param(
            JobPast(NOON - 4 * HOUR, None), True, id="it was first due four intervals ago and never succeeded"
        ),
    ],
)
def test_a_job_is_overdue_after_so_many_of_its_intervals(past: JobPast, late: bool) -> None:
    found = overdue({"verify": HOUR}, {"verify": past}, 3, NOON, NOON)

    assert [one.job for one in found] == (["verify"] if late else [])


def test_a_job_that_nobody_ever_made_due_is_waited_for_since_we_watch() -> None:
    assert overdue({"verify": HOUR}, {}, 3, NOON - 3 * HOUR, NOON) == []
    (found,) = overdue({"verify": HOUR}, {}, 3, NOON - 4 * HOUR, NOON)

    assert found.sentence(NOON) == (
        "verify has not succeeded ever, and was first due 4 hours ago; it should within 3 hours"
    )


def test_a_job_that_is_no_longer_in_the_schedule_is_missed_by_nobody() -> None:
    assert overdue({}, {"pull gone": JobPast(NOON - 99 * HOUR, None)}, 3, NOON - 99 * HOUR, NOON) == []
