"""What the made-up company runs on whatever its size: jobs, groups, roles, projects, and its access policy."""

from __future__ import annotations

from dataclasses import dataclass

from worker.sandbox.company import (
    LookerGroupSpec,
    LookerRoleSpec,
    TeamCityGroupSpec,
    TeamCityProjectSpec,
    TeamCityRoleSpec,
)

ADMIN_ROLE = "Admin"
SYSTEM_ADMIN = ("SYSTEM_ADMIN", "g")


@dataclass(frozen=True, slots=True)
class Job:
    """What somebody in this job is in at Okta, and holds where the policy is kept; `share` is per hundred people."""

    title: str
    department: str
    share: int
    teams: tuple[str, ...] = ()
    looker_roles: tuple[str, ...] = ()
    looker_groups: tuple[str, ...] = ("Viewers",)
    teamcity_roles: tuple[tuple[str, str], ...] = ()
    teamcity_groups: tuple[str, ...] = ()


def _developer(title: str, share: int, project: str) -> Job:
    return Job(
        title,
        "Engineering",
        share,
        teams=(f"Team {project}",),
        looker_groups=("Viewers", "Engineering"),
        teamcity_roles=(("PROJECT_DEVELOPER", f"p:{project}"),),
        teamcity_groups=("DEVELOPERS",),
    )


JOBS = (
    _developer("Web Developer", 8, "Web"),
    _developer("Mobile Developer", 6, "Mobile"),
    _developer("Platform Engineer", 5, "Platform"),
    _developer("Payments Engineer", 4, "Payments"),
    Job(
        "Test Engineer", "Engineering", 4, ("Quality Assurance",), (), ("Viewers", "Engineering"),
        (("PROJECT_VIEWER", "p:Mobile"), ("PROJECT_VIEWER", "p:Web")), ("DEVELOPERS", "QA"),
    ),
    Job(
        "Release Engineer", "Engineering", 1, ("Release Engineering",), (), ("Viewers", "Engineering"),
        (("RELEASE_ENGINEER", "p:Platform"),), ("DEVELOPERS", "RELEASE"),
    ),
    Job("Data Analyst", "Data", 5, (), ("Analyst",), ("Viewers", "Data")),
    Job(
        "Data Engineer", "Data", 2, ("Team Data",), ("Analyst",), ("Viewers", "Data"),
        (("PROJECT_DEVELOPER", "p:Data"),), ("DEVELOPERS",),
    ),
    Job("Accountant", "Finance", 6, (), (), ("Viewers", "Finance")),
    Job("Account Executive", "Sales", 16),
    Job("Campaign Specialist", "Marketing", 8),
    Job("Support Specialist", "Customer Support", 12),
    Job("Product Designer", "Product", 6),
    Job("Recruiter", "People", 4, looker_groups=()),
    Job("Counsel", "Legal", 2, looker_groups=()),
    Job("Systems Administrator", "IT", 3),
    Job("Security Analyst", "Security", 2, (), (), ("Viewers", "Finance")),
    Job("Logistics Coordinator", "Operations", 6, looker_groups=()),
)  # fmt: skip

OFFICES = ("Berlin", "Lagos", "Lisbon", "Osaka", "Toronto")
READERS = "Analytics Readers"
LOOKER_ADMINISTRATORS = "Looker Administrators"
TEAMCITY_ADMINISTRATORS = "TeamCity Administrators"
AUDIT_SEASON = "Audit Season"
SOURCE_GROUPS = (
    ("Everyone", "BUILT_IN"),
    *((name, "OKTA_GROUP") for name in ("Employees", "Contractors", "VPN Users", READERS, AUDIT_SEASON)),
    *((name, "OKTA_GROUP") for name in (LOOKER_ADMINISTRATORS, TEAMCITY_ADMINISTRATORS)),
    *((name, "OKTA_GROUP") for name in dict.fromkeys(job.department for job in JOBS)),
    *((name, "OKTA_GROUP") for name in dict.fromkeys(team for job in JOBS for team in job.teams)),
    *((f"Office {name}", "APP_GROUP") for name in OFFICES),
)


