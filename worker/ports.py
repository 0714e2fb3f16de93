"""The two shapes a connector can have: a source of identities, and a target that holds entitlements."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from worker.core.identity import Account, CatalogueItem, Entitlement, Identity, Person, SourceGroup, Trait
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
    """A piece of a pull. `memberships` are (group id, identity id) and `nestings` (group id, id of a group that is in
    it), direct ones both. `stamps` by id of an identity or a group say which record is newer, in a form that sorts: of
    what is read twice, the newest counts."""

    identities: Sequence[Identity] = ()
    groups: Sequence[SourceGroup] = ()
    memberships: Sequence[tuple[str, str]] = ()
    nestings: Sequence[tuple[str, str]] = ()
    stamps: Mapping[str, str] = field(default_factory=dict)
    checks: Sequence[Check] = ()


@dataclass(frozen=True, slots=True)
class TargetPage:
    """A piece of an observation. Accounts come without entitlements; `holdings` are (account id, direct entitlement),
    `traits` (account id, trait) beside those that the accounts bring. `valued` are (account id, attribute id) of which
    the account's own value is among the holdings, or it has none. The store joins what arrives on different pages.
    """

    accounts: Sequence[Account] = ()
    holdings: Sequence[tuple[str, Entitlement]] = ()
    traits: Sequence[tuple[str, Trait]] = ()
    catalogue: Sequence[CatalogueItem] = ()
    checks: Sequence[Check] = ()
    valued: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a read that one worker does by itself in well under a minute: a page, a list, a group's members.

    `kind` and `args` are the connector's own words (JSON scalars, lists, maps), so that it can wait in the database.
    """

    kind: str
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """What a part brought: rows to stage, what has to be read besides (once, however many parts ask for the same), and
    small `facts` for the end of the read."""

    pages: Sequence[SourcePage | TargetPage] = ()
    parts: Sequence[Part] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Whole:
    """A read of which every part is done: each part with its facts, what was staged by noun (identities, groups,
    memberships, nestings, accounts, holdings, catalogue), ids of people or accounts that rows speak of and no list has
    (sorted), and `within`: how many different people are in a group that holds others, or in those (0 where absent)."""

    parts: Sequence[tuple[Part, Mapping[str, Any]]]
    staged: Mapping[str, int]
    strangers: Sequence[str] = ()
    within: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gauge:
    """What a vendor's answer says about its rate limit: calls allowed per window, what remains, seconds to the reset.

    `limit` 0 says that too many calls were under way at once: fewer at a time help, waiting for the window does not.
    A negative one says nothing of a limit, only that nothing gets through until the reset (Retry-After).
    """

    limit: int
    remaining: int
    reset: float


MOST_FOR_LEAVERS = 0.4  # of our share of a vendor's limit, that can be kept for them


@dataclass(frozen=True, slots=True)
class Rate:
    """What a type of vendor is assumed to bear from everybody together, until its own headers say something else: a
    connector's module has one as `RATE`. `at_once` is how many calls of ours may be under way."""

    per_minute: int
    at_once: int = 8


@dataclass(frozen=True, slots=True)
class Line:
    """What stands between a connector and its vendor: pauses and the rate budget. `bucket` is what the vendor counts
    apart ("" where it counts everything together).

    `before` waits for its turn; it raises Paused, or Rationed when the turn is too far off. `after` follows every
    `before` that let a call through, in the same thread: the answer's status (0: none came) and its gauge where it has
    one. `sleep` is what a connector waits with: a pause or a stop ends it.
    """

    before: Callable[[str], None] = field(default=lambda _bucket: None)
    after: Callable[[str, int, Gauge | None], None] = field(default=lambda _bucket, _status, _gauge: None)
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a pull must bring: names and patterns of groups (empty: none), and extra profile attributes."""

    groups: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Asked:
    """What an observation brings beside what every one does: these attributes, by name or by id, with what groups and
    the default say of them. Of accounts' own values, `Target.sweep` says how they are read."""

    names: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.names or self.ids)


