"""Gathers what stands between what people hold and what they should, for somebody who has to look at all of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlmodel import Session

from worker.core.drift import Cause, DriftKind
from worker.core.findings import (
    Acceptance,
    Accepted,
    Comparison,
    Concern,
    DriftReport,
    Finding,
    Halt,
    Proposal,
    Reading,
    RuleNote,
    Stage,
    Verdict,
    concern_of,
)
from worker.core.guardrails import State
from worker.core.identity import ATTRIBUTE, Account, Catalogue, Entitlement
from worker.core.plan import CURES
from worker.core.policy import Rule
from worker.flows.site import Site
from worker.store import decisions, episodes, installations, mirror, people, runs, snapshots
from worker.store.tables import ChangeRow, Decision, Episode, Waiver


def drift_report(site: Site) -> DriftReport:
    """From the store alone: no vendor is called, and how old each part is stands beside it."""
    with site.store.begin(one_moment=True) as session:
        found = episodes.open_episodes(session)
        targets = dict.fromkeys([*site.targets, *(e.target for e in found)])
        desks = [_Desk(site, session, name, [e for e in found if e.target == name]) for name in targets]
        return DriftReport(
            site.now(),
            site.actor,
            site.loaded.settings.mode.value,
            site.loaded.policy_hash,
            site.loaded.settings.limits.snapshot_age,
            tuple(desk.comparison() for desk in desks),
            tuple(sorted((f for desk in desks for f in desk.findings()), key=_urgency)),
            tuple(sorted((w for desk in desks for w in desk.waivers()), key=lambda w: (w.until, w.target, w.account))),
            tuple(_reading(site, session, name) for name in (*site.sources, *site.targets)),
            tuple(Halt(p.connector, p.actor, p.reason, p.at) for p in installations.pauses(session)),
        )


def _urgency(finding: Finding) -> tuple[int, str, int, bool, dt.datetime, str, str]:
    privileged = finding.proposal is not None and finding.proposal.privileged
    return (
        tuple(Concern).index(finding.concern), finding.target, tuple(Stage).index(finding.stage), not privileged,
        finding.opened_at, finding.sentence, finding.episode_id,
    )  # fmt: skip


class _Desk:
    """One target's findings, with everything that is looked up about them: a handful of queries, however many."""

    def __init__(self, site: Site, session: Session, name: str, open_: Sequence[Episode]) -> None:
        self._site, self._name, self._open = site, name, open_
        now = site.now()
        self._run = runs.latest_run(session, name)
        changes = runs.changes_of(session, self._run.id) if self._run else []
        self._changes: dict[object, ChangeRow] = {c.episode_id: c for c in changes}
        self._verdicts = decisions.verdicts(session, [e.id for e in open_], now)
        self._waivers = decisions.waivers(session, installations.instance_of(session, name), now)
        self._names = people.labels(session, {str(e.person_id) for e in open_ if e.person_id})
        ids = {e.account_id for e in open_} | {w.account_id for w in self._waivers.values()}
        self._accounts: dict[str, Account] = mirror.account_rows_of(session, name, sorted(ids - {""}))
        self._catalogue: Catalogue = mirror.catalogue(session, name)
        self._rules: Mapping[str, Rule] = {rule.name: rule for rule in site.loaded.rules}

    def comparison(self) -> Comparison:
        run, configured = self._run, self._name in self._site.targets
        if run is None:
            return Comparison(self._name, configured=configured)
        same = run.policy_hash == self._site.loaded.policy_hash
        return Comparison(
            self._name, run.started_at, run.state, run.actor, run.reason, run.failure, same, configured
        )  # fmt: skip

    def findings(self) -> list[Finding]:
        return [self._finding(episode) for episode in self._open]

    def waivers(self) -> list[Acceptance]:
        return [self._acceptance(waiver) for waiver in self._waivers.values()]

    def _finding(self, episode: Episode) -> Finding:
        kind = DriftKind(episode.kind)
        change = self._changes.get(episode.id)
        waiver = self._waivers.get((episode.account_id, episode.entitlement, episode.kind))
        if episode.urgent or (change is not None and change.cause == Cause.DEPARTED.name):
            waiver = None  # a departure ends every waiver
        decision = self._verdicts.get(change.fingerprint) if change else None
        name, login = self._names.get(str(episode.person_id), ("", ""))
        return Finding(
            str(episode.id),
            self._name,
            concern_of(kind, episode.urgent, change.cause if change else ""),
            episode.kind,
            self._stage(kind, episode, change, decision, waived=waiver is not None),
            episode.sentence,
            episode.opened_at,
            episode.last_seen_at,
            str(episode.person_id or ""),
            name,
            login,
            episode.account_id,
            self._account(episode.account_id),
            self._what(kind, episode.entitlement, change.task.get("value", "") if change else ""),
            self._rule_notes(kind, episode, change),
            self._proposal(change) if change else None,
            _verdict(decision) if decision else None,
            self._acceptance(waiver) if waiver else None,
        )

    def _stage(
        self, kind: DriftKind, episode: Episode, change: ChangeRow | None, decision: Decision | None, *, waived: bool
    ) -> Stage:
        if waived:
            return Stage.WAIVED
        if change is not None:
            if decision is not None and change.state in _DECIDABLE:
                return Stage.APPROVED if decision.verdict == decisions.APPROVED else Stage.REJECTED
            return _STAGES.get(change.state, Stage.TROUBLE)
        seen = self._run is not None and episode.last_seen_at >= self._run.started_at
        return Stage.STANDING if kind in _WITHOUT_CURE and seen else Stage.NOT_JUDGED

    def _account(self, id: str) -> str:
        account = self._accounts.get(id)
        return (account.login or account.email or id) if account else id

    def _what(self, kind: DriftKind, key: str, value: str = "") -> str:
        """`value` is that of an attribute."""
        if (kind is DriftKind.HELD_VALUE and key.startswith(f"{ATTRIBUTE}:")) or kind in _ABOUT_ENTITLEMENTS:
            one = Entitlement.parse(key)
            return self._catalogue.label(replace(one, scope=value) if one.kind == ATTRIBUTE else one)
        return key

    def _rule_notes(self, kind: DriftKind, episode: Episode, change: ChangeRow | None) -> tuple[RuleNote, ...]:
        names = change.why["rules"] if change else ()
        if kind is DriftKind.UNEVALUABLE_RULE:
            names = [name for name in self._rules if f"{episode.entitlement}: ".startswith(f"{name}: ")]
        known = [(name, self._rules.get(name)) for name in names]
        return tuple(RuleNote(name, rule.owner, rule.why) if rule else RuleNote(name) for name, rule in known)

    def _proposal(self, change: ChangeRow) -> Proposal:
        brings = change.task["account"].get("entitlements", ())
        return Proposal(
            change.sentence, change.operation, change.gate, change.state, change.withheld_by, change.why["cause"],
            change.privileged, change.fingerprint, tuple(change.task["hands"]),
            tuple(self._catalogue.label(Entitlement.parse(key)) for key in brings), tuple(change.why["source"]),
        )  # fmt: skip

    def _acceptance(self, waiver: Waiver) -> Acceptance:
        what = self._what(DriftKind(waiver.kind), waiver.entitlement)
        return Acceptance(
            waiver.target, waiver.account_id, self._account(waiver.account_id), waiver.kind, what, waiver.owner,
            waiver.actor, waiver.note, waiver.at, waiver.until,
        )  # fmt: skip


