"""An operator says whose account it is, or that it is not whose we thought."""

from __future__ import annotations

from dataclasses import replace

from sqlmodel import Session

from worker.core.correlation import Tie
from worker.core.identity import Account
from worker.core.render import person_label, quoted
from worker.errors import Misconfigured, Refused
from worker.flows.site import Site
from worker.store import mirror, people

BY_HAND = "by hand"


def find_person(session: Session, query: str) -> people.Found:
    """The one person with this login, e-mail, source id or id of ours. Raises Misconfigured for none or several."""
    found = people.find(session, query)
    if not found:
        raise Misconfigured(
            f"Nobody is known as {quoted(query, 80)!r}; give a login, an e-mail address or a source id."
        )
    if len(found) > 1:
        choices = "; ".join(f"{person_label(f.name, f.login)} is {f.person_id}" for f in found)
        raise Misconfigured(
            f"{len(found)} people are known as {quoted(query, 80)!r}: {choices}. Give one of these ids."
        )
    return found[0]


def find_account(site: Site, session: Session, target: str, query: str) -> Account:
    """The one account of a target with this id or login, as last observed."""
    if target not in site.targets:
        raise Misconfigured(f"There is no target {quoted(target, 40)!r}; write one of {', '.join(site.targets)}.")
    wanted = query.strip().lower()
    accounts = list(mirror.accounts(session, target))
    found = [a for a in accounts if a.id == query] or [a for a in accounts if a.login.lower() == wanted]
    if not found:
        raise Misconfigured(
            f"{target} has no account {quoted(query, 80)!r}; give its id or login as `review list` shows it."
        )
    if len(found) > 1:
        ids = ", ".join(a.id for a in found)
        raise Misconfigured(
            f"{target} has {len(found)} accounts called {quoted(query, 80)!r} (ids {ids}); give the id."
        )
    return found[0]


def link(site: Site, person: str, target: str, account: str, *, secondary: bool, note: str) -> str:
    """Record that an account is a person's; returns the sentence. Their other account there stays, if `secondary`."""
    with site.begin() as session:
        found = find_person(session, person)
        observed = find_account(site, session, target, account)
        ties = people.ties(session, target)
        holder = next((t for t in ties if t.account_id == observed.id and t.linked), None)
        if holder is not None and holder.person_id != found.person_id:
            raise Refused("That account is linked to somebody else; `trueup unlink` it first.")
        other = next(
            (
                t
                for t in ties
                if t.person_id == found.person_id and t.linked and t.primary and t.account_id != observed.id
            ),
            None,
        )
        if other is not None and not secondary:
            raise Refused(
                f"This person already has account {other.account_id} there; add --secondary to link this one as well,"
                f" or `trueup unlink {target} {other.account_id}` first."
            )
        tie = Tie(observed.id, found.person_id, primary=not secondary, key=BY_HAND)
        _save(site, session, target, tie, "account linked", note)
    return f"{quoted(observed.login, 80)} in {target} belongs to {person_label(found.name, found.login)}"


def unlink(site: Site, target: str, account: str, *, note: str) -> str:
    """Record that an account is not the person's whom it is linked to; it is never linked to them by itself again."""
    with site.begin() as session:
        observed = find_account(site, session, target, account)
        tie = next((t for t in people.ties(session, target) if t.account_id == observed.id and t.linked), None)
        if tie is None:
            raise Refused(f"{quoted(observed.login, 80)} in {target} is not linked to anybody.")
        _save(site, session, target, replace(tie, linked=False, key=BY_HAND), "account unlinked", note)
    return f"{quoted(observed.login, 80)} in {target} is no longer linked to anybody"


def _save(site: Site, session: Session, target: str, tie: Tie, kind: str, note: str) -> None:
    people.save_ties(session, target, [tie], site.actor, site.now())
    facts = {
        "target": target,
        "account": tie.account_id,
        "rank": "primary" if tie.primary else "secondary",
        "by": BY_HAND,
    }
    site.record(session, site.event(kind, facts, personal={"note": note}, person_id=tie.person_id))
