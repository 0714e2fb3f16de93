"""How Graph's user becomes an identity: only what is positively said counts, and an odd record is held, never lost."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from worker.core.identity import Identity, Standing, attribute_of
from worker.core.render import quoted

# Our name for an attribute (Okta's), and Graph's. The first ones are always asked for.
ALWAYS: Mapping[str, str] = {
    "login": "userPrincipalName",
    "email": "mail",
    "displayName": "displayName",
    "firstName": "givenName",
    "lastName": "surname",
    "employeeNumber": "employeeId",
    "department": "department",
    "title": "jobTitle",
    "userType": "userType",
    "employeeType": "employeeType",
    "organization": "companyName",
    "office": "officeLocation",
    "countryCode": "usageLocation",
}
WHERE_ASKED: Mapping[str, str] = {
    "costCenter": "employeeOrgData.costCenter",
    "division": "employeeOrgData.division",
    "city": "city",
    "state": "state",
    "zipCode": "postalCode",
    "streetAddress": "streetAddress",
    "mobilePhone": "mobilePhone",
    "primaryPhone": "businessPhones",
    "preferredLanguage": "preferredLanguage",
}
# Properties of a user that a list can be asked for. Any other name would make Graph refuse the whole list.
_NAMES = """
    ageGroup businessPhones city companyName consentProvidedForMinor country createdDateTime creationType department
    displayName employeeHireDate employeeId employeeLeaveDateTime employeeOrgData employeeType externalUserState
    externalUserStateChangeDateTime faxNumber givenName imAddresses isResourceAccount jobTitle
    lastPasswordChangeDateTime legalAgeGroupClassification mail mailNickname mobilePhone officeLocation
    onPremisesDistinguishedName onPremisesDomainName onPremisesExtensionAttributes onPremisesImmutableId
    onPremisesLastSyncDateTime onPremisesSamAccountName onPremisesSecurityIdentifier onPremisesSyncEnabled
    onPremisesUserPrincipalName otherMails passwordPolicies postalCode preferredDataLocation preferredLanguage
    proxyAddresses securityIdentifier showInAddressList signInSessionsValidFromDateTime state streetAddress surname
    usageLocation userPrincipalName userType
"""
_PROPERTIES = frozenset(_NAMES.split())
_PARTED = {  # the properties that have parts, by which a rule names them
    "employeeOrgData": re.compile(r"costCenter|division"),
    "onPremisesExtensionAttributes": re.compile(r"extensionAttribute([1-9]|1[0-5])"),
}
_EXTENSION = re.compile(r"extension_[0-9a-fA-F]{32}_[A-Za-z][A-Za-z0-9_]*")
_OUTSIDE = "#ext#"  # in the user principal name of whoever comes from another directory
GUEST, DELETED = "guest", "deleted"
_MISSING = object()


def property_of(name: str) -> str:
    """Graph's name for an attribute that a rule names; "" for one that Graph cannot have."""
    own = ALWAYS.get(name) or WHERE_ASKED.get(name) or name
    whole, _, part = own.partition(".")
    if part:
        return own if whole in _PARTED and _PARTED[whole].fullmatch(part) else ""
    if whole in _PARTED:
        return ""
    return own if own in _PROPERTIES or _EXTENSION.fullmatch(own) else ""


