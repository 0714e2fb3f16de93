"""The worker's login may do what Trueup does and nothing else, so that who has it cannot make the books forget."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest

from tests.conftest import Database, dsn
from worker.store.tables import STAGING

READ_AND_ADD = {"entry"}
ALSO_CHANGE = {
    "head", "person", "person_identity", "link", "group_binding", "governed", "policy_seen", "episode", "decision",
    "waiver", "lease", "vendor_use", "home", "offboarding_target",
}  # fmt: skip
ALSO_DELETE = {"personal", "effect", "parting", "attribute_read", "hint", "api_request"}
EVERYTHING = {
    "snapshot", "identity", "source_group", "membership", "nesting", "account", "holding", "catalogue_item",
    "run", "change", "step", "part", "job", "notice", "subscription", "offboarding", "pin", "baseline",
    "pause", *(t.name for t in STAGING.values()),
}  # fmt: skip
MAY = {
    **dict.fromkeys(["alembic_version"], frozenset[str]()),
    **dict.fromkeys(READ_AND_ADD, frozenset({"INSERT"})),
    **dict.fromkeys(ALSO_CHANGE, frozenset({"INSERT", "UPDATE"})),
    **dict.fromkeys(ALSO_DELETE, frozenset({"INSERT", "DELETE"})),
    **dict.fromkeys(EVERYTHING, frozenset({"INSERT", "UPDATE", "DELETE"})),
}
TRIES = {
    "INSERT": "INSERT INTO {table} SELECT * FROM {table} WHERE false",
    "UPDATE": "UPDATE {table} SET {column} = {column} WHERE false",
    "DELETE": "DELETE FROM {table} WHERE false",
    "TRUNCATE": "TRUNCATE {table}",
}


def test_whatever_the_worker_has_no_use_for_it_is_refused(
    fresh_database: Database, rows: Callable[[str], list[tuple[object, ...]]]
) -> None:
    found = rows(
        "SELECT table_name, min(column_name) FROM information_schema.columns"
        " WHERE table_schema = 'public' GROUP BY table_name"
    )
    columns = {str(table): str(column) for table, column in found}
    assert set(columns) == set(MAY), "each table is told here what may be done with it"
    wrong = []
    with closing(psycopg.connect(dsn(fresh_database.worker_url), autocommit=True)) as worker:
        for table, may in MAY.items():
            for verb, statement in TRIES.items():
                try:
                    worker.execute(statement.format(table=table, column=columns[table]).encode())
                    refused = False
                except psycopg.errors.InsufficientPrivilege:
                    refused = True
                if refused is (verb in may):
                    wrong.append(f"{verb} {table} is {'refused' if refused else 'let through'}")
    assert wrong == []


COUNTS = {
    "account": "INSERT INTO account VALUES ('looker', '7', now(), NULL, 'ana', '', true, '{}', '{}')",
    "membership": "INSERT INTO membership VALUES ('okta', 'g', 'i', now(), NULL)",
    "nesting": "INSERT INTO nesting VALUES ('entra', 'g', 'h', now(), NULL)",
    "snapshot": "INSERT INTO snapshot VALUES (gen_random_uuid(), 'okta', now(), NULL, true, '{}', '{}', '')",
}


@pytest.mark.parametrize("table", COUNTS)
def test_what_still_counts_is_deleted_by_nobody(
    fresh_database: Database, as_owner: Callable[[str], None], table: str
) -> None:
    as_owner(COUNTS[table])
    for url in (fresh_database.worker_url, fresh_database.owner_url):
        with (
            closing(psycopg.connect(dsn(url))) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="still counts"),
        ):
            connection.execute(f"DELETE FROM {table}".encode())
