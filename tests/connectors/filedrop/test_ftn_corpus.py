"""Vectors of two other programs, read in place: FIDOGATE's own tests of its gating, and python-ftn's sample files.

What is compared is what the standards settle: identifiers and threads, dates and zones, names and subjects in their
character sets, the text. What each gateway does in its own way is not: FIDOGATE gates echomail to news, writes its own
address forms and fields, takes the tear line out of the text and keeps every control line twice.
"""

from __future__ import annotations

import email
import email.policy
import os
import re
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

from connectors.filedrop.formats.ftn.msgid import to_msgid
from connectors.filedrop.formats.ftn.packets import HEADER_OCTETS, read_header
from connectors.filedrop.formats.ftn.text import MessageText, read_text
from connectors.filedrop.formats.values import Part
from tests.connectors.filedrop.ftn_kit import codec, encode, packed, packet, parcel, parsed, read, text_of

CORPUS = os.environ.get("GATEPOST_CORPUS")
GATE = Path(CORPUS or "") / "fidogate" / "tests" / "gate"
SAMPLES = Path(CORPUS or "") / "python-ftn" / "tests"
DOMAIN = "fidonet.org"


def folders(kind: str, count: int) -> list[Path]:
    """Return the folders of FIDOGATE's tests; none, told, where there is no corpus."""
    if CORPUS is None:
        print("GATEPOST_CORPUS is not set: the vectors of FIDOGATE and python-ftn were not read")
        return []
    found = sorted(path.parent for path in (GATE / kind).glob("*/input"))
    assert len(found) == count
    return found


UNDECLARED = {"test017": "its header is in an 8-bit set that no field names; FIDOGATE is told one for such articles"}


def articles(octets: bytes) -> list[bytes]:
    """Return the articles of a file: one, or a batch of them."""
    return re.split(rb"#! rnews \d+\n", octets)[1:] if octets.startswith(b"#!") else [octets]


def want_of(folder: Path) -> list[EmailMessage]:
    """Return the messages that FIDOGATE made."""
    octets = (folder / "expected").read_bytes()
    return [email.message_from_bytes(each, policy=email.policy.default) for each in articles(octets)]


def test_the_way_in() -> None:
    for folder in folders("tests_ftn2rfc", 9):
        _way_in(folder)


def _way_in(folder: Path) -> None:
    octets = (folder / "input").read_bytes()
    areas = {read_text(m.text, "cp866").area: "list@lists.example" for m in packed(octets)}
    parts = read(octets, aka="2:4500/1", charset="CP866", timezone="Etc/GMT-2", areas=areas)
    wanted = want_of(folder)
    assert len(parts) == len(wanted)
    for part, want in zip(parts, wanted, strict=True):
        assert isinstance(part, Part), part
        message = parsed(part)
        assert message["Message-ID"] == want["Message-ID"]
        assert message["References"] == want["References"]
        assert message["Date"] == want["Date"]
        assert _words(message["Subject"]) == _words(want["Subject"])
        name = want["X-FTN-From"].partition(" @ ")[0]
        assert message["X-FTN-From"].partition(" @ ")[0] == name
        for kludge in want.get_all("X-FTN-Kludge", []):
            if not re.match("MSGID|REPLY|CHRS|CODEPAGE|TZUTC|PID|TID|RealName", kludge):
                assert _words(kludge) in [_words(each) for each in message.get_all("X-FTN-Kludge", [])]
        assert _body(text_of(message)) == _body(text_of(want))


def _words(text: str | None) -> str:
    return " ".join(str(text or "").split())


def _body(text: str) -> list[str]:
    """Return the lines of a text without its tear line, and without the empty ones at its end."""
    lines = [line.rstrip() for line in text.split("\n") if not re.match(r"---( |$)", line)]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _said(texts: Sequence[MessageText]) -> str:
    """Return the words of a text in one or several parts. What has no place in the set stands as (C) there, as ? here,
    for the gateway finds such words before the format is asked."""
    lines = (line for text in texts for line in text.lines if not re.match(r"---|From: |\.$", line))
    return " ".join(" ".join(lines).split()).replace("(C)", "?")


def test_the_way_out() -> None:
    for folder in folders("tests_rfc2ftn", 21):
        _way_out(folder)


def _way_out(folder: Path) -> None:
    octets = articles((folder / "input").read_bytes())[0]
    wanted = packed((folder / "expected").read_bytes())
    text = read_text(wanted[0].text, "cp866")
    charset = "UTF-8" if text.charset.upper() == "UTF-8" else text.charset or "CP866"
    made = codec(aka="2:4500/1", charset=charset, max_text_bytes=1024 * 1024)
    got, *_ = packed(packet(made, encode(made, parcel(octets, "ftn:All@2:4500/2"))))
    ours = read_text(got.text, "cp866")
    assert got.date == wanted[0].date
    if folder.name not in UNDECLARED:
        assert got.subject == wanted[0].subject.strip()
        parts = [read_text(each.text, "cp866") for each in wanted] if text.get("SPLIT") else [text]
        assert _said([ours]) == _said(parts), folder.name
    original = email.message_from_bytes(octets, policy=email.policy.compat32)
    serial = text.get("MSGID").rpartition(" ")[2]
    made_id = to_msgid(str(original["Message-ID"]), DOMAIN, text.area)
    assert made_id is not None
    assert made_id.rpartition(" ")[2] == serial
    if text.get("TZUTC"):
        assert ours.get("TZUTC") == text.get("TZUTC")
    if text.get("REPLY"):
        last = str(original["References"]).split()[-1]
        # An id with a blank stands in quotes (FTS-0009); FIDOGATE leaves them out.
        assert (to_msgid(last, DOMAIN, text.area) or "").replace('"', "") == text.get("REPLY")


def test_a_packet_of_python_ftn() -> None:
    if CORPUS is None:
        return
    octets = (SAMPLES / "sample.pkt").read_bytes()
    header = read_header(octets[:HEADER_OCTETS])
    assert (str(getattr(header, "origin", "")), getattr(header, "kind", "")) == ("1:322/761", "2+")
    [part] = read(octets, aka="99:99/99", zones={99: "testnet"})
    assert isinstance(part, Part)
    assert part.reverse_path is not None
    assert part.reverse_path.value == "Lars@1:322/761"
    assert [r.address.value for r in part.recipients] == ["Someone Else@99:99/99@testnet"]
    message = parsed(part)
    assert message["Message-ID"] == "<MSGID_1=3A322=2F761_ea6ec1dd@fidonet.org>"
    assert message["X-FTN-PID"] == "fidonet.makemsg"
    assert (message["Subject"], text_of(message)) == ("This is a sample message.", "This is a sample message.\n")


def test_what_python_ftn_calls_a_message_is_one_out_of_a_packet() -> None:
    if CORPUS is None:
        return
    octets = (SAMPLES / "sample.msg").read_bytes()
    [message] = packed(bytes(HEADER_OCTETS) + octets)
    assert (message.to, message.sender) == (b"Someone Else", b"Lars")
