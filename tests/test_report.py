"""The drift report as it is written down: a page that is sound and safe, a table that stays text, JSON by its keys."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.drift_reports import (
    FORMULA,
    HOSTILE,
    MARKUP,
    NOW,
    TURNED,
    ago,
    eventful,
    finding,
    proposal,
    reading,
    report,
    standing,
    waiver,
)
from worker import report as written
from worker.core.findings import Comparison, Concern, DriftReport, Finding, Halt, RuleNote, Stage

VOID = frozenset({"meta", "br", "hr", "link", "img", "input"})
MISLEADING = re.compile("[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: Element | None
    content: list[Element | str] = field(default_factory=list)

    @property
    def children(self) -> list[Element]:
        return [one for one in self.content if isinstance(one, Element)]

    @property
    def text(self) -> str:
        """What is read, with a space between elements."""
        return " ".join(" ".join(one if isinstance(one, str) else one.text for one in self.content).split())

    def all(self, *tags: str) -> list[Element]:
        """Every element below with one of the tags, in the order of the page."""
        found = []
        for child in self.children:
            found += [child] if child.tag in tags else []
            found += child.all(*tags)
        return found


class Page(HTMLParser):
    """A parsed page; an element that is not closed where it must be is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = self.open = Element("", {}, None)
        self.feed(text)
        self.close()
        assert self.open is self.root, f"<{self.open.tag}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.open)
        self.open.content.append(element)
        if tag not in VOID:
            self.open = element

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.tag, f"</{tag}> closes <{self.open.tag}>"
        assert self.open.parent is not None
        self.open = self.open.parent

    def handle_data(self, data: str) -> None:
        self.open.content.append(data)

    def all(self, *tags: str) -> list[Element]:
        return self.root.all(*tags)

    def row(self, one: Finding) -> Element:
        """The line of a finding."""
        return next(e for e in self.all("tr") if e.attributes.get("id") == f"f-{one.episode_id}")

    @property
    def ids(self) -> list[str]:
        return [e.attributes["id"] for e in _everything(self.root) if "id" in e.attributes]


def _everything(element: Element) -> list[Element]:
    return [element, *(e for child in element.children for e in _everything(child))]


def page(one: DriftReport) -> Page:
    return Page(written.html(one))


REPORTS = {
    "nothing stands": report(),
    "one of everything": eventful(),
    "nothing was ever compared": report(comparisons=(Comparison("looker"),), readings=()),
}
every_report = pytest.mark.parametrize("one", REPORTS.values(), ids=REPORTS.keys())


# --- the page is sound -----------------------------------------------------------------------------------------------


@every_report
def test_the_page_says_its_language_and_title_and_has_one_main_and_one_first_heading(one: DriftReport) -> None:
    found = page(one)
    (html,) = found.all("html")
    assert html.attributes["lang"] == "en"
    assert found.all("title")[0].text == "Drift report, 2026-11-21 12:30 UTC"
    assert [len(found.all(tag)) for tag in ("main", "h1", "header", "footer")] == [1, 1, 1, 1]


