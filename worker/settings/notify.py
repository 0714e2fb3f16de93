"""Who is told of what without asking."""

from __future__ import annotations

import datetime as dt

from pydantic import Field

from worker.core.notices import NoticeKind
from worker.references import SecretReference
from worker.settings.sections import Duration, Section


class Notify(Section):
    """Messages to people. Without `urls` nobody is told."""

    urls: tuple[SecretReference, ...] = Field(
        default=(), description="where messages go: Apprise URLs, each by reference, since they hold secrets"
    )
    on: tuple[NoticeKind, ...] = Field(default=tuple(NoticeKind), description="of what people are told")
    every: Duration = Field(
        default=dt.timedelta(minutes=15),
        description="at most one message in this time; what happens meanwhile is in the next",
    )
