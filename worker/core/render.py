"""Turns facts into the sentences that people read; the same words in the plan, the review, the log and the trail."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping

from worker.core.drift import Cause, Drift, DriftKind
from worker.core.identity import ATTRIBUTE, Entitlement


def quoted(text: str, limit: int = 160) -> str:
    """Somebody else's text made fit for one line of ours: what shows nothing of its own (control, bidi, zero-width) is
    escaped, and it is cut to the limit."""
    flat = re.sub(r"\s+", " ", text).strip()
    safe = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in flat[:limit])
    return f"{safe}…" if len(flat) > limit else safe


def csv_safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula, nor one that splits it at semicolons, tabs or new lines."""
    return _FORMULA.sub(r"\1'\2", text)


_FORMULA = re.compile(r"(^\s*|[;\t\r\n]\s*)([=+\-@\uff1d\uff0b\uff0d\uff20])")  # full-width signs count as well


def age(lasted: dt.timedelta) -> str:
    """`3 days`, `5 hours`, `2 minutes`: whole units of the largest that there is one of."""
    seconds = int(lasted.total_seconds())
    for size, noun in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(seconds // size, noun)
    return "less than a minute"


Label = Callable[[Entitlement], str]
"""What a target's catalogue calls an entitlement, e.g. `role Developer`."""

_CHANGES: Mapping[DriftKind, str] = {
    DriftKind.MISSING_ACCOUNT: "create an account for {who} in {target}",
    DriftKind.DISABLED_ACCOUNT: "enable the account of {who} in {target}",
    DriftKind.LINGERING_ACCOUNT: "disable the account of {who} in {target}",
    DriftKind.RETURNED_LEAVER: "disable again the account of {who} in {target}",
    DriftKind.SUSPENDED_PERSON: "disable the account of {who} in {target}",
    DriftKind.ABSENT_PERSON: "disable the account of {who} in {target}",
    DriftKind.STALE_LOGIN: "change the login of {who} in {target} from {before} to {after}",
    DriftKind.STALE_PROFILE: "set {field} of {who} in {target} from {before} to {after}",
    DriftKind.EXCESS_ENTITLEMENT: "revoke {what} from {who} in {target}",
    DriftKind.EXPIRED_ENTITLEMENT: "revoke {what} from {who} in {target}",
    DriftKind.MISSING_ENTITLEMENT: "grant {what} to {who} in {target}",
    DriftKind.WRONG_VALUE: "set {what} for {who} in {target} instead of {before}",
}

_FINDINGS: Mapping[DriftKind, str] = {
    DriftKind.MISSING_ACCOUNT: "{who} has no account in {target}",
    DriftKind.DISABLED_ACCOUNT: "{who} is active, but the account in {target} is disabled",
    DriftKind.LINGERING_ACCOUNT: "{who} has departed, but the account in {target} still works",
    DriftKind.RETURNED_LEAVER: "{who} has departed and was out, and an account in {target} works again",
    DriftKind.SUSPENDED_PERSON: "{who} is suspended, but the account in {target} still works",
    DriftKind.ABSENT_PERSON: "the source no longer has {who}{aside}, but the account in {target} still works",
    DriftKind.STALE_LOGIN: "{who} logs in to {target} as {before}, not as {after}",
    DriftKind.STALE_PROFILE: "{field} of {who} in {target} is {before}, not {after}",
    DriftKind.EXCESS_ENTITLEMENT: "{who} holds {what} in {target}",
    DriftKind.EXPIRED_ENTITLEMENT: "{who} still holds {what} in {target}",
    DriftKind.MISSING_ENTITLEMENT: "{who} lacks {what} in {target}{aside}",
    DriftKind.WRONG_VALUE: "{who} holds {had} in {target}, not {after}",
    DriftKind.HELD_VALUE: "{field} of {who} in {target} is held, neither given nor taken: {detail}",
    DriftKind.ORPHAN: "{who} in {target} belongs to nobody we know",
    DriftKind.DISPUTED: "{who} in {target} may not be who it seems: {detail}",
    DriftKind.UNEVALUABLE_RULE: "rule {field} cannot be evaluated: {detail}",
    DriftKind.HELD_PERSON: "{who} is on hold in {target}: {detail}",
    DriftKind.DISPUTED_PERSON: "{who} may be the same person as {detail}",
    DriftKind.SOURCES_DISAGREE: "{who} has an account in {target}, and the sources do not agree: {detail}",
}

_CAUSES: Mapping[Cause, str] = {
    Cause.DESERVED: "because {rules} give{s} it",
    Cause.UNDESERVED: "because no rule gives it",
    Cause.LEFT_POLICY: "because it left the policy",
    Cause.EXPIRED: "because {rules} {has} ended",
    Cause.DEPARTED: "because they have departed",
    Cause.SUSPENDED: "because they are suspended",
    Cause.ABSENT: "because the source no longer has them",
    Cause.SOURCE_CHANGED: "because the source says so",
}


def change_sentence(drift: Drift, who: str, label: Label) -> str:
    """`revoke role Developer from Ana Ruiz <ana@acme.example> in looker, because no rule gives it`."""
    many = len(drift.rules) > 1
    reason = _CAUSES[drift.cause].format(
        rules=rule_names(drift.rules), s="" if many else "s", has="have" if many else "has"
    )
    return f"{_filled(_CHANGES[drift.kind], drift, who, label)}, {reason}{_aside(drift)}"


def finding_sentence(drift: Drift, who: str, label: Label) -> str:
    """The drift as a fact: `Ana Ruiz <ana@acme.example> holds role Developer in looker`."""
    return _filled(_FINDINGS[drift.kind], drift, who, label)


def rule_names(rules: tuple[str, ...]) -> str:
    """`rule developers`, `rules developers and web team`; the first three, then how many more."""
    shown = [quoted(rule, 60) for rule in rules[:3]]
    more = f" and {len(rules) - 3} more" if len(rules) > 3 else ""
    joined = " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else "nothing"
    return f"{'rule' if len(rules) == 1 else 'rules'} {joined}{more}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 change`, `3 changes`, `2 entries`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def counts_line(counts: Mapping[str, int]) -> str:
    """`180 accounts, 294 holdings, 15 catalogue entries`: what a read has counted, by its own nouns."""
    return ", ".join(f"{number:,} {_COUNTED.get(noun, noun)}" for noun, number in counts.items())


_COUNTED = {"catalogue": "catalogue entries"}


def person_label(name: str, login: str) -> str:
    """`Ana Ruiz <ana@acme.example>`, or whichever of the two there is."""
    if name and login:
        return f"{quoted(name, 80)} <{quoted(login, 120)}>"
    return quoted(name or login, 120) or "somebody without a name"


def _filled(template: str, drift: Drift, who: str, label: Label) -> str:
    return template.format(
        who=who,
        target=drift.target,
        what=_labelled(drift, drift.after or drift.before, label),
        had=_labelled(drift, drift.before, label),
        field=quoted(drift.field, 80),
        before=quoted(drift.before, 120) or "nothing",
        after=quoted(drift.after, 120) or "nothing",
        detail=quoted(drift.detail, 600),
        aside=_aside(drift),
    )


def _labelled(drift: Drift, value: str, label: Label) -> str:
    """`role Developer`; of an attribute with its value."""
    one = drift.entitlement
    if one is None:
        return ""
    return quoted(label(Entitlement(one.kind, one.id, value) if one.kind == ATTRIBUTE else one), 160)


def _aside(drift: Drift) -> str:
    """What else is to be known before anything is done about it."""
    return f" ({quoted(drift.detail, 400)})" if drift.kind in _WITH_DETAIL and drift.detail else ""


_WITH_DETAIL = frozenset(
    {
        DriftKind.ABSENT_PERSON, DriftKind.EXCESS_ENTITLEMENT, DriftKind.EXPIRED_ENTITLEMENT,
        DriftKind.MISSING_ENTITLEMENT,
    }
)  # fmt: skip
