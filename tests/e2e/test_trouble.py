"""What goes wrong on an ordinary day, met by the real command: one message with the cure, and the next run goes on.

All three vendors are in the same trouble at once, since each is to say so for itself.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import Database, dsn
from tests.e2e.desk import Desk, Ended, sentences
from tests.e2e.nursery import Nursery, nursery
from worker import wiring
from worker.sandbox.world import World, settings_yaml

LISTS = {"okta": "/api/v1/users", "looker": "/api/4.0/users", "teamcity": "/app/rest/users"}
WRONG = {
    "SANDBOX_OKTA_TOKEN": "00wrong-okta-token",
    "SANDBOX_LOOKER_SECRET": "wrong-looker-secret",
    "SANDBOX_TEAMCITY_TOKEN": "wrong-teamcity-token",
}


@dataclass
class Office:
    """A settled company in which a few things are to be done; `said` is everything that any command ever told."""

    desk: Desk
    world: World
    nursery: Nursery
    folder: Path
    due: Any = None
    said: list[str] = field(default_factory=list)

    def trueup(self, *words: str, **environment: str) -> Ended:
        """The real command; a settings file of this test's own is named by TRUEUP_SETTINGS."""
        ended, _ = self.nursery.run(words, {**self.desk.environment, **environment}, self.folder)
        self.said += [ended.out, ended.err]
        return ended

    def fails(self, *words: str, **environment: str) -> str:
        """What it says on standard error when it ends with 1, which is never a traceback."""
        ended = self.trueup(*words, **environment)
        assert ended.code == 1, ended
        assert "Traceback" not in ended.out + ended.err
        assert "a fault of its own" not in ended.err, ended.err
        return ended.err

    def goes_on(self) -> None:
        """The next run knows exactly what was to be done before."""
        ended = self.trueup("plan", "--json")
        assert ended.code == 2, ended
        assert ended.json()["failures"] == []
        assert sentences(ended.json()) == self.due

    def variant(self, *edits: tuple[str, str]) -> str:
        """A settings file in which each text was replaced by another."""
        text = self.desk.settings.read_text(encoding="utf-8")
        for old, new in edits:
            assert old in text, old
            text = text.replace(old, new, 1)
        file = self.folder / "variant.yaml"
        file.write_text(text, encoding="utf-8")
        return str(file)


