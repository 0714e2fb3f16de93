"""Makes the company up: the same one for the same size and seed, most people in order, the trouble planted by name."""

from __future__ import annotations

import random

from worker.errors import Misconfigured
from worker.sandbox import acme, regions
from worker.sandbox.company import Company, SourceGroupSpec
from worker.sandbox.staff import Town, hire
from worker.sandbox.trouble import plant_people, plant_strays

SMALLEST, LARGEST = 12, 100_000
_GONE = 33  # every so many-th employee left long ago, and nothing is left of them


def company(
    size: int, seed: int = 1, *, broken_rule: bool = False, filters: bool = False, trouble: bool = True
) -> Company:
    """A company of `size` people at Okta, leavers included. `broken_rule` adds a rule whose group does not exist,
    `filters` regions by which Looker filters rows (see worker.sandbox.regions), which cost a read per account; without
    `trouble` everybody has what the policy gives them, and nothing else."""
    if not SMALLEST <= size <= LARGEST:
        raise Misconfigured(f"A sandbox company has {SMALLEST} to {LARGEST:,} people, not {size:,}.")
    town = hire(size, random.Random(seed))  # noqa: S311 (nothing secret hangs on it)
    if trouble:
        plant_people(town)
        plant_strays(town)
    if filters:
        regions.give(town)
    _let_go(town)
    owners = [h for h in town.hires if h.looker or h.teamcity]
    policy = acme.POLICY
    if filters:
        policy = policy.replace("\nprotected:", f"{regions.RULE}\nprotected:")
    if broken_rule:
        policy = policy.replace("\nprotected:", f"{acme.BROKEN_RULE}\nprotected:")
    return Company(
        employees=tuple(h.employee() for h in town.hires),
        source_groups=tuple(
            SourceGroupSpec(f"00g{n:013d}acme", name, type) for n, (name, type) in enumerate(acme.SOURCE_GROUPS)
        ),
        looker_users=(*(h.looker for h in owners if h.looker), *town.looker_strays),
        looker_groups=acme.LOOKER_GROUPS,
        looker_roles=acme.LOOKER_ROLES,
        teamcity_users=(*(h.teamcity for h in owners if h.teamcity), *town.teamcity_strays),
        teamcity_groups=acme.TEAMCITY_GROUPS,
        teamcity_roles=acme.TEAMCITY_ROLES,
        teamcity_projects=acme.TEAMCITY_PROJECTS,
        policy=policy,
        stories=tuple(town.stories),
        looker_attributes=regions.LOOKER_ATTRIBUTES if filters else (),
    )


def _let_go(town: Town) -> None:
    """People who left in good order: known to the source, gone everywhere else."""
    for person in town.hires[_GONE::_GONE]:
        if not person.storied and acme.LOOKER_ADMINISTRATORS not in person.groups:
            person.status, person.groups, person.looker, person.teamcity = "DEPROVISIONED", [], None, None
