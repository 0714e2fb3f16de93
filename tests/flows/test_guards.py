"""Each guard of a pass, shown at work on a served company: what it withholds, and that nothing else is held up.

In this company of 40 somebody has left, one holds a role too much, two lack an account, and the administrators'
accounts are in dispute, since nobody has confirmed yet whose they are.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from tests.flows.rig import NOON, Rig, interrupted
from worker.core.drift import Cause
from worker.core.guardrails import State
from worker.errors import Lost, Paused, Refused, TrueupError
from worker.flows import links, passes, review, standstill
from worker.flows.apply import apply, settle
from worker.flows.check import check
from worker.flows.crowd import gather
from worker.flows.passes import Outlook
from worker.flows.reading import read
from worker.flows.reconcile import Reconciled, reconcile
from worker.flows.site import Site
from worker.ports import Made, Outcome, Part, Piece, SourcePage
from worker.sandbox.server import Exchange
from worker.store import episodes, leases, mirror, people, runs

CREATING = {"create": "auto"}


@pytest.fixture
def leaver(rig: Rig) -> str:
    return rig.logins("leaver")[0]


@pytest.fixture
def hoarder(rig: Rig) -> str:
    """Holds role Analyst in Looker, which no rule gives."""
    return rig.logins("extra role")[0]


@pytest.fixture
def newcomer(rig: Rig) -> str:
    """Deserves a Looker account and has none."""
    return rig.logins("missing looker account")[0]


def plan_of(outlook: Outlook, target: str = "looker") -> Reconciled:
    (found,) = [plan for plan in outlook.plans if plan.target == target]
    return found


def told(plan: Reconciled, *states: State) -> list[str]:
    """The sentences of the changes in these states."""
    return [plan.sentences[j.change.drift.key] for j in plan.judged if j.state in states]


def about(plan: Reconciled, login: str) -> dict[State, list[str]]:
    found: dict[State, list[str]] = {}
    for judged in plan.judged:
        sentence = plan.sentences[judged.change.drift.key]
        if f"<{login}>" in sentence:
            found.setdefault(judged.state, []).append(sentence)
    return found


def has_account(rig: Rig, login: str) -> bool:
    return bool(rig.world.looker.instance.with_email(login))


def untouched(rig: Rig, leaver: str, hoarder: str) -> bool:
    """Nothing was taken from anybody in Looker."""
    return not rig.looker_user(leaver).is_disabled and "Analyst" in rig.looker_roles(hoarder)


def refused(outlook: Outlook, connector: str) -> str:
    """What was said about a connector that failed."""
    (sentence,) = [sentence for name, sentence in outlook.failures if name == connector]
    return sentence


# --- nothing in the way ----------------------------------------------------------------------------------------------


def test_with_every_guard_content_a_pass_takes_and_gives_and_leaves_nothing_behind(
    rig: Rig, leaver: str, hoarder: str, newcomer: str
) -> None:
    with rig.open("enforce", gates=CREATING) as site:
        first = passes.sync(site)
        assert (first.troubles, first.failures, first.tripped) == ([], [], [])
        assert not untouched(rig, leaver, hoarder)
        assert has_account(rig, newcomer)
        assert rig.looker_groups(leaver) == set()
        before = rig.mutations()
        again = passes.sync(site)
        assert {plan.target: plan.count(*State) for plan in again.plans} == {"looker": 0, "teamcity": 0}
        assert again.exit_code() == 0
        assert rig.mutations() == before
        assert not [m for m in before if m.startswith("DELETE /api/4.0/users/")], "accounts are never deleted"


# --- baseline --------------------------------------------------------------------------------------------------------


def test_without_an_accepted_baseline_things_are_given_and_nothing_is_taken(
    rig: Rig, leaver: str, hoarder: str, newcomer: str
) -> None:
    with rig.open("enforce", baselines=False, gates=CREATING) as site:
        first = passes.sync(site)
        assert has_account(rig, newcomer)
        assert untouched(rig, leaver, hoarder)
        assert first.exit_code() == 1
        assert "withheld: no accepted baseline of okta, looker;" in plan_of(first).tripped[0]
        withheld = rig.trail(site, "change withheld")
        assert withheld
        passes.sync(site)
        assert rig.trail(site, "change withheld") == withheld, "the trail says it once"
        assert check(site, accept=[]).accepted == ["okta", "looker", "teamcity"]
        passes.sync(site)
        assert not untouched(rig, leaver, hoarder)


@pytest.mark.parametrize("accepted", [["okta"], ["looker"]], ids=["of the source", "of the target"])
def test_a_baseline_of_only_one_side_is_not_enough(rig: Rig, leaver: str, hoarder: str, accepted: list[str]) -> None:
    with rig.open("enforce", baselines=False) as site:
        check(site, accept=accepted)
        passes.sync(site)
        assert untouched(rig, leaver, hoarder)


def test_that_somebody_new_has_the_login_at_the_source_is_said_to_whoever_decides(
    rig: Rig, site: Site, hoarder: str
) -> None:
    passes.sync(site)
    rig.world.okta.delete(rig.okta_id(hoarder))
    rig.world.okta.hire("Yuki", "Anew", login=hoarder)
    rig.accept_baselines(site)
    (sentence,) = [s for s in plan_of(passes.plan(site)).sentences.values() if "no longer has" in s]
    assert "another user has that login now" in sentence
    assert f"<{hoarder}>" in sentence


# --- reads that cannot be whole --------------------------------------------------------------------------------------


def _lose_people(rig: Rig) -> None:
    for login in _unstoried(rig, 4):
        rig.world.okta.delete(rig.okta_id(login))


def _lose_groups(rig: Rig) -> None:
    for name in ("Team Web", "Team Mobile", "Team Platform"):
        rig.world.okta.delete_group(name)


def _lose_memberships(rig: Rig) -> None:
    for login in _unstoried(rig, 12):
        for group in ("Analytics Readers", "Engineering"):
            rig.world.okta.remove_from_group(rig.okta_id(login), group)


def _lose_accounts(rig: Rig) -> None:
    for login in [login for login in _unstoried(rig, 30) if has_account(rig, login)][:4]:
        rig.world.looker.delete_user(rig.looker_user(login).id)


def _unstoried(rig: Rig, number: int) -> list[str]:
    told_of = {story.who for story in rig.world.company.stories} | {"grace.okafor@acme.example"}
    logins = [e.profile["login"] for e in rig.world.company.employees if e.profile["login"] not in told_of]
    return logins[:number]


SHRUNK = {
    "people": (_lose_people, "okta"), "groups": (_lose_groups, "okta"), "memberships": (_lose_memberships, "okta"),
    "accounts": (_lose_accounts, "looker"),
}  # fmt: skip


@pytest.mark.parametrize(("lose", "where"), SHRUNK.values(), ids=SHRUNK.keys())
def test_a_read_that_shows_far_less_than_the_last_one_is_refused_until_a_human_has_looked(
    rig: Rig, leaver: str, hoarder: str, lose: Callable[[Rig], None], where: str
) -> None:
    strict = {"shrink": {"people": "1%", "groups": "1%", "memberships": "1%", "accounts": "1%", "above": 2}}
    with rig.open("observe", limits=strict) as site:
        passes.plan(site)
        lose(rig)
    with rig.open("enforce", limits=strict) as site:
        outlook = passes.sync(site)
        assert "did not shrink" in refused(outlook, where)
        assert "trueup check --accept-baseline" in refused(outlook, where)
        assert not [m for m in rig.mutations() if "/api/4.0/" in m]
        assert outlook.exit_code() == 1
        assert len(rig.trail(site, "read refused")) == 1
        assert check(site, accept=[where]).failures == []
        assert passes.plan(site).failures == []


def test_who_is_missing_from_the_lists_but_there_when_asked_for_by_id_was_not_lost(rig: Rig, hoarder: str) -> None:
    """A list that was cut, and not by enough for the counts to tell."""
    with rig.open("enforce") as site:
        passes.plan(site)
        with pytest.raises(Refused, match="is missing from the lists, but there when asked for by id"):
            read(_forgetting(site, rig.okta_id(hoarder)), "okta")
        assert rig.mutations() == []


def _forgetting(site: Site, id: str) -> Site:
    """The same site with an Okta whose lists leave one person out."""

    class Forgetful:
        def __init__(self, source: Any) -> None:
            self._source = source

        def __getattr__(self, name: str) -> Any:
            return getattr(self._source, name)

        def read(self, part: Part) -> Piece:
            piece: Piece = self._source.read(part)
            return replace(piece, pages=[self._without(page) for page in piece.pages])

        def _without(self, page: Any) -> SourcePage:
            people_ = [one for one in page.identities if one.id != id]
            return replace(page, identities=people_, memberships=[m for m in page.memberships if m[1] != id])

    forgetful: Any = Forgetful(site.sources["okta"])
    return replace(site, sources={"okta": forgetful})


CANARIES: dict[str, tuple[str, dict[str, list[str]]]] = {
    "people": ("okta", {"people": ["nobody@acme.example"]}),
    "groups": ("okta", {"groups": ["No Such Group"]}),
    "accounts": ("looker", {"accounts": ["nobody@acme.example"]}),
}


@pytest.mark.parametrize(("where", "canaries"), CANARIES.values(), ids=CANARIES.keys())
def test_a_read_without_its_canaries_is_refused(
    rig: Rig, leaver: str, hoarder: str, where: str, canaries: dict[str, list[str]]
) -> None:
    with rig.open("enforce", must_see={where: canaries}) as site:
        assert "must_see: not seen: " in refused(passes.sync(site), where)
        assert untouched(rig, leaver, hoarder)


def test_who_could_not_be_read_loses_nothing(rig: Rig, leaver: str, hoarder: str) -> None:
    with rig.open("observe") as site:
        passes.plan(site)
    fault = rig.world.okta.break_("GET /api/v1/users", "html")
    with rig.open("enforce") as site:
        outlook = passes.sync(site)
        assert fault.fired
        assert [name for name, _ in outlook.failures] == ["okta"]
        assert untouched(rig, leaver, hoarder)
        assert rig.mutations() == []
        rig.world.okta.faults.clear()
        passes.sync(site)
        assert not untouched(rig, leaver, hoarder)


def test_a_target_that_could_not_be_read_is_not_changed_and_holds_up_no_other(rig: Rig, leaver: str) -> None:
    fault = rig.world.looker.break_("GET /api/4.0/users", "truncate")
    with rig.open("enforce") as site:
        outlook = passes.sync(site)
        assert fault.fired
        assert [name for name, _ in outlook.failures] == ["looker"]
        assert [run.target for run in outlook.applied] == ["teamcity"]
        assert rig.world.looker.log == []
        assert rig.world.teamcity.log


# --- another installation --------------------------------------------------------------------------------------------

OTHERS: dict[str, Callable[[Rig], None]] = {
    "okta": lambda rig: setattr(rig.world.okta, "org_id", "00oanother000000000"),
    "teamcity": lambda rig: setattr(rig.world.teamcity, "internal_id", "another"),
}


@pytest.mark.parametrize(("name", "swap"), OTHERS.items(), ids=OTHERS.keys())
def test_a_clone_behind_the_same_address_is_refused_until_it_is_pinned_anew(
    rig: Rig, name: str, swap: Callable[[Rig], None]
) -> None:
    with rig.open("observe") as site:
        passes.plan(site)
    swap(rig)
    with rig.open("enforce") as site:
        assert f"{name} is not the installation it was" in refused(passes.sync(site), name)
        assert rig.world.teamcity.log == []
        check(site, repin=name)
        assert passes.plan(site).failures == []
        with site.begin() as session:
            assert mirror.current_snapshot(session, name)


# --- time ------------------------------------------------------------------------------------------------------------


def test_a_read_that_is_too_old_is_no_ground_for_a_plan(rig: Rig, site: Site) -> None:
    passes.plan(site)
    rig.clock.advance(hours=2, seconds=1)
    with pytest.raises(Refused, match=r"minutes old, at most 120 are allowed \(limits.snapshot_age\)"):
        reconcile(site, "looker", gather(site), "test")


def test_a_plan_from_reads_that_have_grown_too_old_is_not_applied(rig: Rig, site: Site) -> None:
    plan = plan_of(passes.plan(site))
    rig.clock.advance(hours=2, seconds=1)
    with pytest.raises(Refused, match=r"limits.snapshot_age"):
        apply(site, plan.run_id)
    assert rig.mutations() == []


def test_a_plan_is_not_applied_once_the_target_was_read_again(rig: Rig, site: Site) -> None:
    plan = plan_of(passes.plan(site))
    read(site, "looker")
    with pytest.raises(Refused, match="looker has been read again since this plan was made"):
        apply(site, plan.run_id)
    assert rig.mutations() == []


def test_reads_that_grow_too_old_while_a_run_goes_on_end_it(rig: Rig, site: Site, hoarder: str) -> None:
    plan = plan_of(passes.plan(site))
    applied = apply(interrupted(site, "looker", lambda: rig.clock.advance(hours=2, seconds=1)), plan.run_id)
    assert "limits.snapshot_age" in applied.stopped
    assert "Analyst" in rig.looker_roles(hoarder)
    # The account that was begun is finished, and no other one is.
    assert len({re.findall(r"/users/(\d+)", made)[0] for made in rig.mutations()}) == 1


# --- departures ------------------------------------------------------------------------------------------------------


def test_a_departure_mark_set_after_the_plan_stops_what_would_be_given(rig: Rig, newcomer: str) -> None:
    with rig.open("enforce", gates=CREATING) as site:
        plan = plan_of(passes.plan(site))
        assert about(plan, newcomer).keys() == {State.OPEN}
        _mark_departed(rig, site, newcomer)
        applied = apply(site, plan.run_id)
        assert not has_account(rig, newcomer)
        assert [p for p in applied.problems if newcomer in p and "the person has departed meanwhile" in p]
        assert "create" not in [entry.facts["verb"] for entry in rig.trail(site, "step attempted")]


def test_a_departure_mark_set_while_the_account_is_looked_at_stops_the_step_that_was_begun(
    rig: Rig, newcomer: str
) -> None:
    with rig.open("enforce", gates=CREATING) as site:
        plan = plan_of(passes.plan(site))

        def mark(_: Exchange) -> None:
            if "create" in [entry.facts["verb"] for entry in rig.trail(site, "step attempted")]:
                _mark_departed(rig, site, newcomer)
                rig.world.looker.observers.remove(mark)

        rig.world.looker.observers.append(mark)
        applied = apply(site, plan.run_id)
        assert mark not in rig.world.looker.observers, "it was looked at"
        assert "POST /api/4.0/users" not in rig.mutations(), "not even an empty one"
        assert [p for p in applied.problems if newcomer in p and "the person has departed meanwhile" in p]


def test_a_departure_mark_does_not_stop_what_would_be_taken(rig: Rig, site: Site, hoarder: str) -> None:
    plan = plan_of(passes.plan(site))
    _mark_departed(rig, site, hoarder)
    apply(site, plan.run_id)
    assert "Analyst" not in rig.looker_roles(hoarder)


def test_an_account_that_was_unlinked_after_the_plan_is_left_alone(rig: Rig, site: Site, leaver: str) -> None:
    plan = plan_of(passes.plan(site))
    links.unlink(site, "looker", leaver, note="it is a namesake's")
    applied = apply(site, plan.run_id)
    assert not rig.looker_user(leaver).is_disabled
    assert [p for p in applied.problems if leaver in p and "the account is not theirs" in p]


def _mark_departed(rig: Rig, site: Site, login: str) -> None:
    """As an operator's offboarding would, or a pull that runs at the same time."""
    with site.begin() as session:
        (found,) = people.find(session, login)
        session.connection().exec_driver_sql(
            "UPDATE person SET departure_marked_at = now() WHERE id = %(id)s", {"id": found.person_id}
        )


