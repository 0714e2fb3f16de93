"""Everything that trueup.yaml may say, with the default of each key."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from worker.core import guardrails
from worker.core.conditions import normal, pattern
from worker.core.identity import Account, Person
from worker.core.plan import Gate, GateTable, Operation
from worker.core.windows import Closed, closed
from worker.settings.intake import Api, Hook
from worker.settings.leavers import Leavers
from worker.settings.notify import Notify
from worker.settings.rates import Rates
from worker.settings.retention import Retention
from worker.settings.schedule import Schedule, zone_of
from worker.settings.sections import Duration, Name, OneOrMany, Section, Share, Text, Zone
from worker.settings.windows import Freeze, Window


class Mode(StrEnum):
    """A preset of the gates."""

    OBSERVE = "observe"
    REVIEW = "review"
    ENFORCE = "enforce"


PRESETS: Mapping[Mode, Mapping[Operation, Gate]] = {
    # Nothing happens by itself: a human approves each exact change, or changes nothing.
    Mode.OBSERVE: dict.fromkeys(Operation, Gate.REVIEW),
    # What gives or corrects happens by itself; what takes away, makes or unlocks waits for a human.
    Mode.REVIEW: {**dict.fromkeys(Operation, Gate.REVIEW), Operation.GRANT: Gate.AUTO, Operation.UPDATE: Gate.AUTO},
    # An account that somebody disabled by hand, and one that would be new, are worth a look even then.
    Mode.ENFORCE: {**dict.fromkeys(Operation, Gate.AUTO), Operation.CREATE: Gate.REVIEW, Operation.ENABLE: Gate.REVIEW},
}


class Gates(Section):
    """Who opens the way for a change. What is left out is as `mode` has it."""

    grant: Gate | None = Field(default=None, description="giving an entitlement")
    revoke: Gate | None = Field(default=None, description="taking an entitlement")
    disable: Gate | None = Field(default=None, description="locking an account")
    create: Gate | None = Field(default=None, description="making an account")
    update: Gate | None = Field(default=None, description="changing a profile field (a login key is never automatic)")
    enable: Gate | None = Field(default=None, description="unlocking an account")
    privileged: Literal["review", "manual"] = Field(
        default="review", description="the least gate of anything privileged: review or manual, never auto"
    )


class GroupWhen(Section):
    """Members of a group, or of any group that fits a pattern."""

    group: Text = Field(description='name of a group; with "*" or "?" a pattern')
    source: OneOrMany | None = Field(
        default=None, description="which source, or a list of them; needed only when there are several"
    )
    id: Text | None = Field(default=None, description="the group's id, where its name alone does not tell which")


class AttributeWhen(Section):
    """People with a profile attribute. Say exactly one of is, in, matches."""

    attribute: Text = Field(description="name of a profile attribute, such as department")
    is_: Text | None = Field(default=None, alias="is", description="the value, letter for letter")
    in_: tuple[Text, ...] | None = Field(default=None, alias="in", min_length=1, description="any of these values")
    matches: OneOrMany | None = Field(default=None, description='a pattern, or several, with "*" and "?"')

    @model_validator(mode="after")
    def _one_test(self) -> AttributeWhen:
        if sum(test is not None for test in (self.is_, self.in_, self.matches)) != 1:
            raise ValueError("say exactly one of `is: value`, `in: [values]`, `matches: pattern`")
        return self


class AllWhen(Section):
    """People who fit every part."""

    all: tuple[When, ...] = Field(min_length=1)


class AnyWhen(Section):
    """People who fit at least one part."""

    any: tuple[When, ...] = Field(min_length=1)


class NotWhen(Section):
    """People who do not fit."""

    not_: When = Field(alias="not")


class EveryoneWhen(Section):
    """Everybody that the sources know."""

    everyone: Literal[True]


WHEN_KEYS = ("group", "attribute", "all", "any", "not", "everyone")


def _when_tag(value: Any) -> str | None:
    """Tags are in angle brackets so that a complaint's path can tell them from keys."""
    if isinstance(value, dict):
        found = [key for key in WHEN_KEYS if key in value]
        return f"<{found[0]}>" if len(found) == 1 else None
    return f"<{type(value).__name__.removesuffix('When').lower()}>" if isinstance(value, Section) else None


When = Annotated[
    Annotated[GroupWhen, Tag("<group>")]
    | Annotated[AttributeWhen, Tag("<attribute>")]
    | Annotated[AllWhen, Tag("<all>")]
    | Annotated[AnyWhen, Tag("<any>")]
    | Annotated[NotWhen, Tag("<not>")]
    | Annotated[EveryoneWhen, Tag("<everyone>")],
    Discriminator(
        _when_tag,
        custom_error_type="when",
        custom_error_message="write exactly one of group, attribute, all, any, not, everyone here",
    ),
]

