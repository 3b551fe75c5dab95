"""The client's half of SMTP and LMTP as a pure protocol object: octets in, events out, no I/O.

Every command sent is put in a queue of awaited replies, so that any number may be under way: with PIPELINING
the content of one message, its final dot and MAIL, RCPT and DATA of the next message leave in one write
(RFC 2920 §3.1), and without it the same calls send one command at a time.

Promises: `receive` raises PeerError and nothing else, whatever a peer sends; a reply, its lines and what waits
to be read are bounded; each recipient accepted gets exactly one event after the dot, under SMTP and LMTP alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import Enum, unique
from typing import Final, NamedTuple

from connectors.smtp.dot_stuffer import DotStuffer
from gateway.contract import Status

MAX_LINE: Final = 8192
"""Octets of one reply line; RFC 5321 §4.5.3.1.5 says 512, some peers say more."""
MAX_LINES: Final = 256

_CODES: Final = {b"%d" % code: code for code in range(200, 600)}


@unique
class Stage(Enum):
    """What a reply answers."""

    __hash__ = object.__hash__  # there is one of each; the hash that Enum gives them is a call of Python

    CONNECT = "connect"
    GREETING = "greeting"
    HELLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    RSET = "RSET"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "end of content"
    QUIT = "QUIT"


class PeerError(Exception):
    """The peer does not speak the protocol; nothing it says on this connection can be trusted any more."""

    def __init__(self, cause: str) -> None:
        self.status = Status("4.5.0", "the next hop broke the mail protocol", cause=cause)
        self.events: list[Event] = []
        """What was understood before it; it stands."""
        super().__init__(cause)


class Reply(NamedTuple):
    """One whole reply: its code, and its lines' text without code and line end."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def text(self) -> str:
        """Return the text as one printable line."""
        joined = b" ".join(self.lines).decode("utf-8", "replace")
        return joined if joined.isprintable() else "".join(c if c.isprintable() else "?" for c in joined)

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class Extensions:
    """What a peer offered in its answer to EHLO or LHLO (RFC 5321 §4.1.1.1). `size` is None where unlimited."""

    pipelining: bool = False
    eight_bit: bool = False
    size_offered: bool = False
    size: int | None = None
    utf8: bool = False
    dsn: bool = False
    enhanced_codes: bool = False
    starttls: bool = False
    chunking: bool = False
    auth: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, reply: Reply, ignore: Collection[str] = ()) -> Extensions:
        """Read the lines after the first; what is unknown, ill-formed or to `ignore` counts as not offered."""
        offered: dict[str, str] = {}
        for line in reply.lines[1:]:
            # `AUTH=PLAIN` is how servers wrote it before RFC 2554.
            keyword, _, value = line.decode("ascii", "replace").strip().upper().replace("AUTH=", "AUTH ").partition(" ")
            if keyword not in ignore:
                offered[keyword] = f"{offered[keyword]} {value}" if keyword in offered else value
        size = offered.get("SIZE", "").strip()
        return cls(
            pipelining="PIPELINING" in offered,
            eight_bit="8BITMIME" in offered,
            size_offered="SIZE" in offered,
            # RFC 1870 §4: absent and 0 both say that no fixed maximum is in force.
            size=(int(size) or None) if size.isascii() and size.isdigit() and len(size) <= 20 else None,
            utf8="SMTPUTF8" in offered,
            dsn="DSN" in offered,
            enhanced_codes="ENHANCEDSTATUSCODES" in offered,
            starttls="STARTTLS" in offered,
            chunking="CHUNKING" in offered,
            auth=frozenset(offered.get("AUTH", "").split()),
        )


@dataclass(slots=True, eq=False)
class Transaction:
    """One message on one connection: its commands as octets, and what became of them so far.

    `ref` is the caller's. `accepted` holds the ordinals in `rcpts` that the peer took at RCPT.
    """

    mail: bytes
    rcpts: tuple[bytes, ...]
    ref: object = None
    accepted: list[int] = field(default_factory=list)
    refused: bool = False
    """MAIL was refused, so that nothing that follows counts."""
    mailed: bool = False
    """MAIL was taken: the peer has a transaction open until its final dot, or until RSET."""
    step: int = 0
    """The next command to send, where they go one at a time."""


class Event(NamedTuple):
    """A reply that the caller must act on.

    `transaction` is None outside of one. At RCPT, and at the dot under LMTP, `ordinal` is the recipient's ordinal;
    otherwise -1, which means every recipient that was accepted (at MAIL: every recipient). MAIL and RCPT give an
    event only where refused. DATA with code 354 asks for the content.
    """

    stage: Stage
    transaction: Transaction | None
    ordinal: int
    reply: Reply


_VOID: Final = -2
"""Ordinal of a dot that ended a transaction without recipients: its answer means nothing."""