@every_report
def test_no_heading_skips_a_level(one: DriftReport) -> None:
    levels = [int(h.tag[1]) for h in page(one).all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


@every_report
def test_every_table_has_a_caption_and_every_heading_cell_says_what_it_heads(one: DriftReport) -> None:
    found = page(one)
    for table in found.all("table"):
        assert table.all("caption")[0].text
    for cell in found.all("th"):
        above = cell.parent.parent if cell.parent else None
        assert above is not None
        assert cell.attributes["scope"] == {"thead": "col", "tbody": "row"}[above.tag]
        assert cell.text


@every_report
def test_every_id_is_there_once_and_every_link_and_label_leads_to_one(one: DriftReport) -> None:
    found = page(one)
    assert [i for i, n in Counter(found.ids).items() if n > 1] == []
    links = {e.attributes["href"] for e in found.all("a")}
    labels = {
        f"#{e.attributes['aria-labelledby']}" for e in _everything(found.root) if "aria-labelledby" in e.attributes
    }
    assert links | labels <= {f"#{i}" for i in found.ids}


@every_report
def test_landmarks_with_a_name_have_one_of_their_own(one: DriftReport) -> None:
    names = [e.attributes["aria-labelledby"] for e in page(one).all("section") if "aria-labelledby" in e.attributes]
    assert len(names) == len(set(names))


@every_report
def test_the_page_loads_nothing_runs_nothing_and_forbids_both(one: DriftReport) -> None:
    text = written.html(one)
    found = Page(text)
    assert found.all("script", "link", "img", "iframe", "object", "form", "base") == []
    assert [e.attributes for e in _everything(found.root) if {"src", "style", "srcset"} & set(e.attributes)] == []
    assert not re.search(r"https?://|url\(|@import", text)
    policies = [e.attributes["content"] for e in found.all("meta") if "http-equiv" in e.attributes]
    (style,) = found.all("style")
    digest = written.digest("".join(map(str, style.content)))
    assert policies == [f"default-src 'none'; style-src '{digest}'; base-uri 'none'; form-action 'none'"]


def test_printed_heads_are_repeated_rows_are_not_cut_and_pages_are_numbered() -> None:
    (style,) = page(eventful()).all("style")
    rules = style.text
    assert "size: A4" in rules
    assert "thead { display: table-header-group; }" in rules
    assert re.search(r"[ ,]tr[ ,][^{}]*{ break-inside: avoid; }", rules)
    assert "counter(page)" in rules


# --- the page says what there is -------------------------------------------------------------------------------------


def test_the_summary_comes_first_with_what_is_urgent_and_what_to_know_before() -> None:
    found = page(eventful())
    assert [h.text for h in found.all("h2", "h3")][:4] == [
        "Summary",
        "Before you rely on this",
        "First of all",
        "Withheld, and why",
    ]
    (urgent,) = [e for e in found.all("section") if e.attributes.get("aria-labelledby") == "urgent"]
    assert [li.text.partition(" for ")[0] for li in urgent.all("li")] == [
        "account ana.r in looker may not be who it seems: two people; one of them has departed",
        "Ana Ruiz <ana@acme.example> holds role Analyst in looker",
    ]


def test_targets_stand_in_order_and_their_groups_by_urgency() -> None:
    headings = [h.text for h in page(eventful()).all("h2", "h3")]
    assert headings[4:] == [
        "Findings in looker",
        "Departed, and the account is in doubt 1",
        "Departed, and the account still works 1",
        "Access that no rule gives 6",
        "Accounts of nobody we know 1",
        "Rules that cannot be evaluated 1",
        "Findings in teamcity",
        "People without the account they should have 1",
        "Waivers in force",
        "What this report rests on",
    ]


def test_a_line_names_person_account_age_sentence_state_and_handle() -> None:
    one = finding()
    cells = [cell.text for cell in page(report(one)).row(one).all("th", "td")]
    assert one.proposal is not None
    assert cells == [
        "Ana Ruiz ana@acme.example account id 41",
        one.proposal.sentence,
        "3 days 2026-11-18 12:30 UTC",
        "needs a decision",
        one.proposal.fingerprint[:10],
    ]


def test_an_account_by_another_name_than_its_owner_s_is_named_too() -> None:
    one = finding(account="a.ruiz")
    assert "account a.ruiz" in page(report(one)).row(one).text


LINES = {
    "a guard by its mark": (2, "withheld by W1"),
    "steps for a human": (3, "by hand the API cannot do it"),
    "what went wrong": (5, "did not succeed failed: Looker answered 422"),
    "when it was last seen": (6, "not judged last seen 2026-11-21 11:30 UTC"),
    "a no": (7, "rejected a human said no"),
    "a waiver's owner and end": (8, "waived by data@acme.example until 2026-12-11 12:30 UTC"),
    "an approval's giver and end": (9, "approved by operator:kim, good until 2026-11-30 12:30 UTC"),
    "nothing to add": (10, "standing"),
}


@pytest.mark.parametrize(("number", "state"), LINES.values(), ids=LINES.keys())
def test_the_state_of_a_line_tells(number: int, state: str) -> None:
    one = finding(number)
    assert page(eventful()).row(one).all("td")[2].text == state


def test_a_line_tells_rules_with_owners_what_an_account_comes_with_and_steps_for_hands() -> None:
    found = page(eventful())
    creation, manual = found.row(finding(4)).text, found.row(finding(3)).text
    assert "It comes with group Viewers, role Analyst." in creation
    assert "Rule readers, owner data@acme.example: who needs figures may look at dashboards Rule staff" in creation
    assert "privileged Open Users in the administration of Looker. Delete the second factor." in manual


def test_only_what_review_takes_shows_a_handle() -> None:
    found = page(eventful())
    shown = {number for number in range(1, 12) if found.row(finding(number)).all("td")[3].all("code")}
    # not: tried and failed, not judged, approved already, about the policy and no account, planned
    assert shown == {1, 2, 3, 7, 8, 10}


def test_each_guard_has_a_mark_that_its_lines_lead_to_and_the_busiest_comes_first() -> None:
    held = {n: proposal(n, state="withheld", reason="limits" if n > 1 else "no accepted baseline") for n in (1, 2, 3)}
    found = page(report(*(finding(n, stage=Stage.WITHHELD, proposal=held[n]) for n in held)))
    reasons = {e.attributes["id"]: e.text for e in found.all("tr") if e.attributes.get("id", "").startswith("W")}
    assert reasons == {"W1": "W1 limits looker 2", "W2": "W2 no accepted baseline looker 1"}
    links = [found.row(finding(n)).all("a")[0].attributes["href"] for n in (1, 2, 3)]
    assert links == ["#W2", "#W1", "#W1"]


def test_what_is_to_be_typed_stands_out_and_a_lone_backtick_does_not() -> None:
    pauses = (Halt("", "operator:kim", "see `x", ago(days=2)), Halt("okta", "operator:kim", "moving", ago(days=2)))
    found = page(report(pauses=pauses))
    codes = [e.text for e in found.all("section")[1].all("code")]
    assert codes == ["trueup resume okta"]


def test_where_nothing_stands_the_page_says_so_and_where_nothing_is_known_it_does_not() -> None:
    assert page(report()).root.text.count("Nothing stands here") == 2
    unknown = page(REPORTS["nothing was ever compared"]).root.text
    assert "Nothing stands here" not in unknown
    assert "looker has never been compared, so nothing is known of it; run trueup plan ." in unknown


WARNINGS = {
    "a pause": (report(pauses=(Halt("", "operator:kim", "a fire", ago(hours=1)),)), "Trueup is paused by operator:kim"),
    "another policy": (
        report(comparisons=(Comparison("looker", NOW, same_policy=False),)),
        "The policy has changed since looker was compared",
    ),
    "a target without settings": (
        report(comparisons=(Comparison("old", NOW, configured=False),)),
        "old is no longer in the settings",
    ),
    "a run cut short": (
        report(comparisons=(Comparison("looker", NOW, "interrupted", failure="Looker is down."),)),
        "The latest run over looker ended early: Looker is down.",
    ),
    "a read that failed": (
        report(readings=(reading(failed_at=ago(minutes=9), failure="cut JSON"),)),
        "The latest read of looker, 9 minutes ago, failed: cut JSON",
    ),
    "no whole read": (report(readings=(reading(read_at=None),)), "looker has never been read whole"),
    "an old read": (
        report(readings=(reading(too_old=True, read_at=ago(days=2)),)),
        "Read more than 2 hours ago: looker (2 days ago)",
    ),
    "no baseline": (
        report(readings=(reading(baseline=None),)),
        "Nothing is taken away while there is no accepted baseline of looker",
    ),
}


@pytest.mark.parametrize(("one", "said"), WARNINGS.values(), ids=WARNINGS.keys())
def test_before_anything_else_the_reader_is_warned_of(one: DriftReport, said: str) -> None:
    (warning,) = written.warnings(one)
    assert warning.startswith(said)
    assert said in page(one).root.text


def test_a_sound_state_warns_of_nothing() -> None:
    assert written.warnings(report(finding())) == ()


def test_the_closing_line_counts_in_the_order_of_what_has_to_happen() -> None:
    assert written.closing_line(report()) == "0 findings."
    assert written.closing_line(report(finding())) == "1 finding: 1 needs a decision."
    some = [finding(1), finding(2), standing(3)]
    assert written.closing_line(report(*some)) == "3 findings: 2 need a decision, 1 standing."


# --- names are somebody else's text ----------------------------------------------------------------------------------


def hostile(text: str) -> DriftReport:
    """The same text wherever anybody but us decides what stands there."""
    rule = RuleNote(text, text, text)
    told = proposal(2, sentence=text, reason=text, hands=(text,), brings=(text,), source=(text,), state="withheld")
    lines = (
        finding(1, person=text, login=text, account=text, account_id=text, what=text, sentence=text, rules=(rule,)),
        finding(2, concern=Concern.LINGERING, stage=Stage.WITHHELD, sentence=text, proposal=told, person=text),
        finding(3, stage=Stage.TROUBLE, proposal=proposal(3, reason=text)),
        finding(4, stage=Stage.WAIVED, waiver=waiver(owner=text)),
        standing(5, account=text, account_id=text, sentence=text),
    )
    return report(
        *lines,
        made_by=text,
        waivers=(waiver(account=text, what=text, owner=text, actor=text, note=text),),
        pauses=(Halt("okta", text, text, ago(hours=1)),),
        comparisons=(Comparison("looker", NOW, "interrupted", text, text, text),),
        readings=(reading(instance=text, failed_at=NOW, failure=text, certificate={text: text}, counts={text: 1}),),
    )  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_name_never_becomes_more_than_text_of_the_page(text: str) -> None:
    found = page(hostile(text))
    assert found.all("script") == []
    assert not MISLEADING.search(written.html(hostile(text)))
    harmless = Counter(e.tag for e in _everything(page(hostile("Ana")).root))
    assert Counter(e.tag for e in _everything(found.root)) == harmless


def test_a_name_that_turns_the_direction_of_reading_is_shown_with_the_character_spelt_out() -> None:
    assert "ana\\u202egnp.exe" in page(hostile(TURNED)).root.text


def test_markup_in_a_name_is_shown_as_it_was_written() -> None:
    assert MARKUP in page(hostile(MARKUP)).row(finding(1)).text


def test_a_name_of_any_length_is_cut_where_a_column_would_burst() -> None:
    one = finding(person="x" * 5000)
    (name,) = page(report(one)).row(one).all("strong")
    assert name.text == "x" * 120 + "…"


# --- the table -------------------------------------------------------------------------------------------------------


def rows(one: DriftReport, delimiter: str = ",") -> list[list[str]]:
    text = written.csv(one)
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text[1:], newline=""), delimiter=delimiter))


