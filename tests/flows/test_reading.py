"""A read in parts: any number of workers share it, one closes it, and whoever is killed or late harms nothing."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import _base as futures
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from tests.flows.rig import Rig
from worker.errors import Missing, Moved, Paused, Refused, Unavailable
from worker.flows import passes, reading
from worker.flows.reading import begin, close, read, work
from worker.flows.site import Site
from worker.ports import Part, Piece, Whole
from worker.store import mirror, parts
from worker.store.tables.read import STAGING

CONNECTORS = ["okta", "looker", "teamcity"]


@pytest.fixture
def other(rig: Rig, site: Site) -> Iterator[Site]:
    """A second worker."""
    with rig.open("enforce", baselines=False) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _small_pages(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that 40 people fill many of them, and a worker hands on a list that it has begun."""
    rig.world.looker.page_cap = 7
    monkeypatch.setattr("worker.sources.okta.org.PAGE", 7)
    monkeypatch.setattr("worker.sources.okta.org.LEG", 2)


def without_end() -> bool:
    return False


def rows_of(site: Site, name: str) -> object:
    """Everything that the mirror has of a connector."""
    with site.begin() as session:
        if name in site.sources:
            members = session.execute(
                text("SELECT group_id, identity_id FROM membership WHERE source = :name AND valid_to IS NULL"),
                {"name": name},
            ).all()
            return (
                list(mirror.identities(session, name)),
                mirror.source_groups(session, name),
                sorted(map(tuple, members)),
            )
        return list(mirror.accounts(session, name)), mirror.catalogue(session, name)


def staged(site: Site, snapshot_id: uuid.UUID) -> dict[str, int]:
    with site.begin() as session:
        return mirror.staged_counts(session, snapshot_id)


def expire(site: Site) -> None:
    """By the database's clock, every claim has run out."""
    with site.begin() as session:
        session.execute(text("UPDATE part SET claimed_until = clock_timestamp() - interval '1 second'"))


def calls(rig: Rig, name: str) -> int:
    return next(server.reads.total() for server in rig.world.servers if server.name == name)


def with_connector(site: Site, name: str, **instead: Callable[..., Any]) -> Site:
    """The same site, in which one connector does some things otherwise; each is given the connector first."""

    class Other:
        def __init__(self, connector: Any) -> None:
            self._connector = connector

        def __getattr__(self, asked: str) -> Any:
            if asked in instead:
                return lambda *given: instead[asked](self._connector, *given)
            return getattr(self._connector, asked)

    def turned(connectors: Mapping[str, Any]) -> dict[str, Any]:
        return {n: Other(c) if n == name else c for n, c in connectors.items()}

    return replace(site, sources=turned(site.sources), targets=turned(site.targets))


def after(number: int) -> Callable[[], bool]:
    """Says enough once asked so often: a worker with one thread then has done so many parts."""
    left = iter(range(number))
    return lambda: next(left, None) is None


def failing(error: Exception, kind: str = "", times: int = 10**6) -> Callable[..., Piece]:
    """A reading that fails at parts of this kind (of any, where none is named), so often."""
    left = list(range(times))

    def fail(connector: Any, part: Part) -> Piece:
        if left and kind in (part.kind, ""):
            left.pop()
            raise error
        piece: Piece = connector.read(part)
        return piece

    return fail


# --- shared ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONNECTORS)
def test_two_workers_share_one_read_and_it_is_made_once(rig: Rig, site: Site, other: Site, name: str) -> None:
    alone = read(site, name)
    expected, before = rows_of(site, name), calls(rig, name)
    read(site, name)
    cost = calls(rig, name) - before
    before = calls(rig, name)
    shared = begin(site, name)
    done, turns = False, 0
    while not done:
        assert close(site, shared) is None
        done = work([site, other][turns % 2], shared, after(1))
        turns += 1
    assert turns > 1
    found = close(other, shared)
    assert found is not None
    assert (found.connector, found.counts) == (name, alone.counts)
    assert rows_of(site, name) == expected
    assert calls(rig, name) - before <= cost + 1  # the second worker asks for itself who we are
    assert close(site, shared) == found  # whoever comes later is told the same


