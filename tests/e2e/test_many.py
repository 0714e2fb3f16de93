"""Many at once, and for long: a day's limit holds for all workers together, and a slot is one for all beats."""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlmodel import select

from tests.conftest import Database
from tests.flows.rig import NOON, Rig
from worker import wiring
from worker.core.guardrails import State, Tally
from worker.flows import jobs, passes
from worker.flows.apply import apply, work
from worker.flows.crowd import gather
from worker.flows.reading import read
from worker.flows.reconcile import reconcile
from worker.flows.site import Site
from worker.sandbox.world import World
from worker.settings import schedule
from worker.store import jobs as slots
from worker.store import runs
from worker.store.tables import JobRow, StepRow

WORKERS = 10
GOVERNED = (
    *[("PROJECT_VIEWER", "p:Web"), ("PROJECT_VIEWER", "p:Mobile"), ("RELEASE_ENGINEER", "p:Platform")],
    *[("PROJECT_DEVELOPER", project) for project in ("p:Payments", "p:Data", "p:Web")],
)


@pytest.fixture
def rig(fresh_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    with World.of(40).serve() as world:
        monkeypatch.setenv(wiring.DATABASE, fresh_database.worker_url)
        monkeypatch.setenv(wiring.OWNER_DATABASE, fresh_database.owner_url)
        for name, value in world.environment().items():
            monkeypatch.setenv(name, value)
        yield Rig(world, tmp_path)


def hand_out(rig: Rig, number: int) -> None:
    """So many roles at TeamCity that no rule gives, to people who are in order: each is one removal."""
    teamcity = rig.world.teamcity
    planted = {story.who for story in rig.world.company.stories}
    calm = {e.profile["login"] for e in rig.world.company.employees if e.status == "ACTIVE"} - planted
    users = [user for user in teamcity.world.users.values() if user.username in calm]
    spare = [(user, pair) for pair in GOVERNED for user in users if pair not in user.roles]
    assert len(spare) >= number
    for user, pair in spare[:number]:
        teamcity.add_role(user.id, *pair)


def removals(rig: Rig) -> int:
    """How many roles TeamCity has taken away."""
    return sum(e.method == "DELETE" and "/roles/" in e.path for e in rig.world.teamcity.log)


def limits(per_run: int, per_day: int) -> dict[str, object]:
    return {"limits": {"snapshot_age": "24h", "share": "100%", "removals": {"per_run": per_run, "per_day": per_day}}}


def test_ten_workers_cannot_together_exceed_what_a_day_allows(rig: Rig) -> None:
    with rig.open("enforce", **limits(100, 100)) as site:
        passes.sync(site)
        hand_out(rig, 40)
        rig.clock.advance(minutes=5)
        (run,) = [planned.run_id for planned in passes.plan(site).plans if planned.target == "teamcity"]
        with site.begin() as session:
            runs.start_applying(session, run)
            today = runs.recent_effects(session, "teamcity", site.now())[Tally.REMOVALS]
    before, together = removals(rig), threading.Barrier(WORKERS)
    with ExitStack() as stack:
        sites = [stack.enter_context(rig.open("enforce", **limits(100, today + 25))) for _ in range(WORKERS)]

        def work_on(one: Site) -> None:
            together.wait(30)
            while work(one, run, lambda: False):
                pass

        with ThreadPoolExecutor(WORKERS) as threads:
            list(threads.map(work_on, sites))
        with sites[0].begin() as session:
            states = Counter(change.state for change in runs.changes_of(session, run))
            owners = set(session.exec(select(StepRow.owner).where(StepRow.run_id == run)))
    assert removals(rig) - before == 25
    assert states["applied"] == 25
    assert states[State.WITHHELD.value] == 15
    assert len(owners) > 1, "they did it together"


@pytest.mark.fleet
def test_thirty_removals_a_run_for_twenty_runs_trip_the_limit_of_a_day(rig: Rig) -> None:
    made, tripped = [30], []
    with rig.open("enforce", **limits(40, 500)) as site:
        passes.sync(site)
        rig.clock.advance(days=2)
        for name in ("okta", "looker"):
            read(site, name)
        for _ in range(20):
            if made[-1] == 30:
                hand_out(rig, 30)
            before = removals(rig)
            read(site, "teamcity")
            planned = reconcile(site, "teamcity", gather(site), "test")
            apply(site, planned.run_id)
            made.append(removals(rig) - before)
            tripped.append(any("(limits.removals.per_day)" in why for why in planned.tripped))
            rig.clock.advance(hours=1)
        assert made[1:] == [30] * 16 + [0] * 4, "16 times 30 is all that fits into 500"
        assert tripped == [False] * 16 + [True] * 4
        rig.clock.advance(hours=4, minutes=1)
        before = removals(rig)
        assert passes.sync(site).tripped == []
        assert removals(rig) - before == 30, "the first of them are more than a day old"


EVERY = dt.timedelta(minutes=1)
TICK = dt.timedelta(seconds=10)


def test_two_beats_for_an_hour_make_every_slot_once(rig: Rig) -> None:
    """They tick at the same moments; what they make is done at once by a worker who does nothing else."""
    both, times = threading.Barrier(2), [NOON + n * TICK for n in range(6 * 60)]
    quick = {"schedule": dict.fromkeys(("pull", "observe", "reconcile", "tell"), "1m")}
    with rig.open(**quick) as one, rig.open(**quick) as other:

        def beat(site: Site) -> None:
            for moment in times:
                if both.wait(60) == 0:
                    rig.clock.time = moment
                both.wait(60)
                jobs.tick(site)
                if both.wait(60) == 0:
                    finish_all(site)

        with ThreadPoolExecutor(2) as threads:
            list(threads.map(beat, (one, other)))
        minutes = {NOON + n * EVERY for n in range(60)}
        made = slots_of(one)
        everything = {job.name for job in schedule.jobs(one.loaded.settings)}
        assert set(made) == everything
        for name in everything:
            due = minutes if any(name.startswith(word) for word in ("pull", "observe", "reconcile", "tell")) else None
            assert len(made[name]) == len(set(made[name])), "no slot twice"
            assert due is None or set(made[name]) == due, "no slot lost"
        rig.clock.advance(hours=3, seconds=17)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(jobs.tick, (one, other)))
        caught_up = slots_of(one)
        assert caught_up["pull okta"] == [*made["pull okta"], NOON + dt.timedelta(hours=4)], "once, and the newest"


def finish_all(site: Site) -> None:
    with site.begin() as session:
        for row in slots.unfinished(session):
            mine = slots.claim(session, row.name, site.owner, site.now(), jobs.CLAIM)
            assert mine is not None
            assert slots.finish(session, mine, slots.DONE, site.now())


def slots_of(site: Site) -> dict[str, list[dt.datetime]]:
    """By job, in their order."""
    found = defaultdict(list)
    with site.begin() as session:
        for row in session.exec(select(JobRow).order_by(JobRow.slot)):
            found[row.name].append(row.slot)
    return found
