"""From a message of ours to netmail: order of control lines, limits, threads, long texts, files, wishes."""

from __future__ import annotations

import base64
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.filedrop.formats.ftn.codec import Netmail
from connectors.filedrop.formats.ftn.files import attached_name
from connectors.filedrop.formats.ftn.node import Node
from connectors.filedrop.formats.ftn.packets import HEADER_OCTETS, PacketHeader, read_header
from connectors.filedrop.formats.ftn.settings import FtnSettings
from connectors.filedrop.formats.ftn.text import read_text
from connectors.filedrop.formats.values import Part, Refused
from gateway.contract import Action, Fate, Notify, RecipientReport, Report, Status
from mappings.network import parse
from tests.connectors.filedrop.ftn_kit import (
    AT,
    DATA,
    STEM,
    codec,
    encode,
    packed,
    packet,
    parcel,
    parsed,
    read,
    read_one,
    text_of,
    written,
)

HEAD = """\
From: Ann Lee <ann@acme.example>
To: bob@fido.example
Subject: {subject}
Message-ID: <1@acme.example>
Date: Tue, 24 Nov 2026 01:02:03 +0100
{more}MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

{text}"""

ANN = "From: ann@acme.example"
"""What is told of every sender from the internet."""
MIXED = """\
From: Ann Lee <ann@acme.example>
To: bob@fido.example
Subject: With files
Message-ID: <1@acme.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain; charset=utf-8

See the files.
--b
Content-Type: application/octet-stream
Content-Disposition: attachment; filename="Q4 report, final.pdf"
Content-Transfer-Encoding: base64

aGVsbG8=
--b
Content-Type: application/octet-stream
Content-Disposition: attachment; filename="../x"
Content-Transfer-Encoding: base64

d29ybGQ=
--b--
"""


def mail(text: str = "Hi\n", subject: str = "Hello", more: str = "") -> str:
    return HEAD.format(subject=subject, more=more, text=text)


def test_the_example_of_the_docs() -> None:
    made = codec()
    octets = packet(made, encode(made, parcel((DATA / "ann-to-bob.eml").read_bytes())))
    path = DATA / "ann-to-bob.pkt"
    if os.environ.get("UPDATE_DOCS"):
        path.write_bytes(octets)
    assert octets == path.read_bytes()


def test_control_lines_stand_in_order() -> None:
    more = "In-Reply-To: <MSGID_2=3A280=2F464_fedcba98@fidonet.org>\n"
    message, _ = written(codec(aka="2:280/999.5"), parcel(mail("Körper\n", more=more), "ftn:Bob Ray@2:280/464.7"))
    assert message.text.split(b"\r") == [
        b"\x01INTL 2:280/464 2:280/999",
        b"\x01FMPT 5",
        b"\x01TOPT 7",
        b"\x01MSGID: <1@acme.example> f2efefae",
        b"\x01REPLY: 2:280/464 fedcba98",
        b"\x01REPLYADDR ann@acme.example",
        b"\x01REPLYTO 2:280/999.5 UUCP",
        b"\x01CHRS: CP437 2",
        b"\x01TZUTC: 0100",
        b"\x01PID: Gatepost",
        b"K\x94rper",
        b"\x01Via 2:280/999.5 @20261124.010203.UTC Gatepost 7-0",
        b"",
    ]
    assert (message.to, message.sender, message.subject) == (b"Bob Ray", b"Ann Lee", b"Hello")
    assert message.date == b"24 Nov 26  01:02:03"
    assert (message.origin, message.destination, message.attributes) == ((280, 999), (280, 464), 1)


def test_the_header_of_a_packet() -> None:
    made = codec(
        aka="2:280/999.5",
        passwords={"2:280/464": "Secret"},
        product=0x1FE,
        packet_type="2+",
        timezone="Europe/Amsterdam",
    )
    header = read_header(packet(made, encode(made, parcel(mail())))[:HEADER_OCTETS])
    assert header == PacketHeader(
        Node(2, 280, 999, 5), Node(2, 280, 464), "2+", (2026, 11, 24, 2, 2, 3), b"Secret", 0x1FE, (0, 0)
    )
    made = codec(packet_type="2.2", domain="fidonet")
    header = read_header(packet(made, encode(made, parcel(mail())))[:HEADER_OCTETS])
    assert isinstance(header, PacketHeader)
    assert (header.kind, str(header.destination)) == ("2.2", "2:280/464@fidonet")


