"""What every flow is handed: settings, the store, the connectors, who asks, and what time it is."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlmodel import Session

from worker import logs
from worker.core.audit import Event
from worker.core.identity import Person
from worker.core.render import person_label
from worker.errors import Paused
from worker.ports import Source, Target
from worker.settings import Loaded
from worker.store import chain, installations
from worker.store.session import Store
from worker.witness import Witness

_EVENTS, _NUDGES = "events", "nudges"
CLAIM = dt.timedelta(seconds=60)  # on one account: renewed before each step, and longer than any call of one may take


def _quiet(_: str) -> None:
    """Says nothing."""


@dataclass(frozen=True, slots=True)
class Nudge:
    """A hint to workers that there is something to do; the database says what. Lost or doubled, it harms nothing."""

    task: str
    args: tuple[str, ...] = ()


def _uncounted() -> None:
    """No vendor is called."""


def _unsent(_: Nudge) -> None:
    """Nobody is told; whoever asked does the work itself, or the next tick of a beat finds it."""


@dataclass(frozen=True)
class Site:
    """One Trueup at work. `actor` is who or what asked ("operator:ana", "schedule"); `owner` names this process in
    leases; `say` shows progress to whoever waits; `send` takes a nudge to the workers;
    `count_calls` writes down what vendors were asked since it was last called; `witness` remembers outside the
    database how far the trail is."""

    loaded: Loaded
    store: Store
    sources: Mapping[str, Source]
    targets: Mapping[str, Target]
    actor: str
    owner: str
    now: Callable[[], dt.datetime]
    say: Callable[[str], None] = field(default=_quiet)
    send: Callable[[Nudge], None] = field(default=_unsent)
    count_calls: Callable[[], None] = field(default=_uncounted)
    witness: Witness = field(default_factory=Witness)
    claim: dt.timedelta = CLAIM
    stopped: threading.Event = field(default_factory=threading.Event)  # set when whatever runs is to end
    recognised: dict[str, float] = field(default_factory=dict)  # connector -> when it was asked who it is, monotonic

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One transaction of the store. Once it has been committed, what it recorded is logged and its nudges leave; if
        it never is, neither happens."""
        with self.store.begin() as session:
            yield session
        for event in session.info.pop(_EVENTS, ()):
            _log(event)
        for nudge in session.info.pop(_NUDGES, ()):
            self.send(nudge)

    def nudge(self, session: Session, *nudges: Nudge) -> None:
        session.info.setdefault(_NUDGES, []).extend(nudges)

    @property
    def final_sources(self) -> list[str]:
        """The sources whose silence about somebody is final in the end."""
        return [name for name, source in self.sources.items() if source.final_absence]

    def today(self) -> dt.date:
        """The day in the policy's time zone, which `until` is about."""
        return self.loaded.settings.today(self.now())

    def refuse_if_paused(self, connector: str) -> None:
        """Raises Paused; asked before every vendor call, so that a pause stops a run in its middle."""
        if self.stopped.is_set():
            raise Paused("This run was stopped.")
        with self.begin() as session:
            pause = installations.paused(session, connector)
        if pause is not None:
            whole = pause.connector or "Trueup"
            raise Paused(
                f"{whole} is paused by {pause.actor} since {pause.at:%Y-%m-%d %H:%M} UTC ({pause.reason});"
                f" run `trueup resume{f' {pause.connector}' if pause.connector else ''}` to go on."
            )

    def event(
        self,
        kind: str,
        facts: Mapping[str, object],
        *,
        personal: Mapping[str, str] | None = None,
        person_id: object = None,
        run_id: object = None,
    ) -> Event:
        """An event in the name of whoever asked, at this moment. Ids are uuids or their text."""
        return Event(
            kind=kind,
            actor=self.actor,
            at=self.now(),
            facts=facts,
            personal=personal or {},
            person_id=str(person_id) if person_id else None,
            run_id=str(run_id) if run_id else None,
        )

    def record(self, session: Session, *events: Event) -> None:
        """Append to the audit chain; the last thing in a transaction, since it locks the chain's head to the end."""
        if events:
            chain.append_many(session, events)
            session.info.setdefault(_EVENTS, []).extend(events)


def _log(event: Event) -> None:
    """The line for an entry of the trail: its facts name nobody, and what does is in the trail alone."""
    facts = {"run": event.run_id, "person": event.person_id, **event.facts}
    logs.entry(event.kind, {key: short for key, value in facts.items() if (short := _short(value)) is not None})


def _short(value: object) -> str | int | None:
    """Ids and counts; of what is larger than a line, the trail has the rest."""
    if isinstance(value, list | tuple):
        return " ".join(one for one in value if isinstance(one, str)) or None
    return value if isinstance(value, int) or value is None else str(value)


def label_of(person: Person) -> str:
    """`Ana Ruiz <ana@acme.example>`."""
    name = f"{person.text('firstName')} {person.text('lastName')}".strip()
    login = person.speaking[0].login if person.identities else ""
    return person_label(name, login)
