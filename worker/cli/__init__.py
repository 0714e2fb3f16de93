"""The command `trueup`: each command opens a site and calls one flow."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback

import typer
from typer.exceptions import TyperException

from worker.cli import passes, people, record, rehearse, review, setup
from worker.errors import TrueupError
from worker.screen import Screen

app = typer.Typer(
    name="trueup",
    help="Keeps what people can do in Looker and TeamCity true to what the identity provider says they are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 nothing open, 2 changes to apply or to decide, 1 an error or a tripped guard.",
)
for commands in (setup.app, passes.app, people.app, rehearse.app):
    app.add_typer(commands)
app.add_typer(review.app, name="review")
app.add_typer(record.report_app, name="report")
app.add_typer(record.audit_app, name="audit")
app.add_typer(setup.db, name="db")

_BY_CTRL_C = 130  # what typer makes of it, and says nothing


def main() -> None:
    """Run the command; every error ends in one message on standard error and exit code 1."""
    screen = Screen()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us politely finds us as tidy as Ctrl-C does
    try:
        code = app(standalone_mode=False)
        if code == _BY_CTRL_C:
            raise KeyboardInterrupt
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
