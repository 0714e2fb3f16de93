"""Leavers whom several sources know: whose word counts, what a human's hold survives, which accounts go; and the
values of attributes that they leave behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.flows.departing import ask, everywhere, fates, finish, line, mark, receipt, row, settled
from tests.flows.merger import Merger, login, person_of
from tests.flows.rig import Rig
from worker.core.identity import Identity, Standing
from worker.core.receipt import Fate
from worker.flows import holds, offboarding, passes
from worker.flows.joining import join_by_hand, split_by_hand
from worker.flows.site import Site
from worker.ports import Source
from worker.sandbox.company import Employee


def told(site: Site, source: str, identity: str) -> Any:
    with site.begin() as session:
        return offboarding.heed(site, session, source, identity, "user.lifecycle.deactivate", site.now())


# --- whose word counts -----------------------------------------------------------------------------------------------


def test_a_hint_about_one_identity_is_weighed_with_what_the_others_say(merger: Merger, ana: Employee) -> None:
    twin = merger.twin(ana)
    with merger.open() as site:
        passes.sync(site)
        merger.acquired.directory.deactivate(twin)
        id = told(site, "acquired", twin)
        finish(merger.rig, site)
        assert row(site, id).state == "not confirmed"
        assert row(site, id).why == "okta says ACTIVE; acquired says DEPROVISIONED"
        assert not merger.rig.looker_user(login(ana)).is_disabled
        merger.rig.world.okta.directory.deactivate(ana.id)
        second = told(site, "acquired", twin)
        finish(merger.rig, site)
        assert (row(site, second).state, mark(site, login(ana)).departure_cause) == ("closed", "source")
    assert merger.rig.looker_user(login(ana)).is_disabled


def test_a_leaver_of_the_authority_waits_for_no_other_source(merger: Merger, ana: Employee) -> None:
    merger.twin(ana)
    with merger.open() as site:
        passes.sync(site)
        merger.rig.world.okta.directory.deactivate(ana.id)
        away = merger.acquired.break_("*", "status", status=503)
        id = told(site, "okta", ana.id)
        finish(merger.rig, site, patience=6)
        assert away.fired > 0
        assert row(site, id).state == "closed"
    assert merger.rig.looker_user(login(ana)).is_disabled


def test_while_the_authority_is_away_no_other_source_makes_a_leaver(merger: Merger, ana: Employee) -> None:
    twin = merger.twin(ana)
    with merger.open() as site:
        passes.sync(site)
        merger.acquired.directory.deactivate(twin)
        away = merger.rig.world.okta.break_("*", "status", status=503)
        id = told(site, "acquired", twin)
        finish(merger.rig, site, patience=6)
        assert away.fired > 0
        assert row(site, id).state == "asked"
        assert "put off" in row(site, id).why
    assert not merger.rig.looker_user(login(ana)).is_disabled


class _Meanwhile:
    """A source at which something happens just when somebody is asked about."""

    def __init__(self, source: Source, happen: Callable[[], object]) -> None:
        self._source, self._happen = source, happen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def person(self, id: str) -> Identity | None:
        self._happen()
        return self._source.person(id)


def test_whoever_is_joined_while_a_source_is_asked_is_asked_about_again(merger: Merger, ana: Employee) -> None:
    twin = merger.twin(ana, employeeNumber="", login="twin@emca.example", email="twin@emca.example")
    with merger.open() as site:
        passes.sync(site)
        merger.acquired.directory.deactivate(twin)

        def join() -> None:
            join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=True, note="")

        source: Any = _Meanwhile(site.sources["acquired"], join)
        id = told(site, "acquired", twin)
        offboarding.work(replace(site, sources={**site.sources, "acquired": source}), id)
        assert row(site, id).state == "asked"
        finish(merger.rig, site)
        assert row(site, id).state == "not confirmed"
        assert mark(site, login(ana)).departure_marked_at is None
    assert not merger.rig.looker_user(login(ana)).is_disabled


def test_whoever_is_joined_while_they_are_being_offboarded_is_asked_about_again(merger: Merger, ana: Employee) -> None:
    twin = merger.twin(ana, employeeNumber="", login="twin@emca.example", email="twin@emca.example")
    with merger.open() as site:
        passes.sync(site)
        merger.acquired.directory.deactivate(twin)
        id = told(site, "acquired", twin)
        offboarding.work(site, id)
        assert row(site, id).state == "working"
        join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=True, note="")
        assert row(site, id).state == "asked"
        finish(merger.rig, site)
        assert row(site, id).state == "lifted"
        merger.rig.clock.advance(minutes=10)
        passes.sync(site)
        assert mark(site, login(ana)).departure_marked_at is None
    assert not merger.rig.looker_user(login(ana)).is_disabled


# --- a human's hold --------------------------------------------------------------------------------------------------


def test_a_hold_survives_joining_and_parting_whatever_the_sources_say(
    merger: Merger, ana: Employee, bo: Employee
) -> None:
    twin = merger.twin(bo, employeeNumber="")
    with merger.open(gates={"enable": "auto"}) as site:
        passes.sync(site)
        ask(site, login(ana), forced=True)
        finish(merger.rig, site)
        merger.rig.world.okta.directory.delete(bo.id)
        merger.rig.clock.advance(minutes=10)
        passes.sync(site)
        join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=True, note="")
        assert mark(site, login(ana)).departure_cause == "forced"
        merger.rig.clock.advance(minutes=10)
        passes.sync(site)
        held = person_of(site, login(ana))
        assert (held.forced, held.standing, held.unsure) == (True, Standing.DEPARTED, "")
        assert merger.rig.looker_user(login(ana)).is_disabled
        split_by_hand(site, f"acquired:{twin}", "", note="")
        merger.rig.clock.advance(minutes=10)
        passes.sync(site)
        assert {mark(site, f"okta:{ana.id}").departure_cause, mark(site, f"acquired:{twin}").departure_cause} == {
            "forced"
        }
        assert merger.rig.looker_user(login(ana)).is_disabled
        holds.lift(site, f"acquired:{twin}", "it was the other one")
        assert mark(site, f"acquired:{twin}").departure_cause == ""
        assert mark(site, f"okta:{ana.id}").departure_cause == "forced"


@pytest.mark.parametrize("held", ["the older", "the younger"])
def test_whichever_of_two_is_held_both_are_once_they_are_one(merger: Merger, ana: Employee, held: str) -> None:
    older, younger = login(ana), "twin@emca.example"
    with merger.open() as site:
        passes.sync(site)
        merger.rig.clock.advance(minutes=10)
        twin = merger.twin(ana, employeeNumber="", login=younger, email=younger)
        passes.sync(site)
        ask(site, older if held == "the older" else younger, forced=True)
        finish(merger.rig, site)
        join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=True, note="")
        merger.rig.clock.advance(minutes=10)
        passes.sync(site)
        assert mark(site, older).departure_cause == "forced"
        assert mark(site, older).gains_reviewed
    assert merger.rig.looker_user(older).is_disabled


def test_another_sources_word_takes_no_hold_over_and_the_authoritys_does(merger: Merger, ana: Employee) -> None:
    twin = merger.twin(ana)
    with merger.open() as site:
        passes.sync(site)
        ask(site, login(ana), forced=True)
        finish(merger.rig, site)
        merger.acquired.directory.deactivate(twin)
        merger.rig.clock.advance(minutes=10)
        passes.sync(site)
        assert mark(site, login(ana)).departure_cause == "forced"
        merger.rig.world.okta.directory.deactivate(ana.id)
        merger.rig.clock.advance(minutes=10)
        passes.sync(site)
        assert mark(site, login(ana)).departure_cause == "source"


def test_of_two_open_offboardings_one_goes_on_once_they_are_one(merger: Merger, ana: Employee) -> None:
    with merger.open() as site:
        passes.sync(site)
        merger.rig.clock.advance(minutes=10)
        twin = merger.twin(ana, employeeNumber="", login="twin@emca.example", email="twin@emca.example")
        passes.sync(site)
        first = ask(site, login(ana), trigger="hook")
        second = ask(site, "twin@emca.example", forced=True)
        join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=True, note="")
        assert (row(site, second).state, row(site, second).person_id) == ("lifted", row(site, first).person_id)
        assert (row(site, first).forced, row(site, first).decided_by) == (True, row(site, second).decided_by)
        assert len(merger.rig.trail(site, "offboarding called off")) == 1
        finish(merger.rig, site)
        assert row(site, first).state == "closed"
    assert merger.rig.looker_user(login(ana)).is_disabled


# --- which accounts go -----------------------------------------------------------------------------------------------


def test_what_is_found_under_the_name_of_another_source_goes_too(merger: Merger, ana: Employee) -> None:
    merger.twin(ana, login="ana@emca.example", email="ana@emca.example")
    with merger.open() as site:
        passes.sync(site)
        merger.rig.world.looker.instance.delete(merger.rig.looker_user(login(ana)))
        merger.rig.world.looker.sso("saml")
        made = merger.rig.world.looker.sso_arrival("ana@emca.example")
        ask(site, login(ana), forced=True)
        finish(merger.rig, site)
        assert merger.rig.world.looker.instance.users[made].is_disabled


# --- attribute values ------------------------------------------------------------------------------------------------


def test_a_leavers_own_values_are_unset_after_the_lock_out_and_hidden_ones_are_a_humans(rig: Rig, site: Site) -> None:
    settled(rig, site)
    who = everywhere(rig)
    looker, account = rig.world.looker, rig.looker_user(who).id
    region, secret = looker.add_attribute("region"), looker.add_attribute("db_password", hidden=True)
    looker.add_attribute("desk", user_can_edit=True)
    for name, value in (("region", "EMEA"), ("db_password", "hunter2"), ("desk", "4711")):
        looker.set_value(account, name, value)
    id = ask(site, who, forced=True)
    assert finish(rig, site) == []
    found = receipt(site, id)
    assert rig.looker_user(who).values == {secret: "hunter2"}
    assert line(found, f"attribute:{region}").what == "attribute region = EMEA"
    assert {fate for key, fate in fates(found, "looker").items() if key.startswith("attribute")} == {Fate.GONE}
    (hidden,) = [one for one in found.lines if "db_password" in one.what]
    assert (hidden.fate, "clear its value" in hidden.hands[0]) == (Fate.UNSEEN, True)
    assert "hunter2" not in str(row(site, id).receipt)
    mutations = [m for m in rig.mutations() if f"/users/{account}" in m]
    cleared = [place for place, m in enumerate(mutations) if m.startswith("DELETE") and "attribute_values" in m]
    assert len(cleared) == 2
    assert mutations.index(f"PATCH /api/4.0/users/{account}") < min(cleared)
