"""What is done: runs, their changes, the steps of those, and who may act."""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Column, Index, Text, text
from sqlmodel import Field, SQLModel

from worker.store.tables.columns import as_json, when

# No `from __future__ import annotations`: SQLModel reads the annotations when the class is made.


class Run(SQLModel, table=True):
    """One pass over one target: planned, then applying where workers make it, then closed, interrupted or superseded.
    `not_before`: the vendor was not to be had; nobody goes on earlier. A run of an offboarding is about one person: it
    takes no other run's place, and is nobody's picture of the target."""

    __tablename__ = "run"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    target: str = Field(index=True)
    state: str
    actor: str
    reason: str
    policy_hash: str
    snapshots: dict[str, Any] = as_json()
    counts: dict[str, Any] = as_json()
    failure: str = ""
    started_at: dt.datetime = when()
    not_before: dt.datetime | None = when(null=True)
    closed_at: dt.datetime | None = when(null=True)
    offboarding_id: uuid.UUID | None = Field(default=None, index=True, foreign_key="offboarding.id")


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
    person_id: uuid.UUID | None = Field(default=None, index=True)
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
    why: dict[str, Any] = as_json()
    task: dict[str, Any] = as_json()
    decision_id: uuid.UUID | None = None


class StepRow(SQLModel, table=True):
    """One vendor mutation: committed as attempted before the call, its outcome after it."""

    __tablename__ = "step"
    __table_args__ = (
        Index("step_latest", "target", "attempted_at"),
        Index("step_of_person", "person_id", "attempted_at"),
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
    args: dict[str, Any] = as_json()
    change_ids: list[str] = Field(default_factory=list, sa_column=Column(ARRAY(Text), nullable=False))
    sentence: str
    outcome: str
    detail: str = ""
    before: str = ""
    after: str = ""
    request_id: str = ""
    owner: str
    fence: int = Field(sa_type=BigInteger)
    attempted_at: dt.datetime = when()
    finished_at: dt.datetime | None = when(null=True)


class Effect(SQLModel, table=True):
    """One change begun by a step that a limit counts (`tally`): what the last 24 hours have seen, whoever did it."""

    __tablename__ = "effect"
    __table_args__ = (Index("effect_recent", "target", "at"),)

    change_id: uuid.UUID = Field(primary_key=True)
    step_id: uuid.UUID = Field(index=True, foreign_key="step.id")
    target: str
    person_id: uuid.UUID | None = None
    tally: str
    at: dt.datetime = when()


class Lease(SQLModel, table=True):
    """The right to act on an account, until `expires_at`; each holder has a higher fence."""

    __tablename__ = "lease"

    name: str = Field(primary_key=True)
    owner: str
    fence: int = Field(sa_type=BigInteger)
    expires_at: dt.datetime = when()


class Pause(SQLModel, table=True):
    """While a row is here, nothing is sent to the vendors ("" is all of them)."""

    __tablename__ = "pause"

    connector: str = Field(primary_key=True)
    actor: str
    reason: str
    at: dt.datetime = when()
