"""Looker keeps the laws that every target keeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.targets.attribute_contract import AttributeContract, ValueRig
from tests.targets.looker_company import ANN, BOB, expected, group, impatient, newcomer, role, sandbox, stage
from tests.targets.target_contract import OPERATIONS, Rig, TargetContract
from worker.core.identity import ATTRIBUTE, Entitlement
from worker.ports import Asked
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


REGION, LEVEL = "30", "31"
DECLARED = {
    "region": {"allow": ["EMEA", "AMER"], "when_missing": "hold"},
    "level": {"pattern": "[0-9]+", "when_missing": "hold"},
}


def value(attribute: str, text: str) -> Entitlement:
    return Entitlement(ATTRIBUTE, attribute, text)


class TestLookerWithFilters(AttributeContract):
    """Ann has a level and no region of her own; her group gives her one."""

    @pytest.fixture
    def rig(self, sandbox: LookerSandbox) -> Iterator[ValueRig]:
        sandbox.set_value(ANN, "level", "3")
        names = {REGION: "region", LEVEL: "level"}
        rig = ValueRig(
            sandbox=sandbox,
            connect=lambda line: impatient(sandbox, line, attributes=DECLARED),
            secret="looker-secret",
            somebody=ANN,
            own=sandbox.own_account,
            held=[role("3"), group("11"), value(LEVEL, "3")],
            free=[role("4"), group("12"), value(REGION, "EMEA")],
            profile={"first_name": "Anna"},
            new_login="anna@acme.example",
            newcomer=newcomer(role("3"), group("11"), value(REGION, "EMEA"), value(LEVEL, "7")),
            accounts=lambda: expected(sandbox, REGION, LEVEL),
            remove=sandbox.delete_user,
            plant=lambda: plant(sandbox),
            asked=Asked(frozenset(DECLARED)),
            other=value(LEVEL, "7"),
            by_hand=lambda one: sandbox.set_value(ANN, names[one.id], one.scope),
        )
        yield rig
        rig.close()
