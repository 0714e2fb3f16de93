"""Plans what is to be taken from one departed person in one target, from a deep look at their accounts."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session

from worker.core.drift import Cause, Deserts, Drift, DriftKind, Terrain, find_drift
from worker.core.guardrails import Circumstances, Judged, State, judge
from worker.core.identity import Entitlement, Trait
from worker.core.plan import Change, Gate, Means, Plan, make_plan
from worker.core.render import change_sentence
from worker.flows import guards
from worker.flows.deeplook import Looks
from worker.flows.effects import DONE
from worker.flows.leaving import Case
from worker.flows.site import label_of
from worker.flows.tasks import task_of, value_of
from worker.store import decisions, episodes, installations, leases, mirror, offboardings, people, runs
from worker.store.tables import ChangeRow, Decision, Run

NOTHING = Deserts("", {}, {}, frozenset(), {})
_DONE = frozenset(outcome.value for outcome in DONE)


def plan(case: Case, looks: Looks) -> tuple[Run, list[ChangeRow]]:
    """A run of its own, committed before anything is touched, and those of its changes that are open."""
    site = case.site
    with site.begin() as session:
        drifts = _drifts(case, session, looks)
        made = make_plan(drifts, _means(case, looks))

        def sentence(drift: Drift) -> str:
            return _sentence(case, looks, drift)

        opened = episodes.ensure(session, [c.drift for c in made.changes], sentence, site.now())
        known = _decide(case, session, made, opened)
        judged = _judge(case, session, looks, made, known)
        run = Run(
            target=case.target, state=offboardings.RUNNING, actor=case.row.decided_by or site.actor,
            reason=f"offboarding {case.row.id}", policy_hash=site.loaded.policy_hash, started_at=site.now(),
            offboarding_id=case.row.id,
        )  # fmt: skip
        offboardings.begin_run(session, run)
        instance = installations.instance_of(session, case.target)
        rows = [
            _row(case, run.id, place, one, opened[one.change.drift.key], sentence(one.change.drift), instance, known)
            for place, one in enumerate(judged)
        ]
        runs.add_changes(session, rows)
        _note(case, session, run, rows)
        return run, runs.changes_of(session, run.id, [State.OPEN.value])


def _drifts(case: Case, session: Session, looks: Looks) -> list[Drift]:
    """Everything of every account; and what nobody shows but can be ended all the same, once."""
    terrain = Terrain(case.target, looks.catalogue)
    found = [
        drift for account in looks.accounts.values() for drift in find_drift(case.person, account, (), NOTHING, terrain)
    ]
    ended = {
        (c.account_id, c.entitlement)
        for c in offboardings.changes(session, case.row)
        if c.target == case.target and c.state in _DONE
    }
    blind = {(id, key) for id in looks.accounts for key in looks.unseen_keys(id)}
    seen = [d for d in found if d.entitlement is None or (d.account_id, d.entitlement.key) not in blind]
    return [*seen, *(_ending(case, id, key) for id, key in sorted(blind - ended))]


def _ending(case: Case, account_id: str, key: str) -> Drift:
    return Drift(
        DriftKind.EXCESS_ENTITLEMENT, case.target, Cause.DEPARTED, case.person_id, account_id, Entitlement.parse(key)
    )


def _means(case: Case, looks: Looks) -> Means:
    site = case.site
    accounts = looks.accounts

    def hands(change: Change) -> Sequence[str]:
        return case.connector.manual(accounts[change.drift.account_id], task_of(change, ""))

    declared = guards.declared_privileged(site, case.target, looks.catalogue)
    return Means(accounts, looks.catalogue, site.loaded.settings.gate_table(), declared, hands)


def _sentence(case: Case, looks: Looks, drift: Drift) -> str:
    def label(entitlement: Entitlement) -> str:
        return looks.label(drift.account_id, entitlement.key)

    return change_sentence(drift, label_of(case.person), label)


# --- who answers for it -----------------------------------------------------------------------------------------------


def _decide(
    case: Case, session: Session, made: Plan, opened: Mapping[str, uuid.UUID]
) -> dict[str, Decision]:  # fmt: skip
    """By fingerprint. Whoever asked for this offboarding, or approved it, has decided about exactly this person's
    changes: that is recorded as what it is, a named human's yes to each. What a human does by hand stays by hand."""
    site, now = case.site, case.site.now()
    instance = installations.instance_of(session, case.target)
    actor = case.row.approved_by or case.row.decided_by
    if actor:
        expires = now + dt.timedelta(days=site.loaded.settings.approvals.expire_days)
        for change in made.changes:
            if change.gate is not Gate.MANUAL:
                decisions.decide(
                    session,
                    Decision(
                        fingerprint=change.fingerprint(instance), episode_id=opened[change.drift.key],
                        verdict=decisions.APPROVED, actor=actor, note=f"offboarding {case.row.id}", at=now,
                        expires_at=expires,
                    ),
                )  # fmt: skip
    return decisions.verdicts(session, list(opened.values()), now)


