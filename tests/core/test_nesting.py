"""Groups in groups: who counts where, how that came, and what one unread group means for all that are above it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core import nesting
from worker.core.nesting import Edge

SHAPES: dict[str, tuple[list[Edge], dict[str, set[str]]]] = {
    "nothing is nested": ([], {}),
    "one in another": ([("all", "web")], {"web": {"all"}}),
    "three deep": ([("all", "web"), ("web", "core")], {"web": {"all"}, "core": {"web", "all"}}),
    "a diamond": (
        [("all", "web"), ("all", "app"), ("web", "core"), ("app", "core")],
        {"web": {"all"}, "app": {"all"}, "core": {"web", "app", "all"}},
    ),
    "a circle": ([("a", "b"), ("b", "a")], {"a": {"b"}, "b": {"a"}}),
    "a circle of three with one below": (
        [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")],
        {"a": {"b", "c"}, "b": {"a", "c"}, "c": {"a", "b"}, "d": {"a", "b", "c"}},
    ),
    "a group in itself": ([("a", "a")], {}),
    "the same twice": ([("a", "b"), ("a", "b")], {"b": {"a"}}),
}


@pytest.mark.parametrize(("edges", "expected"), SHAPES.values(), ids=SHAPES.keys())
def test_whoever_is_in_a_group_is_in_all_above_it_when(edges: list[Edge], expected: dict[str, set[str]]) -> None:
    assert nesting.above(edges) == expected


UNREAD: dict[str, tuple[dict[str, str], list[Edge], dict[str, str]]] = {
    "everything was read": ({"all": "", "web": ""}, [("all", "web")], {}),
    "the one below was not": ({"all": "", "web": "hidden"}, [("all", "web")], {"all": "web"}),
    "the one above was not": ({"all": "hidden", "web": ""}, [("all", "web")], {}),
    "one two levels down was not": (
        {"all": "", "web": "", "core": "hidden"}, [("all", "web"), ("web", "core")], {"all": "core", "web": "core"},
    ),
    "one of a circle was not": (
        {"a": "", "b": "", "c": "hidden"}, [("a", "b"), ("b", "c"), ("c", "a")], {"a": "c", "b": "c"},
    ),
    "the one below is on no list": ({"all": ""}, [("all", "web")], {"all": "web"}),
    "one beyond another that was not": (
        {"top": "", "all": "hidden", "web": "hidden"}, [("top", "all"), ("all", "web")], {"top": "all"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("problems", "edges", "expected"), UNREAD.values(), ids=UNREAD.keys())
def test_a_group_cannot_be_known_whole_when(
    problems: dict[str, str], edges: list[Edge], expected: dict[str, str]
) -> None:
    assert nesting.uncertified(problems, edges) == expected


def test_the_way_is_the_shortest_from_the_top_down_to_where_somebody_is() -> None:
    edges = [("Staff", "Engineers"), ("Engineers", "Backend"), ("Backend", "Payments"), ("Engineers", "Payments")]
    assert nesting.through(["Payments"], edges) == {
        "Backend": ("Payments",),
        "Engineers": ("Payments",),
        "Staff": ("Engineers", "Payments"),
    }
    assert nesting.through(["Staff"], edges) == {}


# --- laws ------------------------------------------------------------------------------------------------------------

GROUPS = st.sampled_from("abcdefgh")
EDGES = st.lists(st.tuples(GROUPS, GROUPS), max_size=20)
PROBLEMS = st.dictionaries(GROUPS, st.sampled_from(["", "", "hidden"]))


def expanded(group: str, edges: list[Edge]) -> set[str]:
    """A group and all in it, by following every edge until nothing is new."""
    found = {group}
    while more := {child for parent, child in edges if parent in found} - found:
        found |= more
    return found


@given(EDGES)
def test_above_is_the_other_way_round_of_what_expanding_each_group_shows(edges: list[Edge]) -> None:
    above = nesting.above(edges)
    for group in "abcdefgh":
        below = {child for child, groups in above.items() if group in groups}
        assert below == expanded(group, edges) - {group}


@given(EDGES, PROBLEMS)
def test_exactly_the_readable_groups_with_something_unread_in_them_are_uncertified(
    edges: list[Edge], problems: dict[str, str]
) -> None:
    blamed = nesting.uncertified(problems, edges)
    for group, problem in problems.items():
        unread = {one for one in expanded(group, edges) - {group} if problems.get(one, "not known")}
        assert (group in blamed) == (problem == "" and bool(unread))
        assert group not in blamed or blamed[group] in unread
    assert blamed.keys() <= problems.keys()


@given(EDGES, st.sets(GROUPS))
def test_every_way_is_made_of_edges_and_ends_where_somebody_is(edges: list[Edge], direct: set[str]) -> None:
    ways = nesting.through(direct, edges)
    assert set(ways) | direct == {g for one in direct for g in {one} | set(nesting.above(edges).get(one, ()))}
    for group, way in ways.items():
        assert way[-1] in direct
        assert set(zip((group, *way), way, strict=False)) <= set(edges)


@given(EDGES, GROUPS, GROUPS)
def test_one_more_nesting_takes_nobody_out_of_anything(edges: list[Edge], group: str, child: str) -> None:
    fewer, more = nesting.above(edges), nesting.above([*edges, (group, child)])
    assert all(groups <= more[one] for one, groups in fewer.items())


def test_a_tree_of_ten_thousand_groups_is_worked_out_by_its_edges_and_not_by_its_pairs() -> None:
    edges = [(f"g{(n - 1) // 10}", f"g{n}") for n in range(1, 10_000)]
    above = nesting.above(edges)
    assert max(map(len, above.values())) == 4
    assert len(nesting.uncertified({f"g{n}": "" for n in range(10_000)} | {"g9999": "hidden"}, edges)) == 4
