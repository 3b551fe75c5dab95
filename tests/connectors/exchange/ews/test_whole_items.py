"""Appointments, contacts and tasks: whole between Exchange organisations, as iCalendar and vCard otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange import calendars
from connectors.exchange.calendars import Task
from connectors.exchange.ews import Ews
from connectors.exchange.ews.calls.folders import FindFolder, read_folders
from connectors.exchange.ews.calls.paths import Place
from connectors.exchange.ews.config import EwsConfig
from connectors.exchange.ews.shelf import ARRIVING, NATIVE
from connectors.exchange.properties import DELIVERY, PROPERTY_SET
from connectors.exchange.store import ExchangeMailbox
from gateway.contract import Appended, Content, Form, ItemState, Kind, NewItem, Status, StoreFault
from tests.connectors.exchange.ews.kit import context, mail
from tests.peers.ews.process import EwsCompany, EwsPeer

KEY = f"{PROPERTY_SET}/{DELIVERY}"
EVENT = (
    b"BEGIN:VCALENDAR\r\nPRODID:-//Acme//Calendar//EN\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1@acme.example\r\n"
    b"DTSTAMP:20261124T010203Z\r\nDTSTART:20261201T090000Z\r\nDTEND:20261201T100000Z\r\nSUMMARY:Budget\r\n"
    b"END:VEVENT\r\nEND:VCALENDAR\r\n"
)
CARD = b"BEGIN:VCARD\r\nVERSION:3.0\r\nN:Lee;Ann\r\nFN:Ann Lee\r\nEMAIL:ann@acme.example\r\nEND:VCARD\r\n"


@asynccontextmanager
async def opened(company: EwsCompany, name: str, folder: Path) -> AsyncIterator[ExchangeMailbox]:
    made = Ews("ews", EwsConfig(**company.access()), context(folder))
    await made.start()
    try:
        async with made.open(company.address(name)) as box:
            yield box
    finally:
        await made.stop()


async def folder_of(box: ExchangeMailbox, kind: Kind) -> str:
    return next(folder.id for folder in await box.folders() if folder.kind == kind)


async def states(box: ExchangeMailbox, folder: str) -> list[ItemState]:
    return list((await box.changes(folder, None)).items)


async def octets(box: ExchangeMailbox, id: str, form: Form) -> bytes:
    ((_, content),) = [pair async for pair in box.fetch([id], form)]
    assert isinstance(content, Content), content
    return content.octets()


async def test_every_kind_of_folder_is_told_and_can_be_made(company: EwsCompany, tmp_path: Path) -> None:
    async with opened(company, "ann", tmp_path) as box:
        kinds: tuple[Kind, ...] = ("mail", "calendar", "contacts", "tasks")
        for kind in kinds:
            made = await box.create_folder((f"More {kind}",), kind)
            told = {folder.id: folder for folder in await box.folders()}
            assert told[made.id].kind == kind
        assert {folder.kind for folder in told.values()} >= set(kinds)
        with pytest.raises(StoreFault) as refused:
            await box.create_folder(("More calendar",), "mail")
        assert refused.value.status.code == "5.6.0"


@pytest.mark.parametrize(
    ("kind", "form", "content", "item_class"),
    [("calendar", "ical", EVENT, "IPM.Appointment"), ("contacts", "vcard", CARD, "IPM.Contact")],
)
async def test_an_object_goes_in_and_comes_out(
    company: EwsCompany, tmp_path: Path, kind: Kind, form: Form, content: bytes, item_class: str
) -> None:
    async with opened(company, "ann", tmp_path) as box:
        folder = await folder_of(box, kind)
        (made,) = await box.append(folder, [NewItem("k.1", Content(content), kind=kind, form=form)])
        assert isinstance(made, Appended)
        (state,) = await states(box, folder)
        assert (state.id, state.kind, state.item_class) == (made.id, kind, item_class)
        assert "draft" not in state.flags
        assert await box.find(folder, ["k.1"]) == {"k.1": made.id}
        came = await octets(box, made.id, form)
        assert came == content
        other: Form = "vcard" if form == "ical" else "ical"
        ((_, refused),) = [pair async for pair in box.fetch([made.id], other)]
        assert isinstance(refused, Status)
        assert refused.code == "5.6.3"
    body = company.log("CreateItem")[0].body
    assert b'SendMeetingInvitations="SendToNone"' in body, "nobody is invited anew"


TASK = calendars.write(
    Task(
        "Write the report, äöü", "First line\nand; more", date(2026, 12, 1), date(2026, 12, 24), None, 40, "InProgress",
        "High", "Private", ("red", "with, a comma"), "u1",
    )
)  # fmt: skip


async def test_a_task_goes_in_and_comes_out_field_by_field(company: EwsCompany, tmp_path: Path) -> None:
    async with opened(company, "ann", tmp_path) as box:
        folder = await folder_of(box, "tasks")
        again = TASK.replace(b"STATUS:", b"RRULE:FREQ=DAILY\r\nSTATUS:")
        items = [
            NewItem(f"k.{n}", Content(content), kind="tasks", form="ical") for n, content in enumerate((TASK, again))
        ]
        made = await box.append(folder, items)
        assert isinstance(made[0], Appended)
        assert made[1] == Status("5.6.3", "the store has no such form of the item"), "its rule would be lost"
        (state,) = await states(box, folder)
        assert (state.kind, state.item_class, state.keywords) == ("tasks", "IPM.Task", {"red", "with, a comma"})
        assert await box.find(folder, ["k.0"]) == {"k.0": made[0].id}
        came = calendars.read(await octets(box, made[0].id, "ical"))
        sent = calendars.read(TASK)
        assert came is not None
        assert sent is not None
        assert replace(came, uid="") == replace(sent, uid="")


async def test_items_go_whole_from_one_organisation_to_another(ews_peer: EwsPeer, tmp_path: Path) -> None:
    """What the second has is what the first had: octets, class, dates, marks and properties, and our key beside."""
    acme, bolt = ews_peer.organisation("ann"), ews_peer.organisation("ann")
    extended = {"0x1090": "2", "{00062008-0000-0000-c000-000000000046}/0x8502": "2026-12-01T09:00:00Z"}
    plans = {
        "calendar": (EVENT, "IPM.Appointment"),
        "contacts": (CARD, "IPM.Contact"),
        "tasks": (mail("a task"), "IPM.Task"),
        "inbox": (mail("a mail"), "IPM.Note"),
    }
    for folder, (content, item_class) in plans.items():
        acme.put(
            "ann", content, folder=folder, item_class=item_class, categories=["red"], received_at=1_600_000_000,
            is_read=True, extended=extended,
        )  # fmt: skip
    async with opened(acme, "ann", tmp_path) as box, opened(bolt, "ann", tmp_path) as other:
        for folder in await box.folders():
            target = next(each for each in await other.folders() if each.path == folder.path)
            found = await states(box, folder.id)
            items = [
                NewItem(f"k.{n}", Content(await octets(box, state.id, "native")), kind=state.kind, form="native")
                for n, state in enumerate(found)
            ]
            made = await other.append(target.id, items)
            assert all(isinstance(each, Appended) for each in made)
            for before, after in zip(found, await states(other, target.id), strict=True):
                assert (before.flags, before.keywords, before.received_at, before.item_class, before.kind) == (
                    after.flags, after.keywords, after.received_at, after.item_class, after.kind,
                )  # fmt: skip
    for folder in plans:
        (before_item,), (after_item,) = acme.items("ann", folder), bolt.items("ann", folder)
        assert after_item.octets == before_item.octets
        assert after_item.item_class == before_item.item_class
        assert after_item.properties == {**before_item.properties, KEY: "k.0"}


async def test_what_cannot_be_uploaded_does_not_stop_the_others(company: EwsCompany, tmp_path: Path) -> None:
    company.put("ann", mail("a mail"))
    async with opened(company, "ann", tmp_path) as box:
        inbox = await folder_of(box, "mail")
        inbox = next(folder.id for folder in await box.folders() if folder.role == "inbox")
        (state,) = await states(box, inbox)
        whole = await octets(box, state.id, "native")
        bad = NewItem("k.1", Content(b"no export"), form="native")
        good = NewItem("k.2", Content(whole), form="native")
        made = await box.append(inbox, [bad, good])
        assert isinstance(made[0], Status)
        assert isinstance(made[1], Appended)
        assert await box.find(inbox, ["k.1", "k.2"]) == {"k.2": made[1].id}


@pytest.mark.parametrize("operation", ["UploadItems", "UpdateItem", "MoveItem"])
@pytest.mark.parametrize("fault", ["cut_before", "cut_after", "refuse"])
async def test_an_upload_that_breaks_off_is_not_there_or_is_found(
    company: EwsCompany, tmp_path: Path, operation: str, fault: Any
) -> None:
    """It comes into the folder with its key, or not at all: who tries again doubles nothing."""
    company.put("ann", mail("a mail"), folder="sentitems")
    async with opened(company, "ann", tmp_path) as box:
        folders = {folder.role: folder.id for folder in await box.folders()}
        (state,) = await states(box, folders["sent"])
        item = NewItem("k.1", Content(await octets(box, state.id, "native")), form="native")
        company.fault(
            operation, fault, nth=1, **({"code": "ErrorMailboxStoreUnavailable"} if fault == "refuse" else {})
        )
        if fault == "refuse":
            assert isinstance((await box.append(folders["inbox"], [item]))[0], Status)
        else:
            with pytest.raises(StoreFault) as lost:
                await box.append(folders["inbox"], [item])
            assert lost.value.unknown
        there = await box.find(folders["inbox"], ["k.1"])
        assert bool(there) == (operation == "MoveItem" and fault == "cut_after")
        assert len(company.items("ann")) == len(there)
        if not there:
            (made,) = await box.append(folders["inbox"], [item])
            assert isinstance(made, Appended)
        (found,) = company.items("ann")
        assert found.properties[KEY] == "k.1"
        assert ARRIVING not in {folder.path[0] for folder in await box.folders()}, "nobody sees it"
        answer = await box._shelf._ask(company.address("ann"), FindFolder, Place(name="root"), ARRIVING)  # type: ignore[attr-defined]
        assert [row.total for row in read_folders(answer[0].element)] == [0], "nothing is left in it"


async def test_changes_survive_a_flag_that_another_set_meanwhile(company: EwsCompany, tmp_path: Path) -> None:
    """An update of a version that is not the newest is refused, and told item by item."""
    ids = [company.put("ann", mail(str(n))) for n in range(2)]
    async with opened(company, "ann", tmp_path) as box:
        company.fault("UpdateItem", "refuse", nth=1, code="ErrorIrresolvableConflict")
        answers = await box.set_flags(ids, frozenset(("flagged",)), frozenset())
        assert [isinstance(each, Status) and each.code for each in answers] == ["4.3.0", "4.3.0"]
        answers = await box.set_flags(ids, frozenset(("flagged", "answered")), frozenset())
        assert all(isinstance(each, str) and not isinstance(each, Status) for each in answers)
        answers = await box.set_flags(ids, frozenset(("forwarded",)), frozenset(("flagged",)))
        inbox = next(folder.id for folder in await box.folders() if folder.role == "inbox")
        assert [state.flags for state in await states(box, inbox)] == [{"forwarded"}] * 2
        await box.set_flags(ids[:1], frozenset(), frozenset(("forwarded",)))
        assert [state.flags for state in await states(box, inbox)] == [set(), {"forwarded"}]


async def test_a_change_of_the_read_mark_alone_is_told_whole(company: EwsCompany, tmp_path: Path) -> None:
    id = company.put("ann", mail("a"), categories=["red"], received_at=1_600_000_000)
    async with opened(company, "ann", tmp_path) as box:
        inbox = next(folder.id for folder in await box.folders() if folder.role == "inbox")
        token = (await box.changes(inbox, None)).token
        company.alter("ann", id, is_read=True)
        (state,) = (await box.changes(inbox, token)).items
        assert (state.flags, state.keywords, state.received_at) == ({"seen"}, {"red"}, 1_600_000_000)


def test_the_native_form_has_its_own_name() -> None:
    assert NATIVE == "exchange-fts"
