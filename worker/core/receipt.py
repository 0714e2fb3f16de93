"""What became of everything that a leaver had: one line for each thing, and a headline that never says too much.

A line says `gone, verified` only where the last look at the account, after the last step, did not find it any more.
What ends by itself is `over` once its time has passed: that depends on when a receipt is read.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

FORMAT = "trueup receipt 1"
ACCOUNT = "account"  # stands for the account itself among the keys of entitlements: that somebody can get in


class Fate(StrEnum):
    """What became of one thing. The first four leave nothing open."""

    GONE = "gone, verified"
    OVER = "ended by itself"
    HANDED_OVER = "handed over"
    STAYS = "stays, and lets nobody in"
    UNTIL = "valid until"
    UNSEEN = "cannot be seen"
    MANUAL = "manual"
    PENDING = "not done yet"


DONE = "closed"  # the state of an offboarding that went to its end
CONTENT = "content"  # the kind of legacy that works on without its owner

SETTLED = frozenset({Fate.GONE, Fate.OVER, Fate.HANDED_OVER, Fate.STAYS})


class Comeback(StrEnum):
    """What would bring it back if they came back."""

    POLICY = "by policy"
    RECEIPT = "by trueup restore"
    LOST = "lost for good"
    NOTHING_TAKEN = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was theirs. `until` and `because` go with their fates; `hands` are exact steps for a human;
    `taken_at` is when a step of ours took it, `seen_at` when it was looked at last."""

    target: str
    account_id: str
    account: str
    key: str
    what: str
    fate: Fate
    because: str = ""
    until: dt.datetime | None = None
    hands: tuple[str, ...] = ()
    taken_at: dt.datetime | None = None
    seen_at: dt.datetime | None = None
    comeback: Comeback = Comeback.NOTHING_TAKEN


