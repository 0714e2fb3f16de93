"""TeamCity keeps the laws of every target: on a server of today, and on an old one that lacks calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.targets.target_contract import Rig, TargetContract
from tests.targets.teamcity_company import ANA, company, rig_of, sandbox
from worker.sandbox.teamcity import TeamCitySandbox

__all__ = ["sandbox"]  # a fixture


class TestTeamCity(TargetContract):
    @pytest.fixture
    def rig(self, sandbox: TeamCitySandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
        # One token only where a law asks that a lost answer was the last of its step.
        del sandbox.world.users[ANA].tokens["ci 2"]
        rig = rig_of(sandbox, monkeypatch)
        yield rig
        rig.close()


@pytest.mark.off_contract("the old server's addresses stand under a context path, which the contract does not have")
class TestOldTeamCityUnderAContextPath(TargetContract):
    """Plain-text errors, no call to add one group, no call to end sessions."""

    @pytest.fixture
    def rig(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
        sandbox = TeamCitySandbox(company(), context="/teamcity", error_style="text", version="2023.11")
        sandbox.logout_call = False
        del sandbox.world.users[ANA].tokens["ci 2"]
        with sandbox.serve():
            rig = rig_of(sandbox, monkeypatch)
            yield rig
            rig.close()
