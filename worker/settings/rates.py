"""How much of a vendor's rate limit is ours: the section `rates` of trueup.yaml."""

from __future__ import annotations

from pydantic import Field, model_validator

from worker.ports import MOST_FOR_LEAVERS
from worker.settings.sections import Section, Share


class Rates(Section):
    """What one connector may take of its vendor's limit. All workers together keep to it."""

    share: Share = Field(
        default=0.5, description="part of the vendor's limit that is ours; the rest is other programs'"
    )
    per_minute: int | None = Field(
        default=None,
        ge=1,
        description="the vendor's limit in calls a minute, until its own headers say another one; by type of connector",
    )
    leavers: Share = Field(
        default=0.2, description="part of our share that is kept for taking the access of departed people; at most 40%"
    )

    @model_validator(mode="after")
    def _leave_something(self) -> Rates:
        if self.share <= 0:
            raise ValueError("a share of 0% lets no call through; use `trueup pause` to stop a connector")
        if self.leavers > MOST_FOR_LEAVERS:
            raise ValueError(f"leavers may keep at most {MOST_FOR_LEAVERS:.0%}, or nothing else would get through")
        return self
