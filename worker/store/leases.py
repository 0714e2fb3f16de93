"""The right to act on an account: one holder at a time, and only until it expires. And the right to be alone at
something that one transaction does from its beginning to its end.

Vendors check no fence. Whoever lost a lease finds out here, in the transaction that records the next step, and a call
is only started when its time-out fits into what is left (`needs`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

from sqlalchemy import text
from sqlmodel import Session

from worker.errors import Refused
from worker.store.owners import certainly_dead


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that we hold. Each holder of a name has a higher `fence` than all before it."""

    name: str
    owner: str
    fence: int
    expires_at: dt.datetime


def take(session: Session, name: str, owner: str, now: dt.datetime, ttl: dt.timedelta) -> Held | None:
    """Take a lease that is free, expired, or of a process that has certainly died; None while anybody else holds it,
    ourselves included."""
    holder = session.execute(text("SELECT owner, fence FROM lease WHERE name = :name"), {"name": name}).one_or_none()
    if holder is not None and certainly_dead(holder.owner):
        release(session, Held(name, holder.owner, holder.fence, now))
    taken = session.execute(
        text(
            "INSERT INTO lease (name, owner, fence, expires_at) VALUES (:name, :owner, 1, :until)"
            " ON CONFLICT (name) DO UPDATE SET owner = :owner, fence = lease.fence + 1, expires_at = :until"
            " WHERE lease.expires_at <= :now RETURNING fence"
        ),
        {"name": name, "owner": owner, "until": now + ttl, "now": now},
    ).one_or_none()
    return Held(name, owner, taken.fence, now + ttl) if taken else None


def renew(session: Session, held: Held, now: dt.datetime, ttl: dt.timedelta) -> Held:
    """Hold it for longer. Raises Refused when it was lost or has expired; never shortens it."""
    check(session, held, now)
    until = max(held.expires_at, now + ttl)
    session.execute(
        text("UPDATE lease SET expires_at = :until WHERE name = :name"), {"until": until, "name": held.name}
    )
    return replace(held, expires_at=until)


def check(session: Session, held: Held, now: dt.datetime, needs: dt.timedelta = dt.timedelta(0)) -> None:
    """Lock the lease until this transaction ends. Raises Refused unless it is ours for `needs` longer."""
    found = session.execute(
        text("SELECT owner, fence, expires_at FROM lease WHERE name = :name FOR UPDATE"), {"name": held.name}
    ).one_or_none()
    if found is None or (found.owner, found.fence) != (held.owner, held.fence):
        raise Refused(f"The lease on {held.name} was lost to another worker; this one stops here.")
    if found.expires_at <= now + needs:
        raise Refused(f"The lease on {held.name} ends too soon to go on ({found.expires_at:%H:%M:%S} UTC).")


def release(session: Session, held: Held) -> None:
    """Give it back, if it is still ours; the row stays, so that fences only ever rise."""
    session.execute(
        text(
            "UPDATE lease SET owner = '', expires_at = 'epoch' WHERE name = :name AND owner = :owner AND fence = :fence"
        ),
        {"name": held.name, "owner": held.owner, "fence": held.fence},
    )


def alone(session: Session, name: str) -> bool:
    """Whether this transaction is the only one at it, until it ends; for what calls no vendor, since it needs no fence.
    Nothing is left to wait for when its process dies: the database ends the transaction."""
    return bool(
        session.scalars(text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name}).one()
    )


def turn(session: Session, name: str) -> None:
    """Wait for our turn at something that is counted first and then added to; it lasts until the transaction ends."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
