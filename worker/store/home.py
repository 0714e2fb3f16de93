"""Which database these books are in, and what it takes to notice that they were put back to an earlier state."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from worker.core.audit import MAIN
from worker.store.tables import Home

# A restored dump has other objects, a restored copy another cluster or timeline. A copy of the files that is put back
# where it was made has neither: only a witness outside sees that.
_IDENTITY = """
SELECT concat_ws('/',
    CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
         THEN (SELECT system_identifier::text FROM pg_control_system()) END,
    CASE WHEN has_function_privilege('pg_control_checkpoint()', 'EXECUTE')
         THEN 'timeline ' || (SELECT timeline_id FROM pg_control_checkpoint()) END,
    'database ' || (SELECT oid FROM pg_database WHERE datname = current_database()),
    'table ' || 'entry'::regclass::oid::bigint)
"""


@dataclass(frozen=True, slots=True)
class End:
    """The last entry of the trail."""

    number: int
    digest: str


def identity(session: Session) -> str:
    return str(session.scalars(text(_IDENTITY)).one())


def stay(session: Session, actor: str, now: dt.datetime) -> Home:
    """Where the books are known to be; where they are now, when nobody has asked before."""
    found = session.get(Home, True)
    if found is not None:
        return found
    session.execute(
        text(
            "INSERT INTO home (one, identity, actor, at, away) VALUES (true, :identity, :actor, :now, '')"
            " ON CONFLICT DO NOTHING"
        ),
        {"identity": identity(session), "actor": actor, "now": now},
    )
    return session.get_one(Home, True)


def leave(session: Session, why: str, now: dt.datetime) -> bool:
    """From now on the books are not at home; False when that was known."""
    statement = text("UPDATE home SET away = :why, noticed_at = :now WHERE away = '' RETURNING one")
    return session.execute(statement, {"why": why, "now": now}).one_or_none() is not None


def come_home(session: Session, actor: str, now: dt.datetime) -> None:
    """This is where the books are."""
    session.execute(
        text("UPDATE home SET identity = :identity, actor = :actor, at = :now, away = '', noticed_at = NULL"),
        {"identity": identity(session), "actor": actor, "now": now},
    )


def name(session: Session) -> str:
    """What tells these books from all others, and not from an earlier state of them: their first entry's digest. ""
    before there is one."""
    return digest_of(session, 1)


def digest_of(session: Session, number: int) -> str:
    """Of an entry; "" when there is none of this number."""
    found = session.scalars(
        text("SELECT digest FROM entry WHERE stream = :stream AND number = :number"),
        {"stream": MAIN, "number": number},
    ).one_or_none()
    return found or ""


def end(session: Session) -> End:
    found = session.execute(text("SELECT number, digest FROM head WHERE stream = :stream"), {"stream": MAIN}).one()
    return End(found.number, found.digest)


def void_what_hung_on_it(session: Session, now: dt.datetime) -> tuple[int, int]:
    """Baselines, and approvals that may have been used since the backup was made: how many of each."""
    baselines = session.execute(text("DELETE FROM baseline RETURNING 1")).all()
    approvals = session.execute(
        text("UPDATE decision SET expires_at = :now WHERE used_at IS NULL AND expires_at > :now RETURNING 1"),
        {"now": now},
    ).all()
    return len(baselines), len(approvals)


# --- what differs ----------------------------------------------------------------------------------------------------

_TOLD_BY = {
    "is linked to a person, and is not there": """
        SELECT l.account_id, coalesce(last.login, '') FROM link l
        LEFT JOIN LATERAL (SELECT login FROM account a WHERE a.target = l.target AND a.id = l.account_id
                           ORDER BY valid_from DESC LIMIT 1) last ON true
        WHERE l.target = :target AND l.state = 'linked' AND NOT EXISTS (
            SELECT 1 FROM account a WHERE a.target = l.target AND a.id = l.account_id AND a.valid_to IS NULL)
    """,
    "was not in these books": """
        SELECT a.id, a.login FROM account a WHERE a.target = :target AND a.valid_to IS NULL AND a.valid_from >= :since
        AND NOT EXISTS (SELECT 1 FROM account b WHERE b.target = a.target AND b.id = a.id AND b.valid_from < :since)
    """,
    "was in these books, and is gone": """
        SELECT a.id, a.login FROM account a WHERE a.target = :target AND a.valid_to >= :since AND a.valid_from < :since
        AND NOT EXISTS (SELECT 1 FROM account b WHERE b.target = a.target AND b.id = a.id AND b.valid_to IS NULL)
    """,
    "is not as it was in these books": """
        SELECT a.id, a.login FROM account a WHERE a.target = :target AND a.valid_to IS NULL AND a.valid_from >= :since
        AND EXISTS (SELECT 1 FROM account b WHERE b.target = a.target AND b.id = a.id AND b.valid_from < :since)
    """,
    "holds more than it did in these books": """
        SELECT DISTINCT a.id, a.login FROM holding h JOIN account a
            ON a.target = h.target AND a.id = h.account_id AND a.valid_to IS NULL
        WHERE h.target = :target AND h.valid_to IS NULL AND h.valid_from >= :since
        AND EXISTS (SELECT 1 FROM account b WHERE b.target = a.target AND b.id = a.id AND b.valid_from < :since)
    """,
    "no longer holds all that it did in these books": """
        SELECT DISTINCT a.id, a.login FROM holding h JOIN account a
            ON a.target = h.target AND a.id = h.account_id AND a.valid_to IS NULL
        WHERE h.target = :target AND h.valid_to >= :since AND h.valid_from < :since
    """,
}


def differences(session: Session, target: str, since: dt.datetime) -> dict[str, list[tuple[str, str]]]:
    """(account id, login) by what is to be said of it, between the last read in the books and those since."""
    which = {"target": target, "since": since}
    return {
        words: [(id, login) for id, login in session.execute(text(f"{query} ORDER BY 1"), which)]
        for words, query in _TOLD_BY.items()
    }
