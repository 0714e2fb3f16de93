"""What was read: snapshots, and a mirror whose rows say from when to when they were true."""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import ARRAY, Column, Index, Table, Text, Uuid, text
from sqlmodel import Field, SQLModel

from worker.store.tables.columns import NOW_VALID, as_json, when

# No `from __future__ import annotations`: SQLModel reads the annotations when the class is made.


class Snapshot(SQLModel, table=True):
    """One whole read of a connector. Only a certified one becomes current, and one per connector is."""

    __tablename__ = "snapshot"
    __table_args__ = (Index("snapshot_current", "connector", unique=True, postgresql_where=text("current")),)

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    connector: str = Field(index=True)
    started_at: dt.datetime = when()
    certified_at: dt.datetime | None = when(null=True)
    current: bool = False
    counts: dict[str, Any] = as_json()
    checks: dict[str, Any] = as_json()
    failure: str = ""


class IdentityRow(SQLModel, table=True):
    """A person at a source. `attributes` are erased when the person is forgotten."""

    __tablename__ = "identity"
    __table_args__ = (Index("identity_now", "source", "id", unique=True, postgresql_where=NOW_VALID),)

    source: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    valid_from: dt.datetime = when(primary=True)
    valid_to: dt.datetime | None = when(null=True)
    standing: str
    status: str
    login: str
    email: str
    attributes: dict[str, Any] = as_json()
    problem: str = ""


class SourceGroupRow(SQLModel, table=True):
    """A group at a source."""

    __tablename__ = "source_group"
    __table_args__ = (Index("source_group_now", "source", "id", unique=True, postgresql_where=NOW_VALID),)

    source: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    valid_from: dt.datetime = when(primary=True)
    valid_to: dt.datetime | None = when(null=True)
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
    valid_from: dt.datetime = when(primary=True)
    valid_to: dt.datetime | None = when(null=True)


class NestingRow(SQLModel, table=True):
    """A group that is directly in another one, at a source."""

    __tablename__ = "nesting"
    __table_args__ = (Index("nesting_now", "source", "group_id", "child_id", unique=True, postgresql_where=NOW_VALID),)

    source: str = Field(primary_key=True)
    group_id: str = Field(primary_key=True)
    child_id: str = Field(primary_key=True)
    valid_from: dt.datetime = when(primary=True)
    valid_to: dt.datetime | None = when(null=True)


class AccountRow(SQLModel, table=True):
    """An account in a target."""

    __tablename__ = "account"
    __table_args__ = (Index("account_now", "target", "id", unique=True, postgresql_where=NOW_VALID),)

    target: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    valid_from: dt.datetime = when(primary=True)
    valid_to: dt.datetime | None = when(null=True)
    login: str
    email: str
    active: bool
    profile: dict[str, Any] = as_json()
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
    valid_from: dt.datetime = when(primary=True)
    valid_to: dt.datetime | None = when(null=True)


class CatalogueRow(SQLModel, table=True):
    """A role, group, scope or attribute that a target can grant; `definition` is an attribute's, else empty."""

    __tablename__ = "catalogue_item"
    __table_args__ = (Index("catalogue_item_now", "target", "kind", "id", unique=True, postgresql_where=NOW_VALID),)

    target: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    valid_from: dt.datetime = when(primary=True)
    valid_to: dt.datetime | None = when(null=True)
    name: str
    privileged: bool = False
    closed: str = ""
    definition: dict[str, Any] = as_json()


class AttributeRead(SQLModel, table=True):
    """When an account's own value of an attribute was read last. Without a row nothing is known of it; with one, the
    holdings have the value, or there is none."""

    __tablename__ = "attribute_read"

    target: str = Field(primary_key=True)
    account_id: str = Field(primary_key=True)
    attribute_id: str = Field(primary_key=True)
    read_at: dt.datetime = when()


def _staging(name: str, *columns: Column[Any]) -> Table:
    """Where one kind of row of a read waits until all of it is there: unlogged, so fast and gone after a crash."""
    of_read: Column[Any] = Column("snapshot_id", Uuid, nullable=False, index=True)
    return Table(f"staged_{name}", SQLModel.metadata, of_read, *columns, prefixes=["UNLOGGED"])


def _staged(row: type[SQLModel]) -> Table:
    mirrored: Table = row.__table__  # type: ignore[attr-defined]
    kept = [c for c in mirrored.columns if c.name not in ("source", "target", "valid_from", "valid_to")]
    # Which of two records of the same one is newer.
    stamp = [Column("stamp", Text, nullable=False)] if row in (IdentityRow, SourceGroupRow) else []
    return _staging(str(mirrored.name), *(Column(c.name, c.type, nullable=False) for c in kept), *stamp)


MIRRORED = (IdentityRow, SourceGroupRow, MembershipRow, NestingRow, AccountRow, HoldingRow, CatalogueRow)
STAGING = {row.__tablename__: _staged(row) for row in MIRRORED} | {
    # What a page says about an account that another page brings.
    "trait": _staging("trait", Column("account_id", Text, nullable=False), Column("trait", Text, nullable=False)),
    # Of which accounts the own value of an attribute was read.
    "valued": _staging(
        "valued", Column("account_id", Text, nullable=False), Column("attribute_id", Text, nullable=False)
    ),
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
    args: dict[str, Any] = as_json()
    state: str = "waiting"
    attempts: int = 0
    owner: str
    claimed_until: dt.datetime = when()
    failure: str = ""
    facts: dict[str, Any] = as_json()
