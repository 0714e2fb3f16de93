"""Puts the made-up company into Entra ID, alone or beside Okta, with the trouble that only a tenant has."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker.errors import Misconfigured
from worker.sandbox import acme, regions
from worker.sandbox.company import (
    AppRole,
    Company,
    Employee,
    LookerUser,
    Story,
    Tenant,
    TenantGroup,
    TenantThing,
    TenantUser,
)
from worker.sandbox.names import address

OKTA, ENTRA = "okta", "entra"
PLACES = ((OKTA,), (ENTRA,), (OKTA, ENTRA))

# Who is in the inner group is in the outer one, on one way or on two: Team Web is reached twice.
NESTED: Mapping[str, tuple[str, ...]] = {
    "Engineering": ("Product Development", "Customer Experience", "Team Platform", "Release Engineering"),
    "Product Development": ("Team Web", "Team Mobile", "Quality Assurance"),
    "Customer Experience": ("Team Web", "Team Payments"),
    "Data": ("Team Data",),
    "Release Engineering": ("Release Rotation",),
    "Release Rotation": ("Release Engineering",),  # a circle, and nobody is in it who is not in both anyway
}
_MORE_GROUPS = ("Product Development", "Customer Experience", "Release Rotation")
ENGINEERING = frozenset({"Engineering", *(team for job in acme.JOBS for team in job.teams if team != "Team Data")})
_KINDS = {
    "Everyone": "dynamic", "VPN Users": "mail-enabled security", "Quality Assurance": "mail-enabled security",
    "Employees": "distribution", **{f"Office {name}": "microsoft 365" for name in acme.OFFICES},
}  # fmt: skip
_PROFILE = {
    "userPrincipalName": "login", "mail": "email", "displayName": "displayName", "givenName": "firstName",
    "surname": "lastName", "jobTitle": "title", "department": "department", "employeeId": "employeeNumber",
    "employeeType": "userType",
}  # fmt: skip
# Kinds of stories beside those of every company; these must be left exactly as they are.
HARMLESS_AT_ENTRA = frozenset({"mail-less", "foreign guest", "guest with our address"})
_NAMESPACE = uuid.UUID("5d2d7c1e-0f5a-4f6e-9d43-0a6f1c0e7b11")
_ANALYTICS_APP, _READER_ROLE = "33333333-4444-4555-8666-000000000001", "33333333-4444-4555-8666-000000000002"


def placed(company: Company, sources: Sequence[str]) -> Company:
    """The company with its people where they are known: at Okta, at Entra ID, or at both; policy and stories fit.

    At both: most people, joined by their employee number, Engineering and its teams being kept at Entra ID and every
    other group at Okta; of each six people of no particular status one is at Okta only and one at Entra ID only.
    """
    if tuple(sources) not in PLACES:
        known = ", ".join(",".join(place) for place in PLACES)
        raise Misconfigured(
            f"The sandbox company can be at {known}; it cannot be at {','.join(sources) or 'no source'}."
        )
    if ENTRA not in sources:
        return company
    both = OKTA in sources
    at_entra = [e for e in company.employees if not both or _is_at_entra(e)]
    at_okta = [e for e in company.employees if both and _is_at_okta(e)]
    joint = {e.id for e in at_entra} & {e.id for e in at_okta}
    strangers = list(_strangers(company))
    accounts = {u.email for u in company.looker_users} | {u.username for u in company.teamcity_users}
    people = [_user(e, early=e.profile["login"] in accounts) for e in at_entra]
    told = company.stories if both else tuple(filter(None, map(_story_at_entra, company.stories)))
    mailless, told_of_mailless = _without_mail(people, {s.who for s in company.stories}, accounts)
    return replace(
        company,
        employees=tuple(_at_okta_too(e) if e.id in joint else e for e in at_okta),
        tenant=Tenant(
            users=(*mailless, *(user for user, _ in strangers)),
            groups=tuple(_groups(company, at_entra, joint, strangers)),
            things=_THINGS,
            app_roles=(AppRole(_ANALYTICS_APP, "Looker", _READER_ROLE, "Reader", (_group_id(acme.READERS),)),),
        ),
        looker_users=(*company.looker_users, _account_of_the_leaver(company)),
        policy=policy_for(company.policy, sources),
        stories=(*told, *told_of_mailless, *_stories_of_strangers(company)),
    )


def tenant_id(employee: Employee) -> str:
    """The object id of somebody at Entra ID."""
    return str(uuid.uuid5(_NAMESPACE, employee.id))


def _group_id(name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"group {name}"))


def _number(employee: Employee) -> int:
    return int(employee.profile["employeeNumber"])


def _administers(employee: Employee) -> bool:
    return acme.LOOKER_ADMINISTRATORS in employee.groups or employee.profile["title"] == "Chief Executive"


def _is_at_entra(employee: Employee) -> bool:
    """Where both are used: who left before has ever been at one of them only, and Okta alone has its odd statuses."""
    if employee.status == "DEPROVISIONED":
        return _number(employee) % 2 == 0
    return employee.status == "ACTIVE" and (_administers(employee) or _number(employee) % 6 != 1)


def _is_at_okta(employee: Employee) -> bool:
    if employee.status in ("DEPROVISIONED", "ACTIVE") and not _administers(employee):
        return _number(employee) % (2 if employee.status == "DEPROVISIONED" else 6) != 0
    return True


def _at_okta_too(employee: Employee) -> Employee:
    return replace(employee, groups=tuple(g for g in employee.groups if g not in ENGINEERING))


# --- the tenant ------------------------------------------------------------------------------------------------------


def _user(employee: Employee, *, early: bool) -> TenantUser:
    """`early`: there are accounts; a person who has not started is then neither here nor there."""
    profile = {ours: employee.profile[theirs] for ours, theirs in _PROFILE.items()}
    office = next((g.removeprefix("Office ") for g in employee.groups if g.startswith("Office ")), None)
    enabled: dict[str, bool | None] = {
        "DEPROVISIONED": False, "SUSPENDED": False, "ACTIVATING": None, "STAGED": None if early else False,
    }  # fmt: skip
    deleted = employee.status == "DEPROVISIONED" and _number(employee) % 4 in (0, 1)
    properties = {
        **profile, "accountEnabled": enabled.get(employee.status, True), "userType": "Member",
        "companyName": "Acme", "officeLocation": office, **_division(employee.profile.get(regions.REGION)),
    }  # fmt: skip
    return TenantUser(tenant_id(employee), properties, deleted)


def _division(name: str | None) -> Mapping[str, Any]:
    return {"employeeOrgData": {"division": name, "costCenter": None}} if name else {}


_THINGS = (
    TenantThing(
        str(uuid.uuid5(_NAMESPACE, "device")), "device", {"displayName": "Lobby Screen", "accountEnabled": True}
    ),
    TenantThing(
        str(uuid.uuid5(_NAMESPACE, "bot")), "servicePrincipal",
        {"displayName": "Report Bot", "appId": str(uuid.uuid5(_NAMESPACE, "bot's app")), "appRoles": []},
    ),
)  # fmt: skip


def _groups(
    company: Company, people: Iterable[Employee], joint: Iterable[str], strangers: Iterable[tuple[TenantUser, Any]]
) -> Iterator[TenantGroup]:
    """Every group that Okta has, too, and those between them. Who is in a team is in the teams' group by nesting."""
    members: dict[str, list[str]] = {}
    shared = frozenset(joint)
    for employee in people:
        for name in _direct(employee, joint=employee.id in shared):
            members.setdefault(name, []).append(tenant_id(employee))
    for user, groups in strangers:
        for name in groups:
            members.setdefault(name, []).append(user.id)
    members.setdefault(acme.READERS, []).extend(thing.id for thing in _THINGS)
    for name in (*(group.name for group in company.source_groups), *_MORE_GROUPS):
        inside = (*members.get(name, ()), *map(_group_id, NESTED.get(name, ())))
        yield TenantGroup(_group_id(name), name, _KINDS.get(name, "security"), inside)


