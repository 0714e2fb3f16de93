"""When somebody leaves TeamCity: every door that can be seen is shut by a step of its own, and the rest is said."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.targets.teamcity_company import ANA, BEN, CEM, DAN, EVE, MARK, OLD, company, connected, sandbox, target
from worker.core.identity import Account, Entitlement, Trait
from worker.core.plan import Operation
from worker.errors import Refused, Rejected
from worker.ports import Belongings, Heirloom, Line, Made, Outcome, Step, Task, Unseen
from worker.rest import LANE
from worker.sandbox.company import TeamCityUser
from worker.sandbox.teamcity import ALL_USERS, TeamCitySandbox
from worker.sandbox.teamcity.problems import Problem
from worker.targets.teamcity import TeamCity

__all__ = ["sandbox", "target"]  # fixtures

SESSIONS, REMEMBERED = Entitlement("session", "all"), Entitlement("remembered logins", "all")


def look(target: TeamCity, id: int = ANA) -> tuple[Account, Belongings]:
    found = target.belongings(str(id))
    assert found.account is not None
    return found.account, found


def unseen(found: Belongings, what: str) -> Unseen:
    [one] = [u for u in found.unseen if what in u.what]
    return one


def leaving(account: Account) -> list[Task]:
    """What a departed person's account is asked: to be shut, and to lose each thing."""
    taken = [Task(held.key, Operation.REVOKE, held) for held in sorted(account.entitlements)]
    return [Task("disable", Operation.DISABLE), *taken]


def done(target: TeamCity, account: Account, tasks: Sequence[Task]) -> list[Made]:
    results = []
    for step in target.steps(account, tasks):
        while True:
            results.append(target.apply(step))
            if not results[-1].again:
                break
    return results


def calls(sandbox: TeamCitySandbox) -> list[str]:
    return [f"{e.method} {e.path.removeprefix('/app/rest/users')}" for e in sandbox.log]


# --- the look


