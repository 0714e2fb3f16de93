"""When changes may be applied: the sections `windows` and `freezes` of trueup.yaml."""

from __future__ import annotations

import datetime as dt
import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from worker.core import windows
from worker.settings.sections import Name, Section, Text


class Day(StrEnum):
    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _time(value: Any) -> Any:
    """YAML reads 18:00 without quotes as the number of minutes; which is what was meant."""
    if isinstance(value, dt.time):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
        return dt.time(*divmod(value, 60))
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('write a time of day from "00:00" to "23:59", in quotes')
    return dt.time(int(found[1]), int(found[2]))


Time = Annotated[
    dt.time, BeforeValidator(_time), WithJsonSchema({"type": "string", "pattern": r"^([01]?\d|2[0-3]):[0-5]\d$"})
]


def _moment(value: Any) -> Any:
    if isinstance(value, dt.date):  # a date-time is one too
        return value
    try:
        text = str(value)
        return (
            dt.date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else dt.datetime.fromisoformat(text)
        )
    except ValueError as error:
        raise ValueError("write a day such as 2026-12-24, or a date-time such as 2026-12-24T18:00") from error


Moment = Annotated[
    dt.datetime | dt.date,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?$"}),
]


class Window(Section):
    """Some hours of some days. Up to a time that is not later than `from`: to that time of the next day."""

    days: tuple[Day, ...] = Field(default=tuple(Day), min_length=1, description="every day by default")
    from_: Time = Field(alias="from", description='time of day in the policy\'s time zone, such as "08:00"')
    to: Time = Field(description='time of day, such as "18:00"; "00:00" is midnight')

    def as_guard(self) -> windows.Window:
        return windows.Window(frozenset(list(Day).index(day) for day in self.days), self.from_, self.to)


class Freeze(Section):
    """A time in which nothing is applied."""

    targets: tuple[Name, ...] = Field(default=(), description="which; all when left out")
    from_: Moment = Field(alias="from", description="a day or a date-time; in the policy's time zone unless it says so")
    to: Moment = Field(description="the same; a day counts to its end")
    why: Text = Field(description="what people are told who wait for its end")

    @model_validator(mode="after")
    def _in_order(self) -> Freeze:
        freeze = self.as_guard(dt.UTC)
        if freeze.begins >= freeze.ends:
            raise ValueError("`to` must be later than `from`")
        return self

    def as_guard(self, zone: dt.tzinfo) -> windows.Freeze:
        day_after = dt.timedelta(days=0 if isinstance(self.to, dt.datetime) else 1)
        return windows.Freeze(
            frozenset(self.targets), _instant(self.from_, zone), _instant(self.to + day_after, zone), self.why
        )


def _instant(moment: dt.date, zone: dt.tzinfo) -> dt.datetime:
    """In UTC; of an hour that comes twice, the first."""
    whole = moment if isinstance(moment, dt.datetime) else dt.datetime.combine(moment, dt.time())
    return whole.astimezone(dt.UTC) if whole.tzinfo else windows.instants(whole, zone)[0]