def test_the_table_has_a_line_per_finding_under_the_names_of_its_columns() -> None:
    header, *lines = rows(eventful())
    assert tuple(header) == written.COLUMNS
    assert len(lines) == len(eventful().findings)
    by_handle = {line[-1]: dict(zip(header, line, strict=True)) for line in lines}
    creation = by_handle[finding(4).handle]
    assert creation == {
        "target": "teamcity", "concern": "missing account", "stage": "planned", "urgent": "no",
        "since": "2026-11-20T12:30:00Z", "age_days": "1", "person": "Bo Lee", "login": "bo@acme.example",
        "account": "", "account_id": "", "what": "role Analyst",
        "finding": "Ana Ruiz <ana@acme.example> holds role Analyst in looker",
        "proposal": "create an account for Bo Lee <bo@acme.example> in teamcity, because rule readers gives it",
        "privileged": "no", "reason": "", "rules": "readers; staff", "owners": "data@acme.example",
        "waived_until": "", "handle": finding(4).handle,
    }  # fmt: skip


def test_a_waived_line_is_its_waiver_s_owner_s() -> None:
    header, line = rows(report(finding(waiver=waiver(), rules=(RuleNote("readers", "somebody else"),))))
    told = dict(zip(header, line, strict=True))
    assert (told["owners"], told["waived_until"]) == ("data@acme.example", "2026-12-11T12:30:00Z")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"], ids=["commas", "semicolons", "tabs"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_cell_is_a_formula_whatever_the_spreadsheet_splits_at(text: str, delimiter: str) -> None:
    lines = rows(hostile(text), delimiter)
    assert len(lines) == 1 + len(hostile(text).findings)
    for cell in (cell for line in lines for cell in line):
        assert not re.match(r"\s*[=+\-@]", cell)
        assert not MISLEADING.search(cell.replace("\t", ""))


