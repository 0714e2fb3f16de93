"""What `trueup check` says about a TeamCity server: our rights, and the server's settings that would fight us."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from worker.core.render import quoted
from worker.ports import Notice
from worker.targets.teamcity.reading import Reading
from worker.targets.teamcity.settings import Settings

_READ = ("view_user_profile", "change_user")  # either lets us list users, groups and roles
_WRITE = "change_user"
_EXCESSIVE = ("manage_roles", "change_server_settings", "manage_authentication_settings", "edit_project", "delete_user")
_RIVALS = {
    "saml": "Its option to remove users from groups that the identity provider does not name undoes what Trueup grants"
    " through groups at every login: turn that option off, or govern no groups here.",
    "oidc": "If it removes users from groups that the identity provider does not name, it undoes what Trueup grants:"
    " turn that off, or govern no groups here.",
    "ldap": "Its synchronisation creates, changes and deletes users on its own: do not run both.",
}


def notices(settings: Settings, reading: Reading) -> Iterator[Notice]:
    """In a handful of calls."""
    reading.server()
    if urlsplit(settings.url).scheme == "http" and settings.insecure_http:
        yield Notice("The token travels over plain http.", "Serve TeamCity over https and remove insecure_http.")
    yield from _rights(settings, reading.own_rights())
    yield from _authentication(reading)


def _rights(settings: Settings, rights: frozenset[str]) -> Iterator[Notice]:
    if not rights & set(_READ):
        yield Notice(
            "Our account may not view users, so nothing can be observed.",
            "Give it a role with view_user_profile everywhere.",
            fatal=True,
        )
    if "view_project" not in rights:
        yield Notice(
            "Our account does not see every project; roles in the others cannot be governed.",
            "Give it a role with view_project everywhere.",
        )
    missing = [right for right in (_WRITE, "create_user" if settings.create == "on" else _WRITE) if right not in rights]
    for right in dict.fromkeys(missing):
        yield Notice(f"Our account lacks {right}; Trueup can observe, not change.", f"Give it {right} everywhere.")
    if excess := [right for right in _EXCESSIVE if right in rights]:
        yield Notice(
            f"Our account may do more than Trueup needs: {', '.join(excess)}.",
            "Use a role of its own, and a token limited to what docs/connectors/teamcity.md lists.",
        )


def _authentication(reading: Reading) -> Iterator[Notice]:
    found = reading.authentication()
    if found is None:
        yield Notice(
            "The authentication settings may not be read, so these could not be checked: per-project permissions (must"
            " be on), guest login, and single sign-on that changes groups.",
            "Look at them by hand in Administration | Authentication, or add view_server_settings to our role.",
        )
        return
    if not found.perProjectPermissions:
        yield Notice(
            "The server is in simple authorization mode: roles in projects mean nothing there.",
            "Turn on per-project permissions in Administration | Authentication.",
            fatal=True,
        )
    if found.allowGuest:
        yield Notice("Guest login is on: whatever the guest may do needs no account.", "Turn it off if not wanted.")
    for module in found.modules.module:
        for word, advice in _RIVALS.items():
            if word in module.name.lower():
                yield Notice(f"The authentication module {quoted(module.name)} is on.", advice)
