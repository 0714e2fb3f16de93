"""The schedule does the whole job by itself: slots come due, reads come before plans, plans are applied, and whatever
went wrong is said on its slot and tried again where that may help."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import col, select

from tests.flows.departing import everywhere, hint
from tests.flows.rig import Rig
from worker.core.guardrails import State
from worker.errors import Refused, TrueupError
from worker.flows import jobs, leaving, notices, offboarding, passes, trail, watch
from worker.flows.apply import work
from worker.flows.site import Nudge, Site
from worker.store import jobs as slots
from worker.store import runs, vitals
from worker.store.tables import ChangeRow, JobRow

EVERY = "10m"
LONG = 200  # nudges; a straight line needs a few dozen


class Crew:
    """Does what a beat and one worker do, in one thread: ticks, and takes every nudge in turn."""

    def __init__(self, rig: Rig, site: Site) -> None:
        self.rig, self.site = rig, site
        self.troubles: list[str] = []
        self.taken: list[Nudge] = []

    def tick(self) -> list[Nudge]:
        return jobs.tick(self.site)

    def settle(self) -> None:
        """Tick until a tick finds nothing that anybody could do just now."""
        while nudges := self.tick():
            assert len(self.taken) < LONG, self.taken[-10:]
            for nudge in nudges:
                self.take(nudge)

    def take(self, nudge: Nudge) -> None:
        self.taken.append(nudge)
        try:
            _TASKS[nudge.task](self.site, *nudge.args)
        except TrueupError as error:
            self.troubles.append(str(error))

    def later(self, **how_far: float) -> None:
        """The next slots, to their end."""
        self.rig.clock.advance(**how_far or {"minutes": 10})
        self.settle()

    def patiently(self, name: str) -> None:
        """The next slots, until that of this job has ended, however often it is tried."""
        self.later()
        for _ in range(LONG):
            if self.states(name)[-1] in ("done", "failed"):
                return
            self.later(seconds=15)
        raise AssertionError(f"{name} does not end: {self.troubles[-3:]}")

    def slots(self, name: str) -> list[JobRow]:
        with self.site.begin() as session:
            return list(session.exec(select(JobRow).where(JobRow.name == name).order_by(col(JobRow.slot))))

    def states(self, name: str) -> list[str]:
        return [row.state for row in self.slots(name)]


def _never() -> bool:
    return False


def _told(site: Site, job: str) -> None:
    def once(_: object) -> None:
        notices.tell(site)

    jobs.go_on(site, job, once)


_TASKS: Mapping[str, object] = {}
_TASKS = {
    jobs.READ: lambda site, job: jobs.read(site, job, _never),
    jobs.RECONCILE: jobs.plan,
    jobs.APPLY: lambda site, run: work(site, uuid.UUID(run), _never),
    jobs.DEPARTURES: lambda site, run: jobs.take_from_departed(site, uuid.UUID(run), _never),
    leaving.OFFBOARD: lambda site, id, *target: offboarding.work(site, uuid.UUID(id), *target),
    jobs.VERIFY: lambda site, job: jobs.go_on(site, job, lambda progress: trail.verify_on(site, progress)),
    jobs.RETENTION: lambda site, job: jobs.go_on(site, job, lambda _: None),
    jobs.WATCH: lambda site, job: jobs.go_on(site, job, lambda progress: watch.sweep(site, progress)),
    jobs.TELL: _told,
}


@pytest.fixture
def crew(rig: Rig) -> Iterator[Crew]:
    schedule = {"pull": EVERY, "observe": EVERY, "reconcile": EVERY}
    with rig.open("enforce", actor="schedule", schedule=schedule) as site:
        yield Crew(rig, site)


def somebody(rig: Rig) -> str:
    """In good order, with a Looker account, in no story."""
    planted = {story.who for story in rig.world.company.stories}
    return next(
        login
        for person in rig.world.company.employees
        if (login := person.profile["login"]) not in planted
        and person.status == "ACTIVE"
        and len(rig.world.looker.instance.with_email(login)) == 1
    )


def test_the_schedule_alone_brings_the_company_in_order_and_keeps_it_so(rig: Rig, crew: Crew) -> None:
    crew.settle()
    crew.later()
    assert crew.troubles == []
    with crew.site.begin() as session:
        for target in crew.site.targets:
            left = runs.changes_of(session, runs.latest_run(session, target).id, [State.OPEN.value])  # type: ignore[union-attr]
            assert left == []
    who = somebody(rig)
    rig.world.looker.add_to_group(rig.looker_user(who).id, "Finance")
    assert "Finance" in rig.looker_groups(who)
    crew.later()
    assert "Finance" not in rig.looker_groups(who)
    assert crew.states("reconcile looker") == ["done"] * 3


def test_a_plan_waits_for_the_reads_of_its_time_and_a_late_read_holds_it_up(crew: Crew) -> None:
    first = crew.tick()
    assert {nudge.task for nudge in first} == {jobs.READ, jobs.VERIFY, jobs.RETENTION, jobs.TELL, jobs.WATCH}
    for nudge in first:
        if nudge != Nudge(jobs.READ, ("pull okta",)):
            crew.take(nudge)
    assert not any(nudge.task == jobs.RECONCILE for nudge in crew.tick())
    crew.take(Nudge(jobs.READ, ("pull okta",)))
    assert Nudge(jobs.RECONCILE, ("reconcile looker",)) in crew.tick()


def test_a_missed_time_is_caught_up_once(rig: Rig, crew: Crew) -> None:
    crew.settle()
    crew.later(hours=5)
    assert len(crew.slots("pull okta")) == 2
    assert crew.slots("pull okta")[-1].slot == rig.clock().replace(microsecond=0)


def test_a_slot_that_is_still_under_way_gets_no_second_one_beside_it(rig: Rig, crew: Crew) -> None:
    crew.tick()
    rig.clock.advance(minutes=30)
    crew.tick()
    assert len(crew.slots("pull okta")) == 1


def test_a_job_that_the_settings_no_longer_have_is_ended(rig: Rig, crew: Crew) -> None:
    with crew.site.begin() as session:
        slots.ensure(session, "pull entra", rig.clock(), rig.clock())
    crew.tick()
    (row,) = crew.slots("pull entra")
    assert (row.state, row.failure) == ("failed", "the settings have no such job any more")


def test_a_read_that_is_refused_says_so_on_its_slot_and_nothing_is_planned_for_that_target(
    rig: Rig, crew: Crew
) -> None:
    crew.settle()
    cut = rig.world.looker.break_("GET */users*", "html")
    crew.patiently("reconcile looker")
    assert cut.fired > 0
    assert crew.states("observe looker")[-1] == "failed"
    assert "looker could not be read whole" in crew.slots("reconcile looker")[-1].failure
    assert crew.states("reconcile teamcity")[-1] == "done"
    rig.world.looker.faults.clear()
    crew.later()
    assert crew.states("reconcile looker")[-1] == "done"


def test_whoever_could_not_be_read_at_the_source_loses_nothing_by_a_plan_of_the_schedule(rig: Rig, crew: Crew) -> None:
    crew.settle()
    who = somebody(rig)
    rig.world.looker.add_to_group(rig.looker_user(who).id, "Finance")
    cut = rig.world.okta.break_("GET */users*", "html")
    crew.patiently("reconcile looker")
    assert cut.fired > 0
    assert crew.states("reconcile looker")[-1] == "done"
    assert "Finance" in rig.looker_groups(who)
    rig.world.okta.faults.clear()
    crew.later()
    assert "Finance" not in rig.looker_groups(who)


def test_a_vendor_that_is_not_to_be_had_is_asked_again_soon_and_not_for_ever(rig: Rig, crew: Crew) -> None:
    crew.settle()
    down = rig.world.teamcity.break_("*", "status", status=503)
    crew.patiently("observe teamcity")
    assert down.fired > 0
    (row,) = crew.slots("observe teamcity")[-1:]
    assert row.state == "failed"
    assert "503" in row.failure
    assert row.attempts == jobs.ATTEMPTS


def test_a_plan_that_somebody_only_wanted_to_see_is_never_applied_by_a_worker(rig: Rig, crew: Crew) -> None:
    outlook = passes.plan(crew.site)
    assert any(plan.count(State.OPEN) for plan in outlook.plans)
    before = len(rig.mutations())
    for plan in outlook.plans:
        assert not work(crew.site, plan.run_id, _never)
    assert not any(nudge.task in (jobs.APPLY, jobs.DEPARTURES) for nudge in crew.tick())
    assert len(rig.mutations()) == before


def test_a_target_is_not_read_anew_while_it_is_being_changed(rig: Rig, crew: Crew) -> None:
    run = planned(crew)
    rig.clock.advance(minutes=10)
    asked = crew.tick()
    assert Nudge(jobs.READ, ("pull okta",)) in asked
    assert Nudge(jobs.READ, ("observe looker",)) not in asked
    work(crew.site, run, _never)
    assert Nudge(jobs.READ, ("observe looker",)) in crew.tick()


def test_a_plan_has_a_minute_before_a_source_is_read_again(rig: Rig, crew: Crew) -> None:
    planned(crew)
    with crew.site.begin() as session:
        slots.ensure(session, "pull okta", rig.clock() + timedelta(seconds=59), rig.clock())
    rig.clock.advance(seconds=59)
    assert Nudge(jobs.READ, ("pull okta",)) not in crew.tick()
    rig.clock.advance(seconds=1)
    assert Nudge(jobs.READ, ("pull okta",)) in crew.tick()


def test_a_source_that_is_read_again_ends_the_older_plan_and_the_next_one_has_who_departed(
    rig: Rig, crew: Crew
) -> None:
    older = planned(crew)
    who = somebody(rig)
    rig.world.okta.deactivate(rig.okta_id(who))
    rig.clock.advance(minutes=10)
    for nudge in crew.tick():
        if nudge == Nudge(jobs.READ, ("pull okta",)):
            crew.take(nudge)
    with pytest.raises(Refused, match="okta has been read again since this plan was made"):
        work(crew.site, older, _never)
    assert rig.looker_user(who).is_disabled is False
    crew.settle()
    assert rig.looker_user(who).is_disabled is True


def test_no_plan_is_made_from_a_read_that_changes_have_outdated(rig: Rig, crew: Crew) -> None:
    run = planned(crew)
    rig.clock.advance(seconds=1)
    work(crew.site, run, _never)
    with crew.site.begin() as session:
        slots.ensure(session, "reconcile looker", rig.clock() + timedelta(minutes=1), rig.clock())
    rig.clock.advance(minutes=1)
    assert not any("looker" in nudge.args[0] for nudge in crew.tick() if nudge.task == jobs.RECONCILE)
    crew.later(minutes=9)
    assert crew.states("reconcile looker")[-1] == "done"


def test_whoever_departed_is_worked_for_by_the_workers_that_do_nothing_else(rig: Rig, crew: Crew) -> None:
    run = planned(crew)
    assert Nudge(jobs.DEPARTURES, (str(run),)) in crew.tick()
    assert not work(crew.site, run, _never, departed_only=True)
    with crew.site.begin() as session:
        left = runs.changes_of(session, run, [State.OPEN.value])
        made = runs.changes_of(session, run, ["applied", "already so"])
    assert {c.cause for c in made} == {"DEPARTED"}
    assert left
    assert "DEPARTED" not in {c.cause for c in left}
    assert Nudge(jobs.DEPARTURES, (str(run),)) not in crew.tick()


def test_whoever_leaves_just_now_comes_before_old_accounts_that_a_plan_found(rig: Rig, crew: Crew) -> None:
    run = planned(crew)
    old = departed(crew, run)
    who = leaves(rig, crew)
    assert jobs.take_from_departed(crew.site, run, lambda: rig.looker_user(who).is_disabled)
    assert departed(crew, run) == old
    assert not jobs.take_from_departed(crew.site, run, _never)
    assert departed(crew, run) == set()


def test_old_accounts_are_left_for_whoever_leaves_meanwhile(rig: Rig, crew: Crew) -> None:
    run = planned(crew)
    old = departed(crew, run)
    looks, left = itertools.count(), []

    def somebody_leaves_right_before_the_first_account() -> bool:
        if next(looks) == 1:
            left.append(leaves(rig, crew))
        return False

    assert jobs.take_from_departed(crew.site, run, somebody_leaves_right_before_the_first_account)
    assert departed(crew, run) == old != set()
    assert rig.looker_user(left[0]).is_disabled is False
    assert not jobs.take_from_departed(crew.site, run, _never)
    assert rig.looker_user(left[0]).is_disabled is True
    assert departed(crew, run) == set()


def departed(crew: Crew, run: uuid.UUID) -> set[str | None]:
    """Accounts of people who departed, about which the run has open changes."""
    with crew.site.begin() as session:
        left = runs.changes_of(session, run, [State.OPEN.value])
    return {change.account_id for change in left if change.cause == "DEPARTED"}


def leaves(rig: Rig, crew: Crew) -> str:
    """Deactivated at the source, and told of by its hook."""
    who = everywhere(rig)
    rig.world.okta.deactivate(rig.okta_id(who))
    hint(crew.site, who)
    return who


def planned(crew: Crew) -> uuid.UUID:
    """The run of the first Looker plan, which nobody has begun to apply."""
    while not (asked := [n for n in crew.tick() if n == Nudge(jobs.RECONCILE, ("reconcile looker",))]):
        for nudge in crew.tick():
            if nudge.task == jobs.READ:
                crew.take(nudge)
    crew.take(asked[0])
    assert crew.troubles == []
    with crew.site.begin() as session:
        (run,) = [run for run in runs.applying(session) if run.target == "looker"]
        assert runs.changes_of(session, run.id, [State.OPEN.value])
    return run.id


def test_a_batch_that_has_had_its_share_says_that_there_is_more(crew: Crew) -> None:
    run = planned(crew)
    assert work(crew.site, run, lambda: True)
    assert not work(crew.site, run, _never)
    with crew.site.begin() as session:
        assert runs.latest_run(session, "looker").state == "closed"  # type: ignore[union-attr]


def test_a_vendor_that_breaks_off_in_the_middle_puts_the_run_off_and_it_goes_on_later(rig: Rig, crew: Crew) -> None:
    run = planned(crew)
    down = rig.world.looker.break_("GET */users/*", "status", status=503)
    assert not work(crew.site, run, _never)
    assert down.fired > 0
    assert not any(run_id == (str(run),) for _, run_id in ((n.task, n.args) for n in crew.tick()))
    rig.world.looker.faults.clear()
    rig.clock.advance(minutes=1)
    assert any(n.args == (str(run),) for n in crew.tick())
    crew.settle()
    with crew.site.begin() as session:
        assert {c.state for c in changes(session, run)} & {"open"} == set()


def changes(session: object, run: uuid.UUID) -> list[ChangeRow]:
    return runs.changes_of(session, run)  # type: ignore[arg-type]


def test_a_broken_chain_fails_its_job_and_is_told(rig: Rig, crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.settle()
    monkeypatch.setattr(trail, "PIECE", 3)
    monkeypatch.setattr("worker.core.audit.digest", lambda body: "0" * 64)
    with pytest.raises(Refused, match="The audit chain is broken at entry 1"):
        trail.verify_on(crew.site, {})
    monkeypatch.undo()
    assert [entry.kind for entry in rig.trail(crew.site, "chain found broken")] == ["chain found broken"]


def test_the_last_success_of_each_job_is_known(crew: Crew) -> None:
    crew.settle()
    with crew.site.begin() as session:
        pasts = vitals.job_pasts(session)
    assert {"pull okta", "observe looker", "reconcile teamcity", "verify"} <= set(pasts)


def test_two_workers_share_a_run_and_every_change_is_made_once(rig: Rig, crew: Crew) -> None:
    run = planned(crew)
    with rig.open("enforce", actor="schedule", schedule={"pull": EVERY}) as other:
        turns = iter([False, False, True] * LONG)
        while work(crew.site, run, lambda: next(turns)) or work(other, run, lambda: next(turns)):
            pass
    with crew.site.begin() as session:
        states = {c.state for c in changes(session, run)}
    assert "open" not in states
    attempts = [e.facts["step"] for e in rig.trail(crew.site, "step attempted")]
    assert len(attempts) == len(set(attempts))


def test_a_nudge_leaves_when_its_transaction_has_been_committed_and_not_if_it_was_not(rig: Rig) -> None:
    told: list[tuple[Nudge, int]] = []
    with rig.open() as opened:
        site = replace(opened, send=lambda nudge: told.append((nudge, len(rig.trail(opened, "noted")))))
        with site.begin() as session:
            site.record(session, site.event("noted", {}))
            site.nudge(session, Nudge("read", ("pull okta",)))
            assert told == []
        assert told == [(Nudge("read", ("pull okta",)), 1)]  # what it is about is there for whoever is nudged

        def think_twice() -> None:
            with site.begin() as session:
                site.nudge(session, Nudge("tell"))
                raise Refused("on second thoughts")

        with pytest.raises(Refused, match="on second thoughts"):
            think_twice()
    assert len(told) == 1
