"""The commands about people who leave, as somebody types them: what they say, in what form, with which exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.counter import Counter

BOB = {"TRUEUP_ACTOR": "operator:bob", "LOGNAME": "bob", "USER": "bob"}  # somebody with a login of their own
ANA = {"LOGNAME": "ana", "USER": "ana"}


@pytest.fixture(scope="module")
def left(counter: Counter) -> str:
    """Offboarded without the source's word, here and now."""
    who = "karim.mendes@acme.example"
    told = counter.trueup("offboard", who, "--reason", "left today", "--force", "--wait", **ANA)
    assert told.code in (0, 2), told.err
    assert "locked out everywhere" in told.out
    return who


def test_a_receipt_is_shown_written_as_a_page_and_as_json(counter: Counter, left: str, tmp_path: Path) -> None:
    shown = counter.trueup("receipt", left)
    assert "✓ the account itself: gone, verified" in shown.out
    page = tmp_path / "receipt.html"
    assert counter.trueup("receipt", left, "--html", str(page)).code == shown.code
    assert "<title>Offboarding receipt: Karim Mendes" in page.read_text(encoding="utf-8")
    data = counter.trueup("receipt", left, "--json").json()
    assert data["format"] == "trueup receipt 1"
    assert data["forced"] is True
    assert data["complete"] is (shown.code == 0)
    assert counter.trueup("receipt", data["id"][:8]).out == shown.out


def test_the_report_of_leavers_measures_against_the_objective(counter: Counter, left: str) -> None:
    rows = counter.trueup("report", "leavers").out.splitlines()
    assert any(left in row and "operator" in row for row in rows)
    data = counter.trueup("report", "leavers", "--json").json()
    assert data["objective_seconds"] == 60
    assert data["leavers"][0]["in_time"] is True
    assert counter.trueup("report", "leavers", "--since", "2990-01-01", "--json").json()["leavers"] == []


def test_a_hold_is_lifted_with_a_note_by_whoever_is_named(counter: Counter, left: str) -> None:
    assert counter.trueup("why", left).out.count("until `trueup lift`") == 1
    early = counter.trueup("restore", left)
    assert (early.code, "still marked as departed" in early.err) == (1, True)
    assert counter.trueup("lift", left, "--note", " ").code == 1
    lifted = counter.trueup("lift", left, "--note", "it was the other one")
    assert (lifted.code, "held as departed no longer" in lifted.out) == (0, True)
    assert counter.trueup("lift", left, "--note", "again").code == 1


def test_somebody_who_has_not_departed_keeps_everything_and_is_told_of_force(counter: Counter) -> None:
    told = counter.trueup("offboard", "liam.wilson@acme.example", "--reason", "left", "--wait", **ANA)
    if told.code == 1:
        pytest.fail(told.err)
    assert told.code == 2
    assert "Ended before it was done: not confirmed" in told.out
    assert "okta says ACTIVE. If they must be out all the same, add --force." in told.out


def test_without_wait_it_says_how_it_goes_on(counter: Counter) -> None:
    told = counter.trueup("offboard", "liam.wilson@acme.example", "--reason", "left", "--json", **ANA)
    assert told.json()["workers_told"] is False


def test_a_reason_has_words(counter: Counter) -> None:
    assert "--reason" in counter.trueup("offboard", "liam.wilson@acme.example", "--reason", " ").err


def test_what_waits_is_in_the_review_and_whoever_asked_cannot_approve_it(counter: Counter, left: str) -> None:
    settings = counter.settings.read_text(encoding="utf-8")
    counter.settings.write_text(settings + "limits: {departures: {per_day: 1}}\n", encoding="utf-8")
    try:
        waits = counter.trueup("offboard", "nadia.abbasi@acme.example", "--reason", "left", "--force", "--wait", **ANA)
        assert "It waits for a human" in waits.out, waits.err
        (item,) = [i for i in counter.trueup("review", "list", "--json").json() if i["sentence"].startswith("offboard")]
        assert "limits.departures.per_day" in item["reason"]
        assert counter.trueup("review", "show", item["handle"], "--json").json()["forced"] is True
        forged = counter.trueup("review", "approve", item["handle"], **{**ANA, "TRUEUP_ACTOR": "Bob"})
        assert (forged.code, "second person" in forged.err) == (1, True)
        assert counter.trueup("review", "approve", item["handle"], "--note", "checked", **BOB).code == 0
        again = counter.trueup("offboard", "nadia.abbasi@acme.example", "--reason", "left", "--force", "--wait", **ANA)
        assert "verified by looking again" in again.out
    finally:
        counter.settings.write_text(settings, encoding="utf-8")
