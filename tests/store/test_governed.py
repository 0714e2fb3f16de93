"""Two plans that are the first at the same time agree about what the policy has named."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlmodel import Session

from worker.store import governed
from worker.store.session import Store

NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


def bind(session: Session) -> object:
    governed.bind_groups(session, {("okta", "Engineering"): "00g1", ("okta", "Sales"): "00g2"}, NOON)
    return governed.group_bindings(session)


def see(session: Session) -> object:
    return governed.see_settings(session, "settings-1", "policy-1", "schedule", NOON)


@pytest.mark.parametrize("first_word", [bind, see])
def test_whoever_comes_second_waits_for_the_first_and_goes_on(
    store: Store, first_word: Callable[[Session], object]
) -> None:
    def second() -> object:
        with store.begin() as session:
            return first_word(session)

    with ThreadPoolExecutor(1) as pool:
        with store.begin() as session:
            assert first_word(session)
            other = pool.submit(second)
            with pytest.raises(TimeoutError):
                other.result(0.2)
        other.result(10)
    with store.begin() as session:
        assert governed.group_bindings(session) or see(session) is None


def test_a_name_that_is_bound_anew_means_the_new_group_at_once(store: Store) -> None:
    with store.begin() as session:
        bind(session)
        governed.bind_groups(session, {("okta", "Sales"): "00g3"}, NOON)
        assert governed.group_bindings(session) == {("okta", "Engineering"): "00g1", ("okta", "Sales"): "00g3"}
