"""The laws that every target keeps. A target's tests inherit `TargetContract` and provide a `rig`.

class TestMine(TargetContract):
    operations = (...)              # those that the target offers, out of OPERATIONS

    @pytest.fixture
    def rig(self) -> Iterator[Rig]: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest

from tests.reading import observed_pages, swept_pages
from worker.core.identity import ATTRIBUTE, Account, CatalogueItem, Entitlement, Trait
from worker.core.plan import Operation
from worker.errors import Denied, Paused, Refused, Rejected, TrueupError, Unknown
from worker.ports import Asked, Line, Made, Outcome, Step, Target, Task
from worker.sandbox.server import Fault, SandboxServer

OPERATIONS = ("disable", "enable", "update", "rename", "revoke", "create", "grant")
REPLACE = "replace"  # offered by targets that have attributes


@dataclass
class Rig:
    """A served sandbox, how to connect to it, and what lies about in it.

    `accounts` reads the sandbox's own state, as accounts with their direct entitlements; `remove` deletes an account by
    hand. `held` and `free` are entitlements that `somebody` has, and could be given. `unseen` are verbs whose effect
    the vendor does not show. `plant` gives `somebody` one of everything that a deep look finds. `mutating` is a fault's
    glob for calls that change something. `asked` are the attributes that an observation brings; `other` is another
    value of one of which `somebody` holds a value.
    """

    sandbox: SandboxServer
    connect: Callable[[Line], Target]
    secret: str
    somebody: str
    own: str
    held: Sequence[Entitlement]
    free: Sequence[Entitlement]
    profile: Mapping[str, str]
    new_login: str
    newcomer: Account
    accounts: Callable[[], dict[str, Account]]
    remove: Callable[[str], None]
    plant: Callable[[], None] = lambda: None
    unseen: frozenset[str] = frozenset()
    mutating: str = "[PD]*"
    asked: Asked = field(default_factory=Asked)
    other: Entitlement | None = None
    opened: list[Target] = field(default_factory=list)

    def target(self, line: Line = Line()) -> Target:
        """A connector of its own, logged in already, so that a fault hits what it is meant for."""
        target = self.connect(line)
        target.instance()
        self.opened.append(target)
        return target

    def close(self) -> None:
        for target in self.opened:
            target.close()


def observed(target: Target, asked: Asked = Asked()) -> tuple[dict[str, Account], dict[tuple[str, str], CatalogueItem]]:
    """Accounts by id, with their entitlements joined as the store joins them; and the catalogue."""
    accounts: dict[str, Account] = {}
    holdings: dict[str, set[Entitlement]] = {}
    traits: dict[str, set[Trait]] = {}
    valued: dict[str, set[str]] = {}
    catalogue: dict[tuple[str, str], CatalogueItem] = {}
    pages = observed_pages(target, asked)
    if asked:
        shown = [i.id for page in pages for i in page.catalogue if i.definition and i.definition.readable]
        pages += swept_pages(target, [account.id for page in pages for account in page.accounts], shown)
    for page in pages:
        for account in page.accounts:
            seen = accounts.get(account.id)
            accounts[account.id] = replace(account, traits=account.traits | seen.traits) if seen else account
        for id, held in page.holdings:
            holdings.setdefault(id, set()).add(held)
        for id, trait in page.traits:
            traits.setdefault(id, set()).add(trait)
        for id, attribute in page.valued:
            valued.setdefault(id, set()).add(attribute)
        catalogue |= {(item.kind, item.id): item for item in page.catalogue}
        assert all(check.passed for check in page.checks)
    joined = {
        id: replace(
            a,
            entitlements=frozenset(holdings.pop(id, ())),
            traits=a.traits | traits.pop(id, set()),
            known=frozenset(valued.pop(id, ())),
        )
        for id, a in accounts.items()
    }
    assert not holdings, "a holding of an account that was not listed"
    assert not traits, "a trait of an account that was not listed"
    assert not valued, "a value of an account that was not listed"
    return joined, catalogue


def read_all(target: Target, asked: Asked) -> None:
    target.instance()
    observed(target, asked)


def prepare(rig: Rig, target: Target, operation: str) -> tuple[Account, list[Task]]:
    """The account as a plan would see it, and the tasks that bring the operation about."""
    account = target.account(rig.somebody)
    assert account is not None
    match operation:
        case "disable":
            return account, [Task("t1", Operation.DISABLE)]
        case "enable":
            make(rig, target, target.steps(account, [Task("t0", Operation.DISABLE)]))
            now = target.account(rig.somebody)
            assert now is not None
            return now, [Task("t1", Operation.ENABLE)]
        case "update":
            return account, [Task("t1", Operation.UPDATE, fields=rig.profile)]
        case "rename":
            return account, [Task("t1", Operation.UPDATE, fields={"login": rig.new_login})]
        case "revoke":
            return account, [Task(f"t{n}", Operation.REVOKE, held) for n, held in enumerate(rig.held)]
        case "create":
            return rig.newcomer, [Task("t1", Operation.CREATE)]
        case "grant":
            return account, [Task(f"t{n}", Operation.GRANT, free) for n, free in enumerate(rig.free)]
        case "replace":
            return account, [Task("t1", Operation.REPLACE, rig.other)]
    raise AssertionError(operation)


def wanted(rig: Rig, account: Account, operation: str) -> Callable[[Account], bool]:
    """What must hold of the account when the operation has been done."""
    match operation:
        case "disable":
            return lambda now: not now.active
        case "enable":
            return lambda now: now.active
        case "update":
            return lambda now: rig.profile.items() <= now.profile.items()
        case "rename":
            return lambda now: now.login == rig.new_login
        case "revoke":
            return lambda now: now.entitlements == account.entitlements - set(rig.held)
        case "create":
            return lambda now: (
                (now.login, now.profile, now.entitlements) == (account.login, account.profile, account.entitlements)
            )
        case "grant":
            return lambda now: now.entitlements == account.entitlements | set(rig.free)
        case "replace":
            return lambda now: now.entitlements == _replaced(account, rig.other)
    raise AssertionError(operation)


def _replaced(account: Account, value: Entitlement | None) -> set[Entitlement]:
    assert value is not None
    return {e for e in account.entitlements if e.bare != value.bare} | {value}


def make(rig: Rig, target: Target, steps: Sequence[Step]) -> list[Made]:
    """Every step to its end, as the flow makes them. No apply may send more than one mutating request."""
    results: list[Made] = []
    created = ""
    for step in steps:
        while True:
            before = len(rig.sandbox.log)
            made = target.apply(replace(step, account_id=step.account_id or created))
            assert len(rig.sandbox.log) - before <= 1, f"more than one mutation: {step.sentence}"
            created = made.account_id or created
            results.append(made)
            if not made.again:
                break
    return results


def deep(rig: Rig, target: Target) -> tuple[Account, list[Task]]:
    """The account with everything that lets its owner in, and the tasks that take all of it but roles and groups."""
    rig.plant()
    account = target.belongings(rig.somebody).account
    assert account is not None
    doors = sorted(e for e in account.entitlements if e.kind not in ("role", "group"))
    assert doors
    return account, [Task(f"t{n}", Operation.REVOKE, door) for n, door in enumerate(doors)]


def struck(rig: Rig, kind: str, **how: object) -> Fault:
    """The next mutation is hit, and no other."""
    return rig.sandbox.break_(rig.mutating, kind, times=1, **how)


class TargetContract:
    """See the module."""

    operations: ClassVar[Sequence[str]] = OPERATIONS

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "operation" in metafunc.fixturenames:
            metafunc.parametrize("operation", metafunc.cls.operations)

    # --- reading ---

    def test_what_is_observed_is_what_the_server_holds(self, rig: Rig) -> None:
        accounts, _ = observed(rig.target(), rig.asked)
        assert accounts == rig.accounts()

    def test_everything_held_is_in_the_catalogue(self, rig: Rig) -> None:
        accounts, catalogue = observed(rig.target(), rig.asked)
        held = {e for account in accounts.values() for e in account.entitlements}
        assert held
        assert {(e.kind, e.id) for e in held} <= catalogue.keys()
        assert {("scope", e.scope) for e in held if e.scope and e.kind != ATTRIBUTE} <= catalogue.keys()

    def test_one_account_reads_as_it_does_among_all(self, rig: Rig) -> None:
        target = rig.target()
        accounts, _ = observed(target, rig.asked)
        assert {id: target.account(id) for id in accounts} == accounts

    def test_an_account_that_is_gone_is_none(self, rig: Rig) -> None:
        target = rig.target()
        rig.remove(rig.somebody)
        assert target.account(rig.somebody) is None
        assert rig.somebody not in observed(target, rig.asked)[0]

    def test_our_own_account_is_known(self, rig: Rig) -> None:
        target = rig.target()
        accounts, _ = observed(target, rig.asked)
        ours = [id for id, account in accounts.items() if Trait.OURSELVES in account.traits]
        assert ours == [rig.own] == [target.instance().own_account]
        assert target.instance().id

    def test_reading_changes_nothing(self, rig: Rig) -> None:
        target = rig.target()
        observed(target, rig.asked)
        list(target.probe())
        target.account(rig.somebody)
        assert rig.sandbox.log == []

    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param({"kind": "status", "status": 403}, id="forbidden"),
            pytest.param({"kind": "status", "status": 404}, id="not found"),
            pytest.param({"kind": "status", "status": 503, "headers": {"Retry-After": "0"}}, id="unavailable"),
            pytest.param({"kind": "html"}, id="a login page"),
            pytest.param({"kind": "redirect", "text": "https://elsewhere.invalid/login"}, id="redirected"),
            pytest.param({"kind": "truncate"}, id="cut in half"),
            pytest.param({"kind": "misshapen"}, id="another shape"),
        ],
    )
    def test_no_read_that_fails_passes_for_an_empty_one(self, rig: Rig, fault: dict[str, object]) -> None:
        rig.sandbox.reads.clear()
        observed(rig.target(), rig.asked)
        paths = [path for path, count in rig.sandbox.reads.items() if count]
        assert paths
        for path in paths:
            target = rig.connect(Line())
            rig.opened.append(target)
            broken = rig.sandbox.break_(f"GET {path}", **fault)  # type: ignore[arg-type]
            with pytest.raises(TrueupError):
                read_all(target, rig.asked)
            assert broken.fired, path
            rig.sandbox.faults.clear()

    def test_a_paused_connector_sends_nothing(self, rig: Rig) -> None:
        stopped = False

        def refuse_if_stopped(_bucket: str) -> None:
            if stopped:
                raise Paused("paused")

        target = rig.target(Line(before=refuse_if_stopped))
        account, tasks = prepare(rig, target, "revoke")
        steps = target.steps(account, tasks)
        stopped = True
        reads = rig.sandbox.reads.total()
        for step in steps:
            with pytest.raises(Paused):
                target.apply(step)
        with pytest.raises(Paused):
            observed(target, rig.asked)
        assert rig.sandbox.log == []
        assert rig.sandbox.reads.total() == reads

    # --- changing ---

    def test_an_operation_is_done_and_done_twice_is_already_so(self, rig: Rig, operation: str) -> None:
        target = rig.target()
        account, tasks = prepare(rig, target, operation)
        steps = target.steps(account, tasks)
        assert steps
        assert {t.id for t in tasks} == {id for step in steps for id in step.tasks}
        others = {id: a for id, a in rig.accounts().items() if id != account.id}
        first = make(rig, target, steps)
        assert Outcome.APPLIED in {made.outcome for made in first}
        id = account.id or next(made.account_id for made in first if made.account_id)
        now = target.account(id)
        assert now is not None
        assert wanted(rig, account, operation)(now)
        assert now == rig.accounts()[id]
        assert {i: a for i, a in rig.accounts().items() if i != id} == others, "somebody else was changed"
        again = make(rig, target, [step for step in steps if step.verb not in rig.unseen])
        assert {made.outcome for made in again} == {Outcome.ALREADY_SO}
        assert rig.accounts()[id] == now

    def test_a_lost_answer_is_unknown_and_then_found_applied(self, rig: Rig, operation: str) -> None:
        target = rig.target()
        account, tasks = prepare(rig, target, operation)
        created, struck_some = "", False
        for step in target.steps(account, tasks):
            if step.verb in rig.unseen:
                continue
            step = replace(step, account_id=step.account_id or created)
            changes = len(rig.sandbox.log)
            fault = struck(rig, "drop-after")
            try:
                made = target.apply(step)
            except Unknown:
                assert fault.fired
                struck_some = True
                seen = len(rig.sandbox.log)
                made = target.settled(step)
                assert made.outcome is Outcome.FOUND_APPLIED, step.sentence
                assert len(rig.sandbox.log) == seen == changes + 1
            else:
                assert made.outcome is Outcome.ALREADY_SO
                assert not fault.fired
            created = made.account_id or created
            rig.sandbox.faults.clear()
            assert target.apply(replace(step, account_id=step.account_id or created)).outcome is Outcome.ALREADY_SO
        assert struck_some

    def test_a_request_that_never_arrived_is_unknown_and_then_found_not_applied(self, rig: Rig, operation: str) -> None:
        target = rig.target()
        account, tasks = prepare(rig, target, operation)
        changes = len(rig.sandbox.log)
        for step in target.steps(account, tasks)[:1]:
            fault = struck(rig, "drop")
            with pytest.raises(Unknown):
                target.apply(step)
            assert fault.fired
            assert target.settled(step).outcome is Outcome.FOUND_NOT_APPLIED
            assert len(rig.sandbox.log) == changes
            assert target.apply(step).outcome is Outcome.APPLIED

    def test_an_answer_of_yes_is_not_believed_unread(self, rig: Rig, operation: str) -> None:
        target = rig.target()
        account, tasks = prepare(rig, target, operation)
        step = target.steps(account, tasks)[0]
        fault = struck(rig, "status", status=200, text='{"id": 0}')
        with pytest.raises((Unknown, Rejected)):
            target.apply(step)
        assert fault.fired

    @pytest.mark.parametrize("nth", range(7))
    def test_no_read_that_fails_after_a_mutation_hides_it(self, rig: Rig, operation: str, nth: int) -> None:
        """Whichever read fails: either nothing was sent, or the outcome is unknown."""
        target = rig.target()
        account, tasks = prepare(rig, target, operation)
        step = target.steps(account, tasks)[0]
        changes = len(rig.sandbox.log)
        fault = rig.sandbox.break_("GET *", "status", status=403, skip=nth)
        try:
            made = target.apply(step)
        except Unknown:
            assert fault.fired
        except TrueupError:
            assert fault.fired
            assert len(rig.sandbox.log) == changes
        else:
            assert made.outcome is Outcome.APPLIED
            assert not fault.fired

    def test_a_refusal_by_the_vendor_leaves_the_account_as_it_was(self, rig: Rig, operation: str) -> None:
        target = rig.target()
        account, tasks = prepare(rig, target, operation)
        step = target.steps(account, tasks)[0]
        before = rig.accounts()
        fault = struck(rig, "status", status=400, text="no")
        with pytest.raises(Rejected):
            target.apply(step)
        assert fault.fired
        assert rig.accounts() == before

    def test_what_is_not_held_is_revoked_without_a_call(self, rig: Rig) -> None:
        self._already_so(rig, Operation.REVOKE, rig.free)

    def test_what_is_held_is_granted_without_a_call(self, rig: Rig) -> None:
        self._already_so(rig, Operation.GRANT, rig.held)

    def _already_so(self, rig: Rig, operation: Operation, entitlements: Sequence[Entitlement]) -> None:
        target = rig.target()
        account = target.account(rig.somebody)
        assert account is not None
        # As a plan made from an older read would see it, so that there is something to do.
        stale = account.entitlements ^ frozenset(entitlements)
        tasks = [Task(f"t{n}", operation, e) for n, e in enumerate(entitlements)]
        for step in target.steps(replace(account, entitlements=stale), tasks):
            assert target.apply(step).outcome is Outcome.ALREADY_SO
        assert rig.sandbox.log == []

    # --- guards ---

    @pytest.mark.parametrize("kind", ["disable", "update", "revoke", "grant"])
    def test_our_own_account_is_never_changed(self, rig: Rig, kind: str) -> None:
        target = rig.target()
        somebody, tasks = prepare(rig, target, kind)
        own = rig.accounts()[rig.own]
        for step in target.steps(replace(somebody, id=rig.own), tasks):
            with pytest.raises(Refused):
                target.apply(step)
        assert rig.sandbox.log == []
        assert rig.accounts()[rig.own] == own

    def test_an_account_that_is_gone_is_not_changed(self, rig: Rig) -> None:
        target = rig.target()
        account, tasks = prepare(rig, target, "grant")
        steps = target.steps(account, tasks)
        rig.remove(rig.somebody)
        for step in steps:
            with pytest.raises((Refused, Rejected)):
                target.apply(step)
            assert target.settled(step).outcome is Outcome.FOUND_NOT_APPLIED
        assert rig.sandbox.log == []

    def test_no_message_holds_our_secret(self, rig: Rig) -> None:
        for status, path in ((401, "GET *"), (400, "GET *"), (503, "GET *")):
            target = rig.target()
            fault = rig.sandbox.break_(
                path, "status", status=status, text=f"bad token {rig.secret}", headers={"Retry-After": "0"}
            )
            with pytest.raises(TrueupError) as error:
                observed(target, rig.asked)
            assert fault.fired
            assert rig.secret not in str(error.value)
            rig.sandbox.faults.clear()

    def test_bad_credentials_are_denied(self, rig: Rig) -> None:
        target = rig.target()
        account, tasks = prepare(rig, target, "revoke")
        step = target.steps(account, tasks)[0]
        fault = rig.sandbox.break_("* *", "status", status=401, text="who are you?")
        with pytest.raises(Denied):
            observed(target, rig.asked)
        with pytest.raises(Denied):
            target.apply(step)
        assert fault.fired
        assert rig.sandbox.log == []

    # --- the deep look ---

    def test_belongings_are_the_account_and_more_and_each_has_words(self, rig: Rig) -> None:
        target = rig.target()
        rig.plant()
        seen = target.belongings(rig.somebody)
        account = target.account(rig.somebody)
        assert seen.account is not None
        assert account is not None
        rights = frozenset(e for e in seen.account.entitlements if e.kind in ("role", "group", ATTRIBUTE))
        assert replace(seen.account, entitlements=rights, known=account.known) == account
        assert account.known <= seen.account.known
        assert rights < seen.account.entitlements
        assert {e.bare.key for e in seen.account.entitlements} | seen.kept.keys() == seen.labels.keys()
        assert seen.until.keys() <= seen.labels.keys()
        assert all(words.strip() for words in (*seen.labels.values(), *seen.kept.values()))
        assert not {e.key for e in seen.account.entitlements} & seen.kept.keys()
        assert rig.sandbox.log == []

    def test_a_key_leads_back_to_what_it_is_of(self, rig: Rig) -> None:
        account, _ = deep(rig, rig.target())
        assert {Entitlement.parse(e.key) for e in account.entitlements} == account.entitlements

    def test_nobody_has_belongings_who_is_gone(self, rig: Rig) -> None:
        target = rig.target()
        rig.remove(rig.somebody)
        assert target.belongings(rig.somebody).account is None

    def test_every_door_is_shut_by_a_step_of_its_own_and_then_not_seen_again(self, rig: Rig) -> None:
        target = rig.target()
        account, tasks = deep(rig, target)
        steps = target.steps(account, tasks)
        assert sorted(id for step in steps for id in step.tasks) == sorted(t.id for t in tasks)
        assert all(account.id in step.sentence for step in steps)
        make(rig, target, steps)
        seen = target.belongings(rig.somebody)
        assert seen.account is not None
        blind = {unseen.key for unseen in seen.unseen if unseen.key}
        assert {e.key for e in seen.account.entitlements if e.kind not in ("role", "group")} == blind
        changes = len(rig.sandbox.log)
        again = make(rig, target, [step for step in steps if step.verb not in rig.unseen])
        assert {made.outcome for made in again} == {Outcome.ALREADY_SO}
        assert len(rig.sandbox.log) == changes

    @pytest.mark.parametrize("kind", ["drop", "drop-after"])
    def test_a_door_whose_answer_was_lost_is_looked_at_again(self, rig: Rig, kind: str) -> None:
        target = rig.target()
        account, tasks = deep(rig, target)
        for step in target.steps(account, tasks):
            if step.verb in rig.unseen:
                continue
            fault = struck(rig, kind)
            with pytest.raises(Unknown):
                target.apply(step)
            assert fault.fired
            wanted = Outcome.FOUND_APPLIED if kind == "drop-after" else Outcome.FOUND_NOT_APPLIED
            assert target.settled(step).outcome is wanted, step.sentence
            rig.sandbox.faults.clear()
            target.apply(step)
            assert target.settled(step).outcome is Outcome.FOUND_APPLIED, step.sentence

    @pytest.mark.parametrize("nth", range(6))
    def test_no_read_that_fails_around_a_door_hides_that_it_was_shut(self, rig: Rig, nth: int) -> None:
        target = rig.target()
        account, tasks = deep(rig, target)
        for step in target.steps(account, tasks):
            changes = len(rig.sandbox.log)
            fault = rig.sandbox.break_("GET *", "status", status=403, skip=nth)
            try:
                target.apply(step)
            except Unknown:
                assert fault.fired
            except TrueupError:
                assert fault.fired
                assert len(rig.sandbox.log) == changes, step.sentence
            rig.sandbox.faults.clear()

    def test_what_our_rights_do_not_show_is_never_nothing(self, rig: Rig) -> None:
        """Whichever read is forbidden: the look says so, or it is none."""
        target = rig.target()
        rig.plant()
        rig.sandbox.reads.clear()
        whole = target.belongings(rig.somebody)
        paths = [path for path, count in rig.sandbox.reads.items() if count]
        assert len(paths) > 1
        for path in paths:
            fault = rig.sandbox.break_(f"GET {path}", "status", status=403)
            try:
                seen = target.belongings(rig.somebody)
            except Denied:
                pass
            else:
                said = set(seen.unseen) - set(whole.unseen)
                assert said, path
                assert all(unseen.hands for unseen in said), path
            assert fault.fired, path
            rig.sandbox.faults.clear()

    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param({"kind": "status", "status": 429, "headers": {"Retry-After": "0"}}, id="throttled"),
            pytest.param({"kind": "html"}, id="a login page"),
            pytest.param({"kind": "truncate"}, id="cut in half"),
            pytest.param({"kind": "misshapen"}, id="another shape"),
        ],
    )
    def test_no_part_of_a_look_that_fails_passes_for_an_empty_one(self, rig: Rig, fault: dict[str, object]) -> None:
        """A later look is whole, or it raises, or says what cannot be read however often it is asked for."""
        target = rig.target()
        rig.plant()
        rig.sandbox.reads.clear()
        whole = target.belongings(rig.somebody, heirlooms=False)
        for path in [path for path, count in rig.sandbox.reads.items() if count]:
            broken = rig.sandbox.break_(f"GET {path}", **fault)  # type: ignore[arg-type]
            try:
                seen = target.belongings(rig.somebody, heirlooms=False)
            except TrueupError:
                pass
            else:
                assert fault["kind"] != "status", path
                said = set(seen.unseen) - set(whole.unseen)
                assert all("could not be read" in one.because and one.hands for one in said), path
                assert said, path
            assert broken.fired, path
            rig.sandbox.faults.clear()

    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param({"kind": "status", "status": 503, "headers": {"Retry-After": "0"}}, id="unavailable"),
            pytest.param({"kind": "status", "status": 400}, id="rejected"),
            pytest.param({"kind": "misshapen"}, id="another shape"),
        ],
    )
    def test_a_first_look_sees_the_account_whatever_else_cannot_be_read(
        self, rig: Rig, fault: dict[str, object]
    ) -> None:
        """So that the lock-out waits for nothing."""
        target = rig.target()
        rig.plant()
        rig.sandbox.reads.clear()
        whole = target.belongings(rig.somebody)
        paths = [path for path, count in rig.sandbox.reads.items() if count]
        blind = 0
        for path in paths:
            broken = rig.sandbox.break_(f"GET {path}", **fault)  # type: ignore[arg-type]
            try:
                seen = target.belongings(rig.somebody)
            except TrueupError:
                blind += 1
            else:
                assert seen.account is not None
                assert seen.account.active
                assert set(seen.unseen) - set(whole.unseen), path
                assert target.steps(seen.account, [Task("t", Operation.DISABLE)])
            assert broken.fired, path
            rig.sandbox.faults.clear()
        assert blind == 1 < len(paths), "only the account itself has to be read"

    @pytest.mark.parametrize("calls", [2, 4])
    def test_a_pause_ends_a_look(self, rig: Rig, calls: int) -> None:
        seen = 0

        def refuse_after_some(_bucket: str) -> None:
            nonlocal seen
            seen += 1
            if seen > calls:
                raise Paused("paused")

        paused = rig.connect(Line(before=refuse_after_some))
        rig.opened.append(paused)
        with pytest.raises(Paused):
            paused.belongings(rig.somebody)
        assert rig.sandbox.log == []

    def test_our_own_doors_are_never_shut(self, rig: Rig) -> None:
        target = rig.target()
        account, tasks = deep(rig, target)
        for step in target.steps(replace(account, id=rig.own), tasks):
            with pytest.raises(Refused):
                target.apply(step)
        assert rig.sandbox.log == []
        own = target.belongings(rig.own).account
        assert own is not None
        assert all(target.manual(own, task) for task in tasks)

    def test_an_account_is_found_by_its_login_whatever_the_case(self, rig: Rig) -> None:
        target = rig.target()
        account = target.account(rig.somebody)
        assert account is not None
        for spelt in (account.login.upper(), account.login.lower()):
            assert [a.id for a in target.accounts_of({"login": spelt})] == [rig.somebody]
            assert rig.somebody in [a.id for a in target.accounts_of({"login": "", "email": account.email.upper()})]
        assert target.accounts_of({"login": "nobody@acme.example", "email": "nobody@acme.example"}) == []
        assert target.accounts_of({"login": "", "email": " "}) == []
