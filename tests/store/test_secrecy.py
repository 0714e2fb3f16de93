"""What the database says about a fault of ours quotes nobody."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from worker.store.session import Store


def test_a_statement_that_fails_is_told_without_its_values(store: Store) -> None:
    with pytest.raises(DBAPIError) as caught, store.begin() as session:
        session.execute(text("SELECT nothing FROM nowhere WHERE login = :login"), {"login": "ana.ruiz@acme.example"})
    assert "nowhere" in str(caught.value)
    assert "ana.ruiz" not in str(caught.value)
