"""Marks whoever a source says has departed, before anything is planned: from then on no apply gives them anything."""

from __future__ import annotations

import uuid

from sqlmodel import Session

from worker.core.audit import Event
from worker.flows import offboarding
from worker.flows.leaving import call_off, end_waivers
from worker.flows.site import Site
from worker.store import mirror, people

_TAKEN_OVER = "departure hold taken over"  # by the source's own word


def remark(site: Site, session: Session, source: str, snapshot_id: uuid.UUID) -> list[Event]:
    """Set and lift marks after a read of the source; what the trail says about it. A departure ends waivers, and
    whoever had an account gets an offboarding, whose receipt says what became of it."""
    read = mirror.snapshot(session, snapshot_id)
    assert read is not None, "it is being closed"
    events, leaving = [], []
    for one in people.remark_departures(session, source, site.now(), read.started_at):
        ended = end_waivers(session, one.person_id, site.now()) if one.departed else 0
        kind = _TAKEN_OVER if one.taken_over else "departure marked" if one.departed else "departure mark lifted"
        facts = {"source": source, "status": one.status, "waivers ended": ended}
        events.append(site.event(kind, facts, person_id=one.person_id))
        if one.departed and one.linked:
            leaving.append(one.person_id)
        elif not one.departed:
            events += call_off(site, session, one.person_id, f"{source} says {one.status}")
    return [*events, *offboarding.begin_all(site, session, source, leaving)]
