"""Handing a leaver's schedules and alerts over in Looker: to somebody who can have them, unchanged, and working."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.core.identity import Trait
from worker.errors import Missing
from worker.ports import Step
from worker.rest import Reply
from worker.targets.looker import reading, rows
from worker.targets.looker.ground import GONE, Ground, Sight, Verb, text_of, texts_of, untouchable
from worker.targets.looker.heirlooms import of_alert, of_schedule, spoken
from worker.targets.looker.session import models
from worker.targets.looker.steps import UNTOUCHABLE


@dataclass(frozen=True)
class Work:
    """A schedule or an alert as it is now."""

    owner: str
    enabled: bool
    recipients: frozenset[str]


Read = Callable[[Ground, str], Work]


def _schedule(ground: Ground, id: str) -> Work:
    row = rows.shaped(ground.session.read(f"/scheduled_plans/{id}", {"fields": rows.SCHEDULE_FIELDS}), rows.SCHEDULE)
    return Work(row.user_id or "", row.enabled, frozenset(map(spoken, of_schedule(row))))


def _alert(ground: Ground, id: str) -> Work:
    row = rows.shaped(ground.session.read(f"/alerts/{id}"), rows.ALERT)
    return Work(row.owner_id, not row.is_disabled, frozenset(map(spoken, of_alert(row))))


def _work(read: Read, ground: Ground, step: Step) -> Work | None:
    try:
        return read(ground, text_of(step, "id"))
    except Missing:
        return None


def _sight(work: Work | None, step: Step) -> Sight:
    """After a call, and after a lost answer: whose it is now, and whether it works as it did."""
    if work is None:
        return Sight("gone", refusal="It does not exist any more.")
    heirs = work.owner == text_of(step, "heir")
    restored = work.enabled or not step.args.get("enabled")
    text = f"of account {work.owner}, {'on' if work.enabled else 'off'}"
    return Sight(text, heirs and restored, begun=heirs and not restored)


def _back(read: Read) -> Callable[[Ground, Step], Sight]:
    return lambda ground, step: _sight(_work(read, ground, step), step)


def _first(read: Read) -> Callable[[Ground, Step], Sight]:
    """Before a call: also that the leaver, the heir and the thing itself are what was recorded."""

    def look(ground: Ground, step: Step) -> Sight:
        user = ground.user(step.account_id)
        if user is None:
            return GONE
        work = _work(read, ground, step)
        seen = _sight(work, step)
        refusal = seen.refusal or (_changed(work, step) if work else "") or _no_heir(ground, step)
        return Sight(seen.text, seen.done, refusal, never=untouchable(user, ground.own), begun=seen.begun)

    return look


def _changed(work: Work, step: Step) -> str:
    if work.owner not in (step.account_id, text_of(step, "heir")):
        return f"It belongs to account {work.owner} now."
    if work.recipients != frozenset(texts_of(step, "recipients")):
        return "Its recipients were changed since it was recorded; look at it, and record it again."
    return ""


def _no_heir(ground: Ground, step: Step) -> str:
    """A service account may stand for a team; a disabled heir would let it stop again."""
    id = text_of(step, "heir")
    user = reading.read_user(ground.session, id)
    if user is None:
        return f"Account {id}, which should have it, does not exist."
    if user.is_disabled:
        return f"Account {id}, which should have it, is disabled."
    traits = reading.traits_of(user, ground.own) & (set(UNTOUCHABLE) - {Trait.SERVICE})
    return f"Account {id}, which should have it, is {next(iter(traits))}." if traits else ""


# --- changing whose it is; destinations are never sent, for what is sent takes the place of all of them


def _give_schedule(ground: Ground, step: Step) -> tuple[str, Reply]:
    return _write_schedule(ground, step, models.WriteScheduledPlan(user_id=text_of(step, "heir")))


def _start_schedule(ground: Ground, step: Step) -> tuple[str, Reply]:
    return _write_schedule(ground, step, models.WriteScheduledPlan(enabled=True))


def _write_schedule(ground: Ground, step: Step, body: models.WriteScheduledPlan) -> tuple[str, Reply]:
    _, reply = ground.session.write(lambda sdk: sdk.update_scheduled_plan(text_of(step, "id"), body))
    return "", reply


def _give_alert(ground: Ground, step: Step) -> tuple[str, Reply]:
    return _write_alert(ground, step, models.AlertPatch(owner_id=text_of(step, "heir")))


def _start_alert(ground: Ground, step: Step) -> tuple[str, Reply]:
    return _write_alert(ground, step, models.AlertPatch(is_disabled=False))


def _write_alert(ground: Ground, step: Step, body: models.AlertPatch) -> tuple[str, Reply]:
    _, reply = ground.session.write(lambda sdk: sdk.update_alert_field(text_of(step, "id"), body))
    return "", reply


VERBS: Mapping[str, Verb] = {
    "hand over schedule": Verb(
        _first(_schedule), _give_schedule, _back(_schedule), _back(_schedule), finish=_start_schedule
    ),
    "hand over alert": Verb(_first(_alert), _give_alert, _back(_alert), _back(_alert), finish=_start_alert),
}
