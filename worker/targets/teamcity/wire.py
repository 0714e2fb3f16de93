"""TeamCity's answers as far as we read them, how it words its errors, and how locators are written into a path."""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.errors import Denied, Misshapen
from worker.rest import Reply

ALL_USERS = "ALL_USERS_GROUP"
ROOT = "_Root"
EVERYWHERE = "g"


class _Answer(BaseModel):
    """Unknown attributes are ignored: new ones appear without a change of version."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, populate_by_name=True)


class RoleAssignment(_Answer):
    roleId: str
    scope: str


class RoleAssignments(_Answer):
    role: list[RoleAssignment]


class GroupKey(_Answer):
    key: str


class GroupKeys(_Answer):
    """`group` must come, even empty: a wrapper without its list says nothing."""

    group: list[GroupKey]


class Property(_Answer):
    name: str
    value: str = ""


class Properties(_Answer):
    property: list[Property]


class UserRow(_Answer):
    """A user whose details were asked for by name. Named fields always come when they may be seen (an empty list as an
    empty list, no password as false), so one of the four that is absent was hidden. Empty name and email are absent."""

    id: int
    username: str
    name: str = ""
    email: str = ""
    hasPassword: bool | None = None
    roles: RoleAssignments | None = None
    groups: GroupKeys | None = None
    properties: Properties | None = None


def filled(row: UserRow) -> UserRow:
    """With nothing in place of what is hidden; that it was hidden is said besides."""
    nothing = {
        "roles": RoleAssignments(role=[]),
        "groups": GroupKeys(group=[GroupKey(key=ALL_USERS)]),
        "hasPassword": False,
        "properties": Properties(property=[]),
    }
    return row.model_copy(update={name: empty for name, empty in nothing.items() if getattr(row, name) is None})


class WholeUser:
    """A user whose every detail we were allowed to see."""

    __slots__ = ("email", "groups", "has_password", "id", "name", "properties", "roles", "username")

    def __init__(self, row: UserRow, target: str) -> None:
        if row.hasPassword is None or row.roles is None or row.groups is None or row.properties is None:
            raise Denied(
                f"{target} hides roles, groups, properties or the password mark of user {row.id} from our credentials."
                " Give their account the global right to view user profiles (view_user_profile); nothing is taken"
                " from anybody on an account that was read in part."
            )
        self.id = str(row.id)
        self.username = row.username
        self.name = row.name
        self.email = row.email
        self.has_password = row.hasPassword
        self.roles = frozenset((r.roleId, r.scope) for r in row.roles.role)
        self.groups = frozenset(g.key for g in row.groups.group)
        self.properties: Mapping[str, str] = {p.name: p.value for p in row.properties.property}


USER_FIELDS = (
    "id,username,name,email,hasPassword,roles(role(roleId,scope)),groups(group(key)),properties(property(name,value))"
)


class Users(_Answer):
    count: int
    user: list[UserRow]
    nextHref: str | None = None


class Group(_Answer):
    key: str
    name: str
    parents: GroupKeys = Field(alias="parent-groups")
    roles: RoleAssignments


class Groups(_Answer):
    count: int
    group: list[Group]
    nextHref: str | None = None


GROUP_FIELDS = "count,nextHref,group(key,name,parent-groups(group(key)),roles(role(roleId,scope)))"


class RoleId(_Answer):
    id: str


class RoleIds(_Answer):
    role: list[RoleId]


class Permission(_Answer):
    id: str


class Permissions(_Answer):
    permission: list[Permission]


class Role(_Answer):
    id: str
    name: str = ""
    included: RoleIds
    permissions: Permissions


class Roles(_Answer):
    count: int
    role: list[Role]
    nextHref: str | None = None


ROLE_FIELDS = "count,nextHref,role(id,name,included(role(id)),permissions(permission(id)))"


class Project(_Answer):
    id: str


class Projects(_Answer):
    count: int
    project: list[Project] = []
    nextHref: str | None = None


class Server(_Answer):
    internalId: str = Field(min_length=1)
    version: str


class OwnUser(_Answer):
    id: int
    username: str


class PermissionAssignment(_Answer):
    isGlobalScope: bool = False
    permission: Permission


class PermissionAssignments(_Answer):
    permissionAssignment: list[PermissionAssignment]


class AuthModule(_Answer):
    name: str


class AuthModules(_Answer):
    module: list[AuthModule] = []


class AuthSettings(_Answer):
    perProjectPermissions: bool
    allowGuest: bool = False
    modules: AuthModules = AuthModules()


class Token(_Answer):
    """`expirationTime` is absent for one that never ends."""

    name: str
    expirationTime: str | None = None


class Tokens(_Answer):
    token: list[Token]


class NewProperty(BaseModel):
    name: str
    value: str


class NewProperties(BaseModel):
    property: list[NewProperty]


class NewUser(BaseModel):
    """The body of a create. TeamCity ignores what it does not know, so a misspelt key would pass in silence."""

    username: str
    name: str
    email: str
    properties: NewProperties


class GroupList(BaseModel):
    """The body that replaces a user's groups; without `group` it would drop them all."""

    group: list[GroupKey]


