"""A tenant is read whole: who is there, who was deleted, and who is in what, directly and through other groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.reading import once, staged
from tests.sources.entra_tenant import (
    BACKEND,
    DELETED,
    DISABLED,
    ENGINEERS,
    GUEST,
    KIOSK,
    LOOKER,
    ROBOT,
    SALES,
    SECRET,
    STAFF,
    UNCLEAR,
    VIEWER,
    Reading,
    connected,
    guid,
    pull,
    tenant,
)
from worker.core.identity import Standing
from worker.errors import Denied, Misconfigured, Misshapen, Moved, Unavailable
from worker.ports import Instance, Line, Part, SourcePage, TargetPage, Wanted, Whole
from worker.sandbox.company import AppRole
from worker.sandbox.entra import EntraSandbox

USERS, GROUPS = "GET /v1.0/users", "GET /v1.0/groups"
HIRED = guid(40)


@pytest.fixture
def entra() -> Iterator[EntraSandbox]:
    sandbox = tenant()
    with sandbox.serve():
        yield sandbox


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "secret"


@pytest.fixture
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few people fill many, and a worker hands on a list that it has begun."""
    monkeypatch.setattr("worker.sources.entra.graph.PAGE", 3)
    monkeypatch.setattr("worker.sources.entra.graph.LEG", 2)


# --- people ----------------------------------------------------------------------------------------------------------


def test_everybody_is_read_with_what_graph_positively_says_of_them(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place) as source:
        reading = pull(source)
    assert not reading.failed
    standings = {id: one.standing for id, one in reading.people.items()}
    assert standings == {
        **{guid(n): Standing.ACTIVE for n in range(1, 13)},
        DISABLED: Standing.DEPARTED, GUEST: Standing.HOLD, UNCLEAR: Standing.HOLD, DELETED: Standing.DEPARTED,
    }  # fmt: skip
    ana = reading.people[guid(1)]
    assert (ana.source, ana.login, ana.email, ana.status) == ("entra", "p1@acme.example", "p1@acme.example", "enabled")
    assert dict(ana.attributes) == {
        "login": "p1@acme.example", "email": "p1@acme.example", "displayName": "Person 1", "firstName": "Person",
        "lastName": "Number 1", "userType": "Member",
    }  # fmt: skip


def test_the_deleted_have_the_login_that_they_had(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place) as source:
        for gone in (pull(source).people[DELETED], source.person(DELETED)):
            assert gone is not None
            assert (gone.login, gone.status, gone.standing) == ("p23@acme.example", "deleted", Standing.DEPARTED)


def test_what_rules_ask_for_is_asked_of_graph_and_what_it_cannot_have_is_not(entra: EntraSandbox, place: Path) -> None:
    extension = "extension_0123456789abcdef0123456789abcdef_costCenter"
    entra.set(
        guid(1), city="Porto", employeeOrgData={"costCenter": "47", "division": None}, otherMails=["a@x", "b@x"],
        onPremisesExtensionAttributes={"extensionAttribute1": "blue"}, **{extension: "11"},
    )  # fmt: skip
    asked = (
        "city", "costCenter", "division", "otherMails", "onPremisesExtensionAttributes.extensionAttribute1", extension,
        "shoeSize", "skills", "mailboxSettings", "a,b", "onPremisesExtensionAttributes.x", "manager",
    )  # fmt: skip
    with connected(entra, place) as source:
        attributes = pull(source, attributes=asked).people[guid(1)].attributes
    assert {name: attributes.get(name) for name in asked if name in attributes} == {
        "city": "Porto", "costCenter": "47", "otherMails": ("a@x", "b@x"),
        "onPremisesExtensionAttributes.extensionAttribute1": "blue", extension: "11",
    }  # fmt: skip


def test_a_name_that_only_the_tenant_could_know_and_does_not_is_said_to_be_wrong(
    entra: EntraSandbox, place: Path
) -> None:
    error = {"error": {"code": "BadRequest", "message": "Could not find a property named 'extension_0_x'."}}
    entra.break_(USERS, "status", status=400, text=orjson.dumps(error).decode())
    with connected(entra, place) as source, pytest.raises(Misconfigured, match="A rule may name an attribute"):
        pull(source, attributes=("extension_0123456789abcdef0123456789abcdef_x",))