def test_departures_over_their_own_limit_are_withheld_and_the_rest_is_done(rig: Rig, leaver: str, hoarder: str) -> None:
    with rig.open("enforce", limits={"departures": {"per_run": 0}}) as site:
        outlook = passes.sync(site)
        assert about(plan_of(outlook), leaver).keys() == {State.WITHHELD}
        assert "at most 0 (limits.departures.per_run)" in plan_of(outlook).tripped[0]
        assert not rig.looker_user(leaver).is_disabled
        assert "Analyst" not in rig.looker_roles(hoarder)
        assert outlook.exit_code() == 1


def test_departures_are_held_up_by_no_other_limit(rig: Rig, leaver: str, hoarder: str) -> None:
    tight = {"per_run": 0, "per_day": 0}
    limits = {"removals": tight, "disables": tight, "privileged_grants": tight, "share": "0%", "share_from": 1}
    with rig.open("enforce", limits=limits) as site:
        outlook = passes.sync(site)
        assert rig.looker_user(leaver).is_disabled
        assert "Analyst" in rig.looker_roles(hoarder)
        assert about(plan_of(outlook), hoarder).keys() == {State.WITHHELD}


def test_more_power_than_a_day_may_give_is_not_given_even_when_somebody_approved_it(rig: Rig, newcomer: str) -> None:
    power = {"privileged": {"looker": {"groups": ["Viewers"]}}}
    with rig.open("enforce", limits={"privileged_grants": {"per_day": 0}}, **power) as site:
        passes.plan(site)
        review.decide(site, [waiting(site, newcomer)], approve=True, note="they asked nicely")
        outlook = passes.sync(site)
        assert not has_account(rig, newcomer)
        assert any("(limits.privileged_grants.per_day)" in text for text in outlook.troubles if newcomer in text)
    with rig.open("enforce", limits={"privileged_grants": {"per_day": 1}}, **power) as site:
        passes.sync(site)
        assert has_account(rig, newcomer), "the approval was not used up"


