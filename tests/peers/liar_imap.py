"""An IMAP server that breaks off, refuses, throttles and lies as told: a filter in front of one that does not.

Every fault is a field that may be set while it runs; all are off at first.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection
from typing import Final

from tests.peers.imap_filter import Answer, Command, ImapFilter, Lose

OVERQUOTA: Final = b"NO [OVERQUOTA] Quota exceeded (mailbox for user is full)"
THROTTLED: Final = b"NO [THROTTLED] Request is throttled. Suggested Backoff Time: %d milliseconds"
_OFFERS: Final = re.compile(rb"(\* CAPABILITY |\[CAPABILITY )([^\]\r\n]*)")
_UIDNEXT: Final = re.compile(rb"(UIDNEXT )([0-9]+)")
_UIDVALIDITY: Final = re.compile(rb"(UIDVALIDITY |APPENDUID |COPYUID )([0-9]+)")
_FREE: Final = frozenset(("LOGIN", "AUTHENTICATE", "CAPABILITY", "ENABLE", "ID", "LOGOUT"))


class Liar(ImapFilter):
    """The server. `without`: what it seems not to offer."""

    def __init__(self, behind: int, *, without: Collection[str] = ()) -> None:
        super().__init__(behind, self._answer, self._alter)
        # What is compressed can't be read in between.
        self._without = frozenset(each.upper().encode() for each in without) | {b"COMPRESS=DEFLATE"}
        self._guard = threading.Lock()
        self._count = 0
        self.hang_up_every: int | None = None
        """The connection ends without a word in place of each so many'th answer; what was asked is done."""
        self.lose_answers = 0
        """So many of the next appends are done, and their connections end before the answers."""
        self.full_after: int | None = None
        """So many commands append, and the next ones are refused with `refusal`."""
        self.refusal = OVERQUOTA
        self.busy_every: int | None = None
        """Each so many'th command is refused as too much, with `busy_ms` to wait."""
        self.busy_ms = 300
        self.busy_at: list[float] = []
        """When that happened, and `asked_at`, when any command came (time.monotonic)."""
        self.asked_at: list[float] = []
        self.uidnext_off = 0
        """Is added to what the server says its next UID will be."""
        self.uidvalidity_off = 0
        """Is added to the UIDVALIDITY of every folder, as after a restore from a backup."""

    def __enter__(self) -> Liar:
        super().__enter__()
        return self

    def count_anew(self) -> None:
        """Count commands from the next one on: what a mailbox is opened with is among the first, and is answered."""
        with self._guard:
            self._count = 0

    def _answer(self, command: Command) -> Answer:
        with self._guard:
            if command.verb in _FREE:
                return None
            self._count += 1
            self.asked_at.append(time.monotonic())
            if self.hang_up_every is not None and self._count % self.hang_up_every == 0:
                return Lose()
            if self.busy_every is not None and self._count % self.busy_every == 0:
                self.busy_at.append(self.asked_at[-1])
                return THROTTLED % self.busy_ms
            if command.verb != "APPEND":
                return None
            if self.full_after is not None:
                if self.full_after <= 0:
                    return self.refusal
                self.full_after -= 1
            if self.lose_answers > 0:
                self.lose_answers -= 1
                return Lose()
        return None

    def _alter(self, response: bytes) -> bytes | None:
        line, ending, rest = response.partition(b"\r\n")
        with self._guard:
            line = _OFFERS.sub(self._fewer, line)
            if self.uidnext_off:
                line = _UIDNEXT.sub(lambda found: found[1] + b"%d" % max(1, int(found[2]) + self.uidnext_off), line)
            if self.uidvalidity_off:
                line = _UIDVALIDITY.sub(lambda found: found[1] + b"%d" % (int(found[2]) + self.uidvalidity_off), line)
        return line + ending + rest

    def _fewer(self, found: re.Match[bytes]) -> bytes:
        return found[1] + b" ".join(each for each in found[2].split() if each.upper() not in self._without)
