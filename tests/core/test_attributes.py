"""Attributes of accounts: what counts as held, what as wrong, and that nothing is given where a filter is amiss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.attributes import fallback, told, unfiltered
from worker.core.drift import Cause, Deserts, Drift, DriftKind, Terrain, desired_account, find_drift
from worker.core.guardrails import Ceiling, Circumstances, Judged, Limits, State, Tally, judge
from worker.core.identity import (
    Account,
    Catalogue,
    CatalogueItem,
    Definition,
    Entitlement,
    GroupValue,
    Identity,
    Person,
    Standing,
)
from worker.core.plan import Gate, GateTable, Means, Operation, make_plan
from worker.core.values import Held

K, C, Op, S = DriftKind, Cause, Operation, State
REGION, LEVEL, SALES, OPS, ROLE = (
    Entitlement("attribute", "12"), Entitlement("attribute", "13"),
    Entitlement("group", "sales"), Entitlement("group", "ops"), Entitlement("role", "5"),
)  # fmt: skip
EMEA, AMER, APAC = (replace(REGION, scope=value) for value in ("EMEA", "AMER", "APAC"))
BY_GROUP = (GroupValue(1, "sales", "EMEA"), GroupValue(2, "ops", "AMER"))


def catalogue(*groups: GroupValue, default: str | None = None) -> Catalogue:
    return Catalogue(
        (
            CatalogueItem("attribute", "12", "region", definition=Definition("string", default, groups)),
            CatalogueItem("attribute", "13", "level", definition=Definition("number")),
            CatalogueItem("group", "sales", "Sales"),
            CatalogueItem("group", "ops", "Ops"),
        )
    )


def terrain(*groups: GroupValue, default: str | None = None, governed: Sequence[Entitlement] = (REGION,)) -> Terrain:
    return Terrain("looker", catalogue(*groups, default=default), frozenset(governed))


def person(standing: Standing = Standing.ACTIVE, unsure: str = "", marked: bool = False) -> Person:
    one = Identity("okta", "00u1", standing, "", "ana@acme.example", "ana@acme.example")
    return Person("ana", standing, (one,), unsure=unsure, departure_marked=marked)


def account(*held: Entitlement, known: Sequence[str] = ("12",), id: str = "7", active: bool = True) -> Account:
    return Account(id, "ana@acme.example", "ana@acme.example", active, {}, frozenset(held), known=frozenset(known))


def deserving(*given_: Entitlement, held: Sequence[Held] = (), **more: object) -> Deserts:
    plain = Deserts("ana@acme.example", {}, dict.fromkeys(given_, ("r",)), frozenset(), {}, tuple(held))
    return replace(plain, **more)  # type: ignore[arg-type]


def drift(kind: DriftKind, cause: Cause, what: Entitlement | None = REGION, **more: object) -> Drift:
    facts: dict[str, object] = {"person_id": "ana", "account_id": "7", "entitlement": what, **more}
    return Drift(kind, "looker", cause, **facts)  # type: ignore[arg-type]


HELD = Held("region", REGION, "the person has no office", ("r",))
GENERAL = replace(HELD, general=True, reason="rule r cannot be evaluated")


def lacks(rest: str) -> Drift:
    return drift(K.MISSING_ENTITLEMENT, C.DESERVED, after="EMEA", rules=("r",), detail=f"without it: {rest}")


LACKS = lacks("nothing at all")
WRONG = drift(K.WRONG_VALUE, C.DESERVED, before="AMER", after="EMEA", rules=("r",))
NOTHING = "it then has nothing at all"


@dataclass(frozen=True)
class Case:
    """One person in one target, and the whole drift that there is."""

    found: tuple[Drift, ...] = ()
    primary: Account | None = field(default_factory=lambda: account(EMEA))
    deserts: Deserts = field(default_factory=lambda: deserving(EMEA))
    terrain: Terrain = field(default_factory=terrain)
    who: Person = field(default_factory=person)
    secondary: tuple[Account, ...] = ()


CASES: Mapping[str, Case] = {
    "has the value that they deserve": Case(),
    "has no value": Case((LACKS,), account()),
    "has no value, but the default is the one": Case(
        (lacks("EMEA by default"),), account(), terrain=terrain(default="EMEA"),
    ),
    "has another value": Case((WRONG,), account(AMER)),
    "has an empty value": Case((replace(WRONG, before=""),), account(REGION)),
    "has another value, and a source could not be read whole": Case(
        primary=account(AMER), who=person(unsure="cut short"), secondary=(account(AMER, id="8"),),
    ),
    "has no value, and a source could not be read whole": Case((LACKS,), account(), who=person(unsure="cut short")),
    "has a value that nobody has read yet": Case(primary=account(known=())),
    "has the value through a group that nobody governs": Case(primary=account(SALES), terrain=terrain(*BY_GROUP)),
    "has the value through a group that they deserve": Case(
        primary=account(SALES), deserts=deserving(EMEA, SALES), terrain=terrain(*BY_GROUP, governed=(REGION, SALES)),
    ),
    "has the value through a group that they are to lose": Case(
        (drift(K.EXCESS_ENTITLEMENT, C.UNDESERVED, SALES), lacks("EMEA by group Sales (rank 1)")),
        account(SALES), terrain=terrain(*BY_GROUP, governed=(REGION, SALES)),
    ),
    "has the value through a group that may be theirs": Case(
        primary=account(SALES), deserts=replace(deserving(EMEA), frozen={SALES}),
        terrain=terrain(*BY_GROUP, governed=(REGION, SALES)),
    ),
    "has the value through a group that everybody is in": Case(
        primary=account(), terrain=terrain(GroupValue(3, "all", "EMEA", everybody=True)),
    ),
    "has the value through a group of lower rank than another": Case(
        primary=account(SALES, OPS), terrain=terrain(*BY_GROUP),
    ),
    "has another value through a group of lower rank": Case(
        (lacks("AMER by group Ops (rank 2) over group Sales (rank 3: EMEA)"),),
        account(SALES, OPS), terrain=terrain(GroupValue(3, "sales", "EMEA"), GroupValue(2, "ops", "AMER")),
    ),
    "has the value through a group, unless values reach into groups in groups": Case(
        (lacks("EMEA by group Sales (rank 1)"),),
        account(SALES), terrain=terrain(*BY_GROUP, GroupValue(0, "sales", "AMER", inherited=True)),
    ),
    "has the value only if values reach into groups in groups": Case(
        (LACKS,), account(SALES), terrain=terrain(GroupValue(0, "sales", "EMEA", inherited=True)),
    ),
    "has a value of their own that hides the group's": Case(
        (WRONG,), account(AMER, SALES), terrain=terrain(*BY_GROUP),
    ),
    "has a value that no rule gives": Case(
        (drift(K.EXCESS_ENTITLEMENT, C.UNDESERVED, before="EMEA", detail=NOTHING),), deserts=deserving(),
    ),
    "has a value that no rule gives, and then the group's": Case(
        (
            drift(K.EXCESS_ENTITLEMENT, C.UNDESERVED, before="EMEA",
                  detail="it then has AMER by group Ops (rank 2)"),
        ),
        account(EMEA, OPS), deserving(), terrain(*BY_GROUP, default="NONE"),
    ),
    "has a value that no rule gives, and then the default": Case(
        (drift(K.EXCESS_ENTITLEMENT, C.UNDESERVED, before="EMEA", detail="it then has NONE by default"),),
        deserts=deserving(), terrain=terrain(*BY_GROUP, default="NONE"),
    ),
    "has a value whose rule has ended": Case(
        (drift(K.EXPIRED_ENTITLEMENT, C.EXPIRED, before="EMEA", rules=("over",), detail=NOTHING),),
        deserts=deserving(expired={REGION: ("over",)}),
    ),
    "has a value of an attribute that left the policy": Case(
        (drift(K.EXCESS_ENTITLEMENT, C.LEFT_POLICY, before="EMEA", detail=NOTHING),),
        deserts=deserving(), terrain=replace(terrain(), left_policy={REGION}),
    ),
    "has a value that nobody governs": Case(deserts=deserving(), terrain=terrain(governed=())),
    "has a value, and which one they deserve is in doubt": Case(
        (drift(K.HELD_VALUE, C.NOT_EVALUABLE, field="attribute region", before="EMEA", rules=("r",),
               detail="the person has no office"),),
        deserts=deserving(held=[HELD]),
    ),
    "has none, and which one they deserve is in doubt": Case(
        (drift(K.HELD_VALUE, C.NOT_EVALUABLE, field="attribute region", rules=("r",),
               detail="the person has no office"),),
        account(), deserving(held=[HELD]),
    ),
    "has a value, and what gives it cannot be evaluated": Case(deserts=deserving(held=[GENERAL])),
    "has no account, and nothing but a filter is given": Case(primary=None),
    "has no account, and which value they deserve is in doubt": Case(
        (
            drift(K.HELD_VALUE, C.NOT_EVALUABLE, field="attribute region", rules=("r",), account_id="",
                  detail="the person has no office"),
            drift(K.MISSING_ACCOUNT, C.DESERVED, None, account_id="", after="ana@acme.example", rules=("r",)),
        ),
        None, deserving(ROLE, held=[HELD]),
    ),
    "has a disabled account, and nothing but a filter is given": Case((LACKS,), account(active=False)),
    "has a second account with another value": Case(
        (replace(WRONG, account_id="8"),), secondary=(account(AMER, id="8"),),
    ),
    "has a second account without a value": Case(secondary=(account(id="8"),)),
    "has departed": Case(
        (
            drift(K.LINGERING_ACCOUNT, C.DEPARTED, None),
            drift(K.EXCESS_ENTITLEMENT, C.DEPARTED, before="EMEA", detail=NOTHING),
        ),
        who=person(Standing.DEPARTED),
    ),
    "has departed, and loses the group as well that has a value": Case(
        (
            drift(K.LINGERING_ACCOUNT, C.DEPARTED, None),
            drift(K.EXCESS_ENTITLEMENT, C.DEPARTED, before="EMEA", detail="it then has NONE by default"),
            drift(K.EXCESS_ENTITLEMENT, C.DEPARTED, SALES),
        ),
        account(EMEA, SALES), terrain=terrain(*BY_GROUP, default="NONE"), who=person(Standing.DEPARTED),
    ),
    "is suspended": Case(
        (drift(K.SUSPENDED_PERSON, C.SUSPENDED, None),), account(AMER), who=person(Standing.SUSPENDED),
    ),
    "has not started yet": Case(primary=account(AMER), who=person(Standing.PENDING)),
    "is marked as departed": Case(primary=account(AMER), who=person(marked=True)),
}  # fmt: skip


def drift_of(case: Case) -> tuple[Drift, ...]:
    return tuple(find_drift(case.who, case.primary, case.secondary, case.deserts, case.terrain))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_somebody_who(case: Case) -> None:
    assert drift_of(case) == case.found


def test_a_new_account_comes_with_the_values_that_its_person_deserves() -> None:
    assert desired_account(deserving(EMEA, ROLE), catalogue()).entitlements == {EMEA, ROLE}


TOLD = {
    "nothing at all": (account(), catalogue(*BY_GROUP)),
    "NONE by default": (account(), catalogue(*BY_GROUP, default="NONE")),
    "empty by default": (account(), catalogue(*BY_GROUP, default="")),
    "EMEA by group Sales (rank 1) over group Ops (rank 2: AMER)": (account(SALES, OPS), catalogue(*BY_GROUP)),
}


@pytest.mark.parametrize("said", TOLD)
def test_what_is_there_without_a_value_of_its_own_is_told(said: str) -> None:
    one, there = TOLD[said]
    item = there.item("attribute", "12")
    assert item
    assert told(fallback(one, item.definition), there) == said


# --- nothing is given while a filter is amiss -----------------------------------------------------------------------

UNFILTERED = {
    "a value in doubt, and no account": (None, deserving(ROLE, held=[HELD]), person(), "the person has no office"),
    "a value in doubt, and none of its own": (account(), deserving(held=[HELD]), person(), "the person has no office"),
    "a value in doubt, and an empty one of its own": (account(REGION), deserving(held=[HELD]), person(), "no office"),
    "a value in doubt, and one of its own": (account(EMEA), deserving(held=[HELD]), person(), ""),
    "an attribute that cannot be given": (account(), deserving(held=[GENERAL]), person(), "cannot be evaluated"),
    "an attribute that is not there": (
        account(EMEA), deserving(held=[replace(GENERAL, attribute=None)]), person(), "cannot be evaluated",
    ),
    "a value that nobody has read": (account(known=()), deserving(EMEA), person(), "have not been read yet"),
    "a value that nobody has read, of no concern": (account(known=()), deserving(ROLE), person(), ""),
    "a wrong value, and nothing may be taken": (account(AMER), deserving(EMEA), person(unsure="cut"), "wrong"),
    "the right value, and nothing may be taken": (account(EMEA), deserving(EMEA), person(unsure="cut"), ""),
    "a wrong value, which is a change of its own": (account(AMER), deserving(EMEA), person(), ""),
}  # fmt: skip


@pytest.mark.parametrize(("one", "deserts", "who", "said"), UNFILTERED.values(), ids=UNFILTERED.keys())
def test_whoever_has(one: Account | None, deserts: Deserts, who: Person, said: str) -> None:
    found = unfiltered(who, one, deserts.given, deserts.held)
    assert said in found
    assert bool(found) is bool(said)


ROOMY = Limits({kind: Ceiling(1000, 1000) for kind in Tally}, share=1.0, share_from=1)
FACTS = Circumstances("i", ROOMY, active_accounts=1000)
GIVE = drift(K.MISSING_ENTITLEMENT, C.DESERVED, ROLE)
UNLOCK = drift(K.DISABLED_ACCOUNT, C.DESERVED, None)
TAKE = drift(K.EXCESS_ENTITLEMENT, C.UNDESERVED, SALES)
UNSET = drift(K.EXCESS_ENTITLEMENT, C.UNDESERVED, LEVEL, before="3")


def judged(*drifts: Drift, facts: Circumstances = FACTS, **gates: Gate) -> list[Judged]:
    table = GateTable({**dict.fromkeys(Operation, Gate.AUTO), **{Op(name): gate for name, gate in gates.items()}})
    plan = make_plan(drifts, Means({"7": account(), "8": account()}, catalogue(), table))
    return list(judge(plan.changes, facts))


def states(found: Sequence[Judged]) -> dict[Drift, State]:
    return {one.change.drift: one.state for one in found}


@pytest.mark.parametrize("gate", [Gate.REVIEW, Gate.MANUAL])
def test_what_is_given_waits_for_a_filter_that_is_not_open(gate: Gate) -> None:
    elsewhere = replace(GIVE, account_id="8")
    found = judged(WRONG, GIVE, UNLOCK, TAKE, elsewhere, revoke=gate)
    waiting = S.WAITING if gate is Gate.REVIEW else S.MANUAL
    assert states(found) == {
        WRONG: waiting, TAKE: waiting, GIVE: S.WAITING, UNLOCK: S.WAITING, elsewhere: S.OPEN,
    }  # fmt: skip
    reason = next(one.reason for one in found if one.change.drift is GIVE)
    assert reason.startswith("a filter of the account has to be right first, and its change is")


def test_what_is_given_does_not_wait_for_a_filter_that_is_set_in_the_same_run() -> None:
    assert set(states(judged(WRONG, LACKS, GIVE, UNLOCK)).values()) == {S.OPEN}


def test_a_filter_beyond_its_limit_holds_up_what_is_given() -> None:
    tight = replace(FACTS, limits=replace(ROOMY, ceilings={**ROOMY.ceilings, Tally.REMOVALS: Ceiling(0, 0)}))
    assert states(judged(WRONG, GIVE, facts=tight)) == {WRONG: S.WITHHELD, GIVE: S.WAITING}


def test_a_filter_is_set_before_its_account_may_be_unlocked() -> None:
    assert states(judged(LACKS, GIVE, UNLOCK, enable=Gate.REVIEW)) == {
        LACKS: S.OPEN, GIVE: S.WAITING, UNLOCK: S.WAITING,
    }  # fmt: skip


def test_no_approval_gives_anything_before_the_filter_is_right() -> None:
    everything = [one.change for one in judged(WRONG, GIVE, revoke=Gate.REVIEW, grant=Gate.REVIEW)]
    approved = replace(FACTS, verdicts={c.fingerprint("i"): c.drift is GIVE for c in everything})
    assert states(judged(WRONG, GIVE, facts=approved, revoke=Gate.REVIEW, grant=Gate.REVIEW)) == {
        WRONG: S.REJECTED, GIVE: S.WAITING,
    }  # fmt: skip


def test_a_waived_filter_holds_up_nothing() -> None:
    assert states(judged(UNSET, GIVE, facts=replace(FACTS, waived={UNSET.key}))) == {UNSET: S.WAIVED, GIVE: S.OPEN}


def test_whoever_is_unfiltered_is_given_nothing_and_loses_what_they_are_to_lose() -> None:
    facts = replace(FACTS, unfiltered={"7": "the person has no office"})
    found = judged(GIVE, UNLOCK, TAKE, WRONG, facts=facts)
    assert states(found) == {GIVE: S.WAITING, UNLOCK: S.WAITING, TAKE: S.OPEN, WRONG: S.OPEN}
    assert "nothing is given to this person here yet: the person has no office" in {one.reason for one in found}


def test_nobody_unfiltered_gets_an_account() -> None:
    nobody = drift(K.MISSING_ACCOUNT, C.DESERVED, None, account_id="")
    facts = replace(FACTS, unfiltered={"person ana": "the person has no office"})
    means = Means({}, catalogue(), GateTable(dict.fromkeys(Operation, Gate.AUTO)), creations={"ana": account(ROLE)})
    assert [one.state for one in judge(make_plan([nobody], means).changes, facts)] == [S.WAITING]
    assert [one.state for one in judge(make_plan([nobody], means).changes, FACTS)] == [S.OPEN]


def test_another_value_for_the_last_administrator_unseats_nobody() -> None:
    facts = replace(FACTS, administrators={"7"})
    assert states(judged(WRONG, facts=facts)) == {WRONG: S.OPEN}


def test_without_a_baseline_no_value_is_replaced_and_nothing_given_in_its_stead() -> None:
    assert states(judged(WRONG, GIVE, facts=replace(FACTS, no_taking="no baseline"))) == {
        WRONG: S.WITHHELD, GIVE: S.WAITING,
    }  # fmt: skip


# --- laws ------------------------------------------------------------------------------------------------------------

ENTITLEMENTS = st.frozensets(st.sampled_from([SALES, OPS, ROLE]))
VALUES = st.sampled_from([None, REGION, EMEA, AMER, APAC])


@st.composite
def situations(draw: st.DrawFn) -> Case:
    def an_account(id: str) -> Account:
        own = draw(VALUES)
        known = ("12",) if own or draw(st.booleans()) else ()
        return account(*draw(ENTITLEMENTS), *([own] if own else []), known=known, id=id, active=draw(st.booleans()))

    wanted = draw(st.sampled_from([None, EMEA, AMER]))
    held = draw(st.sampled_from([(), (HELD,), (GENERAL,)])) if wanted is None else ()
    given_ = dict.fromkeys((*draw(ENTITLEMENTS), *([wanted] if wanted else [])), ("r",))
    values = draw(st.lists(st.builds(
        GroupValue, st.integers(1, 3), st.sampled_from(["sales", "ops", "all"]), st.sampled_from(["EMEA", "AMER"]),
        st.booleans(), st.booleans(),
    ), max_size=3))  # fmt: skip
    governed = draw(st.frozensets(st.sampled_from([SALES, OPS, ROLE, REGION]))) | {e.bare for e in given_}
    who = person(draw(st.sampled_from(sorted(Standing))), draw(st.sampled_from(["", "cut short"])))
    primary = an_account("7") if draw(st.booleans()) else None
    return Case(
        (), primary, deserving(*given_, held=held), terrain(*values, governed=sorted(governed)), who,
        (an_account("8"),) if draw(st.booleans()) else (),
    )  # fmt: skip


def about_values(found: Sequence[Drift]) -> list[Drift]:
    return [one for one in found if one.entitlement and one.entitlement.kind == "attribute"]


@given(situations())
def test_no_account_is_to_get_two_values_or_lose_one_that_is_deserved_or_in_doubt(case: Case) -> None:
    wanted = {e.scope for e in case.deserts.given if e.kind == "attribute"}
    for id in ("7", "8", ""):
        changes = [one for one in about_values(drift_of(case)) if one.account_id == id and one.kind is not K.HELD_VALUE]
        assert len(changes) <= 1
        for one in changes:
            assert {one.after} - {""} <= wanted
            if case.who.standing is not Standing.DEPARTED:
                assert one.after or not wanted, "a value that is deserved gives way to another value, never to none"
                assert not case.deserts.held, "what is in doubt is neither given nor taken"


@given(situations())
def test_when_every_value_is_as_it_should_be_nothing_is_left(case: Case) -> None:
    for one in about_values(drift_of(case)):
        if one.kind is K.HELD_VALUE:
            continue

        def cured(there: Account | None, one: Drift = one) -> Account | None:
            if there is None or there.id != one.account_id:
                return there
            own = {e for e in there.entitlements if e.kind != "attribute"}
            return replace(
                there, entitlements=frozenset(own | ({replace(REGION, scope=one.after)} if one.after else set()))
            )

        second = tuple(s for s in map(cured, case.secondary) if s)
        case = replace(case, primary=cured(case.primary), secondary=second)
    assert [one for one in about_values(drift_of(case)) if one.kind is not K.HELD_VALUE] == []


@given(situations(), st.sampled_from(Gate), st.sampled_from(Gate))
def test_nothing_opens_for_an_account_whose_filter_is_amiss(case: Case, grants: Gate, revokes: Gate) -> None:
    accounts = {one.id: one for one in (case.primary, *case.secondary) if one}
    gates = GateTable({**dict.fromkeys(Operation, Gate.AUTO), Op.GRANT: grants, Op.REVOKE: revokes})
    created = {"ana": desired_account(case.deserts, case.terrain.catalogue)}
    plan = make_plan(drift_of(case), Means(accounts, case.terrain.catalogue, gates, creations=created))
    why = unfiltered(case.who, case.primary, case.deserts.given, case.deserts.held)
    subject = case.primary.id if case.primary else "person ana"
    found = judge(plan.changes, replace(FACTS, unfiltered={subject: why} if why else {}))
    shut = {one.change.subject for one in found if one.change.of_attribute and one.state is not S.OPEN}
    for one in found:
        opens = one.change.operation in (Op.CREATE, Op.ENABLE) or (
            one.change.operation is Op.GRANT and not one.change.of_attribute
        )
        if opens and one.state is S.OPEN:
            assert one.change.subject not in shut
            assert not (why and one.change.subject == subject)
