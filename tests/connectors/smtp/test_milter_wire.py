"""The milter protocol's octets: packets written and read, and dialogues recorded with the filters of Debian.

The recordings (`tests/data/milter`) have a line for each packet: `>` for the mail server's, `<` for the filter's, its
letter, and its data in hexadecimal.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.smtp import milter_wire as wire
from connectors.smtp.milter_wire import Answer, MilterError, Replies, Reply

from .milter_kit import framed
from .server_kit import serving
from .test_milter import sent
from .test_real_milters import EICAR, GTUBE, HEAD, PLAIN

RECORDINGS = Path(__file__).parents[2] / "data" / "milter"
MESSAGES = {
    "clamav": [(HEAD % b"f" + EICAR + b"\r\n", 554), (PLAIN, 250)],
    "opendkim": [(b"Authentication-Results: filter.example; dkim=pass\r\n" + PLAIN, 250)],
    "rspamd": [
        (HEAD % b"f" + GTUBE + b"\r\n", 554),
        (HEAD % b"cheap pills" + b"x\r\n", 250),
        (HEAD % b"later pills" + b"x\r\n", 451),
    ],
}


def recorded(name: str) -> list[tuple[str, bytes]]:
    """Return the packets of a recording, each with who said it."""
    packets = []
    for line in (RECORDINGS / f"{name}.txt").read_text().splitlines():
        who, letter, data = line.split(" ")
        packets.append((who, letter.encode() + bytes.fromhex(data)))
    return packets


def read(*pieces: bytes) -> list[Reply]:
    replies = Replies()
    return [each for piece in pieces for each in replies.receive(piece)]


@pytest.mark.parametrize(
    ("written", "octets"),
    [
        (wire.negotiate(), b"O\0\0\0\x06\0\0\x01\xff\0\x1f\xf7\xff"),
        (wire.macros(wire.Stage.MAIL, [("i", "A1"), ("{x}", "")]), b"DMi\0A1\0{x}\0\0"),
        (wire.connect("a.example", "192.0.2.1", 25), b"Ca.example\0004\0\x19192.0.2.1\0"),
        (wire.connect("a.example", "2001:db8::1", 25), b"Ca.example\0006\0\x19IPv6:2001:db8::1\0"),
        (wire.connect("[]", "", 0), b"C[]\0U"),
        (wire.helo("a\0b"), b"Hab\0"),
        (wire.mail(""), b"M<>\0"),
        (wire.mail("a@b.example", ["SIZE=1"]), b"M<a@b.example>\0SIZE=1\0"),
        (wire.rcpt("j\xfc@b.example"), b"R<j\xc3\xbc@b.example>\0"),
        (wire.header(b"Subject", b"\xff"), b"LSubject\0\xff\0"),
        (wire.body(b"a\0b"), b"Ba\0b"),
        (wire.END, b"E"),
    ],
)
def test_what_the_server_writes(written: bytes, octets: bytes) -> None:
    assert written == framed(octets)


def test_no_macros_are_no_packet() -> None:
    assert wire.macros(wire.Stage.HELO, []) == b""


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"c", Answer.CONTINUE),
        (b"4", Answer.SHUTDOWN),
        (b"f", Answer.FAIL),
        (b"y550 5.7.1 no\0", wire.ReplyCode("550 5.7.1 no")),
        (b"hX\0\xff\0", wire.AddHeader("X", "\udcff")),
        (b"i\0\0\0\x01X\0y\0", wire.InsertHeader(1, "X", "y")),
        (b"m\0\0\0\x02X\0\0", wire.ChangeHeader(2, "X", "")),
        (b"b\0\r\n", wire.ReplaceBody(b"\0\r\n")),
        (b"+<a@b>\0", wire.AddRecipient("<a@b>")),
        (b"2<a@b>\0NOTIFY=NEVER\0", wire.AddRecipient("<a@b>", "NOTIFY=NEVER")),
        (b"-<a@b>\0", wire.DeleteRecipient("<a@b>")),
        (b"e<>\0", wire.ChangeFrom("<>")),
        (b"qodd\0", wire.Quarantine("odd")),
        (
            b"O" + struct.pack(">III", 6, 1, 2) + struct.pack(">I", 2) + b"i, {auth_authen}\0",
            wire.Options(6, wire.Actions(1), wire.Wishes(2), {wire.Stage.MAIL: ("i", "{auth_authen}")}),
        ),
    ],
)
def test_what_the_filter_says(octets: bytes, reply: Reply) -> None:
    packet = framed(octets)
    assert read(packet) == [reply]
    assert read(*(packet[n : n + 1] for n in range(len(packet)))) == [reply]
    assert read(packet + framed(b"p") + framed(b"a")[:3]) == [reply, wire.Progress()]


@pytest.mark.parametrize(
    "octets",
    [
        b"\0\0\0\0x",
        b"\xff\xff\xff\xffx",
        framed(b"?"),
        framed(b"hX\0y"),
        framed(b"hX\0"),
        framed(b"hX\0y\0z\0"),
        framed(b"i\0\0"),
        framed(b"O\0\0\0\x06"),
        framed(b"O" + struct.pack(">III", 6, 1, 2) + b"\0\0\0\x09i\0"),
        framed(b"y"),
    ],
)
def test_what_is_no_reply(octets: bytes) -> None:
    with pytest.raises(MilterError):
        read(octets)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_whatever_comes_it_is_read_or_refused(pieces: list[bytes]) -> None:
    with contextlib.suppress(MilterError):
        read(*pieces)
    with contextlib.suppress(MilterError):
        read(*(framed(piece) for piece in pieces if piece))


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_recorded_dialogue(name: str) -> None:
    """The server says again what it said to the real filter, and does with its answers what it did then."""
    packets = recorded(name)
    heard: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for who, packet in packets:
            if who == "<":
                writer.write(framed(packet))
                continue
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            heard.append(await reader.readexactly(length))
        writer.close()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with serving(milters=[{"name": name, "at": place, "client_names": False, "timeout_s": 20.0}]) as served:
        client = await (await served.dial()).greeted()
        assert [await sent(client, octets) for octets, _ in MESSAGES[name]] == [code for _, code in MESSAGES[name]]
        await client.say("QUIT")
        await client.close()
    server.close()
    assert _steady(heard) == _steady([packet for who, packet in packets if who == ">"])


def _steady(packets: Sequence[bytes]) -> list[bytes]:
    """Return packets without what is another each time: the client's port, and the names of messages."""
    return [packet[:2] if packet[:1] == b"D" else packet[:1] if packet[:1] == b"C" else packet for packet in packets]
