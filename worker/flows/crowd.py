"""Everybody, once: the people whom a pass over the targets judges, with what each of them deserves everywhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from sqlmodel import Session

from worker.core.identity import Person, SourceGroup, Standing
from worker.flows import joining
from worker.flows.joining import Question
from worker.flows.site import Site
from worker.store import mirror, people, snapshots


@dataclass(frozen=True, slots=True)
class Crowd:
    """The people of all sources, by id, and the sources' groups. `questions` are about who is one with whom; of the
    `disputed` people none gets a new account."""

    people: Mapping[str, Person]
    groups: Mapping[str, list[SourceGroup]]
    questions: tuple[Question, ...] = ()
    disputed: frozenset[str] = frozenset()


def gather(site: Site, uncertified: Collection[str] = ()) -> Crowd:
    """Read the mirror. Whoever has an identity at an uncertified source loses nothing in this pass, nor does anybody
    while a source has never been read; whoever is in dispute loses nothing unless they have departed."""
    with site.begin() as session:
        groups = {
            name: mirror.source_groups(session, name)
            for name in site.sources
            if mirror.current_snapshot(session, name) is not None
        }
        found = joining.judge(site, session)
        disputed = joining.disputed(found)
        never = [name for name in site.sources if name not in groups]
        unread = [name for name in groups if name in uncertified or _untrue(site, session, name)]
        frozen = people.known_at(session, unread) if unread else set()
        everybody: dict[str, Person] = {}
        for person in _known(site, session):
            why = f"{', '.join(never)} was never read whole" if never else ""
            if person.id in frozen:
                why = f"{', '.join(unread)} could not be read whole"
            if not why and person.standing is not Standing.DEPARTED:
                why = disputed.get(person.id, "")
            if person.forced:  # a human's word rests on no read
                why = ""
            everybody[person.id] = replace(person, unsure=why) if why else person
        questions = joining.questions(session, found.disputes)
    return Crowd(everybody, groups, questions, frozenset(disputed))


def _untrue(site: Site, session: Session, name: str) -> bool:
    """Whether a newer read than the current one came to nothing, or the current one is too old."""
    current, latest = snapshots.current_snapshot(session, name), snapshots.latest_attempt(session, name)
    if current is None or latest is None:
        return True
    refused = bool(latest.failure) and latest.started_at > current.started_at
    return refused or site.now() - current.started_at > site.loaded.settings.limits.snapshot_age


def _known(site: Site, session: Session) -> Iterator[Person]:
    """Whom the sources have; and who has an account and is at no source any more, by what was last known of them."""
    sources, final = list(site.sources), site.final_sources
    absent = {one.person_id: one for one in people.absent_people(session, sources, final)}
    for person in mirror.people(session, sources, site.loaded.settings.departure_authority(), final):
        if person.identities:
            yield person
        elif one := absent.pop(person.id, None):
            yield replace(person, identities=(one.identity,))
    for one in absent.values():
        standing = Standing.DEPARTED if one.forced else one.identity.standing
        yield Person(one.person_id, standing, (one.identity,), departure_marked=one.departure_marked, forced=one.forced)
