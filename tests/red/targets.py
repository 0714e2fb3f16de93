"""The guards of the connectors where somebody leaves."""

from __future__ import annotations

from tests.red.mutant import Mutant

_LOOKER, _TEAMCITY = "targets/looker", "targets/teamcity"
_SEEN, _DOORS, _HEIRS = f"{_LOOKER}/belongings.py", f"{_LOOKER}/doors.py", f"{_LOOKER}/inheritance.py"
_WORKS, _STEPS = f"{_LOOKER}/heirlooms.py", f"{_LOOKER}/steps.py"
_LEFT, _TC_SEEN, _TC_STEPS = (
    "targets/test_looker_leavers.py::test",
    f"{_TEAMCITY}/belongings.py",
    f"{_TEAMCITY}/steps.py",
)
_LAWS = "targets/test_looker_contract.py::TestLooker::test"
_TC_LEFT, _TC_LAWS = "targets/test_teamcity_leavers.py::test", "targets/test_teamcity.py::TestTeamCity::test"
_REFUSED = f"{_LEFT}_nothing_is_handed_over_when"
_NOT_BY_ITSELF = f"{_LEFT}_a_schedule_is_not_handed_over_by_itself_that_goes_to"
_UNSHOWN = f"{_LEFT}_a_part_that_our_rights_do_not_show_is_unseen_with_what_to_do"

_FIRST = "a_first_look_sees_the_account_whatever_else_cannot_be_read"
_LATER = "no_part_of_a_look_that_fails_passes_for_an_empty_one"

