"""Reads a tenant whole: all users, the deleted ones too, all groups, and what is in those that the policy names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from worker.core.identity import Identity, SourceGroup, Standing
from worker.core.render import counted, quoted
from worker.errors import Denied, Misconfigured, Misshapen, Missing, Rejected
from worker.ports import Check, Instance, Line, Notice, Part, Piece, SourcePage, Wanted, Whole
from worker.rest import Rest
from worker.sources._pagination import Trail, refuse_doubles
from worker.sources.entra import groups as of_groups
from worker.sources.entra.app_roles import Roles
from worker.sources.entra.batch import Batch, Question, Told
from worker.sources.entra.counts import Counts
from worker.sources.entra.graph import (
    DELETED_PATH,
    DELETED_USERS_PATH,
    GONE,
    HIDDEN,
    PAGE,
    USERS,
    USERS_PATH,
    Graph,
    error_code,
    error_text,
)
from worker.sources.entra.groups import Groups, guid, is_hidden, is_wanted
from worker.sources.entra.login import Login, proof_of
from worker.sources.entra.people import DELETED, People
from worker.sources.entra.probing import notices
from worker.sources.entra.rate import bucket, warned
from worker.sources.entra.settings import Settings
from worker.sources.entra.subscriptions import GraphSubscriptions

GROUPS_LIST, PEOPLE, MEMBERS, ROLES = "groups", "people", "members", "app roles"  # the kinds of a part
LISTED, READ = "1", "2"  # stamps of a group, in the order in which it is spoken of; the end of the read has the last
STRANGERS = 200  # members who are on no list of people and are looked up by id
SECOND_LOOK = 4  # first pauses that pass before something is looked at once more
SHOWN = 10  # groups with a problem that a check names
DELETED_PEOPLE = "deleted people"
_LISTS: Mapping[str, str] = {"people": USERS_PATH, DELETED_PEOPLE: DELETED_USERS_PATH}


def connect(
    name: str, settings: Settings, line: Line = Line(), *,
    attempts: int = 5, first_pause: float = 0.5, longest_wait: float = 90.0,
) -> EntraSource:  # fmt: skip
    """Builds the source; calls nobody. Raises Misconfigured where a secret is missing, or is none."""
    proof = proof_of(name, settings)
    patience: dict[str, Any] = {"attempts": attempts, "first_pause": first_pause, "longest_wait": longest_wait}
    shared: dict[str, Any] = {
        "ca_file": settings.ca_file, "timeout": settings.timeout, "line": line, "error_text": error_text, **patience,
    }  # fmt: skip
    origin = settings.login.rpartition("/")[0]
    login = Login(name, settings, proof, Rest(name, origin, bucket=lambda _: "login", secrets=proof.secrets, **shared))
    rest = Rest(
        name, settings.url, authorize=login.headers, bucket=bucket, gauge=warned, secrets=lambda: login.secrets,
        **shared,
    )  # fmt: skip
    graph = Graph(name, rest, login)
    wait = partial(line.sleep, SECOND_LOOK * first_pause)
    return EntraSource(name, settings, graph, Batch(graph, line, **patience), wait)


class EntraSource:
    """One Entra ID tenant as a source of identities."""

    final_absence = True  # whoever is neither among the users nor among the deleted ones is gone for good

    def __init__(
        self, name: str, settings: Settings, graph: Graph, batch: Batch, wait: Callable[[], None]
    ) -> None:  # fmt: skip
        self.name = name
        self._wait = wait
        self._settings, self._graph, self._batch = settings, graph, batch
        self._groups, self._roles = Groups(name, graph), Roles(name, graph)
        self.subscriptions = GraphSubscriptions(graph)
        self._readings: Mapping[str, Callable[[Mapping[str, Any]], Piece]] = {
            GROUPS_LIST: self._read_groups, PEOPLE: self._read_people, MEMBERS: self._read_members,
            ROLES: self._read_roles,
        }  # fmt: skip

    def close(self) -> None:
        self._graph.close()

    def instance(self) -> Instance:
        """The tenant id that the token carries, which needs no permission at all, and the app's client id."""
        return Instance(self._graph.login.tenant(), self._settings.client_id)

    def probe(self) -> Iterable[Notice]:
        return notices(self._graph, self._settings)

    def parts(self, wanted: Wanted) -> Sequence[Part]:
        """Groups are listed first, so that whoever is hired meanwhile makes the lists longer than the counts."""
        asked = {"names": sorted(wanted.groups), "attributes": sorted(wanted.attributes)}
        return [Part(GROUPS_LIST, asked), *(Part(ROLES, {"app": app}) for app in self._settings.app_roles)]

    def read(self, part: Part) -> Piece:
        return self._readings[part.kind](part.args)

    # --- what there is -----------------------------------------------------------------------------------------------

    def _read_groups(self, args: Mapping[str, Any]) -> Piece:
        """A leg of the list of groups; each that is wanted has its members read besides."""
        trail = Trail(**args.get("trail", {}))
        facts = {} if trail.pages else {"count": self._graph.count(USERS_PATH)}
        found = self._groups.listed(trail)
        chosen = [record["id"] for record in found if is_wanted(record, args["names"])]
        why_not = dict.fromkeys(chosen, of_groups.VANISHED)
        rows = [self._groups.group(record, 0, why_not.get(record["id"], of_groups.UNREAD)) for record in found]
        following = Part(GROUPS_LIST, {**args, "trail": trail.as_args()})
        people = Part(PEOPLE, {"list": next(iter(_LISTS)), "attributes": args["attributes"]})
        return Piece(
            [SourcePage(groups=rows, stamps=dict.fromkeys((row.id for row in rows), LISTED))],
            [following if trail.following else people, *(Part(MEMBERS, {"group": id}) for id in chosen)],
            {"groups": len(found), "chosen": chosen, **facts},
        )

    def _read_people(self, args: Mapping[str, Any]) -> Piece:
        """A leg of one list of people. The deleted are read after it, so that whoever leaves meanwhile is on it."""
        trail, lists = Trail(**args.get("trail", {})), list(_LISTS)
        place = lists.index(args["list"])
        reader = self._reader(args["attributes"])
        read = reader.deleted if place else reader.identity
        people: dict[str, Identity] = {}
        stamps: dict[str, str] = {}
        rows, before = 0, trail.pages
        with _named_properties():
            for records in self._graph.pages(_LISTS[args["list"]], {"$select": reader.select}, trail=trail):
                rows += len(records)
                people |= {record["id"]: read(record) for record in records}
                # What is read later is newer: Graph does not say when somebody was changed last.
                stamps |= {record["id"]: f"{place}{trail.pages:06}" for record in records}
        following = [Part(PEOPLE, {**args, "trail": trail.as_args()})] if trail.following else []
        if not following and place + 1 < len(lists):
            following = [Part(PEOPLE, {"list": lists[place + 1], "attributes": args["attributes"]})]
        facts = {"rows": rows, "people": len(people), "pages": trail.pages - before}
        return Piece([SourcePage(identities=list(people.values()), stamps=stamps)], following, facts)

    # --- who is in what ----------------------------------------------------------------------------------------------

    def _read_members(self, args: Mapping[str, Any]) -> Piece:
        """A leg of a group's members, for the group itself or for a role that the group is assigned to."""
        id, trail = args["group"], Trail(**args.get("trail", {}))
        facts = {"group": id, "into": args.get("role", {}).get("id", id), "people": 0, "nested": []}
        known = args.get("record")
        try:
            known = known or _slim(self._groups.now(id))
            inside = self._groups.inside(id, trail, hidden=is_hidden(known))
        except Missing:
            return self._unreadable(args, known, of_groups.VANISHED, facts)
        if inside is None:
            return self._unreadable(args, known, of_groups.HIDDEN_MEMBERS, facts)
        nested = [] if "role" in args else inside.groups
        members = args.get("members", 0) + len(inside.people) + len(nested)
        page = SourcePage(
            memberships=[(facts["into"], person) for person in inside.people],
            nestings=[(id, child) for child in nested],
        )
        parts = [Part(MEMBERS, {"group": child}) for child in nested]
        facts |= {"people": len(inside.people), "nested": list(nested)}
        if trail.following:
            parts.append(Part(MEMBERS, {**args, "record": known, "members": members, "trail": trail.as_args()}))
            return Piece([page], parts, facts)
        if problem := self._unseen_problem(known, members):
            return self._unreadable(args, known, problem, facts)
        group = self._groups.group(known, members)
        row = self._role(args["role"]) if "role" in args else group
        facts |= {"row": {"id": row.id, "name": row.name, "type": row.type, "members": row.members}}
        read = [] if "role" in args else [SourcePage(groups=[group], stamps={id: READ})]
        return Piece([page, *read], parts, {**facts, "problem": group.problem, "name": group.name})

    def _unreadable(
        self, args: Mapping[str, Any], record: Mapping[str, Any] | None, problem: str, facts: Mapping[str, Any]
    ) -> Piece:
        """A group of whose members nothing can be concluded; for whose sake it was read, a role, has the problem."""
        if "role" in args:
            row = replace(self._role(args["role"]), problem=problem)
        elif record is not None:
            row = self._groups.group(record, 0, problem)
        else:  # the problem that it was listed with stands
            return Piece(facts={**facts, "problem": problem, "name": args["group"]})
        # Two groups of one role may both be unreadable, in different ways.
        page = SourcePage(groups=[row], stamps={row.id: f"{READ} {args['group']}"})
        return Piece([page], facts={**facts, "problem": problem, "name": row.name})

    def _unseen_problem(self, record: Mapping[str, Any], members: int) -> str:
        """An empty list of a hidden membership may be one that is not shown to us."""
        if members or not is_hidden(record):
            return ""
        permissions = self._graph.login.permissions() or frozenset()
        return "" if HIDDEN in permissions else of_groups.HIDDEN_MEMBERS

    def _role(self, role: Mapping[str, Any]) -> SourceGroup:
        return self._roles.group(role["id"], role["name"], role["members"])

    def _read_roles(self, args: Mapping[str, Any]) -> Piece:
        """The roles of one application, as groups; whoever is in a group that has one is read besides."""
        application = self._roles.application(args["app"])
        if application is None:
            return Piece(facts={"app": args["app"], "found": False})
        groups, memberships, parts = [], [], []
        for role, assigned in sorted(self._roles.assigned(application).items()):
            id, name = application.role(role)
            odd = f"{assigned.odd} of those who have it are of a kind that Trueup does not know" if assigned.odd else ""
            row = self._roles.group(id, name, len(assigned.people) + len(assigned.groups), odd)
            groups.append(row)
            memberships += [(id, person) for person in assigned.people]
            of_role = {"id": id, "name": name, "members": row.members}
            parts += [Part(MEMBERS, {"group": group, "role": of_role}) for group in assigned.groups]
        stamps = dict.fromkeys((group.id for group in groups), LISTED)
        page = SourcePage(groups=groups, memberships=memberships, stamps=stamps)
        return Piece([page], parts, {"app": args["app"], "found": True, "roles": len(groups)})

    # --- the end -----------------------------------------------------------------------------------------------------

    def finish(self, whole: Whole) -> Piece:
        if not whole.staged.get("identities"):
            raise Denied(
                f"{self.name} lists nobody at all, which cannot be true. Give the app {self._settings.client_id} the"
                f" application permission {USERS}, with an administrator's consent."
            )
        listed = sum(facts["people"] for facts in _facts(whole, PEOPLE))
        refuse_doubles(self.name, listed, whole.staged["identities"], PAGE)
        attributes = next(part.args["attributes"] for part, _ in whole.parts if part.kind == GROUPS_LIST)
        late, strangers_check = self._looked_up(whole.strangers, attributes)
        counts = Counts(self.name, self._graph, self._groups, self._batch, self._wait)
        recounted = counts.of_groups(whole)
        listings = _facts(whole, GROUPS_LIST)
        checks = [
            *(_list_check(whole, what) for what in _LISTS),
            Check("permission", True, f"users and groups are readable as the app {self._settings.client_id}"),
            Check("groups", True, f"{sum(facts['groups'] for facts in listings)} groups, listed to the end"),
            _members_check(_facts(whole, MEMBERS), recounted.groups),
            strangers_check,
            counts.of_people(min(facts["count"] for facts in listings if "count" in facts), _alive(whole, late)),
            *_app_checks(_facts(whole, ROLES)),
        ]
        return Piece([SourcePage(identities=late, checks=checks), recounted])

    def _looked_up(self, strangers: Collection[str], attributes: Collection[str]) -> tuple[list[Identity], Check]:
        """Members who are on no list of people: hired or deleted meanwhile (then they are found by id), or hidden."""
        reader, name = self._reader(attributes), "members are listed people"
        asked = [guid(self.name, id) for id in sorted(strangers)[:STRANGERS]]
        by_id = [Question(f"/users/{id}?$select={reader.select}") for id in asked]
        there = dict(zip(asked, self._batch.ask(by_id), strict=True))
        late = [reader.identity(record) for id, told in there.items() if (record := self._record(id, told))]
        gone = [id for id, told in there.items() if told.status == 404]
        buried = dict(
            zip(gone, self._batch.ask([Question(f"/directory/deletedItems/{id}") for id in gone]), strict=True)
        )
        late += [
            reader.deleted(record)
            for id, told in buried.items()
            if (record := self._record(id, told)) and _is_a_user(record)
        ]
        hidden = len(strangers) - len(late)
        if not hidden:
            return late, Check(name, True, f"{len(late)} of them were hired or deleted meanwhile")
        who = counted(hidden, "member of a group is", "members of groups are")
        return late, Check(name, False, f"{who} on no list of people and cannot be found by id; read again")

    def _record(self, id: str, told: Told) -> Mapping[str, Any] | None:
        """One user out of a batch; None when Graph does not find them."""
        call = f"GET of {quoted(id)} of {self.name}"
        if told.status == 404 and error_code(told.content) == GONE:
            return None
        if told.status != 200:
            raise self._graph.refusal(told.status, told.content, call, USERS)
        return self._whole_record(call, id, told.body)

    def _whole_record(self, call: str, id: str, record: Any) -> Mapping[str, Any]:
        if not isinstance(record, dict) or str(record.get("id")).lower() != id.lower():
            raise Misshapen(f"{call} answered with something that is not that user.")
        return record

    # --- one person --------------------------------------------------------------------------------------------------

    def person(self, id: str) -> Identity | None:
        """One identity by id, or from among the deleted; None when Graph itself says that they are in neither."""
        reader, checked = self._reader(()), guid(self.name, id)
        try:
            reply = self._graph.get(f"{USERS_PATH}/{checked}", {"$select": reader.select})
        except Missing:
            return self._deleted(reader, checked)
        return reader.identity(self._whole_record(reply.call, id, reply.json()))

    def _deleted(self, reader: People, id: str) -> Identity | None:
        try:
            reply = self._graph.get(f"{DELETED_PATH}/{id}")
        except Missing:
            return None
        record = self._whole_record(reply.call, id, reply.json())
        return reader.deleted(record) if _is_a_user(record) else None

    def _reader(self, attributes: Collection[str]) -> People:
        return People(self.name, self._settings.guests, Standing(self._settings.disabled), attributes)


