"""What becomes of an item: moved, marked, deleted or refused, and what mail it makes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.contract import Notify, Status
from tests.connectors.exchange.kit import Kit, mail
from tests.connectors.exchange.test_journal_report import INNER, report
from tests.peers.ews.process import EwsCompany, EwsPeer


def kit(tmp_path: Path, company: EwsCompany, rule: dict[str, Any] | None = None, **options: Any) -> Kit:
    made = Kit(tmp_path, company, **options)
    made.options["watch"] = [made.watched(**(rule or {}))]
    return made


def refused(company: EwsCompany) -> list[int]:
    return sorted(int(item.subject.split()[-1]) for item in company.items("ann", "Gatepost/Refused"))


async def taken(made: Kit, count: int) -> None:
    await made.until(lambda: len(made.intake.accepted) >= count, f"{count} are handed over")


@pytest.fixture
def plain(ews_peer: EwsPeer) -> EwsCompany:
    """An organisation that gives octets back as they came."""
    return ews_peer.organisation("ann", "bob", honest=False)


@pytest.mark.parametrize(
    ("rule", "left", "moved_to"),
    [
        ({}, [], "Gatepost/Taken"),
        ({"to": "Archive/2026/Out"}, [], "Archive/2026/Out"),
        ({"finish": "mark"}, [1], None),
        ({"finish": "delete"}, [], "deleteditems"),
        ({"finish": "delete", "purge": True}, [], None),
    ],
)
def test_a_taken_item_ends_as_its_rule_says(
    tmp_path: Path, plain: EwsCompany, rule: dict[str, Any], left: list[int], moved_to: str | None
) -> None:
    made = kit(tmp_path, plain, rule)
    plain.put("ann", mail(1, plain), folder="Out", categories=["Red"])

    async def body() -> None:
        async with made.running():
            await taken(made, 1)
            if moved_to is not None:
                await made.until(lambda: made.folder_of("ann", moved_to) == [1], f"it lies in {moved_to}")
            elif left:
                await made.until(lambda: len(plain.items("ann", "Out", whole=False)[0].categories) == 2, "it is marked")
            else:
                await made.until(lambda: plain.items("ann", "Out", whole=False) == [], "it is gone")
            await asyncio.sleep(2.5)  # two further looks at the folder

    asyncio.run(body())
    assert made.folder_of("ann", "Out") == left
    if left:
        assert set(plain.items("ann", "Out")[0].categories) == {"Red", "Gatepost taken"}
    if rule.get("purge"):
        assert plain.items("ann", "deleteditems") == []
    assert made.intake.calls == 1


def test_octets_envelope_and_origin(tmp_path: Path, plain: EwsCompany) -> None:
    made = kit(tmp_path, plain, {"envelope": "headers", "recipients": [], "trusted": True})
    octets = mail(1, plain, to="Olga <olga@out.example>, ben@out.example")
    plain.put("ann", octets, folder="Out", bcc=["eve@out.example"])

    async def body() -> None:
        async with made.running():
            await taken(made, 1)

    asyncio.run(body())
    (one,) = made.intake.accepted
    envelope = one.message.envelope
    assert one.octets == octets
    assert [each.address.value for each in envelope.recipients] == [
        "olga@out.example", "ben@out.example", "eve@out.example",
    ]  # fmt: skip
    assert envelope.reverse_path is not None
    assert envelope.reverse_path.value == plain.address("ann")
    assert envelope.origin.trusted
    assert envelope.origin.peer == plain.address("ann")
    assert envelope.origin.protocol == "EWS"


def test_a_large_message_comes_whole(tmp_path: Path, plain: EwsCompany) -> None:
    made = kit(tmp_path, plain)
    octets = mail(1, plain) + b"0123456789abcdef" * 4 * 350_000 + b"\r\n"  # over 20 MB
    plain.put("ann", octets, folder="Out")
    plain.put("ann", mail(2, plain), folder="Out")

    async def body() -> None:
        async with made.running():
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [1, 2], "both are taken")

    asyncio.run(body())
    assert next(one.octets for one in made.intake.accepted if one.mark == 1) == octets


def test_what_is_too_large_is_refused_and_the_others_go_on(tmp_path: Path, plain: EwsCompany) -> None:
    made = kit(tmp_path, plain, max_message_bytes=4096)
    plain.put("ann", mail(1, plain) + b"x" * 5000, folder="Out")
    plain.put("ann", mail(2, plain), folder="Out")

    async def body() -> None:
        async with made.running():
            await made.until(lambda: refused(plain) == [1], "the large one is refused")
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [2], "the other one is taken")

    asyncio.run(body())
    (item,) = plain.items("ann", "Gatepost/Refused")
    assert item.categories == ("Gatepost refused",)
    (why,) = [values["why"] for _, event, values in made.log.lines if event == "an item was not taken"]
    assert "5.3.4" in why


def test_a_refusal_for_good_keeps_the_item_where_it_is_found(tmp_path: Path, plain: EwsCompany) -> None:
    made = kit(tmp_path, plain, refused_folder="Post/Not taken")
    made.intake.rejects = Status("5.1.1", "nobody here")
    plain.put("ann", mail(1, plain), folder="Out")

    async def body() -> None:
        async with made.running():
            await made.until(lambda: made.folder_of("ann", "Post/Not taken") == [1], "it is refused")

    asyncio.run(body())
    assert made.counted["messages_refused"] == 1


def test_a_refusal_that_passes_leaves_the_item(tmp_path: Path, plain: EwsCompany) -> None:
    made = kit(tmp_path, plain)
    made.intake.rejects = Status("4.2.2", "not now")
    plain.put("ann", mail(1, plain), folder="Out")

    async def body() -> None:
        async with made.running():
            await made.until(lambda: made.intake.calls >= 2, "it is tried again")
            made.intake.rejects = None
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [1], "it is taken then")

    asyncio.run(body())


def test_an_item_that_is_no_message_is_refused_after_three_tries(tmp_path: Path, plain: EwsCompany) -> None:
    made = kit(tmp_path, plain)
    plain.put("ann", mail(1, plain), folder="Out")
    for nth in (1, 2, 3):
        plain.fault("GetItem", "refuse", nth=nth, code="ErrorMimeContentConversionFailed")

    async def body() -> None:
        async with made.running():
            await made.until(lambda: refused(plain) == [1], "it is refused")

    asyncio.run(body())
    assert made.intake.calls == 0


def test_an_item_that_is_gone_meanwhile_is_done(tmp_path: Path, plain: EwsCompany) -> None:
    made = kit(tmp_path, plain)
    plain.put("ann", mail(1, plain), folder="Out")
    plain.put("ann", mail(2, plain), folder="Out")
    plain.fault("GetItem", "refuse", nth=1, code="ErrorItemNotFound")

    async def body() -> None:
        async with made.running() as connector:
            await made.until(
                lambda: len(plain.log("SyncFolderItems", whole=False)) >= 3, "the folder is looked at again"
            )
            assert connector.health().ok

    asyncio.run(body())
    assert made.intake.calls == 0


def test_drafts_stay(tmp_path: Path, plain: EwsCompany) -> None:
    made = kit(tmp_path, plain)
    plain.put("ann", mail(1, plain), folder="Out", is_draft=True)
    plain.put("ann", mail(2, plain), folder="Out")

    async def body() -> None:
        async with made.running():
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [2], "the sent one is taken")
            await asyncio.sleep(1.5)

    asyncio.run(body())
    assert made.folder_of("ann", "Out") == [1]


def test_journal_reports_are_unwrapped(tmp_path: Path, plain: EwsCompany) -> None:
    made = kit(tmp_path, plain, {"journal": True, "recipients": []})
    text = "Sender: tony@x.example\nMessage-ID: <1@x>\nTo: b@y.example\nBcc: c@y.example, Expanded: all@y.example\n"
    plain.put("ann", b"".join(report(text).chunks()), folder="Out")
    plain.put("ann", mail(7, plain), folder="Out")

    async def body() -> None:
        async with made.running():
            await made.until(lambda: len(plain.items("ann", "Gatepost/Taken", whole=False)) == 1, "the report is taken")
            await made.until(lambda: refused(plain) == [7], "what is no report is refused")

    asyncio.run(body())
    (one,) = made.intake.accepted
    assert one.octets == INNER
    assert [each.address.value for each in one.message.envelope.recipients] == ["b@y.example", "c@y.example"]
    assert one.message.envelope.recipients[1].orcpt == "rfc822;all@y.example"


@pytest.mark.parametrize(("senders", "is_unwrapped"), [([], False), (["journal@contoso.example"], True)])
def test_elsewhere_a_journal_report_is_believed_of_its_senders_alone(
    tmp_path: Path, plain: EwsCompany, senders: list[str], is_unwrapped: bool
) -> None:
    made = kit(tmp_path, plain, journal_senders=senders)
    octets = b"".join(report("Sender: tony@x.example\nTo: b@y.example\n").chunks())
    octets = b"Return-Path: <journal@contoso.example>\r\n" + octets
    plain.put("ann", octets, folder="Out")

    async def body() -> None:
        async with made.running():
            await taken(made, 1)

    asyncio.run(body())
    (one,) = made.intake.accepted
    assert (one.octets == INNER) is is_unwrapped
    (recipient,) = one.message.envelope.recipients
    assert recipient.address.value == ("b@y.example" if is_unwrapped else "ann@target.example")


@pytest.mark.parametrize("keep", [False, True])
def test_the_organisations_own_fields_stay_inside(tmp_path: Path, plain: EwsCompany, keep: bool) -> None:
    made = kit(tmp_path, plain, organization_headers="keep" if keep else "strip")
    plain.put("ann", b"X-MS-Exchange-Organization-SCL: -1\r\n" + mail(1, plain), folder="Out")

    async def body() -> None:
        async with made.running():
            await taken(made, 1)

    asyncio.run(body())
    assert (b"X-MS-Exchange-Organization-SCL" in made.intake.accepted[0].octets) is keep
    assert made.intake.accepted[0].octets.endswith(mail(1, plain))


@pytest.mark.parametrize(("trust", "expected"), [(True, Notify.NEVER), (False, Notify.UNSET)])
def test_reports_that_a_sender_does_not_want_are_not_made(
    tmp_path: Path, plain: EwsCompany, trust: bool, expected: Notify
) -> None:
    made = kit(tmp_path, plain, trust_suppression=trust)
    plain.put("ann", mail(1, plain, more=["X-Auto-Response-Suppress: All"]), folder="Out")

    async def body() -> None:
        async with made.running():
            await taken(made, 1)

    asyncio.run(body())
    assert made.intake.accepted[0].message.envelope.recipients[0].notify == expected


def test_a_file_names_further_mailboxes(tmp_path: Path, plain: EwsCompany) -> None:
    lines = ["mailbox,folder,finish,recipients", f"{plain.address('bob')},Post,delete,a@t.example b@t.example"]
    (tmp_path / "mailboxes.csv").write_text("\n".join(lines) + "\n")
    made = kit(tmp_path, plain, mailboxes_file="mailboxes.csv")
    plain.put("bob", mail(1, plain), folder="Post")
    plain.put("ann", mail(2, plain), folder="Out")

    async def body() -> None:
        async with made.running():
            await taken(made, 2)

    asyncio.run(body())
    (one,) = [one for one in made.intake.accepted if one.mark == 1]
    assert [each.address.value for each in one.message.envelope.recipients] == ["a@t.example", "b@t.example"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("folder\ninbox\n", "line 1: found the columns folder, expected mailbox and others of"),
        ("mailbox,colour\na@x.example,red\n", "line 1: found the columns mailbox, colour"),
        ("mailbox\nann\n", "line 2: mailbox: "),
        ("mailbox,finish\na@x.example,burn\n", "line 2: finish: "),
        ("mailbox,folder\na@x.example\n", "line 2: it has not as many columns"),
        ("mailbox,purge\na@x.example,perhaps\n", "line 2: purge: "),
        ("mailbox\na@x.example\na@x.example\n", "watched twice"),
    ],
)
def test_a_wrong_file_is_told_by_line(tmp_path: Path, plain: EwsCompany, text: str, says: str) -> None:
    (tmp_path / "mailboxes.csv").write_text(text)
    made = kit(tmp_path, plain, mailboxes_file="mailboxes.csv").make()

    async def body() -> None:
        with pytest.raises(ValueError, match=says):
            await made.start()

    asyncio.run(body())


def test_a_server_that_is_away_is_told_and_taken_up(tmp_path: Path, ews_peer: EwsPeer, plain: EwsCompany) -> None:
    made = kit(tmp_path, plain)
    plain.put("ann", mail(1, plain), folder="Out")
    ews_peer.refuse(True)

    async def body() -> None:
        async with made.running() as connector:
            await made.until(lambda: not connector.health().ok, "it is told")
            await asyncio.to_thread(ews_peer.refuse, False)
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [1], "it is taken up again")
            await made.until(lambda: connector.health().ok, "all is well again")

    asyncio.run(body())


@pytest.mark.parametrize("operation", ["FindFolder", "SyncFolderItems", "GetItem", "MoveItem", "*"])
def test_it_stops_in_time_though_the_server_never_answers(tmp_path: Path, plain: EwsCompany, operation: str) -> None:
    made = kit(tmp_path, plain)
    plain.put("ann", mail(1, plain), folder="Out")
    plain.fault(operation, "never")
    took = []

    async def body() -> None:
        connector = made.make()
        await connector.start()
        task = asyncio.create_task(connector.run(made.intake))
        await made.until(lambda: any(one.answered == "never" for one in plain.log(whole=False)), "a request hangs")
        began = asyncio.get_running_loop().time()
        task.cancel()
        await asyncio.wait((task,), timeout=10)
        assert task.done()
        await connector.stop()
        took.append(asyncio.get_running_loop().time() - began)

    asyncio.run(body())
    assert took[0] <= made.make().context.stop_s + 1
    plain.calm()


def test_what_is_committed_holds_up_no_other_however_slowly_it_ends(tmp_path: Path, plain: EwsCompany) -> None:
    """Two have a place at a time; eight are taken while the server moves none of them, and each once all the same."""
    made = kit(tmp_path, plain, max_in_flight=2)
    numbers = list(range(1, 9))
    for number in numbers:
        plain.put("ann", mail(number, plain), folder="Out")
    plain.fault("MoveItem", "never")

    async def body() -> None:
        async with made.running():
            await made.until(lambda: sorted(made.intake.marks) == numbers, "all are taken")
            assert made.intake.in_flight_peak <= 2
            assert made.folder_of("ann", "Out") == numbers
            await asyncio.to_thread(plain.calm)
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == numbers, "all are moved")

    asyncio.run(body())
    assert sorted(made.intake.marks) == numbers


def test_several_messages_over_4_mib_come_one_after_the_other(tmp_path: Path, plain: EwsCompany) -> None:
    made = kit(tmp_path, plain)
    for number in (1, 2, 3):
        plain.put("ann", mail(number, plain) + b"x" * (5 * 1024 * 1024), folder="Out")
    plain.put("ann", mail(4, plain), folder="Out")

    async def body() -> None:
        made.intake.gate.clear()
        async with made.running():
            await made.until(lambda: made.intake.in_flight >= 1, "one is handed over")
            await asyncio.sleep(1)
            assert made.intake.in_flight == 1
            made.intake.gate.set()
            await made.until(lambda: made.folder_of("ann", "Gatepost/Taken") == [1, 2, 3, 4], "all are taken")

    asyncio.run(body())
