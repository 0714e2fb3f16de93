"""Whatever a vendor calls things, a terminal, a pipe and a JSON reader are shown it, and obey none of it."""

from __future__ import annotations

import json

import pytest

from worker.screen import Screen

HOSTILE = "a\x1b[2J\x07\x9b31m\u202egnp.exe\u2066\u200b[bold red]b[/bold red][/] \\"
SHOWN = r"a\u001b[2J\u0007\u009b31m\u202egnp.exe\u2066\u200b[bold red]b[/bold red][/] \ "[:-1]


@pytest.fixture(params=["on a terminal", "in a pipe"])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("FORCE_COLOR", "1") if request.param == "on a terminal" else monkeypatch.delenv(
        "FORCE_COLOR", raising=False
    )
    return Screen()


@pytest.mark.parametrize("where", ["line", "heading", "trouble", "progress"])
def test_hostile_text_is_shown_and_not_obeyed(screen: Screen, capfd: pytest.CaptureFixture[str], where: str) -> None:
    getattr(screen, where)(HOSTILE)
    told = "".join(capfd.readouterr())
    assert SHOWN in told
    assert not {"\x07", "\x9b", "\u202e", "\u2066", "\u200b"} & set(told)
    assert "\x1b[2J" not in told


def test_hostile_cells_are_shown_and_not_obeyed(screen: Screen, capfd: pytest.CaptureFixture[str]) -> None:
    screen.table(["who\x1b[2J"], [(HOSTILE,)])
    told = capfd.readouterr().out
    assert SHOWN in told
    assert "\x1b[2J" not in told


def test_a_line_keeps_its_own_line_breaks(screen: Screen, capfd: pytest.CaptureFixture[str]) -> None:
    screen.line("one\n  two")
    assert capfd.readouterr().out == "one\n  two\n"


def test_json_says_the_same_and_shows_nothing_a_terminal_obeys(capfd: pytest.CaptureFixture[str]) -> None:
    data = {HOSTILE: ["João", HOSTILE, "\U0001f600", "\U000e0041"]}
    Screen(as_json=True).json(data)
    told = capfd.readouterr().out
    assert json.loads(told) == data
    assert "João" in told
    assert all(c.isprintable() or c == "\n" for c in told)
