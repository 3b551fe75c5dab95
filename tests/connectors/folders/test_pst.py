"""Outlook's files, by a stand-in for libpff: what becomes of folders, items and their parts, and of a reader that dies.

The stand-in has libpff's shape and gives what a description says, so that these tests need neither libpff nor a file of
Outlook's, which may not be passed on.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from connectors.folders import Folders
from gateway.contract import Content, Status, StoreFault
from tests.connectors.folders.into_dovecot import made

STAND_IN = """
import json, os, time

class Thing:
    def __init__(self, said): self.__dict__.update(said); self.said = said
class Entry(Thing): pass
class Records:
    def __init__(self, rows): self.rows = rows
    def __iter__(self): return iter(self.rows)
def records(of):
    return [Thing({"entries": [Entry({"entry_type": int(k, 16), "value_type": t, "data": bytes.fromhex(v)})
                               for k, (t, v) in row.items()]}) for row in of]
class Attachment:
    def __init__(self, said):
        self.record_sets = records([said["properties"]]); self.octets = bytes.fromhex(said.get("octets", ""))
        self.size = len(self.octets); self.items = said.get("items", []); self.number_of_sub_items = len(self.items)
    def read_buffer(self, size): return self.octets[:size]
    def get_sub_item(self, at): return Message(self.items[at])
class Message:
    def __init__(self, said):
        if said.get("does") == "fail": raise OSError("libpff can not")
        self.identifier = said["id"]; self.record_sets = records([said["properties"]]); self.said = said
        self.rtf_body = said.get("rtf", "").encode() or None
        self.recipients = Thing({"record_sets": records(said.get("recipients", []))})
        self.number_of_attachments = len(said.get("attachments", []))
    def get_attachment(self, at):
        if self.said.get("does") == "die": os._exit(11)
        return Attachment(self.said["attachments"][at])
class Folder:
    def __init__(self, said):
        self.identifier = said["id"]; self.name = said["name"]; self.said = said
        self.record_sets = records([said.get("properties", {})])
        self.number_of_sub_messages = len(said.get("messages", []))
        self.number_of_sub_folders = len(said.get("folders", []))
    def get_sub_folder(self, at): return Folder(self.said["folders"][at])
    def get_sub_message(self, at): return Message(self.said["messages"][at])
class file:
    ascii_codepage = b"cp1252"
    def open(self, path):
        said = open(path, "rb").read()
        if not said.startswith(b"{"): raise OSError("invalid file signature")
        self.root_folder = Folder(json.loads(said))
