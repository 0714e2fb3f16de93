"""A pull brings the whole org, each person once, whatever moves while it is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from tests.reading import once
from tests.sources.okta_org import (
    EMPTY,
    ENGINEERING,
    ENGINEERS,
    PEOPLE,
    SALES,
    company,
    connected,
    pull,
    user_id,
)
from worker.budget import Budget, Terms
from worker.core.identity import Standing
from worker.errors import Denied, Misconfigured, Misshapen, Moved, Paused, Unavailable
from worker.ports import Line, Wanted
from worker.sandbox.okta import OktaSandbox
from worker.sandbox.server import Exchange
from worker.sources.okta import OktaSource

EVERYBODY = PEOPLE + 1  # the token's owner is a user too


@pytest.fixture
def okta() -> Iterator[OktaSandbox]:
    sandbox = OktaSandbox(company())
    with sandbox.serve():
        yield sandbox


@pytest.fixture
def source(okta: OktaSandbox, tmp_path: Path) -> Iterator[OktaSource]:
    with connected(okta.url, tmp_path / "token", okta) as source:
        yield source


def meanwhile(sandbox: OktaSandbox, path: str, act: Callable[[], None], *, query: str = "") -> list[str]:
    """Act once, right after the first call of that path (and query) was answered."""
    done: list[str] = []

    def watch(exchange: Exchange) -> None:
        if exchange.path == path and query in exchange.query and not done:
            done.append(exchange.path)
            act()

    sandbox.observers.append(watch)
    return done


def test_everybody_of_every_status_is_read_once(okta: OktaSandbox, source: OktaSource) -> None:
    for number, status in enumerate(("STAGED", "SUSPENDED", "LOCKED_OUT", "ACTIVATING")):
        okta.set_status(user_id(number), status)
    people = pull(source, "none").people
    assert len(people) == EVERYBODY
    assert [people[user_id(n)].standing for n in range(5)] == [
        Standing.PENDING, Standing.SUSPENDED, Standing.ACTIVE, Standing.HOLD, Standing.ACTIVE,
    ]  # fmt: skip
    assert people[user_id(PEOPLE - 1)].standing is Standing.DEPARTED


def test_only_wanted_groups_have_their_members_read(okta: OktaSandbox, source: OktaSource) -> None:
    reading = pull(source, "Engineering", "Em*")
    assert reading.members(ENGINEERING) == {user_id(n) for n in range(ENGINEERS)}
    assert reading.groups[ENGINEERING].members == ENGINEERS
    assert reading.groups[EMPTY].problem == ""
    assert reading.groups[SALES].problem == "its members were not read, because no rule names it"
    assert okta.reads[f"/api/v1/groups/{SALES}/users"] == 0


def test_a_pattern_asks_for_every_group_and_no_names_for_none(okta: OktaSandbox, source: OktaSource) -> None:
    assert not pull(source).memberships
    assert not [path for path in okta.reads if path.startswith("/api/v1/groups/")]
    reading = pull(source, "*")
    assert {group.name for group in reading.groups.values()} == {"Engineering", "Sales", "Empty", "Everyone"}
    assert not any(group.problem for group in reading.groups.values())
    assert len(reading.memberships) == 2 * (PEOPLE - 1) + 1
    assert all(check.passed for check in reading.checks.values())


def test_groups_of_the_same_name_are_both_delivered(okta: OktaSandbox, source: OktaSource) -> None:
    twin = okta.create_group("Sales", "APP_GROUP")
    reading = pull(source, "Sales")
    assert {reading.groups[SALES].name, reading.groups[twin].name} == {"Sales"}
    assert reading.groups[twin].problem == ""


def test_a_group_name_with_pattern_characters_is_found_by_its_name(okta: OktaSandbox, source: OktaSource) -> None:
    odd = okta.create_group("Team [A]")
    assert pull(source, "Team [A]").groups[odd].problem == ""


def test_okta_is_asked_for_no_more_than_is_kept(okta: OktaSandbox, source: OktaSource) -> None:
    seen: list[Exchange] = []
    okta.observers.append(seen.append)
    pull(source, "none", attributes=frozenset({"badge", "no,attribute)"}))
    first = next(e for e in seen if e.path == "/api/v1/users")
    row = orjson.loads(first.response_body)[0]
    assert set(row) == {"id", "status", "lastUpdated", "profile"}
    assert "badge" in first.query
    assert "no%2Cattribute" not in first.query
    assert "omitCredentials" in first.request_headers["content-type"]


@pytest.mark.parametrize("links", ["self-first", "next-first"])
def test_link_lines_may_come_in_either_order(okta: OktaSandbox, source: OktaSource, links: str) -> None:
    okta.links = links
    assert len(pull(source, "none").people) == EVERYBODY


def test_a_full_last_page_without_link_headers_is_an_error(tmp_path: Path) -> None:
    sandbox = OktaSandbox(company(200))  # 199 of them and the token's owner make one full page
    with sandbox.serve(), connected(sandbox.url, tmp_path / "token", sandbox) as source:
        assert len(pull(source, "none").people) == 201
        sandbox.links = "no-self"
        with pytest.raises(Misshapen, match="rest of the list may be lost"):
            pull(source, "none")


def test_a_circle_of_next_links_is_an_error(okta: OktaSandbox, source: OktaSource) -> None:
    okta.links = "circle"
    with pytest.raises(Misshapen, match="in a circle"):
        pull(source, "none")


def test_a_page_that_comes_again_under_another_link_is_an_error(okta: OktaSandbox, source: OktaSource) -> None:
    page = orjson.dumps([{"id": user_id(1), "status": "ACTIVE", "profile": {"login": "p1@example.com"}}]).decode()
    fault = okta.break_("GET /api/v1/users", "misshapen", text=page)
    with pytest.raises(Misshapen, match="a whole page came twice"):
        pull(source, "none")
    assert fault.fired


@pytest.fixture
def short_legs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is handed on after every page."""
    monkeypatch.setattr("worker.sources.okta.org.PAGE", 50)
    monkeypatch.setattr("worker.sources.okta.org.LEG", 1)


