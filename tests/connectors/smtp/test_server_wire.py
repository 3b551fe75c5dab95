"""The server's dialogue, fed whole, octet by octet and in every two parts."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.smtp.commands import Mail, Rcpt
from connectors.smtp.data_reader import INLINE_LIMIT
from connectors.smtp.server_events import CLOSED, NEED_DATA, WAIT, Dropped, End, Piece, StartTls, WireSettings
from connectors.smtp.server_wire import ServerWire
from gateway.testing.feed import feed

HELLO = b"EHLO client.example\r\n"
OPENED = HELLO + b"MAIL FROM:<ann@acme.example>\r\nRCPT TO:<bob@sales.example>\r\n"


@dataclass
class Talk:
    """What came of a dialogue."""

    replies: list[str] = field(default_factory=list)
    messages: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    dropped: int = field(default=0, compare=False)
    """How often octets had been handed on in vain, which depends on the pieces."""
    closed: bool = False

    @property
    def codes(self) -> list[int]:
        """The replies' codes, one for each reply, whatever its lines."""
        return [int(line[:3]) for line in self.replies if line[3:4] != "-"]


def talk(pieces: list[bytes], made: WireSettings | None = None, *, trusted: bool = False, fix: bool = False) -> Talk:
    """Run a dialogue with an owner that takes everyone but `no…@`, and every message but one with `refuse me`."""
    wire = ServerWire(made or WireSettings("gw.example"), trusted=trusted, fix_newlines=fix)
    told = Talk()
    out = b""
    sender, recipients, content = "", [], b""
    for piece in pieces:
        wire.receive(piece)
        while True:
            event = wire.next_event()
            if event is NEED_DATA or event is CLOSED:
                break
            assert event is not WAIT
            match event:
                case Mail():
                    sender, recipients = event.path, []
                    wire.take()
                case Rcpt():
                    if event.path.startswith("no"):
                        wire.refuse(b"550 5.1.1 no such mailbox here\r\n")
                    else:
                        recipients.append(event.path)
                        wire.take()
                case Piece():
                    content += event.octets
                case Dropped():
                    told.dropped += 1
                    content = b""
                case End():
                    content += event.octets
                    # Nothing is read before the owner has answered.
                    assert wire.next_event() is WAIT
                    if b"refuse me" in content:
                        wire.finish(b"554 5.7.1 refused\r\n", accepted=False)
                    else:
                        told.messages.append((sender, recipients, content))
                        wire.finish(b"250 2.0.0 queued\r\n", accepted=True)
                    content = b""
                case StartTls():
                    out += wire.take_output()
                    wire.tls_started()
        out += wire.take_output()
    told.closed = wire.is_closed
    assert out.endswith(b"\r\n") or not out
    assert out.count(b"\n") == out.count(b"\r\n")
    told.replies = out.decode("ascii").split("\r\n")[:-1]
    return told


def fed(octets: bytes, made: WireSettings | None = None, *, trusted: bool = False, fix: bool = False) -> Talk:
    return feed(lambda pieces: talk(pieces, made, trusted=trusted, fix=fix), octets)


def test_a_transaction() -> None:
    told = fed(OPENED + b"DATA\r\nSubject: hi\r\n\r\n..\r\n.\r\nQUIT\r\n")
    assert told.messages == [("ann@acme.example", ["bob@sales.example"], b"Subject: hi\r\n\r\n.\r\n")]
    assert told.codes == [250, 250, 250, 354, 250, 221]
    assert told.closed


def test_ehlo_offers_what_there_is() -> None:
    told = fed(HELLO)
    assert [line[4:] for line in told.replies] == [
        "gw.example",
        "PIPELINING",
        "SIZE 104857600",
        "8BITMIME",
        "SMTPUTF8",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "HELP",
    ]
    assert "250-STARTTLS" in fed(HELLO, WireSettings("gw", starttls="offer")).replies
    assert "250-MT-PRIORITY" in fed(HELLO, trusted=True).replies
    assert fed(b"HELO client.example\r\n").replies == ["250 gw.example"]


