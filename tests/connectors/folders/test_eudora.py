"""Eudora's folder as it was left on a disk: mailboxes, tables of contents, folders, attachments."""

from __future__ import annotations

import asyncio
import email
import email.policy
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.folders import Folders, eudora_mime, toc
from gateway.contract import Content, Folder, ItemState
from tests.connectors.folders.into_dovecot import copied, imap, made, shown
from tests.peers.dovecot import Dovecot

_LINE = b"From ???@??? Mon Mar 03 11:22:33 2003\r\n"
_DATE = b"Received: by mx.example.org; Mon, 3 Mar 2003 10:22:30 +0000\r\n"
_AT = 1046686950.0


def message(number: int, body: bytes = b"text\r\n", fields: bytes = b"") -> bytes:
    return _DATE + b"Message-ID: <%d@example.org>\r\nSubject: %d\r\n%s\r\n" % (number, number, fields) + body


def table(entries: list[tuple[int, int, int]], kind: int = 0) -> bytes:
    """Return a table of contents: of each entry the place, the length and the state."""
    header = bytearray(104)
    header[:2] = b"1\0"
    struct.pack_into("<h", header, 40, kind)
    struct.pack_into("<H", header, 102, len(entries))
    lines = [
        struct.pack("<iiihBBh", place, length, 1046686000, state, 0, 0, 3).ljust(218, b"\0")
        for place, length, state in entries
    ]
    return bytes(header) + b"".join(lines)


def box(folder: Path, name: str, messages: list[bytes], states: list[int | None]) -> None:
    """Write a mailbox and its table, which has no entry for a state of None."""
    octets, entries = b"", []
    for each, state in zip(messages, states, strict=True):
        if state is not None:
            entries.append((len(octets), len(_LINE + each), state))
        octets += _LINE + each
    (folder / f"{name}.mbx").write_bytes(octets)
    (folder / f"{name}.toc").write_bytes(table(entries))


