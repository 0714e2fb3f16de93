"""The rate budget at work in a whole Trueup: settings, waiting that can be stopped, and books of what was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from tests.flows.rig import Rig
from worker import wiring
from worker.embedded import redis
from worker.errors import Misconfigured, Paused, Rationed
from worker.flows.check import check
from worker.store import installations
from worker.store.tables import VendorUse

ONE_CALL = {"teamcity": {"per_minute": 2, "share": "100%", "leavers": "0%"}}  # and another one a minute later
CRAWL = {"teamcity": {"per_minute": 1, "share": "10%"}}


def used(rig: Rig) -> dict[str, VendorUse]:
    with wiring.open_store() as store, store.begin() as session:
        return {row.connector: row for row in session.exec(select(VendorUse))}


def test_every_call_of_every_command_is_in_the_books(rig: Rig) -> None:
    calls: Counter[str] = Counter()
    for server in rig.world.servers:
        server.observers.append(lambda exchange: calls.update([exchange.vendor]))
    for _ in range(2):
        with rig.open() as site:
            check(site)
    assert {name: row.calls for name, row in used(rig).items()} == calls
    assert len(calls) == 3


def test_the_books_can_be_brought_up_to_date_at_any_time(rig: Rig) -> None:
    with rig.open() as site:
        site.targets["teamcity"].instance()
        assert used(rig) == {}
        site.count_calls()
        assert set(used(rig)) == {"teamcity"}


def test_rates_hold_a_connector_back(rig: Rig) -> None:
    rig.world.teamcity.reads.clear()
    with rig.open(rates=CRAWL) as site, pytest.raises(Rationed, match="teamcity lets no more calls"):
        site.targets["teamcity"].instance()
    assert rig.world.teamcity.reads.total() == 1


@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_whoever_waits_for_a_turn_notices_that_it_is_over(rig: Rig, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    with rig.open(rates=ONE_CALL) as site:

        def somebody_ends_it(seconds: float) -> bool:
            """In place of the waiting."""
            assert seconds <= wiring.LOOK
            if how == "stopped":
                site.stopped.set()
            else:
                with site.begin() as session:
                    installations.pause(session, "teamcity", "operator:ana", "maintenance", site.now())
            return site.stopped.is_set()

        monkeypatch.setattr(site.stopped, "wait", somebody_ends_it)
        with pytest.raises(Paused):
            site.targets["teamcity"].instance()


def test_a_redis_that_is_named_is_shared_and_one_that_is_away_is_no_obstacle(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, new_state: Callable[[], Path]
) -> None:
    with redis.running(new_state()) as server:
        monkeypatch.setenv(wiring.REDIS, server.url)
        with rig.open(rates=CRAWL) as site, pytest.raises(Rationed):
            site.targets["teamcity"].instance()
        with rig.open(rates=CRAWL) as site:
            rig.world.teamcity.reads.clear()
            with pytest.raises(Rationed):
                site.targets["teamcity"].instance()
            assert rig.world.teamcity.reads.total() == 0
    with rig.open() as site:
        site.targets["teamcity"].instance()
    assert "Redis does not answer" in " ".join(rig.said)


@pytest.mark.parametrize(
    ("rates", "fault"),
    [
        ({"okta": {"share": "0%"}}, "trueup pause"),
        ({"okta": {"leavers": "60%"}}, "at most 40%"),
        ({"okta": {"per_minute": 0}}, "okta.per_minute"),
        ({"nobody": {}}, "nobody"),
    ],
)
def test_rates_that_make_no_sense_are_said_with_their_place(rig: Rig, rates: dict[str, Any], fault: str) -> None:
    with pytest.raises(Misconfigured, match=fault), rig.open(rates=rates):
        pass


# Addresses


def test_an_address_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "address"
    file.write_text("redis://:hush@redis.test/0\n")
    monkeypatch.delenv(wiring.REDIS, raising=False)
    monkeypatch.setenv(f"{wiring.REDIS}_FILE", str(file))
    assert wiring.redis_url() == "redis://:hush@redis.test/0"


@pytest.mark.parametrize("variable", [wiring.REDIS, wiring.DATABASE, wiring.OWNER_DATABASE])
def test_two_addresses_are_one_too_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    (tmp_path / "address").write_text("x")
    monkeypatch.setenv(variable, "y")
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "address"))
    with pytest.raises(Misconfigured, match=f"{variable} and {variable}_FILE are both set"):
        wiring.named(variable)


def test_the_database_too_may_be_named_in_files(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in (wiring.DATABASE, wiring.OWNER_DATABASE):
        address = wiring.named(variable)
        assert address
        (tmp_path / variable).write_text(address)
        monkeypatch.delenv(variable)
        monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / variable))
    assert wiring.database_status().current
    with rig.open() as site:
        site.targets["teamcity"].instance()


def test_an_embedded_redis_that_runs_is_found_beside_an_embedded_database_only(
    monkeypatch: pytest.MonkeyPatch, new_state: Callable[[], Path]
) -> None:
    state = new_state()
    monkeypatch.setenv("TRUEUP_STATE", str(state))
    for variable in (wiring.REDIS, wiring.DATABASE):
        monkeypatch.delenv(variable, raising=False)
    assert wiring.known_redis() is None
    with pytest.raises(Misconfigured, match=wiring.REDIS):
        wiring.redis_url()
    with redis.running(state) as server:
        assert wiring.known_redis() == server.url
        monkeypatch.setenv(wiring.DATABASE, "postgresql://elsewhere.test/trueup")
        assert wiring.known_redis() is None
