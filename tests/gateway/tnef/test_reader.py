"""TNEF read: what other programs find in real streams is found, to the octet, and any octets are taken."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tnef import Packed, Party, Unpacked, names, unpack, unpacked_rtf
from gateway.tnef.properties import OBJECT, Key, Property, binary, number, text, time
from gateway.tnef.reader import MAX_DEPTH
from gateway.tnef.stream import DATA, DATE_SENT, FROM, MESSAGE_CLASS, SUBJECT, TITLE, Held, Stream, write

CORPUS = os.environ.get("GATEPOST_CORPUS")
START = b"\x78\x9f\x3e\x22\x01\x00"
SHOWN = b"\0" * 14


def streams() -> list[Path]:
    if CORPUS is None:
        print("GATEPOST_CORPUS is not set: no real streams were read")
        return []
    found = sorted((Path(CORPUS) / "tnef").rglob("*.tnef"))
    assert len(found) >= 15
    return found


def real(name: str) -> Unpacked:
    for path in streams():
        if path.stem == name:
            found = unpack(path.read_bytes())
            assert found is not None
            return found
    pytest.skip("GATEPOST_CORPUS is not set")


def read(stream: Stream) -> Unpacked:
    found = unpack(write(stream))
    assert found is not None
    return found


def test_the_files_that_another_program_lists_are_found() -> None:
    for path in streams():
        found = unpack(path.read_bytes())
        assert found is not None, path.name
        listed = {line for line in path.with_suffix(".list").read_text().splitlines() if "-body." not in line}
        names = {file.name for file in found.files}
        assert listed - {""} <= names, path.name
        for kind, body in (("html", found.html.encode()), ("rtf", found.rtf)):
            if f"{path.stem}-body.{kind}" in path.with_suffix(".list").read_text():
                assert body.lstrip()[:1] in (b"<", b"{"), (path.name, kind)


def test_every_file_has_the_octets_that_another_program_finds(tmp_path: Path) -> None:
    """The peer is Mark Simpson's tnef; an object's octets it gives with the interface's id in front."""
    interface = UUID("0000000b-0000-0000-c000-000000000046").bytes_le
    for path in streams():
        folder = tmp_path / path.stem
        folder.mkdir()
        subprocess.run(["tnef", "-C", folder, "-f", path], capture_output=True, check=False, timeout=60)
        theirs = {file.name: file.read_bytes().removeprefix(interface) for file in folder.iterdir()}
        found = unpack(path.read_bytes())
        assert found is not None
        assert {file.name: file.octets for file in found.files} == theirs, path.name


def test_who_and_what_real_streams_tell() -> None:
    read = real("unicode-mapi-attr-name")
    assert read.sender == Party("Marcin Jabłonkowski", "M.Jablonkowski@promedica24.pl")
    assert read.subject == "RE: [ZGLOSZENIE] THU#29044 Aktualizacja numerów w dodatkowych panelach"
    assert read.message_id == "<3471F010E285B744A23B2B4A58D1FD3851E817DA@PM24-EX1.pm24.local>"
    assert [(f.name, f.content_id) for f in read.files][1] == ("image001.png", "image001.png@01CF8C82.F4A2A290")
    assert read.message_class == "IPM.Note"
    assert [party.address for party in real("body").recipients] == ["3kuser2@brexchange.dolphinsearch.com"]
    assert real("triples").sender == Party("Martin Rakhmanoff", "rakhmanoff@sundance.spb.ru")
    assert real("triples").message_class == "IPM.Appointment"
    assert real("garbage-at-end").message_class == "Report.IPM.Note.IPNRN"
    told = real("long-filename")
    assert (told.subject, told.rtf_alone) == ("RE: license file", True)
    assert told.text.startswith("I've attached a temp. license for QARun 4.7.")


def test_a_stream_that_is_cut_off_gives_what_it_has() -> None:
    for path in streams():
        octets = path.read_bytes()
        if len(octets) < 20_000:
            for size in range(0, len(octets), 97):
                unpack(octets[:size])


@given(st.binary(max_size=300))
def test_any_octets_are_taken(octets: bytes) -> None:
    assert octets.startswith(START[:4]) or unpack(octets) is None
    unpack(START + octets)
    properties = len(octets).to_bytes(4, "little") + octets
    unpack(START + b"\x01\x03\x90\x06\x00" + len(properties).to_bytes(4, "little") + properties)
    assert len(unpacked_rtf(b"\0" * 4 + b"\xff\xff\xff\xff" + b"LZFu" + octets)) <= 16 * 1024 * 1024


