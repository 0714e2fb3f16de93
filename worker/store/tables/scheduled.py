"""What runs by itself: what is due, what was told, what the vendors were asked."""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import BigInteger, Index, text
from sqlmodel import Field, SQLModel

from worker.store.tables.columns import as_json, when

# No `from __future__ import annotations`: SQLModel reads the annotations when the class is made.


class JobRow(SQLModel, table=True):
    """One slot of one job of the schedule ("pull okta" of 12:15): waiting, running, done or failed. Two beats that
    tick at once make one row."""

    __tablename__ = "job"
    __table_args__ = (Index("job_unfinished", "name", postgresql_where=text("state IN ('waiting', 'running')")),)

    name: str = Field(primary_key=True)
    slot: dt.datetime = when(primary=True)
    state: str = "waiting"
    attempts: int = 0
    not_before: dt.datetime = when()
    owner: str = ""
    claimed_until: dt.datetime | None = when(null=True)
    subject: uuid.UUID | None = None  # the snapshot or run that it made
    progress: dict[str, Any] = as_json()
    failure: str = ""
    started_at: dt.datetime | None = when(null=True)
    finished_at: dt.datetime | None = when(null=True)


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
    told: dict[str, Any] = as_json()
    noticed_at: dt.datetime = when()
    sent_at: dt.datetime | None = when(null=True)


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
    at: dt.datetime = when()
    away: str = ""
    noticed_at: dt.datetime | None = when(null=True)
