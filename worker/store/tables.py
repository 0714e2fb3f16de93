"""Every table of Trueup on one page, in the order of the straight line: read, decide, do, record."""

# No `from __future__ import annotations`: SQLModel reads the annotations when the class is made.

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Column, DateTime, Index, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

NOW_VALID = text("valid_to IS NULL")


def _when(*, null: bool = False, primary: bool = False, default: Any = ...) -> Any:
    if null:
        return Field(default=None, sa_type=DateTime(timezone=True), nullable=True)
    return Field(default=default, sa_type=DateTime(timezone=True), primary_key=primary, nullable=False)


def _json() -> Any:
    return Field(default_factory=dict, sa_type=JSONB, nullable=False)


# --- read: snapshots, and a mirror whose rows say from when to when they were true -----------------------------------


class Snapshot(SQLModel, table=True):
    """One whole read of a connector. Only a certified one becomes current, and one per connector is."""

    __tablename__ = "snapshot"
    __table_args__ = (Index("snapshot_current", "connector", unique=True, postgresql_where=text("current")),)

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    connector: str = Field(index=True)
    started_at: dt.datetime = _when()
    certified_at: dt.datetime | None = _when(null=True)
    current: bool = False
    counts: dict[str, Any] = _json()
    checks: dict[str, Any] = _json()
    failure: str = ""


class IdentityRow(SQLModel, table=True):
    """A person at a source. `attributes` are erased when the person is forgotten."""

    __tablename__ = "identity"
    __table_args__ = (Index("identity_now", "source", "id", unique=True, postgresql_where=NOW_VALID),)

    source: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    valid_from: dt.datetime = _when(primary=True)
    valid_to: dt.datetime | None = _when(null=True)
    standing: str
    status: str
    login: str
    email: str
    attributes: dict[str, Any] = _json()
    problem: str = ""


class SourceGroupRow(SQLModel, table=True):
    """A group at a source."""

    __tablename__ = "source_group"
    __table_args__ = (Index("source_group_now", "source", "id", unique=True, postgresql_where=NOW_VALID),)

    source: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    valid_from: dt.datetime = _when(primary=True)
    valid_to: dt.datetime | None = _when(null=True)
    name: str
    type: str
    members: int
    problem: str = ""


class MembershipRow(SQLModel, table=True):
    """A direct membership at a source."""

    __tablename__ = "membership"
    __table_args__ = (
        Index("membership_now", "source", "identity_id", "group_id", unique=True, postgresql_where=NOW_VALID),
    )

    source: str = Field(primary_key=True)
    group_id: str = Field(primary_key=True)
    identity_id: str = Field(primary_key=True)
    valid_from: dt.datetime = _when(primary=True)
    valid_to: dt.datetime | None = _when(null=True)


class AccountRow(SQLModel, table=True):
    """An account in a target."""

    __tablename__ = "account"
    __table_args__ = (Index("account_now", "target", "id", unique=True, postgresql_where=NOW_VALID),)

    target: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    valid_from: dt.datetime = _when(primary=True)
    valid_to: dt.datetime | None = _when(null=True)
    login: str
    email: str
    active: bool
    profile: dict[str, Any] = _json()
    traits: list[str] = Field(default_factory=list, sa_column=Column(ARRAY(Text), nullable=False))


class HoldingRow(SQLModel, table=True):
    """A direct entitlement of an account; `entitlement` is its key."""

    __tablename__ = "holding"
    __table_args__ = (
        Index("holding_now", "target", "account_id", "entitlement", unique=True, postgresql_where=NOW_VALID),
    )

    target: str = Field(primary_key=True)
    account_id: str = Field(primary_key=True)
    entitlement: str = Field(primary_key=True)
    valid_from: dt.datetime = _when(primary=True)
    valid_to: dt.datetime | None = _when(null=True)


class CatalogueRow(SQLModel, table=True):
    """A role, group or scope that a target can grant."""

    __tablename__ = "catalogue_item"
    __table_args__ = (Index("catalogue_item_now", "target", "kind", "id", unique=True, postgresql_where=NOW_VALID),)

    target: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    valid_from: dt.datetime = _when(primary=True)
    valid_to: dt.datetime | None = _when(null=True)
    name: str
    privileged: bool = False
    closed: str = ""


def _staging(name: str, *columns: Column[Any]) -> Table:
    """Where one kind of row of a read waits until all of it is there: unlogged, so fast and gone after a crash."""
    of_read: Column[Any] = Column("snapshot_id", Uuid, nullable=False, index=True)
    return Table(f"staged_{name}", SQLModel.metadata, of_read, *columns, prefixes=["UNLOGGED"])


