"""Writes the drift report down: a page to review and print, a table for a spreadsheet, JSON for machines."""

from __future__ import annotations

import base64
import csv as tables
import datetime as dt
import hashlib
import io
import json as notation
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from worker.core.findings import Comparison, Concern, DriftReport, Finding, Reading, Stage
from worker.core.render import age, counted, csv_safe, quoted

FORMAT = "trueup drift report 1"
LONGEST = 2000  # characters of somebody else's text that one place shows
FIRST = 10  # of the most urgent findings stand on the first page


# --- what all of it comes to ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Withheld:
    """One guard's reason, where and how many findings it holds back, and the short mark that stands for it in lines."""

    mark: str
    reason: str
    targets: tuple[str, ...]
    findings: int


def closing_line(report: DriftReport) -> str:
    """`43 findings: 22 need a decision, 16 withheld, 5 standing.`"""
    stages = Counter(finding.stage for finding in report.findings)
    parts = [f"{stages[stage]:,} {_words(stage, stages[stage])}" for stage in Stage if stages[stage]]
    return f"{counted(len(report.findings), 'finding')}{': ' if parts else ''}{', '.join(parts)}."


def _words(stage: Stage, number: int) -> str:
    return "need a decision" if stage is Stage.DECISION and number != 1 else stage.value