def test_a_formula_in_a_name_stays_readable() -> None:
    header, line, *_ = rows(hostile(FORMULA))
    assert dict(zip(header, line, strict=True))["person"] == f"'{FORMULA}"


# --- for machines ----------------------------------------------------------------------------------------------------


def test_the_keys_of_the_json_are_these() -> None:
    told = json.loads(written.json(eventful()))
    assert set(told) == {
        "format", "made_at", "made_by", "mode", "policy", "summary", "comparisons", "findings", "waivers",
        "connectors", "pauses",
    }  # fmt: skip
    assert set(told["summary"]) == {"sentence", "findings", "by_stage", "by_concern", "withheld", "warnings"}
    assert set(told["findings"][0]) == {
        "handle", "urgent", "age_seconds", "episode_id", "target", "concern", "kind", "stage", "sentence", "opened_at",
        "last_seen_at", "person_id", "person", "login", "account_id", "account", "what", "rules", "proposal",
        "verdict", "waiver",
    }  # fmt: skip
    assert set(told["findings"][1]["proposal"]) == {
        "sentence", "operation", "gate", "state", "reason", "cause", "privileged", "fingerprint", "hands", "brings",
        "source",
    }  # fmt: skip
    assert set(told["connectors"][0]) == {
        "connector", "side", "type", "instance", "read_at", "too_old", "counts", "certificate", "failure", "failed_at",
        "baseline",
    }  # fmt: skip
    assert set(told["comparisons"][0]) == {
        "target", "at", "state", "actor", "reason", "failure", "same_policy", "configured",
    }  # fmt: skip
    assert set(told["pauses"][0]) == {"connector", "actor", "reason", "at"}


