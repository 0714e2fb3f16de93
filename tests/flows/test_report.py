"""What the drift report gathers from a served company: everything that stands, how it stands, and what it rests on."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy
from sqlalchemy.engine import Engine

from tests.flows.rig import NOON, Rig
from worker.core.findings import Concern, DriftReport, Finding, Stage
from worker.flows import passes, review, standstill
from worker.flows.report import drift_report
from worker.flows.site import Site
from worker.store import decisions, episodes, installations
from worker.store.tables import Episode, Waiver


def about(report: DriftReport, login: str, *concerns: Concern) -> list[Finding]:
    """What is found of a person or an account, by login."""
    found = [f for f in report.findings if login in (f.login, f.account)]
    return [f for f in found if not concerns or f.concern in concerns]


def only(findings: list[Finding]) -> Finding:
    (one,) = findings
    return one


@pytest.fixture
def reviewed(rig: Rig) -> Iterator[Site]:
    """In mode observe, so that every change waits for a human; planned once, with its baselines accepted."""
    with rig.open("observe") as site:
        passes.plan(site)
        yield site


def test_every_open_episode_is_a_finding_once_and_the_most_urgent_come_first(reviewed: Site) -> None:
    report = drift_report(reviewed)
    with reviewed.begin() as session:
        open_ = {str(e.id) for e in episodes.open_episodes(session)}
    assert sorted(f.episode_id for f in report.findings) == sorted(open_)
    order = [tuple(Concern).index(f.concern) for f in report.findings]
    assert order == sorted(order)
    assert report.findings[0].urgent


def test_a_leaver_is_found_with_the_account_the_sentence_and_a_handle_that_review_takes(
    rig: Rig, reviewed: Site
) -> None:
    (leaver,) = rig.logins("leaver")
    found = about(drift_report(reviewed), leaver, Concern.LINGERING)
    assert {f.target for f in found} == {"looker", "teamcity"}
    for finding in found:
        assert finding.stage is Stage.DECISION
        assert finding.proposal is not None
        assert finding.proposal.operation == "disable"
        assert any("DEPROVISIONED" in said for said in finding.proposal.source)
        assert review.show(reviewed, finding.handle).episode.id == uuid.UUID(finding.episode_id)


def test_a_finding_without_a_cure_has_a_handle_that_review_takes_as_well(rig: Rig, reviewed: Site) -> None:
    orphan = only([f for f in drift_report(reviewed).findings if f.account == "temp1@acme.example"])
    assert (orphan.concern, orphan.stage, orphan.proposal) == (Concern.ORPHAN, Stage.STANDING, None)
    assert review.show(reviewed, orphan.handle).episode.id == uuid.UUID(orphan.episode_id)


def test_a_change_names_its_rule_with_owner_and_reason_and_what_a_new_account_comes_with(
    rig: Rig, reviewed: Site
) -> None:
    (newcomer,) = rig.logins("missing looker account")
    finding = only(about(drift_report(reviewed), newcomer, Concern.NO_ACCOUNT))
    owners = {rule.name: (rule.owner, rule.why) for rule in finding.rules}
    assert owners["readers"] == ("data@acme.example", "who needs figures may look at dashboards")
    assert finding.proposal is not None
    assert "group Viewers" in finding.proposal.brings


def test_an_entitlement_is_called_what_the_catalogue_calls_it(rig: Rig, reviewed: Site) -> None:
    (holder,) = rig.logins("extra role")
    assert only(about(drift_report(reviewed), holder, Concern.EXCESS)).what == "role Analyst"


def test_a_rule_that_cannot_be_evaluated_leads_to_its_owner(rig: Rig) -> None:
    broken = {"name": "partners", "when": {"group": "Partners Abroad"}, "owner": "sales@acme.example"}
    rules = [{**broken, "give": [{"looker": {"groups": ["Finance"]}}]}]
    with rig.open("observe", rules=rules, privileged={}) as site:
        passes.plan(site)
        found = [f for f in drift_report(site).findings if f.concern is Concern.UNEVALUABLE]
    assert [[(r.name, r.owner) for r in f.rules] for f in found] == [[("partners", "sales@acme.example")]]


def test_what_a_human_said_shows_before_the_next_run_acts_on_it(rig: Rig, reviewed: Site) -> None:
    (leaver,) = rig.logins("leaver")
    first, second = about(drift_report(reviewed), leaver, Concern.LINGERING)
    review.decide(reviewed, [first.handle], True, "go on")
    review.decide(reviewed, [second.handle], False, "not yet")
    again = {f.episode_id: f for f in drift_report(reviewed).findings}
    approved, rejected = again[first.episode_id], again[second.episode_id]
    assert approved.stage is Stage.APPROVED
    assert approved.verdict is not None
    assert (approved.verdict.actor, approved.verdict.note) == ("operator:test", "go on")
    assert rejected.stage is Stage.REJECTED


def test_a_waiver_shows_with_its_owner_and_end_at_its_finding_and_in_the_list(rig: Rig, reviewed: Site) -> None:
    (holder,) = rig.logins("extra role")
    before = only(about(drift_report(reviewed), holder, Concern.EXCESS))
    review.waive(reviewed, before.handle, "data@acme.example", dt.date(2026, 12, 1), "until the audit")
    report = drift_report(reviewed)
    after = only(about(report, holder, Concern.EXCESS))
    assert after.stage is Stage.WAIVED
    assert after.waiver is not None
    assert (after.waiver.owner, after.waiver.until.date()) == ("data@acme.example", dt.date(2026, 12, 1))
    assert [w.account for w in report.waivers] == [holder]
    rig.clock.advance(days=15)
    report = drift_report(reviewed)
    assert only(about(report, holder, Concern.EXCESS)).stage is Stage.DECISION
    assert report.waivers == ()


def test_no_waiver_covers_what_a_departed_person_has(rig: Rig, reviewed: Site) -> None:
    (leaver,) = rig.logins("leaver")
    found = only([f for f in about(drift_report(reviewed), leaver, Concern.LINGERING) if f.target == "looker"])
    with reviewed.begin() as session:
        waiver = Waiver(
            instance_id=installations.instance_of(session, "looker"), target="looker", account_id=found.account_id,
            entitlement="", kind=found.kind, owner="somebody", actor="operator:test", at=NOON,
            until=NOON + dt.timedelta(days=9),
        )  # fmt: skip
        decisions.waive(session, waiver)
    again = only([f for f in about(drift_report(reviewed), leaver, Concern.LINGERING) if f.target == "looker"])
    assert (again.stage, again.waiver) == (Stage.DECISION, None)


def test_what_a_sync_cured_is_gone_and_what_it_may_not_do_stays(rig: Rig, site: Site) -> None:
    passes.sync(site)
    report = drift_report(site)
    (leaver,) = rig.logins("leaver")
    assert about(report, leaver) == []
    assert {f.stage for f in report.findings} >= {Stage.DECISION, Stage.STANDING}
    assert {c.state for c in report.comparisons} == {"closed"}


def test_without_a_baseline_what_would_be_taken_is_withheld_and_the_guard_says_why(rig: Rig) -> None:
    with rig.open("enforce", baselines=False) as site:
        passes.plan(site)
        report = drift_report(site)
    held = [f for f in report.findings if f.stage is Stage.WITHHELD]
    assert held
    assert all(f.proposal and "no accepted baseline" in f.proposal.reason for f in held)
    assert {r.connector: r.baseline for r in report.readings} == {"okta": None, "looker": None, "teamcity": None}


def test_a_change_that_the_vendor_refused_did_not_succeed_and_says_what_it_answered(rig: Rig, site: Site) -> None:
    (leaver,) = rig.logins("leaver")
    fault = rig.world.looker.break_("PATCH /api/4.0/users/*", "status", status=422)
    passes.sync(site)
    assert fault.fired
    finding = only([f for f in about(drift_report(site), leaver, Concern.LINGERING) if f.target == "looker"])
    assert finding.stage is Stage.TROUBLE
    assert finding.proposal is not None
    assert "422" in finding.proposal.reason


def test_a_dispute_becomes_urgent_when_the_person_departs_and_is_still_the_same_episode(
    rig: Rig, reviewed: Site
) -> None:
    administrator = rig.logins("administrator")[0]
    before = only([f for f in about(drift_report(reviewed), administrator) if f.target == "looker"])
    assert before.concern is Concern.DISPUTED
    user = rig.world.okta.directory.find(administrator)
    assert user is not None
    rig.world.okta.directory.deactivate(user.id)
    rig.clock.advance(hours=1)
    passes.plan(reviewed)
    after = only([f for f in about(drift_report(reviewed), administrator) if f.target == "looker"])
    assert after.episode_id == before.episode_id
    assert (after.concern, after.urgent, after.opened_at) == (Concern.DISPUTED_LEAVER, True, NOON)
    assert "departed" in after.sentence


def test_age_counts_from_the_first_run_that_saw_it_and_old_reads_are_called_old(rig: Rig, reviewed: Site) -> None:
    rig.clock.advance(days=3)
    report = drift_report(reviewed)
    assert {report.made_at - f.opened_at for f in report.findings} == {dt.timedelta(days=3)}
    assert all(r.too_old for r in report.readings)
    passes.plan(reviewed)
    report = drift_report(reviewed)
    assert {f.opened_at for f in report.findings} == {NOON}
    assert {f.last_seen_at for f in report.findings} == {NOON + dt.timedelta(days=3)}
    assert not any(r.too_old for r in report.readings)


def test_whom_the_source_could_not_be_read_for_is_not_judged_and_stands_as_last_seen(rig: Rig, reviewed: Site) -> None:
    (leaver,) = rig.logins("leaver")
    fault = rig.world.okta.break_("GET /api/v1/users", "status", status=403)
    rig.clock.advance(minutes=10)
    passes.plan(reviewed)
    assert fault.fired
    report = drift_report(reviewed)
    assert {f.stage for f in about(report, leaver)} == {Stage.NOT_JUDGED}
    okta = next(r for r in report.readings if r.connector == "okta")
    assert okta.failure
    assert (okta.read_at, okta.failed_at) == (NOON, NOON + dt.timedelta(minutes=10))


def test_before_anything_was_compared_the_report_says_so_instead_of_looking_clean(rig: Rig) -> None:
    with rig.open("observe", baselines=False) as site:
        report = drift_report(site)
    assert report.findings == ()
    assert [c.at for c in report.comparisons] == [None, None]
    assert [r.read_at for r in report.readings] == [None, None, None]


def test_a_policy_that_changed_since_the_comparison_is_said_to_have(rig: Rig, reviewed: Site) -> None:
    assert all(c.same_policy for c in drift_report(reviewed).comparisons)
    with rig.open("observe", leavers={"suspended": "ignore"}) as later:
        assert not any(c.same_policy for c in drift_report(later).comparisons)


def test_drift_of_a_target_that_left_the_settings_is_shown_and_not_judged(reviewed: Site) -> None:
    left_over = Episode(
        drift_key="old|orphan|9|", target="old", kind="orphan", account_id="9", sentence="account 9 in old belongs"
        " to nobody we know", opened_at=NOON, last_seen_at=NOON,
    )  # fmt: skip
    with reviewed.begin() as session:
        session.add(left_over)
    report = drift_report(reviewed)
    assert [c.target for c in report.comparisons if not c.configured] == ["old"]
    assert [f.stage for f in report.findings if f.target == "old"] == [Stage.NOT_JUDGED]


def test_a_pause_is_in_the_report(reviewed: Site) -> None:
    standstill.pause(reviewed, "okta", "a migration")
    (pause,) = drift_report(reviewed).pauses
    assert (pause.connector, pause.actor, pause.reason) == ("okta", "operator:test", "a migration")


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every SQL statement that is executed in the block."""
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sqlalchemy.event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sqlalchemy.event.remove(Engine, "before_cursor_execute", note)


def test_two_thousand_findings_cost_no_more_questions_to_the_database_than_a_few(reviewed: Site) -> None:
    with statements() as for_few:
        few = len(drift_report(reviewed).findings)
    more = [
        Episode(
            drift_key=f"looker|orphan|n{n}|", target="looker", kind="orphan", account_id=f"n{n}", opened_at=NOON,
            last_seen_at=NOON, sentence=f"account {n} in looker belongs to nobody we know",
        )
        for n in range(2000)
    ]  # fmt: skip
    with reviewed.begin() as session:
        session.add_all(more)
    with statements() as for_many:
        assert len(drift_report(reviewed).findings) == few + 2000
    assert len(for_many) == len(for_few)


def test_a_report_shows_one_moment_whatever_is_committed_meanwhile(reviewed: Site) -> None:
    with reviewed.store.begin(one_moment=True) as session:
        before = len(episodes.open_episodes(session))
        with reviewed.begin() as other:
            episodes.close(other, [e.id for e in episodes.open_episodes(other)], NOON)
        assert len(episodes.open_episodes(session)) == before
    assert drift_report(reviewed).findings == ()
