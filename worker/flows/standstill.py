"""Pause: nothing more is sent to a vendor, from the very next call on, until somebody resumes."""

from __future__ import annotations

from worker.core.render import quoted
from worker.errors import Misconfigured
from worker.flows.site import Site
from worker.store import installations


def pause(site: Site, connector: str, reason: str) -> str:
    """Stop one connector, or all of them (""); returns the sentence."""
    _refuse_unknown(site, connector)
    with site.begin() as session:
        installations.pause(session, connector, site.actor, reason, site.now())
        site.record(session, site.event("paused", {"connector": connector or "all"}, personal={"reason": reason}))
    whom, again = (connector, f"trueup resume {connector}") if connector else ("the vendors", "trueup resume")
    return f"{connector or 'Everything'} is paused; nothing is sent to {whom} until `{again}`"


def resume(site: Site, connector: str) -> str:
    """Let it go on; returns the sentence."""
    _refuse_unknown(site, connector)
    with site.begin() as session:
        was_paused = installations.resume(session, connector)
        if was_paused:
            site.record(session, site.event("resumed", {"connector": connector or "all"}))
        still = [p.connector or "everything" for p in installations.pauses(session)]
    done = f"{connector or 'Everything'} {'goes on' if was_paused else 'was not paused'}"
    return f"{done}; still paused: {', '.join(still)}" if still else done


def _refuse_unknown(site: Site, connector: str) -> None:
    known = [*site.sources, *site.targets]
    if connector and connector not in known:
        raise Misconfigured(f"There is no source or target {quoted(connector, 40)!r}; write one of {', '.join(known)}.")
