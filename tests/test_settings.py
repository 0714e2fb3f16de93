"""What a right trueup.yaml comes to: defaults that are safe, names that are resolved, hashes that mean something."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from tests.settings_fakes import CONNECTORS, FAKES, POLICY, loaded
from worker.core import guardrails
from worker.core.identity import Account, Identity, Person, Reference, Standing
from worker.core.plan import Gate, Operation
from worker.core.policy import AllOf, AnyOf, AttributeIs, AttributeMatches, Everyone, GroupIs, NotOf
from worker.errors import Misconfigured
from worker.settings import load, starter


def test_without_a_word_about_it_nothing_happens_by_itself(tmp_path: Path) -> None:
    settings = loaded(tmp_path, POLICY).settings

    table = settings.gate_table()
    assert set(table.gates.values()) == {Gate.REVIEW}
    assert table.privileged is Gate.REVIEW
    assert settings.correlation_of("teamcity").trust == ("login",)
    assert settings.correlation_of("teamcity").propose == ("email",)
    assert settings.departure_authority() == "okta"
    assert settings.leavers.suspended == "disable"
    assert settings.limits.snapshot_age == dt.timedelta(hours=2)
    assert settings.timezone == "UTC"


@pytest.mark.parametrize(
    ("text", "operation", "gate"),
    [
        pytest.param("mode: review", Operation.GRANT, Gate.AUTO, id="review: gives by itself"),
        pytest.param("mode: review", Operation.REVOKE, Gate.REVIEW, id="review: a human approves what takes away"),
        pytest.param("mode: enforce", Operation.REVOKE, Gate.AUTO, id="enforce: acts"),
        pytest.param("mode: enforce", Operation.ENABLE, Gate.REVIEW, id="enforce: but asks before it unlocks"),
        pytest.param("mode: enforce", Operation.CREATE, Gate.REVIEW, id="enforce: and before it makes an account"),
        pytest.param("mode: enforce\ngates: {revoke: review}", Operation.REVOKE, Gate.REVIEW, id="a gate of its own"),
        pytest.param("gates: {grant: auto}", Operation.GRANT, Gate.AUTO, id="a gate opened in observe"),
    ],
)
def test_the_mode_is_a_preset_that_gates_refine(tmp_path: Path, text: str, operation: Operation, gate: Gate) -> None:
    assert loaded(tmp_path, text).settings.gate_table().gates[operation] is gate


def test_an_address_may_link_where_people_cannot_change_it(tmp_path: Path) -> None:
    found = loaded(tmp_path, "correlation: {looker: {trust: [login, email], propose: [name]}}\n").settings

    assert found.correlation_of("looker").trust == ("login", "email")


def test_bundles_become_what_they_name_in_every_target(tmp_path: Path) -> None:
    (rule,) = loaded(tmp_path, POLICY).rules

    assert rule.name == "developers"
    assert rule.when == GroupIs("Engineering", "okta")
    assert [(one.target, one.reference) for one in rule.give] == [
        ("looker", Reference("group", "Engineering")),
        ("teamcity", Reference("role", "PROJECT_DEVELOPER", "p:Web")),
    ]
    assert rule.where == "trueup.yaml:11"
    assert rule.give[1].where == "trueup.yaml:9"


@pytest.mark.parametrize(
    ("when", "condition"),
    [
        ("{group: A, id: g1}", GroupIs("A", "okta", "g1")),
        ('{group: "a-*"}', GroupIs("a-*", "okta")),
        ("{attribute: x, is: NO}", AttributeIs("x", ("NO",))),
        ("{attribute: x, is: 007}", AttributeIs("x", ("007",))),
        ("{attribute: x, is: 1.10}", AttributeIs("x", ("1.10",))),
        ("{attribute: x, is: 2026-01-01}", AttributeIs("x", ("2026-01-01",))),
        ('{attribute: x, is: "true"}', AttributeIs("x", ("true",))),
        ("{attribute: x, in: [a, b]}", AttributeIs("x", ("a", "b"))),
        ('{attribute: x, matches: "a*"}', AttributeMatches("x", ("a*",))),
        ('{attribute: x, matches: ["a*", b]}', AttributeMatches("x", ("a*", "b"))),
        ("{all: [{group: A}, {not: {group: B}}]}", AllOf((GroupIs("A", "okta"), NotOf(GroupIs("B", "okta"))))),
        ("{any: [{group: A}, {everyone: true}]}", AnyOf((GroupIs("A", "okta"), Everyone()))),
    ],
)
def test_a_condition_means_what_it_says(tmp_path: Path, when: str, condition: object) -> None:
    text = f"rules: [{{name: r, when: {when}, give: [{{looker: {{groups: [X]}}}}]}}]\n"

    assert loaded(tmp_path, text).rules[0].when == condition


def test_until_is_a_day_where_the_policy_lives(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "timezone: Pacific/Auckland\n").settings

    assert settings.today(dt.datetime(2026, 6, 1, 13, tzinfo=dt.UTC)) == dt.date(2026, 6, 2)


def test_a_limit_set_in_part_keeps_the_default_of_the_rest(tmp_path: Path) -> None:
    limits = loaded(tmp_path, "limits: {removals: {per_run: 7}, share: 2.5%, snapshot_age: 30m}\n").settings.limits

    assert (limits.removals.per_run, limits.removals.per_day) == (7, 100)
    assert limits.snapshot_age == dt.timedelta(minutes=30)
    core = limits.ceilings()
    assert core.share == 0.025
    assert core.ceilings[guardrails.Tally.REMOVALS] == guardrails.Ceiling(7, 100)
    assert set(core.ceilings) == set(guardrails.Tally)


def test_protected_names_are_known_by_login_address_or_id_in_any_case(tmp_path: Path) -> None:
    text = 'protected: {accounts: {looker: [Reports@acme.example, "svc-*", "42"]}, people: [boss@acme.example]}\n'
    protected = loaded(tmp_path, text).settings.protected

    def covers(id: str, login: str, email: str) -> bool:
        return protected.covers_account("looker", Account(id, login, email, True))

    assert covers("1", "reports@ACME.example", "")
    assert covers("1", "SVC-build", "x@acme.example")
    assert covers("42", "x", "x@acme.example")
    assert not covers("421", "x", "my-svc-x@acme.example")
    assert not protected.covers_account("teamcity", Account("42", "x", "", True))
    boss = Identity("okta", "u1", Standing.ACTIVE, "ACTIVE", "Boss@acme.example", "")
    assert protected.covers_person(Person("p", Standing.ACTIVE, (boss,)))
    assert not protected.covers_person(Person("p", Standing.ACTIVE, ()))


def test_privileged_and_released_are_in_the_targets_own_words(tmp_path: Path) -> None:
    found = loaded(tmp_path, "privileged: {looker: {roles: [Admin]}}\nreleased: {looker: {groups: [Old]}}\n")

    assert found.privileged == {"looker": (Reference("role", "Admin"),)}
    assert found.released == {"looker": (Reference("group", "Old"),)}


def test_several_files_are_read_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "10-connectors.yaml").write_text(CONNECTORS)
    (folder / "20-web.yaml").write_text("roles: {web: {looker: {groups: [W]}, teamcity: {}}}\n" + _rule("web"))
    (folder / "30-ops.yaml").write_text("\nroles: {ops: {looker: {groups: [O]}, teamcity: {}}}\n" + _rule("ops"))

    found = load(folder, FAKES)

    assert [(rule.name, rule.where) for rule in found.rules] == [
        ("web", "policy/20-web.yaml:3"),
        ("ops", "policy/30-ops.yaml:4"),
    ]
    assert list(found.settings.roles) == ["web", "ops"]
    assert found.places["roles.ops"] == "policy/30-ops.yaml:2"


def _rule(name: str) -> str:
    return f"rules:\n  - name: {name}\n    when: {{group: {name}}}\n    give: [{name}]\n"


@pytest.mark.parametrize(
    ("change", "policy_changes"),
    [
        pytest.param(("group: Engineering}", "group: Pilots}"), True, id="a condition"),
        pytest.param(("project: Web", "project: App"), True, id="what a bundle means"),
        pytest.param(("rules:", "mode: enforce\nrules:"), True, id="the mode"),
        pytest.param(("rules:", "limits: {share: 11%}\nrules:"), True, id="a limit"),
        pytest.param(("looker.test", "other.test"), True, id="another installation"),
        pytest.param(("type: looker,", "type: looker, create: email,"), True, id="whether accounts are created"),
        pytest.param(("type: looker,", "type: looker, timeout: 5,"), False, id="not how long we wait"),
        pytest.param(("LOOKER_SECRET", "OTHER"), False, id="not where a secret is"),
        pytest.param(("platform@", "web@"), False, id="not whom to ask"),
    ],
)
def test_the_policy_hash_changes_with_whatever_decides(
    tmp_path: Path, change: tuple[str, str], policy_changes: bool
) -> None:
    before, after = loaded(tmp_path, POLICY), loaded(tmp_path, POLICY.replace(*change), CONNECTORS.replace(*change))

    assert (before.policy_hash != after.policy_hash) is policy_changes
    assert before.settings_hash != after.settings_hash


def test_neither_comments_nor_the_order_of_rules_change_the_policy_hash(tmp_path: Path) -> None:
    one, other = _rule("a").removeprefix("rules:\n"), _rule("b").removeprefix("rules:\n")
    roles = "roles: {a: {looker: {groups: [A]}}, b: {looker: {groups: [B]}}}\nrules:\n"

    first, second = loaded(tmp_path, roles + one + other), loaded(tmp_path, f"# words\n{roles}{other}{one}")

    assert first.policy_hash == second.policy_hash


def test_the_hash_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = loaded(tmp_path, POLICY)
    monkeypatch.setenv("OKTA_TOKEN", "something else")

    assert loaded(tmp_path, POLICY).settings_hash == before.settings_hash


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        pytest.param(
            "roles: {dev: {looker: {groups: [X]}}}",
            'bundle "dev" means nothing in teamcity',
            id="a bundle without parity",
        ),
        pytest.param(
            "roles: {dev: {looker: {groups: [X]}, teamcity: {}}}", "no rule gives bundle", id="an unused bundle"
        ),
        pytest.param("mode: review", "there are no rules", id="no rules"),
        pytest.param("gates: {grant: auto}", "mode is observe, yet", id="an open gate in observe"),
    ],
)
def test_what_is_odd_but_right_is_a_warning(tmp_path: Path, text: str, warning: str) -> None:
    assert any(warning in one for one in loaded(tmp_path, text).warnings)


TWO_SOURCES = CONNECTORS.replace(
    "targets:", '  okta2: {type: okta, url: "https://emca.okta.test", token: "${env:OKTA_TOKEN}"}\ntargets:'
)


def test_several_sources_that_nothing_joins_are_a_warning(tmp_path: Path) -> None:
    rule = "rules: [{name: a, when: {everyone: true}, give: [{looker: {groups: [X]}}]}]\n"
    (warning,) = loaded(tmp_path, rule, TWO_SOURCES).warnings
    assert "there are several sources and no `joining`, so whoever is in two of them is two people" in warning
    assert loaded(tmp_path, rule + "joining: {propose: [email]}", TWO_SOURCES).warnings == ()


def test_nothing_in_a_target_on_purpose_is_no_warning(tmp_path: Path) -> None:
    text = POLICY.replace("teamcity: {roles: [{role: PROJECT_DEVELOPER, project: Web}]}", "teamcity: {}")

    assert loaded(tmp_path, text).warnings == ()


def test_the_file_that_init_writes_is_right_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "trueup.yaml"
    file.write_text(starter(), encoding="utf-8")

    found = load(file)

    assert found.warnings == ()
    assert len(found.rules) == 4
    with pytest.raises(Misconfigured, match="LOOKER_CLIENT_ID is not set"):
        found.targets["looker"].client_id.reveal()  # type: ignore[attr-defined]


def test_the_defaults_that_the_written_file_shows_are_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "trueup.yaml").write_text(starter(), encoding="utf-8")

    assert load(tmp_path / "trueup.yaml").settings.limits == loaded(tmp_path, POLICY).settings.limits
