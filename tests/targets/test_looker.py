"""Looker as settings, policy and `trueup check` meet it: who it is, what it may, and what it keeps secret."""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from tests.reading import observed_pages
from tests.targets.looker_company import (
    ANN,
    connected,
    joined,
    sandbox,
    settings,
    shown,
    stage,
    target,
    task,
)  # fmt: skip
from worker.core.identity import Identity, Person, Reference, Standing
from worker.core.plan import Operation
from worker.errors import Denied, Misconfigured, Paused, TrueupError, Unavailable
from worker.ports import Line
from worker.references import SecretReference
from worker.sandbox.looker import LookerSandbox
from worker.targets.looker import Grants, Looker, Settings, connect

__all__ = ["sandbox", "stage", "target"]  # fixtures

GIVEN = {"type": "looker", "client_id": "${env:A}", "client_secret": "${env:B}"}


# --- settings and policy


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://acme.cloud.looker.com", "https://acme.cloud.looker.com"),
        ("https://looker.acme.example:19999/", "https://looker.acme.example:19999"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://localhost:9000", "http://localhost:9000"),
    ],
)
def test_an_address_is_https_or_local(url: str, kept: str) -> None:
    assert Settings.model_validate(GIVEN | {"url": url}).url == kept


@pytest.mark.parametrize(
    "url",
    ["http://acme.cloud.looker.com", "https://acme.example/api/4.0", "https://u:p@acme.example", "acme.example", ""],
)
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(GIVEN | {"url": url})


def test_nothing_is_created_unless_asked_for() -> None:
    assert Settings.model_validate(GIVEN | {"url": "https://acme.example"}).create == "off"


def test_grants_name_roles_and_groups() -> None:
    grants = Grants(roles=("Viewer",), groups=("Engineering",))
    assert grants.references() == (Reference("role", "Viewer"), Reference("group", "Engineering"))
    assert Grants.model_validate({}).references() == ()


@pytest.mark.parametrize("given", [{"roles": [" "]}, {"role": ["Viewer"]}], ids=["blank", "misspelt"])
def test_grants_with_a_blank_name_or_an_unknown_kind_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Grants.model_validate(given)


# --- whose account it is


def person(**attributes: str) -> Person:
    identity = Identity("okta", "00u1", Standing.ACTIVE, "ACTIVE", "", "", attributes)
    return Person("p", Standing.ACTIVE, (identity,))


@pytest.mark.parametrize(
    ("attributes", "login"),
    [
        ({"email": "Ann.Lee@Acme.example", "login": "alee"}, "ann.lee@acme.example"),
        ({"login": "Ann@acme.example"}, "ann@acme.example"),
        ({"login": "alee"}, ""),
        ({}, ""),
    ],
    ids=["the e-mail address", "a login that is one", "no address", "nothing"],
)
def test_the_login_is_the_address_in_lower_case(target: Looker, attributes: dict[str, str], login: str) -> None:
    assert target.login(person(**attributes)) == login


def test_the_profile_has_the_names_that_the_source_knows(target: Looker) -> None:
    assert target.profile(person(firstName="Ann", lastName="Lee")) == {"first_name": "Ann", "last_name": "Lee"}
    assert target.profile(person(firstName="Ann")) == {"first_name": "Ann"}


# --- who we are, and what fights us


def test_the_instance_is_its_host_and_the_account_of_our_key(target: Looker, sandbox: LookerSandbox) -> None:
    found = target.instance()
    assert found.id == f"{sandbox.url.removeprefix('http://')}/{sandbox.own_account}"
    assert (found.own_account, found.version) == (sandbox.own_account, "26.12.3")


def test_nothing_is_found_wrong_with_a_service_account_that_is_an_administrator(target: Looker) -> None:
    assert list(target.probe()) == []
    assert target.calls <= 9


