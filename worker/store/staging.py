"""A read on its way into the mirror: staged page by page, certified as a whole, made current in one go.

Rows of the mirror are never overwritten. One that changed is closed at the moment of the merge and its successor is
opened, so an unchanged read writes nothing and "as of" is a question of two columns.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import text
from sqlmodel import Session

from worker.core.identity import Account, Identity
from worker.errors import Refused
from worker.ports import Check, SourcePage, TargetPage
from worker.store.bulk import copied, planned_for_all_rows
from worker.store.snapshots import Snapshot
from worker.store.snapshots import snapshot as snapshot_of


@dataclass(frozen=True, slots=True)
class Merged:
    """How many rows of the mirror a read ended and began; both are 0 when nothing had changed."""

    closed: int
    opened: int


@dataclass(frozen=True, slots=True)
class _Kind:
    """One table of the mirror, and how counts call its rows."""

    table: str
    owner: str  # the column that names the connector
    noun: str
    key: tuple[str, ...]
    values: tuple[str, ...] = ()

    @property
    def columns(self) -> str:
        return ", ".join(self.key + self.values)

    def same(self, left: str, right: str, columns: tuple[str, ...]) -> str:
        """SQL: these columns agree."""
        return " AND ".join(f"{left}.{c} = {right}.{c}" for c in columns)

    @property
    def staged(self) -> str:
        """SQL: the staged rows of a snapshot, each once; an account's traits from several pages are united."""
        if self.table != "account":
            return f"SELECT DISTINCT {self.columns} FROM staged_{self.table} WHERE snapshot_id = :snapshot"
        plain = "id, login, email, active, profile"
        return (
            f"SELECT {plain},"
            " coalesce(array_agg(DISTINCT trait ORDER BY trait) FILTER (WHERE trait IS NOT NULL), '{}') AS traits"
            " FROM staged_account LEFT JOIN LATERAL unnest(traits) AS trait ON true"
            f" WHERE snapshot_id = :snapshot GROUP BY {plain}"
        )


_SOURCE_KINDS = (
    _Kind("identity", "source", "identities", ("id",),
          ("standing", "status", "login", "email", "attributes", "problem")),
    _Kind("source_group", "source", "groups", ("id",), ("name", "type", "members", "problem")),
    _Kind("membership", "source", "memberships", ("group_id", "identity_id")),
)  # fmt: skip
_TARGET_KINDS = (
    _Kind("account", "target", "accounts", ("id",), ("login", "email", "active", "profile", "traits")),
    _Kind("holding", "target", "holdings", ("account_id", "entitlement")),
    _Kind("catalogue_item", "target", "catalogue", ("kind", "id"), ("name", "privileged", "closed")),
)
_KINDS = _SOURCE_KINDS + _TARGET_KINDS


# --- reading in: pages to staging ------------------------------------------------------------------------------------


def start_snapshot(session: Session, connector: str, now: dt.datetime) -> uuid.UUID:
    """Begin a read. What an earlier, unfinished read of this connector staged is thrown away: one read at a time."""
    left_over = session.scalars(
        text("SELECT id FROM snapshot WHERE connector = :connector AND certified_at IS NULL AND failure = ''"),
        {"connector": connector},
    ).all()
    for abandoned in left_over:
        discard_snapshot(session, abandoned, "abandoned: a later read of the same connector began")
    begun = uuid.uuid4()
    session.execute(
        text(
            "INSERT INTO snapshot (id, connector, started_at, current, counts, checks, failure)"
            " VALUES (:id, :connector, :now, false, '{}', '{}', '')"
        ),
        {"id": begun, "connector": connector, "now": now},
    )
    return begun


def stage_source(session: Session, snapshot_id: uuid.UUID, source: str, page: SourcePage) -> None:
    """Keep a page of a pull until the whole of it is certified. Raises Refused for a page of another source."""
    strange = {i.source for i in page.identities} | {g.source for g in page.groups}
    if strange - {source}:
        raise Refused(f"The pull of {source} brought people or groups of {', '.join(sorted(strange - {source}))}.")
    rows = (
        [_identity_columns(i) for i in page.identities],
        [(g.id, g.name, g.type, g.members, g.problem) for g in page.groups],
        page.memberships,
    )
    _stage(session, snapshot_id, source, _SOURCE_KINDS, rows, page.checks)


