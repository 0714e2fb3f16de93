"""The rate budget against a real Redis: what all workers together may do, what answers change, and what breaks."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from worker.budget import Budget, Terms, Use, budget, tenant_of
from worker.budget.local import Local
from worker.budget.shared import Shared
from worker.budget.terms import LEAVER, SLOT_LIFE, Buckets, Said, said
from worker.embedded import redis
from worker.errors import Misconfigured, Paused, Unavailable
from worker.ports import Gauge, Line
from worker.rest import CALLS_END, LANE

TEN_WORKERS = """\
import json, os, sys, time
from worker.budget import Budget, Terms
from worker.errors import Unavailable
url, seconds, terms = sys.argv[1], float(sys.argv[2]), Terms(**json.loads(sys.argv[3]))
begin = time.monotonic() + 1.0
for _ in range(10):
    if os.fork() == 0:
        line, made = Budget(url).line("acme", terms, longest_wait=seconds), 0
        time.sleep(max(0.0, begin - time.monotonic()))
        try:
            while time.monotonic() < begin + seconds:
                line.before("")
                made += 1
                line.after("", 200, None)
        except Unavailable:
            pass
        os.write(1, f"{made}\\n".encode())
        os._exit(0)
for _ in range(10):
    os.wait()
print(time.monotonic() - begin)
"""
KILLED_WORKER = """\
import json, os, sys
from worker.budget import Budget, Terms
Budget(sys.argv[1], clock=lambda: float(sys.argv[2])).line("acme", Terms(**json.loads(sys.argv[3]))).before("")
os.kill(os.getpid(), 9)
"""


class Clock:
    """Moves when somebody waits by it."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture(scope="module")
def server(new_state: Callable[[], Path]) -> Iterator[redis.Embedded]:
    with redis.running(new_state()) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


def terms(per_minute: float = 600, share: float = 0.5, leavers: float = 0.2, at_once: int = 8) -> Terms:
    """Of a tenant that no other test has."""
    return Terms(tenant_of("okta", f"https://{uuid.uuid4().hex}.test"), per_minute, share, leavers, at_once)


def as_text(some: Terms) -> str:
    return json.dumps({name: getattr(some, name) for name in Terms.__slots__})


@pytest.fixture(params=["in Redis", "in this process"])
def buckets(request: pytest.FixtureRequest, server: redis.Embedded, clock: Clock) -> Iterator[Buckets]:
    if request.param == "in this process":
        yield Local(clock)
        return
    shared = Shared(server.url, clock)
    yield shared
    shared.close()


@pytest.fixture
def together(server: redis.Embedded, clock: Clock) -> Iterator[Budget]:
    """A budget that goes by the test's clock."""
    made = Budget(server.url, clock=clock)
    yield made
    made.close()


@contextmanager
def lane(name: str) -> Iterator[None]:
    token = LANE.set(name)
    try:
        yield
    finally:
        LANE.reset(token)


def call(line: Line, bucket: str = "", status: int = 200, gauge: Gauge | None = None) -> None:
    line.before(bucket)
    line.after(bucket, status, gauge)


def at_once(line: Line, most: int = 100) -> int:
    """How many calls get through before one would have to wait. They are answered."""
    made = 0
    try:
        for made in range(most):  # noqa: B007
            call(line)
    except Unavailable:
        return made
    return most


# The rate


def taken(buckets: Buckets, some: Terms, clock: Clock, seconds: float, lanes: tuple[str, ...]) -> list[float]:
    """When calls got through, to somebody who wants one at every moment."""
    times, end, turn = [], clock() + seconds, random.Random(7)
    while clock() < end:
        lane = turn.choice(lanes)
        wait = buckets.take(some, "", lane, "")
        if wait:
            clock.sleep(wait)
        else:
            times.append(clock())
    return times


@pytest.mark.parametrize("lanes", [("",), (LEAVER,), ("", LEAVER)], ids=["ordinary", "leavers", "both"])
@pytest.mark.parametrize(("per_minute", "share"), [(600, 0.5), (60, 0.5), (10, 1.0), (4, 0.5), (1, 1.0), (601, 0.33)])
def test_in_no_minute_are_there_more_calls_than_our_share_and_not_many_fewer(
    buckets: Buckets, clock: Clock, per_minute: int, share: float, lanes: tuple[str, ...]
) -> None:
    times = taken(buckets, terms(per_minute, share), clock, 300, lanes)
    ours = per_minute * share
    busiest = max(sum(1 for time in times if start <= time < start + 60) for start in times)
    assert busiest <= max(1, ours)
    assert len(times) >= 5 * ours * 0.45 - 1


