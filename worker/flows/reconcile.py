"""Compares what everybody holds in one target with what they deserve, and stores the plan; nothing is touched yet."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import Session

from worker.core.attributes import unfiltered
from worker.core.audit import Event
from worker.core.correlation import Correlation, Known, correlate
from worker.core.drift import Cause, Deserts, Drift, DriftKind, Terrain, desired_account, find_drift
from worker.core.guardrails import Judged, State, judge, tripped
from worker.core.identity import Account, Catalogue, Person, Standing
from worker.core.plan import Change, Means, Operation, Plan, make_plan
from worker.core.policy import CompiledPolicy, compile_policy
from worker.core.render import change_sentence, counted, finding_sentence, person_label
from worker.errors import Refused
from worker.flows import guards, watch
from worker.flows.crowd import Crowd
from worker.flows.site import Site, label_of
from worker.flows.tasks import task_of, value_of
from worker.ports import Target
from worker.store import (
    decisions,
    episodes,
    governed,
    installations,
    leases,
    marks,
    mirror,
    notices,
    offboardings,
    people,
    runs,
)
from worker.store.tables import Run


@dataclass(frozen=True, slots=True)
class Reconciled:
    """A stored plan for one target. `tripped` are the guards that withheld something; `moved` says what the policy's
    change did; `notes` are sentences for the top of the plan."""

    target: str
    run_id: uuid.UUID
    judged: tuple[Judged, ...]
    standing: tuple[Drift, ...]
    sentences: Mapping[str, str]  # by drift key
    fingerprints: Mapping[str, str]  # by drift key
    tripped: tuple[str, ...]
    notes: tuple[str, ...] = ()
    waived: int = 0  # of `standing`

    def count(self, *states: State) -> int:
        return sum(1 for j in self.judged if j.state in states)


def reconcile(site: Site, name: str, crowd: Crowd, reason: str) -> Reconciled:
    """One pass over one target, from the mirror alone: no vendor call is made. The plan is committed at the end."""
    with site.begin() as session:
        if not leases.alone(session, f"plan {name}"):
            raise Refused(
                f"Another Trueup is planning for {name} just now; wait for it, or look at `trueup plan` again soon."
            )
        return _Pass(site, session, name, crowd, reason).made()


class _Pass:
    """What one reconciliation knows while it goes."""

    def __init__(self, site: Site, session: Session, name: str, crowd: Crowd, reason: str) -> None:
        self._site, self._session, self._name, self._crowd, self._reason = site, session, name, crowd, reason
        self._target: Target = site.targets[name]
        self._now = site.now()
        self._instance = installations.instance_of(session, name)
        self._catalogue: Catalogue = mirror.catalogue(session, name)
        self._accounts: dict[str, Account] = {a.id: a for a in mirror.accounts(session, name)}
        self._creations: dict[str, Account] = {}
        self._unfiltered: dict[str, str] = {}  # by the subject of changes: why nothing is given
        self._here: set[str] = set()  # people who have an account in the target, or should have one
        self._events: list[Event] = []
        self._declared = guards.declared_privileged(site, name, self._catalogue)
        self._snapshots = guards.fresh_snapshots(site, session, name)
        current = mirror.current_snapshot(session, name)
        self._read_at = current.started_at if current else self._now
        self._known_when_out = offboardings.known_when_out(session, self._now, self._read_at, name)

    def made(self) -> Reconciled:
        policy = self._policy()
        notes = self._govern(policy)
        bystanders = guards.bystanders(self._site, self._session, self._name, self._accounts, self._crowd.people)
        correlation = self._correlate()
        drifts = [*self._drifts(policy, correlation, bystanders), *self._findings(policy, correlation, bystanders)]
        plan = make_plan(drifts, self._means())
        unsure = {p.id for p in self._crowd.people.values() if p.unsure}
        sentences = {d.key: self._finding(d) for d in drifts}
        course = episodes.follow(self._session, self._name, drifts, lambda d: sentences[d.key], unsure, self._now)
        sentences |= {c.drift.key: self._sentence(c) for c in plan.changes}
        judged = self._judge(plan, course.open, bystanders)
        unmeant = guards.unmeant(self._site, self._name, self._catalogue)
        stopped = (*tripped(judged), *(u.sentence for u in policy.suspended), *unmeant)
        run = self._store(judged, plan, course, sentences, stopped)
        self._events += self._reappeared(drifts, sentences)
        notices.drift_found(self._session, self._name, self._now)
        notices.plan_withheld(self._session, run.id, self._now)
        self._site.record(self._session, *self._events)
        prints = {c.drift.key: c.fingerprint(self._instance) for c in plan.changes}
        waived = sum(1 for d in plan.standing if d.key in self._waived)
        return Reconciled(self._name, run.id, judged, plan.standing, sentences, prints, stopped, notes, waived)

    def _reappeared(self, drifts: Sequence[Drift], sentences: Mapping[str, str]) -> list[Event]:
        """Leavers who were out and are not any more are dealt with at once, and as deep as it goes."""
        back = [d for d in drifts if d.kind is DriftKind.RETURNED_LEAVER]
        return [
            event
            for drift in back
            for event in watch.reappeared(self._site, self._session, drift.person_id, sentences[drift.key])
        ]

    def _note(self, kind: str, facts: Mapping[str, object], **how: Any) -> None:
        """For the trail; appended at the end, when nothing else is left to lock."""
        self._events.append(self._site.event(kind, facts, **how))

    # --- what the policy means here -----------------------------------------------------------------------------

    def _policy(self) -> CompiledPolicy:
        self._governance = governed.governance(self._session, self._name)
        return compile_policy(
            self._site.loaded.rules,
            self._crowd.groups,
            {self._name: self._catalogue},
            governed.group_bindings(self._session),
            {self._name: self._governance.bindings},
            self._site.loaded.values,
        )

    def _govern(self, policy: CompiledPolicy) -> tuple[str, ...]:
        """Remember what the policy names now, and say what its change means."""
        known = governed.group_bindings(self._session)
        fresh = {key: id for key, id in policy.bindings.items() if known.get(key) != id}  # only an `id:` rebinds
        governed.bind_groups(self._session, fresh, self._now)
        unresolved = [str(u.reference.bare) for u in policy.suspended if u.reference and u.target == self._name]
        released = guards.released(self._site, self._name, self._catalogue, self._governance)
        named = policy.governed.get(self._name, {})
        turnover = governed.govern(self._session, self._name, named, released, unresolved, self._now)
        self._note_settings()
        if turnover:
            self._note(
                "governed entitlements changed",
                {
                    "target": self._name,
                    "named": [e.key for e in turnover.named],
                    "left": [e.key for e in turnover.left],
                    "released": [e.key for e in turnover.released],
                },
            )
        self._governance = governed.governance(self._session, self._name)
        holders = sum(
            1 for a in self._accounts.values() if any(e.bare in self._governance.left for e in a.entitlements)
        )
        left = len(self._governance.left)
        if not left:
            return ()
        return (
            f"policy changed: {counted(left, 'entitlement')} left it, {counted(holders, 'account')} hold such:"
            " name under `released` what people may keep",
        )

    def _note_settings(self) -> None:
        """Which settings a decision rested on is in the trail, and when they changed."""
        loaded = self._site.loaded
        before = governed.see_settings(
            self._session, loaded.settings_hash, loaded.policy_hash, self._site.actor, self._now
        )
        if before is None:
            return
        kind = "settings changed" if before.policy == loaded.policy_hash else "policy changed"
        hashes = {"policy": loaded.policy_hash, "settings": loaded.settings_hash}
        self._note(kind, {**hashes, "policy before": before.policy, "settings before": before.settings})

    # --- who is who -----------------------------------------------------------------------------------------------

    def _correlate(self) -> Correlation:
        trust = self._site.loaded.settings.correlation_of(self._name)
        asked = frozenset((*trust.trust, *trust.propose))
        known = [self._known_person(p, asked) for p in self._crowd.people.values() if p.identities]
        accounts = [self._known_account(a) for a in self._accounts.values() if not guards.no_person(a)]
        open_now = episodes.open_episodes(self._session, self._name)
        leavers = {e.account_id for e in open_now if e.kind == DriftKind.DISPUTED and e.urgent}
        ties = people.ties(self._session, self._name)
        found = correlate(known, accounts, ties, trust.trust, trust.propose, leavers)
        people.save_ties(self._session, self._name, found.new_ties, self._site.actor, self._now)
        for tie in found.new_ties:
            self._note(
                "account linked",
                {"target": self._name, "account": tie.account_id, "key": tie.key, "by": "correlation"},
                person_id=uuid.UUID(tie.person_id),
            )
        return found

    def _known_person(self, person: Person, asked: Collection[str]) -> Known:
        keys = {"login": self._target.login(person)}
        if "email" in asked:
            keys["email"] = person.text("email") or person.speaking[0].email
        if "name" in asked:
            keys["name"] = f"{person.text('firstName')} {person.text('lastName')}".strip()
        guest = all(identity.guest for identity in person.identities)
        departed = person.standing is Standing.DEPARTED
        out = self._known_when_out.get(person.id) if departed else None
        return Known(person.id, keys, departed=departed, guest=guest, out=out)

    def _known_account(self, account: Account) -> Known:
        name = account.profile.get("name") or " ".join(
            filter(None, (account.profile.get("first_name"), account.profile.get("last_name")))
        )
        keys = {"login": account.login, "email": account.email, "name": name}
        privileged = any(e.bare.key in self._declared or self._catalogue.privileged(e) for e in account.entitlements)
        return Known(account.id, keys, privileged=privileged)

    # --- facts ------------------------------------------------------------------------------------------------------

    def _drifts(
        self, policy: CompiledPolicy, correlation: Correlation, bystanders: Mapping[str, str]
    ) -> Iterable[Drift]:
        terrain = Terrain(
            self._name,
            self._catalogue,
            self._governance.governed,
            self._governance.left,
            self._site.loaded.settings.leavers.suspended == "disable",
            frozenset(bystanders),
            offboardings.out_before(self._session, self._now, self._read_at),
        )
        primary, secondary = self._accounts_by_person()
        today = self._site.today()
        for person in self._crowd.people.values():
            deserts = Deserts.of(
                policy.desired(person, today), self._name, self._target.login(person), self._target.profile(person)
            )
            account = primary.get(person.id)
            self._hold_back(person, account, deserts)
            disputed = person.id in correlation.disputed_people or person.id in self._crowd.disputed
            if account is not None or person.id in secondary or deserts.access:
                self._here.add(person.id)
            for drift in find_drift(person, account, secondary.get(person.id, ()), deserts, terrain, disputed=disputed):
                if drift.kind is DriftKind.MISSING_ACCOUNT:
                    self._creations[person.id] = desired_account(deserts, self._catalogue)
                yield drift

    def _hold_back(self, person: Person, account: Account | None, deserts: Deserts) -> None:
        """Whoever has no filter that could be trusted is given nothing."""
        why = unfiltered(person, account, deserts.given, deserts.held)
        if why and person.standing is Standing.ACTIVE:
            self._unfiltered[account.id if account else f"person {person.id}"] = why

    def _accounts_by_person(self) -> tuple[dict[str, Account], dict[str, list[Account]]]:
        primary: dict[str, Account] = {}
        secondary: dict[str, list[Account]] = {}
        for tie in people.ties(self._session, self._name):
            account = self._accounts.get(tie.account_id)
            if account is None or not tie.linked:
                continue
            if tie.primary and tie.person_id not in primary:
                primary[tie.person_id] = account
            else:
                secondary.setdefault(tie.person_id, []).append(account)
        return primary, secondary

    def _findings(
        self, policy: CompiledPolicy, correlation: Correlation, bystanders: Mapping[str, str]
    ) -> Iterable[Drift]:
        """What is wrong and no machine may cure: orphans, disputes, rules that cannot be evaluated. Asked last: by then
        it is known who is here."""
        for account_id in correlation.orphans:
            if account_id not in bystanders:
                yield Drift(DriftKind.ORPHAN, self._name, Cause.UNKNOWN_OWNER, account_id=account_id)
        for dispute in (*correlation.disputes, *correlation.taken):
            candidates = ", ".join(label_of(self._crowd.people[p]) for p in dispute.person_ids[:3])
            departed = "; one of them has departed" if dispute.person_ids[1:] else "; they have departed"
            left = any(self._crowd.people[p].standing is Standing.DEPARTED for p in dispute.person_ids)
            detail = f"{dispute.reason} ({candidates})" + (departed if left else "")
            yield Drift(
                DriftKind.DISPUTED, self._name, Cause.AMBIGUOUS_OWNER, account_id=dispute.account_id,
                detail=detail, urgent=dispute.urgent,
            )  # fmt: skip
        for asked in self._crowd.questions:
            if self._here.intersection(asked.person_ids):
                yield Drift(
                    DriftKind.DISPUTED_PERSON, self._name, Cause.AMBIGUOUS_OWNER, asked.person_ids[0],
                    field=asked.key, detail=asked.text,
                )  # fmt: skip
        mine = {rule.name for rule in self._site.loaded.rules if any(n.target == self._name for n in rule.give)}
        for found in policy.suspended:
            if found.rule in mine:
                what = f"{found.rule}: {found.reference}" if found.reference else found.rule
                yield Drift(
                    DriftKind.UNEVALUABLE_RULE, self._name, Cause.NOT_EVALUABLE, field=what,
                    detail=f"{found.reason}; {found.fix}",
                )  # fmt: skip

    # --- decisions -----------------------------------------------------------------------------------------------

    def _means(self) -> Means:
        return Means(
            self._accounts,
            self._catalogue,
            self._site.loaded.settings.gate_table(),
            self._declared,
            self._hands,
            self._creations,
            marks.reviewed(self._session),
        )

    def _hands(self, change: Change) -> Sequence[str]:
        account = self._accounts.get(change.drift.account_id) or self._creations[change.drift.person_id]
        return self._target.manual(account, task_of(change, ""))

    def _judge(
        self, plan: Plan, open_episodes: Mapping[str, uuid.UUID], bystanders: Mapping[str, str]
    ) -> tuple[Judged, ...]:
        self._decisions = decisions.verdicts(self._session, list(open_episodes.values()), self._now)
        facts = guards.circumstances(self._site, self._session, self._name, self._accounts, bystanders, self._catalogue)
        waivers = decisions.waivers(self._session, self._instance, self._now)
        everything = (*plan.standing, *(change.drift for change in plan.changes))
        self._waived = {d.key for d in everything if _waiver_key(d) in waivers and _waivable(d)}
        verdicts = {f: d.verdict == decisions.APPROVED for f, d in self._decisions.items()}
        return judge(plan.changes, replace(facts, verdicts=verdicts, waived=self._waived, unfiltered=self._unfiltered))

    # --- the record ------------------------------------------------------------------------------------------------

    def _store(
        self,
        judged: Sequence[Judged],
        plan: Plan,
        course: episodes.Course,
        sentences: Mapping[str, str],
        stopped: Sequence[str],
    ) -> Run:
        reported = runs.reported_before(self._session, self._name)
        states = Counter(j.state.value for j in judged)
        kinds = Counter(d.kind.value for d in (*plan.standing, *(c.drift for c in plan.changes)))
        run = Run(
            target=self._name,
            state="planned",
            actor=self._site.actor,
            reason=self._reason,
            policy_hash=self._site.loaded.policy_hash,
            snapshots=self._snapshots,
            counts={"states": dict(states), "drift": dict(kinds), "opened": course.opened, "closed": course.closed},
            started_at=self._now,
        )
        runs.begin_run(self._session, run)
        rows = [
            self._row(run.id, position, judgement, course.open, sentences) for position, judgement in enumerate(judged)
        ]
        runs.add_changes(self._session, rows)
        self._note("plan made",
            {
                "target": self._name, "reason": self._reason, "policy": run.policy_hash, "snapshots": self._snapshots,
                "changes": {s: str(n) for s, n in states.items()}, "drift": {k: str(n) for k, n in kinds.items()},
                "guards": len(stopped),
            },
            run_id=run.id,
        )  # fmt: skip
        for row in rows:
            told = (row["fingerprint"], str(row["episode_id"]), row["withheld_by"])
            if row["state"] == State.WITHHELD.value and told not in reported:
                self._note(
                    "change withheld",
                    {"change": str(row["id"]), "fingerprint": row["fingerprint"], "guard": row["withheld_by"]},
                    personal={"sentence": row["sentence"]},
                    person_id=row["person_id"],
                    run_id=run.id,
                )
        return run

    def _row(
        self,
        run_id: uuid.UUID,
        position: int,
        judged: Judged,
        open_episodes: Mapping[str, uuid.UUID],
        sentences: Mapping[str, str],
    ) -> dict[str, Any]:
        change, drift = judged.change, judged.change.drift
        fingerprint = change.fingerprint(self._instance)
        decision = self._decisions.get(fingerprint)
        person = self._crowd.people.get(drift.person_id)
        return {
            "id": uuid.uuid4(),
            "run_id": run_id,
            "position": position,
            "target": self._name,
            "operation": change.operation.value,
            "drift": drift.kind.value,
            "person_id": uuid.UUID(drift.person_id) if drift.person_id else None,
            "account_id": drift.account_id,
            "entitlement": drift.entitlement.key if drift.entitlement else drift.field,
            "before": change.before,
            "after": change.after,
            "cause": drift.cause.name,
            "fingerprint": fingerprint,
            "episode_id": open_episodes[drift.key],
            "privileged": change.privileged,
            "gate": change.gate.value,
            "state": judged.state.value,
            "withheld_by": judged.reason,
            "sentence": sentences[drift.key],
            "why": {
                "cause": drift.cause.value,
                "rules": list(drift.rules),
                "source": [f"{i.source} {i.id}: {i.status}" for i in person.identities] if person else [],
                "policy": self._site.loaded.policy_hash,
            },
            "task": self._task(change),
            "decision_id": decision.id if decision else None,
        }

    def _task(self, change: Change) -> dict[str, Any]:
        """What apply needs to know later, as JSON: erased when the person is forgotten."""
        creation = self._creations.get(change.drift.person_id) if change.operation is Operation.CREATE else None
        return {
            "fields": {change.drift.field: change.drift.after} if change.drift.field else {},
            "hands": list(change.hands),
            **value_of(change),
            "account": {
                "login": creation.login,
                "email": creation.email,
                "profile": dict(creation.profile),
                "entitlements": sorted(e.key for e in creation.entitlements),
            }
            if creation
            else {},
        }

    def _who(self, drift: Drift) -> str:
        person = self._crowd.people.get(drift.person_id)
        if person is not None:
            return label_of(person)
        account = self._accounts.get(drift.account_id)
        return f"account {person_label('', account.login or account.id)}" if account else "somebody"

    def _finding(self, drift: Drift) -> str:
        return finding_sentence(drift, self._who(drift), self._catalogue.label)

    def _sentence(self, change: Change) -> str:
        return change_sentence(change.drift, self._who(change.drift), self._catalogue.label)


def _waivable(drift: Drift) -> bool:
    """Nobody accepts that somebody who has departed, or may be the one who has, can still get in."""
    return drift.cause is not Cause.DEPARTED and not drift.urgent


def _waiver_key(drift: Drift) -> tuple[str, str, str]:
    return drift.account_id, drift.entitlement.key if drift.entitlement else drift.field, drift.kind.value
