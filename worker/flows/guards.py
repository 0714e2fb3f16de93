"""Gathers what the guardrails need to know of a target from the settings and the store."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping

from sqlmodel import Session

from worker.core.guardrails import Circumstances
from worker.core.identity import Account, Catalogue, Entitlement, Person, Trait
from worker.core.meaning import meaning_of
from worker.core.windows import Closed
from worker.errors import Refused
from worker.flows.site import Site
from worker.store import installations, mirror, people, runs
from worker.store.governed import Governance

NO_PERSON = (Trait.OURSELVES, Trait.SERVICE, Trait.SUPPORT, Trait.EMBED, Trait.GUEST)


def no_person(account: Account) -> bool:
    """Accounts that are nobody's by their nature, and so neither linked nor orphans."""
    return any(trait in account.traits for trait in NO_PERSON)


def bystanders(
    site: Site, session: Session, target: str, accounts: Mapping[str, Account], crowd: Mapping[str, Person]
) -> dict[str, str]:
    """Account id -> why Trueup never touches it."""
    protected = site.loaded.settings.protected
    found: dict[str, str] = {}
    for account in accounts.values():
        trait = next((t for t in NO_PERSON if t in account.traits), None)
        if trait is not None:
            found[account.id] = f"it is {_article(trait.value)}"
        elif protected.covers_account(target, account):
            found[account.id] = "it is protected by the policy (protected.accounts)"
    own = installations.own_account_of(session, target)
    if own:
        found[own] = "it is the account that Trueup itself works with"
    safe = {person.id for person in crowd.values() if protected.covers_person(person)}
    for tie in people.ties(session, target) if safe else ():
        if tie.linked and tie.person_id in safe:
            found.setdefault(tie.account_id, "its person is protected by the policy (protected.people)")
    return found


def _article(noun: str) -> str:
    return noun if noun.startswith("our") else f"a{'n' if noun[0] in 'aeiou' else ''} {noun}"


def circumstances(
    site: Site,
    session: Session,
    target: str,
    accounts: Mapping[str, Account],
    bystanding: Mapping[str, str],
    catalogue: Catalogue,
) -> Circumstances:
    """What the guards weigh, apart from decisions and waivers."""
    active = [a for a in accounts.values() if a.active and a.id not in bystanding]
    holders = Counter(entitlement.bare.key for account in active for entitlement in account.entitlements)
    own = installations.own_account_of(session, target)
    # A service account or the vendor's own is nobody who could let the others in again.
    administrators = {
        a.id for a in accounts.values()
        if a.active and Trait.ADMINISTRATOR in a.traits and a.id != own and not no_person(a)
    }  # fmt: skip
    return Circumstances(
        instance=installations.instance_of(session, target),
        limits=site.loaded.settings.limits.ceilings(),
        active_accounts=len(active),
        holders=holders,
        administrators=administrators,
        bystanders=bystanding,
        day=runs.recent_effects(session, target, site.now()),
        no_taking=without_baseline(site, session, target),
        label=lambda key: catalogue.label(Entitlement.parse(key)),
    )


def without_baseline(site: Site, session: Session, target: str) -> str:
    """Why nothing may be taken away in a target at all ("" when it may)."""
    without = [c for c in (*site.sources, target) if installations.baseline(session, c) is None]
    if not without:
        return ""
    return f"no accepted baseline of {', '.join(without)}; look at the counts and run `trueup check --accept-baseline`"


def declared_privileged(site: Site, target: str, catalogue: Catalogue) -> frozenset[str]:
    """Keys of the entitlements that the settings call privileged, as far as the target has them."""
    references = site.loaded.privileged.get(target, ())
    found = (meaning_of(target, reference, catalogue, None).entitlement for reference in references)
    return frozenset(entitlement.key for entitlement in found if entitlement)


def unmeant(site: Site, target: str, catalogue: Catalogue) -> list[str]:
    """What the settings call privileged and the target does not have: a slip there must not go unnoticed."""
    found = []
    for reference in site.loaded.privileged.get(target, ()):
        meaning = meaning_of(target, reference, catalogue, None)
        if meaning.entitlement is None:
            found.append(f"privileged.{target}: {meaning.problem}; {meaning.fix}")
    return found


def released(site: Site, target: str, catalogue: Catalogue, governance: Governance) -> frozenset[Entitlement]:
    """What the settings let go on purpose: by its present meaning, or by what its name meant when it was governed."""
    found: set[Entitlement] = set()
    for reference in site.loaded.released.get(target, ()):
        meaning = meaning_of(target, reference, catalogue, None).entitlement
        bound = governance.bindings.get(str(reference.bare))
        found |= {e for e in (meaning, bound) if e is not None}
    return frozenset(found)


def closed(site: Site, target: str) -> Closed | None:
    """What changes of the target wait for now: its window, or the end of a freeze; None when they need not."""
    return site.loaded.settings.closed(target, site.now())


def good_until(site: Site, session: Session, snapshots: Mapping[str, str]) -> dt.datetime:
    """The moment at which the oldest of a plan's reads is too old to act on."""
    began = [snapshot.started_at for c in snapshots if (snapshot := mirror.current_snapshot(session, c)) is not None]
    return min(began) + site.loaded.settings.limits.snapshot_age


def fresh_snapshots(site: Site, session: Session, target: str) -> dict[str, str]:
    """The ids of the reads that a plan for this target rests on. Raises Refused when one is missing or too old."""
    longest = site.loaded.settings.limits.snapshot_age
    found: dict[str, str] = {}
    for connector in (*site.sources, target):
        snapshot = mirror.current_snapshot(session, connector)
        if snapshot is None:
            raise Refused(f"{connector} has never been read whole; run `trueup check` to see why.")
        age = site.now() - snapshot.started_at
        if age > longest:
            raise Refused(
                f"The last whole read of {connector} is {int(age.total_seconds() // 60)} minutes old, at most"
                f" {int(longest.total_seconds() // 60)} are allowed (limits.snapshot_age)."
            )
        found[connector] = str(snapshot.id)
    return found
