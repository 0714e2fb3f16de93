"""The only code that changes TeamCity: check the precondition, make one mutation, read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from worker.core.render import quoted
from worker.errors import Denied, Misconfigured, Misshapen, Refused, Rejected, Unavailable, Unknown
from worker.ports import Made, Outcome, Step
from worker.rest import Reply, Rest
from worker.targets.teamcity import wire
from worker.targets.teamcity.reading import Reading
from worker.targets.teamcity.settings import Settings
from worker.targets.teamcity.steps import FIELDS, addressable
from worker.targets.teamcity.wire import ALL_USERS, WholeUser, by_id, segment

Args = Mapping[str, str]
_TEXT = {"Content-Type": "text/plain; charset=utf-8", "Accept": "text/plain"}  # without the charset it reads Latin-1
_NO_READ_BACK = (Unavailable, Denied, Misconfigured, Misshapen, Rejected)
_NOT_THERE = (404, 405)


@dataclass(frozen=True)
class Verb:
    """A mutation of one user whose effect shows on that user.

    `reached` says whether the wanted state holds; `shown` is what people read of it, before and after; `send` makes
    the one call; `check` raises Refused when the user is not what the plan saw.
    """

    reached: Callable[[WholeUser, Args], bool]
    shown: Callable[[WholeUser, Args], str]
    send: Callable[[WholeUser, Args], Reply]
    check: Callable[[WholeUser, Args], None] | None = None


class Mutations:
    """Makes steps on one server."""

    def __init__(self, settings: Settings, rest: Rest, reading: Reading) -> None:
        self._settings = settings
        self._rest = rest
        self._reading = reading
        self.lacking: set[str] = set()  # verbs that this server turned out to have no call for
        self._posts_groups = True  # the call that puts a user into one group is hidden: a server may lack it
        self._verbs: Mapping[str, Verb] = {
            "mark": Verb(self._is_marked, self._mark_shown, self._mark),
            "unmark": Verb(lambda user, args: not self._is_marked(user, args), self._mark_shown, self._unmark),
            "delete_password": Verb(
                lambda user, _: not user.has_password,
                lambda user, _: "password" if user.has_password else "no password",
                lambda user, _: self._send("DELETE", f"{by_id(user.id)}/password"),
            ),
            "grant_role": Verb(_has_role, _role_shown, self._grant_role),
            "revoke_role": Verb(lambda user, args: not _has_role(user, args), _role_shown, self._revoke_role),
            "join_group": Verb(_in_group, _group_shown, self._join_group),
            "leave_group": Verb(lambda user, args: not _in_group(user, args), _group_shown, self._leave_group),
            "set_field": Verb(_field_is_set, _field_shown, self._set_field, self._check_field),
        }
        self._special: Mapping[str, Callable[[Step], Made]] = {
            "create": self._create,
            "delete_tokens": self._delete_tokens,
            "delete_token": self._delete_token,
            "end_sessions": lambda step: self._end(step, "POST", "logout", "this server has no logout call"),
            "forget_logins": lambda step: self._end(
                step, "DELETE", "debug/rememberMe", "this server cannot forget remembered logins"
            ),
        }

    def make(self, step: Step) -> Made:
        """See Target.apply."""
        special = self._special.get(step.verb)
        if special is not None:
            return special(step)
        verb, args = self._verb(step), _texts(step)
        lately, user = self._reading.remembers(step.account_id), self._subject(step)
        if lately and verb.reached(user, args):  # that it was so a moment ago says nothing
            self._reading.changes(user.id)
            user = self._subject(step)
        before = verb.shown(user, args)
        if verb.reached(user, args):
            return Made(Outcome.ALREADY_SO, before=before, after=before)
        if args.get("group") == ALL_USERS:
            raise Refused("TeamCity keeps every account in the group All Users; Trueup changes nothing about it.")
        if verb.check is not None:
            verb.check(user, args)
        self._reading.changes(user.id)
        try:
            reply = verb.send(user, args)
        except Rejected as rejected:
            return self._after_rejection(step, verb, args, before, rejected)
        after = self._read_back(step)
        if not verb.reached(after, args):
            raise Unknown(f"{reply.call} was accepted, and yet the account does not show it: {step.sentence}.")
        if not user.groups - {args.get("group")} <= after.groups and step.verb == "join_group":
            raise Unknown(f"account {user.id} lost groups while it joined {quoted(args['group'])}; look at it.")
        return Made(Outcome.APPLIED, before=before, after=verb.shown(after, args), request_id=reply.request_id)

    def settle(self, step: Step) -> Made:
        """See Target.settled. What cannot be seen counts as not made: to make it twice does no harm."""
        if step.verb == "create":
            user, args = self._reading.named(_texts(step)["login"]), _texts(step)
            ours = user is not None and user.properties.get(self._settings.created_property) == args["note"]
            if user is not None and ours:
                return Made(Outcome.FOUND_APPLIED, account_id=user.id, after=_account_shown(user))
            detail = "" if user is None else f"another account, {user.id}, has that user name"
            return Made(Outcome.FOUND_NOT_APPLIED, detail)
        found = self._reading.user(step.account_id)
        if found is None:
            return Made(Outcome.FOUND_NOT_APPLIED, "the account is gone")
        if step.verb in ("delete_tokens", "delete_token"):
            left = self._reading.tokens(found.id)
            remains = bool(left) if step.verb == "delete_tokens" else _texts(step)["name"] in left
            outcome = Outcome.FOUND_NOT_APPLIED if remains else Outcome.FOUND_APPLIED
            return Made(outcome, after=_tokens_shown(left))
        if step.verb in self._special:
            return Made(Outcome.FOUND_NOT_APPLIED, "TeamCity shows no sessions; ending them again does no harm")
        verb, args = self._verb(step), _texts(step)
        outcome = Outcome.FOUND_APPLIED if verb.reached(found, args) else Outcome.FOUND_NOT_APPLIED
        return Made(outcome, after=verb.shown(found, args))

    # --- around every mutation ---

    def _verb(self, step: Step) -> Verb:
        if step.verb not in self._verbs:
            raise Refused(f"TeamCity has no step {quoted(step.verb)!r}; another version of Trueup made it. Plan again.")
        return self._verbs[step.verb]

    def _subject(self, step: Step) -> WholeUser:
        """The account as it is now. The last defence: never ourselves, never the guest, whatever was planned."""
        if not step.account_id:
            raise Refused(f"no account is known yet for this step: {step.sentence}.")
        if step.account_id == self._reading.own_id():
            raise Refused(f"account {step.account_id} is the one Trueup works with; it is never changed.")
        user = self._reading.user_lately(step.account_id)
        if user is None:
            raise Refused(f"account {step.account_id} is gone since the plan was made.")
        if is_guest(user):
            raise Refused(f"account {step.account_id} is the guest account; it is never changed.")
        return user

    def _send(self, method: str, path: str, *, right: str = "change_user", **body: object) -> Reply:
        """One mutating call. A 403 about one account while we have the right in general is that account's no."""
        reply = self._rest.send(method, path, accept=(403,), **body)  # type: ignore[arg-type]
        if reply.status != 403:
            return reply
        said = quoted(wire.error_text(reply.text.encode())) or "no explanation"
        if "csrf" in said.lower() or right not in self._reading.own_rights():
            raise Denied(f"{reply.call} is not allowed with our credentials (403: {said}). The right is {right}.")
        raise Rejected(
            f"{reply.call} was refused for this account alone (403: {said}): it may hold rights that ours lacks."
            " Change it by hand.",
            403,
        )

    def _read_back(self, step: Step) -> WholeUser:
        """After a mutation no failure to read may look as if nothing had happened."""
        try:
            user = self._reading.user(step.account_id)
        except _NO_READ_BACK as error:
            raise Unknown(f"made, but it could not be read back: {step.sentence} ({error})") from error
        if user is None:
            raise Unknown(f"the account is gone since it was changed: {step.sentence}.")
        return user

    def _after_rejection(self, step: Step, verb: Verb, args: Args, before: str, rejected: Rejected) -> Made:
        """TeamCity updates in part and says 400: believe the account, not the answer."""
        if step.verb == "join_group" and rejected.status in _NOT_THERE and self._posts_groups:
            if rejected.status == 404 and not self._reading.group_exists(args["group"]):
                raise rejected
            self._posts_groups = False
            detail = "this server lacks the call that adds one group; the whole list is written instead"
            return Made(Outcome.FOUND_NOT_APPLIED, detail, before=before, after=before, again=True)
        after = self._read_back(step)
        if not verb.reached(after, args):
            raise rejected
        return Made(Outcome.FOUND_APPLIED, str(rejected), before=before, after=verb.shown(after, args))

    # --- the mark ---

    def _is_marked(self, user: WholeUser, _: Args) -> bool:
        return self._settings.mark_property in user.properties

    def _mark_shown(self, user: WholeUser, args: Args) -> str:
        return "marked as suspended" if self._is_marked(user, args) else "not marked"

    def _mark_path(self, user: WholeUser) -> str:
        return f"{by_id(user.id)}/properties/{segment(self._settings.mark_property)}"

    def _mark(self, user: WholeUser, args: Args) -> Reply:
        return self._send("PUT", self._mark_path(user), content=args["note"], headers=_TEXT)

    def _unmark(self, user: WholeUser, _: Args) -> Reply:
        return self._send("DELETE", self._mark_path(user))

    # --- roles and groups ---

    def _grant_role(self, user: WholeUser, args: Args) -> Reply:
        return self._send("PUT", _role_path(user, args))

    def _revoke_role(self, user: WholeUser, args: Args) -> Reply:
        return self._send("DELETE", _role_path(user, args))

    def _join_group(self, user: WholeUser, args: Args) -> Reply:
        path = f"{by_id(user.id)}/groups"
        if self._posts_groups:
            return self._send("POST", path, json=wire.GroupKey(key=args["group"]).model_dump())
        keys = [wire.GroupKey(key=key) for key in sorted({*user.groups, args["group"]})]
        return self._send("PUT", path, json=wire.GroupList(group=keys).model_dump())

    def _leave_group(self, user: WholeUser, args: Args) -> Reply:
        return self._send("DELETE", f"{by_id(user.id)}/groups/{segment('key:' + args['group'])}")

    # --- fields ---

    def _check_field(self, user: WholeUser, args: Args) -> None:
        now = _field(user, args)
        same = now.casefold() == args["before"].casefold() if args["field"] == "login" else now == args["before"]
        if not same:
            raise Refused(f"{args['field']} of account {user.id} was changed since the plan was made.")
        if args["field"] == "login":
            other = self._reading.named(args["after"])
            if other is not None and other.id != user.id:
                raise Refused(f"account {other.id} has that user name already; two people would share one login.")

    def _set_field(self, user: WholeUser, args: Args) -> Reply:
        path = f"{by_id(user.id)}/{FIELDS[args['field']]}"
        if not args["after"]:
            return self._send("DELETE", path)
        return self._send("PUT", path, content=args["after"].encode(), headers=_TEXT)

    # --- what does not fit the table ---

    def _create(self, step: Step) -> Made:
        """A create carries a mark of its own, so that an account found afterwards is known to be ours or not."""
        args, mark = _texts(step), self._settings.created_property
        if self._settings.create == "off":
            raise Refused(f"creating accounts is off for {self._reading.name}; set `create: on`, or create it by hand.")
        user = self._reading.named(args["login"])
        if user is not None:
            return self._created_before(user, args)
        new = wire.NewUser(
            username=args["login"],
            name=args["name"],
            email=args["email"],
            properties=wire.NewProperties(property=[wire.NewProperty(name=mark, value=args["note"])]),
        )
        try:
            reply = self._send("POST", "app/rest/users", right="create_user", json=new.model_dump())
        except Rejected:
            settled = self._looking_again(step)
            if settled.outcome is Outcome.FOUND_APPLIED:
                return settled
            raise
        settled = self._looking_again(step)
        if settled.outcome is not Outcome.FOUND_APPLIED:
            raise Unknown(f"{reply.call} was accepted, and yet no such account of ours is there. {settled.detail}")
        return replace(settled, outcome=Outcome.APPLIED, before="no account", request_id=reply.request_id)

    def _looking_again(self, step: Step) -> Made:
        try:
            return self.settle(step)
        except _NO_READ_BACK as error:
            raise Unknown(f"perhaps made, but it could not be read back: {step.sentence} ({error})") from error

    def _created_before(self, user: WholeUser, args: Args) -> Made:
        shown = _account_shown(user)
        if user.properties.get(self._settings.created_property) == args["note"]:
            return Made(Outcome.ALREADY_SO, before=shown, after=shown, account_id=user.id)
        raise Refused(f"account {user.id} has that user name already; link it instead of creating another.")

    def _delete_tokens(self, step: Step) -> Made:
        """One token at a time, until none is left; one that no path can name comes last and needs a human."""
        user = self._subject(step)
        names = sorted(self._names(user.id), key=lambda name: (not addressable(name), name))
        if not names:
            return Made(Outcome.ALREADY_SO, before=_tokens_shown(names), after=_tokens_shown(names))
        made, left = self._delete_one(step, user, names[0], names)
        return replace(made, again=bool(left))

    def _names(self, id: str, name: str = "") -> tuple[str, ...]:
        """Tokens. Those of a moment ago are believed where that one is among them, or any is; that it is gone, only a
        look can say."""
        lately, names = self._reading.remembers_tokens(id), self._reading.tokens_lately(id)
        there = name in names if name else bool(names)
        return self._reading.tokens(id) if lately and not there else names

    def _delete_token(self, step: Step) -> Made:
        user, name = self._subject(step), _texts(step)["name"]
        names = self._names(user.id, name)
        if name not in names:
            return Made(Outcome.ALREADY_SO, before=_tokens_shown(names), after=_tokens_shown(names))
        return self._delete_one(step, user, name, names)[0]

    def _delete_one(self, step: Step, user: WholeUser, name: str, names: Sequence[str]) -> tuple[Made, Sequence[str]]:
        """What came of it, and the tokens that are left."""
        if not addressable(name):
            raise Rejected(
                f"token {quoted(name)!r} of account {user.id} has a slash in its name, which TeamCity's server"
                " refuses in an address. Delete it in the profile of that user."
            )
        outcome, request_id, detail = Outcome.APPLIED, "", ""
        rejected: Rejected | None = None
        self._reading.deletes_token(user.id)
        try:
            request_id = self._send("DELETE", f"{by_id(user.id)}/tokens/{segment(name)}").request_id
        except Rejected as error:
            outcome, detail, rejected = Outcome.FOUND_APPLIED, str(error), error
        try:
            left = self._reading.tokens(user.id)
        except _NO_READ_BACK as error:
            raise Unknown(f"made, but it could not be read back: {step.sentence} ({error})") from error
        if name in left:
            if rejected is not None:
                raise rejected
            raise Unknown(f"token {quoted(name)!r} was deleted, and yet it is there: {step.sentence}.")
        return Made(outcome, detail, _tokens_shown(names), _tokens_shown(left), request_id), left

    def _end(self, step: Step, method: str, path: str, lacking: str) -> Made:
        """TeamCity shows nobody's sessions, so there is nothing to read back; old servers lack the calls."""
        user = self._subject(step)
        try:
            reply = self._send(method, f"{by_id(user.id)}/{path}", headers={"Accept": "*/*"})
        except Rejected as rejected:
            if rejected.status in _NOT_THERE:
                self.lacking.add(step.verb)
                return Made(Outcome.ALREADY_SO, lacking)
            raise
        return Made(Outcome.APPLIED, "TeamCity shows no sessions: not read back", request_id=reply.request_id)


