"""What is recorded: the chain."""

import datetime as dt
import uuid

from sqlalchemy import BigInteger, LargeBinary
from sqlmodel import Field, SQLModel

from worker.store.tables.columns import when

# No `from __future__ import annotations`: SQLModel reads the annotations when the class is made.


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
    at: dt.datetime = when()


class Personal(SQLModel, table=True):
    """A personal value that an entry commits to; erasing the row forgets it and leaves the chain whole."""

    __tablename__ = "personal"

    commitment: str = Field(primary_key=True)
    person_id: uuid.UUID | None = Field(default=None, index=True)
    salt: str
    value: str