def test_the_last_administrator_who_departs_is_left_to_a_human(rig: Rig) -> None:
    """A service account that is an administrator too is nobody who could let the others in again."""
    one, last = rig.logins("administrator")
    rig.world.looker.revoke_role(rig.looker_user(one).id, "Admin")
    rig.world.looker.add_user("Nightly", "Backups", kind="service", roles=["Admin"])
    with rig.open("enforce") as site:
        passes.plan(site)
        links.link(site, last, "looker", last, secondary=False, note="asked them")
        rig.world.okta.deactivate(rig.okta_id(last))
        found = about(plan_of(passes.sync(site)), last)
        assert found.keys() == {State.MANUAL}
        assert rig.looker_roles(last) == {"Admin"}
        assert not rig.looker_user(last).is_disabled


def test_one_of_two_administrators_who_departs_goes_like_anybody(rig: Rig) -> None:
    leaving, _ = rig.logins("administrator")
    with rig.open("enforce") as site:
        passes.plan(site)
        links.link(site, leaving, "looker", leaving, secondary=False, note="asked them")
        rig.world.okta.deactivate(rig.okta_id(leaving))
        passes.sync(site)
        assert rig.looker_user(leaving).is_disabled
        assert rig.looker_roles(leaving) == set()


# --- limits ----------------------------------------------------------------------------------------------------------


