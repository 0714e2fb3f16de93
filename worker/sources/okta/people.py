"""How Okta's user becomes an identity: the status decides what may happen, and an odd record is held, never lost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from worker.core.identity import Identity, Standing, attribute_of
from worker.core.render import quoted

STANDINGS: Mapping[str, Standing] = {
    "ACTIVE": Standing.ACTIVE,
    "PASSWORD_EXPIRED": Standing.ACTIVE,  # noticed only at the next sign-in, so it says nothing about the person
    "LOCKED_OUT": Standing.ACTIVE,  # passes by itself
    "RECOVERY": Standing.ACTIVE,  # a reset is under way
    "PROVISIONED": Standing.ACTIVE,  # activated, never signed in; the setting `provisioned` may say pending
    "STAGED": Standing.PENDING,
    "SUSPENDED": Standing.SUSPENDED,
    "DEPROVISIONED": Standing.DEPARTED,
}
ATTRIBUTES = (
    "login", "email", "firstName", "lastName", "displayName", "employeeNumber", "department", "title", "userType",
    "organization", "division", "costCenter", "manager", "managerId",
)  # fmt: skip
_NAMES = ("firstName", "lastName")
_ONLY_TEXT = {str}


class People:
    """Reads the user records of one source, keeping the base attributes and those that the policy wants."""

    def __init__(self, source: str, provisioned: Standing, wanted: Collection[str] = ()) -> None:
        self._source = source
        self._standings = {**STANDINGS, "PROVISIONED": provisioned}
        self._kept = frozenset(ATTRIBUTES) | frozenset(wanted)

    def identity(self, record: Mapping[str, Any]) -> Identity:
        """One person. A departure is believed even of an odd record, since it needs no more than the id."""
        status, profile = record.get("status"), record.get("profile")
        problems = _status_problems(status, record.get("transitioningToStatus"), self._standings)
        attributes = self._sound(profile)
        if attributes is None:
            attributes, found = self._odd(profile)
            problems += found
        standing = self._standings.get(status, Standing.HOLD) if isinstance(status, str) else Standing.HOLD
        if standing is Standing.DEPARTED:
            problems = []
        login, email = attributes.get("login", ""), attributes.get("email", "")
        return Identity(
            self._source,
            record["id"],
            Standing.HOLD if problems else standing,
            status if isinstance(status, str) else "",
            login if isinstance(login, str) else "",
            email if isinstance(email, str) else "",
            attributes,
            "; ".join(problems),
        )

    def _sound(self, profile: Any) -> Mapping[str, str | tuple[str, ...]] | None:
        """The attributes of an ordinary profile, in which all is text; None for one that needs a closer look."""
        if type(profile) is not dict or "login" not in profile:
            return None
        values = profile.values()
        if set(map(type, values)) != _ONLY_TEXT or "" in values:
            return None
        if profile.keys() <= self._kept:
            return profile
        return {name: value for name, value in profile.items() if name in self._kept}

    def _odd(self, profile: Any) -> tuple[Mapping[str, str | tuple[str, ...]], list[str]]:
        """The attributes that can be made out, and what is wrong with the others."""
        if not isinstance(profile, dict):
            return {}, ["Okta gave no profile"]
        attributes: dict[str, str | tuple[str, ...]] = {}
        problems = []
        for name in sorted(self._kept & profile.keys()):
            value = profile[name]
            text = attribute_of(value)
            if value is None:
                continue
            if text is None or (name in ATTRIBUTES and not isinstance(value, str)):
                problems.append(f"the attribute {name} is not text")
            if text:
                attributes[name] = text
            elif name in _NAMES:
                problems.append(f"the attribute {name} is empty")
        if not attributes.get("login"):
            problems.append("there is no login")
        return attributes, problems


def _status_problems(status: Any, towards: Any, known: Collection[str]) -> list[str]:
    if not isinstance(status, str) or status not in known:
        return [f"Okta gives the status {quoted(str(status), 40)}, which Trueup does not know"]
    if towards and towards != status:
        return [f"Okta is changing the status from {status} to {quoted(str(towards), 40)}"]
    return []
