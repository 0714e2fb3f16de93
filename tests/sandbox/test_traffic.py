"""The sandbox counts what it is asked, and has a limit where it is given one."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx

from worker.sandbox.world import World


def test_calls_are_counted_by_what_they_are_for_and_how_they_were_answered() -> None:
    with World.of(12).serve() as world, httpx.Client(trust_env=False) as http:
        for id in ("1", "2"):
            http.get(f"{world.teamcity.url}/app/rest/users/id:{id}")
        told = http.get(f"{world.teamcity.url}/_sandbox/traffic").json()
    assert told["calls"] == {"GET /app/rest/users/*": 2}
    assert told["statuses"] == {"401": 2}
    assert (told["worst_minute"], told["most_at_once"], told["limit"]) == (2, 1, None)


def test_beyond_its_limit_a_vendor_answers_429_and_does_nothing() -> None:
    with World.of(12).serve() as world, httpx.Client(trust_env=False) as http:
        http.post(f"{world.okta.url}/_sandbox/traffic", json={"limit": 2})
        answers = [http.post(f"{world.okta.url}/api/v1/users/me/lifecycle/suspend").status_code for _ in range(4)]
        told = http.post(f"{world.okta.url}/_sandbox/traffic", json={"limit": None}).json()
        assert answers == [401, 401, 429, 429]
        assert told["statuses"] == {"401": 2, "429": 2}
        assert len(world.okta.log) == 2, "what was refused has not reached the vendor"
        assert http.get(f"{world.okta.url}/_sandbox/traffic").json()["calls"] == {}, "it counts from the last look"


def test_a_request_that_breaks_off_in_its_middle_is_none() -> None:
    with World.of(12).serve() as world, httpx.Client(trust_env=False) as http:
        to = urlsplit(world.looker.url)
        with socket.create_connection((to.hostname, to.port)) as half:
            half.sendall(b"PATCH /api/4.0/users/1 HTTP/1.1\r\nHost: looker\r\nContent-Length: 20\r\n\r\n{")
        http.get(f"{world.looker.url}/api/4.0/user")
        told = http.get(f"{world.looker.url}/_sandbox/traffic").json()
    assert told["calls"] == {"GET /api/4.0/user": 1}
