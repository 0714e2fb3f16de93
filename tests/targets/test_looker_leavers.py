"""When somebody leaves Looker: what is seen of their account, what ends, what stays and why, what others inherit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest

from tests.targets.looker_company import (
    ANN,
    BOB,
    CLEO,
    DORA,
    EMBED,
    EVE,
    REPORTS,
    SUPPORT,
    connected,
    do,
    group,
    impatient,
    sandbox,
    seen,
    shown,
    stage,
    target,
    task,
)
from worker.core.identity import ATTRIBUTE, Account, Entitlement, Trait
from worker.core.plan import Operation
from worker.errors import Refused, Rejected, Unknown
from worker.ports import Belongings, Heirloom, Line, Made, Outcome, Step, Unseen
from worker.rest import CALLS_END, LANE
from worker.sandbox.looker import LookerSandbox
from worker.sandbox.looker.instance import Group, VendorError
from worker.targets.looker import Looker

__all__ = ["sandbox", "stage", "target"]  # fixtures

DISABLE = task(Operation.DISABLE)
COMPANY = frozenset({"acme.example"})


def look(target: Looker, id: str = ANN) -> tuple[Account, Belongings]:
    found = target.belongings(id, company=COMPANY)
    assert found.account is not None
    return found.account, found


def unseen(found: Belongings, what: str) -> Unseen:
    [one] = [u for u in found.unseen if what in u.what]
    return one


def revoke(kind: str, id: str) -> Entitlement:
    return Entitlement(kind, id)


def mutations(sandbox: LookerSandbox) -> list[str]:
    return [f"{e.method} {e.path.removeprefix('/api/4.0')}" for e in sandbox.log]


# --- the look


def test_everything_that_lets_somebody_in_is_seen_with_words_and_ends(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.keys_closed = False
    session, (key, _) = sandbox.add_session(ANN), sandbox.add_key(ANN)
    app = sandbox.add_app("Sheets", ANN)
    sandbox.add_app("Slides", BOB)
    account, found = look(target)
    [key] = [k.id for k in sandbox.instance.users[ANN].keys if k.client_id == key]
    assert found.labels == {
        "role:3": "role Viewer",
        "group:11": "group Platform",
        f"session:{session}": f"web session {session} (Firefox, Lisbon) since 2026-01-05",
        f"api key:{key}": f"API key {key} since 2026-01-05",
        f"token:{app}": "tokens of OAuth app Sheets",
        "sign-on:email": "e-mail log-in",
    }
    assert {e.key for e in account.entitlements} == found.labels.keys() - {"sign-on:email"}
    assert found.until == {f"session:{session}": dt.datetime(2027, 1, 5, 8, tzinfo=dt.UTC)}


@pytest.mark.parametrize(("heirlooms", "calls"), [(False, 9), (True, 13)])
def test_a_look_takes_few_calls(target: Looker, sandbox: LookerSandbox, heirlooms: bool, calls: int) -> None:
    target.instance()
    before = target.calls
    found = target.belongings(ANN, heirlooms=heirlooms)
    assert target.calls - before == calls
    assert found.heirlooms == ()
    assert sandbox.log == []


def test_every_call_of_a_look_stands_in_the_lane_and_under_the_claim_of_whoever_looks(sandbox: LookerSandbox) -> None:
    stood: list[tuple[str, bool]] = []
    target = impatient(sandbox, Line(before=lambda _: stood.append((LANE.get(), CALLS_END.get() is not None))))
    lane, end = LANE.set("leaver"), CALLS_END.set(1e12)
    try:
        target.belongings(ANN)
    finally:
        LANE.reset(lane)
        CALLS_END.reset(end)
        target.close()
    assert len(stood[:-1]) > 11
    assert set(stood[:-1]) == {("leaver", True)}  # the last is the log-out


def test_a_token_that_ended_is_renewed_on_the_way(target: Looker, sandbox: LookerSandbox) -> None:
    session = sandbox.add_session(ANN)
    target.instance()
    sandbox.expire_tokens()
    account, _ = look(target)
    assert revoke("session", session) in account.entitlements


def test_membership_of_a_group_and_of_one_around_it_are_both_seen(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.add_to_group(ANN, "Engineering")
    account, _ = look(target)
    assert {group("10"), group("11")} <= account.entitlements


def test_running_api_logins_are_said_to_last_as_long_as_our_own(sandbox: LookerSandbox) -> None:
    sandbox.token_seconds = 1800
    with connected(sandbox) as target:
        _, found = look(target)
    assert unseen(found, "API logins").lasts == dt.timedelta(minutes=30)


# --- API keys


def test_keys_that_looker_shows_to_nobody_but_their_owner_are_unseen_and_left_to_a_human(
    target: Looker, sandbox: LookerSandbox
) -> None:
    sandbox.add_key(ANN)
    account, found = look(target)
    assert not [e for e in account.entitlements if e.kind == "api key"]
    said = unseen(found, "API keys")
    assert "no key of a disabled account works" in said.because
    assert f"Leave account {ANN} disabled" in said.hands[0]


def test_keys_that_are_shown_and_that_nobody_but_their_owner_may_delete_are_left_to_a_human(
    target: Looker, sandbox: LookerSandbox
) -> None:
    sandbox.keys_listed = True
    sandbox.add_key(ANN)
    account, _ = look(target)
    [key] = [e for e in account.entitlements if e.kind == "api key"]
    hands = target.manual(account, task(Operation.REVOKE, key))
    assert f"Leave account {ANN} disabled" in hands[0]
    with pytest.raises(Rejected, match=r"Leave the account disabled: no API key of a disabled account works"):
        do(target, account, task(Operation.REVOKE, key))
    assert len(sandbox.instance.users[ANN].keys) == 1


def test_an_empty_list_of_keys_proves_nothing_where_they_are_their_owners_own(
    target: Looker, sandbox: LookerSandbox
) -> None:
    sandbox.keys_listed = True
    assert unseen(look(target)[1], "API keys")
    assert not [u for u in look(target, REPORTS)[1].unseen if u.what == "API keys"]  # a service account's are shown
    sandbox.keys_closed = False
    target.instance()
    assert not [u for u in look(target)[1].unseen if u.what == "API keys"]


def test_older_releases_need_no_human_for_keys(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.keys_closed = False
    sandbox.add_key(ANN)
    account, _ = look(target)
    [key] = [e for e in account.entitlements if e.kind == "api key"]
    assert target.manual(account, task(Operation.REVOKE, key)) == ()
    [made] = do(target, account, task(Operation.REVOKE, key))
    assert made.outcome is Outcome.APPLIED
    assert sandbox.instance.users[ANN].keys == []


# --- tokens of OAuth apps


def test_the_tokens_of_an_app_end_for_the_leaver_alone(target: Looker, sandbox: LookerSandbox) -> None:
    app = sandbox.add_app("Sheets", ANN, BOB)
    account, _ = look(target)
    [made] = do(target, account, task(Operation.REVOKE, revoke("token", app)))
    assert made.outcome is Outcome.APPLIED
    assert sandbox.state()["apps"][app]["users"] == [BOB]


@pytest.mark.parametrize("how", ["forbidden", "without its users"])
def test_apps_that_do_not_show_their_users_are_unseen(target: Looker, sandbox: LookerSandbox, how: str) -> None:
    sandbox.add_app("Sheets", ANN)
    if how == "forbidden":
        sandbox.denied = frozenset({"GET /oauth_client_apps"})
    else:
        sandbox.hidden = frozenset({"activated_users"})
    account, found = look(target)
    assert not [e for e in account.entitlements if e.kind == "token"]
    assert unseen(found, "OAuth apps").lasts == dt.timedelta(hours=1)


# --- ways to log in


def test_ways_to_log_in_stay_on_a_disabled_account_and_say_why(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.add_second_factor(ANN)
    sandbox.add_link(ANN, "saml")
    account, found = look(target)
    assert not [e for e in account.entitlements if e.kind == "sign-on"]
    assert {key: why.split(";")[0] for key, why in found.kept.items()} == {
        "sign-on:email": "it carries the address by which Trueup and single sign-on find the account",
        "sign-on:totp": "it opens nothing",
        "sign-on:saml": "with it a login over single sign-on meets the disabled account and is refused",
    }


def test_a_link_that_stays_keeps_single_sign_on_from_making_the_account_again(
    target: Looker, sandbox: LookerSandbox
) -> None:
    sandbox.sso("saml", default_new_user_role_ids=("3",))
    sandbox.sso_arrival("ann@acme.example")  # a stranger's account, for Ann's has no link yet
    sandbox.add_link(BOB, "saml")
    do(target, seen(target, BOB), DISABLE)
    people = set(sandbox.instance.users)
    with pytest.raises(VendorError):
        sandbox.sso_arrival("bob@acme.example")
    assert set(sandbox.instance.users) == people


def test_a_link_that_goes_lets_single_sign_on_make_a_new_account(sandbox: LookerSandbox) -> None:
    sandbox.sso("saml", default_new_user_role_ids=("3",))
    sandbox.add_link(ANN, "saml")
    with connected(sandbox, sign_on_links="delete") as target:
        account, found = look(target)
        assert "sign-on:saml" not in found.kept
        made = do(target, account, DISABLE, task(Operation.REVOKE, revoke("sign-on", "saml")))
    assert [m.outcome for m in made] == [Outcome.APPLIED] * 2
    assert shown(sandbox, ANN)["links"] == []
    again = sandbox.sso_arrival("ann@acme.example")
    assert again != ANN
    assert shown(sandbox, again)["roles"] == ["Viewer"]


@pytest.mark.parametrize("provider", ["saml", "oidc", "google", "ldap", "looker_openid"])
def test_each_link_can_be_removed(sandbox: LookerSandbox, provider: str) -> None:
    sandbox.add_link(ANN, provider)
    with connected(sandbox, sign_on_links="delete") as target:
        account, _ = look(target)
        do(target, account, task(Operation.REVOKE, revoke("sign-on", provider)))
        assert look(target)[1].kept.keys() == {"sign-on:email"}
    assert mutations(sandbox) == [f"DELETE /users/{ANN}/credentials_{provider}"]


def test_the_last_address_of_an_account_stays(sandbox: LookerSandbox) -> None:
    sandbox.add_link(EVE, "saml", "eve@acme.example")
    with connected(sandbox, sign_on_links="delete") as target:
        account, found = look(target, EVE)
        assert "nobody could find the account again" in found.kept["sign-on:saml"]
        with pytest.raises(Refused, match="find the account again"):
            do(target, account, task(Operation.REVOKE, revoke("sign-on", "saml")))
        assert [a.id for a in target.accounts_of({"email": "Eve@acme.example"})] == [EVE]
    assert sandbox.log == []


def test_a_link_that_no_call_removes_is_said_to_stay(sandbox: LookerSandbox) -> None:
    sandbox.add_link(ANN, "workforce")
    with connected(sandbox, sign_on_links="delete") as target:
        account, found = look(target)
        assert "no call that removes it" in found.kept["sign-on:workforce"]
        with pytest.raises(Refused, match="no call that removes"):
            do(target, account, task(Operation.REVOKE, revoke("sign-on", "workforce")))


# --- rights that are missing, and accounts that are nobody's business

HIDDEN = {
    "web sessions": "GET /users/*/sessions",
    "API keys": "GET /users/*/credentials_api3",
    "tokens of OAuth apps": "GET /oauth_client_apps",
    "schedules": "GET /scheduled_plans",
    "alerts": "GET /alerts/search",
    "dashboards": "GET /dashboards/search",
    "Looks": "GET /looks/search",
}


@pytest.mark.parametrize("what", HIDDEN)
def test_a_part_that_our_rights_do_not_show_is_unseen_with_what_to_do(
    target: Looker, sandbox: LookerSandbox, what: str
) -> None:
    sandbox.add_session(ANN)
    sandbox.denied = frozenset({HIDDEN[what]})
    account, found = look(target)
    said = unseen(found, what)
    assert "Looker does not show" in said.because or "Looker shows the API keys of people to nobody" in said.because
    assert said.hands
    assert account.active


def test_alerts_that_are_listed_and_not_shown_are_unseen(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.add_alert(ANN, "Orders")
    sandbox.denied = frozenset({"GET /alerts/[0-9]*"})
    assert "Looker does not show" in unseen(look(target)[1], "alerts").because


def test_a_session_that_is_not_shown_any_more_is_not_called_ended(target: Looker, sandbox: LookerSandbox) -> None:
    session = sandbox.add_session(ANN)
    account, _ = look(target)
    sandbox.denied = frozenset({"GET /users/*/sessions"})
    with pytest.raises(Rejected, match="does not show it"):
        do(target, account, task(Operation.REVOKE, revoke("session", session)))
    assert sandbox.log == []


@pytest.mark.parametrize("id", [REPORTS, SUPPORT, EMBED])
def test_accounts_of_machines_and_of_the_vendor_are_for_humans(target: Looker, sandbox: LookerSandbox, id: str) -> None:
    session = sandbox.add_session(id)
    account, found = look(target, id)
    gone = task(Operation.REVOKE, revoke("session", session))
    assert "Trueup never changes account" in target.manual(account, gone)[0]
    assert "Trueup never changes account" in target.manual(account, DISABLE)[0]
    with pytest.raises(Refused, match="never touched"):
        do(target, account, gone)
    assert sandbox.log == []
    assert bool([u for u in found.unseen if "embedded" in u.what]) is (id == EMBED)


def test_a_mirrored_group_is_a_line_for_a_human(target: Looker) -> None:
    account, found = look(target, BOB)
    assert found.labels["group:16"] == "group Okta Sales"
    assert "mirrored" in target.manual(account, task(Operation.REVOKE, group("16")))[0]
    assert target.manual(account, task(Operation.REVOKE, group("10"))) == ()


def test_roles_that_single_sign_on_manages_are_a_line_for_a_human(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.sso("saml", set_roles_from_groups=True)
    sandbox.sso_login(ANN)
    account, _ = look(target)
    assert Trait.ROLES_MANAGED in account.traits
    assert "managed by single sign-on" in target.manual(account, task(Operation.REVOKE, revoke("role", "3")))[0]


def test_the_doors_are_shut_before_the_rights_go(target: Looker, sandbox: LookerSandbox) -> None:
    session, app = sandbox.add_session(ANN), sandbox.add_app("Sheets", ANN)
    account, _ = look(target)
    tasks = [task(Operation.REVOKE, held) for held in sorted(account.entitlements)]
    do(target, account, *tasks, DISABLE)
    assert mutations(sandbox) == [
        f"PATCH /users/{ANN}", f"DELETE /users/{ANN}/sessions/{session}",
        f"DELETE /oauth_client_apps/{app}/users/{ANN}",
        f"PUT /users/{ANN}/roles", f"DELETE /groups/11/users/{ANN}",
    ]  # fmt: skip
    after, _ = look(target)
    assert not after.active
    assert after.entitlements == frozenset()


def test_accounts_are_found_by_address_disabled_ones_and_those_of_single_sign_on_too(
    target: Looker, sandbox: LookerSandbox
) -> None:
    sandbox.add_user("Wild", "Card", "doraxx@acme.example")
    made = sandbox.instance.arrival("saml", "Dora_X@acme.example")
    keys = {"login": "DORA_X@acme.example", "email": "dora_x@acme.example"}
    found = target.accounts_of(keys)
    assert [a.id for a in found] == [DORA, made.id]
    assert [a.active for a in found] == [False, True]


# --- what others inherit


def only(found: Belongings, kind: str) -> Heirloom:
    [one] = [h for h in found.heirlooms if h.kind == kind]
    return one


def test_schedules_are_recorded_as_they_are_before_the_lock_out(target: Looker, sandbox: LookerSandbox) -> None:
    on = sandbox.add_schedule(ANN, "Monday numbers", "team@acme.example", "Bob@ACME.example")
    off = sandbox.add_schedule(ANN, "Old numbers", enabled=False)
    sandbox.add_schedule(BOB, "Bob's")
    _, found = look(target)
    assert found.heirlooms == (
        Heirloom("schedule", on, "Monday numbers", True, ("Bob@ACME.example", "team@acme.example")),
        Heirloom("schedule", off, "Old numbers", False),
    )


def test_a_schedule_that_the_lock_out_may_have_turned_off_is_for_a_human_who_knows(
    target: Looker, sandbox: LookerSandbox
) -> None:
    plan = sandbox.add_schedule(ANN, "Numbers", "team@acme.example")
    sandbox.disable(ANN)
    found = only(look(target)[1], "schedule")
    assert (found.enabled, found.caution) == (
        False, "it is off, and nothing says whether it was before its owner was disabled",
    )  # fmt: skip
    [made] = handed(target, target.hand_over(ANN, replace(found, enabled=True), BOB, approved=True))[-1:]
    assert made.after == f"of account {BOB}, on"
    assert sandbox.state()["schedules"][plan]["enabled"] is True


CAUTIONS: Mapping[str, tuple[str, str, str]] = {
    "its owner": ("email", "ann@ACME.example", "it goes to its owner"),
    "somebody outside": ("email", "ann@home.example", "it goes outside the company"),
    "a domain that only ends like ours": ("email", "ann@evil-acme.example", "it goes outside the company"),
    "a server": ("webhook", "https://acme.example/hook", "nothing says who reads that"),
    "a bucket": ("s3", "s3://numbers", "nothing says who reads that"),
}


@pytest.mark.parametrize("to", CAUTIONS)
def test_a_schedule_is_not_handed_over_by_itself_that_goes_to(target: Looker, sandbox: LookerSandbox, to: str) -> None:
    kind, address, why = CAUTIONS[to]
    sandbox.add_schedule(ANN, "Numbers", address, kind=kind)
    _, found = look(target)
    schedule = only(found, "schedule")
    assert why in schedule.caution
    assert "then reassign it" in schedule.hands[0]
    with pytest.raises(Refused, match=why):
        target.hand_over(ANN, schedule, BOB)
    target.apply(target.hand_over(ANN, schedule, BOB, approved=True))
    assert sandbox.state()["schedules"][schedule.id]["user_id"] == BOB


def test_one_recipient_outside_among_many_is_enough(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.add_schedule(ANN, "Numbers", "a@acme.example", "z@press.example", "b@acme.example")
    assert "z@press.example" in only(look(target)[1], "schedule").caution


def test_the_owner_is_known_by_every_address(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.add_link(ANN, "saml", "ann.lee@acme.example")
    sandbox.add_schedule(ANN, "Numbers", "ann.lee@acme.example")
    assert "to its owner" in only(look(target)[1], "schedule").caution


def test_without_word_of_the_companys_domains_nothing_that_goes_to_anybody_is_handed_over_by_itself(
    target: Looker, sandbox: LookerSandbox
) -> None:
    sandbox.add_schedule(ANN, "To Bob", "bob@acme.example")
    sandbox.add_schedule(ANN, "To nobody")
    cautions = {h.title: h.caution for h in target.belongings(ANN).heirlooms}
    assert cautions == {
        "To Bob": "it goes to bob@acme.example, and no mail domain is said to be the company's",
        "To nobody": "",
    }


def handed(target: Looker, step: Step) -> list[Made]:
    made = [target.apply(step)]
    while made[-1].again:
        made.append(target.apply(step))
    return made


def test_a_schedule_handed_over_before_the_lock_out_is_one_call_that_names_no_destination(
    target: Looker, sandbox: LookerSandbox
) -> None:
    plan = sandbox.add_schedule(ANN, "Numbers", "team@acme.example")
    step = target.hand_over(ANN, only(look(target)[1], "schedule"), BOB)
    [made] = handed(target, step)
    assert (made.outcome, made.before, made.after) == (
        Outcome.APPLIED, f"of account {ANN}, on", f"of account {BOB}, on",
    )  # fmt: skip
    assert [e.request_body for e in sandbox.log] == [b'{"user_id": "21"}']
    assert sandbox.state()["schedules"][plan]["recipients"] == (("email", "team@acme.example"),)
    assert target.apply(step).outcome is Outcome.ALREADY_SO
    assert len(sandbox.log) == 1


def test_a_schedule_that_the_lock_out_turned_off_is_turned_on_again(target: Looker, sandbox: LookerSandbox) -> None:
    plan = sandbox.add_schedule(ANN, "Numbers", "team@acme.example")
    step = target.hand_over(ANN, only(look(target)[1], "schedule"), BOB)
    do(target, seen(target, ANN), DISABLE)
    assert sandbox.state()["schedules"][plan]["enabled"] is False
    made = handed(target, step)
    assert [(m.outcome, m.again) for m in made] == [(Outcome.APPLIED, True), (Outcome.APPLIED, False)]
    assert [e.request_body for e in sandbox.log][1:] == [b'{"user_id": "21"}', b'{"enabled": true}']
    now = sandbox.state()["schedules"][plan]
    assert (now["user_id"], now["enabled"]) == (BOB, True)
    assert target.settled(step).outcome is Outcome.FOUND_APPLIED


def test_a_schedule_that_was_off_stays_off(target: Looker, sandbox: LookerSandbox) -> None:
    plan = sandbox.add_schedule(ANN, "Numbers", enabled=False)
    [made] = handed(target, target.hand_over(ANN, only(look(target)[1], "schedule"), BOB))
    assert made.after == f"of account {BOB}, off"
    assert sandbox.state()["schedules"][plan]["enabled"] is False


def test_a_hand_over_whose_answers_are_lost_is_finished(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.add_schedule(ANN, "Numbers")
    step = target.hand_over(ANN, only(look(target)[1], "schedule"), BOB)
    do(target, seen(target, ANN), DISABLE)
    for wanted in (Outcome.FOUND_NOT_APPLIED, Outcome.FOUND_APPLIED):  # only half of it is so after the first call
        fault = sandbox.break_("PATCH */scheduled_plans/*", "drop-after", times=1)
        with pytest.raises(Unknown):
            target.apply(step)
        assert fault.fired
        assert target.settled(step).outcome is wanted
    assert target.apply(step).outcome is Outcome.ALREADY_SO


def test_a_schedule_goes_back_to_whoever_had_it(target: Looker, sandbox: LookerSandbox) -> None:
    plan = sandbox.add_schedule(ANN, "Numbers")
    schedule = only(look(target)[1], "schedule")
    handed(target, target.hand_over(ANN, schedule, BOB))
    handed(target, target.hand_over(BOB, schedule, ANN))
    assert sandbox.state()["schedules"][plan]["user_id"] == ANN


REFUSALS = {
    "its recipients were changed": "recipients were changed",
    "somebody else has it": f"belongs to account {CLEO} now",
    "it is gone": "does not exist any more",
    "the heir is gone": "does not exist",
    "the heir is disabled": "is disabled",
    "the heir is the vendor's": "is vendor support account",
    "the heir is ourselves": "is our own account",
}


@pytest.mark.parametrize("why", REFUSALS)
def test_nothing_is_handed_over_when(target: Looker, sandbox: LookerSandbox, why: str) -> None:
    plan = sandbox.add_schedule(ANN, "Numbers", "team@acme.example")
    heir = {"the heir is gone": "999", "the heir is disabled": DORA, "the heir is the vendor's": SUPPORT}.get(why, BOB)
    step = target.hand_over(ANN, only(look(target)[1], "schedule"), heir)
    if why == "the heir is ourselves":
        step = replace(step, args={**step.args, "heir": sandbox.own_account})
    now = sandbox.instance.schedules[plan]
    if why == "its recipients were changed":
        now.recipients = (*now.recipients, ("email", "ann@home.example"))
    if why == "somebody else has it":
        now.user_id = CLEO
    if why == "it is gone":
        del sandbox.instance.schedules[plan]
    with pytest.raises(Refused, match=REFUSALS[why]):
        target.apply(step)
    assert sandbox.log == []


def test_nothing_of_a_service_account_is_handed_over_and_one_may_be_an_heir(
    target: Looker, sandbox: LookerSandbox
) -> None:
    sandbox.add_schedule(REPORTS, "Machine's")
    plan = sandbox.add_schedule(ANN, "Ann's")
    machines = only(target.belongings(REPORTS), "schedule")
    with pytest.raises(Refused, match="never touched"):
        target.apply(target.hand_over(REPORTS, machines, BOB))
    target.apply(target.hand_over(ANN, only(look(target)[1], "schedule"), REPORTS))
    assert sandbox.state()["schedules"][plan]["user_id"] == REPORTS


def test_nobody_inherits_from_themselves(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.add_schedule(ANN, "Numbers")
    with pytest.raises(Refused, match="already"):
        target.hand_over(ANN, only(look(target)[1], "schedule"), ANN)


def test_alerts_are_found_among_everybodys_and_handed_over(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.page_cap = 2
    for n in range(5):
        sandbox.add_alert(BOB, f"Bob's {n}")
    alert = sandbox.add_alert(ANN, "Orders", "team@acme.example")
    found = only(look(target)[1], "alert")
    assert found == Heirloom("alert", alert, "Orders", True, ("team@acme.example",), "Orders")
    step = target.hand_over(ANN, found, BOB)
    [made] = handed(target, step)
    assert made.outcome is Outcome.APPLIED
    assert target.apply(step).outcome is Outcome.ALREADY_SO
    assert sandbox.state()["alerts"][alert]["owner_id"] == BOB
    assert [e.request_body for e in sandbox.log] == [b'{"owner_id": "21"}']


def test_an_alert_that_somebody_turned_off_meanwhile_is_turned_on_for_its_heir(
    target: Looker, sandbox: LookerSandbox
) -> None:
    alert = sandbox.add_alert(ANN, "Orders")
    step = target.hand_over(ANN, only(look(target)[1], "alert"), BOB)
    sandbox.instance.alerts[alert].is_disabled = True
    assert [m.again for m in handed(target, step)] == [True, False]
    assert sandbox.state()["alerts"][alert]["is_disabled"] is False


def test_an_alert_to_an_integration_is_not_handed_over_by_itself(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.add_alert(ANN, "Orders", "slack", kind="ACTION_HUB")
    found = only(look(target)[1], "alert")
    assert found.recipients == ("action hub: slack",)
    assert "nothing says who reads that" in found.caution


def test_content_is_listed_and_stays_where_it_is(target: Looker, sandbox: LookerSandbox) -> None:
    board = sandbox.add_content(ANN, "dashboard", "Sales", folder="Ann Lee")
    chart = sandbox.add_content(ANN, "look", "Orders")
    sandbox.add_content(BOB, "look", "Bob's")
    _, found = look(target)
    assert [(h.kind, h.id, h.title, h.container) for h in found.heirlooms] == [
        ("content", f"dashboards/{board}", "Sales", "Ann Lee"),
        ("content", f"looks/{chart}", "Orders", "Shared"),
    ]
    with pytest.raises(Refused, match="it stays where it is"):
        target.hand_over(ANN, found.heirlooms[0], BOB, approved=True)


def test_a_public_link_is_said_for_it_lets_in_whoever_has_it(target: Looker, sandbox: LookerSandbox) -> None:
    chart = sandbox.add_content(ANN, "look", "Orders", public=True)
    _, found = look(target)
    said = unseen(found, "public link of Look Orders")
    assert f"/looks/{chart}" in said.hands[0]


def test_content_of_many_pages_is_read_whole(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.page_cap = 2
    made = {f"looks/{sandbox.add_content(ANN, 'look', f'Look {n}')}" for n in range(5)}
    assert {h.id for h in look(target)[1].heirlooms} == made
    sandbox.count_known = False
    assert {h.id for h in look(target)[1].heirlooms} == made


# --- few calls, since many leave at once


@pytest.fixture
def leaving_lane() -> Iterator[None]:
    lane = LANE.set("leaver")
    yield
    LANE.reset(lane)


@pytest.mark.usefixtures("leaving_lane")
def test_a_leaver_who_was_just_looked_at_is_locked_out_in_two_calls(target: Looker, sandbox: LookerSandbox) -> None:
    account, _ = look(target)
    sandbox.reads.clear()
    assert [made.outcome for made in do(target, account, DISABLE)] == [Outcome.APPLIED]
    assert sum(sandbox.reads.values()) == 1, "it is read back"


def test_anybody_else_is_looked_at_right_before(target: Looker, sandbox: LookerSandbox) -> None:
    account, _ = look(target)
    sandbox.reads.clear()
    do(target, account, DISABLE)
    assert sum(sandbox.reads.values()) == 2


@pytest.mark.usefixtures("leaving_lane")
def test_that_a_leaver_was_locked_out_a_moment_ago_is_no_word_that_they_are(
    target: Looker, sandbox: LookerSandbox
) -> None:
    account, _ = look(target)
    do(target, account, DISABLE)
    sandbox.enable(ANN)
    assert [made.outcome for made in do(target, account, DISABLE)] == [Outcome.APPLIED]


def ending(sandbox: LookerSandbox) -> dict[str, tuple[Entitlement, Callable[[], object]]]:
    """What a leaver has, each with how somebody ends it by hand."""
    session = sandbox.add_session(ANN)
    app = sandbox.add_app("Sheets", ANN)
    return {
        "session": (revoke("session", session), lambda: sandbox.instance.users[ANN].sessions.remove(session)),
        "app": (revoke("token", app), lambda: sandbox.instance.apps[app].users.discard(ANN)),
        "group": (group("11"), lambda: sandbox.remove_from_group(ANN, "Platform")),
    }


@pytest.mark.usefixtures("leaving_lane")
@pytest.mark.parametrize("what", ["session", "app", "group"])
def test_what_was_just_seen_is_ended_and_looked_for_once(target: Looker, sandbox: LookerSandbox, what: str) -> None:
    one, _ = ending(sandbox)[what]
    account, _ = look(target)
    sandbox.reads.clear()
    assert [made.outcome for made in do(target, account, task(Operation.REVOKE, one))] == [Outcome.APPLIED]
    assert sum(sandbox.reads.values()) == 1, "after the call"
    assert [made.outcome for made in do(target, account, task(Operation.REVOKE, one))] == [Outcome.ALREADY_SO]
    assert len(sandbox.log) == 1


@pytest.mark.usefixtures("leaving_lane")
@pytest.mark.parametrize("what", ["session", "app", "group"])
def test_what_somebody_ended_since_it_was_seen_is_found_to_be_so(
    target: Looker, sandbox: LookerSandbox, what: str
) -> None:
    one, end = ending(sandbox)[what]
    account, _ = look(target)
    end()
    made = do(target, account, task(Operation.REVOKE, one))
    assert {each.outcome for each in made} <= {Outcome.ALREADY_SO, Outcome.APPLIED}
    assert one not in look(target)[0].entitlements


def test_a_session_of_anybody_else_is_looked_for_right_before(target: Looker, sandbox: LookerSandbox) -> None:
    one, _ = ending(sandbox)["session"]
    account, _ = look(target)
    sandbox.reads.clear()
    do(target, account, task(Operation.REVOKE, one))
    assert sum(sandbox.reads.values()) == 3, "of whom, before the call, and after it"


@pytest.mark.usefixtures("leaving_lane")
def test_the_value_of_an_attribute_that_was_just_defined_is_not_overlooked(
    target: Looker, sandbox: LookerSandbox
) -> None:
    look(target, BOB)
    made = sandbox.add_attribute("tier")
    sandbox.set_value(ANN, "tier", "gold")
    assert Entitlement(ATTRIBUTE, made, "gold") in look(target)[0].entitlements


@pytest.mark.usefixtures("leaving_lane")
def test_what_says_that_somebody_is_out_is_a_look_of_its_own(target: Looker, sandbox: LookerSandbox) -> None:
    account, _ = look(target)
    do(target, account, DISABLE)
    sandbox.enable(ANN)
    assert look(target)[0].active


@pytest.mark.usefixtures("leaving_lane")
def test_what_is_everybodys_is_read_once_for_many_who_leave(target: Looker, sandbox: LookerSandbox) -> None:
    for id in (ANN, BOB, CLEO):
        look(target, id)
    (alerts,) = [n for path, n in sandbox.reads.items() if path.endswith("/alerts/search")]
    (groups,) = [n for path, n in sandbox.reads.items() if path.endswith("/groups/search/with_hierarchy")]
    (attributes,) = [n for path, n in sandbox.reads.items() if path.endswith("/user_attributes")]
    assert (alerts, groups, attributes) == (1, 1, 1)


@pytest.mark.usefixtures("leaving_lane")
def test_an_alert_that_went_since_everybodys_were_read_is_nobodys_matter(
    target: Looker, sandbox: LookerSandbox
) -> None:
    deleted, given, kept = (sandbox.add_alert(ANN, title) for title in ("Orders", "Returns", "Stock"))
    look(target, BOB)
    del sandbox.instance.alerts[deleted]
    sandbox.instance.alerts[given].owner_id = BOB
    assert [(h.kind, h.id) for h in look(target)[1].heirlooms] == [("alert", kept)]


@pytest.mark.usefixtures("leaving_lane")
def test_a_group_that_was_just_made_is_not_overlooked(target: Looker, sandbox: LookerSandbox) -> None:
    look(target, BOB)
    made = Group(sandbox.instance.next_id(), "Brand new")
    sandbox.instance.groups[made.id] = made
    sandbox.add_to_group(ANN, made.name)
    assert Entitlement("group", made.id) in look(target)[0].entitlements
