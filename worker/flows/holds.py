"""What humans say about leavers beside asking: yes or no to an offboarding that waits for one, and that a hold ends."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from worker.core.actors import is_machine, same_human
from worker.core.findings import HANDLE
from worker.core.render import person_label, quoted
from worker.errors import Misconfigured, Refused
from worker.flows.leaving import OFFBOARD, call_off, go_on, name_of
from worker.flows.links import find_person
from worker.flows.site import Nudge, Site
from worker.store import marks, offboardings
from worker.store.offboardings import ASKED, REJECTED, WAITING
from worker.store.tables import OffboardingRow


@dataclass(frozen=True, slots=True)
class Waiting:
    """An offboarding that a human has to decide about. `handle` is what to type."""

    handle: str
    sentence: str
    reason: str
    age: dt.timedelta
    row: OffboardingRow

    def details(self) -> dict[str, Any]:
        """Everything that a decision rests on, as JSON-ready text."""
        row = self.row
        return {
            "handle": self.handle, "state": "waiting", "sentence": self.sentence, "reason": self.reason,
            "offboarding": str(row.id), "person": str(row.person_id), "trigger": row.trigger, "asked by": row.actor,
            "asked because": row.reason, "forced": row.forced,
            "since": row.requested_at.isoformat(timespec="seconds"),
            "marked": row.marked_at.isoformat(timespec="seconds") if row.marked_at else "",
        }  # fmt: skip


def pending(site: Site) -> list[Waiting]:
    """Oldest first."""
    with site.begin() as session:
        return [
            Waiting(
                row.id.hex[:HANDLE],
                f"offboard {name_of(session, row.person_id)}: take away everything they have in every target",
                row.why,
                site.now() - row.requested_at,
                row,
            )
            for row in offboardings.waiting(session)
        ]


def called(site: Site, handle: str) -> Waiting | None:
    """The one with this handle, of which four characters are enough; None where nothing waits under it."""
    wanted = handle.strip().lower()
    found = [one for one in pending(site) if len(wanted) >= 4 and one.row.id.hex.startswith(wanted)]
    if len(found) > 1:
        raise Misconfigured(f"{len(found)} offboardings begin with {quoted(handle, 40)!r}; type more of the handle.")
    return found[0] if found else None


def decide(site: Site, waiting: Waiting, approve: bool, note: str) -> str:
    """Yes or no to all that this person would lose. Yes is for somebody else than whoever asked, under any name."""
    row_id = waiting.row.id
    with site.begin() as session:
        row = offboardings.by_id(session, row_id, lock=True)
        if row is None or row.state != WAITING:
            raise Refused(f"{waiting.handle} waits for nobody any more; `trueup receipt {row_id}` says how it is.")
        _approve(site, session, row) if approve else _reject(site, session, row)
        facts = {"offboarding": row.id, "trigger": row.trigger}
        kind = f"offboarding {'approved' if approve else 'rejected'}"
        said = {"note": note, "sentence": waiting.sentence}
        site.record(session, site.event(kind, facts, personal=said, person_id=row.person_id))
    return waiting.sentence


def _approve(site: Site, session: Session, row: OffboardingRow) -> None:
    if is_machine(site.actor):
        raise Refused("Only a named human may approve an offboarding.")
    if any(same_human(who, site.actor) for who in (row.actor, row.decided_by) if who):
        raise Refused(
            f"It waits for a second person: {quoted(row.decided_by or row.actor, 80)} asked for it, and that is you,"
            " whatever name --as gives you. Somebody with a login of their own has to approve it."
        )
    row.approved_by = site.actor
    row.decided_by = row.decided_by or site.actor
    row.not_before = None
    if row.begun_at is None:
        row.state, row.why = ASKED, ""  # the source is asked again: it may be a while since
        site.nudge(session, Nudge(OFFBOARD, (str(row.id),)))
    else:
        go_on(site, session, row)
    session.flush()


def _reject(site: Site, session: Session, row: OffboardingRow) -> None:
    """Nothing (more) is taken. A mark that only waited for this is lifted; that of the source's own word stays."""
    row.state, row.why, row.closed_at = REJECTED, f"rejected by {site.actor}", site.now()
    marks.unmark(session, str(row.person_id), (marks.ASKED,))
    session.flush()


def lift(site: Site, person: str, note: str) -> str:
    """End a hold that a human has set: from now on the person is again what the source says. What they get back waits
    for a human, until one has said yes to any of it. Returns the sentence."""
    if not note.strip():
        raise Misconfigured("Say with --note why the hold ends; it goes into the audit trail.")
    if is_machine(site.actor):
        raise Refused("Only a named human may lift a hold.")
    with site.begin() as session:
        found = find_person(session, person)
        label = person_label(found.name, found.login)
        cause = marks.row_of(session, found.person_id).departure_cause
        if cause == marks.BY_SOURCE:
            raise Refused(f"{label} has departed by the source's own word; only what it says next lifts that.")
        if not marks.unmark(session, found.person_id, (marks.FORCED, marks.ASKED)):
            raise Refused(f"Nobody holds {label} as departed, so there is nothing to lift.")
        events = call_off(site, session, found.person_id, "the hold was lifted")
        facts = {"cause": cause}
        lifted = site.event("departure hold lifted", facts, personal={"note": note}, person_id=found.person_id)
        site.record(session, *events, lifted)
    return f"{label} is held as departed no longer; whatever they are given waits for a human's yes"
