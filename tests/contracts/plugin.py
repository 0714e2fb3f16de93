"""Gives every sandbox server that the suite starts its vendor's contract, and fails the test that breaks one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.validator import PREFIX, Contract, Violation
from worker.sandbox.server import SandboxServer

_seen: list[Violation] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "off_contract(why): this test sends, on purpose, requests that the vendor's contract does not have"
    )


@pytest.fixture(scope="session", autouse=True)
def sandboxes_carry_contracts() -> Iterator[None]:
    """Every sandbox server made from here on is observed."""
    make = SandboxServer.__init__

    def made_with_contract(self: SandboxServer) -> None:
        make(self)
        if self.name in PREFIX:
            self.observers.append(Contract(self.name, _seen.append).observe)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SandboxServer, "__init__", made_with_contract)
        yield
    assert not _seen, "the vendor's contract was broken while fixtures were taken down"


@pytest.fixture(autouse=True)
def contracts_kept(request: pytest.FixtureRequest, sandboxes_carry_contracts: None) -> Iterator[None]:
    """What was seen by the end of this test, its fixtures of whatever scope included, holds against the contracts."""
    yield
    excused = request.node.get_closest_marker("off_contract") is not None
    breaches = dict.fromkeys(str(v) for v in _seen if not (excused and v.side == "request"))
    _seen.clear()
    if breaches:
        pytest.fail("the vendor's contract was broken:\n  " + "\n  ".join([*breaches][:20]), pytrace=False)
