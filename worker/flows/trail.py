"""The audit trail as people use it: read, verified, exported, and people in it forgotten."""

from __future__ import annotations

import datetime as dt
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.core.audit import AuditEntry, Verdict
from worker.core.findings import HANDLE
from worker.core.notices import NoticeKind
from worker.core.render import quoted
from worker.errors import Misconfigured, Refused
from worker.flows.links import find_person
from worker.flows.site import Site
from worker.private import writing
from worker.store import chain, forgetting, notices, people
from worker.store.forgetting import Forgotten


def newest(
    site: Site,
    *,
    person: str = "",
    run: uuid.UUID | None = None,
    kinds: Sequence[str] = (),
    since: dt.datetime | None = None,
    limit: int = 50,
) -> list[AuditEntry]:
    """The newest entries that fit, newest first. `since` without a zone is UTC."""
    if since is not None and since.tzinfo is None:
        since = since.replace(tzinfo=dt.UTC)
    with site.begin() as session:
        ids = people.everyone_once(session, find_person(session, person).person_id) if person else None
        found = chain.entries(
            session, person_id=ids, run_id=run, kinds=kinds, since=since, limit=limit, newest_first=True
        )
        return list(found)


def verify(site: Site, witness: str = "") -> Verdict:
    """Recompute the chain; `witness` is NUMBER:DIGEST as an earlier verification printed it."""
    noted = None
    if witness:
        number, _, digest = witness.partition(":")
        if not number.isdigit() or len(digest) != 64:
            raise Misconfigured("A witness is NUMBER:DIGEST, as `trueup audit verify` prints it.")
        noted = (int(number), digest)
    with site.begin() as session:
        return chain.verify(session, witness=noted)


PIECE = 20_000  # entries of a scheduled verification that are looked at in one go


def verify_on(site: Site, progress: Mapping[str, Any]) -> dict[str, str] | None:
    """Go on with a verification in pieces: `progress` is what the piece before returned ({} at the beginning). None at
    the end. Raises Refused when the chain is broken, which is an entry and a notice."""
    after = (int(progress.get("number", "0")), str(progress.get("digest", "")))
    with site.begin() as session:
        verdict = chain.verify(session, after=after, most=PIECE)
        if verdict.ok:
            return {"number": str(verdict.checked), "digest": verdict.head} if verdict.beyond else None
        said = f"The audit chain is broken at entry {verdict.first_bad}: {verdict.what}."
        key = f"{verdict.first_bad} {verdict.what}"
        notices.notice(session, NoticeKind.CHAIN_BROKEN, key, said, site.now())
        facts = {"first_bad": str(verdict.first_bad), "what": verdict.what}
        site.record(session, site.event("chain found broken", facts))
    raise Refused(f"{said} `trueup audit verify` shows it; docs/audit.md says what to do.")


def export(site: Site, out: Path | None, *, reveal: bool) -> int:
    """Write the chain as JSON lines; returns how many entries."""
    with site.begin() as session:
        if out is None:
            return chain.export(session, sys.stdout, reveal=reveal)
        with writing(out) as file:
            return chain.export(session, file, reveal=reveal)


def forget(site: Site, person: str) -> tuple[str, Forgotten]:
    """Erase what names somebody who has left; our id of them stays and is returned. Raises Refused if too early."""
    with site.begin() as session:
        found = find_person(session, person)
        return found.person_id, forgetting.forget(session, found.person_id, site.actor, site.now())


def sentence(entry: AuditEntry) -> str:
    """An entry's details in one line: the sentence it carries where it has one, then its facts."""
    words = [quoted(v, 300) for k, v in entry.personal.items() if v and k in ("sentence", "detail", "message", "note")]
    facts = [_fact(k, v) for k, v in entry.facts.items() if isinstance(v, str) and v]
    return "; ".join(words + facts)


def _fact(name: str, value: str) -> str:
    """`target looker`, `by hand`; of a digest its beginning, which is also the handle of a change."""
    shown = value[:HANDLE] if _DIGEST.fullmatch(value) else quoted(value, 80)
    return shown if shown.startswith(f"{name} ") else f"{name} {shown}"


_DIGEST = re.compile("[0-9a-f]{64}")


def data(entry: AuditEntry) -> dict[str, Any]:
    """An entry as JSON-ready data."""
    return {
        "number": entry.number, "at": entry.at.isoformat(), "kind": entry.kind, "actor": entry.actor,
        "person": entry.person_id, "run": entry.run_id, "facts": dict(entry.facts),
        "personal": dict(entry.personal), "digest": entry.digest,
    }  # fmt: skip


def verdict_data(verdict: Verdict) -> dict[str, Any]:
    return {
        "ok": verdict.ok, "checked": verdict.checked, "head": verdict.head, "first_bad": verdict.first_bad,
        "what": verdict.what, "erased": verdict.erased,
    }  # fmt: skip
