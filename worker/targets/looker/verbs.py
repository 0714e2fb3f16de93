"""The steps on the wire: for each verb how to look whether it is so, and the one call that makes it so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from worker.core.identity import Entitlement
from worker.core.values import mistyped
from worker.errors import Denied, Misshapen, Missing, Refused, Rejected, Unavailable, Unknown
from worker.ports import Made, Outcome, Step
from worker.rest import Reply
from worker.targets.looker import attributes, doors, inheritance, reading, rows
from worker.targets.looker.ground import GONE, Ground, Sight, Verb, text_of, texts_of, untouchable
from worker.targets.looker.rows import UserRow
from worker.targets.looker.session import models
from worker.targets.looker.steps import spoken


def apply(ground: Ground, step: Step) -> Made:
    """Look, change, look again. See ports.Target.apply."""
    verb = _verb(step)
    lately, before = ground.lately.remembers(step.account_id), verb.look(ground, step)
    if before.done and lately:  # that it was so a moment ago says nothing
        ground.lately.changes(step.account_id)
        before = verb.look(ground, step)
    if before.never:
        raise Refused(f"Not done: {step.sentence}. {before.never}")
    if before.done:
        return Made(Outcome.ALREADY_SO, "", before.text, before.text, account_id=before.account_id)
    if before.refusal:
        raise Refused(f"Not done: {step.sentence}. {before.refusal}")
    make = verb.finish if verb.finish and before.begun else verb.make
    if verb.back is None:  # what it changes is looked at on the account itself
        ground.lately.changes(step.account_id)
    try:
        made, reply = make(ground, step)
    except Rejected as refused:
        return _after_a_no(ground, step, verb, before, refused)
    after = _look_back(ground, replace(step, account_id=made) if made else step, verb)
    if after.begun:
        return Made(Outcome.APPLIED, "", before.text, after.text, reply.request_id, again=True)
    if not after.done:
        raise Rejected(
            f"{reply.call} was answered with {reply.status}, and yet it is not so: {step.sentence};"
            f" Looker shows {after.text}.",
            reply.status,
        )
    return Made(Outcome.APPLIED, "", before.text, after.text, reply.request_id, made or after.account_id)


def settled(ground: Ground, step: Step) -> Made:
    """What became of a step whose answer we never had."""
    verb = _verb(step)
    ground.lately.changes(step.account_id)
    sight = (verb.find or verb.look)(ground, step)
    outcome = Outcome.FOUND_APPLIED if sight.done else Outcome.FOUND_NOT_APPLIED
    return Made(outcome, "" if sight.done else sight.refusal, after=sight.text, account_id=sight.account_id)


def _verb(step: Step) -> Verb:
    if step.verb not in VERBS:
        raise Refused(f"Looker has no step called {step.verb!r}; it was made by another version of Trueup. Plan again.")
    if not step.account_id and step.verb != "create":
        raise Refused(f"Not done: {step.sentence}. It names no account; the account was not created before it.")
    return VERBS[step.verb]


def _after_a_no(ground: Ground, step: Step, verb: Verb, before: Sight, refused: Rejected) -> Made:
    """Somebody may have done it in the meantime; or Looker's no is about us, not about this step."""
    if refused.status == 403 and not any(role.admin for role in _own_roles(ground)):
        raise Denied(f"{refused} The account of our API key has no Admin role any more; give it back.") from refused
    now = verb.look(ground, step)
    if not now.done:
        raise refused
    return Made(Outcome.ALREADY_SO, "somebody else did it meanwhile", before.text, now.text, account_id=now.account_id)


def _own_roles(ground: Ground) -> list[rows.RoleRow]:
    return reading.user_roles(ground.session, ground.own, direct=False)


def _look_back(ground: Ground, step: Step, verb: Verb) -> Sight:
    try:
        return (verb.back or verb.look)(ground, step)
    except (Unavailable, Denied, Missing, Misshapen) as error:
        raise Unknown(f"It was sent, and could not be read back: {step.sentence}. {error}") from error


# --- looking


def _look_at(ground: Ground, step: Step, seen: Callable[[UserRow], tuple[str, bool]]) -> Sight:
    user = ground.user(step.account_id)
    if user is None:
        return GONE
    text, done = seen(user)
    return Sight(text, done, never=untouchable(user, ground.own))


def _standing(wanted: bool) -> Callable[[Ground, Step], Sight]:
    def look(ground: Ground, step: Step) -> Sight:
        def seen(user: UserRow) -> tuple[str, bool]:
            return "disabled" if user.is_disabled else "active", user.is_disabled is not wanted

        return _look_at(ground, step, seen)

    return look


def _look_names(ground: Ground, step: Step) -> Sight:
    wanted = _names(step)

    def seen(user: UserRow) -> tuple[str, bool]:
        now = {name: getattr(user, name) or "" for name in wanted}
        return "; ".join(f"{name}: {value}" for name, value in now.items()), now == wanted

    return _look_at(ground, step, seen)


NAMES = ("first_name", "last_name")