def stage_target(session: Session, snapshot_id: uuid.UUID, target: str, page: TargetPage) -> None:
    """Keep a page of an observation until the whole of it is certified."""
    rows = (
        [_account_columns(a) for a in page.accounts],
        [(account_id, entitlement.key) for account_id, entitlement in page.holdings],
        [(i.kind, i.id, i.name, i.privileged, i.closed) for i in page.catalogue],
    )
    _stage(session, snapshot_id, target, _TARGET_KINDS, rows, page.checks)


def _identity_columns(identity: Identity) -> tuple[object, ...]:
    attributes = _json(identity.attributes)
    return (
        identity.id, identity.standing.value, identity.status, identity.login, identity.email, attributes,
        identity.problem,
    )  # fmt: skip


def _account_columns(account: Account) -> tuple[object, ...]:
    profile = _json(account.profile)
    traits = sorted(trait.value for trait in account.traits)
    return account.id, account.login, account.email, account.active, profile, traits


# PostgreSQL's text holds neither of these, and one odd display name must not stop everybody's reconciliation.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:  # nearly all: no pattern is needed
            return value
        return _UNSTORABLE.sub("\ufffd", value)
    return [_clean(v) for v in value] if isinstance(value, tuple) else value


def _json(values: Mapping[str, Any]) -> str:
    """As jsonb takes it; cleaned only where that is needed, which is next to never."""
    try:
        plain = orjson.dumps(dict(values)).decode()
    except orjson.JSONEncodeError:  # half a surrogate pair
        return orjson.dumps(_clean_map(values)).decode()
    return orjson.dumps(_clean_map(values)).decode() if "\\u0000" in plain else plain


def _clean_map(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_clean(k): _clean(v) for k, v in values.items()}


def _stage(
    session: Session,
    snapshot_id: uuid.UUID,
    connector: str,
    kinds: Sequence[_Kind],
    rows: Sequence[Sequence[tuple[object, ...]]],
    checks: Iterable[Check],
) -> None:
    known = {"snapshot": snapshot_id, "connector": connector, "staged": sum(map(len, rows))}
    # The count lives in a logged table, so that rows which an unlogged one lost in a crash are missed at the merge.
    open_ = session.execute(
        text(
            "UPDATE snapshot SET counts = jsonb_set(counts, '{staged}',"
            " to_jsonb(coalesce((counts ->> 'staged')::bigint, 0) + CAST(:staged AS bigint)))"
            " WHERE id = :snapshot AND connector = :connector AND certified_at IS NULL AND failure = ''"
            " RETURNING checks"
        ),
        known,
    ).one_or_none()
    if open_ is None:
        raise Refused(f"The read {snapshot_id} of {connector} is closed or was abandoned; start another one.")
    _add_checks(session, snapshot_id, open_.checks, checks)
    for kind, batch in zip(kinds, rows, strict=True):
        if batch:
            into = f"staged_{kind.table} (snapshot_id, {kind.columns})"
            copied(session, into, ((str(snapshot_id), *map(_clean, row)) for row in batch))


def _add_checks(session: Session, snapshot_id: uuid.UUID, known: dict[str, Any], checks: Iterable[Check]) -> None:
    added = dict(known)
    for check in checks:
        if added.get(check.name, {}).get("passed", True):  # a check that failed once stays failed
            added[check.name] = {"passed": check.passed, "detail": _clean(check.detail)}
    if added != known:
        session.execute(
            text("UPDATE snapshot SET checks = CAST(:checks AS jsonb) WHERE id = :snapshot"),
            {"checks": orjson.dumps(added).decode(), "snapshot": snapshot_id},
        )


# --- making it current: staging into the mirror ----------------------------------------------------------------------


