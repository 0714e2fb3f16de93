"""The guards of what makes many departures quick: nothing that is stale is believed, and nobody's lock-out waits."""

from __future__ import annotations

from tests.red.mutant import Mutant

_LATELY, _VERBS, _LOCK = "targets/looker/lately.py", "targets/looker/verbs.py", "flows/lockout.py"
_LOOKER, _TEAMCITY = "targets/test_looker_leavers.py::test", "targets/test_teamcity_leavers.py::test"
_MUTATIONS = "targets/teamcity/mutations.py"
_MANY = "flows/test_many_leavers.py::test"

MUTANTS = (
    Mutant("a glance ends", "glance.py", "and since + self._life > self._clock()", "",
           "test_glance.py::test_what_was_seen_is_good_for_a_moment_from_the_beginning_of_the_look"),
    Mutant("only a leaver's Looker account is not looked at again", _LATELY, 'return LANE.get() == "leaver"',
           "return True", f"{_LOOKER}_anybody_else_is_looked_at_right_before"),
    Mutant("only a leaver's TeamCity account is not looked at again", "targets/teamcity/reading.py",
           'found = self._users.of(id) if LANE.get() == "leaver" else None', "found = self._users.of(id)",
           f"{_TEAMCITY}_nobody_elses_account_is_changed_without_a_look_right_before"),
    Mutant("what a step changes is looked at afterwards", _VERBS,
           "        ground.lately.changes(step.account_id)\n    try:", "        pass\n    try:",
           f"{_LOOKER}_a_leaver_who_was_just_looked_at_is_locked_out_in_two_calls"),
    Mutant("a glance does not say that a Looker account is locked out", _VERBS, "if before.done and lately:",
           "if False:", f"{_LOOKER}_that_a_leaver_was_locked_out_a_moment_ago_is_no_word_that_they_are"),
    Mutant("nor that a TeamCity group is left", _MUTATIONS, "if lately and verb.reached(user, args):", "if False:",
           f"{_TEAMCITY}_that_it_was_gone_a_moment_ago_is_no_word_that_it_is[group]"),
    Mutant("nor that a token is gone", _MUTATIONS, "if lately and not there else names", "if False else names",
           f"{_TEAMCITY}_that_it_was_gone_a_moment_ago_is_no_word_that_it_is[token]"),
    Mutant("a group that was just made is read", _LATELY,
           "if found is not None and all(id in found for id in needed):", "if found is not None:",
           f"{_LOOKER}_a_group_that_was_just_made_is_not_overlooked"),
    Mutant("an attribute that was just defined is read", _LATELY,
           " and set(needed) <= {row.id for row in known}", "",
           f"{_LOOKER}_the_value_of_an_attribute_that_was_just_defined_is_not_overlooked"),
    Mutant("what was seen is believed once", _LATELY, "        self._held.forget(key)\n", "",
           f"{_LOOKER}_what_was_just_seen_is_ended_and_looked_for_once[session]"),
    Mutant("lock-outs before tails", _LOCK, "if len(of_account) > 1 or all(", "if False and all(",
           f"{_MANY}_everybody_is_locked_out_before_anything_else_is_taken_from_anybody"),
    Mutant("whoever has access comes before those about whom a nudge is", "flows/offboarding.py",
           "            self._others()\n            if (id", "            if (id",
           f"{_MANY}_whoever_is_not_marked_yet_comes_before_those_about_whom_a_nudge_is"),
    Mutant("a target in trouble comes last", "store/offboardings.py",
           "key=lambda row: (row.in_trouble, row.target", 'key=lambda row: (False, row.target',
           f"{_MANY}_a_target_in_trouble_keeps_nobody_waiting_in_the_other_one"),
    Mutant("a leaver's read is not repeated for long", "rest.py", 'if LANE.get() == "leaver" and time',
           "if False and time",
           "test_rest.py::test_for_a_leaver_a_vendor_in_trouble_is_not_asked_again_for_long[leaver-1]"),
    Mutant("a leaver does not wait until a vendor lets calls through again", "budget/budget.py",
           " or (lane == LEAVER and wait > LEAVERS_PATIENCE)", "",
           "test_budget.py::test_a_leaver_waits_for_no_vendor_that_lets_nobody_through_for_long"),
    Mutant("a tail asks whether it was called off", _LOCK,
           "if _opened(tail.case.site, tail.case.row.id, tail.case.target) is not None:", "if True:",
           f"{_MANY}_a_departure_that_is_lifted_after_the_lock_out_takes_nothing_more"),
    Mutant("who waits for a person holds nothing of theirs", "flows/offboarding.py",
           "        marks.lock(session, person_id)\n", "",
           f"{_MANY}_a_hint_and_a_read_of_the_source_about_one_person_wait_for_each_other_in_one_order"),
    Mutant("one drift is one episode, whoever finds it", "store/episodes.py",
           ".on_conflict_do_nothing(index_elements=[\"drift_key\"], index_where=still_open)", "",
           "store/test_episodes.py::test_whoever_comes_second_takes_the_firsts_word[by_a_plan-by_an_offboarding]"),
)  # fmt: skip
