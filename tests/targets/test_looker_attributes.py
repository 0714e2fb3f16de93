"""User attributes of a Looker: what is read of them, the one call that sets or unsets a value, and how it can fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.targets.looker_company import (
    ANN,
    BOB,
    EMBED,
    REPORTS,
    connected,
    do,
    group,
    newcomer,
    on,
    role,
    sandbox,
    seen,
    shown,
    stage,
    task,
)  # fmt: skip
from worker.core.identity import CatalogueItem, Definition, Entitlement, GroupValue
from worker.core.plan import Operation
from worker.errors import Misshapen, Moved, Refused, Rejected, Unknown
from worker.ports import Asked, Outcome, Part, Piece, Step, TargetPage, Task
from worker.sandbox.looker import LookerSandbox
from worker.targets.looker import Looker, reading

__all__ = ["sandbox", "stage"]  # fixtures

DECLARED = {
    "region": {"allow": ["EMEA", "AMER"], "when_missing": "hold"},
    "level": {"pattern": "[0-9]+", "when_missing": "hold"},
}
EMEA, AMER = (Entitlement("attribute", "30", value) for value in ("EMEA", "AMER"))
LEVEL = Entitlement("attribute", "31", "7")
SET, REPLACE, CLEAR = task(Operation.GRANT, EMEA), task(Operation.REPLACE, EMEA), task(Operation.REVOKE, AMER)


@pytest.fixture
def target(sandbox: LookerSandbox) -> Iterator[Looker]:
    with connected(sandbox, attributes=DECLARED) as connector:
        connector.instance()
        yield connector


def mutations(sandbox: LookerSandbox) -> list[str]:
    return [f"{e.method} {e.path.removeprefix('/api/4.0')}" for e in sandbox.log]


# --- reading ---------------------------------------------------------------------------------------------------------


def catalogue(target: Looker, asked: Asked) -> dict[str, CatalogueItem]:
    """Attributes by name."""
    own = target.instance().own_account
    (first,) = target.parts(asked)
    piece = target.read(Part(reading.TREE, {"own": own, **first.args}))
    items = [item for page in piece.pages if isinstance(page, TargetPage) for item in page.catalogue]
    return {item.name: item for item in items if item.kind == "attribute"}


def test_attributes_are_in_the_catalogue_with_what_groups_and_defaults_give(target: Looker) -> None:
    found = catalogue(target, Asked(frozenset({"region"})))
    assert found["region"].definition == Definition(
        "string",
        "NONE",
        (GroupValue(1, "11", "EMEA"), GroupValue(2, "10", "AMER"), GroupValue(2, "11", "AMER", inherited=True)),
    )
    assert found["level"] == CatalogueItem("attribute", "31", "level"), "not asked for, and so not looked into"
    assert found["locale"].closed == "it is one of Looker's own"


def test_an_attribute_is_asked_for_by_its_id_too(target: Looker) -> None:
    assert catalogue(target, Asked(ids=frozenset({"31"})))["level"].definition == Definition("number")


def test_a_group_that_everybody_is_in_gives_its_value_to_everybody(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.set_group_values("level", All_Users="1")
    definition = catalogue(target, Asked(frozenset({"level"})))["level"].definition
    assert definition
    assert [(one.value, one.everybody) for one in definition.groups] == [("1", True)]


def test_nothing_is_said_of_the_values_of_a_hidden_attribute(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.add_attribute("secret", default="hush", hidden=True)
    sandbox.set_group_values("secret", Platform="hush")
    found = catalogue(target, Asked(frozenset({"secret"})))["secret"]
    assert found.closed == "its values are hidden, so nobody could tell whether they are right"
    assert found.definition == Definition("string", readable=False)
    assert not [path for path in sandbox.reads if "group_values" in path]


def test_an_attribute_that_people_can_edit_is_closed_unless_the_settings_accept_it(sandbox: LookerSandbox) -> None:
    sandbox.add_attribute("desk", user_can_edit=True)
    for said, closed in (("refuse", True), ("accept", False)):
        declared = {"desk": {"allow": ["a"], "when_missing": "hold", "editable": said}}
        with connected(sandbox, attributes=declared) as target:
            assert bool(catalogue(target, Asked(frozenset({"desk"})))["desk"].closed) is closed


def test_a_policy_without_attributes_costs_no_call(target: Looker, sandbox: LookerSandbox) -> None:
    before = dict(sandbox.reads)
    own = target.instance().own_account
    (first,) = target.parts()
    target.read(Part(reading.TREE, {"own": own, **first.args}))
    assert not [path for path in sandbox.reads if "attribute" in path and path not in before]


def swept(target: Looker, *accounts: str, attributes: Sequence[str] = ("30", "31")) -> Piece:
    (part,) = target.sweep(accounts, attributes)
    return target.read(part)


def test_own_values_are_read_account_by_account_and_group_values_are_none_of_them(
    target: Looker, sandbox: LookerSandbox
) -> None:
    sandbox.set_value(ANN, "region", "AMER")
    sandbox.set_value(BOB, "level", "7")
    (page,) = swept(target, ANN, BOB).pages
    assert isinstance(page, TargetPage)
    assert set(page.holdings) == {(ANN, AMER), (BOB, LEVEL)}
    assert set(page.valued) == {(id, attribute) for id in (ANN, BOB) for attribute in ("30", "31")}


def test_an_empty_value_is_a_value(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.set_value(ANN, "region", "")
    (page,) = swept(target, ANN).pages
    assert isinstance(page, TargetPage)
    assert page.holdings == [(ANN, Entitlement("attribute", "30"))]


def test_values_are_read_in_handfuls(target: Looker) -> None:
    many = [str(n) for n in range(45)]
    handfuls = [part.args["accounts"] for part in target.sweep(many, ["30"])]
    assert [len(some) for some in handfuls] == [20, 20, 5]
    assert [id for some in handfuls for id in some] == many


def test_a_value_that_became_hidden_is_not_known(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.set_value(ANN, "region", "AMER")
    sandbox.instance.attributes["30"].hidden = True
    (page,) = swept(target, ANN).pages
    assert isinstance(page, TargetPage)
    assert (page.holdings, page.valued) == ([], [(ANN, "31")])


@pytest.mark.parametrize("gone", ["the account", "the attribute"])
def test_what_went_away_meanwhile_has_the_read_begun_anew(target: Looker, sandbox: LookerSandbox, gone: str) -> None:
    if gone == "the account":
        sandbox.delete_user(ANN)
    else:
        del sandbox.instance.attributes["31"]
    with pytest.raises(Moved):
        swept(target, ANN)


def test_a_value_of_unknown_origin_stops_the_read(target: Looker, sandbox: LookerSandbox) -> None:
    row = '{"user_attribute_id":"30","source":"oracle","value":"EMEA","value_is_hidden":false}'
    fault = sandbox.break_("GET */attribute_values", "misshapen", text=f"[{row}]")
    with pytest.raises(Misshapen, match="oracle"):
        swept(target, ANN, attributes=["30"])
    assert fault.fired


def test_an_account_is_shown_with_its_values(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.set_value(ANN, "region", "AMER")
    account = seen(target, ANN)
    assert AMER in account.entitlements
    assert set(account.known) == {"30", "31"}
    assert (account.own("30"), account.own("31")) == ("AMER", None)


def test_check_says_what_is_wrong_with_declared_attributes(sandbox: LookerSandbox) -> None:
    sandbox.add_attribute("desk", user_can_edit=True)
    sandbox.add_attribute("secret", hidden=True)
    any_ = {"allow": ["a"], "when_missing": "hold"}
    declared = {
        "region": any_, "regoin": any_, "locale": any_, "secret": any_, "desk": {**any_, "editable": "accept"},
    }  # fmt: skip
    with connected(sandbox, attributes=declared) as target:
        told = [notice for notice in target.probe() if "attribute" in notice.text]
    assert [notice.text for notice in told] == [
        "There is no user attribute regoin.",
        "User attribute locale cannot be given: it is one of Looker's own.",
        "User attribute secret cannot be given: its values are hidden, so nobody could tell whether they are right.",
        "People can change their value of user attribute desk themselves, and so what they see; Trueup only sets it"
        " right again.",
    ]
    assert all(notice.fix and not notice.fatal for notice in told)


# --- changing --------------------------------------------------------------------------------------------------------

VALUE_30, VALUE_31 = f"/users/{ANN}/attribute_values/30", f"/users/{ANN}/attribute_values/31"
CHANGES: Mapping[str, tuple[Mapping[str, str], Sequence[Task], Sequence[str], Mapping[str, str]]] = {
    "a value is set": ({}, [SET], [f"PATCH {VALUE_30}"], {"region": "EMEA"}),
    "a value is replaced in one call": ({"region": "AMER"}, [REPLACE], [f"PATCH {VALUE_30}"], {"region": "EMEA"}),
    "an empty value is replaced": ({"region": ""}, [REPLACE], [f"PATCH {VALUE_30}"], {"region": "EMEA"}),
    "a value is unset": ({"region": "AMER"}, [CLEAR], [f"DELETE {VALUE_30}"], {}),
    "filters are set before anything is given": (
        {"region": "AMER"},
        [task(Operation.GRANT, role("4")), task(Operation.GRANT, group("12")), REPLACE, task(Operation.GRANT, LEVEL)],
        [f"PATCH {VALUE_30}", f"PATCH {VALUE_31}", f"PUT /users/{ANN}/roles", "POST /groups/12/users"],
        {"region": "EMEA", "level": "7"},
    ),
    "a filter ends after what it filtered, and before anything is given": (
        {"region": "AMER"},
        [
            task(Operation.GRANT, role("4")), task(Operation.REVOKE, role("3")), task(Operation.REVOKE, group("11")),
            task(Operation.GRANT, group("12")), CLEAR,
        ],
        [
            f"PUT /users/{ANN}/roles", f"DELETE /groups/11/users/{ANN}", f"DELETE {VALUE_30}",
            f"PUT /users/{ANN}/roles", "POST /groups/12/users",
        ],
        {},
    ),
    "a leaver is locked out and stripped before the filter ends": (
        {"region": "AMER"},
        [CLEAR, task(Operation.REVOKE, role("3")), task(Operation.DISABLE)],
        [f"PATCH /users/{ANN}", f"PUT /users/{ANN}/roles", f"DELETE {VALUE_30}"],
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_a_value_takes_these_calls_and_no_more(target: Looker, sandbox: LookerSandbox, name: str) -> None:
    before, tasks, calls, after = CHANGES[name]
    for attribute, value in before.items():
        sandbox.set_value(ANN, attribute, value)
    account = seen(target, ANN)
    assert {m.outcome for m in do(target, account, *tasks)} == {Outcome.APPLIED}
    assert mutations(sandbox) == calls
    assert shown(sandbox, ANN)["attributes"] == after
    again = do(target, seen(target, ANN), *tasks)
    assert {m.outcome for m in again} == {Outcome.ALREADY_SO}
    assert mutations(sandbox) == calls


def test_an_account_to_be_unlocked_has_its_filter_first(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.disable(ANN)
    do(target, seen(target, ANN), task(Operation.ENABLE), SET)
    assert mutations(sandbox) == [f"PATCH {VALUE_30}", f"PATCH /users/{ANN}"]


def test_a_new_account_has_its_filters_before_anybody_can_log_in_to_it(target: Looker, sandbox: LookerSandbox) -> None:
    made = do(target, newcomer(role("3"), EMEA, group("11"), LEVEL), task(Operation.CREATE))
    id = made[0].account_id
    assert mutations(sandbox) == [
        "POST /users", f"PATCH /users/{id}/attribute_values/30", f"PATCH /users/{id}/attribute_values/31",
        f"POST /users/{id}/credentials_email", f"PUT /users/{id}/roles", "POST /groups/11/users",
    ]  # fmt: skip
    assert shown(sandbox, id)["attributes"] == {"region": "EMEA", "level": "7"}


def step_of(target: Looker, one: Task) -> Step:
    (step,) = target.steps(seen(target, ANN), [one])
    return step


def test_no_sentence_of_a_step_holds_a_value(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.set_value(ANN, "region", "AMER")
    created = target.steps(newcomer(EMEA), [task(Operation.CREATE)])
    for step in [*created, step_of(target, REPLACE), step_of(target, CLEAR)]:
        assert not {"EMEA", "AMER"} & set(step.sentence.split())


@pytest.mark.parametrize("one", [SET, CLEAR], ids=["set", "unset"])
def test_a_value_that_is_not_the_one_the_plan_saw_stays(target: Looker, sandbox: LookerSandbox, one: Task) -> None:
    if one is CLEAR:
        sandbox.set_value(ANN, "region", "AMER")
    step = step_of(target, one)
    sandbox.set_value(ANN, "region", "APAC")
    with pytest.raises(Refused, match="not the one that the plan saw") as caught:
        target.apply(step)
    assert "APAC" not in str(caught.value)
    assert sandbox.own_value(ANN, "region") == "APAC"


def test_what_somebody_else_did_meanwhile_is_already_so(target: Looker, sandbox: LookerSandbox) -> None:
    step = step_of(target, SET)
    sandbox.set_value(ANN, "region", "EMEA")
    assert target.apply(step).outcome is Outcome.ALREADY_SO
    assert mutations(sandbox) == []


CLOSED: Mapping[str, Mapping[str, Any]] = {
    "hidden": {"hidden": True},
    "one of Looker's own": {"system": True},
    "of another type": {"type": "number"},
    "of a type that nobody knows": {"type": "colour"},
}


@pytest.mark.parametrize("how", CLOSED)
def test_an_attribute_that_changed_under_the_plan_is_not_set(target: Looker, sandbox: LookerSandbox, how: str) -> None:
    step = step_of(target, SET)
    sandbox.instance.attributes["30"] = replace(sandbox.instance.attributes["30"], **CLOSED[how])
    with pytest.raises(Refused) as caught:
        target.apply(step)
    assert "EMEA" not in str(caught.value)
    assert mutations(sandbox) == []


def test_an_attribute_that_is_gone_is_not_set(target: Looker, sandbox: LookerSandbox) -> None:
    step = step_of(target, SET)
    del sandbox.instance.attributes["30"]
    with pytest.raises(Refused, match="does not exist any more"):
        target.apply(step)


@pytest.mark.parametrize("id", [REPORTS, EMBED])
def test_no_value_of_somebody_untouchable_is_set(target: Looker, sandbox: LookerSandbox, id: str) -> None:
    step = replace(step_of(target, SET), account_id=id)
    with pytest.raises(Refused, match="never touched"):
        target.apply(step)
    assert mutations(sandbox) == []


def test_what_looker_refuses_is_told_without_the_value(target: Looker, sandbox: LookerSandbox) -> None:
    step = step_of(target, SET)
    fault = sandbox.break_("PATCH *", "status", status=422, text='{"message": "EMEA is not among the values"}')
    with pytest.raises(Rejected, match="is not among the values") as caught:
        target.apply(step)
    assert fault.fired
    assert "EMEA" not in str(caught.value)


FATES = {
    "it arrived": ("drop-after", SET, {}, Outcome.FOUND_APPLIED),
    "it did not arrive": ("drop", SET, {}, Outcome.FOUND_NOT_APPLIED),
    "the replacement arrived": ("drop-after", REPLACE, {"region": "AMER"}, Outcome.FOUND_APPLIED),
    "the replacement did not arrive": ("drop", REPLACE, {"region": "AMER"}, Outcome.FOUND_NOT_APPLIED),
    "the end arrived": ("drop-after", CLEAR, {"region": "AMER"}, Outcome.FOUND_APPLIED),
    "the end did not arrive": ("drop", CLEAR, {"region": "AMER"}, Outcome.FOUND_NOT_APPLIED),
}


@pytest.mark.parametrize("fate", FATES)
def test_what_became_of_a_lost_call_is_found_out_without_another(
    target: Looker, sandbox: LookerSandbox, fate: str
) -> None:
    kind, one, before, outcome = FATES[fate]
    for attribute, value in before.items():
        sandbox.set_value(ANN, attribute, value)
    step = step_of(target, one)
    fault = sandbox.break_("[PD]* */attribute_values/*", kind, times=1)
    with pytest.raises(Unknown):
        target.apply(step)
    assert fault.fired
    sent = mutations(sandbox)
    assert target.settled(step).outcome is outcome
    assert mutations(sandbox) == sent


def test_a_value_that_is_answered_for_and_not_there_is_no_success(target: Looker, sandbox: LookerSandbox) -> None:
    step = step_of(target, SET)
    fault = sandbox.break_("PATCH *", "status", status=200, text="{}", headers={"content-type": "application/json"})
    with pytest.raises(Rejected, match="and yet it is not so"):
        target.apply(step)
    assert fault.fired


def test_the_steps_of_a_creation_find_the_account_that_was_made(target: Looker, sandbox: LookerSandbox) -> None:
    steps = target.steps(newcomer(EMEA), [task(Operation.CREATE)])
    id = target.apply(steps[0]).account_id
    assert target.settled(steps[0]).account_id == id, "an account with values alone is still the empty one"
    target.apply(on(steps[1], id))
    assert target.settled(steps[0]).account_id == id
    assert sandbox.own_value(id, "region") == "EMEA"
