"""The audit chain in the database: entries are appended, read, verified, exported, and people in them forgotten.

The head row of a stream is locked from an append to the end of its transaction. So append last: after every other lock
(leases, changes), never before a call to a vendor, and in short transactions.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, TextIO

import psycopg
import rfc8785
from sqlalchemy import text
from sqlmodel import Session

from worker.core.audit import (
    ACTOR,
    ERASED,
    FORGOTTEN,
    MAIN,
    AuditEntry,
    Event,
    Links,
    Verdict,
    commitment,
    content,
    digest,
    is_kept,
    moment,
    plain,
)
from worker.errors import Refused
from worker.store.bulk import copied, streamed


def append(
    session: Session,
    *,
    kind: str,
    actor: str,
    at: dt.datetime,
    facts: Mapping[str, Any],
    personal: Mapping[str, str] | None = None,
    person_id: str | uuid.UUID | None = None,
    run_id: str | uuid.UUID | None = None,
    stream: str = MAIN,
) -> int:
    """Record one event and return its number. `facts` hold nothing personal, and no fraction (TypeError)."""
    event = Event(
        kind=kind,
        actor=actor,
        at=at,
        facts=facts,
        personal=personal or {},
        person_id=str(person_id) if person_id else None,
        run_id=str(run_id) if run_id else None,
    )
    return append_many(session, [event], stream)[0]


def append_many(session: Session, events: Sequence[Event], stream: str = MAIN) -> range:
    """Record events in their order, and return their numbers. The head stays locked until the transaction ends."""
    if not events:
        return range(0)
    session.flush()  # whatever else this transaction locks, it locks before the head
    number, previous = _locked_head(session, stream)
    entries: list[tuple[object, ...]] = []
    secrets_: list[tuple[object, ...]] = []
    for offset, event in enumerate(events, 1):
        commitments, kept = _committed(event)
        body = rfc8785.dumps(content(event, stream, number + offset, previous, commitments))
        previous = digest(body)
        entries.append((stream, number + offset, previous, body, event.kind, event.run_id, event.person_id, event.at))
        secrets_ += kept
    try:
        copied(session, "entry (stream, number, digest, body, kind, run_id, person_id, at)", entries)
    except psycopg.errors.UniqueViolation as error:
        raise Refused(
            f"The audit chain {stream} has entries beyond its head; run `trueup audit verify` before anything else."
        ) from error
    copied(session, "personal (commitment, person_id, salt, value)", secrets_)
    session.execute(
        text("UPDATE head SET number = :number, digest = :digest WHERE stream = :stream"),
        {"number": number + len(entries), "digest": previous, "stream": stream},
    )
    return range(number + 1, number + 1 + len(entries))


def _locked_head(session: Session, stream: str) -> tuple[int, str]:
    for _ in range(2):
        head = session.execute(
            text("SELECT number, digest FROM head WHERE stream = :stream FOR UPDATE"), {"stream": stream}
        ).one_or_none()
        if head:
            return head.number, head.digest
        session.execute(
            text("INSERT INTO head (stream, number, digest) VALUES (:stream, 0, '') ON CONFLICT DO NOTHING"),
            {"stream": stream},
        )
    raise AssertionError("unreachable: a head row that was just inserted can be locked")


def _committed(event: Event) -> tuple[dict[str, str], list[tuple[object, ...]]]:
    """Commitments by name, and the rows that keep what they stand for. The actor is not the person it is about."""
    commitments: dict[str, str] = {}
    rows: list[tuple[object, ...]] = []
    for name, value in ((ACTOR, event.actor), *event.personal.items()):
        if name in commitments:
            raise TypeError(f"an audit entry has one {name} and was given a personal value of that name as well")
        salt, stored = secrets.token_hex(16), plain(value).replace("\0", "\ufffd")
        commitments[name] = commitment(salt, stored)
        rows.append((commitments[name], None if name == ACTOR else event.person_id, salt, stored))
    return commitments, rows


def entries(
    session: Session,
    *,
    stream: str = MAIN,
    kinds: Sequence[str] = (),
    run_id: str | uuid.UUID | None = None,
    person_id: str | uuid.UUID | Sequence[str] | None = None,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    after: int = 0,
    newest_first: bool = False,
    limit: int | None = None,
) -> Iterator[AuditEntry]:
    """Entries with what is known of the people in them; streamed. `until` is exclusive, `after` is a number. A person
    who was taken for several has several ids."""
    people = [str(person_id)] if isinstance(person_id, str | uuid.UUID) else list(person_id or ())
    asked: dict[str, tuple[object, str]] = {
        "stream": (stream, "stream = :stream"),
        "after": (after, "number > :after"),
        "kinds": (list(kinds), "kind = ANY(:kinds)"),
        "run": (run_id and str(run_id), "run_id = CAST(:run AS uuid)"),
        "people": (people, "person_id = ANY(CAST(:people AS uuid[]))"),
        "since": (since, "at >= :since"),
        "until": (until, "at < :until"),
    }
    conditions = " AND ".join(condition for value, condition in asked.values() if value)
    order = "DESC" if newest_first else "ASC"
    statement = (
        f"SELECT number, digest, body FROM entry WHERE {conditions} ORDER BY number {order}"
        " LIMIT CAST(:limit AS bigint)"
    )
    parameters = {"limit": limit, **{name: value for name, (value, _) in asked.items() if value}}
    for some in streamed(session, statement, parameters):
        said = [json.loads(row.body) for row in some]
        known = _values(session, said)
        for row, body in zip(some, said, strict=True):
            yield _entry(row.number, row.digest, body, known)


def _entry(number: int, digest_: str, said: dict[str, Any], known: Mapping[str, tuple[str, str]]) -> AuditEntry:
    people = {name: known.get(c, ("", ERASED))[1] for name, c in said["personal"].items()}
    actor = people.pop(ACTOR, "")
    at = dt.datetime.fromisoformat(said["at"])
    return AuditEntry(
        said["stream"], number, said["kind"], at, actor, said["facts"], people, said["person"] or None,
        said["run"] or None, digest_,
    )  # fmt: skip


def _values(session: Session, bodies: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """(salt, value) by commitment, of those that were not forgotten."""
    asked = [c for body in bodies for c in body["personal"].values()]
    rows = session.execute(
        text("SELECT commitment, salt, value FROM personal WHERE commitment = ANY(:asked)"), {"asked": asked}
    )
    return {commitment: (salt, value) for commitment, salt, value in rows}


# --- verifying -------------------------------------------------------------------------------------------------------

# One statement sees one moment: an append during the verification is not mistaken for a fault.
_HEAD = """
(SELECT number FROM head WHERE stream = :stream) AS head_number,
(SELECT digest FROM head WHERE stream = :stream) AS head_digest
"""
_CHAIN = f"""
SELECT {_HEAD}, number, digest, body, kind, at, run_id::text AS run, person_id::text AS person
FROM entry WHERE stream = :stream AND number > :after ORDER BY number LIMIT CAST(:most AS bigint)
"""
_BEFORE_ALL = -(2**62)  # an entry that somebody put before the first is looked at too
_WITHOUT_ENTRIES = f"""
SELECT {_HEAD} WHERE NOT EXISTS (SELECT 1 FROM entry WHERE stream = :stream AND number > :after)
"""


def verify(
    session: Session,
    stream: str = MAIN,
    witness: tuple[int, str] | None = None,
    *,
    after: tuple[int, str] = (0, ""),
    most: int | None = None,
) -> Verdict:
    """Recompute a stream from its beginning. `witness` is a number and digest noted earlier, elsewhere. In pieces:
    `after` are number and digest of the last sound entry, and at `most` so many more are looked at.

    Without a witness, a chain whose end was cut off, or which was rewritten as a whole by the owner of the tables,
    verifies: nothing inside the database can show it.
    """
    links, erased, end = Links(stream, *after), 0, None
    forgotten = _Forgotten(session, stream)
    place = {"stream": stream, "after": after[0] or _BEFORE_ALL, "most": most}
    with closing(streamed(session, _CHAIN, place)) as batches:
        for rows in batches:
            end = rows[-1]
            linked, bad, what = _linked(links, rows, witness)
            values = _values(session, linked)
            for said in linked:
                broken, gone = _broken_commitment(said, values, forgotten)
                if broken:
                    number = int(said["number"])
                    return Verdict(False, number - 1, said["previous"], number, broken, erased)
                erased += gone
            if what:
                return Verdict(False, links.number, links.digest, bad, what, erased)
    if most is not None and links.number - after[0] == most:
        return Verdict(True, links.number, links.digest, erased=erased, beyond=True)
    if end is None:
        end = session.execute(text(_WITHOUT_ENTRIES), place).one_or_none()
        if end is None:  # the next entry has just come
            return verify(session, stream, witness, after=after, most=most)
    what = _wrong_end(links, end, witness)
    return Verdict(not what, links.number, links.digest, links.number + 1 if what else None, what, erased)


def _linked(
    links: Links, rows: Iterable[Any], witness: tuple[int, str] | None
) -> tuple[list[Mapping[str, Any]], int | None, str]:
    """What the rows say, up to the first that does not fit; its number, and what is wrong with it."""
    linked: list[Mapping[str, Any]] = []
    for row in rows:
        columns = {"kind": row.kind, "at": moment(row.at), "run": row.run or "", "person": row.person or ""}
        if witness and row.number == witness[0] and row.digest != witness[1]:
            what = "its digest is not the one that was noted: the chain was rewritten"
        else:
            what = links.fault(row.number, row.digest, row.body, columns)
        if what:
            return linked, row.number, what
        linked.append(links.said)
    return linked, None, ""


def _broken_commitment(
    said: Mapping[str, Any], values: Mapping[str, tuple[str, str]], forgotten: _Forgotten
) -> tuple[str, int]:
    """What is wrong with the personal values of an entry, and how many of them were forgotten."""
    gone = 0
    for name, committed in said["personal"].items():
        if committed in values:
            if not is_kept(committed, *values[committed]):
                return f"its {name} was altered", gone
        elif name != ACTOR and forgotten.after(said["person"], int(said["number"])):
            gone += 1
        else:
            return f"its {name} was erased, and no later entry says that the person was forgotten", gone
    return "", gone


class _Forgotten:
    """Who was forgotten, and by which entry at the latest; asked only where a value is missing."""

    def __init__(self, session: Session, stream: str) -> None:
        self._session = session
        self._stream = stream
        self._last: dict[str, int] = {}

    def after(self, person_id: str, number: int) -> bool:
        if person_id and self._last.get(person_id, 0) <= number:
            self._last[person_id] = self._session.scalars(
                text(
                    "SELECT coalesce(max(number), 0) FROM entry"
                    " WHERE stream = :stream AND kind = :kind AND person_id = CAST(:person AS uuid)"
                ),
                {"stream": self._stream, "kind": FORGOTTEN, "person": person_id},
            ).one()
        return self._last.get(person_id, 0) > number


def _wrong_end(links: Links, end: Any, witness: tuple[int, str] | None) -> str:
    if end.head_number is None:
        return f"the stream {links.stream} has no head: it does not exist, or its head was deleted"
    if (end.head_number, end.head_digest) != (links.number, links.digest):
        return f"the head is at {end.head_number} and the entries end at {links.number}"
    if witness and witness[0] > links.number:
        return f"the noted entry {witness[0]} is gone: the end of the chain was cut off"
    return ""


# --- leaving and forgetting ------------------------------------------------------------------------------------------


def export(session: Session, out: TextIO, stream: str = MAIN, *, reveal: bool = False) -> int:
    """Write a stream as JSON lines that anybody can verify, and return how many entries it has.

    A line is an entry's canonical bytes as a string, and their digest; the last line is the head. With `reveal`, the
    personal values that are left and their salts stand beside them.
    """
    number, last = 0, ""
    statement = "SELECT number, digest, body FROM entry WHERE stream = :stream ORDER BY number"
    for rows in streamed(session, statement, {"stream": stream}):
        said = [json.loads(row.body) for row in rows] if reveal else []
        values = _values(session, said)
        for offset, row in enumerate(rows):
            line: dict[str, Any] = {"body": row.body.decode(), "digest": row.digest}
            if reveal:
                names = said[offset]["personal"].items()
                line["personal"] = {name: values[c] for name, c in names if c in values}
            out.write(json.dumps(line) + "\n")
            number, last = row.number, row.digest
    out.write(json.dumps({"head": last, "number": str(number), "stream": stream}) + "\n")
    return number


def forget(session: Session, person_id: str | uuid.UUID, actor: str, at: dt.datetime) -> int:
    """Erase every personal value about a person, record that it was done, and return how many there were.

    Entries remain and the chain verifies; only who they are about is gone for good.
    """
    person = {"person": str(person_id)}
    streams = session.scalars(
        text("SELECT DISTINCT stream FROM entry WHERE person_id = CAST(:person AS uuid) ORDER BY stream"), person
    ).all()
    erased = session.execute(
        text("DELETE FROM personal WHERE person_id = CAST(:person AS uuid) RETURNING 1"), person
    ).all()
    for stream in streams or [MAIN]:
        append(
            session, kind=FORGOTTEN, actor=actor, at=at, facts={"values": len(erased)}, person_id=person_id,
            stream=stream,
        )  # fmt: skip
    return len(erased)
