"""What the store costs with 20,000 people, 10 groups each: `python -m benchmarks.store`.

The database is the embedded one, with fsync on. Figures of one run; the machine is shared, so read the magnitudes.
"""

from __future__ import annotations

import datetime as dt
import io
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from worker import embedded
from worker.core.audit import Event
from worker.core.identity import Account, Entitlement, Identity, SourceGroup, Standing
from worker.ports import SourcePage, TargetPage
from worker.store import chain, joining, migrate, mirror, people
from worker.store.session import Store

PEOPLE, EACH, GROUPS, PAGE = 20_000, 10, 200, 200


def main() -> None:
    """Print a line per measurement."""
    with tempfile.TemporaryDirectory(prefix="trueup-bench-") as state:
        Path(state).chmod(0o711)
        with embedded.running(Path(state)) as server:
            migrate.upgrade(server.owner_url)
            store = Store(server.worker_url)
            _mirror(store)
            _chain(store)
            store.close()


def _mirror(store: Store) -> None:
    for which in ("first", "again, unchanged"):
        _timed(f"pull, {which}", lambda: _pulled(store))
        _timed(f"observation, {which}", lambda: _observed(store))
    with store.begin() as session:
        people.ensure_people(session, "okta", _now())
    with store.begin() as session:
        keys = ("employeeNumber", "email")
        _timed("who may be one person", lambda: joining.candidates(session, ["okta"], "okta", keys))
        _timed("everybody with groups", lambda: sum(1 for _ in mirror.people(session, ["okta"])))
        _timed("every account with entitlements", lambda: sum(1 for _ in mirror.accounts(session, "looker")))


def _chain(store: Store) -> None:
    person = str(uuid.uuid4())
    facts = {"target": "looker", "account": "7", "operation": "grant", "entitlement": "role:2"}
    event = Event(
        kind="step attempted", actor="schedule", at=_now(), facts=facts, personal={"login": "a"}, person_id=person
    )
    events = [event] * PEOPLE
    with store.begin() as session:
        _timed(f"{PEOPLE:,} entries appended", lambda: chain.append_many(session, events))
    with store.begin() as session:
        _timed("verified", lambda: chain.verify(session))
        _timed("exported", lambda: chain.export(session, io.StringIO()))


def _timed(what: str, act: Callable[[], object]) -> None:
    began = time.perf_counter()
    act()
    print(f"{what:45} {time.perf_counter() - began:6.2f} s", flush=True)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _pulled(store: Store) -> None:
    with store.begin() as session:
        read = mirror.start_snapshot(session, "okta", _now())
    for page in _source_pages():
        with store.begin() as session:
            mirror.stage_source(session, read, "okta", page)
    with store.begin() as session:
        mirror.merge_source(session, read, _now())


def _observed(store: Store) -> None:
    with store.begin() as session:
        read = mirror.start_snapshot(session, "looker", _now())
    for page in _target_pages():
        with store.begin() as session:
            mirror.stage_target(session, read, "looker", page)
    with store.begin() as session:
        mirror.merge_target(session, read, _now())


def _source_pages() -> Iterator[SourcePage]:
    yield SourcePage(groups=[SourceGroup("okta", f"g{n}", f"Group {n}", "OKTA_GROUP", 0) for n in range(GROUPS)])
    for start in range(0, PEOPLE, PAGE):
        numbers = range(start, start + PAGE)
        yield SourcePage(
            [_somebody(n) for n in numbers],
            memberships=[(f"g{(n * 7 + k * 13) % GROUPS}", f"u{n:06}") for n in numbers for k in range(EACH)],
        )


def _somebody(number: int) -> Identity:
    mail = f"user{number}@acme.example"
    profile = {"firstName": "Ana", "lastName": f"Ruiz {number}", "department": "Data", "title": "Engineer",
               "employeeNumber": f"{number}"}  # fmt: skip
    return Identity("okta", f"u{number:06}", Standing.ACTIVE, "ACTIVE", mail, mail, profile)


def _target_pages() -> Iterator[TargetPage]:
    for start in range(0, PEOPLE, PAGE):
        numbers = range(start, start + PAGE)
        yield TargetPage(
            [Account(str(n), f"user{n}@acme.example", "", True, {"first_name": "Ana"}) for n in numbers],
            [(str(n), Entitlement("role", str((n + k) % 50))) for n in numbers for k in range(EACH)],
        )


if __name__ == "__main__":
    main()
