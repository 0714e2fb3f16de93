"""Looks at everything that a departed person has in one target: their accounts, wherever those came from, and what is
in each of them, as deep as the vendor shows it. What was seen is written down before anything is done about it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlmodel import Session

from worker.core.correlation import Correlation, Dispute, Known, Tie, correlate
from worker.core.identity import ATTRIBUTE, Account, Catalogue, Entitlement, Person, Standing
from worker.core.receipt import ACCOUNT
from worker.core.render import quoted
from worker.errors import TrueupError
from worker.flows import guards
from worker.flows.leaving import Case, over_by
from worker.ports import Belongings, Heirloom, Unseen
from worker.store import mirror, offboardings, people

FOUND_LIVE = "by offboarding"
UNREAD = "what worked for others: schedules and alerts"


@dataclass(frozen=True, slots=True)
class Looks:
    """What was seen just now: belongings by account id, the catalogue that gives words to them, and, by account id, why
    nothing is ever taken from an account and what a human does instead."""

    of: Mapping[str, Belongings]
    catalogue: Catalogue
    untouched: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def accounts(self) -> dict[str, Account]:
        """Those that there are, and that may be touched."""
        found = {id: seen.account for id, seen in self.of.items() if id not in self.untouched}
        return {id: account for id, account in found.items() if account is not None}

    def keys(self, account_id: str) -> set[str]:
        """What of an account can be seen and is to go, by key; the account itself is one while it works."""
        account = self.of[account_id].account
        if account is None:
            return set()
        held = {e.bare.key for e in account.entitlements if not self.closed(e)}
        return (held - self.unseen_keys(account_id)) | ({ACCOUNT} if account.active else set())

    def unseen_keys(self, account_id: str) -> set[str]:
        """What can be ended, and is listed however often it was."""
        return {one.key for one in self.of[account_id].unseen if one.key}

    def closed(self, entitlement: Entitlement) -> str:
        """Why nobody can take it from anybody ("" where one can), such as the group that has everybody."""
        item = self.catalogue.item(entitlement.kind, entitlement.id)
        return item.closed if item else ""

    def label(self, account_id: str, key: str) -> str:
        """What people read."""
        if key == ACCOUNT:
            return "the account itself"
        one = Entitlement.parse(key)
        return self.of[account_id].labels.get(one.bare.key) or self.catalogue.label(one)


def look(case: Case, *, heirlooms: float | None = None) -> Looks:
    """Every account of the person, now: the linked ones, and whatever there is under their trusted keys. `heirlooms` is
    the time.monotonic() until which what works for others may be read; else it is left out."""
    found = _accounts_of(case)
    with case.site.begin() as session:
        linked = [link.account_id for link in people.links_of(session, case.person_id) if _is_here(case, link)]
        catalogue = _with_attributes_open(mirror.catalogue(session, case.target))
    fresh = [account for account in found if account.id not in linked]
    deep = {id: _deep(case, id, heirlooms) for id in dict.fromkeys([*linked, *(account.id for account in fresh)])}
    untouched = _adopt(case, fresh, deep, catalogue) if fresh else {}
    looks = Looks(deep, catalogue, untouched)
    with case.site.begin() as session:
        out_of_bounds = guards.bystanders(
            case.site, session, case.target, looks.accounts, {case.person_id: case.person}
        )
    never = {id: _never(case, id, why) for id, why in out_of_bounds.items() if id in deep}
    return Looks(deep, catalogue, {**untouched, **never})


def _never(case: Case, account_id: str, why: str) -> tuple[str, tuple[str, ...]]:
    hands = (
        f"Decide by hand what becomes of account {account_id} in {case.target}, and of what can be done with it.",
        "If it is to go like any other: see to it that it may be touched, and run `trueup offboard` again.",
    )
    return f"never touched by Trueup: {why}", hands


def completed(case: Case, first: Looks, after: Looks) -> Looks:
    """A look that says what is gone, with what only the first kind of look tells: what is public, and what works
    for others, read now where it could not be read before, in time or at all."""
    whole: dict[str, Belongings] = {}
    for id, seen in after.of.items():
        known = {one.what for one in seen.unseen}
        missing = [one for one in first.of[id].unseen if one.what not in known] if id in first.of else []
        if not missing or seen.account is None or id in after.untouched:
            continue
        if any(one.unread for one in missing):
            again, names = _deep(case, id, math.inf), {one.what for one in missing}
            missing = [one for one in again.unseen if one.what in names]
            seen = replace(seen, heirlooms=again.heirlooms)
        whole[id] = replace(seen, unseen=(*seen.unseen, *missing))
    return replace(after, of={**after.of, **whole}) if whole else after


def _with_attributes_open(catalogue: Catalogue) -> Catalogue:
    """What may not be given, as people could change it themselves, is unset all the same: a deep look has no values but
    those that can be."""
    items = (replace(item, closed="") if item.kind == ATTRIBUTE else item for item in catalogue.items)
    return Catalogue(tuple(items))


def _accounts_of(case: Case) -> list[Account]:
    """Under the keys of each of their identities."""
    found = [account for keys in _all_keys(case, case.person) for account in case.connector.accounts_of(keys)]
    return list({account.id: account for account in found}.values())


def _is_here(case: Case, link: Any) -> bool:
    return bool(link.target == case.target and link.state == "linked")


def _keys(case: Case, person: Person) -> dict[str, str]:
    """What may tell by itself that an account is theirs."""
    trust = case.site.loaded.settings.correlation_of(case.target).trust
    email = person.text("email") or next((i.email for i in person.speaking if i.email), "")
    known = {"login": case.connector.login(person), "email": email}
    return {key: known[key] for key in trust if known[key]}


def _all_keys(case: Case, person: Person) -> list[dict[str, str]]:
    """What each of their identities may be known by, once."""
    each = [_keys(case, replace(person, identities=(identity,))) for identity in person.identities]
    return [keys for n, keys in enumerate(each) if keys and keys not in each[:n]]


def _deep(case: Case, account_id: str, heirlooms: float | None) -> Belongings:
    """What works for others is worth no lock-out: where it cannot be read in time, the rest is."""
    company = case.site.loaded.settings.leavers.company_domains
    if heirlooms is None:
        return case.connector.belongings(account_id, company=company, heirlooms=False)
    try:
        with over_by(heirlooms):
            return case.connector.belongings(account_id, company=company)
    except TrueupError as error:
        seen = case.connector.belongings(account_id, company=company, heirlooms=False)
        late = Unseen(UNREAD, f"it could not be read in time: {error}", unread=True)
        return replace(seen, unseen=(*seen.unseen, late))


# --- accounts that nobody has linked yet ------------------------------------------------------------------------------


def _adopt(
    case: Case, fresh: Sequence[Account], deep: Mapping[str, Belongings], catalogue: Catalogue
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Link what is beyond doubt the leaver's, by the rules that link any account; the rest is for a human, with why."""
    site, now = case.site, case.site.now()
    declared = guards.declared_privileged(site, case.target, catalogue)
    with site.begin() as session:
        crowd = _who_else(case, session, fresh)
        ties = people.ties_about(session, case.target, [p.id for p in crowd], [a.id for a in fresh])
        gone = {id for id, seen in deep.items() if seen.account is None}
        linked = {tie.account_id for tie in ties if tie.linked and tie.person_id == case.person_id}
        mine = sorted(linked - gone)
        there = [*mirror.account_rows_of(session, case.target, mine).values(), *fresh]
        accounts = [_known_account(a, deep, declared, catalogue) for a in there if not guards.no_person(a)]
        out = offboardings.known_when_out(session, now, now, case.target)
        found = _theirs(case, crowd, accounts, ties, out)
        people.save_ties(session, case.target, found.new_ties, site.actor, now)
        site.record(session, *(
            site.event(
                "account linked",
                {"target": case.target, "account": tie.account_id, "key": tie.key, "by": FOUND_LIVE,
                 "offboarding": case.row.id},
                person_id=case.person_id,
            )
            for tie in found.new_ties
        ))  # fmt: skip
    mine_now = {tie.account_id for tie in found.new_ties}
    return {a.id: _left_to_a_human(case, a, found, ties) for a in fresh if a.id not in mine_now}


