"""Says what a planned change comes to for the connector that is to make it."""

from __future__ import annotations

from dataclasses import replace

from worker.core.plan import Change, Operation
from worker.ports import Task


def task_of(change: Change, id: str) -> Task:
    """A change as the connector sees it."""
    fields = {change.drift.field: change.drift.after} if change.operation is Operation.UPDATE else {}
    entitlement = change.drift.entitlement
    if entitlement is not None and change.of_attribute:
        entitlement = replace(entitlement, scope=change.drift.after or change.drift.before)
    return Task(id, change.operation, entitlement, fields)


def value_of(change: Change) -> dict[str, str]:
    """What has to be stored of an attribute's change, for its key says nothing of the value."""
    return {"value": change.drift.after or change.drift.before} if change.of_attribute else {}