@pytest.fixture(scope="module")
def _office(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    with World.of(40).serve() as world, nursery() as forks:
        desk = Desk(world, module_database, folder / "desk").write_settings()
        office = Office(desk, world, forks, folder)
        assert office.trueup("check", "--accept-baseline").code == 0
        assert office.trueup("sync").code in (0, 2)
        leaver, hoarder = _both_accounts(world)[:2]
        world.okta.deactivate(_found(world.okta.directory.find(leaver)).id)
        world.looker.add_to_group(world.looker.instance.with_email(hoarder)[0].id, "Finance")
        world.teamcity.add_role(_found(world.teamcity.world.named(hoarder)).id, "PROJECT_DEVELOPER", "p:Payments")
        office.due = sentences(office.trueup("plan", "--json").json())
        assert all(office.due.values())
        yield office


@pytest.fixture
def office(_office: Office) -> Iterator[Office]:
    """Whole again after each test, as the next run shows."""
    yield _office
    for server in _office.world.servers:
        server.faults.clear()
    _office.goes_on()


def _found(thing: Any) -> Any:
    assert thing
    return thing


def _both_accounts(world: World) -> list[str]:
    """Logins of people without a story who have an account in either target."""
    told_of = {story.who for story in world.company.stories} | {"grace.okafor@acme.example"}
    logins = [employee.profile["login"] for employee in world.company.employees]
    return [
        login
        for login in logins
        if login not in told_of and world.looker.instance.with_email(login) and world.teamcity.world.named(login)
    ]


def told(said: str, connector: str) -> str:
    """The one line about a connector."""
    (line,) = [line for line in said.splitlines() if line.startswith(f"{connector}: ")]
    return line.removeprefix(f"{connector}: ")


def assert_each_says(said: str, what: str, cures: Mapping[str, str]) -> None:
    """What is wrong and how it is cured, as patterns; `{name}` in `what` is the connector's."""
    for connector, cure in cures.items():
        line = told(said, connector)
        assert connector in line.lower()
        assert re.search(what, line), line
        assert re.search(cure, line), line
        assert line.endswith((".", "?")), line


# --- the vendors -----------------------------------------------------------------------------------------------------

GATEWAY = "without a login gateway in front"
PROXY = "is a proxy or login page in front of it"
NO_WAIT = {
    "okta": {"x-rate-limit-limit": "600", "x-rate-limit-remaining": "0", "x-rate-limit-reset": "1"},
    "looker": {"retry-after": "0"},
    "teamcity": {"retry-after": "0"},
}
# What every list answers, what is said about it, and the cure.
ANSWERS: Mapping[str, tuple[Mapping[str, Any], str, str]] = {
    "a login page": ({"kind": "html"}, r"answered text/html instead of JSON", PROXY),
    "a redirect": (
        {"kind": "redirect", "text": "https://sso.acme.example/"},
        r"redirected to sso\.acme\.example, which Trueup never follows",
        GATEWAY,
    ),
    "half an answer": ({"kind": "truncate"}, r"JSON that is cut or broken", ""),
    "429": ({"kind": "status", "status": 429}, r"throttled by the vendor \(429", "Run it again later"),
    "500 without a body": ({"kind": "status", "status": 500}, r"failed at the vendor's side \(500: no explanation", ""),
    "a right taken away": (
        {"kind": "status", "status": 403, "text": '{"errorCode": "E0000006", "errorSummary": "No"}'},
        r"is not allowed .*\(403",
        r"Read-only Administrator|Give (looker|teamcity) the missing right",
    ),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_vendor_that_answers_so_is_named_with_the_cure(office: Office, answer: str) -> None:
    how, what, cure = ANSWERS[answer]
    faults = [
        server.break_(f"GET {LISTS[server.name]}", **how, headers=NO_WAIT[server.name])
        for server in office.world.servers
    ]
    assert_each_says(office.fails("plan"), what, dict.fromkeys(LISTS, cure))
    assert all(fault.fired for fault in faults)


def test_a_next_page_at_another_host_is_named(office: Office) -> None:
    elsewhere = '<https://elsewhere.invalid/api/v1/users?after=x>; rel="next"'
    fault = office.world.okta.break_("GET /api/v1/users", "status", status=200, text="[]", headers={"link": elsewhere})
    line = told(office.fails("plan"), "okta")
    assert "a link to another host (elsewhere.invalid); Trueup follows no such link" in line
    assert fault.fired


def test_wrong_credentials_are_named_with_what_to_renew(office: Office) -> None:
    cures = {
        "okta": "create another one and put it where `token` points",
        "looker": "Renew `client_id` and `client_secret` of looker",
        "teamcity": "Renew those of teamcity in trueup.yaml",
    }
    said = office.fails("plan", **WRONG)
    assert_each_says(said, r"refused our credentials \(401|knows no such API key", cures)
    assert not [wrong for wrong in WRONG.values() if wrong in said]


def test_a_gateway_that_repeats_our_credentials_does_not_make_us_repeat_them(office: Office) -> None:
    secrets = office.world.environment()
    for status in (403, 400):
        for server in office.world.servers:
            server.faults.clear()
            theirs = " ".join(secret for name, secret in secrets.items() if server.name.upper() in name)
            text = json.dumps({"message": theirs, "errorSummary": theirs, "errors": [{"message": theirs}]})
            server.break_(f"GET {LISTS[server.name]}", "status", status=status, text=text)
        said = office.fails("plan")
        assert all("[secret]" in told(said, connector) for connector in LISTS)
        assert not [secret for secret in secrets.values() if secret in said]


def test_a_host_that_is_down_is_named_with_what_to_look_at(office: Office) -> None:
    nowhere = dict.fromkeys(LISTS, f"http://127.0.0.1:{closed_port()}")
    edits = [(office.world.urls[name], url) for name, url in nowhere.items()]
    cures = {name: f"Is `url` of {name} right, and is it up" for name in LISTS}
    assert_each_says(office.fails("plan", TRUEUP_SETTINGS=office.variant(*edits)), "cannot be reached", cures)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_certificate_that_nobody_signed_is_named_with_ca_file(office: Office, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    twin = World.of(40)
    with ExitStack() as stack:
        for server in twin.servers:
            stack.enter_context(server.serve(certificate=(certificate, key)))
        settings = tmp_path / "tls.yaml"
        text = settings_yaml(twin.urls, twin.company.policy)
        settings.write_text(text, encoding="utf-8")
        said = office.fails("plan", TRUEUP_SETTINGS=str(settings))
        assert_each_says(
            said, "certificate cannot be trusted", {name: f"Set `ca_file` of {name}" for name in twin.urls}
        )
        settings.write_text(re.sub(r"(    url: .*)", rf"\1\n    ca_file: {certificate}", text), encoding="utf-8")
        trusting = office.fails("plan", TRUEUP_SETTINGS=str(settings), **twin.environment())
        assert "certificate" not in trusting
        assert "looker is not the installation it was" in told(trusting, "looker")


def self_signed(folder: Path) -> tuple[str, str]:
    """Files of a certificate for 127.0.0.1 and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody signed this")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(files[0]), str(files[1])


def test_an_account_without_its_role_is_told_which_one_it_needs(office: Office) -> None:
    own = office.world.looker.own_account
    office.world.looker.revoke_role(own, "Admin")
    assert "Admin role" in told(office.fails("plan"), "looker")
    office.world.looker.grant_role(own, "Admin")


CLONES: Mapping[str, Callable[[World, str], object]] = {
    "okta": lambda world, id: setattr(world.okta, "org_id", id),
    "teamcity": lambda world, id: setattr(world.teamcity, "internal_id", id),
}


@pytest.mark.parametrize("connector", CLONES)
def test_another_installation_behind_the_same_url_is_named(office: Office, connector: str) -> None:
    original = {"okta": office.world.okta.org_id, "teamcity": office.world.teamcity.internal_id}[connector]
    CLONES[connector](office.world, "00oclone")
    line = told(office.fails("plan"), connector)
    assert f"{connector} is not the installation it was: 00oclone answers, {original} is pinned" in line
    assert f"run `trueup check --repin {connector}`" in line
    CLONES[connector](office.world, original)


# --- the policy ------------------------------------------------------------------------------------------------------

# What is written instead of what, and what is said: where, what, the cure.
SLIPS = {
    "a group that Okta does not have": (
        ("group: Team Web}", "group: Team Wep}"),
        r'variant\.yaml:\d+: rule "web team" is suspended: okta has no group named "Team Wep"; did you mean "Team Web"',
    ),
    "a role that Looker does not have": (
        ("roles: [Analyst]", "roles: [Analist]"),
        r'variant\.yaml:\d+: rule "analysts" names what it cannot give: looker has no role "Analist"; did you mean',
    ),
    "a group that Looker does not have": (
        ("groups: [Engineering]", "groups: [Enginering]"),
        r'looker has no group "Enginering"; did you mean "Engineering"\?',
    ),
    "a role that TeamCity does not have": (
        ("role: RELEASE_ENGINEER", "role: RELEASE_ENGINER"),
        r'teamcity has no role "RELEASE_ENGINER"; did you mean "RELEASE_ENGINEER"\?',
    ),
    "a project that TeamCity does not have": (
        ("project: Payments", "project: Paymnts"),
        r'teamcity has no project "Paymnts"; did you mean "Payments"',
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_name_that_means_nothing_is_named_with_its_place(office: Office, slip: str) -> None:
    edit, pattern = SLIPS[slip]
    settings = office.variant(edit)
    assert re.search(pattern, office.fails("check", TRUEUP_SETTINGS=settings))
    ended = office.trueup("plan", "--json", TRUEUP_SETTINGS=settings)
    assert ended.code == 1
    assert any(re.search(pattern, guard) for target in ended.json()["targets"] for guard in target["guards"])


def test_a_rule_that_fits_nobody_is_named_and_is_no_error(office: Office) -> None:
    settings = office.variant(("attribute: department, is: Data}", "attribute: department, is: Astrology}"))
    ended = office.trueup("check", TRUEUP_SETTINGS=settings)
    assert ended.code == 0
    assert re.search(r'variant\.yaml:\d+: rule "?analysts"? fits nobody; is its condition right\?', ended.out)


# --- the settings ----------------------------------------------------------------------------------------------------

MISTAKES: Mapping[str, tuple[tuple[str, str], str]] = {
    "a key that nobody knows": (
        ("    token: ${env:SANDBOX_OKTA", "    tokn: ${env:SANDBOX_OKTA"),
        r"variant\.yaml:\d+: .*tokn",
    ),
    "a secret in the file itself": (("${env:SANDBOX_OKTA_TOKEN}", "00mysecrettoken"), r"variant\.yaml:\d+: .*token"),
    "a variable that is not set": (
        ("${env:SANDBOX_OKTA_TOKEN}", "${env:NOBODY_SET_THIS}"),
        r"the environment variable NOBODY_SET_THIS is not set; set it, or correct the reference",
    ),
    "a file that is not there": (
        ("${env:SANDBOX_OKTA_TOKEN}", "${file:/nowhere/token}"),
        r"\$\{file:/nowhere/token\}: the file cannot be read \(No such file or directory\)",
    ),
    "no YAML": (("mode: enforce", "mode: [enforce"), r"variant\.yaml:\d+"),
    "a mode that there is not": (("mode: enforce", "mode: enforse"), r"variant\.yaml:\d+: mode.*enforce"),
    "a type that there is not": (("type: okta", "type: octa"), r"variant\.yaml:\d+: .*okta"),
    "plain http": (("url: http://127.0.0.1", "url: http://10.0.0.1"), r"variant\.yaml:\d+: .*https://"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_settings_is_named_with_its_place(office: Office, mistake: str) -> None:
    edit, pattern = MISTAKES[mistake]
    said = office.fails("plan", TRUEUP_SETTINGS=office.variant(edit))
    assert re.search(pattern, said), said
    assert "00mysecrettoken" not in said


def test_settings_that_are_not_there_are_named(office: Office) -> None:
    said = office.fails("plan", TRUEUP_SETTINGS="/nowhere/trueup.yaml")
    assert "/nowhere/trueup.yaml" in said
    assert "trueup init" in said


# --- the database ----------------------------------------------------------------------------------------------------


def test_a_database_that_is_down_is_named(office: Office) -> None:
    url = f"postgresql://trueup:pa55word@127.0.0.1:{closed_port()}/trueup"
    for words in (("plan",), ("audit", "list"), ("db", "status")):
        said = office.fails(*words, **{wiring.DATABASE: url})
        assert re.search(r"127\.0\.0\.1:\d+/trueup", said), said
        assert "pa55word" not in said


ADDRESSES = {
    "no address": ("my database", r"no database URL; write postgresql://"),
    "another kind of database": ("mysql://me:pa55word@127.0.0.1/trueup", r"PostgreSQL only.*mysql"),
}


@pytest.mark.parametrize(("url", "pattern"), ADDRESSES.values(), ids=ADDRESSES.keys())
def test_a_wrong_database_address_is_named(office: Office, url: str, pattern: str) -> None:
    said = office.fails("plan", **{wiring.DATABASE: url})
    assert re.search(pattern, said), said
    assert "pa55word" not in said


def test_a_database_that_does_not_exist_is_named(office: Office) -> None:
    said = office.fails("plan", **{wiring.DATABASE: office.desk.database.named("no_such_books").worker_url})
    assert "the database or the login does not exist" in said
    assert "TRUEUP_DATABASE_URL" in said


def test_a_database_without_tables_names_the_command_that_makes_them(office: Office, database: Database) -> None:
    with empty_database(database) as empty:
        urls = {wiring.DATABASE: empty.worker_url, wiring.OWNER_DATABASE: empty.owner_url}
        assert "is empty, this Trueup needs" in office.fails("plan", **urls)
        assert "run `trueup db upgrade`" in office.fails("sync", **urls)
        assert office.trueup("db", "status", **urls).code == 1
        assert office.trueup("db", "upgrade", **urls).code == 0
        assert office.trueup("audit", "verify", **urls).code == 0


@contextmanager
def empty_database(database: Database) -> Iterator[Database]:
    with psycopg.connect(dsn(database.owner_url), autocommit=True) as connection:
        connection.execute("CREATE DATABASE trueup_test_without_tables")
        yield database.named("trueup_test_without_tables")
        connection.execute("DROP DATABASE trueup_test_without_tables")


def test_a_database_at_another_revision_stops_everything(office: Office, fresh_database: Database) -> None:
    with psycopg.connect(dsn(fresh_database.owner_url)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    urls = {wiring.DATABASE: fresh_database.worker_url, wiring.OWNER_DATABASE: fresh_database.owner_url}
    said = office.fails("sync", **urls)
    assert "is at revision 9999, this Trueup needs" in said
    assert "trueup db upgrade" in said
    assert "a newer one made it" in office.fails("db", "upgrade", **urls)


# --- saved plans -----------------------------------------------------------------------------------------------------


@pytest.fixture
def plan(office: Office) -> Path:
    file = office.folder / "plan.json"
    file.unlink(missing_ok=True)  # what is no saved plan is not overwritten
    assert office.trueup("plan", "--out", str(file)).code == 2
    return file


DAMAGES: Mapping[str, Callable[[str], str]] = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a list": lambda text: "[]",
    "something else": lambda text: '{"format": "something else"}',
    "most of it missing": lambda text: json.dumps({"format": json.loads(text)["format"]}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_plan_is_not_applied(office: Office, plan: Path, damage: str) -> None:
    plan.write_text(DAMAGES[damage](plan.read_text(encoding="utf-8")), encoding="utf-8")
    said = office.fails("apply", str(plan))
    assert "make one with `trueup plan --out FILE`" in said


def test_a_plan_that_is_not_there_is_named(office: Office) -> None:
    assert "The plan /nowhere/plan.json cannot be read" in office.fails("apply", "/nowhere/plan.json")


def test_a_plan_for_another_installation_is_not_applied(office: Office, plan: Path) -> None:
    saved = json.loads(plan.read_text(encoding="utf-8"))
    saved["instances"]["teamcity"] = "another-one"
    plan.write_text(json.dumps(saved), encoding="utf-8")
    assert "This plan is for another installation of teamcity (another-one" in office.fails("apply", str(plan))


def test_a_plan_from_before_a_change_of_the_policy_is_not_applied(office: Office, plan: Path) -> None:
    settings = office.variant(("group: Team Web}", "group: Team Mobile}"))
    said = office.fails("apply", str(plan), TRUEUP_SETTINGS=settings)
    assert "The policy has changed since this plan was saved; plan again" in said


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_no_secret_is_anywhere(office: Office) -> None:
    """Not in what was said in this whole module, not in the database, not in the trail that is given away."""
    exported = office.folder / "trail.jsonl"
    assert office.trueup("audit", "export", "--reveal", "--out", str(exported)).code == 0
    books = {**everything_in(office.desk.database), "the trail": exported.read_text(encoding="utf-8")}
    assert "entry" in books
    books["what was said"] = "\n".join(office.said)
    secrets = [*office.world.environment().values(), *WRONG.values(), "pa55word", "00mysecrettoken"]
    assert [(place, secret) for place, text in books.items() for secret in secrets if secret in text] == []


def everything_in(database: Database) -> dict[str, str]:
    """Every row of every table, as text, by table."""
    with psycopg.connect(dsn(database.owner_url)) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {
            str(name): "\n".join(str(row[0]) for row in connection.execute(f'SELECT t::text FROM "{name}" t'))
            for (name,) in tables
        }
