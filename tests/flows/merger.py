"""A company after a merger: the served org `okta`, and an org `acquired` that knows some of its people too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import yaml

from tests.flows.rig import Rig
from worker.core.identity import Identity, Person
from worker.flows.crowd import Crowd, gather
from worker.flows.site import Site
from worker.ports import Source
from worker.sandbox.company import Employee
from worker.sandbox.okta import OktaSandbox

TOKEN = "00acquired-okta-token"
BY_NUMBER = {"trust": ["employeeNumber"], "propose": ["email"]}
_TARGETS = ("looker", "teamcity")
ORDER = ("okta", "acquired")


@dataclass
class Merger:
    """Two orgs of one company. `order` is that of the sources in the settings; one that is left out is not
    declared, and `third` is the second one once more."""

    rig: Rig
    acquired: OktaSandbox
    order: Sequence[str] = ORDER

    @contextmanager
    def open(self, mode: str = "enforce", **changes: Any) -> Iterator[Site]:
        """As the rig's; people are joined by employee number, and whatever asks for a group asks both orgs."""
        sound = self.rig.world.settings_yaml
        self.rig.world.settings_yaml = self._settings  # type: ignore[method-assign]
        try:
            with self.rig.open(mode, **changes) as site:
                yield site
        finally:
            self.rig.world.settings_yaml = sound  # type: ignore[method-assign]

    def _settings(self, mode: str = "observe") -> str:
        served = yaml.safe_load(type(self.rig.world).settings_yaml(self.rig.world, mode))
        second = {"type": "okta", "url": self.acquired.url, "token": "${env:ACQUIRED_TOKEN}"}
        known = {**served["sources"], "acquired": second, "third": second}
        served |= {
            "sources": {name: known[name] for name in self.order},
            "joining": BY_NUMBER,
            "must_see": {n: seen for n, seen in served.get("must_see", {}).items() if n in (*self.order, *_TARGETS)},
            "rules": [{**rule, "when": _asking(rule["when"], self.order)} for rule in served["rules"]],
        }
        return yaml.dump(served, Dumper=_WrittenOut, sort_keys=False)

    def employees(self) -> list[Employee]:
        """Those who are at work, have a Looker account, and whom no planted trouble concerns."""
        company = self.rig.world.company
        troubled = {story.who for story in company.stories}
        accounts = {user.email for user in company.looker_users}
        return [
            e for e in company.employees
            if e.status == "ACTIVE" and e.profile["login"] not in troubled and e.profile["email"] in accounts
            and "Engineering" in e.groups
        ]  # fmt: skip

    def twin(self, of: Employee, **profile: Any) -> str:
        """The same person in the other org, in the same groups; returns the id there."""
        known = {**of.profile, **profile}
        first, last = known.pop("firstName"), known.pop("lastName")
        groups = [name for name in of.groups if name != "Everyone"]
        return self.acquired.directory.hire(first, last, id=f"00uacquired{of.id[-9:]}", groups=groups, **known)


class _WrittenOut(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _asking(when: Any, sources: Sequence[str]) -> Any:
    if isinstance(when, list):
        return [_asking(one, sources) for one in when]
    if not isinstance(when, dict):
        return when
    if "group" in when:
        return {"any": [{**when, "source": source} for source in sources]}
    return {key: _asking(value, sources) if key in ("all", "any", "not") else value for key, value in when.items()}


def acquired_org(rig: Rig) -> OktaSandbox:
    """An org with the company's groups and nobody in them."""
    return OktaSandbox(replace(rig.world.company, employees=()), token=TOKEN, org_id="00oacquired000000001")


def login(of: Employee) -> str:
    return of.profile["login"]


def people_of(site: Site, login: str, crowd: Crowd | None = None) -> list[Person]:
    """Whoever has an identity with this login."""
    everybody = (crowd or gather(site)).people.values()
    return [p for p in everybody if any(i.login == login for i in p.identities)]


def person_of(site: Site, login: str) -> Person:
    (found,) = people_of(site, login)
    return found


class _Final:
    """A source whose silence about somebody is final."""

    final_absence = True

    def __init__(self, source: Source) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def person(self, id: str) -> Identity | None:
        return self._source.person(id)


def final(site: Site, name: str) -> Site:
    source: Any = _Final(site.sources[name])
    return replace(site, sources={**site.sources, name: source})
