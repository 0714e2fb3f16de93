"""The Entra sandbox answers as Graph and the token endpoint do, their traps included."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import msal
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from worker.sandbox.company import AppRole, Company, Tenant, TenantGroup, TenantThing, TenantUser
from worker.sandbox.entra import EntraSandbox

EVENTUAL = {"ConsistencyLevel": "eventual"}


def guid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


ALL, TEAM, CREW, HIDDEN = map(guid, (100, 101, 102, 103))
DEVICE, APP, ROLE = map(guid, (200, 300, 301))


def person(number: int, *, deleted: bool = False, **more: Any) -> TenantUser:
    mail = f"p{number}@acme.example"
    names = {
        "displayName": f"Person {number}",
        "givenName": "Person",
        "surname": str(number),
        "employeeId": str(number),
    }
    return TenantUser(guid(number), {"userPrincipalName": mail, "mail": mail, **names, **more}, deleted)


TENANT = Tenant(
    users=(
        *(person(n) for n in range(1, 8)), person(8, accountEnabled=False), person(9, accountEnabled=None),
        person(10, deleted=True), person(11, userPrincipalName="p10@acme.example"),
    ),
    groups=(
        TenantGroup(ALL, "All", members=(TEAM, CREW, guid(1), DEVICE)),
        TenantGroup(TEAM, "Team", members=(*map(guid, (2, 3, 10)), CREW)),
        TenantGroup(CREW, "Crew", "microsoft 365", members=(guid(4), TEAM)),
        TenantGroup(HIDDEN, "Hidden", "microsoft 365", members=(guid(5),), hidden=True),
    ),
    things=(TenantThing(DEVICE, "device", {"displayName": "Kiosk", "accountEnabled": True}),),
    app_roles=(AppRole(APP, "Looker", ROLE, "Viewer", (guid(1), TEAM)),),
)  # fmt: skip


@pytest.fixture
def entra() -> Iterator[EntraSandbox]:
    sandbox = EntraSandbox(Company((), (), (), (), (), (), (), (), (), policy="", tenant=TENANT))
    with sandbox.serve():
        yield sandbox


@pytest.fixture
def client(entra: EntraSandbox) -> Iterator[httpx.Client]:
    """It trusts the authority, and bears a token that it got by the secret."""
    trusted = ssl.create_default_context(cafile=entra.ca_file)
    with httpx.Client(base_url=entra.url, verify=trusted, trust_env=False) as client:
        token = mint(entra, client, client_secret=entra.client_secret).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def mint(entra: EntraSandbox, client: httpx.Client, **form: str) -> httpx.Response:
    asked = {"grant_type": "client_credentials", "client_id": entra.client_id, "scope": f"{entra.url}/.default", **form}
    return client.post(f"/{entra.tenant}/oauth2/v2.0/token", data=asked)


def ids(answer: httpx.Response) -> list[int]:
    """The last digits of the ids."""
    assert answer.status_code == 200, answer.text
    return [int(row["id"][-12:]) for row in answer.json()["value"]]


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def every_page(client: httpx.Client, path: str, **headers: str) -> list[dict[str, Any]]:
    """As a plain client reads a list: it follows the links, and sends its headers again."""
    rows: list[dict[str, Any]] = []
    while path:
        page = client.get(path, headers=headers)
        assert page.status_code == 200, page.text
        rows += page.json()["value"]
        path = page.json().get("@odata.nextLink", "")
    return rows


# Signing in


@pytest.mark.parametrize("kind", ["secret", "certificate", "legacy thumbprint", "federated"])
def test_stock_msal_gets_a_token_over_tls(entra: EntraSandbox, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they would win over `verify`
        monkeypatch.delenv(name, raising=False)
    key, mark, certificate = entra.oauth.certificate.partition("-----BEGIN CERTIFICATE-----")
    credential: Any = {
        "secret": entra.client_secret,
        "certificate": {"private_key": key, "public_certificate": mark + certificate},
        "legacy thumbprint": {"private_key": key, "thumbprint": entra.oauth.thumbprint},
        "federated": {"client_assertion": entra.oauth.federated},
    }[kind]
    app = msal.ConfidentialClientApplication(
        entra.client_id, client_credential=credential, authority=f"{entra.url}/{entra.tenant}",
        instance_discovery=False, verify=str(entra.ca_file),
    )  # fmt: skip
    found = app.acquire_token_for_client([f"{entra.url}/.default"])
    app.http_client.close()
    assert found.get("error_description") is None
    with httpx.Client(verify=ssl.create_default_context(cafile=entra.ca_file), trust_env=False) as client:
        bearer = {"Authorization": f"Bearer {found['access_token']}"}
        assert len(client.get(f"{entra.url}/v1.0/users", headers=bearer).json()["value"]) == 10
        assert (
            client.get(f"{entra.url.replace('127.0.0.1', 'localhost')}/v1.0/users", headers=bearer).status_code == 200
        )


def test_nobody_trusts_the_certificate_unasked(entra: EntraSandbox) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{entra.url}/v1.0/users", verify=ssl.create_default_context(), trust_env=False)


WRONG = {
    "another secret": ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
    "no credential": ({}, 401, "invalid_client", 7000218),
    "another app": ({"client_id": guid(9), "client_secret": "x"}, 400, "unauthorized_client", 700016),
    "another flow": ({"grant_type": "password", "client_secret": "x"}, 400, "unsupported_grant_type", 70003),
    "a scope for people": ({"scope": "https://graph.microsoft.com/User.Read"}, 400, "invalid_scope", 1002012),
    "another resource": ({"scope": "https://vault.example/.default"}, 400, "invalid_resource", 500011),
}


@pytest.mark.off_contract("asks for tokens in ways that the token endpoint refuses")
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_with_a_credential_is_said_by_number(
    entra: EntraSandbox, client: httpx.Client, wrong: str
) -> None:
    form, status, error, number = WRONG[wrong]
    answer = mint(entra, client, **form)
    assert (answer.status_code, answer.json()["error"], answer.json()["error_codes"]) == (status, error, [number])
    assert answer.json()["error_description"].startswith(f"AADSTS{number}: ")


def test_a_secret_that_is_over_and_a_tenant_that_is_not_there(entra: EntraSandbox, client: httpx.Client) -> None:
    entra.oauth.secret_expired = True
    assert mint(entra, client, client_secret=entra.client_secret).json()["error_codes"] == [7000222]
    answer = client.post(
        f"/{guid(1)}/oauth2/v2.0/token", data={"grant_type": "client_credentials", "client_id": "x", "scope": "x"}
    )
    assert (answer.status_code, answer.json()["error_codes"]) == (400, [90002])
    assert client.get(f"/{guid(1)}/v2.0/.well-known/openid-configuration").status_code == 400
    assert client.get("/common/discovery/instance").json()["metadata"] == []


ASSERTIONS = {
    "from another issuer": ({"iss": "https://elsewhere.example"}, 70021),
    "for another workload": ({"sub": "system:serviceaccount:other:worker"}, 70021),
    "for another audience": ({"aud": "api://other"}, 70021),
    "that is over": ({"lifetime": -60}, 700024),
}


@pytest.mark.parametrize("wrong", ASSERTIONS)
def test_a_federated_assertion_is_refused(entra: EntraSandbox, client: httpx.Client, wrong: str) -> None:
    claims, number = ASSERTIONS[wrong]
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    answer = mint(entra, client, client_assertion=entra.oauth.federated(**claims), client_assertion_type=kind)
    assert answer.json()["error_codes"] == [number]


def test_an_assertion_of_another_key_is_refused(entra: EntraSandbox, client: httpx.Client) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = int(time.time())
    url = f"{entra.url}/{entra.tenant}/oauth2/v2.0/token"
    claims = {"iss": entra.client_id, "sub": entra.client_id, "aud": url, "exp": now + 60, "jti": "1"}
    assert entra.oauth.certificate
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    for thumbprint in (entra.oauth.thumbprint, "0" * 40):
        header = {"x5t": jwt.utils.base64url_encode(bytes.fromhex(thumbprint)).decode()}
        signed = jwt.encode(claims, key, algorithm="RS256", headers=header)
        answer = mint(entra, client, client_assertion=signed, client_assertion_type=kind)
        assert (answer.status_code, answer.json()["error_codes"]) == (401, [700027])


def test_a_token_that_is_over_is_a_graph_error(entra: EntraSandbox, client: httpx.Client) -> None:
    entra.oauth.expire_tokens()
    assert code(client.get("/v1.0/users")) == (401, "InvalidAuthenticationToken")
    assert code(client.post("/v1.0/$batch", json={"requests": [{"id": "1", "method": "GET", "url": "/users"}]})) == (
        401, "InvalidAuthenticationToken",
    )  # fmt: skip


# Users


def test_without_select_only_the_usual_comes_and_nothing_says_who_is_disabled(client: httpx.Client) -> None:
    row = client.get("/v1.0/users?$top=1").json()["value"][0]
    assert "accountEnabled" not in row
    assert (row["mail"], row["businessPhones"], row["jobTitle"]) == ("p1@acme.example", [], None)


def test_select_really_selects(client: httpx.Client) -> None:
    rows = client.get("/v1.0/users?$select=accountEnabled,employeeId").json()["value"]
    assert rows[0] == {"accountEnabled": True, "employeeId": "1"}
    assert [row["accountEnabled"] for row in rows[7:9]] == [False, None]


def test_what_needs_more_rights_is_left_out_in_silence(entra: EntraSandbox, client: httpx.Client) -> None:
    asked = "/v1.0/users?$select=id,employeeLeaveDateTime&$top=1"
    assert "employeeLeaveDateTime" not in client.get(asked).json()["value"][0]
    entra.granted.add("User-LifeCycleInfo.Read.All")
    assert client.get(asked).json()["value"][0]["employeeLeaveDateTime"] is None


@pytest.mark.off_contract("asks for what users do not have")
def test_properties_that_are_not_there_or_elsewhere_are_errors(client: httpx.Client) -> None:
    assert code(client.get("/v1.0/users?$select=id,acountEnabled")) == (400, "Request_BadRequest")
    assert code(client.get("/v1.0/users?$select=id,skills")) == (501, "NotImplemented")
    assert code(client.get("/v1.0/people")) == (400, "BadRequest")
    assert code(client.get("/v1.0/users?$orderby=displayName")) == (400, "Request_UnsupportedQuery")
    assert [client.get(f"/v1.0/users?$top={top}").status_code for top in (0, 999, 1000)] == [400, 200, 400]


def test_extensions_come_where_they_are_set(entra: EntraSandbox, client: httpx.Client) -> None:
    name = "extension_0123456789abcdef0123456789abcdef_desk"
    entra.set(guid(1), **{name: "4-12"})
    rows = client.get(f"/v1.0/users?$select=id,{name}&$top=2").json()["value"]
    assert rows == [{"id": guid(1), name: "4-12"}, {"id": guid(2)}]


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("accountEnabled eq false", [8]),
        (f"id in ('{guid(2)}', '{guid(3)}')", [2, 3]),
        ("startswith(displayName, 'person 1')", [1, 11]),
        ("employeeId eq '4' or employeeId eq '5'", [4, 5]),
        ("accountEnabled eq true and employeeId eq '8'", []),
        ("displayName eq 'O''Brien'", []),
    ],
)
def test_filters(client: httpx.Client, expression: str, found: list[int]) -> None:
    assert ids(client.get("/v1.0/users", params={"$filter": expression})) == found


@pytest.mark.parametrize("expression", ["accountEnabled eq", "accountEnabled ne true", "mail gt 'a'", "id eq '1' or"])
def test_what_graph_does_not_evaluate_is_an_error(client: httpx.Client, expression: str) -> None:
    assert client.get("/v1.0/users", params={"$filter": expression}).status_code == 400


def test_an_advanced_filter_needs_the_header_and_the_count(client: httpx.Client) -> None:
    asked = {"$filter": "accountEnabled ne true", "$count": "true"}
    assert ids(client.get("/v1.0/users", params=asked, headers=EVENTUAL)) == [8, 9]


def test_a_count_needs_the_header_and_comes_on_the_first_page_only(client: httpx.Client) -> None:
    assert client.get("/v1.0/users/$count").status_code == 400
    answer = client.get("/v1.0/users/$count", headers=EVENTUAL)
    assert (answer.text, answer.headers["content-type"]) == ("10", "text/plain; charset=utf-8")
    assert "@odata.count" not in client.get("/v1.0/users?$count=true").json()
    first = client.get("/v1.0/users?$count=true&$top=6", headers=EVENTUAL).json()
    assert first["@odata.count"] == 10
    assert "@odata.count" not in client.get(first["@odata.nextLink"], headers=EVENTUAL).json()


def test_the_index_behind_counts_and_casts_lags(entra: EntraSandbox, client: httpx.Client) -> None:
    entra.graph.unindexed.add(guid(4))
    assert client.get("/v1.0/users/$count", headers=EVENTUAL).text == "9"
    assert len(ids(client.get("/v1.0/users"))) == 10
    cast = f"/v1.0/groups/{CREW}/members/microsoft.graph.user?$count=true"
    assert ids(client.get(cast, headers=EVENTUAL)) == []
    assert 4 in ids(client.get(f"/v1.0/groups/{CREW}/members"))


@pytest.mark.parametrize("name", [guid(3), "p3@acme.example", "P3@ACME.EXAMPLE"])
def test_a_user_is_found_by_id_or_principal_name(client: httpx.Client, name: str) -> None:
    assert client.get(f"/v1.0/users/{name}?$select=id").json()["id"] == guid(3)


# Leaving


def test_a_deleted_user_waits_under_another_name_and_the_name_is_free(client: httpx.Client) -> None:
    assert code(client.get(f"/v1.0/users/{guid(10)}")) == (404, "Request_ResourceNotFound")
    (row,) = every_page(
        client, "/v1.0/directory/deletedItems/microsoft.graph.user?$select=id,userPrincipalName,deletedDateTime"
    )
    assert row["userPrincipalName"] == f"{guid(10).replace('-', '')}p10@acme.example"
    assert row["deletedDateTime"]
    one = client.get(f"/v1.0/directory/deletedItems/{guid(10)}").json()
    assert (one["id"], one["@odata.type"]) == (guid(10), "#microsoft.graph.user")
    assert client.get("/v1.0/users/p10@acme.example?$select=id").json()["id"] == guid(11)


def test_memberships_come_back_with_a_user_and_are_gone_for_good_with_one(
    entra: EntraSandbox, client: httpx.Client
) -> None:
    members = f"/v1.0/groups/{TEAM}/members"
    assert ids(client.get(members)) == [2, 3, 102]
    with pytest.raises(ValueError, match=r"p10@acme\.example"):
        entra.restore(guid(10))
    entra.purge(guid(11))
    entra.restore(guid(10))
    assert ids(client.get(members)) == [2, 3, 10, 102]
    assert client.get(f"/v1.0/users/{guid(10)}").json()["userPrincipalName"] == "p10@acme.example"
    entra.soft_delete(guid(10))
    entra.purge(guid(10))
    assert ids(client.get("/v1.0/directory/deletedItems/microsoft.graph.user")) == []
    assert client.get(f"/v1.0/directory/deletedItems/{guid(10)}").status_code == 404
    assert ids(client.get(members)) == [2, 3, 102]


# Groups


def test_members_are_of_every_kind_and_say_which(client: httpx.Client) -> None:
    rows = every_page(client, f"/v1.0/groups/{ALL}/members?$select=id,displayName&$top=2")
    assert [(row["@odata.type"].rpartition(".")[2], row["displayName"]) for row in rows] == [
        ("user", "Person 1"), ("group", "Team"), ("group", "Crew"), ("device", None),
    ]  # fmt: skip


def test_transitive_members_are_flat_with_the_groups_on_the_way_each_once(client: httpx.Client) -> None:
    assert ids(client.get(f"/v1.0/groups/{ALL}/transitiveMembers")) == [1, 2, 3, 4, 101, 102, 200]
    assert ids(client.get(f"/v1.0/groups/{TEAM}/transitiveMembers")) == [2, 3, 4, 102], "a circle ends"
    assert client.get(f"/v1.0/groups/{ALL}/transitiveMembers/$count", headers=EVENTUAL).text == "7"


def test_a_cast_needs_the_header_on_every_page_and_the_count(client: httpx.Client) -> None:
    cast = f"/v1.0/groups/{ALL}/transitiveMembers/microsoft.graph.user?$select=id&$top=2"
    for asked, headers in ((cast, EVENTUAL), (f"{cast}&$count=true", {})):
        assert code(client.get(asked, headers=headers)) == (400, "Request_UnsupportedQuery")
    first = client.get(f"{cast}&$count=true", headers=EVENTUAL).json()
    assert client.get(first["@odata.nextLink"]).status_code == 400
    assert len(every_page(client, f"{cast}&$count=true", **EVENTUAL)) == 4


def test_kinds_of_groups(entra: EntraSandbox, client: httpx.Client) -> None:
    for kind in ("mail-enabled security", "distribution", "dynamic"):
        entra.create_group(kind, kind)
    rows = {row["displayName"]: row for row in client.get("/v1.0/groups").json()["value"]}
    assert {
        name: (row["securityEnabled"], row["mailEnabled"], row["groupTypes"], row["visibility"])
        for name, row in rows.items()
    } == {
        "All": (True, False, [], None), "Team": (True, False, [], None), "Crew": (False, True, ["Unified"], None),
        "Hidden": (False, True, ["Unified"], "HiddenMembership"), "mail-enabled security": (True, True, [], None),
        "distribution": (False, True, [], None), "dynamic": (True, False, ["DynamicMembership"], None),
    }  # fmt: skip


def test_groups_are_renamed_deleted_nested_and_counted(entra: EntraSandbox, client: httpx.Client) -> None:
    entra.rename_group("Team", "Squad")
    entra.remove_member("Squad", "Crew")
    entra.add_member("Squad", "p6@acme.example")
    assert ids(client.get(f"/v1.0/groups/{TEAM}/members")) == [2, 3, 6]
    assert client.get(f"/v1.0/groups/{TEAM}?$select=displayName").json()["displayName"] == "Squad"
    entra.delete_group("Squad")
    assert client.get(f"/v1.0/groups/{TEAM}").status_code == 404
    assert ids(client.get(f"/v1.0/groups/{ALL}/members")) == [1, 102, 200]
    assert client.get("/v1.0/groups/$count", headers=EVENTUAL).text == "3"


@pytest.mark.off_contract("a group's id is no name")
def test_a_group_is_found_by_id_only(client: httpx.Client) -> None:
    assert code(client.get("/v1.0/groups/Team")) == (400, "Request_BadRequest")
    assert code(client.get(f"/v1.0/groups/{guid(1)}")) == (404, "Request_ResourceNotFound")


# Rights


def test_without_the_right_to_read_users_members_are_nameless(entra: EntraSandbox, client: httpx.Client) -> None:
    entra.granted.remove("User.Read.All")
    rows = client.get(f"/v1.0/groups/{TEAM}/members?$select=id,userPrincipalName").json()["value"]
    assert rows[0] == {"@odata.type": "#microsoft.graph.user", "id": guid(2), "userPrincipalName": None}
    for path in ("/v1.0/users", f"/v1.0/users/{guid(1)}", "/v1.0/directory/deletedItems/microsoft.graph.user"):
        assert code(client.get(path)) == (403, "Authorization_RequestDenied")


def test_without_the_right_to_read_groups_nothing_of_them_is(entra: EntraSandbox, client: httpx.Client) -> None:
    entra.granted.remove("GroupMember.Read.All")
    for path in ("/v1.0/groups", f"/v1.0/groups/{TEAM}", f"/v1.0/groups/{TEAM}/members"):
        assert code(client.get(path)) == (403, "Authorization_RequestDenied")
    entra.granted.add("Directory.Read.All")
    assert len(ids(client.get("/v1.0/groups"))) == 4


def test_a_hidden_membership_has_a_right_of_its_own(entra: EntraSandbox, client: httpx.Client) -> None:
    path = f"/v1.0/groups/{HIDDEN}/members"
    assert code(client.get(path)) == (403, "Authorization_RequestDenied")
    entra.graph.hidden_groups = "empty"
    assert ids(client.get(path)) == []
    entra.granted.add("Member.Read.Hidden")
    assert ids(client.get(path)) == [5]


# Applications


def test_an_application_says_its_roles_and_whom_they_are_assigned_to(entra: EntraSandbox, client: httpx.Client) -> None:
    app = client.get(f"/v1.0/servicePrincipals(appId='{APP}')?$select=id,appRoles,displayName").json()
    assert (app["displayName"], [role["value"] for role in app["appRoles"]]) == ("Looker", ["Viewer"])
    rows = every_page(client, f"/v1.0/servicePrincipals/{app['id']}/appRoleAssignedTo?$top=1")
    assert sorted((row["principalType"], row["principalId"]) for row in rows) == [("Group", TEAM), ("User", guid(1))]
    assert client.get(f"/v1.0/servicePrincipals/{app['id']}").json()["appId"] == APP
    assert client.get(f"/v1.0/servicePrincipals(appId='{ROLE}')").status_code == 404
    entra.granted.remove("Application.Read.All")
    assert client.get(f"/v1.0/servicePrincipals(appId='{APP}')").status_code == 403


# Pages


def test_a_list_is_read_by_its_links(entra: EntraSandbox, client: httpx.Client) -> None:
    asked = "/v1.0/users?$select=id&$top=4"
    assert client.get(asked).json()["@odata.nextLink"].startswith(f"{entra.url}{asked}&$skiptoken=")
    assert len(every_page(client, asked)) == 10


def test_an_empty_page_may_have_a_next_one(entra: EntraSandbox, client: httpx.Client) -> None:
    entra.graph.pages.hollow = True
    assert ids(client.get("/v1.0/users")) == []
    assert len(every_page(client, "/v1.0/users")) == 10


def test_a_skip_token_grows_old_and_fits_one_list(entra: EntraSandbox, client: httpx.Client) -> None:
    link = client.get("/v1.0/users?$top=2").json()["@odata.nextLink"]
    assert code(client.get(link.replace("/users?", "/groups?"))) == (400, "Request_BadRequest")
    assert code(client.get("/v1.0/users?$skiptoken=nonsense")) == (400, "Request_BadRequest")
    entra.graph.pages.expire()
    assert code(client.get(link)) == (400, "Directory_ExpiredPageToken")


def test_who_is_hired_between_two_pages_moves_nobody(entra: EntraSandbox, client: httpx.Client) -> None:
    link = client.get("/v1.0/users?$top=4").json()["@odata.nextLink"]
    entra.hire(id=guid(0), userPrincipalName="p0@acme.example", groups=["Team"])
    assert ids(client.get(link)) == [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("kind", "rows"), [("fewer", 5), ("foreign-next", 10)], ids=["half of the rows", "a link to another host"]
)
def test_faults_know_the_shape_of_graphs_lists(entra: EntraSandbox, client: httpx.Client, kind: str, rows: int) -> None:
    entra.break_("GET /v1.0/users", kind)
    assert len(ids(client.get("/v1.0/users?$top=10"))) == rows
    if kind == "foreign-next":
        assert "://elsewhere.invalid" in client.get("/v1.0/users?$top=1").json()["@odata.nextLink"]


# Many at once


def batch(client: httpx.Client, *urls: str) -> dict[str, Any]:
    asked = [{"id": str(n), "method": "GET", "url": url} for n, url in enumerate(urls)]
    answer = client.post("/v1.0/$batch", json={"requests": asked})
    assert answer.status_code == 200
    return {said["id"]: said for said in answer.json()["responses"]}


def test_a_batch_answers_each_item_by_itself_in_another_order(entra: EntraSandbox, client: httpx.Client) -> None:
    asked = (f"/users/{guid(1)}?$select=id", f"/groups/{TEAM}/members?$select=id&$top=1", f"/users/{guid(99)}")
    said = batch(client, *asked)
    assert list(said) == ["2", "1", "0"]
    assert [said[id]["status"] for id in ("0", "1", "2")] == [200, 200, 404]
    assert said["1"]["body"]["@odata.nextLink"].startswith(f"{entra.url}/v1.0/groups/{TEAM}/members?")
    assert entra.reads[f"/v1.0/users/{guid(1)}"] == 1
    assert entra.log == [], "a batch of reads changes nothing"


def test_one_item_of_a_batch_can_be_throttled(entra: EntraSandbox, client: httpx.Client) -> None:
    fault = entra.break_(
        f"BATCH GET /v1.0/users/{guid(2)}", "status", status=429, headers={"Retry-After": "3"}, times=1
    )
    for expected in (429, 200):
        said = batch(client, *(f"/users/{guid(n)}?$select=id" for n in (1, 2)))
        assert (said["0"]["status"], said["1"]["status"]) == (200, expected)
        assert said["1"]["headers"].get("Retry-After") == ("3" if expected == 429 else None)
    assert fault.fired == 1


@pytest.mark.off_contract("a batch that is too big, ambiguous or none")
def test_a_batch_is_bounded(client: httpx.Client) -> None:
    one = {"id": "1", "method": "GET", "url": "/users"}
    for asked in ([{**one, "id": str(n)} for n in range(21)], [one, one], [{"id": "1"}], "x"):
        assert code(client.post("/v1.0/$batch", json={"requests": asked})) == (400, "BadRequest")


# Throttling, and what every answer says


def test_every_answer_says_which_it_was_and_what_it_cost(client: httpx.Client) -> None:
    mine = guid(77)
    answer = client.get("/v1.0/users", headers={"client-request-id": mine})
    assert answer.headers["client-request-id"] == mine
    assert answer.headers["request-id"] != mine
    costs = {
        "/v1.0/users": "2", "/v1.0/users?$select=id": "1", f"/v1.0/groups/{TEAM}/members": "3",
        f"/v1.0/groups/{TEAM}/transitiveMembers?$select=id": "4", "/v1.0/users?$top=5": "1", "/v1.0/groups": "1",
    }  # fmt: skip
    assert {path: client.get(path).headers["x-ms-resource-unit"] for path in costs} == costs
    inner = client.get(f"/v1.0/users/{guid(99)}", headers={"client-request-id": mine}).json()["error"]["innerError"]
    assert inner["client-request-id"] == mine


def test_whoever_asks_too_much_is_told_when_to_come_back(entra: EntraSandbox, client: httpx.Client) -> None:
    entra.graph.units = 3
    answers = [client.get("/v1.0/users") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert code(answers[1]) == (429, "TooManyRequests")
    assert 1 <= int(answers[1].headers["retry-after"]) <= 11
    assert answers[1].headers["x-ms-throttle-information"] == "ResourceUnitLimitExceeded"


def test_the_organization_says_which_tenant_it_is(entra: EntraSandbox, client: httpx.Client) -> None:
    (row,) = client.get("/v1.0/organization?$select=id,verifiedDomains").json()["value"]
    assert row["id"] == entra.tenant
    assert [domain["name"] for domain in row["verifiedDomains"] if domain["isDefault"]] == ["acme.example"]


def test_state_shows_everything(entra: EntraSandbox, client: httpx.Client) -> None:
    state = client.get("/_sandbox/state").json()
    assert (len(state["users"]), len(state["deleted"])) == (10, 1)
    assert {"id": CREW, "name": "Crew", "members": [guid(4), TEAM]} in state["groups"]
