"""Many leave at once: nobody's lock-out waits for the rest of somebody else's."""

from __future__ import annotations

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from tests.flows.departing import everywhere, hint, receipt, row, settled
from tests.flows.rig import Rig
from worker.errors import Misshapen, Paused
from worker.flows import leaving, lockout, offboarding
from worker.flows.site import Site
from worker.sandbox.furnishing import furnish
from worker.store import marks, offboardings

LEAVERS = 3


@pytest.fixture
def leavers(rig: Rig, site: Site) -> list[tuple[str, uuid.UUID]]:
    """Login and offboarding of each; everybody has something that goes after the lock-out, and is marked."""
    furnish(rig.world)
    settled(rig, site)
    found = [everywhere(rig, place) for place in range(LEAVERS)]
    ids = []
    for login in found:
        rig.world.okta.deactivate(rig.okta_id(login))
        ids.append(hint(site, login))
    for id in ids:
        offboarding.work(site, id)
    rig.world.looker.log.clear()
    rig.world.teamcity.log.clear()
    return list(zip(found, ids, strict=True))


def never() -> bool:
    """It is never enough."""
    return False


def changes_at_looker(rig: Rig) -> list[tuple[str, str]]:
    """(method, account) of each, in their order."""
    return [(e.method, e.path.split("/users/")[1].split("/")[0]) for e in rig.world.looker.log]


def test_everybody_is_locked_out_before_anything_else_is_taken_from_anybody(
    rig: Rig, site: Site, leavers: list[tuple[str, uuid.UUID]]
) -> None:
    offboarding.work(site, leavers[0][1], "looker", never)
    made, accounts = changes_at_looker(rig), {rig.looker_user(login).id for login, _ in leavers}
    assert [method for method, _ in made[:LEAVERS]] == ["PATCH"] * LEAVERS
    assert {account for _, account in made[:LEAVERS]} == accounts
    assert {method for method, _ in made[LEAVERS:]} >= {"DELETE"}
    for _, id in leavers:
        assert row(site, id).state == offboardings.CLOSED, "in the other target, too"
        assert receipt(site, id).verified_at is not None


def test_whoever_is_not_marked_yet_comes_before_what_is_left_of_others(
    rig: Rig, site: Site, leavers: list[tuple[str, uuid.UUID]]
) -> None:
    late = everywhere(rig, LEAVERS)
    rig.world.okta.deactivate(rig.okta_id(late))
    id = hint(site, late)
    offboarding.work(site, leavers[0][1], "looker", never)
    assert ("PATCH", rig.looker_user(late).id) in changes_at_looker(rig)[: LEAVERS + 1]
    assert row(site, id).state == offboardings.CLOSED


def test_a_worker_whose_share_is_over_ends_what_it_has_begun_and_begins_nothing_more(
    rig: Rig, site: Site, leavers: list[tuple[str, uuid.UUID]]
) -> None:
    offboarding.work(site, leavers[0][1], "looker", lambda: True)
    assert {account for _, account in changes_at_looker(rig)} == {rig.looker_user(leavers[0][0]).id}


def test_what_stands_in_the_way_of_one_holds_nobody_else_up_and_is_told(
    rig: Rig, site: Site, leavers: list[tuple[str, uuid.UUID]]
) -> None:
    hindered = rig.looker_user(leavers[1][0]).id
    fault = rig.world.looker.break_(f"GET /api/4.0/users/{hindered}", "misshapen", text='{"unexpected": true}')
    with pytest.raises(Exception, match="looker"):
        offboarding.work(site, leavers[0][1], "looker", never)
    assert fault.fired
    assert {rig.looker_user(login).is_disabled for login, _ in (leavers[0], leavers[2])} == {True}
    rig.world.looker.faults.clear()
    rig.clock.advance(minutes=2)
    offboarding.work(site, leavers[1][1], "looker")
    assert rig.looker_user(leavers[1][0]).is_disabled


def test_a_target_in_trouble_keeps_nobody_waiting_in_the_other_one(
    rig: Rig, site: Site, leavers: list[tuple[str, uuid.UUID]]
) -> None:
    fault = rig.world.looker.break_("GET /api/4.0/users/*", "misshapen", text='{"unexpected": true}')
    with pytest.raises(Misshapen):
        offboarding.work(site, leavers[0][1], "looker")
    asked = fault.fired
    assert asked

    def all_are_out() -> bool:
        return len({e.path for e in rig.world.teamcity.log if e.path.endswith("trueup.suspended")}) == LEAVERS

    offboarding.work(site, leavers[1][1], "teamcity", all_are_out)
    assert all_are_out()
    assert fault.fired == asked, "one failed, so nobody is looked for there before everybody is out here"


def test_whoever_is_not_marked_yet_comes_before_those_about_whom_a_nudge_is(
    rig: Rig, site: Site, leavers: list[tuple[str, uuid.UUID]]
) -> None:
    late = everywhere(rig, LEAVERS)
    rig.world.okta.deactivate(rig.okta_id(late))
    id = hint(site, late)
    changed_before = []

    def marked() -> bool:
        if row(site, id).marked_at is None:
            return False
        changed_before.append(changes_at_looker(rig))
        return True

    offboarding.work(site, leavers[0][1], "looker", marked)
    assert changed_before[0] == []
    assert rig.looker_user(leavers[0][0]).is_disabled


def test_a_departure_that_is_lifted_after_the_lock_out_takes_nothing_more(
    rig: Rig, site: Site, leavers: list[tuple[str, uuid.UUID]]
) -> None:
    login, id = leavers[0]
    tail = lockout.begin(site, id, "looker")
    assert tail is not None
    before = len(rig.world.looker.log)
    with site.begin() as session:
        leaving.call_off(site, session, tail.case.person_id, "they stay")
    lockout.finish(tail)
    assert rig.looker_user(login).is_disabled
    assert len(rig.world.looker.log) == before


def test_a_pause_leaves_what_was_begun_to_whoever_comes_next(
    rig: Rig, site: Site, leavers: list[tuple[str, uuid.UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def paused(_: lockout.Tail) -> None:
        raise Paused("Trueup is paused.")

    with monkeypatch.context() as patch:
        patch.setattr(lockout, "finish", paused)
        with pytest.raises(Paused):
            offboarding.work(site, leavers[0][1], "looker", never)
    with site.begin() as session:
        free = offboardings.hands(session, site.now() + dt.timedelta(seconds=1))
    assert {(id, "looker") for _, id in leavers} <= set(free), "nobody's claim is kept"


def test_a_hint_and_a_read_of_the_source_about_one_person_wait_for_each_other_in_one_order(
    rig: Rig, site: Site, leavers: list[tuple[str, uuid.UUID]]
) -> None:
    """A read marks its people first and then looks for their offboardings; else each would wait for the other."""
    login = everywhere(rig, LEAVERS)
    rig.world.okta.deactivate(rig.okta_id(login))
    id = hint(site, login)
    with ThreadPoolExecutor(1) as pool:
        with site.begin() as read:
            person = row(site, id).person_id
            marks.lock(read, person)
            confirmed = pool.submit(offboarding.work, site, id)
            with pytest.raises(TimeoutError):
                confirmed.result(1.0)
            read.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert offboardings.open_of(read, str(person)) is not None, "nobody who waits for the person has it"
        confirmed.result(30)
    assert row(site, id).marked_at is not None
