"""One authenticated request to the sandbox Looker, and the table of routes that answer such requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from starlette.responses import Response

from worker.sandbox.looker import wire
from worker.sandbox.looker.instance import Group, Instance, Role, User, VendorError, number

if TYPE_CHECKING:
    from worker.sandbox.looker.server import LookerSandbox

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Call:
    """One authenticated request, with its body decoded."""

    sandbox: LookerSandbox
    caller: User
    path: dict[str, str]
    query: dict[str, str]
    body: Any
    url_path: str

    @property
    def world(self) -> Instance:
        return self.sandbox.instance

    @property
    def admin(self) -> bool:
        return self.world.is_admin(self.caller)

    def must_be_admin(self) -> None:
        if not self.admin:
            raise VendorError(403, "You do not have permission to do that.")

    @property
    def user(self) -> User:
        return _found(self.world.users, self.path["user_id"])

    @property
    def role(self) -> Role:
        return _found(self.world.roles, self.path["role_id"])

    @property
    def group(self) -> Group:
        return _found(self.world.groups, self.path["group_id"])

    def record(self, record: Any) -> Response:
        fields = wire.parse_fields(self.query.get("fields", ""))
        return Response(orjson.dumps(wire.cut(record, fields)), media_type="application/json")

    def one_user(self, user: User) -> Response:
        content = self.sandbox.bytes.one(user, self.query.get("fields", ""), public=self._public(user))
        return Response(content, media_type="application/json")

    def user_list(self, users: Sequence[User]) -> Response:
        ordered = sorted(users, key=lambda u: number(u.id), reverse=self.query.get("sorts") == "id desc")
        shown, headers = self._paged(ordered)
        fields, public = self.query.get("fields", ""), self._public(None)
        content = self.sandbox.bytes.many(shown, fields, public=public)
        return Response(content, media_type="application/json", headers=headers)

    def record_list(self, records: Sequence[wire.Record]) -> Response:
        return self.page_of(records, lambda record: str(record.get("id", "")), lambda record: record)

    def page_of(
        self, things: Iterable[Thing], id_of: Callable[[Thing], str], shape: Callable[[Thing], wire.Record]
    ) -> Response:
        """Only what is on the page is put into shape."""
        shown, headers = self._paged(sorted(things, key=lambda thing: number(id_of(thing))))
        answer = self.record([shape(thing) for thing in shown])
        answer.headers.update(headers)
        return answer

    def _public(self, user: User | None) -> bool:
        """A caller who is no Admin sees of others what everybody may see: no e-mail, no is_disabled."""
        own = user is not None and user.id == self.caller.id
        return self.sandbox.hide_from_non_admins and not own and not self.admin

    def _paged(self, items: Sequence[Any]) -> tuple[Sequence[Any], dict[str, str]]:
        shown, limit, offset = wire.page(items, self.query, self.sandbox.page_cap)
        if not limit:
            return shown, {}
        total = len(items) if self.sandbox.count_known else None
        headers = {"Link": wire.links(self.sandbox.url + self.url_path, limit, offset, total, len(shown))}
        return shown, headers | ({"X-Total-Count": str(total)} if total is not None else {})

    def validate(self, *checks: tuple[bool, str, str, str]) -> None:
        """(is fine, field, code, message): all that fail are answered at once with 422."""
        if failed := [(field, code, message) for fine, field, code, message in checks if not fine]:
            raise VendorError(422, "Validation Failed", failed)

    def role_ids(self, given: Any) -> list[str]:
        known = isinstance(given, list) and all(isinstance(id, str) and id in self.world.roles for id in given)
        self.validate((known, "roles", "invalid", "unknown role"))
        return list(given)


def _found(among: Mapping[str, Thing], id: str) -> Thing:
    if id not in among:
        raise VendorError(404, "Not found")
    return among[id]


answers: dict[tuple[str, str], Callable[[Call], Response]] = {}


def on(method: str, path: str) -> Callable[[Callable[[Call], Response]], Callable[[Call], Response]]:
    """The order of registration is the order of matching: fixed paths stand before those with parameters."""

    def register(answer: Callable[[Call], Response]) -> Callable[[Call], Response]:
        answers[method, path] = answer
        return answer

    return register
