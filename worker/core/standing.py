"""What several sources together say of one person: one rule, for plans and for departure marks alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.core.identity import Standing

LOST = None
"""In the place of a standing: the source's last whole read did not bring this identity any more."""

FINAL = 2
"""Whole reads in a row that had somebody neither in a list nor by id; at a source where absence is final, they have
departed then."""


def standing_of(standing: str | None, final: bool) -> Standing | None:
    """What a source says of an identity that its last read brought (with this standing) or did not (None)."""
    if standing is not None:
        return Standing(standing)
    return Standing.DEPARTED if final else LOST


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a person is, all told. `unsure` says why nothing may be taken from them in this run, `disagreement` what
    each source says where they do not agree; both are "" otherwise."""

    standing: Standing
    unsure: str = ""
    disagreement: str = ""


def weigh(said: Sequence[tuple[str, Standing | None]], authority: str | None) -> Weighed:
    """`said` is what each identity's source says of it, LOST for nothing; of one source, the older identities first.

    Where the authority knows the person it decides; where it does not, the others must agree. A source that cannot
    say (HOLD) holds whoever has not departed.
    """
    by_source = {source: _one_voice([s for at, s in said if at == source]) for source, _ in said}
    heard = {standing for standing in by_source.values() if standing is not LOST}
    if authority in by_source:
        standing = by_source[authority] or Standing.HOLD
    else:
        standing = next(iter(heard)) if len(heard) == 1 else Standing.HOLD
    if Standing.HOLD in heard and standing is not Standing.DEPARTED:
        standing = Standing.HOLD
    lost = [source for source, one in by_source.items() if one is LOST]
    unsure = f"{' and '.join(lost)} no longer {'has' if len(lost) == 1 else 'have'} them" if lost else ""
    sure = standing in (Standing.DEPARTED, Standing.HOLD)
    return Weighed(standing, "" if sure else unsure, _disagreement(by_source, authority))


def _one_voice(said: Sequence[Standing | None]) -> Standing | None:
    """What one source says of a person who is several people to it, which is so only where a human has said that they
    are one: an old identity that has left says nothing beside one that has not. If none is there, the newest counts."""
    there = {standing for standing in said if standing not in (LOST, Standing.DEPARTED)}
    if there:
        return next(iter(there)) if len(there) == 1 else Standing.HOLD
    return said[-1]


def _disagreement(by_source: Mapping[str, Standing | None], authority: str | None) -> str:
    """Departed here and not there, or lost here and not departed there."""
    away = {s for s in by_source.values() if s in (LOST, Standing.DEPARTED)}
    if not away or len(away) == len(set(by_source.values())):
        return ""
    said = []
    for source, standing in by_source.items():
        who = f"{source} (the authority)" if source == authority else source
        said.append(f"{who} no longer has them" if standing is LOST else f"{who} says {standing.value}")
    return ", ".join(said)
