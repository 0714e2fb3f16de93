"""Reads a target's accounts and entitlements whole into the mirror, or leaves everything as it was and says why."""

from __future__ import annotations

from collections.abc import Callable

from sqlmodel import Session

from worker.core.render import counted, quoted
from worker.errors import TrueupError
from worker.flows.pull import Read, discard, recognise, refuse_failed, shrinkage, sole_reader
from worker.flows.site import Site
from worker.ports import Check
from worker.store import mirror


def observe(site: Site, name: str, *, accept_counts: bool = False) -> Read:
    """The same straight line as a pull, for a target. Raises whatever stopped it; then nothing became current."""
    recognise(site, name, site.targets[name])
    with sole_reader(site, name) as still:
        return _observe(site, name, still, accept_counts)


def _observe(site: Site, name: str, still: Callable[[Session], object], accept_counts: bool) -> Read:
    target = site.targets[name]
    with site.begin() as session:
        snapshot_id = mirror.start_snapshot(session, name, site.now())
    site.say(f"Observing {name}")
    try:
        for page in target.observe():
            with site.begin() as session:
                still(session)
                mirror.stage_target(session, snapshot_id, name, page)
        with site.begin() as session:
            staged = mirror.staged_counts(session, snapshot_id)
            shrink = site.loaded.settings.limits.shrink
            checks = [] if accept_counts else shrinkage(site, session, name, staged, {"accounts": shrink.accounts})
            wanted = site.loaded.settings.must_see_of(name)
            missing = mirror.unseen(session, snapshot_id, accounts=wanted.accounts)
        shown = ", ".join(quoted(m, 60) for m in missing)
        refuse_failed(name, [*checks, Check("must_see", not missing, f"not seen: {shown}")])
        with site.begin() as session:
            mirror.merge_target(session, snapshot_id, site.now())
            counts = mirror.counts(session, name)
            facts = {"target": name, "snapshot": snapshot_id, "counts": counts}
            site.record(session, site.event("target observed", facts))
    except TrueupError as error:
        discard(site, name, snapshot_id, error)
        raise
    accounts = counted(counts.get("accounts", 0), "account")
    site.say(f"{name}: {accounts}, {counted(counts.get('holdings', 0), 'direct entitlement')}")
    return Read(name, snapshot_id, counts)
