"""Every command at least once, as somebody types it: what it says, in what form, and with which exit code."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.counter import Counter
from worker import wiring

TRUEUP = str(Path(sys.executable).with_name("trueup"))


# --- finding one's way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [(), ("review",), ("report",), ("audit",), ("db",)], ids=" ".join)
def test_a_list_of_commands_cuts_no_sentence_and_naming_none_of_them_does_nothing(
    bare: Counter, group: tuple[str, ...]
) -> None:
    asked, alone = bare.trueup(*group, "--help"), bare.trueup(*group)
    assert asked.code == 0
    assert "..." not in asked.out.partition("Commands:")[2]
    assert (alone.code, alone.out) == (1, "")
    assert "Commands:" in alone.err
    assert "error" not in alone.err.partition("Exit codes")[0]


def test_the_version_is_told(bare: Counter) -> None:
    assert bare.trueup("--version").out == "trueup 0.1.0\n"


MISTAKES = {
    "a misspelt command": (("paln",), "Did you mean 'plan'? See `trueup --help`."),
    "a misspelt command of a group": (("report", "drfit"), "Did you mean 'drift'? See `trueup report --help`."),
    "a misspelt option": (("plan", "--jsn"), "--json). See `trueup plan --help`."),
    "an option before the command": (("-c", "x.yaml", "plan"), "-c stands after the command, as in `trueup plan -c"),
    "a file as an argument": (("plan", "x.yaml"), "See `trueup plan --help`."),
    "an argument too few": (("unlink", "looker"), "Missing argument 'account'. See `trueup unlink --help`."),
    "no handle": (("review", "approve"), "Missing argument 'handles'. See `trueup review approve --help`."),
    "a day in another order": (
        ("review", "waive", "abcd", "--until", "31.12.2026", "--owner", "ana"),
        "'31.12.2026' is no day; write one such as 2026-12-31.",
    ),
    "a day in words": (("audit", "list", "--since", "yesterday"), "'yesterday' is no time; write one such as"),
    "a port that does not exist": (("sandbox", "--port", "99999"), "'--port'"),
    "a company too small": (("sandbox", "--size", "3"), "'--size'"),
    "names without their option": (("check", "looker"), "Names are for --accept-baseline"),
    "a format that does not exist": (("report", "drift", "--format", "pdf"), "write one of html, csv, json."),
    "settings that are not there": (("plan", "-c", "nowhere.yaml"), "`trueup init` writes one to start from."),
    "a plan that is not there": (("plan", "--out", "/nowhere/plan.json"), "there is no such file or folder"),
}


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_one_line_that_says_what_to_write(
    bare: Counter, words: tuple[str, ...], said: str
) -> None:
    told = bare.trueup(*words)
    assert (told.code, told.out, told.err.count("\n")) == (1, "", 1)
    assert told.err.startswith("error: ")
    assert said in told.err


UNKNOWN = {
    "a person": (("why", "nobody@acme.example"), "Nobody is known as 'nobody@acme.example'"),
    "somebody in the trail": (("audit", "list", "--person", "nobody@acme.example"), "Nobody is known as"),
    "a target": (("review", "list", "lookr"), "There is no target 'lookr'; write one of looker, teamcity."),
    "a connector": (("pause", "okat"), "There is no source or target 'okat'; write one of okta, looker, teamcity."),
    "an account": (("link", "ibrahim.pham@acme.example", "looker", "x@y"), "looker has no account 'x@y'"),
    "a handle": (("review", "show", "ffff"), "`trueup review list` shows them"),
    "a plan": (("apply", "nowhere.json"), "The plan nowhere.json cannot be read"),
    "a witness": (("audit", "verify", "--witness", "12"), "A witness is NUMBER:DIGEST"),
}


@pytest.mark.parametrize(("words", "said"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_not_there_is_named(counter: Counter, words: tuple[str, ...], said: str) -> None:
    told = counter.trueup(*words)
    assert (told.code, told.out, told.err.count("\n")) == (1, "", 1)
    assert said in told.err


# --- the first hour --------------------------------------------------------------------------------------------------


def test_init_writes_a_file_to_start_from_and_never_over_one(bare: Counter) -> None:
    first = bare.trueup("init", str(bare.settings))
    written = bare.settings.read_text(encoding="utf-8")
    again = bare.trueup("init", str(bare.settings))
    assert (first.code, again.code) == (0, 1)
    assert "then run `trueup check`" in first.out
    assert "left as it is" in again.err
    assert bare.settings.read_text(encoding="utf-8") == written


def test_schema_is_a_json_schema(bare: Counter) -> None:
    assert "rules" in bare.trueup("schema").json()["properties"]


def test_check_counts_and_speaks_of_what_it_has_seen(counter: Counter) -> None:
    told, data = counter.trueup("check"), counter.trueup("check", "--json")
    assert (told.code, data.code, data.err) == (0, 0, "")
    assert re.search(r"^looker .* \d+ catalogue entries; baseline accepted$", told.out, re.MULTILINE)
    assert told.out.endswith(("All is well.\n", "look at the warnings.\n"))
    assert set(data.json()["counts"]) == {"okta", "looker", "teamcity"}


def test_check_does_not_call_it_well_when_a_rule_fits_nobody(counter: Counter) -> None:
    odd = counter.folder / "odd.yaml"
    settings = counter.settings.read_text(encoding="utf-8")
    odd.write_text(settings.replace("attribute: department,", "attribute: departement,"), encoding="utf-8")
    told = counter.trueup("check", "-c", str(odd))
    assert "rule analysts fits nobody; is its condition right?" in told.out
    assert told.out.endswith("Nothing stands in the way, but look at the warnings.\n")


def test_plan_ends_with_what_can_be_done_about_it(counter: Counter) -> None:
    told = counter.trueup("plan")
    lines = told.out.splitlines()
    assert told.code == 2
    assert any(re.fullmatch(r"  \? .* \[[0-9a-f]{10}\]", line) for line in lines), "no reason where all have the same"
    assert "2 orphans" in told.out
    assert lines[-2:] == [
        "To decide about what has ? before it: `trueup review show`, `approve`, `reject` or `waive HANDLE`.",
        "To say whose a disputed account is: `trueup link PERSON TARGET ACCOUNT`.",
    ]


def test_plan_as_json_is_nothing_but_json(counter: Counter) -> None:
    told = counter.trueup("plan", "--json")
    assert (told.code, told.err, told.json()["exit_code"]) == (2, "", 2)


def test_a_guard_says_the_cure_once_and_not_in_every_line(unlooked: Counter) -> None:
    told = unlooked.trueup("plan")
    assert told.code == 1
    assert told.out.count("[") > 2
    assert "accept-baseline" not in told.out
    assert told.err.count("run `trueup check --accept-baseline`") == 2, "once for each target"


def test_plan_out_takes_the_place_of_a_plan_and_of_nothing_else(counter: Counter) -> None:
    settings, file = counter.settings.read_text(encoding="utf-8"), counter.folder / "plan.json"
    refused = counter.trueup("plan", "--out", str(counter.settings))
    saved = counter.trueup("plan", "--out", str(file))
    again = counter.trueup("plan", "--out", str(file))
    assert (refused.code, saved.code, again.code) == (1, 2, 2)
    assert "is no saved plan; name another file with --out." in refused.err
    assert counter.settings.read_text(encoding="utf-8") == settings
    assert saved.out.endswith(f"Saved: `trueup apply {file}` makes what is open in it, and nothing else.\n")


def test_settings_given_for_a_plan_are_not_advised_to_be_overwritten(counter: Counter) -> None:
    told = counter.trueup("apply", str(counter.settings))
    assert told.code == 1
    assert "make one with `trueup plan --out FILE`." in told.err


# --- deciding --------------------------------------------------------------------------------------------------------


def test_an_approval_shows_at_once_and_apply_makes_what_the_saved_plan_has(counter: Counter) -> None:
    file = counter.folder / "approved.json"
    counter.trueup("plan", "--out", str(file))
    handle = counter.item("waiting", "role Analyst from Yuki")["handle"]
    told = counter.trueup("review", "approve", handle, "--note", "seen")
    shown = counter.item("approved", "role Analyst from Yuki")
    made = counter.trueup("apply", str(file))
    assert told.code == 0
    assert shown["reason"].startswith("by operator:ana")
    assert made.code == 2, "others still wait"
    assert "  ✓ revoke role Analyst from Yuki" in made.out
    assert counter.trueup("sync", "--json").json()["applied"][0]["done"] == []


def test_show_says_in_words_what_an_approval_would_bring(counter: Counter) -> None:
    handle = counter.item("waiting", "create an account for Mei")["handle"]
    told, data = counter.trueup("review", "show", handle[:6]), counter.trueup("review", "show", handle, "--json")
    assert told.code == 0
    assert "brings: group " in told.out
    assert not re.search(r": *$", told.out, re.MULTILINE), "nothing empty"
    assert data.json()["after"].startswith("group:")


def test_a_rejection_and_a_waiver_end_the_waiting(counter: Counter) -> None:
    rejected = counter.item("waiting", "create an account for Hiroshi")
    waived = counter.item("standing", "account temp1@acme.example")
    until = "2026-12-31" if rejected["since"] < "2026-12" else rejected["since"][:10]
    assert counter.trueup("review", "reject", rejected["handle"]).code == 0
    told = counter.trueup("review", "waive", waived["handle"], "--until", until, "--owner", "it")
    assert told.out == f"waived until {until}: {waived['sentence']}\n"
    assert counter.item("rejected", "create an account for Hiroshi")
    assert counter.item("waived", "account temp1@acme.example")


def test_whoever_would_approve_a_dispute_is_told_to_say_whose_it_is(counter: Counter) -> None:
    item = counter.item("standing", "account ibrahim.pham@acme.example in looker")
    told = counter.trueup("review", "approve", item["handle"])
    assert told.code == 1
    assert f"`trueup link PERSON looker {item['account']}`" in told.err


def test_a_link_is_made_explained_and_taken_back(counter: Counter) -> None:
    who = "kai.almeida@acme.example"
    linked = counter.trueup("link", who, "looker", who, "--note", "asked her")
    told, data = counter.trueup("why", who), counter.trueup("why", who, "--json")
    unlinked = counter.trueup("unlink", "looker", who)
    assert [t.code for t in (linked, told, data, unlinked)] == [0, 0, 0, 0]
    assert linked.out.endswith("`trueup plan` shows what follows from it.\n")
    assert "is linked as primary, by hand, since" in told.out
    assert "no longer linked" in unlinked.out
    assert list(data.json())[-5:] == ["found", "correlated", "rules", "desired", "observed"]


def test_why_gives_nothing_to_who_has_departed(counter: Counter) -> None:
    told = counter.trueup("why", "anders.hoffmann@acme.example")
    assert "4. desired\n   nothing, because they have departed\n" in told.out


# --- for auditors ----------------------------------------------------------------------------------------------------


def test_the_drift_report_comes_in_three_forms(counter: Counter) -> None:
    page, table = counter.folder / "drift.html", counter.folder / "drift.csv"
    assert counter.trueup("report", "drift", "--out", str(page)).out == f"Wrote {page}.\n"
    assert counter.trueup("report", "drift", "--format", "csv", "--out", str(table)).code == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(counter.trueup("report", "drift", "--format", "json").json()["findings"])


def test_the_trail_is_listed_verified_and_exported(counter: Counter) -> None:
    newest = counter.trueup("audit", "list", "--limit", "3", "--json").json()
    plans = counter.trueup("audit", "list", "--kind", "plan made", "--since", "2026-01-01")
    verified = counter.trueup("audit", "verify")
    witness = verified.out.splitlines()[0].rpartition(" ")[2]
    exported = counter.trueup("audit", "export", "--out", str(counter.folder / "trail.jsonl"))
    assert [n["number"] for n in newest] == sorted((n["number"] for n in newest), reverse=True)
    assert all(line.split("\t")[3] == "plan made" for line in plans.out.splitlines())
    assert not re.search("[0-9a-f]{64}", plans.out), "a digest is shown by its beginning"
    assert counter.trueup("audit", "verify", "--witness", witness, "--json").json()["ok"] is True
    assert exported.out.startswith("Wrote ")


def test_an_empty_list_says_so_and_a_pipe_gets_no_line(counter: Counter) -> None:
    told = counter.trueup("audit", "list", "--kind", "nothing of that kind")
    assert (told.code, told.out, told.err) == (0, "", "No entry fits.\n")


ANSWERS = {"nobody": ("", "where nobody can, say --yes."), "no": ("n\n", "Nothing was erased.")}


@pytest.mark.parametrize(("typed", "said"), ANSWERS.values(), ids=ANSWERS)
def test_nothing_is_forgotten_unless_somebody_says_yes(counter: Counter, typed: str, said: str) -> None:
    told = counter.trueup("audit", "forget", "anders.hoffmann@acme.example", typed=typed)
    assert told.code == 1
    assert said in told.err


def test_who_is_still_there_is_not_forgotten(counter: Counter) -> None:
    told = counter.trueup("audit", "forget", "ibrahim.pham@acme.example", "--yes")
    assert told.code == 1
    assert "cannot be forgotten yet" in told.err


# --- pause, samples, database ----------------------------------------------------------------------------------------


def test_a_pause_names_the_command_that_ends_it(counter: Counter) -> None:
    paused = counter.trueup("pause", "looker", "--reason", "upgrade")
    met = counter.trueup("plan")
    resumed = counter.trueup("resume", "looker")
    assert paused.out == "looker is paused; nothing is sent to looker until `trueup resume looker`\n"
    assert met.code == 1
    assert "(upgrade); run `trueup resume looker` to go on." in met.err
    assert (resumed.code, resumed.out) == (0, "looker goes on\n")


SAMPLE = """\
cases:
  - person: {login: kim@acme.example, groups: [Analytics Readers]}
    expect: {looker: {groups: [%s]}}