def test_the_limit_of_a_day_is_asked_again_at_every_step(rig: Rig, site: Site, hoarder: str, leaver: str) -> None:
    """Between the plan and now others may have been at work, or the limit was lowered."""
    plan = plan_of(passes.plan(site))
    assert about(plan, hoarder).keys() == {State.OPEN}
    with rig.open("enforce", limits={"removals": {"per_day": 0}}) as stricter:
        applied = apply(stricter, plan.run_id)
    assert "Analyst" in rig.looker_roles(hoarder)
    assert rig.looker_user(leaver).is_disabled
    assert [p for p in applied.problems if "0 removals in the last 24 hours already, at most 0" in p]


def test_what_was_done_counts_for_a_day_and_no_longer(rig: Rig, hoarder: str) -> None:
    with rig.open("enforce", limits={"removals": {"per_day": 1}}) as site:
        passes.sync(site)
        assert "Analyst" not in rig.looker_roles(hoarder)
        rig.world.looker.grant_role(rig.looker_user(hoarder).id, "Analyst")
        outlook = passes.sync(site)
        assert about(plan_of(outlook), hoarder).keys() == {State.WITHHELD}
        assert "1 removals after 1 in the last 24 hours, at most 1 (limits.removals.per_day)" in outlook.tripped[0]
        rig.clock.advance(hours=24, seconds=1)
        passes.sync(site)
        assert "Analyst" not in rig.looker_roles(hoarder)


