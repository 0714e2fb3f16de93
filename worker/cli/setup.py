"""Commands that come first: init, schema, check, db."""

from __future__ import annotations

from dataclasses import asdict
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
    open_site,
    show_help,
)
from worker.core.render import counts_line
from worker.errors import Misconfigured
from worker.flows import restored
from worker.flows.check import check as look
from worker.screen import Screen
from worker.settings.json_schema import schema as json_schema
from worker.settings.starter import starter

app = typer.Typer()
db = typer.Typer(invoke_without_command=True, callback=show_help, help="The database: its state, its shape.")


@app.command()
def init(path: Annotated[Path, typer.Argument(help="The file to write.")] = DEFAULT_SETTINGS) -> None:
    """Write a commented trueup.yaml to start from."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(starter())
    except FileExistsError as error:
        raise Misconfigured(f"{path} is there already and is left as it is; name another file.") from error
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}.") from error
    Screen().line(f"Wrote {path}. Fill in your URLs and secrets' references, then run `trueup check`.")


@app.command()
def schema() -> None:
    """Print the JSON Schema of trueup.yaml, for editors."""
    Screen(as_json=True).json(json_schema())


@app.command()
def check(
    connectors: Annotated[list[str] | None, typer.Argument(help="With --accept-baseline: only these.")] = None,
    accept_baseline: Annotated[
        bool, typer.Option("--accept-baseline", help="Take the counts as right; until then nothing is taken away.")
    ] = False,
    repin: Annotated[str, typer.Option("--repin", help="Forget which installation this connector was.")] = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Look at settings, rights and counts, before anything is done."""
    if connectors and not accept_baseline:
        raise Misconfigured("Names are for --accept-baseline; `trueup check` alone looks at every connector.")
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        found = look(site, accept=(connectors or []) if accept_baseline else None, repin=repin)
    if as_json:
        screen.json({
            "exit_code": found.exit_code(),
            "installations": found.version,
            "notices": [{"connector": c, "text": n.text, "fix": n.fix, "fatal": n.fatal} for c, n in found.notices],
            "failures": [{"connector": c, "message": m} for c, m in found.failures],
            "counts": {c: dict(n) for c, n in found.counts.items()},
            "baselines": {c: dict(n) for c, n in found.baselines.items()},
            "policy": found.policy,
            "warnings": found.warnings,
        })  # fmt: skip
    else:
        for name, counts in found.counts.items():
            baseline = "baseline accepted" if name in found.baselines else "no accepted baseline"
            screen.line(f"{name} ({found.version[name]}): {counts_line(counts)}; {baseline}")
        for name, notice in found.notices:
            screen.line(f"{name}: {notice.text} {notice.fix}".strip(), "red" if notice.fatal else "")
        for text in found.warnings:
            screen.line(f"policy: {text}", "yellow")
        for text in found.policy:
            screen.trouble(text, "policy")
        for name, message in found.failures:
            screen.trouble(message, name)
        missing = [name for name in found.counts if name not in found.baselines]
        if missing and not found.failures:
            screen.line(
                "If these counts are right, run `trueup check --accept-baseline`; until then nothing is taken away."
            )
        elif found.exit_code() == 0:
            screen.line(
                "Nothing stands in the way, but look at the warnings." if found.warnings else "All is well.", "bold"
            )
    raise typer.Exit(found.exit_code())


@db.command("restored")
def db_restored(
    settings: SettingsOption = DEFAULT_SETTINGS, actor: ActorOption = "", as_json: JsonOption = False
) -> None:
    """After a restore: read afresh, say what differs."""
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        found = restored.report(site)
    if as_json:
        screen.json({**asdict(found), "failures": dict(found.failures)})
    elif not found.why:
        screen.line("These books are where they should be.")
    else:
        screen.restored(found)
    raise typer.Exit(1 if found.failures else 2 if found.why else 0)


@db.command("accept-restored")
def db_accept_restored(
    note: NoteOption = "", settings: SettingsOption = DEFAULT_SETTINGS, actor: ActorOption = ""
) -> None:
    """Go on from restored books; baselines are void."""
    screen = Screen()
    with open_site(settings, actor, screen) as site:
        screen.line(restored.accept(site, note))


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the database to the shape that is right."""
    Screen().line(f"The database is at revision {wiring.upgrade_database()}.")


@db.command("status")
def db_status() -> None:
    """Say which database it is, and whether its shape is right."""
    found = wiring.database_status()
    Screen().line(found.sentence)
    raise typer.Exit(0 if found.current else 1)
