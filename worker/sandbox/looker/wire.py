"""How Looker writes what it knows as JSON: whole records, cut to the fields asked for, and paged."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import orjson

from worker.sandbox.looker.instance import (
    ADMIN,
    Alert,
    ApiKey,
    App,
    Content,
    Group,
    Instance,
    Role,
    Schedule,
    SingleSignOn,
    User,
)

Record = dict[str, Any]
Fields = dict[str, "Fields"]


def parse_fields(text: str) -> Fields:
    """`id,credentials_email(email)` as {"id": {}, "credentials_email": {"email": {}}}."""
    top: Fields = {}
    stack = [top]
    name = ""
    for character in f"{text},":
        if character in ",()":
            if name.strip():
                stack[-1].setdefault(name.strip(), {})
            if character == "(":
                stack.append(stack[-1][name.strip()])
            elif character == ")" and len(stack) > 1:
                stack.pop()
            name = ""
        else:
            name += character
    return top


def cut(value: Any, fields: Fields) -> Any:
    """Only the fields asked for; the others are absent, not null."""
    if not fields:
        return value
    if isinstance(value, list):
        return [cut(item, fields) for item in value]
    return {name: cut(value[name], nested) for name, nested in fields.items() if name in value}


def matches(pattern: str, value: str | None) -> bool:
    """Search as Looker does it: SQL LIKE without regard to case, so `_` is any one character; IS NULL, NOT NULL."""
    if pattern.upper() == "IS NULL":
        return value is None
    if pattern.upper() == "NOT NULL":
        return value is not None
    return value is not None and like(pattern).fullmatch(value) is not None


@lru_cache(256)
def like(pattern: str) -> re.Pattern[str]:
    pieces = ({"%": ".*", "_": "."}.get(c, re.escape(c)) for c in pattern)
    return re.compile("".join(pieces), re.IGNORECASE | re.DOTALL)


def page(items: Sequence[Any], query: Mapping[str, str], cap: int | None) -> tuple[Sequence[Any], int, int]:
    """The slice that limit and offset (or the deprecated page and per_page) name, with both. Limit 0 is everything."""
    size = query.get("limit") or query.get("per_page")
    limit = int(size) if size else 0
    offset = int(query.get("offset") or 0)
    if not query.get("limit") and query.get("page"):
        offset = (int(query["page"]) - 1) * limit
    end = offset + min(limit, cap or limit) if limit else None
    return items[offset:end], limit, offset


def links(url: str, limit: int, offset: int, total: int | None, got: int) -> str:
    """The Link header: first always, prev and next where there is one, last when the count is known."""
    places = {"first": 0}
    if offset:
        places["prev"] = max(0, offset - limit)
    if (total is not None and offset + got < total) or (total is None and got == limit):
        places["next"] = offset + limit
    if total is not None:
        places["last"] = max(0, (total - 1) // limit * limit)
    return ", ".join(f'<{url}?limit={limit}&offset={at}>; rel="{rel}"' for rel, at in places.items())


def role(role: Role) -> Record:
    access = role.name == ADMIN
    return {
        "id": role.id,
        "name": role.name,
        "internal": role.internal,
        "permission_set": {
            "id": role.id, "name": role.name, "built_in": role.built_in, "all_access": access,
            "permissions": sorted(role.permissions),
        },
        "model_set": {
            "id": role.id, "name": f"{role.name} models", "built_in": role.built_in, "all_access": access,
            "models": sorted(role.models),
        },
    }  # fmt: skip


def group(instance: Instance, group: Group, *, hierarchy: bool = False) -> Record:
    record: Record = {
        "id": group.id,
        "name": group.name,
        "can_add_to_content_metadata": True,
        "contains_current_user": False,
        "external_group_id": None,
        "externally_managed": group.mirrored,
        "include_by_default": group.include_by_default,
        "user_count": len(instance.members.get(group.id, ())),
    }
    if hierarchy:
        record["parent_group_ids"] = sorted(group.parents)
        record["role_ids"] = sorted(group.roles)
    return record


def key(key: ApiKey) -> Record:
    return {
        "id": key.id, "client_id": key.client_id, "created_at": "2026-01-05T08:00:00.000+00:00",
        "is_disabled": False, "type": "api3", "purpose": key.purpose,
    }  # fmt: skip


def email(user: User) -> Record:
    return {
        "email": user.email, "user_id": user.id, "is_disabled": user.is_disabled,
        "forced_password_reset_at_next_login": False, "logged_in_at": "", "type": "email",
    }  # fmt: skip


# What identifies a user at each provider of single sign-on, in the credential that a login leaves behind.
LINKS = {
    "saml": "saml_user_id", "oidc": "oidc_user_id", "google": "google_user_id", "ldap": "ldap_id",
    "looker_openid": "email", "workforce": "workforce_user_id",
}  # fmt: skip


def link(user: User, provider: str) -> Record:
    known = {"email": user.links[provider], "is_disabled": user.is_disabled, "logged_in_at": "", "type": provider}
    return {LINKS[provider]: user.links[provider], **known}


def second_factor(_: User) -> Record:
    return {"is_disabled": False, "verified": True, "type": "totp"}


def session(id: str) -> Record:
    return {
        "id": id, "credentials_type": "saml", "sudo_user_id": None, "browser": "Firefox", "city": "Lisbon",
        "created_at": "2026-01-05T08:00:00.000+00:00", "expires_at": "2027-01-05T08:00:00.000+00:00",
    }  # fmt: skip


def schedule(schedule: Schedule) -> Record:
    destinations = [
        {"id": f"{schedule.id}{n}", "scheduled_plan_id": schedule.id, "type": kind, "address": address, "format": "csv"}
        for n, (kind, address) in enumerate(schedule.recipients)
    ]
    return {
        "id": schedule.id, "user_id": schedule.user_id, "name": schedule.name, "title": schedule.name,
        "enabled": schedule.enabled, "dashboard_id": schedule.dashboard_id, "look_id": None,
        "run_as_recipient": False, "crontab": "0 6 * * *", "scheduled_plan_destination": destinations,
    }  # fmt: skip


def alert(alert: Alert) -> Record:
    destinations = [
        {"destination_type": kind, "email_address": address if kind == "EMAIL" else None,
         "action_hub_integration_id": None if kind == "EMAIL" else address}
        for kind, address in alert.recipients
    ]  # fmt: skip
    return {
        "id": alert.id, "owner_id": alert.owner_id, "custom_title": alert.title, "is_disabled": alert.is_disabled,
        "destinations": destinations, "comparison_type": "GREATER_THAN", "cron": "0 * * * *", "threshold": 5.0,
        "field": {"title": "Orders", "name": "orders.count"}, "investigative_content_title": "Orders",
    }  # fmt: skip


def content(content: Content) -> Record:
    record: Record = {
        "id": content.id, "title": content.title, "user_id": content.user_id, "deleted": content.deleted,
        "folder": {"id": "1", "name": content.folder, "is_personal": content.folder != "Shared"},
    }  # fmt: skip
    if content.kind == "look":
        slug = f"slug{content.id}" if content.public else None
        record |= {"public": content.public, "public_slug": slug, "public_url": slug and f"/looks/{slug}.html"}
    return record


def app(instance: Instance, app: App) -> Record:
    return {
        "client_guid": app.guid, "display_name": app.name, "enabled": True, "redirect_uri": "https://app.invalid/",
        "activated_users": [public_user(instance.users[id]) for id in sorted(app.users) if id in instance.users],
    }  # fmt: skip


def sso(config: SingleSignOn) -> Record:
    return asdict(config) | {"groups_with_role_ids": [], "default_new_user_roles": []}


def public_user(user: User) -> Record:
    return {
        "id": user.id,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "display_name": f"{user.first_name} {user.last_name}".strip(),
        "avatar_url": f"/avatar/{user.id}",
    }


def _embed(user: User) -> list[Record]:
    return [{"id": f"9{user.id}", "external_user_id": f"embed-{user.id}", "is_disabled": False, "type": "embed"}]


FULL_USER: Mapping[str, Callable[[User], Any]] = {
    "id": lambda u: u.id,
    "first_name": lambda u: u.first_name,
    "last_name": lambda u: u.last_name,
    "display_name": lambda u: f"{u.first_name} {u.last_name}".strip(),
    "email": lambda u: u.address,
    "is_disabled": lambda u: u.is_disabled,
    "locale": lambda _: "en",
    "group_ids": lambda u: sorted(u.groups),
    "role_ids": lambda u: sorted(u.roles),
    "credentials_api3": lambda u: [key(k) for k in u.keys],
    "credentials_embed": lambda u: _embed(u) if u.kind == "embed" else [],
    "sessions": lambda u: [session(id) for id in u.sessions],
    "verified_looker_employee": lambda u: u.kind == "support",
    "presumed_looker_employee": lambda u: u.kind == "support",
    "is_service_account": lambda u: u.kind == "service",
    "service_account_name": lambda u: u.first_name if u.kind == "service" else None,
    "can_manage_api3_creds": lambda u: u.kind == "service",
    "roles_externally_managed": lambda u: u.roles_externally_managed,
    "allow_direct_roles": lambda u: u.allow_direct_roles,
    "allow_normal_group_membership": lambda u: u.allow_normal_group_membership,
    "allow_roles_from_normal_groups": lambda _: True,
}


def full_user(user: User) -> Record:
    """A credential that a user does not have is absent: the contract does not let it be null."""
    record = {name: read(user) for name, read in FULL_USER.items()}
    if user.email is not None:
        record["credentials_email"] = email(user)
    record |= {f"credentials_{provider}": link(user, provider) for provider in user.links}
    if user.second_factor:
        record["credentials_totp"] = second_factor(user)
    return record


class UserBytes:
    """Users as JSON, made once per user and set of fields: what keeps 20,000 users quick."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._made: dict[tuple[str, bool], dict[str, bytes]] = {}

    def one(self, user: User, fields: str, *, public: bool) -> bytes:
        while self._instance.changed:
            stale = self._instance.changed.pop()
            for made in self._made.values():
                made.pop(stale.id, None)
        cache = self._made.setdefault((fields, public), {})
        found = cache.get(user.id)
        if found is None:
            record = public_user(user) if public else full_user(user)
            found = cache[user.id] = orjson.dumps(cut(record, parse_fields(fields)))
        return found

    def many(self, users: Sequence[User], fields: str, *, public: bool) -> bytes:
        return b"[%s]" % b",".join(self.one(user, fields, public=public) for user in users)
