"""Targets for the SMTP dialogue: what a client may say to the server, a server to the client, a filter to both.

A server's input is what a client sends: commands, content, and whatever else. Its promises: only whole replies come
back, in the same words however the octets were cut; a message ends at CRLF.CRLF or at its last chunk and nowhere else,
so that there are no more messages than ends; nothing is held beyond its bounds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from connectors.smtp.client_wire import MAX_LINE, ClientWire, Event, PeerError, Stage, Transaction
from connectors.smtp.commands import Mail, Rcpt
from connectors.smtp.milter_wire import MAX_PACKET, MilterError, Replies
from connectors.smtp.server_events import CLOSED, NEED_DATA, Auth, AuthLine, Dropped, End, Piece, StartTls, WireSettings
from connectors.smtp.server_wire import ServerWire
from tests.fuzz.mutate import Octets
from tests.fuzz.target import Target, same_octets

_REPLY: Final = re.compile(rb"(?:[2-5][0-9][0-9]-[ -~]*\r\n)*[2-5][0-9][0-9] [ -~]*\r\n")
_EARLY_END: Final = re.compile(rb"(?:[\r\n]|\r\n\0)\.(?:\0?[\r\n])")
_MOST_LINE: Final = 512
_INLINE: Final = 64
_MOST: Final = 2000

_COMMANDS: Final = (
    b"EHLO client.example\r\n", b"HELO x\r\n", b"LHLO x\r\n", b"MAIL FROM:<ann@a.example>\r\n", b"MAIL FROM:<>",
    b" SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2By AUTH=<>\r\n", b" MT-PRIORITY=-3",
    b"RCPT TO:<bob@b.example>\r\n", b"RCPT TO:<no@b.example>\r\n", b" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+40b\r\n",
    b"DATA\r\n", b"Subject: x\r\n\r\ntext\r\n", b"\r\n.\r\n", b".\r\n", b"\n.\n", b"\r.\r", b"\r\n..x\r\n", b"\r\n.\n",
    b"BDAT 5\r\n", b"BDAT 5 LAST\r\nab\r\nc", b"BDAT 0 LAST\r\n", b"BDAT 99999999999999999999\r\n", b"RSET\r\n",
    b"STARTTLS\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"AUTH LOGIN\r\n", b"YQ==\r\n", b"*\r\n", b"AUTH PLAIN =\r\n",
    b"NOOP\r\n", b"VRFY x\r\n", b"EXPN x\r\n", b"HELP\r\n", b"QUIT\r\n", b"GET / HTTP/1.1\r\n", b"\r", b"\n",
    b"\0", b"\xff", b"<", b">", b'"', b"\\", b"@", b":", b" ", b"@x,@y:", b"x" * 300, b"\xc3\xa9", b"%0d%0a", b"+0D+0A",
)  # fmt: skip


@dataclass
class _Talk:
    """What came of one dialogue."""

    out: bytes = b""
    messages: list[bytes] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    closed: bool = False


def _serve(pieces: Sequence[bytes], *, lmtp: bool, trusted: bool, fix: bool) -> _Talk:
    """Run a server whose owner takes all but `no…`, and logs everybody in at the second answer."""
    settings = WireSettings(
        "gw.example",
        lmtp=lmtp,
        max_message_bytes=_MOST,
        inline_limit=_INLINE,
        max_errors=8,
        starttls="offer",
        auth=("PLAIN", "LOGIN"),
        auth_in_clear=("PLAIN", "LOGIN"),
    )
    wire = ServerWire(settings, trusted=trusted, fix_newlines=fix)
    told = _Talk()
    content = b""
    for piece in pieces:
        wire.receive(piece)
        while (event := wire.next_event()) is not NEED_DATA and event is not CLOSED:
            told.seen.add(type(event).__name__)
            match event:
                case Mail() | Rcpt():
                    path = event.path
                    assert not any(ord(c) < 32 or ord(c) == 127 for c in path), path
                    if path.startswith("no"):
                        wire.refuse(b"550 5.1.1 no\r\n")
                    else:
                        wire.take()
                case Piece():
                    content += event.octets
                case Dropped():
                    content = b""
                case End():
                    told.messages.append(content + event.octets)
                    content = b""
                    wire.finish(b"250 2.0.0 ok\r\n", accepted=True)
                case Auth():
                    if event.mechanism == "LOGIN":
                        wire.challenge(b"user")
                    else:
                        wire.auth_failed(b"535 5.7.8 no\r\n")
                case AuthLine():
                    wire.auth_done("ann")
                case StartTls():
                    told.out += wire.take_output()
                    wire.tls_started()
            assert len(content) <= _MOST + len(piece) + _INLINE
        told.out += wire.take_output()
    told.closed = wire.is_closed
    return told


def check_server(octets: bytes) -> str:
    """Check one client's octets against the promises of the server's dialogue."""
    chance = Random(octets)
    lmtp, trusted, fix = chance.random() < 0.2, chance.random() < 0.5, chance.random() < 0.3
    whole = _serve([octets], lmtp=lmtp, trusted=trusted, fix=fix)
    rest = whole.out
    replies = 0
    while rest:
        match = _REPLY.match(rest)
        assert match is not None, rest[:100]
        assert all(len(line) <= _MOST_LINE for line in match[0].splitlines())
        rest = rest[match.end() :]
        replies += 1
    assert replies <= 2 * octets.count(b"\n") + 2 * octets.upper().count(b"BDAT") + 3
    ends = octets.count(b"\r\n.\r\n") + len(re.findall(rb"(?i)DATA\r?\n\.\r\n", octets))
    assert len(whole.messages) <= ends + octets.upper().count(b"BDAT"), "a message that had no end"
    if "StartTls" not in whole.seen:  # what is thrown away there depends on what had come
        cut = _serve(_cut(octets, chance), lmtp=lmtp, trusted=trusted, fix=fix)
        assert cut.messages == whole.messages
        # Of a content that is too big and has bare newlines besides, the one or the other is told.
        assert _first_digits(cut.out) == _first_digits(whole.out)
    return f"{'lmtp ' * lmtp}{sorted(whole.seen)} {min(len(whole.messages), 3)} {_codes(whole.out)}"


def _first_digits(out: bytes) -> list[bytes]:
    return [line[:1] for line in out.splitlines()]


def _codes(out: bytes) -> str:
    return ",".join(sorted({line[:3].decode() for line in out.splitlines()}))


def _cut(octets: bytes, chance: Random) -> list[bytes]:
    pieces = []
    while octets:
        size = chance.choice((1, 1, 2, 3, 7, 50, 1000))
        pieces.append(octets[:size])
        octets = octets[size:]
    return pieces


_REPLIES: Final = (
    b"220 mx.example ESMTP\r\n", b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 STARTTLS\r\n",
    b"250 ok\r\n", b"354 go ahead\r\n", b"421 closing\r\n", b"450 4.2.0 later\r\n", b"550 5.1.1 no\r\n",
    b"552-5.3.4 too\r\n552 5.3.4 big\r\n", b"250-", b"250\r\n", b"999 x\r\n", b"\r\n", b"\n", b"\0", b"\xff",
    b"251 x\r\n", b"334 \r\n",
    b"235 ok\r\n", b"x" * 5000, b"250-x\r\n" * 300, b"220 ready\r\nMAIL FROM:<evil@x>\r\n",
)  # fmt: skip


def check_client(octets: bytes) -> str:
    """Check one server's octets: nobody has two answers, nothing is taken for delivered that was not, and what is sent
    is what was meant, with one end."""
    chance = Random(octets)
    lmtp = chance.random() < 0.3
    wire = ClientWire(lmtp=lmtp)
    body = chance.choice((b"a\r\n", b"..\r\n.\r\n", b"x\n.\nMAIL FROM:<e@x>\r\n", b"no end"))
    answered: dict[tuple[int, int], int] = {}
    sent: list[bytes] = []
    outcome = "quiet"
    wire.hello("gw.example")
    sent.append(wire.take_output())
    begun = 0
    for piece in _cut(octets, chance):
        try:
            events = wire.receive(piece)
        except PeerError as fault:
            outcome = "error"
            _note(fault.events, answered)
            break
        for event in events:
            asked = event.stage is Stage.DATA and event.reply.code == 354
            if asked and wire.in_content and wire.current is event.transaction:  # not refused right behind it
                wire.content(body)
                wire.end_content()
                assert not _EARLY_END.search(wire.take_output()[:-3])
        _note(events, answered)
        if wire.closing:
            outcome = "closing"
            break
        if wire.can_begin and begun < 3 and wire.replies >= 2:
            begun += 1
            rcpts = tuple(b"RCPT TO:<r%d@b.example>\r\n" % n for n in range(3))
            wire.begin(Transaction(b"MAIL FROM:<a@a.example>\r\n", rcpts, begun))
        sent.append(wire.take_output())
    assert all(not line or line.endswith(b"\r\n") for line in sent)
    assert wire.replies <= octets.count(b"\n")
    assert len(wire._rest) <= MAX_LINE or outcome == "error"
    return f"{outcome} {begun} {sorted(set(answered.values()))}"


def _note(events: Sequence[Event], answered: dict[tuple[int, int], int]) -> None:
    """Note each recipient's answer. Raises: AssertionError at a second one."""
    for event in events:
        tx = event.transaction
        if tx is None or event.reply.code == 354:
            continue
        assert isinstance(tx.ref, int)
        if event.stage is Stage.DOT and event.reply.code < 300:
            assert tx.accepted
            assert not tx.refused
        everyone = range(len(tx.rcpts)) if event.stage is Stage.MAIL else tx.accepted
        for ordinal in everyone if event.ordinal == -1 else (event.ordinal,):
            assert (tx.ref, ordinal) not in answered
            answered[tx.ref, ordinal] = event.reply.code