def _staged(row: type[SQLModel]) -> Table:
    mirrored: Table = row.__table__  # type: ignore[attr-defined]
    kept = [c for c in mirrored.columns if c.name not in ("source", "target", "valid_from", "valid_to")]
    stamp = [Column("stamp", Text, nullable=False)] if row is IdentityRow else []  # when the source changed it last
    return _staging(str(mirrored.name), *(Column(c.name, c.type, nullable=False) for c in kept), *stamp)


MIRRORED = (IdentityRow, SourceGroupRow, MembershipRow, AccountRow, HoldingRow, CatalogueRow)
STAGING = {row.__tablename__: _staged(row) for row in MIRRORED} | {
    # What a page says about an account that another page brings.
    "trait": _staging("trait", Column("account_id", Text, nullable=False), Column("trait", Text, nullable=False)),
}


class PartRow(SQLModel, table=True):
    """A piece of a read that is under way: waiting, claimed or done. `facts` are what it found out that the end of the
    read needs to know. Until `claimed_until` its last owner counts as at work on the read."""

    __tablename__ = "part"
    __table_args__ = (Index("part_undone", "snapshot_id", "position", postgresql_where=text("state <> 'done'")),)

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    snapshot_id: uuid.UUID = Field(index=True, foreign_key="snapshot.id")
    position: int
    kind: str
    args: dict[str, Any] = _json()
    state: str = "waiting"
    attempts: int = 0
    owner: str
    claimed_until: dt.datetime = _when()
    failure: str = ""
    facts: dict[str, Any] = _json()


# --- decide: who is who, what is governed, what was agreed -----------------------------------------------------------


class PersonRow(SQLModel, table=True):
    """One human. `departure_marked_at` outlives every run: while it is set, nothing is granted, created or enabled."""

    __tablename__ = "person"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    created_at: dt.datetime = _when()
    departure_marked_at: dt.datetime | None = _when(null=True)
    departure_cause: str = ""


class PersonIdentity(SQLModel, table=True):
    """Which person an identity is."""

    __tablename__ = "person_identity"

    source: str = Field(primary_key=True)
    identity_id: str = Field(primary_key=True)
    person_id: uuid.UUID = Field(index=True, foreign_key="person.id")
    since: dt.datetime = _when()


class Link(SQLModel, table=True):
    """Which account belongs to whom. One row per account for ever: an unlinked one is a tombstone, never re-linked by
    itself. `rank` is primary or secondary; `state` is linked or unlinked."""

    __tablename__ = "link"

    target: str = Field(primary_key=True)
    account_id: str = Field(primary_key=True)
    person_id: uuid.UUID = Field(index=True, foreign_key="person.id")
    rank: str
    state: str
    key_used: str
    actor: str
    at: dt.datetime = _when()


class Pin(SQLModel, table=True):
    """The installation behind a connector's URL, as first seen. Another one is refused."""

    __tablename__ = "pin"

    connector: str = Field(primary_key=True)
    instance_id: str
    own_account: str
    pinned_at: dt.datetime = _when()
    actor: str


class GroupBinding(SQLModel, table=True):
    """A source group's name in the policy, bound to the id it had at first use."""

    __tablename__ = "group_binding"

    source: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    group_id: str
    bound_at: dt.datetime = _when()


class Governed(SQLModel, table=True):
    """An entitlement that the policy names, or has named and not released. `name` is what the policy called it."""

    __tablename__ = "governed"

    target: str = Field(primary_key=True)
    entitlement: str = Field(primary_key=True)
    name: str
    named_since: dt.datetime = _when()
    left_at: dt.datetime | None = _when(null=True)
    released_at: dt.datetime | None = _when(null=True)


class PolicySeen(SQLModel, table=True):
    """Each settings file that a run has used, by the hash of all of it; `policy` is that of what decisions rest on.
    `current` is the last one."""

    __tablename__ = "policy_seen"

    hash: str = Field(primary_key=True)
    policy: str
    first_seen_at: dt.datetime = _when()
    actor: str
    current: bool = False


class Baseline(SQLModel, table=True):
    """Somebody looked at a connector's counts and accepted them; without it nothing is taken away."""

    __tablename__ = "baseline"

    connector: str = Field(primary_key=True)
    snapshot_id: uuid.UUID
    counts: dict[str, Any] = _json()
    actor: str
    accepted_at: dt.datetime = _when()


