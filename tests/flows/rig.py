"""A whole Trueup for a test: the sandbox's three servers, a database of its own, settings to turn, a clock to move."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from worker import wiring
from worker.core.audit import AuditEntry
from worker.flows.site import Site
from worker.ports import Made, Step, Target
from worker.sandbox.looker.instance import ALL_USERS
from worker.sandbox.looker.instance import User as LookerUser
from worker.sandbox.world import World
from worker.store import chain, installations, mirror

NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


@dataclass
class Clock:
    """What time it is for everybody who asks the site."""

    time: dt.datetime = NOON

    def __call__(self) -> dt.datetime:
        return self.time

    def advance(self, **how_far: float) -> None:
        """`clock.advance(hours=3)`"""
        self.time += dt.timedelta(**how_far)


@dataclass
class Rig:
    """`with rig.open(mode="enforce", limits={"share": "50%"}) as site:` is one Trueup process.

    Several may be open at once; they share the world, the database and the clock, and each is another lease owner.
    """

    world: World
    folder: Path
    clock: Clock = field(default_factory=Clock)
    said: list[str] = field(default_factory=list)

    def write_settings(self, mode: str = "observe", **changes: Any) -> Path:
        """trueup.yaml of the served company, with changes laid over it key by key; lists and texts are replaced."""
        settings = yaml.safe_load(self.world.settings_yaml(mode))
        file = self.folder / "trueup.yaml"
        text = yaml.dump(_laid_over(settings, changes), Dumper=_WrittenOut, sort_keys=False)
        file.write_text(text, encoding="utf-8")
        return file

    @contextmanager
    def open(
        self, mode: str = "observe", *, actor: str = "operator:test", baselines: bool = True, **changes: Any
    ) -> Iterator[Site]:
        """`baselines`: whatever has been or will be read whole is accepted, so that things may be taken away."""
        with wiring.open_site(self.write_settings(mode, **changes), actor, self.said.append, self.clock) as site:
            if baselines:
                self.accept_baselines(site)
            yield site

    def accept_baselines(self, site: Site) -> None:
        """In the name of an operator, for every connector; one that was not read yet counts as read with nothing."""
        with site.begin() as session:
            for name in (*site.sources, *site.targets):
                current = mirror.current_snapshot(session, name)
                started = current.id if current else mirror.start_snapshot(session, name, self.clock())
                counts = current.counts if current else {}
                installations.accept_baseline(session, name, started, counts, "operator:test", self.clock())

    def trail(self, site: Site, *kinds: str) -> list[AuditEntry]:
        """The audit entries of these kinds (of all, if none is named), oldest first."""
        with site.begin() as session:
            return list(chain.entries(session, kinds=kinds))

    def okta_id(self, login: str) -> str:
        """By which the sandbox's Okta is edited."""
        found = self.world.okta.directory.find(login)
        assert found, login
        return found.id

    def looker_user(self, login: str) -> LookerUser:
        """What Looker really has; there is exactly one account of that address."""
        (found,) = self.world.looker.instance.with_email(login)
        return found

    def looker_roles(self, login: str) -> set[str]:
        """Names of the roles held directly."""
        return {self.world.looker.instance.roles[id].name for id in self.looker_user(login).roles}

    def looker_groups(self, login: str) -> set[str]:
        """Names of the groups that the account itself is in, but for the one that has everybody."""
        groups = self.world.looker.instance.groups
        return {groups[id].name for id in self.looker_user(login).groups} - {ALL_USERS}

    def mutations(self) -> list[str]:
        """Every call that changed a target, as `PATCH /api/4.0/users/7`."""
        return [f"{e.method} {e.path}" for server in self.world.servers for e in server.log]

    def logins(self, kind: str) -> list[str]:
        """Who a planted story is about, by Okta login; see worker/sandbox/trouble.py for the kinds."""
        return [story.who for story in self.world.company.stories if story.kind == kind]


class _WrittenOut(yaml.SafeDumper):
    """Writes what occurs twice twice, as settings must."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    joined = dict(below)
    for key, value in above.items():
        under = joined.get(key)
        joined[key] = _laid_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return joined


class _Interposed:
    """A target that does what the real one does, and lets something happen in the world after its first mutation."""

    def __init__(self, target: Target, happen: Callable[[], object]) -> None:
        self._target = target
        self._happen: Callable[[], object] | None = happen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def apply(self, step: Step) -> Made:
        made = self._target.apply(step)
        if self._happen:
            happen, self._happen = self._happen, None
            happen()
        return made


def interrupted(site: Site, target: str, happen: Callable[[], object]) -> Site:
    """The same site, in which `happen()` is called right after the first step that reaches the target."""
    interposed: Any = _Interposed(site.targets[target], happen)
    return replace(site, targets={**site.targets, target: interposed})
