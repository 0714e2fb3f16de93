"""The trueup.yaml that `trueup init` writes."""

from __future__ import annotations

from importlib.resources import files


def starter() -> str:
    """A commented file that loads as it stands; what it names still has to be made one's own."""
    return files("worker.settings").joinpath("starter.yaml").read_text(encoding="utf-8")
