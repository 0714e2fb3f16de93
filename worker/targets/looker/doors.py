"""Closing what lets somebody into Looker besides rights: web sessions, API keys, tokens of apps, ways to log in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from worker.core.identity import Entitlement
from worker.errors import Refused, Rejected, Unavailable
from worker.ports import Step
from worker.rest import Reply
from worker.targets.looker import reading, rows
from worker.targets.looker.ground import GONE, Ground, Sight, Verb, text_of, untouchable
from worker.targets.looker.rows import DeepUserRow

Seen = Callable[[Ground, Step], bool | None]  # whether it is there; None where Looker does not show it to us
Named = Callable[[Step], Entitlement]  # what of the account it is


def _there(what: str, present: Seen) -> Callable[[Ground, Step], Sight]:
    """After the call, and after a lost answer: one call, about this one thing."""

    def look(ground: Ground, step: Step) -> Sight:
        there = present(ground, step)
        if there is None:
            if reading.read_user(ground.session, step.account_id) is None:
                return GONE
            raise Unavailable(f"Looker does not show whether this is so: {step.sentence}.")
        return Sight(f"{what} is there" if there else f"no such {what}", not there)

    return look


def _first(what: str, present: Seen, named: Named) -> Callable[[Ground, Step], Sight]:
    """Before the call: also who it is about. What was seen a moment ago is not looked for again."""

    def look(ground: Ground, step: Step) -> Sight:
        user = ground.user(step.account_id)
        if user is None:
            return GONE
        never = untouchable(user, ground.own)
        if never:
            return Sight("not looked for", never=never)
        there = ground.lately.holds(step.account_id, named(step)) or present(ground, step)
        if there is None:
            raise Rejected(
                f"Not done: {step.sentence}. Looker does not show it to the account of our API key, so nothing could be"
                " verified. Give that account the role Admin, or do it by hand.",
                403,
            )
        return Sight(f"{what} is there" if there else f"no such {what}", not there)

    return look


def _named(kind: str, argument: str) -> Named:
    return lambda step: Entitlement(kind, text_of(step, argument))


def _session_there(ground: Ground, step: Step) -> bool | None:
    return _listed(ground, f"/users/{step.account_id}/sessions", text_of(step, "session"))


def _key_there(ground: Ground, step: Step) -> bool | None:
    return _listed(ground, f"/users/{step.account_id}/credentials_api3", text_of(step, "key"))


def _listed(ground: Ground, path: str, id: str) -> bool | None:
    reply = ground.session.look(path, {"fields": "id"})
    return None if reply is None else id in {row.id for row in rows.unpaged(reply, rows.IDS)}


def _app_there(ground: Ground, step: Step) -> bool | None:
    reply = ground.session.look("/oauth_client_apps", {"fields": "client_guid,display_name,activated_users(id)"})
    if reply is None:
        return None
    found = [app for app in rows.shaped(reply, rows.APPS) if app.client_guid == text_of(step, "app")]
    if any(app.activated_users is None for app in found):
        return None
    return any(user.id == step.account_id for app in found for user in app.activated_users or ())


def _look_sign_on(ground: Ground, step: Step) -> Sight:
    """One call tells about the account and its ways to log in."""
    name = _credential(step)
    user = reading.read_user_as(ground.session, step.account_id, rows.DEEP_USER, rows.DEEP_USER_FIELDS)
    if user is None:
        return GONE
    there = user.credential(name) is not None
    refusal = "" if _found_without(user, name) else "Nobody could find the account again without it."
    text = f"{name} log-in is there" if there else f"no {name} log-in"
    return Sight(text, not there, refusal, never=untouchable(user, ground.own))


def _found_without(user: DeepUserRow, name: str) -> bool:
    """Whether another credential carries an address; a second factor never carries one."""
    others = [row for other in rows.CREDENTIALS if other != name and (row := user.credential(other))]
    return name == "totp" or any(row.email for row in others)


def _credential(step: Step) -> str:
    name = text_of(step, "credential")
    if name not in REMOVALS:
        raise Refused(f"Not done: {step.sentence}. Looker has no call that removes a log-in of the kind {name!r}.")
    return name


# --- closing


def _end_session(ground: Ground, step: Step) -> tuple[str, Reply]:
    _, reply = ground.session.write(lambda sdk: sdk.delete_user_session(step.account_id, text_of(step, "session")))
    return "", reply


def _delete_key(ground: Ground, step: Step) -> tuple[str, Reply]:
    key = text_of(step, "key")
    try:
        _, reply = ground.session.write(lambda sdk: sdk.delete_user_credentials_api3(step.account_id, key))
    except Rejected as error:
        if error.status != 403:
            raise
        hands = "Leave the account disabled: no API key of a disabled account works."
        raise Rejected(f"{error} From release 26.8 nobody but its owner can delete an API key. {hands}", 403) from error
    return "", reply


def _end_tokens(ground: Ground, step: Step) -> tuple[str, Reply]:
    _, reply = ground.session.write(lambda sdk: sdk.deactivate_app_user(text_of(step, "app"), step.account_id))
    return "", reply


REMOVALS: Mapping[str, str] = {  # the SDK's method by the kind of credential
    name: f"delete_user_credentials_{name}"
    for name in ("email", "totp", "saml", "oidc", "google", "ldap", "looker_openid")
}


def _remove_sign_on(ground: Ground, step: Step) -> tuple[str, Reply]:
    _, reply = ground.session.write(lambda sdk: getattr(sdk, REMOVALS[_credential(step)])(step.account_id))
    return "", reply


def _door(what: str, named: Named, present: Seen, close: Callable[[Ground, Step], tuple[str, Reply]]) -> Verb:
    return Verb(_first(what, present, named), close, find=_there(what, present), back=_there(what, present))


VERBS: Mapping[str, Verb] = {
    "end session": _door("session", _named("session", "session"), _session_there, _end_session),
    "delete key": _door("API key", _named("api key", "key"), _key_there, _delete_key),
    "end tokens": _door("use of the app", _named("token", "app"), _app_there, _end_tokens),
    "remove sign-on": Verb(_look_sign_on, _remove_sign_on),
}
