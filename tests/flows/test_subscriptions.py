"""The orders by which a source's vendor tells us of changes: made, renewed at half of their life, never forgotten."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import Database
from tests.console.outside import CONNECTORS, GRAPH, INTAKE, OLD_GRAPH, SECRETS, TENANT, rows
from tests.flows.rig import NOON, Clock
from tests.settings_fakes import loaded
from worker.console import metrics
from worker.errors import Denied, Misconfigured, Missing, Refused, Rejected, TrueupError, Unavailable
from worker.flows import check, jobs, subscriptions
from worker.flows.site import Nudge, Site
from worker.ports import Instance, Subscription
from worker.store.session import Store

URL = "https://trueup.acme.test/v1/hooks/graph/entra"
DAY = dt.timedelta(days=1)


@dataclass
class FakeGraph:
    """What Graph keeps of our orders; `fault` is raised by the next call of that name, `log` is what was called."""

    clock: Clock
    resources: Sequence[str] = ("users",)
    life: dt.timedelta = dt.timedelta(minutes=41_760)
    orders: dict[str, tuple[Subscription, str, str]] = field(default_factory=dict)
    faults: dict[str, TrueupError] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def _called(self, what: str) -> None:
        self.log.append(what)
        if fault := self.faults.pop(what.partition(" ")[0], None):
            raise fault

    def standing(self, url: str) -> Sequence[Subscription]:
        self._called("standing")
        return [order for order, to, _ in self.orders.values() if to == url and order.expires_at > self.clock()]

    def make(self, resource: str, url: str, secret: str, until: dt.datetime) -> Subscription:
        self._called(f"make {resource}")
        order = Subscription(str(uuid.uuid4()).upper(), resource, until)
        self.orders[order.id.lower()] = (order, url, secret)
        return order

    def renew(self, id: str, until: dt.datetime) -> Subscription:
        self._called("renew")
        if id.lower() not in self.orders:
            raise Missing("no such subscription", 404)
        order, url, secret = self.orders[id.lower()]
        self.orders[id.lower()] = (Subscription(order.id, order.resource, until), url, secret)
        return self.orders[id.lower()][0]

    def end(self, id: str) -> None:
        self._called("end")
        self.orders.pop(id.lower(), None)


@dataclass
class Tenant:
    """One Trueup with an Entra source, and the Graph that it asks."""

    site: Site
    graph: FakeGraph
    nudges: list[Nudge]

    def keep(self) -> None:
        subscriptions.keep(self.site, "entra")

    def one(self) -> tuple[Subscription, str, str]:
        (found,) = self.graph.orders.values()
        return found

    def notices(self) -> list[str]:
        return [notice.text for notice in subscriptions.notices(self.site, "entra")]


Open = Callable[..., Tenant]


@pytest.fixture
def tenant_with(fresh_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """`tenant_with(INTAKE)`: with these settings; the same database, clock and Graph each time."""
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    clock = Clock()
    graph, nudges = FakeGraph(clock), list[Nudge]()
    with closing(Store(fresh_database.worker_url)) as store:

        def opened(intake: str = INTAKE, id: str = TENANT) -> Tenant:
            entra: Any = SimpleNamespace(
                name="entra", subscriptions=graph, instance=lambda: Instance(id, "app"), close=lambda: None
            )
            settings = loaded(tmp_path, intake, CONNECTORS)
            site = Site(
                settings, store, {"entra": entra}, {}, "schedule", f"test {uuid.uuid4()}", clock, send=nudges.append
            )
            return Tenant(site, graph, nudges)

        yield opened


@pytest.fixture
def tenant(tenant_with: Open) -> Tenant:
    return tenant_with()


def test_what_is_missing_is_ordered_with_our_address_and_secret_for_as_long_as_may_be(tenant: Tenant) -> None:
    tenant.keep()

    order, url, secret = tenant.one()
    assert (order.resource, url, secret) == ("users", URL, GRAPH)
    assert order.expires_at == NOON + dt.timedelta(minutes=41_760)
    found = rows(tenant.site.store, "SELECT source, resource, vendor_id, tenant, failure FROM subscription")
    assert found == [("entra", "users", order.id.lower(), TENANT, "")]
    assert GRAPH not in str(rows(tenant.site.store, "SELECT row_to_json(subscription)::text FROM subscription"))
    assert tenant.notices() == []


def test_what_happened_before_there_was_an_order_a_read_finds(tenant: Tenant) -> None:
    tenant.keep()

    assert rows(tenant.site.store, "SELECT name FROM job") == [("pull entra",)]
    assert tenant.nudges == [Nudge("read", ("pull entra",))]


def test_what_stands_is_left_alone_until_half_of_its_life_is_over_and_then_renewed(tenant: Tenant) -> None:
    tenant.keep()
    clock = tenant.graph.clock
    clock.advance(days=14)
    tenant.keep()
    assert tenant.graph.log == ["standing", "make users", "standing"]

    clock.advance(days=1)
    tenant.keep()
    tenant.keep()

    assert tenant.graph.log[3:] == ["standing", "renew", "standing"]
    assert tenant.one()[0].expires_at == clock() + tenant.graph.life


@pytest.mark.parametrize("how", ["lapsed", "removed", "gone at the moment of renewal"])
def test_what_went_without_a_word_is_ordered_anew(tenant: Tenant, how: str) -> None:
    tenant.keep()
    if how == "lapsed":
        tenant.graph.clock.advance(days=30)
    elif how == "removed":
        tenant.graph.orders.clear()
    else:
        tenant.graph.clock.advance(days=20)
        tenant.graph.faults["renew"] = Missing("no such subscription", 404)

    tenant.keep()

    assert tenant.graph.log.count("make users") == 2
    assert not tenant.graph.faults
    ((known,),) = rows(tenant.site.store, "SELECT vendor_id FROM subscription")
    assert known in tenant.graph.orders


def test_an_order_that_a_killed_pass_left_behind_is_ended(tenant: Tenant) -> None:
    stray = tenant.graph.make("users", URL, GRAPH, NOON + DAY)

    tenant.keep()

    assert stray.id.lower() not in tenant.graph.orders
    assert len(tenant.graph.orders) == 1


def test_an_order_to_another_address_than_ours_is_nobodys_business_here(tenant: Tenant) -> None:
    tenant.graph.make("users", "https://somebody.else.test/v1/hooks/graph/entra", "x", NOON + DAY)

    tenant.keep()

    assert len(tenant.graph.orders) == 2


CHANGED = {
    "the secret": (INTAKE.replace('["${env:GRAPH_HOOK}", "${env:OLD_GRAPH}"]', '"${env:OLD_GRAPH}"'), OLD_GRAPH, URL),
    "the address": (
        INTAKE.replace("https://trueup.acme.test", "https://new.acme.test"), GRAPH,
        "https://new.acme.test/v1/hooks/graph/entra",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGED)
def test_when_the_settings_change_a_new_order_stands_before_the_old_one_ends(tenant_with: Open, what: str) -> None:
    settings, secret, url = CHANGED[what]
    tenant_with().keep()

    tenant = tenant_with(settings)
    tenant.keep()

    assert tenant.one()[1:] == (url, secret)
    assert tenant.graph.log[-2:] == ["make users", "end"]


def test_another_tenant_is_given_no_order_of_ours(tenant_with: Open) -> None:
    tenant_with().keep()

    with pytest.raises(Refused, match="not the installation it was"):
        tenant_with(id="6b1a3f0e-0000-4000-8000-00000000ffff").keep()


FAULTS = {
    "no right to it": ("make", Denied("Entra refuses: Authorization_RequestDenied.")),
    "nobody at our address": ("make", Rejected("Graph could not reach https://trueup.acme.test.", 400)),
    "Graph is away": ("make", Unavailable("Graph is away.", 30)),
}


@pytest.mark.parametrize(("call", "fault"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_ordered_is_said_by_check_until_it_can(tenant: Tenant, call: str, fault: TrueupError) -> None:
    tenant.graph.faults[call] = fault

    with pytest.raises(type(fault)):
        tenant.keep()

    assert not tenant.graph.faults, "the fault has fired"
    (said,) = tenant.notices()
    assert said.startswith("Changes of users cannot be subscribed to:")
    assert str(fault) in said
    tenant.keep()
    assert tenant.notices() == []


def test_a_renewal_that_fails_leaves_the_order_and_says_until_when_it_stands(tenant: Tenant) -> None:
    tenant.keep()
    tenant.graph.clock.advance(days=15)
    tenant.graph.faults["renew"] = Unavailable("Graph is away.", 30)

    with pytest.raises(Unavailable):
        tenant.keep()

    assert "what was ordered stands until 2026-12-20 12:00 UTC" in tenant.notices()[0]
    tenant.keep()
    assert tenant.notices() == []


def test_one_resource_that_cannot_be_had_keeps_no_other_from_being_ordered(tenant: Tenant) -> None:
    tenant.graph.resources = ("groups", "users")
    tenant.graph.faults["make"] = Denied("Entra refuses.")

    with pytest.raises(Denied):
        tenant.keep()

    assert [order.resource for order, _, _ in tenant.graph.orders.values()] == ["users"]


def test_check_says_that_nothing_was_ordered_yet_and_that_an_order_has_lapsed(tenant: Tenant) -> None:
    assert tenant.notices() == ["Its changes were not subscribed to yet."]

    tenant.keep()
    tenant.graph.clock.advance(days=30)

    assert tenant.notices() == ["The subscription to changes of users has lapsed."]


def test_check_says_it_with_everything_else_about_the_source(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    entra: Any = tenant.site.sources["entra"]
    entra.probe = tuple
    monkeypatch.setattr(check, "read", lambda *_, **__: (_ for _ in ()).throw(Unavailable("not now")))

    found = check.check(tenant.site)

    assert ("entra", "Its changes were not subscribed to yet.") in [(name, n.text) for name, n in found.notices]


def test_a_source_without_an_address_is_left_alone(tenant_with: Open) -> None:
    tenant = tenant_with("hooks: {okta: {secret: '${env:OKTA_HOOK}'}}")

    assert tenant.notices() == []
    with pytest.raises(Misconfigured, match="no address at which entra could tell us"):
        tenant.keep()


def test_a_connector_that_cannot_order_is_said_by_its_place(tenant: Tenant) -> None:
    bare: Any = SimpleNamespace(name="entra", instance=lambda: Instance(TENANT, "app"))
    tenant.site.sources["entra"] = bare  # type: ignore[index]

    with pytest.raises(Misconfigured, match=r"trueup\.yaml:\d+: hooks\.entra: entra cannot be asked"):
        tenant.keep()


def test_the_schedule_looks_after_them_and_a_failure_stands_on_the_slot(tenant: Tenant) -> None:
    job = "subscribe entra"
    nudges = jobs.tick(tenant.site)
    assert Nudge("subscribe", (job,)) in nudges

    tenant.graph.faults["make"] = Rejected("Graph could not reach us.", 400)
    with pytest.raises(Rejected):
        jobs.go_on(tenant.site, job, lambda _: subscriptions.keep(tenant.site, "entra"))
    assert rows(tenant.site.store, f"SELECT state, failure FROM job WHERE name = '{job}'") == [
        ("failed", "Graph could not reach us.")
    ]

    tenant.graph.clock.advance(hours=1)
    jobs.tick(tenant.site)
    assert jobs.go_on(tenant.site, job, lambda _: subscriptions.keep(tenant.site, "entra")) is False
    assert rows(tenant.site.store, f"SELECT state FROM job WHERE name = '{job}' ORDER BY slot DESC LIMIT 1") == [
        ("done",)
    ]


def test_the_numbers_say_for_how_long_we_shall_be_told_and_what_could_not_be_ordered(tenant: Tenant) -> None:
    def numbers() -> dict[str, list[float]]:
        now = tenant.graph.clock()
        found = metrics.Vitals(tenant.site.store, tenant.site.loaded, now, tenant.graph.clock).collect()
        return {family.name: [sample.value for sample in family.samples] for family in found}

    tenant.graph.faults["make"] = Denied("Entra refuses.")
    with pytest.raises(Denied):
        tenant.keep()
    said = numbers()
    assert (said["trueup_subscription_seconds_left"], said["trueup_subscriptions_failed"]) == ([0], [1])

    tenant.keep()
    tenant.graph.clock.advance(days=1)
    said = numbers()
    assert (said["trueup_subscription_seconds_left"], said["trueup_subscriptions_failed"]) == ([28 * 86_400], [])
