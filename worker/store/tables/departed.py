"""Who leaves: one row for each offboarding, and one for its part in each target."""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

from worker.store.tables.columns import as_json, when

# No `from __future__ import annotations`: SQLModel reads the annotations when the class is made.


class OffboardingRow(SQLModel, table=True):
    """One person's departure, from the first word of it to its receipt. `state`: asked, waiting (for a human; `why`
    says for what), working, closed, not confirmed, rejected, lifted. At most one of a person is open.

    `trigger` is operator, api, hook, schedule or watch. `decided_by` is the human who answers for it, `approved_by` the
    second one where limits asked for one. `batch` is how many people the same read saw depart.
    """

    __tablename__ = "offboarding"
    __table_args__ = (
        Index("offboarding_open", "person_id", unique=True, postgresql_where=text("closed_at IS NULL")),
        Index("offboarding_begun", "begun_at"),
        Index("offboarding_watched", "watch_until", postgresql_where=text("watch_until IS NOT NULL")),
    )

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    person_id: uuid.UUID = Field(index=True, foreign_key="person.id")
    trigger: str
    reason: str = ""
    actor: str
    forced: bool = False
    idempotency_key: str | None = Field(default=None, unique=True)
    batch: int = 1
    state: str = "asked"
    why: str = ""
    decided_by: str = ""
    approved_by: str = ""
    not_before: dt.datetime | None = when(null=True)
    source_event_at: dt.datetime | None = when(null=True)
    requested_at: dt.datetime = when()
    confirmed_at: dt.datetime | None = when(null=True)
    marked_at: dt.datetime | None = when(null=True)
    begun_at: dt.datetime | None = when(null=True)  # let through by the limits
    locked_at: dt.datetime | None = when(null=True)
    verified_at: dt.datetime | None = when(null=True)
    closed_at: dt.datetime | None = when(null=True)
    receipt: dict[str, Any] = as_json()
    watch_until: dt.datetime | None = when(null=True)
    watched_at: dt.datetime | None = when(null=True)


class OffboardingTarget(SQLModel, table=True):
    """An offboarding's part in one target: open, waiting or done. `record` is what was seen there and what became of
    it, account by account; `rounds` counts how often it was done and looked at again."""

    __tablename__ = "offboarding_target"

    offboarding_id: uuid.UUID = Field(primary_key=True, foreign_key="offboarding.id")
    target: str = Field(primary_key=True)
    state: str = "open"
    rounds: int = 0
    not_before: dt.datetime | None = when(null=True)
    failure: str = ""
    looked_at: dt.datetime | None = when(null=True)
    locked_at: dt.datetime | None = when(null=True)
    verified_at: dt.datetime | None = when(null=True)
    record: dict[str, Any] = as_json()
