"""Finds where what a person holds differs from what they deserve: facts only, no opinion about what to do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from worker.core.attributes import fallback, through_group, told, values_in
from worker.core.correlation import exact
from worker.core.identity import ATTRIBUTE, Account, Catalogue, Entitlement, Person, Standing
from worker.core.policy import Deserved
from worker.core.values import Held


class DriftKind(StrEnum):
    """Every way in which desired and observed can differ; the value is what people read."""

    MISSING_ACCOUNT = "missing account"
    DISABLED_ACCOUNT = "disabled account of an active person"
    LINGERING_ACCOUNT = "lingering account of a departed person"
    RETURNED_LEAVER = "account of a leaver who was out"
    SUSPENDED_PERSON = "active account of a suspended person"
    ABSENT_PERSON = "account of a person the source no longer has"
    STALE_LOGIN = "stale login"
    STALE_PROFILE = "stale profile"
    EXCESS_ENTITLEMENT = "excess entitlement"
    EXPIRED_ENTITLEMENT = "access past its until"
    MISSING_ENTITLEMENT = "missing entitlement"
    WRONG_VALUE = "wrong attribute value"
    HELD_VALUE = "held attribute value"
    ORPHAN = "orphan"
    DISPUTED = "disputed"
    UNEVALUABLE_RULE = "unevaluable rule"
    HELD_PERSON = "held person"
    DISPUTED_PERSON = "disputed person"
    SOURCES_DISAGREE = "sources disagree"


class Cause(StrEnum):
    """Why a drift is one; the class that a fingerprint carries."""

    DESERVED = "a rule gives it"
    UNDESERVED = "no rule gives it"
    LEFT_POLICY = "it left the policy"
    EXPIRED = "its rule has ended"
    DEPARTED = "the person has departed"
    SUSPENDED = "the person is suspended"
    ABSENT = "the source no longer has the person"
    SOURCE_CHANGED = "the source says otherwise"
    UNKNOWN_OWNER = "nobody is known to own it"
    AMBIGUOUS_OWNER = "its owner is in doubt"
    NOT_EVALUABLE = "it cannot be evaluated"
    DISAGREEMENT = "the sources do not agree"


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference. `before` and `after` are observed and desired; `rules` name what gives, gave or ended it. An
    attribute is a bare entitlement, and its values are `before` and `after`."""

    kind: DriftKind
    target: str
    cause: Cause
    person_id: str = ""
    account_id: str = ""
    entitlement: Entitlement | None = None
    field: str = ""
    before: str = ""
    after: str = ""
    rules: tuple[str, ...] = ()
    detail: str = ""
    urgent: bool = False

    @property
    def key(self) -> str:
        """What makes it the same drift from run to run, whatever its details."""
        who = self.account_id or self.person_id
        what = self.entitlement.key if self.entitlement else self.field
        return "|".join((self.target, self.kind.name.lower(), who, what))


@dataclass(frozen=True, slots=True)
class Terrain:
    """What a target is like in this run: its governed entitlements (and which of those have left the policy), its
    catalogue, and what the connector would call a person there."""

    target: str
    catalogue: Catalogue
    governed: Collection[Entitlement] = frozenset()
    left_policy: Collection[Entitlement] = frozenset()
    suspended_means_disabled: bool = True
    bystanders: Collection[str] = field(default_factory=frozenset)  # account ids that are never touched
    watched: Collection[str] = field(default_factory=frozenset)  # ids of people whose receipt, before this, said "out"


