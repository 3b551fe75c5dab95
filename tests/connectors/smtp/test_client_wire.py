"""ClientWire: replies whole and in pieces, what leaves in one write, and that no octets can upset it."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.smtp.client_wire import ClientWire, Event, Extensions, PeerError, Reply, Stage, Transaction
from connectors.smtp.dot_stuffer import DotStuffer
from gateway.testing.feed import feed

ALL = b"250-mx.example greets\r\n250-PIPELINING\r\n250 8BITMIME\r\n"


def ready(offers: bytes = ALL, *, lmtp: bool = False) -> ClientWire:
    """Return a wire past its EHLO."""
    wire = ClientWire(lmtp=lmtp)
    wire.receive(b"220 mx.example\r\n")
    wire.hello("gw.test")
    wire.receive(offers)
    wire.take_output()
    return wire


def transaction(recipients: int = 1, name: str = "t") -> Transaction:
    rcpts = tuple(b"RCPT TO:<%d@y.example>\r\n" % n for n in range(recipients))
    return Transaction(b"MAIL FROM:<%s@x.example>\r\n" % name.encode(), rcpts, name)


def words(events: list[Event]) -> list[str]:
    return [f"{event.stage.value} {event.ordinal} {event.reply}" for event in events]


def after_begin(pieces: list[bytes], recipients: int = 3, *, lmtp: bool = False) -> list[str]:
    """Return what replies to one pipelined group mean; `fault` where they break the protocol."""
    wire = ready(lmtp=lmtp)
    wire.begin(transaction(recipients))
    seen: list[str] = []
    try:
        for piece in pieces:
            seen += words(wire.receive(piece))
    except PeerError as fault:
        return [*seen, *words(fault.events), "fault"]
    return seen


GROUPS: list[tuple[bytes, list[str]]] = [
    (b"250 a\r\n250 b\r\n250 c\r\n250 d\r\n354 go\r\n", ["DATA -1 354 go"]),
    (b"250 a\r\n250 b\r\n550 c\r\n250 d\r\n354 go\r\n", ["RCPT 1 550 c", "DATA -1 354 go"]),
    (b"250 a\r\n251 b\r\n252 c\r\n450-d\r\n450-e\r\n450 f\r\n354 go\r\n", ["RCPT 2 450 d e f", "DATA -1 354 go"]),
    (b"250 a\r\n550 b\r\n551 c\r\n552 d\r\n503 no\r\n", ["RCPT 0 550 b", "RCPT 1 551 c", "RCPT 2 552 d"]),
    (b"550 a\r\n503 b\r\n503 c\r\n503 d\r\n503 no\r\n", ["MAIL -1 550 a"]),
    (b"550 a\r\n250 b\r\n250 c\r\n250 d\r\n354 go\r\n", ["MAIL -1 550 a"]),
    (b"250 a\r\n250 b\r\n250 c\r\n250 d\r\n451 no\r\n", ["DATA -1 451 no"]),
    (b"250 a\r\n421 bye\r\n", ["RCPT 0 421 bye"]),
    (b"250\r\n250\r\n250\r\n250\r\n354\r\n", ["DATA -1 354"]),
    (b"250 a\n250 b\n250 c\n250 d\n354 go\n", ["DATA -1 354 go"]),
    (b"250 a\r\n\r\n", ["fault"]),
    (b"250 a\r\n25\r\n", ["fault"]),
    (b"250 a\r\n999 x\r\n", ["fault"]),
    (b"250 a\r\n150 x\r\n", ["fault"]),
    (b"250_a\r\n", ["fault"]),
    (b"354 a\r\n", ["fault"]),
    (b"250 a\r\n354 b\r\n", ["fault"]),
    (b"250 a\r\n250 b\r\n250 c\r\n250 d\r\n250 e\r\n", ["fault"]),
    (b"250-a\r\n550 b\r\n", ["fault"]),
    (b"250 a\r\n550 b\r\nHTTP/1.1 200 OK\r\n", ["RCPT 0 550 b", "fault"]),
    (b"\xff\xfe\r\n", ["fault"]),
]


@pytest.mark.parametrize(("octets", "expected"), GROUPS)
def test_replies_to_one_group(octets: bytes, expected: list[str]) -> None:
    assert feed(after_begin, octets) == expected


def test_the_end_of_one_message_and_the_next_ones_commands_leave_together() -> None:
    """RFC 2920 §3.1: the content may be the first of a group, DATA the last."""
    wire = ready()
    first, second = transaction(name="first"), transaction(2, name="second")
    wire.begin(first)
    assert wire.take_output() == b"MAIL FROM:<first@x.example>\r\nRCPT TO:<0@y.example>\r\nDATA\r\n"
    assert not wire.can_begin
    assert words(wire.receive(b"250 a\r\n250 b\r\n354 c\r\n")) == ["DATA -1 354 c"]
    wire.content(b"x\r\n")
    wire.end_content()
    wire.begin(second)
    assert wire.take_output() == (
        b"x\r\n.\r\nMAIL FROM:<second@x.example>\r\nRCPT TO:<0@y.example>\r\nRCPT TO:<1@y.example>\r\nDATA\r\n"
    )
    events = wire.receive(b"250 taken\r\n250 a\r\n250 b\r\n250 c\r\n354 d\r\n")
    assert [(event.transaction, event.stage) for event in events] == [(first, Stage.DOT), (second, Stage.DATA)]


def test_one_command_at_a_time_where_the_peer_does_not_pipeline() -> None:
    wire = ready(b"250 mx.example\r\n")
    sent = []
    wire.begin(transaction(2))
    for reply in (b"250 a\r\n", b"550 b\r\n", b"250 c\r\n", b"354 d\r\n"):
        sent.append(wire.take_output())
        wire.receive(reply)
    assert [line.split()[0] for line in sent] == [b"MAIL", b"RCPT", b"RCPT", b"DATA"]
    wire.end_content()
    wire.begin(transaction(name="next"))
    assert wire.take_output() == b".\r\n", "the next MAIL waits for the answer to the dot"
    wire.receive(b"250 ok\r\n")
    assert wire.take_output() == b"MAIL FROM:<next@x.example>\r\n"


@pytest.mark.parametrize("offers", [ALL, b"250 mx.example\r\n"], ids=["pipelining", "one by one"])
def test_an_open_transaction_is_reset_first(offers: bytes) -> None:
    wire = ready(offers)
    wire.begin(transaction())
    for reply in (b"250 a\r\n", b"550 b\r\n"):
        wire.receive(reply)
    if wire.extensions.pipelining:
        wire.receive(b"503 none\r\n")
    assert wire.can_begin
    wire.take_output()
    wire.begin(transaction())
    assert wire.take_output().startswith(b"RSET\r\n")


def test_354_without_any_recipient_gets_a_single_dot() -> None:
    wire = ready()
    wire.begin(transaction())
    wire.take_output()
    wire.receive(b"250 a\r\n550 b\r\n354 go\r\n")
    assert wire.take_output() == b".\r\n"
    assert wire.receive(b"554 no valid recipients\r\n") == []
    assert wire.is_quiet


def test_lmtp_answers_go_to_those_who_were_accepted() -> None:
    wire = ready(lmtp=True)
    wire.begin(transaction(3))
    wire.receive(b"250 a\r\n250 b\r\n550 c\r\n250 d\r\n354 go\r\n")
    wire.end_content()
    assert [ordinal for _, ordinal in wire.unanswered()] == [0, 2]
    assert words(wire.receive(b"250 ok\r\n452 4.2.2 full\r\n")) == [
        "end of content 0 250 ok",
        "end of content 2 452 4.2.2 full",
    ]


def test_what_stands_open_is_known_when_a_connection_ends() -> None:
    wire = ready()
    first, second = transaction(name="first"), transaction(name="second")
    wire.begin(first)
    assert (wire.current, wire.in_content, wire.unanswered()) == (first, False, [])
    wire.receive(b"250 a\r\n250 b\r\n354 c\r\n")
    assert (wire.current, wire.in_content) == (first, True)
    wire.end_content()
    wire.begin(second)
    assert (wire.current, wire.in_content, wire.unanswered()) == (second, False, [(first, -1)])


def test_421_by_itself_ends_the_use_of_a_connection() -> None:
    wire = ready()
    assert wire.receive(b"421 4.4.2 idle\r\n") == []
    assert wire.closing
    assert not wire.can_begin


# --- EHLO

OFFERED: list[tuple[bytes, Extensions]] = [
    (b"250 mx.example\r\n", Extensions()),
    (b"250-x\r\n250-SIZE 1000\r\n250 8BITMIME\r\n", Extensions(size_offered=True, size=1000, eight_bit=True)),
    (b"250-x\r\n250 SIZE\r\n", Extensions(size_offered=True)),
    (b"250-x\r\n250 SIZE 0\r\n", Extensions(size_offered=True)),
    (b"250-x\r\n250 SIZE minus\r\n", Extensions(size_offered=True)),
    (b"250-x\r\n250 SIZE " + b"9" * 40 + b"\r\n", Extensions(size_offered=True)),
    (
        b"250-x\r\n250-pipelining\r\n250-DSN\r\n250-SmtpUtf8\r\n250-EnhancedStatusCodes\r\n"
        b"250-CHUNKING\r\n250 STARTTLS\r\n",
        Extensions(pipelining=True, dsn=True, utf8=True, enhanced_codes=True, chunking=True, starttls=True),
    ),
    (
        b"250-x\r\n250-AUTH PLAIN login\r\n250 AUTH=CRAM-MD5\r\n",
        Extensions(auth=frozenset(("PLAIN", "LOGIN", "CRAM-MD5"))),
    ),
    (b"250-x\r\n250-\r\n250-XBOGUS \xff\r\n250 PIPELINING\r\n", Extensions(pipelining=True)),
    # The first line is the peer's name, even where it looks like an extension.
    (b"250-PIPELINING\r\n250 DSN\r\n", Extensions(dsn=True)),
]


@pytest.mark.parametrize(("octets", "expected"), OFFERED)
def test_extensions(octets: bytes, expected: Extensions) -> None:
    def read(pieces: list[bytes]) -> Extensions:
        wire = ClientWire()
        wire.receive(b"220 x\r\n")
        wire.hello("gw.test")
        for piece in pieces:
            wire.receive(piece)
        return wire.extensions

    assert feed(read, octets) == expected


def test_a_reply_prints_as_one_line_that_a_log_can_hold() -> None:
    assert str(Reply(550, (b"a\x1b[31m", "grün".encode(), b"\xff"))) == "550 a?[31m grün \ufffd"


# --- octets of any kind


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_garbage_gives_events_or_the_one_declared_error(pieces: list[bytes]) -> None:
    wire = ready()
    wire.begin(transaction(2))
    with contextlib.suppress(PeerError):
        for piece in pieces:
            wire.receive(piece)


_LINE = st.builds(
    lambda code, mark, text: b"%d%s%s\r\n" % (code, mark, text),
    st.sampled_from([200, 220, 250, 251, 334, 354, 421, 450, 451, 452, 500, 503, 550, 552, 554]),
    st.sampled_from([b" ", b" ", b" ", b"-", b""]),
    st.sampled_from([b"", b"ok", b"5.1.1 who", b"4.2.0 later"]),
)


@given(st.lists(_LINE, max_size=30), st.integers(1, 4), st.booleans(), st.booleans())
def test_whatever_replies_come_nobody_has_two_answers(
    lines: list[bytes], recipients: int, lmtp: bool, pipelining: bool
) -> None:
    """Any run of well-formed replies: each recipient gets at most one refusal or answer per transaction."""
    wire = ready(ALL if pipelining else b"250 x\r\n", lmtp=lmtp)
    seen: set[tuple[int, int]] = set()
    tx = transaction(recipients)
    wire.begin(tx)
    for line in lines:
        try:
            events = wire.receive(line)
        except PeerError:
            return
        for event in events:
            assert event.transaction is not None
            if event.reply.code == 354:
                wire.content(b"x\r\n")
                wire.end_content()
                continue
            everyone = range(recipients) if event.stage is Stage.MAIL else event.transaction.accepted
            for ordinal in everyone if event.ordinal == -1 else (event.ordinal,):
                assert (id(event.transaction), ordinal) not in seen
                seen.add((id(event.transaction), ordinal))
        if wire.closing:
            return
        if wire.is_quiet:
            assert seen == {(id(tx), ordinal) for ordinal in range(recipients)}
            return


# --- dot-stuffing


def stuffed(pieces: list[bytes]) -> bytes:
    stuffer = DotStuffer()
    return b"".join(stuffer.feed(piece) for piece in pieces) + stuffer.finish()


STUFFED: list[tuple[bytes, bytes]] = [
    # RFC 5321 §4.5.2
    (b"", b".\r\n"),
    (b"a\r\n", b"a\r\n.\r\n"),
    (b"a", b"a\r\n.\r\n"),
    (b".", b"..\r\n.\r\n"),
    (b".\r\n", b"..\r\n.\r\n"),
    (b"a\r\n.b\r\n..\r\n", b"a\r\n..b\r\n...\r\n.\r\n"),
    (b"\r\n\r\n.\r\n", b"\r\n\r\n..\r\n.\r\n"),
    # Ends of data that only a lenient receiver would see.
    (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\n.\r\nb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\r.\r\nb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\r.\rb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\r\n.\rb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\r\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\r\r\n.\r\r\nb", b"a\r\n\r\n..\r\n\r\nb\r\n.\r\n"),
    (b"a\n\r.\n\r", b"a\r\n\r\n..\r\n\r\n.\r\n"),
    (b"a\r", b"a\r\n.\r\n"),
    (b"\0\r\n\xff.\r\n", b"\0\r\n\xff.\r\n.\r\n"),
    # A receiver that drops NUL would see a dot alone; the dot in front is taken away by every receiver.
    (b"a\r\n\0.\r\n", b"a\r\n.\0.\r\n.\r\n"),
    (b"\0\0.\r\n", b".\0\0.\r\n.\r\n"),
    (b"a\0.\r\n", b"a\0.\r\n.\r\n"),
    (b"\r\n\0\r\n", b"\r\n\0\r\n.\r\n"),
    (b"\0", b"\0\r\n.\r\n"),
]


@pytest.mark.parametrize(("content", "expected"), STUFFED)
def test_dot_stuffing(content: bytes, expected: bytes) -> None:
    assert feed(stuffed, content) == expected


_MAIL = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"x", b"\0", b"\x85", b"MAIL FROM:<>"])).map(
    b"".join
)
_EARLY_END = re.compile(rb"(?:\r|\n|^)\.(?:\r|\n)")
"""An end of data as the most lenient of receivers would have it."""


def pieces_of(octets: bytes, places: list[int]) -> list[bytes]:
    at = sorted({min(place, len(octets)) for place in places})
    return [octets[a:b] for a, b in zip([0, *at], [*at, len(octets)], strict=True)]


@given(_MAIL, st.lists(st.integers(0, 60)))
def test_no_sequence_can_end_the_content_early(content: bytes, places: list[int]) -> None:
    wire = stuffed(pieces_of(content, places))
    assert wire.endswith(b".\r\n")
    assert not _EARLY_END.search(wire[:-3])
    assert re.sub(rb"\r\n", b"", wire).count(b"\r") == re.sub(rb"\r\n", b"", wire).count(b"\n") == 0


@given(_MAIL, st.lists(st.integers(0, 60)))
def test_what_a_strict_receiver_reads_is_what_was_meant(content: bytes, places: list[int]) -> None:
    wire = stuffed(pieces_of(content, places))
    lines = wire[:-3].split(b"\r\n")
    assert lines.pop() == b""
    read = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)
    meant = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
    assert read == (meant if meant.endswith(b"\r\n") or not meant else meant + b"\r\n")


@given(st.lists(st.binary(max_size=80).map(lambda line: line.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n")))
def test_clean_content_is_left_alone_but_for_its_dots(lines: list[bytes]) -> None:
    stuffer = DotStuffer()
    wire = b"".join(stuffer.feed(line) for line in lines)
    assert not stuffer.mended
    assert wire == b"".join(b"." + line if line.startswith(b".") else line for line in lines)
