"""The few fields of Looker's answers that we read, held strictly to their shape, and whole lists page by page."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from worker.core.render import quoted
from worker.errors import Denied, Misshapen, Unavailable
from worker.rest import Reply

RESTARTS = 4  # how often a list that moves while it is read is read again from its start
POWERS = frozenset({"administer", "sudo", "manage_users", "manage_roles", "manage_groups"})

Row = TypeVar("Row", bound="IdRow")
Shaped = TypeVar("Shaped")


class Reader(Protocol):
    """Reads below /api/4.0: a Session."""

    def read(self, path: str, params: Mapping[str, str | int] | None = None) -> Reply: ...


class Looking(Reader, Protocol):
    """Reads what may be hidden from us, too: None then. A Session."""

    def look(self, path: str, params: Mapping[str, str | int] | None = None) -> Reply | None: ...


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class IdRow(_Shape):
    id: str


class UserRow(IdRow):
    """Fields that only administrators see have no default: an absent one means that something is hidden from us."""

    email: str | None
    first_name: str | None
    last_name: str | None
    is_disabled: bool
    verified_looker_employee: bool
    is_service_account: bool
    credentials_embed: list[object] | None
    roles_externally_managed: bool
    allow_direct_roles: bool
    allow_normal_group_membership: bool

    @property
    def roles_managed(self) -> bool:
        return self.roles_externally_managed or not self.allow_direct_roles


class ShellRow(UserRow):
    """Read with every field, to see whether anybody can log in with any credential."""

    model_config = ConfigDict(extra="allow")

    @property
    def empty(self) -> bool:
        credentials = [v for name, v in (self.model_extra or {}).items() if name.startswith("credentials_")]
        special = self.is_service_account or self.verified_looker_employee or self.credentials_embed
        return not self.email and not self.is_disabled and not special and not any(credentials)


class CredentialRow(_Shape):
    email: str | None = None


class DeepUserRow(UserRow):
    """With every way to log in. One that the user does not have is null or absent."""

    credentials_email: CredentialRow | None = None
    credentials_totp: CredentialRow | None = None
    credentials_saml: CredentialRow | None = None
    credentials_oidc: CredentialRow | None = None
    credentials_google: CredentialRow | None = None
    credentials_ldap: CredentialRow | None = None
    credentials_looker_openid: CredentialRow | None = None
    credentials_workforce: CredentialRow | None = None
    group_ids: list[str] | None

    def credential(self, name: str) -> CredentialRow | None:
        found: CredentialRow | None = getattr(self, f"credentials_{name}")
        return found

    @property
    def addresses(self) -> frozenset[str]:
        found = [self.email, *(row.email for name in CREDENTIALS if (row := self.credential(name)))]
        return frozenset(address for address in found if address)


LINKS = ("saml", "oidc", "google", "ldap", "looker_openid", "workforce")  # made by a login, and by nobody else
CREDENTIALS = ("email", "totp", *LINKS)


class SessionRow(IdRow):
    created_at: str | None = None
    expires_at: str | None = None
    browser: str | None = None
    city: str | None = None


class KeyRow(IdRow):
    created_at: str | None = None
    purpose: str | None = None


class AppRow(_Shape):
    """An application that people let act for them; `activated_users` are those who did."""

    client_guid: str
    display_name: str | None
    activated_users: list[IdRow] | None = None


class DestinationRow(_Shape):
    type: str | None
    address: str | None = None


class ScheduleRow(IdRow):
    name: str | None = None
    title: str | None = None
    user_id: str | None
    enabled: bool
    dashboard_id: str | None = None
    look_id: str | None = None
    lookml_dashboard_id: str | None = None
    scheduled_plan_destination: list[DestinationRow] | None


class AlertDestinationRow(_Shape):
    destination_type: str
    email_address: str | None = None
    action_hub_integration_id: str | None = None


class FieldRow(_Shape):
    title: str | None = None


class AlertRow(IdRow):
    owner_id: str
    is_disabled: bool
    custom_title: str | None = None
    field: FieldRow | None = None
    investigative_content_title: str | None = None
    destinations: list[AlertDestinationRow] | None


class OwnedRow(IdRow):
    """Whose an alert is."""

    owner_id: str


class FolderRow(_Shape):
    name: str | None = None


class ContentRow(IdRow):
    title: str | None
    user_id: str | None
    folder: FolderRow | None = None
    public: bool = False


class MembershipRow(IdRow):
    group_ids: list[str] | None


class PermissionSetRow(_Shape):
    name: str | None = None
    all_access: bool = False
    permissions: list[str] | None = None


class RoleRow(IdRow):
    name: str | None
    internal: bool = False
    permission_set: PermissionSetRow | None

    @property
    def admin(self) -> bool:
        permissions = self.permission_set or PermissionSetRow()
        return self.name == "Admin" or permissions.all_access or "administer" in (permissions.permissions or ())

    @property
    def closed(self) -> str:
        return "Looker assigns it itself" if self.internal else ""

    @property
    def privileged(self) -> bool:
        permissions = (self.permission_set or PermissionSetRow()).permissions or ()
        return self.admin or not POWERS.isdisjoint(permissions)


class GroupRow(IdRow):
    """`include_by_default` groups take every new account by themselves (All Users)."""

    name: str | None
    externally_managed: bool
    include_by_default: bool

    @property
    def closed(self) -> str:
        if self.externally_managed:
            return "mirrored from single sign-on; change it there"
        return "Looker itself puts every account into it" if self.include_by_default else ""


class GroupTreeRow(GroupRow):
    parent_group_ids: list[str] | None
    role_ids: list[str] | None


class AttributeRow(IdRow):
    """A user attribute. System ones (the locale) are Looker's own."""

    name: str | None
    label: str | None
    type: str | None
    default_value: str | None = None
    is_system: bool
    is_permanent: bool
    value_is_hidden: bool
    user_can_edit: bool

    def closed(self, editable: bool) -> str:
        """`editable`: the settings accept that people change it themselves."""
        if self.value_is_hidden:
            return "its values are hidden, so nobody could tell whether they are right"
        if self.is_system or self.is_permanent:
            return "it is one of Looker's own"
        if self.user_can_edit and not editable:
            return "people can change its value themselves (accept that with `editable: accept`, or turn it off there)"
        return ""


