"""Reads a company's policy in a dozen lines that share nothing with the engine, so that one can check the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from worker.sandbox.company import Employee

Holding = str | tuple[str, str]


def deserved(policy: Mapping[str, Any], person: Employee | None, today: date) -> dict[str, set[Holding]]:
    """What the rules give a person by target (Looker roles by name, TeamCity's as (id, scope), groups as "group X");
    for nobody, everything that any rule names."""
    found: dict[str, set[Holding]] = {"looker": set(), "teamcity": set()}
    for rule in policy["rules"]:
        over = "until" in rule and rule["until"] < today
        if person is None or (not over and _fits(rule["when"], person)):
            for given in rule["give"]:
                for target, grants in (policy["roles"][given] if isinstance(given, str) else given).items():
                    found[target] |= set(_held(grants))
    return found


def _fits(when: Mapping[str, Any], person: Employee) -> bool:
    match when:
        case {"group": name}:
            return name in person.groups
        case {"attribute": name, "is": value}:
            return person.profile.get(name) == value
        case {"all": parts}:
            return all(_fits(part, person) for part in parts)
        case {"any": parts}:
            return any(_fits(part, person) for part in parts)
        case {"not": part}:
            return not _fits(part, person)
    raise ValueError(when)


def _held(grants: Mapping[str, Any]) -> Iterator[Holding]:
    for role in grants.get("roles", ()):
        if isinstance(role, str):
            yield role
        else:
            yield role["role"], "g" if role.get("everywhere") else f"p:{role['project']}"
    for group in grants.get("groups", ()):
        yield f"group {group}"
