"""Commands for whoever decides: review list, show, approve, reject, waive."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from worker import wiring
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
from worker.flows import holds, offboarding, review
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
        leaving = holds.pending(site) if target is None else []
    if as_json:
        screen.json([*(w.details() for w in leaving), *(i.details() for i in items)])
        return
    screen.table(
        ["handle", "state", "age", "what", "why it stands"],
        [
            *((w.handle, "leaver", age(w.age), w.sentence, w.reason) for w in leaving),
            *((i.handle, i.state, age(i.age), i.sentence, i.reason if i.reason != ASK else "") for i in items),
        ],
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
        leaving = holds.called(site, handle)
        details = leaving.details() if leaving else review.show(site, handle).details()
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
    verdict = "approved" if approve else "rejected"
    with open_site(settings, actor, screen) as site:
        found = {handle: holds.called(site, handle) for handle in handles}
        changes = [handle for handle, leaving in found.items() if leaving is None]
        for item in review.decide(site, changes, approve, note) if changes else ():
            screen.line(f"{verdict}: {item.sentence}")
        leaving = [one for one in found.values() if one is not None]
        for one in leaving:
            screen.line(f"{verdict}: {holds.decide(site, one, approve, note)}")
    if approve and changes:
        screen.line("The next `trueup sync` or `trueup apply` makes it.")
    if approve and leaving:
        wiring.tell_workers([nudge for one in leaving for nudge in offboarding.nudges(one.row.id)])
        screen.line("Workers go on with it now; where none run, `trueup sync` does.")


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