def is_guest(user: WholeUser) -> bool:
    """The guest is the one account outside the group that holds every other; what else is outside is not ours to
    touch either."""
    return user.username.casefold() == "guest" or ALL_USERS not in user.groups


def _texts(step: Step) -> dict[str, str]:
    return {name: str(value) for name, value in step.args.items()}


def _has_role(user: WholeUser, args: Args) -> bool:
    return (args["role"], args["scope"]) in user.roles


def _role_shown(user: WholeUser, args: Args) -> str:
    return "held" if _has_role(user, args) else "not held"


def _role_path(user: WholeUser, args: Args) -> str:
    return f"{by_id(user.id)}/roles/{segment(args['role'])}/{segment(args['scope'])}"


def _in_group(user: WholeUser, args: Args) -> bool:
    return args["group"] in user.groups


def _group_shown(user: WholeUser, args: Args) -> str:
    return "member" if _in_group(user, args) else "not a member"


def _field(user: WholeUser, args: Args) -> str:
    return {"login": user.username, "name": user.name, "email": user.email}[args["field"]]


def _field_is_set(user: WholeUser, args: Args) -> bool:
    now, wanted = _field(user, args), args["after"]
    return now.casefold() == wanted.casefold() if args["field"] == "login" else now == wanted


def _field_shown(user: WholeUser, args: Args) -> str:
    return _field(user, args)


def _account_shown(user: WholeUser) -> str:
    return f"account {user.id}"


def _tokens_shown(names: Sequence[str]) -> str:
    return "no tokens" if not names else f"{len(names)} tokens"
