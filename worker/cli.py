"""The command `trueup`: each command opens a site and calls one flow."""

from __future__ import annotations

import datetime as dt
import getpass
import os
import sys
import tempfile
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from worker import wiring
from worker.errors import Misconfigured, TrueupError
from worker.flows import links, passes, review, standstill, trail
from worker.flows.check import check as look
from worker.flows.passes import Outlook
from worker.flows.policy_test import run_policy_tests
from worker.flows.report import drift_report
from worker.flows.site import Site
from worker.flows.why import why as explain
from worker.screen import Screen, age, outlook_data
from worker.settings import load
from worker.settings.json_schema import schema as json_schema
from worker.settings.starter import starter

app = typer.Typer(
    name="trueup",
    help="Keeps what people can do in Looker and TeamCity true to what the identity provider says they are.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 nothing open, 2 changes to apply or to decide, 1 an error or a tripped guard.",
)
review_app = typer.Typer(no_args_is_help=True, help="What waits for a human: look, approve, reject, waive.")
report_app = typer.Typer(no_args_is_help=True, help="Reports for administrators and auditors.")
audit_app = typer.Typer(no_args_is_help=True, help="The audit trail: read, verify, export.")
db_app = typer.Typer(no_args_is_help=True, help="The database.")
app.add_typer(review_app, name="review")
app.add_typer(report_app, name="report")
app.add_typer(audit_app, name="audit")
app.add_typer(db_app, name="db")

SettingsOption = Annotated[
    Path, typer.Option("--settings", "-c", envvar="TRUEUP_SETTINGS", help="trueup.yaml, or a folder of such files.")
]
ActorOption = Annotated[str, typer.Option("--as", envvar="TRUEUP_ACTOR", help="Who asks, for the audit trail.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit 2 for standing findings too.")]
NoteOption = Annotated[str, typer.Option("--note", help="Why; it goes into the audit trail.")]
DEFAULT_SETTINGS = Path("trueup.yaml")


def main() -> None:
    """Run the command; every error ends in one message on standard error and exit code 1."""
    screen = Screen()
    try:
        code = app(standalone_mode=False)
    except TrueupError as error:
        screen.trouble(str(error))
        code = 1
    except TyperException as error:
        screen.trouble(f"{error.format_message()} See `trueup --help`.")
        code = 1
    except typer.Exit as error:
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        screen.trouble("Interrupted. What was begun is on record; the next run finds out how far it came and goes on.")
        code = 1
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; there is nobody to tell
        code = 1
    except Exception:  # noqa: BLE001 the last line of defence: it ends the program, with a place to look
        screen.trouble(f"Trueup met a fault of its own; nothing more was done. The details are in {_kept_traceback()}.")
        code = 1
    sys.exit(code or 0)