def _judge(
    case: Case, session: Session, looks: Looks, made: Plan, known: Mapping[str, Decision]
) -> tuple[Judged, ...]:  # fmt: skip
    site = case.site
    facts = Circumstances(
        instance=installations.instance_of(session, case.target),
        limits=site.loaded.settings.limits.ceilings(),
        administrators=_administrators(case, session, looks),
        day=runs.recent_effects(session, case.target, site.now()),
        verdicts={print_: one.verdict == decisions.APPROVED for print_, one in known.items()},
    )
    return judge(made.changes, facts)


def _administrators(case: Case, session: Session, looks: Looks) -> set[str]:
    """Who could let the others in again, as last observed and as seen just now. Whoever is leaving at the same time
    counts no more: of two administrators who leave together, neither is locked out while nobody else is left."""
    leases.turn(session, f"administrators {case.target}")
    own = installations.own_account_of(session, case.target)
    found = {id: a for id, a in mirror.administrators(session, case.target).items() if not guards.no_person(a)}
    live = {id: a for id, a in looks.accounts.items() if a.active and Trait.ADMINISTRATOR in a.traits}
    gone = set(looks.of) - set(live)
    away = people.marked_accounts(session, case.target, case.person_id)
    return (set(found) | set(live)) - gone - away - {own}


# --- the record -------------------------------------------------------------------------------------------------------


def _row(
    case: Case, run_id: uuid.UUID, position: int, judged: Judged, episode_id: uuid.UUID, sentence: str, instance: str,
    known: Mapping[str, Decision],
) -> dict[str, Any]:  # fmt: skip
    change, drift = judged.change, judged.change.drift
    fingerprint = change.fingerprint(instance)
    decision = known.get(fingerprint)
    said = [f"{i.source} {i.id}: {i.status}" for i in case.person.identities]
    return {
        "id": uuid.uuid4(), "run_id": run_id, "position": position, "target": case.target,
        "operation": change.operation.value, "drift": drift.kind.value, "person_id": uuid.UUID(drift.person_id),
        "account_id": drift.account_id, "entitlement": drift.entitlement.key if drift.entitlement else drift.field,
        "before": change.before, "after": change.after, "cause": drift.cause.name, "fingerprint": fingerprint,
        "episode_id": episode_id, "privileged": change.privileged, "gate": change.gate.value,
        "state": judged.state.value, "withheld_by": judged.reason, "sentence": sentence,
        "why": {
            "cause": drift.cause.value, "rules": [], "source": ["forced by a human", *said] if case.person.forced else
            said, "policy": case.site.loaded.policy_hash,
        },
        "task": {"fields": {}, "hands": list(change.hands), "account": {}, **value_of(change)},
        "decision_id": decision.id if decision else None,
    }  # fmt: skip


def _note(case: Case, session: Session, run: Run, rows: Sequence[Mapping[str, Any]]) -> None:
    site = case.site
    states: dict[str, int] = {}
    for row in rows:
        states[row["state"]] = states.get(row["state"], 0) + 1
    facts = {
        "target": case.target, "offboarding": case.row.id, "reason": "offboarding", "policy": run.policy_hash,
        "changes": {state: str(number) for state, number in states.items()},
    }  # fmt: skip
    site.record(session, site.event("plan made", facts, person_id=case.person_id, run_id=run.id))


def accounts_of(rows: Sequence[ChangeRow]) -> dict[str, list[ChangeRow]]:
    """Changes by account, in their order."""
    found: dict[str, list[ChangeRow]] = {}
    for row in rows:
        found.setdefault(row.account_id, []).append(row)
    return found
