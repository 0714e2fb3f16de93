"""Explains one person in five steps: found, correlated, which rules, desired, observed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from worker.core import attributes, nesting
from worker.core.identity import ATTRIBUTE, Account, Catalogue, Entitlement, Person, Standing
from worker.core.policy import CompiledPolicy, attributes_asked, compile_policy
from worker.core.render import person_label, quoted
from worker.core.values import profile_name
from worker.errors import Misconfigured
from worker.flows.crowd import Crowd, gather
from worker.flows.links import BY_HAND, find_person
from worker.flows.site import Site
from worker.store import episodes, governed, joining, mirror, people, runs, sweep


@dataclass
class Explanation:
    """Sentences by step, in the order of the straight line, and the same as data."""

    person: str
    steps: dict[str, list[str]] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


def why(site: Site, query: str, entitlement: str = "") -> Explanation:
    """What is known of a person and what follows. `entitlement` narrows it: part of its name or key."""
    crowd = gather(site)
    with site.begin() as session:
        found = find_person(session, query)
        person = crowd.people.get(found.person_id)
        if person is None:
            raise Misconfigured(f"{person_label(found.name, found.login)} is at no source any more and has no account.")
        told = Explanation(person_label(found.name, found.login))
        catalogues = {name: mirror.catalogue(session, name) for name in site.targets}
        meant = {name: governed.governance(session, name).bindings for name in site.targets}
        bindings = governed.group_bindings(session)
        policy = compile_policy(site.loaded.rules, crowd.groups, catalogues, bindings, meant, site.loaded.values)
        groups = {(g.source, g.id): g.name for of_source in crowd.groups.values() for g in of_source}
        told.steps["found"] = [
            *_known(site, session, person),
            *_given_by(site, person),
            _member_of(person, groups, _ways(session, person)),
            *_so(site, crowd, person),
        ]
        told.steps["correlated"] = _correlated(site, session, person)
        told.steps["rules"] = _rules(site, policy, person, entitlement)
        told.steps["desired"] = _desired(site, policy, person, catalogues, entitlement)
        told.steps["observed"] = _observed(session, person, catalogues, entitlement)
    told.data = {"person": person.id, "label": told.person, "standing": person.standing.value, **told.steps}
    return told


def _ways(session: Session, person: Person) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Through which groups, from the top, they are in those that they are not in themselves."""
    ways: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one in person.identities:
        edges = mirror.nestings(session, one.source)
        if edges:
            direct = mirror.direct_groups(session, one.source, one.id)
            found = nesting.through(direct, edges)
            ways |= {(one.source, group): [(one.source, below) for below in way] for group, way in found.items()}
    return ways


def _known(site: Site, session: Session, person: Person) -> list[str]:
    """Every identity, and how it came to be theirs."""
    shown = {(one.source, one.id): one for one in person.identities}
    lines = []
    for ref, key in joining.identities_of(session, person.id).items():
        source, id = ref
        joined = f"; joined {_by(quoted(key, 60))}" if key else ""
        identity = shown.get(ref)
        if identity is None:
            lost = "no longer has them" if source in site.sources else "is no source any more"
            lines.append(f"{source} {lost}; it knew them as {id}{joined}")
            continue
        problem = f" ({quoted(identity.problem, 200)})" if identity.problem else ""
        silent = "" if identity in person.speaking else "; what it knows of them is not about who they are now"
        lines.append(
            f"{source} knows {quoted(identity.login)} as {id}, status {identity.status}{problem}{joined}{silent}"
        )
    return lines


def _given_by(site: Site, person: Person) -> list[str]:
    """Which source gives each attribute that is used, where there is a choice."""
    if len(person.identities) < 2:
        return []
    names = ["login", "email", *sorted(attributes_asked(site.loaded.rules) - {"login", "email"})]
    givers = {name: giver.source for name in names if (giver := person.giver(name)) is not None}
    return [", ".join(f"{quoted(name, 60)} comes from {source}" for name, source in givers.items())] if givers else []


