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
    day,
    open_site,
    show_help,
)
from worker.core.guardrails import ASK
from worker.core.render import age
from worker.flows import review
from worker.screen import Screen

app = typer.Typer(
    invoke_without_command=True, callback=show_help, help="What waits for a human: look, approve, reject, waive."
)


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
        [(i.handle, i.state, age(i.age), i.sentence, i.reason if i.reason != ASK else "") for i in items],
        texts=2,
        empty="Nothing waits for a human.",
    )


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
        if value and name not in _FOR_MACHINES:
            screen.line(f"{name}: {'; '.join(value)}" if isinstance(value, list) else f"{name}: {_words(value)}")


_FOR_MACHINES = ("operation", "entitlement", "before", "after")  # the sentence says these in words


def _words(value: object) -> str:
    return "yes" if value is True else str(value)


@app.command("approve")
def review_approve(
    handles: Annotated[list[str], typer.Argument(help="As `trueup review list` shows them.")],
    note: NoteOption = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Approve exactly these changes.

    Each once, and only while its drift stands.
    """
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
    until: Annotated[dt.date, typer.Option("--until", parser=day, metavar="DAY", help="The last day of the waiver.")],
    owner: Annotated[str, typer.Option("--owner", help="Who answers for it.")],
    note: NoteOption = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Accept a drift until a day, in somebody's name."""
    screen = Screen()
    with open_site(settings, actor, screen) as site:
        item = review.waive(site, handle, owner, until, note)
        screen.line(f"waived until {until}: {item.sentence}")
