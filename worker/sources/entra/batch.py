"""Many small reads of Graph in one call, each judged by itself: an answer of 200 says nothing about what is in it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from worker.core.render import quoted
from worker.errors import Misshapen, Unavailable
from worker.ports import Line
from worker.sources.entra.graph import VERSION, Graph

TOGETHER = 20  # Graph's ceiling
_BUSY = frozenset({424, 429, 500, 502, 503, 504})  # 424: what it depended on was busy
_UNANSWERED = 0  # our own word for an item that the answer leaves out


@dataclass(frozen=True, slots=True)
class Question:
    """A read below the version, with the query as it is sent."""

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """What one question came to; `body` is what JSON has."""

    status: int
    body: Any
    wait: float | None = None  # seconds, where Graph says how long

    @property
    def content(self) -> bytes:
        return orjson.dumps(self.body)


class Batch:
    """Asks again, within `attempts` and `longest_wait`, what was throttled, failed or left out, and nothing else."""

    def __init__(self, graph: Graph, line: Line, attempts: int, first_pause: float, longest_wait: float) -> None:
        self._graph, self._line = graph, line
        self._attempts, self._first_pause, self._longest_wait = attempts, first_pause, longest_wait

    def ask(self, questions: Sequence[Question]) -> Iterator[Told]:
        """An answer to each, in their order, as far as it is one: good, or a refusal that lasts."""
        for start in range(0, len(questions), TOGETHER):
            some = {str(n): question for n, question in enumerate(questions[start : start + TOGETHER])}
            told = self._answered(some)
            yield from (told[id] for id in some)

    def _answered(self, questions: Mapping[str, Question]) -> Mapping[str, Told]:
        told: dict[str, Told] = {}
        pause, renewed = self._first_pause, False
        for attempt in range(1, self._attempts + 1):
            asked = {id: question for id, question in questions.items() if id not in told}
            carried = self._graph.login.carried()
            answers = self._once(asked)
            if not renewed and any(one.status == 401 for one in answers.values()):
                self._graph.login.renewed(carried)
                renewed = True
                answers = {id: one for id, one in answers.items() if one.status != 401}
            busy = {id: answers.get(id, Told(_UNANSWERED, None)) for id in asked}
            told |= {id: one for id, one in busy.items() if one.status not in _BUSY and one.status != _UNANSWERED}
            waits = [one.wait for id, one in busy.items() if id not in told and one.wait is not None]
            if len(told) == len(questions):
                return told
            wait = max(waits) if waits else pause * (0.5 + random.random())  # noqa: S311
            if attempt == self._attempts or wait > self._longest_wait:
                raise self._given_up({id: one for id, one in busy.items() if id not in told}, waits)
            self._line.sleep(wait)
            pause *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _once(self, questions: Mapping[str, Question]) -> Mapping[str, Told]:
        items = [
            {"id": id, "method": "GET", "url": one.path, **({"headers": dict(one.headers)} if one.headers else {})}
            for id, one in questions.items()
        ]
        reply = self._graph.ask(f"{VERSION}/$batch", {"requests": items})
        body = reply.json()
        responses = body.get("responses") if isinstance(body, dict) else None
        if not isinstance(responses, list):
            raise Misshapen(f"{reply.call} answered no responses ({quoted(reply.text)}).")
        told: dict[str, Told] = {}
        for one in responses:
            id = one.get("id") if isinstance(one, dict) else None
            if not isinstance(id, str) or id not in questions or id in told or type(one.get("status")) is not int:
                raise Misshapen(f"{reply.call} answered what was not asked, or twice, or without a status.")
            told[id] = Told(one["status"], one.get("body"), _retry_after(one.get("headers")))
        return told

    def _given_up(self, left: Mapping[str, Told], waits: Sequence[float]) -> Unavailable:
        statuses = sorted({one.status for one in left.values()})
        said = ", ".join("no answer" if status == _UNANSWERED else str(status) for status in statuses)
        return Unavailable(
            f"{len(left)} of the reads that {self._graph.name} was asked for in one call came to nothing ({said})."
            " Run it again later.",
            max(waits, default=None),
        )


def _retry_after(headers: Any) -> float | None:
    if not isinstance(headers, dict):
        return None
    value = {str(name).lower(): str(value) for name, value in headers.items()}.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else None