@pytest.mark.usefixtures("_small_pages")
def test_lists_are_followed_over_pages_and_workers(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place, app_roles=(LOOKER,)) as source:
        whole = pull(source, "*")
        entra.graph.pages.hollow = True
        hollow = pull(source, "*")
    assert not whole.failed
    assert len(whole.people) == 16
    assert len(whole.groups) == 9
    assert whole.members(ENGINEERS) == {*map(guid, range(1, 7)), DISABLED}
    assert entra.reads["/v1.0/users"] > 5
    assert hollow.same_as(whole)


@pytest.mark.usefixtures("_small_pages")
def test_the_order_in_which_parts_are_read_does_not_matter(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place, app_roles=(LOOKER,)) as source:
        wanted = Wanted(frozenset({"Staff", "Sales"}))
        first, last = (Reading(list(once(source, wanted, last_first=way))) for way in (False, True))  # type: ignore[arg-type]
    assert first.same_as(last)


@pytest.mark.usefixtures("_small_pages")
def test_a_link_that_has_expired_means_to_begin_again(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place) as source:
        first = source.read(source.parts(Wanted())[0])
        (following,) = [part for part in first.parts if part.args.get("trail")]
        entra.graph.pages.expire()
        with pytest.raises(Moved):
            source.read(following)
        assert not pull(source).failed


def test_somebody_on_both_lists_is_as_the_later_list_has_them(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place) as source:
        waiting, pages = list(source.parts(Wanted())), []
        while waiting:
            part = waiting.pop(0)
            piece = source.read(part)
            if part.args.get("list") == "people":
                entra.soft_delete(guid(1))
            waiting += piece.parts
            pages += [(page.stamps[one.id], one) for page in piece.pages for one in page.identities]  # type: ignore[union-attr]
    both = sorted((stamp, one.standing) for stamp, one in pages if one.id == guid(1))
    assert [standing for _, standing in both] == [Standing.ACTIVE, Standing.DEPARTED]
    assert both[0][0] < both[1][0]


