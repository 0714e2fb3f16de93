"""People as a source knows them, people as we know them, and what they hold in a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property


class Standing(StrEnum):
    """What a source positively says about a person. Anything not understood is HOLD: nothing given, nothing taken."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    PENDING = "pending"  # staged, or a start date ahead: gains nothing yet, loses nothing
    HOLD = "hold"
    DEPARTED = "departed"


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as one source knows them.

    `attributes` holds the profile under Okta's base names (login, email, firstName, lastName, department, ...);
    `problem` says why an odd record is held.
    """

    source: str
    id: str
    standing: Standing
    status: str
    login: str
    email: str
    attributes: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    problem: str = ""

    @property
    def guest(self) -> bool:
        """Invited from another directory: names and addresses come from there, and prove nothing here."""
        return self.attributes.get("userType") == "Guest"


def attribute_of(value: object) -> str | tuple[str, ...] | None:
    """What a source gives, as we keep it: numbers and truth values as text, lists as tuples; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        texts = [attribute_of(item) for item in value]
        return tuple(t for t in texts if isinstance(t, str)) if all(isinstance(t, str) for t in texts) else None
    return None


@dataclass(frozen=True, slots=True)
class SourceGroup:
    """A group at a source. `problem` says why its membership could not be read whole; its rules are then suspended."""

    source: str
    id: str
    name: str
    type: str
    members: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """One human over one or more identities; `id` is ours. `groups` are (source, group id).

    `unsure` says why nothing may be taken from this person in this run ("" when everything about them is certified);
    `disagreements` are what their sources do not agree about, in words. `forced`: a human has said that they have
    departed, and that holds whatever the sources say.
    """

    id: str
    standing: Standing
    identities: tuple[Identity, ...]
    groups: frozenset[tuple[str, str]] = frozenset()
    unsure: str = ""
    departure_marked: bool = False
    forced: bool = False
    disagreements: tuple[str, ...] = ()

    @property
    def speaking(self) -> tuple[Identity, ...]:
        """The identities that say who they are now."""
        return speaking(self.identities, self.standing)

    def attribute(self, name: str) -> str | tuple[str, ...] | None:
        """The first identity, in the declared order of sources, that has the attribute decides."""
        for identity in self.speaking:  # asked for everybody, so without a generator
            value = identity.attributes.get(name)
            if value:
                return value
        return None

    def attributes(self, names: Sequence[str]) -> tuple[str | tuple[str, ...] | None, ...]:
        """Several at once, which is asked for everybody."""
        known = self.speaking
        if len(known) == 1:
            get = known[0].attributes.get
            return tuple([get(name) or None for name in names])
        return tuple([self.attribute(name) for name in names])

    def giver(self, name: str) -> Identity | None:
        """The identity that an attribute comes from."""
        return next((identity for identity in self.speaking if identity.attributes.get(name)), None)

    def text(self, name: str) -> str:
        """Like `attribute`, for single values; "" where there is none."""
        value = self.attribute(name)
        return value if isinstance(value, str) else ""


def speaking(identities: tuple[Identity, ...], standing: Standing) -> tuple[Identity, ...]:
    """Of somebody who has not departed, those that have not: what a source knows of a leaver is not about who somebody
    is now who has left it and is still elsewhere."""
    if len(identities) < 2 or standing is Standing.DEPARTED:
        return identities
    return tuple(i for i in identities if i.standing is not Standing.DEPARTED) or identities


ATTRIBUTE = "attribute"  # the kind of entitlement that an account has one value of, or none


@dataclass(frozen=True, slots=True, order=True)
class Entitlement:
    """Something a target can grant, by the vendor's stable ids. `key` is its text form everywhere it is stored."""

    kind: str  # role, group, attribute
    id: str
    scope: str = ""  # TeamCity: "g" or "p:<project external id>"; of an attribute its value

    @property
    def bare(self) -> Entitlement:
        """What is governed: an attribute whatever its value, anything else as it is."""
        return Entitlement(self.kind, self.id) if self.kind == ATTRIBUTE and self.scope else self

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.id}@{self.scope}" if self.scope else f"{self.kind}:{self.id}"

    @classmethod
    def parse(cls, key: str) -> Entitlement:
        """The other way round; vendor role ids hold no "@"."""
        kind, _, rest = key.partition(":")
        name, _, scope = rest.partition("@")
        return cls(kind, name, scope)


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """An entitlement as a policy names it, before the target's catalogue says which one that is."""

    kind: str  # role, group, attribute
    name: str
    scope: str = ""  # as in Entitlement; of an attribute a value, or "$profile.<name>"

    @property
    def bare(self) -> Reference:
        """As in Entitlement."""
        return Reference(self.kind, self.name) if self.kind == ATTRIBUTE and self.scope else self

    def __str__(self) -> str:
        if self.kind == ATTRIBUTE:
            return f"{self.kind} {self.name}{f' = {self.scope}' if self.scope else ''}"
        place = {"": "", "g": " everywhere"}.get(self.scope, f" in {self.scope.removeprefix('p:')}")
        return f"{self.kind} {self.name}{place}"


