"""mutt, nmh, mailutils and procmail read what we write, write what we read, and share mailboxes with us."""

from __future__ import annotations

import email
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop.append import AppendLayout
from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Codec, Options, Part
from connectors.filedrop.formats.maildir import MaildirFile, MaildirSettings
from connectors.filedrop.formats.mbox import Mbox, MboxSettings
from connectors.filedrop.formats.mh import MhFile, MhSettings
from connectors.filedrop.formats.mmdf import Mmdf, MmdfSettings
from connectors.filedrop.layouts import Layout, Sheet
from gateway.contract import Content
from gateway.formats.maildir import read_name
from gateway.formats.mbox import Entry, joint, scan
from mappings.network import parse
from tests.connectors.filedrop.codec_kit import DATA, STAMP, content_of, parcel, read_all
from tests.peers.mail_programs import Kind, MailPrograms

LIBEMAIL = DATA.parent / "libemail-folder" / "t"
OPTIONS = Options(hostname="gw.example")
ANN = parse("smtp:ann@a.example")
BOB = parse("smtp:bob@b.example")


def message(number: int, body: bytes) -> bytes:
    return (
        b"Message-ID: <%d@a.example>\r\nDate: Tue, 24 Nov 2026 01:02:0%d +0000\r\nFrom: Ann <ann@a.example>\r\n"
        b"To: Bob <bob@b.example>\r\nSubject: message %d\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    ) % (number, number, number) + body


MESSAGES = [
    message(1, b"plain\r\n"),
    message(2, b"From here\r\n>From there\r\n\r\nFrom ann@a.example Tue Nov 24 01:02:03 2026\r\nSubject: no\r\n"),
    message(3, "Grüße\r\n.\r\n\r\n\r\nend\r\n".encode()),
    message(4, b""),
    message(5, b"\x01\x01\x01\x01x\r\n" + b"long " * 150 + b"\r\n"),
]


@pytest.fixture
def programs(tmp_path: Path) -> MailPrograms:
    (tmp_path / "home").mkdir()
    return MailPrograms(tmp_path / "home")


def codec_of(kind: Kind, **settings: Any) -> tuple[Codec, Callable[[Path], Layout | None]]:
    made: Mbox | Mmdf | MaildirFile | MhFile
    match kind:
        case "mbox":
            made = Mbox("mbox", OPTIONS, MboxSettings.model_validate(settings))
        case "MMDF":
            made = Mmdf("mmdf", OPTIONS, MmdfSettings.model_validate({"file": "mbox", **settings}))
        case "Maildir":
            made = MaildirFile("maildir", OPTIONS, MaildirSettings.model_validate(settings))
        case "MH":
            made = MhFile("mh", OPTIONS, MhSettings.model_validate(settings))
    return made, lambda folder: made.layout(folder)


def write_all(kind: Kind, folder: Path, messages: list[bytes], **settings: Any) -> Path:
    """Put messages as a file drop does; return the mailbox."""
    codec, layout_in = codec_of(kind, **settings)
    layout = layout_in(folder)
    assert layout is not None
    sheets = []
    for number, octets in enumerate(messages):
        sent = parcel(ANN, [BOB], octets)
        stem = f"20261124T010203{number:03d}Z-01k9rw3m8c00{number}-0"
        sheets.append(Sheet(stem, codec.encode(sent, sent.items, stem)))
    for group in layout.groups(sheets):
        layout.put([sheets[index] for index in group])
    layout.sync()
    return folder / "mbox" if kind in ("mbox", "MMDF") else folder


def read_mailbox(kind: Kind, box: Path, **settings: Any) -> list[tuple[Part, bytes]]:
    """Take every message of a mailbox as a file drop does."""
    codec, _ = codec_of(kind, **settings)
    match kind:
        case "mbox" | "MMDF":
            files = [box]
        case "Maildir":
            files = sorted([*(box / "new").iterdir(), *(box / "cur").iterdir()], key=lambda p: read_name(p.name).unique)
        case "MH":
            names = [name for name in os.listdir(box) if MhFile.is_message(name)]
            files = [box / name for name in sorted(names, key=int)]
    found = []
    for file in files:
        octets = file.read_bytes()
        for part in read_all(codec, octets):
            assert isinstance(part, Part), part
            found.append((part, content_of(part, octets)))
    return found


def essence(octets: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return fields and body, without what mailbox programs put into a header."""
    content = Content(octets)
    own = (b"lines", b"status", b"content-length", b"delivered-to", b"return-path", b"x-status")
    head = content.head
    return [(f.name, head[f.start : f.end]) for f in content.fields if f.name not in own], b"".join(
        content.body_chunks()
    )


KINDS: list[Kind] = ["mbox", "MMDF", "MH", "Maildir"]
UNQUOTED = {"dialect": "mboxcl2"}
"""mutt goes by Content-Length, and takes no > off."""


def setting(kind: Kind) -> dict[str, str]:
    return UNQUOTED if kind == "mbox" else {}


@pytest.mark.parametrize("ours", KINDS)
@pytest.mark.parametrize("theirs", KINDS)
def test_mutt_reads_ours_and_we_read_mutt_s(tmp_path: Path, programs: MailPrograms, ours: Kind, theirs: Kind) -> None:
    """Every message goes through mutt from our mailbox of one kind to its mailbox of another, and back to us."""
    folder = tmp_path / "ours"
    folder.mkdir()
    box = write_all(ours, folder, MESSAGES, **setting(ours))
    target = tmp_path / "theirs"
    programs.mutt_copy(box, target, theirs)
    found = read_mailbox(theirs, target, **setting(theirs))
    if "Maildir" in (ours, theirs):  # a folder has no order
        found.sort(key=lambda each: each[1].partition(b"Message-ID: ")[2])
    assert [essence(octets) for _, octets in found] == [essence(octets) for octets in MESSAGES]
    assert {(str(part.reverse_path), str(part.recipients[0].address)) for part, _ in found} == {(str(ANN), str(BOB))}


@pytest.mark.parametrize("dialect", ["mboxo", "mboxrd", "mboxcl", "mboxcl2", "rfc4155"])
def test_programs_count_what_we_wrote_in_each_dialect(tmp_path: Path, programs: MailPrograms, dialect: str) -> None:
    box = write_all("mbox", tmp_path, MESSAGES, dialect=dialect)
    names = [f"message {n}" for n in range(1, 6)]
    if dialect != "mboxcl2":  # these two know of no Content-Length
        assert [line.split("\t")[-1] for line in programs.frm(box)] == names
        assert programs.formail_count(box) == 5
        (programs.home / "Mail" / "inbox").mkdir(parents=True)
        programs.nmh("inc", "-silent", "-nochangecur", "-notruncate", "-file", box, "+inbox")
        assert programs.nmh("scan", "-format", "%{subject}", "+inbox").splitlines() == names
    programs.mutt_copy(box, tmp_path / "copy", "MH")
    assert len([name for name in os.listdir(tmp_path / "copy") if name.isdecimal()]) == 5


def test_nmh_reads_an_mh_folder_of_ours(tmp_path: Path, programs: MailPrograms) -> None:
    folder = programs.home / "Mail" / "drop"
    folder.mkdir(parents=True)
    write_all("MH", folder, MESSAGES)
    listed = programs.nmh("scan", "-format", "%(msg) %{subject}", "+drop", "unseen").splitlines()
    assert listed == [f"{n} message {n}" for n in range(1, 6)]
    # nmh may show, remove and mark; numbers go on behind
    assert "Gr\u00fc\u00dfe" in programs.nmh("mhshow", "-nomoreproc", "+drop", "3")
    programs.nmh("rmm", "+drop", "5")
    programs.nmh("mark", "+drop", "2", "-sequence", "mine", "-add")
    write_all("MH", folder, [message(7, b"seventh\r\n")])
    assert programs.nmh("pick", "+drop", "unseen", "-list").split() == ["1", "2", "4", "5"]  # 3 was shown
    assert programs.nmh("pick", "+drop", "mine", "-list").split() == ["2"]
    assert programs.nmh("scan", "-format", "%{subject}", "+drop", "5").strip() == "message 7"
    assert [octets for _, octets in read_mailbox("MH", folder)][:4] == [
        b"Delivered-To: bob@b.example\r\n" + octets for octets in MESSAGES[:4]
    ]


def test_we_read_what_nmh_packs_and_takes_in(tmp_path: Path, programs: MailPrograms) -> None:
    folder = programs.home / "Mail" / "drop"
    folder.mkdir(parents=True)
    messages = [MESSAGES[0], MESSAGES[2], MESSAGES[3]]
    write_all("MH", folder, messages)
    packed = tmp_path / "packed"
    programs.nmh("packf", "+drop", "all", "-file", packed)
    found = read_mailbox("mbox", packed, dialect="mboxo")
    assert [essence(octets) for _, octets in found] == [essence(octets) for octets in messages]
    assert {str(part.reverse_path) for part, _ in found} == {str(ANN)}
    programs.nmh("packf", "-mmdf", "+drop", "all", "-file", tmp_path / "packed.mmdf")
    found = read_mailbox("MMDF", tmp_path / "packed.mmdf")
    assert [essence(octets) for _, octets in found] == [essence(octets) for octets in messages]
    box = write_all("mbox", tmp_path, messages)
    (programs.home / "Mail" / "taken").mkdir()
    programs.nmh("inc", "-silent", "-truncate", "-file", box, "+taken")
    found = read_mailbox("MH", programs.home / "Mail" / "taken")
    assert [essence(octets) for _, octets in found] == [essence(octets) for octets in messages]
    assert not box.read_bytes()


MAILBOXES = [("mboxes/testmbox", 10), ("mboxes/testmbox.dos", 10), ("mboxes/mboxcl3", 2)]


@pytest.mark.parametrize(("name", "count"), MAILBOXES)
def test_mailboxes_of_others_hold_as_many_messages_as_formail_finds(
    programs: MailPrograms, name: str, count: int
) -> None:
    box = LIBEMAIL / name
    entries = [entry for entry in scan(InMemory(box.read_bytes())) if isinstance(entry, Entry)]
    assert len(entries) == count
    if name != "mboxes/testmbox.dos":  # it finds none where lines end in CRLF
        assert programs.formail_count(box) == count


def test_mailboxes_of_the_corpus_too(programs: MailPrograms) -> None:
    corpus = os.environ.get("GATEPOST_CORPUS")
    if corpus is None:
        print("GATEPOST_CORPUS is not set: its mailboxes were not counted")
        return
    for name in (
        "apache-james-mime4j/mbox/src/test/resources/test-1/mbox.rlug",
        "mailbits/test/data/mboxes/sample.mbox",
        "mailbits/test/data/mboxes/rfc822.mbox",
        "nmh/test/inc/fromline.txt",
    ):
        box = Path(corpus) / name
        assert len(list(scan(InMemory(box.read_bytes())))) == programs.formail_count(box), name


def whole(octets: bytes) -> list[str]:
    """Return the subjects of a mailbox's messages, each of which has to be whole."""
    found = []
    for entry in scan(InMemory(octets)):
        assert isinstance(entry, Entry)
        letter = email.message_from_bytes(octets[entry.head : entry.end])
        text = str(letter.get_payload())
        assert text.startswith("x" * 2000), text[:100]
        assert text.rstrip("\n").endswith("end"), text[-100:]
        found.append(str(letter["subject"]))
    return found


def test_movemail_takes_from_a_mailbox_that_we_append_to(tmp_path: Path, programs: MailPrograms) -> None:
    (tmp_path / "mbox").write_bytes(b"")
    done = threading.Event()
    appended: list[str] = []
    rounds = [0]

    def append() -> None:
        codec = Mbox("mbox", OPTIONS, MboxSettings.model_validate({}))
        layout = AppendLayout(tmp_path, "mbox", ("fcntl", "dotlock"), 30.0, joint)
        try:
            while len(appended) < 20 or rounds[0] < 3:
                name = str(len(appended))
                sent = parcel(ANN, [BOB], message(1, b"x" * 2000 + b"\r\nend\r\n").replace(b"message 1", name.encode()))
                layout.put([Sheet(f"m{name}", codec.encode(sent, sent.items, f"m{name}"))])
                appended.append(name)
        finally:
            done.set()

    thread = threading.Thread(target=append)
    thread.start()
    while not done.is_set() or (tmp_path / "mbox").stat().st_size:
        programs.movemail(tmp_path / "mbox", tmp_path / "taken")
        rounds[0] += 1
        time.sleep(0.05)  # it holds the lock for nearly all of its life
    thread.join()
    assert whole((tmp_path / "taken").read_bytes()) == appended


def test_we_take_a_mailbox_that_procmail_delivers_into(tmp_path: Path, programs: MailPrograms) -> None:
    box = tmp_path / "mbox"
    codec = Mbox("mbox", OPTIONS, MboxSettings.model_validate({}))
    done = threading.Event()
    delivered: list[str] = []
    taken: list[Path] = []

    def deliver() -> None:
        try:
            while len(delivered) < 20 or len(taken) < 3:
                name = str(len(delivered)).encode()
                octets = (
                    b"From: ann@a.example\nTo: bob@b.example\nSubject: " + name + b"\n\n" + b"x" * 2000 + b"\nend\n"
                )
                programs.procmail(box, octets, "ann@a.example")
                delivered.append(name.decode())
        finally:
            done.set()

    thread = threading.Thread(target=deliver)
    thread.start()
    while not done.is_set() or box.exists():
        try:
            with codec.guard(box):
                os.rename(box, tmp_path / f"claim{len(taken)}")
            taken.append(tmp_path / f"claim{len(taken)}")
        except (BlockingIOError, FileNotFoundError):
            pass
        time.sleep(0.03)
    thread.join()
    assert [subject for path in taken for subject in whole(path.read_bytes())] == delivered
    part, *_ = codec.decode(InMemory(taken[0].read_bytes()), STAMP)
    assert isinstance(part, Part)
    assert (str(part.reverse_path), part.attributes) == (str(ANN), {})
