"""Every way in which a read of Looker's user attributes can break: nobody's filter is taken away or widened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.conftest import Database
from tests.e2e.breaking import HEALED, LOUD, PLACES, Routes, Scene, planned, settled, unsettled
from tests.e2e.test_faults import ROUTES as WITHOUT
from tests.e2e.test_faults import SMALL_PAGES
from tests.flows.rig import Rig
from worker import wiring
from worker.flows.check import check
from worker.sandbox.acme import OFFICES
from worker.sandbox.world import World
from worker.store import installations

pytestmark = pytest.mark.faults

ATTRIBUTES = {
    "attributes": "/api/4.0/user_attributes",
    "values of groups": "/api/4.0/user_attributes/*/group_values",
    "values of users": "/api/4.0/users/*/attribute_values",
}
ROUTES: Routes = {**WITHOUT, "looker": {**WITHOUT["looker"], **ATTRIBUTES}}
TERRITORIES = dict(zip(OFFICES, ("EMEA", "EMEA", "EMEA", "APAC", "AMER"), strict=True))
VALUES = {
    **{f"Office {office}": {"territory": territory} for office, territory in TERRITORIES.items()},
    "Finance": {"tier": "gold"},
}


def filters(world: World) -> dict[str, Any]:
    """The company's own rules; besides, everybody is given the territory of their office, and Finance a tier."""
    rules = [
        {"name": f"values of {group}", "when": {"group": group}, "give": [{"looker": {"attributes": values}}]}
        for group, values in VALUES.items()
    ]
    allowed = {
        "territory": {"allow": ["AMER", "APAC", "EMEA"], "when_missing": "hold"},
        "tier": {"allow": ["gold"], "when_missing": "hold"},
    }
    known = yaml.safe_load(world.company.policy)["rules"]
    return {"rules": [*known, *rules], "targets": {"looker": {"attributes": allowed}}}


