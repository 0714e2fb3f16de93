"""Holds back what could do harm: each guard withholds what it concerns, says so, and lets the rest through."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from worker.core.drift import Cause
from worker.core.plan import TAKING, Change, Gate, Operation
from worker.core.render import counted


class State(StrEnum):
    """What is to become of a planned change."""

    OPEN = "open"
    WAITING = "waiting"  # for a named human's decision
    WITHHELD = "withheld"  # by a guard
    MANUAL = "manual"
    WAIVED = "waived"
    REJECTED = "rejected"


class Tally(StrEnum):
    """What limits count."""

    REMOVALS = "removals"
    DISABLES = "disables"
    PRIVILEGED_GRANTS = "privileged grants"
    DEPARTURES = "departures"  # people, not changes


@dataclass(frozen=True, slots=True)
class Ceiling:
    """At most so many in one run, and over the last 24 hours."""

    per_run: int
    per_day: int


@dataclass(frozen=True, slots=True)
class Limits:
    """`share` is the part of what there is (accounts, holders of one entitlement) that one run may take away; it only
    counts from `share_from` takings on."""

    ceilings: Mapping[Tally, Ceiling]
    share: float
    share_from: int


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the guards need to know of a target.

    `bystanders` are accounts never to be touched, with the reason. `administrators` are active accounts other than our
    own that can administer the target. `holders` counts holders by entitlement key. `day` counts what the last 24
    hours have done. `verdicts` are decisions by fingerprint; `waived` are drift keys. `no_taking` says why nothing may
    be taken away at all in this run ("" when it may).
    """

    instance: str
    limits: Limits
    active_accounts: int = 0
    holders: Mapping[str, int] = field(default_factory=dict)
    administrators: Collection[str] = frozenset()
    bystanders: Mapping[str, str] = field(default_factory=dict)
    day: Mapping[Tally, int] = field(default_factory=dict)
    verdicts: Mapping[str, bool] = field(default_factory=dict)
    waived: Collection[str] = frozenset()
    label: Callable[[str], str] = str  # of an entitlement key, for people
    no_taking: str = ""
    unfiltered: Mapping[str, str] = field(default_factory=dict)  # by a change's subject: why nothing is given yet


@dataclass(frozen=True, slots=True)
class Judged:
    """A change, what is to become of it, and which guard said so."""

    change: Change
    state: State
    reason: str = ""


ASK = "a human has to approve it"  # why most of what waits does
GIVING_POWER = frozenset({Operation.GRANT, Operation.CREATE, Operation.ENABLE})


def tally(change: Change) -> Tally | None:
    """Which limit a change counts towards, if any."""
    return counts_as(change.operation, change.drift.cause, change.privileged)


def counts_as(operation: Operation, cause: Cause, privileged: bool) -> Tally | None:
    """Which limit a change of that kind counts towards, if any."""
    if cause is Cause.DEPARTED:
        return Tally.DEPARTURES
    if operation in (Operation.REVOKE, Operation.REPLACE):
        return Tally.REMOVALS
    if operation is Operation.DISABLE:
        return Tally.DISABLES
    if privileged and operation in GIVING_POWER:
        return Tally.PRIVILEGED_GRANTS
    return None


def judge(changes: Iterable[Change], facts: Circumstances) -> tuple[Judged, ...]:
    """What becomes of each change, in the given order: hard rules, waivers, gates and decisions, then limits."""
    first = [_before_limits(change, facts) for change in changes]
    # A human has looked at an approved change and at its whole list: limits are there for what nobody looked at.
    counted_ones = [j.change for j in first if j.state is State.OPEN and not _approved(j.change, facts)]
    over = _over_limits(counted_ones, facts)
    limited = [
        Judged(j.change, State.WITHHELD, over(j.change))
        if j.state is State.OPEN and not _approved(j.change, facts) and over(j.change)
        else j
        for j in first
    ]
    return _after_filters(_after_enabling(_spare_last_administrator(limited, facts)), facts)


def tripped(judged: Iterable[Judged]) -> tuple[str, ...]:
    """Each guard that withheld something, with how much: the sentences that make a run end with exit code 1."""
    reasons = Counter(j.reason for j in judged if j.state is State.WITHHELD)
    return tuple(f"{counted(number, 'change')} withheld: {reason}" for reason, number in reasons.items())


def _approved(change: Change, facts: Circumstances) -> bool:
    return facts.verdicts.get(change.fingerprint(facts.instance), False)


def _before_limits(change: Change, facts: Circumstances) -> Judged:
    account = change.drift.account_id
    if account in facts.bystanders:
        return Judged(change, State.MANUAL, f"never touched by Trueup: {facts.bystanders[account]}")
    if change.drift.key in facts.waived:
        return Judged(change, State.WAIVED, "waived")
    if change.operation in TAKING and facts.no_taking:
        return Judged(change, State.WITHHELD, facts.no_taking)
    if change.gate is Gate.MANUAL:
        return Judged(change, State.MANUAL, "the API cannot do it, or the settings do not let us")
    verdict = facts.verdicts.get(change.fingerprint(facts.instance))
    if verdict is False:
        return Judged(change, State.REJECTED, "a human said no")
    if change.gate is Gate.REVIEW and not verdict:
        return Judged(change, State.WAITING, ASK)
    return Judged(change, State.OPEN)


