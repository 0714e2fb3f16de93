"""The made-up company is the same every time, fits its own policy, and holds exactly the trouble that it names."""

from __future__ import annotations

import time
import unicodedata
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
import yaml

from tests.sandbox.holdings import deserved
from worker.errors import Misconfigured
from worker.sandbox import acme, regions
from worker.sandbox.company import Company
from worker.sandbox.names import plain
from worker.sandbox.seed import company
from worker.sandbox.staff import FIRST_ID
from worker.sandbox.trouble import HARMLESS, TROUBLES
from worker.sandbox.world import settings_yaml

ACCOUNT_ONLY = {"orphan", "service account", "support account", "embed user", "protected account", "guest"}


@pytest.fixture(scope="module")
def acme_2000() -> Company:
    return company(2_000)


def people_of(made: Company, *, harmless: bool) -> set[str]:
    """Logins of people with a story."""
    logins = {e.profile["login"] for e in made.employees}
    told = [s for s in made.stories if s.who in logins and s.kind != "administrator"]
    return {s.who for s in told if harmless or s.kind not in HARMLESS}


def test_the_same_size_and_seed_make_the_same_company_and_another_seed_another() -> None:
    assert company(300) == company(300)
    assert company(300, seed=2) != company(300)


@pytest.mark.parametrize("size", [12, 13, 47, 150, 200, 2_000, 20_000])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_size_has_unique_keys_and_known_names(size: int, seed: int) -> None:
    made = company(size, seed)
    assert len(made.employees) == size
    logins = [plain(e.profile["login"]).lower() for e in made.employees]
    groups = {g.name for g in made.source_groups}
    unique = [
        logins,  # Okta's logins are unique whatever their case and accents
        [e.id for e in made.employees],
        [g.id for g in made.source_groups],
        [u.id for u in made.looker_users],
        [u.id for u in made.teamcity_users],
        [u.username.casefold() for u in made.teamcity_users],
    ]
    assert [len(set(keys)) for keys in unique] == [len(keys) for keys in unique]
    assert {g for e in made.employees for g in e.groups} <= groups
    assert {g for u in made.looker_users for g in u.groups} <= {g.name for g in made.looker_groups}
    assert {r for u in made.looker_users for r in u.roles} <= {r.name for r in made.looker_roles}
    assert {g for u in made.teamcity_users for g in u.groups} <= {g.key for g in made.teamcity_groups}
    scopes = {"g", *(f"p:{p.id}" for p in made.teamcity_projects)}
    held = {role for u in made.teamcity_users for role in u.roles}
    assert {scope for _, scope in held} <= scopes
    assert {role for role, _ in held} <= {r.id for r in made.teamcity_roles}


def test_twenty_thousand_people_are_made_up_in_under_three_seconds() -> None:
    started = time.perf_counter()
    company(20_000)
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize("size", [0, 11, 100_001])
def test_a_size_out_of_bounds_is_refused_in_one_sentence(size: int) -> None:
    with pytest.raises(Misconfigured, match="12 to 100,000 people"):
        company(size)


def test_its_proportions_are_those_of_a_real_company(acme_2000: Company) -> None:
    assert 1_600 <= len(acme_2000.looker_users) <= 1_800
    assert 550 <= len(acme_2000.teamcity_users) <= 650
    statuses = Counter(e.status for e in acme_2000.employees)
    assert statuses["ACTIVE"] > 1_850
    assert 40 <= statuses["DEPROVISIONED"] <= 100
    memberships = sum(len(e.groups) for e in acme_2000.employees) / len(acme_2000.employees)
    assert 5 <= memberships <= 10


@pytest.mark.parametrize("size", [12, 40, 200, 500, 2_000, 20_000])
def test_most_people_are_in_order(size: int) -> None:
    made = company(size)
    assert 0 < len(people_of(made, harmless=False)) <= 0.15 * size
    assert len(people_of(made, harmless=True)) <= 0.2 * size


def test_every_kind_of_trouble_is_there_from_two_hundred_people_on() -> None:
    kinds = {s.kind for s in company(200).stories}
    assert kinds == {t.kind for t in TROUBLES} | ACCOUNT_ONLY | {"administrator"}
    with_filters = {s.kind for s in company(200, filters=True).stories}
    assert with_filters - kinds == {t.kind for t in regions.TROUBLES}
    assert kinds - with_filters == set()


def test_no_person_has_two_stories(acme_2000: Company) -> None:
    told = Counter(s.who for s in acme_2000.stories)
    assert [who for who, times in told.items() if times > 1] == []


def test_who_has_no_story_holds_exactly_what_the_policy_gives(acme_2000: Company) -> None:
    """The engine has a test of its own for this; here the policy is read by a dozen lines that know nothing of it."""
    policy = yaml.safe_load(acme_2000.policy)
    troubled = people_of(acme_2000, harmless=False)
    governed = deserved(policy, None, date.min)
    accounts = {
        "looker": {
            unicodedata.normalize("NFC", u.email).lower(): {*u.roles, *(f"group {g}" for g in u.groups)}
            for u in acme_2000.looker_users
        },
        "teamcity": {
            unicodedata.normalize("NFC", u.username).lower(): {*u.roles, *(f"group {g}" for g in u.groups)}
            for u in acme_2000.teamcity_users
        },
    }
    looked_at = 0
    for person in acme_2000.employees:
        if person.profile["login"] in troubled or person.status in ("STAGED", "ACTIVATING"):
            continue
        wanted = deserved(policy, person, date(2026, 11, 21))
        for target, held in accounts.items():
            has = held.get(person.profile["login"].lower(), set()) & governed[target]
            due = wanted[target] if person.status != "DEPROVISIONED" else set()
            assert has == due, person.profile["login"]
            looked_at += 1
    assert looked_at > 3_500


