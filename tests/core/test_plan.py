"""Plans: one cure per drift, behind the right gate, in the order in which changes are safe to make."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.drift import Cause, Drift, DriftKind
from worker.core.identity import Account, Catalogue, CatalogueItem, Entitlement
from worker.core.plan import CURES, TAKING, Change, Gate, GateTable, Means, Operation, Plan, make_plan, phase

K, C, Op = DriftKind, Cause, Operation
ANALYST, ADMIN = Entitlement("role", "5"), Entitlement("role", "2")
EVERYWHERE = Entitlement("role", "PROJECT_VIEWER", "g")
CATALOGUE = Catalogue(
    (
        CatalogueItem("role", "2", "Admin", privileged=True),
        CatalogueItem("role", "5", "Analyst"),
        CatalogueItem("role", "PROJECT_VIEWER", "Project viewer"),
        CatalogueItem("scope", "g", "everywhere", privileged=True),
    )
)
AUTO = GateTable(dict.fromkeys(Operation, Gate.AUTO))
CAUSES = {  # the cause that a drift has unless a test says otherwise
    K.MISSING_ACCOUNT: C.DESERVED, K.DISABLED_ACCOUNT: C.DESERVED, K.MISSING_ENTITLEMENT: C.DESERVED,
    K.LINGERING_ACCOUNT: C.DEPARTED, K.SUSPENDED_PERSON: C.SUSPENDED, K.ABSENT_PERSON: C.ABSENT,
    K.STALE_LOGIN: C.SOURCE_CHANGED, K.STALE_PROFILE: C.SOURCE_CHANGED, K.EXCESS_ENTITLEMENT: C.UNDESERVED,
    K.EXPIRED_ENTITLEMENT: C.EXPIRED, K.RETURNED_LEAVER: C.DEPARTED, K.WRONG_VALUE: C.DESERVED,
}  # fmt: skip
KEYED = (K.EXCESS_ENTITLEMENT, K.EXPIRED_ENTITLEMENT, K.MISSING_ENTITLEMENT)
REGION, EMEA = Entitlement("attribute", "12"), Entitlement("attribute", "12", "EMEA")


def drift(kind: DriftKind, what: Entitlement | None = None, *, of: str = "7", cause: Cause | None = None) -> Drift:
    """About account `of`, which is person p<of>'s."""
    who = "" if kind is K.MISSING_ACCOUNT else of
    field = {K.STALE_LOGIN: "login", K.STALE_PROFILE: "name"}.get(kind, "")
    entitlement = what or (ANALYST if kind in KEYED else REGION if kind is K.WRONG_VALUE else None)
    return Drift(kind, "looker", cause or CAUSES[kind], f"p{of}", who, entitlement, field, "old", "new")


def account(id: str, *held: Entitlement) -> Account:
    return Account(id, f"login{id}", f"{id}@acme.example", True, {}, frozenset(held))


def means(*held: Entitlement, gates: GateTable = AUTO, of: str = "7", created: tuple[Entitlement, ...] = ()) -> Means:
    """A target with account `of`, which holds these, and one to be made for its person, to hold those."""
    return Means({of: account(of, *held)}, CATALOGUE, gates, creations={f"p{of}": account("", *created)})


def change(one: Drift, how: Means | None = None) -> Change:
    (made,) = make_plan([one], how or means()).changes
    return made


# --- cures -----------------------------------------------------------------------------------------------------------

OPERATIONS = {
    K.MISSING_ACCOUNT: Op.CREATE, K.DISABLED_ACCOUNT: Op.ENABLE, K.LINGERING_ACCOUNT: Op.DISABLE,
    K.SUSPENDED_PERSON: Op.DISABLE, K.ABSENT_PERSON: Op.DISABLE, K.STALE_LOGIN: Op.UPDATE, K.STALE_PROFILE: Op.UPDATE,
    K.EXCESS_ENTITLEMENT: Op.REVOKE, K.EXPIRED_ENTITLEMENT: Op.REVOKE, K.MISSING_ENTITLEMENT: Op.GRANT,
    K.RETURNED_LEAVER: Op.DISABLE, K.WRONG_VALUE: Op.REPLACE,
}  # fmt: skip