def _over_limits(changes: Sequence[Change], facts: Circumstances) -> Callable[[Change], str]:
    """Per change the limit that its kind exceeds ("" for none). A kind over its limit is withheld whole: a part of a
    wrong mass change is harm too."""
    amounts: Counter[Tally] = Counter()
    departing: set[str] = set()
    taken_from: Counter[str] = Counter()
    for change in changes:
        kind = tally(change)
        if kind is Tally.DEPARTURES:
            departing.add(change.drift.person_id)
        elif kind is not None:
            amounts[kind] += 1
        if kind is Tally.REMOVALS and change.drift.entitlement:
            taken_from[change.drift.entitlement.key] += 1
    amounts[Tally.DEPARTURES] = len(departing)
    reasons: dict[Tally, str] = {kind: text for kind in Tally if (text := _excess_of(kind, amounts[kind], facts))}
    if not reasons.get(Tally.DISABLES) and _too_large(amounts[Tally.DISABLES], facts.active_accounts, facts.limits):
        reasons[Tally.DISABLES] = (
            f"{amounts[Tally.DISABLES]} of {counted(facts.active_accounts, 'active account')} would be disabled,"
            f" more than {facts.limits.share:.0%} (limits.share)"
        )
    by_entitlement = defaultdict(str)
    for key, amount in taken_from.items():
        holders = facts.holders.get(key, amount)
        if _too_large(amount, holders, facts.limits):
            by_entitlement[key] = (
                f"{amount} of {counted(holders, 'holder')} of {facts.label(key)} would lose it,"
                f" more than {facts.limits.share:.0%} (limits.share)"
            )

    def reason(change: Change) -> str:
        kind = tally(change)
        if kind is None:
            return ""
        if kind is Tally.REMOVALS and change.drift.entitlement and by_entitlement[change.drift.entitlement.key]:
            return by_entitlement[change.drift.entitlement.key]
        return reasons.get(kind, "")

    return reason


def _excess_of(kind: Tally, amount: int, facts: Circumstances) -> str:
    ceiling = facts.limits.ceilings[kind]
    if amount == 0:
        return ""
    setting = f"limits.{kind.name.lower()}"
    if amount > ceiling.per_run:
        return f"{amount} {kind} in one run, at most {ceiling.per_run} ({setting}.per_run)"
    done = facts.day.get(kind, 0)
    if amount + done > ceiling.per_day:
        return f"{amount} {kind} after {done} in the last 24 hours, at most {ceiling.per_day} ({setting}.per_day)"
    return ""


def _too_large(amount: int, whole: int, limits: Limits) -> bool:
    return amount >= limits.share_from and whole > 0 and amount / whole > limits.share


def _spare_last_administrator(judged: Sequence[Judged], facts: Circumstances) -> tuple[Judged, ...]:
    """A hard rule: whatever would leave a target without an administrator is for a human, who first names another."""
    endangered = {
        j.change.drift.account_id
        for j in judged
        if j.state is State.OPEN and j.change.drift.account_id in facts.administrators and _unseats(j.change)
    }
    if not endangered or set(facts.administrators) - endangered:
        return tuple(judged)
    reason = "it would leave no administrator; make somebody else administrator first, then do this by hand"
    return tuple(
        Judged(j.change, State.MANUAL, reason)
        if j.state is State.OPEN and j.change.drift.account_id in endangered and _unseats(j.change)
        else j
        for j in judged
    )


def _after_enabling(judged: Sequence[Judged]) -> tuple[Judged, ...]:
    """Nothing is granted to a disabled account before it may be enabled: in TeamCity a grant would enable it."""
    shut = {j.change.subject for j in judged if j.change.operation is Operation.ENABLE and j.state is not State.OPEN}
    return tuple(
        Judged(j.change, State.WAITING, "its account is disabled, and enabling it has to be approved first")
        if j.state is State.OPEN and _grants_access(j.change) and j.change.subject in shut
        else j
        for j in judged
    )


def _grants_access(change: Change) -> bool:
    return change.operation is Operation.GRANT and not change.of_attribute


def _after_filters(judged: Sequence[Judged], facts: Circumstances) -> tuple[Judged, ...]:
    """Nothing is given to anybody whose filters are not as they should be, nor made so in the same run: an unset one
    may show everything, a wrong one what is others'."""
    settled = (State.OPEN, State.WAIVED)
    amiss = {
        j.change.subject: f"a filter of the account has to be right first, and its change is {j.state} ({j.reason})"
        for j in judged
        if j.change.of_attribute and j.state not in settled
    }
    held = {subject: f"nothing is given to this person here yet: {why}" for subject, why in facts.unfiltered.items()}

    def waits_for(change: Change) -> str:
        if change.operation not in GIVING_POWER:
            return ""
        return held.get(change.subject, "") or ("" if change.of_attribute else amiss.get(change.subject, ""))

    return tuple(
        Judged(j.change, State.WAITING, waits_for(j.change))
        if j.state in (State.OPEN, State.WAITING) and waits_for(j.change)
        else j
        for j in judged
    )


def _unseats(change: Change) -> bool:
    """Whether it may end somebody's administration: any lock-out, and any revoke from an administrator, since a group's
    weight is not ours to guess."""
    return change.operation in TAKING and not change.of_attribute
