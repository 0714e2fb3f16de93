"""Whatever a vendor shows, allows or has at all: the receipt of an offboarding says what is so, and never more.

Each case turns one switch of the facts, offboards with the command, and lays the receipt beside the sandbox's truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Database
from tests.e2e.conftest import Copy
from tests.e2e.leaving import HEIR, LEAVERS, WHO, Scene, Stage, stage
from tests.e2e.nursery import Nursery
from tests.e2e.truth import lies
from worker.core.receipt import Fate
from worker.sandbox.teamcity.world import RECONCILER_ROLE

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("leavers")]

GONE, MANUAL, UNSEEN = Fate.GONE.value, Fate.MANUAL.value, Fate.UNSEEN.value
UNTIL, STAYS = Fate.UNTIL.value, Fate.STAYS.value
Turn = Callable[[Scene], object]


@pytest.fixture(scope="module")
def played(
    database: Database, _migrated: str, copied: Copy, forks: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with stage(database.named(_migrated), copied, forks, tmp_path_factory.mktemp("switches")) as made:
        yield made


def looker(**switches: Any) -> Turn:
    def turn(scene: Scene) -> None:
        for name, value in switches.items():
            setattr(scene.world.looker, name, value)

    return turn


def teamcity(**switches: Any) -> Turn:
    def turn(scene: Scene) -> None:
        for name, value in switches.items():
            setattr(scene.world.teamcity, name, value)

    return turn


def denied(*routes: str) -> Turn:
    """Our key's account lacks a right for these."""
    return looker(keys_closed=False, denied=frozenset(routes))


def lacking(*permissions: str) -> Turn:
    """Our account at TeamCity lost rights."""

    def turn(scene: Scene) -> None:
        scene.world.teamcity.world.roles[RECONCILER_ROLE].permissions.difference_update(permissions)

    return turn


def with_account(do: Callable[[Any, Any], object], target: str = "looker") -> Turn:
    """Something about their account there: `do(server, id)`."""

    def turn(scene: Scene) -> object:
        if target == "looker":
            return do(scene.world.looker, scene.looker_id())
        return do(scene.world.teamcity, scene.teamcity_id())

    return turn


@dataclass(frozen=True)
class Case:
    """A switch, and what a receipt has to say then: by target and key (or what it is about), fate and words."""

    turn: Turn
    says: Mapping[str, tuple[str, str]]
    settings: Mapping[str, Any] = field(default_factory=dict)


def furnish(scene: Scene) -> None:
    """Everything that somebody can have."""
    server, id = scene.world.looker, scene.looker_id()
    server.add_session(id)
    server.add_key(id)
    server.add_app("Sheets connector", id)
    server.grant_role(id, "Analyst")
    server.add_schedule(id, "Weekly numbers", HEIR)
    server.add_alert(id, "Orders below plan", HEIR)
    server.add_content(id, "dashboard", "Pipeline")
    number = scene.teamcity_id()
    scene.world.teamcity.set_field(number, "password", "open sesame")
    scene.world.teamcity.add_token(number, "laptop")
    user = scene.world.teamcity.world.users[number]
    user.sessions, user.remembered = 1, True


def mirrored(scene: Scene) -> None:
    """They are in a group that is managed at the identity provider."""
    scene.world.looker.add_to_group(scene.looker_id(), "Okta Sales")


def managed(scene: Scene) -> None:
    """Single sign-on hands out roles, and undoes others."""
    scene.world.looker.sso(set_roles_from_groups=True)
    scene.world.looker.instance.users[scene.looker_id()].roles_externally_managed = True


