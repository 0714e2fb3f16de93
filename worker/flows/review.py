"""What waits for a human: look at it, approve or reject the exact change, or waive a standing drift."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from worker.core.audit import Event
from worker.core.drift import DriftKind
from worker.core.findings import HANDLE
from worker.core.guardrails import State
from worker.core.identity import Catalogue, Entitlement
from worker.core.plan import GIVING, Operation
from worker.core.render import counted, quoted
from worker.errors import Misconfigured, Refused
from worker.flows.site import Site
from worker.store import decisions, episodes, installations, marks, mirror, runs
from worker.store.tables import ChangeRow, Decision, Episode, Waiver

REVIEWABLE = (State.WAITING.value, State.WITHHELD.value, State.REJECTED.value, State.MANUAL.value, State.WAIVED.value)
DECIDABLE = (State.WAITING.value, State.WITHHELD.value, decisions.APPROVED, State.REJECTED.value)


@dataclass(frozen=True, slots=True)
class Item:
    """One change that a human may decide about, or one standing finding that may be waived. `handle` is what to type;
    `age` counts from the drift's appearance; `brings` is what a new account comes with."""

    handle: str
    target: str
    state: str
    sentence: str
    reason: str
    kind: str
    privileged: bool
    age: dt.timedelta
    change: ChangeRow | None
    episode: Episode
    brings: tuple[str, ...] = ()

    def details(self) -> dict[str, Any]:
        """Everything that a decision rests on, as JSON-ready text."""
        change = self.change
        found: dict[str, Any] = {
            "handle": self.handle, "target": self.target, "state": self.state, "sentence": self.sentence,
            "reason": self.reason, "drift": self.kind, "since": self.episode.opened_at.isoformat(timespec="seconds"),
            "account": self.episode.account_id, "entitlement": self.episode.entitlement,
        }  # fmt: skip
        if change is not None:
            found |= {
                "operation": change.operation, "privileged": change.privileged, "gate": change.gate,
                "before": change.before, "after": change.after, "brings": list(self.brings),
                "cause": change.why["cause"], "rules": change.why["rules"], "source": change.why["source"],
                "fingerprint": change.fingerprint, "by hand": change.task["hands"],
            }  # fmt: skip
        return found


def pending(site: Site, target: str | None = None) -> list[Item]:
    """Everything that the last plans left to a human, urgent standing findings included; oldest first."""
    with site.begin() as session:
        found = [item for name in _targets(site, target) for item in _items(site, session, name)]
    return sorted(found, key=lambda item: (_ORDER.index(item.state), -item.age, item.handle))


_ORDER = (*DECIDABLE, State.MANUAL.value, "standing", State.WAIVED.value)


def show(site: Site, handle: str) -> Item:
    """One item by its handle. Raises Misconfigured when there is none, or more than one."""
    wanted = handle.strip().lower()
    found = [item for item in pending(site) if item.handle.startswith(wanted)] if len(wanted) >= 4 else []
    if not found:
        raise Misconfigured(
            f"Nothing under review has the handle {quoted(handle, 40)!r}; `trueup review list` shows them (type at"
            " least four characters)."
        )
    if len(found) > 1:
        raise Misconfigured(f"{len(found)} items begin with {quoted(handle, 40)!r}; type more of the handle.")
    return found[0]


def decide(site: Site, handles: Sequence[str], approve: bool, note: str) -> list[Item]:
    """Approve or reject exact changes, all or none of them. An approval is used once, and void when the drift ends."""
    items = [show(site, handle) for handle in handles]
    for item in items:
        if item.change is None or item.state not in DECIDABLE:
            raise Refused(
                f"{item.handle} is {item.state}, so there is nothing to approve or reject: {item.sentence}."
                f" {_way_on(item)}"
            )
    verdict = decisions.APPROVED if approve else decisions.REJECTED
    now = site.now()
    expires = now + dt.timedelta(days=site.loaded.settings.approvals.expire_days)
    with site.begin() as session:
        events = []
        for item in items:
            assert item.change is not None
            decision = Decision(
                fingerprint=item.change.fingerprint, episode_id=item.episode.id, verdict=verdict, actor=site.actor,
                note=note, at=now, expires_at=expires,
            )  # fmt: skip
            decisions.decide(session, decision)
            facts = {
                "decision": decision.id, "fingerprint": decision.fingerprint, "episode": decision.episode_id,
                "target": item.target, "expires": expires,
            }  # fmt: skip
            personal = {"sentence": item.sentence, "note": note}
            events.append(site.event(f"change {verdict}", facts, personal=personal, person_id=item.change.person_id))
        events += _trusted_again(site, session, items) if approve else []
        site.record(session, *events)
    return items


def _trusted_again(site: Site, session: Session, items: Sequence[Item]) -> list[Event]:
    """Whoever was held as departed by hand is given things by themselves again, once a human has said yes to one."""
    given = {str(i.change.person_id) for i in items if i.change is not None and i.change.operation in GIVING}
    again = marks.trust_again(session, given - {"None"})
    return [site.event("gains reviewed no longer", {}, person_id=person_id) for person_id in sorted(again)]


