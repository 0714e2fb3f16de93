"""Whoever remembers outside the database how far the trail is: what was noted is there, by its books, until it is noted
anew; and whoever cannot be asked says so."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from worker import embedded, wiring
from worker.embedded import redis
from worker.errors import Unavailable
from worker.flows import home
from worker.sandbox.world import World, settings_yaml
from worker.witness import InFile, InRedis, Witness

ANA, BEN = "a" * 64, "b" * 64  # books


@pytest.fixture(scope="module")
def server(new_state: Callable[[], Path]) -> Iterator[redis.Embedded]:
    with redis.running(new_state()) as running:
        yield running


@pytest.fixture(params=["a file", "Redis"])
def witness(request: pytest.FixtureRequest, tmp_path: Path, server: redis.Embedded) -> Iterator[Witness]:
    chosen = InFile(tmp_path / "witness.json") if request.param == "a file" else InRedis(server.url)
    yield chosen
    chosen.close()


def test_what_was_noted_is_there_by_its_books_until_it_is_noted_anew(witness: Witness) -> None:
    assert witness.noted(ANA) is None
    witness.note(ANA, 7, "d7")
    witness.note(BEN, 3, "d3")
    assert (witness.noted(ANA), witness.noted(BEN)) == ((7, "d7"), (3, "d3"))
    witness.note(ANA, 8, "d8")
    assert (witness.noted(ANA), witness.noted(BEN)) == ((8, "d8"), (3, "d3"))


def test_nobody_remembers_nothing() -> None:
    Witness().note(ANA, 7, "d7")
    assert Witness().noted(ANA) is None


def test_who_cannot_be_asked_or_told_says_so(tmp_path: Path, new_state: Callable[[], Path]) -> None:
    with closing(InRedis(f"unix://{new_state()}/nobody.sock")) as away, pytest.raises(Unavailable, match="not answer"):
        away.noted(ANA)
    (tmp_path / "damaged").write_text("{")
    with pytest.raises(Unavailable, match="delete it if it is damaged"):
        InFile(tmp_path / "damaged").noted(ANA)
    with pytest.raises(Unavailable, match="cannot be written"):
        InFile(tmp_path / "no folder" / "witness.json").note(ANA, 1, "d")


def test_an_embedded_database_whose_files_were_put_back_is_known_for_it(
    new_state: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = new_state()
    monkeypatch.setenv("TRUEUP_STATE", str(state))
    for name in (wiring.DATABASE, wiring.OWNER_DATABASE, wiring.REDIS):
        monkeypatch.delenv(name, raising=False)
    settings = tmp_path / "trueup.yaml"
    world = World.of(12)  # nobody is asked anything
    settings.write_text(
        settings_yaml(dict.fromkeys(("okta", "looker", "teamcity"), "http://127.0.0.1:9"), world.company.policy)
    )
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)

    def after(entries: int) -> str:
        """Why the books are taken for restored, once so many more entries were written."""
        with wiring.open_site(settings, "test", lambda _: None) as site:
            found = home.look(site)
            for _ in range(0 if found else entries):
                with site.begin() as session:
                    site.record(session, site.event("paused", {"connector": "all"}))
            return found or home.look(site)

    assert after(2) == ""
    embedded.stop(state)
    folder = embedded.folder(state)
    subprocess.run(["cp", "-a", folder / "data", folder / "backup"], check=True)
    assert after(3) == ""
    embedded.stop(state)
    shutil.rmtree(folder / "data")
    (folder / "backup").rename(folder / "data")
    assert "they end at entry 2, and 3 more were once written" in after(0)
