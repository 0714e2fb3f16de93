"""Many rows at once: in by COPY, out by a cursor on the server, and planned for as many as they are."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import text
from sqlmodel import Session

_ROWS_AT_ONCE = 1000


def copied(session: Session, into: str, rows: Iterable[Sequence[object]]) -> None:
    """Insert rows by COPY; `into` is "table (column, ...)", ours and never a stranger's text."""
    driver = session.connection().connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    with driver.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row(row)


def streamed(
    session: Session, statement: str, parameters: Mapping[str, object]
) -> Generator[Sequence[Any], None, None]:
    """Batches of rows, as the server finds them; memory stays flat. The transaction must stay open meanwhile."""
    options = {"yield_per": _ROWS_AT_ONCE}
    with planned_for_all_rows(session):
        found = session.connection().execute(text(statement), parameters, execution_options=options)
    try:
        yield from found.partitions(_ROWS_AT_ONCE)  # without a size it fetches everything, whatever yield_per says
    finally:
        found.close()


@contextmanager
def planned_for_all_rows(session: Session) -> Iterator[None]:
    """Statements here are planned for whole tables.

    Freshly filled tables have no statistics yet, and a planner that believes them empty compares each row with each:
    minutes instead of a second. And it takes a cursor for one that is read a tenth of.
    """
    wholesale = {"enable_nestloop": "off", "cursor_tuple_fraction": "1", "work_mem": "'64MB'"}
    for name, value in wholesale.items():
        session.execute(text(f"SET LOCAL {name} = {value}"))
    yield
    for name in wholesale:
        session.execute(text(f"SET LOCAL {name} TO DEFAULT"))
