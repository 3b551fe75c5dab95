"""The server's side of an SMTP or LMTP dialogue, without I/O: octets in, events and replies out.

Theory of operation. `receive` takes what the network gave, of any size; `next_event` is called until it says
NEED_DATA, WAIT or CLOSED; `take_output` gives the replies so far, in the order of the commands, to be sent in one
piece. What only the grammar, the state of the dialogue or a limit decides is answered here. An event is what the
owner decides: after Mail and Rcpt it calls `take` or `refuse`, after End `finish`, after StartTls `tls_started`,
after Auth and AuthLine `challenge`, `auth_done` or `auth_failed`; Piece and Dropped need no answer. Nothing is parsed
between an End and its `finish`, so that the replies of pipelined commands (RFC 2920) keep their order and never speak
of a transaction that is not over.

Promises: no exception whatever comes in; memory bounded by the inline limit, the line limit and what `receive` was
given; content over the inline limit leaves at once as Pieces. A message that is refused for its size or its line
ends is read to its end first: a reply in the middle would let the rest of it be taken for commands.
Source: RFC 5321; RFC 2033 (LMTP); RFC 2920; RFC 3030 (CHUNKING); RFC 3207; RFC 4954; RFC 6531. The grammar is in
`commands`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from enum import Enum, unique
from typing import Final

from connectors.smtp import answers, server_auth
from connectors.smtp.commands import (
    Extensions,
    Mail,
    Refusal,
    parse_bdat,
    parse_hello,
    parse_mail,
    parse_rcpt,
)
from connectors.smtp.data_reader import ChunkReader, DotReader, Gatherer, Problem
from connectors.smtp.line_buffer import AUTH_LINE_LIMIT, LINE_LIMIT, LineBuffer, LineFault
from connectors.smtp.replies import reply
from connectors.smtp.server_events import (
    CLOSED,
    NEED_DATA,
    WAIT,
    Dropped,
    End,
    Event,
    Piece,
    StartTls,
    WireSettings,
)

IDLE_COMMANDS: Final = 100
"""NOOP, RSET, HELP, VRFY and empty chunks between two messages; each further one counts as an error."""


@unique
class _State(Enum):
    COMMAND = "a command line is next"
    MAIL = "the owner decides on a Mail"
    RCPT = "the owner decides on a Rcpt"
    CONTENT = "octets of DATA or of a chunk are next"
    END = "the owner has an End"
    TLS = "the owner starts TLS"
    AUTH = "the owner decides on an Auth or AuthLine"
    RESPONSE = "the answer to a challenge is next"
    CLOSED = "nothing more is read or said"


_NOTHING_OFFERED: Final = Extensions(esmtp=False)

# What a browser sends when it is led to a mail port: a page must not be able to speak SMTP through it.
_OTHER_PROTOCOLS: Final = frozenset((b"GET", b"POST", b"PUT", b"CONNECT", b"OPTIONS", b"HOST:", b"USER-AGENT:"))


class ServerWire:
    """One dialogue. `trusted` peers are offered what others must not ask for; `fix_newlines` makes a bare LF in
    content a CRLF and lets it end a command line, but never the content."""

    __slots__ = (
        "_buffer",
        "_chunk_ends",
        "_chunked",
        "_fix",
        "_gatherer",
        "_idle_commands",
        "_mail",
        "_offered",
        "_out",
        "_reader",
        "_refused",
        "_settings",
        "_state",
        "errors",
        "has_quit",
        "helo",
        "is_closed",
        "recipients",
        "tls",
        "trusted",
        "user",
    )

    def __init__(
        self, settings: WireSettings, *, trusted: bool = False, fix_newlines: bool = False, tls: bool = False
    ) -> None:
        self._settings = settings
        self.trusted = trusted
        self.tls = tls
        self.user = ""
        """Who has logged in."""
        self._fix = fix_newlines
        limit = AUTH_LINE_LIMIT if settings.auth or settings.auth_in_clear else LINE_LIMIT
        self._buffer = LineBuffer(allows_bare_lf=fix_newlines, limit=limit)
        self._out: list[bytes] = []
        self._state = _State.COMMAND
        self.is_closed = False
        self.errors = 0
        self.has_quit = False
        self._idle_commands = 0
        self.helo: str | None = None
        self._offered = _NOTHING_OFFERED
        self._reader: DotReader | ChunkReader | None = None
        self._gatherer: Gatherer | None = None
        self._chunk_ends = False
        self._mail: Mail | None = None
        self.recipients = 0
        self._refused = 0
        self._chunked = False

    # What the owner calls

    def receive(self, data: bytes) -> None:
        """Take octets from the peer."""
        if self._state is not _State.CLOSED:
            self._buffer.append(data)

    @property
    def waiting(self) -> int:
        """How many octets were received and not yet looked at."""
        return len(self._buffer)

    @property
    def in_content(self) -> bool:
        """Content has begun, and was not answered yet."""
        return self._state is _State.CONTENT or self._state is _State.END or self._chunked

    @property
    def protocol(self) -> str:
        """The transmission type for the Received field, as far as it does not depend on the message (RFC 3848)."""
        word = "LMTP" if self._settings.lmtp else "ESMTP" if self._offered.esmtp else "SMTP"
        if word == "SMTP":
            return word
        return f"{word}{'S' if self.tls else ''}{'A' if self.user else ''}"

    def take_output(self) -> bytes:
        """Return the replies that are due, and forget them."""
        out = self._out
        if not out:
            return b""
        octets = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return octets

    def greet(self) -> None:
        """Say the greeting (RFC 5321 §3.1)."""
        word = "LMTP" if self._settings.lmtp else "ESMTP"
        self._out.append(reply(220, "", f"{self._settings.hostname} {word} ready"))

    def take(self) -> None:
        """Say yes to the Mail or Rcpt."""
        if self._state is _State.RCPT:
            self.recipients += 1
            self._out.append(answers.RCPT_OK)
        else:
            self._out.append(answers.MAIL_OK)
        self._state = _State.COMMAND

    def refuse(self, answer: bytes, *, is_error: bool = True) -> None:
        """Say no to the Mail or Rcpt; `is_error` counts against the client."""
        if self._state is _State.RCPT:
            self._refused += 1
        else:
            self._mail = None
        self._state = _State.COMMAND
        if is_error:
            self._error(answer)
        else:
            self._out.append(answer)

    def finish(self, answer: bytes, *, accepted: bool) -> None:
        """Answer the End; over LMTP once for each recipient that was taken (RFC 2033 §4.2)."""
        if self._state is _State.CLOSED:
            return
        self._state = _State.COMMAND
        self._answer_content(answer)
        if accepted:
            self.errors = 0

    def challenge(self, octets: bytes) -> None:
        """Ask the client for more: the next line is its answer."""
        self._out.append(b"334 %s\r\n" % b64encode(octets))
        self._state = _State.RESPONSE

    def auth_done(self, user: str) -> None:
        """The client is `user`, and trusted."""
        self.user = user
        self.trusted = True
        self._out.append(answers.AUTH_DONE)
        self._state = _State.COMMAND
        self.errors = 0

    def auth_failed(self, answer: bytes, *, is_error: bool = True) -> None:
        """The client is not who it says, or it can't be known now; `is_error` counts against it."""
        self._state = _State.COMMAND
        if is_error:
            self._error(answer)
        else:
            self._out.append(answer)

    def tls_started(self) -> None:
        """TLS is active: the client begins anew, and nothing it said before counts (RFC 3207 §4.2)."""
        self._state = _State.COMMAND
        self.tls = True
        self.helo = None
        self._end_transaction()

    def close(self, answer: bytes = b"") -> None:
        """End the dialogue with a last reply."""
        if self._state is _State.CLOSED:
            return
        if answer:
            self._out.append(answer)
        self._state = _State.CLOSED
        self.is_closed = True
        self._buffer.clear()
        self._gatherer = self._reader = None

    def next_event(self) -> Event:
        """Return what the owner has to know next, or why there is nothing. Raises nothing: an exception is a bug."""
        while True:
            state = self._state
            if state is _State.COMMAND:
                line = self._buffer.line()
                if line is None:
                    return NEED_DATA
                if not isinstance(line, bytes):
                    self._faulty(line)
                    continue
                event = self._command(line)
            elif state is _State.CONTENT:
                if not self._buffer and not self._chunk_is_empty():
                    return NEED_DATA
                event = self._content()
            elif state is _State.RESPONSE:
                event = self._response()
            else:
                return CLOSED if state is _State.CLOSED else WAIT
            if event is not None:
                return event

    # Command lines

    def _faulty(self, line: LineFault) -> None:
        if line is LineFault.BARE_LF:
            # Whoever sends this may see other line ends, so other commands, than we do: there is no going on.
            self.close(answers.BARE_LINE)
        else:
            self._error(answers.TOO_LONG if line is LineFault.TOO_LONG else answers.BARE_CR)

    def _command(self, line: bytes) -> Event | None:
        verb, _, argument = line.partition(b" ")
        handler = _VERBS.get(verb) or _VERBS.get(verb.upper())
        if handler is not None:
            return handler(self, line, argument)
        if verb.upper() in _OTHER_PROTOCOLS:
            self.close(answers.NOT_SMTP)
        else:
            self._error(answers.UNKNOWN)
        return None

    def _error(self, answer: bytes) -> None:
        self._out.append(answer)
        self.errors += 1
        if self.errors >= self._settings.max_errors:
            self.close(answers.TOO_MANY_ERRORS)

    def _refusal(self, refusal: Refusal) -> None:
        self._error(reply(refusal.code, refusal.enhanced, refusal.text))

    def _idle_command(self, answer: bytes) -> None:
        """Answer a command that does not bring a message nearer; a flood of them is an error."""
        self._idle_commands += 1
        if self._idle_commands > IDLE_COMMANDS:
            self._error(answer)
        else:
            self._out.append(answer)

    def _end_transaction(self) -> Dropped | None:
        spilled = self._gatherer is not None and self._gatherer.spilled
        self._gatherer = self._reader = self._mail = None
        self.recipients = self._refused = 0
        self._chunked = False
        return Dropped() if spilled else None

    def _hello(self, line: bytes, argument: bytes) -> Event | None:
        verb = line[:4].upper()
        if (verb == b"LHLO") is not self._settings.lmtp:  # RFC 2033 §4.1
            self._error(answers.UNKNOWN)
            return None
        name = parse_hello(argument)
        if isinstance(name, Refusal):
            self._refusal(name)
            return None
        dropped = self._end_transaction()
        esmtp = verb != b"HELO"
        self.helo = name
        if esmtp:
            self._offered = Extensions(
                priority=self.trusted, auth=bool(self._settings.auth or self._settings.auth_in_clear)
            )
        else:
            self._offered = _NOTHING_OFFERED
        self._out.append(self._extensions() if esmtp else reply(250, "", self._settings.hostname))
        return dropped

    def _extensions(self) -> bytes:
        settings = self._settings
        lines = [
            settings.hostname,
            "PIPELINING",
            f"SIZE {settings.max_message_bytes}",
            "8BITMIME",
            "SMTPUTF8",
            "DSN",
            "ENHANCEDSTATUSCODES",
            "CHUNKING",
        ]
        if self.trusted:
            lines.append("MT-PRIORITY")
        if settings.starttls is not None and not self.tls:
            lines.append("STARTTLS")
        if mechanisms := server_auth.mechanisms(settings, tls=self.tls):
            lines.append("AUTH " + " ".join(mechanisms))
        lines.append("HELP")
        return reply(250, "", "\n".join(lines))

    def _mail_from(self, line: bytes, _: bytes) -> Event | None:
        if self.helo is None:
            self._error(answers.HELLO_FIRST)
        elif self._mail is not None:
            self._error(answers.NESTED)
        elif self._settings.starttls == "require" and not self.tls:
            self._error(answers.TLS_FIRST)
        elif self._settings.needs_auth and not self.user:
            self._error(answers.AUTH_FIRST)
        else:
            mail = parse_mail(line, self._offered)
            if isinstance(mail, Refusal):
                self._refusal(mail)
            elif mail.size > self._settings.max_message_bytes:  # RFC 1870 §6.1
                self._out.append(self._too_big())
            else:
                self._mail = mail
                self._state = _State.MAIL
                return mail
        return None

    def _rcpt_to(self, line: bytes, _: bytes) -> Event | None:
        mail = self._mail
        if mail is None:
            self._error(answers.MAIL_FIRST)
        elif self._chunked:
            self._error(answers.CHUNKED)
        elif self.recipients >= self._settings.max_recipients:
            self._out.append(answers.TOO_MANY_RCPT)  # RFC 5321 §4.5.3.1.10: those before it are delivered
        else:
            rcpt = parse_rcpt(line, self._offered, smtputf8=mail.smtputf8)
            if isinstance(rcpt, Refusal):
                self._refused += 1
                self._refusal(rcpt)
            else:
                self._state = _State.RCPT
                return rcpt
        return None

    def _not_ready(self) -> bytes | None:
        """Return why no content can come now; None where it can."""
        if self._mail is None:
            return answers.MAIL_FIRST
        if not self.recipients:
            return answers.NO_RCPT if self._refused else answers.RCPT_FIRST
        return None

    def _data(self, _: bytes, argument: bytes) -> Event | None:
        why = self._not_ready()
        if argument.strip():
            self._error(answers.NO_ARGUMENT)
        elif why is not None:
            # Where all recipients were refused the client is not at fault: it had to pipeline (RFC 2920 §3.1).
            self._out.append(why) if why is answers.NO_RCPT else self._error(why)
        elif self._chunked:
            self._error(answers.CHUNKED)
        else:
            self._out.append(answers.GO_AHEAD)
            self._reader = DotReader()
            self._gatherer = self._new_gatherer(strict=True)
            self._state = _State.CONTENT
        return None

    def _bdat(self, _: bytes, argument: bytes) -> Event | None:
        chunk = parse_bdat(argument)
        if isinstance(chunk, Refusal):
            # How many octets follow is not known, so that nothing after it can be told from a command.
            self._out.append(reply(chunk.code, chunk.enhanced, chunk.text))
            dropped = self._end_transaction()
            self.close(answers.TOO_MANY_ERRORS)
            return dropped
        size, last = chunk
        # The octets of a chunk that is not welcome come all the same (RFC 3030 §2) and are read to its end.
        if self._gatherer is None and self._not_ready() is None:
            self._gatherer = self._new_gatherer(strict=False)
        self._chunked = self._gatherer is not None
        self._reader = ChunkReader(size)
        self._chunk_ends = last
        self._state = _State.CONTENT
        return None

    def _rset(self, _: bytes, argument: bytes) -> Event | None:
        if argument.strip():
            self._error(answers.NO_ARGUMENT)
            return None
        self._idle_command(answers.OK)
        return self._end_transaction()

    def _noop(self, _: bytes, __: bytes) -> Event | None:
        self._idle_command(answers.OK)
        return None

    def _vrfy(self, _: bytes, __: bytes) -> Event | None:
        self._idle_command(answers.VRFY)
        return None

    def _expn(self, _: bytes, __: bytes) -> Event | None:
        self._idle_command(answers.NO_EXPN)
        return None

    def _help(self, _: bytes, __: bytes) -> Event | None:
        self._idle_command(answers.HELP)
        return None

    def _quit(self, _: bytes, __: bytes) -> Event | None:
        dropped = self._end_transaction()
        self.has_quit = True
        self.close(answers.BYE)
        return dropped

    def _starttls(self, _: bytes, argument: bytes) -> Event | None:
        if self.tls:
            self._error(answers.TLS_TWICE)
        elif self._settings.starttls is None:
            self._error(answers.TLS_NO)
        elif self.user:  # RFC 4954 §4: what was said in clear does not hold under TLS
            self._error(answers.TLS_LATE)
        elif argument.strip():
            self._error(answers.NO_ARGUMENT)
        elif self.helo is None:
            self._error(answers.HELLO_FIRST)
        else:
            self._out.append(answers.READY_FOR_TLS)
            # What came in clear behind the command is not part of the protected dialogue (RFC 3207 §4.2): an
            # attacker in the middle could have put it there (CVE-2011-0411).
            self._buffer.clear()
            self._state = _State.TLS
            return StartTls()
        return None

    # AUTH

    def _auth(self, _: bytes, argument: bytes) -> Event | None:
        settings, esmtp = self._settings, self._offered.esmtp
        in_mail = self._mail is not None
        event = server_auth.begin(argument, settings, tls=self.tls, esmtp=esmtp, user=self.user, in_mail=in_mail)
        return self._authenticates(event)

    def _authenticates(self, event: Event | bytes) -> Event | None:
        if isinstance(event, bytes):
            self._error(event)
            return None
        self._state = _State.AUTH
        return event

    def _response(self) -> Event | None:
        """Read the line that answers a challenge: an event, or None to go on."""
        line = self._buffer.line()
        if line is None:
            return NEED_DATA
        self._state = _State.COMMAND
        if isinstance(line, bytes):
            return self._authenticates(server_auth.answer(line))
        self._faulty(line)
        return None

    # Content

    def _new_gatherer(self, *, strict: bool) -> Gatherer:
        settings = self._settings
        return Gatherer(settings.max_message_bytes, settings.inline_limit, strict=strict, fix=strict and self._fix)

    def _chunk_is_empty(self) -> bool:
        return isinstance(self._reader, ChunkReader) and self._reader.is_done

    def _content(self) -> Event | None:
        """Read content from the buffer: an event, or None to go on."""
        reader, gatherer = self._reader, self._gatherer
        assert reader is not None
        data = self._buffer.take()
        octets, left = reader.read(data)
        if left > 0:
            self._buffer.append(data[-left:])
        if gatherer is None:  # a chunk that had no transaction
            if left >= 0:
                self._state = _State.COMMAND
                self._error(self._not_ready() or answers.CHUNKED)
            return None
        onward = gatherer.add(octets)
        if left < 0:
            return Piece(onward) if onward else None
        if self._chunked and not self._chunk_ends:
            # A problem is told with the last chunk: those in between are under way already.
            self._state = _State.COMMAND
            self._out.append(answers.OK)
            return Piece(onward) if onward else None
        return self._end(gatherer, onward)

    def _end(self, gatherer: Gatherer, onward: bytes) -> Event | None:
        if gatherer.problem is None:
            self._state = _State.END
            return End(onward or gatherer.rest(), gatherer.traits)
        self._state = _State.COMMAND
        dropped = Dropped() if gatherer.spilled else None
        self._answer_content(answers.BARE if gatherer.problem is Problem.BARE else self._too_big())
        return dropped

    def _answer_content(self, answer: bytes) -> None:
        self._out.append(answer * self.recipients if self._settings.lmtp else answer)
        self._idle_commands = 0
        self._end_transaction()

    def _too_big(self) -> bytes:
        limit = self._settings.max_message_bytes
        return reply(552, "5.3.4", f"the message is over the limit of {limit} octets")


_Handler = Callable[[ServerWire, bytes, bytes], Event | None]

# One private method for each verb; RFC 5321 §4.1.1, and the extensions.
_VERBS: Final[dict[bytes, _Handler]] = {
    b"EHLO": ServerWire._hello,
    b"HELO": ServerWire._hello,
    b"LHLO": ServerWire._hello,
    b"MAIL": ServerWire._mail_from,
    b"RCPT": ServerWire._rcpt_to,
    b"DATA": ServerWire._data,
    b"BDAT": ServerWire._bdat,
    b"RSET": ServerWire._rset,
    b"NOOP": ServerWire._noop,
    b"VRFY": ServerWire._vrfy,
    b"EXPN": ServerWire._expn,
    b"HELP": ServerWire._help,
    b"QUIT": ServerWire._quit,
    b"STARTTLS": ServerWire._starttls,
    b"AUTH": ServerWire._auth,
}
