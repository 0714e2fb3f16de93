"""Two orgs after a merger: who is in both is one person, who may be is a question, and nobody loses anything to it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.flows.merger import Merger, final, login, people_of, person_of
from worker.core.drift import DriftKind
from worker.core.guardrails import State
from worker.core.identity import Standing
from worker.errors import Misconfigured, Refused, TrueupError
from worker.flows import passes, trail
from worker.flows.apply import apply
from worker.flows.check import check
from worker.flows.crowd import gather
from worker.flows.joining import join_by_hand, split_by_hand
from worker.flows.passes import Outlook
from worker.flows.reading import read
from worker.flows.site import Site
from worker.flows.why import why
from worker.sandbox.company import Employee
from worker.store import chain, people

K = DriftKind


def read_both(site: Site) -> None:
    for name in site.sources:
        read(site, name)


def kinds(outlook: Outlook, *about: str) -> set[DriftKind]:
    """What was found in Looker about the people or accounts of these logins."""
    (plan,) = [plan for plan in outlook.plans if plan.target == "looker"]
    drifts = [*plan.standing, *(j.change.drift for j in plan.judged)]
    return {d.kind for d in drifts if any(f"<{one}>" in plan.sentences[d.key] for one in about)}


def states(outlook: Outlook, about: str) -> set[tuple[DriftKind, State]]:
    (plan,) = [plan for plan in outlook.plans if plan.target == "looker"]
    return {
        (j.change.drift.kind, j.state) for j in plan.judged if f"<{about}>" in plan.sentences[j.change.drift.key]
    }  # fmt: skip


def questions(site: Site, about: Employee) -> list[str]:
    ids = {p.id for p in people_of(site, login(about))}
    return [asked.text for asked in gather(site).questions if ids.intersection(asked.person_ids)]


# --- by a trusted key ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("okta", "acquired"), ("acquired", "okta")])
def test_who_is_in_both_orgs_is_one_person_once_both_were_read_in_either_order(
    merger: Merger, ana: Employee, order: tuple[str, str]
) -> None:
    merger.twin(ana, login="ana@acquired.example", email="ana@acquired.example")
    with merger.open() as site:
        read(site, order[0])
        assert merger.rig.trail(site, "people joined") == []
        read(site, order[1])
        person = person_of(site, login(ana))
        assert [i.source for i in person.identities] == ["okta", "acquired"]
        assert {source for source, _ in person.groups} == {"okta", "acquired"}
        (entry,) = merger.rig.trail(site, "people joined")
    assert (entry.facts["key"], entry.person_id) == ("employeeNumber", person.id)
    assert ana.profile["employeeNumber"] not in str(entry), "the value is nobody's business for ever"


def test_nobody_is_joined_before_the_third_source_was_read(merger: Merger, ana: Employee) -> None:
    merger.order = ("okta", "acquired", "third")
    merger.twin(ana)
    with merger.open() as site:
        read(site, "okta")
        read(site, "acquired")
        assert merger.rig.trail(site, "people joined") == []
        read(site, "third")
        assert len(person_of(site, login(ana)).identities) == 3


def test_a_company_that_is_in_both_orgs_needs_no_change_at_all(merger: Merger) -> None:
    with merger.open(gates={"create": "auto"}) as site:
        passes.sync(site)
        before = merger.rig.mutations()
        for one in merger.employees():
            merger.twin(one)
        outlook = passes.sync(site)
        assert merger.rig.mutations() == before
        assert (outlook.failures, outlook.troubles, outlook.open_changes()) == ([], [], 0)
        assert len(merger.rig.trail(site, "people joined")) == len(merger.employees())


def test_two_workers_who_close_two_sources_at_once_join_everybody_once(merger: Merger) -> None:
    for one in merger.employees():
        merger.twin(one)
    with merger.open() as site:
        read_both(site)
        for one in merger.employees():  # and what is new in both
            merger.rig.world.okta.directory.hire("New", one.id, employeeNumber=f"new{one.id}")
            merger.acquired.directory.hire("New", one.id, employeeNumber=f"new{one.id}")
        failures: list[TrueupError] = []

        def close(name: str) -> None:
            try:
                read(site, name)
            except TrueupError as error:
                failures.append(error)

        threads = [threading.Thread(target=close, args=(name,)) for name in site.sources]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        joined = [e.facts["joined"] for e in merger.rig.trail(site, "people joined")]
    assert failures == []
    assert len(joined) == len(set(joined)) == 2 * len(merger.employees())


def test_a_number_that_is_changed_later_splits_nobody_and_is_a_finding(merger: Merger, ana: Employee) -> None:
    twin = merger.twin(ana)
    with merger.open() as site:
        passes.sync(site)
        merger.acquired.directory.rename(twin, employeeNumber="another")
        outlook = passes.plan(site)
        person = person_of(site, login(ana))
    assert len(person.identities) == 2
    assert K.SOURCES_DISAGREE in kinds(outlook, login(ana))


# --- who decides what ------------------------------------------------------------------------------------------------


def test_the_authority_alone_makes_a_leaver(merger: Merger, ana: Employee) -> None:
    twin = merger.twin(ana)
    with merger.open() as site:
        passes.sync(site)
        merger.acquired.directory.deactivate(twin)
        outlook = passes.sync(site)
        person = person_of(site, login(ana))
        assert (person.standing, person.departure_marked) == (Standing.ACTIVE, False)
        assert {source for source, _ in person.groups} == {"okta"}
        assert kinds(outlook, login(ana)) == {K.SOURCES_DISAGREE}
        merger.rig.world.okta.directory.deactivate(ana.id)
        passes.sync(site)
        assert person_of(site, login(ana)).departure_marked
    assert merger.rig.looker_user(login(ana)).is_disabled


def test_a_leaver_of_the_authority_is_one_though_another_source_says_active_and_is_none_when_it_takes_it_back(
    merger: Merger, ana: Employee
) -> None:
    merger.twin(ana)
    with merger.open() as site:
        passes.sync(site)
        merger.rig.world.okta.directory.deactivate(ana.id)
        read(site, "acquired")  # of which nothing follows
        assert not person_of(site, login(ana)).departure_marked
        outlook = passes.sync(site)
        assert {K.LINGERING_ACCOUNT, K.SOURCES_DISAGREE} <= kinds(outlook, login(ana))
        assert merger.rig.looker_user(login(ana)).is_disabled
        read(site, "acquired")
        assert person_of(site, login(ana)).departure_marked, "the other source's word lifts nothing"
        merger.rig.world.okta.directory.set_status(ana.id, "ACTIVE")
        merger.rig.clock.advance(minutes=2)
        read(site, "acquired")
        assert person_of(site, login(ana)).departure_marked, "what the authority said before the mark lifts nothing"
        read(site, "okta")
        assert not person_of(site, login(ana)).departure_marked


def test_who_vanishes_from_a_source_that_is_not_the_authority_loses_nothing_and_is_not_held(
    merger: Merger, ana: Employee
) -> None:
    twin = merger.twin(ana)
    with merger.open() as site:
        passes.sync(site)
        merger.acquired.directory.delete(twin)
        merger.rig.world.okta.directory.remove_from_group(ana.id, "Engineering")
        outlook = passes.sync(site)
        person = person_of(site, login(ana))
    assert (person.standing, person.unsure) == (Standing.ACTIVE, "acquired no longer has them")
    assert kinds(outlook, login(ana)) == {K.SOURCES_DISAGREE}
    assert "Engineering" in merger.rig.looker_groups(login(ana))


def test_whoever_is_at_a_source_that_could_not_be_read_loses_nothing(
    merger: Merger, ana: Employee, bo: Employee
) -> None:
    merger.twin(ana)
    with merger.open() as site:
        passes.sync(site)
        for one in (ana, bo):
            merger.rig.world.okta.directory.remove_from_group(one.id, "Engineering")
        merger.rig.clock.advance(minutes=1)
        fault = merger.acquired.break_("GET /api/v1/users", "500")
        outlook = passes.sync(site)
        assert fault.fired
        assert [name for name, _ in outlook.failures] == ["acquired"]
        assert person_of(site, login(ana)).unsure == "acquired could not be read whole"
    assert "Engineering" in merger.rig.looker_groups(login(ana)), "and acquired still has her in it"
    assert "Engineering" not in merger.rig.looker_groups(login(bo)), "who is not there is no business of it"


def test_while_a_source_was_never_read_nobody_loses_anything(merger: Merger, ana: Employee) -> None:
    with merger.open() as site:
        read(site, "okta")
        assert {p.unsure for p in gather(site).people.values()} == {"acquired was never read whole"}
        read(site, "acquired")
        assert person_of(site, login(ana)).unsure == ""
        merger.rig.clock.advance(hours=3)
        read(site, "okta")
        assert person_of(site, login(ana)).unsure == "", "whoever is not there"
        assert {p.unsure for p in gather(site).people.values()} >= {"", "acquired could not be read whole"}


def test_who_is_missing_from_two_whole_reads_and_by_id_has_departed_where_that_is_final(
    merger: Merger, ana: Employee
) -> None:
    with merger.open() as opened:
        passes.sync(opened)
        site = final(opened, "okta")
        merger.rig.world.okta.directory.delete(ana.id)
        first = passes.sync(site)
        assert person_of(site, login(ana)).standing is Standing.HOLD
        assert states(first, login(ana)) == {(K.ABSENT_PERSON, State.WAITING)}
        passes.sync(site)
        person = person_of(site, login(ana))
        assert (person.standing, person.identities[0].status) == (Standing.DEPARTED, "gone")
        assert person.departure_marked
    assert merger.rig.looker_user(login(ana)).is_disabled


def test_where_absence_is_not_final_nobody_departs_by_it(merger: Merger, ana: Employee) -> None:
    with merger.open() as site:
        passes.sync(site)
        merger.rig.world.okta.directory.delete(ana.id)
        for _ in range(4):
            outlook = passes.sync(site)
        assert states(outlook, login(ana)) == {(K.ABSENT_PERSON, State.WAITING)}
    assert not merger.rig.looker_user(login(ana)).is_disabled


# --- questions -------------------------------------------------------------------------------------------------------


def test_who_has_the_same_address_is_asked_about_gets_no_account_and_loses_nothing(
    merger: Merger, ana: Employee
) -> None:
    with merger.open(gates={"create": "auto"}) as site:
        passes.sync(site)
        merger.rig.clock.advance(minutes=1)
        twin = merger.twin(ana, login="ana@acquired.example", employeeNumber="")
        merger.rig.world.okta.directory.remove_from_group(ana.id, "Engineering")
        before = merger.rig.mutations()
        outlook = passes.sync(site)
        assert merger.rig.mutations() == before
        assert kinds(outlook, login(ana)) == {K.DISPUTED_PERSON}
        (text,) = questions(site, ana)
        assert "only their email is the same" in text
        assert f"`trueup join okta:{ana.id} acquired:{twin}` if they are one person" in text
        assert f"`trueup split acquired:{twin} okta:{ana.id}` if they are not" in text
        assert (outlook.exit_code(), outlook.exit_code(strict=True)) == (0, 2)


def test_a_human_says_that_they_are_one(merger: Merger, ana: Employee) -> None:
    with merger.open() as site:
        passes.sync(site)
        twin = merger.twin(ana, login="ana@acquired.example", employeeNumber="")
        read_both(site)
        said = join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=False, note="met her")
        assert said.startswith(f"acquired:{twin} is {ana.profile['firstName']} ")
        assert questions(site, ana) == []
        assert len(person_of(site, login(ana)).identities) == 2
        (entry,) = merger.rig.trail(site, "people joined")
        assert (entry.facts["key"], entry.personal, entry.actor) == ("by hand", {"note": "met her"}, "operator:test")
        with pytest.raises(Refused, match="is this person's already"):
            join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=False, note="")


def test_a_human_says_that_they_are_not_and_is_not_asked_again(merger: Merger, ana: Employee) -> None:
    with merger.open() as site:
        twin = merger.twin(ana, login="ana@acquired.example", employeeNumber="")
        read_both(site)
        split_by_hand(site, f"acquired:{twin}", f"okta:{ana.id}", note="another Ana")
        read_both(site)
        assert questions(site, ana) == []
        merger.acquired.directory.rename(twin, employeeNumber=ana.profile["employeeNumber"])
        read_both(site)
        assert len(person_of(site, login(ana)).identities) == 1, "nor joined, whatever becomes the same"
        assert [e.personal["note"] for e in merger.rig.trail(site, "people parted")] == ["another Ana"]


def test_who_was_joined_by_mistake_is_split_and_never_joined_again_by_itself(merger: Merger, ana: Employee) -> None:
    twin = merger.twin(ana, login="ana@acquired.example")
    with merger.open() as site:
        passes.sync(site)
        said = split_by_hand(site, f"acquired:{twin}", "", note="")
        assert "stayed with them (looker " in said
        read_both(site)
        assert [i.source for i in person_of(site, login(ana)).identities] == ["okta"]
        assert questions(site, ana) == []
        with pytest.raises(Refused, match="is a person of its own already; say whose it is not"):
            split_by_hand(site, f"acquired:{twin}", "", note="")
        join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=False, note="after all")
        read_both(site)
        assert len(person_of(site, login(ana)).identities) == 2, "until a human says so"


def test_who_is_hired_again_inherits_nothing_until_a_human_has_said_that_it_is_them(
    merger: Merger, ana: Employee
) -> None:
    with merger.open(gates={"create": "auto", "enable": "auto"}) as site:
        passes.sync(site)
        merger.rig.world.okta.directory.deactivate(ana.id)
        passes.sync(site)
        twin = merger.twin(ana, login="ana@acquired.example", email="ana@acquired.example")
        outlook = passes.sync(site)
        assert merger.rig.looker_user(login(ana)).is_disabled, "who has departed loses access, in dispute or not"
        assert K.DISPUTED_PERSON in kinds(outlook, login(ana))
        assert not merger.rig.world.looker.instance.with_email("ana@acquired.example")
        assert ["one of those who have that employeeNumber has left or is gone" in t for t in questions(site, ana)] == [
            True
        ]
        join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=False, note="back again")
        person = person_of(site, "ana@acquired.example")
        assert (person.standing, person.departure_marked) == (Standing.DEPARTED, True), "the authority says departed"


def test_a_rehire_in_the_authority_itself_works_again_once_a_human_has_joined_them(
    merger: Merger, ana: Employee
) -> None:
    with merger.open(gates={"enable": "auto"}) as site:
        passes.sync(site)
        merger.rig.world.okta.directory.deactivate(ana.id)
        passes.sync(site)
        groups = [g for g in ana.groups if g != "Everyone"]
        profile = {k: v for k, v in ana.profile.items() if k not in ("firstName", "lastName", "login")}
        again = merger.rig.world.okta.directory.hire(
            "Ana", "Again", login="again@acme.example", groups=groups, **profile
        )
        merger.rig.clock.advance(minutes=2)
        passes.sync(site)
        assert merger.rig.looker_user(login(ana)).is_disabled
        join_by_hand(site, f"okta:{ana.id}", f"okta:{again}", secondary=False, note="")
        person = person_of(site, "again@acme.example")
        assert (person.standing, person.departure_marked) == (Standing.ACTIVE, False)
        passes.sync(site)
        assert [e.facts["status"] for e in merger.rig.trail(site, "departure mark lifted")] == ["ACTIVE"]
    assert not merger.rig.looker_user(login(ana)).is_disabled


def test_who_is_hired_again_at_the_only_source_gets_nothing_until_a_human_has_said_whether_it_is_them(
    merger: Merger, ana: Employee
) -> None:
    rig = merger.rig
    with rig.open("enforce", gates={"create": "auto", "enable": "auto"}) as site:
        passes.sync(site)
        rig.world.okta.directory.deactivate(ana.id)
        passes.sync(site)
        profile = {k: v for k, v in ana.profile.items() if k not in ("firstName", "lastName", "login", "email")}
        groups = [g for g in ana.groups if g != "Everyone"]
        directory = rig.world.okta.directory
        again = directory.hire(
            "Ana", "Again", login="a2@acme.example", email="a2@acme.example", groups=groups, **profile
        )
        outlook = passes.sync(site)
        assert K.DISPUTED_PERSON in kinds(outlook, login(ana))
        assert not rig.world.looker.instance.with_email("a2@acme.example")
        split_by_hand(site, f"okta:{again}", f"okta:{ana.id}", note="a number that was given to somebody else")
        outlook = passes.sync(site)
        assert K.DISPUTED_PERSON not in kinds(outlook, login(ana))
        assert rig.world.looker.instance.with_email("a2@acme.example")
        assert rig.looker_user(login(ana)).is_disabled


def test_nobody_gets_a_second_account_by_a_join(merger: Merger, ana: Employee, bo: Employee) -> None:
    """Bo stands in the other org with Ana's number, and both have a Looker account."""
    with merger.open() as site:
        passes.sync(site)
        merger.rig.world.okta.directory.delete(bo.id)
        twin = merger.twin(bo)
        read_both(site)
        join_by_hand(site, f"okta:{bo.id}", f"acquired:{twin}", secondary=False, note="moved over")
        merger.acquired.directory.rename(twin, employeeNumber=ana.profile["employeeNumber"])
        outlook = passes.sync(site)
        assert K.DISPUTED_PERSON in kinds(outlook, login(ana), login(bo))
        with pytest.raises(Refused, match="Both have an account in looker"):
            join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=False, note="")
        join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=True, note="")
        with site.begin() as session:
            ranks = [link.rank for link in people.links_of(session, person_of(site, login(ana)).id)
                     if link.target == "looker"]  # fmt: skip
    assert sorted(ranks) == ["primary", "secondary"]


