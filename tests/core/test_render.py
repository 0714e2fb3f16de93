"""Sentences: what people read, in the same words everywhere, with nobody's text able to spoil them."""

from __future__ import annotations

import csv
import datetime as dt
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.drift import Cause, Drift, DriftKind
from worker.core.identity import Catalogue, CatalogueItem, Entitlement
from worker.core.plan import CURES
from worker.core.render import (
    age,
    change_sentence,
    counted,
    csv_safe,
    finding_sentence,
    person_label,
    quoted,
    rule_names,
)

K, C = DriftKind, Cause
ANA = "Ana Ruiz <ana@acme.example>"
ROLE, REGION = Entitlement("role", "5"), Entitlement("attribute", "12")
label = Catalogue((CatalogueItem("role", "5", "Developer"), CatalogueItem("attribute", "12", "region"))).label


def drift(kind: DriftKind, cause: Cause, entitlement: Entitlement | None = None, **more: object) -> Drift:
    what = ROLE if kind.value.endswith(("entitlement", "until")) else None
    return Drift(kind, "looker", cause, "p", "7", entitlement or what, **more)  # type: ignore[arg-type]


ONE, TWO = ("developers",), ("developers", "web team")
SENTENCES = {
    drift(K.MISSING_ACCOUNT, C.DESERVED, rules=ONE): (
        f"create an account for {ANA} in looker, because rule developers gives it",
        f"{ANA} has no account in looker",
    ),
    drift(K.DISABLED_ACCOUNT, C.DESERVED, rules=TWO): (
        f"enable the account of {ANA} in looker, because rules developers and web team give it",
        f"{ANA} is active, but the account in looker is disabled",
    ),
    drift(K.LINGERING_ACCOUNT, C.DEPARTED): (
        f"disable the account of {ANA} in looker, because they have departed",
        f"{ANA} has departed, but the account in looker still works",
    ),
    drift(K.RETURNED_LEAVER, C.DEPARTED): (
        f"disable again the account of {ANA} in looker, because they have departed",
        f"{ANA} has departed and was out, and an account in looker works again",
    ),
    drift(K.SUSPENDED_PERSON, C.SUSPENDED): (
        f"disable the account of {ANA} in looker, because they are suspended",
        f"{ANA} is suspended, but the account in looker still works",
    ),
    drift(K.ABSENT_PERSON, C.ABSENT): (
        f"disable the account of {ANA} in looker, because the source no longer has them",
        f"the source no longer has {ANA}, but the account in looker still works",
    ),
    drift(K.ABSENT_PERSON, C.ABSENT, detail="another has the login"): (
        f"disable the account of {ANA} in looker, because the source no longer has them (another has the login)",
        f"the source no longer has {ANA} (another has the login), but the account in looker still works",
    ),
    drift(K.STALE_LOGIN, C.SOURCE_CHANGED, field="login", before="old", after="new"): (
        f"change the login of {ANA} in looker from old to new, because the source says so",
        f"{ANA} logs in to looker as old, not as new",
    ),
    drift(K.STALE_PROFILE, C.SOURCE_CHANGED, field="first_name", after="Ana"): (
        f"set first_name of {ANA} in looker from nothing to Ana, because the source says so",
        f"first_name of {ANA} in looker is nothing, not Ana",
    ),
    drift(K.EXCESS_ENTITLEMENT, C.UNDESERVED): (
        f"revoke role Developer from {ANA} in looker, because no rule gives it",
        f"{ANA} holds role Developer in looker",
    ),
    drift(K.EXCESS_ENTITLEMENT, C.LEFT_POLICY): (
        f"revoke role Developer from {ANA} in looker, because it left the policy",
        f"{ANA} holds role Developer in looker",
    ),
    drift(K.EXCESS_ENTITLEMENT, C.DEPARTED): (
        f"revoke role Developer from {ANA} in looker, because they have departed",
        f"{ANA} holds role Developer in looker",
    ),
    drift(K.EXPIRED_ENTITLEMENT, C.EXPIRED, rules=ONE): (
        f"revoke role Developer from {ANA} in looker, because rule developers has ended",
        f"{ANA} still holds role Developer in looker",
    ),
    drift(K.EXPIRED_ENTITLEMENT, C.EXPIRED, rules=TWO): (
        f"revoke role Developer from {ANA} in looker, because rules developers and web team have ended",
        f"{ANA} still holds role Developer in looker",
    ),
    drift(K.MISSING_ENTITLEMENT, C.DESERVED, rules=ONE): (
        f"grant role Developer to {ANA} in looker, because rule developers gives it",
        f"{ANA} lacks role Developer in looker",
    ),
    drift(K.MISSING_ENTITLEMENT, C.DESERVED, entitlement=REGION, after="EMEA", rules=ONE, detail="without it: NONE"): (
        f"grant attribute region = EMEA to {ANA} in looker, because rule developers gives it (without it: NONE)",
        f"{ANA} lacks attribute region = EMEA in looker (without it: NONE)",
    ),
    drift(K.WRONG_VALUE, C.DESERVED, entitlement=REGION, before="AMER", after="EMEA", rules=ONE): (
        f"set attribute region = EMEA for {ANA} in looker instead of AMER, because rule developers gives it",
        f"{ANA} holds attribute region = AMER in looker, not EMEA",
    ),
    drift(K.EXCESS_ENTITLEMENT, C.UNDESERVED, entitlement=REGION, before="AMER", detail="it then has nothing at all"): (
        f"revoke attribute region = AMER from {ANA} in looker, because no rule gives it (it then has nothing at all)",
        f"{ANA} holds attribute region = AMER in looker",
    ),
    drift(K.HELD_VALUE, C.NOT_EVALUABLE, entitlement=REGION, field="attribute region", detail="they have no region"): (
        "", f"attribute region of {ANA} in looker is held, neither given nor taken: they have no region",
    ),
    drift(K.ORPHAN, C.UNKNOWN_OWNER): ("", f"{ANA} in looker belongs to nobody we know"),
    drift(K.DISPUTED, C.AMBIGUOUS_OWNER, detail="two accounts"): (
        "", f"{ANA} in looker may not be who it seems: two accounts",
    ),
    drift(K.UNEVALUABLE_RULE, C.NOT_EVALUABLE, field="web team", detail="its group is gone"): (
        "", "rule web team cannot be evaluated: its group is gone",
    ),
    drift(K.HELD_PERSON, C.NOT_EVALUABLE, detail="unknown status"): ("", f"{ANA} is on hold in looker: unknown status"),
    drift(K.DISPUTED_PERSON, C.AMBIGUOUS_OWNER, field="email", detail="Ana: only their email is the same"): (
        "", f"{ANA} may be the same person as Ana: only their email is the same",
    ),
    drift(K.SOURCES_DISAGREE, C.DISAGREEMENT, detail="okta says active, entra says departed"): (
        "",
        f"{ANA} has an account in looker, and the sources do not agree: okta says active, entra says departed",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("one", "sentences"), SENTENCES.items(), ids=lambda x: getattr(x, "kind", None))
def test_the_sentences_about(one: Drift, sentences: tuple[str, str]) -> None:
    change, finding = sentences
    assert finding_sentence(one, ANA, label) == finding
    if change:
        assert change_sentence(one, ANA, label) == change


def test_every_kind_of_drift_has_its_words_and_every_curable_one_both() -> None:
    assert {one.kind for one in SENTENCES} == set(DriftKind)
    assert {one.kind for one, (change, _) in SENTENCES.items() if change} == set(CURES)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (("a",), "rule a"),
        (("a", "b"), "rules a and b"),
        (("a", "b", "c"), "rules a, b and c"),
        (("a", "b", "c", "d", "e"), "rules a, b and c and 2 more"),
        ((), "rules nothing"),
        (("a\u202eb",), "rule a\\u202eb"),
    ],
)
def test_rules_are_named(rules: tuple[str, ...], words: str) -> None:
    assert rule_names(rules) == words


