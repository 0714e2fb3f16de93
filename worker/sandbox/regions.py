"""Regions: people have one at the source, and a Looker attribute shows them its rows; with trouble of its own."""

from __future__ import annotations

from dataclasses import replace

from worker.sandbox import acme
from worker.sandbox.company import LookerAttributeSpec
from worker.sandbox.staff import Hire, Town
from worker.sandbox.trouble import Trouble, plant_people

# Acme's divisions are its regions. Okta has this attribute as `division`, Entra ID as `employeeOrgData.division`, and a
# policy calls both `division`.
REGION = "division"
OF_OFFICE = {"Berlin": "EMEA", "Lagos": "EMEA", "Lisbon": "EMEA", "Osaka": "APAC", "Toronto": "AMER"}
ATTRIBUTE, ALL, NONE = "region", "ALL", "NONE"
LOOKER_ATTRIBUTES = (LookerAttributeSpec("20", ATTRIBUTE, "Region", default=NONE, groups=(("Data", ALL),)),)

RULE = f"""\
  - name: regions
    when: {{group: Analytics Readers}}
    give: [{{looker: {{attributes: {{{ATTRIBUTE}: $profile.{REGION}}}}}}}]
    owner: data@acme.example
    why: who looks at dashboards sees the rows of their own region
"""
# What the settings of a Looker say of it.
DECLARED = f"""\
    attributes:
      {ATTRIBUTE}:
        allow: [AMER, APAC, EMEA]
        when_missing: hold
"""


def declared(policy: str) -> str:
    """What the settings of Looker have to say, where this policy gives regions."""
    return DECLARED if f"$profile.{REGION}" in policy else ""


def give(town: Town) -> None:
    """Everybody their region, and whoever has a Looker account its filter; then the trouble."""
    for hire in town.hires:
        hire.profile[REGION] = region = OF_OFFICE[acme.office(hire.number)]
        if hire.looker:
            hire.looker = replace(hire.looker, attributes=((ATTRIBUTE, region),))
    plant_people(town, TROUBLES, _SHARES)


def _wrong(hire: Hire, _: Town) -> tuple[str, str]:
    assert hire.looker
    mine = hire.profile[REGION]
    other = next(region for region in ("AMER", "EMEA") if region != mine)
    hire.looker = replace(hire.looker, attributes=((ATTRIBUTE, other),))
    return "looker", f"sees the rows of {other}, and belongs to {mine}"


def _none(hire: Hire, _: Town) -> tuple[str, str]:
    assert hire.looker
    hire.looker = replace(hire.looker, attributes=())
    return "looker", "has no region, so that the default counts and they see nothing"


def _by_group(hire: Hire, _: Town) -> tuple[str, str]:
    _none(hire, _)
    return "looker", "has no region of their own, so that the value of group Data counts and they see all"


def _unknown(hire: Hire, _: Town) -> tuple[str, str]:
    del hire.profile[REGION]
    return "looker", "has no division at the source: which rows are theirs nobody can say, and their region stays"


def _reads_only(hire: Hire) -> bool:
    return hire.looker is not None and hire.job.looker_groups == ("Viewers",)


def _is_in_data(hire: Hire) -> bool:
    return hire.looker is not None and "Data" in hire.job.looker_groups


TROUBLES = (
    Trouble("wrong region", 4, _reads_only, _wrong),
    Trouble("missing region", 3, _reads_only, _none),
    Trouble("region of a group", 1, _is_in_data, _by_group),
    Trouble("unknown region", 1, _reads_only, _unknown),
)
_SHARES = {False: 0.025, True: 0.01}