LOOKER = {
    "API keys of people are open to admins, before 26.8": Case(
        looker(keys_closed=False), {"looker api key:": (GONE, ""), "looker token:": (GONE, "")}
    ),
    "API keys of people are closed and hidden, from 26.8": Case(
        looker(keys_closed=True), {"looker API keys": (UNSEEN, "26.8")}
    ),
    "API keys of people are closed, and listed all the same": Case(
        looker(keys_closed=True, keys_listed=True), {"looker api key:": (MANUAL, "Leave account")}
    ),
    "API keys are closed and listed, and there is none": Case(
        lambda scene: (
            looker(keys_closed=True, keys_listed=True)(scene),
            scene.world.looker.instance.users[scene.looker_id()].keys.clear(),
        ),
        {"looker API keys": (UNSEEN, "26.8")},
    ),
    "a group that the identity provider manages": Case(
        mirrored, {"looker kept group Okta Sales": (STAYS, "change it there")}
    ),
    "another word for a group that the identity provider manages": Case(
        lambda scene: (mirrored(scene), looker(mirrored_status=422)(scene)),
        {"looker kept group Okta Sales": (STAYS, "change it there")},
    ),
    "roles that single sign-on manages": Case(managed, {"looker role:5": (MANUAL, "single sign-on")}),
    "sessions are not shown": Case(denied("GET /users/*/sessions"), {"looker web sessions": (UNSEEN, "role Admin")}),
    "sessions are shown, and cannot be ended": Case(
        denied("DELETE /users/*/sessions/*"), {"looker session:": (MANUAL, "by hand")}
    ),
    "keys are shown, and cannot be deleted": Case(
        denied("DELETE /users/*/credentials_api3/*"), {"looker api key:": (MANUAL, "")}
    ),
    "keys are not shown": Case(denied("GET /users/*/credentials_api3"), {"looker API keys": (UNSEEN, "")}),
    "tokens of apps are not shown": Case(
        denied("GET /oauth_client_apps"), {"looker tokens of OAuth apps": (UNTIL, "does not show")}
    ),
    "apps are shown without who uses them": Case(
        looker(hidden=frozenset({"activated_users"})), {"looker tokens of OAuth apps": (UNTIL, "does not show")}
    ),
    "tokens of apps cannot be ended": Case(
        denied("DELETE /oauth_client_apps/*"), {"looker token:": (MANUAL, "by hand")}
    ),
    "accounts cannot be disabled": Case(denied("PATCH /users/*"), {"looker account": (MANUAL, "by hand")}),
    "roles cannot be set": Case(denied("PUT /users/*/roles"), {"looker role:5": (MANUAL, "by hand")}),
    "groups cannot be left": Case(denied("DELETE /groups/*"), {"looker group:11": (MANUAL, "by hand")}),
    "schedules are not shown": Case(denied("GET /scheduled_plans"), {"looker schedules": (UNSEEN, "does not show")}),
    "alerts are not shown": Case(denied("GET /alerts/search"), {"looker alerts": (UNSEEN, "does not show")}),
    "dashboards are not shown": Case(
        denied("GET /dashboards/search"), {"looker dashboards": (UNSEEN, "does not show")}
    ),
    "schedules cannot be handed over": Case(
        denied("PATCH /scheduled_plans/*"), {"looker schedule ": (MANUAL, "could not be handed over")}
    ),
    "a second factor": Case(
        with_account(lambda server, id: server.add_second_factor(id)),
        {"looker kept second factor": (STAYS, "opens nothing")},
    ),
    "a link to single sign-on, kept": Case(
        with_account(lambda server, id: server.add_link(id, "saml")), {"looker kept SAML sign-on": (STAYS, "refused")}
    ),
    "a link to single sign-on, deleted": Case(
        with_account(lambda server, id: server.add_link(id, "saml")),
        {"looker sign-on:saml": (GONE, "")},
        {"targets": {"looker": {"sign_on_links": "delete"}}},
    ),
    "a link that Looker has no call for": Case(
        with_account(lambda server, id: server.add_link(id, "workforce")),
        {"looker kept workforce identity sign-on": (STAYS, "")},
        {"targets": {"looker": {"sign_on_links": "delete"}}},
    ),
    "a Look with a public link": Case(
        with_account(lambda server, id: server.add_content(id, "look", "Figures", public=True)),
        {"looker who uses the public link of Look Figures": (UNSEEN, "public")},
    ),
    "a schedule that leaves the company": Case(
        with_account(lambda server, id: server.add_schedule(id, "Press", "press@journal.example")),
        {"looker schedule ": (MANUAL, "outside the company")},
    ),
    "tokens that live for ten minutes": Case(
        looker(token_seconds=600), {"looker API logins that are under way": (UNTIL, "")}
    ),
    "an account that the policy protects": Case(
        looker(), {"looker account": (MANUAL, "protected")},
        {"protected": {"accounts": {"looker": [WHO, "reports@acme.example"]}}},
    ),
}  # fmt: skip

TEAMCITY = {
    "as it is": Case(teamcity(), {
        "teamcity sessions": (UNSEEN, "Trueup ended it"), "teamcity remembered logins": (UNSEEN, "Trueup ended it"),
        "teamcity password:password": (GONE, ""), "teamcity token:laptop": (GONE, ""),
        "teamcity sign-in over single sign-on": (UNSEEN, "cannot disable"),
        "teamcity secrets that the person knows": (UNSEEN, "secret"),
    }),
    "an old release without a call that ends sessions": Case(
        teamcity(logout_call=False, version="2024.03"), {"teamcity sessions": (UNSEEN, "log out all users")}
    ),
    "a newer release that lacks the call all the same": Case(
        teamcity(logout_call=False), {"teamcity sessions": (UNSEEN, "log out all users")}
    ),
    **{
        f"it does not show {what}": Case(
            teamcity(hidden=frozenset({name})), {f"teamcity {words}": (UNSEEN, "in silence")}
        )
        for name, what, words in (
            ("roles", "roles", "direct roles"), ("groups", "groups", "groups"),
            ("hasPassword", "passwords", "whether it has a password"),
            ("properties", "marks", "whether it is marked as suspended"),
        )
    },
    "errors are plain text, as before 2024": Case(
        teamcity(error_style="text"), {"teamcity password:password": (GONE, "")}
    ),
    "roles are not per project": Case(teamcity(per_project=False), {"teamcity role:": (GONE, "")}),
    "a token whose name no address can hold": Case(
        with_account(lambda server, id: server.add_token(id, "CI/CD"), "teamcity"),
        {"teamcity token:CI/CD": (MANUAL, "Access Tokens")},
    ),
}  # fmt: skip