@pytest.mark.usefixtures("short_legs")
def test_a_list_that_is_handed_on_from_worker_to_worker_is_read_whole(okta: OktaSandbox, source: OktaSource) -> None:
    reading = pull(source, "*")
    assert len(reading.people) == EVERYBODY
    assert reading.members(ENGINEERING) == {user_id(n) for n in range(ENGINEERS)}
    assert reading.checks["people"].detail == f"{EVERYBODY - 1} listed to the end, on 5 pages"
    assert all(check.passed for check in reading.checks.values())


@pytest.mark.usefixtures("short_legs")
def test_a_circle_is_seen_by_the_worker_who_comes_round(okta: OktaSandbox, source: OktaSource) -> None:
    okta.links = "circle"
    with pytest.raises(Misshapen, match=r"in a circle \(a next link came twice\)"):
        pull(source)


@pytest.mark.usefixtures("short_legs")
def test_a_page_that_comes_again_is_seen_by_the_worker_who_gets_it(okta: OktaSandbox, source: OktaSource) -> None:
    page = orjson.dumps([{"id": user_id(1), "status": "ACTIVE", "profile": {"login": "p1@example.com"}}]).decode()
    fault = okta.break_("GET /api/v1/users", "misshapen", text=page)
    with pytest.raises(Misshapen, match="a whole page came twice"):
        pull(source)
    assert fault.fired == 2


