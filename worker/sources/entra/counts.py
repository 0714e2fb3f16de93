"""Holds what was listed against what Graph counts, so that a short list never passes for a whole one.

Counts come from an index that lags behind the lists. Rows that it does not have yet harm nobody; rows that it has and
the lists have not are looked at once more, and then count as lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.core.identity import SourceGroup
from worker.errors import Misshapen, Missing
from worker.ports import Check, SourcePage, Whole
from worker.sources._pagination import Trail
from worker.sources.entra.batch import Batch, Question, Told
from worker.sources.entra.graph import EVENTUAL, GONE, GROUPS, USERS_PATH, Graph, error_code
from worker.sources.entra.groups import Groups, guid

COUNTED = "3"  # stamp of a group that the counts speak against
SECOND_LOOKS = 50  # groups whose members are read again because the index has more
_CANNOT = (400, 501)  # a cloud that has no such count
_ONLY_THE_COUNT = "?$count=true&$top=1&$select=id"


@dataclass
class _Group:
    """What the parts of a read brought of one group, or of one group for a role."""

    id: str
    into: str
    people: int = 0
    late: int = 0  # people whom only a second look showed
    nested: list[str] = field(default_factory=list)
    row: Mapping[str, Any] | None = None  # once its last leg was read
    problem: str = ""

    def spoken_against(self, source: str, problem: str) -> SourceGroup:
        assert self.row is not None
        return SourceGroup(source, problem=problem, **self.row)


class Counts:
    """The counts at the end of one read. `wait` lets a moment pass before a second look."""

    def __init__(
        self, source: str, graph: Graph, groups: Groups, batch: Batch, wait: Callable[[], None]
    ) -> None:  # fmt: skip
        self._source, self._graph, self._groups, self._batch = source, graph, groups, batch
        self._wait = wait

    # --- people ------------------------------------------------------------------------------------------------------

    def of_people(self, counted_before: int, listed: int) -> Check:
        """Whoever was hired while the list was read is in the later count only, and whoever left in the earlier one:
        so the smaller of the two has to be reached, and nothing less will do."""
        name = "as many as Graph counts"
        counted = min(counted_before, self._graph.count(USERS_PATH))
        if counted > listed:
            self._wait()
            counted = min(counted, self._graph.count(USERS_PATH))
        detail = f"{listed} people were listed, and Graph counts {counted}"
        if counted <= listed:
            return Check(name, True, detail)
        return Check(name, False, f"{detail}, so rows of the list were lost; if many have just left, read again later")

    # --- groups ------------------------------------------------------------------------------------------------------

    def of_groups(self, whole: Whole) -> SourcePage:
        """What a second look brought, and the groups that lack people even so."""
        read = [one for one in _groups(whole) if one.row is not None and not one.problem]
        lacking = self._lacking(read, [_direct(self._source, one.id) for one in read], [one.people for one in read])
        seen, against = [], {}
        for one, counted in lacking[:SECOND_LOOKS]:
            page, listed = self._second_look(one)
            seen.append(page)
            one.late, one.people = max(0, listed - one.people), max(one.people, listed)
            if listed < counted:
                against[one.into] = one.spoken_against(self._source, _said(counted, listed))
        for one, counted in lacking[SECOND_LOOKS:]:
            against[one.into] = one.spoken_against(self._source, _said(counted, one.people))
        against |= self._below(read, whole, {one.id for one, _ in lacking} & against.keys())
        return SourcePage(
            groups=list(against.values()),
            memberships=[row for page in seen for row in page.memberships],
            nestings=[row for page in seen for row in page.nestings],
            stamps=dict.fromkeys(against, COUNTED),
        )

    def _below(self, read: Sequence[_Group], whole: Whole, doubtful: Collection[str]) -> dict[str, SourceGroup]:
        """Wanted groups that hold others, against Graph's count of all people below: it must not know of more than
        there are different people in those groups. Who is in two of them hides nobody."""
        known = {one.id: one for one in read if one.into == one.id and one.id not in doubtful}
        chosen = sorted({id for part, facts in whole.parts for id in facts.get("chosen", ()) if id in known})
        below = {id: _expanded(id, known) for id in chosen if known[id].nested}
        asked = [known[id] for id, inside in below.items() if inside is not None]  # else it is uncertified already
        late = [sum(known[id].late for id in below[one.id] or ()) for one in asked]
        most = [whole.within.get(one.id, 0) + more for one, more in zip(asked, late, strict=True)]
        questions = [_transitive(self._source, one.id) for one in asked]
        lacking = self._lacking(asked, questions, most)
        listed = dict(zip((one.id for one in asked), most, strict=True))
        return {
            one.id: one.spoken_against(self._source, f"{_said(counted, listed[one.id])}, in all groups in it together")
            for one, counted in lacking
        }

    def _lacking(
        self, groups: Sequence[_Group], questions: Sequence[Question], listed: Sequence[int]
    ) -> list[tuple[_Group, int]]:
        """Groups that Graph counts more people in than were listed, also when it is asked again, with the count."""
        counted = self._counted(questions)
        again = [n for n, count in enumerate(counted) if count is not None and count > listed[n]]
        if not again:
            return []
        self._wait()
        found = zip(again, self._counted([questions[n] for n in again]), strict=True)
        return [(groups[n], count) for n, count in found if count is not None and count > listed[n]]

    def _counted(self, questions: Sequence[Question]) -> list[int | None]:
        told = zip(questions, self._batch.ask(questions), strict=True)
        return [self._number(question, one) for question, one in told]

    def _number(self, question: Question, told: Told) -> int | None:
        """None where the group is gone by now, or the cloud does not count."""
        if told.status in _CANNOT or (told.status == 404 and error_code(told.content) == GONE):
            return None
        call = f"GET {question.path.partition('?')[0]} of {self._source}"
        if told.status != 200:
            raise self._graph.refusal(told.status, told.content, call, GROUPS)
        count = told.body.get("@odata.count") if isinstance(told.body, dict) else None
        if type(count) is not int:
            raise Misshapen(f"{call} was asked for a count, and answered without one.")
        return count

    def _second_look(self, group: _Group) -> tuple[SourcePage, int]:
        """The members once more, and how many people that are."""
        people: set[str] = set()
        children: set[str] = set()
        trail = Trail()
        try:
            while not trail.pages or trail.following:
                inside = self._groups.inside(group.id, trail)
                assert inside is not None
                people |= set(inside.people)
                children |= set(inside.groups)
        except Missing:
            return SourcePage(), 0
        nestings = [(group.id, child) for child in sorted(children)] if group.into == group.id else []
        return SourcePage(memberships=[(group.into, id) for id in sorted(people)], nestings=nestings), len(people)


def _groups(whole: Whole) -> list[_Group]:
    found: dict[tuple[str, str], _Group] = {}
    for _, facts in whole.parts:
        if "into" in facts:
            one = found.setdefault((facts["group"], facts["into"]), _Group(facts["group"], facts["into"]))
            one.people += facts["people"]
            one.nested += facts["nested"]
            one.row = facts.get("row") or one.row
            one.problem = facts.get("problem") or one.problem
    return list(found.values())


def _expanded(id: str, known: Mapping[str, _Group]) -> set[str] | None:
    """The group and all in it; None where one of those was not read whole."""
    found, waiting = {id}, [id]
    while waiting:
        one = known.get(waiting.pop())
        if one is None:
            return None
        fresh = set(one.nested) - found
        found |= fresh
        waiting += fresh
    return found


def _direct(source: str, id: str) -> Question:
    return Question(f"/groups/{guid(source, id)}/members/microsoft.graph.user{_ONLY_THE_COUNT}", EVENTUAL)


def _transitive(source: str, id: str) -> Question:
    return Question(f"/groups/{guid(source, id)}/transitiveMembers/microsoft.graph.user{_ONLY_THE_COUNT}", EVENTUAL)


def _said(counted: int, listed: int) -> str:
    return f"Graph counts {counted} people in it, and lists {listed}"
