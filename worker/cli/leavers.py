"""Commands about people who leave: offboard, receipt, lift, restore."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from worker import receipt as written
from worker import wiring
from worker.cli.options import DEFAULT_SETTINGS, ActorOption, JsonOption, SettingsOption, open_site
from worker.core.receipt import Receipt, as_data
from worker.core.render import person_label
from worker.errors import Misconfigured, Paused, TrueupError, Unavailable, Unknown
from worker.flows import handback, holds, offboarding, receipts
from worker.flows.links import find_person
from worker.flows.site import Site
from worker.private import writing
from worker.screen import Screen
from worker.store import offboardings

app = typer.Typer()

PATIENCE = 300.0  # seconds that --wait waits for a vendor or another worker
LOOK_AGAIN = 0.2

PersonArgument = Annotated[str, typer.Argument(help="Login, e-mail address, source id, or our id.")]


@app.command()
def offboard(
    person: PersonArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; it goes into the audit trail.")],
    wait: Annotated[bool, typer.Option("--wait", help="Do it here and now, and show the receipt.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Without the source's word; holds until `trueup lift`.")
    ] = False,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take away everything that somebody who leaves has.

    The source is asked first whether they have departed. Exit code 0 when nothing is left, 2 when something is.
    """
    if not reason.strip():
        raise Misconfigured("Say with --reason why they leave; it goes into the audit trail.")
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        with site.begin() as session:
            found = find_person(session, person)
            asked = offboarding.Asked(offboarding.OPERATOR, reason.strip(), site.actor, forced=force)
            id = offboarding.ask(site, session, found.person_id, asked)
        if not wait:
            _sent(screen, id, person_label(found.name, found.login))
            return
        _work(site, id, screen)
        receipt = receipts.find(site, str(id))
    raise typer.Exit(_told(screen, receipt))


def _sent(screen: Screen, id: uuid.UUID, who: str) -> None:
    """The workers are told, where there are any; they would find it by themselves at the next tick."""
    told = wiring.tell_workers(offboarding.nudges(id))
    if screen.as_json:
        screen.json({"offboarding": str(id), "workers_told": told})
        return
    screen.line(f"{who} is being offboarded ({id}).")
    screen.line(
        f"`trueup receipt {id}` shows how far it is."
        if told
        else "No Redis is known here, so workers find it at their next tick; where none run, add --wait."
    )


def _work(site: Site, id: uuid.UUID, screen: Screen) -> None:
    """Beside whatever workers there are, until it ends, waits for a human, or a vendor lets us wait too long. Nobody
    waits here for what somebody has to correct first: the receipt says what that is."""
    end, said, stuck = time.monotonic() + PATIENCE, "", set[str]()
    while time.monotonic() < end:
        with site.begin() as session:
            row, due = offboardings.by_id(session, id), offboardings.hands(session, site.now())
            left = {part.target for part in offboardings.parts(session, id) if part.state == offboardings.OPEN}
        if row is None or row.state not in (offboardings.ASKED, offboardings.WORKING):
            return
        if (left or {""}) <= stuck:
            return
        mine = [target for one, target in due if one == id]
        troubles = _all_at_once(site, id, mine) if mine else {}
        for target, trouble in troubles.items():
            if str(trouble) != said:
                said = str(trouble)
                screen.progress(said)
            if not isinstance(trouble, Unavailable | Unknown):
                stuck.add(target)
        if not mine or troubles:
            time.sleep(LOOK_AGAIN)


def _all_at_once(site: Site, id: uuid.UUID, targets: list[str]) -> dict[str, TrueupError]:
    """What stood in the way of each. A pause is for whoever asked to hear of."""

    def one(target: str) -> TrueupError | None:
        try:
            offboarding.work(site, id, target)
        except Paused:
            raise
        except TrueupError as error:
            return error
        return None

    with ThreadPoolExecutor(len(targets)) as threads:
        told = zip(targets, threads.map(one, targets), strict=True)
        return {target: error for target, error in told if error is not None}


def _told(screen: Screen, receipt: Receipt) -> int:
    if screen.as_json:
        screen.json(as_data(receipt))
    else:
        for line, style in written.text(receipt):
            screen.line(line, style)
        if receipt.state == offboardings.NOT_CONFIRMED:
            screen.line(f"Nothing was done: {receipt.said}. If they must be out all the same, add --force.", "yellow")
        elif receipt.state == offboardings.WAITING:
            screen.line(f"It waits for a human: {receipt.said}. `trueup review list` shows it.", "yellow")
    return 0 if receipt.complete else 2


@app.command()
def receipt(
    person: Annotated[str, typer.Argument(help="Who left, or the id of an offboarding.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write it as a page to print and keep.")] = None,
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """What became of everything that somebody who left had."""
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        found = receipts.find(site, person)
    if html is not None:
        with writing(html) as file:
            file.write(written.html(found))
        if not as_json:
            screen.line(f"Wrote {html}.")
            raise typer.Exit(0 if found.complete else 2)
    raise typer.Exit(_told(screen, found))


@app.command()
def lift(
    person: PersonArgument,
    note: Annotated[str, typer.Option("--note", help="Why; it goes into the audit trail.")],
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
) -> None:
    """End the hold of a forced offboarding.

    They are again what the source says; what they get back waits for a human.
    """
    screen = Screen()
    with open_site(settings, actor, screen) as site:
        screen.line(f"{holds.lift(site, person, note)}.")
    screen.line("`trueup plan` shows what follows from it.")


@app.command()
def restore(
    receipt: Annotated[str, typer.Argument(help="Who is back, or the id of their offboarding.")],
    settings: SettingsOption = DEFAULT_SETTINGS,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give back the schedules and alerts that were handed over.

    Accounts, roles and groups come back by policy, once the source says that they are back; the rest is lost.
    """
    screen = Screen(as_json)
    with open_site(settings, actor, screen) as site:
        done = handback.restore(site, receipt)
    if as_json:
        screen.json({"given_back": done.given_back, "not": done.problems, "otherwise": done.otherwise})
    else:
        for text in done.given_back:
            screen.line(f"  ✓ {text}", "green")
        for text in done.problems:
            screen.trouble(text, "not done")
        for text in done.otherwise:
            screen.line(text)
    raise typer.Exit(1 if done.problems else 0)