def _member_of(
    person: Person, groups: dict[tuple[str, str], str], ways: dict[tuple[str, str], list[tuple[str, str]]]
) -> str:
    several = len(person.identities) > 1

    def named(group: tuple[str, str]) -> str:
        return quoted(groups.get(group, group[1]), 60)

    names = sorted(
        named(group)
        + (f" through {' and '.join(map(named, ways[group]))}" if group in ways else "")
        + (f" ({group[0]})" if several else "")
        for group in person.groups
    )
    return f"member of {', '.join(names) or 'no group that the policy reads'}"


def _so(site: Site, crowd: Crowd, person: Person) -> list[str]:
    """What it comes to, and what is in doubt about it."""
    lines = [f"the sources do not agree: {one}" for one in person.disagreements]
    if len(site.sources) > 1:
        lines.append(f"{site.loaded.settings.departure_authority()} is the authority on who has departed")
    for asked in crowd.questions:
        if person.id in asked.person_ids:
            lines.append(f"somebody else may be the same person: {asked.text}")
    lines.append(f"so the person is {person.standing.value}" + (f"; {person.unsure}" if person.unsure else ""))
    if person.departure_marked:
        lines.append("a departure mark is set: nothing is granted, created or enabled")
    if person.forced:
        lines.append(
            "a human has said that they have departed; that holds until `trueup lift`, whatever the source says"
        )
    return lines


def _correlated(site: Site, session: Session, person: Person) -> list[str]:
    links = people.links_of(session, person.id)
    lines = [
        f"{link.target}: account {link.account_id} is {link.state} as {link.rank}, {_by(link.key_used)}, since"
        f" {link.at:%Y-%m-%d} ({quoted(link.actor, 60)})"
        for link in links
    ]
    without = [name for name in site.targets if not any(link.target == name for link in links)]
    return lines + [f"{name}: no account is linked" for name in without]


def _by(key: str) -> str:
    return key if key == BY_HAND else f"by {key}"


def _rules(site: Site, policy: CompiledPolicy, person: Person, entitlement: str) -> list[str]:
    words = {True: "fits", False: "does not fit", None: "cannot be evaluated"}
    lines = []
    for verdict in policy.explain(person, site.today()):
        gives = [f"{n.target} {n.reference}" for n in verdict.rule.give]
        if entitlement and not any(entitlement.lower() in give.lower() for give in gives):
            continue
        owner = f"; owner {quoted(verdict.rule.owner, 80)}" if verdict.rule.owner else ""
        lines.append(f"{quoted(verdict.rule.name, 80)} {words[verdict.verdict]}: {verdict.reason}{owner}")
    return lines or ["no rule names it"]


def _desired(
    site: Site, policy: CompiledPolicy, person: Person, catalogues: dict[str, Catalogue], entitlement: str
) -> list[str]:
    if person.standing is Standing.DEPARTED:
        return ["nothing, because they have departed"]
    deserved = policy.desired(person, site.today())
    lines = [_UNTOUCHED[person.standing]] if person.standing in _UNTOUCHED else []
    for name, catalogue in catalogues.items():
        for one, rules in sorted(deserved.given.get(name, {}).items()):
            if _concerns(entitlement, one, catalogue):
                given = ", ".join(quoted(rule, 80) for rule in rules)
                source = _taken_from(site, name, one, rules, catalogue)
                lines.append(f"{name}: {catalogue.label(one)}, given by {given}{source}")
        for one, rule in sorted(deserved.frozen.get(name, {}).items()):
            if _concerns(entitlement, one, catalogue):
                lines.append(f"{name}: {catalogue.label(one)} is frozen by {rule}: neither granted nor revoked")
        for held in deserved.held.get(name, ()):
            if entitlement.lower() in f"attribute {held.name}".lower():
                lines.append(
                    f"{name}: attribute {quoted(held.name, 60)} is held, neither given nor taken:"
                    f" {quoted(held.reason, 300)}; an account without a value of its own is given nothing there"
                )
        for one, (rule, until) in sorted(deserved.expired.get(name, {}).items()):
            if _concerns(entitlement, one, catalogue):
                lines.append(f"{name}: {catalogue.label(one)} was given by {rule} until {until}")
    return lines or ["nothing"]


