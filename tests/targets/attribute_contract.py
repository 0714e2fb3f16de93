"""The laws of a target that has attributes: those of every target, and that a value nobody planned on stays.

class TestMine(AttributeContract):
    @pytest.fixture
    def rig(self) -> Iterator[ValueRig]: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.targets.target_contract import REPLACE, Rig, TargetContract, make, observed, prepare
from worker.core.identity import ATTRIBUTE, Entitlement
from worker.core.plan import Operation
from worker.errors import Refused
from worker.ports import Outcome, Step, Target, Task


@dataclass(kw_only=True)
class ValueRig(Rig):
    """Its `held`, `free` and `newcomer` have a value each. `by_hand` gives `somebody` a value as a human does it."""

    by_hand: Callable[[Entitlement], None]

    def value(self, operation: str) -> Entitlement:
        """The value that the operation is about."""
        if operation == REPLACE:
            assert self.other is not None
            return self.other
        (found,) = (e for e in (self.held if operation == "revoke" else self.free) if e.kind == ATTRIBUTE)
        return found

    def task(self, operation: str) -> Task:
        return Task("t", Operation(operation), self.value(operation))


class AttributeContract(TargetContract):
    """See the module."""

    operations = ("revoke", "create", "grant", REPLACE)

    def test_it_says_that_it_has_them(self, rig: ValueRig) -> None:
        target = rig.target()
        account = target.account(rig.somebody)
        assert account is not None
        assert target.sweeps > 0
        assert {rig.value("grant").id, rig.value("revoke").id} == account.known
        assert account.own(rig.value("grant").id) is None
        assert account.own(rig.value("revoke").id) == rig.value("revoke").scope

    def test_what_nobody_asks_for_is_not_read(self, rig: ValueRig) -> None:
        accounts, catalogue = observed(rig.target())
        assert not [e for account in accounts.values() for e in account.entitlements if e.kind == ATTRIBUTE]
        assert not [account for account in accounts.values() if account.known]
        assert ATTRIBUTE not in {kind for kind, _ in catalogue}

    def test_a_value_is_replaced_and_never_unset_in_between(self, rig: ValueRig) -> None:
        target = rig.target()
        account, tasks = prepare(rig, target, REPLACE)
        make(rig, target, target.steps(account, tasks))
        assert len(rig.sandbox.log) == 1

    @pytest.mark.parametrize("how", ["grant", REPLACE, "revoke"])
    def test_a_value_that_is_not_the_one_the_plan_saw_stays(self, rig: ValueRig, how: str) -> None:
        target = rig.target()
        steps = self._steps(rig, target, how)
        strange = replace(rig.value(how), scope="99")
        rig.by_hand(strange)
        before = rig.accounts()
        for step in steps:
            with pytest.raises(Refused):
                target.apply(step)
            assert target.settled(step).outcome is Outcome.FOUND_NOT_APPLIED
        assert (rig.sandbox.log, rig.accounts()) == ([], before)
        assert strange in before[rig.somebody].entitlements

    @pytest.mark.parametrize("how", ["grant", REPLACE])
    def test_a_value_that_somebody_else_has_set_meanwhile_is_already_so(self, rig: ValueRig, how: str) -> None:
        target = rig.target()
        steps = self._steps(rig, target, how)
        rig.by_hand(rig.value(how))
        assert [target.apply(step).outcome for step in steps] == [Outcome.ALREADY_SO]
        assert rig.sandbox.log == []

    def _steps(self, rig: ValueRig, target: Target, how: str) -> list[Step]:
        account = target.account(rig.somebody)
        assert account is not None
        steps = list(target.steps(account, [rig.task(how)]))
        assert len(steps) == 1
        return steps