LOOKER = (
    Mutant("a lock-out waits for no part of a look", _SEEN, "        if not first:\n            raise\n        return",
           "        if True:\n            raise\n        return", f"{_LAWS}_{_FIRST}[unavailable]"),
    Mutant("a later look is whole", _SEEN, "        if not first:\n            raise\n        return",
           "        if False:\n            raise\n        return", f"{_LAWS}_{_LATER}[throttled]"),
    Mutant("a pause ends a look", _SEEN, "    except (Paused, Rationed):\n        raise\n", "",
           f"{_LAWS}_a_pause_ends_a_look[4]"),
    *(
        Mutant(f"{what} that are not shown are not none", _SEEN, old, "return Found()", f"{_UNSHOWN}[{what}]")
        for what, old in {
            "web sessions": 'return _hidden(asked, "web sessions", "/admin/sessions")',
            "API keys": 'return Found(unseen=[Unseen("API keys", KEYS_HIDDEN, hands)])',
            "tokens of OAuth apps": "return Found(unseen=[replace(hidden, lasts=asked.life)])",
            "Looks": 'return _hidden(asked, "Looks", "/admin/users")',
        }.items()
    ),
    *(
        Mutant(f"{what} that are not shown are not none", _SEEN, f"{old} if found is None", "Found() if found is None",
               f"{_UNSHOWN}[{what}]")
        for what, old in {
            "schedules": '_hidden(asked, "schedules", "/admin/schedules")',
            "alerts": '_hidden(asked, "alerts", "/admin/alerts")',
            "dashboards": '_hidden(asked, "dashboards", "/admin/users")',
        }.items()
    ),
    Mutant("an empty list of keys that may be hidden is not none", _SEEN,
           "if reply is None or (asked.keys_closed and not found):", "if reply is None:",
           f"{_LEFT}_an_empty_list_of_keys_proves_nothing_where_they_are_their_owners_own"),
    Mutant("apps that do not show their users are not unused", _SEEN,
           "if reply is None or any(app.activated_users is None for app in apps):", "if reply is None:",
           f"{_LEFT}_apps_that_do_not_show_their_users_are_unseen[without its users]"),
    Mutant("only a bare 403 or 404 means hidden", f"{_LOOKER}/session.py",
           "return None if reply.status in (403, 404) else reply", "return reply",
           f"{_UNSHOWN}[web sessions]"),
    Mutant("calls of a look keep their lane", _SEEN, "pool.submit(contextvars.copy_context().run, call)",
           "pool.submit(call)",
           f"{_LEFT}_every_call_of_a_look_stands_in_the_lane_and_under_the_claim_of_whoever_looks"),
    Mutant("a link to single sign-on stays", _SEEN, 'if asked.settings.sign_on_links == "keep":', "if False:",
           f"{_LEFT}_ways_to_log_in_stay_on_a_disabled_account_and_say_why"),
    Mutant("the last address stays", _SEEN, 'return "" if asked.user.credentials_email is not None else LAST_ADDRESS',
           'return ""', f"{_LEFT}_the_last_address_of_an_account_stays"),
    Mutant("the last address is not removed", _DOORS,
           'refusal = "" if _found_without(user, name) else "Nobody could find the account again without it."',
           'refusal = ""', f"{_LEFT}_the_last_address_of_an_account_stays"),
    Mutant("no door of an account that is nobody's business is shut", _DOORS, "        if never:\n",
           "        if False:\n", f"{_LEFT}_accounts_of_machines_and_of_the_vendor_are_for_humans[24]"),
    Mutant("what is not shown is not shut blindly", _DOORS, "        if there is None:\n            raise Rejected(",
           "        if False:\n            raise Rejected(",
           f"{_LEFT}_a_session_that_is_not_shown_any_more_is_not_called_ended"),
    Mutant("a door is looked at after it was shut", _DOORS, "return Sight(f\"{what} is there\" if there else"
           " f\"no such {what}\", not there)\n\n    return look\n\n\ndef _first",
           "return Sight(\"\", True)\n\n    return look\n\n\ndef _first",
           f"{_LAWS}_a_door_whose_answer_was_lost_is_looked_at_again[drop]"),
    Mutant("keys that only their owner may delete are for a human", f"{_LOOKER}/target.py",
           'return "only its owner can delete it" if self._release() >= KEYS_CLOSED else ""', 'return ""',
           f"{_LEFT}_keys_that_are_shown_and_that_nobody_but_their_owner_may_delete_are_left_to_a_human"),
    Mutant("nobody's business is a line for a human", _STEPS, "    if claimed:\n", "    if False:\n",
           f"{_LEFT}_accounts_of_machines_and_of_the_vendor_are_for_humans[24]"),
    Mutant("doors shut before rights go", _STEPS,
           "    made += [_shut(account, t) for kind in DEEP for t in _of(tasks, Operation.REVOKE, kind)]\n",
           "    made += _roles(account, tasks)\n"
           "    made += [_shut(account, t) for kind in DEEP for t in _of(tasks, Operation.REVOKE, kind)]\n"
           "    tasks = [t for t in tasks if not t.entitlement or t.entitlement.kind != 'role']\n",
           f"{_LEFT}_the_doors_are_shut_before_the_rights_go"),
    Mutant("what goes to its owner is not handed over by itself", _WORKS,
           "if any(same_address(own, address) for own in self.owner):", "if False:", f"{_NOT_BY_ITSELF}[its owner]"),
    Mutant("what goes outside is not handed over by itself", _WORKS, "if _domain(address) not in self.company:",
           "if False:", f"{_NOT_BY_ITSELF}[somebody outside]"),
    Mutant("without domains nothing is the company's", _WORKS, "        if not self.company:\n            return f\"",
           "        if not self.company:\n            return \"\" and f\"",
           f"{_LEFT}_without_word_of_the_companys_domains_nothing_that_goes_to_anybody_is_handed_over_by_itself"),
    Mutant("a domain is a whole one", _WORKS, "if _domain(address) not in self.company:",
           "if not any(_domain(address).endswith(one) for one in self.company):",
           f"{_NOT_BY_ITSELF}[a domain that only ends like ours]"),
    Mutant("what goes to a machine is not handed over by itself", _WORKS, 'if kind != "email":', "if False:",
           f"{_NOT_BY_ITSELF}[a server]"),
    Mutant("what the lock-out may have turned off is for a human", _WORKS,
           "caution = circle.caution(recipients) or doubt", "caution = circle.caution(recipients)",
           f"{_LEFT}_a_schedule_that_the_lock_out_may_have_turned_off_is_for_a_human_who_knows"),
    Mutant("every recipient counts", _WORKS, "for kind, address in recipients)), \"\")",
           "for kind, address in recipients[:1])), \"\")", f"{_LEFT}_one_recipient_outside_among_many_is_enough"),
    Mutant("every address of the owner counts", f"{_LOOKER}/rows.py",
           "found = [self.email, *(row.email for name in CREDENTIALS if (row := self.credential(name)))]",
           "found = [self.email]", f"{_LEFT}_the_owner_is_known_by_every_address"),
    Mutant("a caution holds unless somebody approved", _WORKS, "if heirloom.caution and not approved:", "if False:",
           f"{_NOT_BY_ITSELF}[its owner]"),
    Mutant("content is not handed over", _WORKS, "if heirloom.kind not in VERBS:", "if False:",
           f"{_LEFT}_content_is_listed_and_stays_where_it_is"),
    Mutant("only the leaver's alerts are theirs", _WORKS, " for row in found if row.owner_id == owner]",
           " for row in found]", f"{_LEFT}_an_alert_that_went_since_everybodys_were_read_is_nobodys_matter"),
    Mutant("recipients that changed stop a hand-over", _HEIRS,
           'if work.recipients != frozenset(texts_of(step, "recipients")):', "if False:",
           f"{_REFUSED}[its recipients were changed]"),
    Mutant("what somebody else has by now stays theirs", _HEIRS,
           'if work.owner not in (step.account_id, text_of(step, "heir")):', "if False:",
           f"{_REFUSED}[somebody else has it]"),
    Mutant("an heir can work", _HEIRS, "    if user.is_disabled:\n", "    if False:\n",
           f"{_REFUSED}[the heir is disabled]"),
    Mutant("an heir is one of the people", _HEIRS, "(set(UNTOUCHABLE) - {Trait.SERVICE})", "set()",
           f"{_REFUSED}[the heir is the vendor's]"),
    Mutant("nothing is taken from a machine", _HEIRS, "never=untouchable(user, ground.own)", 'never=""',
           f"{_LEFT}_nothing_of_a_service_account_is_handed_over_and_one_may_be_an_heir"),
    Mutant("what was on is on again", _HEIRS, 'restored = work.enabled or not step.args.get("enabled")',
           "restored = True", f"{_LEFT}_a_schedule_that_the_lock_out_turned_off_is_turned_on_again"),
    Mutant("what was off stays off", _HEIRS, 'restored = work.enabled or not step.args.get("enabled")',
           "restored = work.enabled", f"{_LEFT}_a_schedule_that_was_off_stays_off"),
)  # fmt: skip