@pytest.mark.parametrize(
    ("to", "options", "hop"),
    [
        ("Bob@2:280/464.7", {}, "2:280/464"),
        ("Bob@2:280/464.7", {"uplink": "2:280/1"}, "2:280/1"),
        ("Bob@2:280/464.7", {"uplink": "2:280/1", "direct": ["2:280/464"]}, "2:280/464"),
        ("Bob@2:280/464.7", {"uplink": "2:280/1", "direct": ["2:280/464.7"]}, "2:280/464.7"),
        ("Bob@2:280/999.7", {"uplink": "2:280/1"}, "2:280/999.7"),
        ("Bob@21:1/2@othernet", {}, "21:1/2"),
    ],
)
def test_which_node_a_packet_is_for(to: str, options: dict[str, object], hop: str) -> None:
    made = codec(**options)
    encoded = encode(made, parcel(mail(), f"ftn:{to}"))
    assert encoded.hop == hop
    assert isinstance(encoded, Netmail)
    assert str(encoded.node) == hop


def test_long_names_and_subjects_are_told_whole() -> None:
    name, subject = "Annabel Leontine von und zu Acme-Bolt", "s" * 40 + "ü" * 31
    octets = mail(subject=subject).replace("Ann Lee", name)
    message, text = written(codec(charset="UTF-8"), parcel(octets))
    assert message.sender == name[:35].encode()
    assert message.subject == subject[:55].encode() + b""
    assert text.get("REALNAME") == name
    assert text.get("RFC-SUBJECT") == subject
    notes = encode(codec(charset="UTF-8"), parcel(octets)).notes
    assert {note.what for note in notes} == {"From", "Subject", ANN}
    assert all(note.fate is Fate.MAPPED for note in notes)


def test_characters_without_a_place_are_noted() -> None:
    encoded = encode(codec(), parcel(mail("Жизнь\n")))
    assert [note.what for note in encoded.notes] == ["characters", ANN]
    [message] = packed(packet(codec(), encoded))
    assert b"?????" in message.text


def test_a_name_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(Refused, match=r"5\.1\.3"):
        encode(codec(), parcel(mail(), "ftn:Женя Калюта@2:280/464"))
    encode(codec(charset="CP866"), parcel(mail(), "ftn:Женя Калюта@2:280/464"))
    with pytest.raises(Refused, match=r"5\.1\.3"):
        encode(codec(charset="UTF-8"), parcel(mail(), "ftn:" + "Ж" * 18 + "@2:280/464"))


def test_internet_recipients_need_a_gate() -> None:
    with pytest.raises(Refused, match=r"5\.1\.2"):
        encode(codec(), parcel(mail(), "smtp:eve@x.example"))
    message, text = written(codec(internet_gate="UUCP@2:280/100"), parcel(mail(), "smtp:eve@x.example"))
    assert (message.to, message.destination) == (b"UUCP", (280, 100))
    assert text.lines == ("To: eve@x.example", "", "Hi")


def test_how_a_sender_is_shown() -> None:
    message, text = written(codec(sender="address", from_line=True), parcel(mail()))
    assert message.sender == b"ann@acme.example"
    assert text.lines == ("From: Ann Lee <ann@acme.example>", "", "Hi")
    message, _ = written(codec(), parcel(mail().replace("Ann Lee <ann@acme.example>", "ann@acme.example")))
    assert message.sender == b"ann"


def test_a_sender_of_the_network_keeps_his_node() -> None:
    octets = mail().replace("Ann Lee <ann@acme.example>", "Ann <IMCEAFTN-Ann+20Lee+402+3A280_999+2E3@gw.example>")
    message, text = written(codec(), parcel(octets))
    assert (message.sender, text.get("FMPT"), text.get("REPLYADDR")) == (b"Ann Lee", "3", "")


def test_answers_go_where_the_sender_wants_them() -> None:
    _, text = written(codec(gateway_names=["INTERNET"]), parcel(mail(more="Reply-To: desk@acme.example\n")))
    assert text.get("REPLYADDR") == "desk@acme.example"
    assert text.get("REPLYTO") == "2:280/999 INTERNET"


