"""A glance is good for a moment, and for nothing that was changed since."""

from __future__ import annotations

from worker.glance import Glance


class Clock:
    time = 100.0

    def __call__(self) -> float:
        return self.time


def test_what_was_seen_is_good_for_a_moment_from_the_beginning_of_the_look() -> None:
    clock = Clock()
    glance = Glance[str](5.0, clock)
    began = glance.now()
    clock.time += 3
    assert glance.saw("7", "active", began) == "active"
    assert (glance.of("7"), glance.of("8")) == ("active", None)
    clock.time += 2
    assert glance.of("7") is None


def test_what_is_about_to_change_is_looked_at_again() -> None:
    glance = Glance[str](5.0, Clock())
    glance.saw("7", "active", glance.now())
    glance.saw("8", "active", glance.now())
    glance.forget("7")
    assert (glance.of("7"), glance.of("8")) == (None, "active")
