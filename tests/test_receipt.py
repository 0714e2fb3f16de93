"""A receipt as it is written down: a page that is sound and safe and says the verdict first, lines for a terminal."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from tests.drift_reports import MARKUP, TURNED
from tests.test_report import Page
from worker import receipt as written
from worker.core.receipt import ACCOUNT, Comeback, Fate, Line, Receipt, in_order
from worker.report import digest

NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
SOON = NOON + dt.timedelta(seconds=4)


def line(fate: Fate, what: str = "role Analyst", **more: object) -> Line:
    made = Line("looker", "7", "ana@acme.example", f"{fate.name} {what}", what, fate, seen_at=SOON)
    return replace(made, **more)  # type: ignore[arg-type]


def receipt(*lines: Line, **more: object) -> Receipt:
    made = Receipt(
        "0b0c", "person", "Ana Ruiz <ana@acme.example>", "hook", "okta: user.lifecycle.deactivate", "hook:okta", "",
        False, "", "closed", NOON, NOON, SOON, SOON, SOON, SOON, lines=in_order(lines), entries=((7, "plan made"),),
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


WHOLE = receipt(line(Fate.GONE, taken_at=SOON, comeback=Comeback.POLICY), without=("teamcity",))
PARTIAL = receipt(
    *(line(fate, because="why", hands=("Open the page.", "Delete it.")) for fate in Fate if fate is not Fate.UNTIL),
    line(Fate.UNTIL, until=SOON),
)
RECEIPTS = {
    "nothing left": WHOLE,
    "one line of every fate": PARTIAL,
    "under way": receipt(line(Fate.PENDING), state="working", closed_at=None, unfinished={"looker": "503"}),
    "no account anywhere": receipt(without=("looker", "teamcity")),
    "not confirmed": receipt(state="not confirmed", said="okta says ACTIVE", verified_at=None),
}


@pytest.mark.parametrize("one", RECEIPTS.values(), ids=RECEIPTS.keys())
def test_the_page_is_sound_and_loads_and_runs_nothing(one: Receipt) -> None:
    page = Page(written.html(one))
    assert not page.all("script", "img", "iframe", "link", "form")
    (style,) = page.all("style")
    policy = next(e.attributes["content"] for e in page.all("meta") if "http-equiv" in e.attributes)
    assert digest("".join(str(part) for part in style.content)) in policy
    assert len(page.ids) == len(set(page.ids))
    assert "None" not in page.root.text


def test_the_verdict_stands_before_everything_else() -> None:
    for one in (WHOLE, PARTIAL):
        (verdict,) = [e for e in Page(written.html(one)).all("section") if "verdict" in e.attributes.get("class", "")]
        assert one.headline in verdict.text
        assert ("good" in verdict.attributes["class"]) is one.complete


def test_every_line_is_on_the_page_once_and_what_is_by_hand_has_its_steps_at_the_head() -> None:
    page = Page(written.html(PARTIAL))
    assert len([row for table in page.all("table") for row in table.all("tr")]) == len(PARTIAL.lines) + 1
    (todo,) = [e for e in page.all("section") if e.attributes.get("class") == "todo"]
    assert "Open the page." in todo.text
    assert "Delete it." in todo.text


def test_what_somebody_is_called_does_nothing_to_the_page_or_to_a_terminal() -> None:
    hostile = receipt(line(Fate.MANUAL, TURNED, because=MARKUP), person=f"{MARKUP} <x@y>", reason=TURNED)
    page = Page(written.html(hostile))
    assert not page.all("script", "img", "b")
    assert all(text.isprintable() or "\n" not in text for text, _ in written.text(hostile))


def test_the_report_of_many_counts_against_the_objective() -> None:
    late = receipt(line(Fate.GONE), verified_at=NOON + dt.timedelta(seconds=90))
    said = written.leavers_line([WHOLE, WHOLE, late, PARTIAL], 60)
    assert said == (
        "4 leavers, 3 of them verified within 60 s; median 4.0 s, 95 of 100 within 90 s; 1 partial."
    )  # fmt: skip
    assert [row[5] for row in written.leavers_table([WHOLE, late])] == ["yes", "no"]


@pytest.mark.parametrize(
    ("took", "said"),
    [(None, "–"), (0.84, "0.8 s"), (12.4, "12 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
    ids=str,
)
def test_seconds_are_said_as_people_say_them(took: float | None, said: str) -> None:
    assert written.seconds(took) == said


def test_the_account_itself_has_a_line_of_its_own() -> None:
    found = receipt(line(Fate.GONE, "the account itself", key=ACCOUNT))
    assert any("the account itself" in text for text, _ in written.text(found))