def office(number: int) -> str:
    """Where somebody works, by their number in the company."""
    return OFFICES[number % len(OFFICES)]


_READ = ("access_data", "see_looks", "see_lookml_dashboards", "see_user_dashboards")
_EXPLORE = (*_READ, "explore", "create_table_calculations", "save_content", "download_with_limit")
LOOKER_ROLES = (
    LookerRoleSpec("2", ADMIN_ROLE, ("administer", "sudo", "see_users", "manage_groups", "manage_roles"), ("all",)),
    LookerRoleSpec("3", "Viewer", _READ, ("sales", "marketing")),
    LookerRoleSpec("4", "User", _EXPLORE, ("sales", "marketing", "product")),
    LookerRoleSpec("5", "Analyst", (*_EXPLORE, "see_sql", "use_sql_runner"), ("sales", "marketing", "product")),
    LookerRoleSpec("6", "User Keeper", ("see_users", "manage_groups", "manage_roles"), ()),
    LookerRoleSpec("7", "Scheduler", (*_READ, "schedule_look_emails"), ("sales",)),
    LookerRoleSpec("8", "Finance Viewer", _READ, ("finance",)),
)
LOOKER_GROUPS = (
    LookerGroupSpec("10", "Viewers", (), ("Viewer",)),
    LookerGroupSpec("11", "Engineering", (), ("User",)),
    LookerGroupSpec("12", "Data", (), ("User",)),
    LookerGroupSpec("13", "Data Leads", ("Data",), ("Scheduler",)),
    LookerGroupSpec("14", "Finance", (), ("Finance Viewer",)),
    LookerGroupSpec("15", "Running Club"),
    LookerGroupSpec("16", "Okta Sales", (), ("Viewer",), mirrored=True),
)

_VIEW = ("view_project", "view_build_configuration_settings")
_DEVELOP = ("run_build", "cancel_build", "tag_build", "comment_build")
_ADMINISTER = ("edit_project", "change_user_roles_in_project", "assign_custom_investigation")
TEAMCITY_ROLES = (
    TeamCityRoleSpec("SYSTEM_ADMIN", "System administrator", ("change_server_settings", "change_user", "create_user")),
    TeamCityRoleSpec("PROJECT_ADMIN", "Project administrator", _ADMINISTER, ("PROJECT_DEVELOPER",)),
    TeamCityRoleSpec("PROJECT_DEVELOPER", "Project developer", _DEVELOP, ("PROJECT_VIEWER",)),
    TeamCityRoleSpec("PROJECT_VIEWER", "Project viewer", _VIEW),
    TeamCityRoleSpec("AGENT_MANAGER", "Agent manager", ("enable_disable_agent", "authorize_agent")),
    TeamCityRoleSpec("RELEASE_ENGINEER", "Release engineer", ("pin_build", "label_build"), ("PROJECT_DEVELOPER",)),
)
TEAMCITY_GROUPS = (
    TeamCityGroupSpec("DEVELOPERS", "Developers", (), (("PROJECT_VIEWER", "p:Mobile"), ("PROJECT_VIEWER", "p:Web"))),
    TeamCityGroupSpec("QA", "Quality assurance", (), (("PROJECT_DEVELOPER", "p:Web_Checks"),)),
    TeamCityGroupSpec("RELEASE", "Release engineering", (), (("AGENT_MANAGER", "p:Platform"),)),
    TeamCityGroupSpec("DEVELOPERS_CLOUD", "Cloud developers", ("DEVELOPERS",), (("PROJECT_VIEWER", "p:Platform"),)),
    TeamCityGroupSpec("CHESS", "Chess club"),
)
TEAMCITY_PROJECTS = (
    TeamCityProjectSpec("_Root", "<Root project>", ""),
    TeamCityProjectSpec("Web", "Web", "_Root"),
    TeamCityProjectSpec("Web_Checks", "Checks", "Web"),
    TeamCityProjectSpec("Mobile", "Mobile", "_Root"),
    TeamCityProjectSpec("Platform", "Platform", "_Root"),
    TeamCityProjectSpec("Payments", "Payments", "_Root"),
    TeamCityProjectSpec("Data", "Data", "_Root"),
)