@contextmanager
def _named_properties() -> Iterator[None]:
    """Graph refuses a list whole for one property that it does not know."""
    try:
        yield
    except Missing:
        raise
    except Rejected as error:
        raise Misconfigured(
            f"{error} A rule may name an attribute that this tenant does not have: correct its name, such as"
            " extension_<id of the app that defines it>_<name>."
        ) from error


def _is_a_user(record: Mapping[str, Any]) -> bool:
    """Groups and devices are among the deleted items, too."""
    return record.get("@odata.type") in (None, "#microsoft.graph.user")


def _slim(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What later legs need to know of a group."""
    return {name: record.get(name) for name in of_groups.SELECT.split(",")}


def _facts(whole: Whole, kind: str) -> list[Mapping[str, Any]]:
    return [facts for part, facts in whole.parts if part.kind == kind]


def _legs(whole: Whole, list: str) -> Sequence[Mapping[str, Any]]:
    return [facts for part, facts in whole.parts if part.kind == PEOPLE and part.args["list"] == list]


def _alive(whole: Whole, late: Sequence[Identity]) -> int:
    """How many different people the list of users had, or a few less where somebody was on both lists."""
    deleted: int = sum(facts["people"] for facts in _legs(whole, DELETED_PEOPLE))
    return whole.staged["identities"] - deleted + sum(one.status != DELETED for one in late)


def _list_check(whole: Whole, name: str) -> Check:
    legs = _legs(whole, name)
    rows, pages = (sum(facts[what] for facts in legs) for what in ("rows", "pages"))
    return Check(name, bool(legs), f"{rows} listed to the end, on {pages} pages")


def _members_check(found: Sequence[Mapping[str, Any]], against: Sequence[SourceGroup]) -> Check:
    """A group with a problem suspends its own rules and those of what holds it, and spoils nobody else's reading."""
    odd = [f"{quoted(facts['name'], 60)} ({facts['problem']})" for facts in found if facts.get("problem")]
    odd += [f"{quoted(group.name, 60)} ({group.problem})" for group in against]
    read = sum("row" in facts and facts["into"] == facts["group"] for facts in found) - len(against)
    named = ", ".join(odd[:SHOWN]) + (f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else "")
    suspended = f"; with a problem: {named}" if odd else ""
    return Check("members", True, f"{read} groups read whole{suspended}")


def _app_checks(found: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """An application that is gone suspends the rules that name its roles."""
    if found:
        missing = [facts["app"] for facts in found if not facts["found"]]
        roles = sum(facts.get("roles", 0) for facts in found)
        gone = f"; not in the tenant: {', '.join(missing)}" if missing else ""
        yield Check(ROLES, True, f"{roles} roles of {len(found) - len(missing)} applications{gone}")