@pytest.fixture(scope="module")
def stage(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Some have a value of their own, some the same through a group."""
    world, folder = World.of(40), tmp_path_factory.mktemp("attribute_faults")
    for attribute in ("territory", "tier"):
        world.looker.add_attribute(attribute, default="NONE")
    world.looker.set_group_values("territory", Running_Club="EMEA", Data="APAC")
    world.looker.set_group_values("tier", Finance="gold")
    with settled(world, module_database, folder, SMALL_PAGES, **filters(world)) as rig:
        yield rig


def ordinary(rig: Rig) -> Iterator[tuple[str, str]]:
    """Looker ids of people in good order who have a territory of their own, with it."""
    looker = rig.world.looker
    storied = {story.who for story in rig.world.company.stories}
    for employee in reversed(rig.world.company.employees):  # the first ones are disturbed in other ways
        login = employee.profile["login"]
        if login not in storied and employee.status == "ACTIVE" and looker.instance.with_email(login):
            id = rig.looker_user(login).id
            if territory := looker.own_value(id, "territory"):
                yield id, territory


def disturb_values(rig: Rig) -> None:
    """One has the wrong territory, one has none, one has theirs by a group alone; one has a tier that nobody gave."""
    looker, found = rig.world.looker, ordinary(rig)
    looker.set_value(next(found)[0], "territory", "WORLD")
    looker.set_value(next(found)[0], "territory", None)
    looker.set_value(next(id for id, _ in found if not looker.in_group(id, "Finance")), "tier", "gold")
    runner = next(id for id, territory in found if territory == "EMEA")
    looker.add_to_group(runner, "Running Club")
    looker.set_value(runner, "territory", None)


@pytest.fixture(scope="module")
def _scene(stage: Rig) -> Iterator[Scene]:
    disturb_values(stage)
    anew = frozenset({("teamcity", "who we are")})
    with unsettled(stage, ROUTES, filters(stage.world), once=anew) as scene:
        yield scene


@pytest.fixture
def scene(_scene: Scene) -> Iterator[Scene]:
    """Whole again after each test."""
    yield _scene
    for server in _scene.rig.world.servers:
        server.faults.clear()


def of_values(found: Mapping[str, frozenset[str]]) -> list[str]:
    return sorted(sentence.partition(" = ")[0] for sentence in found["looker"] if " attribute " in sentence)


def test_no_route_is_forgotten(scene: Scene) -> None:
    scene.assert_no_route_is_forgotten(looker=(7, 2))
    unset = ["revoke attribute territory", "revoke attribute tier"]  # of who left, and of whom no rule gives it
    assert of_values(scene.truth.takes) == [*unset, "set attribute territory"]
    assert of_values(scene.truth.gives) == ["grant attribute territory"]


@pytest.mark.parametrize("fault", LOUD)
@pytest.mark.parametrize("what", ATTRIBUTES)
def test_what_cannot_be_read_takes_nothing_from_anybody(scene: Scene, what: str, fault: str) -> None:
    place = [*PLACES.values()][(list(LOUD).index(fault) + list(ATTRIBUTES).index(what)) % len(PLACES)]
    injected = scene.break_("looker", what, place, **LOUD[fault])
    scene.broken_pass("looker")
    assert injected.fired


@pytest.mark.parametrize("fault", HEALED)
@pytest.mark.parametrize("what", ATTRIBUTES)
def test_what_passes_is_tried_again_and_nothing_is_missing(scene: Scene, what: str, fault: str) -> None:
    place = [*PLACES.values()][(list(HEALED).index(fault) + list(ATTRIBUTES).index(what)) % len(PLACES)]
    injected = scene.break_("looker", what, place, **HEALED[fault], times=1)
    outlook = scene.pass_()
    assert injected.fired == 1
    assert outlook.failures == []
    assert planned(outlook, taking=True) == scene.truth.takes
    assert planned(outlook, taking=False) == scene.truth.gives


# Of accounts' own values every attribute that is asked for has a row, so none can be missing. Nothing says how many
# attributes there are, or groups with a value: what is not there is frozen, or taken for nothing that a group gives.
LIES: Mapping[str, Mapping[str, Any]] = {
    "no rows": {"kind": "misshapen", "text": "[]"},
    "half of the rows": {"kind": "fewer"},
}
BELIEVED = {"attributes", "values of groups"}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", ATTRIBUTES)
def test_rows_that_are_missing_take_nothing_from_anybody(scene: Scene, what: str, place: str, lie: str) -> None:
    injected = scene.break_("looker", what, PLACES[place], **LIES[lie])
    if what in BELIEVED:
        outlook = scene.pass_()
        assert outlook.failures == []
        for target, sentences in planned(outlook, taking=True).items():
            assert sentences <= scene.truth.takes[target]
    else:
        scene.broken_pass("looker")
    assert injected.fired


@pytest.mark.parametrize("what", ATTRIBUTES)
def test_an_answer_that_does_not_come_in_time_takes_nothing_from_anybody(scene: Scene, what: str) -> None:
    settings = filters(scene.rig.world)
    settings["targets"]["looker"]["timeout"] = 0.5
    injected = scene.break_("looker", what, 0.5, kind="slow", seconds=0.8)
    with scene.rig.open("enforce", gates={"create": "auto"}, **settings) as site:
        outlook = replace(scene, site=site).broken_pass("looker")
    assert injected.fired
    assert "broke off (ReadTimeout" in outlook.failures[0][1]


@pytest.mark.parametrize("fault", ["500 without a body", "a web page", "half an answer", "a redirect"])
def test_no_baseline_is_accepted_where_the_look_at_attributes_fails(scene: Scene, fault: str) -> None:
    with scene.site.begin() as session:
        before = installations.baseline(session, "looker")
    injected = scene.server("looker").break_(f"GET {ATTRIBUTES['attributes']}", **LOUD[fault])
    with ExitStack() as stack:
        found = check(wiring.connect(scene.site, stack), accept=["looker"])
    assert injected.fired
    assert (found.accepted, [name for name, _ in found.failures]) == ([], ["looker"])
    with scene.site.begin() as session:
        assert installations.baseline(session, "looker") == before