class Source(Protocol):
    """A connector that identities are read from. Every method raises the errors of `worker.errors` and nothing else.

    `final_absence`: whoever is missing from a whole read and by id as well, and again in the next one, has departed.
    Else their absence is for a human to judge.
    """

    name: str
    final_absence: bool

    def instance(self) -> Instance: ...

    def probe(self) -> Iterable[Notice]:
        """What our credentials may see, and what is wrong with them. Cheap: a handful of calls."""
        ...

    def parts(self, wanted: Wanted) -> Sequence[Part]:
        """What a whole read begins with. Pure."""
        ...

    def read(self, part: Part) -> Piece:
        """One part: whole, or it raises. Any worker may do it, and do it twice."""
        ...

    def finish(self, whole: Whole) -> Piece:
        """The last of a read: what only the whole of it can tell. Its checks are the certificate; it has no parts.

        Raises Moved when what was read changed meanwhile and has to be read again from the start.
        """
        ...

    def person(self, id: str) -> Identity | None:
        """One identity by id, strongly consistent; None when the source says that there is none."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Subscription:
    """A standing order at a source's vendor: that we are told at our address, until it expires, of every change to a
    resource ("users")."""

    id: str
    resource: str
    expires_at: dt.datetime


class Subscriptions(Protocol):
    """How a source's vendor is asked to tell us of changes. A source that can be asked has one as `subscriptions`.

    `resources` are what there is to be told of, `life` how long the vendor lets an order stand.
    """

    resources: Sequence[str]
    life: dt.timedelta

    def standing(self, url: str) -> Sequence[Subscription]:
        """Those of ours that lead to this address, as the vendor has them now."""
        ...

    def make(self, resource: str, url: str, secret: str, until: dt.datetime) -> Subscription:
        """Order it. The vendor calls the address before it agrees. Raises Rejected when it was not answered there, and
        Denied when we may not read the resource. Not repeatable: two calls are two orders."""
        ...

    def renew(self, id: str, until: dt.datetime) -> Subscription:
        """Let it stand longer. Raises Missing when the vendor has no such order any more."""
        ...

    def end(self, id: str) -> None:
        """Order it off; one that is gone already is as good."""
        ...


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


@dataclass(frozen=True, slots=True)
class Unseen:
    """Something of an account that nobody shows us, and so nothing can say that it is gone. `hands` are exact steps for
    a human; `lasts` is how long after the lock-out it lives at the most, where that is known.

    `key` is that of an entitlement that can be revoked all the same, without a look at it before or after: it is listed
    however often it was revoked, so what came of its step is all that will ever be known. `unread`: it would have been
    shown, and asking again may tell.
    """

    what: str
    because: str
    hands: tuple[str, ...] = ()
    lasts: dt.timedelta | None = None
    key: str = ""
    unread: bool = False


@dataclass(frozen=True, slots=True)
class Heirloom:
    """Something that works for others and would stop, or be nobody's, with its owner. `kind` is schedule, alert or
    content. `enabled` is as read: a vendor may turn it off with the account. `container` is what it lies in or shows.

    `caution` is why it is never handed over by itself, only by somebody who has read this ("" when it may be); `hands`
    are the steps for that person.
    """

    kind: str
    id: str
    title: str
    enabled: bool = True
    recipients: tuple[str, ...] = ()
    container: str = ""
    caution: str = ""
    hands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Belongings:
    """Everything of one account that lets somebody in or works in their name, read now. None: there is no account.

    The account's entitlements include kinds that no policy and no catalogue has: session, api key, token, password,
    remembered logins, sign-on. By their keys: `labels` in words, `until` when one ends by itself, `kept` why one is
    left as it is on purpose (those are no entitlements of the account). A part that our rights do not show is `unseen`,
    never empty.
    """

    account: Account | None
    labels: Mapping[str, str] = field(default_factory=dict)
    unseen: tuple[Unseen, ...] = ()
    until: Mapping[str, dt.datetime] = field(default_factory=dict)
    heirlooms: tuple[Heirloom, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)


class Target(Protocol):
    """A connector whose accounts and entitlements are governed. It raises the errors of `worker.errors` only."""

    name: str
    type: str
    sweeps: int
    """Of how many accounts at most one observation reads the own values of attributes; 0 where there are none."""

    def instance(self) -> Instance: ...

    def probe(self) -> Iterable[Notice]:
        """What our credentials may do, and which vendor settings will fight us. Cheap: a handful of calls."""
        ...

    def parts(self, asked: Asked = Asked()) -> Sequence[Part]:
        """What a whole observation begins with: all accounts, direct entitlements, the catalogue. Pure. All parts
        together make at most as many calls as there are pages, roles, groups and attributes asked for."""
        ...

    def sweep(self, accounts: Sequence[str], attributes: Sequence[str]) -> Sequence[Part]:
        """What reads these accounts' own values of attributes, by their ids; for what is read by account only. Pure."""
        ...

    def read(self, part: Part) -> Piece:
        """One part: whole, or it raises. Any worker may do it, and do it twice."""
        ...

    def finish(self, whole: Whole) -> Piece:
        """As a source's."""
        ...

    def account(self, id: str) -> Account | None:
        """One account, whole, read now; None when it does not exist."""
        ...

    def belongings(self, account_id: str, *, company: Collection[str] = (), heirlooms: bool = True) -> Belongings:
        """One account as deep as the vendor shows it. `company` are the company's mail domains: what goes elsewhere is
        not handed over by itself.

        With `heirlooms` it is the look before a lock-out, which waits for nothing: a part that cannot be read just now
        is unseen. Without, what works for others is not read, and what cannot be read just now is an error.
        """
        ...

    def accounts_of(self, keys: Mapping[str, str]) -> Sequence[Account]:
        """Accounts that have this "login" or "email" now, whatever its case, disabled ones too, in the order of their
        ids. As lists show them: what they hold, and whether they administer, is in their belongings."""
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

    def hand_over(self, account_id: str, heirloom: Heirloom, heir_account_id: str, *, approved: bool = False) -> Step:
        """The step that gives an account's heirloom to another account, working as it was when it was read. Pure.

        Raises Refused where its `caution` says no and nobody has `approved` it, and where the vendor has no such step.
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
