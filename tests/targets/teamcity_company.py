"""A small company at a TeamCity sandbox, and how to connect to it: what all TeamCity tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.targets.target_contract import Rig
from worker.core.identity import Account, Entitlement, Trait
from worker.ports import Line
from worker.sandbox.company import (
    Company,
    TeamCityGroupSpec,
    TeamCityProjectSpec,
    TeamCityRoleSpec,
    TeamCityUser,
)
from worker.sandbox.teamcity import ALL_USERS, TeamCitySandbox
from worker.targets import teamcity
from worker.targets.teamcity import Settings, TeamCity

ANA, BEN, CEM, DAN, EVE, OLD = range(1, 7)
DEVELOPER_IN_WEB = Entitlement("role", "PROJECT_DEVELOPER", "p:Web")
VIEWER_IN_WEB = Entitlement("role", "PROJECT_VIEWER", "p:Web")
DEV = Entitlement("group", "DEV")
MARK = "trueup.suspended"
UNSEEN = frozenset({"end_sessions", "forget_logins"})


def company(*more: TeamCityUser) -> Company:
    """Half a dozen people: a developer, an administrator through a group, an old suspended one, ..."""
    users = (
        TeamCityUser(
            ANA, "Ana@Acme.example", "Ana Žižek", "ana@acme.example",
            (("PROJECT_DEVELOPER", "p:Web"), ("PROJECT_VIEWER", "g")), ("DEV", "QA"), tokens=("laptop", "ci 2"),
        ),
        TeamCityUser(BEN, "ben@acme.example", "Ben", "shared@acme.example", (), ()),
        TeamCityUser(CEM, "cem@acme.example", "Cem", "shared@acme.example", (), ("ADMINS",), has_password=False),
        TeamCityUser(DAN, "dan@acme.example", "", "", (("SYSTEM_ADMIN", "g"),), ()),
        TeamCityUser(EVE, "eve@acme.example", "Eve", "eve@acme.example", (("GONE", "p:Web"),), ()),
        TeamCityUser(OLD, "old@acme.example", "Old", "old@acme.example", (), (), has_password=False),
    )  # fmt: skip
    return Company(
        employees=(),
        source_groups=(),
        looker_users=(),
        looker_groups=(),
        looker_roles=(),
        teamcity_users=(*users, *more),
        teamcity_groups=(
            TeamCityGroupSpec("DEV", "Developers", (), (("PROJECT_DEVELOPER", "p:Web"),)),
            TeamCityGroupSpec("QA", "Quality"),
            TeamCityGroupSpec("ROOT_VIEWERS", "See all", (), (("PROJECT_VIEWER", "p:_Root"),)),
            TeamCityGroupSpec("SUPER", "Super", (), (("SYSTEM_ADMIN", "g"),)),
            TeamCityGroupSpec("ADMINS", "Admins", ("SUPER",)),
            TeamCityGroupSpec("SYSTEM_ADMINISTRATORS_GROUP", "System administrators"),
        ),
        teamcity_roles=(
            TeamCityRoleSpec("SYSTEM_ADMIN", "System administrator", ("change_server_settings",)),
            TeamCityRoleSpec("PROJECT_ADMIN", "Project administrator", ("change_user_roles_in_project",)),
            TeamCityRoleSpec("PROJECT_DEVELOPER", "Developer", ("run_build",), ("PROJECT_VIEWER",)),
            TeamCityRoleSpec("PROJECT_VIEWER", "Viewer", ("view_project",)),
            TeamCityRoleSpec("SNEAKY", "Viewer too", (), ("PROJECT_ADMIN",)),
            TeamCityRoleSpec("GONE", "Left over", ()),
        ),
        teamcity_projects=(
            TeamCityProjectSpec("Web", "Web shop", "_Root"),
            TeamCityProjectSpec("Web_Api", "API", "Web"),
        ),
        policy="",
    )


def connected(sandbox: TeamCitySandbox, monkeypatch: pytest.MonkeyPatch, line: Line, **settings: Any) -> TeamCity:
    monkeypatch.setenv("TEAMCITY_TOKEN", sandbox.token)
    given = {"type": "teamcity", "url": sandbox.url + sandbox.context, "token": "${env:TEAMCITY_TOKEN}", "create": "on"}
    return teamcity.connect("ci", Settings.model_validate(given | settings), line)


def expected(sandbox: TeamCitySandbox) -> dict[str, Account]:
    """The sandbox's state as accounts, worked out apart from the connector."""
    state = sandbox.state()
    admin = {DAN, CEM}  # directly, and through a group's parent
    found = {}
    for id, user in state["users"].items():
        groups = set(user["groups"]) - {ALL_USERS}
        traits = set()
        if id == state["own_id"]:
            traits.add(Trait.OURSELVES)
        if user["username"] == "guest":
            traits.add(Trait.GUEST)
        if int(id) in admin and (user["roles"] or groups):
            traits.add(Trait.ADMINISTRATOR)
        closed = MARK in user["properties"] and not (user["roles"] or groups or user["has_password"] or user["tokens"])
        found[id] = Account(
            id,
            user["username"].lower(),
            user["email"],
            not closed,
            {"name": user["name"], "email": user["email"]},
            frozenset(
                [Entitlement("role", r, s) for r, s in user["roles"]] + [Entitlement("group", key) for key in groups]
            ),
            frozenset(traits),
        )
    return found


NEWCOMER = Account(
    "", "zoë.new@acme.example", "zoe@acme.example", True, {"name": "Zoë New", "email": "zoe@acme.example"},
    frozenset({DEVELOPER_IN_WEB, Entitlement("group", "QA")}),
)  # fmt: skip


def rig_of(sandbox: TeamCitySandbox, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Rig:
    return Rig(
        sandbox=sandbox,
        connect=lambda line: connected(sandbox, monkeypatch, line, **settings),
        secret=sandbox.token,
        somebody=str(ANA),
        own=str(sandbox.own_id),
        held=[DEVELOPER_IN_WEB, DEV],
        free=[VIEWER_IN_WEB, Entitlement("group", "ROOT_VIEWERS")],
        profile={"name": "Ana Øst", "email": "ana.ost@acme.example"},
        new_login="ana.ost@acme.example",
        newcomer=NEWCOMER,
        accounts=lambda: expected(sandbox),
        remove=lambda id: sandbox.delete_user(int(id)),
        unseen=UNSEEN,
    )


@pytest.fixture
def sandbox() -> Iterator[TeamCitySandbox]:
    made = TeamCitySandbox(company())
    made.set_property(OLD, MARK, "long ago")
    with made.serve():
        yield made


@pytest.fixture
def target(sandbox: TeamCitySandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[TeamCity]:
    found = connected(sandbox, monkeypatch, Line())
    yield found
    found.close()