for _recursive in (AllWhen, AnyWhen, NotWhen):
    _recursive.model_rebuild()

Grants = dict[Name, dict[str, Any]]
"""By target: entitlements in that connector's own words."""


def _give_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "<bundle>"
    return "<single>" if isinstance(value, dict) else None


Give = Annotated[
    Annotated[Text, Tag("<bundle>")] | Annotated[Grants, Tag("<single>")],
    Discriminator(
        _give_tag,
        custom_error_type="give",
        custom_error_message="write the name of a bundle, or entitlements by target such as {looker: {groups: [X]}}",
    ),
]


class RuleEntry(Section):
    """Who deserves what."""

    name: Text = Field(description="what messages call the rule; no two rules share one")
    when: When = Field(description="whom the rule is for")
    give: tuple[Give, ...] = Field(min_length=1, description="bundles, or entitlements by target")
    until: dt.date | None = Field(
        default=None, description="the last day on which the rule gives, in the policy's time zone"
    )
    owner: str = Field(default="", description="whom to ask about the rule")
    why: str = Field(default="", description="why these people need it")


class Protected(Section):
    """Never touched, whatever the rules say. Letter case does not count; "*" and "?" are patterns."""

    accounts: dict[Name, tuple[Text, ...]] = Field(
        default={}, description="by target: logins, e-mail addresses or account ids"
    )
    people: tuple[Text, ...] = Field(default=(), description="logins of people all of whose accounts are left alone")

    def covers_account(self, target: str, account: Account) -> bool:
        return _any_fits(self.accounts.get(target, ()), (account.login, account.email, account.id))

    def covers_person(self, person: Person) -> bool:
        return _any_fits(self.people, [name for i in person.identities for name in (i.login, i.email, i.id)])


def _any_fits(patterns: tuple[str, ...], names: tuple[str, ...] | list[str]) -> bool:
    wanted = [pattern(text.lower()) for text in patterns]
    return any(one.fullmatch(normal(name).lower()) for one in wanted for name in names if name)


class MustSee(Section):
    """Canaries: a read that does not show them was not whole."""

    people: tuple[Text, ...] = Field(default=(), description="logins (sources)")
    groups: tuple[Text, ...] = Field(default=(), description="group names (sources)")
    accounts: tuple[Text, ...] = Field(default=(), description="logins (targets)")


Key = Literal["login", "email", "name"]


class CorrelationKeys(Section):
    """By what accounts are recognized as a person's."""

    trust: tuple[Literal["login", "email"], ...] = Field(default=("login",), description="keys that link by themselves")
    propose: tuple[Key, ...] = Field(default=("email",), description="keys that only suggest a link to a human")


class Joining(Section):
    """By what identities of several sources are known to be one person's. Keys are names of profile attributes."""

    trust: tuple[Text, ...] = Field(default=(), description="keys that join by themselves, such as employeeNumber")
    propose: tuple[Text, ...] = Field(default=(), description="keys that only suggest to a human that two are one")

    @property
    def keys(self) -> tuple[str, ...]:
        """All of them, the trusted ones first."""
        return (*self.trust, *self.propose)


