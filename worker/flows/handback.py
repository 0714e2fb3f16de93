"""Gives back to somebody who is back what was handed over when they left.

Accounts, roles and groups are not its matter: those come back by policy.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from worker.core.identity import Person, Standing
from worker.core.receipt import Comeback
from worker.errors import Lost, Refused, TrueupError
from worker.flows import bequest, receipts
from worker.flows.deeplook import heirloom
from worker.flows.effects import DONE
from worker.flows.leaving import Case
from worker.flows.recognising import recognise
from worker.flows.site import Site
from worker.ports import Made
from worker.store import leases, marks, mirror, offboardings, people
from worker.store.tables import OffboardingRow, Run


@dataclass
class GivenBack:
    """What was given back, what could not be, and what comes back otherwise or not at all: sentences."""

    given_back: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    otherwise: list[str] = field(default_factory=list)


def restore(site: Site, query: str) -> GivenBack:
    """Everything that was handed over, to the account that it came from. Raises Refused while they are away."""
    receipt = receipts.find(site, query)
    done = GivenBack()
    with site.begin() as session:
        row = offboardings.by_id(session, uuid.UUID(receipt.id))
        assert row is not None, "its receipt was just found"
        if marks.row_of(session, receipt.person_id).departure_marked_at is not None:
            raise Refused(f"{receipt.person} is still marked as departed; nothing is given back before that ends.")
        handed = list(_handed(session, row))
        known = people.known_identities(session, receipt.person_id, list(site.sources))
        person = Person(receipt.person_id, Standing.ACTIVE, tuple(known))
    for target, account_id, one in handed:
        what = f"{one['kind']} {one['title']} in {target}"
        if target not in site.targets:
            done.problems.append(f"{what}: the settings have no such target any more")
        else:
            _one(Case(site, row, target, person), account_id, one, what, done)
    for words, how in ((_BY_POLICY, Comeback.POLICY), (_LOST, Comeback.LOST)):
        number = sum(line.comeback is how for line in receipt.lines)
        if number:
            done.otherwise.append(words.format(number=number))
    return done


_BY_POLICY = "{number} more came or come back by policy, as far as the source and the policy say so (`trueup plan`)."
_LOST = "{number} are lost for good: `trueup receipt` lists them."


def _handed(session: Session, row: OffboardingRow) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for part in offboardings.parts(session, row.id):
        for account_id, some in part.record.get("heirlooms", {}).items():
            yield from ((part.target, account_id, one) for one in some if one["handed_at"])


def _one(case: Case, account_id: str, one: Mapping[str, Any], what: str, done: GivenBack) -> None:
    site = case.site
    with site.begin() as session:
        account = mirror.account_rows_of(session, case.target, [account_id]).get(account_id)
        owns = people.owns(session, case.target, account_id, case.person_id)
    if account is None or not account.active or not owns:
        done.problems.append(f"{what}: their account {account_id} does not work yet; `trueup sync` first")
        return
    try:
        recognise(site, case.target, case.connector)
        made = _made(case, account_id, one)
    except TrueupError as error:
        done.problems.append(f"{what}: {error}")
        return
    if made.outcome in DONE:
        bequest.note(case, account_id, one, {"handed_at": None, "heir": "", "because": "given back to its owner"})
        done.given_back.append(what)
    else:
        done.problems.append(f"{what}: {made.outcome.value}, {made.detail}")


def _made(case: Case, account_id: str, one: Mapping[str, Any]) -> Made:
    """A human asked for it by name, so no caution holds it back."""
    site, from_account = case.site, str(one["heir_account"])
    step = case.connector.hand_over(from_account, heirloom(one), account_id, approved=True)
    with site.begin() as session:
        held = leases.take(session, f"account {case.target} {from_account}", site.owner, site.claim)
        run = Run(
            target=case.target, state=offboardings.RUNNING, actor=site.actor, reason=f"restore of {case.row.id}",
            policy_hash=site.loaded.policy_hash, started_at=site.now(), offboarding_id=case.row.id,
        )  # fmt: skip
        offboardings.begin_run(session, run)
    if held is None:
        raise Lost("another Trueup is at work on that account just now; try again in a moment")
    try:
        return bequest.make(case, run, step, held)
    finally:
        with site.begin() as session:
            offboardings.close_run(session, run.id, "closed", site.now())
            leases.release(session, held)
