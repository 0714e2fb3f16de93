"""The deep look at one Looker account: everything that lets its owner in, and everything that works in their name."""

from __future__ import annotations

import contextvars
import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from worker.core.identity import ATTRIBUTE, Entitlement, Trait
from worker.core.render import quoted
from worker.errors import Misshapen, Missing, Paused, Rationed, Rejected, TrueupError, Unavailable
from worker.ports import Belongings, Heirloom, Unseen
from worker.targets.looker import heirlooms, reading, rows
from worker.targets.looker.lately import Lately
from worker.targets.looker.rows import DeepUserRow, Looking
from worker.targets.looker.settings import Settings
from worker.targets.looker.steps import keys_by_hand

AT_ONCE = 4  # calls about one account under way together: others are at work on other accounts

EMAIL_KEPT = (
    "it carries the address by which Trueup and single sign-on find the account; a disabled account lets nobody in"
)
SECOND_FACTOR_KEPT = "it opens nothing; without it the password alone would do, should the account be enabled again"
LINK_KEPT = (
    "with it a login over single sign-on meets the disabled account and is refused; without it Looker would take the"
    " next login for a new person's and make a new account"
)
LAST_ADDRESS = "it is all that carries the account's address; without it nobody could find the account again"
NO_CALL = "Looker has no call that removes it; a disabled account lets nobody in with it"

RUNNING = (
    "Looker lists nobody's API logins and has no call that ends them; each ends by itself, and can do no more than the"
    " account may"
)
KEYS_HIDDEN = (
    "from release 26.8 (Google Cloud core: 25.18) Looker shows the API keys of people to nobody but themselves; no key"
    " of a disabled account works"
)
VALUE_HIDDEN = "Looker hides it from everybody, so nothing could be seen to be gone"
PUBLIC = "a public link lets in everybody who has it, whoever owns it; to end it would cut off others too"
EMBEDDED = "the application that embeds Looker signs these logins by itself, and Looker asks nobody else"


@dataclass(frozen=True)
class Found:
    """What one part of the look brought; `held` are entitlements with words for them."""

    held: Mapping[Entitlement, str] = field(default_factory=dict)
    unseen: Sequence[Unseen] = ()
    until: Mapping[str, dt.datetime] = field(default_factory=dict)
    heirlooms: Sequence[Heirloom] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)  # of what is kept
    administers: bool = False
    known: frozenset[str] = frozenset()  # attributes of which everything is held that it has


@dataclass(frozen=True)
class Look:
    """One account, seen once, and what to look with. `life` is how long a token of this Looker lives."""

    reader: Looking
    settings: Settings
    user: DeepUserRow
    own: str
    life: dt.timedelta
    company: Collection[str]
    lately: Lately
    keys_closed: bool

    @property
    def place(self) -> str:
        return f"/users/{self.user.id}"


Read = Callable[[Look], Found]


def look(
    reader: Looking,
    settings: Settings,
    id: str,
    own: str,
    life: dt.timedelta,
    company: Collection[str],
    lately: Lately,
    *,
    keys_closed: bool,
    first: bool,
) -> Belongings:
    """One call for the account, then all others side by side: eight, and in a `first` look at least four more.
    `keys_closed`: this release shows people's API keys to nobody else."""
    began, user = lately.now(), reading.read_user_as(reader, id, rows.DEEP_USER, rows.DEEP_USER_FIELDS)
    if user is None:
        return Belongings(None)
    lately.noticed(user, began)
    asked = Look(reader, settings, user, own, life, company, lately, keys_closed and not user.is_service_account)
    parts = {**RIGHTS, **DOORS, **(WORKS if first else {})}
    found = _joined(asked, _together([partial(_part, asked, what, read, first) for what, read in parts.items()]))
    if found.account is not None:
        lately.saw_held(id, found.account.entitlements, began)
    return found


def _part(asked: Look, what: str, read: Read, first: bool) -> Found:
    """A first look goes on whatever cannot be read, for a lock-out waits for nothing. A later one says that something
    is gone, so it is whole, or it raises: all but what Looker words in a way that asking again would not mend."""
    try:
        return read(asked)
    except (Paused, Rationed):
        raise
    except Missing as error:
        raise Unavailable(f"Account {asked.user.id} changed while it was read: {error}") from error
    except Unavailable as error:
        if not first:
            raise
        return _unread(what, error)
    except (Misshapen, Rejected) as error:
        if not first and what in RIGHTS:
            raise
        return _unread(what, error)


def _unread(what: str, error: TrueupError) -> Found:
    hands = ("Ask for it again when Looker answers as it should.",)
    return Found(unseen=[Unseen(what, f"it could not be read: {error}", hands, unread=True)])