TEAMCITY = (
    Mutant("TeamCity's lock-out waits for no part of a look", _TC_SEEN, "        if not first:\n", "        if True:\n",
           f"{_TC_LAWS}_{_FIRST}[unavailable]"),
    Mutant("a later look at TeamCity is whole", _TC_SEEN, "        if not first:\n", "        if False:\n",
           f"{_TC_LAWS}_{_LATER}[throttled]"),
    Mutant("a pause ends a look at TeamCity", _TC_SEEN, "    except (Paused, Rationed):\n        raise\n", "",
           f"{_TC_LAWS}_a_pause_ends_a_look[4]"),
    Mutant("tokens that are not shown are not none", _TC_SEEN, "    if found is None:\n", "    if False:\n",
           f"{_TC_LEFT}_tokens_that_are_not_shown_are_unseen_and_the_account_counts_as_open"),
    Mutant("an account whose tokens are not shown is open", _TC_SEEN,
           "tokens is None or bool(tokens) or bool(asked.hidden)", "bool(tokens) or bool(asked.hidden)",
           f"{_TC_LEFT}_tokens_that_are_not_shown_are_unseen_and_the_account_counts_as_open"),
    Mutant("what is left out is not empty", _TC_SEEN, "        yield Unseen(HIDDEN[name], LEAVES_OUT, (VIEW,))\n",
           "        pass\n", f"{_TC_LEFT}_what_teamcity_leaves_out_is_unseen_and_never_empty[roles]"),
    Mutant("an account that is shown in part is open", _TC_SEEN,
           "tokens is None or bool(tokens) or bool(asked.hidden)", "tokens is None or bool(tokens)",
           f"{_TC_LEFT}_what_teamcity_leaves_out_is_unseen_and_never_empty[roles]"),
    Mutant("nobody is a guest because their groups are hidden", f"{_TEAMCITY}/wire.py",
           "GroupKeys(group=[GroupKey(key=ALL_USERS)])", "GroupKeys(group=[])",
           f"{_TC_LEFT}_what_teamcity_leaves_out_is_unseen_and_never_empty[groups]"),
    Mutant("what no call can end is not offered", _TC_SEEN, 'if "end_sessions" not in lacking:', "if True:",
           f"{_TC_LEFT}_an_old_server_is_known_to_end_no_sessions"),
    Mutant("a call that is lacking is remembered", f"{_TEAMCITY}/mutations.py",
           "                self.lacking.add(step.verb)\n", "",
           f"{_TC_LEFT}_a_newer_server_without_the_call_is_known_once_it_was_tried"),
    Mutant("another version is asked anew", f"{_TEAMCITY}/connector.py",
           "            self._mutations.lacking.clear()\n", "",
           f"{_TC_LEFT}_a_newer_server_without_the_call_is_known_once_it_was_tried"),
    Mutant("no version is not an old one", f"{_TEAMCITY}/connector.py", "() < released <= NO_LOGOUT",
           "released <= NO_LOGOUT", f"{_TC_LEFT}_nothing_is_known_to_be_lacking_before_the_version_is"),
    Mutant("a token's name survives its key", _TC_STEPS, 'name.replace("%", "%25").replace("@", "%40")', "name",
           f"{_TC_LEFT}_a_token_of_any_name_is_deleted_by_its_key[me@home]"),
    Mutant("a token made after the look goes too", _TC_STEPS,
           "    yield \"delete_tokens\", {}, f\"delete the{' other' if tokens else ''} access tokens of {whom}\"\n", "",
           f"{_TC_LEFT}_a_token_made_after_the_look_goes_too"),
    Mutant("a token that no address can name is for a human", _TC_STEPS,
           'if held is not None and held.kind == "token" and not addressable(token_name(held)):', "if False:",
           f"{_TC_LEFT}_a_token_that_no_address_can_name_is_a_line_for_a_human_and_holds_up_nothing_else"),
    Mutant("an address is found whatever its case", f"{_TEAMCITY}/wire.py", "ignoreCase:true", "ignoreCase:false",
           f"{_TC_LEFT}_accounts_are_found_by_user_name_and_by_an_address_that_several_may_have"),
    Mutant("a lost answer about one token is looked up", f"{_TEAMCITY}/mutations.py",
           'if step.verb in ("delete_tokens", "delete_token"):', 'if step.verb in ("delete_tokens",):',
           f"{_TC_LAWS}_a_door_whose_answer_was_lost_is_looked_at_again[drop-after]"),
)  # fmt: skip

MUTANTS = (*LOOKER, *TEAMCITY)
