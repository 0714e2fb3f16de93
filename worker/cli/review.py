"""Commands for whoever decides: review list, show, approve, reject, waive."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
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
from worker.core.render import age
from worker.flows import review
from worker.screen import Screen

app = typer.Typer(no_args_is_help=True, help="What waits for a human: look, approve, reject, waive.")


@app.command("list")
def review_list(
    target: Annotated[str | None, typer.Argument(help="Only this target.")] = None,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Everything that the last plans left to a human."""
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        items = review.pending(site, target)
    if as_json:
        screen.json([item.details() for item in items])
        return
    screen.table(
        ["handle", "state", "age", "what", "why it stands"],
        [(i.handle, i.state, age(i.age), i.sentence, i.reason) for i in items],
    )
    if not items:
        screen.line("Nothing waits for a human.")


@app.command("show")
def review_show(
    handle: Annotated[str, typer.Argument(help="As `trueup review list` shows it.")],
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """One item, with everything that a decision rests on."""
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        details = review.show(site, handle).details()
    if as_json:
        screen.json(details)
        return
    for name, value in details.items():
        shown = "\n    ".join(["", *value]) if isinstance(value, list) else str(value)
        screen.line(f"{name}: {shown}")


@app.command("approve")
def review_approve(
    handles: Annotated[list[str], typer.Argument(help="As `trueup review list` shows them.")],
    note: NoteOption = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Approve exactly these changes: each once, and only while its drift stands."""
    _decide(handles, True, note, settings, actor)


@app.command("reject")
def review_reject(
    handles: Annotated[list[str], typer.Argument(help="As `trueup review list` shows them.")],
    note: NoteOption = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Say no to exactly these changes."""
    _decide(handles, False, note, settings, actor)


def _decide(handles: list[str], approve: bool, note: str, settings: Path, actor: str) -> None:
    screen = Screen()
    with open_site(settings, actor, screen) as site:
        for item in review.decide(site, handles, approve, note):
            screen.line(f"{'approved' if approve else 'rejected'}: {item.sentence}")
    if approve:
        screen.line("The next `trueup sync` or `trueup apply` makes it.")


@app.command("waive")
def review_waive(
    handle: Annotated[str, typer.Argument(help="As `trueup review list` shows it.")],
    until: Annotated[dt.datetime, typer.Option("--until", formats=["%Y-%m-%d"], help="The last day of the waiver.")],
    owner: Annotated[str, typer.Option("--owner", help="Who answers for it.")],
    note: NoteOption = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Accept a drift until a day, in somebody's name."""
    screen = Screen()
    with open_site(settings, actor, screen) as site:
        item = review.waive(site, handle, owner, until.date(), note)
        screen.line(f"waived until {until.date()}: {item.sentence}")
