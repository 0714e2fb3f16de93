"""A furnished company has something of everything, the same each time; and servers next door can be edited by hand."""

from __future__ import annotations

import json

import httpx
import pytest

from worker.sandbox.furnishing import OUTSIDE, furnish
from worker.sandbox.seed import company
from worker.sandbox.world import World, serve_next_door

KINDS = ("schedules", "alerts", "content", "apps")


def furnished(size: int) -> World:
    world = World(company(size))
    furnish(world)
    return world


def test_somebody_has_something_of_everything_and_each_time_the_same() -> None:
    first, second = (furnished(40).looker.state() for _ in range(2))
    assert all(first[kind] for kind in KINDS)
    people = first["users"].values()
    assert all(any(user[kind] for user in people) for kind in ("sessions", "keys", "links"))
    assert any(("email", OUTSIDE) in plan["recipients"] for plan in first["schedules"].values())
    assert [{k: s[kind] for kind in KINDS for k in s[kind]} for s in (first, second)] == [
        {k: first[kind] for kind in KINDS for k in first[kind]}
    ] * 2


def test_machines_and_those_who_left_are_given_nothing() -> None:
    looker = furnished(60).looker.state()
    others = [u for u in looker["users"].values() if u["kind"] != "standard" or u["is_disabled"] or not u["email"]]
    assert others
    assert not any(user["sessions"] or user["links"] for user in others)


def test_whoever_works_in_teamcity_is_signed_in() -> None:
    world = furnished(40)
    users = world.teamcity.state()["users"]
    ours = users.pop(str(world.teamcity.own_id))
    assert ours["sessions"] == 0
    assert [u["username"] for u in users.values() if not u["sessions"]] == ["guest"]
    assert any(name.startswith("build script") for u in users.values() for name in u["tokens"])


def test_servers_next_door_are_furnished_edited_and_switched() -> None:
    with serve_next_door(12, furnished=True) as town:
        state = town.state("looker")
        somebody = next(id for id, user in state["users"].items() if user["sessions"])
        session = town.hand("looker", "add_session", somebody)
        town.hand("looker", "add_schedule", somebody, "By hand", "a@acme.example", enabled=False)
        town.switch("looker", keys_closed=False, denied=["GET /users/*/sessions"])
        state = town.state("looker")
        assert session in state["users"][somebody]["sessions"]
        assert [s["enabled"] for s in state["schedules"].values() if s["name"] == "By hand"] == [False]
        url = town.urls["looker"]
        for path, asked, status in (
            ("hand", {"do": "_by_hand"}, 404),
            ("hand", {"do": "serve"}, 404),
            ("hand", {"do": "add_session", "with": ["nobody"]}, 409),
            ("hand", {"do": "sso_arrival", "with": ["x@acme.example", "saml"]}, 409),
            ("switches", {"no_such": 1}, 404),
            ("switches", {"_tokens": {}}, 404),
        ):
            answer = httpx.post(f"{url}/_sandbox/{path}", content=json.dumps(asked), trust_env=False)
            assert answer.status_code == status, asked


@pytest.mark.parametrize("size", [12, 200])
def test_any_size_can_be_furnished(size: int) -> None:
    assert furnished(size).looker.state()["schedules"]