def test_other_recipients_are_told_in_a_control_line() -> None:
    encoded = encode(codec(), parcel(mail(more="Cc: eve@acme.example\n")))
    [message] = packed(packet(codec(), encoded))
    text = read_text(message.text, "cp437")
    assert text.get("RFC-CC") == "eve@acme.example"
    assert {note.what for note in encoded.notes} == {"To", "Cc", ANN}


def test_other_recipients_are_told_as_people_write_them() -> None:
    many = ", ".join(f"Person {n} <person-{n}@acme.example>" for n in range(100))
    encoded = encode(codec(), parcel(mail(more=f"Cc: IMCEAFTN-Carl+20Moe+402+3A280_464@gw.example, {many}\n")))
    [message] = packed(packet(codec(), encoded))
    told = read_text(message.text, "cp437").get("RFC-CC")
    assert told.startswith("Carl Moe@2:280/464, Person 0 <person-0@acme.example>, Person 1 <")
    assert told.endswith(", Person 24 <person-24@acme.example>,")
    [cut] = [note for note in encoded.notes if note.fate is Fate.DROPPED]
    assert cut.what == "Cc: 75 of many"


@pytest.mark.parametrize(
    ("more", "notify", "priority", "want"),
    [
        ("", Notify.UNSET, 0, 0x0001),
        ("", Notify.SUCCESS, 0, 0x1001),
        ("Disposition-Notification-To: ann@acme.example\n", Notify.UNSET, 0, 0x1001),
        ("Priority: urgent\n", Notify.UNSET, 0, 0x0003),
        ("X-Priority: 1 (Highest)\n", Notify.UNSET, 0, 0x0003),
        ("", Notify.UNSET, 5, 0x0003),
    ],
)
def test_wishes_become_attributes(more: str, notify: Notify, priority: int, want: int) -> None:
    encoded = encode(codec(), parcel(mail(more=more), notify=notify, priority=priority))
    [message] = packed(packet(codec(), encoded))
    assert message.attributes == want
    assert isinstance(encoded, Netmail)
    assert encoded.flavour == ("crash" if want & 2 else "normal")


def test_what_came_from_fidonet_goes_back_as_it_was() -> None:
    part, _ = read_one((DATA / "netmail-2.pkt").read_bytes())
    content = b"".join(piece for piece in part.content if isinstance(piece, bytes))
    _, text = written(codec(), parcel(content))
    assert text.get("MSGID") == "2:280/464 fedcba98"
    assert text.get("REPLY") == "<1@acme.example> f2efefae"
    assert text.get("PID") == "Reader 1.0"
    assert text.get("FLAGS") == "DIR"
    via = [k.value for k in text.kludges if k.name == "Via"]
    assert via == ["2:280/464 @20261124.003223.UTC Tosser 1.0", "2:280/999 @20261124.010203.UTC Gatepost 7-0"]
    assert text.kludges[-1].name == "Via"


def test_fields_that_others_wrote_make_no_addressing() -> None:
    lines = ("INTL 1:1/1 1:1/1", "FMPT 9", "AREA:TEST", "X\x01INTL 1:1/1 1:1/1")
    more = "".join(f"X-FTN-Kludge: {line}\n" for line in lines)
    _, text = written(codec(), parcel(mail(more=more)))
    assert text.get("INTL") == "2:280/464 2:280/999"
    assert text.get("FMPT") == ""
    assert not [k for k in text.kludges if k.name in ("AREA", "TEST")]
    assert sum(k.name == "INTL" for k in text.kludges) == 1


def test_no_line_of_a_text_is_a_control_line() -> None:
    message, text = written(codec(), parcel(mail("AREA:TEST\n\x01MSGID: fake 1\nend\n")))
    assert text.lines == (" AREA:TEST", "MSGID: fake 1", "end")
    assert message.text.count(b"\x01MSGID") == 1