# --- people's word ---------------------------------------------------------------------------------------------------


def waiting(site: Site, login: str) -> str:
    """The handle of the one change about somebody that waits for a human."""
    (handle,) = [i.handle for i in review.pending(site) if f"<{login}>" in i.sentence and i.state == State.WAITING]
    return handle


def test_observing_changes_nothing_without_an_approval_and_then_exactly_that(
    rig: Rig, site: Site, hoarder: str, leaver: str
) -> None:
    with rig.open("observe") as watching:
        assert passes.sync(watching).applied[0].done == []
        assert rig.mutations() == []
        review.decide(watching, [waiting(watching, hoarder)], approve=True, note="they moved teams")
        outlook = passes.sync(watching)
        assert [run.done for run in outlook.applied if run.done] == [outlook.applied[0].done]
        assert "Analyst" not in rig.looker_roles(hoarder)
        assert not rig.looker_user(leaver).is_disabled


def test_an_approval_is_used_once_and_not_for_the_same_thing_appearing_again(rig: Rig, hoarder: str) -> None:
    with rig.open("observe") as site:
        passes.plan(site)
        review.decide(site, [waiting(site, hoarder)], approve=True, note="")
        passes.sync(site)
        rig.world.looker.grant_role(rig.looker_user(hoarder).id, "Analyst")
        assert about(plan_of(passes.sync(site)), hoarder).keys() == {State.WAITING}
        assert "Analyst" in rig.looker_roles(hoarder)


def test_an_approval_is_used_up_even_when_the_vendor_says_no(rig: Rig, hoarder: str) -> None:
    with rig.open("observe") as site:
        passes.plan(site)
        review.decide(site, [waiting(site, hoarder)], approve=True, note="")
        fault = rig.world.looker.break_("PUT /api/4.0/users/*/roles", "status", status=422, times=1)
        assert passes.sync(site).troubles
        assert fault.fired
        assert about(plan_of(passes.sync(site)), hoarder).keys() == {State.WAITING}
        assert "Analyst" in rig.looker_roles(hoarder)


def test_an_approval_is_void_when_the_drift_went_away_and_came_back(rig: Rig, hoarder: str) -> None:
    with rig.open("observe") as site:
        passes.plan(site)
        review.decide(site, [waiting(site, hoarder)], approve=True, note="")
        rig.world.looker.revoke_role(rig.looker_user(hoarder).id, "Analyst")
        passes.plan(site)
        rig.world.looker.grant_role(rig.looker_user(hoarder).id, "Analyst")
        assert about(plan_of(passes.sync(site)), hoarder).keys() == {State.WAITING}


def test_an_approval_that_expires_between_plan_and_apply_opens_nothing(rig: Rig, hoarder: str) -> None:
    with rig.open("observe", approvals={"expire_days": 1}) as site:
        passes.plan(site)
        review.decide(site, [waiting(site, hoarder)], approve=True, note="")
        rig.clock.time = NOON + dt.timedelta(days=1, minutes=-1)
        plan = plan_of(passes.plan(site))
        assert about(plan, hoarder).keys() == {State.OPEN}
        rig.clock.advance(minutes=2)
        applied = apply(site, plan.run_id)
        assert "Analyst" in rig.looker_roles(hoarder)
        assert [p for p in applied.problems if "its approval is used up or has expired" in p]


def test_a_rejection_holds_even_where_changes_are_automatic(rig: Rig, hoarder: str) -> None:
    with rig.open("observe") as site:
        passes.plan(site)
        review.decide(site, [waiting(site, hoarder)], approve=False, note="agreed with their lead")
    with rig.open("enforce") as site:
        assert about(plan_of(passes.sync(site)), hoarder).keys() == {State.REJECTED}
        assert "Analyst" in rig.looker_roles(hoarder)


