"""What the policy has named so far: governed entitlements, groups bound to their ids, and the policy's own versions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from worker.core.identity import Entitlement
from worker.store import leases
from worker.store.tables import Governed, GroupBinding, PolicySeen


@dataclass(frozen=True, slots=True)
class Governance:
    """The governed entitlements of one target: all of them, those that have left the policy, and the bound names."""

    governed: frozenset[Entitlement]
    left: frozenset[Entitlement]
    bindings: Mapping[str, Entitlement]  # the policy's name -> what it meant when it was first named


def governance(session: Session, target: str) -> Governance:
    rows = session.exec(select(Governed).where(Governed.target == target, col(Governed.released_at).is_(None))).all()
    return Governance(
        frozenset(Entitlement.parse(r.entitlement) for r in rows),
        frozenset(Entitlement.parse(r.entitlement) for r in rows if r.left_at is not None),
        {r.name: Entitlement.parse(r.entitlement) for r in rows},
    )


@dataclass(frozen=True, slots=True)
class Turnover:
    """What a policy's change did to the governed entitlements of a target."""

    named: tuple[Entitlement, ...] = ()
    left: tuple[Entitlement, ...] = ()
    released: tuple[Entitlement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.named or self.left or self.released)


def govern(
    session: Session,
    target: str,
    named: Mapping[Entitlement, str],
    released: Collection[Entitlement],
    unresolved: Collection[str],
    now: dt.datetime,
) -> Turnover:
    """Record what the policy names now. What it no longer names stays governed until it is released.

    `unresolved` are names that the policy still writes and the target does not have now: those have not left.
    """
    known = session.exec(select(Governed).where(Governed.target == target))
    rows = {Entitlement.parse(row.entitlement): row for row in known}
    fresh, left, let_go = [], [], []
    for entitlement, name in named.items():
        row = rows.get(entitlement)
        if row is None:
            session.add(Governed(target=target, entitlement=entitlement.key, name=name, named_since=now))
            fresh.append(entitlement)
        elif row.left_at is not None or row.released_at is not None:
            row.left_at, row.released_at, row.name = None, None, name
            fresh.append(entitlement)
    for entitlement, row in rows.items():
        if entitlement in named or row.name in unresolved:
            continue
        if entitlement in released:
            if row.released_at is None:
                row.released_at = now
                let_go.append(entitlement)
        elif row.left_at is None:
            row.left_at = now
            left.append(entitlement)
        elif row.released_at is not None:
            row.released_at = None  # no longer listed under `released`
    session.flush()
    return Turnover(tuple(sorted(fresh)), tuple(sorted(left)), tuple(sorted(let_go)))


def group_bindings(session: Session) -> dict[tuple[str, str], str]:
    """(source, name in the policy) -> the group id it had at first use."""
    found = session.exec(select(GroupBinding).execution_options(populate_existing=True))
    return {(r.source, r.name): r.group_id for r in found}


def bind_groups(session: Session, new: Mapping[tuple[str, str], str], now: dt.datetime) -> None:
    """The names mean these groups from now on, whatever they meant before. Two plans may be the first at once."""
    rows = [{"source": s, "name": n, "group_id": id, "bound_at": now} for (s, n), id in sorted(new.items())]
    if rows:
        bind = insert(GroupBinding).values(rows)
        said = {"group_id": bind.excluded.group_id, "bound_at": bind.excluded.bound_at}
        session.connection().execute(bind.on_conflict_do_update(index_elements=["source", "name"], set_=said))


@dataclass(frozen=True, slots=True)
class Succession:
    """The settings that were in force until now, by their hashes; both are "" at the very first run."""

    settings: str
    policy: str


def see_settings(session: Session, settings: str, policy: str, actor: str, now: dt.datetime) -> Succession | None:
    """Make these the current settings. Returns what they follow when they have changed, None when not."""
    query = select(PolicySeen).where(col(PolicySeen.current)).with_for_update()
    if (current := session.exec(query).first()) is None:  # nobody's row to wait for at the very first run
        leases.turn(session, "settings")
        current = session.exec(query).first()
    if current is not None and current.hash == settings:
        return None
    session.connection().execute(update(PolicySeen).values(current=False))
    row = session.get(PolicySeen, settings)
    if row is None:
        session.add(PolicySeen(hash=settings, policy=policy, first_seen_at=now, actor=actor, current=True))
    else:
        session.refresh(row)
        row.current = True
    session.flush()
    return Succession(current.hash, current.policy) if current else Succession("", "")
