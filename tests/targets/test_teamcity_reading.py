"""TeamCity is read whole, and what is hidden never passes for what is not there."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from tests.reading import observed_pages
from tests.targets.target_contract import observed
from tests.targets.teamcity_company import ANA, BEN, CEM, DAN, MARK, OLD, company, connected, sandbox, target
from worker.core.identity import Catalogue, Entitlement, Trait
from worker.core.plan import Operation
from worker.errors import Denied, Misshapen, TrueupError, Unavailable
from worker.ports import Line, Task
from worker.sandbox.company import TeamCityProjectSpec, TeamCityUser
from worker.sandbox.teamcity import RECONCILER_PERMISSIONS, TeamCitySandbox
from worker.sandbox.teamcity.world import RECONCILER_ROLE
from worker.targets.teamcity import TeamCity

__all__ = ["sandbox", "target"]  # fixtures

USERS = "GET /app/rest/users"
ROW = '{"id": 1, "username": "a", "hasPassword": false, "roles": {"role": []}, "groups": {"group": []},'
ROW += ' "properties": {"property": []}}'
SHORT_LIST = f'{{"count": 1, "user": [{ROW}]}}'


@pytest.mark.parametrize("field", ["roles", "groups", "properties", "hasPassword"])
def test_a_field_that_is_hidden_is_denied_and_not_empty(target: TeamCity, sandbox: TeamCitySandbox, field: str) -> None:
    sandbox.hidden = frozenset({field})
    with pytest.raises(Denied, match="view_user_profile"):
        observed(target)
    with pytest.raises(Denied, match="view_user_profile"):
        target.account(str(ANA))


def test_one_user_whose_details_are_hidden_spoils_the_whole_reading(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    sandbox.hidden_users = frozenset({CEM})
    with pytest.raises(Denied, match=f"user {CEM} "):
        observed(target)


def test_a_user_who_has_become_invisible_is_denied_and_not_gone(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    assert target.account("4711") is None
    sandbox.remove_role(sandbox.own_id, RECONCILER_ROLE, "g")
    with pytest.raises(Denied):
        target.account(str(ANA))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f'{{"count": 1, "user": [{ROW}], "nextHref": "/app/rest/users"}}', id="a next page is announced"),
        pytest.param(f'{{"count": 2, "user": [{ROW}]}}', id="fewer rows than counted"),
        pytest.param(f'{{"count": 2, "user": [{ROW}, {ROW}]}}', id="the same id twice"),
        pytest.param(SHORT_LIST.replace('"id": 1', '"id": "1"'), id="an id that is no number"),
        pytest.param(SHORT_LIST.replace('"id": 1,', ""), id="a user without an id"),
        pytest.param(SHORT_LIST.replace('{"role": []}', "{}"), id="a wrapper without its list"),
        pytest.param("[]", id="a list instead of an object"),
        pytest.param('{"count": 0, "user": []}', id="nobody, not even ourselves"),
    ],
)  # fmt: skip
def test_a_list_of_users_that_is_not_whole_is_misshapen(target: TeamCity, sandbox: TeamCitySandbox, text: str) -> None:
    fault = sandbox.break_(USERS, "misshapen", text=text)
    with pytest.raises(Misshapen):
        observed(target)
    assert fault.fired


def test_a_list_with_more_behind_its_last_row_is_read_again(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    fault = sandbox.break_(USERS, "misshapen", text=SHORT_LIST, times=1)
    accounts, _ = observed(target)
    assert fault.fired == 1
    assert accounts.keys() == sandbox.state()["users"].keys()


def test_a_list_that_is_always_cut_is_unavailable(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    faults = [sandbox.break_(USERS, "misshapen", text=SHORT_LIST, skip=n, times=1) for n in (0, 2, 4)]
    with pytest.raises(Unavailable, match="one more behind the last"):
        observed(target)
    assert [fault.fired for fault in faults] == [1, 1, 1]


@pytest.mark.parametrize("place", ["roles", "userGroups"])
def test_a_list_of_roles_or_groups_that_is_not_whole_is_misshapen(
    target: TeamCity, sandbox: TeamCitySandbox, place: str
) -> None:
    kind = {"roles": "role", "userGroups": "group"}[place]
    fault = sandbox.break_(f"GET /app/rest/{place}", "misshapen", text=f'{{"count": 1, "{kind}": []}}')
    with pytest.raises(Misshapen):
        observed(target)
    assert fault.fired


@pytest.mark.off_contract("a context path")
def test_projects_are_read_along_their_next_pages_under_a_context_path(monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(TeamCityProjectSpec(f"P{n}", f"Project {n}", "_Root") for n in range(2_500))
    sandbox = TeamCitySandbox(replace(company(), teamcity_projects=many), context="/teamcity")
    with sandbox.serve():
        target = connected(sandbox, monkeypatch, Line())
        _, catalogue = observed(target)
        target.close()
    assert {id for kind, id in catalogue if kind == "scope"} == {"g", "p:_Root"} | {f"p:P{n}" for n in range(2_500)}
    assert sandbox.reads["/teamcity/app/rest/projects"] == 3


@pytest.mark.parametrize(
    "href",
    [
        pytest.param("http://elsewhere.invalid/app/rest/projects", id="on another host"),
        pytest.param("//elsewhere.invalid/app/rest/projects", id="on another host without a scheme"),
        pytest.param("/app/rest/projects?locator=start:0", id="round in a circle"),
    ],
)
def test_a_next_page_is_only_followed_onwards_on_the_same_host(
    target: TeamCity, sandbox: TeamCitySandbox, href: str
) -> None:
    text = f'{{"count": 1, "project": [{{"id": "Web"}}], "nextHref": "{href}"}}'
    fault = sandbox.break_("GET /app/rest/projects", "misshapen", text=text)
    with pytest.raises(Misshapen):
        observed(target)
    assert 1 <= fault.fired <= 2


PRIVILEGED = {
    ("role", "SYSTEM_ADMIN"): True,
    ("role", "PROJECT_ADMIN"): True,
    ("role", "SNEAKY"): True,  # only through the role it includes
    ("role", "PROJECT_DEVELOPER"): False,
    ("role", "PROJECT_VIEWER"): False,
    ("group", "DEV"): False,
    ("group", "QA"): False,
    ("group", "ROOT_VIEWERS"): True,  # a harmless role, but on the root project
    ("group", "SUPER"): True,
    ("group", "ADMINS"): True,  # only through its parent
    ("group", "SYSTEM_ADMINISTRATORS_GROUP"): True,  # whatever roles it shows
    ("group", "ALL_USERS_GROUP"): False,
    ("scope", "g"): True,
    ("scope", "p:_Root"): True,
    ("scope", "p:Web"): False,
    ("scope", "p:Web_Api"): False,
}


@pytest.mark.parametrize(("kind", "id"), PRIVILEGED, ids=[" ".join(place) for place in PRIVILEGED])
def test_the_catalogue_says_what_is_privileged(target: TeamCity, kind: str, id: str) -> None:
    _, items = observed(target)
    assert items[kind, id].privileged is PRIVILEGED[kind, id]
    assert items[kind, id].name == id


def test_what_everybody_has_makes_no_other_group_privileged(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    sandbox.world.groups["ALL_USERS_GROUP"].roles["PROJECT_VIEWER", "g"] = None
    sandbox.world.groups["DEV"].parents["ALL_USERS_GROUP"] = None
    _, items = observed(target)
    assert items["group", "ALL_USERS_GROUP"].privileged
    assert not items["group", "DEV"].privileged


def test_only_the_built_in_group_is_closed(target: TeamCity) -> None:
    _, items = observed(target)
    assert [id for (_, id), item in items.items() if item.closed] == ["ALL_USERS_GROUP"]


def test_a_role_everywhere_is_privileged_by_its_scope(target: TeamCity) -> None:
    catalogue = Catalogue(tuple(observed(target)[1].values()))
    assert catalogue.privileged(Entitlement("role", "PROJECT_VIEWER", "g"))
    assert not catalogue.privileged(Entitlement("role", "PROJECT_VIEWER", "p:Web"))


def test_administrators_and_the_guest_are_told_apart(target: TeamCity) -> None:
    accounts, _ = observed(target)
    assert {id for id, a in accounts.items() if Trait.ADMINISTRATOR in a.traits} == {str(CEM), str(DAN)}
    assert {a.login for a in accounts.values() if Trait.GUEST in a.traits} == {"guest"}


# --- suspended is observed, not remembered ---


def test_marked_and_bare_is_suspended(target: TeamCity) -> None:
    accounts, _ = observed(target)
    assert [id for id, account in accounts.items() if not account.active] == [str(OLD)]


@pytest.mark.parametrize("door", ["role", "group", "password", "token", "mark"])
def test_one_open_door_makes_a_suspended_account_active(target: TeamCity, sandbox: TeamCitySandbox, door: str) -> None:
    match door:
        case "role":
            sandbox.add_role(OLD, "PROJECT_VIEWER", "p:Web")
        case "group":
            sandbox.add_to_group(OLD, "QA")
        case "password":
            sandbox.set_field(OLD, "password", "again")
        case "token":
            sandbox.add_token(OLD, "new")
        case "mark":
            del sandbox.world.users[OLD].properties[MARK]
    account = target.account(str(OLD))
    assert account is not None
    assert account.active
    assert observed(target)[0][str(OLD)].active


def test_groups_from_single_sign_on_are_seen_at_the_next_reading(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    sandbox.sso_login(ANA, ["qa"])
    accounts, _ = observed(target)
    groups = {e.id for e in accounts[str(ANA)].entitlements if e.kind == "group"}
    assert groups == {"QA"}


def test_reading_takes_no_more_calls_than_pages_roles_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = [TeamCityUser(n, f"u{n}", "", "", (), (), has_password=False) for n in range(100, 300)]
    sandbox = TeamCitySandbox(company(*bare))
    for user in bare:
        sandbox.set_property(user.id, MARK, "x")
    with sandbox.serve():
        target = connected(sandbox, monkeypatch, Line())
        pages = observed_pages(target)
        target.close()
    groups_and_roles = len(sandbox.state()["groups"]) + len(sandbox.state()["roles"])
    assert sandbox.reads.total() <= 6 + groups_and_roles
    checks = {check.name: check.detail for page in pages for check in page.checks}
    assert f"{groups_and_roles} of 200 suspended accounts" in checks["tokens"]


@pytest.mark.parametrize("number", [20_000])
def test_a_large_server_is_read_in_seconds(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    many = [
        TeamCityUser(n, f"u{n}@x.example", f"User {n}", f"u{n}@x.example", (("PROJECT_VIEWER", "p:Web"),), ("QA",))
        for n in range(100, 100 + number)
    ]
    sandbox = TeamCitySandbox(company(*many))
    with sandbox.serve():
        target = connected(sandbox, monkeypatch, Line())
        started = time.monotonic()
        accounts, _ = observed(target)
        taken = time.monotonic() - started
        target.close()
    assert len(accounts) == number + 8
    assert taken < 30, f"{taken:.1f} s"


# --- the server itself ---


def test_the_instance_is_the_servers_own_id_and_our_account(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    instance = target.instance()
    assert (instance.id, instance.own_account) == (sandbox.internal_id, str(sandbox.own_id))
    assert instance.version.startswith("2025.07")


def test_a_server_without_an_id_is_misshapen(target: TeamCity, sandbox: TeamCitySandbox) -> None:
    fault = sandbox.break_("GET /app/rest/server", "misshapen", text='{"version": "2025.07"}')
    with pytest.raises(Misshapen, match="internalId"):
        target.instance()
    assert fault.fired


def notices(target: TeamCity) -> dict[str, bool]:
    return {notice.text: notice.fatal for notice in target.probe()}


def test_a_server_set_up_well_has_nothing_to_say(target: TeamCity) -> None:
    assert notices(target) == {}


PROBED: dict[str, tuple[dict[str, Any], str, bool]] = {
    "simple authorization mode stops a run": ({"per_project": False}, "simple authorization mode", True),
    "SAML fights over groups": ({"auth_modules": ("Default", "HTTP-SAML.2.0")}, "HTTP-SAML.2.0", False),
    "LDAP fights over users": ({"auth_modules": ("LDAP",)}, "LDAP", False),
    "guest login is told": ({"allow_guest": True}, "Guest login is on", False),
}


@pytest.mark.parametrize("case", PROBED)
def test_what_would_fight_us_is_told(target: TeamCity, sandbox: TeamCitySandbox, case: str) -> None:
    switches, words, fatal = PROBED[case]
    for name, value in switches.items():
        setattr(sandbox, name, value)
    [(text, stops)] = notices(target).items()
    assert words in text
    assert stops is fatal


RIGHTS: dict[str, tuple[set[str], set[str], str, bool]] = {
    "cannot see users": ({"view_user_profile", "change_user"}, set(), "may not view users", True),
    "cannot change users": ({"change_user"}, set(), "lacks change_user", False),
    "cannot create users": ({"create_user"}, set(), "lacks create_user", False),
    "cannot see every project": ({"view_project"}, set(), "does not see every project", False),
    "cannot see settings": ({"view_server_settings"}, set(), "could not be checked", False),
    "may do too much": (set(), {"manage_roles"}, "may do more than Trueup needs: manage_roles", False),
}


@pytest.mark.parametrize("case", RIGHTS)
def test_what_our_account_may_not_or_should_not_do_is_told(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    without, besides, words, fatal = RIGHTS[case]
    sandbox = TeamCitySandbox(company(), own_permissions=(set(RECONCILER_PERMISSIONS) | besides) - without)
    with sandbox.serve():
        target = connected(sandbox, monkeypatch, Line())
        told = notices(target)
        target.close()
    assert {text: stops for text, stops in told.items() if words in text}.popitem()[1] is fatal


def test_a_token_limited_to_what_we_need_is_enough(sandbox: TeamCitySandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = [("g", p) for p in RECONCILER_PERMISSIONS if p not in ("view_server_settings", "view_audit_log")]
    sandbox.token = sandbox.add_token(sandbox.own_id, "limited", restrictions=needed)
    target = connected(sandbox, monkeypatch, Line())
    observed(target)
    ana = target.account(str(ANA))
    assert ana is not None
    make_all = target.steps(ana, [Task("t", Operation.DISABLE)])
    while any(target.apply(step).again for step in make_all):
        pass
    found = target.account(str(ANA))
    target.close()
    assert found is not None
    assert not found.active


def test_a_token_that_has_expired_is_denied(sandbox: TeamCitySandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    target = connected(sandbox, monkeypatch, Line())
    token = sandbox.world.own.tokens["trueup"]
    token.expires = token.created
    with pytest.raises(Denied):
        target.account(str(BEN))
    target.close()


@pytest.mark.parametrize("style", ["json", "text"])
def test_both_styles_of_error_are_told_in_plain_words(target: TeamCity, sandbox: TeamCitySandbox, style: str) -> None:
    sandbox.error_style = style
    sandbox.remove_role(sandbox.own_id, RECONCILER_ROLE, "g")
    with pytest.raises(TrueupError) as error:
        observed(target)
    assert 'You do not have "View user profile" or "Change user" permission' in str(error.value)
    assert "jetbrains" not in str(error.value)
    assert "{" not in str(error.value)
