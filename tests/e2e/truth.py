"""Lays a receipt beside the sandbox: each line must be what is so, and whatever is so must be on a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.core.receipt import ACCOUNT, SETTLED, Fate
from worker.sandbox.looker.instance import ALL_USERS
from worker.sandbox.looker.instance import User as LookerUser
from worker.sandbox.teamcity.world import ALL_USERS as TEAMCITY_ALL_USERS
from worker.sandbox.teamcity.world import User as TeamCityUser
from worker.sandbox.world import World
from worker.targets.looker.belongings import SIGN_ON
from worker.targets.teamcity.steps import token

Line = Mapping[str, Any]
Place = tuple[str, str]  # target, account id

MARK = "trueup.suspended"
# Under which heading a receipt says that it could not see things of a kind.
UNSEEN: Mapping[str, str] = {
    "looker session": "web sessions", "looker api key": "API keys", "looker token": "tokens of OAuth apps",
    "looker schedule": "schedules", "looker alert": "alerts", "looker dashboard": "dashboards", "looker look": "Looks",
    "looker role": "direct roles", "looker group": "groups",
    "teamcity role": "direct roles", "teamcity group": "groups", "teamcity token": "access tokens",
    "teamcity password": "whether it has a password", "teamcity session": "sessions",
    "teamcity remembered logins": "remembered logins",
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """A schedule, an alert or content: whose it is, and whether it is on."""

    owner: str
    on: bool


@dataclass(frozen=True)
class Truth:
    """What one person has. `held` by account: keys as a receipt has them; `works` by `schedule 1004`."""

    held: Mapping[Place, frozenset[str]]
    works: Mapping[str, Work] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)  # how a receipt calls what is kept, by key

    @property
    def keys(self) -> set[tuple[Place, str]]:
        return {(place, key) for place, keys in self.held.items() for key in keys}


def of(world: World, login: str) -> Truth:
    """Every account that has this address or name, by whatever credential, and what works in anybody's name."""
    looker = {("looker", user.id): frozenset(_in_looker(world, user)) for user in lookers(world, login)}
    teamcity = {("teamcity", str(user.id)): frozenset(_in_teamcity(user)) for user in teamcities(world, login)}
    groups = {f"group:{group.id}": f"kept group {group.name}" for group in world.looker.instance.groups.values()}
    ways = {f"sign-on:{name}": f"kept {label}" for name, label in SIGN_ON.items()}
    return Truth({**looker, **teamcity}, dict(_works(world)), {**groups, **ways})


def lookers(world: World, login: str) -> list[LookerUser]:
    return [u for u in list(world.looker.instance.users.values()) if login in {u.email, *u.links.values()}]


def teamcities(world: World, login: str) -> list[TeamCityUser]:
    found = world.teamcity.world.named(login)
    return [found] if found else []


def _in_looker(world: World, user: LookerUser) -> Iterator[str]:
    if not user.is_disabled:
        yield ACCOUNT
    groups = world.looker.instance.groups
    yield from (f"role:{id}" for id in user.roles)
    yield from (f"group:{id}" for id in user.groups if groups[id].name != ALL_USERS)
    yield from (f"session:{id}" for id in user.sessions)
    yield from (f"api key:{key.id}" for key in user.keys)
    yield from (f"token:{app.guid}" for app in world.looker.instance.apps.values() if user.id in app.users)
    yield from (f"sign-on:{name}" for name in user.links)
    if user.email is not None:
        yield "sign-on:email"
    if user.second_factor:
        yield "sign-on:totp"


def _in_teamcity(user: TeamCityUser) -> Iterator[str]:
    groups = [key for key in user.groups if key != TEAMCITY_ALL_USERS]
    if MARK not in user.properties or user.roles or groups or user.password or user.tokens:
        yield ACCOUNT
    yield from (f"role:{role}@{scope}" for role, scope in user.roles)
    yield from (f"group:{key}" for key in groups)
    yield from (token(name).key for name in user.tokens)
    if user.password:
        yield "password:password"
    if user.sessions:
        yield "session:all"
    if user.remembered:
        yield "remembered logins:all"


def _works(world: World) -> Iterator[tuple[str, Work]]:
    looker = world.looker.instance
    yield from ((f"schedule {s.id}", Work(s.user_id, s.enabled)) for s in looker.schedules.values())
    yield from ((f"alert {a.id}", Work(a.owner_id, not a.is_disabled)) for a in looker.alerts.values())
    yield from ((f"content {c.kind}s/{c.id}", Work(c.user_id, not c.deleted)) for c in looker.content.values())


# --- what is not as the receipt says ----------------------------------------------------------------------------------