_DECIDABLE = frozenset({State.OPEN.value, State.WAITING.value, State.REJECTED.value})
_STAGES: Mapping[str, Stage] = {
    State.OPEN.value: Stage.PLANNED,
    State.WAITING.value: Stage.DECISION,
    State.WITHHELD.value: Stage.WITHHELD,
    State.MANUAL.value: Stage.MANUAL,
    State.WAIVED.value: Stage.WAIVED,
    State.REJECTED.value: Stage.REJECTED,
}
"""By the state of a change; any other state is how an attempt ended that did not cure the drift."""

_WITHOUT_CURE = frozenset(DriftKind) - CURES.keys()
_ABOUT_ENTITLEMENTS = frozenset(
    {
        DriftKind.EXCESS_ENTITLEMENT,
        DriftKind.EXPIRED_ENTITLEMENT,
        DriftKind.MISSING_ENTITLEMENT,
        DriftKind.WRONG_VALUE,
    }
)


def _verdict(decision: Decision) -> Verdict:
    approved = decision.verdict == decisions.APPROVED
    return Verdict(approved, decision.actor, decision.at, decision.expires_at, decision.note)


def _reading(site: Site, session: Session, name: str) -> Reading:
    current = snapshots.current_snapshot(session, name)
    latest = snapshots.latest_attempt(session, name)
    failed = latest if latest is not None and latest.failure else None
    settings = {**site.loaded.sources, **site.loaded.targets}[name]
    age = site.now() - current.started_at if current else None
    baseline = installations.baseline(session, name)
    return Reading(
        name,
        "source" if name in site.sources else "target",
        str(getattr(settings, "type", "")),
        installations.instance_of(session, name),
        current.started_at if current else None,
        age is not None and age > site.loaded.settings.limits.snapshot_age,
        current.counts if current else {},
        {check.name: check.detail for check in current.checks} if current else {},
        failed.failure if failed else "",
        failed.started_at if failed else None,
        Accepted(baseline.actor, baseline.accepted_at, baseline.counts) if baseline else None,
    )
