"""After a restore: says what the targets show that the books do not know, and lets Trueup go on once somebody has
seen it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlmodel import Session

from worker.core.render import counted, quoted
from worker.errors import Refused
from worker.flows import home as flow
from worker.flows import passes, trail
from worker.flows.site import Site
from worker.store import home, mirror


@dataclass(frozen=True, slots=True)
class Restored:
    """What differs, in sentences; `why` is "" when the books are where they should be. `failures` are (connector,
    sentence) of what could not be read, so that nothing is known of it."""

    why: str
    trail: str
    differs: tuple[str, ...]
    failures: tuple[tuple[str, str], ...]


def report(site: Site) -> Restored:
    """Read everything afresh, find out what became of unsettled steps, and compare with the books as restored."""
    why = flow.look(site)
    if not why:
        return Restored("", _trail(site), (), ())
    outlook = passes.plan(site, "restored")
    with site.begin() as session:
        noticed = home.stay(session, site.actor, site.now()).noticed_at
        assert noticed is not None, "books that are away were noticed to be"
        differs = [f"a step was under way: {told}" for told in outlook.settled]
        for target in site.targets:
            differs += _of_target(session, target, noticed)
    return Restored(why, _trail(site), tuple(differs), tuple(outlook.failures))


def _of_target(session: Session, target: str, noticed: dt.datetime) -> list[str]:
    snapshot = mirror.current_snapshot(session, target)
    if snapshot is None or snapshot.started_at < noticed:
        return [f"{target} could not be read since, so nothing is known of it"]
    return [
        f"{target} account {quoted(id, 40)}{f' <{quoted(login, 80)}>' if login else ''} {words}"
        for words, accounts in home.differences(session, target, noticed).items()
        for id, login in accounts
    ]


def _trail(site: Site) -> str:
    verdict = trail.verify(site)
    if verdict.ok:
        return f"The trail is whole up to entry {verdict.checked}, where it ends."
    return f"The trail is broken at entry {verdict.first_bad}: {verdict.what}."


def accept(site: Site, note: str) -> str:
    """Let applying go on from these books; returns the sentence. Baselines have to be accepted anew, and approvals that
    nobody has used yet are void: they may have been used after the backup was made."""
    if not note.strip():
        raise Refused("Say why with --note: it stands in the trail.")
    why = flow.look(site)
    if not why:
        raise Refused("These books are where they should be; there is nothing to accept.")
    with site.begin() as session:
        noticed = home.stay(session, site.actor, site.now()).noticed_at
        unread = [c for c in (*site.sources, *site.targets) if not _read_since(session, c, noticed)]
        if unread:
            raise Refused(
                f"{', '.join(unread)}: not read since the restore was noticed; run `trueup db restored` first."
            )
        baselines, approvals = home.void_what_hung_on_it(session, site.now())
        home.come_home(session, site.actor, site.now())
        facts = {"why": why, "baselines": str(baselines), "approvals": str(approvals)}
        site.record(session, site.event("restore accepted", facts, personal={"note": note}))
        books, end = home.name(session), home.end(session)
    flow.tell(site, books, end)
    void = f"{counted(baselines, 'baseline')} and {counted(approvals, 'unused approval')}"
    return (
        f"Trueup goes on from these books. Void from now on: {void}."
        " Look at the counts and run `trueup check --accept-baseline`; until then nothing is taken away."
    )


def _read_since(session: Session, connector: str, noticed: dt.datetime | None) -> bool:
    snapshot = mirror.current_snapshot(session, connector)
    return snapshot is not None and noticed is not None and snapshot.started_at >= noticed
