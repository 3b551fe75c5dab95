"""POP3's answers, as servers send them and as they are cut on their way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.pop.wire import Replies, Reply, WireError, read_reply


def read(octets: bytes, kinds: str, step: int) -> list[tuple[Reply, bytes]]:
    """Return answers and their lines: `kinds` has an `m` for each that is of many lines, else an `s`."""
    replies = Replies()
    found: list[tuple[Reply, bytes]] = []
    for kind in kinds:
        lines: list[bytes] = []
        replies.expect(
            lambda reply, lines=lines: found.append((reply, b"".join(lines))),  # type: ignore[misc]  # mypy takes no default of a lambda
            many=kind == "m",
            sink=lines.append,
        )
    for at in range(0, len(octets), step):
        replies.feed(octets[at : at + step])
    assert not replies.awaited
    return found


# What servers answer, the kinds of answers, and the lines of each. The first is the dialogue of RFC 1939 §10.
CASES = [
    (
        b"+OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>\r\n+OK 2 320\r\n+OK 2 messages (320 octets)\r\n"
        b"1 120\r\n2 200\r\n.\r\n+OK 120 octets\r\nFrom: a\r\n\r\n..\r\n...two\r\n.\r\n+OK\r\n",
        "ssmms",
        [b"", b"", b"1 120\r\n2 200\r\n", b"From: a\r\n\r\n.\r\n..two\r\n", b""],
    ),
    (b"+OK\r\n.\r\n+OK\r\n", "ms", [b"", b""]),
    (b"+OK\r\n\r\n.\r\n", "m", [b"\r\n"]),
    (b"+OK\r\n..\r\n.\r\n", "m", [b".\r\n"]),
    (b"-ERR no such message\r\n+OK\r\nx\r\n.\r\n", "mm", [b"", b"x\r\n"]),
    (b"+OK\nFrom: a\n\n..b\n.\n+OK\n", "ms", [b"From: a\n\n.b\n", b""]),
    (b"+OK\r\na\n.\nb\r.\r\nc\r\n.\r\n", "m", [b"a\n.\nb\r.\r\nc\r\n"]),
    (b"+OK\r\nbare\rcr\r\r\n\0\xff\r\n.\r\n", "m", [b"bare\rcr\r\r\n\0\xff\r\n"]),
]


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 10_000])
@pytest.mark.parametrize(("octets", "kinds", "lines"), CASES)
def test_answers_are_read_wherever_they_are_cut(octets: bytes, kinds: str, lines: list[bytes], step: int) -> None:
    assert [told for _, told in read(octets, kinds, step)] == lines


@given(st.lists(st.binary(max_size=30), max_size=6), st.integers(1, 50))
def test_any_message_comes_through(parts: list[bytes], step: int) -> None:
    message = b"\r\n".join(parts).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"
    stuffed = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:]
    found = read(b"+OK\r\n" + stuffed + b".\r\n+OK then\r\n", "ms", step)
    assert [told for _, told in found] == [message, b""]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"+OK", Reply(True)),
        (b"+ok Dovecot ready.", Reply(True, "Dovecot ready.")),
        (b"-ERR [IN-USE] another session?", Reply(False, "[IN-USE] another session?", "IN-USE")),
        (b"-ERR [SYS/TEMP] later", Reply(False, "[SYS/TEMP] later", "SYS/TEMP")),
        (b"-ERR [AUTH] Authentication failed.", Reply(False, "[AUTH] Authentication failed.", "AUTH")),
        (b"-ERR [login-delay] minimum time", Reply(False, "[login-delay] minimum time", "LOGIN-DELAY")),
        (b"+ ", Reply(True, goes_on=True)),
        (b"+ eyJzdGF0dXMiOiI0MDEifQ==", Reply(True, "eyJzdGF0dXMiOiI0MDEifQ==", goes_on=True)),
    ],
)
def test_a_reply_is_read(line: bytes, reply: Reply) -> None:
    assert read_reply(line) == reply


@pytest.mark.parametrize("octets", [b"220 mail.example.org ESMTP\r\n", b"* OK IMAP4\r\n", b"OK\r\n", b"x" * 70_000])
def test_another_protocol_is_told(octets: bytes) -> None:
    replies = Replies()
    replies.expect(lambda reply: None)
    with pytest.raises(WireError):
        replies.feed(octets)


def test_what_nobody_asked_for_is_told() -> None:
    with pytest.raises(WireError):
        Replies().feed(b"+OK\r\n")
