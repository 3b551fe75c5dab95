"""POP3's answers: octets in, replies out, in the order of the commands. Pure.

A reply is a line; where the command asks for one of many lines, these go to its sink in pieces as they come, without
the dots that were put before dots, up to the line of one dot. A server that ends its lines in LF alone is understood.
Linear in what comes; a line and an answer have their bounds.
Source: RFC 1939 §3; RFC 2449 §3, §8 (response codes); RFC 3206; RFC 5034 (AUTH).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MOST_LINE: Final = 64 * 1024
"""RFC 2449 §4 has 512 octets a reply; texts of OAuth are longer."""

_CODE: Final = re.compile(r"\[([A-Za-z][A-Za-z0-9/-]{0,40})\] ?")


class WireError(Exception):
    """The server does not speak POP3."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The first line of an answer. `code` is a response code of RFC 2449, in capitals; `goes_on`: the server waits
    for more of this command."""

    ok: bool
    text: str = ""
    code: str = ""
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class _Awaited:
    many: bool
    sink: Callable[[bytes], None] | None
    done: Callable[[Reply], None]


def read_reply(line: bytes) -> Reply:
    """Read a reply's line, without its end. Raises: WireError."""
    text = line.decode("utf-8", "replace")
    word, _, rest = text.partition(" ")
    if word == "+":
        return Reply(True, rest, goes_on=True)
    if word.upper() not in ("+OK", "-ERR"):
        raise WireError(f"the server said {text[:80]!r}, which is no answer of POP3")
    match = _CODE.match(rest)
    code = match[1].upper() if match is not None else ""
    return Reply(word.upper() == "+OK", rest, code)


class Replies:
    """What a server says, put in order."""

    def __init__(self) -> None:
        self._awaited: deque[_Awaited] = deque()
        self._held = b""
        self._in_lines: Reply | None = None
        self._is_first = False
        self._eol = b"\r\n"

    @property
    def awaited(self) -> int:
        """How many answers have not come."""
        return len(self._awaited)

    @property
    def has_more(self) -> bool:
        """Whether a line has begun."""
        return bool(self._held)

    def expect(
        self, done: Callable[[Reply], None], *, many: bool = False, sink: Callable[[bytes], None] | None = None
    ) -> None:
        """Say that a command was sent; `done` is called at its answer's end, with `many` lines given to `sink`."""
        self._awaited.append(_Awaited(many, sink, done))

    def feed(self, octets: bytes) -> None:
        """Take what came. Raises: WireError."""
        self._held += octets
        while self._held and (self._lines() if self._in_lines is not None else self._line()):
            pass

    def _line(self) -> bool:
        end = self._held.find(b"\n")
        if end < 0:
            if len(self._held) > MOST_LINE:
                raise WireError("a line of the server's has no end")
            return False
        if not self._awaited:
            raise WireError("the server says what nobody has asked for")
        line, self._held = self._held[:end], self._held[end + 1 :]
        self._eol = b"\r\n" if line.endswith(b"\r") else b"\n"
        reply = read_reply(line.rstrip(b"\r"))
        if self._awaited[0].many and reply.ok and not reply.goes_on:
            # As if a line had ended: then a first line is like all others.
            self._in_lines, self._held, self._is_first = reply, self._eol + self._held, True
            return True
        self._awaited.popleft().done(reply)
        return True

    def _lines(self) -> bool:
        eol, data = self._eol, self._held
        last = eol + b"." + eol
        end = data.find(last)
        if end >= 0:
            self._held = data[end + len(last) :]
            self._give(data[: end + len(eol)])
            reply, self._in_lines = self._in_lines, None
            assert reply is not None
            self._awaited.popleft().done(reply)
            return True
        # What may be the beginning of the last line, or of a dot that is to go, waits for the rest.
        start = len(data) - len(last) + 1
        cut = data.find(eol[:1], max(0, start))
        cut = len(data) if cut < 0 else cut
        self._held = data[cut:]
        self._give(data[:cut])
        return False

    def _give(self, octets: bytes) -> None:
        eol = self._eol
        octets = octets.replace(eol + b"..", eol + b".")
        if self._is_first and octets:
            self._is_first = False
            octets = octets[len(eol) :]
        sink = self._awaited[0].sink
        if sink is not None and octets:
            sink(octets)