"""


def text(value: str) -> tuple[int, str]:
    return 0x1F, value.encode("utf-16-le").hex()


def number(value: int) -> tuple[int, str]:
    return 0x3, struct.pack("<i", value).hex()


def binary(value: bytes) -> tuple[int, str]:
    return 0x102, value.hex()


def when(seconds: float) -> tuple[int, str]:
    return 0x40, struct.pack("<q", int((seconds + 11_644_473_600) * 1e7)).hex()


HEADERS = (
    "Received: from mx by here; Fri, 14 Jul 2017 02:40:00 +0000\r\nFrom: ann@a.example\r\nTo: bob@b.example\r\n"
    "Subject: =?utf-8?q?S=C3=BCd?=\r\nMessage-ID: <1@a.example>\r\nMIME-Version: 1.0\r\n"
    'Content-Type: multipart/mixed;\r\n boundary="gone"\r\n\r\n'
)


def mail(id: int, **more: Any) -> dict[str, Any]:
    properties = {
        "001a": text("IPM.Note"),
        "0037": text("\1\4Re: S"),
        "0e06": when(1_500_000_000),
        "0e07": number(1),
        "1000": text("plain text\r\n"),
        "1035": text(f"<{id}@a.example>"),
    }
    said = {"id": id, "properties": properties | more.pop("properties", {})}
    return said | more


RECIPIENTS = [
    {"3001": text("Bob"), "3002": text("SMTP"), "3003": text("bob@b.example"), "0c15": number(1)},
    {"3001": text("Cy"), "3002": text("EX"), "3003": text("/o=x"), "39fe": text("cy@c.example"), "0c15": number(2)},
    {"3001": text("Di"), "3002": text("SMTP"), "3003": text("di@d.example"), "0c15": number(3)},
]  # fmt: skip
FILES = [
    {"properties": {"3707": text("Größe.pdf"), "370e": text("application/pdf"), "3705": number(1)},
     "octets": "00ff" * 9},
    {"properties": {"3707": text("letter"), "3705": number(5)},
     "items": [mail(77, properties={"0037": text("inner"), "0c1a": text("Eve"), "0c1e": text("SMTP"),
                                    "0c1f": text("e@e.example")})]},
]  # fmt: skip

INBOX = {
    "id": 0x8022,
    "name": "Inbox",
    "properties": {"3613": text("IPF.Note")},
    "messages": [
        mail(0x200024, properties={"007d": text(HEADERS), "1013": binary("<p>Süd</p>".encode()),
                                   "3fde": number(65001)}),
        mail(0x200044, properties={"0e07": number(8), "1081": number(102), "1090": number(2),
                                   "0c1a": text("Ann"), "0c1e": text("SMTP"), "0c1f": text("ann@a.example")},
             recipients=RECIPIENTS, attachments=FILES),
        mail(0x200064, properties={"001a": text("IPM.Appointment")}),
        mail(0x200084, does="fail"),
        mail(0x2000A4, does="die", attachments=FILES),
        mail(0x2000C4, properties={"1000": text(""), "1081": number(104)}, rtf="{\\rtf1\\ansi rich \\b text\\b0}"),
    ],
}  # fmt: skip
FILE = {
    "id": 0x122,
    "name": "",
    "folders": [
        {"id": 0x2223, "name": "SPAM Search Folder 2"},
        {"id": 0x8002, "name": "Top of Personal Folders", "folders": [
            INBOX,
            {"id": 0x8042, "name": "Calendar", "properties": {"3613": text("IPF.Appointment")}, "messages": [mail(5)]},
            {"id": 0x8062, "name": "Proj/ects", "folders": [{"id": 0x8082, "name": "2026", "messages": []}]},
        ]},
    ],
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    (tmp_path / "libpff").mkdir()
    (tmp_path / "libpff" / "pypff.py").write_text(STAND_IN)
    (tmp_path / "anna.pst").write_text(json.dumps(FILE))
    (tmp_path / "broken.pst").write_bytes(b"no file of Outlook's")
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "libpff"))
    return made(Folders, {"format": "pst", "path": str(tmp_path / "{mailbox}.pst")}, tmp_path / "state")


def test_folders_of_mail_are_told_and_no_others(store: Folders) -> None:
    async def body() -> None:
        async with store.open("anna") as opened:
            folders = await opened.folders()
            assert [(folder.path, folder.role, folder.total) for folder in folders] == [
                (("Inbox",), "inbox", 6),
                (("Proj/ects",), None, 0),
                (("Proj/ects", "2026"), None, 0),
            ]

    asyncio.run(body())


def test_items_are_messages_again_and_what_cannot_be_read_stops_no_other(store: Folders, tmp_path: Path) -> None:
    async def body() -> None:
        async with store.open("anna") as opened:
            inbox = (await opened.folders())[0].id
            states = (await opened.changes(inbox, None)).items
            flags = [set(state.flags) for state in states]
            assert flags == [{"seen"}, {"draft", "answered", "flagged"}, set(), {"seen"}, {"seen", "forwarded"}]
            assert states[0].message_id == "<2097188@a.example>"
            assert states[0].received_at == 1_500_000_000
            found = [content async for _, content in opened.fetch([state.id for state in states])]
            again = [content async for _, content in opened.fetch([state.id for state in states])]
        assert [type(each) for each in found] == [Content, Content, Status, Status, Content]
        assert [each.octets() for each in found if isinstance(each, Content)] == [
            each.octets() for each in again if isinstance(each, Content)
        ]
        read = [
            email.message_from_bytes(each.octets(), policy=email.policy.default)
            for each in found
            if isinstance(each, Content)
        ]
        _as_it_came(read[0])
        _without_headers(read[1])
        _of_rich_text(read[2])
        assert list((tmp_path / "state").iterdir()) == []

    asyncio.run(body())


def _of_rich_text(read: Any) -> None:
    assert "rich text" in read.get_body().get_content()


def _as_it_came(read: Any) -> None:
    assert (read["subject"], read["message-id"]) == ("Süd", "<1@a.example>")
    assert read["received"].startswith("from mx by here")
    assert read.get_content_type() == "multipart/alternative"
    assert [part.get_content().strip() for part in read.iter_parts()] == ["plain text", "<p>Süd</p>"]


def _without_headers(read: Any) -> None:
    assert read["subject"] == "Re: S"
    assert [read["from"].addresses[0].addr_spec] == ["ann@a.example"]
    assert [each.addr_spec for each in read["to"].addresses] == ["bob@b.example"]
    assert [each.addr_spec for each in read["cc"].addresses] == ["cy@c.example"]
    shown, file, inner = read.iter_parts()
    assert shown.get_content().strip() == "plain text"
    assert "filename*=utf-8''Gr%C3%B6%C3%9Fe.pdf" in file.as_string()
    assert file.get_content_type() == "application/pdf"
    assert file.get_payload(decode=True) == bytes.fromhex("00ff" * 9)
    assert inner.get_content()["subject"] == "inner"
    assert inner.get_content()["from"].addresses[0].addr_spec == "e@e.example"


def test_what_is_no_such_file_is_a_fault_in_words(store: Folders) -> None:
    async def body() -> None:
        async with store.open("broken") as opened:
            with pytest.raises(StoreFault) as caught:
                await opened.folders()
        assert "invalid file signature" in str(caught.value.status)
        with pytest.raises(StoreFault) as away:
            async with store.open("nobody"):
                pass
        assert away.value.status.code == "4.2.1"

    asyncio.run(body())


def test_without_libpff_it_is_told_how_to_get_it(
    store: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libpff" / "pypff.py").write_text("raise ImportError('no libpff')")

    async def body() -> None:
        async with store.open("anna") as opened:
            with pytest.raises(StoreFault, match=r"gatepost\[pst\]"):
                await opened.folders()

    asyncio.run(body())
