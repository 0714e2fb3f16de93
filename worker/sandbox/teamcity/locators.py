"""TeamCity's two little languages: locators, which say what is meant, and `fields`, which say what is shown of it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache

from worker.sandbox.teamcity.problems import Problem


@lru_cache(maxsize=4096)
def parse_locator(text: str) -> tuple[str | None, Mapping[str, str]]:
    """(single value, {}) for a bare value, else (None, dimensions); `$base64` values are decoded."""
    if not text:
        raise Problem(400, "Invalid locator '': empty.", "LocatorProcessException")
    if text.startswith("($base64:") and text.endswith(")"):
        return _value(text[1:-1]), {}
    parts = _split(text)
    if len(parts) == 1 and ":" not in parts[0]:
        return parts[0], {}
    dimensions: dict[str, str] = {}
    for part in parts:
        name, colon, value = part.partition(":")
        if not colon or not name:
            raise Problem(400, f"Bad locator syntax: '{text}'. Should be 'dim:value'.", "LocatorProcessException")
        if value.startswith("(") and value.endswith(")"):
            value = value[1:-1]
        dimensions[name] = _value(value)
    return None, dimensions


def _value(text: str) -> str:
    if not text.startswith("$base64:"):
        return text
    coded = text.removeprefix("$base64:")
    try:
        return base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Problem(400, "Invalid base64url in locator.", "LocatorProcessException") from error


def _split(text: str) -> list[str]:
    """At the commas outside of parentheses."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
        if character == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    if depth != 0:
        raise Problem(400, f"Bad locator syntax: '{text}'. Unbalanced parentheses.", "LocatorProcessException")
    return [*parts, text[start:]]


class Fields:
    """What to show of an entity. A view is short, long or none, or names its fields one by one."""

    def __init__(self, view: str, nested: Mapping[str, Fields] | None = None) -> None:
        self.view = view
        self._named = nested or {}

    def wants(self, name: str, short: bool | None = None, long: bool | None = None) -> bool | None:
        """True and False are said outright; None: show it unless it has its default value."""
        if name in self._named:
            return self._named[name].view != "none"
        return {"short": short, "long": long, "none": False, "named": False}[self.view]

    def inner(self, name: str, short: Fields, long: Fields) -> Fields:
        """How to show what is inside: as named, else as this view does by default."""
        if name in self._named:
            return self._named[name]
        return {"short": short, "long": long}.get(self.view, NONE)


NONE, SHORT, LONG = Fields("none"), Fields("short"), Fields("long")
_VIEWS = {"$none": NONE, "$short": SHORT, "short": SHORT, "$long": LONG, "long": LONG, "": SHORT, "*": LONG}


@lru_cache(maxsize=1024)
def parse_fields(text: str | None) -> Fields:
    """The whole of a `fields` parameter; without one the long view is shown."""
    if text is None:
        return LONG
    if text in _VIEWS:
        return _VIEWS[text]
    named: dict[str, Fields] = {}
    view = "named"
    for part in _split(text):
        name, opened, rest = part.partition("(")
        if name in ("$short", "$long"):
            view = name[1:]
        elif opened:
            named[name.rstrip(":")] = parse_fields(rest.removesuffix(")"))
        else:
            name, _, nested = part.partition(":")
            named[name] = _VIEWS.get(nested, SHORT)
    return Fields(view, named)


def showing(fields: Fields, values: Mapping[str, object]) -> dict[str, object]:
    """Those of the plain values that are asked for; nulls never, default values only when named."""
    shown = {}
    for name, value in values.items():
        wanted = fields.wants(name)
        if value is not None and (wanted or (wanted is None and value not in (0, False))):
            shown[name] = value
    return shown
