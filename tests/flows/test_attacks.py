"""What somebody changes in the world, or in Trueup's own books, while a plan or an approval is on its way."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.flows.rig import Rig, interrupted
from tests.flows.test_guards import about, plan_of
from worker.core.guardrails import State
from worker.errors import Misconfigured, Refused, Unavailable
from worker.flows import links, passes, review
from worker.flows.apply import apply
from worker.flows.reading import read
from worker.flows.report import drift_report
from worker.flows.site import Site
from worker.ports import Part, Step
from worker.store import runs


@pytest.fixture
def hoarder(rig: Rig) -> str:
    """Holds role Analyst in Looker, which no rule gives."""
    return rig.logins("extra role")[0]


@pytest.fixture
def bystander(rig: Rig, hoarder: str) -> str:
    """Somebody active whom no planted story is about."""
    told = {story.who for story in rig.world.company.stories}
    return next(
        e.profile["login"]
        for e in rig.world.company.employees
        if e.status == "ACTIVE"
        and e.profile["login"] not in told
        and rig.world.looker.instance.with_email(e.profile["login"])
    )


def test_an_account_unlinked_after_the_plan_is_not_changed(rig: Rig, site: Site, hoarder: str) -> None:
    plan = plan_of(passes.plan(site))
    links.unlink(site, "looker", hoarder, note="several people share it")
    applied = apply(site, plan.run_id)
    assert "Analyst" in rig.looker_roles(hoarder)
    (problem,) = [p for p in applied.problems if f"<{hoarder}>" in p]
    assert problem.endswith("refused, somebody has said meanwhile that the account is not theirs")


def test_an_approval_is_void_when_the_account_has_become_somebody_elses(rig: Rig, hoarder: str, bystander: str) -> None:
    with rig.open("review") as site:
        passes.plan(site)
        (item,) = [
            i for i in review.pending(site, "looker") if f"<{hoarder}>" in i.sentence and "Analyst" in i.sentence
        ]
        review.decide(site, [item.handle], True, "she asked for it")
        links.unlink(site, "looker", hoarder, note="")
        links.link(site, bystander, "looker", rig.looker_user(hoarder).id, secondary=True, note="")
        again = plan_of(passes.sync(site))
        assert "Analyst" in rig.looker_roles(hoarder)
        assert any("Analyst" in sentence for sentence in about(again, bystander)[State.WAITING])


def test_an_account_that_is_gone_by_the_time_its_turn_comes_is_left_and_the_run_goes_on(
    rig: Rig, site: Site, hoarder: str
) -> None:
    plan = plan_of(passes.plan(site))
    account_id = rig.looker_user(hoarder).id

    def vanish() -> None:
        rig.world.looker.instance.delete(rig.looker_user(hoarder))
        read(site, "looker")

    applied = apply(interrupted(site, "looker", vanish), plan.run_id)
    (problem,) = [p for p in applied.problems if f"<{hoarder}>" in p]
    assert problem.endswith(f"refused, account {account_id} is gone since this plan was made")
    assert applied.stopped == ""


def test_a_run_makes_nothing_more_once_a_newer_plan_has_taken_its_place(rig: Rig, site: Site, hoarder: str) -> None:
    plan = plan_of(passes.plan(site))
    with rig.open("review") as stricter:
        applied = apply(interrupted(site, "looker", lambda: passes.plan(stricter)), plan.run_id)
    assert "A newer plan for looker has taken the place of this one" in applied.stopped
    assert applied.done
    assert "Analyst" in rig.looker_roles(hoarder)


def waiting_for_locks(site: Site) -> int:
    """How many sessions of this database stand still until another one ends its transaction."""
    with site.begin() as session:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return int(session.scalars(text(asked)).one())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def test_two_workers_do_not_pass_a_limit_together(rig: Rig, hoarder: str, bystander: str) -> None:
    """Both are held up at the end of the transaction in which they asked for the limit, and then let go."""
    rig.world.looker.add_to_group(rig.looker_user(bystander).id, "Finance")
    at_most_one = {"removals": {"per_run": 50, "per_day": 1}}
    with rig.open("enforce") as planner, ExitStack() as stack:
        plan = plan_of(passes.plan(planner))
        prints = [
            frozenset({plan.fingerprints[j.change.drift.key]})
            for j in plan.judged
            if any(f"<{who}>" in plan.sentences[j.change.drift.key] for who in (hoarder, bystander))
            and j.change.operation == "revoke"
        ]
        assert len(prints) == 2
        workers = [stack.enter_context(rig.open("enforce", limits=at_most_one)) for _ in prints]
        made = [
            threading.Thread(target=apply, args=(worker, plan.run_id, only))
            for worker, only in zip(workers, prints, strict=True)
        ]
        with planner.begin() as session:
            session.execute(text("SELECT 1 FROM head FOR UPDATE"))
            for thread in made:
                thread.start()
            until(lambda: waiting_for_locks(planner) == len(made))
        for thread in made:
            thread.join()
    lost = ("Analyst" not in rig.looker_roles(hoarder)) + ("Finance" not in rig.looker_groups(bystander))
    assert lost == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"format": "trueup plan 1"}',
        '{"format": "trueup plan 1", "policy": "p", "instances": {}, "targets": 7}',
        '{"format": "trueup plan 1", "policy": "p", "instances": {}, "targets": {"looker": [{"finger": "f"}]}}',
        '{"format": "trueup plan 1", "policy": "p", "instances": {}, "targets": {"looker": "abc"}}',
        "[" * 100_000,
    ],
    ids=["cut short", "no list", "no fingerprint", "text for a list", "nested without end"],
)
def test_a_saved_plan_that_lost_its_shape_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(Misconfigured, match=r"plan\.json is not a"):
        passes.load_saved(file)


def test_a_saved_plan_names_people_and_so_is_private(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    passes.save(site, passes.plan(site), file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert passes.load_saved(file)["targets"].keys() == {"looker", "teamcity"}


def test_a_dispute_that_a_departure_makes_urgent_cannot_be_waived_and_no_older_waiver_hides_it(
    rig: Rig, site: Site
) -> None:
    passes.plan(site)
    item = next(i for i in review.pending(site, "looker") if i.kind == "disputed" and "<" in i.sentence)
    until_then = rig.clock().date() + dt.timedelta(days=20)
    review.waive(site, item.handle, "ana", until_then, "we know")
    assert passes.plan(site).standing()["waived"] == 1
    rig.world.okta.deactivate(rig.okta_id(item.sentence.split("<")[-1].split(">")[0]))
    later = passes.plan(site)
    (now,) = [i for i in review.pending(site, "looker") if i.episode.id == item.episode.id]
    assert now.sentence.endswith("; they have departed")
    assert now.state == "standing"
    assert later.standing()["waived"] == 0
    (shown,) = [f for f in drift_report(site).findings if f.sentence == now.sentence]
    assert shown.waiver is None
    with pytest.raises(Refused, match="may be a departed person's"):
        review.waive(site, now.handle, "ana", until_then, "we know")


@pytest.mark.parametrize("target", ["looker", "teamcity"])
def test_a_step_of_unknown_outcome_on_an_account_that_is_gone_holds_up_nothing(
    rig: Rig, site: Site, target: str
) -> None:
    plan = plan_of(passes.plan(site), target)
    with site.begin() as session:
        change = next(c for c in runs.changes_of(session, plan.run_id) if c.account_id)
        account_id, tasks = change.account_id, (str(change.id),)
        step = Step("disable" if target == "looker" else "mark", account_id, {"note": "x"}, tasks, "disable it")
        runs.attempt(
            session, run_id=plan.run_id, target=target, person_id="", position=1, step=step, owner="", fence=1,
            now=rig.clock(),
        )  # fmt: skip
    if target == "looker":
        rig.world.looker.instance.delete(rig.world.looker.instance.users[account_id])
    else:
        rig.world.teamcity.world.delete_user(rig.world.teamcity.world.users[int(account_id)])
    after = passes.plan(site)
    assert after.failures == []
    assert after.settled == ["disable it: found not applied"]


@pytest.mark.parametrize("name", ["okta", "looker"], ids=["a source", "a target"])
def test_a_second_reader_says_so_and_leaves_the_first_one_alone(rig: Rig, site: Site, name: str) -> None:
    said: list[str] = []

    def come_second() -> None:
        with rig.open("enforce", baselines=False) as other, pytest.raises(Unavailable) as caught:
            read(other, name)
        said.append(str(caught.value))

    read(_read_slowly(site, name, come_second), name)
    assert said == [f"Another Trueup is reading {name} just now; wait for it, then run this again."]
    read(site, name)


def _read_slowly(site: Site, name: str, happen: Callable[[], object]) -> Site:
    """The same site, in which `happen()` is called after the first part of a connector."""

    class Slow:
        def __init__(self, connector: Any) -> None:
            self._connector = connector
            self._first = True

        def __getattr__(self, asked: str) -> Any:
            return getattr(self._connector, asked)

        def read(self, part: Part) -> Any:
            piece = self._connector.read(part)
            if self._first:
                self._first = False
                happen()
            return piece

    slow: Any = {n: Slow(c) if n == name else c for n, c in {**site.sources, **site.targets}.items()}
    return replace(site, sources={n: slow[n] for n in site.sources}, targets={n: slow[n] for n in site.targets})
