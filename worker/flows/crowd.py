"""Everybody, once: the people whom a pass over the targets judges, with what each of them deserves everywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from worker.core.identity import Person, SourceGroup
from worker.flows.site import Site
from worker.store import mirror, people


@dataclass(frozen=True, slots=True)
class Crowd:
    """The people of all sources, by id, and the sources' groups."""

    people: Mapping[str, Person]
    groups: Mapping[str, list[SourceGroup]]


def gather(site: Site, uncertified: Collection[str] = ()) -> Crowd:
    """Read the mirror. Whoever has an identity at an uncertified source loses nothing in this pass."""
    sources = list(site.sources)
    authority = site.loaded.settings.departure_authority()
    with site.begin() as session:
        groups = {
            name: mirror.source_groups(session, name)
            for name in sources
            if mirror.current_snapshot(session, name) is not None
        }
        absent = dict(people.absent_identities(session, sources))
        everybody: dict[str, Person] = {}
        for person in mirror.people(session, sources, authority):
            one = person
            if not one.identities:
                if one.id not in absent:  # gone at the source, and without any account: nobody to judge
                    continue
                one = replace(one, identities=(absent[one.id],))
            unread = [i.source for i in one.identities if i.source in uncertified]
            if unread and not one.forced:  # a human's word rests on no read
                one = replace(one, unsure=f"{', '.join(unread)} could not be read whole")
            everybody[one.id] = one
    return Crowd(everybody, groups)
