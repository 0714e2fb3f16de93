"""Guardrails: what each guard withholds, what it lets through, and which of two has the last word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.drift import Cause, Drift, DriftKind
from worker.core.guardrails import Ceiling, Circumstances, Judged, Limits, State, Tally, judge, tally, tripped
from worker.core.identity import Entitlement
from worker.core.plan import TAKING, Change, Gate, Operation

C, Op, S = Cause, Operation, State
DATA, WEB = Entitlement("group", "data"), Entitlement("group", "web")
ROOMY = Limits({kind: Ceiling(1000, 1000) for kind in Tally}, share=1.0, share_from=1)
FACTS = Circumstances("looker.example/1", ROOMY, active_accounts=1000)


def change(operation: Operation, account: str = "7", what: Entitlement | None = None, **more: Any) -> Change:
    """Of person p<account>. `cause`, `gate`, `privileged` and `person` may be given."""
    cause = more.pop("cause", C.UNDESERVED)
    person = more.pop("person", f"p{account}")
    kind = DriftKind.MISSING_ACCOUNT if operation is Op.CREATE else DriftKind.EXCESS_ENTITLEMENT
    one = Drift(kind, "looker", cause, person, account, what)
    return Change(one, operation, more.pop("gate", Gate.AUTO), **more)


def revokes(number: int, what: Entitlement = DATA, **more: Any) -> list[Change]:
    return [change(Op.REVOKE, str(n), what, **more) for n in range(number)]


def disables(number: int, **more: Any) -> list[Change]:
    return [change(Op.DISABLE, str(n), **more) for n in range(number)]


def limited(kind: Tally | None = None, per_run: int = 1000, per_day: int = 1000, **more: float) -> Limits:
    """Roomy limits but for one."""
    ceilings = dict(ROOMY.ceilings)
    if kind:
        ceilings[kind] = Ceiling(per_run, per_day)
    return Limits(ceilings, more.get("share", 1.0), int(more.get("share_from", 1)))


def states(changes: Iterable[Change], facts: Circumstances) -> list[State]:
    return [judged.state for judged in judge(changes, facts)]


def approving(changes: Iterable[Change], facts: Circumstances, verdict: bool = True) -> Circumstances:
    return replace(facts, verdicts={one.fingerprint(facts.instance): verdict for one in changes})


# --- what counts as what ---------------------------------------------------------------------------------------------

COUNTED = {
    "a revoke": (change(Op.REVOKE), Tally.REMOVALS),
    "a revoke of something privileged": (change(Op.REVOKE, privileged=True), Tally.REMOVALS),
    "another value of an attribute": (change(Op.REPLACE), Tally.REMOVALS),
    "another value of a privileged attribute": (change(Op.REPLACE, privileged=True), Tally.REMOVALS),
    "a lock-out": (change(Op.DISABLE), Tally.DISABLES),
    "a lock-out of a suspended person": (change(Op.DISABLE, cause=C.SUSPENDED), Tally.DISABLES),
    "a departed person's lock-out": (change(Op.DISABLE, cause=C.DEPARTED), Tally.DEPARTURES),
    "a departed person's revoke": (change(Op.REVOKE, cause=C.DEPARTED), Tally.DEPARTURES),
    "a privileged grant": (change(Op.GRANT, privileged=True), Tally.PRIVILEGED_GRANTS),
    "a new account with privileged entitlements": (change(Op.CREATE, privileged=True), Tally.PRIVILEGED_GRANTS),
    "the unlocking of an account with privileged entitlements": (
        change(Op.ENABLE, privileged=True), Tally.PRIVILEGED_GRANTS,
    ),
    "an ordinary grant": (change(Op.GRANT), None),
    "an ordinary new account": (change(Op.CREATE), None),
    "an ordinary unlocking": (change(Op.ENABLE), None),
    "an update": (change(Op.UPDATE, privileged=True), None),
}  # fmt: skip


@pytest.mark.parametrize(("one", "kind"), COUNTED.values(), ids=COUNTED.keys())
def test_a_limit_counts(one: Change, kind: Tally | None) -> None:
    assert tally(one) is kind


# --- ceilings --------------------------------------------------------------------------------------------------------

THREE = {
    Tally.REMOVALS: revokes(3),
    Tally.DISABLES: disables(3),
    Tally.PRIVILEGED_GRANTS: [change(Op.GRANT, str(n), WEB, privileged=True) for n in range(3)],
    Tally.DEPARTURES: disables(3, cause=C.DEPARTED),
}
BESIDES = [change(Op.GRANT, "9"), change(Op.UPDATE, "9"), change(Op.CREATE, "", person="p9"), change(Op.ENABLE, "9")]


@pytest.mark.parametrize("kind", Tally)
def test_as_many_as_a_ceiling_allows_go_through(kind: Tally) -> None:
    assert states(THREE[kind], replace(FACTS, limits=limited(kind, per_run=3))) == [S.OPEN] * 3
    today = replace(FACTS, limits=limited(kind, per_day=7), day={kind: 4})
    assert states(THREE[kind], today) == [S.OPEN] * 3


@pytest.mark.parametrize("kind", Tally)
def test_one_more_than_a_run_may_do_withholds_all_of_its_kind_and_nothing_else(kind: Tally) -> None:
    facts = replace(FACTS, limits=limited(kind, per_run=2))
    others = [one for other in Tally if other is not kind for one in THREE[other]] + BESIDES
    judged = judge([*THREE[kind], *others], facts)
    reason = f"3 {kind} in one run, at most 2 (limits.{kind.name.lower()}.per_run)"
    assert judged[:3] == tuple(Judged(one, S.WITHHELD, reason) for one in THREE[kind])
    assert {one.state for one in judged[3:]} == {S.OPEN}
    assert tripped(judged) == (f"3 changes withheld: {reason}",)


@pytest.mark.parametrize("kind", Tally)
def test_one_more_than_a_day_may_do_withholds_all_of_its_kind_and_nothing_else(kind: Tally) -> None:
    facts = replace(FACTS, limits=limited(kind, per_day=6), day={kind: 4})
    judged = judge([*THREE[kind], *BESIDES], facts)
    reason = f"3 {kind} after 4 in the last 24 hours, at most 6 (limits.{kind.name.lower()}.per_day)"
    assert judged[:3] == tuple(Judged(one, S.WITHHELD, reason) for one in THREE[kind])
    assert {one.state for one in judged[3:]} == {S.OPEN}


def test_a_day_that_was_full_of_one_kind_holds_up_no_other() -> None:
    facts = replace(FACTS, limits=limited(Tally.REMOVALS, per_day=5), day={Tally.REMOVALS: 5})
    assert states([*revokes(1), *disables(1), *THREE[Tally.DEPARTURES]], facts) == [S.WITHHELD, *[S.OPEN] * 4]


def test_departures_are_counted_in_people_however_much_each_of_them_held() -> None:
    leavers = [change(op, f"{n}{a}", DATA, cause=C.DEPARTED, person=f"p{n}")
               for n in range(3) for a in "ab" for op in (Op.DISABLE, Op.REVOKE)]  # fmt: skip
    assert set(states(leavers, replace(FACTS, limits=limited(Tally.DEPARTURES, per_run=3)))) == {S.OPEN}
    assert set(states(leavers, replace(FACTS, limits=limited(Tally.DEPARTURES, per_run=2)))) == {S.WITHHELD}


def test_departures_are_held_up_by_no_limit_but_their_own() -> None:
    nothing_else = {kind: Ceiling(1000, 1000) if kind is Tally.DEPARTURES else Ceiling(0, 0) for kind in Tally}
    facts = replace(
        FACTS, limits=Limits(nothing_else, share=0.0, share_from=1), active_accounts=3, holders={DATA.key: 3}
    )
    leavers = [*disables(3, cause=C.DEPARTED), *revokes(3, cause=C.DEPARTED)]
    assert states(leavers, facts) == [S.OPEN] * 6


def test_departures_use_up_no_other_limit() -> None:
    ceilings = {**ROOMY.ceilings, Tally.REMOVALS: Ceiling(1, 1), Tally.DISABLES: Ceiling(1, 1)}
    facts = replace(FACTS, limits=Limits(ceilings, share=0.1, share_from=1), active_accounts=10, holders={DATA.key: 10})
    leavers = [*disables(5, cause=C.DEPARTED), *revokes(5, cause=C.DEPARTED)]
    assert states([*leavers, change(Op.REVOKE, "9", DATA), change(Op.DISABLE, "9")], facts) == [S.OPEN] * 12


def test_what_waits_for_a_human_uses_up_no_limit() -> None:
    facts = replace(FACTS, limits=limited(Tally.REMOVALS, per_run=1))
    waiting = revokes(5, gate=Gate.REVIEW)
    assert states([*waiting, change(Op.REVOKE, "9", DATA)], facts) == [S.WAITING] * 5 + [S.OPEN]


# --- shares ----------------------------------------------------------------------------------------------------------


def test_a_share_of_the_accounts_is_the_most_that_may_be_disabled() -> None:
    facts = replace(FACTS, limits=limited(share=0.25, share_from=1), active_accounts=8)
    assert states(disables(2), facts) == [S.OPEN] * 2
    judged = judge([*disables(3), *disables(1, cause=C.DEPARTED)], facts)
    reason = "3 of 8 active accounts would be disabled, more than 25% (limits.share)"
    assert [(one.state, one.reason) for one in judged] == [(S.WITHHELD, reason)] * 3 + [(S.OPEN, "")]


def test_a_share_of_its_holders_is_the_most_that_may_lose_an_entitlement() -> None:
    facts = replace(
        FACTS, limits=limited(share=0.25, share_from=1), holders={DATA.key: 8, WEB.key: 100}, label=lambda k: f"<{k}>"
    )
    assert states(revokes(2), facts) == [S.OPEN] * 2
    judged = judge([*revokes(3), *revokes(20, WEB), *disables(1)], facts)
    reason = "3 of 8 holders of <group:data> would lose it, more than 25% (limits.share)"
    assert [(one.state, one.reason) for one in judged[:3]] == [(S.WITHHELD, reason)] * 3
    assert {one.state for one in judged[3:]} == {S.OPEN}, "another entitlement is another matter"


def test_an_entitlement_whose_holders_nobody_counted_is_lost_by_all_of_them() -> None:
    assert set(states(revokes(3), replace(FACTS, limits=limited(share=0.99)))) == {S.WITHHELD}


def test_a_share_means_nothing_where_only_a_few_are_concerned() -> None:
    facts = replace(FACTS, limits=limited(share=0.1, share_from=3), active_accounts=2, holders={DATA.key: 2})
    assert states([*revokes(2), *disables(2)], facts) == [S.OPEN] * 4
    assert set(states([*revokes(3), *disables(3)], facts)) == {S.WITHHELD}


# --- people have the word --------------------------------------------------------------------------------------------


def test_an_approval_opens_a_reviewed_change_and_a_rejection_shuts_any() -> None:
    reviewed, auto = change(Op.REVOKE, gate=Gate.REVIEW), change(Op.REVOKE, "8")
    assert states([reviewed, auto], FACTS) == [S.WAITING, S.OPEN]
    assert states([reviewed, auto], approving([reviewed], FACTS)) == [S.OPEN, S.OPEN]
    assert states([reviewed, auto], approving([reviewed, auto], FACTS, verdict=False)) == [S.REJECTED, S.REJECTED]


def test_an_approval_on_another_installation_opens_nothing() -> None:
    one = change(Op.REVOKE, gate=Gate.REVIEW)
    elsewhere = replace(FACTS, verdicts={one.fingerprint("looker.example/2"): True})
    assert states([one], elsewhere) == [S.WAITING]


def test_an_approval_of_one_change_opens_no_other() -> None:
    one, other = change(Op.REVOKE, what=DATA, gate=Gate.REVIEW), change(Op.REVOKE, what=WEB, gate=Gate.REVIEW)
    assert states([one, other], approving([one], FACTS)) == [S.OPEN, S.WAITING]


@pytest.mark.parametrize("gate", [Gate.AUTO, Gate.REVIEW])
def test_what_a_human_approved_is_neither_held_up_by_limits_nor_counted(gate: Gate) -> None:
    approved = [*revokes(5, gate=gate), *disables(5, gate=gate)]
    ceilings = {**ROOMY.ceilings, Tally.REMOVALS: Ceiling(1, 1), Tally.DISABLES: Ceiling(1, 1)}
    facts = approving(
        approved, replace(FACTS, limits=Limits(ceilings, 0.2, 1), active_accounts=5, holders={DATA.key: 5})
    )
    assert states([*approved, change(Op.REVOKE, "9", DATA), change(Op.DISABLE, "9")], facts) == [S.OPEN] * 12
    more = [change(op, who) for op in (Op.REVOKE, Op.DISABLE) for who in "89"]
    assert states([*approved, *more], facts) == [S.OPEN] * 10 + [S.WITHHELD] * 4


# --- hard rules and their order --------------------------------------------------------------------------------------

TAKE = change(Op.REVOKE, what=DATA)
NO_BASELINE = "no accepted baseline of okta"
KEEP = {"7": "it is a service account"}
NEVER = "never touched by Trueup: it is a service account"
HANDS = "the API cannot do it, or the settings do not let us"

ORDER = {
    "open": (TAKE, FACTS, S.OPEN, ""),
    "an account that is never touched": (TAKE, replace(FACTS, bystanders=KEEP), S.MANUAL, NEVER),
    "an account that is never touched is not even given anything": (
        change(Op.GRANT, what=DATA), replace(FACTS, bystanders=KEEP), S.MANUAL, NEVER,
    ),
    "an account that is never touched, whatever a human approved": (
        TAKE, approving([TAKE], replace(FACTS, bystanders=KEEP)), S.MANUAL, NEVER,
    ),
    "an account that is never touched, though its owner has departed": (
        change(Op.DISABLE, cause=C.DEPARTED), replace(FACTS, bystanders=KEEP), S.MANUAL, NEVER,
    ),
    "waived": (TAKE, replace(FACTS, waived={TAKE.drift.key}), S.WAIVED, "waived"),
    "waived, though nothing may be taken anyway": (
        TAKE, replace(FACTS, waived={TAKE.drift.key}, no_taking=NO_BASELINE), S.WAIVED, "waived",
    ),
    "without a baseline nothing is revoked": (TAKE, replace(FACTS, no_taking=NO_BASELINE), S.WITHHELD, NO_BASELINE),
    "without a baseline nobody is locked out": (
        change(Op.DISABLE), replace(FACTS, no_taking=NO_BASELINE), S.WITHHELD, NO_BASELINE,
    ),
    "without a baseline not even what a human approved is taken": (
        TAKE, approving([TAKE], replace(FACTS, no_taking=NO_BASELINE)), S.WITHHELD, NO_BASELINE,
    ),
    "without a baseline things are given": (
        change(Op.GRANT, what=DATA), replace(FACTS, no_taking=NO_BASELINE), S.OPEN, "",
    ),
    "without a baseline accounts are made": (change(Op.CREATE), replace(FACTS, no_taking=NO_BASELINE), S.OPEN, ""),
    "manual": (change(Op.REVOKE, gate=Gate.MANUAL), FACTS, S.MANUAL, HANDS),
    "manual, and an approval does not make it ours": (
        change(Op.REVOKE, gate=Gate.MANUAL), approving([change(Op.REVOKE)], FACTS), S.MANUAL, HANDS,
    ),
    "rejected": (TAKE, approving([TAKE], FACTS, verdict=False), S.REJECTED, "a human said no"),
    "waiting": (change(Op.REVOKE, gate=Gate.REVIEW), FACTS, S.WAITING, "a human has to approve it"),
}  # fmt: skip


@pytest.mark.parametrize(("one", "facts", "state", "reason"), ORDER.values(), ids=ORDER.keys())
def test_a_change_is(one: Change, facts: Circumstances, state: State, reason: str) -> None:
    assert judge([one], facts) == (Judged(one, state, reason),)


# --- the last administrator ------------------------------------------------------------------------------------------

LAST = "it would leave no administrator; make somebody else administrator first, then do this by hand"
ROOT = replace(FACTS, administrators={"7"})
TWO = replace(FACTS, administrators={"7", "8"})
SEVENS = change(Op.REVOKE, "7", DATA)
EIGHTS = change(Op.DISABLE, "8")


@pytest.mark.parametrize("operation", sorted(TAKING))
@pytest.mark.parametrize("cause", [C.UNDESERVED, C.DEPARTED, C.SUSPENDED])
def test_the_last_administrator_loses_nothing_even_when_they_have_departed(operation: Operation, cause: Cause) -> None:
    one = change(operation, "7", DATA, cause=cause)
    assert judge([one], ROOT) == (Judged(one, S.MANUAL, LAST),)
    assert states([one], approving([one], ROOT)) == [S.MANUAL]
    assert states([one], TWO) == [S.OPEN]


def test_two_administrators_are_not_both_unseated_in_one_run() -> None:
    assert states([SEVENS, EIGHTS], TWO) == [S.MANUAL] * 2
    assert states([SEVENS, EIGHTS], replace(TWO, administrators={"7", "8", "9"})) == [S.OPEN] * 2


def test_one_of_two_administrators_can_go_while_the_others_change_waits() -> None:
    waiting = replace(EIGHTS, gate=Gate.REVIEW)
    assert states([SEVENS, waiting], TWO) == [S.OPEN, S.WAITING]


def test_the_last_administrator_may_gain_and_be_renamed_and_others_may_lose() -> None:
    others = [change(Op.GRANT, "7", WEB), change(Op.UPDATE, "7"), change(Op.REVOKE, "9", DATA)]
    assert states([SEVENS, *others], ROOT) == [S.MANUAL, *[S.OPEN] * 3]


def test_a_target_without_any_administrator_is_no_reason_to_stop() -> None:
    assert states([SEVENS], FACTS) == [S.OPEN]


# --- accounts that are disabled --------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [Gate.REVIEW, Gate.MANUAL])
def test_a_disabled_account_is_given_nothing_before_it_may_be_unlocked(gate: Gate) -> None:
    unlock, give, take = change(Op.ENABLE, gate=gate), change(Op.GRANT, what=WEB), change(Op.REVOKE, what=DATA)
    elsewhere = change(Op.GRANT, "8", WEB)
    judged = judge([unlock, give, take, elsewhere], FACTS)
    assert [one.state for one in judged[1:]] == [S.WAITING, S.OPEN, S.OPEN]
    assert judged[1].reason == "its account is disabled, and enabling it has to be approved first"
    assert states([change(Op.ENABLE), give], FACTS) == [S.OPEN, S.OPEN]


# --- laws ------------------------------------------------------------------------------------------------------------


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Change], Circumstances]:
    one = st.builds(
        lambda op, account, what, cause, gate, privileged: change(
            op, account, what, cause=cause, gate=gate, privileged=privileged
        ),
        st.sampled_from(sorted(Operation)),
        st.sampled_from("12345"),
        st.sampled_from([DATA, WEB]),
        st.sampled_from([C.UNDESERVED, C.DEPARTED]),
        st.sampled_from([Gate.AUTO, Gate.AUTO, Gate.REVIEW, Gate.MANUAL]),
        st.booleans(),
    )
    changes = draw(st.lists(one, max_size=12))
    few = st.integers(0, 6)
    limits = Limits(
        {kind: Ceiling(draw(few), draw(few)) for kind in Tally}, draw(st.sampled_from([0.2, 0.5, 1.0])), draw(few)
    )
    facts = Circumstances(
        "i", limits, draw(few), {DATA.key: draw(few), WEB.key: draw(few)},
        administrators=draw(st.frozensets(st.sampled_from("123"))),
        bystanders=draw(st.dictionaries(st.sampled_from("45"), st.just("it is protected"))),
        day={kind: draw(few) for kind in Tally},
        verdicts={c.fingerprint("i"): draw(st.booleans()) for c in changes if draw(st.booleans())},
        waived={c.drift.key for c in changes if draw(st.integers(0, 5)) == 0},
        no_taking=draw(st.sampled_from(["", "", NO_BASELINE])),
    )  # fmt: skip
    return changes, facts


Planned = tuple[list[Change], Circumstances]


@given(plans())
def test_every_change_is_judged_once_and_in_its_place_and_only_what_is_open_needs_no_reason(planned: Planned) -> None:
    changes, facts = planned
    judged = judge(changes, facts)
    assert [one.change for one in judged] == changes
    assert all(bool(one.reason) == (one.state is not S.OPEN) for one in judged)


@given(plans())
def test_nothing_opens_that_a_hard_rule_or_a_shut_gate_forbids(planned: Planned) -> None:
    changes, facts = planned
    for one in judge(changes, facts):
        if one.state is S.OPEN:
            assert one.change.drift.account_id not in facts.bystanders
            assert one.change.drift.key not in facts.waived
            assert not (facts.no_taking and one.change.operation in TAKING)
            verdict = facts.verdicts.get(one.change.fingerprint("i"))
            assert verdict is True or (verdict is None and one.change.gate is Gate.AUTO)


@given(plans())
def test_what_opens_without_approval_stays_within_every_ceiling(planned: Planned) -> None:
    changes, facts = planned
    freely = [
        one.change
        for one in judge(changes, facts)
        if one.state is S.OPEN and not facts.verdicts.get(one.change.fingerprint("i"))
    ]
    amounts = Counter(tally(one) for one in freely)
    amounts[Tally.DEPARTURES] = len({c.drift.person_id for c in freely if tally(c) is Tally.DEPARTURES})
    for kind in Tally:
        if amounts[kind]:
            ceiling = facts.limits.ceilings[kind]
            assert amounts[kind] <= ceiling.per_run
            assert amounts[kind] + facts.day[kind] <= ceiling.per_day


@given(plans())
def test_a_target_that_has_administrators_keeps_one(planned: Planned) -> None:
    changes, facts = planned
    unseated = {
        one.change.drift.account_id
        for one in judge(changes, facts)
        if one.state is S.OPEN and one.change.operation in TAKING
    }
    assert not facts.administrators or set(facts.administrators) - unseated


@given(plans())
def test_wider_limits_open_no_fewer(planned: Planned) -> None:
    changes, facts = planned
    before = [one.state for one in judge(changes, replace(facts, administrators=()))]
    after = [one.state for one in judge(changes, replace(facts, administrators=(), limits=ROOMY, day={}))]
    assert all(then is S.OPEN for now, then in zip(before, after, strict=True) if now is S.OPEN)


# --- disabled accounts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("enabling", [Gate.REVIEW, Gate.MANUAL])
def test_nothing_is_granted_to_a_disabled_account_before_it_may_be_enabled(enabling: Gate) -> None:
    plan = [change(Op.ENABLE, gate=enabling), change(Op.GRANT, what=DATA), change(Op.GRANT, "8", DATA)]
    shut = S.WAITING if enabling is Gate.REVIEW else S.MANUAL
    assert states(plan, FACTS) == [shut, S.WAITING, S.OPEN]


def test_approving_a_grant_alone_does_not_enable_a_disabled_account() -> None:
    enable, grant = change(Op.ENABLE, gate=Gate.REVIEW), change(Op.GRANT, what=DATA, gate=Gate.REVIEW)
    assert states([enable, grant], approving([grant], FACTS)) == [S.WAITING, S.WAITING]
    assert states([enable, grant], approving([enable, grant], FACTS)) == [S.OPEN, S.OPEN]
