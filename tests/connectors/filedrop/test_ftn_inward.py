"""From FidoNet to a message of ours: addresses, first lines, threads, what is kept in fields, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats.values import Bad, Beside, Part, Stamp
from gateway.contract import Blob, Notify
from mappings.network import parse
from tests.connectors.filedrop.ftn_kit import AT, DATA, codec, joined, parsed, read, read_one, text_of


def file(name: str) -> bytes:
    return (DATA / name).read_bytes()


def made(
    text: bytes,
    *,
    to: bytes = b"Bob Ray",
    sender: bytes = b"Ann Lee",
    subject: bytes = b"Subject",
    attributes: int = 1,
    date: bytes = b"24 Nov 26  01:02:03",
    origin: tuple[int, int] = (280, 464),
    destination: tuple[int, int] = (280, 999),
) -> bytes:
    """Return a packet of type 2 without zones that holds one message."""
    head = struct.pack("<12H", 464, 999, 2026, 10, 24, 1, 2, 3, 0, 2, 280, 280) + b"\xfe\x01" + bytes(32)
    front = struct.pack("<7H", 2, origin[1], destination[1], origin[0], destination[0], attributes, 0)
    return head + front + b"\0".join((date, to, sender, subject, text)) + b"\0\0\0"


def only(octets: bytes, **options: Any) -> Bad:
    [bad] = read(octets, **options)
    assert isinstance(bad, Bad), bad
    return bad


def test_netmail_goes_where_it_is_addressed() -> None:
    part, message = read_one(file("netmail-2plus.pkt"), aka="2:280/464")
    assert part.reverse_path == parse("ftn:Ann Lee@2:280/999")
    assert [r.address for r in part.recipients] == [parse("ftn:Bob Ray@2:280/464.1")]
    assert message["From"].addresses[0].display_name == "Ann Lee"
    assert message["Subject"] == "Hello"
    assert message["Date"] == "Tue, 24 Nov 2026 01:02:03 +0100"
    assert message["Message-ID"] == "<MSGID_2=3A280=2F999_1a2b3c4d@fidonet.org>"
    assert message["X-FTN-To"] == "Bob Ray @ 2:280/464.1"
    assert text_of(message) == "Body über\n"
    assert part.key == "2:280/999 1a2b3c4d"


def test_netmail_to_the_gateway_goes_where_its_first_line_says() -> None:
    part, message = read_one(file("netmail-2.pkt"), passwords={"2:280/464": "SECRET"})
    [recipient] = part.recipients
    assert recipient.address == parse("smtp:ann@acme.example")
    assert recipient.notify == Notify.SUCCESS | Notify.FAILURE  # the bit for a return receipt
    assert part.priority > 0
    assert message["Priority"] == "urgent"  # the crash bit
    assert message["To"] == "ann@acme.example"
    assert message["In-Reply-To"] == "<1@acme.example>"
    assert message["References"] == "<1@acme.example>"
    assert message["X-FTN-PID"] == "Reader 1.0"
    assert message["X-FTN-Kludge"] == "Flags DIR"
    assert message["X-FTN-Via"] == "2:280/464 @20261124.003223.UTC Tosser 1.0"
    assert message["X-FTN-Attributes"] == "PVT CRS RRQ"
    assert message["Date"] == "Tue, 24 Nov 2026 01:02:03 +0000"
    assert text_of(message) == "Hi Ann,\nsee you über there.\n--- Reader 1.0\n"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (b"to:ann@acme.example\rHi\r", ["ann@acme.example"]),
        (b"\r\r\rTo: Ann Lee <ann@acme.example>, bob@acme.example\r\rHi\r", ["ann@acme.example", "bob@acme.example"]),
        (b"To: ann@acme.example\rCc: bob@acme.example\rBcc: eve@acme.example\r\rHi\r",
         ["ann@acme.example", "bob@acme.example", "eve@acme.example"]),
        (b"To: ann@acme.example,\r bob@acme.example\r\rHi\r", ["ann@acme.example", "bob@acme.example"]),
        (b"From: whoever@x.example\rTo: ann@acme.example\rTo: ann@acme.example\rHi\r", ["ann@acme.example"]),
    ],
)  # fmt: skip
def test_first_lines(text: bytes, want: list[str]) -> None:
    part, message = read_one(made(text, to=b"uucp"))
    assert [r.address.value for r in part.recipients] == want
    assert text_of(message) == "Hi\n"
    assert message["Bcc"] is None


def test_first_lines_may_name_the_subject_and_where_answers_go() -> None:
    octets = made(b"To: ann@acme.example\rReply-To: eve@acme.example\rSubject: A longer one\rHi\r", to=b"INTERNET")
    _, message = read_one(octets)
    assert (message["Subject"], message["Reply-To"]) == ("A longer one", "eve@acme.example")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (b"Hi\rTo: ann@acme.example\r", "ftn.no-to-line"),
        (b"\r\r\r\rTo: ann@acme.example\r", "ftn.no-to-line"),
        (b"To: nobody\r", "ftn.bad-to-line"),
        (b"To: a@b, <c\r", "ftn.bad-to-line"),
        (b"", "ftn.no-to-line"),
        (b"To: " + b", ".join(b"u%d@a.example" % n for n in range(1001)) + b"\r", "ftn.too-many-recipients"),
    ],
)
def test_netmail_to_the_gateway_without_an_address_is_kept(text: bytes, rule: str) -> None:
    octets = made(text, to=b"UUCP")
    bad = only(octets)
    assert bad.rule == rule
    assert bad.item is not None
    assert joined(bad.item, octets) == octets


def test_the_gateways_name_elsewhere_is_a_name() -> None:
    part, _ = read_one(made(b"To: ann@acme.example\r", to=b"UUCP", destination=(280, 100)))
    assert part.recipients[0].address == parse("ftn:UUCP@2:280/100")


def test_a_name_that_is_an_address_is_one() -> None:
    part, message = read_one(made(b"Hi\r", to=b"ann@acme.example"))
    assert part.recipients[0].address == parse("smtp:ann@acme.example")
    assert message["To"] == "ann@acme.example"


def test_points_and_zones_come_from_the_text_then_from_the_packet() -> None:
    part, _ = read_one(file("point-fsc48.pkt"))
    assert part.reverse_path == parse("ftn:Bob Ray@2:280/464.7")
    part, _ = read_one(file("netmail-22.pkt"))
    assert part.reverse_path == parse("ftn:Bob Ray@2:280/464.7")
    part, _ = read_one(made(b"\x01INTL 3:1/2 21:4/5\r\x01FMPT 6\r\x01TOPT 7\rHi\r"), zones={21: "othernet"})
    assert part.reverse_path == parse("ftn:Ann Lee@21:4/5.6@othernet")
    assert part.recipients[0].address == parse("ftn:Bob Ray@3:1/2.7")


def test_echomail_goes_where_its_area_says() -> None:
    octets = file("echomail.pkt")
    part, message = read_one(octets, areas={"sysop_test": "list@lists.example"})
    assert part.recipients[0].address == parse("smtp:list@lists.example")
    assert part.reverse_path == parse("ftn:Bob Ray@2:280/464")
    assert (message["Subject"], message["X-FTN-Area"], message["X-FTN-To"]) == ("Тема", "SYSOP_TEST", "All")
    assert message["X-FTN-Origin"] == "Somewhere (2:280/464)"
    assert message.get_all("X-FTN-Seen-By") == ["280/464 999", "281/1"]
    assert message["X-FTN-Path"] == "280/464"
    assert text_of(message) == "Проверка Н\n--- Reader 1.0\n"
    assert only(octets).rule == "ftn.unknown-area"


def test_an_identifier_of_another_form_is_no_address() -> None:
    octets = file("echomail.pkt")
    foreign = b"29.net-list@1:2320/33 25a3ef3b"
    start = octets.index(b"\x01MSGID: ") + len(b"\x01MSGID: ")
    made = octets[:start] + foreign + octets[octets.index(b"\r", start) :]
    part, message = read_one(made.replace(b" * Origin:", b" + Origin:"), areas={"sysop_test": "list@lists.example"})
    assert part.reverse_path == parse("ftn:Bob Ray@2:280/464")  # the packet's, for want of an origin line
    assert message["Message-ID"] == "<MSGID_29.net-list=401=3A2320=2F33_25a3ef3b@fidonet.org>"
    assert part.key == foreign.decode()


def test_a_stored_message_is_one_message() -> None:
    part, message = read_one(file("stored.msg"), name="12.MSG")
    assert part.reverse_path == parse("ftn:Bob Ray@2:280/464.7")
    assert part.recipients[0].address == parse("ftn:Ann Lee@2:280/999")
    assert text_of(message) == "Hi\n"
    assert part.item is None


def test_what_is_tolerated_arrives() -> None:
    parts = read(file("tolerated.pkt"))
    assert all(isinstance(part, Part) for part in parts)
    messages = [parsed(part) for part in parts if isinstance(part, Part)]
    assert text_of(messages[0]) == "One\nTwothree\n"
    assert messages[0]["Message-ID"].startswith("<NOMSGID_2=3A280=2F464_261124_010200_")
    assert messages[3]["From"].addresses[0].display_name == "B" * 60


def test_the_good_messages_of_a_packet_arrive_and_the_bad_one_is_kept_alone() -> None:
    good, bad = read(file("cut-off.pkt"))
    assert isinstance(good, Part)
    assert isinstance(bad, Bad)
    assert bad.rule == "ftn.cut-off"
    assert bad.item is not None
    assert joined(bad.item, file("cut-off.pkt")).startswith(file("cut-off.pkt")[:58])


def test_passwords_are_asked_for_whatever_their_case() -> None:
    octets = file("netmail-2.pkt")
    assert only(octets, passwords={"2:280/464": "other"}).rule == "ftn.password"
    assert only(octets, passwords={"2:280/464": "other"}).item is None
    assert isinstance(read(octets, passwords={"2:280/464": "SeCrEt"})[0], Part)
    assert only(octets, known_only=True).rule == "ftn.unknown-link"
    assert isinstance(read(octets)[0], Part)


def test_what_is_no_packet_is_bad_whole() -> None:
    assert only(b"", name="x.pkt").rule == "ftn.header"
    assert only(b"hello" * 20, name="x.pkt").rule == "ftn.packet-type"
    assert only(b"hello", name="x.msg").rule == "ftn.cut-off"


def test_an_empty_packet_holds_nothing() -> None:
    assert read(file("netmail-2plus.pkt")[:58] + b"\0\0") == []


def test_a_gateway_tells_where_its_sender_is() -> None:
    _, message = read_one(made(b"\x01REPLYADDR Eve Poe <eve@x.example>\r\x01RealName: Eve Cornelia Poe\rHi\r"))
    assert message["Reply-To"] == "eve@x.example"
    assert message["From"].addresses[0].display_name == "Eve Cornelia Poe"
    _, message = read_one(made(b"\x01REPLYADDR: not an address\rHi\r"))
    assert message["Reply-To"] is None


def test_an_internet_id_comes_back() -> None:
    _, message = read_one(made(b"\x01MSGID: <7@x.example> 12345678\rHi\r"))
    assert message["Message-ID"] == "<7@x.example>"
    _, message = read_one(
        made(b"\x01MSGID: <7@x.example> 12345679\r\x01SPLIT: 24 Nov 26 01:02:03 @280/464 7 02/03 ++\rHi\r")
    )
    assert message["Message-ID"] == "<MSGID_=3C7=40x.example=3E_12345679@fidonet.org>"
    assert message["In-Reply-To"] == "<7@x.example>"


def test_a_return_receipt_has_nobody_to_report_to() -> None:
    part, _ = read_one(made(b"Hi\r", attributes=0x2001))
    assert part.reverse_path is None


def test_a_message_in_circles_is_kept() -> None:
    assert only(made(b"Hi\r" + b"\x01Via 2:280/999 @20261124.000000.UTC Gatepost\r" * 6)).rule == "ftn.loop"
    assert isinstance(read(made(b"Hi\r" + b"\x01Via 2:280/999 @20261124.000000.UTC Gatepost\r" * 5))[0], Part)


def test_files_go_along() -> None:
    part, message = read_one(made(b"Two files\r", subject=b"C:\\OUT\\A.ZIP ^b.txt", attributes=0x11))
    besides = [piece for piece in part.content if isinstance(piece, Beside)]
    assert besides == [Beside("A.ZIP"), Beside("b.txt")]
    assert message.get_content_type() == "multipart/mixed"
    assert only(made(b"Hi\r", subject=b"..", attributes=0x11)).rule == "ftn.unsafe-name"
    assert only(made(b"Hi\r", subject=b"NUL", attributes=0x11)).rule == "ftn.unsafe-name"


def test_a_files_name_has_the_capitals_of_the_folder() -> None:
    def beside(name: str) -> Blob:
        if name != "a.zip":
            raise FileNotFoundError(name)
        return InMemory(b"")

    octets = made(b"Hi\r", subject=b"A.ZIP", attributes=0x11)
    [part] = codec().decode(InMemory(octets), Stamp("00ff", AT, "x.pkt", beside))
    assert isinstance(part, Part)
    assert Beside("a.zip") in part.content


def test_a_file_in_the_text_becomes_an_attachment() -> None:
    _, message = read_one(made(b"See:\rbegin 644 note.txt\r%:&5L;&\\\r`\rend\rBye\r"))
    assert text_of(message) == "See:\nBye\n"
    [attachment] = message.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == ("note.txt", b"hello")


def test_no_field_of_a_message_makes_a_header() -> None:
    octets = made(
        b"\x01PID: x\nX-Evil: 1\r\x01Odd\n\nX-Evil: 2\r\x01MSGID: a\nb 1\r\x01REPLYADDR e@x.example\nX-Evil: 3\rHi\r",
        subject=b"Re\r\nX-Evil: 4",
        sender=b"Eve\r\nX-Evil: 5",
        to=b"Bob\nX-Evil: 6",
    )
    _, message = read_one(octets)
    assert message["X-Evil"] is None
    assert message["Subject"] == "Re X-Evil: 4"


def test_the_zone_of_messages_without_one_can_be_set() -> None:
    _, message = read_one(made(b"Hi\r"), timezone="Europe/Amsterdam")
    assert message["Date"] == "Tue, 24 Nov 2026 01:02:03 +0100"
    _, message = read_one(made(b"Hi\r", date=b"yesterday"))
    assert message["Date"] == "Tue, 24 Nov 2026 01:02:03 +0000"  # when it was handed in


@given(st.binary(max_size=500), st.sampled_from(("x.pkt", "x.msg", "x")))
def test_any_octets_are_read_or_named(octets: bytes, name: str) -> None:
    for found in read(octets, name):
        assert isinstance(found, Part | Bad)


@given(st.data())
def test_a_broken_packet_is_read_or_named(data: st.DataObject) -> None:
    octets = bytearray(file(data.draw(st.sampled_from(sorted(p.name for p in Path(DATA).glob("*.pkt"))))))
    for _ in range(data.draw(st.integers(1, 8))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    for found in read(bytes(octets)):
        if isinstance(found, Part):
            parsed(found)
