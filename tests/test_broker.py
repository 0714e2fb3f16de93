"""The broker against a real Redis: what a worker still takes after Redis was away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Consumer, Queue
from redis.exceptions import ConnectionError as Away

from worker import broker
from worker.embedded import redis
from worker.flows.site import Nudge

LOG = logging.getLogger(__name__)


@pytest.fixture
def state(new_state: Callable[[], Path]) -> Iterator[Path]:
    folder = new_state()
    yield folder
    redis.stop(folder)


@pytest.mark.parametrize("end", ["ack_log_error", "reject_log_error"])
def test_a_message_whose_end_cannot_be_told_holds_no_place_in_the_worker(state: Path, end: str) -> None:
    """As Celery ends a message: an error of the connection is written down, and nothing is raised."""
    app = broker.celery(redis.start(state).url)
    taken: list[Any] = []
    with app.connection_for_read() as connection:
        consumer = Consumer(connection, [Queue("housekeeping")], on_message=taken.append, prefetch_count=1)
        with consumer:
            broker.Broker(app).send(Nudge("tick"))
            broker.Broker(app).send(Nudge("tick"))
            connection.drain_events(timeout=5)
            assert len(taken) == 1
            assert not consumer.channel.qos.can_consume(), "one at a time, and one is in hand"

            redis.stop(state)
            getattr(taken[0], end)(LOG, (Away,))

            assert consumer.channel.qos.can_consume(), "it would never listen again, and never learn that Redis is away"
