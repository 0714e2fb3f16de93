"""Buckets in Redis, which all workers share: each question is one script there, by its clock, all or nothing.

Every key has an expiry, and none says whose tenant it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from urllib.parse import parse_qs, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError
from redis.retry import Retry

from worker.budget.terms import CROWDED, FEWEST_AT_ONCE, LEAVER, LONGEST_SHUT, SLOT_LIFE, Said, Terms, digest
from worker.errors import Misconfigured, Unavailable
from worker.ports import MOST_FOR_LEAVERS

MOMENT = 1.0  # seconds that Redis may take to answer
KEPT = int(2 * LONGEST_SHUT)  # seconds that what was learned of a tenant outlives the last call
NotAnswering = RedisError

# What both scripts begin with: the bucket as it is now, by the rules of Terms.flow, filled up since the last look.
_BUCKET = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end
local function exactly(number) return string.format('%.6f', number) end
local bucket, crowd, slots, kept = KEYS[1], KEYS[2], KEYS[3], ARGV[2]
local assumed, share, leavers, at_once = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local known = redis.call('HMGET', bucket, 'tokens', 'at', 'limit', 'shut', 'ordinary_shut')
local shut, ordinary_shut = tonumber(known[4]) or 0, tonumber(known[5]) or 0
local ours = (tonumber(known[3]) or assumed) * share
local burst = math.max(1, ours / 10)
local reserve = 0
if leavers > 0 then reserve = math.min(math.max(1, ours * leavers), ours * MOST_FOR_LEAVERS) end
local full = burst + reserve
local rate = math.max(ours - full, ours / 2) / 60
local tokens = full
if known[1] then tokens = math.min(full, known[1] + math.max(0, now - known[2]) * rate) end
local function remember(key, ...)
  redis.call('HSET', key, ...)
  redis.call('EXPIRE', key, kept)
end
""".replace("MOST_FOR_LEAVERS", str(MOST_FOR_LEAVERS))

TAKE = (
    _BUCKET
    + """
local leaver, slot, life = ARGV[7] == '1', ARGV[8], tonumber(ARGV[9])
local function wait(seconds) return exactly(math.max(0.001, seconds)) end
if not leaver then shut = math.max(shut, ordinary_shut) end
if shut > now then return wait(shut - now) end
local needed = 1
if not leaver then needed = 1 + reserve end
if tokens + 0.000001 < needed then return wait((needed - tokens) / rate) end
if slot ~= '' then
  redis.call('ZREMRANGEBYSCORE', slots, '-inf', exactly(now))
  local room = math.min(at_once, tonumber(redis.call('HGET', crowd, 'width')) or at_once)
  if not leaver and leavers > 0 then room = room - math.max(1, room * leavers) end
  if redis.call('ZCARD', slots) + 1 > room then return 'crowded' end
  redis.call('ZADD', slots, exactly(now + life), slot)
  redis.call('EXPIRE', slots, math.ceil(life))
end
remember(bucket, 'tokens', exactly(tokens - 1), 'at', exactly(now))
return '0'
"""
)

SETTLE = (
    _BUCKET
    + """
local fewest, slot, answered, crowded = tonumber(ARGV[7]), ARGV[8], ARGV[9] == '1', ARGV[10] == '1'
local limit, remaining = tonumber(ARGV[11]), tonumber(ARGV[12])
if slot ~= '' then redis.call('ZREM', slots, slot) end
local at_most = redis.call('HMGET', crowd, 'width', 'cut')
local width = tonumber(at_most[1]) or at_once
if crowded and now - (tonumber(at_most[2]) or -1) >= 1 then
  redis.call('ZREMRANGEBYSCORE', slots, '-inf', exactly(now))
  local under_way = redis.call('ZCARD', slots) + 1
  remember(crowd, 'width', exactly(math.max(fewest, math.min(width, under_way) / 2)), 'cut', exactly(now))
elseif answered and width < at_once then
  remember(crowd, 'width', exactly(math.min(at_once, width + 1 / width)))
end
if limit then remember(bucket, 'limit', exactly(limit)) end
local function later(already, seconds)
  if seconds > 0 then already = math.max(already, now + seconds) end
  return exactly(already)
end
remember(
  bucket,
  'tokens', exactly(math.min(tokens, remaining)), 'at', exactly(now),
  'shut', later(shut, tonumber(ARGV[13])),
  'ordinary_shut', later(ordinary_shut, tonumber(ARGV[14]))
)
return '0'
"""
)


class Shared:
    """Raises NotAnswering within a moment when Redis does not answer."""

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self._redis = client(url)
        self._clock = clock
        self._take = self._redis.register_script(TAKE)
        self._settle = self._redis.register_script(SETTLE)

    def close(self) -> None:
        self._redis.close()

    def take(self, terms: Terms, bucket: str, lane: str, slot: str) -> float:
        wait = self._take(
            keys=_keys(terms, bucket),
            args=[
                *self._first(terms),
                int(lane == LEAVER),
                slot,
                SLOT_LIFE,
            ],
        )
        return CROWDED if wait == "crowded" else float(wait)

    def settle(self, terms: Terms, bucket: str, slot: str, outcome: Said) -> None:
        limit = "" if outcome.limit is None else outcome.limit
        self._settle(
            keys=_keys(terms, bucket),
            args=[
                *self._first(terms),
                FEWEST_AT_ONCE,
                slot,
                int(outcome.answered),
                int(outcome.crowd),
                limit,
                outcome.remaining,
                outcome.shut,
                outcome.ordinary_shut,
            ],
        )

    def _first(self, terms: Terms) -> Sequence[str | float]:
        now = self._clock() if self._clock else ""
        return now, KEPT, terms.per_minute, terms.share, terms.leavers, terms.at_once


def _keys(terms: Terms, bucket: str) -> list[str]:
    """In braces what keeps them together in a cluster."""
    place = f"trueup:rate:{{{terms.tenant}}}"
    return [f"{place}:{digest(bucket)}", f"{place}:crowd", f"{place}:slots"]


def client(url: str) -> Redis:
    """Raises Misconfigured without repeating the address, which may hold a password."""
    if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
        raise Misconfigured("TRUEUP_REDIS_URL is no address of a Redis: write redis://, rediss:// or unix://.")
    loosened = [option for option in parse_qs(urlsplit(url).query) if option in ("ssl_cert_reqs", "ssl_check_hostname")]
    if loosened:
        raise Misconfigured(
            f"TRUEUP_REDIS_URL sets {loosened[0]}; the certificate of a rediss:// is always checked."
            " Leave it out, and name your authority's file with ssl_ca_certs."
        )
    try:
        # One more try at once: a connection that was idle while Redis restarted is no reason to go without it.
        return Redis.from_url(
            url,
            socket_timeout=MOMENT,
            socket_connect_timeout=MOMENT,
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionLost,)),
            decode_responses=True,
        )
    except ValueError as error:
        raise Misconfigured("TRUEUP_REDIS_URL is no address that redis-py understands.") from error


def ping(url: str) -> None:
    """Raises Unavailable unless the Redis at this address answers within a moment."""
    try:
        with closing(client(url)) as redis:
            redis.ping()
    except RedisError as error:
        said = type(error).__name__
        raise Unavailable(f"Redis does not answer ({said}). Is it up, and TRUEUP_REDIS_URL right?") from error
