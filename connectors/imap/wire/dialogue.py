"""A dialogue with an IMAP server: commands in a pipe, their answers, and when a literal has to wait. Without I/O.

Promises: commands go out in the order given, each whole before the next; what the server says untagged goes to the
oldest command that asked for such, else to `unasked`; nothing is sent beside a command that has to be alone.
Source: RFC 9051 §2.2, §5.5 (several commands in progress), §7; RFC 7888.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from connectors.imap.wire.commands import Command, Literal, Piece
from connectors.imap.wire.responses import Data, Fetched, Go, Response, Said
from connectors.imap.wire.tokens import WireError

LITERAL_MINUS: Final = 4096
Untagged: TypeAlias = Fetched | Data | Said
Taker: TypeAlias = Callable[[Untagged], bool]
"""Takes what a command asked for; says False where it is not that."""
Chunk: TypeAlias = bytes | Literal
"""Octets to be sent; of a literal, its content."""


@dataclass(slots=True)
class _Said:
    tag: str
    command: Command
    done: Callable[[Said], None]
    takes: Taker | None
    goes: Callable[[bytes], bytes | None] | None
    alone: bool


class Dialogue:
    """What is under way on one connection. `unasked` takes what no command asked for; `prefix` begins the tags."""

    def __init__(self, unasked: Callable[[Untagged], None], prefix: str = "g") -> None:
        self._unasked = unasked
        self._prefix = prefix
        self._count = 0
        self._waiting: deque[_Said] = deque()
        self._sent: deque[_Said] = deque()
        self._rest: deque[Piece] = deque()
        """What is left of the command that was sent last."""
        self._held: Literal | None = None
        """What the server has to ask for before anything else is sent."""
        self._granted: deque[Chunk] = deque()
        self.literal_plus = False
        self.literal_minus = False

    @property
    def under_way(self) -> int:
        """How many commands are not answered."""
        return len(self._sent) + len(self._waiting)

    def say(
        self,
        command: Command,
        done: Callable[[Said], None],
        takes: Taker | None = None,
        *,
        goes: Callable[[bytes], bytes | None] | None = None,
        alone: bool = False,
    ) -> str:
        """Put a command into the pipe and return its tag.

        `done` gets its answer, `takes` what comes untagged, `goes` the text of a continuation request that is for no
        literal, and returns the line that answers it, if any. `alone`: nothing else is under way meanwhile.
        """
        self._count += 1
        tag = f"{self._prefix}{self._count}"
        self._waiting.append(_Said(tag, command, done, takes, goes, alone))
        return tag

    def output(self) -> Iterator[Chunk]:
        """Yield what can be sent now."""
        while True:
            while self._granted:
                yield self._granted.popleft()
            if self._held is not None:
                return
            if not self._rest and not self._next():
                return
            piece = self._rest.popleft()
            if isinstance(piece, bytes):
                yield piece
                continue
            waits = not (self.literal_plus or (self.literal_minus and piece.size <= LITERAL_MINUS))
            yield b"%s{%d%s}\r\n" % (b"~" if piece.binary else b"", piece.size, b"" if waits else b"+")
            if waits:
                self._held = piece
            else:
                yield piece

    def _next(self) -> bool:
        """Begin the next command; say whether there is one that may be sent now."""
        if not self._waiting or (self._sent and (self._sent[-1].alone or self._waiting[0].alone)):
            return False
        each = self._waiting.popleft()
        self._sent.append(each)
        self._rest.append(each.tag.encode("ascii") + b" ")
        self._rest.extend(each.command.pieces)
        self._rest.append(b"\r\n")
        return True

    def heard(self, response: Response) -> None:
        """Take what the server says. Raises: WireError for an answer to nothing."""
        if isinstance(response, Go):
            self._go(response.text)
        elif isinstance(response, Said) and response.tag:
            self._answered(response)
        else:
            for each in self._sent:
                if each.takes is not None and each.takes(response):
                    return
            self._unasked(response)

    def _go(self, text: bytes) -> None:
        if self._held is not None:
            self._granted.append(self._held)
            self._held = None
            return
        asked = self._sent[-1] if self._sent else None
        if asked is None or asked.goes is None:
            raise WireError("the server asks for more, and there is nothing more")
        line = asked.goes(text)
        if line is not None:
            self._granted.append(line)

    def _answered(self, said: Said) -> None:
        for each in self._sent:
            if each.tag == said.tag:
                break
        else:
            raise WireError(f"an answer to {said.tag}, which is no command under way")
        if each is self._sent[-1]:
            # Refused before its literals were sent, so that what is left of it is no part of anything.
            self._rest.clear()
            self._held = None
        self._sent.remove(each)
        each.done(said)

    def over(self, why: Said) -> None:
        """The connection has ended: answer all that is under way, or was not sent, with `why`."""
        waiting = [*self._sent, *self._waiting]
        self._sent.clear()
        self._waiting.clear()
        self._rest.clear()
        self._granted.clear()
        self._held = None
        for each in waiting:
            each.done(why)
