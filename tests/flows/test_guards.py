"""Each guard of a pass, shown at work on a served company: what it withholds, and that nothing else is held up."""

from __future__ import annotations

from tests.flows.rig import Rig
from worker.flows import passes
from worker.flows.site import Site


def test_with_every_guard_content_a_pass_takes_and_gives_and_leaves_nothing_behind(rig: Rig, site: Site) -> None:
    first = passes.sync(site)
    assert first.troubles == []
    assert first.failures == []
    assert first.tripped == []
    assert {log.method for log in rig.world.looker.log} >= {"PATCH"}
    assert {plan.target: plan.count() for plan in passes.plan(site).plans} == {"looker": 0, "teamcity": 0}
