"""Reads a source whole into the mirror, or leaves everything as it was and says why."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlmodel import Session

from worker.core.audit import Event
from worker.core.policy import attributes_asked, groups_asked
from worker.core.render import counted, quoted
from worker.errors import Refused, TrueupError
from worker.flows.site import Site
from worker.ports import Check, Source, Target, Wanted
from worker.store import decisions, installations, leases, mirror, people

PAGE_CLAIM = dt.timedelta(minutes=30)  # longer than a page takes with all its repeats


@dataclass(frozen=True, slots=True)
class Read:
    """A certified read that has become current, and what it counted."""

    connector: str
    snapshot_id: uuid.UUID
    counts: Mapping[str, int]


def pull(site: Site, name: str, *, accept_counts: bool = False) -> Read:
    """Pages to staging, certificate, one transaction that makes the read current.

    `accept_counts`: a human looks at the counts, so that the read may have shrunk.

    Raises whatever stopped it; then nothing became current, and whoever the source knows loses nothing.
    """
    recognise(site, name, site.sources[name])
    with sole_reader(site, name) as still:
        return _pull(site, name, still, accept_counts)


def _pull(site: Site, name: str, still: Callable[[Session], object], accept_counts: bool) -> Read:
    source = site.sources[name]
    with site.begin() as session:
        snapshot_id = mirror.start_snapshot(session, name, site.now())
    site.say(f"Reading {name}")
    try:
        for page in source.read(_wanted(site, name)):
            with site.begin() as session:
                still(session)
                mirror.stage_source(session, snapshot_id, name, page)
        with site.begin() as session:
            vanished = people.vanished_ids(session, snapshot_id, name)
            staged = mirror.staged_counts(session, snapshot_id)
            checks = _seen(site, session, snapshot_id, name)
            shrink = site.loaded.settings.limits.shrink
            shares = {"identities": shrink.people, "groups": shrink.groups, "memberships": shrink.memberships}
            checks += [] if accept_counts else shrinkage(site, session, name, staged, shares)
        checks += _really_gone(source, vanished) if all(check.passed for check in checks) else []
        refuse_failed(name, checks)
        with site.begin() as session:
            mirror.merge_source(session, snapshot_id, site.now())
            new = people.ensure_people(session, name, site.now())
            remarks = _remark_departures(site, session, name)
            counts = mirror.counts(session, name)
            facts = {"source": name, "snapshot": snapshot_id, "counts": counts}
            site.record(session, *remarks, site.event("source read", facts))
    except TrueupError as error:
        discard(site, name, snapshot_id, error)
        raise
    site.say(f"{name}: {counted(counts.get('identities', 0), 'person', 'people')}, {counted(new, 'new one')}")
    return Read(name, snapshot_id, counts)


@contextmanager
def sole_reader(site: Site, name: str) -> Iterator[Callable[[Session], object]]:
    """One reading of a connector at a time: a second would set aside what the first has staged, and a third that of the
    second. Yields what says, page by page, that we are still at it. Raises Refused for whoever comes second."""
    with site.begin() as session:
        held = leases.take(session, f"read {name}", site.owner, PAGE_CLAIM)
    if held is None:
        raise Refused(f"Another Trueup is reading {name} just now; wait for it, then run this again.")
    try:
        yield lambda session: leases.renew(session, held, PAGE_CLAIM)
    finally:
        with site.begin() as session:
            leases.release(session, held)


def recognise(site: Site, name: str, connector: Source | Target) -> None:
    """Pin the installation behind a connector at first use, and refuse another one afterwards."""
    instance = connector.instance()
    with site.begin() as session:
        if installations.pin(session, name, instance.id, instance.own_account, site.actor, site.now()):
            site.record(session, site.event("installation pinned", {"connector": name, "instance": instance.id}))


def shrinkage(
    site: Site, session: Session, name: str, staged: Mapping[str, int], shares: Mapping[str, float]
) -> list[Check]:
    """Whether there is much less of anything than at the last certified read; `shares` may go, by what is counted."""
    before = mirror.current_snapshot(session, name)
    if before is None:
        return []
    limits = site.loaded.settings.limits.shrink
    checks = []
    for noun, share in shares.items():
        was, is_now = before.counts.get(noun, 0), staged.get(noun, 0)
        lost = was - is_now
        fine = lost <= limits.above or lost <= was * share
        checks.append(
            Check(
                f"{noun} did not shrink",
                fine,
                f"{was:,} before, {is_now:,} now; at most {share:.0%} may go at once. If this is true, run"
                f" `trueup check --accept-baseline {name}`, or raise limits.shrink",
            )
        )
    return checks


def refuse_failed(name: str, checks: Sequence[Check]) -> None:
    """Raises Refused with every check that failed."""
    failed = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    if failed:
        raise Refused(
            f"What {name} answered cannot be the whole truth, so nothing is concluded from it: {'; '.join(failed)}."
        )


def discard(site: Site, name: str, snapshot_id: uuid.UUID, error: TrueupError) -> None:
    """Drop a read that failed, and put into the trail why."""
    with site.begin() as session:
        mirror.discard_snapshot(session, snapshot_id, str(error))
        site.record(
            session,
            site.event(
                "read refused", {"connector": name, "error": type(error).__name__}, personal={"message": str(error)}
            ),
        )


def _wanted(site: Site, name: str) -> Wanted:
    """The groups that rules ask about, those to be seen, and whatever the settings add; and the rules' attributes."""
    rules = site.loaded.rules
    asked = groups_asked(rules).get(name, frozenset())
    return Wanted(asked | frozenset(site.loaded.settings.must_see_of(name).groups), attributes_asked(rules))


def _seen(site: Site, session: Session, snapshot_id: uuid.UUID, name: str) -> list[Check]:
    """The canaries: people and groups that are there whenever a read is whole."""
    wanted = site.loaded.settings.must_see_of(name)
    missing = mirror.unseen(session, snapshot_id, people=wanted.people, groups=wanted.groups)
    shown = ", ".join(quoted(m, 60) for m in missing)
    return [Check("must_see", not missing, f"not seen: {shown}" if missing else "all seen")]


def _really_gone(source: Source, vanished: Sequence[str]) -> list[Check]:
    """Linked people whom the lists no longer show are read by id: if one is there after all, the lists were cut."""
    for id in vanished:
        if source.person(id) is not None:
            return [
                Check(
                    "nobody lost", False, f"{id} is missing from the lists, but there when asked for by id; read again"
                )
            ]
    return []


def _remark_departures(site: Site, session: Session, name: str) -> list[Event]:
    """Marks are set before anything is planned: from here on, no apply gives a departed person anything."""
    events = []
    for remark in people.remark_departures(session, name, site.now()):
        ended = _end_waivers(session, remark.person_id, site.now()) if remark.departed else 0
        kind = "departure marked" if remark.departed else "departure mark lifted"
        facts = {"source": name, "status": remark.status, "waivers ended": ended}
        events.append(site.event(kind, facts, person_id=remark.person_id))
    return events


def _end_waivers(session: Session, person_id: str, now: dt.datetime) -> int:
    links = [(link.target, link.account_id) for link in people.links_of(session, person_id) if link.state == "linked"]
    instances = {target: installations.instance_of(session, target) for target, _ in links}
    return decisions.end_waivers(session, instances, links, now)
