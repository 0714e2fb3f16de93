"""A plan and somebody's offboarding that find the same drift at the same time speak of one episode."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlmodel import Session

from worker.core.drift import Cause, Drift, DriftKind
from worker.core.identity import Entitlement
from worker.store import episodes
from worker.store.session import Store
from worker.store.tables import PersonRow

NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
WHO = uuid.UUID(int=7)
DRIFT = Drift(
    DriftKind.EXCESS_ENTITLEMENT, "looker", Cause.DEPARTED, str(WHO), "20", Entitlement("group", "11")
)  # fmt: skip


def by_an_offboarding(session: Session) -> uuid.UUID:
    return episodes.ensure(session, [DRIFT], str, NOON)[DRIFT.key]


def by_a_plan(session: Session) -> uuid.UUID:
    return episodes.follow(session, "looker", [DRIFT], str, (), NOON).open[DRIFT.key]


@pytest.mark.parametrize("first", [by_an_offboarding, by_a_plan])
@pytest.mark.parametrize("second", [by_an_offboarding, by_a_plan])
def test_whoever_comes_second_takes_the_firsts_word(
    store: Store, first: Callable[[Session], uuid.UUID], second: Callable[[Session], uuid.UUID]
) -> None:
    with store.begin() as session:
        session.add(PersonRow(id=WHO, created_at=NOON))

    def other() -> uuid.UUID:
        with store.begin() as session:
            return second(session)

    with ThreadPoolExecutor(1) as pool:
        with store.begin() as session:
            one = first(session)
            waiting = pool.submit(other)
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
        assert waiting.result(10) == one
