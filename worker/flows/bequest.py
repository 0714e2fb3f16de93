"""Hands a leaver's schedules and alerts to whoever is to have them, before the lock-out stops them.

There are 20 seconds for it, then the lock-out happens. What was there is on record by then, and what could not be
handed over before is handed over afterwards, working as it did.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import Session

from worker.core.render import person_label, quoted
from worker.errors import Lost, Refused, TrueupError
from worker.flows import effects
from worker.flows.deeplook import heirloom
from worker.flows.leaving import Case, over_by
from worker.ports import Made, Step
from worker.store import leases, marks, mirror, offboardings, people, runs
from worker.store.leases import Held
from worker.store.tables import Run

KINDS = ("schedule", "alert")  # content stays where it is, and lets nobody in
NOBODY = "nobody is named to take it over (leavers.hand_over)"


@dataclass(frozen=True, slots=True)
class Heir:
    """Whose account gets things; or why nobody's does."""

    account_id: str = ""
    name: str = ""
    why_not: str = ""


def hand_over(case: Case, run: Run, until: float | None = None) -> None:
    """What is on record and may be handed over by itself, as far as the time goes (a time.monotonic()). Nothing of this
    holds up anything else: what goes wrong is on record beside what it is about."""
    with over_by(until):
        _hand_over(case, run, until)


def _hand_over(case: Case, run: Run, until: float | None) -> None:
    pending = [
        (account_id, one)
        for account_id, some in _record(case).items()
        for one in some
        if one["kind"] in KINDS and not one["handed_at"] and not one["caution"]
    ]
    if not pending:
        return
    with case.site.begin() as session:
        heir = heir_of(case, session)
    for account_id, one in pending:
        if until is not None and time.monotonic() > until:
            return
        if heir.why_not or heir.account_id == account_id:
            note(case, account_id, one, {"because": heir.why_not or NOBODY})
        else:
            _one(case, run, account_id, one, heir)


def _record(case: Case) -> Mapping[str, list[dict[str, Any]]]:
    with case.site.begin() as session:
        part = offboardings.part(session, case.row.id, case.target)
        found: Mapping[str, list[dict[str, Any]]] = part.record.get("heirlooms", {}) if part else {}
        return found


def _one(case: Case, run: Run, account_id: str, one: Mapping[str, Any], heir: Heir) -> None:
    site = case.site
    with site.begin() as session:
        held = leases.take(session, f"account {case.target} {account_id}", site.owner, site.claim)
    if held is None:
        return
    try:
        step = case.connector.hand_over(account_id, heirloom(one), heir.account_id)
        _settle_earlier(case, account_id, held)
        made = make(case, run, step, held)
        if made.outcome in effects.DONE:
            note(case, account_id, one, {
                "heir": heir.name, "heir_account": heir.account_id, "handed_at": site.now().isoformat(), "trouble": "",
            })  # fmt: skip
        else:
            note(case, account_id, one, {"trouble": f"it could not be handed over: {made.detail}"})
    except Lost:
        return
    except Refused as error:
        note(case, account_id, one, {"because": str(error)})
    except TrueupError as error:
        note(case, account_id, one, {"trouble": f"it could not be handed over: {error}"})
    finally:
        with site.begin() as session:
            leases.release(session, held)


def make(case: Case, run: Run, step: Step, held: Held) -> Made:
    """Recorded before and after, as every step is."""
    site = case.site
    step = replace(step, tasks=())
    with site.begin() as session:
        held = leases.renew(session, held, site.claim)
        step_id = runs.attempt(
            session, run_id=run.id, target=case.target, person_id=case.person_id, position=0, step=step,
            owner=site.owner, fence=held.fence, now=site.now(),
        )  # fmt: skip
        facts = {
            "step": str(step_id), "target": case.target, "account": step.account_id, "verb": step.verb,
            "fence": str(held.fence), "offboarding": case.row.id,
        }  # fmt: skip
        said = {"sentence": step.sentence}
        site.record(
            session, site.event("step attempted", facts, personal=said, person_id=case.person_id, run_id=run.id)
        )
    made, _ = effects.make(case.connector, step, held)
    with site.begin() as session:
        leases.still_ours(session, held)
        effects.record_outcome(site, session, step_id, made)
    return made


def _settle_earlier(case: Case, account_id: str, held: Held) -> None:
    """Hand-overs of this account whose outcome is not known are looked at before another one is made."""
    with case.site.begin() as session:
        rows = [r for r in runs.unsettled(session, case.target, account_id) if not r.change_ids]
    for row in rows:
        made = case.connector.settled(runs.as_step(row))
        with case.site.begin() as session:
            leases.still_ours(session, held)
            effects.record_outcome(case.site, session, row.id, made)


def note(case: Case, account_id: str, one: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    with case.site.begin() as session:
        part = offboardings.part(session, case.row.id, case.target, lock=True)
        assert part is not None, "it is in our hands"
        heirlooms = {id: [dict(h) for h in some] for id, some in part.record["heirlooms"].items()}
        for each in heirlooms[account_id]:
            if (each["kind"], each["id"]) == (one["kind"], one["id"]):
                each.update(said)
        part.record = {**part.record, "heirlooms": heirlooms}
        session.flush()


# --- whose it is to be ------------------------------------------------------------------------------------------------


def heir_of(case: Case, session: Session) -> Heir:
    """The account that the settings name for the target, else that of the person whom they name. Never somebody's who
    is leaving too."""
    wanted = case.site.loaded.settings.leavers.hand_over
    if team := wanted.accounts.get(case.target):
        return _account_called(case, session, team)
    if wanted.to == "none":
        return Heir(why_not=NOBODY)
    name = case.person.text(wanted.manager_attribute) if wanted.to == "manager" else wanted.to
    if not name:
        return Heir(why_not=f"the source names no manager of theirs ({wanted.manager_attribute})")
    return _person_called(case, session, name)


def _account_called(case: Case, session: Session, name: str) -> Heir:
    found = [
        a for a in mirror.accounts(session, case.target) if name == a.id or name.lower() in (a.login.lower(), a.email)
    ]
    if len(found) != 1 or not found[0].active:
        return Heir(why_not=f"{case.target} has no working account {quoted(name, 80)} (leavers.hand_over.accounts)")
    return Heir(found[0].id, quoted(found[0].login or found[0].id, 120))


def _person_called(case: Case, session: Session, name: str) -> Heir:
    found = people.find(session, name)
    if len(found) != 1:
        return Heir(why_not=f"{len(found) or 'nobody'} known as {quoted(name, 80)}, who should have it")
    heir, label = found[0], person_label(found[0].name, found[0].login)
    if heir.person_id == case.person_id or marks.row_of(session, heir.person_id).departure_marked_at is not None:
        return Heir(why_not=f"{label} should have it, and is leaving too")
    links = [
        link.account_id
        for link in people.links_of(session, heir.person_id)
        if link.target == case.target and link.state == "linked" and link.rank == "primary"
    ]
    accounts = mirror.account_rows_of(session, case.target, links)
    working = [account for account in accounts.values() if account.active]
    if not working:
        return Heir(why_not=f"{label} should have it, and has no working account in {case.target}")
    return Heir(working[0].id, label)
