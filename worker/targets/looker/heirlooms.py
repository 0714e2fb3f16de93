"""What works for others in the name of one Looker account: schedules, alerts, dashboards and Looks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from worker.core.render import quoted
from worker.errors import Denied, Missing, Refused
from worker.ports import Heirloom, Step
from worker.targets.looker import rows
from worker.targets.looker.lately import Lately
from worker.targets.looker.rows import AlertRow, ContentRow, Looking, ScheduleRow, same_address
from worker.targets.looker.settings import Settings

PAGE = 500
OWNERS, SHORT_ROWS = "id,owner_id", 2000
STAYS = "it stays where it is when its owner is disabled, and Looker does not promise that an owner can be changed"
WAS_IT_ON = "it is off, and nothing says whether it was before its owner was disabled"
Recipient = tuple[str, str]  # "email" or another kind of destination, and the address


@dataclass(frozen=True)
class Circle:
    """Whom something may be sent to and yet be handed over by itself: anybody in the company but its owner."""

    owner: frozenset[str]
    company: frozenset[str]

    @classmethod
    def around(cls, owner: Collection[str], company: Collection[str]) -> Self:
        return cls(frozenset(owner), frozenset(domain.strip().lower() for domain in company))

    def caution(self, recipients: Sequence[Recipient]) -> str:
        """Why something with these recipients is for a human to hand over; "" when nothing speaks against it."""
        return next(filter(None, (self._against(kind, address) for kind, address in recipients)), "")

    def _against(self, kind: str, address: str) -> str:
        if kind != "email":
            return f"it goes to {quoted(kind)} {quoted(address)}, and nothing says who reads that"
        if any(same_address(own, address) for own in self.owner):
            return f"it goes to its owner, {quoted(address)}"
        if not self.company:
            return f"it goes to {quoted(address)}, and no mail domain is said to be the company's"
        if _domain(address) not in self.company:
            return f"it goes outside the company, to {quoted(address)}"
        return ""


def _domain(address: str) -> str:
    return address.rpartition("@")[2].strip().lower()


def spoken(recipient: Recipient) -> str:
    kind, address = recipient
    return address if kind == "email" else f"{kind}: {address}"


def of_schedule(row: ScheduleRow) -> list[Recipient]:
    return sorted(((d.type or "?").lower(), d.address or "") for d in row.scheduled_plan_destination or ())


def of_alert(row: AlertRow) -> list[Recipient]:
    return sorted(
        ("email", d.email_address or "")
        if d.destination_type == "EMAIL"
        else (d.destination_type.lower().replace("_", " "), d.action_hub_integration_id or "")
        for d in row.destinations or ()
    )


def schedules(
    reader: Looking, settings: Settings, owner: str, circle: Circle, *, disabled: bool
) -> list[Heirloom] | None:
    """None where Looker does not show them. `disabled`: the owner is, and with them what was on before."""
    reply = reader.look("/scheduled_plans", {"user_id": owner, "fields": rows.SCHEDULE_FIELDS})
    if reply is None:
        return None
    found = [row for row in rows.unpaged(reply, rows.SCHEDULES) if row.user_id == owner]
    return [_schedule(row, settings, circle, WAS_IT_ON if disabled and not row.enabled else "") for row in found]


def _schedule(row: ScheduleRow, settings: Settings, circle: Circle, doubt: str) -> Heirloom:
    recipients, title = of_schedule(row), row.name or row.title or f"schedule {row.id}"
    shown = (("dashboard", row.dashboard_id), ("look", row.look_id), ("dashboard", row.lookml_dashboard_id))
    caution = circle.caution(recipients) or doubt
    hands = (
        f"Open Admin > Alerts & Schedules > Schedules ({settings.url}/admin/schedules) and find {quoted(title)!r} of"
        f" account {row.user_id}. Correct its recipients where they are wrong; then reassign it, and turn it on if it"
        " is wanted, or delete it.",
    )
    return Heirloom(
        "schedule", row.id, title, row.enabled, tuple(map(spoken, recipients)),
        next((f"{kind} {id}" for kind, id in shown if id), ""), caution, hands if caution else (),
    )  # fmt: skip


def alerts(
    reader: Looking, settings: Settings, owner: str, circle: Circle, lately: Lately
) -> list[Heirloom] | None:  # fmt: skip
    """None where Looker does not show them. It cannot be asked for one owner's: of all of them it is read whose they
    are."""
    asked = {"all_owners": "true", "group_by": "owner", "fields": OWNERS}
    everybodys = lately.alerts(lambda: rows.gathered(reader, "/alerts/search", rows.OWNED, SHORT_ROWS, asked))
    if everybodys is None:
        return None
    found = []
    for id in [one.id for one in everybodys if one.owner_id == owner]:
        try:
            found.append(rows.shaped(reader.read(f"/alerts/{id}"), rows.ALERT))
        except Missing:
            continue  # deleted since
        except Denied:
            return None
    return [_alert(row, settings, circle) for row in found if row.owner_id == owner]


def _alert(row: AlertRow, settings: Settings, circle: Circle) -> Heirloom:
    recipients = of_alert(row)
    title = row.custom_title or (row.field.title if row.field else "") or f"alert {row.id}"
    caution = circle.caution(recipients)
    hands = (
        f"Open Admin > Alerts & Schedules > Alerts ({settings.url}/admin/alerts) and find {quoted(title)!r} of account"
        f" {row.owner_id}. Correct its recipients where they are wrong; then reassign it or delete it.",
    )
    container = row.investigative_content_title or ""
    return Heirloom(
        "alert", row.id, title, not row.is_disabled, tuple(map(spoken, recipients)), container, caution,
        hands if caution else (),
    )  # fmt: skip


def content(reader: Looking, settings: Settings, owner: str, kind: str) -> tuple[list[Heirloom], list[Heirloom]] | None:
    """Dashboards or Looks, and those with a public link; None where Looker does not show them."""
    fields = rows.DASHBOARD_FIELDS if kind == "dashboards" else rows.LOOK_FIELDS
    asked = {"user_id": owner, "deleted": "false", "sorts": "id", "fields": fields}
    found = rows.gathered(reader, f"/{kind}/search", rows.CONTENTS, PAGE, asked)
    if found is None:
        return None
    own = [row for row in found if row.user_id == owner]
    return [_content(row, settings, kind) for row in own], [_content(row, settings, kind) for row in own if row.public]


def _content(row: ContentRow, settings: Settings, kind: str) -> Heirloom:
    """`id` is its place in Looker's pages: dashboards and Looks are numbered apart."""
    place, folder = f"{kind}/{row.id}", (row.folder.name if row.folder else "") or ""
    hands = (f"Open {settings.url}/{place}; copy or move it to a shared folder if somebody needs it.",)
    title = row.title or f"{kind.removesuffix('s')} {row.id}"
    return Heirloom("content", place, title, container=folder, caution=STAYS, hands=hands)


# --- handing over

VERBS: Mapping[str, str] = {"schedule": "hand over schedule", "alert": "hand over alert"}


def step(account_id: str, heirloom: Heirloom, heir: str, approved: bool) -> Step:
    """See ports.Target.hand_over."""
    title = quoted(heirloom.title)
    if heirloom.kind not in VERBS:
        raise Refused(f"{title!r} is not handed over: {heirloom.caution or STAYS}.")
    if heirloom.caution and not approved:
        raise Refused(f"{heirloom.kind} {title!r} is not handed over by itself: {heirloom.caution}.")
    if heir == account_id:
        raise Refused(f"{heirloom.kind} {title!r} belongs to account {heir} already.")
    args = {
        "id": heirloom.id, "heir": heir, "enabled": heirloom.enabled, "recipients": list(heirloom.recipients),
    }  # fmt: skip
    sentence = f"hand {heirloom.kind} {title!r} of Looker account {account_id} over to account {heir}"
    return Step(VERBS[heirloom.kind], account_id, args, (), sentence)
