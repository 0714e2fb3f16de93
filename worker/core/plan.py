"""Makes of each drift the one change that would cure it, in the order in which changes are safe to make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from worker.core.drift import Cause, Drift, DriftKind
from worker.core.identity import ATTRIBUTE, Account, Catalogue, Entitlement


class Operation(StrEnum):
    """What a change does to an account."""

    DISABLE = "disable"
    UPDATE = "update"
    REVOKE = "revoke"
    REPLACE = "replace"  # the value of an attribute, which is never unset in between
    CREATE = "create"
    ENABLE = "enable"
    GRANT = "grant"


TAKING = frozenset({Operation.DISABLE, Operation.REVOKE, Operation.REPLACE})
"""Operations that may leave somebody with less; every guard against a wrong read concerns these."""
GIVING = frozenset({Operation.GRANT, Operation.CREATE, Operation.ENABLE, Operation.REPLACE})
"""Operations that may leave somebody with more; to replace a value is of both kinds."""


class Gate(StrEnum):
    """Who may open the way for a change: nobody needs to, a named human, or it is done by hand."""

    AUTO = "auto"
    REVIEW = "review"
    MANUAL = "manual"


_STRICTNESS = (Gate.AUTO, Gate.REVIEW, Gate.MANUAL)

CURES: Mapping[DriftKind, Operation] = {
    DriftKind.MISSING_ACCOUNT: Operation.CREATE,
    DriftKind.DISABLED_ACCOUNT: Operation.ENABLE,
    DriftKind.LINGERING_ACCOUNT: Operation.DISABLE,
    DriftKind.RETURNED_LEAVER: Operation.DISABLE,
    DriftKind.SUSPENDED_PERSON: Operation.DISABLE,
    DriftKind.ABSENT_PERSON: Operation.DISABLE,
    DriftKind.STALE_LOGIN: Operation.UPDATE,
    DriftKind.STALE_PROFILE: Operation.UPDATE,
    DriftKind.EXCESS_ENTITLEMENT: Operation.REVOKE,
    DriftKind.EXPIRED_ENTITLEMENT: Operation.REVOKE,
    DriftKind.MISSING_ENTITLEMENT: Operation.GRANT,
    DriftKind.WRONG_VALUE: Operation.REPLACE,
}
"""Drift of any other kind has no cure that a machine may choose."""

ALWAYS_REVIEWED = frozenset({Cause.LEFT_POLICY, Cause.ABSENT})


@dataclass(frozen=True, slots=True)
class Change:
    """One cure for one drift on one account. `hands` are the steps for a human where the gate is manual."""

    drift: Drift
    operation: Operation
    gate: Gate
    privileged: bool = False
    before: str = ""
    after: str = ""
    hands: tuple[str, ...] = ()
    entitlements: tuple[str, ...] = ()  # of a create: the keys it should come with

    @property
    def of_attribute(self) -> bool:
        """It sets or unsets a filter, and opens nothing."""
        return self.drift.entitlement is not None and self.drift.entitlement.kind == ATTRIBUTE

    @property
    def subject(self) -> str:
        """The account, or the person who has none yet."""
        return self.drift.account_id or f"person {self.drift.person_id}"

    def fingerprint(self, instance: str) -> str:
        """SHA-256 of what exactly would be done to which account of which installation, and why; 64 hex digits.

        Names are not in it: a new display name voids no approval. Field values are, by their digest.
        """
        entitlement = self.drift.entitlement.key if self.drift.entitlement else self.drift.field
        parts = [instance, self.subject, self.operation, entitlement, self.before, self.after, self.drift.cause.name]
        return hashlib.sha256(json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class GateTable:
    """Operation -> gate, and the least gate of anything privileged."""

    gates: Mapping[Operation, Gate]
    privileged: Gate = Gate.REVIEW

    def of(self, drift: Drift, operation: Operation, privileged: bool) -> Gate:
        """The strictest that applies; a login change, a revoke that only a new policy asks for, and the end of a filter
        are reviewed. To replace a value both gives and takes."""
        both = (Operation.GRANT, Operation.REVOKE)
        wanted = [self.gates[one] for one in (both if operation is Operation.REPLACE else (operation,))]
        if privileged:
            wanted.append(self.privileged)
        if drift.kind is DriftKind.STALE_LOGIN or drift.cause in ALWAYS_REVIEWED or _unsets(drift, operation):
            wanted.append(Gate.REVIEW)
        return max(wanted, key=_STRICTNESS.index)


def _unsets(drift: Drift, operation: Operation) -> bool:
    """Whether it leaves an account that may still be used to a group's value, the default, or no filter at all."""
    of_attribute = drift.entitlement is not None and drift.entitlement.kind == ATTRIBUTE
    return of_attribute and operation is Operation.REVOKE and drift.cause is not Cause.DEPARTED


