"""The trouble that every real company has, planted by name, so that one can say exactly what must be found."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from worker.sandbox import acme
from worker.sandbox.company import LookerUser, Story, TeamCityUser
from worker.sandbox.names import address, plain
from worker.sandbox.staff import Hire, Town

Plant = Callable[[Hire, Town], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind: how many per thousand people, whom it can happen to, and how it comes about (where, text)."""

    kind: str
    per_mille: float
    fits: Callable[[Hire], bool]
    plant: Plant


def _looker(hire: Hire) -> LookerUser:
    assert hire.looker
    return hire.looker


def _teamcity(hire: Hire) -> TeamCityUser:
    assert hire.teamcity
    return hire.teamcity


def _leave(hire: Hire, _town: Town) -> tuple[str, str]:
    hire.status, hire.groups = "DEPROVISIONED", []
    where = "looker and teamcity" if hire.looker and hire.teamcity else "teamcity" if hire.teamcity else "looker"
    return where, "left the company and can still sign in"


def _leave_with_admin_role(hire: Hire, town: Town) -> tuple[str, str]:
    hire.looker = replace(_looker(hire), roles=(*_looker(hire).roles, acme.ADMIN_ROLE))
    _leave(hire, town)
    return "looker", "left the company and still is a Looker administrator"


def _leave_with_system_role(hire: Hire, town: Town) -> tuple[str, str]:
    account = _teamcity(hire)
    hire.teamcity = replace(account, roles=(*account.roles, acme.SYSTEM_ADMIN), tokens=("laptop",), has_password=True)
    _leave(hire, town)
    return "teamcity", "left the company and still is a TeamCity administrator, with a password and a token"


def _suspend(hire: Hire, _: Town) -> tuple[str, str]:
    hire.status = "SUSPENDED"
    return "looker", "is suspended at the source and can still sign in"


def _extra_role(hire: Hire, _: Town) -> tuple[str, str]:
    hire.looker = replace(_looker(hire), roles=(*_looker(hire).roles, "Analyst"))
    return "looker", "holds role Analyst, which the policy does not give"


def _extra_group(hire: Hire, _: Town) -> tuple[str, str]:
    hire.looker = replace(_looker(hire), groups=(*_looker(hire).groups, "Finance"))
    return "looker", "is in group Finance, which the policy does not give"


def _extra_project(hire: Hire, _: Town) -> tuple[str, str]:
    account = _teamcity(hire)
    hire.teamcity = replace(account, roles=(*account.roles, ("PROJECT_DEVELOPER", "p:Payments")))
    return "teamcity", "holds role PROJECT_DEVELOPER in Payments, which the policy does not give"


def _extra_admin(hire: Hire, _: Town) -> tuple[str, str]:
    hire.looker = replace(_looker(hire), roles=(*_looker(hire).roles, acme.ADMIN_ROLE))
    return "looker", "holds role Admin, which the policy does not give"


def _lose_group(hire: Hire, _: Town) -> tuple[str, str]:
    hire.looker = replace(_looker(hire), groups=tuple(g for g in _looker(hire).groups if g != "Viewers"))
    return "looker", "is not in group Viewers, which the policy gives"


def _lose_role(hire: Hire, _: Town) -> tuple[str, str]:
    lost, *rest = _teamcity(hire).roles
    hire.teamcity = replace(_teamcity(hire), roles=tuple(rest))
    return "teamcity", f"does not hold role {lost[0]} in {lost[1].removeprefix('p:')}, which the policy gives"


def _no_looker(hire: Hire, _: Town) -> tuple[str, str]:
    hire.looker = None
    return "looker", "deserves access and has no account"


def _no_teamcity(hire: Hire, _: Town) -> tuple[str, str]:
    hire.teamcity = None
    return "teamcity", "deserves access and has no account"


def _disable(hire: Hire, _: Town) -> tuple[str, str]:
    hire.looker = replace(_looker(hire), is_disabled=True)
    return "looker", "is active at the source and disabled here"


def _marry(hire: Hire, _: Town) -> tuple[str, str]:
    old = hire.profile["lastName"]
    hire.rename(hire.profile["firstName"], "Sundaram" if old != "Sundaram" else "Whitfield")
    return "looker", f"was renamed at the source from {old}, and the old name stands here"