def test_pipelined_transactions_are_answered_in_order() -> None:
    one = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<no@b.example>\r\nRCPT TO:<c@b.example>\r\nDATA\r\nx\r\n.\r\n"
    two = b"MAIL FROM:<>\r\nRCPT TO:<d@b.example>\r\nDATA\r\nrefuse me\r\n.\r\n"
    told = fed(HELLO + one + two + one + b"QUIT\r\n")
    assert told.codes == [250, 250, 550, 250, 354, 250, 250, 250, 354, 554, 250, 550, 250, 354, 250, 221]
    assert told.messages == [("a@b.example", ["c@b.example"], b"x\r\n")] * 2


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        # RFC 5321 §4.1.4: the order of commands
        (["MAIL FROM:<a@b.example>"], [503]),
        (["EHLO x", "RCPT TO:<a@b.example>"], [250, 503]),
        (["EHLO x", "DATA"], [250, 503]),
        (["EHLO x", "MAIL FROM:<>", "DATA"], [250, 250, 503]),
        (["EHLO x", "MAIL FROM:<>", "RCPT TO:<no@b>", "DATA"], [250, 250, 550, 554]),
        (["EHLO x", "MAIL FROM:<>", "MAIL FROM:<>"], [250, 250, 503]),
        (["EHLO x", "MAIL FROM:<>", "RSET", "RCPT TO:<a@b>"], [250, 250, 250, 503]),
        (["EHLO x", "MAIL FROM:<>", "EHLO y", "RCPT TO:<a@b>"], [250, 250, 250, 503]),
        (["EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b>", "DATA now"], [250, 250, 250, 501]),
        # RFC 5321 §3.5, §4.1.1
        (["NOOP", "NOOP anything", "RSET", "VRFY ann", "EXPN all", "HELP", "HELP MAIL"],
         [250, 250, 250, 252, 502, 214, 214]),
        (["RSET now"], [501]),
        (["EHLO", "HELO", "EHLO a b"], [501, 501, 501]),
        (["", "FOO", "MAILFROM:<>", "AUTH PLAIN", "LHLO x", "XCLIENT ADDR=1"], [500] * 6),
        (["STARTTLS"], [502]),
        (["noop", "Ehlo x", "quit"], [250, 250, 221]),
        (["QUIT now"], [221]),
        # a browser that was led here
        (["POST / HTTP/1.1", "Host: gw.example", "EHLO x"], [421]),
        (["CONNECT gw.example:25 HTTP/1.1"], [421]),
        # RFC 1870 §6.1
        (["EHLO x", "MAIL FROM:<> SIZE=104857601", "MAIL FROM:<> SIZE=104857600"], [250, 552, 250]),
        (["HELO x", "MAIL FROM:<> SIZE=1"], [250, 555]),
        # RFC 6531 §3.5
        (["EHLO x", "MAIL FROM:<> SMTPUTF8", "RCPT TO:<än@b.example>"], [250, 250, 250]),
        (["EHLO x", "MAIL FROM:<>", "RCPT TO:<än@b.example>"], [250, 250, 553]),
    ],
)  # fmt: skip
def test_commands_and_their_order(lines: list[str], codes: list[int]) -> None:
    assert fed("".join(f"{line}\r\n" for line in lines).encode()).codes == codes


def test_a_bare_lf_ends_no_command() -> None:
    told = fed(b"EHLO x\nMAIL FROM:<a@b.example>\r\n")
    assert told.codes == [521]
    assert told.closed


def test_a_bare_lf_ends_a_command_of_those_who_may() -> None:
    told = fed(b"EHLO x\nMAIL FROM:<a@b.example>\nRCPT TO:<c@b.example>\nDATA\na\n.\nb\r\n.\r\nQUIT\n", fix=True)
    assert told.messages == [("a@b.example", ["c@b.example"], b"a\r\n.\r\nb\r\n")]
    assert told.codes == [250, 250, 250, 354, 250, 221]


def test_a_bare_cr_in_a_command_is_an_error() -> None:
    assert fed(b"EHLO x\rMAIL FROM:<>\r\nNOOP\r\n").codes == [500, 250]


def test_a_line_too_long_is_read_to_its_end() -> None:
    assert fed(b"NOOP " + b"x" * 5000 + b"\r\nNOOP\r\n").codes == [500, 250]
    wire = ServerWire(WireSettings("gw"))
    for _ in range(1000):
        wire.receive(b"x" * 10_000)
        assert wire.next_event() is NEED_DATA
        assert wire.waiting < 20_000
    assert fed(b"NOOP " + b"x" * 4000 + b"\r\n").codes == [250]


def test_too_many_errors_end_the_dialogue() -> None:
    told = fed(b"FOO\r\n" * 30 + b"NOOP\r\n", WireSettings("gw", max_errors=5))
    assert told.codes == [500] * 5 + [421]
    assert told.closed


def test_an_accepted_message_wipes_the_errors_out() -> None:
    body = b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\n"
    told = fed(HELLO + (b"FOO\r\n" * 4 + body) * 5, WireSettings("gw", max_errors=5))
    assert not told.closed
    assert len(told.messages) == 5


