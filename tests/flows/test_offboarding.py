"""Somebody leaves: whoever says so, they are out everywhere within moments, and the receipt says what is so."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from tests.flows.departing import (
    ask,
    done,
    everywhere,
    fates,
    finish,
    furnish,
    hint,
    line,
    mark,
    person_id,
    receipt,
    row,
    rows,
    settled,
)
from tests.flows.rig import Rig, interrupted
from worker.core.receipt import Comeback, Fate
from worker.errors import Misconfigured, Refused
from worker.flows import holds, lockout, offboarding, passes, reading, receipts, review
from worker.flows.apply import apply
from worker.flows.crowd import gather
from worker.flows.reading import read
from worker.flows.reconcile import reconcile
from worker.flows.site import Site
from worker.flows.why import why
from worker.ports import Made, Outcome, Step
from worker.store import jobs as slots


@pytest.fixture
def who(rig: Rig, site: Site) -> str:
    """In good order, with an account in Looker and in TeamCity."""
    settled(rig, site)
    return everywhere(rig)


# --- out, and on a receipt -------------------------------------------------------------------------------------------


def test_whoever_has_departed_is_out_everywhere_and_the_receipt_says_what_of_each_thing(rig: Rig, who: str) -> None:
    furnish(rig, who)
    heir = everywhere(rig, 1)
    with rig.open("enforce", leavers={"hand_over": {"to": heir}, "company_domains": ["acme.example"]}) as site:
        rig.world.okta.deactivate(rig.okta_id(who))
        id = ask(site, who)
        assert finish(rig, site) == []
        found = receipt(site, id)
        closed, cause = row(site, id).state, mark(site, who).departure_cause
    assert (closed, cause) == ("closed", "source")
    user = rig.looker_user(who)
    assert (user.is_disabled, user.sessions, rig.looker_groups(who), rig.looker_roles(who)) == (True, [], set(), set())
    looker = {key: fate for key, fate in fates(found, "looker").items() if not key.startswith(("unseen", "kept"))}
    by_words = {line(found, key).what: fate for key, fate in looker.items()}
    assert {fate for what, fate in by_words.items() if what.startswith(("the account", "role", "group", "web"))} == {
        Fate.GONE
    }
    assert by_words["schedule Weekly sales"] is Fate.HANDED_OVER
    assert by_words["schedule To myself"] is Fate.MANUAL
    assert by_words["schedule To a supplier"] is Fate.MANUAL
    assert line(found, "password:password", "teamcity").fate is Fate.GONE
    assert line(found, "token:laptop", "teamcity").fate is Fate.GONE
    assert line(found, "session:all", "teamcity").fate is Fate.UNSEEN
    assert not found.complete
    assert found.headline.startswith("Partial: 2 to do by hand")
    assert found.verified_at is not None


def test_why_says_what_was_changed_since_the_target_was_read(rig: Rig, site: Site, who: str) -> None:
    assert not [told for told in why(site, who).steps["observed"] if "changed by Trueup" in told]
    rig.world.okta.deactivate(rig.okta_id(who))
    ask(site, who)
    assert finish(rig, site) == []
    told = [told for told in why(site, who).steps["observed"] if "changed by Trueup since that was read" in told]
    assert [line.partition(":")[0] for line in told] == ["looker", "teamcity"]
    assert "disable Looker account" in told[0]


def test_a_receipt_is_what_the_trail_says_it_is(rig: Rig, site: Site, who: str) -> None:
    rig.world.okta.deactivate(rig.okta_id(who))
    id = ask(site, who)
    finish(rig, site)
    (closed,) = rig.trail(site, "offboarding closed")
    assert closed.facts["receipt"] == receipts.digest(row(site, id).receipt)
    assert receipt(site, id).person_id == person_id(site, who)
    kinds = [kind for _, kind in receipt(site, id).entries]
    assert kinds.index("departure marked") < kinds.index("step attempted") < len(kinds)


def test_nothing_is_touched_before_the_mark_is_committed(rig: Rig, site: Site, who: str) -> None:
    seen: list[str] = []
    watching = interrupted(site, "looker", lambda: seen.append(mark(site, who).departure_cause))
    rig.world.okta.deactivate(rig.okta_id(who))
    before = len(rig.mutations())
    id = ask(site, who)
    offboarding.work(site, id)
    assert len(rig.mutations()) == before
    assert mark(site, who).departure_cause == "source"
    offboarding.work(watching, id, "looker")
    assert seen == ["source"]


def test_nobody_who_has_not_departed_loses_anything_by_a_hint(rig: Rig, site: Site, who: str) -> None:
    first = hint(site, who)
    assert hint(site, who, word="group.user_membership.remove") == first
    before = len(rig.mutations())
    finish(rig, site)
    assert len(rig.mutations()) == before
    assert (row(site, first).state, row(site, first).why) == ("not confirmed", "okta says ACTIVE")
    assert mark(site, who).departure_marked_at is None
    (entry,) = rig.trail(site, "offboarding not confirmed")
    assert entry.person_id == person_id(site, who)
    assert receipts.since(site, None) == []


def test_who_is_only_suspended_is_a_plans_matter_which_is_made_at_once(rig: Rig, site: Site, who: str) -> None:
    passes.sync(site)
    rig.world.okta.suspend(rig.okta_id(who))
    id = hint(site, who, word="user.lifecycle.suspend")
    rig.clock.advance(minutes=2)
    assert finish(rig, site) == []
    assert (row(site, id).state, mark(site, who).departure_marked_at) == ("not confirmed", None)
    with site.begin() as session:
        assert {one.name for one in slots.unfinished(session)} >= {
            "pull okta",
            "reconcile looker",
            "reconcile teamcity",
        }


def test_an_event_from_before_the_receipt_is_settled_by_it_and_a_later_one_is_not(
    rig: Rig, site: Site, who: str
) -> None:
    rig.world.okta.deactivate(rig.okta_id(who))
    first = hint(site, who, rig.clock())
    finish(rig, site)
    assert hint(site, who, rig.clock() - dt.timedelta(seconds=5)) == first
    assert hint(site, who, rig.clock() + dt.timedelta(seconds=5)) != first


def test_one_person_has_one_open_offboarding_and_one_key_is_one_request(rig: Rig, site: Site, who: str) -> None:
    first = ask(site, who, key="api:hr 1")
    assert ask(site, who, key="api:hr 1") == first
    assert ask(site, who, key="api:hr 2") == first
    with pytest.raises(Refused, match="idempotency key was used for somebody else"):
        ask(site, everywhere(rig, 1), key="api:hr 1")


def test_a_source_that_is_away_puts_it_off_and_it_goes_on_by_itself(rig: Rig, site: Site, who: str) -> None:
    rig.world.okta.deactivate(rig.okta_id(who))
    down = rig.world.okta.break_("*", "status", status=503)
    id = ask(site, who)
    finish(rig, site, patience=6)
    assert down.fired > 0
    assert row(site, id).state == "asked"
    assert "put off" in row(site, id).why
    rig.world.okta.faults.clear()
    finish(rig, site)
    assert row(site, id).state == "closed"


def test_a_target_that_is_away_holds_up_no_other_and_the_receipt_says_what_is_not_finished(
    rig: Rig, site: Site, who: str
) -> None:
    rig.world.okta.deactivate(rig.okta_id(who))
    down = rig.world.teamcity.break_("*", "status", status=503)
    id = ask(site, who)
    finish(rig, site, patience=6)
    assert down.fired > 0
    assert rig.looker_user(who).is_disabled
    found = receipt(site, id)
    assert list(found.unfinished) == ["teamcity"]
    assert "503" in found.unfinished["teamcity"]
    assert not found.complete
    rig.world.teamcity.faults.clear()
    finish(rig, site)
    assert receipt(site, id).unfinished == {}


def test_a_second_account_under_the_leavers_name_is_a_humans_and_the_receipt_is_partial(
    rig: Rig, site: Site, who: str
) -> None:
    rig.world.okta.deactivate(rig.okta_id(who))
    again = rig.world.looker.instance.arrival("oidc", who)
    id = ask(site, who)
    finish(rig, site)
    found = receipt(site, id)
    (one,) = [each for each in found.lines if each.account_id == again.id]
    assert one.fate is Fate.MANUAL
    assert any("trueup link" in step for step in one.hands)
    assert not again.is_disabled


def test_an_account_that_nobody_had_linked_yet_goes_too(rig: Rig, site: Site, who: str) -> None:
    only = rig.logins("missing looker account")[0]
    rig.world.looker.sso("saml")
    made = rig.world.looker.sso_arrival(only)
    rig.world.okta.deactivate(rig.okta_id(only))
    ask(site, only)
    finish(rig, site)
    assert rig.world.looker.instance.users[made].is_disabled


# --- nothing is given after the mark ---------------------------------------------------------------------------------


def test_a_run_that_was_planned_before_gives_nothing_after_the_mark(rig: Rig, site: Site, who: str) -> None:
    account = rig.looker_user(who).id
    lost = next(iter(rig.looker_groups(who)))
    rig.world.looker.remove_from_group(account, lost)
    read(site, "looker")
    planned = reconcile(site, "looker", gather(site), "test")
    id = ask(site, who, forced=True)
    finish(rig, site)
    applied = apply(site, planned.run_id)
    assert any(who in said and "departed meanwhile" in said for said in applied.problems)
    assert "join group" not in [entry.facts["verb"] for entry in rig.trail(site, "step attempted")]
    assert rig.looker_groups(who) == set()
    assert row(site, id).state == "closed"


def test_a_forced_one_holds_for_ten_ticks_while_the_source_says_active(rig: Rig, site: Site, who: str) -> None:
    id = ask(site, who, forced=True)
    finish(rig, site)
    assert row(site, id).state == "closed"
    marked, account = done(rig), rig.looker_user(who).id
    for tick in range(10):
        if tick == 5:
            rig.world.looker.enable(account)  # by hand, as if the source were believed
        rig.clock.advance(minutes=10)
        read(site, "okta")
        read(site, "looker")
        apply(site, reconcile(site, "looker", gather(site), "tick").run_id)
    assert done(rig) - marked == {f"PATCH /api/4.0/users/{account}": 1}, "nothing is given, and the door is shut again"
    assert rig.looker_user(who).is_disabled
    assert mark(site, who).departure_cause == "forced"


def test_a_read_that_began_before_the_mark_does_not_lift_it_and_a_later_one_does(
    rig: Rig, site: Site, who: str
) -> None:
    snapshot = reading.begin(site, "okta")
    assert reading.work(site, snapshot, lambda: False)
    rig.world.okta.deactivate(rig.okta_id(who))
    rig.clock.advance(minutes=5)
    ask(site, who)
    finish(rig, site)
    assert reading.close(site, snapshot) is not None
    assert mark(site, who).departure_cause == "source"
    rig.world.okta.set_status(rig.okta_id(who), "ACTIVE")
    rig.clock.advance(minutes=5)
    read(site, "okta")
    assert mark(site, who).departure_marked_at is None


def test_single_sign_on_that_makes_the_account_again_is_noticed_and_dealt_with_at_once(
    rig: Rig, site: Site, who: str
) -> None:
    rig.world.okta.deactivate(rig.okta_id(who))
    first = ask(site, who)
    finish(rig, site)
    rig.world.looker.instance.delete(rig.looker_user(who))
    rig.world.looker.sso("saml")
    again = rig.world.looker.sso_arrival(who)
    marked = done(rig)
    rig.clock.advance(minutes=10)
    read(site, "looker")
    read(site, "okta")
    plan = reconcile(site, "looker", gather(site), "tick")
    assert any("works again" in s or "disable again" in s for s in plan.sentences.values())
    finish(rig, site)
    assert rig.world.looker.instance.users[again].is_disabled
    assert [one.trigger for one in rows(site, who)] == ["operator", "watch"]
    assert not [m for m in done(rig) - marked if m.startswith("POST /api") and "/users" in m]
    assert rig.trail(site, "leaver reappeared")
    with site.begin() as session:
        told = session.scalars(text("SELECT sentence FROM notice WHERE kind = 'leaver back'")).all()
    assert len(told) == 1
    assert row(site, first).watch_until is None, "the newer receipt is watched"


def test_what_the_plan_took_that_saw_them_back_is_on_the_receipt(rig: Rig, site: Site, who: str) -> None:
    def passing() -> dt.datetime:
        rig.clock.advance(milliseconds=5)
        return rig.clock()

    ask(site, who, forced=True)
    finish(rig, site)
    rig.world.looker.sso("saml", default_new_user_role_ids=("4",))
    again = rig.world.looker.sso_arrival(who)
    rig.clock.advance(minutes=10)
    ticking = replace(site, now=passing)
    read(ticking, "looker")
    plan = reconcile(ticking, "looker", gather(ticking), "tick")
    apply(ticking, plan.run_id)
    finish(rig, site)
    _, watched = rows(site, who)
    told = {line.key: line.fate for line in receipt(site, watched.id).lines if line.account_id == again}
    assert (told["account"], told["role:4"]) == (Fate.GONE, Fate.GONE)


# --- forced, lifted, taken over --------------------------------------------------------------------------------------


def test_a_hold_ends_with_a_named_note_and_what_comes_back_waits_for_a_human_once(
    rig: Rig, site: Site, who: str
) -> None:
    ask(site, who, forced=True)
    finish(rig, site)
    with pytest.raises(Misconfigured, match="--note"):
        holds.lift(site, who, " ")
    holds.lift(site, who, "it was the other Karim")
    assert mark(site, who).departure_marked_at is None
    assert rig.trail(site, "departure hold lifted")[0].personal["note"] == "it was the other Karim"
    rig.clock.advance(minutes=10)
    with rig.open("enforce", gates={"enable": "auto"}) as free:
        passes.sync(free)
        assert rig.looker_user(who).is_disabled
        (enable,) = [
            item
            for item in review.pending(free, "looker")
            if who in item.sentence and item.change is not None and item.change.operation == "enable"
        ]
        review.decide(free, [enable.handle], True, "she is back")
        passes.sync(free)
        assert not rig.looker_user(who).is_disabled
        assert rig.looker_groups(who) != set(), "after the first yes nothing more waits"


def test_a_hold_that_the_source_confirms_is_the_sources_from_then_on(rig: Rig, site: Site, who: str) -> None:
    ask(site, who, forced=True)
    finish(rig, site)
    rig.world.okta.deactivate(rig.okta_id(who))
    rig.clock.advance(minutes=10)
    read(site, "okta")
    assert mark(site, who).departure_cause == "source"
    assert len(rig.trail(site, "departure hold taken over")) == 1
    with pytest.raises(Refused, match="own word"):
        holds.lift(site, who, "mistake")
    rig.world.okta.set_status(rig.okta_id(who), "ACTIVE")
    rig.clock.advance(minutes=10)
    read(site, "okta")
    assert mark(site, who).departure_marked_at is None
    assert mark(site, who).gains_reviewed, "a rehire after it is reviewed"


def test_nobody_in_particular_forces_anything(site: Site, who: str) -> None:
    with pytest.raises(Refused, match="Only a named human"):
        ask(site, who, "hook", actor="hook:okta", forced=True)


# --- limits ----------------------------------------------------------------------------------------------------------

TWO = {"departures": {"per_run": 25, "per_day": 2}}  # of which the first pass has taken one


def test_beyond_the_days_limit_it_waits_marked_for_a_second_person_under_whatever_name_the_first_one_comes(
    rig: Rig, who: str
) -> None:
    other = everywhere(rig, 1)
    for login in (who, other):
        rig.world.okta.deactivate(rig.okta_id(login))
    with rig.open("enforce", actor="operator:ana", limits=TWO) as site:
        hint(site, who)
        finish(rig, site)
        id = ask(site, other)
        finish(rig, site)
        assert row(site, id).state == "waiting"
        assert "limits.departures.per_day" in row(site, id).why
        assert mark(site, other).departure_cause == "source"
        assert not rig.looker_user(other).is_disabled
        (waiting,) = holds.pending(site)
        for forged in ("operator:ana", "Bob (login ana)", "operator:ANA", "ana (login root)"):
            with pytest.raises(Refused, match="second person"):
                holds.decide(replace(site, actor=forged), waiting, True, "")
        holds.decide(replace(site, actor="operator:bob"), waiting, True, "checked with HR")
        finish(rig, site)
        assert row(site, id).state == "closed"
        assert rig.looker_user(other).is_disabled
        assert row(site, id).approved_by == "operator:bob"


def test_a_forced_one_that_waits_for_a_second_person_takes_nothing_and_a_no_lifts_its_mark(rig: Rig, who: str) -> None:
    other = everywhere(rig, 1)
    with rig.open("enforce", actor="operator:ana", limits=TWO) as site:
        ask(site, who, forced=True)
        finish(rig, site)
        ask(site, other, forced=True)
        finish(rig, site)
        assert mark(site, other).departure_cause == "asked"
        rig.clock.advance(minutes=10)
        read(site, "okta")
        plan = reconcile(site, "looker", gather(site), "tick")
        assert not [s for s in plan.sentences.values() if other in s], "neither given nor taken"
        (waiting,) = holds.pending(site)
        holds.decide(replace(site, actor="operator:bob"), waiting, False, "who is that?")
        assert mark(site, other).departure_marked_at is None
        assert not rig.looker_user(other).is_disabled


def test_whoever_makes_a_waiting_one_theirs_cannot_approve_it_either(rig: Rig, who: str) -> None:
    with rig.open("enforce", actor="operator:ana", limits=TWO) as site:
        for place in (0, 1):
            rig.world.okta.deactivate(rig.okta_id(everywhere(rig, place)))
            id = hint(site, everywhere(rig, place))
            finish(rig, site)
        assert row(site, id).state == "waiting"
        assert ask(site, everywhere(rig, 1), forced=True) == id
        assert ask(site, everywhere(rig, 1), actor="operator:cid") == id
        finish(rig, site)
        assert row(site, id).state == "waiting"
        (waiting,) = holds.pending(site)
        with pytest.raises(Refused, match="second person"):
            holds.decide(site, waiting, True, "")
        assert row(site, id).actor == "hook:okta", "whoever asked first still finds it"


def test_many_departures_in_one_read_all_wait(rig: Rig, who: str) -> None:
    with rig.open("enforce", limits={"departures": {"per_run": 1, "per_day": 50}}) as site:
        for place in (0, 1):
            rig.world.okta.deactivate(rig.okta_id(everywhere(rig, place)))
        read(site, "okta")
        finish(rig, site)
        waiting = holds.pending(site)
        assert [w.reason for w in waiting] == ["2 departures at once, at most 1 (limits.departures.per_run)"] * 2
        assert not rig.looker_user(who).is_disabled


# --- gates and the schedule ------------------------------------------------------------------------------------------


def test_a_read_that_sees_a_departure_makes_an_offboarding_with_a_receipt(rig: Rig, site: Site, who: str) -> None:
    rig.world.okta.deactivate(rig.okta_id(who))
    passes.sync(site)
    (one,) = rows(site, who)
    assert (one.trigger, one.state) == ("schedule", "closed")
    assert rig.looker_user(who).is_disabled
    before = len(rig.mutations())
    rig.clock.advance(minutes=10)
    passes.sync(site)
    assert len(rig.mutations()) == before, "nothing is done twice"


def test_where_nothing_happens_by_itself_a_hint_waits_for_a_human_and_an_operators_word_is_one(
    rig: Rig, who: str
) -> None:
    rig.world.okta.deactivate(rig.okta_id(who))
    with rig.open("observe", actor="operator:ana") as site:
        id = hint(site, who)
        finish(rig, site)
        assert (row(site, id).state, row(site, id).why) == ("waiting", "a human has to approve it")
        assert not rig.looker_user(who).is_disabled
        assert ask(site, who) == id
        finish(rig, site)
        assert row(site, id).state == "closed"
        assert rig.looker_user(who).is_disabled
        with site.begin() as session:
            said = session.execute(text("SELECT DISTINCT actor, note FROM decision WHERE used_at IS NOT NULL")).all()
        assert [tuple(one) for one in said] == [("operator:ana", f"offboarding {id}")]


def test_without_a_baseline_nothing_is_taken_and_it_says_so(rig: Rig, who: str) -> None:
    rig.world.okta.deactivate(rig.okta_id(who))
    with rig.open("enforce", baselines=False) as site:
        with site.begin() as session:
            session.execute(text("DELETE FROM baseline WHERE connector = 'looker'"))
        id = ask(site, who)
        finish(rig, site, patience=5)
        assert not rig.looker_user(who).is_disabled
        assert "no accepted baseline of looker" in receipt(site, id).unfinished["looker"]


# --- what nobody can do, and what a vendor only says -----------------------------------------------------------------


def test_of_two_administrators_who_leave_together_neither_is_locked_out_while_nobody_else_is_left(
    rig: Rig, site: Site
) -> None:
    from worker.flows import links

    pair = rig.logins("administrator")
    passes.sync(site)
    for login in pair:
        links.link(site, login, "looker", login, secondary=False, note="asked them")
        rig.world.okta.deactivate(rig.okta_id(login))
    ids = [ask(site, login) for login in pair]
    for id in ids:
        offboarding.work(site, id)
    finish(rig, site)
    for id, login in zip(ids, pair, strict=True):
        assert not rig.looker_user(login).is_disabled
        assert line(receipt(site, id), "account").fate is Fate.MANUAL


class _Liar:
    """A vendor that says yes to one kind of step and does nothing."""

    def __init__(self, target: Any, verb: str) -> None:
        self._target, self._verb = target, verb
        self.fired = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def apply(self, step: Step) -> Made:
        if step.verb != self._verb:
            made: Made = self._target.apply(step)
            return made
        self.fired += 1
        return Made(Outcome.APPLIED)


def test_what_a_vendor_only_says_to_be_gone_is_not_gone_on_the_receipt(
    rig: Rig, site: Site, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockout, "PAUSES", (0.0,))
    liar = _Liar(site.targets["looker"], "leave group")
    lied: Any = replace(site, targets={**site.targets, "looker": liar})
    rig.world.okta.deactivate(rig.okta_id(who))
    id = ask(lied, who)
    finish(rig, lied)
    assert liar.fired > 0
    found = receipt(site, id)
    held = [each for each in found.lines if each.target == "looker" and each.what.startswith("group")]
    assert {each.fate for each in held if not each.key.startswith("kept")} == {Fate.MANUAL}
    assert not found.complete
    assert rig.looker_user(who).is_disabled


# --- handing over ----------------------------------------------------------------------------------------------------


def test_schedules_are_handed_to_the_manager_before_the_lock_out_and_given_back_afterwards(rig: Rig, who: str) -> None:
    from worker.flows import handback

    heir = everywhere(rig, 1)
    account = rig.looker_user(who).id
    plan_id = rig.world.looker.add_schedule(account, "Weekly sales", "boss@acme.example")
    rig.world.okta.rename(rig.okta_id(who), managerId=heir)
    settings = {"hand_over": {"to": "manager"}, "company_domains": ["acme.example"]}
    with rig.open("enforce", leavers=settings) as site:
        read(site, "okta")
        rig.world.okta.deactivate(rig.okta_id(who))
        id = ask(site, who)
        finish(rig, site)
        made = [f"{e.method} {e.path}" for e in rig.world.looker.log]
        handed = next(n for n, m in enumerate(made) if "scheduled_plans" in m)
        locked = next(n for n, m in enumerate(made) if m == f"PATCH /api/4.0/users/{account}")
        assert handed < locked
        (plan,) = rig.world.looker.instance.schedules_of(rig.looker_user(heir).id)
        assert (plan.id, plan.enabled) == (plan_id, True)
        assert line(receipt(site, id), f"schedule {plan_id}").comeback is Comeback.RECEIPT
        with pytest.raises(Refused, match="still marked"):
            handback.restore(site, who)
        rig.world.okta.set_status(rig.okta_id(who), "ACTIVE")
        rig.world.looker.enable(account)
        rig.clock.advance(minutes=10)
        read(site, "okta")
        read(site, "looker")
        back = handback.restore(site, who)
        assert (back.problems, back.given_back) == ([], ["schedule Weekly sales in looker"])
        (plan,) = rig.world.looker.instance.schedules_of(account)
        assert plan.id == plan_id


def test_the_lock_out_waits_for_no_schedule_that_hangs(rig: Rig, who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockout, "BEFORE_LOCK_OUT", 1.0)
    plan_id = rig.world.looker.add_schedule(rig.looker_user(who).id, "Weekly sales", "boss@acme.example")
    hangs = rig.world.looker.break_("GET */scheduled_plans*", "slow", seconds=3)
    rig.world.okta.deactivate(rig.okta_id(who))
    with rig.open("enforce", leavers={"company_domains": ["acme.example"]}) as site:
        id = ask(site, who)
        finish(rig, site)
        assert hangs.fired > 0
        assert rig.looker_user(who).is_disabled
        found = receipt(site, id)
        assert found.locked_at is not None
        late = line(found, f"schedule {plan_id}")
        assert late.fate is Fate.MANUAL, "it was read when there was time, and nobody knows any more whether it was on"
