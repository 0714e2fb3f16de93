"""Makes the open changes of one account, under one claim: the only code in Trueup that changes a target.

Per step: record what is about to be done, do it, record what came of it. A crash leaves a step `attempted`, and that is
settled by re-reading before anything else happens to the account.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version

from sqlmodel import Session

from worker import logs
from worker.core.drift import Cause
from worker.core.guardrails import State, Tally, counts_as
from worker.core.identity import ATTRIBUTE, Account, Entitlement
from worker.core.plan import GIVING, TAKING, Operation
from worker.core.windows import Closed
from worker.errors import (
    Denied,
    Lost,
    Misconfigured,
    Misshapen,
    Paused,
    Refused,
    Rejected,
    TrueupError,
    Unavailable,
    Unknown,
)  # fmt: skip
from worker.flows import guards, home
from worker.flows.site import Site
from worker.ports import Made, Outcome, Step, Target, Task
from worker.rest import CALLS_END, LANE, LAST_WORD
from worker.store import decisions, episodes, installations, leases, mirror, notices, people, runs, sweep
from worker.store.leases import Held
from worker.store.tables import ChangeRow, Run

MARKED = frozenset(operation.value for operation in GIVING)  # what nobody gets who is marked as departed
OPENING = MARKED - {Operation.REPLACE.value}  # what waits for a filter
INTERRUPTED = "interrupted"
FAILED = frozenset({o.value for o in (Outcome.FAILED, Outcome.REFUSED, Outcome.UNKNOWN)})
DONE = frozenset({Outcome.APPLIED, Outcome.ALREADY_SO, Outcome.FOUND_APPLIED})


@dataclass
class Applied:
    """What came of a run. `stopped` says why it ended early; `problems` are sentences about single changes."""

    target: str
    run_id: uuid.UUID
    done: list[str] = field(default_factory=list)  # sentences
    problems: list[str] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)  # ids of changes that came about
    stopped: str = ""
    waiting: int = 0  # changes that are left open until `closed` opens
    closed: Closed | None = None


class AccountWork:
    """The open changes of one account, made under one claim. `seen` is the account as the plan saw it, where that was
    not in the mirror."""

    def __init__(
        self, site: Site, run: Run, changes: Sequence[ChangeRow], applied: Applied, seen: Account | None = None
    ) -> None:
        self._site, self._run, self._applied, self._seen = site, run, applied, seen
        self._changes = {str(c.id): c for c in changes}
        first = changes[0]
        self._person_id = str(first.person_id) if first.person_id else ""
        self._subject = first.account_id or f"person {first.person_id}"
        self._account_id = first.account_id
        self._target: Target = site.targets[run.target]
        self._position = 0
        self._spent: set[uuid.UUID] = set()  # changes whose approval has been used up

    def work(self) -> None:
        """Claim the account and make its steps. Raises Unavailable or Denied when the run cannot go on."""
        home.refuse_restored(self._site)
        self._wait_for_window()
        if not self._changes:
            return
        with self._site.begin() as session:
            held = leases.take(
                session, f"account {self._run.target} {self._subject}", self._site.owner, self._site.claim
            )
        if held is None:
            self._leave("another Trueup is at work on this account just now")
            return
        self._held = held
        lane = LANE.set("leaver" if all(c.cause == Cause.DEPARTED.name for c in self._changes.values()) else "")
        try:
            self._work_claimed()
        except Lost as error:
            self._leave(str(error))
        finally:
            LANE.reset(lane)
            with self._site.begin() as session:
                leases.release(session, self._held)

    def _work_claimed(self) -> None:
        """Raises Lost when somebody else has taken the account over: nothing more is written about it here."""
        try:
            settle_account(self._site, self._run.target, self._subject, self._held, self._run.id)
            self._look_again()
            if self._changes:
                account = self._account()
                self._make_all(self._target.steps(account, [self._task(c) for c in self._changes.values()]))
        except Lost:
            raise
        except Refused as error:
            unfinished = [id for id, change in self._changes.items() if change.state == State.OPEN.value]
            self._end(unfinished, "refused", str(error))

    def _wait_for_window(self) -> None:
        """Outside its window a target is changed only to take from people who have departed."""
        closed = guards.closed(self._site, self._run.target)
        if closed is not None:
            urgent = {id: c for id, c in self._changes.items() if is_urgent(c)}
            self._applied.waiting += len(self._changes) - len(urgent)
            self._applied.closed = closed
            self._changes = urgent

    def _look_again(self) -> None:
        """Under the claim: another worker may have made some of these meanwhile, or have died in the middle of one.
        What was begun and came about has used its approval up for good reason, and every step can be made twice."""
        with self._site.begin() as session:
            still = runs.still_open(session, self._changes)
            self._changes = {id: change for id, change in self._changes.items() if id in still}
            begun = runs.begun(session, self._run.id, self._subject)
            self._instance = installations.instance_of(session, self._run.target)
            self._refuse_unfiltered(session)
        self._spent |= {change.id for id, change in self._changes.items() if id in begun}

    def _refuse_unfiltered(self, session: Session) -> None:
        """Nothing is given where a filter is amiss that is not set here and now: its step failed before its worker
        died, or it is not among what is applied."""
        amiss = runs.filters_amiss(session, self._run.id, self._account_id) - self._changes.keys()
        giving = [id for id in self._changes if amiss and self._gives([id]) and not self._filters([id])]
        if giving:
            self._end_in(session, giving, "skipped", "a filter of the account has to be right first")
            self._changes = {id: change for id, change in self._changes.items() if id not in giving}

    def _account(self) -> Account:
        """As the plan saw it; for a create, as it should become."""
        if self._seen is not None:
            return self._seen
        if self._account_id:
            with self._site.begin() as session:
                found = mirror.account_rows_of(session, self._run.target, [self._account_id])
            if self._account_id not in found:
                raise Refused(f"account {self._account_id} is gone since this plan was made")
            return found[self._account_id]
        wanted = next(iter(self._changes.values())).task["account"]
        entitlements = frozenset(Entitlement.parse(key) for key in wanted["entitlements"])
        return Account("", wanted["login"], wanted["email"], True, wanted["profile"], entitlements)

    def _task(self, change: ChangeRow) -> Task:
        operation = Operation(change.operation)
        keyed = operation in (Operation.GRANT, Operation.REVOKE, Operation.REPLACE)
        entitlement = Entitlement.parse(change.entitlement) if keyed else None
        if entitlement and entitlement.kind == ATTRIBUTE:
            entitlement = replace(entitlement, scope=change.task["value"])
        return Task(str(change.id), operation, entitlement, dict(change.task["fields"]))

    def _make_all(self, steps: Sequence[Step]) -> None:
        """Every step in order. After one that fails nothing more is given on this account, but what takes goes on: one
        token that cannot be deleted must not leave a leaver's roles in place."""
        pending = {id: sum(id in step.tasks for step in steps) for id in self._changes}
        failed: set[str] = set()
        for id in [id for id, number in pending.items() if number == 0]:
            self._end([id], Outcome.ALREADY_SO.value, "")
        for step in steps:
            tasks = step.tasks if self._takes(step.tasks) else tuple(t for t in step.tasks if t not in failed)
            if not tasks or (failed and self._gives(tasks)):
                failed.update(tasks)
                continue
            made = self._make(replace(step, tasks=tasks, account_id=step.account_id or self._account_id))
            if made is None or made.outcome not in DONE:
                failed.update(tasks)
            for id in tasks:
                pending[id] -= 1
                if pending[id] == 0 and id not in failed and made is not None:
                    self._end([id], made.outcome.value, "")
        left = [id for id in failed if self._changes[id].state == State.OPEN.value]
        self._end(left, "skipped", "an earlier step on the same account did not succeed")

    def _takes(self, tasks: Sequence[str]) -> bool:
        return all(self._changes[t].operation in TAKING for t in tasks)

    def _gives(self, tasks: Sequence[str]) -> bool:
        return any(self._changes[t].operation in OPENING for t in tasks)

    def _filters(self, tasks: Sequence[str]) -> bool:
        return any(Entitlement.parse(self._changes[t].entitlement).kind == ATTRIBUTE for t in tasks)

    def _make(self, step: Step) -> Made | None:
        """One step to its end: again while the connector says that more of the same remains. None when not begun."""
        while True:
            with self._site.begin() as session:
                step_id = self._begin(session, step)
            if step_id is None:
                return None
            made = self._call(step, step_id)
            if not made.again:
                return made

    def _begin(self, session: Session, step: Step) -> uuid.UUID | None:
        """Everything that must still hold at this moment, and then `attempted`; None when something does not."""
        site, now = self._site, self._site.now()
        self._held = leases.renew(session, self._held, site.claim)
        giving = [t for t in step.tasks if self._changes[t].operation in MARKED]
        if giving and self._person_id and people.departure_marked(session, self._person_id):
            self._end_in(session, step.tasks, "refused", "the person has departed meanwhile")
            return None
        if giving and self._person_id and people.merged(session, self._person_id):
            self._end_in(session, step.tasks, "refused", "they have turned out to be somebody whom we know already")
            return None
        if not self._account_id and people.has_account(session, self._run.target, self._person_id):
            self._end_in(session, step.tasks, "refused", "an account there has turned out to be theirs")
            return None
        if self._account_id and not people.owns(session, self._run.target, self._account_id, self._person_id):
            self._end_in(session, step.tasks, "refused", "somebody has said meanwhile that the account is not theirs")
            return None
        over = self._over_limit(session, step)
        if over:
            self._end_in(session, step.tasks, State.WITHHELD.value, over)
            return None
        for change in (self._changes[t] for t in step.tasks):
            if not self._spend_decision(session, change):
                self._end_in(session, step.tasks, State.WAITING.value, "its approval is used up or has expired")
                return None
        if self._filters(step.tasks):
            sweep.forget(session, self._run.target, self._account_id)
        self._position += 1
        step_id = runs.attempt(
            session, run_id=self._run.id, target=self._run.target, person_id=self._person_id,
            position=self._position, step=step, owner=site.owner, fence=self._held.fence, now=now,
        )  # fmt: skip
        runs.count_effects(session, step_id, self._run.target, self._person_id, self._counting(step), now)
        self._record_attempt(session, step, step_id)
        return step_id

    def _over_limit(self, session: Session, step: Step) -> str:
        """The rolling limits again, now: other workers count as well. What a human approved is not held up, unless it
        gives power: then the day's limit is for whoever approves more of it than any day can need."""
        counting = self._counting(step)
        if not counting:
            return ""
        ceilings, now = self._site.loaded.settings.limits.ceilings().ceilings, self._site.now()
        leases.turn(session, f"limits {self._run.target}")
        already = runs.counted_already(session, self._run.target, self._person_id, counting, now)
        new = Counter(kind for id, kind in counting.items() if id not in already and self._is_limited(id, kind))
        done = runs.recent_effects(session, self._run.target, now) if new else Counter()
        for kind, number in new.items():
            more = 1 if kind is Tally.DEPARTURES else number  # these are people, and a step is about one
            if done[kind] + more > ceilings[kind].per_day:
                return (
                    f"{done[kind]} {kind} in the last 24 hours already, at most {ceilings[kind].per_day}"
                    f" (limits.{kind.name.lower()}.per_day)"
                )
        return ""

    def _counting(self, step: Step) -> dict[str, Tally]:
        """By change, what of a step counts towards a limit."""
        kinds = {id: _tally(self._changes[id]) for id in step.tasks}
        return {id: kind for id, kind in kinds.items() if kind is not None}

    def _is_limited(self, change_id: str, kind: Tally) -> bool:
        return self._changes[change_id].decision_id is None or kind is Tally.PRIVILEGED_GRANTS

    def _spend_decision(self, session: Session, change: ChangeRow) -> bool:
        """Use up the approval that opened the gate, at the change's first step."""
        if change.decision_id is None or change.id in self._spent:
            return True
        spent = decisions.use(session, change.fingerprint, change.episode_id, self._site.now())
        if spent is not None:
            self._spent.add(change.id)
        return spent is not None

    def _record_attempt(self, session: Session, step: Step, step_id: uuid.UUID) -> None:
        changes = [self._changes[t] for t in step.tasks]
        self._site.record(session, self._site.event("step attempted",
            {
                "step": str(step_id), "target": self._run.target, "account": step.account_id, "verb": step.verb,
                "fence": str(self._held.fence), "trueup": version("trueup"),
                "instance": self._instance,
                "changes": [
                    {
                        "change": str(c.id), "operation": c.operation, "entitlement": c.entitlement,
                        "fingerprint": c.fingerprint, "cause": c.cause, "rules": list(c.why["rules"]),
                        "source": list(c.why["source"]), "policy": c.why["policy"],
                        "gate": c.gate, "episode": str(c.episode_id), "approval": str(c.decision_id or ""),
                    }
                    for c in changes
                ],
            },
            personal={"sentence": step.sentence, "changes": "; ".join(c.sentence for c in changes)},
            person_id=uuid.UUID(self._person_id) if self._person_id else None,
            run_id=self._run.id,
        ))  # fmt: skip

    def _call(self, step: Step, step_id: uuid.UUID) -> Made:
        with logs.bound(run=self._run.id, step=step_id, change=" ".join(step.tasks)):
            last_word = self._refuse_departed if self._gives(step.tasks) else None
            made, stop = make(self._target, step, self._held, last_word)
        with self._site.begin() as session:
            self._conclude(session, step_id, made, nothing_happened=stop is not None)
        if made.outcome is Outcome.UNKNOWN:
            made = self._find_out(step, step_id, made)
        if stop is not None:
            raise stop
        if made.outcome not in DONE and not made.again:
            self._end(step.tasks, made.outcome.value, made.detail)
        return made

    def _refuse_departed(self) -> None:
        """They may have been marked since the step was begun: while its call waited, or the account was looked at."""
        with self._site.begin() as session:
            if self._person_id and people.departure_marked(session, self._person_id):
                raise Refused("the person has departed meanwhile")

    def _find_out(self, step: Step, step_id: uuid.UUID, made: Made) -> Made:
        """An unknown outcome is settled by re-reading at once; if that fails too, the next run does it first."""
        try:
            found = self._target.settled(replace(step, account_id=step.account_id or self._account_id))
        except TrueupError as error:
            return replace(made, detail=f"{made.detail} And re-reading failed: {error}")
        with self._site.begin() as session:
            self._conclude(session, step_id, found)
        return found

    def _conclude(self, session: Session, step_id: uuid.UUID, made: Made, *, nothing_happened: bool = False) -> None:
        leases.still_ours(session, self._held)
        record_outcome(self._site, session, step_id, made, nothing_happened=nothing_happened)
        if made.account_id and not self._account_id:
            self._account_id = made.account_id

    def _leave(self, reason: str) -> None:
        for change in (c for c in self._changes.values() if c.state == State.OPEN.value):
            self._applied.problems.append(f"{change.sentence}: left for the next run, {reason}")

    def _end(self, change_ids: Sequence[str], state: str, note: str) -> None:
        if change_ids:
            with self._site.begin() as session:
                leases.still_ours(session, self._held)
                self._end_in(session, change_ids, state, note)

    def _end_in(self, session: Session, change_ids: Sequence[str], state: str, note: str) -> None:
        runs.set_states(session, change_ids, state, note)
        if state in FAILED:
            notices.change_failed(session, change_ids, self._site.now())
        for id in change_ids:
            self._changes[id].state = state
            if state in {o.value for o in DONE}:
                how = "" if state == Outcome.APPLIED.value else f" ({state})"
                self._applied.done.append(self._changes[id].sentence + how)
            else:
                self._applied.problems.append(f"{self._changes[id].sentence}: {state}{f', {note}' if note else ''}")
        if state in {o.value for o in DONE}:
            self._applied.finished.update(change_ids)
            episodes.close(session, [self._changes[id].episode_id for id in change_ids], self._site.now())


