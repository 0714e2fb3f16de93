"""Lists that come page by page: how far one was followed, and what shows that it went round in a circle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from worker.errors import Misshapen, Moved

LONGEST = 5_000  # pages of a list: a million people and more


@dataclass
class Trail:
    """How far a list has been followed, so that another worker can go on: plain data, when asked for `as_args`.

    `following` is the next link exactly as given, "" before the first page and after the last. `seen` are marks of the
    links and of the pages so far.
    """

    following: str = ""
    pages: int = 0
    seen: list[str] = field(default_factory=list)

    def as_args(self) -> dict[str, Any]:
        return asdict(self)

    def follow(self, call: str, ids: Sequence[str], following: str) -> None:
        """Past the page that `call` answered with, to its next link. A page without rows may have one, too."""
        self.pages += 1
        self.following = following
        if following:
            self._mark(call, "a next link", following)
        if ids:
            self._mark(call, "a whole page", "".join(ids))
        if self.pages > LONGEST:
            raise Misshapen(f"{call}: the list does not end after {LONGEST} pages; does a proxy repeat them?")

    def _mark(self, call: str, what: str, text: str) -> None:
        mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        if mark in self.seen:
            raise Misshapen(f"{call}: the pages go round in a circle ({what} came twice).")
        self.seen.append(mark)


def refuse_doubles(source: str, listed: int, different: int, page: int) -> None:
    """A few people change lists while they are read; a page of them that came before means that another is lost."""
    doubles = listed - different
    if doubles >= page:
        raise Moved(
            f"{source} listed {doubles} people twice, so its lists may have gone round in a circle, or many people"
            " changed while they were read."
        )