def _kept_traceback() -> str:
    handle, name = tempfile.mkstemp(prefix="trueup-fault-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        traceback.print_exc(file=file)
    return name


@contextmanager
def _site(settings: Path, actor: str, screen: Screen) -> Iterator[Site]:
    with wiring.open_site(settings, actor or f"operator:{getpass.getuser()}", screen.progress) as site:
        yield site


# --- set-up ---------------------------------------------------------------------------------------------------------


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
    """Look at settings, rights, installations and counts, before anything is done."""
    if connectors and not accept_baseline:
        raise Misconfigured("Names are for --accept-baseline; `trueup check` alone looks at every connector.")
    screen = Screen(as_json)
    with _site(settings, actor, screen) as site:
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
            shown = ", ".join(f"{number:,} {noun}" for noun, number in counts.items())
            baseline = "baseline accepted" if name in found.baselines else "no accepted baseline"
            screen.line(f"{name} ({found.version[name]}): {shown}; {baseline}")
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
            screen.line("All is well.", "bold")
    raise typer.Exit(found.exit_code())


# --- passes ---------------------------------------------------------------------------------------------------------


@app.command()
def plan(
    out: Annotated[Path | None, typer.Option("--out", help="Save the plan, for `trueup apply FILE`.")] = None,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
    strict: StrictOption = False,
) -> None:
    """Read everything and say what would be done; nothing is changed."""
    screen = Screen(as_json)
    with _site(settings, actor, screen) as site:
        outlook = passes.plan(site)
        if out is not None:
            passes.save(site, outlook, out)
    raise typer.Exit(_told(screen, outlook, strict))


@app.command()
def apply(
    file: Annotated[Path | None, typer.Argument(help="A plan saved with `trueup plan --out FILE`.")] = None,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
    strict: StrictOption = False,
) -> None:
    """Plan afresh, and make only what the saved plan (or else the last plan) shows as well."""
    screen = Screen(as_json)
    with _site(settings, actor, screen) as site:
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
    with _site(settings, actor, screen) as site:
        outlook = passes.sync(site)
    raise typer.Exit(_told(screen, outlook, strict))


def _told(screen: Screen, outlook: Outlook, strict: bool) -> int:
    assert isinstance(outlook, Outlook)
    if screen.as_json:
        screen.json(outlook_data(outlook, strict=strict))
    else:
        screen.outlook(outlook)
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
    with _site(settings, actor, screen) as site:
        screen.line(standstill.pause(site, connector, reason))


@app.command()
def resume(
    connector: Annotated[str, typer.Argument(help="A source or target; the pause of everything when left out.")] = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Go on after a pause."""
    screen = Screen()
    with _site(settings, actor, screen) as site:
        screen.line(standstill.resume(site, connector))


# --- people ---------------------------------------------------------------------------------------------------------


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
    with _site(settings, actor, screen) as site:
        screen.line(links.link(site, person, target, account, secondary=secondary, note=note))


@app.command()
def unlink(
    target: Annotated[str, typer.Argument(help="The target.")],
    account: Annotated[str, typer.Argument(help="The account's login or id there.")],
    note: NoteOption = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Say that an account is not whose we thought; it is never linked to them by itself again."""
    screen = Screen()
    with _site(settings, actor, screen) as site:
        screen.line(links.unlink(site, target, account, note=note))


@app.command()
def why(
    person: Annotated[str, typer.Argument(help="Login, e-mail address, source id, or our id.")],
    entitlement: Annotated[str, typer.Argument(help="Part of an entitlement's name, to narrow it.")] = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Explain a person in five steps: found, correlated, which rules, desired, observed."""
    screen = Screen(as_json)
    with _site(settings, actor, screen) as site:
        told = explain(site, person, entitlement)
    if as_json:
        screen.json(told.data)
        return
    screen.line(told.person, "bold")
    for number, (step, lines) in enumerate(told.steps.items(), 1):
        screen.heading(f"{number}. {step}")
        for text in lines:
            screen.line(f"   {text}")


# --- review ---------------------------------------------------------------------------------------------------------


@review_app.command("list")
def review_list(
    target: Annotated[str | None, typer.Argument(help="Only this target.")] = None,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Everything that the last plans left to a human."""
    screen = Screen(as_json)
    with _site(settings, actor, screen) as site:
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


@review_app.command("show")
def review_show(
    handle: Annotated[str, typer.Argument(help="As `trueup review list` shows it.")],
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """One item, with everything that a decision rests on."""
    screen = Screen(as_json)
    with _site(settings, actor, screen) as site:
        details = review.show(site, handle).details()
    if as_json:
        screen.json(details)
        return
    for name, value in details.items():
        shown = "\n    ".join(["", *value]) if isinstance(value, list) else str(value)
        screen.line(f"{name}: {shown}")


@review_app.command("approve")
def review_approve(
    handles: Annotated[list[str], typer.Argument(help="As `trueup review list` shows them.")],
    note: NoteOption = "",
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """Approve exactly these changes: each once, and only while its drift stands."""
    _decide(handles, True, note, settings, actor)


@review_app.command("reject")
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
    with _site(settings, actor, screen) as site:
        for item in review.decide(site, handles, approve, note):
            screen.line(f"{'approved' if approve else 'rejected'}: {item.sentence}")
    if approve:
        screen.line("The next `trueup sync` or `trueup apply` makes it.")


@review_app.command("waive")
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
    with _site(settings, actor, screen) as site:
        item = review.waive(site, handle, owner, until.date(), note)
        screen.line(f"waived until {until.date()}: {item.sentence}")


# --- record ---------------------------------------------------------------------------------------------------------


@audit_app.command("list")
def audit_list(
    person: Annotated[str, typer.Option("--person", help="Only what concerns them.")] = "",
    run: Annotated[uuid.UUID | None, typer.Option("--run", help="Only this run.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only entries of this kind.")] = None,
    since: Annotated[dt.datetime | None, typer.Option("--since", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 50,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """The newest entries of the audit trail."""
    screen = Screen(as_json)
    with _site(settings, actor, screen) as site:
        entries = trail.newest(site, person=person, run=run, kinds=kind or [], since=since, limit=limit)
    if as_json:
        screen.json([trail.data(entry) for entry in entries])
        return
    screen.table(
        ["number", "when (UTC)", "who", "what", "details"],
        [(str(e.number), f"{e.at:%Y-%m-%d %H:%M:%S}", e.actor, e.kind, trail.sentence(e)) for e in entries],
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
    with _site(settings, actor, screen) as site:
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
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; standard output when left out.")] = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="With the personal values, which can be forgotten.")] = False,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """The chain as JSON lines that anybody can verify."""
    screen = Screen(as_json=out is None)
    with _site(settings, actor, screen) as site:
        number = trail.export(site, out, reveal=reveal)
    if out is not None:
        screen.line(f"Wrote {number:,} entries to {out}.")


@report_app.command("drift")
def report_drift(
    form: Annotated[str, typer.Option("--format", help="html, csv or json.")] = "html",
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; standard output when left out.")] = None,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """What stands open, since when and whose it is, for administrators to review."""
    from worker import report

    renderings = {"html": report.html, "csv": report.csv, "json": report.json}
    if form not in renderings:
        raise Misconfigured(f"There is no format {form!r}; write one of {', '.join(renderings)}.")
    screen = Screen(as_json=out is None)
    with _site(settings, actor, screen) as site:
        text = renderings[form](drift_report(site))
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"{out} cannot be written: {error.strerror}.") from error
    screen.line(f"Wrote {out}.")


# --- rehearsing -----------------------------------------------------------------------------------------------------


@app.command("test")
def try_policy(
    file: Annotated[Path, typer.Argument(help="Sample people and what they should get; see docs/policy.md.")],
    settings: SettingsOption = DEFAULT_SETTINGS,
    as_json: JsonOption = False,
) -> None:
    """Try the policy on sample people, for the CI of a policy repository. Needs no network and no database."""
    screen = Screen(as_json)
    loaded = load(settings)
    results = run_policy_tests(loaded, file, loaded.settings.today(wiring.utc_now()))
    if as_json:
        screen.json({
            "passed": results.passed, "summary": results.summary, "untried": list(results.untried),
            "samples": [{"name": t.name, "where": t.where, "problems": list(t.problems)} for t in results.tried],
        })  # fmt: skip
    else:
        for tried in results.tried:
            screen.line(f"{'ok' if tried.passed else 'not as expected'}: {tried.name} ({tried.where})")
            for problem in tried.problems:
                screen.line(f"    {problem}", "red")
        for rule in results.untried:
            screen.line(f"no sample fits rule {rule}", "yellow")
        screen.line(results.summary, "bold")
    raise typer.Exit(0 if results.passed else 1)


@app.command()
def sandbox(
    size: Annotated[int, typer.Option("--size", min=12, max=100_000, help="How many people work there.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Another number makes another company.")] = 1,
    port: Annotated[int, typer.Option("--port", help="Okta's port; Looker and TeamCity take the next two.")] = 8200,
    folder: Annotated[Path, typer.Option("--folder", help="Where to write trueup.yaml and sandbox.env.")] = Path(
        "sandbox"
    ),
) -> None:
    """Serve local Okta, Looker and TeamCity servers with a made-up company, for rehearsing a policy."""
    from worker import rehearsal

    rehearsal.serve(Screen(), size=size, seed=seed, port=port, folder=folder)


@app.command()
def demo(
    size: Annotated[int, typer.Option("--size", min=50, max=5_000, help="How many people work there.")] = 200,
) -> None:
    """Show the whole thing on a made-up company, with the default guards; takes half a minute."""
    from worker import rehearsal

    rehearsal.demo(Screen(), size)


# --- database -------------------------------------------------------------------------------------------------------


@db_app.command("upgrade")
def db_upgrade() -> None:
    """Bring the database to the shape that this Trueup needs."""
    Screen().line(f"The database is at revision {wiring.upgrade_database()}.")


@db_app.command("status")
def db_status() -> None:
    """Say where the database is and whether it has the shape that this Trueup needs."""
    found = wiring.database_status()
    Screen().line(found.sentence)
    raise typer.Exit(0 if found.current else 1)
