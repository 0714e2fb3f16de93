"""What others have told us or asked of us by HTTP, so that none of it counts twice; and where they are to tell us."""

import datetime as dt
import uuid

from sqlmodel import Field, SQLModel

from worker.store.tables.columns import when

# No `from __future__ import annotations`: SQLModel reads the annotations when the class is made.


class HintRow(SQLModel, table=True):
    """An event that a source's vendor has told us of, or a delivery of several, under the vendor's own id."""

    __tablename__ = "hint"

    source: str = Field(primary_key=True)
    event_id: str = Field(primary_key=True)
    said: str  # the vendor's word for what has happened
    event_at: dt.datetime = when()
    received_at: dt.datetime = when()


class ApiRequestRow(SQLModel, table=True):
    """A request that was carried out, under the key that its caller gave it: the same one again is the same answer."""

    __tablename__ = "api_request"

    caller: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    digest: str  # of what was asked
    offboarding_id: uuid.UUID
    at: dt.datetime = when()


class SubscriptionRow(SQLModel, table=True):
    """One standing order at a source's vendor to tell us of changes. `vendor_id` is "" while there is none, and
    `failure` then says why; `secret_digest` and `url` are of what it was made with."""

    __tablename__ = "subscription"

    source: str = Field(primary_key=True)
    resource: str = Field(primary_key=True)
    vendor_id: str = ""
    tenant: str = ""
    url: str = ""
    secret_digest: str = ""
    made_at: dt.datetime | None = when(null=True)
    expires_at: dt.datetime | None = when(null=True)
    renew_at: dt.datetime | None = when(null=True)
    failure: str = ""
    failed_at: dt.datetime | None = when(null=True)
