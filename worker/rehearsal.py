"""The demo, and the sandbox as a server: the only part of the product that knows the made-up company."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from worker import receipt, wiring
from worker.core.guardrails import State
from worker.core.render import counted, counts_line
from worker.embedded import redis
from worker.errors import Misconfigured
from worker.flows import offboarding, passes, receipts, trail
from worker.flows.check import check
from worker.flows.links import find_person
from worker.flows.site import Site
from worker.flows.why import why
from worker.private import writing
from worker.sandbox.regions import ATTRIBUTE, REGION
from worker.sandbox.world import World, settings_yaml
from worker.screen import Screen

_PATIENCE = 120.0  # seconds for a worker and a beat to start on a busy machine
_AUTHORITY = "ca.pem"  # beside the settings: whom to trust that Entra ID is Entra ID
_SCHEDULE = "schedule: {pull: 2s, observe: 2s, reconcile: 2s, tick: 1s}\n"


def serve(screen: Screen, *, size: int, seed: int, port: int, folder: Path, sources: Sequence[str] = ("okta",)) -> None:
    """Serve the vendors until Ctrl-C; trueup.yaml and the secrets' values are written to `folder`."""
    world, stop = World.of(size, seed, sources, filters=True), _told_to_stop()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with world.serve(port):
            settings, environment = folder / "trueup.yaml", folder / "sandbox.env"
            if not settings.exists():
                settings.write_text(_settings(world, folder), encoding="utf-8")
            if world.tenancy:
                (folder / _AUTHORITY).write_bytes(world.entra.ca_file.read_bytes())
            with writing(environment) as file:
                file.write(_shell(folder.absolute(), settings.name, world))
            for name, url in world.urls.items():
                screen.line(f"{name}: {url}")
            screen.line(f"{counted(size, 'person', 'people')} work there. In another terminal:")
            screen.line(f"  . {environment} && trueup check && trueup plan")
            screen.line(
                f"That terminal then uses {settings} and books of its own. Ctrl-C ends the servers, which forget all."
            )
            stop.wait()
    except OSError as error:
        raise Misconfigured(f"The sandbox cannot be served ({error.strerror}); try --port or --folder.") from error


def _settings(world: World, folder: Path) -> str:
    """They outlive the servers, so they name a certificate that is written anew each time."""
    tenancy = world.tenancy and {**world.tenancy, "ca_file": str(folder.absolute() / _AUTHORITY)}
    return settings_yaml(world.urls, world.company.policy, tenancy=tenancy)


def _shell(folder: Path, settings: str, world: World) -> str:
    """What a terminal has to know to rehearse: secrets, settings, and a database that is not the real one."""
    known = {
        **world.environment(),
        "TRUEUP_SETTINGS": str(folder / settings),
        "TRUEUP_STATE": str(folder / "state"),
    }
    exports = [f"export {name}={shlex.quote(value)}\n" for name, value in known.items()]
    return "".join([*exports, f"unset {wiring.DATABASE} {wiring.OWNER_DATABASE}\n"])