A = TypeVar("A", bound=_Answer)


def read(model: type[A], reply: Reply) -> A:
    """The answer as that model. Raises Misshapen, without quoting what was in it."""
    try:
        return model.model_validate(reply.json())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "its whole"
        raise Misshapen(f"{reply.call} does not keep TeamCity's contract: {place}: {first['msg']}.") from error


def segment(text: str) -> str:
    """One path segment, everything percent-encoded."""
    return quote(text, safe="")


def by_id(id: str) -> str:
    """The path of a user, by the only locator that means one user for certain."""
    if not re.fullmatch(r"-?\d+", id):
        raise ValueError(f"not a TeamCity user id: {id!r}")
    return f"app/rest/users/{segment(f'id:{id}')}"


def by_username(username: str) -> str:
    """Matched whatever the case. Coded, because a name may hold what a locator would take for its own."""
    coded = base64.urlsafe_b64encode(username.encode()).decode().rstrip("=")
    return f"app/rest/users/{segment(f'username:($base64:{coded})')}"


def by_email(email: str) -> str:
    """A locator of every user with this address, whatever its case: addresses are not unique."""
    coded = base64.urlsafe_b64encode(email.encode()).decode().rstrip("=")
    value = email if re.fullmatch(r"[\w.+@-]+", email) else f"($base64:{coded})"
    return f"email:(value:{value},matchType:equals,ignoreCase:true)"


def moment(text: str | None) -> dt.datetime | None:
    """A time as TeamCity writes it, 20270101T000000+0000; None where it is absent or in another form."""
    try:
        return dt.datetime.strptime(text or "", "%Y%m%dT%H%M%S%z")
    except ValueError:
        return None


_SUMMARY = re.compile(r"^(Responding with error|Error has occurred)[^\n]*\n?")
_DETAILS = re.compile(r"^Details: (?:[\w.$]+(?:Exception|Error): ?)?")
_XML_MESSAGE = re.compile(r"<message>(.*?)</message>|\bmessage=\"([^\"]*)\"", re.DOTALL)


def error_text(content: bytes) -> str:
    """What TeamCity says went wrong: newer servers in JSON, some in XML, those of 2024.03 in plain text."""
    text = content.decode("utf-8", "replace").strip()
    if text.startswith("{"):
        return _json_messages(text) or text
    if text.startswith("<"):
        return "; ".join(a or b for a, b in _XML_MESSAGE.findall(text)) or "a web page"
    lines = _SUMMARY.sub("", text, count=1).splitlines() or [text]
    return " ".join(_DETAILS.sub("", line) for line in lines)


def _json_messages(text: str) -> str:
    try:
        found: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ""
    errors = found.get("errors") if isinstance(found, dict) else None
    if not isinstance(errors, list):
        return ""
    return "; ".join(str(e["message"]) for e in errors if isinstance(e, dict) and e.get("message"))
