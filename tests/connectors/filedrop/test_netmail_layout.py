"""A netmail folder as the outbox: numbers, attributes, messages found again, others' files left, faults and kills."""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop import netmail_layout
from connectors.filedrop.files import Occupied
from connectors.filedrop.formats.ftn.attributes import names
from connectors.filedrop.formats.ftn.codec import Ftn, Netmail
from connectors.filedrop.formats.ftn.packets import PackedMessage
from connectors.filedrop.formats.ftn.stored import StoredMessage, read_stored, write_stored
from connectors.filedrop.formats.ftn.text import read_text
from connectors.filedrop.layouts import Sheet
from connectors.filedrop.netmail_layout import NetmailLayout, number
from gateway.contract import Action, RecipientReport, Report, Status
from gateway.mailbox_files import Operations, rename_new
from mappings.network import parse
from tests.connectors.filedrop.ftn_kit import AT, STEM, codec, encode, parcel, read_one, text_of
from tests.connectors.filedrop.kill import UNSYNCED, fails_at, run
from tests.connectors.filedrop.test_ftn_outward import MIXED, mail

LONG = "".join(f"line {n}\n" for n in range(400))


def made(**settings: Any) -> Ftn:
    return codec(layout="messages", **{"outbound_path": "C:\\NETMAIL", **settings})


def sheet(n: int, octets: str = "", **settings: Any) -> Sheet:
    stem = f"{STEM}{n}"
    return Sheet(stem, encode(made(**settings), parcel(octets or mail(f"number {n}\n")), stem))


def put(layout: NetmailLayout, sheets: list[Sheet]) -> None:
    for group in layout.groups(sheets):
        layout.put([sheets[index] for index in group])
    layout.sync()


def messages(folder: Path) -> dict[int, StoredMessage]:
    """Return the messages of a folder by their numbers; each can be read."""
    found = {}
    for name in os.listdir(folder):
        if (n := number(name)) is not None:
            stored = read_stored((folder / name).read_bytes())
            assert stored is not None, name
            found[n] = stored
    return dict(sorted(found.items()))


def texts(folder: Path) -> list[str]:
    return [read_text(each.message.text, "cp437").lines[0] for each in messages(folder).values()]


def test_the_codec_writes_it_as_a_message_made_there(tmp_path: Path) -> None:
    used = made(aka="2:280/999.5")
    layout = used.layout(tmp_path, UNSYNCED)
    assert isinstance(layout, NetmailLayout)
    letter = parcel(mail("Körper\n", more="Priority: urgent\n"), "ftn:Bob Ray@3:712/848.9")
    put(layout, [Sheet(STEM, encode(used, letter))])
    [(n, stored)] = messages(tmp_path).items()
    assert n == 2, "1.msg is no message"
    assert (stored.zones, stored.points) == ((2, 3), (5, 9))
    assert (stored.message.origin, stored.message.destination) == ((280, 999), (712, 848))
    assert names(stored.message.attributes) == "PVT CRS KFS LOC"
    text = read_text(stored.message.text, "cp437")
    want = {"INTL": "3:712/848 2:280/999", "FMPT": "5", "TOPT": "9", "MSGID": "<1@acme.example> f2efefae"}
    assert {name: text.get(name) for name in want} == want
    assert (tmp_path / "2.msg").read_bytes().endswith(b"\r\0")
    part, read = read_one((tmp_path / "2.msg").read_bytes(), "2.msg")
    assert part.recipients[0].address == parse("ftn:Bob Ray@3:712/848.9")
    assert (read["Subject"], text_of(read), read["Priority"]) == ("Hello", "Körper\n", "urgent")


@pytest.mark.parametrize(
    ("settings", "more", "want"),
    [
        ({"kill_sent": False}, "", "PVT LOC"),
        ({"flavour": "hold"}, "", "PVT KFS LOC HLD"),
        ({"flavour": "hold"}, "Priority: urgent\n", "PVT CRS KFS LOC"),
        ({"flavour": "direct", "crash": False}, "Priority: urgent\n", "PVT KFS LOC"),
        ({}, "Disposition-Notification-To: ann@acme.example\n", "PVT KFS LOC RRQ"),
    ],
)
def test_attributes(settings: dict[str, Any], more: str, want: str) -> None:
    [octets] = encode(made(**settings), parcel(mail(more=more))).octets()
    stored = read_stored(octets)
    assert stored is not None
    assert names(stored.message.attributes) == want


