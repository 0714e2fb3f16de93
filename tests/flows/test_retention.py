"""What is over and old goes, in bounded pieces; what counts stays, and Trueup works on as if nothing had gone."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from tests.flows.rig import NOON, Rig
from worker.errors import Misconfigured
from worker.flows import passes, trail
from worker.flows.report import drift_report
from worker.flows.retention import sweep
from worker.flows.site import Site
from worker.settings import load
from worker.store import mirror
from worker.store.tables import JobRow, NoticeRow, Run, StepRow

LONG_AGO = NOON - dt.timedelta(days=401)
TABLES = (
    "holding",
    "account",
    "identity",
    "membership",
    "run",
    "change",
    "step",
    "effect",
    "snapshot",
    "job",
    "notice",
)


@pytest.fixture
def site(rig: Rig) -> Iterator[Site]:
    with rig.open("enforce") as opened:
        yield opened


def numbers(site: Site) -> dict[str, int]:
    with site.begin() as session:
        return {t: session.scalars(text(f"SELECT count(*) FROM {t}")).one() for t in TABLES}


def keep(site: Site, *rows: Any) -> None:
    with site.begin() as session:
        session.add_all(rows)


def there(site: Site, row: Any, key: object) -> bool:
    with site.begin() as session:
        return session.get(row, key) is not None


def run(target: str = "looker", began: dt.datetime = LONG_AGO, **more: Any) -> Run:
    ended = {"state": "closed", "closed_at": began} | more
    return Run(id=uuid.uuid4(), target=target, actor="", reason="", policy_hash="", started_at=began, **ended)


def test_after_years_of_work_what_is_over_goes_and_the_next_pass_finds_nothing_to_do(rig: Rig, site: Site) -> None:
    passes.sync(site)
    rig.clock.advance(days=1)
    rig.world.okta.deactivate(rig.okta_id(rig.logins("extra role")[0]))
    passes.sync(site)
    rig.clock.advance(days=420)
    before = passes.sync(site)
    rows = numbers(site)
    swept = sweep(site, 7)
    assert sum(swept.deleted.values()) == 7
    assert swept.more
    while swept.more:
        swept = sweep(site, 40)
    left = numbers(site)
    assert {t for t in TABLES if left[t] < rows[t]} >= {"holding", "run", "change", "step", "effect", "snapshot"}
    assert left["run"] == len(site.targets), "the last of each"
    assert trail.verify(site).ok
    after = passes.sync(site)
    assert after.closing_line() == before.closing_line()
    assert not any(applied.done for applied in after.applied)
    assert drift_report(site).findings
    said = rig.trail(site, "retention")
    assert all(entry.facts["deleted"] for entry in said)
    assert sum(int(entry.facts["deleted"].get("run", 0)) for entry in said) == rows["run"] - left["run"]


def test_where_nothing_is_old_nothing_goes_and_nothing_is_said(rig: Rig, site: Site) -> None:
    passes.sync(site)
    before = numbers(site)
    swept = sweep(site)
    assert (swept.deleted, swept.more) == ({}, False)
    assert numbers(site) == before
    assert rig.trail(site, "retention") == []


def test_somebody_who_left_long_ago_can_still_be_found_and_forgotten(rig: Rig, site: Site) -> None:
    (leaver,) = rig.logins("leaver")[:1]
    passes.sync(site)
    rig.world.looker.instance.delete(rig.looker_user(leaver))
    rig.world.okta.delete(rig.okta_id(leaver))
    rig.clock.advance(days=1)
    rig.accept_baselines(site)
    passes.sync(site)
    rig.clock.advance(days=500)
    passes.sync(site)
    sweep(site)
    assert trail.newest(site, person=leaver)


def test_a_run_with_a_step_whose_outcome_is_not_known_stays(site: Site) -> None:
    old, newer = run(), run(began=NOON)
    step = StepRow(
        run_id=old.id, target="looker", account_id="7", position=1, verb="", sentence="", outcome="unknown",
        owner="", fence=1, attempted_at=LONG_AGO,
    )  # fmt: skip
    keep(site, old, newer)
    keep(site, step)
    sweep(site)
    assert there(site, Run, old.id)
    assert there(site, StepRow, step.id)


@pytest.mark.parametrize(
    ("kept", "rows"),
    [
        pytest.param(True, [run()], id="it is the last of its target"),
        pytest.param(True, [run(state="applying", closed_at=None), run(began=NOON)], id="it is not closed"),
        pytest.param(False, [run(), run(began=NOON)], id="another came after it"),
        pytest.param(True, [run(closed_at=NOON), run(began=NOON)], id="it ended a short while ago"),
        pytest.param(True, [run(), run("teamcity", NOON)], id="only another target had one since"),
    ],
)
def test_whether_an_old_run_stays_when(site: Site, kept: bool, rows: list[Run]) -> None:
    keep(site, *(Run(**row.model_dump()) for row in rows))
    sweep(site)
    assert there(site, Run, rows[0].id) is kept


@pytest.mark.parametrize(
    ("kept", "rows"),
    [
        pytest.param(True, [("done", LONG_AGO)], id="it is the last success"),
        pytest.param(False, [("done", LONG_AGO), ("done", NOON)], id="there was a success since"),
        pytest.param(True, [("done", LONG_AGO), ("failed", NOON)], id="only failures came since"),
        pytest.param(True, [("running", LONG_AGO), ("done", NOON)], id="it is still at work"),
    ],
)
def test_whether_an_old_slot_of_a_job_stays_when(site: Site, kept: bool, rows: list[tuple[str, dt.datetime]]) -> None:
    for state, at in rows:
        keep(site, JobRow(name="verify", slot=at, state=state, not_before=at, finished_at=at))
    sweep(site)
    assert there(site, JobRow, ("verify", LONG_AGO)) is kept


@pytest.mark.parametrize(("kept", "sent_at"), [(True, None), (False, LONG_AGO), (True, NOON)])
def test_a_notice_stays_until_it_was_sent_long_ago(site: Site, kept: bool, sent_at: dt.datetime | None) -> None:
    keep(site, NoticeRow(kind="k", key="1", sentence="", noticed_at=LONG_AGO, sent_at=sent_at))
    sweep(site)
    assert there(site, NoticeRow, ("k", "1")) is kept


@pytest.mark.parametrize(("ended", "days"), [(True, 3), (False, 1)], ids=["for days", "for a day"])
def test_a_read_that_nobody_goes_on_with_is_ended_when_so_it_was(site: Site, ended: bool, days: int) -> None:
    with site.begin() as session:
        begun = mirror.start_snapshot(session, "gone", NOON - dt.timedelta(days=days))
    sweep(site)
    with site.begin() as session:
        found = mirror.snapshot(session, begun)
    assert found is not None
    assert bool(found.failure) is ended


def test_too_short_a_memory_is_refused(rig: Rig) -> None:
    with pytest.raises(Misconfigured, match="retention"):
        load(rig.write_settings("enforce", retention={"runs": "1d"}))