@dataclass(frozen=True, slots=True)
class Deserts:
    """What a person should have in one target."""

    login: str
    profile: Mapping[str, str]
    given: Mapping[Entitlement, tuple[str, ...]]
    frozen: Collection[Entitlement]
    expired: Mapping[Entitlement, tuple[str, ...]]
    held: Collection[Held] = ()

    @property
    def access(self) -> bool:
        """Whether anything is given that an account is needed for. A filter alone opens nothing."""
        return any(entitlement.kind != ATTRIBUTE for entitlement in self.given)

    @classmethod
    def of(cls, deserved: Deserved, target: str, login: str, profile: Mapping[str, str]) -> Deserts:
        """The part of what a policy gives that concerns one target."""
        return cls(
            login,
            profile,
            deserved.given.get(target, {}),
            frozenset(deserved.frozen.get(target, {})),
            {e: (rule,) for e, (rule, _) in deserved.expired.get(target, {}).items()},
            deserved.held.get(target, ()),
        )


def find_drift(
    person: Person,
    primary: Account | None,
    secondary: Collection[Account],
    deserts: Deserts,
    terrain: Terrain,
    *,
    disputed: bool = False,
) -> Iterator[Drift]:
    """Every difference between what one person holds in one target and what they should.

    Nothing that would take anything is found for a person we are unsure of, on hold or not yet started.
    """
    accounts = [a for a in (primary, *secondary) if a is not None and a.id not in terrain.bystanders]
    match person.standing:
        case Standing.DEPARTED:
            for account in (primary, *secondary) if not person.unsure else ():
                if account is not None and account.id not in terrain.bystanders:
                    yield from _departed(person, account, terrain)
                elif account is not None and account.active:  # never touched, so a human has to hear of it
                    yield _of(DriftKind.LINGERING_ACCOUNT, Cause.DEPARTED, person, account, terrain)
        case Standing.SUSPENDED:
            if terrain.suspended_means_disabled and not person.unsure:
                for account in accounts:
                    if account.active:
                        yield _of(DriftKind.SUSPENDED_PERSON, Cause.SUSPENDED, person, account, terrain)
        case Standing.HOLD:
            yield from _held(person, accounts, terrain)
        case Standing.ACTIVE if not person.departure_marked:
            if primary is None:
                if deserts.access:
                    yield from _held_values(person, None, deserts, terrain)
                if deserts.access and deserts.login and not disputed:
                    yield Drift(
                        DriftKind.MISSING_ACCOUNT, terrain.target, Cause.DESERVED, person.id,
                        after=deserts.login, rules=_rules(deserts.given),
                    )  # fmt: skip
            elif primary.id not in terrain.bystanders:
                yield from _active(person, primary, deserts, terrain)
            for account in secondary:
                if account.id not in terrain.bystanders and not person.unsure:
                    yield from _excess(person, account, deserts, terrain)
                    yield from _wrong_values(person, account, deserts, terrain)
    for account in accounts if person.disagreements else ():
        if account.active:
            yield _of(
                DriftKind.SOURCES_DISAGREE, Cause.DISAGREEMENT, person, account, terrain,
                detail="; ".join(person.disagreements),
            )  # fmt: skip


def desired_account(deserts: Deserts, catalogue: Catalogue) -> Account:
    """The account that a person without one should get, with what the target lets us grant."""
    email = deserts.profile.get("email", deserts.login)
    items = {entitlement: catalogue.item(entitlement.kind, entitlement.id) for entitlement in deserts.given}
    open_ = frozenset(entitlement for entitlement, item in items.items() if item is None or not item.closed)
    return Account("", deserts.login, email, True, dict(deserts.profile), open_)


def _departed(person: Person, account: Account, terrain: Terrain) -> Iterator[Drift]:
    if account.active:
        back = person.id in terrain.watched
        kind = DriftKind.RETURNED_LEAVER if back else DriftKind.LINGERING_ACCOUNT
        yield _of(kind, Cause.DEPARTED, person, account, terrain)
    items = {e: terrain.catalogue.item(e.kind, e.id) for e in account.entitlements}
    stays = frozenset(e for e, item in items.items() if item and item.closed)
    left = replace(account, entitlements=stays)
    for entitlement in sorted(account.entitlements - stays):  # what stays (All Users) is no finding for ever
        yield _too_much(DriftKind.EXCESS_ENTITLEMENT, Cause.DEPARTED, person, account, terrain, entitlement, left=left)


