"""The numbers: each is what the database says at this moment, and names neither a person nor an account."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlmodel import SQLModel

from tests.flows.rig import NOON, Clock
from worker.core.drift import DriftKind
from worker.settings import Loaded
from worker.settings.schedule import jobs
from worker.store import chain, installations, vitals
from worker.store.session import Store
from worker.store.tables import (
    ChangeRow,
    Episode,
    JobRow,
    NoticeRow,
    PartRow,
    Run,
    Snapshot,
    StepRow,
    VendorUse,
)

MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
Numbers = Callable[[str], Mapping[tuple[str, ...], float]]


@pytest.fixture
def numbers(api: httpx.Client) -> Numbers:
    """`numbers("trueup_runs")` are its values by their labels, in the order of the labels' names."""

    def scrape(name: str) -> Mapping[tuple[str, ...], float]:
        families = text_string_to_metric_families(api.get("/metrics").text)
        return {
            tuple(sample.labels[key] for key in sorted(sample.labels)): sample.value
            for family in families
            for sample in family.samples
            if sample.name == name
        }

    return scrape


@pytest.fixture
def keep(store: Store) -> Callable[..., None]:
    """Writes rows, those that others point to first."""

    def write(*rows: SQLModel) -> None:
        with store.begin() as session:
            for row in rows:
                session.add(row)
                session.flush()

    return write


def run(target: str, state: str, began: dt.datetime = NOON, closed: dt.datetime | None = None) -> Run:
    return Run(
        target=target, state=state, actor="schedule", reason="", policy_hash="", started_at=began, closed_at=closed
    )


def change(of: Run, state: str, cause: str = "UNDESERVED") -> ChangeRow:
    return ChangeRow(
        run_id=of.id, position=0, target=of.target, operation="revoke", drift="excess entitlement", fingerprint="f",
        episode_id=uuid.uuid4(), gate="auto", state=state, sentence="", cause=cause,
    )  # fmt: skip


def step(of: Run, outcome: str) -> StepRow:
    return StepRow(
        run_id=of.id, target=of.target, account_id="7", position=0, verb="v", sentence="", outcome=outcome, owner="",
        fence=1, attempted_at=NOON,
    )  # fmt: skip


def episode(target: str, kind: DriftKind, opened: dt.datetime, closed: dt.datetime | None = None) -> Episode:
    return Episode(
        drift_key=str(uuid.uuid4()), target=target, kind=kind.value, opened_at=opened, last_seen_at=NOON,
        closed_at=closed, urgent=kind is DriftKind.DISPUTED,
    )  # fmt: skip


def snapshot(connector: str, began: dt.datetime, **more: object) -> Snapshot:
    return Snapshot.model_validate({"connector": connector, "started_at": began, "counts": {}, "checks": {}, **more})


def test_runs_of_the_last_day_by_what_became_of_them(keep: Callable[..., None], numbers: Numbers) -> None:
    keep(
        run("looker", "closed", closed=NOON - 5 * MINUTE),
        run("looker", "closed", NOON - 30 * HOUR, NOON - 29 * HOUR),
        run("teamcity", "superseded", closed=NOON),
    )

    assert numbers("trueup_runs") == {("closed", "looker"): 1, ("superseded", "teamcity"): 1}
    assert numbers("trueup_run_closed_age_seconds") == {("looker",): 300}


def test_open_drift_by_kind_and_how_long_it_stands(keep: Callable[..., None], numbers: Numbers) -> None:
    keep(
        episode("looker", DriftKind.ORPHAN, NOON - HOUR),
        episode("looker", DriftKind.ORPHAN, NOON - 2 * HOUR),
        episode("looker", DriftKind.ORPHAN, NOON - 9 * HOUR, closed=NOON),
        episode("teamcity", DriftKind.DISPUTED, NOON),
    )

    orphan, disputed = (DriftKind.ORPHAN.value, "looker"), (DriftKind.DISPUTED.value, "teamcity")
    assert numbers("trueup_drift_open") == {orphan: 2, disputed: 1}
    assert numbers("trueup_drift_oldest_age_seconds") == {orphan: 7200, disputed: 0}
    assert numbers("trueup_drift_urgent") == {("teamcity",): 1}