def _together(calls: Sequence[Callable[[], Found]]) -> list[Found]:
    """Each in a thread with our own lane and end of the claim."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [one.result() for one in [pool.submit(contextvars.copy_context().run, call) for call in calls]]


def _joined(asked: Look, found: Sequence[Found]) -> Belongings:
    held = {entitlement: words for part in found for entitlement, words in part.held.items()}
    administrators = [asked.user.id] if any(part.administers for part in found) else []
    account = reading.account_of(asked.user, asked.own, administrators, frozenset(held))
    account = replace(account, known=frozenset(id for part in found for id in part.known))
    labels = {entitlement.bare.key: words for entitlement, words in held.items()}
    return Belongings(
        account,
        labels | {key: words for part in found for key, words in part.labels.items()},
        tuple(unseen for part in found for unseen in part.unseen),
        {key: ends for part in found for key, ends in part.until.items()},
        tuple(heirloom for part in found for heirloom in part.heirlooms),
        {key: why for part in found for key, why in part.kept.items()},
    )


def _hidden(asked: Look, what: str, page: str) -> Found:
    because = "Looker does not show them to the account of our API key"
    hands = (
        "Give the account of our API key the role Admin, and ask again.",
        f"Or look for yourself: {asked.settings.url}{page} shows those of account {asked.user.id}.",
    )
    return Found(unseen=[Unseen(what, because, hands)])


# --- what lets somebody in


def _roles(asked: Look) -> Found:
    direct = reading.user_roles(asked.reader, asked.user.id, direct=True)
    return Found({Entitlement("role", role.id): f"role {quoted(role.name or role.id)}" for role in direct})


def _power(asked: Look) -> Found:
    effective = reading.user_roles(asked.reader, asked.user.id, direct=False)
    return Found(administers=any(role.admin for role in effective))


def _groups(asked: Look) -> Found:
    tree = reading.Tree({}, asked.lately.groups(asked.reader, asked.user.group_ids or ()))
    direct = reading.direct_groups(asked.reader, tree, asked.user.id, asked.user.group_ids or ())
    return Found({Entitlement("group", id): f"group {quoted(tree.groups[id].name or id)}" for id in direct})


def _values(asked: Look) -> Found:
    """Its own values of user attributes, whichever the settings declare. Looker's own ones, such as the locale, are no
    rights and filter nothing."""
    reply = asked.reader.look(f"{asked.place}/attribute_values", {"all_values": "true", "fields": rows.VALUE_FIELDS})
    valued = None if reply is None else rows.unpaged(reply, rows.VALUES)
    needed = {row.user_attribute_id for row in valued or ()}
    defined = None if valued is None else asked.lately.attributes(partial(_attributes, asked.reader), needed)
    if defined is None or valued is None:
        return _hidden(asked, "values of user attributes", "/admin/users")
    known = {row.id: row for row in defined if not (row.is_system or row.is_permanent)}
    own = [row for row in valued if row.user_attribute_id in known and row.own]
    held: dict[Entitlement, str] = {}
    unseen: list[Unseen] = []
    for row in own:
        attribute = known[row.user_attribute_id]
        words = f"attribute {quoted(attribute.name or attribute.id)}"
        if row.value_is_hidden or attribute.value_is_hidden:
            unseen.append(Unseen(f"its value of {words}", VALUE_HIDDEN, _by_hand(asked, words)))
        else:
            held[Entitlement(ATTRIBUTE, attribute.id, row.value or "")] = f"{words} = {quoted(row.value or '')}"
    return Found(held, unseen, known=frozenset(known))


def _attributes(reader: Looking) -> Sequence[rows.AttributeRow] | None:
    reply = reader.look("/user_attributes", {"fields": rows.ATTRIBUTE_FIELDS})
    return None if reply is None else rows.unpaged(reply, rows.ATTRIBUTES)


def _by_hand(asked: Look, words: str) -> tuple[str, ...]:
    page = f"{asked.settings.url}/admin/users"
    return (f"Open Admin > Users ({page}), edit account {asked.user.id} and clear its value of {words}.",)


def _sessions(asked: Look) -> Found:
    reply = asked.reader.look(f"{asked.place}/sessions", {"fields": "id,created_at,expires_at,browser,city"})
    if reply is None:
        return _hidden(asked, "web sessions", "/admin/sessions")
    found = rows.unpaged(reply, rows.SESSIONS)
    ends = {Entitlement("session", row.id).key: _time(row.expires_at) for row in found}
    return Found(
        {Entitlement("session", row.id): _session_words(row) for row in found},
        until={key: end for key, end in ends.items() if end is not None},
    )


def _session_words(row: rows.SessionRow) -> str:
    place = ", ".join(quoted(part) for part in (row.browser, row.city) if part)
    return f"web session {row.id}{f' ({place})' if place else ''}{_since(row.created_at)}"


def _since(created: str | None) -> str:
    began = _time(created)
    return f" since {began:%Y-%m-%d}" if began else ""


def _time(text: str | None) -> dt.datetime | None:
    """None where it is absent or in another form: a time only explains."""
    try:
        found = dt.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else None


def _keys(asked: Look) -> Found:
    """Where keys are their owners' own, an empty list may be a hidden one."""
    reply = asked.reader.look(f"{asked.place}/credentials_api3", {"fields": "id,created_at,purpose"})
    found = rows.unpaged(reply, rows.KEYS) if reply else []
    if reply is None or (asked.keys_closed and not found):
        hands = keys_by_hand(asked.settings, asked.user.id)
        return Found(unseen=[Unseen("API keys", KEYS_HIDDEN, hands)])
    return Found({Entitlement("api key", row.id): _key_words(row) for row in found})


