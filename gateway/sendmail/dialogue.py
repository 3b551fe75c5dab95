"""-bs: SMTP on standard input and output, for mail programs that would rather speak than write.

Each message is handed over as one of -bm is, so that it is taken while no daemon answers, too. Lines may end with LF.
Source: RFC 5321 §4.1; of the extensions those that a hand-over carries: 8BITMIME, SIZE, DSN, PIPELINING.
"""

from __future__ import annotations

import os

from gateway.sendmail import options
from gateway.sendmail.way import Kept, Unkept, Unreachable, ask

MOST_LINE = 4096
MOST_RECIPIENTS = 10_000
MOST_ERRORS = 100
TEMPFAIL = 75


class _Over(Exception):
    """The other side is gone."""


class _Lines:
    """Standard input by lines."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._octets = b""

    def next(self) -> bytes:
        """Return the next line with its end. Raises: _Over."""
        while (end := self._octets.find(b"\n")) < 0:
            piece = os.read(self._file, 65536)
            if not piece:
                raise _Over
            self._octets += piece
        line, self._octets = self._octets[: end + 1], self._octets[end + 1 :]
        return line


class _Dialogue:
    def __init__(self, where: str, call: options.Call) -> None:
        self._where = where
        self._call = call
        self._sender: str | None = None
        self._has_sender = False
        self._recipients: list[str] = []
        self._asked = call.notify, call.ret, call.envid
        """What the command line asked for, where a transaction says nothing of it."""
        self._notify: list[str] = []
        """What was asked for each recipient."""
        self._errors = 0

    def command(self, line: bytes) -> bytes:
        """Answer a command; empty for DATA that may come, and for QUIT."""
        text = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        verb, _, rest = text.partition(" ")
        answer = getattr(self, f"_{verb.lower()}", None) if verb.isalpha() and verb.isascii() else None
        if answer is None or verb.lower() not in _VERBS or len(line) > MOST_LINE:
            return self._error(b"500 5.5.1 this command is not known here")
        made: bytes = answer(rest.strip())
        return made

    def _error(self, answer: bytes) -> bytes:
        self._errors += 1
        if self._errors > MOST_ERRORS:
            raise _Over
        return answer

    def _ehlo(self, _: str) -> bytes:
        self._begin()
        return b"250-localhost\r\n250-8BITMIME\r\n250-SIZE\r\n250-DSN\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES"

    def _helo(self, _: str) -> bytes:
        self._begin()
        return b"250 localhost"

    def _begin(self) -> None:
        self._has_sender, self._sender, self._recipients, self._notify = False, None, [], []
        self._call.notify, self._call.ret, self._call.envid = self._asked

    def _mail(self, rest: str) -> bytes:
        if self._has_sender:
            return self._error(b"503 5.5.1 a transaction is under way")
        path, words = _path(rest, "from:")
        if path is None:
            return self._error(b"501 5.5.4 write MAIL FROM:<address>")
        call = self._call
        for key, _, value in (word.partition("=") for word in words):
            if key.upper() == "RET" and value.lower() in ("full", "hdrs"):
                call.ret = value.lower()
            elif key.upper() == "ENVID":
                named = _decoded(value)
                if named is None or len(value) > 100:
                    self._begin()
                    return self._error(b"501 5.5.4 ENVID takes up to 100 characters of xtext")
                call.envid = named
        self._has_sender, self._sender = True, path
        return b"250 2.1.0 ok"

    def _rcpt(self, rest: str) -> bytes:
        path, words = _path(rest, "to:")
        if not self._has_sender:
            return self._error(b"503 5.5.1 say MAIL first")
        if not path:
            return self._error(b"501 5.5.4 write RCPT TO:<address>")
        if len(self._recipients) >= MOST_RECIPIENTS:
            return b"452 4.5.3 too many recipients"
        from gateway.sendmail import handover

        try:
            status, text = ask(self._where, [handover.write([("do", options.VERIFY), ("to", path)])])
        except Unreachable:
            status, text = 0, ""  # whoever takes it later reports on it
        if status == TEMPFAIL:
            status = 0  # as above
        if status:
            why = text.partition("... ")[2].strip() or "5.1.1 nobody has this address"
            return b"550 " + why.encode("ascii", "replace").replace(b"\n", b" ")
        self._notify.append(next((w[7:].lower() for w in words if w.upper().startswith("NOTIFY=")), self._asked[0]))
        self._recipients.append(path)
        return b"250 2.1.5 ok"

    def _data(self, _: str) -> bytes:
        if not self._recipients:
            return self._error(b"503 5.5.1 say RCPT first" if self._has_sender else b"503 5.5.1 say MAIL first")
        return b""

    def content(self, lines: _Lines) -> bytes:
        """Read a message, and hand it over. Raises: _Over."""
        from gateway.sendmail.command import post

        kept, unkept = Kept(), ""
        while (line := lines.next()) not in (b".\n", b".\r\n"):
            try:
                if not unkept:
                    kept.add(line[1:] if line.startswith(b".") else line)
            except Unkept as fault:  # the rest is read all the same, or it would be taken for commands
                unkept = str(fault)
        if unkept:
            self._begin()
            return b"452 4.3.1 " + unkept.encode("ascii", "replace")
        call = self._call
        call.sender, call.recipients, call.notify = self._sender, self._recipients, _for_all(self._notify)
        status, text = post(call, kept)
        self._begin()
        if status == 0:
            return b"250 2.0.0 " + text.strip().encode("ascii", "replace")
        answer = b"451 4.3.0 " if status == TEMPFAIL else b"554 5.0.0 "
        return answer + text.strip().encode("ascii", "replace").replace(b"\n", b" ")

    def _rset(self, _: str) -> bytes:
        self._begin()
        return b"250 2.0.0 ok"

    def _noop(self, _: str) -> bytes:
        return b"250 2.0.0 ok"

    def _vrfy(self, _: str) -> bytes:
        return b"252 2.1.5 send some mail, and see whether the recipient is taken"

    def _quit(self, _: str) -> bytes:
        return b""


_VERBS = {"ehlo", "helo", "mail", "rcpt", "data", "rset", "noop", "vrfy", "quit"}


def _for_all(asked: list[str]) -> str:
    """Return what one hand-over asks for all its recipients: what any of them is to be told of, so that nothing that
    somebody waits for is kept from them."""
    if len(set(asked)) == 1:
        return asked[0]
    words = [word for each in asked for word in (each or "failure").split(",") if word != "never"]
    return ",".join(dict.fromkeys(words))


def _decoded(xtext: str) -> str | None:
    """Return what xtext stands for (RFC 3461 section 4), None where that is not printable ASCII."""
    first, *rest = xtext.split("+")
    try:
        text = first + "".join(chr(int(part[:2], 16)) + part[2:] for part in rest)
    except ValueError:
        return None
    return text if text.isascii() and text.isprintable() and text else None


def _path(rest: str, word: str) -> tuple[str | None, list[str]]:
    """Return the address of MAIL or RCPT and the parameters behind it; None where there is none."""
    if rest[: len(word)].lower() != word:
        return None, []
    rest = rest[len(word) :].strip()
    if not rest.startswith("<"):
        path, _, more = rest.partition(" ")
        return path or None, more.split()
    quoted = False
    for at, c in enumerate(rest):
        if c == '"' and rest[at - 1] != "\\":
            quoted = not quoted
        elif c == ">" and not quoted:
            return rest[1:at].rpartition(":")[2] if rest.startswith("<@") else rest[1:at], rest[at + 1 :].split()
    return None, []


def converse(call: options.Call, where: str, file_in: int = 0, file_out: int = 1) -> int:
    """Speak SMTP until QUIT or the end of input; return the exit status."""
    lines, dialogue = _Lines(file_in), _Dialogue(where, call)

    def say(answer: bytes) -> None:
        view = memoryview(answer + b"\r\n")
        while view:
            view = view[os.write(file_out, view) :]

    try:
        say(b"220 localhost ESMTP gatepost-sendmail")
        while True:
            line = lines.next()
            answer = dialogue.command(line)
            verb = line[:4].upper()
            if answer:
                say(answer)
            elif verb == b"QUIT":
                say(b"221 2.0.0 bye")
                return 0
            else:
                say(b"354 end data with a line that is a single dot")
                say(dialogue.content(lines))
    except (_Over, BrokenPipeError):
        return 0
