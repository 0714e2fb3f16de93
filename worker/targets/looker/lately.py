"""What was seen of a Looker in the last seconds, so that many who leave at once do not each ask for the same again.

Only where a departed person's access is taken. Nothing here ever says that something is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from worker.glance import Glance
from worker.rest import LANE
from worker.targets.looker import reading
from worker.targets.looker.rows import AlertRow, GroupTreeRow, Reader, UserRow

SHARED = 10.0  # seconds for what is everybody's
ALERTS = 30.0  # and for what takes many calls, and is asked again, alone, before it is handed over


def _users() -> Glance[UserRow]:
    return Glance()


def _groups() -> Glance[Mapping[str, GroupTreeRow]]:
    return Glance(SHARED)


def _alerts() -> Glance[Sequence[AlertRow]]:
    return Glance(ALERTS)


@dataclass(frozen=True)
class Lately:
    """One Looker's."""

    _users: Glance[UserRow] = field(default_factory=_users)
    _groups: Glance[Mapping[str, GroupTreeRow]] = field(default_factory=_groups)
    _alerts: Glance[Sequence[AlertRow]] = field(default_factory=_alerts)

    def user(self, reader: Reader, id: str) -> UserRow | None:
        """As it was while the account was being looked at, where nothing that shows on it was sent since; else as it is
        now."""
        return (self._users.of(id) if _leaving() else None) or self._looked(reader, id)

    def _looked(self, reader: Reader, id: str) -> UserRow | None:
        began = self._users.now()
        found = reading.read_user(reader, id)
        return found and self._users.saw(id, found, began)

    def remembers(self, id: str) -> bool:
        """Whether the account might be told of as it was, and not as it is."""
        return _leaving() and self._users.of(id) is not None

    def now(self) -> float:
        return self._users.now()

    def noticed(self, user: UserRow, since: float) -> None:
        """On the way to something else, in a look that began then."""
        self._users.saw(user.id, user, since)

    def changes(self, id: str) -> None:
        """Something is sent that shows on the account."""
        self._users.forget(id)

    def groups(self, reader: Reader, needed: Collection[str]) -> Mapping[str, GroupTreeRow]:
        """Every group, and certainly those that are needed, if they exist at all."""
        found = self._groups.of("") if _leaving() else None
        if found is not None and all(id in found for id in needed):
            return found
        began = self._groups.now()
        return self._groups.saw("", reading.groups(reader), began)

    def group(self, id: str) -> GroupTreeRow | None:
        """None where it has to be asked for."""
        found = self._groups.of("") if _leaving() else None
        return found.get(id) if found else None

    def alerts(self, read: Callable[[], Sequence[AlertRow] | None]) -> Sequence[AlertRow] | None:
        """Everybody's, for Looker cannot be asked for one owner's; None where it does not show them."""
        known = self._alerts.of("") if _leaving() else None
        if known is not None:
            return known
        began = self._alerts.now()
        found = read()
        return None if found is None else self._alerts.saw("", found, began)


def _leaving() -> bool:
    return LANE.get() == "leaver"
