"""The command `trueup`: each command opens a site and calls one flow."""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
import traceback
from importlib.metadata import version
from typing import Annotated

import typer
from typer.exceptions import TyperException

from worker.cli import leavers, passes, people, record, rehearse, review, servers, setup
from worker.cli.options import show_help
from worker.errors import TrueupError
from worker.screen import Screen

app = typer.Typer(
    name="trueup",
    help="Keeps what people can do in Looker and TeamCity true to what the identity provider says they are.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 nothing open, 2 changes to apply or to decide, 1 an error or a tripped guard.",
)


@app.callback(invoke_without_command=True)
def _alone(
    ctx: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Say which Trueup this is.")] = False,
) -> None:
    if show_version:
        typer.echo(f"trueup {version('trueup')}")
        raise typer.Exit
    show_help(ctx)


for commands in (setup.app, passes.app, people.app, leavers.app, rehearse.app, servers.app):
    app.add_typer(commands)
app.add_typer(review.app, name="review")
app.add_typer(record.report_app, name="report")
app.add_typer(record.audit_app, name="audit")
app.add_typer(setup.db, name="db")

_BY_CTRL_C = 130  # what typer makes of it, and says nothing


def main() -> None:
    """Run the command; every error ends in one message on standard error and exit code 1."""
    _write_every_letter()
    screen = Screen()
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # whoever ends us politely finds us as tidy as Ctrl-C does
    try:
        code = app(prog_name="trueup", standalone_mode=False)
        if code == _BY_CTRL_C:
            raise KeyboardInterrupt
    except TrueupError as error:
        screen.trouble(str(error))
        code = 1
    except TyperException as error:
        screen.trouble(_usage(error))
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


def _usage(error: TyperException) -> str:
    """What is wrong with the command line, and whose help says how it is written."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "trueup"
    said = error.format_message()
    option = getattr(error, "option_name", "")
    if command == "trueup" and option in ("-c", "--settings", "--as", "--json"):
        said = f"{option} stands after the command, as in `trueup plan -c FILE`"
    return f"{said}{'' if said.endswith(('.', '?')) else '.'} See `{command} --help`."


def _write_every_letter() -> None:
    """Names have letters that an old locale does not: a terminal is shown their escapes, all else is UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace") if stream.isatty() else stream.reconfigure(encoding="utf-8")


def _kept_traceback() -> str:
    handle, name = tempfile.mkstemp(prefix="trueup-fault-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        traceback.print_exc(file=file)
    return name