def test_a_page_full_of_people_who_came_before_is_read_again(
    entra: EntraSandbox, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.sources.entra.source.PAGE", 3)
    again = [{"id": guid(n), "userPrincipalName": f"p{n}@acme.example"} for n in (1, 2, 3)]
    path = "/v1.0/directory/deletedItems/microsoft.graph.user"
    fault = entra.break_(f"GET {path}", "misshapen", text=orjson.dumps({"value": again}).decode())
    with connected(entra, place) as source, pytest.raises(Moved, match="listed 3 people twice"):
        once(source, Wanted())
    assert fault.fired == 1


def test_whoever_is_disabled_may_be_suspended_instead(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place, disabled="suspended") as source:
        assert pull(source).people[DISABLED].standing is Standing.SUSPENDED


def test_guests_may_be_people_like_others(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place, guests="include") as source:
        guest = pull(source).people[GUEST]
    assert (guest.standing, guest.attributes["userType"]) == (Standing.ACTIVE, "Guest")


# --- one person ------------------------------------------------------------------------------------------------------


def test_one_person_is_read_by_id_wherever_they_are(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place) as source:
        there = {id: one for id, one in pull(source).people.items() if id != DELETED}
        assert {id: source.person(id) for id in there} == there
        assert source.person(guid(99)) is None
        entra.purge(DELETED)
        assert source.person(DELETED) is None
        assert source.final_absence


@pytest.mark.parametrize("id", ["p1@acme.example", "../groups", "", f"{guid(1)}/memberOf", f"{guid(1)}\n"])
def test_what_is_no_id_never_becomes_a_part_of_an_address(entra: EntraSandbox, place: Path, id: str) -> None:
    with connected(entra, place) as source, pytest.raises(Misshapen, match="is no id of entra"):
        source.person(id)
    assert not [path for path in entra.reads if path.startswith("/v1.0")]


def test_a_404_that_is_not_graphs_makes_nobody_absent(entra: EntraSandbox, place: Path) -> None:
    for route in ("GET /v1.0/users/*", "GET /v1.0/directory/deletedItems/*"):
        entra.faults.clear()
        entra.break_(route, "status", status=404, text="no such page")
        with connected(entra, place) as source, pytest.raises(Misshapen, match="not in Graph's words"):
            source.person(guid(99))


# --- groups ----------------------------------------------------------------------------------------------------------


def test_groups_of_every_kind_are_listed(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place) as source:
        reading = pull(source)
    assert {group.name: group.type for group in reading.groups.values()} == {
        "Staff": "security", "Engineers": "security", "Backend": "mail-enabled security", "Sales": "security",
        "Secret": "Microsoft 365", "News": "distribution", "Band": "Microsoft 365", "Enabled": "security, dynamic",
    }  # fmt: skip
    assert all("no rule names it" in group.problem for group in reading.groups.values())
    assert not reading.memberships


def test_members_are_people_and_groups_and_nobody_else(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place) as source:
        reading = pull(source, "Sales", "Staff")
    assert reading.members(SALES) == {guid(10), GUEST}
    assert reading.members(STAFF) == {guid(12)}
    assert (reading.groups[SALES].members, reading.groups[SALES].problem) == (2, "")
    assert {KIOSK, ROBOT}.isdisjoint(id for _, id in reading.memberships | reading.nestings)


def test_a_group_in_a_group_is_read_once_and_a_circle_ends(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place) as source:
        reading = pull(source, "Staff", "Engineers")
    assert reading.nestings == {(STAFF, ENGINEERS), (ENGINEERS, BACKEND), (BACKEND, ENGINEERS)}
    assert reading.members(ENGINEERS) == {*map(guid, range(1, 7)), DISABLED}
    assert reading.members(BACKEND) == {*map(guid, range(7, 10))}
    assert not any(reading.groups[id].problem for id in (STAFF, ENGINEERS, BACKEND))
    assert [entra.reads[f"/v1.0/groups/{id}/members"] for id in (STAFF, ENGINEERS, BACKEND)] == [1, 1, 1]


@pytest.mark.parametrize("hidden", ["refuse", "empty"])
def test_a_hidden_membership_is_the_problem_of_that_group(entra: EntraSandbox, place: Path, hidden: str) -> None:
    entra.graph.hidden_groups = hidden
    entra.add_member("Sales", SECRET)
    with connected(entra, place) as source:
        reading = pull(source, "Sales", "Staff")
        assert "give our app the permission Member.Read.Hidden" in reading.groups[SECRET].problem
        assert not reading.members(SECRET)
        assert not reading.groups[STAFF].problem
        assert not reading.failed
    entra.granted.add("Member.Read.Hidden")
    with connected(entra, place) as source:
        reading = pull(source, "Secret")
    assert (reading.groups[SECRET].problem, reading.members(SECRET)) == ("", {guid(11)})


def test_a_group_that_vanishes_is_a_problem_and_not_an_empty_one(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place) as source:
        parts = source.read(source.parts(Wanted(frozenset({"Sales"})))[0]).parts
        entra.delete_group("Sales")
        (members,) = [part for part in parts if part.kind == "members"]
        assert source.read(members).pages == ()
        entra.break_(f"GET /v1.0/groups/{BACKEND}/members", "status", status=404, times=1, text=GONE)
        reading = pull(source, "Engineers")
    assert "vanished" in reading.groups[BACKEND].problem


GONE = '{"error": {"code": "Request_ResourceNotFound", "message": "Resource does not exist."}}'


def test_a_refusal_to_read_members_is_never_an_empty_group(entra: EntraSandbox, place: Path) -> None:
    error = '{"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges."}}'
    fault = entra.break_("GET /v1.0/groups/*/members", "status", status=403, text=error)
    with (
        connected(entra, place) as source,
        pytest.raises(Denied, match=r"application permission GroupMember\.Read\.All"),
    ):
        pull(source, "Sales")
    assert fault.fired == 1


def test_a_refused_token_is_no_hidden_membership(entra: EntraSandbox, place: Path) -> None:
    error = '{"error": {"code": "InvalidAuthenticationToken", "message": "Token is not valid."}}'
    entra.break_(f"GET /v1.0/groups/{SECRET}/members", "status", status=401, text=error)
    with connected(entra, place) as source, pytest.raises(Denied, match="refused our token, and a new one too"):
        pull(source, "Secret")


def test_a_group_among_the_deleted_items_is_no_person(entra: EntraSandbox, place: Path) -> None:
    group = orjson.dumps({"@odata.type": "#microsoft.graph.group", "id": DELETED, "displayName": "Old"}).decode()
    entra.break_("GET /v1.0/directory/deletedItems/0*", "misshapen", text=group)
    with connected(entra, place) as source:
        assert source.person(DELETED) is None


def test_a_member_without_a_type_counts_as_a_person_whom_somebody_has_to_know(entra: EntraSandbox, place: Path) -> None:
    for id, failed in ((guid(5), False), (KIOSK, True)):
        entra.faults.clear()
        entra.break_(
            f"GET /v1.0/groups/{SALES}/members", "misshapen", text=f'{{"value": [{{"id": "{id}"}}, {{"id": "{id}"}}]}}'
        )
        with connected(entra, place) as source:
            reading = pull(source, "Sales")
        assert ("members are listed people" in reading.failed) is failed


def test_whoever_was_hired_or_deleted_meanwhile_is_found_by_id(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place) as source:
        waiting, done = list(source.parts(Wanted(frozenset({"Sales"})))), []
        pages: list[SourcePage | TargetPage] = []
        while waiting:
            part = waiting.pop(0)
            if part.kind == "members":
                entra.hire(id=HIRED, groups=["Sales"], userPrincipalName="new@acme.example", mail=None)
            piece = source.read(part)
            waiting += piece.parts
            pages += piece.pages
            done.append((part, piece.facts))
        found = source.finish(Whole(done, *staged(pages)))
    (page, _) = found.pages
    assert [one.id for one in page.identities] == [HIRED]  # type: ignore[union-attr]
    assert all(check.passed for check in page.checks)


# --- app roles -------------------------------------------------------------------------------------------------------

ROLE = f"{LOOKER}:{VIEWER}"


def test_an_app_role_is_a_group_of_whoever_has_it_directly_or_is_directly_in_a_group_that_has_it(
    entra: EntraSandbox, place: Path
) -> None:
    with connected(entra, place, app_roles=(LOOKER,)) as source:
        reading = pull(source)
    role = reading.named["Looker: Viewer"]
    assert (role.id, role.type, role.problem) == (ROLE, "app role", "")
    assert reading.members(ROLE) == {guid(12), *map(guid, range(1, 7)), DISABLED}
    assert not reading.nestings, "who is in Backend, which is in Engineers, has not got the role"
    assert "no rule names it" in reading.groups[ENGINEERS].problem


def test_a_role_of_a_group_that_cannot_be_read_has_a_problem(entra: EntraSandbox, place: Path) -> None:
    entra.assign(AppRole(LOOKER, "Looker", VIEWER, "Viewer", (SECRET,)))
    with connected(entra, place, app_roles=(LOOKER,)) as source:
        assert "Member.Read.Hidden" in pull(source).groups[ROLE].problem


def test_the_role_that_is_none_is_default_access(entra: EntraSandbox, place: Path) -> None:
    entra.directory.assign(AppRole(guid(310), "Wiki", "00000000-0000-0000-0000-000000000000", "", (guid(3),)))
    with connected(entra, place, app_roles=(guid(310),)) as source:
        reading = pull(source)
    assert reading.members(reading.named["Wiki: default access"].id) == {guid(3)}


def test_an_application_that_is_not_there_stops_nobody(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place, app_roles=(guid(311),)) as source:
        reading = pull(source)
        assert not reading.failed
        assert f"not in the tenant: {guid(311)}" in reading.checks["app roles"].detail
        assert any("has no such application" in notice.text for notice in source.probe())


# --- counts ----------------------------------------------------------------------------------------------------------


def test_rows_that_the_list_lost_are_noticed(entra: EntraSandbox, place: Path) -> None:
    fault = entra.break_(USERS, "fewer")
    with connected(entra, place) as source:
        failed = pull(source).failed
    assert fault.fired
    assert "7 people were listed, and Graph counts 15" in failed.pop("as many as Graph counts")
    assert not failed


def test_an_index_that_lags_behind_the_list_harms_nobody(entra: EntraSandbox, place: Path) -> None:
    entra.graph.unindexed |= {guid(1), guid(2), ENGINEERS}
    with connected(entra, place) as source:
        reading = pull(source, "Staff", "Engineers")
    assert not reading.failed
    assert not reading.groups[STAFF].problem
    assert guid(1) in reading.members(ENGINEERS)


def test_a_count_that_was_only_late_is_looked_at_once_more(entra: EntraSandbox, place: Path) -> None:
    """Somebody left just before, and the index noticed in between."""
    late = entra.break_("GET /v1.0/users/$count", "misshapen", text="16", times=2)
    with connected(entra, place) as source:
        assert not pull(source).failed
    assert late.fired == 2


@pytest.mark.parametrize("text", ["", "many", "-1", "15.0", '{"value": 15}'])
def test_a_count_that_is_none_is_an_error(entra: EntraSandbox, place: Path, text: str) -> None:
    entra.break_("GET /v1.0/users/$count", "misshapen", text=text or " ")
    with connected(entra, place) as source, pytest.raises(Misshapen, match="answered no number"):
        pull(source)


def test_people_whom_a_list_of_members_lost_are_found_by_a_second_look(entra: EntraSandbox, place: Path) -> None:
    fault = entra.break_(f"GET /v1.0/groups/{ENGINEERS}/members", "fewer", times=1)
    with connected(entra, place) as source:
        reading = pull(source, "Engineers")
    assert fault.fired
    assert reading.members(ENGINEERS) == {*map(guid, range(1, 7)), DISABLED}
    assert not reading.groups[ENGINEERS].problem


def test_a_list_of_members_that_stays_too_short_is_a_problem_of_that_group(entra: EntraSandbox, place: Path) -> None:
    entra.break_(f"GET /v1.0/groups/{SALES}/members", "fewer")
    with connected(entra, place) as source:
        reading = pull(source, "Sales", "Staff")
    assert reading.groups[SALES].problem == "Graph counts 2 people in it, and lists 1"
    assert "Sales (Graph counts 2 people in it, and lists 1)" in reading.checks["members"].detail
    assert not reading.groups[STAFF].problem
    assert not reading.failed


def test_a_nested_group_that_the_members_do_not_show_is_noticed_by_graphs_count_of_all_below(
    entra: EntraSandbox, place: Path
) -> None:
    shown = listing(guid(12), groups=(SALES,))
    fault = entra.break_(f"GET /v1.0/groups/{STAFF}/members", "misshapen", text=shown)
    with connected(entra, place) as source:
        reading = pull(source, "Staff")
    assert fault.fired
    assert "in all groups in it together" in reading.groups[STAFF].problem


def listing(*people: str, groups: tuple[str, ...] = ()) -> str:
    """The members of a group, as Graph lists them."""
    kinds = {"user": people, "group": groups}
    return orjson.dumps(
        {"value": [{"@odata.type": f"#microsoft.graph.{kind}", "id": id} for kind, ids in kinds.items() for id in ids]}
    ).decode()


def test_who_is_in_two_groups_hides_nobody_of_a_third_that_the_members_do_not_show(
    entra: EntraSandbox, place: Path
) -> None:
    for number in (1, 2, 3):
        entra.directory.add_member(BACKEND, guid(number))  # who are in Engineers as well
    entra.directory.add_member(STAFF, SALES)
    fault = entra.break_(f"GET /v1.0/groups/{STAFF}/members", "misshapen", text=listing(guid(12), groups=(ENGINEERS,)))
    with connected(entra, place) as source:
        reading = pull(source, "Staff")
    assert fault.fired
    assert reading.groups[STAFF].problem == ("Graph counts 13 people in it, and lists 11, in all groups in it together")
    assert not reading.failed


def test_whom_a_second_look_found_counts_in_all_groups_above(entra: EntraSandbox, place: Path) -> None:
    lost = listing(*map(guid, range(1, 7)), groups=(BACKEND,))  # and one more, who is disabled
    fault = entra.break_(f"GET /v1.0/groups/{ENGINEERS}/members", "misshapen", text=lost, times=1)
    with connected(entra, place) as source:
        reading = pull(source, "Staff")
    assert fault.fired
    assert DISABLED in reading.members(ENGINEERS)
    assert [group.problem for group in reading.groups.values() if group.id in (STAFF, ENGINEERS, BACKEND)] == [""] * 3


def test_a_role_whose_group_lists_too_few_has_a_problem(entra: EntraSandbox, place: Path) -> None:
    entra.break_(f"GET /v1.0/groups/{ENGINEERS}/members", "fewer")
    with connected(entra, place, app_roles=(LOOKER,)) as source:
        role = pull(source).groups[ROLE]
    assert (role.name, role.type) == ("Looker: Viewer", "app role")
    assert "Graph counts 7 people in it" in role.problem


# --- many at once ----------------------------------------------------------------------------------------------------

COUNT = "BATCH GET /v1.0/groups/*/members/microsoft.graph.user"


def test_of_a_batch_only_what_was_throttled_is_asked_again_and_after_the_time_it_said(
    entra: EntraSandbox, place: Path
) -> None:
    waited: list[float] = []
    busy = {"Retry-After": "7"}
    fault = entra.break_(COUNT, "status", status=429, headers=busy, skip=1, times=1)
    asked: list[bytes] = []
    entra.observers.append(lambda exchange: asked.append(exchange.request_body) if "$batch" in exchange.path else None)
    with connected(entra, place, line=Line(sleep=waited.append)) as source:
        reading = pull(source, "Sales", "Staff", "News")
    assert fault.fired == 1
    assert waited == [7.0]
    assert [len(orjson.loads(body)["requests"]) for body in asked[:2]] == [5, 1]
    assert not any(reading.named[name].problem for name in ("Sales", "Staff", "News"))


@pytest.mark.parametrize("status", [424, 429, 500, 503, 504])
def test_a_batch_that_stays_busy_is_no_empty_group(entra: EntraSandbox, place: Path, status: int) -> None:
    fault = entra.break_(COUNT, "status", status=status)
    with connected(entra, place) as source, pytest.raises(Unavailable, match=f"came to nothing \\({status}\\)"):
        pull(source, "Sales")
    assert fault.fired == 3


def test_a_wait_that_is_too_long_is_for_whoever_comes_back(entra: EntraSandbox, place: Path) -> None:
    entra.break_(COUNT, "status", status=429, headers={"Retry-After": "300"})
    with connected(entra, place) as source, pytest.raises(Unavailable) as caught:
        pull(source, "Sales")
    assert caught.value.retry_after == 300


REFUSED = {"error": {"code": "Authorization_RequestDenied", "message": "No."}}
Answers = list[dict[str, Any]]
BROKEN: dict[str, tuple[Callable[[Answers], Any], type[Exception]]] = {
    "one comes twice": (lambda said: [said[0], *said], Misshapen),
    "one was not asked for": (lambda said: [{**said[0], "id": "77"}, *said[1:]], Misshapen),
    "one has no status": (lambda said: [{"id": said[0]["id"], "body": {}}, *said[1:]], Misshapen),
    "there is no list": (lambda said: None, Misshapen),
    "one has no count": (lambda said: [{**said[0], "body": {"value": []}}, *said[1:]], Misshapen),
    "one is not allowed": (lambda said: [{"id": said[0]["id"], "status": 403, "body": REFUSED}, *said[1:]], Denied),
}


def answered(entra: EntraSandbox, place: Path) -> Answers:
    """What the one batch of a read of two groups comes to."""
    said: list[bytes] = []
    entra.observers.append(lambda one: said.append(one.response_body) if one.path.endswith("$batch") else None)
    with connected(entra, place) as source:
        pull(source, "Sales", "News")
    responses: Answers = orjson.loads(said[0])["responses"]
    assert len(responses) == 2
    return responses


@pytest.mark.parametrize("change", BROKEN)
def test_a_batch_is_an_error_when(entra: EntraSandbox, place: Path, change: str) -> None:
    alter, error = BROKEN[change]
    text = orjson.dumps({"responses": alter(answered(entra, place))}).decode()
    fault = entra.break_("POST /v1.0/$batch", "misshapen", text=text)
    with connected(entra, place) as source, pytest.raises(error):
        pull(source, "Sales", "News")
    assert fault.fired == 1


def test_what_a_batch_leaves_out_is_asked_again(entra: EntraSandbox, place: Path) -> None:
    text = orjson.dumps({"responses": answered(entra, place)[1:]}).decode()
    fault = entra.break_("POST /v1.0/$batch", "misshapen", text=text, times=1)
    with connected(entra, place) as source:
        assert not pull(source, "Sales", "News").failed
        assert fault.fired == 1
        nothing = entra.break_("POST /v1.0/$batch", "misshapen", text='{"responses": []}')
        with pytest.raises(Unavailable, match="no answer"):
            pull(source, "Sales")
    assert nothing.fired == 3


def test_a_token_that_ends_in_the_middle_of_a_batch_is_renewed_once(entra: EntraSandbox, place: Path) -> None:
    fault = entra.break_(COUNT, "status", status=401, text='{"error": {"code": "InvalidAuthenticationToken"}}', times=1)
    with connected(entra, place) as source:
        assert not pull(source, "Sales", "News").named["Sales"].problem
        assert fault.fired == 1
        entra.break_(COUNT, "status", status=401, text='{"error": {"code": "InvalidAuthenticationToken"}}')
        with pytest.raises(Denied, match="refused our token, and a new one too"):
            pull(source, "Sales")


# --- who it is -------------------------------------------------------------------------------------------------------


def test_the_instance_is_the_tenant_that_the_token_is_of(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place, tenant="acme.example", authority=entra.url) as source:
        assert source.instance() == Instance(entra.tenant, entra.client_id)
    assert not [path for path in entra.reads if path.startswith("/v1.0")], "it needs no permission"


def notices(entra: EntraSandbox, place: Path, **how: Any) -> list[str]:
    with connected(entra, place, **how) as source:
        return [("fatal: " if one.fatal else "") + f"{one.text} {one.fix}" for one in source.probe()]


def test_the_probe_counts_people_and_names_what_is_missing(entra: EntraSandbox, place: Path) -> None:
    said = notices(entra, place)
    assert any("15 people are in the tenant" in one for one in said)
    assert any("client secret" in one for one in said)
    assert any("Member.Read.Hidden" in one for one in said)
    assert not [one for one in said if one.startswith("fatal")]


@pytest.mark.parametrize("permission", ["User.Read.All", "GroupMember.Read.All", "Application.Read.All"])
def test_a_missing_permission_is_named(entra: EntraSandbox, place: Path, permission: str) -> None:
    entra.granted.remove(permission)
    said = [one for one in notices(entra, place, app_roles=(LOOKER,)) if one.startswith("fatal")]
    assert len(said) == 1
    assert f"Add the application permission {permission}" in said[0]
    with connected(entra, place, app_roles=(LOOKER,)) as source, pytest.raises(Denied, match=permission):
        pull(source, "Sales")


def test_a_right_that_is_too_wide_is_noticed(entra: EntraSandbox, place: Path) -> None:
    entra.granted |= {"Directory.ReadWrite.All"}
    assert any("more than Trueup needs: Directory.ReadWrite.All" in one for one in notices(entra, place))


def test_members_without_names_are_noticed(entra: EntraSandbox, place: Path) -> None:
    nameless = '{"value": [{"@odata.type": "#microsoft.graph.user", "id": "x", "userPrincipalName": null}]}'
    entra.break_("GET /v1.0/groups/*/members", "misshapen", text=nameless)
    assert any(one.startswith("fatal: Members of groups are shown without") for one in notices(entra, place))


def test_parts_are_plain_data(entra: EntraSandbox, place: Path) -> None:
    with connected(entra, place, app_roles=(LOOKER,)) as source:
        parts = source.parts(Wanted(frozenset({"b", "a"}), frozenset({"city"})))
    assert parts == [
        Part("groups", {"names": ["a", "b"], "attributes": ["city"]}), Part("app roles", {"app": LOOKER}),
    ]  # fmt: skip
