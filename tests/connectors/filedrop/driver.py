"""The systems on the other side of a file drop, for the conformance kit: one for each way of handing files over."""

from __future__ import annotations

import os
import re
import shutil
import struct
from pathlib import Path
from typing import ClassVar, Final

from gateway.contract import Address
from gateway.testing import Bench, DestinationDriver, Got, SourceDriver
from mappings.network import network

_TO = re.compile(rb"^X-Receiver: <([^>]*)>[^\r\n]*\r?\n", re.MULTILINE)
_DELIVERED = re.compile(rb"^Delivered-To: ([^\r\n]*)\r?\n", re.MULTILINE)


class FileDropDriver(SourceDriver, DestinationDriver):
    """Writes files into `in`, as MHS users would, and reads those in `out`."""

    in_flight_bound = 20
    flood = 100
    extension: ClassVar[str] = ".eml"
    into: ClassVar[str] = ""
    """The folder of the inbox that files are written into."""

    def __init__(self, bench: Bench) -> None:
        self.inbox, self.outbox = bench.tmp / "in", bench.tmp / "out"
        for folder in (self.inbox, self.outbox, self.inbox / self.into):
            folder.mkdir(exist_ok=True)
        self._submitted: set[int] = set()

    def file(self, number: int, octets: bytes) -> bytes:
        """Return what the file for a message holds."""
        return octets

    def submit(self, number: int, octets: bytes) -> None:
        writing = self.inbox / f"{number:06d}.tmp"
        writing.write_bytes(self.file(number, octets))
        writing.rename(self.inbox / self.into / f"{number:06d}{self.extension}")
        self._submitted.add(number)

    def _numbers(self, folder: Path, before: str = "", after: str = "") -> set[int]:
        found = re.compile(before + r"(\d{6})" + re.escape(self.extension + after))
        return {int(match[1]) for name in os.listdir(folder) if (match := found.fullmatch(name))}

    def acknowledged(self) -> set[int]:
        """Return those whose files are gone: a look in the order of a file's way, so that none is missed."""
        there = self._numbers(self.inbox / self.into)
        for folder in (self.inbox / ".claimed").glob("*"):
            there |= self._numbers(folder, r"[0-9a-f]{24}\.")
        return self._submitted - there - self.refused()

    def refused(self) -> set[int]:
        return self._numbers(self.inbox, after=".bad") & self._numbers(self.inbox, after=".reason.txt")

    def recipient(self, number: int) -> Address:
        return network("mhs").parse(f"user{number}@sales")

    def utf8_recipient(self) -> Address:
        return network("mhs").parse("jürgen@sales")

    def received(self) -> list[Got]:
        found = []
        for path in sorted(self.outbox.glob("*.eml")):
            octets = path.read_bytes()
            head = octets[: octets.find(b"\n\r\n")]
            found.append(Got(frozenset(to.decode() for to in _TO.findall(head)), octets))
        return found

    def break_peer(self) -> None:
        self.outbox.rename(self.outbox.with_suffix(".away"))

    def mend_peer(self) -> None:
        if self.outbox.with_suffix(".away").exists():
            shutil.rmtree(self.outbox, ignore_errors=True)
            self.outbox.with_suffix(".away").rename(self.outbox)


class ReplayDriver(FileDropDriver):
    """Exchange: files for its Replay folder, and from a Foreign connector's Drop folder."""

    def file(self, number: int, octets: bytes) -> bytes:
        return b"X-Sender: <ann@sales>\r\nX-Receiver: <bob@peer.example>\r\nX-CreatedBy: MHS\r\n" + octets


class MaildirDriver(FileDropDriver):
    """A delivery agent that puts messages into new/, and a reader of the other Maildir's new/."""

    extension = ""
    into = "new"

    def body_carried(self, body: bytes) -> bytes:
        """Lines end in LF in a Maildir, and in CRLF in a message."""
        return re.sub(rb"(?<!\r)\n", b"\r\n", body)

    def received(self) -> list[Got]:
        found = []
        for path in sorted((self.outbox / "new").glob("*")) if (self.outbox / "new").is_dir() else ():
            octets = self.body_carried(path.read_bytes())
            head = octets[: octets.find(b"\n\r\n")]
            found.append(Got(frozenset(to.decode() for to in _DELIVERED.findall(head)), octets))
        return found


class SmfDriver(FileDropDriver):
    """Novell MHS: a workstation's mail program writes SMF-70 files."""

    extension = ""

    def file(self, number: int, octets: bytes) -> bytes:
        head, _, body = octets.partition(b"\r\n\r\n")
        mark = next((line for line in head.split(b"\r\n") if line.startswith(b"X-Kit:")), b"Subject: no number")
        return b"SMF-70\r\nTo: bob@hq\r\nFrom: ann@sales\r\n" + mark + b"\r\n\r\n" + body


class FtnDriver(FileDropDriver):
    """A FidoNet mailer leaves packets of type 2+ in the inbound folder (FTS-0001, FSC-0039)."""

    extension = ".pkt"
    mark = b"x-ftn-pid"  # the number that the kit knows its messages by comes as a control line
    HERE: Final = (280, 464)
    THERE: Final = (280, 999)

    def file(self, number: int, octets: bytes) -> bytes:
        head, _, body = octets.partition(b"\r\n\r\n")
        mark = next((line[6:].strip() for line in head.split(b"\r\n") if line.startswith(b"X-Kit:")), b"")
        kludges = b"\x01MSGID: 2:280/999 %08x\r" % (number + 1) + (b"\x01PID: " + mark + b"\r" if mark else b"")
        text = kludges + body.replace(b"\r\n", b"\r") + b"\0"
        (net, node), (from_net, from_node) = self.HERE, self.THERE
        header = struct.pack(
            "<12HBB8s4HBB5HI",
            *(from_node, node, 2026, 10, 24, 1, 2, 3, 0, 2, from_net, net),
            *(1, 1, b"", 2, 2, 0, 0x0100, 0, 0),
            *(0x0001, 2, 2, 0, 0, 0),
        )
        assert len(header) == 58
        message = struct.pack("<HHHHHHH", 2, from_node, node, from_net, net, 0, 0)
        return header + message + b"24 Nov 26  01:02:03\0Bob Ray\0Ann Lee\0number\0" + text + b"\0\0"


class NetmailDriver(FileDropDriver):
    """A tosser that scans its netmail folder; the kit's messages are known by their MSGID (FTS-0009)."""

    def recipient(self, number: int) -> Address:
        return network("ftn").parse(f"user{number}@2:280/999")

    def received(self) -> list[Got]:
        found = []
        for path in self.outbox.glob("*.msg"):
            octets = path.read_bytes()
            to = octets[36:72].partition(b"\0")[0].decode("ascii")
            number = re.search(rb"\x01MSGID: <kit-(\d+)@", octets)
            mark = b"X-Kit: %s\r\n" % number[1] if number is not None else b""
            found.append(Got(frozenset((f"{to}@2:280/999",)), mark + octets))
        return found
