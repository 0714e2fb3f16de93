"""Draws up the receipt of an offboarding from what is on record, so that any worker can finish it, and anybody can read
how far one is that is still under way."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session

from worker.core.audit import Event
from worker.core.guardrails import State
from worker.core.notices import NoticeKind
from worker.core.plan import Operation
from worker.core.receipt import (
    ACCOUNT,
    Fate,
    Hidden,
    Legacy,
    Receipt,
    Trace,
    as_data,
    as_of,
    from_data,
    in_order,
    lines_of,
    nameless,
)
from worker.core.render import quoted
from worker.errors import Misconfigured
from worker.flows.effects import DONE
from worker.flows.leaving import name_of
from worker.flows.links import find_person
from worker.flows.site import Site
from worker.store import governed, notices, offboardings
from worker.store.tables import ChangeRow, OffboardingRow, OffboardingTarget

_DONE = frozenset(outcome.value for outcome in DONE)


# --- reading one ------------------------------------------------------------------------------------------------------


def find(site: Site, query: str) -> Receipt:
    """By the offboarding's id (or its beginning), or the newest of a person. Raises Misconfigured for none."""
    with site.begin() as session:
        row = offboardings.called(session, query)
        if row is None:
            found = find_person(session, query)
            row = offboardings.latest_of(session, found.person_id)
        if row is None:
            raise Misconfigured(
                f"Nobody has asked for an offboarding of {quoted(query, 80)!r}; `trueup offboard` does."
            )
        return of(site, session, row)


def since(site: Site, moment: dt.datetime | None) -> list[Receipt]:
    """Of everybody who was asked to leave since then (30 days ago), the newest first. Hints that were wrong are left
    out."""
    with site.begin() as session:
        after = moment or site.now() - dt.timedelta(days=30)
        rows = offboardings.since(session, "", after, 10_000)
        return [of(site, session, row) for row in rows if row.state != offboardings.NOT_CONFIRMED]


def of(site: Site, session: Session, row: OffboardingRow) -> Receipt:
    """The one that was written when it ended; before, what it would say now. What ends by itself is told as of now."""
    return as_of(from_data(row.receipt) if row.receipt else draw_up(site, session, row), site.now())


def without_names(site: Site, row: OffboardingRow) -> dict[str, Any] | None:
    """The one that was written, as data that names nobody; None where there is none yet, or it has been erased."""
    return nameless(as_of(from_data(row.receipt), site.now())) if row.receipt else None


def draw_up(site: Site, session: Session, row: OffboardingRow) -> Receipt:
    """From the record alone."""
    parts = offboardings.parts(session, row.id)
    entries = tuple((number, kind) for number, kind, _ in offboardings.entries(session, row))
    return Receipt(
        str(row.id), str(row.person_id), name_of(session, row.person_id), row.trigger, row.reason, row.actor,
        " and ".join(dict.fromkeys(filter(None, (row.decided_by, row.approved_by)))), row.forced, row.why, row.state,
        row.requested_at, row.source_event_at, row.marked_at, row.locked_at or _last(p.locked_at for p in parts),
        row.verified_at or _last(p.verified_at for p in parts), row.closed_at, row.watch_until,
        site.loaded.settings.leavers.objective.total_seconds(),
        in_order([line for trace in _traces(session, row, parts) for line in lines_of(trace)]),
        {p.target: p.failure or "it is under way" for p in parts if p.state != offboardings.DONE},
        tuple(p.target for p in parts if p.looked_at and not p.record.get("accounts")),
        entries,
    )  # fmt: skip


def _last(moments: Any) -> dt.datetime | None:
    """The last of them, once all are there."""
    found = list(moments)
    return max(found) if found and None not in found else None


# --- the traces -------------------------------------------------------------------------------------------------------


def _traces(session: Session, row: OffboardingRow, parts: Sequence[OffboardingTarget]) -> list[Trace]:
    changes = offboardings.changes(session, row)
    ended = {id: s.finished_at for s in offboardings.steps(session, row) for id in s.change_ids if s.finished_at}
    return [
        _trace(part, id, seen, [c for c in changes if (c.target, c.account_id) == (part.target, id)], ended,
               governed.governance(session, part.target).governed)
        for part in parts
        for id, seen in part.record.get("accounts", {}).items()
    ]  # fmt: skip


def _trace(
    part: OffboardingTarget, id: str, seen: Mapping[str, Any], changes: Sequence[ChangeRow],
    ended: Mapping[str, dt.datetime], named: Any,
) -> Trace:  # fmt: skip
    done = {_key(c): ended[str(c.id)] for c in changes if c.state in _DONE and str(c.id) in ended}
    blind = seen.get("blind", ())  # that a step ended them is no look at them
    made_before = {_key(c): c.sentence for c in changes if c.state in _DONE and _key(c) not in blind}
    last = {_key(c): c for c in changes}
    # What a plan took before anybody looked, too.
    words = {**{key: _words(key, text) for key, text in made_before.items()}, **seen["seen"]}
    return Trace(
        part.target, id, seen["login"] or id, words,
        None if seen["left"] is None else frozenset(seen["left"]),
        dt.datetime.fromisoformat(seen["looked_at"]),
        {key: dt.datetime.fromisoformat(at) for key, at in seen["until"].items()},
        done,
        {key: tuple(c.task["hands"]) or _default_hands(part.target, id, c) for key, c in last.items()},
        {key: _trouble(c) for key, c in last.items()},
        tuple(_hidden(one, part, done) for one in seen["hidden"]),
        seen["kept"],
        tuple(_legacy(one, part.target) for one in part.record.get("heirlooms", {}).get(id, ())),
        frozenset(e.key for e in named),
        seen["untouched"], tuple(seen["untouched_hands"]),
    )  # fmt: skip


