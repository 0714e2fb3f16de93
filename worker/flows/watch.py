"""Keeps an eye on leavers who are out: whoever reappears is dealt with at once, and somebody is told.

A new account, or one that works again, is seen by every comparison. Sessions, keys and tokens are not in those, so each
leaver's accounts are looked at deeply now and then.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from typing import Any

from sqlmodel import Session

from worker import logs
from worker.core.audit import Event
from worker.core.identity import Person, Standing
from worker.core.notices import NoticeKind
from worker.errors import TrueupError
from worker.flows import deeplook, offboarding
from worker.flows.leaving import Case, name_of
from worker.flows.recognising import recognise
from worker.flows.site import Site
from worker.store import marks, notices, offboardings, people
from worker.store.tables import OffboardingRow

AT_ONCE = 10  # leavers that one share of the job looks at


def sweep(site: Site, progress: Mapping[str, Any]) -> dict[str, str] | None:
    """Look at some of the leavers who are watched; `progress` says since when the others have been looked at. None once
    all have."""
    since = dt.datetime.fromisoformat(progress["since"]) if "since" in progress else site.now()
    with site.begin() as session:
        due = offboardings.watched(session, site.now(), since, AT_ONCE)
    for row in due:
        _look(site, row)
    return {"since": since.isoformat()} if due else None


def _look(site: Site, row: OffboardingRow) -> None:
    """A target that is not to be had is looked at the next time: a watch holds up nobody."""
    found: list[str] = []
    for target in site.targets:
        try:
            found += _found(site, row, target)
        except TrueupError as error:
            why = {"target": target, "error": type(error).__name__, "why": str(error)}
            logs.event("leaver not looked at", level=logging.WARNING, **why)
    with site.begin() as session:
        known = offboardings.by_id(session, row.id, lock=True)
        assert known is not None, "a receipt is never deleted"
        known.watched_at = site.now()
        session.flush()
        if found:
            site.record(session, *reappeared(site, session, str(row.person_id), "; ".join(found)))


def _found(site: Site, row: OffboardingRow, target: str) -> list[str]:
    """What is there in one target that the receipt says was gone, or never spoke of."""
    with site.begin() as session:
        mark = marks.row_of(session, str(row.person_id))
        part = offboardings.part(session, row.id, target)
        known = people.known_identities(session, str(row.person_id), list(site.sources))
    if mark.departure_marked_at is None:
        return []
    person = Person(str(row.person_id), Standing.DEPARTED, tuple(known), departure_marked=True)
    recognise(site, target, site.targets[target])
    looks = deeplook.look(Case(site, row, target, person))
    accounts: Mapping[str, Any] = part.record.get("accounts", {}) if part else {}
    return [
        f"{looks.label(id, key)} in {target}, account {id}"
        for id in looks.accounts
        for key in sorted(looks.keys(id) - set(accounts.get(id, {}).get("left") or ()))
    ]


def reappeared(site: Site, session: Session, person_id: str, what: str) -> list[Event]:
    """Whoever was out and is not any more is offboarded again, and somebody is told; what the trail says about it."""
    asked = offboarding.Asked(offboarding.WATCH, f"they were out, and there is again: {what}", offboarding.WATCH)
    row, events = offboarding.opened(site, session, person_id, asked)
    sentence = f"{name_of(session, row.person_id)} has left and was out, and there is again: {what}"
    notices.notice(session, NoticeKind.LEAVER_BACK, str(row.id), sentence, site.now(), person_id=person_id, urgent=True)
    back = site.event("leaver reappeared", {"offboarding": row.id}, personal={"note": what}, person_id=person_id)
    return [*events, back]
