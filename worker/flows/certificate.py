"""What a whole read has to show before it is believed: the canaries, no sudden loss, and nobody who is still there."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from sqlmodel import Session

from worker.core.render import quoted
from worker.errors import Refused
from worker.flows.site import Site
from worker.ports import Check, Source
from worker.store import mirror, people


def checks(site: Site, name: str, snapshot_id: uuid.UUID, accept_counts: bool) -> tuple[list[Check], Sequence[str]]:
    """What the read has to show, and who in it is missing by id as well. `accept_counts`: a human looks at the counts,
    so that the read may have shrunk."""
    with site.begin() as session:
        found = [_seen(site, session, snapshot_id, name)]
        if not accept_counts:
            staged = mirror.staged_counts(session, snapshot_id)
            found = [*found, *_shrinkage(site, session, name, staged)]
        final = name in site.final_sources
        vanished = people.vanished_ids(session, snapshot_id, name, final=final) if name in site.sources else []
    if all(check.passed for check in found):
        found += _really_gone(site.sources[name], vanished) if vanished else []
    return found, vanished


def refuse_failed(name: str, checks: Sequence[Check]) -> None:
    """Raises Refused with every check that failed."""
    failed = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    if failed:
        raise Refused(
            f"What {name} answered cannot be the whole truth, so nothing is concluded from it: {'; '.join(failed)}."
        )


def _seen(site: Site, session: Session, snapshot_id: uuid.UUID, name: str) -> Check:
    """The canaries: people, groups and accounts that are there whenever a read is whole."""
    wanted = site.loaded.settings.must_see_of(name)
    if name in site.sources:
        missing = mirror.unseen(session, snapshot_id, people=wanted.people, groups=wanted.groups)
    else:
        missing = mirror.unseen(session, snapshot_id, accounts=wanted.accounts)
    shown = ", ".join(quoted(m, 60) for m in missing)
    return Check("must_see", not missing, f"not seen: {shown}" if missing else "all seen")


_SHRINKING = {"inherited": "memberships through nested groups"}


def _shrinkage(site: Site, session: Session, name: str, staged: Mapping[str, int]) -> list[Check]:
    """Whether there is much less of anything than at the last certified read."""
    before = mirror.current_snapshot(session, name)
    if before is None:
        return []
    limits = site.loaded.settings.limits.shrink
    of_source = {
        "identities": limits.people, "groups": limits.groups, "memberships": limits.memberships,
        "inherited": limits.memberships,  # one group that is not in another any more is one row, and many people
    }  # fmt: skip
    checks = []
    for noun, share in (of_source if name in site.sources else {"accounts": limits.accounts}).items():
        was, is_now = before.counts.get(noun, 0), staged.get(noun, 0)
        lost = was - is_now
        fine = lost <= limits.above or lost <= was * share
        checks.append(
            Check(
                f"{_SHRINKING.get(noun, noun)} did not shrink",
                fine,
                f"{was:,} before, {is_now:,} now; at most {share:.0%} may go at once. If this is true, run"
                f" `trueup check --accept-baseline {name}`, or raise limits.shrink",
            )
        )
    return checks


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