class Episode(SQLModel, table=True):
    """One drift from its appearance to its end. If it comes back, that is a new episode; old approvals are void.

    `sentence` and `urgent` are those of the last run that saw it.
    """

    __tablename__ = "episode"
    __table_args__ = (Index("episode_open", "drift_key", unique=True, postgresql_where=text("closed_at IS NULL")),)

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    drift_key: str
    target: str = Field(index=True)
    kind: str
    person_id: uuid.UUID | None = Field(default=None, index=True)
    account_id: str = ""
    entitlement: str = ""
    sentence: str = ""
    urgent: bool = False
    opened_at: dt.datetime = _when()
    last_seen_at: dt.datetime = _when()
    closed_at: dt.datetime | None = _when(null=True)


class Decision(SQLModel, table=True):
    """A human's yes or no to one exact change in one episode of its drift. Used once; void after `expires_at`."""

    __tablename__ = "decision"
    __table_args__ = (Index("decision_fingerprint", "fingerprint", "episode_id"),)

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    fingerprint: str
    episode_id: uuid.UUID
    verdict: str  # approved, rejected
    actor: str
    note: str = ""
    at: dt.datetime = _when()
    expires_at: dt.datetime = _when()
    used_at: dt.datetime | None = _when(null=True)


class Waiver(SQLModel, table=True):
    """Somebody accepts a drift until a date, in their name. It ends with a departure."""

    __tablename__ = "waiver"
    __table_args__ = (Index("waiver_of", "instance_id", "account_id", "entitlement", "kind"),)

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    instance_id: str
    target: str
    account_id: str
    entitlement: str
    kind: str
    owner: str
    actor: str
    note: str = ""
    at: dt.datetime = _when()
    until: dt.datetime = _when()
    ended_at: dt.datetime | None = _when(null=True)


# --- do: runs, their changes, the steps of those, and who may act ---------------------------------------------------


class Run(SQLModel, table=True):
    """One pass over one target: planned, then applying where workers make it, then closed, interrupted or superseded.
    `not_before`: the vendor was not to be had; nobody goes on earlier."""

    __tablename__ = "run"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    target: str = Field(index=True)
    state: str
    actor: str
    reason: str
    policy_hash: str
    snapshots: dict[str, Any] = _json()
    counts: dict[str, Any] = _json()
    failure: str = ""
    started_at: dt.datetime = _when()
    not_before: dt.datetime | None = _when(null=True)
    closed_at: dt.datetime | None = _when(null=True)


class ChangeRow(SQLModel, table=True):
    """One planned change. `state`: open, waiting (for a decision), withheld, manual, waived, rejected, then applied,
    already so, failed, refused, unknown or superseded. `why` holds rules, source event and approval."""

    __tablename__ = "change"
    __table_args__ = (Index("change_run", "run_id", "position"),)

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    run_id: uuid.UUID = Field(foreign_key="run.id")
    position: int
    target: str
    operation: str
    drift: str
    person_id: uuid.UUID | None = None
    account_id: str = ""
    entitlement: str = ""
    before: str = ""
    after: str = ""
    cause: str = ""
    fingerprint: str = Field(index=True)
    episode_id: uuid.UUID
    privileged: bool = False
    gate: str
    state: str
    withheld_by: str = ""
    sentence: str
    why: dict[str, Any] = _json()
    task: dict[str, Any] = _json()
    decision_id: uuid.UUID | None = None


class StepRow(SQLModel, table=True):
    """One vendor mutation: committed as attempted before the call, its outcome after it."""

    __tablename__ = "step"
    __table_args__ = (
        Index(
            "step_unsettled",
            "target",
            "account_id",
            postgresql_where=text("outcome IN ('attempted', 'unknown')"),
        ),
    )

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    run_id: uuid.UUID = Field(index=True, foreign_key="run.id")
    target: str
    account_id: str
    person_id: uuid.UUID | None = None
    position: int
    verb: str
    args: dict[str, Any] = _json()
    change_ids: list[str] = Field(default_factory=list, sa_column=Column(ARRAY(Text), nullable=False))
    sentence: str
    outcome: str
    detail: str = ""
    before: str = ""
    after: str = ""
    request_id: str = ""
    owner: str
    fence: int = Field(sa_type=BigInteger)
    attempted_at: dt.datetime = _when()
    finished_at: dt.datetime | None = _when(null=True)


