"""Somebody leaves, in a test: asked for, worked at by however many workers, and what the receipt says."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from typing import Any

from sqlmodel import col, select

from tests.flows.rig import Rig
from worker.core.receipt import Fate, Line, Receipt
from worker.errors import TrueupError
from worker.flows import jobs, leaving, links, offboarding, passes, receipts
from worker.flows.offboarding import Asked
from worker.flows.site import Site
from worker.store import marks, offboardings, people
from worker.store.tables import OffboardingRow, PersonRow

LONG = 60  # nudges: a straight line needs three


def person_id(site: Site, login: str) -> str:
    with site.begin() as session:
        return links.find_person(session, login).person_id


def ask(site: Site, login: str, trigger: str = "operator", **how: Any) -> uuid.UUID:
    """In the name of whoever the site works for."""
    with site.begin() as session:
        who = links.find_person(session, login).person_id
        return offboarding.ask(site, session, who, Asked(trigger, "they left", how.pop("actor", site.actor), **how))


def hint(site: Site, login: str, event_at: dt.datetime | None = None, word: str = "user.lifecycle.deactivate") -> Any:
    with site.begin() as session:
        who = people.find(session, login)[0]
        known = people.known_identities(session, who.person_id)[0]
        return offboarding.heed(site, session, known.source, known.id, word, event_at)


def row(site: Site, id: uuid.UUID) -> OffboardingRow:
    with site.begin() as session:
        found = offboardings.by_id(session, id)
    assert found is not None
    return found


def rows(site: Site, login: str) -> list[OffboardingRow]:
    who = uuid.UUID(person_id(site, login))
    with site.begin() as session:
        query = select(OffboardingRow).where(OffboardingRow.person_id == who)
        return list(session.exec(query.order_by(col(OffboardingRow.requested_at))))


def mark(site: Site, login: str) -> PersonRow:
    with site.begin() as session:
        return marks.row_of(session, links.find_person(session, login).person_id)


def finish(rig: Rig, site: Site, patience: float = 3600) -> list[str]:
    """Take what ticks find until there is nothing left that anybody could do, however long that takes by the clock;
    what stood in the way meanwhile."""
    troubles: list[str] = []
    end = rig.clock() + dt.timedelta(seconds=patience)
    for _ in range(LONG):
        nudges = [nudge for nudge in jobs.tick(site) if nudge.task == leaving.OFFBOARD]
        for nudge in nudges:
            try:
                offboarding.work(site, uuid.UUID(nudge.args[0]), *nudge.args[1:])
            except TrueupError as error:
                troubles.append(str(error))
        if not nudges:
            later = _next(site)
            if later is None or later > end:
                return troubles
            rig.clock.time = max(rig.clock.time, later)
    raise AssertionError(f"it does not end: {troubles[-3:]}")


def _next(site: Site) -> dt.datetime | None:
    with site.begin() as session:
        found = [o.not_before for o in session.exec(select(OffboardingRow).where(OffboardingRow.state == "asked"))]
        for one in session.exec(select(OffboardingRow).where(OffboardingRow.state == "working")):
            found += [p.not_before for p in offboardings.parts(session, one.id) if p.state == "open"]
    return min((at for at in found if at is not None), default=None)


def receipt(site: Site, id: uuid.UUID) -> Receipt:
    return receipts.find(site, str(id))


def fates(found: Receipt, target: str = "") -> dict[str, Fate]:
    """By key, of one target or all; a key that stands twice is a fault."""
    some = [line for line in found.lines if target in ("", line.target)]
    by_key = {f"{line.target} {line.account_id} {line.key}" if not target else line.key: line.fate for line in some}
    assert len(by_key) == len(some), "each thing is on one line"
    return by_key


def line(found: Receipt, key: str, target: str = "looker") -> Line:
    (one,) = [each for each in found.lines if each.target == target and each.key == key]
    return one


def done(rig: Rig) -> Counter[str]:
    """Every call that changed anything anywhere so far, with how often; the later minus the earlier is what came
    between."""
    return Counter(rig.mutations())


def settled(rig: Rig, site: Site) -> None:
    """Everybody is linked, and some time has passed."""
    passes.sync(site)
    rig.clock.advance(minutes=10)


def everywhere(rig: Rig, place: int = 0) -> str:
    """Somebody in good order, in no story, with an account in Looker and in TeamCity."""
    planted = {story.who for story in rig.world.company.stories}
    teamcity = {user.username for user in rig.world.company.teamcity_users}
    found = [
        login
        for person in rig.world.company.employees
        if (login := person.profile["login"]) not in planted
        and person.status == "ACTIVE"
        and login in teamcity
        and len(rig.world.looker.instance.with_email(login)) == 1
    ]
    return found[place]


def furnish(rig: Rig, login: str) -> None:
    """Everything that somebody can have, in both targets."""
    looker, teamcity = rig.world.looker, rig.world.teamcity
    account = rig.looker_user(login)
    looker.add_session(account.id)
    looker.add_session(account.id)
    looker.add_schedule(account.id, "Weekly sales", "boss@acme.example")
    looker.add_schedule(account.id, "To myself", login)
    looker.add_schedule(account.id, "To a supplier", "sales@supplier.example")
    looker.add_alert(account.id, "Revenue drops", "boss@acme.example")
    looker.add_content(account.id, "dashboard", "My figures")
    looker.grant_role(account.id, "Analyst")
    user = next(u for u in rig.world.company.teamcity_users if u.username == login)
    teamcity.set_field(user.id, "password", "open sesame")
    teamcity.add_token(user.id, "laptop")
