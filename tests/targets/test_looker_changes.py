"""Every step on a Looker: what it changes, that it can be made twice, and how each way of going wrong is told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.reading import observed_pages
from tests.targets.looker_company import (
    ANN,
    BOB,
    DORA,
    EMBED,
    EVE,
    REPORTS,
    SUPPORT,
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
    target,
    task,
)  # fmt: skip
from worker.core.identity import Account
from worker.core.plan import Operation
from worker.errors import Denied, Misshapen, Refused, Rejected, TrueupError, Unavailable, Unknown
from worker.ports import Outcome, Step, Task
from worker.sandbox.looker import LookerSandbox
from worker.targets.looker import Looker

__all__ = ["sandbox", "stage", "target"]  # fixtures

DISABLE, ENABLE, UPDATE = task(Operation.DISABLE), task(Operation.ENABLE), task(Operation.UPDATE, first_name="Anna")
GIVE_DEVELOPER = task(Operation.GRANT, role("4"))
TAKE_VIEWER = task(Operation.REVOKE, role("3"))
JOIN, LEAVE = task(Operation.GRANT, group("12")), task(Operation.REVOKE, group("11"))

# what is asked of whom: the mutating calls it takes, and what differs afterwards
CHANGES: Mapping[str, tuple[str, Sequence[Task], Sequence[str], Mapping[str, object]]] = {
    "a leaver is locked out": (ANN, [DISABLE], [f"PATCH /users/{ANN}"], {"is_disabled": True}),
    "somebody who returns is let in": (DORA, [ENABLE], [f"PATCH /users/{DORA}"], {"is_disabled": False}),
    "a new name is taken over": (ANN, [UPDATE], [f"PATCH /users/{ANN}"], {"first_name": "Anna", "last_name": "Lee"}),
    "a role is granted beside the others": (
        ANN, [GIVE_DEVELOPER], [f"PUT /users/{ANN}/roles"], {"roles": ["Developer", "Viewer"]},
    ),
    "the last role is revoked": (ANN, [TAKE_VIEWER], [f"PUT /users/{ANN}/roles"], {"roles": []}),
    "one role goes and another comes in one call": (
        ANN, [GIVE_DEVELOPER, TAKE_VIEWER], [f"PUT /users/{ANN}/roles"], {"roles": ["Developer"]},
    ),
    "a role that came through a group stays no direct one": (
        BOB, [task(Operation.GRANT, role("3"))], [f"PUT /users/{BOB}/roles"], {"roles": ["Viewer"]},
    ),
    "a group is joined": (
        ANN, [JOIN], ["POST /groups/12/users"], {"groups": ["All Users", "Platform", "Wardens"]},
    ),
    "a group is left": (ANN, [LEAVE], [f"DELETE /groups/11/users/{ANN}"], {"groups": ["All Users"]}),
    "a leaver loses access first, then rights": (
        ANN, [LEAVE, TAKE_VIEWER, DISABLE],
        [f"PATCH /users/{ANN}", f"PUT /users/{ANN}/roles", f"DELETE /groups/11/users/{ANN}"],
        {"is_disabled": True, "roles": [], "groups": ["All Users"]},
    ),
    "a mover loses the old group before the new one is given": (
        ANN, [JOIN, LEAVE], [f"DELETE /groups/11/users/{ANN}", "POST /groups/12/users"],
        {"groups": ["All Users", "Wardens"]},
    ),
}  # fmt: skip


def mutations(sandbox: LookerSandbox) -> list[str]:
    return [f"{e.method} {e.path.removeprefix('/api/4.0')}" for e in sandbox.log]


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_does_what_it_says_in_these_calls_and_no_more(
    target: Looker, sandbox: LookerSandbox, name: str
) -> None:
    id, tasks, calls, difference = CHANGES[name]
    before = shown(sandbox, id)
    made = do(target, seen(target, id), *tasks)
    assert mutations(sandbox) == calls
    assert shown(sandbox, id) == {**before, **difference}
    assert all(m.outcome is Outcome.APPLIED and m.request_id for m in made)


@pytest.mark.parametrize("name", CHANGES)
def test_a_step_made_twice_changes_nothing_more(target: Looker, sandbox: LookerSandbox, name: str) -> None:
    id, tasks, calls, _ = CHANGES[name]
    account = seen(target, id)
    do(target, account, *tasks)
    again = do(target, account, *tasks)
    assert {m.outcome for m in again} == {Outcome.ALREADY_SO}
    assert mutations(sandbox) == calls


@pytest.mark.parametrize("name", CHANGES)
def test_every_task_is_served_by_a_step_that_says_what_it_does(target: Looker, name: str) -> None:
    id, tasks, _, _ = CHANGES[name]
    steps = target.steps(seen(target, id), tasks)
    assert {t.id for t in tasks} == {served for step in steps for served in step.tasks}
    assert all(id in step.sentence for step in steps)


def test_before_and_after_are_what_was_read(target: Looker) -> None:
    [made] = do(target, seen(target, ANN), GIVE_DEVELOPER, TAKE_VIEWER)
    assert (made.before, made.after) == ("roles: 3", "roles: 4")


# --- creating


def test_a_new_account_can_log_in_and_holds_what_it_should(target: Looker, sandbox: LookerSandbox) -> None:
    made = do(target, newcomer(role("3"), role("4"), group("11")), task(Operation.CREATE))
    id = made[0].account_id
    assert mutations(sandbox) == [
        "POST /users", f"POST /users/{id}/credentials_email", f"PUT /users/{id}/roles", "POST /groups/11/users",
    ]  # fmt: skip
    new = shown(sandbox, id)
    assert (new["email"], new["first_name"], new["last_name"]) == ("new@acme.example", "Nia", "Newman")
    assert (new["roles"], new["groups"]) == (["Developer", "Viewer"], ["All Users", "Platform"])


@pytest.mark.parametrize(
    ("login", "held_by"),
    [("ann@acme.example", ANN), ("ANN@ACME.EXAMPLE", ANN), ("dora_x@acme.example", DORA)],
    ids=["in lower case", "in capitals", "by a disabled account"],
)
def test_nobody_is_created_whose_address_is_taken(
    target: Looker, sandbox: LookerSandbox, login: str, held_by: str
) -> None:
    with pytest.raises(Refused, match=held_by):
        do(target, newcomer(login=login), task(Operation.CREATE))
    assert sandbox.log == []


def test_an_address_that_only_the_search_takes_for_the_same_is_free(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.add_user("Nax", "Null", "naxo@acme.example")
    made = do(target, newcomer(login="na_o@acme.example"), task(Operation.CREATE))
    assert shown(sandbox, made[0].account_id)["email"] == "na_o@acme.example"


def test_a_creation_whose_answer_was_lost_is_found_by_the_empty_account_it_left(
    target: Looker, sandbox: LookerSandbox
) -> None:
    step = target.steps(newcomer(), [task(Operation.CREATE)])[0]
    fault = sandbox.break_("POST /api/4.0/users", "drop-after", times=1)
    with pytest.raises(Unknown):
        target.apply(step)
    assert fault.fired
    found = target.settled(step)
    assert (found.outcome, found.account_id) == (Outcome.FOUND_APPLIED, max(sandbox.instance.users, key=int))


def test_a_creation_made_again_takes_the_empty_account_and_makes_no_second(
    target: Looker, sandbox: LookerSandbox
) -> None:
    step = target.steps(newcomer(), [task(Operation.CREATE)])[0]
    first = target.apply(step)
    again = target.apply(step)
    assert (again.outcome, again.account_id) == (Outcome.ALREADY_SO, first.account_id)
    assert mutations(sandbox) == ["POST /users"]


def test_a_creation_that_got_its_address_before_the_crash_is_found(target: Looker) -> None:
    create, give = target.steps(newcomer(), [task(Operation.CREATE)])
    id = target.apply(create).account_id
    target.apply(on(give, id))
    assert (target.settled(create).outcome, target.settled(create).account_id) == (Outcome.FOUND_APPLIED, id)


def test_a_creation_that_never_arrived_is_found_not_applied(target: Looker, sandbox: LookerSandbox) -> None:
    step = target.steps(newcomer(), [task(Operation.CREATE)])[0]
    fault = sandbox.break_("POST /api/4.0/users", "drop", times=1)
    with pytest.raises(Unknown):
        target.apply(step)
    assert fault.fired
    assert target.settled(step).outcome is Outcome.FOUND_NOT_APPLIED


def test_two_empty_accounts_of_the_name_are_not_guessed_between(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.add_user("Nia", "Newman")
    sandbox.add_user("Nia", "Newman")
    step = target.steps(newcomer(), [task(Operation.CREATE)])[0]
    with pytest.raises(Unknown, match="cannot be told"):
        target.settled(step)
    with pytest.raises(Refused, match="empty and of that name"):
        target.apply(step)
    assert sandbox.log == []


@pytest.mark.parametrize("how", ["holds a role", "has an API key", "logs in over SAML", "is disabled"])
def test_an_account_of_the_name_that_is_in_use_is_not_taken(target: Looker, sandbox: LookerSandbox, how: str) -> None:
    other = sandbox.add_user("Nia", "Newman", roles=["Viewer"] if how == "holds a role" else [])
    user = sandbox.instance.users[other]
    if how == "has an API key":
        sandbox.add_key(other)
    user.links = {"saml": "nia@acme.example"} if how == "logs in over SAML" else {}
    user.is_disabled = how == "is disabled"
    sandbox.instance.changed.append(user)
    made = do(target, newcomer(), task(Operation.CREATE))
    assert made[0].account_id != other


def test_an_address_is_never_put_in_the_place_of_another(target: Looker, sandbox: LookerSandbox) -> None:
    _, give = target.steps(newcomer(), [task(Operation.CREATE)])
    with pytest.raises(Refused, match="locks the person out"):
        target.apply(on(give, ANN))
    assert sandbox.log == []


def test_a_step_on_an_account_that_was_not_created_is_refused(target: Looker, sandbox: LookerSandbox) -> None:
    _, give = target.steps(newcomer(), [task(Operation.CREATE)])
    with pytest.raises(Refused, match="names no account"):
        target.apply(give)
    assert sandbox.log == []


# --- the world is not what the plan saw


def test_roles_that_somebody_else_changed_meanwhile_are_not_overwritten(target: Looker, sandbox: LookerSandbox) -> None:
    account = seen(target, ANN)
    sandbox.grant_role(ANN, "Keeper")
    with pytest.raises(Refused, match="as the plan saw"):
        do(target, account, GIVE_DEVELOPER)
    assert sandbox.log == []


def _of_ours(sandbox: LookerSandbox) -> str:
    return sandbox.own_account


UNTOUCHED: Mapping[str, Callable[[LookerSandbox], str]] = {
    "our own account": _of_ours,
    "service account": lambda _: REPORTS,
    "vendor support account": lambda _: SUPPORT,
    "embed user": lambda _: EMBED,
}


@pytest.mark.parametrize("what", UNTOUCHED)
@pytest.mark.parametrize("asked", [DISABLE, UPDATE, GIVE_DEVELOPER, JOIN], ids=lambda t: t.operation)
def test_these_accounts_are_never_touched_whatever_was_planned(
    target: Looker, sandbox: LookerSandbox, what: str, asked: Task
) -> None:
    with pytest.raises(Refused, match=what):
        do(target, seen(target, UNTOUCHED[what](sandbox)), asked)
    assert sandbox.log == []


@pytest.mark.parametrize(
    ("id", "asked", "why"),
    [
        (ANN, task(Operation.GRANT, group("16")), "mirrored"),
        (BOB, task(Operation.REVOKE, group("16")), "mirrored"),
        (ANN, task(Operation.REVOKE, group("1")), "every account"),
        (ANN, task(Operation.GRANT, group("99")), "does not exist"),
    ],
    ids=["joining a mirrored group", "leaving a mirrored group", "leaving All Users", "joining no group"],
)
def test_groups_that_are_not_ours_to_change_are_refused(
    target: Looker, sandbox: LookerSandbox, id: str, asked: Task, why: str
) -> None:
    with pytest.raises(Refused, match=why):
        do(target, seen(target, id), asked)
    assert sandbox.log == []


@pytest.mark.parametrize("asked", [GIVE_DEVELOPER, JOIN], ids=["roles", "groups"])
def test_what_single_sign_on_manages_is_refused(target: Looker, sandbox: LookerSandbox, asked: Task) -> None:
    account = seen(target, ANN)
    sandbox.sso(set_roles_from_groups=True, allow_normal_group_membership=False)
    sandbox.sso_login(ANN)
    with pytest.raises(Refused, match="managed by single sign-on"):
        do(target, account, asked)
    assert sandbox.log == []


def test_an_account_that_is_gone_is_refused_and_found_not_applied(target: Looker, sandbox: LookerSandbox) -> None:
    [step] = target.steps(seen(target, ANN), [DISABLE])
    sandbox.delete_user(ANN)
    with pytest.raises(Refused, match="does not exist any more"):
        target.apply(step)
    assert target.settled(step).outcome is Outcome.FOUND_NOT_APPLIED


def test_a_step_of_another_version_is_refused(target: Looker, sandbox: LookerSandbox) -> None:
    with pytest.raises(Refused, match="another version"):
        target.apply(Step("defenestrate", ANN, {}, ("t",), "throw account 20 out of the window"))
    assert sandbox.log == []


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("set roles", {}),
        ("set roles", {"expected": "3", "roles": ["4"]}),
        ("set roles", {"expected": ["3"], "roles": [4]}),
        ("join group", {}),
        ("rename", {"first_name": 7}),
        ("rename", {"is_disabled": "yes"}),
    ],
)
def test_a_step_whose_arguments_are_not_ours_is_refused(
    target: Looker, sandbox: LookerSandbox, verb: str, args: dict[str, object]
) -> None:
    with pytest.raises(Refused):
        target.apply(Step(verb, ANN, args, ("t",), "do it"))
    assert sandbox.log == []


# --- the call goes wrong

ROUTE = {
    "disable": f"PATCH /api/4.0/users/{ANN}",
    "rename": f"PATCH /api/4.0/users/{ANN}",
    "set roles": f"PUT /api/4.0/users/{ANN}/roles",
    "join group": "POST /api/4.0/groups/12/users",
    "leave group": f"DELETE /api/4.0/groups/11/users/{ANN}",
}
TASKS = {
    "disable": DISABLE, "rename": UPDATE, "set roles": GIVE_DEVELOPER, "join group": JOIN, "leave group": LEAVE,
}  # fmt: skip


def the_step(target: Looker, verb: str) -> Step:
    [step] = target.steps(seen(target, ANN), [TASKS[verb]])
    assert step.verb == verb
    return step


LOST = {
    "a lost answer": ("drop-after", {}, Outcome.FOUND_APPLIED),
    "a lost call": ("drop", {}, Outcome.FOUND_NOT_APPLIED),
    "a 500 after it was done": ("status-after", {"status": 500}, Outcome.FOUND_APPLIED),
    "a 502 before it was done": ("status", {"status": 502}, Outcome.FOUND_NOT_APPLIED),
    "a web page": ("html", {}, Outcome.FOUND_NOT_APPLIED),
}


@pytest.mark.parametrize("verb", ROUTE)
@pytest.mark.parametrize("loss", LOST)
def test_a_call_whose_end_we_do_not_know_is_unknown_until_it_is_read_again(
    target: Looker, sandbox: LookerSandbox, verb: str, loss: str
) -> None:
    kind, how, outcome = LOST[loss]
    step = the_step(target, verb)
    fault = sandbox.break_(ROUTE[verb], kind, times=1, **how)
    with pytest.raises(Unknown):
        target.apply(step)
    assert fault.fired == fault.seen == 1  # never sent twice
    assert target.settled(step).outcome is outcome
    assert target.apply(step).outcome is (Outcome.ALREADY_SO if outcome is Outcome.FOUND_APPLIED else Outcome.APPLIED)


@pytest.mark.parametrize("verb", [v for v in ROUTE if v != "leave group"])
@pytest.mark.parametrize("text", ["{", "[1]", '"yes"', "null"], ids=["cut", "a list", "a word", "null"])
def test_a_broken_answer_to_a_call_that_was_made_does_not_pass_for_a_failure(
    target: Looker, sandbox: LookerSandbox, verb: str, text: str
) -> None:
    step = the_step(target, verb)
    fault = sandbox.break_(ROUTE[verb], "misshapen", text=text, times=1)
    try:
        assert target.apply(step).outcome is Outcome.APPLIED
    except Unknown:
        assert target.settled(step).outcome is Outcome.FOUND_APPLIED
    assert fault.fired


NOS: Mapping[str, tuple[int, type[TrueupError]]] = {
    "400": (400, Rejected),
    "403 about this one thing": (403, Rejected),
    "404": (404, Rejected),
    "405": (405, Rejected),
    "409": (409, Rejected),
    "422": (422, Rejected),
    "429": (429, Unavailable),
    "401 for ever": (401, Denied),
}


@pytest.mark.parametrize("verb", ROUTE)
@pytest.mark.parametrize("no", NOS)
def test_a_no_is_told_from_trouble_and_changes_nothing(
    target: Looker, sandbox: LookerSandbox, verb: str, no: str
) -> None:
    status, expected = NOS[no]
    step = the_step(target, verb)
    before = shown(sandbox, ANN)
    fault = sandbox.break_(ROUTE[verb], "status", status=status, text='{"message": "Not like this"}')
    with pytest.raises(expected, match="Not like this"):
        target.apply(step)
    assert fault.fired == (2 if status == 401 else 1)
    assert shown(sandbox, ANN) == before


def test_the_fields_that_a_validation_names_are_told(target: Looker, sandbox: LookerSandbox) -> None:
    text = '{"message": "Validation Failed", "errors": [{"field": "first_name", "message": "is a number"}]}'
    fault = sandbox.break_(ROUTE["rename"], "status", status=422, text=text)
    with pytest.raises(Rejected, match="first_name: is a number"):
        do(target, seen(target, ANN), UPDATE)
    assert fault.fired


def test_a_403_is_about_ourselves_once_our_admin_role_is_gone(target: Looker, sandbox: LookerSandbox) -> None:
    step = the_step(target, "disable")
    target.instance()
    sandbox.hide_from_non_admins = False
    sandbox.set_roles(sandbox.own_account, ["Viewer"])
    with pytest.raises(Denied, match="no Admin role any more"):
        target.apply(step)


def test_a_yes_that_changed_nothing_is_a_failure(target: Looker, sandbox: LookerSandbox) -> None:
    step = the_step(target, "disable")
    fault = sandbox.break_(ROUTE["disable"], "status", status=200, text="{}")
    with pytest.raises(Rejected, match="and yet it is not so"):
        target.apply(step)
    assert fault.fired


def test_a_change_that_cannot_be_read_back_is_unknown(target: Looker, sandbox: LookerSandbox) -> None:
    step = the_step(target, "disable")
    fault = sandbox.break_(f"GET /api/4.0/users/{ANN}", "status", status=500, skip=1)
    with pytest.raises(Unknown, match="could not be read back"):
        target.apply(step)
    assert fault.fired
    assert shown(sandbox, ANN)["is_disabled"] is True


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"kind": "status", "status": 500}, Unavailable),
        ({"kind": "drop"}, Unavailable),
        ({"kind": "truncate"}, Misshapen),
        ({"kind": "misshapen"}, Misshapen),
    ],
    ids=["500", "a lost connection", "half an answer", "another shape"],
)
@pytest.mark.parametrize("verb", ROUTE)
def test_nothing_is_sent_where_the_account_cannot_be_read_first(
    target: Looker, sandbox: LookerSandbox, verb: str, how: dict[str, Any], expected: type[TrueupError]
) -> None:
    step = the_step(target, verb)
    fault = sandbox.break_(f"GET /api/4.0/users/{ANN}", **how)
    with pytest.raises(expected):
        target.apply(step)
    assert fault.fired
    assert sandbox.log == []


def test_a_removal_that_somebody_else_made_first_is_already_so(target: Looker, sandbox: LookerSandbox) -> None:
    step = the_step(target, "leave group")

    def first(exchange: Any) -> None:
        if exchange.path == "/api/4.0/users/search":
            sandbox.remove_from_group(ANN, "Platform")

    sandbox.observers.append(first)
    made = target.apply(step)
    assert (made.outcome, made.detail) == (Outcome.ALREADY_SO, "somebody else did it meanwhile")
    assert [e.status for e in sandbox.log] == [404]


def test_a_token_that_looker_forgot_is_renewed_for_a_change_too(target: Looker, sandbox: LookerSandbox) -> None:
    step = the_step(target, "disable")
    fault = sandbox.break_(ROUTE["disable"], "status", status=401, times=1)
    assert target.apply(step).outcome is Outcome.APPLIED
    assert fault.fired
    assert [e.method for e in sandbox.log] == ["PATCH"]


# --- what only a human can do


def test_a_new_address_is_left_to_a_human_who_is_warned(target: Looker, sandbox: LookerSandbox) -> None:
    account = seen(target, ANN)
    change = task(Operation.UPDATE, login="anna@acme.example")
    told = " ".join(target.manual(account, change))
    assert "locked out" in told
    assert "anna@acme.example" in told
    assert f"{sandbox.url}/admin/users" in told
    assert target.steps(account, [change]) == []


def test_an_account_without_an_address_is_given_one_by_a_step(target: Looker, sandbox: LookerSandbox) -> None:
    """As a creation leaves it that was cut short before its second step."""
    account = seen(target, sandbox.add_user("Nia", "Berg"))
    change = task(Operation.UPDATE, login="nia.berg@acme.example")
    assert not target.manual(account, change)
    [step] = target.steps(account, [change])
    assert target.apply(step).outcome is Outcome.APPLIED
    assert seen(target, account.id).login == "nia.berg@acme.example"


def test_creating_is_left_to_a_human_unless_the_settings_say_otherwise(sandbox: LookerSandbox) -> None:
    create = task(Operation.CREATE)
    with connected(sandbox, create="off") as off, connected(sandbox, create="email") as on_:
        assert "new@acme.example" in " ".join(off.manual(newcomer(), create))
        assert off.steps(newcomer(), [create]) == []
        assert not on_.manual(newcomer(), create)
        assert len(on_.steps(newcomer(), [create])) == 2


MANUAL = {
    "a mirrored group": (task(Operation.GRANT, group("16")), "identity provider"),
    "All Users": (task(Operation.REVOKE, group("1")), "every account"),
}


@pytest.mark.parametrize("what", MANUAL)
@pytest.mark.parametrize("observed", [True, False], ids=["after an observation", "before any"])
def test_closed_groups_are_left_to_a_human(target: Looker, what: str, observed: bool) -> None:
    asked, text = MANUAL[what]
    account = seen(target, ANN)
    if observed:
        observed_pages(target)
    assert text in " ".join(target.manual(account, asked))


@pytest.mark.parametrize("asked", [GIVE_DEVELOPER, TAKE_VIEWER, JOIN, LEAVE], ids=lambda t: t.id)
def test_rights_under_single_sign_on_are_left_to_a_human(target: Looker, sandbox: LookerSandbox, asked: Task) -> None:
    sandbox.sso(set_roles_from_groups=True, allow_normal_group_membership=False)
    sandbox.sso_login(ANN)
    assert "managed by single sign-on" in " ".join(target.manual(seen(target, ANN), asked))


@pytest.mark.parametrize(
    "asked", [DISABLE, ENABLE, UPDATE, GIVE_DEVELOPER, TAKE_VIEWER, JOIN, LEAVE], ids=lambda t: t.id
)
def test_nothing_else_needs_a_human(target: Looker, asked: Task) -> None:
    assert not target.manual(seen(target, ANN), asked)


def test_an_account_without_an_address_can_be_locked_out_too(target: Looker, sandbox: LookerSandbox) -> None:
    do(target, seen(target, EVE), DISABLE)
    assert shown(sandbox, EVE)["is_disabled"] is True


def test_role_changes_of_a_stale_view_are_measured_against_that_view(target: Looker) -> None:
    account: Account = replace(seen(target, DORA), entitlements=frozenset({role("3")}))
    [step] = target.steps(account, [GIVE_DEVELOPER])
    assert step.args == {"expected": ["3"], "roles": ["3", "4"]}
    assert target.apply(step).outcome is Outcome.ALREADY_SO