def test_a_waiver_holds_until_its_day_and_ends_with_a_departure(rig: Rig, hoarder: str) -> None:
    with rig.open("observe") as site:
        passes.plan(site)
        review.waive(site, waiting(site, hoarder), "dana", NOON.date() + dt.timedelta(days=30), "audit")
    with rig.open("enforce") as site:
        assert about(plan_of(passes.sync(site)), hoarder).keys() == {State.WAIVED}
        assert "Analyst" in rig.looker_roles(hoarder)
        rig.world.okta.deactivate(rig.okta_id(hoarder))
        passes.sync(site)
        assert rig.looker_roles(hoarder) == set()
        rig.world.okta.set_status(rig.okta_id(hoarder), "ACTIVE")
        rig.world.looker.enable(rig.looker_user(hoarder).id)
        rig.world.looker.grant_role(rig.looker_user(hoarder).id, "Analyst")
        rig.clock.advance(minutes=10)
        passes.sync(site)
        assert "Analyst" not in rig.looker_roles(hoarder), "who comes back has no waiver any more"


def test_a_waiver_that_is_over_holds_nothing(rig: Rig, hoarder: str) -> None:
    with rig.open("observe") as site:
        passes.plan(site)
        review.waive(site, waiting(site, hoarder), "dana", NOON.date(), "today only")
    rig.clock.advance(hours=12)
    with rig.open("enforce") as site:
        passes.sync(site)
        assert "Analyst" not in rig.looker_roles(hoarder)


# --- what is never touched -------------------------------------------------------------------------------------------


def test_a_protected_persons_accounts_are_left_alone(rig: Rig, leaver: str, hoarder: str) -> None:
    with rig.open("enforce", protected={"people": [leaver.upper(), hoarder]}) as site:
        passes.plan(site)
        outlook = passes.sync(site)
        assert untouched(rig, leaver, hoarder)
        assert rig.mutations() == []
        assert not [j for plan in outlook.plans for j in plan.judged if j.state is State.OPEN]


def test_a_protected_account_is_left_alone(rig: Rig, leaver: str, hoarder: str) -> None:
    id = rig.looker_user(leaver).id
    with rig.open("enforce", protected={"accounts": {"looker": [hoarder, id]}}) as site:
        passes.sync(site)
        assert untouched(rig, leaver, hoarder)


def test_our_own_account_is_never_touched_even_when_it_is_somebodys(rig: Rig, site: Site, hoarder: str) -> None:
    passes.plan(site)
    with site.begin() as session:
        (found,) = people.find(session, hoarder)
        people.own_created(session, "looker", rig.world.looker.own_account, found.person_id, "test", site.now())
    rig.world.okta.deactivate(rig.okta_id(hoarder))
    passes.sync(site)
    own = rig.world.looker.instance.users[rig.world.looker.own_account]
    assert not own.is_disabled
    assert rig.world.looker.instance.is_admin(own)
    assert rig.looker_user(hoarder).is_disabled, "their other account is theirs"


def test_orphans_disputed_and_ungoverned_accounts_are_never_touched(rig: Rig, site: Site) -> None:
    spared = [story for story in rig.world.company.stories if story.kind in ("orphan", "administrator")]
    before = {s.who: repr(rig.looker_user(s.who)) for s in spared if "looker" in s.where}
    passes.sync(site)
    assert before
    assert {who: repr(rig.looker_user(who)) for who in before} == before
    for login in rig.logins("administrator"):
        assert len(rig.world.looker.instance.with_email(login)) == 1


# --- the policy moves ------------------------------------------------------------------------------------------------


def rules_without(rig: Rig, *names: str) -> list[dict[str, Any]]:
    return [rule for rule in yaml.safe_load(rig.world.company.policy)["rules"] if rule["name"] not in names]


def test_what_leaves_the_policy_stays_governed_and_waits_for_a_human_until_it_is_released(rig: Rig) -> None:
    with rig.open("enforce") as site:
        passes.sync(site)
    before = rig.mutations()
    fewer = rules_without(rig, "ledgers", "audit season")
    with rig.open("enforce", rules=fewer) as site:
        plan = plan_of(passes.sync(site))
        assert {j.change.drift.cause for j in plan.judged if j.state is State.WAITING} >= {Cause.LEFT_POLICY}
        assert "policy changed: 1 entitlement left" in plan.notes[0]
        assert rig.mutations() == before
    with rig.open("enforce", rules=fewer, released={"looker": {"groups": ["Finance"]}}) as site:
        plan = plan_of(passes.sync(site))
        assert Cause.LEFT_POLICY not in {j.change.drift.cause for j in plan.judged}
        assert rig.mutations() == before


def test_a_rule_whose_group_was_renamed_neither_gives_nor_takes_and_is_told(rig: Rig) -> None:
    with rig.open("enforce") as site:
        passes.sync(site)
        before = rig.mutations()
        rig.world.okta.rename_group("Engineering", "Product Engineering")
        outlook = passes.sync(site)
        assert rig.mutations() == before
        assert outlook.exit_code() == 1
        assert any("developers" in text for text in outlook.tripped)


