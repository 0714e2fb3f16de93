"""What every step on a Looker stands on: what a look brings, how a verb looks and acts, and whom none ever touches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from worker.errors import Refused
from worker.ports import Step
from worker.rest import Reply
from worker.targets.looker import reading
from worker.targets.looker.lately import Lately
from worker.targets.looker.rows import UserRow
from worker.targets.looker.session import Session
from worker.targets.looker.steps import UNTOUCHABLE


@dataclass(frozen=True)
class Sight:
    """What was read: as short text, whether it is what the step wants, and why it may not be made so ("" if it may).

    `never` is why the account is not touched at all, not even where nothing would change. `begun`: a part of it is so,
    and the same step once more does the rest.
    """

    text: str
    done: bool = False
    refusal: str = ""
    account_id: str = ""
    never: str = ""
    begun: bool = False


@dataclass(frozen=True)
class Ground:
    """Where a step is made: an authenticated session, its own account's id, whom it created (id by address), and what
    was seen a moment ago."""

    session: Session
    own: str
    created: dict[str, str]
    lately: Lately = field(default_factory=Lately)

    def user(self, id: str) -> UserRow | None:
        return self.lately.user(self.session, id)


@dataclass(frozen=True)
class Verb:
    """`make` gives the id of the account it made ("" when it made none). `find` looks for what a lost call left, where
    that is another question than whether the step may be made; `back` looks after the call, where that takes fewer
    calls; `finish` does the rest of a step that had begun."""

    look: Callable[[Ground, Step], Sight]
    make: Callable[[Ground, Step], tuple[str, Reply]]
    find: Callable[[Ground, Step], Sight] | None = None
    back: Callable[[Ground, Step], Sight] | None = None
    finish: Callable[[Ground, Step], tuple[str, Reply]] | None = None


def text_of(step: Step, name: str) -> str:
    value = step.args.get(name)
    if not isinstance(value, str):
        raise Refused(f"Not done: {step.sentence}. The step has no text called {name}; plan again.")
    return value


def texts_of(step: Step, name: str) -> set[str]:
    value = step.args.get(name)
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise Refused(f"Not done: {step.sentence}. The step has no list called {name}; plan again.")
    return set(value)


GONE = Sight("no account", refusal="The account does not exist any more.")


def untouchable(user: UserRow, own: str) -> str:
    """The last line of defence: whatever was planned, these are never changed."""
    found = [trait for trait in UNTOUCHABLE if trait in reading.traits_of(user, own)]
    return f"Account {user.id} is never touched: {found[0]}." if found else ""