def _theirs(
    case: Case, crowd: Sequence[Person], accounts: Sequence[Known], ties: Sequence[Tie],
    out: Mapping[str, frozenset[str]],
) -> Correlation:  # fmt: skip
    """What of these accounts is beyond doubt the leaver's, under the keys of one identity after the other, and what is
    in doubt. Of what one has found, the next one knows."""
    trust = case.site.loaded.settings.correlation_of(case.target).trust
    leaver, *others = crowd
    new: list[Tie] = []
    disputes: list[Dispute] = []
    for identity in leaver.identities:
        one = replace(leaver, identities=(identity,))
        known = [_known_person(case, person, trust, out) for person in (one, *others)]
        found = correlate(known, accounts, [*ties, *new], trust, ())
        new += [tie for tie in found.new_ties if tie.person_id == case.person_id]
        disputes += found.disputes
    return Correlation(tuple(new), tuple(disputes))


def _who_else(case: Case, session: Session, fresh: Collection[Account]) -> list[Person]:
    """The leaver, and everybody else whom these accounts might mean."""
    found = {
        one.person_id
        for account in fresh
        for value in {account.login, account.email} - {""}
        for one in people.find(session, value)
    }
    others = [Person(id, Standing.HOLD, tuple(people.known_identities(session, id))) for id in found - {case.person_id}]
    return [case.person, *(other for other in others if other.identities)]