@pytest.mark.parametrize(
    ("name", "login", "words"),
    [
        ("Ana Ruiz", "ana@acme.example", ANA),
        ("", "ana@acme.example", "ana@acme.example"),
        ("Ana Ruiz", "", "Ana Ruiz"),
        ("", "", "somebody without a name"),
        ("Ana\n\u202eziuR", "a", "Ana \\u202eziuR <a>"),
    ],
)
def test_somebody_is_called(name: str, login: str, words: str) -> None:
    assert person_label(name, login) == words


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 changes"), (1, "1 change"), (2, "2 changes"), (1234567, "1,234,567 changes")]
)
def test_things_are_counted(number: int, words: str) -> None:
    assert counted(number, "change") == words
    assert counted(2, "entry", "entries") == "2 entries"


@pytest.mark.parametrize(
    ("lasted", "words"),
    [
        (dt.timedelta(seconds=59), "less than a minute"),
        (dt.timedelta(minutes=1, seconds=59), "1 minute"),
        (dt.timedelta(hours=23, minutes=59), "23 hours"),
        (dt.timedelta(days=3, hours=23), "3 days"),
    ],
)
def test_an_age_is_told_in_its_largest_unit(lasted: dt.timedelta, words: str) -> None:
    assert age(lasted) == words


# --- other people's text ---------------------------------------------------------------------------------------------

