"""How Trueup is, for Prometheus: computed from the database when it is asked for, so that one process speaks for all.

Gauges say how things stand. Counters come only from what is never deleted and never counted back: vendor_use and the
chain. What retention may delete is told as a gauge over the last 24 hours, since a counter must not fall.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from threading import Lock

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.broker import QUEUES
from worker.core.deadman import JobPast, overdue
from worker.errors import TrueupError
from worker.flows.jobs import TASKS
from worker.settings import Loaded
from worker.settings.schedule import periods
from worker.store import vitals
from worker.store.session import Store

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UP = "1 while the database answers and has the shape that this Trueup needs."
Rows = Sequence[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric of a reading: `labels` name its first columns, `column` is the number's place after those."""

    reading: str
    name: str
    help: str
    labels: tuple[str, ...]
    column: int = 0
    counter: bool = False


FAMILIES = (
    Family(
        "runs", "trueup_runs", "Runs begun in the last 24 hours, by what has become of them.", ("target", "state"),
    ),
    Family(
        "run_closed_age", "trueup_run_closed_age_seconds",
        "Seconds since a run of the target last came to its end.", ("target",),
    ),
    Family("drift", "trueup_drift_open", "Drift that stands open.", ("target", "kind")),
    Family(
        "drift_urgent", "trueup_drift_urgent",
        "Disputed accounts that may belong to somebody who has departed.", ("target",),
    ),
    Family(
        "drift_age", "trueup_drift_oldest_age_seconds",
        "Seconds since the oldest open drift of the kind appeared.", ("target", "kind"),
    ),
    Family(
        "changes", "trueup_changes", "Changes of the target's newest run, by what has become of them.",
        ("target", "state"),
    ),
    Family(
        "steps", "trueup_steps", "Mutations of the last 24 hours whose outcome is known.", ("target", "outcome"),
    ),
    Family(
        "steps_unsettled", "trueup_steps_unsettled",
        "Mutations whose outcome is not known yet: a re-read settles them before anything else.", ("target",),
    ),
    Family(
        "snapshot_age", "trueup_snapshot_age_seconds",
        "Seconds since the current certified read of the connector began; +Inf when there is none.", ("connector",),
    ),
    Family(
        "reads_refused", "trueup_reads_refused", "Reads of the last 24 hours that did not become current.",
        ("connector",),
    ),
    Family("vendor_use", "trueup_vendor_calls", "Calls to the vendor since ever.", ("connector",), counter=True),
    Family(
        "vendor_use", "trueup_vendor_throttled", "Calls that the vendor answered with: too many.", ("connector",), 1,
        counter=True,
    ),
    Family(
        "vendor_use", "trueup_vendor_waited_seconds", "Seconds that workers have waited for their turn.",
        ("connector",), 2, counter=True,
    ),
    Family("jobs_failed", "trueup_jobs_failed", "Slots of the last 24 hours that failed for good.", ("job",)),
    Family(
        "hints", "trueup_hints", "Events of the last 24 hours that a source's vendor has told us of.",
        ("source", "said"),
    ),
    Family(
        "subscriptions", "trueup_subscription_seconds_left",
        "Seconds for which the source's vendor will go on telling us of changes; 0 when it does not.",
        ("source", "resource"),
    ),
    Family(
        "subscriptions_failed", "trueup_subscriptions_failed",
        "Resources whose changes could not be subscribed to when it was last tried.", ("source",),
    ),
    Family("notices_unsent", "trueup_notices_unsent", "What people have not been told yet.", ("kind",)),
    Family("chain", "trueup_chain_entries", "Entries of the audit chain; it never gets shorter.", ("stream",),
           counter=True),
    Family("paused", "trueup_paused", "1 while somebody has paused the connector (all: everything).", ("connector",)),
)  # fmt: skip