def _change_login(hire: Hire, town: Town) -> tuple[str, str]:
    old = hire.login
    hire.move(address(town.local(hire.profile["firstName"], "Sundaram")))
    if hire.looker:
        hire.looker = replace(hire.looker, email=hire.login)
    hire.teamcity = replace(_teamcity(hire), email=hire.login)
    return "teamcity", f"has a new login at the source; the account still is {old} and only its e-mail says whose it is"


def _mixed_case(hire: Hire, _: Town) -> tuple[str, str]:
    local, domain = hire.login.split("@")
    hire.name_accounts(f"{local.title()}@{domain.title()}")
    return "looker", "has the same address in other capitals"


def _expired(hire: Hire, _: Town) -> tuple[str, str]:
    hire.groups.append(acme.AUDIT_SEASON)
    hire.looker = replace(_looker(hire), groups=(*_looker(hire).groups, "Finance"))
    return "looker", "is in group Finance by a rule that ended on 2026-06-30"


def _case_pair(hire: Hire, town: Town) -> tuple[str, str]:
    twin = _looker(hire)
    name = (twin.first_name, twin.last_name)
    town.looker_stray(twin.email.replace(twin.email[0], twin.email[0].upper(), 1), name, "standard", "Viewers")
    return "looker", "has two accounts whose addresses differ in capitals only"


def _twin(hire: Hire, town: Town) -> tuple[str, str]:
    """A second person's e-mail becomes this one's, so that one account belongs to both by its key."""
    other = next(h for h in reversed(town.hires) if h.job.title == "Recruiter" and not h.storied)
    other.storied = True
    other.profile["email"] = hire.profile["email"]
    other.groups.append(acme.READERS)
    shared = "shares an e-mail address with {}, and so one account"
    town.stories.append(Story("shared address", other.login, "looker", shared.format(hire.login)))
    return "looker", shared.format(other.login)


def _move_beyond_ascii(hire: Hire, town: Town, first: str, last: str) -> str:
    """Give the person that name and an address that spells it as it is; returns the address's plain form."""
    numbered = town.local(first, last)
    hire.rename(first, last)
    number = numbered.removeprefix(plain(f"{first}.{last}".lower()))
    hire.move(address(unicodedata.normalize("NFC", f"{first}.{last}".lower()) + number))
    hire.name_accounts(hire.login)
    return address(numbered)


def _accent(hire: Hire, town: Town) -> tuple[str, str]:
    _move_beyond_ascii(hire, town, "Zoë", "Brontë")
    return "looker", "has an address with accents, the same everywhere"


def _decomposed(hire: Hire, town: Town) -> tuple[str, str]:
    _move_beyond_ascii(hire, town, "Núria", "Ibáñez")
    hire.name_accounts(unicodedata.normalize("NFD", hire.login))
    return "looker", "has an address with accents, which the account spells with combining marks"


def _sharp_s(hire: Hire, town: Town) -> tuple[str, str]:
    typed = _move_beyond_ascii(hire, town, "Jörg", "Weiß").replace("jorg", "jörg")
    hire.looker = replace(_looker(hire), email=typed)
    return "looker", f"has ß in the address and ss in the account's ({typed}): alike only under case folding"


def _full_width(hire: Hire, _: Town) -> tuple[str, str]:
    wide = chr(ord(hire.login[0]) - ord("a") + ord("\N{FULLWIDTH LATIN SMALL LETTER A}")) + hire.login[1:]
    hire.looker = replace(_looker(hire), email=wide)
    return "looker", f"has an account whose address begins with a full-width letter ({wide}): alike only under NFKC"


def _without_accent(hire: Hire, town: Town) -> tuple[str, str]:
    typed = _move_beyond_ascii(hire, town, "René", "Dvořák")
    town.looker_stray(typed, ("René", "Dvořák"), "standard", "Viewers", "Finance")
    return "looker", f"beside the account there is a stranger's, the same without accents: {typed}"


def _cyrillic(hire: Hire, town: Town) -> tuple[str, str]:
    imposter = hire.login.replace("a", "\N{CYRILLIC SMALL LETTER A}", 1)
    town.looker_stray(imposter, (_looker(hire).first_name, _looker(hire).last_name), "standard", "Finance")
    town.stories.append(Story("orphan", imposter, "looker", "is an account that nobody owns, spelt as somebody's"))
    return "looker", f"beside the account there is a stranger's, spelt with a Cyrillic letter: {imposter}"


