"""A Looker is read whole, and only what is held directly counts as held; or there is an error, never a shorter list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.reading import observed_pages, once
from tests.targets.looker_company import (
    ANN,
    BOB,
    CLEO,
    DORA,
    EMBED,
    EVE,
    REPORTS,
    ROOT,
    SUPPORT,
    company,
    connected,
    group,
    joined,
    role,
    sandbox,
    seen,
    stage,
    target,
)  # fmt: skip
from worker.core.identity import Catalogue, Trait
from worker.errors import Denied, Misconfigured, Misshapen, Moved, TrueupError, Unavailable
from worker.ports import Part, Piece, TargetPage, Whole
from worker.sandbox.looker import LookerSandbox
from worker.targets.looker import Looker

__all__ = ["sandbox", "stage", "target"]  # fixtures

HOLDS = {
    ANN: {role("3"), group("11")},
    BOB: {group("10"), group("16")},
    CLEO: {group("15")},
    DORA: {role("3"), role("4")},
    REPORTS: {role("3")},
    SUPPORT: set(),
    EMBED: {group("10")},
    EVE: {role("3")},
    ROOT: {role("2")},
}
TRAITS = {
    ANN: set(),
    BOB: set(),
    CLEO: {Trait.ADMINISTRATOR},
    REPORTS: {Trait.SERVICE},
    SUPPORT: {Trait.SUPPORT},
    EMBED: {Trait.EMBED},
    ROOT: {Trait.ADMINISTRATOR},
}


def test_each_account_holds_what_it_was_given_directly_and_nothing_that_comes_through_a_group(
    target: Looker,
) -> None:
    accounts = joined(observed_pages(target))
    assert {id: set(accounts[id].entitlements) for id in HOLDS} == HOLDS
    assert len(accounts) == len(HOLDS) + 1  # ours


@pytest.mark.parametrize("id", TRAITS)
def test_traits_tell_special_accounts_apart(target: Looker, id: str) -> None:
    assert joined(observed_pages(target))[id].traits == TRAITS[id]


def test_our_own_account_is_marked_as_ours(target: Looker, sandbox: LookerSandbox) -> None:
    accounts = joined(observed_pages(target))
    assert Trait.OURSELVES in accounts[sandbox.own_account].traits
    assert [id for id, a in accounts.items() if Trait.OURSELVES in a.traits] == [sandbox.own_account]


@pytest.mark.parametrize("id", [ANN, BOB, CLEO, DORA, REPORTS, SUPPORT, EMBED, EVE, ROOT])
def test_one_account_read_alone_is_the_same_as_in_the_whole(target: Looker, id: str) -> None:
    assert seen(target, id) == joined(observed_pages(target))[id]


def test_an_account_has_its_address_its_names_and_its_standing(target: Looker) -> None:
    accounts = joined(observed_pages(target))
    assert (accounts[ANN].login, accounts[ANN].email, accounts[ANN].active) == (*["Ann@acme.example"] * 2, True)
    assert accounts[ANN].profile == {"first_name": "Ann", "last_name": "Lee"}
    assert accounts[DORA].active is False
    assert accounts[EVE].login == ""  # no e-mail credential: it cannot be correlated, and that is no error


def test_an_account_that_does_not_exist_is_none(target: Looker) -> None:
    assert target.account("4711") is None


def test_a_404_that_the_list_of_users_contradicts_is_no_absence(target: Looker, sandbox: LookerSandbox) -> None:
    fault = sandbox.break_(f"GET /api/4.0/users/{ANN}", "status", status=404)
    with pytest.raises(Unavailable):
        target.account(ANN)
    assert fault.fired


CATALOGUE = {
    ("role", "Admin"): (True, ""),
    ("role", "Viewer"): (False, ""),
    ("role", "Keeper"): (True, ""),  # it may manage groups
    ("group", "Engineering"): (False, ""),
    ("group", "Platform"): (False, ""),
    ("group", "Wardens"): (True, ""),
    ("group", "Inner Wardens"): (True, ""),  # lies in Wardens
    ("group", "Inner Chiefs"): (True, ""),  # lies in a group of administrators
    ("group", "Okta Sales"): (False, "mirrored from single sign-on; change it there"),
    ("group", "All Users"): (False, "Looker itself puts every account into it"),
}


@pytest.mark.parametrize(("kind", "name"), CATALOGUE, ids=" ".join)
def test_the_catalogue_says_what_is_privileged_and_what_is_closed(target: Looker, kind: str, name: str) -> None:
    catalogue = Catalogue(tuple(item for page in observed_pages(target) for item in page.catalogue))
    [item] = catalogue.named(kind, name)
    assert (item.privileged, item.closed) == CATALOGUE[kind, name]


def test_groups_that_lie_in_each_other_end_the_walk(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.instance.groups["14"].parents.add("15")
    assert Trait.ADMINISTRATOR in joined(observed_pages(target))[CLEO].traits


def test_everybody_is_an_administrator_where_all_users_carries_admin(target: Looker, sandbox: LookerSandbox) -> None:
    everybody = sandbox.instance.group_named("All Users")
    assert everybody is not None
    everybody.roles.add("2")
    assert all(Trait.ADMINISTRATOR in account.traits for account in joined(observed_pages(target)).values())


@pytest.mark.parametrize("counted", [True, False], ids=["with totals", "without totals"])
@pytest.mark.parametrize("cap", [2, 3, 5, 100])
def test_pages_of_any_size_give_the_same_accounts(
    target: Looker, sandbox: LookerSandbox, cap: int, counted: bool
) -> None:
    sandbox.page_cap, sandbox.count_known = cap, counted
    accounts = joined(observed_pages(target))
    assert {id: set(accounts[id].entitlements) for id in HOLDS} == HOLDS


def test_reading_takes_no_more_calls_than_pages_roles_and_groups(target: Looker, sandbox: LookerSandbox) -> None:
    observed_pages(target)
    assert target.calls <= 1 + len(sandbox.instance.roles) + len(sandbox.instance.groups) + 5


class Restless:
    """Somebody who changes the list of users each time that a page of it was read."""

    def __init__(self, sandbox: LookerSandbox, times: int) -> None:
        self.sandbox, self.left, self.done = sandbox, times, 0
        sandbox.observers.append(self)

    def __call__(self, exchange: Any) -> None:
        if exchange.path == "/api/4.0/users" and "offset=0" in exchange.query and self.left:
            self.left -= 1
            self.done += 1
            first = min(self.sandbox.instance.users, key=int)
            self.sandbox.delete_user(first)
            self.sandbox.add_user("Late", f"Comer {self.done}", f"late{self.done}@acme.example")


def test_a_list_that_moves_while_it_is_read_is_read_again(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.page_cap = 3
    restless = Restless(sandbox, times=2)
    accounts = joined(observed_pages(target))
    assert restless.done == 2
    assert set(accounts) == set(sandbox.instance.users)


def test_a_list_that_never_stands_still_is_unavailable(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.page_cap = 3
    Restless(sandbox, times=1000)
    with pytest.raises(Unavailable, match="kept changing"):
        observed_pages(target)


# Pages that are read side by side


def pages_of_users(target: Looker) -> tuple[Piece, list[Part]]:
    """The first page, and the parts that read all others."""
    first = target.read(*target.parts())
    return first, [part for part in first.parts if part.kind == "page"]


def finished(target: Looker, *pieces: tuple[Part, Piece]) -> Piece:
    accounts = {
        a.id for _, piece in pieces for page in piece.pages if isinstance(page, TargetPage) for a in page.accounts
    }
    return target.finish(Whole([(part, piece.facts) for part, piece in pieces], {"accounts": len(accounts)}))


def test_parts_are_done_in_any_order(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.page_cap = 3
    pages = [page for page in once(target, last_first=True) if isinstance(page, TargetPage)]
    assert {id: set(joined(pages)[id].entitlements) for id in HOLDS} == HOLDS


def test_the_first_page_knows_all_others_and_each_overlaps_the_one_before(
    target: Looker, sandbox: LookerSandbox
) -> None:
    sandbox.page_cap = 4
    _, parts = pages_of_users(target)
    assert [part.args["offset"] for part in parts] == [3, 6]  # of ten
    read = [id for part in parts for page in target.read(part).pages for id in (a.id for a in page.accounts)]  # type: ignore[union-attr]
    assert read == sorted(sandbox.instance.users, key=int)[4:]


def shift(sandbox: LookerSandbox) -> None:
    """One goes and one comes: the total is the same, and everybody has moved up."""
    sandbox.delete_user(min(sandbox.instance.users, key=int))
    sandbox.add_user("Late", "Comer", "late@acme.example")


@pytest.mark.parametrize("after", [0, 1], ids=["after the first page", "after the second page"])
def test_pages_between_which_somebody_moved_up_do_not_fit_together(
    target: Looker, sandbox: LookerSandbox, after: int
) -> None:
    sandbox.page_cap = 4
    first, parts = pages_of_users(target)
    pieces = [(Part("users"), first)]
    for number, part in enumerate(parts):
        if number == after:
            shift(sandbox)
        pieces.append((part, target.read(part)))
    with pytest.raises(Moved, match=r"kept changing while it was read: at \d is account \d+ and no longer \d+"):
        finished(target, *pieces)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.add_user("One", "More", "more@acme.example"), "its total went from 10 to 11"),
        (lambda s: s.delete_user(EVE), "its total went from 10 to 9"),
        (lambda s: setattr(s, "page_cap", 3), "the page at 3 has 3 rows, its total is 10"),
        (lambda s: setattr(s, "count_known", False), "its total went from 10 to None"),
    ],
    ids=["one more", "one less", "a shorter page", "no total any more"],
)
def test_a_page_that_cannot_belong_to_the_first_one_is_not_taken(
    target: Looker, sandbox: LookerSandbox, change: Callable[[LookerSandbox], None], said: str
) -> None:
    sandbox.page_cap = 4
    _, parts = pages_of_users(target)
    change(sandbox)
    with pytest.raises(Moved, match=said):
        target.read(parts[0])


def test_pages_that_show_somebody_twice_are_not_the_whole_list(target: Looker, sandbox: LookerSandbox) -> None:
    sandbox.page_cap = 4
    first, (second, third) = pages_of_users(target)
    again = replace(first, facts={**first.facts, "rows": first.facts["rows"] + 1})
    with pytest.raises(Moved, match="it has 11 rows, and 10 accounts are in them"):
        finished(target, (Part("users"), again), (second, target.read(second)), (third, target.read(third)))


def test_a_holder_who_is_in_no_list_of_users_is_no_certified_read(target: Looker, sandbox: LookerSandbox) -> None:
    fault = sandbox.break_("GET /api/4.0/roles/3/users", "misshapen", text='[{"id": "999"}]')
    with pytest.raises(Unavailable, match="not in the list of users"):
        observed_pages(target)
    assert fault.fired == 3


def test_a_caller_without_the_admin_role_is_denied_and_reads_nobody_as_nameless(sandbox: LookerSandbox) -> None:
    clerk = sandbox.add_user("Clerk", "", kind="service", roles=["Viewer"])
    with pytest.MonkeyPatch.context() as patch:
        id, secret = sandbox.add_key(clerk)
        patch.setenv("LOOKER_TEST_ID", id)
        patch.setenv("LOOKER_TEST_SECRET", secret)
        with connected(sandbox) as target, pytest.raises(Denied, match="Admin role"):
            observed_pages(target)


USER_RECORD = {
    "id": ROOT, "email": None, "first_name": "A", "last_name": "B", "is_disabled": False,
    "verified_looker_employee": False, "is_service_account": False, "credentials_embed": [],
    "roles_externally_managed": False, "allow_direct_roles": True, "allow_normal_group_membership": True,
}  # fmt: skip
HIDDEN = ("email", "is_disabled", "is_service_account", "verified_looker_employee", "credentials_embed")


@pytest.mark.parametrize("field", HIDDEN)
def test_a_field_that_is_absent_is_hidden_from_us_and_not_empty(
    target: Looker, sandbox: LookerSandbox, field: str
) -> None:
    record = {name: value for name, value in USER_RECORD.items() if name != field}
    fault = sandbox.break_("GET /api/4.0/users", "misshapen", text=orjson.dumps([record]).decode())
    with pytest.raises(Denied, match=field):
        observed_pages(target)
    assert fault.fired


def test_a_list_of_users_that_leaves_ourselves_out_is_not_whole(target: Looker, sandbox: LookerSandbox) -> None:
    for route in ("GET /api/4.0/roles/*/users", "GET /api/4.0/groups/*/users"):
        sandbox.break_(route, "status", status=200, text="[]")
    fault = sandbox.break_("GET /api/4.0/users", "status", status=200, text=orjson.dumps([USER_RECORD]).decode())
    with pytest.raises(Unavailable, match=f"1: {sandbox.own_account}"):
        observed_pages(target)
    assert fault.fired


@pytest.mark.parametrize("route", ["GET /api/4.0/roles", "GET /api/4.0/roles/3/users"])
def test_a_list_that_begins_to_be_paged_is_not_taken_for_whole(
    target: Looker, sandbox: LookerSandbox, route: str
) -> None:
    link = {"Link": f'<{sandbox.url}/api/4.0/roles?page=2>; rel="next"'}
    text = '[{"id": "2", "name": "Admin", "internal": false, "permission_set": null}]'
    fault = sandbox.break_(route, "status", status=200, text=text, headers=link)
    with pytest.raises(Misshapen, match="begun to page"):
        observed_pages(target)
    assert fault.fired


LOGIN = "POST /api/4.0/login"
ROUTES = (
    LOGIN,
    "GET /api/4.0/user",
    "GET /api/4.0/users",
    "GET /api/4.0/roles",
    "GET /api/4.0/roles/3/users",
    "GET /api/4.0/groups/search/with_hierarchy",
    "GET /api/4.0/groups/10/users",
)
ALONE = (
    f"GET /api/4.0/users/{ANN}",
    f"GET /api/4.0/users/{ANN}/roles",
    "GET /api/4.0/users/search",
    "GET /api/4.0/groups/search/with_hierarchy",
)
FAULTS: dict[str, tuple[dict[str, Any], type[TrueupError]]] = {
    "500 without a word": ({"kind": "status", "status": 500}, Unavailable),
    "a gateway's 503": ({"kind": "status", "status": 503, "text": "<html>later</html>"}, Unavailable),
    "a web page": ({"kind": "html"}, Misshapen),
    "a redirect": ({"kind": "redirect", "text": "https://login.invalid/"}, Misconfigured),
    "half an answer": ({"kind": "truncate"}, Misshapen),
    "another shape": ({"kind": "misshapen"}, Misshapen),
    "null": ({"kind": "misshapen", "text": "null"}, Misshapen),
    "rows of nothing": ({"kind": "misshapen", "text": "[{}]"}, Misshapen),
    "ids that are numbers": ({"kind": "misshapen", "text": '[{"id": 3}]'}, Misshapen),
    "a lost connection": ({"kind": "drop"}, Unavailable),
    "401 for ever": ({"kind": "status", "status": 401}, Denied),
    "403": ({"kind": "status", "status": 403}, Denied),
    "429 for ever": ({"kind": "status", "status": 429}, Unavailable),
}
AT_THE_LOGIN = {"a web page": Unavailable}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("route", ROUTES)
def test_a_read_that_breaks_is_an_error_and_never_a_shorter_list(
    target: Looker, sandbox: LookerSandbox, route: str, fault: str
) -> None:
    how, expected = FAULTS[fault]
    injected = sandbox.break_(route, **how)
    with pytest.raises(TrueupError) as caught:
        observed_pages(target)
    assert injected.fired
    assert type(caught.value) is (AT_THE_LOGIN.get(fault, expected) if route == LOGIN else expected)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("route", ALONE)
def test_one_account_that_cannot_be_read_is_an_error_and_not_absent(
    target: Looker, sandbox: LookerSandbox, route: str, fault: str
) -> None:
    how, expected = FAULTS[fault]
    sandbox.add_to_group(ANN, "Engineering")  # around Platform: whether Ann is in it directly has to be asked
    injected = sandbox.break_(route, **how)
    with pytest.raises(expected):
        target.account(ANN)
    assert injected.fired


@pytest.mark.parametrize("route", ROUTES)
def test_an_answer_that_takes_too_long_is_unavailable(sandbox: LookerSandbox, route: str) -> None:
    slow = sandbox.break_(route, "slow", seconds=0.4)
    with connected(sandbox, timeout=0.1) as target, pytest.raises(Unavailable):
        observed_pages(target)
    assert slow.fired


EMPTIED = {
    "GET /api/4.0/users": Unavailable,
    "GET /api/4.0/roles": Misshapen,
    "GET /api/4.0/groups/search/with_hierarchy": Unavailable,
    "GET /api/4.0/groups/10/users": Unavailable,
}


@pytest.mark.parametrize("route", EMPTIED)
def test_an_empty_list_that_its_own_total_contradicts_is_no_list(
    target: Looker, sandbox: LookerSandbox, route: str
) -> None:
    fault = sandbox.break_(route, "misshapen", text="[]")
    with pytest.raises(EMPTIED[route]):
        observed_pages(target)
    assert fault.fired


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("retry", [{}, {"Retry-After": "0"}], ids=["no hint", "with Retry-After"])
def test_what_passes_by_itself_is_waited_for(
    target: Looker, sandbox: LookerSandbox, route: str, retry: dict[str, str]
) -> None:
    fault = sandbox.break_(route, "status", status=429, headers=retry, times=2)
    assert len(joined(observed_pages(target))) == len(sandbox.instance.users)
    assert fault.fired == 2


def test_a_token_that_looker_forgot_is_fetched_anew_once(target: Looker, sandbox: LookerSandbox) -> None:
    observed_pages(target)
    sandbox.expire_tokens()
    assert len(joined(observed_pages(target))) == len(sandbox.instance.users)


def test_a_deleted_role_in_the_middle_of_a_read_starts_it_again(target: Looker, sandbox: LookerSandbox) -> None:
    def delete(exchange: Any) -> None:
        if exchange.path == "/api/4.0/roles" and "4" in sandbox.instance.roles:
            for holder in list(sandbox.instance.holders.get("4", ())):
                sandbox.instance.revoke(sandbox.instance.users[holder], "4")
            sandbox.instance.groups["10"].roles.discard("4")
            del sandbox.instance.roles["4"]

    sandbox.observers.append(delete)
    assert set(joined(observed_pages(target))[DORA].entitlements) == {role("3")}


def test_a_company_of_nobody_but_ourselves_is_read() -> None:
    empty = LookerSandbox(company([]))
    with empty.serve(), connected(empty) as target:
        assert set(joined(observed_pages(target))) == {empty.own_account}
