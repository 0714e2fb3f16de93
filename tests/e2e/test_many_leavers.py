"""Several leave at once, told by Okta's hook, while a sync holds every other place: nobody of them waits for it."""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlmodel import Session, col, select

from tests.console.outside import delivery, event
from tests.e2e.fleet import BEAT, LEAVERS, LIMITS, SCHEDULE, WORKER, Fleet, eventually, fleet
from worker.flows import passes
from worker.sandbox.furnishing import furnish
from worker.sandbox.server import Exchange
from worker.store import people
from worker.store.tables import OffboardingRow

pytestmark = pytest.mark.xdist_group("many leavers")

PEOPLE, NUMBER, SPOILT = 40, 3, 4
SECRET = "okta-hook-" + "d" * 32
# What only a sync sends: a leaver is given nothing, and nobody else loses this role.
OF_THE_SYNC = {"looker": "POST /api/4.0/groups/*/users", "teamcity": "DELETE /app/rest/users/*/roles/PROJECT_VIEWER/*"}


@pytest.fixture
def running(
    new_state: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Fleet, httpx.Client]]:
    """A worker with two places, a beat and the API; everything is in order, and nobody is there for leavers yet."""
    monkeypatch.setenv("OKTA_HOOK", SECRET)
    with fleet(new_state(), tmp_path, PEOPLE) as made:
        furnish(made.world)
        with made.rig.open("enforce", limits=LIMITS) as site:
            passes.sync(site)
        hooks = {"okta": {"secret": "${env:OKTA_HOOK}"}}
        made.rig.write_settings("enforce", schedule=SCHEDULE, limits=LIMITS, hooks=hooks)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        for name, words in (("api", ("api", "--port", str(port))), ("beat", BEAT), ("worker", WORKER)):
            made.start(name, words)
        eventually(f"the API listens\n{made.tell()}", lambda: made.members["api"].said("api listening"))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as http:
            yield made, http


@contextmanager
def sync_in_hand(made: Fleet) -> Iterator[None]:
    """Each of the two places is at a call that is not answered, and not even handled, until the block is over."""
    servers = {"looker": made.world.looker, "teamcity": made.world.teamcity}
    faults = {name: servers[name].break_(route, "held") for name, route in OF_THE_SYNC.items()}
    try:
        made.spoil(SPOILT, *OF_THE_SYNC)
        eventually(f"both places are taken\n{made.tell()}", lambda: all(fault.fired for fault in faults.values()))
        yield
    finally:
        for name, fault in faults.items():
            servers[name].faults.remove(fault)


def leavers(made: Fleet) -> list[str]:
    """Logins of people in good order, with an account in both targets that no sync is at."""
    storied = {story.who for story in made.world.company.stories}
    engineers = {u.email for u in made.world.looker.instance.users.values() if not u.is_disabled and len(u.groups) > 2}
    viewers = {"PROJECT_VIEWER"}
    developers = {u.username for u in made.world.teamcity.world.users.values() if not viewers & {r for r, _ in u.roles}}
    active = [e.profile["login"] for e in made.world.company.employees if e.status == "ACTIVE"]
    found = [login for login in active if login in engineers & developers - storied]
    assert len(found) >= NUMBER
    return found[-NUMBER:]


def receipts(made: Fleet, ids: Sequence[str]) -> list[OffboardingRow]:
    """Those that are written."""

    def look(session: Session) -> list[OffboardingRow]:
        known = [uuid.UUID(people.person_of(session, "okta", id)) for id in ids]
        query = select(OffboardingRow).where(col(OffboardingRow.person_id).in_(known))
        return list(session.exec(query.where(OffboardingRow.state == "closed")))

    return made.asked(look) or []


def account(exchange: Exchange) -> str:
    """Whose account a change is about."""
    found = re.search(r"/users/(?:id:)?(\d+)", exchange.path)
    assert found, exchange.path
    return found.group(1)


def test_three_who_leave_by_hook_wait_for_no_sync_and_no_lock_out_waits_for_anything_else(
    running: tuple[Fleet, httpx.Client],
) -> None:
    made, http = running
    servers = (made.world.looker, made.world.teamcity)
    with sync_in_hand(made):
        who = leavers(made)
        ids = [made.rig.okta_id(login) for login in who]
        before = {server.name: len(server.log) for server in servers}
        for id in ids:
            made.world.okta.deactivate(id)
            told = delivery(event("user.lifecycle.deactivate", id))
            answer = http.post("/v1/hooks/okta/okta", json=told, headers={"authorization": SECRET})
            assert answer.status_code == 204
        made.start("leaver worker", LEAVERS)
        done = eventually(
            f"three receipts\n{made.tell()}", lambda: found if len(found := receipts(made, ids)) == NUMBER else None
        )
        changes = {server.name: list(server.log[before[server.name] :]) for server in servers}
    assert all(row.trigger == "hook" and row.verified_at and row.receipt for row in done)
    theirs = {
        "looker": {made.rig.looker_user(login).id for login in who},
        "teamcity": {str(u.id) for u in made.world.teamcity.world.users.values() if u.username in who},
    }
    for name, some in changes.items():
        assert {account(e) for e in some} == theirs[name], "the sync came to nothing while they left"
    at_looker = changes["looker"]
    assert {(e.method, account(e)) for e in at_looker[:NUMBER]} == {("PATCH", id) for id in theirs["looker"]}
    assert len(at_looker) > 2 * NUMBER, "and then what is left of each"
    assert not [s for server in made.world.servers if (s := server.traffic.told()["statuses"].get("429"))]
