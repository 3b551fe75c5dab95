"""Control lines, character sets, message identifiers."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.filedrop.formats.ftn.attributes import names
from connectors.filedrop.formats.ftn.charsets import chrs_of, codec_of, decode, encode
from connectors.filedrop.formats.ftn.msgid import crc, next_serial, to_message_id, to_msgid, without_msgid
from connectors.filedrop.formats.ftn.node import Node
from connectors.filedrop.formats.ftn.text import MAX_KLUDGES, Kludge, join_text, read_text, read_zone, write_zone
from connectors.filedrop.formats.ftn.uuencoding import find_blocks, uuencode

DOMAIN = "fidonet.org"


def test_a_text_is_taken_apart() -> None:
    text = read_text(
        b"\x01INTL 2:1/2 2:3/4\r\nHello \x8d\nagain\r\x01MSGID: 2:3/4 0000abcd\r\x01Odd!\r\rlast line without end",
        "cp437",
    )
    assert text.lines == ("Hello again", "", "last line without end")
    assert text.kludges == (
        Kludge("INTL", "2:1/2 2:3/4", colon=False),
        Kludge("MSGID", "2:3/4 0000abcd"),
        Kludge("", "Odd!", colon=False),
    )
    assert text.get("MSGID") == "2:3/4 0000abcd"
    assert text.get("REPLY") == ""
    assert text.area == ""


def test_echomail_has_a_trailer() -> None:
    text = read_text(
        b"AREA:TEST\r\x01MSGID: 1:2/3 1\rBody\r--- tear\r * Origin: Here (1:2/3.4)\rSEEN-BY: 2/3\r\x01PATH: 2/3\r",
        "ascii",
    )
    assert (text.area, text.lines, text.origin) == ("TEST", ("Body", "--- tear"), "Here (1:2/3.4)")
    assert text.origin_node == Node(1, 2, 3, 4)
    assert text.seen_by == ("2/3",)
    assert text.get("PATH") == "2/3"


def test_netmail_may_speak_of_origins() -> None:
    text = read_text(
        b"\x01INTL 1:1/1 1:1/2\rAREA:TEST is an area\r * Origin: not one (1:2/3)\rSEEN-BY: nobody\r", "ascii"
    )
    assert text.area == ""
    assert len(text.lines) == 3


def test_control_lines_are_bounded() -> None:
    text = read_text(b"\x01X: y\r" * (MAX_KLUDGES + 5), "ascii")
    assert (len(text.kludges), text.lost_kludges) == (MAX_KLUDGES, 5)


@pytest.mark.parametrize(
    ("line", "octets", "want"),
    [
        ("CHRS: CP437 2", b"\x81\x8dx", "üx"),
        ("CHRS: IBMPC 2", b"\x81", "ü"),
        ("CHRS: IBMPC 2\r\x01CODEPAGE: 866", b"\x81", "Б"),
        ("CHRS: CP866 2", b"\x8d\xa0", "На"),
        ("CHRS: +7_FIDO 2", b"\x8d", "Н"),
        ("CHARSET: LATIN-1 2", b"\xfc\x8d", "ü\x8d"),
        ("CHRS: UTF-8 4", "Käthe ✓".encode(), "Käthe ✓"),
        ("CHRS: CP850 2", b"\xd5\x8d", "ı"),
        ("CHRS: MAC 2", b"\x9f", "ü"),
        ("CHRS: CP1251 2", b"\xcf", "П"),
        ("CHRS: GERMAN 1", b"K{se @", "Käse §"),
        ("CHRS: SWEDISH 1", b"]ke", "Åke"),
        ("CHRS: ASCII 1", b"a\x81", "a\ufffd"),
        ("CHRS: KLINGON 2", b"\x81", "ü"),
        ("PID: none", b"\x81\x8d", "ü"),
    ],
)
def test_character_sets(line: str, octets: bytes, want: str) -> None:
    assert read_text(b"\x01" + line.encode() + b"\r" + octets + b"\r", "cp437").lines == (want,)


def test_what_is_written_for_a_set_is_read_as_that_set() -> None:
    for name in ("CP437", "CP866", "LATIN-1", "latin-9", "UTF-8", "MAC", "KOI8-R", "ASCII", "CP1252", "850"):
        codec = codec_of(name)
        assert codec is not None
        assert codec_of(chrs_of(codec).partition(" ")[0]) == codec
    assert codec_of("CP9999") is None
    assert codec_of("GERMAN") is None


def test_characters_without_a_place_are_counted() -> None:
    assert encode("Käthe?", "cp437") == (b"K\x84the?", 0)
    assert encode("Ж ✓?", "cp437") == (b"? ??", 2)
    assert encode("lì", "cp437") == (b"li", 1)  # its octet is the soft line end
    assert encode("Н", "cp866") == (b"\x8d", 0)
    assert encode("✓", "utf-8") == ("✓".encode(), 0)


@given(st.text(st.characters(codec="cp850", exclude_categories=["Cc"]), max_size=60))
def test_a_text_of_the_set_survives(text: str) -> None:
    text = text.replace("ì", "i")
    octets, lost = encode(text, "cp850")
    assert lost == 0
    assert decode(octets, "CP850", "ascii") == text


@given(st.binary(max_size=300))
def test_any_octets_are_taken(octets: bytes) -> None:
    text = read_text(octets, "cp437")
    assert not any("\r" in line or "\n" in line for line in text.lines)
    assert not any(c in str(k) for k in text.kludges for c in "\r\n")


def test_texts_are_joined() -> None:
    kludges = [Kludge("INTL", "2:1/2 2:3/4", colon=False), Kludge("MSGID", "2:3/4 1")]
    text = join_text(kludges, ["Hi", ""], [Kludge("Via", "2:3/4", colon=False)])
    assert text == "\x01INTL 2:1/2 2:3/4\r\x01MSGID: 2:3/4 1\rHi\r\r\x01Via 2:3/4\r"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("0100", 60),
        ("-0530", -330),
        ("+0200", 120),
        ("0000", 0),
        ("01:30", 90),
        ("2400", None),
        ("0060", None),
        ("x", None),
    ],
)
def test_zones(text: str, want: int | None) -> None:
    assert read_zone(text) == want


@given(st.integers(-1439, 1439))
@settings(max_examples=50)
def test_a_zone_survives(minutes: int) -> None:
    assert read_zone(write_zone(minutes)) == minutes


# The example of GATEBAU, and ids of others' gateways that follow it.
@pytest.mark.parametrize(
    ("msgid", "message_id"),
    [
        ("2:2452/110.99 fedcba98", "<MSGID_2=3A2452=2F110.99_fedcba98@fidonet.org>"),
        ("2:4500/1.0 674ba90a", "<MSGID_2=3A4500=2F1.0_674ba90a@fidonet.org>"),
        ("<875zjcpb9v.fsf@raspberrypi.localdomain> 2acbbb00", "<875zjcpb9v.fsf@raspberrypi.localdomain>"),
        ('"a b"" c" 0000ABCD', "<MSGID_=22a_b=22=22_c=22_0000ABCD@fidonet.org>"),
        ("ann_lee@host 1", "<MSGID_ann=5Flee=40host_1@fidonet.org>"),
    ],
)
def test_identifiers_go_both_ways(msgid: str, message_id: str) -> None:
    assert to_message_id(msgid, DOMAIN) == message_id
    assert to_msgid(message_id, DOMAIN) == msgid


def test_the_checksum_is_over_the_id_and_the_area() -> None:
    # From rfc2ftn's own tests: the id alone in netmail, with the area's name in echomail.
    assert to_msgid("<87a78uasfdasfdid@localdomain>", DOMAIN) == "<87a78uasfdasfdid@localdomain> 88c6de95"
    assert to_msgid("<87a78uasfdasfdid@localdomain>", DOMAIN, "pvt.4500.test") == (
        "<87a78uasfdasfdid@localdomain> effcd9c9"
    )


def test_further_parts_have_ids_of_their_own() -> None:
    msgid = next_serial("<1@acme.example> ffffffff", 2)
    assert msgid == "<1@acme.example> 00000001"
    own = to_message_id(msgid, DOMAIN, verbatim=True)
    assert own == "<MSGID_=3C1=40acme.example=3E_00000001@fidonet.org>"
    assert to_msgid(own, DOMAIN) == msgid


def test_what_is_no_identifier_is_none() -> None:
    assert to_message_id("", DOMAIN) is None
    assert to_message_id("2:280/1", DOMAIN) is None
    assert to_message_id("x" * 1000 + " 1", DOMAIN) is None
    assert to_msgid("", DOMAIN) is None
    assert to_msgid("<no at>", DOMAIN) is None
    assert to_msgid("<a\x01b@c>", DOMAIN) is None
    other = "<MSGID_2=3A2452=2F110.99_fedcba98@other.example>"
    assert to_msgid(other, DOMAIN) == f"{other} {crc(other)}"


def test_a_message_without_msgid_has_an_id_made_of_what_it_has() -> None:
    made = without_msgid("2:242/6.1", datetime(1992, 12, 6, 22, 22, 0), b"FromToSubject", DOMAIN)
    assert made == f"<NOMSGID_2=3A242=2F6.1_921206_222200_{crc('FromToSubject')}@fidonet.org>"


PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F, exclude_categories=["Cc"]), min_size=1)


@given(PRINTABLE.filter(lambda text: not text.startswith('"') and text == text.strip()), st.integers(0, 0xFFFFFFFF))
def test_any_identifier_survives(origin: str, serial: int) -> None:
    origin = '"' + origin.replace('"', '""') + '"' if " " in origin else origin
    msgid = f"{origin} {serial:08x}"
    message_id = to_message_id(msgid, DOMAIN)
    assert message_id is not None
    assert message_id.isascii()
    back = to_msgid(message_id, DOMAIN)
    assert back is not None
    assert to_message_id(back, DOMAIN) == message_id
    if not origin.startswith("<"):
        assert back == msgid


@given(st.binary(max_size=200), st.text("abc .-", min_size=1, max_size=20))
def test_a_file_in_a_text_survives(octets: bytes, name: str) -> None:
    name = name.strip() or "x"
    lines = ["before", *uuencode(name, (octets[:50], octets[50:])), "after"]
    [block] = find_blocks(lines)
    assert (block.name, block.octets, block.start, block.end) == (name, octets, 1, len(lines) - 1)


@pytest.mark.parametrize("lines", [["begin 644 x", "end"], ["begin 644 x", "not encoded", "`", "end"], ["begin 644 x"]])
def test_half_a_file_is_text(lines: list[str]) -> None:
    assert find_blocks(lines) == []


def test_many_beginnings_cost_no_more_than_their_lines() -> None:
    line = "M" + "`" * 60
    assert find_blocks(["begin 644 x", line] * 20_000) == []


def test_attributes_have_names() -> None:
    assert names(0x1003) == "PVT CRS RRQ"
    assert names(0) == ""
