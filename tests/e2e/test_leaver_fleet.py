"""Leavers with real workers and a beat: one is killed in the middle and another one finishes; a source that says active
for ten ticks gives nothing back; and whoever single sign-on lets in again is out at the next ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select

from tests.e2e import truth
from tests.e2e.fleet import BEAT, LEAVERS, LIMITS, SCHEDULE, WORKER, Fleet, eventually, fleet, pid_of, twice
from tests.e2e.leaving import Hold, Wire, about, shown, takes
from tests.e2e.truth import Truth, lies
from tests.flows.departing import everywhere
from worker import wiring
from worker.core.receipt import as_data, from_data, in_order
from worker.flows import links, offboarding
from worker.store.tables import OffboardingRow, PersonRow

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900), pytest.mark.xdist_group("leaver fleet")]

TICKS = 10
LEAVING = 5  # more than there are processes to wait for a vendor
ONE_CALL_AND_MORE = 100.0  # seconds, of which a call that nobody answers takes 30; whoever repeats it takes 150


@pytest.fixture(scope="module")
def running(new_state: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A worker, two for leavers and a beat, with nothing to do."""
    with fleet(new_state(), tmp_path_factory.mktemp("leavers"), 40) as made:
        made.start("beat", BEAT)
        made.start("worker", WORKER)
        for name in ("leaver worker", "other leaver worker"):
            made.start(name, LEAVERS)
        made.put_in_order()
        yield made


def ask(running: Fleet, who: str, *, forced: bool = False) -> None:
    """Under the settings that the fleet has."""
    with (
        running.rig.open("enforce", baselines=False, schedule=SCHEDULE, limits=LIMITS) as site,
        site.begin() as session,
    ):
        person = links.find_person(session, who).person_id
        asked = offboarding.Asked(offboarding.OPERATOR, "they left", "operator:ana", forced=forced)
        offboarding.ask(site, session, person, asked)


def rows(running: Fleet, who: str) -> list[OffboardingRow]:
    """The oldest first."""

    def found(session: Session) -> list[OffboardingRow]:
        person = links.find_person(session, who).person_id
        query = select(OffboardingRow).where(col(OffboardingRow.person_id) == person)
        return list(session.exec(query.order_by(col(OffboardingRow.requested_at))))

    return running.asked(found) or []


def closed(running: Fleet, who: str, number: int = 1) -> dict[str, Any]:
    """The receipt of their n-th offboarding, once there is one."""

    def found() -> dict[str, Any] | None:
        some = rows(running, who)
        return some[number - 1].receipt if len(some) >= number and some[number - 1].state == "closed" else None

    return eventually(f"receipt {number} of {who}\n{running.tell()}", found)


def as_one(receipts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What several receipts of one person say together: of each thing what the last one says that has it."""
    lines = {(line.target, line.account_id, line.key): line for one in receipts for line in from_data(one).lines}
    return as_data(replace(from_data(receipts[-1]), lines=in_order(list(lines.values()))))


def given_since_the_mark(running: Fleet, wire: Wire, who: str) -> list[str]:
    def marked(session: Session) -> Any:
        person = session.get(PersonRow, rows(running, who)[0].person_id)
        return person.departure_marked_at if person else None

    mine = about(wire.after(running.asked(marked)), truth.of(running.world, who), who)
    assert any(map(takes, mine)), "something was taken"
    return [shown(exchange) for exchange in mine if not takes(exchange)]


def able(now: Truth, where: str = "") -> set[str]:
    keys = {key for (target, _), key in now.keys if where in ("", target)}
    return {key for key in keys if key.startswith(("account", "role:", "group:", "password", "token:"))}


def reconciled(running: Fleet) -> int:
    """How many plans for Looker the schedule has made and done with."""
    query = text("SELECT count(*) FROM run WHERE target = 'looker' AND state = 'closed'")
    return running.asked(lambda session: int(session.execute(query).scalar_one())) or 0


@pytest.mark.parametrize("done", [False, True], ids=["before the vendor does it", "after the vendor did it"])
def test_a_leaver_worker_that_is_killed_in_the_middle_is_succeeded_by_the_other(running: Fleet, done: bool) -> None:
    who = everywhere(running.rig, int(done))
    server, before = running.world.looker, truth.of(running.world, who)
    known = {exchange.request_id for exchange in running.log()}
    running.world.okta.deactivate(running.rig.okta_id(who))
    (account,) = truth.lookers(running.world, who)
    with Hold(server, f"PATCH /api/4.0/users/{account.id}", done=done) as hold:
        ask(running, who)
        hold.wait()
        member = running.member_with(pid_of(running.in_hand("looker")))
        member.kill()
    receipt = closed(running, who)
    running.start(member.name, LEAVERS)
    assert lies(receipt, before, truth.of(running.world, who)) == []
    assert not able(truth.of(running.world, who))
    made = [exchange for exchange in running.log() if exchange.request_id not in known]
    assert len(twice(made)) <= (0 if done else 1), "what was in the vendor's hands still came, and was so already"
    running.converge()
    assert running.books() == []


def test_a_forced_one_stays_out_for_ten_ticks_and_whoever_single_sign_on_lets_in_again_is_ended(running: Fleet) -> None:
    who = everywhere(running.rig, 2)
    before, wire = truth.of(running.world, who), Wire(running.world)
    ask(running, who, forced=True)
    assert lies(closed(running, who), before, truth.of(running.world, who)) == []
    began = reconciled(running)
    while reconciled(running) < began + TICKS:
        assert not able(truth.of(running.world, who))
    running.world.looker.sso(default_new_user_role_ids=("4",))
    running.world.looker.sso_arrival(who)
    running.world.teamcity.sso_arrival(who, ["developers"])
    back = truth.of(running.world, who)
    assert able(back)
    closed(running, who, 2)
    eventually("they are out again", lambda: not able(truth.of(running.world, who)))
    eventually("nobody is at it any more", lambda: all(row.state == "closed" for row in rows(running, who)))
    _, *watched = rows(running, who)  # one in each target, where they were not seen to be back in both at once
    assert {row.trigger for row in watched} == {"watch"}
    last = watched[-1]
    assert lies(as_one([row.receipt for row in watched]), back, truth.of(running.world, who)) == []
    assert given_since_the_mark(running, wire, who) == []
    running.converge()
    assert running.books() == []
    assert wiring.utc_now() > last.requested_at


def test_a_looker_that_never_answers_keeps_nobody_in_teamcity(running: Fleet) -> None:
    leavers = [everywhere(running.rig, 3 + place) for place in range(LEAVING)]
    before = {who: truth.of(running.world, who) for who in leavers}
    silent = running.world.looker.break_("* /api/4.0/*", "held")
    for who in leavers:
        ask(running, who, forced=True)  # by the source's word, so many would be too many for the next read

    def within(target: str) -> list[str]:
        return [who for who in leavers if able(truth.of(running.world, who), target)]

    eventually("nobody is left in TeamCity", lambda: not within("teamcity"), ONE_CALL_AND_MORE)
    assert silent.fired
    assert within("looker") == leavers
    running.world.looker.faults.clear()
    for who in leavers:
        assert lies(closed(running, who), before[who], truth.of(running.world, who)) == []
    running.converge()
    assert running.books() == []