def test_a_report_is_a_message_too(tmp_path: Path) -> None:
    used = made()
    recipient = RecipientReport(Action.DELIVERED, parse("smtp:a@b.c"), parse("smtp:a@b.c"), Status("2.0.0", "ok"))
    told = Report(7, parse("ftn:Bob Ray@2:280/464.3"), AT, (recipient,), peer="2.msg", hand_over="x")
    encoded = used.status(told, "2:280/464.3 0000abcd", "2")
    assert encoded is not None
    put(NetmailLayout(tmp_path, UNSYNCED), [Sheet("2", encoded)])
    put(NetmailLayout(tmp_path, UNSYNCED), [Sheet("2", encoded)])
    [stored] = messages(tmp_path).values()
    assert names(stored.message.attributes) == "PVT KFS LOC RRC"
    assert (stored.zones, stored.points) == ((2, 2), (0, 3))
    assert (stored.message.sender, stored.message.subject) == (b"Postmaster", b"Return receipt")
    assert read_text(stored.message.text, "cp437").get("REPLY") == "2:280/464.3 0000abcd"


def test_files_lie_beside_and_subjects_name_their_paths(tmp_path: Path) -> None:
    one = sheet(1, MIXED)
    put(NetmailLayout(tmp_path, UNSYNCED), [one])
    files = [enclosure.name for enclosure in one.encoded.enclosures]
    assert [(tmp_path / name).read_bytes() for name in files] == [b"hello", b"world"]
    found = [stored.message for stored in messages(tmp_path).values()]
    assert [message.subject.decode() for message in found] == ["With files", *(f"C:\\NETMAIL\\{n}" for n in files)]
    assert [names(message.attributes) for message in found] == ["PVT KFS LOC", *["PVT ATT KFS LOC"] * 2]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"outbound_path": None}, "set outbound_path"),
        ({"outbound_path": "/var/spool/my ftn"}, "without blanks"),
        ({"outbound_path": "/" + "x" * 58}, "at most 58"),
        ({"outbound_path": "/käse"}, "ASCII"),
        ({"file_names": "long"}, 'file_names = "dos"'),
    ],
)
def test_a_subject_must_have_room_for_paths(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        made(**settings)
    made(**settings, attachments="uuencode")
    made(outbound_path="/" + "x" * 57)


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("2.msg", 2), ("17.MSG", 17), ("3.Msg", 3), ("007.msg", 7), ("99999999.msg", 99_999_999),
        (".2.msg", None), ("2.msg.bak", None), ("x.msg", None), ("-2.msg", None), ("123456789.msg", None),
        ("lastread", None), ("٣.msg", None),
    ],
)  # fmt: skip
def test_names(name: str, n: int | None) -> None:
    assert number(name) == n


def test_numbers_go_on_from_the_highest_and_others_files_stay(tmp_path: Path) -> None:
    there = {"lastread": b"\x05\0", "9.MSG": b"short", "x.msg": b"?", "100.bak": b"x", "3.msg": b"\0" * 190}
    for name, octets in there.items():
        (tmp_path / name).write_bytes(octets)
    (tmp_path / "40.msg").mkdir()
    put(NetmailLayout(tmp_path, UNSYNCED), [sheet(1), sheet(2)])
    assert sorted(os.listdir(tmp_path)) == sorted([*there, "40.msg", "41.msg", "42.msg"])
    assert all((tmp_path / name).read_bytes() == octets for name, octets in there.items())
    layout = NetmailLayout(tmp_path)
    assert (layout.count(99), layout.count(2)) == (5, 3)


def test_a_number_that_was_scanned_is_not_given_again(tmp_path: Path) -> None:
    """Where the tosser deletes what it sent, the highest number falls below the one that it has scanned up to."""
    mark = PackedMessage((0, 0), (0, 0), 9, 0, b"24 Nov 26  01:02:03", b"All", b"CrashMail II", b"HighWater mark", b"")
    octets = write_stored(StoredMessage(mark, reply_to=41))
    (tmp_path / "1.MSG").write_bytes(octets)
    put(NetmailLayout(tmp_path, UNSYNCED), [sheet(1)])
    assert sorted(messages(tmp_path)) == [1, 42]
    assert (tmp_path / "1.MSG").read_bytes() == octets


