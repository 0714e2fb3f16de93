"""What was seen of a Looker a moment ago, so that many who leave at once do not each ask for the same again.

Only where a departed person's access is taken. Nothing here ever says that something is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from worker.core.identity import Entitlement
from worker.glance import Glance
from worker.rest import LANE
from worker.targets.looker import reading
from worker.targets.looker.rows import AttributeRow, GroupTreeRow, OwnedRow, Reader, UserRow

SHARED = 10.0  # seconds for what is everybody's
ALERTS = 30.0  # and for what takes many calls, and is asked again, alone, before it is handed over
HELD = 300.0  # for what is to be ended: to end it once more than needed harms nobody


def _users() -> Glance[UserRow]:
    return Glance()


def _groups() -> Glance[Mapping[str, GroupTreeRow]]:
    return Glance(SHARED)


def _alerts() -> Glance[Sequence[OwnedRow]]:
    return Glance(ALERTS)


def _attributes() -> Glance[Sequence[AttributeRow]]:
    return Glance(SHARED)


def _held() -> Glance[bool]:
    return Glance(HELD)


@dataclass(frozen=True)
class Lately:
    """One Looker's."""

    _users: Glance[UserRow] = field(default_factory=_users)
    _groups: Glance[Mapping[str, GroupTreeRow]] = field(default_factory=_groups)
    _alerts: Glance[Sequence[OwnedRow]] = field(default_factory=_alerts)
    _attributes: Glance[Sequence[AttributeRow]] = field(default_factory=_attributes)
    _held: Glance[bool] = field(default_factory=_held)

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

    def holds(self, account_id: str, one: Entitlement) -> bool:
        """Whether it was seen there a moment ago; believed once, for whoever takes it. False where it has to be looked
        for."""
        key = f"{account_id} {one.bare.key}"
        seen = _leaving() and self._held.of(key) is not None
        self._held.forget(key)
        return seen

    def saw_held(self, account_id: str, held: Collection[Entitlement], since: float) -> None:
        for one in held:
            self._held.saw(f"{account_id} {one.bare.key}", True, since)

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

    def attributes(
        self, read: Callable[[], Sequence[AttributeRow] | None], needed: Collection[str]
    ) -> Sequence[AttributeRow] | None:
        """How every attribute is defined, and certainly those that are needed; None where Looker does not show them."""
        known = self._attributes.of("") if _leaving() else None
        if known is not None and set(needed) <= {row.id for row in known}:
            return known
        began = self._attributes.now()
        found = read()
        return None if found is None else self._attributes.saw("", found, began)

    def alerts(self, read: Callable[[], Sequence[OwnedRow] | None]) -> Sequence[OwnedRow] | None:
        """Everybody's, for Looker cannot be asked for one owner's; None where it does not show them."""
        known = self._alerts.of("") if _leaving() else None
        if known is not None:
            return known
        began = self._alerts.now()
        found = read()
        return None if found is None else self._alerts.saw("", found, began)


def _leaving() -> bool:
    return LANE.get() == "leaver"
