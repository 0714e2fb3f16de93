"""What the sandbox Looker answers about things that work for others: schedules, alerts, dashboards, Looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from worker.sandbox.looker import wire
from worker.sandbox.looker.call import Call, on
from worker.sandbox.looker.instance import Alert, Schedule, VendorError

# --- schedules


@on("GET", "/scheduled_plans")
def scheduled_plans(call: Call) -> Response:
    """Not paged. One's own, unless somebody else's or everybody's are asked for."""
    owner = call.query.get("user_id", "" if call.query.get("all_users") == "true" else call.caller.id)
    if owner != call.caller.id:
        call.must_be_admin()
    shown = [s for s in call.world.schedules.values() if owner in ("", s.user_id)]
    return call.record([wire.schedule(s) for s in shown])


def _plan(call: Call) -> Schedule:
    call.must_be_admin()
    plan = call.world.schedules.get(call.path["plan_id"])
    if plan is None:
        raise VendorError(404, "Not found")
    return plan


@on("GET", "/scheduled_plans/{plan_id}")
def scheduled_plan(call: Call) -> Response:
    return call.record(wire.schedule(_plan(call)))


@on("PATCH", "/scheduled_plans/{plan_id}")
def update_scheduled_plan(call: Call) -> Response:
    """Destinations that are sent take the place of all that are there; to send none of them is an error."""
    plan, body = _plan(call), call.body or {}
    owner, sent = body.get("user_id", plan.user_id), "scheduled_plan_destination"
    call.validate(
        (owner in call.world.users, "user_id", "invalid", "unknown user"),
        (sent not in body or bool(body[sent]), sent, "invalid", "a schedule needs a destination"),
    )
    plan.user_id, plan.enabled = owner, body.get("enabled", plan.enabled)
    if sent in body:
        plan.recipients = tuple((d.get("type", "email"), d.get("address", "")) for d in body[sent])
    return call.record(wire.schedule(plan))


# --- alerts


@on("GET", "/alerts/search")
def search_alerts(call: Call) -> Response:
    """One's own, or everybody's: there is no asking for one other owner's."""
    everybody = call.query.get("all_owners") == "true"
    if everybody:
        call.must_be_admin()
    shown = [a for a in call.world.alerts.values() if everybody or a.owner_id == call.caller.id]
    return call.page_of(shown, lambda alert: alert.id, wire.alert)


def _alert(call: Call) -> Alert:
    call.must_be_admin()
    found = call.world.alerts.get(call.path["alert_id"])
    if found is None:
        raise VendorError(404, "Not found")
    return found


@on("GET", "/alerts/{alert_id}")
def alert(call: Call) -> Response:
    return call.record(wire.alert(_alert(call)))


@on("PATCH", "/alerts/{alert_id}")
def update_alert(call: Call) -> Response:
    found, body = _alert(call), call.body or {}
    owner = body.get("owner_id", found.owner_id)
    call.validate((owner in call.world.users, "owner_id", "invalid", "unknown user"))
    found.owner_id, found.is_disabled = owner, body.get("is_disabled", found.is_disabled)
    return call.record(wire.alert(found))


# --- dashboards and Looks


def _search(kind: str) -> Callable[[Call], Response]:
    def answer(call: Call) -> Response:
        asked: dict[str, Any] = call.query
        deleted = asked.get("deleted", "false") == "true"
        shown = [c for c in call.world.content.values() if c.kind == kind and c.deleted is deleted]
        if "user_id" in asked:
            shown = [c for c in shown if c.user_id == asked["user_id"]]
        return call.record_list([wire.content(c) for c in shown])

    return answer


on("GET", "/dashboards/search")(_search("dashboard"))
on("GET", "/looks/search")(_search("look"))
