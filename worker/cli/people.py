"""Commands about a person: link, unlink, join, split, why."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli.options import (
    DEFAULT_SETTINGS,
    ActorOption,
    JsonOption,
    NoteOption,
    SettingsOption,
    open_site,
)
from worker.flows import joining, links
from worker.flows.why import why as explain
from worker.screen import Screen

app = typer.Typer()


@app.command()
def link(
    person: Annotated[str, typer.Argument(help="Login, e-mail address, source id, or our id.")],
    target: Annotated[str, typer.Argument(help="The target.")],
    account: Annotated[str, typer.Argument(help="The account's login or id there.")],
    secondary: Annotated[bool, typer.Option("--secondary", help="They have another account there as well.")] = False,
    note: NoteOption = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Say whose account it is."""
    screen = Screen()
    with open_site(settings, actor, screen) as site:
        screen.line(links.link(site, person, target, account, secondary=secondary, note=note))
    screen.line("`trueup plan` shows what follows from it.")


@app.command()
def unlink(
    target: Annotated[str, typer.Argument(help="The target.")],
    account: Annotated[str, typer.Argument(help="The account's login or id there.")],
    note: NoteOption = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Say that an account is not whose we thought.

    It is never linked to them by itself again.
    """
    screen = Screen()
    with open_site(settings, actor, screen) as site:
        screen.line(links.unlink(site, target, account, note=note))
    screen.line("`trueup plan` shows what follows from it.")


@app.command()
def join(
    person: Annotated[str, typer.Argument(help="Login, e-mail address, source id, or our id.")],
    identity: Annotated[str, typer.Argument(help="What another source knows: okta:LOGIN, okta:ID, or either alone.")],
    secondary: Annotated[
        bool,
        typer.Option("--secondary", help="Keep both accounts where both have one."),
    ] = False,
    note: NoteOption = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Say that two sources know the same person.

    What belongs to either belongs to both from now on.
    """
    screen = Screen()
    with open_site(settings, actor, screen) as site:
        screen.line(joining.join_by_hand(site, person, identity, secondary=secondary, note=note))
    screen.line("`trueup plan` shows what follows from it.")


@app.command()
def split(
    identity: Annotated[str, typer.Argument(help="What a source knows: okta:LOGIN, okta:ID, or either alone.")],
    person: Annotated[str, typer.Argument(help="Who it is not; by default, whom it was joined to.")] = "",
    note: NoteOption = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Say that an identity is not that person's.

    The two are never joined by themselves again.
    """
    screen = Screen()
    with open_site(settings, actor, screen) as site:
        screen.line(joining.split_by_hand(site, identity, person, note=note))
    screen.line("`trueup plan` shows what follows from it.")


@app.command()
def why(
    person: Annotated[str, typer.Argument(help="Login, e-mail address, source id, or our id.")],
    entitlement: Annotated[str, typer.Argument(help="Part of an entitlement's name, to narrow it.")] = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Explain a person: found, correlated, rules, desired, observed."""
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        told = explain(site, person, entitlement)
    if as_json:
        screen.json(told.data)
        return
    screen.line(told.person, "bold")
    for number, (step, lines) in enumerate(told.steps.items(), 1):
        screen.heading(f"{number}. {step}")
        for text in lines:
            screen.line(f"   {text}")