def _unknown_status(hire: Hire, _: Town) -> tuple[str, str]:
    hire.status = "ACTIVATING"
    hire.looker = replace(_looker(hire), groups=(*_looker(hire).groups, "Finance"))
    return "okta", "has a status that nobody knows: nothing is given, nothing taken"


def _pre_hire(hire: Hire, _: Town) -> tuple[str, str]:
    hire.status, hire.looker, hire.teamcity = "STAGED", None, None
    return "okta", "has not started yet and gains nothing so far"


def _early_account(hire: Hire, _: Town) -> tuple[str, str]:
    hire.status = "STAGED"
    hire.looker = replace(_looker(hire), groups=(*_looker(hire).groups, "Finance"))
    return "okta", "has not started yet and has an account already, of which nothing is taken"


def _locked_out(hire: Hire, _: Town) -> tuple[str, str]:
    hire.status = "LOCKED_OUT"
    return "okta", "is locked out for the moment and keeps everything"


def _password_expired(hire: Hire, _: Town) -> tuple[str, str]:
    hire.status = "PASSWORD_EXPIRED"
    return "okta", "has an expired password and keeps everything"


def _ungoverned(hire: Hire, _: Town) -> tuple[str, str]:
    account = _looker(hire)
    hire.looker = replace(account, roles=(*account.roles, "Scheduler"), groups=(*account.groups, "Running Club"))
    return "looker", "holds role Scheduler and group Running Club, which the policy does not name"


def _inherited(hire: Hire, _: Town) -> tuple[str, str]:
    hire.looker = replace(_looker(hire), groups=(*_looker(hire).groups, "Data Leads"))
    return "looker", "inherits roles through group Data Leads, which is inside Data"


def _inherited_project(hire: Hire, _: Town) -> tuple[str, str]:
    hire.teamcity = replace(_teamcity(hire), groups=(*_teamcity(hire).groups, "DEVELOPERS_CLOUD"))
    return "teamcity", "inherits roles through group DEVELOPERS_CLOUD, which is inside DEVELOPERS"


def _has_looker(hire: Hire) -> bool:
    return hire.looker is not None


def _has_teamcity(hire: Hire) -> bool:
    return hire.teamcity is not None


def _reads_only(hire: Hire) -> bool:
    return hire.looker is not None and hire.job.looker_groups == ("Viewers",)


def _not_payments(hire: Hire) -> bool:
    return hire.teamcity is not None and "Payments" not in hire.job.title


def _spells_with_a(hire: Hire) -> bool:
    return hire.looker is not None and "a" in hire.login.partition("@")[0]


# In the order of importance: a small company has only the first few.
TROUBLES = (
    Trouble("leaver", 3, lambda h: _has_looker(h) and _has_teamcity(h), _leave),
    Trouble("extra role", 5, _reads_only, _extra_role),
    Trouble("missing teamcity account", 3, _has_teamcity, _no_teamcity),
    Trouble("missing looker account", 6, _has_looker, _no_looker),
    Trouble("extra project role", 4, _not_payments, _extra_project),
    Trouble("missing group", 6, _reads_only, _lose_group),
    Trouble("missing project role", 3, _has_teamcity, _lose_role),
    Trouble("suspended", 3, _reads_only, _suspend),
    Trouble("renamed", 5, _reads_only, _marry),
    Trouble("disabled account", 3, _has_looker, _disable),
    Trouble("leaver", 5, lambda h: _has_looker(h) or _has_teamcity(h), _leave),
    Trouble("departed administrator", 0.5, _reads_only, _leave_with_admin_role),
    Trouble("departed system administrator", 0.5, _has_teamcity, _leave_with_system_role),
    Trouble("new login", 2, _has_teamcity, _change_login),
    Trouble("extra admin role", 0.5, _reads_only, _extra_admin),
    Trouble("expired rule", 4, _reads_only, _expired),
    Trouble("mixed-case address", 8, _has_looker, _mixed_case),
    Trouble("unknown status", 1, _reads_only, _unknown_status),
    Trouble("case-only pair", 0.5, _reads_only, _case_pair),
    Trouble("shared address", 0.5, _reads_only, _twin),
    Trouble("sharp s", 0.5, _reads_only, _sharp_s),
    Trouble("full-width letter", 0.5, _reads_only, _full_width),
    Trouble("stranger without accents", 0.5, _reads_only, _without_accent),
    Trouble("stranger in Cyrillic", 0.5, lambda h: _reads_only(h) and _spells_with_a(h), _cyrillic),
    Trouble("combining marks", 0.5, _has_looker, _decomposed),
    Trouble("accented address", 4, _has_looker, _accent),
    Trouble("extra group", 3, _reads_only, _extra_group),
    Trouble("pre-hire", 5, lambda _: True, _pre_hire),
    Trouble("pre-hire with account", 0.5, _reads_only, _early_account),
    Trouble("ungoverned extras", 8, _reads_only, _ungoverned),
    Trouble("inherited roles", 3, _reads_only, _inherited),
    Trouble("inherited project roles", 2, _has_teamcity, _inherited_project),
    Trouble("locked out", 3, lambda _: True, _locked_out),
    Trouble("password expired", 8, lambda _: True, _password_expired),
)