def make(
    target: Target, step: Step, held: Held, last_word: Callable[[], None] | None = None
) -> tuple[Made, TrueupError | None]:
    """The one place where a target is changed, and what each kind of error means for the record; beside it the error
    that nobody goes on after. `last_word` is asked right before the change is sent."""
    token, word = CALLS_END.set(held.ends), LAST_WORD.set(last_word)
    try:
        return target.apply(step), None
    except Unknown as error:
        return Made(Outcome.UNKNOWN, str(error)), None
    except (Misshapen, Misconfigured) as error:  # its read-back may have been the call that met a gateway
        return Made(Outcome.UNKNOWN, str(error)), None
    except Rejected as error:
        return Made(Outcome.FAILED, str(error)), None
    except Refused as error:
        return Made(Outcome.REFUSED, str(error)), None
    except (Unavailable, Denied) as error:  # nothing happened
        return Made(Outcome.REFUSED if isinstance(error, Paused) else Outcome.FAILED, str(error)), error
    finally:
        CALLS_END.reset(token)
        LAST_WORD.reset(word)


def is_urgent(change: ChangeRow) -> bool:
    """Whether it takes from somebody who has departed, which waits for no window."""
    return change.cause == Cause.DEPARTED.name and change.operation in TAKING


def _tally(change: ChangeRow) -> Tally | None:
    return counts_as(Operation(change.operation), Cause[change.cause], change.privileged)


