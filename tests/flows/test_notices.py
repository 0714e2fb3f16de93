"""What people are told, by real messages to a real server: together, once, again after a failure, and no secret."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlmodel import select

from tests.flows.rig import Rig
from tests.test_logs import quiet_again
from worker import logs
from worker.console.metrics import Vitals, scraper
from worker.core.guardrails import State
from worker.core.notices import NoticeKind
from worker.errors import Denied, Refused, Unavailable
from worker.flows import reading
from worker.flows.notices import tell
from worker.flows.passes import plan, sync
from worker.flows.site import Site
from worker.flows.trail import forget
from worker.settings.schedule import jobs
from worker.store import notices, people
from worker.store.tables import JobRow, NoticeRow

assert quiet_again


@dataclass
class Chat:
    """A chat server: what it was sent, how it answers, and whether it takes its time."""

    address: str = ""
    status: int = 200
    location: str = ""
    taken: list[dict[str, Any]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def texts(self) -> list[str]:
        return [f"{one['title']}\n{one['message']}" for one in self.taken]


@contextmanager
def chatting() -> Iterator[Chat]:
    chat = Chat()
    chat.go_on.set()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            chat.came.set()
            chat.go_on.wait()
            if chat.status == 200:
                chat.taken.append(json.loads(sent))
            self.send_response(chat.status)
            if chat.location:
                self.send_header("location", chat.location)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    chat.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield chat
    finally:
        chat.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


SECRETS = ("pa55word", "t0ken-in-path")
TOLD = {"notify": {"urls": ["${env:CHAT}"]}}


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    """Whom `${env:CHAT}` means."""
    with chatting() as served:
        monkeypatch.setenv("CHAT", f"json://trueup:{SECRETS[0]}@{served.address}/{SECRETS[1]}")
        yield served


@pytest.fixture
def site(rig: Rig, chat: Chat) -> Iterator[Site]:
    with rig.open("observe", **TOLD) as opened:
        yield opened


def kept(site: Site) -> list[NoticeRow]:
    with site.begin() as session:
        return list(session.exec(select(NoticeRow).order_by(NoticeRow.kind, NoticeRow.key)))


def note(site: Site, key: str, sentence: str = "okta: it shrank", kind: NoticeKind = NoticeKind.READ_REFUSED) -> None:
    with site.begin() as session:
        notices.notice(session, kind, key, sentence, site.now())


def test_new_drift_is_told_in_one_message_that_counts_it_and_shows_the_first(site: Site, chat: Chat) -> None:
    outlook = plan(site)
    found = sum(len(p.judged) + len(p.standing) for p in outlook.plans)
    assert found > 15

    assert tell(site) == found

    (text,) = chat.texts
    title, heading, *lines = text.splitlines()
    assert title == f"Trueup: {found} new drifts"
    assert heading == f"{found} new drifts (see: trueup report drift)"
    assert len(lines) == 11
    assert lines[-1] == f"- and {found - 10} more"
    urgent = [one for one in lines if one.startswith("- URGENT: ")]
    assert lines[: len(urgent)] == urgent


def test_what_stands_is_told_once(rig: Rig, site: Site, chat: Chat) -> None:
    plan(site)
    tell(site)

    rig.clock.advance(minutes=20)
    plan(site)

    assert tell(site) == 0
    assert len(chat.texts) == 1


def test_a_message_that_was_not_taken_is_kept_and_sent_later(rig: Rig, site: Site, chat: Chat) -> None:
    note(site, "1")
    chat.status = 503

    with pytest.raises(Unavailable) as raised:
        tell(site)

    assert "${env:CHAT} did not take the message" in str(raised.value)
    assert kept(site)[0].sent_at is None

    rig.clock.advance(minutes=1)
    note(site, "2")
    chat.status = 200
    assert tell(site) == 2
    assert tell(site) == 0
    assert [text.splitlines()[0] for text in chat.texts] == ["Trueup: 2 refused reads"]


def test_a_receiver_that_is_down_keeps_nobody_else_waiting_and_nobody_hears_twice(
    rig: Rig, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    with chatting() as pager:
        monkeypatch.setenv("PAGER", f"json://{pager.address}")
        with rig.open(notify={"urls": ["${env:CHAT}", "${env:PAGER}"], "every": "1s"}) as site:
            note(site, "1")
            chat.status = 500
            for _ in range(2):
                with pytest.raises(Unavailable, match="CHAT"):
                    tell(site)
                rig.clock.advance(minutes=1)
            chat.status = 200

            assert tell(site) == 1

    assert len(chat.texts) == len(pager.texts) == 1


def test_two_workers_at_once_tell_it_once(rig: Rig, site: Site, chat: Chat) -> None:
    note(site, "1")
    chat.go_on.clear()

    with ThreadPoolExecutor(1) as other, rig.open(**TOLD) as second:
        first = other.submit(tell, site)
        assert chat.came.wait(10)
        assert tell(second) == 0
        chat.go_on.set()
        assert first.result() == 1

    assert len(chat.texts) == 1


def test_messages_keep_their_distance(rig: Rig, site: Site, chat: Chat) -> None:
    note(site, "1")
    tell(site)
    for number in range(2, 5):
        rig.clock.advance(minutes=4)
        note(site, str(number))
        assert tell(site) == 0

    rig.clock.advance(minutes=4)

    assert tell(site) == 3
    assert len(chat.texts) == 2


def test_what_nobody_wants_to_hear_is_let_go(rig: Rig, chat: Chat) -> None:
    with rig.open(notify={"urls": ["${env:CHAT}"], "on": ["chain broken"]}) as site:
        note(site, "1")
        assert tell(site) == 0
        assert [(row.sentence, row.sent_at is not None) for row in kept(site)] == [("", True)]
    with rig.open() as site:
        note(site, "2")
        assert tell(site) == 0
    with rig.open(**TOLD) as site:
        assert tell(site) == 0
    assert chat.texts == []


def test_a_sentence_is_gone_once_it_has_been_told(site: Site, chat: Chat) -> None:
    plan(site)
    tell(site)

    assert {row.sentence for row in kept(site)} == {""}


def test_withheld_changes_are_told_once_though_their_numbers_move(rig: Rig, chat: Chat) -> None:
    def withheld(limits: dict[str, int]) -> tuple[set[str], int]:
        told = {"urls": ["${env:CHAT}"], "on": ["plan withheld"]}
        with rig.open("enforce", notify=told, limits={"departures": limits}) as site:
            found = {j.reason for p in plan(site).plans for j in p.judged if j.state is State.WITHHELD}
            rig.clock.advance(minutes=16)
            return found, tell(site)

    one, told = withheld({"per_run": 0})
    assert one == {"1 departures in one run, at most 0 (limits.departures.per_run)"}
    assert told > 1

    rig.world.okta.directory.deactivate(rig.okta_id(rig.logins("extra role")[0]))
    two, told_of_the_second = withheld({"per_run": 0})
    assert "2 departures in one run, at most 0 (limits.departures.per_run)" in two
    assert told_of_the_second > 0
    assert rig.logins("leaver")[0] in chat.texts[0]
    assert rig.logins("leaver")[0] not in chat.texts[1], "they were told of already"

    _, told_again = withheld({"per_run": 9, "per_day": 0})
    assert told_again == told + told_of_the_second, "another reason is news"


def test_a_failed_change_is_told_once_however_often_it_fails(rig: Rig, chat: Chat) -> None:
    fault = rig.world.looker.break_("DELETE /api/4.0/groups/*/users/*", "status", status=400, times=1000)
    with rig.open("enforce", notify={"urls": ["${env:CHAT}"], "on": ["change failed"]}) as site:
        first = sync(site)
        failed = [text for text in first.troubles if ": failed" in text]
        assert failed
        assert tell(site) >= len(failed)
        rig.clock.advance(minutes=20)
        sync(site)
        assert tell(site) == 0

    assert fault.fired
    assert "failed change" in chat.texts[0]


def test_a_read_that_is_refused_is_told_until_one_succeeds(rig: Rig, chat: Chat) -> None:
    told: dict[str, Any] = {"urls": ["${env:CHAT}"], "on": ["read refused"]}
    with rig.open(notify=told, must_see={"okta": {"people": ["nobody@acme.example"]}}) as site:
        for expected in (1, 0):
            with pytest.raises(Refused):
                reading.read(site, "okta")
            assert tell(site) == expected
            rig.clock.advance(minutes=20)
    with rig.open(notify=told) as site:
        reading.read(site, "okta")
    with rig.open(notify=told, must_see={"okta": {"people": ["nobody@acme.example"]}}) as site:
        with pytest.raises(Refused):
            reading.read(site, "okta")
        assert tell(site) == 1

    assert "cannot be the whole truth" in chat.texts[0]


def test_credentials_that_no_longer_work_are_told(rig: Rig, chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in rig.world.environment():
        if "LOOKER" in name:
            monkeypatch.setenv(name, "wr0ng")
    with rig.open(**TOLD) as site:
        with pytest.raises(Denied):
            reading.read(site, "looker")
        assert tell(site) == 1

    assert "1 refused read (see: trueup check)\n- looker: " in chat.texts[0]
    assert "wr0ng" not in chat.texts[0]


def test_an_overdue_job_is_told_until_it_succeeds(rig: Rig, site: Site, chat: Chat) -> None:
    def succeed(*but: str) -> None:
        with site.begin() as session:
            for job in jobs(site.loaded.settings):
                if job.name not in but:
                    now = site.now()
                    session.add(JobRow(name=job.name, slot=now, state="done", not_before=now, finished_at=now))

    succeed()
    for expected in (1, 0):
        rig.clock.advance(minutes=31)
        succeed("pull okta")
        assert tell(site) == expected
    rig.clock.advance(minutes=1)
    succeed()
    rig.clock.advance(minutes=31)
    succeed("pull okta")
    assert tell(site) == 1

    assert "- pull okta has not succeeded for 31 minutes; it should within 30 minutes" in chat.texts[0]


def test_no_secret_of_an_address_is_ever_shown(
    site: Site, chat: Chat, quiet_again: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = io.StringIO()
    logs.configure("worker", level="debug", stream=lines)
    said = []
    for status in (500, 404, 401):
        note(site, str(status))
        chat.status = status
        with pytest.raises(Unavailable) as raised:
            tell(site)
        said.append(str(raised.value))
    monkeypatch.setenv("CHAT", f"nothing://{SECRETS[0]}/{SECRETS[1]}")
    with pytest.raises(Unavailable, match="is no URL that Apprise knows") as raised:
        tell(site)
    said.append(str(raised.value))
    monkeypatch.setenv("CHAT", f"json://{SECRETS[0]}@127.0.0.1:1/{SECRETS[1]}")
    with pytest.raises(Unavailable) as raised:
        tell(site)
    said.append(str(raised.value))

    shown = "\n".join([*said, lines.getvalue(), *capfd.readouterr()])
    assert lines.getvalue().count('"event": "notification failed"') == 5
    assert not [secret for secret in SECRETS if secret in shown]


def test_a_message_goes_to_nobody_but_its_receiver(site: Site, chat: Chat) -> None:
    with chatting() as stranger:
        chat.status, chat.location = 307, f"http://{stranger.address}/"
        note(site, "1")

        with pytest.raises(Unavailable):
            tell(site)

        assert not stranger.came.is_set()


def test_whoever_is_forgotten_is_in_no_notice(rig: Rig) -> None:
    with rig.open("enforce") as site:
        sync(site)
        with site.begin() as session:
            (found,) = people.find(session, rig.logins("leaver")[0])
        rig.clock.advance(hours=1)
        sync(site)
        assert {row.sentence for row in kept(site) if str(row.person_id) == found.person_id} - {""}
        forget(site, found.person_id)

        assert {row.sentence for row in kept(site) if str(row.person_id) == found.person_id} == {""}
        assert [row for row in kept(site) if row.sentence], "everybody else's is still to be told"


def test_metrics_of_a_whole_pass_name_nobody(rig: Rig) -> None:
    with rig.open("enforce") as site:
        sync(site)
        text = scraper(Vitals(site.store, site.loaded, site.now(), site.now))().decode()

    assert "trueup_steps{" in text
    assert re.findall(r"[\w.]+@[\w.]+|[0-9a-f]{8}-[0-9a-f]{4}-", text) == []


def test_logs_of_a_whole_pass_name_nobody(rig: Rig, quiet_again: None) -> None:
    lines = io.StringIO()
    with rig.open("enforce") as site:
        logs.configure("worker", stream=lines)
        outlook = sync(site)
    assert outlook.applied

    text = lines.getvalue()
    events = [json.loads(line) for line in text.splitlines()]
    assert {"source read", "plan made", "step attempted", "step ended", "run ended"} <= {e["event"] for e in events}
    ended = [e for e in events if e["event"] == "step ended"]
    assert all(e["run"] and e["step"] and e["changes"] and e["outcome"] for e in ended)
    named = [
        name
        for profile in (employee.profile for employee in rig.world.company.employees)
        for name in (profile["login"], f"{profile['firstName']} {profile['lastName']}")
        if name in text
    ]
    assert named == []
    assert [secret for secret in rig.world.environment().values() if secret in text] == []
    assert logging.getLogger("trueup").isEnabledFor(logging.INFO)