def _taken_from(site: Site, target: str, one: Entitlement, rules: Collection[str], catalogue: Catalogue) -> str:
    """` from their office`: where the value is none that a rule has written out."""
    item = catalogue.item(one.kind, one.id)
    named = (
        profile_name(said.reference.scope)
        for rule in site.loaded.rules
        if rule.name in rules
        for said in rule.give
        if said.target == target and item is not None and said.reference.name == item.name
    )
    return "".join(f" from their {quoted(name, 60)}" for name in sorted(set(named) - {""}))


_UNTOUCHED = {
    Standing.PENDING: "not started yet: nothing is given and nothing taken",
    Standing.HOLD: "on hold: nothing is given and nothing taken",
}


def _observed(session: Session, person: Person, catalogues: dict[str, Catalogue], entitlement: str) -> list[str]:
    lines = []
    for name, catalogue in catalogues.items():
        governance = governed.governance(session, name)
        ids = [link.account_id for link in people.links_of(session, person.id) if link.target == name]
        for account in mirror.account_rows_of(session, name, ids).values():
            lines += [_account_line(name, account), *_since(session, name, account.id)]
            lines += _values(session, name, account, catalogue, entitlement)
            for one in sorted(account.entitlements):
                if one.kind != ATTRIBUTE and _concerns(entitlement, one, catalogue):
                    note = "" if one in governance.governed else " (not governed: left alone)"
                    lines.append(f"{name}: holds {catalogue.label(one)}{note}")
        open_now = [e for e in episodes.open_episodes(session, name) if str(e.person_id) == person.id]
        lines += [
            f"{name}: drift since {e.opened_at:%Y-%m-%d %H:%M} UTC: {e.sentence}"
            for e in open_now
            if entitlement.lower() in f"{e.drift_key} {e.sentence}".lower()
        ]
    return lines or ["no account"]


def _since(session: Session, target: str, account_id: str) -> list[str]:
    """What is observed is as old as the last read; what Trueup has done about it since then is said."""
    snapshot = mirror.current_snapshot(session, target)
    made = runs.made_since(session, target, account_id, snapshot.started_at) if snapshot else []
    if not made:
        return []
    did = ", ".join(dict.fromkeys(quoted(step.sentence, 100) for step in made))
    return [f"{target}: changed by Trueup since that was read: {did}"]


def _values(session: Session, target: str, account: Account, catalogue: Catalogue, entitlement: str) -> list[str]:
    """What filters rows for an account, and where that comes from; of the attributes that the policy has named."""
    read = sweep.read_at(session, target, account.id)
    lines = []
    for item in catalogue.items:
        bare = Entitlement(ATTRIBUTE, item.id)
        if item.kind != ATTRIBUTE or item.definition is None or not _concerns(entitlement, bare, catalogue):
            continue
        label, own = quoted(catalogue.label(bare), 80), account.own(item.id)
        rest = quoted(attributes.told(attributes.fallback(account, item.definition), catalogue), 300)
        if not item.definition.readable:
            lines.append(f"{target}: {label} is hidden; nobody reads its values")
        elif item.id not in read:
            lines.append(f"{target}: {label}: its own value has not been read yet; without one it has {rest}")
        elif own is None:
            lines.append(f"{target}: {label} is {rest}; no value of its own, read {read[item.id]:%Y-%m-%d %H:%M} UTC")
        else:
            value = quoted(own, 120) or "empty"
            when = f"{read[item.id]:%Y-%m-%d %H:%M} UTC"
            lines.append(f"{target}: {label} = {value}, its own value, read {when}; without it: {rest}")
    return lines


def _account_line(target: str, account: Account) -> str:
    traits = f", {', '.join(sorted(t.value for t in account.traits))}" if account.traits else ""
    return f"{target}: {quoted(account.login)} ({account.id}) is {'active' if account.active else 'disabled'}{traits}"


def _concerns(wanted: str, entitlement: Entitlement, catalogue: Catalogue) -> bool:
    text = f"{entitlement.key} {catalogue.label(entitlement)}".lower()
    return wanted.lower() in text
