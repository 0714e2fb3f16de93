"""People in the making: hired into jobs, with exactly the accounts that their jobs call for, before any trouble."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from worker.sandbox import acme
from worker.sandbox.company import Employee, LookerUser, Story, TeamCityUser
from worker.sandbox.names import FIRST, LAST, address, plain

FIRST_ID = 100  # lower account ids belong to what every installation has, and to the sandbox servers


@dataclass
class Hire:
    """One employee and the accounts that are theirs (None where there is none). `storied` once trouble is planted."""

    number: int
    job: acme.Job
    status: str
    profile: dict[str, str]
    groups: list[str]
    looker: LookerUser | None = None
    teamcity: TeamCityUser | None = None
    storied: bool = False

    @property
    def login(self) -> str:
        return self.profile["login"]

    def rename(self, first: str, last: str) -> None:
        """The name changes at the source only."""
        self.profile |= {"firstName": first, "lastName": last, "displayName": f"{first} {last}"}

    def move(self, new: str) -> None:
        """The address changes at the source only."""
        self.profile |= {"login": new, "email": new}

    def name_accounts(self, address: str) -> None:
        """Both accounts take this address and the name that the source has."""
        p = self.profile
        if self.looker:
            self.looker = replace(self.looker, email=address, first_name=p["firstName"], last_name=p["lastName"])
        if self.teamcity:
            self.teamcity = replace(self.teamcity, username=address, email=address, name=p["displayName"])

    def employee(self) -> Employee:
        return Employee(f"00u{self.number:013d}acme", self.status, self.profile, tuple(self.groups))


@dataclass
class Town:
    """The company while it is being made; `strays` are accounts that no person has."""

    rng: random.Random
    hires: list[Hire] = field(default_factory=list)
    looker_strays: list[LookerUser] = field(default_factory=list)
    teamcity_strays: list[TeamCityUser] = field(default_factory=list)
    stories: list[Story] = field(default_factory=list)
    _taken: dict[str, int] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(20))

    def local(self, first: str, last: str) -> str:
        """The plain part before the @, with a number where the name is taken."""
        wanted = plain(f"{first}.{last}".lower())
        taken = self._taken[wanted] = self._taken.get(wanted, 0) + 1
        return wanted if taken == 1 else f"{wanted}{taken}"

    def looker_stray(self, email: str, name: tuple[str, str], kind: str = "standard", *groups: str) -> LookerUser:
        stray = LookerUser(str(self._id()), email, *name, False, kind, (), groups)
        self.looker_strays.append(stray)
        return stray

    def teamcity_stray(self, username: str, name: str, email: str, *groups: str) -> TeamCityUser:
        stray = TeamCityUser(self._id(), username, name, email, (), groups)
        self.teamcity_strays.append(stray)
        return stray

    def _id(self) -> int:
        """Ids beyond those of the people's accounts, in the order of asking."""
        return FIRST_ID + len(self.hires) + next(self._ids)


def hire(size: int, rng: random.Random) -> Town:
    """A company in perfect order: a chief, administrators, and as many others as `size` leaves."""
    town = Town(rng)
    deck = [job for job in acme.JOBS for _ in range(job.share)]
    rng.shuffle(deck)
    jobs = {job.title: job for job in acme.JOBS}
    chief = _hired(town, 0, jobs["Account Executive"], "Grace", "Okafor")
    chief.profile["title"] = "Chief Executive"
    town.hires.append(chief)
    for number in range(1, size):
        administrator = number <= _administrators(size)
        job = jobs["Systems Administrator"] if administrator else deck[number % len(deck)]
        person = _hired(town, number, job, rng.choice(FIRST), rng.choice(LAST).replace("-", " "))
        if administrator:
            _make_administrator(person)
            town.stories.append(
                Story("administrator", person.login, "looker and teamcity", "is an administrator in good order")
            )
        town.hires.append(person)
    return town


def _administrators(size: int) -> int:
    return min(4, 2 + size // 1000)


def _hired(town: Town, number: int, job: acme.Job, first: str, last: str) -> Hire:
    login = address(town.local(first, last.replace(" ", "-")))
    contractor = number % 12 == 7 and job.title != "Release Engineer"
    profile = {
        "login": login,
        "email": login,
        "firstName": first,
        "lastName": last,
        "displayName": f"{first} {last}",
        "title": job.title,
        "department": job.department,
        "userType": "Contractor" if contractor else "Employee",
        "employeeNumber": f"{10_000 + number}",
    }
    readers = [acme.READERS] if "Viewers" in job.looker_groups else []
    groups = [
        "Everyone", "Contractors" if contractor else "Employees", "VPN Users",
        job.department, *job.teams, *readers, f"Office {acme.office(number)}",
    ]  # fmt: skip
    person = Hire(number, job, "ACTIVE", profile, groups)
    _open_accounts(person)
    return person


def _open_accounts(person: Hire) -> None:
    job, id, login, p = person.job, FIRST_ID + person.number, person.login, person.profile
    if job.looker_groups or job.looker_roles:
        mirrored = ("Okta Sales",) if job.department == "Sales" and person.number % 3 == 0 else ()
        groups = (*job.looker_groups, *mirrored)
        name = (p["firstName"], p["lastName"])
        person.looker = LookerUser(str(id), login, *name, False, "standard", job.looker_roles, groups)
    if job.teamcity_roles or job.teamcity_groups:
        person.teamcity = TeamCityUser(
            id, login, p["displayName"], login, job.teamcity_roles, job.teamcity_groups, has_password=False
        )


def _make_administrator(person: Hire) -> None:
    person.profile["title"] = "Administrator"
    person.groups += [acme.LOOKER_ADMINISTRATORS, acme.TEAMCITY_ADMINISTRATORS]
    assert person.looker
    person.looker = replace(person.looker, roles=(acme.ADMIN_ROLE,))
    person.teamcity = TeamCityUser(
        FIRST_ID + person.number, person.login, person.profile["displayName"], person.login,
        (acme.SYSTEM_ADMIN,), (), has_password=False, tokens=("command line",),
    )  # fmt: skip
