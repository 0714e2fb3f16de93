"""docs/operating.md names what there is to watch: every metric, every notice, and alerts on what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from worker.broker import QUEUES
from worker.console import metrics
from worker.core.drift import DriftKind
from worker.core.guardrails import State
from worker.core.notices import NoticeKind
from worker.ports import Outcome

PAGE = (Path(__file__).parents[1] / "docs" / "operating.md").read_text(encoding="utf-8")
OTHERS = {
    "trueup_info", "trueup_database_up", "trueup_queue_waiting", "trueup_queue_age_seconds", "trueup_job_overdue",
    "trueup_job_success_age_seconds",
}  # fmt: skip
METRICS = OTHERS | {f"{one.name}_total" if one.counter else one.name for one in metrics.FAMILIES}
ROWS = dict(re.findall(r"^\| `(trueup_\w+)` \| ([a-z, ]*) ?\|", PAGE, re.MULTILINE))
WORDS = {
    "kind": {kind.value for kind in DriftKind},
    "queue": set(QUEUES.values()),
    "state": {state.value for state in State} | {outcome.value for outcome in Outcome},
    "outcome": {outcome.value for outcome in Outcome},
}
(RULES,) = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(groups:.*?)```", PAGE, re.DOTALL))


def test_the_page_has_every_metric_and_no_other() -> None:
    assert set(ROWS) == METRICS


@pytest.mark.parametrize("family", metrics.FAMILIES, ids=lambda family: family.name)
def test_the_page_says_by_what_a_metric_is_told_apart(family: metrics.Family) -> None:
    said = ROWS[f"{family.name}_total" if family.counter else family.name]

    assert tuple(said.strip().split(", ")) == family.labels


@pytest.mark.parametrize("kind", NoticeKind)
def test_the_page_says_what_to_do_about_each_notice(kind: NoticeKind) -> None:
    (row,) = re.findall(rf"^\| {kind.value} \|(.*)$", PAGE, re.MULTILINE)

    assert [cell.strip() for cell in row.split("|")].count("") == 1


def test_each_alert_is_about_a_metric_that_exists() -> None:
    alerts = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert len(alerts) > 5

    for alert in alerts:
        named = set(re.findall(r"trueup_\w+", alert["expr"]))
        assert named, alert["alert"]
        assert named <= METRICS, alert["alert"]
        for label, value in re.findall(r'(\w+)!?=~?"([^"]+)"', alert["expr"]):
            assert set(value.split("|")) <= WORDS[label], alert["alert"]
