"""What people are told without having asked, and in what words: a handful of kinds, gathered into one message."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.core.render import counted, quoted

SHOWN = 10  # of each kind; the rest is counted


class NoticeKind(StrEnum):
    """In the order in which a message tells them."""

    CHAIN_BROKEN = "chain broken"
    DATABASE_RESTORED = "database restored"
    LEAVER_BACK = "leaver back"
    LEAVER_WAITS = "leaver waits"
    LEAVER_PARTIAL = "leaver partial"
    CHANGE_FAILED = "change failed"
    READ_REFUSED = "read refused"
    JOB_OVERDUE = "job overdue"
    PLAN_WITHHELD = "plan withheld"
    DRIFT_FOUND = "drift found"


@dataclass(frozen=True, slots=True)
class Told:
    """One thing to tell. An empty sentence is of somebody who was forgotten meanwhile: it still counts."""

    kind: NoticeKind
    sentence: str
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    title: str
    body: str


# One, many, and where somebody looks next.
_WORDS: Mapping[NoticeKind, tuple[str, str, str]] = {
    NoticeKind.CHAIN_BROKEN: ("broken chain", "broken chains", "trueup audit verify"),
    NoticeKind.DATABASE_RESTORED: ("restored database", "restored databases", "trueup check"),
    NoticeKind.LEAVER_BACK: ("leaver who is back", "leavers who are back", "trueup receipt PERSON"),
    NoticeKind.LEAVER_WAITS: ("leaver who waits for a human", "leavers who wait for a human", "trueup review list"),
    NoticeKind.LEAVER_PARTIAL: ("leaver with something left", "leavers with something left", "trueup receipt PERSON"),
    NoticeKind.CHANGE_FAILED: ("failed change", "failed changes", "trueup audit list --kind 'step ended'"),
    NoticeKind.READ_REFUSED: ("refused read", "refused reads", "trueup check"),
    NoticeKind.JOB_OVERDUE: ("overdue job", "overdue jobs", "the page /readyz"),
    NoticeKind.PLAN_WITHHELD: ("withheld change", "withheld changes", "trueup review list"),
    NoticeKind.DRIFT_FOUND: ("new drift", "new drifts", "trueup report drift"),
}


def compose(told: Sequence[Told]) -> Message:
    """One message for all of it: how many of each kind, then the first of each, what is urgent before the rest."""
    by_kind = {kind: [t for t in told if t.kind is kind] for kind in NoticeKind}
    found = {kind: each for kind, each in by_kind.items() if each}
    counts = [counted(len(each), _WORDS[kind][0], _WORDS[kind][1]) for kind, each in found.items()]
    return Message(f"Trueup: {', '.join(counts)}", "\n\n".join(_paragraph(kind, each) for kind, each in found.items()))


def _paragraph(kind: NoticeKind, told: Sequence[Told]) -> str:
    one, many, look = _WORDS[kind]
    readable = sorted((t for t in told if t.sentence), key=lambda t: not t.urgent)
    lines = [f"- {'URGENT: ' if t.urgent else ''}{without_links(t.sentence)}" for t in readable[:SHOWN]]
    left = len(told) - len(lines)
    more = [f"- and {left:,} more"] if left else []
    return "\n".join([f"{counted(len(told), one, many)} (see: {look})", *lines, *more])


def without_links(text: str) -> str:
    """Names in it come from elsewhere: whoever can rename a group must not put a link or a call to everybody into our
    message."""
    flat = quoted(text, 300)
    return _CALL.sub("(at)", _LINK.sub(lambda found: found[0].replace(".", " . "), flat.replace("://", ": //")))


_LINK = re.compile(r"(?i)\bwww\.")
_CALL = re.compile(r"(?i)@(?=(?:here|everyone|channel|all)\b)")
