"""Makes one person of the identities that several sources have of them, and takes a human's word on who is who."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from worker.core.audit import Event
from worker.core.joining import BY_HAND, REHIRED_BY, Dispute, Join, Joining, Ref, judge_identities
from worker.core.render import counted, person_label, quoted
from worker.errors import Misconfigured, Refused
from worker.flows import departures
from worker.flows.links import find_person
from worker.flows.site import Site
from worker.store import joining, mirror, people
from worker.store.tables import Link


def judge(site: Site, session: Session) -> Joining:
    """Who is to be joined and who is in dispute, by what the sources said when they were last read."""
    keys = site.loaded.settings.joining
    authority = site.loaded.settings.departure_authority()
    asked = tuple(dict.fromkeys((*keys.keys, REHIRED_BY)))
    found = joining.candidates(session, list(site.sources), authority, asked)
    return judge_identities(found.sightings, found.humans, found.apart, keys.trust, keys.propose)


def join(site: Site, session: Session) -> list[Event]:
    """Join whoever is beyond doubt one person, once every source has been read: what is unique in those that were may
    not be unique in the others, and who comes first must not matter. What the trail says about it."""
    if any(mirror.current_snapshot(session, name) is None for name in site.sources):
        return []
    joins = judge(site, session).joins
    ended = joining.merge(session, joins, site.now())
    return [*(_joined(site, one) for one in joins), *_called_off(site, ended)]


def _called_off(site: Site, ended: Sequence[tuple[uuid.UUID, str]]) -> list[Event]:
    why = "they turned out to be somebody whose offboarding goes on"
    return [
        site.event("offboarding called off", {"offboarding": id, "why": why}, person_id=person) for id, person in ended
    ]


def _joined(site: Site, one: Join, note: str = "") -> Event:
    facts = {"person": one.into, "joined": one.person_id, "key": one.key}
    return site.event("people joined", facts, personal={"note": note} if note else {}, person_id=one.into)


def disputed(found: Joining) -> dict[str, str]:
    """By person, why nothing is taken from them and no account made for them; who is to be joined and was not yet is
    among them."""
    people = {person: one for one in found.disputes for person in one.person_ids}
    asked = "a human has to say whether they are one with somebody else"
    told = {person: f"{asked}: {one.reason}" for person, one in people.items()}
    waiting = {person for one in found.joins for person in (one.into, one.person_id)}
    return dict.fromkeys(waiting, "they are to be joined with what another source knows of them") | told


def fix(one: Dispute) -> str:
    """What to type."""
    older, newer = map(name_of, one.pair)
    return f"`trueup join {older} {newer}` if they are one person, `trueup split {newer} {older}` if they are not"


def name_of(ref: Ref) -> str:
    return f"{ref[0]}:{ref[1]}"


# --- by hand ---------------------------------------------------------------------------------------------------------


def join_by_hand(site: Site, person: str, identity: str, *, secondary: bool, note: str) -> str:
    """Record that an identity, with whatever has been joined to it, is a person's; returns the sentence. `secondary`:
    where both have an account in a target, the older person's stays the primary one."""
    with site.begin() as session:
        joining.turn(session)
        found = find_person(session, person)
        ref, other = find_identity(session, identity)
        if other == found.person_id:
            raise Refused(f"{name_of(ref)} is this person's already.")
        into, gone = people.by_age(session, [found.person_id, other])
        both = _both_linked(session, into, gone)
        if both and not secondary:
            targets = " and ".join(sorted({link.target for link in both}))
            raise Refused(
                f"Both have an account in {targets}; add --secondary to keep both (the younger person's becomes a"
                f" second one), or `trueup unlink {both[0].target} {both[0].account_id}` first."
            )
        people.make_secondary(session, both)
        one = Join(into, gone, BY_HAND)
        ended = joining.merge(session, [one], site.now())
        joining.rule_in(session, into)
        events = [*_called_off(site, ended), *departures.remark(site, session)]
        site.record(session, *events, _joined(site, one, note))
        name, login = people.labels(session, [into])[into]
    return f"{name_of(ref)} is {person_label(name, login)}"


def split_by_hand(site: Site, identity: str, person: str, *, note: str) -> str:
    """Record that an identity is not a person's (by default: not that of the person whom it was joined to); they are
    never joined by themselves again. Returns sentences."""
    with site.begin() as session:
        joining.turn(session)
        ref, owner = find_identity(session, identity)
        other = find_person(session, person).person_id if person else owner
        name, login = people.labels(session, [other])[other]
        told = f"{name_of(ref)} is not {person_label(name, login)}"
        if other == owner:
            rest = [one for one in joining.identities_of(session, owner) if one != ref]
            if not rest:
                raise Refused(
                    f"{name_of(ref)} is a person of its own already; say whose it is not:"
                    f" `trueup split {name_of(ref)} PERSON`."
                )
            mine = joining.part(session, ref, site.now())
            told += _left_behind(session, other)
        else:
            mine, rest = owner, list(joining.identities_of(session, other))
        joining.rule_out(session, [ref], other, site.actor, site.now())
        joining.rule_out(session, rest, mine, site.actor, site.now())
        facts = {"person": other, "source": ref[0], "identity": ref[1], "now": mine}
        event = site.event("people parted", facts, personal={"note": note}, person_id=other)
        site.record(session, *departures.remark(site, session), event)
    return told


def find_identity(session: Session, query: str) -> tuple[Ref, str]:
    """The one identity with this source id, login or e-mail, and its person. Raises Misconfigured for none or more."""
    found = joining.identities_named(session, query)
    if not found:
        raise Misconfigured(
            f"No source has an identity {quoted(query, 80)!r}; give a login, an e-mail address, a source id, or"
            " source:id such as okta:00u1."
        )
    if len(found) > 1:
        choices = " or ".join(name_of(ref) for ref in found)
        raise Misconfigured(f"{len(found)} identities are known as {quoted(query, 80)!r}; say which: {choices}.")
    return next(iter(found.items()))


def _both_linked(session: Session, one: str, other: str) -> list[Link]:
    """The links of the second person in targets in which the first has an account too."""
    mine = {link.target for link in people.links_of(session, one) if link.state == "linked"}
    return [link for link in people.links_of(session, other) if link.state == "linked" and link.target in mine]


def _left_behind(session: Session, person: str) -> str:
    """Accounts follow nobody by themselves: which of two people each is, only a human knows."""
    links = [link for link in people.links_of(session, person) if link.state == "linked"]
    if not links:
        return ""
    which = ", ".join(f"{link.target} {link.account_id}" for link in links)
    stayed = f"{counted(len(links), 'account')} stayed with them ({which})"
    return f"; {stayed}: `trueup unlink` and `trueup link` move one"


@dataclass(frozen=True, slots=True)
class Question:
    """A dispute as people read it: about the oldest of them, by the key that raised it."""

    person_ids: tuple[str, ...]
    key: str
    text: str


def questions(session: Session, disputes: Sequence[Dispute]) -> tuple[Question, ...]:
    """With who it may be, why, and what to type."""
    names = people.labels(session, {person for one in disputes for person in one.person_ids})
    found = []
    for one in disputes:
        first, *others = (quoted(person_label(*names.get(p, ("", ""))), 100) for p in one.person_ids[1:])
        more = f" and {counted(len(others), 'other')}" if others else ""
        found.append(Question(one.person_ids, one.key, f"{first}{more}: {one.reason}; {fix(one)}"))
    return tuple(found)
