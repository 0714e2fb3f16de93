"""Whoever approves their own request goes by another name: any name in common gives them away."""

from __future__ import annotations

import pytest

from worker.core.actors import is_machine, same_human

SAME = {
    "the same login": ("operator:ana", "operator:ana"),
    "another name and the same login": ("operator:ana", "Bob (login ana)"),
    "two other names and the same login": ("Cid (login ana)", "Bob (login ana)"),
    "the same name from a shared login": ("operator:ana", "ana (login root)"),
    "other letters": ("operator:ana", "ANA (login root)"),
    "a login forged into the name": ("operator:ana", "x (login bob) (login ana)"),
    "the prefix as a name": ("operator:ana", "operator:ana (login root)"),
    "the same token": ("api:hr", "api:hr"),
}
OTHER = {
    "two logins": ("operator:ana", "operator:bob"),
    "a machine asked": ("hook:okta", "operator:ana"),
    "a token asked": ("api:hr", "operator:ana"),
    "a longer name": ("operator:ana", "operator:anastasia"),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME.keys())
def test_may_be_one_human(one: str, other: str) -> None:
    assert same_human(one, other)
    assert same_human(other, one)


@pytest.mark.parametrize(("one", "other"), OTHER.values(), ids=OTHER.keys())
def test_are_two(one: str, other: str) -> None:
    assert not same_human(one, other)


def test_nobody_in_particular_is_a_machine() -> None:
    assert [is_machine(a) for a in ("schedule", "hook:okta", "watch")] == [True] * 3
    assert not is_machine("operator:schedule")
    assert not is_machine("api:hr")
