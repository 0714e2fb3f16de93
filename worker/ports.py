"""The two shapes a connector can have: a source of identities, and a target that holds entitlements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from worker.core.identity import Account, CatalogueItem, Entitlement, Identity, Person, SourceGroup
from worker.core.plan import Operation


@dataclass(frozen=True, slots=True)
class Instance:
    """Which installation answered, pinned at first use so that a clone behind the same URL is not mistaken for it.

    `id` is the vendor's own (Okta org id, TeamCity internalId, Looker host and own user id); `own_account` is the
    account our credentials belong to, which is never touched.
    """

    id: str
    own_account: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something `trueup check` says about a connector. `fatal` notices stop a run; `fix` says what to do."""

    text: str
    fix: str = ""
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One part of a completeness certificate: what was expected and what was seen."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class SourcePage:
    """A piece of a pull. `memberships` are (group id, identity id)."""

    identities: Sequence[Identity] = ()
    groups: Sequence[SourceGroup] = ()
    memberships: Sequence[tuple[str, str]] = ()
    checks: Sequence[Check] = ()


@dataclass(frozen=True, slots=True)
class TargetPage:
    """A piece of an observation. Accounts come without entitlements; `holdings` are (account id, direct entitlement).

    `traits` and entitlements of one account may arrive on different pages; the store joins them.
    """

    accounts: Sequence[Account] = ()
    holdings: Sequence[tuple[str, Entitlement]] = ()
    catalogue: Sequence[CatalogueItem] = ()
    checks: Sequence[Check] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a pull must bring: names and patterns of groups (empty: every group), and extra profile attributes."""

    groups: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()


class Source(Protocol):
    """A connector that identities are read from. Every method raises the errors of `worker.errors` and nothing else."""

    name: str

    def instance(self) -> Instance: ...

    def probe(self) -> Iterable[Notice]:
        """What our credentials may see, and what is wrong with them. Cheap: a handful of calls."""
        ...

    def read(self, wanted: Wanted) -> Iterator[SourcePage]:
        """Everything, page by page, each of a few hundred rows. Whole, or it raises; it never ends early in silence."""
        ...

    def person(self, id: str) -> Identity | None:
        """One identity by id, strongly consistent; None when the source says that there is none."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Task:
    """One approved change as the connector sees it: what to bring about on one account.

    `fields` are what an update sets: "login", or names that the connector's `profile` uses.
    """

    id: str
    operation: Operation
    entitlement: Entitlement | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One vendor mutation. Plain data, so that it can be stored before it is made and judged after a crash.

    `tasks` are the ids of the changes it serves; `verb` and `args` are the connector's own words (JSON scalars and
    lists); `sentence` is what people read.
    """

    verb: str
    account_id: str
    args: Mapping[str, object]
    tasks: tuple[str, ...]
    sentence: str


class Outcome(StrEnum):
    """How a step ended. `attempted` is what is committed before the call."""

    ATTEMPTED = "attempted"
    APPLIED = "applied"
    ALREADY_SO = "already so"
    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    FOUND_APPLIED = "found applied"
    FOUND_NOT_APPLIED = "found not applied"


@dataclass(frozen=True, slots=True)
class Made:
    """What came of one step. `before` and `after` are what was read around it; `request_id` is the vendor's.

    `again`: more mutations remain; record this outcome, then attempt the same step once more (a step that empties a
    list whose length nobody knew takes one item at a time).
    """

    outcome: Outcome
    detail: str = ""
    before: str = ""
    after: str = ""
    request_id: str = ""
    account_id: str = ""  # of an account that this step created
    again: bool = False


class Target(Protocol):
    """A connector whose accounts and entitlements are governed. It raises the errors of `worker.errors` only."""

    name: str
    type: str

    def instance(self) -> Instance: ...

    def probe(self) -> Iterable[Notice]:
        """What our credentials may do, and which vendor settings will fight us. Cheap: a handful of calls."""
        ...

    def observe(self) -> Iterator[TargetPage]:
        """All accounts, direct entitlements and the catalogue. Whole, or it raises. Calls <= pages + roles + groups."""
        ...

    def account(self, id: str) -> Account | None:
        """One account, whole, read now; None when it does not exist."""
        ...

    def login(self, person: Person) -> str:
        """The login key this person's account has or should have here ("" when the source gives none). Pure."""
        ...

    def profile(self, person: Person) -> Mapping[str, str]:
        """The target's own profile fields, filled from the person. Pure."""
        ...

    def steps(self, account: Account, tasks: Sequence[Task]) -> Sequence[Step]:
        """The mutations that bring the tasks about on an account as the plan saw it; each can be made twice. Pure.

        A create is one task: `account` is then the desired one, with id "" and the entitlements it should hold. Steps
        with account_id "" are made on the account that the first step created.
        """
        ...

    def apply(self, step: Step) -> Made:
        """Check the precondition, make one mutation, read back. At most one mutating request.

        Raises Unknown when the call may have happened, Rejected when the vendor said no, Refused when the account is
        not what the plan saw; Unavailable and Denied when nothing happened.
        """
        ...

    def settled(self, step: Step) -> Made:
        """After a crash or an Unknown: re-read, and say FOUND_APPLIED or FOUND_NOT_APPLIED. Never mutates."""
        ...

    def manual(self, account: Account, task: Task) -> Sequence[str]:
        """Exact steps for a human where the API cannot, or the settings do not let us, do it; else empty."""
        ...

    def close(self) -> None: ...