class GroupValueRow(_Shape):
    group_id: str
    rank: int | None
    value: str | None


class ValueRow(_Shape):
    """A value that an account has from somewhere. A hidden one comes blank."""

    user_attribute_id: str
    source: str | None
    value: str | None
    value_is_hidden: bool

    @property
    def own(self) -> bool:
        """Where a value comes from is said in words that the contract does not list."""
        words = (self.source or "").lower().split()
        if not words or "default" in words or words[0] in ("group", "group:", "system"):
            return False
        if words[0] in ("user", "user:"):
            return True
        raise Misshapen(
            f"Looker says that a value of user attribute {self.user_attribute_id} comes from"
            f" {quoted(self.source or '', 40)!r}, which this version of Trueup does not know."
        )


class VersionRow(_Shape):
    looker_release_version: str


class SingleSignOnRow(_Shape):
    enabled: bool
    set_roles_from_groups: bool
    auth_requires_role: bool
    allow_direct_roles: bool
    allow_normal_group_membership: bool


ID = TypeAdapter(IdRow)
IDS = TypeAdapter(list[IdRow])
USERS = TypeAdapter(list[UserRow])
USER = TypeAdapter(UserRow)
SHELLS = TypeAdapter(list[ShellRow])
MEMBERSHIP = TypeAdapter(MembershipRow)
ROLES = TypeAdapter(list[RoleRow])
GROUPS = TypeAdapter(list[GroupTreeRow])
GROUP = TypeAdapter(GroupRow)
ATTRIBUTES = TypeAdapter(list[AttributeRow])
ATTRIBUTE = TypeAdapter(AttributeRow)
GROUP_VALUES = TypeAdapter(list[GroupValueRow])
VALUES = TypeAdapter(list[ValueRow])
VERSIONS = TypeAdapter(VersionRow)
DEEP_USER = TypeAdapter(DeepUserRow)
SESSIONS = TypeAdapter(list[SessionRow])
KEYS = TypeAdapter(list[KeyRow])
APPS = TypeAdapter(list[AppRow])
SCHEDULES = TypeAdapter(list[ScheduleRow])
SCHEDULE = TypeAdapter(ScheduleRow)
ALERT = TypeAdapter(AlertRow)
OWNED = TypeAdapter(list[OwnedRow])
CONTENTS = TypeAdapter(list[ContentRow])
SINGLE_SIGN_ON = TypeAdapter(SingleSignOnRow)

USER_FIELDS = ",".join(UserRow.model_fields)
GROUP_FIELDS = ",".join(GroupRow.model_fields)
ATTRIBUTE_FIELDS = ",".join(AttributeRow.model_fields)
VALUE_FIELDS = ",".join(ValueRow.model_fields)
GROUP_VALUE_FIELDS = ",".join(GroupValueRow.model_fields)
GROUP_TREE_FIELDS = ",".join(GroupTreeRow.model_fields)
DEEP_USER_FIELDS = ",".join(DeepUserRow.model_fields)
SCHEDULE_FIELDS = ",".join(ScheduleRow.model_fields)
DASHBOARD_FIELDS = "id,title,user_id,folder"
LOOK_FIELDS = "id,title,user_id,folder,public"


