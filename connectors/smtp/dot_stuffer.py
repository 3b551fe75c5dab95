"""DotStuffer: content made fit for DATA, piece by piece, so that nothing in it can be taken for its end."""

from __future__ import annotations

import re
from typing import Final

_NEWLINE: Final = re.compile(rb"\r?\n|\r")
# Each begins with a literal octet, so that the search runs from one to the next: half the time of counting.
_BARE_CR: Final = re.compile(rb"\r(?!\n)")
_BARE_LF: Final = re.compile(rb"\n(?<!\r\n)")
_LINE_DOT: Final = re.compile(rb"\n\.")
_NUL_DOT: Final = re.compile(rb"(\A|\n)(?=\0+\.)")
_NUL_END: Final = re.compile(rb"(?:\A|(?<=\n))\0+\Z")
_MAX_HELD: Final = 64 * 1024


class DotStuffer:
    """Makes content fit for DATA, piece by piece: CRLF line ends only, leading dots doubled, CRLF at the end.

    Promises: whatever comes in, CR and LF leave in pairs only, so no lenient receiver can see an end of data
    before ours (SMTP smuggling); octets other than line ends and doubled dots are untouched. A line of NULs and a dot
    gets a dot in front too, which every receiver takes away: for one that drops NUL it would be the end of the data.
    """

    __slots__ = ("_held", "_line_start", "mended")

    def __init__(self) -> None:
        self._line_start = True
        self._held = b""
        """A CR, or the NULs that begin a line: what they are is decided by what follows."""
        self.mended = False
        """A bare CR or LF was made CRLF; adaptation should have left none."""

    def feed(self, octets: bytes) -> bytes:
        """Return what to send for the next octets of content."""
        octets = self._with_held(octets)
        if not octets:
            return b""
        if _BARE_CR.search(octets) or _BARE_LF.search(octets):
            octets = _NEWLINE.sub(b"\r\n", octets)
            self.mended = True
        return self._stuffed(octets)

    def _with_held(self, octets: bytes) -> bytes:
        if self._held:
            octets = self._held + octets
            self._held = b""
        if octets.endswith(b"\r"):
            self._held = b"\r"
            return octets[:-1]
        if octets.endswith(b"\0"):
            found = _NUL_END.search(octets)
            if found is not None and (found.start() or self._line_start) and len(found[0]) < _MAX_HELD:
                self._held = found[0]
                return octets[: found.start()]
        return octets

    def _stuffed(self, octets: bytes) -> bytes:
        # RFC 5321 §4.5.2
        stuffed = octets.replace(b"\r\n.", b"\r\n..") if _LINE_DOT.search(octets) else octets
        if b"\0." in octets:
            stuffed = _NUL_DOT.sub(self._dotted, stuffed)
        if self._line_start and octets.startswith(b"."):
            stuffed = b"." + stuffed
        self._line_start = octets.endswith(b"\n")
        return stuffed

    def _dotted(self, found: re.Match[bytes]) -> bytes:
        return found[1] + b"." if found[1] or self._line_start else b""

    def finish(self) -> bytes:
        """Return what ends the content: a line end where one is missing, and the final dot."""
        nuls = b""
        if self._held == b"\r":
            self.mended = True
        else:
            nuls = self._held
        return b".\r\n" if self._line_start and not self._held else nuls + b"\r\n.\r\n"
