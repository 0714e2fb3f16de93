"""Who asked: tells by the names in the trail whether two who asked may be one and the same human.

An operator is written `operator:ana` by their login, or `Ana Ruiz (login ana)` where they gave themselves a name; what
came through a token is `api:<token>`, through a hook `hook:<source>`, by itself `schedule`.
"""

from __future__ import annotations

import re

_LOGIN = re.compile(r"^(?P<said>.*) \(login (?P<login>[^()]*)\)$", re.DOTALL)
_MACHINES = ("schedule", "hook", "watch")


def names_of(actor: str) -> frozenset[str]:
    """Every name that an actor goes by: the one they gave, and the login, which they cannot choose."""
    found = _LOGIN.match(actor)
    names = [found["said"], found["login"]] if found else [actor]
    return frozenset(_plain(name) for name in names) - {""}


def _plain(name: str) -> str:
    return " ".join(name.removeprefix("operator:").split()).casefold()


def same_human(one: str, other: str) -> bool:
    """Whether they may be one human: any name in common is enough, since whoever approves their own request has every
    reason to give another one."""
    return bool(names_of(one) & names_of(other))


def is_machine(actor: str) -> bool:
    """Whether nobody in particular asked."""
    return actor.partition(":")[0] in _MACHINES