def _known_person(case: Case, person: Person, trust: Sequence[str], out: Mapping[str, frozenset[str]]) -> Known:
    keys, departed = _keys(case, person), person.id == case.person_id
    guest = all(identity.guest for identity in person.identities)
    known = {key: keys.get(key, "") for key in trust}
    return Known(person.id, known, departed=departed, guest=guest, out=out.get(person.id) if departed else None)


def _known_account(
    account: Account, deep: Mapping[str, Belongings], declared: Collection[str], catalogue: Catalogue
) -> Known:
    seen = deep[account.id].account if account.id in deep else account
    held = seen.entitlements if seen else frozenset()
    power = any(e.bare.key in declared or catalogue.privileged(e) for e in held)
    return Known(account.id, {"login": account.login, "email": account.email}, privileged=power)


def _left_to_a_human(
    case: Case, account: Account, found: Correlation, ties: Sequence[Any]
) -> tuple[str, tuple[str, ...]]:
    why = next((d.reason for d in found.disputes if d.account_id == account.id), "")
    holder = next((t for t in ties if t.account_id == account.id and t.linked), None)
    if holder is not None:
        why = "it has the leaver's login and is linked to somebody else"
    elif any(t.account_id == account.id for t in ties):
        why = why or "somebody has said that it is not the leaver's"
    name = quoted(account.login or account.email or account.id, 120)
    hands = (
        f"Find out whose account {account.id} ({name}) in {case.target} is.",
        f"If it is the leaver's: `trueup link {case.person_id} {case.target} {account.id} --secondary`, then run"
        " `trueup offboard` again.",
    )
    return why or "it has the leaver's login, and whose it is is not certain", hands


# --- the record -------------------------------------------------------------------------------------------------------


def write_down(case: Case, looks: Looks, *, final: bool) -> None:
    """What was seen, beside what was seen before. Only a look after the last step is `final`."""
    now = case.site.now()
    with case.site.begin() as session:
        part = offboardings.part(session, case.row.id, case.target, lock=True)
        assert part is not None, "it is in our hands"
        record = {"accounts": {}, "heirlooms": {}} | dict(part.record)
        accounts, heirlooms = dict(record["accounts"]), dict(record["heirlooms"])
        for id in looks.of:
            accounts[id] = _account_record(accounts.get(id, {}), id, looks, now.isoformat(), final=final)
            heirlooms[id] = _heirlooms_record(heirlooms.get(id, []), looks.of[id].heirlooms)
        part.record = {**record, "accounts": accounts, "heirlooms": heirlooms}
        part.looked_at = part.looked_at or now
        session.flush()


def _account_record(before: Mapping[str, Any], id: str, looks: Looks, now: str, *, final: bool) -> dict[str, Any]:
    seen, account = looks.of[id], looks.of[id].account
    keys = looks.keys(id)
    why, hands = looks.untouched.get(id, ("", ()))
    closed = {looks.catalogue.label(e): looks.closed(e) for e in (account.entitlements if account else ())}
    return {
        "login": (account.login or account.email) if account else before.get("login", ""),
        "seen": {**before.get("seen", {}), **{key: looks.label(id, key) for key in keys}},
        "left": sorted(keys) if final else None,
        "blind": sorted({*before.get("blind", ()), *looks.unseen_keys(id)}),
        "looked_at": now,
        "until": {key: at.isoformat() for key, at in seen.until.items()},
        "hidden": [
            {
                "what": one.what, "because": one.because, "hands": list(one.hands), "key": one.key,
                "lasts": one.lasts.total_seconds() if one.lasts is not None else None,
            }
            for one in seen.unseen
        ],
        "kept": {**{label: why for label, why in closed.items() if why},
                 **{seen.labels.get(key, key): why for key, why in seen.kept.items()}},
        "untouched": why,
        "untouched_hands": list(hands),
    }  # fmt: skip


def _heirlooms_record(before: Sequence[Mapping[str, Any]], found: Sequence[Heirloom]) -> list[dict[str, Any]]:
    """What was there at the first look stays as it was then: a vendor turns some of it off with the account."""
    known = {(one["kind"], one["id"]) for one in before}
    fresh = [
        {
            "kind": one.kind, "id": one.id, "title": one.title, "enabled": one.enabled,
            "recipients": list(one.recipients), "container": one.container, "caution": one.caution,
            "hands": list(one.hands), "heir": "", "heir_account": "", "handed_at": None, "because": "", "trouble": "",
        }
        for one in found
        if (one.kind, one.id) not in known
    ]  # fmt: skip
    return [*(dict(one) for one in before), *fresh]


def heirloom(record: Mapping[str, Any]) -> Heirloom:
    """One as it was when it was first seen."""
    return Heirloom(
        record["kind"], record["id"], record["title"], record["enabled"], tuple(record["recipients"]),
        record["container"], record["caution"], tuple(record["hands"]),
    )  # fmt: skip