@pytest.mark.parametrize("kind", DriftKind)
def test_a_drift_has_one_cure_or_stands(kind: DriftKind) -> None:
    one = drift(kind, cause=CAUSES.get(kind, C.NOT_EVALUABLE))
    plan = make_plan([one], means())
    if kind in OPERATIONS:
        assert [(c.drift, c.operation) for c in plan.changes] == [(one, OPERATIONS[kind])]
        assert plan.standing == ()
    else:
        assert plan == Plan((), (one,))


def test_what_is_urgent_stands_first() -> None:
    calm = drift(K.ORPHAN, of="1", cause=C.UNKNOWN_OWNER)
    urgent = replace(drift(K.DISPUTED, of="9", cause=C.AMBIGUOUS_OWNER), urgent=True)
    assert make_plan([calm, urgent], means()).standing == (urgent, calm)


def test_only_revokes_replacements_and_lock_outs_count_as_taking() -> None:
    assert {Op.REVOKE, Op.REPLACE, Op.DISABLE} == TAKING


# --- gates -----------------------------------------------------------------------------------------------------------

MANUAL_LOGINS = GateTable({**dict.fromkeys(Operation, Gate.AUTO), Op.UPDATE: Gate.MANUAL})
CAREFUL = replace(AUTO, privileged=Gate.MANUAL)
DECLARED = replace(means(), declared_privileged=frozenset({ANALYST.key}))

