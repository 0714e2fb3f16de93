"""Attributes as data filters, end to end: what is read of them, what is set before anything is given, what is held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from tests.flows.rig import Clock, Rig, interrupted
from worker.core.drift import DriftKind
from worker.core.guardrails import State
from worker.core.plan import Operation
from worker.errors import Misshapen
from worker.flows.apply import apply, settle
from worker.flows.check import check
from worker.flows.crowd import gather
from worker.flows.reading import read
from worker.flows.reconcile import Reconciled, reconcile
from worker.flows.site import Site
from worker.flows.why import why
from worker.store import mirror, sweep

REGIONS = {"Berlin": "EMEA", "Lagos": "EMEA", "Lisbon": "EMEA", "Osaka": "APAC", "Toronto": "AMER"}
BY_OFFICE = [
    {
        "name": f"region of {office}",
        "when": {"group": f"Office {office}"},
        "give": [{"looker": {"attributes": {"region": region}}}],
    }
    for office, region in REGIONS.items()
]
BY_PROFILE = [
    {"name": "regions", "when": {"everyone": True}, "give": [{"looker": {"attributes": {"region": "$profile.office"}}}]}
]
ALLOWED = {"allow": ["EMEA", "APAC", "AMER"], "when_missing": "hold"}


@contextmanager
def opened(rig: Rig, rules: list[dict[str, Any]] | None = None, **changes: Any) -> Iterator[Site]:
    """Everything automatic and all limits wide, but for what a test is about; rules about regions beside the
    company's own."""
    known = yaml.safe_load(rig.world.settings_yaml())["rules"]
    wide, counted = {"per_run": 1000, "per_day": 1000}, ("removals", "disables", "privileged_grants", "departures")
    limits = {
        **{key: wide for key in counted},  # noqa: C420 (each is written out)
        "shrink": dict.fromkeys(("people", "groups", "memberships", "accounts"), "100%"),
        "share": "100%",
    }
    settings = {
        "rules": [*known, *(BY_OFFICE if rules is None else rules)],
        "gates": {"create": "auto", "enable": "auto"},
        "limits": limits,
        **changes,
    }
    looker = {"attributes": {"region": ALLOWED}, **settings.pop("looker", {})}
    with rig.open("enforce", targets={"looker": looker}, **settings) as site:
        yield site


@pytest.fixture
def region(rig: Rig) -> str:
    """The attribute's id."""
    return rig.world.looker.add_attribute("region", default="NONE")


def planned(site: Site) -> Reconciled:
    rig_clock = site.now
    assert isinstance(rig_clock, Clock)
    rig_clock.advance(minutes=1)
    for name in ("okta", "looker"):
        read(site, name)
    return reconcile(site, "looker", gather(site), "test")


def synced(site: Site) -> Reconciled:
    found = planned(site)
    apply(site, found.run_id)
    return found


def values(rig: Rig) -> dict[str, str]:
    """Own values by login, of everybody who has one."""
    users = rig.world.looker.state()["users"].values()
    return {user["email"]: user["attributes"]["region"] for user in users if user["attributes"]}


def changes(found: Reconciled, who: str) -> dict[str, tuple[State, str]]:
    """By operation and what it is about: what becomes of the changes of one person, by the address in the sentence."""
    return {
        f"{one.change.operation} {one.change.drift.entitlement.kind if one.change.drift.entitlement else ''}".strip(): (
            one.state, one.reason,
        )
        for one in found.judged
        if who in found.sentences[one.change.drift.key]
    }  # fmt: skip


def office_of(rig: Rig, login: str) -> str:
    employee = next(e for e in rig.world.company.employees if e.profile["login"] == login)
    return next(g.removeprefix("Office ") for g in employee.groups if g.startswith("Office "))


def ordinary(rig: Rig, site: Site) -> list[str]:
    """The logins of people in good order who have an account, by its id."""
    with site.begin() as session:
        mine = {a.login: int(a.id) for a in mirror.accounts(session, "looker")}
    storied = {story.who for story in rig.world.company.stories}
    fine = [e for e in rig.world.company.employees if e.status == "ACTIVE" and "Analytics Readers" in e.groups]
    return sorted({e.profile["login"] for e in fine} & mine.keys() - storied, key=lambda login: mine[login])


def somebody(rig: Rig, site: Site) -> str:
    return ordinary(rig, site)[0]


