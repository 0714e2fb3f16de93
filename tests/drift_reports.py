"""Drift reports made up for tests of how they are written down."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from dataclasses import replace
from typing import Any

from worker.core.findings import (
    Acceptance,
    Accepted,
    Comparison,
    Concern,
    DriftReport,
    Finding,
    Halt,
    Proposal,
    Reading,
    RuleNote,
    Stage,
    Verdict,
)

NOW = dt.datetime(2026, 11, 21, 12, 30, tzinfo=dt.UTC)
MARKUP = "<script>alert(1)</script>"
FORMULA = '=cmd|" /C calc"!A0'
TURNED = "ana\u202egnp.exe"
HOSTILE = {"markup": MARKUP, "a formula": FORMULA, "a turned direction": TURNED, "a new line": "Ana\r\n=1+1;@SUM(A1)"}


def ago(**how_long: float) -> dt.datetime:
    return NOW - dt.timedelta(**how_long)


def proposal(number: int = 1, **changes: Any) -> Proposal:
    plain = Proposal(
        sentence="revoke role Analyst from Ana Ruiz <ana@acme.example> in looker, because no rule gives it",
        operation="revoke",
        gate="review",
        state="waiting",
        reason="a human has to approve it",
        cause="no rule gives it",
        privileged=False,
        fingerprint=hashlib.sha256(str(number).encode()).hexdigest(),
        source=("okta 00u1: ACTIVE",),
    )
    return replace(plain, **changes)


def finding(number: int = 1, **changes: Any) -> Finding:
    plain = Finding(
        episode_id=str(uuid.UUID(int=number)),
        target="looker",
        concern=Concern.EXCESS,
        kind="excess entitlement",
        stage=Stage.DECISION,
        sentence="Ana Ruiz <ana@acme.example> holds role Analyst in looker",
        opened_at=ago(days=3),
        last_seen_at=ago(hours=1),
        person_id=str(uuid.UUID(int=7)),
        person="Ana Ruiz",
        login="ana@acme.example",
        account_id="41",
        account="ana@acme.example",
        what="role Analyst",
        proposal=proposal(number),
    )
    return replace(plain, **changes)


def standing(number: int, **changes: Any) -> Finding:
    """An orphan, which no change cures."""
    orphan = {
        "concern": Concern.ORPHAN, "kind": "orphan", "stage": Stage.STANDING, "proposal": None, "person_id": "",
        "person": "", "login": "", "account_id": "77", "account": "old-build-1", "what": "",
        "sentence": "account old-build-1 in looker belongs to nobody we know",
    }  # fmt: skip
    return finding(number, **{**orphan, **changes})


def waiver(**changes: Any) -> Acceptance:
    plain = Acceptance(
        "looker", "41", "ana@acme.example", "excess entitlement", "role Analyst", "data@acme.example", "operator:kim",
        "until the audit is over", ago(days=2), NOW + dt.timedelta(days=20),
    )  # fmt: skip
    return replace(plain, **changes)


def reading(connector: str = "looker", **changes: Any) -> Reading:
    plain = Reading(
        connector, "target", "looker", "acme.looker/1", ago(minutes=5), False, {"accounts": 266, "holdings": 440},
        {"accounts": "266 read, total the same before and after"}, "", None,
        Accepted("operator:kim", ago(days=30), {"accounts": 250}),
    )  # fmt: skip
    return replace(plain, **changes)


def report(*findings: Finding, **changes: Any) -> DriftReport:
    plain = DriftReport(
        NOW, "operator:kim", "review", "ab" * 32, dt.timedelta(hours=2),
        (
            Comparison("looker", ago(minutes=4), "closed", "schedule", "sync"),
            Comparison("teamcity", ago(minutes=3), "closed", "schedule", "sync"),
        ),
        findings,
        (),
        (reading("okta", side="source", type="okta"), reading(), reading("teamcity", type="teamcity")),
        (),
    )  # fmt: skip
    return replace(plain, **changes)


def eventful() -> DriftReport:
    """One of everything that a report can show."""
    withheld = proposal(
        2, state="withheld", reason="no accepted baseline of okta; run `trueup check --accept-baseline`"
    )
    manual = proposal(
        3, state="manual", gate="manual", reason="the API cannot do it", privileged=True,
        hands=("Open Users in the administration of Looker.", "Delete the second factor."),
    )  # fmt: skip
    creation = proposal(
        4, operation="create", state="open", reason="", brings=("group Viewers", "role Analyst"),
        sentence="create an account for Bo Lee <bo@acme.example> in teamcity, because rule readers gives it",
    )  # fmt: skip
    said = Verdict(True, "operator:kim", ago(hours=2), NOW + dt.timedelta(days=9), "as agreed")
    readers = RuleNote("readers", "data@acme.example", "who needs figures may look at dashboards")
    lingering = {"concern": Concern.LINGERING, "kind": "lingering account of a departed person"}
    findings = (
        standing(
            1, concern=Concern.DISPUTED_LEAVER, kind="disputed",
            sentence="account ana.r in looker may not be who it seems: two people; one of them has departed",
        ),
        finding(2, **lingering, stage=Stage.WITHHELD, proposal=withheld, opened_at=ago(hours=5)),
        finding(3, stage=Stage.MANUAL, proposal=manual),
        finding(5, stage=Stage.TROUBLE, proposal=proposal(5, state="failed", reason="Looker answered 422")),
        finding(6, stage=Stage.NOT_JUDGED, proposal=None),
        finding(7, stage=Stage.REJECTED, proposal=proposal(7, state="rejected", reason="a human said no")),
        finding(8, stage=Stage.WAIVED, proposal=proposal(8, state="waived", reason="waived"), waiver=waiver()),
        finding(9, stage=Stage.APPROVED, verdict=said),
        standing(10),
        standing(
            11, concern=Concern.UNEVALUABLE, kind="unevaluable rule", account_id="", account="", what="partners",
            sentence="rule partners cannot be evaluated: no group is called Partners", rules=(RuleNote("partners"),),
        ),
        finding(
            4, target="teamcity", concern=Concern.NO_ACCOUNT, kind="missing account", stage=Stage.PLANNED,
            proposal=creation, account_id="", account="", rules=(readers, RuleNote("staff")), opened_at=ago(days=1),
            person="Bo Lee", login="bo@acme.example",
        ),
    )  # fmt: skip
    return report(
        *findings,
        waivers=(waiver(),),
        pauses=(Halt("okta", "operator:kim", "a migration", ago(hours=1)),),
        readings=(
            reading("okta", side="source", type="okta", too_old=True, read_at=ago(hours=9), baseline=None),
            reading(failed_at=ago(minutes=1), failure="Looker answered 503."),
            reading("teamcity", type="teamcity", read_at=None, counts={}, certificate={}),
        ),
    )  # fmt: skip
