"""The guards of attributes as data filters: in the core, in the settings, in the flows, and on Looker's wire."""

from __future__ import annotations

from tests.red.mutant import Mutant

_VALUES, _ATTRIBUTES, _DRIFT, _PLAN, _GUARDRAILS = (
    f"core/{module}.py" for module in ("values", "attributes", "drift", "plan", "guardrails")
)
_GETS = "core/test_values.py::test_of_an_attribute_a_person_gets"
_WHO, _HAS = "core/test_attributes.py::test_somebody_who", "core/test_attributes.py::test_whoever_has"
_GUARD = "core/test_attributes.py::test"
_GATE = "core/test_plan.py::test_where_everything_is_automatic_the_gate_of"
_LOADING, _SAID = "settings/loading.py", "test_settings_values.py::test_what_is_wrong_is_said_with_its_place"

CORE = (
    Mutant("what nobody sees is no value", _VALUES, "problem = unfit(value)\n", "problem = \"\"\n",
           "core/test_values.py::test_a_value_with_something_that_nobody_sees_is_never_taken[ a]"),
    Mutant("what only fits a pattern is plain text", _VALUES, 'return ("", problem) if problem else (value, "")',
           'return value, ""',
           f"{_GETS}[held: it fits the pattern, and a filter would read more in it]"),
    Mutant("a pattern fits the whole value", _VALUES, "re.fullmatch(pattern, value)", "re.match(pattern, value)",
           f"{_GETS}[held: it begins as the pattern does, and goes on]"),
    Mutant("two values are none", _VALUES, "    if len(values) > 1:\n        said", "    if False:\n        said",
           f"{_GETS}[held: two rules give different values]"),
    Mutant("a rule in doubt holds the value", _VALUES,
           "if unsure and (len(values) > 1 or len(unsure) == len(rules)):", "if False:",
           f"{_GETS}[held: a rule that may give it cannot be evaluated]"),
    Mutant("a list is no value", _VALUES, "if isinstance(said, tuple) and len(said) > 1:", "if False:",
           f"{_GETS}[held: the person has two]"),
    Mutant("a value has its attribute's type", _VALUES,
           "why_not or mistyped(type, value, written=value in rule.allow)", "why_not",
           f"{_GETS}[held: no number where it has to be one]"),
    Mutant("a profile writes no filter expressions", _VALUES, "written=value in rule.allow", "written=True",
           f"{_GETS}[held: a filter expression that came from a profile]"),
    Mutant("what cannot be read back is not given", "core/meaning.py", "if not item.closed:", "if True:",
           f"{_GETS}[held: nobody can read it back]"),
    Mutant("an unsure person keeps a wrong value", _DRIFT,
           "        yield from _wrong_values(person, account, deserts, terrain)\n    yield from _held_values",
           "    yield from _wrong_values(person, account, deserts, terrain)\n    yield from _held_values",
           f"{_WHO}[has another value, and a source could not be read whole]"),
    Mutant("what nobody has read is not missing", _DRIFT,
           "if wanted.id not in account.known or account.own(wanted.id) is not None:",
           "if account.own(wanted.id) is not None:", f"{_WHO}[has a value that nobody has read yet]"),
    Mutant("what is in doubt is not taken", _DRIFT, " or _spoken_for(what, deserts)):", "):",
           f"{_WHO}[has a value, and which one they deserve is in doubt]"),
    Mutant("a filter alone makes no account", _DRIFT, "if deserts.access and deserts.login and not disputed:",
           "if deserts.given and deserts.login and not disputed:",
           f"{_WHO}[has no account, and nothing but a filter is given]"),
    Mutant("a group that is lost gives no value", _ATTRIBUTES, "return winner.everybody or stays(",
           "return True or stays(", f"{_WHO}[has the value through a group that they are to lose]"),
    Mutant("the lowest rank wins", _ATTRIBUTES, "in sorted(definition.groups)", "in sorted(definition.groups)[::-1]",
           f"{_WHO}[has another value through a group of lower rank]"),
    Mutant("a value that may reach into groups in groups counts", _ATTRIBUTES, " or deep.value != value:", ":",
           f"{_WHO}[has the value through a group, unless values reach into groups in groups]"),
    Mutant("nothing is given without a filter", _ATTRIBUTES,
           "if account is None or one.attribute is None or not account.own(one.attribute.id):", "if False:",
           f"{_HAS}[a value in doubt, and no account]"),
    Mutant("an empty filter is none", _ATTRIBUTES, "or not account.own(one.attribute.id):",
           "or account.own(one.attribute.id) is None:", f"{_HAS}[a value in doubt, and an empty one of its own]"),
    Mutant("an unknown filter is none", _ATTRIBUTES, "if account and wanted.id not in account.known:", "if False:",
           f"{_HAS}[a value that nobody has read]"),
    Mutant("a wrong filter that stays is none", _ATTRIBUTES,
           "if person.unsure and own is not None and own != wanted.scope:", "if False:",
           f"{_HAS}[a wrong value, and nothing may be taken]"),
    Mutant("to replace is to give and to take", _PLAN, "both if operation is Operation.REPLACE else (operation,)",
           "(operation,)", f"{_GATE}[another value of an attribute where grants are manual]"),
    Mutant("a filter ends when a human says so", _PLAN, " or _unsets(drift, operation):", ":",
           f"{_GATE}[the end of a filter]"),
    Mutant("to replace counts as taking", _PLAN, "Operation.REVOKE, Operation.REPLACE})", "Operation.REVOKE})",
           f"{_GUARD}_without_a_baseline_no_value_is_replaced_and_nothing_given_in_its_stead"),
    Mutant("a change holds no value", _PLAN, 'return _digest(drift.before) if before else "absent",',
           'return drift.before if before else "absent",',
           "core/test_plan.py::test_nor_does_it_hold_a_value_of_an_attribute"),
    Mutant("a new account's change holds none either", _PLAN, '"+".join(map(_undisclosed, entitlements))',
           '"+".join(entitlements)', "core/test_plan.py::test_nor_does_it_hold_a_value_of_an_attribute"),
    Mutant("whoever is unfiltered is given nothing", _GUARDRAILS, 'return held.get(change.subject, "") or (',
           "return (", f"{_GUARD}_whoever_is_unfiltered_is_given_nothing_and_loses_what_they_are_to_lose"),
    Mutant("what is given waits for its filter", _GUARDRAILS, 'amiss.get(change.subject, "")', '""',
           f"{_GUARD}_a_filter_beyond_its_limit_holds_up_what_is_given"),
    Mutant("a filter does not wait for the unlocking", _GUARDRAILS,
           "return change.operation is Operation.GRANT and not change.of_attribute",
           "return change.operation is Operation.GRANT",
           f"{_GUARD}_a_filter_is_set_before_its_account_may_be_unlocked"),
    Mutant("a replacement counts as a removal", _GUARDRAILS, "if operation in (Operation.REVOKE, Operation.REPLACE):",
           "if operation is Operation.REVOKE:",
           "core/test_guardrails.py::test_a_limit_counts[another value of an attribute]"),
    Mutant("only declared attributes are given", _LOADING, "elif gives and one.name not in declared:", "elif False:",
           f"{_SAID}[an attribute that is not declared]"),
    Mutant("a literal is an allowed one", _LOADING, "(problem := rule.admitted(value)[1])", '(problem := "")',
           f"{_SAID}[a value that is not allowed]"),
)  # fmt: skip

