"""The guards of joining: who is one person, who decides about them, and what a silence may take."""

from __future__ import annotations

from tests.red.mutant import Mutant

_JOINING, _STANDING, _PEOPLE, _CROWD = "core/joining.py", "core/standing.py", "store/people.py", "flows/crowd.py"
_TRUSTED = "key in ((*trust, REHIRED_BY) if one.source == other.source else trust)"
_ASKED = "core/test_joining.py::test_a_human_is_asked_when"
_LAW = "core/test_joining.py::test"
_WHEN = "core/test_standing.py::test_when"
_TEST = "flows/test_joining.py::test"

CORE = (
    Mutant("a key that several have joins nobody", _JOINING,
           "if number > 1 and pair.one.source != pair.other.source:", "if False:",
           f"{_ASKED}[two people of one source have it]"),
    Mutant("a leaver is joined by nothing", _JOINING, "if self._gone(pair.one) or self._gone(pair.other):", "if False:",
           f"{_ASKED}[one of them has left]"),
    Mutant("nor is who is marked as one", _JOINING, "return one.gone or self._humans[one.person_id].gone",
           "return one.gone", f"{_ASKED}[one of them is marked as departed]"),
    Mutant("a source knows two as two", _JOINING, "            if twice:", "            if False:",
           f"{_ASKED}[the person has another identity at that source]"),
    Mutant("a join gives nobody a second account", _JOINING, "            if both:", "            if False:",
           f"{_ASKED}[both have an account in one target]"),
    Mutant("a weaker key does not outweigh a stronger one", _JOINING, "            if contradiction:",
           "            if False:", f"{_ASKED}[a stronger key differs]"),
    Mutant("what a human has ruled out is over", _JOINING, "people not in self._apart and not (", "not (",
           f"{_LAW}_what_a_human_has_ruled_out_is_not_asked_again"),
    Mutant("nor do two who are apart join through a third", _JOINING,
           "if frozenset((one, other)) in self._apart:", "if False:",
           f"{_ASKED}[a human has said of two of them that they are not one]"),
    Mutant("a guest joins nobody by address", _JOINING, "if value and not (one.guest and key in ADDRESSES):",
           "if value:", f"{_LAW}_nor_does_a_trusted_address_join_a_guest"),
    Mutant("an untrusted key joins nobody", _JOINING, f"trusted = same and {_TRUSTED}", "trusted = same",
           f"{_ASKED}[only an untrusted key is the same]"),
    Mutant("a look-alike joins nobody", _JOINING, f"trusted = same and {_TRUSTED}", f"trusted = {_TRUSTED}",
           f"{_ASKED}[a trusted key only looks alike]"),
    Mutant("who is hired again is asked about", _JOINING, "[*trust, *propose, REHIRED_BY]", "[*trust, *propose]",
           f"{_LAW}_who_is_hired_again_is_asked_about_whatever_joins_people"),
    Mutant("a number that nobody trusts says nothing of another source", _JOINING, _TRUSTED,
           "key in (*trust, REHIRED_BY)",
           f"{_LAW}_a_number_that_nobody_trusts_says_nothing_of_another_source_nor_one_that_only_looks_alike"),
    Mutant("one doubt is everybody's who hangs together", _JOINING, "if objection or root in doubted:",
           "if objection:", f"{_ASKED}[two people of a third source have it]"),
    Mutant("what half a company has is no key", _JOINING, "if max(map(len, of_source.values())) <= TOO_COMMON:",
           "if True:", f"{_LAW}_a_value_that_half_the_company_has_says_nothing"),
    Mutant("the authority decides", _STANDING, "if authority in by_source:", "if False:",
           f"{_WHEN}[the authority says departed and another active]"),
    Mutant("a silence takes nothing", _STANDING, '"" if sure else unsure', '""',
           f"{_WHEN}[the authority says active and another has lost them]"),
    Mutant("whom the authority has lost is on hold", _STANDING, "by_source[authority] or Standing.HOLD",
           "by_source[authority] or Standing.DEPARTED", f"{_WHEN}[the authority has lost them]"),
    Mutant("who cannot be judged is held", _STANDING, "if Standing.HOLD in heard and", "if False and",
           f"{_WHEN}[another source cannot say]"),
)  # fmt: skip

FLOWS = (
    Mutant("who is in question loses nothing", _CROWD, 'why = disputed.get(person.id, "")', 'why = ""',
           f"{_TEST}_who_has_the_same_address_is_asked_about_gets_no_account_and_loses_nothing"),
    Mutant("who is in question gets no account", "flows/reconcile.py", " or person.id in self._crowd.disputed", "",
           f"{_TEST}_who_is_hired_again_inherits_nothing_until_a_human_has_said_that_it_is_them"),
    Mutant("before a source was read nobody loses anything", _CROWD, 'was never read whole" if never else ""',
           'was never read whole" if False else ""', f"{_TEST}_while_a_source_was_never_read_nobody_loses_anything"),
    Mutant("before all sources were read nobody is joined", "flows/joining.py",
           "if any(mirror.current_snapshot(session, name) is None for name in site.sources):", "if False:",
           f"{_TEST}_nobody_is_joined_before_the_third_source_was_read"),
    Mutant("whoever was joined meanwhile is given nothing", "flows/effects.py",
           "if giving and self._person_id and people.merged(session, self._person_id):", "if False:",
           f"{_TEST}_a_plan_that_was_made_for_somebody_who_turned_out_to_be_another_creates_nothing"
           "[the younger of two]"),
    Mutant("whose account it turned out to be gets no second one", "flows/effects.py",
           "if not self._account_id and people.has_account(", "if False and people.has_account(",
           f"{_TEST}_a_plan_that_was_made_for_somebody_who_turned_out_to_be_another_creates_nothing"
           "[the older of two]"),
    Mutant("a departure mark follows the authority", "store/marks.py", "for row in known], authority).standing",
           "for row in known], known[-1].source).standing", f"{_TEST}_the_authority_alone_makes_a_leaver"),
    Mutant("one whole read without somebody is no departure", _STANDING, "FINAL = 2\n", "FINAL = 1\n",
           f"{_TEST}_who_is_missing_from_two_whole_reads_and_by_id_has_departed_where_that_is_final"),
    Mutant("absence is final only where the source says so", "flows/site.py", " if source.final_absence]", "]",
           f"{_TEST}_where_absence_is_not_final_nobody_departs_by_it"),
    Mutant("who has an account is no orphan when their source is taken out", _PEOPLE,
           "WHERE p2.person_id = p.person_id AND p2.source = ANY(:sources))", "WHERE p2.person_id = p.person_id)",
           f"{_TEST}_whom_only_a_former_source_knew_is_reviewed_and_neither_an_orphan_nor_locked_out"),
    Mutant("what a source knows of a leaver is not about who is elsewhere", "core/identity.py",
           "    return tuple(i for i in identities if i.standing is not Standing.DEPARTED) or identities",
           "    return identities",
           "store/test_people.py::test_what_a_source_knows_of_somebody_who_has_left_it_gives_nothing_to_who_is_elsewhere"),
    Mutant("an account is linked to who somebody is now", _PEOPLE, "uuid.UUID(now_known_as[tie.person_id])",
           "uuid.UUID(tie.person_id)",
           "store/test_joining.py::test_an_account_that_is_linked_to_whoever_was_joined_meanwhile_is_the_older_persons"),
)  # fmt: skip