@dataclass(frozen=True, slots=True)
class Plan:
    """The ordered changes for one target, and the drift that no change may cure."""

    changes: tuple[Change, ...] = ()
    standing: tuple[Drift, ...] = ()


@dataclass(frozen=True, slots=True)
class Means:
    """What making a plan needs to know about a target beside the drift: its accounts by id, the accounts to create by
    person id, what is privileged, and `hands(change)`: the connector's manual steps, none where the API can do it."""

    accounts: Mapping[str, Account]
    catalogue: Catalogue
    gates: GateTable
    declared_privileged: frozenset[str] = frozenset()  # entitlement keys
    hands: Callable[[Change], Sequence[str]] = lambda _: ()
    creations: Mapping[str, Account] = field(default_factory=dict)
    reviewed: Collection[str] = frozenset()  # ids of people whom nothing is given without a human's word


def make_plan(drifts: Iterable[Drift], means: Means) -> Plan:
    """One change per curable drift, gated, in the order in which they are to be made."""
    changes: list[Change] = []
    standing: list[Drift] = []
    for drift in drifts:
        if drift.kind in CURES:
            changes.append(_change(drift, CURES[drift.kind], means))
        else:
            standing.append(drift)
    return Plan(tuple(sorted(changes, key=order)), tuple(sorted(standing, key=lambda d: (not d.urgent, d.key))))


def order(change: Change) -> tuple[int, str, int, str]:
    """Lock-outs first, then renames (they free logins), then account by account: take, set filters, and at once give.

    A run cut short so errs on too little access, and nobody waits hours between losing the old and getting the new.
    """
    filters = change.of_attribute and change.operation is Operation.GRANT
    operation = Operation.REPLACE if filters else change.operation
    return (phase(change), change.subject, tuple(Operation).index(operation), change.drift.key)


def phase(change: Change) -> int:
    """0 lock-outs, 1 renames, 2 the rest; the changes of one account in one phase are made together."""
    if change.operation is Operation.DISABLE or change.drift.cause is Cause.DEPARTED:
        return 0
    return 1 if change.operation is Operation.UPDATE else 2


def _change(drift: Drift, operation: Operation, means: Means) -> Change:
    creation = means.creations.get(drift.person_id) if operation is Operation.CREATE else None
    entitlements = tuple(sorted(e.key for e in creation.entitlements)) if creation else ()
    privileged = _privileged(drift, operation, entitlements, means)
    before, after = _before_after(drift, operation, entitlements)
    gate = means.gates.of(drift, operation, privileged)
    if operation in GIVING and drift.person_id in means.reviewed:
        gate = max(gate, Gate.REVIEW, key=_STRICTNESS.index)
    change = Change(drift, operation, gate, privileged, before, after, (), entitlements)
    hands = tuple(means.hands(change))
    if not hands:
        return change
    return Change(drift, operation, Gate.MANUAL, privileged, before, after, hands, entitlements)


def _privileged(drift: Drift, operation: Operation, entitlements: tuple[str, ...], means: Means) -> bool:
    """To unlock an account gives all that it holds. A departed person's lock-out is not held back by the power they
    had."""
    if drift.cause is Cause.DEPARTED:
        return False
    keys = set(entitlements) | ({drift.entitlement.key} if drift.entitlement else set())
    if operation is Operation.ENABLE:
        keys |= {entitlement.key for entitlement in means.accounts[drift.account_id].entitlements}
    held = {Entitlement.parse(key).bare for key in keys}
    return any(one.key in means.declared_privileged or means.catalogue.privileged(one) for one in held)


def _before_after(drift: Drift, operation: Operation, entitlements: tuple[str, ...]) -> tuple[str, str]:
    if drift.entitlement is not None and drift.entitlement.kind == ATTRIBUTE:
        before, after = operation is not Operation.GRANT, operation is not Operation.REVOKE
        return _digest(drift.before) if before else "absent", _digest(drift.after) if after else "absent"
    match operation:
        case Operation.DISABLE:
            return "active", "disabled"
        case Operation.ENABLE:
            return "disabled", "active"
        case Operation.REVOKE:
            return "held", "absent"
        case Operation.GRANT:
            return "absent", "held"
        case Operation.CREATE:
            return "", "+".join(map(_undisclosed, entitlements))
        case _:
            return _digest(drift.before), _digest(drift.after)


def _undisclosed(key: str) -> str:
    """An entitlement's key, with a digest for the value of an attribute."""
    one = Entitlement.parse(key)
    return f"{one.bare.key}#{_digest(one.scope)}" if one.kind == ATTRIBUTE else key


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:16]
