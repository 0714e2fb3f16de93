"""What a leaver has at the sandbox Looker is as the facts say: sessions, links, apps, schedules, alerts, content."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.test_looker import ANN, BOB, ROOT, Browser, admin, sandbox
from worker.sandbox.looker import LookerSandbox
from worker.sandbox.looker.instance import VendorError

__all__ = ["admin", "sandbox"]  # fixtures


@pytest.fixture
def viewer(sandbox: LookerSandbox) -> Iterator[Browser]:
    """Somebody without the Admin role."""
    browser = Browser(sandbox, *sandbox.add_key(BOB))
    yield browser
    browser.http.close()


def test_a_disabled_user_still_has_sessions_and_links_in_the_list(sandbox: LookerSandbox, admin: Browser) -> None:
    session = sandbox.add_session(ANN)
    sandbox.add_link(ANN, "saml")
    admin(f"PATCH /users/{ANN}", {"is_disabled": True})
    assert admin.ids(f"GET /users/{ANN}/sessions") == [session]
    assert admin(f"GET /users/{ANN}/credentials_saml").json()["saml_user_id"] == "Ann_1@acme.example"


@pytest.mark.parametrize("kind", ["saml", "oidc", "google", "ldap", "looker_openid", "totp"])
def test_a_credential_is_deleted_once_and_then_not_found(sandbox: LookerSandbox, admin: Browser, kind: str) -> None:
    path = f"/users/{ANN}/credentials_{kind}"
    assert admin(f"GET {path}").status_code == 404
    if kind == "totp":
        sandbox.add_second_factor(ANN)
    else:
        sandbox.add_link(ANN, kind)
    assert admin(f"GET {path}").status_code == 200
    assert f"credentials_{kind}" in admin(f"GET /users/{ANN}").json()
    assert [admin(f"DELETE {path}").status_code for _ in range(2)] == [204, 404]
    assert f"credentials_{kind}" not in admin(f"GET /users/{ANN}").json()


def test_an_account_without_an_email_credential_shows_the_address_of_its_link(
    sandbox: LookerSandbox, admin: Browser
) -> None:
    made = sandbox.instance.arrival("saml", "new@acme.example")
    assert admin(f"GET /users/{made.id}").json()["email"] == "new@acme.example"
    assert admin.ids("GET /users/search", email="NEW@acme.example") == [made.id]
    assert admin(f"GET /users/{made.id}/credentials_email").status_code == 404


ARRIVALS = {
    "with a link": ("", True, False, ANN),
    "with a link, and is disabled": ("", True, True, "refused"),
    "without a link": ("", False, False, "new"),
    "without a link, and is disabled": ("", False, True, "new"),
    "without a link, where addresses are merged": ("email", False, False, ANN),
    "without a link, where addresses are merged, and is disabled": ("email", False, True, "refused"),
}


@pytest.mark.parametrize("who", ARRIVALS)
def test_whoever_arrives_over_single_sign_on_gets_an_account_or_is_refused(sandbox: LookerSandbox, who: str) -> None:
    merged, linked, disabled, wanted = ARRIVALS[who]
    sandbox.sso("saml", new_user_migration_types=merged, default_new_user_role_ids=("3",))
    if linked:
        sandbox.add_link(ANN, "saml")
    if disabled:
        sandbox.disable(ANN)
    before = set(sandbox.instance.users)
    try:
        got = sandbox.sso_arrival("ann_1@acme.example")
    except VendorError:
        got = "refused"
    new = set(sandbox.instance.users) - before
    assert (got if got not in new else "new") == wanted
    assert len(new) == (wanted == "new")
    assert all(sandbox.state()["users"][id]["roles"] == ["Viewer"] for id in new)


# --- keys and apps


@pytest.mark.parametrize(
    ("closed", "listed", "answers", "release"),
    [(True, False, [403, 403], "26.12"), (True, True, [200, 403], "26.12"), (False, False, [200, 204], "26.6")],
    ids=["from 26.8, not shown", "from 26.8, shown", "before"],
)
def test_keys_of_people_are_their_own_business_from_a_release_on(
    sandbox: LookerSandbox, admin: Browser, closed: bool, listed: bool, answers: list[int], release: str
) -> None:
    sandbox.keys_closed, sandbox.keys_listed = closed, listed
    sandbox.add_key(ANN)
    path = f"/users/{ANN}/credentials_api3"
    key = sandbox.instance.users[ANN].keys[0].id
    assert [admin(f"GET {path}").status_code, admin(f"DELETE {path}/{key}").status_code] == answers
    assert admin("GET /versions").json()["looker_release_version"].startswith(release)


def test_an_app_shows_who_uses_it_and_ends_for_one_user_without_a_word_about_others(
    sandbox: LookerSandbox, admin: Browser, viewer: Browser
) -> None:
    app = sandbox.add_app("Sheets", ANN, BOB)
    users = [user["id"] for user in admin("GET /oauth_client_apps").json()[0]["activated_users"]]
    assert users == [ANN, BOB]
    gone = [admin(f"DELETE /oauth_client_apps/{guid}/users/{ANN}").status_code for guid in (app, app, "unknown")]
    assert gone == [204, 204, 204]
    assert sandbox.state()["apps"][app]["users"] == [BOB]
    assert viewer("GET /oauth_client_apps").status_code == 403


def test_what_is_denied_is_denied_to_everybody(sandbox: LookerSandbox, admin: Browser) -> None:
    sandbox.denied = frozenset({"GET /users/*/sessions"})
    assert admin(f"GET /users/{ANN}/sessions").status_code == 403
    assert admin(f"GET /users/{ANN}").status_code == 200


# --- schedules, alerts, content


def test_schedules_are_listed_by_owner_and_to_administrators_only(
    sandbox: LookerSandbox, admin: Browser, viewer: Browser
) -> None:
    anns, bobs = sandbox.add_schedule(ANN, "A", "x@acme.example"), sandbox.add_schedule(BOB, "B")
    assert admin.ids("GET /scheduled_plans", user_id=ANN) == [anns]
    assert admin.ids("GET /scheduled_plans", all_users="true") == [anns, bobs]
    assert admin.ids("GET /scheduled_plans") == []
    assert viewer.ids("GET /scheduled_plans") == [bobs]
    assert viewer("GET /scheduled_plans", user_id=ANN).status_code == 403
    assert admin("GET /scheduled_plans/nope").status_code == 404


def test_destinations_that_are_sent_take_the_place_of_all_and_none_are_an_error(
    sandbox: LookerSandbox, admin: Browser
) -> None:
    plan = sandbox.add_schedule(ANN, "A", "x@acme.example", "y@acme.example")
    admin(f"PATCH /scheduled_plans/{plan}", {"user_id": BOB})
    assert len(sandbox.state()["schedules"][plan]["recipients"]) == 2
    for none in ([], None):
        body = {"scheduled_plan_destination": none}
        assert admin(f"PATCH /scheduled_plans/{plan}", body).status_code == 422
    admin(f"PATCH /scheduled_plans/{plan}", {"scheduled_plan_destination": [{"type": "email", "address": "z@a.b"}]})
    assert sandbox.state()["schedules"][plan]["recipients"] == (("email", "z@a.b"),)


def test_alerts_are_ones_own_or_everybodys_and_go_on_when_their_owner_is_disabled(
    sandbox: LookerSandbox, admin: Browser, viewer: Browser
) -> None:
    alert = sandbox.add_alert(ANN, "Orders", "x@acme.example")
    sandbox.disable(ANN)
    assert admin.ids("GET /alerts/search") == []
    assert admin.ids("GET /alerts/search", all_owners="true") == [alert]
    assert admin(f"GET /alerts/{alert}").json()["is_disabled"] is False
    assert admin(f"PATCH /alerts/{alert}", {"owner_id": "nobody"}).status_code == 422
    assert admin(f"PATCH /alerts/{alert}", {"owner_id": ROOT}).json()["owner_id"] == ROOT
    assert viewer("GET /alerts/search", all_owners="true").status_code == 403


def test_content_is_found_by_owner_and_goes_to_the_trash_with_them(sandbox: LookerSandbox, admin: Browser) -> None:
    board, chart = sandbox.add_content(ANN, "dashboard", "Sales"), sandbox.add_content(ANN, "look", "Orders")
    assert admin.ids("GET /dashboards/search", user_id=ANN) == [board]
    assert admin.ids("GET /looks/search", user_id=ANN) == [chart]
    assert admin.ids("GET /looks/search", user_id=BOB) == []
    admin(f"DELETE /users/{ANN}")
    assert admin.ids("GET /dashboards/search", user_id=ANN) == []
    assert admin.ids("GET /dashboards/search", user_id=ANN, deleted="true") == [board]