class Ceiling(Section):
    """At most so many per target; one more, and all of that kind are withheld. Either may be left out in the file."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("required"))

    per_run: int = Field(ge=0, description="in one run")
    per_day: int = Field(ge=0, description="in the last 24 hours, over all runs")


CEILINGS: Mapping[str, Ceiling] = {
    "removals": Ceiling(per_run=50, per_day=100),
    "disables": Ceiling(per_run=10, per_day=20),
    "privileged_grants": Ceiling(per_run=3, per_day=5),
    "departures": Ceiling(per_run=25, per_day=50),
}


class Shrink(Section):
    """How much smaller than the current one a new snapshot may be before it is refused."""

    people: Share = 0.05
    groups: Share = 0.10
    memberships: Share = 0.10
    accounts: Share = 0.05
    above: int = Field(default=10, ge=0, description="shrinking by at most this many rows is never refused")


class Limits(Section):
    """How much may happen before a human has to look."""

    removals: Ceiling = CEILINGS["removals"]
    disables: Ceiling = CEILINGS["disables"]
    privileged_grants: Ceiling = CEILINGS["privileged_grants"]
    departures: Ceiling = CEILINGS["departures"]
    share: Share = Field(
        default=0.10, description="part of a target's accounts, or of an entitlement's holders, in one run"
    )
    share_from: int = Field(default=10, ge=1, description="the share counts from this many on")
    shrink: Shrink = Shrink()
    snapshot_age: Duration = Field(
        default=dt.timedelta(hours=2), description="how old a read may be, at planning and at applying"
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_the_other_default(cls, given: Any) -> Any:
        """Who sets one of `per_run` and `per_day` keeps the default of the other."""
        if not isinstance(given, dict):
            return given
        known = {key: CEILINGS[key].model_dump() for key in given if key in CEILINGS}
        return {k: {**known[k], **v} if k in known and isinstance(v, dict) else v for k, v in given.items()}

    def ceilings(self) -> guardrails.Limits:
        """As the guards take them."""
        by_tally = {
            tally: guardrails.Ceiling(
                getattr(self, tally.name.lower()).per_run, getattr(self, tally.name.lower()).per_day
            )
            for tally in guardrails.Tally
        }
        return guardrails.Limits(by_tally, self.share, self.share_from)


class Approvals(Section):
    """How long a human's word holds."""

    expire_days: int = Field(default=14, ge=1, le=90, description="an approval that was not used by then is void")
    waiver_days: int = Field(default=90, ge=1, le=366, description="the longest a waiver may run")


class Settings(Section):
    """trueup.yaml as a whole. `sources` and `targets` are as written here; Loaded has them as their connectors' own."""

    timezone: Zone = Field(default="UTC", description="whose midnight ends a rule's `until`")
    mode: Mode = Field(
        default=Mode.OBSERVE,
        description="observe: nothing by itself; review: gives by itself, a human approves the rest; enforce",
    )
    gates: Gates = Gates()
    sources: dict[Name, dict[str, Any]] = Field(min_length=1, description="where people come from, first wins")
    authority: Name | None = Field(
        default=None, description="the source that says who has departed; the first by default"
    )
    targets: dict[Name, dict[str, Any]] = Field(min_length=1, description="where accounts are kept true")
    roles: dict[Text, Grants] = Field(default={}, description="bundles: what a role means in every target")
    rules: tuple[RuleEntry, ...] = Field(default=(), description="who deserves what")
    protected: Protected = Protected()
    must_see: dict[Name, MustSee] = Field(default={}, description="by source or target: what every read must show")
    correlation: dict[Name, CorrelationKeys] = Field(default={}, description="by target: how accounts are recognized")
    joining: Joining = Joining()
    leavers: Leavers = Leavers()
    limits: Limits = Limits()
    privileged: Grants = Field(
        default={}, description="entitlements to handle as privileged, beside those that are by nature"
    )
    released: Grants = Field(
        default={}, description="entitlements that left the policy on purpose and are no longer governed"
    )
    approvals: Approvals = Approvals()
    notify: Notify = Notify()
    schedule: Schedule = Schedule()
    rates: dict[Name, Rates] = Field(default={}, description="by source or target: how much it may be called")
    windows: dict[Name, tuple[Window, ...]] = Field(
        default={}, description="by target: when changes may be applied; always, where none is given"
    )
    freezes: tuple[Freeze, ...] = Field(default=(), description="times in which nothing is applied")
    retention: Retention = Retention()
    api: Api = Api()
    hooks: dict[Name, Hook] = Field(
        default={}, description="by source: how its vendor tells us of what has happened, as soon as it has"
    )

    def gate_table(self) -> GateTable:
        """The preset of `mode` with `gates` on top."""
        chosen = {op: getattr(self.gates, op.value, None) or PRESETS[self.mode][op] for op in Operation}
        return GateTable(chosen, Gate(self.gates.privileged))

    def correlation_of(self, target: str) -> CorrelationKeys:
        return self.correlation.get(target, CorrelationKeys())

    def must_see_of(self, connector: str) -> MustSee:
        return self.must_see.get(connector, MustSee())

    def departure_authority(self) -> str:
        return self.authority or next(iter(self.sources))

    def closed(self, target: str, now: dt.datetime) -> Closed | None:
        """Why the target may not be changed now, and when it may be next; None when it may."""
        zone = zone_of(self)
        of_target = [window.as_guard() for window in self.windows.get(target, ())]
        return closed(target, now, zone, of_target, [freeze.as_guard(zone) for freeze in self.freezes])

    def today(self, now: dt.datetime) -> dt.date:
        """The day that it is, at an instant, where the policy lives."""
        return now.astimezone(zone_of(self)).date()
