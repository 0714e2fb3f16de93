"""Forgetting a person: what Trueup knows of somebody who has left is erased, and that it was done is recorded.

What stays are ids that mean nothing outside Trueup and the vendors, and the audit chain, which verifies as before.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from worker.core.audit import ERASED
from worker.errors import Refused
from worker.store import chain, people


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased: personal values of the audit trail, and rows of everything else. `shown_by` are the sources
    and targets that still show the person: what they show stays until they stop."""

    values: int
    rows: int
    shown_by: tuple[str, ...]


def forget(session: Session, person_id: str, actor: str, at: dt.datetime) -> Forgotten:
    """Erase what is over, also of whom they were taken for before. Raises Refused while the person is there, or
    something about them is still to be done."""
    taken_for = people.everyone_once(session, person_id)
    who = {
        "people": [uuid.UUID(p) for p in taken_for],
        "erased": ERASED,
        "nothing": '{"fields": {}, "hands": [], "account": {}}',
    }
    for words, condition in _TOO_EARLY.items():
        if session.scalars(text(f"SELECT EXISTS ({condition})"), who).one():
            raise Refused(f"This person cannot be forgotten yet: {words}.")
    rows = sum(len(session.execute(text(f"{statement} RETURNING 1"), who).all()) for statement in _ERASING)
    shown_by = tuple(session.scalars(text(_SHOWN_BY), who))
    values = sum(chain.forget(session, person, actor, at) for person in taken_for)
    return Forgotten(values, rows, shown_by)


_IDENTITIES = "SELECT source, identity_id FROM person_identity WHERE person_id = ANY(:people)"
_ACCOUNTS = "SELECT target, account_id FROM link WHERE person_id = ANY(:people)"
_EPISODES = "SELECT id FROM episode WHERE person_id = ANY(:people)"

_TOO_EARLY = {
    "they have not left, and the next read would bring everything back": (
        f"SELECT 1 FROM identity WHERE (source, id) IN ({_IDENTITIES}) AND valid_to IS NULL AND standing <> 'departed'"
    ),
    "one of their accounts is still active; `trueup plan` says what is to be done with it": (
        f"SELECT 1 FROM account WHERE (target, id) IN ({_ACCOUNTS} AND state = 'linked')"
        " AND valid_to IS NULL AND active"
    ),
    "something about them still stands open; `trueup review list` shows it": (
        "SELECT 1 FROM episode WHERE person_id = ANY(:people) AND closed_at IS NULL"
    ),
    "their offboarding is under way; `trueup receipt` says how far it is": (
        "SELECT 1 FROM offboarding WHERE person_id = ANY(:people) AND closed_at IS NULL"
    ),
    "a step on one of their accounts has no known outcome yet; the next `trueup apply` finds it out": (
        "SELECT 1 FROM step WHERE person_id = ANY(:people) AND outcome IN ('attempted', 'unknown')"
    ),
}

_ERASING = (
    "UPDATE identity SET login = '', email = '', attributes = '{}', problem = ''"
    f" WHERE (source, id) IN ({_IDENTITIES}) AND valid_to IS NOT NULL",
    "UPDATE account SET login = '', email = '', profile = '{}'"
    f" WHERE (target, id) IN ({_ACCOUNTS}) AND valid_to IS NOT NULL",
    "DELETE FROM holding WHERE entitlement LIKE 'attribute:%'"
    f" AND (target, account_id) IN ({_ACCOUNTS}) AND valid_to IS NOT NULL",
    "UPDATE change SET sentence = :erased, before = '', after = '', task = CAST(:nothing AS jsonb)"
    " WHERE person_id = ANY(:people)",
    "UPDATE step SET sentence = :erased, args = '{}', detail = '', before = '', after = ''"
    " WHERE person_id = ANY(:people)",
    "UPDATE episode SET sentence = :erased WHERE person_id = ANY(:people)",
    "UPDATE offboarding SET reason = '', why = '', receipt = '{}', watch_until = NULL WHERE person_id = ANY(:people)",
    "UPDATE offboarding_target SET record = '{}', failure = ''"
    " WHERE offboarding_id IN (SELECT id FROM offboarding WHERE person_id = ANY(:people))",
    "UPDATE notice SET sentence = '' WHERE person_id = ANY(:people) AND sentence <> ''",
    f"UPDATE decision SET note = '' WHERE episode_id IN ({_EPISODES})",
    f"UPDATE waiver SET note = '' WHERE (target, account_id) IN ({_ACCOUNTS})",
)

_SHOWN_BY = f"""
SELECT source FROM identity WHERE (source, id) IN ({_IDENTITIES}) AND valid_to IS NULL
UNION
SELECT target FROM account WHERE (target, id) IN ({_ACCOUNTS}) AND valid_to IS NULL
ORDER BY 1
"""