def test_a_key_without_the_admin_role_is_fatal(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.set_roles(sandbox.own_account, ["Viewer"])
    [notice] = target.probe()
    assert notice.fatal
    assert "Admin" in notice.fix


def test_admin_through_a_group_is_admin(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.set_roles(sandbox.own_account, [])
    sandbox.add_to_group(sandbox.own_account, "Inner Chiefs")
    assert list(target.probe()) == []


def test_a_key_of_a_person_is_noticed(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.instance.users[sandbox.own_account].kind = "standard"
    [notice] = target.probe()
    assert "person's account" in notice.text
    assert not notice.fatal


FIGHTS = {
    "set_roles_from_groups": True,
    "allow_direct_roles": False,
    "allow_normal_group_membership": False,
    "auth_requires_role": True,
}


FIGHTS_BY = {
    "set_roles_from_groups": "undoes role changes.",
    "allow_direct_roles": "at the person's next login.",
    "allow_normal_group_membership": "at their next login.",
    "auth_requires_role": "a new account needs one first.",
}


@pytest.mark.parametrize("provider", ["saml", "oidc", "ldap"])
@pytest.mark.parametrize("setting", FIGHTS)
def test_a_sign_on_setting_that_fights_us_is_told_with_its_consequence_and_cure(
    target: Looker, sandbox: LookerSandbox, provider: str, setting: str
) -> None:
    sandbox.sso(provider, **{setting: FIGHTS[setting]})
    [notice] = target.probe()
    assert notice.text.startswith(f"{provider.upper()} sign-on has {setting}")
    assert notice.text.endswith(FIGHTS_BY[setting])
    assert "Admin > Authentication" in notice.fix


def test_sign_on_that_is_off_fights_nobody(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.sso("saml", **FIGHTS)
    sandbox.instance.sso["saml"].enabled = False
    assert list(target.probe()) == []


def test_sign_on_settings_that_are_hidden_are_said_to_be(target: Looker, sandbox: LookerSandbox) -> None:
    fault = sandbox.break_("GET /api/4.0/saml_config", "status", status=403)
    [notice] = target.probe()
    assert fault.fired
    assert "SAML settings cannot be read" in notice.text


# --- credentials


def test_a_wrong_secret_is_denied_although_looker_says_not_found(
    sandbox: LookerSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKER_TEST_SECRET", "stale-secret")
    with connected(sandbox) as target, pytest.raises(Denied, match="client_secret") as caught:
        observed_pages(target)
    assert "stale-secret" not in str(caught.value)


def test_a_rotated_key_needs_no_restart(
    target: Looker, sandbox: LookerSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed_pages(target)
    own = sandbox.instance.users[sandbox.own_account]
    own.keys.clear()
    id, secret = sandbox.add_key(sandbox.own_account)
    sandbox.expire_tokens()
    monkeypatch.setenv("LOOKER_TEST_ID", id)
    monkeypatch.setenv("LOOKER_TEST_SECRET", secret)
    assert joined(observed_pages(target))


def test_connecting_sends_nothing_and_looks_no_secret_up(sandbox: LookerSandbox) -> None:
    unset = settings(sandbox).model_copy(update={"client_secret": SecretReference("${env:LOOKER_TEST_UNSET}")})
    target = connect("looker", unset, lambda: None)
    assert sandbox.reads.total() == 0
    with pytest.raises(Misconfigured, match="LOOKER_TEST_UNSET"):
        target.instance()
    target.close()


def _observe(target: Looker) -> None:
    observed_pages(target)


def _disable(target: Looker) -> None:
    account = target.account(ANN)
    assert account is not None
    target.apply(target.steps(account, [task(Operation.DISABLE)])[0])


LEAKS: dict[str, tuple[str, int, Callable[[Looker], object]]] = {
    "the login": ("POST /api/4.0/login", 503, _observe),
    "a read": ("GET /api/4.0/users", 500, _observe),
    "a change": (f"PATCH /api/4.0/users/{ANN}", 422, _disable),
    "a forbidden change": (f"PATCH /api/4.0/users/{ANN}", 403, _disable),
}


@pytest.mark.parametrize("where", LEAKS)
def test_secrets_that_an_error_page_repeats_are_not_passed_on(
    target: Looker, sandbox: LookerSandbox, where: str
) -> None:
    route, status, act = LEAKS[where]
    seen: list[Any] = []
    sandbox.observers.append(seen.append)
    if where != "the login":
        target.instance()
    tokens = [e.request_headers["authorization"].partition(" ")[2] for e in seen if e.method == "GET"][:1]
    fault = sandbox.break_(route, "status", status=status, text=f"looker-client looker-secret {''.join(tokens)}")
    with pytest.raises(TrueupError) as caught:
        act(target)
    assert fault.fired
    assert "[secret]" in str(caught.value)
    assert not [s for s in ("looker-client", "looker-secret", *tokens) if s in str(caught.value)]


def test_the_credentials_travel_in_the_body_of_the_login_and_nowhere_else(
    target: Looker, sandbox: LookerSandbox
) -> None:
    seen: list[Any] = []
    sandbox.observers.append(seen.append)
    observed_pages(target)
    assert [e.path for e in seen if b"looker-secret" in e.request_body] == ["/api/4.0/login"]
    assert not [e for e in seen if "looker-secret" in f"{e.query} {e.request_headers}"]


def test_a_closed_connector_gives_its_token_back(sandbox: LookerSandbox) -> None:
    seen: list[Any] = []
    sandbox.observers.append(seen.append)
    with connected(sandbox) as target:
        target.instance()
    assert [(e.method, e.path, e.status) for e in seen][-1] == ("DELETE", "/api/4.0/logout", 204)


def test_a_connector_that_was_never_used_closes(sandbox: LookerSandbox) -> None:
    with connected(sandbox):
        pass
    assert sandbox.reads.total() == 0


def test_a_pause_stops_even_the_login(sandbox: LookerSandbox) -> None:
    def paused(_bucket: str) -> None:
        raise Paused("Somebody paused Trueup.")

    target = Looker("looker", settings(sandbox), Line(before=paused))
    seen: list[Any] = []
    sandbox.observers.append(seen.append)
    with pytest.raises(Paused):
        target.instance()
    target.close()
    assert seen == []


# --- the vendor's SDK


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every host whose address is looked up."""
    asked: set[str] = set()
    real = socket.getaddrinfo

    def noting(host: Any, *more: Any, **named: Any) -> Any:
        asked.add(str(host))
        return real(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", noting)
    return asked


DOCUMENTED = "https://cloud.google.com/looker/docs/r/err/4.0/422/patch/users/:user_id"


def test_an_error_with_a_link_to_the_vendors_documentation_is_looked_up_nowhere(
    target: Looker, sandbox: LookerSandbox, hosts: set[str]
) -> None:
    text = f'{{"message": "No", "documentation_url": "{DOCUMENTED}"}}'
    account = target.account(ANN)
    assert account is not None
    fault = sandbox.break_(f"PATCH /api/4.0/users/{ANN}", "status", status=422, text=text)
    with pytest.raises(TrueupError, match="No"):
        target.apply(target.steps(account, [task(Operation.DISABLE)])[0])
    assert fault.fired
    assert hosts <= {"127.0.0.1"}


def test_the_sdks_own_look_up_of_error_pages_is_out_of_order(hosts: set[str]) -> None:
    from worker.targets.looker import session

    assert session.sdk_error.ErrorDocHelper().parse_and_lookup(DOCUMENTED) == ("", "")
    assert hosts == set()


def test_the_sdk_does_not_slow_down_from_call_to_call(sandbox: LookerSandbox) -> None:
    from worker.targets.looker.session import Session

    session = Session("looker", settings(sandbox), Line(), 0.001)
    took = []
    for _ in range(300):
        start = time.thread_time()  # our own work: what else the machine does is nobody's fault here
        session.write(lambda sdk: sdk.me())
        took.append(time.thread_time() - start)
    session.close()
    assert statistics.median(took[-50:]) < 2 * statistics.median(took[:50])


def test_the_sdk_is_loaded_at_the_first_call_only() -> None:
    code = "import sys, worker.targets.looker; sys.exit('looker_sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the sandbox's traps, as the connector meets them


def test_a_leavers_schedules_are_turned_off_with_the_account_which_is_why_the_docs_say_to_hand_them_over_first(
    target: Looker, sandbox: LookerSandbox
) -> None:
    plan = sandbox.add_schedule(ANN, "Monday numbers")
    account = target.account(ANN)
    assert account is not None
    target.apply(target.steps(account, [task(Operation.DISABLE)])[0])
    assert shown(sandbox, ANN)["is_disabled"] is True
    assert sandbox.state()["schedules"][plan]["enabled"] is False


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gone = Settings.model_validate(
        {"type": "looker", "url": f"http://127.0.0.1:{port}", "client_id": "${env:LOOKER_TEST_ID}",
         "client_secret": "${env:LOOKER_TEST_SECRET}"}
    )  # fmt: skip
    target = Looker("looker", gone, first_pause=0.001)
    with pytest.raises(Unavailable):
        target.instance()
    target.close()
