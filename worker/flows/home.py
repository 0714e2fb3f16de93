"""Notices when the books were restored or moved: what they say may be older than what was done, so nothing is done.

Reading and planning go on; they are how one finds out what differs (`trueup db restored`).
"""

from __future__ import annotations

from sqlmodel import Session

from worker.core.notices import NoticeKind
from worker.errors import Refused, Unavailable
from worker.flows.site import Site
from worker.store import home, notices
from worker.store.tables import Home
from worker.witness import Noted

REMEDY = "Trueup only observes until you have seen `trueup db restored` and run `trueup db accept-restored`"


def refuse_restored(site: Site) -> None:
    """Raises Refused while the books are not where, or not as far as, they were known to be."""
    why = look(site)
    if why:
        raise Refused(f"{why} {REMEDY}.")


def look(site: Site) -> str:
    """Why these books must be taken for restored ("" when they need not), noticed once; else the witness is told how
    far they are."""
    with site.begin() as session:
        books = home.name(session)
    noted = _noted(site, books)  # before the end is looked at, which may move on but never back
    with site.begin() as session:
        stay, end = home.stay(session, site.actor, site.now()), home.end(session)
        why = stay.away or _moved(stay, home.identity(session)) or _cut(noted, end, _digest(session, noted))
        if why and home.leave(session, why, site.now()):
            notices.notice(session, NoticeKind.DATABASE_RESTORED, f"at {end.number}", f"{why} {REMEDY}.", site.now())
            site.record(session, site.event("restore noticed", {"books_end": str(end.number), "why": why}))
    if not why and books and (noted is None or noted[0] < end.number):
        tell(site, books, end)
    return why


def tell(site: Site, books: str, end: home.End) -> None:
    """Not worth failing for: what was told before is as true, if weaker."""
    try:
        site.witness.note(books, end.number, end.digest)
    except Unavailable as error:
        site.say(f"How far the trail is could not be noted outside the database: {error}")


def _noted(site: Site, books: str) -> Noted | None:
    try:
        return site.witness.noted(books) if books else None
    except Unavailable as error:
        site.say(f"Whether the database was put back could not be asked outside of it: {error}")
        return None


def _digest(session: Session, noted: Noted | None) -> str:
    return home.digest_of(session, noted[0]) if noted else ""


def _moved(stay: Home, identity: str) -> str:
    if stay.identity == identity:
        return ""
    return f"These books were restored or moved: they were in {stay.identity}, and are in {identity}."


def _cut(noted: Noted | None, end: home.End, digest: str) -> str:
    if noted is None or noted[1] == digest:
        return ""
    if noted[0] > end.number:
        lost = noted[0] - end.number
        return f"These books were put back: they end at entry {end.number}, and {lost} more were once written."
    return f"These books were put back: their entry {noted[0]} is not the one that was once written."