def test_the_docs_name_every_column_and_every_key() -> None:
    docs = (Path(__file__).parents[1] / "docs" / "report.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+)`", docs))
    assert set(written.COLUMNS) <= named
    assert _keys(json.loads(written.json(eventful()))) <= named


def _keys(value: Any) -> set[str]:
    """Every key of ours; what is counted or certified is named by others."""
    if isinstance(value, list):
        return {key for one in value for key in _keys(one)}
    if not isinstance(value, dict):
        return set()
    theirs = ("by_stage", "by_concern", "counts", "certificate")
    return set(value) | {key for name, one in value.items() if name not in theirs for key in _keys(one)}


def test_the_json_counts_every_stage_and_concern_even_where_there_is_none() -> None:
    summary = json.loads(written.json(report(finding())))["summary"]
    assert summary["findings"] == 1
    assert summary["by_stage"] == {**{s.value: 0 for s in Stage}, "needs a decision": 1}
    assert summary["by_concern"] == {**{c.value: 0 for c in Concern}, "access that no rule gives": 1}


def test_times_in_the_json_are_utc_and_ages_are_seconds() -> None:
    (told,) = json.loads(written.json(report(finding())))["findings"]
    assert (told["opened_at"], told["age_seconds"]) == ("2026-11-18T12:30:00Z", 3 * 86400)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_json_has_every_name_whole_and_shows_nothing_misleading(text: str) -> None:
    written_down = written.json(hostile(text))
    assert not MISLEADING.search(written_down)
    assert json.loads(written_down)["findings"][0]["person"] == text


def test_letters_of_every_script_stay_readable_in_the_json() -> None:
    assert '"João 李 Δ"' in written.json(report(finding(person="João 李 Δ")))


# --- many ------------------------------------------------------------------------------------------------------------


def test_two_thousand_findings_are_two_thousand_lines_in_every_form() -> None:
    many = report(*(finding(n, stage=Stage.WITHHELD) for n in range(2000)))
    found = page(many)
    assert len([i for i in found.ids if i.startswith("f-")]) == 2000
    assert len([e for e in found.all("tr") if e.attributes.get("id", "").startswith("W")]) == 1
    assert len(rows(many)) == 2001
    assert len(json.loads(written.json(many))["findings"]) == 2000


def test_the_first_page_names_the_most_urgent_and_counts_the_rest() -> None:
    many = report(*(finding(n, concern=Concern.LINGERING) for n in range(50)))
    (urgent,) = [e for e in page(many).all("section") if e.attributes.get("aria-labelledby") == "urgent"]
    assert len(urgent.all("li")) == 10
    assert "And 40 more" in urgent.text