class People:
    """Reads the user records of one tenant, keeping the base attributes and those that the policy wants."""

    def __init__(self, source: str, guests: str, disabled: Standing, wanted: Collection[str] = ()) -> None:
        self._source, self._guests, self._disabled = source, guests, disabled
        asked = {name: found for name in sorted(wanted) if (found := property_of(name))}
        self._properties = {**asked, **ALWAYS}

    @property
    def select(self) -> str:
        """What Graph is asked for, by name: without it neither `accountEnabled` nor most of the rest is given."""
        whole = {name.partition(".")[0] for name in self._properties.values()}
        return ",".join(["id", "accountEnabled", *sorted(whole)])

    def identity(self, record: Mapping[str, Any]) -> Identity:
        """Somebody who is there."""
        attributes, problems = self._attributes(record)
        standing, status, unclear = self._standing(record)
        problems = [*unclear, *problems]
        if standing is Standing.DEPARTED:  # believed even of an odd record, since it needs no more than the id
            problems = []
        return self._made(record, Standing.HOLD if problems else standing, status, attributes, problems)

    def deleted(self, record: Mapping[str, Any]) -> Identity:
        """Somebody among the deleted items. The user principal name is what it was before."""
        attributes, _ = self._attributes(record)
        login, mark = attributes.get("login"), str(record["id"]).replace("-", "")
        if isinstance(login, str) and login.lower().startswith(mark.lower()) and len(login) > len(mark):
            attributes["login"] = login[len(mark) :]
        return self._made(record, Standing.DEPARTED, DELETED, attributes, [])

    def _made(
        self, record: Mapping[str, Any], standing: Standing, status: str,
        attributes: Mapping[str, str | tuple[str, ...]], problems: list[str],
    ) -> Identity:  # fmt: skip
        login, email = attributes.get("login", ""), attributes.get("email", "")
        return Identity(
            self._source,
            record["id"],
            standing,
            status,
            login if isinstance(login, str) else "",
            email if isinstance(email, str) else "",
            attributes,
            "; ".join(problems),
        )

    def _standing(self, record: Mapping[str, Any]) -> tuple[Standing, str, list[str]]:
        """What the record says of the person, the word for it, and why that is not clear."""
        enabled = record.get("accountEnabled")
        if enabled is False:
            return self._disabled, "disabled", []
        if enabled is not True:
            said = "nothing" if enabled is None else quoted(str(enabled), 40)
            return Standing.HOLD, "", [f"Graph says {said} of whether the account is enabled"]
        kind = record.get("userType", _MISSING)
        if kind is _MISSING or not (kind is None or isinstance(kind, str)):
            return Standing.HOLD, "enabled", ["Graph does not say whether this is a member or a guest"]
        if kind is not None and kind.lower() == GUEST:
            return self._guest()
        if kind is None and _OUTSIDE in str(record.get("userPrincipalName")).lower():
            return Standing.HOLD, "enabled", ["they come from another directory, and Graph does not say that as what"]
        return Standing.ACTIVE, "enabled", []

    def _guest(self) -> tuple[Standing, str, list[str]]:
        if self._guests == "include":
            return Standing.ACTIVE, GUEST, []
        return Standing.HOLD, GUEST, ["a guest of this tenant; `guests: include` treats them like everybody"]

    def _attributes(self, record: Mapping[str, Any]) -> tuple[dict[str, str | tuple[str, ...]], list[str]]:
        """The attributes that can be made out, and what is wrong with the others."""
        attributes: dict[str, str | tuple[str, ...]] = {}
        problems = []
        for name, own in self._properties.items():
            value = _value(record, own)
            if value is _MISSING and not own.startswith("extension_"):
                problems.append(f"Graph was asked for {own} and left it out")
            if value is None or value is _MISSING or value in ("", []):
                continue
            text = attribute_of(value)
            if text is None or (name in ALWAYS and not isinstance(value, str)):
                problems.append(f"the property {own} is not text")
            if text is not None:
                attributes[name] = text
        if not attributes.get("login"):
            problems.append("there is no user principal name")
        return attributes, list(_once(problems))


def _once(problems: list[str]) -> Iterator[str]:
    """Two of our names may be one of Graph's."""
    yield from dict.fromkeys(problems)


def _value(record: Mapping[str, Any], own: str) -> Any:
    whole, _, part = own.partition(".")
    value = record.get(whole, _MISSING)
    if not part or value is _MISSING or value is None:
        return value
    return value.get(part) if isinstance(value, dict) else value