def test_workers_in_many_processes_keep_to_the_rate_together(server: redis.Embedded) -> None:
    some = terms(per_minute=1200)
    workers = [sys.executable, "-c", TEN_WORKERS, server.url, "1.5", as_text(some)]
    *made, took = subprocess.run(workers, check=True, timeout=60, capture_output=True, text=True).stdout.split()
    assert len(made) == 10
    full, reserve, rate = some.flow(some.per_minute)
    assert full - reserve <= sum(map(int, made)) <= full + rate * float(took)


def test_threads_keep_to_the_rate_together(server: redis.Embedded) -> None:
    some, shared, moment = terms(per_minute=600), Shared(server.url, Clock()), threading.Barrier(8)

    def take_all(_: int) -> int:
        moment.wait()
        return sum(shared.take(some, "", "", "") == 0 for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take_all, range(8))) == 30
    shared.close()


def test_buckets_and_tenants_are_counted_apart(buckets: Buckets) -> None:
    one, other = terms(per_minute=2, share=1.0), terms(per_minute=2, share=1.0)
    assert buckets.take(one, "/users", "", "") == 0
    assert buckets.take(one, "/users", "", "") > 0
    assert buckets.take(one, "/groups", "", "") == 0
    assert buckets.take(other, "/users", "", "") == 0


def test_the_rules_are_the_same_in_redis_and_in_this_process(server: redis.Embedded, clock: Clock) -> None:
    """A long walk, the same for both: every answer has to be."""
    walk, some = random.Random(11), terms(per_minute=120, at_once=4)
    local, shared = Local(clock), Shared(server.url, clock)
    held: list[tuple[str, str]] = []
    answers = {"through": 0, "wait": 0}
    for number in range(1500):
        bucket = walk.choice(["/users", "/groups"])
        match walk.choice(["take", "take", "settle", "wait"]):
            case "take":
                lane, slot = walk.choice(["", LEAVER]), walk.choice(["", f"call {number}"])
                here, there = local.take(some, bucket, lane, slot), shared.take(some, bucket, lane, slot)
                assert here == pytest.approx(there, abs=1e-4)
                answers["wait" if here else "through"] += 1
                if not here:
                    held.append((bucket, slot))
            case "settle" if held:
                place, slot = held.pop(walk.randrange(len(held)))
                status = walk.choice([0, 200, 200, 404, 429, 500])
                limit = walk.choice([-1, 0, 60, 120, 240])
                gauge = walk.choice([None, Gauge(limit, walk.choice([0, 2, 8, 50]), walk.uniform(0, 5))])
                for buckets in (local, shared):
                    buckets.settle(some, place, slot, said(some, status, gauge))
            case _:
                clock.sleep(walk.uniform(0, 2))
    shared.close()
    assert min(answers.values()) > 50, "the walk hardly went anywhere"


# Leavers


def test_leavers_get_through_while_the_ordinary_lane_is_used_up(together: Budget) -> None:
    line = together.line("okta", terms(), longest_wait=0)
    assert at_once(line) == 30
    with lane(LEAVER):
        assert at_once(line) == 60, "a fifth of our 300"


def test_leavers_get_through_while_the_ordinary_lane_has_all_its_calls_under_way(buckets: Buckets) -> None:
    some = terms(at_once=5)
    ordinary = [buckets.take(some, "", "", f"call {n}") for n in range(6)]
    assert ordinary == [0, 0, 0, 0, pytest.approx(0.05), pytest.approx(0.05)]
    assert buckets.take(some, "", LEAVER, "a leaver's") == 0


def test_without_a_reserve_everything_is_everybodys(together: Budget) -> None:
    assert at_once(together.line("okta", terms(leavers=0.0), longest_wait=0)) == 30


# What the vendor says


def test_the_vendors_limit_takes_the_place_of_the_assumed_one(together: Budget, clock: Clock) -> None:
    some = terms(per_minute=600)
    line = together.line("okta", some, longest_wait=0)
    call(line, gauge=Gauge(100, 99, 60))
    assert at_once(line) == 5
    clock.sleep(60)
    other = together.line("the same tenant by another name", some, longest_wait=0)
    assert at_once(other) == 5


def test_what_others_have_used_is_not_there_for_us(together: Budget) -> None:
    line = together.line("okta", terms(leavers=0.0), longest_wait=0)
    call(line, gauge=Gauge(600, 3, 60))
    assert at_once(line) == 3


def test_nothing_is_called_when_the_window_is_used_up(together: Budget, clock: Clock) -> None:
    line = together.line("okta", terms(), longest_wait=10)
    call(line, gauge=Gauge(600, 0, 40))
    for whose in ("", LEAVER):
        with lane(whose), pytest.raises(Unavailable, match="no more calls") as caught:
            call(line)
        assert caught.value.retry_after == pytest.approx(40, abs=0.1)
    clock.sleep(40)
    call(line)


