"""Reads an org whole: all people of every status, all groups, and the members of those that the policy names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar
from urllib.parse import quote

from worker.core.identity import Identity, SourceGroup, Standing
from worker.core.render import counted, quoted
from worker.errors import Denied, Misshapen, Missing
from worker.ports import Check, Instance, Line, Notice, SourcePage, Wanted
from worker.rest import Rest
from worker.sources.okta.credentials import Credentials, credentials_of
from worker.sources.okta.groups import Groups, Record, count_of, everyone, is_wanted
from worker.sources.okta.org import (
    GROUPS_PATH,
    ME,
    ORGANIZATION,
    PAGE,
    USERS_PATH,
    Org,
    error_text,
    records_of,
)
from worker.sources.okta.people import ATTRIBUTES, People
from worker.sources.okta.rate import bucket, throttle_wait, window
from worker.sources.okta.settings import GROUPS, Settings

ROWS = 500  # of a page that is handed on
STRANGERS = 50  # members who are on no list of people and are looked up one by one
SHOWN = 10  # groups with a problem that a check names
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LISTS: Mapping[str, Mapping[str, str]] = {
    "people": {},  # every status but DEPROVISIONED, and those that no contract names
    "deprovisioned people": {"filter": 'status eq "DEPROVISIONED"'},
}
Row = TypeVar("Row")


def connect(
    name: str, settings: Settings, line: Line = Line(), *,
    attempts: int = 5, first_pause: float = 0.5, longest_wait: float = 90.0,
) -> OktaSource:  # fmt: skip
    """Builds the source; calls nobody. Raises Misconfigured where a secret is missing or no key."""
    credentials = credentials_of(name, settings, line)
    rest = Rest(
        name,
        settings.url,
        sign=credentials.headers,
        ca_file=settings.ca_file,
        timeout=settings.timeout,
        attempts=attempts,
        first_pause=first_pause,
        longest_wait=longest_wait,
        line=line,
        bucket=bucket,
        gauge=window,
        secrets=credentials.secrets,
        wait=throttle_wait,
        error_text=error_text,
    )
    return OktaSource(name, settings, Org(name, rest, credentials), credentials)


class OktaSource:
    """One Okta org as a source of identities."""

    def __init__(self, name: str, settings: Settings, org: Org, credentials: Credentials) -> None:
        self.name = name
        self._settings, self._org, self._credentials = settings, org, credentials
        self._groups = Groups(name, org)

    def close(self) -> None:
        self._org.close()

    def instance(self) -> Instance:
        """The org id, and the account that reads it: the token's owner, or the service app's client id."""
        about = self._org.get(ORGANIZATION).json()
        id = about.get("id") if isinstance(about, dict) else None
        if not isinstance(id, str) or not id:
            raise Misshapen(f"{self.name} does not say which org it is; does `url` lead to Okta itself?")
        own = self._credentials.client_id or self._user(ME)["id"]
        return Instance(id, own, str(about.get("pipeline", "")))

    def person(self, id: str) -> Identity | None:
        """One identity by id; None when Okta itself (and no gateway) says that there is none."""
        return self._by_id(id, self._reader(()))

    def probe(self) -> Iterable[Notice]:
        users = self._org.get(USERS_PATH, {"limit": 1})
        built_in = {"filter": 'type eq "BUILT_IN"', "expand": "stats"}
        groups = [record for page in self._org.pages(GROUPS_PATH, built_in, GROUPS) for record in page]
        yield from self._credential_notices()
        if not records_of(users):
            yield Notice(f"{self.name} shows nobody.", "Give the credentials a role that covers all users.", fatal=True)
        all_people = everyone(groups)
        if all_people is None:
            yield Notice(
                "The group Everyone is not visible, so a list of people that is too short cannot be noticed by it.",
                "A narrow administrator role hides the group; Read-only Administrator shows it.",
            )
        else:
            yield Notice(f"{count_of(all_people)} people are in the org, by Okta's own count.")
        limit = users.headers.get("x-rate-limit-limit", "")
        if limit.isdigit() and int(limit):
            yield Notice(f"Okta allows {limit} calls of the user list a minute, with {PAGE} people each.")

    def read(self, wanted: Wanted) -> Iterator[SourcePage]:
        """Groups are listed first, so that whoever is hired meanwhile makes the lists longer than the counts."""
        groups = self._groups.listed()
        people, checks = self._people(wanted.attributes)
        chosen = [record for record in groups if is_wanted(record, wanted.groups)]
        others = [record for record in groups if not is_wanted(record, wanted.groups)]
        for them in _batches(people.values()):
            yield SourcePage(identities=them)
        for some in _batches(map(self._groups.unread, others)):
            yield SourcePage(groups=some)
        read: list[SourceGroup] = []
        strangers: set[str] = set()
        for page in _pages(self._groups.with_members(chosen)):
            read.extend(page.groups)
            strangers.update(id for _, id in page.memberships if id not in people)
            yield page
        late, strangers_check = self._looked_up(strangers, wanted.attributes)
        yield SourcePage(
            identities=late,
            checks=[
                *checks,
                Check("permission", True, f"users and groups are readable as {self._own_name}"),
                Check("groups", True, f"{len(groups)} groups, listed to the end"),
                _members_check(read, len(chosen)),
                strangers_check,
                self._everyone_check(everyone(groups), len(people) + len(late)),
            ],
        )

    def _people(self, attributes: Collection[str]) -> tuple[dict[str, Identity], list[Check]]:
        """Both lists, each id once: who is on both was changed meanwhile, and the newer record counts."""
        reader, fields = self._reader(attributes), _fields(attributes)
        people: dict[str, Identity] = {}
        stamps: dict[str, str] = {}
        checks = []
        for what, narrowed in _LISTS.items():
            rows = pages = 0
            for records in self._org.pages(USERS_PATH, {**narrowed, "fields": fields}):
                rows, pages = rows + len(records), pages + 1
                for record in records:
                    id, stamp = record["id"], record.get("lastUpdated")
                    if not isinstance(stamp, str) or stamp >= stamps.get(id, ""):
                        people[id], stamps[id] = reader.identity(record), stamp if isinstance(stamp, str) else ""
            checks.append(Check(what, True, f"{rows} listed to the end, on {pages} pages"))
        if not people:
            raise Denied(
                f"{self.name} lists nobody at all, which cannot be true. Give our credentials an administrator role"
                " whose resource set covers all users (Read-only Administrator)."
            )
        return people, checks

    def _looked_up(self, strangers: Collection[str], attributes: Collection[str]) -> tuple[list[Identity], Check]:
        """Members who are on no list of people: hired meanwhile (then they are found by id), or not shown to us."""
        reader, name = self._reader(attributes), "members are listed people"
        found = [self._by_id(id, reader) for id in sorted(strangers)[:STRANGERS]]
        late = [identity for identity in found if identity]
        hidden = len(strangers) - len(late)
        if not hidden:
            return late, Check(name, True, f"{len(late)} of them were hired meanwhile")
        who = counted(hidden, "member of a group is", "members of groups are")
        detail = f"{who} on no list of people: the administrator role may cover too few users"
        return late, self._unless_partial(name, detail)

    def _everyone_check(self, group: Record | None, people: int) -> Check:
        """The lists against the size of Everyone, which is read once more before it says that somebody is missing."""
        name = "as many as Everyone"
        if group is None:
            return Check(name, True, "not checked: the group Everyone is not visible to our credentials")
        if (count_of(group) or 0) > people:
            group = self._groups.now(group["id"]) or group
        count = count_of(group)
        if count is None:
            return Check(name, True, "not checked: Okta gives no count of Everyone")
        detail = f"{people} people were listed, and Everyone has {count}"
        return Check(name, True, detail) if count <= people else self._unless_partial(name, detail)

    def _unless_partial(self, name: str, detail: str) -> Check:
        if self._settings.partial:
            return Check(name, True, f"{detail} (`partial: true` says that this is meant)")
        return Check(name, False, f"{detail}; if it is meant to see only a part of the org, set `partial: true`")

    def _by_id(self, id: str, reader: People) -> Identity | None:
        try:
            record = self._user(f"{USERS_PATH}/{quote(id, safe='')}")
        except Missing:
            return None
        if record["id"] != id:
            raise Misshapen(f"{self.name} was asked for the user {quoted(id)} and gave {quoted(record['id'])}.")
        return reader.identity(record)

    def _user(self, path: str) -> Record:
        record = self._org.get(path).json()
        if not isinstance(record, dict) or not isinstance(record.get("id"), str):
            raise Misshapen(f"{self.name} answered {path} with something that is no user.")
        return record

    @property
    def _own_name(self) -> str:
        app = self._credentials.client_id
        return f"the service app {app}" if app else "the owner of the API token"

    def _reader(self, attributes: Collection[str]) -> People:
        return People(self.name, Standing(self._settings.provisioned), attributes)

    def _credential_notices(self) -> Iterator[Notice]:
        app = self._credentials
        if not app.client_id:
            owner = self._reader(()).identity(self._user(ME)).login
            yield Notice(
                f"The API token has all rights of {quoted(owner)}, now and later, and ends with that account.",
                "Prefer an OAuth service app that may only read: docs/connectors/okta.md says how.",
            )
        elif self._settings.dpop and not app.bound:
            yield Notice(
                "The service app gives tokens that work without DPoP.", "Tick `Require DPoP` in the app's settings."
            )


def _fields(attributes: Collection[str]) -> str:
    """Only what is kept is asked for. A name that no Okta attribute can have stays out: it could break the list."""
    wanted = {name for name in attributes if _ATTRIBUTE_NAME.fullmatch(name)}
    profile = ",".join([*ATTRIBUTES, *sorted(wanted - set(ATTRIBUTES))])
    return f"id,status,lastUpdated,transitioningToStatus,profile:({profile})"


def _members_check(read: Collection[SourceGroup], chosen: int) -> Check:
    """A group with a problem suspends its own rules, and spoils nobody else's reading."""
    odd = [f"{quoted(group.name, 60)} ({group.problem})" for group in read if group.problem]
    named = ", ".join(odd[:SHOWN]) + (f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else "")
    gone = f"; {chosen - len(read)} vanished meanwhile" if chosen > len(read) else ""
    suspended = f"; with a problem: {named}" if odd else ""
    return Check("members", True, f"{len(read) - len(odd)} groups read whole{gone}{suspended}")


def _pages(found: Iterable[tuple[SourceGroup, Sequence[str]]]) -> Iterator[SourcePage]:
    """Groups and their members, small ones together and large ones in pieces."""
    groups: list[SourceGroup] = []
    rows: list[tuple[str, str]] = []
    for group, members in found:
        groups.append(group)
        rows.extend((group.id, id) for id in members)
        if len(groups) + len(rows) >= ROWS:
            yield SourcePage(groups=groups)
            yield from (SourcePage(memberships=some) for some in _batches(rows))
            groups, rows = [], []
    yield SourcePage(groups=groups, memberships=rows)


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, ROWS)):
        yield batch