@pytest.mark.usefixtures("short_legs")
def test_a_list_without_an_end_is_given_up(source: OktaSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.sources._pagination.LONGEST", 3)
    with pytest.raises(Misshapen, match="the list does not end after 3 pages"):
        pull(source)


def test_a_page_full_of_people_who_came_before_is_read_again(okta: OktaSandbox, source: OktaSource) -> None:
    again = [{"id": user_id(n), "status": "DEPROVISIONED", "profile": {"login": "x"}} for n in range(200)]
    fault = okta.break_("GET /api/v1/users", "misshapen", text=orjson.dumps(again).decode(), skip=2)
    with pytest.raises(Moved, match="listed 200 people twice"):
        once(source, Wanted())
    assert fault.fired


def test_small_groups_are_read_together_and_a_large_one_alone(
    source: OktaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def together() -> list[list[str]]:
        (first,) = source.parts(Wanted(frozenset({"*"})))
        parts = [part for part in source.read(first).parts if part.kind == "members"]
        return [sorted(group["profile"]["name"] for group in part.args["groups"]) for part in parts]

    assert together() == [["Empty", "Engineering", "Everyone", "Sales"]]
    monkeypatch.setattr("worker.sources.okta.groups.ROWS_TOGETHER", 100)
    assert together() == [["Everyone"], ["Engineering"], ["Empty", "Sales"]]


def test_an_empty_page_with_a_next_link_is_not_the_end(okta: OktaSandbox, source: OktaSource) -> None:
    fault = okta.break_("GET /api/v1/groups/*/users", "misshapen", text="[]", times=1)
    reading = pull(source, "Engineering")
    assert fault.fired
    assert okta.reads[f"/api/v1/groups/{ENGINEERING}/users"] == 4  # to the end, and once more as the count was wrong
    assert reading.members(ENGINEERING) == {user_id(n) for n in range(ENGINEERS)}


def test_who_leaves_between_the_lists_is_read_as_having_left(okta: OktaSandbox, source: OktaSource) -> None:
    done = meanwhile(okta, "/api/v1/users", lambda: okta.deactivate(user_id(3)))
    assert pull(source, "none").people[user_id(3)].standing is Standing.DEPARTED
    assert done


def test_an_older_record_of_somebody_on_both_lists_does_not_count(okta: OktaSandbox, source: OktaSource) -> None:
    stale = [{"id": user_id(3), "status": "DEPROVISIONED", "lastUpdated": "2001-01-01T00:00:00.000Z", "profile": {}}]
    fault = okta.break_("GET /api/v1/users", "misshapen", text=orjson.dumps(stale).decode(), skip=2)
    assert pull(source, "none").people[user_id(3)].standing is Standing.ACTIVE
    assert fault.fired


def test_a_record_without_a_time_gives_way_to_one_read_later(okta: OktaSandbox, source: OktaSource) -> None:
    timeless = [{"id": user_id(3), "status": "ACTIVE", "profile": {"login": "p3@example.com"}}]
    okta.directory.users[user_id(3)].status = "DEPROVISIONED"
    fault = okta.break_("GET /api/v1/users", "misshapen", text=orjson.dumps(timeless).decode(), times=1)
    assert pull(source, "none").people[user_id(3)].standing is Standing.DEPARTED
    assert fault.fired


def test_who_is_hired_while_groups_are_read_is_looked_up(okta: OktaSandbox, source: OktaSource) -> None:
    hired: list[str] = []
    meanwhile(
        okta, "/api/v1/users", lambda: hired.append(okta.hire("Grace", "Hopper", groups=["Sales"])), query="after"
    )
    reading = pull(source, "Sales")
    assert reading.people[hired[0]].login == "grace.hopper@example.com"
    assert hired[0] in reading.members(SALES)
    assert all(check.passed for check in reading.checks.values())


def test_one_odd_person_is_held_and_costs_nobody_else(okta: OktaSandbox, source: OktaSource) -> None:
    odd = [{"id": "00uodd", "status": "ACTIVE", "profile": 7}, {"id": user_id(0), "status": "ACTIVE"}]
    fault = okta.break_("GET /api/v1/users", "misshapen", text=orjson.dumps(odd).decode(), times=1)
    people = pull(source, "none").people
    assert fault.fired
    assert people["00uodd"].standing is Standing.HOLD
    assert people["00uodd"].problem == "Okta gave no profile"
    assert people[user_id(220)].standing is Standing.ACTIVE


@pytest.mark.parametrize("row", ["{}", '{"id": ""}', '{"id": 7}', "null", '["00u1"]'])
def test_somebody_without_an_id_makes_the_page_worthless(okta: OktaSandbox, source: OktaSource, row: str) -> None:
    fault = okta.break_("GET /api/v1/users", "misshapen", text=f'[{{"id": "00u1"}}, {row}]', times=1)
    with pytest.raises(Misshapen, match="without an id"):
        pull(source, "none")
    assert fault.fired


# Groups that move


def test_a_member_who_joins_meanwhile_makes_the_group_be_read_again(okta: OktaSandbox, source: OktaSource) -> None:
    done = meanwhile(okta, "/api/v1/groups", lambda: okta.add_to_group(user_id(0), "Sales"))
    reading = pull(source, "Sales")
    assert done
    assert user_id(0) in reading.members(SALES)
    assert reading.groups[SALES].problem == ""
    assert okta.reads[f"/api/v1/groups/{SALES}/users"] > 1


def test_a_member_list_that_stays_short_is_a_problem_of_that_group_only(okta: OktaSandbox, source: OktaSource) -> None:
    one = orjson.dumps([{"id": user_id(220), "status": "ACTIVE"}]).decode()
    fault = okta.break_(f"GET /api/v1/groups/{SALES}/users", "misshapen", text=one)
    reading = pull(source, "Sales", "Engineering")
    assert fault.fired == 2
    assert reading.groups[SALES].problem == f"Okta counts {PEOPLE - 1 - ENGINEERS} members, and lists 1"
    assert reading.groups[ENGINEERING].problem == ""
    assert len(reading.people) == EVERYBODY
    assert "Sales (Okta counts" in reading.checks["members"].detail


def test_a_group_without_a_count_cannot_be_checked(okta: OktaSandbox, source: OktaSource) -> None:
    row = [{"id": EMPTY, "type": "OKTA_GROUP", "profile": {"name": "Empty"}}]
    fault = okta.break_("GET /api/v1/groups", "misshapen", text=orjson.dumps(row).decode())
    assert pull(source, "Empty").groups[EMPTY].problem == "Okta gives no count of its members, and lists 0"
    assert fault.fired


def test_members_who_left_may_be_counted_or_not(okta: OktaSandbox, source: OktaSource) -> None:
    okta.add_to_group(user_id(PEOPLE - 1), "Sales")
    everybody_counts = pull(source, "Sales").groups[SALES]
    members = [{"id": user_id(n), "status": "ACTIVE"} for n in range(ENGINEERS, ENGINEERS + 10)]
    members.append({"id": user_id(PEOPLE - 1), "status": "DEPROVISIONED"})
    group = {"id": SALES, "type": "OKTA_GROUP", "profile": {"name": "Sales"}}
    counted = [{**group, "_embedded": {"stats": {"usersCount": 10}}}]
    okta.break_("GET /api/v1/groups", "misshapen", text=orjson.dumps(counted).decode())
    okta.break_(f"GET /api/v1/groups/{SALES}/users", "misshapen", text=orjson.dumps(members).decode())
    only_living_count = pull(source, "Sales").groups[SALES]
    assert (everybody_counts.problem, only_living_count.problem) == ("", "")


def test_a_group_deleted_meanwhile_is_gone(okta: OktaSandbox, source: OktaSource) -> None:
    done = meanwhile(okta, "/api/v1/groups", lambda: okta.delete_group("Sales"))
    reading = pull(source, "Sales", "Engineering")
    assert done
    assert SALES not in reading.groups
    assert "1 vanished meanwhile" in reading.checks["members"].detail


def test_a_listed_group_whose_members_are_not_found_is_a_problem(okta: OktaSandbox, source: OktaSource) -> None:
    body = '{"errorCode": "E0000007", "errorSummary": "Not found"}'
    fault = okta.break_(f"GET /api/v1/groups/{SALES}/users", "status", status=404, text=body)
    group = pull(source, "Sales").groups[SALES]
    assert fault.fired
    assert group.problem == "Okta lists the group, but does not find its members"


def test_a_group_denied_by_id_is_not_gone_while_it_is_listed(okta: OktaSandbox, source: OktaSource) -> None:
    body = '{"errorCode": "E0000007", "errorSummary": "Not found"}'
    fault = okta.break_(f"GET /api/v1/groups/{SALES}*", "status", status=404, text=body)
    assert pull(source, "Sales").groups[SALES].problem
    assert fault.fired == 2


# Lists that are silently short


@pytest.mark.parametrize("partial", [False, True], ids=["not certified", "certified where the settings say so"])
def test_lists_shorter_than_everyone_are(okta: OktaSandbox, tmp_path: Path, partial: bool) -> None:
    okta.admin_role, okta.narrow_to = "narrow", frozenset({"Sales", "Everyone"})
    with connected(okta.url, tmp_path / "token", okta, partial=partial) as source:
        check = pull(source, "Sales").checks["as many as Everyone"]
    assert check.passed is partial
    assert check.detail.startswith(f"{PEOPLE - 1 - ENGINEERS} people were listed, and Everyone has {PEOPLE}")
    assert "partial: true" in check.detail


def test_members_who_are_on_no_list_of_people_are_not_certified(okta: OktaSandbox, source: OktaSource) -> None:
    member = orjson.dumps([{"id": "00uhidden", "status": "ACTIVE"}]).decode()
    group = [{"id": SALES, "profile": {"name": "Sales"}, "_embedded": {"stats": {"usersCount": 1}}}]
    okta.break_("GET /api/v1/groups", "misshapen", text=orjson.dumps(group).decode())
    fault = okta.break_(f"GET /api/v1/groups/{SALES}/users", "misshapen", text=member)
    check = pull(source, "Sales").checks["members are listed people"]
    assert fault.fired
    assert not check.passed
    assert check.detail.startswith("1 member of a group is on no list of people")


def test_a_narrow_role_leaves_everyone_unchecked_and_says_so(okta: OktaSandbox, source: OktaSource) -> None:
    okta.admin_role, okta.narrow_to = "narrow", frozenset({"Sales"})
    reading = pull(source, "*")
    assert len(reading.people) == PEOPLE - 1 - ENGINEERS
    assert "not visible" in reading.checks["as many as Everyone"].detail


def test_an_org_that_lists_nobody_is_never_taken_for_empty(okta: OktaSandbox, source: OktaSource) -> None:
    okta.admin_role = "narrow"
    with pytest.raises(Denied, match="lists nobody at all"):
        pull(source)


# Throttling


def test_a_429_is_waited_out_until_the_reset(okta: OktaSandbox, tmp_path: Path) -> None:
    reset = {"X-Rate-Limit-Limit": "600", "X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": str(int(time.time()))}
    fault = okta.break_("GET /api/v1/users", "status", status=429, headers=reset, times=1, skip=1)
    with connected(okta.url, tmp_path / "token", okta, attempts=2) as source:
        assert len(pull(source, "none").people) == EVERYBODY
    assert fault.fired == 1


def test_a_reset_beyond_patience_is_unavailable_with_its_time(okta: OktaSandbox, tmp_path: Path) -> None:
    later = str(int(time.time()) + 500)
    headers = {"X-Rate-Limit-Limit": "600", "X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": later}
    okta.break_("GET /api/v1/users", "status", status=429, headers=headers)
    with connected(okta.url, tmp_path / "token", okta) as source, pytest.raises(Unavailable) as caught:
        pull(source, "none")
    assert caught.value.retry_after is not None
    assert 490 < caught.value.retry_after < 510


def test_a_concurrency_limit_is_met_with_short_pauses_not_with_its_guessed_reset(
    okta: OktaSandbox, source: OktaSource
) -> None:
    okta.crowd(2)
    started = time.monotonic()
    assert len(pull(source, "none").people) == EVERYBODY
    assert time.monotonic() - started < 20


def paced(longest_wait: float) -> Line:
    """A budget of this process, with everything the org allows."""
    return Budget().line("okta", Terms("acme", 600, 1.0, 0.0, 8), longest_wait=longest_wait)


def test_a_call_waits_by_itself_until_the_used_up_window_opens_again(okta: OktaSandbox, tmp_path: Path) -> None:
    opens = int(time.time()) + 1
    used_up = {"X-Rate-Limit-Limit": "600", "X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": str(opens)}
    fault = okta.break_("GET /api/v1/users/*", "status", status=500, headers=used_up, times=1)
    came: list[float] = []
    okta.observers.append(lambda _: came.append(time.time()))
    with connected(okta.url, tmp_path / "token", okta, line=paced(30)) as source:
        assert source.person(user_id(1)) is not None
    assert fault.fired == 1
    assert came[-1] >= opens


def test_a_window_that_opens_too_late_is_unavailable_before_anything_is_sent(okta: OktaSandbox, tmp_path: Path) -> None:
    okta.per_minute = 2
    seen: list[int] = []
    okta.observers.append(lambda exchange: seen.append(exchange.status))
    with (
        connected(okta.url, tmp_path / "token", okta, line=paced(1)) as source,
        pytest.raises(Unavailable, match="lets no more calls of /api/v1/users through"),
    ):
        pull(source, "none")
    assert okta.reads["/api/v1/users"] == 2
    assert 429 not in seen


def test_a_pause_stops_a_read(okta: OktaSandbox, tmp_path: Path) -> None:
    calls: list[int] = []

    def pause_after_two(_bucket: str) -> None:
        calls.append(1)
        if len(calls) > 2:
            raise Paused("Trueup is paused.")

    with (
        connected(okta.url, tmp_path / "token", okta, line=Line(before=pause_after_two)) as source,
        pytest.raises(Paused),
    ):
        pull(source, "none")


# Single questions


def test_a_person_is_read_by_id(okta: OktaSandbox, source: OktaSource) -> None:
    okta.rename(user_id(1), lastName="Lovelace")
    okta.suspend(user_id(1))
    person = source.person(user_id(1))
    assert person is not None
    assert (person.standing, person.attributes["lastName"]) == (Standing.SUSPENDED, "Lovelace")


def test_a_deleted_person_is_none(okta: OktaSandbox, source: OktaSource) -> None:
    okta.delete(user_id(1))
    assert source.person(user_id(1)) is None


def test_a_404_that_is_not_oktas_says_nothing_about_a_person(okta: OktaSandbox, source: OktaSource) -> None:
    fault = okta.break_("GET /api/v1/users/*", "status", status=404, text="<h1>no such page</h1>")
    with pytest.raises(Misshapen, match="not in Okta's words"):
        source.person(user_id(1))
    assert fault.fired


def test_a_login_is_no_id(source: OktaSource) -> None:
    with pytest.raises(Misshapen, match=r"was asked for the user p1@example\.com"):
        source.person("p1@example.com")


def test_the_instance_is_the_org_and_the_tokens_owner(okta: OktaSandbox, source: OktaSource) -> None:
    instance = source.instance()
    assert (instance.id, instance.own_account, instance.version) == (okta.org_id, okta.owner_id, "idx")


def test_an_address_that_is_no_org_is_a_matter_of_settings(okta: OktaSandbox, source: OktaSource) -> None:
    okta.break_("GET /.well-known/*", "status", status=404, text="no")
    with pytest.raises(Misconfigured, match="Set `url` of okta"):
        source.instance()


def test_probe_says_what_the_credentials_see(source: OktaSource) -> None:
    texts = [notice.text for notice in source.probe()]
    assert "trueup-reader@example.com" in texts[0]
    assert texts[1] == f"{PEOPLE} people are in the org, by Okta's own count."
    assert "6000 calls" in texts[2]


def test_probe_warns_of_a_narrow_role(okta: OktaSandbox, source: OktaSource) -> None:
    okta.admin_role = "narrow"
    notices = list(source.probe())
    assert [notice.text for notice in notices if notice.fatal] == ["okta shows nobody."]
    assert any("Everyone is not visible" in notice.text for notice in notices)


def test_reading_changes_nothing_at_okta(okta: OktaSandbox, source: OktaSource) -> None:
    pull(source)
    list(source.probe())
    source.instance()
    assert okta.log == []
