"""Which vendor mutations bring a task about, in which order, and what a human does where the API cannot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from worker.core.identity import Account, Entitlement, Trait
from worker.core.plan import Operation
from worker.core.render import quoted
from worker.ports import Step, Task
from worker.targets.teamcity.settings import Settings
from worker.targets.teamcity.wire import ALL_USERS

Draft = tuple[str, Mapping[str, str], str]  # verb, arguments, sentence
_ORDER = list(Operation)
FIELDS = {"login": "username", "name": "name", "email": "email"}  # ours, and the path's
_CLAIMED = {Trait.OURSELVES: "it is the account Trueup works with", Trait.GUEST: "it is the guest account"}


def token(name: str) -> Entitlement:
    """One access token. Its name may hold what separates the parts of a key, so that is coded."""
    return Entitlement("token", name.replace("%", "%25").replace("@", "%40"))


def token_name(held: Entitlement) -> str:
    return held.id.replace("%40", "@").replace("%25", "%")


def addressable(name: str) -> bool:
    """Servlet containers refuse an encoded slash, whichever way it leans."""
    return not {"/", "\\"} & set(name)


PASSWORD = Entitlement("password", "password")
SESSIONS = Entitlement("session", "all")
REMEMBERED = Entitlement("remembered logins", "all")


def plan_steps(account: Account, tasks: Sequence[Task]) -> tuple[Step, ...]:
    """In the order of the operations; a mutation that serves several tasks is made once."""
    drafts: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Draft, list[str]]] = {}
    for task in sorted(tasks, key=lambda t: _ORDER.index(t.operation)):
        for draft in _DRAFTS[task.operation](account, task):
            verb, args, _ = draft
            drafts.setdefault((verb, tuple(args.items())), (draft, []))[1].append(task.id)
    return tuple(
        Step(verb, account.id, dict(args), tuple(dict.fromkeys(ids)), sentence)
        for (verb, args, sentence), ids in drafts.values()
    )


def _whom(account: Account) -> str:
    return f"account {account.id}" if account.id else "the new account"


def _disable(account: Account, task: Task) -> Iterator[Draft]:
    """TeamCity has no switch, so everything that opens a door is taken away, and the mark is set last: cut short, the
    account still counts as active, and all of it is made again, the sessions too, which nobody can see."""
    whom = _whom(account)
    tokens = sorted(held for held in account.entitlements if held.kind == "token")
    for held in tokens:
        if addressable(token_name(held)):
            yield _take(account, held)
    yield "delete_tokens", {}, f"delete the{' other' if tokens else ''} access tokens of {whom}"
    yield _take(account, PASSWORD)
    for held in sorted(held for held in account.entitlements if held.kind in ("role", "group")):
        yield _take(account, held)
    yield _take(account, SESSIONS)
    yield _take(account, REMEMBERED)
    yield "mark", {"note": task.id}, f"mark {whom} as suspended"


def _take(account: Account, held: Entitlement) -> Draft:
    whom = _whom(account)
    match held.kind:
        case "role":
            args = {"role": held.id, "scope": held.scope}
            return "revoke_role", args, f"take role {_label(held)} from {whom}"
        case "token":
            name = token_name(held)
            return "delete_token", {"name": name}, f"delete the access token {quoted(name)!r} of {whom}"
        case "password":
            return "delete_password", {}, f"delete the password of {whom}"
        case "session":
            return "end_sessions", {}, f"end the sessions of {whom}"
        case "remembered logins":
            return "forget_logins", {}, f"forget the remembered logins of {whom}"
    return "leave_group", {"group": held.id}, f"take {whom} out of group {quoted(held.id)}"


def _give(account: Account, held: Entitlement) -> Draft:
    if held.kind == "role":
        return "grant_role", {"role": held.id, "scope": held.scope}, f"give role {_label(held)} to {_whom(account)}"
    return "join_group", {"group": held.id}, f"put {_whom(account)} into group {quoted(held.id)}"


def _label(held: Entitlement) -> str:
    place = "everywhere" if held.scope == "g" else f"in {quoted(held.scope.removeprefix('p:'))}"
    return f"{quoted(held.id)} {place}"


def _update(account: Account, task: Task) -> Iterator[Draft]:
    for field, after in sorted(task.fields.items()):
        before = account.login if field == "login" else account.profile.get(field, "")
        label = {"login": "user name", "email": "e-mail address"}.get(field, field)
        sentence = f"change the {label} of {_whom(account)} from {quoted(before)!r} to {quoted(after)!r}"
        yield "set_field", {"field": field, "before": before, "after": after}, sentence


def _create(account: Account, task: Task) -> Iterator[Draft]:
    """Without roles and groups in the body: a bad one there would leave a half-made account behind an error."""
    profile = {field: account.profile.get(field, "") for field in ("name", "email")}
    args = {"login": account.login, **profile, "note": task.id}
    yield "create", args, f"create the account {quoted(account.login)!r}"
    for held in sorted(account.entitlements):
        yield _give(account, held)


def _enable(account: Account, _: Task) -> Iterator[Draft]:
    yield "unmark", {}, f"remove the suspended mark of {_whom(account)}"


def _revoke(account: Account, task: Task) -> Iterator[Draft]:
    assert task.entitlement is not None
    yield _take(account, task.entitlement)


def _grant(account: Account, task: Task) -> Iterator[Draft]:
    assert task.entitlement is not None
    yield _give(account, task.entitlement)


_DRAFTS = {
    Operation.DISABLE: _disable,
    Operation.UPDATE: _update,
    Operation.REVOKE: _revoke,
    Operation.CREATE: _create,
    Operation.ENABLE: _enable,
    Operation.GRANT: _grant,
}


def words(held: Entitlement) -> str:
    """What people read for something that an account has."""
    match held.kind:
        case "role":
            return f"role {_label(held)}"
        case "token":
            return f"access token {quoted(token_name(held))!r}"
        case "group":
            return f"group {quoted(held.id)}"
    return {"password": "password", "session": "sessions"}.get(held.kind, held.kind)


def by_hand(account: Account, task: Task, settings: Settings, lacking: Collection[str] = ()) -> tuple[str, ...]:
    """What a human does where Trueup must not or cannot; else empty. `lacking` are verbs that this server has no call
    for."""
    claimed = next((why for trait, why in _CLAIMED.items() if trait in account.traits), "")
    if claimed:
        return (f"Trueup never changes {_whom(account)}: {claimed}. Decide by hand whether it needs changing.",)
    if task.operation is Operation.CREATE and settings.create == "off":
        return _create_by_hand(account, settings)
    held = task.entitlement
    if held is not None and held.kind == "token" and not addressable(token_name(held)):
        return (
            f"The {words(held)} has a slash in its name, which TeamCity's server refuses in an address.",
            f"Open {profile_page(settings, account.id)}, tab Access Tokens, and delete it there.",
        )
    if held == SESSIONS and "end_sessions" in lacking:
        return sessions_by_hand(settings)
    if held is not None and held.kind == "group" and held.id == ALL_USERS:
        return (
            "Every account is in the group All Users and none can leave it. Take it out of the policy, or change the"
            f" roles of that group at {settings.url}/admin/editGroup.html?groupCode={ALL_USERS}.",
        )
    return ()


def profile_page(settings: Settings, account_id: str) -> str:
    return f"{settings.url}/admin/editUser.html?userId={account_id}"


def sessions_by_hand(settings: Settings) -> tuple[str, ...]:
    return (
        f"Open Administration | Authentication ({settings.url}/admin/admin.html?item=auth) and log out all users:"
        " this server cannot end one person's sessions alone.",
        "Or wait: such a session may do no more than the group All Users may, and ends by itself when it is not used.",
    )


def _create_by_hand(account: Account, settings: Settings) -> tuple[str, ...]:
    name, email = account.profile.get("name", ""), account.profile.get("email", "")
    grants = [_give(account, held)[2] for held in sorted(account.entitlements)]
    return (
        f"Ask the person to sign in once at {settings.url}, if single sign-on creates accounts there; or open"
        f" {settings.url}/admin/createUser.html and create the user name {quoted(account.login)!r}"
        f" (name {quoted(name)!r}, e-mail {quoted(email)!r}) without a password.",
        f"Trueup links the account at its next reading and will then {', '.join(grants) or 'have nothing to add'}.",
    )