def check_filter(octets: bytes) -> str:
    """Check what a filter says: replies or the one declared fault, the same however it is cut, and little held."""

    def heard(pieces: Sequence[bytes]) -> tuple[list[object], bool]:
        replies = Replies()
        said: list[object] = []
        try:
            for piece in pieces:
                said += replies.receive(piece)
                assert len(replies._octets) <= MAX_PACKET + 4
        except MilterError:
            return said, True
        return said, False

    whole: list[object] = []
    fails = False
    replies = Replies()
    try:
        for reply in replies.receive(octets):
            whole.append(reply)
    except MilterError:
        fails = True
    assert heard(_cut(octets, Random(octets)))[1] is fails
    return f"{sorted({type(each).__name__ for each in whole})} {fails}"


def _dialogues() -> Sequence[bytes]:
    hello, mail, rcpt = _COMMANDS[0], _COMMANDS[3], _COMMANDS[7]
    begun = hello + mail + rcpt
    return [
        begun + b"DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n",
        begun + b"DATA\r\n" + b"x" * 100 + b"\r\n.\r\n" + mail + rcpt + b"DATA\r\n.\r\nQUIT\r\n",
        begun + b"BDAT 5\r\nabc\r\nBDAT 3 LAST\r\nx\r\nQUIT\r\n",
        hello + b"AUTH LOGIN\r\nYQ==\r\n" + mail + rcpt + b"DATA\r\nx\r\n.\r\n",
        hello + b"AUTH PLAIN AGEAYg==\r\nSTARTTLS\r\nNOOP\r\n",
        begun.replace(b"EHLO", b"LHLO") + rcpt + b"DATA\r\nx\r\n.\r\n",
        b"HELO x\r\nMAIL FROM:<>\r\n" + rcpt + b"RSET\r\nVRFY a\r\nHELP\r\nNOOP\r\n",
        begun + b"DATA\r\n" + b"y" * (_MOST + 10) + b"\r\n.\r\nNOOP\r\n",
    ]