def test_changes_are_those_of_each_targets_newest_run(keep: Callable[..., None], numbers: Numbers) -> None:
    older, newest = run("looker", "superseded", NOON - HOUR, NOON), run("looker", "planned")
    keep(older, newest, change(older, "withheld"), change(newest, "withheld"), change(newest, "failed"))

    assert numbers("trueup_changes") == {("withheld", "looker"): 1, ("failed", "looker"): 1}


def test_mutations_of_the_last_day_by_outcome_once_it_is_known(keep: Callable[..., None], numbers: Numbers) -> None:
    of, older = run("looker", "closed"), run("looker", "closed", NOON - 25 * HOUR)
    keep(of, step(of, "applied"), step(of, "applied"), step(of, "failed"), step(of, "unknown"), step(of, "attempted"))
    keep(older, step(older, "applied"))

    assert numbers("trueup_steps") == {("applied", "looker"): 2, ("failed", "looker"): 1}
    assert numbers("trueup_steps_unsettled") == {("looker",): 2}


def test_a_connector_that_was_never_read_whole_is_infinitely_old(keep: Callable[..., None], numbers: Numbers) -> None:
    keep(
        snapshot("okta", NOON - 10 * MINUTE, current=True),
        snapshot("okta", NOON - MINUTE, failure="it shrank"),
        snapshot("looker", NOON - MINUTE),
    )

    assert numbers("trueup_snapshot_age_seconds") == {
        ("okta",): 600,
        ("looker",): float("inf"),
        ("teamcity",): float("inf"),
    }
    assert numbers("trueup_reads_refused") == {("okta",): 1}


def test_what_waits_by_queue_and_for_how_long(keep: Callable[..., None], numbers: Numbers) -> None:
    of, reading = run("looker", "applying", NOON - 7 * MINUTE), snapshot("okta", NOON - 3 * MINUTE)
    later = run("teamcity", "applying", NOON - 9 * MINUTE)
    later.not_before = NOON + MINUTE
    part = PartRow(snapshot_id=reading.id, position=0, kind="page", owner="", claimed_until=NOON)
    keep(
        of, later, reading, part,
        change(later, "open"), change(of, "open"), change(of, "open", "DEPARTED"), change(of, "waiting"),
        JobRow(name="pull okta", slot=NOON - 4 * MINUTE, not_before=NOON - 4 * MINUTE),
        JobRow(name="verify", slot=NOON - MINUTE, state="running", not_before=NOON - MINUTE),
        JobRow(name="tell", slot=NOON, state="waiting", not_before=NOON + MINUTE),
    )  # fmt: skip

    assert numbers("trueup_queue_age_seconds") == {
        ("leaver", "change"): 420, ("apply", "change"): 420, ("sync", "part"): 180, ("sync", "job"): 240,
        ("housekeeping", "job"): 60,
    }  # fmt: skip
    assert numbers("trueup_queue_waiting")["housekeeping", "job"] == 2


def test_every_job_of_the_schedule_waits_in_some_queue(
    keep: Callable[..., None], numbers: Numbers, settings: Loaded
) -> None:
    scheduled = jobs(settings.settings)
    keep(*(JobRow(name=job.name, slot=NOON, not_before=NOON) for job in scheduled))
    keep(JobRow(name="pull gone", slot=NOON, not_before=NOON), JobRow(name="dance", slot=NOON, not_before=NOON))

    waiting = numbers("trueup_queue_waiting")

    assert waiting["sync", "job"] == len([job for job in scheduled if job.subject]) + 1
    assert waiting["housekeeping", "job"] == len([job for job in scheduled if not job.subject]) + 1


def test_queues_in_which_nothing_waits_are_at_zero(numbers: Numbers) -> None:
    assert set(numbers("trueup_queue_age_seconds").values()) == {0}
    assert len(numbers("trueup_queue_waiting")) == 5


