"""A worker dies at any boundary of an offboarding: another one finishes it, nothing is done twice, the receipt is true.

What the world and the database hold changes only when a mutation reaches a vendor and when Trueup commits. So whoever
dies after each mutation, before its answer, and after each commit, dies in every state that there is.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session

from tests.flows.departing import ask, done, everywhere, fates, finish, furnish, receipt, row, settled
from tests.flows.rig import Rig
from worker.core.receipt import Fate
from worker.flows import offboarding
from worker.flows.site import Site
from worker.ports import Made, Step
from worker.store import leases
from worker.store.session import Store

pytestmark = pytest.mark.fleet  # some hundred offboardings

AGAIN = ("/logout", "/debug/rememberMe", "/properties/")  # TeamCity shows nobody's sessions: these may be made again


class Killed(BaseException):
    """What nothing in the product catches, as nothing catches kill -9."""


class MortalStore:
    """Its owner dies right after the n-th commit."""

    def __init__(self, store: Store, lives: int) -> None:
        self._store, self.lives = store, lives

    @contextmanager
    def begin(self, *, one_moment: bool = False) -> Iterator[Session]:
        with self._store.begin(one_moment=one_moment) as session:
            yield session
        self.lives -= 1
        if self.lives == 0:
            raise Killed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class MortalTarget:
    """Its owner dies right after the n-th step was carried out, before anybody learns of it."""

    def __init__(self, target: Any, lives: list[int]) -> None:
        self._target, self._lives = target, lives

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def apply(self, step: Step) -> Made:
        made: Made = self._target.apply(step)
        self._lives[0] -= 1
        if self._lives[0] == 0:
            raise Killed
        return made


def mortal(site: Site, commits: int, steps: int) -> Site:
    lives = [steps]
    targets: Any = {name: MortalTarget(target, lives) for name, target in site.targets.items()}
    store: Any = MortalStore(site.store, commits)
    return replace(site, store=store, targets=targets, owner=f"mortal:{uuid.uuid4()}")


def die_of(site: Site, id: uuid.UUID, commits: int = 0, steps: int = 0) -> bool:
    """Whether it got that far. Whoever comes next finds the claims of the dead gone, as after a kill -9."""
    doomed = mortal(site, commits, steps)
    try:
        for target in ("", *site.targets):
            offboarding.work(doomed, id, target)
    except Killed:
        with site.begin() as session:
            leases.let_go(session, doomed.owner)
        return True
    return False


def back(rig: Rig, site: Site, who: str) -> None:
    """As if nothing had been: everything that they had, and no mark."""
    with site.begin() as session:
        session.execute(text("UPDATE person SET departure_marked_at = NULL, departure_cause = ''"))
        session.execute(text("DELETE FROM effect"))
    rig.world.looker.enable(rig.looker_user(who).id)
    rig.world.looker.add_to_group(rig.looker_user(who).id, "Viewers")
    user = next(u for u in rig.world.company.teamcity_users if u.username == who)
    rig.world.teamcity.add_role(user.id, "PROJECT_DEVELOPER", "p:Web")
    rig.world.teamcity.add_to_group(user.id, "DEVELOPERS")
    furnish(rig, who)


BOUNDARIES = [*(("commits", n) for n in range(1, 75)), *(("steps", n) for n in range(1, 20))]


@pytest.mark.timeout(1800)
def test_whoever_dies_at_any_boundary_is_succeeded_and_the_receipt_is_true(rig: Rig) -> None:
    with rig.open("enforce", limits={"departures": {"per_run": 999, "per_day": 999}}) as site:
        settled(rig, site)
        who = everywhere(rig)
        rig.world.okta.deactivate(rig.okta_id(who))
        died = Counter[str]()
        for kind, number in BOUNDARIES:
            back(rig, site, who)
            rig.clock.advance(minutes=1)
            before = done(rig)
            id = ask(site, who)
            died[kind] += die_of(site, id, **{kind: number})
            finish(rig, site)
            found, place = receipt(site, id), f"killed after {kind} {number}"
            assert row(site, id).state == "closed", place
            gone = {fate for key, fate in fates(found).items() if " kept" not in key and "unseen" not in key}
            assert Fate.PENDING not in gone, place
            assert rig.looker_user(who).is_disabled, place
            assert (rig.looker_user(who).sessions, rig.looker_groups(who)) == ([], set()), place
            made = done(rig) - before
            twice = {m: n for m, n in made.items() if n > 1 and not any(again in m for again in AGAIN)}
            assert not {m: n for m, n in twice.items() if m.startswith(("DELETE", "POST"))}, place
        assert died["commits"] > 30, "the boundaries were reached"
        assert died["steps"] > 8