@dataclass(frozen=True, slots=True)
class Hidden:
    """What nobody shows us: `ends_at` is when it is over at the latest, `ended_at` when a step of ours ended it, which
    nobody can look at either."""

    what: str
    because: str
    hands: tuple[str, ...] = ()
    ends_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class Legacy:
    """Something of theirs that worked for others. `heir` is who has it now; `because` why nobody does."""

    kind: str
    id: str
    title: str
    container: str = ""
    heir: str = ""
    handed_at: dt.datetime | None = None
    because: str = ""
    caution: str = ""
    hands: tuple[str, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """All that is on record of one account. `seen` is everything that was ever found there, by key in words; `left`
    what the last look found, None while nobody has looked again since the last step. `done` is when a step took each,
    `troubles` why one is still there. `untouched` says why nothing is ever taken from it."""

    target: str
    account_id: str
    account: str
    seen: Mapping[str, str] = field(default_factory=dict)
    left: frozenset[str] | None = None
    looked_at: dt.datetime | None = None
    until: Mapping[str, dt.datetime] = field(default_factory=dict)
    done: Mapping[str, dt.datetime] = field(default_factory=dict)
    hands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    troubles: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[Hidden, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    legacies: tuple[Legacy, ...] = ()
    by_policy: frozenset[str] = frozenset()
    untouched: str = ""
    untouched_hands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """Everything that a reader needs who was not there. `unfinished` are targets that are not done, with the reason;
    `without` those where they have no account; `entries` are (number, kind) of the audit trail. `watched_until`:
    whoever reappears before is noticed."""

    id: str
    person_id: str
    person: str
    trigger: str
    reason: str
    asked_by: str
    decided_by: str
    forced: bool
    said: str
    state: str
    requested_at: dt.datetime
    event_at: dt.datetime | None = None
    marked_at: dt.datetime | None = None
    locked_at: dt.datetime | None = None
    verified_at: dt.datetime | None = None
    closed_at: dt.datetime | None = None
    watched_until: dt.datetime | None = None
    objective: float = 60.0  # seconds
    lines: tuple[Line, ...] = ()
    unfinished: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    entries: tuple[tuple[int, str], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do, to wait for or to wonder about. What ended without a last look is not."""
        looked = self.state == DONE and self.verified_at is not None
        return looked and not self.unfinished and all(line.fate in SETTLED for line in self.lines)

    @property
    def headline(self) -> str:
        if self.complete:
            return "No access left that Trueup can see"
        if self.closed_at and self.state != DONE:
            return f"Ended before it was done: {self.state}"
        return f"Partial: {', '.join(self.remains)}"

    @property
    def remains(self) -> tuple[str, ...]:
        """What is left, in words: `2 to do by hand`, `1 that nobody can see`."""
        found = Counter(line.fate for line in self.lines)
        parts = [f"{found[fate]:,} {words}" for fate, words in _REMAINS.items() if found[fate]]
        if self.unfinished:
            parts.append(f"{' and '.join(self.unfinished)} not finished")
        if not parts and not self.complete:
            parts.append("nothing was looked at yet")
        return tuple(parts)

    @property
    def trigger_at(self) -> dt.datetime:
        """The first word of it, which seconds are counted from."""
        return min(self.event_at, self.requested_at) if self.event_at else self.requested_at

    def seconds(self, at: dt.datetime | None) -> float | None:
        """From the trigger until then."""
        return None if at is None else max(0.0, (at - self.trigger_at).total_seconds())

    @property
    def in_time(self) -> bool | None:
        """Whether they were verified to be out within the objective; None while they are not."""
        taken = self.seconds(self.verified_at)
        return None if taken is None else taken <= self.objective


_REMAINS: Mapping[Fate, str] = {
    Fate.MANUAL: "to do by hand",
    Fate.PENDING: "not done yet",
    Fate.UNTIL: "valid for a while yet",
    Fate.UNSEEN: "that nobody can see",
}


def lines_of(trace: Trace) -> Iterator[Line]:
    """Each thing once: what was seen, what is kept, what nobody shows, and what worked for others."""
    place = (trace.target, trace.account_id, trace.account)
    if trace.untouched:
        yield Line(
            *place, ACCOUNT, "the account and everything in it", Fate.MANUAL, trace.untouched,
            hands=trace.untouched_hands, seen_at=trace.looked_at,
        )  # fmt: skip
        return
    unseen = {one.key for one in trace.hidden if one.key}
    for key in sorted((trace.seen.keys() | (trace.left or frozenset())) - unseen, key=_order):
        yield _line(trace, key)
    for label, why in sorted(trace.kept.items()):
        yield _kept(trace, label, why)
    for one in trace.hidden:
        yield _hidden(trace, one)
    for legacy in trace.legacies:
        yield _legacy(trace, legacy)


def _order(key: str) -> tuple[bool, str]:
    return key != ACCOUNT, key


def _line(trace: Trace, key: str) -> Line:
    taken = trace.done.get(key)
    fate, because, until = _fate(trace, key)
    came_off = fate is Fate.GONE
    return Line(
        trace.target, trace.account_id, trace.account, key, trace.seen.get(key, key), fate, because, until,
        hands=trace.hands.get(key, ()) if fate is Fate.MANUAL else (), taken_at=taken, seen_at=trace.looked_at,
        comeback=_comeback(trace, key) if came_off else Comeback.NOTHING_TAKEN,
    )  # fmt: skip


def _fate(trace: Trace, key: str) -> tuple[Fate, str, dt.datetime | None]:
    if trace.left is None:
        return Fate.PENDING, trace.troubles.get(key, ""), None
    if key not in trace.left:
        return Fate.GONE, "", None
    until = trace.until.get(key)
    if trace.hands.get(key) or until is None:
        return Fate.MANUAL, trace.troubles.get(key, "it is still there"), until
    return Fate.UNTIL, trace.troubles.get(key, ""), until


def _comeback(trace: Trace, key: str) -> Comeback:
    return Comeback.POLICY if key == ACCOUNT or key in trace.by_policy else Comeback.LOST


def _kept(trace: Trace, label: str, why: str) -> Line:
    """It lets nobody in only while the account does not work."""
    place = (trace.target, trace.account_id, trace.account, f"kept {label}", label)
    if trace.left is None:
        return Line(*place, Fate.PENDING, why, seen_at=trace.looked_at)
    if ACCOUNT in trace.left:
        hands = trace.hands.get(ACCOUNT, ())
        return Line(*place, Fate.MANUAL, f"{why}; and the account still works", hands=hands, seen_at=trace.looked_at)
    return Line(*place, Fate.STAYS, why, seen_at=trace.looked_at)


def _hidden(trace: Trace, one: Hidden) -> Line:
    because = one.because
    if one.ended_at is not None:
        because = f"{because}; Trueup ended it, and nobody can look whether it did".lstrip("; ")
    fate = Fate.UNTIL if one.ends_at is not None else Fate.UNSEEN
    return Line(
        trace.target, trace.account_id, trace.account, one.key or f"unseen {one.what}", one.what, fate, because,
        one.ends_at, one.hands, one.ended_at, trace.looked_at,
    )  # fmt: skip


def _legacy(trace: Trace, one: Legacy) -> Line:
    what = f"{one.kind} {one.title}" + (f" in {one.container}" if one.container else "")
    place = (trace.target, trace.account_id, trace.account, f"{one.kind} {one.id}", what)
    if one.handed_at is not None:
        return Line(
            *place, Fate.HANDED_OVER, f"to {one.heir}", taken_at=one.handed_at, seen_at=one.handed_at,
            comeback=Comeback.RECEIPT,
        )  # fmt: skip
    if one.kind == CONTENT:
        return Line(*place, Fate.STAYS, one.caution or one.because, hands=one.hands, seen_at=trace.looked_at)
    if one.caution or one.trouble:
        return Line(*place, Fate.MANUAL, one.trouble or one.caution, hands=one.hands, seen_at=trace.looked_at)
    return Line(*place, Fate.STAYS, one.because, seen_at=trace.looked_at)


def as_of(receipt: Receipt, now: dt.datetime) -> Receipt:
    """As it is to be read now: what was valid until a time that has passed has ended by itself."""
    lines = [
        replace(line, fate=Fate.OVER) if line.fate is Fate.UNTIL and line.until and line.until <= now else line
        for line in receipt.lines
    ]
    return replace(receipt, lines=in_order(lines))


# --- as data ----------------------------------------------------------------------------------------------------------


def nameless(receipt: Receipt) -> dict[str, Any]:
    """`as_data` for readers who are told nobody's name: no person, no login of an account, no heir, also where a
    sentence speaks of one."""
    called, _, login = receipt.person.partition(" <")
    people = [text for text in (receipt.person, called, login.removesuffix(">")) if text]
    data = as_data(receipt)
    del data["person"]
    data["said"] = _without(data["said"], people, "the leaver")
    for line, shown in zip(receipt.lines, data["lines"], strict=True):
        del shown["account"]
        names = [*people, *({line.account} - {"", line.account_id})]
        for part in ("what", "because"):
            shown[part] = _without(shown[part], names, f"account {line.account_id}")
        shown["hands"] = [_without(step, names, f"account {line.account_id}") for step in shown["hands"]]
        if line.fate is Fate.HANDED_OVER:
            shown["because"] = "to another account"
    return data


def _without(text: str, names: Sequence[str], instead: str) -> str:
    """Longer names first: one may be a part of another."""
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(re.escape(name), lambda _: instead, text, flags=re.IGNORECASE)
    return text


def as_data(receipt: Receipt) -> dict[str, Any]:
    """JSON-ready, with what the lines come to."""
    written = {"format": FORMAT, "headline": receipt.headline, "complete": receipt.complete}
    times = ("marked_at", "locked_at", "verified_at", "closed_at")
    seconds = {name.removesuffix("_at"): receipt.seconds(getattr(receipt, name)) for name in times}
    lines = [
        {
            **_plain(line),
            "seconds_until_taken": receipt.seconds(line.taken_at),
            "seconds_until_seen": receipt.seconds(line.seen_at),
        }
        for line in receipt.lines
    ]
    return {**written, "seconds": seconds, "in_time": receipt.in_time, **_plain(receipt), "lines": lines}


def from_data(data: Mapping[str, Any]) -> Receipt:
    """The other way round."""
    kept = {f.name: data[f.name] for f in fields(Receipt) if f.name in data}
    kept["lines"] = tuple(_line_from(line) for line in data["lines"])
    kept["without"] = tuple(data["without"])
    kept["entries"] = tuple((int(number), str(kind)) for number, kind in data["entries"])
    return Receipt(**{name: _moment(name, value) for name, value in kept.items()})


def _line_from(data: Mapping[str, Any]) -> Line:
    kept = {f.name: _moment(f.name, data[f.name]) for f in fields(Line) if f.name in data}
    kept |= {"fate": Fate(data["fate"]), "comeback": Comeback(data["comeback"]), "hands": tuple(data["hands"])}
    return Line(**kept)


def _moment(name: str, value: Any) -> Any:
    is_time = (name.endswith("_at") or name in ("until", "watched_until")) and isinstance(value, str)
    return dt.datetime.fromisoformat(value) if is_time else value


def _plain(record: Line | Receipt) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in fields(record):
        value = getattr(record, one.name)
        if isinstance(value, dt.datetime):
            value = value.astimezone(dt.UTC).isoformat()
        elif isinstance(value, StrEnum):
            value = value.value
        elif isinstance(value, Mapping):
            value = dict(value)
        elif isinstance(value, tuple) and one.name != "lines":
            value = [list(item) if isinstance(item, tuple) else item for item in value]
        found[one.name] = value
    return found


def in_order(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Target by target and account by account, what is open before what is settled."""
    urgency = [*_REMAINS, Fate.GONE, Fate.OVER, Fate.HANDED_OVER, Fate.STAYS]
    return tuple(
        sorted(lines, key=lambda l: (l.target, l.account_id, urgency.index(l.fate), _order(l.key)))  # noqa: E741
    )
