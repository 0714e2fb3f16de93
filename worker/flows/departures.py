"""Marks whoever has departed by what their sources say, before anything is planned: from then on no apply gives them
anything."""

from __future__ import annotations

from sqlmodel import Session

from worker.core.audit import Event
from worker.flows import offboarding
from worker.flows.leaving import call_off, end_waivers
from worker.flows.site import Site
from worker.store import marks

_TAKEN_OVER = "departure hold taken over"  # by the source's own word


def remark(site: Site, session: Session) -> list[Event]:
    """Set and lift marks by what all sources of a person come to; what the trail says about it. A departure ends
    waivers, and whoever had an account gets an offboarding, whose receipt says what became of it."""
    authority = site.loaded.settings.departure_authority()
    events: list[Event] = []
    leaving: dict[str, str] = {}
    for one in marks.remark_departures(session, list(site.sources), authority, site.final_sources, site.now()):
        ended = end_waivers(session, one.person_id, site.now()) if one.departed else 0
        kind = _TAKEN_OVER if one.taken_over else "departure marked" if one.departed else "departure mark lifted"
        facts = {"source": one.source, "status": one.status, "waivers ended": ended}
        events.append(site.event(kind, facts, person_id=one.person_id))
        if one.departed and one.linked and not one.taken_over:
            leaving[one.person_id] = one.source
        elif not one.departed:
            events += call_off(site, session, one.person_id, f"{one.source} says {one.status}")
    return [*events, *offboarding.begin_all(site, session, leaving)]