def test_a_leaver_waits_for_no_vendor_that_lets_nobody_through_for_long(together: Budget, clock: Clock) -> None:
    line = together.line("okta", terms(), sleep=clock.sleep)
    call(line, gauge=Gauge(600, 0, 40))
    began = clock()
    with lane(LEAVER), pytest.raises(Unavailable, match="no more calls") as caught:
        call(line)
    assert (caught.value.retry_after, clock()) == (pytest.approx(40, abs=0.1), began)
    call(line)
    assert clock() == pytest.approx(began + 40, abs=0.1), "everybody else does"


def test_the_last_of_a_window_is_the_leavers(together: Budget, clock: Clock) -> None:
    line = together.line("okta", terms(), sleep=clock.sleep, longest_wait=10)
    call(line, gauge=Gauge(600, 50, 40))  # of 600, 300 are ours, and of these 60 the leavers'
    with pytest.raises(Unavailable) as caught:
        call(line)
    assert caught.value.retry_after == pytest.approx(40, abs=0.1), "what trickles in meanwhile is theirs, too"
    with lane(LEAVER):
        call(line)
    clock.sleep(40)
    call(line)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_shuts_the_bucket_for_every_worker(server: redis.Embedded, clock: Clock, status: int) -> None:
    some, workers = terms(), [Budget(server.url, clock=clock) for _ in range(2)]
    here, there = (worker.line("looker", some, longest_wait=5) for worker in workers)
    call(here, status=status, gauge=Gauge(-1, 0, 20))
    with pytest.raises(Unavailable) as caught:
        call(there)
    assert caught.value.retry_after == pytest.approx(20, abs=0.1)
    clock.sleep(20)
    call(there)
    assert workers[0].used() == {"looker": Use(1, int(status == 429), 0)}
    for worker in workers:
        worker.close()


def test_no_vendor_shuts_us_out_for_longer_than_an_hour(together: Budget, clock: Clock) -> None:
    line = together.line("okta", terms(), longest_wait=0)
    call(line, status=429, gauge=Gauge(600, 0, float("inf")))
    clock.sleep(3600)
    call(line)


def test_too_many_at_once_is_met_with_fewer_at_once_and_no_waiting_for_the_window(
    buckets: Buckets, clock: Clock
) -> None:
    some, crowded = terms(at_once=16, leavers=0.0), said(terms(), 429, Gauge(0, 0, 60))
    unanswered, answered = said(some, 0, None), said(some, 200, None)

    def under_way(most: int) -> list[str]:
        return [slot for slot in map(str, range(most)) if buckets.take(some, "", "", slot) == 0]

    def over(slots: list[str], outcome: Said) -> None:
        for slot in slots:
            buckets.settle(some, "", slot, outcome)

    slots = under_way(12)
    assert len(slots) == 12
    over(slots[:2], crowded)  # of the same crowd, and so counted once
    over(slots[2:], unanswered)
    slots = under_way(9)
    assert len(slots) == 6
    over(slots, unanswered)
    for _ in range(150):
        clock.sleep(1)
        over(under_way(1), answered)
    assert len(under_way(17)) == 16


def test_a_login_on_the_way_to_a_call_is_under_way_in_its_stead(together: Budget) -> None:
    line = together.line("looker", terms(at_once=2), longest_wait=0)
    line.before("")
    call(line)
    with pytest.raises(Unavailable), ThreadPoolExecutor(1) as other:
        other.submit(call, line).result()
    line.after("", 200, None)
    call(line)


# Waiting


def test_a_call_waits_for_its_turn_and_the_waiting_is_counted(together: Budget, clock: Clock) -> None:
    line = together.line("okta", terms(), sleep=clock.sleep)
    began = clock()
    for _ in range(40):
        call(line)
    assert clock() - began == pytest.approx(10 / 3.5, rel=0.05)
    used = together.used()["okta"]
    assert (used.calls, used.throttled) == (40, 0)
    assert used.waited == pytest.approx(clock() - began)
    assert together.used() == {}


def test_no_call_waits_beyond_the_claim_on_its_account(server: redis.Embedded) -> None:
    with_time = Budget(server.url)
    line = with_time.line("okta", terms())
    call(line, gauge=Gauge(600, 0, 30))
    token = CALLS_END.set(time.monotonic() + 10)
    with pytest.raises(Unavailable):
        call(line)
    CALLS_END.reset(token)
    with_time.close()


def test_who_is_paused_takes_nothing_from_the_budget(together: Budget) -> None:
    some = terms()

    def paused() -> None:
        raise Paused("paused")

    with pytest.raises(Paused):
        call(together.line("okta", some, paused))
    assert at_once(together.line("okta", some, longest_wait=0)) == 30


# Redis goes away, and what stays in it


@pytest.fixture
def own(new_state: Callable[[], Path]) -> Iterator[Path]:
    """A folder whose Redis may be killed."""
    state = new_state()
    redis.start(state)
    yield state
    redis.stop(state)