def staged_counts(session: Session, snapshot_id: uuid.UUID) -> dict[str, int]:
    """What has been staged so far, each thing once: identities, groups, memberships, accounts, holdings, catalogue."""
    found = {
        kind.noun: session.scalars(
            text(
                f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(kind.key)} FROM staged_{kind.table}"
                " WHERE snapshot_id = :snapshot) AS once"
            ),
            {"snapshot": snapshot_id},
        ).one()
        for kind in _KINDS
    }
    return {noun: count for noun, count in found.items() if count}


_RECOGNIZED = {
    "people": "staged_identity i WHERE lower(wanted) IN (lower(i.login), lower(i.email)) OR wanted = i.id",
    "groups": "staged_source_group i WHERE wanted IN (i.name, i.id)",
    "accounts": "staged_account i WHERE lower(wanted) IN (lower(i.login), lower(i.email)) OR wanted = i.id",
}


def unseen(
    session: Session,
    snapshot_id: uuid.UUID,
    *,
    people: Sequence[str] = (),
    groups: Sequence[str] = (),
    accounts: Sequence[str] = (),
) -> list[str]:
    """Which of these have not been staged: people and accounts by login, e-mail or id, groups by name or id."""
    missing: list[str] = []
    for noun, names in {"people": people, "groups": groups, "accounts": accounts}.items():
        table, condition = _RECOGNIZED[noun].split(" WHERE ")
        missing += session.scalars(
            text(
                "SELECT wanted FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS asked (wanted, place)"
                f" WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE i.snapshot_id = :snapshot AND ({condition}))"
                " ORDER BY place"
            ),
            {"names": list(names), "snapshot": snapshot_id},
        )
    return missing


def merge_source(session: Session, snapshot_id: uuid.UUID, now: dt.datetime) -> Merged:
    """Make a certified pull the current one. Raises Refused, and changes nothing, when it is not whole or not sound."""
    return _merge(session, snapshot_id, now, _SOURCE_KINDS)


def merge_target(session: Session, snapshot_id: uuid.UUID, now: dt.datetime) -> Merged:
    """The same for an observation of a target."""
    return _merge(session, snapshot_id, now, _TARGET_KINDS)


def discard_snapshot(session: Session, snapshot_id: uuid.UUID, failure: str) -> None:
    """End a read that came to nothing, and say why; what is current stays current."""
    session.execute(
        text("UPDATE snapshot SET failure = :failure WHERE id = :snapshot AND certified_at IS NULL"),
        {"snapshot": snapshot_id, "failure": failure or "discarded"},
    )
    _clear_staging(session, snapshot_id, _KINDS)


def _merge(session: Session, snapshot_id: uuid.UUID, now: dt.datetime, kinds: Sequence[_Kind]) -> Merged:
    snapshot = _mergeable(session, snapshot_id)
    known = {"snapshot": snapshot_id, "connector": snapshot.connector, "now": now}
    # Two merges at one instant, or a clock set back, must not make a row end before it began.
    known["moment"] = session.scalars(
        text("SELECT greatest(CAST(:now AS timestamptz), max(certified_at) + interval '1 microsecond')"
             " FROM snapshot WHERE connector = :connector"),
        known,
    ).one()  # fmt: skip
    closed = opened = 0
    with planned_for_all_rows(session):
        for kind in kinds:
            _refuse_contradictions(session, kind, known)
            closed += _touched(session, _closing(kind), known)
            opened += _touched(session, _opening(kind), known)
    session.execute(text("UPDATE snapshot SET current = false WHERE connector = :connector AND current"), known)
    session.execute(
        text("UPDATE snapshot SET current = true, certified_at = :moment, counts = CAST(:counts AS jsonb)"
             " WHERE id = :snapshot"),
        {**known, "counts": orjson.dumps(counts(session, snapshot.connector)).decode()},
    )  # fmt: skip
    _clear_staging(session, snapshot_id, kinds)
    return Merged(closed, opened)


