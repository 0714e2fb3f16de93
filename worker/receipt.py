"""Writes receipts down: a page to print and keep, lines for a terminal, and the report of many against an objective."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined

from worker.core.receipt import SETTLED, Comeback, Fate, Line, Receipt
from worker.core.render import counted
from worker.report import digest, iso, moment, name, shown, typed

FORMAT = "trueup leavers report 1"


@dataclass(frozen=True, slots=True)
class Words:
    """How the page speaks of a fate: what its badge says, its tone, and what a reader is told beside its number."""

    title: str
    tone: str
    about: str


FATES: Mapping[Fate, Words] = {
    Fate.MANUAL: Words("manual", "bad", "do this"),
    Fate.UNSEEN: Words("cannot be seen", "held", "and so nobody can say that it is gone"),
    Fate.UNTIL: Words("valid until", "held", "ends by itself"),
    Fate.PENDING: Words("not done yet", "decide", "Trueup goes on by itself"),
    Fate.GONE: Words("gone, verified", "good", "looked for again, and not there"),
    Fate.OVER: Words("ended by itself", "good", "its time has passed"),
    Fate.HANDED_OVER: Words("handed over", "good", "it works on for others"),
    Fate.STAYS: Words("stays", "quiet", "and lets nobody in"),
}
ALWAYS_TOLD = (Fate.MANUAL, Fate.UNSEEN, Fate.UNTIL, Fate.GONE)

TRIGGERS: Mapping[str, str] = {
    "operator": "a person asked", "api": "a program asked", "hook": "the source said so at once",
    "schedule": "the schedule noticed", "watch": "a leaver reappeared",
}  # fmt: skip

COMEBACKS: Mapping[Comeback, str] = {
    Comeback.POLICY: "Comes back by policy, if the source says that they are back and the policy still gives it",
    Comeback.RECEIPT: "Comes back with `trueup restore`, once their account works again",
    Comeback.LOST: "Lost for good: it has to be made anew, or given by hand",
}


def seconds(took: float | None) -> str:
    """`0.8 s`, `12 s`, `3 min 05 s`, `2 h 10 min`; a dash for what has not happened."""
    if took is None:
        return "–"
    if took < 10:
        return f"{took:.1f} s"
    whole = round(took)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def milestones(receipt: Receipt) -> list[tuple[str, str, str]]:
    """(what, how long after the trigger, when): the way from the first word to the receipt."""
    steps = [
        ("marked: nothing is given", receipt.marked_at),
        ("locked out everywhere", receipt.locked_at),
        ("verified by looking again", receipt.verified_at),
    ]
    return [(what, seconds(receipt.seconds(at)), moment(at) if at else "") for what, at in steps]


def tallies(receipt: Receipt) -> list[tuple[Fate, int]]:
    found = {fate: sum(line.fate is fate for line in receipt.lines) for fate in FATES}
    return [(fate, number) for fate, number in found.items() if number or fate in ALWAYS_TOLD]


def by_account(receipt: Receipt) -> list[tuple[str, str, str, list[Line]]]:
    """(target, account, its id, its lines)."""
    grouped = groupby(receipt.lines, key=lambda line: (line.target, line.account, line.account_id))
    return [(*place, list(lines)) for place, lines in grouped]


def comebacks(receipt: Receipt) -> list[tuple[str, list[Line]]]:
    """What would bring things back, and which."""
    found = [(words, [line for line in receipt.lines if line.comeback is how]) for how, words in COMEBACKS.items()]
    return [(words, lines) for words, lines in found if lines]


def html(receipt: Receipt) -> str:
    """A page of its own: it loads nothing, runs nothing, and prints on A4."""
    environment = _environment()
    return environment.get_template("receipt.html").render(
        receipt=receipt,
        style_digest=digest(environment.get_template("receipt.css").render()),
        fates=FATES,
        fate=Fate,
        settled=SETTLED,
        triggers=TRIGGERS,
        tallies=tallies(receipt),
        milestones=milestones(receipt),
        accounts=by_account(receipt),
        comebacks=comebacks(receipt),
        who=_split(receipt.person),
    )


def _split(person: str) -> tuple[str, str]:
    """Name and login of `Ana Ruiz <ana@acme.example>`."""
    called, _, login = person.partition(" <")
    return called, login.removesuffix(">")


def clock(at: dt.datetime) -> str:
    """`09:24:07`, of a moment that is hardly ever another day's."""
    return f"{at.astimezone(dt.UTC):%H:%M:%S}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("worker"), autoescape=True, undefined=StrictUndefined, finalize=shown,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "moment": moment, "iso": iso, "counted": counted, "name": name, "typed": typed, "seconds": seconds,
        "clock": clock,
    }  # fmt: skip
    return environment


# --- on a terminal ----------------------------------------------------------------------------------------------------