class Vitals(Collector):
    """What a scrape sees of the database. One scrape at a time: a second waits for the first."""

    def __init__(
        self, store: Store, loaded: Loaded, watched_since: dt.datetime, now: Callable[[], dt.datetime]
    ) -> None:
        self._store, self._loaded, self._since, self._now = store, loaded, watched_since, now
        self._one_at_a_time = Lock()

    def collect(self) -> Iterator[Metric]:
        yield gauge("trueup_info", "Which Trueup this is.", ("version",), [((version("trueup"),), 1.0)])
        now = self._now()
        try:
            self._store.assert_current()
            with self._one_at_a_time, self._store.begin() as session:
                found, pasts = vitals.readings(session, now), vitals.job_pasts(session)
        except TrueupError:  # /readyz says what is wrong; a scrape without an answer would say less than this
            yield gauge("trueup_database_up", UP, (), [((), 0.0)])
            return
        yield gauge("trueup_database_up", UP, (), [((), 1.0)])
        yield from (self._family(family, found[family.reading]) for family in FAMILIES)
        yield from _queues(found)
        yield from self._jobs(pasts, now)

    def _family(self, family: Family, rows: Rows) -> Metric:
        width = len(family.labels)
        values = {
            tuple(str(cell) or "all" for cell in row[:width]): float(str(row[width + family.column])) for row in rows
        }
        if family.reading == "snapshot_age":
            settings = self._loaded.settings
            values = {(name,): float("inf") for name in (*settings.sources, *settings.targets)} | values
        make = counter if family.counter else gauge
        return make(family.name, family.help, family.labels, list(values.items()))

    def _jobs(self, pasts: Mapping[str, JobPast], now: dt.datetime) -> Iterator[Metric]:
        """One value for each job of the schedule, so that one which never ran shows as well."""
        settings = self._loaded.settings
        scheduled = periods(settings, now)
        late = {one.job for one in overdue(scheduled, pasts, settings.schedule.overdue_after, self._since, now)}
        success = {job: past.last_success for job in scheduled if (past := pasts.get(job))}
        yield gauge(
            "trueup_job_overdue", "1 when the job has not succeeded for too many of its intervals.", ("job",),
            [((job,), float(job in late)) for job in scheduled],
        )  # fmt: skip
        yield gauge(
            "trueup_job_success_age_seconds", "Seconds since the job last succeeded; +Inf when it never has.", ("job",),
            [((job,), (now - at).total_seconds() if (at := success.get(job)) else float("inf")) for job in scheduled],
        )  # fmt: skip


def _queues(found: Mapping[str, Rows]) -> Iterator[Metric]:
    """What waits for a worker, by the queue that its nudges go to; a queue in which nothing waits is at 0."""
    waiting: dict[tuple[str, str], tuple[float, float]] = {
        (queue, what): (0.0, 0.0)
        for what, queues in {"change": ("leaver", "apply"), "part": ("sync",), "job": ("sync", "housekeeping")}.items()
        for queue in queues
    }

    def queue_of(job: str) -> str:
        """Of one that is no longer in the schedule: that of the tick, which ends it."""
        kind = next((kind for kind in TASKS if f"{job} ".startswith(f"{kind} ")), "")
        return QUEUES[TASKS.get(kind, "tick")]

    def add(queue: str, what: str, number: object, age: object) -> None:
        before = waiting[queue, what]
        waiting[queue, what] = before[0] + float(str(number)), max(before[1], float(str(age)))

    for leaving, number, age in found["changes_waiting"]:
        add("leaver" if leaving else "apply", "change", number, age)
    for _, number, age in found["parts"]:
        add("sync", "part", number, age)
    for job, number, age in found["jobs_waiting"]:
        add(queue_of(str(job)), "job", number, age)
    labels = ("queue", "what")
    yield gauge(
        "trueup_queue_waiting", "Jobs, parts of reads and changes that no worker has finished.", labels,
        [(key, number) for key, (number, _) in waiting.items()],
    )  # fmt: skip
    yield gauge(
        "trueup_queue_age_seconds", "For how long the oldest of them has waited.", labels,
        [(key, age) for key, (_, age) in waiting.items()],
    )  # fmt: skip


Values = Sequence[tuple[Sequence[str], float]]


def gauge(name: str, help: str, labels: Sequence[str], values: Values) -> Metric:
    family = GaugeMetricFamily(name, help, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def counter(name: str, help: str, labels: Sequence[str], values: Values) -> Metric:
    family = CounterMetricFamily(name, help, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def scraper(vitals_of: Collector) -> Callable[[], bytes]:
    """What answers a scrape: the database's vitals, and this process's own."""
    registry = CollectorRegistry()
    registry.register(vitals_of)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return lambda: generate_latest(registry)
