"""Modes are presets of the gates, and the default one does nothing by itself."""

from __future__ import annotations

from worker.core.plan import Gate, GateTable, Operation
from worker.settings.model import PRESETS, Gates, Mode, Settings

Op = Operation
OBSERVE = dict.fromkeys(Operation, Gate.REVIEW)
REVIEW = {**OBSERVE, Op.GRANT: Gate.AUTO, Op.UPDATE: Gate.AUTO}
ENFORCE = {**dict.fromkeys(Operation, Gate.AUTO), Op.CREATE: Gate.REVIEW, Op.ENABLE: Gate.REVIEW}


def test_a_mode_is_a_preset_of_the_gates_and_the_default_does_nothing_by_itself() -> None:
    assert PRESETS == {Mode.OBSERVE: OBSERVE, Mode.REVIEW: REVIEW, Mode.ENFORCE: ENFORCE}
    bare = Settings(sources={"okta": {}}, targets={"looker": {}})
    assert bare.gate_table() == GateTable(OBSERVE, Gate.REVIEW)


def test_single_gates_lie_over_the_mode() -> None:
    settings = Settings(
        sources={"okta": {}}, targets={"looker": {}}, mode=Mode.ENFORCE,
        gates=Gates(revoke=Gate.REVIEW, create=Gate.AUTO, privileged="manual"),
    )  # fmt: skip
    assert settings.gate_table() == GateTable({**ENFORCE, Op.REVOKE: Gate.REVIEW, Op.CREATE: Gate.AUTO}, Gate.MANUAL)
