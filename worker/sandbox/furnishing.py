"""Gives the people of the made-up company what collects in real accounts: sessions, keys, tokens, schedules, alerts."""

from __future__ import annotations

from worker.sandbox.looker import LookerSandbox
from worker.sandbox.looker.instance import User
from worker.sandbox.teamcity import TeamCitySandbox
from worker.sandbox.world import World

OUTSIDE = "press@journal.example"
APPS = ("Sheets connector", "Chat bot")


def furnish(world: World) -> None:
    """By rank in the list of accounts, so that the same company is furnished the same way."""
    _looker(world.looker)
    _teamcity(world.teamcity)


def _looker(looker: LookerSandbox) -> None:
    """Everybody has signed on and is signed in; every second has a schedule, every third an alert and a dashboard,
    every fourth an app, every fifth a key and a public Look, every seventh a schedule that leaves the company."""
    apps = [looker.add_app(name) for name in APPS]
    people = [u for u in looker.instance.users.values() if u.kind == "standard" and u.email and not u.is_disabled]
    for rank, user in enumerate(people):
        neighbour = people[(rank + 1) % len(people)].email or ""
        looker.add_link(user.id, "saml")
        looker.add_session(user.id)
        if rank % 2 == 0:
            looker.add_schedule(user.id, f"Weekly numbers of {user.first_name}", neighbour)
        if rank % 3 == 0:
            looker.add_alert(user.id, f"Orders below plan ({user.first_name})", neighbour)
            looker.add_content(user.id, "dashboard", f"Pipeline of {user.first_name}", folder=_own_folder(user))
        if rank % 4 == 0:
            looker.instance.apps[apps[rank // 4 % len(apps)]].users.add(user.id)
        if rank % 5 == 0:
            looker.add_key(user.id)
            looker.add_content(user.id, "look", f"Figures of {user.first_name}", public=True)
        if rank % 7 == 0:
            looker.add_schedule(user.id, f"Press figures of {user.first_name}", neighbour, OUTSIDE)


def _own_folder(user: User) -> str:
    return f"{user.first_name} {user.last_name}"


def _teamcity(teamcity: TeamCitySandbox) -> None:
    """Everybody but ourselves and the guest is signed in and remembered; every third has a token more."""
    for rank, user in enumerate(list(teamcity.world.users.values())):
        if user.id == teamcity.own_id or user is teamcity.world.guest:
            continue
        user.sessions, user.remembered = user.sessions + 1, True
        if rank % 3 == 0:
            teamcity.add_token(user.id, f"build script {rank}")
