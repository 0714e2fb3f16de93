"""Canaries: people, groups and accounts that every whole read shows."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import text
from sqlmodel import Session

# What is staged, under every name that a canary may have been written by.
_STAGED_NAMES = {
    "people": "SELECT lower(unnest(ARRAY[login, email, id])) FROM staged_identity WHERE snapshot_id = :snapshot",
    "groups": "SELECT unnest(ARRAY[name, id]) FROM staged_source_group WHERE snapshot_id = :snapshot",
    "accounts": "SELECT lower(unnest(ARRAY[login, email, id])) FROM staged_account WHERE snapshot_id = :snapshot",
}


def unseen(
    session: Session,
    snapshot_id: uuid.UUID,
    *,
    people: Sequence[str] = (),
    groups: Sequence[str] = (),
    accounts: Sequence[str] = (),
) -> list[str]:
    """Those of the given names that a staged read does not show. Letter case counts for groups only."""
    missing: list[str] = []
    for kind, wanted in {"people": people, "groups": groups, "accounts": accounts}.items():
        names = {name if kind == "groups" else name.lower(): name for name in wanted}
        if names:
            seen = session.scalars(
                text(f"SELECT DISTINCT n FROM ({_STAGED_NAMES[kind]}) AS staged(n) WHERE n = ANY(:names)"),
                {"snapshot": snapshot_id, "names": list(names)},
            ).all()
            missing += [name for key, name in names.items() if key not in set(seen)]
    return missing
