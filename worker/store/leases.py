"""The right to act on an account: one holder at a time, and only until it expires. And the right to be alone at
something that one transaction does from its beginning to its end.

Expiry is set and judged by the database's clock, so a host whose clock is wrong neither steals a lease nor keeps one.
Vendors check no fence. Whoever lost a lease finds out here, in the transaction that records the next step, and a call
is only started when its time-out fits into what is left (`ends`).
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, replace

from sqlalchemy import text
from sqlmodel import Session

from worker.errors import Lost
from worker.store.owners import certainly_dead

_NOTHING = dt.timedelta(0)


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that we hold. Each holder of a name has a higher `fence` than all before it. `ends` is a moment of our
    own time.monotonic(), never later than the one at which the database lets it expire."""

    name: str
    owner: str
    fence: int
    ends: float


def take(session: Session, name: str, owner: str, ttl: dt.timedelta) -> Held | None:
    """Take a lease that is free, expired, or of a process that has certainly died; None while anybody else holds it,
    ourselves included."""
    holder = session.execute(text("SELECT owner, fence FROM lease WHERE name = :name"), {"name": name}).one_or_none()
    if holder is not None and certainly_dead(holder.owner):
        release(session, Held(name, holder.owner, holder.fence, 0))
    began = time.monotonic()
    taken = session.execute(
        text(
            "INSERT INTO lease (name, owner, fence, expires_at)"
            " VALUES (:name, :owner, 1, clock_timestamp() + CAST(:ttl AS interval))"
            " ON CONFLICT (name) DO UPDATE SET owner = :owner, fence = lease.fence + 1,"
            " expires_at = clock_timestamp() + CAST(:ttl AS interval)"
            " WHERE lease.expires_at <= clock_timestamp() RETURNING fence"
        ),
        {"name": name, "owner": owner, "ttl": ttl},
    ).one_or_none()
    return Held(name, owner, taken.fence, began + ttl.total_seconds()) if taken else None


def renew(session: Session, held: Held, ttl: dt.timedelta) -> Held:
    """Hold it for longer. Raises Lost when it was lost or has expired; never shortens it."""
    check(session, held)
    began = time.monotonic()
    session.execute(
        text(
            "UPDATE lease SET expires_at = greatest(expires_at, clock_timestamp() + CAST(:ttl AS interval))"
            " WHERE name = :name"
        ),
        {"ttl": ttl, "name": held.name},
    )
    return replace(held, ends=max(held.ends, began + ttl.total_seconds()))


def check(session: Session, held: Held, needs: dt.timedelta = _NOTHING) -> None:
    """Lock the lease until this transaction ends. Raises Lost unless it is ours for `needs` longer."""
    left = _locked(session, held)
    if left <= needs:
        raise Lost(f"The lease on {held.name} ends too soon to go on ({max(left, _NOTHING).total_seconds():.0f} s).")


def still_ours(session: Session, held: Held) -> None:
    """Lock the lease until this transaction ends. Raises Lost when anybody has taken it since; that it has expired is
    no harm to what is only written down."""
    _locked(session, held)


def _locked(session: Session, held: Held) -> dt.timedelta:
    """How long the lease has left, once its row is ours; the clock is read when the wait for the row is over."""
    found = session.execute(
        text(
            "WITH row AS MATERIALIZED (SELECT owner, fence, expires_at FROM lease WHERE name = :name FOR UPDATE)"
            " SELECT owner, fence, expires_at - clock_timestamp() AS remains FROM row"
        ),
        {"name": held.name},
    ).one_or_none()
    if found is None or (found.owner, found.fence) != (held.owner, held.fence):
        raise Lost(f"The lease on {held.name} was lost to another worker; this one stops here.")
    remains: dt.timedelta = found.remains
    return remains


def release(session: Session, held: Held) -> None:
    """Give it back, if it is still ours; the row stays, so that fences only ever rise."""
    session.execute(
        text(
            "UPDATE lease SET owner = '', expires_at = 'epoch' WHERE name = :name AND owner = :owner AND fence = :fence"
        ),
        {"name": held.name, "owner": held.owner, "fence": held.fence},
    )


def let_go(session: Session, owner: str) -> None:
    """Give back whatever this owner still holds. Only for one who is at nothing at all."""
    session.execute(text("UPDATE lease SET owner = '', expires_at = 'epoch' WHERE owner = :owner"), {"owner": owner})


def alone(session: Session, name: str) -> bool:
    """Whether this transaction is the only one at it, until it ends; for what calls no vendor, since it needs no fence.
    Nothing is left to wait for when its process dies: the database ends the transaction."""
    return bool(
        session.scalars(text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name}).one()
    )


def turn(session: Session, name: str) -> None:
    """Wait for our turn at something that is counted first and then added to; it lasts until the transaction ends."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