@pytest.mark.parametrize("name", ["2.msg", "2.MSG"])
@pytest.mark.parametrize("way", ["link", "rename_new"])
def test_a_number_that_another_takes_is_passed_over(tmp_path: Path, name: str, way: str) -> None:
    """Another writer comes between the look at the folder and the naming."""

    def write(handle: int, octets: memoryview) -> int:
        (tmp_path / name).write_bytes(b"another's")
        return os.write(handle, octets)

    def link(source: str, target: str) -> None:
        if way == "rename_new":
            raise OSError(errno.EPERM, "no links on this file system")
        os.link(source, target)

    put(NetmailLayout(tmp_path, replace(UNSYNCED, write=write, link=link)), [sheet(1)])
    assert sorted(os.listdir(tmp_path)) == [name, "3.msg"]
    assert (tmp_path / name).read_bytes() == b"another's"


def test_the_lost_answer_of_a_link_is_seen_through(tmp_path: Path) -> None:
    def link(source: str, target: str) -> None:
        os.link(source, target)
        raise FileExistsError(errno.EEXIST, "the answer was lost, and it was asked again")

    put(NetmailLayout(tmp_path, replace(UNSYNCED, link=link)), [sheet(1)])
    assert os.listdir(tmp_path) == ["2.msg"]


def test_numbers_end(tmp_path: Path) -> None:
    (tmp_path / f"{netmail_layout.MOST}.msg").write_bytes(b"")
    with pytest.raises(Occupied, match="no number is free"):
        put(NetmailLayout(tmp_path, UNSYNCED), [sheet(1)])
    assert len(os.listdir(tmp_path)) == 1