# One of each kind at every change; the others take minutes together, and are in `make fleet`.
ALWAYS = frozenset({
    "API keys of people are open to admins, before 26.8", "API keys of people are closed and hidden, from 26.8",
    "API keys of people are closed, and listed all the same", "a group that the identity provider manages",
    "roles that single sign-on manages", "sessions are not shown", "accounts cannot be disabled",
    "schedules are not shown", "an account that the policy protects", "as it is",
    "an old release without a call that ends sessions", "it does not show roles",
})  # fmt: skip
assert {*LOOKER, *TEAMCITY} >= ALWAYS


@pytest.mark.parametrize("case", [
    pytest.param(case, id=name, marks=() if name in ALWAYS else pytest.mark.fleet)
    for name, case in {**LOOKER, **TEAMCITY}.items()
])  # fmt: skip
def test_the_receipt_says_what_is_so(played: Stage, case: Case, tmp_path: Path) -> None:
    with played.scene(leavers=LEAVERS, **case.settings) as scene:
        furnish(scene)
        case.turn(scene)
        before = scene.truth()
        scene.leaves()
        ended = scene.offboard()
        assert ended.out, ended
        receipt = scene.receipt()
        assert receipt == ended.json()
        assert lies(receipt, before, scene.truth()) == []
        for what, (fate, words) in case.says.items():
            found = [line for line in receipt["lines"] if f"{line['target']} {line['key']}".startswith(what)]
            found = found or [line for line in receipt["lines"] if f"{line['target']} {line['what']}" == what]
            assert found, (what, [line["key"] for line in receipt["lines"]])
            said = [(line["fate"], " ".join([line["because"], *line["hands"]])) for line in found]
            assert any(f == fate and words in s for f, s in said), said
        written(scene, receipt, tmp_path)


def written(scene: Scene, receipt: Mapping[str, Any], folder: Path) -> None:
    """On a terminal and as a page it says the same."""
    shown = scene.trueup("receipt", WHO).out
    assert receipt["headline"] in shown
    for line in receipt["lines"]:
        assert line["what"] in shown
        assert all(step in shown for step in line["hands"]) or line["fate"] != MANUAL
    assert scene.trueup("receipt", WHO, "--html", str(folder / "receipt.html")).code == 2
    assert receipt["headline"] in (folder / "receipt.html").read_text(encoding="utf-8")


CREDENTIALS = {
    "our account at Looker is no administrator any more": ("looker", lambda scene: scene.world.looker.revoke_role(
        scene.world.looker.own_account, "Admin"
    )),
    "our key of Looker is gone": ("looker", lambda scene: scene.world.looker.instance.users[
        scene.world.looker.own_account
    ].keys.clear()),
    "our account at TeamCity may change nobody": (
        "teamcity", lacking("change_user", "change_user_roles_in_project"),
    ),
    "our token of TeamCity has ended": ("teamcity", lambda scene: scene.world.teamcity.world.own.tokens.clear()),
}  # fmt: skip


@pytest.mark.parametrize(("target", "turn"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_where_our_credentials_will_not_do_the_receipt_says_that_it_is_not_finished_and_the_other_target_is(
    played: Stage, target: str, turn: Turn
) -> None:
    """It is tried again by itself for as long as it takes, so nobody waits for it here."""
    with played.scene(leavers=LEAVERS) as scene:
        furnish(scene)
        turn(scene)
        before = scene.truth()
        scene.leaves()
        assert scene.trueup("offboard", WHO, "--reason", "they left").code == 0
        assert scene.trueup("sync").code == 1
        receipt = scene.receipt()
        assert list(receipt["unfinished"]) == [target]
        assert f"{target} not finished" in receipt["headline"]
        assert not receipt["complete"]
        assert lies(receipt, before, scene.truth()) == []
        (other,) = {"looker", "teamcity"} - {target}
        assert any(key == "account" for (place, _), key in before.keys if place == other)
        assert not any(key == "account" for (place, _), key in scene.truth().keys if place == other)


STATUSES = {
    "ACTIVE": False, "LOCKED_OUT": False, "PASSWORD_EXPIRED": False, "RECOVERY": False, "SUSPENDED": False,
    "STAGED": False, "PROVISIONED": False, "DEPROVISIONED": True,
}  # fmt: skip


@pytest.mark.parametrize(("status", "departed"), STATUSES.items(), ids=STATUSES)
def test_whoever_the_source_does_not_call_departed_loses_nothing_and_it_says_so(
    played: Stage, status: str, departed: bool
) -> None:
    with played.scene(leavers=LEAVERS) as scene:
        scene.world.okta.set_status(scene.okta_id(), status)
        before = scene.truth()
        ended = scene.offboard()
        (row,) = scene.offboardings()
        if departed:
            assert (row.state, scene.truth() != before) == ("closed", True)
            return
        assert (row.state, ended.code) == ("not confirmed", 2)
        assert scene.truth() == before
        assert scene.log() == []
        assert status in ended.json()["said"]
        assert not ended.json()["complete"]
        assert ended.json()["headline"] == "Ended before it was done: not confirmed"
