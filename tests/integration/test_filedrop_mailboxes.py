"""Mail from a shared mailbox through the gateway into mailboxes and folders that mail programs read; and kill -9."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from connectors.filedrop.files import InMemory
from gateway.formats.mbox import Entry, scan
from gateway.formats.mmdf import Frame
from gateway.formats.mmdf import scan as scan_frames
from tests.integration.conftest import StartGateway
from tests.peers.mail_programs import MailPrograms
from tests.peers.process import wait_until
from tests.peers.sink import Sink

KILLS = 3
EACH = 12
KINDS = ("mbox", "mmdf", "maildir", "mh")
DROPS = """
[connector.spool]
type = "filedrop"
format = "mbox"
inbox = "spool-in"
create_folders = true
poll_s = 0.2
""" + "".join(
    f"""
[connector.{kind}]
type = "filedrop"
format = "{kind}"
outbox = "{kind}"
create_folders = true

[[route]]
match = "smtp:*@{kind}.example"
to = "{kind}"
"""
    for kind in KINDS
)
TO = ", ".join(f"bob@{kind}.example" for kind in KINDS)


def letter(number: int) -> bytes:
    return (
        f"From: Ann <ann@a.example>\nTo: {TO}\nMessage-ID: <{number}@a.example>\n"
        f"Date: Tue, 24 Nov 2026 01:02:03 +0000\nSubject: {number}\n\nFrom here\n.\nend {number}\n"
    ).encode()


def found(folder: Path) -> dict[str, list[bytes]]:
    """Return the messages of each outbox."""
    mbox, mmdf = (folder / kind / "mbox" for kind in ("mbox", "mmdf"))
    boxed = mbox.read_bytes() if mbox.exists() else b""
    framed = mmdf.read_bytes() if mmdf.exists() else b""
    return {
        "mbox": [
            b"".join(e.filter(iter((boxed[e.head : e.end],)))).replace(b"\r\n", b"\n")
            for e in scan(InMemory(boxed))
            if isinstance(e, Entry)
        ],
        "mmdf": [framed[f.head : f.end] for f in scan_frames(InMemory(framed)) if isinstance(f, Frame) and f.is_whole],
        "maildir": [path.read_bytes() for path in (folder / "maildir").glob("new/*")],
        "mh": [path.read_bytes() for path in (folder / "mh").glob("[0-9]*")],
    }


def subjects(messages: list[bytes]) -> list[int]:
    return sorted(int(octets.partition(b"\nSubject: ")[2].split(b"\n")[0]) for octets in messages)


def deliver(programs: MailPrograms, box: Path, numbers: Iterable[int]) -> None:
    for number in numbers:
        programs.procmail(box, letter(number), "ann@a.example")


def test_a_mailbox_goes_into_mailboxes_of_every_kind(tmp_path: Path, sink: Sink, start_gateway: StartGateway) -> None:
    (tmp_path / "home").mkdir()
    programs = MailPrograms(tmp_path / "home")
    gateway = start_gateway(sink.port, folder=tmp_path, connector=DROPS)
    deliver(programs, tmp_path / "spool-in" / "box", range(5))
    wait_until(lambda: all(len(messages) == 5 for messages in found(tmp_path).values()), 60, "all is delivered")
    wait_until(lambda: gateway.queued() == 0, 60, "the outcomes are committed")
    assert not (tmp_path / "spool-in" / "box").exists()
    for kind, messages in found(tmp_path).items():
        assert subjects(messages) == list(range(5)), kind
        for octets in messages:
            head, _, body = octets.partition(b"\n\n")
            assert head.startswith(f"Return-Path: <ann@a.example>\nDelivered-To: bob@{kind}.example\n".encode())
            assert body.startswith(b"From here\n.\nend ")
            assert b"\r" not in octets
    # and mail programs read them
    programs.mutt_copy(tmp_path / "maildir", tmp_path / "copy-1", "mbox")
    programs.mutt_copy(tmp_path / "mmdf" / "mbox", tmp_path / "copy-2", "mbox")
    assert programs.formail_count(tmp_path / "mbox" / "mbox") == 5
    assert len(programs.frm(tmp_path / "copy-1")) == len(programs.frm(tmp_path / "copy-2")) == 5
    listed = programs.nmh("scan", "-format", "%{subject}", f"+{tmp_path}/mh", "unseen").split()
    assert sorted(listed) == [str(number) for number in range(5)]


def test_killed_at_any_time_nothing_is_lost_or_doubled(tmp_path: Path, sink: Sink, start_gateway: StartGateway) -> None:
    """procmail delivers while the gateway takes and puts, and dies again and again."""
    (tmp_path / "home").mkdir()
    programs = MailPrograms(tmp_path / "home")
    gateway = start_gateway(sink.port, folder=tmp_path, connector=DROPS, gateway='retry_min = "1s"\nretry_max = "1s"')
    dice = random.Random(5)
    box = tmp_path / "spool-in" / "box"
    for round in range(KILLS):
        numbers = range(round * EACH, (round + 1) * EACH)
        thread = threading.Thread(target=deliver, args=(programs, box, numbers))
        thread.start()
        time.sleep(dice.uniform(0.2, 0.7))
        gateway.kill()
        gateway.start()
        thread.join()
    wait_until(
        lambda: gateway.queued() == 0 and not [path for path in (tmp_path / "spool-in").rglob("*") if path.is_file()],
        60,
        "everything went through",
    )
    # Between its claim and its commit a mail is neither in the folder nor in the queue.
    wait_until(
        lambda: all(len(messages) >= KILLS * EACH for messages in found(tmp_path).values()), 60, "all mails are put"
    )
    for kind, messages in found(tmp_path).items():
        assert subjects(messages) == list(range(KILLS * EACH)), kind
    for kind in ("mbox", "mmdf"):
        assert not list((tmp_path / kind).glob("*.lock"))