def lies(receipt: Mapping[str, Any], before: Truth, now: Truth) -> list[str]:
    """Everything in which a receipt and the sandbox do not agree, in words. `before` is what the person had."""
    lines: Mapping[Place, list[Line]] = _by_account(receipt)
    found: list[str] = []
    for place, some in lines.items():
        open_ = place[0] in receipt["unfinished"]
        verdicts = [(line, _wrong(line, place, before, now, unfinished=open_)) for line in some]
        found += [f"{_shown(line)}: {why}" for line, why in verdicts if why]
        named = Counter(line["key"] for line in some)
        found += [f"{key} of {place} is on {number} lines" for key, number in named.items() if number > 1]
    for place, keys in _joined(before.held, now.held).items():
        if place[0] in receipt["unfinished"]:  # nobody has looked there, and it says so
            continue
        some = lines.get(place, [])
        found += [f"{key} of {place} is on no line" for key in keys if not _told(some, place, key, now)]
    for name, work in before.works.items():
        place = ("looker", work.owner)
        if (
            place in before.held
            and "looker" not in receipt["unfinished"]
            and not _told(lines.get(place, []), place, name, now)
        ):
            found.append(f"{name} is on no line")
    return [*found, *_headline(receipt, now)]


def _by_account(receipt: Mapping[str, Any]) -> dict[Place, list[Line]]:
    found: dict[Place, list[Line]] = {}
    for line in receipt["lines"]:
        found.setdefault((line["target"], line["account_id"]), []).append(line)
    return found


def _joined(*some: Mapping[Place, frozenset[str]]) -> dict[Place, set[str]]:
    found: dict[Place, set[str]] = {}
    for each in some:
        for place, keys in each.items():
            found.setdefault(place, set()).update(keys)
    return found


def _wrong(line: Line, place: Place, before: Truth, now: Truth, *, unfinished: bool) -> str:
    """Why a line is not so; "" where it is."""
    fate, key, held = Fate(line["fate"]), line["key"], now.held.get(place, frozenset())
    if fate is Fate.PENDING:
        return "" if unfinished else "nobody is at it any more"
    if fate is Fate.MANUAL and not line["hands"]:
        return "it does not say what to do"
    if fate in (Fate.UNSEEN, Fate.STAYS) and not line["because"]:
        return "it does not say why"
    if fate is Fate.UNTIL and not line["until"]:
        return "it does not say until when"
    if key in before.works:
        return _wrong_work(fate, before.works[key], now.works.get(key), line)
    if key.startswith("kept "):
        return _wrong_kept(line, held, now)
    if key.startswith("unseen "):
        return ""
    if fate is Fate.GONE and key in held:
        return "it is there"
    if fate in (Fate.MANUAL, Fate.UNTIL) and key not in held:
        return "it is gone"
    return ""


def _wrong_work(fate: Fate, before: Work, now: Work | None, line: Line) -> str:
    if now is None:
        return "there is no such thing"
    if fate is Fate.HANDED_OVER:
        return "" if now.owner != before.owner and now.on == before.on else f"it is {now}, and was {before}"
    return "" if now.owner == before.owner and fate in (Fate.STAYS, Fate.MANUAL) else f"it is {now} and {line['fate']}"


def _wrong_kept(line: Line, held: frozenset[str], now: Truth) -> str:
    keys = [key for key, name in now.names.items() if name == line["key"]]
    if keys and not held & set(keys) and line["what"] != f"group {ALL_USERS}":
        return "it is gone"
    stays = line["fate"] == Fate.STAYS
    return "the account works" if stays and ACCOUNT in held else ""


def _told(lines: list[Line], place: Place, key: str, now: Truth) -> bool:
    """Whether any line speaks of it: by its name, by that of its kind where nobody sees it, or of the whole account."""
    keys = {line["key"] for line in lines}
    whole = any(line["key"] == ACCOUNT and line["what"].startswith("the account and everything") for line in lines)
    kind, _, name = key.partition(":") if ":" in key else key.partition(" ")
    if kind == "content":
        kind = name.partition("s/")[0]
    blind = {line["what"] for line in lines if line["key"].startswith("unseen ")}
    return (
        whole
        or key in keys
        or now.names.get(key) in keys
        or UNSEEN.get(f"{place[0]} {kind}") in blind
        or (kind in ("schedule", "alert", "dashboard", "look") and any("what worked for others" in b for b in blind))
    )


def _headline(receipt: Mapping[str, Any], now: Truth) -> Iterator[str]:
    open_ = [line for line in receipt["lines"] if Fate(line["fate"]) not in SETTLED]
    left = {(place, key) for place, key in now.keys if not key.startswith("sign-on:")}
    if receipt["complete"] and (open_ or left or receipt["unfinished"]):
        yield f"it says that it is complete: {[_shown(line) for line in open_]}, {sorted(left)}"
    if receipt["complete"] is not receipt["headline"].startswith("No access left"):
        yield f"complete is {receipt['complete']}, and it says {receipt['headline']!r}"
    for fate, words in ((Fate.MANUAL, "to do by hand"), (Fate.UNSEEN, "that nobody can see")):
        number = sum(line["fate"] == fate for line in receipt["lines"])
        if number and f"{number} {words}" not in receipt["headline"]:
            yield f"{number} {words}, and it says {receipt['headline']!r}"


def _shown(line: Line) -> str:
    return f"{line['target']} {line['account_id']} {line['key']} is {line['fate']!r}"