def test_a_flood_of_idle_commands_is_an_error() -> None:
    told = talk([b"NOOP\r\n" * 500])
    assert told.codes == [250] * 120 + [421]


def test_too_many_recipients_wait_for_another_transaction() -> None:
    rcpts = b"".join(b"RCPT TO:<a%d@b.example>\r\n" % i for i in range(103))
    told = talk([HELLO + b"MAIL FROM:<>\r\n" + rcpts + b"DATA\r\nx\r\n.\r\n"], WireSettings("gw", max_recipients=100))
    assert told.codes == [250, 250] + [250] * 100 + [452] * 3 + [354, 250]
    assert len(told.messages[0][1]) == 100


def test_what_is_too_big_is_read_to_its_end_first() -> None:
    small = WireSettings("gw", max_message_bytes=1000, inline_limit=100)
    evil = b"x\r\n" * 1000 + b"MAIL FROM:<evil@b.example>\r\n"
    told = feed(lambda pieces: talk(pieces, small), OPENED + b"DATA\r\n" + evil + b".\r\nQUIT\r\n")
    assert told.codes == [250, 250, 250, 354, 552, 221]
    assert told.messages == []
    assert talk([OPENED, b"DATA\r\n", b"x" * 900, b"x" * 900, b"\r\n.\r\n"], small).dropped == 1


def test_content_over_the_inline_limit_leaves_in_pieces() -> None:
    wire = ServerWire(WireSettings("gw"))
    wire.receive(OPENED + b"DATA\r\n")
    got = 0
    for _ in range(40):
        while (event := wire.next_event()) is not NEED_DATA:
            match event:
                case Mail() | Rcpt():
                    wire.take()
                case Piece():
                    got += len(event.octets)
        wire.receive((b"x" * 62 + b"\r\n") * 1024)
    while isinstance(event := wire.next_event(), Piece):
        got += len(event.octets)
    wire.receive(b".\r\n")
    end = wire.next_event()
    assert isinstance(end, End)
    assert got + len(end.octets) == 40 * 65536
    assert len(end.octets) < INLINE_LIMIT
    assert end.traits.crlf_only


def test_a_small_content_is_one_object() -> None:
    wire = ServerWire(WireSettings("gw"))
    wire.receive(OPENED + b"DATA\r\n")
    while (event := wire.next_event()) is not NEED_DATA:
        wire.take()
    wire.receive((b"x" * 78 + b"\r\n") * 52 + b".\r\n")
    event = wire.next_event()
    assert isinstance(event, End)
    assert len(event.octets) == 52 * 80


@pytest.mark.parametrize("octets", [b"\0", b"\xff\xfe", bytes(range(128, 256)), b"a\0b" * 100])
def test_any_octet_but_a_bare_newline_is_content(octets: bytes) -> None:
    told = fed(OPENED + b"DATA\r\n" + octets + b"\r\n.\r\n")
    assert told.messages[0][2] == octets + b"\r\n"


# RFC 3030


def test_chunks() -> None:
    told = fed(OPENED + b"BDAT 7\r\n.\r\n\r\n.\r" + b"BDAT 5 LAST\r\n\n\0b\r\nQUIT\r\n")
    assert told.messages == [("ann@acme.example", ["bob@sales.example"], b".\r\n\r\n.\r\n\0b\r\n")]
    assert told.codes == [250, 250, 250, 250, 250, 221]


def test_an_empty_last_chunk() -> None:
    assert fed(OPENED + b"BDAT 3\r\na\r\nBDAT 0 LAST\r\n").messages[0][2] == b"a\r\n"
    assert fed(OPENED + b"BDAT 0 LAST\r\n").messages[0][2] == b""


def test_a_chunk_may_hold_bare_newlines_and_says_so() -> None:
    wire = ServerWire(WireSettings("gw"))
    wire.receive(OPENED + b"BDAT 4 LAST\r\na\nb\n")
    while not isinstance(event := wire.next_event(), End):
        wire.take()
    assert event.octets == b"a\nb\n"
    assert not event.traits.crlf_only


