"""Turns what pydantic found wrong into sentences that say what to write, each at its file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from worker.core.conditions import shown, similar
from worker.settings.document import Document, KeyPath


def note(error: ValidationError, document: Document, model: type[BaseModel], prefix: KeyPath = ()) -> None:
    """Add a fault to the document for each thing wrong with what stands below `prefix`. Never shows a value that
    could be a secret."""
    details = error.errors(include_url=False)
    for detail in details:
        if detail["type"] == "too_short" and any(_below(other, detail) for other in details):
            continue  # pydantic counts only the items that are right
        loc: KeyPath = tuple(part for part in detail["loc"] if not str(part).startswith("<"))
        path = _existing(document, prefix, loc)
        document.fault(path, _SENTENCES.get(detail["type"], _as_said)(detail, _known_keys(model, detail["loc"])))


def _below(inner: ErrorDetails, outer: ErrorDetails) -> bool:
    depth = len(outer["loc"])
    return len(inner["loc"]) > depth and inner["loc"][:depth] == outer["loc"]


def _existing(document: Document, prefix: KeyPath, loc: KeyPath) -> KeyPath:
    """The path as it stands in the file: pydantic adds steps of its own (union members), which no file has."""
    path = prefix
    for number, part in enumerate(loc):
        last = number == len(loc) - 1
        if (*path, part) in document.places or last:
            path = (*path, part)
    return path


def _known_keys(model: type[BaseModel], loc: KeyPath) -> list[str]:
    """The keys that may stand beside the last step of `loc`."""
    here: list[Any] = [model]
    for part in loc[:-1]:
        here = [inner for one in here for inner in _step(one, part)]
    return sorted({name for one in here for found in _models(one) for name in _names(found)})


def _names(model: type[BaseModel]) -> Iterable[str]:
    return (info.alias or name for name, info in model.model_fields.items())


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _models(argument)


def _step(annotation: Any, part: str | int) -> Iterable[Any]:
    """What may stand under a key or index of something with this annotation; a tag chooses among alternatives."""
    if Tag(str(part)) in getattr(annotation, "__metadata__", ()):
        yield annotation
        return
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, info in annotation.model_fields.items():
            if part in (name, info.alias):
                yield info.annotation
        return
    origin = getattr(annotation, "__origin__", None)
    arguments = get_args(annotation)
    if origin in (list, tuple) and isinstance(part, int):
        yield from (a for a in arguments if a is not ...)
    elif origin is dict and len(arguments) == 2:
        yield arguments[1]
    else:
        for argument in arguments:
            yield from _step(argument, part)


def _as_said(detail: ErrorDetails, _known: list[str]) -> str:
    text = detail["msg"].removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    return text if detail["type"] == "value_error" else text[:1].lower() + text[1:]


def _unknown_key(detail: ErrorDetails, known: list[str]) -> str:
    hint = similar(str(detail["loc"][-1]), known) or f"known here: {', '.join(known)}"
    return f"there is no such key; {hint}"


def _missing(detail: ErrorDetails, _known: list[str]) -> str:
    return f"is missing; add `{detail['loc'][-1]}:`"


def _choice(detail: ErrorDetails, _known: list[str]) -> str:
    expected = detail.get("ctx", {}).get("expected", "")
    given = detail["input"]
    said = f"not {shown(given)}" if isinstance(given, str) and len(given) < 40 else "not this"
    return f"write {expected}, {said}"


def _text(detail: ErrorDetails, _known: list[str]) -> str:
    kinds = {dict: "keys", list: "a list", bool: "yes or no", type(None): "nothing"}
    quotes = "; put it in quotes if you mean the word" if isinstance(detail["input"], bool) else ""
    return f"write text here, not {kinds.get(type(detail['input']), 'this')}{quotes}"


def _fixed(text: str) -> Callable[[ErrorDetails, list[str]], str]:
    return lambda _detail, _known: text


_NUMBER = _fixed("write a whole number")
_KEYS = _fixed("write keys with something under each here")
_LIST = _fixed("write a list here, such as [one, two]")

_SENTENCES: Mapping[str, Callable[[ErrorDetails, list[str]], str]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "literal_error": _choice,
    "enum": _choice,
    "string_type": _text,
    "string_too_short": _fixed("is empty; write something or leave the key out"),
    "string_pattern_mismatch": _fixed("write a name of small letters, digits, - and _, at most 40, a letter first"),
    "int_parsing": _NUMBER,
    "int_type": _NUMBER,
    "int_from_float": _NUMBER,
    "float_parsing": _fixed("write a number"),
    "bool_parsing": _fixed("write true or false"),
    "dict_type": _KEYS,
    "model_type": _KEYS,
    "model_attributes_type": _KEYS,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "too_short": _fixed("is empty; put at least one thing under it"),
    "date_from_datetime_parsing": _fixed("write a date such as 2027-03-31"),
    "date_from_datetime_inexact": _fixed("write a date without a time, such as 2027-03-31"),
    "date_parsing": _fixed("write a date such as 2027-03-31"),
    "date_type": _fixed("write a date such as 2027-03-31"),
}
