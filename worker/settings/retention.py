"""How long what is over is kept: the section `retention` of trueup.yaml."""

from __future__ import annotations

import datetime as dt

from pydantic import Field

from worker.settings.sections import Duration, Section

_TWO_DAYS = dt.timedelta(days=2)  # limits count over 24 hours, and somebody has to be able to look into what happened


class Retention(Section):
    """How long what is over is kept. The audit trail is kept for ever."""

    mirror: Duration = Field(
        default=dt.timedelta(days=400), ge=_TWO_DAYS, description="what people were and held once, after it has ended"
    )
    runs: Duration = Field(
        default=dt.timedelta(days=400),
        ge=_TWO_DAYS,
        description="runs with their changes and steps, and how reads ended",
    )
    parts: Duration = Field(
        default=_TWO_DAYS, ge=dt.timedelta(hours=1), description="an unfinished read that nobody goes on with"
    )
    jobs: Duration = Field(default=dt.timedelta(days=30), ge=_TWO_DAYS, description="how jobs of the schedule ended")
    notices: Duration = Field(
        default=dt.timedelta(days=90), ge=_TWO_DAYS, description="that people were told; then they are told again"
    )
    hints: Duration = Field(
        default=dt.timedelta(days=30),
        ge=_TWO_DAYS,
        description="which events of hooks and which requests of the API were seen, so that none counts twice",
    )
