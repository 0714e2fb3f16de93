"""Carries out what a program asks for over HTTP: once, however often it asks, and in its own name."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlmodel import Session

from worker.errors import Refused
from worker.flows import offboarding, receipts
from worker.flows.offboarding import Asked
from worker.flows.site import Site
from worker.store import api_requests, hints, people
from worker.store.tables import OffboardingRow

HASTE = 4.0  # seconds that a statement may take
SHOWN = 200  # offboardings in one answer


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: that a person (login, e-mail, id at the source or with us) be offboarded, and why."""

    person: str
    reason: str
    force: bool = False

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class KeyUsed(Refused):
    """The key came with another request before."""


class NobodyKnown(Refused):
    """No person, or more than one, is called that."""


def ask(site: Site, key: str, request: Request) -> uuid.UUID:
    """The offboarding that this request has made, now or when it came before. Raises KeyUsed, NobodyKnown, Refused."""
    caller = site.actor
    with site.begin() as session:
        hints.hurry(session, HASTE)
        api_requests.wait_for_turn(session, caller, key)
        before = api_requests.found(session, caller, key)
        if before is not None:
            if before.digest != request.digest:
                raise KeyUsed(
                    "This Idempotency-Key came with another body before. Send a new key with a new request, and the"
                    " same key only with the very same request."
                )
            return before.offboarding_id
        asked = Asked(
            trigger="api", reason=request.reason, actor=caller, source_event_at=None, forced=request.force,
            key=f"{caller} {key}",
        )  # fmt: skip
        made = offboarding.ask(site, session, _person(session, request.person), asked)
        api_requests.record(session, caller, key, request.digest, made, site.now())
    return made


def _person(session: Session, said: str) -> str:
    matches = people.find(session, said)
    if not matches:
        raise NobodyKnown(
            "`person` is nobody whom Trueup has read so far. Write a login, an e-mail address, the id at the source, or"
            " Trueup's own id of the person."
        )
    if len(matches) > 1:
        ids = ", ".join(sorted(match.person_id for match in matches)[:10])
        raise NobodyKnown(f"`person` is true of {len(matches)} people. Write Trueup's own id of the one meant: {ids}.")
    return matches[0].person_id


def one(site: Site, id: uuid.UUID, everybodys: bool) -> tuple[OffboardingRow, dict[str, Any] | None] | None:
    """An offboarding that the caller may see, with its receipt once there is one, which names nobody; None for every
    other."""
    with site.begin() as session:
        hints.hurry(session, HASTE)
        row = session.get(OffboardingRow, id)
        if row is None:
            return None
        if everybodys or row.actor == site.actor or api_requests.asked_for(session, site.actor, id):
            return row, receipts.without_names(site, row)
        return None


def since(site: Site, moment: dt.datetime, everybodys: bool) -> Sequence[OffboardingRow]:
    """Those that the caller may see, asked for since a moment, the oldest first; at most SHOWN and one more."""
    with site.begin() as session:
        hints.hurry(session, HASTE)
        return api_requests.offboardings(session, moment, SHOWN + 1, None if everybodys else site.actor)
