"""The guards of the rate budget and the broker, which need a Redis of their own and nothing else."""

from __future__ import annotations

from tests.red.mutant import Mutant

_BUDGET, _TERMS, _SHARED, _LOCAL = (f"budget/{module}.py" for module in ("budget", "terms", "shared", "local"))
_TEST = "test_budget.py::test"
_MINUTE = f"{_TEST}_in_no_minute_are_there_more_calls_than_our_share_and_not_many_fewer"
_UNTOLD = "test_broker.py::test_a_message_whose_end_cannot_be_told_holds_no_place_in_the_worker"
_FORGETS = """
        finally:
            virtual.QoS.ack(self, delivery_tag)"""

MUTANTS = (
    Mutant("all workers draw from one bucket", _BUDGET, " = shared.take(", " = self._local.take(",
           f"{_TEST}_retry_after_shuts_the_bucket_for_every_worker[429]"),
    Mutant("a full bucket counts in the minute", _TERMS, "max(ours - burst - reserve, ours / 2)", "ours",
           f"{_MINUTE}[in this process-600-0.5-ordinary]"),
    Mutant("a full bucket counts in Redis too", _SHARED, "math.max(ours - full, ours / 2)", "ours",
           f"{_MINUTE}[in Redis-600-0.5-ordinary]"),
    Mutant("leavers have tokens of their own", _SHARED, "if not leaver then needed = 1 + reserve end", "",
           f"{_TEST}_leavers_get_through_while_the_ordinary_lane_is_used_up"),
    Mutant("leavers have room of their own", _SHARED,
           "if not leaver and leavers > 0 then room = room - math.max(1, room * leavers) end", "",
           f"{_TEST}_leavers_get_through_while_the_ordinary_lane_has_all_its_calls_under_way[in Redis]"),
    Mutant("leavers have room in this process too", _TERMS, " else width - max(1.0, width * self.leavers)",
           " else width",
           f"{_TEST}_leavers_get_through_while_the_ordinary_lane_has_all_its_calls_under_way[in this process]"),
    Mutant("the last of a window is the leavers'", _TERMS, "wait if remaining <= kept else 0.0", "0.0",
           f"{_TEST}_the_last_of_a_window_is_the_leavers"),
    Mutant("a used-up window is closed", _TERMS, "if throttled or remaining <= 0:", "if throttled:",
           f"{_TEST}_nothing_is_called_when_the_window_is_used_up"),
    Mutant("the vendor's limit is learned", _SHARED, "if limit then remember(bucket, 'limit', exactly(limit)) end", "",
           f"{_TEST}_the_vendors_limit_takes_the_place_of_the_assumed_one"),
    Mutant("what others used is gone", _SHARED, "math.min(tokens, remaining)", "tokens",
           f"{_TEST}_what_others_have_used_is_not_there_for_us"),
    Mutant("nobody shuts us out for ever", _TERMS, "min(max(gauge.reset, 0.0), LONGEST_SHUT)", "max(gauge.reset, 0.0)",
           f"{_TEST}_no_vendor_shuts_us_out_for_longer_than_an_hour"),
    Mutant("one crowd is counted once", _SHARED, "- (tonumber(at_most[2]) or -1) >= 1", "> 0",
           f"{_TEST}_too_many_at_once_is_met_with_fewer_at_once_and_no_waiting_for_the_window[in Redis]"),
    Mutant("a login is under way in a call's stead", _BUDGET, 'slot = "" if nested else', "slot =",
           f"{_TEST}_a_login_on_the_way_to_a_call_is_under_way_in_its_stead"),
    Mutant("no call waits beyond its claim", _BUDGET, "min(longest_wait, end - time.monotonic())", "longest_wait",
           f"{_TEST}_no_call_waits_beyond_the_claim_on_its_account"),
    Mutant("who is paused takes nothing", _BUDGET, "            refuse()\n            self._wait(",
           "            self._wait(", f"{_TEST}_who_is_paused_takes_nothing_from_the_budget"),
    Mutant("alone, a process is careful", _BUDGET, "share=terms.share * ALONE", "share=terms.share",
           f"{_TEST}_when_redis_is_killed_calls_go_on_slowly_and_return_to_it"),
    Mutant("a Redis that is away is not asked each time", _BUDGET, "time.monotonic() < self._ask_again:", "False:",
           f"{_TEST}_a_redis_that_does_not_answer_holds_up_a_few_calls_and_not_each_one"),
    Mutant("what was learned is known without Redis", _BUDGET,
           "        self._local.settle(terms, bucket, held.slot if held.buckets is self._local else \"\", outcome)\n",
           "", f"{_TEST}_what_the_vendor_said_outlives_redis"),
    Mutant("a killed worker's place comes back", _SHARED,
           "if slot ~= '' then\n  redis.call('ZREMRANGEBYSCORE', slots, '-inf', exactly(now))\n",
           "if slot ~= '' then\n",
           f"{_TEST}_the_place_of_a_killed_worker_comes_back"),
    Mutant("everything in Redis expires", _SHARED, "  redis.call('EXPIRE', key, kept)\n", "",
           f"{_TEST}_nothing_in_redis_lasts_or_says_whose_it_is"),
    Mutant("no bucket says whose it is", _SHARED, '{place}:{digest(bucket)}"', '{place}:{bucket}"',
           f"{_TEST}_nothing_in_redis_lasts_or_says_whose_it_is"),
    Mutant("certificates are checked", _SHARED, "    if loosened:\n", "    if False:\n",
           f"{_TEST}_an_address_that_will_not_do_is_said_without_its_password"),
    Mutant("an untold end of a message holds no place", "broker.py", f"super().ack(delivery_tag){_FORGETS}",
           "super().ack(delivery_tag)\n        finally:\n            pass", f"{_UNTOLD}[ack_log_error]"),
    Mutant("a rejected message holds no place either", "broker.py", f"super().reject(delivery_tag, requeue){_FORGETS}",
           "super().reject(delivery_tag, requeue)\n        finally:\n            pass", f"{_UNTOLD}[reject_log_error]"),
)  # fmt: skip
