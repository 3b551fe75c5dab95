"""DotStuffer: content made fit for DATA, piece by piece, so that nothing in it can be taken for its end."""

from __future__ import annotations

import re
from typing import Final

_NEWLINE: Final = re.compile(rb"\r?\n|\r")
# Each begins with a literal octet, so that the search runs from one to the next: half the time of counting.
_BARE_CR: Final = re.compile(rb"\r(?!\n)")
_BARE_LF: Final = re.compile(rb"\n(?<!\r\n)")
_LINE_DOT: Final = re.compile(rb"\n\.")


class DotStuffer:
    """Makes content fit for DATA, piece by piece: CRLF line ends only, leading dots doubled, CRLF at the end.

    Promises: whatever comes in, CR and LF leave in pairs only, so no lenient receiver can see an end of data
    before ours (SMTP smuggling); octets other than line ends and doubled dots are untouched.
    """

    __slots__ = ("_held", "_line_start", "mended")

    def __init__(self) -> None:
        self._line_start = True
        self._held = False
        """A CR was last: its line end is decided by what follows."""
        self.mended = False
        """A bare CR or LF was made CRLF; adaptation should have left none."""

    def feed(self, octets: bytes) -> bytes:
        """Return what to send for the next octets of content."""
        if self._held:
            octets = b"\r" + octets
        self._held = octets.endswith(b"\r")
        if self._held:
            octets = octets[:-1]
        if not octets:
            return b""
        if _BARE_CR.search(octets) or _BARE_LF.search(octets):
            octets = _NEWLINE.sub(b"\r\n", octets)
            self.mended = True
        # RFC 5321 §4.5.2
        stuffed = octets.replace(b"\r\n.", b"\r\n..") if _LINE_DOT.search(octets) else octets
        if self._line_start and octets.startswith(b"."):
            stuffed = b"." + stuffed
        self._line_start = octets.endswith(b"\n")
        return stuffed

    def finish(self) -> bytes:
        """Return what ends the content: a line end where one is missing, and the final dot."""
        if self._held:
            self.mended = True
        return b".\r\n" if self._line_start and not self._held else b"\r\n.\r\n"
