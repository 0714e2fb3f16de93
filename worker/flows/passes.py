"""Whole passes: read every source and target, plan for each target, and apply where asked."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.core.drift import Cause, DriftKind
from worker.core.guardrails import Judged, State
from worker.core.plan import TAKING
from worker.core.render import counted
from worker.core.windows import Closed
from worker.errors import Misconfigured, Paused, Refused, TrueupError
from worker.flows import guards, home, offboarding
from worker.flows.apply import apply, settle
from worker.flows.crowd import gather
from worker.flows.effects import Applied
from worker.flows.reading import read
from worker.flows.reconcile import Reconciled, reconcile
from worker.flows.site import Site
from worker.flows.threads import threads
from worker.private import writing
from worker.store import installations, runs

SAVED_FORMAT = "trueup plan 1"
_MAKE_ONE = "make one with `trueup plan --out FILE`"


@dataclass
class Outlook:
    """What a pass found and did. `failures` are (connector, sentence); `settled` are steps of an earlier run that was
    cut off, and what became of them."""

    plans: list[Reconciled] = field(default_factory=list)
    applied: list[Applied] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    restored: str = ""  # why the books must be taken for restored, so that nothing is applied
    closed: dict[str, Closed] = field(default_factory=dict)  # targets that may not be changed now
    leavers: list[str] = field(default_factory=list)  # what stood in the way of offboardings

    def waits(self) -> dict[str, str]:
        """By target, what waits for its window or the end of a freeze: `3 changes wait for the window of looker`."""
        found = {p.target: (sum(map(_may_wait, p.judged)), self.closed.get(p.target)) for p in self.plans}
        found |= {run.target: (run.waiting, run.closed) for run in self.applied}
        return {
            target: f"{counted(number, 'change')} {'waits' if number == 1 else 'wait'} for {closed}"
            for target, (number, closed) in found.items()
            if number and closed
        }

    @property
    def tripped(self) -> list[str]:
        return [f"{plan.target}: {reason}" for plan in self.plans for reason in plan.tripped]

    @property
    def troubles(self) -> list[str]:
        """What went wrong while applying, and what nothing is applied for."""
        away = [f"{self.restored} {home.REMEDY}."] if self.restored else []
        return [*away, *self.leavers] + [
            t for run in self.applied for t in (*run.problems, *([run.stopped] if run.stopped else []))
        ]

    def open_changes(self) -> int:
        """Changes to apply or to decide about. What was applied is no longer one."""
        made = sum(len(run.finished) for run in self.applied)
        return sum(plan.count(State.OPEN, State.WAITING) for plan in self.plans) - made

    def standing(self) -> Counter[str]:
        """Findings that no machine cures, by what people call them."""
        found: Counter[str] = Counter()
        for plan in self.plans:
            found.update(_NOUNS.get(d.kind, d.kind.value) for d in plan.standing)
            found["waived"] += plan.waived + plan.count(State.WAIVED)
            found["manual"] += plan.count(State.MANUAL)
            found["rejected"] += plan.count(State.REJECTED)
        return +found

    def exit_code(self, *, strict: bool = False) -> int:
        """0 nothing open, 2 something to apply or to decide, 1 an error or a tripped guard."""
        if self.failures or self.tripped or self.troubles:
            return 1
        return 2 if self.open_changes() or (strict and self.standing()) else 0

    def closing_line(self) -> str:
        """The counting sentence that a pass ends with."""
        states: Counter[State] = Counter(j.state for plan in self.plans for j in plan.judged)
        parts = [
            counted(sum(len(run.finished) for run in self.applied), "change") + " applied" if self.applied else "",
            f"{counted(self.open_changes(), 'change')} open"
            + (f" ({states[State.WAITING]} waiting for review)" if states[State.WAITING] else ""),
            f"{states[State.WITHHELD]} withheld" if states[State.WITHHELD] else "",
            *self.waits().values(),
        ]
        findings = ", ".join(
            counted(number, noun, _PLURALS.get(noun, noun)) for noun, number in sorted(self.standing().items())
        )
        return f"{', '.join(filter(None, parts))}; standing findings: {findings or 'none'}."


_NOUNS: Mapping[DriftKind, str] = {
    DriftKind.ORPHAN: "orphan",
    DriftKind.DISPUTED: "disputed",
    DriftKind.UNEVALUABLE_RULE: "unevaluable",
    DriftKind.HELD_PERSON: "held",
    DriftKind.DISPUTED_PERSON: "person in dispute",
    DriftKind.SOURCES_DISAGREE: "disagreement",
}
_PLURALS = {"orphan": "orphans", "person in dispute": "people in dispute", "disagreement": "disagreements"}


def _may_wait(judged: Judged) -> bool:
    """Whether it is to be made, and not to take from somebody who has departed."""
    change = judged.change
    urgent = change.drift.cause is Cause.DEPARTED and change.operation in TAKING
    return judged.state is State.OPEN and not urgent


def plan(site: Site, reason: str = "plan") -> Outlook:
    """Read everything and store a plan for each target. What cannot be read is a failure, and concerns nobody else."""
    outlook = Outlook(restored=home.look(site))
    _read_all(site, outlook)
    unread = {name for name, _ in outlook.failures}
    crowd = gather(site, unread)
    for name in site.targets:
        if name not in unread:
            with _own_trouble(outlook, name):
                outlook.plans.append(reconcile(site, name, crowd, reason))
                closed = guards.closed(site, name)
                if closed is not None:
                    outlook.closed[name] = closed
    return outlook


def _read_all(site: Site, outlook: Outlook) -> None:
    """Every connector at once: they wait for different vendors. A pause or Ctrl-C ends all before their next call."""

    def read_target(name: str) -> None:
        outlook.settled.extend(settle(site, name))
        read(site, name)

    try:
        with threads(site, len(site.sources) + len(site.targets)) as hands, ExitStack() as otherwise:
            otherwise.callback(site.stopped.set)
            reading: dict[str, Future[object]] = {name: hands.submit(read, site, name) for name in site.sources}
            reading |= {name: hands.submit(read_target, name) for name in site.targets}
            for name, one in reading.items():
                with _own_trouble(outlook, name):
                    one.result()
            otherwise.pop_all()
    finally:
        site.stopped.clear()  # every thread has ended, and this site may be asked for another pass


def sync(site: Site, reason: str = "sync") -> Outlook:
    """Plan, and make every change whose gate is open."""
    outlook = plan(site, reason)
    if not outlook.restored:
        outlook.leavers = offboarding.work_due(site)  # before the rest: what they hand over stops with the lock-out
    _apply_all(site, outlook, None)
    return outlook


def apply_saved(site: Site, saved: Mapping[str, Any]) -> Outlook:
    """Plan afresh and make only those open changes that the saved plan has too; it opens no gate."""
    _refuse_foreign(site, saved)
    wanted = frozenset(change["fingerprint"] for target in saved["targets"].values() for change in target)
    outlook = plan(site, "apply")
    _apply_all(site, outlook, wanted)
    return outlook


def _apply_all(site: Site, outlook: Outlook, only: frozenset[str] | None) -> None:
    if outlook.restored:
        return
    for planned in outlook.plans:
        site.say(f"Applying to {planned.target}")
        with _own_trouble(outlook, planned.target):
            outlook.applied.append(apply(site, planned.run_id, only))


def save(site: Site, outlook: Outlook, path: Path) -> None:
    """Write a plan to a file: what it would do, and exactly which installations, policy and reads it rests on."""
    with site.begin() as session:
        instances = {p.target: installations.instance_of(session, p.target) for p in outlook.plans}
    saved = {
        "format": SAVED_FORMAT,
        "made_at": site.now().astimezone(dt.UTC).isoformat(),
        "policy": site.loaded.policy_hash,
        "instances": instances,
        "runs": {p.target: str(p.run_id) for p in outlook.plans},
        "targets": {
            p.target: [
                {
                    "fingerprint": p.fingerprints[j.change.drift.key],
                    "state": j.state.value,
                    "sentence": p.sentences[j.change.drift.key],
                }
                for j in p.judged
            ]
            for p in outlook.plans
        },
    }
    with writing(path) as file:
        file.write(json.dumps(saved, indent=2, ensure_ascii=False) + "\n")


def refuse_overwriting(path: Path) -> None:
    """A plan takes the place of a plan, and of nothing else: `--out trueup.yaml` is easily typed."""
    if path.is_file():
        try:
            load_saved(path)
        except Misconfigured as error:
            raise Misconfigured(
                f"{path} is there already and is no saved plan; name another file with --out."
            ) from error


def last_plan(site: Site) -> dict[str, Any]:
    """What the last plan of each target showed, as `save` would have written it."""
    with site.begin() as session:
        found = {name: run for name in site.targets if (run := runs.latest_run(session, name)) is not None}
        if not found:
            raise Refused("There is no plan yet to apply; run `trueup plan` first.")
        return {
            "format": SAVED_FORMAT,
            "policy": next(iter(found.values())).policy_hash,
            "instances": {name: installations.instance_of(session, name) for name in found},
            "targets": {
                name: [{"fingerprint": change.fingerprint} for change in runs.changes_of(session, run.id)]
                for name, run in found.items()
            },
        }


def load_saved(path: Path) -> dict[str, Any]:
    """A plan that `save` wrote. Raises Misconfigured for anything else."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"The plan {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"{path} is not a saved plan ({error}); {_MAKE_ONE}.") from error
    if not _is_plan(saved):
        raise Misconfigured(f"{path} is not a whole plan of this Trueup; {_MAKE_ONE}.")
    found: dict[str, Any] = saved
    return found


def _is_plan(saved: Any) -> bool:
    """Whether everything is there that `apply_saved` looks at; the file may have been edited by hand."""
    match saved:
        case {"format": str(format), "policy": str(), "instances": dict(), "targets": dict(targets)}:
            changes = [c for of_target in targets.values() for c in (of_target if type(of_target) is list else [None])]
            return format == SAVED_FORMAT and all(
                isinstance(change, dict) and isinstance(change.get("fingerprint"), str) for change in changes
            )
    return False


def _refuse_foreign(site: Site, saved: Mapping[str, Any]) -> None:
    if saved["policy"] != site.loaded.policy_hash:
        raise Refused("The policy has changed since this plan was saved; plan again.")
    with site.begin() as session:
        for target, instance in saved["instances"].items():
            pinned = installations.instance_of(session, target)
            if pinned != instance:
                raise Refused(f"This plan is for another installation of {target} ({instance}, not {pinned}).")


@contextmanager
def _own_trouble(outlook: Outlook, name: str) -> Iterator[None]:
    """One connector's trouble is its own: it is told, and the others go on. A pause is everybody's."""
    try:
        yield
    except Paused:
        raise
    except TrueupError as error:
        outlook.failures.append((name, str(error)))
