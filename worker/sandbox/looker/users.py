"""What the sandbox Looker answers about users, their credentials and their sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from worker.sandbox.looker import wire
from worker.sandbox.looker.call import Call, on
from worker.sandbox.looker.instance import User, VendorError

DONE = 204


@on("GET", "/user")
def me(call: Call) -> Response:
    return call.one_user(call.caller)


@on("GET", "/users")
def all_users(call: Call) -> Response:
    wanted = set(call.query["ids"].split(",")) if call.query.get("ids") else None
    return call.user_list([u for u in list(call.world.users.values()) if wanted is None or u.id in wanted])


SEARCHED: dict[str, Callable[[User], str | bool | None]] = {
    "id": lambda u: u.id,
    "first_name": lambda u: u.first_name,
    "last_name": lambda u: u.last_name,
    "email": lambda u: u.address,
    "is_disabled": lambda u: u.is_disabled,
    "embed_user": lambda u: u.kind == "embed",
    "verified_looker_employee": lambda u: u.kind == "support",
    "is_service_account": lambda u: u.kind == "service",
}


def _fits(user: User, name: str, wanted: str) -> bool:
    if name == "group_id":
        return wanted in user.groups
    if name == "id":
        return user.id in wanted.split(",")
    value = SEARCHED[name](user)
    return str(value).lower() == wanted.lower() if isinstance(value, bool) else wire.matches(wanted, value)


@on("GET", "/users/search")
def search_users(call: Call) -> Response:
    asked = [(name, value) for name, value in call.query.items() if name in SEARCHED or name == "group_id"]
    combine = any if call.query.get("filter_or") == "true" and asked else all
    known = call.world.users
    among = [known[id] for id in call.query["id"].split(",") if id in known] if "id" in call.query else known.values()
    return call.user_list([u for u in list(among) if combine(_fits(u, name, value) for name, value in asked)])


CREDENTIALS: dict[str, Callable[[User], list[str | None]]] = {
    "email": lambda u: [u.email],
    "saml": lambda u: [u.links.get("saml")],
    "api3": lambda u: [key.client_id for key in u.keys],
    "embed": lambda u: [f"embed-{u.id}" if u.kind == "embed" else None],
}


@on("GET", "/users/credential/{type}/{id}")
def user_for_credential(call: Call) -> Response:
    if call.path["type"] not in CREDENTIALS:
        raise VendorError(404, "Not found")
    read, wanted = CREDENTIALS[call.path["type"]], call.path["id"].lower()
    for user in list(call.world.users.values()):
        if any(value is not None and value.lower() == wanted for value in read(user)):
            return call.one_user(user)
    raise VendorError(404, "Not found")


@on("GET", "/users/{user_id}")
def user(call: Call) -> Response:
    return call.one_user(call.user)


def _write_names(user: User, body: dict[str, Any]) -> None:
    user.first_name = body.get("first_name", user.first_name)
    user.last_name = body.get("last_name", user.last_name)


@on("POST", "/users")
def create_user(call: Call) -> Response:
    call.must_be_admin()
    body = call.body or {}
    made = User(call.world.next_user_id(), "standard", "", "", None, bool(body.get("is_disabled")))
    _write_names(made, body)
    return call.one_user(call.world.enter(made))


@on("POST", "/users/service_accounts")
def create_service_account(call: Call) -> Response:
    call.must_be_admin()
    name = (call.body or {}).get("service_account_name", "")
    call.validate((bool(name), "service_account_name", "missing_field", "a name is needed"))
    made = call.world.enter(User(call.world.next_user_id(), "service", name, ""))
    return call.record({"id": made.id, "service_account_name": name, "is_service_account": True, "is_disabled": False})


@on("PATCH", "/users/{user_id}")
def update_user(call: Call) -> Response:
    call.must_be_admin()
    target, body = call.user, call.body or {}
    flag = body.get("is_disabled", target.is_disabled)
    call.validate((isinstance(flag, bool), "is_disabled", "invalid", "must be true or false"))
    _write_names(target, body)
    if flag != target.is_disabled:
        call.world.set_disabled(target, flag)
    call.world.changed.append(target)
    return call.one_user(target)


@on("DELETE", "/users/{user_id}")
def delete_user(call: Call) -> Response:
    call.must_be_admin()
    target = call.user
    others = [u for u in call.world.users.values() if u.id != target.id and not u.is_disabled]
    if target.id == call.caller.id:
        raise VendorError(403, "You cannot delete yourself.")
    if call.world.is_admin(target) and not any(call.world.is_admin(u) for u in others):
        raise VendorError(403, "The last admin cannot be deleted.")
    call.world.delete(target)
    return Response(status_code=DONE)


# --- credentials, sessions


@on("GET", "/credentials_email/search")
def search_credentials_email(call: Call) -> Response:
    call.must_be_admin()
    pattern = call.query.get("email", "%")
    found = [u for u in list(call.world.users.values()) if u.email is not None and wire.matches(pattern, u.email)]
    return call.record_list([wire.email(u) for u in found])


@on("GET", "/users/{user_id}/credentials_email")
def credentials_email(call: Call) -> Response:
    call.must_be_admin()
    if call.user.email is None:
        raise VendorError(404, "Not found")
    return call.record(wire.email(call.user))


def _free_email(call: Call) -> str:
    email = (call.body or {}).get("email")
    call.validate(
        (isinstance(email, str) and "@" in email, "email", "invalid", "not an e-mail address"),
        (
            not isinstance(email, str) or all(u.id == call.user.id for u in call.world.with_email(email)),
            "email", "already_exists", "somebody else has this address",
        ),
    )  # fmt: skip
    return str(email)


@on("POST", "/users/{user_id}/credentials_email")
def create_credentials_email(call: Call) -> Response:
    call.must_be_admin()
    if call.user.email is not None:
        raise VendorError(409, "Resource already exists")
    call.user.email = _free_email(call)
    call.world.changed.append(call.user)
    return call.record(wire.email(call.user))


@on("PATCH", "/users/{user_id}/credentials_email")
def update_credentials_email(call: Call) -> Response:
    """A changed address logs the user out, and lets nobody in until the mailed link is used."""
    call.must_be_admin()
    target = call.user
    if target.email is None:
        raise VendorError(404, "Not found")
    address = _free_email(call)
    if address != target.email:
        target.email, target.locked = address, True
        target.sessions.clear()
        call.world.changed.append(target)
    return call.record(wire.email(target))


@on("DELETE", "/users/{user_id}/credentials_email")
def delete_credentials_email(call: Call) -> Response:
    call.must_be_admin()
    if call.user.email is None:
        raise VendorError(404, "Not found")
    call.user.email = None
    call.world.changed.append(call.user)
    return Response(status_code=DONE)


def _keys_open(call: Call) -> None:
    call.must_be_admin()
    if call.sandbox.keys_closed and call.user.kind != "service":
        raise VendorError(403, "API keys of standard users are theirs alone.")


@on("GET", "/users/{user_id}/credentials_api3")
def api_keys(call: Call) -> Response:
    call.must_be_admin()
    if not call.sandbox.keys_listed:
        _keys_open(call)
    return call.record_list([wire.key(key) for key in call.user.keys])


@on("POST", "/users/{user_id}/credentials_api3")
def create_api_key(call: Call) -> Response:
    """The only answer that ever shows the secret."""
    _keys_open(call)
    made = call.world.new_key(call.user)
    return call.record(wire.key(made) | {"client_secret": made.client_secret})


@on("DELETE", "/users/{user_id}/credentials_api3/{key_id}")
def delete_api_key(call: Call) -> Response:
    _keys_open(call)
    kept = [key for key in call.user.keys if key.id != call.path["key_id"]]
    if len(kept) == len(call.user.keys):
        raise VendorError(404, "Not found")
    call.user.keys[:] = kept
    call.world.changed.append(call.user)
    return Response(status_code=DONE)


@on("GET", "/users/{user_id}/sessions")
def sessions(call: Call) -> Response:
    call.must_be_admin()
    return call.record_list([wire.session(id) for id in call.user.sessions])


@on("DELETE", "/users/{user_id}/sessions/{session_id}")
def delete_session(call: Call) -> Response:
    call.must_be_admin()
    if call.path["session_id"] not in call.user.sessions:
        raise VendorError(404, "Not found")
    call.user.sessions.remove(call.path["session_id"])
    call.world.changed.append(call.user)
    return Response(status_code=DONE)


def _link(provider: str) -> tuple[Callable[[Call], Response], Callable[[Call], Response]]:
    """What a login over single sign-on left behind: it can be read and deleted, and comes back with the next login."""

    def show(call: Call) -> Response:
        call.must_be_admin()
        if provider not in call.user.links:
            raise VendorError(404, "Not found")
        return call.record(wire.link(call.user, provider))

    def delete(call: Call) -> Response:
        call.must_be_admin()
        if call.user.links.pop(provider, None) is None:
            raise VendorError(404, "Not found")
        call.world.changed.append(call.user)
        return Response(status_code=DONE)

    return show, delete


for _provider in ("saml", "oidc", "google", "ldap", "looker_openid"):
    _show, _delete = _link(_provider)
    on("GET", f"/users/{{user_id}}/credentials_{_provider}")(_show)
    on("DELETE", f"/users/{{user_id}}/credentials_{_provider}")(_delete)


@on("GET", "/users/{user_id}/credentials_totp")
def second_factor(call: Call) -> Response:
    call.must_be_admin()
    if not call.user.second_factor:
        raise VendorError(404, "Not found")
    return call.record(wire.second_factor(call.user))


@on("DELETE", "/users/{user_id}/credentials_totp")
def delete_second_factor(call: Call) -> Response:
    call.must_be_admin()
    if not call.user.second_factor:
        raise VendorError(404, "Not found")
    call.user.second_factor = False
    call.world.changed.append(call.user)
    return Response(status_code=DONE)


@on("GET", "/oauth_client_apps")
def apps(call: Call) -> Response:
    """Which applications people let act for them, and which people: no other call tells of their tokens."""
    call.must_be_admin()
    shown = [wire.app(call.world, app) for app in call.world.apps.values()]
    return call.record([{k: v for k, v in app.items() if k not in call.sandbox.hidden} for app in shown])


@on("DELETE", "/oauth_client_apps/{client_guid}/users/{user_id}")
def deactivate_app_user(call: Call) -> Response:
    """Ends every token that the app has of the user. Nobody is told that there was none."""
    call.must_be_admin()
    app = call.world.apps.get(call.path["client_guid"])
    if app is not None:
        app.users.discard(call.path["user_id"])
    return Response(status_code=DONE)