def test_what_vendors_were_asked_since_ever(keep: Callable[..., None], numbers: Numbers) -> None:
    keep(VendorUse(connector="okta", calls=12, throttled=3, waited_seconds=4.5))

    assert numbers("trueup_vendor_calls_total") == {("okta",): 12}
    assert numbers("trueup_vendor_throttled_total") == {("okta",): 3}
    assert numbers("trueup_vendor_waited_seconds_total") == {("okta",): 4.5}


def test_pauses_notices_and_the_chain(store: Store, keep: Callable[..., None], numbers: Numbers) -> None:
    with store.begin() as session:
        installations.pause(session, "", "operator:ana", "a freeze", NOON)
        installations.pause(session, "looker", "operator:ana", "a freeze", NOON)
        for _ in range(3):
            chain.append(session, kind="tried", actor="operator:ana", at=NOON, facts={})
    keep(
        NoticeRow(kind="drift found", key="1", sentence="s", noticed_at=NOON),
        NoticeRow(kind="drift found", key="2", sentence="", noticed_at=NOON, sent_at=NOON),
    )

    assert numbers("trueup_paused") == {("all",): 1, ("looker",): 1}
    assert numbers("trueup_notices_unsent") == {("drift found",): 1}
    assert numbers("trueup_chain_entries_total") == {("main",): 3}


def test_a_job_that_fails_for_too_long_is_overdue_until_it_succeeds(
    api: httpx.Client, keep: Callable[..., None], numbers: Numbers, clock: Clock, jobs_done: Callable[[], None]
) -> None:
    jobs_done()
    clock.advance(minutes=29)
    keep(
        JobRow(name="pull okta", slot=clock(), state="failed", not_before=clock(), finished_at=clock(), failure="503"),
        JobRow(name="tell", slot=clock(), state="done", not_before=clock(), finished_at=clock()),
    )
    assert set(numbers("trueup_job_overdue").values()) == {0}
    assert numbers("trueup_jobs_failed") == {("pull okta",): 1}

    clock.advance(minutes=2)
    ready = api.get("/readyz")

    assert ready.status_code == 503
    (jobs,) = [check["says"] for check in ready.json()["checks"] if check["check"] == "jobs"]
    assert "pull okta has not succeeded for 31 minutes; it should within 30 minutes" in jobs
    assert "verify" not in jobs
    assert numbers("trueup_job_overdue")["pull okta",] == 1
    assert numbers("trueup_job_overdue")["verify",] == 0
    assert numbers("trueup_job_success_age_seconds")["pull okta",] == 31 * 60

    clock.advance(seconds=1)
    jobs_done()
    assert api.get("/readyz").status_code == 200
    assert set(numbers("trueup_job_overdue").values()) == {0}


def test_a_beat_that_never_came_is_noticed_too(api: httpx.Client, numbers: Numbers, clock: Clock) -> None:
    assert api.get("/readyz").status_code == 200

    clock.advance(minutes=31)

    assert api.get("/readyz").status_code == 503
    assert numbers("trueup_job_overdue")["observe looker",] == 1
    assert numbers("trueup_job_success_age_seconds")["observe looker",] == float("inf")


def test_a_retention_that_forgets_old_slots_hides_no_dead_job(
    store: Store, keep: Callable[..., None], numbers: Numbers, clock: Clock
) -> None:
    keep(JobRow(name="pull okta", slot=NOON - HOUR, state="failed", not_before=NOON, finished_at=NOON))

    assert numbers("trueup_job_overdue")["pull okta",] == 1
    with store.begin() as session:
        assert vitals.job_pasts(session)["pull okta"].last_success is None


def test_every_metric_says_what_it_means_in_units(api: httpx.Client, keep: Callable[..., None]) -> None:
    for family in text_string_to_metric_families(api.get("/metrics").text):
        if family.name.startswith("trueup_"):
            assert family.documentation.endswith("."), family.name
            assert ("age" in family.name) <= family.name.endswith("_seconds"), family.name