def _answers() -> Sequence[bytes]:
    hello = _REPLIES[0] + _REPLIES[1]
    whole = b"250 ok\r\n" * 4 + b"354 go\r\n"
    return [
        hello + whole + b"250 queued\r\n" + whole + b"550 no\r\n",
        _REPLIES[0] + b"250 x\r\n" + whole + b"250 q\r\n",
    ]


def _recordings() -> Sequence[bytes]:
    """What real filters said."""
    folder = Path(__file__).parents[1] / "data" / "milter"
    seeds = []
    for path in sorted(folder.glob("*.txt")):
        said = b""
        for line in path.read_text().splitlines():
            who, letter, data = line.split(" ")
            if who == "<":
                packet = letter.encode() + bytes.fromhex(data)
                said += len(packet).to_bytes(4, "big") + packet
        seeds.append(said)
    return seeds


_PACKETS: Final = (
    b"\0\0\0\1c", b"\0\0\0\1a", b"\0\0\0\3hX\0", b"\0", b"\xff\xff\xff\xff", b"\0\0\0\5", b"O",
    b"y550 x\0", b"m\0\0\0\1",
)  # fmt: skip

TARGETS: Final = (
    Target("smtp-server", check_server, _dialogues, Octets(_COMMANDS), same_octets, same_octets, 2.0, 3000),
    Target("smtp-client", check_client, _answers, Octets(_REPLIES), same_octets, same_octets, 2.0, 3000),
    Target("milter-replies", check_filter, _recordings, Octets(_PACKETS), same_octets, same_octets, 2.0, 4000),
)
