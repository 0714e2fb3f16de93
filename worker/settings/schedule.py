"""When each job is due: the section `schedule` of trueup.yaml, and the jobs that follow from it."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from croniter import croniter
from pydantic import BeforeValidator, Field, WithJsonSchema

from worker.settings.sections import Duration, Section, duration, shortly

if TYPE_CHECKING:
    from worker.settings.model import Settings

_CRONTAB = r"\S+ \S+ \S+ \S+ \S+"
_INSTANT = dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Every:
    """Every so often, counted from 1970 in UTC, so that every machine means the same moments."""

    interval: dt.timedelta

    def __str__(self) -> str:
        return shortly(self.interval)

    def slot(self, now: dt.datetime, _zone: dt.tzinfo) -> dt.datetime:
        """The last moment at which it was due."""
        seconds = self.interval.total_seconds()
        return dt.datetime.fromtimestamp(now.timestamp() // seconds * seconds, dt.UTC)

    def period(self, _now: dt.datetime, _zone: dt.tzinfo) -> dt.timedelta:
        return self.interval


@dataclass(frozen=True, slots=True)
class Crontab:
    """Minute, hour, day of month, month and day of week, in the policy's time zone."""

    fields: str

    def __str__(self) -> str:
        return self.fields

    def slot(self, now: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
        """The last moment at which it was due."""
        found: dt.datetime = croniter(self.fields, now.astimezone(zone) + _INSTANT).get_prev(dt.datetime)
        return found.astimezone(dt.UTC)

    def period(self, now: dt.datetime, zone: dt.tzinfo) -> dt.timedelta:
        """From the last moment to the one after it."""
        following: dt.datetime = croniter(self.fields, now.astimezone(zone)).get_next(dt.datetime)
        return following.astimezone(dt.UTC) - self.slot(now, zone)


def _when(value: Any) -> Any:
    if isinstance(value, Every | Crontab):
        return value
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if re.fullmatch(_CRONTAB, text) and croniter.is_valid(text):
        return Crontab(text)
    try:
        return Every(duration(value))
    except ValueError as error:
        raise ValueError("write a time such as 10m or 2h, or a crontab such as 30 3 * * *") from error


When = Annotated[
    Every | Crontab,
    BeforeValidator(_when),
    WithJsonSchema({"type": "string", "pattern": rf"^([1-9]\d{{0,4}} ?[smhd]|{_CRONTAB})$"}),
]


class Schedule(Section):
    """When Trueup does what by itself: each an interval (10m) or a crontab (30 3 * * *) in the policy's time zone."""

    pull: When = Field(default=Every(dt.timedelta(minutes=10)), description="reading each source")
    observe: When = Field(default=Every(dt.timedelta(minutes=10)), description="reading each target")
    reconcile: When = Field(
        default=Every(dt.timedelta(minutes=10)), description="planning for each target, and applying what is open"
    )
    temporary_access: When = Field(
        default=Crontab("1 0 * * *"), description="the same, as soon as a day is over that some `until` names"
    )
    verify: When = Field(default=Crontab("30 3 * * *"), description="verifying the audit chain from its beginning")
    retention: When = Field(default=Crontab("30 4 * * *"), description="deleting what is older than `retention` says")
    tell: When = Field(default=Every(dt.timedelta(minutes=1)), description="sending what `notify` is about")
    watch: When = Field(
        default=Every(dt.timedelta(hours=6)),
        description="looking deep at the accounts of people who have left, as long as `leavers.watch_days` says",
    )
    subscribe: When = Field(
        default=Every(dt.timedelta(hours=1)),
        description="looking after the subscriptions by which Microsoft Graph tells us of changes",
    )
    overdue_after: int = Field(
        default=3, ge=1, le=100, description="a job that has not succeeded for so many of its intervals is overdue"
    )
    tick: Duration = Field(
        default=dt.timedelta(seconds=5), description="how often the beat looks what is due and what was left behind"
    )


@dataclass(frozen=True, slots=True)
class Job:
    """One job of the schedule: `kind` is the task that does it, `subject` the connector that it is about ("" for none).
    It waits for unfinished slots of the jobs `after`, when they are not later than its own."""

    kind: str
    subject: str
    when: Every | Crontab
    after: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.kind} {self.subject}".strip()


def jobs(settings: Settings) -> list[Job]:
    """Every job, in the order of the straight line: the whole schedule on one screen."""
    schedule = settings.schedule
    pulls = tuple(f"pull {name}" for name in settings.sources)

    def each() -> Iterator[Job]:
        for source in settings.sources:
            yield Job("pull", source, schedule.pull)
        for target in settings.targets:
            yield Job("observe", target, schedule.observe)
            reads = (*pulls, f"observe {target}")
            yield Job("reconcile", target, schedule.reconcile, after=reads)
            yield Job("end temporary access", target, schedule.temporary_access, after=reads)
        yield Job("verify", "", schedule.verify)
        yield Job("retention", "", schedule.retention)
        yield Job("tell", "", schedule.tell)
        yield Job("watch", "", schedule.watch)
        for source, hook in settings.hooks.items():
            if hook.url is not None:
                yield Job("subscribe", source, schedule.subscribe)

    return list(each())


def zone_of(settings: Settings) -> dt.tzinfo:
    return dt.UTC if settings.timezone == "UTC" else zoneinfo.ZoneInfo(settings.timezone)


def periods(settings: Settings, now: dt.datetime) -> Mapping[str, dt.timedelta]:
    """Job name -> the time from one slot to the next, at this moment."""
    zone = zone_of(settings)
    return {job.name: job.when.period(now, zone) for job in jobs(settings)}