def _told_to_stop() -> threading.Event:
    """Set by Ctrl-C or SIGTERM, from now on."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def demo(screen: Screen, size: int) -> None:
    """The main job from drift to verified trail, with the default guards. Raises when something is not as it should."""
    began = time.monotonic()
    with (
        _stage(size) as (world, path),
        wiring.open_site(path, "operator:demo", lambda _: None) as site,
        _worker(path) as worker,
    ):
        screen.heading(f"A company of {size} people: Okta says who they are, Looker and TeamCity what they can do")
        _take_baseline(screen, site)
        _plan(screen, site)
        _sync(screen, site)
        _by_itself(screen, site, world, worker)
        _mass_edit(screen, site, world)
        _closing(screen, site, world)
        _leaver(screen, site, world)
    screen.line(
        f"\nThat took {time.monotonic() - began:.0f} seconds. Next: README.md, or `trueup sandbox` for your own try."
    )


@contextmanager
def _stage(size: int) -> Iterator[tuple[World, Path]]:
    """The servers, a database of its own and a settings file, all gone afterwards."""
    world = World.of(size, filters=True)
    with tempfile.TemporaryDirectory(prefix="trueup-demo-") as folder, world.serve():
        path = Path(folder) / "trueup.yaml"
        path.write_text(world.settings_yaml("enforce") + _SCHEDULE, encoding="utf-8")
        before = dict(os.environ)
        os.environ.update({**world.environment(), "TRUEUP_STATE": str(Path(folder) / "state")})
        for name in (wiring.DATABASE, wiring.OWNER_DATABASE):  # real books are not for a made-up company
            os.environ.pop(name, None)
        try:
            yield world, path
        finally:
            os.environ.clear()
            os.environ.update(before)


class _Worker:
    """A worker of its own, which has nothing to do until a beat ticks."""

    def __init__(self, path: Path) -> None:
        self._environment = {**os.environ, "TRUEUP_SETTINGS": str(path), "TRUEUP_LOG_LEVEL": "warning"}
        self._log = path.with_name("worker.log")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start("worker", "--processes", "1")

    def tick(self) -> None:
        self._start("beat")

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait()

    def _start(self, *command: str) -> None:
        with self._log.open("ab") as out:
            started = subprocess.Popen(
                [sys.executable, "-m", "worker", *command], env=self._environment, stdout=out, stderr=out
            )
        self._processes.append(started)


@contextmanager
def _worker(path: Path) -> Iterator[_Worker]:
    with redis.running():
        worker = _Worker(path)
        try:
            yield worker
        finally:
            worker.stop()


def _by_itself(screen: Screen, site: Site, world: World, worker: _Worker) -> None:
    """What `trueup up` does all day: real processes, and nobody who types a command."""
    screen.heading(
        "5. Somebody adds a person to a group by hand; a beat ticks, and a worker finds and heals it by itself"
    )
    settled = {story.who for story in world.company.stories}
    user = next(
        u
        for u in world.company.looker_users
        if u.kind == "standard" and u.email not in settled and "Finance" not in u.groups
    )
    world.looker.add_to_group(user.id, "Finance")
    began = time.monotonic()
    screen.line(f"  by hand: Looker account {user.id} is in group Finance now")
    worker.tick()
    while world.looker.in_group(user.id, "Finance"):
        _expect(time.monotonic() - began < _PATIENCE, "no worker healed what was changed by hand")
        time.sleep(0.1)
    screen.line(f"  healed {time.monotonic() - began:.0f} s later, most of which it took to start the beat:")
    worker.stop()
    for entry in trail.newest(site, kinds=["step attempted"], limit=1):
        screen.line(f"  {entry.number}: by {entry.actor}: {trail.sentence(entry)}")


def _take_baseline(screen: Screen, site: Site) -> None:
    screen.heading("1. trueup check --accept-baseline: look at the counts before anything may be taken away")
    found = check(site, accept=[])
    for name, counts in found.counts.items():
        screen.line(f"  {name}: {counts_line(counts)}")


def _plan(screen: Screen, site: Site) -> None:
    screen.heading("2. trueup plan: the drift, and what would be done about it; nothing is changed")
    screen.outlook(passes.plan(site))


def _sync(screen: Screen, site: Site) -> None:
    screen.heading("3. trueup sync: everything whose gate is open is done, step by step, read back and recorded")
    screen.outlook(passes.sync(site))
    screen.heading("4. trueup sync again: nothing is left to do")
    again = passes.sync(site)
    screen.line(f"  {again.closing_line()}")
    _expect(not any(run.done or run.problems for run in again.applied), "a second pass found something to do")


def _mass_edit(screen: Screen, site: Site, world: World) -> None:
    """Somebody's script goes wrong at a vendor: far more would have to be taken away than a machine should decide."""
    screen.heading(
        "6. Somebody's script puts half of Looker into group Finance: who is to be believed is for a human to say"
    )
    crowd = [account.id for account in world.company.looker_users if account.kind == "standard"]
    for user_id in crowd[: len(crowd) // 2]:
        world.looker.add_to_group(user_id, "Finance")
    outlook = passes.sync(site)
    for reason in outlook.tripped:
        screen.trouble(reason, "guard")
    screen.line(f"  {outlook.closing_line()}")
    _expect(any(p.count(State.WITHHELD) for p in outlook.plans), "the guard let a mass removal through")
    _expect(outlook.exit_code() == 1, "a tripped guard did not show in the exit code")
    standing = outlook.standing()
    _expect(standing["orphan"] > 0, "no orphan is left standing")
    _expect(standing["disputed"] > 0, "no dispute is left standing")


def _closing(screen: Screen, site: Site, world: World) -> None:
    leaver, astray = (next(s for s in world.company.stories if s.kind == kind) for kind in ("leaver", "wrong region"))
    screen.heading(f"7. trueup why {leaver.who}")
    _why(screen, site, leaver.who, ("found", "correlated", "rules", "desired", "observed"))
    screen.heading(f"8. trueup why {astray.who} {ATTRIBUTE}: whose rows they saw was wrong, and was put right")
    screen.line(f"  before: {astray.where}: {astray.text}")
    _why(screen, site, astray.who, ("rules", "desired", "observed"), ATTRIBUTE)
    account = next(user for user in world.company.looker_users if user.email == astray.who)
    ours = next(e.profile[REGION] for e in world.everybody if e.profile["login"] == astray.who)
    _expect(world.looker.value(account.id, ATTRIBUTE) == ours, "a wrong row filter was not put right")
    screen.heading("9. trueup audit: every change is in the trail, and the chain is whole")
    for entry in reversed(trail.newest(site, kinds=["step attempted"], limit=3)):
        screen.line(f"  {entry.number}: {trail.sentence(entry)}")
    verdict = trail.verify(site)
    _expect(verdict.ok, f"the audit chain is broken: {verdict.what}")
    screen.line(f"  The chain is whole: {verdict.checked:,} entries.")


def _leaver(screen: Screen, site: Site, world: World) -> None:
    """Somebody with all that one can have leaves; the source says so, and everything is taken and looked for again."""
    settled = {story.who for story in world.company.stories}
    builds = {user.username: user.id for user in world.company.teamcity_users}
    leaver = next(
        user
        for user in world.company.looker_users
        if user.kind == "standard" and user.email not in settled and user.email in builds
    )
    screen.heading(f"10. trueup offboard {leaver.email} --reason 'left today' --wait")
    world.looker.add_session(leaver.id)
    world.looker.add_schedule(leaver.id, "Weekly sales", leaver.email)
    world.teamcity.set_field(builds[leaver.email], "password", secrets.token_hex(8))
    world.teamcity.add_token(builds[leaver.email], "laptop")
    user = world.okta.directory.find(leaver.email)
    assert user is not None, "everybody is at the source"
    world.okta.deactivate(user.id)
    with site.begin() as session:
        asked = offboarding.Asked(offboarding.OPERATOR, "left today", site.actor)
        id = offboarding.ask(site, session, find_person(session, leaver.email).person_id, asked)
    troubles = offboarding.work_due(site)
    _expect(not troubles, f"the offboarding met trouble: {troubles}")
    found = receipts.find(site, str(id))
    for text, style in receipt.text(found):
        screen.line(f"  {text}", style)
    _expect(found.verified_at is not None, "nobody looked whether it is gone")


def _why(screen: Screen, site: Site, who: str, steps: Collection[str], entitlement: str = "") -> None:
    """The beginning of what is said in these steps, rules that fit first."""
    told = why(site, who, entitlement).steps
    for step in steps:
        for text in sorted(told[step], key=lambda line: " fits: " not in line)[:4]:
            screen.line(f"  {step}: {text}")


def _expect(truth: bool, otherwise: str) -> None:
    if not truth:
        raise AssertionError(f"the demo is not as it should be: {otherwise}")
