"""What the commands have in common: their options, and the site that they work on."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from worker import wiring
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


@contextmanager
def open_site(settings: Path, actor: str, screen: Screen) -> Iterator[Site]:
    """The site of these settings, in the name of the actor or else of whoever is logged in."""
    with wiring.open_site(settings, actor or f"operator:{getpass.getuser()}", screen.progress) as site:
        yield site