def withheld(report: DriftReport) -> tuple[Withheld, ...]:
    """Why changes are held back, the reason that holds back most first."""
    held: dict[str, list[str]] = {}
    for finding in report.findings:
        if finding.stage is Stage.WITHHELD and finding.proposal:
            held.setdefault(finding.proposal.reason, []).append(finding.target)
    ranked = sorted(held.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(
        Withheld(f"W{place}", reason, tuple(sorted(set(targets))), len(targets))
        for place, (reason, targets) in enumerate(ranked, 1)
    )


def warnings(report: DriftReport) -> tuple[str, ...]:
    """What a reader must know before relying on the rest: what is stopped, missing, old or changed."""
    return (
        *_pauses(report),
        *(text for c in report.comparisons for text in _doubts(c)),
        *(text for r in report.readings for text in _gaps(r, report.made_at)),
        *_old_reads(report),
        *_baselines(report),
    )


def _pauses(report: DriftReport) -> Iterator[str]:
    for pause in report.pauses:
        whole, command = pause.connector or "Trueup", f"trueup resume {pause.connector}".strip()
        yield f"{whole} is paused by {pause.actor} since {moment(pause.at)} ({pause.reason}); `{command}` ends it."


def _doubts(comparison: Comparison) -> Iterator[str]:
    name = comparison.target
    if not comparison.configured:
        yield f"{name} is no longer in the settings; what stands there is as it was when it last was."
    elif comparison.at is None:
        yield f"{name} has never been compared, so nothing is known of it; run `trueup plan`."
    elif not comparison.same_policy:
        yield f"The policy has changed since {name} was compared; run `trueup plan` to see what it means now."
    if comparison.failure:
        yield f"The latest run over {name} ended early: {comparison.failure}"


def _gaps(reading: Reading, now: dt.datetime) -> Iterator[str]:
    if reading.failed_at is not None:
        yield f"The latest read of {reading.connector}, {ago(now, reading.failed_at)}, failed: {reading.failure}"
    if reading.read_at is None:
        yield f"{reading.connector} has never been read whole; run `trueup check` to see why."


def _old_reads(report: DriftReport) -> Iterator[str]:
    old = [f"{r.connector} ({ago(report.made_at, r.read_at)})" for r in report.readings if r.too_old and r.read_at]
    if old:
        yield f"Read more than {age(report.oldest_read)} ago: {', '.join(old)}; run `trueup plan` for a fresh picture."


def _baselines(report: DriftReport) -> Iterator[str]:
    without = [r.connector for r in report.readings if r.baseline is None]
    if without:
        yield (
            f"Nothing is taken away while there is no accepted baseline of {', '.join(without)};"
            " look at the counts at the end, then run `trueup check --accept-baseline`."
        )


def moment(at: dt.datetime) -> str:
    """`2026-11-21 09:24 UTC`"""
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"


def name(text: str) -> str:
    """A name at a length that no table bursts at; its whole is in the JSON."""
    return quoted(text, 120)


def ago(now: dt.datetime, then: dt.datetime) -> str:
    """`3 days ago`"""
    return f"{age(now - then)} ago"


# --- a page ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Words:
    """How the page speaks of a concern: its heading, and what a reader is told about all of its findings."""

    title: str
    about: str


CONCERNS: Mapping[Concern, Words] = {
    Concern.DISPUTED_LEAVER: Words(
        "Departed, and the account is in doubt",
        "Somebody who may own the account has departed, and Trueup cannot lock it before a human says whose it is:"
        " `trueup link PERSON TARGET ACCOUNT`. Until then it works.",
    ),
    Concern.RETURNED: Words(
        "Departed and out once, and an account works again",
        "Somebody let them in again, or single sign-on made the account anew. Find out who, and lock it first.",
    ),
    Concern.LINGERING: Words(
        "Departed, and the account still works", "Lock these first; nothing of theirs can be waived."
    ),
    Concern.LEAVER_ACCESS: Words("Departed, and access is left", "What the account would give whoever unlocks it."),
    Concern.SUSPENDED: Words("Suspended, and the account still works", "Locked until the suspension ends."),
    Concern.ABSENT: Words(
        "Gone from the source, and the account still works",
        "The source no longer has these people and never said that they departed, so a human looks first.",
    ),
    Concern.ORPHAN: Words(
        "Accounts of nobody we know",
        "Say whose each is (`trueup link PERSON TARGET ACCOUNT`), protect it in the settings, or waive it.",
    ),
    Concern.DISPUTED: Words(
        "Accounts whose owner is in doubt",
        "Nothing is given or taken here until a human says whose each is: `trueup link PERSON TARGET ACCOUNT`.",
    ),
    Concern.DISPUTED_PERSON: Words(
        "People who may be one",
        "Nobody of them gets an account or loses anything until a human says: `trueup join` or `trueup split`.",
    ),
    Concern.DISAGREEMENT: Words(
        "People whose sources do not agree",
        "What the authority says counts, and nothing is taken for another source's silence; put it right there.",
    ),
    Concern.EXPIRED: Words("Access past its end", "The rule that gave it had a last day, and that day is over."),
    Concern.EXCESS: Words("Access that no rule gives", "Revoke it, or write a rule that gives it."),
    Concern.UNEVALUABLE: Words(
        "Rules that cannot be evaluated", "Such a rule neither gives nor takes until the policy is corrected."
    ),
    Concern.HELD: Words("People on hold", "The source says nothing certain of them, so nothing is given or taken."),
    Concern.DISABLED: Words("Active people whose account is disabled", "Somebody may have had a reason; look first."),
    Concern.NO_ACCOUNT: Words("People without the account they should have", "A rule gives them something there."),
    Concern.MISSING: Words("Missing access", "A rule gives it and the account does not hold it."),
    Concern.STALE_LOGIN: Words("Logins that have changed at the source", "Changing one can lock its owner out."),
    Concern.STALE_PROFILE: Words("Profiles that have changed at the source", "Names and addresses only."),
}

STAGES: Mapping[Stage, str] = {
    Stage.DECISION: "approve it or reject it",
    Stage.WITHHELD: "a guard holds it back",
    Stage.TROUBLE: "it was tried in the latest run",
    Stage.MANUAL: "Trueup cannot or must not",
    Stage.STANDING: "no change can cure it",
    Stage.NOT_JUDGED: "the latest run could not tell",
    Stage.APPROVED: "the next sync makes it",
    Stage.PLANNED: "the next sync makes it",
    Stage.REJECTED: "a human said no",
    Stage.WAIVED: "accepted until a day",
}
"""What a reader is told of each beside its number."""

TONES: Mapping[Stage, str] = {
    Stage.DECISION: "decide", Stage.WITHHELD: "held", Stage.TROUBLE: "bad", Stage.MANUAL: "decide",
    Stage.STANDING: "decide", Stage.NOT_JUDGED: "held", Stage.APPROVED: "good", Stage.PLANNED: "good",
    Stage.REJECTED: "quiet", Stage.WAIVED: "quiet",
}  # fmt: skip
ALWAYS_TOLD = (Stage.DECISION, Stage.WITHHELD, Stage.STANDING)
REVIEWABLE = (Stage.DECISION, Stage.WITHHELD, Stage.STANDING, Stage.MANUAL, Stage.REJECTED, Stage.WAIVED)


def html(report: DriftReport) -> str:
    """A page of its own: it loads nothing, runs nothing, and prints on A4."""
    reasons = withheld(report)
    return _environment().get_template("drift_report.html").render(
        report=report,
        style_digest=digest(_environment().get_template("drift_report.css").render()),
        closing_line=closing_line(report),
        tallies=list(_tallies(report)),
        warnings=warnings(report),
        withheld=reasons,
        marks={w.reason: w.mark for w in reasons},
        urgent=[f for f in report.findings if f.urgent],
        first=FIRST,
        matrix=_matrix(report),
        targets=[(c, _grouped([f for f in report.findings if f.target == c.target])) for c in report.comparisons],
        concerns=CONCERNS,
        tones=TONES,
        stage_notes=STAGES,
        reviewable=REVIEWABLE,
        stages=Stage,
    )  # fmt: skip


def _tallies(report: DriftReport) -> Iterator[tuple[Stage, int]]:
    found = Counter(f.stage for f in report.findings)
    return ((stage, found[stage]) for stage in Stage if found[stage] or stage in ALWAYS_TOLD)


def _matrix(report: DriftReport) -> list[tuple[Concern, list[tuple[str, int]]]]:
    """Per concern that there is, (target, how many findings)."""
    found = Counter((f.concern, f.target) for f in report.findings)
    present = [concern for concern in Concern if any(f.concern is concern for f in report.findings)]
    return [(concern, [(c.target, found[concern, c.target]) for c in report.comparisons]) for concern in present]


def _grouped(findings: Sequence[Finding]) -> list[tuple[Concern, list[Finding]]]:
    return [(concern, list(some)) for concern, some in groupby(findings, key=lambda f: f.concern)]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("worker"), autoescape=True, undefined=StrictUndefined, finalize=shown,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"moment": moment, "age": age, "iso": iso, "counted": counted, "name": name, "typed": typed}
    return environment


