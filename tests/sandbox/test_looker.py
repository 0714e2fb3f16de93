"""The sandbox Looker has the traps that the facts about Looker number; the connector is only as good as these."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from worker.sandbox.company import Company, LookerGroupSpec, LookerRoleSpec, LookerUser
from worker.sandbox.looker import LookerSandbox
from worker.sandbox.looker.instance import Attribute, VendorError
from worker.sandbox.seed import company as acme

ANN, BOB, ROOT = "20", "21", "22"
BASE = "/api/4.0"
WORLD = Company(
    (), (),
    (
        LookerUser(ANN, "Ann_1@acme.example", "Ann", "Lee", False, "standard", ("Viewer",), ("Inner",)),
        LookerUser(BOB, "annx1@acme.example", "Bob", "Ray", False, "standard", (), ("Mirrored",)),
        LookerUser(ROOT, "root@acme.example", "Root", "Gil", False, "standard", ("Admin",), ()),
    ),
    (
        LookerGroupSpec("10", "Outer", (), ("Developer",)),
        LookerGroupSpec("11", "Inner", ("Outer",)),
        LookerGroupSpec("12", "Mirrored", (), (), mirrored=True),
    ),
    (
        LookerRoleSpec("2", "Admin", ("administer",), ("all",)),
        LookerRoleSpec("3", "Viewer", ("access_data",), ("sales",)),
        LookerRoleSpec("4", "Developer", ("develop",), ("sales",)),
    ),
    (), (), (), (), "",
)  # fmt: skip


@pytest.fixture(scope="module")
def port() -> Iterator[LookerSandbox]:
    made = LookerSandbox(WORLD)
    with made.serve():
        yield made


class Browser:
    """Somebody with an API key who talks to a sandbox."""

    def __init__(self, sandbox: LookerSandbox, id: str = "looker-client", secret: str = "looker-secret") -> None:
        self.http = httpx.Client(base_url=f"{sandbox.url}{BASE}")
        self.login = self.http.post("/login", data={"client_id": id, "client_secret": secret})
        if self.login.status_code == 200:
            self.http.headers["Authorization"] = f"Bearer {self.login.json()['access_token']}"

    def __call__(self, call: str, body: Any = None, **params: str) -> httpx.Response:
        method, _, path = call.partition(" ")
        return self.http.request(method, path, json=body, params=params)

    def ids(self, call: str, **params: str) -> list[str]:
        return [row["id"] for row in self(call, **params).json()]


@pytest.fixture
def sandbox() -> Iterator[LookerSandbox]:
    made = LookerSandbox(WORLD)
    with made.serve():
        yield made


@pytest.fixture
def admin(sandbox: LookerSandbox) -> Iterator[Browser]:
    browser = Browser(sandbox)
    yield browser
    browser.http.close()


@pytest.fixture
def look(port: LookerSandbox) -> Iterator[Browser]:
    """For tests that change nothing."""
    browser = Browser(port)
    yield browser
    browser.http.close()


# --- getting in


def test_wrong_credentials_are_not_found(port: LookerSandbox) -> None:
    browser = Browser(port, secret="wrong")
    assert browser.login.status_code == 404
    browser.http.close()


@pytest.mark.parametrize("word", ["token", "Bearer"])
def test_both_ways_to_present_a_token_work(look: Browser, word: str) -> None:
    token = look.login.json()["access_token"]
    assert look.http.get("/user", headers={"Authorization": f"{word} {token}"}).status_code == 200


@pytest.mark.off_contract("a login as JSON is what Looker does not take")
def test_a_login_is_a_form(look: Browser) -> None:
    assert look("POST /login", {"client_id": "looker-client", "client_secret": "looker-secret"}).status_code == 400


@pytest.mark.parametrize("path", ["/api/logout", "/api/4.0/logout"])
def test_a_logout_ends_the_token(sandbox: LookerSandbox, admin: Browser, path: str) -> None:
    assert admin.http.delete(f"{sandbox.url}{path}").status_code == 204
    assert admin("GET /user").status_code == 401


def test_a_token_ends_with_its_time(sandbox: LookerSandbox) -> None:
    sandbox.token_seconds = 0
    browser = Browser(sandbox)
    assert browser("GET /user").status_code == 401
    browser.http.close()


def test_a_disabled_owner_cannot_use_the_key(sandbox: LookerSandbox) -> None:
    sandbox.disable(sandbox.own_account)
    browser = Browser(sandbox)
    assert browser.login.status_code == 404
    browser.http.close()


def test_logins_are_no_mutations(sandbox: LookerSandbox, admin: Browser) -> None:
    admin.http.delete(f"{sandbox.url}/api/logout")
    assert sandbox.log == []


# --- lists and searches


def test_paging_headers_come_only_with_a_limit(look: Browser) -> None:
    assert "x-total-count" not in look("GET /users").headers
    paged = look("GET /users", limit="2", offset="2")
    assert paged.headers["x-total-count"] == "4"
    assert set(paged.links) == {"first", "prev", "last"}


def test_fields_not_asked_for_are_absent(look: Browser) -> None:
    assert look(f"GET /users/{ANN}", fields="id,credentials_email(email)").json() == {
        "id": ANN,
        "credentials_email": {"email": "Ann_1@acme.example"},
    }


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("ann_1@acme.example", [ANN, BOB]),  # the underscore is any character
        ("ROOT@ACME.EXAMPLE", [ROOT]),
        ("%@acme.example", [ANN, BOB, ROOT]),
        ("IS NULL", ["23"]),
    ],
)
def test_search_is_like_without_regard_to_case(look: Browser, pattern: str, found: list[str]) -> None:
    assert look.ids("GET /users/search", email=pattern) == found


def test_a_credential_finds_its_user_exactly(look: Browser) -> None:
    assert look("GET /users/credential/email/annx1@acme.example").json()["id"] == BOB
    assert look("GET /users/credential/email/ann%251").status_code == 404


@pytest.mark.parametrize(
    ("path", "params", "found"),
    [
        (f"/users/{ANN}/roles", {}, ["3", "4"]),
        (f"/users/{ANN}/roles", {"direct_association_only": "true"}, ["3"]),
        ("/roles/4/users", {}, [ANN]),
        ("/roles/4/users", {"direct_association_only": "true"}, []),
        ("/groups/10/users", {}, []),
        ("/groups/11/users", {}, [ANN]),
        ("/groups/10/groups", {}, ["11"]),
    ],
)
def test_what_comes_through_a_nested_group_is_told_from_what_is_direct(
    look: Browser, path: str, params: dict[str, str], found: list[str]
) -> None:
    assert look.ids(f"GET {path}", **params) == found


def test_the_hierarchy_has_parents_and_roles(look: Browser) -> None:
    groups = {g["name"]: g for g in look("GET /groups/search/with_hierarchy").json()}
    assert groups["Inner"]["parent_group_ids"] == ["10"]
    assert groups["Outer"]["role_ids"] == ["4"]
    assert groups["All Users"]["include_by_default"] is True


def test_who_is_no_admin_sees_of_others_only_what_is_public(sandbox: LookerSandbox) -> None:
    clerk = Browser(sandbox, *sandbox.add_key(ANN))
    assert set(clerk(f"GET /users/{BOB}").json()) <= {"id", "first_name", "last_name", "display_name", "avatar_url"}
    assert clerk("GET /user").json()["email"] == "Ann_1@acme.example"
    assert clerk("GET /saml_config").status_code == 403
    assert clerk(f"PATCH /users/{BOB}", {"is_disabled": True}).status_code == 403
    clerk.http.close()


# --- what is refused

REFUSED = {
    "changing the Admin role": ("PATCH /roles/2", {"name": "Root"}, 405),
    "deleting the Admin role": ("DELETE /roles/2", None, 405),
    "joining a mirrored group": ("POST /groups/12/users", {"user_id": ANN}, 403),
    "leaving a mirrored group": (f"DELETE /groups/12/users/{BOB}", None, 403),
    "leaving All Users": (f"DELETE /groups/1/users/{ANN}", None, 403),
    "deleting All Users": ("DELETE /groups/1", None, 403),
    "leaving a group one is not in": (f"DELETE /groups/11/users/{BOB}", None, 404),
    "deleting oneself": ("DELETE /users/23", None, 403),
    "a role that does not exist": (f"PUT /users/{ANN}/roles", ["99"], 422),
    "an address that is taken": (f"PATCH /users/{BOB}/credentials_email", {"email": "ROOT@acme.example"}, 422),
    "a second address": (f"POST /users/{BOB}/credentials_email", {"email": "new@acme.example"}, 409),
    "a key of a standard user": (f"POST /users/{ANN}/credentials_api3", None, 403),
    "somebody who does not exist": ("PATCH /users/999", {"is_disabled": True}, 404),
}


@pytest.mark.parametrize("what", REFUSED)
def test_this_is_refused_and_changes_nothing(port: LookerSandbox, look: Browser, what: str) -> None:
    call, body, status = REFUSED[what]
    before = port.state()
    answer = look(call, body)
    assert answer.status_code == status
    assert answer.json()["message"]
    assert port.state() == before


def test_validation_errors_name_their_fields(look: Browser) -> None:
    answer = look(f"PUT /users/{ANN}/roles", ["99"]).json()
    assert [error["field"] for error in answer["errors"]] == ["roles"]


def test_no_error_has_a_link_that_the_sdk_would_look_up(look: Browser) -> None:
    assert look("GET /users/999").json()["documentation_url"].startswith("https://sandbox.invalid/")


def test_the_last_admin_cannot_be_deleted(sandbox: LookerSandbox) -> None:
    sandbox.set_roles(sandbox.own_account, [])
    root = Browser(sandbox, *sandbox.add_key(ROOT))
    sandbox.set_roles(BOB, ["Admin"])
    assert root(f"DELETE /users/{BOB}").status_code == 204
    assert root(f"DELETE /users/{ROOT}").status_code == 403
    root.http.close()


# --- what changes more than it says


def test_setting_roles_replaces_all_direct_ones(sandbox: LookerSandbox, admin: Browser) -> None:
    admin(f"PUT /users/{ANN}/roles", ["4"])
    assert sandbox.state()["users"][ANN]["roles"] == ["Developer"]


def test_disabling_turns_schedules_off_and_enabling_leaves_them_off(sandbox: LookerSandbox, admin: Browser) -> None:
    plan = sandbox.add_schedule(ANN, "Monday numbers")
    admin(f"PATCH /users/{ANN}", {"is_disabled": True})
    admin(f"PATCH /users/{ANN}", {"is_disabled": False})
    assert sandbox.state()["schedules"][plan]["enabled"] is False


def test_a_schedule_is_handed_over_or_deleted_with_its_owner(sandbox: LookerSandbox, admin: Browser) -> None:
    kept, lost = sandbox.add_schedule(ANN, "kept"), sandbox.add_schedule(ANN, "lost")
    assert admin(f"PATCH /scheduled_plans/{kept}", {"user_id": BOB}).status_code == 200
    admin(f"DELETE /users/{ANN}")
    assert set(sandbox.state()["schedules"]) == {kept}
    assert lost != kept


def test_a_changed_address_locks_out_until_it_is_confirmed(sandbox: LookerSandbox, admin: Browser) -> None:
    sandbox.sso()
    sandbox.add_session(ANN)
    admin(f"PATCH /users/{ANN}/credentials_email", {"email": "anna@acme.example"})
    assert sandbox.state()["users"][ANN]["sessions"] == []
    with pytest.raises(VendorError):
        sandbox.sso_login(ANN)
    sandbox.confirm_email(ANN)
    sandbox.sso_login(ANN)


def test_an_account_made_by_a_post_alone_has_no_address_and_the_default_groups(
    sandbox: LookerSandbox, admin: Browser
) -> None:
    made = admin("POST /users", {"first_name": "Nia"})
    assert (made.status_code, made.json()["email"], made.json()["group_ids"]) == (200, None, ["1"])


def test_a_key_shows_its_secret_once(sandbox: LookerSandbox, admin: Browser) -> None:
    path = f"/users/{sandbox.own_account}/credentials_api3"
    made = admin(f"POST {path}").json()
    assert made["client_secret"]
    assert not [key for key in admin(f"GET {path}").json() if "client_secret" in key]
    assert made["client_secret"] not in str(sandbox.state())


def test_older_releases_let_admins_end_keys_of_standard_users(sandbox: LookerSandbox, admin: Browser) -> None:
    sandbox.keys_closed = False
    key = admin(f"POST /users/{ANN}/credentials_api3").json()["id"]
    assert admin(f"DELETE /users/{ANN}/credentials_api3/{key}").status_code == 204


def test_a_session_is_ended_one_by_one(sandbox: LookerSandbox, admin: Browser) -> None:
    session = sandbox.add_session(ANN)
    assert admin(f"DELETE /users/{ANN}/sessions/{session}").status_code == 204
    assert admin.ids(f"GET /users/{ANN}/sessions") == []


LOGINS = {
    "direct roles go": ({"allow_direct_roles": False}, {"roles": []}),
    "unmirrored groups go": ({"allow_normal_group_membership": False}, {"groups": ["All Users"]}),
    "mirrored groups come": (
        {"set_roles_from_groups": True}, {"groups": ["All Users", "Inner", "Mirrored"]},
    ),
    "nothing changes": ({}, {}),
}  # fmt: skip


@pytest.mark.parametrize("what", LOGINS)
def test_a_login_over_single_sign_on_does_what_its_settings_say(sandbox: LookerSandbox, what: str) -> None:
    settings, difference = LOGINS[what]
    before = sandbox.state()["users"][ANN]
    sandbox.sso("saml", **settings)
    sandbox.sso_login(ANN, idp_groups=["Mirrored"])
    after = sandbox.state()["users"][ANN]
    left_behind = {"sessions": after["sessions"], "links": ["saml"]}
    assert len(after["sessions"]) == 1
    assert after == {**before, **left_behind, **difference}


def test_a_login_without_a_role_may_be_refused(sandbox: LookerSandbox) -> None:
    sandbox.sso("saml", auth_requires_role=True)
    with pytest.raises(VendorError):
        sandbox.sso_login(BOB)


def test_externally_managed_roles_are_not_set_directly(sandbox: LookerSandbox, admin: Browser) -> None:
    sandbox.sso("saml", set_roles_from_groups=True)
    sandbox.sso_login(ANN)
    assert admin(f"PUT /users/{ANN}/roles", ["4"]).status_code == 403


def test_edits_by_hand_are_seen_over_the_wire(sandbox: LookerSandbox, admin: Browser) -> None:
    admin(f"GET /users/{ANN}")
    sandbox.rename(ANN, "Anna", "Lind")
    sandbox.grant_role(ANN, "Developer")
    sandbox.revoke_role(ANN, "Viewer")
    sandbox.add_to_group(ANN, "Outer")
    sandbox.remove_from_group(ANN, "Inner")
    sandbox.disable(ANN)
    shown = admin(f"GET /users/{ANN}").json()
    assert (shown["first_name"], shown["last_name"], shown["is_disabled"]) == ("Anna", "Lind", True)
    assert (shown["role_ids"], shown["group_ids"]) == (["4"], ["1", "10"])
    sandbox.enable(ANN)
    assert admin(f"GET /users/{ANN}").json()["is_disabled"] is False


def test_the_made_up_company_is_served(sandbox: LookerSandbox) -> None:
    town = acme(60)
    served = LookerSandbox(town)
    names = {user.id: user.email for user in town.looker_users}
    assert {id: u["email"] or "" for id, u in served.state()["users"].items() if id in names} == names
    assert served.own_account not in names


def test_twenty_thousand_users_are_read_in_seconds() -> None:
    many = tuple(
        LookerUser(str(n), f"u{n}@acme.example", "U", str(n), False, "standard", ("Viewer",), ("Inner",))
        for n in range(100, 20_100)
    )
    big = LookerSandbox(Company((), (), many, WORLD.looker_groups, WORLD.looker_roles, (), (), (), (), ""))
    big.observers.clear()  # not the server's own time
    with big.serve():
        browser = Browser(big)
        start = time.perf_counter()
        seen = [
            id
            for offset in range(0, 20_001, 500)
            for id in browser.ids("GET /users", limit="500", offset=str(offset), sorts="id", fields="id,email")
        ]
        took = time.perf_counter() - start
        browser.http.close()
    assert len(set(seen)) == len(seen) == 20_001
    assert took < 10


# --- user attributes


def test_a_value_is_the_users_then_the_first_groups_then_the_default(sandbox: LookerSandbox, admin: Browser) -> None:
    id = sandbox.add_attribute("region", default="NONE")
    sandbox.add_to_group(ANN, "Outer")
    asked = {"user_attribute_ids": id, "all_values": "true"}

    def path() -> list[tuple[str, str, int | None]]:
        rows = admin(f"GET /users/{ANN}/attribute_values", **asked).json()
        return [(row["source"], row["value"], row["rank"]) for row in rows]

    assert path() == [("default", "NONE", None)]
    given = [{"group_id": "11", "value": "inner", "rank": 2}, {"group_id": "10", "value": "outer", "rank": 1}]
    assert admin(f"POST /user_attributes/{id}/group_values", given).status_code == 200
    assert path() == [("group", "outer", 1), ("group", "inner", 2), ("default", "NONE", None)]
    assert admin(f"PATCH /users/{ANN}/attribute_values/{id}", {"value": "own"}).json()["source"] == "user"
    assert path()[0] == ("user", "own", None)
    assert len(admin(f"GET /users/{ANN}/attribute_values", user_attribute_ids=id).json()) == 1
    assert admin(f"DELETE /users/{ANN}/attribute_values/{id}").status_code == 204
    assert admin(f"DELETE /users/{ANN}/attribute_values/{id}").status_code == 404
    assert admin(f"DELETE /groups/10/attribute_values/{id}").status_code == 204
    assert path() == [("group", "inner", 1), ("default", "NONE", None)]
    assert sandbox.value(ANN, "region") == "inner"


def test_what_has_no_value_is_shown_only_on_request(sandbox: LookerSandbox, admin: Browser) -> None:
    id = sandbox.add_attribute("region")
    assert admin(f"GET /users/{ANN}/attribute_values", user_attribute_ids=id).json() == []
    (row,) = admin(f"GET /users/{ANN}/attribute_values", user_attribute_ids=id, include_unset="true").json()
    assert (row["value"], row["source"], row["user_attribute_id"]) == (None, None, id)


def test_the_values_of_a_hidden_attribute_come_blank(sandbox: LookerSandbox, admin: Browser) -> None:
    id = sandbox.add_attribute("secret", hidden=True, default="hush")
    sandbox.set_value(ANN, "secret", "hush")
    sandbox.set_group_values("secret", Outer="hush")
    for call in (f"/users/{ANN}/attribute_values", f"/user_attributes/{id}/group_values", f"/user_attributes/{id}"):
        assert "hush" not in admin(f"GET {call}").text
    (row,) = admin(f"GET /users/{ANN}/attribute_values", user_attribute_ids=id).json()
    assert (row["value"], row["value_is_hidden"]) == ("", True)


REFUSED_OF_ATTRIBUTES: dict[str, tuple[str, dict[str, Any], int]] = {
    "a name that there is": ("POST /user_attributes", {"name": "locale", "label": "L", "type": "string"}, 422),
    "a label that there is": ("POST /user_attributes", {"name": "l", "label": "Locale", "type": "string"}, 422),
    "a type that there is not": ("POST /user_attributes", {"name": "l", "label": "L", "type": "colour"}, 422),
    "a value of another type": (f"PATCH /users/{ANN}/attribute_values/7", {"value": "seven"}, 422),
    "a value of an attribute that is not there": (f"PATCH /users/{ANN}/attribute_values/99", {"value": "x"}, 404),
    "a value of a system attribute": (f"PATCH /users/{ANN}/attribute_values/1", {"value": "de"}, 403),
    "a group that is not there": ("PATCH /groups/99/attribute_values/7", {"value": "7"}, 404),
}


@pytest.mark.parametrize("what", REFUSED_OF_ATTRIBUTES)
def test_an_attribute_refuses(sandbox: LookerSandbox, admin: Browser, what: str) -> None:
    call, body, status = REFUSED_OF_ATTRIBUTES[what]
    sandbox.instance.attributes["7"] = Attribute("7", "level", "Level", "number")
    assert admin(call, body).status_code == status
    assert sandbox.state()["users"][ANN]["attributes"] == {}


def test_a_system_attribute_is_not_deleted_and_another_one_takes_its_values_along(
    sandbox: LookerSandbox, admin: Browser
) -> None:
    made = admin("POST /user_attributes", {"name": "region", "label": "Region", "type": "string"}).json()
    sandbox.set_value(ANN, "region", "EMEA")
    assert admin("DELETE /user_attributes/1").status_code == 400
    assert admin(f"DELETE /user_attributes/{made['id']}").status_code == 204
    assert sandbox.state()["users"][ANN]["attributes"] == {}
