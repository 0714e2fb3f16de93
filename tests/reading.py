"""A read of one connector from beginning to end without a store: every part, what follows from it, and the finish."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from worker.errors import Moved
from worker.ports import Asked, Part, Source, SourcePage, Target, TargetPage, Wanted, Whole

ROUNDS = 3


def drained(source: Source, wanted: Wanted = Wanted()) -> list[SourcePage]:
    """All pages of a source, as rows arrive in the store."""
    return [page for page in _again_if_moved(source, wanted) if isinstance(page, SourcePage)]


def observed_pages(target: Target, asked: Asked = Asked()) -> list[TargetPage]:
    """The same of a target, without accounts' own values of attributes, which are swept."""
    return [page for page in _again_if_moved(target, asked or None) if isinstance(page, TargetPage)]


def swept_pages(target: Target, accounts: Sequence[str], attributes: Sequence[str]) -> list[TargetPage]:
    """Those values."""
    read = (target.read(Part(part.kind, as_stored(part.args))) for part in target.sweep(accounts, attributes))
    return [page for piece in read for page in piece.pages if isinstance(page, TargetPage)]


def _again_if_moved(connector: Any, wanted: Wanted | Asked | None) -> Sequence[SourcePage | TargetPage]:
    for _ in range(ROUNDS - 1):
        try:
            return once(connector, wanted)
        except Moved:
            continue
    return once(connector, wanted)


def once(
    connector: Any, wanted: Wanted | Asked | None = None, *, last_first: bool = False
) -> list[SourcePage | TargetPage]:
    """One round; every part and every fact passes through the database's form."""
    waiting = deque(connector.parts() if wanted is None else connector.parts(wanted))
    pages: list[SourcePage | TargetPage] = []
    done: list[tuple[Part, Mapping[str, Any]]] = []
    while waiting:
        part = waiting.pop() if last_first else waiting.popleft()
        stored = Part(part.kind, as_stored(part.args))
        piece = connector.read(stored)
        pages += piece.pages
        known = [(one.kind, as_stored(one.args)) for one in (*waiting, *(part for part, _ in done), part)]
        waiting += [one for one in piece.parts if (one.kind, as_stored(one.args)) not in known]
        done.append((stored, as_stored(piece.facts)))
    piece = connector.finish(Whole(done, *staged(pages)))
    assert not piece.parts
    return [*pages, *piece.pages]


def as_stored(values: Mapping[str, Any]) -> dict[str, Any]:
    stored: dict[str, Any] = orjson.loads(orjson.dumps(dict(values)))
    return stored


def staged(pages: Sequence[SourcePage | TargetPage]) -> tuple[dict[str, int], list[str], dict[str, int]]:
    """Each thing once, by noun; ids that rows speak of and no list has; and how many are within groups in groups."""
    rows: dict[str, set[object]] = {}
    spoken_of: set[str] = set()
    for page in pages:
        if isinstance(page, SourcePage):
            rows.setdefault("identities", set()).update(one.id for one in page.identities)
            rows.setdefault("groups", set()).update(one.id for one in page.groups)
            rows.setdefault("memberships", set()).update(page.memberships)
            rows.setdefault("nestings", set()).update(page.nestings)
            spoken_of |= {id for _, id in page.memberships}
        else:
            rows.setdefault("accounts", set()).update(one.id for one in page.accounts)
            rows.setdefault("holdings", set()).update(page.holdings)
            rows.setdefault("catalogue", set()).update((item.kind, item.id) for item in page.catalogue)
            spoken_of |= {id for id, _ in (*page.holdings, *page.traits)}
    known = rows.get("identities", set()) | rows.get("accounts", set())
    return {noun: len(found) for noun, found in rows.items() if found}, sorted(spoken_of - known), within(pages)


def within(pages: Sequence[SourcePage | TargetPage]) -> dict[str, int]:
    """Of each group that holds others how many different people are in it, on whatever way."""
    read = [page for page in pages if isinstance(page, SourcePage)]
    edges = {edge for page in read for edge in page.nestings}
    found: dict[str, set[str]] = {}
    for group in {group for group, _ in edges}:
        below = {group}
        while more := {child for parent, child in edges if parent in below} - below:
            below |= more
        found[group] = {person for page in read for one, person in page.memberships if one in below}
    return {group: len(people) for group, people in found.items() if people}