def _names(step: Step) -> dict[str, str]:
    strange = set(step.args) - {*NAMES, "email"}
    if strange:
        raise Refused(f"Not done: {step.sentence}. A Looker account has no field {', '.join(sorted(strange))}.")
    return {name: text_of(step, name) for name in NAMES if name in step.args}


def _look_roles(ground: Ground, step: Step) -> Sight:
    expected, wanted = texts_of(step, "expected"), texts_of(step, "roles")
    user = ground.user(step.account_id)
    if user is None:
        return GONE
    held = _direct_roles(ground, step)
    refusal = ""
    if user.roles_managed:
        refusal = "Its roles are managed by single sign-on."
    elif held != expected:
        refusal = f"It holds the direct roles {spoken(held)} now, not {spoken(expected)} as the plan saw; plan again."
    return Sight(f"roles: {spoken(held)}", held == wanted, refusal, never=untouchable(user, ground.own))


def _direct_roles(ground: Ground, step: Step) -> set[str]:
    return {role.id for role in reading.user_roles(ground.session, step.account_id, direct=True)}


def _look_back_at_roles(ground: Ground, step: Step) -> Sight:
    held = _direct_roles(ground, step)
    return Sight(f"roles: {spoken(held)}", held == texts_of(step, "roles"))


def _membership(wanted: bool) -> Callable[[Ground, Step], Sight]:
    def look(ground: Ground, step: Step) -> Sight:
        user = ground.user(step.account_id)
        if user is None:
            return GONE
        id = text_of(step, "group")
        try:
            asked = {"fields": rows.GROUP_FIELDS}
            known = ground.lately.group(id)
            group = known or rows.shaped(ground.session.read(f"/groups/{id}", asked), rows.GROUP)
        except Missing:
            return Sight("no group", not wanted, f"Group {id} does not exist any more.")
        refusal = ""
        if group.closed:
            refusal = f"Group {id} cannot be changed here: {group.closed}."
        elif wanted and not user.allow_normal_group_membership:
            refusal = "Its groups are managed by single sign-on."
        seen = not wanted and ground.lately.holds(step.account_id, Entitlement("group", id))
        member = seen or reading.is_member(ground.session, step.account_id, id)
        text = f"{'in' if member else 'not in'} group {id}"
        return Sight(text, member is wanted, refusal, never=untouchable(user, ground.own))

    return look


def _look_back_at_leaving(ground: Ground, step: Step) -> Sight:
    """Who is in the group neither directly nor through another has left it; else it is asked whether directly."""
    id = text_of(step, "group")
    if id not in reading.group_candidates(ground.session, step.account_id):
        return Sight(f"not in group {id}", True)
    return _membership(False)(ground, step)


def _look_value(ground: Ground, step: Step) -> Sight:
    """The account's own value, whatever it has from groups and by default."""
    user = reading.read_user(ground.session, step.account_id)
    if user is None:
        return GONE
    never = untouchable(user, ground.own)
    id, wanted = text_of(step, "attribute"), step.args.get("value")
    try:
        row = rows.shaped(
            ground.session.read(f"/user_attributes/{id}", {"fields": rows.ATTRIBUTE_FIELDS}), rows.ATTRIBUTE
        )
    except Missing:
        return Sight("no attribute", wanted is None, f"User attribute {id} does not exist any more.", never=never)
    if closed := row.closed(editable=True):
        return Sight(f"attribute {id} cannot be changed", refusal=f"User attribute {id}: {closed}.", never=never)
    values = attributes.own_values(ground.session, step.account_id, [id])
    own, refusal = values.get(id), ""
    if id not in values:
        refusal = f"The values of user attribute {id} are hidden now."
    elif own != step.args.get("expected"):
        refusal = f"Its value of user attribute {id} is not the one that the plan saw; plan again."
    elif wanted is not None and (problem := mistyped(row.type or "string", text_of(step, "value"), written=True)):
        refusal = f"The value does not fit user attribute {id}: {problem}."
    text = f"attribute {id}: {'unset' if own is None else own}"
    return Sight(text, id in values and own == wanted, refusal, never=never)


def _look_created(ground: Ground, step: Step) -> Sight:
    """Before: nobody has the address but an account that we just made. After: the account whose id Looker gave."""
    if step.account_id:
        return _look_names(ground, step)
    address = text_of(step, "email")
    if holders := rows.with_address(ground.session, address):
        if [u.id for u in holders] == [ground.created.get(address)]:
            return Sight(f"account {holders[0].id}", True, account_id=holders[0].id)
        who = ", ".join(f"{u.id} ({'disabled' if u.is_disabled else 'active'})" for u in holders)
        return Sight(f"account {who}", refusal=f"The address belongs to account {who} already; link that one.")
    return _shell(ground, step)


def _find_created(ground: Ground, step: Step) -> Sight:
    """A lost creation left an empty account of that name; with the next step it had the address too."""
    holders = rows.with_address(ground.session, text_of(step, "email"))
    if len(holders) == 1 and all((getattr(holders[0], name) or "") == value for name, value in _names(step).items()):
        return Sight(f"account {holders[0].id}", True, account_id=holders[0].id)
    if not holders and (sight := _shell(ground, step)).refusal:
        raise Unknown(f"It cannot be told whether this was done: {step.sentence}. {sight.refusal}")
    return Sight("no account") if holders else sight


