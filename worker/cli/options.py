"""What the commands have in common: their options, and the site that they work on."""

from __future__ import annotations

import datetime as dt
import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from worker import wiring
from worker.core.render import quoted
from worker.flows.site import Site
from worker.screen import Screen

SettingsOption = Annotated[
    Path, typer.Option("--settings", "-c", envvar="TRUEUP_SETTINGS", help="trueup.yaml, or a folder of such files.")
]
ActorOption = Annotated[str, typer.Option("--as", envvar="TRUEUP_ACTOR", help="Who asks, for the audit trail.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit 2 for standing findings too.")]
NoteOption = Annotated[str, typer.Option("--note", help="Why; it goes into the audit trail.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="The file to write; standard output when left out.")]
DEFAULT_SETTINGS = Path("trueup.yaml")


def show_help(ctx: typer.Context) -> None:
    """Whoever names a group of commands and none of them is shown them; nothing was done, so the exit code is 1."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(1)


def day(text: str) -> dt.date:
    """A day as people write it in an option."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{quoted(text, 40)!r} is no day; write one such as 2026-12-31.") from error


def moment(text: str) -> dt.datetime:
    """A day, or a time of a day; what says no zone is in UTC."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{quoted(text, 40)!r} is no time; write one such as 2026-12-31 or 2026-12-31T18:30:00."
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


@contextmanager
def open_site(settings: Path, actor: str, screen: Screen) -> Iterator[Site]:
    """The site of these settings, in the name of the actor or else of whoever is logged in, who is named either way."""
    login = getpass.getuser()
    who = f"{actor} (login {login})" if actor else f"operator:{login}"
    with wiring.open_site(settings, who, screen.progress) as site:
        yield site
