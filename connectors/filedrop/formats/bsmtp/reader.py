"""The messages of a batch, in order: the other half of an SMTP dialogue, whose answers nobody hears.

Promises: a message is yielded once its final dot is there, and never half a message; what is yielded needs nothing of
what follows. A transaction with an address or a parameter that cannot be taken is a Bad of its own, its recipients
that can be are served. Where a line is no command, nobody can tell what those after it are: the rest of the file is
kept as one Bad, or, with `on_error = "skip"`, what goes as far as the next transaction. Each Bad begins with the
reply that an SMTP server would have given.
Source: RFC 2442; the treatment of each command is that of `exim -bS`, in Exim's specification, "The -bS option".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from connectors.filedrop.formats.bsmtp.commands import (
    Command,
    Mail,
    Path,
    Plain,
    Unacceptable,
    Unreadable,
    read_command,
)
from connectors.filedrop.formats.bsmtp.settings import BsmtpSettings
from connectors.filedrop.formats.bsmtp.text import LONGEST_LINE, BatchText, Body, Line
from connectors.filedrop.formats.values import Bad, Options, Part, Span, Stamp
from gateway.contract import Address, Recipient

_SHOWN: Final = 200
_FILLING: Final = b" \t\r\n\0\x1a"
"""What may stand behind QUIT: the filling of records, and the end-of-file sign of CP/M."""


@dataclass(slots=True)
class _Flaw:
    """What is wrong, and in which line."""

    rule: str
    reply: str
    mend: str
    line: Line


@dataclass(slots=True)
class _Transaction:
    """What MAIL began, as far as it has come. `mail` is None where a line that was not understood began it."""

    begin: Line
    mail: Mail | None = None
    flaw: _Flaw | None = None
    """Why the transaction as a whole cannot be taken."""
    recipients: dict[Address, Recipient] = field(default_factory=dict)
    refused: list[_Flaw] = field(default_factory=list)


class BatchReader:
    """Reads one batch."""

    def __init__(self, text: BatchText, stamp: Stamp, options: Options, settings: BsmtpSettings) -> None:
        self._text = text
        self._stamp = stamp
        self._options = options
        self._skips = settings.on_error == "skip"
        self._strict = settings.dialect == "rfc2442"
        self._qualify = settings.qualify or (options.hostname if settings.dialect == "exim" else "")
        self._open: _Transaction | None = None
        self._label = ""

    def read(self) -> Iterator[Part | Bad]:
        """Yield parts and what is bad, to the end. Raises: OSError."""
        seen = False
        while True:
            if self._open is None:
                self._text.mark()
            line = self._text.read_line()
            if line is None and not seen:
                yield Bad("bsmtp.empty", 0, 1, "421 4.4.2 the file holds no command", "write a batch into it")
                return
            if line is None:
                yield from self._cut_off("the batch ends before the transaction's DATA")
                return
            if not line.text.strip(_FILLING):
                continue
            seen = True
            try:
                command = self._command(line)
                if command == Plain("QUIT"):
                    yield from self._after_quit()
                    return
                yield from self._take(command, line)
            except Unreadable as e:
                flaw = _Flaw(e.rule, e.reply, e.mend, line)
                if not self._skips:
                    yield self._bad(flaw, self._begin(line), None)
                    return
                self._spoil(flaw)
            except _CutOff as e:
                yield from self._cut_off(str(e))
                return

    def _command(self, line: Line) -> Command:
        if len(line.text) > LONGEST_LINE:
            reply = f"500 5.5.6 the line has more than {LONGEST_LINE} octets"
            raise Unreadable("line-too-long", reply, "write shorter commands, and each content behind DATA")
        wants = b"\r\n" if self._strict else self._text.newline
        ends = line.after - line.start > len(line.text)
        if line.text.strip().upper() == b"QUIT" and not ends:  # behind which no line needs to begin
            return Plain("QUIT")
        if not ends:
            self._open = self._open or _Transaction(line)
            raise _CutOff("the batch ends inside a command")
        if not line.is_whole or wants != self._text.newline:
            reply = "500 5.5.2 the line does not end as it has to"
            raise Unreadable("line-end", reply, "end all lines of a batch in one way; application/batch-SMTP: in CRLF")
        return read_command(line.text)

    def _take(self, command: Command, line: Line) -> Iterator[Part | Bad]:
        match command:
            case Path(verb="MAIL"):
                yield from self._mail(command, line)
            case Path():
                self._rcpt(command, line)
            case Plain(verb="DATA"):
                yield from self._data(line)
            case Plain(verb="HELO" | "EHLO" | "RSET"):
                yield from self._drop()
            case Plain(verb="TICK"):
                self._label = command.argument[:_SHOWN]
            case _:
                pass  # RFC 2442 §2, and Exim's list: they have no bearing on a message

    def _mail(self, command: Path, line: Line) -> Iterator[Bad]:
        if self._open is not None:
            if not self._skips or self._open.mail is not None:
                reply = "503 5.5.1 a MAIL before the DATA of the transaction before it"
                flaw = _Flaw("bad-order", reply, "give each MAIL its RCPT and DATA, or RSET before the next", line)
                if not self._skips:
                    raise Unreadable(flaw.rule, flaw.reply, flaw.mend)
                self._spoil(flaw)
            yield from self._drop(line.start)
        self._text.mark()
        self._open = _Transaction(line)
        try:
            self._open.mail = command.mail(self._options, self._qualify)
        except Unacceptable as e:
            self._open.mail = Mail(None)
            self._open.flaw = _Flaw(e.rule, e.reply, e.mend, line)

    def _rcpt(self, command: Path, line: Line) -> None:
        transaction = self._open
        if transaction is None or transaction.mail is None:
            reply = "503 5.5.1 a RCPT before MAIL"
            raise Unreadable("bad-order", reply, "begin each transaction with MAIL FROM:<…>")
        try:
            recipient = command.rcpt(self._options, self._qualify).recipient
        except Unacceptable as e:
            if len(transaction.refused) < self._options.max_recipients:
                transaction.refused.append(_Flaw(e.rule, e.reply, e.mend, line))
            return
        transaction.recipients.setdefault(recipient.address, recipient)
        if len(transaction.recipients) > self._options.max_recipients and transaction.flaw is None:
            reply = f"452 4.5.3 more than {self._options.max_recipients} recipients"
            transaction.flaw = _Flaw(
                "too-many-recipients", reply, "write several transactions, or raise max_recipients", line
            )
            transaction.recipients.clear()

    def _data(self, line: Line) -> Iterator[Part | Bad]:
        transaction = self._open
        if transaction is None or (transaction.mail is None and transaction.flaw is None):
            reply = "503 5.5.1 a DATA before MAIL and RCPT"
            flaw = _Flaw("bad-order", reply, "begin each transaction with MAIL FROM:<…> and RCPT TO:<…>", line)
            if not self._skips:
                raise Unreadable(flaw.rule, flaw.reply, flaw.mend)
            self._spoil(flaw)
            transaction = self._open
        assert transaction is not None
        body = self._text.read_body()
        if body is None:
            raise _CutOff("the batch ends inside a message, before its line of a single dot")
        self._open = None
        label, self._label = self._label, ""
        if transaction.flaw is None and not transaction.recipients and not transaction.refused:
            mend = "name who is to get the message in RCPT TO:<…>"
            transaction.flaw = _Flaw("no-recipient", "503 5.5.1 a DATA before any RCPT", mend, line)
        if transaction.flaw is not None:
            yield self._bad(transaction.flaw, transaction.begin.start, body.after)
            return
        if transaction.recipients:
            yield self._part(transaction, body, label)
        if transaction.refused:
            yield self._refused(transaction, line, body)

    def _part(self, transaction: _Transaction, body: Body, label: str) -> Part:
        mail = transaction.mail
        assert mail is not None
        plain = self._text.newline == b"\r\n" and not body.has_dots
        return Part(
            mail.reverse_path,
            tuple(transaction.recipients.values()),
            (self._text.content(body.start, body.end, unstuff=not plain),),
            mail.ret,
            mail.envid,
            mail.priority,
            key=label or mail.envid or f"{self._stamp.name or self._stamp.token}:{transaction.begin.number}",
            item=(self._text.item(transaction.begin.start, body.after),),
        )

    def _refused(self, transaction: _Transaction, data: Line, body: Body) -> Bad:
        """Return the Bad of recipients that cannot be read: a batch of its own, for them alone."""
        first = transaction.refused[0]
        item: list[bytes | Span] = [self._text.item(transaction.begin.start, transaction.begin.after)]
        item += [self._text.item(flaw.line.start, flaw.line.after) for flaw in transaction.refused]
        item.append(self._text.item(data.start, body.after))
        return self._bad(first, first.line.start, None, tuple(item))

    def _drop(self, end: int | None = None) -> Iterator[Bad]:
        """Forget a transaction that is not finished; what was wrong with it is told."""
        transaction, self._open = self._open, None
        if transaction is None:
            return
        flaw = transaction.flaw or next(iter(transaction.refused), None)
        if flaw is not None:
            yield self._bad(flaw, transaction.begin.start, self._text.at if end is None else end)

    def _spoil(self, flaw: _Flaw) -> None:
        """Let a line that was not understood concern the transaction that is open, or that it begins."""
        if self._open is None:
            self._open = _Transaction(flaw.line)
        self._open.flaw = self._open.flaw or flaw

    def _begin(self, line: Line) -> int:
        return line.start if self._open is None else self._open.begin.start

    def _after_quit(self) -> Iterator[Bad]:
        yield from self._drop()
        start, number = self._text.at, self._text.line
        self._text.mark()
        if any(octets.strip(_FILLING) for octets in self._text.rest()):
            mend = "write one batch a file, or leave out the QUIT between them"
            flaw = _Flaw("after-quit", "503 5.5.1 something follows QUIT", mend, Line(b"", start, start, number, True))
            yield self._bad(flaw, start, None)

    def _cut_off(self, text: str) -> Iterator[Bad]:
        transaction = self._open
        if transaction is not None:
            mend = "write the file anew from this transaction on, whole, and rename it into place when it is"
            flaw = transaction.flaw or _Flaw("no-final-dot", f"421 4.4.2 {text}", mend, transaction.begin)
            yield self._bad(flaw, transaction.begin.start, None)

    def _bad(self, flaw: _Flaw, start: int, end: int | None, item: tuple[bytes | Span, ...] | None = None) -> Bad:
        return Bad(
            f"bsmtp.{flaw.rule}",
            self._text.place(flaw.line.start),
            flaw.line.number,
            flaw.reply,
            flaw.mend,
            flaw.line.text[:_SHOWN],
            item or (self._text.item(start, end),),
        )


class _CutOff(Exception):
    """The batch ended inside a content or a command."""