def test_a_rule_whose_group_was_made_anew_under_the_same_name_neither_gives_nor_takes(rig: Rig) -> None:
    with rig.open("enforce", limits={"shrink": {"groups": "100%", "memberships": "100%", "people": "100%"}}) as site:
        passes.sync(site)
        before = rig.mutations()
        rig.world.okta.delete_group("Engineering")
        rig.world.okta.create_group("Engineering")
        outlook = passes.sync(site)
        assert rig.mutations() == before
        assert any("developers" in text for text in outlook.tripped)


# --- a saved plan ----------------------------------------------------------------------------------------------------


def test_a_saved_plan_does_what_it_shows_and_nothing_that_came_later(rig: Rig, leaver: str, hoarder: str) -> None:
    file = rig.folder / "plan.json"
    with rig.open("enforce") as site:
        passes.save(site, passes.plan(site), file)
        other = _unstoried(rig, 1)[0]
        rig.world.looker.grant_role(rig.looker_user(other).id, "Analyst")
        passes.apply_saved(site, passes.load_saved(file))
        assert not untouched(rig, leaver, hoarder)
        assert "Analyst" in rig.looker_roles(other)


def test_a_saved_plan_opens_no_gate(rig: Rig) -> None:
    file = rig.folder / "plan.json"
    with rig.open("observe") as site:
        passes.save(site, passes.plan(site), file)
        saved = passes.load_saved(file)
        assert {change["state"] for change in saved["targets"]["looker"]} == {"waiting"}
        passes.apply_saved(site, saved)
        assert rig.mutations() == []


def test_a_saved_plan_of_another_policy_or_installation_is_refused(rig: Rig) -> None:
    file = rig.folder / "plan.json"
    with rig.open("enforce") as site:
        passes.save(site, passes.plan(site), file)
        saved = passes.load_saved(file)
        with pytest.raises(Refused, match="another installation of looker"):
            passes.apply_saved(site, {**saved, "instances": {**saved["instances"], "looker": "elsewhere/1"}})
    with (
        rig.open("enforce", rules=rules_without(rig, "ledgers")) as site,
        pytest.raises(Refused, match="policy has changed"),
    ):
        passes.apply_saved(site, saved)
    assert rig.mutations() == []


# --- who is at work --------------------------------------------------------------------------------------------------


def test_only_one_trueup_plans_for_a_target_at_a_time(rig: Rig, site: Site) -> None:
    with site.begin() as session:
        assert leases.alone(session, "plan looker")
        outlook = passes.sync(site)
    assert "Another Trueup is planning for looker" in refused(outlook, "looker")
    assert rig.world.looker.log == []
    assert passes.sync(site).failures == [], "it ends with whoever was at it"


def at_work(rig: Rig, site: Site, login: str) -> None:
    """Somebody else holds this person's account."""
    with site.begin() as session:
        account = f"account looker {rig.looker_user(login).id}"
        assert leases.take(session, account, "somebody else", dt.timedelta(minutes=3))


def expire_claims(site: Site) -> None:
    """As if every claim had run out by the database's clock: whoever held one was stopped for minutes."""
    with site.begin() as session:
        session.execute(text("UPDATE lease SET expires_at = 'epoch'"))


def test_an_account_that_another_trueup_is_at_work_on_is_left_for_the_next_run(
    rig: Rig, site: Site, leaver: str
) -> None:
    plan = plan_of(passes.plan(site))
    at_work(rig, site, leaver)
    applied = apply(site, plan.run_id)
    assert not rig.looker_user(leaver).is_disabled
    assert applied.done, "others are served"
    assert all("another Trueup is at work on this account" in p for p in applied.problems if leaver in p)
    expire_claims(site)
    passes.sync(site)
    assert rig.looker_user(leaver).is_disabled


def test_who_has_lost_the_claim_on_an_account_makes_no_further_step_on_it_and_writes_nothing_about_it(
    rig: Rig, site: Site, leaver: str
) -> None:
    plan = plan_of(passes.plan(site))

    def take_over() -> None:
        expire_claims(site)
        assert settle(replace(site, owner="somebody else"), "looker")

    applied = apply(interrupted(site, "looker", take_over), plan.run_id)
    theirs = [m for m in rig.mutations() if f"/users/{rig.looker_user(leaver).id}" in m]
    assert len(theirs) == 1
    assert rig.looker_groups(leaver)
    assert not [text for text in applied.done if leaver in text]
    lost = [text for text in applied.problems if leaver in text]
    assert len(lost) == 4
    assert all("was lost to another worker" in text for text in lost)
    ends = [
        e.facts["outcome"] for e in rig.trail(site, "step ended") if e.facts["account"] == rig.looker_user(leaver).id
    ]
    assert ends == ["found applied"], "only whoever took over says what became of the step"
    with site.begin() as session:
        states = {c.state for c in runs.changes_of(session, plan.run_id) if f"<{leaver}>" in c.sentence}
        standing = [e.sentence for e in episodes.open_episodes(session, "looker") if leaver in e.sentence]
    assert states == {"interrupted", State.OPEN.value}
    assert len(standing) == 4