def test_a_broken_rule_is_there_only_when_it_is_asked_for() -> None:
    sound, broken = (yaml.safe_load(company(12, broken_rule=b).policy) for b in (False, True))
    groups = {name for name, _ in acme.SOURCE_GROUPS}

    def unknown(policy: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
        named = [rule["when"]["group"] for rule in policy["rules"] if "group" in rule["when"]]
        return [name for name in named if name not in groups]

    assert unknown(sound) == []
    assert unknown(broken) == ["Partners Abroad"]


def test_a_company_with_filters_is_the_same_but_for_regions_and_their_trouble() -> None:
    plain, filtered = company(400), company(400, filters=True)
    assert plain.looker_attributes == ()
    assert {u.attributes for u in plain.looker_users} == {()}
    assert filtered.stories[: len(plain.stories)] == plain.stories
    troubled = {s.who for s in filtered.stories if s.kind in {t.kind for t in regions.TROUBLES}}
    assert len(troubled) == 4
    accounts = {u.id: u for u in filtered.looker_users}
    for person, before in zip(filtered.employees, plain.employees, strict=True):
        account = accounts.get(str(FIRST_ID + int(person.profile["employeeNumber"]) - 10_000))
        if account is not None and person.profile["login"] not in troubled:
            assert dict(account.attributes) == {"region": person.profile["division"]}
        if person.profile["login"] not in troubled and person.status == before.status:
            assert person.groups == before.groups
            assert person.profile == before.profile | {"division": person.profile["division"]}


def test_regions_filter_rows_where_the_policy_says_so_and_nowhere_else() -> None:
    for made in (company(12), company(12, filters=True)):
        given = [g for rule in yaml.safe_load(made.policy)["rules"] for g in rule["give"] if "attributes" in str(g)]
        assert given == [{"looker": {"attributes": {"region": "$profile.division"}}}] * len(made.looker_attributes)
        urls = dict.fromkeys(("okta", "looker", "teamcity"), "http://127.0.0.1")
        looker = yaml.safe_load(settings_yaml(urls, made.policy))["targets"]["looker"]
        assert ("attributes" in looker) is bool(made.looker_attributes)


LOOKALIKES = {
    "mixed-case address": "one after lower case",
    "combining marks": "one after composing",
    "full-width letter": "one only under NFKC",
    "sharp s": "one only under case folding",
}


@pytest.mark.parametrize("kind", LOOKALIKES)
def test_an_address_that_looks_alike_is_alike_in_the_way_its_story_says(kind: str) -> None:
    made = company(400)
    story = next(s for s in made.stories if s.kind == kind)
    person = next(e for e in made.employees if e.profile["login"] == story.who)
    login = person.profile["login"]

    def nfc_lower(text: str) -> str:
        return unicodedata.normalize("NFC", text).lower()

    folds = {
        "one after lower case": (str.lower, str),
        "one after composing": (nfc_lower, str.lower),
        "one only under NFKC": (lambda t: unicodedata.normalize("NFKC", t), nfc_lower),
        "one only under case folding": (lambda t: nfc_lower(t).casefold(), nfc_lower),
    }
    alike, still_apart = folds[LOOKALIKES[kind]]
    matches = [u.email for u in made.looker_users if alike(u.email) == alike(login)]
    assert len(matches) == 1
    assert still_apart(matches[0]) != still_apart(login)


def test_a_shared_address_belongs_to_two_people_and_one_account(acme_2000: Company) -> None:
    told = {s.who for s in acme_2000.stories if s.kind == "shared address"}
    emails = [e.profile["email"] for e in acme_2000.employees if e.profile["login"] in told]
    assert len(told) == len(emails) == 2
    assert len(set(emails)) == 1
    assert len([u for u in acme_2000.looker_users if u.email == emails[0]]) == 1


def test_must_see_and_protected_name_what_is_there_at_every_size() -> None:
    for size in (12, 200):
        made = company(size)
        policy = yaml.safe_load(made.policy)
        logins = {e.profile["login"] for e in made.employees if e.status == "ACTIVE"}
        assert set(policy["must_see"]["okta"]["people"]) <= logins
        assert set(policy["must_see"]["okta"]["groups"]) <= {g.name for g in made.source_groups}
        assert set(policy["protected"]["accounts"]["looker"]) <= {u.email for u in made.looker_users}
        assert set(policy["protected"]["accounts"]["teamcity"]) <= {u.username for u in made.teamcity_users}


def test_the_page_on_the_sandbox_names_every_kind_and_a_person_who_is_there() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
    made = company(200, filters=True)
    shown = page.partition("## What is wrong at Acme")[2].partition("And these look odd")[0]
    assert [s.kind for s in made.stories if s.kind not in HARMLESS and s.kind not in shown] == []
    leaver = page.partition("/api/v1/users/")[2].partition("/")[0]
    assert leaver in {e.profile["login"] for e in made.employees if e.status == "ACTIVE"}
