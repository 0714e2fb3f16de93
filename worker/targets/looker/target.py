"""The connector itself: what the rest of Trueup asks of a Looker, put together from reading, steps and verbs."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from worker.core.identity import ATTRIBUTE, Account, CatalogueItem, Entitlement, Person
from worker.core.plan import Operation
from worker.errors import Denied, Missing, Unavailable
from worker.ports import (
    Asked,
    Belongings,
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
from worker.targets.looker import attributes, heirlooms, reading, rows
from worker.targets.looker.lately import Lately
from worker.targets.looker.settings import Settings
from worker.targets.looker.steps import LOGIN, compile_steps, hands

if TYPE_CHECKING:
    from worker.targets.looker.session import Session
    from worker.targets.looker.verbs import Ground

NAMES: Mapping[str, str] = {"first_name": "firstName", "last_name": "lastName"}  # Looker's field: the source's

KEYS_CLOSED = (26, 8)  # the release from which nobody but its owner can delete an API key of a person

# A setting of single sign-on that undoes what we do, when it has this value, and what comes of it.
FIGHTS: Mapping[str, tuple[bool, str]] = {
    "set_roles_from_groups": (True, "sets people's roles from groups at every login, and undoes role changes"),
    "allow_direct_roles": (False, "takes every directly granted role away at the person's next login"),
    "allow_normal_group_membership": (
        False,
        "removes people from every group that is not mirrored at their next login",
    ),
    "auth_requires_role": (True, "lets nobody log in who has no role, so that a new account needs one first"),
}


class Looker:
    """One Looker instance. Every method raises the errors of worker.errors only."""

    type = "looker"

    def __init__(
        self,
        name: str,
        settings: Settings,
        line: Line = Line(),
        *,
        first_pause: float = 0.5,
    ) -> None:
        self.name = name
        self.sweeps = settings.attribute_reads
        self._settings = settings
        self._line = line
        self._first_pause = first_pause
        self._opening = threading.Lock()
        self._opened: Session | None = None
        self._own = ""
        self._version = ""
        self._created: dict[str, str] = {}
        self._lately = Lately()
        self._closed: Mapping[tuple[str, str], str] | None = None

    @property
    def calls(self) -> int:
        """Vendor calls so far."""
        return self._opened.calls if self._opened else 0

    @property
    def _session(self) -> Session:
        with self._opening:
            if self._opened is None:
                from worker.targets.looker.session import Session  # looker_sdk takes a second to load

                self._opened = Session(self.name, self._settings, self._line, self._first_pause)
            return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    # --- who and what is there

    def instance(self) -> Instance:
        """Looker has no id of its own: its host and the account of our key together are one."""
        version = rows.shaped(self._session.read("/versions"), rows.VERSIONS).looker_release_version
        own, self._version = self._own_id(), version
        return Instance(f"{urlsplit(self._settings.url).netloc}/{own}", own, version)

    def _release(self) -> tuple[int, ...]:
        if not self._version:
            self.instance()
        return tuple(int(part) for part in self._version.split(".") if part.isdigit())

    def _own_id(self) -> str:
        if not self._own:
            asked = {"fields": "id"}
            self._own = rows.shaped(self._session.read("/user", asked), rows.ID).id
        return self._own

    def probe(self) -> Iterator[Notice]:
        """Seven calls at most."""
        own = self._own_id()
        if not any(role.admin for role in reading.user_roles(self._session, own, direct=False)):
            yield Notice(
                f"The account of our API key (Looker user {own}) does not have the Admin role: Looker hides e-mail"
                " addresses and disabled accounts from it, and lets it change no account.",
                "Give that account the role Admin in Looker, under Admin > Users.",
                fatal=True,
            )
            return
        user = reading.read_user(self._session, own)
        if user is not None and not user.is_service_account:
            yield Notice(
                f"Our API key belongs to a person's account (Looker user {own}), not to a service account.",
                "Make a service account with the Admin role and give Trueup its key; a person's key leaves with them.",
            )
        for provider in ("saml", "oidc", "ldap"):
            yield from self._single_sign_on(provider)
        if self._settings.attributes:
            yield from self._attributes()

    def _attributes(self) -> Iterator[Notice]:
        """What is wrong with the attributes that the settings declare."""
        known = {row.name: row for row in attributes.definitions(self._session)}
        for name, declared in self._settings.attributes.items():
            row = known.get(name)
            if row is None:
                yield Notice(
                    f"There is no user attribute {name}.", "Make it in Admin > User Attributes, or correct the name."
                )
                continue
            if closed := row.closed(declared.editable == "accept"):
                yield Notice(
                    f"User attribute {name} cannot be given: {closed}.",
                    "Change it in Admin > User Attributes, or give another one.",
                )
            elif row.user_can_edit:
                yield Notice(
                    f"People can change their value of user attribute {name} themselves, and so what they see;"
                    " Trueup only sets it right again.",
                    'Set "User Access" of the attribute to View or None in Admin > User Attributes.',
                )

    def _single_sign_on(self, provider: str) -> Iterator[Notice]:
        try:
            config = rows.shaped(self._session.read(f"/{provider}_config"), rows.SINGLE_SIGN_ON)
        except (Denied, Missing) as error:  # Looker (Google Cloud core) does not show it
            yield Notice(
                f"The {provider.upper()} settings cannot be read: {error}", "Compare them with the docs by hand."
            )
            return
        for setting, (bad, consequence) in FIGHTS.items():
            if config.enabled and getattr(config, setting) is bad:
                yield Notice(
                    f"{provider.upper()} sign-on has {setting} {'on' if bad else 'off'}: it {consequence}.",
                    f"Turn it {'off' if bad else 'on'} in Admin > Authentication > {provider.upper()}, or keep what it"
                    " decides out of Trueup's policy.",
                )

    def parts(self, asked: Asked = Asked()) -> Sequence[Part]:
        if not asked:
            return [Part(reading.USERS)]
        editable = [name for name, one in self._settings.attributes.items() if one.editable == "accept"]
        wanted = {"names": sorted(asked.names), "ids": sorted(asked.ids), "editable": editable}
        return [Part(reading.USERS, {"attributes": wanted})]

    def sweep(self, accounts: Sequence[str], wanted: Sequence[str]) -> Sequence[Part]:
        return attributes.parts(accounts, wanted)

    def read(self, part: Part) -> Piece:
        piece = reading.read(self._session, part)
        if part.kind == reading.TREE:
            self._remember([item for page in piece.pages if isinstance(page, TargetPage) for item in page.catalogue])
        return piece

    def finish(self, whole: Whole) -> Piece:
        return reading.finish(whole)

    def account(self, id: str) -> Account | None:
        """As in an observation, with its values of the attributes that the settings declare; None when a list of users
        says so too."""
        try:
            found = reading.read_account(self._session, id, self._own_id())
            return found and self._valued(found)
        except Missing as error:
            raise Unavailable(f"Account {id} changed while it was read: {error}") from error

    def _valued(self, account: Account) -> Account:
        if not self._settings.attributes:
            return account
        known = attributes.definitions(self._session)
        wanted = [row.id for row in known if row.name in self._settings.attributes and not row.value_is_hidden]
        values = attributes.own_values(self._session, account.id, wanted)
        own = {Entitlement(ATTRIBUTE, id, value) for id, value in values.items() if value is not None}
        return replace(account, entitlements=account.entitlements | own, known=frozenset(values))

    def belongings(self, account_id: str, *, company: Collection[str] = (), heirlooms: bool = True) -> Belongings:
        """Nine calls, thirteen with the heirlooms; more where lists have several pages or groups lie in each other."""
        from worker.targets.looker import belongings

        return belongings.look(
            self._session, self._settings, account_id, self._own_id(), self._session.token_life, company, self._lately,
            keys_closed=self._release() >= KEYS_CLOSED, first=heirlooms,
        )  # fmt: skip

    def accounts_of(self, keys: Mapping[str, str]) -> Sequence[Account]:
        """One call for each different address: the login is one, too."""
        addresses = {address.strip().lower(): address.strip() for address in keys.values() if address.strip()}
        found = {user.id: user for one in addresses.values() for user in rows.with_address(self._session, one)}
        return [reading.account_of(found[id], self._own_id(), ()) for id in sorted(found, key=lambda id: (len(id), id))]

    # --- who should have what

    def login(self, person: Person) -> str:
        """The e-mail address, in lower case."""
        candidates = (person.text("email"), *(i.email for i in person.speaking), person.text("login"))
        return next((c.strip().lower() for c in candidates if "@" in c), "")

    def profile(self, person: Person) -> Mapping[str, str]:
        """Names that the source has; what it does not know, it does not take away."""
        known = {ours: person.text(theirs) for ours, theirs in NAMES.items()}
        return {name: value for name, value in known.items() if value}

    # --- changing it

    def steps(self, account: Account, tasks: Sequence[Task]) -> Sequence[Step]:
        """Tasks that `manual` has instructions for get no step: another address, a creation that settings forbid."""
        forbidden = self._settings.create == "off"
        by_hand = [
            (LOGIN in t.fields and account.login) or (forbidden and t.operation is Operation.CREATE) for t in tasks
        ]
        return compile_steps(account, [task for task, hands in zip(tasks, by_hand, strict=True) if not hands])

    def hand_over(self, account_id: str, heirloom: Heirloom, heir_account_id: str, *, approved: bool = False) -> Step:
        return heirlooms.step(account_id, heirloom, heir_account_id, approved)

    def apply(self, step: Step) -> Made:
        from worker.targets.looker import verbs

        return verbs.apply(self._ground(), step)

    def settled(self, step: Step) -> Made:
        from worker.targets.looker import verbs

        return verbs.settled(self._ground(), step)

    def _ground(self) -> Ground:
        from worker.targets.looker.verbs import Ground

        return Ground(self._session, self._own_id(), self._created, self._lately)

    def manual(self, account: Account, task: Task) -> Sequence[str]:
        """Needs the catalogue for roles and groups, and reads it once where this connector has not observed yet."""
        return hands(self._settings, account, task, self._why_closed)

    def _why_closed(self, kind: str, id: str) -> str:
        if kind == "api key":
            return "only its owner can delete it" if self._release() >= KEYS_CLOSED else ""
        if self._closed is None:
            self._remember(reading.Tree.read(self._session).catalogue())
        return (self._closed or {}).get((kind, id), "")

    def _remember(self, catalogue: Sequence[CatalogueItem]) -> None:
        self._closed = {(item.kind, item.id): item.closed for item in catalogue if item.closed}
