"""What the sections of trueup.yaml are made of: names, percentages, times, time zones."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


OneOrMany = Annotated[
    tuple[Text, ...],
    BeforeValidator(_listed),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]


def share(value: Any) -> Any:
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?) ?%", value) if isinstance(value, str) else None
    if isinstance(value, float) and 0 <= value <= 1:
        return value
    if found is None or float(found[1]) > 100:
        raise ValueError("write a percentage from 0% to 100%, such as 5%")
    return float(found[1]) / 100


Share = Annotated[float, BeforeValidator(share), WithJsonSchema({"type": "string", "pattern": r"^\d{1,3}(\.\d+)? ?%$"})]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(value: Any) -> Any:
    found = re.fullmatch(r"([1-9]\d{0,4}) ?([smhd])", value) if isinstance(value, str) else None
    if isinstance(value, dt.timedelta):
        return value
    if found is None:
        raise ValueError("write a time such as 30m, 2h or 7d")
    return dt.timedelta(**{_UNITS[found[2]]: int(found[1])})


def shortly(time: dt.timedelta) -> str:
    """As settings write it: 90m, 2h, 400d."""
    seconds = int(time.total_seconds())
    letter, size = next((u, n) for u, n in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % n == 0)
    return f"{seconds // size}{letter}"


Duration = Annotated[
    dt.timedelta, BeforeValidator(duration), WithJsonSchema({"type": "string", "pattern": r"^[1-9]\d{0,4} ?[smhd]$"})
]


def zone(name: str) -> str:
    if name == "UTC":
        return name
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("there is no such time zone here; write UTC or a name such as Europe/Berlin") from error
    return name


Zone = Annotated[str, AfterValidator(zone)]
