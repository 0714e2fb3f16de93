"""A read on its way into the mirror: what its parts brought waits here, until all of it is there."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from sqlalchemy import text
from sqlmodel import Session

from worker.core.identity import Account, CatalogueItem, Identity
from worker.errors import Lost, Refused
from worker.ports import Check, SourcePage, TargetPage
from worker.store.bulk import copied, planned_for_all_rows
from worker.store.snapshots import snapshot as snapshot_of


@dataclass(frozen=True, slots=True)
class Kind:
    """One table of the mirror, and how counts call its rows. `beside` are columns that only staging has."""

    table: str
    owner: str  # the column that names the connector
    noun: str
    key: tuple[str, ...]
    values: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def columns(self) -> str:
        return ", ".join(self.key + self.values)

    def same(self, left: str, right: str, columns: tuple[str, ...]) -> str:
        """SQL: these columns agree."""
        return " AND ".join(f"{left}.{c} = {right}.{c}" for c in columns)

    @property
    def staged(self) -> str:
        """SQL: the staged rows of a snapshot, each once."""
        return _STAGED.get(self.table, _EACH_ONCE).format(kind=self)


_EACH_ONCE = "SELECT DISTINCT {kind.columns} FROM staged_{kind.table} WHERE snapshot_id = :snapshot"
_NEWEST = (
    'SELECT DISTINCT {kind.columns} FROM (SELECT *, max(stamp COLLATE "C") OVER (PARTITION BY id) AS newest'
    " FROM staged_{kind.table} WHERE snapshot_id = :snapshot) AS known WHERE stamp = newest"
)
_STAGED = {
    # Of somebody who is on two lists, what the source wrote last; of a group that is listed and then read, the latter.
    "identity": _NEWEST,
    "source_group": _NEWEST,
    # The traits that its own page and other pages give an account, united.
    "account": (
        "SELECT id, login, email, active, profile,"
        " coalesce(array_agg(DISTINCT trait ORDER BY trait) FILTER (WHERE trait IS NOT NULL), '{{}}') AS traits FROM ("
        "SELECT a.*, trait FROM staged_account a LEFT JOIN LATERAL unnest(a.traits) AS trait ON true"
        " WHERE a.snapshot_id = :snapshot UNION ALL"
        " SELECT a.*, t.trait FROM staged_account a JOIN staged_trait t ON t.account_id = a.id"
        " AND t.snapshot_id = a.snapshot_id WHERE a.snapshot_id = :snapshot"
        ") AS shown GROUP BY id, login, email, active, profile"
    ),
}
SOURCE_KINDS = (
    Kind("identity", "source", "identities", ("id",),
         ("standing", "status", "login", "email", "attributes", "problem"), ("stamp",)),
    Kind("source_group", "source", "groups", ("id",), ("name", "type", "members", "problem"), ("stamp",)),
    Kind("membership", "source", "memberships", ("group_id", "identity_id")),
    Kind("nesting", "source", "nestings", ("group_id", "child_id")),
)  # fmt: skip
TARGET_KINDS = (
    Kind("account", "target", "accounts", ("id",), ("login", "email", "active", "profile", "traits")),
    Kind("holding", "target", "holdings", ("account_id", "entitlement")),
    Kind("catalogue_item", "target", "catalogue", ("kind", "id"), ("name", "privileged", "closed", "definition")),
)
KINDS = SOURCE_KINDS + TARGET_KINDS
_Rows = Mapping[str, Sequence[tuple[object, ...]]]  # by "table (column, ...)" that they are copied into
_STAGES = (*(f"staged_{kind.table}" for kind in KINDS), "staged_trait", "staged_valued")


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
    rows: _Rows = {
        _into(SOURCE_KINDS[0]): [(*_identity_columns(i), page.stamps.get(i.id, "")) for i in page.identities],
        _into(SOURCE_KINDS[1]): [
            (g.id, g.name, g.type, g.members, g.problem, page.stamps.get(g.id, "")) for g in page.groups
        ],
        _into(SOURCE_KINDS[2]): page.memberships,
        _into(SOURCE_KINDS[3]): page.nestings,
    }
    _stage(session, snapshot_id, source, rows, page.checks)


def stage_target(session: Session, snapshot_id: uuid.UUID, target: str, page: TargetPage) -> None:
    """Keep a page of an observation until the whole of it is certified."""
    rows: _Rows = {
        _into(TARGET_KINDS[0]): [_account_columns(a) for a in page.accounts],
        _into(TARGET_KINDS[1]): [(account_id, entitlement.key) for account_id, entitlement in page.holdings],
        _into(TARGET_KINDS[2]): [_catalogue_columns(item) for item in page.catalogue],
        "staged_trait (snapshot_id, account_id, trait)": [(id, trait.value) for id, trait in page.traits],
        "staged_valued (snapshot_id, account_id, attribute_id)": page.valued,
    }
    _stage(session, snapshot_id, target, rows, page.checks)


def _into(kind: Kind) -> str:
    return f"staged_{kind.table} (snapshot_id, {', '.join(kind.key + kind.values + kind.beside)})"


def _identity_columns(identity: Identity) -> tuple[object, ...]:
    attributes = as_json(dict(identity.attributes))
    return (
        identity.id, identity.standing.value, identity.status, identity.login, identity.email, attributes,
        identity.problem,
    )  # fmt: skip


def _account_columns(account: Account) -> tuple[object, ...]:
    profile = as_json(dict(account.profile))
    traits = sorted(trait.value for trait in account.traits)
    return account.id, account.login, account.email, account.active, profile, traits


def _catalogue_columns(item: CatalogueItem) -> tuple[object, ...]:
    definition = as_json(asdict(item.definition)) if item.definition else "{}"
    return item.kind, item.id, item.name, item.privileged, item.closed, definition


# PostgreSQL's text holds neither of these, and one odd display name must not stop everybody's reconciliation.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:  # nearly all: no pattern is needed
            return value
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_clean(k): _clean(v) for k, v in value.items()}
    return [_clean(v) for v in value] if isinstance(value, list | tuple) else value


def as_json(values: Any) -> str:
    """As jsonb takes it; cleaned only where that is needed, which is next to never."""
    try:
        plain = orjson.dumps(values).decode()
    except TypeError:  # half a surrogate pair
        return orjson.dumps(_clean(values)).decode()
    return orjson.dumps(_clean(values)).decode() if "\\u0000" in plain else plain


def open_read(session: Session, snapshot_id: uuid.UUID, connector: str) -> Mapping[str, Any]:
    """Lock a read until this transaction ends; its checks so far. Raises Lost once it is closed or was abandoned."""
    found = session.execute(
        text(
            "SELECT checks FROM snapshot WHERE id = :snapshot AND connector = :connector AND certified_at IS NULL"
            " AND failure = '' FOR UPDATE"
        ),
        {"snapshot": snapshot_id, "connector": connector},
    ).one_or_none()
    if found is None:
        raise Lost(f"The read {snapshot_id} of {connector} is closed or was abandoned; start another one.")
    checks: Mapping[str, Any] = found.checks
    return checks


def _stage(
    session: Session,
    snapshot_id: uuid.UUID,
    connector: str,
    rows: _Rows,
    checks: Iterable[Check],
) -> None:
    known = open_read(session, snapshot_id, connector)
    # The count lives in a logged table, so that rows which an unlogged one lost in a crash are missed at the merge.
    session.execute(
        text(
            "UPDATE snapshot SET counts = jsonb_set(counts, '{staged}',"
            " to_jsonb(coalesce((counts ->> 'staged')::bigint, 0) + CAST(:staged AS bigint))) WHERE id = :snapshot"
        ),
        {"snapshot": snapshot_id, "staged": sum(map(len, rows.values()))},
    )
    _add_checks(session, snapshot_id, known, checks)
    for into, batch in rows.items():
        if batch:
            copied(session, into, ((str(snapshot_id), *map(_clean, row)) for row in batch))


def _add_checks(session: Session, snapshot_id: uuid.UUID, known: Mapping[str, Any], checks: Iterable[Check]) -> None:
    added = dict(known)
    for check in checks:
        if added.get(check.name, {}).get("passed", True):  # a check that failed once stays failed
            added[check.name] = {"passed": check.passed, "detail": _clean(check.detail)}
    if added != known:
        session.execute(
            text("UPDATE snapshot SET checks = CAST(:checks AS jsonb) WHERE id = :snapshot"),
            {"checks": orjson.dumps(added).decode(), "snapshot": snapshot_id},
        )


# --- what has been staged ---------------------------------------------------------------------------------------------


def staged_counts(session: Session, snapshot_id: uuid.UUID) -> dict[str, int]:
    """What has been staged so far, each thing once: identities, groups, memberships, nestings, accounts, holdings,
    catalogue; and `inherited`, the memberships that come through a group in a group."""
    found = {
        kind.noun: session.scalars(
            text(
                f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(kind.key)} FROM staged_{kind.table}"
                " WHERE snapshot_id = :snapshot) AS once"
            ),
            {"snapshot": snapshot_id},
        ).one()
        for kind in KINDS
    }
    if found["nestings"]:
        found["inherited"] = inherited(session, "staged_{} WHERE snapshot_id = :snapshot", {"snapshot": snapshot_id})
    return {noun: count for noun, count in found.items() if count}


def inherited(session: Session, rows: str, known: Mapping[str, object]) -> int:
    """How many memberships of a group come through another one in it, on whatever way, each for each such group.
    `rows` is what follows FROM, with a place for the table's name."""
    counting = (
        f"WITH RECURSIVE edge AS (SELECT group_id, child_id FROM {rows.format('nesting')}),"
        " below AS (SELECT group_id, child_id FROM edge UNION"
        " SELECT b.group_id, e.child_id FROM below b JOIN edge e ON e.group_id = b.child_id)"
        " SELECT coalesce(sum(m.people), 0)::bigint FROM below b JOIN (SELECT group_id,"
        f" count(DISTINCT identity_id) AS people FROM {rows.format('membership')} GROUP BY group_id) m"
        " ON m.group_id = b.child_id AND b.child_id <> b.group_id"
    )
    with planned_for_all_rows(session):
        count: int = session.scalars(text(counting), known).one()
    return count


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