"""


def test_samples_are_tried_and_a_failure_names_the_rule(counter: Counter) -> None:
    good, bad = counter.folder / "good.yaml", counter.folder / "bad.yaml"
    good.write_text(SAMPLE % "Viewers", encoding="utf-8")
    bad.write_text(SAMPLE % "Engineering", encoding="utf-8")
    passed, failed = counter.trueup("test", str(good), "--json"), counter.trueup("test", str(bad))
    assert (passed.code, passed.json()["passed"]) == (0, True)
    assert failed.code == 1
    assert 'but rule "developers" does not fit' in failed.out


def test_the_database_has_its_shape(counter: Counter) -> None:
    status, upgraded = counter.trueup("db", "status"), counter.trueup("db", "upgrade")
    assert (status.code, upgraded.code) == (0, 0)
    assert status.out.startswith("The real database is at revision ")


# --- terminals and processes -----------------------------------------------------------------------------------------


def test_a_narrow_terminal_gets_paragraphs_that_fit(counter: Counter) -> None:
    told = counter.trueup("review", "list", FORCE_COLOR="1", COLUMNS="60")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", told.out).splitlines()
    assert max(len(line) for line in lines) <= 60
    assert any(re.fullmatch(r"[0-9a-f]{10}  waiting  .*", line) for line in lines)
    assert any(line.startswith("    create an account for") for line in lines)


def test_an_old_locale_loses_no_letter(counter: Counter) -> None:
    old = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    told = subprocess.run(
        [TRUEUP, "review", "list"], env={**os.environ, **counter.environment, **old}, capture_output=True, check=True
    )
    assert told.stdout.decode("utf-8") == counter.trueup("review", "list").out


def test_the_sandbox_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [TRUEUP, "sandbox", "--size", "12", "--port", "0", "--folder", str(tmp_path / "box")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as served:
        assert served.stdout
        lines = [served.stdout.readline() for _ in range(6)]
        served.send_signal(signal.SIGINT)
    assert served.returncode == 0
    assert lines[0].startswith("okta: http://127.0.0.1:")
    assert "sandbox.env && trueup check && trueup plan" in lines[4]
    assert {f.name for f in (tmp_path / "box").iterdir()} == {"trueup.yaml", "sandbox.env"}


def test_a_sandbox_at_entra_id_leaves_the_certificate_to_trust_beside_its_settings(tmp_path: Path) -> None:
    box = tmp_path / "box"
    command = [TRUEUP, "sandbox", "--size", "12", "--port", "0", "--folder", str(box), "--sources", "okta,entra"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout
        lines = [served.stdout.readline() for _ in range(2)]
        served.send_signal(signal.SIGTERM)
    assert lines[1].startswith("entra: https://127.0.0.1:")
    assert f"ca_file: {box}/ca.pem\n" in (box / "trueup.yaml").read_text(encoding="utf-8")
    assert (box / "ca.pem").read_text(encoding="utf-8").startswith("-----BEGIN CERTIFICATE-----")


def test_a_terminal_that_rehearses_keeps_away_from_the_real_books(tmp_path: Path) -> None:
    box = tmp_path / "my box"
    with subprocess.Popen(
        [TRUEUP, "sandbox", "--size", "12", "--port", "0", "--folder", str(box)], stdout=subprocess.PIPE, text=True
    ) as served:
        assert served.stdout
        served.stdout.readline()
        seen = subprocess.run(
            ["/bin/sh", "-c", f". '{box}/sandbox.env' && env"],
            env={**os.environ, wiring.DATABASE: "postgresql://real"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        served.send_signal(signal.SIGTERM)
    known = dict(line.partition("=")[::2] for line in seen.stdout.splitlines())
    assert (known["TRUEUP_SETTINGS"], known["TRUEUP_STATE"]) == (f"{box}/trueup.yaml", f"{box}/state")
    assert wiring.DATABASE not in known


def test_the_demo_keeps_away_from_a_real_database() -> None:
    nowhere = {wiring.DATABASE: "postgresql://nobody@127.0.0.1:1/real"}
    told = subprocess.run(
        [TRUEUP, "demo", "--size", "50"], env={**os.environ, **nowhere}, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert "The chain is whole" in told.stdout
