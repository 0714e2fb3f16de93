"""The TeamCity sandbox has the traps of the real one: each is shown here by what it answers over HTTP."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.targets.teamcity_company import ANA, BEN, CEM, DAN, EVE, company
from worker.sandbox.teamcity import ALL_USERS, RECONCILER_PERMISSIONS, TeamCitySandbox
from worker.sandbox.teamcity.world import RECONCILER_ROLE

TEXT = {"Accept": "text/plain", "Content-Type": "text/plain; charset=utf-8"}
DEVELOPER = {"roleId": "PROJECT_DEVELOPER", "scope": "p:Web"}


class Caller:
    """Calls the sandbox, without keeping cookies."""

    def __init__(self, sandbox: TeamCitySandbox) -> None:
        self.sandbox = sandbox
        self.http = httpx.Client(base_url=sandbox.url + sandbox.context + "/app/rest/")

    def __call__(self, method: str, path: str, token: str = "", **how: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.sandbox.token}", "Accept": "application/json"}
        headers |= how.pop("headers", {})
        self.http.cookies.clear()
        return self.http.request(method, path, headers=headers, **how)

    def user(self, id: int) -> dict[str, Any]:
        found: dict[str, Any] = self.sandbox.state()["users"][str(id)]
        return found


@pytest.fixture
def sandbox() -> Iterator[TeamCitySandbox]:
    made = TeamCitySandbox(company(), own_permissions=(*RECONCILER_PERMISSIONS, "create_usergroup", "delete_user"))
    with made.serve():
        yield made


@pytest.fixture
def call(sandbox: TeamCitySandbox) -> Iterator[Caller]:
    caller = Caller(sandbox)
    yield caller
    caller.http.close()


# --- credentials, cookies, media types, errors ---


def test_without_a_token_nothing_is_answered(call: Caller) -> None:
    answer = call("GET", "users", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("text/plain")


def test_an_expired_token_is_no_token(call: Caller, sandbox: TeamCitySandbox) -> None:
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    assert call("GET", "server", sandbox.add_token(sandbox.own_id, "old", expires=past)).status_code == 401


def test_a_limited_token_has_only_the_rights_it_names(call: Caller, sandbox: TeamCitySandbox) -> None:
    token = sandbox.add_token(sandbox.own_id, "reader", restrictions=[("g", "view_user_profile")])
    assert call("GET", f"users/id:{ANA}", token).status_code == 200
    assert call("DELETE", f"users/id:{ANA}/password", token).status_code == 403
    rights = call("GET", "users/current/permissions", token).json()["permissionAssignment"]
    assert [row["permission"]["id"] for row in rights] == ["view_user_profile"]


def test_a_cookie_that_is_sent_back_fails_the_csrf_check(call: Caller) -> None:
    answer = call("DELETE", f"users/id:{ANA}/password", headers={"Cookie": "TCSESSIONID=4F1D"})
    assert (answer.status_code, "CSRF" in answer.text) == (403, True)
    assert call.user(ANA)["has_password"]


def test_every_answer_tries_to_set_a_session(call: Caller) -> None:
    assert "TCSESSIONID" in call("GET", "server").headers["set-cookie"]


@pytest.mark.off_contract("wrong media types, on purpose")
@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        pytest.param("GET", f"users/id:{ANA}/email", {}, 406, id="text is not JSON"),
        pytest.param("PUT", f"users/id:{ANA}/name", TEXT | {"Content-Type": "application/json"}, 415, id="a JSON name"),
        pytest.param("GET", f"users/id:{ANA}", {"Accept": "text/html"}, 406, id="a page for a person"),
        pytest.param("POST", "users", {"Content-Type": "text/plain"}, 415, id="a user as text"),
        pytest.param("DELETE", f"users/id:{ANA}/debug/rememberMe", {}, 406, id="a void call that says text"),
        pytest.param("DELETE", f"users/id:{ANA}/password", {"Accept": "image/png"}, 204, id="a void call"),
        pytest.param("PATCH", f"users/id:{ANA}", {}, 405, id="a method it does not have"),
        pytest.param("GET", "users/id:1/roles/A%2FB/g", {}, 400, id="an encoded slash"),
        pytest.param("GET", "nothing/of/the/kind", {}, 404, id="an address it does not have"),
    ],
)
def test_media_types_and_methods_are_minded(
    call: Caller, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    assert call(method, path, headers=headers, content=b"{}").status_code == status


@pytest.mark.parametrize(("style", "kind"), [("json", "application/json"), ("text", "text/plain")])
def test_errors_come_in_both_styles(call: Caller, sandbox: TeamCitySandbox, style: str, kind: str) -> None:
    sandbox.error_style = style
    answer = call("GET", "users/id:4711")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith(kind)
    assert "User not found" in answer.text
    assert ("Details: jetbrains" in answer.text) == (style == "text")


@pytest.mark.off_contract("a context path")
def test_everything_stands_under_the_context_path() -> None:
    made = TeamCitySandbox(company(), context="/teamcity")
    with made.serve(), httpx.Client() as http:
        headers = {"Authorization": f"Bearer {made.token}", "Accept": "application/json"}
        assert http.get(f"{made.url}/app/rest/server", headers=headers).status_code == 404
        page = http.get(f"{made.url}/teamcity/app/rest/projects?locator=count:1", headers=headers).json()
        assert page["nextHref"].startswith("/teamcity/app/rest/projects?")
        assert http.get(made.url + page["nextHref"], headers=headers).json()["count"] == 1


# --- locators and fields ---


def coded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


FOUND = {
    "by id": ("id:1", ANA),
    "by bare user name": ("ana@acme.example", ANA),
    "by user name in another case": ("username:ANA@ACME.EXAMPLE", ANA),
    "coded": (f"username:($base64:{coded('Ana@Acme.example')})", ANA),
    "the FIRST of two with one address": ("email:shared@acme.example", BEN),
    "an address in another case, asked for so": ("email:(value:EVE@acme.example,ignoreCase:true)", EVE),
}


@pytest.mark.parametrize("case", FOUND)
def test_a_locator_finds_one_user(call: Caller, case: str) -> None:
    locator, id = FOUND[case]
    assert call("GET", f"users/{locator}").json()["id"] == id


@pytest.mark.parametrize(
    ("locator", "status"),
    [
        pytest.param("email:EVE@acme.example", 404, id="plain addresses mind case"),
        pytest.param("id:4711", 404, id="nobody"),
        pytest.param("shoe:42", 400, id="an unknown dimension"),
        pytest.param("id:(1", 400, id="an open parenthesis"),
        pytest.param("id:one", 400, id="no number"),
    ],
)
def test_a_locator_that_finds_nobody(call: Caller, locator: str, status: int) -> None:
    assert call("GET", f"users/{locator}").status_code == status


@pytest.mark.parametrize(
    ("locator", "ids"),
    [
        pytest.param("group:(key:SUPER)", set(), id="direct members"),
        pytest.param("affectedGroup:(key:SUPER)", {CEM}, id="members through groups"),
        pytest.param("email:shared@acme.example", {BEN, CEM}, id="everybody with the address"),
        pytest.param("hasPassword:false,group:(key:ADMINS)", {CEM}, id="both at once"),
    ],
)
def test_a_list_may_be_narrowed(call: Caller, locator: str, ids: set[int]) -> None:
    found = call("GET", "users", params={"locator": locator}).json()
    assert {user["id"] for user in found["user"]} == ids


def test_a_property_finds_its_holders(call: Caller, sandbox: TeamCitySandbox) -> None:
    sandbox.set_property(BEN, "x", "1")
    found = call("GET", "users", params={"locator": "property:(name:x,value:1)"}).json()
    assert [user["id"] for user in found["user"]] == [BEN]


def test_users_come_unpaged_unless_counted(call: Caller) -> None:
    whole = call("GET", "users").json()
    pages = [call("GET", "users", params={"locator": f"count:3,start:{n}"}).json() for n in (0, 3, 6, 9)]
    assert "nextHref" not in whole
    assert [page["count"] for page in pages] == [3, 3, 2, 0]
    assert [u["id"] for page in pages for u in page["user"]] == [u["id"] for u in whole["user"]]


def test_a_list_is_short_and_one_alone_is_long(call: Caller) -> None:
    short = next(u for u in call("GET", "users").json()["user"] if u["id"] == ANA)
    long = call("GET", f"users/id:{ANA}").json()
    assert short.keys() == {"id", "username", "name", "href"}
    assert long.keys() == {*short, "email", "roles", "groups", "properties"}


def test_named_fields_come_even_when_empty_and_empty_texts_never(call: Caller) -> None:
    fields = "id,name,email,hasPassword,roles(role(roleId)),groups(group(key)),properties(property(name))"
    user = call("GET", f"users/id:{CEM}", params={"fields": fields}).json()
    assert (user["hasPassword"], user["roles"], user["properties"]) == (False, {"role": []}, {"property": []})
    assert call("GET", f"users/id:{DAN}", params={"fields": fields}).json().keys().isdisjoint({"name", "email"})


def test_without_the_right_details_are_absent_and_users_invisible(call: Caller, sandbox: TeamCitySandbox) -> None:
    sandbox.hidden_users = frozenset({ANA})
    assert "roles" not in call("GET", f"users/id:{ANA}", params={"fields": "id,roles"}).json()
    sandbox.remove_role(sandbox.own_id, RECONCILER_ROLE, "g")
    assert call("GET", f"users/id:{ANA}").status_code == 404
    assert call("GET", "users").status_code == 403
    assert call("GET", "users/current").json()["id"] == sandbox.own_id


# --- roles and groups ---


def test_replacing_roles_wipes_them_before_it_fails(call: Caller) -> None:
    body = {"role": [DEVELOPER, {"roleId": "NOPE", "scope": "g"}]}
    assert call("PUT", f"users/id:{ANA}/roles", json=body).status_code == 404
    assert call.user(ANA)["roles"] == [["PROJECT_DEVELOPER", "p:Web"]]


@pytest.mark.off_contract("misspelt bodies, on purpose")
def test_a_misspelt_list_of_roles_wipes_them_and_fails(call: Caller) -> None:
    assert call("PUT", f"users/id:{ANA}/roles", json={"roles": [DEVELOPER]}).status_code == 500
    assert call.user(ANA)["roles"] == []


@pytest.mark.off_contract("misspelt bodies, on purpose")
def test_a_misspelt_list_of_groups_drops_all_but_the_built_in(call: Caller) -> None:
    assert call("PUT", f"users/id:{ANA}/groups", json={"groups": []}).status_code == 200
    assert call.user(ANA)["groups"] == [ALL_USERS]


def test_a_role_is_put_to_a_user_and_deleted_in_silence(call: Caller) -> None:
    path = f"users/id:{BEN}/roles/PROJECT_DEVELOPER/p:Web"
    assert call("PUT", path).json()["roleId"] == "PROJECT_DEVELOPER"
    assert [call("DELETE", path).status_code for _ in range(2)] == [204, 204]
    assert call("DELETE", f"users/id:{BEN}/roles/NOPE/p:Web").status_code == 404
    assert call("PUT", f"users/id:{BEN}/roles/PROJECT_DEVELOPER/w:Web").status_code == 404


def test_a_role_in_a_project_that_is_gone_is_left_out_in_silence(call: Caller, sandbox: TeamCitySandbox) -> None:
    sandbox.add_role(BEN, "PROJECT_VIEWER", "p:Deleted")
    assert call("GET", f"users/id:{BEN}/roles").json() == {"role": []}


@pytest.mark.off_contract("the method that a user's role takes, on purpose")
def test_a_groups_role_takes_a_post(call: Caller, sandbox: TeamCitySandbox) -> None:
    sandbox.world.roles[RECONCILER_ROLE].permissions.add("change_usergroup")
    assert call("POST", "userGroups/key:QA/roles/PROJECT_VIEWER/p:Web").status_code == 200
    assert call("PUT", "userGroups/key:QA/roles/PROJECT_VIEWER/p:Web").status_code == 405
    assert sandbox.state()["groups"]["QA"]["roles"] == [["PROJECT_VIEWER", "p:Web"]]


def test_nobody_leaves_the_built_in_group(call: Caller) -> None:
    assert call("DELETE", f"users/id:{ANA}/groups/key:{ALL_USERS}").status_code == 400
    assert call("DELETE", f"users/id:{ANA}/groups/key:SUPER").status_code == 404  # no member
    assert call("PUT", f"users/id:{ANA}/groups", json={"group": [{"key": "QA"}]}).status_code == 200
    assert call.user(ANA)["groups"] == [ALL_USERS, "QA"]


def test_adding_one_group_can_be_missing(call: Caller, sandbox: TeamCitySandbox) -> None:
    assert call("POST", f"users/id:{BEN}/groups", json={"key": "QA"}).status_code == 200
    sandbox.group_post = False
    assert call("POST", f"users/id:{BEN}/groups", json={"key": "DEV"}).status_code == 405


def test_a_group_needs_a_new_key_and_name_and_leaves_nothing_behind_when_it_fails(
    call: Caller, sandbox: TeamCitySandbox
) -> None:
    new = {"key": "NEW", "name": "New"}
    bad_parent = new | {"parent-groups": {"group": [{"key": "NOPE"}]}}
    bodies = [{"key": "DEV", "name": "x"}, {"key": "X", "name": "Developers"}, {"key": "X"}, bad_parent]
    assert [call("POST", "userGroups", json=body).status_code for body in bodies] == [400] * 4
    assert "NEW" not in sandbox.state()["groups"]
    assert call("POST", "userGroups", json=new).status_code == 200


def test_simple_mode_makes_project_roles_mean_nothing(call: Caller, sandbox: TeamCitySandbox) -> None:
    sandbox.add_token(ANA, "mine")
    sandbox.per_project = False
    assert call("GET", "server/authSettings").json()["perProjectPermissions"] is False
    rights = call("GET", f"users/id:{ANA}/permissions").json()["permissionAssignment"]
    assert all(row["isGlobalScope"] for row in rights)


# --- users ---


def test_a_create_with_a_bad_role_leaves_the_account_behind(call: Caller, sandbox: TeamCitySandbox) -> None:
    body = {"username": "new", "roles": {"role": [{"roleId": "NOPE", "scope": "g"}]}}
    answer = call("POST", "users", json=body)
    assert (answer.status_code, "updated partially" in answer.text) == (400, True)
    assert "new" in {user["username"] for user in sandbox.state()["users"].values()}


@pytest.mark.parametrize(
    ("body", "words"),
    [({"username": "ANA@acme.example"}, "same username already exists"), ({"name": "x"}, "must not be empty")],
    ids=["taken, whatever the case", "no user name"],
)
def test_a_create_that_cannot_be_is_400(call: Caller, body: dict[str, str], words: str) -> None:
    answer = call("POST", "users", json=body)
    assert (answer.status_code, words in answer.text) == (400, True)


def test_single_fields_are_text_and_say_what_they_became(call: Caller) -> None:
    assert call("PUT", f"users/id:{ANA}/name", headers=TEXT, content="Änna".encode()).text == "Änna"
    assert call("PUT", f"users/id:{ANA}/password", headers=TEXT, content="x").status_code == 204
    assert call("GET", f"users/id:{ANA}/username", headers=TEXT).text == "Ana@Acme.example"
    assert call("DELETE", f"users/id:{ANA}/email").status_code == 204
    assert call.user(ANA)["email"] == ""


def test_text_without_a_charset_is_read_as_latin_1(call: Caller) -> None:
    bare = TEXT | {"Content-Type": "text/plain"}
    assert call("PUT", f"users/id:{ANA}/name", headers=bare, content="Ä".encode()).text == "Ã\x84"


def test_putting_a_user_replaces_properties_and_leaves_what_is_not_named(
    call: Caller, sandbox: TeamCitySandbox
) -> None:
    sandbox.set_property(ANA, "keep", "1")
    assert call("PUT", f"users/id:{ANA}", json={"name": "A"}).status_code == 200
    assert (call.user(ANA)["properties"], len(call.user(ANA)["roles"])) == ({"keep": "1"}, 2)
    call("PUT", f"users/id:{ANA}", json={"properties": {"property": [{"name": "new", "value": "2"}]}})
    assert call.user(ANA)["properties"] == {"new": "2"}


def test_properties_come_and_go(call: Caller) -> None:
    path = f"users/id:{ANA}/properties/a.b"
    assert call("GET", path, headers=TEXT).status_code == 404
    assert call("PUT", path, headers=TEXT, content="1").text == "1"
    assert call("DELETE", path).status_code == 204
    assert call("GET", f"users/id:{ANA}/properties").json()["count"] == 0


def test_whoever_holds_more_than_we_cannot_be_deleted(call: Caller, sandbox: TeamCitySandbox) -> None:
    assert call("DELETE", f"users/id:{DAN}").status_code == 403
    assert call("DELETE", f"users/id:{BEN}").status_code == 204
    assert str(BEN) not in sandbox.state()["users"]
    assert sandbox.add_user("next") > BEN  # no number is used again


# --- tokens and sessions ---


def test_a_tokens_value_is_told_once(call: Caller) -> None:
    made = call("POST", f"users/id:{BEN}/tokens", json={"name": "t", "expirationTime": "20990101T000000+0000"}).json()
    assert call("GET", "users/current", made["value"]).json()["id"] == BEN
    [listed] = call("GET", f"users/id:{BEN}/tokens").json()["token"]
    assert (listed["expirationTime"], "value" in listed) == ("20990101T000000+0000", False)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="no name"),
        pytest.param({"name": "laptop"}, id="a name that is taken"),
        pytest.param({"name": "t", "expirationTime": "20200101T000000+0000"}, id="expired at birth"),
        pytest.param({"name": "t", "expirationTime": "2099-01-01T00:00:00Z"}, id="a date with dashes"),
    ],
)
def test_a_token_that_cannot_be_is_400(call: Caller, body: dict[str, str]) -> None:
    assert call("POST", f"users/id:{ANA}/tokens", json=body).status_code == 400


def test_an_unknown_token_is_404(call: Caller) -> None:
    assert call("DELETE", f"users/id:{ANA}/tokens/ci%202").status_code == 204
    assert call("DELETE", f"users/id:{ANA}/tokens/ci%202").status_code == 404


@pytest.mark.parametrize(("remove", "left"), [(True, {ALL_USERS, "QA"}), (False, {ALL_USERS, "DEV", "QA"})])
def test_single_sign_on_takes_out_of_groups_that_it_does_not_name(
    sandbox: TeamCitySandbox, remove: bool, left: set[str]
) -> None:
    sandbox.remove_unassigned = remove
    sandbox.sso_login(ANA, ["qa"])
    assert set(sandbox.state()["users"][str(ANA)]["groups"]) == left


# --- audit ---


def test_the_audit_log_is_paged_newest_first(call: Caller) -> None:
    for name in ("a", "b", "c"):
        call("PUT", f"users/id:{ANA}/properties/{name}", headers=TEXT, content="1")
    page = call("GET", "audit", params={"locator": "count:2"}).json()
    rest = call("GET", page["nextHref"].removeprefix("/app/rest/")).json()
    assert [e["id"] for e in page["auditEvent"] + rest["auditEvent"]] == ["3", "2", "1"]
    assert "nextHref" not in rest


def test_the_lookup_limit_ends_a_page_early_and_says_that_there_is_more(call: Caller) -> None:
    for name in ("a", "b", "c"):
        call("PUT", f"users/id:{ANA}/properties/{name}", headers=TEXT, content="1")
    page = call("GET", "audit", params={"locator": "action:user_create,lookupLimit:2"}).json()
    assert (page["count"], "nextHref" in page) == (0, True)
