"""Commands that read, plan and change: plan, apply, sync, pause, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.options import (
    DEFAULT_SETTINGS,
    ActorOption,
    JsonOption,
    SettingsOption,
    StrictOption,
    open_site,
)
from worker.flows import passes, standstill
from worker.flows.passes import Outlook
from worker.screen import Screen, outlook_data

app = typer.Typer()


@app.command()
def plan(
    out: Annotated[Path | None, typer.Option("--out", help="Save the plan, for `trueup apply FILE`.")] = None,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
    strict: StrictOption = False,
) -> None:
    """Read everything and say what would be done; nothing is changed."""
    if out is not None:
        passes.refuse_overwriting(out)
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        outlook = passes.plan(site)
        if out is not None:
            passes.save(site, outlook, out)
    code = _told(screen, outlook, strict)
    if out is not None and not as_json:
        screen.line(f"Saved: `trueup apply {out}` makes what is open in it, and nothing else.")
    raise typer.Exit(code)


@app.command()
def apply(
    file: Annotated[Path | None, typer.Argument(help="A plan saved with `trueup plan --out FILE`.")] = None,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
    strict: StrictOption = False,
) -> None:
    """Plan afresh, and make only what an earlier plan shows as well.

    That is the saved one, or else the last one. It opens no gate.
    """
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        saved = passes.load_saved(file) if file is not None else passes.last_plan(site)
        outlook = passes.apply_saved(site, saved)
    raise typer.Exit(_told(screen, outlook, strict))


@app.command()
def sync(
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
    strict: StrictOption = False,
) -> None:
    """Read everything, plan, and make every change whose gate is open."""
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        outlook = passes.sync(site)
    raise typer.Exit(_told(screen, outlook, strict))


def _told(screen: Screen, outlook: Outlook, strict: bool) -> int:
    if screen.as_json:
        screen.json(outlook_data(outlook, strict=strict))
    else:
        screen.outlook(outlook)
        screen.next_steps(outlook)
    return outlook.exit_code(strict=strict)


@app.command()
def pause(
    connector: Annotated[str, typer.Argument(help="A source or target; all of them when left out.")] = "",
    reason: Annotated[
        str, typer.Option("--reason", help="Why; it is shown to whoever runs into it.")
    ] = "no reason given",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Stop before the next vendor call, also in the middle of a run."""
    screen = Screen()
    with open_site(settings, actor, screen) as site:
        screen.line(standstill.pause(site, connector, reason))


@app.command()
def resume(
    connector: Annotated[str, typer.Argument(help="A source or target; the pause of everything when left out.")] = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Go on after a pause."""
    screen = Screen()
    with open_site(settings, actor, screen) as site:
        screen.line(standstill.resume(site, connector))
