"""Commands for auditors and administrators: audit list, verify, export, forget; report drift."""

from __future__ import annotations

import datetime as dt
import sys
import uuid
from typing import Annotated

import typer

from worker import receipt, report
from worker.cli.options import (
    DEFAULT_SETTINGS,
    ActorOption,
    JsonOption,
    OutOption,
    SettingsOption,
    moment,
    open_site,
    show_help,
)
from worker.core.render import quoted
from worker.errors import Misconfigured, Refused
from worker.flows import receipts, trail
from worker.flows.report import drift_report
from worker.private import writing
from worker.screen import Screen

audit_app = typer.Typer(
    invoke_without_command=True, callback=show_help, help="The audit trail: read, verify, export, forget."
)
report_app = typer.Typer(
    invoke_without_command=True, callback=show_help, help="Reports for administrators and auditors."
)


@audit_app.command("list")
def audit_list(
    person: Annotated[str, typer.Option("--person", help="Only what concerns them.")] = "",
    run: Annotated[uuid.UUID | None, typer.Option("--run", help="Only this run.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only entries of this kind, as the list shows it.")
    ] = None,
    since: Annotated[
        dt.datetime | None, typer.Option("--since", parser=moment, metavar="TIME", help="A day, or a time; UTC.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 50,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """The newest entries of the audit trail."""
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        entries = trail.newest(site, person=person, run=run, kinds=kind or [], since=since, limit=limit)
    if as_json:
        screen.json([trail.data(entry) for entry in entries])
        return
    screen.table(
        ["number", "when (UTC)", "who", "what", "details"],
        [(str(e.number), f"{e.at:%Y-%m-%d %H:%M:%S}", e.actor, e.kind, trail.sentence(e)) for e in entries],
        empty="No entry fits.",
    )


@audit_app.command("verify")
def audit_verify(
    witness: Annotated[str, typer.Option("--witness", help="NUMBER:DIGEST noted earlier, outside the database.")] = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Recompute the whole chain."""
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        verdict = trail.verify(site, witness)
    if as_json:
        screen.json(trail.verdict_data(verdict))
    elif verdict.ok:
        screen.line(f"The chain is whole: {verdict.checked:,} entries, the last is {verdict.checked}:{verdict.head}")
        screen.line("Note that last value outside the database: it shows a later cut or rewrite (--witness).")
    else:
        screen.trouble(
            f"Entry {verdict.first_bad}: {verdict.what}. {verdict.checked:,} entries before it are sound.", "chain"
        )
    raise typer.Exit(0 if verdict.ok else 1)


@audit_app.command("export")
def audit_export(
    out: OutOption = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="With the personal values, which can be forgotten.")] = False,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """The chain as JSON lines that anybody can verify."""
    screen = Screen(as_json=out is None)
    with open_site(settings, actor, screen) as site:
        number = trail.export(site, out, reveal=reveal)
    if out is not None:
        screen.line(f"Wrote {number:,} entries to {out}.")


@audit_app.command("forget")
def audit_forget(
    person: Annotated[str, typer.Argument(help="Who has left: login, e-mail address, source id, or our id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Erase what names a person who has left.

    It cannot be undone. Entries stay, and the chain still verifies.
    """
    if not yes:
        _ask(f"Erase everything that names {quoted(person, 80)}? It cannot be undone.")
    screen = Screen()
    with open_site(settings, actor, screen) as site:
        person_id, gone = trail.forget(site, person)
    screen.line(
        f"Erased {gone.values:,} personal values of the trail and {gone.rows:,} rows elsewhere;"
        f" the trail knows them as {person_id}."
    )
    if gone.shown_by:
        screen.line(f"Still shown by {', '.join(gone.shown_by)}: delete them there, and what is left goes with time.")


def _ask(question: str) -> None:
    """Raises Refused unless somebody says yes."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort as error:
        typer.echo(err=True)  # the question's line is still open
        raise Refused("Nobody answered, so nothing was erased; where nobody can, say --yes.") from error
    if not agreed:
        raise Refused("Nothing was erased.")


@report_app.command("leavers")
def report_leavers(
    since: Annotated[
        dt.datetime | None,
        typer.Option("--since", parser=moment, metavar="TIME", help="A day, or a time; UTC. 30 days ago if left out."),
    ] = None,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Who left, how soon they were out, and what is left of whom.

    Seconds count from the source's own event where there was one, else from when it was asked.
    """
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        found = receipts.since(site, since)
        objective = site.loaded.settings.leavers.objective.total_seconds()
    if as_json:
        screen.json(receipt.leavers_data(found, objective))
        return
    screen.table(receipt.LEAVER_COLUMNS, receipt.leavers_table(found), texts=1, empty="Nobody has left since then.")
    if found:
        screen.line(receipt.leavers_line(found, objective), "bold")


@report_app.command("drift")
def report_drift(
    form: Annotated[str, typer.Option("--format", help="html, csv or json.")] = "html",
    out: OutOption = None,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """What stands open, since when, and whose it is."""
    renderings = {"html": report.html, "csv": report.csv, "json": report.json}
    if form not in renderings:
        raise Misconfigured(f"There is no format {form!r}; write one of {', '.join(renderings)}.")
    screen = Screen(as_json=out is None)
    with open_site(settings, actor, screen) as site:
        text = renderings[form](drift_report(site))
    if out is None:
        sys.stdout.write(text)
        return
    with writing(out) as file:
        file.write(text)
    screen.line(f"Wrote {out}.")
