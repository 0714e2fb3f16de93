"""Which properties Graph's objects have, which of them come unasked, and which come only in company."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# What comes without $select, by type.
USUAL: Mapping[str, tuple[str, ...]] = {
    "user": (
        "businessPhones", "displayName", "givenName", "jobTitle", "mail", "mobilePhone", "officeLocation",
        "preferredLanguage", "surname", "userPrincipalName", "id",
    ),
    "group": (
        "id", "deletedDateTime", "classification", "createdDateTime", "description", "displayName",
        "expirationDateTime", "groupTypes", "isAssignableToRole", "mail", "mailEnabled", "mailNickname",
        "membershipRule", "membershipRuleProcessingState", "onPremisesSyncEnabled", "preferredDataLocation",
        "preferredLanguage", "proxyAddresses", "renewedDateTime", "resourceBehaviorOptions",
        "resourceProvisioningOptions", "securityEnabled", "securityIdentifier", "theme", "uniqueName", "visibility",
    ),
    "device": (
        "id", "deletedDateTime", "accountEnabled", "deviceId", "displayName", "isCompliant", "isManaged",
        "operatingSystem", "operatingSystemVersion", "trustType",
    ),
    "servicePrincipal": (
        "id", "deletedDateTime", "accountEnabled", "appDisplayName", "appId", "appOwnerOrganizationId",
        "appRoleAssignmentRequired", "appRoles", "displayName", "servicePrincipalType", "tags",
    ),
    "organization": ("id", "deletedDateTime", "countryLetterCode", "createdDateTime", "displayName", "tenantType",
                     "verifiedDomains"),
}  # fmt: skip
# What comes only by $select.
ON_REQUEST: Mapping[str, tuple[str, ...]] = {
    "user": (
        "accountEnabled", "ageGroup", "assignedLicenses", "city", "companyName", "consentProvidedForMinor", "country",
        "createdDateTime", "creationType", "deletedDateTime", "department", "employeeHireDate", "employeeId",
        "employeeLeaveDateTime", "employeeOrgData", "employeeType", "externalUserState",
        "externalUserStateChangeDateTime", "faxNumber", "identities", "imAddresses", "isResourceAccount",
        "lastPasswordChangeDateTime", "legalAgeGroupClassification", "mailNickname", "onPremisesDistinguishedName",
        "onPremisesDomainName", "onPremisesExtensionAttributes", "onPremisesImmutableId",
        "onPremisesLastSyncDateTime", "onPremisesSamAccountName", "onPremisesSecurityIdentifier",
        "onPremisesSyncEnabled", "onPremisesUserPrincipalName", "otherMails", "passwordPolicies", "postalCode",
        "preferredDataLocation", "proxyAddresses", "securityIdentifier", "showInAddressList", "signInActivity",
        "signInSessionsValidFromDateTime", "state", "streetAddress", "usageLocation", "userType",
    ),
    "group": (
        "onPremisesDomainName", "onPremisesLastSyncDateTime", "onPremisesSamAccountName",
        "onPremisesSecurityIdentifier",
    ),
    "device": ("approximateLastSignInDateTime", "deviceVersion", "profileType", "registrationDateTime"),
    "servicePrincipal": ("accountEnabled", "alternativeNames", "description", "homepage", "notes"),
    "organization": ("city", "country", "onPremisesSyncEnabled"),
}  # fmt: skip
# Properties that Graph keeps elsewhere: a collection cannot be asked for them.
ELSEWHERE = frozenset(
    {
        "aboutMe", "birthday", "hireDate", "interests", "mailboxSettings", "mySite", "pastProjects", "preferredName",
        "responsibilities", "schools", "skills",
    }
)  # fmt: skip
# Left out in silence where the app lacks this permission.
GUARDED: Mapping[str, str] = {
    "employeeLeaveDateTime": "User-LifeCycleInfo.Read.All",
    "signInActivity": "AuditLog.Read.All",
}
_LISTS = frozenset(
    {
        "alternativeNames", "appRoles", "assignedLicenses", "businessPhones", "groupTypes", "identities", "imAddresses",
        "otherMails", "proxyAddresses", "resourceBehaviorOptions", "resourceProvisioningOptions", "tags",
        "verifiedDomains",
    }
)  # fmt: skip
_EXTENSION = re.compile(r"extension_[0-9a-f]{32}_\w+")


def known(type: str, name: str) -> bool:
    """Whether an object of this type can have it; "directoryObject" is any of them."""
    if _EXTENSION.fullmatch(name):
        return True
    types = USUAL if type == "directoryObject" else (type,)
    return any(name in USUAL[one] or name in ON_REQUEST[one] or name in ELSEWHERE for one in types)


def shown(type: str, properties: Mapping[str, Any], select: tuple[str, ...]) -> dict[str, Any]:
    """What an answer has of an object: a property without a value is null or an empty list, an extension left out."""
    names = [name for name in select if known(type, name)] if select else USUAL[type]
    return {
        name: properties.get(name, [] if name in _LISTS else None)
        for name in names
        if name in properties or not _EXTENSION.fullmatch(name)
    }