def record_outcome(
    site: Site, session: Session, step_id: uuid.UUID, made: Made, *, nothing_happened: bool = False
) -> None:
    """The step's end in the table and in the trail; an account that it created belongs to its person from now on."""
    row = runs.finish(session, step_id, made, site.now())
    if nothing_happened or made.outcome is Outcome.FOUND_NOT_APPLIED:
        decisions.give_back(session, row.change_ids)
    if made.account_id and row.person_id is not None:
        people.own_created(session, row.target, made.account_id, str(row.person_id), site.actor, site.now())
    site.record(session, site.event("step ended",
        {
            "step": str(step_id), "target": row.target, "account": row.account_id, "outcome": made.outcome.value,
            "request": made.request_id, "changes": list(row.change_ids),
        },
        personal={"detail": made.detail, "before": made.before, "after": made.after},
        person_id=row.person_id,
        run_id=row.run_id))  # fmt: skip


def settle_account(site: Site, name: str, subject: str, held: Held, live: uuid.UUID | None = None) -> list[str]:
    """Re-read what became of the account's steps whose outcome is not known. Changes of the run `live`, which goes on,
    stay open; any other is left to the next comparison, which tells whether the whole of it came about."""
    with site.begin() as session:
        rows = [
            r
            for r in runs.unsettled(session, name)
            if subject in (r.account_id, f"person {r.person_id}") and r.change_ids  # of heirlooms: see bequest
        ]
    told = []
    for row in rows:
        made = site.targets[name].settled(runs.as_step(row))
        with site.begin() as session:
            leases.still_ours(session, held)
            record_outcome(site, session, row.id, made)
            if row.run_id != live or subject != row.account_id:  # a create is not begun twice
                runs.set_states(session, row.change_ids, INTERRUPTED)
        told.append(f"{row.sentence}: {made.outcome.value}")
    return told
