"""Lays the sandbox's log of mutations beside the audit trail: each must be in the other exactly once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Call = Mapping[str, Any]  # one line of a sandbox's log: method, path, status, body, request_id, faulted
Entry = Mapping[str, Any]  # one entry of the trail, as `trueup audit list --json` shows it

# What each verb looks like on the wire. The first group of the path is the account, where it names one.
_ON_THE_WIRE: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "looker": {
        "disable": ("PATCH", r"/users/(\d+)"),
        "enable": ("PATCH", r"/users/(\d+)"),
        "rename": ("PATCH", r"/users/(\d+)"),
        "set roles": ("PUT", r"/users/(\d+)/roles"),
        "join group": ("POST", r"/groups/\d+/users"),
        "leave group": ("DELETE", r"/groups/\d+/users/(\d+)"),
        "create": ("POST", r"/users"),
        "give email": ("POST", r"/users/(\d+)/credentials_email"),
        "set value": ("PATCH", r"/users/(\d+)/attribute_values/\d+"),
        "clear value": ("DELETE", r"/users/(\d+)/attribute_values/\d+"),
        "end session": ("DELETE", r"/users/(\d+)/sessions/.+"),
        "delete key": ("DELETE", r"/users/(\d+)/credentials_api3/.+"),
        "end tokens": ("DELETE", r"/oauth_client_apps/[^/]+/users/(\d+)"),
        "remove sign-on": ("DELETE", r"/users/(\d+)/credentials_(?!api3)\w+"),
        "hand over schedule": ("PATCH", r"/scheduled_plans/\d+"),
        "hand over alert": ("PATCH", r"/alerts/\d+"),
    },
    "teamcity": {
        "mark": ("PUT", r"/users/id:(\d+)/properties/.+"),
        "unmark": ("DELETE", r"/users/id:(\d+)/properties/.+"),
        "delete_password": ("DELETE", r"/users/id:(\d+)/password"),
        "grant_role": ("PUT", r"/users/id:(\d+)/roles/.+"),
        "revoke_role": ("DELETE", r"/users/id:(\d+)/roles/.+"),
        "join_group": ("POST", r"/users/id:(\d+)/groups"),
        "leave_group": ("DELETE", r"/users/id:(\d+)/groups/.+"),
        "set_field": ("PUT", r"/users/id:(\d+)/(?:username|name|email)"),
        "create": ("POST", r"/users"),
        "delete_token": ("DELETE", r"/users/id:(\d+)/tokens/.+"),
        "delete_tokens": ("DELETE", r"/users/id:(\d+)/tokens/.+"),
        "end_sessions": ("POST", r"/users/id:(\d+)/logout"),
        "forget_logins": ("DELETE", r"/users/id:(\d+)/debug/rememberMe"),
    },
}
_PREFIX = {"looker": "/api/4.0", "teamcity": "/app/rest"}

SENT = ("applied", "found applied")  # the vendor did it
MAYBE_SENT = ("failed", "refused", "found not applied", "unknown")  # it said no, or was not asked, or shows nothing
NOT_SENT = ("already so",)
EMPTYING = ("delete_tokens",)  # found applied where there was nothing to take: a look cannot tell


@dataclass
class Step:
    """A step as the trail tells it: what was attempted, and every end that was recorded for it, oldest first."""

    attempted: Entry
    ends: list[Entry] = field(default_factory=list)

    @property
    def target(self) -> str:
        return str(self.attempted["facts"]["target"])

    @property
    def verb(self) -> str:
        return str(self.attempted["facts"]["verb"])

    @property
    def account(self) -> str:
        """Of an account that it created, too."""
        named = [entry["facts"]["account"] for entry in (self.attempted, *self.ends)]
        return str(next((a for a in reversed(named) if a), ""))

    @property
    def outcome(self) -> str:
        return str(self.ends[-1]["facts"]["outcome"]) if self.ends else "attempted"

    @property
    def requests(self) -> set[str]:
        return {str(end["facts"]["request"]) for end in self.ends if end["facts"]["request"]}

    def __str__(self) -> str:
        return f"{self.target} {self.verb} of {self.account or 'nobody yet'}: {self.outcome}"


def steps(trail: Iterable[Entry]) -> list[Step]:
    """In the order in which they were attempted. A step cannot end before it began, nor begin twice."""
    found: dict[str, Step] = {}
    for entry in sorted(trail, key=lambda e: e["number"]):
        if entry["kind"] == "step attempted":
            assert entry["facts"]["step"] not in found, entry
            found[entry["facts"]["step"]] = Step(entry)
        elif entry["kind"] == "step ended":
            found[entry["facts"]["step"]].ends.append(entry)
    return list(found.values())


def mismatches(logs: Mapping[str, Sequence[Call]], trail: Iterable[Entry]) -> list[str]:
    """What one knows and the other does not, in words; nothing, when the books agree."""
    taken = steps(trail)
    wrong = [f"never settled: {step}" for step in taken if step.outcome in ("attempted", "unknown")]
    for target, log in logs.items():
        wrong += _mismatches_of(target, list(log), [step for step in taken if step.target == target])
    return wrong


def _mismatches_of(target: str, calls: list[Call], of_target: list[Step]) -> list[str]:
    wrong: list[str] = []
    by_id = {call["request_id"]: call for call in calls}
    pending: list[Step] = []
    for step in of_target:
        if not step.requests:
            pending.append(step)
            continue
        for request in step.requests:
            call = by_id.pop(request, None)
            if call is None:
                wrong.append(f"in the trail, not in the log (or twice in the trail): {step}, request {request}")
            elif not _fits(target, step, call):
                wrong.append(f"another call than the trail says: {step}, {_shown(call)}")
    # What has no request id lost its answer: exactly one call each that is left, of the same verb and account.
    for wanted in (SENT, MAYBE_SENT, NOT_SENT):
        for step in (s for s in pending if s.outcome in wanted):
            left = next((call for call in by_id.values() if _fits(target, step, call)), None)
            if left is not None and wanted is not NOT_SENT:
                del by_id[left["request_id"]]
            elif wanted is SENT and not (step.verb in EMPTYING and step.outcome == "found applied"):
                wrong.append(f"in the trail, not in the log: {step}")
    return wrong + [f"in the log, not in the trail: {_shown(call)}" for call in by_id.values()]


def _fits(target: str, step: Step, call: Call) -> bool:
    method, pattern = _ON_THE_WIRE[target][step.verb]
    found = re.fullmatch(re.escape(_PREFIX[target]) + pattern, call["path"])
    if found is None or call["method"] != method:
        return False
    if found.groups():
        return found.group(1) == step.account
    if step.verb == "join group":
        return str(json.loads(call["body"])["user_id"]) == step.account
    return True


def _shown(call: Call) -> str:
    return f"{call['method']} {call['path']} ({call['status']}, {call['request_id']})"