SHOWN = {
    "plain": ("Ana Ruiz", "Ana Ruiz"),
    "of any script": ("\u0410\u043d\u0430 \u5b89\u5a1c Zo\u00eb", "\u0410\u043d\u0430 \u5b89\u5a1c Zo\u00eb"),
    "with new lines and tabs": (" a\r\nb\t\tc\u2028d ", "a b c d"),
    "with an escape sequence for terminals": ("\x1b[31mred", "\\u001b[31mred"),
    "with a bell and a zero byte": ("a\a\0", "a\\u0007\\u0000"),
    "with text turned round": ("\u202egnp.exe", "\\u202egnp.exe"),
    "with isolates and marks": ("\u2066a\u2069\u200f\u061c", "\\u2066a\\u2069\\u200f\\u061c"),
    "with what has no width": ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
    "with half a surrogate pair": ("\ud800", "\\ud800"),
    "empty": ("", ""),
}


@pytest.mark.parametrize(("text", "shown"), SHOWN.values(), ids=SHOWN.keys())
def test_a_text(text: str, shown: str) -> None:
    assert quoted(text) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert quoted("x" * 160) == "x" * 160
    assert quoted("x" * 161) == "x" * 160 + "\u2026"
    assert quoted("abcdef", 3) == "abc\u2026"


HOSTILE = "\u202e\x1b[2J\n{who}{0}%s"


@pytest.mark.parametrize("one", SENTENCES, ids=lambda x: f"{x.kind}, {x.cause}")
def test_nobodys_text_spoils_a_sentence(one: Drift) -> None:
    who = person_label(HOSTILE, HOSTILE)
    hostile = Drift(
        one.kind, one.target, one.cause, "p", "7", one.entitlement, HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), HOSTILE
    )  # fmt: skip
    said = [finding_sentence(hostile, who, lambda _: HOSTILE)]
    if one.kind in CURES:
        said.append(change_sentence(hostile, who, lambda _: HOSTILE))
    assert all(sentence.isprintable() for sentence in said)


@given(st.text(), st.integers(1, 50))
def test_a_quoted_text_is_one_printable_line_and_quoting_it_again_changes_nothing(text: str, limit: int) -> None:
    assert quoted(text).isprintable()
    assert len(quoted(text, limit)) <= 10 * limit + 1
    assert quoted(quoted(text, limit), 1000) == quoted(text, limit)


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", "\uff0b1", "a;=1", "a\n-1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_text(text: str) -> None:
    for cell in csv_safe(text).replace(";", "\n").splitlines():
        plain = unicodedata.normalize("NFKC", cell.strip())
        assert plain[:1] not in ("=", "+", "-", "@")


@pytest.mark.parametrize("text", ["", "Ana", "a=b", "a-b", "ana@acme.example", "1+1", "grant role A to B; then C"])
def test_an_ordinary_cell_stays_as_it_is(text: str) -> None:
    assert csv_safe(text) == text


@given(st.text())
def test_a_safe_cell_is_safe_again_and_survives_a_csv_file(text: str) -> None:
    safe = csv_safe(text)
    assert csv_safe(safe) == safe
    assert safe.replace("'", "") == text.replace("'", "")
    written = io.StringIO(newline="")
    csv.writer(written).writerow([safe, "next"])
    assert next(csv.reader(io.StringIO(written.getvalue(), newline=""))) == [safe, "next"]