def test_many_who_close_a_read_at_once_close_it_once(rig: Rig, site: Site) -> None:
    snapshot = begin(site, "okta")
    assert work(site, snapshot, without_end, at_once=4)
    together = threading.Barrier(6)

    def one(_: int) -> bool:
        together.wait()
        return close(site, snapshot) is not None

    with ThreadPoolExecutor(6) as threads:
        assert any(list(threads.map(one, range(6))))
    assert len(rig.trail(site, "source read")) == 1


def test_of_many_who_begin_a_read_at_once_one_does(site: Site) -> None:
    together = threading.Barrier(6)

    def one(_: int) -> str:
        together.wait()
        try:
            begin(site, "looker")
        except Unavailable as error:
            return str(error)
        return "begun"

    with ThreadPoolExecutor(6) as threads:
        said = list(threads.map(one, range(6)))
    assert said.count("begun") == 1
    assert said.count("Another Trueup is reading looker just now; wait for it, then run this again.") == 5


def _main_thread_waits_for_parts() -> bool:
    frames = traceback.extract_stack(sys._current_frames()[threading.main_thread().ident or 0])
    return any(frame.name == "wait" and frame.filename == futures.__file__ for frame in frames)


def test_ctrl_c_ends_every_thread_of_a_read_before_its_next_call(rig: Rig, site: Site) -> None:
    counts: list[int] = []

    def interrupted(connector: Any, part: Part) -> Piece:
        while not _main_thread_waits_for_parts():
            time.sleep(0.01)  # or Ctrl-C would meet it while it starts this very thread
        counts.append(calls(rig, "okta"))
        os.kill(os.getpid(), signal.SIGINT)
        assert site.stopped.wait(20)
        piece: Piece = connector.read(part)
        return piece

    with pytest.raises(KeyboardInterrupt):
        read(with_connector(site, "okta", read=interrupted), "okta")
    assert calls(rig, "okta") == counts[0]
    assert not site.stopped.is_set()  # it may be asked for something else


class Interrupting:
    """Ctrl-C meets the first thread of a pool that is started from now on: "running", or "not yet running", and then it
    runs when `go` is called. The pool knows nothing of such a thread, and waits for it no more."""

    def __init__(self, patch: pytest.MonkeyPatch, moment: str) -> None:
        self.met: list[threading.Thread] = []
        self._start, self._moment = threading.Thread.start, moment
        patch.setattr(threading.Thread, "start", self._meet())

    def _meet(self) -> Callable[[threading.Thread], None]:
        def start(thread: threading.Thread) -> None:
            if self.met or not thread.name.startswith("ThreadPoolExecutor"):
                self._start(thread)
                return
            self.met.append(thread)
            if self._moment == "running":
                self._start(thread)
            raise KeyboardInterrupt

        return start

    def go(self) -> None:
        if self._moment != "running":
            self._start(self.met[0])
        self.met[0].join(20)
        assert not self.met[0].is_alive()


@pytest.mark.parametrize("moment", ["not yet running", "running"])
@pytest.mark.parametrize("whole", [False, True], ids=["a read", "a pass"])
def test_ctrl_c_that_meets_a_thread_while_it_is_started_ends_it_before_its_next_call(
    rig: Rig, site: Site, monkeypatch: pytest.MonkeyPatch, moment: str, whole: bool
) -> None:
    cleared = threading.Event()
    clear, counts = site.stopped.clear, list[int]()

    def clear_and_tell() -> None:
        clear()
        cleared.set()

    def interrupted(connector: Any, part: Part) -> Piece:
        counts.append(calls(rig, "okta"))
        assert cleared.is_set() or site.stopped.wait(20)
        cleared.wait(0.5)  # it never is, as long as somebody is at work
        piece: Piece = connector.read(part)
        return piece

    monkeypatch.setattr(site.stopped, "clear", clear_and_tell)
    slow = with_connector(site, "okta", read=interrupted)
    interrupting = Interrupting(monkeypatch, moment)
    with pytest.raises(KeyboardInterrupt):
        _ = passes.plan(slow) if whole else read(slow, "okta")
    after = calls(rig, "okta")
    interrupting.go()
    assert calls(rig, "okta") == after == (counts[0] if counts else after)
    assert not site.stopped.is_set()


# --- killed, late, twice ---------------------------------------------------------------------------------------------