_SIGNS: Mapping[Fate, str] = {
    Fate.GONE: "✓", Fate.HANDED_OVER: "→", Fate.STAYS: "·", Fate.UNTIL: "◷", Fate.UNSEEN: "?", Fate.MANUAL: "✎",
    Fate.PENDING: "…", Fate.OVER: "✓",
}  # fmt: skip
STYLES: Mapping[Fate, str] = {
    Fate.GONE: "green", Fate.HANDED_OVER: "green", Fate.STAYS: "dim", Fate.UNTIL: "yellow", Fate.UNSEEN: "yellow",
    Fate.MANUAL: "red", Fate.PENDING: "cyan", Fate.OVER: "green",
}  # fmt: skip


def text(receipt: Receipt) -> Iterator[tuple[str, str]]:
    """(line, style) for a terminal, in the order of the page."""
    yield f"{receipt.person}: {receipt.headline}", "bold green" if receipt.complete else "bold yellow"
    yield _story(receipt), ""
    for what, after, _ in milestones(receipt):
        yield f"  {after:>9}  {what}", ""
    for target, account, account_id, lines in by_account(receipt):
        yield f"{target}, account {account}" + (f" ({account_id})" if account_id != account else ""), "bold"
        for line in lines:
            yield f"  {_SIGNS[line.fate]} {_said(line)}", STYLES[line.fate]
            if line.fate is Fate.MANUAL:
                yield from ((f"      {place}. {step}", "") for place, step in enumerate(line.hands, 1))
    for target in receipt.without:
        yield f"{target}: no account of theirs", "dim"
    for target, why in receipt.unfinished.items():
        yield f"{target}: not finished: {why}", "yellow"
    if receipt.watched_until:
        yield f"Watched until {moment(receipt.watched_until)}: whoever reappears is dealt with at once.", "dim"


def _story(receipt: Receipt) -> str:
    how = TRIGGERS.get(receipt.trigger, receipt.trigger)
    forced = ", without the source's word" if receipt.forced else ""
    why = f": {receipt.reason}" if receipt.reason else ""
    return f"{moment(receipt.trigger_at)}, {how}{forced} ({receipt.asked_by}{why})"


def _said(line: Line) -> str:
    words = FATES[line.fate].title
    if line.until is not None:
        words = f"{'ended by itself' if line.fate is Fate.OVER else 'valid until'} {moment(line.until)}"
    because = f" ({line.because})" if line.because else ""
    return f"{line.what}: {words}{because}"


# --- many ------------------------------------------------------------------------------------------------------------


def leavers_table(receipts: Sequence[Receipt]) -> list[tuple[str, ...]]:
    """A row each: who, trigger, the source's event, the first lock-out, verified, in time, what remains."""
    return [
        (
            one.person, one.trigger, moment(one.event_at) if one.event_at else "–", seconds(one.seconds(one.locked_at)),
            seconds(one.seconds(one.verified_at)), {True: "yes", False: "no", None: "–"}[one.in_time],
            "nothing" if one.complete else (", ".join(one.remains) or one.state),
        )
        for one in receipts
    ]  # fmt: skip


LEAVER_COLUMNS = ("who", "trigger", "said by the source", "locked out", "verified", "in time", "what remains")


def leavers_line(receipts: Sequence[Receipt], objective: float) -> str:
    """`12 leavers, 11 of them verified within 60 s; median 4.2 s, 95 of 100 within 9.8 s; 3 partial.`"""
    taken = sorted(t for one in receipts if (t := one.seconds(one.verified_at)) is not None)
    within = sum(t <= objective for t in taken)
    parts = [f"{counted(len(receipts), 'leaver')}, {within} of them verified within {seconds(objective)}"]
    if taken:
        parts.append(f"median {seconds(_share(taken, 0.5))}, 95 of 100 within {seconds(_share(taken, 0.95))}")
    partial = sum(1 for one in receipts if not one.complete)
    return "; ".join([*parts, f"{partial} partial"]) + "."


def _share(ordered: Sequence[float], part: float) -> float:
    """The smallest that so large a part is not above."""
    return ordered[max(0, -(-int(len(ordered) * part * 1000) // 1000) - 1)] if ordered else 0.0


def leavers_data(receipts: Sequence[Receipt], objective: float) -> dict[str, object]:
    """JSON-ready."""
    return {
        "format": FORMAT,
        "summary": leavers_line(receipts, objective),
        "objective_seconds": objective,
        "leavers": [
            {
                "offboarding": one.id, "person": one.person_id, "name": one.person, "trigger": one.trigger,
                "state": one.state, "forced": one.forced, "requested_at": iso(one.requested_at),
                "source_event_at": iso(one.event_at) if one.event_at else None,
                "locked_out_seconds": one.seconds(one.locked_at), "verified_seconds": one.seconds(one.verified_at),
                "in_time": one.in_time, "complete": one.complete, "remains": list(one.remains),
            }
            for one in receipts
        ],
    }  # fmt: skip
