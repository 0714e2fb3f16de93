"""The TeamCity target: what it is, what it holds, and how a person's account should look there."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker.core.identity import Account, Entitlement, Person, Trait
from worker.core.render import quoted
from worker.errors import Misshapen, Moved, Refused
from worker.ports import (
    Asked,
    Belongings,
    Check,
    Heirloom,
    Instance,
    Line,
    Made,
    Notice,
    Part,
    Piece,
    Step,
    TargetPage,
    Task,
    Whole,
)
from worker.rest import Rest
from worker.targets.teamcity import belongings, steps
from worker.targets.teamcity.mutations import Mutations, is_guest
from worker.targets.teamcity.probe import notices
from worker.targets.teamcity.reading import Reading
from worker.targets.teamcity.settings import Settings
from worker.targets.teamcity.wire import ALL_USERS, EVERYWHERE, WholeUser, error_text, filled

CATALOGUE, USERS, TOKENS = "catalogue", "users", "tokens"  # the kinds of a part
NO_LOGOUT = (2024, 3)  # the last release that is known to have no call that ends one user's sessions
TOGETHER = 20  # accounts that one worker asks for their tokens in one go


def connect(name: str, settings: Settings, line: Line = Line()) -> TeamCity:
    """Build the connector; nothing is sent yet."""
    token = settings.token.reveal()
    rest = Rest(
        name,
        settings.url,
        authorize=lambda: {"Authorization": f"Bearer {token}"},
        ca_file=settings.ca_file,
        timeout=settings.timeout,
        line=line,
        secrets=[token],
        error_text=error_text,
    )
    return TeamCity(name, settings, rest)


class TeamCity:
    """One TeamCity server; see worker.ports.Target."""

    type = "teamcity"
    sweeps = 0

    def __init__(self, name: str, settings: Settings, rest: Rest) -> None:
        self.name = name
        self._settings = settings
        self._rest = rest
        self._reading = Reading(name, rest)
        self._mutations = Mutations(settings, rest, self._reading)
        self._version = ""
        self._readings: Mapping[str, Callable[[Mapping[str, Any]], Piece]] = {
            CATALOGUE: self._read_catalogue, USERS: self._read_users, TOKENS: self._read_tokens,
        }  # fmt: skip

    def instance(self) -> Instance:
        server = self._reading.server()
        if server.version != self._version:
            self._version = server.version
            self._mutations.lacking.clear()
        return Instance(server.internalId, self._reading.own_id(), server.version)

    def probe(self) -> Iterable[Notice]:
        return notices(self._settings, self._reading)

    def parts(self, asked: Asked = Asked()) -> Sequence[Part]:  # noqa: ARG002 (it has no attributes)
        return [Part(CATALOGUE)]

    def sweep(self, accounts: Sequence[str], attributes: Sequence[str]) -> Sequence[Part]:  # noqa: ARG002
        return []

    def read(self, part: Part) -> Piece:
        return self._readings[part.kind](part.args)

    def _read_catalogue(self, _: Mapping[str, Any]) -> Piece:
        """What can be granted, and what makes an administrator: the list of users does not say."""
        own, powers = self._reading.own_id(), self._reading.powers()
        admin_roles, admin_groups = powers.administering()
        sweep = len(powers.roles) + len(powers.groups)
        args = {"own": own, "roles": admin_roles, "groups": admin_groups, "sweep": sweep}
        return Piece([TargetPage(catalogue=powers.catalogue(self._reading.projects()))], [Part(USERS, args)])

    def _read_users(self, args: Mapping[str, Any]) -> Piece:
        """Every account, but for the few that look suspended and are asked for their tokens before that is said."""
        users = self._reading.users()
        if args["own"] not in {user.id for user in users}:
            raise Misshapen(
                f"{self.name} does not list the account of our own token (id {args['own']}); the list is not whole."
            )
        administrators = [user.id for user in users if _administers(user, args)]
        bare = [user.id for user in users if self._is_bare(user)]
        asked = frozenset(bare if len(bare) <= args["sweep"] else random.sample(bare, args["sweep"]))
        accounts = [self._account(user, args["own"], False) for user in users]
        page = TargetPage(
            [account for account in accounts if account.id not in asked],
            [(user.id, held) for user in users for held in _entitlements(user)],
            [(id, Trait.ADMINISTRATOR) for id in administrators],
        )
        swept = [_plain(account) for account in accounts if account.id in asked]
        parts = [Part(TOKENS, {"accounts": some}) for some in _handfuls(swept)]
        return Piece([page], parts, {"users": len(users), "bare": len(bare), "asked": len(asked)})

    def _read_tokens(self, args: Mapping[str, Any]) -> Piece:
        """Tokens are one call per user, so each observation asks a random few of those that look suspended: who has
        one again is active again. Every suspended account has its turn within a few observations."""
        found = [replace(_account(one), active=bool(self._reading.tokens(one["id"]))) for one in args["accounts"]]
        return Piece([TargetPage(found)])

    def finish(self, whole: Whole) -> Piece:
        (found,) = [facts for part, facts in whole.parts if part.kind == USERS]
        if found["users"] != whole.staged.get("accounts", 0):
            raise Moved(f"{self.name} listed {found['users']} users, and {whole.staged.get('accounts', 0)} were kept.")
        looked = f"tokens of {found['asked']} of {found['bare']} suspended accounts looked at"
        users = Check("users", True, f"{found['users']} users, nothing behind the last")
        return Piece([TargetPage(checks=[users, Check("tokens", True, looked)])])

    def account(self, id: str) -> Account | None:
        user = self._reading.user(id)
        if user is None:
            return None
        tokens = self._is_bare(user) and bool(self._reading.tokens(id))
        found = self._account(user, self._reading.own_id(), tokens)
        administers = self._reading.powers().administers(user.roles, user.groups)
        traits = found.traits | ({Trait.ADMINISTRATOR} if administers else set())
        return replace(found, entitlements=_entitlements(user), traits=traits)

    def belongings(
        self,
        account_id: str,
        *,
        company: Collection[str] = (),  # noqa: ARG002 nothing here works for others in its owner's name
        heirlooms: bool = True,
    ) -> Belongings:
        """Two calls, and two more where the account holds any right."""
        if not self._version:
            self.instance()
        own = self._reading.own_id()

        def described(user: WholeUser, is_open: bool, administers: bool) -> Account:
            found = self._account(user, own, is_open)
            traits = found.traits | ({Trait.ADMINISTRATOR} if administers else set())
            return replace(found, entitlements=_entitlements(user), traits=traits)

        return belongings.look(
            self._reading, self._settings, account_id, self._lacking, described, self._administers, heirlooms
        )

    def _administers(self, user: WholeUser) -> bool:
        """Asked where the account holds anything that could make it so."""
        return bool(_entitlements(user)) and self._reading.powers_lately().administers(user.roles, user.groups)

    @property
    def _lacking(self) -> Collection[str]:
        """Verbs that this server has no call for: by its version, or as it turned out."""
        released = tuple(int(part) for part in re.findall(r"\d+", self._version)[:2])
        return self._mutations.lacking | ({"end_sessions"} if () < released <= NO_LOGOUT else set())

    def accounts_of(self, keys: Mapping[str, str]) -> Sequence[Account]:
        """One call for each key. What is hidden from us hides no account."""
        named = self._reading.row_named(keys["login"].strip()) if keys.get("login", "").strip() else None
        mailed = self._reading.rows_with_email(keys["email"].strip()) if keys.get("email", "").strip() else []
        rows = (*([named] if named else []), *mailed)
        found = {str(row.id): WholeUser(filled(row), self.name) for row in rows}
        own = self._reading.own_id()
        return [self._account(found[id], own, False) for id in sorted(found, key=int)]

    def login(self, person: Person) -> str:
        """The user name is what single sign-on is matched by. TeamCity ignores its case, so ours is always lower."""
        return next((identity.login for identity in person.speaking if identity.login), "").lower()

    def profile(self, person: Person) -> Mapping[str, str]:
        """What the source leaves empty is not said: it would wipe what TeamCity has."""
        full = " ".join(filter(None, (person.text("firstName"), person.text("lastName"))))
        values = {"name": person.text("displayName") or full, "email": person.text("email")}
        return {field: value for field, value in values.items() if value}

    def steps(self, account: Account, tasks: Sequence[Task]) -> Sequence[Step]:
        return steps.plan_steps(account, tasks)

    def hand_over(
        self,
        account_id: str,
        heirloom: Heirloom,
        heir_account_id: str,  # noqa: ARG002 the signature is every target's
        *,
        approved: bool = False,  # noqa: ARG002 so
    ) -> Step:
        raise Refused(f"TeamCity has nothing that is handed over; account {account_id} keeps {quoted(heirloom.title)}.")

    def apply(self, step: Step) -> Made:
        return self._mutations.make(step)

    def settled(self, step: Step) -> Made:
        return self._mutations.settle(step)

    def manual(self, account: Account, task: Task) -> Sequence[str]:
        return steps.by_hand(account, task, self._settings, self._lacking)

    def close(self) -> None:
        self._rest.close()

    # --- observing ---

    def _account(self, user: WholeUser, own: str, has_tokens: bool) -> Account:
        """Suspended is what can be seen to be: marked, and with every door shut. ADMINISTRATOR comes from elsewhere."""
        traits = {Trait.OURSELVES: user.id == own, Trait.GUEST: is_guest(user)}
        return Account(
            id=user.id,
            login=user.username.lower(),
            email=user.email,
            active=has_tokens or not self._is_bare(user),
            profile={"name": user.name, "email": user.email},
            traits=frozenset(trait for trait, holds in traits.items() if holds),
        )

    def _is_bare(self, user: WholeUser) -> bool:
        """Marked, without direct roles, groups and password: suspended, if it has no token either."""
        marked = self._settings.mark_property in user.properties
        return marked and not (user.roles or user.groups - {ALL_USERS} or user.has_password)


def _administers(user: WholeUser, args: Mapping[str, Any]) -> bool:
    """As `Powers.administers`, by what it has found out."""
    everywhere = {role for role, scope in user.roles if scope == EVERYWHERE}
    return not everywhere.isdisjoint(args["roles"]) or not user.groups.isdisjoint(args["groups"])


def _plain(account: Account) -> Mapping[str, Any]:
    """An account that another worker says the last word about."""
    kept = ("id", "login", "email", "active", "profile")
    return {**{name: getattr(account, name) for name in kept}, "traits": sorted(account.traits)}


def _account(plain: Mapping[str, Any]) -> Account:
    return Account(**{**plain, "traits": frozenset(map(Trait, plain["traits"]))})


def _handfuls(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    for start in range(0, len(rows), TOGETHER):
        yield rows[start : start + TOGETHER]


def _entitlements(user: WholeUser) -> frozenset[Entitlement]:
    """Direct ones. The built-in group is none: nobody can be given it or lose it."""
    return frozenset(
        (
            *(Entitlement("role", role, scope) for role, scope in user.roles),
            *(Entitlement("group", key) for key in user.groups - {ALL_USERS}),
        )
    )
