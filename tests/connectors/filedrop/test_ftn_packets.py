"""Packets and stored messages, octet for octet."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats.ftn.dates import read_date, write_date
from connectors.filedrop.formats.ftn.node import Node, read_node
from connectors.filedrop.formats.ftn.packets import (
    END,
    HEADER_OCTETS,
    Fault,
    PackedMessage,
    PacketHeader,
    PacketType,
    PointStyle,
    is_type_2plus,
    read_header,
    read_messages,
    write_header,
    write_message,
)
from connectors.filedrop.formats.ftn.stored import StoredMessage, read_stored, write_stored
from tests.connectors.filedrop.ftn_kit import DATA, packed

WORD = st.integers(0, 0xFFFF)
STRING = st.binary(max_size=35).map(lambda octets: octets.replace(b"\0", b"."))
NODES = st.builds(Node, st.integers(1, 0xFFFF), st.integers(0, 0xFFFE), WORD, WORD)
MESSAGES = st.builds(
    PackedMessage,
    st.tuples(WORD, WORD),
    st.tuples(WORD, WORD),
    WORD,
    WORD,
    st.just(b"24 Nov 26  01:02:03"),
    STRING,
    STRING,
    st.binary(max_size=71).map(lambda octets: octets.replace(b"\0", b".")),
    st.binary(max_size=500).map(lambda octets: octets.replace(b"\0", b".")),
)


def file(name: str) -> bytes:
    return (DATA / name).read_bytes()


def header(octets: bytes) -> PacketHeader:
    found = read_header(octets)
    assert isinstance(found, PacketHeader), found
    return found


def test_the_packet_that_crashmail_took_is_read_and_written_octet_for_octet() -> None:
    octets = file("netmail-2plus.pkt")
    assert octets[:HEADER_OCTETS].hex() == (
        "e703d001ea070a00180001000200030000000200180118 01fe010000000000000000"
        "0200020000000001000001000200020000000000 00000000"
    ).replace(" ", "")
    head = header(octets)
    assert head == PacketHeader(
        Node(2, 280, 999), Node(2, 280, 464), "2+", (2026, 11, 24, 1, 2, 3), b"", 0xFE, (1, 0), 0
    )
    [message] = packed(octets)
    assert (message.to, message.sender, message.subject) == (b"Bob Ray", b"Ann Lee", b"Hello")
    assert message.text == (
        b"\x01INTL 2:280/464 2:280/999\r\x01TOPT 1\r\x01MSGID: 2:280/999 1a2b3c4d\r\x01CHRS: CP437 2\r"
        b"\x01TZUTC: 0100\rBody \x81ber\r"
    )
    assert write_header(head) + write_message(message) + END == octets


@pytest.mark.parametrize(
    ("name", "origin", "kind", "password"),
    [
        ("netmail-2.pkt", Node(0, 280, 464), "2", b"secret"),
        ("netmail-2plus.pkt", Node(2, 280, 999), "2+", b""),
        ("netmail-22.pkt", Node(2, 280, 464, 7, "fidonet"), "2.2", b""),
        ("point-fsc48.pkt", Node(2, 280, 464, 7), "2+", b""),
    ],
)
def test_each_type_is_known_and_written_back(name: str, origin: Node, kind: str, password: bytes) -> None:
    octets = file(name)[:HEADER_OCTETS]
    head = header(octets)
    assert (head.origin, head.kind, head.password) == (origin, kind, password)
    style: PointStyle = "fsc48" if name == "point-fsc48.pkt" else "fsc39"
    assert header(write_header(head, style)) == head


def test_what_is_no_type_2_is_a_fault() -> None:
    octets = bytearray(file("netmail-2.pkt"))
    octets[18] = 3
    found = read_header(bytes(octets))
    assert isinstance(found, Fault)
    assert (found.rule, found.offset) == ("packet-type", 18)
    short = read_header(bytes(20))
    assert isinstance(short, Fault)
    assert short.rule == "header"


def test_a_capability_word_whose_copies_differ_makes_type_2() -> None:
    octets = bytearray(file("netmail-2plus.pkt"))
    assert is_type_2plus(bytes(octets))
    octets[40:42] = b"\x00\x03"
    assert header(bytes(octets)).kind == "2"


def test_what_is_common_though_not_allowed_is_read() -> None:
    messages = packed(file("tolerated.pkt"))
    assert [m.subject[:11] for m in messages] == [b"Short date", b"SEAdog date", b"Padded date", b"S" * 11]
    assert [read_date(m.date) for m in messages] == [datetime(2026, 11, 24, 1, 2)] * 3 + [
        datetime(2026, 11, 24, 1, 2, 3)
    ]
    assert (len(messages[3].sender), len(messages[3].subject)) == (60, 200)
    assert len(write_message(messages[3])) == 34 + 8 + 36 + 72 + 4  # the date, three names and the text, cut


def test_a_file_that_ends_within_a_message_spoils_only_that_one() -> None:
    first, second = read_messages(InMemory(file("cut-off.pkt")), 1000)
    assert isinstance(first, PackedMessage)
    assert isinstance(second, Fault)
    assert (second.rule, second.start, second.end) == ("cut-off", first.end, len(file("cut-off.pkt")))


def test_a_text_over_the_limit_is_passed_by() -> None:
    message = packed(file("netmail-2plus.pkt"))[0]
    long = write_message(PackedMessage((1, 2), (3, 4), 0, 0, message.date, b"to", b"from", b"subject", b"x" * 300_000))
    octets = bytes(HEADER_OCTETS) + long + write_message(message) + END
    first, second = read_messages(InMemory(octets), 100_000)
    assert isinstance(first, Fault)
    assert (first.rule, first.start, first.end) == ("text-too-long", HEADER_OCTETS, HEADER_OCTETS + len(long))
    assert isinstance(second, PackedMessage)
    assert second.text == message.text


def test_a_name_without_an_end_ends_the_reading() -> None:
    octets = bytes(HEADER_OCTETS) + b"\x02\0" + bytes(12) + b"24 Nov 26  01:02:03\0" + b"n" * 2000
    [fault] = read_messages(InMemory(octets), 100_000)
    assert isinstance(fault, Fault)
    assert (fault.rule, fault.end) == ("field-too-long", len(octets))


def test_octets_that_begin_no_message_end_the_reading() -> None:
    good = file("netmail-2plus.pkt")
    message, fault = read_messages(InMemory(good[:-2] + b"\x07\x07 whatever"), 1000)
    assert isinstance(message, PackedMessage)
    assert isinstance(fault, Fault)
    assert (fault.rule, fault.offset) == ("message-type", len(good) - 2)


@given(NODES, NODES, st.sampled_from(("2", "2+", "2.2")), st.sampled_from(("fsc39", "fsc48")), st.binary(max_size=8))
def test_a_header_survives(
    origin: Node, destination: Node, kind: PacketType, style: PointStyle, password: bytes
) -> None:
    password = password.replace(b"\0", b"")
    at = (2026, 11, 24, 1, 2, 3)
    if kind == "2.2":
        origin, destination = (Node(n.zone, n.net, n.node, n.point, "fidonet") for n in (origin, destination))
        at = (0, 1, 0, 0, 0, 0)
    if kind == "2":
        origin, destination = origin.boss, destination.boss
    made = PacketHeader(origin, destination, kind, at, password, 0xFE)
    octets = write_header(made, style)
    assert len(octets) == HEADER_OCTETS
    assert header(octets) == made


@given(st.lists(MESSAGES, max_size=4))
def test_messages_survive(messages: list[PackedMessage]) -> None:
    octets = bytes(HEADER_OCTETS) + b"".join(map(write_message, messages)) + END
    found = packed(octets)
    assert [(*_fields(m),) for m in found] == [(*_fields(m),) for m in messages]
    assert [octets[m.start : m.end] for m in found] == [write_message(m) for m in messages]


def _fields(m: PackedMessage) -> tuple[object, ...]:
    return m.origin, m.destination, m.attributes, m.cost, m.date, m.to, m.sender, m.subject, m.text


@given(MESSAGES, st.tuples(WORD, WORD), st.tuples(WORD, WORD))
def test_a_stored_message_survives(message: PackedMessage, zones: tuple[int, int], points: tuple[int, int]) -> None:
    text = message.text.replace(b"\x1a", b".")
    made = StoredMessage(replace(message, text=text), zones, points, 1, 2, 3)
    found = read_stored(write_stored(made))
    assert found is not None
    assert (_fields(found.message), found.zones, found.points) == (_fields(made.message), zones, points)
    assert (found.times_read, found.reply_to, found.next_reply) == (1, 2, 3)


def test_a_stored_message_ends_its_strings_at_the_first_nul() -> None:
    found = read_stored(file("stored.msg"))
    assert found is not None
    assert (found.message.sender, found.message.to, found.message.subject) == (b"Bob Ray", b"Ann Lee", b"Stored")
    assert found.message.text.endswith(b"Hi\r")
    assert read_stored(bytes(189)) is None


@given(st.binary(max_size=400))
def test_any_octets_are_read_to_an_end(octets: bytes) -> None:
    read_header(octets)
    read_stored(octets)
    for found in read_messages(InMemory(bytes(HEADER_OCTETS) + b"\x02\0" + octets), 100):
        assert found.end <= HEADER_OCTETS + 2 + len(octets)


class _InPieces(InMemory):
    """Gives fewer octets than it is asked for, as a Blob may only at its end: so that each read is seen."""

    reads = 0

    def read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        return super().read(offset, length)


def test_a_large_packet_is_read_in_pieces(tmp_path: Path) -> None:
    message = write_message(PackedMessage((1, 2), (3, 4), 0, 0, b"x", b"to", b"from", b"subject", b"y" * 10_000))
    blob = _InPieces(bytes(HEADER_OCTETS) + message * 200 + END)
    assert sum(isinstance(m, PackedMessage) for m in read_messages(blob, 20_000)) == 200
    assert blob.reads < 60  # windows of 64 KiB, not one read a message


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("24 Nov 26  01:02:03", datetime(2026, 11, 24, 1, 2, 3)),
        (" 1 Jan 79  00:00:00", datetime(2079, 1, 1)),
        ("01 Jan 80  00:00:00", datetime(1980, 1, 1)),
        ("Tue 24 Nov 26 01:02", datetime(2026, 11, 24, 1, 2)),
        ("Mon  4 Dec 89 10:11", datetime(1989, 12, 4, 10, 11)),
        ("32 Nov 26  01:02:03", None),
        ("24 anN 26  01:02:03", None),
        ("", None),
    ],
)
def test_dates(text: str, want: datetime | None) -> None:
    assert read_date(text.encode()) == want


@given(st.datetimes(datetime(1980, 1, 1), datetime(2079, 12, 31)))
def test_a_date_survives(at: datetime) -> None:
    octets = write_date(at)
    assert len(octets) == 19
    assert read_date(octets) == at.replace(microsecond=0)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("2:280/464", Node(2, 280, 464)),
        ("2:280/464.1@FidoNet", Node(2, 280, 464, 1, "fidonet")),
        ("280/464", Node(0, 280, 464)),
        ("2:280/464.0", Node(2, 280, 464)),
        ("2:280/65536", None),
        ("2:280", None),
        ("ann@acme.example", None),
    ],
)
def test_nodes(text: str, want: Node | None) -> None:
    assert read_node(text) == want
