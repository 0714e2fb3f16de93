"""Drift: every way in which desired and observed differ, and what is never found about anybody."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.drift import (
    ABSENT,
    FORMER,
    HEIR,
    REPLACED,
    Cause,
    Deserts,
    Drift,
    DriftKind,
    Terrain,
    desired_account,
    find_drift,
)
from worker.core.identity import Account, Catalogue, CatalogueItem, Entitlement, Identity, Person, Standing
from worker.core.plan import CURES, TAKING, Operation
from worker.core.policy import Deserved

K, C = DriftKind, Cause
DATA, WEB, OPS, CLUB = (Entitlement("group", name) for name in ("data", "web", "ops", "club"))
GOVERNED = frozenset({DATA, WEB, OPS})
TERRAIN = Terrain("looker", Catalogue(), GOVERNED)
NOBODY = Deserts("ana@acme.example", {"first_name": "Ana"}, {}, frozenset(), {})
ANALYST = replace(NOBODY, given={DATA: ("analysts",)})


def person(
    standing: Standing = Standing.ACTIVE,
    *,
    status: str = "",
    problem: str = "",
    unsure: str = "",
    marked: bool = False,
    disagreements: tuple[str, ...] = (),
) -> Person:
    one = Identity("okta", "00u1", standing, status, "ana@acme.example", "ana@acme.example", {}, problem)
    return Person("ana", standing, (one,), unsure=unsure, departure_marked=marked, disagreements=disagreements)


def account(*held: Entitlement, active: bool = True, id: str = "7", login: str = "ana@acme.example") -> Account:
    return Account(id, login, login, active, {"first_name": "Ana"}, frozenset(held))


def drift(kind: DriftKind, cause: Cause, **more: object) -> Drift:
    facts: dict[str, object] = {"person_id": "ana", "account_id": "7", **more}
    return Drift(kind, "looker", cause, **facts)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """One person in one target, and the whole drift that there is."""

    found: tuple[Drift, ...] = ()
    who: Person = field(default_factory=person)
    primary: Account | None = field(default_factory=lambda: account(DATA))
    secondary: tuple[Account, ...] = ()
    deserts: Deserts = ANALYST
    terrain: Terrain = TERRAIN
    disputed: bool = False


LINGERING = (drift(K.LINGERING_ACCOUNT, C.DEPARTED), drift(K.EXCESS_ENTITLEMENT, C.DEPARTED, entitlement=DATA))
MISSING = (
    drift(K.MISSING_ACCOUNT, C.DESERVED, account_id="", after="ana@acme.example", rules=("analysts",)),
)  # fmt: skip
CLOSED = replace(TERRAIN, catalogue=Catalogue((CatalogueItem("group", "ops", "All Users", closed="built in"),)))
DEPARTED = person(Standing.DEPARTED)

CASES = {
    "active, all is as it should be": Case(),
    "active, an entitlement is missing": Case(
        (drift(K.MISSING_ENTITLEMENT, C.DESERVED, entitlement=DATA, rules=("analysts",)),), primary=account()
    ),
    "active, an entitlement is too much": Case(
        (drift(K.EXCESS_ENTITLEMENT, C.UNDESERVED, entitlement=WEB),), primary=account(DATA, WEB)
    ),
    "active, too much because the policy dropped it": Case(
        (drift(K.EXCESS_ENTITLEMENT, C.LEFT_POLICY, entitlement=WEB),),
        primary=account(DATA, WEB), terrain=replace(TERRAIN, left_policy={WEB}),
    ),
    "active, too much because its rule has ended": Case(
        (drift(K.EXPIRED_ENTITLEMENT, C.EXPIRED, entitlement=WEB, rules=("audit",)),),
        primary=account(DATA, WEB), deserts=replace(ANALYST, expired={WEB: ("audit",)}),
    ),
    "active, its rule has ended and it is not held": Case(deserts=replace(ANALYST, expired={WEB: ("audit",)})),
    "active, too much but a rule that cannot be evaluated names it": Case(
        primary=account(DATA, WEB), deserts=replace(ANALYST, frozen={WEB})
    ),
    "active, lacks what a rule that cannot be evaluated names": Case(deserts=replace(ANALYST, frozen={WEB})),
    "active, holds what the policy never named": Case(primary=account(DATA, CLUB)),
    "active, has no account and deserves something": Case(MISSING, primary=None),
    "active, has no account and deserves nothing": Case(primary=None, deserts=NOBODY),
    "active, has no account and no login to give it": Case(primary=None, deserts=replace(ANALYST, login="")),
    "active, has no account, but perhaps one in dispute": Case(primary=None, disputed=True),
    "active, disputed beside an account that is theirs": Case(disputed=True),
    "active, disabled account, deserves something": Case(
        (drift(K.DISABLED_ACCOUNT, C.DESERVED, rules=("analysts",)),), primary=account(DATA, active=False)
    ),
    "active, disabled account, deserves nothing": Case(primary=account(active=False), deserts=NOBODY),
    "active, another login": Case(
        (drift(K.STALE_LOGIN, C.SOURCE_CHANGED, field="login", before="old@acme.example", after="ana@acme.example"),),
        primary=account(DATA, login="old@acme.example"),
    ),
    "active, the login in other capitals": Case(primary=account(DATA, login="Ana@Acme.example")),
    "active, the login composed otherwise": Case(
        primary=account(DATA, login="zoe\u0308@acme.example"), deserts=replace(ANALYST, login="zo\u00eb@acme.example")
    ),
    "active, the source gives no login": Case(deserts=replace(ANALYST, login="")),
    "active, another first name": Case(
        (drift(K.STALE_PROFILE, C.SOURCE_CHANGED, field="first_name", before="Ana", after="Anna"),),
        deserts=replace(ANALYST, profile={"first_name": "Anna"}),
    ),
    "active, a name that was never set": Case(
        (drift(K.STALE_PROFILE, C.SOURCE_CHANGED, field="name", before="", after="Ana Ruiz"),),
        deserts=replace(ANALYST, profile={"name": "Ana Ruiz"}),
    ),
    "active, the source gives no first name": Case(deserts=replace(ANALYST, profile={"first_name": ""})),
    "active, an e-mail in other capitals": Case(
        primary=replace(account(DATA), profile={"email": "ANA@acme.example"}),
        deserts=replace(ANALYST, profile={"email": "ana@acme.example"}),
    ),
    "active, a name in other capitals": Case(
        (drift(K.STALE_PROFILE, C.SOURCE_CHANGED, field="first_name", before="Ana", after="ANA"),),
        deserts=replace(ANALYST, profile={"first_name": "ANA"}),
    ),
    "active, a second account holds too much": Case(
        (drift(K.EXCESS_ENTITLEMENT, C.UNDESERVED, account_id="8", entitlement=WEB),),
        secondary=(account(DATA, WEB, id="8"),),
    ),
    "active, a second account lacks what is deserved": Case(secondary=(account(id="8", active=False, login="x"),)),
    "active but unsure, holds too much and lacks something": Case(
        (drift(K.MISSING_ENTITLEMENT, C.DESERVED, entitlement=DATA, rules=("analysts",)),),
        who=person(unsure="entra could not be read whole"), primary=account(WEB), secondary=(account(WEB, id="8"),),
    ),
    "active at the source, but marked as departed here": Case(who=person(marked=True), primary=account(WEB)),
    "active at the source, marked as departed here, no account": Case(who=person(marked=True), primary=None),
    "active, their account is never touched": Case(
        primary=account(WEB, login="x"), terrain=replace(TERRAIN, bystanders={"7"})
    ),
    "active, their second account is never touched": Case(
        secondary=(account(WEB, id="8"),), terrain=replace(TERRAIN, bystanders={"8"})
    ),
    "departed": Case(LINGERING, who=DEPARTED),
    "departed, marked too": Case(LINGERING, who=person(Standing.DEPARTED, marked=True)),
    "departed, disabled already": Case(LINGERING[1:], who=DEPARTED, primary=account(DATA, active=False)),
    "departed, nothing left": Case(who=DEPARTED, primary=account(active=False)),
    "departed, a receipt said that they were out": Case(
        (drift(K.RETURNED_LEAVER, C.DEPARTED), LINGERING[1]), who=DEPARTED, terrain=replace(TERRAIN, watched={"ana"})
    ),
    "departed, a receipt said so of somebody else": Case(
        LINGERING, who=DEPARTED, terrain=replace(TERRAIN, watched={"ben"})
    ),
    "departed, no account": Case(who=DEPARTED, primary=None),
    "departed, holds what the policy never named": Case(
        (LINGERING[0], drift(K.EXCESS_ENTITLEMENT, C.DEPARTED, entitlement=CLUB)), who=DEPARTED, primary=account(CLUB)
    ),
    "departed, holds what a rule that cannot be evaluated names": Case(
        LINGERING, who=DEPARTED, deserts=replace(NOBODY, frozen={DATA})
    ),
    "departed, holds what no API can revoke": Case(LINGERING[:1], who=DEPARTED, primary=account(OPS), terrain=CLOSED),
    "departed, a second account": Case(
        (*LINGERING, drift(K.LINGERING_ACCOUNT, C.DEPARTED, account_id="8")),
        who=DEPARTED, secondary=(account(id="8"),),
    ),
    "departed, only a second account": Case(
        (drift(K.LINGERING_ACCOUNT, C.DEPARTED, account_id="8"),),
        who=DEPARTED, primary=None, secondary=(account(id="8"),),
    ),
    "departed, but a source could not be read whole": Case(who=person(Standing.DEPARTED, unsure="cut short")),
    "departed, their account is never touched": Case(
        LINGERING[:1], who=DEPARTED, terrain=replace(TERRAIN, bystanders={"7"})
    ),
    "departed, their account is never touched and disabled": Case(
        who=DEPARTED, primary=account(DATA, active=False), terrain=replace(TERRAIN, bystanders={"7"})
    ),
    "suspended": Case((drift(K.SUSPENDED_PERSON, C.SUSPENDED),), who=person(Standing.SUSPENDED)),
    "suspended, holds too much and lacks something": Case(
        (drift(K.SUSPENDED_PERSON, C.SUSPENDED),), who=person(Standing.SUSPENDED), primary=account(WEB)
    ),
    "suspended, disabled already": Case(who=person(Standing.SUSPENDED), primary=account(DATA, active=False)),
    "suspended, a second account": Case(
        (drift(K.SUSPENDED_PERSON, C.SUSPENDED, account_id="8"),),
        who=person(Standing.SUSPENDED), primary=account(active=False), secondary=(account(id="8"),),
    ),
    "suspended, and the settings say to ignore it": Case(
        who=person(Standing.SUSPENDED), terrain=replace(TERRAIN, suspended_means_disabled=False)
    ),
    "suspended, but a source could not be read whole": Case(who=person(Standing.SUSPENDED, unsure="cut short")),
    "suspended, their account is never touched": Case(
        who=person(Standing.SUSPENDED), terrain=replace(TERRAIN, bystanders={"7"})
    ),
    "on hold": Case(
        (drift(K.HELD_PERSON, C.NOT_EVALUABLE, detail="status ACTIVATING is unknown"),),
        who=person(Standing.HOLD, problem="status ACTIVATING is unknown"), primary=account(WEB, login="x"),
    ),
    "on hold, no account": Case(who=person(Standing.HOLD), primary=None),
    "absent from the source": Case(
        (drift(K.ABSENT_PERSON, C.ABSENT),), who=person(Standing.HOLD, status=ABSENT), primary=account(DATA, WEB)
    ),
    "absent from the source, where another has the login now": Case(
        (drift(K.ABSENT_PERSON, C.ABSENT, detail=HEIR),),
        who=person(Standing.HOLD, status=REPLACED), primary=account(WEB),
    ),
    "absent from the source, disabled already": Case(
        who=person(Standing.HOLD, status=ABSENT), primary=account(WEB, active=False)
    ),
    "absent, but a source could not be read whole": Case(who=person(Standing.HOLD, status=ABSENT, unsure="cut short")),
    "absent, their account is never touched": Case(
        who=person(Standing.HOLD, status=ABSENT), terrain=replace(TERRAIN, bystanders={"7"})
    ),
    "absent, known only from what is no source any more": Case(
        (drift(K.ABSENT_PERSON, C.ABSENT, detail="known only from okta"),),
        who=person(Standing.HOLD, status=FORMER, problem="known only from okta"), primary=account(WEB),
    ),
    "active, but another source says departed": Case(
        (drift(K.SOURCES_DISAGREE, C.DISAGREEMENT, detail="entra says departed"),),
        who=person(disagreements=("entra says departed",)),
    ),
    "active by one source, and in no target": Case(
        who=person(disagreements=("entra says departed",)), primary=None, deserts=NOBODY
    ),
    "active by one source, with a disabled account": Case(
        who=person(disagreements=("entra says departed",)), primary=account(active=False), deserts=NOBODY
    ),
    "on hold, since its sources do not agree": Case(
        (
            drift(K.HELD_PERSON, C.NOT_EVALUABLE, detail="hr says active, entra says departed"),
            drift(K.SOURCES_DISAGREE, C.DISAGREEMENT, detail="hr says active, entra says departed"),
        ),
        who=person(Standing.HOLD, disagreements=("hr says active, entra says departed",)),
    ),
    "not yet started": Case(who=person(Standing.PENDING), primary=None),
    "not yet started, has an account already": Case(
        who=person(Standing.PENDING), primary=account(WEB, active=False, login="x")
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_somebody_who_is(case: Case) -> None:
    found = find_drift(
        case.who, case.primary, case.secondary, case.deserts, case.terrain, disputed=case.disputed
    )  # fmt: skip
    assert tuple(found) == case.found


def test_the_table_has_every_kind_that_one_person_can_have() -> None:
    found_elsewhere = {K.ORPHAN, K.DISPUTED, K.UNEVALUABLE_RULE, K.WRONG_VALUE, K.HELD_VALUE, K.DISPUTED_PERSON}
    assert {d.kind for case in CASES.values() for d in case.found} == set(K) - found_elsewhere


def test_deserts_are_the_part_of_a_policys_answer_that_concerns_one_target() -> None:
    deserved = Deserved(
        given={"looker": {DATA: ("analysts",)}, "teamcity": {OPS: ("releases",)}},
        frozen={"looker": {WEB: "web team"}},
        expired={"looker": {CLUB: ("audit", date(2026, 6, 30))}, "teamcity": {DATA: ("old", date(2026, 1, 1))}},
    )
    here = Deserts.of(deserved, "looker", "ana", {})
    assert here == Deserts("ana", {}, {DATA: ("analysts",)}, frozenset({WEB}), {CLUB: ("audit",)})
    assert Deserts.of(deserved, "elsewhere", "ana", {}) == Deserts("ana", {}, {}, frozenset(), {})


def test_a_drift_is_the_same_from_run_to_run_whatever_its_details() -> None:
    one = drift(K.EXCESS_ENTITLEMENT, C.UNDESERVED, entitlement=DATA)
    assert one.key == replace(one, cause=C.LEFT_POLICY, rules=("x",), before="y", detail="z").key
    others = [
        replace(one, entitlement=WEB), replace(one, account_id="8"), replace(one, kind=K.EXPIRED_ENTITLEMENT),
        replace(one, target="teamcity"), drift(K.STALE_PROFILE, C.SOURCE_CHANGED, field="name"),
    ]  # fmt: skip
    assert len({one.key, *(other.key for other in others)}) == 6


# --- laws ------------------------------------------------------------------------------------------------------------

HELD = st.frozensets(st.sampled_from([DATA, WEB, OPS, CLUB, Entitlement("role", "all-users")]))
TEXT = st.sampled_from(["", "ana", "Ana", "zo\u00eb", "bea"])
CATALOGUE = Catalogue((CatalogueItem("role", "all-users", "All Users", closed="built in"),))


@st.composite
def accounts(draw: st.DrawFn, id: str) -> Account:
    profile = draw(st.dictionaries(st.sampled_from(["email", "name"]), TEXT))
    return Account(id, draw(TEXT), draw(TEXT), draw(st.booleans()), profile, draw(HELD))


@st.composite
def situations(draw: st.DrawFn, standings: Collection[Standing] = tuple(Standing)) -> Case:
    who = person(
        draw(st.sampled_from(sorted(standings))),
        status=draw(st.sampled_from(["", ABSENT])),
        unsure=draw(st.sampled_from(["", "cut short"])),
        marked=draw(st.booleans()),
    )
    given_ = draw(HELD)
    frozen = draw(HELD) - given_
    expired = draw(HELD) - given_ - frozen
    deserts = Deserts(
        draw(TEXT),
        draw(st.dictionaries(st.sampled_from(["email", "name"]), TEXT)),
        dict.fromkeys(given_, ("rule",)),
        frozen,
        dict.fromkeys(expired, ("ended",)),
    )
    governed = draw(HELD) | given_
    terrain = Terrain(
        "looker",
        CATALOGUE,
        governed,
        draw(HELD) - given_,
        draw(st.booleans()),
        draw(st.frozensets(st.sampled_from(["7", "8"]))),
    )
    primary = draw(st.none() | accounts("7"))
    secondary = tuple(draw(st.lists(accounts("8"), max_size=1)))
    return Case((), who, primary, secondary, deserts, terrain, draw(st.booleans()))


def drift_of(case: Case) -> list[Drift]:
    return list(
        find_drift(case.who, case.primary, case.secondary, case.deserts, case.terrain, disputed=case.disputed)
    )  # fmt: skip


def cured(account: Account, drifts: Iterable[Drift]) -> Account:
    """The account after the one cure of each drift."""
    for one in drifts:
        match CURES[one.kind]:
            case Operation.DISABLE:
                account = replace(account, active=False)
            case Operation.ENABLE:
                account = replace(account, active=True)
            case Operation.UPDATE if one.field == "login":
                account = replace(account, login=one.after)
            case Operation.UPDATE:
                account = replace(account, profile={**account.profile, one.field: one.after})
            case Operation.REVOKE:
                assert one.entitlement in account.entitlements
                account = replace(account, entitlements=account.entitlements - {one.entitlement})
            case Operation.GRANT:
                assert one.entitlement is not None
                assert one.entitlement not in account.entitlements
                account = replace(account, entitlements=account.entitlements | {one.entitlement})
            case Operation.CREATE:
                raise AssertionError("nobody with an account gets another")
    return account


def taking(drifts: Iterable[Drift]) -> list[Drift]:
    return [one for one in drifts if CURES.get(one.kind) in TAKING]


@given(situations())
def test_when_every_cure_is_applied_nothing_is_left_to_cure(case: Case) -> None:
    found = [one for one in drift_of(case) if one.kind in CURES]
    if case.primary is None and any(one.kind is K.MISSING_ACCOUNT for one in found):
        primary: Account | None = replace(
            desired_account(case.deserts, case.terrain.catalogue), id="7", entitlements=frozenset(case.deserts.given)
        )
    else:
        primary = case.primary and cured(case.primary, [one for one in found if one.account_id == "7"])
    second = tuple(cured(one, [d for d in found if d.account_id == one.id]) for one in case.secondary)
    after = drift_of(replace(case, primary=primary, secondary=second))
    assert [one for one in after if one.kind in CURES] == []


@given(situations([Standing.ACTIVE]))
def test_whoever_has_what_they_deserve_and_things_nobody_governs_has_no_drift(case: Case) -> None:
    desired = desired_account(case.deserts, case.terrain.catalogue)
    ungoverned = frozenset({CLUB}) - set(case.terrain.governed)
    observed = replace(desired, id="7", entitlements=frozenset(case.deserts.given) | ungoverned)
    assert drift_of(replace(case, primary=observed, secondary=())) == []


@given(situations())
def test_nothing_is_taken_from_whoever_is_unsure_on_hold_or_not_yet_started(case: Case) -> None:
    who = case.who
    absent = any(one.status in (ABSENT, REPLACED) for one in who.identities)
    if who.unsure or who.standing is Standing.PENDING or (who.standing is Standing.HOLD and not absent):
        assert taking(drift_of(case)) == []


@given(situations([Standing.HOLD, Standing.PENDING, Standing.SUSPENDED, Standing.DEPARTED]))
def test_nothing_is_given_to_whoever_is_not_active(case: Case) -> None:
    assert [one for one in drift_of(case) if one.kind in CURES and CURES[one.kind] not in TAKING] == []


@given(situations())
def test_nothing_is_given_to_whoever_is_marked_as_departed(case: Case) -> None:
    found = drift_of(replace(case, who=replace(case.who, departure_marked=True)))
    assert [one for one in found if one.kind in CURES and CURES[one.kind] not in TAKING] == []


@given(situations())
def test_only_the_departed_lose_what_is_ungoverned_frozen_or_deserved(case: Case) -> None:
    if case.who.standing is not Standing.DEPARTED:
        kept = {*case.deserts.given, *case.deserts.frozen}
        for one in taking(drift_of(case)):
            assert one.entitlement is None or one.entitlement in set(case.terrain.governed) - kept


@given(situations())
def test_of_an_account_that_is_never_touched_only_a_departure_is_told(case: Case) -> None:
    told = {one.kind for one in drift_of(case) if one.account_id in case.terrain.bystanders}
    assert told <= ({K.LINGERING_ACCOUNT} if case.who.standing is Standing.DEPARTED else set())


@given(situations())
def test_nobody_disputed_and_nobody_with_an_account_gets_another(case: Case) -> None:
    missing = [one for one in drift_of(case) if one.kind is K.MISSING_ACCOUNT]
    assert not missing or (case.primary is None and not case.disputed)


@given(situations())
def test_no_two_drifts_of_a_person_have_one_key(case: Case) -> None:
    keys = [one.key for one in drift_of(case)]
    assert len(set(keys)) == len(keys)