def _held(person: Person, accounts: Collection[Account], terrain: Terrain) -> Iterator[Drift]:
    absent = [i for i in person.identities if i.status in _ASIDES]
    aside = next((i.problem if i.status == FORMER else _ASIDES[i.status] for i in absent), "")
    for account in accounts:
        if absent and account.active and not person.unsure:
            yield _of(DriftKind.ABSENT_PERSON, Cause.ABSENT, person, account, terrain, detail=aside)
        elif not absent:
            problems = [i.problem for i in person.identities if i.problem] or person.disagreements
            yield _of(
                DriftKind.HELD_PERSON, Cause.NOT_EVALUABLE, person, account, terrain, detail="; ".join(problems)
            )  # fmt: skip


# Our own words for a status.
ABSENT = "absent"  # the source has no such identity any more
REPLACED = "replaced"  # the same, and another one has its login: made anew perhaps, perhaps somebody else
FORMER = "former source"  # only a source knew them that is not declared any more
GONE = "gone"  # missing from several whole reads and by id as well, at a source where that is final
HEIR = "another user has that login now; if it is the same person, link the account to them"
_ASIDES = {ABSENT: "", REPLACED: HEIR, FORMER: ""}


def _active(person: Person, account: Account, deserts: Deserts, terrain: Terrain) -> Iterator[Drift]:
    if not account.active and deserts.access:
        yield _of(DriftKind.DISABLED_ACCOUNT, Cause.DESERVED, person, account, terrain, rules=_rules(deserts.given))
    if deserts.login and exact(deserts.login) != exact(account.login):
        yield _of(
            DriftKind.STALE_LOGIN, Cause.SOURCE_CHANGED, person, account, terrain,
            field="login", before=account.login, after=deserts.login,
        )  # fmt: skip
    for name, value in deserts.profile.items():
        if value and value != account.profile.get(name, "") and not _same_address(name, value, account):
            yield _of(
                DriftKind.STALE_PROFILE, Cause.SOURCE_CHANGED, person, account, terrain,
                field=name, before=account.profile.get(name, ""), after=value,
            )  # fmt: skip
    if not person.unsure:
        yield from _excess(person, account, deserts, terrain)
        yield from _wrong_values(person, account, deserts, terrain)
    yield from _held_values(person, account, deserts, terrain)
    for entitlement in sorted(set(deserts.given) - account.entitlements):
        if entitlement.kind != ATTRIBUTE:
            yield _of(
                DriftKind.MISSING_ENTITLEMENT, Cause.DESERVED, person, account, terrain, entitlement,
                rules=deserts.given[entitlement],
            )  # fmt: skip
        elif _lacks_value(entitlement, account, deserts, terrain):
            yield _of(
                DriftKind.MISSING_ENTITLEMENT, Cause.DESERVED, person, account, terrain, entitlement.bare,
                after=entitlement.scope, rules=deserts.given[entitlement],
                detail=f"without it: {_without_its_own(entitlement, account, terrain)}",
            )  # fmt: skip


def _lacks_value(wanted: Entitlement, account: Account, deserts: Deserts, terrain: Terrain) -> bool:
    """It certainly has no value of its own, nor this one through a group that it keeps."""
    if wanted.id not in account.known or account.own(wanted.id) is not None:
        return False

    def stays(group: Entitlement) -> bool:
        return group in deserts.given or group in deserts.frozen or group not in terrain.governed

    item = terrain.catalogue.item(ATTRIBUTE, wanted.id)
    return not through_group(wanted.scope, account, item.definition if item else None, stays)