def test_packed_rtf() -> None:
    """MS-OXRTFCP §3.1.1 and §3.1.2: the examples of the specification."""
    simple = "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    assert unpacked_rtf(bytes.fromhex(simple)) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    crossing = "1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0"
    assert unpacked_rtf(bytes.fromhex(crossing)) == b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"


@pytest.mark.parametrize(
    ("properties", "sender"),
    [
        ({0x0C1A: text("Ann"), 0x0C1E: text("SMTP"), 0x0C1F: text("ann@a.example")}, Party("Ann", "ann@a.example")),
        (
            {0x0C1A: text("Ann"), 0x0C1E: text("EX"), 0x0C1F: text("/o=A/cn=ann")},
            Party("Ann", "/o=A/cn=ann", "EX"),
        ),
        (
            {0x0C1A: text("Ann"), 0x0C1E: text("EX"), 0x0C1F: text("/o=A/cn=ann"), 0x5D01: text("ann@a.example")},
            Party("Ann", "ann@a.example"),
        ),
        (
            {0x0C1A: text("Bob"), 0x0C1F: text("bob@a.example"), 0x0042: text("Ann"), 0x0065: text("ann@a.example")},
            Party("Ann", "ann@a.example"),
        ),
        ({0x0C1A: text("Ann\r\nBcc: x")}, Party("Ann Bcc: x", "")),
        ({}, None),
    ],
)
def test_senders(properties: dict[Key, Property], sender: Party | None) -> None:
    assert read(Stream(properties=properties)).sender == sender


def test_what_older_streams_tell_by_attributes() -> None:
    """MS-OXTNEF §2.1.3.3: a TRP names the sender, a DTR the time, and the class goes by another name."""
    triple = (4).to_bytes(2, "little") + (50).to_bytes(2, "little") + (4).to_bytes(2, "little")
    address = b"SMTP:ann@a.example\0"
    stream = Stream(
        attributes=(
            (FROM, triple + len(address).to_bytes(2, "little") + b"Ann\0" + address),
            (SUBJECT, b"h\xe4llo\0"),
            (DATE_SENT, b"\xcf\x07\x0a\x00\x0d\x00\x16\x00\x2f\x00\x2c\x00\x03\x00"),
            (MESSAGE_CLASS, b"IPM.Microsoft Schedule.MtgReq\0"),
        )
    )
    found = read(stream)
    assert found.sender == Party("Ann", "ann@a.example")
    assert (found.subject, found.sent_at, found.message_class) == ("hällo", 939854864, "IPM.Schedule.Meeting.Request")


def enclosing(inner: bytes) -> Stream:
    value = Property(OBJECT, (names.MESSAGE_OBJECT.bytes_le + inner,))
    return Stream(attachments=(Held(SHOWN, ((TITLE, b"inner\0"),), {names.FILE_DATA: value}),))


def test_a_message_in_a_message() -> None:
    inner = Stream(
        properties={names.SUBJECT: text("inner"), names.BODY: text("in it"), names.SENT_AT: time(5)},
        attachments=(Held(SHOWN, ((TITLE, b"a.txt\0"), (DATA, b"octets"))),),
    )
    (file,) = read(enclosing(write(inner))).files
    assert (file.name, file.type) == ("inner", "message/rfc822")
    assert file.enclosed is not None
    assert (file.enclosed.subject, file.enclosed.text, file.enclosed.sent_at) == ("inner", "in it", 5)
    assert file.enclosed.files == (Packed("a.txt", "application/octet-stream", b"octets"),)


def test_messages_in_messages_have_an_end() -> None:
    octets = write(Stream(properties={names.SUBJECT: text("last")}))
    for _ in range(MAX_DEPTH + 3):
        octets = write(enclosing(octets))
    found = unpack(octets)
    depth = 0
    while found is not None and found.files:
        (file,) = found.files
        found, depth = file.enclosed, depth + 1
    assert depth == MAX_DEPTH + 1
    assert file.type == "application/octet-stream"


def test_the_page_is_in_the_code_page_that_the_properties_name() -> None:
    page = "<meta charset=iso-8859-1>ä"
    utf8: dict[Key, Property] = {names.HTML: binary(page.encode()), names.CODE_PAGE: number(65001)}
    assert read(Stream(properties=utf8)).html == page
    assert read(Stream(properties={names.HTML: binary(page.encode("cp1252"))})).html == page
    assert read(Stream(properties={names.HTML: text(page)})).html == page