def _direct(employee: Employee, *, joint: bool) -> Iterator[str]:
    """Names of the groups that somebody is in directly."""
    teams = set(employee.groups) & (ENGINEERING - {"Engineering"} | {"Team Data"})
    for name in employee.groups:
        if joint and name not in ENGINEERING and name != "Everyone":
            continue
        if name == "Release Engineering" and _number(employee) % 2:
            yield "Release Rotation"
        elif not (teams and name in ("Engineering", "Data")):
            yield name


def _without_mail(
    people: Sequence[TenantUser], told_of: set[str], accounts: set[str]
) -> tuple[Sequence[TenantUser], Sequence[Story]]:
    """One of those who are in order has no address at Entra ID, and is known by the principal name alone."""
    fit = (
        u for u in people
        if u.properties["userPrincipalName"] in accounts - told_of and u.properties["accountEnabled"]
        and u.properties["jobTitle"] == "Account Executive"
    )  # fmt: skip
    chosen = next(fit, None)
    if chosen is None:
        return people, ()
    bare = replace(chosen, properties={**chosen.properties, "mail": None})
    text = "has no e-mail address at the source and keeps everything"
    story = Story("mail-less", chosen.properties["userPrincipalName"], ENTRA, text)
    return [bare if user is chosen else user for user in people], (story,)