def test_when_redis_is_killed_calls_go_on_slowly_and_return_to_it(
    own: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "AGAIN", 0.0)
    server, news, some = redis.start(own), list[str](), terms(leavers=0.0)
    worker = Budget(server.url, news.append, clock)
    line = worker.line("okta", some, longest_wait=0)
    call(line)
    with Redis.from_url(server.url) as asked:
        process = asked.info("server")["process_id"]
    os.kill(process, signal.SIGKILL)
    assert at_once(line) == 7  # of a quarter of 300 a minute
    assert [text.split(":")[0] for text in news] == ["Redis does not answer (ConnectionError)"]
    redis.start(own)
    clock.sleep(60)
    call(line)
    assert news[1:] == ["Redis answers again: calls to vendors are paced together with the other workers'."]
    assert at_once(line) >= 28
    worker.close()


def test_what_the_vendor_said_outlives_redis(own: Path, clock: Clock) -> None:
    worker = Budget(redis.start(own).url, clock=clock)
    line = worker.line("okta", terms(), longest_wait=5)
    call(line, gauge=Gauge(600, 0, 40))
    redis.stop(own)
    with pytest.raises(Unavailable) as caught:
        call(line)
    assert caught.value.retry_after == pytest.approx(40, abs=0.1)
    worker.close()


def test_a_redis_that_does_not_answer_holds_up_a_few_calls_and_not_each_one(own: Path) -> None:
    server, news = redis.start(own), list[str]()
    worker = Budget(server.url, news.append)
    line = worker.line("okta", terms(per_minute=60_000))
    with Redis.from_url(server.url) as asked:
        process = asked.info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        began = time.monotonic()
        for _ in range(200):
            call(line)
        assert time.monotonic() - began < 3
        assert len(news) == 1
    finally:
        os.kill(process, signal.SIGCONT)
    worker.close()


def test_alone_without_any_redis_the_whole_share_is_ours(clock: Clock) -> None:
    assert at_once(Budget(clock=clock).line("okta", terms(), longest_wait=0)) == 30


def test_the_place_of_a_killed_worker_comes_back(server: redis.Embedded, clock: Clock) -> None:
    some = terms(at_once=2)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WORKER, server.url, str(clock()), as_text(some)], check=False, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    worker = Budget(server.url, clock=clock)
    line = worker.line("acme", some, longest_wait=0)
    with pytest.raises(Unavailable):
        call(line)
    clock.sleep(SLOT_LIFE)
    call(line)
    worker.close()


def test_nothing_in_redis_lasts_or_says_whose_it_is(own: Path) -> None:
    server = redis.start(own)
    tenant = tenant_of("okta", "https://acme.okta.com/")
    worker = Budget(server.url)
    line = worker.line("okta", Terms(tenant, 600, 0.5, 0.2, 8))
    for status, gauge in ((200, Gauge(600, 5, 40)), (429, Gauge(0, 0, 60)), (200, None)):
        with lane(LEAVER):
            call(line, "/api/v1/users", status, gauge)
    with lane(LEAVER):
        line.before("/api/v1/users/{id}")
    with Redis.from_url(server.url, decode_responses=True) as asked:
        keys = asked.keys("*")
        kinds = {key: asked.type(key) for key in keys}
        assert sorted(kinds.values()) == ["hash", "hash", "hash", "zset"]
        assert all(0 < asked.ttl(key) <= 7200 for key in keys)
        written = [*keys, *(str(asked.hgetall(key)) for key in keys if kinds[key] == "hash")]
    assert not [text for text in written if any(word in text for word in ("acme", "okta", "api", "users"))]
    worker.close()


# Which tenant, which Redis


@pytest.mark.parametrize(
    ("type", "url", "same"),
    [
        ("okta", "https://ACME.okta.com/", True),
        ("okta", "https://acme.okta.com:443/path", True),
        ("okta", "https://acme.okta.com:8443", False),
        ("okta", "http://acme.okta.com", False),
        ("okta", "https://other.okta.com", False),
        ("entra", "https://acme.okta.com", False),
    ],
)
def test_everything_of_one_type_behind_one_host_is_one_tenant(type: str, url: str, same: bool) -> None:
    assert (tenant_of(type, url) == tenant_of("okta", "https://acme.okta.com")) is same


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://:hush@redis.test", "write redis://"),
        ("rediss://:hush@redis.test?ssl_cert_reqs=none", "always checked"),
        ("rediss://:hush@redis.test?ssl_check_hostname=false", "always checked"),
        ("redis://:hush@redis.test:port", "understands"),
    ],
)
def test_an_address_that_will_not_do_is_said_without_its_password(url: str, fault: str) -> None:
    with pytest.raises(Misconfigured, match=fault) as caught:
        Budget(url)
    assert "hush" not in str(caught.value)