def test_several_threads_lose_nothing(tmp_path: Path) -> None:
    sheets = [sheet(n) for n in range(24)]

    def work(part: list[Sheet]) -> None:
        for one in part:
            put(NetmailLayout(tmp_path, UNSYNCED), [one])

    threads = [threading.Thread(target=work, args=(sheets[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts(tmp_path)) == sorted(f"number {n}" for n in range(24))
    assert sorted(messages(tmp_path)) == list(range(2, 26))


def sent(path: Path) -> None:
    """Mark a message as a tosser does that sent it."""
    octets = path.read_bytes()
    stored = read_stored(octets)
    assert stored is not None
    message = replace(stored.message, attributes=stored.message.attributes | 8)
    path.write_bytes(write_stored(replace(stored, message=message, times_read=1, reply_to=3, next_reply=4)))


def rewritten(path: Path) -> None:
    """Write it back as CrashMail does with WRITEBACK: no path in the subject, and a Via line more."""
    stored = read_stored(path.read_bytes())
    assert stored is not None
    message = stored.message
    subject = message.subject.replace(b"\\", b"/").rpartition(b"/")[2]
    text = message.text + b"\x01Via 2:280/464 @20261124.003223 CrashMail II/Linux 1.7\r"
    path.write_bytes(write_stored(replace(stored, message=replace(message, subject=subject, text=text))))


@pytest.mark.parametrize(
    "change", [lambda path: None, sent, rewritten, lambda path: path.rename(path.with_suffix(".MSG"))]
)
def test_a_retry_puts_nothing_again(tmp_path: Path, change: Callable[[Path], object]) -> None:
    sheets = [sheet(1), sheet(2, MIXED), sheet(3, mail(LONG), max_text_bytes=1024)]
    put(NetmailLayout(tmp_path, UNSYNCED), sheets)
    before = messages(tmp_path)
    assert len(before) > 6
    for path in tmp_path.glob("*.msg"):
        change(path)
    attached = sheets[1].encoded.enclosures[0].name
    (tmp_path / attached).unlink()  # sent, and gone
    put(NetmailLayout(tmp_path, UNSYNCED), [*sheets, sheet(4)])
    assert list(messages(tmp_path)) == [*before, max(before) + 1]
    assert not (tmp_path / attached).exists()


def test_messages_that_differ_by_little_are_both_put(tmp_path: Path) -> None:
    one = sheet(1)
    [octets] = one.encoded.octets()
    assert isinstance(one.encoded, Netmail)
    other = replace(one.encoded, octets=lambda: iter((octets.replace(b"number 1", b"number 2"),)))
    put(NetmailLayout(tmp_path, UNSYNCED), [one])
    put(NetmailLayout(tmp_path, UNSYNCED), [Sheet("other", other)])
    assert texts(tmp_path) == ["number 1", "number 2"]


SHEETS = [sheet(1), sheet(2, MIXED), sheet(3)]
WHOLE = ["See the files.", "number 1", "number 3"]


def seen(folder: Path) -> list[str]:
    """Return the texts of the messages but for those of files; each is whole, and its file is there."""
    found = []
    for stored in messages(folder).values():
        assert re.search(rb" Gatepost 7-0\d\r$", stored.message.text), "its end is there"
        if stored.message.attributes & 0x10:
            assert (folder / stored.message.subject.decode().rpartition("\\")[2]).read_bytes() in (b"hello", b"world")
        else:
            found.append(read_text(stored.message.text, "cp437").lines[0])
    return sorted(found)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EPERM])
def test_whatever_fails_the_retry_makes_it_whole(tmp_path: Path, error: int) -> None:
    call = 1
    while True:
        folder = tmp_path / str(call)
        folder.mkdir()
        put(NetmailLayout(folder, UNSYNCED), [sheet(9)])
        try:
            put(NetmailLayout(folder, fails_at(call, OSError(error, "fault"))), SHEETS)
            ended = call > 20
        except OSError:
            ended = False
        if not ended and len(messages(folder)) == 1:
            assert sorted(os.listdir(folder)) == ["2.msg"], call
        put(NetmailLayout(folder, UNSYNCED), SHEETS)
        assert seen(folder) == [*WHOLE, "number 9"], call
        assert len(os.listdir(folder)) == 8, call
        if ended:
            break
        call += 1
    assert call > 20


def test_a_kill_at_any_call_leaves_no_half_and_doubles_nothing(tmp_path: Path) -> None:
    call = 1
    while True:
        folder = tmp_path / str(call)
        folder.mkdir()
        put(NetmailLayout(folder, UNSYNCED), [sheet(9)])
        ended = run(lambda ops, folder=folder: put(NetmailLayout(folder, ops), SHEETS), call)  # type: ignore[misc]
        assert set(seen(folder)) <= {*WHOLE, "number 9"}, call
        put(NetmailLayout(folder, UNSYNCED), [sheet(8)])  # another's numbers come between
        put(NetmailLayout(folder, UNSYNCED), SHEETS)
        assert seen(folder) == [*WHOLE, "number 8", "number 9"], call
        assert len(os.listdir(folder)) == 9, call
        if ended:
            break
        call += 1
    assert call > 20


def test_what_fails_is_taken_back_but_nobody_elses(tmp_path: Path) -> None:
    """The first message was sent and deleted, and its number given to another's, before the second failed."""
    links = []

    def link(source: str, target: str) -> None:
        links.append(target)
        if len(links) == 2:
            Path(links[0]).unlink()
            Path(links[0]).write_bytes(b"another's")
            raise OSError(errno.ENOSPC, "full")
        os.link(source, target)

    with pytest.raises(OSError, match="full"):
        put(NetmailLayout(tmp_path, replace(UNSYNCED, link=link)), [sheet(1), sheet(2)])
    assert os.listdir(tmp_path) == ["2.msg"]
    assert (tmp_path / "2.msg").read_bytes() == b"another's"


@pytest.mark.parametrize("way", ["link", "rename_new"])
def test_everything_is_synced_before_it_gets_its_name(tmp_path: Path, way: str) -> None:
    done: list[str] = []

    def fsync(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "octets")

    def link(source: str, target: str) -> None:
        if way == "rename_new":
            raise OSError(errno.EOPNOTSUPP, "no links")
        done.append("message")
        os.link(source, target)

    def renamed(source: str, target: str) -> None:
        done.append("message" if target.lower().endswith(".msg") else "file")
        rename_new(source, target)

    ops = Operations(fsync=fsync, link=link, rename_new=renamed)
    put(NetmailLayout(tmp_path, ops), [sheet(1, MIXED)])
    assert done == [*["octets", "file"] * 2, "folder", *["octets", "message"] * 3, "folder"]
    assert len(os.listdir(tmp_path)) == 5


def test_the_folder_itself_is_never_made(tmp_path: Path) -> None:
    layout = NetmailLayout(tmp_path / "gone")
    for call in (lambda: layout.put([sheet(0)]), lambda: layout.count(9)):
        with pytest.raises(FileNotFoundError):
            call()
    assert layout.groups([]) == []
