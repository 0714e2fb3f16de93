"""What was decided: who is who, what is governed, what was agreed."""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

from worker.store.tables.columns import as_json, when

# No `from __future__ import annotations`: SQLModel reads the annotations when the class is made.


class PersonRow(SQLModel, table=True):
    """One human. `departure_marked_at` outlives every run: while it is set, nothing is granted, created or enabled.

    `departure_cause`: "source" (its word, which lifts it too), "forced" (a human's word, which holds whatever the
    source says), "asked" (the same while it waits for a second human). `gains_reviewed`: whatever this person would be
    given waits for a human, until one has said yes to any of it. `merged_into` is who they turned out to be; then
    everything of theirs is that person's, and what was written before still resolves.
    """

    __tablename__ = "person"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    created_at: dt.datetime = when()
    departure_marked_at: dt.datetime | None = when(null=True)
    departure_cause: str = ""
    gains_reviewed: bool = False
    merged_into: uuid.UUID | None = Field(default=None, index=True, foreign_key="person.id")


class PersonIdentity(SQLModel, table=True):
    """Which person an identity is. `key_used` joined it to them ("" for the one they began with); `missed` counts the
    whole reads in a row that had it neither in a list nor by id."""

    __tablename__ = "person_identity"

    source: str = Field(primary_key=True)
    identity_id: str = Field(primary_key=True)
    person_id: uuid.UUID = Field(index=True, foreign_key="person.id")
    since: dt.datetime = when()
    key_used: str = ""
    missed: int = 0


class Parting(SQLModel, table=True):
    """A human has said that an identity is not that person's: nothing joins the two by itself."""

    __tablename__ = "parting"

    source: str = Field(primary_key=True)
    identity_id: str = Field(primary_key=True)
    person_id: uuid.UUID = Field(primary_key=True, index=True, foreign_key="person.id")
    actor: str
    at: dt.datetime = when()


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
    at: dt.datetime = when()


class Pin(SQLModel, table=True):
    """The installation behind a connector's URL, as first seen. Another one is refused."""

    __tablename__ = "pin"

    connector: str = Field(primary_key=True)
    instance_id: str
    own_account: str
    pinned_at: dt.datetime = when()
    actor: str


class GroupBinding(SQLModel, table=True):
    """A source group's name in the policy, bound to the id it had at first use."""

    __tablename__ = "group_binding"

    source: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    group_id: str
    bound_at: dt.datetime = when()


class Governed(SQLModel, table=True):
    """An entitlement that the policy names, or has named and not released. `name` is what the policy called it."""

    __tablename__ = "governed"

    target: str = Field(primary_key=True)
    entitlement: str = Field(primary_key=True)
    name: str
    named_since: dt.datetime = when()
    left_at: dt.datetime | None = when(null=True)
    released_at: dt.datetime | None = when(null=True)


class PolicySeen(SQLModel, table=True):
    """Each settings file that a run has used, by the hash of all of it; `policy` is that of what decisions rest on.
    `current` is the last one."""

    __tablename__ = "policy_seen"

    hash: str = Field(primary_key=True)
    policy: str
    first_seen_at: dt.datetime = when()
    actor: str
    current: bool = False


class Baseline(SQLModel, table=True):
    """Somebody looked at a connector's counts and accepted them; without it nothing is taken away."""

    __tablename__ = "baseline"

    connector: str = Field(primary_key=True)
    snapshot_id: uuid.UUID
    counts: dict[str, Any] = as_json()
    actor: str
    accepted_at: dt.datetime = when()


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
    opened_at: dt.datetime = when()
    last_seen_at: dt.datetime = when()
    closed_at: dt.datetime | None = when(null=True)


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
    at: dt.datetime = when()
    expires_at: dt.datetime = when()
    used_at: dt.datetime | None = when(null=True)


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
    at: dt.datetime = when()
    until: dt.datetime = when()
    ended_at: dt.datetime | None = when(null=True)
