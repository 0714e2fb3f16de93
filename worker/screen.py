"""What the command line shows: rich tables and progress on a terminal, plain lines elsewhere, JSON where asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from worker.core.findings import HANDLE
from worker.core.guardrails import ASK, Judged, State
from worker.core.render import counted, quoted
from worker.flows.passes import Outlook
from worker.flows.reconcile import Reconciled
from worker.flows.restored import Restored

SHOWN = 60  # changes per target that a screen lists; --json and --out have them all

_SIGNS = {
    State.OPEN: ("→", "green"),
    State.WAITING: ("?", "yellow"),
    State.WITHHELD: ("!", "red"),
    State.MANUAL: ("✎", "cyan"),
    State.WAIVED: ("~", "dim"),
    State.REJECTED: ("x", "dim"),
}


class Screen:
    """Standard output for results, standard error for progress and troubles. `as_json` silences all but the result."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def progress(self, text: str) -> None:
        """One step of something that takes a while."""
        if not self.as_json:
            self.err.print(f"[dim]{_safe(text)} …[/dim]" if self.err.is_terminal else _safe(text))

    def line(self, text: str = "", style: str = "") -> None:
        self.out.print(_safe(text), style=style or None)

    def heading(self, text: str) -> None:
        self.out.print()
        self.out.print(_safe(text), style="bold")

    def trouble(self, text: str, label: str = "error") -> None:
        self.err.print(f"[bold red]{_safe(label)}:[/bold red] {_safe(text)}")

    def json(self, data: Any) -> None:
        """Letters as they are; what a terminal might obey is written as JSON's own escapes."""
        text = json.dumps(data, indent=2, ensure_ascii=False, default=str)
        sys.stdout.write(_escaped(text, lambda c: json.dumps(c)[1:-1]) + "\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1, empty: str = "") -> None:
        """A table on a terminal, or a paragraph for each row where it would not fit, its last `texts` cells below the
        others; elsewhere one tab-separated line a row, which other tools can cut. `empty` is said instead of no rows.
        """
        if not self.out.is_terminal:
            for row in rows:
                sys.stdout.write("\t".join(quoted(cell, 2000) for cell in row) + "\n")
        elif rows:
            fits = _fits(columns, rows, self.out.width)
            self.out.print(_grid(columns, rows) if fits else _paragraphs(rows, texts), soft_wrap=False)
        if empty and not rows:
            self.line(empty) if self.out.is_terminal else self.progress(empty)

    def outlook(self, outlook: Outlook) -> None:
        """A whole pass: what was settled, each target's plan, what was applied, troubles, and the counting sentence."""
        for told in outlook.settled:
            self.line(f"settled from an earlier run: {told}")
        for plan in outlook.plans:
            self._plan(plan, applied=any(run.run_id == plan.run_id for run in outlook.applied))
        for target, waiting in outlook.waits().items():
            self.line(f"{target}: {waiting}")
        for run in outlook.applied:
            if run.done:
                self.heading(f"{run.target}: {counted(len(run.done), 'change')} applied")
                self._listed("✓", "green", run.done)
        for name, message in outlook.failures:
            self.trouble(message, name)
        for reason in outlook.tripped:
            self.trouble(reason, "guard")
        for problem in outlook.troubles:
            self.trouble(problem, "not done")
        self.out.print()
        self.line(outlook.closing_line(), "bold")

    def restored(self, found: Restored) -> None:
        """What books that were put back do not know."""
        self.line(found.why, "bold")
        self.line(found.trail)
        for text in found.differs[:SHOWN]:
            self.line(f"  {text}")
        if len(found.differs) > SHOWN:
            self.line(f"  and {len(found.differs) - SHOWN:,} more; `trueup db restored --json` has all of them")
        for name, message in found.failures:
            self.trouble(message, name)
        self.line(
            f"{counted(len(found.differs), 'difference')}. Every plan from here on rests on the fresh reads; when they"
            " are right, run `trueup db accept-restored --note WHY`."
        )

    def next_steps(self, outlook: Outlook) -> None:
        """What somebody can do about what is open, in the commands that do it."""
        states = {judged.state for plan in outlook.plans for judged in plan.judged}
        if State.OPEN in states and not outlook.applied:
            self.line("To make what has → before it: `trueup sync`.")
        if State.WAITING in states:
            self.line(
                "To decide about what has ? before it: `trueup review show`, `approve`, `reject` or `waive HANDLE`."
            )
        if outlook.standing()["disputed"] and not outlook.applied:
            self.line("To say whose a disputed account is: `trueup link PERSON TARGET ACCOUNT`.")

    def _plan(self, plan: Reconciled, *, applied: bool) -> None:
        shown = [j for j in plan.judged if not (applied and j.state is State.OPEN)]
        standing = () if applied else plan.standing  # whoever applies has seen the plan; `review list` has them all
        if not shown and not standing and not plan.notes:
            if not applied:
                self.heading(f"{plan.target}: nothing to do")
            return
        more = f", {counted(len(standing), 'standing finding')}" if standing else ""
        self.heading(f"{plan.target}: {counted(len(shown), 'change')}{' left' if applied else ''}{more}")
        for note in plan.notes:
            self.line(note)
        for judged in shown[:SHOWN]:
            sign, style = _SIGNS[judged.state]
            key = judged.change.drift.key
            note = _note(judged, plan.fingerprints[key][:HANDLE])
            self.out.print(f"  [{style}]{sign}[/{style}] {_safe(plan.sentences[key] + note)}")
        if len(shown) > SHOWN:
            self.line(f"  … and {len(shown) - SHOWN} more; --json and --out FILE have them all")
        self._listed("·", "dim", [plan.sentences[drift.key] for drift in standing])

    def _listed(self, sign: str, style: str, sentences: Sequence[str]) -> None:
        for sentence in sentences[:SHOWN]:
            self.out.print(f"  [{style}]{sign}[/{style}] {_safe(sentence)}")
        if len(sentences) > SHOWN:
            self.line(f"  … and {len(sentences) - SHOWN} more")


def _note(judged: Judged, handle: str) -> str:
    """The handle, and what the sign before the line does not say. A guard says the cure once, below."""
    if judged.state is State.OPEN:
        return ""
    reason = judged.reason.partition("; ")[0] if judged.state is State.WITHHELD else judged.reason
    return f"  [{handle}]" if judged.state is State.WAITING and reason == ASK else f"  [{handle}: {reason}]"


def _fits(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether each row has room on one line, two blanks between its cells."""
    widest = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]
    return sum(widest) + 2 * (len(widest) - 1) <= width


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(_safe(column), no_wrap=True)
    for row in rows:
        table.add_row(*(_safe(cell) for cell in row))
    return table


def _paragraphs(rows: Sequence[Sequence[str]], texts: int) -> RenderableType:
    """What names a row comes first, on a line of its own; then its sentences, wrapped and set in."""
    lines: list[RenderableType] = []
    for row in rows:
        lines.append(Text.from_markup(_safe("  ".join(row[:-texts])), style="bold", overflow="fold"))
        lines += [Padding(Text.from_markup(_safe(text)), (0, 0, 0, 4)) for text in row[-texts:] if text]
    return Group(*lines)


def _safe(text: str) -> str:
    """The last line of defence, wherever a text came from: no markup, and nothing that a terminal obeys or hides."""
    return escape(_escaped(text, lambda c: f"\\u{ord(c):04x}"))


def _escaped(text: str, escape_one: Callable[[str], str]) -> str:
    lines = text.split("\n")
    return "\n".join(
        line if line.isprintable() else "".join(c if c.isprintable() else escape_one(c) for c in line) for line in lines
    )


def outlook_data(outlook: Outlook, *, strict: bool) -> dict[str, Any]:
    """A pass as JSON-ready data."""
    return {
        "exit_code": outlook.exit_code(strict=strict),
        "summary": outlook.closing_line(),
        "waits": outlook.waits(),
        "targets": [
            {
                "target": plan.target,
                "run": str(plan.run_id),
                "notes": list(plan.notes),
                "guards": list(plan.tripped),
                "changes": [
                    {
                        "sentence": plan.sentences[j.change.drift.key],
                        "operation": j.change.operation.value,
                        "drift": j.change.drift.kind.value,
                        "person": j.change.drift.person_id,
                        "account": j.change.drift.account_id,
                        "entitlement": j.change.drift.entitlement.key if j.change.drift.entitlement else "",
                        "rules": list(j.change.drift.rules),
                        "privileged": j.change.privileged,
                        "gate": j.change.gate.value,
                        "state": j.state.value,
                        "reason": j.reason,
                        "by_hand": list(j.change.hands),
                        "fingerprint": plan.fingerprints[j.change.drift.key],
                    }
                    for j in plan.judged
                ],
                "standing": [
                    {
                        "sentence": plan.sentences[d.key],
                        "drift": d.kind.value,
                        "account": d.account_id,
                        "person": d.person_id,
                        "urgent": d.urgent,
                    }
                    for d in plan.standing
                ],
            }
            for plan in outlook.plans
        ],
        "applied": [
            {
                "target": run.target,
                "run": str(run.run_id),
                "done": run.done,
                "problems": run.problems,
                "stopped": run.stopped,
            }
            for run in outlook.applied
        ],
        "failures": [{"connector": name, "message": message} for name, message in outlook.failures],
        "settled": outlook.settled,
        "restored": outlook.restored,
    }
