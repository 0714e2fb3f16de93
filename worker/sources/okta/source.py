"""Reads an org whole: all people of every status, all groups, and the members of those that the policy names."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from worker.core.identity import Identity, Standing
from worker.core.render import counted, quoted
from worker.errors import Denied, Misshapen, Missing
from worker.ports import Check, Instance, Line, Notice, Part, Piece, SourcePage, Wanted, Whole
from worker.rest import Rest
from worker.sources._pagination import Trail, refuse_doubles
from worker.sources.okta.credentials import Credentials, credentials_of
from worker.sources.okta.groups import Groups, Record, count_of, everyone, handfuls, is_wanted, slim
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

GROUPS_LIST, PEOPLE, MEMBERS = "groups", "people", "members"  # the kinds of a part
STRANGERS = 50  # members who are on no list of people and are looked up one by one
SHOWN = 10  # groups with a problem that a check names
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LISTS: Mapping[str, Mapping[str, str]] = {
    "people": {},  # every status but DEPROVISIONED, and those that no contract names
    "deprovisioned people": {"filter": 'status eq "DEPROVISIONED"'},
}


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

    final_absence = False  # a deleted user is gone by id as well, and so is one whom narrower rights no longer show

    def __init__(self, name: str, settings: Settings, org: Org, credentials: Credentials) -> None:
        self.name = name
        self._settings, self._org, self._credentials = settings, org, credentials
        self._groups = Groups(name, org)
        self._readings: Mapping[str, Callable[[Mapping[str, Any]], Piece]] = {
            GROUPS_LIST: self._read_groups, PEOPLE: self._read_people, MEMBERS: self._read_members,
        }  # fmt: skip

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

    def parts(self, wanted: Wanted) -> Sequence[Part]:
        """Groups are listed first, so that whoever is hired meanwhile makes the lists longer than the counts."""
        return [Part(GROUPS_LIST, {"names": sorted(wanted.groups), "attributes": sorted(wanted.attributes)})]

    def read(self, part: Part) -> Piece:
        return self._readings[part.kind](part.args)

    def _read_groups(self, args: Mapping[str, Any]) -> Piece:
        """A leg of the list of groups; each that is wanted has its members read besides."""
        trail = Trail(**args.get("trail", {}))
        groups = self._groups.listed(trail)
        chosen = [slim(record) for record in groups if is_wanted(record, args["names"])]
        others = [self._groups.unread(record) for record in groups if not is_wanted(record, args["names"])]
        attributes = {"attributes": args["attributes"]}
        first = next(iter(_LISTS))
        following = {**args, "trail": trail.as_args()}
        next_part = Part(GROUPS_LIST, following) if trail.following else Part(PEOPLE, {"list": first, **attributes})
        built_in = everyone(groups)
        return Piece(
            [SourcePage(groups=others)],
            [next_part, *(Part(MEMBERS, {"groups": some}) for some in handfuls(chosen))],
            {"groups": len(groups), "chosen": len(chosen), "everyone": slim(built_in) if built_in else None},
        )

    def _read_people(self, args: Mapping[str, Any]) -> Piece:
        """A leg of one list of people. The next list is read after it, so that whoever leaves meanwhile is on it."""
        trail, lists = Trail(**args.get("trail", {})), list(_LISTS)
        place = lists.index(args["list"])
        reader, asked = (
            self._reader(args["attributes"]),
            {**_LISTS[args["list"]], "fields": _fields(args["attributes"])},
        )
        people: dict[str, Identity] = {}
        stamps: dict[str, str] = {}
        rows, before = 0, trail.pages
        for records in self._org.pages(USERS_PATH, asked, trail=trail):
            rows += len(records)
            for record in records:
                id, stamp = record["id"], _stamp(record, place)
                if stamp >= stamps.get(id, ""):
                    people[id], stamps[id] = reader.identity(record), stamp
        following = [Part(PEOPLE, {**args, "trail": trail.as_args()})] if trail.following else []
        if not following and place + 1 < len(lists):
            following = [Part(PEOPLE, {"list": lists[place + 1], "attributes": args["attributes"]})]
        facts = {"rows": rows, "people": len(people), "pages": trail.pages - before}
        return Piece([SourcePage(identities=list(people.values()), stamps=stamps)], following, facts)

    def _read_members(self, args: Mapping[str, Any]) -> Piece:
        """Some groups with their members."""
        found = [read for record in args["groups"] if (read := self._groups.with_members(record))]
        page = SourcePage(
            groups=[group for group, _ in found],
            memberships=[(group.id, member) for group, members in found for member in members],
        )
        odd = [[group.name, group.problem] for group, _ in found if group.problem]
        return Piece([page], facts={"read": len(found), "odd": odd})

    def finish(self, whole: Whole) -> Piece:
        if not whole.staged.get("identities"):
            raise Denied(
                f"{self.name} lists nobody at all, which cannot be true. Give our credentials an administrator role"
                " whose resource set covers all users (Read-only Administrator)."
            )
        listed = sum(facts["people"] for facts in _facts(whole, PEOPLE))
        refuse_doubles(self.name, listed, whole.staged["identities"], PAGE)
        listings = _facts(whole, GROUPS_LIST)
        late, strangers_check = self._looked_up(whole.strangers, whole.parts[0][0].args["attributes"])
        all_people = next((facts["everyone"] for facts in listings if facts["everyone"]), None)
        listed, chosen = (sum(facts[what] for facts in listings) for what in ("groups", "chosen"))
        checks = [
            *(_list_check(whole, what) for what in _LISTS),
            Check("permission", True, f"users and groups are readable as {self._own_name}"),
            Check("groups", True, f"{listed} groups, listed to the end"),
            _members_check(_facts(whole, MEMBERS), chosen),
            strangers_check,
            self._everyone_check(all_people, whole.staged["identities"] + len(late)),
        ]
        return Piece([SourcePage(identities=late, checks=checks)])

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


def _facts(whole: Whole, kind: str) -> list[Mapping[str, Any]]:
    return [facts for part, facts in whole.parts if part.kind == kind]


def _list_check(whole: Whole, name: str) -> Check:
    legs = [facts for part, facts in whole.parts if part.kind == PEOPLE and part.args["list"] == name]
    rows, pages = (sum(facts[what] for facts in legs) for what in ("rows", "pages"))
    return Check(name, bool(legs), f"{rows} listed to the end, on {pages} pages")


def _members_check(found: Sequence[Mapping[str, Any]], chosen: int) -> Check:
    """A group with a problem suspends its own rules, and spoils nobody else's reading."""
    read = sum(facts["read"] for facts in found)
    odd = [f"{quoted(name, 60)} ({problem})" for facts in found for name, problem in facts["odd"]]
    named = ", ".join(odd[:SHOWN]) + (f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else "")
    gone = f"; {chosen - read} vanished meanwhile" if chosen > read else ""
    suspended = f"; with a problem: {named}" if odd else ""
    return Check("members", True, f"{read - len(odd)} groups read whole{gone}{suspended}")


def _stamp(record: Record, place: int) -> str:
    """When Okta changed the record last, in a form that sorts: of two that are equally new, or of which one does not
    say, the one of the later list is newer."""
    updated = record.get("lastUpdated")
    return (updated if isinstance(updated, str) else "") + "~" * place