@pytest.mark.parametrize(
    ("octets", "codes"),
    [
        # the octets of a chunk that is not welcome are not taken for commands
        (HELLO + b"BDAT 8\r\nFOO BAR\nNOOP\r\n", [250, 503, 250]),
        (HELLO + b"MAIL FROM:<>\r\nRCPT TO:<no@b>\r\nBDAT 5 LAST\r\nQUIT\nNOOP\r\n", [250, 250, 550, 554, 250]),
        (OPENED + b"BDAT 3\r\na\r\nDATA\r\n", [250, 250, 250, 250, 503]),
        (OPENED + b"BDAT 3\r\na\r\nRCPT TO:<a@b>\r\n", [250, 250, 250, 250, 503]),
        (OPENED + b"BDAT 3\r\na\r\nMAIL FROM:<>\r\n", [250, 250, 250, 250, 503]),
        (OPENED + b"BDAT 3\r\na\r\nRSET\r\nBDAT 1 LAST\r\nxNOOP\r\n", [250, 250, 250, 250, 250, 503, 250]),
        # where the size is not known, nobody can tell what is content
        (OPENED + b"BDAT lots\r\nNOOP\r\n", [250, 250, 250, 501, 421]),
    ],
)
def test_chunks_out_of_order(octets: bytes, codes: list[int]) -> None:
    assert fed(octets).codes == codes


def test_chunks_that_are_too_big() -> None:
    small = WireSettings("gw", max_message_bytes=100, inline_limit=50)
    told = feed(
        lambda pieces: talk(pieces, small), OPENED + (b"BDAT 60\r\n" + b"x" * 60) * 3 + b"BDAT 0 LAST\r\nNOOP\r\n"
    )
    assert told.codes == [250, 250, 250, 250, 250, 250, 552, 250]
    assert told.messages == []


# RFC 3207


def test_starttls_forgets_what_was_said() -> None:
    told = talk([HELLO + b"STARTTLS\r\n", b"MAIL FROM:<>\r\n", HELLO], WireSettings("gw", starttls="offer"))
    assert told.codes == [250, 220, 503, 250]
    assert not any("STARTTLS" in line for line in told.replies[-9:])


def test_commands_behind_starttls_are_not_part_of_the_protected_dialogue() -> None:
    injected = HELLO + b"STARTTLS\r\nRSET\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<a@b>\r\nDATA\r\n"
    told = talk([injected, b"EHLO x\r\n"], WireSettings("gw", starttls="offer"))
    assert told.codes == [250, 220, 250]


def test_tls_can_be_demanded() -> None:
    made = WireSettings("gw", starttls="require")
    told = talk([HELLO + b"MAIL FROM:<>\r\n", b"STARTTLS\r\n", HELLO, b"MAIL FROM:<>\r\nSTARTTLS\r\n"], made)
    assert told.codes == [250, 530, 220, 250, 250, 503]


# RFC 2033


def test_lmtp_answers_for_each_recipient() -> None:
    opened = b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<no@b>\r\nRCPT TO:<c@b>\r\n"
    told = fed(opened + b"DATA\r\nx\r\n.\r\nQUIT\r\n", WireSettings("gw", lmtp=True))
    assert told.codes == [250, 250, 250, 550, 250, 354, 250, 250, 221]
    big = opened + b"DATA\r\n" + b"x" * 101 + b"\r\n.\r\nQUIT\r\n"
    assert fed(big, WireSettings("gw", lmtp=True, max_message_bytes=100)).codes[-3:] == [552, 552, 221]
    assert fed(b"EHLO x\r\n", WireSettings("gw", lmtp=True)).codes == [500]


# Anything at all

WORDS = st.sampled_from(
    [HELLO, b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<a@b>\r\n", b"RCPT TO:<no@b>\r\n", b"DATA\r\n", b".\r\n", b"\r\n",
     b"\r\n.\r\n", b"BDAT 3\r\n", b"BDAT 0 LAST\r\n", b"RSET\r\n", b"STARTTLS\r\n", b"NOOP\r\n", b"\r", b"\n", b".",
     b"x" * 200, b"\0", b"\xff", b"HELO x\r\n", b"MAIL", b" SIZE=3\r\n"]
)  # fmt: skip


@given(st.lists(WORDS | st.binary(max_size=30), max_size=60), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_whatever_comes_only_replies_or_a_close_come_back(pieces: list[bytes], trusted: bool, fix: bool) -> None:
    made = WireSettings("gw.example", starttls="offer", inline_limit=64, max_message_bytes=1000)
    told = talk(pieces, made, trusted=trusted, fix=fix)
    assert all(line[:3].isdigit() and line[3] in " -" for line in told.replies)
    if b"STARTTLS" not in b"".join(pieces).upper():  # what is thrown away there depends on what had come
        assert talk([b"".join(pieces)], made, trusted=trusted, fix=fix).replies == told.replies
