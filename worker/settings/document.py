"""Reads YAML and remembers the file and line of every key, so that each complaint can point at its place.

Built on the parser's events, not on a loader: nothing is ever constructed from a tag, nesting and size are bounded, and
an alias cannot multiply. Plain scalars stay text (`NO`, `1.10` and `2027-03-31` are what they look like); only `true`,
`false` and `null` mean something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from worker.errors import Misconfigured

BYTES_AT_MOST = 4 * 1024 * 1024
DEPTH_AT_MOST = 40
NODES_AT_MOST = 400_000

KeyPath = tuple[str | int, ...]
WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "~": None, "": None}
PLAIN_TAGS = (None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_Parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """`key` is the path inside the file, as people write it: `rules[3].give`."""

    file: str
    line: int
    key: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong, and what to write instead."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.place.key + ': ' if self.place.key else ''}{self.text}"


def misconfigured(faults: Iterable[Fault]) -> Misconfigured:
    """All faults in one error, a line each, in the order of the files."""
    return Misconfigured("\n".join(map(str, sorted(set(faults)))))


def key_text(path: KeyPath) -> str:
    """`("rules", 3, "give")` as `rules[3].give`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


@dataclass(slots=True)
class Document:
    """What was read: plain mappings, lists, text, booleans and nulls; and where each key stands."""

    value: Any = None
    places: dict[KeyPath, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def place(self, path: KeyPath) -> Place:
        """Where a key stands; for a key that is missing, where its nearest parent does, with the full key named."""
        for length in range(len(path), -1, -1):
            found = self.places.get(path[:length])
            if found is not None:
                rest = key_text(path[length:])
                joint = "" if not found.key or not rest or rest.startswith("[") else "."
                return Place(found.file, found.line, found.key + joint + rest)
        return Place("trueup.yaml", 1, key_text(path))

    def fault(self, path: KeyPath, text: str) -> None:
        self.faults.append(Fault(self.place(path), text))


def read(path: Path) -> Document:
    """One file, or all `*.yaml` of a folder as if they were one. Raises Misconfigured with every fault of form."""
    files = list(_files(path))
    whole = Document({})
    for file in files:
        shown = file.name if file == path else f"{path.name}/{file.name}"
        _merge(whole, read_file(file, shown))
    if whole.faults:
        raise misconfigured(whole.faults)
    return whole


def _files(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise Misconfigured(f"{path}: there is no such file or folder; `trueup init` writes one to start from.")
    if not path.is_dir():
        yield path
        return
    found = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    odd = [p for p in found if p.suffix in (".yml", ".json")]
    if odd:
        raise Misconfigured(f"{odd[0]}: only files that end in .yaml are read; rename it or move it away.")
    files = [p for p in found if p.suffix == ".yaml" and p.is_file()]
    if not files:
        raise Misconfigured(f"{path}: the folder has no file that ends in .yaml; `trueup init` writes one.")
    yield from files


def read_file(file: Path, shown: str = "") -> Document:
    """One YAML file. Faults of form are in the result, not raised; a file that cannot be read raises Misconfigured."""
    shown = shown or file.name
    try:
        content = file.read_bytes()
        if len(content) > BYTES_AT_MOST:
            raise Misconfigured(f"{shown}: {len(content):,} bytes are too much to be a policy; at most 4 MiB are read.")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise Misconfigured(f"{file}: cannot be read ({error.strerror}); correct the path or its rights.") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{shown}: is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    return parse(text, shown)


def parse(text: str, shown: str) -> Document:
    """The text of one YAML file. Faults of form are in the result."""
    builder = _Builder(shown)
    try:
        for event in yaml.parse(text, Loader=_Parser):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        builder.fail(line, f"this is not YAML: {error.problem or error.context}; check indentation, colons and quotes")
    except yaml.YAMLError as error:
        builder.fail(1, f"this is not YAML: {str(error).splitlines()[0]}")
    except _Stop:
        pass  # the fault that stopped the reading is recorded
    return builder.document


class _Stop(Exception):
    """Reading on makes no sense."""


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being filled; `key` is the mapping key whose value comes next."""

    value: Any
    path: KeyPath
    key: str | None = None


class _Builder:
    def __init__(self, shown: str) -> None:
        self.document = Document(None, {(): Place(shown, 1)})
        self._shown = shown
        self._stack: list[_Frame] = []
        self._nodes = 0
        self._documents = 0

    def fail(self, line: int, text: str, path: KeyPath = ()) -> None:
        self.document.faults.append(Fault(Place(self._shown, line, key_text(path)), text))

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._stop(line, "a second document starts here; put it into a file of its own")
        elif isinstance(event, yaml.AliasEvent):
            self._stop(line, f"*{event.anchor} repeats something by reference; write it out, or make it a bundle")
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._node(event, line)

    def _stop(self, line: int, text: str) -> None:
        self.fail(line, text)
        raise _Stop

    def _node(self, event: Any, line: int) -> None:
        self._nodes += 1
        if self._nodes > NODES_AT_MOST or len(self._stack) >= DEPTH_AT_MOST:
            self._stop(line, "this is too large or too deeply nested to be a policy")
        if event.tag not in PLAIN_TAGS:
            self._stop(line, f"the tag {event.tag} is not supported; remove it")
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            self._key(frame, event, line)
            return
        value, path = self._value(event), self._path(frame)
        self.document.places.setdefault(path, Place(self._shown, line, key_text(path)))
        self._put(frame, value)
        if isinstance(event, yaml.CollectionStartEvent):
            self._stack.append(_Frame(value, path))

    def _key(self, frame: _Frame, event: Any, line: int) -> None:
        if not isinstance(event, yaml.ScalarEvent) or event.value == "<<":
            self._stop(line, "a key is one word of text; nothing else is supported here")
        path = (*frame.path, event.value)
        if event.value in frame.value:
            first = self.document.places[path]
            self.fail(line, f"is given twice, first in line {first.line}; keep one", path)
        self.document.places[path] = Place(self._shown, line, key_text(path))
        frame.key = event.value

    @staticmethod
    def _value(event: Any) -> Any:
        if isinstance(event, yaml.MappingStartEvent):
            return {}
        if isinstance(event, yaml.SequenceStartEvent):
            return []
        plain = not event.style and event.tag is None
        return WORDS.get(event.value, event.value) if plain else event.value

    @staticmethod
    def _path(frame: _Frame | None) -> KeyPath:
        if frame is None:
            return ()
        return (*frame.path, len(frame.value) if isinstance(frame.value, list) else str(frame.key))

    def _put(self, frame: _Frame | None, value: Any) -> None:
        if frame is None:
            self.document.value = value
        elif isinstance(frame.value, list):
            frame.value.append(value)
        else:
            frame.value[frame.key] = value
            frame.key = None


def _merge(whole: Document, part: Document) -> None:
    """Mappings join by key, lists follow each other; the same thing said in two files is a fault that names both."""
    whole.faults += part.faults
    whole.places.setdefault((), part.places[()])
    if part.value is None or part.faults:
        return
    if not isinstance(part.value, dict):
        whole.faults.append(
            Fault(part.places[()], "the file must hold keys such as `rules:` with something under each")
        )
        return
    for key, value in part.value.items():
        known = whole.value.get(key)
        if key not in whole.value:
            whole.value[key] = value
            _adopt(whole, part, (key,), 0)
        elif isinstance(known, list) and isinstance(value, list):
            _adopt(whole, part, (key,), len(known))
            known.extend(value)
        elif isinstance(known, dict) and isinstance(value, dict):
            _join(whole, part, key)
        else:
            _twice(whole, part, (key,))


def _join(whole: Document, part: Document, key: str) -> None:
    for name, value in part.value[key].items():
        if name in whole.value[key]:
            _twice(whole, part, (key, name))
        else:
            whole.value[key][name] = value
            _adopt(whole, part, (key, name), 0)


def _twice(whole: Document, part: Document, path: KeyPath) -> None:
    whole.faults.append(Fault(part.places[path], f"is also given at {whole.place(path)}; keep one"))


def _adopt(whole: Document, part: Document, path: KeyPath, offset: int) -> None:
    """Take over the places below a path; items of a list move up by `offset`."""
    depth = len(path)
    for known, place in part.places.items():
        if known[:depth] != path:
            continue
        moved = known
        if offset and len(known) > depth and isinstance(known[depth], int):
            moved = (*path, int(known[depth]) + offset, *known[depth + 1 :])
        whole.places.setdefault(moved, place)
