"""Commands for trying things out: test, sandbox, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker import wiring
from worker.cli.options import (
    DEFAULT_SETTINGS,
    JsonOption,
    SettingsOption,
)
from worker.flows.samples import run_policy_tests
from worker.screen import Screen
from worker.settings import load

app = typer.Typer()


@app.command("test")
def try_policy(
    file: Annotated[Path, typer.Argument(help="Sample people and what they should get; see docs/policy.md.")],
    settings: SettingsOption = DEFAULT_SETTINGS,
    as_json: JsonOption = False,
) -> None:
    """Try the policy on sample people.

    For the CI of a policy repository: it needs no network and no database.
    """
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
    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=65_532, help="The first server's port; the others take the next ones. 0: any."
        ),
    ] = 8200,
    folder: Annotated[Path, typer.Option("--folder", help="Where to write trueup.yaml and sandbox.env.")] = Path(
        "sandbox"
    ),
    sources: Annotated[
        str, typer.Option("--sources", help="Where its people are: okta, entra, or okta,entra.")
    ] = "okta",
) -> None:
    """Serve a made-up company's local vendors to rehearse on.

    Okta, Entra ID or both, Looker and TeamCity. Nothing leaves 127.0.0.1, and nothing is kept when it ends.
    """
    from worker import rehearsal

    rehearsal.serve(Screen(), size=size, seed=seed, port=port, folder=folder, sources=sources.split(","))


@app.command()
def demo(
    size: Annotated[int, typer.Option("--size", min=50, max=5_000, help="How many people work there.")] = 200,
) -> None:
    """Show the whole job on a made-up company in half a minute."""
    from worker import rehearsal

    rehearsal.demo(Screen(), size)