def test_everything_that_lets_somebody_in_is_seen_with_words_and_ends(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    ends = dt.datetime(2031, 5, 1, 12, tzinfo=dt.UTC)
    sandbox.add_token(ANA, "phone", expires=ends)
    account, found = look(target)
    assert found.labels == {
        "role:PROJECT_DEVELOPER@p:Web": "role PROJECT_DEVELOPER in Web",
        "role:PROJECT_VIEWER@g": "role PROJECT_VIEWER everywhere",
        "group:DEV": "group DEV",
        "group:QA": "group QA",
        "token:laptop": "access token 'laptop'",
        "token:ci 2": "access token 'ci 2'",
        "token:phone": "access token 'phone'",
        "password:password": "password",
        "session:all": "sessions",
        "remembered logins:all": "remembered logins",
    }
    assert {e.key for e in account.entitlements} == found.labels.keys()
    assert found.until == {"token:phone": ends}
    assert found.heirlooms == ()


@pytest.mark.parametrize(("who", "taken"), [(ANA, 4), (OLD, 2)], ids=["who holds rights", "who holds none"])
def test_a_look_takes_few_calls(target: TeamCity, sandbox: TeamCitySandbox, who: int, taken: int) -> None:
    target.instance()
    sandbox.reads.clear()
    target.belongings(str(who))
    assert sandbox.reads.total() == taken
    assert sandbox.log == []


def test_what_nobody_can_see_is_said(target: TeamCity) -> None:
    _, found = look(target)
    assert {u.what: u.key for u in found.unseen} == {
        "sessions": "session:all",
        "remembered logins": "remembered logins:all",
        "sign-in over single sign-on": "",
        "secrets that the person knows": "",
    }
    assert "identity provider" in unseen(found, "single sign-on").hands[0]


def test_a_suspended_account_still_has_what_nobody_can_see(target: TeamCity) -> None:
    account, _ = look(target, OLD)
    assert not account.active
    assert account.entitlements == {SESSIONS, REMEMBERED}


def test_an_administrator_is_known_as_one(target: TeamCity) -> None:
    assert Trait.ADMINISTRATOR in look(target, CEM)[0].traits
    assert Trait.ADMINISTRATOR in look(target, DAN)[0].traits
    assert Trait.ADMINISTRATOR not in look(target, ANA)[0].traits


def test_accounts_are_found_by_user_name_and_by_an_address_that_several_may_have(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    found = target.accounts_of({"login": "EVE@acme.example", "email": "Shared@ACME.example"})
    assert [a.id for a in found] == [str(BEN), str(CEM), str(EVE)]
    odd = sandbox.add_user("odd", email="o(dd)+:,@acme.example")
    assert [a.id for a in target.accounts_of({"email": "O(DD)+:,@acme.example"})] == [str(odd)]


# --- shutting it all


def test_every_door_has_its_own_step_and_serves_the_suspension_too(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    account, _ = look(target)
    steps = target.steps(account, leaving(account))
    assert [(step.verb, step.tasks) for step in steps] == [
        ("delete_token", ("disable", "token:ci 2")),
        ("delete_token", ("disable", "token:laptop")),
        ("delete_tokens", ("disable",)),
        ("delete_password", ("disable", "password:password")),
        ("leave_group", ("disable", "group:DEV")),
        ("leave_group", ("disable", "group:QA")),
        ("revoke_role", ("disable", "role:PROJECT_DEVELOPER@p:Web")),
        ("revoke_role", ("disable", "role:PROJECT_VIEWER@g")),
        ("end_sessions", ("disable", "session:all")),
        ("forget_logins", ("disable", "remembered logins:all")),
        ("mark", ("disable",)),
    ]
    sandbox.sso_login(ANA, ["DEV", "QA"])
    done(target, account, leaving(account))
    left = sandbox.state()["users"][str(ANA)]
    assert (left["tokens"], left["has_password"], left["groups"], left["roles"]) == ([], False, [ALL_USERS], [])
    assert (left["sessions"], left["remembered"]) == (0, False)
    after, _ = look(target)
    assert not after.active
    assert after.entitlements == {SESSIONS, REMEMBERED}


def test_a_token_made_after_the_look_goes_too(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    account, _ = look(target)
    sandbox.add_token(ANA, "made in a hurry")
    done(target, account, leaving(account))
    assert sandbox.state()["users"][str(ANA)]["tokens"] == []


@pytest.mark.parametrize("name", ["me@home", "100%", "%40", "a:b", "ünï cödé", "x@p:Web"])
def test_a_token_of_any_name_is_deleted_by_its_key(target: TeamCity, sandbox: TeamCitySandbox, name: str) -> None:
    sandbox.add_token(BEN, name)
    account, found = look(target, BEN)
    [held] = [e for e in account.entitlements if e.kind == "token"]
    assert found.labels[held.key] == f"access token {name!r}"
    [made] = done(target, account, [Task("t", Operation.REVOKE, Entitlement.parse(held.key))])
    assert made.outcome is Outcome.APPLIED
    assert sandbox.state()["users"][str(BEN)]["tokens"] == []


def test_a_token_that_no_address_can_name_is_a_line_for_a_human_and_holds_up_nothing_else(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    sandbox.add_token(ANA, "a/b")
    account, found = look(target)
    slash = Task("slash", Operation.REVOKE, Entitlement("token", "a/b"))
    assert found.labels["token:a/b"] == "access token 'a/b'"
    assert f"editUser.html?userId={ANA}" in target.manual(account, slash)[1]
    assert target.manual(account, Task("laptop", Operation.REVOKE, Entitlement("token", "laptop"))) == ()
    steps = target.steps(account, [Task("disable", Operation.DISABLE)])
    assert [s.args["name"] for s in steps if s.verb == "delete_token"] == ["ci 2", "laptop"]
    for step in steps:
        if step.verb == "delete_tokens":
            with pytest.raises(Rejected, match="slash"):
                target.apply(step)
        else:
            target.apply(step)
    left = sandbox.state()["users"][str(ANA)]
    assert (left["tokens"], left["has_password"], left["roles"]) == (["a/b"], False, [])
    assert look(target)[0].active  # a token is left


def test_one_token_that_is_refused_is_told_by_its_own_step(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    account, _ = look(target)
    fault = sandbox.break_("DELETE *laptop", "status", status=400, text="no")
    laptop, other = (Task(n, Operation.REVOKE, Entitlement("token", n)) for n in ("laptop", "ci 2"))
    with pytest.raises(Rejected):
        done(target, account, [laptop])
    assert fault.fired
    assert [m.outcome for m in done(target, account, [other])] == [Outcome.APPLIED]


# --- what a server lacks


def test_an_old_server_is_known_to_end_no_sessions(sandbox: TeamCitySandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.version, sandbox.logout_call = "2024.03", False
    target = connected(sandbox, monkeypatch, Line())
    account, found = look(target)
    assert SESSIONS not in account.entitlements
    said = unseen(found, "sessions")
    assert said.key == ""
    assert "log out all users" in said.hands[0]
    assert target.manual(account, Task("t", Operation.REVOKE, SESSIONS)) == said.hands
    target.close()


def test_a_newer_server_without_the_call_is_known_once_it_was_tried(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    sandbox.logout_call = False
    account, found = look(target)
    assert unseen(found, "sessions").key == SESSIONS.key
    made = done(target, account, [Task("t", Operation.REVOKE, SESSIONS)])
    assert [(m.outcome, m.detail) for m in made] == [(Outcome.ALREADY_SO, "this server has no logout call")]
    account, found = look(target)
    assert SESSIONS not in account.entitlements
    assert unseen(found, "sessions").hands
    sandbox.version = "2026.01"
    target.instance()  # another version may have it
    assert SESSIONS in look(target)[0].entitlements


def test_nothing_is_known_to_be_lacking_before_the_version_is(target: TeamCity) -> None:
    account = target.account(str(ANA))
    assert account is not None
    assert target.manual(account, Task("t", Operation.REVOKE, SESSIONS)) == ()


# --- rights that are missing


def test_tokens_that_are_not_shown_are_unseen_and_the_account_counts_as_open(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = TeamCitySandbox(company(), own_permissions=("view_user_profile", "view_all_users", "view_project"))
    sandbox.set_property(OLD, MARK, "long ago")
    with sandbox.serve():
        target = connected(sandbox, monkeypatch, Line())
        account, found = look(target, OLD)
        target.close()
    assert "change_user" in unseen(found, "access tokens").because
    assert "change_user" in unseen(found, "access tokens").hands[0]
    assert account.active


HIDDEN = {"roles": "direct roles", "groups": "groups", "hasPassword": "password", "properties": "marked as suspended"}


@pytest.mark.parametrize("field", HIDDEN)
def test_what_teamcity_leaves_out_is_unseen_and_never_empty(
    target: TeamCity, sandbox: TeamCitySandbox, field: str
) -> None:
    sandbox.hidden = frozenset({field})
    account, found = look(target, OLD)
    said = unseen(found, HIDDEN[field])
    assert "view_user_profile" in said.hands[0]
    assert account.active
    assert Trait.GUEST not in account.traits


def test_there_is_nothing_to_hand_over(target: TeamCity) -> None:
    with pytest.raises(Refused, match="nothing that is handed over"):
        target.hand_over(str(ANA), Heirloom("schedule", "1", "x"), str(BEN))


# --- single sign-on lets them in again


def test_whoever_signs_in_again_after_a_suspension_gets_nothing_but_a_session(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    account, _ = look(target)
    done(target, account, leaving(account))
    assert sandbox.sso_arrival("ana@acme.example") == ANA
    left = sandbox.state()["users"][str(ANA)]
    assert (left["roles"], left["groups"], left["sessions"]) == ([], [ALL_USERS], 1)
    again, _ = look(target)
    done(target, again, [Task("t", Operation.REVOKE, SESSIONS)])
    assert sandbox.state()["users"][str(ANA)]["sessions"] == 0


def test_a_stranger_at_the_door_is_given_an_account_or_sent_away(sandbox: TeamCitySandbox) -> None:
    made = sandbox.sso_arrival("new@acme.example", ["dev"])
    assert sandbox.state()["users"][str(made)]["groups"] == [ALL_USERS, "DEV"]
    sandbox.auto_create = False
    with pytest.raises(Problem):
        sandbox.sso_arrival("newer@acme.example")


def test_a_departed_administrator_is_shut_out_like_anybody(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    account, _ = look(target, CEM)
    done(target, account, leaving(account))
    assert sandbox.state()["users"][str(CEM)]["groups"] == [ALL_USERS]
    assert calls(sandbox)[-1] == f"PUT /id:{CEM}/properties/{MARK}"


def test_an_account_that_never_had_a_password_asks_for_no_call_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = TeamCityUser(9, "ida", "Ida", "ida@acme.example", (), ("DEV",), has_password=False)
    sandbox = TeamCitySandbox(company(bare))
    with sandbox.serve():
        target = connected(sandbox, monkeypatch, Line())
        account, found = look(target, 9)
        done(target, account, leaving(account))
        target.close()
    assert "password:password" not in found.labels
    assert not [call for call in calls(sandbox) if "password" in call]


# --- few calls, since many leave at once


@pytest.fixture
def leaving_lane() -> Iterator[None]:
    lane = LANE.set("leaver")
    yield
    LANE.reset(lane)


@pytest.mark.usefixtures("leaving_lane")
def test_a_leavers_account_is_looked_at_once_between_two_changes(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    account, _ = look(target)
    sandbox.reads.clear()
    made = done(target, account, leaving(account))
    shown = [m for m in made if m.outcome is Outcome.APPLIED and "not read back" not in m.detail]
    already = [m for m in made if m.outcome is Outcome.ALREADY_SO]
    assert len(shown) > 3
    assert sum(sandbox.reads.values()) == len(shown) + len(already), "each is read back, or once more, and nothing else"


@pytest.mark.usefixtures("leaving_lane")
def test_what_somebody_did_by_hand_meanwhile_is_seen_once_anything_was_sent(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    account, _ = look(target)
    steps = target.steps(account, leaving(account))
    groups = [step for step in steps if step.verb == "leave_group"]
    roles = [step for step in steps if step.verb == "revoke_role"]
    assert groups
    assert roles
    sandbox.remove_role(ANA, str(roles[0].args["role"]), str(roles[0].args["scope"]))
    assert target.apply(groups[0]).outcome is Outcome.APPLIED
    assert target.apply(roles[0]).outcome is Outcome.ALREADY_SO


@pytest.mark.usefixtures("leaving_lane")
@pytest.mark.parametrize(("verb", "give_back"), [
    ("leave_group", lambda sandbox, step: sandbox.add_to_group(ANA, step.args["group"])),
    ("delete_token", lambda sandbox, step: sandbox.add_token(ANA, step.args["name"])),
], ids=["group", "token"])  # fmt: skip
def test_that_it_was_gone_a_moment_ago_is_no_word_that_it_is(
    target: TeamCity, sandbox: TeamCitySandbox, verb: str, give_back: Callable[[TeamCitySandbox, Step], object]
) -> None:
    account, _ = look(target)
    step = next(step for step in target.steps(account, leaving(account)) if step.verb == verb)
    assert target.apply(step).outcome is Outcome.APPLIED
    give_back(sandbox, step)
    assert target.apply(step).outcome is Outcome.APPLIED


def test_nobody_elses_account_is_changed_without_a_look_right_before(
    target: TeamCity, sandbox: TeamCitySandbox
) -> None:
    account, _ = look(target)
    step = next(step for step in target.steps(account, leaving(account)) if step.verb == "leave_group")
    sandbox.reads.clear()
    target.apply(step)
    assert sum(sandbox.reads.values()) == 2
