"""Looker keeps the laws that every target keeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.targets.looker_company import ANN, BOB, expected, group, impatient, newcomer, role, sandbox, stage
from tests.targets.target_contract import OPERATIONS, Rig, TargetContract
from worker.sandbox.looker import LookerSandbox

__all__ = ["sandbox", "stage"]  # fixtures


def plant(sandbox: LookerSandbox) -> None:
    """One of everything that lets Ann in; older releases let administrators see and end keys."""
    sandbox.keys_closed = False
    sandbox.add_session(ANN)
    sandbox.add_key(ANN)
    sandbox.add_app("Sheets", ANN, BOB)
    sandbox.add_link(ANN, "saml")


class TestLooker(TargetContract):
    operations = tuple(name for name in OPERATIONS if name != "rename")  # a changed address is a human's business

    @pytest.fixture
    def rig(self, sandbox: LookerSandbox) -> Iterator[Rig]:
        rig = Rig(
            sandbox=sandbox,
            connect=lambda line: impatient(sandbox, line),
            secret="looker-secret",
            somebody=ANN,
            own=sandbox.own_account,
            held=[role("3"), group("11")],
            free=[role("4"), group("12")],
            profile={"first_name": "Anna"},
            new_login="anna@acme.example",
            newcomer=newcomer(role("3"), group("11")),
            accounts=lambda: expected(sandbox),
            remove=sandbox.delete_user,
            plant=lambda: plant(sandbox),
        )
        yield rig
        rig.close()
