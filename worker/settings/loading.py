"""Makes of trueup.yaml what the engine works with, or one error that lists everything that is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from worker.core.conditions import shown, similar
from worker.core.identity import ATTRIBUTE, Reference
from worker.core.policy import (
    AllOf,
    AnyOf,
    AttributeIs,
    AttributeMatches,
    Condition,
    Everyone,
    GroupIs,
    Named,
    NotOf,
    Rule,
)
from worker.core.values import PROFILE, ValueRule, profile_name
from worker.references import SecretReference
from worker.settings import complaints
from worker.settings.connectors import Connectors, Installed, Side
from worker.settings.document import Document, KeyPath, key_text, misconfigured, read
from worker.settings.model import (
    AllWhen,
    AnyWhen,
    AttributeWhen,
    EveryoneWhen,
    GroupWhen,
    NotWhen,
    RuleEntry,
    Settings,
)

NOT_DECIDING = frozenset({"schedule", "rates", "windows", "freezes", "notify", "retention", "api", "hooks"})
"""Sections that say when and how Trueup works, not what anybody deserves."""

TRANSPORT = frozenset({"ca_file", "timeout", "attribute_reads"})
"""Connector keys that say how to reach it, not what to decide."""


@dataclass(frozen=True)
class Loaded:
    """A trueup.yaml that is right. `sources` and `targets` are the connectors' own settings, in the order as written;
    `grants` by target its model for naming entitlements, with `references()`; `values` by target and attribute what
    may be given.

    `places` are file:line by key (`rules[3].give`). `policy_hash` covers what decisions depend on, `settings_hash`
    everything that the file says; secrets enter as their references. `warnings` are sentences. `hooks` says for each
    source that has hooks of which kind they are: "okta", "graph".
    """

    path: Path
    settings: Settings
    sources: Mapping[str, BaseModel]
    targets: Mapping[str, BaseModel]
    grants: Mapping[str, Any]
    rules: tuple[Rule, ...]
    privileged: Mapping[str, tuple[Reference, ...]]
    released: Mapping[str, tuple[Reference, ...]]
    values: Mapping[str, Mapping[str, ValueRule]]
    places: Mapping[str, str]
    policy_hash: str
    settings_hash: str
    warnings: tuple[str, ...]
    hooks: Mapping[str, str] = field(default_factory=dict)

    def place(self, *path: str | int) -> str:
        """file:line and key, as complaints begin: `trueup.yaml:12: api.tokens.helpdesk`."""
        key = key_text(path)
        return f"{self.places.get(key, str(self.path))}: {key}"


def load(path: Path, connectors: Connectors | None = None) -> Loaded:
    """Read one YAML file, or all of a folder. Raises Misconfigured with one line for each thing that is wrong."""
    document = read(path)
    parts = _Parts(document, connectors or Installed())
    try:
        settings = Settings.model_validate(document.value)
    except ValidationError as error:
        complaints.note(error, document, Settings)
        raise misconfigured(document.faults) from None
    return _Reading(path, document, settings, parts).loaded()


class _Parts:
    """What the connectors make of their own sections; these are looked at even where the rest of the file is wrong."""

    def __init__(self, document: Document, connectors: Connectors) -> None:
        self._document = document
        self._connectors = connectors
        self.grants: dict[str, Any] = {}
        self.trustworthy: dict[str, Collection[str]] = {}
        self.hooks: dict[str, str] = {}
        self.sources = self._settings("sources")
        self.targets = self._settings("targets")

    def _settings(self, side: Side) -> dict[str, BaseModel]:
        found: dict[str, BaseModel] = {}
        sections = self._document.value.get(side)
        for name, section in sections.items() if isinstance(sections, dict) else ():
            module = self._module(side, name, section) if isinstance(section, dict) else None
            if module is None:
                continue
            if side == "targets":
                self.grants[name] = module.Grants
                self.trustworthy[name] = getattr(module, "TRUSTED_KEYS", ("login",))
            else:
                self.hooks[name] = getattr(module, "HOOKS", "")
            try:
                found[name] = module.Settings.model_validate(section)
            except ValidationError as error:
                complaints.note(error, self._document, module.Settings, (side, name))
        return found

    def values(self) -> dict[str, Mapping[str, ValueRule]]:
        """By target, for those that have attributes, what may be given of each."""
        asked = {name: getattr(section, "value_rules", None) for name, section in self.targets.items()}
        return {name: rules() for name, rules in asked.items() if rules is not None}

    def _module(self, side: Side, name: str, section: Mapping[str, Any]) -> Any:
        known = self._connectors.types(side)
        type = section.get("type")
        if isinstance(type, str) and type in known:
            return self._connectors.module(side, type)
        given = f"there is no type {shown(type)} of {side}" if isinstance(type, str) else "is missing"
        self._document.fault((side, name, "type"), f"{given}; write {_one_of(known)}")
        return None


class _Reading:
    """One pass over a document whose form is right: resolves every name in it, collecting faults and warnings."""

    def __init__(self, path: Path, document: Document, settings: Settings, parts: _Parts) -> None:
        self._path = path
        self._document = document
        self._settings = settings
        self._parts = parts
        self._warnings: list[str] = []

    def loaded(self) -> Loaded:
        settings, sources, targets = self._settings, self._parts.sources, self._parts.targets
        self._check_names()
        bundles = {
            name: self._references(("roles", name), grants, may_be_empty=True)
            for name, grants in settings.roles.items()
        }
        rules = tuple(self._rule(number, entry, bundles) for number, entry in enumerate(settings.rules))
        privileged = self._by_target(("privileged",), settings.privileged)
        released = self._by_target(("released",), settings.released)
        self._check_released(rules, released)
        if self._document.faults:
            raise misconfigured(self._document.faults)
        self._warn(rules)
        return Loaded(
            self._path,
            settings,
            MappingProxyType(sources),
            MappingProxyType(targets),
            MappingProxyType(self._parts.grants),
            rules,
            MappingProxyType(privileged),
            MappingProxyType(released),
            MappingProxyType(self._parts.values()),
            {key_text(path): str(place) for path, place in self._document.places.items()},
            _digest(_deciding(settings, sources, targets)),
            _digest([settings.model_dump(mode="json", by_alias=True), _dumped(sources), _dumped(targets)]),
            tuple(self._warnings),
            MappingProxyType({name: self._parts.hooks[name] for name in settings.hooks}),
        )

    def _check_names(self) -> None:
        """Every name of a source or target that is used must be one that is declared."""
        settings = self._settings
        sources, targets = list(settings.sources), list(settings.targets)
        for name in set(sources) & set(targets):
            self._document.fault(("targets", name), "a source has the same name; call one of them otherwise")
        if settings.authority is not None:
            self._declared(("authority",), settings.authority, sources, "source")
        for section in ("correlation", "privileged", "released", "windows"):
            for name in getattr(settings, section):
                self._declared((section, name), name, targets, "target")
        for name in settings.protected.accounts:
            self._declared(("protected", "accounts", name), name, targets, "target")
        for index, freeze in enumerate(settings.freezes):
            for place, name in enumerate(freeze.targets):
                self._declared(("freezes", index, "targets", place), name, targets, "target")
        for section in ("must_see", "rates"):
            for name in getattr(settings, section):
                self._declared((section, name), name, sources + targets, "source or target")
        self._check_trust()
        self._check_intake()
        self._check_joining()
        self._check_canaries()

    def _check_trust(self) -> None:
        for target, keys in self._settings.correlation.items():
            trustworthy = self._parts.trustworthy.get(target, keys.trust)
            for index, key in enumerate(keys.trust):
                if key not in trustworthy:
                    said = f"anybody can change their {key} in {target}, so it links nobody; list it under `propose`"
                    self._document.fault(("correlation", target, "trust", index), said)

    def _check_intake(self) -> None:
        """Who may tell us what: tokens and sources that there are, and hooks of a kind that the source has."""
        api, known = self._settings.api, list(self._settings.api.tokens)
        for key, names in (("may_force", api.may_force), ("sees_all", api.sees_all)):
            for index, name in enumerate(names):
                self._declared(("api", key, index), name, known, "token under `api.tokens`")
        for name, hook in self._settings.hooks.items():
            path: KeyPath = ("hooks", name)
            if not self._declared(path, name, list(self._settings.sources), "source"):
                continue
            kind = self._parts.hooks.get(name)
            if kind == "":
                self._document.fault(path, f"the vendor of {name} has no hooks that Trueup knows; remove this")
            elif kind == "graph" and hook.url is None:
                self._document.fault((*path, "url"), "is missing; add the https address at which Graph reaches us")
            elif kind == "okta" and hook.url is not None:
                said = "Okta is told in its own console where to call, and not by us; remove this key"
                self._document.fault((*path, "url"), said)

    def _check_joining(self) -> None:
        """A key that stands there twice is not trusted and untrusted at once."""
        joining = self._settings.joining
        for side, keys in (("trust", joining.trust), ("propose", joining.propose)):
            for index, key in enumerate(keys):
                if key in keys[:index] or (side == "propose" and key in joining.trust):
                    said = f"{shown(key)} stands under `joining` twice; leave it where it is meant"
                    self._document.fault(("joining", side, index), said)

    def _check_canaries(self) -> None:
        """Sources show people and groups, targets show accounts."""
        for name, seen in self._settings.must_see.items():
            at_source = name in self._settings.sources
            unfit = {"accounts": seen.accounts} if at_source else {"people": seen.people, "groups": seen.groups}
            fit = "people and groups" if at_source else "accounts"
            for key in (key for key, listed in unfit.items() if listed):
                self._document.fault(("must_see", name, key), f"{name} has none of these; name {fit} of it")

    def _declared(self, path: KeyPath, name: str, known: Sequence[str], noun: str) -> bool:
        if name in known:
            return True
        hint = similar(name, known) or f"write {_one_of(known)}"
        self._document.fault(path, f"there is no {noun} {shown(name)}; {hint}")
        return False

    def _references(
        self, path: KeyPath, grants: Mapping[str, Mapping[str, Any]], *, may_be_empty: bool = False
    ) -> tuple[Named, ...]:
        """Entitlements by target, each with its place; `{looker: {}}` in a bundle says: nothing there, on purpose."""
        found: list[Named] = []
        for target, section in grants.items():
            below = (*path, target)
            if (
                not self._declared(below, target, list(self._settings.targets), "target")
                or target not in self._parts.grants
            ):
                continue
            if not section and may_be_empty:
                continue
            try:
                references = self._parts.grants[target].model_validate(section).references()
            except ValidationError as error:
                complaints.note(error, self._document, self._parts.grants[target], below)
                continue
            if not references and not may_be_empty:
                self._document.fault(below, "names no entitlement; name one, or remove it")
            self._check_values(below, target, references)
            where = str(self._document.place(below))
            found += [Named(target, reference, where) for reference in references]
        return tuple(found)

    def _check_values(self, path: KeyPath, target: str, references: Iterable[Reference]) -> None:
        """Rules give attributes that are declared, with values that may be; elsewhere an attribute is a name alone."""
        gives = path[0] in ("roles", "rules")
        if target not in self._parts.targets:
            return  # its own section is wrong, which has been said
        declared = self._parts.values().get(target, {})
        for one in (reference for reference in references if reference.kind == ATTRIBUTE):
            below: KeyPath = (*path, "attributes", *([one.name] if one.scope or gives else []))
            if not gives and one.scope:
                self._document.fault(below, f"means every value; write the name alone: attributes: [{one.name}]")
            elif gives and one.name not in declared:
                hint = similar(one.name, declared)
                known = f"; {hint}" if hint else ""
                said = f"is not declared; say under targets.{target}.attributes which values it may have{known}"
                self._document.fault(below, said)
            elif gives:
                self._check_value(below, one, declared[one.name])

    def _check_value(self, path: KeyPath, reference: Reference, rule: ValueRule) -> None:
        value = reference.scope
        if not value:
            self._document.fault(path, f"say which value: attributes: {{{reference.name}: EMEA}}, or {PROFILE}<name>")
        elif value == PROFILE or (value.startswith("$profile") and not profile_name(value)):
            self._document.fault(path, f"write {PROFILE} and the name of a profile attribute, such as {PROFILE}office")
        elif not profile_name(value) and (problem := rule.admitted(value)[1]):
            self._document.fault(path, f"cannot be given as {shown(value)}: {problem}")

    def _by_target(self, path: KeyPath, grants: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Reference, ...]]:
        return {
            target: tuple(named.reference for named in self._references(path, {target: section}))
            for target, section in grants.items()
            if target in self._settings.targets
        }

    def _check_released(self, rules: Sequence[Rule], released: Mapping[str, tuple[Reference, ...]]) -> None:
        """What a rule gives has not left the policy."""
        for target, references in released.items():
            giving = {named.reference.bare: rule for rule in rules for named in rule.give if named.target == target}
            for reference in references:
                if reference in giving:
                    rule = giving[reference]
                    said = (
                        f"{reference} is still given by rule {shown(rule.name)} at {rule.where}; remove one of the two"
                    )
                    self._document.fault(("released", target), said)

    def _rule(self, number: int, entry: RuleEntry, bundles: Mapping[str, tuple[Named, ...]]) -> Rule:
        path: KeyPath = ("rules", number)
        for earlier, other in enumerate(self._settings.rules[:number]):
            if other.name == entry.name:
                first = self._document.place(("rules", earlier))
                self._document.fault((*path, "name"), f"the rule at {first} has the same name; call one otherwise")
                break
        give: list[Named] = []
        for index, given in enumerate(entry.give):
            below = (*path, "give", index)
            if isinstance(given, dict):
                give += self._references(below, given)
            elif given in bundles:
                give += bundles[given]
            else:
                self._document.fault(below, f"there is no bundle {shown(given)}; {_bundle_hint(bundles)}")
        where = str(self._document.place(path))
        condition = self._condition((*path, "when"), entry.when)
        return Rule(entry.name, condition, tuple(give), entry.until, entry.owner, entry.why, where)

    def _condition(self, path: KeyPath, when: Any) -> Condition:
        match when:
            case GroupWhen(group=name, id=id):
                groups = tuple(GroupIs(name, source, id or "") for source in self._sources(path, when))
                return groups[0] if len(groups) == 1 else AnyOf(groups)
            case AttributeWhen(attribute=name, matches=None):
                return AttributeIs(name, (when.is_,) if when.is_ is not None else tuple(when.in_ or ()))
            case AttributeWhen(attribute=name, matches=patterns):
                return AttributeMatches(name, patterns or ())
            case AllWhen(all=parts):
                return AllOf(tuple(self._condition((*path, "all", n), part) for n, part in enumerate(parts)))
            case AnyWhen(any=parts):
                return AnyOf(tuple(self._condition((*path, "any", n), part) for n, part in enumerate(parts)))
            case NotWhen(not_=part):
                return NotOf(self._condition((*path, "not"), part))
            case EveryoneWhen():
                return Everyone()
        raise AssertionError(f"a condition of an unknown kind passed validation: {type(when).__name__}")

    def _sources(self, path: KeyPath, when: GroupWhen) -> Sequence[str]:
        sources = list(self._settings.sources)
        if when.source is None:
            if len(sources) > 1:
                self._document.fault(path, f"which source's group? Add `source:` with {_one_of(sources)}, or a list")
            return sources[:1]
        for source in when.source:
            self._declared((*path, "source"), source, sources, "source")
        if when.id and len(when.source) > 1:
            self._document.fault((*path, "id"), "an id is that of one source's group; name the one source with it")
        return when.source

    def _warn(self, rules: Sequence[Rule]) -> None:
        settings = self._settings
        used = {given for entry in settings.rules for given in entry.give if isinstance(given, str)}
        for name, grants in settings.roles.items():
            place = self._document.place(("roles", name))
            missing = [target for target in settings.targets if target not in grants]
            if missing and grants:
                self._warnings.append(
                    f"{place}: bundle {shown(name)} means nothing in {' and '.join(missing)};"
                    f" if that is meant, write `{missing[0]}: {{}}`"
                )
            if name not in used:
                self._warnings.append(f"{place}: no rule gives bundle {shown(name)}")
        if len(settings.sources) > 1 and not settings.joining.keys:
            self._warnings.append(
                f"{self._document.place(('sources',))}: there are several sources and no `joining`, so whoever is in"
                " two of them is two people; name a key, such as `joining: {trust: [employeeNumber]}`"
            )
        if not rules:
            self._warnings.append(f"{self._document.place(())}: there are no rules, so nobody deserves anything")
        if settings.mode == "observe" and any(
            getattr(settings.gates, op) == "auto" for op in type(settings.gates).model_fields
        ):
            place = self._document.place(("gates",))
            self._warnings.append(f"{place}: mode is observe, yet gates let some changes be made by themselves")


def _one_of(names: Iterable[str]) -> str:
    listed = list(names)
    return f"one of {', '.join(listed)}" if len(listed) > 1 else "".join(listed) or "nothing: none is known"


def _bundle_hint(bundles: Iterable[str]) -> str:
    known = list(bundles)
    return f"write {_one_of(known)}" if known else "declare it under `roles:`, or name entitlements by target"


def _dumped(sections: Mapping[str, BaseModel]) -> list[Any]:
    return [[name, section.model_dump(mode="json")] for name, section in sections.items()]


def _deciding(settings: Settings, sources: Mapping[str, BaseModel], targets: Mapping[str, BaseModel]) -> Any:
    """What decisions depend on: not how a connector is reached, not who owns a rule, not the order of rules."""
    policy = settings.model_dump(mode="json", by_alias=True, exclude={"sources", "targets", "rules", *NOT_DECIDING})
    rules = sorted(
        (entry.model_dump(mode="json", by_alias=True, exclude={"owner", "why"}) for entry in settings.rules),
        key=lambda entry: str(entry["name"]),
    )
    return ["1", policy, rules, _without_transport(sources), _without_transport(targets)]


def _without_transport(sections: Mapping[str, BaseModel]) -> list[Any]:
    return [[name, one.model_dump(mode="json", exclude=_transport_keys(one))] for name, one in sections.items()]


def _transport_keys(section: BaseModel) -> set[str]:
    secrets = {key for key in type(section).model_fields if isinstance(getattr(section, key), SecretReference)}
    return secrets | TRANSPORT


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