KILLED = """
import datetime, os, signal, sys
from pathlib import Path
from worker import wiring
from worker.flows import passes, reading
noon = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
with wiring.open_site(Path(sys.argv[1]), "test", print, lambda: noon) as site:
    snapshot = reading.begin(site, sys.argv[2])
    print(snapshot, flush=True)
    connector = {**site.sources, **site.targets}[sys.argv[2]]
    read, left = connector.read, [int(sys.argv[3])]
    def deadly(part):
        piece = read(part)
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return piece
    connector.read = deadly
    reading.work(site, snapshot, lambda: False)
"""


@pytest.mark.parametrize("name", CONNECTORS)
def test_a_worker_killed_in_the_middle_loses_nothing_and_another_goes_on(rig: Rig, site: Site, name: str) -> None:
    snapshot = killed_in_the_middle(rig, name)
    assert staged(site, snapshot)
    assert work(site, snapshot, without_end)
    found = close(site, snapshot)
    assert found is not None
    shared = rows_of(site, name)
    assert read(site, name).counts == found.counts
    assert rows_of(site, name) == shared


def killed_in_the_middle(rig: Rig, name: str) -> uuid.UUID:
    """A process reads, dies at its second part, and gives nothing back."""
    program = [sys.executable, "-c", KILLED, str(rig.write_settings("enforce")), name, "1"]
    ended = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    return uuid.UUID(ended.stdout.split()[-1])


def test_a_read_that_was_killed_does_not_hold_up_the_next_one(rig: Rig, site: Site) -> None:
    snapshot = killed_in_the_middle(rig, "okta")
    assert read(site, "okta").snapshot_id != snapshot


def test_what_nobody_is_at_any_more_is_set_aside_by_the_next_read(rig: Rig, site: Site, other: Site) -> None:
    snapshot = begin(site, "okta")
    work(site, snapshot, after(2))
    with pytest.raises(Unavailable, match="Another Trueup is reading okta just now"):
        begin(other, "okta")
    expire(site)
    begin(other, "okta")
    with pytest.raises(Refused, match="came to nothing: abandoned: a later read"):
        work(site, snapshot, without_end)
    with pytest.raises(Refused, match="came to nothing: abandoned: a later read"):
        close(site, snapshot)


@pytest.mark.parametrize("name", CONNECTORS)
def test_a_part_that_is_done_twice_is_staged_once_and_the_late_worker_writes_nothing(
    site: Site, other: Site, name: str
) -> None:
    expected = read(site, name).counts
    snapshot = begin(site, name)
    before: list[int] = []

    def staged_rows() -> int:
        with site.begin() as session:
            return sum(session.scalars(text(f"SELECT count(*) FROM staged_{table}")).one() for table in STAGING)

    def slowly(connector: Any, part: Part) -> Piece:
        """Meanwhile somebody else has taken the part over, and done it with all that follows."""
        piece: Piece = connector.read(part)
        expire(site)
        work(other, snapshot, without_end)
        before.append(staged_rows())
        return piece

    assert work(with_connector(site, name, read=slowly), snapshot, without_end)
    rows = staged_rows()
    assert before == [rows]
    with site.begin() as session:
        done = parts.done(session, snapshot)
        counted = session.scalars(text("SELECT counts FROM snapshot WHERE id = :id"), {"id": snapshot}).one()
    assert counted["staged"] == rows
    assert len({(part.kind, str(part.args)) for part, _ in done}) == len(done)
    found = close(site, snapshot)
    assert found is not None
    assert found.counts == expected


def test_a_worker_that_is_too_late_for_the_end_leaves_it_to_whoever_took_over(
    rig: Rig, site: Site, other: Site
) -> None:
    snapshot = begin(site, "okta")
    assert work(site, snapshot, without_end)
    made: list[Any] = []

    def slowly(connector: Any, whole: Whole) -> Piece:
        piece: Piece = connector.finish(whole)
        expire(site)
        made.append(close(other, snapshot))
        return piece

    assert close(with_connector(site, "okta", finish=slowly), snapshot) == made[0] is not None
    assert len(rig.trail(site, "source read")) == 1