# These must be left exactly as they are: somebody who changes them is wrong.
HARMLESS = frozenset(
    {
        "mixed-case address", "combining marks", "stranger in Cyrillic", "accented address", "unknown status",
        "pre-hire", "pre-hire with account", "ungoverned extras", "inherited roles", "inherited project roles",
        "locked out", "password expired", "service account", "support account", "embed user", "guest",
        "protected account", "unknown region",
    }
)  # fmt: skip

SHARES = {False: 0.12, True: 0.06}  # of all people that may be in trouble, and that may look as if they were


def plant_people(town: Town, troubles: Sequence[Trouble] = TROUBLES, shares: Mapping[bool, float] = SHARES) -> None:
    """Each kind once, in order, then up to its rate, as far as the shares allow: of trouble, and of what is harmless.
    Administrators and the chief are spared: losing them is for tests that ask for it."""
    size = len(town.hires)
    spared = next(n for n in range(1, size) if acme.LOOKER_ADMINISTRATORS not in town.hires[n].groups)
    free = town.hires[spared:]
    town.rng.shuffle(free)
    left = {harmless: int(size * share) for harmless, share in shares.items()}
    rates = [(trouble, int(size * trouble.per_mille / 1000)) for trouble in troubles]
    for trouble, count in [*((t, 1) for t, _ in rates), *((t, n - 1) for t, n in rates)]:
        harmless = trouble.kind in HARMLESS
        for hire in _take(free, trouble, min(count, left[harmless])):
            left[harmless] -= 1
            where, text = trouble.plant(hire, town)
            town.stories.append(Story(trouble.kind, hire.login, where, text))


def _take(free: list[Hire], trouble: Trouble, count: int) -> list[Hire]:
    """The first `count` that it fits, taken out of those who have no story yet."""
    if count <= 0:
        return []
    taken: list[Hire] = []
    for place in range(len(free) - 1, -1, -1):
        hire = free[place]
        if not hire.storied and trouble.fits(hire):
            hire.storied = True
            taken.append(free.pop(place))
            if len(taken) == count:
                break
    return taken


def plant_strays(town: Town) -> None:
    """Accounts that no person owns."""
    many = max(1, len(town.hires) // 250)
    for n in range(1, many + 1):
        email = address(f"temp{n}")
        town.looker_stray(email, ("Temporary", f"Account {n}"), "standard", "Viewers")
        town.stories.append(Story("orphan", email, "looker", "is an account that nobody owns"))
    for n in range(1, max(1, many // 2) + 1):
        town.teamcity_stray(f"old-build-{n}", f"Old Build {n}", "", "DEVELOPERS")
        town.stories.append(Story("orphan", f"old-build-{n}", "teamcity", "is an account that nobody owns"))
    special = (
        ("service account", "", ("Nightly", "Exports"), "service"),
        ("support account", "support@looker.example", ("Vendor", "Support"), "support"),
        ("embed user", "", ("Portal", "Visitor"), "embed"),
        ("protected account", address("reports"), ("Scheduled", "Reports"), "standard"),
    )
    for kind, email, name, looker_kind in special:
        town.looker_stray(email, name, looker_kind, "Viewers")
        town.stories.append(Story(kind, email or " ".join(name), "looker", "is no employee's and is never touched"))
    town.teamcity_stray("build-bot", "Build Bot", "", "DEVELOPERS")
    town.stories.append(Story("protected account", "build-bot", "teamcity", "is no employee's and is never touched"))
    town.teamcity_stray("guest", "Guest", "")
    town.stories.append(Story("guest", "guest", "teamcity", "is TeamCity's guest, and nobody's account"))