def test_a_long_text_goes_in_parts() -> None:
    lines = "".join(f"line {n} {'x' * 60}\n" for n in range(100))
    encoded = encode(codec(max_text_bytes=2048), parcel(mail(lines + "y" * 5000 + "\n", subject="Long")))
    messages = packed(packet(codec(), encoded))
    texts = [read_text(m.text, "cp437") for m in messages]
    assert [m.subject for m in messages] == [b"Long", *(f"{n:02}: Long".encode() for n in range(2, len(messages) + 1))]
    serials = [int(text.get("MSGID").rpartition(" ")[2], 16) for text in texts]
    assert serials == [0xF2EFEFAE + n for n in range(len(messages))]
    split = [text.get("SPLIT") for text in texts]
    assert split[1] == f"24 Nov 26 01:02:03 @280/999    7     02/{len(messages):02} +++++++++++"
    assert all(sum(len(line) + 1 for line in text.lines) <= 2048 for text in texts)
    assert all(text.kludges[-1].name == "Via" for text in texts)
    body = "".join(f"{line}\n" for text in texts for line in text.lines)
    assert body.replace("\n", "") == (lines + "y" * 5000).replace("\n", "")
    assert [note.what for note in encoded.notes] == ["text", ANN]
    ids = [parsed(part)["Message-ID"] for part in read(packet(codec(), encoded)) if isinstance(part, Part)]
    assert ids[0] == "<1@acme.example>"
    assert len(set(ids)) == len(ids)


def test_a_long_line_is_parted_between_characters() -> None:
    encoded = encode(codec(max_text_bytes=1024, charset="UTF-8"), parcel(mail("✓" * 2000 + "\n")))
    texts = [read_text(m.text, "utf-8") for m in packed(packet(codec(), encoded))]
    assert "".join(line for text in texts for line in text.lines) == "✓" * 2000


def test_files_go_beside() -> None:
    made = codec()
    encoded = encode(made, parcel(MIXED))
    first, second, third = packed(packet(made, encoded))
    assert read_text(first.text, "cp437").lines == ("See the files.",)
    assert [e.name for e in encoded.enclosures] == [second.subject.decode(), third.subject.decode()]
    assert [b"".join(e.octets()) for e in encoded.enclosures] == [b"hello", b"world"]
    assert re.fullmatch(rb"[0-9A-Z]{8}\.PDF", second.subject)
    assert (first.attributes, second.attributes) == (0x01, 0x11)
    text = read_text(second.text, "cp437")
    assert text.lines == ("File: Q4 report, final.pdf", "Of the message: With files")
    assert text.get("REPLY") == read_text(first.text, "cp437").get("MSGID")
    files = ["attachment Q4 report, final.pdf", "attachment ../x", "media types of attachments"]
    assert [note.what for note in encoded.notes if note.what != ANN] == files


def test_files_may_go_in_the_text() -> None:
    made = codec(attachments="uuencode")
    encoded = encode(made, parcel(MIXED))
    assert encoded.enclosures == ()
    _, message = read_one(packet(made, encoded))
    assert text_of(message) == "See the files.\n\n\n"
    assert [a.get_content() for a in message.iter_attachments()] == [b"hello", b"world"]


def test_names_of_files() -> None:
    assert attached_name("Q4 report, final.pdf", STEM, 1, dos=False) == f"{STEM}-1-Q4_report_final.pdf"
    one, other = (attached_name("a.tar.gz", STEM, n, dos=True) for n in (1, 2))
    assert re.fullmatch(r"[0-9A-Z]{8}\.GZ", one)
    assert one != other
    assert one == attached_name("b.gz", STEM, 1, dos=True)


@given(st.text(max_size=300))
def test_any_name_makes_a_files_name(name: str) -> None:
    assert re.fullmatch(r"[0-9A-Z]{8}(\.[0-9A-Z]{1,3})?", attached_name(name, STEM, 1, dos=True))
    long = attached_name(name, STEM, 1, dos=False)
    assert len(long) <= 71
    assert re.fullmatch(r"[A-Za-z0-9._()+=-]+", long)


PLAIN = st.text(st.characters(codec="cp437", exclude_categories=["Cc", "Zl", "Zp"]), max_size=200)


