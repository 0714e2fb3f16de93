"""The TeamCity target: what it is, what it holds, and how a person's account should look there."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from worker.core.identity import Account, Entitlement, Person, Trait
from worker.errors import Misshapen
from worker.ports import Check, Instance, Line, Made, Notice, Step, TargetPage, Task
from worker.rest import Rest
from worker.targets.teamcity import steps
from worker.targets.teamcity.mutations import Mutations, is_guest
from worker.targets.teamcity.privileges import Powers
from worker.targets.teamcity.probe import notices
from worker.targets.teamcity.reading import Reading
from worker.targets.teamcity.settings import Settings
from worker.targets.teamcity.wire import ALL_USERS, WholeUser, error_text

ROWS = 500  # accounts on one page of an observation


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

    def __init__(self, name: str, settings: Settings, rest: Rest) -> None:
        self.name = name
        self._settings = settings
        self._rest = rest
        self._reading = Reading(name, rest)
        self._mutations = Mutations(settings, rest, self._reading)

    def instance(self) -> Instance:
        server = self._reading.server()
        return Instance(server.internalId, self._reading.own_id(), server.version)

    def probe(self) -> Iterable[Notice]:
        return notices(self._settings, self._reading)

    def observe(self) -> Iterator[TargetPage]:
        """The catalogue first, then every account in pages of a few hundred."""
        own, powers = self._reading.own_id(), self._reading.powers()
        yield TargetPage(catalogue=powers.catalogue(self._reading.projects()))
        users = self._reading.users()
        if own not in {user.id for user in users}:
            raise Misshapen(
                f"{self.name} does not list the account of our own token (id {own}); the list is not whole."
            )
        reawakened, sweep = self._sweep_tokens(users, len(powers.roles) + len(powers.groups))
        rows = iter(users)
        while page := list(islice(rows, ROWS)):
            accounts = [self._account(user, own, powers, user.id in reawakened) for user in page]
            yield TargetPage(accounts, [(user.id, held) for user in page for held in _entitlements(user)])
        yield TargetPage(checks=[Check("users", True, f"{len(users)} users, nothing behind the last"), sweep])

    def account(self, id: str) -> Account | None:
        user = self._reading.user(id)
        if user is None:
            return None
        tokens = self._is_bare(user) and bool(self._reading.tokens(id))
        found = self._account(user, self._reading.own_id(), self._reading.powers(), tokens)
        return replace(found, entitlements=_entitlements(user))

    def login(self, person: Person) -> str:
        """The user name is what single sign-on is matched by. TeamCity ignores its case, so ours is always lower."""
        return next((identity.login for identity in person.identities if identity.login), "").lower()

    def profile(self, person: Person) -> Mapping[str, str]:
        """What the source leaves empty is not said: it would wipe what TeamCity has."""
        full = " ".join(filter(None, (person.text("firstName"), person.text("lastName"))))
        values = {"name": person.text("displayName") or full, "email": person.text("email")}
        return {field: value for field, value in values.items() if value}

    def steps(self, account: Account, tasks: Sequence[Task]) -> Sequence[Step]:
        return steps.plan_steps(account, tasks)

    def apply(self, step: Step) -> Made:
        return self._mutations.make(step)

    def settled(self, step: Step) -> Made:
        return self._mutations.settle(step)

    def manual(self, account: Account, task: Task) -> Sequence[str]:
        return steps.by_hand(account, task, self._settings)

    def close(self) -> None:
        self._rest.close()

    # --- observing ---

    def _account(self, user: WholeUser, own: str, powers: Powers, has_tokens: bool) -> Account:
        """Suspended is what can be seen to be: marked, and with every door shut."""
        traits = {
            Trait.OURSELVES: user.id == own,
            Trait.GUEST: is_guest(user),
            Trait.ADMINISTRATOR: powers.administers(user.roles, user.groups),
        }
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

    def _sweep_tokens(self, users: Sequence[WholeUser], calls: int) -> tuple[frozenset[str], Check]:
        """Tokens are one call per user, so each observation asks a random few of those that look suspended: who has
        one again is active again. Every suspended account has its turn within a few observations."""
        bare = [user.id for user in users if self._is_bare(user)]
        asked = bare if len(bare) <= calls else random.sample(bare, calls)
        found = frozenset(id for id in asked if self._reading.tokens(id))
        return found, Check("tokens", True, f"tokens of {len(asked)} of {len(bare)} suspended accounts looked at")


def _entitlements(user: WholeUser) -> frozenset[Entitlement]:
    """Direct ones. The built-in group is none: nobody can be given it or lose it."""
    return frozenset(
        (
            *(Entitlement("role", role, scope) for role, scope in user.roles),
            *(Entitlement("group", key) for key in user.groups - {ALL_USERS}),
        )
    )