GATES: Mapping[str, tuple[Drift, Means, Gate]] = {
    "an ordinary grant": (drift(K.MISSING_ENTITLEMENT), means(), Gate.AUTO),
    "an ordinary revoke": (drift(K.EXCESS_ENTITLEMENT), means(), Gate.AUTO),
    "the grant of a privileged role": (drift(K.MISSING_ENTITLEMENT, ADMIN), means(), Gate.REVIEW),
    "the revoke of a privileged role": (drift(K.EXCESS_ENTITLEMENT, ADMIN), means(), Gate.REVIEW),
    "the end of a privileged role": (drift(K.EXPIRED_ENTITLEMENT, ADMIN), means(), Gate.REVIEW),
    "an ordinary role in a privileged scope": (drift(K.MISSING_ENTITLEMENT, EVERYWHERE), means(), Gate.REVIEW),
    "a role that the settings declare privileged": (drift(K.MISSING_ENTITLEMENT), DECLARED, Gate.REVIEW),
    "something privileged where that is manual": (
        drift(K.MISSING_ENTITLEMENT, ADMIN), means(gates=CAREFUL), Gate.MANUAL,
    ),
    "an account to be made with nothing privileged": (drift(K.MISSING_ACCOUNT), means(created=(ANALYST,)), Gate.AUTO),
    "an account to be made with a privileged role among others": (
        drift(K.MISSING_ACCOUNT), means(created=(ANALYST, ADMIN)), Gate.REVIEW,
    ),
    "an account to be unlocked that holds nothing privileged": (drift(K.DISABLED_ACCOUNT), means(ANALYST), Gate.AUTO),
    "an account to be unlocked that holds a privileged role": (drift(K.DISABLED_ACCOUNT), means(ADMIN), Gate.REVIEW),
    "a change of the login": (drift(K.STALE_LOGIN), means(), Gate.REVIEW),
    "a change of the login where updates are manual": (drift(K.STALE_LOGIN), means(gates=MANUAL_LOGINS), Gate.MANUAL),
    "a change of a name": (drift(K.STALE_PROFILE), means(), Gate.AUTO),
    "a change of an administrator's name": (drift(K.STALE_PROFILE), means(ADMIN), Gate.AUTO),
    "a revoke that only a new policy asks for": (
        drift(K.EXCESS_ENTITLEMENT, cause=C.LEFT_POLICY), means(), Gate.REVIEW,
    ),
    "a lock-out of somebody whom the source no longer has": (drift(K.ABSENT_PERSON), means(), Gate.REVIEW),
    "a lock-out of a suspended administrator": (drift(K.SUSPENDED_PERSON), means(ADMIN), Gate.AUTO),
    "a lock-out of a departed administrator": (drift(K.LINGERING_ACCOUNT), means(ADMIN), Gate.AUTO),
    "a grant to somebody who was held as departed by a human's word": (
        drift(K.MISSING_ENTITLEMENT), replace(means(), reviewed={"p7"}), Gate.REVIEW,
    ),
    "an account to be unlocked of somebody who was held as departed": (
        drift(K.DISABLED_ACCOUNT), replace(means(), reviewed={"p7"}), Gate.REVIEW,
    ),
    "a grant to somebody else than who was held as departed": (
        drift(K.MISSING_ENTITLEMENT), replace(means(), reviewed={"p8"}), Gate.AUTO,
    ),
    "a revoke from somebody who was held as departed": (
        drift(K.EXCESS_ENTITLEMENT), replace(means(), reviewed={"p7"}), Gate.AUTO,
    ),
    "a missing value of an attribute": (drift(K.MISSING_ENTITLEMENT, REGION), means(), Gate.AUTO),
    "another value of an attribute": (drift(K.WRONG_VALUE), means(), Gate.AUTO),
    "another value of an attribute where grants are manual": (
        drift(K.WRONG_VALUE), means(gates=GateTable({**dict.fromkeys(Operation, Gate.AUTO), Op.GRANT: Gate.MANUAL})),
        Gate.MANUAL,
    ),
    "another value of an attribute where revokes are manual": (
        drift(K.WRONG_VALUE), means(gates=GateTable({**dict.fromkeys(Operation, Gate.AUTO), Op.REVOKE: Gate.MANUAL})),
        Gate.MANUAL,
    ),
    "another value of an attribute that the settings declare privileged": (
        drift(K.WRONG_VALUE), replace(means(), declared_privileged=frozenset({REGION.key})), Gate.REVIEW,
    ),
    "an account to be made with such an attribute": (
        drift(K.MISSING_ACCOUNT),
        replace(means(created=(EMEA,)), declared_privileged=frozenset({REGION.key})), Gate.REVIEW,
    ),
    "the end of a filter": (drift(K.EXCESS_ENTITLEMENT, REGION), means(), Gate.REVIEW),
    "the end of a departed person's filter": (
        drift(K.EXCESS_ENTITLEMENT, REGION, cause=C.DEPARTED), means(), Gate.AUTO,
    ),
    "a departed person's privileged role": (
        drift(K.EXCESS_ENTITLEMENT, ADMIN, cause=C.DEPARTED), means(gates=CAREFUL), Gate.AUTO,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("one", "how", "gate"), GATES.values(), ids=GATES.keys())
def test_where_everything_is_automatic_the_gate_of(one: Drift, how: Means, gate: Gate) -> None:
    assert change(one, how).gate is gate


@pytest.mark.parametrize("gate", Gate)
@pytest.mark.parametrize("kind", CURES)
def test_no_gate_is_wider_than_the_settings_have_it(kind: DriftKind, gate: Gate) -> None:
    order = list(Gate)
    table = GateTable(dict.fromkeys(Operation, gate))
    assert order.index(change(drift(kind), means(gates=table)).gate) >= order.index(gate)


def test_what_the_connector_leaves_to_hands_is_manual_and_says_how() -> None:
    by_hand = replace(means(), hands=lambda c: ["Open Admin.", "Press it."] if c.operation is Op.UPDATE else [])
    login = change(drift(K.STALE_LOGIN), by_hand)
    assert (login.gate, login.hands) == (Gate.MANUAL, ("Open Admin.", "Press it."))
    assert change(drift(K.EXCESS_ENTITLEMENT), by_hand).gate is Gate.AUTO


# --- order -----------------------------------------------------------------------------------------------------------


@st.composite
def many_drifts(draw: st.DrawFn) -> list[Drift]:
    one = st.builds(
        drift,
        st.sampled_from(sorted(CURES)),
        of=st.sampled_from(["1", "2", "3"]),
    )
    departed = st.builds(
        drift, st.just(K.EXCESS_ENTITLEMENT), st.just(ADMIN), of=st.just("2"), cause=st.just(C.DEPARTED)
    )
    return draw(st.lists(one | departed, unique_by=lambda d: d.key, max_size=12))


def planned(drifts: list[Drift]) -> tuple[Change, ...]:
    ids = ("1", "2", "3")
    return make_plan(
        drifts,
        Means({id: account(id) for id in ids}, CATALOGUE, AUTO, creations={f"p{id}": account("") for id in ids}),
    ).changes


@given(many_drifts(), st.randoms(use_true_random=False))
def test_a_plan_does_not_depend_on_the_order_in_which_drift_was_found(drifts: list[Drift], rng: object) -> None:
    mixed = list(drifts)
    rng.shuffle(mixed)  # type: ignore[attr-defined]
    assert planned(mixed) == planned(drifts)


@given(many_drifts())
def test_lock_outs_come_first_then_renames_then_the_rest(drifts: list[Drift]) -> None:
    told = [phase(c) for c in planned(drifts)]
    assert told == sorted(told)
    for one in planned(drifts):
        departed = one.drift.cause is C.DEPARTED
        assert phase(one) == (0 if one.operation is Op.DISABLE or departed else 1 if one.operation is Op.UPDATE else 2)


@given(many_drifts())
def test_what_one_account_needs_in_a_phase_is_done_together(drifts: list[Drift]) -> None:
    runs = [key for key, _ in groupby(planned(drifts), key=lambda c: (phase(c), c.subject))]
    assert len(set(runs)) == len(runs)


@given(many_drifts())
def test_an_account_loses_before_it_gains_and_is_unlocked_before_it_is_given_anything(drifts: list[Drift]) -> None:
    in_order = [Op.DISABLE, Op.REVOKE, Op.REPLACE, Op.CREATE, Op.ENABLE, Op.GRANT]
    by_account: dict[str, list[Operation]] = {}
    for one in planned(drifts):
        by_account.setdefault(one.subject, []).append(one.operation)
    for told in by_account.values():
        matter = [operation for operation in told if operation is not Op.UPDATE]
        assert matter == sorted(matter, key=in_order.index)


# --- fingerprints ----------------------------------------------------------------------------------------------------

ONE = drift(K.EXCESS_ENTITLEMENT)


def test_a_fingerprint_is_pinned_since_another_one_would_void_every_approval() -> None:
    assert change(ONE).fingerprint("looker.acme.example/1") == (
        "1b5cbb41ce4b3a95f3bd0b86f33457423832e7c969635204782b73d9d0ee011e"
    )


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    program = (
        "from tests.core.test_plan import *\n"
        "print(change(drift(K.MISSING_ACCOUNT), means(created=(ANALYST, ADMIN, EVERYWHERE))).fingerprint('i'))"
    )
    told = {
        subprocess.check_output([sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, text=True)
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


DIFFERENT = {
    "another installation": (ONE, means(), "another"),
    "another account": (replace(ONE, account_id="8"), means(), "i"),
    "another entitlement": (drift(K.EXCESS_ENTITLEMENT, ADMIN), means(), "i"),
    "another scope": (drift(K.EXCESS_ENTITLEMENT, Entitlement("role", "5", "g")), means(), "i"),
    "the other direction": (drift(K.MISSING_ENTITLEMENT, cause=C.UNDESERVED), means(), "i"),
    "another cause": (drift(K.EXCESS_ENTITLEMENT, cause=C.LEFT_POLICY), means(), "i"),
    "a departure": (drift(K.EXCESS_ENTITLEMENT, cause=C.DEPARTED), means(), "i"),
    "an account to be made": (drift(K.MISSING_ACCOUNT), means(created=(ANALYST,)), "i"),
    "an account to be made with something else": (drift(K.MISSING_ACCOUNT), means(created=(ADMIN,)), "i"),
    "an account to be made for somebody else": (drift(K.MISSING_ACCOUNT, of="8"), means(of="8"), "i"),
    "a name to be changed": (drift(K.STALE_PROFILE), means(), "i"),
    "a name to be changed to another": (replace(drift(K.STALE_PROFILE), after="newer"), means(), "i"),
    "a name to be changed from another": (replace(drift(K.STALE_PROFILE), before="older"), means(), "i"),
    "another field to be changed": (replace(drift(K.STALE_PROFILE), field="email"), means(), "i"),
    "a value to be set": (drift(K.MISSING_ENTITLEMENT, REGION), means(), "i"),
    "another value to be set": (replace(drift(K.MISSING_ENTITLEMENT, REGION), after="newer"), means(), "i"),
    "a value to be replaced": (drift(K.WRONG_VALUE), means(), "i"),
    "a value to be replaced by another": (replace(drift(K.WRONG_VALUE), after="newer"), means(), "i"),
    "another value to be replaced": (replace(drift(K.WRONG_VALUE), before="older"), means(), "i"),
    "a value to be unset": (drift(K.EXCESS_ENTITLEMENT, REGION), means(), "i"),
    "an account to be made with a value": (drift(K.MISSING_ACCOUNT), means(created=(EMEA,)), "i"),
    "an account to be made with another value": (
        drift(K.MISSING_ACCOUNT),
        means(created=(replace(EMEA, scope="AMER"),)),
        "i",
    ),
    "a lock-out": (drift(K.SUSPENDED_PERSON), means(), "i"),
    "an unlocking": (drift(K.DISABLED_ACCOUNT), means(), "i"),
}


def test_everything_that_matters_about_a_change_is_in_its_fingerprint() -> None:
    told = {name: change(one, how).fingerprint(instance) for name, (one, how, instance) in DIFFERENT.items()}
    assert len({change(ONE).fingerprint("i"), *told.values()}) == len(told) + 1


SAME = {
    "rules that name it": replace(ONE, rules=("analysts",)),
    "details": replace(ONE, detail="x", urgent=True),
    "the name that we have for the target": replace(ONE, target="looker-two"),
    "the kind of drift, where the cause is the same": replace(ONE, kind=K.EXPIRED_ENTITLEMENT),
}


@pytest.mark.parametrize("same", SAME.values(), ids=SAME.keys())
def test_a_fingerprint_does_not_depend_on(same: Drift) -> None:
    assert change(same).fingerprint("i") == change(ONE).fingerprint("i")


def test_a_fingerprint_does_not_depend_on_names_gates_or_the_order_of_what_an_account_comes_with() -> None:
    renamed = replace(
        means(), accounts={"7": replace(account("7"), login="new", profile={"name": "New"})}, catalogue=Catalogue()
    )
    assert change(ONE, renamed).fingerprint("i") == change(ONE).fingerprint("i")
    observed = means(gates=GateTable(dict.fromkeys(Operation, Gate.REVIEW)))
    assert change(ONE, observed).fingerprint("i") == change(ONE).fingerprint("i")
    one, other = (
        change(drift(K.MISSING_ACCOUNT), means(created=held)) for held in ((ANALYST, ADMIN), (ADMIN, ANALYST))
    )
    assert one.fingerprint("i") == other.fingerprint("i")
    assert one.entitlements == (ADMIN.key, ANALYST.key)


def test_a_changes_before_and_after_hold_no_name() -> None:
    made = change(replace(drift(K.STALE_PROFILE), before="Ana Ruiz", after="Ana Sundaram"))
    assert not {"Ana", "Ruiz", "Sundaram"} & {*made.before.split(), *made.after.split()}
    assert made.before != made.after


def test_nor_does_it_hold_a_value_of_an_attribute() -> None:
    told = [
        change(drift(K.MISSING_ACCOUNT), means(created=(EMEA,))),
        *(change(replace(drift(kind, REGION), before="AMER", after="EMEA")) for kind in (*KEYED, K.WRONG_VALUE)),
    ]
    assert not [one for one in told if "EMEA" in one.before + one.after or "AMER" in one.before + one.after]


def test_filters_are_set_before_an_account_is_unlocked_or_given_anything() -> None:
    drifts = [drift(K.MISSING_ENTITLEMENT), drift(K.DISABLED_ACCOUNT), drift(K.MISSING_ENTITLEMENT, REGION)]
    assert [c.drift.entitlement for c in planned([replace(d, account_id="1") for d in drifts])] == [
        REGION, None, ANALYST,
    ]  # fmt: skip