def test_who_wakes_up_to_find_somebody_else_at_work_leaves_even_the_step_that_was_made_to_them(
    rig: Rig, site: Site, leaver: str
) -> None:
    plan = plan_of(passes.plan(site))

    def take_over() -> None:
        expire_claims(site)
        at_work(rig, site, leaver)

    applied = apply(interrupted(site, "looker", take_over), plan.run_id)
    account = rig.looker_user(leaver).id
    assert len([m for m in rig.mutations() if f"/users/{account}" in m]) == 1
    assert not [e for e in rig.trail(site, "step ended") if e.facts["account"] == account]
    assert not [text for text in applied.done if leaver in text]
    with site.begin() as session:
        assert [step.account_id for step in runs.unsettled(session, "looker")] == [account]


def test_whose_claim_ran_out_while_nobody_wanted_it_writes_down_what_was_made_and_leaves_the_rest(
    rig: Rig, site: Site, leaver: str
) -> None:
    plan = plan_of(passes.plan(site))
    applied = apply(interrupted(site, "looker", lambda: expire_claims(site)), plan.run_id)
    account = rig.looker_user(leaver).id
    ends = [e.facts["outcome"] for e in rig.trail(site, "step ended") if e.facts["account"] == account]
    assert ends == ["applied"]
    left = [text for text in applied.problems if leaver in text]
    assert left
    assert all("left for the next run" in text and "ends too soon" in text for text in left)
    with site.begin() as session:
        states = [c.state for c in runs.changes_of(session, plan.run_id) if f"<{leaver}>" in c.sentence]
    assert set(states) == {"applied", State.OPEN.value}


def test_a_step_that_somebody_else_has_settled_is_not_settled_again(rig: Rig, site: Site) -> None:
    made = Made(Outcome.FOUND_NOT_APPLIED)
    apply(site, plan_of(passes.plan(site)).run_id)
    with site.begin() as session:
        step_id = uuid.UUID(str(rig.trail(site, "step ended")[0].facts["step"]))
    with pytest.raises(Lost, match="another worker, which found it applied"), site.begin() as session:
        runs.finish(session, step_id, made, site.now())


def test_a_claim_lasts_a_minute_by_the_database_s_clock_whatever_ours_says(rig: Rig, site: Site, leaver: str) -> None:
    plan = plan_of(passes.plan(site))
    left: list[float] = []

    def look() -> None:
        with site.begin() as session:
            left.extend(session.scalars(text(
                "SELECT extract(epoch FROM expires_at - clock_timestamp()) FROM lease WHERE owner <> ''"
            )))  # fmt: skip

    rig.clock.advance(minutes=-30)
    apply(interrupted(site, "looker", look), plan.run_id)
    assert [30 < float(seconds) <= 60 for seconds in left] == [True]


# --- pause -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connector", ["", "okta"])
def test_while_paused_nothing_is_asked_and_nothing_changed(rig: Rig, site: Site, connector: str) -> None:
    standstill.pause(site, connector, "moving house")
    with pytest.raises(Paused, match=r"moving house\); run `trueup resume"):
        passes.sync(site)
    assert rig.mutations() == []
    assert rig.world.okta.reads.total() == 0
    standstill.resume(site, connector)
    assert passes.sync(site).failures == []


def test_a_pause_in_the_middle_of_a_run_stops_it_before_the_next_call(rig: Rig, site: Site, leaver: str) -> None:
    plan = plan_of(passes.plan(site))
    paused = interrupted(site, "looker", lambda: standstill.pause(site, "looker", "odd"))
    applied = apply(paused, plan.run_id)
    assert "looker is paused" in applied.stopped
    assert len(applied.done) == 1
    assert len(rig.mutations()) == 1
    standstill.resume(site, "looker")
    assert passes.sync(site).exit_code() == 2, "the rest, but for what waits for a human"
    assert rig.looker_user(leaver).is_disabled
    assert rig.looker_groups(leaver) == set()


def test_a_paused_target_is_spared(rig: Rig, site: Site) -> None:
    standstill.pause(site, "looker", "upgrade")
    with pytest.raises(Paused):
        passes.sync(site)
    assert rig.world.looker.log == []


def test_a_pause_of_what_is_not_there_is_refused(site: Site) -> None:
    with pytest.raises(TrueupError, match="There is no source or target 'lokker'"):
        standstill.pause(site, "lokker", "")


def test_a_plan_that_cannot_be_written_or_read_says_where(rig: Rig, site: Site, tmp_path: Path) -> None:
    outlook = passes.plan(site)
    with pytest.raises(TrueupError, match="cannot be written to"):
        passes.save(site, outlook, tmp_path / "nowhere" / "plan.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(TrueupError, match="is not a whole plan of this Trueup"):
        passes.load_saved(tmp_path / "other.json")
