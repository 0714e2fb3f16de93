"""Takes nudges to the workers: Celery over Redis, as a hint that may be lost. PostgreSQL holds the truth.

Every task is short, and no more is in a message than the ids that it is about. A message that nobody took within a few
ticks is worth nothing, since the next tick has sent another one: so queues stay short while workers are busy or gone.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.transport import redis, virtual
from redis.exceptions import RedisError

from worker import logs
from worker.flows.site import Nudge

# Where each task goes. Whoever departs waits for nothing else: `leaver` has worker processes of its own.
QUEUES: Mapping[str, str] = {
    "offboard": "leaver",
    "apply departures": "leaver",
    "look for leavers": "leaver",
    "apply": "apply",
    "read": "sync",
    "reconcile": "sync",
    "tick": "housekeeping",
    "verify": "housekeeping",
    "retention": "housekeeping",
    "tell": "housekeeping",
    "subscribe": "housekeeping",
    "watch": "housekeeping",
}
ORDINARY = ("apply", "sync", "housekeeping")
LEAVER = ("leaver",)

EXPIRES = 30  # seconds: a nudge is sent again at every tick while there is something to do
TIME_LIMIT = 600  # seconds, for a task that hangs; a sound one hands back long before (tasks.app.BATCH)
LOOK_AGAIN = 3.0  # seconds at most between two looks for a Redis that is away
VISIBILITY = 2 * TIME_LIMIT  # nothing that still runs is handed to a second worker; the sweep does not wait for this

_SETTINGS: Mapping[str, Any] = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": False,  # the sweep sends another nudge; a task that kills workers must not come back
    "task_ignore_result": True,
    "task_time_limit": TIME_LIMIT,
    "task_serializer": "json",
    "accept_content": ["json"],
    "worker_prefetch_multiplier": 1,
    "worker_hijack_root_logger": False,
    "worker_send_task_events": False,
    "worker_enable_remote_control": False,  # nobody steers us through Redis, and no queue per worker is left behind
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_transport_options": {
        "visibility_timeout": VISIBILITY,
        "unacked_restore_interval": 2,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 10,
        "socket_keepalive": True,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "health_check_interval": 10,
        "retry_policy": {"max_retries": 1},
        "global_keyprefix": "trueup:",
    },
}


class _QoS(redis.QoS):  # type: ignore[misc]
    """Forgets a message whose end cannot be told to Redis; in kombu it holds its place in the worker for ever, and a
    worker with no free place does not listen, and never learns that Redis was away. Redis keeps it until it expires."""

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        finally:
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue)
        finally:
            virtual.QoS.ack(self, delivery_tag)


class _Channel(redis.Channel):  # type: ignore[misc]
    QoS = _QoS


class _Transport(redis.Transport):  # type: ignore[misc]
    Channel = _Channel


class _Connection(Connection):  # type: ignore[misc]
    """Finds a Redis that is back within seconds; kombu would come to look for it every half a minute."""

    def get_transport_cls(self) -> type[redis.Transport]:
        return _Transport

    def ensure_connection(self, *given: Any, **how: Any) -> Any:
        return super().ensure_connection(*given, **{"interval_start": 1, "interval_max": LOOK_AGAIN, **how})


class _Amqp(AMQP):  # type: ignore[misc]
    Connection = _Connection


def celery(url: str) -> Celery:
    """The Celery app for a Redis: rediss:// with a verified certificate, redis+socket:// for a local one."""
    app = Celery("trueup", broker=_broker_url(url), amqp=_Amqp)
    app.conf.update(_SETTINGS)
    if url.startswith("rediss://"):
        app.conf.update(broker_use_ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED})
    app.conf.task_routes = {f"trueup.{task}": {"queue": queue} for task, queue in QUEUES.items()}
    app.conf.task_default_queue = "housekeeping"
    return app


def _broker_url(url: str) -> str:
    """As kombu calls a unix socket."""
    return url.replace("unix://", "redis+socket://", 1) if url.startswith("unix://") else url


class Broker:
    """Sends nudges with a Celery app. One that cannot be sent is a line in the log: the next tick finds the work."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, nudge: Nudge) -> None:
        try:
            self._app.send_task(f"trueup.{nudge.task}", args=list(nudge.args), expires=EXPIRES, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            logs.event("nudge lost", level=logging.WARNING, task=nudge.task, error=type(error).__name__)