def shown(value: Any) -> Any:
    """Whatever a template puts out passes here before it is escaped, so that none can forget to quote a name."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    space = (" " if value[:1].isspace() else "", " " if value[-1:].isspace() else "")
    return quoted(value, LONGEST).join(space) if value.strip() else space[0]


def typed(text: str) -> list[tuple[str, bool]]:
    """A text in parts, each with whether it is something to type: what stands between backticks."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a lone backtick is somebody's name
        return [(text, False)]
    return [(part, bool(place % 2)) for place, part in enumerate(parts)]


def digest(style: str) -> str:
    """What a content security policy calls this very style sheet."""
    return "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


# --- a table ---------------------------------------------------------------------------------------------------------

COLUMNS = (
    "target", "concern", "stage", "urgent", "since", "age_days", "person", "login", "account", "account_id", "what",
    "finding", "proposal", "privileged", "reason", "rules", "owners", "waived_until", "handle",
)  # fmt: skip


def csv(report: DriftReport) -> str:
    """One row per finding, under a header. It begins with a byte order mark, without which Excel garbles names."""
    out = io.StringIO(newline="")
    out.write("\ufeff")
    writer = tables.writer(out, quoting=tables.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for finding in report.findings:
        writer.writerow([csv_safe(quoted(cell, LONGEST)) for cell in _row(report, finding)])
    return out.getvalue()


def _row(report: DriftReport, finding: Finding) -> tuple[str, ...]:
    proposal, waiver = finding.proposal, finding.waiver
    return (
        finding.target, finding.concern.value, finding.stage.value, _yes(finding.urgent), iso(finding.opened_at),
        str((report.made_at - finding.opened_at).days), finding.person, finding.login, finding.account,
        finding.account_id, finding.what, finding.sentence, proposal.sentence if proposal else "",
        _yes(proposal is not None and proposal.privileged), proposal.reason if proposal else "",
        "; ".join(rule.name for rule in finding.rules), "; ".join(owners(finding)),
        iso(waiver.until) if waiver else "", finding.handle,
    )  # fmt: skip


def owners(finding: Finding) -> tuple[str, ...]:
    """Who answers for it: whose waiver it is, else whose rules."""
    if finding.waiver is not None:
        return (finding.waiver.owner,)
    return tuple(dict.fromkeys(rule.owner for rule in finding.rules if rule.owner))


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


# --- for machines ----------------------------------------------------------------------------------------------------


def json(report: DriftReport) -> str:
    """Keys as docs/report.md lists them. Texts are whole; what could mislead on a screen stands as a JSON escape."""
    stages = Counter(f.stage.value for f in report.findings)
    concerns = Counter(f.concern.value for f in report.findings)
    written = {
        "format": FORMAT,
        "made_at": iso(report.made_at),
        "made_by": report.made_by,
        "mode": report.mode,
        "policy": report.policy,
        "summary": {
            "sentence": closing_line(report),
            "findings": len(report.findings),
            "by_stage": {stage.value: stages[stage.value] for stage in Stage},
            "by_concern": {concern.value: concerns[concern.value] for concern in Concern},
            "withheld": [{"reason": w.reason, "targets": w.targets, "findings": w.findings} for w in withheld(report)],
            "warnings": list(warnings(report)),
        },
        "comparisons": plain(report.comparisons),
        "findings": [_finding(report, finding) for finding in report.findings],
        "waivers": plain(report.waivers),
        "connectors": plain(report.readings),
        "pauses": plain(report.pauses),
    }
    text = notation.dumps(written, indent=1, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text) + "\n"


def _finding(report: DriftReport, finding: Finding) -> dict[str, Any]:
    seconds = int((report.made_at - finding.opened_at).total_seconds())
    return {"handle": finding.handle, "urgent": finding.urgent, "age_seconds": seconds, **plain(finding)}


def _escaped(character: str) -> str:
    return notation.dumps(character)[1:-1]


def plain(value: Any) -> Any:
    """Our own data as JSON has it: dataclasses by their fields, times in UTC."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dt.datetime):
        return iso(value)
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    return value


def iso(at: dt.datetime) -> str:
    """`2026-11-21T09:24:00Z`"""
    return f"{at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
