"""The Okta sandbox answers as Okta does, its traps included."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from worker.sandbox.company import Company, Employee, SourceGroupSpec
from worker.sandbox.okta import OktaSandbox

SCOPES = "okta.users.read okta.groups.read"
STATUSES = ("ACTIVE", "STAGED", "PROVISIONED", "SUSPENDED", "LOCKED_OUT", "DEPROVISIONED", "ACTIVATING", "ACTIVE")


def person(number: int, status: str) -> Employee:
    names = {"firstName": f"First{number}", "lastName": "Last"}
    mail = f"p{number}@example.com"
    return Employee(f"00u{number}", status, {"login": mail, "email": mail, **names}, ("Crew",))


@pytest.fixture
def okta() -> Iterator[OktaSandbox]:
    staff = tuple(person(n, status) for n, status in enumerate(STATUSES))
    groups = (SourceGroupSpec("00g1", "Crew", "OKTA_GROUP"), SourceGroupSpec("00g2", "Imported", "APP_GROUP"))
    sandbox = OktaSandbox(Company(staff, groups, (), (), (), (), (), (), (), policy=""))
    with sandbox.serve():
        yield sandbox


@pytest.fixture
def client(okta: OktaSandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=okta.url, headers={"Authorization": f"SSWS {okta.token}"}) as client:
        yield client


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()]


# Signing in with a token


@pytest.mark.parametrize("form", ["SSWS {}", "SSWS{}"])
def test_a_token_is_good_with_and_without_a_blank(okta: OktaSandbox, form: str) -> None:
    answer = httpx.get(f"{okta.url}/api/v1/users/me", headers={"Authorization": form.format(okta.token)})
    assert answer.json()["id"] == okta.owner_id


@pytest.mark.parametrize("header", [{}, {"Authorization": "SSWS wrong"}, {"Authorization": "Bearer wrong"}])
def test_a_wrong_token_is_an_okta_error(okta: OktaSandbox, header: dict[str, str]) -> None:
    answer = httpx.get(f"{okta.url}/api/v1/users", headers=header)
    assert (answer.status_code, answer.json()["errorCode"]) == (401, "E0000011")
    assert set(answer.json()) == {"errorCode", "errorSummary", "errorLink", "errorId", "errorCauses"}


def test_the_org_says_who_it_is_to_anybody(okta: OktaSandbox) -> None:
    answer = httpx.get(f"{okta.url}/.well-known/okta-organization").json()
    assert (answer["id"], answer["pipeline"]) == (okta.org_id, "idx")


# Users


def test_the_plain_list_has_every_status_but_deprovisioned(okta: OktaSandbox, client: httpx.Client) -> None:
    assert ids(client.get("/api/v1/users")) == ["00u0", "00u1", "00u2", "00u3", "00u4", "00u6", "00u7", okta.owner_id]


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ('status eq "DEPROVISIONED"', ["00u5"]),
        ('status eq "STAGED" or status eq "SUSPENDED"', ["00u1", "00u3"]),
        ('status eq "staged"', []),
        ('id eq "00u2"', ["00u2"]),
        ('profile.login eq "p3@example.com"', ["00u3"]),
        ('profile.lastName eq "Last" and profile.firstName eq "First4"', ["00u4"]),
        ('id eq "00u1" or id eq "00u2" and status eq "ACTIVE"', ["00u1"]),
        ('(id eq "00u1" or id eq "00u2") and status eq "PROVISIONED"', ["00u2"]),
        ('lastUpdated lt "2000-01-01T00:00:00.000Z"', []),
    ],
)
def test_filters(client: httpx.Client, expression: str, found: list[str]) -> None:
    assert ids(client.get("/api/v1/users", params={"filter": expression})) == found


@pytest.mark.parametrize(
    "expression",
    [
        'status ne "ACTIVE"', 'status gt "ACTIVE"', 'not status eq "ACTIVE"', 'profile.department eq "x"', "status eq",
        'status eq "ACTIVE" or', '(status eq "ACTIVE"', 'status eq "ACTIVE")', "status eq ACTIVE", "§",
    ],
)  # fmt: skip
def test_what_okta_does_not_evaluate_is_an_error(client: httpx.Client, expression: str) -> None:
    answer = client.get("/api/v1/users", params={"filter": expression})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "E0000031")


def test_a_delta_shows_what_was_edited(okta: OktaSandbox, client: httpx.Client) -> None:
    before = client.get("/api/v1/users/00u1").json()["lastUpdated"]
    okta.rename("00u1", lastName="Lovelace")
    okta.add_to_group("00u2", "Imported")
    assert ids(client.get("/api/v1/users", params={"filter": f'lastUpdated gt "{before}"'})) == ["00u1", okta.owner_id]


def test_quick_search_is_cut_without_a_next_link(okta: OktaSandbox, client: httpx.Client) -> None:
    for number in range(12):
        okta.hire(f"Quick{number}", "Search")
    answer = client.get("/api/v1/users", params={"q": "quick"})
    assert len(ids(answer)) == 10
    assert "next" not in answer.links


def test_fields_cut_the_body_and_the_id_always_comes(client: httpx.Client) -> None:
    answer = client.get("/api/v1/users", params={"fields": "status,profile:(login)", "limit": 1})
    assert answer.json() == [{"id": "00u0", "status": "ACTIVE", "profile": {"login": "p0@example.com"}}]


def test_the_media_type_leaves_out_credentials(client: httpx.Client) -> None:
    lean = {"Content-Type": "application/json; okta-response=omitCredentials,omitCredentialsLinks"}
    assert "credentials" in client.get("/api/v1/users/00u0").json()
    assert "credentials" not in client.get("/api/v1/users/00u0", headers=lean).json()


@pytest.mark.parametrize("key", ["00u3", "p3@example.com", "P3@EXAMPLE.COM", "p3", "P̂3@example.com"])
def test_a_user_is_found_by_id_login_or_short_name(client: httpx.Client, key: str) -> None:
    assert client.get(f"/api/v1/users/{key}").json()["id"] == "00u3"


def test_a_deleted_user_is_in_no_list_and_not_found(okta: OktaSandbox, client: httpx.Client) -> None:
    okta.delete("00u5")
    answer = client.get("/api/v1/users/00u5")
    assert (answer.status_code, answer.json()["errorCode"]) == (404, "E0000007")
    assert ids(client.get("/api/v1/users", params={"filter": 'status eq "DEPROVISIONED"'})) == []


# Pages


def test_pages_are_linked_by_two_header_lines_self_first(client: httpx.Client, okta: OktaSandbox) -> None:
    lines = client.get("/api/v1/users", params={"limit": 2}).headers.get_list("link")
    assert [line.rpartition("rel=")[2] for line in lines] == ['"self"', '"next"']
    assert all(line.startswith(f"<{okta.url}/api/v1/users?limit=2") for line in lines)
    okta.links = "next-first"
    lines = client.get("/api/v1/users", params={"limit": 2}).headers.get_list("link")
    assert [line.rpartition("rel=")[2] for line in lines] == ['"next"', '"self"']


def test_the_last_page_has_no_next(client: httpx.Client) -> None:
    answer = client.get("/api/v1/users", params={"limit": 8})
    assert len(ids(answer)) == 8
    assert set(answer.links) == {"self"}


def test_a_cursor_outlives_edits_between_pages(okta: OktaSandbox, client: httpx.Client) -> None:
    first = client.get("/api/v1/users", params={"limit": 3})
    okta.delete("00u2")
    okta.deactivate("00u0")
    okta.hire("New", "Comer", id="00u00")
    okta.hire("Late", "Comer", id="00u35")
    assert ids(client.get(first.links["next"]["url"])) == ["00u3", "00u35", "00u4"]


def test_a_limit_above_the_ceiling_is_lowered(okta: OktaSandbox, client: httpx.Client) -> None:
    for number in range(200):
        okta.hire(f"N{number}", "N")
    assert len(ids(client.get("/api/v1/users", params={"limit": 5000}))) == 200


@pytest.mark.parametrize("params", [{"after": "00u3"}, {"after": "§"}, {"limit": "0"}, {"limit": "many"}])
def test_cursors_are_opaque_and_limits_are_numbers(client: httpx.Client, params: dict[str, str]) -> None:
    answer = client.get("/api/v1/users", params=params)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "E0000001")


# Groups


def test_groups_come_with_counts_when_asked(client: httpx.Client) -> None:
    groups = {g["profile"]["name"]: g for g in client.get("/api/v1/groups", params={"expand": "stats"}).json()}
    counts = {name: group["_embedded"]["stats"]["usersCount"] for name, group in groups.items()}
    assert counts == {"Crew": 8, "Imported": 0, "Everyone": 8}
    assert [groups[name]["type"] for name in ("Crew", "Imported", "Everyone")] == [
        "OKTA_GROUP", "APP_GROUP", "BUILT_IN",
    ]  # fmt: skip
    assert "_embedded" not in client.get("/api/v1/groups").json()[0]


def test_groups_are_filtered_by_id_and_type(client: httpx.Client) -> None:
    assert ids(client.get("/api/v1/groups", params={"filter": 'id eq "00g2"'})) == ["00g2"]
    assert ids(client.get("/api/v1/groups", params={"filter": 'type eq "APP_GROUP"'})) == ["00g2"]


def test_members_are_full_users_and_everyone_has_all_but_leavers(client: httpx.Client) -> None:
    crew = client.get("/api/v1/groups/00g1/users").json()
    assert len(crew) == len(STATUSES)
    assert crew[0]["profile"]["login"] == "p0@example.com"
    everyone = next(g["id"] for g in client.get("/api/v1/groups").json() if g["type"] == "BUILT_IN")
    assert "00u5" not in ids(client.get(f"/api/v1/groups/{everyone}/users"))


def test_groups_of_a_user(client: httpx.Client) -> None:
    names = {g["profile"]["name"] for g in client.get("/api/v1/users/00u1/groups").json()}
    assert names == {"Crew", "Everyone"}


def test_groups_are_made_renamed_and_deleted(okta: OktaSandbox, client: httpx.Client) -> None:
    made = okta.create_group("Shipwrights")
    okta.add_to_group("00u1", "Shipwrights")
    okta.rename_group("Shipwrights", "Builders")
    assert client.get(f"/api/v1/groups/{made}").json()["profile"]["name"] == "Builders"
    assert ids(client.get(f"/api/v1/groups/{made}/users")) == ["00u1"]
    okta.delete_group("Builders")
    assert client.get(f"/api/v1/groups/{made}").status_code == 404
    assert client.get(f"/api/v1/groups/{made}/users").json()["errorCode"] == "E0000007"


def test_a_narrow_role_shortens_lists_without_a_word(okta: OktaSandbox, client: httpx.Client) -> None:
    okta.add_to_group("00u1", "Imported")
    okta.admin_role, okta.narrow_to = "narrow", frozenset({"Imported"})
    assert ids(client.get("/api/v1/users")) == ["00u1"]
    assert ids(client.get("/api/v1/groups")) == ["00g2"]
    assert client.get("/api/v1/users/00u2").status_code == 404


# What an administrator does


def test_lifecycle_over_http(okta: OktaSandbox, client: httpx.Client) -> None:
    def status() -> str:
        return str(client.get("/api/v1/users/00u0").json()["status"])

    assert client.post("/api/v1/users/00u0/lifecycle/suspend").status_code == 200
    assert status() == "SUSPENDED"
    assert client.post("/api/v1/users/00u0/lifecycle/suspend").status_code == 400
    assert client.post("/api/v1/users/00u0/lifecycle/unsuspend").status_code == 200
    assert status() == "ACTIVE"
    assert client.post("/api/v1/users/00u0/lifecycle/deactivate").status_code == 200
    assert status() == "DEPROVISIONED"
    assert "00u0" not in ids(client.get("/api/v1/groups/00g1/users"))
    assert client.delete("/api/v1/users/00u0/sessions").status_code == 204
    assert [exchange.path.rpartition("/")[2] for exchange in okta.log] == [
        "suspend", "suspend", "unsuspend", "deactivate", "sessions",
    ]  # fmt: skip


def test_members_are_changed_over_http_in_groups_that_okta_masters(client: httpx.Client) -> None:
    assert client.delete("/api/v1/groups/00g1/users/00u1").status_code == 204
    assert "00u1" not in ids(client.get("/api/v1/groups/00g1/users"))
    assert client.put("/api/v1/groups/00g1/users/00u1").status_code == 204
    assert "00u1" in ids(client.get("/api/v1/groups/00g1/users"))
    assert client.put("/api/v1/groups/00g2/users/00u1").status_code == 403


def test_state_shows_everything(okta: OktaSandbox) -> None:
    state = httpx.get(f"{okta.url}/_sandbox/state").json()
    assert state["org"] == okta.org_id
    assert state["users"][0]["groups"] == ["Crew"]
    assert {"id": "00g1", "name": "Crew", "type": "OKTA_GROUP", "members": 8} in state["groups"]


# Throttling


def test_every_answer_tells_what_remains(okta: OktaSandbox, client: httpx.Client) -> None:
    okta.per_minute, okta.window = 2, 30
    answers = [client.get("/api/v1/users") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-rate-limit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert 0 < int(answers[2].headers["x-rate-limit-reset"]) - time.time() < 32
    assert answers[2].json()["errorCode"] == "E0000047"
    assert client.get("/api/v1/users/00u1").status_code == 200  # another bucket


def test_crowding_answers_429_with_a_limit_of_nothing(okta: OktaSandbox, client: httpx.Client) -> None:
    okta.crowd(1)
    answer = client.get("/api/v1/users")
    assert (answer.status_code, answer.headers["x-rate-limit-limit"]) == (429, "0")
    assert client.get("/api/v1/users").status_code == 200


# Service apps


def assertion(okta: OktaSandbox, key: str = "", header: dict[str, Any] | None = None, **changed: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": okta.client_id, "sub": okta.client_id, "aud": f"{okta.url}/oauth2/v1/token", "iat": now,
        "exp": now + 3000, "jti": str(uuid.uuid4()),
    }  # fmt: skip
    return jwt.encode({**claims, **changed}, key or okta.private_key, algorithm="RS256", headers=header)


def mint(okta: OktaSandbox, signed: str, scope: str = SCOPES, **headers: str) -> httpx.Response:
    form = {
        "grant_type": "client_credentials", "scope": scope, "client_assertion": signed,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }  # fmt: skip
    sent = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    return httpx.post(f"{okta.url}/oauth2/v1/token", content=urlencode(form), headers=sent)


def test_a_signed_assertion_buys_a_token_that_reads(okta: OktaSandbox) -> None:
    answer = mint(okta, assertion(okta)).json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    bearer = {"Authorization": f"Bearer {answer['access_token']}"}
    assert httpx.get(f"{okta.url}/api/v1/users", headers=bearer).status_code == 200
    refused = httpx.post(f"{okta.url}/api/v1/users/00u0/lifecycle/suspend", headers=bearer)
    assert (refused.status_code, refused.json()["errorCode"]) == (403, "E0000006")
    assert "okta.users.manage" in refused.headers["www-authenticate"]


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "0oaother"}, {"sub": "0oaother"}, {"aud": "https://elsewhere.example/oauth2/v1/token"},
        {"exp": 1}, {"exp": 4102444800}, {"jti": None},
    ],
    ids=["issuer", "subject", "audience", "over", "too long", "no id"],
)  # fmt: skip
def test_a_wrong_assertion_is_refused(okta: OktaSandbox, changed: dict[str, Any]) -> None:
    answer = mint(okta, assertion(okta, **changed))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_another_key_and_a_second_use_are_refused(okta: OktaSandbox) -> None:
    other = OktaSandbox(Company((), (), (), (), (), (), (), (), (), policy="")).private_key
    assert mint(okta, assertion(okta)).status_code == 200
    assert mint(okta, assertion(okta, key=other)).json()["error"] == "invalid_client"
    once = assertion(okta)
    assert [mint(okta, once).status_code for _ in range(2)] == [200, 401]


def test_only_granted_scopes_are_given(okta: OktaSandbox) -> None:
    okta.oauth.granted = frozenset({"okta.users.read"})
    assert mint(okta, assertion(okta)).json()["error"] == "invalid_scope"


def test_an_app_without_a_role_may_do_nothing(okta: OktaSandbox) -> None:
    token = mint(okta, assertion(okta)).json()["access_token"]
    okta.admin_role = "none"
    assert httpx.get(f"{okta.url}/api/v1/users", headers={"Authorization": f"Bearer {token}"}).status_code == 403


def proof(okta: OktaSandbox, key: rsa.RSAPrivateKey, **claims: Any) -> str:
    public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    header = {"typ": "dpop+jwt", "jwk": {name: public[name] for name in ("kty", "n", "e")}}
    whole = {
        "jti": str(uuid.uuid4()), "htm": "POST", "htu": f"{okta.url}/oauth2/v1/token", "iat": int(time.time()), **claims
    }  # fmt: skip
    return jwt.encode(whole, key, algorithm="RS256", headers=header)


def test_proof_of_possession_needs_the_nonce_and_fits_one_call(okta: OktaSandbox) -> None:
    okta.oauth.demand_dpop = True
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert mint(okta, assertion(okta)).json()["error"] == "invalid_dpop_proof"
    asked = mint(okta, assertion(okta), DPoP=proof(okta, key))
    assert (asked.status_code, asked.json()["error"]) == (400, "use_dpop_nonce")
    nonce = asked.headers["dpop-nonce"]
    assert mint(okta, assertion(okta), DPoP=proof(okta, key, nonce=nonce, htm="GET")).status_code == 400
    once = proof(okta, key, nonce=nonce)
    answers = [mint(okta, assertion(okta), DPoP=once) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 400]
    token = answers[0].json()["access_token"]
    for scheme, sent in (("Bearer", ""), ("DPoP", ""), ("DPoP", proof(okta, key, htm="GET"))):
        headers = {"Authorization": f"{scheme} {token}", "DPoP": sent}
        assert httpx.get(f"{okta.url}/api/v1/users", headers=headers).status_code == 401