def _mergeable(session: Session, snapshot_id: uuid.UUID) -> Snapshot:
    session.execute(text("SELECT 1 FROM snapshot WHERE id = :id FOR UPDATE"), {"id": snapshot_id})
    snapshot = snapshot_of(session, snapshot_id)
    if snapshot is None:
        raise Refused(f"There is no read {snapshot_id}.")
    what = f"The read of {snapshot.connector} that began at {snapshot.started_at:%Y-%m-%d %H:%M:%S}"
    if snapshot.certified_at or snapshot.failure:
        raise Refused(f"{what} is closed already ({snapshot.failure or 'it became current'}).")
    for check in snapshot.checks:
        if not check.passed:
            raise Refused(f"{what} is not whole: {check.name}: {check.detail}")
    newer = session.scalars(
        text("SELECT count(*) FROM snapshot WHERE connector = :connector AND current AND started_at > :started_at"),
        {"connector": snapshot.connector, "started_at": snapshot.started_at},
    ).one()
    if newer:
        raise Refused(f"{what} is older than the current one and cannot replace it.")
    expected = snapshot.counts.get("staged", 0)
    staged = sum(
        session.scalars(
            text(f"SELECT count(*) FROM staged_{kind.table} WHERE snapshot_id = :snapshot"), {"snapshot": snapshot_id}
        ).one()
        for kind in _KINDS
    )
    if staged != expected:
        raise Refused(
            f"{what} was staged with {expected} rows and {staged} are left; the database lost some. Read again."
        )
    return snapshot


def _refuse_contradictions(session: Session, kind: _Kind, known: Mapping[str, object]) -> None:
    """The same thing may be read twice, as pages overlap, but not in two states: then it moved under the read."""
    if not kind.values:
        return
    key = ", ".join(kind.key)
    twice = session.execute(
        text(f"SELECT {key} FROM ({kind.staged}) AS staged GROUP BY {key} HAVING count(*) > 1 LIMIT 1"), known
    ).first()
    if twice:
        raise Refused(
            f"The read of {known['connector']} brought {' '.join(twice)} twice, in different states; it changed"
            " meanwhile. Read again."
        )


def _closing(kind: _Kind) -> str:
    """SQL: rows that vanished or changed end now."""
    return (
        f"UPDATE {kind.table} AS live SET valid_to = :moment WHERE live.{kind.owner} = :connector"
        f" AND live.valid_to IS NULL AND NOT EXISTS (SELECT 1 FROM ({kind.staged.replace('DISTINCT ', '')}) AS staged"
        f" WHERE {kind.same('staged', 'live', kind.key + kind.values)})"
    )


def _opening(kind: _Kind) -> str:
    """SQL: what has no open row begins now."""
    return (
        f"INSERT INTO {kind.table} ({kind.owner}, {kind.columns}, valid_from)"
        f" SELECT CAST(:connector AS text), {kind.columns}, CAST(:moment AS timestamptz) FROM ({kind.staged}) AS staged"
        f" WHERE NOT EXISTS (SELECT 1 FROM {kind.table} AS live WHERE live.{kind.owner} = :connector"
        f" AND live.valid_to IS NULL AND {kind.same('staged', 'live', kind.key)})"
        f" ORDER BY {', '.join(kind.key)}"  # an index that grows in order grows faster
    )


def _touched(session: Session, statement: str, known: Mapping[str, object]) -> int:
    return session.execute(text(statement), known).rowcount  # type: ignore[attr-defined, no-any-return]


def _clear_staging(session: Session, snapshot_id: uuid.UUID, kinds: Iterable[_Kind]) -> None:
    for kind in kinds:
        session.execute(
            text(f"DELETE FROM staged_{kind.table} WHERE snapshot_id = :snapshot"), {"snapshot": snapshot_id}
        )


# --- what is current -------------------------------------------------------------------------------------------------


def counts(session: Session, connector: str) -> dict[str, int]:
    """How much is current, by the same nouns as `staged_counts`."""
    found = {
        kind.noun: session.scalars(
            text(f"SELECT count(*) FROM {kind.table} WHERE {kind.owner} = :connector AND valid_to IS NULL"),
            {"connector": connector},
        ).one()
        for kind in _KINDS
    }
    return {noun: count for noun, count in found.items() if count}
