"""Drift as people review it: what stands, how urgent it is, what has to happen next, and what all of it rests on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from worker.core.drift import Cause, DriftKind

HANDLE = 10  # so many hex digits are what people type


class Concern(StrEnum):
    """What a finding is about, the most urgent first."""

    DISPUTED_LEAVER = "departed and disputed"
    RETURNED = "account of a leaver who was out"
    LINGERING = "account of a departed person"
    LEAVER_ACCESS = "access of a departed person"
    SUSPENDED = "account of a suspended person"
    ABSENT = "account of a person the source no longer has"
    ORPHAN = "account of nobody known"
    DISPUTED = "disputed account"
    DISPUTED_PERSON = "person who may be another"
    DISAGREEMENT = "person whose sources do not agree"
    EXPIRED = "access past its end"
    WRONG_VALUE = "wrong attribute value"
    HELD_VALUE = "attribute value in doubt"
    EXCESS = "access that no rule gives"
    UNEVALUABLE = "rule that cannot be evaluated"
    HELD = "person on hold"
    DISABLED = "disabled account of an active person"
    NO_ACCOUNT = "missing account"
    MISSING = "missing access"
    STALE_LOGIN = "stale login"
    STALE_PROFILE = "stale profile"


class Stage(StrEnum):
    """What has to happen next with a finding, or why nothing will."""

    DECISION = "needs a decision"
    WITHHELD = "withheld"
    TROUBLE = "did not succeed"
    MANUAL = "by hand"
    STANDING = "standing"
    NOT_JUDGED = "not judged"
    APPROVED = "approved"
    PLANNED = "planned"
    REJECTED = "rejected"
    WAIVED = "waived"


@dataclass(frozen=True, slots=True)
class RuleNote:
    """A rule as a reader knows it: whom to ask about it, and what it is for. Both are "" where the policy is silent."""

    name: str
    owner: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What Trueup would do about a finding, as the latest run has it; `state` and `reason` are that run's words.

    `hands` are the steps for a human where it must be done by hand; `brings` are labels of what a new account comes
    with; `source` is what each source says of the person.
    """

    sentence: str
    operation: str
    gate: str
    state: str
    reason: str
    cause: str
    privileged: bool
    fingerprint: str
    hands: tuple[str, ...] = ()
    brings: tuple[str, ...] = ()
    source: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A human's word on a proposal, not used yet."""

    approved: bool
    actor: str
    at: dt.datetime
    expires_at: dt.datetime
    note: str


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A waiver in force: somebody accepts a finding until a date."""

    target: str
    account_id: str
    account: str
    kind: str
    what: str
    owner: str
    actor: str
    note: str
    at: dt.datetime
    until: dt.datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """One open episode of drift. `person` and `account` are names to read, with the ids beside them ("" for none);
    `what` is the entitlement or field it is about."""

    episode_id: str
    target: str
    concern: Concern
    kind: str
    stage: Stage
    sentence: str
    opened_at: dt.datetime
    last_seen_at: dt.datetime
    person_id: str = ""
    person: str = ""
    login: str = ""
    account_id: str = ""
    account: str = ""
    what: str = ""
    rules: tuple[RuleNote, ...] = ()
    proposal: Proposal | None = None
    verdict: Verdict | None = None
    waiver: Acceptance | None = None

    @property
    def handle(self) -> str:
        """What `trueup review` is told: of the exact change, or of the finding where there is none."""
        return (self.proposal.fingerprint if self.proposal else self.episode_id.replace("-", ""))[:HANDLE]

    @property
    def urgent(self) -> bool:
        return self.concern in (Concern.DISPUTED_LEAVER, Concern.RETURNED, Concern.LINGERING)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The latest run over a target. `at` is None where none was ever made, and findings then say nothing."""

    target: str
    at: dt.datetime | None = None
    state: str = ""
    actor: str = ""
    reason: str = ""
    failure: str = ""
    same_policy: bool = True
    configured: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """Whose word a connector's counts rest on; without it nothing is taken away."""

    actor: str
    at: dt.datetime
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """What Trueup knows of a connector. `read_at` is when the current whole read began, `certificate` by name what
    showed that it is whole; `failure` is why the latest attempt came to nothing, at `failed_at`."""

    connector: str
    side: str  # source, target
    type: str
    instance: str
    read_at: dt.datetime | None
    too_old: bool
    counts: Mapping[str, int]
    certificate: Mapping[str, str]
    failure: str
    failed_at: dt.datetime | None
    baseline: Accepted | None


@dataclass(frozen=True, slots=True)
class Halt:
    """A pause in force; `connector` is "" when it is everybody's."""

    connector: str
    actor: str
    reason: str
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class DriftReport:
    """Everything that stands, at one moment; findings the most urgent first. `oldest_read` is the age at which a read
    is too old to plan from."""

    made_at: dt.datetime
    made_by: str
    mode: str
    policy: str
    oldest_read: dt.timedelta
    comparisons: tuple[Comparison, ...]
    findings: tuple[Finding, ...]
    waivers: tuple[Acceptance, ...]
    readings: tuple[Reading, ...]
    pauses: tuple[Halt, ...]


_CONCERNS: Mapping[DriftKind, Concern] = {
    DriftKind.LINGERING_ACCOUNT: Concern.LINGERING,
    DriftKind.RETURNED_LEAVER: Concern.RETURNED,
    DriftKind.SUSPENDED_PERSON: Concern.SUSPENDED,
    DriftKind.ABSENT_PERSON: Concern.ABSENT,
    DriftKind.ORPHAN: Concern.ORPHAN,
    DriftKind.DISPUTED: Concern.DISPUTED,
    DriftKind.EXPIRED_ENTITLEMENT: Concern.EXPIRED,
    DriftKind.WRONG_VALUE: Concern.WRONG_VALUE,
    DriftKind.HELD_VALUE: Concern.HELD_VALUE,
    DriftKind.EXCESS_ENTITLEMENT: Concern.EXCESS,
    DriftKind.UNEVALUABLE_RULE: Concern.UNEVALUABLE,
    DriftKind.HELD_PERSON: Concern.HELD,
    DriftKind.DISPUTED_PERSON: Concern.DISPUTED_PERSON,
    DriftKind.SOURCES_DISAGREE: Concern.DISAGREEMENT,
    DriftKind.DISABLED_ACCOUNT: Concern.DISABLED,
    DriftKind.MISSING_ACCOUNT: Concern.NO_ACCOUNT,
    DriftKind.MISSING_ENTITLEMENT: Concern.MISSING,
    DriftKind.STALE_LOGIN: Concern.STALE_LOGIN,
    DriftKind.STALE_PROFILE: Concern.STALE_PROFILE,
}


def concern_of(kind: DriftKind, urgent: bool, cause: str) -> Concern:
    """`cause` is the name of the change's, "" where there is no change."""
    if kind is DriftKind.DISPUTED and urgent:
        return Concern.DISPUTED_LEAVER
    if kind is DriftKind.EXCESS_ENTITLEMENT and cause == Cause.DEPARTED.name:
        return Concern.LEAVER_ACCESS
    return _CONCERNS[kind]
