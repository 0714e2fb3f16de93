"""A tiny Looker for the tests: each account and group is there for one reason, which its name tells."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from worker.core.identity import ATTRIBUTE, Account, Entitlement, Trait
from worker.core.plan import Operation
from worker.ports import Line, Made, Step, TargetPage, Task
from worker.references import SecretReference
from worker.sandbox.company import Company, LookerAttributeSpec, LookerGroupSpec, LookerRoleSpec, LookerUser
from worker.sandbox.looker import LookerSandbox
from worker.sandbox.looker.instance import User
from worker.sandbox.server import SandboxServer
from worker.targets.looker import Looker, Settings

os.environ.setdefault("LOOKER_TEST_ID", "looker-client")
os.environ.setdefault("LOOKER_TEST_SECRET", "looker-secret")

ROLES = (
    LookerRoleSpec("2", "Admin", ("administer", "sudo", "see_users"), ("all",)),
    LookerRoleSpec("3", "Viewer", ("access_data", "see_looks"), ("sales",)),
    LookerRoleSpec("4", "Developer", ("access_data", "develop"), ("sales",)),
    LookerRoleSpec("5", "Keeper", ("see_users", "manage_groups"), ()),
)
GROUPS = (
    LookerGroupSpec("10", "Engineering", (), ("Developer",)),
    LookerGroupSpec("11", "Platform", ("Engineering",)),
    LookerGroupSpec("12", "Wardens", (), ("Keeper",)),
    LookerGroupSpec("13", "Inner Wardens", ("Wardens",)),
    LookerGroupSpec("14", "Chiefs", (), ("Admin",)),
    LookerGroupSpec("15", "Inner Chiefs", ("Chiefs",)),
    LookerGroupSpec("16", "Okta Sales", (), ("Viewer",), mirrored=True),
)
ATTRIBUTES = (
    LookerAttributeSpec(
        "30", "region", "Region", default="NONE", groups=(("Platform", "EMEA"), ("Engineering", "AMER"))
    ),
    LookerAttributeSpec("31", "level", "Level", "number"),
)
ANN, BOB, CLEO, DORA, REPORTS, SUPPORT, EMBED, EVE, ROOT = (str(n) for n in range(20, 29))
USERS = (
    LookerUser(ANN, "Ann@acme.example", "Ann", "Lee", False, "standard", ("Viewer",), ("Platform",)),
    LookerUser(BOB, "bob@acme.example", "Bob", "Ray", False, "standard", (), ("Engineering", "Okta Sales")),
    LookerUser(CLEO, "cleo@acme.example", "Cleo", "Diaz", False, "standard", (), ("Inner Chiefs",)),
    LookerUser(DORA, "dora_x@acme.example", "Dora", "Eck", True, "standard", ("Viewer", "Developer"), ()),
    LookerUser(REPORTS, "", "Reports", "", False, "service", ("Viewer",), ()),
    LookerUser(SUPPORT, "help@vendor.example", "Vendor", "Help", False, "support", (), ()),
    LookerUser(EMBED, "", "Embedded", "", False, "embed", (), ("Engineering",)),
    LookerUser(EVE, "", "Eve", "Fox", False, "standard", ("Viewer",), ()),
    LookerUser(ROOT, "root@acme.example", "Root", "Gil", False, "standard", ("Admin",), ()),
)


def company(users: Sequence[LookerUser] = USERS) -> Company:
    return Company((), (), tuple(users), GROUPS, ROLES, (), (), (), (), "", looker_attributes=ATTRIBUTES)


def settings(sandbox: LookerSandbox, **more: object) -> Settings:
    given = {
        "type": "looker",
        "url": sandbox.url,
        "client_id": SecretReference("${env:LOOKER_TEST_ID}").reference,
        "client_secret": "${env:LOOKER_TEST_SECRET}",
        "create": "email",
        "timeout": 5,
    }
    return Settings.model_validate(given | more)


def impatient(sandbox: LookerSandbox, line: Line, **more: object) -> Looker:
    """A connector that waits hardly at all between its attempts."""
    return Looker("looker", settings(sandbox, **more), line, first_pause=0.001)


@contextmanager
def connected(sandbox: LookerSandbox, **more: object) -> Iterator[Looker]:
    target = impatient(sandbox, Line(), **more)
    try:
        yield target
    finally:
        target.close()


class Stage(SandboxServer):
    """One listening server on which every test puts a sandbox of its own, for stopping a server takes a while."""

    def app(self) -> Callable[[Scope, Receive, Send], Any]:
        async def whoever_is_on(scope: Scope, receive: Receive, send: Send) -> None:
            await self._on(scope, receive, send)

        return whoever_is_on

    def put(self, sandbox: LookerSandbox) -> LookerSandbox:
        sandbox.url, self._on = self.url, sandbox.app()
        return sandbox


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage()
    with made.serve():
        yield made


@pytest.fixture
def sandbox(stage: Stage) -> LookerSandbox:
    return stage.put(LookerSandbox(company()))


@pytest.fixture
def target(sandbox: LookerSandbox) -> Iterator[Looker]:
    with connected(sandbox) as connector:
        yield connector


def expected(sandbox: LookerSandbox, *attributes: str) -> dict[str, Account]:
    """What the sandbox itself knows, as accounts with their own values of attributes, by their ids."""
    return {user.id: _expected(sandbox, user, attributes) for user in sandbox.instance.users.values()}


KINDS = {"service": Trait.SERVICE, "support": Trait.SUPPORT, "embed": Trait.EMBED}


def _expected(sandbox: LookerSandbox, user: User, attributes: Sequence[str]) -> Account:
    world = sandbox.instance
    traits = {KINDS[user.kind]} if user.kind in KINDS else set()
    traits |= {Trait.ADMINISTRATOR} if world.is_admin(user) else set()
    traits |= {Trait.OURSELVES} if user.id == sandbox.own_account else set()
    mail = user.email or ""
    names = {"first_name": user.first_name, "last_name": user.last_name}
    groups = {group(id) for id in user.groups if not world.groups[id].include_by_default}
    values = {Entitlement(ATTRIBUTE, id, user.values[id]) for id in attributes if id in user.values}
    held = frozenset({*(role(id) for id in user.roles), *groups, *values})
    known = frozenset(attributes)
    return Account(user.id, mail, mail, not user.is_disabled, names, held, frozenset(traits), known=known)


def role(id: str) -> Entitlement:
    return Entitlement("role", id)


def group(id: str) -> Entitlement:
    return Entitlement("group", id)


def joined(read: Sequence[TargetPage]) -> dict[str, Account]:
    """All accounts of an observation with what they hold."""
    held: dict[str, set[Entitlement]] = {}
    for id, entitlement in (pair for page in read for pair in page.holdings):
        held.setdefault(id, set()).add(entitlement)
    traits: dict[str, set[Trait]] = {}
    for id, trait in (pair for page in read for pair in page.traits):
        traits.setdefault(id, set()).add(trait)
    return {
        account.id: replace(
            account,
            entitlements=frozenset(held.get(account.id, ())),
            traits=account.traits | traits.get(account.id, set()),
        )
        for page in read
        for account in page.accounts
    }


def task(operation: Operation, entitlement: Entitlement | None = None, **fields: str) -> Task:
    return Task(f"{operation}-{entitlement.key if entitlement else ''}", operation, entitlement, fields)


def seen(target: Looker, id: str) -> Account:
    account = target.account(id)
    assert account is not None
    return account


def newcomer(*entitlements: Entitlement, login: str = "new@acme.example") -> Account:
    """The account that somebody without one should get."""
    names = {"first_name": "Nia", "last_name": "Newman"}
    return Account("", login, login, True, names, frozenset(entitlements))


def do(target: Looker, account: Account, *tasks: Task) -> list[Made]:
    """Compile and make the steps; those without an account are made on the one that was created."""
    made: list[Made] = []
    created = ""
    for step in target.steps(account, tasks):
        made.append(target.apply(on(step, created)))
        created = created or made[-1].account_id
    return made


def on(step: Step, account_id: str) -> Step:
    return step if step.account_id else replace(step, account_id=account_id)


def shown(sandbox: LookerSandbox, id: str) -> dict[str, object]:
    user: dict[str, object] = sandbox.state()["users"][id]
    return user
