"""Looks at everything before anything is done: settings, rights, installations, counts; and takes down a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.core.policy import compile_policy, count_matches
from worker.core.render import counted, quoted
from worker.errors import Misconfigured, TrueupError
from worker.flows import guards, subscriptions
from worker.flows.crowd import gather
from worker.flows.reading import read
from worker.flows.site import Site
from worker.ports import Notice
from worker.store import governed, installations, joining, mirror, sweep

RARELY = 0.9  # of its people; a key that fewer have is worth a word


@dataclass
class Checkup:
    """What `trueup check` found. `counts` are those of the reads just made; `baselines` the accepted ones."""

    version: dict[str, str] = field(default_factory=dict)
    notices: list[tuple[str, Notice]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, Mapping[str, int]] = field(default_factory=dict)
    baselines: dict[str, Mapping[str, int]] = field(default_factory=dict)
    accepted: list[str] = field(default_factory=list)
    policy: list[str] = field(default_factory=list)  # what the policy names and nobody has
    warnings: list[str] = field(default_factory=list)

    def exit_code(self) -> int:
        """1 when something stops a run or the policy names what is not there; a missing baseline is no error."""
        return 1 if self.failures or self.policy or any(n.fatal for _, n in self.notices) else 0


def check(site: Site, *, accept: Sequence[str] | None = None, repin: str = "") -> Checkup:
    """Probe and read every connector. `accept` takes the counts of these connectors (none named: of all) as baseline;
    `repin` forgets which installation one of them was."""
    known = [*site.sources, *site.targets]
    for name in (*(accept or ()), *([repin] if repin else [])):
        if name not in known:
            raise Misconfigured(f"There is no source or target {quoted(name, 40)!r}; write one of {', '.join(known)}.")
    if repin:
        _forget_installation(site, repin)
    accepting = set(known if accept is not None and not accept else accept or ())
    found = Checkup()
    for name in known:
        try:
            _check_one(site, name, found, name in accepting)
        except TrueupError as error:
            found.failures.append((name, str(error)))
    _check_policy(site, found)
    return found


def _check_one(site: Site, name: str, found: Checkup, accepting: bool) -> None:
    connector = site.sources[name] if name in site.sources else site.targets[name]
    instance = connector.instance()
    found.version[name] = f"{instance.id} {instance.version}".strip()
    found.notices += [(name, notice) for notice in (*connector.probe(), *subscriptions.notices(site, name))]
    seen = read(site, name, accept_counts=accepting)
    found.counts[name] = seen.counts
    with site.begin() as session:
        if accepting:
            installations.accept_baseline(session, name, seen.snapshot_id, seen.counts, site.actor, site.now())
            facts = {"connector": name, "snapshot": seen.snapshot_id, "counts": seen.counts}
            site.record(session, site.event("baseline accepted", facts))
            found.accepted.append(name)
        if site.loaded.values.get(name):
            found.notices.append((name, _freshness(sweep.freshness(session, name))))
        baseline = installations.baseline(session, name)
        if baseline is not None:
            found.baselines[name] = baseline.counts


def _freshness(known: sweep.Freshness) -> Notice:
    """Of whom it is known which values of attributes they have themselves."""
    since = f", the longest unread since {known.oldest:%Y-%m-%d %H:%M} UTC" if known.oldest else ""
    text = f"Own attribute values are known of {counted(known.known, 'account')}{since}."
    if not known.unknown:
        return Notice(text)
    return Notice(
        f"{text} Those of {counted(known.unknown, 'linked account')} have not been read yet: where a rule gives an"
        " attribute, nothing is given to them before.",
        "Observe again, or read more at a time: `attribute_reads`.",
    )


def _forget_installation(site: Site, name: str) -> None:
    with site.begin() as session:
        if installations.unpin(session, name):
            site.record(session, site.event("installation unpinned", {"connector": name}))


def _check_joining(site: Site) -> list[str]:
    """Keys that many people lack, or share with others of their source: who has no value of one is joined by none."""
    keys = site.loaded.settings.joining.keys if len(site.sources) > 1 else ()
    told = []
    with site.begin() as session:
        for key in keys:
            for source, (number, filled, shared) in joining.value_counts(session, list(site.sources), key).items():
                what = f"joining: {quoted(key, 60)}"
                if filled < number * RARELY:
                    told.append(f"{what} is filled for {filled:,} of {counted(number, 'person', 'people')} of {source}")
                if shared:
                    told.append(f"{what} is not unique in {source}: {shared:,} people share theirs with somebody")
    return told


def _check_policy(site: Site, found: Checkup) -> None:
    """Names that mean nothing, rules that fit nobody: said here, before a run suspends them."""
    found.warnings += [*site.loaded.warnings, *_check_joining(site)]
    readable = [name for name in site.targets if name in found.counts]
    if len(readable) < len(site.targets) or any(name not in found.counts for name in site.sources):
        return
    crowd = gather(site)
    with site.begin() as session:
        catalogues = {name: mirror.catalogue(session, name) for name in readable}
        bindings = governed.group_bindings(session)
        meant = {name: governed.governance(session, name).bindings for name in readable}
    policy = compile_policy(site.loaded.rules, crowd.groups, catalogues, bindings, meant, site.loaded.values)
    found.policy += [u.sentence for u in policy.suspended]
    found.policy += [text for name in readable for text in guards.unmeant(site, name, catalogues[name])]
    suspended = {u.rule for u in policy.suspended}
    matches = count_matches(policy, crowd.people.values(), site.today())
    found.warnings += [
        f"{rule.where}: rule {quoted(rule.name, 60)} fits nobody; is its condition right?"
        for rule in site.loaded.rules
        if rule.name not in suspended and not matches[rule.name]
    ]
    site.say(f"{counted(len(site.loaded.rules), 'rule')}, {counted(len(crowd.people), 'person', 'people')}")