class Trait(StrEnum):
    """What sets an account apart from an ordinary employee's; most of these are never touched."""

    OURSELVES = "our own account"
    SERVICE = "service account"
    SUPPORT = "vendor support account"
    EMBED = "embed user"
    GUEST = "guest"
    ADMINISTRATOR = "administrator"
    ROLES_MANAGED = "roles managed by single sign-on"
    GROUPS_MANAGED = "groups managed by single sign-on"


@dataclass(frozen=True, slots=True)
class Account:
    """A person's presence in one target; desired and observed share this type, so comparison is plain equality.

    `login` is the login key (Looker: e-mail; TeamCity: user name). `profile` holds the target's own field names
    for what follows the source (Looker: first_name, last_name; TeamCity: name, email). `entitlements` are direct ones;
    of the attributes in `known`, by id, those are all its own values, and nothing is known of the others.
    """

    id: str
    login: str
    email: str
    active: bool
    profile: Mapping[str, str] = field(default_factory=dict)
    entitlements: frozenset[Entitlement] = frozenset()
    traits: frozenset[Trait] = frozenset()
    known: frozenset[str] = frozenset()

    def own(self, attribute: str) -> str | None:
        """The account's own value of an attribute, by its id; None where it has none, or none is known."""
        return next((e.scope for e in self.entitlements if e.kind == ATTRIBUTE and e.id == attribute), None)


@dataclass(frozen=True, slots=True, order=True)
class GroupValue:
    """A value that members of a group have of an attribute, unless they have one of their own; the lowest rank wins.

    `inherited`: the group only lies in one that has the value, and whether it counts there is the target's secret.
    """

    rank: int
    group: str
    value: str
    everybody: bool = False  # every account is in the group, whatever its holdings say
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class Definition:
    """What an attribute is: the type of its values, and what an account without a value of its own has.

    `readable` is False where the target shows nobody the values; then there are none here either.
    """

    type: str = ""
    default: str | None = None
    groups: tuple[GroupValue, ...] = ()
    readable: bool = True


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """One role, group, scope or attribute that a target has. `name` is what the policy calls it; `closed` says why it
    cannot be granted or revoked through the API ("" when it can)."""

    kind: str  # role, group, scope, attribute
    id: str
    name: str
    privileged: bool = False
    closed: str = ""
    definition: Definition | None = None  # of an attribute


@dataclass(frozen=True)
class Catalogue:
    """Everything a target can grant, as last observed."""

    items: tuple[CatalogueItem, ...] = ()

    @cached_property
    def _by_id(self) -> dict[tuple[str, str], CatalogueItem]:
        return {(i.kind, i.id): i for i in self.items}

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], list[CatalogueItem]]:
        names: dict[tuple[str, str], list[CatalogueItem]] = {}
        for item in self.items:
            names.setdefault((item.kind, item.name), []).append(item)
        return names

    def named(self, kind: str, name: str) -> Sequence[CatalogueItem]:
        """All items of that kind and name: none is unknown, more than one is ambiguous."""
        return self._by_name.get((kind, name), ())

    def item(self, kind: str, id: str) -> CatalogueItem | None:
        return self._by_id.get((kind, id))

    def privileged(self, entitlement: Entitlement) -> bool:
        """True when the role or group is, or when its scope makes it so."""
        found = self.item(entitlement.kind, entitlement.id)
        scope = self.item("scope", entitlement.scope) if entitlement.scope else None
        return bool((found and found.privileged) or (scope and scope.privileged))

    def label(self, entitlement: Entitlement) -> str:
        """What people read: `role Developer`, `role PROJECT_DEVELOPER in Web`, `attribute region = EMEA`."""
        found = self.item(entitlement.kind, entitlement.id)
        name = found.name if found else entitlement.id
        if entitlement.kind == ATTRIBUTE:
            return str(Reference(entitlement.kind, name, entitlement.scope))
        if not entitlement.scope:
            return f"{entitlement.kind} {name}"
        if entitlement.scope == "g":
            return f"{entitlement.kind} {name} everywhere"
        return f"{entitlement.kind} {name} in {entitlement.scope.removeprefix('p:')}"