# --- people whom only a tenant has -----------------------------------------------------------------------------------

_REUSED = address("robin.archer")
_GUEST = "anna.brandt_partner.example#EXT#@acme.onmicrosoft.com"
_DOUBLE = "grace.okafor_partner.example#EXT#@acme.onmicrosoft.com"


def _strangers(company: Company) -> Iterator[tuple[TenantUser, tuple[str, ...]]]:
    """Beside the company's people, with the groups that they are in directly."""
    yield _stranger(_GUEST, "Anna", "Brandt", "anna.brandt@partner.example", userType="Guest"), (acme.READERS,)
    chief = company.employees[0].profile
    double = _stranger(_DOUBLE, chief["firstName"], chief["lastName"], chief["email"], userType="Guest")
    yield double, ("Finance", acme.LOOKER_ADMINISTRATORS)
    old = _stranger(_REUSED, "Robin", "Archer", _REUSED, mark="leaver", employeeId="9001", department="Finance")
    yield replace(old, deleted=True), ("Finance", acme.READERS)
    known = {"employeeId": "9002", "department": "Sales", **_division(_region(company))}
    yield _stranger(_REUSED, "Robin", "Archer", _REUSED, **known), (acme.READERS,)


def _stranger(login: str, first: str, last: str, mail: str, *, mark: str = "", **more: Any) -> TenantUser:
    names = {"displayName": f"{first} {last}", "givenName": first, "surname": last, "mail": mail}
    known = {"userPrincipalName": login, **names, "accountEnabled": True, "userType": "Member", **more}
    return TenantUser(str(uuid.uuid5(_NAMESPACE, f"{login}{mark}")), known)


def _account_of_the_leaver(company: Company) -> LookerUser:
    taken = {int(user.id) for user in company.looker_users}
    id, groups, region = str(max(taken) + 1), ("Viewers", "Finance"), _region(company)
    attributes = ((regions.ATTRIBUTE, region),) if region else ()
    return LookerUser(id, _REUSED, "Robin", "Archer", False, "standard", (), groups, attributes)


def _region(company: Company) -> str | None:
    """That of the chief; nobody else has one where the chief has none."""
    return company.employees[0].profile.get(regions.REGION)


def _stories_of_strangers(company: Company) -> Iterator[Story]:
    yield Story("reused name", _REUSED, "looker", "left, was deleted, and somebody new has the same principal name")
    yield Story("foreign guest", _GUEST, ENTRA, "is another company's, and is given nothing by a group of ours")
    text = f"is a guest with the address of {company.employees[0].profile['login']}, and gets nothing of theirs"
    yield Story("guest with our address", _DOUBLE, ENTRA, text)


# --- what the rest says of it ----------------------------------------------------------------------------------------


def _story_at_entra(story: Story) -> Story | None:
    """Entra ID has fewer statuses than Okta: who is suspended there is blocked here, and blocked is departed."""
    match story.kind:
        case "suspended":
            return replace(story, kind="leaver", text="is blocked at the source and can still sign in")
        case "pre-hire with account":
            return replace(story, kind="unknown status", where=ENTRA)
        case "unknown status":
            return replace(story, where=ENTRA, text="may or may not be blocked: nothing is given, nothing taken")
        case "pre-hire" | "locked out" | "password expired":
            return None
    return story


def policy_for(policy: str, sources: Sequence[str]) -> str:
    """A company's policy, written for Okta, where its people are. With both, a rule asks either source for its group;
    contractors are told apart by what each source calls it."""
    if ENTRA not in sources:
        return policy
    okta_canaries = re.search(r"  okta:\n((?:    .*\n)+)", policy)
    assert okta_canaries
    canaries = f"  entra:\n{okta_canaries[1]}"
    if OKTA not in sources:
        return policy.replace(okta_canaries[0], canaries).replace("attribute: userType", "attribute: employeeType")
    policy = policy.replace(okta_canaries[0], okta_canaries[0] + canaries)
    contractors = "{any: [{attribute: userType, is: Contractor}, {attribute: employeeType, is: Contractor}]}"
    policy = policy.replace("{attribute: userType, is: Contractor}", contractors)
    return re.sub(r"\{group: ([^}]+)\}", r"{group: \1, source: [okta, entra]}", policy)
