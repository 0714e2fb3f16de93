"""Whoever has left can be forgotten: nothing in the database names them any more, and the audit chain is whole."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlmodel import select

from tests.store.test_mirror import ANA, NOW, ROLE, SEVEN, observed, pulled
from worker.core.identity import Account, Entitlement, Standing
from worker.errors import Refused
from worker.ports import SourcePage, TargetPage
from worker.store import chain, tables
from worker.store.forgetting import Forgotten, forget
from worker.store.session import Store
from worker.store.tables import (
    ChangeRow,
    Decision,
    Episode,
    Link,
    PersonIdentity,
    PersonRow,
    Run,
    StepRow,
    Waiver,
)

Rows = Callable[[str], list[tuple[object, ...]]]

PERSON = uuid.UUID(int=1)
SENTENCE = "Grant role Developer to Ana Ruiz <ana@acme.example>"
LATER = NOW + dt.timedelta(hours=1)
DISABLED = Account("7", SEVEN.login, SEVEN.email, False, SEVEN.profile)
TABLES = sorted(tables.Snapshot.metadata.tables)


@pytest.fixture
def somebody(store: Store) -> Store:
    """Ana, with something in every table that can name a person, and all of it over: she has left."""
    pulled(store, SourcePage((ANA,), (), (("g1", "u1"),)))
    observed(store, TargetPage((SEVEN,), (("7", ROLE), ("7", Entitlement("attribute", "12", "ana@region")))))
    with store.begin() as session:
        session.add(PersonRow(id=PERSON, created_at=NOW))
        session.flush()
        episode = Episode(
            drift_key="k", target="looker", kind="missing", person_id=PERSON, account_id="7", sentence=SENTENCE,
            opened_at=NOW, last_seen_at=NOW, closed_at=NOW,
        )  # fmt: skip
        run = Run(
            target="looker",
            state="closed",
            actor="eve",
            reason="schedule",
            policy_hash="h",
            started_at=NOW,
            closed_at=NOW,
        )
        session.add_all([
            PersonIdentity(source="okta", identity_id="u1", person_id=PERSON, since=NOW),
            Link(
                target="looker", account_id="7", person_id=PERSON, rank="primary", state="linked", key_used="login",
                actor="eve", at=NOW,
            ),
            episode, run,
            Decision(
                fingerprint="f", episode_id=episode.id, verdict="approved", actor="eve", note="Ana asked for it",
                at=NOW, expires_at=NOW,
            ),
            Waiver(
                instance_id="i", target="looker", account_id="7", entitlement=ROLE.key, kind="excess", owner="eve",
                actor="eve", note="Ana needs it", at=NOW, until=NOW, ended_at=NOW,
            ),
        ])  # fmt: skip
        session.flush()
        session.add_all([
            ChangeRow(
                run_id=run.id, position=1, target="looker", operation="grant", drift="missing", person_id=PERSON,
                account_id="7", before="Ana", after="Ana Ruiz", fingerprint="f", episode_id=episode.id, gate="auto",
                state="applied", sentence=SENTENCE, task={"fields": {"first_name": "Ana"}, "hands": [], "account": {}},
            ),
            StepRow(
                run_id=run.id, target="looker", account_id="7", person_id=PERSON, position=1, verb="update",
                args={"first_name": "Ana"}, sentence=SENTENCE, outcome="applied", detail="Ana", before="Ana",
                after="Ana Ruiz", owner="w", fence=1, attempted_at=NOW, finished_at=NOW,
            ),
        ])  # fmt: skip
        chain.append(
            session, kind="step attempted", actor="eve", at=NOW, facts={"account": "7"},
            personal={"sentence": SENTENCE}, person_id=PERSON,
        )  # fmt: skip
    pulled(store, SourcePage(), at=LATER)
    observed(store, TargetPage(), at=LATER)
    return store


def named_in(rows: Rows) -> list[str]:
    """The tables that still name her anywhere."""
    return [
        name
        for name in TABLES
        if rows(f"SELECT 1 FROM {name} AS t WHERE row_to_json(t)::text ~* '(ana ruiz|ana@|\"ana|ana needs|ana asked)'")
    ]


def forgotten(store: Store) -> Forgotten:
    with store.begin() as session:
        return forget(session, str(PERSON), "operator:eve", LATER)


def test_nothing_names_a_forgotten_person_any_more(somebody: Store, rows: Rows) -> None:
    expected = ["account", "change", "decision", "episode", "holding", "identity", "personal", "step", "waiver"]
    assert named_in(rows) == expected
    assert forgotten(somebody) == Forgotten(values=1, rows=8, shown_by=())
    assert named_in(rows) == []
    with somebody.begin() as session:
        assert chain.verify(session).ok


def test_what_a_source_or_target_still_shows_stays_and_is_said(somebody: Store, rows: Rows) -> None:
    left = dt.timedelta(hours=2)
    departed = replace(ANA, standing=Standing.DEPARTED, status="DEPROVISIONED")
    pulled(somebody, SourcePage((departed,)), at=NOW + left)
    observed(somebody, TargetPage((DISABLED,)), at=NOW + left)
    assert forgotten(somebody).shown_by == ("looker", "okta")
    assert named_in(rows) == ["account", "identity"]


def employed(store: Store) -> None:
    pulled(store, SourcePage((ANA,)), at=LATER + dt.timedelta(hours=1))


def able(store: Store) -> None:
    observed(store, TargetPage((SEVEN,)), at=LATER + dt.timedelta(hours=1))


def open_drift(store: Store) -> None:
    with store.begin() as session:
        session.add(
            Episode(drift_key="k2", target="looker", kind="x", person_id=PERSON, opened_at=NOW, last_seen_at=NOW)
        )


def unsettled(store: Store) -> None:
    with store.begin() as session:
        step = session.exec(select(StepRow)).one()
        step.outcome = "unknown"


TOO_EARLY = {
    "they have not left": employed,
    "one of their accounts is still active": able,
    "something about them still stands open": open_drift,
    "has no known outcome yet": unsettled,
}


@pytest.mark.parametrize("why", TOO_EARLY)
def test_nobody_is_forgotten_while(somebody: Store, rows: Rows, why: str) -> None:
    TOO_EARLY[why](somebody)
    named = named_in(rows)
    with pytest.raises(Refused, match=why):
        forgotten(somebody)
    assert named_in(rows) == named


def test_others_are_not_touched(somebody: Store, rows: Rows) -> None:
    with somebody.begin() as session:
        forget(session, str(uuid.uuid4()), "operator:eve", LATER)
    assert len(named_in(rows)) == 9