def _way_on(item: Item) -> str:
    """What to do about it instead."""
    if item.state == State.MANUAL.value:
        return f"It is done by hand; `trueup review show {item.handle}` says how."
    if item.kind == DriftKind.DISPUTED.value:
        return f"Say whose it is: `trueup link PERSON {item.target} {item.episode.account_id}`."
    if item.kind == DriftKind.DISPUTED_PERSON.value:
        return "Say who it is, with the command that it names."
    if item.kind == DriftKind.UNEVALUABLE_RULE.value:
        return "Correct the policy."
    return f"To accept it for a while: `trueup review waive {item.handle} --until DAY --owner WHO`."


def waive(site: Site, handle: str, owner: str, until: dt.date, note: str) -> Item:
    """Accept a drift until the end of a day, in somebody's name. Departed people's cannot be waived."""
    item = show(site, handle)
    now = site.now()
    end = dt.datetime.combine(until, dt.time.max, tzinfo=dt.UTC)
    longest = site.loaded.settings.approvals.waiver_days
    if not owner.strip():
        raise Misconfigured("A waiver has an owner who answers for it; name one with --owner.")
    if end <= now:
        raise Misconfigured(f"{until} is over; give a later day with --until.")
    if end > now + dt.timedelta(days=longest + 1):
        raise Misconfigured(
            f"A waiver runs for {counted(longest, 'day')} at most (approvals.waiver_days); {until} is later."
        )
    if not item.episode.account_id:
        raise Refused("Only drift on an account can be waived; this is about the policy, so correct that.")
    if item.episode.urgent:
        raise Refused("That account may be a departed person's, so it cannot be waived; say whose it is.")
    if item.change is not None and item.change.cause == "DEPARTED":
        raise Refused("What a departed person still holds cannot be waived.")
    with site.begin() as session:
        waiver = Waiver(
            instance_id=installations.instance_of(session, item.target), target=item.target,
            account_id=item.episode.account_id, entitlement=item.episode.entitlement, kind=item.kind,
            owner=owner.strip(), actor=site.actor, note=note, at=now, until=end,
        )  # fmt: skip
        decisions.waive(session, waiver)
        facts = {
            "waiver": waiver.id,
            "target": item.target,
            "account": waiver.account_id,
            "drift": item.kind,
            "until": end,
        }
        personal = {"sentence": item.sentence, "owner": owner, "note": note}
        site.record(session, site.event("drift waived", facts, personal=personal, person_id=item.episode.person_id))
    return item


def _targets(site: Site, target: str | None) -> list[str]:
    if target is not None and target not in site.targets:
        raise Misconfigured(f"There is no target {quoted(target, 40)!r}; write one of {', '.join(site.targets)}.")
    return [target] if target else list(site.targets)


def _items(site: Site, session: Session, target: str) -> list[Item]:
    run = runs.latest_run(session, target)
    if run is None:
        return []
    open_now = {e.id: e for e in episodes.open_episodes(session, target)}
    changes = {c.episode_id: c for c in runs.changes_of(session, run.id)}
    instance = installations.instance_of(session, target)
    waived = decisions.waivers(session, instance, site.now())
    verdicts = decisions.verdicts(session, list(open_now), site.now())
    catalogue = mirror.catalogue(session, target)
    items = []
    for episode in open_now.values():
        change = changes.get(episode.id)
        if change is not None and change.state not in REVIEWABLE:
            continue
        is_waived = not episode.urgent and (episode.account_id, episode.entitlement, episode.kind) in waived
        state, reason = State.WAIVED.value if is_waived else "standing", ""
        if change is not None:
            state, reason = _since_decided(change, verdicts.get(change.fingerprint))
        items.append(
            Item(
                (change.fingerprint if change else episode.id.hex)[:HANDLE], target, state,
                change.sentence if change else episode.sentence, reason,
                episode.kind, bool(change and change.privileged), site.now() - episode.opened_at, change, episode,
                _brought(change, catalogue) if change else (),
            )
        )  # fmt: skip
    return items


def _since_decided(change: ChangeRow, decision: Decision | None) -> tuple[str, str]:
    """State and reason as the last plan had them, or as somebody has decided since. A guard outlasts a decision."""
    if decision is None or change.state not in (State.WAITING.value, State.REJECTED.value):
        return change.state, change.withheld_by
    return decision.verdict, f"by {quoted(decision.actor, 60)} on {decision.at:%Y-%m-%d}"


def _brought(change: ChangeRow, catalogue: Catalogue) -> tuple[str, ...]:
    keys = change.task["account"].get("entitlements", ()) if change.operation == Operation.CREATE.value else ()
    return tuple(catalogue.label(Entitlement.parse(key)) for key in keys)
