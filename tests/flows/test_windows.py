"""Windows and freezes in a pass: what waits stays open and is told; leavers wait for nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flows.rig import NOON, Rig
from worker.core.guardrails import State
from worker.errors import Misconfigured
from worker.flows import passes
from worker.flows.apply import work
from worker.flows.site import Site
from worker.settings import load
from worker.store import runs
from worker.store.tables import Run

OFFICE = {"looker": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00"}]}
FREEZE = [{"from": "2026-11-20", "to": "2026-11-22", "why": "release 12"}]
MONDAY = (NOON.replace(day=23, hour=8) - NOON).total_seconds()  # NOON is on a Saturday


@pytest.fixture
def site(rig: Rig) -> Iterator[Site]:
    with rig.open("enforce", windows=OFFICE) as opened:
        yield opened


def test_outside_its_window_a_target_waits_and_says_so_while_leavers_and_other_targets_do_not(
    rig: Rig, site: Site
) -> None:
    (leaver,) = rig.logins("leaver")[:1]
    (hoarder,) = rig.logins("extra role")[:1]
    outlook = passes.sync(site)
    assert rig.looker_user(leaver).is_disabled
    assert "Analyst" in rig.looker_roles(hoarder)
    (waiting,) = outlook.waits().values()
    assert waiting.endswith("for the window of looker (opens Mon 2026-11-23 08:00 UTC)")
    assert waiting in outlook.closing_line()
    assert outlook.exit_code() == 2
    assert rig.world.okta.reads.total(), "reading goes on"
    rig.clock.advance(seconds=MONDAY)
    after = passes.sync(site)
    assert after.waits() == {}
    assert "Analyst" not in rig.looker_roles(hoarder)


def test_a_plan_says_what_would_wait(rig: Rig, site: Site) -> None:
    assert [w.split(" (")[0] for w in passes.plan(site).waits().values()] == [
        passes.sync(site).waits()["looker"].split(" (")[0]
    ]


def test_a_run_that_waits_stays_open_until_the_window_opens_or_a_newer_plan_takes_its_place(
    rig: Rig, site: Site
) -> None:
    plan = passes.plan(site).plans[0]
    with site.begin() as session:
        runs.start_applying(session, plan.run_id)
    assert work(site, plan.run_id, lambda: False) is False
    with site.begin() as session:
        run = session.get(Run, plan.run_id)
        assert run is not None
        assert run.closed_at is None
        assert f"{run.not_before:%a %H:%M}" == "Mon 08:00"
        assert runs.changes_of(session, plan.run_id, [State.OPEN.value])
    passes.plan(site)
    with site.begin() as session:
        run = session.get(Run, plan.run_id)
        assert run is not None
        assert run.state == runs.SUPERSEDED


def test_in_a_freeze_every_target_waits(rig: Rig) -> None:
    with rig.open("enforce", freezes=FREEZE) as site:
        outlook = passes.sync(site)
    assert "Analyst" in rig.looker_roles(rig.logins("extra role")[0])
    assert rig.looker_user(rig.logins("leaver")[0]).is_disabled
    assert "looker" in outlook.waits()
    assert all("(opens Mon 2026-11-23 00:00 UTC; release 12)" in text for text in outlook.waits().values())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"windows": {"lokker": OFFICE["looker"]}}, "lokker"),
        ({"freezes": [{**FREEZE[0], "targets": ["lokker"]}]}, "lokker"),
        ({"freezes": [{**FREEZE[0], "to": "2026-11-19"}]}, "must be later than `from`"),
        ({"freezes": [{**FREEZE[0], "to": "soon"}]}, "write a day such as"),
        ({"windows": {"looker": [{"from": "8 o'clock", "to": "18:00"}]}}, "write a time of day"),
        ({"windows": {"looker": [{"days": [], "from": "08:00", "to": "18:00"}]}}, "days"),
    ],
    ids=["another target", "a freeze of another target", "backwards", "no day", "no time", "no days"],
)
def test_settings_that_mean_no_time_are_refused(rig: Rig, changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        load(rig.write_settings("enforce", **changes))


def test_a_window_voids_no_decision(rig: Rig) -> None:
    before = load(rig.write_settings("enforce"))
    after = load(rig.write_settings("enforce", windows=OFFICE, freezes=FREEZE))
    assert after.policy_hash == before.policy_hash
    assert after.settings_hash != before.settings_hash
