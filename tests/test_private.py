"""Files that name people are for whoever asked for them, and go where they were asked to."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import Misconfigured
from worker.private import writing


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def write(path: Path, text: str) -> None:
    with writing(path) as file:
        file.write(text)


def test_a_new_file_is_for_nobody_else(tmp_path: Path) -> None:
    write(tmp_path / "plan.json", "{}")
    assert mode(tmp_path / "plan.json") == 0o600


def test_a_file_that_was_shared_on_purpose_stays_so(tmp_path: Path) -> None:
    shared = tmp_path / "report.html"
    shared.write_text("an older and longer report")
    shared.chmod(0o640)
    write(shared, "new")
    assert (mode(shared), shared.read_text()) == (0o640, "new")


def test_a_link_that_somebody_laid_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "report.html").symlink_to(precious)
    with pytest.raises(Misconfigured, match=r"report\.html: it is a symbolic link"):
        write(tmp_path / "report.html", "new")
    assert precious.read_text() == "precious"


def test_a_file_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"none/plan\.json: No such file or directory"):
        write(tmp_path / "none" / "plan.json", "{}")