class Effect(SQLModel, table=True):
    """One change begun by a step that a limit counts (`tally`): what the last 24 hours have seen, whoever did it."""

    __tablename__ = "effect"
    __table_args__ = (Index("effect_recent", "target", "at"),)

    change_id: uuid.UUID = Field(primary_key=True)
    step_id: uuid.UUID = Field(index=True, foreign_key="step.id")
    target: str
    person_id: uuid.UUID | None = None
    tally: str
    at: dt.datetime = _when()


class Lease(SQLModel, table=True):
    """The right to act on an account, until `expires_at`; each holder has a higher fence."""

    __tablename__ = "lease"

    name: str = Field(primary_key=True)
    owner: str
    fence: int = Field(sa_type=BigInteger)
    expires_at: dt.datetime = _when()


class Pause(SQLModel, table=True):
    """While a row is here, nothing is sent to the vendors ("" is all of them)."""

    __tablename__ = "pause"

    connector: str = Field(primary_key=True)
    actor: str
    reason: str
    at: dt.datetime = _when()


# --- run by itself: what is due, what was told, what the vendors were asked ------------------------------------------


class JobRow(SQLModel, table=True):
    """One slot of one job of the schedule ("pull okta" of 12:15): waiting, running, done or failed. Two beats that
    tick at once make one row."""

    __tablename__ = "job"
    __table_args__ = (Index("job_unfinished", "name", postgresql_where=text("state IN ('waiting', 'running')")),)

    name: str = Field(primary_key=True)
    slot: dt.datetime = _when(primary=True)
    state: str = "waiting"
    attempts: int = 0
    not_before: dt.datetime = _when()
    owner: str = ""
    claimed_until: dt.datetime | None = _when(null=True)
    subject: uuid.UUID | None = None  # the snapshot or run that it made
    progress: dict[str, Any] = _json()
    failure: str = ""
    started_at: dt.datetime | None = _when(null=True)
    finished_at: dt.datetime | None = _when(null=True)


class NoticeRow(SQLModel, table=True):
    """Something that people are told once: `key` says which thing of its kind. Unsent while `sent_at` is empty; `told`
    is who has it already, and since when. Once sent, the sentence is erased: it may name somebody."""

    __tablename__ = "notice"
    __table_args__ = (Index("notice_unsent", "noticed_at", postgresql_where=text("sent_at IS NULL")),)

    kind: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    sentence: str
    urgent: bool = False
    person_id: uuid.UUID | None = None
    told: dict[str, Any] = _json()
    noticed_at: dt.datetime = _when()
    sent_at: dt.datetime | None = _when(null=True)


class VendorUse(SQLModel, table=True):
    """How much a connector's vendor has been asked since ever, by every worker."""

    __tablename__ = "vendor_use"

    connector: str = Field(primary_key=True)
    calls: int = Field(default=0, sa_type=BigInteger)
    throttled: int = Field(default=0, sa_type=BigInteger)
    waited_seconds: float = 0.0


class Home(SQLModel, table=True):
    """Which database these books were last known to be in. In another one they were restored: nothing is applied until
    an operator has seen what differs. `away` says why they are not at home, "" when they are."""

    __tablename__ = "home"

    one: bool = Field(default=True, primary_key=True)
    identity: str
    actor: str
    at: dt.datetime = _when()
    away: str = ""
    noticed_at: dt.datetime | None = _when(null=True)


# --- record: the chain ---------------------------------------------------------------------------------------------


class Head(SQLModel, table=True):
    """The end of a stream: its last number and digest. Locked to append."""

    __tablename__ = "head"

    stream: str = Field(primary_key=True)
    number: int = Field(sa_type=BigInteger)
    digest: str


class Entry(SQLModel, table=True):
    """One link of the chain. `body` are the RFC 8785 bytes that `digest` covers. Inserted, never changed."""

    __tablename__ = "entry"

    stream: str = Field(primary_key=True)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    digest: str
    body: bytes = Field(sa_type=LargeBinary, nullable=False)
    kind: str = Field(index=True)
    run_id: uuid.UUID | None = Field(default=None, index=True)
    person_id: uuid.UUID | None = Field(default=None, index=True)
    at: dt.datetime = _when()


class Personal(SQLModel, table=True):
    """A personal value that an entry commits to; erasing the row forgets it and leaves the chain whole."""

    __tablename__ = "personal"

    commitment: str = Field(primary_key=True)
    person_id: uuid.UUID | None = Field(default=None, index=True)
    salt: str
    value: str