_STRANGERS = (
    "SELECT DISTINCT m.identity_id AS id FROM staged_membership m WHERE m.snapshot_id = :snapshot AND NOT EXISTS"
    " (SELECT 1 FROM staged_identity i WHERE i.snapshot_id = m.snapshot_id AND i.id = m.identity_id)"
    " UNION SELECT h.account_id FROM (SELECT snapshot_id, account_id FROM staged_holding UNION ALL"
    " SELECT snapshot_id, account_id FROM staged_trait) h WHERE h.snapshot_id = :snapshot AND NOT EXISTS"
    " (SELECT 1 FROM staged_account a WHERE a.snapshot_id = h.snapshot_id AND a.id = h.account_id)"
)


def strangers(session: Session, snapshot_id: uuid.UUID) -> list[str]:
    """Ids that memberships, holdings and traits speak of and no list has; sorted."""
    with planned_for_all_rows(session):
        return sorted(session.scalars(text(_STRANGERS), {"snapshot": snapshot_id}))


_WITHIN = (
    "WITH RECURSIVE edge AS (SELECT DISTINCT group_id, child_id FROM staged_nesting WHERE snapshot_id = :snapshot),"
    " below AS (SELECT group_id, group_id AS child_id FROM edge UNION"
    " SELECT b.group_id, e.child_id FROM below b JOIN edge e ON e.group_id = b.child_id)"
    " SELECT group_id, count(*) AS people FROM (SELECT DISTINCT b.group_id, m.identity_id FROM below b"
    " JOIN staged_membership m ON m.group_id = b.child_id AND m.snapshot_id = :snapshot) AS once GROUP BY group_id"
)