CONVERTED = message(
    7,
    b"<x-html><html>caf\xe9 &amp; <b>more</b></html></x-html>\r\n\r\n"
    b'Attachment Converted: "c:\\eudora\\attach\\Report 1.doc"\r\n'
    b'Attachment Converted: "c:\\eudora\\attach\\gone.xls"\r\n',
    b'Mime-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=====_1"\r\n',
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    root = tmp_path / "anna"
    (root / "Proj.fol").mkdir(parents=True)
    (root / "attach").mkdir()
    (root / "attach" / "REPORT 1.DOC").write_bytes(bytes(range(256)) * 300)
    (root / "descmap.pce").write_bytes(
        b"In,In.mbx,S,N\r\nOut,Out.mbx,S,N\r\nTrash,Trash.mbx,S,N\r\nProj\xe9ts, old,Proj.fol,F,N\r\n"
        b"Evil,..\\..\\x.mbx,M,N\r\nNot there,none.mbx,M,N\r\n"
    )
    (root / "Proj.fol" / "descmap.pce").write_bytes(b"Music,music.mbx,M,N\r\n")
    incoming = [message(n) for n in range(5)]
    box(root, "In", [*incoming, message(5), CONVERTED], [0, 1, 2, 3, 4, None, 1])
    box(root, "Out", [message(20), message(21, fields=b"X-Attachments: C:\\my\\Report 1.doc; D:\\no.txt;\r\n")], [8, 7])
    (root / "Trash.mbx").write_bytes(b"")
    box(root / "Proj.fol", "Music", [message(30), message(30)], [1, 1])
    (root / "Old.mbx").write_bytes(_LINE + message(40, b"From ???@??? is no line of that kind\r\nFrom ???@??? x\r\n"))
    (root / "Old.toc").write_bytes(table([(99, 5, 0)]))
    return root


def read(root: Path, state: Path) -> dict[tuple[str, ...], list[tuple[ItemState, bytes]]]:
    (state / "state").mkdir(exist_ok=True)
    store = made(Folders, {"format": "eudora", "path": str(root.parent / "{mailbox}")}, state / "state")

    async def body() -> dict[tuple[str, ...], list[tuple[ItemState, bytes]]]:
        found: dict[tuple[str, ...], list[tuple[ItemState, bytes]]] = {}
        async with store.open(root.name) as opened:
            folders: list[Folder] = await opened.folders()
            roles = {folder.path: folder.role for folder in folders if folder.role}
            assert roles == {("INBOX",): "inbox", ("Out",): "sent", ("Trash",): "trash"}
            for folder in folders:
                states = (await opened.changes(folder.id, None)).items
                contents = [content async for _, content in opened.fetch([state.id for state in states])]
                octets = [b"".join(each.chunks()) for each in contents if isinstance(each, Content)]
                found[folder.path] = list(zip(states, octets, strict=True))
        return found

    return asyncio.run(body())


def test_folders_flags_and_dates_are_those_of_eudora(home: Path, tmp_path: Path) -> None:
    found = read(home, tmp_path)
    assert list(found) == [("INBOX",), ("Old",), ("Out",), ("Trash",), ("Projéts, old", "Music")]
    states = [set(state.flags) for state, _ in found["INBOX",]]
    seen = [set(), {"seen"}, {"seen", "answered"}, {"seen", "forwarded"}, {"seen", "forwarded"}, {"seen"}]
    assert states == seen  # what was removed and not compacted is not among them
    assert [set(state.flags) for state, _ in found["Out",]] == [{"seen"}, {"draft"}]
    assert {state.received_at for each in found.values() for state, _ in each} == {_AT}
    assert [octets for _, octets in found["INBOX",]][:5] == [message(n) for n in range(5)]
    twins = [state.id for state, _ in found["Projéts, old", "Music"]]
    assert len(set(twins)) == 2


def test_a_table_that_is_not_the_files_hides_nothing(home: Path, tmp_path: Path) -> None:
    ((state, octets),) = read(home, tmp_path)["Old",]
    assert octets == message(40, b"From ???@??? is no line of that kind\r\nFrom ???@??? x\r\n")
    assert state.flags == {"seen"}


def test_attachments_are_in_their_messages_again(home: Path, tmp_path: Path) -> None:
    found = read(home, tmp_path)
    made_whole = found["INBOX",][5][1]
    parsed = email.message_from_bytes(made_whole, policy=email.policy.default)
    text, file = parsed.iter_parts()
    assert parsed["message-id"] == "<7@example.org>"
    assert text.get_content_type() == "text/html"
    assert "café &amp; <b>more</b>" in text.get_content()
    assert "gone.xls" in text.get_content()
    assert file.get_filename() == "REPORT 1.DOC"
    assert file.get_content_type() == "application/msword"
    assert file.get_payload(decode=True) == bytes(range(256)) * 300
    sent = email.message_from_bytes(found["Out",][1][1], policy=email.policy.default)
    text, file = sent.iter_parts()
    assert sent["x-attachments"] is None
    assert "no.txt" in text.get_content()
    assert file.get_payload(decode=True) == bytes(range(256)) * 300
    assert read(home, tmp_path)["INBOX",][5][1] == made_whole


def test_attachments_are_taken_from_their_folder_alone(home: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    os.symlink(tmp_path / "secret", home / "attach" / "link.txt")
    spoofed = b"".join(
        b"Attachment Converted: %s\r\n" % name
        for name in (b'"../../secret"', b'"c:\\..\\..\\secret"', b'"link.txt"', b"/etc/passwd", b'"."', b'".."')
    )
    box(home, "In", [message(1, spoofed)], [0])
    ((_, octets),) = read(home, tmp_path)["INBOX",]
    assert octets.endswith(spoofed)
    assert b"secret\r\n" not in octets.replace(spoofed, b"")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b'Attachment Converted: "c:\\eudora\\attach\\a b.doc"\r\n', "a b.doc"),
        (b"Attachment converted: c:\\eudora\\attach\\a.doc\r\n", "a.doc"),
        (b"Attachment converted: Macintosh HD:Mail:a.doc (WDBN/MSWD) (0001A2B3)\r\n", "a.doc"),
        (b'Attachment Converted: "a.doc"', "a.doc"),
    ],
)
def test_lines_of_all_its_versions_are_read(line: bytes, name: str) -> None:
    asked: list[str] = []
    eudora_mime.whole(b"Subject: x\r\n", b"text\r\n" + line, lambda each: asked.append(each))
    assert asked == [name]


@pytest.mark.parametrize("octets", [b"", b"x" * 103, table([(0, 5, 1)])[:200], b"\xff" * 1000])
def test_what_is_no_table_tells_nothing(octets: bytes) -> None:
    assert toc.read(octets) == {}


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot() as running:
        yield running


def test_it_is_copied_into_dovecot_once(server: Dovecot, home: Path, tmp_path: Path) -> None:
    store = made(Folders, {"format": "eudora", "path": str(home.parent / "{mailbox}")}, tmp_path)
    for _ in range(2):
        report = copied(store, "anna", imap(server, tmp_path), "anna", tmp_path).report
        there = shown(server, "anna")
        assert len(there) == 11
    assert (report.copied, report.read) == (0, 0)
    expected = sorted(octets for each in read(home, tmp_path).values() for _, octets in each)
    assert sorted(each.octets for each in there) == expected
    assert {each.folder for each in there} == {"INBOX", "Out", "Old", "Proj&AOk-ts, old/Music"}
    assert {each.at for each in there} == {_AT}
