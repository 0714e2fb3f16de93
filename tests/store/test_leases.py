"""One holder at a time, whoever asks at once, and nobody acts on a lease that is no longer theirs."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from worker.errors import Lost
from worker.store import leases, owners
from worker.store.leases import Held
from worker.store.session import Store

MINUTE = dt.timedelta(minutes=1)


def taken(store: Store, owner: str, name: str = "account looker 7") -> Held | None:
    with store.begin() as session:
        return leases.take(session, name, owner, MINUTE)


def held(store: Store, owner: str) -> Held:
    lease = taken(store, owner)
    assert lease is not None
    return lease


def expire(store: Store, since: dt.timedelta = MINUTE) -> None:
    """Every lease has ended so long ago, by the clock that counts."""
    with store.begin() as session:
        session.execute(text("UPDATE lease SET expires_at = clock_timestamp() - :since"), {"since": since})


def expired(store: Store, owner: str) -> Held:
    """Had, and over."""
    lease = held(store, owner)
    expire(store)
    return lease


def seconds_left(store: Store, lease: Held) -> float:
    with store.begin() as session:
        return float(
            session.scalars(
                text("SELECT extract(epoch FROM expires_at - clock_timestamp()) FROM lease WHERE name = :name"),
                {"name": lease.name},
            ).one()
        )


def test_a_free_lease_is_had_and_never_thought_to_last_longer_than_it_does(store: Store) -> None:
    lease = held(store, "a")
    assert (lease.name, lease.owner, lease.fence) == ("account looker 7", "a", 1)
    ours = lease.ends - time.monotonic()
    theirs = seconds_left(store, lease)
    assert 0 < ours < theirs + 0.05
    assert 50 < theirs <= 60


@pytest.mark.parametrize("owner", ["b", "a"])
def test_a_held_lease_is_not_had_by_another_nor_twice_by_the_same(store: Store, owner: str) -> None:
    held(store, "a")
    assert taken(store, owner) is None


@pytest.mark.parametrize("off", [-3600.0, 3600.0], ids=["an hour slow", "an hour fast"])
def test_whoever_s_clock_is_wrong_neither_steals_a_lease_nor_keeps_one(
    store: Store, monkeypatch: pytest.MonkeyPatch, off: float
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + off)
    lease = held(store, "a")
    assert 50 < seconds_left(store, lease) <= 60
    assert taken(store, "b") is None
    expire(store)
    assert taken(store, "b") is not None


def test_leases_of_different_names_do_not_hinder_each_other(store: Store) -> None:
    held(store, "a")
    assert taken(store, "b", name="account looker 8") is not None


def test_an_expired_lease_is_had_with_a_higher_fence(store: Store) -> None:
    assert expired(store, "b").fence < held(store, "a").fence


def test_a_released_lease_is_free_at_once_and_its_fence_still_rises(store: Store) -> None:
    first = held(store, "a")
    with store.begin() as session:
        leases.release(session, first)
    assert held(store, "b").fence == first.fence + 1


def test_releasing_what_was_lost_leaves_the_new_holder_alone(store: Store) -> None:
    lost = expired(store, "a")
    current = held(store, "b")
    with store.begin() as session:
        leases.release(session, lost)
        leases.check(session, current)


LOST: dict[str, Callable[[Store], Held]] = {
    "another took it": lambda store: _lost_to_another(store),
    "the same owner took it anew": lambda store: _retaken(store),
    "it expired": lambda store: expired(store, "a"),
    "it was released": lambda store: _released(store),
    "it never was": lambda _: Held("nothing", "a", 1, time.monotonic() + 60),
}


def _lost_to_another(store: Store) -> Held:
    lost = expired(store, "a")
    held(store, "b")
    return lost


def _retaken(store: Store) -> Held:
    lost = expired(store, "a")
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
    with pytest.raises(Lost, match="lease on"), store.begin() as session:
        leases.check(session, lease)
    with pytest.raises(Lost, match="lease on"), store.begin() as session:
        leases.renew(session, lease, MINUTE)


@pytest.mark.parametrize("how", [how for how in LOST if how != "it expired"])
def test_who_has_lost_a_lease_writes_nothing_when(store: Store, how: str) -> None:
    lease = LOST[how](store)
    with pytest.raises(Lost, match="lost to another"), store.begin() as session:
        leases.still_ours(session, lease)


def test_who_is_late_may_write_down_what_was_done_while_nobody_has_taken_over(store: Store) -> None:
    lease = expired(store, "a")
    with store.begin() as session:
        leases.still_ours(session, lease)


def test_a_call_that_would_outlast_the_lease_is_refused(store: Store) -> None:
    lease = held(store, "a")
    with store.begin() as session:
        leases.check(session, lease, needs=dt.timedelta(seconds=30))
    with pytest.raises(Lost, match="too soon"), store.begin() as session:
        leases.check(session, lease, needs=dt.timedelta(seconds=60))


def test_a_renewed_lease_is_held_for_longer_under_the_same_fence(store: Store) -> None:
    lease = held(store, "a")
    expire(store, -MINUTE / 6)  # ten seconds are left
    with store.begin() as session:
        renewed = leases.renew(session, lease, MINUTE)
    assert (renewed.owner, renewed.fence) == (lease.owner, lease.fence)
    assert renewed.ends > lease.ends
    assert 50 < seconds_left(store, lease) <= 60
    assert taken(store, "b") is None


def test_renewing_never_shortens(store: Store) -> None:
    with store.begin() as session:
        lease = leases.take(session, "plan looker", "a", 10 * MINUTE)
        assert lease is not None
        assert leases.renew(session, lease, MINUTE).ends == lease.ends
    assert seconds_left(store, lease) > 540


def test_of_many_who_ask_at_once_exactly_one_gets_it(store: Store) -> None:
    expired(store, "before")
    at_once = threading.Barrier(8)

    def ask(number: int) -> Held | None:
        with store.begin() as session:
            at_once.wait(timeout=30)
            return leases.take(session, "account looker 7", f"worker {number}", MINUTE)

    with ThreadPoolExecutor(8) as pool:
        got = [lease for lease in pool.map(ask, range(8)) if lease]
    assert [lease.fence for lease in got] == [2]


def test_of_many_who_ask_for_a_new_name_at_once_exactly_one_gets_it(store: Store) -> None:
    at_once = threading.Barrier(8)

    def ask(number: int) -> Held | None:
        with store.begin() as session:
            at_once.wait(timeout=30)
            return leases.take(session, "never seen", f"worker {number}", MINUTE)

    with ThreadPoolExecutor(8) as pool:
        assert sum(lease is not None for lease in pool.map(ask, range(8))) == 1


def test_a_checked_lease_cannot_be_taken_before_the_check_s_transaction_ends(store: Store) -> None:
    lease = held(store, "a")
    expire(store, dt.timedelta(seconds=-1))
    with ThreadPoolExecutor(1) as pool:
        with store.begin() as session:
            leases.check(session, lease)
            while seconds_left(store, lease) > 0:
                pass
            other = pool.submit(taken, store, "b")
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
    with pytest.raises(Lost, match="lost to another"), store.begin() as session:
        leases.check(session, lease)


def test_the_lease_of_a_process_that_was_killed_is_free_though_nobody_has_asked_how_it_ended(
    store: Store, neighbour: subprocess.Popen[str]
) -> None:
    held(store, named(neighbour))
    neighbour.kill()
    os.waitid(os.P_PID, neighbour.pid, os.WEXITED | os.WNOWAIT)
    os.kill(neighbour.pid, 0)  # it has its number still
    assert taken(store, "b") is not None


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
    expire(store)
    assert taken(store, "b") is not None


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
