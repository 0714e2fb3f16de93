"""What Trueup does to a Looker account, in steps of one mutation each, and what it tells a human to do instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from worker.core.attributes import values_in
from worker.core.identity import ATTRIBUTE, Account, Entitlement, Trait
from worker.core.plan import Operation
from worker.core.render import quoted
from worker.ports import Step, Task
from worker.targets.looker.settings import Settings

LOGIN = "login"
UNTOUCHABLE = (Trait.OURSELVES, Trait.SUPPORT, Trait.EMBED, Trait.SERVICE)

# What opens a door without being a right, in the order in which the doors are shut: verb, name of the argument, words.
DEEP: Mapping[str, tuple[str, str, str]] = {
    "session": ("end session", "session", "end web session {id} of Looker account {account}"),
    "token": ("end tokens", "app", "end the tokens that OAuth app {id} has of Looker account {account}"),
    "api key": ("delete key", "key", "delete API key {id} of Looker account {account}"),
    "sign-on": ("remove sign-on", "credential", "remove the {id} log-in of Looker account {account}"),
}


def compile_steps(account: Account, tasks: Sequence[Task]) -> list[Step]:
    """In the order in which they are made: lock out, rename, shut what else lets in, set filters, unlock, then all
    direct roles at once, then groups.

    Looker sets direct roles only as a whole list, so all role tasks of an account are one step, which names the list
    it expects to find. Groups are left before others are joined. A filter ends when what it filtered has been taken
    and before anything is given: then there are two lists.
    """
    created = [task for task in tasks if task.operation is Operation.CREATE]
    if created:
        return _create(account, created[0])
    ended = _of(tasks, Operation.REVOKE, ATTRIBUTE)
    made = _singles(account, tasks, Operation.DISABLE, Operation.UPDATE)
    made += [_shut(account, t) for kind in DEEP for t in _of(tasks, Operation.REVOKE, kind)]
    made += [_set_value(account, t) for op in (Operation.REPLACE, Operation.GRANT) for t in _of(tasks, op, ATTRIBUTE)]
    left = [_leave(account, t) for t in _of(tasks, Operation.REVOKE, "group")]
    if ended:
        taken = _of(tasks, Operation.REVOKE, "role")
        made += [*_roles(account, taken), *left, *(_clear_value(account, t) for t in ended)]
        held = account.entitlements - {t.entitlement for t in taken}
        account, tasks, left = replace(account, entitlements=held), [t for t in tasks if t not in taken], []
    made += _singles(account, tasks, Operation.ENABLE)
    made += [*_roles(account, tasks), *left]
    made += [_join(account.id, t) for t in _of(tasks, Operation.GRANT, "group")]
    return made


def _singles(account: Account, tasks: Sequence[Task], *operations: Operation) -> list[Step]:
    return [_SINGLE[op](account, task) for op in operations for task in tasks if task.operation is op]


def _of(tasks: Sequence[Task], operation: Operation, kind: str) -> list[Task]:
    wanted = [t for t in tasks if t.operation is operation and t.entitlement and t.entitlement.kind == kind]
    return sorted(wanted, key=lambda task: _id(task))


def _id(task: Task) -> str:
    assert task.entitlement is not None
    return task.entitlement.id


def _disable(account: Account, task: Task) -> Step:
    return Step("disable", account.id, {}, (task.id,), f"disable Looker account {account.id}")


def _enable(account: Account, task: Task) -> Step:
    return Step("enable", account.id, {}, (task.id,), f"enable Looker account {account.id}")


def _update(account: Account, task: Task) -> Step:
    if LOGIN in task.fields:  # of an account that has none: the rest is by hand
        return _give_email(account.id, task.fields[LOGIN], (task.id,))
    fields = ", ".join(name.replace("_", " ") for name in sorted(task.fields))
    return Step("rename", account.id, dict(task.fields), (task.id,), f"set the {fields} of Looker account {account.id}")


_SINGLE: Mapping[Operation, Callable[[Account, Task], Step]] = {
    Operation.DISABLE: _disable,
    Operation.UPDATE: _update,
    Operation.ENABLE: _enable,
}


def _shut(account: Account, task: Task) -> Step:
    assert task.entitlement is not None
    verb, name, words = DEEP[task.entitlement.kind]
    id = _id(task)
    return Step(verb, account.id, {name: id}, (task.id,), words.format(id=quoted(id), account=account.id))


def _set_value(account: Account, task: Task) -> Step:
    assert task.entitlement is not None
    return _value(account.id, task.entitlement, account.own(_id(task)), task.id)


def _value(account_id: str, wanted: Entitlement, expected: str | None, task_id: str) -> Step:
    """One call that overwrites: between two values there is never none."""
    who = f"Looker account {account_id}" if account_id else "the new Looker account"
    args = {"attribute": wanted.id, "expected": expected, "value": wanted.scope}
    return Step("set value", account_id, args, (task_id,), f"set user attribute {wanted.id} of {who}")


def _clear_value(account: Account, task: Task) -> Step:
    args = {"attribute": _id(task), "expected": account.own(_id(task))}
    return Step(
        "clear value", account.id, args, (task.id,), f"unset user attribute {_id(task)} of Looker account {account.id}"
    )


def _leave(account: Account, task: Task) -> Step:
    sentence = f"remove Looker account {account.id} from group {_id(task)}"
    return Step("leave group", account.id, {"group": _id(task)}, (task.id,), sentence)


def _join(account_id: str, task: Task) -> Step:
    return _join_group(account_id, _id(task), task.id)


def _join_group(account_id: str, group: str, task_id: str) -> Step:
    who = f"Looker account {account_id}" if account_id else "the new Looker account"
    return Step("join group", account_id, {"group": group}, (task_id,), f"add {who} to group {group}")


def _roles(account: Account, tasks: Sequence[Task]) -> list[Step]:
    revokes, grants = _of(tasks, Operation.REVOKE, "role"), _of(tasks, Operation.GRANT, "role")
    if not revokes and not grants:
        return []
    held = {e.id for e in account.entitlements if e.kind == "role"}
    wanted = (held - {_id(t) for t in revokes}) | {_id(t) for t in grants}
    return [_set_roles(account.id, held, wanted, tuple(t.id for t in (*revokes, *grants)))]


def _set_roles(account_id: str, held: set[str], wanted: set[str], tasks: tuple[str, ...]) -> Step:
    who = f"Looker account {account_id}" if account_id else "the new Looker account"
    sentence = f"set the direct roles of {who} to {spoken(wanted)} (it holds {spoken(held)})"
    return Step("set roles", account_id, {"expected": sorted(held), "roles": sorted(wanted)}, tasks, sentence)


def spoken(roles: set[str]) -> str:
    return ", ".join(sorted(roles)) or "none"


def _give_email(account_id: str, address: str, tasks: tuple[str, ...]) -> Step:
    who = f"Looker account {account_id}" if account_id else "the new Looker account"
    return Step("give email", account_id, {"email": address}, tasks, f"give {who} its e-mail login")


def _create(account: Account, task: Task) -> list[Step]:
    """The account exists after the first step, and has its filters before it can be logged in to; then it gets its
    rights."""
    tasks = (task.id,)
    names = {name: account.profile.get(name, "") for name in ("first_name", "last_name")}
    roles = {e.id for e in account.entitlements if e.kind == "role"}
    groups = sorted(e.id for e in account.entitlements if e.kind == "group")
    return [
        Step("create", "", {"email": account.login, **names}, tasks, "create a Looker account"),
        *(_value("", wanted, None, task.id) for wanted in values_in(account.entitlements)),
        _give_email("", account.login, tasks),
        *([_set_roles("", set(), roles, tasks)] if roles else []),
        *(_join_group("", group, task.id) for group in groups),
    ]


# --- by hand


def hands(settings: Settings, account: Account, task: Task, closed: Callable[[str, str], str]) -> Sequence[str]:
    """Instructions where the API cannot do a task, or our settings do not let us; none where a step does it.

    `closed` says why a role, a group or an API key (kind, id) cannot be changed through the API.
    """
    claimed = [trait for trait in UNTOUCHABLE if trait in account.traits]
    if claimed:
        return (
            f"Trueup never changes account {account.id}: it is {claimed[0]}.",
            f"{_page(settings, account)} Decide there whether it has to be disabled, or to lose anything.",
        )
    match task.operation:
        case Operation.CREATE if settings.create == "off":
            return _make_account(settings, account)
        case Operation.UPDATE if LOGIN in task.fields and account.login:
            return _change_address(settings, account, task.fields[LOGIN])
        case Operation.REVOKE if task.entitlement and task.entitlement.kind in DEEP:
            key = task.entitlement.kind == "api key"
            return keys_by_hand(settings, account.id) if key and closed("api key", _id(task)) else ()
        case Operation.REVOKE if task.entitlement and task.entitlement.kind == ATTRIBUTE:
            return ()  # of an attribute that people can change themselves, too
        case Operation.GRANT | Operation.REVOKE if task.entitlement:
            return _change_right(settings, account, task, closed(task.entitlement.kind, task.entitlement.id))
    return ()


def _page(settings: Settings, account: Account) -> str:
    return f"Open Admin > Users ({settings.url}/admin/users) and edit account {account.id}."


def keys_by_hand(settings: Settings, account_id: str) -> tuple[str, ...]:
    """What is left to do about the API keys of a person where Looker lets nobody but the person delete them."""
    return (
        f"Leave account {account_id} disabled: Looker refuses every login with an API key of a disabled account.",
        f"Before anybody enables it again, open Admin > Users ({settings.url}/admin/users), edit account {account_id}"
        " and take from it the right to have API keys of its own; its old keys can only be deleted by its owner.",
    )


def _make_account(settings: Settings, account: Account) -> Sequence[str]:
    return (
        f"Let {account.login} log in to Looker once over single sign-on, which makes the account; or add it in"
        f" Admin > Users > Add Users ({settings.url}/admin/users) with exactly this address.",
        "Give it no roles or groups by hand: Trueup finds it at its next look and grants what the policy says.",
        "To let Trueup make such accounts itself, set `create: email` for this target.",
    )


def _change_address(settings: Settings, account: Account, address: str) -> Sequence[str]:
    return (
        f"Tell the person first: a changed address logs them out of Looker, and they are locked out until they follow"
        f" the link that Looker mails to {address}.",
        f"{_page(settings, account)} Change the e-mail address from {account.login} to {address} and save.",
        "If the account logs in over single sign-on only, let the person log in once instead, and see that Looker"
        " shows the new address afterwards.",
    )


def _change_right(settings: Settings, account: Account, task: Task, closed: str) -> Sequence[str]:
    assert task.entitlement is not None
    kind, id = task.entitlement.kind, task.entitlement.id
    verb = "gets" if task.operation is Operation.GRANT else "loses"
    if closed:
        return (
            f"Trueup cannot change {kind} {id}: {closed}.",
            f"Where {kind} {id} is assigned (at the identity provider, for a mirrored group), see to it that account"
            f" {account.id} {verb} it. Looker takes a change of a mirrored group over at the person's next login.",
        )
    managed = {"role": Trait.ROLES_MANAGED, "group": Trait.GROUPS_MANAGED}.get(kind)
    if managed in account.traits:
        return (
            f"The {kind}s of account {account.id} are managed by single sign-on: Looker refuses a direct change, or"
            " undoes it at the next login.",
            f"Change the mapping in Admin > Authentication ({settings.url}/admin), or the person's groups at the"
            f" identity provider, so that the account {verb} {kind} {id} at its next login.",
        )
    return ()