def _wrong_values(person: Person, account: Account, deserts: Deserts, terrain: Terrain) -> Iterator[Drift]:
    """Its own values of attributes that other values are deserved of: one difference each, with one cure."""
    for wanted in values_in(deserts.given):
        own = account.own(wanted.id)
        if wanted.id in account.known and own is not None and own != wanted.scope:
            yield _of(
                DriftKind.WRONG_VALUE, Cause.DESERVED, person, account, terrain, wanted.bare,
                before=own, after=wanted.scope, rules=deserts.given[wanted],
            )  # fmt: skip


def _held_values(person: Person, account: Account | None, deserts: Deserts, terrain: Terrain) -> Iterator[Drift]:
    """Values in doubt for a reason of the person's own; any other reason is a finding already."""
    for held in deserts.held:
        if not held.general:
            own = account.own(held.attribute.id) if account and held.attribute else None
            yield Drift(
                DriftKind.HELD_VALUE, terrain.target, Cause.NOT_EVALUABLE, person.id, account.id if account else "",
                held.attribute, f"attribute {held.name}", own or "", "", held.rules, held.reason,
            )  # fmt: skip


def _same_address(name: str, value: str, account: Account) -> bool:
    """Mail addresses differ in case without differing."""
    return name == "email" and exact(value) == exact(account.profile.get(name, ""))


def _excess(person: Person, account: Account, deserts: Deserts, terrain: Terrain) -> Iterator[Drift]:
    """Governed entitlements that no rule gives and no suspended rule freezes; of attributes no other value either."""
    for entitlement in sorted(account.entitlements):
        what = entitlement.bare
        if entitlement in deserts.given or what in deserts.frozen or what not in terrain.governed:
            continue
        if entitlement.kind == ATTRIBUTE and (entitlement.id not in account.known or _spoken_for(what, deserts)):
            continue
        if what in deserts.expired:
            rules = deserts.expired[what]
            kind = DriftKind.EXPIRED_ENTITLEMENT
            yield _too_much(kind, Cause.EXPIRED, person, account, terrain, entitlement, rules)
            continue
        cause = Cause.LEFT_POLICY if what in terrain.left_policy else Cause.UNDESERVED
        yield _too_much(DriftKind.EXCESS_ENTITLEMENT, cause, person, account, terrain, entitlement)


def _spoken_for(attribute: Entitlement, deserts: Deserts) -> bool:
    """Some value of it is deserved, or which one is in doubt."""
    return any(e.bare == attribute for e in values_in(deserts.given)) or any(
        held.attribute == attribute for held in deserts.held
    )


def _too_much(
    kind: DriftKind,
    cause: Cause,
    person: Person,
    account: Account,
    terrain: Terrain,
    entitlement: Entitlement,
    rules: tuple[str, ...] = (),
    *,
    left: Account | None = None,
) -> Drift:
    """Of a value, with what the account has once it is gone, and perhaps not only that; it is then as `left`."""
    if entitlement.kind != ATTRIBUTE:
        return _of(kind, cause, person, account, terrain, entitlement, rules=rules)
    rest = _without_its_own(entitlement, left or account, terrain)
    return _of(
        kind, cause, person, account, terrain, entitlement.bare,
        before=entitlement.scope, rules=rules, detail=f"it then has {rest}",
    )  # fmt: skip


def _without_its_own(value: Entitlement, account: Account, terrain: Terrain) -> str:
    item = terrain.catalogue.item(ATTRIBUTE, value.id)
    return told(fallback(account, item.definition if item else None), terrain.catalogue)


def _of(
    kind: DriftKind,
    cause: Cause,
    person: Person,
    account: Account,
    terrain: Terrain,
    entitlement: Entitlement | None = None,
    *,
    field: str = "",
    before: str = "",
    after: str = "",
    rules: tuple[str, ...] = (),
    detail: str = "",
) -> Drift:
    return Drift(
        kind, terrain.target, cause, person.id, account.id, entitlement, field, before, after, rules, detail
    )  # fmt: skip


def _rules(given: Mapping[Entitlement, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rule for rules in given.values() for rule in rules))