def test_a_claim_lasts_as_long_as_somebody_is_at_it(site: Site, other: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "CLAIM", dt.timedelta(seconds=3))
    monkeypatch.setattr(reading, "HEARTBEAT", 0.2)
    snapshot = begin(site, "looker")
    beats = threading.Event()
    renew, seen = parts.renew, [0]

    def counting(*given: Any) -> None:
        renew(*given)
        seen[0] += 1
        if seen[0] > 20:  # longer than a claim
            beats.set()

    monkeypatch.setattr(parts, "renew", counting)

    def slowly(connector: Any, part: Part) -> Piece:
        assert beats.wait(20)
        assert not work(other, snapshot, without_end)
        piece: Piece = connector.read(part)
        return piece

    work(with_connector(site, "looker", read=slowly), snapshot, after(1))
    with site.begin() as session:
        assert [part.kind for part, _ in parts.done(session, snapshot)] == ["users"]


# --- what moves, what is unavailable, what is paused ------------------------------------------------------------------


def test_what_moved_is_read_from_the_start(rig: Rig, site: Site) -> None:
    restless = failing(Moved("okta changed while it was read."), "people", times=2)
    assert read(with_connector(site, "okta", read=restless), "okta").counts
    assert len(rig.trail(site, "read refused")) == 2


def test_what_never_stands_still_is_unavailable(site: Site) -> None:
    restless = failing(Moved("okta changed while it was read."), "people", times=reading.ROUNDS)
    with pytest.raises(Moved):
        read(with_connector(site, "okta", read=restless), "okta")
    assert rows_of(site, "okta") == ([], [], [])


@pytest.mark.parametrize("name", CONNECTORS)
def test_what_is_unavailable_leaves_a_read_as_far_as_it_is(rig: Rig, site: Site, other: Site, name: str) -> None:
    expected = read(site, name).counts
    snapshot = begin(site, name)
    assert not work(site, snapshot, after(1))
    with pytest.raises(Unavailable, match="come back later"):
        work(with_connector(site, name, read=failing(Unavailable("come back later"))), snapshot, without_end)
    assert rig.trail(site, "read refused") == []
    assert work(other, snapshot, without_end)
    found = close(other, snapshot)
    assert found is not None
    assert found.counts == expected


def test_a_part_that_fails_five_times_ends_the_read(rig: Rig, site: Site) -> None:
    snapshot = begin(site, "okta")
    broken = with_connector(site, "okta", read=failing(Unavailable("okta is down"), "people"))
    for _ in range(parts.ATTEMPTS):
        assert rig.trail(site, "read refused") == []
        with pytest.raises(Unavailable, match="okta is down"):
            work(broken, snapshot, without_end)
    assert len(rig.trail(site, "read refused")) == 1
    with pytest.raises(Refused, match="came to nothing: okta is down"):
        work(site, snapshot, without_end)


def test_an_end_that_is_unavailable_is_made_later_and_after_five_times_never(rig: Rig, site: Site) -> None:
    def down(*_: Any) -> Piece:
        raise Unavailable("okta is down")

    snapshot = begin(site, "okta")
    assert work(site, snapshot, without_end)
    for _ in range(parts.ATTEMPTS - 1):
        with pytest.raises(Unavailable):
            close(with_connector(site, "okta", finish=down), snapshot)
    assert rig.trail(site, "read refused") == []
    assert close(site, snapshot) is not None


def test_a_read_that_was_paused_goes_on_afterwards(site: Site) -> None:
    expected = read(site, "okta").counts
    snapshot = begin(site, "okta")
    paused = with_connector(site, "okta", read=failing(Paused("somebody paused Trueup"), "people"))
    for _ in range(2 * parts.ATTEMPTS):
        with pytest.raises(Paused):
            work(paused, snapshot, without_end)
    assert work(site, snapshot, without_end)
    found = close(site, snapshot)
    assert found is not None
    assert found.counts == expected


def test_whatever_else_goes_wrong_ends_the_read_and_says_why(rig: Rig, site: Site) -> None:
    snapshot = begin(site, "looker")
    with pytest.raises(Missing):
        work(with_connector(site, "looker", read=failing(Missing("it is not there", 404))), snapshot, without_end)
    (entry,) = rig.trail(site, "read refused")
    assert entry.facts["error"] == "Missing"
    with site.begin() as session:
        assert session.scalars(text("SELECT count(*) FROM part")).one() == 0


def test_rows_that_the_database_lost_are_missed_before_anything_is_concluded(site: Site) -> None:
    snapshot = begin(site, "okta")
    assert work(site, snapshot, without_end)
    with site.begin() as session:
        session.execute(text("DELETE FROM staged_identity"))
    with pytest.raises(Refused, match="the database lost some"):
        close(site, snapshot)
