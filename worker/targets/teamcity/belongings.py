"""The deep look at one TeamCity account: rights, tokens, password, and what TeamCity shows nobody."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from worker.core.identity import Account, Entitlement
from worker.errors import Misshapen, Paused, Rationed, Rejected, Unavailable
from worker.ports import Belongings, Unseen
from worker.targets.teamcity import wire
from worker.targets.teamcity.reading import Reading
from worker.targets.teamcity.settings import Settings
from worker.targets.teamcity.steps import (
    PASSWORD,
    REMEMBERED,
    SESSIONS,
    profile_page,
    sessions_by_hand,
    token,
    words,
)
from worker.targets.teamcity.wire import UserRow, WholeUser

T = TypeVar("T")
# The account with its rights, whether it may have a token or a door that is hidden from us, whether it administers.
Describe = Callable[[WholeUser, bool, bool], Account]

HIDDEN = {
    "roles": "direct roles",
    "groups": "groups",
    "hasPassword": "whether it has a password",
    "properties": "whether it is marked as suspended",
}
LEAVES_OUT = "TeamCity leaves it out, in silence, for want of rights of ours"
VIEW = "Give the account of our token a role with view_user_profile everywhere, and the token that permission."
TOKENS_HIDDEN = "they are shown to whoever may change every user (change_user), and our account may not"
ENDED_UNSEEN = "TeamCity shows nobody's sessions: that they were ended is its word alone"
NEVER_ENDED = "TeamCity shows nobody's sessions, and this server has no call that ends those of one person"
FORGOTTEN_UNSEEN = "TeamCity shows nobody's remembered logins: that they were forgotten is its word alone"
SIGN_ON = (
    "TeamCity cannot disable a user: whom the identity provider lets in may sign in again, and has then what the group"
    " All Users grants"
)
SECRETS = "TeamCity shows nobody who has read a password, a key or a secret parameter"


@dataclass(frozen=True)
class Look:
    """One account, seen once, and what to look with. `lacking` are verbs that this server has no call for."""

    reading: Reading
    settings: Settings
    row: UserRow
    lacking: Collection[str]

    @property
    def id(self) -> str:
        return str(self.row.id)

    @property
    def hidden(self) -> list[str]:
        return [name for name in HIDDEN if getattr(self.row, name) is None]


def look(
    reading: Reading,
    settings: Settings,
    id: str,
    lacking: Collection[str],
    describe: Describe,
    administers: Callable[[WholeUser], bool],
    first: bool,
) -> Belongings:
    """Two calls, and what `administers` takes. A `first` look goes on whatever cannot be read, for a lock-out waits for
    nothing; a later one says that something is gone, so it is whole, or it raises."""
    began, row = reading.now(), reading.row(id)
    if row is None:
        return Belongings(None)
    asked = Look(reading, settings, row, lacking)
    user = WholeUser(wire.filled(row), reading.name)
    if not asked.hidden:
        reading.noticed(user, began)
    unseen: list[Unseen] = []
    tokens = _read("access tokens", lambda: _tokens(asked, unseen), first, unseen)
    power = _read("whether it administers", lambda: administers(user), first, unseen)
    account = describe(user, tokens is None or bool(tokens) or bool(asked.hidden), bool(power))
    held = {*account.entitlements, *(token(one.name) for one in tokens or ()), *_doors(user, lacking)}
    ends = {token(one.name).key: wire.moment(one.expirationTime) for one in tokens or ()}
    return Belongings(
        replace(account, entitlements=frozenset(held)),
        {one.key: words(one) for one in sorted(held)},
        (*unseen, *_unseen(asked)),
        {key: end for key, end in ends.items() if end is not None},
    )


def _read(what: str, read: Callable[[], T], first: bool, unseen: list[Unseen]) -> T | None:
    """None for what could not be read, which is then unseen."""
    try:
        return read()
    except (Paused, Rationed):
        raise
    except (Unavailable, Misshapen, Rejected) as error:
        if not first:
            raise
        hands = ("Ask for it again when TeamCity answers as it should.",)
        unseen.append(Unseen(what, f"it could not be read: {error}", hands, unread=True))
        return None


def _tokens(asked: Look, unseen: list[Unseen]) -> list[wire.Token] | None:
    found = asked.reading.shown_tokens(asked.id)
    if found is None:
        right = "Give the account of our token a role with change_user everywhere, and the token that permission."
        page = f"Or open {profile_page(asked.settings, asked.id)}, tab Access Tokens."
        unseen.append(Unseen("access tokens", TOKENS_HIDDEN, (right, page)))
    return found


def _doors(user: WholeUser, lacking: Collection[str]) -> Iterator[Entitlement]:
    """Sessions and remembered logins are there as far as anybody knows: to end them twice does no harm."""
    if user.has_password:
        yield PASSWORD
    if "end_sessions" not in lacking:
        yield SESSIONS
    if "forget_logins" not in lacking:
        yield REMEMBERED


def _unseen(asked: Look) -> Iterator[Unseen]:
    settings = asked.settings
    for name in asked.hidden:
        yield Unseen(HIDDEN[name], LEAVES_OUT, (VIEW,))
    if "end_sessions" in asked.lacking:
        yield Unseen("sessions", NEVER_ENDED, sessions_by_hand(settings))
    else:
        yield Unseen("sessions", ENDED_UNSEEN, key=SESSIONS.key)
    forgets = "forget_logins" not in asked.lacking
    yield Unseen("remembered logins", FORGOTTEN_UNSEEN, key=REMEMBERED.key if forgets else "")
    provider = "Take TeamCity from the person at the identity provider, and give All Users no role that matters."
    yield Unseen("sign-in over single sign-on", SIGN_ON, (provider,))
    yield Unseen("secrets that the person knows", SECRETS, ("Change those that matter: VCS roots, keys, parameters.",))