def test_an_office_becomes_a_row_filter_and_a_second_look_finds_nothing_to_do(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        first = synced(site)
        granted = [j for j in first.judged if j.change.of_attribute]
        assert granted
        assert {j.change.operation for j in granted} == {Operation.GRANT}
        again = planned(site)
        assert [again.sentences[j.change.drift.key] for j in again.judged if j.state is State.OPEN] == []
        login = somebody(rig, site)
        assert values(rig)[login] == REGIONS[office_of(rig, login)]
        assert f"grant attribute region = {values(rig)[login]} to" in " ".join(first.sentences.values())


def test_values_come_before_everything_else_that_an_account_is_given(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        synced(site)
        seen: dict[str, int] = {}
        for number, call in enumerate(rig.mutations()):
            parts = call.split("/")
            if "users" not in parts or "api" not in parts:
                continue
            id = parts[parts.index("users") + 1] if len(parts) > parts.index("users") + 1 else ""
            if "attribute_values" in call:
                assert id not in seen or seen[id] < 0, f"{call} after {rig.mutations()[seen[id]]}"
            elif call.startswith("PUT") and "roles" in call:
                seen.setdefault(id, number)


def test_another_value_is_overwritten_in_one_call(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        synced(site)
        login = somebody(rig, site)
        right = values(rig)[login]
        user = rig.looker_user(login)
        rig.world.looker.set_value(user.id, "region", "WORLD")
        before = len(rig.mutations())
        found = synced(site)
        assert list(changes(found, login)) == ["replace attribute"]
        assert rig.mutations()[before:] == [f"PATCH /api/4.0/users/{user.id}/attribute_values/{region}"]
        assert values(rig)[login] == right


def test_what_is_given_waits_until_another_value_is_approved(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        synced(site)
        login = somebody(rig, site)
    user = rig.looker_user(login)
    rig.world.looker.set_value(user.id, "region", "WORLD")
    rig.world.looker.remove_from_group(user.id, "Viewers")
    with opened(rig, gates={"create": "auto", "enable": "auto", "revoke": "review"}) as site:
        found = synced(site)
        told = changes(found, login)
        assert told["replace attribute"][0] is State.WAITING
        assert told["grant group"][0] is State.WAITING
        assert "a filter of the account has to be right first" in told["grant group"][1]
        assert (values(rig)[login], "Viewers" in rig.looker_groups(login)) == ("WORLD", False)


HOLDS: Mapping[str, tuple[str | None, str]] = {
    "has no office": (None, "the person has no office"),
    "has one that is not allowed": ("Moon", "`allow` does not have it"),
}


@pytest.mark.parametrize("how", HOLDS)
def test_whoever(rig: Rig, region: str, how: str) -> None:
    """...has no value that could be taken is given nothing, and loses what they are to lose."""
    office, reason = HOLDS[how]
    with opened(rig, []) as site:
        synced(site)
        login = somebody(rig, site)
    for employee in rig.world.company.employees:
        profile = {**employee.profile, "office": "EMEA"}
        if employee.profile["login"] == login:
            profile = {**employee.profile, **({"office": office} if office else {})}
        rig.world.okta.set_profile(employee.id, profile)
    user = rig.looker_user(login)
    rig.world.looker.remove_from_group(user.id, "Viewers")
    rig.world.looker.add_to_group(user.id, "Finance")
    with opened(rig, BY_PROFILE) as site:
        found = synced(site)
        told = changes(found, login)
        assert told["grant group"][0] is State.WAITING
        assert reason in told["grant group"][1]
        held = [d for d in found.standing if d.kind is DriftKind.HELD_VALUE and reason in d.detail]
        assert [d.account_id for d in held] == [user.id]
        assert login not in values(rig)
        assert "Viewers" not in rig.looker_groups(login)
        assert "Finance" not in rig.looker_groups(login), "what is taken is taken"
        rig.world.looker.set_value(user.id, "region", "AMER")
        assert changes(synced(site), login)["grant group"][0] is State.OPEN, "it has a value of its own, which stays"
        assert values(rig)[login] == "AMER"


def test_a_value_that_no_rule_gives_is_taken_when_a_human_has_said_so(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        synced(site)
        login = somebody(rig, site)
    with opened(rig, []) as site:
        found = planned(site)
        (told,) = (s for s in found.sentences.values() if login in s and "attribute region" in s)
        assert told.startswith("revoke attribute region = ")
        assert told.endswith("because it left the policy (it then has NONE by default)")
        assert changes(found, login) == {"revoke attribute": (State.WAITING, "a human has to approve it")}


def test_a_leavers_values_are_taken_with_the_rest(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        synced(site)
        login = somebody(rig, site)
        rig.world.okta.deactivate(rig.okta_id(login))
        synced(site)
        assert login not in values(rig)
        assert rig.looker_user(login).is_disabled


def test_a_group_that_gives_the_value_saves_everybody_one_of_their_own(rig: Rig, region: str) -> None:
    rig.world.looker.set_group_values("region", Running_Club="EMEA")
    with opened(rig, []) as site:
        synced(site)
        login = somebody(rig, site)
        rig.world.looker.add_to_group(rig.looker_user(login).id, "Running Club")
    everybody = [{"name": "all", "when": {"everyone": True}, "give": [{"looker": {"attributes": {"region": "EMEA"}}}]}]
    with opened(rig, everybody) as site:
        found = planned(site)
        assert [j for j in found.judged if j.change.of_attribute]
        assert changes(found, login) == {}


# --- the sweep -------------------------------------------------------------------------------------------------------


def reads_of(rig: Rig) -> int:
    return sum(number for path, number in rig.world.looker.reads.items() if path.endswith("/attribute_values"))


def test_a_policy_without_attributes_reads_none(rig: Rig, region: str) -> None:
    with opened(rig, []) as site:
        synced(site)
    assert not [path for path in rig.world.looker.reads if "attribute" in path]


def test_so_many_accounts_are_read_at_a_time_and_the_longest_unread_come_first(rig: Rig, region: str) -> None:
    with opened(rig, looker={"attribute_reads": 7}) as site:
        read(site, "okta")
        for expected in (7, 14, 21):
            rig.clock.advance(minutes=1)
            before = reads_of(rig)
            read(site, "looker")
            assert reads_of(rig) - before == 7
            with site.begin() as session:
                assert sweep.freshness(session, "looker").known == expected
        while reads_of(rig) < 60:
            rig.clock.advance(minutes=1)
            read(site, "looker")
        with site.begin() as session:
            oldest = sweep.freshness(session, "looker").oldest
        assert oldest
        rig.clock.advance(minutes=1)
        read(site, "looker")
        with site.begin() as session:
            now_oldest = sweep.freshness(session, "looker").oldest
        assert now_oldest
        assert now_oldest > oldest, "those that were read longest ago"


def test_a_value_that_was_not_read_again_is_carried_forward(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        synced(site)
        read(site, "looker")
        login = somebody(rig, site)
        before = values(rig)[login]
    rig.clock.advance(minutes=1)
    with opened(rig, looker={"attribute_reads": 1}) as site:
        read(site, "looker")
        read(site, "looker")
        with site.begin() as session:
            account = next(a for a in mirror.accounts(session, "looker") if a.login == login)
        assert account.own(region) == before
        assert set(account.known) == {region}


def test_whoever_has_never_been_read_is_given_nothing_yet(rig: Rig, region: str) -> None:
    with opened(rig, []) as site:
        synced(site)
        login = ordinary(rig, site)[-1]
    rig.world.looker.remove_from_group(rig.looker_user(login).id, "Viewers")
    with opened(rig, looker={"attribute_reads": 1}) as site:
        ((state, reason),) = changes(planned(site), login).values()
        assert state is State.WAITING
        assert "have not been read yet" in reason


def test_what_was_changed_is_read_again_first(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        synced(site)
        read(site, "looker")
        login = somebody(rig, site)
    user = rig.looker_user(login)
    rig.world.looker.set_value(user.id, "region", "WORLD")
    with opened(rig) as site:
        synced(site)
        with site.begin() as session:
            assert sweep.read_at(session, "looker", user.id) == {}
    rig.clock.advance(minutes=1)
    with opened(rig, looker={"attribute_reads": 1}) as site:
        found = planned(site)
        assert [found.sentences[j.change.drift.key] for j in found.judged if j.state is State.OPEN] == []
        with site.begin() as session:
            assert set(sweep.read_at(session, "looker", user.id)) == {region}


# --- crashes ---------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


def test_a_worker_that_dies_after_the_filter_leaves_the_rest_to_the_next(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        synced(site)
        login = somebody(rig, site)
        user, right = rig.looker_user(login), values(rig)[login]
        rig.world.looker.set_value(user.id, "region", "WORLD")
        rig.world.looker.remove_from_group(user.id, "Viewers")
        found = planned(site)

        def die() -> None:
            raise Killed

        with pytest.raises(Killed):
            apply(interrupted(site, "looker", die), found.run_id)
        assert (values(rig)[login], "Viewers" in rig.looker_groups(login)) == (right, False)
        rig.clock.advance(hours=1)
        with site.begin() as session:
            session.execute(text("UPDATE lease SET expires_at = clock_timestamp()"))
        assert any("found applied" in told for told in settle(site, "looker"))
        synced(site)
        assert "Viewers" in rig.looker_groups(login)


def test_when_the_filter_is_refused_nothing_is_given(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        synced(site)
        login = somebody(rig, site)
        user = rig.looker_user(login)
        rig.world.looker.set_value(user.id, "region", "WORLD")
        rig.world.looker.remove_from_group(user.id, "Viewers")
        found = planned(site)
        fault = rig.world.looker.break_(f"PATCH */users/{user.id}/attribute_values/*", "status", status=422)
        apply(site, found.run_id)
        assert fault.fired
        assert "Viewers" not in rig.looker_groups(login)
        fault.times = 0
        synced(site)
        assert "Viewers" in rig.looker_groups(login)


def test_no_part_of_a_plan_gives_without_its_filter(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        synced(site)
        login = somebody(rig, site)
        user = rig.looker_user(login)
        rig.world.looker.set_value(user.id, "region", "WORLD")
        rig.world.looker.remove_from_group(user.id, "Viewers")
        found = planned(site)
        gives = {found.fingerprints[j.change.drift.key] for j in found.judged if not j.change.of_attribute}
        done = apply(site, found.run_id, only=frozenset(gives))
        assert any("a filter of the account has to be right first" in problem for problem in done.problems)
        assert "Viewers" not in rig.looker_groups(login)


# --- what people are told --------------------------------------------------------------------------------------------


def test_why_says_where_the_effective_value_comes_from(rig: Rig, region: str) -> None:
    rig.world.looker.set_group_values("region", Running_Club="AMER", Viewers="WORLD")
    with opened(rig) as site:
        synced(site)
        login = somebody(rig, site)
        user, own = rig.looker_user(login), values(rig)[login]
        (unread,) = observed(site, login)
        assert (
            unread == "looker: attribute region: its own value has not been read yet; without one it has WORLD by"
            " group Viewers (rank 2)"
        )
        planned(site)
        (told,) = observed(site, login)
        assert told.startswith(f"looker: attribute region = {own}, its own value, read 2026-")
        assert told.endswith("; without it: WORLD by group Viewers (rank 2)")
        rig.world.looker.set_value(user.id, "region", None)
        rig.world.looker.add_to_group(user.id, "Running Club")
        planned(site)
        (told,) = observed(site, login)
        over = "AMER by group Running Club (rank 1) over group Viewers (rank 2: WORLD)"
        assert told.startswith(f"looker: attribute region is {over}; no value of its own, read 2026-")
        desired = why(site, login, "region").steps["desired"]
        assert desired == [f"looker: attribute region = {own}, given by region of {office_of(rig, login)}"]


def observed(site: Site, login: str) -> list[str]:
    return [line for line in why(site, login, "region").steps["observed"] if line.startswith("looker: attribute")]


def test_check_says_of_how_many_the_values_are_known(rig: Rig, region: str) -> None:
    with opened(rig, looker={"attribute_reads": 7}) as site:
        planned(site)
        notices = [notice.text for name, notice in check(site).notices if name == "looker"]
    assert any(text.startswith("Own attribute values are known of 14 accounts, the longest unread") for text in notices)
    assert any("have not been read yet" in text for text in notices)


# --- secrecy ---------------------------------------------------------------------------------------------------------


def test_no_entry_of_the_trail_has_a_value_but_as_something_personal(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        synced(site)
        facts = [str(entry.facts) for entry in rig.trail(site)]
    assert any(f"attribute:{region}" in one for one in facts)
    assert not [one for one in facts if "EMEA" in one or "APAC" in one]


def test_a_hidden_attribute_is_one_finding_and_holds_everybody_it_is_for(rig: Rig) -> None:
    rig.world.looker.add_attribute("region", default="hush", hidden=True)
    with opened(rig) as site:
        found = synced(site)
        assert any(
            'attribute "region" of looker cannot be given: its values are hidden' in one for one in found.tripped
        )
        assert values(rig) == {}
        assert not [path for path in rig.world.looker.reads if path.endswith("/attribute_values")]
        assert not [d for d in found.standing if d.kind is DriftKind.HELD_VALUE]
        with site.begin() as session:
            dumped = str(session.execute(text("SELECT definition FROM catalogue_item")).all())
    assert "hush" not in dumped


def test_a_read_with_a_value_of_unknown_origin_becomes_nothing(rig: Rig, region: str) -> None:
    with opened(rig) as site:
        row = f'[{{"user_attribute_id":"{region}","source":"oracle","value":"x","value_is_hidden":false}}]'
        fault = rig.world.looker.break_("GET */attribute_values", "misshapen", text=row)
        with pytest.raises(Misshapen, match="oracle"):
            read(site, "looker")
        assert fault.fired
        with site.begin() as session:
            assert mirror.current_snapshot(session, "looker") is None