def test_netmail_to_a_number_of_our_own_is_refused_and_does_not_go_round() -> None:
    made = codec(akas=["2:280/998"], uplink="2:280/1")
    for to in ("Nobody@2:280/999", "Nobody@2:280/999@fidonet", "Nobody@2:280/998"):
        with pytest.raises(Refused, match=r"5\.1\.1 nobody at this gateway's own node"):
            encode(made, parcel(mail(), f"ftn:{to}"))
    for to in ("Bob@2:280/999.7", "Bob@2:280/999@othernet"):
        encode(made, parcel(mail(), f"ftn:{to}"))


@given(
    st.text(st.characters(codec="cp437", exclude_categories=["Cc", "Zs"]), min_size=1, max_size=71),
    st.lists(PLAIN, max_size=20),
)
@settings(max_examples=60)
def test_what_fits_survives(subject: str, lines: list[str]) -> None:
    lines = [line.replace("ì", "i") for line in lines]
    subject = subject.replace("ì", "i")
    text = "".join(f"{line}\n" for line in lines)
    octets = mail(text, subject="=?utf-8?B?" + base64.b64encode(subject.encode()).decode() + "?=")
    _, message = read_one(packet(codec(), encode(codec(), parcel(octets))))
    assert message["Subject"] == subject
    got = text_of(message)
    if not re.match("AREA:", text, re.IGNORECASE):
        assert got.rstrip("\n") == text.rstrip("\n")
    assert message["Message-ID"] == "<1@acme.example>"
    assert message["Date"] == "Tue, 24 Nov 2026 01:02:03 +0100"


@given(st.binary(max_size=600))
def test_any_content_makes_a_packet_that_can_be_read(octets: bytes) -> None:
    made = codec()
    encoded = encode(made, parcel(octets))
    assert packet(made, encoded) == packet(made, encode(made, parcel(octets)))
    for part in read(packet(made, encoded)):
        assert isinstance(part, Part), part


def test_a_report_is_netmail_to_the_sender() -> None:
    def status(action: Action, code: str, text: str) -> tuple[bytes, bytes, int, str, str]:
        final = parse("smtp:ann@acme.example")
        about = RecipientReport(action, final, final, Status(code, text))
        report = Report(7, parse("ftn:Bob Ray@2:280/464.1"), AT, (about,))
        encoded = codec().status(report, "2:280/464 fedcba98", STEM)
        assert encoded is not None
        assert encoded.hop == "2:280/464"
        [message] = packed(packet(codec(), encoded))
        lines = read_text(message.text, "cp437")
        return message.sender, message.subject, message.attributes, lines.get("REPLY"), lines.lines[0]

    assert status(Action.DELIVERED, "2.1.5", "stored") == (
        b"Postmaster", b"Return receipt", 0x2001, "2:280/464 fedcba98", "smtp:ann@acme.example: delivered",
    )  # fmt: skip
    assert status(Action.FAILED, "5.1.1", "no such user")[:3] == (b"Mail Delivery", b"Undelivered mail", 0x2001)


def test_a_report_to_another_network_is_none_of_ours() -> None:
    final = parse("smtp:ann@acme.example")
    report = Report(7, final, AT, (RecipientReport(Action.FAILED, final, final, Status("5.1.1", "no")),))
    assert codec().status(report, "", STEM) is None


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"aka": "280/999"}, "zone:net/node"),
        ({"charset": "GERMAN"}, "character set"),
        ({"timezone": "Nowhere/Land"}, "time zone"),
        ({"passwords": {"2:280/464": "too long for it"}}, "at most 8"),
        ({"areas": {"X": "nobody"}}, "is no address"),
        ({"uplink": "2:280/999"}, "one node"),
        ({"internet_gate": "2:280/464"}, "UUCP@2:280/464"),
        ({"gateway_names": ["Grüße"]}, "ASCII"),
        ({"zones": {"0": "x"}}, "from 1 to 32767"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        FtnSettings.model_validate({"aka": "2:280/999", **options})


def test_names_of_complete_files() -> None:
    made = codec()
    assert made.is_message("1A2B3C4D.PKT")
    assert made.is_message("12.msg")
    assert not made.is_message("1a2b3c4d.tmp")
    assert not made.is_message(".1a2b3c4d.pkt")
    assert re.fullmatch("[0-9a-f]{8}", made.file_stem(STEM))