def _key(change: ChangeRow) -> str:
    return ACCOUNT if change.operation == Operation.DISABLE.value else change.entitlement


def _words(key: str, sentence: str) -> str:
    """`role Analyst` of a sentence that begins `revoke role Analyst from`."""
    return "the account itself" if key == ACCOUNT else sentence.removeprefix("revoke ").split(" from ")[0]


def _trouble(change: ChangeRow) -> str:
    if change.state in _DONE:
        return "it was taken, and is there again"
    why = f": {change.withheld_by}" if change.withheld_by else ""
    return f"{_STATES.get(change.state, change.state)}{why}"


_STATES: Mapping[str, str] = {
    State.MANUAL.value: "a human has to do it", State.REJECTED.value: "a human said no",
    State.WAITING.value: "it waits for a human", State.WITHHELD.value: "a guard holds it back",
    "failed": "it was tried and did not succeed", "refused": "it was tried and refused",
    "skipped": "it was not tried", "superseded": "it is tried again",
}  # fmt: skip


def _default_hands(target: str, account_id: str, change: ChangeRow) -> tuple[str, ...]:
    if change.state in _DONE:
        return ()
    return (
        f"Take it away by hand in {target}, account {account_id}; then `trueup offboard` again sees that it is gone.",
    )


def _hidden(one: Mapping[str, Any], part: OffboardingTarget, done: Mapping[str, dt.datetime]) -> Hidden:
    ends = None
    if one["lasts"] is not None and part.locked_at is not None:
        ends = part.locked_at + dt.timedelta(seconds=one["lasts"])
    return Hidden(one["what"], one["because"], tuple(one["hands"]), ends, done.get(one["key"]), one["key"])


def _legacy(one: Mapping[str, Any], target: str) -> Legacy:
    handed = dt.datetime.fromisoformat(one["handed_at"]) if one["handed_at"] else None
    because = one["because"] or ("it stays in its folder" if one["kind"] == "content" else "it was not handed over")
    hands = tuple(one["hands"])
    if one["trouble"] and not hands:
        hands = (f"Give {one['kind']} {quoted(one['title'])!r} in {target} to somebody by hand, or delete it.",)
    return Legacy(
        one["kind"], one["id"], one["title"], one["container"], one["heir"], handed, because, one["caution"], hands,
        one["trouble"],
    )  # fmt: skip


# --- the end ----------------------------------------------------------------------------------------------------------


def close_if_done(site: Site, session: Session, id: uuid.UUID) -> None:
    """Once every target is done: the receipt is written, and from then on the person is watched."""
    row = offboardings.by_id(session, id, lock=True)
    parts = offboardings.parts(session, id)
    if row is None or row.closed_at is not None or any(part.state != offboardings.DONE for part in parts):
        return
    now = site.now()
    row.state, row.why, row.closed_at = offboardings.CLOSED, "", now
    row.locked_at = _last(p.locked_at for p in parts)
    row.verified_at = _last(p.verified_at for p in parts)
    days = site.loaded.settings.leavers.watch_days
    session.flush()
    offboardings.end_watch(session, row.person_id)
    session.refresh(row)
    row.watch_until = now + dt.timedelta(days=days) if days else None
    session.flush()
    receipt = draw_up(site, session, row)
    data = as_data(receipt)
    offboardings.store_receipt(session, row, data)
    if any(line.fate is Fate.MANUAL for line in receipt.lines):  # of what nobody can see, every receipt speaks
        sentence = f"{receipt.person} is out as far as Trueup could: {receipt.headline}"
        notices.notice(session, NoticeKind.LEAVER_PARTIAL, str(id), sentence, now, person_id=row.person_id)
    site.record(session, _closed(site, row, receipt, data))


def _closed(site: Site, row: OffboardingRow, receipt: Receipt, data: Mapping[str, Any]) -> Event:
    """The trail says what the receipt is, so that nobody can hand round another one."""
    counts: dict[str, int] = {}
    for line in receipt.lines:
        counts[line.fate.value] = counts.get(line.fate.value, 0) + 1
    facts = {
        "offboarding": row.id, "trigger": row.trigger, "complete": "yes" if receipt.complete else "no",
        "lines": {fate: str(number) for fate, number in counts.items()}, "receipt": digest(data),
    }  # fmt: skip
    return site.event("offboarding closed", facts, person_id=row.person_id)


def digest(data: Mapping[str, Any]) -> str:
    """SHA-256 of a receipt, in hex, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
