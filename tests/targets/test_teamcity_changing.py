"""TeamCity is changed by one small call at a time, by id, looked at before and after; its traps are met one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.targets.teamcity_company import (
    ANA,
    BEN,
    CEM,
    DAN,
    MARK,
    NEWCOMER,
    OLD,
    company,
    connected,
    sandbox,
    target,
)
from worker.core.identity import Account, Entitlement
from worker.core.plan import Operation
from worker.errors import Denied, Refused, Rejected, Unavailable, Unknown
from worker.ports import Line, Made, Outcome, Step, Task
from worker.sandbox.server import Exchange
from worker.sandbox.teamcity import ALL_USERS, RECONCILER_PERMISSIONS, TeamCitySandbox
from worker.sandbox.teamcity.world import GUEST_ID
from worker.targets.teamcity import TeamCity

__all__ = ["sandbox", "target"]  # fixtures

QA = Entitlement("group", "QA")


def seen(target: TeamCity, id: int) -> Account:
    account = target.account(str(id))
    assert account is not None
    return account


def steps(target: TeamCity, id: int, operation: Operation, **how: object) -> Sequence[Step]:
    return target.steps(seen(target, id), [Task("t1", operation, **how)])  # type: ignore[arg-type]


def done(target: TeamCity, all_steps: Sequence[Step]) -> list[Made]:
    results = []
    for step in all_steps:
        while True:
            results.append(target.apply(step))
            if not results[-1].again:
                break
    return results


def calls(sandbox: TeamCitySandbox) -> list[str]:
    return [f"{e.method} {e.path.removeprefix('/app/rest')}" for e in sandbox.log]


# --- suspending ---


def test_a_suspension_shuts_every_door_and_then_says_so(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    done(target, steps(target, ANA, Operation.DISABLE))
    assert calls(sandbox) == [
        f"DELETE /users/id:{ANA}/tokens/ci 2",
        f"DELETE /users/id:{ANA}/tokens/laptop",
        f"DELETE /users/id:{ANA}/password",
        f"DELETE /users/id:{ANA}/groups/key:DEV",
        f"DELETE /users/id:{ANA}/groups/key:QA",
        f"DELETE /users/id:{ANA}/roles/PROJECT_DEVELOPER/p:Web",
        f"DELETE /users/id:{ANA}/roles/PROJECT_VIEWER/g",
        f"POST /users/id:{ANA}/logout",
        f"DELETE /users/id:{ANA}/debug/rememberMe",
        f"PUT /users/id:{ANA}/properties/{MARK}",
    ]
    left = sandbox.state()["users"][str(ANA)]
    assert (left["roles"], left["groups"], left["tokens"], left["has_password"]) == ([], [ALL_USERS], [], False)
    assert not seen(target, ANA).active


def test_the_sessions_of_a_suspended_account_are_gone(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    sandbox.sso_login(ANA, ["DEV"])
    done(target, steps(target, ANA, Operation.DISABLE))
    left = sandbox.state()["users"][str(ANA)]
    assert (left["sessions"], left["remembered"]) == (0, False)


def test_tokens_go_one_by_one_and_each_says_whether_more_remain(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    [step] = [s for s in steps(target, ANA, Operation.DISABLE) if s.verb == "delete_tokens"]
    results = [target.apply(step) for _ in range(3)]
    assert [(m.outcome, m.again) for m in results] == [
        (Outcome.APPLIED, True),
        (Outcome.APPLIED, False),
        (Outcome.ALREADY_SO, False),
    ]
    assert len(sandbox.log) == 2


def test_tokens_that_remain_after_a_lost_answer_are_not_settled(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    [step] = [s for s in steps(target, ANA, Operation.DISABLE) if s.verb == "delete_tokens"]
    fault = sandbox.break_("DELETE *", "drop-after", times=1)
    with pytest.raises(Unknown):
        target.apply(step)
    assert fault.fired
    assert target.settled(step).outcome is Outcome.FOUND_NOT_APPLIED
    assert target.apply(step).again is False


def test_a_token_that_is_refused_is_told(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    [step] = [s for s in steps(target, ANA, Operation.DISABLE) if s.verb == "delete_tokens"]
    fault = sandbox.break_("DELETE *", "status", status=400, text="no", times=1)
    with pytest.raises(Rejected):
        target.apply(step)
    assert fault.fired


def test_a_token_that_no_address_can_name_is_left_for_a_human_after_all_others(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    sandbox.add_token(ANA, "a/b")
    [step] = [s for s in steps(target, ANA, Operation.DISABLE) if s.verb == "delete_tokens"]
    with pytest.raises(Rejected, match=r"'a/b' .* Delete it in the profile"):
        done(target, [step])
    assert sandbox.state()["users"][str(ANA)]["tokens"] == ["a/b"]
    assert len(sandbox.log) == 2


def test_an_old_server_without_a_logout_call_is_no_failure(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    sandbox.logout_call = False
    ending = [s for s in steps(target, ANA, Operation.DISABLE) if s.verb in ("end_sessions", "forget_logins")]
    logout, forget = done(target, ending)
    assert (logout.outcome, logout.detail) == (Outcome.ALREADY_SO, "this server has no logout call")
    assert forget.outcome is Outcome.APPLIED


def test_a_revoke_within_a_suspension_is_made_once_for_both(target: TeamCity) -> None:
    held = Entitlement("role", "PROJECT_DEVELOPER", "p:Web")
    both = [Task("revoke", Operation.REVOKE, held), Task("disable", Operation.DISABLE)]
    taken = [s for s in target.steps(seen(target, ANA), both) if s.verb == "revoke_role" and s.args["scope"] == "p:Web"]
    assert [step.tasks for step in taken] == [("disable", "revoke")]


def test_steps_come_in_the_order_of_the_operations(target: TeamCity) -> None:
    tasks = [
        Task("grant", Operation.GRANT, Entitlement("group", "ROOT_VIEWERS")),
        Task("revoke", Operation.REVOKE, QA),
        Task("rename", Operation.UPDATE, fields={"login": "new"}),
    ]
    assert [s.verb for s in target.steps(seen(target, ANA), tasks)] == ["set_field", "leave_group", "join_group"]


def test_enabling_only_takes_the_mark_away(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    done(target, steps(target, OLD, Operation.ENABLE))
    assert calls(sandbox) == [f"DELETE /users/id:{OLD}/properties/{MARK}"]
    assert seen(target, OLD).active


# --- groups ---


def test_a_server_without_the_hidden_call_gets_the_whole_list_at_the_second_attempt(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    sandbox.group_post = False
    first, second = target.steps(
        seen(target, ANA), [Task(key, Operation.GRANT, Entitlement("group", key)) for key in ("ROOT_VIEWERS", "SUPER")]
    )
    asked = target.apply(first)
    assert (asked.outcome, asked.again) == (Outcome.FOUND_NOT_APPLIED, True)
    assert target.apply(first).outcome is Outcome.APPLIED
    assert target.apply(second).outcome is Outcome.APPLIED  # it knows by now
    assert calls(sandbox) == [f"{method} /users/id:{ANA}/groups" for method in ("POST", "PUT", "PUT")]
    groups = set(sandbox.state()["users"][str(ANA)]["groups"])
    assert groups == {ALL_USERS, "DEV", "QA", "SUPER", "ROOT_VIEWERS"}


def test_a_group_that_was_lost_while_another_was_joined_is_told(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    def lose_one(exchange: Exchange) -> None:
        if exchange.method == "PUT":
            sandbox.remove_from_group(ANA, "QA")

    sandbox.group_post = False
    sandbox.observers.append(lose_one)
    [step] = steps(target, ANA, Operation.GRANT, entitlement=Entitlement("group", "ROOT_VIEWERS"))
    assert target.apply(step).again
    with pytest.raises(Unknown, match="lost groups"):
        target.apply(step)


def test_a_404_for_an_unknown_group_is_not_taken_for_a_missing_call(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    for step in steps(target, ANA, Operation.GRANT, entitlement=Entitlement("group", "NOPE")):
        with pytest.raises(Rejected, match="No group is found by key"):
            target.apply(step)
    assert calls(sandbox) == [f"POST /users/id:{ANA}/groups"]


@pytest.mark.parametrize("verb", ["join_group", "leave_group"])
def test_the_built_in_group_is_never_touched(target: TeamCity, sandbox: TeamCitySandbox, verb: str) -> None:
    step = Step(verb, str(ANA), {"group": ALL_USERS}, ("t",), "x")
    if verb == "join_group":
        assert target.apply(step).outcome is Outcome.ALREADY_SO
    else:
        with pytest.raises(Refused, match="All Users"):
            target.apply(step)
    assert sandbox.log == []


def test_leaving_the_built_in_group_is_no_part_of_a_suspension(target: TeamCity) -> None:
    assert ALL_USERS not in {s.args.get("group") for s in steps(target, ANA, Operation.DISABLE)}


# --- roles ---


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize(
    ("role", "scope"), [("NOPE", "p:Web"), ("PROJECT_VIEWER", "p:Nope")], ids=["unknown role", "unknown project"]
)
def test_what_does_not_exist_is_rejected_and_nothing_else_changes(
    target: TeamCity, sandbox: TeamCitySandbox, style: str, role: str, scope: str
) -> None:
    sandbox.error_style = style
    before = sandbox.state()
    [step] = steps(target, ANA, Operation.GRANT, entitlement=Entitlement("role", role, scope))
    with pytest.raises(Rejected, match=r"find role|No project found"):
        target.apply(step)
    assert sandbox.state() == before


def test_a_400_that_was_done_all_the_same_is_found_applied(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    [step] = steps(target, ANA, Operation.GRANT, entitlement=Entitlement("role", "PROJECT_VIEWER", "p:Web"))
    text = "the data could be updated partially. Please ensure consistent data state"
    fault = sandbox.break_("PUT *", "status-after", status=400, text=text, times=1)
    made = target.apply(step)
    assert fault.fired
    assert made.outcome is Outcome.FOUND_APPLIED
    assert "updated partially" in made.detail


def test_writes_name_the_user_by_id_and_carry_no_cookie(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    done(target, steps(target, ANA, Operation.DISABLE))
    done(target, steps(target, BEN, Operation.GRANT, entitlement=QA))
    assert sandbox.log
    assert all("/users/id:" in e.path for e in sandbox.log)
    assert all("cookie" not in e.request_headers for e in sandbox.log)


# --- names and addresses ---


def test_a_user_name_that_somebody_else_has_is_refused_whatever_its_case(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    [step] = steps(target, ANA, Operation.UPDATE, fields={"login": "BEN@acme.example"})
    with pytest.raises(Refused, match=f"account {BEN} has that user name"):
        target.apply(step)
    assert sandbox.log == []


def test_a_user_name_that_differs_in_case_only_is_already_so(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    [step] = steps(target, ANA, Operation.UPDATE, fields={"login": "ana@acme.example"})
    assert target.apply(step).outcome is Outcome.ALREADY_SO
    assert sandbox.log == []


@pytest.mark.parametrize("field", ["login", "name", "email"])
def test_what_changed_since_the_plan_is_refused(target: TeamCity, sandbox: TeamCitySandbox, field: str) -> None:
    [step] = steps(target, ANA, Operation.UPDATE, fields={field: "new@acme.example"})
    if field == "login":
        sandbox.rename(ANA, "elsewhere")
    else:
        sandbox.set_field(ANA, field, "elsewhere")
    with pytest.raises(Refused, match="changed since the plan"):
        target.apply(step)
    assert sandbox.log == []


def test_an_address_shared_by_two_is_changed_for_one(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    done(target, steps(target, CEM, Operation.UPDATE, fields={"email": "cem@acme.example"}))
    users = sandbox.state()["users"]
    assert (users[str(CEM)]["email"], users[str(BEN)]["email"]) == ("cem@acme.example", "shared@acme.example")


def test_a_name_is_sent_in_utf_8_and_says_so(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    done(target, steps(target, ANA, Operation.UPDATE, fields={"name": "Ånä Žižek 安娜"}))
    assert sandbox.state()["users"][str(ANA)]["name"] == "Ånä Žižek 安娜"


def test_a_name_that_is_to_be_empty_is_deleted(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    done(target, steps(target, ANA, Operation.UPDATE, fields={"name": ""}))
    assert calls(sandbox) == [f"DELETE /users/id:{ANA}/name"]
    assert seen(target, ANA).profile["name"] == ""


# --- creating ---


def test_an_account_is_created_without_roles_password_or_groups_in_the_body(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    make_steps = target.steps(NEWCOMER, [Task("t1", Operation.CREATE)])
    made = target.apply(make_steps[0])
    user = sandbox.state()["users"][made.account_id]
    assert (user["roles"], user["groups"], user["has_password"]) == ([], [ALL_USERS], False)
    assert calls(sandbox) == ["POST /users"]


@pytest.mark.parametrize("step", [1, 2])
def test_what_follows_a_create_waits_for_its_id(target: TeamCity, sandbox: TeamCitySandbox, step: int) -> None:
    with pytest.raises(Refused, match="no account is known yet"):
        target.apply(target.steps(NEWCOMER, [Task("t1", Operation.CREATE)])[step])
    assert sandbox.log == []


def test_a_user_name_that_is_taken_is_never_adopted(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    taken = sandbox.add_user(NEWCOMER.login.upper(), email=NEWCOMER.email)
    step = target.steps(NEWCOMER, [Task("t1", Operation.CREATE)])[0]
    with pytest.raises(Refused, match=f"account {taken} has that user name already"):
        target.apply(step)
    assert target.settled(step).outcome is Outcome.FOUND_NOT_APPLIED
    assert sandbox.log == []


def test_a_create_that_another_one_outran_does_not_adopt_its_account(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    step = target.steps(NEWCOMER, [Task("t1", Operation.CREATE)])[0]
    fault = sandbox.break_("POST /app/rest/users", "drop", times=1)
    with pytest.raises(Unknown):
        target.apply(step)
    assert fault.fired
    sandbox.add_user(NEWCOMER.login)
    settled = target.settled(step)
    assert (settled.outcome, settled.account_id) == (Outcome.FOUND_NOT_APPLIED, "")


def test_a_create_answered_with_400_and_yet_done_is_found(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    step = target.steps(NEWCOMER, [Task("t1", Operation.CREATE)])[0]
    fault = sandbox.break_("POST /app/rest/users", "status-after", status=400, text="half", times=1)
    made = target.apply(step)
    assert fault.fired
    assert made.outcome is Outcome.FOUND_APPLIED
    assert sandbox.state()["users"][made.account_id]["username"] == NEWCOMER.login


def test_a_full_licence_is_rejected(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    sandbox.world.user_limit = len(sandbox.world.users)
    with pytest.raises(Rejected, match="maximum user limit"):
        target.apply(target.steps(NEWCOMER, [Task("t1", Operation.CREATE)])[0])


def test_without_leave_to_create_a_human_is_told_how(sandbox: TeamCitySandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    target = connected(sandbox, monkeypatch, Line(), create="off")
    task = Task("t1", Operation.CREATE)
    first, then = target.manual(NEWCOMER, task)
    assert NEWCOMER.login in first
    assert "without a password" in first
    assert "PROJECT_DEVELOPER in Web" in then
    with pytest.raises(Refused, match="create: on"):
        target.apply(target.steps(NEWCOMER, [task])[0])
    target.close()
    assert sandbox.log == []


# --- who is left alone ---


@pytest.mark.parametrize("operation", [Operation.DISABLE, Operation.GRANT])
def test_the_guest_is_left_alone(target: TeamCity, sandbox: TeamCitySandbox, operation: Operation) -> None:
    for step in steps(target, GUEST_ID, operation, entitlement=QA):
        with pytest.raises(Refused, match="guest"):
            target.apply(step)
    assert sandbox.log == []
    assert target.manual(seen(target, GUEST_ID), Task("t1", operation, QA))


def test_a_human_is_told_about_the_built_in_group(target: TeamCity) -> None:
    ana = seen(target, ANA)
    assert target.manual(ana, Task("t1", Operation.GRANT, Entitlement("group", ALL_USERS)))
    assert target.manual(ana, Task("t1", Operation.GRANT, QA)) == ()


def test_one_account_that_is_forbidden_is_rejected_and_the_rest_goes_on(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    fault = sandbox.break_(f"DELETE */users/id:{DAN}/*", "status", status=403, text="You cannot change this user")
    taken = [s for s in steps(target, DAN, Operation.DISABLE) if s.verb == "revoke_role"]
    for step in taken:
        with pytest.raises(Rejected, match="for this account alone"):
            target.apply(step)
    assert fault.fired == len(taken) == 1


def test_a_token_that_may_change_nobody_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = TeamCitySandbox(company(), own_permissions=set(RECONCILER_PERMISSIONS) - {"change_user"})
    with sandbox.serve():
        target = connected(sandbox, monkeypatch, Line())
        [step] = steps(target, ANA, Operation.UPDATE, fields={"name": "x"})
        with pytest.raises(Denied, match="change_user"):
            target.apply(step)
        target.close()


def test_a_failed_csrf_check_is_denied_and_not_blamed_on_the_account(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    fault = sandbox.break_("PUT *", "status", status=403, text="Responding with 403 due to failed CSRF check")
    with pytest.raises(Denied, match="CSRF"):
        target.apply(steps(target, ANA, Operation.UPDATE, fields={"name": "x"})[0])
    assert fault.fired


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param({"kind": "html"}, Unknown, id="a login page"),
        pytest.param({"kind": "status", "status": 502}, Unknown, id="a gateway's error"),
        pytest.param({"kind": "status", "status": 429, "headers": {"Retry-After": "7"}}, Unavailable, id="throttled"),
        pytest.param({"kind": "status", "status": 409}, Rejected, id="repeat later"),
        pytest.param(
            {"kind": "status", "status": 400, "text": "This TeamCity node is not allowed to perform this action."},
            Rejected,
            id="a node without that duty",
        ),
    ],
)  # fmt: skip
def test_each_answer_to_a_mutation_says_what_to_do_next(
    target: TeamCity, sandbox: TeamCitySandbox, fault: dict[str, object], error: type[Exception]
) -> None:
    [step] = steps(target, ANA, Operation.REVOKE, entitlement=QA)
    broken = sandbox.break_("DELETE *", times=1, **fault)  # type: ignore[arg-type]
    with pytest.raises(error):
        target.apply(step)
    assert broken.fired
    assert target.apply(step).outcome is Outcome.APPLIED


def test_a_member_who_left_meanwhile_is_already_out(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    [step] = steps(target, ANA, Operation.REVOKE, entitlement=QA)
    sandbox.sso_login(ANA, ["DEV"])
    assert target.apply(step).outcome is Outcome.ALREADY_SO
    assert sandbox.log == []


def test_a_step_of_an_unknown_kind_is_refused(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    step = Step("explode", str(ANA), {}, ("t",), "explode")
    with pytest.raises(Refused, match="another version"):
        target.apply(step)
    with pytest.raises(Refused, match="another version"):
        target.settled(step)
    assert sandbox.log == []


def test_a_stored_step_is_told_without_names(target: TeamCity) -> None:
    for step in steps(target, ANA, Operation.DISABLE):
        assert "ana" not in step.sentence.casefold()
        assert str(ANA) in step.sentence


def test_the_steps_of_a_whole_life_end_where_they_should(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    made = [target.apply(s) for s in target.steps(NEWCOMER, [Task("t1", Operation.CREATE)])[:1]]
    id = made[0].account_id
    for step in target.steps(NEWCOMER, [Task("t1", Operation.CREATE)])[1:]:
        target.apply(replace(step, account_id=id))
    done(target, steps(target, int(id), Operation.DISABLE))
    assert not seen(target, int(id)).active
    done(target, steps(target, int(id), Operation.ENABLE))
    done(target, steps(target, int(id), Operation.GRANT, entitlement=QA))
    account = seen(target, int(id))
    assert account.active
    assert account.entitlements == {QA}
