"""Marks whoever has departed by what their sources say, before anything is planned: from then on no apply gives them
anything."""

from __future__ import annotations

import datetime as dt

from sqlmodel import Session

from worker.core.audit import Event
from worker.flows.site import Site
from worker.store import decisions, installations, people


def remark(site: Site, session: Session) -> list[Event]:
    """Set and lift marks by what all sources of a person come to; what the trail says about it. A departure ends
    waivers."""
    authority = site.loaded.settings.departure_authority()
    events = []
    for one in people.remark_departures(session, list(site.sources), authority, site.final_sources, site.now()):
        ended = _end_waivers(session, one.person_id, site.now()) if one.departed else 0
        kind = "departure marked" if one.departed else "departure mark lifted"
        facts = {"source": one.source, "status": one.status, "waivers ended": ended}
        events.append(site.event(kind, facts, person_id=one.person_id))
    return events


def _end_waivers(session: Session, person_id: str, now: dt.datetime) -> int:
    links = [(link.target, link.account_id) for link in people.links_of(session, person_id) if link.state == "linked"]
    instances = {target: installations.instance_of(session, target) for target, _ in links}
    return decisions.end_waivers(session, instances, links, now)