def shaped(reply: Reply, shape: TypeAdapter[Shaped]) -> Shaped:
    """The body in its shape. Raises Denied where fields are hidden from us, Misshapen where it is anything else."""
    try:
        return shape.validate_python(reply.json())
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        absent = sorted({str(f["loc"][-1]) for f in faults if f["type"] == "missing"})
        if absent and "id" not in absent and all(f["type"] == "missing" for f in faults):
            raise Denied(
                f"{reply.call} leaves out {', '.join(absent)}, which Looker shows to administrators only."
                " Give the account of our API key the Admin role."
            ) from error
        where = ".".join(str(part) for part in faults[0]["loc"]) or "the whole answer"
        raise Misshapen(f"{reply.call} is not its contract: {where}: {faults[0]['msg']}.") from error


def whole(
    reader: Reader, path: str, shape: TypeAdapter[list[Row]], size: int, params: Mapping[str, str | int]
) -> list[Row]:
    """All rows of a paged list, in the order of their ids.

    Pages overlap by one row and carry the total: a list that changes while it is read is read again, and at last
    Unavailable. A page may be shorter than asked for (no limit is documented), so its length ends nothing.
    """
    for _ in range(RESTARTS):
        rows = _once_through(reader, path, shape, size, params)
        if rows is not None:
            return rows
    raise Unavailable(f"GET {path} of Looker kept changing while it was read; it is read again later.")


def page(
    reader: Reader, path: str, shape: TypeAdapter[list[Row]], size: int, offset: int, params: Mapping[str, str | int]
) -> tuple[list[Row], int | None]:
    """Some rows of a paged list in the order of their ids, and how many it has (None where Looker does not say)."""
    reply = reader.read(path, {**params, "limit": size, "offset": offset, "sorts": "id"})
    found = shaped(reply, shape)
    if len(found) > size:
        raise Misshapen(f"{reply.call} gave {len(found)} rows where {size} were asked for.")
    return found, _total(reply)


def _once_through(
    reader: Reader, path: str, shape: TypeAdapter[list[Row]], size: int, params: Mapping[str, str | int]
) -> list[Row] | None:
    """None when the list moved under our feet."""
    rows: list[Row] = []
    first_total: int | None = None
    while True:
        some, total = page(reader, path, shape, size, max(0, len(rows) - 1), params)
        if not rows:
            first_total = total
        elif total != first_total or not some or some[0].id != rows[-1].id:
            return None
        fresh = some[1:] if rows else some
        rows += fresh
        if len(rows) == total or not fresh:
            ids = {row.id for row in rows}
            return rows if total in (None, len(rows)) and len(ids) == len(rows) else None


def gathered(
    reader: Looking, path: str, shape: TypeAdapter[list[Row]], size: int, params: Mapping[str, str | int]
) -> list[Row] | None:
    """All rows of a list that has pages and no promised order; None where Looker does not show it to us. A list that
    does not come to its own total is read again, and at last Unavailable."""
    for _ in range(RESTARTS):
        rows: dict[str, Row] = {}
        while True:
            reply = reader.look(path, {**params, "limit": size, "offset": len(rows)})
            if reply is None:
                return None
            before, total = len(rows), _total(reply)
            rows |= {row.id: row for row in shaped(reply, shape)}
            if len(rows) in (before, total):
                break
        if total in (None, len(rows)):
            return list(rows.values())
    raise Unavailable(f"GET {path} of Looker kept changing while it was read; it is read again later.")


def _total(reply: Reply) -> int | None:
    text = reply.headers.get("x-total-count")
    if text is None:
        return None
    if not text.isdigit():
        raise Misshapen(f"{reply.call} gives a total that is no number.")
    return int(text)


def unpaged(reply: Reply, shape: TypeAdapter[list[Shaped]]) -> list[Shaped]:
    """A list that Looker does not page, so a link to a next page means that it has begun to."""
    if "next" in reply.links:
        raise Misshapen(f"{reply.call} has begun to page its answer; this version of Trueup reads only the first page.")
    return shaped(reply, shape)


def same_address(left: str | None, right: str) -> bool:
    """As Looker compares addresses, and stricter than its search, which takes `_` and `%` for anything."""
    return left is not None and _folded(left) == _folded(right)


def _folded(address: str) -> str:
    return unicodedata.normalize("NFKC", address).casefold()


def with_address(reader: Reader, address: str) -> Sequence[UserRow]:
    """Every account that has exactly this address, disabled ones too."""
    found = whole(reader, "/users/search", USERS, 100, {"email": address, "fields": USER_FIELDS})
    return [row for row in found if same_address(row.email, address)]