def _shell(ground: Ground, step: Step) -> Sight:
    """An account that nobody can log in to and that holds nothing, but has the name: what our own lost call left."""
    names = _names(step)
    if not any(names.values()):
        return Sight("no account", refusal="Without a name, a lost account could not be found again.")
    shells = reading.shells(ground.session, names)
    if len(shells) > 1:
        return Sight("no account", refusal=f"Accounts {', '.join(shells)} are empty and of that name; delete them.")
    return Sight(f"account {shells[0]}", True, account_id=shells[0]) if shells else Sight("no account")


def _look_email(ground: Ground, step: Step) -> Sight:
    address = text_of(step, "email")
    user = reading.read_user(ground.session, step.account_id)
    if user is None:
        return GONE
    refusal = ""
    if user.email:
        refusal = "It has an address already, and changing one locks the person out."
    elif others := rows.with_address(ground.session, address):
        refusal = f"The address belongs to account {others[0].id} already."
    text = "with e-mail" if user.email else "no e-mail"
    return Sight(text, rows.same_address(user.email, address), refusal, never=untouchable(user, ground.own))


# --- making


def _made(answer: tuple[object, Reply]) -> tuple[str, Reply]:
    return "", answer[1]


def _write_user(ground: Ground, step: Step, **fields: object) -> tuple[str, Reply]:
    body = models.WriteUser(**fields)
    return _made(ground.session.write(lambda sdk: sdk.update_user(step.account_id, body, fields="id")))


def _disable(ground: Ground, step: Step) -> tuple[str, Reply]:
    return _write_user(ground, step, is_disabled=True)


def _enable(ground: Ground, step: Step) -> tuple[str, Reply]:
    return _write_user(ground, step, is_disabled=False)


def _rename(ground: Ground, step: Step) -> tuple[str, Reply]:
    return _write_user(ground, step, **_names(step))


def _set_roles(ground: Ground, step: Step) -> tuple[str, Reply]:
    wanted = sorted(texts_of(step, "roles"))
    return _made(ground.session.write(lambda sdk: sdk.set_user_roles(step.account_id, wanted, fields="id")))


def _set_value(ground: Ground, step: Step) -> tuple[str, Reply]:
    id, value = text_of(step, "attribute"), text_of(step, "value")
    body = models.WriteUserAttributeWithValue(value=value)
    try:
        return _made(ground.session.write(lambda sdk: sdk.set_user_attribute_user_value(step.account_id, id, body)))
    except Rejected as refused:  # Looker repeats what it was given
        raise Rejected(str(refused).replace(value, "(the value)"), refused.status) from None


def _clear_value(ground: Ground, step: Step) -> tuple[str, Reply]:
    id = text_of(step, "attribute")
    return _made(ground.session.write(lambda sdk: sdk.delete_user_attribute_user_value(step.account_id, id)))


def _join(ground: Ground, step: Step) -> tuple[str, Reply]:
    body = models.GroupIdForGroupUserInclusion(user_id=step.account_id)
    return _made(ground.session.write(lambda sdk: sdk.add_group_user(text_of(step, "group"), body)))


def _leave(ground: Ground, step: Step) -> tuple[str, Reply]:
    return _made(ground.session.write(lambda sdk: sdk.delete_group_user(text_of(step, "group"), step.account_id)))


def _create(ground: Ground, step: Step) -> tuple[str, Reply]:
    body = models.WriteUser(**_names(step))
    user, reply = ground.session.write(lambda sdk: sdk.create_user(body, fields="id"))
    if not isinstance(user.id, str) or not user.id:
        raise Unknown(f"{reply.call} answered without an id; an account may or may not have been made.")
    ground.created[text_of(step, "email")] = user.id
    return user.id, reply


def _give_email(ground: Ground, step: Step) -> tuple[str, Reply]:
    body = models.WriteCredentialsEmail(email=text_of(step, "email"))
    # Only the address is asked back: a whole credential holds one-time links that let anybody in.
    return _made(
        ground.session.write(lambda sdk: sdk.create_user_credentials_email(step.account_id, body, fields="email"))
    )


VERBS: Mapping[str, Verb] = {
    "disable": Verb(_standing(False), _disable),
    "enable": Verb(_standing(True), _enable),
    "rename": Verb(_look_names, _rename),
    "set roles": Verb(_look_roles, _set_roles, back=_look_back_at_roles),
    "set value": Verb(_look_value, _set_value),
    "clear value": Verb(_look_value, _clear_value),
    "join group": Verb(_membership(True), _join),
    "leave group": Verb(_membership(False), _leave, back=_look_back_at_leaving),
    "create": Verb(_look_created, _create, _find_created),
    "give email": Verb(_look_email, _give_email),
    **doors.VERBS,
    **inheritance.VERBS,
}

__all__ = ["VERBS", "Ground", "apply", "settled"]