class ClientWire:
    """One connection's protocol state.

    Assumes: the caller sends what `take_output` returns, in order, and hands everything received to `receive`.
    """

    def __init__(self, *, lmtp: bool = False, ignore: Collection[str] = ()) -> None:
        self.lmtp = lmtp
        self._ignore = ignore
        self.extensions = Extensions()
        self.closing = False
        """The peer said 421 (or refused RSET): no further command makes sense."""
        self.messages = 0
        """Transactions begun."""
        self.replies = 0
        """Whole replies received."""
        self._rest = b""
        self._lines: list[bytes] = []
        self._awaited: deque[tuple[Stage, Transaction | None, int]] = deque([(Stage.GREETING, None, -1)])
        self._out: list[bytes] = []
        self._current: Transaction | None = None
        """The transaction whose commands or content are not all sent; its successor cannot begin yet."""
        self._stuffer: DotStuffer | None = None
        self._reset_due = False

    @property
    def awaiting(self) -> Stage | None:
        """What the next reply will answer; None where no reply is awaited."""
        return self._awaited[0][0] if self._awaited else None

    @property
    def can_begin(self) -> bool:
        """Whether `begin` may be called: no transaction is in its commands or content, though dots may be awaited."""
        return self._current is None and not self.closing

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way in either direction."""
        return self._current is None and not self._awaited and not self._rest and not self._lines

    @property
    def current(self) -> Transaction | None:
        """Return the transaction whose commands or content are not all sent."""
        return self._current

    @property
    def in_content(self) -> bool:
        """Whether the content of `current` has been asked for, and not been ended."""
        return self._stuffer is not None

    def unanswered(self) -> list[tuple[Transaction, int]]:
        """Return those whose dot was sent and not answered, oldest first: the peer may or may not have them."""
        return [(tx, index) for stage, tx, index in self._awaited if stage is Stage.DOT and tx and index != _VOID]

    def take_output(self) -> bytes:
        """Return what is to be sent now; b"" where nothing is."""
        if not self._out:
            return b""
        octets = b"".join(self._out) if len(self._out) > 1 else self._out[0]
        self._out.clear()
        return octets

    # --- what the caller asks for

    def command(self, stage: Stage, line: bytes) -> None:
        """Send one command outside of a transaction; its reply comes as an Event of this stage."""
        self._out.append(line + b"\r\n")
        self._awaited.append((stage, None, -1))

    def hello(self, name: str, *, extended: bool = True) -> None:
        """Send EHLO or LHLO, or HELO where not `extended`; what the reply offers is taken over.

        Source: RFC 5321 §4.1.1.1, RFC 2033 §4.1.
        """
        verb = b"LHLO" if self.lmtp else b"EHLO" if extended else b"HELO"
        self.command(Stage.HELLO, b"%s %s" % (verb, name.encode("ascii")))

    def restart(self) -> None:
        """Forget what the peer said in the clear, after STARTTLS (RFC 3207 §4.2)."""
        self.extensions = Extensions()

    def begin(self, tx: Transaction) -> None:
        """Send the transaction's commands, or the first of them where the peer does not pipeline."""
        assert self.can_begin
        self._current = tx
        self.messages += 1
        if not self.extensions.pipelining:
            self._advance()
            return
        out, awaited = self._out, self._awaited
        if self._reset_due:
            self._reset()
        out.append(tx.mail)
        awaited.append((Stage.MAIL, tx, -1))
        for index, rcpt in enumerate(tx.rcpts):
            out.append(rcpt)
            awaited.append((Stage.RCPT, tx, index))
        # RFC 2920 §3.1: DATA is the last command of a group.
        out.append(b"DATA\r\n")
        awaited.append((Stage.DATA, tx, -1))

    def content(self, octets: bytes) -> None:
        """Send the next octets of the content that a 354 asked for."""
        assert self._stuffer is not None
        self._out.append(self._stuffer.feed(octets))

    def end_content(self) -> bool:
        """End the content with its final dot; then the next transaction may begin in the same write.

        Returns whether the content had bare newlines that were mended.
        """
        stuffer, tx = self._stuffer, self._current
        assert stuffer is not None
        assert tx is not None
        self._out.append(stuffer.finish())
        if self.lmtp:
            # RFC 2033 §4.2: one reply for each recipient that was accepted, in their order.
            self._awaited.extend((Stage.DOT, tx, index) for index in tx.accepted)
        else:
            self._awaited.append((Stage.DOT, tx, -1))
        self._stuffer = self._current = None
        return stuffer.mended

    # --- what the peer says

    def receive(self, octets: bytes) -> list[Event]:
        """Take octets from the peer and return what they mean, in order.

        Raises: PeerError.
        """
        events: list[Event] = []
        try:
            self._receive(octets, events)
        except PeerError as fault:
            fault.events = events
            raise
        return events

    def _receive(self, octets: bytes, events: list[Event]) -> None:
        lines = (self._rest + octets if self._rest else octets).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE:
            raise PeerError("a reply line over the bound")
        for line in lines:
            if line[-1:] == b"\r":
                line = line[:-1]
            code = _CODES.get(line[:3])
            mark = line[3:4]
            if code is None or (mark != b" " and mark != b"-" and mark):
                raise PeerError(f"not a reply: {line[:80]!r}")
            if len(line) > MAX_LINE:
                raise PeerError("a reply line over the bound")
            if mark == b"-":
                self._lines.append(line)
                if len(self._lines) > MAX_LINES:
                    raise PeerError("a reply of too many lines")
                continue
            if self._lines:
                if any(earlier[:3] != line[:3] for earlier in self._lines):
                    raise PeerError(f"one reply of two codes: {line[:80]!r}")
                reply = Reply(code, tuple(part[4:] for part in (*self._lines, line)))
                self._lines.clear()
            else:
                reply = Reply(code, (line[4:],))
            self._reply(reply, events)

    def _reply(self, reply: Reply, events: list[Event]) -> None:
        code = reply.code
        self.replies += 1
        if code == 421:
            # RFC 5321 §3.8: it may answer any command, or come by itself.
            self.closing = True
        if not self._awaited:
            self._unasked(reply, events)
            return
        stage, tx, index = self._awaited.popleft()
        if tx is None:
            if stage is Stage.HELLO and code == 250:
                offered = Extensions.parse(reply, self._ignore)
                # An LMTP server's answer is the delivery itself, and the report about it is made by who asked.
                self.extensions = replace(offered, dsn=False) if self.lmtp else offered
            elif stage is Stage.RSET:
                self.closing = self.closing or code != 250
            if stage is not Stage.RSET:
                events.append(Event(stage, None, -1, reply))
        elif stage is Stage.DATA:
            self._data_answered(tx, reply, events)
        elif 300 <= code < 400:
            raise PeerError(f"{code} in answer to {stage.value}")
        elif stage is Stage.DOT:
            if index != _VOID:
                events.append(Event(stage, tx, index, reply))
        elif stage is Stage.RCPT:
            if tx.refused:
                pass
            elif code < 300:
                tx.accepted.append(index)
            else:
                events.append(Event(stage, tx, index, reply))
        elif code < 300:
            tx.mailed = True
        else:
            tx.refused = True
            events.append(Event(stage, tx, -1, reply))
        if self._current is not None and not self.extensions.pipelining:
            self._advance()

    def _unasked(self, reply: Reply, events: list[Event]) -> None:
        tx = self._current
        if self._stuffer is not None and tx is not None and reply.code >= 400:
            # Refused amid the content, as some do with what is too big; what follows could only be misread.
            self.closing = True
            self._stuffer = self._current = None
            events.extend(Event(Stage.DOT, tx, index, reply) for index in (tx.accepted if self.lmtp else (-1,)))
        elif reply.code != 421:
            raise PeerError(f"a reply to nothing: {str(reply)[:80]!r}")

    def _data_answered(self, tx: Transaction, reply: Reply, events: list[Event]) -> None:
        if reply.code == 354:
            if tx.accepted and not tx.refused:
                self._stuffer = DotStuffer()
                events.append(Event(Stage.DATA, tx, -1, reply))
                return
            # RFC 2920 §3.1: 354 though no recipient was taken: an empty message that nobody gets.
            self._out.append(b".\r\n")
            self._awaited.append((Stage.DOT, tx, _VOID))
            self._current = None
            return
        if reply.code < 400:
            raise PeerError(f"{reply.code} in answer to DATA")
        self._drop(tx)
        if tx.accepted and not tx.refused:
            events.append(Event(Stage.DATA, tx, -1, reply))

    def _drop(self, tx: Transaction) -> None:
        """End a transaction that came to no content; one that is open at the peer needs RSET before the next."""
        self._current = None
        self._reset_due = tx.mailed

    def _reset(self) -> None:
        self._reset_due = False
        self._out.append(b"RSET\r\n")
        self._awaited.append((Stage.RSET, None, -1))

    def _advance(self) -> None:
        """Send the next command of the current transaction, to a peer that does not pipeline."""
        tx = self._current
        if tx is None or self._awaited or self._stuffer is not None or self.closing:
            return
        if self._reset_due:
            self._reset()
        elif tx.step == 0:
            self._send(tx, tx.mail, Stage.MAIL, -1)
        elif tx.refused or (tx.step > len(tx.rcpts) and not tx.accepted):
            self._drop(tx)
        elif tx.step <= len(tx.rcpts):
            self._send(tx, tx.rcpts[tx.step - 1], Stage.RCPT, tx.step - 1)
        elif tx.step == len(tx.rcpts) + 1:
            self._send(tx, b"DATA\r\n", Stage.DATA, -1)

    def _send(self, tx: Transaction, line: bytes, stage: Stage, index: int) -> None:
        tx.step += 1
        self._out.append(line)
        self._awaited.append((stage, tx, index))