MISTAKES: dict[str, tuple[Callable[[Site, Employee], object], str]] = {
    "nobody of that name": (
        lambda site, _: join_by_hand(site, "nobody", "okta:1", secondary=False, note=""), "Nobody is known as 'nobody'"
    ),
    "no such identity": (
        lambda site, ana: join_by_hand(site, f"okta:{ana.id}", "okta:nobody", secondary=False, note=""),
        "No source has an identity 'okta:nobody'",
    ),
    "two identities of that name": (
        lambda site, ana: split_by_hand(site, ana.profile["email"], "", note=""), "2 identities are known as"
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_at_the_keyboard_is_said(merger: Merger, ana: Employee, mistake: str) -> None:
    merger.twin(ana, employeeNumber="")
    make, said = MISTAKES[mistake]
    with merger.open() as site:
        read_both(site)
        with pytest.raises(Misconfigured, match=said):
            make(site, ana)


# --- what was decided and written before -----------------------------------------------------------------------------


NOW_THEY_ARE = {
    "the younger of two": ("okta", "they have turned out to be somebody whom we know already"),
    "the older of two": ("acquired", "an account there has turned out to be theirs"),
}


@pytest.mark.parametrize("case", NOW_THEY_ARE)
def test_a_plan_that_was_made_for_somebody_who_turned_out_to_be_another_creates_nothing(
    merger: Merger, ana: Employee, case: str
) -> None:
    known_first, said = NOW_THEY_ARE[case]
    twin = merger.twin(ana, login="ana2@acquired.example", email="ana2@acquired.example", employeeNumber="")
    with merger.open(gates={"create": "auto"}) as site:
        read(site, known_first)
        merger.rig.clock.advance(minutes=1)
        outlook = passes.plan(site)
        (plan,) = [plan for plan in outlook.plans if plan.target == "looker"]
        assert K.MISSING_ACCOUNT in kinds(outlook, "ana2@acquired.example")
        join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=False, note="")
        applied = apply(site, plan.run_id)
    assert any(said in problem for problem in applied.problems)
    assert not merger.rig.world.looker.instance.with_email("ana2@acquired.example")


def test_decisions_links_and_history_of_whoever_is_joined_are_the_others_from_then_on(
    merger: Merger, bo: Employee
) -> None:
    """Bo is at work at the acquired org first, has an account by that, and is found in the older org later."""
    merger.order = ("acquired", "okta")
    merger.rig.world.okta.directory.rename(bo.id, employeeNumber="later")
    twin = merger.twin(bo)
    with merger.open("review", joining={"trust": ["employeeNumber"], "propose": []}) as site:
        read(site, "acquired")
        merger.rig.clock.advance(minutes=1)
        passes.sync(site)
        younger = next(p for p in people_of(site, login(bo)) if p.identities[0].source == "okta").id
        older = next(p for p in people_of(site, login(bo)) if p.identities[0].source == "acquired").id
        merger.rig.world.okta.directory.rename(bo.id, employeeNumber=bo.profile["employeeNumber"])
        read(site, "okta")
        assert person_of(site, login(bo)).id == older
        with site.begin() as session:
            assert people.labels(session, [younger]) == {younger: people.labels(session, [older])[older]}
            assert [f.person_id for f in people.find(session, younger)] == [older]
            assert people.links_of(session, younger) == []
        assert {e.person_id for e in trail.newest(site, person=twin)} >= {older}
        merger.rig.world.okta.directory.deactivate(bo.id)
        merger.acquired.directory.deactivate(twin)


def test_whoever_was_two_people_is_forgotten_as_both_and_the_chain_verifies(merger: Merger, ana: Employee) -> None:
    twin = merger.twin(ana, employeeNumber="", login="ana2@acquired.example")
    with merger.open(gates={"create": "auto"}) as site:
        passes.sync(site)
        split_by_hand(site, f"acquired:{twin}", f"okta:{ana.id}", note="not the same")
        join_by_hand(site, f"okta:{ana.id}", f"acquired:{twin}", secondary=True, note="the same after all")
        merger.rig.world.okta.directory.deactivate(ana.id)
        merger.acquired.directory.deactivate(twin)
        passes.sync(site)
        passes.plan(site)
        trail.forget(site, login(ana))
        notes = [e.personal.get("note") for e in merger.rig.trail(site, "people joined", "people parted")]
        assert notes == ["(erased)", "(erased)"] or all("same" not in (n or "") for n in notes)
        with site.begin() as session:
            assert chain.verify(session).ok


# --- a source that is taken out --------------------------------------------------------------------------------------


def test_whom_only_a_former_source_knew_is_reviewed_and_neither_an_orphan_nor_locked_out(
    merger: Merger, ana: Employee, bo: Employee
) -> None:
    merger.twin(ana)
    with merger.open() as site:
        passes.sync(site)
    merger.order = ("acquired",)
    with merger.open() as site:
        outlook = passes.sync(site)
        assert states(outlook, login(bo)) == {(K.ABSENT_PERSON, State.WAITING)}
        (plan,) = [plan for plan in outlook.plans if plan.target == "looker"]
        told = [s for s in plan.sentences.values() if f"<{login(bo)}>" in s]
        assert any("known only from okta, which is no source any more" in s for s in told)
        assert kinds(outlook, login(ana)) == set(), "who is in both goes on as before"
    assert not merger.rig.looker_user(login(bo)).is_disabled


# --- what people are told --------------------------------------------------------------------------------------------


def test_why_tells_where_everything_comes_from(merger: Merger, ana: Employee) -> None:
    twin = merger.twin(ana, login="ana@acquired.example", department="")
    merger.acquired.directory.rename(twin, title="Boss")
    with merger.open() as site:
        read_both(site)
        found = why(site, login(ana)).steps["found"]
    known = [f"okta knows {login(ana)} as {ana.id}, status ACTIVE", f"acquired knows ana@acquired.example as {twin}"]
    assert all(any(line.startswith(one) for line in found) for one in known)
    joined = [line for line in found if line.endswith("; joined by employeeNumber")]
    assert len(joined) == 1, "whoever was read first is the older, and the other was joined to them"
    assert any("login comes from okta, email comes from okta, department comes from okta" in line for line in found)
    assert any("Engineering (acquired), Engineering (okta)" in line for line in found)
    assert "okta is the authority on who has departed" in found


def test_check_tells_of_keys_that_join_few(merger: Merger, ana: Employee) -> None:
    merger.twin(ana)
    merger.acquired.directory.hire("Bo", "Blank")
    merger.acquired.directory.hire("Cy", "Copy", employeeNumber=ana.profile["employeeNumber"])
    with merger.open() as site:
        warnings = check(site).warnings
    assert "joining: employeeNumber is filled for 2 of 4 people of acquired" in warnings
    assert "joining: employeeNumber is not unique in acquired: 2 people share theirs with somebody" in warnings
    assert not [w for w in warnings if "employeeNumber" in w and " okta" in w and "not unique" in w]
