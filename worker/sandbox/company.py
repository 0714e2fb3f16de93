"""A made-up company of any size: its people at the source, their accounts in the targets, and a policy that fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Employee:
    """A user at Okta. `profile` holds Okta's base attributes; `groups` are names of groups."""

    id: str
    status: str
    profile: dict[str, str]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceGroupSpec:
    id: str
    name: str
    type: str  # OKTA_GROUP, APP_GROUP, BUILT_IN


@dataclass(frozen=True, slots=True)
class LookerUser:
    """`kind` is standard, service, support or embed; `roles` and `groups` are names, direct ones only. `attributes` are
    (name, value), its own ones."""

    id: str
    email: str
    first_name: str
    last_name: str
    is_disabled: bool
    kind: str
    roles: tuple[str, ...]
    groups: tuple[str, ...]
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LookerAttributeSpec:
    """A user attribute; `groups` are (group name, value), the first one wins."""

    id: str
    name: str
    label: str
    type: str = "string"
    default: str | None = None
    groups: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LookerGroupSpec:
    id: str
    name: str
    parents: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class LookerRoleSpec:
    id: str
    name: str
    permissions: tuple[str, ...]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TeamCityUser:
    """`roles` are (role id, scope); `groups` are keys, ALL_USERS_GROUP left out; `tokens` are token names."""

    id: int
    username: str
    name: str
    email: str
    roles: tuple[tuple[str, str], ...]
    groups: tuple[str, ...]
    has_password: bool = True
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TeamCityGroupSpec:
    key: str
    name: str
    parents: tuple[str, ...] = ()
    roles: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TeamCityRoleSpec:
    id: str
    name: str
    permissions: tuple[str, ...]
    included: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TeamCityProjectSpec:
    """`id` is the external id; the root is `_Root` and has no parent."""

    id: str
    name: str
    parent: str


@dataclass(frozen=True, slots=True)
class TenantUser:
    """A user of Entra ID. `properties` are Graph's own, beside the id; who is `deleted` waits in the deleted items."""

    id: str
    properties: Mapping[str, Any]
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class TenantGroup:
    """`members` are ids of whatever is in it: users, groups, devices, service principals. `kind` is one of `security`,
    `mail-enabled security`, `distribution`, `microsoft 365`, `dynamic`."""

    id: str
    name: str
    kind: str = "security"
    members: tuple[str, ...] = ()
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class TenantThing:
    """What is in groups beside people: `type` is `device` or `servicePrincipal`."""

    id: str
    type: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AppRole:
    """A role of an application, and the ids of the users and groups that it is assigned to."""

    app_id: str
    app_name: str
    role_id: str
    value: str
    assigned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tenant:
    """What a company has at Entra ID."""

    users: tuple[TenantUser, ...] = ()
    groups: tuple[TenantGroup, ...] = ()
    things: tuple[TenantThing, ...] = ()
    app_roles: tuple[AppRole, ...] = ()


@dataclass(frozen=True, slots=True)
class Story:
    """One thing that was planted on purpose. `kind` is one of `worker.sandbox.trouble`; `who` is the login of the
    person, or the account's login where no person owns it; `where` is okta, entra, looker or
    teamcity."""

    kind: str
    who: str
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Company:
    """Everything the sandbox servers are loaded with, and the trueup.yaml policy part that fits it.

    Left out is what every installation has and the servers add themselves: the accounts that their credentials belong
    to, Looker's group "All Users" and TeamCity's ALL_USERS_GROUP. Looker's Admin role is in `looker_roles`, as id "2".
    """

    employees: tuple[Employee, ...]
    source_groups: tuple[SourceGroupSpec, ...]
    looker_users: tuple[LookerUser, ...]
    looker_groups: tuple[LookerGroupSpec, ...]
    looker_roles: tuple[LookerRoleSpec, ...]
    teamcity_users: tuple[TeamCityUser, ...]
    teamcity_groups: tuple[TeamCityGroupSpec, ...]
    teamcity_roles: tuple[TeamCityRoleSpec, ...]
    teamcity_projects: tuple[TeamCityProjectSpec, ...]
    policy: str
    stories: tuple[Story, ...] = ()
    looker_attributes: tuple[LookerAttributeSpec, ...] = ()
    tenant: Tenant = Tenant()
