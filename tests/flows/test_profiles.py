"""What a source says of people's names follows at once in every target; what they log in with waits for a human."""

from __future__ import annotations

import pytest

from tests.flows.rig import Rig
from worker.core.guardrails import State
from worker.flows.apply import apply
from worker.flows.crowd import gather
from worker.flows.reading import read
from worker.flows.reconcile import Reconciled, reconcile
from worker.flows.site import Site
from worker.store import mirror

TARGETS = ("looker", "teamcity")


def planned(site: Site) -> dict[str, Reconciled]:
    for name in ("okta", *TARGETS):
        read(site, name)
    crowd = gather(site)
    return {name: reconcile(site, name, crowd, "test") for name in TARGETS}


def everywhere(rig: Rig, site: Site) -> str:
    """The login of somebody in good order who has an account in both targets."""
    with site.begin() as session:
        logins = [{a.login.lower() for a in mirror.accounts(session, name)} for name in TARGETS]
    storied = {story.who for story in rig.world.company.stories}
    active = [e.profile["login"] for e in rig.world.company.employees if e.status == "ACTIVE"]
    return next(login for login in active if login not in storied and all(login.lower() in known for known in logins))


def changed(found: Reconciled, login: str, field: str) -> list[tuple[State, str]]:
    """What becomes of the changes of one field of one person, by the address in the sentence."""
    return [
        (one.state, found.sentences[one.change.drift.key])
        for one in found.judged
        if one.change.drift.field == field and login in found.sentences[one.change.drift.key]
    ]


@pytest.mark.parametrize("mode", ["review", "enforce"])
def test_a_new_name_is_in_both_targets_after_one_pass(rig: Rig, mode: str) -> None:
    with rig.open(mode) as site:
        planned(site)
        login = everywhere(rig, site)
        rig.world.okta.rename(rig.okta_id(login), firstName="Zora", lastName="Quill", displayName="Zora Quill")
        rig.clock.advance(minutes=1)
        for name, found in planned(site).items():
            fields = ("first_name", "last_name", "name")
            assert {state for field in fields for state, _ in changed(found, login, field)} == {State.OPEN}, name
            apply(site, found.run_id)
        looker = rig.looker_user(login)
        assert (looker.first_name, looker.last_name) == ("Zora", "Quill")
        (teamcity,) = [u for u in rig.world.teamcity.state()["users"].values() if u["username"] == login]
        assert teamcity["name"] == "Zora Quill"


def test_a_new_login_is_reviewed_in_teamcity_and_a_humans_business_in_looker(rig: Rig) -> None:
    with rig.open("enforce") as site:
        planned(site)
        login = everywhere(rig, site)
        rig.world.okta.rename(rig.okta_id(login), login="zora.quill@acme.example", email="zora.quill@acme.example")
        rig.clock.advance(minutes=1)
        found = planned(site)
        told = {name: [state for state, _ in changed(found[name], "zora.quill", "login")] for name in TARGETS}
        assert told == {"looker": [State.MANUAL], "teamcity": [State.WAITING]}
        for one in found.values():
            apply(site, one.run_id)
        assert rig.looker_user(login)
        assert login in {u["username"] for u in rig.world.teamcity.state()["users"].values()}
