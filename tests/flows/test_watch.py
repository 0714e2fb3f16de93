"""Leavers who are out are watched: what is there again is noticed, dealt with at once, and told."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.flows.departing import ask, everywhere, finish, mark, person_id, receipt, row, rows, settled
from tests.flows.rig import Rig
from worker.core.receipt import Fate
from worker.flows import jobs, passes, watch
from worker.flows.reading import read
from worker.flows.site import Site
from worker.store import people


@pytest.fixture
def who(rig: Rig, site: Site) -> str:
    """Out everywhere, since some hours."""
    settled(rig, site)
    login = everywhere(rig)
    rig.world.okta.deactivate(rig.okta_id(login))
    ask(site, login)
    finish(rig, site)
    rig.clock.advance(hours=6)
    return login


def sweep(site: Site) -> None:
    progress = watch.sweep(site, {})
    while progress is not None:
        progress = watch.sweep(site, progress)


def test_a_session_that_nobody_should_have_is_found_by_a_deep_look_and_ended(rig: Rig, site: Site, who: str) -> None:
    user = rig.looker_user(who)
    rig.world.looker.add_session(user.id)
    sweep(site)
    assert [one.trigger for one in rows(site, who)] == ["operator", "watch"]
    finish(rig, site)
    assert rig.looker_user(who).sessions == []
    again = rows(site, who)[-1]
    assert again.state == "closed"
    assert any(line.what.startswith("web session") for line in receipt(site, again.id).lines)
    (back,) = rig.trail(site, "leaver reappeared")
    assert "web session" in back.personal["note"]
    with site.begin() as session:
        urgent = session.scalars(text("SELECT urgent FROM notice WHERE kind = 'leaver back'")).all()
    assert list(urgent) == [True]


def test_what_the_receipt_leaves_open_is_nobody_who_reappears(rig: Rig, site: Site, who: str) -> None:
    left = receipt(site, rows(site, who)[0].id)
    assert not left.complete
    sweep(site)
    sweep(site)
    assert len(rows(site, who)) == 1
    assert not rig.trail(site, "leaver reappeared")


def test_a_watch_ends_after_its_days(rig: Rig, site: Site, who: str) -> None:
    rig.world.looker.add_session(rig.looker_user(who).id)
    rig.clock.advance(days=30)
    sweep(site)
    assert len(rows(site, who)) == 1


def test_whoever_is_back_by_the_sources_word_is_watched_no_more(rig: Rig, site: Site, who: str) -> None:
    rig.world.okta.set_status(rig.okta_id(who), "ACTIVE")
    read(site, "okta")
    assert row(site, rows(site, who)[0].id).watch_until is None


def test_the_schedule_has_a_job_for_it(site: Site) -> None:
    assert jobs.TASKS["watch"] == jobs.WATCH


def test_a_rehire_under_a_new_id_is_nobodys_old_account_until_a_human_says_so(rig: Rig, site: Site, who: str) -> None:
    old = rig.okta_id(who)
    rig.world.okta.rename(old, login=f"old.{who}", email=f"old.{who}")
    rig.world.okta.hire("Karim", "Mendes", login=who, groups=["Everyone"])
    rig.clock.advance(minutes=10)
    passes.sync(site)
    with site.begin() as session:
        new = next(
            one for one in people.find(session, who) if one.person_id != str(rows(site, f"old.{who}")[0].person_id)
        )
        assert people.links_of(session, new.person_id) == []
    assert rig.looker_user(who).is_disabled
    assert mark(site, f"old.{who}").departure_marked_at is not None


def test_somebody_who_has_not_started_loses_nothing_and_gains_nothing(rig: Rig, site: Site, who: str) -> None:
    early = everywhere(rig, 0) if everywhere(rig, 0) != who else everywhere(rig, 1)
    rig.world.okta.set_status(rig.okta_id(early), "STAGED")
    rig.world.looker.remove_from_group(rig.looker_user(early).id, "Viewers")
    held = rig.looker_groups(early)
    id = ask(site, early)
    finish(rig, site)
    passes.sync(site)
    assert row(site, id).state == "not confirmed"
    assert not rig.looker_user(early).is_disabled
    assert rig.looker_groups(early) == held
    assert person_id(site, early)


def test_fates_of_a_person_without_any_account_are_none_and_the_receipt_is_whole(
    rig: Rig, site: Site, who: str
) -> None:
    lonely = rig.world.okta.hire("Nia", "Berg", login="nia.berg@acme.example", groups=[])
    read(site, "okta")
    rig.world.okta.deactivate(lonely if isinstance(lonely, str) else rig.okta_id("nia.berg@acme.example"))
    id = ask(site, "nia.berg@acme.example")
    finish(rig, site)
    found = receipt(site, id)
    assert (found.lines, found.without, found.complete) == ((), ("looker", "teamcity"), True)
    assert Fate.GONE not in {line.fate for line in found.lines}
