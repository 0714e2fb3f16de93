"""How the changes of one account are made: created and linked, suspended whole, not enabled by the back door."""

from __future__ import annotations

import uuid
from importlib.metadata import version

import pytest

from tests.flows.rig import Rig
from worker.core.guardrails import State
from worker.flows import links, passes, review
from worker.flows.site import Site
from worker.sandbox.teamcity.world import User
from worker.store import installations, people


@pytest.fixture
def engineer(rig: Rig) -> User:
    """Somebody in good order with a TeamCity account that has a role and a group."""
    world = rig.world.teamcity.world
    planted = {story.who for story in rig.world.company.stories}
    people = {e.profile["login"]: e for e in rig.world.company.employees if e.status == "ACTIVE"}
    return next(
        u for u in world.users.values() if u.username in people and u.username not in planted and u.roles and u.groups
    )


def later(rig: Rig, site: Site) -> passes.Outlook:
    """The next tick of the schedule."""
    rig.clock.advance(minutes=5)
    return passes.sync(site)


def sentences(outlook: passes.Outlook, who: str, *states: State) -> list[str]:
    """What a pass planned for somebody in TeamCity or Looker."""
    found = [(j.state, p.sentences[j.change.drift.key]) for p in outlook.plans for j in p.judged]
    return [text for state, text in found if f"<{who}>" in text and state in (states or State)]


def test_an_attempt_says_by_which_gate_in_which_episode_of_which_installation_and_by_which_trueup(rig: Rig) -> None:
    with rig.open("enforce") as site:
        passes.sync(site)
        with site.begin() as session:
            known = {installations.instance_of(session, target) for target in site.targets}
        for entry in rig.trail(site, "step attempted"):
            assert entry.facts["instance"] in known
            assert entry.facts["trueup"] == version("trueup")
            assert all(change["gate"] == "auto" and uuid.UUID(change["episode"]) for change in entry.facts["changes"])


def changes_left(rig: Rig, site: Site, who: str) -> list[str]:
    rig.clock.advance(minutes=5)
    return sentences(passes.plan(site), who)


def test_a_token_that_cannot_be_deleted_does_not_leave_a_leavers_roles_in_place(
    rig: Rig, site: Site, engineer: User
) -> None:
    later(rig, site)
    rig.world.teamcity.add_token(engineer.id, "ci")
    rig.world.okta.deactivate(rig.okta_id(engineer.username))
    stuck = rig.world.teamcity.break_(f"DELETE */users/id:{engineer.id}/tokens/*", "status", status=400, text="no")
    jammed = later(rig, site)
    assert stuck.fired > 0
    assert jammed.exit_code() == 1
    assert any("disable the account" in problem for problem in jammed.troubles)
    assert not engineer.roles
    assert engineer.tokens
    rig.world.teamcity.faults.clear()
    healed = later(rig, site)
    assert healed.troubles == []
    assert not engineer.tokens
    assert changes_left(rig, site, engineer.username) == []


def test_a_suspended_person_who_comes_back_is_granted_nothing_before_the_account_may_be_enabled(
    rig: Rig, site: Site, engineer: User
) -> None:
    later(rig, site)
    before = set(engineer.roles)
    rig.world.okta.suspend(rig.okta_id(engineer.username))
    later(rig, site)
    assert not engineer.roles
    rig.world.okta.set_status(rig.okta_id(engineer.username), "ACTIVE")
    waiting = later(rig, site)
    assert not engineer.roles
    assert sentences(waiting, engineer.username, State.OPEN) == []
    assert len(sentences(waiting, engineer.username, State.WAITING)) > 1
    enabling = [
        i.handle for i in review.pending(site) if i.sentence.startswith("enable") and engineer.username in i.sentence
    ]
    review.decide(site, enabling, approve=True, note="back from leave")
    later(rig, site)
    assert set(engineer.roles) == before
    assert changes_left(rig, site, engineer.username) == []


def test_an_approved_account_is_created_linked_and_given_what_it_deserves_as_one_change(rig: Rig, site: Site) -> None:
    newcomer = rig.logins("missing looker account")[0]
    later(rig, site)
    (item,) = [i for i in review.pending(site, "looker") if i.sentence.startswith("create") and newcomer in i.sentence]
    review.decide(site, [item.handle], approve=True, note="")
    made = later(rig, site)
    assert [text for run in made.applied for text in run.done if newcomer in text] == [item.sentence]
    assert rig.looker_groups(newcomer) | rig.looker_roles(newcomer)
    assert changes_left(rig, site, newcomer) == []
    with site.begin() as session:
        person = links.find_person(session, newcomer)
        account = links.find_account(site, session, "looker", newcomer)
        assert [(t.account_id, t.key) for t in people.ties(session, "looker") if t.person_id == person.person_id] == [
            (account.id, "created")
        ]
