"""What becomes of people who leave: the section `leavers` of trueup.yaml."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from worker.settings.sections import Duration, Name, Section, Text


class HandOver(Section):
    """Who gets a leaver's schedules and alerts, so that what works for others goes on. A team's account that a target
    has goes before the person."""

    to: Text = Field(default="none", description="manager, none, or the login of the person who gets them")
    manager_attribute: Text = Field(
        default="managerId",
        description="the profile attribute that names the manager: a login, an e-mail address or the source's id",
    )
    accounts: dict[Name, Text] = Field(
        default={}, description="by target: login or id of the account that gets them there, such as a team's"
    )


def _domain(text: str) -> str:
    found = text.strip().lower().removeprefix("@")
    if not found or "@" in found or "." not in found:
        raise ValueError("write a mail domain such as acme.example")
    return found


class Leavers(Section):
    """What becomes of people who are away. A departed person is always disabled and stripped; that is no setting."""

    suspended: Literal["disable", "ignore"] = Field(
        default="disable", description="a suspended person's accounts: disable (reversible), or leave as they are"
    )
    hand_over: HandOver = HandOver()
    company_domains: tuple[Annotated[Text, AfterValidator(_domain)], ...] = Field(
        default=(),
        description="mail domains of the company; a schedule that goes elsewhere is never handed over by itself",
    )
    objective: Duration = Field(
        default=dt.timedelta(seconds=60), description="how soon after the first word of it a leaver is to be out"
    )
    watch_days: int = Field(
        default=30, ge=0, le=366, description="for so long a leaver who reappears is noticed and dealt with at once"
    )
