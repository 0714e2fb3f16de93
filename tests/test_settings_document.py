"""Reading YAML: every key keeps its place, and a file that is not plain data is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import Misconfigured
from worker.settings.document import parse, read


def refusal(folder: Path, text: str | bytes, name: str = "trueup.yaml") -> str:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Misconfigured) as caught:
        read(file)
    return str(caught.value)


def test_every_key_and_item_keeps_its_line() -> None:
    document = parse("a: 1\nb:\n  - x\n  - c: {d: y}\n", "t.yaml")

    assert document.value == {"a": "1", "b": ["x", {"c": {"d": "y"}}]}
    lines = {place.key: place.line for place in document.places.values()}
    assert lines == {"": 1, "a": 1, "b": 2, "b[0]": 3, "b[1]": 4, "b[1].c": 4, "b[1].c.d": 4}


def test_a_missing_key_is_placed_at_its_nearest_parent() -> None:
    place = parse("a:\n  b: {c: 1}\n", "t.yaml").place(("a", "b", "x", 2))

    assert (place.line, place.key) == (2, "a.b.x[2]")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"), ("on", "on"), ("off", "off"), ("yes", "yes"), ("1.10", "1.10"), ("007", "007"), ("0x1F", "0x1F"),
        ("12:30:45", "12:30:45"), ("2026-01-01", "2026-01-01"), ("true", True), ("False", False), ("null", None),
        ("", None), ("~", None), ('"true"', "true"), ("'~'", "~"), ("|\n  two\n  lines", "two\nlines"),
    ],
)  # fmt: skip
def test_what_looks_like_text_is_text(text: str, value: object) -> None:
    assert parse(f"k: {text}", "t.yaml").value == {"k": value}


def test_a_key_is_text_whatever_it_looks_like() -> None:
    assert parse("on: 1\n1: 2\ntrue: 3\n", "t.yaml").value == {"on": "1", "1": "2", "true": "3"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "a: 1\nb: 2\na: 3\n", "trueup.yaml:3: a: is given twice, first in line 1; keep one", id="a key twice"
        ),
        pytest.param("x: {b: 1, b: 2}", "trueup.yaml:1: x.b: is given twice", id="a key twice in braces"),
        pytest.param("a: &x [1]\nb: *x\n", "trueup.yaml:2: *x repeats something by reference", id="an alias"),
        pytest.param("a: &x [*x]\n", "trueup.yaml:1: *x repeats", id="an alias of itself"),
        pytest.param("a: {<<: {b: 1}}\n", "trueup.yaml:1: a key is one word of text", id="a merge key"),
        pytest.param("? [1, 2]\n: x\n", "trueup.yaml:1: a key is one word of text", id="a list as a key"),
        pytest.param(
            "a: !!python/object/apply:os.system [id]\n", "the tag tag:yaml.org,2002:python", id="a python tag"
        ),
        pytest.param("a: !secret x\n", "trueup.yaml:1: the tag !secret is not supported; remove it", id="any tag"),
        pytest.param("a: 1\n---\nb: 2\n", "trueup.yaml:2: a second document starts here", id="two documents"),
        pytest.param("a: [1\nb: 2\n", "trueup.yaml:2: this is not YAML", id="an open bracket"),
        pytest.param("a:\n\t- 1\n", "trueup.yaml:2: this is not YAML", id="a tab"),
        pytest.param("a: \x00\n", "this is not YAML", id="a null byte"),
        pytest.param("- a\n", "trueup.yaml:1: the file must hold keys such as `rules:`", id="a list"),
        pytest.param(b"a: \xff\n", "trueup.yaml: is not UTF-8 text (byte 3)", id="another encoding"),
        pytest.param("a: " + "[" * 50_000, "too deeply nested", id="a pit"),
        pytest.param("a: [" + "1," * 400_000 + "]", "too large", id="a flood"),
        pytest.param("#" * (4 * 1024 * 1024 + 1), "bytes are too much to be a policy", id="a huge file"),
    ],
)
def test_what_is_not_plain_data_is_refused(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert expected in refusal(tmp_path, text)


def test_an_empty_file_is_an_empty_policy(tmp_path: Path) -> None:
    (tmp_path / "trueup.yaml").write_text("# nothing yet\n")

    assert read(tmp_path / "trueup.yaml").value == {}


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "trueup.yaml").write_text("\ufeffmode: review\n")

    assert read(tmp_path / "trueup.yaml").value == {"mode": "review"}


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="there is no such file or folder; `trueup init` writes one"):
        read(tmp_path / "trueup.yaml")


def test_a_folder_without_yaml_is_no_policy(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"no file that ends in \.yaml"):
        read(tmp_path)


def test_a_file_that_would_be_overlooked_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("mode: review\n")
    (tmp_path / "rules.yml").write_text("rules: []\n")

    with pytest.raises(Misconfigured, match=r"only files that end in \.yaml are read; rename it"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(
            "mode: review", "mode: observe", "b.yaml:1: mode: is also given at {}/a.yaml:1; keep one", id="a key"
        ),
        pytest.param(
            "roles:\n  dev: {}", "roles: {dev: {}}", "b.yaml:1: roles.dev: is also given at {}/a.yaml:2", id="a name"
        ),
        pytest.param("rules: []", "rules: {}", "b.yaml:1: rules: is also given at {}/a.yaml:1", id="of two kinds"),
    ],
)
def test_the_same_thing_in_two_files_names_both_places(tmp_path: Path, first: str, second: str, expected: str) -> None:
    (tmp_path / "a.yaml").write_text(first)
    (tmp_path / "b.yaml").write_text(second)

    with pytest.raises(Misconfigured) as caught:
        read(tmp_path)

    assert expected.format(tmp_path.name) in str(caught.value)


def test_lists_follow_each_other_and_keep_their_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rules: [{n: 1}, {n: 2}]")
    (tmp_path / "b.yaml").write_text("\nrules: [{n: 3}]")
    (tmp_path / "c.yaml").write_text("\n\nrules: [{n: 4}]")

    document = read(tmp_path)

    assert document.value == {"rules": [{"n": "1"}, {"n": "2"}, {"n": "3"}, {"n": "4"}]}
    assert [str(document.place(("rules", n, "n"))).rpartition("/")[2] for n in range(4)] == [
        "a.yaml:1", "a.yaml:1", "b.yaml:2", "c.yaml:3",
    ]  # fmt: skip
    assert document.place(("rules", 3, "n")).key == "rules[0].n"
