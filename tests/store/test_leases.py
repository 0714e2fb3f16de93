"""One holder at a time, whoever asks at once, and nobody acts on a lease that is no longer theirs."""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.errors import Refused
from worker.store import leases, owners
from worker.store.leases import Held
from worker.store.session import Store

NOW = dt.datetime(2026, 11, 21, 9, 0, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


def taken(store: Store, owner: str, now: dt.datetime = NOW, name: str = "account looker 7") -> Held | None:
    with store.begin() as session:
        return leases.take(session, name, owner, now, MINUTE)


def held(store: Store, owner: str, now: dt.datetime = NOW) -> Held:
    lease = taken(store, owner, now)
    assert lease is not None
    return lease


def test_a_free_lease_is_had(store: Store) -> None:
    assert taken(store, "a") == Held("account looker 7", "a", 1, NOW + MINUTE)


@pytest.mark.parametrize("owner", ["b", "a"])
def test_a_held_lease_is_not_had_by_another_nor_twice_by_the_same(store: Store, owner: str) -> None:
    held(store, "a")
    assert taken(store, owner, NOW + MINUTE / 2) is None


def test_leases_of_different_names_do_not_hinder_each_other(store: Store) -> None:
    held(store, "a")
    assert taken(store, "b", name="account looker 8") is not None


def test_an_expired_lease_is_had_with_a_higher_fence(store: Store) -> None:
    assert held(store, "b", NOW - 2 * MINUTE).fence < held(store, "a").fence


def test_a_released_lease_is_free_at_once_and_its_fence_still_rises(store: Store) -> None:
    first = held(store, "a")
    with store.begin() as session:
        leases.release(session, first)
    assert held(store, "b").fence == first.fence + 1


def test_releasing_what_was_lost_leaves_the_new_holder_alone(store: Store) -> None:
    lost = held(store, "a", NOW - 2 * MINUTE)
    current = held(store, "b")
    with store.begin() as session:
        leases.release(session, lost)
        leases.check(session, current, NOW)


LOST: dict[str, Callable[[Store], Held]] = {
    "another took it": lambda store: _lost_to_another(store),
    "the same owner took it anew": lambda store: _retaken(store),
    "it expired": lambda store: held(store, "a", NOW - 2 * MINUTE),
    "it expires this very moment": lambda store: held(store, "a", NOW - MINUTE),
    "it was released": lambda store: _released(store),
    "it never was": lambda _: Held("nothing", "a", 1, NOW + MINUTE),
}


def _lost_to_another(store: Store) -> Held:
    lost = held(store, "a", NOW - 2 * MINUTE)
    held(store, "b")
    return lost


def _retaken(store: Store) -> Held:
    lost = held(store, "a", NOW - 2 * MINUTE)
    held(store, "a")
    return lost


def _released(store: Store) -> Held:
    lease = held(store, "a")
    with store.begin() as session:
        leases.release(session, lease)
    return lease


@pytest.mark.parametrize("how", LOST)
def test_a_lost_lease_is_neither_good_nor_renewed_when(store: Store, how: str) -> None:
    lease = LOST[how](store)
    with pytest.raises(Refused, match="lease on"), store.begin() as session:
        leases.check(session, lease, NOW)
    with pytest.raises(Refused, match="lease on"), store.begin() as session:
        leases.renew(session, lease, NOW, MINUTE)


def test_a_call_that_would_outlast_the_lease_is_refused(store: Store) -> None:
    lease = held(store, "a")
    with store.begin() as session:
        leases.check(session, lease, NOW, needs=dt.timedelta(seconds=59))
    with pytest.raises(Refused, match="too soon"), store.begin() as session:
        leases.check(session, lease, NOW, needs=dt.timedelta(seconds=60))


def test_a_renewed_lease_is_held_for_longer_under_the_same_fence(store: Store) -> None:
    lease = held(store, "a")
    with store.begin() as session:
        renewed = leases.renew(session, lease, NOW + MINUTE / 2, MINUTE)
    assert renewed == Held(lease.name, "a", lease.fence, NOW + MINUTE * 1.5)
    assert taken(store, "b", NOW + MINUTE * 1.2) is None


def test_renewing_never_shortens(store: Store) -> None:
    with store.begin() as session:
        lease = leases.take(session, "plan looker", "a", NOW, 10 * MINUTE)
        assert lease is not None
        assert leases.renew(session, lease, NOW, MINUTE).expires_at == NOW + 10 * MINUTE


def test_of_many_who_ask_at_once_exactly_one_gets_it(store: Store) -> None:
    held(store, "before", NOW - 2 * MINUTE)
    at_once = threading.Barrier(8)

    def ask(number: int) -> Held | None:
        with store.begin() as session:
            at_once.wait(timeout=30)
            return leases.take(session, "account looker 7", f"worker {number}", NOW, MINUTE)

    with ThreadPoolExecutor(8) as pool:
        got = [lease for lease in pool.map(ask, range(8)) if lease]
    assert [lease.fence for lease in got] == [2]


def test_of_many_who_ask_for_a_new_name_at_once_exactly_one_gets_it(store: Store) -> None:
    at_once = threading.Barrier(8)

    def ask(number: int) -> Held | None:
        with store.begin() as session:
            at_once.wait(timeout=30)
            return leases.take(session, "never seen", f"worker {number}", NOW, MINUTE)

    with ThreadPoolExecutor(8) as pool:
        assert sum(lease is not None for lease in pool.map(ask, range(8))) == 1


def test_a_checked_lease_cannot_be_taken_before_the_check_s_transaction_ends(store: Store) -> None:
    lease = held(store, "a")
    late = NOW + 2 * MINUTE
    with ThreadPoolExecutor(1) as pool:
        with store.begin() as session:
            leases.check(session, lease, NOW)
            other = pool.submit(taken, store, "b", late)
            with pytest.raises(TimeoutError):
                other.result(timeout=0.3)
        assert other.result(timeout=30) is not None


# --- a holder that has died ------------------------------------------------------------------------------------------


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[str]]:
    """A process beside ours; its `args` are of no interest, its life is."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def named(process: subprocess.Popen[str]) -> str:
    """As it would name itself."""
    place = owners.this_process().rsplit(":", 2)[0]
    return f"{place}:{process.pid}:0123abcd"


def test_the_lease_of_a_process_that_was_killed_is_free_at_once_with_a_higher_fence(
    store: Store, neighbour: subprocess.Popen[str]
) -> None:
    lease = held(store, named(neighbour))
    neighbour.kill()
    neighbour.wait()
    after = held(store, "b")
    assert after.fence == lease.fence + 1
    with pytest.raises(Refused, match="lost to another"), store.begin() as session:
        leases.check(session, lease, NOW)


@pytest.mark.parametrize("signal_", [signal.SIGCONT, signal.SIGSTOP], ids=["runs", "was stopped"])
def test_the_lease_of_a_process_that_lives_is_kept_when_it(
    store: Store, neighbour: subprocess.Popen[str], signal_: signal.Signals
) -> None:
    held(store, named(neighbour))
    neighbour.send_signal(signal_)
    assert taken(store, "b") is None


@pytest.mark.parametrize("other", ["machine", "container or boot", "naming"])
def test_a_lease_from_elsewhere_is_kept_until_it_expires_however_dead_its_process_looks_when_it_has_another(
    store: Store, neighbour: subprocess.Popen[str], other: str
) -> None:
    neighbour.kill()
    neighbour.wait()
    host, table, process, nonce = named(neighbour).split(":")
    owner = {
        "machine": f"elsewhere:{table}:{process}:{nonce}",
        "container or boot": f"{host}:{table}0:{process}:{nonce}",
        "naming": f"{host}:{process}:{nonce}",
    }[other]
    held(store, owner)
    assert taken(store, "b") is None
    assert taken(store, "b", NOW + MINUTE) is not None


def test_our_own_process_is_alive_and_never_named_twice_the_same(store: Store) -> None:
    assert not owners.certainly_dead(owners.this_process())
    assert owners.this_process() != owners.this_process()


# --- alone for one transaction ---------------------------------------------------------------------------------------


def test_only_one_transaction_is_alone_at_something_and_it_is_free_when_that_ends(store: Store) -> None:
    with store.begin() as first, store.begin() as second:
        assert leases.alone(first, "plan looker")
        assert not leases.alone(second, "plan looker")
        assert leases.alone(second, "plan teamcity")
    with store.begin() as third:
        assert leases.alone(third, "plan looker")