POLICY = """\
roles:
  reader:
    looker: {groups: [Viewers]}
    teamcity: {}
  dev:
    looker: {groups: [Engineering]}
    teamcity: {groups: [DEVELOPERS]}
  qa:
    looker: {}
    teamcity:
      groups: [QA]
      roles:
        - {role: PROJECT_VIEWER, project: Web}
        - {role: PROJECT_VIEWER, project: Mobile}
  release:
    looker: {}
    teamcity:
      groups: [RELEASE]
      roles: [{role: RELEASE_ENGINEER, project: Platform}]
  analyst:
    looker: {roles: [Analyst], groups: [Data]}
    teamcity: {}

rules:
  - name: readers
    when: {group: Analytics Readers}
    give: [reader]
    owner: data@acme.example
    why: who needs figures may look at dashboards
  - name: developers
    when: {group: Engineering}
    give: [dev]
    owner: engineering@acme.example
  - name: web team
    when: {group: Team Web}
    give: [{teamcity: {roles: [{role: PROJECT_DEVELOPER, project: Web}]}}]
  - name: mobile team
    when: {group: Team Mobile}
    give: [{teamcity: {roles: [{role: PROJECT_DEVELOPER, project: Mobile}]}}]
  - name: platform team
    when: {group: Team Platform}
    give: [{teamcity: {roles: [{role: PROJECT_DEVELOPER, project: Platform}]}}]
  - name: payments team
    when: {group: Team Payments}
    give: [{teamcity: {roles: [{role: PROJECT_DEVELOPER, project: Payments}]}}]
  - name: data team
    when: {group: Team Data}
    give: [{teamcity: {groups: [DEVELOPERS], roles: [{role: PROJECT_DEVELOPER, project: Data}]}}]
  - name: testers
    when: {group: Quality Assurance}
    give: [qa]
    owner: quality@acme.example
  - name: releases
    when: {all: [{group: Release Engineering}, {not: {attribute: userType, is: Contractor}}]}
    give: [release]
    owner: engineering@acme.example
    why: contractors do not ship
  - name: analysts
    when: {attribute: department, is: Data}
    give: [analyst]
    owner: data@acme.example
  - name: ledgers
    when: {any: [{group: Finance}, {group: Security}]}
    give: [{looker: {groups: [Finance]}}]
    owner: finance@acme.example
  - name: audit season
    when: {group: Audit Season}
    give: [{looker: {groups: [Finance]}}]
    until: 2026-06-30
    owner: finance@acme.example
    why: the yearly audit, over since
  - name: looker administrators
    when: {group: Looker Administrators}
    give: [{looker: {roles: [Admin]}}]
    owner: security@acme.example
  - name: teamcity administrators
    when: {group: TeamCity Administrators}
    give: [{teamcity: {roles: [{role: SYSTEM_ADMIN, everywhere: true}]}}]
    owner: security@acme.example

protected:
  accounts:
    looker: [reports@acme.example]
    teamcity: [build-bot]

must_see:
  okta:
    people: [grace.okafor@acme.example]
    groups: [Everyone, Analytics Readers]
"""

BROKEN_RULE = """\
  - name: partners
    when: {group: Partners Abroad}
    give: [{looker: {groups: [Finance]}}]
    owner: finance@acme.example
    why: this group does not exist, so the rule cannot be evaluated
"""