def _key_words(row: rows.KeyRow) -> str:
    return f"API key {row.id}{f' ({quoted(row.purpose)})' if row.purpose else ''}{_since(row.created_at)}"


def _apps(asked: Look) -> Found:
    """Which applications act for the account. Their tokens end together."""
    reply = asked.reader.look("/oauth_client_apps", {"fields": "client_guid,display_name,activated_users(id)"})
    apps = rows.shaped(reply, rows.APPS) if reply else []
    if reply is None or any(app.activated_users is None for app in apps):
        hidden = _hidden(asked, "tokens of OAuth apps", "/admin/users").unseen[0]
        return Found(unseen=[replace(hidden, lasts=asked.life)])
    used = [app for app in apps if any(user.id == asked.user.id for user in app.activated_users or ())]
    return Found(
        {Entitlement("token", app.client_guid): f"tokens of OAuth app {quoted(app.display_name or '')}" for app in used}
    )


def _sign_on(asked: Look) -> Found:
    """Ways to log in: already read with the account. Most stay on purpose, for they shut more than they open."""
    held: dict[Entitlement, str] = {}
    kept: dict[str, str] = {}
    labels: dict[str, str] = {}
    for name in rows.CREDENTIALS:
        if asked.user.credential(name) is None:
            continue
        one, words = Entitlement("sign-on", name), SIGN_ON[name]
        reason = _kept(asked, name)
        if reason:
            kept[one.key], labels[one.key] = reason, words
        else:
            held[one] = words
    return Found(held, kept=kept, labels=labels)


SIGN_ON: Mapping[str, str] = {
    "email": "e-mail log-in", "totp": "second factor", "saml": "SAML sign-on", "oidc": "OpenID Connect sign-on",
    "google": "Google sign-on", "ldap": "LDAP sign-on", "looker_openid": "Looker's own sign-on",
    "workforce": "workforce identity sign-on",
}  # fmt: skip


def _kept(asked: Look, name: str) -> str:
    """Why a way to log in stays; "" where it goes."""
    if name not in rows.LINKS:
        return EMAIL_KEPT if name == "email" else SECOND_FACTOR_KEPT
    if asked.settings.sign_on_links == "keep":
        return LINK_KEPT
    if name == "workforce":
        return NO_CALL
    return "" if asked.user.credentials_email is not None else LAST_ADDRESS


def _beyond_sight(asked: Look) -> Found:
    unseen = [Unseen("API logins that are under way", RUNNING, lasts=asked.life)]
    if Trait.EMBED in reading.traits_of(asked.user, asked.own):
        hands = ("Take the person's access in the application that embeds Looker.",)
        unseen.append(Unseen("embedded log-ins", EMBEDDED, hands))
    return Found(unseen=unseen)


# --- what works for others


def _schedules(asked: Look) -> Found:
    disabled = asked.user.is_disabled
    found = heirlooms.schedules(asked.reader, asked.settings, asked.user.id, _circle(asked), disabled=disabled)
    return _hidden(asked, "schedules", "/admin/schedules") if found is None else Found(heirlooms=found)


def _alerts(asked: Look) -> Found:
    found = heirlooms.alerts(asked.reader, asked.settings, asked.user.id, _circle(asked), asked.lately)
    return _hidden(asked, "alerts", "/admin/alerts") if found is None else Found(heirlooms=found)


def _dashboards(asked: Look) -> Found:
    found = heirlooms.content(asked.reader, asked.settings, asked.user.id, "dashboards")
    return _hidden(asked, "dashboards", "/admin/users") if found is None else Found(heirlooms=found[0])


def _looks(asked: Look) -> Found:
    found = heirlooms.content(asked.reader, asked.settings, asked.user.id, "looks")
    if found is None:
        return _hidden(asked, "Looks", "/admin/users")
    return Found(heirlooms=found[0], unseen=[_public_link(asked, look) for look in found[1]])


def _public_link(asked: Look, look: Heirloom) -> Unseen:
    hands = (f"Open {asked.settings.url}/{look.id}, edit its settings and turn public access off.",)
    return Unseen(f"who uses the public link of Look {quoted(look.title)}", PUBLIC, hands)


def _circle(asked: Look) -> heirlooms.Circle:
    return heirlooms.Circle.around(asked.user.addresses, asked.company)


RIGHTS: Mapping[str, Read] = {
    "direct roles": _roles, "whether it administers": _power, "groups": _groups, "values of user attributes": _values,
}  # fmt: skip
DOORS: Mapping[str, Read] = {
    "web sessions": _sessions, "API keys": _keys, "tokens of OAuth apps": _apps, "log-ins": _sign_on,
    "what is beyond sight": _beyond_sight,
}  # fmt: skip
WORKS: Mapping[str, Read] = {"schedules": _schedules, "alerts": _alerts, "dashboards": _dashboards, "Looks": _looks}