def people_within(session: Session, snapshot_id: uuid.UUID) -> dict[str, int]:
    """Of each group that holds others and anybody: how many different people are in it, on whatever way."""
    with planned_for_all_rows(session):
        found = session.execute(text(_WITHIN), {"snapshot": snapshot_id}).all()
    return {row.group_id: row.people for row in found}


def refuse_lost_rows(session: Session, snapshot_id: uuid.UUID) -> None:
    """Raises Refused when the database has lost staged rows, as unlogged tables do in a crash."""
    snapshot = snapshot_of(session, snapshot_id)
    assert snapshot is not None
    expected, staged = snapshot.counts.get("staged", 0), 0
    for stage in _STAGES:
        counting = text(f"SELECT count(*) FROM {stage} WHERE snapshot_id = :snapshot")
        staged += session.scalars(counting, {"snapshot": snapshot_id}).one()
    if staged != expected:
        raise Refused(
            f"{snapshot.title} was staged with {expected} rows and {staged} are left; the database lost some."
            " Read again."
        )


# --- the end of it ---------------------------------------------------------------------------------------------------


def discard_snapshot(session: Session, snapshot_id: uuid.UUID, failure: str) -> bool:
    """End a read that came to nothing, and say why; what is current stays current. False when it had ended already."""
    ended = session.execute(
        text(
            "UPDATE snapshot SET failure = :failure WHERE id = :snapshot AND certified_at IS NULL AND failure = ''"
            " RETURNING id"
        ),
        {"snapshot": snapshot_id, "failure": failure or "discarded"},
    ).one_or_none()
    clear_staging(session, snapshot_id)
    return ended is not None


def clear_staging(session: Session, snapshot_id: uuid.UUID) -> None:
    """Everything that a read kept while it was under way."""
    for table in (*_STAGES, "part"):
        session.execute(text(f"DELETE FROM {table} WHERE snapshot_id = :snapshot"), {"snapshot": snapshot_id})