_EFFECTS, _SWEEP, _READING = "flows/effects.py", "store/sweep.py", "flows/reading.py"
_FLOW, _WIRE = "flows/test_attributes.py::test", "targets/test_looker_attributes.py::test"
_VERBS, _LOOKER = "targets/looker/verbs.py", "targets/looker/attributes.py"

FLOWS = (
    Mutant("no part of a plan gives without its filter", _EFFECTS, "if amiss and self._gives([id])",
           "if False and self._gives([id])", f"{_FLOW}_no_part_of_a_plan_gives_without_its_filter"),
    Mutant("what was changed is not known", _EFFECTS, "        if self._filters(step.tasks):\n", "        if False:\n",
           f"{_FLOW}_what_was_changed_is_read_again_first"),
    Mutant("what was not read again is carried forward", _SWEEP, "in (_CARRIED, _OVER, _READ):", "in (_OVER, _READ):",
           f"{_FLOW}_a_value_that_was_not_read_again_is_carried_forward"),
    Mutant("a hidden attribute is not read", _SWEEP,
           "AND definition ->> 'readable' = 'true' ORDER BY id", "ORDER BY id",
           f"{_FLOW}_a_hidden_attribute_is_one_finding_and_holds_everybody_it_is_for"),
    Mutant("an observation reads so many and no more", _READING, "most=target.sweeps", "most=10**6",
           f"{_FLOW}_so_many_accounts_are_read_at_a_time_and_the_longest_unread_come_first"),
    Mutant("a value that the plan did not see stays", _VERBS, 'elif own != step.args.get("expected"):', "elif False:",
           f"{_WIRE}_a_value_that_is_not_the_one_the_plan_saw_stays[set]"),
    Mutant("Looker's refusal is told without the value", _VERBS, '.replace(value, "(the value)")', "",
           f"{_WIRE}_what_looker_refuses_is_told_without_the_value"),
    Mutant("a value that does not fit its type is not sent", _VERBS, "elif wanted is not None and (problem :=",
           "elif False and (problem :=",
           f"{_WIRE}_an_attribute_that_changed_under_the_plan_is_not_set[of another type]"),
    Mutant("a value that became hidden is not known", _LOOKER, "if id not in hidden}", "}",
           f"{_WIRE}_a_value_that_became_hidden_is_not_known"),
    Mutant("nothing is looked up about hidden values", _LOOKER, "    if row.value_is_hidden:\n", "    if False:\n",
           f"{_WIRE}_nothing_is_said_of_the_values_of_a_hidden_attribute"),
)  # fmt: skip
